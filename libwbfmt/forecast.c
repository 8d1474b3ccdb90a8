/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the driver would do at the next assembly: its own walk over the slots, step by step, from the
 * bytes alone. Nothing here knows what is right; ring.c and judge.c do, and are not asked. What becomes
 * of the blocks is fate.c's business. Sources: v0 236732eb, v1 v1.0.1, v2 v2.2.17.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "forecast.h"

#define BATCH_SLOTS 256u
#define BATCH_BYTES (4u << 20) /* a slot is at most 1 MiB */
#define FOR_EVER (UINT64_C(1) << 32) /* steps after which a loop of the driver counts as endless */
#define ENTRIES_MIN 1024u

const char *wb_outcome_name(enum wb_outcome outcome)
{
	static const char *const names[] = {
		[WB_OUTCOME_OK] = "ok", [WB_OUTCOME_NOTHING] = "nothing", [WB_OUTCOME_HANG] = "hang",
		[WB_OUTCOME_CRASH] = "crash", [WB_OUTCOME_REFORMAT] = "reformat",
		[WB_OUTCOME_NO_ASSEMBLY] = "no-assembly",
	};

	return names[outcome];
}

static void conclude(struct wb_walk *walk, enum wb_outcome outcome, enum wb_forecast_cause cause, uint32_t slot)
{
	struct wb_forecast *forecast = walk->forecast;

	forecast->outcome = outcome;
	forecast->cause = cause;
	forecast->slot = slot;
	forecast->slot_id = slot == WB_NO_SLOT ? 0 : walk->slots[slot].id;
	if (cause == WB_CAUSE_UNREADABLE && slot != WB_NO_SLOT)
		forecast->offset = wb_slot_offset(&walk->geometry, slot);
}

/* ---- what stands in the slots: read once, for all drivers ---- */

static uint32_t check_of(const uint8_t *meta)
{
	return wb_crc32c(~0u, meta, WB_BLOCK);
}

static void take_header(struct wb_walk *walk, uint32_t slot, const uint8_t *meta)
{
	struct wb_header header;

	wb_header_decode(walk->geometry.format, meta, &header);
	walk->slots[slot] = (struct wb_forecast_slot){ .id = header.id, .check = check_of(meta), .aligned = UINT8_MAX,
						       .length = (uint8_t)header.length };
}

/* v2.2.17: do_find_max_id(); 236732eb: recover_cache(). An unreadable header ends it, in every driver. */
static int read_headers(struct wb_walk *walk, uint8_t *buffer, const struct wb_progress *progress,
			struct wb_error *err)
{
	uint64_t slots = walk->geometry.slots;
	struct wb_io io[BATCH_SLOTS];

	for (uint64_t from = 0; from < slots; from += BATCH_SLOTS) {
		unsigned n = (unsigned)wb_min(BATCH_SLOTS, slots - from);
		int ret = wb_poll(progress, "reading headers", (uint64_t)from * WB_BLOCK, (uint64_t)slots * WB_BLOCK, err);

		if (ret)
			return ret;
		for (unsigned i = 0; i < n; i++)
			io[i] = (struct wb_io){ .buffer = buffer + (size_t)i * WB_BLOCK, .length = WB_BLOCK,
						.offset = wb_slot_offset(&walk->geometry, (uint32_t)from + i) };
		wb_dev_submit(walk->dev, io, n, NULL);
		for (unsigned i = 0; i < n; i++) {
			if (io[i].result) {
				walk->unreadable = (uint32_t)from + i;
				return 0;
			}
			take_header(walk, (uint32_t)from + i, io[i].buffer);
		}
	}
	return 0;
}

static bool laps_agree(const struct wb_format *format, const uint8_t *meta, const struct wb_header *header)
{
	struct wb_metablock metablock;

	for (unsigned i = 0; i < header->length; i++) {
		wb_metablock_decode(format, meta, i, &metablock);
		if (metablock.lap != header->lap)
			return false;
	}
	return true;
}

/* In which dialects the checksum holds. */
static unsigned seals(const uint8_t *bytes, const struct wb_header *header)
{
	uint32_t crc = wb_crc32c(~0u, bytes + WB_SUMMED_FROM, WB_BLOCK - WB_SUMMED_FROM + WB_BLOCK * header->length);

	return (header->checksum == crc ? WB_FORE_RAW : 0u) | (header->checksum == ~crc ? WB_FORE_COMPLEMENT : 0u);
}

static bool is_zero_data(const struct wb_format *format, const uint8_t *bytes, unsigned length)
{
	for (unsigned i = 0; i < length; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(format, bytes, i, &metablock);
		if (metablock.dirty && !wb_all_bytes(bytes + WB_BLOCK * (i + 1), WB_BLOCK, 0))
			return false;
	}
	return true;
}

static bool reaches_beyond(const struct wb_walk *walk, const struct wb_metablock *metablock)
{
	return walk->backing_sectors && (walk->backing_sectors < WB_SECTORS_PER_BLOCK ||
	       metablock->sector > walk->backing_sectors - WB_SECTORS_PER_BLOCK);
}

