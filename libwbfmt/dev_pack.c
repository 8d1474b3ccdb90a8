/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pack as a device. Fields stand where they stood; data blocks are zeroes but for the last four bytes of what a checksum
 * covers, which make the computed checksum come out as it did: CRC is linear, so four bytes reach any value. Whoever verifies
 * seals or looks for a flipped bit finds what he would have found on the cache.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "bytes.h"
#include "crc32c.h"
#include "dev.h"
#include "error.h"
#include "pack.h"

#define CACHED 2u
#define PATCHES 2u
#define PATCH 4u /* bytes */
#define NOWHERE UINT64_MAX
#define FAR_ID (UINT64_C(1) << 62)

/* What a slot reads as, beside its metadata. */
struct image {
	struct { uint32_t after, value; } patches[PATCHES]; /* in the last bytes of so many blocks of data, ascending */
	unsigned patch_count;
	uint8_t holds_data[WB_CAPACITY_MAX / 8 + 1]; /* blocks that are to be not all zero */
	unsigned first_run, runs;
};

/* A chunk, decoded. */
struct served {
	uint64_t chunk;
	uint64_t used; /* when, to find the one to give up */
	unsigned slots;
	uint8_t *metas;
	uint64_t *run_first, *run_length;
	struct image images[WB_PACK_CHUNK];
};

struct pack {
	struct wb_dev dev;
	struct wb_dev *inner;
	struct wb_pack_info info;
	unsigned version;
	struct wb_geometry geometry;
	uint8_t sector0[WB_SECTOR], record[8];
	char *facts;
	uint64_t *chunks; /* where they begin in the file */
	uint8_t *deflated, *inflated;
	z_stream zlib;
	struct wb_pack_columns columns;
	struct wb_crc_shift over_block, over_rest; /* a block, and a block without a patch */
	struct served served[CACHED];
	uint64_t clock;
};

/* ---- making slots out of columns ---- */

/* Dirty bits that add up to the counts: so many blocks, so many sectors. */
static void spread_dirty(uint8_t *meta, const struct wb_pack_columns *columns, unsigned slot)
{
	const struct wb_format *format = columns->geometry->format;
	uint64_t blocks = columns->dirty_blocks[slot], sectors = columns->dirty_sectors[slot];

	for (unsigned i = 0; i < columns->length[slot]; i++) {
		uint64_t some = i < blocks ? wb_min(8, sectors - (blocks - 1 - i)) : 0;
		/* with the wrong lap: were it sealed, it would have been a segment */
		struct wb_metablock metablock = { .dirty = (uint8_t)((1u << some) - 1),
						  .lap = (uint32_t)columns->lap[slot] + 1 };

		sectors -= some;
		wb_metablock_encode(format, meta, i, &metablock);
	}
}

static void pad(uint8_t *bytes, unsigned size, uint64_t *count)
{
	uint64_t some = wb_min(size, *count);

	memset(bytes, 1, (size_t)some);
	*count -= some;
}

static void add_padding(uint8_t *meta, const struct wb_pack_columns *columns, unsigned slot)
{
	const struct wb_format *format = columns->geometry->format;
	unsigned used = (unsigned)format->length.offset + format->length.width;
	unsigned block_used = (unsigned)format->mb_dirty.offset + format->mb_dirty.width;
	uint64_t header = columns->header_padding[slot], blocks = columns->block_padding[slot];

	if (!wb_seal_covers_data(format))
		return;
	pad(meta + used, format->metablocks - used, &header);
	for (unsigned i = 0; i < columns->geometry->capacity; i++)
		pad(meta + wb_metadata_size(format, i) + block_used, format->stride - block_used, &blocks);
}

