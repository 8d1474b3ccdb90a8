/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/doubt.c: ids in their place, of another lap, of which BACKING tells whether a bit is flipped or a write was lost. */
#include "cache_builder.h"

#define N 8u /* a power of two: a flipped bit leads from one id of a slot to another */
#define BLOCKS 64u

struct pair {
	struct build b;
	struct backing backing;
};

/* Ids 9 ... 16; 13 writes blocks 20 to 22, and what no plan can use, and 15 block 21 again. In slot 4 a bit of the id of 13 is
 * flipped. */
static void pair_init(struct pair *pair, unsigned bit)
{
	build_init(&pair->b, "v1", 6, N);
	build_log(&pair->b, 9, 16, BLOCKS);
	build_segment(&pair->b, 13, PUTS({ 20, 0xff, 0 }, { 21, 0xff, 0 }, { 22, 0x0f, 0 }, { 23, 0xff, 0 }, { 24, 0x00, 0 }));
	build_at(&pair->b, 4)[512 + 3 * 16] ^= 1; /* sector 23 * 8 + 1 */
	build_seal(&pair->b, 4);
	build_segment(&pair->b, 15, PUTS({ 21, 0xff, 0 }));
	build_at(&pair->b, 4)[bit / 8] ^= (uint8_t)(1u << bit % 8);
	backing_init(&pair->backing, BLOCKS * 8);
}

static void pair_release(struct pair *pair)
{
	backing_release(&pair->backing);
	build_release(&pair->b);
}

static struct wb_decision salvage_on(struct pair *pair, uint64_t sectors, bool with_backing, bool resumed, uint64_t ids)
{
	const struct wb_decide_options options = { .policy = WB_SALVAGE, .capacity = ROOM, .resumed = resumed, .ids = ids };
	struct wb_decision decision;
	struct wb_error err = { 0 };

	build_load(&pair->b, sectors);
	if (wb_decide(&pair->b.ring, with_backing ? pair->backing.dev : NULL, &options, &decision, NULL, &err))
		fail_msg("%s", err.text);
	return decision;
}

static struct wb_decision salvage(struct pair *pair, bool with_backing, bool resumed, uint64_t ids)
{
	return salvage_on(pair, BLOCKS * 8, with_backing, resumed, ids);
}

static void expect_id(struct pair *pair, uint64_t id)
{
	assert_int_equal(pair->b.ring.slots[4].id, id);
}

/* 5 is what the slot held a lap before. */
static void old_id_is_corrected_when_backing_does_not_hold_the_segment(void **state)
{
	static const struct {
		uint64_t block, version;
		unsigned mask;
	} cases[][3] = {
		{ { 0, 0, 0 } },
		{ { 20, 13, 0xff } },                                   /* 8 of 20 sectors */
		{ { 20, 13, 0xff }, { 21, 13, 0x01 } },                 /* 9 */
		{ { 20, 13, 0xff }, { 21, 15, 0x01 } },                 /* whoever has 15 has 13 */
		{ { 16, 16, 0x01 } },                                   /* or 16, whatever it wrote */
		{ { 20, 13, 0xff }, { 21, 13, 0x03 } },                 /* half of them */
		{ { 20, 13, 0xff }, { 22, 13, 0x0f } },
		{ { 21, 15, 0xff }, { 22, 13, 0x0f } },                 /* it, or what is newer */
		{ { 20, 13, 0xff }, { 21, 13, 0xff }, { 22, 13, 0x0f } },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct pair pair;

		pair_init(&pair, 3);
		for (size_t k = 0; k < 3; k++)
			backing_write(&pair.backing, cases[i][k].block, cases[i][k].mask, cases[i][k].version);
		struct wb_decision decision = salvage(&pair, true, false, 0);

		expect_id(&pair, i < 3 ? 13 : 5);
		assert_int_equal(decision.corrected, i < 3);
		assert_int_equal(decision.ids, i < 3 ? 1u << 3 : 0);
		pair_release(&pair);
	}
}

/* 13 lies in the slot of 15: 5, one bit away from it, is what its own slot held before. */
static void old_id_stays_where_the_segment_lies_elsewhere(void **state)
{
	(void)state;
	for (unsigned elsewhere = 0; elsewhere < 2; elsewhere++) {
		struct pair pair;

		pair_init(&pair, 3);
		build_segment_at(&pair.b, 6, elsewhere ? 13 : 29, PUTS({ 20, 0xff, 0 }));
		salvage(&pair, true, false, 0);
		expect_id(&pair, elsewhere ? 5 : 13);
		pair_release(&pair);
	}
}

