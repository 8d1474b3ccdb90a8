/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/dev_undo.c: nothing is written before what it overwrites is recorded, whenever the power goes. */
#include "undo_builder.h"

static const enum wb_cut cuts[] = { WB_CUT_LOST, WB_CUT_KEPT, WB_CUT_TORN, WB_CUT_REORDERED };

#define SIZE (4u << 20)

/* One disk, wrapped. */
struct bench {
	struct medium file, disk;
	struct wb_dev *file_dev, *dev;
	struct wb_undo undo;
	char events[256];
};

static void bench_init(struct bench *bench)
{
	struct wb_undo_device device = { .name = (char[]){ "/dev/disk" }, .size = SIZE };

	memset(bench, 0, sizeof(*bench));
	medium_init(&bench->file, 0, 8u << 20, 'f');
	medium_init(&bench->disk, SIZE, SIZE, 'd');
	for (uint64_t lba = 0; lba < SIZE / WB_SECTOR; lba++)
		fill_version(bench->disk.bytes + lba * WB_SECTOR, 0, lba, 0);
	bench->file_dev = medium_open(&bench->file);
	assert_int_equal(wb_undo_create(&bench->undo, bench->file_dev, &device, 1, UNDO_ID, CREATED, NULL), 0);
	assert_int_equal(wb_dev_undo(&bench->dev, medium_open(&bench->disk), &bench->undo, 0, NULL), 0);
	bench->file.events = bench->disk.events = bench->events;
	bench->file.writes = bench->disk.writes = 0;
}

static void bench_release(struct bench *bench)
{
	wb_dev_close(bench->dev);
	wb_dev_close(bench->file_dev);
	wb_undo_release(&bench->undo);
	free(bench->disk.bytes);
	free(bench->file.bytes);
}

static bool is_untouched(const struct bench *bench)
{
	for (uint64_t lba = 0; lba < SIZE / WB_SECTOR; lba++) {
		uint8_t sector[WB_SECTOR];

		fill_version(sector, 0, lba, 0);
		if (memcmp(sector, bench->disk.bytes + lba * WB_SECTOR, WB_SECTOR))
			return false;
	}
	return true;
}

/* Records of the file as somebody else would load it. */
static uint64_t records_in(const struct bench *bench)
{
	struct medium copy = bench->file;

	copy.events = NULL;

	struct wb_dev *file = medium_open(&copy);
	struct wb_undo undo;
	struct wb_error err;

	if (wb_undo_load(&undo, file, NULL, &err))
		fail_msg("%s", err.text);
	uint64_t count = undo.count;

	wb_undo_release(&undo);
	wb_dev_close(file);
	return count;
}

static void wrapper_looks_like_what_it_wraps(void **state)
{
	struct bench bench;

	(void)state;
	bench_init(&bench);
	assert_int_equal(wb_dev_size(bench.dev), SIZE);
	assert_int_equal(wb_dev_block(bench.dev), 512);
	assert_false(wb_dev_is_block(bench.dev));
	bench_release(&bench);
}

/* The device under it serves many threads at once; the recorder has one buffer. */
static void wrapper_serves_one_thread_at_a_time(void **state)
{
	static uint8_t disk[SIZE];
	struct bench bench;
	struct wb_dev *inner, *dev;

	(void)state;
	bench_init(&bench);
	assert_int_equal(wb_dev_memory(&inner, disk, SIZE, NULL), 0);
	assert_true(inner->parallel);
	assert_int_equal(wb_dev_undo(&dev, inner, &bench.undo, 0, NULL), 0);
	assert_false(dev->parallel);
	wb_dev_close(dev);
	bench_release(&bench);
}

static void device_that_the_file_does_not_know_is_refused(void **state)
{
	struct bench bench;
	struct medium small;
	struct wb_dev *inner, *dev;
	struct wb_error err = { 0 };

	(void)state;
	bench_init(&bench);
	inner = medium_open(&bench.disk);
	assert_int_equal(wb_dev_undo(&dev, inner, &bench.undo, 1, &err), -WB_EINVAL);
	wb_dev_close(inner); /* it is still the caller's */
	medium_init(&small, SIZE - WB_SECTOR, SIZE - WB_SECTOR, 's');
	inner = medium_open(&small);
	assert_int_equal(wb_dev_undo(&dev, inner, &bench.undo, 0, &err), -WB_EINVAL);
	wb_dev_close(inner);
	free(small.bytes);
	bench_release(&bench);
}

static void record_is_durable_before_the_write(void **state)
{
	struct bench bench;
	uint8_t sector[WB_SECTOR] = { 1 };

	(void)state;
	bench_init(&bench);
	assert_int_equal(wb_dev_write(bench.dev, 512, sector, sizeof(sector), NULL), 0);
	assert_string_equal(bench.events, "fFd");
	assert_memory_equal(bench.disk.bytes + 512, sector, sizeof(sector));
	assert_int_equal(records_in(&bench), 1);
	bench_release(&bench);
}

