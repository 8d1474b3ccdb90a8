/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the facts of a cache are called in front of people, in one place for all commands. */
#ifndef WORDS_H
#define WORDS_H

#include "wbfmt.h"

/* All return static storage, good until the next call of the same function. */

/* "v2 (dm-writeboost, 2.0.0 to 2.2.18); 256 bits of evidence" */
const char *words_generation(const struct wb_cache *cache);
/* What the record is worth: "sound: ..." */
/* "the file is 4096 bytes short: copy it again", for a device that lacks that many bytes. Static buffer. */
const char *words_missing(const struct wb_dev *dev, uint64_t bytes);
const char *words_record(const struct wb_ring *ring);
/* "3 segments with up to 120 dirty sectors": what a marker records as left out. Static storage, as below. */
const char *words_left_out(const struct wb_marker *marker);
/* "the log was ended on 2026-11-22 17:03:53 UTC: all of it had been written to a BACKING of 16.0 MiB (16777216 bytes)" */
const char *words_marker(const struct wb_marker *marker, bool written_since);
/* The same, and what comparing the log behind the marker with that BACKING, named path, has shown. */
const char *words_end(const struct wb_marker *marker, const struct wb_end_proof *end, const char *path, const struct wb_dev *backing);

#endif
