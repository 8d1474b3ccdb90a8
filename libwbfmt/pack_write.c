/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes a pack: one pass over the slots, chunk by chunk. What is a segment is decided slot by slot (the seal holds, or the
 * header belongs exactly where it lies): of anything else only the header's fields are taken, because it may be what
 * the device held before.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "bytes.h"
#include "crc32c.h"
#include "error.h"
#include "helper.h"
#include "pack.h"

#define BATCH_BYTES (4u << 20)
#define SLOT_MAX (WB_BLOCK * (WB_CAPACITY_MAX + 1))

/* Slots of one chunk that are read together, and their data. */
struct batch {
	uint32_t chunk;
	unsigned from, to;
	struct wb_io io[WB_PACK_CHUNK]; /* of slots from ... to - 1 */
	uint8_t *data;
};

struct headers {
	uint8_t *metas;
	uint8_t lost[WB_PACK_CHUNK]; /* sectors of the metadata that cannot be read */
};

/* One thread reads batches; the other makes columns of them, and chunks of those. */
struct writer {
	struct wb_dev *dev;
	pthread_mutex_t dev_lock;
	struct wb_geometry geometry;
	const struct wb_pack_options *options;
	struct wb_pack_result *result;
	int fd;
	struct wb_helper helper;
	struct batch batches[2], *taken; /* by the helper */
	struct headers headers[2]; /* of even and odd chunks */
	/* of the thread that works */
	z_stream zlib;
	struct wb_pack_columns columns;
	uint8_t *whole; /* a slot */
	uint8_t *inflated, *deflated;
	_Atomic int failed; /* what the caller gets, with: */
	struct wb_error err;
};

/* ---- the file ---- */

static int write_out(struct writer *writer, const uint8_t *bytes, size_t size, struct wb_error *err)
{
	while (size) {
		ssize_t n = write(writer->fd, bytes, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return wb_fail(err, WB_EIO, errno, WB_NO_OFFSET, "writing the pack: %s", strerror(errno));
		bytes += n;
		size -= (size_t)n;
		writer->result->bytes += (uint64_t)n;
	}
	return 0;
}

static int write_chunk(struct writer *writer, uint32_t first, const uint8_t *bytes, uint32_t size, struct wb_error *err)
{
	struct wb_pack_chunk_head head = { .inflated = size, .first = first };
	uint8_t head_bytes[WB_PACK_CHUNK_HEAD];
	z_stream *zlib = &writer->zlib;

	zlib->next_in = (Bytef *)(uintptr_t)bytes;
	zlib->avail_in = size;
	zlib->next_out = writer->deflated;
	zlib->avail_out = WB_PACK_DEFLATED;
	if (deflateReset(zlib) != Z_OK || deflate(zlib, Z_FINISH) != Z_STREAM_END)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "zlib cannot compress %u bytes", size);
	head.deflated = WB_PACK_DEFLATED - zlib->avail_out;
	head.crc = ~wb_crc32c(~0u, writer->deflated, head.deflated);
	wb_pack_chunk_encode(&head, head_bytes);
	int ret = write_out(writer, head_bytes, sizeof(head_bytes), err);

	return ret ? ret : write_out(writer, writer->deflated, head.deflated, err);
}

static void describe_sector0(const struct wb_cache *cache, struct wb_pack_head *head)
{
	head->ended = cache->super == WB_SUPER_ENDED;
	head->marker = cache->marker;
	if (head->ended)
		return;
	memcpy(head->first, cache->sector0, sizeof(head->first));
	for (unsigned i = WB_SECTOR; i-- > sizeof(head->first);)
		if (cache->sector0[i]) {
			head->rest++;
			head->rest_first = (uint16_t)i;
		}
}

