/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/policy.c: what each policy refuses, where it cuts, and what it says it leaves out. */
#include "cache_builder.h"

#define BLOCKS 64u /* of the backing device */

static void no_damage(struct build *b)
{
	(void)b;
}

/* Ids 9 ... 16 on eight slots, segment id writes block id. */
static void sound(struct build *b, const char *format)
{
	build_init(b, format, 5, 8);
	build_log(b, 9, 16, 1000);
}

static uint8_t *checksum_of(struct build *b, uint32_t slot)
{
	return build_at(b, slot) + b->geometry.format->checksum.offset;
}

/* Breaks the seal but leaves id, metablocks and data: the slot's own copy stays. */
static void break_seal(struct build *b, uint64_t id)
{
	uint8_t *at = wb_seal_covers_data(b->geometry.format) ?
			      checksum_of(b, wb_slot_of(&b->geometry, id)) :
			      build_at(b, wb_slot_of(&b->geometry, id)) + b->geometry.format->lap.offset;

	for (unsigned i = 0; i < 4; i++)
		at[i] ^= 0x5b;
}

/* Leaves a segment of the lap before in the slot: nothing there speaks of id. */
static void lose_write(struct build *b, uint64_t id)
{
	build_segment(b, id - b->geometry.slots, PUTS({ id - b->geometry.slots, 0xff, 0 }));
}

/* And that segment was written back long ago. */
static void lap_before(struct backing *backing, uint64_t id)
{
	backing_write(backing, id - 8, 0xff, id - 8);
}

static void set_id(struct build *b, uint32_t slot, uint64_t id)
{
	wb_put_le(build_id_at(b, slot), 8, id);
}

static void set_sector(struct build *b, uint32_t slot, unsigned index, uint64_t sector)
{
	const struct wb_format *format = b->geometry.format;

	wb_put_le(build_at(b, slot) + wb_metadata_size(format, index), 8, sector);
	build_seal(b, slot);
}

static struct wb_decision decide_with(struct build *b, struct backing *backing, struct wb_decide_options options)
{
	struct wb_decision decision;

	options.capacity = ROOM;
	assert_int_equal(wb_decide(&b->ring, backing ? backing->dev : NULL, &options, &decision, NULL, NULL), 0);
	return decision;
}

static struct wb_decision decide(struct build *b, struct backing *backing, enum wb_policy policy)
{
	return decide_with(b, backing, (struct wb_decide_options){ .policy = policy });
}

static void expect_scope(const struct wb_decision *decision, uint64_t low, uint64_t high)
{
	assert_int_equal(decision->refused, 0);
	assert_int_equal(decision->scope.low, low);
	assert_int_equal(decision->scope.high, high);
}

static void expect_refused(const struct wb_decision *decision, unsigned bits)
{
	assert_int_equal(decision->refused, bits);
	assert_true(decision->scope.low > decision->scope.high);
	assert_int_equal(decision->oldest, 0);
}

/* ---- strict: one fault at a time ---- */

static void torn_tail(struct build *b) { build_torn(b, 17, 3); }
static void torn_head(struct build *b) { break_seal(b, 9); }
static void blank_head(struct build *b) { memset(build_at(b, 0), 0, WB_BLOCK); }
static void lost_write(struct build *b) { lose_write(b, 13); }
static void rotten(struct build *b) { break_seal(b, 13); }
static void ahead(struct build *b) { build_segment(b, 19, PUTS({ 19, 0xff, 0 })); }
static void alien(struct build *b) { set_id(b, 4, 37); }
static void bad_length(struct build *b) { *build_length_at(b, 4) = 4; }
static void misaligned(struct build *b) { set_sector(b, 4, 0, 13 * 8 + 1); }
static void beyond(struct build *b) { set_sector(b, 4, 0, BLOCKS * 8); }
static void overflowing(struct build *b) { set_sector(b, 4, 0, UINT64_MAX - 7); }
static void record_missing(struct build *b) { build_record(b, 17); }
static void record_garbage(struct build *b) { build_record(b, 25); }
static void record_sound(struct build *b) { build_record(b, 16); }
static void restarted(struct build *b) { build_log(b, 1, 3, 1000); }

static void one_bit_at_the_next(struct build *b)
{
	build_segment(b, 17, PUTS({ 17, 0xff, 0 }));
	build_at(b, 0)[5000] ^= 4;
}

static void bad_length_at_the_next(struct build *b)
{
	build_segment(b, 17, PUTS({ 17, 0xff, 0 }));
	*build_length_at(b, 0) = 200;
}

static void destroyed(struct build *b)
{
	for (uint64_t id = 9; id <= 16; id++)
		break_seal(b, id);
}

static void shifted(struct build *b)
{
	memmove(build_at(b, 0), build_at(b, 3), 5 * wb_slot_size(&b->geometry));
	memset(build_at(b, 5), 0, 3 * wb_slot_size(&b->geometry));
}

static void resized(struct build *b)
{
	memset(build_at(b, 0), 0, 8 * wb_slot_size(&b->geometry));
	for (uint64_t id = 21; id <= 28; id++)
		build_segment_at(b, (uint32_t)(id - 1) % 10 % 8, id, PUTS({ id, 0xff, 0 }));
}

static void foreign(struct build *b)
{
	memset(build_at(b, 0), 0, 8 * wb_slot_size(&b->geometry));
	build_log(b, 1, 3, 1000);
	memset(build_at(b, 5), 0xa5, 4096);
}

static void empty(struct build *b)
{
	memset(build_at(b, 0), 0, 8 * wb_slot_size(&b->geometry));
}

static void discarded(struct build *b)
{
	memset(build_at(b, 1) + WB_BLOCK, 0, WB_BLOCK);
	memset(build_at(b, 2) + WB_BLOCK, 0, WB_BLOCK);
}

#define IN_SLOTS (WB_REFUSE_HOLE | WB_REFUSE_ROTTEN | WB_REFUSE_ALIEN)

