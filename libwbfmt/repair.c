/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What may be repaired on a cache itself, and in which order. Every repair changes one sector, and the one that lets
 * a driver replay more than before comes after those that make that replay right: ids, then seals from the newest
 * segment down (a driver stops at the oldest broken one), the record, the torn head, and sector 0 at the very end.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "ring.h"

static const char *common_obstacle(const struct wb_ring *ring, bool zeroed_super)
{
	const struct wb_cache *cache = ring->cache;

	if (cache->geometry.wrap)
		return "with wrapped slot addresses segments may lie over each other and over the superblock";
	if (cache->tie)
		return "two generations explain the segments equally well (--generation decides)";
	if (ring->resized || ring->shifted)
		return "the geometry does not fit the segments";
	if (ring->destroyed)
		return "no segment is valid";
	if (cache->super == WB_SUPER_ZEROED && !zeroed_super)
		return "sector 0 is all zero: the log may have been ended by hand (--force=superblock and BACKING restore it)";
	return NULL;
}

/* With one of these a driver that replays more would put old data over new. */
static const char *ring_obstacle(const struct wb_ring *ring)
{
	if (ring->restarted)
		return "the ring was restarted: which of its two histories holds is not known";
	if (ring->holes)
		return "the window has a hole";
	if (ring->classes[WB_AHEAD] || ring->classes[WB_ALIEN_ID])
		return "a segment bears an id that a driver would take for the newest";
	return NULL;
}

const char *wb_repair_obstacle(const struct wb_ring *ring, enum wb_repair_kind kind, bool zeroed_super)
{
	const struct wb_cache *cache = ring->cache;
	const char *obstacle = common_obstacle(ring, zeroed_super);

	if (obstacle)
		return obstacle;
	switch (kind) {
	case WB_REPAIR_SUPER:
		if (!ring->head)
			return "no valid segment proves what stood there";
		if (cache->geometry.format->order_stored && cache->witnesses < 2)
			return "one segment alone does not prove the order of the log (--generation and --order read it as it is)";
		if (cache->super == WB_SUPER_UNREADABLE)
			return "sector 0 cannot be read: copy the device with ddrescue, and repair the copy";
		return NULL;
	case WB_REPAIR_BIT:
		return ring->restarted ? ring_obstacle(ring) : NULL;
	case WB_REPAIR_RECORD:
		if (ring->cache->geometry.format->record_binds)
			return "in this generation the record tells which segments were discarded";
		break;
	case WB_REPAIR_HEAD:
		break;
	}
	return ring_obstacle(ring);
}

struct walk {
	struct wb_ring *ring;
	int (*visit)(void *context, const struct wb_repair *repair, struct wb_error *err);
	void *context;
	const struct wb_progress *progress;
	uint64_t done;
};

/* Completes a repair with what stands there now; one that would change nothing is none. */
static int offer(struct walk *walk, struct wb_repair *repair, struct wb_error *err)
{
	int ret = wb_dev_read(walk->ring->cache->dev, repair->offset, repair->before, repair->length, err);

	if (!ret && repair->kind == WB_REPAIR_BIT)
		repair->after[0] ^= repair->before[0];
	if (ret || !memcmp(repair->before, repair->after, repair->length))
		return ret;
	ret = wb_poll(walk->progress, "repairing", walk->done++, 0, err);
	return ret ? ret : walk->visit(walk->context, repair, err);
}

/* ---- flipped bits ---- */

static bool is_of_id(const struct wb_ring *ring, const struct wb_correction *fix)
{
	const struct wb_field id = ring->cache->geometry.format->id;

	return fix->byte >= id.offset && fix->byte - id.offset < id.width;
}

/* The id that stands in the slot, while wb_slot.id is the corrected one. */
static uint64_t wrong_id(const struct wb_ring *ring, const struct wb_correction *fix)
{
	unsigned bit = 8 * (fix->byte - ring->cache->geometry.format->id.offset) + fix->bit;

	return ring->slots[fix->slot].id ^ UINT64_C(1) << bit;
}

/* Ids first, the largest wrong one last: it decides where a driver begins. Then seals, the newest segment first. */
static int in_order_of_writing(const void *a, const void *b, void *context)
{
	const struct wb_correction *x = a, *y = b;
	const struct wb_ring *ring = context;
	bool id = is_of_id(ring, x);

	if (id != is_of_id(ring, y))
		return id ? -1 : 1;
	uint64_t p = id ? wrong_id(ring, x) : ring->slots[y->slot].id;
	uint64_t q = id ? wrong_id(ring, y) : ring->slots[x->slot].id;

	return p < q ? -1 : p > q;
}

/* A write over the segment of the lap before may have been cut off there: whether more than a bit of them differs nobody knows. */
static bool may_be_torn(const struct wb_ring *ring, uint64_t id)
{
	uint64_t slots = ring->cache->geometry.slots;

	return (id == ring->head && id > slots) || id + slots - 1 == ring->head;
}

/* A seal: one neighbour for each bit, of 2^32 checksums. An id: 64 neighbours of 2^64. */
static uint64_t odds_of(const struct wb_ring *ring, const struct wb_correction *fix)
{
	if (!is_of_id(ring, fix) && may_be_torn(ring, ring->slots[fix->slot].id))
		return 0;
	uint64_t bits = 8 * (WB_BLOCK * (ring->slots[fix->slot].length + 1u) - WB_SUMMED_FROM);

	return is_of_id(ring, fix) ? UINT64_C(1) << 58 : (UINT64_C(1) << 32) / bits;
}