/* What is dirty, what is not aligned, and what lies beyond BACKING. */
static void look_at_blocks(const struct wb_walk *walk, struct wb_forecast_slot *at, const uint8_t *meta)
{
	for (unsigned i = 0; i < at->length; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(walk->geometry.format, meta, i, &metablock);
		if (metablock.sector % WB_SECTORS_PER_BLOCK && at->aligned == UINT8_MAX)
			at->aligned = (uint8_t)i;
		if (!metablock.dirty)
			continue;
		at->flags |= WB_FORE_DIRTY;
		if (reaches_beyond(walk, &metablock))
			at->flags |= WB_FORE_BEYOND;
	}
}

/* bytes: the whole slot; of one that is not readable the metadata alone, or NULL. */
static void take_segment(struct wb_walk *walk, uint32_t slot, const uint8_t *bytes, bool readable)
{
	const struct wb_geometry *geometry = &walk->geometry;
	struct wb_forecast_slot *at = &walk->slots[slot];
	struct wb_header header;

	if (!bytes) {
		at->flags |= WB_FORE_UNREADABLE | WB_FORE_GONE;
		return;
	}
	take_header(walk, slot, bytes);
	wb_header_decode(geometry->format, bytes, &header);
	if (!readable)
		at->flags |= WB_FORE_UNREADABLE;
	if (header.length > geometry->capacity)
		return;
	look_at_blocks(walk, at, bytes);
	if (laps_agree(geometry->format, bytes, &header))
		at->flags |= WB_FORE_LAPS;
	if (!readable)
		return;
	bool sealed = false;

	if (wb_seal_covers_data(geometry->format)) {
		unsigned dialects = seals(bytes, &header);

		at->flags |= (uint16_t)dialects;
		sealed = dialects || wb_seal_match(header.checksum, 0);
	} else {
		sealed = wb_seal_laps(geometry, bytes, &header);
		if (at->flags & WB_FORE_DIRTY && is_zero_data(geometry->format, bytes, header.length))
			at->flags |= WB_FORE_ZERO;
	}
	if (sealed && header.id && wb_length_in_range(geometry, header.length))
		at->flags |= WB_FORE_WHOLE;
}

/* A slot that did not read. v1, v2 read whole slots (v2.2.17: read_whole_segment()); v0 reads headers alone here, and data
 * when it writes back. */
static void take_unreadable(struct wb_walk *walk, uint32_t slot, uint8_t *bytes)
{
	uint64_t offset = wb_slot_offset(&walk->geometry, slot);
	uint32_t blocks = (uint32_t)wb_min(walk->slots[slot].length, walk->geometry.capacity) + 1;
	bool upward = !wb_seal_covers_data(walk->geometry.format);

	if (upward && !wb_dev_read(walk->dev, offset, bytes, blocks * WB_BLOCK, NULL))
		take_segment(walk, slot, bytes, true);
	else if (upward && !wb_dev_read(walk->dev, offset, bytes, WB_BLOCK, NULL))
		take_segment(walk, slot, bytes, false);
	else
		take_segment(walk, slot, NULL, false);
}

static int read_segments(struct wb_walk *walk, uint8_t *buffer, const struct wb_progress *progress,
			 struct wb_error *err)
{
	uint64_t slots = walk->geometry.slots, size = wb_slot_size(&walk->geometry);
	unsigned batch = (unsigned)wb_min(BATCH_SLOTS, BATCH_BYTES / size);
	struct wb_io io[BATCH_SLOTS];

	for (uint64_t from = 0; from < slots; from += batch) {
		unsigned n = (unsigned)wb_min(batch, slots - from);
		int ret = wb_poll(progress, "following the driver", from * size, slots * size, err);

		if (ret)
			return ret;
		for (unsigned i = 0; i < n; i++)
			io[i] = (struct wb_io){ .buffer = buffer + i * size, .length = (uint32_t)size,
						.offset = wb_slot_offset(&walk->geometry, (uint32_t)(from + i)) };
		wb_dev_submit(walk->dev, io, n, NULL);
		for (unsigned i = 0; i < n; i++) {
			uint32_t slot = (uint32_t)(from + i);

			if (io[i].result)
				take_unreadable(walk, slot, io[i].buffer);
			else
				take_segment(walk, slot, io[i].buffer, true);
		}
	}
	return 0;
}

/* ---- the walk of one driver: what it takes ---- */

/* v0 begins with the smallest id (of equal ones the lowest slot), the others behind the largest. v0 does not see an id of
 * all ones, from which its search starts. */
static void find_start(struct wb_walk *walk)
{
	bool upward = walk->recovery & WB_RECOVERY_UPWARD;
	uint64_t best = upward ? UINT64_MAX : 0;

	for (uint32_t slot = 0; slot < walk->geometry.slots; slot++) {
		uint64_t id = walk->slots[slot].id;

		if (!id || (upward ? id >= best : id <= best))
			continue;
		best = id;
		walk->start = upward ? slot : (uint32_t)(id % walk->geometry.slots);
		walk->going = true;
	}
}

static void stop(struct wb_walk *walk, uint32_t slot, unsigned index, enum wb_outcome outcome,
		 enum wb_forecast_cause cause)
{
	walk->going = false;
	walk->limit = wb_walk_turn(walk, slot) << 8 | index;
	conclude(walk, outcome, cause, slot);
}

