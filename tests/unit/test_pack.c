/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packs: whoever reads one finds what he would find on the cache, no data is in it, and bad ones are refused. */
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "cache_builder.h"
#include "crc32c.h"
#include "pack.h"

/* ---- a pack in memory ---- */

struct packed {
	uint8_t *bytes;
	uint64_t size;
	struct wb_pack_result result;
	struct wb_dev *dev; /* opened as a device */
};

static uint8_t *contents_of(int fd, uint64_t *size)
{
	off_t end = lseek(fd, 0, SEEK_END);
	uint8_t *bytes = malloc((size_t)end + 1);

	assert_true(end >= 0 && bytes);
	assert_int_equal(pread(fd, bytes, (size_t)end, 0), end);
	*size = (uint64_t)end;
	return bytes;
}

static void pack_cache(struct packed *packed, struct wb_cache *cache, const struct wb_pack_options *options)
{
	struct wb_error err = { 0 };
	int fd = memfd_create("pack", 0);

	memset(packed, 0, sizeof(*packed));
	if (wb_pack_write(cache, fd, options, &packed->result, NULL, &err))
		fail_msg("packing: %s", err.text);
	packed->bytes = contents_of(fd, &packed->size);
	assert_int_equal(packed->size, packed->result.bytes);
	close(fd);
}

/* Opens bytes as a pack; inner is closed where that fails. */
static int try_open(uint8_t *bytes, uint64_t size, struct wb_dev **dev, struct wb_error *err)
{
	struct wb_dev *inner;
	int ret;

	assert_int_equal(wb_dev_memory(&inner, bytes, size, NULL), 0);
	ret = wb_dev_pack(dev, inner, err);
	if (ret)
		wb_dev_close(inner);
	return ret;
}

static void packed_open(struct packed *packed)
{
	struct wb_error err = { 0 };

	if (try_open(packed->bytes, packed->size, &packed->dev, &err))
		fail_msg("opening the pack: %s", err.text);
	assert_false(packed->dev->parallel);
}

static void packed_release(struct packed *packed)
{
	wb_dev_close(packed->dev);
	free(packed->bytes);
}

/* ---- the same as the cache ---- */

/* What is neither sealed nor in place has a class, and nothing else; what is not sealed has no blocks that count. */
static bool speaks(const struct wb_slot *slot)
{
	unsigned sealed = WB_SLOT_SEALED | WB_SLOT_LAP;

	return (slot->flags & sealed) == sealed || slot->flags & WB_SLOT_ONE_BIT || slot->class_ == WB_PART_READABLE;
}

static unsigned flags_that_count(const struct wb_slot *slot)
{
	unsigned of_blocks = WB_SLOT_PARTIAL | WB_SLOT_MISALIGNED | WB_SLOT_BEYOND | WB_SLOT_CLEAN_BAD | WB_SLOT_PADDING;

	return slot->flags & (speaks(slot) ? ~0u : ~of_blocks);
}

/* So much the pack tells of the id of a slot that it has no fields of. */
static bool same_id(const struct wb_ring *ring, uint32_t i, uint64_t packed)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	uint64_t id = ring->slots[i].id;

	return packed == id || (!speaks(&ring->slots[i]) && id && packed > (uint64_t)1 << 60 &&
				(wb_slot_of(geometry, id) == i) == (wb_slot_of(geometry, packed) == i));
}

static void assert_same_slots(const struct wb_ring *a, const struct wb_ring *b)
{
	for (uint32_t i = 0; i < a->cache->geometry.slots; i++) {
		const struct wb_slot *x = &a->slots[i], *y = &b->slots[i];

		bool in_range = wb_length_in_range(&a->cache->geometry, x->length);

		/* v0: laps agree that neither the id nor the log has */
		if (x->flags & WB_SLOT_SEALED && !speaks(x) && y->id >> 60 && (y->class_ == WB_FOREIGN || y->class_ == WB_ROTTEN))
			continue;

		if (!same_id(a, i, y->id) || flags_that_count(x) != flags_that_count(y) || x->class_ != y->class_ ||
		    in_range != wb_length_in_range(&a->cache->geometry, y->length) ||
		    (speaks(x) && (x->length != y->length || x->dirty_blocks != y->dirty_blocks ||
				   x->dirty_sectors != y->dirty_sectors)))
			fail_msg("slot %u: id %lu flags %x length %u %s dirty %u/%u, packed: id %lu flags %x length %u %s dirty %u/%u",
				 i, (unsigned long)x->id, x->flags, x->length, wb_class_name(x->class_), x->dirty_blocks,
				 x->dirty_sectors, (unsigned long)y->id, y->flags, y->length, wb_class_name(y->class_),
				 y->dirty_blocks, y->dirty_sectors);
	}
}

static void assert_same_ring(const struct wb_ring *a, const struct wb_ring *b)
{
	assert_same_slots(a, b);
	assert_int_equal(a->correction_count, b->correction_count);
	for (uint32_t i = 0; i < a->correction_count; i++)
		assert_memory_equal(&a->corrections[i], &b->corrections[i], sizeof(a->corrections[i]));
	assert_int_equal(a->head, b->head);
	assert_int_equal(a->first, b->first);
	assert_int_equal(a->holes, b->holes);
	assert_int_equal(a->raw_seals, b->raw_seals);
	assert_int_equal(a->plain_seals, b->plain_seals);
	assert_int_equal(a->destroyed, b->destroyed);
	assert_int_equal(a->record_state, b->record_state);
}

/* Loads the pack's ring with the options that the build was loaded with. */
static void load_packed(struct build *b, struct packed *packed, struct wb_cache *cache, struct wb_ring *ring)
{
	const struct wb_overrides overrides = { .format = b->geometry.format, .order = b->geometry.order,
						.any_super = true };
	struct wb_error err = { 0 };

	if (wb_cache_open(cache, packed->dev, &overrides, &err) ||
	    wb_ring_load(ring, cache, &b->ring.options, NULL, &err))
		fail_msg("the pack: %s", err.text);
}

static void assert_packs_the_same(struct build *b, const struct wb_pack_options *options)
{
	struct packed packed;
	struct wb_cache cache;
	struct wb_ring ring;

	pack_cache(&packed, &b->cache, options);
	packed_open(&packed);
	load_packed(b, &packed, &cache, &ring);
	assert_int_equal(wb_dev_size(packed.dev), wb_dev_size(b->cache.dev));
	assert_int_equal(cache.super, b->cache.super);
	assert_true(cache.record == b->cache.record ||
		    (cache.record == WB_PACK_NO_RECORD && b->ring.record_state == WB_RECORD_GARBAGE));
	assert_same_ring(&b->ring, &ring);
	wb_ring_release(&ring);
	packed_release(&packed);
}

/* A ring of one lap and a half in twelve slots: 7 ... 18, slot 6 holds 7. */
static void start(struct build *b, const char *format, unsigned order)
{
	build_init(b, format, order, 12);
	for (uint64_t id = 1; id <= 18; id++)
		build_segment(b, id, PUTS({ id * 3, 0xff, 0 }, { id * 3 + 1, 0x0f, 0 }, { 5, 0x81, 0 }));
}

static void release(struct build *b)
{
	build_release(b);
}

static const struct { const char *format; unsigned order; } generations[] = {
	{ "v0", 5 }, { "v0", 7 }, { "v0", 11 }, { "v1", 6 }, { "v1", 10 }, { "v2", 10 },
};

/* damage: what is done to the cache; it must change something for each generation */
static void same_after(void (*damage)(struct build *b))
{
	static const uint8_t key[16] = "a key like any";

	for (unsigned i = 0; i < LENGTH_OF(generations); i++) {
		struct build b;

		start(&b, generations[i].format, generations[i].order);
		damage(&b);
		build_load(&b, 0);
		assert_packs_the_same(&b, &(struct wb_pack_options){ .facts = "name: value\n", .jobs = 2 });
		assert_packs_the_same(&b, &(struct wb_pack_options){ .key = key });
		release(&b);
	}
}

