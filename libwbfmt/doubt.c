/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What BACKING says against taking the id of a segment as flipped that lies in its place: a write that was lost leaves an old
 * segment there, and one that overtook others a newer one; or that may be what M+1 is to go over. Such ids are rare, so each looks
 * through all metadata for itself.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "dev.h"
#include "error.h"
#include "evidence.h"
#include "ring.h"
#include "sweep.h"

#define BATCH 64u

/* A dirty block of the segment, and what of it BACKING holds. */
struct spot {
	uint64_t block;
	uint8_t index;
	uint8_t dirty;
	uint8_t compared;     /* its dirty sectors that can be compared: BACKING's are not one repeated byte */
	uint8_t held;         /* BACKING has them as in this segment */
	uint8_t older, newer; /* BACKING has them as an older, a newer claim says */
	uint8_t written;      /* were the id another one, a newer version would be written there */
};

struct question {
	struct wb_ring *ring;
	struct wb_dev *backing;
	const struct wb_id_bit *bit;
	struct spot *spots;   /* ascending blocks */
	unsigned count;
	uint8_t *bytes;       /* BATCH blocks of metadata, one of CACHE, one of BACKING */
	const struct wb_progress *progress;
};

static uint64_t found_id(const struct question *question)
{
	return question->ring->slots[question->bit->slot].id;
}

static int by_block(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;

	return x->block != y->block ? (x->block < y->block ? -1 : 1) : x->index - y->index;
}

/* *mask: the sectors of both that can be read and lie within BACKING; the bytes of the others are undefined. */
static int read_both(const struct question *question, uint32_t slot, unsigned index, uint64_t block, uint8_t *mask,
		     struct wb_error *err)
{
	struct wb_ring *ring = question->ring;
	uint8_t *cache = question->bytes + BATCH * WB_BLOCK, *backing = cache + WB_BLOCK;
	uint64_t size = wb_dev_size(question->backing), offset = block * WB_BLOCK;
	uint8_t masks[2] = { 0xff, 0xff };
	uint32_t inside = offset < size ? (uint32_t)wb_min(WB_BLOCK, (size - offset) / WB_SECTOR * WB_SECTOR) : 0;
	int ret = wb_ring_reread(ring, ring->cache->dev, wb_slot_offset(&ring->cache->geometry, slot) + WB_BLOCK * (index + 1u), cache,
				 WB_BLOCK, &masks[0], question->progress, err);

	wb_ring_patch(ring, slot, WB_BLOCK * (index + 1u), cache, WB_BLOCK);
	if (ret >= 0)
		ret = wb_ring_reread(ring, question->backing, offset, backing, inside, &masks[1], question->progress, err);
	*mask = masks[0] & masks[1] & (uint8_t)((1u << inside / WB_SECTOR) - 1);
	return ret < 0 ? ret : 0;
}

/* Of the sectors in mask, those that CACHE and BACKING have alike. */
static uint8_t alike(const struct question *question, uint8_t mask)
{
	const uint8_t *cache = question->bytes + BATCH * WB_BLOCK;

	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (memcmp(cache + i * WB_SECTOR, cache + WB_BLOCK + i * WB_SECTOR, WB_SECTOR))
			mask &= (uint8_t)~(1u << i);
	return mask;
}

static uint8_t tells_something(const struct question *question, uint8_t mask)
{
	const uint8_t *backing = question->bytes + (BATCH + 1) * WB_BLOCK;

	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (wb_uniform(backing + i * WB_SECTOR, WB_SECTOR))
			mask &= (uint8_t)~(1u << i);
	return mask;
}

