/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/seal.c */
#include "cache_builder.h"

static void both_dialects_are_read(void **state)
{
	static const struct { uint32_t stored; unsigned flags; } cases[] = {
		{ 0x12345678, WB_SLOT_SEALED | WB_SLOT_RAW },
		{ 0x12345679, 0 },
		{ 0xedcba987, WB_SLOT_SEALED },
		{ 0xedcba986, 0 },
		{ 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++)
		assert_int_equal(wb_seal_match(cases[i].stored, 0x12345678), cases[i].flags);
}

static void only_checksums_cover_data(void **state)
{
	(void)state;
	assert_false(wb_seal_covers_data(wb_format_find("v0")));
	assert_true(wb_seal_covers_data(wb_format_find("v1")));
	assert_true(wb_seal_covers_data(wb_format_find("v2")));
}

static void lengths_in_range(void **state)
{
	static const struct { const char *format; uint32_t length; bool in_range; } cases[] = {
		{ "v0", 0, false }, { "v0", 1, true }, { "v0", 7, true }, { "v0", 8, false }, { "v0", 255, false },
		{ "v1", 0, true },  { "v1", 7, true }, { "v1", 8, false }, { "v1", 255, false },
		{ "v1", UINT32_MAX, false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_geometry geometry = { .format = wb_format_find(cases[i].format), .capacity = 7 };

		assert_int_equal(wb_length_in_range(&geometry, cases[i].length), cases[i].in_range);
	}
}

/* ---- laps ---- */

static const struct wb_format *v0(void)
{
	return wb_format_find("v0");
}

static struct wb_header with_laps(uint8_t *meta, uint64_t id, unsigned length, uint32_t lap)
{
	const struct wb_header header = { .id = id, .length = length, .lap = lap };

	memset(meta, 0, WB_BLOCK);
	wb_header_encode(v0(), meta, &header);
	for (unsigned i = 0; i < length; i++)
		wb_metablock_encode(v0(), meta, i, &(struct wb_metablock){ .sector = 8 * i, .dirty = 255, .lap = lap });
	return header;
}

static void laps_that_agree_seal(void **state)
{
	static const struct { uint64_t id; uint32_t lap; unsigned flags; } cases[] = {
		{ 1, 1, WB_SLOT_SEALED | WB_SLOT_LAP },
		{ 8, 1, WB_SLOT_SEALED | WB_SLOT_LAP },
		{ 9, 2, WB_SLOT_SEALED | WB_SLOT_LAP },
		{ 9, 1, WB_SLOT_SEALED }, /* among themselves, but not with the id */
		{ 8, 2, WB_SLOT_SEALED },
		{ 0, 1, WB_SLOT_SEALED }, /* id 0 has no lap */
		{ UINT64_MAX, 0, WB_SLOT_SEALED | WB_SLOT_LAP }, /* 2^61 modulo 2^32 */
	};
	const struct wb_geometry geometry = { .format = v0(), .slots = 8, .capacity = 15 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		uint8_t meta[WB_BLOCK];
		struct wb_header header = with_laps(meta, cases[i].id, 15, cases[i].lap);

		assert_int_equal(wb_seal_laps(&geometry, meta, &header), cases[i].flags);
	}
}

static void each_metablock_counts(void **state)
{
	const struct wb_geometry geometry = { .format = v0(), .slots = 8, .capacity = 255 };

	(void)state;
	for (unsigned i = 0; i < 255; i++) {
		uint8_t meta[WB_BLOCK];
		struct wb_header header = with_laps(meta, 9, 255, 2);

		meta[13 + 13 * i + 9] ^= 1;
		assert_int_equal(wb_seal_laps(&geometry, meta, &header), 0);
	}
}

static void metablocks_beyond_the_length_do_not_count(void **state)
{
	const struct wb_geometry geometry = { .format = v0(), .slots = 8, .capacity = 15 };
	uint8_t meta[WB_BLOCK];
	struct wb_header header = with_laps(meta, 9, 5, 2);

	(void)state;
	wb_metablock_encode(v0(), meta, 5, &(struct wb_metablock){ .sector = 8, .dirty = 255, .lap = 1 });
	assert_int_equal(wb_seal_laps(&geometry, meta, &header), WB_SLOT_SEALED | WB_SLOT_LAP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_dialects_are_read),
		cmocka_unit_test(only_checksums_cover_data),
		cmocka_unit_test(lengths_in_range),
		cmocka_unit_test(laps_that_agree_seal),
		cmocka_unit_test(each_metablock_counts),
		cmocka_unit_test(metablocks_beyond_the_length_do_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
