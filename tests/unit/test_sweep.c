/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/sweep.c: what a visitor sees of each block, in which order, and when the walk ends. */
#include "cache_builder.h"
#include "sweep.h"

#define BLOCKS 64u
#define VISITS_MAX 2000u

struct visit {
	uint64_t block;
	size_t count;
	bool first, last;
	uint8_t inside, readable, backing_readable;
	bool own_data; /* each wanted version holds what its segment wrote */
	bool backing_as_found;
};

struct visits {
	struct visit list[VISITS_MAX];
	size_t count, stop_after;
	struct wb_sweep *sweep;
	size_t pause_after;
};

static bool holds_version(const uint8_t *bytes, uint64_t block, uint64_t version, uint8_t mask)
{
	uint8_t sector[WB_SECTOR];

	for (unsigned i = 0; i < 8; i++) {
		fill_sector(sector, block * 8 + i, version);
		if (mask >> i & 1 && memcmp(bytes + i * WB_SECTOR, sector, WB_SECTOR))
			return false;
	}
	return true;
}

static int note(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct visits *visits = context;
	struct visit visit = { .block = view->block, .count = view->count, .first = view->first, .last = view->last,
			       .inside = view->inside, .readable = view->readable[0],
			       .backing_readable = view->backing_readable, .own_data = true };

	(void)err;
	for (size_t i = 0; i < view->count; i++) {
		const struct wb_entry *entry = &view->entries[i];

		assert_int_equal(entry->block, view->block);
		if (entry->dirty)
			visit.own_data &= holds_version(view->data + i * WB_BLOCK, view->block, visits->sweep->ring->slots[entry->slot].id,
							entry->dirty & view->readable[i]);
	}
	visit.backing_as_found = view->backing && holds_version(view->backing, view->block, ON_BACKING,
								view->inside & view->backing_readable);
	assert_true(visits->count < VISITS_MAX);
	visits->list[visits->count++] = visit;
	visits->sweep->pause = visits->count == visits->pause_after;
	return visits->count == visits->stop_after ? -WB_EINVAL : 0;
}

struct walk {
	struct build b;
	struct backing backing;
	struct wb_plan plan;
	struct wb_sweep sweep;
	struct visits visits;
};

/* Takes over a loaded log: all entries of it in one pass. */
static void walk_init(struct walk *walk, bool every_version)
{
	const struct wb_scope scope = { .low = 1, .high = UINT64_MAX, .part = true, .every_version = every_version };

	backing_init(&walk->backing, BLOCKS * 8 - 5);
	assert_int_equal(wb_plan_open(&walk->plan, &walk->b.ring, &scope, ROOM, NULL), 0);
	assert_int_equal(wb_plan_next(&walk->plan, NULL, NULL), 1);
	walk->visits = (struct visits){ .sweep = &walk->sweep };
	walk->sweep = (struct wb_sweep){ .ring = &walk->b.ring, .backing = walk->backing.dev,
					 .backing_sectors = walk->backing.sectors, .phase = "walking",
					 .context = &walk->visits, .visit = note };
}

static int run(struct walk *walk)
{
	return wb_sweep_run(&walk->sweep, walk->plan.entries, walk->plan.count, NULL, NULL);
}

static void walk_release(struct walk *walk)
{
	wb_plan_close(&walk->plan);
	backing_release(&walk->backing);
	build_release(&walk->b);
	free(walk);
}

static struct walk *walk_over_log(uint32_t slots, uint64_t span, bool every_version)
{
	struct walk *walk = calloc(1, sizeof(*walk));

	build_init(&walk->b, "v1", 4, slots);
	build_log(&walk->b, 1, slots, span);
	build_load(&walk->b, 0);
	walk_init(walk, every_version);
	return walk;
}

static void blocks_come_once_and_ascend(void **state)
{
	struct walk *walk = walk_over_log(100, 60, false);

	(void)state;
	assert_int_equal(run(walk), 0);
	assert_int_equal(walk->visits.count, 60);
	for (size_t i = 0; i < 60; i++) {
		assert_int_equal(walk->visits.list[i].block, i);
		assert_int_equal(walk->visits.list[i].count, 1);
		assert_true(walk->visits.list[i].first && walk->visits.list[i].last);
		assert_true(walk->visits.list[i].own_data);
		assert_true(walk->visits.list[i].backing_as_found);
		assert_int_equal(walk->visits.list[i].readable, 0xff);
		assert_int_equal(walk->visits.list[i].backing_readable, 0xff);
	}
	walk_release(walk);
}

static void versions_of_a_block_come_together(void **state)
{
	struct walk *walk = walk_over_log(100, 7, true);

	(void)state;
	assert_int_equal(run(walk), 0);
	assert_int_equal(walk->visits.count, 7);
	for (size_t i = 0; i < 7; i++) {
		assert_int_equal(walk->visits.list[i].count, i == 1 || i == 2 ? 15 : 14);
		assert_true(walk->visits.list[i].own_data);
		assert_true(walk->visits.list[i].backing_as_found);
	}
	walk_release(walk);
}

