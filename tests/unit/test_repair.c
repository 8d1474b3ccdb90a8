/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/repair.c: what is repaired, what stays, in which order, and what a power cut on the way leaves. */
#include "cache_builder.h"

#define REPAIRS_MAX 16u

struct list {
	struct wb_repair repairs[REPAIRS_MAX];
	unsigned count;
	struct wb_dev *write_to; /* NULL: only listed */
};

static int note(void *context, const struct wb_repair *repair, struct wb_error *err)
{
	struct list *list = context;
	int ret = list->write_to ? wb_repair_write(list->write_to, repair, err) : 0;

	assert_true(list->count < REPAIRS_MAX);
	if (!ret)
		list->repairs[list->count++] = *repair;
	return ret;
}

static struct list planned(struct build *b, bool zeroed_super)
{
	struct list list = { .count = 0 };

	assert_int_equal(wb_repair_each(&b->ring, zeroed_super, note, &list, NULL, NULL), 0);
	return list;
}

/* Ids 9 ... 16 on eight slots: slot 0 is the one that 17 goes over. */
static void sound(struct build *b, const char *format)
{
	build_init(b, format, 5, 8);
	build_log(b, 9, 16, 1000);
}

static uint8_t *segment(struct build *b, uint64_t id)
{
	return build_at(b, wb_slot_of(&b->geometry, id));
}

static void torn_head(struct build *b) { memset(segment(b, 9) + 8, 0x5b, 4); }
static void hole(struct build *b) { memset(segment(b, 13) + 8, 0x5b, 4); }
static void garbage(struct build *b) { build_record(b, 1000); }
static void partial(struct build *b) { build_segment(b, 13, PUTS({ 13, 0x0f, 0 })); }
static void bad_super(struct build *b) { b->bytes[0] ^= 1; }
static void zero_super(struct build *b) { memset(b->bytes, 0, WB_SECTOR); }
static void ahead(struct build *b) { build_segment(b, 19, PUTS({ 19, 0xff, 0 })); }
static void restarted(struct build *b) { build_log(b, 1, 3, 1000); }
static void nothing(struct build *b) { (void)b; }

static void blank_head(struct build *b)
{
	torn_head(b);
	memset(segment(b, 9), 0, 8);
}

static void hazard(struct build *b)
{
	partial(b);
	build_record(b, 11);
}

static void torn_head_and_garbage(struct build *b)
{
	torn_head(b);
	garbage(b);
}

static void torn_head_and_hole(struct build *b)
{
	torn_head(b);
	hole(b);
}

static void garbage_and_hole(struct build *b)
{
	garbage(b);
	hole(b);
}

static void hazard_and_hole(struct build *b)
{
	build_record(b, 11);
	build_segment(b, 15, PUTS({ 15, 0x0f, 0 }));
	hole(b);
}

static void garbage_and_ahead(struct build *b)
{
	garbage(b);
	ahead(b);
}

static void garbage_and_restarted(struct build *b)
{
	garbage(b);
	restarted(b);
}

static void bad_super_and_hole(struct build *b)
{
	bad_super(b);
	hole(b);
}

static void bad_super_and_resized(struct build *b)
{
	bad_super(b);
	memset(build_at(b, 0), 0, 8 * wb_slot_size(&b->geometry));
	for (uint64_t id = 21; id <= 28; id++)
		build_segment_at(b, (uint32_t)(id - 1) % 10 % 8, id, PUTS({ id, 0xff, 0 }));
}

static void zero_super_and_garbage(struct build *b)
{
	zero_super(b);
	garbage(b);
}

static void record_missing(struct build *b) { build_record(b, 24); }
static void record_sound(struct build *b) { build_record(b, 11); }

#define BIT(kind) (1u << WB_REPAIR_##kind)

