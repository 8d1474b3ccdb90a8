/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/format.c and the generations' tables, checked against the literal offsets of the format. */
#include "cache_builder.h"

#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)

static const struct wb_format *format_of(const char *name)
{
	const struct wb_format *format = wb_format_find(name);

	assert_non_null(format);
	return format;
}

static struct wb_geometry geometry_of(const char *name, unsigned order, uint64_t bytes)
{
	struct wb_geometry geometry;

	assert_int_equal(wb_geometry_init(&geometry, format_of(name), order, bytes, 0, NULL), 0);
	return geometry;
}

/* ---- the list ---- */

static void generations_are_listed_oldest_first(void **state)
{
	static const char *const names[] = { "v0", "v1", "v2" };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_string_equal(wb_format_at(i)->name, names[i]);
		assert_ptr_equal(wb_format_find(names[i]), wb_format_at(i));
	}
	assert_null(wb_format_at(3));
	assert_null(wb_format_at(UINT32_MAX));
	assert_null(wb_format_find("v3"));
	assert_null(wb_format_find(""));
}

static void tables_say_what_the_format_says(void **state)
{
	static const struct {
		const char *name;
		unsigned min, max, preset, least, metablocks, stride;
		bool stored, reads, binds, head_is_old;
		enum wb_seal_kind seal;
	} cases[] = {
		{ "v0", 4, 11, 7, 1, 13, 13, true, false, true, true, WB_SEAL_LAP },
		{ "v1", 4, 10, 10, 0, 512, 16, true, true, false, false, WB_SEAL_CRC_RAW },
		{ "v2", 10, 10, 10, 0, 512, 16, false, true, false, false, WB_SEAL_CRC },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_format *format = format_of(cases[i].name);

		assert_int_equal(format->order_min, cases[i].min);
		assert_int_equal(format->order_max, cases[i].max);
		assert_int_equal(format->order_default, cases[i].preset);
		assert_int_equal(format->length_min, cases[i].least);
		assert_int_equal(format->metablocks, cases[i].metablocks);
		assert_int_equal(format->stride, cases[i].stride);
		assert_int_equal(format->order_stored, cases[i].stored);
		assert_int_equal(format->caches_reads, cases[i].reads);
		assert_int_equal(format->record_binds, cases[i].binds);
		assert_int_equal(format->head_is_old, cases[i].head_is_old);
		assert_int_equal(format->seal, cases[i].seal);
	}
}

/* ---- headers ---- */

static void v0_header_is_thirteen_packed_bytes(void **state)
{
	const uint8_t disk[13] = { 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x7f, 0xdd, 0xcc, 0xbb, 0xaa };
	uint8_t meta[WB_BLOCK] = { 0 };
	struct wb_header header;

	(void)state;
	memcpy(meta, disk, sizeof(disk));
	wb_header_decode(format_of("v0"), meta, &header);
	assert_int_equal(header.id, 0x1122334455667788);
	assert_int_equal(header.length, 0x7f);
	assert_int_equal(header.lap, 0xaabbccdd);
	assert_int_equal(header.checksum, 0);
	memset(meta, 0, sizeof(meta));
	wb_header_encode(format_of("v0"), meta, &header);
	assert_memory_equal(meta, disk, sizeof(disk));
	assert_true(wb_all_bytes(meta + 13, WB_BLOCK - 13, 0));
}

static void v1_and_v2_headers_are_alike(void **state)
{
	static const char *const names[] = { "v1", "v2" };
	const uint8_t disk[13] = { 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xdd, 0xcc, 0xbb, 0xaa, 0x7f };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(names); i++) {
		uint8_t meta[WB_BLOCK] = { 0 };
		struct wb_header header;

		memcpy(meta, disk, sizeof(disk));
		wb_header_decode(format_of(names[i]), meta, &header);
		assert_int_equal(header.id, 0x1122334455667788);
		assert_int_equal(header.checksum, 0xaabbccdd);
		assert_int_equal(header.length, 0x7f);
		assert_int_equal(header.lap, 0);
		memset(meta, 0, sizeof(meta));
		wb_header_encode(format_of(names[i]), meta, &header);
		assert_memory_equal(meta, disk, sizeof(disk));
		assert_true(wb_all_bytes(meta + 13, WB_BLOCK - 13, 0));
	}
}