static const struct fault {
	const char *name, *format;
	void (*break_it)(struct build *b);
	unsigned refused, also; /* bits that must be there, bits that may */
} faults[] = {
	{ "none", "v0", no_damage, 0, 0 },
	{ "none", "v1", no_damage, 0, 0 },
	{ "empty", "v1", empty, 0, 0 },
	{ "torn tail", "v0", torn_tail, 0, 0 },
	{ "torn tail", "v1", torn_tail, 0, 0 },
	{ "torn head", "v0", torn_head, 0, 0 },
	{ "torn head", "v1", torn_head, 0, 0 },
	{ "blank head", "v1", blank_head, 0, 0 },
	{ "foreign", "v1", foreign, 0, 0 },
	{ "garbage record", "v1", record_garbage, 0, 0 },
	{ "sound record", "v1", record_sound, 0, 0 },
	{ "lost write", "v0", lost_write, WB_REFUSE_HOLE, 0 },
	{ "lost write", "v1", lost_write, WB_REFUSE_HOLE, 0 },
	{ "rotten", "v0", rotten, WB_REFUSE_HOLE | WB_REFUSE_ROTTEN, 0 },
	{ "rotten", "v1", rotten, WB_REFUSE_HOLE | WB_REFUSE_ROTTEN, 0 },
	{ "one bit at the next id", "v1", one_bit_at_the_next, WB_REFUSE_ROTTEN, 0 },
	{ "ahead", "v0", ahead, WB_REFUSE_AHEAD, 0 },
	{ "ahead", "v1", ahead, WB_REFUSE_AHEAD, 0 },
	{ "alien", "v1", alien, WB_REFUSE_HOLE | WB_REFUSE_ALIEN, 0 },
	{ "bad length", "v1", bad_length, WB_REFUSE_HOLE | WB_REFUSE_BOUNDS, 0 },
	{ "bad length at the next id", "v1", bad_length_at_the_next, WB_REFUSE_BOUNDS, 0 },
	{ "misaligned", "v0", misaligned, WB_REFUSE_BOUNDS, 0 },
	{ "misaligned", "v1", misaligned, WB_REFUSE_BOUNDS, 0 },
	{ "beyond", "v0", beyond, WB_REFUSE_BEYOND, 0 },
	{ "beyond", "v1", beyond, WB_REFUSE_BEYOND, 0 },
	{ "overflowing", "v1", overflowing, WB_REFUSE_BEYOND, 0 },
	{ "discarded", "v0", discarded, WB_REFUSE_ZEROED, 0 },
	{ "resized", "v1", resized, WB_REFUSE_GEOMETRY, IN_SLOTS },
	{ "shifted", "v1", shifted, WB_REFUSE_GEOMETRY, IN_SLOTS },
	{ "restarted", "v1", restarted, WB_REFUSE_RESTARTED, IN_SLOTS },
	{ "destroyed", "v1", destroyed, WB_REFUSE_DESTROYED, IN_SLOTS },
	{ "missing record", "v0", record_missing, WB_REFUSE_RECORD, 0 },
	{ "missing record", "v1", record_missing, WB_REFUSE_RECORD, 0 },
};

static void strict_refuses_for_each_fault_alone(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(faults); i++) {
		const struct fault *fault = &faults[i];
		struct wb_decision decision;
		struct build b;

		sound(&b, fault->format);
		fault->break_it(&b);
		build_load(&b, BLOCKS * 8);
		decision = decide(&b, NULL, WB_STRICT);
		if ((decision.refused & ~fault->also) != fault->refused)
			fail_msg("%s %s: refused for %u, not %u", fault->format, fault->name, decision.refused,
				 fault->refused);
		assert_int_equal(decision.damage, decision.refused);
		if (fault->refused)
			expect_refused(&decision, decision.refused);
		build_release(&b);
	}
}

static void patterns_are_refused_by_every_policy(void **state)
{
	static const unsigned patterns = WB_REFUSE_GEOMETRY | WB_REFUSE_RESTARTED | WB_REFUSE_DESTROYED |
					 WB_REFUSE_RECORD;

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(faults); i++)
		for (int policy = WB_PREFIX; policy <= WB_SALVAGE; policy++) {
			struct wb_decision decision;
			struct build b;

			sound(&b, faults[i].format);
			faults[i].break_it(&b);
			build_load(&b, BLOCKS * 8);
			decision = decide(&b, NULL, (enum wb_policy)policy);
			if ((decision.refused != 0) != ((faults[i].refused & patterns) != 0))
				fail_msg("%s %s: refused for %u", faults[i].format, faults[i].name, decision.refused);
			build_release(&b);
		}
}

static void unreadable_header_is_refused(void **state)
{
	struct build b;
	struct wb_decision decision;
	struct wb_ring_options options = { .backing_sectors = 0 };

	(void)state;
	sound(&b, "v1");
	struct wb_range bad = { wb_slot_offset(&b.geometry, 4), 512 };

	build_load_on(&b, build_bad(&b, &bad, 1), &options);
	decision = decide(&b, NULL, WB_STRICT);
	expect_refused(&decision, WB_REFUSE_HOLE | WB_REFUSE_UNREADABLE);
	build_release(&b);
}

static void unreadable_data_of_v0_is_refused_without_a_hole(void **state)
{
	struct build b;
	struct wb_decision decision;
	struct wb_ring_options options = { .backing_sectors = 0 };

	(void)state;
	sound(&b, "v0");
	struct wb_range bad = { wb_slot_offset(&b.geometry, 4) + 4096, 512 };

	build_load_on(&b, build_bad(&b, &bad, 1), &options);
	decision = decide(&b, NULL, WB_STRICT);
	expect_refused(&decision, WB_REFUSE_UNREADABLE);
	decision = decide(&b, NULL, WB_SALVAGE);
	expect_scope(&decision, 10, 16);
	assert_true(decision.scope.part);
	build_release(&b);
}

static void prefix_ends_before_a_segment_of_v0_that_cannot_be_read_whole(void **state)
{
	struct build b;
	struct wb_decision decision;
	struct wb_ring_options options = { .backing_sectors = 0 };

	(void)state;
	sound(&b, "v0");
	struct wb_range bad = { wb_slot_offset(&b.geometry, 4) + 4096, 512 };

	build_load_on(&b, build_bad(&b, &bad, 1), &options);
	decision = decide(&b, NULL, WB_PREFIX);
	expect_scope(&decision, 10, 12);
	assert_int_equal(decision.cut, 13);
	build_release(&b);
}