static int find_spots(struct question *question, struct wb_error *err)
{
	struct wb_ring *ring = question->ring;
	uint32_t slot = question->bit->slot;
	int ret = wb_ring_metadata(ring, slot, question->bytes, err);

	for (unsigned i = 0; i < ring->slots[slot].length && !ret; i++) {
		struct wb_metablock metablock;
		struct spot *spot = &question->spots[question->count];
		uint8_t readable;

		wb_metablock_decode(ring->cache->geometry.format, question->bytes, i, &metablock);
		if (!metablock.dirty || !wb_metablock_usable(ring, &metablock))
			continue;
		*spot = (struct spot){ .block = metablock.sector / WB_SECTORS_PER_BLOCK, .index = (uint8_t)i, .dirty = metablock.dirty };
		ret = read_both(question, slot, i, spot->block, &readable, err);
		if (ret)
			break;
		spot->compared = tells_something(question, metablock.dirty & readable);
		spot->held = alike(question, spot->compared);
		question->count++;
	}
	if (!ret)
		qsort(question->spots, question->count, sizeof(*question->spots), by_block);
	return ret;
}

static uint64_t block_of(const void *spots, size_t i)
{
	return ((const struct spot *)spots)[i].block;
}

/* One version, of another segment, of blocks that are asked for. */
static int compare_version(const struct question *question, uint32_t slot, unsigned index,
			   const struct wb_metablock *metablock, struct wb_error *err)
{
	const struct wb_ring *ring = question->ring;
	uint64_t id = ring->slots[slot].id, block = metablock->sector / WB_SECTORS_PER_BLOCK;
	uint8_t covers = metablock->dirty ? metablock->dirty : 0xff, readable, equal;
	const struct spot *end = question->spots + question->count;
	struct spot *spot = question->spots + wb_first_from(question->spots, question->count, block_of, block);

	if (spot == end || spot->block != block)
		return 0;
	int ret = read_both(question, slot, index, block, &readable, err);

	if (ret)
		return ret;
	equal = alike(question, covers & readable);
	for (; spot < end && spot->block == block; spot++) {
		if (id < found_id(question))
			spot->older |= equal;
		else
			spot->newer |= equal;
		if (id > question->bit->id && id <= ring->head)
			spot->written |= metablock->dirty;
	}
	return 0;
}

/* Of the line at hand; torn tails say nothing. */
static bool claims(const struct question *question, uint32_t index)
{
	const struct wb_ring *ring = question->ring;

	return index != question->bit->slot && ring->slots[index].class_ != WB_TORN_TAIL && !wb_ring_other_line(ring, index) &&
	       wb_slot_claims(ring, index);
}

static int compare_batch(const struct question *question, const uint32_t *slots, unsigned n, struct wb_error *err)
{
	struct wb_ring *ring = question->ring;
	int ret = wb_ring_metadatas(ring, slots, n, question->bytes, err);

	for (unsigned k = 0; k < n && !ret; k++)
		for (unsigned i = 0; i < ring->slots[slots[k]].length && !ret; i++) {
			struct wb_metablock metablock;

			wb_metablock_decode(ring->cache->geometry.format, question->bytes + k * WB_BLOCK, i, &metablock);
			if (wb_metablock_usable(ring, &metablock))
				ret = compare_version(question, slots[k], i, &metablock, err);
		}
	return ret;
}

static int compare_others(const struct question *question, const struct wb_progress *progress, struct wb_error *err)
{
	uint32_t slots[BATCH], all = question->ring->cache->geometry.slots;
	unsigned n = 0;
	int ret = 0;

	for (uint32_t i = 0; i < all && !ret; i++) {
		if (claims(question, i))
			slots[n++] = i;
		if (n < BATCH && i + 1 < all)
			continue;
		ret = wb_poll(progress, "looking for what contradicts a flipped bit", i, all, err);
		if (!ret)
			ret = compare_batch(question, slots, n, err);
		n = 0;
	}
	return ret;
}

/* An old segment was written back long ago: BACKING holds it, or something newer. One that is not old is not there yet. */
static bool is_old_segment(const struct question *question)
{
	unsigned compared = 0, neither = 0;

	for (unsigned i = 0; i < question->count; i++) {
		const struct spot *spot = &question->spots[i];

		compared += (unsigned)__builtin_popcount(spot->compared);
		neither += (unsigned)__builtin_popcount(spot->compared & (uint8_t)~(spot->held | spot->newer));
	}
	return 2 * neither <= compared;
}