/* The writes of 9 and 13 were lost, or only that of 9: 5, one bit away from M+1, tells nothing of it. */
static void old_id_is_not_taken_for_the_next_one(void **state)
{
	struct build b;
	struct backing backing;
	const struct wb_decide_options options = { .policy = WB_SALVAGE, .capacity = ROOM };
	struct wb_decision decision;

	(void)state;
	build_init(&b, "v1", 6, 4);
	backing_init(&backing, BLOCKS * 8);
	build_log(&b, 10, 12, BLOCKS);
	build_segment(&b, 5, PUTS({ 11, 0xff, 0 }));
	build_load(&b, BLOCKS * 8);
	assert_int_equal(wb_decide(&b.ring, backing.dev, &options, &decision, NULL, NULL), 0);
	assert_int_equal(decision.corrected, 0);
	assert_int_equal(b.ring.head, 12);
	backing_release(&backing);
	build_release(&b);
}

/* Sectors of one repeated byte tell nothing, and where nothing tells anything nothing is corrected. */
static void old_id_stays_where_nothing_can_be_compared(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, 3);
	memset(pair.backing.bytes, 0x5a, (size_t)BLOCKS * 8 * WB_SECTOR);
	salvage(&pair, true, false, 0);
	expect_id(&pair, 5);
	pair_release(&pair);
	/* and what lies beyond BACKING, whose size nobody told when the log was loaded */
	for (unsigned inside = 0; inside < 2; inside++) {
		pair_init(&pair, 3);
		build_segment(&pair.b, 13, PUTS({ BLOCKS, 0xff, 0 }, { BLOCKS - inside, 0xff, 0 }));
		build_at(&pair.b, 4)[0] ^= 8;
		salvage_on(&pair, 0, true, false, 0);
		expect_id(&pair, inside ? 13 : 5);
		pair_release(&pair);
	}
}

