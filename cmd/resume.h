/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a run of wb-flush-dirty and the one that goes on with it must find alike, and what is reread before that is believed. */
#ifndef RESUME_H
#define RESUME_H

#include "state.h"

/* A sweep: what is written from where to where. */
struct sweep {
	struct wb_ring *ring;
	struct wb_dev *backing;
	size_t capacity; /* entries in memory */
};

/* A sum over sampled blocks of BACKING that a replay of this scope does not touch. */
int resume_outside(const struct common *common, const struct sweep *sweep, const struct wb_scope *scope, uint64_t *digest,
		   struct wb_error *err);

/* Whether BACKING is as the run that saved `then` left it: *believed. What makes a replay wrong altogether is refused.
 * path names the state file. 0 or an exit status. */
int resume_believe(const struct common *common, const char *path, const struct state *then, const struct state *now,
		   const struct sweep *sweep, const struct wb_scope *scope, bool *believed);

#endif
