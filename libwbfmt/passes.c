/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Cuts a plan into address ranges that fit in memory. A pass scans the metadata newest first; when the
 * entries are full they are sorted and claimed, and if that frees too little the upper half of the
 * addresses is given up until a later pass. Entries given up are found again, so nothing is lost.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "helper.h"
#include "versions.h"

#define SCAN_BATCH 256u
#define CAPACITY_MIN 16u /* more than the eight versions that can own a part of one block */

/* More entries than there are metablocks are never needed. */
static uint64_t metablocks_of(const struct wb_ring *ring)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++)
		sum += ring->slots[i].length;
	return sum;
}

int wb_plan_open(struct wb_plan *plan, struct wb_ring *ring, const struct wb_scope *scope, size_t capacity,
		 struct wb_error *err)
{
	*plan = (struct wb_plan){ .ring = ring, .scope = *scope, .end = scope->begin };
	int ret = wb_versions_order(ring, scope, &plan->order, &plan->order_count, &plan->others, err);

	return ret ? ret : wb_plan_reserve(plan, capacity, metablocks_of(ring), err);
}

int wb_plan_reserve(struct wb_plan *plan, size_t capacity, uint64_t most, struct wb_error *err)
{
	plan->capacity = (size_t)wb_max(CAPACITY_MIN, wb_min(capacity, most));
	plan->entries = malloc(plan->capacity * sizeof(*plan->entries));
	plan->scratch = malloc(plan->capacity * sizeof(*plan->scratch));
	if (!plan->entries || !plan->scratch) {
		wb_plan_close(plan);
		return wb_no_memory(err, "the plan");
	}
	return 0;
}

void wb_plan_close(struct wb_plan *plan)
{
	free(plan->entries);
	free(plan->scratch);
	free(plan->order);
	plan->entries = plan->scratch = NULL;
	plan->order = NULL;
}

bool wb_plan_only_claims(const struct wb_plan *plan, const struct wb_entry *entry)
{
	return plan->others && !wb_slot_planned(plan->ring, &plan->scope, entry->slot);
}

/* The entries of one block, newest first. What nobody planned goes, unless it claims a sector above the planned version:
 * from there on every version remains as it is, for BACKING may hold any of them. */
static size_t resolve_block(const struct wb_plan *plan, struct wb_entry *entries, size_t n)
{
	uint8_t claimed = 0;
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		struct wb_entry entry = entries[i];
		uint8_t wanted = entry.dirty ? entry.dirty : 0xff;
		uint8_t won = (uint8_t)(wanted & ~claimed);

		if (won && wb_plan_only_claims(plan, &entry)) {
			memmove(entries + kept, entries + i, (n - i) * sizeof(*entries));
			return kept + n - i;
		}
		if (!won || wb_plan_only_claims(plan, &entry))
			continue;
		claimed |= wanted;
		if (entry.dirty)
			entry.dirty = won;
		entries[kept++] = entry;
	}
	return kept;
}

static bool any_planned(const struct wb_plan *plan, const struct wb_entry *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!wb_plan_only_claims(plan, &entries[i]))
			return true;
	return false;
}

/* As wb_plan_claim(), where not everything is planned. complete: blocks without anything planned may go. */
static size_t resolve(const struct wb_plan *plan, struct wb_entry *entries, size_t n, bool complete)
{
	size_t kept = 0;

	for (size_t i = 0, next; i < n; i = next) {
		for (next = i + 1; next < n && entries[next].block == entries[i].block;)
			next++;
		size_t some = complete && !any_planned(plan, entries + i, next - i) ?
				      0 : resolve_block(plan, entries + i, next - i);

		memmove(entries + kept, entries + i, some * sizeof(*entries));
		kept += some;
	}
	return kept;
}

static void settle(struct wb_plan *plan, bool complete)
{
	wb_plan_sort(plan->entries, plan->scratch, plan->count);
	if (plan->scope.every_version)
		return;
	plan->count = plan->others ? resolve(plan, plan->entries, plan->count, complete) :
				     wb_plan_claim(plan->entries, plan->count);
}

/* All versions of a single block are wanted and do not fit: there is no range to give up. A small plan may grow. */
static int grow(struct wb_plan *plan, struct wb_error *err)
{
	size_t bytes = 2 * plan->capacity * sizeof(*plan->entries);
	struct wb_entry *entries;

	if (plan->capacity >= WB_GROW_MAX)
		return wb_too_many_versions(err, plan->entries[0].block, plan->capacity);
	entries = realloc(plan->entries, bytes);
	if (!entries)
		return wb_no_memory(err, "the plan");
	plan->entries = entries;
	free(plan->scratch);
	plan->scratch = malloc(bytes);
	if (!plan->scratch)
		return wb_no_memory(err, "the plan");
	plan->capacity *= 2;
	return 0;
}

