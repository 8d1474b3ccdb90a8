/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/judge.c on hand-made tables: no device, no bytes, only what stands in the slots. */
#include "cache_builder.h"

#define TOP UINT64_MAX

struct table {
	struct wb_cache cache;
	struct wb_ring ring;
};

static void table_init(struct table *t, const char *format, uint32_t slots)
{
	memset(t, 0, sizeof(*t));
	t->cache.geometry = (struct wb_geometry){ .format = wb_format_find(format), .order = 7, .slots = slots,
						  .capacity = 15 };
	t->ring.cache = &t->cache;
	t->ring.lap_high = UINT64_MAX;
	t->ring.slots = calloc(slots, sizeof(*t->ring.slots));
	assert_non_null(t->ring.slots);
}

static void table_release(struct table *t)
{
	wb_ring_release(&t->ring);
}

static unsigned unsealed(const struct table *t)
{
	return wb_seal_covers_data(t->cache.geometry.format) ? WB_SLOT_LAP : 0;
}

static void stand(struct table *t, uint32_t slot, uint64_t id, unsigned flags)
{
	t->ring.slots[slot] = (struct wb_slot){ .id = id, .flags = (uint16_t)flags, .length = 1, .dirty_blocks = 1,
						.dirty_sectors = 8, .lap = id ? wb_lap_of(&t->cache.geometry, id) : 0 };
}

/* The header's lap, where it is not that of the id. */
static void set_lap(struct table *t, uint32_t slot, uint32_t lap)
{
	t->ring.slots[slot].lap = lap;
}

static uint32_t slot_of(const struct table *t, uint64_t id)
{
	return wb_slot_of(&t->cache.geometry, id);
}

static void valid(struct table *t, uint64_t id)
{
	stand(t, slot_of(t, id), id, WB_SLOT_SEALED | WB_SLOT_LAP);
}

static void torn(struct table *t, uint64_t id)
{
	stand(t, slot_of(t, id), id, unsealed(t));
}

static void blank(struct table *t, uint32_t slot)
{
	t->ring.slots[slot] = (struct wb_slot){ .id = 0 };
}

static void log_of(struct table *t, uint64_t first, uint64_t last)
{
	for (uint64_t id = first; id <= last && id; id++)
		valid(t, id);
}

static void judge(struct table *t)
{
	assert_int_equal(wb_ring_judge(&t->ring, NULL), 0);
}

/* One letter a slot, in the order of enum wb_class. */
static void expect_classes(const struct table *t, const char *expected)
{
	static const char letters[] = ".LothArsxbpuzf";
	char found[64] = "";

	assert_int_equal(strlen(expected), t->cache.geometry.slots);
	for (uint32_t i = 0; i < t->cache.geometry.slots; i++)
		found[i] = letters[t->ring.slots[i].class_];
	assert_string_equal(found, expected);
}

static void expect(struct table *t, uint64_t head, uint64_t first, uint64_t holes, const char *classes)
{
	judge(t);
	assert_int_equal(t->ring.head, head);
	assert_int_equal(t->ring.first, first);
	expect_classes(t, classes);
	assert_int_equal(t->ring.holes, holes);
}

/* ---- the newest id ---- */

static void log_without_segments_has_an_empty_window(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	expect(&t, 0, 1, 0, "........");
	assert_false(t.ring.destroyed);
	assert_int_equal(t.ring.classes[WB_EMPTY], 8);
	table_release(&t);
}

static void window_per_generation(void **state)
{
	static const struct {
		const char *format;
		uint64_t from, head, first;
		const char *classes;
	} cases[] = {
		{ "v0", 1, 3, 1, "LLL....." },
		{ "v1", 1, 3, 1, "LLL....." },
		{ "v2", 1, 3, 1, "LLL....." },
		{ "v0", 1, 7, 1, "LLLLLLL." },
		{ "v0", 1, 8, 2, "oLLLLLLL" },
		{ "v1", 1, 8, 1, "LLLLLLLL" },
		{ "v2", 1, 8, 1, "LLLLLLLL" },
		{ "v0", 2, 9, 3, "LoLLLLLL" },
		{ "v2", 2, 9, 2, "LLLLLLLL" },
		{ "v0", 13, 20, 14, "LLLLoLLL" },
		{ "v1", 13, 20, 13, "LLLLLLLL" },
		{ "v2", 13, 20, 13, "LLLLLLLL" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, cases[i].format, 8);
		log_of(&t, cases[i].from, cases[i].head);
		expect(&t, cases[i].head, cases[i].first, 0, cases[i].classes);
		table_release(&t);
	}
}

static void larger_id_alone_is_not_believed(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 16);
	valid(&t, 8 * 1000 + 3); /* in place in slot 2 */
	expect(&t, 16, 9, 1, "LLxLLLLL");
	assert_true(wb_ring_is_hole(&t.ring, 11));
	table_release(&t);
}

static void tie_goes_to_the_larger_id(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 12);
	log_of(&t, 805, 808);
	expect(&t, 808, 801, 4, "ssssLLLL");
	table_release(&t);
}

static void majority_wins_over_the_larger_id(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 13);
	log_of(&t, 806, 808);
	expect(&t, 13, 6, 3, "LLLLLxxx");
	table_release(&t);
}

static void unsealed_and_misplaced_segments_have_no_vote(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 11);
	for (uint64_t id = 804; id <= 808; id++)
		torn(&t, id);
	judge(&t);
	assert_int_equal(t.ring.head, 11);
	for (uint32_t slot = 3; slot < 8; slot++)
		stand(&t, slot, 800 + slot + 4, WB_SLOT_SEALED | WB_SLOT_LAP);
	judge(&t);
	assert_int_equal(t.ring.head, 11);
	table_release(&t);
}

static void v0_segment_whose_lap_is_not_that_of_its_id_has_no_vote(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v0", 8);
	log_of(&t, 9, 16);
	stand(&t, 7, 16, WB_SLOT_SEALED); /* laps agree with each other only */
	judge(&t);
	assert_int_equal(t.ring.head, 15);
	table_release(&t);
}

static void lost_single_write_makes_a_stale_lap(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 18);
	valid(&t, 9); /* 17 never landed */
	expect(&t, 18, 11, 1, "sLLLLLLL");
	assert_true(wb_ring_is_hole(&t.ring, 17));
	table_release(&t);
}

/* ---- ahead ---- */

static void ahead_moves_the_window(void **state)
{
	static const struct { const char *format, *classes; } cases[] = {
		{ "v0", "ooALLLLL" }, { "v1", "ooALLLLL" }, { "v2", "ooALLLLL" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, cases[i].format, 8);
		log_of(&t, 9, 16);
		valid(&t, 19); /* 17 and 18 are lost */
		expect(&t, 16, 12, 0, cases[i].classes);
		assert_int_equal(t.ring.newest_ahead, 19);
		table_release(&t);
	}
}

static void ahead_reaches_to_the_lap_before_its_own_head(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 16);
	valid(&t, 23);
	expect(&t, 16, 16, 0, "ooooooAL");
	table_release(&t);
	table_init(&t, "v2", 8);
	log_of(&t, 9, 16);
	valid(&t, 25); /* M + N + 1 */
	expect(&t, 16, 9, 1, "xLLLLLLL");
	assert_int_equal(t.ring.newest_ahead, 0);
	table_release(&t);
}

static void segments_after_a_gap_in_the_first_lap_make_holes(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 1, 3);
	valid(&t, 6);
	expect(&t, 6, 1, 2, "LLLrrL..");
	assert_false(wb_ring_is_hole(&t.ring, 3));
	assert_true(wb_ring_is_hole(&t.ring, 4));
	assert_true(wb_ring_is_hole(&t.ring, 5));
	assert_false(wb_ring_is_hole(&t.ring, 6));
	assert_false(wb_ring_is_hole(&t.ring, 7));
	table_release(&t);
}

/* ---- torn tail ---- */

static void torn_tail_is_no_hole_in_any_generation(void **state)
{
	static const struct { const char *format; uint64_t first; } cases[] = { { "v0", 10 }, { "v1", 9 }, { "v2", 9 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, cases[i].format, 8);
		log_of(&t, 9, 16);
		torn(&t, 17);
		expect(&t, 16, cases[i].first, 0, "tLLLLLLL");
		assert_int_equal(t.ring.torn_tail, 17);
		assert_false(wb_ring_is_hole(&t.ring, 9));
		table_release(&t);
	}
}

static void torn_tail_runs(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 16);
	torn(&t, 17);
	torn(&t, 18);
	torn(&t, 19);
	expect(&t, 16, 9, 0, "tttLLLLL");
	assert_int_equal(t.ring.torn_tail, 19);
	table_release(&t);
}

