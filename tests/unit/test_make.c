/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/make.c: an empty cache byte by byte, and what an interrupted format leaves. */
#include "cache_builder.h"

#define MIB (1u << 20)

static int format(struct build *b, struct wb_dev *dev, const struct wb_progress *progress)
{
	return wb_cache_format(dev, &b->geometry, 1234, progress, NULL);
}

static struct wb_dev *memory_of(struct build *b)
{
	struct wb_dev *dev;

	assert_int_equal(wb_dev_memory(&dev, b->bytes, b->geometry.bytes, NULL), 0);
	return dev;
}

/* Every sector behind the first MiB is the device's own garbage, but for the first eight of each slot. */
static void expect_empty_cache(const struct build *b, const uint8_t *before)
{
	uint8_t super[WB_SECTOR] = { 0x74, 0x73, 0x42, 0x57 };
	bool stored = strcmp(b->geometry.format->name, "v2") != 0;

	super[4] = stored ? (uint8_t)b->geometry.order : 0;
	assert_memory_equal(b->bytes, super, WB_SECTOR);
	assert_true(wb_all_bytes(b->bytes + WB_SECTOR, MIB - WB_SECTOR, 0));
	for (uint64_t at = MIB; at < b->geometry.bytes; at += 4096) {
		bool header = (at - MIB) % (UINT64_C(512) << b->geometry.order) == 0 &&
			      (at - MIB) / (UINT64_C(512) << b->geometry.order) < b->geometry.slots;

		if (header)
			assert_true(wb_all_bytes(b->bytes + at, 4096, 0));
		else
			assert_memory_equal(b->bytes + at, before + at, 4096);
	}
}

