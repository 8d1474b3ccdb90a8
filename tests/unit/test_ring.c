/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/ring.c: from bytes to the table of slots, also where bytes cannot be read. */
#include "cache_builder.h"

static const struct { const char *format; unsigned order; bool inverted; } kinds[] = {
	{ "v0", 4, false }, { "v0", 7, false }, { "v0", 11, false }, { "v1", 4, false }, { "v1", 10, false },
	{ "v2", 10, true }, { "v2", 10, false },
};

static void log_of_kind(struct build *b, size_t kind)
{
	build_init(b, kinds[kind].format, kinds[kind].order, 5);
	b->inverted = kinds[kind].inverted;
	build_log(b, 6, 10, 100);
}

static void one_segment(struct build *b, const char *format)
{
	build_init(b, format, 6, 4);
	build_segment(b, 1, PUTS({ 3, 0xff, 0 }, { 4, 0x0f, 0 }, { 5, 0x80, 0 }));
}

static unsigned flags_of(const struct build *b, uint32_t slot)
{
	return b->ring.slots[slot].flags;
}

static void load_bad(struct build *b, const struct wb_range *bad, unsigned n)
{
	const struct wb_ring_options options = { .backing_sectors = 0 };

	build_load_on(b, build_bad(b, bad, n), &options);
}

/* ---- sound slots ---- */

static void every_kind_of_log_loads(void **state)
{
	(void)state;
	for (size_t kind = 0; kind < LENGTH_OF(kinds); kind++) {
		struct build b;
		bool v0 = !wb_seal_covers_data(wb_format_find(kinds[kind].format));

		log_of_kind(&b, kind);
		build_load(&b, 0);
		assert_int_equal(b.ring.head, 10);
		assert_int_equal(b.ring.first, v0 ? 7 : 6);
		assert_int_equal(b.ring.holes, 0);
		assert_int_equal(b.ring.classes[WB_LIVE], v0 ? 4 : 5);
		for (uint32_t slot = 0; slot < 5; slot++) {
			assert_int_equal(b.ring.slots[slot].id, 6 + slot);
			assert_int_equal(b.ring.slots[slot].length, 1);
			assert_int_equal(b.ring.slots[slot].dirty_blocks, 1);
			assert_int_equal(b.ring.slots[slot].dirty_sectors, 8);
			assert_int_equal(flags_of(&b, slot), WB_SLOT_SEALED | WB_SLOT_LAP |
							     (v0 || kinds[kind].inverted ? 0u : (unsigned)WB_SLOT_RAW));
		}
		assert_int_equal(b.ring.raw_seals, v0 || kinds[kind].inverted ? 0 : 5);
		assert_int_equal(b.ring.plain_seals, v0 || !kinds[kind].inverted ? 0 : 5);
		build_release(&b);
	}
}

static void more_slots_than_one_batch_load(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v1", 4, 700);
	build_log(&b, 301, 1000, 5000);
	build_load(&b, 0);
	assert_int_equal(b.ring.head, 1000);
	assert_int_equal(b.ring.classes[WB_LIVE], 700);
	build_release(&b);
}

static void more_data_than_one_batch_loads(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v0", 11, 20); /* a MiB each */
	for (uint64_t id = 1; id <= 20; id++) {
		static struct put puts[255];

		for (uint64_t i = 0; i < 255; i++)
			puts[i] = (struct put){ id * 255 + i, 0xff, 0 };
		build_segment(&b, id, puts, 255);
	}
	memset(build_at(&b, 19) + WB_BLOCK, 0, 255 * WB_BLOCK);
	build_load(&b, 0);
	assert_int_equal(b.ring.dirty_blocks, 19 * 255);
	assert_int_equal(b.ring.slots[18].dirty_sectors, 2040);
	assert_false(flags_of(&b, 18) & WB_SLOT_ZERO_DATA);
	assert_true(flags_of(&b, 19) & WB_SLOT_ZERO_DATA); /* the last of it was looked at, too */
	build_release(&b);
}

