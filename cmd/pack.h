/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The part of wb-dump that makes packs, metadata for a bug report, and images out of them. */
#ifndef PACK_H
#define PACK_H

#include "common.h"

struct pack_options {
	char *pack, *unpack; /* files to make, or NULL */
	bool obfuscate, metadata_only;
};

void pack_release(struct pack_options *options);
/* Usage errors; what else the command line asks for is named by `tables` ("tables"), or NULL. */
void pack_check_usage(const struct pack_options *options, const char *tables);

/* --pack: writes the pack of an opened cache; backing may be NULL. 0 or an exit status. */
int pack_write(const struct common *common, const struct pack_options *options, struct wb_cache *cache,
	       const struct wb_dev *backing, const char *path);
/* --unpack: writes the image of a pack. 0 or an exit status. */
int pack_unpack(const struct common *common, const struct pack_options *options, struct wb_dev *dev, const char *path);

/* ", a pack made 2026-11-22 17:03 UTC, sectors obfuscated": what dev is more than a cache, to follow its name; "" of a
 * cache. Static storage. */
const char *pack_words(const struct wb_dev *dev);
/* What the pack says about where it was made, line by line; nothing of a cache. */
void pack_say_facts(const struct common *common, const struct wb_dev *dev);

#endif
