/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The forecast: what each driver takes, in which order, how it ends, and what BACKING then holds. */
#include "cache_builder.h"

#define BLOCKS 64u

struct forecast_case {
	struct build b;
	struct backing backing;
	struct wb_cache cache;
	struct wb_forecast forecast;
	struct wb_error err;
};

static void begin(struct forecast_case *c, const char *format, unsigned order, uint32_t slots)
{
	memset(c, 0, sizeof(*c));
	build_init(&c->b, format, order, slots);
	backing_init(&c->backing, BLOCKS * 8);
}

static void end(struct forecast_case *c)
{
	wb_forecast_release(&c->forecast);
	build_release(&c->b);
	backing_release(&c->backing);
}

static void begin_v2(struct forecast_case *c, uint32_t slots)
{
	begin(c, "v2", 10, slots);
}

/* On dev, which becomes the build's; NULL: straight from memory. */
static void foretell_on(struct forecast_case *c, struct wb_dev *dev, struct wb_dev *backing, size_t memory)
{
	const struct wb_overrides overrides = { .format = c->b.geometry.format, .order = c->b.geometry.order,
						.any_super = true };

	if (!dev)
		assert_int_equal(wb_dev_memory(&dev, c->b.bytes, c->b.geometry.bytes, NULL), 0);
	wb_dev_close(c->b.dev);
	c->b.dev = dev;
	wb_forecast_release(&c->forecast);
	assert_int_equal(wb_cache_open(&c->cache, dev, &overrides, NULL), 0);
	if (wb_forecast(&c->forecast, &c->cache, backing, memory, NULL, &c->err))
		fail_msg("forecast: %s", c->err.text);
}

static void foretell(struct forecast_case *c)
{
	foretell_on(c, NULL, c->backing.dev, 1u << 20);
}

static void replay(struct forecast_case *c)
{
	assert_int_equal(wb_forecast_replay(&c->forecast, c->backing.dev, NULL, NULL), 0);
}

#define assert_outcome(c, wanted, why) do { \
	assert_string_equal(wb_outcome_name((c)->forecast.outcome), wanted); \
	assert_int_equal((c)->forecast.cause, why); \
} while (0)

/* "3 5-7 1": the ids taken, in order */
static void assert_ids(const struct forecast_case *c, const char *wanted)
{
	uint64_t cursor = 0, first, last;
	char text[256] = "";
	size_t used = 0;

	while (wb_forecast_range(&c->forecast, &cursor, &first, &last))
		used += (size_t)snprintf(text + used, sizeof(text) - used, first == last ? "%s%llu" : "%s%llu-%llu",
					 used ? " " : "", (unsigned long long)first, (unsigned long long)last);
	assert_string_equal(text, wanted);
}

static void set_id(struct forecast_case *c, uint32_t slot, uint64_t id)
{
	wb_put_le(build_id_at(&c->b, slot), 8, id);
}

static void flip_data(struct forecast_case *c, uint32_t slot)
{
	build_at(&c->b, slot)[WB_BLOCK + 100] ^= 1;
}

/* ---- the walk of v1 and v2 ---- */

static void sound_log_is_taken_whole_from_the_oldest_on(void **state)
{
	static const struct { const char *format; unsigned order; const char *ids; } cases[] = {
		{ "v0", 4, "7-12" }, { "v1", 7, "7-12" }, { "v2", 10, "7-12" },
	};

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(cases); i++) {
		struct forecast_case c;

		begin(&c, cases[i].format, cases[i].order, 6);
		build_log(&c.b, 1, 12, 9);
		backing_write(&c.backing, 7, 0xff, 7); /* v0 has written it back before it wrote 12 */
		foretell(&c);
		assert_outcome(&c, "ok", WB_CAUSE_NONE);
		assert_ids(&c, cases[i].ids);
		assert_int_equal(c.forecast.applied, 6);
		assert_int_equal(c.forecast.first_id, 7);
		assert_int_equal(c.forecast.last_id, 12);
		assert_int_equal(c.forecast.abandoned_sectors, 0);
		assert_int_equal(c.forecast.regressed_sectors, 0);
		replay(&c);
		for (uint64_t id = 7; id <= 12; id++)
			assert_true(backing_holds(&c.backing, id % 9 * 8, id));
		assert_true(backing_holds(&c.backing, 6 * 8, ON_BACKING));
		end(&c);
	}
}

static void id_zero_is_passed_over_and_ends_v0(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 6);
	build_log(&c.b, 1, 5, 9);
	set_id(&c, 2, 0);
	foretell(&c);
	assert_ids(&c, "1-2 4-5");
	end(&c);
	begin(&c, "v0", 4, 6);
	build_log(&c.b, 1, 5, 9);
	set_id(&c, 2, 0);
	foretell(&c);
	assert_outcome(&c, "ok", WB_CAUSE_FALLS);
	assert_ids(&c, "1-2");
	assert_int_equal(c.forecast.dropped, 2);
	end(&c);
}

