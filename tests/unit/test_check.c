/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/check.c: one fault makes one finding, in the right place. */
#include "cache_builder.h"

#define FOUND_MAX 64u
#define NONE (-1)

struct found {
	struct wb_finding list[FOUND_MAX];
	unsigned count, stop_after;
};

static int note(void *context, const struct wb_finding *finding)
{
	struct found *found = context;

	assert_true(found->count < FOUND_MAX);
	found->list[found->count++] = *finding;
	return found->count == found->stop_after;
}

static struct found check(struct build *b, const struct wb_proof *proof)
{
	struct found found = { .count = 0 };

	assert_int_equal(wb_check(&b->ring, proof, note, &found, NULL), 0);
	return found;
}

/* Ids 9 ... 16 on eight slots. */
static void sound(struct build *b, const char *format)
{
	build_init(b, format, 5, 8);
	build_log(b, 9, 16, 1000);
}

static uint32_t slot_of(const struct build *b, uint64_t id)
{
	return wb_slot_of(&b->geometry, id);
}

static void break_seal(struct build *b, uint64_t id)
{
	memset(build_at(b, slot_of(b, id)) + 8, 0x5b, 4);
}

static void nothing(struct build *b) { (void)b; }
static void empty(struct build *b) { memset(build_at(b, 0), 0, 8 * wb_slot_size(&b->geometry)); }
static void torn_tail(struct build *b) { build_torn(b, 17, 3); }
static void torn_head(struct build *b) { break_seal(b, 9); }
static void blank_head(struct build *b) { memset(build_at(b, 0), 0, WB_BLOCK); }
static void ahead(struct build *b) { build_segment(b, 19, PUTS({ 19, 0xff, 0 })); }
static void rotten(struct build *b) { break_seal(b, 13); }
static void blank(struct build *b) { memset(build_at(b, 4), 0, WB_BLOCK); }
static void stale_lap(struct build *b) { build_segment(b, 5, PUTS({ 5, 0xff, 0 })); }
static void alien(struct build *b) { wb_put_le(build_id_at(b, 4), 8, 0x12345); }
static void bad_length(struct build *b) { *build_length_at(b, 4) = 99; }
static void record_garbage(struct build *b) { build_record(b, 25); }
static void record_missing(struct build *b) { build_record(b, 24); }
static void record_sound(struct build *b) { build_record(b, 16); }
static void beyond(struct build *b) { build_segment(b, 13, PUTS({ 2000, 0xff, 0 })); }
static void clean_beyond(struct build *b) { build_segment(b, 13, PUTS({ 2000, 0x00, 0 })); }

static void one_bit(struct build *b) { build_at(b, 4)[6000] ^= 1; }

static void misaligned(struct build *b)
{
	build_at(b, 4)[b->geometry.format->metablocks] ^= 4;
	build_seal(b, 4);
}

static void padding(struct build *b)
{
	build_at(b, 4)[400] = 1;
}

static void discarded(struct build *b)
{
	memset(build_at(b, 1) + WB_BLOCK, 0, WB_BLOCK);
}

static void foreign(struct build *b)
{
	empty(b);
	build_log(b, 1, 3, 1000);
	memset(build_at(b, 6), 0xa5, WB_BLOCK);
}

static void misplaced(struct build *b)
{
	empty(b);
	build_log(b, 1, 3, 1000);
	build_segment_at(b, 6, 4, PUTS({ 40, 0xff, 0 }));
}

static void record_hazard(struct build *b)
{
	build_segment(b, 13, PUTS({ 13, 0x0f, 0 }));
	build_record(b, 11);
}

static void destroyed(struct build *b)
{
	for (uint64_t id = 9; id <= 16; id++)
		break_seal(b, id);
}

static void shifted(struct build *b)
{
	build_log(b, 17, 20, 1000); /* of one lap alone it could be the number of slots */
	memmove(build_at(b, 0), build_at(b, 3), 5 * wb_slot_size(&b->geometry));
	memset(build_at(b, 5), 0, 3 * wb_slot_size(&b->geometry));
}

static void resized(struct build *b)
{
	empty(b);
	for (uint64_t id = 21; id <= 28; id++)
		build_segment_at(b, (uint32_t)(id - 1) % 10 % 8, id, PUTS({ id, 0xff, 0 }));
}