/* BACKING demonstrably holds it, and something would be written over it. */
static bool is_newer_segment(const struct question *question)
{
	for (unsigned i = 0; i < question->count; i++)
		if (question->spots[i].held & question->spots[i].written & (uint8_t)~question->spots[i].older)
			return true;
	return false;
}

static uint8_t its_own(void *context, uint64_t block)
{
	const struct question *question = context;
	const struct spot *end = question->spots + question->count;
	uint8_t mask = 0;

	for (const struct spot *spot = question->spots + wb_first_from(question->spots, question->count, block_of, block);
	     spot < end && spot->block == block; spot++)
		mask |= spot->dirty;
	return mask;
}

/* In the slot of M+1, under no id that is of there: M+1, or what it was to go over. Who has M+1 has most of what is below it. An
 * id of 0 may have been wiped: then BACKING must hold it, and all of what is below it. */
static int is_not_next(struct question *question, const struct wb_search *search, struct wb_error *err)
{
	struct wb_newest newest = { .besides = its_own, .context = question };
	unsigned compared = 0, held = 0;

	for (unsigned i = 0; i < question->count; i++) {
		compared += (unsigned)__builtin_popcount(question->spots[i].compared);
		held += (unsigned)__builtin_popcount(question->spots[i].held);
	}
	if (2 * held <= compared)
		return !found_id(question);
	int ret = wb_evidence_newest(search, &newest, err);

	return ret ? ret : found_id(question) ? newest.missing > newest.there : newest.missing > 0;
}

/* BACKING goes beyond the id that the segment would get: what bore that has been written back, and needs no correction. */
static int is_written_back(const struct wb_search *search, const struct wb_id_bit *bit, struct wb_error *err)
{
	bool any = false;
	int ret = wb_evidence_above(search, bit->id, &any, err);

	return ret ? ret : any;
}

static int doubt(void *context, const struct wb_id_bit *bit, const struct wb_progress *progress, struct wb_error *err)
{
	const struct wb_backing_doubts *doubts = context;
	const struct wb_search search = { doubts->ring, doubts->backing, doubts->capacity, progress };
	struct question question = { .ring = doubts->ring, .backing = doubts->backing, .bit = bit, .progress = progress };
	void *bytes = NULL;
	int ret;

	question.spots = calloc(WB_CAPACITY_MAX, sizeof(*question.spots));
	if (!question.spots || posix_memalign(&bytes, WB_BLOCK, (BATCH + 2) * WB_BLOCK)) {
		free(question.spots);
		return wb_no_memory(err, "doubts about an id");
	}
	question.bytes = bytes;
	ret = find_spots(&question, err);
	if (!ret)
		ret = compare_others(&question, progress, err);
	if (!ret)
		ret = doubts->ring->slots[bit->slot].class_ == WB_ALIEN_ID ? is_not_next(&question, &search, err) :
		      found_id(&question) > doubts->ring->head ? is_newer_segment(&question) : is_old_segment(&question);
	free(question.spots);
	free(bytes);
	return ret ? ret : is_written_back(&search, bit, err);
}

struct wb_doubts wb_doubts_of(struct wb_backing_doubts *doubts)
{
	return (struct wb_doubts){ .context = doubts, .doubt = doubt };
}

static int doubt_as_before(void *context, const struct wb_id_bit *bit, const struct wb_progress *progress,
			   struct wb_error *err)
{
	const uint64_t *ids = context;

	(void)progress;
	(void)err;
	return !(*ids >> bit->bit & 1);
}

struct wb_doubts wb_doubts_as_before(const uint64_t *ids)
{
	return (struct wb_doubts){ .context = (void *)(uintptr_t)ids, .doubt = doubt_as_before };
}