static void broken_checksum_drops_it_and_all_behind_it(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 6);
	build_log(&c.b, 1, 12, 20);
	flip_data(&c, 3);
	foretell(&c);
	assert_outcome(&c, "ok", WB_CAUSE_SEAL);
	assert_int_equal(c.forecast.slot, 3);
	assert_int_equal(c.forecast.slot_id, 10);
	assert_ids(&c, "7-9");
	assert_int_equal(c.forecast.dropped, 2);
	assert_int_equal(c.forecast.abandoned_sectors, 2 * 8);
	end(&c);
}

static void broken_oldest_segment_drops_everything(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 6);
	build_log(&c.b, 1, 12, 20);
	flip_data(&c, 0);
	foretell(&c);
	assert_outcome(&c, "nothing", WB_CAUSE_SEAL);
	assert_ids(&c, "");
	assert_int_equal(c.forecast.first_id, 0);
	assert_int_equal(c.forecast.abandoned_sectors, 5 * 8);
	assert_int_equal(c.forecast.written_sectors, 0);
	end(&c);
}

static void largest_id_sets_the_start_even_if_it_is_forged(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 6);
	build_log(&c.b, 1, 12, 20);
	set_id(&c, 2, 6 * 1000 + 4);
	foretell(&c);
	assert_ids(&c, "11-12 7-8 6004 10");
	end(&c);
}

static void checksum_of_the_other_dialect_counts_as_broken(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 6);
	c.b.inverted = false;
	build_log(&c.b, 1, 3, 9);
	foretell(&c);
	assert_outcome(&c, "nothing", WB_CAUSE_SEAL);
	assert_int_equal(c.forecast.dropped, 3);
	assert_int_equal(c.forecast.abandoned_sectors, 3 * 8);
	end(&c);
}

static void overlong_segment_kills_v2_and_stops_v1(void **state)
{
	static const struct { const char *format, *outcome; } cases[] = { { "v1", "ok" }, { "v2", "crash" }, { "v0", "ok" } };

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(cases); i++) {
		struct forecast_case c;

		begin(&c, cases[i].format, 10, 4);
		build_log(&c.b, 1, 4, 9);
		*build_length_at(&c.b, 2) = 128;
		foretell(&c);
		assert_outcome(&c, cases[i].outcome, WB_CAUSE_LENGTH);
		assert_ids(&c, "1-2");
		end(&c);
	}
}

static void misaligned_address_kills_v2_behind_what_came_before_it(void **state)
{
	struct forecast_case c;
	struct wb_metablock metablock = { .sector = 8 * 3 + 1, .dirty = 0xff };

	(void)state;
	begin_v2(&c, 4);
	build_segment(&c.b, 1, PUTS({ 1, 0x0f, 0 }));
	build_segment(&c.b, 2, PUTS({ 1, 0xf0, 0 }, { 2, 0xff, 0 }));
	wb_metablock_encode(c.b.geometry.format, build_at(&c.b, 1), 1, &metablock);
	build_seal(&c.b, 1);
	foretell(&c);
	assert_outcome(&c, "crash", WB_CAUSE_MISALIGNED);
	assert_ids(&c, "1");
	replay(&c);
	assert_true(backing_holds(&c.backing, 8, 1)); /* the older half, when the newer came upon it */
	assert_true(backing_holds(&c.backing, 12, ON_BACKING));
	end(&c);
}

static void clean_block_that_is_not_aligned_is_a_copy_of_nothing(void **state)
{
	struct forecast_case c;
	struct wb_metablock metablock = { .sector = 8 + 3 };

	(void)state;
	begin_v2(&c, 5);
	build_segment(&c.b, 1, PUTS({ 1, 0xff, 0 }));
	build_segment(&c.b, 2, PUTS({ 1, 0x0f, 0 }));
	build_segment(&c.b, 3, PUTS({ 2, 0x00, 0 }));
	wb_metablock_encode(c.b.geometry.format, build_at(&c.b, 2), 0, &metablock);
	build_seal(&c.b, 2);
	foretell(&c);
	assert_outcome(&c, "crash", WB_CAUSE_MISALIGNED);
	assert_ids(&c, "1-2");
	assert_int_equal(c.forecast.written_sectors, 8);
	assert_int_equal(c.forecast.regressed_sectors, 0);
	assert_int_equal(c.forecast.abandoned_sectors, 0);
	end(&c);
}