static int write_head(struct writer *writer, const struct wb_cache *cache, struct wb_error *err)
{
	const struct wb_pack_options *options = writer->options;
	struct wb_pack_head head = {
		.info = { .obfuscated = options->key, .metadata_only = options->metadata_only,
			  .busy = wb_dev_busy(cache->dev), .block_device = wb_dev_is_block(cache->dev),
			  .format = writer->geometry.format, .order = writer->geometry.order,
			  .slots = writer->geometry.slots, .evidence = cache->evidence, .time = options->time,
			  .backing_bytes = options->backing_bytes },
		.bytes = wb_dev_size(cache->dev), .block = wb_dev_block(cache->dev), .record = cache->record,
	};
	uint8_t bytes[WB_PACK_HEAD];

	describe_sector0(cache, &head);
	wb_pack_head_encode(&head, bytes);
	return write_out(writer, bytes, sizeof(bytes), err);
}

static int write_facts(struct writer *writer, struct wb_error *err)
{
	const char *facts = writer->options->facts ? writer->options->facts : "";
	size_t size = strlen(facts);

	if (size > WB_PACK_FACTS)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "%zu bytes of facts, a pack holds %u", size, WB_PACK_FACTS);
	return write_chunk(writer, WB_PACK_FACTS_CHUNK, (const uint8_t *)facts, (uint32_t)size, err);
}

/* ---- reading ---- */

static void submit(struct writer *writer, struct wb_io *io, unsigned n)
{
	pthread_mutex_lock(&writer->dev_lock);
	wb_dev_submit(writer->dev, io, n, NULL); /* each request says for itself how it went */
	pthread_mutex_unlock(&writer->dev_lock);
}

static bool read_now(struct writer *writer, uint64_t offset, uint8_t *bytes, uint32_t length)
{
	struct wb_io io = { .buffer = bytes, .offset = offset, .length = length };

	submit(writer, &io, 1);
	return !io.result;
}

static unsigned slots_of(const struct writer *writer, uint32_t chunk)
{
	return (unsigned)wb_min(WB_PACK_CHUNK, writer->geometry.slots - chunk);
}

static struct headers *headers_of(struct writer *writer, uint32_t chunk)
{
	return &writer->headers[chunk / WB_PACK_CHUNK % 2];
}

static const uint8_t *meta_of(const struct headers *headers, unsigned slot)
{
	return headers->metas + (size_t)slot * WB_BLOCK;
}

static void add_run(struct writer *writer, unsigned slot, uint64_t first, uint64_t sectors)
{
	struct wb_pack_columns *columns = &writer->columns;
	unsigned last = columns->run_count - 1;

	writer->result->unreadable_sectors += sectors;
	if (columns->runs[slot] && columns->run_first[last] + columns->run_length[last] == first) {
		columns->run_length[last] += sectors;
		return;
	}
	columns->flags[slot] |= WB_PACK_BAD;
	columns->runs[slot]++;
	columns->run_first[columns->run_count] = first;
	columns->run_length[columns->run_count++] = sectors;
}

/* Reads again, unit by unit, what failed: bytes `from` and on of a slot. What cannot be read is zeroed and noted as unreadable. */
static bool reread(struct writer *writer, uint32_t chunk, unsigned slot, uint32_t from, uint8_t *bytes, uint32_t length)
{
	uint32_t unit = wb_dev_block(writer->dev);
	bool lost = false;

	for (uint32_t at = 0; at < length; at += unit) {
		if (read_now(writer, wb_slot_offset(&writer->geometry, chunk + slot) + from + at, bytes + at, unit))
			continue;
		memset(bytes + at, 0, unit);
		add_run(writer, slot, (from + at) / WB_SECTOR, unit / WB_SECTOR);
		lost = true;
	}
	return lost;
}