static void empty_segments_of_v2_are_sealed(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v2", 10, 3);
	build_segment(&b, 1, NULL, 0);
	assert_int_equal(wb_get_le(build_at(&b, 0) + 8, 4), 0x0890be15);
	build_load(&b, 0);
	assert_class(&b, 0, WB_LIVE);
	assert_int_equal(b.ring.head, 1);
	assert_int_equal(b.ring.dirty_blocks, 0);
	build_release(&b);
}

static void dirty_bits_are_counted(void **state)
{
	struct build b;

	(void)state;
	one_segment(&b, "v1");
	build_load(&b, 0);
	assert_int_equal(b.ring.slots[0].dirty_blocks, 3);
	assert_int_equal(b.ring.slots[0].dirty_sectors, 13);
	assert_true(flags_of(&b, 0) & WB_SLOT_PARTIAL);
	assert_int_equal(b.ring.dirty_blocks, 3);
	assert_int_equal(b.ring.dirty_sectors, 13);
	build_release(&b);
}

static void stale_metablocks_beyond_the_length_are_not_counted(void **state)
{
	static const char *const formats[] = { "v0", "v1" };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(formats); i++) {
		struct build b;

		one_segment(&b, formats[i]);
		*build_length_at(&b, 0) = 1;
		build_seal(&b, 0);
		build_load(&b, 0);
		assert_class(&b, 0, WB_LIVE);
		assert_int_equal(b.ring.slots[0].dirty_blocks, 1);
		assert_false(flags_of(&b, 0) & WB_SLOT_PARTIAL);
		build_release(&b);
	}
}

/* ---- one flag at a time ---- */

static void data_that_differs_breaks_a_checksum_and_no_lap(void **state)
{
	(void)state;
	for (size_t kind = 0; kind < LENGTH_OF(kinds); kind++) {
		struct build b;
		bool v0 = !wb_seal_covers_data(wb_format_find(kinds[kind].format));

		log_of_kind(&b, kind);
		memset(build_at(&b, 2) + WB_BLOCK + 100, 0x5a, 50);
		build_load(&b, 0);
		assert_class(&b, 2, v0 ? WB_LIVE : WB_ROTTEN);
		build_release(&b);
	}
}

static void metablocks_out_of_bounds_are_flagged(void **state)
{
	static const struct { uint64_t sector; uint8_t dirty; unsigned flag; } cases[] = {
		{ 24, 0xff, 0 },
		{ 25, 0xff, WB_SLOT_MISALIGNED },
		{ 28, 0x01, WB_SLOT_MISALIGNED },
		{ 792, 0xff, 0 },                   /* the last block, four sectors of it */
		{ 800, 0xff, WB_SLOT_BEYOND },
		{ UINT64_MAX - 7, 0xff, WB_SLOT_BEYOND },
		{ UINT64_MAX, 0xff, WB_SLOT_MISALIGNED },
		{ 25, 0x00, WB_SLOT_CLEAN_BAD },
		{ 800, 0x00, WB_SLOT_CLEAN_BAD },
		{ 24, 0x00, 0 },
	};
	const unsigned bounds = WB_SLOT_MISALIGNED | WB_SLOT_BEYOND | WB_SLOT_CLEAN_BAD;

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;

		build_init(&b, "v1", 6, 4);
		build_segment(&b, 1, PUTS({ 0, 0xff, 0 }, { 3, cases[i].dirty, 0 }));
		wb_put_le(build_at(&b, 0) + 512 + 16, 8, cases[i].sector);
		build_seal(&b, 0);
		build_load(&b, 796);
		assert_class(&b, 0, WB_LIVE);
		assert_int_equal(flags_of(&b, 0) & bounds, cases[i].flag);
		build_release(&b);
	}
}

