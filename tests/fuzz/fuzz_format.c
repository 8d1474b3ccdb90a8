/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pure code: what is decoded and encoded again agrees, geometries stay inside their device, sums and addresses behave. */
#include "crc32c.h"
#include "fuzz.h"
#include "pack.h"

/* Encoding writes what was decoded, and touches nothing but fields. */
static void headers(const struct wb_format *format, const uint8_t *meta)
{
	uint8_t same[WB_BLOCK], blank[WB_BLOCK];
	struct wb_header header, again;

	memcpy(same, meta, WB_BLOCK);
	memset(blank, 0, WB_BLOCK);
	wb_header_decode(format, meta, &header);
	wb_header_encode(format, same, &header);
	HOLDS(!memcmp(same, meta, WB_BLOCK));
	wb_header_encode(format, blank, &header);
	HOLDS(wb_all_bytes(blank + format->metablocks, WB_BLOCK - format->metablocks, 0));
	wb_header_decode(format, blank, &again);
	HOLDS(header.id == again.id && header.checksum == again.checksum && header.lap == again.lap &&
	      header.length == again.length);
}

static void metablocks(const struct wb_format *format, const uint8_t *meta, unsigned index)
{
	uint8_t same[WB_BLOCK], blank[WB_BLOCK];
	struct wb_metablock metablock, again;

	memcpy(same, meta, WB_BLOCK);
	memset(blank, 0, WB_BLOCK);
	wb_metablock_decode(format, meta, index, &metablock);
	wb_metablock_encode(format, same, index, &metablock);
	HOLDS(!memcmp(same, meta, WB_BLOCK));
	wb_metablock_encode(format, blank, index, &metablock);
	wb_metablock_decode(format, blank, index, &again);
	HOLDS(metablock.sector == again.sector && metablock.lap == again.lap && metablock.dirty == again.dirty);
	memset(blank + wb_metadata_size(format, index), 0, format->stride);
	HOLDS(wb_all_bytes(blank, WB_BLOCK, 0));
	HOLDS(wb_metadata_size(format, index + 1) <= WB_BLOCK);
}

static void markers(const uint8_t *sector)
{
	struct wb_marker marker, again;
	uint8_t encoded[WB_SECTOR];

	if (!wb_marker_decode(sector, &marker))
		return;
	wb_marker_encode(encoded, &marker);
	HOLDS(wb_marker_decode(encoded, &again));
	HOLDS(marker.reason == again.reason && marker.time == again.time && marker.head == again.head &&
	      marker.digest == again.digest && marker.backing_bytes == again.backing_bytes);
}

static void geometries(const struct wb_format *format, struct input *input, const uint8_t *meta)
{
	unsigned order = (unsigned)take(input, 1) % 16;
	uint64_t bytes = take(input, 8), slots = take(input, 1) & 1 ? take(input, 4) : 0, id = take(input, 8);
	struct wb_geometry geometry;
	struct wb_header header;
	uint8_t sector[WB_SECTOR];

	if (wb_geometry_init(&geometry, format, order, bytes, slots, NULL))
		return;
	uint32_t last = geometry.slots - 1;

	HOLDS(geometry.slots && geometry.capacity >= 1 && geometry.capacity <= 255 && order >= format->order_min &&
	      order <= format->order_max);
	HOLDS(slots ? geometry.slots == slots : wb_slot_offset(&geometry, last) + wb_slot_size(&geometry) <= bytes);
	HOLDS(wb_slot_size(&geometry) == (geometry.capacity + 1) * WB_BLOCK);
	if (id) {
		HOLDS(wb_slot_of(&geometry, id) == (id - 1) % geometry.slots);
		HOLDS(wb_lap_of(&geometry, id) == (uint32_t)((id - 1) / geometry.slots + 1));
	}
	HOLDS(wb_geometry_wraps(&geometry) == ((uint64_t)2048 + ((uint64_t)last << order) > UINT32_MAX));
	wb_driver_memory(&geometry);
	wb_super_encode(sector, &geometry);
	HOLDS(wb_get_le(sector, 4) == WB_MAGIC);
	wb_header_decode(format, meta, &header);
	if (wb_length_in_range(&geometry, header.length))
		wb_seal_laps(&geometry, meta, &header);
}