/* 20, of 17 ... 24, with a bit more: 28, which is ahead of 24. 22 writes block 21 again. */
static void id_ahead_is_corrected_unless_backing_holds_it_under_something_older(void **state)
{
	static const struct {
		uint64_t block, version;
		unsigned mask;
		bool corrected;
	} cases[] = {
		{ 0, 0, 0, true },
		{ 20, 20, 0xff, true },  /* nothing else would be written there */
		{ 22, 20, 0x0f, true },
		{ 21, 22, 0x01, false }, /* whoever has 22 has 20 */
		{ 21, 20, 0x01, false }, /* 22 would go over it */
		{ 21, 20, 0xff, false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct pair pair;

		pair_init(&pair, 3);
		build_log(&pair.b, 17, 24, BLOCKS);
		build_segment(&pair.b, 20, PUTS({ 20, 0xff, 0 }, { 21, 0xff, 0 }, { 22, 0x0f, 0 }));
		build_segment(&pair.b, 22, PUTS({ 21, 0xff, 0 }));
		build_at(&pair.b, 3)[0] ^= 8;
		backing_write(&pair.backing, cases[i].block, cases[i].mask, cases[i].version);
		salvage(&pair, true, false, 0);
		assert_int_equal(pair.b.ring.slots[3].id, cases[i].corrected ? 20 : 28);
		pair_release(&pair);
	}
}

/* Of four slots 7 stands where 3 was, and M is 4: the bit of 3, or the writes of 5 and 6 were lost. 4 and it write block 20. */
static void ahead_7_is_taken_for_3_unless_backing_has_it_or_4(void **state)
{
	static const struct { uint64_t block, version, id; } cases[] = {
		{ 0, 0, 3 }, { 21, 7, 3 }, { 20, 7, 7 }, { 20, 4, 7 }, { 4, 4, 7 }, { 2, 2, 3 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct pair pair;

		build_init(&pair.b, "v2", 10, 4);
		build_log(&pair.b, 1, 4, BLOCKS);
		build_segment(&pair.b, 3, PUTS({ 20, 0xff, 7 }, { 21, 0xff, 7 }));
		build_segment(&pair.b, 4, PUTS({ 4, 0xff, 0 }, { 20, 0xff, 0 }));
		build_at(&pair.b, 2)[0] ^= 4;
		backing_init(&pair.backing, BLOCKS * 8);
		if (cases[i].version)
			backing_write(&pair.backing, cases[i].block, 0xff, cases[i].version);
		salvage(&pair, true, false, 0);
		if (pair.b.ring.slots[2].id != cases[i].id)
			fail_msg("case %zu: %u", i, (unsigned)pair.b.ring.slots[2].id);
		assert_int_equal(pair.b.ring.head, 4);
		pair_release(&pair);
	}
}

/* Of seven slots a whole segment stands where 16 goes over 9, under another id: of 18 one bit makes 16, and of 0, to which anything
 * may be wiped. It writes blocks 20 and 11, and 11 does too. */
static void what_may_be_the_next_segment_is_not_taken_for_it_when_backing_shows_the_one_before(void **state)
{
	static const struct {
		uint64_t id, held, rest; /* block held is on BACKING as it has it; the others are there up to rest */
		bool corrected;
	} cases[] = {
		{ 18, 0, 0, true }, { 18, 11, 0, true }, { 18, 20, 0, false }, { 18, 20, 12, false }, { 18, 20, 13, true },
		{ 0, 0, 0, false }, { 0, 0, 15, false }, { 0, 20, 0, false }, { 0, 20, 12, false }, { 0, 20, 14, false },
		{ 0, 20, 15, true },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct pair pair;

		build_init(&pair.b, "v1", 6, 7);
		build_log(&pair.b, 10, 15, BLOCKS);
		build_segment_at(&pair.b, 1, cases[i].id, PUTS({ 20, 0xff, 9 }, { 11, 0x7f, 9 }));
		backing_init(&pair.backing, BLOCKS * 8);
		for (uint64_t id = 10; id <= cases[i].rest; id++)
			backing_write(&pair.backing, id, 0xff, id);
		if (cases[i].held)
			backing_write(&pair.backing, cases[i].held, 0xff, 9);
		salvage(&pair, true, false, 0);
		if (pair.b.ring.slots[1].id != (cases[i].corrected ? 16 : cases[i].id))
			fail_msg("case %zu: %u", i, (unsigned)pair.b.ring.slots[1].id);
		assert_int_equal(pair.b.ring.head, cases[i].corrected ? 16 : 15);
		pair_release(&pair);
		/* nobody to ask */
		build_init(&pair.b, "v1", 6, 7);
		build_log(&pair.b, 10, 15, BLOCKS);
		build_segment_at(&pair.b, 1, cases[i].id, PUTS({ 20, 0xff, 9 }));
		backing_init(&pair.backing, BLOCKS * 8);
		salvage(&pair, false, false, 0);
		assert_int_equal(pair.b.ring.head, cases[i].id ? 16 : 15);
		pair_release(&pair);
	}
}

static void without_backing_an_id_in_its_place_stays(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, 3);
	salvage(&pair, false, false, 0);
	expect_id(&pair, 5);
	pair_release(&pair);
}

/* What the first run has written by then would speak against what it decided. */
static void resumed_run_corrects_what_the_first_one_did(void **state)
{
	(void)state;
	for (unsigned corrected = 0; corrected < 2; corrected++) {
		struct pair pair;

		pair_init(&pair, 3);
		backing_write(&pair.backing, 20, corrected ? 0xff : 0, 13);
		backing_write(&pair.backing, 21, corrected ? 0xff : 0, 15);
		salvage(&pair, true, true, corrected ? 1u << 3 : 0);
		expect_id(&pair, corrected ? 13 : 5);
		pair_release(&pair);
	}
}

/* 9 reads as 1, which looks like the beginning of a new line. */
static void id_that_made_the_ring_look_restarted_is_corrected(void **state)
{
	(void)state;
	for (unsigned held = 0; held < 2; held++) {
		struct pair pair;
		struct wb_decision decision;

		pair_init(&pair, 3);
		build_segment(&pair.b, 13, PUTS({ 20, 0xff, 0 }));
		build_segment(&pair.b, 8, PUTS({ 8, 0xff, 0 })); /* M is 15 */
		build_at(&pair.b, 0)[0] ^= 8;
		backing_write(&pair.backing, 9, held ? 0xff : 0, 9);
		decision = salvage(&pair, true, false, 0);
		assert_int_equal(decision.refused, held ? WB_REFUSE_RESTARTED : 0);
		assert_int_equal(pair.b.ring.restarted, held);
		assert_int_equal(pair.b.ring.slots[0].id, held ? 1 : 9);
		assert_int_equal(decision.corrected, !held);
		pair_release(&pair);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(old_id_is_corrected_when_backing_does_not_hold_the_segment),
		cmocka_unit_test(old_id_stays_where_the_segment_lies_elsewhere),
		cmocka_unit_test(old_id_is_not_taken_for_the_next_one),
		cmocka_unit_test(old_id_stays_where_nothing_can_be_compared),
		cmocka_unit_test(id_ahead_is_corrected_unless_backing_holds_it_under_something_older),
		cmocka_unit_test(ahead_7_is_taken_for_3_unless_backing_has_it_or_4),
		cmocka_unit_test(what_may_be_the_next_segment_is_not_taken_for_it_when_backing_shows_the_one_before),
		cmocka_unit_test(without_backing_an_id_in_its_place_stays),
		cmocka_unit_test(resumed_run_corrects_what_the_first_one_did),
		cmocka_unit_test(id_that_made_the_ring_look_restarted_is_corrected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
