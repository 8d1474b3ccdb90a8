/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/plan.c: sorting and claiming, by hand and against brute force. */
#include "cache_builder.h"

#define MANY 400u

static struct wb_entry entry(uint64_t block, uint32_t slot, unsigned dirty)
{
	return (struct wb_entry){ .block = block, .slot = slot, .dirty = (uint8_t)dirty };
}

/* ---- sorting ---- */

static void sort_is_by_the_whole_64_bit_block(void **state)
{
	static const uint64_t blocks[] = { UINT64_MAX, 0, UINT64_C(1) << 60, 255, 256, 65535, UINT64_C(1) << 32, 1,
					   (UINT64_C(1) << 32) - 1, UINT64_C(1) << 16 };
	struct wb_entry entries[LENGTH_OF(blocks)], scratch[LENGTH_OF(blocks)];

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(blocks); i++)
		entries[i] = entry(blocks[i], 0, 1);
	wb_plan_sort(entries, scratch, LENGTH_OF(blocks));
	for (size_t i = 1; i < LENGTH_OF(blocks); i++)
		assert_true(entries[i - 1].block < entries[i].block);
}

static void sort_keeps_the_order_of_equal_blocks(void **state)
{
	uint64_t seed = 1;
	struct wb_entry entries[MANY], scratch[MANY];

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		uint32_t n = draw_below(&seed, MANY + 1), shift = draw_below(&seed, 60);

		for (uint32_t i = 0; i < n; i++)
			entries[i] = entry((uint64_t)draw_below(&seed, 16) << shift, i, 0xff);
		wb_plan_sort(entries, scratch, n);
		for (uint32_t i = 1; i < n; i++)
			assert_true(entries[i - 1].block < entries[i].block ||
				    (entries[i - 1].block == entries[i].block && entries[i - 1].slot < entries[i].slot));
	}
}

static void so_many_that_they_are_distributed_first_come_out_in_order(void **state)
{
	enum { N = 150000 };
	struct wb_entry *entries = malloc(N * sizeof(*entries)), *scratch = malloc(N * sizeof(*scratch));
	const unsigned shifts[] = { 0, 10, 45 };
	uint64_t seed = 5;

	(void)state;
	assert_non_null(entries);
	assert_non_null(scratch);
	for (unsigned round = 0; round < LENGTH_OF(shifts); round++) {
		for (uint32_t i = 0; i < N; i++) /* half of them in one place */
			entries[i] = entry((uint64_t)draw_below(&seed, i % 2 ? 40000 : 7) << shifts[round], i, 0xff);
		wb_plan_sort(entries, scratch, N);
		uint64_t slots = 0;

		for (uint32_t i = 0; i < N; i++) {
			slots += entries[i].slot;
			assert_true(!i || entries[i - 1].block < entries[i].block ||
				    (entries[i - 1].block == entries[i].block && entries[i - 1].slot < entries[i].slot));
		}
		assert_int_equal(slots, (uint64_t)N * (N - 1) / 2);
	}
	free(entries);
	free(scratch);
}

static void sort_carries_every_field_along(void **state)
{
	const struct wb_entry before[] = {
		{ .block = 9, .slot = 0xfedcba98, .index = 0xfe, .dirty = 0x81, .check = 0xbeef },
		{ .block = 3, .slot = 1, .index = 2, .dirty = 4, .check = 5 },
	};
	struct wb_entry entries[2], scratch[2];

	(void)state;
	memcpy(entries, before, sizeof(before));
	wb_plan_sort(entries, scratch, 2);
	assert_memory_equal(&entries[0], &before[1], sizeof(before[1]));
	assert_memory_equal(&entries[1], &before[0], sizeof(before[0]));
}

static void sort_of_nothing_and_of_one(void **state)
{
	struct wb_entry one = entry(7, 1, 1), scratch;

	(void)state;
	wb_plan_sort(NULL, NULL, 0);
	wb_plan_sort(&one, &scratch, 1);
	assert_int_equal(one.block, 7);
	assert_int_equal(wb_plan_claim(&one, 0), 0);
	assert_int_equal(wb_plan_claim(&one, 1), 1);
	assert_int_equal(one.dirty, 1);
}

/* ---- claiming: what comes in, newest first, and the dirty bits that remain ---- */