static void heads_of_packs(const uint8_t *bytes)
{
	struct wb_geometry geometry;
	struct wb_pack_head head, again;
	struct wb_pack_chunk_head chunk, chunk_again;
	uint8_t encoded[WB_PACK_HEAD], twice[WB_PACK_HEAD];

	if (!wb_pack_head_decode(bytes, &head, &geometry, NULL)) {
		wb_pack_head_encode(&head, encoded);
		HOLDS(!wb_pack_head_decode(encoded, &again, &geometry, NULL));
		wb_pack_head_encode(&again, twice);
		HOLDS(!memcmp(encoded, twice, WB_PACK_HEAD));
	}
	if (!wb_pack_chunk_decode(bytes, (uint32_t)wb_get_le(bytes, 4), &chunk, 0, NULL)) {
		wb_pack_chunk_encode(&chunk, encoded);
		HOLDS(!wb_pack_chunk_decode(encoded, chunk.first, &chunk_again, 0, NULL));
		HOLDS(!memcmp(&chunk, &chunk_again, sizeof(chunk)));
	}
}

static void sums(const uint8_t *bytes, size_t size, size_t cut)
{
	uint32_t crc = wb_crc32c(~0u, bytes, size), head = wb_crc32c(~0u, bytes, cut);
	struct wb_crc_shift shift;
	uint8_t four[4];

	HOLDS(crc == wb_crc32c_portable(~0u, bytes, size));
	HOLDS(crc == wb_crc32c(head, bytes + cut, size - cut));
	wb_crc_shift_init(&shift, size - cut);
	HOLDS(crc == (wb_crc_shift(&shift, head) ^ wb_crc32c(0, bytes + cut, size - cut)));
	wb_put_le(four, 4, wb_crc_force(head, crc));
	HOLDS(wb_crc32c(head, four, 4) == crc);
}

static void flipped_bits(const uint8_t *bytes, size_t size, size_t bit)
{
	static struct wb_bitfind find;
	static bool ready;
	uint8_t copy[WB_BLOCK];

	if (!ready)
		wb_bitfind_init(&find);
	ready = true;
	memcpy(copy, bytes, size);
	copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
	uint32_t difference = wb_crc32c(0, bytes, size) ^ wb_crc32c(0, copy, size);

	HOLDS(difference);
	HOLDS(wb_bitfind(&find, difference, size) == (size - 1 - bit / 8) * 8 + 7 - bit % 8);
}

static void addresses(struct input *input)
{
	uint8_t key[16];

	wb_put_le(key, 8, take(input, 8));
	wb_put_le(key + 8, 8, take(input, 8));
	uint64_t a = take(input, 8), b = take(input, 1) & 1 ? a + take(input, 2) : take(input, 8);
	struct wb_moves moves = { .count = 0 };

	HOLDS(!wb_moves_add(&moves, a, NULL) && !wb_moves_add(&moves, b, NULL) && !wb_moves_settle(&moves, key, NULL));
	uint64_t image_of_a = wb_moved(&moves, a), image_of_b = wb_moved(&moves, b);
	bool whole = wb_max(a, b) <= UINT64_MAX / WB_SECTOR - WB_SECTORS_PER_BLOCK;

	wb_moves_release(&moves);
	if (whole) {
		HOLDS(image_of_a % 8 == a % 8);
		HOLDS((image_of_a < image_of_b) == (a < b) && (image_of_a == image_of_b) == (a == b));
		HOLDS((image_of_a / 8 + 1 == image_of_b / 8) == (a / 8 + 1 == b / 8));
	} else {
		HOLDS(wb_max(image_of_a, image_of_b) == UINT64_MAX - 7);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	const struct wb_format *format = wb_format_at((unsigned)take(&input, 1) % 3);
	unsigned index = (unsigned)take(&input, 1) % ((1u << (format->order_max - 3)) - 1);
	uint8_t meta[WB_BLOCK] = { 0 };

	geometries(format, &input, input.left < WB_BLOCK ? meta : input.at);
	addresses(&input);
	size_t bit = take(&input, 2), cut = take(&input, 2), some = wb_min(input.left, WB_BLOCK);

	memcpy(meta, input.at, some);
	headers(format, meta);
	metablocks(format, meta, index);
	markers(meta);
	heads_of_packs(meta);
	if (some) {
		sums(meta, some, cut % some);
		flipped_bits(meta, some, bit % (8 * some));
	}
	return 0;
}