static void slot_that_comes_next_and_is_still_dirty_is_a_crash(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 8);
	build_log(&c.b, 1, 5, 20);
	set_id(&c, 3, 8 * 1000 + 2); /* the walk begins at slot 2 and ends with id 2, so id 3 comes next */
	foretell(&c);
	assert_outcome(&c, "crash", WB_CAUSE_DIRTY);
	assert_int_equal(c.forecast.slot, 2);
	assert_ids(&c, "3 8002 5 1-2");
	replay(&c);
	for (uint64_t id = 1; id <= 5; id++)
		assert_true(backing_holds(&c.backing, id * 8, ON_BACKING));
	end(&c);
	/* not when a later segment takes its place */
	begin_v2(&c, 8);
	build_log(&c.b, 1, 5, 20);
	build_segment(&c.b, 1, PUTS({ 3, 0xff, 0 }));
	set_id(&c, 3, 8 * 1000 + 2);
	foretell(&c);
	assert_outcome(&c, "ok", WB_CAUSE_NONE);
	end(&c);
}

/* ---- the record ---- */

static void newer_part_over_older_one_goes_back_in_time_only_with_a_record(void **state)
{
	(void)state;
	for (uint64_t record = 0; record <= 2; record += 2) {
		struct forecast_case c;

		begin_v2(&c, 4);
		build_segment(&c.b, 1, PUTS({ 5, 0xff, 0 }));
		build_segment(&c.b, 2, PUTS({ 5, 0x03, 0 }));
		build_segment(&c.b, 3, PUTS({ 6, 0xff, 0 }));
		build_record(&c.b, record);
		backing_write(&c.backing, 5, 0xff, 1);
		backing_write(&c.backing, 5, 0x03, 2);
		foretell(&c);
		assert_outcome(&c, "ok", WB_CAUSE_NONE);
		assert_int_equal(c.forecast.regressed_sectors, record ? 2 : 0);
		assert_int_equal(c.forecast.abandoned_sectors, 0);
		foretell_on(&c, NULL, NULL, 1u << 20);
		assert_int_equal(c.forecast.regressed_sectors, record ? 2 : 0);
		replay(&c);
		assert_true(backing_holds(&c.backing, 40, record ? 1 : 2));
		assert_true(backing_holds(&c.backing, 42, 1));
		assert_true(backing_holds(&c.backing, 48, 3));
		end(&c);
	}
}

static void what_the_record_hides_is_lost_unless_backing_has_it(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 4);
	build_log(&c.b, 1, 3, 20);
	build_record(&c.b, 2);
	backing_write(&c.backing, 1, 0xff, 1);
	foretell(&c);
	assert_int_equal(c.forecast.abandoned_sectors, 8);
	foretell_on(&c, NULL, NULL, 1u << 20);
	assert_int_equal(c.forecast.abandoned_sectors, 0);
	build_record(&c.b, 1000); /* nobody can believe that */
	foretell_on(&c, NULL, NULL, 1u << 20);
	assert_outcome(&c, "ok", WB_CAUSE_NONE);
	assert_int_equal(c.forecast.abandoned_sectors, 3 * 8);
	assert_int_equal(c.forecast.written_sectors, 0);
	end(&c);
}

static void huge_record_hangs_v2(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 4);
	build_log(&c.b, 1, 3, 20);
	build_record(&c.b, 3 + (UINT64_C(1) << 32));
	foretell(&c);
	assert_outcome(&c, "ok", WB_CAUSE_NONE);
	build_record(&c.b, 4 + (UINT64_C(1) << 32));
	foretell(&c);
	assert_outcome(&c, "hang", WB_CAUSE_RECORD);
	assert_ids(&c, "1-3");
	assert_int_equal(c.forecast.abandoned_sectors, 0);
	end(&c);
}

static void any_record_in_the_last_lap_kills_v1(void **state)
{
	struct forecast_case c;

	(void)state;
	begin(&c, "v1", 7, 4);
	build_log(&c.b, 1, 7, 20);
	build_record(&c.b, 3);
	foretell(&c);
	assert_outcome(&c, "ok", WB_CAUSE_NONE);
	build_record(&c.b, 4);
	foretell(&c);
	assert_outcome(&c, "crash", WB_CAUSE_DIRTY);
	end(&c);
}

static void last_id_beyond_63_bits_hangs(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 4);
	build_log(&c.b, 1, 3, 20);
	set_id(&c, 2, (UINT64_C(1) << 63) + 3);
	foretell(&c);
	assert_outcome(&c, "hang", WB_CAUSE_ID);
	end(&c);
}

/* ---- v0 ---- */