/* What takes the place of a slot of which only the class is known: judged like it, and nothing that was on the cache. */
static void make_other(uint8_t *meta, const struct wb_pack_columns *columns, unsigned slot, uint32_t index)
{
	const struct wb_geometry *geometry = columns->geometry;
	uint64_t flags = columns->flags[slot];
	bool in_range = columns->version < 2 ? !geometry->format->length_min : flags & WB_PACK_IN_RANGE;
	uint64_t far = FAR_ID / geometry->slots * geometry->slots + index + 1; /* belongs here, in a lap that no driver comes to */
	struct wb_header header = { .id = !(flags & WB_PACK_ODD_ID) ? 0 : flags & WB_PACK_IN_STEP ? far : far + 1,
				    .lap = (uint32_t)columns->lap[slot] };
	struct wb_metablock metablock = { .lap = header.lap + !(flags & WB_PACK_LAPS) };

	/* data that cannot be read is noticed by whoever reads it */
	header.length = !in_range ? geometry->capacity < UINT8_MAX ? UINT8_MAX : 0 :
			flags & WB_PACK_BAD ? geometry->capacity : geometry->format->length_min;
	wb_header_encode(geometry->format, meta, &header);
	if (geometry->format->lap.width)
		wb_metablock_encode(geometry->format, meta, 0, &metablock);
	meta[WB_BLOCK - 2 * PATCH] = 1; /* no field of any generation lies there */
}

/* block is the slot's first metablock among those of the chunk. */
static void make_metadata(uint8_t *meta, struct image *image, const struct wb_pack_columns *columns, unsigned slot,
			  unsigned block)
{
	const struct wb_format *format = columns->geometry->format;
	const struct wb_header header = { .id = columns->id[slot], .checksum = (uint32_t)columns->checksum[slot],
					  .lap = (uint32_t)columns->lap[slot], .length = (uint32_t)columns->length[slot] };
	const struct wb_metablock same_lap = { .lap = header.lap };
	unsigned n = wb_pack_blocks_of(columns, slot);

	wb_header_encode(format, meta, &header);
	for (unsigned i = 0; columns->flags[slot] & WB_PACK_LAPS && i < header.length; i++)
		wb_metablock_encode(format, meta, i, &same_lap);
	for (unsigned i = 0; i < n; i++, block++) {
		const struct wb_metablock metablock = { .sector = columns->sector[block] << 3 | columns->sector[block] >> 61,
							.dirty = (uint8_t)columns->dirty[block],
							.lap = (uint32_t)columns->block_lap[block] + header.lap };

		wb_metablock_encode(format, meta, i, &metablock);
		if (!wb_seal_covers_data(format) && !columns->metadata_only && columns->holds_data[block])
			image->holds_data[i / 8] |= (uint8_t)(1u << i % 8);
	}
	if (columns->flags[slot] & WB_PACK_COUNTS)
		spread_dirty(meta, columns, slot);
	if (columns->flags[slot] & WB_PACK_PADDING)
		add_padding(meta, columns, slot);
}

/* The checksum that the first `after` data blocks are to have, in the order of patches. */
static void want_checksum(struct image *image, uint32_t after, uint32_t value)
{
	unsigned at = image->patch_count++;

	if (at && image->patches[0].after > after) {
		image->patches[1] = image->patches[0];
		at = 0;
	}
	image->patches[at].after = after;
	image->patches[at].value = value;
}

static void want_checksums(struct image *image, const struct wb_pack_columns *columns, unsigned slot)
{
	const struct wb_format *format = columns->geometry->format;
	uint64_t flags = columns->flags[slot];
	uint32_t length = (uint32_t)columns->length[slot], stored = (uint32_t)columns->checksum[slot];
	bool raw = format->seal != WB_SEAL_CRC, in_range = wb_length_in_range(columns->geometry, length);

	if (!wb_seal_covers_data(format))
		return;
	if (flags & WB_PACK_OTHER)
		want_checksum(image, 0, WB_PACK_BROKEN);
	else if (flags & WB_PACK_CRC)
		want_checksum(image, length, (uint32_t)columns->crc[slot]);
	else if (flags & (WB_PACK_PLAIN | WB_PACK_RAW))
		want_checksum(image, length, flags & WB_PACK_RAW ? stored : ~stored);
	else if (columns->metadata_only && columns->id[slot] && in_range)
		want_checksum(image, length, raw ? stored : ~stored); /* so that it is found to be of its generation */
	else if (flags & WB_PACK_BLOCKS && in_range)
		want_checksum(image, length, stored ^ WB_PACK_BROKEN);
	if (flags & WB_PACK_FLIP)
		want_checksum(image, (uint32_t)columns->flipped[slot], flags & WB_PACK_FLIP_RAW ? stored : ~stored);
}