static void read_metadata(struct writer *writer, uint32_t chunk, struct wb_io *io)
{
	struct headers *headers = headers_of(writer, chunk);
	unsigned n = slots_of(writer, chunk), unit = wb_dev_block(writer->dev);

	for (unsigned i = 0; i < n; i++)
		io[i] = (struct wb_io){ .buffer = headers->metas + (size_t)i * WB_BLOCK, .length = WB_BLOCK,
					.offset = wb_slot_offset(&writer->geometry, chunk + i) };
	submit(writer, io, n);
	for (unsigned i = 0; i < n; i++) {
		headers->lost[i] = 0;
		for (unsigned at = 0; io[i].result && at < WB_BLOCK; at += unit)
			if (!read_now(writer, io[i].offset + at, (uint8_t *)io[i].buffer + at, unit))
				headers->lost[i] |= (uint8_t)(((1u << unit / WB_SECTOR) - 1) << at / WB_SECTOR);
	}
}

/* As wb_slot_wants_data(): bytes of data that a check reads to verify this slot. */
static uint32_t data_wanted(const struct writer *writer, const struct headers *headers, unsigned slot)
{
	const uint8_t *meta = meta_of(headers, slot);
	struct wb_header header;

	if (writer->options->metadata_only || headers->lost[slot] || wb_all_bytes(meta, WB_BLOCK, 0))
		return 0;
	wb_header_decode(writer->geometry.format, meta, &header);
	if (!wb_length_in_range(&writer->geometry, header.length))
		return 0;
	if (!wb_seal_covers_data(writer->geometry.format) && !wb_seal_laps(&writer->geometry, meta, &header))
		return 0;
	return header.length * WB_BLOCK;
}

/* Reads the slots of a chunk from slot `from` on, as many as fit. A slot without data has an empty request. */
static void read_batch(struct writer *writer, struct batch *batch, uint32_t chunk, unsigned from)
{
	unsigned n = slots_of(writer, chunk);
	uint32_t used = 0;

	if (!from)
		read_metadata(writer, chunk, batch->io);
	batch->chunk = chunk;
	batch->from = from;
	for (batch->to = from; batch->to < n; batch->to++) {
		uint32_t length = data_wanted(writer, headers_of(writer, chunk), batch->to);

		if (length > BATCH_BYTES - used)
			break;
		batch->io[batch->to] = (struct wb_io){ .buffer = batch->data + used, .length = length,
						       .offset = wb_slot_offset(&writer->geometry, chunk + batch->to) + WB_BLOCK };
		used += length;
	}
	if (used)
		submit(writer, batch->io + from, batch->to - from);
}

/* ---- what a slot is ---- */

static unsigned count_bytes(const uint8_t *bytes, unsigned size)
{
	unsigned n = 0;

	for (unsigned i = 0; i < size; i++)
		n += bytes[i] != 0;
	return n;
}

static void count_padding(struct writer *writer, unsigned slot, const uint8_t *meta, unsigned blocks)
{
	const struct wb_format *format = writer->geometry.format;
	struct wb_pack_columns *columns = &writer->columns;
	unsigned used = (unsigned)format->length.offset + format->length.width;
	unsigned block_used = (unsigned)format->mb_dirty.offset + format->mb_dirty.width;

	if (!wb_seal_covers_data(format)) /* packed: nothing is unused */
		return;
	columns->header_padding[slot] = wb_all_bytes(meta + used, format->metablocks - used, 0) ?
						0 : count_bytes(meta + used, format->metablocks - used);
	columns->block_padding[slot] = 0;
	for (unsigned i = 0; i < blocks; i++)
		columns->block_padding[slot] +=
			count_bytes(meta + wb_metadata_size(format, i) + block_used, format->stride - block_used);
	if (columns->header_padding[slot] + columns->block_padding[slot])
		columns->flags[slot] |= WB_PACK_PADDING;
	writer->result->padding_bytes += columns->header_padding[slot] + columns->block_padding[slot];
}

/* The header stands where its id belongs, and nothing speaks against a driver having written it: a segment, though perhaps
 * a damaged one. */