static void nothing(struct build *b)
{
	build_record(b, 9);
}

static void a_sound_cache_packs_as_it_is(void **state)
{
	(void)state;
	same_after(nothing);
}

static void flip_data_bit(struct build *b)
{
	build_at(b, 8)[WB_BLOCK + 100] ^= 4;
	build_at(b, 9)[WB_BLOCK + 100] ^= 4;
	build_at(b, 9)[WB_BLOCK + 101] ^= 1;
}

static void rotten_segments_pack_rotten_and_explained(void **state)
{
	(void)state;
	same_after(flip_data_bit);
}

static void flip_header_bits(struct build *b)
{
	*build_length_at(b, 7) ^= 1;
	*build_length_at(b, 8) ^= 4; /* longer than what was written */
	*build_length_at(b, 9) ^= 0x80;
	build_at(b, 10)[b->geometry.format->checksum.width ? b->geometry.format->checksum.offset : 9] ^= 0x20;
	*build_id_at(b, 11) ^= 0x40;
}

static void damaged_headers_pack_damaged(void **state)
{
	(void)state;
	same_after(flip_header_bits);
}

static void tear(struct build *b)
{
	build_torn(b, 19, 77); /* over 7, the oldest */
	memset(build_id_at(b, 7), 0, 8);
}

static void torn_segments_pack_torn(void **state)
{
	(void)state;
	same_after(tear);
}

static void scribble(struct build *b)
{
	uint64_t seed = 4;

	for (uint32_t slot = 2; slot < 8; slot++)
		for (unsigned i = 0; i < 2 * WB_BLOCK; i++)
			build_at(b, slot)[i] = (uint8_t)draw(&seed);
	memset(build_at(b, 9), 0, WB_BLOCK);
	memset(build_at(b, 10), 0, WB_BLOCK);
	build_at(b, 10)[WB_BLOCK - 300] = 1; /* not blank, and no field is set */
	*build_length_at(b, 3) = 1;
}

static void garbage_packs_as_garbage(void **state)
{
	(void)state;
	same_after(scribble);
}

static void put_sector(struct build *b, uint32_t slot, uint64_t sector)
{
	const struct wb_format *format = b->geometry.format;
	struct wb_metablock metablock;

	wb_metablock_decode(format, build_at(b, slot), 1, &metablock);
	metablock.sector = sector;
	wb_metablock_encode(format, build_at(b, slot), 1, &metablock);
}

static void add_padding_and_odd_sectors(struct build *b)
{
	const struct wb_format *format = b->geometry.format;
	static const uint64_t sectors[] = { 3, UINT64_MAX - 15, UINT64_MAX - 7, (uint64_t)1 << 55 };

	for (uint32_t slot = 0; slot < LENGTH_OF(sectors); slot++) {
		put_sector(b, slot, sectors[slot]);
		if (format->metablocks > 100) {
			build_at(b, slot)[100] = 7;
			build_at(b, slot)[format->metablocks + 10] = 9;
		}
		build_seal(b, slot);
	}
}

static void padding_and_impossible_sectors_are_noticed_in_the_pack(void **state)
{
	(void)state;
	same_after(add_padding_and_odd_sectors);
}

/* With a key it is as impossible as any other, and no longer misaligned. */
static void an_impossible_sector_that_is_misaligned_stays_so(void **state)
{
	struct build b;

	(void)state;
	start(&b, "v2", 10);
	put_sector(&b, 1, UINT64_MAX);
	build_seal(&b, 1);
	build_load(&b, 0);
	assert_packs_the_same(&b, &(struct wb_pack_options){ .time = 1 });
	build_release(&b);
}

static void zero_data(struct build *b)
{
	for (uint32_t slot = 0; slot < 12; slot++)
		if (slot != 3)
			memset(build_at(b, slot) + WB_BLOCK, 0, 3 * WB_BLOCK);
}

static void discarded_data_packs_as_zeroes(void **state)
{
	(void)state;
	same_after(zero_data);
}

static void an_empty_segment_packs(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v2", 10, 4);
	build_segment(&b, 1, NULL, 0);
	build_segment(&b, 2, NULL, 0);
	memset(build_at(&b, 1) + 3000, 0x77, 100); /* stale metablocks, covered by the checksum */
	build_seal(&b, 1);
	build_at(&b, 0)[3000] ^= 8;
	build_load(&b, 0);
	assert_class(&b, 0, WB_ROTTEN);
	assert_class(&b, 1, WB_LIVE);
	assert_packs_the_same(&b, &(struct wb_pack_options){ .time = 1 });
	build_release(&b);
}

static void what_cannot_be_read_cannot_be_read_in_the_pack(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(generations); i++) {
		struct build b;

		start(&b, generations[i].format, generations[i].order);
		uint64_t size = wb_slot_size(&b.geometry), at = 1 << 20;
		const struct wb_range bad[] = { { at + 512, 512 }, { at + 3 * size + 8192, 1024 },
						{ at + 4 * size + 4096, 512 }, { at + 4 * size + 5120, 512 },
						{ at + 7 * size, 4096 }, { at + 9 * size + size - 512, 512 } };

		build_at(&b, 9)[WB_BLOCK] ^= 1; /* rotten, and cannot be explained because of its last sector */
		build_load_on(&b, build_bad(&b, bad, LENGTH_OF(bad)), &(struct wb_ring_options){ .jobs = 2 });
		assert_packs_the_same(&b, &(struct wb_pack_options){ .jobs = 2 });
		build_release(&b);
	}
}

static void a_marker_and_a_foreign_sector0_survive(void **state)
{
	const struct wb_marker marker = { .reason = WB_END_FLUSHED, .time = 12345, .head = 18, .digest = 77,
					  .backing_bytes = 1 << 30 };
	struct build b;

	(void)state;
	start(&b, "v1", 6);
	wb_marker_encode(b.bytes, &marker);
	build_load(&b, 0);
	assert_packs_the_same(&b, &(struct wb_pack_options){ .time = 1 });
	memset(b.bytes, 'x', WB_SECTOR);
	build_load(&b, 0);
	assert_int_equal(b.cache.super, WB_SUPER_DAMAGED);
	assert_packs_the_same(&b, &(struct wb_pack_options){ .time = 1 });
	build_release(&b);
}

/* Of version 2 too, where it knows the geometry, which the pack's head has once. */
static void a_marker_reads_back_all_but_its_digest(void **state)
{
	const struct wb_format *v1 = wb_format_find("v1");
	const struct wb_marker markers[] = {
		{ .version = 2, .reason = WB_END_FLUSHED, .time = 12345, .head = 18, .digest = 77, .backing_bytes = 1 << 30,
		  .format = v1, .order = 6, .slots = 12 },
		{ .version = 2, .reason = WB_END_RESET, .head = 18, .digest = 77, .partial = true, .left_segments = 5,
		  .left_sectors = UINT64_C(0xffffffffffff), .stale_sectors = UINT32_MAX, .format = v1, .order = 6, .slots = 12 },
		{ .version = 2, .reason = WB_END_RESET },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(markers); i++) {
		uint8_t sector[WB_SECTOR];
		struct packed packed;
		struct build b;

		start(&b, "v1", 6);
		wb_marker_encode(b.bytes, &markers[i]);
		build_load(&b, 0);
		pack_cache(&packed, &b.cache, &(struct wb_pack_options){ .time = 1 });
		packed_open(&packed);
		assert_int_equal(wb_dev_read(packed.dev, 0, sector, WB_SECTOR, NULL), 0);
		struct wb_marker without = markers[i];

		without.digest = markers[i].digest ? 1 : 0;
		wb_marker_encode(b.bytes, &without);
		assert_memory_equal(sector, b.bytes, WB_SECTOR);
		packed_release(&packed);
		build_release(&b);
	}
}