/* ---- metablocks ---- */

static void v0_metablocks_follow_the_header_every_thirteen_bytes(void **state)
{
	const uint8_t disk[13] = { 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x81, 0xdd, 0xcc, 0xbb, 0xaa };

	(void)state;
	for (unsigned i = 0; i < 255; i++) {
		uint8_t meta[WB_BLOCK] = { 0 }, expected[WB_BLOCK] = { 0 };
		struct wb_metablock metablock;

		memcpy(expected + 13 + 13 * i, disk, sizeof(disk));
		wb_metablock_decode(format_of("v0"), expected, i, &metablock);
		assert_int_equal(metablock.sector, 0x1122334455667788);
		assert_int_equal(metablock.dirty, 0x81);
		assert_int_equal(metablock.lap, 0xaabbccdd);
		wb_metablock_encode(format_of("v0"), meta, i, &metablock);
		assert_memory_equal(meta, expected, WB_BLOCK);
	}
}

static void v1_and_v2_metablocks_lie_at_512_every_sixteen_bytes(void **state)
{
	static const struct { const char *name; unsigned capacity; } cases[] = { { "v1", 127 }, { "v2", 127 } };
	const uint8_t disk[16] = { 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x81 };

	(void)state;
	for (size_t c = 0; c < LENGTH_OF(cases); c++)
		for (unsigned i = 0; i < cases[c].capacity; i++) {
			uint8_t meta[WB_BLOCK] = { 0 }, expected[WB_BLOCK] = { 0 };
			struct wb_metablock metablock;

			memcpy(expected + 512 + 16 * i, disk, sizeof(disk));
			wb_metablock_decode(format_of(cases[c].name), expected, i, &metablock);
			assert_int_equal(metablock.sector, 0x1122334455667788);
			assert_int_equal(metablock.dirty, 0x81);
			assert_int_equal(metablock.lap, 0);
			wb_metablock_encode(format_of(cases[c].name), meta, i, &metablock);
			assert_memory_equal(meta, expected, WB_BLOCK);
		}
}

static void encoding_touches_only_its_own_bytes(void **state)
{
	(void)state;
	for (unsigned f = 0; wb_format_at(f); f++) {
		const struct wb_format *format = wb_format_at(f);
		uint8_t meta[WB_BLOCK];
		const struct wb_header header = { .id = 0 };
		const struct wb_metablock metablock = { .sector = 0 };

		memset(meta, 0xee, sizeof(meta));
		wb_header_encode(format, meta, &header);
		assert_true(wb_all_bytes(meta, 13, 0));
		assert_true(wb_all_bytes(meta + 13, WB_BLOCK - 13, 0xee));
		memset(meta, 0xee, sizeof(meta));
		wb_metablock_encode(format, meta, 3, &metablock);
		unsigned at = format->metablocks + 3 * format->stride, size = f ? 9 : 13;

		assert_true(wb_all_bytes(meta, at, 0xee));
		assert_true(wb_all_bytes(meta + at, size, 0));
		assert_true(wb_all_bytes(meta + at + size, WB_BLOCK - at - size, 0xee));
	}
}

