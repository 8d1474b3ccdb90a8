/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/probe.c: the generation and order that the segments themselves vote for. */
#include "cache_builder.h"
#include "probe.h"

static const struct wb_overrides none;

static struct wb_bid probe_with(struct build *b, int order_byte, const struct wb_overrides *overrides,
				const struct wb_format **tie)
{
	const struct wb_format *ignored;
	struct wb_dev *dev;
	struct wb_bid bid;

	assert_int_equal(wb_dev_memory(&dev, b->bytes, b->geometry.bytes, NULL), 0);
	assert_int_equal(wb_probe(dev, order_byte, overrides, &bid, tie ? tie : &ignored, NULL), 0);
	wb_dev_close(dev);
	return bid;
}

static struct wb_bid probe(struct build *b, int order_byte)
{
	return probe_with(b, order_byte, &none, NULL);
}

static void expect_reading(const struct wb_bid *bid, const char *format, unsigned order, unsigned bits)
{
	assert_non_null(bid->geometry.format);
	assert_string_equal(bid->geometry.format->name, format);
	assert_int_equal(bid->geometry.order, order);
	assert_int_equal(bid->bits, bits);
}

static const struct { const char *format; unsigned order; } readings[] = {
	{ "v0", 4 }, { "v0", 5 }, { "v0", 6 }, { "v0", 7 }, { "v0", 8 }, { "v0", 9 }, { "v0", 10 }, { "v0", 11 },
	{ "v1", 4 }, { "v1", 5 }, { "v1", 6 }, { "v1", 7 }, { "v1", 8 }, { "v1", 9 }, { "v1", 10 }, { "v2", 10 },
};

static void every_generation_and_order_is_recognised(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(readings); i++)
		for (int known = 0; known < 2; known++) {
			struct build b;
			const struct wb_format *tie;
			struct wb_bid bid;

			build_init(&b, readings[i].format, readings[i].order, 3);
			build_log(&b, 1, 3, 100);
			bid = probe_with(&b, known ? b.bytes[4] : -1, &none, &tie);
			expect_reading(&bid, readings[i].format, readings[i].order, 3 * 32);
			assert_int_equal(bid.in_place, 3 * 32);
			assert_int_equal(bid.written, 3);
			assert_null(tie);
			build_release(&b);
		}
}

/* Under an order byte of 10, which v2 leaves where v1 wrote it, the dialect decides; told that it is v1, it is read all the same. */
static void complemented_checksums_are_v2_unless_told_otherwise(void **state)
{
	const struct wb_overrides as_v1 = { .format = wb_format_find("v1") };
	const struct wb_ring_options load = { .jobs = 1 };
	const struct wb_format *tie;
	struct build b;
	struct wb_bid bid;

	(void)state;
	build_init(&b, "v2", 10, 3);
	build_log(&b, 1, 3, 100);
	b.bytes[WB_ORDER_BYTE] = 10;
	for (int order_byte = -1; order_byte <= 10; order_byte += 11) {
		bid = probe_with(&b, order_byte, &none, &tie);
		expect_reading(&bid, "v2", 10, 3 * 32);
		assert_null(tie);
	}
	bid = probe_with(&b, 10, &as_v1, &tie);
	expect_reading(&bid, "v1", 10, 3 * 32);
	assert_int_equal(wb_dev_memory(&b.dev, b.bytes, b.geometry.bytes, NULL), 0);
	assert_int_equal(wb_cache_open(&b.cache, b.dev, &as_v1, NULL), 0);
	assert_int_equal(wb_ring_load(&b.ring, &b.cache, &load, NULL, NULL), 0);
	assert_int_equal(b.ring.classes[WB_LIVE], 3);
	build_release(&b);
}

static void each_lap_that_agrees_is_32_bits(void **state)
{
	struct build b;
	struct wb_bid bid;

	(void)state;
	build_init(&b, "v0", 6, 3);
	build_segment(&b, 1, PUTS({ 1, 1, 0 }, { 2, 1, 0 }, { 3, 1, 0 }, { 4, 1, 0 }, { 5, 1, 0 }));
	bid = probe(&b, 6);
	expect_reading(&bid, "v0", 6, 5 * 32);
	build_release(&b);
}

