/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Loads the log: all headers in one batch after the other, then (verify.c) the segments they announce.
 * What it all means is judge.c's business.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "bytes.h"
#include "error.h"
#include "helper.h"
#include "ring.h"

#define HEADER_BATCH 512u

bool wb_metablock_usable(const struct wb_ring *ring, const struct wb_metablock *metablock)
{
	uint64_t bound = ring->options.backing_sectors;

	if (metablock->sector % WB_SECTORS_PER_BLOCK)
		return false;
	if (metablock->sector > UINT64_MAX / WB_SECTOR - WB_SECTORS_PER_BLOCK)
		return false;
	return !bound || (bound != WB_NO_SECTORS && metablock->sector < bound);
}

uint64_t wb_backing_sectors(const struct wb_dev *backing)
{
	return wb_dev_size(backing) < WB_SECTOR ? WB_NO_SECTORS : wb_dev_size(backing) / WB_SECTOR;
}

static bool padding_is_zero(const struct wb_format *format, const uint8_t *meta, unsigned length)
{
	unsigned header_end = (unsigned)format->length.offset + format->length.width;
	unsigned block_end = (unsigned)format->mb_dirty.offset + format->mb_dirty.width;

	if (!wb_seal_covers_data(format)) /* packed: nothing is unused */
		return true;
	if (!wb_all_bytes(meta + header_end, format->metablocks - header_end, 0))
		return false;
	for (unsigned i = 0; i < length; i++)
		if (!wb_all_bytes(meta + wb_metadata_size(format, i) + block_end, format->stride - block_end, 0))
			return false;
	return true;
}

static void absorb_metablock(struct wb_ring *ring, struct wb_slot *slot, const struct wb_metablock *metablock)
{
	bool aligned = metablock->sector % WB_SECTORS_PER_BLOCK == 0;
	bool usable = wb_metablock_usable(ring, metablock);

	if (!metablock->dirty) {
		if (!usable && ring->cache->geometry.format->caches_reads)
			slot->flags |= WB_SLOT_CLEAN_BAD;
		return;
	}
	slot->dirty_blocks++;
	slot->dirty_sectors += (uint16_t)__builtin_popcount(metablock->dirty);
	if (metablock->dirty != 0xff)
		slot->flags |= WB_SLOT_PARTIAL;
	if (!aligned)
		slot->flags |= WB_SLOT_MISALIGNED;
	else if (!usable)
		slot->flags |= WB_SLOT_BEYOND;
}

static uint32_t sum_of(const uint8_t *meta)
{
	return wb_crc32c(~0u, meta, WB_BLOCK);
}

uint32_t wb_slot_absorb(struct wb_ring *ring, uint32_t index, const uint8_t *meta)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	struct wb_slot *slot = &ring->slots[index];
	uint32_t sum = sum_of(meta);
	struct wb_header header;

	wb_header_decode(geometry->format, meta, &header);
	*slot = (struct wb_slot){ .id = header.id, .length = (uint8_t)header.length, .check = sum, .lap = header.lap };
	if (wb_all_bytes(meta, WB_BLOCK, 0))
		return sum;
	if (!header.id)
		slot->flags |= WB_SLOT_GARBAGE;
	if (!wb_length_in_range(geometry, header.length))
		return sum;
	if (!padding_is_zero(geometry->format, meta, header.length))
		slot->flags |= WB_SLOT_PADDING;
	for (unsigned i = 0; i < header.length; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(geometry->format, meta, i, &metablock);
		absorb_metablock(ring, slot, &metablock);
	}
	slot->flags |= wb_seal_covers_data(geometry->format) ? WB_SLOT_LAP :
							       (uint16_t)wb_seal_laps(geometry, meta, &header);
	return sum;
}