static void addresses_that_overflow_in_bytes_are_beyond_any_device(void **state)
{
	static const uint64_t sectors[] = { UINT64_MAX / 512 + 1, (UINT64_MAX / 512 + 1) * 2 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(sectors); i++) {
		struct build b;

		build_init(&b, "v1", 6, 4);
		build_segment(&b, 1, PUTS({ 3, 0xff, 0 }));
		wb_put_le(build_at(&b, 0) + 512, 8, sectors[i]);
		build_seal(&b, 0);
		build_load(&b, 0); /* the size of BACKING is not known */
		assert_true(flags_of(&b, 0) & WB_SLOT_BEYOND);
		build_release(&b);
	}
}

static void unused_elements_of_v0_may_hold_any_sector(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v0", 6, 4);
	build_segment(&b, 1, PUTS({ 3, 0, 0 }, { 4, 0xff, 0 }));
	wb_put_le(build_at(&b, 0) + 13, 8, UINT64_MAX);
	build_load(&b, 100);
	assert_class(&b, 0, WB_LIVE);
	assert_int_equal(flags_of(&b, 0), WB_SLOT_SEALED | WB_SLOT_LAP);
	assert_int_equal(b.ring.slots[0].dirty_blocks, 1);
	build_release(&b);
}

static void padding_is_seen_wherever_it_is(void **state)
{
	static const struct { unsigned at; bool padding; } cases[] = {
		{ 13, true }, { 511, true }, { 512 + 9, true }, { 512 + 15, true }, { 512 + 16 * 2 + 15, true },
		{ 512 + 16 * 3, false }, { 4095, false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;

		one_segment(&b, "v1");
		build_at(&b, 0)[cases[i].at] = 1;
		build_seal(&b, 0);
		build_load(&b, 0);
		assert_class(&b, 0, WB_LIVE);
		assert_int_equal((flags_of(&b, 0) & WB_SLOT_PADDING) != 0, cases[i].padding);
		build_release(&b);
	}
}

static void metadata_without_an_id_is_garbage_unless_it_is_all_zero(void **state)
{
	static const unsigned at[] = { 8, 100, 4095 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(at); i++) {
		struct build b;

		one_segment(&b, "v1");
		build_at(&b, 2)[at[i]] = 7;
		build_load(&b, 0);
		assert_class(&b, 2, WB_FOREIGN);
		assert_true(flags_of(&b, 2) & WB_SLOT_GARBAGE);
		assert_class(&b, 3, WB_EMPTY);
		build_release(&b);
	}
}

static void lengths_out_of_range_seal_nothing(void **state)
{
	static const struct { const char *format; uint8_t length; } cases[] = {
		{ "v0", 0 }, { "v0", 8 }, { "v1", 8 }, { "v1", 255 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;

		build_init(&b, cases[i].format, 6, 4);
		build_log(&b, 1, 3, 100);
		*build_length_at(&b, 1) = cases[i].length;
		build_load(&b, 0);
		assert_class(&b, 1, WB_BAD_LENGTH);
		assert_false(flags_of(&b, 1) & WB_SLOT_SEALED);
		assert_int_equal(b.ring.slots[1].dirty_sectors, 0);
		build_release(&b);
	}
}

static void zero_data_of_v0_means_all_dirty_blocks(void **state)
{
	static const struct { unsigned zeroed[3]; bool flag; } cases[] = {
		{ { 0, 0, 0 }, false }, { { 1, 0, 0 }, false }, { { 0, 1, 0 }, false },
		{ { 1, 0, 1 }, true }, { { 1, 1, 1 }, true },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;

		build_init(&b, "v0", 6, 4);
		build_segment(&b, 1, PUTS({ 3, 0xff, 0 }, { 4, 0x00, 0 }, { 5, 0x01, 0 })); /* the second is unused */
		for (unsigned j = 0; j < 3; j++)
			if (cases[i].zeroed[j])
				memset(build_at(&b, 0) + WB_BLOCK * (j + 1), 0, WB_BLOCK);
		build_load(&b, 0);
		assert_int_equal((flags_of(&b, 0) & WB_SLOT_ZERO_DATA) != 0, cases[i].flag);
		build_release(&b);
	}
}

static void zero_data_means_nothing_where_a_checksum_covers_it(void **state)
{
	struct build b;

	(void)state;
	one_segment(&b, "v1");
	memset(build_at(&b, 0) + WB_BLOCK, 0, 3 * WB_BLOCK);
	build_seal(&b, 0);
	build_load(&b, 0);
	assert_class(&b, 0, WB_LIVE);
	assert_false(flags_of(&b, 0) & WB_SLOT_ZERO_DATA);
	build_release(&b);
}

/* The lap is that of the id modulo 2^32, so one lap in 2^32 is stored as 0. */
static void v0_segments_of_lap_zero_are_sealed(void **state)
{
	struct build b;
	const uint64_t id = UINT64_C(5) * UINT32_MAX + 1; /* lap 2^32 of five slots */

	(void)state;
	build_init(&b, "v0", 5, 5);
	build_segment(&b, id, PUTS({ 3, 0xff, 0 }));
	assert_int_equal(wb_get_le(build_at(&b, 0) + 9, 4), 0);
	build_load(&b, 0);
	assert_int_equal(b.ring.head, id);
	build_release(&b);
}

/* ---- what cannot be read ---- */

static void unreadable_header_is_a_class_and_not_a_failure(void **state)
{
	static const uint32_t at[] = { 0, 511, 512, 4095 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(at); i++) {
		struct build b;

		log_of_kind(&b, 4);
		struct wb_range bad = { wb_slot_offset(&b.geometry, 2) + at[i], 1 };

		load_bad(&b, &bad, 1);
		assert_class(&b, 2, WB_UNREADABLE);
		assert_true(flags_of(&b, 2) & WB_SLOT_NO_HEADER);
		assert_int_equal(b.ring.classes[WB_LIVE], 4);
		assert_int_equal(b.ring.holes, 1);
		build_release(&b);
	}
}

static void all_headers_unreadable_is_an_empty_table(void **state)
{
	struct build b;
	struct wb_range bad;

	(void)state;
	log_of_kind(&b, 3);
	bad = (struct wb_range){ 1u << 20, b.geometry.bytes };
	load_bad(&b, &bad, 1);
	assert_int_equal(b.ring.head, 0);
	assert_int_equal(b.ring.classes[WB_UNREADABLE], 5);
	build_release(&b);
}

static void unreadable_data_makes_a_segment_part_readable(void **state)
{
	static const char *const formats[] = { "v0", "v1" };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(formats); i++) {
		struct build b;

		build_init(&b, formats[i], 6, 4);
		build_log(&b, 1, 3, 100);
		struct wb_range bad = { wb_slot_offset(&b.geometry, 1) + WB_BLOCK + 4000, 10 };

		load_bad(&b, &bad, 1);
		assert_class(&b, 1, WB_PART_READABLE);
		assert_true(flags_of(&b, 1) & WB_SLOT_NO_DATA);
		assert_int_equal(b.ring.slots[1].id, 2);
		assert_int_equal(b.ring.slots[1].dirty_sectors, 8);
		assert_int_equal(b.ring.holes, i); /* nothing says that the rest of it is whole, in v1 */
		build_release(&b);
	}
}

static void unreadable_bytes_behind_the_segment_do_not_matter(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v1", 6, 4);
	build_log(&b, 1, 3, 100);
	struct wb_range bad = { wb_slot_offset(&b.geometry, 1) + 2 * WB_BLOCK, WB_BLOCK };

	load_bad(&b, &bad, 1);
	assert_int_equal(b.ring.classes[WB_LIVE], 3);
	build_release(&b);
}

static void failed_batch_does_not_spoil_its_neighbours(void **state)
{
	struct build b;
	struct wb_range bad[3];

	(void)state;
	build_init(&b, "v1", 4, 40);
	build_log(&b, 1, 40, 100);
	bad[0] = (struct wb_range){ wb_slot_offset(&b.geometry, 3), 512 };
	bad[1] = (struct wb_range){ wb_slot_offset(&b.geometry, 20) + WB_BLOCK, 512 };
	bad[2] = (struct wb_range){ wb_slot_offset(&b.geometry, 39), 8192 };
	load_bad(&b, bad, 3);
	assert_int_equal(b.ring.classes[WB_UNREADABLE], 2);
	assert_int_equal(b.ring.classes[WB_PART_READABLE], 1);
	assert_int_equal(b.ring.head, 39);
	assert_int_equal(b.ring.classes[WB_LIVE], 37);
	build_release(&b);
}

struct lost {
	struct wb_range list[32];
	unsigned count;
};

static void note_lost(void *context, uint64_t offset, uint64_t length)
{
	struct lost *lost = context;

	assert_true(lost->count < LENGTH_OF(lost->list));
	lost->list[lost->count++] = (struct wb_range){ offset, length };
}

static void unreadable_sectors_are_told_one_by_one(void **state)
{
	struct build b;
	struct lost lost = { .count = 0 };
	const struct wb_ring_options options = { .context = &lost, .unreadable = note_lost };

	(void)state;
	build_init(&b, "v1", 6, 4);
	build_log(&b, 1, 3, 100);
	const struct wb_range bad[] = { { wb_slot_offset(&b.geometry, 0) + 600, 1 },
					{ wb_slot_offset(&b.geometry, 1) + 5000, 1200 } };

	build_load_on(&b, build_bad(&b, bad, 2), &options);
	assert_int_equal(lost.count, 1 + 4);
	assert_int_equal(lost.list[0].offset, wb_slot_offset(&b.geometry, 0) + 512);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(lost.list[1 + i].offset, wb_slot_offset(&b.geometry, 1) + 4608 + 512 * i);
	for (unsigned i = 0; i < lost.count; i++)
		assert_int_equal(lost.list[i].length, 512);
	build_release(&b);
}

/* The batch is the first attempt at a sector, reading it alone the second, and then as often as the caller wants. */
static void sectors_are_tried_as_often_as_told(void **state)
{
	static const struct { uint64_t at; unsigned retry; uint64_t fails; enum wb_class class_; } cases[] = {
		{ 0, 0, 1, WB_LIVE },      { 0, 0, 2, WB_UNREADABLE },           { 0, 3, 4, WB_LIVE },
		{ 0, 3, 5, WB_UNREADABLE }, { WB_BLOCK + 9, 0, 1, WB_LIVE },      { WB_BLOCK + 9, 0, 2, WB_PART_READABLE },
		{ WB_BLOCK + 9, 3, 4, WB_LIVE }, { WB_BLOCK + 9, 3, 5, WB_PART_READABLE },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_ring_options options = { .retry = cases[i].retry };
		const struct wb_overrides none = { .slots = 0 };
		struct spy *spy = malloc(sizeof(*spy));
		struct wb_cache cache;
		struct wb_ring ring;
		struct wb_dev *dev;
		struct build b;

		build_init(&b, "v1", 5, 4);
		build_log(&b, 1, 4, 100);
		assert_int_equal(wb_dev_memory(&dev, b.bytes, b.geometry.bytes, NULL), 0);
		spy_init(spy, dev);
		assert_int_equal(wb_cache_open(&cache, &spy->dev, &none, NULL), 0);
		spy->flaky_at = wb_slot_offset(&b.geometry, 1) + cases[i].at;
		spy->flaky_reads = cases[i].fails;
		assert_int_equal(wb_ring_load(&ring, &cache, &options, NULL, NULL), 0);
		assert_string_equal(wb_class_name((enum wb_class)ring.slots[1].class_), wb_class_name(cases[i].class_));
		wb_ring_release(&ring);
		wb_dev_close(dev);
		free(spy);
		build_release(&b);
	}
}

/* Slot 3 ... of a device that was cut short cannot be read; the others are what they were. */
static void slots_beyond_the_end_are_unreadable(void **state)
{
	const struct wb_overrides overrides = { .format = wb_format_find("v1"), .order = 5, .slots = 8 };
	const struct wb_ring_options options = { .backing_sectors = 0 };
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_dev *dev;
	struct build b;

	(void)state;
	build_init(&b, "v1", 5, 8);
	build_log(&b, 9, 16, 100);
	assert_int_equal(wb_dev_memory(&dev, b.bytes, wb_slot_offset(&b.geometry, 3), NULL), 0);
	assert_int_equal(wb_cache_open(&cache, dev, &overrides, NULL), 0);
	assert_int_equal(wb_ring_load(&ring, &cache, &options, NULL, NULL), 0);
	assert_int_equal(ring.head, 11);
	assert_int_equal(ring.classes[WB_LIVE], 3);
	assert_int_equal(ring.classes[WB_UNREADABLE], 5);
	wb_ring_release(&ring);
	wb_dev_close(dev);
	build_release(&b);
}

/* ---- options ---- */

static void sums_are_kept_when_they_fit(void **state)
{
	static const struct { size_t memory; bool kept; } cases[] = {
		{ 0, false }, { 4 * 7 * 2 - 1, false }, { 4 * 7 * 2, true },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_ring_options options = { .sums_memory = cases[i].memory };
		struct build b;

		one_segment(&b, "v1");
		build_load_on(&b, NULL, &options);
		assert_int_equal(b.ring.sums != NULL, cases[i].kept);
		for (unsigned j = 0; j < 3 && cases[i].kept; j++)
			assert_int_equal(b.ring.sums[j],
					 (uint16_t)wb_crc32c(0, build_at(&b, 0) + WB_BLOCK * (j + 1), WB_BLOCK));
		build_release(&b);
	}
}

static void metadata_only_reads_no_data(void **state)
{
	const struct wb_ring_options options = { .metadata_only = true, .sums_memory = 1u << 20 };
	struct build b;

	(void)state;
	log_of_kind(&b, 4);
	memset(build_at(&b, 2) + WB_BLOCK, 0x5a, WB_BLOCK);
	const struct wb_range bad[] = { { wb_slot_offset(&b.geometry, 3) + WB_BLOCK, WB_BLOCK } };

	build_load_on(&b, build_bad(&b, bad, 1), &options);
	assert_int_equal(b.ring.classes[WB_LIVE], 5);
	assert_null(b.ring.sums);
	build_release(&b);
}

static void digest_tells_headers_apart(void **state)
{
	struct build b;
	uint64_t digests[3];

	(void)state;
	log_of_kind(&b, 4);
	build_load(&b, 0);
	digests[0] = b.ring.digest;
	build_load(&b, 0);
	assert_true(b.ring.digest == digests[0]);
	build_at(&b, 4)[4095] ^= 1;
	build_load(&b, 0);
	digests[1] = b.ring.digest;
	build_at(&b, 4)[4095] ^= 1;
	build_segment_at(&b, 0, 7, PUTS({ 7, 0xff, 0 })); /* two slots exchanged */
	build_segment_at(&b, 1, 6, PUTS({ 6, 0xff, 0 }));
	build_load(&b, 0);
	digests[2] = b.ring.digest;
	assert_true(digests[0] != digests[1] && digests[0] != digests[2] && digests[1] != digests[2]);
	build_release(&b);
}

static void laps_bound_the_number_of_slots(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v0", 4, 5);
	build_log(&b, 11, 15, 100); /* lap 3 */
	build_load(&b, 0);
	assert_int_equal(b.ring.lap_low, 14 / 3);
	assert_int_equal(b.ring.lap_high, 10 / 2);
	build_release(&b);
}

static void resized_v0_device_is_recognised_from_its_bytes(void **state)
{
	struct build old, b;

	(void)state;
	build_init(&old, "v0", 4, 24);
	build_log(&old, 10, 33, 100);
	build_init(&b, "v0", 4, 9);
	memcpy(b.bytes, old.bytes, b.geometry.bytes);
	build_load(&b, 0);
	assert_true(b.ring.resized);
	assert_int_equal(b.ring.candidate_count, 1);
	assert_int_equal(b.ring.candidates[0], 24);
	build_release(&old);
	build_release(&b);
}

/* ---- reading metadata again ---- */

static void metadata_is_what_stands_in_the_slot(void **state)
{
	struct build b;
	uint8_t meta[WB_BLOCK];

	(void)state;
	log_of_kind(&b, 4);
	build_load(&b, 0);
	for (uint32_t slot = 0; slot < 5; slot++) {
		assert_int_equal(wb_ring_metadata(&b.ring, slot, meta, NULL), 0);
		assert_memory_equal(meta, build_at(&b, slot), WB_BLOCK);
	}
	build_release(&b);
}

static void metadata_comes_corrected(void **state)
{
	struct build b;
	uint8_t meta[WB_BLOCK], sound[WB_BLOCK];

	(void)state;
	log_of_kind(&b, 4);
	memcpy(sound, build_at(&b, 2), WB_BLOCK);
	build_at(&b, 2)[8] ^= 1;
	build_load(&b, 0);
	assert_int_equal(wb_ring_metadata(&b.ring, 2, meta, NULL), 0);
	assert_memory_equal(meta, build_at(&b, 2), WB_BLOCK); /* not before it was decided */
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 1);
	assert_int_equal(wb_ring_metadata(&b.ring, 2, meta, NULL), 0);
	assert_memory_equal(meta, sound, WB_BLOCK);
	build_release(&b);
}