static void v0_takes_what_lies_above_the_record(void **state)
{
	struct forecast_case c;

	(void)state;
	begin(&c, "v0", 4, 6);
	build_log(&c.b, 1, 5, 20);
	build_record(&c.b, 3);
	foretell(&c);
	assert_outcome(&c, "ok", WB_CAUSE_FALLS); /* the slot that was never written ends it */
	assert_int_equal(c.forecast.dropped, 0);
	assert_ids(&c, "4-5");
	assert_int_equal(c.forecast.abandoned_sectors, 0);
	build_record(&c.b, 1000);
	foretell(&c);
	assert_outcome(&c, "ok", WB_CAUSE_FALLS);
	assert_ids(&c, "");
	assert_int_equal(c.forecast.abandoned_sectors, 5 * 8);
	end(&c);
}

static void v0_reads_the_data_of_the_slot_the_id_belongs_to(void **state)
{
	struct forecast_case c;

	(void)state;
	begin(&c, "v0", 4, 6);
	build_log(&c.b, 1, 2, 20);
	build_segment_at(&c.b, 2, 5, PUTS({ 9, 0xff, 0 })); /* slot 4 is where it belongs */
	memset(build_at(&c.b, 4) + WB_BLOCK, 0x77, WB_BLOCK);
	foretell(&c);
	assert_ids(&c, "1-2 5");
	replay(&c);
	assert_true(backing_holds(&c.backing, 8, 1));
	assert_int_equal(c.backing.bytes[9 * WB_BLOCK], 0x77);
	end(&c);
}

static void v0_element_that_a_later_header_leaves_alone_stays(void **state)
{
	struct forecast_case c;

	(void)state;
	begin(&c, "v0", 6, 3);
	build_segment(&c.b, 1, PUTS({ 1, 0xff, 0 }, { 2, 0xff, 0 }, { 3, 0xff, 0 }));
	build_segment_at(&c.b, 1, 4, PUTS({ 4, 0xff, 0 }, { 5, 0x00, 0 })); /* into slot 0 too, with two elements */
	foretell(&c);
	assert_ids(&c, "1 4");
	replay(&c);
	assert_true(backing_holds(&c.backing, 8, ON_BACKING));
	assert_true(backing_holds(&c.backing, 16, 1));
	assert_true(backing_holds(&c.backing, 24, ON_BACKING));
	assert_true(!memcmp(c.backing.bytes + 4 * WB_BLOCK, build_at(&c.b, 0) + WB_BLOCK, WB_BLOCK));
	end(&c);
}

/* A header in slot 1 whose id belongs to slot 0 has v0 write back that slot's data, as far as its own length goes. */
static void v0_is_blocked_by_the_unreadable_data_that_it_would_write(void **state)
{
	static const struct { bool longer; const char *outcome; enum wb_forecast_cause cause; } cases[] = {
		{ false, "ok", WB_CAUSE_NONE }, { true, "hang", WB_CAUSE_UNREADABLE },
	};

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_range bad = { WB_FIRST_SLOT + 2 * WB_BLOCK, 512 };
		struct forecast_case c;

		begin(&c, "v0", 6, 3);
		build_segment(&c.b, 1, PUTS({ 1, 0xff, 0 }, { 2, 0xff, 0 }, { 3, 0xff, 0 }));
		build_segment_at(&c.b, 1, 4, PUTS({ 4, 0xff, 0 }, { 5, 0xff, 0 }));
		if (!cases[i].longer)
			build_segment_at(&c.b, 1, 4, PUTS({ 4, 0xff, 0 }));
		build_segment(&c.b, 6, PUTS({ 6, 0xff, 0 })); /* the next one goes over slot 0 */
		foretell_on(&c, build_bad(&c.b, &bad, 1), c.backing.dev, 1u << 20);
		assert_outcome(&c, cases[i].outcome, cases[i].cause);
		assert_ids(&c, "1 4 6");
		end(&c);
	}
}

/* 5 would go to slot 1, which is written back first. That fails for ever where its data lies beyond BACKING; where nothing
 * was taken into that slot, nobody waits. */
static void v0_waits_for_the_slot_of_the_next_id(void **state)
{
	static const struct { uint64_t id, block; const char *outcome; } cases[] = {
		{ 2, BLOCKS, "hang" }, { 2, 2, "ok" }, { 3, BLOCKS, "ok" },
	};

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(cases); i++) {
		struct forecast_case c;

		begin(&c, "v0", 4, 3);
		build_log(&c.b, 1, 1, 20);
		build_segment_at(&c.b, 1, cases[i].id, PUTS({ cases[i].block, 0xff, 0 }));
		build_segment_at(&c.b, 2, 4, PUTS({ 4, 0xff, 0 })); /* out of its place: headers are stacked */
		foretell(&c);
		assert_outcome(&c, cases[i].outcome, cases[i].block == BLOCKS ? WB_CAUSE_BEYOND : WB_CAUSE_NONE);
		end(&c);
	}
}