/* The CRC over data blocks first ... last - 1, which are zeroes. */
static uint32_t over_zeroes(const struct pack *pack, uint32_t crc, uint32_t first, uint32_t last)
{
	for (; first < last; first++)
		crc = wb_crc_shift(&pack->over_block, crc);
	return crc;
}

/* Turns the checksums that are wanted into the bytes that make them. */
static void make_patches(const struct pack *pack, uint8_t *meta, struct image *image)
{
	bool in_metadata = image->patch_count && !image->patches[0].after;
	uint32_t blocks = 0, crc;

	if (!image->patch_count)
		return;
	crc = wb_crc32c(~0u, meta + WB_SUMMED_FROM, WB_BLOCK - PATCH - WB_SUMMED_FROM);
	if (in_metadata)
		wb_put_le(meta + WB_BLOCK - PATCH, PATCH, wb_crc_force(crc, image->patches[0].value));
	crc = wb_crc32c(crc, meta + WB_BLOCK - PATCH, PATCH);
	for (unsigned i = in_metadata; i < image->patch_count; i++) {
		uint32_t target = image->patches[i].value;

		crc = over_zeroes(pack, crc, blocks, image->patches[i].after - 1);
		crc = wb_crc_shift(&pack->over_rest, crc);
		image->patches[i].value = wb_crc_force(crc, target);
		blocks = image->patches[i].after;
		crc = target;
	}
}

static bool metadata_is_lost(const struct served *served, const struct image *image)
{
	return image->runs && served->run_first[image->first_run] < WB_SECTORS_PER_BLOCK;
}

static void make_slots(const struct pack *pack, struct served *served, const struct wb_pack_columns *columns, uint32_t first)
{
	unsigned block = 0, run = 0;

	served->slots = columns->slots;
	memset(served->metas, 0, (size_t)columns->slots * WB_BLOCK);
	memcpy(served->run_first, columns->run_first, columns->run_count * sizeof(*served->run_first));
	memcpy(served->run_length, columns->run_length, columns->run_count * sizeof(*served->run_length));
	for (unsigned i = 0; i < columns->slots; i++) {
		struct image *image = &served->images[i];
		uint8_t *meta = served->metas + (size_t)i * WB_BLOCK;

		*image = (struct image){ .first_run = run, .runs = (unsigned)columns->runs[i] };
		run += image->runs;
		if (!metadata_is_lost(served, image)) {
			if (columns->flags[i] & WB_PACK_OTHER)
				make_other(meta, columns, i, first + i);
			else
				make_metadata(meta, image, columns, i, block);
			want_checksums(image, columns, i);
			make_patches(pack, meta, image);
		}
		block += wb_pack_blocks_of(columns, i);
	}
}

/* ---- chunks ---- */

static int bad_chunk(struct wb_error *err, uint64_t at, const char *problem)
{
	return wb_fail(err, WB_EPACK, 0, at, "a chunk of the pack is damaged: %s", problem);
}

/* Into pack->inflated; *next is where the chunk behind begins. */
static int read_chunk(struct pack *pack, uint64_t at, uint32_t first, uint32_t *inflated, uint64_t *next,
		      struct wb_error *err)
{
	uint64_t end = wb_dev_size(pack->inner);
	uint8_t bytes[WB_PACK_CHUNK_HEAD];
	struct wb_pack_chunk_head head;
	z_stream *zlib = &pack->zlib;
	int ret;