/* v0's stored laps bound the number of slots: lap = (id - 1) / N + 1. */
static void bound_by_lap(struct wb_ring *ring, const uint8_t *meta)
{
	struct wb_header header;

	wb_header_decode(ring->cache->geometry.format, meta, &header);
	if (!header.lap) /* laps are stored modulo 2^32; this one says nothing */
		return;
	ring->lap_low = wb_max(ring->lap_low, (header.id - 1) / header.lap);
	if (header.lap > 1)
		ring->lap_high = wb_min(ring->lap_high, (header.id - 1) / (header.lap - 1));
}

/* 1 when the bytes were read, 0 when not, negative when stopped. */
static int read_stubbornly(struct wb_dev *dev, unsigned retry, uint64_t offset, uint8_t *bytes, uint32_t length,
			   const struct wb_progress *progress, struct wb_error *err)
{
	for (unsigned attempt = 0; attempt <= retry; attempt++) {
		int ret = wb_poll(progress, "rereading what could not be read", 0, 0, err);

		if (ret)
			return ret;
		if (!wb_dev_read(dev, offset, bytes, length, NULL))
			return 1;
	}
	return 0;
}

int wb_ring_reread(struct wb_ring *ring, struct wb_dev *dev, uint64_t offset, uint8_t *bytes, uint32_t length, uint8_t *masks,
		   const struct wb_progress *progress, struct wb_error *err)
{
	bool of_cache = dev == ring->cache->dev;
	unsigned unit = wb_dev_block(dev);
	int lost = 0;

	for (uint32_t at = 0; at < length; at += unit) {
		uint32_t some = (uint32_t)wb_min(unit, length - at);
		int ret = read_stubbornly(dev, of_cache ? ring->options.retry : 0, offset + at, bytes + at, some, progress, err);

		if (ret < 0)
			return ret;
		if (ret)
			continue;
		lost = 1;
		memset(bytes + at, 0, some);
		if (of_cache && ring->options.unreadable)
			ring->options.unreadable(ring->options.context, offset + at, some);
		for (uint32_t sector = at / WB_SECTOR; masks && sector < (at + some) / WB_SECTOR; sector++)
			masks[sector / WB_SECTORS_PER_BLOCK] &= (uint8_t)~(1u << sector % WB_SECTORS_PER_BLOCK);
	}
	return lost;
}

static void take_header(struct wb_ring *ring, uint32_t index, const uint8_t *meta)
{
	struct wb_slot *slot = &ring->slots[index];

	ring->digest = (ring->digest ^ wb_slot_absorb(ring, index, meta)) * 0x100000001b3u;
	if (ring->cache->geometry.format->lap.width && slot->id && slot->flags & WB_SLOT_SEALED)
		bound_by_lap(ring, meta);
}

/* Headers that failed in their batch, when all good ones have been read. */
static int retry_headers(struct wb_ring *ring, uint8_t *meta, const struct wb_progress *progress, struct wb_error *err)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	for (uint32_t i = 0; i < geometry->slots; i++) {
		int lost = ring->slots[i].flags & WB_SLOT_NO_HEADER ?
				   wb_ring_reread(ring, ring->cache->dev, wb_slot_offset(geometry, i), meta, WB_BLOCK, NULL, progress, err) : 1;

		if (lost < 0)
			return lost;
		if (!lost)
			take_header(ring, i, meta);
	}
	return 0;
}

struct header_batch {
	struct wb_dev *dev;
	struct wb_io io[HEADER_BATCH];
	unsigned count;
};

static void read_headers(void *context)
{
	struct header_batch *batch = context;

	wb_dev_submit(batch->dev, batch->io, batch->count, NULL);
}

static void request_headers(const struct wb_ring *ring, struct header_batch *batch, uint64_t from, uint8_t *buffer)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	batch->dev = ring->cache->dev;
	batch->count = (unsigned)wb_min(HEADER_BATCH, geometry->slots - from);
	for (unsigned i = 0; i < batch->count; i++)
		batch->io[i] = (struct wb_io){ .buffer = buffer + (size_t)i * WB_BLOCK, .length = WB_BLOCK,
					       .offset = wb_slot_offset(geometry, (uint32_t)from + i) };
}