static void torn_tail_stops_before_the_head_comes_round(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 4);
	valid(&t, 8);
	torn(&t, 9);
	torn(&t, 10);
	torn(&t, 11);
	expect(&t, 8, 5, 0, "tttL");
	assert_int_equal(t.ring.torn_tail, 11);
	table_release(&t);
}

static void torn_tail_in_the_first_lap(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 1, 3);
	torn(&t, 4);
	expect(&t, 3, 1, 0, "LLLt....");
	table_release(&t);
}

static void torn_first_write_is_an_empty_log(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	torn(&t, 1);
	expect(&t, 0, 1, 0, "t.......");
	assert_false(t.ring.destroyed);
	table_release(&t);
	/* where there is one slot, too, unless it is damaged */
	table_init(&t, "v2", 1);
	torn(&t, 1);
	expect(&t, 0, 1, 0, "t");
	assert_int_equal(t.ring.damaged_sectors, 0);
	stand(&t, 0, 1, WB_SLOT_LAP | WB_SLOT_ONE_BIT);
	expect(&t, 0, 1, 0, "r");
	assert_int_equal(t.ring.damaged_sectors, 8);
	stand(&t, 0, 1, 0);
	t.ring.slots[0].length = 200;
	expect(&t, 0, 1, 0, "b");
	assert_int_equal(t.ring.damaged_sectors, 8 * 15);
	table_release(&t);
}

static void torn_headers_after_a_gap_are_rotten(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 16);
	torn(&t, 17);
	torn(&t, 19);
	expect(&t, 16, 9, 1, "tLrLLLLL");
	assert_int_equal(t.ring.torn_tail, 17);
	assert_true(wb_ring_is_hole(&t.ring, 11));
	table_release(&t);
}

static void torn_headers_after_a_gap_in_the_first_lap_are_foreign(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 1, 3);
	torn(&t, 6);
	expect(&t, 3, 1, 0, "LLL..f..");
	table_release(&t);
}

static void one_bit_at_the_next_id_is_rot_but_no_hole(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 16);
	stand(&t, 0, 17, WB_SLOT_LAP | WB_SLOT_ONE_BIT);
	expect(&t, 16, 9, 0, "rLLLLLLL");
	assert_false(wb_ring_is_hole(&t.ring, 9));
	table_release(&t);
}

static void one_bit_further_in_the_tail_is_a_torn_write(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 16);
	torn(&t, 17);
	stand(&t, 1, 18, WB_SLOT_LAP | WB_SLOT_ONE_BIT);
	expect(&t, 16, 9, 0, "ttLLLLLL");
	table_release(&t);
}

static void bad_length_at_the_next_id_proves_the_oldest_written_back(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 16);
	torn(&t, 17);
	t.ring.slots[0].length = 16;
	expect(&t, 16, 9, 0, "bLLLLLLL");
	table_release(&t);
}

/* ---- the head slot ---- */

static void head_slot(void **state)
{
	static const struct {
		const char *format;
		uint64_t id;
		unsigned flags;
		uint8_t length;
		char class_;
		uint64_t holes;
	} cases[] = {
		{ "v2", 9, WB_SLOT_LAP, 1, 'h', 0 },                      /* overwritten behind its old header */
		{ "v1", 9, WB_SLOT_LAP, 1, 'h', 0 },
		{ "v2", 0, 0, 0, 'h', 0 },
		{ "v2", 0, WB_SLOT_GARBAGE | WB_SLOT_LAP, 1, 'h', 0 },
		{ "v2", 9, WB_SLOT_LAP | WB_SLOT_ONE_BIT, 1, 'r', 1 },
		{ "v2", 9, WB_SLOT_LAP | WB_SLOT_NO_DATA, 1, 'p', 1 },
		{ "v2", 0, WB_SLOT_GARBAGE | WB_SLOT_LAP | WB_SLOT_NO_DATA, 1, 'p', 1 }, /* maybe whole under a damaged id */
		{ "v2", 0, WB_SLOT_GARBAGE | WB_SLOT_LAP | WB_SLOT_NO_DATA, 16, 'h', 0 },
		{ "v2", 9, WB_SLOT_LAP, 16, 'b', 1 },
		{ "v2", 0, WB_SLOT_NO_HEADER, 0, 'u', 1 },
		{ "v2", 0, WB_SLOT_GARBAGE | WB_SLOT_LAP | WB_SLOT_SEALED, 1, 'x', 1 },
		{ "v2", 1, WB_SLOT_LAP | WB_SLOT_SEALED, 1, 's', 0 },     /* looks restarted: the new line went over 9 */
		{ "v2", 77777, WB_SLOT_LAP, 1, 'r', 1 },
		{ "v0", 9, 0, 1, 'o', 0 },
		{ "v0", 0, 0, 0, 'o', 0 },
		{ "v0", 0, WB_SLOT_NO_HEADER, 0, 'u', 0 },                /* may be 17 */
		{ "v0", 77777, 0, 1, 'r', 0 },
		{ "v0", 1, WB_SLOT_LAP | WB_SLOT_SEALED, 1, 'o', 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		char classes[] = "?LLLLLLL";
		struct table t;

		classes[0] = cases[i].class_;
		table_init(&t, cases[i].format, 8);
		log_of(&t, 9, 16);
		stand(&t, 0, cases[i].id, cases[i].flags);
		t.ring.slots[0].length = cases[i].length;
		expect(&t, 16, strcmp(cases[i].format, "v0") ? 9 : 10, cases[i].holes, classes);
		assert_int_equal(wb_ring_is_hole(&t.ring, 9), cases[i].holes);
		table_release(&t);
	}
}

/* v0, the slot that 17 goes to: what was written back long ago, or 17 itself with a damaged header. */
static void next_slot_of_v0(void **state)
{
	static const struct {
		uint64_t id;
		unsigned flags;
		uint32_t lap;
		char class_;
	} cases[] = {
		{ 9, WB_SLOT_SEALED | WB_SLOT_LAP, 2, 'o' },
		{ 9, WB_SLOT_SEALED, 3, 'o' },              /* all laps agree, and the id is the one that was there */
		{ 1, WB_SLOT_SEALED | WB_SLOT_LAP, 1, 'o' },
		{ 13, WB_SLOT_SEALED | WB_SLOT_LAP, 2, 'r' }, /* newer than what was there, and of its lap */
		{ 0, WB_SLOT_GARBAGE | WB_SLOT_SEALED, 2, 'o' },
		{ 0, WB_SLOT_GARBAGE | WB_SLOT_SEALED, 3, 'x' },
		{ 1, WB_SLOT_SEALED, 3, 'x' },              /* 17 of which a bit is flipped: whole, and in no other place */
		{ 21, WB_SLOT_SEALED | WB_SLOT_LAP, 3, 'x' },
		{ 273, WB_SLOT_SEALED, 3, 'x' },
		{ 21, 0, 3, 'r' },
		{ 17, 0, 3, 't' },
		{ 17, WB_SLOT_SEALED, 2, 't' },
		{ 17, WB_SLOT_SEALED, 4, 'x' },             /* no write that was cut off leaves laps that agree, and are newer */
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		char classes[] = "?LLLLLLL";
		struct table t;

		classes[0] = cases[i].class_;
		table_init(&t, "v0", 8);
		log_of(&t, 10, 16);
		stand(&t, 0, cases[i].id, cases[i].flags);
		set_lap(&t, 0, cases[i].lap);
		expect(&t, 16, 10, 0, classes);
		table_release(&t);
	}
}

/* Below the record, too, what cannot be read or is newer than what the slot must hold is not overlooked. */
static void slots_below_the_record_of_v0(void **state)
{
	static const struct {
		uint64_t id;
		unsigned flags;
		uint32_t lap;
		char class_;
	} cases[] = {
		{ 13, WB_SLOT_SEALED | WB_SLOT_LAP, 2, 'o' },
		{ 13, 0, 2, 'o' },
		{ 5, WB_SLOT_SEALED | WB_SLOT_LAP, 1, 'o' },
		{ 0, WB_SLOT_NO_HEADER, 0, 'u' },
		{ 12, WB_SLOT_SEALED | WB_SLOT_LAP, 2, 'x' },
		{ 77, WB_SLOT_SEALED, 2, 'x' },
		{ 77, WB_SLOT_SEALED, 1, 'r' },
		{ 77, 0, 2, 'r' },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		char classes[] = "oooo?oLL";
		struct table t;

		classes[4] = cases[i].class_;
		table_init(&t, "v0", 8);
		log_of(&t, 9, 16);
		t.cache.record = 14;
		stand(&t, 4, cases[i].id, cases[i].flags);
		set_lap(&t, 4, cases[i].lap);
		expect(&t, 16, 15, 0, classes);
		table_release(&t);
	}
}

static void smallest_rings(void **state)
{
	static const struct {
		const char *format;
		uint32_t slots;
		uint64_t from, head, torn, first, holes;
		const char *classes;
	} cases[] = {
		{ "v0", 1, 1, 1, 0, 1, 0, "L" },
		{ "v0", 1, 7, 7, 0, 7, 0, "L" },
		{ "v1", 1, 7, 7, 0, 7, 0, "L" },
		{ "v0", 1, TOP, TOP, 0, TOP, 0, "L" },
		{ "v2", 1, TOP, TOP, 0, TOP, 0, "L" },
		{ "v0", 2, 1, 1, 0, 1, 0, "L." },
		{ "v0", 2, 6, 7, 0, 7, 0, "Lo" },
		{ "v1", 2, 6, 7, 0, 6, 0, "LL" },
		{ "v0", 2, 7, 7, 8, 7, 0, "Lt" },
		{ "v2", 2, 7, 7, 8, 6, 0, "Lt" },
		{ "v2", 2, 1, 1, 2, 1, 0, "Lt" },
		{ "v0", 2, TOP, TOP, 0, TOP, 0, "L." },
		{ "v0", 3, 7, 9, 0, 8, 0, "oLL" },
		{ "v2", 3, 7, 9, 0, 7, 0, "LLL" },
		{ "v2", 3, 7, 8, 9, 6, 0, "LLt" },
		{ "v2", 3, TOP - 2, TOP, 0, TOP - 2, 0, "LLL" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, cases[i].format, cases[i].slots);
		log_of(&t, cases[i].from, cases[i].head);
		if (cases[i].torn)
			torn(&t, cases[i].torn);
		if (cases[i].slots == 2 && cases[i].from == TOP) /* what belongs into the other slot was written back */
			t.ring.slots[1] = (struct wb_slot){ .id = TOP - 1, .flags = WB_SLOT_SEALED | WB_SLOT_LAP };
		judge(&t);
		assert_int_equal(t.ring.head, cases[i].head);
		assert_int_equal(t.ring.first, cases[i].first);
		assert_int_equal(t.ring.holes, cases[i].holes);
		if (cases[i].slots != 2 || cases[i].from != TOP)
			expect_classes(&t, cases[i].classes);
		table_release(&t);
	}
}

static void slot_never_written_is_no_torn_head(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 1, 7);
	expect(&t, 7, 1, 0, "LLLLLLL.");
	for (unsigned i = 0; i < 3; i++) { /* what cannot be read there may be whole, under whatever id */
		stand(&t, 7, (const uint64_t[]){ 0, 5, 16 }[i], WB_SLOT_GARBAGE | WB_SLOT_LAP | WB_SLOT_NO_DATA);
		expect(&t, 7, 1, 0, "LLLLLLLp");
	}
	table_release(&t);
}