static const struct {
	const char *name, *format;
	void (*break_it)(struct build *b);
	bool zeroed_super;
	unsigned kinds;
} cases[] = {
	{ "nothing", "v1", nothing, true, 0 },
	{ "torn head", "v1", torn_head, false, BIT(HEAD) },
	{ "torn head", "v2", torn_head, false, BIT(HEAD) },
	{ "blank head", "v1", blank_head, false, 0 },
	{ "torn head and hole", "v1", torn_head_and_hole, false, 0 },
	{ "garbage", "v1", garbage, false, BIT(RECORD) },
	{ "garbage", "v2", garbage, false, BIT(RECORD) },
	{ "garbage", "v0", garbage, false, 0 },
	{ "garbage and hole", "v1", garbage_and_hole, false, 0 },
	{ "garbage and ahead", "v1", garbage_and_ahead, false, 0 },
	{ "garbage and restarted", "v1", garbage_and_restarted, false, 0 },
	{ "torn head and garbage", "v1", torn_head_and_garbage, false, BIT(RECORD) | BIT(HEAD) },
	{ "hazard", "v1", hazard, false, BIT(RECORD) },
	{ "hazard", "v2", hazard, false, BIT(RECORD) },
	{ "the same record in v0", "v0", hazard, false, 0 },
	{ "hazard and hole", "v1", hazard_and_hole, false, 0 },
	{ "record missing", "v1", record_missing, false, 0 },
	{ "record sound", "v1", record_sound, false, 0 },
	{ "damaged superblock", "v0", bad_super, false, BIT(SUPER) },
	{ "damaged superblock", "v1", bad_super, false, BIT(SUPER) },
	{ "damaged superblock", "v2", bad_super, false, BIT(SUPER) },
	{ "damaged superblock and hole", "v1", bad_super_and_hole, false, BIT(SUPER) },
	{ "damaged superblock and resized", "v1", bad_super_and_resized, false, 0 },
	{ "zeroed superblock", "v1", zero_super, false, 0 },
	{ "zeroed superblock, an accident", "v1", zero_super, true, BIT(SUPER) },
	{ "zeroed superblock and garbage", "v1", zero_super_and_garbage, false, 0 },
	{ "zeroed superblock and garbage, an accident", "v1", zero_super_and_garbage, true, BIT(RECORD) | BIT(SUPER) },
};

static unsigned kinds_of(const struct list *list)
{
	unsigned kinds = 0;

	for (unsigned i = 0; i < list->count; i++)
		kinds |= 1u << list->repairs[i].kind;
	return kinds;
}

static void init_case(struct build *b, size_t i)
{
	if (!strcmp(cases[i].format, "v2")) {
		build_init(b, "v2", 10, 8);
		build_log(b, 9, 16, 1000);
	} else {
		sound(b, cases[i].format);
	}
	cases[i].break_it(b);
}

static void exactly_what_may_be_repaired_is_repaired(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct list list;

		init_case(&b, i);
		build_load(&b, 0);
		list = planned(&b, cases[i].zeroed_super);
		if (kinds_of(&list) != cases[i].kinds)
			fail_msg("%s %s: repairs %#x, expected %#x", cases[i].format, cases[i].name, kinds_of(&list),
				 cases[i].kinds);
		build_release(&b);
	}
}

static void every_repair_changes_what_it_says_and_no_second_one_is_needed(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct list list = { .count = 0 };

		init_case(&b, i);
		uint8_t *expected = malloc(b.geometry.bytes);

		assert_non_null(expected);
		memcpy(expected, b.bytes, b.geometry.bytes);
		build_load(&b, 0);
		list.write_to = b.dev;
		assert_int_equal(wb_repair_each(&b.ring, cases[i].zeroed_super, note, &list, NULL, NULL), 0);
		for (unsigned j = 0; j < list.count; j++) {
			assert_memory_equal(expected + list.repairs[j].offset, list.repairs[j].before, list.repairs[j].length);
			memcpy(expected + list.repairs[j].offset, list.repairs[j].after, list.repairs[j].length);
		}
		assert_memory_equal(b.bytes, expected, b.geometry.bytes);
		build_load(&b, 0);
		assert_int_equal(planned(&b, cases[i].zeroed_super).count, 0);
		free(expected);
		build_release(&b);
	}
}

static void what_stays_has_a_reason(void **state)
{
	struct build b;

	(void)state;
	sound(&b, "v1");
	build_load(&b, 0);
	for (unsigned kind = WB_REPAIR_BIT; kind <= WB_REPAIR_SUPER; kind++)
		assert_null(wb_repair_obstacle(&b.ring, (enum wb_repair_kind)kind, false));
	b.cache.tie = wb_format_find("v2");
	for (unsigned kind = WB_REPAIR_BIT; kind <= WB_REPAIR_SUPER; kind++)
		assert_non_null(wb_repair_obstacle(&b.ring, (enum wb_repair_kind)kind, true));
	b.cache.tie = NULL;
	b.cache.geometry.wrap = true;
	for (unsigned kind = WB_REPAIR_BIT; kind <= WB_REPAIR_SUPER; kind++)
		assert_non_null(wb_repair_obstacle(&b.ring, (enum wb_repair_kind)kind, true));
	b.cache.geometry.wrap = false;
	build_release(&b);
}