static void apply(struct wb_walk *walk, uint32_t slot)
{
	struct wb_forecast *forecast = walk->forecast;
	struct wb_forecast_slot *at = &walk->slots[slot];

	at->flags |= WB_FORE_APPLIED;
	walk->beyond |= (at->flags & WB_FORE_BEYOND) != 0;
	walk->displaced |= walk->recovery & WB_RECOVERY_UPWARD && wb_slot_of(&walk->geometry, at->id) != slot;
	if (!forecast->applied++)
		forecast->first_id = at->id;
	forecast->last_id = at->id;
	walk->last = at->id;
}

/* v0: 236732eb: recover_cache(), checkup_atomicity(). Ids must rise; laps must agree with each other; length 0 is fine. */
static void walk_upward(struct wb_walk *walk, uint32_t slot)
{
	const struct wb_forecast_slot *at = &walk->slots[slot];

	if (at->flags & WB_FORE_GONE)
		return;
	if (at->id <= walk->last)
		stop(walk, slot, 0, WB_OUTCOME_OK, WB_CAUSE_FALLS);
	else if (at->length > walk->geometry.capacity)
		stop(walk, slot, 0, WB_OUTCOME_OK, WB_CAUSE_LENGTH);
	else if (!(at->flags & WB_FORE_LAPS))
		stop(walk, slot, 0, WB_OUTCOME_OK, WB_CAUSE_SEAL);
	else if (at->id > walk->forecast->record)
		apply(walk, slot);
	else
		walk->last = at->id;
}

/* v1, v2: do_apply_valid_segments(). An id of 0 is passed over; a checksum that differs ends it, silently. */
static void walk_on(struct wb_walk *walk, uint32_t slot)
{
	struct wb_forecast_slot *at = &walk->slots[slot];
	unsigned seal = walk->recovery & WB_RECOVERY_COMPLEMENTS ? WB_FORE_COMPLEMENT : WB_FORE_RAW;

	if (at->flags & WB_FORE_UNREADABLE) {
		stop(walk, slot, 0, WB_OUTCOME_NO_ASSEMBLY, WB_CAUSE_UNREADABLE);
	} else if (!at->id) {
		return;
	} else if (at->length > walk->geometry.capacity) {
		stop(walk, slot, 0, walk->recovery & WB_RECOVERY_OVERREADS ? WB_OUTCOME_CRASH : WB_OUTCOME_OK,
		     WB_CAUSE_LENGTH);
	} else if (!(at->flags & seal)) {
		stop(walk, slot, 0, WB_OUTCOME_OK, WB_CAUSE_SEAL);
	} else if (walk->recovery & WB_RECOVERY_ALIGNED && at->aligned < at->length) {
		stop(walk, slot, at->aligned, WB_OUTCOME_CRASH, WB_CAUSE_MISALIGNED);
		at->flags |= WB_FORE_APPLIED; /* the part before that metablock */
		walk->beyond |= (at->flags & WB_FORE_BEYOND) != 0;
	} else {
		apply(walk, slot);
	}
}

static void take_segments(struct wb_walk *walk)
{
	uint32_t slots = walk->geometry.slots;

	find_start(walk);
	for (uint64_t turn = 0; turn < slots && walk->going; turn++) {
		uint32_t slot = (uint32_t)((walk->start + turn) % slots);

		if (walk->recovery & WB_RECOVERY_UPWARD)
			walk_upward(walk, slot);
		else
			walk_on(walk, slot);
	}
}

static bool goes_on(const struct wb_walk *walk)
{
	return walk->forecast->outcome != WB_OUTCOME_CRASH && walk->forecast->outcome != WB_OUTCOME_NO_ASSEMBLY;
}

/* ---- the numbers it continues from ---- */

/* v0: a header is taken into the slot of its id, wherever it lies; a later one comes on top of it. */
static int stack_displaced(struct wb_walk *walk, struct wb_error *err)
{
	uint32_t slots = walk->geometry.slots;
	uint32_t *top = walk->displaced ? calloc(slots, sizeof(*top)) : NULL;

	if (walk->displaced && !top)
		return wb_no_memory(err, "the forecast");
	for (uint64_t turn = 0; turn < slots; turn++) {
		uint32_t slot = (uint32_t)((walk->start + turn) % slots);
		struct wb_forecast_slot *at = &walk->slots[slot];

		if (!(at->flags & WB_FORE_APPLIED))
			continue;
		at->flags |= WB_FORE_TOP;
		if (!top)
			continue;
		uint32_t *into = &top[wb_slot_of(&walk->geometry, at->id)];

		if (*into)
			walk->slots[*into - 1].flags &= (uint16_t)~WB_FORE_TOP;
		at->below = *into;
		*into = slot + 1;
	}
	free(top);
	return 0;
}

/* SUB_ID() of a last id that the drivers read from a signed number. */
static uint64_t written_before(const struct wb_walk *walk, uint64_t last)
{
	uint64_t slots = walk->geometry.slots;

	return last > slots && last <= INT64_MAX ? last - slots : 0;
}