	if (end - at < sizeof(bytes))
		return wb_fail(err, WB_EPACK, 0, at, "the pack is cut short: the chunk of slot %u is missing", first);
	ret = wb_dev_read(pack->inner, at, bytes, sizeof(bytes), err);
	if (!ret)
		ret = wb_pack_chunk_decode(bytes, first, &head, at, err);
	if (ret)
		return ret;
	if (head.deflated > end - at - sizeof(bytes))
		return wb_fail(err, WB_EPACK, 0, at, "the pack is cut short: a chunk of %u bytes ends behind the file",
			       head.deflated);
	ret = wb_dev_read(pack->inner, at + sizeof(bytes), pack->deflated, head.deflated, err);
	if (ret)
		return ret;
	if (!wb_sum_holds(head.crc, ~wb_crc32c(~0u, pack->deflated, head.deflated)))
		return bad_chunk(err, at, "its checksum does not match");
	zlib->next_in = pack->deflated;
	zlib->avail_in = head.deflated;
	zlib->next_out = pack->inflated;
	zlib->avail_out = head.inflated;
	if (inflateReset(zlib) != Z_OK || inflate(zlib, Z_FINISH) != Z_STREAM_END || zlib->avail_in || zlib->avail_out)
		return bad_chunk(err, at, "it does not inflate to the size it claims");
	*inflated = head.inflated;
	*next = at + sizeof(bytes) + head.deflated;
	return 0;
}

static unsigned slots_of(const struct pack *pack, uint64_t chunk)
{
	return (unsigned)wb_min(WB_PACK_CHUNK, pack->geometry.slots - chunk * WB_PACK_CHUNK);
}

static int read_columns(struct pack *pack, uint64_t chunk, uint64_t at, uint64_t *next, struct wb_error *err)
{
	uint32_t size = 0;
	int ret = read_chunk(pack, at, (uint32_t)(chunk * WB_PACK_CHUNK), &size, next, err);

	if (ret)
		return ret;
	const char *problem = wb_pack_columns_decode(&pack->columns, slots_of(pack, chunk), pack->inflated, size);

	return problem ? bad_chunk(err, at, problem) : 0;
}

/* The chunk of a slot, decoded; NULL when the file fails us now. */
static struct served *serve(struct pack *pack, uint64_t chunk)
{
	struct served *oldest = &pack->served[0];
	uint64_t next;

	for (unsigned i = 0; i < CACHED; i++) {
		struct served *served = &pack->served[i];

		if (served->chunk == chunk) {
			served->used = ++pack->clock;
			return served;
		}
		if (served->used < oldest->used)
			oldest = served;
	}
	oldest->chunk = NOWHERE;
	if (read_columns(pack, chunk, pack->chunks[chunk], &next, NULL))
		return NULL;
	make_slots(pack, oldest, &pack->columns, (uint32_t)chunk * WB_PACK_CHUNK);
	oldest->chunk = chunk;
	oldest->used = ++pack->clock;
	return oldest;
}

/* ---- reading ---- */

/* A piece of the device that somebody reads. */
struct window {
	uint8_t *bytes;
	uint64_t offset, length;
};

/* Copies what of size bytes at `at` lies in the window. */
static void overlay(const struct window *window, uint64_t at, const uint8_t *bytes, uint64_t size)
{
	uint64_t begin = wb_max(at, window->offset);
	uint64_t end = wb_min(at + size, window->offset + window->length);

	if (begin < end)
		memcpy(window->bytes + (begin - window->offset), bytes + (begin - at), (size_t)(end - begin));
}

static void overlay_patch(const struct window *window, uint64_t slot_at, uint32_t after, uint32_t value)
{
	uint8_t bytes[PATCH];

	wb_put_le(bytes, PATCH, value);
	overlay(window, slot_at + (uint64_t)WB_BLOCK * (after + 1u) - PATCH, bytes, PATCH);
}

static bool is_bad(const struct window *window, const struct served *served, const struct image *image, uint64_t slot_at)
{
	for (unsigned run = image->first_run; run < image->first_run + image->runs; run++) {
		uint64_t begin = slot_at + served->run_first[run] * WB_SECTOR;

		if (begin < window->offset + window->length &&
		    window->offset < begin + served->run_length[run] * WB_SECTOR)
			return true;
	}
	return false;
}

