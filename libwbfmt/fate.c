/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What becomes of the blocks in a forecast. The driver's hash table is played through block by block:
 * entries sorted by block, in the order of its walk, are all that its look-ups of that block can meet.
 * Their table is a plan that keeps all versions, in address ranges that fit in memory.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "forecast.h"
#include "versions.h"

#define SCAN_BATCH 256u
#define ALL_SECTORS 0xffu

/* wb_entry.check carries: */
enum {
	TAKEN = 1,        /* the driver takes it */
	VERSION = 2,      /* it counts as a version of the block */
	FOREIGN = 4,      /* v0: the header lay elsewhere, so this is another segment's data */
	CLAIM = 8,        /* of a segment that is not whole: a version, if BACKING holds it */
	SHIFT_BASE = 8,   /* bits 4 ...: sectors from the place in the block to that in the data, plus this */
	SHIFT_BIT = 4,
};

/* Slots whose metablocks take part. */
#define LISTED (WB_FORE_APPLIED | WB_FORE_WHOLE | WB_FORE_CLAIM)

/* ---- entries, in ranges of addresses ---- */

struct table {
	struct wb_walk *walk;
	struct wb_plan plan; /* every version, in the order of the walk */
};

static int table_open(struct table *table, struct wb_walk *walk, uint64_t from, struct wb_error *err)
{
	uint64_t most = 1;

	for (uint32_t i = 0; i < walk->geometry.slots; i++)
		most += walk->slots[i].flags & LISTED ? 4 * walk->slots[i].length : 0;
	*table = (struct table){ .walk = walk, .plan = { .scope.every_version = true, .end = from } };
	return wb_plan_reserve(&table->plan, walk->capacity, most, err);
}

/* A metablock that is not aligned lies in two blocks. */
static int add_metablock(struct table *table, const struct wb_metablock *metablock, uint32_t slot, unsigned index,
			 unsigned flags, struct wb_error *err)
{
	unsigned off = (unsigned)(metablock->sector % WB_SECTORS_PER_BLOCK);
	struct wb_entry entry = { .block = metablock->sector / WB_SECTORS_PER_BLOCK, .slot = slot,
				  .index = (uint8_t)index, .dirty = (uint8_t)(metablock->dirty << off),
				  .check = (uint16_t)((SHIFT_BASE - off) << SHIFT_BIT | flags) };
	int ret = entry.dirty || !metablock->dirty ? wb_plan_add(&table->plan, &entry, err) : 0;

	if (ret || !off || !(metablock->dirty >> (WB_SECTORS_PER_BLOCK - off)))
		return ret;
	entry.block++;
	entry.dirty = (uint8_t)(metablock->dirty >> (WB_SECTORS_PER_BLOCK - off));
	entry.check = (uint16_t)((SHIFT_BASE + WB_SECTORS_PER_BLOCK - off) << SHIFT_BIT | flags);
	return wb_plan_add(&table->plan, &entry, err);
}

/* A clean metablock that is not aligned is a copy of no block. */
static bool counts(const struct wb_format *format, const struct wb_metablock *metablock)
{
	return metablock->dirty || (format->caches_reads && metablock->sector % WB_SECTORS_PER_BLOCK == 0);
}

/* v0: what was taken into one slot in RAM, the last header first: its length bounds all, and an element that a later
 * header leaves alone stays. 236732eb: update_by_segment_header_device() */
static int add_stack(struct table *table, uint32_t top, const uint8_t *top_meta, struct wb_error *err)
{
	const struct wb_walk *walk = table->walk;
	const struct wb_format *format = walk->geometry.format;
	uint32_t target = wb_slot_of(&walk->geometry, walk->slots[top].id);
	bool replaced[256] = { false };
	void *meta = NULL;
	int ret = 0;

	if (posix_memalign(&meta, WB_BLOCK, WB_BLOCK))
		return wb_no_memory(err, "the table of blocks");
	memcpy(meta, top_meta, WB_BLOCK);
	for (uint32_t slot = top;; slot = walk->slots[slot].below - 1) {
		if (slot != top)
			ret = wb_walk_metadata(walk, &slot, 1, meta, err);
		for (unsigned i = 0; !ret && i < wb_min(walk->slots[slot].length, walk->slots[top].length); i++) {
			struct wb_metablock metablock;

			wb_metablock_decode(format, meta, i, &metablock);
			if (replaced[i] || !metablock.dirty)
				continue;
			replaced[i] = true;
			ret = add_metablock(table, &metablock, target, i, slot == target ? TAKEN : TAKEN | FOREIGN, err);
		}
		if (ret || !walk->slots[slot].below)
			break;
	}
	free(meta);
	return ret;
}