static void very_many_versions_come_in_parts(void **state)
{
	struct walk *walk = walk_over_log(1300, 1, true);
	size_t versions = 0;

	(void)state;
	assert_int_equal(run(walk), 0);
	assert_true(walk->visits.count > 1);
	for (size_t i = 0; i < walk->visits.count; i++) {
		versions += walk->visits.list[i].count;
		assert_int_equal(walk->visits.list[i].first, i == 0);
		assert_int_equal(walk->visits.list[i].last, i == walk->visits.count - 1);
		assert_true(walk->visits.list[i].own_data);
		assert_true(walk->visits.list[i].backing_as_found);
	}
	assert_int_equal(versions, 1300);
	walk_release(walk);
}

static void batches_do_not_cut_blocks_with_few_versions(void **state)
{
	struct walk *walk = walk_over_log(1200, 60, true); /* 20 versions each, 512 to a batch */

	(void)state;
	assert_int_equal(run(walk), 0);
	assert_int_equal(walk->visits.count, 60);
	for (size_t i = 0; i < 60; i++) {
		assert_int_equal(walk->visits.list[i].count, 20);
		assert_true(walk->visits.list[i].first && walk->visits.list[i].last);
		assert_true(walk->visits.list[i].own_data);
	}
	walk_release(walk);
}

static void last_block_of_the_backing_device_is_partly_inside(void **state)
{
	struct walk *walk = walk_over_log(BLOCKS, 64, false);

	(void)state;
	assert_int_equal(run(walk), 0);
	assert_int_equal(walk->visits.count, 64);
	assert_int_equal(walk->visits.list[62].inside, 0xff);
	assert_int_equal(walk->visits.list[63].inside, 0x07);
	assert_true(walk->visits.list[63].backing_as_found);
	walk_release(walk);
}

static void unreadable_sectors_are_masked_on_both_sides(void **state)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	const struct wb_ring_options options = { .backing_sectors = 0 };
	struct wb_range bad;
	const struct wb_range bad_backing[] = { { 3 * WB_BLOCK + 7 * WB_SECTOR, 1 } };
	const struct wb_fault fault = { .bad = bad_backing, .bad_count = 1, .cut_after = UINT64_MAX };
	struct wb_dev *inner;

	(void)state;
	build_init(&walk->b, "v1", 4, 8);
	build_log(&walk->b, 1, 8, 100);
	bad = (struct wb_range){ wb_slot_offset(&walk->b.geometry, 4) + WB_BLOCK + WB_SECTOR, 2 * WB_SECTOR };
	build_load_on(&walk->b, build_bad(&walk->b, &bad, 1), &options);
	walk_init(walk, false);
	assert_int_equal(wb_dev_memory(&inner, walk->backing.bytes, walk->backing.sectors * WB_SECTOR, NULL), 0);
	wb_dev_close(walk->backing.dev);
	assert_int_equal(wb_dev_fault(&walk->backing.dev, inner, &fault, NULL), 0);
	walk->sweep.backing = walk->backing.dev;
	assert_int_equal(run(walk), 0);
	assert_int_equal(walk->visits.count, 8);
	for (size_t i = 0; i < 8; i++) { /* block i + 1 */
		assert_int_equal(walk->visits.list[i].readable, i == 4 ? 0xf9 : 0xff);
		assert_int_equal(walk->visits.list[i].backing_readable, i == 2 ? 0x7f : 0xff);
		assert_true(walk->visits.list[i].own_data);
		assert_true(walk->visits.list[i].backing_as_found);
	}
	walk_release(walk);
}

static void backing_is_read_only_where_wanted(void **state)
{
	struct walk *walk = walk_over_log(8, 100, false);
	struct spy *spy = malloc(sizeof(*spy));

	(void)state;
	spy_init(spy, walk->backing.dev);
	walk->sweep.backing = NULL;
	assert_int_equal(run(walk), 0);
	assert_int_equal(walk->visits.count, 8);
	assert_false(walk->visits.list[0].backing_as_found);
	walk->sweep.backing = &spy->dev;
	assert_int_equal(run(walk), 0);
	assert_int_equal(spy->writes, 0);
	assert_true(spy->reads > 0);
	free(spy);
	walk_release(walk);
}

static int clean_data(void *context, const struct wb_view *view, struct wb_error *err)
{
	bool *seen = context;

	(void)err;
	*seen |= holds_version(view->data, view->block, 77, 0xff);
	return 0;
}

static void clean_copies_are_read_where_wanted(void **state)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	bool seen = false;

	(void)state;
	build_init(&walk->b, "v1", 4, 8);
	build_segment(&walk->b, 1, PUTS({ 5, 0x00, 77 }));
	build_load(&walk->b, 0);
	walk_init(walk, false);
	walk->sweep.clean_too = true;
	walk->sweep.context = &seen;
	walk->sweep.visit = clean_data;
	assert_int_equal(run(walk), 0);
	assert_true(seen);
	walk_release(walk);
}

