/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What BACKING tells about a log: how far it has gone, and what of the log it holds. */
#ifndef WB_EVIDENCE_H
#define WB_EVIDENCE_H

#include "versions.h"

struct wb_evidence {
	uint64_t sectors;    /* that hold something newer than a planned version below the cut */
	uint64_t last_hole;  /* the largest of the holes asked for that has evidence, 0: none */
	bool beyond_head;    /* a torn tail that was written back is evidence at the end */
};

/* The capacity and the visitor's bookkeeping that all searches here have in common. */
struct wb_search {
	struct wb_ring *ring;
	struct wb_dev *backing;
	size_t capacity;
	const struct wb_progress *progress;
};

/* Sectors that demonstrably hold a version of id `cut` or newer, and that the scope, which ends below it, writes. cut 0: newer
 * than all ids. */
int wb_evidence_at(const struct wb_search *search, const struct wb_scope *scope, uint64_t cut, struct wb_evidence *evidence,
		   struct wb_error *err);

/* *any: a sector demonstrably holds a version of the line at hand, up to M, that is newer than id: the driver writes back in
 * the order of ids, so it has written that one back as well. */
int wb_evidence_above(const struct wb_search *search, uint64_t id, bool *any, struct wb_error *err);

/* Sectors whose newest version in the window is on BACKING, and is not; besides(context, block) names those that do not count. */
struct wb_newest {
	uint64_t there, missing;
	uint8_t (*besides)(void *context, uint64_t block);
	void *context;
};

int wb_evidence_newest(const struct wb_search *search, struct wb_newest *newest, struct wb_error *err);

/* holes: ascending ids. What the scope writes may lie on both sides of them. */
int wb_evidence_at_holes(const struct wb_search *search, const struct wb_scope *scope, const uint64_t *holes, size_t n,
			 struct wb_evidence *evidence, struct wb_error *err);

#endif