static int add_segment(struct table *table, uint32_t slot, const uint8_t *meta, struct wb_error *err)
{
	const struct wb_walk *walk = table->walk;
	const struct wb_forecast_slot *at = &walk->slots[slot];
	bool taken = at->flags & WB_FORE_APPLIED;
	bool laps = !wb_seal_covers_data(walk->geometry.format);
	unsigned flags = at->flags & WB_FORE_WHOLE && !wb_walk_zeroed(walk, slot) ? VERSION : 0;
	int ret = 0;

	if (at->flags & WB_FORE_CLAIM)
		flags |= CLAIM;

	if (walk->displaced) {
		if (at->flags & WB_FORE_TOP)
			ret = add_stack(table, slot, meta, err);
	} else if (taken) {
		flags |= TAKEN;
	}
	for (unsigned i = 0; flags && !ret && i < at->length; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(walk->geometry.format, meta, i, &metablock);
		if (flags == CLAIM && laps && metablock.lap != wb_lap_of(&walk->geometry, at->id))
			continue;
		if (counts(walk->geometry.format, &metablock))
			ret = add_metablock(table, &metablock, slot, i, flags, err);
	}
	return ret;
}

/* In the order of the walk, which a stable sort keeps among the entries of a block. */
static int scan(struct table *table, uint8_t *metas, const struct wb_progress *progress, struct wb_error *err)
{
	const struct wb_walk *walk = table->walk;
	uint64_t slots = walk->geometry.slots, turn = 0;

	while (turn < slots) {
		uint32_t batch[SCAN_BATCH];
		unsigned n = 0;
		int ret = wb_poll(progress, "following the blocks", (uint64_t)turn * WB_BLOCK, (uint64_t)slots * WB_BLOCK, err);

		for (; turn < slots && n < SCAN_BATCH; turn++) {
			uint32_t slot = (uint32_t)((walk->start + turn) % slots);

			if (walk->slots[slot].flags & LISTED)
				batch[n++] = slot;
		}
		if (!ret)
			ret = wb_walk_metadata(walk, batch, n, metas, err);
		for (unsigned i = 0; i < n && !ret; i++)
			ret = add_segment(table, batch[i], metas + (size_t)i * WB_BLOCK, err);
		if (ret)
			return ret;
	}
	return 0;
}

/* ---- one block, played through ---- */

struct fate {
	const struct wb_entry *entries;
	size_t count;
	const struct wb_entry *final[WB_SECTORS_PER_BLOCK]; /* the last write of each sector that lands, or NULL */
	const struct wb_entry *left;  /* v1, v2: what stays in the table and has to be written back, or NULL */
	uint64_t failing;             /* position of the first write of the walk that fails */
	uint64_t stalling;            /* rank of the first slot whose writeback fails */
};

static uint64_t position(const struct wb_walk *walk, const struct wb_entry *entry)
{
	return wb_walk_turn(walk, entry->slot) << 8 | entry->index;
}

/* The sectors of a block that lie within BACKING. */
static uint8_t inside(const struct wb_walk *walk, uint64_t block)
{
	uint64_t bound = walk->backing_sectors;

	if (!bound || block < bound / WB_SECTORS_PER_BLOCK)
		return ALL_SECTORS;
	return block > bound / WB_SECTORS_PER_BLOCK ? 0 : (uint8_t)((1u << bound % WB_SECTORS_PER_BLOCK) - 1);
}