/* ---- checks ---- */

static void stored_checks_are_compared(void **state)
{
	struct walk *walk = walk_over_log(8, 100, false);

	(void)state;
	for (size_t i = 0; i < walk->plan.count; i++)
		walk->plan.entries[i].check = 0;
	walk->sweep.check = WB_CHECK_COMPARE;
	assert_int_equal(run(walk), -WB_ECHANGED);
	assert_int_equal(walk->visits.count, 0);
	walk->sweep.check = WB_CHECK_NONE;
	assert_int_equal(run(walk), 0);
	walk->sweep.check = WB_CHECK_STORE;
	assert_int_equal(run(walk), 0);
	walk->sweep.check = WB_CHECK_COMPARE;
	assert_int_equal(run(walk), 0);
	build_at(&walk->b, 3)[WB_BLOCK] ^= 1;
	struct wb_error err = { 0 };

	assert_int_equal(wb_sweep_run(&walk->sweep, walk->plan.entries, walk->plan.count, NULL, &err), -WB_ECHANGED);
	assert_int_equal(err.offset, wb_slot_offset(&walk->b.geometry, 3) + WB_BLOCK);
	walk_release(walk);
}

static void sums_of_the_load_are_those_of_the_sweep(void **state)
{
	struct walk *walk = walk_over_log(8, 100, false);

	(void)state;
	assert_non_null(walk->b.ring.sums);
	walk->sweep.check = WB_CHECK_COMPARE;
	assert_int_equal(run(walk), 0);
	walk_release(walk);
}

/* ---- ends ---- */

static void visitor_that_fails_ends_the_walk(void **state)
{
	struct walk *walk = walk_over_log(60, 60, false);

	(void)state;
	walk->visits.stop_after = 17;
	assert_int_equal(run(walk), -WB_EINVAL);
	assert_int_equal(walk->visits.count, 17);
	walk_release(walk);
}

static void visitor_that_pauses_ends_it_behind_its_batch(void **state)
{
	struct walk *walk = walk_over_log(1200, 60, true);
	size_t done = 0, visits = 0;

	(void)state;
	walk->sweep.pause = false;
	for (unsigned runs = 0; done < walk->plan.count; runs++) {
		size_t before = done;

		walk->visits.count = 0;
		walk->visits.pause_after = 25; /* the last one of a batch: 25 blocks of 20 */
		assert_int_equal(wb_sweep_some(&walk->sweep, walk->plan.entries, walk->plan.count, &done, NULL, NULL), 0);
		assert_true(done > before);
		visits += walk->visits.count;
		if (!runs)
			assert_int_equal(done, 500);
	}
	assert_int_equal(visits, 60);
	walk_release(walk);
}

static int stop_now(void *context)
{
	(void)context;
	return 1;
}

static void walk_can_be_stopped(void **state)
{
	struct walk *walk = walk_over_log(8, 100, false);
	const struct wb_progress progress = { .stop = stop_now };

	(void)state;
	assert_int_equal(wb_sweep_run(&walk->sweep, walk->plan.entries, walk->plan.count, &progress, NULL), -WB_ESTOPPED);
	assert_int_equal(walk->visits.count, 0);
	walk_release(walk);
}

static void walk_over_nothing_is_done(void **state)
{
	struct walk *walk = walk_over_log(8, 100, false);

	(void)state;
	assert_int_equal(wb_sweep_run(&walk->sweep, walk->plan.entries, 0, NULL, NULL), 0);
	assert_int_equal(walk->visits.count, 0);
	walk_release(walk);
}

static void uniform_means_one_repeated_byte(void **state)
{
	uint8_t sector[WB_SECTOR];

	(void)state;
	for (unsigned byte = 0; byte < 256; byte += 51) {
		memset(sector, (int)byte, sizeof(sector));
		assert_true(wb_uniform(sector, sizeof(sector)));
		sector[511] ^= 1;
		assert_false(wb_uniform(sector, sizeof(sector)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_come_once_and_ascend),
		cmocka_unit_test(versions_of_a_block_come_together),
		cmocka_unit_test(very_many_versions_come_in_parts),
		cmocka_unit_test(batches_do_not_cut_blocks_with_few_versions),
		cmocka_unit_test(last_block_of_the_backing_device_is_partly_inside),
		cmocka_unit_test(unreadable_sectors_are_masked_on_both_sides),
		cmocka_unit_test(backing_is_read_only_where_wanted),
		cmocka_unit_test(clean_copies_are_read_where_wanted),
		cmocka_unit_test(stored_checks_are_compared),
		cmocka_unit_test(sums_of_the_load_are_those_of_the_sweep),
		cmocka_unit_test(visitor_that_fails_ends_the_walk),
		cmocka_unit_test(visitor_that_pauses_ends_it_behind_its_batch),
		cmocka_unit_test(walk_can_be_stopped),
		cmocka_unit_test(walk_over_nothing_is_done),
		cmocka_unit_test(uniform_means_one_repeated_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