static void random_fields_survive_the_round_trip(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (unsigned f = 0; wb_format_at(f); f++)
		for (unsigned round = 0; round < 200; round++) {
			const struct wb_format *format = wb_format_at(f);
			struct wb_header in = { .id = draw(&seed), .length = draw_below(&seed, 256) }, out;
			struct wb_metablock put = { .sector = draw(&seed), .dirty = (uint8_t)draw(&seed) }, got;
			uint8_t meta[WB_BLOCK];

			in.lap = put.lap = f ? 0 : (uint32_t)draw(&seed);
			in.checksum = f ? (uint32_t)draw(&seed) : 0;
			wb_header_encode(format, meta, &in);
			wb_metablock_encode(format, meta, round % 100, &put);
			wb_header_decode(format, meta, &out);
			wb_metablock_decode(format, meta, round % 100, &got);
			assert_int_equal(in.id, out.id);
			assert_int_equal(in.length, out.length);
			assert_int_equal(in.lap, out.lap);
			assert_int_equal(in.checksum, out.checksum);
			assert_int_equal(put.sector, got.sector);
			assert_int_equal(put.dirty, got.dirty);
			assert_int_equal(put.lap, got.lap);
		}
}

static void metadata_fits_in_a_block(void **state)
{
	(void)state;
	assert_int_equal(wb_metadata_size(format_of("v0"), 0), 13);
	assert_int_equal(wb_metadata_size(format_of("v0"), 255), 3328);
	assert_int_equal(wb_metadata_size(format_of("v1"), 127), 512 + 16 * 127);
	assert_int_equal(wb_metadata_size(format_of("v2"), 0), 512);
	for (unsigned f = 0; wb_format_at(f); f++)
		assert_true(wb_metadata_size(wb_format_at(f), (1u << (wb_format_at(f)->order_max - 3)) - 1) <= WB_BLOCK);
}

/* ---- geometry ---- */

static void orders_out_of_range_are_refused(void **state)
{
	static const unsigned orders[] = { 0, 1, 3, 12, 13, 31, 32, 64, 255, UINT32_MAX };

	(void)state;
	for (unsigned f = 0; wb_format_at(f); f++)
		for (size_t i = 0; i < LENGTH_OF(orders); i++) {
			struct wb_geometry geometry;
			struct wb_error err = { 0 };

			assert_int_equal(wb_geometry_init(&geometry, wb_format_at(f), orders[i], TIB, 0, &err), -WB_EINVAL);
			assert_int_equal(err.code, WB_EINVAL);
			assert_true(strlen(err.text) > 0);
		}
}

