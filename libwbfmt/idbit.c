/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole segments under a wrong id that one flipped bit of the id explains. The table of slots alone says so; what BACKING
 * may say against it, bitflip.c asks before it takes one as right.
 */
#include "bytes.h"
#include "ring.h"

static bool is_one_bit(uint64_t a, uint64_t b)
{
	return a != b && !((a ^ b) & ((a ^ b) - 1));
}

/* M rests on two segments at least that are what they are without a correction. */
static bool head_is_sure(const struct wb_ring *ring)
{
	unsigned sure = 0;

	for (uint32_t i = 0; i < ring->cache->geometry.slots && sure < 2; i++)
		sure += wb_ring_stands(ring, i) && !wb_ring_other_line(ring, i) &&
			!(ring->slots[i].flags & WB_SLOT_CORRECTED) && ring->slots[i].id == wb_ring_due(ring, i);
	return ring->head && sure == 2;
}

static bool wants_id(const struct wb_slot *slot)
{
	return slot->flags & WB_SLOT_SEALED && !(slot->flags & WB_SLOT_CORRECTED) &&
	       (slot->class_ == WB_ALIEN_ID || slot->class_ == WB_AHEAD || slot->class_ == WB_STALE_LAP);
}

/* The id that the slot must hold, when one bit of the one it bears makes the difference; else 0. */
static uint64_t id_for(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	const struct wb_slot *slot = &ring->slots[index];
	uint64_t due = wb_ring_due(ring, index);
	uint64_t next = wb_slot_of(geometry, ring->head + 1) == index ? ring->head + 1 : 0;
	bool to_due = due && is_one_bit(slot->id, due), to_next = next && is_one_bit(slot->id, next);

	/* a segment that lies twice, or one slot off, is no flipped bit: its id, of the window or M+1, has a slot of its own */
	if (slot->id && ring->head + 1 - slot->id <= (uint64_t)geometry->slots)
		return 0;
	if (!wb_seal_covers_data(geometry->format)) { /* v0's laps tell which */
		to_due = to_due && slot->lap == wb_lap_of(geometry, due);
		to_next = to_next && slot->lap == wb_lap_of(geometry, next);
	} else if (to_due && to_next) {
		return 0;
	}
	/* a write of M+1-N that was lost leaves a segment of a lap before that, in place, without any flipped bit */
	if (to_next)
		return ring->restarted || (slot->class_ == WB_STALE_LAP && wb_seal_covers_data(geometry->format)) ? 0 : next;
	return to_due && due - 1 >= ring->first_at_most - 1 ? due : 0;
}

/* A whole segment bears the id elsewhere: that write was misdirected, and the slot is what it was before. */
static bool is_borne(const struct wb_ring *ring, uint64_t id)
{
	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++)
		if (ring->slots[i].id == id && ring->slots[i].flags & WB_SLOT_SEALED)
			return true;
	return false;
}

void wb_ring_find_id_bits(struct wb_ring *ring)
{
	struct { uint32_t slot; unsigned in_place, out_of_place; uint64_t id; } by_bit[64] = { { .slot = 0 } };

	ring->id_bit_count = 0;
	if (ring->resized || ring->shifted || !head_is_sure(ring))
		return;
	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++) {
		uint64_t id = wants_id(&ring->slots[i]) ? id_for(ring, i) : 0;

		if (!id)
			continue;
		unsigned bit = (unsigned)__builtin_ctzll(ring->slots[i].id ^ id);

		by_bit[bit].slot = i;
		by_bit[bit].id = id;
		if (wb_ring_in_place(ring, i))
			by_bit[bit].in_place++;
		else
			by_bit[bit].out_of_place++;
	}
	for (unsigned bit = 0; bit < 64; bit++) {
		/* the same accident does not happen twice: another number of slots, or another start, moves them all */
		ring->resized |= by_bit[bit].out_of_place > 1;
		if (by_bit[bit].in_place + by_bit[bit].out_of_place == 1 && !is_borne(ring, by_bit[bit].id))
			ring->id_bits[ring->id_bit_count++] =
				(struct wb_id_bit){ by_bit[bit].id, by_bit[bit].slot, (uint8_t)bit };
	}
	if (ring->resized)
		ring->id_bit_count = 0;
}