static void batch_is_recorded_whole_and_made_durable_once(void **state)
{
	struct bench bench;
	uint8_t sector[WB_SECTOR] = { 1 }, other[WB_SECTOR], old[WB_SECTOR];
	struct wb_io io[4] = {
		{ .buffer = sector, .offset = 512, .length = 512, .write = true },
		{ .buffer = other, .offset = 4096, .length = 512 },
		{ .buffer = sector, .offset = 8192, .length = 512, .write = true },
		{ .buffer = sector, .offset = 1024, .length = 512, .write = true },
	};

	(void)state;
	bench_init(&bench);
	fill_version(old, 0, 8, 0);
	assert_int_equal(wb_dev_submit(bench.dev, io, 4, NULL), 0);
	assert_string_equal(bench.events, "fffFddd");
	assert_memory_equal(other, old, sizeof(old));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(io[i].result, 0);
	assert_int_equal(records_in(&bench), 3);
	bench_release(&bench);
}

static void reads_leave_the_file_alone(void **state)
{
	struct bench bench;
	uint8_t bytes[1000];

	(void)state;
	bench_init(&bench);
	assert_int_equal(wb_dev_read(bench.dev, 3, bytes, sizeof(bytes), NULL), 0);
	assert_memory_equal(bytes, bench.disk.bytes + 3, sizeof(bytes));
	assert_int_equal(wb_dev_flush(bench.dev, NULL), 0);
	assert_string_equal(bench.events, "D");
	bench_release(&bench);
}

static void large_write_is_recorded_in_pieces(void **state)
{
	struct bench bench;
	uint32_t length = 2 * WB_UNDO_MAX + WB_SECTOR;
	uint8_t *bytes = calloc(1, length);

	(void)state;
	bench_init(&bench);
	assert_int_equal(wb_dev_write(bench.dev, 1024, bytes, length, NULL), 0);
	assert_string_equal(bench.events, "fffFd");
	assert_int_equal(records_in(&bench), 3);
	bench_release(&bench);
	free(bytes);
}

static void flush_says_that_the_last_record_was_durable(void **state)
{
	struct bench bench;
	uint8_t sector[WB_SECTOR] = { 1 };

	(void)state;
	bench_init(&bench);
	assert_int_equal(wb_dev_write(bench.dev, 512, sector, sizeof(sector), NULL), 0);
	bench.events[0] = '\0';
	for (unsigned i = 0; i < 3; i++) /* once is enough */
		assert_int_equal(wb_dev_flush(bench.dev, NULL), 0);
	assert_string_equal(bench.events, "DffDD"); /* a note after the records, and the end note before them */
	assert_int_equal(records_in(&bench), 1);
	bench_release(&bench);
}

static void full_disk_does_not_fail_a_flush(void **state)
{
	struct bench bench;
	uint8_t sector[WB_SECTOR] = { 1 };

	(void)state;
	bench_init(&bench);
	assert_int_equal(wb_dev_write(bench.dev, 512, sector, sizeof(sector), NULL), 0);
	bench.file.room = bench.file.size + 10;
	assert_int_equal(wb_dev_flush(bench.dev, NULL), 0);
	assert_int_equal(bench.undo.failure.code, WB_OK);
	bench.file.room = 8u << 20;
	assert_int_equal(wb_dev_write(bench.dev, 1024, sector, sizeof(sector), NULL), 0);
	assert_int_equal(records_in(&bench), 2);
	bench_release(&bench);
}

/* ---- refusals and failures ---- */

static void unaligned_write_is_refused_with_its_batch(void **state)
{
	static const struct { uint64_t offset; uint32_t length; } cases[] = {
		{ 1, 512 }, { 511, 1 }, { 0, 511 }, { 0, 1 }, { 256, 512 }, { 512, 513 },
	};
	uint8_t bytes[1024] = { 1 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_error err = { 0 };
		struct bench bench;
		struct wb_io io[3] = {
			{ .buffer = bytes, .offset = 4096, .length = 512, .write = true },
			{ .buffer = bytes, .offset = cases[i].offset, .length = cases[i].length, .write = true },
			{ .buffer = bytes, .offset = 8192, .length = 512, .write = true },
		};

		bench_init(&bench);
		assert_int_equal(wb_dev_submit(bench.dev, io, 3, &err), -WB_EIO);
		assert_int_equal(err.sys, EINVAL);
		assert_int_equal(err.offset, cases[i].offset);
		for (unsigned j = 0; j < 3; j++)
			assert_int_not_equal(io[j].result, 0);
		assert_true(is_untouched(&bench));
		assert_int_equal(bench.undo.failure.code, WB_OK);
		assert_int_equal(wb_dev_write(bench.dev, 0, bytes, 512, NULL), 0); /* others go on */
		bench_release(&bench);
	}
}