static void orders_at_the_edges_of_each_generation(void **state)
{
	static const struct { const char *name; unsigned order; int ret; } cases[] = {
		{ "v0", 4, 0 }, { "v0", 11, 0 }, { "v1", 4, 0 }, { "v1", 10, 0 }, { "v1", 11, -WB_EINVAL },
		{ "v2", 9, -WB_EINVAL }, { "v2", 10, 0 }, { "v2", 11, -WB_EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_geometry geometry;

		assert_int_equal(wb_geometry_init(&geometry, format_of(cases[i].name), cases[i].order, TIB, 0, NULL),
				 cases[i].ret);
	}
}

static void capacity_and_slot_size_per_order(void **state)
{
	(void)state;
	for (unsigned order = 4; order <= 11; order++) {
		struct wb_geometry geometry = geometry_of("v0", order, 64 * MIB);
		static const uint32_t capacities[] = { 1, 3, 7, 15, 31, 63, 127, 255 };

		assert_int_equal(geometry.capacity, capacities[order - 4]);
		assert_int_equal(wb_slot_size(&geometry), UINT64_C(512) << order);
		assert_int_equal(wb_slot_size(&geometry), (geometry.capacity + 1) * 4096);
		assert_int_equal(geometry.slots, 63 * MIB / wb_slot_size(&geometry));
		assert_int_equal(geometry.order, order);
		assert_int_equal(geometry.bytes, 64 * MIB);
		assert_false(geometry.wrap);
	}
}

static void devices_near_one_slot(void **state)
{
	static const struct { uint64_t bytes; int ret; uint32_t slots; } cases[] = {
		{ 0, -WB_EINVAL, 0 },
		{ MIB - 1, -WB_EINVAL, 0 },
		{ MIB, -WB_EINVAL, 0 },
		{ MIB + 65535, -WB_EINVAL, 0 },
		{ MIB + 65536, 0, 1 },
		{ MIB + 65536 + 65535, 0, 1 },
		{ MIB + 2 * 65536, 0, 2 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_geometry geometry;

		assert_int_equal(wb_geometry_init(&geometry, format_of("v0"), 7, cases[i].bytes, 0, NULL), cases[i].ret);
		if (!cases[i].ret)
			assert_int_equal(geometry.slots, cases[i].slots);
	}
}

static void slots_override_is_taken_if_it_can_be_counted(void **state)
{
	static const struct { uint64_t slots; int ret; } cases[] = {
		{ 1, 0 }, { 15, 0 }, { 16, 0 }, { 17, 0 }, { UINT32_MAX, 0 }, { UINT64_C(1) << 32, -WB_EINVAL },
		{ (UINT64_C(1) << 32) + 1, -WB_EINVAL }, { UINT64_MAX, -WB_EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_geometry geometry;

		assert_int_equal(wb_geometry_init(&geometry, format_of("v0"), 7, MIB + 16 * 65536, cases[i].slots, NULL),
				 cases[i].ret);
		if (!cases[i].ret)
			assert_int_equal(geometry.slots, cases[i].slots);
	}
}

static void number_of_slots_is_32_bits(void **state)
{
	const uint64_t slot = 8192, most = MIB + UINT32_MAX * slot; /* order 4 */
	struct wb_geometry geometry;

	(void)state;
	assert_int_equal(wb_geometry_init(&geometry, format_of("v0"), 4, most, 0, NULL), 0);
	assert_int_equal(geometry.slots, UINT32_MAX);
	assert_int_equal(wb_geometry_init(&geometry, format_of("v0"), 4, most + slot, 0, NULL), -WB_EINVAL);
	assert_int_equal(wb_geometry_init(&geometry, format_of("v0"), 4, UINT64_MAX, 0, NULL), -WB_EINVAL);
	assert_int_equal(wb_geometry_init(&geometry, format_of("v0"), 4, UINT64_MAX, 7, NULL), 0);
}

static void slots_follow_the_first_mib(void **state)
{
	struct wb_geometry geometry = geometry_of("v1", 6, 64 * MIB);

	(void)state;
	for (uint32_t k = 0; k < geometry.slots; k++)
		assert_int_equal(wb_slot_offset(&geometry, k), 512 * (2048 + ((uint64_t)k << 6)));
	assert_true(wb_slot_offset(&geometry, geometry.slots - 1) + wb_slot_size(&geometry) <= 64 * MIB);
}

static void over_two_tib_slot_4194302_lands_on_sector_0(void **state)
{
	struct wb_geometry geometry = geometry_of("v2", 10, 2 * TIB + 64 * MIB);

	(void)state;
	assert_true(wb_geometry_wraps(&geometry));
	assert_int_equal(wb_slot_offset(&geometry, 4194302), 2 * TIB);
	assert_int_equal(wb_slot_offset(&geometry, 4194303), 2 * TIB + MIB / 2);
	geometry.wrap = true;
	assert_int_equal(wb_slot_offset(&geometry, 4194301), 2 * TIB - MIB / 2);
	assert_int_equal(wb_slot_offset(&geometry, 4194302), 0);
	assert_int_equal(wb_slot_offset(&geometry, 4194303), MIB / 2);
}

static void wrap_begins_with_the_first_slot_beyond(void **state)
{
	struct wb_geometry geometry;

	(void)state;
	geometry = geometry_of("v2", 10, 2 * TIB);
	assert_int_equal(geometry.slots, 4194302);
	assert_false(wb_geometry_wraps(&geometry));
	geometry = geometry_of("v2", 10, 2 * TIB + MIB / 2 - 1);
	assert_false(wb_geometry_wraps(&geometry));
	geometry = geometry_of("v2", 10, 2 * TIB + MIB / 2);
	assert_int_equal(geometry.slots, 4194303);
	assert_true(wb_geometry_wraps(&geometry));
}

static void slots_below_two_tib_are_the_same_wrapped(void **state)
{
	struct wb_geometry geometry = geometry_of("v2", 10, 2 * TIB);

	(void)state;
	for (uint32_t k = 0; k < geometry.slots; k += 4321) {
		geometry.wrap = false;
		uint64_t linear = wb_slot_offset(&geometry, k);

		geometry.wrap = true;
		assert_int_equal(wb_slot_offset(&geometry, k), linear);
	}
}

static void slot_and_lap_of_an_id(void **state)
{
	static const struct { uint32_t slots; uint64_t id; uint32_t slot, lap; } cases[] = {
		{ 8, 1, 0, 1 }, { 8, 8, 7, 1 }, { 8, 9, 0, 2 }, { 8, 16, 7, 2 }, { 8, 17, 0, 3 },
		{ 1, 1, 0, 1 }, { 1, 2, 0, 2 }, { 1, UINT64_MAX, 0, UINT32_MAX },
		{ 5, UINT64_MAX, 4, 858993459 },             /* (2^64 - 1) / 5 modulo 2^32 */
		{ 8, UINT64_MAX, 6, 0 },                     /* lap 2^61 */
		{ 8, UINT64_C(8) * UINT32_MAX + 8, 7, 0 },   /* lap 2^32 */
		{ 8, UINT64_C(8) * UINT32_MAX + 9, 0, 1 },
		{ UINT32_MAX, UINT64_MAX, UINT32_MAX - 1, 1 },
		{ UINT32_MAX, UINT32_MAX, UINT32_MAX - 1, 1 },
		{ UINT32_MAX, UINT64_C(1) << 32, 0, 2 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_geometry geometry = { .slots = cases[i].slots };

		assert_int_equal(wb_slot_of(&geometry, cases[i].id), cases[i].slot);
		assert_int_equal(wb_lap_of(&geometry, cases[i].id), cases[i].lap);
	}
}

/* Of the C structs of the drivers on x86-64: segment header, metablock 40, hash head 8. */
static void driver_memory_grows_with_slots_and_blocks(void **state)
{
	static const struct { const char *format; unsigned order; uint64_t slot, blocks; } cases[] = {
		{ "v0", 4, 112, 1 }, { "v0", 11, 112, 255 }, { "v1", 10, 32, 127 }, { "v2", 10, 32, 127 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_geometry geometry;

		assert_int_equal(wb_geometry_init(&geometry, wb_format_find(cases[i].format), cases[i].order,
						  UINT64_C(1) << 44, 0, NULL), 0);
		assert_true(wb_driver_memory(&geometry) == geometry.slots * (cases[i].slot + cases[i].blocks * 48));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(generations_are_listed_oldest_first),
		cmocka_unit_test(tables_say_what_the_format_says),
		cmocka_unit_test(v0_header_is_thirteen_packed_bytes),
		cmocka_unit_test(v1_and_v2_headers_are_alike),
		cmocka_unit_test(v0_metablocks_follow_the_header_every_thirteen_bytes),
		cmocka_unit_test(v1_and_v2_metablocks_lie_at_512_every_sixteen_bytes),
		cmocka_unit_test(encoding_touches_only_its_own_bytes),
		cmocka_unit_test(random_fields_survive_the_round_trip),
		cmocka_unit_test(metadata_fits_in_a_block),
		cmocka_unit_test(orders_out_of_range_are_refused),
		cmocka_unit_test(orders_at_the_edges_of_each_generation),
		cmocka_unit_test(capacity_and_slot_size_per_order),
		cmocka_unit_test(devices_near_one_slot),
		cmocka_unit_test(slots_override_is_taken_if_it_can_be_counted),
		cmocka_unit_test(number_of_slots_is_32_bits),
		cmocka_unit_test(slots_follow_the_first_mib),
		cmocka_unit_test(over_two_tib_slot_4194302_lands_on_sector_0),
		cmocka_unit_test(wrap_begins_with_the_first_slot_beyond),
		cmocka_unit_test(slots_below_two_tib_are_the_same_wrapped),
		cmocka_unit_test(driver_memory_grows_with_slots_and_blocks),
		cmocka_unit_test(slot_and_lap_of_an_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