/* v2.2.17: infer_last_writeback_id(): marks clean, id by id, up to the record. v1.0.1 and 236732eb only count from there. */
static void heed_record(struct wb_walk *walk, bool readable)
{
	uint64_t record = walk->forecast->record, newest = walk->last <= INT64_MAX ? walk->last : 0;

	walk->base = readable ? written_before(walk, walk->last) : 0; /* v2.2.17 ignores the error, and 0 stays */
	if (!readable || record <= walk->base)
		return;
	if (walk->recovery & WB_RECOVERY_CLEANS) {
		walk->clean_from = walk->base + 1;
		walk->clean_count = record - walk->base;
		if (record > newest && record - newest > FOR_EVER)
			conclude(walk, WB_OUTCOME_HANG, WB_CAUSE_RECORD, WB_NO_SLOT);
	}
	walk->base = record;
}

/* The slot of the next id must have been written back (v2.2.17: prepare_first_seg()): how many slots is that? */
static void wait_for_first_slot(struct wb_walk *walk)
{
	uint64_t slots = walk->geometry.slots, next = walk->last + 1;
	uint64_t needed = next > slots ? next - slots : 0;
	uint64_t steps = needed > walk->base ? needed - walk->base : 0;

	walk->urged = wb_min(steps, slots);
	if (steps > FOR_EVER || (steps && (uint32_t)(walk->last - walk->base) == 0))
		conclude(walk, WB_OUTCOME_HANG, WB_CAUSE_ID, WB_NO_SLOT);
}

static bool is_pending(const struct wb_walk *walk, uint32_t target)
{
	const struct wb_geometry *geometry = &walk->geometry;

	if (!walk->displaced)
		return walk->slots[target].flags & WB_FORE_APPLIED;
	for (uint32_t i = 0; i < geometry->slots; i++)
		if (walk->slots[i].flags & WB_FORE_APPLIED && wb_slot_of(geometry, walk->slots[i].id) == target)
			return true;
	return false;
}

/* 236732eb: recover_cache() waits for the completion of that slot, if something was taken into it. */
static void wait_for_migration(struct wb_walk *walk)
{
	uint32_t next = wb_slot_of(&walk->geometry, walk->last + 1);

	if (!is_pending(walk, next))
		return;
	walk->urged = wb_walk_rank(walk, next) + 1;
	if (walk->urged > walk->ranks)
		conclude(walk, WB_OUTCOME_HANG, WB_CAUSE_ID, WB_NO_SLOT);
}

/* How many slots the daemon goes through, from that of base + 1 on. A base beyond the last id makes it run away: it goes
 * round and round (v2.2.17: calc_nr_writeback() in 32 bits). */
static void count_ranks(struct wb_walk *walk)
{
	bool none = (uint32_t)(walk->last - walk->base) == 0;

	walk->ranks = walk->geometry.slots;
	if (none)
		walk->ranks = 0;
	else if (walk->last > walk->base)
		walk->ranks = wb_min(walk->ranks, walk->last - walk->base);
}

/* 236732eb: memorize_dirty_state(): data that cannot be read blocks the batch for good. */
static int block_on_unreadable(struct wb_walk *walk, struct wb_error *err)
{
	const struct wb_geometry *geometry = &walk->geometry;
	uint64_t batch = UINT64_C(1) << (11 - geometry->order);
	void *buffer;

	if (posix_memalign(&buffer, WB_BLOCK, wb_slot_size(geometry)))
		return wb_no_memory(err, "the forecast");
	for (uint32_t i = 0; i < geometry->slots; i++) {
		const struct wb_forecast_slot *at = &walk->slots[i];
		uint32_t target = at->id ? wb_slot_of(geometry, at->id) : 0;

		if (!(at->flags & WB_FORE_TOP) || wb_walk_rank(walk, target) >= walk->ranks || !at->length ||
		    !(walk->slots[target].flags & WB_FORE_UNREADABLE))
			continue;
		if (!wb_dev_read(walk->dev, wb_slot_offset(geometry, target) + WB_BLOCK, buffer, at->length * WB_BLOCK,
				 NULL))
			continue;
		walk->ranks = wb_walk_rank(walk, target) / batch * batch;
		walk->forecast->cause = WB_CAUSE_UNREADABLE;
		walk->forecast->slot = target;
		walk->forecast->slot_id = at->id;
		walk->forecast->offset = wb_slot_offset(geometry, target);
	}
	free(buffer);
	if (walk->urged > walk->ranks && walk->forecast->outcome == WB_OUTCOME_OK)
		walk->forecast->outcome = WB_OUTCOME_HANG;
	return 0;
}

static int settle(struct wb_walk *walk, bool record_readable, struct wb_error *err)
{
	bool upward = walk->recovery & WB_RECOVERY_UPWARD;
	int ret = upward ? stack_displaced(walk, err) : 0;

	if (ret)
		return ret;
	heed_record(walk, record_readable);
	count_ranks(walk);
	if (upward) {
		wait_for_migration(walk);
		ret = block_on_unreadable(walk, err);
	} else if (walk->forecast->outcome != WB_OUTCOME_HANG) {
		wait_for_first_slot(walk);
	}
	if (walk->forecast->cause == WB_CAUSE_RECORD)
		walk->ranks = 0;
	if (walk->forecast->outcome == WB_OUTCOME_OK && !walk->forecast->applied && !upward)
		walk->forecast->outcome = WB_OUTCOME_NOTHING;
	return ret;
}

