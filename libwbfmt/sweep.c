/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Batches of entries: neighbouring requests merged, failures narrowed to sectors, checks compared. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "sweep.h"

#define BATCH 512u /* entries: 2 MiB from each device */

bool wb_uniform(const uint8_t *bytes, size_t size)
{
	return wb_all_bytes(bytes, size, bytes[0]);
}

static uint64_t id_of(const struct wb_ring *ring, const struct wb_entry *entry)
{
	return ring->head - entry->turn;
}

static uint64_t cache_offset(const struct wb_ring *ring, const struct wb_entry *entry)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	return wb_slot_offset(geometry, wb_slot_of(geometry, id_of(ring, entry))) + WB_BLOCK * (entry->index + 1u);
}

/* The blocks of BACKING; what fails is read again sector by sector. masks gets one byte a block. */
static void reread_backing(struct wb_dev *dev, const struct wb_io *io, uint8_t *masks)
{
	unsigned unit = wb_dev_block(dev);
	uint8_t *bytes = io->buffer;

	for (uint32_t at = 0; at < io->length; at += unit) {
		uint32_t some = (uint32_t)wb_min(unit, io->length - at);

		if (!wb_dev_read(dev, io->offset + at, bytes + at, some, NULL))
			continue;
		memset(bytes + at, 0, some);
		for (uint32_t sector = at / WB_SECTOR; sector < (at + some) / WB_SECTOR; sector++)
			masks[sector / WB_SECTORS_PER_BLOCK] &= (uint8_t)~(1u << sector % WB_SECTORS_PER_BLOCK);
	}
}

/* Appends a request, or lengthens the last one where it continues on disk and in memory. */
static unsigned append(struct wb_io *io, unsigned n, uint8_t *buffer, uint64_t offset, uint32_t length)
{
	if (n && io[n - 1].offset + io[n - 1].length == offset &&
	    (uint8_t *)io[n - 1].buffer + io[n - 1].length == buffer) {
		io[n - 1].length += length;
		return n;
	}
	io[n] = (struct wb_io){ .buffer = buffer, .offset = offset, .length = length };
	return n + 1;
}

static void read_versions(struct wb_sweep *sweep, const struct wb_entry *entries, unsigned n)
{
	struct wb_io io[BATCH];
	unsigned requests = 0;

	memset(sweep->masks, 0xff, n);
	for (unsigned i = 0; i < n; i++)
		if (entries[i].dirty || sweep->clean_too)
			requests = append(io, requests, sweep->cache_bytes + (size_t)i * WB_BLOCK,
					  cache_offset(sweep->ring, &entries[i]), WB_BLOCK);
	wb_dev_submit(sweep->ring->cache->dev, io, requests, NULL);
	for (unsigned i = 0; i < requests; i++)
		if (io[i].result)
			wb_ring_reread(sweep->ring, io[i].offset, io[i].buffer, io[i].length,
				       sweep->masks + ((uint8_t *)io[i].buffer - sweep->cache_bytes) / WB_BLOCK);
}

static uint16_t check_of(const uint8_t *block)
{
	return (uint16_t)wb_crc32c(0, block, WB_BLOCK);
}

/* Sums are of the bytes as they are read; the corrected bits are flipped afterwards. */
static int check_versions(struct wb_sweep *sweep, struct wb_entry *entries, unsigned n, struct wb_error *err)
{
	const struct wb_geometry *geometry = &sweep->ring->cache->geometry;

	for (unsigned i = 0; i < n; i++) {
		uint8_t *block = sweep->cache_bytes + (size_t)i * WB_BLOCK;
		uint32_t slot = wb_slot_of(geometry, id_of(sweep->ring, &entries[i]));
		bool whole = sweep->masks[i] == 0xff && !(sweep->ring->slots[slot].flags & WB_SLOT_NO_DATA);

		if (!entries[i].dirty && !sweep->clean_too)
			continue;
		if (sweep->check == WB_CHECK_STORE)
			entries[i].check = check_of(block);
		else if (sweep->check == WB_CHECK_COMPARE && whole && check_of(block) != entries[i].check)
			return wb_fail(err, WB_ECHANGED, 0, cache_offset(sweep->ring, &entries[i]),
				       "block %u of segment %llu reads differently the second time: the device fails or is in use",
				       entries[i].index, (unsigned long long)id_of(sweep->ring, &entries[i]));
		wb_ring_patch(sweep->ring, slot, WB_BLOCK * (entries[i].index + 1u), block, WB_BLOCK);
	}
	return 0;
}

static uint8_t inside_mask(const struct wb_sweep *sweep, uint64_t block)
{
	uint64_t left = sweep->backing_sectors - block * WB_SECTORS_PER_BLOCK;

	if (!sweep->backing_sectors || left >= WB_SECTORS_PER_BLOCK)
		return 0xff;
	return (uint8_t)((1u << left) - 1);
}