static void a_pack_of_metadata_alone_counts_as_unverified(void **state)
{
	const struct wb_pack_options options = { .metadata_only = true };
	struct build b;
	struct packed packed;
	struct wb_cache cache;
	struct wb_ring ring;

	(void)state;
	start(&b, "v2", 10);
	flip_data_bit(&b);
	build_load_on(&b, NULL, &(struct wb_ring_options){ .metadata_only = true });
	assert_packs_the_same(&b, &options);
	pack_cache(&packed, &b.cache, &options);
	packed_open(&packed);
	b.ring.options.metadata_only = false;
	load_packed(&b, &packed, &cache, &ring);
	assert_true(ring.options.metadata_only);
	assert_true(wb_dev_pack_info(packed.dev)->metadata_only);
	wb_ring_release(&ring);
	packed_release(&packed);
	build_release(&b);
}

/* ---- what a pack says of itself ---- */

static void the_head_is_read_back(void **state)
{
	const struct wb_pack_options options = { .time = 99, .backing_bytes = 1 << 22, .facts = "one: 1\ntwo: 2\n" };
	struct build b;
	struct packed packed;

	(void)state;
	start(&b, "v2", 10);
	build_load(&b, 0);
	pack_cache(&packed, &b.cache, &options);
	packed_open(&packed);
	const struct wb_pack_info *info = wb_dev_pack_info(packed.dev);

	assert_int_equal(info->time, 99);
	assert_int_equal(info->backing_bytes, 1 << 22);
	assert_string_equal(info->facts, options.facts);
	assert_string_equal(info->format->name, "v2");
	assert_int_equal(info->slots, 12);
	assert_int_equal(info->file_bytes, packed.size);
	assert_int_equal(packed.result.segments, 12);
	assert_false(info->obfuscated || info->metadata_only || info->busy);
	assert_null(wb_dev_pack_info(b.dev));
	packed_release(&packed);
	build_release(&b);
}

static void nothing_can_be_written_to_a_pack(void **state)
{
	struct wb_error err = { 0 };
	struct build b;
	struct packed packed;

	(void)state;
	start(&b, "v0", 7);
	build_load(&b, 0);
	pack_cache(&packed, &b.cache, &(struct wb_pack_options){ .time = 1 });
	packed_open(&packed);
	assert_int_equal(wb_dev_write(packed.dev, 0, "x", 1, &err), -WB_EIO);
	assert_int_equal(err.sys, EROFS);
	packed_release(&packed);
	build_release(&b);
}

static void wrapped_addresses_are_refused(void **state)
{
	struct wb_pack_result result;
	struct wb_error err = { 0 };
	struct build b;

	(void)state;
	start(&b, "v2", 10);
	build_load(&b, 0);
	b.cache.geometry.wrap = true;
	assert_int_equal(wb_pack_write(&b.cache, -1, &(struct wb_pack_options){ .time = 1 }, &result, NULL, &err), -WB_EINVAL);
	b.cache.geometry.wrap = false;
	assert_int_equal(wb_pack_write(&b.cache, -1, &(struct wb_pack_options){ .time = 1 }, &result, NULL, &err), -WB_EIO);
	build_release(&b);
}

static uint64_t blocks_in(const uint8_t *image, uint64_t size)
{
	uint64_t blocks = 0;

	for (uint64_t at = 0; at + WB_BLOCK <= size; at += WB_BLOCK)
		blocks += !wb_all_bytes(image + at, WB_BLOCK, 0);
	return blocks;
}

static void unpacking_writes_what_the_device_reads(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(generations); i++) {
		struct build b;
		struct packed packed;
		uint64_t size, lost;
		int fd = memfd_create("image", 0);

		start(&b, generations[i].format, generations[i].order);
		flip_header_bits(&b);
		build_load(&b, 0);
		pack_cache(&packed, &b.cache, &(struct wb_pack_options){ .time = 1 });
		packed_open(&packed);
		assert_int_equal(wb_pack_unpack(b.dev, fd, &lost, NULL, NULL), -WB_EINVAL);
		assert_int_equal(wb_pack_unpack(packed.dev, fd, &lost, NULL, NULL), 0);
		assert_int_equal(lost, 0);
		uint8_t *image = contents_of(fd, &size), *read = malloc(b.geometry.bytes);

		assert_int_equal(size, b.geometry.bytes);
		assert_int_equal(wb_dev_read(packed.dev, 0, read, (uint32_t)size, NULL), 0);
		assert_memory_equal(image, read, size);
		assert_in_range(wb_dev_pack_info(packed.dev)->image_blocks, blocks_in(image, size), 2 * blocks_in(image, size));
		for (uint32_t odd = 1; odd < 100; odd++) { /* in pieces that are aligned to nothing */
			uint64_t at = (uint64_t)odd * 7919 * 13 % (size - 5000);

			assert_int_equal(wb_dev_read(packed.dev, at, read, 4999, NULL), 0);
			assert_memory_equal(image + at, read, 4999);
		}
		close(fd);
		free(image);
		free(read);
		packed_release(&packed);
		build_release(&b);
	}
}

/* Two chunks are held: each of these evicts another. */
static void more_chunks_than_are_held_read_as_they_are(void **state)
{
	static const uint32_t order[] = { 0, 700, 300, 1, 699, 299, 700, 0 };
	const uint32_t slots = 3 * WB_PACK_CHUNK - 1;
	struct packed packed;
	struct build b;

	(void)state;
	build_init(&b, "v0", 4, slots);
	build_log(&b, 1, slots, 1000);
	build_load(&b, 0);
	assert_packs_the_same(&b, &(struct wb_pack_options){ .time = 1 });
	pack_cache(&packed, &b.cache, &(struct wb_pack_options){ .time = 1 });
	packed_open(&packed);
	for (size_t i = 0; i < LENGTH_OF(order); i++) {
		uint32_t used = wb_metadata_size(b.geometry.format, 1);
		uint8_t meta[WB_BLOCK];

		assert_int_equal(wb_dev_read(packed.dev, wb_slot_offset(&b.geometry, order[i]), meta, WB_BLOCK, NULL), 0);
		assert_memory_equal(meta, build_at(&b, order[i]), used);
	}
	packed_release(&packed);
	build_release(&b);
}

/* A chunk is read in several batches then; one of the segments is rotten. */
static void more_data_than_is_read_at_once_packs_as_it_is(void **state)
{
	struct put puts[127];
	struct build b;

	(void)state;
	build_init(&b, "v2", 10, 10);
	for (unsigned i = 0; i < LENGTH_OF(puts); i++)
		puts[i] = (struct put){ i, 0xff, 0 };
	for (uint64_t id = 1; id <= 10; id++)
		build_segment(&b, id, puts, LENGTH_OF(puts));
	build_at(&b, 8)[WB_BLOCK * 100] ^= 0x11;
	build_load(&b, 0);
	assert_packs_the_same(&b, &(struct wb_pack_options){ .jobs = 1 });
	release(&b);
}

static void a_pack_that_cannot_be_read_any_more_is_an_error(void **state)
{
	struct wb_dev *inner, *dev;
	struct packed packed;
	struct wb_error err;
	struct build b;
	struct spy spy;
	uint64_t lost;
	int fd = memfd_create("image", 0);

	(void)state;
	start(&b, "v1", 6);
	build_load(&b, 0);
	pack_cache(&packed, &b.cache, &(struct wb_pack_options){ .time = 1 });
	assert_int_equal(wb_dev_memory(&inner, packed.bytes, packed.size, NULL), 0);
	spy_init(&spy, inner);
	assert_int_equal(wb_dev_pack(&dev, &spy.dev, NULL), 0);
	spy.dead_read = 1;
	assert_int_equal(wb_pack_unpack(dev, fd, &lost, NULL, &err), -WB_EIO);
	assert_string_equal(err.text, "the pack cannot be read any more");
	close(fd);
	wb_dev_close(dev);
	wb_dev_close(inner);
	packed_release(&packed);
	build_release(&b);
}

