/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a pack. The columns of a chunk are listed once, in walk(), for both directions; a number of w bytes is
 * stored as w planes (all first bytes, all second bytes, ...), so that the upper bytes of random addresses still shrink.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "error.h"
#include "pack.h"

/* ---- the head ---- */

static const char pack_name[8] = "WBpack";

enum { AT_VERSION = 8, AT_FLAGS = 12, AT_BYTES = 16, AT_FORMAT = 24, AT_ORDER = 32, AT_SLOTS = 36, AT_BLOCK = 40,
       AT_EVIDENCE = 44, AT_RECORD = 48, AT_TIME = 56, AT_BACKING = 64, AT_FIRST = 72, AT_REST = 78, AT_REST_FIRST = 80,
       AT_REASON = 82, AT_MARKER = 88, AT_CRC = 124 };
/* of an ended log, in the place of bytes of its sector 0 */
enum { AT_LEFT_SECTORS = 72, AT_STALE = 84, AT_LEFT_SEGMENTS = 120 };
enum { EXTENT_KNOWN = 1, EXTENT_PARTIAL = 2, EXTENT_GEOMETRY = 4 }; /* version 2; its geometry is that of the pack */
enum { HEAD_OBFUSCATED = 1, HEAD_METADATA_ONLY = 2, HEAD_BUSY = 4, HEAD_BLOCK_DEVICE = 8, HEAD_FLAGS = 15 };

bool wb_pack_named(const uint8_t *bytes)
{
	return memcmp(bytes, pack_name, sizeof(pack_name)) == 0;
}

bool wb_is_pack(struct wb_dev *dev)
{
	uint8_t bytes[sizeof(pack_name)];

	return wb_dev_size(dev) >= sizeof(bytes) && !wb_dev_read(dev, 0, bytes, sizeof(bytes), NULL) && wb_pack_named(bytes);
}

void wb_pack_head_encode(const struct wb_pack_head *head, uint8_t *bytes)
{
	const struct wb_pack_info *info = &head->info;

	memset(bytes, 0, WB_PACK_HEAD);
	memcpy(bytes, pack_name, sizeof(pack_name));
	wb_put_le(bytes + AT_VERSION, 4, WB_PACK_VERSION);
	wb_put_le(bytes + AT_FLAGS, 4, (info->obfuscated ? HEAD_OBFUSCATED : 0u) |
		  (info->metadata_only ? HEAD_METADATA_ONLY : 0u) | (info->busy ? HEAD_BUSY : 0u) |
		  (info->block_device ? HEAD_BLOCK_DEVICE : 0u));
	wb_put_le(bytes + AT_BYTES, 8, head->bytes);
	if (info->format)
		memcpy(bytes + AT_FORMAT, info->format->name, strlen(info->format->name));
	wb_put_le(bytes + AT_ORDER, 4, info->order);
	wb_put_le(bytes + AT_SLOTS, 4, info->slots);
	wb_put_le(bytes + AT_BLOCK, 4, head->block);
	wb_put_le(bytes + AT_EVIDENCE, 4, info->evidence);
	wb_put_le(bytes + AT_RECORD, 8, head->record);
	wb_put_le(bytes + AT_TIME, 8, info->time);
	wb_put_le(bytes + AT_BACKING, 8, info->backing_bytes);
	memcpy(bytes + AT_FIRST, head->first, sizeof(head->first));
	wb_put_le(bytes + AT_REST, 2, head->rest);
	wb_put_le(bytes + AT_REST_FIRST, 2, head->rest_first);
	if (head->ended) {
		wb_put_le(bytes + AT_LEFT_SECTORS, 6, wb_min(head->marker.left_sectors, 0xffffffffffff));
		wb_put_le(bytes + AT_REASON, 1, head->marker.reason);
		wb_put_le(bytes + AT_REASON + 1, 1, head->marker.version < 2 ? 0 :
			  (head->marker.partial ? EXTENT_KNOWN | EXTENT_PARTIAL : EXTENT_KNOWN) |
			  (head->marker.format ? EXTENT_GEOMETRY : 0u));
		wb_put_le(bytes + AT_STALE, 4, wb_min(head->marker.stale_sectors, UINT32_MAX));
		wb_put_le(bytes + AT_LEFT_SEGMENTS, 4, wb_min(head->marker.left_segments, UINT32_MAX));
		wb_put_le(bytes + AT_MARKER, 8, head->marker.time);
		wb_put_le(bytes + AT_MARKER + 8, 8, head->marker.head);
		wb_put_le(bytes + AT_MARKER + 16, 8, head->marker.digest);
		wb_put_le(bytes + AT_MARKER + 24, 8, head->marker.backing_bytes);
	}
	wb_put_le(bytes + AT_CRC, 4, ~wb_crc32c(~0u, bytes, AT_CRC));
}

