/* SPDX-License-Identifier: GPL-2.0-or-later */
/* recipe CACHE [BACKING] > FILE: what the ring target would make such images of, as far as a recipe can say it. */
#include "fuzz.h"
#include "recipe.h"
#include "ring.h"

static struct wb_cache cache;
static struct wb_ring ring;
static struct wb_dev *backing;

static void put(unsigned op, uint64_t slot, unsigned a, unsigned b, uint64_t n, uint64_t value)
{
	uint8_t item[RECIPE_ITEM] = { (uint8_t)op, (uint8_t)slot, (uint8_t)a, (uint8_t)b };

	wb_put_le(item + ITEM_N, 4, n);
	wb_put_le(item + ITEM_VALUE, 8, value);
	fwrite(item, 1, sizeof(item), stdout);
}

static void put_head(uint64_t backing_bytes)
{
	const struct wb_geometry *geometry = &cache.geometry;
	uint8_t head[RECIPE_ITEM] = { 0 };

	while (wb_format_at(head[HEAD_FORMAT]) != geometry->format)
		head[HEAD_FORMAT]++;
	head[HEAD_ORDER] = (uint8_t)(geometry->order - geometry->format->order_min);
	head[HEAD_SLOTS] = (uint8_t)(geometry->slots - 1);
	head[HEAD_BACKING] = (uint8_t)wb_min(backing_bytes / WB_BLOCK - 1, 31);
	head[HEAD_TAIL] = backing_bytes / WB_BLOCK < 32 ? (uint8_t)(backing_bytes % WB_BLOCK / WB_SECTOR) : 0;
	head[HEAD_SECTOR0] = cache.super == WB_SUPER_ZEROED ? SECTOR0_ZEROED :
			     cache.super == WB_SUPER_DAMAGED ? SECTOR0_GARBAGE : SECTOR0_GOOD;
	head[HEAD_CHOICES] = CHOICE_SUMS;
	wb_put_le(head + HEAD_RECORD, 8, cache.record);
	fwrite(head, 1, sizeof(head), stdout);
}

/* BACKING holds what the data block has for its dirty sectors. */
static bool is_written_back(uint32_t slot, unsigned index, const struct wb_metablock *metablock)
{
	uint64_t at = wb_slot_offset(&cache.geometry, slot) + WB_BLOCK * (index + 1u);
	uint8_t here[WB_BLOCK], there[WB_BLOCK];

	if (wb_dev_read(cache.dev, at, here, WB_BLOCK, NULL) || metablock->sector >= UINT64_MAX / WB_SECTOR ||
	    wb_dev_read(backing, metablock->sector * WB_SECTOR, there, WB_BLOCK, NULL))
		return false;
	for (unsigned i = 0; i < 8; i++)
		if (metablock->dirty >> i & 1 && memcmp(here + i * WB_SECTOR, there + i * WB_SECTOR, WB_SECTOR))
			return false;
	return metablock->dirty;
}

static void put_slot(uint32_t slot)
{
	const struct wb_geometry *geometry = &cache.geometry;
	const struct wb_slot *of = &ring.slots[slot];
	uint8_t meta[WB_BLOCK];
	struct wb_header header;
	unsigned written = 0;

	HOLDS(!wb_dev_read(cache.dev, wb_slot_offset(geometry, slot), meta, WB_BLOCK, NULL));
	if (wb_all_bytes(meta, WB_BLOCK, 0))
		return;
	wb_header_decode(geometry->format, meta, &header);
	unsigned blocks = (unsigned)wb_min(header.length, geometry->capacity);
	unsigned how = !(of->flags & WB_SLOT_SEALED) ? SEAL_BROKEN : of->flags & WB_SLOT_RAW ? SEAL_RAW : SEAL_GOOD;

	put(OP_SEGMENT, slot, how, header.length - blocks,
	    geometry->format->lap.width && header.id ? header.lap - wb_lap_of(geometry, header.id) : 0, header.id);
	for (unsigned i = 0; i < blocks; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(geometry->format, meta, i, &metablock);
		written += backing && is_written_back(slot, i, &metablock);
		put(OP_BLOCK, 0, metablock.dirty, 0, (uint64_t)(metablock.lap - header.lap) << 8 |
		    (of->flags & WB_SLOT_ZERO_DATA ? BLOCK_ZEROES : 0), metablock.sector);
	}
	if (written)
		put(OP_WRITEBACK, 0, 1, 0, 0, header.id);
}

int main(int argc, char **argv)
{
	const struct wb_overrides any = { .any_super = true };
	const struct wb_ring_options options = { .sums_memory = 0 };
	struct wb_dev *dev;
	uint64_t first = 0;

	HOLDS(argc >= 2 && !wb_dev_open(&dev, argv[1], WB_OPEN_READ, NULL));
	if (argc > 2)
		wb_dev_open(&backing, argv[2], WB_OPEN_READ, NULL);
	if (wb_cache_open(&cache, dev, &any, NULL) || !cache.geometry.format || cache.geometry.slots > 16 ||
	    wb_ring_load(&ring, &cache, &options, NULL, NULL))
		return 3;
	put_head(backing ? wb_dev_size(backing) : 32 * WB_BLOCK);
	if (ring.head > cache.geometry.slots)
		first = wb_slot_of(&cache.geometry, ring.head + 1);
	for (uint32_t i = 0; i < cache.geometry.slots; i++) /* in the order of ids */
		put_slot((uint32_t)((first + i) % cache.geometry.slots));
	wb_ring_release(&ring);
	wb_dev_close(backing);
	wb_dev_close(dev);
	return fflush(stdout) != 0;
}