/* A last id beyond 63 bits is taken for negative, so nothing counts as written back, and 32 bits of it count what is to be. */
static void v0_waits_for_ever_where_its_count_is_nothing(void **state)
{
	static const struct { uint64_t last; const char *outcome; enum wb_forecast_cause cause; } cases[] = {
		{ UINT64_C(1) << 63, "hang", WB_CAUSE_ID }, { (UINT64_C(1) << 63) + 1, "ok", WB_CAUSE_NONE },
	};

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(cases); i++) {
		struct forecast_case c;

		begin(&c, "v0", 4, 4);
		build_log(&c.b, cases[i].last - 3, cases[i].last, 20);
		foretell(&c);
		assert_outcome(&c, cases[i].outcome, cases[i].cause);
		end(&c);
	}
}

static void v0_puts_the_zeroes_of_discarded_segments_over_good_data(void **state)
{
	struct forecast_case c;

	(void)state;
	begin(&c, "v0", 4, 6);
	build_log(&c.b, 1, 3, 20);
	memset(build_at(&c.b, 0) + WB_BLOCK, 0, WB_BLOCK);
	backing_write(&c.backing, 1, 0xff, 1);
	foretell(&c);
	assert_int_equal(c.forecast.regressed_sectors, 8);
	assert_int_equal(c.forecast.abandoned_sectors, 0);
	end(&c);
}

/* ---- devices that fail ---- */

static void anything_unreadable_ends_the_assembly_of_v2(void **state)
{
	static const struct { uint64_t slot, byte; const char *outcome; } cases[] = {
		{ 1, 4000, "no-assembly" },          /* a header */
		{ 1, 2 * WB_BLOCK, "no-assembly" },  /* data, even beyond the length */
		{ 3, 100 * WB_BLOCK, "no-assembly" },/* an empty slot is read too */
		{ 4, 0, "ok" },                      /* here: the first MiB where nothing lies */
	};

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(cases); i++) {
		struct forecast_case c;
		struct wb_range bad = { WB_FIRST_SLOT + (cases[i].slot << 19) + cases[i].byte / 512 * 512, 512 };

		begin_v2(&c, 4);
		if (cases[i].slot == 4)
			bad.offset = WB_SECTOR * 8;
		build_log(&c.b, 1, 3, 20);
		foretell_on(&c, build_bad(&c.b, &bad, 1), c.backing.dev, 1u << 20);
		assert_outcome(&c, cases[i].outcome, cases[i].slot == 4 ? WB_CAUSE_NONE : WB_CAUSE_UNREADABLE);
		assert_int_equal(c.forecast.abandoned_sectors, 0);
		end(&c);
	}
}

static void unreadable_header_ends_v0_and_unreadable_data_blocks_it(void **state)
{
	struct wb_range bad = { WB_FIRST_SLOT + 2 * 8192, 512 };
	struct forecast_case c;

	(void)state;
	begin(&c, "v0", 4, 4);
	build_log(&c.b, 1, 4, 20);
	foretell_on(&c, build_bad(&c.b, &bad, 1), NULL, 1u << 20);
	assert_outcome(&c, "no-assembly", WB_CAUSE_UNREADABLE);
	bad.offset += WB_BLOCK;
	foretell_on(&c, build_bad(&c.b, &bad, 1), NULL, 1u << 20);
	assert_outcome(&c, "hang", WB_CAUSE_UNREADABLE);
	assert_ids(&c, "1-4");
	assert_int_equal(c.forecast.written_sectors, 0);
	end(&c);
}

static void write_beyond_backing_fails_the_walk_or_the_wait(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 4);
	build_segment(&c.b, 1, PUTS({ BLOCKS, 0xff, 0 }));
	build_segment(&c.b, 2, PUTS({ 1, 0xff, 0 }, { BLOCKS, 0x01, 0 }));
	foretell(&c);
	assert_outcome(&c, "no-assembly", WB_CAUSE_BEYOND);
	assert_int_equal(c.forecast.slot, 1);
	assert_ids(&c, "1");
	foretell_on(&c, NULL, NULL, 1u << 20); /* without BACKING nobody knows */
	assert_outcome(&c, "ok", WB_CAUSE_NONE);
	end(&c);
	begin_v2(&c, 4);
	build_log(&c.b, 2, 5, 20);
	build_segment(&c.b, 2, PUTS({ BLOCKS, 0xff, 0 }, { 9, 0xff, 0 }));
	foretell(&c);
	assert_outcome(&c, "hang", WB_CAUSE_BEYOND);
	replay(&c);
	assert_true(backing_holds(&c.backing, 72, 2)); /* the rest of that segment is written, again and again */
	assert_true(backing_holds(&c.backing, 24, ON_BACKING));
	end(&c);
}

