/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/bytes.h */
#include "cache_builder.h"

static void numbers_are_little_endian_at_any_alignment(void **state)
{
	const uint8_t disk[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

	(void)state;
	assert_int_equal(wb_get_le(disk, 1), 0x01);
	assert_int_equal(wb_get_le(disk, 4), 0x04030201);
	assert_int_equal(wb_get_le(disk, 8), 0x0807060504030201);
	for (unsigned at = 0; at < 8; at++)
		assert_int_equal(wb_get_le(disk + at, 8), 0x0807060504030201 + 0x0101010101010101 * at);
}

static void all_ones_survive(void **state)
{
	const uint8_t ones[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };

	(void)state;
	assert_int_equal(wb_get_le(ones, 1), UINT8_MAX);
	assert_int_equal(wb_get_le(ones, 4), UINT32_MAX);
	assert_true(wb_get_le(ones, 8) == UINT64_MAX);
}

static void field_of_no_width_is_zero_and_writes_nothing(void **state)
{
	uint8_t byte = 0x5a;

	(void)state;
	assert_int_equal(wb_get_le(&byte, 0), 0);
	wb_put_le(&byte, 0, UINT64_MAX);
	assert_int_equal(byte, 0x5a);
}

static void put_writes_its_width_and_no_more(void **state)
{
	static const unsigned widths[] = { 1, 4, 8 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(widths); i++) {
		uint8_t bytes[12];

		memset(bytes, 0xee, sizeof(bytes));
		wb_put_le(bytes + 1, widths[i], 0x1122334455667788);
		assert_int_equal(bytes[0], 0xee);
		assert_int_equal(bytes[1], 0x88);
		assert_true(wb_all_bytes(bytes + 1 + widths[i], sizeof(bytes) - 1 - widths[i], 0xee));
		assert_int_equal(wb_get_le(bytes + 1, widths[i]),
				 widths[i] == 8 ? 0x1122334455667788 : 0x55667788u & (widths[i] == 4 ? ~0u : 0xffu));
	}
}

static void all_bytes_sees_each_byte(void **state)
{
	uint8_t bytes[70];

	(void)state;
	for (size_t size = 0; size <= sizeof(bytes); size++) {
		memset(bytes, 7, sizeof(bytes));
		assert_true(wb_all_bytes(bytes, size, 7));
		for (size_t i = 0; i < sizeof(bytes); i++) {
			bytes[i] = 6;
			assert_int_equal(wb_all_bytes(bytes, size, 7), i >= size);
			bytes[i] = 7;
		}
	}
}

static void smaller_and_larger_of_64_bits(void **state)
{
	(void)state;
	assert_true(wb_min(UINT64_MAX, 1) == 1);
	assert_true(wb_max(UINT64_MAX, 1) == UINT64_MAX);
	assert_true(wb_min(UINT64_C(1) << 32, 5) == 5);
	assert_true(wb_max(3, 3) == 3);
}

static uint64_t number_at(const void *numbers, size_t i)
{
	return ((const uint64_t *)numbers)[i];
}

static void first_of_ascending_numbers_is_found(void **state)
{
	static const uint64_t numbers[] = { 0, 3, 3, 7, UINT64_MAX - 1, UINT64_MAX };
	static const struct { size_t n; uint64_t key; size_t first; } cases[] = {
		{ 0, 0, 0 }, { 1, 0, 0 }, { 1, 1, 1 }, { 6, 0, 0 }, { 6, 1, 1 }, { 6, 3, 1 }, { 6, 4, 3 }, { 6, 7, 3 }, { 6, 8, 4 },
		{ 5, UINT64_MAX, 5 }, { 6, UINT64_MAX, 5 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(wb_first_from(numbers, cases[i].n, number_at, cases[i].key), cases[i].first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_little_endian_at_any_alignment),
		cmocka_unit_test(all_ones_survive),
		cmocka_unit_test(field_of_no_width_is_zero_and_writes_nothing),
		cmocka_unit_test(put_writes_its_width_and_no_more),
		cmocka_unit_test(all_bytes_sees_each_byte),
		cmocka_unit_test(smaller_and_larger_of_64_bits),
		cmocka_unit_test(first_of_ascending_numbers_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