/* ---- no data ---- */

struct chunk_at {
	uint64_t offset;
	uint32_t first, deflated, inflated;
};

static struct chunk_at chunk_at(const uint8_t *bytes, uint64_t offset)
{
	return (struct chunk_at){ .offset = offset, .first = (uint32_t)wb_get_le(bytes + offset, 4),
				  .deflated = (uint32_t)wb_get_le(bytes + offset + 4, 4),
				  .inflated = (uint32_t)wb_get_le(bytes + offset + 8, 4) };
}

static uint8_t *inflate_chunk(const uint8_t *bytes, const struct chunk_at *chunk)
{
	uint8_t *inflated = malloc(chunk->inflated + 1u);
	uLongf size = chunk->inflated;

	assert_int_equal(uncompress(inflated, &size, bytes + chunk->offset + WB_PACK_CHUNK_HEAD, chunk->deflated), Z_OK);
	assert_int_equal(size, chunk->inflated);
	return inflated;
}

static bool holds(const uint8_t *bytes, uint64_t size, const char *word)
{
	return memmem(bytes, size, word, strlen(word));
}

static void assert_no_canary(const struct packed *packed)
{
	for (uint64_t at = WB_PACK_HEAD; at < packed->size;) {
		struct chunk_at chunk = chunk_at(packed->bytes, at);
		uint8_t *inflated = inflate_chunk(packed->bytes, &chunk);

		assert_false(holds(inflated, chunk.inflated, "nar"));
		free(inflated);
		at += WB_PACK_CHUNK_HEAD + chunk.deflated;
	}
	assert_false(holds(packed->bytes, packed->size, "nar"));
}

/* The canary everywhere: in data blocks, behind the length, in padding, in slots never written, behind the last slot. */
static void fill_with_canaries(struct build *b)
{
	const struct wb_format *format = b->geometry.format;

	for (uint64_t i = 0; i < b->geometry.bytes; i++)
		b->bytes[i] = (uint8_t)"canary! "[i % 8];
	build_super(b);
	build_record(b, 0);
	for (uint64_t id = 1; id <= 6; id++) {
		uint8_t *at = build_at(b, (uint32_t)id - 1), metas[WB_BLOCK];

		build_segment(b, id, PUTS({ id, 0xff, 0 }, { id + 9, 0xff, 0 }));
		memcpy(metas, at, WB_BLOCK);
		for (uint64_t i = 0; i < wb_slot_size(&b->geometry); i++)
			at[i] = (uint8_t)"canary! "[i % 8];
		memcpy(at, metas, wb_metadata_size(format, 2));
		for (unsigned i = 20; wb_seal_covers_data(format) && i < 500; i++)
			at[i] = (uint8_t)"canary! "[i % 8];
		build_seal(b, (uint32_t)id - 1);
	}
}

static void no_byte_of_data_is_in_a_pack(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(generations); i++) {
		struct build b;
		struct packed packed;

		build_init(&b, generations[i].format, generations[i].order, 12);
		fill_with_canaries(&b);
		build_load(&b, 0);
		assert_int_equal(b.ring.classes[WB_LIVE] + b.ring.classes[WB_OLD], 6);
		pack_cache(&packed, &b.cache, &(struct wb_pack_options){ .facts = "x" });
		assert_no_canary(&packed);
		assert_int_equal(packed.result.segments, 6);
		packed_release(&packed);
		assert_packs_the_same(&b, &(struct wb_pack_options){ .facts = "x" });
		build_release(&b);
	}
}

/* Two texts, as two users' disks may have held them. */
static const char *const texts[2] = { "PIN=1234 of user ", "key: 98765 secret" };

static void put_text(uint8_t *to, uint64_t size, unsigned which)
{
	for (uint64_t i = 0; i < size; i++)
		to[i] = (uint8_t)texts[which][i % 17];
}

/* The text read as an id belongs to this slot, or to another one. */
static void fit_text(struct build *b, uint32_t slot, bool in_step)
{
	uint64_t id = wb_get_le(build_id_at(b, slot), 8), slots = b->geometry.slots;

	id = id - (id - 1) % slots + (slot + !in_step) % slots;
	wb_put_le(build_id_at(b, slot), 8, id);
	*build_length_at(b, slot) = 200;
}

/* v0: records of 13 bytes whose laps agree, a spreadsheet for one. */
static void put_rows(struct build *b, uint32_t slot, unsigned which, uint32_t lap)
{
	for (unsigned i = 0; i < 20; i++) {
		uint8_t *row = build_at(b, slot) + 13 * i;

		put_text(row, 8, which);
		row[8] = 3;
		wb_put_le(row + 9, 4, lap);
	}
}

/* Segments 1 to 6, of which the pack holds something, the torn next write (its header), and text in all the rest. */
static void build_over_text(struct build *b, unsigned which)
{
	const struct wb_format *format = b->geometry.format;
	bool sums = wb_seal_covers_data(format);
	unsigned unused = sums ? 500 : 0;

	put_text(b->bytes, b->geometry.bytes, which);
	wb_put_le(b->bytes, 4, WB_MAGIC);
	if (format->order_stored)
		b->bytes[4] = (uint8_t)b->geometry.order;
	for (uint64_t id = 1; id <= 7; id++) {
		uint8_t *at = build_at(b, (uint32_t)id - 1);

		memset(at, 0, sums ? wb_slot_size(&b->geometry) : wb_metadata_size(format, 2)); /* what a checksum covers is the segment's */
		build_segment(b, id, PUTS({ id, 0xff, 0 }, { id + 9, 0xff, 0 }));
		if (!sums)
			put_text(at + WB_BLOCK, wb_slot_size(&b->geometry) - WB_BLOCK, which);
		else
			put_text(at + 3 * WB_BLOCK, wb_slot_size(&b->geometry) - 3 * WB_BLOCK, which);
	}
	put_text(build_at(b, 6) + (sums ? 512 : wb_metadata_size(format, 1)), WB_BLOCK / 2, which);
	fit_text(b, 7, true);
	*build_length_at(b, 7) = 3;
	fit_text(b, 8, true);
	fit_text(b, 9, false);
	put_text(build_id_at(b, 10), 8, which); /* a small file, and zeroes up to the end of its block */
	memset(build_at(b, 10) + 8, 0, unused ? unused : WB_BLOCK - 8);
	fit_text(b, 10, true);
	*build_length_at(b, 10) = 0;
	if (sums)
		memset(build_at(b, 11), 0, 8); /* id 0 */
	else
		put_rows(b, 11, which, 7);
	if (!sums)
		put_rows(b, 9, which, 1); /* the lap that the log is in */
}

static void assert_no_text(const struct packed *packed, unsigned which)
{
	uint8_t *image = malloc(wb_dev_size(packed->dev));

	assert_non_null(image);
	assert_int_equal(wb_dev_read(packed->dev, 0, image, (uint32_t)wb_dev_size(packed->dev), NULL), 0);
	for (unsigned i = 0; i < 17; i++) {
		char part[4] = { texts[which][i], texts[which][(i + 1) % 17], texts[which][(i + 2) % 17] };

		assert_false(holds(image, wb_dev_size(packed->dev), part));
	}
	free(image);
}