/* The last block of BACKING has five sectors: what lies in them is written, what lies behind them is not, and nothing but a full block
 * is one write. */
static void last_block_of_backing_is_written_as_far_as_it_goes(void **state)
{
	static const struct { unsigned dirty, written; const char *outcome; } cases[] = {
		{ 0x1f, 0x1f, "ok" }, { 0x10, 0x10, "ok" }, { 0x20, 0, "hang" }, { 0x30, 0x10, "hang" }, { 0xff, 0, "hang" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct forecast_case c;

		memset(&c, 0, sizeof(c));
		build_init(&c.b, "v2", 10, 4);
		backing_init(&c.backing, BLOCKS * 8 - 3);
		build_log(&c.b, 2, 5, 20);
		build_segment(&c.b, 2, PUTS({ BLOCKS - 1, cases[i].dirty, 0 }));
		foretell(&c);
		assert_string_equal(wb_outcome_name(c.forecast.outcome), cases[i].outcome);
		replay(&c);
		for (unsigned sector = 0; sector < 5; sector++)
			assert_true(backing_holds(&c.backing, BLOCKS * 8 - 8 + sector, cases[i].written >> sector & 1 ? 2 : ON_BACKING));
		end(&c);
	}
}

/* A batch of v0 has all slots of this cache: what does not fail is written, again and again. */
static void write_beyond_backing_stalls_a_batch_of_v0(void **state)
{
	struct forecast_case c;

	(void)state;
	begin(&c, "v0", 4, 4);
	build_log(&c.b, 2, 5, 20);
	build_segment(&c.b, 4, PUTS({ BLOCKS, 0xff, 0 }));
	foretell(&c);
	assert_outcome(&c, "hang", WB_CAUSE_BEYOND);
	assert_int_equal(c.forecast.slot, 3);
	assert_ids(&c, "2-5");
	replay(&c);
	for (uint64_t id = 2; id <= 5; id++)
		assert_true(backing_holds(&c.backing, 8 * id, id == 4 ? ON_BACKING : id));
	end(&c);
}

/* 3 sends block 1 of 1 to BACKING, 4 what lies beyond: v1 marks itself dead, and continues without any I/O. */
static void write_beyond_backing_makes_v1_deaf(void **state)
{
	struct forecast_case c;

	(void)state;
	begin(&c, "v1", 7, 6);
	build_segment(&c.b, 1, PUTS({ 1, 0xff, 0 }, { 2, 0xff, 0 }));
	build_segment(&c.b, 2, PUTS({ BLOCKS, 0x0f, 0 }));
	build_segment(&c.b, 3, PUTS({ 1, 0x01, 0 }));
	build_segment(&c.b, 4, PUTS({ BLOCKS, 0x01, 0 }));
	build_segment(&c.b, 5, PUTS({ 2, 0x01, 0 }));
	foretell(&c);
	assert_outcome(&c, "ok", WB_CAUSE_BEYOND);
	assert_int_equal(c.forecast.slot, 3);
	assert_int_equal(c.forecast.slot_id, 4);
	assert_ids(&c, "1-5");
	assert_int_equal(c.forecast.written_sectors, 8);
	replay(&c);
	for (uint64_t i = 0; i < 8; i++) {
		assert_true(backing_holds(&c.backing, 8 + i, 1));
		assert_true(backing_holds(&c.backing, 16 + i, ON_BACKING));
	}
	end(&c);
}

/* ---- sector 0 ---- */

/* Sector 0 is all that is known: no driver takes anything, and there is nothing to carry out. */
static void log_that_was_ended_is_formatted(void **state)
{
	const struct wb_overrides nothing = { .order = 0 };
	uint64_t cursor = 0, first, last;
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 4);
	build_log(&c.b, 1, 3, 20);
	wb_marker_encode(c.b.bytes, &(struct wb_marker){ .reason = WB_END_FLUSHED });
	assert_int_equal(wb_dev_memory(&c.b.dev, c.b.bytes, c.b.geometry.bytes, NULL), 0);
	assert_int_equal(wb_cache_open(&c.cache, c.b.dev, &nothing, NULL), 0);
	assert_int_equal(wb_forecast(&c.forecast, &c.cache, c.backing.dev, 0, NULL, NULL), 0);
	assert_outcome(&c, "reformat", WB_CAUSE_NO_MAGIC);
	assert_false(wb_forecast_range(&c.forecast, &cursor, &first, &last));
	assert_int_equal(wb_forecast_other(&c.forecast, NULL, NULL), 0);
	replay(&c);
	assert_true(backing_holds(&c.backing, 8, ON_BACKING));
	end(&c);
}

