/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/ended.c: what a marker records of the end of a log, and whether the log is still as it was. */
#include "cache_builder.h"

#include "probe.h"

/* An empty cache on a device. */
static void init(struct build *b, const char *format, unsigned order)
{
	build_init(b, format, order, 5);
	assert_int_equal(wb_dev_memory(&b->dev, b->bytes, b->geometry.bytes, NULL), 0);
}

static void end_log(struct build *b)
{
	const struct wb_overrides none = { .order = 0 };
	const struct wb_ring_options options = { .jobs = 1 };
	struct wb_cache cache;
	struct wb_ring ring;

	assert_int_equal(wb_cache_open(&cache, b->dev, &none, NULL), 0);
	assert_int_equal(wb_ring_load(&ring, &cache, &options, NULL, NULL), 0);
	struct wb_marker marker = wb_marker_of(&ring, WB_END_FLUSHED, 5, 6);

	assert_int_equal(wb_cache_end(b->dev, &marker, NULL), 0);
	wb_ring_release(&ring);
}

static bool written(struct build *b)
{
	const struct wb_overrides none = { .order = 0 };
	bool result;

	struct wb_error err = { 0 };

	if (wb_cache_written_after_end(b->dev, &none, &result, NULL, &err) || err.code)
		fail_msg("%s", err.text);
	return result;
}

static void marker_records_what_was_left_out_and_of_which_geometry(void **state)
{
	const struct wb_marker in = { .reason = WB_END_FLUSHED, .time = 1, .head = 2, .digest = 3, .backing_bytes = 4, .partial = true,
				      .left_segments = 5, .left_sectors = UINT64_MAX, .stale_sectors = 6,
				      .format = wb_format_find("v1"), .order = 9, .slots = UINT32_MAX, .wrap = true };
	uint8_t sector[WB_SECTOR];
	struct wb_marker out;

	(void)state;
	wb_marker_encode(sector, &in);
	assert_true(wb_marker_decode(sector, &out));
	assert_true(out.version == 2 && out.partial && out.left_segments == 5 && out.left_sectors == UINT64_MAX &&
		    out.stale_sectors == 6 && out.format == in.format && out.order == 9 && out.slots == UINT32_MAX && out.wrap);
}

/* The fifth byte is the order byte of whatever a driver makes of this sector. */
static void marker_is_harmless_as_the_residue_below_a_magic(void **state)
{
	const struct wb_marker marker = { .reason = WB_END_FLUSHED };
	uint8_t sector[WB_SECTOR];

	(void)state;
	wb_marker_encode(sector, &marker);
	assert_int_equal(sector[WB_ORDER_BYTE], 0);
}

static void put_marker_1(uint8_t *sector, enum wb_end_reason reason, uint64_t head, uint64_t digest)
{
	memset(sector, 0, WB_SECTOR);
	memcpy(sector, "WBended", 8);
	wb_put_le(sector + 8, 4, 1);
	wb_put_le(sector + 12, 4, reason);
	wb_put_le(sector + 24, 8, head);
	wb_put_le(sector + 32, 8, digest);
	wb_put_le(sector + 508, 4, ~wb_crc32c(~0u, sector, 508));
}

static void marker_of_version_1_is_read_and_says_nothing_of_what_was_left_out(void **state)
{
	uint8_t sector[WB_SECTOR];
	struct wb_marker marker;

	(void)state;
	put_marker_1(sector, WB_END_FLUSHED, 77, 0);
	assert_true(wb_marker_decode(sector, &marker));
	assert_true(marker.version == 1 && marker.head == 77 && !marker.format && !marker.partial && !marker.left_segments);
}