static bool belongs_here(const struct writer *writer, uint32_t index, const uint8_t *meta,
			 const struct wb_header *header)
{
	const struct wb_format *format = writer->geometry.format;
	unsigned used = (unsigned)format->length.offset + format->length.width;
	struct wb_metablock metablock;

	if (!header->id || wb_slot_of(&writer->geometry, header->id) != index ||
	    !wb_length_in_range(&writer->geometry, header->length))
		return false;
	if (!format->lap.width)
		return wb_all_bytes(meta + used, format->metablocks - used, 0);
	wb_metablock_decode(format, meta, 0, &metablock);
	return header->lap == wb_lap_of(&writer->geometry, header->id) ||
	       metablock.lap == wb_lap_of(&writer->geometry, header->id);
}

/* Compares the computed checksum with the stored one; true when it holds. */
static bool take_checksum(struct writer *writer, unsigned slot, const uint8_t *meta, const uint8_t *data,
			  const struct wb_header *header)
{
	uint32_t crc = wb_crc32c(~0u, meta + WB_SUMMED_FROM, WB_BLOCK - WB_SUMMED_FROM);

	crc = wb_crc32c(crc, data, header->length * WB_BLOCK);
	unsigned match = wb_seal_match(header->checksum, crc);

	writer->columns.flags[slot] |= !match ? WB_PACK_CRC : match & WB_SLOT_RAW ? WB_PACK_RAW : WB_PACK_PLAIN;
	writer->columns.crc[slot] = crc;
	return match;
}

/* A seal that does not hold may hold with a length one bit away. */
static void explain_length(struct writer *writer, uint32_t chunk, unsigned slot, const struct wb_header *header)
{
	const struct wb_geometry *geometry = &writer->geometry;
	struct wb_pack_columns *columns = &writer->columns;
	uint8_t *whole = writer->whole;
	uint32_t size = (geometry->capacity + 1) * WB_BLOCK;

	if (!read_now(writer, wb_slot_offset(geometry, chunk + slot), whole, size) &&
	    reread(writer, chunk, slot, 0, whole, size))
		return;
	uint32_t crc = wb_crc32c(~0u, whole + WB_SUMMED_FROM, WB_BLOCK - WB_SUMMED_FROM);

	for (uint32_t length = 0; length <= geometry->capacity; length++) {
		unsigned match = wb_seal_match(header->checksum, crc);

		if (match && wb_length_in_range(geometry, length) && __builtin_popcount(length ^ header->length) == 1) {
			columns->flags[slot] |= WB_PACK_FLIP | (match & WB_SLOT_RAW ? WB_PACK_FLIP_RAW : 0u);
			columns->flipped[slot] = length;
			return;
		}
		crc = wb_crc32c(crc, whole + WB_BLOCK * (length + 1), length < geometry->capacity ? WB_BLOCK : 0);
	}
}

static void take_metablocks(struct writer *writer, unsigned slot, const uint8_t *meta, const uint8_t *data,
			    const struct wb_header *header)
{
	const struct wb_format *format = writer->geometry.format;
	struct wb_pack_columns *columns = &writer->columns;
	unsigned n = wb_pack_blocks_of(columns, slot);
	bool looks = header->length && !writer->options->metadata_only;

	for (unsigned i = 0; i < n; i++) {
		unsigned at = columns->block_count++;
		struct wb_metablock metablock;

		wb_metablock_decode(format, meta, i, &metablock);
		if (writer->options->key)
			metablock.sector = wb_obfuscate(writer->options->key, metablock.sector);
		columns->sector[at] = metablock.sector >> 3 | metablock.sector << 61;
		columns->dirty[at] = metablock.dirty;
		if (format->lap.width)
			columns->block_lap[at] = metablock.lap - header->lap;
		if (!wb_seal_covers_data(format))
			columns->holds_data[at] = looks && !wb_all_bytes(data + (size_t)WB_BLOCK * i, WB_BLOCK, 0);
	}
	writer->result->segments++;
}

static void count_dirty(struct writer *writer, unsigned slot, const uint8_t *meta, const struct wb_header *header)
{
	struct wb_pack_columns *columns = &writer->columns;

	columns->flags[slot] |= WB_PACK_COUNTS;
	columns->dirty_blocks[slot] = columns->dirty_sectors[slot] = 0;
	for (unsigned i = 0; i < header->length; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(writer->geometry.format, meta, i, &metablock);
		columns->dirty_blocks[slot] += metablock.dirty != 0;
		columns->dirty_sectors[slot] += (unsigned)__builtin_popcount(metablock.dirty);
	}
}