/* A full block is one write, others are written sector by sector. v2.2.17: submit_writeback_io() */
static void land(const struct wb_walk *walk, struct fate *fate, const struct wb_entry *entry, bool one_write)
{
	uint8_t within = inside(walk, entry->block);
	uint8_t bits = entry->dirty;

	if (one_write && bits == ALL_SECTORS && within != ALL_SECTORS)
		return;
	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if ((bits & within) >> i & 1)
			fate->final[i] = entry;
}

static bool fails(const struct wb_walk *walk, const struct wb_entry *entry)
{
	return entry->dirty & ~inside(walk, entry->block);
}

/* v2.2.17: prepare_overwrite(): a partial block that meets a dirty one sends that to BACKING, during the walk. */
static void overwrite(const struct wb_walk *walk, struct fate *fate, const struct wb_entry *old, uint64_t at)
{
	if (fails(walk, old))
		fate->failing = wb_min(fate->failing, at);
	if (at <= walk->deaf)
		land(walk, fate, old, walk->recovery & WB_RECOVERY_DIES);
}

static bool is_cleaned(const struct wb_walk *walk, uint32_t slot)
{
	uint64_t slots = walk->geometry.slots;

	return walk->clean_count &&
	       (slot + slots - (walk->clean_from - 1) % slots) % slots < wb_min(walk->clean_count, slots);
}

/* v1, v2: apply_metablock_device(), then the writeback of what is dirty in the table */
static void play_newest(const struct wb_walk *walk, struct fate *fate)
{
	const struct wb_entry *current = NULL;

	for (size_t i = 0; i < fate->count; i++) {
		const struct wb_entry *entry = &fate->entries[i];
		uint64_t at = position(walk, entry);

		if (!(entry->check & TAKEN) || at >= walk->limit)
			continue;
		if (current && current->dirty && entry->dirty && entry->dirty != ALL_SECTORS)
			overwrite(walk, fate, current, at);
		current = entry;
	}
	if (!current || !current->dirty || is_cleaned(walk, current->slot))
		return;
	fate->left = current;
	if (wb_walk_rank(walk, current->slot) >= walk->ranks)
		return;
	if (fails(walk, current))
		fate->stalling = wb_walk_rank(walk, current->slot);
	land(walk, fate, current, true);
}

/* v0: every version is written back, slot by slot. 236732eb: migrate_proc(), submit_migrate_io() */
static void play_all(const struct wb_walk *walk, struct fate *fate)
{
	uint64_t order[WB_SECTORS_PER_BLOCK] = { 0 };

	for (size_t i = 0; i < fate->count; i++) {
		const struct wb_entry *entry = &fate->entries[i];
		uint64_t rank = wb_walk_rank(walk, entry->slot), at = (rank << 8 | entry->index) + 1;
		struct fate one = { .failing = 0 };

		if (!(entry->check & TAKEN) || rank >= walk->ranks)
			continue;
		if (fails(walk, entry))
			fate->stalling = wb_min(fate->stalling, rank);
		land(walk, &one, entry, true);
		for (unsigned j = 0; j < WB_SECTORS_PER_BLOCK; j++)
			if (one.final[j] && at > order[j]) {
				order[j] = at;
				fate->final[j] = entry;
			}
	}
}

static void play(const struct wb_walk *walk, const struct wb_entry *entries, size_t n, struct fate *fate)
{
	*fate = (struct fate){ .entries = entries, .count = n, .failing = UINT64_MAX, .stalling = UINT64_MAX };
	if (walk->recovery & WB_RECOVERY_UPWARD)
		play_all(walk, fate);
	else
		play_newest(walk, fate);
}

typedef int (*visitor)(void *context, const struct fate *fate, struct wb_error *err);

static int visit_range(struct table *table, visitor visit, void *context, struct wb_error *err)
{
	const struct wb_plan *plan = &table->plan;
	int ret = 0;

	wb_plan_sort(plan->entries, plan->scratch, plan->count);
	for (size_t i = 0, n; i < plan->count && !ret; i += n) {
		struct fate fate;

		for (n = 1; i + n < plan->count && plan->entries[i + n].block == plan->entries[i].block;)
			n++;
		play(table->walk, plan->entries + i, n, &fate);
		ret = visit(context, &fate, err);
	}
	return ret;
}