static void without_the_magic_every_driver_formats(void **state)
{
	static const char *const formats[] = { "v0", "v1", "v2" };

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(formats); i++) {
		struct forecast_case c;

		begin(&c, formats[i], 10, 4);
		build_log(&c.b, 1, 3, 20);
		backing_write(&c.backing, 3, 0xff, 3);
		memset(c.b.bytes, 0, WB_SECTOR);
		foretell(&c);
		assert_outcome(&c, "reformat", WB_CAUSE_NO_MAGIC);
		assert_ids(&c, "");
		assert_int_equal(c.forecast.abandoned_sectors, 2 * 8);
		wb_marker_encode(c.b.bytes, &(struct wb_marker){ .reason = WB_END_FLUSHED });
		foretell(&c);
		assert_outcome(&c, "reformat", WB_CAUSE_NO_MAGIC);
		assert_int_equal(c.forecast.abandoned_sectors, 2 * 8); /* this BACKING is not the one that it was written to */
		end(&c);
	}
}

static void order_byte_that_is_not_the_order_is_no_assembly_but_for_v2(void **state)
{
	static const struct { const char *format, *outcome; } cases[] = {
		{ "v0", "no-assembly" }, { "v1", "no-assembly" }, { "v2", "ok" },
	};

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(cases); i++) {
		struct forecast_case c;

		begin(&c, cases[i].format, 10, 4);
		build_log(&c.b, 1, 3, 20);
		c.b.bytes[4] = 9;
		foretell(&c);
		assert_outcome(&c, cases[i].outcome, i < 2 ? WB_CAUSE_ORDER : WB_CAUSE_NONE);
		end(&c);
	}
}

/* ---- what is newer than what ---- */

static void older_lap_is_written_over_newer_data(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 4);
	build_log(&c.b, 5, 8, 20);
	build_segment_at(&c.b, 2, 3, PUTS({ 9, 0xff, 0 })); /* 7 was lost, 3 still lies there */
	backing_write(&c.backing, 9, 0xff, 4);
	foretell(&c);
	assert_ids(&c, "5-6 3 8");
	assert_int_equal(c.forecast.regressed_sectors, 8);
	foretell_on(&c, NULL, NULL, 1u << 20);
	assert_int_equal(c.forecast.regressed_sectors, 8);
	end(&c);
}

static void clean_copy_ends_older_dirty_blocks_without_a_write(void **state)
{
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 4);
	build_segment(&c.b, 1, PUTS({ 5, 0x0f, 0 }));
	build_segment(&c.b, 2, PUTS({ 5, 0x00, ON_BACKING }));
	foretell(&c);
	assert_int_equal(c.forecast.written_sectors, 0);
	assert_int_equal(c.forecast.abandoned_sectors, 0);
	end(&c);
}

/* ---- memory, and what changes underneath ---- */

static void little_memory_changes_nothing_but_the_speed(void **state)
{
	static const char *const formats[] = { "v0", "v1", "v2" };

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(formats); i++) {
		struct put puts[120];
		struct forecast_case c;
		uint64_t seed = i;

		begin(&c, formats[i], 10, 12);
		for (uint64_t id = 20; id < 32; id++) {
			for (unsigned k = 0; k < LENGTH_OF(puts); k++)
				puts[k] = (struct put){ draw_below(&seed, BLOCKS), draw_below(&seed, 256) | 1, 0 };
			build_segment(&c.b, id, puts, LENGTH_OF(puts));
		}
		build_record(&c.b, 19 + i);
		foretell_on(&c, NULL, c.backing.dev, 1u << 20);
		struct wb_forecast much = c.forecast;
		uint8_t *wanted = malloc(BLOCKS * WB_BLOCK), *before = malloc(BLOCKS * WB_BLOCK);

		memcpy(before, c.backing.bytes, BLOCKS * WB_BLOCK);
		replay(&c);
		memcpy(wanted, c.backing.bytes, BLOCKS * WB_BLOCK);
		memcpy(c.backing.bytes, before, BLOCKS * WB_BLOCK);
		foretell_on(&c, NULL, c.backing.dev, 0);
		assert_int_equal(c.forecast.written_sectors, much.written_sectors);
		assert_int_equal(c.forecast.abandoned_sectors, much.abandoned_sectors);
		assert_int_equal(c.forecast.regressed_sectors, much.regressed_sectors);
		replay(&c);
		assert_memory_equal(c.backing.bytes, wanted, BLOCKS * WB_BLOCK);
		free(wanted);
		free(before);
		end(&c);
	}
}