/* Whatever a disk held before in every byte that is not a segment's: the pack is the same, byte for byte. */
static void what_is_not_a_segments_is_not_in_the_pack(void **state)
{
	static const uint8_t key[16] = "a key like any";

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(generations); i++) {
		struct packed packed[2], moved;
		struct build b[2];

		for (unsigned which = 0; which < 2; which++) {
			build_init(&b[which], generations[i].format, generations[i].order, 12);
			build_over_text(&b[which], which);
			build_load(&b[which], 0);
			pack_cache(&packed[which], &b[which].cache, &(struct wb_pack_options){ .facts = "x" });
			packed_open(&packed[which]);
			assert_no_text(&packed[which], which);
			assert_int_equal(packed[which].result.segments, 7);
			assert_int_equal(packed[which].result.others, 5);
			pack_cache(&moved, &b[which].cache, &(struct wb_pack_options){ .facts = "x", .key = key });
			packed_open(&moved);
			assert_no_text(&moved, which);
			packed_release(&moved);
		}
		assert_int_equal(packed[0].size, packed[1].size);
		assert_memory_equal(packed[0].bytes, packed[1].bytes, packed[0].size);
		assert_packs_the_same(&b[0], &(struct wb_pack_options){ .facts = "x", .key = key });
		for (unsigned which = 0; which < 2; which++) {
			packed_release(&packed[which]);
			build_release(&b[which]);
		}
	}
}

/* v0: of a torn segment no data is read, and none is looked at: its blocks are zeroes, whatever the buffer holds. */
static void blocks_that_were_not_read_are_not_looked_at(void **state)
{
	struct put puts[127];
	uint8_t block[WB_BLOCK];
	struct packed packed;
	struct build b;

	(void)state;
	build_init(&b, "v0", 10, 16);
	for (unsigned i = 0; i < LENGTH_OF(puts); i++)
		puts[i] = (struct put){ i, 0xff, 0 };
	for (uint64_t id = 1; id <= 9; id++) /* eight of them fill a batch but for 32 KiB */
		build_segment(&b, id, puts, LENGTH_OF(puts));
	build_at(&b, 4)[wb_metadata_size(b.geometry.format, 5) + 9] ^= 6; /* the lap of a block, in the middle and at the end */
	build_at(&b, 8)[wb_metadata_size(b.geometry.format, 5) + 9] ^= 6;
	build_load(&b, 0);
	pack_cache(&packed, &b.cache, &(struct wb_pack_options){ .facts = "x" });
	packed_open(&packed);
	for (uint32_t slot = 4; slot <= 8; slot += 4)
		for (unsigned i = 0; i < LENGTH_OF(puts); i++) {
			assert_int_equal(wb_dev_read(packed.dev, wb_slot_offset(&b.geometry, slot) + WB_BLOCK * (i + 1), block, WB_BLOCK, NULL), 0);
			assert_true(wb_all_bytes(block, WB_BLOCK, 0));
		}
	packed_release(&packed);
	build_release(&b);
}

/* A broken seal is as broken in the pack, without the checksum that was computed: no single bit explains it. */
static void no_bit_explains_what_a_pack_says_is_broken(void **state)
{
	static struct wb_bitfind find;

	(void)state;
	wb_bitfind_init(&find);
	for (unsigned dialect = 0; dialect < 2; dialect++) {
		uint32_t difference = dialect ? ~WB_PACK_BROKEN : WB_PACK_BROKEN;

		assert_true(difference & (difference - 1));
		assert_true(wb_bitfind(&find, difference, WB_BLOCK * (WB_CAPACITY_MAX + 1)) == UINT64_MAX);
	}
}

static uint64_t moved_alone(const uint8_t *key, uint64_t block)
{
	struct wb_moves moves = { .count = 0 };

	assert_int_equal(wb_moves_add(&moves, block * 8, NULL), 0);
	assert_int_equal(wb_moves_settle(&moves, key, NULL), 0);
	uint64_t moved = wb_moved(&moves, block * 8 + 3);

	wb_moves_release(&moves);
	assert_int_equal(moved % 8, 3);
	return moved / 8;
}

static int ascending(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* What a number says of where the block was: nothing, whatever it is; the key alone decides. */
static void the_number_of_a_block_does_not_depend_on_where_it_was(void **state)
{
	static const uint64_t blocks[] = { 0, 256, 1 << 18, 1 << 28, (uint64_t)1 << 31 }; /* 0, 1 MiB, 1 GiB, 1 TiB, 8 TiB */
	uint64_t moved[1001], draws = 7;

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(moved); i++) {
		uint8_t key[16];

		wb_put_le(key, 8, draw(&draws));
		wb_put_le(key + 8, 8, draw(&draws));
		moved[i] = moved_alone(key, blocks[0]);
		for (unsigned k = 1; k < LENGTH_OF(blocks); k++)
			assert_int_equal(moved_alone(key, blocks[k]), moved[i]);
	}
	qsort(moved, LENGTH_OF(moved), sizeof(*moved), ascending);
	assert_in_range(moved[500], 1 << 18, 3 << 18); /* the middle of what is drawn from */
	assert_in_range(moved[0], 1, 1 << 14);
	assert_in_range(moved[1000], (1 << 20) - (1 << 14), 1 << 20);
}

/* Nor does the last number of many tell how large the disk was: the same ranks have the same numbers. */
static void order_and_neighbours_are_kept_and_distances_are_not(void **state)
{
	static const uint8_t key[16] = "the only key..";
	struct wb_moves near = { .count = 0 }, far = { .count = 0 };
	uint64_t a[2000], b[2000], draws = 3;

	(void)state;
	a[0] = 5;
	b[0] = 70000;
	for (unsigned i = 1; i < LENGTH_OF(a); i++) {
		uint64_t gap = draw_below(&draws, 2) ? 1 : 2 + draw_below(&draws, 50);

		a[i] = a[i - 1] + gap;
		b[i] = b[i - 1] + (gap == 1 ? 1 : gap << 20);
	}
	for (unsigned i = LENGTH_OF(a); i-- > 0;)
		for (unsigned twice = 0; twice < 2; twice++)
			assert_true(!wb_moves_add(&near, a[i] * 8 + twice, NULL) && !wb_moves_add(&far, b[i] * 8, NULL));
	assert_true(!wb_moves_settle(&near, key, NULL) && !wb_moves_settle(&far, key, NULL));
	for (unsigned i = 0; i < LENGTH_OF(a); i++) {
		uint64_t x = wb_moved(&near, a[i] * 8), before = i ? wb_moved(&near, a[i - 1] * 8) : 0;

		assert_int_equal(x, wb_moved(&far, b[i] * 8));
		assert_true(x > before);
		assert_true(!i || (x - before == 8) == (a[i] - a[i - 1] == 1));
		assert_int_equal(wb_moved(&near, a[i] * 8 + 5), x + 5);
	}
	assert_true(wb_moved(&near, (uint64_t)1 << 40) < (uint64_t)2000 << 20); /* not collected, and far above: it is not told how far */
	assert_int_equal(wb_moved(&near, UINT64_MAX), UINT64_MAX - 7);
	assert_int_equal(wb_moved(&near, (uint64_t)1 << 55), UINT64_MAX - 7);
	wb_moves_release(&near);
	wb_moves_release(&far);
}

/* The same of whole packs, of every generation: of one block at 0, 1 MiB, 1 GiB, 1 TiB. */
static void packs_of_a_block_anywhere_are_the_same_when_obfuscated(void **state)
{
	static const uint64_t blocks[] = { 0, 256, 1 << 18, 1 << 28 };
	static const uint8_t key[16] = "0123456789abcde";

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(generations); i++) {
		uint64_t sectors[LENGTH_OF(blocks)];

		for (unsigned k = 0; k < LENGTH_OF(blocks); k++) {
			struct wb_metablock metablock;
			uint8_t meta[WB_BLOCK];
			struct packed packed;
			struct build b;

			build_init(&b, generations[i].format, generations[i].order, 4);
			build_segment(&b, 1, PUTS({ blocks[k], 0xff, 0 }));
			build_load(&b, 0);
			pack_cache(&packed, &b.cache, &(struct wb_pack_options){ .key = key });
			packed_open(&packed);
			assert_int_equal(wb_dev_read(packed.dev, wb_slot_offset(&b.geometry, 0), meta, WB_BLOCK, NULL), 0);
			wb_metablock_decode(b.geometry.format, meta, 0, &metablock);
			sectors[k] = metablock.sector;
			assert_int_equal(sectors[k], sectors[0]);
			packed_release(&packed);
			build_release(&b);
		}
	}
}