/* Every block from `from` on, ascending. */
static int visit_blocks(struct wb_walk *walk, uint64_t from, visitor visit, void *context,
			const struct wb_progress *progress, struct wb_error *err)
{
	struct table table;
	void *metas = NULL;
	int ret = table_open(&table, walk, from, err);

	if (!ret && posix_memalign(&metas, WB_BLOCK, (size_t)SCAN_BATCH * WB_BLOCK))
		ret = wb_no_memory(err, "the table of blocks");
	while (!ret && table.plan.end < UINT64_MAX) {
		wb_plan_begin(&table.plan);
		ret = scan(&table, metas, progress, err);
		if (!ret)
			ret = visit_range(&table, visit, context, err);
	}
	free(metas);
	wb_plan_close(&table.plan);
	return ret;
}

/* ---- what the blocks say about the assembly ---- */

struct probe {
	struct wb_walk *walk;
	uint32_t next;     /* the slot that the next id goes to */
	bool next_is_dirty;
	uint64_t failing, stalling;
};

static int probe_block(void *context, const struct fate *fate, struct wb_error *err)
{
	struct probe *probe = context;

	(void)err;
	probe->failing = wb_min(probe->failing, fate->failing);
	probe->stalling = wb_min(probe->stalling, fate->stalling);
	if (fate->left && fate->left->slot == probe->next)
		probe->next_is_dirty = true;
	return 0;
}

static void blame(struct wb_walk *walk, enum wb_outcome outcome, enum wb_forecast_cause cause, uint32_t slot)
{
	walk->forecast->outcome = outcome;
	walk->forecast->cause = cause;
	walk->forecast->slot = slot;
	walk->forecast->slot_id = walk->slots[slot].id;
}

/* v2.2.17 gives the assembly up; v1.0.1 goes on and ignores all I/O from then on. */
static void fail_walk(struct wb_walk *walk, uint64_t at)
{
	struct wb_forecast *forecast = walk->forecast;
	uint64_t slots = walk->geometry.slots, cursor = 0, first, last;
	uint32_t slot = (uint32_t)((walk->start + (at >> 8)) % slots);

	walk->ranks = walk->urged = 0;
	if (walk->recovery & WB_RECOVERY_DIES) {
		walk->deaf = at;
		blame(walk, forecast->outcome, WB_CAUSE_BEYOND, slot);
		return;
	}
	walk->limit = at + 1;
	blame(walk, WB_OUTCOME_NO_ASSEMBLY, WB_CAUSE_BEYOND, slot);
	forecast->applied = forecast->first_id = forecast->last_id = 0;
	while (wb_forecast_range(forecast, &cursor, &first, &last)) {
		if (!forecast->applied)
			forecast->first_id = first;
		forecast->applied += last - first + 1;
		forecast->last_id = last;
	}
}

/* A write that fails is tried again for ever, with the batch it is in. While dmsetup waits, v2's batches are one slot;
 * what it writes later in the same batch is not known, and left out. */
static void stall(struct wb_walk *walk, uint64_t rank)
{
	bool upward = walk->recovery & WB_RECOVERY_UPWARD, dies = walk->recovery & WB_RECOVERY_DIES;
	uint64_t batch = upward ? UINT64_C(1) << (11 - walk->geometry.order) : 1;
	uint32_t slot = (uint32_t)((walk->base % walk->geometry.slots + rank) % walk->geometry.slots);
	bool hangs = !dies && walk->urged > rank / batch * batch;

	walk->ranks = wb_min(walk->ranks, (rank / batch + 1) * batch);
	blame(walk, hangs ? WB_OUTCOME_HANG : walk->forecast->outcome, WB_CAUSE_BEYOND, slot);
}

