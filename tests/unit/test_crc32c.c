/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/crc32c.c: known sums, the two implementations against each other and against the definition, bit search. */
#include "cache_builder.h"
#include "crc32c.h"

#define SIZE 20000u

static uint8_t bytes[SIZE];

static void fill(uint64_t seed)
{
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)draw(&seed);
}

/* The definition, bit by bit. */
static uint32_t slow(uint32_t crc, const uint8_t *p, size_t size)
{
	while (size--) {
		crc ^= *p++;
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return crc;
}

static void known_sums(void **state)
{
	static const uint8_t zeroes[3584];
	uint8_t rising[32];

	(void)state;
	for (unsigned i = 0; i < 32; i++)
		rising[i] = (uint8_t)i;
	assert_int_equal((uint32_t)~wb_crc32c(~0u, "123456789", 9), 0xe3069283);
	assert_int_equal((uint32_t)~wb_crc32c(~0u, zeroes, 32), 0x8a9136aa); /* RFC 3720, B.4 */
	assert_int_equal((uint32_t)~wb_crc32c(~0u, rising, 32), 0x46dd794e);
	assert_int_equal((uint32_t)~wb_crc32c(~0u, zeroes, 3584), 143703573); /* an empty segment of v2 */
	assert_int_equal((uint32_t)~wb_crc32c(~0u, zeroes, 3584), 0x0890be15);
	assert_int_equal(wb_crc32c(0x12345678, "", 0), 0x12345678);
}

static void both_implementations_keep_to_the_definition(void **state)
{
	uint64_t seed = 5;

	(void)state;
	fill(1);
	for (unsigned i = 0; i < 300; i++) {
		uint32_t from = draw_below(&seed, 64), size = draw_below(&seed, i < 250 ? 300 : SIZE - 64);
		uint32_t crc = (uint32_t)draw(&seed), expected = slow(crc, bytes + from, size);

		assert_int_equal(wb_crc32c(crc, bytes + from, size), expected);
		assert_int_equal(wb_crc32c_portable(crc, bytes + from, size), expected);
	}
}

static void sum_of_parts_continues(void **state)
{
	(void)state;
	fill(2);
	for (size_t cut = 0; cut <= 100; cut++)
		assert_int_equal(wb_crc32c(wb_crc32c(~0u, bytes, cut), bytes + cut, 100 - cut), wb_crc32c(~0u, bytes, 100));
}

static void shift_carries_over_zeroes(void **state)
{
	static const uint8_t zeroes[SIZE];
	static const uint32_t lengths[] = { 0, 1, 2, 3, 7, 8, 255, 256, 4095, 4096, 12345 };
	uint64_t seed = 6;

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(lengths); i++) {
		struct wb_crc_shift shift;

		wb_crc_shift_init(&shift, lengths[i]);
		for (unsigned j = 0; j < 20; j++) {
			uint32_t crc = (uint32_t)draw(&seed);

			assert_int_equal(wb_crc_shift(&shift, crc), slow(crc, zeroes, lengths[i]));
		}
	}
}

static void sums_of_blocks_make_the_sum_of_the_whole(void **state)
{
	struct wb_crc_shift shift;
	uint32_t crc = ~0u;

	(void)state;
	fill(3);
	wb_crc_shift_init(&shift, 4096);
	for (unsigned i = 0; i < 4; i++)
		crc = wb_crc_shift(&shift, crc) ^ wb_crc32c(0, bytes + 4096 * i, 4096);
	assert_int_equal(crc, wb_crc32c(~0u, bytes, 4 * 4096));
}

/* ---- which bit ---- */

static uint32_t difference_of(uint32_t size, uint32_t bit_from_end)
{
	uint32_t before = wb_crc32c(~0u, bytes, size), after;
	uint8_t *at = &bytes[size - 1 - bit_from_end / 8];
	uint8_t flip = (uint8_t)(0x80u >> bit_from_end % 8);

	*at ^= flip;
	after = wb_crc32c(~0u, bytes, size);
	*at ^= flip;
	return before ^ after;
}

static void every_bit_of_a_message_is_found(void **state)
{
	static struct wb_bitfind find;
	static const uint32_t sizes[] = { 1, 2, 255, 256, 257, 600 }; /* around one giant step */

	(void)state;
	fill(4);
	wb_bitfind_init(&find);
	for (size_t i = 0; i < LENGTH_OF(sizes); i++)
		for (uint32_t bit = 0; bit < 8 * sizes[i]; bit++)
			assert_int_equal(wb_bitfind(&find, difference_of(sizes[i], bit), sizes[i]), bit);
}

static void bits_of_a_long_message_are_found(void **state)
{
	static struct wb_bitfind find;
	uint64_t seed = 7;

	(void)state;
	fill(5);
	wb_bitfind_init(&find);
	for (unsigned i = 0; i < 200; i++) {
		uint32_t bit = draw_below(&seed, 8 * SIZE);

		assert_int_equal(wb_bitfind(&find, difference_of(SIZE, bit), SIZE), bit);
	}
}

static void bit_beyond_the_message_is_none(void **state)
{
	static struct wb_bitfind find;

	(void)state;
	fill(6);
	wb_bitfind_init(&find);
	for (uint32_t bit = 8 * 300; bit < 8 * 600; bit++)
		assert_true(wb_bitfind(&find, difference_of(600, bit), 300) == UINT64_MAX);
	assert_true(wb_bitfind(&find, 0x82f63b78, 0) == UINT64_MAX);
}

static void two_bits_are_no_single_bit(void **state)
{
	static struct wb_bitfind find;
	uint64_t seed = 8;

	(void)state;
	fill(7);
	wb_bitfind_init(&find);
	for (unsigned i = 0; i < 500; i++) {
		uint32_t a = draw_below(&seed, 8 * SIZE), b = draw_below(&seed, 8 * SIZE);

		if (a != b)
			assert_true(wb_bitfind(&find, difference_of(SIZE, a) ^ difference_of(SIZE, b), SIZE) == UINT64_MAX);
	}
}

static void four_bytes_take_a_checksum_anywhere(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t before = i * 2654435761u, target = ~i * 2246822519u, force = wb_crc_force(before, target);
		const uint8_t four[4] = { (uint8_t)force, (uint8_t)(force >> 8), (uint8_t)(force >> 16), (uint8_t)(force >> 24) };

		assert_int_equal(wb_crc32c(before, four, 4), target);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_sums),
		cmocka_unit_test(both_implementations_keep_to_the_definition),
		cmocka_unit_test(sum_of_parts_continues),
		cmocka_unit_test(shift_carries_over_zeroes),
		cmocka_unit_test(sums_of_blocks_make_the_sum_of_the_whole),
		cmocka_unit_test(every_bit_of_a_message_is_found),
		cmocka_unit_test(bits_of_a_long_message_are_found),
		cmocka_unit_test(bit_beyond_the_message_is_none),
		cmocka_unit_test(two_bits_are_no_single_bit),
		cmocka_unit_test(four_bytes_take_a_checksum_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