static void take_headers(struct wb_ring *ring, const struct header_batch *batch, uint32_t from)
{
	for (unsigned i = 0; i < batch->count; i++) {
		if (batch->io[i].result)
			ring->slots[from + i].flags = WB_SLOT_NO_HEADER;
		else
			take_header(ring, from + i, batch->io[i].buffer);
	}
}

/* One batch is read while the one before is taken. */
static int load_headers(struct wb_ring *ring, const struct wb_progress *progress, uint8_t *buffer,
			struct wb_error *err)
{
	uint64_t slots = ring->cache->geometry.slots;
	struct header_batch batches[2];
	struct wb_helper helper;
	int ret = 0;

	wb_helper_start(&helper, ring->options.jobs > 1);
	for (uint64_t from = 0; from < slots + HEADER_BATCH; from += HEADER_BATCH) {
		unsigned turn = from / HEADER_BATCH & 1;

		ret = wb_poll(progress, "reading headers", (uint64_t)wb_min(from, slots) * WB_BLOCK, (uint64_t)slots * WB_BLOCK, err);
		if (ret)
			break;
		wb_helper_wait(&helper);
		if (from < slots) {
			request_headers(ring, &batches[turn], from, buffer + (size_t)turn * HEADER_BATCH * WB_BLOCK);
			wb_helper_give(&helper, read_headers, &batches[turn]);
		}
		if (from)
			take_headers(ring, &batches[turn ^ 1], (uint32_t)(from - HEADER_BATCH));
	}
	wb_helper_stop(&helper);
	return ret ? ret : retry_headers(ring, buffer, progress, err);
}

/* Without data, a plausible header is all there is to believe. */
static void believe_headers(struct wb_ring *ring)
{
	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++)
		if (wb_slot_wants_data(ring, &ring->slots[i]) && ring->slots[i].id)
			ring->slots[i].flags |= WB_SLOT_SEALED;
}

static int allocate(struct wb_ring *ring, void **buffer, struct wb_error *err)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	uint64_t sums = (uint64_t)geometry->slots * geometry->capacity * sizeof(*ring->sums);
	uint64_t needed = (uint64_t)geometry->slots * WB_SLOT_MEMORY, allowed = ring->cache->memory;

	if (allowed && needed > allowed)
		return wb_fail(err, WB_ETABLE, 0, WB_NO_OFFSET, "the tables of %u slots need %llu MiB of memory, and %llu MiB are allowed",
			       geometry->slots, (unsigned long long)(needed >> 20) + 1, (unsigned long long)(allowed >> 20));
	ring->slots = calloc(geometry->slots, sizeof(*ring->slots));
	if (!ring->slots || posix_memalign(buffer, WB_BLOCK, (size_t)2 * HEADER_BATCH * WB_BLOCK))
		return wb_no_memory(err, "the table of slots");
	if (!ring->options.metadata_only && sums <= ring->options.sums_memory)
		ring->sums = calloc(1, (size_t)sums); /* NULL is fine: replay sums its blocks itself */
	return 0;
}