static int bad_head(struct wb_error *err, uint64_t at, const char *what)
{
	return wb_fail(err, WB_EPACK, 0, at, "the head of the pack is damaged: %s", what);
}

static int decode_geometry(const uint8_t *bytes, struct wb_pack_head *head, struct wb_geometry *geometry,
			   struct wb_error *err)
{
	char name[9] = "";

	*geometry = (struct wb_geometry){ .bytes = head->bytes };
	memcpy(name, bytes + AT_FORMAT, 8);
	head->info.order = (unsigned)wb_get_le(bytes + AT_ORDER, 4);
	head->info.slots = (uint32_t)wb_get_le(bytes + AT_SLOTS, 4);
	if (wb_all_bytes(bytes + AT_FORMAT, 8, 0))
		return head->info.order || head->info.slots ? bad_head(err, AT_ORDER, "slots without a generation") : 0;
	head->info.format = wb_format_find(name);
	if (!head->info.format)
		return bad_head(err, AT_FORMAT, "a generation that is not known");
	if (wb_geometry_init(geometry, head->info.format, head->info.order, head->bytes, 0, NULL) ||
	    geometry->slots != head->info.slots)
		return bad_head(err, AT_ORDER, "so many slots of this order do not make a cache of this size");
	return 0;
}

static int decode_sector0(const uint8_t *bytes, struct wb_pack_head *head, struct wb_error *err)
{
	unsigned reason = bytes[AT_REASON], extent = bytes[AT_REASON + 1];

	head->ended = reason;
	if (!reason)
		memcpy(head->first, bytes + AT_FIRST, sizeof(head->first));
	head->rest = (uint16_t)wb_get_le(bytes + AT_REST, 2);
	head->rest_first = (uint16_t)wb_get_le(bytes + AT_REST_FIRST, 2);
	if (head->rest > WB_SECTOR - sizeof(head->first) || head->rest_first > WB_SECTOR - head->rest ||
	    (head->rest && head->rest_first < sizeof(head->first)))
		return bad_head(err, AT_REST, "a sector 0 that cannot be");
	if (reason > WB_END_RESET || extent > 7 || (extent && (!reason || !(extent & EXTENT_KNOWN))))
		return bad_head(err, AT_REASON, "a reason that no log ends for");
	head->marker = (struct wb_marker){ .version = extent ? 2 : 1, .partial = extent & EXTENT_PARTIAL, .reason = (enum wb_end_reason)reason,
					   .time = wb_get_le(bytes + AT_MARKER, 8),
					   .head = wb_get_le(bytes + AT_MARKER + 8, 8),
					   .digest = wb_get_le(bytes + AT_MARKER + 16, 8),
					   .backing_bytes = wb_get_le(bytes + AT_MARKER + 24, 8) };
	if (extent) {
		head->marker.left_sectors = wb_get_le(bytes + AT_LEFT_SECTORS, 6);
		head->marker.stale_sectors = wb_get_le(bytes + AT_STALE, 4);
		head->marker.left_segments = wb_get_le(bytes + AT_LEFT_SEGMENTS, 4);
	}
	if (extent & EXTENT_GEOMETRY && head->info.format) {
		head->marker.format = head->info.format;
		head->marker.order = head->info.order;
		head->marker.slots = head->info.slots;
	}
	return 0;
}

int wb_pack_head_decode(const uint8_t *bytes, struct wb_pack_head *head, struct wb_geometry *geometry,
			struct wb_error *err)
{
	unsigned flags = (unsigned)wb_get_le(bytes + AT_FLAGS, 4), version = (unsigned)wb_get_le(bytes + AT_VERSION, 4);

