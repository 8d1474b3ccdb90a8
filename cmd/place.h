/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The name of a device or an image is followed once. Whatever is asked about it later, and every further descriptor, is of what it
 * led to then: a name that leads elsewhere in the meantime changes nothing.
 */
#ifndef PLACE_H
#define PLACE_H

/* Holds what path leads to, from the first call on and until the program ends: a name for it that does not change, to be given to
 * open(2), stat(2), access(2) and wb_dev_open(). What could not be found then has a name that does not exist. Never NULL; the
 * string stays. Where /proc is missing it is path. */
const char *place_of(const char *path);
/* The same if it is held already; otherwise path. */
const char *place_known(const char *path);
/* Why it could not be found: an errno; 0: it was. */
int place_error(const char *path);
/* For tests: from here on every name is followed again. */
void place_forget(void);

#endif