static void superblock_is_what_a_format_of_that_generation_writes(void **state)
{
	static const struct { const char *format; unsigned order; uint8_t order_byte; } supers[] = {
		{ "v0", 5, 5 }, { "v1", 5, 5 }, { "v2", 10, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(supers); i++) {
		struct build b;
		struct list list;

		build_init(&b, supers[i].format, supers[i].order, 8);
		build_log(&b, 1, 4, 1000);
		memset(b.bytes, 0xa5, WB_SECTOR);
		build_load(&b, 0);
		list = planned(&b, false);
		assert_int_equal(list.count, 1);
		assert_int_equal(list.repairs[0].offset, 0);
		assert_int_equal(list.repairs[0].length, WB_SECTOR);
		assert_memory_equal(list.repairs[0].after, "tsBW", 4);
		assert_int_equal(list.repairs[0].after[4], supers[i].order_byte);
		assert_true(wb_all_bytes(list.repairs[0].after + 5, WB_SECTOR - 5, 0));
		build_release(&b);
	}
}

/* ---- all at once: two ids, two seals, the record, the torn head, sector 0 ---- */

static void everything(struct build *b)
{
	sound(b, "v1");
	hazard(b);
	wb_put_le(segment(b, 15), 8, 15 ^ 1u << 30);
	wb_put_le(segment(b, 12), 8, 12 ^ 1u << 20);
	segment(b, 11)[6000] ^= 4;
	segment(b, 14)[700] ^= 128;
	torn_head(b);
	bad_super(b);
}

static int correct_and_write(struct build *b, struct list *list)
{
	int ret = wb_ring_correct(&b->ring, NULL, NULL, NULL);

	return ret < 0 ? ret : wb_repair_each(&b->ring, false, note, list, NULL, NULL);
}

static void order_lets_a_driver_replay_more_only_when_it_is_right(void **state)
{
	static const struct { enum wb_repair_kind kind; uint64_t id; } expected[] = {
		{ WB_REPAIR_BIT, 12 }, { WB_REPAIR_BIT, 15 }, { WB_REPAIR_BIT, 14 }, { WB_REPAIR_BIT, 11 },
		{ WB_REPAIR_RECORD, 0 }, { WB_REPAIR_HEAD, 9 }, { WB_REPAIR_SUPER, 0 },
	};
	struct list list = { .count = 0 };
	struct build b;

	(void)state;
	everything(&b);
	build_load(&b, 0);
	assert_int_equal(correct_and_write(&b, &list), 0);
	assert_int_equal(list.count, LENGTH_OF(expected));
	for (unsigned i = 0; i < list.count; i++) {
		assert_int_equal(list.repairs[i].kind, expected[i].kind);
		assert_int_equal(list.repairs[i].id, expected[i].id);
		assert_int_equal(list.repairs[i].odds != 0, expected[i].kind == WB_REPAIR_BIT);
	}
	assert_int_equal(list.repairs[0].odds, UINT64_C(1) << 58);
	assert_int_equal(list.repairs[2].odds, (UINT64_C(1) << 32) / (8 * (8192 - 512)));
	build_release(&b);
}

/* In the slot of M+1 a write may have been cut off that changed a bit of an older segment: no figure is true there. */
static void chance_has_no_figure_where_a_write_may_have_been_cut_off(void **state)
{
	static const struct { uint64_t last, flipped; bool figure; } rows[] = {
		{ 12, 5, false }, { 12, 6, true }, { 12, 11, true }, { 12, 12, false }, { 12, 13, false }, { 8, 1, false }, { 8, 9, false },
		{ 3, 4, true }, { 3, 3, true }, { 7, 8, true },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct list list = { .count = 0 };
		struct build b;

		build_init(&b, "v1", 6, 8);
		build_log(&b, rows[i].last > 8 ? rows[i].last - 7 : 1, rows[i].last, 100);
		if (rows[i].flipped > rows[i].last)
			build_log(&b, rows[i].flipped, rows[i].flipped, 100);
		build_at(&b, wb_slot_of(&b.geometry, rows[i].flipped))[6000] ^= 4;
		build_load(&b, 0);
		assert_int_equal(correct_and_write(&b, &list), 0);
		assert_int_equal(list.count, 1);
		if ((list.repairs[0].odds != 0) != rows[i].figure)
			fail_msg("case %zu: %u", i, (unsigned)list.repairs[0].odds);
		build_release(&b);
	}
}

static void flipped_bits_stay_unless_they_were_taken_as_right(void **state)
{
	struct build b;
	struct list list;

	(void)state;
	everything(&b);
	build_load(&b, 0);
	list = planned(&b, false);
	assert_int_equal(kinds_of(&list), BIT(SUPER)); /* the others are hindered by the holes */
	build_release(&b);
}

/* One run on a device that loses power after so many writes and flushes; returns whether it came to its end. */
static bool run_until_cut(struct build *b, uint64_t cut_after, enum wb_cut cut)
{
	const struct wb_ring_options options = { .backing_sectors = 0 };
	const struct wb_fault fault = { .cut_after = cut_after, .cut = cut, .seed = cut_after };
	struct list list = { .count = 0 };
	struct wb_dev *inner, *dev;
	int ret;

	assert_int_equal(wb_dev_memory(&inner, b->bytes, b->geometry.bytes, NULL), 0);
	assert_int_equal(wb_dev_fault(&dev, inner, &fault, NULL), 0);
	build_load_on(b, dev, &options);
	list.write_to = dev;
	ret = correct_and_write(b, &list);
	wb_ring_release(&b->ring);
	wb_dev_close(b->dev);
	b->dev = NULL;
	return !ret;
}

/* What has been written is the beginning of the list, nothing else has changed. */
static void assert_prefix(const uint8_t *bytes, const uint8_t *before, const struct list *list, uint64_t size)
{
	uint8_t *expected = malloc(size);
	unsigned written = 0;

	assert_non_null(expected);
	memcpy(expected, before, size);
	while (written < list->count && memcmp(bytes, expected, size)) {
		const struct wb_repair *repair = &list->repairs[written++];

		memcpy(expected + repair->offset, repair->after, repair->length);
	}
	assert_memory_equal(bytes, expected, size);
	free(expected);
}

static void power_cut_leaves_a_beginning_of_the_repairs_and_a_second_run_completes_them(void **state)
{
	struct list list = { .count = 0 };
	struct build b;

	(void)state;
	everything(&b);
	const uint64_t size = b.geometry.bytes;
	uint8_t *before = malloc(size), *after = malloc(size);

	assert_non_null(before);
	assert_non_null(after);
	memcpy(before, b.bytes, size);
	build_load(&b, 0);
	list.write_to = b.dev;
	assert_int_equal(correct_and_write(&b, &list), 0);
	memcpy(after, b.bytes, size);
	for (enum wb_cut cut = WB_CUT_LOST; cut <= WB_CUT_REORDERED; cut++)
		for (uint64_t cut_after = 0;; cut_after++) {
			memcpy(b.bytes, before, size);
			bool ended = run_until_cut(&b, cut_after, cut);

			assert_int_equal(ended, cut_after >= 2 * list.count);
			assert_prefix(b.bytes, before, &list, size);
			run_until_cut(&b, UINT64_MAX, cut);
			assert_memory_equal(b.bytes, after, size);
			if (ended)
				break;
		}
	free(before);
	free(after);
	build_release(&b);
}

/* ---- writing ---- */

static struct wb_repair some_repair(struct build *b)
{
	struct list list;

	sound(b, "v1");
	garbage(b);
	build_load(b, 0);
	list = planned(b, false);
	assert_int_equal(list.count, 1);
	return list.repairs[0];
}

static void bytes_that_changed_in_between_are_not_overwritten(void **state)
{
	struct wb_error err;
	struct build b;
	struct wb_repair repair = some_repair(&b);

	(void)state;
	build_record(&b, 1001);
	assert_int_equal(wb_repair_write(b.dev, &repair, &err), -WB_ECHANGED);
	assert_int_equal(err.offset, WB_RECORD_OFFSET);
	assert_int_equal(wb_get_le(b.bytes + WB_RECORD_OFFSET, 8), 1001);
	build_release(&b);
}

static void write_that_fails_or_does_not_last_is_an_error(void **state)
{
	static const struct { uint64_t fail_write, fail_flush, lie_write; int ret; } faults[] = {
		{ 1, 0, 0, -WB_EIO }, { 0, 1, 0, -WB_EIO }, { 0, 0, 1, -WB_ECHANGED }, { 0, 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(faults); i++) {
		struct build b;
		struct wb_repair repair = some_repair(&b);
		struct spy spy;

		spy_init(&spy, b.dev);
		spy.fail_write = faults[i].fail_write;
		spy.fail_flush = faults[i].fail_flush;
		spy.lie_write = faults[i].lie_write;
		assert_int_equal(wb_repair_write(&spy.dev, &repair, NULL), faults[i].ret);
		assert_int_equal(spy.writes, 1);
		assert_int_equal(spy.log[0].offset, WB_RECORD_OFFSET);
		assert_int_equal(spy.log[0].length, WB_SECTOR);
		build_release(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exactly_what_may_be_repaired_is_repaired),
		cmocka_unit_test(every_repair_changes_what_it_says_and_no_second_one_is_needed),
		cmocka_unit_test(what_stays_has_a_reason),
		cmocka_unit_test(superblock_is_what_a_format_of_that_generation_writes),
		cmocka_unit_test(order_lets_a_driver_replay_more_only_when_it_is_right),
		cmocka_unit_test(chance_has_no_figure_where_a_write_may_have_been_cut_off),
		cmocka_unit_test(flipped_bits_stay_unless_they_were_taken_as_right),
		cmocka_unit_test(power_cut_leaves_a_beginning_of_the_repairs_and_a_second_run_completes_them),
		cmocka_unit_test(bytes_that_changed_in_between_are_not_overwritten),
		cmocka_unit_test(write_that_fails_or_does_not_last_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