static int make_room(struct wb_plan *plan, struct wb_error *err)
{
	settle(plan, false);
	if (plan->count <= plan->capacity / 4 * 3)
		return 0;
	size_t cut = plan->capacity / 2;

	while (cut < plan->count && plan->entries[cut].block == plan->entries[0].block)
		cut++;
	if (cut == plan->count)
		return grow(plan, err);
	plan->end = plan->entries[cut].block;
	while (plan->entries[cut - 1].block == plan->end)
		cut--;
	plan->count = cut;
	return 0;
}

void wb_plan_begin(struct wb_plan *plan)
{
	plan->begin = plan->end;
	plan->end = UINT64_MAX;
	plan->count = 0;
}

int wb_plan_add(struct wb_plan *plan, const struct wb_entry *entry, struct wb_error *err)
{
	int ret = 0;

	if (entry->block < plan->begin || entry->block >= plan->end || (plan->scope.end && entry->block >= plan->scope.end))
		return 0;
	if (plan->count == plan->capacity)
		ret = make_room(plan, err);
	if (!ret && entry->block < plan->end)
		plan->entries[plan->count++] = *entry;
	return ret;
}

static int add_segment(struct wb_plan *plan, uint32_t slot, const uint8_t *meta, struct wb_error *err)
{
	const struct wb_ring *ring = plan->ring;
	const struct wb_geometry *geometry = &ring->cache->geometry;

	/* of two metablocks for one block in a segment the larger index is the newer */
	for (unsigned i = ring->slots[slot].length; i-- > 0;) {
		struct wb_metablock metablock;

		wb_metablock_decode(geometry->format, meta, i, &metablock);
		if (!plan->scope.everything && !wb_version_believed(ring, slot, &metablock))
			continue;
		struct wb_entry entry = { .block = metablock.sector / WB_SECTORS_PER_BLOCK,
					  .slot = slot, .index = (uint8_t)i,
					  .dirty = metablock.dirty };

		if (plan->scope.everything)
			entry.check = metablock.sector % WB_SECTORS_PER_BLOCK;
		else if (ring->sums)
			entry.check = ring->sums[(size_t)slot * geometry->capacity + i];
		int ret = wb_plan_add(plan, &entry, err);

		if (ret)
			return ret;
	}
	return 0;
}

/* The metadata of some segments, newest first. */
struct batch {
	struct wb_ring *ring;
	const uint32_t *slots;
	unsigned count;
	uint8_t *metas;
	struct wb_error failure;
	int failed;
};

static void read_batch(void *context)
{
	struct batch *batch = context;

	batch->failed = wb_ring_metadatas(batch->ring, batch->slots, batch->count, batch->metas, &batch->failure);
}

static int add_batch(struct wb_plan *plan, const struct batch *batch, struct wb_error *err)
{
	int ret = batch->failed;

	if (ret && err)
		*err = batch->failure;
	for (unsigned i = 0; i < batch->count && !ret; i++)
		ret = add_segment(plan, batch->slots[i], batch->metas + (size_t)i * WB_BLOCK, err);
	return ret;
}

/* One batch is read while the one before is added. */
static int scan(struct wb_plan *plan, struct batch *batches, const struct wb_progress *progress, struct wb_error *err)
{
	struct wb_helper helper;
	uint32_t begun = 0;
	int ret = 0;

	wb_helper_start(&helper, plan->ring->options.jobs > 1);
	for (unsigned turn = 0; !ret && (begun < plan->order_count || batches[turn ^ 1].count); turn ^= 1) {
		struct batch *next = &batches[turn], *filled = &batches[turn ^ 1];

		ret = wb_poll(progress, "planning", (uint64_t)begun * WB_BLOCK, (uint64_t)plan->order_count * WB_BLOCK, err);
		if (ret)
			break;
		wb_helper_wait(&helper);
		next->slots = plan->order + begun;
		next->count = (unsigned)wb_min(SCAN_BATCH, plan->order_count - begun);
		begun += next->count;
		if (next->count)
			wb_helper_give(&helper, read_batch, next);
		ret = add_batch(plan, filled, err);
		filled->count = 0;
	}
	wb_helper_stop(&helper);
	return ret;
}

int wb_plan_next(struct wb_plan *plan, const struct wb_progress *progress, struct wb_error *err)
{
	const size_t each = (size_t)SCAN_BATCH * WB_BLOCK;
	struct batch *batches;
	void *metas = NULL;
	int ret;

	if (plan->passes && plan->end == UINT64_MAX)
		return 0;
	wb_plan_begin(plan);
	batches = calloc(2, sizeof(*batches));
	if (!batches || posix_memalign(&metas, WB_BLOCK, 2 * each)) {
		free(batches);
		return wb_no_memory(err, "planning");
	}
	for (unsigned i = 0; i < 2; i++) {
		batches[i].ring = plan->ring;
		batches[i].metas = (uint8_t *)metas + i * each;
	}
	ret = scan(plan, batches, progress, err);
	free(metas);
	free(batches);
	if (ret)
		return ret;
	settle(plan, true);
	if (!plan->count && !plan->passes && plan->end == UINT64_MAX) /* a range may be empty: nothing but claims was in it */
		return 0;
	plan->passes++;
	return 1;
}
