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

/* Larger numbers of slots are not tried as candidates: 64 TiB of cache at order 10. */
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
#define CANDIDATE_MAX (1u << 12) /* trying them all takes up to a second */
#else
#define CANDIDATE_MAX (1u << 27)
#endif

static const struct wb_geometry *geometry_of(const struct wb_ring *ring)
{
	return &ring->cache->geometry;
}

static bool in_place(const struct wb_ring *ring, uint32_t index)
{
	uint64_t id = ring->slots[index].id;

	return id && wb_slot_of(geometry_of(ring), id) == index;
}

static bool length_in_range(const struct wb_ring *ring, uint32_t index)
{
	return wb_length_in_range(geometry_of(ring), ring->slots[index].length);
}

/* Which slots a chosen time line leaves in the game. */
static bool considered(const struct wb_ring *ring, uint32_t index)
{
	if (!ring->restarted || ring->options.timeline == WB_TIMELINE_NONE)
		return true;
	return (index < ring->restarted) == (ring->options.timeline == WB_TIMELINE_NEW);
}

/* ---- restarted: ids 1 ... k in slots 0 ... k-1, and an older ring above them ---- */

static void find_restart(struct wb_ring *ring)
{
	uint32_t slots = geometry_of(ring)->slots, k = 0;

	ring->restarted = 0;
	while (k < slots && ring->slots[k].id == k + 1u && wb_slot_valid(&ring->slots[k]))
		k++;
	if (!k || k == slots)
		return;
	for (uint32_t i = k; i < slots; i++)
		if (wb_slot_valid(&ring->slots[i]) && in_place(ring, i) && ring->slots[i].id > slots)
			ring->restarted = k;
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
		if (wb_slot_valid(&ring->slots[i]) && in_place(ring, i) && considered(ring, i))
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
		if (in_place(ring, i) && length_in_range(ring, i) && !wb_slot_valid(&ring->slots[i])) {
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

static void find_torn_tail(struct wb_ring *ring)
{
	const struct wb_geometry *geometry = geometry_of(ring);

	ring->torn_tail = 0;
	for (uint64_t i = 1; i < geometry->slots; i++) {
		uint64_t id = ring->head + i;
		uint32_t index = wb_slot_of(geometry, id ? id : 1);

		if (id <= ring->head || ring->slots[index].id != id || wb_slot_valid(&ring->slots[index]) ||
		    ring->slots[index].flags & WB_SLOT_NO_HEADER || !considered(ring, index))
			return;
		ring->torn_tail = id;
	}
}

static bool is_ahead(const struct wb_ring *ring, uint32_t index)
{
	uint64_t id = ring->slots[index].id;

	return ring->head && wb_slot_valid(&ring->slots[index]) && in_place(ring, index) && considered(ring, index) &&
	       id > ring->head && id - ring->head > 1 && id - ring->head < geometry_of(ring)->slots;
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
		gone = ring->head - slots + 1;
	if (ring->newest_ahead > slots)
		gone = wb_max(gone, ring->newest_ahead - slots);
	if (format->record_binds || ring->options.record_use == WB_RECORD_TRUST)
		gone = wb_max(gone, ring->record);
	ring->first = wb_min(gone, ring->head) + 1;
}

/* ---- resized and shifted: what number of slots, what start would put all segments in place ---- */

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* A segment whose own bytes agree, wherever it lies. */
static bool is_whole(const struct wb_slot *slot)
{
	return slot->id && slot->flags & WB_SLOT_SEALED;
}

struct misfit {
	uint64_t misplaced, whole;
	uint64_t of_places;   /* gcd of id - 1 - slot */
	uint64_t of_distances; /* gcd of the differences of those */
	uint64_t first_id, first_slot; /* of one of them */
	uint64_t low, high;   /* a candidate is at least low, at most high */
};

static struct misfit measure(const struct wb_ring *ring)
{
	struct misfit misfit = { .high = wb_min(CANDIDATE_MAX, ring->lap_high) };
	uint64_t min_id = UINT64_MAX, max_id = 0, max_slot = 0, first_place = 0;

	for (uint32_t i = 0; i < geometry_of(ring)->slots; i++) {
		const struct wb_slot *slot = &ring->slots[i];

		if (!is_whole(slot))
			continue;
		uint64_t place = slot->id - 1 - i; /* modulo 2^64 */

		misfit.misplaced += !in_place(ring, i) || !wb_slot_valid(slot);
		if (!misfit.whole++) {
			first_place = place;
			misfit.first_id = slot->id;
			misfit.first_slot = i;
		}
		misfit.of_places = gcd(misfit.of_places, distance(slot->id - 1, i));
		misfit.of_distances = gcd(misfit.of_distances,
					  (int64_t)(place - first_place) < 0 ? first_place - place :
									       place - first_place);
		min_id = wb_min(min_id, slot->id);
		max_id = wb_max(max_id, slot->id);
		max_slot = i;
	}
	if (misfit.whole)
		misfit.low = wb_max(wb_max(max_slot + 1, max_id - min_id + 1), ring->lap_low + (ring->lap_low > 0));
	return misfit;
}

static void find_candidates(struct wb_ring *ring, const struct misfit *misfit)
{
	uint64_t g = misfit->of_places;

	for (uint64_t n = misfit->low; g && n <= wb_min(misfit->high, g); n++) {
		if (g % n)
			continue;
		if (ring->candidate_count < WB_CANDIDATES)
			ring->candidates[ring->candidate_count] = n;
		ring->candidate_count++;
	}
}

static void add_start(struct wb_ring *ring, uint64_t slots, int64_t start)
{
	if (ring->start_count < WB_CANDIDATES) {
		ring->starts[ring->start_count].slots = slots;
		ring->starts[ring->start_count].start = start;
	}
	ring->start_count++;
}

/* A moved start moves every segment; one odd id among segments in place is no such thing. */
static void find_starts(struct wb_ring *ring, const struct misfit *misfit)
{
	uint64_t g = misfit->of_distances, at = misfit->first_id - 1;

	if (misfit->whole < 2 || misfit->misplaced <= misfit->whole / 2 || misfit->low > CANDIDATE_MAX)
		return;
	/* all by the same distance, which is less than a lap: else that distance is a candidate for the number of slots */
	if (!g)
		add_start(ring, 0, (int64_t)(at - misfit->first_slot));
	for (uint64_t n = misfit->low; g && n <= wb_min(misfit->high, g); n++)
		if (g % n == 0)
			add_start(ring, n, (int64_t)((at % n + n - misfit->first_slot % n) % n));
}

static void judge_geometry(struct wb_ring *ring)
{
	struct misfit misfit = measure(ring);

	ring->candidate_count = ring->start_count = 0;
	ring->resized = ring->shifted = false;
	if (!misfit.misplaced)
		return;
	find_candidates(ring, &misfit);
	ring->resized = ring->candidate_count > 0;
	if (!ring->resized)
		find_starts(ring, &misfit);
	ring->shifted = ring->start_count > 0;
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

	if (!length_in_range(ring, index))
		return WB_BAD_LENGTH;
	if (slot->flags & WB_SLOT_NO_DATA)
		return WB_PART_READABLE;
	if (maybe_torn && !(slot->flags & WB_SLOT_ONE_BIT))
		return slot->id > ring->head ? WB_TORN_TAIL : WB_TORN_HEAD;
	return WB_ROTTEN;
}

/* For whatever id stands there, 0 included; in v0 the laps must be those of the id. */
static bool seal_holds(const struct wb_slot *slot)
{
	return (slot->flags & (WB_SLOT_SEALED | WB_SLOT_LAP)) == (WB_SLOT_SEALED | WB_SLOT_LAP);
}

static enum wb_class class_of(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_slot *slot = &ring->slots[index];
	uint64_t due = wb_ring_due(ring, index);
	bool old = due && wb_before_window(ring, due);
	bool never_written = !due;

	if (!considered(ring, index) && ring->options.timeline == WB_TIMELINE_NEW)
		return WB_OLD;
	if (slot->flags & WB_SLOT_NO_HEADER)
		return old ? WB_OLD : WB_UNREADABLE;
	if (wb_slot_valid(slot) && in_place(ring, index))
		return class_of_valid(ring, index, due);
	if (in_torn_tail(ring, slot->id) && in_place(ring, index))
		return slot->id == ring->head + 1 || !length_in_range(ring, index) ?
			       class_of_broken(ring, index, true) : WB_TORN_TAIL;
	if (old)
		return WB_OLD;
	/* beyond the slot of M+1 a whole segment is a leftover from before the format, unless nothing else is known */
	bool next_slot = wb_slot_of(geometry_of(ring), ring->head + 1) == index;

	if (seal_holds(slot) && (!never_written || next_slot || !ring->head))
		return WB_ALIEN_ID;
	if (never_written && !slot->id && !(slot->flags & WB_SLOT_GARBAGE))
		return WB_EMPTY;
	if (never_written)
		return ring->destroyed && in_place(ring, index) ? WB_ROTTEN : WB_FOREIGN;
	/* here it is the oldest slot, which the next write goes over; v0 never gets here, its oldest slot is old */
	if (next_slot && !slot->id)
		return WB_TORN_HEAD;
	if (slot->id == due)
		return class_of_broken(ring, index, next_slot);
	return WB_ROTTEN;
}

/* v0 discards what it has written back: zeroes from the oldest segment on, as far as they go. */
static void find_zeroed(struct wb_ring *ring)
{
	for (uint64_t id = ring->first; id && id <= ring->head; id++) {
		struct wb_slot *slot = &ring->slots[wb_slot_of(geometry_of(ring), id)];

		if ((slot->class_ != WB_LIVE && slot->class_ != WB_PART_READABLE) || !slot->dirty_blocks)
			continue;
		if (slot->flags & WB_SLOT_ZERO_DATA)
			slot->class_ = WB_ZEROED;
		else if (slot->class_ == WB_LIVE)
			return;
	}
}

static bool holds_segment(const struct wb_ring *ring, uint64_t id)
{
	const struct wb_slot *slot = &ring->slots[wb_slot_of(geometry_of(ring), id)];

	return slot->id == id && wb_slot_valid(slot) && considered(ring, wb_slot_of(geometry_of(ring), id));
}

bool wb_ring_is_hole(const struct wb_ring *ring, uint64_t id)
{
	if (wb_before_window(ring, id) || id > ring->head || holds_segment(ring, id))
		return false;
	const struct wb_slot *slot = &ring->slots[wb_slot_of(geometry_of(ring), id)];

	/* a newer header in the slot proves that id had been written back before it was overwritten */
	return slot->class_ != WB_TORN_HEAD && !in_torn_tail(ring, slot->id);
}

static void count(struct wb_ring *ring)
{
	memset(ring->classes, 0, sizeof(ring->classes));
	ring->holes = ring->dirty_blocks = ring->dirty_sectors = 0;
	ring->raw_seals = ring->plain_seals = 0;
	for (uint32_t i = 0; i < geometry_of(ring)->slots; i++) {
		const struct wb_slot *slot = &ring->slots[i];

		ring->classes[slot->class_]++;
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
	judge_geometry(ring);
	ring->destroyed = is_destroyed(ring);
	judge_record(ring);
	find_torn_tail(ring);
	find_ahead(ring);
	find_window(ring);
	for (uint32_t i = 0; i < geometry_of(ring)->slots; i++)
		ring->slots[i].class_ = (uint8_t)class_of(ring, i);
	find_zeroed(ring);
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

bool wb_ring_takes_part(const struct wb_ring *ring, const struct wb_scope *scope, uint64_t id)
{
	if (!id || id < scope->low || id > scope->high || wb_before_window(ring, id) || id > ring->head)
		return false;
	const struct wb_slot *slot = &ring->slots[wb_slot_of(geometry_of(ring), id)];

	if (scope->hole_copies && slot->id == id && length_in_range(ring, wb_slot_of(geometry_of(ring), id)) &&
	    wb_ring_is_hole(ring, id))
		return true;
	if (slot->id != id)
		return false;
	switch ((enum wb_class)slot->class_) {
	case WB_LIVE:
		return true;
	case WB_ZEROED:
		return scope->zeroed;
	case WB_PART_READABLE:
		return scope->part;
	default:
		return false;
	}
}