static void clear_slot(struct wb_pack_columns *columns, unsigned slot)
{
	columns->flags[slot] = columns->id[slot] = columns->length[slot] = columns->runs[slot] = 0;
	columns->checksum[slot] = columns->lap[slot] = 0;
}

static void take_header(struct wb_pack_columns *columns, unsigned slot, const struct wb_header *header)
{
	columns->id[slot] = header->id;
	columns->length[slot] = header->length;
	columns->checksum[slot] = header->checksum;
	columns->lap[slot] = header->lap;
	if (!header->id && !header->length && !header->checksum && !header->lap)
		columns->flags[slot] |= WB_PACK_OTHER; /* as long as it is not blank */
}

static bool verify(struct writer *writer, uint32_t chunk, unsigned slot, const uint8_t *meta, const uint8_t *data,
		   const struct wb_header *header)
{
	bool in_range = wb_length_in_range(&writer->geometry, header->length);

	if (!wb_seal_covers_data(writer->geometry.format))
		return in_range && wb_seal_laps(&writer->geometry, meta, header);
	if (writer->options->metadata_only)
		return false;
	if (in_range && !(writer->columns.flags[slot] & WB_PACK_BAD) &&
	    take_checksum(writer, slot, meta, data, header))
		return true;
	if (header->id && !(writer->columns.flags[slot] & WB_PACK_BAD))
		explain_length(writer, chunk, slot, header);
	return writer->columns.flags[slot] & WB_PACK_FLIP;
}

static void take_slot(struct writer *writer, uint32_t chunk, unsigned slot, const struct wb_io *io)
{
	const struct wb_geometry *geometry = &writer->geometry;
	struct wb_pack_columns *columns = &writer->columns;
	const struct headers *headers = headers_of(writer, chunk);
	const uint8_t *meta = meta_of(headers, slot);
	struct wb_header header;

	clear_slot(columns, slot);
	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++)
		if (headers->lost[slot] >> sector & 1)
			add_run(writer, slot, sector, 1);
	if (headers->lost[slot] || wb_all_bytes(meta, WB_BLOCK, 0))
		return;
	wb_header_decode(geometry->format, meta, &header);
	take_header(columns, slot, &header);
	if (io->result)
		reread(writer, chunk, slot, WB_BLOCK, io->buffer, io->length);
	if (verify(writer, chunk, slot, meta, io->buffer, &header) || belongs_here(writer, chunk + slot, meta, &header)) {
		columns->flags[slot] |= WB_PACK_BLOCKS;
		take_metablocks(writer, slot, meta, io->buffer, &header);
	} else if (wb_length_in_range(geometry, header.length)) {
		count_dirty(writer, slot, meta, &header);
	}
	count_padding(writer, slot, meta, wb_length_in_range(geometry, header.length) ? header.length : 0);
}

/* ---- the whole ---- */

static void take_batch(void *context)
{
	struct writer *writer = context;
	struct wb_pack_columns *columns = &writer->columns;
	const struct batch *batch = writer->taken;

	if (writer->failed)
		return;
	if (!batch->from) {
		columns->slots = slots_of(writer, batch->chunk);
		columns->run_count = columns->block_count = 0;
	}
	for (unsigned i = batch->from; i < batch->to; i++)
		take_slot(writer, batch->chunk, i, &batch->io[i]);
	if (batch->to < columns->slots)
		return;
	uint32_t size = wb_pack_columns_encode(columns, writer->inflated);

	writer->failed = write_chunk(writer, batch->chunk, writer->inflated, size, &writer->err);
}

