/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Batches of entries: neighbouring requests merged, failures narrowed to sectors, checks compared. */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "dev.h"
#include "error.h"
#include "helper.h"
#include "sweep.h"

#define BATCH 512u /* entries: 2 MiB from each device */

bool wb_uniform(const uint8_t *bytes, size_t size)
{
	return wb_all_bytes(bytes, size, bytes[0]);
}

uint8_t wb_view_equal(const struct wb_view *view, size_t i)
{
	uint8_t mask = (view->entries[i].dirty ? view->entries[i].dirty : 0xff) & view->readable[i] & view->backing_readable &
		       view->inside, equal = 0;

	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++) {
		const uint8_t *held = view->backing + sector * WB_SECTOR;

		if (mask >> sector & 1 && !memcmp(held, view->data + i * WB_BLOCK + sector * WB_SECTOR, WB_SECTOR) &&
		    !wb_uniform(held, WB_SECTOR))
			equal |= (uint8_t)(1u << sector);
	}
	return equal;
}

static uint64_t id_of(const struct wb_ring *ring, const struct wb_entry *entry)
{
	return ring->slots[entry->slot].id;
}

static uint64_t cache_offset(const struct wb_ring *ring, const struct wb_entry *entry)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	return wb_slot_offset(geometry, entry->slot) + WB_BLOCK * (entry->index + 1u);
}

/* Entries that are visited together, and the bytes they speak of. */
struct buffer {
	const struct wb_sweep *sweep;
	struct wb_entry *entries;
	unsigned count;
	bool continued, continues; /* the first block has entries before these, the last one behind them */
	bool open[BATCH];          /* the entry is of an open block */
	uint8_t *cache_bytes, *backing_bytes; /* WB_BLOCK for each entry */
	uint8_t masks[BATCH], backing_masks[BATCH];
	struct wb_io versions[BATCH], blocks[BATCH];
	unsigned version_count, block_count;
};

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

/* A block that comes in parts has very many versions, and so many are kept only where it is open. */
static void find_open(struct buffer *buffer)
{
	const struct wb_plan *plan = buffer->sweep->plan;
	const struct wb_entry *entries = buffer->entries;

	memset(buffer->open, 0, sizeof(buffer->open));
	for (unsigned i = 0, next; plan && plan->others && i < buffer->count; i = next) {
		bool open = !i && buffer->continued;

		for (next = i; next < buffer->count && entries[next].block == entries[i].block; next++)
			open = open || wb_plan_only_claims(plan, &entries[next]);
		memset(buffer->open + i, open, (next - i) * sizeof(*buffer->open));
	}
}

static bool wants_version(const struct buffer *buffer, unsigned i)
{
	return buffer->entries[i].dirty || buffer->sweep->clean_too || buffer->open[i];
}

static void request_versions(struct buffer *buffer)
{
	const struct wb_sweep *sweep = buffer->sweep;

	memset(buffer->masks, 0xff, buffer->count);
	buffer->version_count = 0;
	for (unsigned i = 0; i < buffer->count; i++)
		if (wants_version(buffer, i))
			buffer->version_count = append(buffer->versions, buffer->version_count,
						       buffer->cache_bytes + (size_t)i * WB_BLOCK,
						       cache_offset(sweep->ring, &buffer->entries[i]), WB_BLOCK);
}

static uint16_t check_of(const uint8_t *block)
{
	return (uint16_t)wb_crc32c(0, block, WB_BLOCK);
}