static int read_slot(struct pack *pack, const struct window *window, uint32_t slot)
{
	const struct served *served = serve(pack, slot / WB_PACK_CHUNK);
	uint64_t at = wb_slot_offset(&pack->geometry, slot);

	if (!served)
		return -EIO;
	const struct image *image = &served->images[slot % WB_PACK_CHUNK];

	if (is_bad(window, served, image, at))
		return -EIO;
	overlay(window, at, served->metas + (size_t)(slot % WB_PACK_CHUNK) * WB_BLOCK, WB_BLOCK);
	for (unsigned i = 0; i < image->patch_count; i++)
		if (image->patches[i].after)
			overlay_patch(window, at, image->patches[i].after, image->patches[i].value);
	for (unsigned i = 0; i < pack->geometry.capacity; i++)
		if (image->holds_data[i / 8] >> i % 8 & 1)
			overlay_patch(window, at, i + 1, 1);
	return 0;
}

static int read_window(struct pack *pack, const struct window *window)
{
	uint64_t end = window->offset + window->length;
	int result = 0;

	memset(window->bytes, 0, (size_t)window->length);
	overlay(window, 0, pack->sector0, sizeof(pack->sector0));
	overlay(window, WB_RECORD_OFFSET, pack->record, sizeof(pack->record));
	if (end <= WB_FIRST_SLOT || !pack->geometry.slots)
		return 0;
	uint64_t size = wb_slot_size(&pack->geometry);
	uint64_t slot = (wb_max(window->offset, WB_FIRST_SLOT) - WB_FIRST_SLOT) / size;

	for (; slot < pack->geometry.slots && WB_FIRST_SLOT + slot * size < end && !result; slot++)
		result = read_slot(pack, window, (uint32_t)slot);
	return result;
}

static void pack_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const struct window window = { .bytes = io[i].buffer, .offset = io[i].offset, .length = io[i].length };

		io[i].result = io[i].write ? -EROFS : read_window((struct pack *)dev, &window);
	}
}

static int pack_flush(struct wb_dev *dev)
{
	(void)dev;
	return 0;
}

static void release(struct pack *pack)
{
	for (unsigned i = 0; i < CACHED; i++) {
		free(pack->served[i].metas);
		free(pack->served[i].run_first);
	}
	wb_pack_columns_release(&pack->columns);
	inflateEnd(&pack->zlib);
	free(pack->facts);
	free(pack->chunks);
	free(pack->deflated);
	free(pack->inflated);
	free(pack);
}

static void pack_close(struct wb_dev *dev)
{
	struct pack *pack = (struct pack *)dev;

	wb_dev_close(pack->inner);
	release(pack);
}

static const struct wb_dev_ops pack_ops = {
	.submit = pack_submit,
	.flush = pack_flush,
	.close = pack_close,
};

/* ---- opening ---- */

static void make_sector0(struct pack *pack, const struct wb_pack_head *head)
{
	wb_put_le(pack->record, sizeof(pack->record), head->record);
	if (head->ended) {
		wb_marker_encode(pack->sector0, &head->marker);
		return;
	}
	memcpy(pack->sector0, head->first, sizeof(head->first));
	memset(pack->sector0 + head->rest_first, 1, head->rest);
}

static int read_head(struct pack *pack, struct wb_error *err)
{
	uint8_t bytes[WB_PACK_HEAD];
	struct wb_pack_head head;
	int ret;

	if (wb_dev_size(pack->inner) < WB_PACK_HEAD)
		return wb_fail(err, WB_EPACK, 0, wb_dev_size(pack->inner), "the pack is cut short in its head");
	ret = wb_dev_read(pack->inner, 0, bytes, sizeof(bytes), err);
	if (!ret)
		ret = wb_pack_head_decode(bytes, &head, &pack->geometry, err);
	if (ret)
		return ret;
	make_sector0(pack, &head);
	pack->version = head.version;
	pack->info = head.info;
	pack->info.file_bytes = wb_dev_size(pack->inner);
	pack->dev = *pack->inner;
	pack->dev.ops = &pack_ops;
	pack->dev.parallel = false; /* what it serves is made in place */
	pack->dev.busy = false; /* of the cache that was packed, info says it */
	pack->dev.size = head.bytes;
	pack->dev.block = head.block;
	pack->dev.pack = &pack->info;
	return 0;
}