static void restarted(struct build *b)
{
	build_log(b, 1, 3, 1000);
}

static void zero_super(struct build *b)
{
	memset(b->bytes, 0, WB_SECTOR);
}

static void bad_super(struct build *b)
{
	b->bytes[0] ^= 1;
}

static void ended(struct build *b)
{
	const struct wb_marker marker = { .reason = WB_END_FLUSHED, .head = 16 };

	wb_marker_encode(b->bytes, &marker);
}

static void format_interrupted(struct build *b)
{
	const struct wb_marker marker = { .reason = WB_END_FORMAT };

	wb_marker_encode(b->bytes, &marker);
}

/* 15 and 16 came after the end. */
static void written_after_end(struct build *b)
{
	const struct wb_marker marker = { .version = 2, .reason = WB_END_FLUSHED, .head = 14, .digest = 1 };

	wb_marker_encode(b->bytes, &marker);
}

/* What is left of it is older than what was ended. */
static void changed_after_end(struct build *b)
{
	const struct wb_marker marker = { .version = 2, .reason = WB_END_FLUSHED, .head = 20, .digest = 1 };

	wb_marker_encode(b->bytes, &marker);
}

static const struct fault {
	const char *name, *format;
	void (*break_it)(struct build *b);
	int rule;                        /* NONE: nothing to say */
	uint32_t slot;
	uint64_t id, found_id;
} faults[] = {
	{ "nothing", "v1", nothing, NONE, 0, 0, 0 },
	{ "an empty log", "v1", empty, NONE, 0, 0, 0 },
	{ "a sound record", "v1", record_sound, NONE, 0, 0, 0 },
	{ "torn tail", "v1", torn_tail, WB_RULE_TORN_TAIL, 0, 17, 17 },
	{ "torn head", "v1", torn_head, WB_RULE_TORN_HEAD, 0, 9, 9 },
	{ "blank head", "v1", blank_head, WB_RULE_TORN_HEAD, 0, 9, 0 },
	{ "ahead", "v1", ahead, WB_RULE_AHEAD, 2, 19, 19 },
	{ "rotten", "v1", rotten, WB_RULE_ROTTEN, 4, 13, 13 },
	{ "one bit", "v1", one_bit, WB_RULE_ROTTEN, 4, 13, 13 },
	{ "blank slot", "v1", blank, WB_RULE_ROTTEN, 4, 13, 0 },
	{ "stale lap", "v1", stale_lap, WB_RULE_STALE_LAP, 4, 13, 5 },
	{ "alien id", "v1", alien, WB_RULE_ALIEN_ID, 4, 13, 0x12345 },
	{ "bad length", "v1", bad_length, WB_RULE_BAD_LENGTH, 4, 13, 13 },
	{ "misaligned", "v1", misaligned, WB_RULE_MISALIGNED, 4, 13, 13 },
	{ "beyond", "v1", beyond, WB_RULE_BEYOND_BACKING, 4, 13, 13 },
	{ "clean beyond", "v1", clean_beyond, WB_RULE_BEYOND_BACKING, 4, 13, 13 },
	{ "padding", "v1", padding, WB_RULE_PADDING, 4, 13, 13 },
	{ "foreign", "v1", foreign, WB_RULE_FOREIGN, 6, UINT64_C(0xa5a5a5a5a5a5a5a5), UINT64_C(0xa5a5a5a5a5a5a5a5) },
	{ "whole, where nothing was written", "v1", misplaced, WB_RULE_ALIEN_ID, 6, 4, 4 },
	{ "the same of v0", "v0", misplaced, WB_RULE_ALIEN_ID, 6, 4, 4 },
	{ "record garbage", "v1", record_garbage, WB_RULE_RECORD_GARBAGE, WB_NO_SLOT, 25, 0 },
	{ "record missing", "v1", record_missing, WB_RULE_RECORD_MISSING, WB_NO_SLOT, 24, 0 },
	{ "record hazard", "v1", record_hazard, WB_RULE_RECORD_HAZARD, WB_NO_SLOT, 11, 0 },
	{ "destroyed", "v1", destroyed, WB_RULE_DESTROYED, WB_NO_SLOT, 0, 0 },
	{ "shifted", "v1", shifted, WB_RULE_SHIFTED, WB_NO_SLOT, 0, 0 },
	{ "resized", "v1", resized, WB_RULE_RESIZED, WB_NO_SLOT, 0, 0 },
	{ "restarted", "v1", restarted, WB_RULE_RESTARTED, WB_NO_SLOT, 3, 0 },
	{ "zeroed superblock", "v1", zero_super, WB_RULE_ZERO_SUPERBLOCK, WB_NO_SLOT, 0, 0 },
	{ "damaged superblock", "v1", bad_super, WB_RULE_BAD_SUPERBLOCK, WB_NO_SLOT, 0, 0 },
	{ "ended", "v1", ended, WB_RULE_ENDED, WB_NO_SLOT, 16, 0 },
	{ "written after the end", "v1", written_after_end, WB_RULE_WRITTEN_AFTER_END, WB_NO_SLOT, 16, 0 },
	{ "changed after the end", "v1", changed_after_end, WB_RULE_WRITTEN_AFTER_END, WB_NO_SLOT, 0, 0 },
	{ "interrupted format", "v1", format_interrupted, WB_RULE_FORMAT_INTERRUPTED, WB_NO_SLOT, 0, 0 },
	/* in v0 next to the warning that nothing covers its data */
	{ "nothing", "v0", nothing, NONE, 0, 0, 0 },
	{ "torn tail", "v0", torn_tail, WB_RULE_TORN_TAIL, 0, 17, 17 },
	{ "stale lap", "v0", stale_lap, WB_RULE_STALE_LAP, 4, 13, 5 },
	{ "misaligned", "v0", misaligned, WB_RULE_MISALIGNED, 4, 13, 13 },
	{ "beyond", "v0", beyond, WB_RULE_BEYOND_BACKING, 4, 13, 13 },
	{ "clean beyond", "v0", clean_beyond, NONE, 0, 0, 0 },
	{ "discarded", "v0", discarded, WB_RULE_ZEROED, 1, 10, 10 },
};

