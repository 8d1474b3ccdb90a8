/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The final content of one block, from its versions as a sweep brings them, and the guard of the rule above all policies: nothing
 * older over a version that BACKING demonstrably holds. What writes, verifies and compares starts from the same outcome.
 */
#ifndef WB_COMPOSE_H
#define WB_COMPOSE_H

#include "sweep.h"

/* The versions of a block as they come, newest first. */
struct wb_composer {
	const struct wb_ring *ring;
	const struct wb_plan *plan;
	uint8_t block[WB_BLOCK];
	uint8_t claimed, clean, lost; /* sectors with a planned version; those where it is a clean copy, cannot be read */
	uint8_t below_broken;         /* sectors that a broken segment claims above the planned version */
	uint32_t owner[WB_SECTORS_PER_BLOCK]; /* slot of the planned version, WB_NO_SLOT: none */
	uint32_t held[WB_SECTORS_PER_BLOCK];  /* slot of the oldest version that BACKING equals, WB_NO_SLOT: none */
};

/* What becomes of the sectors of a block, all of whose versions have been taken: masks that share no sector. */
struct wb_block_outcome {
	uint8_t written, unreadable, newer, maybe_newer;
};

/* Takes a part of the versions of a block; true with the last one. */
bool wb_compose(struct wb_composer *composer, const struct wb_view *view);

/* All versions of the block have been taken. */
struct wb_block_outcome wb_settle_block(const struct wb_composer *composer, const struct wb_view *view);

/* The failure for a sector of the mask, which would go over a newer one: what was decided must never lead there. */
int wb_refuse_older(const struct wb_composer *composer, const struct wb_view *view, uint8_t newer, struct wb_error *err);

#endif