static void versions_of_one_block(void **state)
{
	static const struct {
		const char *name;
		size_t in;
		unsigned dirty[4];
		size_t out;
		unsigned left[4];
	} cases[] = {
		{ "newer_whole_block_hides_older", 2, { 0xff, 0xff }, 1, { 0xff } },
		{ "newer_partial_block_keeps_the_rest_of_the_older", 2, { 0x0f, 0xff }, 2, { 0x0f, 0xf0 } },
		{ "disjoint_partial_blocks_both_stay", 2, { 0x01, 0x80 }, 2, { 0x01, 0x80 } },
		{ "equal_partial_blocks_leave_the_newer", 2, { 0x3c, 0x3c }, 1, { 0x3c } },
		{ "three_share", 3, { 0x03, 0x07, 0xff }, 3, { 0x03, 0x04, 0xf8 } },
		{ "middle_one_gets_nothing", 3, { 0x0f, 0x05, 0x1f }, 2, { 0x0f, 0x10 } },
		{ "newer_clean_block_hides_older_dirty", 2, { 0x00, 0xff }, 1, { 0x00 } },
		{ "older_clean_block_stays_for_what_is_left", 2, { 0x0f, 0x00 }, 2, { 0x0f, 0x00 } },
		{ "older_clean_block_goes_when_nothing_is_left", 2, { 0xff, 0x00 }, 1, { 0xff } },
		{ "clean_block_between_dirty_ones_ends_the_older", 3, { 0x01, 0x00, 0xff }, 2, { 0x01, 0x00 } },
		{ "two_clean_copies_are_one", 2, { 0x00, 0x00 }, 1, { 0x00 } },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_entry entries[4];

		for (uint32_t j = 0; j < cases[i].in; j++)
			entries[j] = entry(5, j, cases[i].dirty[j]);
		if (wb_plan_claim(entries, cases[i].in) != cases[i].out)
			fail_msg("%s", cases[i].name);
		for (size_t j = 0; j < cases[i].out; j++)
			if (entries[j].dirty != cases[i].left[j])
				fail_msg("%s: entry %u keeps %02x", cases[i].name, (unsigned)j, entries[j].dirty);
	}
}

static void blocks_do_not_touch_each_other(void **state)
{
	struct wb_entry entries[] = { entry(1, 0, 0xff), entry(2, 1, 0xff), entry(3, 2, 0x00), entry(4, 3, 0xff) };

	(void)state;
	assert_int_equal(wb_plan_claim(entries, 4), 4);
	assert_int_equal(entries[3].dirty, 0xff);
}

static void claiming_twice_changes_nothing(void **state)
{
	uint64_t seed = 2;
	struct wb_entry once[MANY], twice[MANY], scratch[MANY];

	(void)state;
	for (uint32_t i = 0; i < MANY; i++)
		once[i] = entry(draw_below(&seed, 40), i, draw_below(&seed, 256));
	wb_plan_sort(once, scratch, MANY);
	size_t n = wb_plan_claim(once, MANY);

	memcpy(twice, once, n * sizeof(*once));
	assert_int_equal(wb_plan_claim(twice, n), n);
	assert_memory_equal(once, twice, n * sizeof(*once));
}

static void at_most_eight_owners_and_a_clean_copy_remain(void **state)
{
	struct wb_entry entries[20];

	(void)state;
	for (uint32_t i = 0; i < 20; i++)
		entries[i] = entry(5, i, 1u << i % 8);
	assert_int_equal(wb_plan_claim(entries, 20), 8);
	for (uint32_t i = 0; i < 20; i++)
		entries[i] = entry(5, i, i < 7 ? 1u << i : i == 7 ? 0 : 0xff);
	assert_int_equal(wb_plan_claim(entries, 20), 8);
	assert_int_equal(entries[7].dirty, 0);
}

/* ---- brute force: for every sector the newest entry that covers it ---- */

static void random_entries_end_with_their_newest_owner(void **state)
{
	enum { BLOCKS = 12 };
	uint64_t seed = 3;

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		struct wb_entry entries[MANY], scratch[MANY];
		int64_t owner[BLOCKS][8], found[BLOCKS][8];
		uint32_t n = draw_below(&seed, 60);

		memset(owner, -1, sizeof(owner));
		memset(found, -1, sizeof(found));
		for (uint32_t i = 0; i < n; i++) {
			unsigned dirty = draw_below(&seed, 4) ? draw_below(&seed, 255) + 1 : 0;

			entries[i] = entry(draw_below(&seed, BLOCKS), i, dirty);
		}
		for (uint32_t i = n; i-- > 0;) /* from the oldest on; who comes later takes over */
			for (unsigned s = 0; s < 8; s++)
				if (!entries[i].dirty || entries[i].dirty >> s & 1)
					owner[entries[i].block][s] = entries[i].dirty ? (int64_t)i : -1;
		wb_plan_sort(entries, scratch, n);
		size_t kept = wb_plan_claim(entries, n);

		for (size_t i = 0; i < kept; i++)
			for (unsigned s = 0; s < 8; s++)
				if (entries[i].dirty >> s & 1) {
					assert_int_equal(found[entries[i].block][s], -1); /* two owners */
					found[entries[i].block][s] = entries[i].slot;
				}
		assert_memory_equal(owner, found, sizeof(owner));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sort_is_by_the_whole_64_bit_block),
		cmocka_unit_test(sort_keeps_the_order_of_equal_blocks),
		cmocka_unit_test(so_many_that_they_are_distributed_first_come_out_in_order),
		cmocka_unit_test(sort_carries_every_field_along),
		cmocka_unit_test(sort_of_nothing_and_of_one),
		cmocka_unit_test(versions_of_one_block),
		cmocka_unit_test(blocks_do_not_touch_each_other),
		cmocka_unit_test(claiming_twice_changes_nothing),
		cmocka_unit_test(at_most_eight_owners_and_a_clean_copy_remain),
		cmocka_unit_test(random_entries_end_with_their_newest_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
