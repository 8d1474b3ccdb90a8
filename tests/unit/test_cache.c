/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/cache.c: the marker, what sector 0 can be, opening, ending. */
#include "cache_builder.h"

#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)

static const struct wb_overrides none;
static const struct wb_overrides any = { .any_super = true };

static const struct wb_marker a_marker = {
	.reason = WB_END_FLUSHED, .time = 0x0102030405060708, .head = 0x1112131415161718, .digest = 0x2122232425262728,
	.backing_bytes = 0x3132333435363738,
};

static int open_on(struct wb_cache *cache, struct build *b, const struct wb_overrides *overrides, struct wb_error *err)
{
	struct wb_dev *dev;
	int ret;

	assert_int_equal(wb_dev_memory(&dev, b->bytes, b->geometry.bytes, NULL), 0);
	ret = wb_cache_open(cache, dev, overrides, err);
	wb_dev_close(dev);
	return ret;
}

static void some_log(struct build *b, const char *format, unsigned order)
{
	build_init(b, format, order, 5);
	build_log(b, 6, 10, 100);
}

/* ---- the marker ---- */

static void marker_has_a_fixed_layout(void **state)
{
	uint8_t sector[WB_SECTOR], expected[WB_SECTOR] = "WBen\0ed";

	(void)state;
	wb_put_le(expected + 8, 4, 2);
	wb_put_le(expected + 12, 4, 1);
	wb_put_le(expected + 16, 8, a_marker.time);
	wb_put_le(expected + 24, 8, a_marker.head);
	wb_put_le(expected + 32, 8, a_marker.digest);
	wb_put_le(expected + 40, 8, a_marker.backing_bytes);
	wb_put_le(expected + 508, 4, ~wb_crc32c(~0u, expected, 508));
	memset(sector, 0xee, sizeof(sector));
	wb_marker_encode(sector, &a_marker);
	assert_memory_equal(sector, expected, WB_SECTOR);
}

static void marker_survives_the_round_trip(void **state)
{
	(void)state;
	for (int reason = WB_END_FLUSHED; reason <= WB_END_RESET; reason++) {
		struct wb_marker in = a_marker, out;
		uint8_t sector[WB_SECTOR];

		in.reason = (enum wb_end_reason)reason;
		wb_marker_encode(sector, &in);
		assert_true(wb_marker_decode(sector, &out));
		assert_int_equal(out.reason, in.reason);
		assert_int_equal(out.time, in.time);
		assert_int_equal(out.head, in.head);
		assert_int_equal(out.digest, in.digest);
		assert_int_equal(out.backing_bytes, in.backing_bytes);
	}
}