int wb_fate_probe(struct wb_walk *walk, const struct wb_progress *progress, struct wb_error *err)
{
	struct probe probe = { .walk = walk, .next = WB_NO_SLOT, .failing = UINT64_MAX, .stalling = UINT64_MAX };
	enum wb_outcome outcome = walk->forecast->outcome;
	bool ends = outcome == WB_OUTCOME_OK || outcome == WB_OUTCOME_NOTHING;

	if (ends && !(walk->recovery & WB_RECOVERY_UPWARD)) {
		uint32_t next = wb_slot_of(&walk->geometry, walk->last + 1);
		unsigned dirty = WB_FORE_APPLIED | WB_FORE_DIRTY;

		if ((walk->slots[next].flags & dirty) == dirty && wb_walk_rank(walk, next) >= walk->urged &&
		    !is_cleaned(walk, next))
			probe.next = next;
	}
	if (!walk->beyond && probe.next == WB_NO_SLOT)
		return 0;
	uint64_t from = probe.next != WB_NO_SLOT ? 0 : walk->backing_sectors / WB_SECTORS_PER_BLOCK;
	int ret = visit_blocks(walk, from, probe_block, &probe, progress, err);

	if (ret)
		return ret;
	if (probe.failing != UINT64_MAX)
		fail_walk(walk, probe.failing);
	else if (probe.stalling != UINT64_MAX)
		stall(walk, probe.stalling);
	outcome = walk->forecast->outcome;
	if (probe.next_is_dirty && (outcome == WB_OUTCOME_OK || outcome == WB_OUTCOME_NOTHING)) {
		walk->ranks = wb_min(walk->ranks, walk->urged);
		blame(walk, WB_OUTCOME_CRASH, WB_CAUSE_DIRTY, probe.next);
	}
	return 0;
}

/* ---- bytes ---- */

#define HELD 4u

/* Blocks of CACHE that were read last: consecutive sectors of a block mostly come from the same place. */
struct bytes {
	const struct wb_walk *walk;
	uint8_t *blocks; /* HELD of them, and one of BACKING */
	uint64_t offsets[HELD];
	unsigned next;
};

static int bytes_open(struct bytes *bytes, const struct wb_walk *walk, struct wb_error *err)
{
	void *blocks;

	*bytes = (struct bytes){ .walk = walk };
	for (unsigned i = 0; i < HELD; i++)
		bytes->offsets[i] = WB_NO_OFFSET;
	if (posix_memalign(&blocks, WB_BLOCK, (HELD + 1) * WB_BLOCK))
		return wb_no_memory(err, "comparing");
	bytes->blocks = blocks;
	return 0;
}

/* The bytes an entry has for sector i of its block; NULL where CACHE cannot be read. Good until HELD further calls. */
static const uint8_t *content(struct bytes *bytes, const struct wb_entry *entry, unsigned i)
{
	uint64_t offset = wb_slot_offset(&bytes->walk->geometry, entry->slot) + WB_BLOCK * (entry->index + UINT64_C(1));
	unsigned sector = i + (unsigned)(entry->check >> SHIFT_BIT) - SHIFT_BASE, held;

	for (held = 0; held < HELD && bytes->offsets[held] != offset;)
		held++;
	if (held == HELD) {
		held = bytes->next;
		bytes->next = (held + 1) % HELD;
		bytes->offsets[held] = WB_NO_OFFSET;
		if (wb_dev_read(bytes->walk->dev, offset, bytes->blocks + (size_t)held * WB_BLOCK, WB_BLOCK, NULL))
			return NULL;
		bytes->offsets[held] = offset;
	}
	return bytes->blocks + (size_t)held * WB_BLOCK + (size_t)sector * WB_SECTOR;
}

static bool equal(const uint8_t *a, const uint8_t *b)
{
	return a && b && !memcmp(a, b, WB_SECTOR);
}

/* ---- what is lost, and what goes back in time ---- */

struct count {
	struct wb_walk *walk;
	struct wb_dev *backing;
	struct bytes bytes;
	uint8_t *before;       /* the block of BACKING */
	bool keeps_log;        /* the assembly fails: nothing is abandoned */
};

