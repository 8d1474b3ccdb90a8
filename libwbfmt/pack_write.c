/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes a pack: one pass over the slots, chunk by chunk. What is a segment is decided slot by slot: its seal holds, but for
 * one bit perhaps, or its header stands in its place beside sealed ones. Of anything else, which may be what the device held
 * before, no byte is taken, only what a judge of the ring asks of it.
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

#define ID_MAX (UINT64_C(1) << 48) /* no driver has written more segments */
#define ORDER_MAX 11u /* of all generations */
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
	const struct wb_cache *cache;
	pthread_mutex_t dev_lock;
	struct wb_geometry geometry;
	const struct wb_pack_options *options;
	struct wb_pack_result *result;
	int fd;
	off_t begin; /* of the pack in it */
	struct wb_moves moves; /* with a key */
	struct wb_helper helper;
	struct batch batches[2], *taken; /* by the helper */
	struct headers headers[2]; /* of even and odd chunks */
	/* of the thread that works */
	z_stream zlib;
	struct wb_pack_columns columns;
	struct wb_bitfind find;
	bool finds; /* it has been made */
	uint64_t bit; /* that explains the slot */
	uint64_t last_sealed, last; /* ids in place: of the last sealed segment, of the last that was taken */
	uint64_t newest; /* of two in a row that are near each other: one bit makes any id large */
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

/* The bytes that mean something, or others that mean the same where they are what stood there before. */
static void describe_sector0(const struct wb_cache *cache, struct wb_pack_head *head)
{
	uint32_t magic = (uint32_t)wb_get_le(cache->sector0, 4), flipped = magic ^ WB_MAGIC;
	unsigned order = cache->order_byte;
	bool rest = !wb_all_bytes(cache->sector0 + sizeof(head->first), WB_SECTOR - sizeof(head->first), 0);

	head->ended = cache->super == WB_SUPER_ENDED;
	head->marker = cache->marker;
	/* of headers that are not in the pack as they were */
	head->marker.digest = head->marker.digest ? 1 : 0;
	if (head->info.obfuscated)
		head->marker.backing_bytes = 0;
	if (head->ended)
		return;
	if (flipped & (flipped - 1) && magic)
		magic = ~WB_MAGIC;
	if (order > ORDER_MAX && (rest || flipped))
		order = UINT8_MAX; /* no order either */
	wb_put_le(head->first, 4, magic);
	head->first[WB_ORDER_BYTE] = (uint8_t)order;
	head->rest = rest;
	head->rest_first = rest ? sizeof(head->first) : 0;
}

static bool is_near(const struct writer *writer, uint64_t id, uint64_t other)
{
	return other && (id > other ? id - other : other - id) < UINT64_C(3) * writer->geometry.slots;
}

/* An id that a log with this newest one may have come to. Anything else stands there from before, or is damaged. */
static uint64_t record_of(const struct writer *writer)
{
	uint64_t record = writer->cache->record;
	bool can_be = record <= writer->newest || record - writer->newest <= writer->geometry.slots || is_near(writer, record, writer->last);

	return can_be ? record : WB_PACK_NO_RECORD;
}

