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

/* On what becomes of what: an old log, and the cache that is made over it. */
struct remake {
	const char *old;
	unsigned old_order;
	uint32_t slots;
	uint64_t first, last; /* ids of the old log */
	const char *new;
	unsigned new_order;
	bool discard;
};

static const struct remake remakes[] = {
	{ "v1", 4, 6, 7, 12, "v1", 4, false },
	{ "v0", 7, 17, 20, 36, "v0", 7, false },
	{ "v2", 10, 3, 4, 6, "v2", 10, false },
	{ "v0", 7, 17, 1, 17, "v2", 10, false }, /* of the old headers most are never overwritten */
	{ "v2", 10, 2, 2, 3, "v0", 7, false },
	{ "v0", 5, 20, 3, 22, "v0", 8, false },
	{ "v1", 5, 20, 3, 22, "v0", 5, false },  /* the same superblock before and after */
	{ "v1", 4, 6, 7, 12, "v1", 4, true },
	{ "v0", 7, 17, 1, 17, "v2", 10, true },
};

/* A device whose discarded ranges hold garbage, which comes and goes like what is written. */
struct shredder {
	struct wb_dev dev;
	struct wb_dev *inner; /* closed with it */
};

static void shredder_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	wb_dev_submit(((struct shredder *)dev)->inner, io, n, NULL);
}

static int shredder_flush(struct wb_dev *dev)
{
	return wb_dev_flush(((struct shredder *)dev)->inner, NULL) ? -EIO : 0;
}

static int shredder_discard(struct wb_dev *dev, uint64_t offset, uint64_t length)
{
	uint8_t *garbage = malloc(length);
	int failed;

	assert_non_null(garbage);
	for (uint64_t at = 0; at < length; at += WB_SECTOR)
		fill_sector(garbage + at, offset + at, 99);
	failed = wb_dev_write(((struct shredder *)dev)->inner, offset, garbage, (uint32_t)length, NULL);
	free(garbage);
	return failed ? -EIO : 0;
}

static void shredder_close(struct wb_dev *dev)
{
	wb_dev_close(((struct shredder *)dev)->inner);
	free(dev);
}

static struct wb_dev *shredder_over(struct wb_dev *inner)
{
	static const struct wb_dev_ops ops = { .submit = shredder_submit, .flush = shredder_flush,
					       .discard = shredder_discard, .close = shredder_close };
	struct shredder *shredder = malloc(sizeof(*shredder));

	assert_non_null(shredder);
	*shredder = (struct shredder){ .dev = *inner, .inner = inner };
	shredder->dev.ops = &ops;
	return &shredder->dev;
}

static int remake(const struct remake *r, struct wb_dev *dev)
{
	struct wb_geometry geometry;
	int ret = wb_geometry_init(&geometry, wb_format_find(r->new), r->new_order, wb_dev_size(dev), 0, NULL);

	assert_int_equal(ret, 0);
	if (r->discard)
		ret = wb_cache_discard(dev, 1234, NULL, NULL);
	return ret ? ret : wb_cache_format(dev, &geometry, 1234, NULL, NULL);
}

/* As any program that knows nothing finds it: an interrupted format, or an empty cache. */
static void expect_interrupted_or_empty(struct wb_dev *dev, bool done, uint64_t after)
{
	const struct wb_overrides none = { .slots = 0 };
	const struct wb_ring_options options = { .jobs = 1 };
	struct wb_cache cache;
	struct wb_ring ring;

	assert_int_equal(wb_cache_open(&cache, dev, &none, NULL), 0);
	if (cache.super == WB_SUPER_ENDED) {
		assert_false(done);
		assert_int_equal(cache.marker.reason, WB_END_FORMAT);
		assert_int_equal(cache.marker.time, 1234);
		return;
	}
	assert_int_equal(cache.super, WB_SUPER_GOOD);
	assert_int_equal(wb_ring_load(&ring, &cache, &options, NULL, NULL), 0);
	if (ring.classes[WB_EMPTY] != cache.geometry.slots || ring.head || cache.record)
		fail_msg("cut after %u: the magic stands over old segments", (unsigned)after);
	wb_ring_release(&ring);
}

/* Returns whether the format was cut off. */
static bool cut_format(const struct remake *r, uint64_t after, enum wb_cut cut, uint64_t seed)
{
	const struct wb_fault fault = { .cut_after = after, .cut = cut, .seed = seed };
	struct wb_dev *dev;
	struct build b;
	uint8_t *before;
	int ret;

	build_init(&b, r->old, r->old_order, r->slots);
	build_log(&b, r->first, r->last, 100);
	build_record(&b, r->first);
	before = malloc(b.geometry.bytes);
	memcpy(before, b.bytes, b.geometry.bytes);
	assert_int_equal(wb_dev_fault(&dev, memory_of(&b), &fault, NULL), 0);
	dev = shredder_over(dev);
	ret = remake(r, dev);
	wb_dev_close(dev);
	dev = memory_of(&b);
	if (memcmp(before, b.bytes, b.geometry.bytes) != 0) /* else it is the old cache, whole */
		expect_interrupted_or_empty(dev, !ret, after);
	assert_int_equal(remake(&(struct remake){ .new = r->new, .new_order = r->new_order }, dev), 0);
	expect_interrupted_or_empty(dev, true, after);
	wb_dev_close(dev);
	free(before);
	build_release(&b);
	return ret != 0;
}