static bool covers(const struct wb_entry *entry, unsigned i)
{
	return !entry->dirty || entry->dirty >> i & 1;
}

static bool newer(const struct wb_walk *walk, const struct wb_entry *a, const struct wb_entry *b)
{
	uint64_t x = wb_walk_age(walk, a->slot), y = wb_walk_age(walk, b->slot);

	return x != y ? x > y : a->index > b->index;
}

static const struct wb_entry *newest(const struct wb_walk *walk, const struct fate *fate, unsigned i)
{
	const struct wb_entry *best = NULL;

	for (size_t k = 0; k < fate->count; k++) {
		const struct wb_entry *entry = &fate->entries[k];

		if (entry->check & VERSION && covers(entry, i) && wb_walk_age(walk, entry->slot) > walk->floor &&
		    (!best || newer(walk, entry, best)))
			best = entry;
	}
	return best;
}

static bool same_source(const struct wb_entry *a, const struct wb_entry *b)
{
	return a->slot == b->slot && a->index == b->index;
}

/* Nothing of this age is of use any more: it is on BACKING, or younger data is. */
static bool is_over(const struct count *count, const struct wb_entry *entry)
{
	const struct wb_walk *walk = count->walk;

	return entry->check & FOREIGN || !(walk->slots[entry->slot].flags & WB_FORE_WHOLE) ||
	       wb_walk_zeroed(walk, entry->slot) ||
	       wb_walk_age(walk, entry->slot) <= (count->backing ? walk->floor : walk->over);
}

/* BACKING holds what a segment that is not whole says it wrote: bytes that are all the same prove nothing. */
static bool is_proof(const uint8_t *bytes, const uint8_t *before)
{
	return equal(bytes, before) && !wb_all_bytes(bytes, WB_SECTOR, bytes[0]);
}

static bool has_claims(const struct fate *fate)
{
	for (size_t k = 0; k < fate->count; k++)
		if (fate->entries[k].check & CLAIM)
			return true;
	return false;
}

/* A younger version is on BACKING: by content, or because the log says so. */
static bool went_further(struct count *count, const struct fate *fate, const struct wb_entry *final, unsigned i)
{
	const struct wb_walk *walk = count->walk;

	for (size_t k = 0; k < fate->count; k++) {
		const struct wb_entry *entry = &fate->entries[k];

		if (!(entry->check & (VERSION | CLAIM)) || !covers(entry, i) || !newer(walk, entry, final))
			continue;
		if (entry->check & CLAIM && !is_proof(content(&count->bytes, entry, i), count->before + i * WB_SECTOR))
			continue;
		if (count->backing ? equal(content(&count->bytes, entry, i), count->before + i * WB_SECTOR) :
				     (!entry->dirty || wb_walk_age(walk, entry->slot) <= walk->believed) &&
				     !equal(content(&count->bytes, entry, i), content(&count->bytes, final, i)))
			return true;
	}
	return false;
}

static bool is_regressed(struct count *count, const struct fate *fate, unsigned i)
{
	const struct wb_entry *final = fate->final[i];

	if (!final || (count->backing && equal(content(&count->bytes, final, i), count->before + i * WB_SECTOR)))
		return false;
	return is_over(count, final) || went_further(count, fate, final, i);
}

static bool is_abandoned(struct count *count, const struct fate *fate, const struct wb_entry *wanted, unsigned i)
{
	const struct wb_walk *walk = count->walk;
	const struct wb_entry *final = fate->final[i];

	if (count->keeps_log || !wanted || !(wanted->dirty >> i & 1) || (final && same_source(final, wanted)))
		return false;
	if (!count->backing)
		return wb_walk_age(walk, wanted->slot) > walk->believed;
	if (equal(content(&count->bytes, wanted, i), count->before + i * WB_SECTOR))
		return false;
	return !final || !equal(content(&count->bytes, final, i), content(&count->bytes, wanted, i));
}