static void metadata_that_changed_is_an_error(void **state)
{
	struct wb_error err = { 0 };
	struct build b;
	uint8_t meta[WB_BLOCK];

	(void)state;
	log_of_kind(&b, 4);
	build_load(&b, 0);
	build_at(&b, 2)[600] ^= 1;
	assert_int_equal(wb_ring_metadata(&b.ring, 2, meta, &err), -WB_ECHANGED);
	assert_int_equal(err.offset, wb_slot_offset(&b.geometry, 2));
	build_release(&b);
}

/* 8 bits of the checksum would let one in 256 pass. */
static void any_flipped_bit_of_metadata_that_is_read_again_is_noticed(void **state)
{
	uint8_t meta[WB_BLOCK];
	struct build b;

	(void)state;
	log_of_kind(&b, 4);
	build_load(&b, 0);
	for (unsigned bit = 0; bit < 8 * WB_BLOCK; bit++) {
		build_at(&b, 2)[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(wb_ring_metadata(&b.ring, 2, meta, NULL), -WB_ECHANGED);
		build_at(&b, 2)[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(wb_ring_metadata(&b.ring, 2, meta, NULL), 0);
	build_release(&b);
}

/* ---- stopping ---- */

static int stop_at(void *context)
{
	unsigned *left = context;

	return !(*left)--;
}

static void loading_can_be_stopped_anywhere(void **state)
{
	unsigned stops = 0;

	(void)state;
	for (unsigned at = 0;; at++) {
		const struct wb_ring_options options = { .backing_sectors = 0 };
		unsigned left = at;
		const struct wb_progress progress = { .context = &left, .stop = stop_at };
		struct wb_ring ring;
		struct build b;

		build_init(&b, "v1", 4, 300);
		build_log(&b, 1, 300, 1000);
		build_at(&b, 7)[5000] ^= 1;
		build_load(&b, 0);
		int ret = wb_ring_load(&ring, &b.cache, &options, &progress, NULL);

		wb_ring_release(&ring); /* right after a failure, too */
		build_release(&b);
		if (!ret)
			break;
		assert_int_equal(ret, -WB_ESTOPPED);
		stops++;
	}
	assert_true(stops >= 3); /* headers, data, bits */
}

struct late_stop {
	const struct spy *spy;
	uint64_t from; /* flaky reads that are left when the wish to stop comes */
};

static int stop_late(void *context)
{
	const struct late_stop *late = context;

	return late->spy->flaky_reads <= late->from;
}

/* The attempts of --retry at one slot are not waited for. */
static void reading_metadata_again_and_again_can_be_stopped(void **state)
{
	const struct wb_ring_options options = { .retry = 1000 };
	const struct wb_overrides none = { .slots = 0 };
	struct spy *spy = malloc(sizeof(*spy));
	struct late_stop late = { spy, 0 };
	struct wb_progress progress = { .context = &late, .stop = stop_late };
	uint8_t meta[WB_BLOCK];
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_dev *dev;
	struct build b;

	(void)state;
	build_init(&b, "v1", 5, 4);
	build_log(&b, 1, 4, 100);
	assert_int_equal(wb_dev_memory(&dev, b.bytes, b.geometry.bytes, NULL), 0);
	spy_init(spy, dev);
	spy->flaky_at = 1024; /* where nobody reads */
	spy->flaky_reads = 1;
	assert_int_equal(wb_cache_open(&cache, &spy->dev, &none, NULL), 0);
	assert_int_equal(wb_ring_load(&ring, &cache, &options, &progress, NULL), 0);
	memset(&progress, 0, sizeof(progress)); /* is the caller's again */
	spy->flaky_at = wb_slot_offset(&b.geometry, 1);
	spy->flaky_reads = 900;
	late.from = 890;
	assert_int_equal(wb_ring_metadata(&ring, 1, meta, NULL), -WB_ESTOPPED);
	assert_true(spy->flaky_reads > 885);
	late.from = 0;
	spy->flaky_reads = 900;
	assert_int_equal(wb_ring_metadata(&ring, 1, meta, NULL), -WB_ESTOPPED); /* they are all used up */
	assert_int_equal(spy->flaky_reads, 0);
	wb_ring_release(&ring);
	wb_dev_close(dev);
	free(spy);
	build_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_log_loads),
		cmocka_unit_test(more_slots_than_one_batch_load),
		cmocka_unit_test(more_data_than_one_batch_loads),
		cmocka_unit_test(empty_segments_of_v2_are_sealed),
		cmocka_unit_test(dirty_bits_are_counted),
		cmocka_unit_test(stale_metablocks_beyond_the_length_are_not_counted),
		cmocka_unit_test(data_that_differs_breaks_a_checksum_and_no_lap),
		cmocka_unit_test(metablocks_out_of_bounds_are_flagged),
		cmocka_unit_test(addresses_that_overflow_in_bytes_are_beyond_any_device),
		cmocka_unit_test(unused_elements_of_v0_may_hold_any_sector),
		cmocka_unit_test(padding_is_seen_wherever_it_is),
		cmocka_unit_test(metadata_without_an_id_is_garbage_unless_it_is_all_zero),
		cmocka_unit_test(lengths_out_of_range_seal_nothing),
		cmocka_unit_test(zero_data_of_v0_means_all_dirty_blocks),
		cmocka_unit_test(zero_data_means_nothing_where_a_checksum_covers_it),
		cmocka_unit_test(v0_segments_of_lap_zero_are_sealed),
		cmocka_unit_test(unreadable_header_is_a_class_and_not_a_failure),
		cmocka_unit_test(all_headers_unreadable_is_an_empty_table),
		cmocka_unit_test(unreadable_data_makes_a_segment_part_readable),
		cmocka_unit_test(unreadable_bytes_behind_the_segment_do_not_matter),
		cmocka_unit_test(failed_batch_does_not_spoil_its_neighbours),
		cmocka_unit_test(unreadable_sectors_are_told_one_by_one),
		cmocka_unit_test(sectors_are_tried_as_often_as_told),
		cmocka_unit_test(slots_beyond_the_end_are_unreadable),
		cmocka_unit_test(sums_are_kept_when_they_fit),
		cmocka_unit_test(metadata_only_reads_no_data),
		cmocka_unit_test(digest_tells_headers_apart),
		cmocka_unit_test(laps_bound_the_number_of_slots),
		cmocka_unit_test(resized_v0_device_is_recognised_from_its_bytes),
		cmocka_unit_test(metadata_is_what_stands_in_the_slot),
		cmocka_unit_test(metadata_comes_corrected),
		cmocka_unit_test(metadata_that_changed_is_an_error),
		cmocka_unit_test(any_flipped_bit_of_metadata_that_is_read_again_is_noticed),
		cmocka_unit_test(loading_can_be_stopped_anywhere),
		cmocka_unit_test(reading_metadata_again_and_again_can_be_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