static int read_slots(struct writer *writer, const struct wb_progress *progress, struct wb_error *err)
{
	uint64_t chunk = 0;
	unsigned from = 0;
	int ret = 0;

	for (unsigned turn = 0; chunk < writer->geometry.slots && !ret && !writer->failed; turn ^= 1) {
		struct batch *batch = &writer->batches[turn];

		ret = wb_poll(progress, "packing", (uint64_t)(chunk + from) * WB_BLOCK, (uint64_t)writer->geometry.slots * WB_BLOCK, err);
		if (ret)
			break;
		read_batch(writer, batch, (uint32_t)chunk, from);
		from = batch->to < slots_of(writer, (uint32_t)chunk) ? batch->to : 0;
		chunk += from ? 0 : WB_PACK_CHUNK;
		wb_helper_wait(&writer->helper);
		writer->taken = batch;
		wb_helper_give(&writer->helper, take_batch, writer);
	}
	wb_helper_wait(&writer->helper);
	return ret;
}

static int write_all(struct writer *writer, const struct wb_cache *cache, const struct wb_progress *progress,
		     struct wb_error *err)
{
	int ret = write_head(writer, cache, err);

	if (!ret)
		ret = write_facts(writer, err);
	if (ret)
		return ret;
	wb_helper_start(&writer->helper, writer->options->jobs > 1);
	ret = read_slots(writer, progress, err);
	wb_helper_stop(&writer->helper);
	if (ret || !writer->failed)
		return ret;
	if (err)
		*err = writer->err;
	return writer->failed;
}

static bool allocate_aligned(uint8_t **bytes, size_t size)
{
	void *room = NULL;
	bool done = !posix_memalign(&room, WB_BLOCK, size);

	*bytes = done ? room : NULL;
	return done;
}

static int allocate(struct writer *writer, struct wb_error *err)
{
	bool done = allocate_aligned(&writer->whole, SLOT_MAX);

	for (unsigned i = 0; i < 2; i++)
		done = done && allocate_aligned(&writer->headers[i].metas, WB_PACK_CHUNK * WB_BLOCK) &&
		       allocate_aligned(&writer->batches[i].data, BATCH_BYTES);
	writer->inflated = malloc(WB_PACK_INFLATED);
	writer->deflated = malloc(WB_PACK_DEFLATED);
	if (!done || !writer->inflated || !writer->deflated ||
	    deflateInit2(&writer->zlib, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		return wb_no_memory(err, "packing");
	return writer->geometry.format ?
		       wb_pack_columns_init(&writer->columns, &writer->geometry, writer->options->metadata_only, err) : 0;
}

static void release(struct writer *writer)
{
	deflateEnd(&writer->zlib);
	wb_pack_columns_release(&writer->columns);
	for (unsigned i = 0; i < 2; i++) {
		free(writer->headers[i].metas);
		free(writer->batches[i].data);
	}
	free(writer->whole);
	free(writer->inflated);
	free(writer->deflated);
	pthread_mutex_destroy(&writer->dev_lock);
	free(writer);
}

int wb_pack_write(struct wb_cache *cache, int fd, const struct wb_pack_options *options, struct wb_pack_result *result,
		  const struct wb_progress *progress, struct wb_error *err)
{
	struct writer *writer;
	int ret = 0;

	*result = (struct wb_pack_result){ .bytes = 0 };
	if (cache->geometry.wrap)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET,
			       "a pack holds slots by their places: make it with linear slot addresses");
	writer = calloc(1, sizeof(*writer));
	if (!writer)
		return wb_no_memory(err, "packing");
	writer->dev = cache->dev;
	writer->options = options;
	writer->result = result;
	writer->fd = fd;
	pthread_mutex_init(&writer->dev_lock, NULL);
	if (cache->geometry.format) /* all slots there is room for */
		ret = wb_geometry_init(&writer->geometry, cache->geometry.format, cache->geometry.order,
				       wb_dev_size(cache->dev), 0, err);
	if (!ret)
		ret = allocate(writer, err);
	if (!ret)
		ret = write_all(writer, cache, progress, err);
	release(writer);
	return ret;
}
