/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * --state=FILE of wb-flush-dirty: how far the sweep has come, and what tells that it is the same sweep. A text of lines
 * "key value" with a checksum last; see wbfmt(5). It is replaced as a whole.
 */
#ifndef STATE_H
#define STATE_H

#include "common.h"

struct state {
	char *cache, *backing;  /* stable names, owned */
	uint64_t cache_bytes, backing_bytes;
	uint64_t head, digest;  /* of the log: M, and wb_ring.digest */
	uint64_t outside;       /* sum of sampled sectors of BACKING that the plan leaves alone */
	char *options;          /* what the plan depends on, owned */
	uint64_t cut, ids;      /* wb_decision.cut and .ids */
	uint64_t undo, undone;  /* wb_undo.id and .begun of the --undo file, 0: none */
	uint64_t unreadable;    /* sectors left alone so far because CACHE could not be read */
	uint64_t flushed;       /* everything below this byte of BACKING is on the medium; UINT64_MAX: everything */
	uint64_t ended;         /* 1: and the log is ended */
};

/* Reads FILE where there is one; *exists says so. 0 or an exit status. state need not be initialised. */
int state_load(const struct common *common, const char *path, struct state *state, bool *exists);
/* Creates FILE durably, or replaces it; one that is there is only replaced when told so. 0 or an exit status. */
int state_save(const struct common *common, const char *path, const struct state *state, bool replaces);
/* What of `now` is not as in `then`, as words that follow "the state file was written for": NULL when it is the same sweep,
 * or may_be_copy and all but the name of BACKING is the same: see state_is_of_another(). */
const char *state_difference(const struct state *then, const struct state *now, bool may_be_copy);
/* Another device is BACKING now, which may be a copy. */
bool state_is_of_another(const struct state *then, const struct state *now);
void state_release(struct state *state);

#endif