/* ---- what the device tells, whatever the driver makes of it ---- */

static int by_value(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

/* The id that most whole segments are within one lap of; the largest of equals. */
static uint64_t consensus(const uint64_t *ids, size_t n, uint64_t slots)
{
	uint64_t best = 0;
	size_t most = 0;

	for (size_t low = 0, i = 0; i < n; i++) {
		while (ids[i] - ids[low] >= slots)
			low++;
		if (i - low + 1 < most)
			continue;
		most = i - low + 1;
		best = ids[i];
	}
	return best;
}

/* A whole segment in its place. */
static bool is_valid(const struct wb_walk *walk, uint32_t slot)
{
	return walk->slots[slot].flags & WB_FORE_WHOLE && wb_slot_of(&walk->geometry, walk->slots[slot].id) == slot;
}

/* No driver goes on across a change of dialect: the low slots, in one, are a ring that was begun again below the other. */
static uint32_t change_of_dialect(const struct wb_walk *walk)
{
	const unsigned dialects = WB_FORE_RAW | WB_FORE_COMPLEMENT;
	unsigned low = 0, above = 0;
	uint32_t change = 0;

	for (uint32_t i = 0; i < walk->geometry.slots; i++) {
		unsigned dialect = walk->slots[i].flags & dialects;

		if (!is_valid(walk, i) || !dialect || dialect == dialects)
			continue;
		if (!low)
			low = dialect;
		if (dialect == low && (above || walk->slots[i].id != i + UINT64_C(1)))
			return 0;
		if (dialect != low && !above) {
			above = dialect;
			change = i;
		}
	}
	return change;
}

/* Ids 1 ... k in slots 0 ... k - 1 below segments of later laps, or of another dialect: the driver gave up a ring, and began
 * again. */
static void find_restart(struct wb_walk *walk)
{
	uint32_t slots = walk->geometry.slots, k = 0;

	walk->restarted = change_of_dialect(walk);
	if (walk->restarted)
		return;
	while (k < slots && walk->slots[k].flags & WB_FORE_WHOLE && walk->slots[k].id == k + UINT64_C(1))
		k++;
	for (uint32_t i = k; k && i < slots; i++)
		if (is_valid(walk, i) && walk->slots[i].id > slots)
			walk->restarted = k;
}

static int find_head(struct wb_walk *walk, struct wb_error *err)
{
	uint32_t slots = walk->geometry.slots;
	size_t n = 0;

	find_restart(walk);
	for (uint32_t i = (uint32_t)walk->restarted; i < slots; i++)
		n += (walk->slots[i].flags & WB_FORE_WHOLE) != 0;
	uint64_t *ids = malloc((n + 1) * sizeof(*ids));

	if (!ids)
		return wb_no_memory(err, "the forecast");
	n = 0;
	for (uint32_t i = (uint32_t)walk->restarted; i < slots; i++)
		if (walk->slots[i].flags & WB_FORE_WHOLE)
			ids[n++] = walk->slots[i].id;
	qsort(ids, n, sizeof(*ids), by_value);
	walk->head = consensus(ids, n, slots);
	free(ids);
	return 0;
}

uint64_t wb_walk_age(const struct wb_walk *walk, uint32_t slot)
{
	uint64_t id = walk->slots[slot].id, slots = walk->geometry.slots;
	bool in_place = wb_slot_of(&walk->geometry, id) == slot;

	if (slot < walk->restarted)
		return walk->head + id;
	if (id <= walk->head || (in_place && id - walk->head < slots))
		return id;
	/* an impossible id stands for the one that belongs there */
	uint64_t back = (wb_slot_of(&walk->geometry, walk->head) + slots - slot) % slots;

	return walk->head > back ? walk->head - back : 0;
}

bool wb_walk_zeroed(const struct wb_walk *walk, uint32_t slot)
{
	return walk->slots[slot].flags & WB_FORE_ZERO && wb_walk_age(walk, slot) < walk->zeroed_below;
}

/* Most whole segments lie where another number of slots would put them: their ids say nothing of laps. */
static bool is_misplaced(const struct wb_walk *walk)
{
	uint64_t in_place = 0, out = 0;

	for (uint32_t i = 0; i < walk->geometry.slots; i++)
		if (walk->slots[i].flags & WB_FORE_WHOLE)
			*(wb_slot_of(&walk->geometry, walk->slots[i].id) == i ? &in_place : &out) += 1;
	return out > in_place;
}

static void set_floor(struct wb_walk *walk)
{
	const struct wb_format *format = walk->geometry.format;
	uint64_t slots = walk->geometry.slots, record = walk->forecast->record;
	bool possible = record <= walk->head || record - walk->head <= slots;

	walk->believed = possible ? record : 0;
	if (!is_misplaced(walk)) {
		walk->over = walk->floor = walk->head > slots ? walk->head - slots : 0;
		if (format->head_is_old && walk->head >= slots)
			walk->floor = walk->head + 1 - slots;
	}
	if (format->record_binds)
		walk->floor = wb_max(walk->floor, walk->believed);
}

/* Rotten, torn, or lost since: what BACKING holds of it tells. Without BACKING it tells nothing. */
static void find_claims(struct wb_walk *walk)
{
	uint64_t slots = walk->geometry.slots, head = walk->head;

	for (uint32_t i = 0; walk->backing && i < slots; i++) {
		struct wb_forecast_slot *at = &walk->slots[i];

		if (!(at->flags & WB_FORE_WHOLE) && at->id && wb_slot_of(&walk->geometry, at->id) == i &&
		    wb_length_in_range(&walk->geometry, at->length) &&
		    (at->id <= head ? head - at->id : at->id - head) < slots)
			at->flags |= WB_FORE_CLAIM;
	}
}

static int look_at_device(struct wb_walk *walk, struct wb_error *err)
{
	const struct wb_format *format = walk->geometry.format;
	uint64_t slots = walk->geometry.slots, record = walk->forecast->record;
	int ret = find_head(walk, err);

	if (ret)
		return ret;
	set_floor(walk);
	find_claims(walk);
	walk->zeroed_below = UINT64_MAX;
	for (uint32_t i = 0; i < slots; i++) {
		unsigned flags = walk->slots[i].flags;

		if ((flags & (WB_FORE_WHOLE | WB_FORE_DIRTY | WB_FORE_ZERO)) == (WB_FORE_WHOLE | WB_FORE_DIRTY) &&
		    wb_walk_age(walk, i) > walk->floor)
			walk->zeroed_below = wb_min(walk->zeroed_below, wb_walk_age(walk, i));
		if (flags & WB_FORE_WHOLE && !(flags & WB_FORE_APPLIED) &&
		    !(format->record_binds && walk->slots[i].id <= record))
			walk->forecast->dropped++;
	}
	return 0;
}

/* ---- the assembly ---- */

/* v2.2.17: read_superblock_header(), read_superblock_record() */
static bool read_fixed(struct wb_walk *walk, uint64_t offset, uint8_t *sector)
{
	_Alignas(WB_BLOCK) uint8_t block[WB_BLOCK];
	uint64_t from = walk->recovery & WB_RECOVERY_BLOCKS ? offset / WB_BLOCK * WB_BLOCK : offset;
	uint32_t size = walk->recovery & WB_RECOVERY_BLOCKS ? WB_BLOCK : WB_SECTOR;
	bool readable = !wb_dev_read(walk->dev, from, block, size, NULL);

	if (readable)
		memcpy(sector, block + (offset - from), WB_SECTOR);
	return readable;
}

/* v2.2.17: audit_cache_device(); v1.0.1, 236732eb: might_format_cache_device(), audit_cache_device() */
static bool passes_audit(struct wb_walk *walk)
{
	uint8_t sector[WB_SECTOR];

	if (!read_fixed(walk, 0, sector)) {
		conclude(walk, WB_OUTCOME_NO_ASSEMBLY, WB_CAUSE_UNREADABLE, WB_NO_SLOT);
		walk->forecast->offset = 0;
	} else if (wb_get_le(sector, 4) != WB_MAGIC) {
		conclude(walk, WB_OUTCOME_REFORMAT, WB_CAUSE_NO_MAGIC, WB_NO_SLOT);
	} else if (walk->recovery & WB_RECOVERY_ORDER && sector[WB_ORDER_BYTE] != walk->geometry.order) {
		conclude(walk, WB_OUTCOME_NO_ASSEMBLY, WB_CAUSE_ORDER, WB_NO_SLOT);
	}
	return walk->forecast->outcome == WB_OUTCOME_OK;
}

/* 236732eb: recover_cache() reads it first, and fails with it */
static bool read_record(struct wb_walk *walk)
{
	uint8_t sector[WB_SECTOR];
	bool readable = read_fixed(walk, WB_RECORD_OFFSET, sector);

	if (readable)
		walk->forecast->record = wb_get_le(sector, 8);
	else if (walk->recovery & WB_RECOVERY_UPWARD) {
		conclude(walk, WB_OUTCOME_NO_ASSEMBLY, WB_CAUSE_UNREADABLE, WB_NO_SLOT);
		walk->forecast->offset = WB_RECORD_OFFSET;
	}
	return readable;
}

/* The log as it lies there, for a driver that would format over it: nothing is taken, all is looked at. What was ended is on
 * the device it was written to, and BACKING may be another one. */
static bool is_worth_a_look(const struct wb_walk *walk)
{
	return walk->forecast->outcome != WB_OUTCOME_NO_ASSEMBLY && (!walk->ended || walk->backing);
}

/* The slots, once for all drivers. */
static int scan(struct wb_walk *walk, const struct wb_progress *progress, struct wb_error *err)
{
	void *buffer;

	if (walk->scanned)
		return 0;
	if (posix_memalign(&buffer, WB_BLOCK, BATCH_BYTES))
		return wb_no_memory(err, "the forecast");
	int ret = read_headers(walk, buffer, progress, err);

	if (!ret)
		ret = read_segments(walk, buffer, progress, err);
	free(buffer);
	walk->scanned = !ret;
	return ret;
}

/* One driver, from sector 0 to the slot that it would use first. */
static int follow(struct wb_walk *walk, const struct wb_progress *progress, struct wb_error *err)
{
	bool formatted = !passes_audit(walk), record = false;

	if (goes_on(walk))
		record = read_record(walk);
	if (!is_worth_a_look(walk))
		return 0;
	int ret = scan(walk, progress, err);

	if (ret || formatted)
		return ret;
	if (walk->unreadable != WB_NO_SLOT)
		conclude(walk, WB_OUTCOME_NO_ASSEMBLY, WB_CAUSE_UNREADABLE, walk->unreadable);
	else
		take_segments(walk);
	return goes_on(walk) ? settle(walk, record, err) : 0;
}

/* ---- which drivers ---- */

/* Reads slots as own does. */
static bool reads_alike(const struct wb_format *a, const struct wb_format *b)
{
	return wb_seal_covers_data(a) == wb_seal_covers_data(b) && a->metablocks == b->metablocks &&
	       a->stride == b->stride;
}

static bool has_ids(const struct wb_walk *walk)
{
	for (uint32_t i = 0; i < walk->geometry.slots; i++)
		if (walk->slots[i].id)
			return true;
	return false;
}

static bool could_assemble(const struct wb_walk *walk, const struct wb_format *format, bool empty)
{
	const struct wb_format *own = walk->geometry.format;
	unsigned order = walk->geometry.order;

	if (format == own)
		return true;
	return (empty || reads_alike(format, own)) && order >= format->order_min && order <= format->order_max &&
	       (!format->order_stored || walk->order_byte == order);
}

/* Oldest first; the newest of the cache's own generation comes into the forecast first. */
static void list_drivers(struct wb_walk *walk)
{
	bool empty = walk->scanned && !has_ids(walk);
	const struct wb_format *format;

	walk->driver_count = 0;
	for (unsigned i = 0; (format = wb_format_at(i)); i++) {
		if (!could_assemble(walk, format, empty))
			continue;
		for (const struct wb_driver *driver = format->released; driver->first; driver++) {
			assert(walk->driver_count < WB_FORE_DRIVERS);
			if (format == walk->geometry.format)
				walk->own = walk->driver_count;
			walk->drivers[walk->driver_count++] = driver;
		}
	}
}

/* The differences between drivers that this cache brings out. */
static unsigned telling(const struct wb_walk *walk)
{
	unsigned flags = WB_RECOVERY_UPWARD;

	if (walk->order_byte != walk->geometry.order)
		flags |= WB_RECOVERY_ORDER;
	if (walk->fixed_unreadable)
		flags |= WB_RECOVERY_BLOCKS;
	if (walk->record)
		flags |= WB_RECOVERY_CLEANS;
	for (uint32_t i = 0; walk->scanned && i < walk->geometry.slots; i++) {
		const struct wb_forecast_slot *at = &walk->slots[i];

		if (at->id)
			flags |= WB_RECOVERY_COMPLEMENTS;
		if (at->length > walk->geometry.capacity)
			flags |= WB_RECOVERY_OVERREADS;
		if (at->aligned < at->length)
			flags |= WB_RECOVERY_ALIGNED;
		if (at->flags & WB_FORE_BEYOND)
			flags |= WB_RECOVERY_DIES;
	}
	return flags;
}

/* Lets the forecast be that of the drivers which do the same here as this one, and returns the last of them. */
static unsigned name_drivers(struct wb_walk *walk, unsigned first)
{
	unsigned flags = telling(walk), last = first;

	while (last + 1 < walk->driver_count &&
	       !((walk->drivers[last + 1]->recovery ^ walk->drivers[first]->recovery) & flags))
		last++;
	walk->forecast->first_driver = walk->drivers[first]->first;
	walk->forecast->last_driver = walk->drivers[last]->last;
	return last;
}

static unsigned first_alike(const struct wb_walk *walk, unsigned driver)
{
	unsigned flags = telling(walk);

	while (driver && !((walk->drivers[driver - 1]->recovery ^ walk->drivers[driver]->recovery) & flags))
		driver--;
	return driver;
}

static void begin_walk(struct wb_walk *walk, unsigned recovery)
{
	struct wb_forecast *forecast = walk->forecast;

	*forecast = (struct wb_forecast){ .outcome = WB_OUTCOME_OK, .slot = WB_NO_SLOT, .offset = WB_NO_OFFSET,
					  .compared = walk->backing != NULL, .recovery = recovery,
					  .walk = walk };
	for (uint32_t i = 0; i < walk->geometry.slots; i++) {
		walk->slots[i].flags &= (uint16_t)~(WB_FORE_APPLIED | WB_FORE_TOP);
		walk->slots[i].below = 0;
	}
	walk->recovery = recovery;
	walk->limit = walk->deaf = UINT64_MAX;
	walk->start = 0;
	walk->going = walk->displaced = walk->beyond = false;
	walk->last = walk->base = walk->clean_from = walk->clean_count = walk->ranks = walk->urged = 0;
}

static int run(struct wb_walk *walk, unsigned recovery, const struct wb_progress *progress, struct wb_error *err)
{
	begin_walk(walk, recovery);
	int ret = follow(walk, progress, err);

	if (!ret)
		ret = wb_fate_probe(walk, progress, err);
	if (!ret)
		ret = look_at_device(walk, err);
	if (!ret)
		ret = wb_fate_count(walk, walk->backing, progress, err);
	return ret;
}

static int open_walk(struct wb_walk *walk, const struct wb_cache *cache, struct wb_dev *backing, size_t memory,
		     struct wb_error *err)
{
	const struct wb_geometry *geometry = &cache->geometry;
	_Alignas(WB_BLOCK) uint8_t block[WB_BLOCK];

	walk->dev = cache->dev;
	walk->backing = backing;
	walk->backing_sectors = backing ? wb_dev_size(backing) / WB_SECTOR : 0;
	walk->capacity = (size_t)wb_max(memory / (2 * sizeof(struct wb_entry)), ENTRIES_MIN);
	walk->ended = cache->super == WB_SUPER_ENDED;
	walk->order_byte = cache->order_byte;
	walk->record = cache->record;
	walk->unreadable = WB_NO_SLOT;
	walk->fixed_unreadable = wb_dev_read(walk->dev, 0, block, WB_BLOCK, NULL) ||
				 wb_dev_read(walk->dev, WB_RECORD_OFFSET / WB_BLOCK * WB_BLOCK, block, WB_BLOCK, NULL);
	/* as the driver counts them and computes their addresses, whatever the overrides */
	int ret = wb_geometry_init(&walk->geometry, geometry->format, geometry->order, wb_dev_size(cache->dev), 0, err);

	if (ret)
		return ret;
	walk->geometry.wrap = wb_geometry_wraps(&walk->geometry);
	walk->slots = calloc(walk->geometry.slots, sizeof(*walk->slots));
	return walk->slots ? 0 : wb_no_memory(err, "the forecast");
}

int wb_forecast(struct wb_forecast *forecast, struct wb_cache *cache, struct wb_dev *backing, size_t memory,
		const struct wb_progress *progress, struct wb_error *err)
{
	struct wb_walk *walk;
	int ret;

	if (backing && wb_dev_size(backing) < WB_SECTOR) /* nothing there can be compared */
		backing = NULL;
	*forecast = (struct wb_forecast){ .outcome = WB_OUTCOME_REFORMAT, .cause = WB_CAUSE_NO_MAGIC,
					  .slot = WB_NO_SLOT, .offset = WB_NO_OFFSET, .compared = backing != NULL };
	if (!cache->geometry.format)
		return 0;
	walk = calloc(1, sizeof(*walk));
	if (!walk)
		return wb_no_memory(err, "the forecast");
	forecast->walk = walk;
	walk->forecast = forecast;
	ret = open_walk(walk, cache, backing, memory, err);
	if (!ret) {
		list_drivers(walk);
		ret = run(walk, walk->drivers[walk->own]->recovery, progress, err);
	}
	if (ret) {
		wb_forecast_release(forecast);
		return ret;
	}
	list_drivers(walk);
	walk->own = first_alike(walk, walk->own);
	walk->own_last = name_drivers(walk, walk->own);
	walk->next = walk->driver_count;
	return 0;
}

int wb_forecast_other(struct wb_forecast *forecast, const struct wb_progress *progress, struct wb_error *err)
{
	struct wb_walk *walk = forecast->walk;

	if (walk && walk->next == walk->own_last + 1)
		walk->next = walk->own;
	if (!walk || !walk->next)
		return 0;
	unsigned first = first_alike(walk, walk->next - 1);
	int ret = run(walk, walk->drivers[first]->recovery, progress, err);

	if (ret) {
		wb_forecast_release(forecast);
		return ret;
	}
	name_drivers(walk, first);
	walk->next = first;
	return 1;
}

bool wb_forecast_range(const struct wb_forecast *forecast, uint64_t *cursor, uint64_t *first, uint64_t *last)
{
	const struct wb_walk *walk = forecast->walk;
	uint64_t slots = walk ? walk->geometry.slots : 0;
	bool found = false;

	for (; *cursor < slots && *cursor < walk->limit >> 8; ++*cursor) {
		const struct wb_forecast_slot *at = &walk->slots[(walk->start + *cursor) % slots];

		if (!(at->flags & WB_FORE_APPLIED))
			continue;
		if (found && at->id != *last + 1)
			return true;
		if (!found)
			*first = at->id;
		*last = at->id;
		found = true;
	}
	return found;
}

void wb_forecast_release(struct wb_forecast *forecast)
{
	if (forecast->walk)
		free(forecast->walk->slots);
	free(forecast->walk);
	*forecast = (struct wb_forecast){ .outcome = forecast->outcome };
}

int wb_walk_metadata(const struct wb_walk *walk, const uint32_t *slots, unsigned n, uint8_t *metas,
		     struct wb_error *err)
{
	struct wb_io io[BATCH_SLOTS];

	for (unsigned i = 0; i < n; i++)
		io[i] = (struct wb_io){ .buffer = metas + (size_t)i * WB_BLOCK, .length = WB_BLOCK,
					.offset = wb_slot_offset(&walk->geometry, slots[i]) };
	int ret = wb_dev_submit(walk->dev, io, n, err);

	for (unsigned i = 0; i < n && !ret; i++)
		if (!wb_dev_busy(walk->dev) && check_of(metas + (size_t)i * WB_BLOCK) != walk->slots[slots[i]].check)
			ret = wb_blame(walk->dev, wb_fail(err, WB_ECHANGED, 0, io[i].offset,
				      "the metadata of slot %u reads differently the second time: the device fails or is in use",
				      slots[i]), err);
	return ret;
}
