/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Does this backing device belong to this cache? Newest versions that BACKING already holds speak for
 * it, clean copies that differ speak against it. The same walk counts what is truly dirty.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "sweep.h"

#define SEEN 65536u /* contents remembered, so that a repeated block counts once */

struct proof {
	struct wb_proof *result;
	uint64_t *seen;
	unsigned seen_count;
};

const char *wb_pair_name(enum wb_pair pair)
{
	return pair == WB_PAIR_PROVEN ? "proven" : pair == WB_PAIR_CONTRADICTED ? "contradicted" : "unproven";
}

/* True the first time it meets this content; past SEEN contents always. */
static bool is_new(struct proof *proof, const uint8_t *block)
{
	uint64_t key = (uint64_t)wb_crc32c(~0u, block, WB_BLOCK / 2) << 32 | wb_crc32c(~0u, block, WB_BLOCK);
	uint64_t at = key % SEEN;

	key |= !key;
	if (proof->seen_count > SEEN / 4 * 3)
		return true;
	while (proof->seen[at] && proof->seen[at] != key)
		at = (at + 1) % SEEN;
	if (proof->seen[at] == key)
		return false;
	proof->seen[at] = key;
	proof->seen_count++;
	return true;
}

/* Of the sectors in mask, those that differ. */
static uint8_t differing(const uint8_t *a, const uint8_t *b, uint8_t mask)
{
	uint8_t result = 0;

	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (mask >> i & 1 && memcmp(a + i * WB_SECTOR, b + i * WB_SECTOR, WB_SECTOR))
			result |= (uint8_t)(1u << i);
	return result;
}

/* The sectors in mask are not all one repeated byte. */
static bool says_something(const uint8_t *block, uint8_t mask)
{
	unsigned lowest = (unsigned)__builtin_ctz(mask) * WB_SECTOR;

	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (mask >> i & 1 && !wb_all_bytes(block + i * WB_SECTOR, WB_SECTOR, block[lowest]))
			return true;
	return false;
}

static void weigh_newest(struct proof *proof, const struct wb_view *view)
{
	const struct wb_entry *newest = &view->entries[0];
	uint8_t mask = (newest->dirty ? newest->dirty : 0xff) & view->inside;

	if (!mask || (mask & ~(view->readable[0] & view->backing_readable)) || !says_something(view->data, mask))
		return;
	bool equal = !differing(view->data, view->backing, mask);

	if (!equal && newest->dirty)
		return;
	if (!is_new(proof, view->data))
		return;
	if (equal)
		proof->result->for_++;
	else
		proof->result->against++;
}

static void note_unreadable(struct wb_proof *result, const struct wb_view *view)
{
	uint8_t lost = view->inside & (uint8_t)~view->backing_readable;

	if (!lost || !view->first)
		return;
	if (!result->backing_unreadable_sectors)
		result->backing_unreadable_first = view->block * WB_BLOCK + (unsigned)__builtin_ctz(lost) * WB_SECTOR;
	result->backing_unreadable_sectors += (unsigned)__builtin_popcount(lost);
}

static int weigh(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct proof *proof = context;
	uint8_t dirty = 0;

	(void)err;
	note_unreadable(proof->result, view);
	weigh_newest(proof, view);
	for (size_t i = 0; i < view->count; i++) {
		uint8_t mask = view->entries[i].dirty & view->inside;
		uint8_t lost = mask & (uint8_t)~(view->readable[i] & view->backing_readable);

		proof->result->unreadable_sectors += (unsigned)__builtin_popcount(lost);
		dirty |= lost;
		dirty |= differing(view->data + i * WB_BLOCK, view->backing, mask & (uint8_t)~lost);
	}
	proof->result->compared_blocks++;
	proof->result->dirty_blocks += dirty != 0;
	proof->result->dirty_sectors += (unsigned)__builtin_popcount(dirty);
	return 0;
}

static void conclude(struct wb_proof *result)
{
	if (result->for_ >= 8 && result->for_ >= result->against)
		result->pair = WB_PAIR_PROVEN;
	else if (result->against >= 16 && result->for_ < result->against / 16)
		result->pair = WB_PAIR_CONTRADICTED;
	else
		result->pair = WB_PAIR_UNPROVEN;
}

/* Keeps about one block in `every`, chosen by its address. */
static size_t thin_out(struct wb_entry *entries, size_t n, uint64_t every)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if ((entries[i].block * 0x9e3779b97f4a7c15u >> 32) % every == 0)
			entries[kept++] = entries[i];
	return kept;
}

static int prove(struct wb_ring *ring, struct wb_dev *backing, size_t capacity, uint64_t sample, struct wb_proof *result,
		 const struct wb_progress *progress, struct wb_error *err)
{
	const struct wb_scope all = { .low = 1, .high = UINT64_MAX, .zeroed = true, .part = true };
	struct proof proof = { .result = result };
	struct wb_sweep sweep = { .ring = ring, .backing = backing, .backing_sectors = wb_dev_size(backing) / WB_SECTOR,
				  .clean_too = true, .phase = "comparing", .context = &proof, .visit = weigh };
	uint64_t every = sample ? ring->dirty_blocks / sample + 1 : 1;
	struct wb_plan plan;
	int ret;

	*result = (struct wb_proof){ .pair = WB_PAIR_UNPROVEN };
	proof.seen = calloc(SEEN, sizeof(*proof.seen));
	if (!proof.seen)
		return wb_no_memory(err, "the pair proof");
	ret = wb_plan_open(&plan, ring, &all, capacity, err);
	while (!ret && (ret = wb_plan_next(&plan, progress, err)) > 0) {
		size_t n = every > 1 ? thin_out(plan.entries, plan.count, every) : plan.count;

		ret = wb_sweep_run(&sweep, plan.entries, n, progress, err);
	}
	wb_plan_close(&plan);
	free(proof.seen);
	conclude(result);
	return ret;
}

int wb_pair_prove(struct wb_ring *ring, struct wb_dev *backing, size_t capacity, uint64_t sample,
		  struct wb_proof *result, const struct wb_progress *progress, struct wb_error *err)
{
	bool trusted = ring->options.record_use == WB_RECORD_TRUST;
	int ret = 0;

	if (trusted) {
		ring->options.record_use = WB_RECORD_AUTO;
		ret = wb_ring_judge(ring, err);
	}
	if (!ret)
		ret = prove(ring, backing, capacity, sample, result, progress, err);
	if (trusted) {
		ring->options.record_use = WB_RECORD_TRUST;
		ret = ret ? ret : wb_ring_judge(ring, err);
	}
	return ret;
}
