/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which slots hold versions of blocks, and which of those count for what. A version is planned when the policy's scope
 * takes its segment in, and a claim when a header in its place says so, whatever its checksum: BACKING may hold it. Proof,
 * evidence and replay all walk the same order, newest first.
 */
#ifndef WB_VERSIONS_H
#define WB_VERSIONS_H

#include "ring.h"

/* Headers in place with an id in (M-N, M+N), broken ones up to M+2N, claim what their metablocks say, and so does another time
 * line that is newer than the one at hand. A torn tail counts for nothing until BACKING turned out to hold it: then its class is rotten. */
bool wb_slot_claims(const struct wb_ring *ring, uint32_t slot);

/* The segment takes part in a replay of this scope. */
bool wb_slot_planned(const struct wb_ring *ring, const struct wb_scope *scope, uint32_t slot);

/* The version in slot a is newer than the one in slot b; both are planned or claim. */
bool wb_slot_newer(const struct wb_ring *ring, uint32_t a, uint32_t b);

/* A hole whose header is in its place and tells metablocks. */
bool wb_slot_is_own_hole(const struct wb_ring *ring, uint32_t slot);

/* And they can be believed to be all. In v0 never: there a hole's header or metablocks are what is damaged. */
bool wb_slot_is_readable_hole(const struct wb_ring *ring, uint32_t slot);

/* Broken, so that its copy may not be what BACKING got of it: such a hole, or a segment of the time line that is not at hand. */
bool wb_slot_may_be_held(const struct wb_ring *ring, uint32_t slot);

/* The slots of a scope, newest first: those planned and, with scope->claims, all that claim; without every_version these only
 * where one is newer than a planned segment, and is none itself: *others. With scope->everything all that have metablocks, by
 * their ids. The caller frees *order. */
int wb_versions_order(const struct wb_ring *ring, const struct wb_scope *scope, uint32_t **order, uint32_t *count,
		      bool *others, struct wb_error *err);

/* In v0 a metablock of an unsealed segment is believed when its lap is that of the id. */
bool wb_version_believed(const struct wb_ring *ring, uint32_t slot, const struct wb_metablock *metablock);

/* passes.c, for who fills a plan by himself with all versions: room for `most` entries or, if that is less, capacity of them; a range
 * at a time, until end is UINT64_MAX; each entry that is found; sorted, and those of a block in the order in which they came. */
int wb_plan_reserve(struct wb_plan *plan, size_t capacity, uint64_t most, struct wb_error *err);
void wb_plan_begin(struct wb_plan *plan);
int wb_plan_add(struct wb_plan *plan, const struct wb_entry *entry, struct wb_error *err);

#endif
