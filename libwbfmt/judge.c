/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the table of slots alone: the newest id M by consensus, the window, the patterns of a ring whose
 * geometry or history is broken, and a class for every slot. No single header is believed.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "ring.h"

static const struct wb_geometry *geometry_of(const struct wb_ring *ring)
{
	return &ring->cache->geometry;
}

static bool length_in_range(const struct wb_ring *ring, uint32_t index)
{
	return wb_length_in_range(geometry_of(ring), ring->slots[index].length);
}

uint64_t wb_ring_new_id(const struct wb_ring *ring, uint32_t index)
{
	return ring->slots[ring->new_slots - 1].id - (ring->new_slots - 1) + index;
}

bool wb_ring_goes_on(const struct wb_ring *ring, uint32_t index)
{
	return ring->restarted && index >= ring->new_slots && ring->slots[index].id == wb_ring_new_id(ring, index);
}

bool wb_ring_is_odd(const struct wb_ring *ring, uint32_t index)
{
	uint64_t slots = geometry_of(ring)->slots;

	return ring->restarted && index < ring->new_slots && wb_slot_valid(&ring->slots[index]) && ring->slots[index].id > slots &&
	       ring->slots[ring->new_slots - 1].id <= slots;
}

/* Nothing tells whose a broken segment is: it is the line's at hand if that may have written it. */
bool wb_ring_other_line(const struct wb_ring *ring, uint32_t index)
{
	uint64_t id = ring->slots[index].id, slots = geometry_of(ring)->slots;

	if (!ring->restarted || ring->options.timeline == WB_TIMELINE_NONE)
		return false;
	bool perhaps_new = wb_ring_goes_on(ring, index) && !wb_slot_valid(&ring->slots[index]);

	if (ring->options.timeline == WB_TIMELINE_NEW)
		return (index >= ring->new_taken && !perhaps_new) || wb_ring_is_odd(ring, index);
	return index < ring->new_slots || (perhaps_new && (id > ring->head ? id - ring->head : ring->head - id) >= slots);
}

/* ---- restarted: a new line in the low slots, and above it what is left of an older ring ---- */

static bool is_later_lap(const struct wb_ring *ring, uint32_t index)
{
	return ring->slots[index].id > geometry_of(ring)->slots;
}

static bool is_raw(const struct wb_ring *ring, uint32_t index)
{
	return ring->slots[index].flags & WB_SLOT_RAW;
}

/* A segment of a later lap, and the next one above is of the first: its id is damaged. One of the second lap may be the newest of
 * an old ring, unless one flipped bit explains it. */
static bool is_odd_one(const struct wb_ring *ring, uint32_t index)
{
	uint64_t own = index + UINT64_C(1), bits = ring->slots[index].id ^ own;

	if (bits & (bits - 1) && ring->slots[index].id - own == geometry_of(ring)->slots)
		return false;
	for (uint32_t i = index + 1; i < geometry_of(ring)->slots; i++)
		if (wb_ring_stands(ring, i))
			return !is_later_lap(ring, i);
	return false;
}

/* The slot behind the segments of the first lap that fill the low slots, when there are later laps above them; else 0. The old
 * ring may have been in its second lap: then more of the first are above those. */
static uint32_t end_by_lap(const struct wb_ring *ring)
{
	uint32_t end = 0;
	bool odd = false;

	for (uint32_t i = 0; i < geometry_of(ring)->slots; i++) {
		if (!wb_ring_stands(ring, i))
			continue;
		if (!is_later_lap(ring, i))
			end = i + 1;
		else if (!end || odd || !is_odd_one(ring, i))
			return end;
		else
			odd = true;
	}
	return 0;
}

/* The slot behind the last segment that is sealed as the lowest one, when there are any above it that are not; else 0. No
 * driver continues a log across the change. *again: there is more than one line below those of the other dialect. */
static uint32_t end_by_dialect(const struct wb_ring *ring, bool *again)
{
	uint32_t end = 0;
	bool other = false, lowest = false;

	for (uint32_t i = 0; wb_seal_covers_data(geometry_of(ring)->format) && i < geometry_of(ring)->slots; i++) {
		if (!wb_ring_stands(ring, i))
			continue;
		if (!end)
			lowest = is_raw(ring, i);
		if (is_raw(ring, i) != lowest)
			other = true;
		else if (other)
			*again = true;
		else
			end = i + 1;
	}
	return other ? end : 0;
}