/* ---- one slot in the middle of the window ---- */

static void middle_of_the_window(void **state)
{
	static const struct {
		const char *format;
		uint64_t id;
		unsigned flags;
		uint8_t length;
		char class_;
	} cases[] = {
		{ "v2", 13, WB_SLOT_LAP, 1, 'r' },
		{ "v2", 13, WB_SLOT_LAP | WB_SLOT_ONE_BIT, 1, 'r' },
		{ "v2", 0, 0, 0, 'r' },
		{ "v2", 0, WB_SLOT_GARBAGE | WB_SLOT_LAP, 1, 'r' },
		{ "v2", 123456789, WB_SLOT_LAP, 1, 'r' },
		{ "v2", 21, WB_SLOT_LAP, 1, 'r' },
		{ "v2", 5, WB_SLOT_LAP | WB_SLOT_SEALED, 1, 's' },
		{ "v2", 0, WB_SLOT_GARBAGE | WB_SLOT_LAP | WB_SLOT_SEALED, 1, 'x' },
		{ "v2", 29, WB_SLOT_LAP | WB_SLOT_SEALED, 1, 'x' },
		{ "v2", 13, WB_SLOT_LAP, 16, 'b' },
		{ "v2", 13, WB_SLOT_LAP | WB_SLOT_NO_DATA, 1, 'p' },
		{ "v2", 0, WB_SLOT_NO_HEADER, 0, 'u' },
		{ "v0", 13, 0, 1, 'r' },
		{ "v0", 13, 0, 0, 'b' },                  /* v0 never writes length 0 */
		{ "v0", 13, WB_SLOT_SEALED, 1, 'r' },     /* laps agree, but are not those of the id: no seal */
		{ "v0", 14, WB_SLOT_SEALED | WB_SLOT_LAP, 1, 'x' },
		{ "v0", 5, WB_SLOT_SEALED | WB_SLOT_LAP, 1, 's' },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		char classes[] = "?LLLLLLL";
		struct table t;

		classes[0] = strcmp(cases[i].format, "v0") ? 'L' : 'o';
		classes[4] = cases[i].class_;
		table_init(&t, cases[i].format, 8);
		log_of(&t, 9, 16);
		stand(&t, 4, cases[i].id, cases[i].flags);
		t.ring.slots[4].length = cases[i].length;
		expect(&t, 16, strcmp(cases[i].format, "v0") ? 9 : 10, 1, classes);
		assert_true(wb_ring_is_hole(&t.ring, 13));
		table_release(&t);
	}
}

static void v0_part_readable_segment_is_no_hole(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v0", 8);
	log_of(&t, 9, 16);
	stand(&t, 4, 13, WB_SLOT_SEALED | WB_SLOT_LAP | WB_SLOT_NO_DATA);
	expect(&t, 16, 10, 0, "oLLLpLLL");
	table_release(&t);
}

static void length_zero_is_a_segment_in_v2(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 16);
	t.ring.slots[4].length = t.ring.slots[4].dirty_blocks = 0;
	t.ring.slots[4].dirty_sectors = 0;
	expect(&t, 16, 9, 0, "LLLLLLLL");
	assert_int_equal(t.ring.dirty_blocks, 7);
	assert_int_equal(t.ring.dirty_sectors, 56);
	table_release(&t);
}

static void only_live_segments_of_the_window_count_as_dirty(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v0", 8);
	log_of(&t, 9, 16);
	stand(&t, 4, 13, 0);
	judge(&t);
	assert_int_equal(t.ring.classes[WB_LIVE], 6);
	assert_int_equal(t.ring.dirty_blocks, 6);
	assert_int_equal(t.ring.dirty_sectors, 48);
	assert_int_equal(t.ring.damaged_sectors, 8);
	table_release(&t);
}

static void garbage_beyond_the_head_of_the_first_lap_is_foreign(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 1, 3);
	stand(&t, 5, 0, WB_SLOT_GARBAGE | WB_SLOT_LAP);
	stand(&t, 6, 0xdeadbeef, WB_SLOT_LAP);
	stand(&t, 7, 0xdeadbeef, WB_SLOT_LAP | WB_SLOT_SEALED); /* that is none */
	expect(&t, 3, 1, 0, "LLL..ffx");
	table_release(&t);
}

static void dialects_are_counted(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 9, 16);
	t.ring.slots[2].flags |= WB_SLOT_RAW;
	judge(&t);
	assert_int_equal(t.ring.raw_seals, 1);
	assert_int_equal(t.ring.plain_seals, 7);
	table_release(&t);
}

/* ---- due ---- */

static void due_id_of_every_slot(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 7, 14);
	judge(&t);
	for (uint64_t id = 7; id <= 14; id++)
		assert_int_equal(wb_ring_due(&t.ring, slot_of(&t, id)), id);
	table_release(&t);
	table_init(&t, "v2", 8);
	log_of(&t, 1, 3);
	judge(&t);
	assert_int_equal(wb_ring_due(&t.ring, 2), 3);
	assert_int_equal(wb_ring_due(&t.ring, 3), 0);
	assert_int_equal(wb_ring_due(&t.ring, 7), 0);
	table_release(&t);
}

/* ---- destroyed ---- */

