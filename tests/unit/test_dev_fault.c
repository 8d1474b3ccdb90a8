/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/dev_fault.c: the device that the other tests trust to fail as told. */
#include <unistd.h>

#include "cache_builder.h"

#define SIZE 16384u
#define NEVER UINT64_MAX

static uint8_t memory[SIZE];

static struct wb_dev *make(const struct wb_fault *fault)
{
	struct wb_dev *inner, *dev;

	memset(memory, 0, sizeof(memory));
	assert_int_equal(wb_dev_memory(&inner, memory, SIZE, NULL), 0);
	assert_int_equal(wb_dev_fault(&dev, inner, fault, NULL), 0);
	return dev;
}

static int put_bytes(struct wb_dev *dev, uint64_t offset, uint8_t value, uint32_t length)
{
	uint8_t bytes[SIZE];

	memset(bytes, value, length);
	return wb_dev_write(dev, offset, bytes, length, NULL);
}

static uint8_t byte_at(struct wb_dev *dev, uint64_t offset)
{
	uint8_t byte = 0;

	assert_int_equal(wb_dev_read(dev, offset, &byte, 1, NULL), 0);
	return byte;
}

static void wrapper_looks_like_what_it_wraps(void **state)
{
	const struct wb_fault fault = { .cut_after = NEVER };
	struct wb_dev *dev = make(&fault);

	(void)state;
	assert_int_equal(wb_dev_size(dev), SIZE);
	assert_int_equal(wb_dev_block(dev), 512);
	assert_false(wb_dev_is_block(dev));
	wb_dev_close(dev);
}

/* ---- bad ranges ---- */

static void reads_that_touch_a_bad_range_fail(void **state)
{
	static const struct wb_range bad[] = { { 1024, 512 }, { 8192, 1 } };
	static const struct { uint64_t offset; uint32_t length; int ret; } cases[] = {
		{ 0, 1024, 0 },           { 0, 1025, -WB_EIO },  { 1535, 1, -WB_EIO }, { 1536, 512, 0 },
		{ 1024, 512, -WB_EIO },   { 0, SIZE, -WB_EIO },  { 8191, 1, 0 },       { 8192, 1, -WB_EIO },
		{ 8193, 100, 0 },         { 1100, 10, -WB_EIO },
	};
	const struct wb_fault fault = { .bad = bad, .bad_count = 2, .cut_after = NEVER };
	struct wb_dev *dev = make(&fault);
	uint8_t buffer[SIZE];

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_error err = { 0 };

		assert_int_equal(wb_dev_read(dev, cases[i].offset, buffer, cases[i].length, &err), cases[i].ret);
		if (cases[i].ret) {
			assert_int_equal(err.sys, EIO);
			assert_int_equal(err.offset, cases[i].offset);
		}
	}
	wb_dev_close(dev);
}

static void bad_range_to_the_end_of_everything_fails(void **state)
{
	static const struct wb_range bad[] = { { 4096, UINT64_MAX } };
	const struct wb_fault fault = { .bad = bad, .bad_count = 1, .cut_after = NEVER };
	struct wb_dev *dev = make(&fault);
	uint8_t byte;

	(void)state;
	assert_int_equal(wb_dev_read(dev, 4095, &byte, 1, NULL), 0);
	assert_int_equal(wb_dev_read(dev, 4096, &byte, 1, NULL), -WB_EIO);
	assert_int_equal(wb_dev_read(dev, SIZE - 1, &byte, 1, NULL), -WB_EIO);
	wb_dev_close(dev);
}

static void bad_ranges_are_a_matter_of_reading(void **state)
{
	static const struct wb_range bad[] = { { 0, SIZE } };
	const struct wb_fault fault = { .bad = bad, .bad_count = 1, .cut_after = NEVER };
	struct wb_dev *dev = make(&fault);
	uint8_t byte;

	(void)state;
	assert_int_equal(put_bytes(dev, 0, 1, 512), 0);
	assert_int_equal(wb_dev_flush(dev, NULL), 0);
	assert_int_equal(wb_dev_read(dev, 0, &byte, 1, NULL), -WB_EIO);
	assert_int_equal(memory[0], 1);
	wb_dev_close(dev);
}

