/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/passes.c: however few entries fit in memory, the passes together make the plan of one big pass. */
#include "cache_builder.h"

#define ENTRIES_MAX 2000u

static const struct wb_scope everything = { .low = 1, .high = UINT64_MAX };

/* All entries of all passes, in order; checks what holds for every pass on the way. */
struct collected {
	struct wb_entry entries[ENTRIES_MAX];
	size_t count;
	unsigned passes;
};

static uint64_t id_at(const struct wb_plan *plan, size_t i)
{
	return plan->ring->slots[plan->entries[i].slot].id;
}

static void check_range(const struct wb_plan *plan, uint64_t previous_end, size_t capacity)
{
	assert_int_equal(plan->begin, previous_end);
	assert_true(plan->begin < plan->end);
	for (size_t i = 0; i < plan->count; i++) {
		assert_true(plan->entries[i].block >= plan->begin);
		assert_true(plan->entries[i].block < plan->end);
		if (i)
			assert_true(plan->entries[i - 1].block < plan->entries[i].block ||
				    (plan->entries[i - 1].block == plan->entries[i].block &&
				     id_at(plan, i - 1) >= id_at(plan, i)));
	}
	if (!plan->scope.every_version && !plan->others) /* else one block may need more */
		assert_true(plan->count <= capacity);
}

static void collect(struct build *b, const struct wb_scope *scope, size_t capacity, struct collected *all)
{
	struct wb_plan plan;
	uint64_t end = 0;
	int ret;

	memset(all, 0, sizeof(*all));
	assert_int_equal(wb_plan_open(&plan, &b->ring, scope, capacity, NULL), 0);
	while ((ret = wb_plan_next(&plan, NULL, NULL)) > 0) {
		check_range(&plan, end, capacity < 16 ? 16 : capacity);
		end = plan.end;
		assert_true(all->count + plan.count <= ENTRIES_MAX);
		memcpy(all->entries + all->count, plan.entries, plan.count * sizeof(*plan.entries));
		all->count += plan.count;
		all->passes++;
		assert_int_equal(plan.passes, all->passes);
	}
	assert_int_equal(ret, 0);
	if (all->passes)
		assert_true(end == UINT64_MAX);
	assert_int_equal(wb_plan_next(&plan, NULL, NULL), 0); /* and it stays at the end */
	wb_plan_close(&plan);
}

static void expect_same(const struct collected *a, const struct collected *b)
{
	assert_int_equal(a->count, b->count);
	assert_memory_equal(a->entries, b->entries, a->count * sizeof(a->entries[0]));
}

/* 50 segments of up to seven blocks. */
static void random_ring(struct build *b, uint64_t seed, uint32_t span)
{
	build_init(b, seed % 3 ? "v1" : "v0", 6, 50);
	for (uint64_t id = 1; id <= 80; id++) {
		struct put puts[7];
		size_t n = 1 + draw_below(&seed, 7);

		for (size_t i = 0; i < n; i++)
			{
			bool partial = draw_below(&seed, 5);

			puts[i] = (struct put){ draw_below(&seed, span), partial ? draw_below(&seed, 256) : 0xff, 0 };
		}
		build_segment(b, id, puts, n);
	}
	build_load(b, 0);
}

static void any_capacity_makes_the_plan_of_one_pass(void **state)
{
	static const size_t capacities[] = { 0, 1, 16, 17, 20, 31, 64, 100, 128, 255, 500 };
	static const uint32_t spans[] = { 1, 3, 12, 60, 1000 };
	struct collected *one = malloc(sizeof(*one)), *several = malloc(sizeof(*several));
	unsigned most = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 12; seed++)
		for (size_t s = 0; s < LENGTH_OF(spans); s++) {
			struct build b;

			random_ring(&b, seed, spans[s]);
			collect(&b, &everything, ROOM, one);
			assert_int_equal(one->passes, 1);
			for (size_t i = 0; i < LENGTH_OF(capacities); i++) {
				collect(&b, &everything, capacities[i], several);
				expect_same(one, several);
				most = several->passes > most ? several->passes : most;
			}
			build_release(&b);
		}
	assert_true(most > 10); /* else it says nothing */
	free(one);
	free(several);
}