static void one_fault_makes_one_finding(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(faults); i++) {
		const struct fault *fault = &faults[i];
		struct found found;
		struct build b;
		unsigned n = 0, at = 0;

		sound(&b, fault->format);
		fault->break_it(&b);
		build_load(&b, 1000 * 8);
		found = check(&b, NULL);
		for (unsigned j = 0; j < found.count; j++)
			if (found.list[j].rule != WB_RULE_UNSEALED_DATA) {
				at = j;
				n++;
			}
		assert_int_equal(found.count - n, strcmp(fault->format, "v0") == 0);
		if (n != (fault->rule == NONE ? 0 : 1))
			fail_msg("%s %s: %u findings, the last one is %s", fault->format, fault->name, n,
				 wb_rule_info(found.list[at].rule)->name);
		if (n) {
			assert_string_equal(wb_rule_info(found.list[at].rule)->name,
					    wb_rule_info((enum wb_rule)fault->rule)->name);
			assert_int_equal(found.list[at].slot, fault->slot);
			assert_int_equal(found.list[at].id, fault->id);
			assert_int_equal(found.list[at].found_id, fault->found_id);
		}
		build_release(&b);
	}
}

/* ---- what a finding says ---- */

static void slots_are_named_with_their_place_and_dirty_sectors(void **state)
{
	struct found found;
	struct build b;

	(void)state;
	sound(&b, "v1");
	build_segment(&b, 13, PUTS({ 13, 0xff, 0 }, { 14, 0x03, 0 }));
	break_seal(&b, 13);
	build_load(&b, 0);
	found = check(&b, NULL);
	assert_int_equal(found.count, 1);
	assert_int_equal(found.list[0].offset, wb_slot_offset(&b.geometry, 4));
	assert_int_equal(found.list[0].sectors, 10);
	assert_int_equal(found.list[0].index, -1);
	assert_null(found.list[0].bit);
	build_release(&b);
}

static void bit_that_explains_it_is_named(void **state)
{
	struct found found;
	struct build b;

	(void)state;
	sound(&b, "v1");
	build_at(&b, 4)[6000] ^= 8;
	build_load(&b, 0);
	found = check(&b, NULL);
	assert_int_equal(found.count, 1);
	assert_non_null(found.list[0].bit);
	assert_int_equal(found.list[0].bit->byte, 6000);
	assert_int_equal(found.list[0].bit->bit, 3);
	build_release(&b);
}