/* Last, when the newest id is known: until then there is no pack. */
static int write_head(struct writer *writer, struct wb_error *err)
{
	const struct wb_pack_options *options = writer->options;
	const struct wb_cache *cache = writer->cache;
	struct wb_pack_head head = {
		.info = { .obfuscated = options->key, .metadata_only = options->metadata_only,
			  .busy = wb_dev_busy(cache->dev), .block_device = wb_dev_is_block(cache->dev),
			  .format = writer->geometry.format, .order = writer->geometry.order,
			  .slots = writer->geometry.slots, .evidence = cache->evidence, .time = options->time,
			  .backing_bytes = options->key ? 0 : options->backing_bytes },
		.bytes = wb_dev_size(cache->dev), .block = wb_dev_block(cache->dev), .record = record_of(writer),
	};
	uint8_t bytes[WB_PACK_HEAD];

	describe_sector0(cache, &head);
	wb_pack_head_encode(&head, bytes);
	for (size_t done = 0; done < sizeof(bytes);) {
		ssize_t n = pwrite(writer->fd, bytes + done, sizeof(bytes) - done, writer->begin + (off_t)done);

		if (n < 0 && errno != EINTR)
			return wb_fail(err, WB_EIO, errno, WB_NO_OFFSET, "writing the pack: %s", strerror(errno));
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Room for the head; zeroes are no pack. */
static int begin(struct writer *writer, struct wb_error *err)
{
	static const uint8_t zeroes[WB_PACK_HEAD];

	writer->begin = lseek(writer->fd, 0, SEEK_CUR);
	if (writer->begin < 0)
		return wb_fail(err, WB_EIO, errno, WB_NO_OFFSET, "writing the pack: %s", strerror(errno));
	return write_out(writer, zeroes, sizeof(zeroes), err);
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

/* Of a segment. */
static void count_padding(struct writer *writer, unsigned slot, const uint8_t *meta)
{
	const struct wb_format *format = writer->geometry.format;
	struct wb_pack_columns *columns = &writer->columns;
	unsigned used = (unsigned)format->length.offset + format->length.width;
	unsigned block_used = (unsigned)format->mb_dirty.offset + format->mb_dirty.width;
	bool in_range = wb_length_in_range(&writer->geometry, (uint32_t)columns->length[slot]);

	if (!wb_seal_covers_data(format)) /* packed: nothing is unused */
		return;
	columns->header_padding[slot] = count_bytes(meta + used, format->metablocks - used);
	columns->block_padding[slot] = 0;
	for (unsigned i = 0; in_range && i < columns->length[slot]; i++)
		columns->block_padding[slot] +=
			count_bytes(meta + wb_metadata_size(format, i) + block_used, format->stride - block_used);
	if (columns->header_padding[slot] + columns->block_padding[slot])
		columns->flags[slot] |= WB_PACK_PADDING;
	writer->result->padding_bytes += columns->header_padding[slot] + columns->block_padding[slot];
}

static bool header_is_clean(const struct writer *writer, const uint8_t *meta, const struct wb_header *header)
{
	const struct wb_format *format = writer->geometry.format;
	unsigned used = (unsigned)format->length.offset + format->length.width;

	return header->id && wb_length_in_range(&writer->geometry, header->length) &&
	       wb_all_bytes(meta + used, format->metablocks - used, 0);
}

/* The slot before or behind holds the id before or behind. */
static bool has_a_neighbour(struct writer *writer, uint32_t chunk, unsigned slot, const struct wb_header *header)
{
	const struct headers *headers = headers_of(writer, chunk);
	struct wb_header other;

	for (int way = -1; way <= 1; way += 2) {
		unsigned at = slot + (unsigned)way;

		if (at >= writer->columns.slots || headers->lost[at])
			continue;
		wb_header_decode(writer->geometry.format, meta_of(headers, at), &other);
		if (other.id == header->id + (uint64_t)(int64_t)way && header_is_clean(writer, meta_of(headers, at), &other))
			return true;
	}
	return false;
}

/* The header stands where its id belongs, and its id is one of the log's: in v0 the lap says so, or that of the first block
 * does, elsewhere segments that are sealed; where nothing could be verified, a neighbour, or that it is the first one here. */
static bool is_in_place(struct writer *writer, uint32_t chunk, unsigned slot, const uint8_t *meta, const struct wb_header *header)
{
	const struct wb_geometry *geometry = &writer->geometry;
	const struct wb_cache *cache = writer->cache;
	struct wb_metablock metablock;

	if (!header->id)
		return false;
	bool here = wb_slot_of(geometry, header->id) == chunk + slot, near = is_near(writer, header->id, writer->last_sealed);

	if (geometry->format->lap.width) {
		wb_metablock_decode(geometry->format, meta, 0, &metablock);
		return here && (header->lap == wb_lap_of(geometry, header->id) ||
				(wb_length_in_range(geometry, header->length) && metablock.lap == wb_lap_of(geometry, header->id)));
	}
	for (unsigned i = 0; i < wb_min(cache->witnesses, WB_WITNESSES); i++)
		near |= is_near(writer, header->id, cache->witness_ids[i]);
	if (here && near)
		return true;
	return (!cache->witnesses || writer->options->metadata_only) && header_is_clean(writer, meta, header) &&
	       (header->id == chunk + slot + UINT64_C(1) || has_a_neighbour(writer, chunk, slot, header));
}

/* v0: all laps agree. They may not be those of the id because one bit of the id is flipped. */
static bool is_lap_of_one_bit(const struct writer *writer, uint32_t index, const struct wb_header *header)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t id = header->id ^ UINT64_C(1) << bit;

		if (id && wb_slot_of(&writer->geometry, id) == index && wb_lap_of(&writer->geometry, id) == header->lap)
			return true;
	}
	return false;
}

#define SLOTS_MAX (UINT64_C(1) << 27) /* as in fit.c */

/* v0: ... or because the log had another number of slots, if a possible one makes this lap of this id. */
static bool is_lap_of_other_slots(const struct wb_header *header)
{
	uint64_t before = header->id - 1;

	return header->id && header->id < ID_MAX && header->lap && before / header->lap < SLOTS_MAX &&
	       (header->lap == 1 || before / (header->lap - 1) >= 1);
}

/* Compares the computed checksum with the stored one; true when it holds. */
static bool take_checksum(struct writer *writer, unsigned slot, const uint8_t *meta, const uint8_t *data,
			  const struct wb_header *header)
{
	uint32_t crc = wb_crc32c(~0u, meta + WB_SUMMED_FROM, WB_BLOCK - WB_SUMMED_FROM);

	crc = wb_crc32c(crc, data, header->length * WB_BLOCK);
	unsigned match = wb_seal_match(header->checksum, crc);

	if (match)
		writer->columns.flags[slot] |= match & WB_SLOT_RAW ? WB_PACK_RAW : WB_PACK_PLAIN;
	writer->columns.crc[slot] = crc;
	return match;
}

/* One bit of the stored checksum or of what it covers makes the difference: writer->bit, from byte 512 of the slot on. */
static bool is_one_bit(struct writer *writer, const struct wb_header *header, uint32_t difference)
{
	uint64_t bytes = WB_BLOCK * (header->length + 1u) - WB_SUMMED_FROM;

	if (!writer->finds)
		wb_bitfind_init(&writer->find);
	writer->finds = true;
	writer->bit = UINT64_MAX;
	if (!difference || !(difference & (difference - 1)))
		return difference;
	uint64_t from_end = wb_bitfind(&writer->find, difference, bytes);

	if (from_end != UINT64_MAX)
		writer->bit = 8 * (bytes - 1 - from_end / 8) + 7 - from_end % 8;
	return from_end != UINT64_MAX;
}

static void explain_checksum(struct writer *writer, unsigned slot, const struct wb_header *header)
{
	uint32_t difference = header->checksum ^ (uint32_t)writer->columns.crc[slot];

	if (is_one_bit(writer, header, difference) || is_one_bit(writer, header, ~difference))
		writer->columns.flags[slot] |= WB_PACK_CRC;
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

/* Of a segment whose seal does not hold, or only with a bit of it flipped, which may be chance: what of its metadata another
 * write has left there is none of it. */
static bool is_plausible(const struct writer *writer, const uint8_t *meta, unsigned index, const struct wb_header *header)
{
	const struct wb_format *format = writer->geometry.format;
	unsigned used = (unsigned)format->mb_dirty.offset + format->mb_dirty.width;
	struct wb_metablock metablock;

	wb_metablock_decode(format, meta, index, &metablock);
	if (format->lap.width)
		return metablock.lap == wb_lap_of(&writer->geometry, header->id);
	return metablock.sector < UINT64_C(1) << 54 &&
	       wb_all_bytes(meta + wb_metadata_size(format, index) + used, format->stride - used, 0);
}

/* The metadata with the bit flipped that explains the slot. */
static const uint8_t *explained_metadata(const struct writer *writer, unsigned slot, const uint8_t *meta, uint8_t *room)
{
	if (!(writer->columns.flags[slot] & WB_PACK_CRC) || writer->bit >= 8 * (WB_BLOCK - WB_SUMMED_FROM))
		return meta;
	memcpy(room, meta, WB_BLOCK);
	room[WB_SUMMED_FROM + writer->bit / 8] ^= (uint8_t)(1u << writer->bit % 8);
	return room;
}

static void take_metablocks(struct writer *writer, unsigned slot, const uint8_t *meta, const struct wb_io *io,
			    const struct wb_header *header, bool sealed)
{
	const struct wb_format *format = writer->geometry.format;
	struct wb_pack_columns *columns = &writer->columns;
	unsigned n = wb_pack_blocks_of(columns, slot);
	uint8_t room[WB_BLOCK];
	const uint8_t *data = io->buffer, *whole = explained_metadata(writer, slot, meta, room);

	for (unsigned i = 0; i < n; i++) {
		unsigned at = columns->block_count++;
		struct wb_metablock metablock;

		wb_metablock_decode(format, meta, i, &metablock);
		if (!sealed && !is_plausible(writer, whole, i, header))
			metablock = (struct wb_metablock){ .lap = header->lap + 1 };
		if (writer->options->key && (metablock.sector || metablock.dirty))
			metablock.sector = wb_moved(&writer->moves, metablock.sector);
		columns->sector[at] = metablock.sector >> 3 | metablock.sector << 61;
		columns->dirty[at] = metablock.dirty;
		if (format->lap.width)
			columns->block_lap[at] = metablock.lap - header->lap;
		if (!wb_seal_covers_data(format)) /* of as many as were read */
			columns->holds_data[at] = i < io->length / WB_BLOCK && !wb_all_bytes(data + (size_t)WB_BLOCK * i, WB_BLOCK, 0);
	}
	writer->result->segments++;
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
}

enum standing { OTHER, LAPS, IN_PLACE, SEALED };

static enum standing standing_by_lap(struct writer *writer, uint32_t chunk, unsigned slot, const uint8_t *meta,
				     const struct wb_header *header)
{
	unsigned laps = wb_length_in_range(&writer->geometry, header->length) ?
				wb_seal_laps(&writer->geometry, meta, header) : 0;

	if (laps & WB_SLOT_LAP || (laps && is_lap_of_one_bit(writer, chunk + slot, header)))
		return SEALED;
	if (is_in_place(writer, chunk, slot, meta, header))
		return IN_PLACE;
	return laps && is_lap_of_other_slots(header) ? LAPS : OTHER;
}

/* The explanations are those that wb_ring_find_bits() looks for. */
static enum standing standing_by_checksum(struct writer *writer, uint32_t chunk, unsigned slot, const uint8_t *meta,
					  const uint8_t *data, const struct wb_header *header)
{
	bool in_range = wb_length_in_range(&writer->geometry, header->length);
	bool whole = !writer->options->metadata_only && !(writer->columns.flags[slot] & WB_PACK_BAD);

	if (whole && in_range && take_checksum(writer, slot, meta, data, header))
		return SEALED;
	if (!is_in_place(writer, chunk, slot, meta, header))
		return OTHER;
	if (whole && in_range)
		explain_checksum(writer, slot, header);
	if (whole)
		explain_length(writer, chunk, slot, header);
	return writer->columns.flags[slot] & WB_PACK_FLIP ? SEALED : IN_PLACE;
}

static void note_id(struct writer *writer, uint32_t index, const struct wb_header *header, enum standing standing)
{
	if (standing < IN_PLACE || !header->id || wb_slot_of(&writer->geometry, header->id) != index)
		return;
	if (header->id < ID_MAX && is_near(writer, header->id, writer->last))
		writer->newest = wb_max(writer->newest, wb_max(header->id, writer->last));
	writer->last = header->id;
	if (standing == SEALED)
		writer->last_sealed = header->id;
}

/* v0: the laps agree, and are those of the log: a segment whose id is lost. */
static bool is_lap_of_log(const struct writer *writer, const uint8_t *meta, const struct wb_header *header)
{
	if (!writer->geometry.format->lap.width || !wb_length_in_range(&writer->geometry, header->length) ||
	    !wb_seal_laps(&writer->geometry, meta, header))
		return false;
	for (unsigned i = 0; i < wb_min(writer->cache->witnesses, WB_WITNESSES); i++)
		if (header->lap - wb_lap_of(&writer->geometry, writer->cache->witness_ids[i]) + 1 <= 2)
			return true;
	return false;
}

static void take_class(struct writer *writer, uint32_t index, unsigned slot, const uint8_t *meta, const struct wb_header *header)
{
	uint64_t *flags = &writer->columns.flags[slot];

	if (is_lap_of_log(writer, meta, header)) {
		*flags |= WB_PACK_LAPS;
		writer->columns.lap[slot] = header->lap;
	}
	*flags |= WB_PACK_OTHER;
	if (wb_length_in_range(&writer->geometry, header->length))
		*flags |= WB_PACK_IN_RANGE;
	if (header->id)
		*flags |= wb_slot_of(&writer->geometry, header->id) == index ? WB_PACK_ODD_ID | WB_PACK_IN_STEP : WB_PACK_ODD_ID;
	writer->result->others++;
}

/* A checksum tells four bytes of data to who knows the rest, and addresses to who knows the data: another one stands for it, and
 * what was computed differs from that as it did. */
static void replace_checksum(struct wb_pack_columns *columns, unsigned slot, uint32_t index)
{
	uint8_t bytes[4];

	wb_put_le(bytes, sizeof(bytes), index);
	uint32_t other = wb_crc32c(~0u, bytes, sizeof(bytes));

	columns->crc[slot] ^= columns->checksum[slot] ^ other;
	columns->checksum[slot] = other;
}

static void take_segment(struct writer *writer, uint32_t chunk, unsigned slot, const uint8_t *meta, const struct wb_io *io,
			 const struct wb_header *header, enum standing standing)
{
	take_header(&writer->columns, slot, header);
	if (wb_seal_covers_data(writer->geometry.format))
		replace_checksum(&writer->columns, slot, chunk + slot);
	count_padding(writer, slot, meta);
	writer->columns.flags[slot] |= standing == LAPS ? WB_PACK_LAPS : WB_PACK_BLOCKS;
	if (standing != LAPS)
		take_metablocks(writer, slot, meta, io, header, standing == SEALED);
}

static void take_slot(struct writer *writer, uint32_t chunk, unsigned slot, const struct wb_io *io)
{
	const struct headers *headers = headers_of(writer, chunk);
	const uint8_t *meta = meta_of(headers, slot);
	enum standing standing;
	struct wb_header header;

	clear_slot(&writer->columns, slot);
	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++)
		if (headers->lost[slot] >> sector & 1)
			add_run(writer, slot, sector, 1);
	if (headers->lost[slot] || wb_all_bytes(meta, WB_BLOCK, 0))
		return;
	wb_header_decode(writer->geometry.format, meta, &header);
	if (io->result)
		reread(writer, chunk, slot, WB_BLOCK, io->buffer, io->length);
	standing = wb_seal_covers_data(writer->geometry.format) ?
			   standing_by_checksum(writer, chunk, slot, meta, io->buffer, &header) :
			   standing_by_lap(writer, chunk, slot, meta, &header);
	note_id(writer, chunk + slot, &header, standing);
	if (standing == OTHER)
		take_class(writer, chunk + slot, slot, meta, &header);
	else
		take_segment(writer, chunk, slot, meta, io, &header, standing);
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

/* The blocks that anything in the metadata names, as far as it can be taken. */
static int collect_blocks(struct writer *writer, uint32_t chunk, struct wb_error *err)
{
	const struct wb_geometry *geometry = &writer->geometry;
	const struct headers *headers = headers_of(writer, chunk);
	int ret = 0;

	for (unsigned slot = 0; slot < slots_of(writer, chunk); slot++) {
		const uint8_t *meta = meta_of(headers, slot);
		struct wb_metablock metablock;
		struct wb_header header;

		wb_header_decode(geometry->format, meta, &header);
		if (headers->lost[slot] || !header.id)
			continue;
		for (unsigned i = 0; i < geometry->capacity && !ret; i++) { /* the length may be what is damaged */
			wb_metablock_decode(geometry->format, meta, i, &metablock);
			if (metablock.sector || metablock.dirty) /* else block 0 would be there whether it is used or not */
				ret = wb_moves_add(&writer->moves, metablock.sector, err);
		}
	}
	return ret;
}

static int find_moves(struct writer *writer, const struct wb_progress *progress, struct wb_error *err)
{
	uint64_t slots = writer->geometry.slots;
	int ret = 0;

	for (uint64_t chunk = 0; chunk < slots && !ret; chunk += WB_PACK_CHUNK) {
		ret = wb_poll(progress, "renumbering blocks", chunk * WB_BLOCK, slots * WB_BLOCK, err);
		if (ret)
			break;
		read_metadata(writer, (uint32_t)chunk, writer->batches[0].io);
		ret = collect_blocks(writer, (uint32_t)chunk, err);
	}
	return ret ? ret : wb_moves_settle(&writer->moves, writer->options->key, err);
}

static int write_slots(struct writer *writer, const struct wb_progress *progress, struct wb_error *err)
{
	wb_helper_start(&writer->helper, writer->options->jobs > 1);
	int ret = read_slots(writer, progress, err);

	wb_helper_stop(&writer->helper);
	if (ret || !writer->failed)
		return ret;
	if (err)
		*err = writer->err;
	return writer->failed;
}

static int write_all(struct writer *writer, const struct wb_progress *progress, struct wb_error *err)
{
	int ret = writer->options->key ? find_moves(writer, progress, err) : 0;

	if (!ret)
		ret = begin(writer, err);
	if (!ret)
		ret = write_facts(writer, err);
	if (!ret)
		ret = write_slots(writer, progress, err);
	return ret ? ret : write_head(writer, err);
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
	wb_moves_release(&writer->moves);
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
	writer->cache = cache;
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
		ret = write_all(writer, progress, err);
	release(writer);
	return ret;
}