static void destroyed_logs(void **state)
{
	static const struct {
		uint64_t id[2];
		uint32_t slot[2];
		uint8_t length;
		bool destroyed;
	} cases[] = {
		{ { 1, 0 }, { 0, 1 }, 1, false },  /* a torn first write */
		{ { 2, 0 }, { 1, 2 }, 1, true },
		{ { 9, 0 }, { 0, 1 }, 1, true },
		{ { 1, 2 }, { 0, 1 }, 1, true },
		{ { 5, 6 }, { 0, 1 }, 1, false },  /* neither in place */
		{ { 2, 3 }, { 1, 2 }, 16, false }, /* lengths out of range */
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, "v2", 8);
		for (unsigned j = 0; j < 2; j++) {
			if (!cases[i].id[j])
				continue;
			stand(&t, cases[i].slot[j], cases[i].id[j], WB_SLOT_LAP);
			t.ring.slots[cases[i].slot[j]].length = cases[i].length;
		}
		judge(&t);
		assert_int_equal(t.ring.head, 0);
		assert_int_equal(t.ring.first, 1);
		assert_int_equal(t.ring.holes, 0);
		assert_int_equal(t.ring.destroyed, cases[i].destroyed);
		table_release(&t);
	}
}

static void one_valid_segment_is_no_destroyed_log(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	for (uint64_t id = 9; id <= 15; id++)
		torn(&t, id);
	valid(&t, 16);
	judge(&t);
	assert_false(t.ring.destroyed);
	assert_int_equal(t.ring.head, 16);
	assert_int_equal(t.ring.holes, 6); /* 10 ... 15; 9 is the torn head */
	table_release(&t);
}

/* ---- the record ---- */

static void record_states(void **state)
{
	static const struct { uint64_t record; enum wb_record_state found; uint64_t used; } cases[] = {
		{ 0, WB_RECORD_NONE, 0 },
		{ 1, WB_RECORD_SOUND, 1 },
		{ 15, WB_RECORD_SOUND, 15 },
		{ 16, WB_RECORD_SOUND, 16 },
		{ 17, WB_RECORD_MISSING, 0 },
		{ 24, WB_RECORD_MISSING, 0 },
		{ 25, WB_RECORD_GARBAGE, 0 },
		{ TOP, WB_RECORD_GARBAGE, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, "v2", 8);
		log_of(&t, 9, 16);
		t.cache.record = cases[i].record;
		judge(&t);
		assert_int_equal(t.ring.record_state, cases[i].found);
		assert_int_equal(t.ring.record, cases[i].used);
		assert_int_equal(t.ring.first, 9);
		table_release(&t);
	}
}

static void record_and_window(void **state)
{
	static const struct {
		const char *format;
		uint64_t record;
		enum wb_record_use use;
		uint64_t first;
		const char *classes;
	} cases[] = {
		{ "v2", 12, WB_RECORD_AUTO, 9, "LLLLLLLL" },
		{ "v1", 12, WB_RECORD_AUTO, 9, "LLLLLLLL" },
		{ "v0", 12, WB_RECORD_AUTO, 13, "ooooLLLL" },
		{ "v0", 5, WB_RECORD_AUTO, 10, "oLLLLLLL" },
		{ "v0", 16, WB_RECORD_AUTO, 17, "oooooooo" },
		{ "v2", 12, WB_RECORD_TRUST, 13, "ooooLLLL" },
		{ "v2", 16, WB_RECORD_TRUST, 17, "oooooooo" },
		{ "v2", 18, WB_RECORD_TRUST, 17, "oooooooo" },
		{ "v0", 18, WB_RECORD_TRUST, 17, "oooooooo" },
		{ "v0", 18, WB_RECORD_AUTO, 10, "oLLLLLLL" },
		{ "v0", 12, WB_RECORD_IGNORE, 10, "oLLLLLLL" },
		{ "v2", 12, WB_RECORD_IGNORE, 9, "LLLLLLLL" },
		{ "v2", 18, WB_RECORD_IGNORE, 9, "LLLLLLLL" },
		{ "v0", 25, WB_RECORD_TRUST, 10, "oLLLLLLL" }, /* garbage is no record */
		{ "v2", 25, WB_RECORD_TRUST, 9, "LLLLLLLL" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, cases[i].format, 8);
		log_of(&t, 9, 16);
		t.cache.record = cases[i].record;
		t.ring.options.record_use = cases[i].use;
		expect(&t, 16, cases[i].first, 0, cases[i].classes);
		table_release(&t);
	}
}

static void record_over_an_empty_log_names_missing_segments(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	t.cache.record = 8;
	judge(&t);
	assert_int_equal(t.ring.record_state, WB_RECORD_MISSING);
	t.cache.record = 9;
	judge(&t);
	assert_int_equal(t.ring.record_state, WB_RECORD_GARBAGE);
	table_release(&t);
}

/* ---- zeroed ---- */

static void zero_data(struct table *t, uint64_t id)
{
	t->ring.slots[slot_of(t, id)].flags |= WB_SLOT_ZERO_DATA;
}

static void discarded_segments_are_zeroed_from_the_oldest_on(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v0", 8);
	log_of(&t, 9, 16);
	zero_data(&t, 10);
	zero_data(&t, 11);
	expect(&t, 16, 10, 0, "ozzLLLLL");
	assert_int_equal(t.ring.dirty_sectors, 5 * 8);
	table_release(&t);
}

static void zeroes_above_other_data_were_written(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v0", 8);
	log_of(&t, 9, 16);
	zero_data(&t, 11);
	zero_data(&t, 12);
	expect(&t, 16, 10, 0, "oLLLLLLL");
	table_release(&t);
}

static void segments_without_dirty_blocks_do_not_end_the_zeroed_ones(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v0", 8);
	log_of(&t, 9, 16);
	t.ring.slots[1].dirty_blocks = 0;
	t.ring.slots[1].dirty_sectors = 0;
	zero_data(&t, 11);
	expect(&t, 16, 10, 0, "oLzLLLLL");
	table_release(&t);
}

static void holes_do_not_end_the_zeroed_ones(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v0", 8);
	log_of(&t, 9, 16);
	zero_data(&t, 10);
	torn(&t, 11);
	zero_data(&t, 12);
	expect(&t, 16, 10, 1, "ozrzLLLL");
	table_release(&t);
}

static void everything_may_be_zeroed(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v0", 4);
	log_of(&t, 1, 3);
	for (uint64_t id = 1; id <= 3; id++)
		zero_data(&t, id);
	expect(&t, 3, 1, 0, "zzz.");
	table_release(&t);
}

/* ---- restarted, time lines ---- */

static void restarted_ring(struct table *t, const char *format)
{
	table_init(t, format, 8);
	log_of(t, 9, 16);
	log_of(t, 1, 3);
}

static void ids_that_begin_again_are_a_restart(void **state)
{
	struct table t;

	(void)state;
	restarted_ring(&t, "v2");
	judge(&t);
	assert_int_equal(t.ring.restarted, 3);
	assert_false(t.ring.resized);
	assert_false(t.ring.shifted);
	table_release(&t);
}

static void new_time_line_is_only_the_beginning(void **state)
{
	struct table t;

	(void)state;
	restarted_ring(&t, "v2");
	t.ring.options.timeline = WB_TIMELINE_NEW;
	expect(&t, 3, 1, 0, "LLLooooo");
	assert_int_equal(t.ring.restarted, 3);
	assert_int_equal(t.ring.dirty_sectors, 24);
	table_release(&t);
}

static void old_time_line_is_only_the_other_ring(void **state)
{
	struct table t;

	(void)state;
	restarted_ring(&t, "v2");
	t.ring.options.timeline = WB_TIMELINE_OLD;
	judge(&t);
	assert_int_equal(t.ring.head, 16);
	assert_int_equal(t.ring.dirty_sectors, 5 * 8);
	for (uint32_t slot = 0; slot < 3; slot++)
		assert_int_not_equal(t.ring.slots[slot].class_, WB_LIVE);
	for (uint32_t slot = 3; slot < 8; slot++)
		assert_int_equal(t.ring.slots[slot].class_, WB_LIVE);
	table_release(&t);
}

/* Ids 14 ... 16 of a ring that was given up, and 1 ... 5 after it, of which 3 is broken. */
static void each_time_line_is_judged_as_a_ring(void **state)
{
	static const struct {
		enum wb_timeline line;
		uint64_t head, first, holes;
		const char *classes;
	} cases[] = {
		{ WB_TIMELINE_NONE, 5, 1, 1, "LLrLLxxx" },
		{ WB_TIMELINE_NEW, 5, 1, 1, "LLrLLooo" },
		{ WB_TIMELINE_OLD, 16, 9, 0, "oooooLLL" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, "v2", 8);
		log_of(&t, 14, 16);
		log_of(&t, 1, 5);
		torn(&t, 3);
		t.ring.options.timeline = cases[i].line;
		expect(&t, cases[i].head, cases[i].first, cases[i].holes, cases[i].classes);
		assert_int_equal(t.ring.restarted, 4);
		assert_int_equal(t.ring.new_slots, 5);
		table_release(&t);
	}
}

