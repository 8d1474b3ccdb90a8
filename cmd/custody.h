/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What --report adds to the JSON lines so that others can tell later what was done, with which program, to which bytes. */
#ifndef CUSTODY_H
#define CUSTODY_H

#include "common.h"

/* Creates FILE; from here on every record goes there too. Its first line says how the program was called, by whom and
 * where. path NULL: nothing. 0 or an exit status. */
int custody_begin(const struct common *common, const char *path, int argc, char **argv);

/* A record with the SHA-256 of the first MiB of CACHE and the first 4096 bytes of each slot, in the order of slots; what
 * cannot be read counts as zeroes, and is counted. 0 or an exit status. */
int custody_metadata(const struct common *common, const struct wb_cache *cache, const char *path);
/* The same of a whole file that is open as fd; path only names it: it may lead elsewhere by now. */
int custody_file(const struct common *common, const char *what, const char *path, int fd);

#endif