static void marker_with_any_flipped_bit_is_refused(void **state)
{
	struct wb_marker out;
	uint8_t sector[WB_SECTOR];

	(void)state;
	wb_marker_encode(sector, &a_marker);
	for (unsigned bit = 0; bit < 8 * WB_SECTOR; bit++) {
		sector[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (wb_marker_decode(sector, &out))
			fail_msg("bit %u", bit);
		sector[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_true(wb_marker_decode(sector, &out));
}

static void marker_of_another_version_or_reason_is_refused(void **state)
{
	static const struct { unsigned at; uint32_t value; } cases[] = {
		{ 8, 0 }, { 8, 3 }, { 12, 0 }, { 12, 4 }, { 12, UINT32_MAX },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_marker out;
		uint8_t sector[WB_SECTOR];

		wb_marker_encode(sector, &a_marker);
		wb_put_le(sector + cases[i].at, 4, cases[i].value);
		wb_put_le(sector + 508, 4, ~wb_crc32c(~0u, sector, 508));
		assert_false(wb_marker_decode(sector, &out));
	}
}

static void marker_is_no_magic(void **state)
{
	uint8_t sector[WB_SECTOR];

	(void)state;
	wb_marker_encode(sector, &a_marker);
	assert_true(wb_get_le(sector, 4) != 0x57427374);
}

/* ---- opening what is sound ---- */

static void sound_caches_open(void **state)
{
	static const struct { const char *format; unsigned order; } cases[] = {
		{ "v0", 4 }, { "v0", 7 }, { "v0", 11 }, { "v1", 4 }, { "v1", 10 }, { "v2", 10 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_cache cache;
		struct build b;

		some_log(&b, cases[i].format, cases[i].order);
		build_record(&b, 0x1234567890);
		assert_int_equal(open_on(&cache, &b, &none, NULL), 0);
		assert_int_equal(cache.super, WB_SUPER_GOOD);
		assert_string_equal(cache.geometry.format->name, cases[i].format);
		assert_int_equal(cache.geometry.order, cases[i].order);
		assert_int_equal(cache.geometry.slots, 5);
		assert_int_equal(cache.order_byte, b.bytes[4]);
		assert_int_equal(cache.record, 0x1234567890);
		assert_int_equal(cache.evidence, 5 * 32);
		assert_int_equal(cache.sampled, 5);
		assert_memory_equal(cache.sector0, b.bytes, WB_SECTOR);
		assert_null(cache.tie);
		assert_false(cache.wraps);
		build_release(&b);
	}
}

static void unwritten_caches_open(void **state)
{
	static const struct { unsigned order; const char *format; } cases[] = { { 7, "v0" }, { 10, "v0" }, { 0, "v2" } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_cache cache;
		struct build b;

		build_init(&b, "v2", 10, 4);
		b.bytes[4] = (uint8_t)cases[i].order;
		assert_int_equal(open_on(&cache, &b, &none, NULL), 0);
		assert_string_equal(cache.geometry.format->name, cases[i].format);
		assert_int_equal(cache.evidence, 0);
		build_release(&b);
	}
}

/* ---- sector 0 zeroed, damaged, ended ---- */

static void zeroed_sector(struct build *b) { memset(b->bytes, 0, WB_SECTOR); }
static void wrong_magic(struct build *b) { b->bytes[2] ^= 1; }
static void garbage_sector(struct build *b) { memset(b->bytes, 0xa5, WB_SECTOR); }
static void order_three(struct build *b) { b->bytes[4] = 3; }
static void order_twelve(struct build *b) { b->bytes[4] = 12; }
static void order_255(struct build *b) { b->bytes[4] = 255; }
static void smaller_order(struct build *b) { b->bytes[4] = 6; }
static void larger_order(struct build *b) { b->bytes[4] = 8; }
static void damaged_marker(struct build *b)
{
	wb_marker_encode(b->bytes, &a_marker);
	b->bytes[100] ^= 1;
}

static const struct {
	const char *name;
	void (*break_it)(struct build *b);
	enum wb_super super;
	bool magic;
} supers[] = {
	{ "zeroed", zeroed_sector, WB_SUPER_ZEROED, false },
	{ "wrong magic", wrong_magic, WB_SUPER_DAMAGED, false },
	{ "garbage", garbage_sector, WB_SUPER_DAMAGED, false },
	{ "damaged marker", damaged_marker, WB_SUPER_DAMAGED, false },
	{ "order 3", order_three, WB_SUPER_DAMAGED, true },
	{ "order 12", order_twelve, WB_SUPER_DAMAGED, true },
	{ "order 255", order_255, WB_SUPER_DAMAGED, true },
	{ "a larger order than the segments have", larger_order, WB_SUPER_DAMAGED, true },
	{ "a smaller order than the segments have", smaller_order, WB_SUPER_DAMAGED, true },
};

static void damaged_sector_0_over_a_log_needs_to_be_forced(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(supers); i++) {
		struct wb_error err = { 0 };
		struct wb_cache cache;
		struct build b;

		some_log(&b, "v1", 7);
		supers[i].break_it(&b);
		if (open_on(&cache, &b, &none, &err) != -WB_ESUPER)
			fail_msg("%s: opens as %s, order %u", supers[i].name, cache.geometry.format->name,
				 cache.geometry.order);
		assert_int_equal(err.code, WB_ESUPER);
		assert_int_equal(cache.super, supers[i].super);
		assert_int_equal(cache.order_byte, b.bytes[4]);
		assert_int_equal(open_on(&cache, &b, &any, NULL), 0);
		assert_string_equal(cache.geometry.format->name, "v1");
		assert_int_equal(cache.geometry.order, 7);
		assert_int_equal(cache.super, supers[i].super);
		build_release(&b);
	}
}

static void damaged_sector_0_over_nothing_is_no_cache(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(supers); i++) {
		struct wb_cache cache;
		struct build b;

		if (supers[i].magic)
			continue;
		build_init(&b, "v1", 7, 5);
		supers[i].break_it(&b);
		assert_int_equal(open_on(&cache, &b, &none, NULL), -WB_ENOTCACHE);
		assert_int_equal(open_on(&cache, &b, &any, NULL), -WB_ENOTCACHE);
		build_release(&b);
	}
}

static void ended_log_opens_without_a_geometry(void **state)
{
	struct wb_cache cache;
	struct build b;

	(void)state;
	some_log(&b, "v1", 7);
	wb_marker_encode(b.bytes, &a_marker);
	assert_int_equal(open_on(&cache, &b, &none, NULL), 0);
	assert_int_equal(cache.super, WB_SUPER_ENDED);
	assert_null(cache.geometry.format);
	assert_int_equal(cache.marker.head, a_marker.head);
	assert_int_equal(cache.marker.reason, WB_END_FLUSHED);
	assert_int_equal(open_on(&cache, &b, &any, NULL), 0);
	assert_int_equal(cache.super, WB_SUPER_ENDED);
	assert_string_equal(cache.geometry.format->name, "v1");
	build_release(&b);
}

static void blank_device_is_no_cache(void **state)
{
	static const uint64_t sizes[] = { 0, 512, MIB - 1, MIB, 4 * MIB };
	uint8_t *bytes = calloc(1, 4 * MIB);

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(sizes); i++) {
		struct wb_error err = { 0 };
		struct wb_cache cache;
		struct wb_dev *dev;
		int ret;

		assert_int_equal(wb_dev_memory(&dev, bytes, sizes[i], NULL), 0);
		ret = wb_cache_open(&cache, dev, &none, &err);
		assert_true(ret == -WB_ENOTCACHE || (sizes[i] == MIB && ret == -WB_EINVAL));
		assert_int_equal(err.code, -ret);
		wb_dev_close(dev);
	}
	free(bytes);
}

static void device_too_small_for_its_order_is_refused(void **state)
{
	struct wb_error err = { 0 };
	struct wb_cache cache;
	struct build b;

	(void)state;
	build_init(&b, "v1", 4, 3);
	b.bytes[4] = 10;
	assert_int_equal(open_on(&cache, &b, &none, &err), -WB_EINVAL);
	assert_non_null(strstr(err.text, "too small"));
	build_release(&b);
}

static void overrides_are_obeyed(void **state)
{
	const struct wb_overrides slots = { .slots = 3 }, v2 = { .format = wb_format_find("v2") },
				  many = { .slots = 9 }, order = { .order = 200 };
	struct wb_cache cache;
	struct build b;

	(void)state;
	some_log(&b, "v1", 10);
	assert_int_equal(open_on(&cache, &b, &slots, NULL), 0);
	assert_int_equal(cache.geometry.slots, 3);
	assert_int_equal(open_on(&cache, &b, &v2, NULL), 0);
	assert_string_equal(cache.geometry.format->name, "v2");
	assert_int_equal(open_on(&cache, &b, &many, NULL), 0); /* of a device that was cut short */
	assert_int_equal(cache.geometry.slots, 9);
	assert_string_equal(cache.geometry.format->name, "v1");
	assert_int_equal(open_on(&cache, &b, &order, NULL), -WB_EINVAL);
	build_release(&b);
}

/* ---- over 2 TiB ---- */

/* A device of any size that holds a v2 superblock and zeroes. */
static void huge_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	(void)dev;
	for (unsigned i = 0; i < n; i++) {
		memset(io[i].buffer, 0, io[i].length);
		if (!io[i].offset)
			wb_put_le(io[i].buffer, 4, 0x57427374);
	}
}