static void one_bad_read_does_not_spoil_its_batch(void **state)
{
	static const struct wb_range bad[] = { { 512, 512 } };
	const struct wb_fault fault = { .bad = bad, .bad_count = 1, .cut_after = NEVER };
	struct wb_dev *dev = make(&fault);
	uint8_t buffer[3][512];
	struct wb_io io[3];
	struct wb_error err = { 0 };

	(void)state;
	memset(memory, 7, SIZE);
	for (unsigned i = 0; i < 3; i++)
		io[i] = (struct wb_io){ .buffer = buffer[i], .offset = 512 * i, .length = 512 };
	assert_int_equal(wb_dev_submit(dev, io, 3, &err), -WB_EIO);
	assert_int_equal(err.offset, 512);
	assert_int_equal(io[0].result, 0);
	assert_int_equal(io[1].result, -EIO);
	assert_int_equal(io[2].result, 0);
	assert_int_equal(buffer[2][0], 7);
	wb_dev_close(dev);
}

/* ---- a volatile cache ---- */

static void writes_wait_for_the_flush(void **state)
{
	const struct wb_fault fault = { .cut_after = NEVER };
	struct wb_dev *dev = make(&fault);

	(void)state;
	assert_int_equal(put_bytes(dev, 0, 5, 512), 0);
	assert_int_equal(memory[0], 0);
	assert_int_equal(wb_dev_flush(dev, NULL), 0);
	assert_int_equal(memory[0], 5);
	wb_dev_close(dev);
}

static void reads_see_writes_that_wait(void **state)
{
	const struct wb_fault fault = { .cut_after = NEVER };
	struct wb_dev *dev = make(&fault);
	uint8_t buffer[2048];

	(void)state;
	assert_int_equal(put_bytes(dev, 1024, 1, 1024), 0);
	assert_int_equal(put_bytes(dev, 1536, 2, 1024), 0);
	assert_int_equal(wb_dev_read(dev, 512, buffer, 2048, NULL), 0);
	assert_true(wb_all_bytes(buffer, 512, 0));
	assert_true(wb_all_bytes(buffer + 512, 512, 1));
	assert_true(wb_all_bytes(buffer + 1024, 1024, 2)); /* the later write lies on top */
	assert_int_equal(byte_at(dev, 2559), 2);
	assert_int_equal(byte_at(dev, 2560), 0);
	wb_dev_close(dev);
}

static void writes_wait_with_the_bytes_they_had(void **state)
{
	const struct wb_fault fault = { .cut_after = NEVER };
	struct wb_dev *dev = make(&fault);
	uint8_t bytes[512];

	(void)state;
	memset(bytes, 3, sizeof(bytes));
	assert_int_equal(wb_dev_write(dev, 0, bytes, sizeof(bytes), NULL), 0);
	memset(bytes, 4, sizeof(bytes));
	assert_int_equal(byte_at(dev, 0), 3);
	wb_dev_close(dev);
	assert_int_equal(memory[0], 3);
}

static void closing_without_a_cut_loses_nothing(void **state)
{
	const struct wb_fault fault = { .cut_after = 5, .cut = WB_CUT_LOST };
	struct wb_dev *dev = make(&fault);

	(void)state;
	assert_int_equal(put_bytes(dev, 512, 9, 512), 0);
	wb_dev_close(dev);
	assert_true(wb_all_bytes(memory + 512, 512, 9));
}

/* ---- the cut ---- */

static void cut_counts_writes_and_flushes(void **state)
{
	(void)state;
	for (uint64_t after = 0; after < 6; after++) {
		const struct wb_fault fault = { .cut_after = after };
		struct wb_dev *dev = make(&fault);

		for (uint64_t i = 0; i < 8; i++) {
			int ret = i % 3 == 2 ? wb_dev_flush(dev, NULL) : put_bytes(dev, 512 * i, 1, 512);

			assert_int_equal(ret, i < after ? 0 : -WB_EIO);
		}
		wb_dev_close(dev);
	}
}

static void reads_do_not_count(void **state)
{
	const struct wb_fault fault = { .cut_after = 1 };
	struct wb_dev *dev = make(&fault);

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		byte_at(dev, i);
	assert_int_equal(put_bytes(dev, 0, 1, 512), 0);
	wb_dev_close(dev);
}

static void everything_fails_after_the_cut(void **state)
{
	const struct wb_fault fault = { .cut_after = 0 };
	struct wb_dev *dev = make(&fault);
	uint8_t byte;

	(void)state;
	assert_int_equal(wb_dev_read(dev, 0, &byte, 1, NULL), 0);
	assert_int_equal(put_bytes(dev, 0, 1, 512), -WB_EIO);
	assert_int_equal(wb_dev_read(dev, 0, &byte, 1, NULL), -WB_EIO);
	assert_int_equal(put_bytes(dev, 0, 1, 512), -WB_EIO);
	assert_int_equal(wb_dev_flush(dev, NULL), -WB_EIO);
	wb_dev_close(dev);
}