static void every_version_is_kept_in_any_capacity(void **state)
{
	static const size_t capacities[] = { 16, 40, 128 };
	static const uint32_t spans[] = { 1, 5, 60 };
	const struct wb_scope scope = { .low = 1, .high = UINT64_MAX, .every_version = true };
	struct collected *one = malloc(sizeof(*one)), *several = malloc(sizeof(*several));

	(void)state;
	for (uint64_t seed = 0; seed < 6; seed++)
		for (size_t s = 0; s < LENGTH_OF(spans); s++) {
			struct build b;
			size_t versions = 0;

			random_ring(&b, seed, spans[s]);
			for (uint32_t i = 0; i < 50; i++) {
				struct wb_slot *slot = &b.ring.slots[i];

				if (slot->class_ == WB_LIVE)
					versions += seed % 3 ? slot->length : slot->dirty_blocks;
			}
			collect(&b, &scope, ROOM, one);
			assert_int_equal(one->count, versions);
			for (size_t i = 0; i < LENGTH_OF(capacities); i++) {
				collect(&b, &scope, capacities[i], several);
				expect_same(one, several);
			}
			build_release(&b);
		}
	free(one);
	free(several);
}

static void claims_above_the_plan_change_nothing_about_capacity(void **state)
{
	static const size_t capacities[] = { 16, 17, 20, 31, 64, 100, 255 };
	static const uint32_t spans[] = { 3, 12, 60, 1000 };
	struct collected *one = malloc(sizeof(*one)), *several = malloc(sizeof(*several));
	unsigned most = 0, others = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 12; seed++)
		for (size_t s = 0; s < LENGTH_OF(spans); s++) {
			const struct wb_scope cut = { .low = 1, .high = 79 - seed * 3, .claims = true };
			struct build b;

			random_ring(&b, seed, spans[s]);
			collect(&b, &cut, ROOM, one);
			for (size_t i = 0; i < one->count; i++)
				others += b.ring.slots[one->entries[i].slot].id > cut.high;
			for (size_t i = 0; i < LENGTH_OF(capacities); i++) {
				collect(&b, &cut, capacities[i], several);
				expect_same(one, several);
				most = several->passes > most ? several->passes : most;
			}
			build_release(&b);
		}
	assert_true(most > 10 && others > 100); /* else it says nothing */
	free(one);
	free(several);
}

static void one_block_with_very_many_versions_fits_in_sixteen(void **state)
{
	struct build b;
	struct collected *all = malloc(sizeof(*all));

	(void)state;
	build_init(&b, "v1", 4, 300);
	for (uint64_t id = 1; id <= 300; id++)
		build_segment(&b, id, PUTS({ 7, 1u << id % 8, 0 }));
	build_load(&b, 0);
	collect(&b, &everything, 16, all);
	assert_int_equal(all->passes, 1);
	assert_int_equal(all->count, 8);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(b.ring.slots[all->entries[i].slot].id, b.ring.head - i);
	free(all);
	build_release(&b);
}

static void one_block_with_very_many_versions_grows_when_all_are_wanted(void **state)
{
	const struct wb_scope scope = { .low = 1, .high = UINT64_MAX, .every_version = true };
	struct build b;
	struct collected *all = malloc(sizeof(*all));

	(void)state;
	build_init(&b, "v1", 4, 300);
	build_log(&b, 1, 300, 1);
	build_load(&b, 0);
	collect(&b, &scope, 16, all);
	assert_int_equal(all->passes, 1);
	assert_int_equal(all->count, 300);
	for (uint32_t i = 0; i < 300; i++)
		assert_int_equal(b.ring.slots[all->entries[i].slot].id, b.ring.head - i);
	free(all);
	build_release(&b);
}