static void each_metablock_out_of_bounds_is_named(void **state)
{
	struct found found;
	struct build b;

	(void)state;
	sound(&b, "v1");
	build_segment(&b, 13, PUTS({ 2000, 0xff, 0 }, { 13, 0xff, 0 }, { 3000, 0x01, 0 }));
	build_load(&b, 1000 * 8);
	found = check(&b, NULL);
	assert_int_equal(found.count, 2);
	assert_int_equal(found.list[0].index, 0);
	assert_int_equal(found.list[0].sector, 2000 * 8);
	assert_int_equal(found.list[0].sectors, 8);
	assert_int_equal(found.list[0].offset, wb_slot_offset(&b.geometry, 4) + 512);
	assert_int_equal(found.list[1].index, 2);
	assert_int_equal(found.list[1].sector, 3000 * 8);
	assert_int_equal(found.list[1].sectors, 1);
	assert_int_equal(found.list[1].offset, wb_slot_offset(&b.geometry, 4) + 512 + 32);
	build_release(&b);
}

static void unreadable_slots_are_named(void **state)
{
	const struct wb_ring_options options = { .backing_sectors = 0 };
	struct found found;
	struct build b;

	(void)state;
	sound(&b, "v1");
	const struct wb_range bad[] = { { wb_slot_offset(&b.geometry, 3), 512 },
					{ wb_slot_offset(&b.geometry, 5) + WB_BLOCK, 512 } };

	build_load_on(&b, build_bad(&b, bad, 2), &options);
	found = check(&b, NULL);
	assert_int_equal(found.count, 2);
	assert_int_equal(found.list[0].rule, WB_RULE_UNREADABLE);
	assert_int_equal(found.list[0].slot, 3);
	assert_int_equal(found.list[0].id, 12);
	assert_int_equal(found.list[1].rule, WB_RULE_PART_READABLE);
	assert_int_equal(found.list[1].id, 14);
	build_release(&b);
}

static void findings_come_superblock_first_then_patterns_then_slots(void **state)
{
	static const enum wb_rule expected[] = { WB_RULE_BAD_SUPERBLOCK, WB_RULE_RECORD_GARBAGE, WB_RULE_TORN_HEAD,
						 WB_RULE_STALE_LAP, WB_RULE_ROTTEN };
	struct found found;
	struct build b;

	(void)state;
	sound(&b, "v1");
	break_seal(&b, 15);
	stale_lap(&b);
	torn_head(&b);
	record_garbage(&b);
	bad_super(&b);
	build_load(&b, 0);
	found = check(&b, NULL);
	assert_int_equal(found.count, LENGTH_OF(expected));
	for (unsigned i = 0; i < found.count; i++)
		assert_string_equal(wb_rule_info(found.list[i].rule)->name, wb_rule_info(expected[i])->name);
	build_release(&b);
}

static void both_dialects_are_two_time_lines_and_a_note(void **state)
{
	struct found found;
	struct build b;

	(void)state;
	build_init(&b, "v2", 10, 4);
	build_log(&b, 1, 2, 100);
	b.inverted = false;
	build_log(&b, 3, 4, 100);
	build_load(&b, 0);
	found = check(&b, NULL);
	assert_int_equal(found.count, 2);
	assert_int_equal(found.list[0].rule, WB_RULE_RESTARTED);
	assert_int_equal(found.list[0].id, 2);
	assert_int_equal(found.list[1].rule, WB_RULE_MIXED_CHECKSUMS);
	build_release(&b);
}

static void record_that_backing_contradicts_is_damage(void **state)
{
	struct found found;
	struct build b;

	(void)state;
	sound(&b, "v0");
	build_record(&b, 11);
	build_load(&b, 1000 * 8);
	assert_int_equal(check(&b, NULL).count, 1); /* unsealed data */
	b.ring.record_contradicted = true;
	found = check(&b, NULL);
	assert_int_equal(found.count, 2);
	for (unsigned i = 0; i < found.count; i++)
		if (found.list[i].rule != WB_RULE_UNSEALED_DATA)
			assert_true(found.list[i].rule == WB_RULE_RECORD_CONTRADICTED && found.list[i].severity == WB_DAMAGE &&
				    found.list[i].id == 11);
	build_release(&b);
}