/* A checksum would tell four unknown bytes to who knows the rest: of the data, or of the addresses. */
static void neither_data_nor_hidden_addresses_change_a_pack(void **state)
{
	static const uint8_t key[16] = "0123456789abcde";

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(generations); i++)
		for (unsigned torn = 0; torn < 2; torn++) {
			struct packed packs[4];

			for (unsigned k = 0; k < 4; k++) { /* other data; obfuscated, other addresses */
				struct wb_pack_options options = { .key = k < 2 ? NULL : key };
				struct build b;

				build_init(&b, generations[i].format, generations[i].order, 4);
				for (uint64_t id = 1; id <= 3; id++)
					build_segment(&b, id, PUTS({ k == 3 ? 5000 + 8 * id : 8 * id, 0xff, 0 }));
				put_text(build_at(&b, 1) + WB_BLOCK, 100, k == 1);
				build_seal(&b, 1);
				if (torn)
					build_at(&b, 2)[WB_BLOCK + 7] ^= k == 1 ? 0x41 : 0x22;
				build_load(&b, 0);
				pack_cache(&packs[k], &b.cache, &options);
				build_release(&b);
			}
			for (unsigned k = 0; k < 4; k += 2) {
				assert_int_equal(packs[k].size, packs[k + 1].size);
				assert_memory_equal(packs[k].bytes, packs[k + 1].bytes, packs[k].size);
			}
			for (unsigned k = 0; k < 4; k++)
				packed_release(&packs[k]);
		}
}

static void obfuscated_sectors_keep_their_order(void **state)
{
	static const uint8_t key[16] = "0123456789abcde";
	struct build b;
	struct packed packed;
	uint8_t meta[WB_BLOCK];
	struct wb_metablock was[3], is[3];

	(void)state;
	start(&b, "v2", 10);
	build_load(&b, 0);
	pack_cache(&packed, &b.cache, &(struct wb_pack_options){ .key = key, .backing_bytes = 1 << 30 });
	packed_open(&packed);
	assert_true(wb_dev_pack_info(packed.dev)->obfuscated);
	assert_int_equal(wb_dev_pack_info(packed.dev)->backing_bytes, 0);
	assert_int_equal(wb_dev_read(packed.dev, wb_slot_offset(&b.geometry, 4), meta, WB_BLOCK, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		wb_metablock_decode(b.geometry.format, build_at(&b, 4), i, &was[i]);
		wb_metablock_decode(b.geometry.format, meta, i, &is[i]);
		assert_int_equal(is[i].dirty, was[i].dirty);
		assert_int_not_equal(is[i].sector, was[i].sector);
		assert_int_equal(is[i].sector % 8, 0);
	}
	assert_int_equal(was[0].sector + 8, was[1].sector);
	assert_int_equal(is[0].sector + 8, is[1].sector);
	assert_true(is[2].sector + 8 < is[0].sector);
	packed_release(&packed);
	build_release(&b);
}

/* ---- bad packs ---- */

/* text: of the message, or NULL */
static void assert_refused_with(uint8_t *bytes, uint64_t size, const char *what, const char *text)
{
	struct wb_dev *dev;
	struct wb_error err = { 0 };

	if (!try_open(bytes, size, &dev, &err))
		fail_msg("opened: %s", what);
	assert_int_equal(err.code, WB_EPACK);
	assert_true(err.offset <= size);
	if (text && !strstr(err.text, text))
		fail_msg("%s: %s", what, err.text);
}

static void assert_refused(uint8_t *bytes, uint64_t size, const char *what)
{
	assert_refused_with(bytes, size, what, NULL);
}

static void small_pack(struct packed *packed, const char *format, unsigned order)
{
	struct build b;

	start(&b, format, order);
	flip_header_bits(&b);
	scribble(&b);
	build_load(&b, 0);
	pack_cache(packed, &b.cache, &(struct wb_pack_options){ .facts = "made by: a test\n" });
	packed_open(packed);
	wb_dev_close(packed->dev);
	packed->dev = NULL;
	build_release(&b);
}

static void a_pack_that_is_cut_anywhere_is_refused(void **state)
{
	struct packed packed;

	(void)state;
	small_pack(&packed, "v2", 10);
	for (uint64_t size = 0; size < packed.size; size++)
		assert_refused(packed.bytes, size, "cut short");
	packed.bytes[packed.size] = 0; /* there is room for one */
	assert_refused(packed.bytes, packed.size + 1, "something behind it");
	packed_release(&packed);
}

static void a_pack_with_any_byte_changed_is_refused(void **state)
{
	struct packed packed;

	(void)state;
	small_pack(&packed, "v1", 6);
	for (uint64_t at = 0; at < packed.size; at++) {
		packed.bytes[at] ^= (uint8_t)(1u << at % 8);
		assert_refused(packed.bytes, packed.size, "a flipped bit");
		packed.bytes[at] ^= (uint8_t)(1u << at % 8);
	}
	packed_release(&packed);
}

static void seal_chunk(uint8_t *bytes, uint64_t at)
{
	struct chunk_at chunk = chunk_at(bytes, at);

	wb_put_le(bytes + at + 12, 4, ~wb_crc32c(~0u, bytes + at + WB_PACK_CHUNK_HEAD, chunk.deflated));
	wb_put_le(bytes + at + 16, 4, ~wb_crc32c(~0u, bytes + at, 16));
}

static uint64_t slots_chunk(const struct packed *packed)
{
	struct chunk_at facts = chunk_at(packed->bytes, WB_PACK_HEAD);

	return WB_PACK_HEAD + WB_PACK_CHUNK_HEAD + facts.deflated;
}

static void sizes_that_lie_are_refused(void **state)
{
	static const uint32_t lies[] = { 0, 1, 4095, 1u << 20, WB_PACK_INFLATED, WB_PACK_INFLATED + 1, UINT32_MAX };
	struct packed packed;

	(void)state;
	small_pack(&packed, "v2", 10);
	for (unsigned i = 0; i < LENGTH_OF(lies); i++)
		for (unsigned field = 4; field <= 8; field += 4) {
			uint64_t at = slots_chunk(&packed), was = wb_get_le(packed.bytes + at + field, 4);

			wb_put_le(packed.bytes + at + field, 4, lies[i]);
			wb_put_le(packed.bytes + at + 16, 4, ~wb_crc32c(~0u, packed.bytes + at, 16));
			assert_refused(packed.bytes, packed.size, "a size that lies");
			wb_put_le(packed.bytes + at + field, 4, was);
		}
	packed_release(&packed);
}

/* The pack with other columns, and everything else right. */
static uint64_t rebuild(const struct packed *packed, const uint8_t *inflated, uint32_t size, uint8_t *out)
{
	uint64_t at = slots_chunk(packed);
	uLongf deflated = compressBound(size);

	memcpy(out, packed->bytes, at);
	assert_int_equal(compress2(out + at + WB_PACK_CHUNK_HEAD, &deflated, inflated, size, 1), Z_OK);
	wb_put_le(out + at, 4, 0);
	wb_put_le(out + at + 4, 4, deflated);
	wb_put_le(out + at + 8, 4, size);
	seal_chunk(out, at);
	return at + WB_PACK_CHUNK_HEAD + deflated;
}

static void a_stream_that_inflates_to_more_than_it_says_is_refused(void **state)
{
	static uint8_t zeroes[16u << 20];
	struct packed packed;
	uint8_t *out = malloc(1u << 20);

	(void)state;
	small_pack(&packed, "v2", 10);
	uint64_t size = rebuild(&packed, zeroes, sizeof(zeroes), out), at = slots_chunk(&packed);

	assert_refused(out, size, "16 MiB in a chunk");
	wb_put_le(out + at + 8, 4, chunk_at(packed.bytes, at).inflated);
	seal_chunk(out, at);
	assert_refused(out, size, "16 MiB under a smaller number");
	packed_release(&packed);
	free(out);
}

static void heads_that_promise_what_the_file_cannot_hold_are_refused(void **state)
{
	struct packed packed;

	(void)state;
	small_pack(&packed, "v2", 10);
	uint64_t slots = 1u << 31;

	wb_put_le(packed.bytes + 16, 8, (1u << 20) + (slots << 19));
	wb_put_le(packed.bytes + 36, 4, slots);
	wb_put_le(packed.bytes + 124, 4, ~wb_crc32c(~0u, packed.bytes, 124));
	assert_refused(packed.bytes, packed.size, "2^31 slots");
	packed_release(&packed);
}

/* Numbers that cannot be, under a checksum that holds. */
static void heads_that_cannot_be_are_refused(void **state)
{
	static const struct { unsigned at, bytes; uint64_t value; const char *text; } cases[] = {
		{ 0, 1, 'x', "no pack" },           { 8, 4, 3, "version 3, and versions up to 2" }, { 8, 4, 0, "version 0" },        { 12, 4, 16, "flags" },
		{ 16, 8, 1 << 19, "no cache has" }, { 16, 8, UINT64_C(1) << 63, "no cache has" },
		{ 40, 4, 256, "no device has" },    { 40, 4, 8192, "no device has" }, { 40, 4, 1536, "no device has" },
		{ 24, 8, 0, "slots without a generation" }, { 24, 8, 0x3976, "a generation that is not known" },
		{ 32, 4, 11, "of this order" },     { 36, 4, 11, "of this order" },  { 82, 1, 4, "no log ends for" },
		{ 83, 1, 1, "no log ends for" },    { 82, 2, 0x0201, "no log ends for" }, { 82, 2, 0x0901, "no log ends for" },
		{ 78, 4, 508, "sector 0 that" },    { 78, 4, 0x01f10010, "sector 0 that" }, { 78, 4, 0x00040001, "sector 0 that" },
	};
	struct packed packed;
	uint8_t good[WB_PACK_HEAD];

	(void)state;
	small_pack(&packed, "v2", 10);
	memcpy(good, packed.bytes, sizeof(good));
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		wb_put_le(packed.bytes + cases[i].at, cases[i].bytes, cases[i].value);
		wb_put_le(packed.bytes + 124, 4, ~wb_crc32c(~0u, packed.bytes, 124));
		assert_refused_with(packed.bytes, packed.size, "a head", cases[i].text);
		memcpy(packed.bytes, good, sizeof(good));
	}
	wb_put_le(packed.bytes + slots_chunk(&packed), 4, WB_PACK_CHUNK);
	seal_chunk(packed.bytes, slots_chunk(&packed));
	assert_refused_with(packed.bytes, packed.size, "a chunk", "a chunk of slot 256 stands where that of slot 0 must be");
	packed_release(&packed);
}

