/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One ascending walk over the entries of a range, with the bytes they speak of: the versions from CACHE
 * and, where wanted, the block from BACKING. Where several jobs are allowed, what comes next is read while
 * visitors are at work. Proof, evidence, replay and verification are visitors of it.
 */
#ifndef WB_SWEEP_H
#define WB_SWEEP_H

#include "versions.h"

/* One block of the backing device, or a part of its versions where they are very many. */
struct wb_view {
	uint64_t block;
	const struct wb_entry *entries; /* newest first */
	size_t count;
	bool first, last;               /* part of the versions of this block */
	bool open;                      /* a claim is among its versions: all of them, clean ones too, and BACKING were read */
	const uint8_t *data;            /* WB_BLOCK bytes for each entry; undefined where not wanted */
	const uint8_t *readable;        /* for each entry the sectors that could be read */
	const uint8_t *backing;         /* WB_BLOCK bytes, NULL when not asked for; zeroes beyond the end */
	uint8_t backing_readable;       /* sectors that could be read */
	uint8_t inside;                 /* sectors that lie within BACKING */
};

enum wb_sweep_check {
	WB_CHECK_NONE,
	WB_CHECK_COMPARE, /* a planned block that reads differently than its entry's check is -WB_ECHANGED */
	WB_CHECK_STORE,   /* entries get their check from what is read now */
};

struct wb_sweep {
	struct wb_ring *ring;
	struct wb_dev *backing;   /* NULL: not read */
	const struct wb_plan *plan; /* whose claims open a block; NULL: none does */
	bool open_only;           /* of BACKING only open blocks are read */
	uint64_t backing_sectors; /* 0: unbounded */
	bool clean_too;           /* read clean copies, not only what is dirty */
	enum wb_sweep_check check;
	const char *phase;
	void *context;
	int (*visit)(void *context, const struct wb_view *view, struct wb_error *err); /* may be NULL */
	bool pause;               /* a visitor sets it to end the run behind its batch */
};

/* Visits entries from *done on and leaves *done behind the last one visited: n, or less after a pause. */
int wb_sweep_some(struct wb_sweep *sweep, struct wb_entry *entries, size_t n, size_t *done,
		  const struct wb_progress *progress, struct wb_error *err);
/* All of them. */
int wb_sweep_run(struct wb_sweep *sweep, struct wb_entry *entries, size_t n, const struct wb_progress *progress,
		 struct wb_error *err);

/* The sectors of version i that BACKING equals, one repeated byte excepted: it holds this version, or an older one. */
uint8_t wb_view_equal(const struct wb_view *view, size_t i);

/* A sector that says nothing: one byte repeated. */
bool wb_uniform(const uint8_t *bytes, size_t size);

#endif