/* marker, flush (and with a discard: that, flush, marker, flush); first MiB, slots, flush; header, flush */
static unsigned steps_of(const struct remake *r)
{
	struct wb_geometry geometry;
	uint64_t bytes = (1u << 20) + ((uint64_t)r->slots << (r->old_order + 9));

	assert_int_equal(wb_geometry_init(&geometry, wb_format_find(r->new), r->new_order, bytes, 0, NULL), 0);
	return 2 + (r->discard ? 4u : 0) + 1 + geometry.slots + 1 + 2;
}

static void sector_0_is_never_the_magic_over_old_segments(void **state)
{
	enum { SEEDS = 5 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(remakes); i++) {
		unsigned cuts = 0;

		for (int cut = WB_CUT_LOST; cut <= WB_CUT_REORDERED; cut++)
			for (uint64_t seed = 0; seed < SEEDS; seed++)
				for (uint64_t after = 0; cut_format(&remakes[i], after, (enum wb_cut)cut, seed); after++)
					cuts++;
		assert_int_equal(cuts, 4 * SEEDS * steps_of(&remakes[i]));
	}
}

/* ---- discarding ---- */

static void discarded_garbage_is_no_segment(void **state)
{
	struct wb_dev *dev;
	struct build b;
	uint8_t super[8];

	(void)state;
	build_init(&b, "v1", 4, 6);
	build_log(&b, 7, 12, 100);
	memcpy(super, b.bytes, sizeof(super));
	dev = shredder_over(memory_of(&b));
	assert_int_equal(remake(&(struct remake){ .new = "v1", .new_order = 4, .discard = true }, dev), 0);
	expect_interrupted_or_empty(dev, true, 0);
	assert_memory_equal(b.bytes, super, sizeof(super));
	for (uint32_t slot = 0; slot < 6; slot++) { /* all but the headers was discarded */
		uint8_t garbage[WB_SECTOR];
		uint64_t at = wb_slot_offset(&b.geometry, slot) + WB_BLOCK;

		fill_sector(garbage, at, 99);
		assert_memory_equal(b.bytes + at, garbage, WB_SECTOR);
	}
	wb_dev_close(dev);
	build_release(&b);
}

static void discard_leaves_the_first_mib_and_its_marker(void **state)
{
	struct wb_marker marker;
	struct wb_dev *dev;
	struct build b;

	(void)state;
	build_init(&b, "v1", 4, 6);
	build_record(&b, 5);
	dev = shredder_over(memory_of(&b));
	assert_int_equal(wb_cache_discard(dev, 1234, NULL, NULL), 0);
	assert_true(wb_marker_decode(b.bytes, &marker));
	assert_int_equal(marker.reason, WB_END_FORMAT);
	assert_true(wb_all_bytes(b.bytes + WB_SECTOR, WB_RECORD_OFFSET - WB_SECTOR, 0));
	assert_int_equal(b.bytes[WB_RECORD_OFFSET], 5);
	wb_dev_close(dev);
	build_release(&b);
}

static void device_that_cannot_discard_says_so(void **state)
{
	struct wb_error err = { 0 };
	struct wb_dev *dev;
	struct build b;

	(void)state;
	build_init(&b, "v1", 4, 6);
	dev = memory_of(&b);
	assert_int_equal(wb_cache_discard(dev, 1234, NULL, &err), -WB_EIO);
	assert_int_equal(err.sys, EOPNOTSUPP);
	assert_int_equal(format(&b, dev, NULL), 0);
	wb_dev_close(dev);
	build_release(&b);
}

/* ---- failures ---- */

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

struct watcher {
	unsigned zeroing, rereading, discarding;
	uint64_t last;
};

static void watch(void *context, const char *phase, uint64_t done, uint64_t total)
{
	struct watcher *watcher = context;

	assert_true(done < total);
	assert_true(!done || done == WB_FIRST_SLOT || done > watcher->last);
	watcher->last = done;
	watcher->zeroing += strcmp(phase, "zeroing segment headers") == 0;
	watcher->rereading += strcmp(phase, "rereading segment headers") == 0;
	watcher->discarding += strcmp(phase, "discarding") == 0;
}

static void progress_is_reported_for_every_batch(void **state)
{
	struct watcher watcher = { .last = 0 };
	const struct wb_progress progress = { .context = &watcher, .report = watch };
	struct wb_dev *dev;
	struct build b;

	(void)state;
	build_init(&b, "v0", 4, 600);
	dev = shredder_over(memory_of(&b));
	assert_int_equal(wb_cache_discard(dev, 1234, &progress, NULL), 0);
	assert_int_equal(format(&b, dev, &progress), 0);
	assert_int_equal(watcher.discarding, 1);
	assert_int_equal(watcher.zeroing, 3);
	assert_int_equal(watcher.rereading, 3);
	wb_dev_close(dev);
	build_release(&b);
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
		cmocka_unit_test(discarded_garbage_is_no_segment),
		cmocka_unit_test(discard_leaves_the_first_mib_and_its_marker),
		cmocka_unit_test(device_that_cannot_discard_says_so),
		cmocka_unit_test(device_that_only_pretends_is_caught),
		cmocka_unit_test(failing_writes_end_it),
		cmocka_unit_test(failing_flushes_end_it),
		cmocka_unit_test(progress_is_reported_for_every_batch),
		cmocka_unit_test(stopped_format_leaves_its_marker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