	*head = (struct wb_pack_head){ .version = version };
	if (!wb_pack_named(bytes))
		return wb_fail(err, WB_EPACK, 0, 0, "this is no pack");
	if (!version || version > WB_PACK_VERSION)
		return wb_fail(err, WB_EPACK, 0, AT_VERSION, "this is a pack of version %u, and versions up to %u are known", version,
			       WB_PACK_VERSION);
	if (!wb_sum_holds(wb_get_le(bytes + AT_CRC, 4), ~wb_crc32c(~0u, bytes, AT_CRC)))
		return bad_head(err, 0, "its checksum does not match");
	if (flags & ~(unsigned)HEAD_FLAGS)
		return bad_head(err, AT_FLAGS, "flags that are not known");
	head->info = (struct wb_pack_info){ .obfuscated = flags & HEAD_OBFUSCATED,
					    .metadata_only = flags & HEAD_METADATA_ONLY,
					    .busy = flags & HEAD_BUSY,
					    .block_device = flags & HEAD_BLOCK_DEVICE,
					    .evidence = (unsigned)wb_get_le(bytes + AT_EVIDENCE, 4),
					    .time = wb_get_le(bytes + AT_TIME, 8),
					    .backing_bytes = wb_get_le(bytes + AT_BACKING, 8) };
	head->bytes = wb_get_le(bytes + AT_BYTES, 8);
	head->block = (uint32_t)wb_get_le(bytes + AT_BLOCK, 4);
	head->record = wb_get_le(bytes + AT_RECORD, 8);
	if (head->block < WB_SECTOR || head->block > WB_BLOCK || head->block & (head->block - 1))
		return bad_head(err, AT_BLOCK, "a logical block size that no device has");
	if (head->bytes > INT64_MAX || head->bytes < WB_FIRST_SLOT)
		return bad_head(err, AT_BYTES, "a size that no cache has");
	int ret = decode_geometry(bytes, head, geometry, err);

	return ret ? ret : decode_sector0(bytes, head, err);
}

/* ---- the head of a chunk ---- */

void wb_pack_chunk_encode(const struct wb_pack_chunk_head *head, uint8_t *bytes)
{
	wb_put_le(bytes, 4, head->first);
	wb_put_le(bytes + 4, 4, head->deflated);
	wb_put_le(bytes + 8, 4, head->inflated);
	wb_put_le(bytes + 12, 4, head->crc);
	wb_put_le(bytes + 16, 4, ~wb_crc32c(~0u, bytes, 16));
}

int wb_pack_chunk_decode(const uint8_t *bytes, uint32_t first, struct wb_pack_chunk_head *head, uint64_t at,
			 struct wb_error *err)
{
	*head = (struct wb_pack_chunk_head){ .first = (uint32_t)wb_get_le(bytes, 4),
					     .deflated = (uint32_t)wb_get_le(bytes + 4, 4),
					     .inflated = (uint32_t)wb_get_le(bytes + 8, 4),
					     .crc = (uint32_t)wb_get_le(bytes + 12, 4) };
	if (!wb_sum_holds(wb_get_le(bytes + 16, 4), ~wb_crc32c(~0u, bytes, 16)))
		return wb_fail(err, WB_EPACK, 0, at, "the head of a chunk is damaged: its checksum does not match");
	if (head->first != first)
		return wb_fail(err, WB_EPACK, 0, at, "a chunk of slot %u stands where that of slot %u must be", head->first,
			       first);
	if (head->deflated > WB_PACK_DEFLATED || head->inflated > WB_PACK_INFLATED)
		return wb_fail(err, WB_EPACK, 0, at, "a chunk claims %u bytes, %u inflated: no chunk is that large",
			       head->deflated, head->inflated);
	return 0;
}

/* ---- columns ---- */

static unsigned runs_max(const struct wb_geometry *geometry)
{
	return WB_PACK_CHUNK << (geometry->order - 1);
}

static unsigned blocks_max(const struct wb_geometry *geometry)
{
	return WB_PACK_CHUNK * geometry->capacity;
}

int wb_pack_columns_init(struct wb_pack_columns *columns, const struct wb_geometry *geometry, bool metadata_only,
			 struct wb_error *err)
{
	size_t runs = runs_max(geometry), blocks = blocks_max(geometry);
	uint64_t *room = malloc((2 * runs + 4 * blocks) * sizeof(*room));

	memset(columns, 0, sizeof(*columns));
	if (!room)
		return wb_no_memory(err, "the columns of a pack");
	columns->geometry = geometry;
	columns->metadata_only = metadata_only;
	columns->version = WB_PACK_VERSION;
	columns->run_first = room;
	columns->run_length = room + runs;
	columns->sector = room + 2 * runs;
	columns->dirty = columns->sector + blocks;
	columns->block_lap = columns->dirty + blocks;
	columns->holds_data = columns->block_lap + blocks;
	return 0;
}

void wb_pack_columns_release(struct wb_pack_columns *columns)
{
	free(columns->run_first);
	columns->run_first = NULL;
}