static void one_block_with_more_versions_than_memory_is_still_right(void **state)
{
	struct put puts[120];
	struct forecast_case c;

	(void)state;
	begin_v2(&c, 12);
	for (unsigned k = 0; k < LENGTH_OF(puts); k++)
		puts[k] = (struct put){ 7, 0xff, 0 };
	for (uint64_t id = 1; id < 13; id++)
		build_segment(&c.b, id, puts, LENGTH_OF(puts));
	foretell_on(&c, NULL, c.backing.dev, 0);
	assert_int_equal(c.forecast.written_sectors, 8);
	replay(&c);
	assert_true(backing_holds(&c.backing, 56, 12));
	end(&c);
}

static void metadata_that_changes_underneath_is_an_error(void **state)
{
	struct forecast_case c;
	struct wb_dev *inner;
	struct spy spy;

	(void)state;
	begin_v2(&c, 4);
	build_log(&c.b, 1, 3, 20);
	assert_int_equal(wb_dev_memory(&inner, c.b.bytes, c.b.geometry.bytes, NULL), 0);
	spy_init(&spy, inner);
	assert_int_equal(wb_cache_open(&c.cache, &spy.dev, &(struct wb_overrides){ .any_super = true }, NULL), 0);
	spy.change_read = spy.reads + 2 + 4 + 4 + 1; /* superblock and record, headers, segments */
	spy.change_at = WB_FIRST_SLOT + 600;
	assert_int_equal(wb_forecast(&c.forecast, &c.cache, NULL, 1u << 20, NULL, &c.err), -WB_ECHANGED);
	assert_int_equal(c.err.offset, WB_FIRST_SLOT);
	wb_dev_close(inner);
	end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sound_log_is_taken_whole_from_the_oldest_on),
		cmocka_unit_test(id_zero_is_passed_over_and_ends_v0),
		cmocka_unit_test(broken_checksum_drops_it_and_all_behind_it),
		cmocka_unit_test(broken_oldest_segment_drops_everything),
		cmocka_unit_test(largest_id_sets_the_start_even_if_it_is_forged),
		cmocka_unit_test(checksum_of_the_other_dialect_counts_as_broken),
		cmocka_unit_test(overlong_segment_kills_v2_and_stops_v1),
		cmocka_unit_test(misaligned_address_kills_v2_behind_what_came_before_it),
		cmocka_unit_test(clean_block_that_is_not_aligned_is_a_copy_of_nothing),
		cmocka_unit_test(slot_that_comes_next_and_is_still_dirty_is_a_crash),
		cmocka_unit_test(newer_part_over_older_one_goes_back_in_time_only_with_a_record),
		cmocka_unit_test(what_the_record_hides_is_lost_unless_backing_has_it),
		cmocka_unit_test(huge_record_hangs_v2),
		cmocka_unit_test(any_record_in_the_last_lap_kills_v1),
		cmocka_unit_test(last_id_beyond_63_bits_hangs),
		cmocka_unit_test(v0_takes_what_lies_above_the_record),
		cmocka_unit_test(v0_reads_the_data_of_the_slot_the_id_belongs_to),
		cmocka_unit_test(v0_element_that_a_later_header_leaves_alone_stays),
		cmocka_unit_test(v0_is_blocked_by_the_unreadable_data_that_it_would_write),
		cmocka_unit_test(v0_waits_for_the_slot_of_the_next_id),
		cmocka_unit_test(v0_waits_for_ever_where_its_count_is_nothing),
		cmocka_unit_test(v0_puts_the_zeroes_of_discarded_segments_over_good_data),
		cmocka_unit_test(anything_unreadable_ends_the_assembly_of_v2),
		cmocka_unit_test(unreadable_header_ends_v0_and_unreadable_data_blocks_it),
		cmocka_unit_test(write_beyond_backing_fails_the_walk_or_the_wait),
		cmocka_unit_test(last_block_of_backing_is_written_as_far_as_it_goes),
		cmocka_unit_test(write_beyond_backing_stalls_a_batch_of_v0),
		cmocka_unit_test(write_beyond_backing_makes_v1_deaf),
		cmocka_unit_test(log_that_was_ended_is_formatted),
		cmocka_unit_test(without_the_magic_every_driver_formats),
		cmocka_unit_test(order_byte_that_is_not_the_order_is_no_assembly_but_for_v2),
		cmocka_unit_test(older_lap_is_written_over_newer_data),
		cmocka_unit_test(clean_copy_ends_older_dirty_blocks_without_a_write),
		cmocka_unit_test(little_memory_changes_nothing_but_the_speed),
		cmocka_unit_test(one_block_with_more_versions_than_memory_is_still_right),
		cmocka_unit_test(metadata_that_changes_underneath_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