static int walk_bits(struct walk *walk, struct wb_error *err)
{
	struct wb_ring *ring = walk->ring;
	size_t size = sizeof(*ring->corrections) * ring->correction_count;
	struct wb_correction *ordered;
	int ret = 0;

	if (!ring->correction_count)
		return 0;
	ordered = malloc(size);
	if (!ordered)
		return wb_no_memory(err, "the order of corrections");
	memcpy(ordered, ring->corrections, size);
	qsort_r(ordered, ring->correction_count, sizeof(*ordered), in_order_of_writing, ring);
	for (uint32_t i = 0; i < ring->correction_count && !ret; i++) {
		const struct wb_correction *fix = &ordered[i];
		struct wb_repair repair = { .kind = WB_REPAIR_BIT, .slot = fix->slot, .id = ring->slots[fix->slot].id,
					    .offset = wb_slot_offset(&ring->cache->geometry, fix->slot) + fix->byte,
					    .length = 1, .after = { (uint8_t)(1u << fix->bit) }, .odds = odds_of(ring, fix) };

		if (ring->slots[fix->slot].flags & WB_SLOT_CORRECTED)
			ret = offer(walk, &repair, err);
	}
	free(ordered);
	return ret;
}

/* ---- the record, the torn head, sector 0 ---- */

static int walk_record(struct walk *walk, struct wb_error *err)
{
	struct wb_repair repair = { .kind = WB_REPAIR_RECORD, .slot = WB_NO_SLOT, .offset = WB_RECORD_OFFSET, .length = 8 };

	if (walk->ring->record_state != WB_RECORD_GARBAGE && !wb_record_is_hazard(walk->ring))
		return 0;
	return offer(walk, &repair, err);
}

static int walk_head(struct walk *walk, struct wb_error *err)
{
	const struct wb_ring *ring = walk->ring;
	const struct wb_geometry *geometry = &ring->cache->geometry;
	uint32_t index = wb_slot_of(geometry, ring->head + 1);
	struct wb_repair repair = { .kind = WB_REPAIR_HEAD, .slot = index, .id = ring->slots[index].id,
				    .offset = wb_slot_offset(geometry, index) + geometry->format->id.offset,
				    .length = geometry->format->id.width };

	return ring->slots[index].class_ == WB_TORN_HEAD ? offer(walk, &repair, err) : 0;
}

static int walk_super(struct walk *walk, struct wb_error *err)
{
	const struct wb_cache *cache = walk->ring->cache;
	struct wb_repair repair = { .kind = WB_REPAIR_SUPER, .slot = WB_NO_SLOT, .length = WB_SECTOR };

	if (cache->super != WB_SUPER_DAMAGED && cache->super != WB_SUPER_ZEROED)
		return 0;
	wb_super_encode(repair.after, &cache->geometry);
	return offer(walk, &repair, err);
}

int wb_repair_each(struct wb_ring *ring, bool zeroed_super,
		   int (*visit)(void *context, const struct wb_repair *repair, struct wb_error *err), void *context,
		   const struct wb_progress *progress, struct wb_error *err)
{
	static int (*const walks[])(struct walk *, struct wb_error *) = {
		[WB_REPAIR_BIT] = walk_bits, [WB_REPAIR_RECORD] = walk_record,
		[WB_REPAIR_HEAD] = walk_head, [WB_REPAIR_SUPER] = walk_super,
	};
	struct walk walk = { .ring = ring, .visit = visit, .context = context, .progress = progress };
	int ret = 0;

	for (unsigned kind = WB_REPAIR_BIT; kind <= WB_REPAIR_SUPER && !ret; kind++)
		if (!wb_repair_obstacle(ring, (enum wb_repair_kind)kind, zeroed_super))
			ret = walks[kind](&walk, err);
	return ret;
}

/* ---- writing ---- */

static int check_sector(const uint8_t *sector, const struct wb_repair *repair, const uint8_t *expected, struct wb_error *err)
{
	if (!memcmp(sector + repair->offset % WB_SECTOR, expected, repair->length))
		return 0;
	return wb_fail(err, WB_ECHANGED, 0, repair->offset, expected == repair->before ?
		       "these bytes are not what they were when the repair was decided" :
		       "these bytes do not read as they were written: the device fails");
}

int wb_repair_write(struct wb_dev *dev, const struct wb_repair *repair, struct wb_error *err)
{
	uint64_t begin = repair->offset / WB_SECTOR * WB_SECTOR;
	uint8_t sector[WB_SECTOR];
	int ret = wb_dev_read(dev, begin, sector, WB_SECTOR, err);

	if (!ret)
		ret = check_sector(sector, repair, repair->before, err);
	if (ret)
		return ret;
	memcpy(sector + repair->offset % WB_SECTOR, repair->after, repair->length);
	ret = wb_dev_write(dev, begin, sector, WB_SECTOR, err);
	if (!ret)
		ret = wb_dev_flush(dev, err);
	if (ret)
		return ret;
	wb_dev_forget(dev);
	memset(sector, 0, sizeof(sector));
	ret = wb_dev_read(dev, begin, sector, WB_SECTOR, err);
	return ret ? ret : check_sector(sector, repair, repair->after, err);
}