static void unwritten_cache_with_an_order_byte_is_v0_without_evidence(void **state)
{
	struct build b;
	struct wb_bid bid;

	(void)state;
	build_init(&b, "v1", 7, 8);
	bid = probe(&b, 7);
	expect_reading(&bid, "v0", 7, 0);
	assert_int_equal(bid.written, 0);
	build_release(&b);
}

static void unwritten_cache_without_an_order_byte_is_v2(void **state)
{
	struct build b;
	struct wb_bid bid;

	(void)state;
	build_init(&b, "v2", 10, 3);
	bid = probe(&b, 0);
	expect_reading(&bid, "v2", 10, 0);
	build_release(&b);
}

/* Drivers 2.0.0 and 2.0.1 check only the magic and take over a v1 cache. */
static void v2_log_under_an_order_byte_of_ten_is_v2(void **state)
{
	struct build b;
	struct wb_bid bid;

	(void)state;
	build_init(&b, "v2", 10, 3);
	build_log(&b, 1, 3, 100);
	bid = probe(&b, 10);
	expect_reading(&bid, "v2", 10, 96);
	build_release(&b);
}

static void raw_log_under_an_order_byte_of_ten_is_v1_and_no_tie(void **state)
{
	struct build b;
	const struct wb_format *tie;
	struct wb_bid bid;

	(void)state;
	build_init(&b, "v1", 10, 3);
	build_log(&b, 1, 3, 100);
	bid = probe_with(&b, 10, &none, &tie);
	expect_reading(&bid, "v1", 10, 96);
	assert_null(tie); /* v2 explains it as well, by the same layout */
	bid = probe(&b, 0);
	expect_reading(&bid, "v2", 10, 96);
	build_release(&b);
}

static void overrides_restrict_the_choice(void **state)
{
	struct build b;
	struct wb_bid bid;
	const struct wb_overrides v2 = { .format = wb_format_find("v2") }, order = { .order = 10 },
				  slots = { .slots = 2 }, impossible = { .format = wb_format_find("v2"), .order = 7 };

	(void)state;
	build_init(&b, "v1", 7, 20);
	build_log(&b, 1, 20, 100);
	bid = probe_with(&b, 7, &v2, NULL);
	expect_reading(&bid, "v2", 10, 64); /* every eighth slot of order 7 looks like one of order 10 */
	assert_int_equal(bid.in_place, 32);
	bid = probe_with(&b, 7, &order, NULL);
	assert_int_equal(bid.geometry.order, 10);
	bid = probe_with(&b, 7, &slots, NULL);
	expect_reading(&bid, "v1", 7, 64);
	assert_int_equal(bid.geometry.slots, 2);
	bid = probe_with(&b, 7, &impossible, NULL);
	assert_null(bid.geometry.format);
	build_release(&b);
}

/* What a device that was cut short held: slots beyond its end cannot be read, the others speak as before. */
static void slots_beyond_the_end_leave_the_evidence(void **state)
{
	struct build b;
	const struct wb_overrides more = { .slots = 10 };
	struct wb_bid bid;

	(void)state;
	build_init(&b, "v1", 7, 4);
	build_log(&b, 1, 4, 100);
	bid = probe_with(&b, 7, &more, NULL);
	assert_int_equal(bid.geometry.slots, 10);
	expect_reading(&bid, "v1", 7, 4 * 32);
	build_release(&b);
}

static void more_slots_than_can_be_counted_make_no_reading(void **state)
{
	struct build b;
	const struct wb_overrides many = { .slots = UINT64_C(1) << 32 };
	struct wb_bid bid;

	(void)state;
	build_init(&b, "v1", 7, 4);
	bid = probe_with(&b, 7, &many, NULL);
	assert_null(bid.geometry.format);
	build_release(&b);
}

static void segments_in_place_count_before_others(void **state)
{
	struct build b;
	struct wb_bid bid;

	(void)state;
	build_init(&b, "v1", 4, 16);
	build_log(&b, 1, 16, 100);
	bid = probe(&b, -1); /* order 5 finds every other segment, sealed, but out of place */
	assert_string_equal(bid.geometry.format->name, "v1");
	assert_int_equal(bid.geometry.order, 4);
	build_release(&b);
}