int wb_ring_load(struct wb_ring *ring, struct wb_cache *cache, const struct wb_ring_options *options,
		 const struct wb_progress *progress, struct wb_error *err)
{
	uint64_t newest_beyond;
	struct wb_decision beyond = { .left_segments = 0 };
	void *buffer = NULL;
	int ret;

	assert(cache->geometry.format);
	*ring = (struct wb_ring){ .cache = cache, .options = *options, .lap_high = UINT64_MAX,
				  .digest = 0xcbf29ce484222325u };
	if (progress)
		ring->waiting = (struct wb_progress){ .context = progress->context, .stop = progress->stop };
	if (wb_dev_pack_info(cache->dev) && wb_dev_pack_info(cache->dev)->metadata_only)
		ring->options.metadata_only = true; /* its checksums would hold because they are made to */
	ret = allocate(ring, &buffer, err);
	if (!ret)
		ret = load_headers(ring, progress, buffer, err);
	if (!ret && ring->options.metadata_only)
		believe_headers(ring);
	free(buffer);
	if (!ret && !ring->options.metadata_only)
		ret = wb_ring_verify(ring, progress, err);
	if (!ret && !ring->options.metadata_only)
		ret = wb_ring_find_bits(ring, progress, err);
	if (!ret)
		ret = wb_account_beyond(ring, NULL, &beyond, &newest_beyond, progress, err);
	ring->beyond = beyond.left_segments;
	if (!ret)
		ret = wb_ring_judge(ring, err);
	if (ret)
		wb_ring_release(ring);
	return ret;
}

void wb_ring_release(struct wb_ring *ring)
{
	free(ring->slots);
	free(ring->sums);
	free(ring->corrections);
	*ring = (struct wb_ring){ .cache = ring->cache };
}

void wb_ring_patch(const struct wb_ring *ring, uint32_t slot, uint32_t from, uint8_t *bytes, uint32_t length)
{
	if (!(ring->slots[slot].flags & WB_SLOT_CORRECTED))
		return;
	const struct wb_correction *fix = wb_ring_correction(ring, slot);

	if (fix && fix->byte >= from && fix->byte - from < length)
		bytes[fix->byte - from] ^= (uint8_t)(1u << fix->bit);
}

/* A metablock that reads differently than when its seal was verified would send good data to a wrong address. */
static bool reads_the_same(const struct wb_ring *ring, uint32_t index, const uint8_t *meta)
{
	return ring->slots[index].check == sum_of(meta);
}

int wb_ring_metadatas(struct wb_ring *ring, const uint32_t *slots, unsigned n, uint8_t *metas, struct wb_error *err)
{
	struct wb_io io[HEADER_BATCH];

	for (unsigned from = 0; from < n; from += HEADER_BATCH) {
		unsigned some = (unsigned)wb_min(HEADER_BATCH, n - from);

		for (unsigned i = 0; i < some; i++)
			io[i] = (struct wb_io){ .buffer = metas + (size_t)(from + i) * WB_BLOCK, .length = WB_BLOCK,
						.offset = wb_slot_offset(&ring->cache->geometry, slots[from + i]) };
		wb_dev_submit(ring->cache->dev, io, some, NULL);
		for (unsigned i = 0; i < some; i++) {
			int read = !io[i].result ? 1 : read_stubbornly(ring->cache->dev, ring->options.retry, io[i].offset,
								       io[i].buffer, WB_BLOCK, &ring->waiting, err);

			if (read < 0)
				return read;
			if (!read)
				return wb_blame(ring->cache->dev, wb_fail(err, WB_EIO, -io[i].result, io[i].offset,
					       "reading the metadata of slot %u again: %s", slots[from + i],
					       strerror(-io[i].result)), err);
		}
	}
	for (unsigned i = 0; i < n; i++) {
		uint8_t *meta = metas + (size_t)i * WB_BLOCK;

		if (!wb_dev_busy(ring->cache->dev) && !reads_the_same(ring, slots[i], meta))
			return wb_blame(ring->cache->dev, wb_fail(err, WB_ECHANGED, 0, wb_slot_offset(&ring->cache->geometry, slots[i]),
				       "the metadata of slot %u reads differently the second time: the device fails or is in use",
				       slots[i]), err);
		wb_ring_patch(ring, slots[i], 0, meta, WB_BLOCK);
	}
	return 0;
}

int wb_ring_metadata(struct wb_ring *ring, uint32_t slot, uint8_t *meta, struct wb_error *err)
{
	return wb_ring_metadatas(ring, &slot, 1, meta, err);
}