/* Sums are of the bytes as they are read; the corrected bits are flipped afterwards. */
static int check_versions(struct buffer *buffer, struct wb_error *err)
{
	const struct wb_sweep *sweep = buffer->sweep;

	for (unsigned i = 0; i < buffer->count; i++) {
		struct wb_entry *entry = &buffer->entries[i];
		uint8_t *block = buffer->cache_bytes + (size_t)i * WB_BLOCK;
		bool whole = buffer->masks[i] == 0xff && !(sweep->ring->slots[entry->slot].flags & WB_SLOT_NO_DATA);

		if (!wants_version(buffer, i))
			continue;
		if (buffer->open[i]) /* what only claims has no sum that was verified */
			whole &= entry->dirty && !wb_plan_only_claims(sweep->plan, entry);
		if (sweep->check == WB_CHECK_STORE)
			entry->check = check_of(block);
		else if (sweep->check == WB_CHECK_COMPARE && whole && check_of(block) != entry->check)
			return wb_blame(sweep->ring->cache->dev, wb_fail(err, WB_ECHANGED, 0, cache_offset(sweep->ring, entry),
				       "block %u of segment %llu reads differently the second time: the device fails or is in use",
				       entry->index, (unsigned long long)id_of(sweep->ring, entry)), err);
		wb_ring_patch(sweep->ring, entry->slot, WB_BLOCK * (entry->index + 1u), block, WB_BLOCK);
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

/* The blocks of BACKING, each at the place of its first entry. */
static void request_blocks(struct buffer *buffer)
{
	const struct wb_entry *entries = buffer->entries;

	memset(buffer->backing_masks, 0xff, buffer->count);
	buffer->block_count = 0;
	for (unsigned i = 0; i < buffer->count; i++) {
		uint8_t *at = buffer->backing_bytes + (size_t)i * WB_BLOCK;
		uint32_t sectors = (uint32_t)__builtin_popcount(inside_mask(buffer->sweep, entries[i].block));

		if ((i && entries[i - 1].block == entries[i].block) || (buffer->sweep->open_only && !buffer->open[i]))
			continue;
		if (sectors < WB_SECTORS_PER_BLOCK)
			memset(at, 0, WB_BLOCK);
		buffer->block_count = append(buffer->blocks, buffer->block_count, at, entries[i].block * WB_BLOCK,
					     sectors * WB_SECTOR);
	}
}

/* The reading itself, which may happen while the buffer before is visited: it touches nothing else and tells nobody. */
static void read_buffer(void *context)
{
	struct buffer *buffer = context;

	wb_dev_submit(buffer->sweep->ring->cache->dev, buffer->versions, buffer->version_count, NULL);
	if (buffer->sweep->backing)
		wb_dev_submit(buffer->sweep->backing, buffer->blocks, buffer->block_count, NULL);
}

static int reread(struct wb_ring *ring, struct wb_dev *dev, const struct wb_io *io, unsigned n, const uint8_t *bytes,
		  uint8_t *masks, const struct wb_progress *progress, struct wb_error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < n && ret >= 0; i++)
		if (io[i].result)
			ret = wb_ring_reread(ring, dev, io[i].offset, io[i].buffer, io[i].length,
					     masks + (size_t)((uint8_t *)io[i].buffer - bytes) / WB_BLOCK, progress, err);
	return ret < 0 ? ret : 0;
}

/* A batch ends with a block's last entry, unless one block fills it alone. */
static unsigned batch_size(const struct wb_entry *entries, size_t n)
{
	size_t size = (size_t)wb_min(n, BATCH);

	if (size == n || entries[size - 1].block != entries[size].block)
		return (unsigned)size;
	size_t whole = size;

	while (whole && entries[whole - 1].block == entries[size].block)
		whole--;
	return (unsigned)(whole ? whole : size);
}

static int visit_buffer(const struct buffer *buffer, struct wb_error *err)
{
	const struct wb_sweep *sweep = buffer->sweep;
	const struct wb_entry *entries = buffer->entries;
	unsigned n = buffer->count;

	for (unsigned i = 0, next; i < n; i = next) {
		for (next = i + 1; next < n && entries[next].block == entries[i].block;)
			next++;
		struct wb_view view = { .block = entries[i].block, .entries = entries + i, .count = next - i,
					.first = i || !buffer->continued, .open = buffer->open[i], .last = next < n || !buffer->continues,
					.data = buffer->cache_bytes + (size_t)i * WB_BLOCK,
					.readable = buffer->masks + i, .inside = inside_mask(sweep, entries[i].block) };

		if (sweep->backing && (!sweep->open_only || view.open)) {
			view.backing = buffer->backing_bytes + (size_t)i * WB_BLOCK;
			view.backing_readable = buffer->backing_masks[i];
		}
		int ret = sweep->visit(sweep->context, &view, err);

		if (ret)
			return ret;
	}
	return 0;
}

/* What has been read becomes what a visitor may see, and he sees it. */
static int take_buffer(struct buffer *buffer, const struct wb_progress *progress, struct wb_error *err)
{
	const struct wb_sweep *sweep = buffer->sweep;
	int ret = reread(sweep->ring, sweep->ring->cache->dev, buffer->versions, buffer->version_count, buffer->cache_bytes,
			 buffer->masks, progress, err);

	if (!ret)
		ret = check_versions(buffer, err);
	if (!ret && sweep->backing)
		ret = reread(sweep->ring, sweep->backing, buffer->blocks, buffer->block_count, buffer->backing_bytes,
			     buffer->backing_masks, progress, err);
	return ret || !sweep->visit ? ret : visit_buffer(buffer, err);
}

/* Two buffers: one is read while the other one is visited. */
struct reader {
	struct wb_helper helper;
	struct buffer buffers[2];
	void *bytes;
};

static struct reader *open_reader(const struct wb_sweep *sweep, struct wb_error *err)
{
	const struct wb_dev *cache = sweep->ring->cache->dev;
	bool parallel = cache->parallel && (!sweep->backing || sweep->backing->parallel);
	size_t each = (size_t)BATCH * WB_BLOCK * (sweep->backing ? 2 : 1);
	struct reader *reader = malloc(sizeof(*reader));
	void *bytes = NULL;

	if (!reader || posix_memalign(&bytes, WB_BLOCK, 2 * each)) {
		free(reader);
		wb_no_memory(err, "buffers");
		return NULL;
	}
	reader->bytes = bytes;
	for (unsigned i = 0; i < 2; i++) {
		reader->buffers[i].sweep = sweep;
		reader->buffers[i].cache_bytes = (uint8_t *)bytes + i * each;
		reader->buffers[i].backing_bytes = (uint8_t *)bytes + i * each + (size_t)BATCH * WB_BLOCK;
	}
	wb_helper_start(&reader->helper, sweep->ring->options.jobs > 1 && parallel);
	return reader;
}

static void close_reader(struct reader *reader)
{
	if (!reader)
		return;
	wb_helper_stop(&reader->helper);
	free(reader->bytes);
	free(reader);
}

/* Begins to read what comes behind `done`, if anything does. */
static void read_ahead(struct reader *reader, struct buffer *buffer, struct wb_entry *entries, size_t n, size_t done)
{
	if (done == n)
		return;
	buffer->entries = entries + done;
	buffer->count = batch_size(buffer->entries, n - done);
	buffer->continues = buffer->count < n - done &&
			    buffer->entries[buffer->count - 1].block == buffer->entries[buffer->count].block;
	buffer->continued = done && entries[done - 1].block == entries[done].block;
	find_open(buffer);
	request_versions(buffer);
	if (buffer->sweep->backing)
		request_blocks(buffer);
	wb_helper_give(&reader->helper, read_buffer, buffer);
}

int wb_sweep_some(struct wb_sweep *sweep, struct wb_entry *entries, size_t n, size_t *done,
		  const struct wb_progress *progress, struct wb_error *err)
{
	struct reader *reader = open_reader(sweep, err);
	bool parted = false;
	int ret = reader ? 0 : -WB_ENOMEM;

	sweep->pause = false;
	if (reader)
		read_ahead(reader, &reader->buffers[0], entries, n, *done);
	for (unsigned turn = 0; *done < n && !ret && !(sweep->pause && !parted); turn ^= 1) {
		struct buffer *buffer = &reader->buffers[turn];

		ret = wb_poll(progress, sweep->phase, *done * (uint64_t)WB_BLOCK, n * (uint64_t)WB_BLOCK, err);
		if (ret)
			break;
		wb_helper_wait(&reader->helper);
		read_ahead(reader, &reader->buffers[turn ^ 1], entries, n, *done + buffer->count);
		ret = take_buffer(buffer, progress, err);
		if (ret == -WB_ESTOPPED) /* before anything of it was visited */
			break;
		parted = buffer->continues;
		*done += buffer->count;
	}
	close_reader(reader);
	return ret;
}

int wb_sweep_run(struct wb_sweep *sweep, struct wb_entry *entries, size_t n, const struct wb_progress *progress,
		 struct wb_error *err)
{
	size_t done = 0;

	return wb_sweep_some(sweep, entries, n, &done, progress, err);
}