unsigned wb_pack_blocks_of(const struct wb_pack_columns *columns, unsigned slot)
{
	uint64_t length = columns->length[slot], flags = columns->flags[slot];

	if (!(flags & WB_PACK_BLOCKS))
		return 0;
	if (!wb_length_in_range(columns->geometry, (uint32_t)length))
		length = 0;
	return (unsigned)(flags & WB_PACK_FLIP ? wb_max(length, columns->flipped[slot]) : length);
}

struct cursor {
	uint8_t *at, *end;
	bool decode;
	const char *problem;
};

/* One plane of a column: the byte at `shift` of every value. */
static void move_plane(uint8_t *at, uint64_t *values, unsigned n, unsigned shift, bool decode)
{
	if (decode)
		for (unsigned i = 0; i < n; i++)
			values[i] |= (uint64_t)at[i] << shift;
	else
		for (unsigned i = 0; i < n; i++)
			at[i] = (uint8_t)(values[i] >> shift);
}

static void move(struct cursor *cursor, uint64_t *values, unsigned n, unsigned width)
{
	if (cursor->problem)
		return;
	if ((size_t)(cursor->end - cursor->at) / width < n) {
		cursor->problem = "it ends too early";
		return;
	}
	uint64_t all = cursor->decode ? UINT64_MAX : 0;

	for (unsigned i = 0; !cursor->decode && i < n; i++)
		all |= values[i];
	if (cursor->decode)
		memset(values, 0, n * sizeof(*values));
	for (unsigned byte = 0; byte < width; byte++, cursor->at += n)
		if (all >> 8 * byte)
			move_plane(cursor->at, values, n, 8 * byte, cursor->decode);
		else
			memset(cursor->at, 0, n); /* nothing is left but zeroes */
}

/* A column that only slots with one of these flags have. */
static void move_some(struct cursor *cursor, const struct wb_pack_columns *columns, uint64_t *values, unsigned width,
		      uint64_t flags)
{
	uint64_t some[WB_PACK_CHUNK];
	unsigned n = 0;

	for (unsigned i = 0; i < columns->slots; i++)
		if (columns->flags[i] & flags)
			some[n++] = values[i];
	move(cursor, some, n, width);
	for (unsigned i = columns->slots; cursor->decode && i-- > 0;)
		values[i] = columns->flags[i] & flags && !cursor->problem ? some[--n] : 0;
}

/* A column as differences to the value before, plus step. */
static void move_differences(struct cursor *cursor, uint64_t *values, unsigned n, unsigned width, uint64_t step)
{
	uint64_t mask = width < 8 ? ((uint64_t)1 << 8 * width) - 1 : UINT64_MAX;

	for (unsigned i = n; !cursor->decode && i-- > 0;)
		values[i] -= i ? values[i - 1] + step : 0;
	move(cursor, values, n, width);
	for (unsigned i = 1; cursor->decode && i < n; i++)
		values[i] = (values[i] + values[i - 1] + step) & mask;
}

static const char *check_flags(const struct wb_pack_columns *columns, unsigned i)
{
	const struct wb_geometry *geometry = columns->geometry;
	uint64_t flags = columns->flags[i];
	uint64_t sums = flags & (WB_PACK_PLAIN | WB_PACK_RAW | WB_PACK_CRC);
	bool in_range = wb_length_in_range(geometry, (uint32_t)columns->length[i]);

	if (flags & ~(uint64_t)(columns->version < 2 ? WB_PACK_FLAGS : WB_PACK_FLAGS_2) ||
	    (flags & WB_PACK_FLIP_RAW && !(flags & WB_PACK_FLIP)))
		return "flags that are not known";
	if (flags & (WB_PACK_IN_RANGE | WB_PACK_ODD_ID | WB_PACK_IN_STEP) && !(flags & WB_PACK_OTHER))
		return "a slot that has fields and a class instead of them";
	if (sums & (sums - 1) || (sums && !in_range))
		return "a computed checksum that cannot be";
	if ((sums | (flags & WB_PACK_FLIP)) && (columns->metadata_only || !wb_seal_covers_data(geometry->format)))
		return "a computed checksum where there is none";
	if (flags & WB_PACK_COUNTS && (flags & WB_PACK_BLOCKS || !in_range))
		return "counts of dirty blocks that cannot be";
	return NULL;
}