static void result_is_byte_for_byte_an_empty_cache(void **state)
{
	static const struct { const char *format; unsigned min, max; } cases[] = {
		{ "v0", 4, 11 }, { "v1", 4, 10 }, { "v2", 10, 10 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++)
		for (unsigned order = cases[i].min; order <= cases[i].max; order++) {
			struct build b;
			uint8_t *before;
			struct wb_dev *dev;

			build_init(&b, cases[i].format, order, 3);
			b.geometry.slots = 2; /* the third is a tail that is not used */
			for (uint64_t at = 0; at < b.geometry.bytes; at += WB_SECTOR)
				fill_sector(b.bytes + at, at, order);
			before = malloc(b.geometry.bytes);
			memcpy(before, b.bytes, b.geometry.bytes);
			dev = memory_of(&b);
			assert_int_equal(format(&b, dev, NULL), 0);
			expect_empty_cache(&b, before);
			wb_dev_close(dev);
			free(before);
			build_release(&b);
		}
}

static void formatted_cache_loads_as_an_empty_log(void **state)
{
	static const struct { const char *format; unsigned order; } cases[] = { { "v0", 7 }, { "v1", 6 }, { "v2", 10 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct wb_dev *dev;

		build_init(&b, cases[i].format, cases[i].order, 4);
		build_log(&b, 5, 8, 100);
		build_record(&b, 7);
		dev = memory_of(&b);
		assert_int_equal(format(&b, dev, NULL), 0);
		wb_dev_close(dev);
		build_load(&b, 0);
		assert_int_equal(b.ring.head, 0);
		assert_int_equal(b.ring.classes[WB_EMPTY], 4);
		assert_int_equal(b.cache.record, 0);
		assert_false(b.ring.destroyed);
		build_release(&b);
	}
}

static void formatting_more_slots_than_one_batch(void **state)
{
	struct build b;
	struct wb_dev *dev;

	(void)state;
	build_init(&b, "v0", 4, 600);
	memset(b.bytes, 0xa5, b.geometry.bytes);
	dev = memory_of(&b);
	assert_int_equal(format(&b, dev, NULL), 0);
	for (uint32_t slot = 0; slot < 600; slot++) {
		assert_true(wb_all_bytes(build_at(&b, slot), 4096, 0));
		assert_true(wb_all_bytes(build_at(&b, slot) + 4096, 4096, 0xa5));
	}
	wb_dev_close(dev);
	build_release(&b);
}

/* ---- interrupted ---- */

static bool any_segment_left(const struct build *b)
{
	for (uint32_t slot = 0; slot < b->geometry.slots; slot++)
		if (!wb_all_bytes(build_at(b, slot), 4096, 0))
			return true;
	return false;
}

/* Returns whether the format was cut off. */
static bool cut_format(uint64_t after, enum wb_cut cut, uint64_t seed)
{
	const struct wb_fault fault = { .cut_after = after, .cut = cut, .seed = seed };
	const struct wb_overrides none = { .slots = 0 };
	struct wb_dev *dev;
	struct wb_cache cache;
	struct build b;
	uint8_t *before;
	int ret;

	build_init(&b, "v1", 4, 6);
	build_log(&b, 7, 12, 100);
	before = malloc(b.geometry.bytes);
	memcpy(before, b.bytes, b.geometry.bytes);
	assert_int_equal(wb_dev_fault(&dev, memory_of(&b), &fault, NULL), 0);
	ret = format(&b, dev, NULL);
	wb_dev_close(dev);
	bool magic = wb_get_le(b.bytes, 4) == 0x57427374;
	bool untouched = !memcmp(before, b.bytes, b.geometry.bytes);

	if (magic && any_segment_left(&b) && !untouched)
		fail_msg("cut after %u: the magic stands over old segments", (unsigned)after);
	dev = memory_of(&b);
	if (!magic) { /* then it is told what happened, and needs no force the second time */
		assert_int_equal(wb_cache_open(&cache, dev, &none, NULL), 0);
		assert_int_equal(cache.super, WB_SUPER_ENDED);
		assert_int_equal(cache.marker.reason, WB_END_FORMAT);
		assert_int_equal(cache.marker.time, 1234);
	}
	if (!ret)
		assert_true(magic && !any_segment_left(&b));
	assert_int_equal(format(&b, dev, NULL), 0);
	expect_empty_cache(&b, before);
	wb_dev_close(dev);
	free(before);
	build_release(&b);
	return ret != 0;
}

static void sector_0_is_never_the_magic_over_old_segments(void **state)
{
	unsigned cuts = 0;

	(void)state;
	for (int cut = WB_CUT_LOST; cut <= WB_CUT_REORDERED; cut++)
		for (uint64_t seed = 0; seed < 12; seed++)
			for (uint64_t after = 0; cut_format(after, (enum wb_cut)cut, seed); after++)
				cuts++;
	assert_int_equal(cuts, 4 * 12 * (2 + 1 + 6 + 1 + 2)); /* marker, MiB, slots, flush, header */
}

static void device_that_only_pretends_is_caught(void **state)
{
	uint64_t total = 9; /* marker, MiB, six slots, header */

	(void)state;
	for (uint64_t nth = 1; nth <= total; nth++) {
		struct build b;
		struct spy *spy = malloc(sizeof(*spy));
		struct wb_dev *dev;

		build_init(&b, "v1", 4, 6);
		build_log(&b, 7, 12, 100);
		build_record(&b, 5);
		dev = memory_of(&b);
		spy_init(spy, dev);
		spy->lie_write = nth;
		int ret = format(&b, &spy->dev, NULL);

		assert_int_equal(spy->writes, total);
		/* the marker is written over in the end, and the magic was there before */
		assert_int_equal(ret, nth == 1 || nth == total ? ret : -WB_EIO);
		if (nth == total) /* then the marker stands where the header should */
			assert_int_equal(ret, -WB_EIO);
		wb_dev_close(dev);
		free(spy);
		build_release(&b);
	}
}

static void failing_writes_end_it(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth <= 9; nth++) {
		struct build b;
		struct spy *spy = malloc(sizeof(*spy));
		struct wb_dev *dev;

		build_init(&b, "v1", 4, 6);
		build_log(&b, 7, 12, 100);
		dev = memory_of(&b);
		spy_init(spy, dev);
		spy->fail_write = nth;
		assert_int_equal(format(&b, &spy->dev, NULL), -WB_EIO);
		assert_int_equal(spy->writes, nth);
		assert_false(spy->after_failure);
		assert_true(nth == 1 || wb_get_le(b.bytes, 4) != 0x57427374);
		wb_dev_close(dev);
		free(spy);
		build_release(&b);
	}
}

static void failing_flushes_end_it(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth <= 3; nth++) {
		struct build b;
		struct spy *spy = malloc(sizeof(*spy));
		struct wb_dev *dev;

		build_init(&b, "v1", 4, 6);
		dev = memory_of(&b);
		spy_init(spy, dev);
		spy->fail_flush = nth;
		assert_int_equal(format(&b, &spy->dev, NULL), -WB_EIO);
		assert_int_equal(spy->flushes, nth);
		wb_dev_close(dev);
		free(spy);
		build_release(&b);
	}
}

static int stop_now(void *context)
{
	(void)context;
	return 1;
}

static void stopped_format_leaves_its_marker(void **state)
{
	const struct wb_progress progress = { .stop = stop_now };
	struct wb_marker marker;
	struct wb_dev *dev;
	struct build b;

	(void)state;
	build_init(&b, "v1", 4, 6);
	build_log(&b, 7, 12, 100);
	dev = memory_of(&b);
	assert_int_equal(format(&b, dev, &progress), -WB_ESTOPPED);
	assert_true(wb_marker_decode(b.bytes, &marker));
	assert_int_equal(marker.reason, WB_END_FORMAT);
	wb_dev_close(dev);
	build_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(result_is_byte_for_byte_an_empty_cache),
		cmocka_unit_test(formatted_cache_loads_as_an_empty_log),
		cmocka_unit_test(formatting_more_slots_than_one_batch),
		cmocka_unit_test(sector_0_is_never_the_magic_over_old_segments),
		cmocka_unit_test(device_that_only_pretends_is_caught),
		cmocka_unit_test(failing_writes_end_it),
		cmocka_unit_test(failing_flushes_end_it),
		cmocka_unit_test(stopped_format_leaves_its_marker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