static int allocate_served(struct pack *pack, struct wb_error *err)
{
	size_t runs = (size_t)WB_PACK_CHUNK << (pack->geometry.order - 1);
	int ret = wb_pack_columns_init(&pack->columns, &pack->geometry, pack->info.metadata_only, err);

	pack->columns.version = pack->version;
	pack->chunks = malloc(wb_pack_chunks(pack->geometry.slots) * sizeof(*pack->chunks));
	if (!ret && !pack->chunks)
		ret = wb_no_memory(err, "the chunks of a pack");
	for (unsigned i = 0; i < CACHED && !ret; i++) {
		struct served *served = &pack->served[i];

		served->chunk = NOWHERE;
		served->metas = malloc((size_t)WB_PACK_CHUNK * WB_BLOCK);
		served->run_first = malloc(2 * runs * sizeof(*served->run_first));
		if (!served->metas || !served->run_first)
			return wb_no_memory(err, "the slots of a pack");
		served->run_length = served->run_first + runs;
	}
	return ret;
}

static int allocate(struct pack *pack, struct wb_error *err)
{
	pack->deflated = malloc(WB_PACK_DEFLATED);
	pack->inflated = malloc(WB_PACK_INFLATED);
	if (!pack->deflated || !pack->inflated || inflateInit(&pack->zlib) != Z_OK)
		return wb_no_memory(err, "a pack");
	if (pack->info.format && wb_seal_covers_data(pack->info.format)) {
		wb_crc_shift_init(&pack->over_block, WB_BLOCK);
		wb_crc_shift_init(&pack->over_rest, WB_BLOCK - PATCH);
	}
	return 0;
}

static int read_facts(struct pack *pack, uint64_t *at, struct wb_error *err)
{
	uint64_t begin = *at;
	uint32_t size;
	int ret = read_chunk(pack, begin, WB_PACK_FACTS_CHUNK, &size, at, err);

	if (ret)
		return ret;
	if (size > WB_PACK_FACTS || memchr(pack->inflated, 0, size))
		return bad_chunk(err, begin, "the facts are no text of a possible length");
	pack->facts = calloc(1, (size_t)size + 1);
	if (!pack->facts)
		return wb_no_memory(err, "the facts of a pack");
	memcpy(pack->facts, pack->inflated, size);
	pack->info.facts = pack->facts;
	return 0;
}

/* Every chunk has at least its head: so many chunks take at least so much file, before memory is taken for them. */
static int check_size(const struct pack *pack, struct wb_error *err)
{
	uint64_t least = (uint64_t)WB_PACK_CHUNK_HEAD * (wb_pack_chunks(pack->geometry.slots) + (uint64_t)1) + WB_PACK_HEAD;

	if (pack->info.file_bytes >= least)
		return 0;
	return wb_fail(err, WB_EPACK, 0, pack->info.file_bytes, "the pack is cut short: %u slots take more than %llu bytes",
		       pack->geometry.slots, (unsigned long long)least);
}

/* Blocks that unpacking may write: metadata, where a checksum is made to come out, data that is not zero. */
static uint64_t blocks_of(const struct wb_pack_columns *columns)
{
	bool sums = wb_seal_covers_data(columns->geometry->format);
	uint64_t blocks = 0;

	for (unsigned i = 0; i < columns->slots; i++)
		if (columns->flags[i] || columns->id[i] || columns->length[i] || columns->checksum[i] || columns->lap[i])
			blocks += 1u + (sums ? 1u : 0u) + (columns->flags[i] & WB_PACK_FLIP ? 1u : 0u);
	for (unsigned i = 0; !sums && !columns->metadata_only && i < columns->block_count; i++)
		blocks += columns->holds_data[i] != 0;
	return blocks;
}

/* Looks at all of it, so that nothing but the file's own medium can fail later. */
static int read_all(struct pack *pack, struct wb_error *err)
{
	uint32_t chunks = wb_pack_chunks(pack->geometry.slots);
	uint64_t at = WB_PACK_HEAD;
	int ret = read_facts(pack, &at, err);

	pack->info.image_blocks = 2; /* of sector 0 and the record */
	for (uint32_t chunk = 0; chunk < chunks && !ret; chunk++) {
		pack->chunks[chunk] = at;
		ret = read_columns(pack, chunk, at, &at, err);
		if (!ret)
			pack->info.image_blocks += blocks_of(&pack->columns);
	}
	if (!ret && at != pack->info.file_bytes)
		ret = wb_fail(err, WB_EPACK, 0, at, "something follows the last chunk of the pack");
	return ret;
}