static void facts_with_a_zero_byte_are_refused(void **state)
{
	struct packed packed;

	(void)state;
	small_pack(&packed, "v2", 10);
	uint64_t behind = slots_chunk(&packed), at = WB_PACK_HEAD;
	uint8_t *out = malloc(packed.size + 100);
	uLongf deflated = 100;

	memcpy(out, packed.bytes, behind);
	assert_int_equal(compress2(out + at + WB_PACK_CHUNK_HEAD, &deflated, (const uint8_t *)"a: b\n\0c: d\n", 11, 1), Z_OK);
	wb_put_le(out + at + 4, 4, deflated);
	wb_put_le(out + at + 8, 4, 11);
	seal_chunk(out, at);
	at += WB_PACK_CHUNK_HEAD + deflated;
	memcpy(out + at, packed.bytes + behind, packed.size - behind);
	assert_refused_with(out, at + packed.size - behind, "facts", "the facts are no text");
	free(out);
	packed_release(&packed);
}

/* Sectors 8 to 15 of slot 3 cannot be read; order 6 has 64 sectors. */
static void unreadable_ranges_that_cannot_be_are_refused(void **state)
{
	static const struct { uint64_t runs, first, length; const char *text; } cases[] = {
		{ 1, 8, 8, NULL },           { 1, 0, 64, NULL },             { 1, 63, 1, NULL },
		{ 0, 8, 8, "a number of" },  { 1, 64, 1, "outside" },        { 1, 8, 57, "outside" },
		{ 1, 8, 0, "outside" },      { 1, UINT16_MAX, 1, "outside" }, { 1, 63, 2, "outside" },
	};
	struct packed packed;
	struct build b;

	(void)state;
	start(&b, "v1", 6);
	const struct wb_range bad = { wb_slot_offset(&b.geometry, 3) + WB_BLOCK, WB_BLOCK };

	build_load_on(&b, build_bad(&b, &bad, 1), &(struct wb_ring_options){ .jobs = 1 });
	pack_cache(&packed, &b.cache, &(struct wb_pack_options){ .time = 1 });
	struct chunk_at chunk = chunk_at(packed.bytes, slots_chunk(&packed));
	uint8_t *good = inflate_chunk(packed.bytes, &chunk), *bytes = malloc(WB_PACK_INFLATED), *out = malloc(1u << 20);

	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_pack_columns columns;
		struct wb_dev *dev;

		assert_int_equal(wb_pack_columns_init(&columns, &b.geometry, false, NULL), 0);
		memcpy(bytes, good, chunk.inflated);
		assert_null(wb_pack_columns_decode(&columns, 12, bytes, chunk.inflated));
		assert_true(columns.runs[3] == 1 && columns.run_first[0] == 8 && columns.run_length[0] == 8);
		columns.runs[3] = cases[i].runs;
		columns.run_first[0] = cases[i].first;
		columns.run_length[0] = cases[i].length;
		uint64_t size = rebuild(&packed, bytes, wb_pack_columns_encode(&columns, bytes), out);

		if (cases[i].text) {
			assert_refused_with(out, size, "a range", cases[i].text);
		} else {
			assert_int_equal(try_open(out, size, &dev, NULL), 0);
			wb_dev_close(dev);
		}
		wb_pack_columns_release(&columns);
	}
	free(good);
	free(bytes);
	free(out);
	packed_release(&packed);
	build_release(&b);
}

/* v0 leaves no byte between its fields; whoever counts some there changes no field. */
static void padding_where_there_is_none_changes_nothing(void **state)
{
	uint8_t meta[2][WB_BLOCK], *bytes = malloc(WB_PACK_INFLATED), *out = malloc(1u << 20);
	struct wb_pack_columns columns;
	struct packed packed;
	struct wb_dev *dev;
	struct build b;

	(void)state;
	start(&b, "v0", 7);
	build_load(&b, 0);
	pack_cache(&packed, &b.cache, &(struct wb_pack_options){ .time = 1 });
	packed_open(&packed);
	assert_int_equal(wb_dev_read(packed.dev, wb_slot_offset(&b.geometry, 3), meta[0], WB_BLOCK, NULL), 0);
	struct chunk_at chunk = chunk_at(packed.bytes, slots_chunk(&packed));
	uint8_t *good = inflate_chunk(packed.bytes, &chunk);

	assert_int_equal(wb_pack_columns_init(&columns, &b.geometry, false, NULL), 0);
	assert_null(wb_pack_columns_decode(&columns, 12, good, chunk.inflated));
	columns.flags[3] |= WB_PACK_PADDING;
	columns.header_padding[3] = columns.block_padding[3] = 13;
	uint64_t size = rebuild(&packed, bytes, wb_pack_columns_encode(&columns, bytes), out);

	assert_int_equal(try_open(out, size, &dev, NULL), 0);
	assert_int_equal(wb_dev_read(dev, wb_slot_offset(&b.geometry, 3), meta[1], WB_BLOCK, NULL), 0);
	assert_memory_equal(meta[0], meta[1], WB_BLOCK);
	wb_dev_close(dev);
	wb_pack_columns_release(&columns);
	free(good);
	free(bytes);
	free(out);
	packed_release(&packed);
	build_release(&b);
}