static void old_bytes_that_cannot_be_read_are_not_overwritten(void **state)
{
	static const struct wb_range bad = { 8192 + 512, 512 };
	const struct wb_fault fault = { .bad = &bad, .bad_count = 1, .cut_after = FOREVER };
	struct bench bench;
	struct wb_dev *broken, *dev;
	struct wb_error err = { 0 };
	uint8_t bytes[4096] = { 1 };
	struct wb_io io[2] = {
		{ .buffer = bytes, .offset = 0, .length = 512, .write = true },
		{ .buffer = bytes, .offset = 8192, .length = 4096, .write = true },
	};

	(void)state;
	bench_init(&bench);
	assert_int_equal(wb_dev_fault(&broken, medium_open(&bench.disk), &fault, NULL), 0);
	assert_int_equal(wb_dev_undo(&dev, broken, &bench.undo, 0, NULL), 0);
	assert_int_equal(wb_dev_submit(dev, io, 2, &err), -WB_EIO);
	assert_int_equal(err.sys, EIO);
	assert_int_equal(err.offset, 8192);
	assert_ptr_equal(strstr(err.text, "reading what is to be recorded"), err.text);
	assert_int_equal(bench.undo.failure.code, WB_OK); /* it was not the file */
	wb_dev_close(dev);
	assert_true(is_untouched(&bench));
	bench_release(&bench);
}

/* The undo file fails at the write of a batch of two; what can still be done? */
static void expect_failed_recording(struct bench *bench)
{
	uint8_t bytes[4096] = { 1 };
	struct wb_error err = { 0 };
	struct wb_io io[3] = {
		{ .buffer = bytes, .offset = 0, .length = 4096, .write = true },
		{ .buffer = bytes, .offset = 8192, .length = 4096, .write = true },
		{ .buffer = bytes, .offset = 512, .length = 512 },
	};

	assert_int_equal(wb_dev_submit(bench->dev, io, 3, &err), -WB_EIO);
	assert_int_equal(err.sys, ENOSPC);
	for (unsigned i = 0; i < 3; i++)
		assert_int_not_equal(io[i].result, 0);
	assert_int_equal(bench->undo.failure.code, WB_EIO);
	assert_int_equal(bench->undo.failure.sys, ENOSPC);
	assert_int_equal(bench->disk.writes, 0);
	assert_true(is_untouched(bench));
	assert_int_equal(wb_dev_read(bench->dev, 512, bytes, 512, &err), 0);
	assert_memory_equal(bytes, bench->disk.bytes + 512, 512);
}

static void full_disk_while_recording_leaves_the_device_untouched(void **state)
{
	(void)state;
	for (uint64_t room = 0; room < 4096; room += 100) {
		struct bench bench;
		uint8_t sector[WB_SECTOR] = { 1 };

		bench_init(&bench);
		bench.file.room = bench.file.size + room;
		expect_failed_recording(&bench);
		bench.file.room = 8u << 20; /* too late: nothing is written behind a failure */
		assert_int_equal(wb_dev_write(bench.dev, 0, sector, sizeof(sector), NULL), -WB_EIO);
		assert_true(is_untouched(&bench));
		assert_true(records_in(&bench) < 2);
		bench_release(&bench);
	}
}

static void failed_flush_of_the_file_leaves_the_device_untouched(void **state)
{
	struct bench bench;

	(void)state;
	bench_init(&bench);
	bench.file.fail_flush = true;
	expect_failed_recording(&bench);
	bench_release(&bench);
}

static void one_failure_ends_the_writes_to_all_devices(void **state)
{
	struct rig rig;
	struct wb_undo undo;
	struct wb_dev *file, *disks[DISKS];
	uint8_t sector[WB_SECTOR] = { 1 };

	(void)state;
	rig_init(&rig);
	file = medium_open(&rig.file);
	assert_int_equal(create_undo(&undo, file, NULL), 0);
	for (unsigned i = 0; i < DISKS; i++)
		assert_int_equal(wb_dev_undo(&disks[i], medium_open(&rig.disks[i]), &undo, i, NULL), 0);
	rig.file.room = rig.file.size;
	assert_int_equal(wb_dev_write(disks[0], 0, sector, sizeof(sector), NULL), -WB_EIO);
	rig.file.room = FILE_ROOM;
	assert_int_equal(wb_dev_write(disks[1], 0, sector, sizeof(sector), NULL), -WB_EIO);
	for (unsigned i = 0; i < DISKS; i++)
		wb_dev_close(disks[i]);
	wb_dev_close(file);
	wb_undo_release(&undo);
	assert_original(&rig);
	rig_release(&rig);
}