static void torn_tail_of_the_new_line_is_no_hole_of_the_old_one(void **state)
{
	static const struct {
		enum wb_timeline line;
		uint64_t head, holes;
		const char *classes;
	} cases[] = {
		{ WB_TIMELINE_NEW, 3, 0, "LLLttooo" },
		{ WB_TIMELINE_OLD, 16, 1, "oooRRLrL" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		restarted_ring(&t, "v2");
		torn(&t, 4);
		torn(&t, 5);
		torn(&t, 15);
		t.ring.options.timeline = cases[i].line;
		judge(&t);
		assert_int_equal(t.ring.head, cases[i].head);
		assert_int_equal(t.ring.holes, cases[i].holes);
		if (cases[i].line == WB_TIMELINE_NEW)
			expect_classes(&t, cases[i].classes);
		table_release(&t);
	}
}

/* An id of a later lap between those of lap 1 is damaged, and no old ring; above them all it is one. */
static void odd_id_among_those_of_the_first_lap(void **state)
{
	struct table t;

	(void)state;
	for (uint64_t id = 3; id <= 8; id++) { /* 1 and 2 would have as many votes as 8 with the 16 more */
		table_init(&t, "v2", 16);
		log_of(&t, 1, 8);
		stand(&t, (uint32_t)id - 1, id + 16, WB_SLOT_SEALED | WB_SLOT_LAP);
		judge(&t);
		assert_int_equal(t.ring.restarted, id == 8 ? 7 : 0);
		assert_int_equal(t.ring.head, id == 8 ? 7 : 8);
		table_release(&t);
	}
	for (uint64_t id = 2; id <= 5; id++) { /* by more than one bit */
		table_init(&t, "v2", 6);
		log_of(&t, 1, 6);
		stand(&t, (uint32_t)id - 1, id + (UINT64_C(6) << 40), WB_SLOT_SEALED | WB_SLOT_LAP);
		judge(&t);
		assert_int_equal(t.ring.restarted, 0);
		assert_int_equal(t.ring.head, 6);
		assert_int_equal(t.ring.holes, 1);
		table_release(&t);
	}
}

/* Lost writes and flipped bits of one ring may look like a restart: what is of a later lap is not in the new line. */
static void new_line_of_the_first_lap_has_no_ids_of_later_ones(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, 13, 16);
	valid(&t, 1);
	valid(&t, 10);
	valid(&t, 4);
	t.ring.options.timeline = WB_TIMELINE_NEW;
	expect(&t, 4, 1, 2, "LorLoooo");
	assert_int_equal(t.ring.new_slots, 4);
	table_release(&t);
}

static void sealed_raw(struct table *t, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		if (wb_slot_valid(&t->ring.slots[i]))
			t->ring.slots[i].flags |= WB_SLOT_RAW;
}

/* No driver continues a log with checksums of the other dialect: what is below the change is a line of its own. */
static void dialects_are_time_lines(void **state)
{
	static const struct {
		uint64_t from, to;    /* ids */
		uint32_t raw[2];      /* slots whose checksums are raw: from, to */
		uint64_t restarted;
		uint32_t new_slots;
		bool again;
	} cases[] = {
		{ 1, 7, { 0, 8 }, 0, 0, false },
		{ 1, 7, { 0, 0 }, 0, 0, false },
		{ 1, 7, { 3, 8 }, 3, 3, false },  /* upgraded in the first lap */
		{ 1, 7, { 0, 3 }, 3, 3, false },  /* downgraded */
		{ 1, 7, { 6, 8 }, 6, 6, false },
		{ 5, 12, { 4, 8 }, 4, 4, false }, /* whatever their laps */
		{ 1, 7, { 2, 4 }, 2, 2, true },   /* and below the others there is one more */
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, "v2", 8);
		log_of(&t, cases[i].from, cases[i].to);
		sealed_raw(&t, cases[i].raw[0], cases[i].raw[1]);
		judge(&t);
		assert_int_equal(t.ring.restarted, cases[i].restarted);
		assert_int_equal(t.ring.new_slots, cases[i].new_slots);
		assert_int_equal(t.ring.restarted_again, cases[i].again);
		table_release(&t);
	}
}

static void lines_of_two_dialects_in_the_first_lap(void **state)
{
	static const struct {
		enum wb_timeline line;
		uint64_t head, holes;
		const char *classes;
	} cases[] = {
		{ WB_TIMELINE_NEW, 3, 0, "LLLoooo." },
		{ WB_TIMELINE_OLD, 7, 1, "oooLrLL." },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, "v2", 8);
		log_of(&t, 1, 7);
		sealed_raw(&t, 3, 8);
		torn(&t, 5);
		t.ring.options.timeline = cases[i].line;
		judge(&t);
		assert_int_equal(t.ring.head, cases[i].head);
		assert_int_equal(t.ring.first, 1);
		assert_int_equal(t.ring.holes, cases[i].holes);
		for (uint32_t slot = 0; slot < 7; slot++)
			assert_int_equal(t.ring.slots[slot].class_ == WB_LIVE, cases[i].classes[slot] == 'L');
		table_release(&t);
	}
}

static void time_line_means_nothing_without_a_restart(void **state)
{
	static const enum wb_timeline lines[] = { WB_TIMELINE_NEW, WB_TIMELINE_OLD };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(lines); i++) {
		struct table t;

		table_init(&t, "v2", 8);
		log_of(&t, 9, 16);
		t.ring.options.timeline = lines[i];
		expect(&t, 16, 9, 0, "LLLLLLLL");
		table_release(&t);
	}
}

static void record_of_the_abandoned_ring_is_dropped_with_it(void **state)
{
	struct table t;

	(void)state;
	restarted_ring(&t, "v0");
	t.cache.record = 10;
	t.ring.options.timeline = WB_TIMELINE_NEW;
	judge(&t);
	assert_int_equal(t.ring.record_state, WB_RECORD_NONE);
	assert_int_equal(t.ring.record, 0);
	assert_int_equal(t.ring.first, 1);
	table_release(&t);
}

static void rings_that_did_not_restart(void **state)
{
	static const struct { uint64_t from, to, extra; } cases[] = {
		{ 1, 3, 0 },  /* a first lap */
		{ 1, 8, 0 },  /* a whole first lap */
		{ 2, 9, 0 },  /* the second has begun */
		{ 9, 16, 0 },
		{ 1, 5, 7 },  /* a lap 1 segment above a gap */
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, "v2", 8);
		log_of(&t, cases[i].from, cases[i].to);
		if (cases[i].extra)
			valid(&t, cases[i].extra);
		judge(&t);
		assert_int_equal(t.ring.restarted, 0);
		table_release(&t);
	}
}

static void restart_needs_valid_segments_on_both_sides(void **state)
{
	struct table t;

	(void)state;
	restarted_ring(&t, "v2");
	for (uint64_t id = 1; id <= 3; id++)
		torn(&t, id);
	judge(&t);
	assert_int_equal(t.ring.restarted, 0);
	table_release(&t);
	restarted_ring(&t, "v2");
	for (uint64_t id = 12; id <= 16; id++)
		torn(&t, id);
	judge(&t);
	assert_int_equal(t.ring.restarted, 0);
	table_release(&t);
}

/* ---- resized, shifted ---- */

/* What a ring of `slots` slots with newest id `head` looks like from its slot `from` on. */
static void seen_as(struct table *t, uint32_t slots, uint64_t head, uint32_t from)
{
	for (uint32_t i = 0; i < t->cache.geometry.slots; i++) {
		uint64_t back = (head - 1 + slots - (from + i) % slots) % slots;

		if (from + i < slots && back < head)
			stand(t, i, head - back, WB_SLOT_SEALED | WB_SLOT_LAP);
	}
}

static void resized_devices(void **state)
{
	static const struct { uint32_t was, is; uint64_t head, candidates[3]; } cases[] = {
		{ 8, 12, 20, { 8 } },           /* grown */
		{ 8, 9, 9, { 8 } },             /* one segment out of place suffices */
		{ 12, 8, 30, { 12 } },          /* cut */
		{ 24, 9, 33, { 12, 24 } },      /* several numbers explain it */
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;
		unsigned n = 0;

		table_init(&t, "v2", cases[i].is);
		seen_as(&t, cases[i].was, cases[i].head, 0);
		judge(&t);
		assert_true(t.ring.resized);
		assert_false(t.ring.shifted);
		while (n < 3 && cases[i].candidates[n]) {
			assert_int_equal(t.ring.candidates[n], cases[i].candidates[n]);
			n++;
		}
		assert_int_equal(t.ring.candidate_count, n);
		table_release(&t);
	}
}