static void overwrite(uint64_t *seed, uint8_t *bytes, uint32_t size)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };

	for (uint32_t n = 1 + draw_below(seed, 6); n; n--) {
		uint32_t at = draw_below(seed, 2) ? draw_below(seed, size) : draw_below(seed, size < 300 ? size : 300);

		bytes[at] = draw_below(seed, 2) ? (uint8_t)draw(seed) : values[draw_below(seed, sizeof(values))];
	}
}

/* Whatever opens must load and read without a fault; returns whether it opened. */
static bool survives(uint8_t *bytes, uint64_t size)
{
	const struct wb_overrides overrides = { .any_super = true };
	const struct wb_ring_options options = { 0 };
	struct wb_error err = { 0 };
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_dev *dev;

	if (try_open(bytes, size, &dev, &err)) {
		assert_int_equal(err.code, WB_EPACK);
		return false;
	}
	if (!wb_cache_open(&cache, dev, &overrides, &err) && cache.geometry.format &&
	    !wb_ring_load(&ring, &cache, &options, NULL, &err))
		wb_ring_release(&ring);
	wb_dev_close(dev);
	return true;
}

static void hostile_columns_are_refused_or_harmless(void **state)
{
	uint64_t seed = 20131025;
	unsigned opened = 0, refused = 0;

	(void)state;
	for (unsigned kind = 0; kind < LENGTH_OF(generations); kind++) {
		struct packed packed;

		small_pack(&packed, generations[kind].format, generations[kind].order);
		struct chunk_at chunk = chunk_at(packed.bytes, slots_chunk(&packed));
		uint8_t *good = inflate_chunk(packed.bytes, &chunk), *bad = malloc(chunk.inflated), *out = malloc(1u << 20);

		/* the columns are alike in all orders; large slots take long to load */
		for (unsigned round = 0; round < (generations[kind].order < 10 ? 1000 : 100); round++) {
			uint32_t size = chunk.inflated - (draw_below(&seed, 8) ? 0 : draw_below(&seed, chunk.inflated));

			memcpy(bad, good, size);
			overwrite(&seed, bad, size ? size : 1);
			bool open = survives(out, rebuild(&packed, bad, size, out));

			opened += open;
			refused += !open;
		}
		free(good);
		free(bad);
		free(out);
		packed_release(&packed);
	}
	assert_true(opened > 100 && refused > 100);
}

static void facts_beyond_64_kib_are_refused(void **state)
{
	char *facts = malloc(WB_PACK_FACTS + 2);
	struct wb_pack_result result;
	struct wb_error err = { 0 };
	struct build b;

	(void)state;
	memset(facts, 'x', WB_PACK_FACTS + 1);
	facts[WB_PACK_FACTS + 1] = 0;
	build_init(&b, "v1", 5, 2);
	build_log(&b, 1, 2, 2);
	build_load(&b, 0);
	int fd = memfd_create("pack", 0);

	assert_int_equal(wb_pack_write(&b.cache, fd, &(struct wb_pack_options){ .facts = facts }, &result, NULL, &err), -WB_EINVAL);
	assert_non_null(strstr(err.text, "65537 bytes of facts"));
	close(fd);
	free(facts);
	build_release(&b);
}

static void hostile_heads_are_refused_or_harmless(void **state)
{
	uint64_t seed = 42;
	struct packed packed;

	(void)state;
	small_pack(&packed, "v0", 7);
	uint8_t *copy = malloc(packed.size);

	for (unsigned round = 0; round < 3000; round++) {
		memcpy(copy, packed.bytes, packed.size);
		overwrite(&seed, copy + 12, 112);
		wb_put_le(copy + 124, 4, ~wb_crc32c(~0u, copy, 124));
		survives(copy, packed.size);
	}
	free(copy);
	packed_release(&packed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sound_cache_packs_as_it_is),
		cmocka_unit_test(rotten_segments_pack_rotten_and_explained),
		cmocka_unit_test(damaged_headers_pack_damaged),
		cmocka_unit_test(torn_segments_pack_torn),
		cmocka_unit_test(garbage_packs_as_garbage),
		cmocka_unit_test(padding_and_impossible_sectors_are_noticed_in_the_pack),
		cmocka_unit_test(an_impossible_sector_that_is_misaligned_stays_so),
		cmocka_unit_test(discarded_data_packs_as_zeroes),
		cmocka_unit_test(an_empty_segment_packs),
		cmocka_unit_test(what_cannot_be_read_cannot_be_read_in_the_pack),
		cmocka_unit_test(a_marker_and_a_foreign_sector0_survive),
		cmocka_unit_test(a_marker_reads_back_all_but_its_digest),
		cmocka_unit_test(a_pack_of_metadata_alone_counts_as_unverified),
		cmocka_unit_test(the_head_is_read_back),
		cmocka_unit_test(nothing_can_be_written_to_a_pack),
		cmocka_unit_test(wrapped_addresses_are_refused),
		cmocka_unit_test(unpacking_writes_what_the_device_reads),
		cmocka_unit_test(more_chunks_than_are_held_read_as_they_are),
		cmocka_unit_test(more_data_than_is_read_at_once_packs_as_it_is),
		cmocka_unit_test(a_pack_that_cannot_be_read_any_more_is_an_error),
		cmocka_unit_test(no_byte_of_data_is_in_a_pack),
		cmocka_unit_test(what_is_not_a_segments_is_not_in_the_pack),
		cmocka_unit_test(blocks_that_were_not_read_are_not_looked_at),
		cmocka_unit_test(no_bit_explains_what_a_pack_says_is_broken),
		cmocka_unit_test(the_number_of_a_block_does_not_depend_on_where_it_was),
		cmocka_unit_test(order_and_neighbours_are_kept_and_distances_are_not),
		cmocka_unit_test(packs_of_a_block_anywhere_are_the_same_when_obfuscated),
		cmocka_unit_test(neither_data_nor_hidden_addresses_change_a_pack),
		cmocka_unit_test(obfuscated_sectors_keep_their_order),
		cmocka_unit_test(a_pack_that_is_cut_anywhere_is_refused),
		cmocka_unit_test(a_pack_with_any_byte_changed_is_refused),
		cmocka_unit_test(sizes_that_lie_are_refused),
		cmocka_unit_test(a_stream_that_inflates_to_more_than_it_says_is_refused),
		cmocka_unit_test(heads_that_promise_what_the_file_cannot_hold_are_refused),
		cmocka_unit_test(heads_that_cannot_be_are_refused),
		cmocka_unit_test(facts_with_a_zero_byte_are_refused),
		cmocka_unit_test(unreadable_ranges_that_cannot_be_are_refused),
		cmocka_unit_test(padding_where_there_is_none_changes_nothing),
		cmocka_unit_test(hostile_columns_are_refused_or_harmless),
		cmocka_unit_test(facts_beyond_64_kib_are_refused),
		cmocka_unit_test(hostile_heads_are_refused_or_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