/* As far as a plan that was asked for as small as can be; then more memory has to be given. */
static void versions_of_one_block_grow_no_plan_without_bound(void **state)
{
	static const struct { size_t capacity; int ret; } cases[] = { { 16, -WB_ENOMEM }, { 4100, -WB_ENOMEM }, { 4400, 1 } };
	const struct wb_scope scope = { .low = 1, .high = UINT64_MAX, .every_version = true };
	struct build b;

	(void)state;
	build_init(&b, "v1", 4, 4400);
	build_log(&b, 1, 4400, 1);
	build_load(&b, 0);
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_plan plan;
		struct wb_error err = { 0 };

		assert_int_equal(wb_plan_open(&plan, &b.ring, &scope, cases[i].capacity, NULL), 0);
		assert_int_equal(wb_plan_next(&plan, NULL, &err), cases[i].ret);
		assert_true(cases[i].ret > 0 || strstr(err.text, "more than 4"));
		assert_true(plan.capacity <= 4400);
		wb_plan_close(&plan);
	}
	build_release(&b);
}

static void range_given_up_comes_back_with_its_newest_entries(void **state)
{
	struct build b;
	struct collected *all = malloc(sizeof(*all));

	(void)state;
	build_init(&b, "v1", 4, 100);
	for (uint64_t id = 1; id <= 100; id++) /* the newest have the highest addresses */
		build_segment(&b, id, PUTS({ id, 0xff, 0 }));
	build_load(&b, 0);
	collect(&b, &everything, 16, all);
	assert_int_equal(all->count, 100);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(all->entries[i].block, i + 1);
		assert_int_equal(b.ring.slots[all->entries[i].slot].id, i + 1);
	}
	free(all);
	build_release(&b);
}

/* ---- what becomes an entry ---- */

static void larger_index_of_a_segment_is_the_newer(void **state)
{
	struct build b;
	struct collected *all = malloc(sizeof(*all));

	(void)state;
	build_init(&b, "v1", 6, 4);
	build_segment(&b, 1, PUTS({ 5, 0xff, 0 }, { 5, 0x0f, 0 }, { 5, 0x01, 0 }));
	build_load(&b, 0);
	collect(&b, &everything, ROOM, all);
	assert_int_equal(all->count, 3);
	assert_int_equal(all->entries[0].index, 2);
	assert_int_equal(all->entries[0].dirty, 0x01);
	assert_int_equal(all->entries[1].index, 1);
	assert_int_equal(all->entries[1].dirty, 0x0e);
	assert_int_equal(all->entries[2].index, 0);
	assert_int_equal(all->entries[2].dirty, 0xf0);
	free(all);
	build_release(&b);
}

static void unused_elements_of_v0_hide_nothing(void **state)
{
	struct build b;
	struct collected *all = malloc(sizeof(*all));

	(void)state;
	build_init(&b, "v0", 6, 4);
	build_segment(&b, 1, PUTS({ 5, 0xff, 0 }));
	build_segment(&b, 2, PUTS({ 5, 0x00, 0 }, { 6, 0xff, 0 }));
	build_load(&b, 0);
	collect(&b, &everything, ROOM, all);
	assert_int_equal(all->count, 2);
	assert_int_equal(all->entries[0].block, 5);
	assert_int_equal(all->entries[0].dirty, 0xff);
	free(all);
	build_release(&b);
}