static void contradicted_pair_is_a_finding(void **state)
{
	static const struct { enum wb_pair pair; unsigned count; } cases[] = {
		{ WB_PAIR_UNPROVEN, 0 }, { WB_PAIR_PROVEN, 0 }, { WB_PAIR_CONTRADICTED, 1 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_proof proof = { .pair = cases[i].pair };
		struct found found;
		struct build b;

		sound(&b, "v1");
		build_load(&b, 0);
		found = check(&b, &proof);
		assert_int_equal(found.count, cases[i].count);
		if (found.count)
			assert_int_equal(found.list[0].rule, WB_RULE_BACKING_MISMATCH);
		build_release(&b);
	}
}

static void hazard_needs_a_record_and_partial_writes(void **state)
{
	static const struct { uint64_t record; unsigned dirty; bool hazard; } cases[] = {
		{ 0, 0x0f, false }, { 11, 0xff, false }, { 11, 0x0f, true }, { 16, 0x0f, true },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct found found;
		struct build b;

		sound(&b, "v1");
		build_segment(&b, 13, PUTS({ 13, cases[i].dirty, 0 }));
		build_record(&b, cases[i].record);
		build_load(&b, 0);
		found = check(&b, NULL);
		assert_int_equal(found.count, cases[i].hazard);
		build_release(&b);
	}
}

static void metadata_that_changed_since_is_an_error(void **state)
{
	const struct wb_ring_options options = { .backing_sectors = 1000 * 8, .jobs = 1 };
	struct found found = { .count = 0 };
	struct wb_error err = { 0 };
	struct wb_dev *inner;
	struct spy spy;
	struct build b;

	(void)state;
	sound(&b, "v1");
	beyond(&b);
	assert_int_equal(wb_dev_memory(&inner, b.bytes, b.geometry.bytes, NULL), 0);
	spy_init(&spy, inner);
	build_load_on(&b, &spy.dev, &options);
	spy.change_read = spy.reads + 1;
	spy.change_at = wb_slot_offset(&b.geometry, 4) + 512;
	assert_int_equal(wb_check(&b.ring, NULL, note, &found, &err), -WB_ECHANGED);
	assert_int_equal(err.offset, wb_slot_offset(&b.geometry, 4));
	assert_int_equal(found.count, 0);
	wb_ring_release(&b.ring);
	b.dev = NULL;
	wb_dev_close(inner);
	build_release(&b);
}

static void finder_can_stop(void **state)
{
	struct build b;

	(void)state;
	sound(&b, "v1");
	bad_super(&b);
	record_garbage(&b);
	stale_lap(&b);
	break_seal(&b, 15);
	build_load(&b, 0);
	for (unsigned stop = 1; stop <= 4; stop++) {
		struct found found = { .stop_after = stop };

		assert_int_equal(wb_check(&b.ring, NULL, note, &found, NULL), 0);
		assert_int_equal(found.count, stop);
	}
	build_release(&b);
}

/* The log was ended, and something else is told beside it. */
static void end_is_told_with_what_it_left_out_or_what_came_after(void **state)
{
	static const struct { uint64_t head, digest; bool partial; int rules[2]; uint64_t sectors; } cases[] = {
		{ 16, 0, false, { WB_RULE_ENDED, NONE }, 0 },
		{ 16, 0, true, { WB_RULE_ENDED, WB_RULE_ENDED_PARTIAL }, 0 },
		{ 14, 1, true, { WB_RULE_WRITTEN_AFTER_END, NONE }, 16 },
		{ 13, 1, false, { WB_RULE_WRITTEN_AFTER_END, NONE }, 24 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_marker marker = { .reason = WB_END_FLUSHED, .head = cases[i].head, .digest = cases[i].digest,
						  .partial = cases[i].partial };
		struct found found;
		struct build b;

		sound(&b, "v1");
		wb_marker_encode(b.bytes, &marker);
		build_load(&b, 1000 * 8);
		found = check(&b, NULL);
		assert_int_equal(found.count, 1 + (cases[i].rules[1] != NONE));
		for (unsigned j = 0; j < found.count; j++)
			assert_int_equal((int)found.list[j].rule, cases[i].rules[j]);
		assert_int_equal(found.list[0].sectors, cases[i].sectors);
		build_release(&b);
	}
}

static void sector_0_alone_can_be_judged(void **state)
{
	static const struct { enum wb_super super; enum wb_end_reason reason; int rule; } cases[] = {
		{ WB_SUPER_GOOD, 0, NONE },
		{ WB_SUPER_ZEROED, 0, WB_RULE_ZERO_SUPERBLOCK },
		{ WB_SUPER_DAMAGED, 0, WB_RULE_BAD_SUPERBLOCK },
		{ WB_SUPER_ENDED, WB_END_FLUSHED, WB_RULE_ENDED },
		{ WB_SUPER_ENDED, WB_END_RESET, WB_RULE_ENDED },
		{ WB_SUPER_ENDED, WB_END_FORMAT, WB_RULE_FORMAT_INTERRUPTED },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_cache cache = { .super = cases[i].super, .marker.reason = cases[i].reason };
		struct found found = { .count = 0 };

		assert_int_equal(wb_check_super(&cache, note, &found), 0);
		assert_int_equal(found.count, cases[i].rule != NONE);
		if (found.count)
			assert_int_equal((int)found.list[0].rule, cases[i].rule);
	}
}

static void ties_and_wraps_are_told(void **state)
{
	const struct wb_cache tie = { .tie = wb_format_find("v1") }, wrap = { .wraps = true };
	struct found found = { .count = 0 };

	(void)state;
	assert_int_equal(wb_check_super(&tie, note, &found), 0);
	assert_int_equal(wb_check_super(&wrap, note, &found), 0);
	assert_int_equal(found.count, 2);
	assert_int_equal(found.list[0].rule, WB_RULE_TIE);
	assert_int_equal(found.list[1].rule, WB_RULE_WRAP);
}

/* ---- the rules ---- */

static void rules_have_names_of_their_own_and_texts(void **state)
{
	(void)state;
	for (int i = 0; i < WB_RULES; i++) {
		const struct wb_rule_info *rule = wb_rule_info((enum wb_rule)i);
		size_t length = strlen(rule->text);

		assert_true(strlen(rule->name) > 0);
		assert_true(length > 0 && rule->text[length - 1] != '.');
		for (int j = 0; j < i; j++)
			assert_string_not_equal(rule->name, wb_rule_info((enum wb_rule)j)->name);
	}
}

static void rule_of_a_class_bears_its_name(void **state)
{
	(void)state;
	assert_string_equal(wb_rule_info(WB_RULE_TORN_TAIL)->name, wb_class_name(WB_TORN_TAIL));
	assert_string_equal(wb_rule_info(WB_RULE_STALE_LAP)->name, wb_class_name(WB_STALE_LAP));
	assert_string_equal(wb_rule_info(WB_RULE_FOREIGN)->name, wb_class_name(WB_FOREIGN));
	assert_int_equal(wb_rule_info(WB_RULE_TORN_TAIL)->severity, WB_WARNING);
	assert_int_equal(wb_rule_info(WB_RULE_FOREIGN)->severity, WB_NOTE);
	assert_int_equal(wb_rule_info(WB_RULE_STALE_LAP)->severity, WB_DAMAGE);
	assert_string_equal(wb_severity_name(WB_NOTE), "note");
	assert_string_equal(wb_severity_name(WB_WARNING), "warning");
	assert_string_equal(wb_severity_name(WB_DAMAGE), "damage");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_fault_makes_one_finding),
		cmocka_unit_test(slots_are_named_with_their_place_and_dirty_sectors),
		cmocka_unit_test(bit_that_explains_it_is_named),
		cmocka_unit_test(each_metablock_out_of_bounds_is_named),
		cmocka_unit_test(unreadable_slots_are_named),
		cmocka_unit_test(findings_come_superblock_first_then_patterns_then_slots),
		cmocka_unit_test(both_dialects_are_two_time_lines_and_a_note),
		cmocka_unit_test(record_that_backing_contradicts_is_damage),
		cmocka_unit_test(contradicted_pair_is_a_finding),
		cmocka_unit_test(hazard_needs_a_record_and_partial_writes),
		cmocka_unit_test(metadata_that_changed_since_is_an_error),
		cmocka_unit_test(finder_can_stop),
		cmocka_unit_test(end_is_told_with_what_it_left_out_or_what_came_after),
		cmocka_unit_test(sector_0_alone_can_be_judged),
		cmocka_unit_test(ties_and_wraps_are_told),
		cmocka_unit_test(rules_have_names_of_their_own_and_texts),
		cmocka_unit_test(rule_of_a_class_bears_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