/* The batch's blocks of BACKING, each at the place of its first entry. */
static void read_backing(struct wb_sweep *sweep, const struct wb_entry *entries, unsigned n)
{
	struct wb_io io[BATCH];
	unsigned requests = 0;

	memset(sweep->masks + BATCH, 0xff, n);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *at = sweep->backing_bytes + (size_t)i * WB_BLOCK;
		uint32_t sectors = (uint32_t)__builtin_popcount(inside_mask(sweep, entries[i].block));

		if (i && entries[i - 1].block == entries[i].block)
			continue;
		if (sectors < WB_SECTORS_PER_BLOCK)
			memset(at, 0, WB_BLOCK);
		requests = append(io, requests, at, entries[i].block * WB_BLOCK, sectors * WB_SECTOR);
	}
	wb_dev_submit(sweep->backing, io, requests, NULL);
	for (unsigned i = 0; i < requests; i++)
		if (io[i].result)
			reread_backing(sweep->backing, &io[i],
				       sweep->masks + BATCH + ((uint8_t *)io[i].buffer - sweep->backing_bytes) / WB_BLOCK);
}

/* A batch ends with a block's last entry, unless one block fills it alone. */
static unsigned batch_size(const struct wb_entry *entries, size_t n)
{
	size_t size = wb_min(n, BATCH);

	if (size == n || entries[size - 1].block != entries[size].block)
		return (unsigned)size;
	size_t whole = size;

	while (whole && entries[whole - 1].block == entries[size].block)
		whole--;
	return (unsigned)(whole ? whole : size);
}

static int visit_batch(struct wb_sweep *sweep, const struct wb_entry *entries, unsigned n, bool continued,
		       bool continues, struct wb_error *err)
{
	for (unsigned i = 0, next; i < n; i = next) {
		for (next = i + 1; next < n && entries[next].block == entries[i].block;)
			next++;
		struct wb_view view = { .block = entries[i].block, .entries = entries + i, .count = next - i,
					.first = i || !continued, .last = next < n || !continues,
					.data = sweep->cache_bytes + (size_t)i * WB_BLOCK,
					.readable = sweep->masks + i, .inside = inside_mask(sweep, entries[i].block) };

		if (sweep->backing) {
			view.backing = sweep->backing_bytes + (size_t)i * WB_BLOCK;
			view.backing_readable = sweep->masks[BATCH + i];
		}
		int ret = sweep->visit(sweep->context, &view, err);

		if (ret)
			return ret;
	}
	return 0;
}

static int allocate(struct wb_sweep *sweep, struct wb_error *err)
{
	void *cache = NULL, *backing = NULL;

	if (!posix_memalign(&cache, WB_BLOCK, (size_t)BATCH * WB_BLOCK))
		sweep->cache_bytes = cache;
	if (sweep->backing && !posix_memalign(&backing, WB_BLOCK, (size_t)BATCH * WB_BLOCK))
		sweep->backing_bytes = backing;
	sweep->masks = malloc((size_t)2 * BATCH);
	if (!sweep->cache_bytes || (sweep->backing && !sweep->backing_bytes) || !sweep->masks)
		return wb_no_memory(err, "buffers");
	return 0;
}

static void release(struct wb_sweep *sweep)
{
	free(sweep->cache_bytes);
	free(sweep->backing_bytes);
	free(sweep->masks);
	sweep->cache_bytes = sweep->backing_bytes = sweep->masks = NULL;
}

int wb_sweep_some(struct wb_sweep *sweep, struct wb_entry *entries, size_t n, size_t *done,
		  const struct wb_progress *progress, struct wb_error *err)
{
	bool continued = false;
	int ret = allocate(sweep, err);

	sweep->pause = false;
	while (*done < n && !ret && !(sweep->pause && !continued)) {
		struct wb_entry *batch = entries + *done;
		unsigned some = batch_size(batch, n - *done);
		bool continues = some < n - *done && batch[some - 1].block == batch[some].block;

		ret = wb_poll(progress, sweep->phase, *done, n, err);
		if (ret)
			break;
		read_versions(sweep, batch, some);
		ret = check_versions(sweep, batch, some, err);
		if (!ret && sweep->backing)
			read_backing(sweep, batch, some);
		if (!ret && sweep->visit)
			ret = visit_batch(sweep, batch, some, continued, continues, err);
		continued = continues;
		*done += some;
	}
	release(sweep);
	return ret;
}

int wb_sweep_run(struct wb_sweep *sweep, struct wb_entry *entries, size_t n, const struct wb_progress *progress,
		 struct wb_error *err)
{
	size_t done = 0;

	return wb_sweep_some(sweep, entries, n, &done, progress, err);
}