static void address_of_slots_over_two_tib_must_be_chosen(void **state)
{
	static const struct wb_dev_ops ops = { .submit = huge_submit };
	static const struct { uint64_t bytes; int address; int ret; bool wraps, wrap; } cases[] = {
		{ 2 * TIB, WB_ADDRESS_AUTO, 0, false, false },
		{ 2 * TIB, WB_ADDRESS_WRAP, 0, false, false },
		{ 2 * TIB + MIB, WB_ADDRESS_AUTO, -WB_EWRAP, true, false },
		{ 2 * TIB + MIB, WB_ADDRESS_LINEAR, 0, true, false },
		{ 2 * TIB + MIB, WB_ADDRESS_WRAP, 0, true, true },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_dev dev = { .ops = &ops, .size = cases[i].bytes, .block = 512 };
		struct wb_overrides overrides = { .address = WB_ADDRESS_AUTO };
		struct wb_cache cache;

		if (cases[i].address == WB_ADDRESS_LINEAR)
			overrides.address = WB_ADDRESS_LINEAR;
		if (cases[i].address == WB_ADDRESS_WRAP)
			overrides.address = WB_ADDRESS_WRAP;
		assert_int_equal(wb_cache_open(&cache, &dev, &overrides, NULL), cases[i].ret);
		assert_int_equal(cache.wraps, cases[i].wraps);
		if (!cases[i].ret)
			assert_int_equal(cache.geometry.wrap, cases[i].wrap);
	}
}