static void clean_copies_of_v1_and_v2_hide_what_is_older(void **state)
{
	static const struct { const char *format; unsigned order; } cases[] = { { "v1", 6 }, { "v2", 10 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct collected *all = malloc(sizeof(*all));

		build_init(&b, cases[i].format, cases[i].order, 4);
		build_segment(&b, 1, PUTS({ 5, 0xff, 0 }));
		build_segment(&b, 2, PUTS({ 5, 0x00, 0 }, { 6, 0xff, 0 }));
		build_load(&b, 0);
		collect(&b, &everything, ROOM, all);
		assert_int_equal(all->count, 2);
		assert_int_equal(all->entries[0].block, 5);
		assert_int_equal(all->entries[0].dirty, 0);
		assert_int_equal(all->entries[0].slot, 1);
		free(all);
		build_release(&b);
	}
}

static void metablocks_beyond_the_length_mean_nothing(void **state)
{
	struct build b;
	struct collected *all = malloc(sizeof(*all));

	(void)state;
	build_init(&b, "v0", 6, 4);
	build_segment(&b, 1, PUTS({ 5, 0xff, 0 }, { 6, 0xff, 0 }, { 7, 0xff, 0 }));
	*build_length_at(&b, 0) = 1; /* the others carry the same lap, dirty bits, plausible sectors */
	build_load(&b, 0);
	collect(&b, &everything, ROOM, all);
	assert_int_equal(all->count, 1);
	assert_int_equal(all->entries[0].block, 5);
	free(all);
	build_release(&b);
}

static void unusable_metablocks_are_left_out(void **state)
{
	static const uint64_t sectors[] = { 41, 44, 1000 * 8, UINT64_MAX - 7, UINT64_MAX / 512 - 7, UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(sectors); i++) {
		struct build b;
		struct collected *all = malloc(sizeof(*all));

		build_init(&b, "v1", 6, 4);
		build_segment(&b, 1, PUTS({ 5, 0xff, 0 }, { 6, 0xff, 0 }));
		wb_put_le(build_at(&b, 0) + 512, 8, sectors[i]);
		build_seal(&b, 0);
		build_load(&b, 1000 * 8);
		assert_class(&b, 0, WB_LIVE);
		collect(&b, &everything, ROOM, all);
		assert_int_equal(all->count, 1);
		assert_int_equal(all->entries[0].block, 6);
		free(all);
		build_release(&b);
	}
}

/* A lap ago, out of place, twice, broken, with metablocks that no plan can use. */
static void everything_is_listed_whatever_becomes_of_it(void **state)
{
	static const struct { uint64_t begin, end; size_t count; } ranges[] = {
		{ 0, 0, 10 }, { 5, 0, 10 }, { 5, 7, 8 }, { 6, 7, 2 }, { 7, 1000, 1 }, { 8, 9, 0 },
	};
	static const size_t capacities[] = { 1, ROOM };
	struct build b;

	(void)state;
	build_init(&b, "v1", 6, 8);
	build_segment(&b, 10, PUTS({ 5, 0xff, 0 }, { 6, 0, 0 }));
	build_segment(&b, 11, PUTS({ 5, 0x0f, 0 }, { 5, 0xf0, 0 }));
	build_segment(&b, 4, PUTS({ 5, 0xff, 0 }));
	build_segment_at(&b, 4, 2, PUTS({ 5, 0xff, 0 }, { 7, 0xff, 0 }));
	build_segment_at(&b, 5, 2, PUTS({ 6, 0xff, 0 }));
	build_segment(&b, 7, PUTS({ 0, 0xff, 0 }, { 1000, 0xff, 0 }));
	wb_put_le(build_at(&b, 6) + 512, 8, 5 * 8 + 3);
	build_load(&b, 1000 * 8);
	assert_false(wb_slot_valid(&b.ring.slots[6]));
	for (size_t i = 0; i < LENGTH_OF(ranges) * 2; i++) {
		const struct wb_scope scope = { .everything = true, .every_version = true, .begin = ranges[i / 2].begin,
						.end = ranges[i / 2].end };
		static const uint64_t ids[] = { 11, 11, 10, 7, 4, 2 };
		size_t count = 0;
		struct wb_plan plan;

		assert_int_equal(wb_plan_open(&plan, &b.ring, &scope, capacities[i % 2], NULL), 0);
		while (wb_plan_next(&plan, NULL, NULL) > 0) {
			for (size_t k = 0; k < plan.count; k++) {
				assert_int_equal(plan.entries[k].check, plan.entries[k].slot == 6 && !plan.entries[k].index ? 3 : 0);
				if (plan.entries[k].block == 5)
					assert_int_equal(id_at(&plan, k), ids[k]);
			}
			count += plan.count;
		}
		assert_int_equal(count, ranges[i / 2].count);
		wb_plan_close(&plan);
	}
	build_release(&b);
}

static void scope_and_window_bound_the_plan(void **state)
{
	static const struct { uint64_t low, high; size_t count; } cases[] = {
		{ 1, UINT64_MAX, 8 }, { 0, UINT64_MAX, 8 }, { 9, 16, 8 }, { 12, 13, 2 }, { 16, 16, 1 }, { 9, 9, 1 },
		{ 17, 99, 0 }, { 1, 8, 0 }, { 5, 4, 0 }, { UINT64_MAX, UINT64_MAX, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_scope scope = { .low = cases[i].low, .high = cases[i].high };
		struct collected *all = malloc(sizeof(*all));
		struct build b;

		build_init(&b, "v1", 4, 8);
		build_log(&b, 9, 16, 100);
		build_load(&b, 0);
		collect(&b, &scope, ROOM, all);
		assert_int_equal(all->count, cases[i].count);
		assert_int_equal(all->passes, cases[i].count > 0);
		free(all);
		build_release(&b);
	}
}

static void ids_near_the_largest_are_planned(void **state)
{
	struct build b;
	struct collected *all = malloc(sizeof(*all));

	(void)state;
	build_init(&b, "v1", 4, 8);
	for (uint64_t i = 0; i < 8; i++)
		build_segment(&b, UINT64_MAX - i, PUTS({ i, 0xff, 0 }));
	build_load(&b, 0);
	collect(&b, &everything, ROOM, all);
	assert_int_equal(all->count, 8);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(b.ring.slots[all->entries[i].slot].id, b.ring.head - i);
	free(all);
	build_release(&b);
}

static void claims_are_entries_where_they_are_above_something_planned(void **state)
{
	(void)state;
	for (int wanted = 0; wanted < 3; wanted++) {
		const struct wb_scope scope = { .low = 1, .high = UINT64_MAX, .claims = wanted, .every_version = wanted == 2 };
		struct collected *all = malloc(sizeof(*all));
		struct build b;

		build_init(&b, "v1", 5, 8);
		build_log(&b, 9, 16, 3);
		build_segment(&b, 13, PUTS({ 2, 0xff, 0 }, { 50, 0xff, 0 }, { 0, 0x0f, 0 }));
		memset(build_at(&b, 4) + 8, 0x77, 4); /* the checksum of 13 */
		build_segment(&b, 7, PUTS({ 99, 0xff, 0 })); /* over 15, whose copy is gone */
		build_load(&b, 0);
		assert_int_equal(b.ring.holes, 2);
		collect(&b, &scope, ROOM, all);
		/* the hole 13 claims block 0 above 12 and 9; block 2 is 14's, and block 50 nobody's */
		assert_int_equal(all->count, wanted == 2 ? 9 : wanted ? 5 : 3);
		for (size_t i = 0; i < all->count; i++) {
			assert_int_not_equal(all->entries[i].block, 99);
			assert_true(wanted || all->entries[i].slot != 4);
		}
		free(all);
		build_release(&b);
	}
}

static void ranges_of_nothing_but_claims_do_not_end_the_plan(void **state)
{
	static const size_t capacities[] = { 16, 20, 40 };
	const struct wb_scope scope = { .low = 1, .high = UINT64_MAX, .claims = true };
	struct collected *one = malloc(sizeof(*one)), *several = malloc(sizeof(*several));
	struct build b;

	(void)state;
	build_init(&b, "v1", 4, 100);
	for (uint64_t id = 1; id <= 100; id++) /* lowest addresses: those of 51 to 90, all of which are rotten */
		build_segment(&b, id, PUTS({ id > 50 && id <= 90 ? id - 50 : 100 + id, 0xff, 0 }));
	for (uint32_t slot = 50; slot < 90; slot++)
		memset(build_at(&b, slot) + 8, 0x77, 4);
	build_load(&b, 0);
	assert_int_equal(b.ring.classes[WB_ROTTEN], 40);
	collect(&b, &scope, ROOM, one);
	assert_int_equal(one->count, 60);
	for (size_t i = 0; i < LENGTH_OF(capacities); i++) {
		collect(&b, &scope, capacities[i], several);
		expect_same(one, several);
	}
	free(one);
	free(several);
	build_release(&b);
}

static void entries_carry_the_sums_of_the_load(void **state)
{
	struct build b;
	struct collected *all = malloc(sizeof(*all));

	(void)state;
	build_init(&b, "v1", 6, 4);
	build_segment(&b, 1, PUTS({ 5, 0xff, 0 }, { 6, 0x0f, 0 }));
	build_load(&b, 0);
	collect(&b, &everything, ROOM, all);
	for (size_t i = 0; i < 2; i++) {
		const uint8_t *data = build_at(&b, 0) + WB_BLOCK * (all->entries[i].index + 1u);

		assert_int_equal(all->entries[i].check, (uint16_t)wb_crc32c(0, data, WB_BLOCK));
	}
	free(all);
	build_release(&b);
}

/* ---- failures ---- */

static int stop_now(void *context)
{
	(void)context;
	return 1;
}

static void planning_can_be_stopped(void **state)
{
	const struct wb_progress progress = { .stop = stop_now };
	struct wb_plan plan;
	struct build b;

	(void)state;
	build_init(&b, "v1", 4, 8);
	build_log(&b, 1, 8, 100);
	build_load(&b, 0);
	assert_int_equal(wb_plan_open(&plan, &b.ring, &everything, ROOM, NULL), 0);
	assert_int_equal(wb_plan_next(&plan, &progress, NULL), -WB_ESTOPPED);
	wb_plan_close(&plan);
	wb_plan_close(&plan); /* once more is fine */
	build_release(&b);
}

static void metadata_that_cannot_be_read_any_more_is_an_error(void **state)
{
	struct wb_range bad = { 0, 0 };
	const struct wb_ring_options options = { .backing_sectors = 0 };
	struct wb_error err = { 0 };
	struct wb_plan plan;
	struct build b;

	(void)state;
	build_init(&b, "v1", 4, 8);
	build_log(&b, 1, 8, 100);
	build_load_on(&b, build_bad(&b, &bad, 1), &options);
	assert_int_equal(b.ring.classes[WB_LIVE], 8);
	bad = (struct wb_range){ wb_slot_offset(&b.geometry, 3), 512 };
	assert_int_equal(wb_plan_open(&plan, &b.ring, &everything, ROOM, NULL), 0);
	assert_int_equal(wb_plan_next(&plan, NULL, &err), -WB_EIO);
	assert_int_equal(err.offset, bad.offset);
	wb_plan_close(&plan);
	build_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_capacity_makes_the_plan_of_one_pass),
		cmocka_unit_test(every_version_is_kept_in_any_capacity),
		cmocka_unit_test(claims_above_the_plan_change_nothing_about_capacity),
		cmocka_unit_test(one_block_with_very_many_versions_fits_in_sixteen),
		cmocka_unit_test(one_block_with_very_many_versions_grows_when_all_are_wanted),
		cmocka_unit_test(versions_of_one_block_grow_no_plan_without_bound),
		cmocka_unit_test(range_given_up_comes_back_with_its_newest_entries),
		cmocka_unit_test(larger_index_of_a_segment_is_the_newer),
		cmocka_unit_test(unused_elements_of_v0_hide_nothing),
		cmocka_unit_test(clean_copies_of_v1_and_v2_hide_what_is_older),
		cmocka_unit_test(metablocks_beyond_the_length_mean_nothing),
		cmocka_unit_test(unusable_metablocks_are_left_out),
		cmocka_unit_test(everything_is_listed_whatever_becomes_of_it),
		cmocka_unit_test(scope_and_window_bound_the_plan),
		cmocka_unit_test(ids_near_the_largest_are_planned),
		cmocka_unit_test(claims_are_entries_where_they_are_above_something_planned),
		cmocka_unit_test(ranges_of_nothing_but_claims_do_not_end_the_plan),
		cmocka_unit_test(entries_carry_the_sums_of_the_load),
		cmocka_unit_test(planning_can_be_stopped),
		cmocka_unit_test(metadata_that_cannot_be_read_any_more_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