/* A lost write left a segment in place by chance, or there is an id of no such ring: the others are no less out of place. */
static void most_segments_out_of_place_are_a_resized_ring(void **state)
{
	static const struct { const char *format; uint32_t slot; uint64_t id, head; } odd[] = {
		{ "v0", 0, 1, 16 }, { "v2", 0, 1, 16 }, { "v2", 5, 6, 16 }, { "v2", 7, 41, 16 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(odd); i++) {
		struct table t;

		table_init(&t, odd[i].format, 11);
		seen_as(&t, 8, odd[i].head, 0);
		blank(&t, 1);
		stand(&t, odd[i].slot, odd[i].id, WB_SLOT_SEALED | WB_SLOT_LAP);
		judge(&t);
		assert_true(t.ring.resized);
		assert_int_equal(t.ring.candidate_count, 1);
		assert_int_equal(t.ring.candidates[0], 8);
		table_release(&t);
	}
}

/* On one slot more, and one write of the second lap lost: as many may be in place by chance as are not. */
static void segments_out_of_place_together_are_a_resized_ring(void **state)
{
	static const char *const formats[] = { "v0", "v1", "v2" };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(formats); i++)
		for (uint64_t lost = 17; lost < 25; lost++) {
			struct table t;

			table_init(&t, formats[i], 17);
			seen_as(&t, 16, 25, 0);
			stand(&t, (uint32_t)lost - 17, lost - 16, WB_SLOT_SEALED | WB_SLOT_LAP);
			judge(&t);
			assert_true(t.ring.resized && t.ring.most_agree);
			assert_int_equal(t.ring.candidate_count, 1);
			assert_int_equal(t.ring.candidates[0], 16);
			table_release(&t);
		}
}

static void one_segment_out_of_place_beside_one_in_place_is_no_resized_ring(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 9);
	valid(&t, 1);
	stand(&t, 2, 15, WB_SLOT_SEALED | WB_SLOT_LAP);
	judge(&t);
	assert_false(t.ring.resized || t.ring.shifted);
	table_release(&t);
}

/* Whether the segment is whole cannot be known, and it is newer than all that could be read. */
static void unreadable_data_where_nothing_was_written_is_no_garbage(void **state)
{
	static const struct { uint64_t id; unsigned flags, length; const char *classes; } cases[] = {
		{ 8, WB_SLOT_LAP | WB_SLOT_NO_DATA, 1, "L..p" },
		{ 8, WB_SLOT_LAP, 1, "L..r" }, /* the write of 4 was lost: what is left of 8 is no garbage, though nothing of it is whole */
		{ 4, WB_SLOT_LAP, 1, "L..f" }, { 12, WB_SLOT_LAP, 1, "L..f" }, { 8, 0, 16, "L..f" },
		{ 11, WB_SLOT_LAP | WB_SLOT_NO_DATA, 1, "L..f" },
		{ 8, WB_SLOT_LAP | WB_SLOT_NO_DATA, 16, "L..f" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, "v2", 4);
		valid(&t, 1);
		stand(&t, 3, cases[i].id, cases[i].flags);
		t.ring.slots[3].length = (uint8_t)cases[i].length;
		expect(&t, 1, 1, 0, cases[i].classes);
		table_release(&t);
	}
}

static void candidate_fits_the_ring_it_names(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (unsigned round = 0; round < 500; round++) {
		uint32_t was = 2 + draw_below(&seed, 30), is = 2 + draw_below(&seed, 30);
		uint64_t head = 1 + draw(&seed) % 1000;
		bool found = false, misplaced = false;
		struct table t;

		table_init(&t, "v2", is);
		seen_as(&t, was, head, 0);
		for (uint32_t i = 0; i < is; i++)
			misplaced |= t.ring.slots[i].id && slot_of(&t, t.ring.slots[i].id) != i;
		judge(&t);
		for (unsigned i = 0; i < t.ring.candidate_count && i < WB_CANDIDATES; i++)
			found |= t.ring.candidates[i] == was;
		assert_int_equal(t.ring.resized, misplaced);
		assert_false(t.ring.shifted);
		assert_true(found || !misplaced || t.ring.candidate_count > WB_CANDIDATES);
		table_release(&t);
	}
}

static void stored_laps_narrow_the_candidates(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v0", 9);
	seen_as(&t, 24, 33, 0);
	for (uint32_t i = 0; i < 9; i++)
		t.ring.slots[i].flags = WB_SLOT_SEALED; /* lap 2, which 9 slots do not give */
	t.ring.lap_low = 32 / 2;
	t.ring.lap_high = 24 / 1;
	judge(&t);
	assert_true(t.ring.resized);
	assert_int_equal(t.ring.candidate_count, 1);
	assert_int_equal(t.ring.candidates[0], 24);
	table_release(&t);
}

/* A device of v0 grew from 5 slots to 10, or shrank from 10 to 5, and the driver went on: no number fits all. */
static void numbers_that_stored_laps_contradict_are_not_offered(void **state)
{
	static const struct { uint32_t slots; uint64_t ids[5]; unsigned old, low, high; } cases[] = {
		{ 10, { 11, 12, 8, 9, 10 }, 2, 10 / 2, 7 / 1 },
		{ 5, { 21, 12, 13, 14, 15 }, 1, 14 / 2, 20 / 4 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, "v0", cases[i].slots);
		for (uint32_t slot = 0; slot < 5; slot++)
			stand(&t, slot, cases[i].ids[slot], slot < cases[i].old ? WB_SLOT_SEALED | WB_SLOT_LAP : WB_SLOT_SEALED);
		t.ring.lap_low = cases[i].low;
		t.ring.lap_high = cases[i].high;
		judge(&t);
		assert_true(t.ring.resized);
		assert_int_equal(t.ring.candidate_count, 0);
		table_release(&t);
	}
}

/* v0, and so many slots by hand: a whole segment that they do not fit is no cut-off write. */
static void whole_segments_that_a_given_number_of_slots_does_not_fit_are_no_torn_tail(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v0", 5);
	t.cache.slots_given = true;
	log_of(&t, 8, 10);
	for (uint64_t id = 11; id <= 12; id++) {
		stand(&t, slot_of(&t, id), id, WB_SLOT_SEALED);
		set_lap(&t, slot_of(&t, id), 2); /* of 10 slots */
	}
	expect(&t, 10, 7, 1, "rxLLL");
	table_release(&t);
}

static void only_so_many_candidates_are_listed(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 17);
	stand(&t, 0, 720721, WB_SLOT_SEALED | WB_SLOT_LAP); /* 720720 has 240 divisors */
	judge(&t);
	assert_true(t.ring.resized);
	assert_int_equal(t.ring.candidate_count, 240);
	for (unsigned i = 0; i < WB_CANDIDATES; i++)
		assert_int_equal(t.ring.candidates[i], i + 1);
	table_release(&t);
}

static void device_whose_start_moved_is_shifted(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	seen_as(&t, 8, 20, 3);
	judge(&t);
	assert_true(t.ring.shifted);
	assert_false(t.ring.resized);
	assert_int_equal(t.ring.candidate_count, 0);
	table_release(&t);
}

static void start_that_a_shifted_device_had_is_listed(void **state)
{
	static const struct { uint32_t slots; uint64_t head; uint32_t moved; } cases[] = { { 8, 20, 3 }, { 8, 20, 1 }, { 7, 100, 1 }, { 12, 30, 5 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, "v2", cases[i].slots);
		seen_as(&t, cases[i].slots, cases[i].head, cases[i].moved);
		judge(&t);
		assert_true(t.ring.shifted);
		assert_int_equal(t.ring.start_count, 1);
		assert_int_equal(t.ring.starts[0].slots, cases[i].slots);
		assert_int_equal(t.ring.starts[0].start, cases[i].moved);
		table_release(&t);
	}
}

/* As the image of a disk shows it: more slots than there were, and the ring begins behind the start. */
static void start_is_found_in_every_lap(void **state)
{
	static const uint32_t rings[] = { 4, 6, 40 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rings); i++)
		for (uint32_t behind = 1; behind <= 3; behind++)
			for (uint64_t head = 3; head < 4u * rings[i]; head++) {
				uint32_t n = rings[i];
				unsigned misplaced = 0;
				bool found = false;
				struct table t;

				table_init(&t, "v2", n + behind + 2);
				for (uint64_t back = 0; back < n && back < head; back++) {
					uint32_t slot = behind + (uint32_t)((head - back - 1) % n);

					stand(&t, slot, head - back, WB_SLOT_SEALED | WB_SLOT_LAP);
					misplaced += slot_of(&t, head - back) != slot;
				}
				judge(&t);
				for (unsigned k = 0; k < t.ring.start_count && k < WB_CANDIDATES; k++)
					found |= t.ring.starts[k].start == -(int64_t)behind &&
						 t.ring.starts[k].slots == (head <= n ? 0 : n);
				/* a ring that ends with its last slot may as well be a longer one that was cut, and a single
				 * misplaced segment a damaged id */
				if (!found && !(t.ring.resized && head % n == 0) && misplaced > 1)
					fail_msg("%u slots, %u behind, newest id %u", n, behind, (unsigned)head);
				table_release(&t);
			}
}

