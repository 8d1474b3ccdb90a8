/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the driver would do with a cache, in words and as a JSON record. */
#ifndef EXPLAIN_H
#define EXPLAIN_H

#include "common.h"

/* Says what the driver of CACHE's generation would do at its next assembly. cache_dev NULL: nothing to say. Whatever
 * state CACHE is in: it opens it itself. backing may be NULL. Returns 0 or an exit status. */
int explain_kernel(const struct common *common, struct wb_dev *cache_dev, const char *cache_path,
		   struct wb_dev *backing, uint64_t memory);

#endif