static void batch_ends_with_the_write_that_the_cut_hits(void **state)
{
	const struct wb_fault fault = { .cut_after = 1, .cut = WB_CUT_KEPT };
	struct wb_dev *dev = make(&fault);
	uint8_t bytes[512] = { 1 };
	struct wb_io io[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		io[i] = (struct wb_io){ .buffer = bytes, .offset = 512 * i, .length = 512, .write = true };
	assert_int_equal(wb_dev_submit(dev, io, 4, NULL), -WB_EIO);
	assert_int_equal(io[0].result, 0);
	assert_int_equal(io[1].result, -EIO);
	assert_int_not_equal(io[2].result, 0);
	assert_int_not_equal(io[3].result, 0);
	wb_dev_close(dev);
	assert_int_equal(memory[1024], 0);
	assert_int_equal(memory[1536], 0);
}

/* A flushed write of 1, then the writes 2, 3 and 4 of three sectors each; the fourth meets the cut. */
static void cut_with(enum wb_cut cut, uint64_t seed)
{
	const struct wb_fault fault = { .cut_after = 4, .cut = cut, .seed = seed };
	struct wb_dev *dev = make(&fault);

	assert_int_equal(put_bytes(dev, 0, 1, 1536), 0);
	assert_int_equal(wb_dev_flush(dev, NULL), 0);
	assert_int_equal(put_bytes(dev, 1536, 2, 1536), 0);
	assert_int_equal(put_bytes(dev, 3072, 3, 1536), 0);
	assert_int_equal(put_bytes(dev, 4608, 4, 1536), -WB_EIO);
	wb_dev_close(dev);
	assert_true(wb_all_bytes(memory, 1536, 1)); /* what is flushed stays, in every mode */
}

/* How many of the three sectors hold the value, whole sectors from the first on; the others are zero. */
static unsigned sectors_of(unsigned which, uint8_t value)
{
	const uint8_t *at = memory + (size_t)which * 1536;
	unsigned n = 0;

	while (n < 3 && wb_all_bytes(at + 512 * n, 512, value))
		n++;
	assert_true(wb_all_bytes(at + 512 * n, 1536 - 512 * n, 0));
	return n;
}

static void lost_cut_leaves_what_was_flushed(void **state)
{
	(void)state;
	cut_with(WB_CUT_LOST, 1);
	assert_true(wb_all_bytes(memory + 1536, SIZE - 1536, 0));
}

static void kept_cut_leaves_everything(void **state)
{
	(void)state;
	cut_with(WB_CUT_KEPT, 1);
	assert_int_equal(sectors_of(1, 2), 3);
	assert_int_equal(sectors_of(2, 3), 3);
}

static void torn_cut_ends_inside_the_last_write(void **state)
{
	unsigned seen = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		cut_with(WB_CUT_TORN, seed);
		assert_int_equal(sectors_of(1, 2), 3);
		assert_int_equal(sectors_of(2, 3), 3);
		seen |= 1u << sectors_of(3, 4);
	}
	assert_int_equal(seen, 0xf); /* none, one, two, all three */
}

static void reordered_cut_keeps_any_of_them_whole(void **state)
{
	unsigned seen = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 500; seed++) {
		unsigned kept = 0;

		cut_with(WB_CUT_REORDERED, seed);
		for (unsigned which = 1; which < 4; which++) {
			unsigned n = sectors_of(which, (uint8_t)(which + 1));

			assert_true(n == 0 || n == 3);
			kept |= (n == 3 ? 1u : 0u) << (which - 1);
		}
		seen |= 1u << kept;
	}
	assert_int_equal(seen, 0xff); /* every subset happens */
}

static void same_seed_makes_the_same_cut(void **state)
{
	uint8_t before[SIZE];

	(void)state;
	for (int cut = WB_CUT_TORN; cut <= WB_CUT_REORDERED; cut++)
		for (uint64_t seed = 0; seed < 20; seed++) {
			cut_with((enum wb_cut)cut, seed);
			memcpy(before, memory, SIZE);
			cut_with((enum wb_cut)cut, seed);
			assert_memory_equal(before, memory, SIZE);
		}
}