static int read_before(struct count *count, uint64_t block, struct wb_error *err)
{
	uint64_t size = wb_dev_size(count->backing), offset = block * WB_BLOCK;

	return wb_dev_read(count->backing, offset, count->before, (uint32_t)wb_min(WB_BLOCK, size - offset), err);
}

/* What stays dirty in the table although the daemon has done all that it ever does. */
static bool is_stuck(const struct count *count, const struct fate *fate)
{
	const struct wb_walk *walk = count->walk;
	bool lives = !(walk->recovery & WB_RECOVERY_DIES) || walk->forecast->cause != WB_CAUSE_BEYOND;

	return !count->keeps_log && lives && fate->left && wb_walk_rank(walk, fate->left->slot) >= walk->ranks;
}

static int count_block(void *context, const struct fate *fate, struct wb_error *err)
{
	struct count *count = context;
	struct wb_walk *walk = count->walk;
	uint64_t block = fate->entries[0].block;
	uint8_t within = inside(walk, block);
	bool loaded = false, claims = has_claims(fate);

	walk->forecast->drop_hangs |= is_stuck(count, fate);
	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++) {
		const struct wb_entry *final = fate->final[i], *wanted = newest(walk, fate, i);

		walk->forecast->written_sectors += final != NULL;
		if ((!final && !wanted) || (final && wanted && same_source(final, wanted) && !claims))
			continue;
		if (!(within >> i & 1)) { /* beyond BACKING it is nowhere */
			walk->forecast->abandoned_sectors += !count->keeps_log && wanted && wanted->dirty >> i & 1;
			continue;
		}
		if (count->backing && !loaded) {
			int ret = read_before(count, block, err);

			if (ret)
				return ret;
			loaded = true;
		}
		walk->forecast->regressed_sectors += is_regressed(count, fate, i);
		walk->forecast->abandoned_sectors += is_abandoned(count, fate, wanted, i);
	}
	return 0;
}

int wb_fate_count(struct wb_walk *walk, struct wb_dev *backing, const struct wb_progress *progress,
		  struct wb_error *err)
{
	enum wb_outcome outcome = walk->forecast->outcome;
	struct count count = { .walk = walk, .backing = backing };
	int ret = bytes_open(&count.bytes, walk, err);

	count.keeps_log = outcome == WB_OUTCOME_HANG || outcome == WB_OUTCOME_CRASH || outcome == WB_OUTCOME_NO_ASSEMBLY;
	if (!ret) {
		count.before = count.bytes.blocks + (size_t)HELD * WB_BLOCK;
		ret = visit_blocks(walk, 0, count_block, &count, progress, err);
	}
	free(count.bytes.blocks);
	return ret;
}

/* ---- the replay ---- */

struct replay {
	struct bytes bytes;
	struct wb_dev *target;
};

static int replay_block(void *context, const struct fate *fate, struct wb_error *err)
{
	struct replay *replay = context;
	int ret = 0;

	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK && !ret; i++) {
		const struct wb_entry *final = fate->final[i];
		const uint8_t *bytes = final ? content(&replay->bytes, final, i) : NULL;

		if (final && !bytes)
			return wb_blame(replay->bytes.walk->dev, wb_fail(err, WB_EIO, 0, wb_slot_offset(&replay->bytes.walk->geometry, final->slot),
				       "reading block %u of slot %u for the forecast", final->index, final->slot), err);
		if (final)
			ret = wb_dev_write(replay->target, fate->entries[0].block * WB_BLOCK + i * WB_SECTOR, bytes,
					   WB_SECTOR, err);
	}
	return ret;
}

int wb_forecast_replay(const struct wb_forecast *forecast, struct wb_dev *target, const struct wb_progress *progress,
		       struct wb_error *err)
{
	struct replay replay = { .target = target };
	int ret;

	if (!forecast->walk)
		return 0;
	ret = bytes_open(&replay.bytes, forecast->walk, err);
	if (!ret)
		ret = visit_blocks(forecast->walk, 0, replay_block, &replay, progress, err);
	free(replay.bytes.blocks);
	return ret ? ret : wb_dev_flush(target, err);
}