static void find_restart(struct wb_ring *ring)
{
	uint32_t by_lap = end_by_lap(ring);

	ring->restarted_again = false;
	uint32_t by_dialect = end_by_dialect(ring, &ring->restarted_again);

	ring->restarted_again |= by_lap && by_dialect && by_lap != by_dialect;
	ring->new_slots = by_lap && by_dialect ? (uint32_t)wb_min(by_lap, by_dialect) : by_lap ? by_lap : by_dialect;
	ring->restarted = 0;
	for (uint32_t i = 0; i < ring->new_slots; i++)
		ring->restarted += wb_ring_stands(ring, i);
	/* its last write may have been cut off: a header that goes on where its segments end */
	ring->new_taken = ring->new_slots;
	while (ring->restarted && ring->new_taken < geometry_of(ring)->slots && wb_ring_goes_on(ring, ring->new_taken) &&
	       !wb_slot_valid(&ring->slots[ring->new_taken]))
		ring->new_taken++;
}

/* ---- M: the id with the most valid ids in the lap that ends with it ---- */

static int ascending(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t consensus(const uint64_t *ids, size_t n, uint64_t slots)
{
	uint64_t head = 0;
	size_t most = 0;

	for (size_t last = 0, first = 0; last < n; last++) {
		while (ids[last] - ids[first] >= slots)
			first++;
		if (last - first + 1 >= most) {
			most = last - first + 1;
			head = ids[last];
		}
	}
	return head;
}

static int find_head(struct wb_ring *ring, struct wb_error *err)
{
	uint32_t slots = geometry_of(ring)->slots;
	uint64_t *ids = malloc(sizeof(*ids) * slots);
	size_t n = 0;

	if (!ids)
		return wb_no_memory(err, "the ids");
	for (uint32_t i = 0; i < slots; i++)
		if (wb_ring_stands(ring, i) && !wb_ring_other_line(ring, i))
			ids[n++] = ring->slots[i].id;
	qsort(ids, n, sizeof(*ids), ascending);
	ring->head = consensus(ids, n, slots);
	free(ids);
	return 0;
}

/* Nothing is valid, yet headers stand where a log put them. Id 1 alone in slot 0 is a torn first write. */
static bool is_destroyed(const struct wb_ring *ring)
{
	uint32_t traces = 0;
	bool torn_first = false;

	if (ring->head || ring->resized || ring->shifted)
		return false;
	for (uint32_t i = 0; i < geometry_of(ring)->slots; i++)
		if (wb_ring_in_place(ring, i) && length_in_range(ring, i) && !wb_slot_valid(&ring->slots[i])) {
			traces++;
			torn_first |= ring->slots[i].id == 1;
		}
	return traces > 1 || (traces == 1 && !torn_first);
}

/* ---- record, torn tail, window ---- */

static void judge_record(struct wb_ring *ring)
{
	uint64_t record = ring->cache->record;

	ring->record = record;
	if (ring->options.timeline == WB_TIMELINE_NEW && ring->restarted && record > ring->head)
		ring->record = record = 0; /* it speaks of the abandoned ring */
	if (ring->cache->record_unreadable)
		ring->record_state = WB_RECORD_UNKNOWN;
	else if (!record)
		ring->record_state = WB_RECORD_NONE;
	else if (record <= ring->head)
		ring->record_state = WB_RECORD_SOUND;
	else if (record - ring->head <= geometry_of(ring)->slots)
		ring->record_state = WB_RECORD_MISSING;
	else
		ring->record_state = WB_RECORD_GARBAGE;
	if (ring->record_state == WB_RECORD_GARBAGE || ring->options.record_use == WB_RECORD_IGNORE ||
	    (ring->record_state == WB_RECORD_MISSING && ring->options.record_use == WB_RECORD_AUTO))
		ring->record = 0;
}

/* v0: all laps agree, but are not those of the id. Older ones are what a header went over, unless the number of slots is
 * what is wrong: it was given by hand. */
static bool is_whole_under_other_lap(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_slot *slot = &ring->slots[index];

	return slot->flags & WB_SLOT_SEALED &&
	       (ring->cache->slots_given || (int32_t)(slot->lap - wb_lap_of(geometry_of(ring), slot->id)) > 0);
}

static void find_torn_tail(struct wb_ring *ring)
{
	const struct wb_geometry *geometry = geometry_of(ring);

	ring->torn_tail = 0;
	/* the only slot there is holds M, when there is one */
	for (uint64_t i = 1; i < geometry->slots || (i == 1 && !ring->head); i++) {
		uint64_t id = ring->head + i;
		uint32_t index = wb_slot_of(geometry, id ? id : 1);

		if (id <= ring->head || ring->slots[index].id != id || wb_slot_valid(&ring->slots[index]) ||
		    ring->slots[index].flags & WB_SLOT_NO_HEADER || is_whole_under_other_lap(ring, index) ||
		    wb_ring_other_line(ring, index))
			return;
		ring->torn_tail = id;
	}
}

static bool is_ahead(const struct wb_ring *ring, uint32_t index)
{
	uint64_t id = ring->slots[index].id;

	return ring->head && wb_ring_stands(ring, index) && !wb_ring_other_line(ring, index) && id > ring->head && id - ring->head > 1 &&
	       id - ring->head < geometry_of(ring)->slots;
}

static void find_ahead(struct wb_ring *ring)
{
	ring->newest_ahead = 0;
	for (uint32_t i = 0; i < geometry_of(ring)->slots; i++)
		if (is_ahead(ring, i))
			ring->newest_ahead = wb_max(ring->newest_ahead, ring->slots[i].id);
}

/* The window begins behind everything that has been written back for certain. */
static void find_window(struct wb_ring *ring)
{
	const struct wb_format *format = geometry_of(ring)->format;
	uint64_t slots = geometry_of(ring)->slots;
	uint64_t gone = ring->head > slots ? ring->head - slots : 0;

	if (format->head_is_old && ring->head >= slots)
		gone = wb_min(ring->head - slots + 1, ring->head - 1);
	if (format->record_binds || ring->options.record_use == WB_RECORD_TRUST)
		gone = wb_max(gone, ring->record);
	ring->first_at_most = wb_min(gone, ring->head) + 1;
	if (ring->newest_ahead > slots)
		gone = wb_max(gone, ring->newest_ahead - slots);
	ring->first = wb_min(gone, ring->head) + 1;
}

/* ---- classes ---- */

uint64_t wb_ring_due(const struct wb_ring *ring, uint32_t slot)
{
	const struct wb_geometry *geometry = geometry_of(ring);

	if (!ring->head)
		return 0;
	uint32_t head_slot = wb_slot_of(geometry, ring->head);
	uint64_t back = head_slot >= slot ? head_slot - slot : (uint64_t)geometry->slots - slot + head_slot;

	return ring->head > back ? ring->head - back : 0;
}

static bool in_torn_tail(const struct wb_ring *ring, uint64_t id)
{
	return ring->torn_tail && id > ring->head && id <= ring->torn_tail;
}

static enum wb_class class_of_valid(const struct wb_ring *ring, uint32_t index, uint64_t due)
{
	const struct wb_slot *slot = &ring->slots[index];

	if (is_ahead(ring, index))
		return WB_AHEAD;
	if (slot->id > ring->head)
		return WB_ALIEN_ID;
	if (wb_before_window(ring, due))
		return WB_OLD;
	if (slot->id < due)
		return WB_STALE_LAP;
	return slot->flags & WB_SLOT_NO_DATA ? WB_PART_READABLE : WB_LIVE;
}

static enum wb_class class_of_broken(const struct wb_ring *ring, uint32_t index, bool maybe_torn)
{
	const struct wb_slot *slot = &ring->slots[index];

	/* in v0 no metablock of it is believed, so that nothing of it would be written */
	if (slot->flags & WB_SLOT_NO_DATA && (wb_seal_covers_data(geometry_of(ring)->format) || slot->id > ring->head))
		return WB_PART_READABLE;
	if (slot->flags & WB_SLOT_ONE_BIT)
		return WB_ROTTEN;
	if (!length_in_range(ring, index))
		return WB_BAD_LENGTH;
	if (maybe_torn)
		return slot->id > ring->head ? WB_TORN_TAIL : WB_TORN_HEAD;
	return WB_ROTTEN;
}

static enum wb_class class_of_torn_tail(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_slot *slot = &ring->slots[index];

	if (slot->flags & WB_SLOT_ON_BACKING)
		return WB_ROTTEN;
	if (slot->id != ring->head + 1 && !(slot->flags & WB_SLOT_NO_DATA) && length_in_range(ring, index))
		return WB_TORN_TAIL;
	return class_of_broken(ring, index, true);
}

/* A whole segment under an id that cannot be in this slot, 0 included. In v0 its laps must not be older than those of the
 * segment that belongs here, or that is to come: what an older lap left behind may have been damaged long ago. */
static bool is_alien(const struct wb_ring *ring, uint32_t index, uint64_t due, bool next_slot)
{
	const struct wb_slot *slot = &ring->slots[index];
	uint64_t belongs = next_slot && ring->head + 1 ? ring->head + 1 : due;

	if (!(slot->flags & WB_SLOT_SEALED))
		return false;
	if (wb_seal_covers_data(geometry_of(ring)->format))
		return true;
	if (slot->id && (ring->head ? slot->id == due : wb_ring_in_place(ring, index)))
		return false; /* of all that stands there the laps alone are wrong */
	return !belongs || (int32_t)(slot->lap - wb_lap_of(geometry_of(ring), belongs)) >= 0;
}

/* What is known to have been written back. In v0 that is no reason to overlook what came later. */
static bool is_old(const struct wb_ring *ring, uint32_t index, uint64_t due)
{
	if (!due || !wb_before_window(ring, due))
		return false;
	return wb_seal_covers_data(geometry_of(ring)->format) || ring->slots[index].id <= due;
}

/* Where M is of the first lap, a segment that was broken: BACKING holds some of it, or it is of the next lap, for the write before
 * it was lost, or M is far behind. Garbage bears no such id. */
static bool is_broken_above(const struct wb_ring *ring, uint32_t index)
{
	uint64_t id = ring->slots[index].id, slots = geometry_of(ring)->slots;

	return ring->slots[index].flags & WB_SLOT_ON_BACKING ||
	       (ring->head && id > slots && id - ring->head < 2 * slots && length_in_range(ring, index));
}

static enum wb_class class_of_unsealed(const struct wb_ring *ring, uint32_t index, uint64_t due, bool next_slot)
{
	const struct wb_slot *slot = &ring->slots[index];

	if (!due && !slot->id && !(slot->flags & WB_SLOT_GARBAGE))
		return WB_EMPTY;
	/* it may be whole, and newer than anything that could be read; where the next write goes under a damaged id, too */
	if (slot->flags & WB_SLOT_NO_DATA && length_in_range(ring, index) &&
	    (due ? next_slot && !slot->id : next_slot || wb_ring_in_place(ring, index)))
		return WB_PART_READABLE;
	if (!due)
		return wb_ring_in_place(ring, index) && (ring->destroyed || is_broken_above(ring, index)) ? WB_ROTTEN : WB_FOREIGN;
	/* here it is the oldest slot, which the next write goes over; v0 never gets here, its oldest slot is old */
	if (next_slot && !slot->id)
		return WB_TORN_HEAD;
	return slot->id == due ? class_of_broken(ring, index, next_slot) : WB_ROTTEN;
}

static enum wb_class class_of(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_slot *slot = &ring->slots[index];
	uint64_t due = wb_ring_due(ring, index);
	bool next_slot = wb_slot_of(geometry_of(ring), ring->head + 1) == index;

	if (in_torn_tail(ring, slot->id) && wb_ring_in_place(ring, index))
		return class_of_torn_tail(ring, index);
	if (wb_ring_other_line(ring, index))
		return wb_ring_goes_on(ring, index) && !wb_slot_valid(slot) ? WB_ROTTEN : WB_OLD;
	if (slot->flags & WB_SLOT_NO_HEADER)
		return WB_UNREADABLE;
	if (wb_ring_stands(ring, index))
		return class_of_valid(ring, index, due);
	if (is_alien(ring, index, due, next_slot))
		return WB_ALIEN_ID;
	if (is_old(ring, index, due))
		return WB_OLD;
	return class_of_unsealed(ring, index, due, next_slot);
}

/* v0 discards what it has written back: zeroes from the oldest segment on, as far as they go. */
static void find_zeroed(struct wb_ring *ring)
{
	for (uint64_t id = ring->first; id && id <= ring->head; id++) {
		struct wb_slot *slot = &ring->slots[wb_slot_of(geometry_of(ring), id)];

		if ((slot->class_ != WB_LIVE && slot->class_ != WB_PART_READABLE) || !slot->dirty_blocks)
			continue;
		if (!(slot->flags & WB_SLOT_ZERO_DATA))
			return;
		slot->class_ = WB_ZEROED;
	}
}

static bool holds_segment(const struct wb_ring *ring, uint64_t id)
{
	uint32_t index = wb_slot_of(geometry_of(ring), id);

	return ring->slots[index].id == id && wb_slot_valid(&ring->slots[index]) && !wb_ring_other_line(ring, index);
}

/* The new line of a restarted ring went over this id of the old one. */
static bool is_overwritten(const struct wb_ring *ring, uint64_t id)
{
	uint32_t index = wb_slot_of(geometry_of(ring), id);

	if (!ring->restarted || index >= ring->new_taken || ring->options.timeline == WB_TIMELINE_NEW)
		return false;
	if (index < ring->new_slots && ring->options.timeline == WB_TIMELINE_OLD)
		return true;
	return id != wb_ring_new_id(ring, index);
}

bool wb_ring_is_hole(const struct wb_ring *ring, uint64_t id)
{
	if (wb_before_window(ring, id) || id > ring->head || holds_segment(ring, id) || is_overwritten(ring, id))
		return false;
	const struct wb_slot *slot = &ring->slots[wb_slot_of(geometry_of(ring), id)];

	/* a newer header in the slot proves that id had been written back before it was overwritten */
	return slot->class_ != WB_TORN_HEAD && !in_torn_tail(ring, slot->id);
}

/* Dirty sectors that a damaged segment may be the only one to have; where its header does not tell, as many as it has room for. */
static uint64_t damaged_sectors(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_slot *slot = &ring->slots[index];

	switch ((enum wb_class)slot->class_) {
	case WB_BAD_LENGTH:
	case WB_UNREADABLE:
		return (uint64_t)WB_SECTORS_PER_BLOCK * geometry_of(ring)->capacity;
	case WB_ROTTEN:
	case WB_AHEAD:
	case WB_ALIEN_ID:
		return slot->dirty_sectors;
	case WB_PART_READABLE:
		return wb_slot_valid(slot) ? 0 : slot->dirty_sectors;
	default:
		return 0;
	}
}

static void count(struct wb_ring *ring)
{
	memset(ring->classes, 0, sizeof(ring->classes));
	ring->holes = ring->dirty_blocks = ring->dirty_sectors = ring->damaged_sectors = 0;
	ring->raw_seals = ring->plain_seals = 0;
	for (uint32_t i = 0; i < geometry_of(ring)->slots; i++) {
		const struct wb_slot *slot = &ring->slots[i];

		ring->classes[slot->class_]++;
		ring->damaged_sectors += damaged_sectors(ring, i);
		if (slot->flags & WB_SLOT_SEALED && wb_seal_covers_data(geometry_of(ring)->format)) {
			ring->raw_seals += slot->flags & WB_SLOT_RAW ? 1 : 0;
			ring->plain_seals += slot->flags & WB_SLOT_RAW ? 0 : 1;
		}
		if (slot->class_ == WB_LIVE || (slot->class_ == WB_PART_READABLE && wb_slot_valid(slot))) {
			ring->dirty_blocks += slot->dirty_blocks;
			ring->dirty_sectors += slot->dirty_sectors;
		}
	}
	for (uint64_t id = ring->first; id && id <= ring->head; id++)
		ring->holes += wb_ring_is_hole(ring, id);
}

int wb_ring_judge(struct wb_ring *ring, struct wb_error *err)
{
	find_restart(ring);
	int ret = find_head(ring, err);

	if (ret)
		return ret;
	wb_ring_fit(ring);
	ring->destroyed = is_destroyed(ring);
	judge_record(ring);
	find_torn_tail(ring);
	find_ahead(ring);
	find_window(ring);
	for (uint32_t i = 0; i < geometry_of(ring)->slots; i++)
		ring->slots[i].class_ = (uint8_t)class_of(ring, i);
	find_zeroed(ring);
	wb_ring_find_id_bits(ring);
	count(ring);
	return 0;
}

static const char *const class_names[WB_CLASSES] = {
	"empty", "live", "old", "torn-tail", "torn-head", "ahead", "rotten", "stale-lap", "alien-id", "bad-length",
	"part-readable", "unreadable", "zeroed", "foreign",
};

const char *wb_class_name(enum wb_class class_)
{
	return class_names[class_];
}