int wb_dev_pack(struct wb_dev **dev, struct wb_dev *inner, struct wb_error *err)
{
	struct pack *pack = calloc(1, sizeof(*pack));
	int ret;

	if (!pack)
		return wb_no_memory(err, "a pack");
	pack->inner = inner;
	ret = read_head(pack, err);
	if (!ret)
		ret = check_size(pack, err);
	if (!ret)
		ret = allocate(pack, err);
	if (!ret && pack->geometry.slots)
		ret = allocate_served(pack, err);
	if (!ret)
		ret = read_all(pack, err);
	if (ret)
		release(pack);
	else
		*dev = &pack->dev;
	return ret;
}

/* ---- unpacking ---- */

static int put(int fd, uint64_t at, const uint8_t *bytes, size_t size, struct wb_error *err)
{
	while (size) {
		ssize_t n = pwrite(fd, bytes, size, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return wb_fail(err, WB_EIO, errno, at, "writing the image: %s", strerror(errno));
		bytes += n;
		at += (uint64_t)n;
		size -= (size_t)n;
	}
	return 0;
}

/* What of a block of the cache is not zero. */
static int unpack_block(struct pack *pack, int fd, uint64_t at, struct wb_error *err)
{
	uint8_t bytes[WB_BLOCK];
	const struct window window = { .bytes = bytes, .offset = at, .length = WB_BLOCK };

	if (read_window(pack, &window) || wb_all_bytes(bytes, WB_BLOCK, 0))
		return 0;
	return put(fd, at, bytes, WB_BLOCK, err);
}

static int unpack_slot(struct pack *pack, int fd, uint32_t slot, uint64_t *lost, struct wb_error *err)
{
	const struct served *served = serve(pack, slot / WB_PACK_CHUNK);
	uint64_t at = wb_slot_offset(&pack->geometry, slot);
	int ret;

	if (!served)
		return wb_fail(err, WB_EIO, EIO, pack->chunks[slot / WB_PACK_CHUNK], "the pack cannot be read any more");
	const struct image *image = &served->images[slot % WB_PACK_CHUNK];

	for (unsigned run = 0; run < image->runs; run++)
		*lost += served->run_length[image->first_run + run];
	ret = unpack_block(pack, fd, at, err);
	for (unsigned i = 0; i < image->patch_count && !ret; i++)
		if (image->patches[i].after)
			ret = unpack_block(pack, fd, at + (uint64_t)WB_BLOCK * image->patches[i].after, err);
	for (unsigned i = 0; i < pack->geometry.capacity && !ret; i++)
		if (image->holds_data[i / 8] >> i % 8 & 1)
			ret = unpack_block(pack, fd, at + (uint64_t)WB_BLOCK * (i + 1), err);
	return ret;
}

int wb_pack_unpack(struct wb_dev *dev, int fd, uint64_t *lost_sectors, const struct wb_progress *progress,
		   struct wb_error *err)
{
	struct pack *pack = (struct pack *)dev;
	int ret;

	*lost_sectors = 0;
	if (dev->ops != &pack_ops)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "this is a cache, and no pack of one");
	if (ftruncate(fd, (off_t)dev->size))
		return wb_fail(err, WB_EIO, errno, WB_NO_OFFSET, "an image of %llu bytes cannot be made: %s",
			       (unsigned long long)dev->size, strerror(errno));
	ret = put(fd, 0, pack->sector0, sizeof(pack->sector0), err);
	if (!ret)
		ret = put(fd, WB_RECORD_OFFSET, pack->record, sizeof(pack->record), err);
	for (uint32_t slot = 0; slot < pack->geometry.slots && !ret; slot++) {
		if (slot % WB_PACK_CHUNK == 0)
			ret = wb_poll(progress, "unpacking", slot * wb_slot_size(&pack->geometry),
				      pack->geometry.slots * wb_slot_size(&pack->geometry), err);
		if (!ret)
			ret = unpack_slot(pack, fd, slot, lost_sectors, err);
	}
	return ret;
}
