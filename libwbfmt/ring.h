/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files that walk the ring share. */
#ifndef WB_RING_H
#define WB_RING_H

#include "format.h"

/* Length in range and the seal holds for this id (or counts as if it did). */
static inline bool wb_slot_valid(const struct wb_slot *slot)
{
	return slot->id && (slot->flags & (WB_SLOT_SEALED | WB_SLOT_LAP)) == (WB_SLOT_SEALED | WB_SLOT_LAP);
}

/* Its id is that of this slot. */
static inline bool wb_ring_in_place(const struct wb_ring *ring, uint32_t slot)
{
	uint64_t id = ring->slots[slot].id;

	return id && wb_slot_of(&ring->cache->geometry, id) == slot;
}

/* A valid segment in its place. */
static inline bool wb_ring_stands(const struct wb_ring *ring, uint32_t slot)
{
	return wb_slot_valid(&ring->slots[slot]) && wb_ring_in_place(ring, slot);
}

/* id is older than the window; true for every id when the window is empty at the end of all ids (first wrapped to 0). */
static inline bool wb_before_window(const struct wb_ring *ring, uint64_t id)
{
	return id - 1 < ring->first - 1;
}

/* No id is in the window; its bounds then are nothing to count between, for first may have wrapped to 0. */
static inline bool wb_window_is_empty(const struct wb_ring *ring)
{
	return ring->first - 1 >= ring->head;
}

/* The record is sound, and partial blocks in the log make the driver take sectors back in time because of it. */
bool wb_record_is_hazard(const struct wb_ring *ring);

/* The id that the new line of a restarted ring has in a slot, or would have. */
uint64_t wb_ring_new_id(const struct wb_ring *ring, uint32_t slot);

/* Of a later lap among the segments of a new line of the first: its id is damaged, or this is no new line. */
bool wb_ring_is_odd(const struct wb_ring *ring, uint32_t slot);

/* Above the segments of the new line of a restarted ring, under an id that may follow theirs: it may be the new line's. */
bool wb_ring_goes_on(const struct wb_ring *ring, uint32_t slot);

/* The slot belongs to the time line of a restarted ring that was not chosen. What is broken and may be the chosen one's is not. */
bool wb_ring_other_line(const struct wb_ring *ring, uint32_t slot);

/* Fills id_bits from the classes. Where several segments out of place need the same bit, the ring was resized. */
void wb_ring_find_id_bits(struct wb_ring *ring);

/* Nobody is asked: corrected is what an earlier run corrected, wb_decision.ids. */
struct wb_doubts wb_doubts_as_before(const uint64_t *ids);

/* Finds out whether the ring was resized or shifted, and what would fit; fit.c. */
void wb_ring_fit(struct wb_ring *ring);

/* The segment takes part in a replay of this scope. */
bool wb_ring_takes_part(const struct wb_ring *ring, const struct wb_scope *scope, uint64_t id);

/* The bit that explains a slot, or NULL. */
const struct wb_correction *wb_ring_correction(const struct wb_ring *ring, uint32_t slot);

/* Flips the corrected bits among length bytes that start at byte `from` of a slot. */
void wb_ring_patch(const struct wb_ring *ring, uint32_t slot, uint32_t from, uint8_t *bytes, uint32_t length);

/* Reads the metadata of n slots (WB_BLOCK bytes each) in one batch, corrections applied. */
int wb_ring_metadatas(struct wb_ring *ring, const uint32_t *slots, unsigned n, uint8_t *metas, struct wb_error *err);

/* Reads a span of CACHE or BACKING that failed, unit by unit. Of CACHE each is read again as often as the options say, and
 * what stays unreadable is told to the caller's callback. It is zeroed, and (where masks is not NULL) its sectors are
 * cleared in masks, a byte for each block. Returns 1 if anything stayed unreadable, else 0; negative when stopped: a failing
 * device takes seconds for each attempt, so each is preceded by a poll. */
int wb_ring_reread(struct wb_ring *ring, struct wb_dev *dev, uint64_t offset, uint8_t *bytes, uint32_t length, uint8_t *masks,
		   const struct wb_progress *progress, struct wb_error *err);

/* The metablock can be part of a plan: aligned, and its block begins within BACKING. */
bool wb_metablock_usable(const struct wb_ring *ring, const struct wb_metablock *metablock);

/* Sets length, counts and flags of a slot from its metadata, all but the seal of the data. Returns the metadata's CRC. */
uint32_t wb_slot_absorb(struct wb_ring *ring, uint32_t index, const uint8_t *meta);

/* Something is written there that only its data blocks can confirm. */
bool wb_slot_wants_data(const struct wb_ring *ring, const struct wb_slot *slot);

/* Reads and sums every segment whose header is plausible. */
int wb_ring_verify(struct wb_ring *ring, const struct wb_progress *progress, struct wb_error *err);

/* Finds the one bit of each unsealed in-place segment, if there is one. */
int wb_ring_find_bits(struct wb_ring *ring, const struct wb_progress *progress, struct wb_error *err);

#endif