static const char *check_values(const struct wb_pack_columns *columns, unsigned i)
{
	const struct wb_geometry *geometry = columns->geometry;
	uint64_t flags = columns->flags[i], length = columns->length[i], flipped = columns->flipped[i];
	uint64_t blocks = columns->dirty_blocks[i], sectors = columns->dirty_sectors[i];

	if (flags & WB_PACK_COUNTS && (blocks > length || sectors < blocks || sectors > 8 * blocks))
		return "counts of dirty blocks that cannot be";
	if (flags & WB_PACK_FLIP && (!wb_length_in_range(geometry, (uint32_t)flipped) ||
				     __builtin_popcountll(flipped ^ length) != 1))
		return "a length that is not one bit away";
	if (flags & WB_PACK_PADDING && (columns->header_padding[i] > geometry->format->metablocks ||
					columns->block_padding[i] > WB_BLOCK))
		return "more padding than there is";
	if (flags & WB_PACK_BAD && (!columns->runs[i] || columns->runs[i] > 1u << (geometry->order - 1)))
		return "a number of unreadable ranges that cannot be";
	return NULL;
}

static void check_slots(struct cursor *cursor, const struct wb_pack_columns *columns,
			const char *(*check)(const struct wb_pack_columns *columns, unsigned slot))
{
	for (unsigned i = 0; cursor->decode && i < columns->slots && !cursor->problem; i++)
		cursor->problem = check(columns, i);
}

static void count(struct cursor *cursor, struct wb_pack_columns *columns)
{
	columns->run_count = columns->block_count = 0;
	for (unsigned i = 0; i < columns->slots && !cursor->problem; i++) {
		columns->run_count += (unsigned)columns->runs[i];
		columns->block_count += wb_pack_blocks_of(columns, i);
	}
}

static void check_runs(struct cursor *cursor, const struct wb_pack_columns *columns)
{
	const uint64_t *first = columns->run_first, *length = columns->run_length;
	uint64_t end = (uint64_t)1 << columns->geometry->order;

	for (unsigned i = 0; cursor->decode && i < columns->slots && !cursor->problem; i++) {
		uint64_t from = 0;

		for (uint64_t run = 0; run < columns->runs[i]; run++, first++, length++) {
			if (*first < from || *first >= end || !*length || *length > end - *first)
				cursor->problem = "an unreadable range outside its slot";
			from = *first + *length + 1;
		}
	}
}

static void walk(struct cursor *cursor, struct wb_pack_columns *columns)
{
	const struct wb_format *format = columns->geometry->format;
	unsigned n = columns->slots;

	move(cursor, columns->flags, n, 2);
	move(cursor, columns->length, n, 1);
	check_slots(cursor, columns, check_flags);
	move_differences(cursor, columns->id, n, 8, 1);
	if (format->checksum.width)
		move(cursor, columns->checksum, n, 4);
	if (format->lap.width)
		move_differences(cursor, columns->lap, n, 4, 0);
	move_some(cursor, columns, columns->dirty_blocks, 1, WB_PACK_COUNTS);
	move_some(cursor, columns, columns->dirty_sectors, 2, WB_PACK_COUNTS);
	move_some(cursor, columns, columns->header_padding, 2, WB_PACK_PADDING);
	move_some(cursor, columns, columns->block_padding, 2, WB_PACK_PADDING);
	move_some(cursor, columns, columns->crc, 4, WB_PACK_CRC);
	move_some(cursor, columns, columns->flipped, 1, WB_PACK_FLIP);
	move_some(cursor, columns, columns->runs, 2, WB_PACK_BAD);
	check_slots(cursor, columns, check_values);
	count(cursor, columns);
	move(cursor, columns->run_first, columns->run_count, 2);
	move(cursor, columns->run_length, columns->run_count, 2);
	check_runs(cursor, columns);
	move(cursor, columns->sector, columns->block_count, 8);
	move(cursor, columns->dirty, columns->block_count, 1);
	if (format->lap.width)
		move(cursor, columns->block_lap, columns->block_count, 4);
	if (!wb_seal_covers_data(format) && !columns->metadata_only)
		move(cursor, columns->holds_data, columns->block_count, 1);
}

uint32_t wb_pack_columns_encode(struct wb_pack_columns *columns, uint8_t *out)
{
	struct cursor cursor = { .at = out, .end = out + WB_PACK_INFLATED };

	walk(&cursor, columns);
	return (uint32_t)(cursor.at - out);
}

const char *wb_pack_columns_decode(struct wb_pack_columns *columns, unsigned slots, uint8_t *bytes, uint32_t size)
{
	struct cursor cursor = { .at = bytes, .end = bytes + size, .decode = true };

	columns->slots = slots;
	walk(&cursor, columns);
	if (!cursor.problem && cursor.at != cursor.end)
		return "it is too long";
	return cursor.problem;
}