static void cut_in_a_flush_is_a_cut_of_what_waits(void **state)
{
	static const struct { enum wb_cut cut; uint8_t byte; } cases[] = { { WB_CUT_LOST, 0 }, { WB_CUT_KEPT, 6 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_fault fault = { .cut_after = 1, .cut = cases[i].cut };
		struct wb_dev *dev = make(&fault);

		assert_int_equal(put_bytes(dev, 0, 6, 512), 0);
		assert_int_equal(wb_dev_flush(dev, NULL), -WB_EIO);
		wb_dev_close(dev);
		assert_int_equal(memory[0], cases[i].byte);
	}
}

/* ---- one power supply for several devices ---- */

static uint8_t memories[2][SIZE];

static void make_two(struct wb_dev **devs, struct wb_power *power, enum wb_cut cut)
{
	const struct wb_fault fault = { .power = power, .cut_after = 0, .cut = cut, .seed = 3 };

	memset(memories, 0, sizeof(memories));
	for (unsigned i = 0; i < 2; i++) {
		struct wb_dev *inner;

		assert_int_equal(wb_dev_memory(&inner, memories[i], SIZE, NULL), 0);
		assert_int_equal(wb_dev_fault(&devs[i], inner, &fault, NULL), 0);
	}
}

static void shared_power_counts_what_all_devices_do(void **state)
{
	(void)state;
	for (uint64_t after = 0; after < 9; after++) {
		struct wb_power power = { .left = after };
		struct wb_dev *devs[2];

		make_two(devs, &power, WB_CUT_LOST);
		for (uint64_t i = 0; i < 12; i++) {
			struct wb_dev *dev = devs[i / 2 % 2];
			int ret = i % 3 == 2 ? wb_dev_flush(dev, NULL) : put_bytes(dev, 512 * i, 1, 512);

			assert_int_equal(ret, i < after ? 0 : -WB_EIO);
			assert_int_equal(power.dead, i >= after);
		}
		for (unsigned i = 0; i < 2; i++)
			wb_dev_close(devs[i]);
	}
}

static void everything_on_every_device_fails_after_the_cut(void **state)
{
	struct wb_power power = { .left = 0 };
	struct wb_dev *devs[2];
	uint8_t byte;

	(void)state;
	make_two(devs, &power, WB_CUT_KEPT);
	assert_int_equal(wb_dev_read(devs[1], 0, &byte, 1, NULL), 0);
	assert_int_equal(wb_dev_flush(devs[0], NULL), -WB_EIO);
	assert_int_equal(wb_dev_read(devs[1], 0, &byte, 1, NULL), -WB_EIO);
	assert_int_equal(put_bytes(devs[1], 0, 1, 512), -WB_EIO);
	assert_int_equal(wb_dev_flush(devs[1], NULL), -WB_EIO);
	for (unsigned i = 0; i < 2; i++)
		wb_dev_close(devs[i]);
	assert_int_equal(memories[1][0], 0);
}

/* Both have a flushed write and one that waits; the cut comes at a write to the first. */
static void what_waits_on_the_other_device_meets_the_cut_too(void **state)
{
	static const struct { enum wb_cut cut; uint8_t waiting; } cases[] = { { WB_CUT_LOST, 0 }, { WB_CUT_KEPT, 2 } };

	(void)state;
	for (unsigned touched = 0; touched < 2; touched++) /* or only closed */
		for (size_t c = 0; c < LENGTH_OF(cases); c++) {
			struct wb_power power = { .left = 6 };
			struct wb_dev *devs[2];
			uint8_t byte;

			make_two(devs, &power, cases[c].cut);
			for (unsigned i = 0; i < 2; i++) {
				assert_int_equal(put_bytes(devs[i], 0, 1, 512), 0);
				assert_int_equal(wb_dev_flush(devs[i], NULL), 0);
				assert_int_equal(put_bytes(devs[i], 512, 2, 512), 0);
			}
			assert_int_equal(put_bytes(devs[0], 1024, 3, 512), -WB_EIO);
			if (touched)
				assert_int_equal(wb_dev_read(devs[1], 0, &byte, 1, NULL), -WB_EIO);
			for (unsigned i = 0; i < 2; i++)
				wb_dev_close(devs[i]);
			for (unsigned i = 0; i < 2; i++) {
				assert_true(wb_all_bytes(memories[i], 512, 1));
				assert_true(wb_all_bytes(memories[i] + 512, 512, cases[c].waiting));
			}
		}
}

/* ---- files that grow ---- */

static void reads_behind_the_end_see_writes_that_wait(void **state)
{
	const struct wb_fault fault = { .cut_after = NEVER };
	const char *folder = getenv("TMPDIR");
	char path[4096];
	struct wb_dev *inner, *dev;
	uint8_t bytes[2048];

	(void)state;
	snprintf(path, sizeof(path), "%s/test_dev_fault.%d", folder && *folder ? folder : "/tmp", (int)getpid());
	assert_int_equal(wb_dev_open(&inner, path, WB_OPEN_WRITE | WB_OPEN_GROW | WB_OPEN_CREATE, NULL), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(wb_dev_write(inner, 0, "abcd", 4, NULL), 0);
	assert_int_equal(wb_dev_fault(&dev, inner, &fault, NULL), 0);
	assert_int_equal(put_bytes(dev, 1024, 7, 1024), 0);
	assert_int_equal(wb_dev_size(dev), 2048);
	assert_int_equal(wb_dev_size(inner), 4);
	assert_int_equal(wb_dev_read(dev, 0, bytes, 2048, NULL), 0);
	assert_memory_equal(bytes, "abcd", 4);
	assert_true(wb_all_bytes(bytes + 4, 1020, 0));
	assert_true(wb_all_bytes(bytes + 1024, 1024, 7));
	assert_int_equal(wb_dev_read(dev, 2047, bytes, 2, NULL), -WB_EIO);
	wb_dev_close(dev);
}

/* The first device is closed with one write flushed and one not; the power goes with the second write to the other. */
static void closing_makes_nothing_durable_where_writes_linger(void **state)
{
	(void)state;
	for (unsigned cut = 0; cut < 2; cut++)
		for (unsigned lingers = 0; lingers < 2; lingers++) {
			struct wb_power power = { .left = cut ? 4 : NEVER, .lingers = lingers };
			struct wb_dev *devs[2];

			make_two(devs, &power, WB_CUT_LOST);
			assert_int_equal(put_bytes(devs[0], 0, 1, 512), 0);
			assert_int_equal(wb_dev_flush(devs[0], NULL), 0);
			assert_int_equal(put_bytes(devs[0], 512, 2, 512), 0);
			wb_dev_close(devs[0]);
			assert_int_equal(memories[0][512], lingers ? 0 : 2);
			assert_int_equal(put_bytes(devs[1], 0, 3, 512), 0);
			assert_int_equal(put_bytes(devs[1], 512, 4, 512), cut ? -WB_EIO : 0);
			assert_int_equal(power.writes, 4);
			assert_int_equal(power.flushes, 1);
			wb_dev_close(devs[1]);
			wb_power_end(&power);
			assert_int_equal(memories[0][0], 1);
			assert_int_equal(memories[0][512], cut && lingers ? 0 : 2);
			assert_int_equal(memories[1][512], cut ? 0 : 4);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrapper_looks_like_what_it_wraps),
		cmocka_unit_test(reads_that_touch_a_bad_range_fail),
		cmocka_unit_test(bad_range_to_the_end_of_everything_fails),
		cmocka_unit_test(bad_ranges_are_a_matter_of_reading),
		cmocka_unit_test(one_bad_read_does_not_spoil_its_batch),
		cmocka_unit_test(writes_wait_for_the_flush),
		cmocka_unit_test(reads_see_writes_that_wait),
		cmocka_unit_test(writes_wait_with_the_bytes_they_had),
		cmocka_unit_test(closing_without_a_cut_loses_nothing),
		cmocka_unit_test(cut_counts_writes_and_flushes),
		cmocka_unit_test(reads_do_not_count),
		cmocka_unit_test(everything_fails_after_the_cut),
		cmocka_unit_test(batch_ends_with_the_write_that_the_cut_hits),
		cmocka_unit_test(lost_cut_leaves_what_was_flushed),
		cmocka_unit_test(kept_cut_leaves_everything),
		cmocka_unit_test(torn_cut_ends_inside_the_last_write),
		cmocka_unit_test(reordered_cut_keeps_any_of_them_whole),
		cmocka_unit_test(same_seed_makes_the_same_cut),
		cmocka_unit_test(cut_in_a_flush_is_a_cut_of_what_waits),
		cmocka_unit_test(shared_power_counts_what_all_devices_do),
		cmocka_unit_test(everything_on_every_device_fails_after_the_cut),
		cmocka_unit_test(what_waits_on_the_other_device_meets_the_cut_too),
		cmocka_unit_test(closing_makes_nothing_durable_where_writes_linger),
		cmocka_unit_test(reads_behind_the_end_see_writes_that_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
