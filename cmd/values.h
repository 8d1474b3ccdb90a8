/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one parser of the numbers and sizes that options take. Pure. */
#ifndef VALUES_H
#define VALUES_H

#include <stdbool.h>
#include <stdint.h>

/* Decimal or 0x, without sign, blank or leading zero. */
bool parse_number(const char *text, uint64_t *value);
/* Such a number, or one with a unit in upper or lower case, as in util-linux: K ... E and KiB ... EiB are powers of 1024,
 * kB ... EB of 1000. Before a unit there may be a fraction: 1.5G. */
bool parse_size(const char *text, uint64_t *value);

#endif