static void first_lap_tells_the_start_for_any_number_of_slots(void **state)
{
	static const int64_t moved[] = { 2, -2 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(moved); i++) {
		struct table t;

		table_init(&t, "v2", 9);
		for (uint32_t slot = 2; slot < 6; slot++)
			stand(&t, slot, (uint64_t)(slot + moved[i]) + 1, WB_SLOT_SEALED | WB_SLOT_LAP);
		judge(&t);
		assert_true(t.ring.shifted);
		/* ids 5 to 8 may also be the second lap of four slots that begin where the first of them lies */
		assert_int_equal(t.ring.start_count, moved[i] > 0 ? 2 : 1);
		assert_int_equal(t.ring.starts[0].slots, 0);
		assert_int_equal(t.ring.starts[0].start, moved[i]);
		table_release(&t);
	}
}

static void sound_rings_fit(void **state)
{
	uint64_t seed = 2;

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		uint32_t slots = 1 + draw_below(&seed, 30);
		struct table t;

		table_init(&t, "v2", slots);
		seen_as(&t, slots, 1 + draw(&seed) % 500, 0);
		judge(&t);
		assert_false(t.ring.resized || t.ring.shifted || t.ring.restarted || t.ring.destroyed);
		assert_int_equal(t.ring.holes, 0);
		table_release(&t);
	}
}

/* One damaged id among segments that lie where they belong is a damaged id, whatever number a divisor search finds. */
static void flipped_bit_of_one_id_is_no_move_of_the_device(void **state)
{
	(void)state;
	for (uint32_t slots = 5; slots <= 8; slots++)
		for (uint64_t id = 101; id < 101 + slots; id++)
			for (unsigned bit = 0; bit < 64; bit++) {
				struct table t;

				table_init(&t, "v2", slots);
				log_of(&t, 101, 100 + slots);
				t.ring.slots[slot_of(&t, id)].id ^= UINT64_C(1) << bit;
				judge(&t);
				if (t.ring.resized || t.ring.shifted)
					fail_msg("%u slots, ids 101 ... %u: bit %u of id %u flipped makes the device %s",
						 slots, 100 + slots, bit, (unsigned)id,
						 t.ring.resized ? "resized" : "shifted");
				table_release(&t);
			}
}

/* ---- ids near 2^64 ---- */

static void ring_that_ends_with_the_largest_id(void **state)
{
	static const char *const formats[] = { "v0", "v1", "v2" };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(formats); i++) {
		struct table t;

		table_init(&t, formats[i], 8);
		log_of(&t, TOP - 7, TOP);
		judge(&t);
		assert_int_equal(t.ring.head, TOP);
		assert_int_equal(t.ring.first, TOP - (i ? 7 : 6));
		assert_int_equal(t.ring.holes, 0);
		assert_int_equal(t.ring.torn_tail, 0);
		assert_int_equal(t.ring.classes[WB_LIVE], i ? 8 : 7);
		table_release(&t);
	}
}

static void hole_below_the_largest_id(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, TOP - 7, TOP);
	torn(&t, TOP - 3);
	judge(&t);
	assert_int_equal(t.ring.holes, 1);
	assert_true(wb_ring_is_hole(&t.ring, TOP - 3));
	assert_int_equal(t.ring.slots[slot_of(&t, TOP - 3)].class_, WB_ROTTEN);
	table_release(&t);
}

static void torn_tail_of_the_largest_id(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, TOP - 8, TOP - 1);
	torn(&t, TOP);
	judge(&t);
	assert_int_equal(t.ring.head, TOP - 1);
	assert_int_equal(t.ring.torn_tail, TOP);
	assert_int_equal(t.ring.holes, 0);
	table_release(&t);
}

static void blank_slot_is_no_torn_tail_after_the_largest_id(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, TOP - 6, TOP);
	blank(&t, slot_of(&t, TOP - 7));
	judge(&t);
	assert_int_equal(t.ring.torn_tail, 0);
	assert_int_equal(t.ring.slots[slot_of(&t, TOP - 7)].class_, WB_TORN_HEAD);
	table_release(&t);
}

static void record_near_the_largest_id(void **state)
{
	struct table t;

	(void)state;
	table_init(&t, "v2", 8);
	log_of(&t, TOP - 9, TOP - 2);
	t.cache.record = TOP;
	judge(&t);
	assert_int_equal(t.ring.record_state, WB_RECORD_MISSING);
	t.cache.record = TOP - 2;
	judge(&t);
	assert_int_equal(t.ring.record_state, WB_RECORD_SOUND);
	table_release(&t);
}

static void record_of_the_largest_id_leaves_nothing(void **state)
{
	static const struct { const char *format; enum wb_record_use use; } cases[] = {
		{ "v0", WB_RECORD_AUTO }, { "v2", WB_RECORD_TRUST },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct table t;

		table_init(&t, cases[i].format, 8);
		log_of(&t, TOP - 7, TOP);
		t.cache.record = TOP;
		t.ring.options.record_use = cases[i].use;
		judge(&t);
		assert_int_equal(t.ring.classes[WB_LIVE], 0);
		assert_int_equal(t.ring.dirty_sectors, 0);
		table_release(&t);
	}
}

/* ---- against the definition, on random tables ---- */

static bool whole(const struct table *t, uint32_t slot)
{
	const struct wb_slot *s = &t->ring.slots[slot];

	return s->id && slot_of(t, s->id) == slot && s->flags & WB_SLOT_SEALED && s->flags & WB_SLOT_LAP;
}

/* recovery.md: the valid in-place id x with the most valid in-place ids in (x - N, x]; ties: the larger. */
static uint64_t head_by_definition(const struct table *t)
{
	uint64_t slots = t->cache.geometry.slots, head = 0, most = 0;

	for (uint32_t i = 0; i < slots; i++) {
		uint64_t x = t->ring.slots[i].id, votes = 0;

		if (!whole(t, i))
			continue;
		for (uint32_t j = 0; j < slots; j++) {
			uint64_t y = t->ring.slots[j].id;

			votes += whole(t, j) && y <= x && (x <= slots || y > x - slots);
		}
		if (votes > most || (votes == most && x > head)) {
			most = votes;
			head = x;
		}
	}
	return head;
}

static bool holds(const struct table *t, uint64_t id)
{
	return whole(t, slot_of(t, id)) && t->ring.slots[slot_of(t, id)].id == id;
}

static uint64_t first_by_definition(const struct table *t, uint64_t head)
{
	uint64_t slots = t->cache.geometry.slots, first = head > slots ? head - slots + 1 : 1;
	bool v0 = t->cache.geometry.format->head_is_old;

	if (v0 && head >= slots)
		first = head - slots + 2;
	for (uint64_t x = head + 2; head && x < head + slots; x++)
		if (holds(t, x) && x >= slots && x - slots + 1 > first)
			first = x - slots + 1;
	return first < head + 1 ? first : head + 1;
}

static bool is_power_of_two(uint64_t number)
{
	return number && !(number & (number - 1));
}

/* Slots below this one are those of a new line: the valid ids of lap 1 below the lowest of a later lap, and a torn tail. One of
 * a later lap, with lap 1 right above it, is passed over, unless it is of the second by more than a bit. */
static uint32_t taken_by_definition(const struct table *t)
{
	uint32_t slots = t->cache.geometry.slots, end = 0, odd = 0, above;
	bool later = false;

	for (uint32_t i = 0; i < slots && !later; i++) {
		uint64_t id = t->ring.slots[i].id;

		for (above = i + 1; above < slots && !whole(t, above);)
			above++;
		if (whole(t, i) && id <= slots)
			end = i + 1;
		else if (whole(t, i) && end && !odd && (is_power_of_two(id ^ (i + 1u)) || id != i + 1u + slots) &&
			 above < slots && t->ring.slots[above].id <= slots)
			odd++;
		else
			later = whole(t, i);
	}
	end = later ? end : 0;
	while (end && end < slots && t->ring.slots[end].id == end + 1u && !whole(t, end))
		end++;
	return end;
}