static void log_that_is_as_it_was_at_its_end_is_ended(void **state)
{
	static const struct { const char *format; unsigned order; uint64_t last; } cases[] = {
		{ "v0", 7, 5 }, { "v0", 7, 12 }, { "v1", 5, 3 }, { "v2", 10, 1 }, { "v2", 10, 12 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;

		init(&b, cases[i].format, cases[i].order);
		build_log(&b, cases[i].last > 5 ? cases[i].last - 4 : 1, cases[i].last, 100);
		end_log(&b);
		assert_false(written(&b));
		build_release(&b);
	}
}

static void segment_written_after_the_end_is_noticed(void **state)
{
	static const struct { const char *format; unsigned order; } cases[] = { { "v0", 7 }, { "v1", 5 }, { "v2", 10 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++)
		for (uint64_t more = 1; more <= 6; more++) {
			struct wb_overrides any = { .any_super = true };
			const struct wb_ring_options options = { .jobs = 1 };
			struct wb_cache cache;
			struct wb_ring ring;
			struct build b;

			init(&b, cases[i].format, cases[i].order);
			build_log(&b, 6, 10, 100);
			end_log(&b);
			build_log(&b, 11, 10 + more, 100);
			assert_true(written(&b));
			assert_int_equal(wb_cache_open(&cache, b.dev, &any, NULL), 0);
			assert_int_equal(wb_ring_load(&ring, &cache, &options, NULL, NULL), 0);
			assert_true(wb_ring_written_after_end(&ring) && ring.head == 10 + more && wb_sectors_after_end(&ring));
			wb_ring_release(&ring);
			build_release(&b);
		}
}

static void any_byte_of_a_header_that_changed_is_noticed(void **state)
{
	struct build b;

	(void)state;
	init(&b, "v2", 10);
	build_log(&b, 6, 10, 100);
	end_log(&b);
	for (unsigned byte = 0; byte < WB_BLOCK; byte += 97) {
		uint8_t *at = b.bytes + WB_FIRST_SLOT + 2 * wb_slot_size(&b.geometry) + byte;

		*at ^= 4;
		assert_true(written(&b));
		*at ^= 4;
	}
	assert_false(written(&b));
	memset(b.bytes + WB_FIRST_SLOT, 0, (size_t)(b.geometry.bytes - WB_FIRST_SLOT)); /* and if nothing is left */
	assert_true(written(&b));
	build_release(&b);
}

/* Ended with fewer slots than the device has room for; the rest changes, and does not count. */
static void digest_is_about_the_slots_that_the_marker_names(void **state)
{
	const struct wb_overrides four = { .slots = 4 };
	const struct wb_ring_options options = { .jobs = 1 };
	struct wb_cache cache;
	struct wb_ring ring;
	struct build b;

	(void)state;
	init(&b, "v2", 10);
	build_log(&b, 1, 4, 100);
	assert_int_equal(wb_cache_open(&cache, b.dev, &four, NULL), 0);
	assert_int_equal(wb_ring_load(&ring, &cache, &options, NULL, NULL), 0);
	struct wb_marker marker = wb_marker_of(&ring, WB_END_FLUSHED, 5, 6);

	assert_int_equal(wb_cache_end(b.dev, &marker, NULL), 0);
	wb_ring_release(&ring);
	assert_false(written(&b));
	memset(b.bytes + WB_FIRST_SLOT + 4 * wb_slot_size(&b.geometry), 7, WB_BLOCK);
	assert_false(written(&b));
	build_release(&b);
}

/* Without a marker nothing has ended, and one of version 1 does not say where segments were. */
static void nothing_is_written_after_an_end_that_is_not_known(void **state)
{
	static const struct { bool ended, left; enum wb_end_reason reason; uint64_t digest; } cases[] = {
		{ false, true, WB_END_FLUSHED, 1 }, { true, true, WB_END_FORMAT, 1 }, { true, true, WB_END_FLUSHED, 0 },
		{ true, false, WB_END_FLUSHED, 1 },
	};
	const struct wb_overrides none = { .order = 0 }, any = { .any_super = true };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_cache cache;
		struct build b;
		struct spy spy;
		uint64_t opening;
		bool changed;

		init(&b, "v2", 10);
		if (cases[i].left)
			build_log(&b, 6, 10, 100);
		if (cases[i].ended)
			put_marker_1(b.bytes, cases[i].reason, 7, cases[i].digest);
		spy_init(&spy, b.dev);
		assert_int_equal(wb_cache_open(&cache, &spy.dev, &any, NULL), cases[i].left ? 0 : -WB_ENOTCACHE);
		opening = spy.reads;
		assert_int_equal(wb_cache_written_after_end(&spy.dev, &none, &changed, NULL, NULL), 0);
		assert_false(changed);
		assert_true(spy.reads < 2 * opening + 5); /* and the five segments are not looked at */
		build_release(&b);
	}
}

/* Segments of another generation below the marker: what it says of its own counts for that one alone. */
static void marker_of_another_generation_than_the_given_says_nothing(void **state)
{
	struct wb_marker marker = { .reason = WB_END_FLUSHED, .head = 5, .digest = 1, .format = wb_format_find("v0"), .order = 7, .slots = 2 };
	const struct wb_overrides v2 = { .any_super = true, .format = wb_format_find("v2") };
	struct wb_cache cache;
	struct build b;

	(void)state;
	init(&b, "v2", 10);
	build_log(&b, 1, 5, 100);
	assert_int_equal(wb_cache_end(b.dev, &marker, NULL), 0);
	assert_int_equal(wb_cache_open(&cache, b.dev, &v2, NULL), 0);
	assert_string_equal(cache.geometry.format->name, "v2");
	assert_int_equal(cache.geometry.order, 10);
	assert_int_equal(cache.geometry.slots, 5);
	build_release(&b);
}

/* The question is about the log that was ended, not about what --slots, --order and --generation make of the device. */
static void geometry_that_is_given_does_not_change_the_answer(void **state)
{
	const struct wb_overrides given[] = { { .slots = 4 }, { .slots = 1 }, { .slots = 99999 }, { .order = 9 },
					      { .format = wb_format_find("v0"), .order = 7 } };
	const struct wb_ring_options options = { .jobs = 1 };
	struct build b;

	(void)state;
	init(&b, "v2", 10);
	build_log(&b, 6, 10, 100);
	end_log(&b);
	for (unsigned more = 0; more < 2; more++) {
		if (more)
			build_log(&b, 11, 11, 100);
		for (size_t i = 0; i < LENGTH_OF(given); i++) {
			struct wb_overrides how = given[i];
			struct wb_cache cache;
			struct wb_ring ring;
			bool result;

			assert_int_equal(wb_cache_written_after_end(b.dev, &how, &result, NULL, NULL), 0);
			assert_int_equal(result, more);
			how.any_super = true;
			if (more || wb_cache_open(&cache, b.dev, &how, NULL))
				continue;
			assert_int_equal(wb_ring_load(&ring, &cache, &options, NULL, NULL), 0);
			assert_false(wb_ring_written_after_end(&ring));
			wb_ring_release(&ring);
		}
	}
	build_release(&b);
}

/* A checksum does not make a marker true: what it says of the geometry takes neither memory nor time. */
static void marker_of_more_slots_than_the_device_has_is_not_believed(void **state)
{
	static const struct { uint32_t slots; unsigned order; } cases[] = { { UINT32_MAX, 10 }, { 6, 10 }, { 5, 200 }, { 5, 11 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_marker marker = { .reason = WB_END_FLUSHED, .head = 5, .digest = 1, .format = wb_format_find("v2") };
		const struct wb_overrides any = { .any_super = true };
		struct wb_cache cache;
		struct build b;

		marker.slots = cases[i].slots;
		marker.order = cases[i].order;
		init(&b, "v2", 10);
		build_log(&b, 1, 5, 100);
		assert_int_equal(wb_cache_end(b.dev, &marker, NULL), 0);
		assert_int_equal(wb_cache_open(&cache, b.dev, &any, NULL), 0);
		assert_int_equal(cache.geometry.slots, 5);
		build_release(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(marker_records_what_was_left_out_and_of_which_geometry),
		cmocka_unit_test(marker_is_harmless_as_the_residue_below_a_magic),
		cmocka_unit_test(marker_of_version_1_is_read_and_says_nothing_of_what_was_left_out),
		cmocka_unit_test(log_that_is_as_it_was_at_its_end_is_ended),
		cmocka_unit_test(segment_written_after_the_end_is_noticed),
		cmocka_unit_test(any_byte_of_a_header_that_changed_is_noticed),
		cmocka_unit_test(digest_is_about_the_slots_that_the_marker_names),
		cmocka_unit_test(nothing_is_written_after_an_end_that_is_not_known),
		cmocka_unit_test(marker_of_another_generation_than_the_given_says_nothing),
		cmocka_unit_test(geometry_that_is_given_does_not_change_the_answer),
		cmocka_unit_test(marker_of_more_slots_than_the_device_has_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