/* ---- power cuts ---- */

static void program_without_a_cut_ends_and_is_undone(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	rig_power(&rig, FOREVER, WB_CUT_LOST, 0);
	assert_int_equal(run_program(&rig, FOREVER), 0);
	rig_off(&rig);
	assert_final(&rig);
	restore_or_fail(&rig);
	rig_release(&rig);
}

/* Powers the rig up, runs the program, and lets the power go after so many writes and flushes; true: it ended before. */
static bool run_until(struct rig *rig, uint64_t left, enum wb_cut cut, uint64_t seed)
{
	int ret;

	rig_power(rig, left, cut, seed);
	ret = run_program(rig, FOREVER);
	rig_off(rig);
	assert_old_or_new(rig);
	return !ret;
}

/* Each way in which the power can go. until(): does it, and says whether all was done before. */
static void for_each_cut(bool (*until)(struct rig *rig, uint64_t left, enum wb_cut cut, uint64_t seed), uint64_t seeds)
{
	for (size_t i = 0; i < LENGTH_OF(cuts); i++)
		for (uint64_t seed = 0; seed < (cuts[i] < WB_CUT_TORN ? 1 : seeds); seed++) {
			bool done = false;

			for (uint64_t left = 0; !done; left++) {
				struct rig rig;

				rig_init(&rig);
				done = until(&rig, left, cuts[i], seed * 1000 + left);
				restore_or_fail(&rig);
				rig_release(&rig);
				assert_true(left < 1000);
			}
		}
}

static void program_cut_off_anywhere_is_undone(void **state)
{
	(void)state;
	for_each_cut(run_until, 4);
}

static bool run_cut_and_run_again(struct rig *rig, uint64_t left, enum wb_cut cut, uint64_t seed)
{
	bool done = run_until(rig, left, cut, seed);

	assert_true(run_until(rig, FOREVER, cut, seed));
	assert_final(rig);
	return done;
}

static void program_cut_off_anywhere_ends_when_it_is_run_again(void **state)
{
	(void)state;
	for_each_cut(run_cut_and_run_again, 2);
}

static bool run_cut_twice(struct rig *rig, uint64_t left, enum wb_cut cut, uint64_t seed)
{
	run_until(rig, mix(seed) % 40, cuts[seed % LENGTH_OF(cuts)], ~seed);
	run_until(rig, mix(seed) % 30, cuts[seed / 4 % LENGTH_OF(cuts)], seed);
	return run_until(rig, left, cut, seed);
}

static void program_cut_off_again_and_again_is_undone(void **state)
{
	(void)state;
	for_each_cut(run_cut_twice, 4);
}

/* The program is killed, what it wrote is in no more than the page cache; it is run again, and then the power goes. */
static bool run_killed_then_cut(struct rig *rig, uint64_t left, enum wb_cut cut, uint64_t seed)
{
	bool done;

	rig_power(rig, left, cut, seed);
	run_program(rig, mix(seed) % 40);
	done = !run_program(rig, FOREVER);
	rig_off(rig);
	assert_old_or_new(rig);
	return done;
}

static void program_killed_run_again_and_cut_off_is_undone(void **state)
{
	(void)state;
	for_each_cut(run_killed_then_cut, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrapper_looks_like_what_it_wraps),
		cmocka_unit_test(wrapper_serves_one_thread_at_a_time),
		cmocka_unit_test(device_that_the_file_does_not_know_is_refused),
		cmocka_unit_test(record_is_durable_before_the_write),
		cmocka_unit_test(batch_is_recorded_whole_and_made_durable_once),
		cmocka_unit_test(reads_leave_the_file_alone),
		cmocka_unit_test(large_write_is_recorded_in_pieces),
		cmocka_unit_test(flush_says_that_the_last_record_was_durable),
		cmocka_unit_test(full_disk_does_not_fail_a_flush),
		cmocka_unit_test(unaligned_write_is_refused_with_its_batch),
		cmocka_unit_test(old_bytes_that_cannot_be_read_are_not_overwritten),
		cmocka_unit_test(full_disk_while_recording_leaves_the_device_untouched),
		cmocka_unit_test(failed_flush_of_the_file_leaves_the_device_untouched),
		cmocka_unit_test(one_failure_ends_the_writes_to_all_devices),
		cmocka_unit_test(program_without_a_cut_ends_and_is_undone),
		cmocka_unit_test(program_cut_off_anywhere_is_undone),
		cmocka_unit_test(program_cut_off_anywhere_ends_when_it_is_run_again),
		cmocka_unit_test(program_cut_off_again_and_again_is_undone),
		cmocka_unit_test(program_killed_run_again_and_cut_off_is_undone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