static uint64_t holes_by_definition(const struct table *t, uint64_t head, uint64_t first)
{
	uint64_t slots = t->cache.geometry.slots, tail = head, holes = 0;
	uint32_t taken = taken_by_definition(t);

	while (tail + 1 < head + slots && t->ring.slots[slot_of(t, tail + 1)].id == tail + 1)
		tail++; /* contiguous from M + 1, in place; never valid, or it would have been M */
	for (uint64_t id = first; head && id <= head; id++) {
		const struct wb_slot *s = &t->ring.slots[slot_of(t, id)];
		bool begun = id + slots <= tail;
		bool torn_head = !t->cache.geometry.format->head_is_old && id + slots == head + 1 &&
				 (!s->id || s->id == id);

		holes += !holds(t, id) && !begun && !torn_head && !(slot_of(t, id) < taken && id != slot_of(t, id) + 1u);
	}
	return holes;
}

static void random_tables_are_judged_by_the_definition(void **state)
{
	static const char *const formats[] = { "v0", "v1", "v2" };
	uint64_t seed = 3;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		struct table t;
		uint32_t slots = 2 + draw_below(&seed, 9);
		uint64_t head = 1 + draw(&seed) % (3 * slots);

		table_init(&t, formats[draw_below(&seed, 3)], slots);
		log_of(&t, head > slots ? head - slots + 1 : 1, head);
		for (unsigned damage = draw_below(&seed, 5); damage; damage--) {
			uint32_t slot = draw_below(&seed, slots);
			uint64_t lap = draw_below(&seed, 5);

			switch (draw_below(&seed, 4)) {
			case 0: torn(&t, lap * slots + slot + 1); break;
			case 1: valid(&t, lap * slots + slot + 1); break;
			case 2: blank(&t, slot); break;
			case 3: torn(&t, head + 1 + draw_below(&seed, 3)); break;
			}
		}
		judge(&t);
		uint64_t expected = head_by_definition(&t), first = first_by_definition(&t, expected);

		assert_int_equal(t.ring.head, expected);
		assert_int_equal(t.ring.first, first);
		assert_int_equal(t.ring.holes, holes_by_definition(&t, expected, first));
		for (uint64_t id = first; id <= expected; id++)
			if (holds(&t, id))
				assert_int_equal(t.ring.slots[slot_of(&t, id)].class_, WB_LIVE);
		table_release(&t);
	}
}

static void judging_twice_changes_nothing(void **state)
{
	struct table t;
	struct wb_ring once;

	(void)state;
	restarted_ring(&t, "v2");
	torn(&t, 14);
	judge(&t);
	once = t.ring;
	judge(&t);
	assert_memory_equal(&once, &t.ring, sizeof(once));
	table_release(&t);
}

static void every_class_has_its_own_name(void **state)
{
	(void)state;
	for (int i = 0; i < WB_CLASSES; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(wb_class_name((enum wb_class)i), wb_class_name((enum wb_class)j));
	assert_string_equal(wb_class_name(WB_FOREIGN), "foreign");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(log_without_segments_has_an_empty_window),
		cmocka_unit_test(window_per_generation),
		cmocka_unit_test(larger_id_alone_is_not_believed),
		cmocka_unit_test(tie_goes_to_the_larger_id),
		cmocka_unit_test(majority_wins_over_the_larger_id),
		cmocka_unit_test(unsealed_and_misplaced_segments_have_no_vote),
		cmocka_unit_test(v0_segment_whose_lap_is_not_that_of_its_id_has_no_vote),
		cmocka_unit_test(lost_single_write_makes_a_stale_lap),
		cmocka_unit_test(ahead_moves_the_window),
		cmocka_unit_test(ahead_reaches_to_the_lap_before_its_own_head),
		cmocka_unit_test(segments_after_a_gap_in_the_first_lap_make_holes),
		cmocka_unit_test(torn_tail_is_no_hole_in_any_generation),
		cmocka_unit_test(torn_tail_runs),
		cmocka_unit_test(torn_tail_stops_before_the_head_comes_round),
		cmocka_unit_test(torn_tail_in_the_first_lap),
		cmocka_unit_test(torn_first_write_is_an_empty_log),
		cmocka_unit_test(torn_headers_after_a_gap_are_rotten),
		cmocka_unit_test(torn_headers_after_a_gap_in_the_first_lap_are_foreign),
		cmocka_unit_test(one_bit_at_the_next_id_is_rot_but_no_hole),
		cmocka_unit_test(one_bit_further_in_the_tail_is_a_torn_write),
		cmocka_unit_test(bad_length_at_the_next_id_proves_the_oldest_written_back),
		cmocka_unit_test(head_slot),
		cmocka_unit_test(next_slot_of_v0),
		cmocka_unit_test(slots_below_the_record_of_v0),
		cmocka_unit_test(smallest_rings),
		cmocka_unit_test(slot_never_written_is_no_torn_head),
		cmocka_unit_test(middle_of_the_window),
		cmocka_unit_test(v0_part_readable_segment_is_no_hole),
		cmocka_unit_test(length_zero_is_a_segment_in_v2),
		cmocka_unit_test(only_live_segments_of_the_window_count_as_dirty),
		cmocka_unit_test(garbage_beyond_the_head_of_the_first_lap_is_foreign),
		cmocka_unit_test(dialects_are_counted),
		cmocka_unit_test(due_id_of_every_slot),
		cmocka_unit_test(destroyed_logs),
		cmocka_unit_test(one_valid_segment_is_no_destroyed_log),
		cmocka_unit_test(record_states),
		cmocka_unit_test(record_and_window),
		cmocka_unit_test(record_over_an_empty_log_names_missing_segments),
		cmocka_unit_test(discarded_segments_are_zeroed_from_the_oldest_on),
		cmocka_unit_test(zeroes_above_other_data_were_written),
		cmocka_unit_test(segments_without_dirty_blocks_do_not_end_the_zeroed_ones),
		cmocka_unit_test(holes_do_not_end_the_zeroed_ones),
		cmocka_unit_test(everything_may_be_zeroed),
		cmocka_unit_test(ids_that_begin_again_are_a_restart),
		cmocka_unit_test(new_time_line_is_only_the_beginning),
		cmocka_unit_test(old_time_line_is_only_the_other_ring),
		cmocka_unit_test(each_time_line_is_judged_as_a_ring),
		cmocka_unit_test(torn_tail_of_the_new_line_is_no_hole_of_the_old_one),
		cmocka_unit_test(odd_id_among_those_of_the_first_lap),
		cmocka_unit_test(new_line_of_the_first_lap_has_no_ids_of_later_ones),
		cmocka_unit_test(dialects_are_time_lines),
		cmocka_unit_test(lines_of_two_dialects_in_the_first_lap),
		cmocka_unit_test(time_line_means_nothing_without_a_restart),
		cmocka_unit_test(record_of_the_abandoned_ring_is_dropped_with_it),
		cmocka_unit_test(rings_that_did_not_restart),
		cmocka_unit_test(restart_needs_valid_segments_on_both_sides),
		cmocka_unit_test(resized_devices),
		cmocka_unit_test(most_segments_out_of_place_are_a_resized_ring),
		cmocka_unit_test(segments_out_of_place_together_are_a_resized_ring),
		cmocka_unit_test(one_segment_out_of_place_beside_one_in_place_is_no_resized_ring),
		cmocka_unit_test(unreadable_data_where_nothing_was_written_is_no_garbage),
		cmocka_unit_test(candidate_fits_the_ring_it_names),
		cmocka_unit_test(stored_laps_narrow_the_candidates),
		cmocka_unit_test(numbers_that_stored_laps_contradict_are_not_offered),
		cmocka_unit_test(whole_segments_that_a_given_number_of_slots_does_not_fit_are_no_torn_tail),
		cmocka_unit_test(only_so_many_candidates_are_listed),
		cmocka_unit_test(device_whose_start_moved_is_shifted),
		cmocka_unit_test(start_that_a_shifted_device_had_is_listed),
		cmocka_unit_test(start_is_found_in_every_lap),
		cmocka_unit_test(first_lap_tells_the_start_for_any_number_of_slots),
		cmocka_unit_test(sound_rings_fit),
		cmocka_unit_test(flipped_bit_of_one_id_is_no_move_of_the_device),
		cmocka_unit_test(ring_that_ends_with_the_largest_id),
		cmocka_unit_test(hole_below_the_largest_id),
		cmocka_unit_test(torn_tail_of_the_largest_id),
		cmocka_unit_test(blank_slot_is_no_torn_tail_after_the_largest_id),
		cmocka_unit_test(record_near_the_largest_id),
		cmocka_unit_test(record_of_the_largest_id_leaves_nothing),
		cmocka_unit_test(random_tables_are_judged_by_the_definition),
		cmocka_unit_test(judging_twice_changes_nothing),
		cmocka_unit_test(every_class_has_its_own_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