static void two_readings_with_the_same_evidence_are_a_tie(void **state)
{
	struct build v0, v1;
	const struct wb_format *tie;
	struct wb_bid bid;

	(void)state;
	build_init(&v0, "v0", 7, 4);
	build_segment(&v0, 2, PUTS({ 9, 0xff, 0 }));
	build_init(&v1, "v1", 7, 4);
	build_segment(&v1, 1, NULL, 0);
	memcpy(build_at(&v0, 0), build_at(&v1, 0), wb_slot_size(&v1.geometry));
	bid = probe_with(&v0, 7, &none, &tie);
	expect_reading(&bid, "v0", 7, 32); /* the oldest of equals */
	assert_non_null(tie);
	assert_string_equal(tie->name, "v1");
	build_release(&v0);
	build_release(&v1);
}

static void unsealed_segments_are_no_evidence(void **state)
{
	static const struct { const char *format; uint32_t byte; } cases[] = { { "v0", 13 + 9 }, { "v1", 5000 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct wb_bid bid;

		build_init(&b, cases[i].format, 5, 4);
		build_log(&b, 1, 1, 100);
		build_at(&b, 0)[cases[i].byte] ^= 1;
		bid = probe(&b, 5);
		assert_int_equal(bid.bits, 0);
		assert_int_equal(bid.written, 1);
		build_release(&b);
	}
}

static void sample_reaches_the_far_end_of_a_large_cache(void **state)
{
	struct build b;
	struct wb_bid bid;

	(void)state;
	build_init(&b, "v1", 4, 1000);
	for (uint64_t id = 700; id <= 720; id++) /* about one slot in seven is looked at */
		build_segment(&b, id, PUTS({ id, 0xff, 0 }));
	bid = probe(&b, 4);
	assert_string_equal(bid.geometry.format->name, "v1");
	assert_true(bid.bits >= 64);
	build_release(&b);
}

static void unreadable_slots_are_passed_over(void **state)
{
	struct build b;
	struct wb_bid bid;
	struct wb_dev *dev;
	const struct wb_format *tie;

	(void)state;
	build_init(&b, "v1", 5, 4);
	build_log(&b, 1, 4, 100);
	const struct wb_range bad[] = { { wb_slot_offset(&b.geometry, 0), 512 },
					{ wb_slot_offset(&b.geometry, 1) + 5000, 1 } };

	dev = build_bad(&b, bad, 2);
	assert_int_equal(wb_probe(dev, 5, &none, &bid, &tie, NULL), 0);
	expect_reading(&bid, "v1", 5, 64);
	wb_dev_close(dev);
	build_release(&b);
}

static void small_device_has_no_reading(void **state)
{
	uint8_t *bytes = calloc(1, 1u << 20);
	const struct wb_format *tie;
	struct wb_bid bid;
	struct wb_dev *dev;

	(void)state;
	assert_int_equal(wb_dev_memory(&dev, bytes, 1u << 20, NULL), 0);
	assert_int_equal(wb_probe(dev, -1, &none, &bid, &tie, NULL), 0);
	assert_null(bid.geometry.format);
	wb_dev_close(dev);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_generation_and_order_is_recognised),
		cmocka_unit_test(complemented_checksums_are_v2_unless_told_otherwise),
		cmocka_unit_test(each_lap_that_agrees_is_32_bits),
		cmocka_unit_test(unwritten_cache_with_an_order_byte_is_v0_without_evidence),
		cmocka_unit_test(unwritten_cache_without_an_order_byte_is_v2),
		cmocka_unit_test(v2_log_under_an_order_byte_of_ten_is_v2),
		cmocka_unit_test(raw_log_under_an_order_byte_of_ten_is_v1_and_no_tie),
		cmocka_unit_test(overrides_restrict_the_choice),
		cmocka_unit_test(slots_beyond_the_end_leave_the_evidence),
		cmocka_unit_test(more_slots_than_can_be_counted_make_no_reading),
		cmocka_unit_test(segments_in_place_count_before_others),
		cmocka_unit_test(two_readings_with_the_same_evidence_are_a_tie),
		cmocka_unit_test(unsealed_segments_are_no_evidence),
		cmocka_unit_test(sample_reaches_the_far_end_of_a_large_cache),
		cmocka_unit_test(unreadable_slots_are_passed_over),
		cmocka_unit_test(small_device_has_no_reading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