static void strict_takes_the_whole_window(void **state)
{
	static const struct { const char *format; uint64_t low; } cases[] = { { "v0", 10 }, { "v1", 9 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct wb_decision decision;

		sound(&b, cases[i].format);
		build_load(&b, 0);
		decision = decide(&b, NULL, WB_STRICT);
		expect_scope(&decision, cases[i].low, 16);
		assert_int_equal(decision.oldest, cases[i].low);
		assert_int_equal(decision.cut, 0);
		assert_int_equal(decision.left_segments, 0);
		assert_int_equal(decision.left_sectors, 0);
		build_release(&b);
	}
}

static void record_use_answers_a_missing_record(void **state)
{
	static const struct { enum wb_record_use use; uint64_t low; } cases[] = {
		{ WB_RECORD_TRUST, 17 }, { WB_RECORD_IGNORE, 9 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct wb_decision decision;
		const struct wb_ring_options options = { .record_use = cases[i].use };

		sound(&b, "v1");
		record_missing(&b);
		build_load_on(&b, NULL, &options);
		decision = decide(&b, NULL, WB_STRICT);
		expect_scope(&decision, cases[i].low, 16);
		build_release(&b);
	}
}

static void time_line_answers_a_restart(void **state)
{
	struct build b;
	struct wb_decision decision;
	const struct wb_ring_options options = { .timeline = WB_TIMELINE_NEW };

	(void)state;
	sound(&b, "v1");
	restarted(&b);
	build_load_on(&b, NULL, &options);
	decision = decide(&b, NULL, WB_STRICT);
	expect_scope(&decision, 1, 3);
	build_release(&b);
}

static void forced_size_lets_strict_go_on_and_counts_what_it_leaves(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	build_segment(&b, 13, PUTS({ 13, 0xff, 0 }, { BLOCKS, 0x07, 0 }));
	build_load(&b, BLOCKS * 8);
	decision = decide_with(&b, NULL, (struct wb_decide_options){ .force_size = true });
	expect_scope(&decision, 9, 16);
	assert_int_equal(decision.damage, 0);
	assert_int_equal(decision.left_segments, 1);
	assert_int_equal(decision.left_sectors, 3);
	build_release(&b);
}

static void one_force_does_not_answer_another_refusal(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	beyond(&b);
	build_load(&b, BLOCKS * 8);
	decision = decide_with(&b, NULL, (struct wb_decide_options){ .force_regress = true });
	expect_refused(&decision, WB_REFUSE_BEYOND);
	build_release(&b);
	sound(&b, "v1");
	lost_write(&b);
	build_load(&b, BLOCKS * 8);
	decision = decide_with(&b, NULL, (struct wb_decide_options){ .force_regress = true, .force_size = true });
	expect_refused(&decision, WB_REFUSE_HOLE);
	build_release(&b);
}

/* ---- zeroed ---- */

static void zeroed_segments_per_policy_and_answer(void **state)
{
	static const struct {
		enum wb_policy policy;
		int zeroed;
		unsigned refused;
		bool replayed;
		uint64_t skipped;
	} cases[] = {
		{ WB_STRICT, WB_ZEROED_AUTO, WB_REFUSE_ZEROED, false, 2 },
		{ WB_STRICT, WB_ZEROED_SKIP, 0, false, 2 },
		{ WB_STRICT, WB_ZEROED_REPLAY, 0, true, 0 },
		{ WB_PREFIX, WB_ZEROED_AUTO, 0, false, 2 },
		{ WB_PREFIX, WB_ZEROED_REPLAY, 0, true, 0 },
		{ WB_SALVAGE, WB_ZEROED_AUTO, 0, false, 2 },
		{ WB_SALVAGE, WB_ZEROED_SKIP, 0, false, 2 },
		{ WB_SALVAGE, WB_ZEROED_REPLAY, 0, true, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_decide_options options = { .policy = cases[i].policy };
		struct wb_decision decision;
		struct build b;

		if (cases[i].zeroed == WB_ZEROED_SKIP)
			options.zeroed = WB_ZEROED_SKIP;
		if (cases[i].zeroed == WB_ZEROED_REPLAY)
			options.zeroed = WB_ZEROED_REPLAY;
		sound(&b, "v0");
		discarded(&b);
		build_load(&b, BLOCKS * 8);
		decision = decide_with(&b, NULL, options);
		assert_int_equal(decision.refused, cases[i].refused);
		assert_int_equal(decision.scope.zeroed, cases[i].replayed);
		assert_int_equal(decision.zeroed_skipped, cases[i].skipped);
		if (!decision.refused) {
			assert_int_equal(decision.oldest, cases[i].replayed ? 10 : 12);
			assert_int_equal(decision.left_segments, 0);
		}
		build_release(&b);
	}
}

/* Ids 10 and 11 discarded, two blocks each; of 10 so many bytes from the first block on cannot be read. */
static struct wb_decision salvage_of_discarded(uint32_t unreadable, uint8_t *class_of_10)
{
	const struct wb_ring_options options = { .backing_sectors = BLOCKS * 8 };
	struct wb_decision decision;
	struct build b;

	sound(&b, "v0");
	for (uint64_t id = 10; id <= 11; id++) {
		build_segment(&b, id, PUTS({ id, 0xff, 0 }, { id + 20, 0xff, 0 }));
		memset(build_at(&b, wb_slot_of(&b.geometry, id)) + WB_BLOCK, 0, 2 * WB_BLOCK);
	}
	struct wb_range bad = { wb_slot_offset(&b.geometry, 1) + WB_BLOCK, unreadable };

	build_load_on(&b, build_bad(&b, &bad, 1), &options);
	*class_of_10 = b.ring.slots[1].class_;
	decision = decide(&b, NULL, WB_SALVAGE);
	build_release(&b);
	return decision;
}

static void a_block_that_cannot_be_read_is_no_zero(void **state)
{
	uint8_t class_;
	struct wb_decision decision = salvage_of_discarded(WB_SECTOR, &class_);

	(void)state;
	assert_int_equal(class_, WB_PART_READABLE);
	assert_int_equal(decision.oldest, 10);
	assert_int_equal(decision.zeroed_skipped, 0);
}

static void a_segment_of_which_nothing_can_be_read_is_not_zeroed(void **state)
{
	uint8_t class_;

	(void)state;
	salvage_of_discarded(2 * WB_BLOCK, &class_);
	assert_int_equal(class_, WB_PART_READABLE);
}

/* ---- prefix ---- */

static void prefix_of_a_sound_log_is_all_of_it(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	build_load(&b, 0);
	decision = decide(&b, NULL, WB_PREFIX);
	expect_scope(&decision, 9, 16);
	assert_int_equal(decision.cut, 0);
	build_release(&b);
}

static void prefix_ends_before_the_first_hole(void **state)
{
	struct build b;
	struct backing backing;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	break_seal(&b, 13);
	lose_write(&b, 15);
	backing_init(&backing, BLOCKS * 8);
	build_load(&b, BLOCKS * 8);
	decision = decide(&b, &backing, WB_PREFIX);
	expect_scope(&decision, 9, 12);
	assert_int_equal(decision.cut, 13);
	assert_int_equal(decision.evidence, 0);
	assert_int_equal(decision.left_segments, 3); /* 13, 14, 16; 15 left no trace */
	assert_int_equal(decision.left_sectors, 24);
	backing_release(&backing);
	build_release(&b);
}

static void prefix_corrects_nothing(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	build_at(&b, 4)[5000] ^= 1;
	build_load(&b, 0);
	decision = decide(&b, NULL, WB_PREFIX);
	expect_scope(&decision, 9, 12);
	assert_int_equal(decision.corrected, 0);
	build_release(&b);
}

/* Below the cut is nothing that could take BACKING back. */
static void prefix_with_the_oldest_id_missing_writes_nothing(void **state)
{
	struct build b;
	struct backing backing;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	break_seal(&b, 9);
	set_id(&b, 0, 78); /* no torn head: another id stands there */
	backing_init(&backing, BLOCKS * 8);
	backing_write(&backing, 14, 0xff, 14);
	build_load(&b, BLOCKS * 8);
	assert_int_equal(b.ring.holes, 1);
	decision = decide(&b, &backing, WB_PREFIX);
	assert_int_equal(decision.refused, 0);
	assert_true(decision.scope.low > decision.scope.high);
	assert_int_equal(decision.oldest, 0);
	assert_int_equal(decision.left_segments, 8);
	backing_release(&backing);
	build_release(&b);
}

/* ---- evidence ---- */

struct sighting {
	uint64_t block;
	unsigned mask;
	uint64_t version;
};

/* Segment 10 writes this block too, so that something below the holes covers it. */
static void cover(struct build *b, uint64_t block)
{
	build_segment(b, 10, PUTS({ 10, 0xff, 0 }, { block, 0xff, 0 }));
}

static const struct {
	const char *name;
	struct sighting seen;     /* what BACKING holds */
	bool covered;             /* segment 10 writes the block too */
	bool own_copy;            /* the hole at 13 still bears its metablocks */
	uint64_t evidence;        /* sectors, for prefix */
	uint64_t salvage_low;
} sightings[] = {
	{ "nothing", { 0, 0, 0 }, true, true, 0, 9 },
	{ "an older segment", { 12, 0xff, 12 }, true, true, 0, 9 },
	{ "a newer segment", { 14, 0xff, 14 }, true, true, 8, 9 },
	{ "a newer segment, above a hole that tells nothing", { 14, 0xff, 14 }, true, false, 8, 14 },
	{ "the newest segment", { 16, 0xff, 16 }, true, false, 8, 14 },
	{ "one sector of a newer segment", { 15, 0x10, 15 }, true, false, 1, 14 },
	{ "a newer segment that nothing older covers", { 14, 0xff, 14 }, false, false, 0, 9 },
	{ "the hole's own copy", { 13, 0xff, 13 }, true, true, 8, 9 },
	{ "the hole's version, of which nothing is left", { 13, 0xff, 13 }, true, false, 0, 9 },
	{ "a newer segment's data elsewhere", { 40, 0xff, 14 }, true, false, 0, 9 },
};

static void evidence_at_one_hole(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(sightings); i++) {
		const struct sighting *seen = &sightings[i].seen;
		struct wb_decision decision;
		struct backing backing;
		struct build b;

		sound(&b, "v1");
		if (sightings[i].covered)
			cover(&b, seen->block);
		if (sightings[i].own_copy)
			break_seal(&b, 13);
		else
			lose_write(&b, 13);
		backing_init(&backing, BLOCKS * 8);
		lap_before(&backing, 13);
		backing_write(&backing, seen->block, seen->mask, seen->version);
		build_load(&b, BLOCKS * 8);
		decision = decide(&b, &backing, WB_PREFIX);
		if (decision.evidence != sightings[i].evidence)
			fail_msg("%s: %u sectors of evidence", sightings[i].name, (unsigned)decision.evidence);
		if (sightings[i].evidence)
			expect_refused(&decision, WB_REFUSE_REGRESS);
		else
			expect_scope(&decision, 9, 12);
		decision = decide(&b, &backing, WB_SALVAGE);
		expect_scope(&decision, sightings[i].salvage_low, 16);
		assert_int_equal(decision.cut, sightings[i].salvage_low == 9 ? 0 : 13);
		assert_int_equal(decision.oldest, sightings[i].salvage_low);
		backing_release(&backing);
		build_release(&b);
	}
}

static void forced_regress_goes_on(void **state)
{
	struct build b;
	struct backing backing;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	cover(&b, 14);
	lose_write(&b, 13);
	backing_init(&backing, BLOCKS * 8);
	backing_write(&backing, 14, 0xff, 14);
	build_load(&b, BLOCKS * 8);
	decision = decide_with(&b, &backing, (struct wb_decide_options){ .policy = WB_PREFIX, .force_regress = true });
	expect_scope(&decision, 9, 12);
	assert_int_equal(decision.evidence, 8);
	backing_release(&backing);
	build_release(&b);
}

static void content_that_an_older_segment_has_too_is_no_evidence(void **state)
{
	struct build b;
	struct backing backing;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	build_segment(&b, 11, PUTS({ 14, 0xff, 14 })); /* the very same data */
	lose_write(&b, 13);
	backing_init(&backing, BLOCKS * 8);
	lap_before(&backing, 13);
	backing_write(&backing, 14, 0xff, 14);
	build_load(&b, BLOCKS * 8);
	decision = decide(&b, &backing, WB_PREFIX);
	expect_scope(&decision, 9, 12);
	decision = decide(&b, &backing, WB_SALVAGE);
	expect_scope(&decision, 9, 16);
	backing_release(&backing);
	build_release(&b);
}

/* More versions of one block than one batch holds. */
static void very_many_versions_of_a_block_are_weighed_together(void **state)
{
	static const struct { uint64_t seen, twin; uint64_t evidence; } cases[] = {
		{ 1150, 0, 8 }, { 150, 0, 8 }, { 50, 0, 0 }, { 1150, 50, 0 }, { 1150, 150, 8 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct backing backing;
		struct wb_decision decision;

		build_init(&b, "v1", 4, 1200);
		build_log(&b, 1, 1200, 1);
		if (cases[i].twin)
			build_segment(&b, cases[i].twin, PUTS({ 0, 0xff, cases[i].seen }));
		break_seal(&b, 100);
		backing_init(&backing, BLOCKS * 8);
		backing_write(&backing, 0, 0xff, cases[i].seen);
		build_load(&b, BLOCKS * 8);
		decision = decide(&b, &backing, WB_PREFIX);
		assert_int_equal(decision.evidence, cases[i].evidence);
		backing_release(&backing);
		build_release(&b);
	}
}

static void one_repeated_byte_is_no_evidence(void **state)
{
	static const uint8_t bytes[] = { 0x00, 0xff, 0x4e };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bytes); i++) {
		struct build b;
		struct backing backing;
		struct wb_decision decision;

		sound(&b, "v1");
		lose_write(&b, 13);
		memset(build_at(&b, 5) + WB_BLOCK, bytes[i], WB_BLOCK);
		build_seal(&b, 5);
		backing_init(&backing, BLOCKS * 8);
		memset(backing.bytes + 14 * WB_BLOCK, bytes[i], WB_BLOCK);
		build_load(&b, BLOCKS * 8);
		decision = decide(&b, &backing, WB_PREFIX);
		expect_scope(&decision, 9, 12);
		backing_release(&backing);
		build_release(&b);
	}
}

static void sectors_that_are_not_dirty_are_no_evidence(void **state)
{
	struct build b;
	struct backing backing;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	lose_write(&b, 13);
	build_segment(&b, 14, PUTS({ 14, 0x0f, 0 }));
	backing_init(&backing, BLOCKS * 8);
	memcpy(backing.bytes + 14 * WB_BLOCK + 2048, build_at(&b, 5) + WB_BLOCK + 2048, 2048);
	build_load(&b, BLOCKS * 8);
	decision = decide(&b, &backing, WB_PREFIX);
	expect_scope(&decision, 9, 12);
	build_segment(&b, 14, PUTS({ 14, 0x00, 14 }));
	backing_write(&backing, 14, 0xff, 14);
	build_load(&b, BLOCKS * 8);
	decision = decide(&b, &backing, WB_PREFIX);
	expect_scope(&decision, 9, 12);
	backing_release(&backing);
	build_release(&b);
}

static void record_at_or_above_the_hole_is_evidence(void **state)
{
	static const struct { uint64_t record; bool evidence; } cases[] = {
		{ 0, false }, { 12, false }, { 13, true }, { 14, true }, { 16, true },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct backing backing;
		struct wb_decision decision;

		sound(&b, "v1");
		lose_write(&b, 13);
		build_record(&b, cases[i].record);
		backing_init(&backing, BLOCKS * 8);
		lap_before(&backing, 13);
		build_load(&b, BLOCKS * 8);
		decision = decide(&b, &backing, WB_PREFIX);
		assert_int_equal(decision.refused, cases[i].evidence ? WB_REFUSE_REGRESS : 0);
		assert_int_equal(decision.record_is_evidence, cases[i].evidence);
		assert_int_equal(decision.evidence, 0);
		decision = decide(&b, &backing, WB_SALVAGE);
		expect_scope(&decision, cases[i].evidence ? 14 : 9, 16);
		assert_int_equal(decision.record_is_evidence, cases[i].evidence);
		backing_release(&backing);
		build_release(&b);
	}
}

static void ignored_record_is_no_evidence(void **state)
{
	struct build b;
	struct wb_decision decision;
	const struct wb_ring_options options = { .record_use = WB_RECORD_IGNORE };

	(void)state;
	sound(&b, "v1");
	lose_write(&b, 13);
	build_record(&b, 16);
	build_load_on(&b, NULL, &options);
	decision = decide(&b, NULL, WB_PREFIX);
	expect_scope(&decision, 9, 12);
	build_release(&b);
}

static void v0_record_cuts_the_window_and_is_no_evidence(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v0");
	lose_write(&b, 13);
	build_record(&b, 11);
	build_load(&b, 0);
	decision = decide(&b, NULL, WB_PREFIX);
	expect_scope(&decision, 12, 12);
	assert_false(decision.record_is_evidence);
	build_release(&b);
}

/* ---- salvage ---- */

static void salvage_cuts_at_the_largest_hole_with_evidence(void **state)
{
	static const struct { struct sighting seen; uint64_t record, cut; } cases[] = {
		{ { 0, 0, 0 }, 0, 0 },
		{ { 10, 0xff, 10 }, 0, 0 },   /* below both holes */
		{ { 11, 0xff, 11 }, 0, 0 },   /* of the first hole nothing is left to compare with */
		{ { 13, 0xff, 13 }, 0, 11 },  /* between them */
		{ { 16, 0x80, 16 }, 0, 14 },
		{ { 0, 0, 0 }, 10, 0 },
		{ { 0, 0, 0 }, 11, 11 },
		{ { 0, 0, 0 }, 13, 11 },
		{ { 0, 0, 0 }, 14, 14 },
		{ { 16, 0xff, 16 }, 12, 14 }, /* content proves more than the record */
		{ { 13, 0xff, 13 }, 15, 14 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct backing backing;
		struct wb_decision decision;

		sound(&b, "v1");
		cover(&b, cases[i].seen.block);
		lose_write(&b, 11);
		lose_write(&b, 14);
		build_record(&b, cases[i].record);
		backing_init(&backing, BLOCKS * 8);
		lap_before(&backing, 11);
		lap_before(&backing, 14);
		backing_write(&backing, cases[i].seen.block, cases[i].seen.mask, cases[i].seen.version);
		build_load(&b, BLOCKS * 8);
		decision = decide(&b, &backing, WB_SALVAGE);
		assert_int_equal(decision.cut, cases[i].cut);
		expect_scope(&decision, cases[i].cut ? cases[i].cut + 1 : 9, 16);
		backing_release(&backing);
		build_release(&b);
	}
}

static void salvage_corrects_before_it_looks_for_holes(void **state)
{
	struct build b;
	struct backing backing;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	build_at(&b, 4)[5000] ^= 1;
	backing_init(&backing, BLOCKS * 8);
	backing_write(&backing, 14, 0xff, 14); /* evidence, if 13 were a hole */
	build_load(&b, BLOCKS * 8);
	assert_int_equal(b.ring.holes, 1);
	decision = decide(&b, &backing, WB_SALVAGE);
	expect_scope(&decision, 9, 16);
	assert_int_equal(decision.corrected, 1);
	assert_int_equal(decision.cut, 0);
	assert_int_equal(decision.left_segments, 0);
	assert_int_equal(b.ring.holes, 0);
	for (unsigned resumed = 0; resumed < 2; resumed++) { /* decided again, on the ring that is corrected now */
		const struct wb_decide_options options = { .policy = WB_SALVAGE, .capacity = ROOM, .resumed = resumed };
		const struct wb_replay_result result = { .passes = 1 };
		struct wb_decision again;

		assert_int_equal(wb_decide(&b.ring, backing.dev, &options, &again, NULL, NULL), 0);
		assert_int_equal(again.damage, decision.damage);
		assert_int_equal(wb_decision_status(&b.ring, &options, &again, &result), 1);
	}
	backing_release(&backing);
	build_release(&b);
}

static void salvage_takes_a_corrected_next_id(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	one_bit_at_the_next(&b);
	build_load(&b, 0);
	decision = decide(&b, NULL, WB_SALVAGE);
	expect_scope(&decision, 10, 17);
	assert_int_equal(decision.corrected, 1);
	build_release(&b);
}

static void stale_sectors_are_those_that_nobody_newer_wrote(void **state)
{
	static const struct { unsigned newer; uint64_t stale; } cases[] = {
		{ 0x00, 8 }, { 0x0f, 4 }, { 0xff, 0 }, { 0x81, 6 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct wb_decision decision;

		sound(&b, "v1");
		break_seal(&b, 13);
		if (cases[i].newer)
			build_segment(&b, 15, PUTS({ 13, cases[i].newer, 0 }));
		build_load(&b, 0);
		decision = decide(&b, NULL, WB_SALVAGE);
		expect_scope(&decision, 9, 16);
		assert_int_equal(decision.stale_sectors, cases[i].stale);
		assert_int_equal(decision.unknown_holes, 0);
		assert_int_equal(decision.left_segments, 1);
		assert_int_equal(decision.left_sectors, 8);
		build_release(&b);
	}
}

struct stale {
	uint64_t sector[16], sectors[16];
	unsigned count;
};

static void note_stale(void *context, uint64_t sector, uint64_t sectors)
{
	struct stale *stale = context;

	assert_true(stale->count < LENGTH_OF(stale->sector));
	stale->sector[stale->count] = sector;
	stale->sectors[stale->count++] = sectors;
}

static void stale_sectors_are_listed_in_runs(void **state)
{
	struct stale stale = { .count = 0 };
	struct build b;

	(void)state;
	sound(&b, "v1");
	build_segment(&b, 13, PUTS({ 30, 0xff, 0 }, { 20, 0x3c, 0 }));
	break_seal(&b, 13);
	build_segment(&b, 15, PUTS({ 30, 0x18, 0 }));
	build_load(&b, 0);
	decide_with(&b, NULL, (struct wb_decide_options){ .policy = WB_SALVAGE, .stale = note_stale, .context = &stale });
	assert_int_equal(stale.count, 3);
	assert_int_equal(stale.sector[0], 20 * 8 + 2);
	assert_int_equal(stale.sectors[0], 4);
	assert_int_equal(stale.sector[1], 30 * 8);
	assert_int_equal(stale.sectors[1], 3);
	assert_int_equal(stale.sector[2], 30 * 8 + 5);
	assert_int_equal(stale.sectors[2], 3);
	build_release(&b);
}

static void part_readable_segments_are_not_stale_but_written(void **state)
{
	const struct wb_ring_options options = { .backing_sectors = BLOCKS * 8 };
	struct wb_decision decision;
	struct build b;

	(void)state;
	sound(&b, "v1");
	struct wb_range bad = { wb_slot_offset(&b.geometry, 4) + 4096, 512 };

	build_load_on(&b, build_bad(&b, &bad, 1), &options);
	assert_class(&b, 4, WB_PART_READABLE);
	decision = decide(&b, NULL, WB_SALVAGE);
	expect_scope(&decision, 9, 16);
	assert_true(decision.scope.part);
	assert_int_equal(decision.stale_sectors, 0);
	assert_int_equal(decision.left_segments, 0);
	build_release(&b);
}

static void newer_clean_copy_ends_staleness(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	break_seal(&b, 13);
	build_segment(&b, 15, PUTS({ 13, 0x00, ON_BACKING }));
	build_load(&b, 0);
	decision = decide(&b, NULL, WB_SALVAGE);
	assert_int_equal(decision.stale_sectors, 0);
	build_release(&b);
}

static void holes_that_say_nothing_are_counted(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	lose_write(&b, 12);
	lose_write(&b, 14);
	build_load(&b, 0);
	decision = decide(&b, NULL, WB_SALVAGE);
	assert_int_equal(decision.unknown_holes, 2);
	assert_int_equal(decision.stale_sectors, 0);
	build_release(&b);
}

/* Each hole is counted once, by its slot or as lost, with as many sectors as a segment can have. */
static void what_a_hole_without_metadata_had_is_bounded(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	lose_write(&b, 12);
	memset(build_at(&b, wb_slot_of(&b.geometry, 13)), 0, WB_BLOCK);
	break_seal(&b, 15);
	build_load(&b, 0);
	decision = decide(&b, NULL, WB_SALVAGE);
	assert_int_equal(decision.unknown_holes, 2);
	assert_int_equal(decision.left_segments, 2);
	assert_int_equal(decision.left_sectors, 8 * b.geometry.capacity + 8);
	assert_int_equal(decision.lost_segments, 1);
	assert_int_equal(decision.lost_sectors, 8 * b.geometry.capacity);
	build_release(&b);
}

static void salvage_leaves_ahead_and_alien_out_and_counts_them(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	build_segment(&b, 19, PUTS({ 19, 0x07, 0 }));
	set_id(&b, 6, 0x123457);
	build_load(&b, 0);
	assert_class(&b, 6, WB_ALIEN_ID);
	decision = decide(&b, NULL, WB_SALVAGE);
	expect_scope(&decision, 12, 16);
	assert_int_equal(decision.left_segments, 2);
	assert_int_equal(decision.left_sectors, 3 + 8);
	build_release(&b);
}

/* ---- until ---- */

static void until_cuts_behind_its_id(void **state)
{
	static const struct { enum wb_policy policy; uint64_t until, high, cut; } cases[] = {
		{ WB_STRICT, 12, 12, 13 }, { WB_PREFIX, 12, 12, 13 }, { WB_SALVAGE, 12, 12, 13 },
		{ WB_STRICT, 15, 15, 16 }, { WB_STRICT, 16, 16, 0 },  { WB_STRICT, 99, 16, 0 },
		{ WB_STRICT, 9, 9, 10 },   { WB_STRICT, UINT64_MAX, 16, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct wb_decision decision;

		sound(&b, "v1");
		build_load(&b, 0);
		decision = decide_with(&b, NULL, (struct wb_decide_options){ .policy = cases[i].policy,
									     .until_given = cases[i].until,
									     .until = cases[i].until });
		expect_scope(&decision, 9, cases[i].high);
		assert_int_equal(decision.cut, cases[i].cut);
		assert_int_equal(decision.left_segments, 16 - cases[i].high);
		build_release(&b);
	}
}

static void until_before_the_window_writes_nothing(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	build_load(&b, 0);
	decision = decide_with(&b, NULL, (struct wb_decide_options){ .until_given = true, .until = 5 });
	assert_int_equal(decision.refused, 0);
	assert_true(decision.scope.low > decision.scope.high);
	assert_int_equal(decision.left_segments, 8);
	build_release(&b);
}

static void until_does_not_reach_over_a_hole(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v1");
	lose_write(&b, 11);
	build_load(&b, 0);
	decision = decide_with(&b, NULL, (struct wb_decide_options){ .until_given = true, .until = 14 });
	expect_scope(&decision, 9, 10);
	decision = decide_with(&b, NULL, (struct wb_decide_options){ .until_given = true, .until = 9 });
	expect_scope(&decision, 9, 9);
	build_release(&b);
}

static void until_is_held_against_evidence_too(void **state)
{
	static const struct { uint64_t version; unsigned refused; } cases[] = {
		{ 12, 0 }, { 13, WB_REFUSE_REGRESS }, { 16, WB_REFUSE_REGRESS },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct backing backing;
		struct wb_decision decision;

		sound(&b, "v1");
		cover(&b, cases[i].version);
		backing_init(&backing, BLOCKS * 8);
		backing_write(&backing, cases[i].version, 0xff, cases[i].version);
		build_load(&b, BLOCKS * 8);
		decision = decide_with(&b, &backing, (struct wb_decide_options){ .until_given = true, .until = 12 });
		assert_int_equal(decision.refused, cases[i].refused);
		backing_release(&backing);
		build_release(&b);
	}
}

static void until_gets_behind_a_bad_newest_segment(void **state)
{
	struct build b;
	struct wb_decision decision;

	(void)state;
	sound(&b, "v0");
	build_load(&b, 0);
	decision = decide_with(&b, NULL, (struct wb_decide_options){ .until_given = true, .until = 15 });
	expect_scope(&decision, 10, 15);
	build_release(&b);
}

/* ---- no policy goes back in time ---- */

static struct wb_replay_result carry_out(struct build *b, struct backing *backing, const struct wb_scope *scope)
{
	const struct wb_replay_options options = { .capacity = ROOM, .verify = true };
	struct wb_replay_result result;

	assert_int_equal(wb_replay(&b->ring, scope, backing->dev, &options, &result, NULL, NULL), 0);
	return result;
}

/* Its id may be forged, but what BACKING demonstrably holds is not overwritten on that suspicion. */
static void version_of_an_ahead_segment_refuses_prefix_and_is_contested_by_salvage(void **state)
{
	static const enum wb_policy policies[] = { WB_PREFIX, WB_SALVAGE };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(policies); i++) {
		struct build b;
		struct backing backing;
		struct wb_decision decision;

		sound(&b, "v1");
		build_segment(&b, 14, PUTS({ 20, 0xff, 0 }));
		build_segment(&b, 19, PUTS({ 20, 0xff, 0 })); /* 17 and 18 are lost, or 19 was 11 */
		backing_init(&backing, BLOCKS * 8);
		backing_write(&backing, 20, 0xff, 19);
		build_load(&b, BLOCKS * 8);
		assert_class(&b, 2, WB_AHEAD);
		decision = decide(&b, &backing, policies[i]);
		assert_int_equal(decision.refused, policies[i] == WB_PREFIX ? WB_REFUSE_REGRESS : 0);
		assert_int_equal(decision.cut, 0);
		assert_int_equal(carry_out(&b, &backing, &decision.scope).contested_sectors, policies[i] == WB_PREFIX ? 0 : 8);
		assert_true(backing_holds(&backing, 20 * 8, 19));
		backing_release(&backing);
		build_release(&b);
	}
}

static void copy_of_a_later_hole_on_the_backing_device_is_not_taken_back(void **state)
{
	static const enum wb_policy policies[] = { WB_PREFIX, WB_SALVAGE };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(policies); i++) {
		struct build b;
		struct backing backing;
		struct wb_decision decision;

		sound(&b, "v1");
		build_segment(&b, 10, PUTS({ 20, 0xff, 0 }));
		lose_write(&b, 12);
		build_segment(&b, 14, PUTS({ 20, 0xff, 0 }));
		break_seal(&b, 14);
		backing_init(&backing, BLOCKS * 8);
		lap_before(&backing, 12);
		backing_write(&backing, 20, 0xff, 14);
		build_load(&b, BLOCKS * 8);
		decision = decide(&b, &backing, policies[i]);
		carry_out(&b, &backing, &decision.scope);
		assert_true(backing_holds(&backing, 20 * 8, 14));
		backing_release(&backing);
		build_release(&b);
	}
}

#define HISTORY 40u

/* A log of one-block segments in which every version of a sector differs, written back up to some id, then damaged
 * in places that leave own copies. Whatever a policy does, no sector goes back. */
static void no_policy_goes_back_in_time(void **state)
{
	uint64_t seed = 4;
	unsigned written = 0, refused = 0;

	(void)state;
	for (unsigned round = 0; round < 600; round++) {
		uint32_t slots = 4 + draw_below(&seed, 8), span = 2 + draw_below(&seed, 5);
		uint64_t head = 1 + draw(&seed) % HISTORY, back = draw(&seed) % (head + 1), found[16 * 8] = { 0 };
		enum wb_policy policy = round & 1 ? WB_PREFIX : WB_SALVAGE;
		struct backing backing;
		struct build b;

		build_init(&b, "v1", 4, slots);
		backing_init(&backing, span * 8);
		if (back + slots < head)
			back = head - slots; /* what has been overwritten was written back */
		for (uint64_t id = 1; id <= head; id++) {
			uint64_t block = draw_below(&seed, span);
			unsigned mask = 1 + draw_below(&seed, 255);

			build_segment(&b, id, PUTS({ block, mask, 0 }));
			if (id > back)
				continue;
			backing_write(&backing, block, mask, id);
			for (unsigned i = 0; i < 8; i++)
				if (mask >> i & 1)
					found[block * 8 + i] = id;
		}
		for (unsigned damage = 1 + draw_below(&seed, 3); damage; damage--) {
			uint64_t below = draw_below(&seed, (uint32_t)(head < slots ? head : slots));

			if (below) /* the newest one would be a torn tail */
				break_seal(&b, head - below);
		}
		build_load(&b, span * 8);
		struct wb_decision decision = decide(&b, &backing, policy);
		struct wb_replay_result result = carry_out(&b, &backing, &decision.scope);

		written += result.written_sectors != 0;
		refused += decision.refused != 0;
		for (uint64_t lba = 0; lba < span * 8; lba++) {
			uint64_t now = 0;

			for (uint64_t id = 1; id <= head; id++)
				if (backing_holds(&backing, lba, id))
					now = id;
			if (now < found[lba])
				fail_msg("round %u: %s took sector %u from segment %u back to %u", round,
					 policy == WB_PREFIX ? "prefix" : "salvage", (unsigned)lba,
					 (unsigned)found[lba], (unsigned)now);
		}
		backing_release(&backing);
		build_release(&b);
	}
	assert_true(written > 100 && refused > 20); /* else it proves nothing */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strict_refuses_for_each_fault_alone),
		cmocka_unit_test(patterns_are_refused_by_every_policy),
		cmocka_unit_test(unreadable_header_is_refused),
		cmocka_unit_test(unreadable_data_of_v0_is_refused_without_a_hole),
		cmocka_unit_test(prefix_ends_before_a_segment_of_v0_that_cannot_be_read_whole),
		cmocka_unit_test(strict_takes_the_whole_window),
		cmocka_unit_test(record_use_answers_a_missing_record),
		cmocka_unit_test(time_line_answers_a_restart),
		cmocka_unit_test(forced_size_lets_strict_go_on_and_counts_what_it_leaves),
		cmocka_unit_test(one_force_does_not_answer_another_refusal),
		cmocka_unit_test(zeroed_segments_per_policy_and_answer),
		cmocka_unit_test(a_block_that_cannot_be_read_is_no_zero),
		cmocka_unit_test(a_segment_of_which_nothing_can_be_read_is_not_zeroed),
		cmocka_unit_test(prefix_of_a_sound_log_is_all_of_it),
		cmocka_unit_test(prefix_ends_before_the_first_hole),
		cmocka_unit_test(prefix_corrects_nothing),
		cmocka_unit_test(prefix_with_the_oldest_id_missing_writes_nothing),
		cmocka_unit_test(evidence_at_one_hole),
		cmocka_unit_test(forced_regress_goes_on),
		cmocka_unit_test(content_that_an_older_segment_has_too_is_no_evidence),
		cmocka_unit_test(very_many_versions_of_a_block_are_weighed_together),
		cmocka_unit_test(one_repeated_byte_is_no_evidence),
		cmocka_unit_test(sectors_that_are_not_dirty_are_no_evidence),
		cmocka_unit_test(record_at_or_above_the_hole_is_evidence),
		cmocka_unit_test(ignored_record_is_no_evidence),
		cmocka_unit_test(v0_record_cuts_the_window_and_is_no_evidence),
		cmocka_unit_test(salvage_cuts_at_the_largest_hole_with_evidence),
		cmocka_unit_test(salvage_corrects_before_it_looks_for_holes),
		cmocka_unit_test(salvage_takes_a_corrected_next_id),
		cmocka_unit_test(stale_sectors_are_those_that_nobody_newer_wrote),
		cmocka_unit_test(stale_sectors_are_listed_in_runs),
		cmocka_unit_test(part_readable_segments_are_not_stale_but_written),
		cmocka_unit_test(newer_clean_copy_ends_staleness),
		cmocka_unit_test(holes_that_say_nothing_are_counted),
		cmocka_unit_test(what_a_hole_without_metadata_had_is_bounded),
		cmocka_unit_test(salvage_leaves_ahead_and_alien_out_and_counts_them),
		cmocka_unit_test(until_cuts_behind_its_id),
		cmocka_unit_test(until_before_the_window_writes_nothing),
		cmocka_unit_test(until_does_not_reach_over_a_hole),
		cmocka_unit_test(until_is_held_against_evidence_too),
		cmocka_unit_test(until_gets_behind_a_bad_newest_segment),
		cmocka_unit_test(version_of_an_ahead_segment_refuses_prefix_and_is_contested_by_salvage),
		cmocka_unit_test(copy_of_a_later_hole_on_the_backing_device_is_not_taken_back),
		cmocka_unit_test(no_policy_goes_back_in_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