/* ---- ending ---- */

static void ending_writes_one_sector_and_flushes_behind_it(void **state)
{
	struct build b;
	struct spy *spy = malloc(sizeof(*spy));
	struct wb_dev *dev;
	struct wb_marker out;
	uint8_t *before;

	(void)state;
	some_log(&b, "v1", 7);
	before = malloc(b.geometry.bytes);
	memcpy(before, b.bytes, b.geometry.bytes);
	assert_int_equal(wb_dev_memory(&dev, b.bytes, b.geometry.bytes, NULL), 0);
	spy_init(spy, dev);
	assert_int_equal(wb_cache_end(&spy->dev, &a_marker, NULL), 0);
	assert_int_equal(spy->writes, 1);
	assert_int_equal(spy->log[0].offset, 0);
	assert_int_equal(spy->log[0].length, WB_SECTOR);
	assert_int_equal(spy->flushes, 1);
	assert_true(wb_marker_decode(b.bytes, &out));
	assert_memory_equal(before + WB_SECTOR, b.bytes + WB_SECTOR, b.geometry.bytes - WB_SECTOR);
	wb_dev_close(dev);
	free(before);
	free(spy);
	build_release(&b);
}

static void failure_to_end_is_reported(void **state)
{
	(void)state;
	for (uint64_t after = 0; after < 2; after++) {
		const struct wb_fault fault = { .cut_after = after };
		struct wb_dev *memory, *dev;
		struct build b;

		some_log(&b, "v1", 7);
		assert_int_equal(wb_dev_memory(&memory, b.bytes, b.geometry.bytes, NULL), 0);
		assert_int_equal(wb_dev_fault(&dev, memory, &fault, NULL), 0);
		assert_int_equal(wb_cache_end(dev, &a_marker, NULL), -WB_EIO);
		wb_dev_close(dev);
		build_release(&b);
	}
}

static void power_cut_while_ending_leaves_the_old_sector_or_the_marker(void **state)
{
	(void)state;
	for (int cut = WB_CUT_LOST; cut <= WB_CUT_REORDERED; cut++)
		for (uint64_t seed = 0; seed < 8; seed++)
			for (uint64_t after = 0; after < 3; after++) {
				const struct wb_fault fault = { .cut_after = after, .cut = (enum wb_cut)cut, .seed = seed };
				struct wb_dev *memory, *dev;
				uint8_t before[WB_SECTOR];
				struct wb_marker out;
				struct build b;

				some_log(&b, "v1", 5);
				memcpy(before, b.bytes, WB_SECTOR);
				assert_int_equal(wb_dev_memory(&memory, b.bytes, b.geometry.bytes, NULL), 0);
				assert_int_equal(wb_dev_fault(&dev, memory, &fault, NULL), 0);
				int ret = wb_cache_end(dev, &a_marker, NULL);

				wb_dev_close(dev);
				bool ended = wb_marker_decode(b.bytes, &out);

				assert_true(ended || !memcmp(before, b.bytes, WB_SECTOR));
				assert_true(ended || ret); /* what is reported as done is on the medium */
				build_release(&b);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(marker_has_a_fixed_layout),
		cmocka_unit_test(marker_survives_the_round_trip),
		cmocka_unit_test(marker_with_any_flipped_bit_is_refused),
		cmocka_unit_test(marker_of_another_version_or_reason_is_refused),
		cmocka_unit_test(marker_is_no_magic),
		cmocka_unit_test(sound_caches_open),
		cmocka_unit_test(unwritten_caches_open),
		cmocka_unit_test(damaged_sector_0_over_a_log_needs_to_be_forced),
		cmocka_unit_test(damaged_sector_0_over_nothing_is_no_cache),
		cmocka_unit_test(ended_log_opens_without_a_geometry),
		cmocka_unit_test(blank_device_is_no_cache),
		cmocka_unit_test(device_too_small_for_its_order_is_refused),
		cmocka_unit_test(overrides_are_obeyed),
		cmocka_unit_test(address_of_slots_over_two_tib_must_be_chosen),
		cmocka_unit_test(ending_writes_one_sector_and_flushes_behind_it),
		cmocka_unit_test(failure_to_end_is_reported),
		cmocka_unit_test(power_cut_while_ending_leaves_the_old_sector_or_the_marker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
