/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/restore.c: everything comes back, nothing that somebody changed is lost, and no cut does harm. */
#include "undo_builder.h"

static const enum wb_cut cuts[] = { WB_CUT_LOST, WB_CUT_KEPT, WB_CUT_TORN, WB_CUT_REORDERED };

/* The program has run to its end, and the power stays on. */
static void rig_after_program(struct rig *rig)
{
	rig_init(rig);
	rig_power(rig, FOREVER, WB_CUT_LOST, 0);
	assert_int_equal(run_program(rig, FOREVER), 0);
	rig_off(rig);
	rig_power(rig, FOREVER, WB_CUT_LOST, 0);
}

static void rig_end(struct rig *rig)
{
	rig_off(rig);
	rig_release(rig);
}

/* Sectors of all records, and of all disks, in them. */
static uint64_t sectors_written_by_program(void)
{
	uint64_t sectors = 0;

	for (unsigned i = 0; i < STEPS; i++)
		sectors += steps[i].sectors;
	return sectors;
}

static void everything_comes_back(void **state)
{
	struct rig rig;
	struct wb_undo_result result;
	struct wb_error err = { 0 };

	(void)state;
	rig_after_program(&rig);
	assert_int_equal(restore_on(&rig, false, false, &result, &err), 0);
	assert_int_equal(result.sectors, sectors_written_by_program());
	assert_int_equal(result.written_sectors, result.sectors);
	assert_int_equal(result.changed_sectors, 0);
	rig_off(&rig);
	assert_original(&rig);
	rig_release(&rig);
}

static void file_is_marked_and_a_second_run_is_fine(void **state)
{
	struct rig rig;
	struct wb_undo undo;
	struct wb_undo_result result;
	struct wb_error err = { 0 };

	(void)state;
	rig_after_program(&rig);
	assert_int_equal(wb_undo_load(&undo, rig.file_dev, NULL, &err), 0);
	assert_int_equal(undo.undone, 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(wb_undo_restore(&undo, rig.devs, false, false, 1234 + i, &result, NULL, &err), 0);
	assert_int_equal(undo.undone, 1235);
	wb_undo_release(&undo);
	assert_int_equal(wb_undo_load(&undo, rig.file_dev, NULL, &err), 0);
	assert_int_equal(undo.undone, 1235);
	assert_int_equal(undo.begun, 2);
	assert_int_equal(undo.count, 0);
	wb_undo_release(&undo);
	assert_int_equal(restore_on(&rig, false, false, &result, &err), 0);
	assert_int_equal(result.sectors, 0);
	rig_off(&rig);
	assert_original(&rig);
	rig_release(&rig);
}

static void program_run_after_an_undo_is_undone_too(void **state)
{
	struct rig rig;

	(void)state;
	rig_after_program(&rig);
	rig_off(&rig);
	for (unsigned i = 0; i < 3; i++) {
		restore_or_fail(&rig);
		rig_power(&rig, FOREVER, WB_CUT_LOST, 0);
		assert_int_equal(run_program(&rig, FOREVER), 0);
		rig_off(&rig);
		assert_final(&rig);
	}
	restore_or_fail(&rig);
	rig_release(&rig);
}

static void newest_device_is_durable_before_the_other_is_touched(void **state)
{
	struct rig rig;
	struct wb_undo_result result;
	char events[64] = "";

	(void)state;
	rig_after_program(&rig);
	for (unsigned i = 0; i < DISKS; i++) {
		wb_dev_close(rig.devs[i]); /* straight to the medium */
		rig.devs[i] = medium_open(&rig.disks[i]);
		rig.disks[i].events = events;
	}
	assert_int_equal(restore_on(&rig, false, false, &result, NULL), 0);
	assert_string_equal(events, "yYxxxXxxxxX"); /* 'y' is the disk that the program wrote last; it flushed in the middle, too */
	rig_end(&rig);
}

static void dry_run_looks_and_writes_nothing(void **state)
{
	struct rig rig;
	struct wb_undo_result result;
	uint64_t size, writes[DISKS];

	(void)state;
	rig_after_program(&rig);
	size = rig.file.size;
	for (unsigned i = 0; i < DISKS; i++)
		writes[i] = rig.disks[i].writes;
	rig.disks[0].bytes[0] ^= 1;
	assert_int_equal(restore_on(&rig, false, true, &result, NULL), 0);
	assert_int_equal(result.sectors, sectors_written_by_program());
	assert_int_equal(result.changed_sectors, 1);
	assert_int_equal(result.written_sectors, 0);
	rig_off(&rig);
	assert_int_equal(rig.file.size, size);
	for (unsigned i = 0; i < DISKS; i++)
		assert_int_equal(rig.disks[i].writes, writes[i]);
	rig_release(&rig);
}

static void file_without_records_is_marked(void **state)
{
	struct rig rig;
	struct wb_undo undo;
	struct wb_undo_result result;

	(void)state;
	rig_init(&rig);
	rig_power(&rig, FOREVER, WB_CUT_LOST, 0);
	assert_int_equal(create_undo(&undo, rig.file_dev, NULL), 0);
	assert_int_equal(wb_undo_restore(&undo, rig.devs, false, false, 77, &result, NULL, NULL), 0);
	assert_int_equal(undo.undone, 77);
	wb_undo_release(&undo);
	rig_end(&rig);
	assert_int_equal(result.written_sectors, 0);
}

/* ---- what somebody changed since ---- */

static void changed_sector_is_refused_and_nothing_written(void **state)
{
	static const struct { unsigned disk; uint64_t lba; } cases[] = { { 0, 0 }, { 0, 3 }, { 0, 11 }, { 0, 37 }, { 1, 0 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct rig rig;
		struct wb_undo_result result;
		struct wb_error err = { 0 };
		uint8_t *byte;

		rig_after_program(&rig);
		byte = &rig.disks[cases[i].disk].bytes[cases[i].lba * WB_SECTOR + 511];
		*byte ^= 0x80;
		assert_int_equal(restore_on(&rig, false, false, &result, &err), -WB_ECHANGED);
		assert_int_equal(err.offset, cases[i].lba * WB_SECTOR);
		assert_int_equal(result.device, cases[i].disk);
		assert_int_equal(result.changed_sectors, 1);
		assert_int_equal(result.written_sectors, 0);
		rig_off(&rig);
		*byte ^= 0x80;
		assert_final(&rig);
		rig_release(&rig);
	}
}

static void first_changed_sector_is_the_lowest_of_the_first_disk(void **state)
{
	struct rig rig;
	struct wb_undo_result result;
	struct wb_error err = { 0 };

	(void)state;
	rig_after_program(&rig);
	for (unsigned lba = 6; lba < 8; lba++) /* in two records */
		rig.disks[0].bytes[lba * WB_SECTOR] ^= 1;
	rig.disks[1].bytes[0] ^= 1;
	assert_int_equal(restore_on(&rig, false, false, &result, &err), -WB_ECHANGED);
	assert_int_equal(err.offset, 6 * WB_SECTOR);
	assert_int_equal(result.device, 0);
	assert_int_equal(result.changed_sectors, 3);
	rig_end(&rig);
}

static void force_puts_back_what_was_changed(void **state)
{
	struct rig rig;
	struct wb_undo_result result;

	(void)state;
	rig_after_program(&rig);
	memset(rig.disks[0].bytes, 0xee, 30 * WB_SECTOR);
	assert_int_equal(restore_on(&rig, true, false, &result, NULL), 0);
	rig_off(&rig);
	for (unsigned i = 0; i < STEPS; i++)
		for (unsigned j = 0; j < steps[i].sectors; j++) {
			uint64_t lba = steps[i].first + j;
			uint8_t sector[WB_SECTOR];

			fill_version(sector, steps[i].disk, lba, 0);
			assert_memory_equal(sector, rig.disks[steps[i].disk].bytes + lba * WB_SECTOR, WB_SECTOR);
		}
	assert_int_equal(rig.disks[0].bytes[8 * WB_SECTOR], 0xee); /* the program has not been there */
	rig_release(&rig);
}

static void sectors_beside_the_records_may_change(void **state)
{
	struct rig rig;
	struct wb_undo_result result;

	(void)state;
	rig_after_program(&rig);
	memset(rig.disks[0].bytes + 13 * WB_SECTOR, 1, WB_SECTOR);
	assert_int_equal(restore_on(&rig, false, false, &result, NULL), 0);
	rig_end(&rig);
}

/* What is there now may be any version: a power cut can take a sector back by more than one. */
static void every_recorded_version_is_known(void **state)
{
	struct rig rig;

	(void)state;
	rig_after_program(&rig);
	rig_off(&rig);
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct wb_undo_result result;

		for (uint64_t lba = 0; lba < disk_sectors[0]; lba++) {
			unsigned version = (unsigned)(mix(seed * 100 + lba) % (STEPS + 1));

			if (version && !step_covers(version - 1, 0, lba))
				version = 0;
			fill_version(rig.disks[0].bytes + lba * WB_SECTOR, 0, lba, version);
		}
		rig_power(&rig, FOREVER, WB_CUT_LOST, 0);
		assert_int_equal(restore_on(&rig, false, true, &result, NULL), 0);
		assert_int_equal(result.changed_sectors, 0);
		rig_off(&rig);
	}
	rig_release(&rig);
}

/* Random records over each other, random contents: the count is that of a naive look at the chain of every sector. */
static void changed_sectors_are_counted_once(void **state)
{
	enum { SECTORS = 5000, RECORDS = 60 };
	struct medium file, disk;
	struct wb_undo_device device = { .name = (char[]){ "d" }, .size = SECTORS * WB_SECTOR };
	uint8_t *new_bytes = malloc(WB_UNDO_MAX);

	(void)state;
	medium_init(&disk, SECTORS * WB_SECTOR, SECTORS * WB_SECTOR, 'd');
	for (uint64_t round = 0; round < 12; round++) {
		bool known[SECTORS] = { false }, spoken_of[SECTORS] = { false }, broken[SECTORS] = { false };
		uint8_t written[SECTORS] = { 0 };
		uint64_t seed = round, expected = 0;
		struct wb_dev *file_dev, *dev = medium_open(&disk);
		struct wb_undo undo;
		struct wb_undo_result result;

		medium_init(&file, 0, 4u << 20, 'f');
		file_dev = medium_open(&file);
		for (unsigned i = 0; i < SECTORS; i++)
			memset(disk.bytes + i * WB_SECTOR, (int)draw_below(&seed, 4), WB_SECTOR);
		assert_int_equal(wb_undo_create(&undo, file_dev, &device, 1, UNDO_ID, 0, NULL), 0);
		for (unsigned i = 0; i < RECORDS; i++) {
			unsigned limit = round % 3 ? 40 : WB_UNDO_MAX / WB_SECTOR; /* small ones, and as large as can be */
			unsigned sectors = 1 + draw_below(&seed, limit), first = draw_below(&seed, SECTORS - sectors);
			uint8_t now = disk.bytes[first * WB_SECTOR], old = (uint8_t)draw_below(&seed, 9), new_byte = now ^ 1;

			if (spoken_of[first] && i % 2) /* a chain that holds at least here */
				old = written[first];
			uint8_t *old_bytes = malloc(WB_UNDO_MAX);

			memset(old_bytes, old, WB_UNDO_MAX);
			memset(new_bytes, new_byte, WB_UNDO_MAX);
			assert_int_equal(wb_undo_add(&undo, 0, first * WB_SECTOR, old_bytes, new_bytes, sectors * WB_SECTOR,
						     NULL), 0);
			free(old_bytes);
			for (unsigned j = first; j < first + sectors; j++) {
				broken[j] |= spoken_of[j] && written[j] != old;
				spoken_of[j] = true;
				written[j] = new_byte;
				known[j] = disk.bytes[j * WB_SECTOR] == old || disk.bytes[j * WB_SECTOR] == new_byte;
			}
		}
		for (unsigned i = 0; i < SECTORS; i++)
			expected += spoken_of[i] && (broken[i] || !known[i]);
		assert_int_equal(wb_undo_restore(&undo, &dev, false, true, 0, &result, NULL, NULL), 0);
		assert_int_equal(result.changed_sectors, expected);
		assert_true(expected > 0);
		wb_undo_release(&undo);
		wb_dev_close(dev);
		wb_dev_close(file_dev);
		free(file.bytes);
	}
	free(disk.bytes);
	free(new_bytes);
}

/* Three contents of one sector, a to d, as records found and wrote them. */
static void sector_is_judged_by_the_chain_of_its_records(void **state)
{
	static const struct {
		const char *records; /* what each found and wrote; '|': the device was flushed, or a run began */
		char now;
		bool known;
	} rows[] = {
		{ "ab", 'a', true }, { "ab", 'b', true }, { "ab", 'c', false },
		{ "abbc", 'c', true }, { "abbc", 'b', true }, { "abbc", 'a', false },
		{ "aacc", 'c', false }, { "abcd", 'd', false }, { "abcd", 'a', false }, { "abac", 'c', false },
		{ "ab|ac", 'c', true }, { "ab|bc", 'c', true }, { "ab|bc", 'a', false }, { "ab|cd", 'd', false },
		{ "abbc|ad", 'd', true }, { "ab|ab|ab", 'b', true }, { "aa|dd", 'd', false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct wb_undo_device device = { .name = (char[]){ "d" }, .size = WB_SECTOR };
		uint8_t old[WB_SECTOR], written[WB_SECTOR];
		struct medium file, disk;
		struct wb_undo undo;
		struct wb_undo_result result;

		medium_init(&file, 0, 1u << 20, 'f');
		medium_init(&disk, WB_SECTOR, WB_SECTOR, 'd');
		memset(disk.bytes, rows[i].now, WB_SECTOR);
		struct wb_dev *file_dev = medium_open(&file), *dev = medium_open(&disk);

		assert_int_equal(wb_undo_create(&undo, file_dev, &device, 1, UNDO_ID, 0, NULL), 0);
		for (const char *p = rows[i].records; *p;) {
			if (*p == '|') {
				assert_int_equal(wb_undo_end(&undo, NULL), 0);
				wb_undo_note(&undo);
				p++;
				continue;
			}
			memset(old, *p++, WB_SECTOR);
			memset(written, *p++, WB_SECTOR);
			assert_int_equal(wb_undo_add(&undo, 0, 0, old, written, WB_SECTOR, NULL), 0);
		}
		if (wb_undo_restore(&undo, &dev, false, false, 0, &result, NULL, NULL) != (rows[i].known ? 0 : -WB_ECHANGED))
			fail_msg("row %zu, %s with %c", i, rows[i].records, rows[i].now);
		assert_int_equal(*disk.bytes, rows[i].known ? rows[i].records[0] : rows[i].now);
		wb_undo_release(&undo);
		wb_dev_close(dev);
		wb_dev_close(file_dev);
		free(file.bytes);
		free(disk.bytes);
	}
}

/* ---- devices and files that fail ---- */

static void unreadable_sector_counts_as_changed_and_its_neighbours_do_not(void **state)
{
	static const struct wb_range bad = { 7 * WB_SECTOR, WB_SECTOR };
	const struct wb_fault fault = { .bad = &bad, .bad_count = 1, .cut_after = FOREVER };
	struct rig rig;
	struct wb_undo_result result;
	struct wb_error err = { 0 };

	(void)state;
	rig_after_program(&rig);
	assert_int_equal(wb_dev_fault(&rig.devs[0], rig.devs[0], &fault, NULL), 0);
	assert_int_equal(restore_on(&rig, false, false, &result, &err), -WB_ECHANGED);
	assert_int_equal(result.changed_sectors, 1);
	assert_int_equal(err.offset, 7 * WB_SECTOR);
	assert_int_equal(restore_on(&rig, true, false, &result, &err), 0); /* writing it may heal it */
	rig_off(&rig);
	assert_original(&rig);
	rig_release(&rig);
}

static void smaller_device_is_refused_and_a_larger_one_is_not(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DISKS; i++) {
		struct rig rig;
		struct wb_undo_result result;
		struct wb_error err = { 0 };

		rig_after_program(&rig);
		rig.devs[i]->size -= WB_SECTOR;
		assert_int_equal(restore_on(&rig, true, false, &result, &err), -WB_EINVAL);
		assert_int_equal(result.device, i);
		assert_int_equal(result.written_sectors, 0);
		rig.devs[i]->size += 2 * WB_SECTOR;
		assert_int_equal(restore_on(&rig, false, false, &result, &err), 0);
		rig.devs[i]->size -= WB_SECTOR;
		rig_end(&rig);
	}
}

static void write_error_ends_the_work_and_names_the_device(void **state)
{
	struct rig rig;
	struct wb_undo_result result;
	struct wb_error err = { 0 };

	(void)state;
	rig_after_program(&rig);
	wb_dev_close(rig.devs[0]);
	rig.disks[0].room = 8 * WB_SECTOR; /* writes behind this fail */
	rig.devs[0] = medium_open(&rig.disks[0]);
	assert_int_equal(restore_on(&rig, false, false, &result, &err), -WB_EIO);
	assert_int_equal(result.device, 0);
	assert_int_equal(err.sys, ENOSPC);
	rig.disks[0].room = rig.disks[0].size;
	assert_int_equal(restore_on(&rig, false, false, &result, &err), 0);
	rig_off(&rig);
	assert_original(&rig);
	rig_release(&rig);
}

/* The file has been loaded; now its medium fails, or somebody writes to it. */
static void damage_that_appears_late_is_found_before_anything_is_written(void **state)
{
	struct rig rig;
	struct wb_undo undo;
	uint64_t size;

	(void)state;
	rig_after_program(&rig);
	size = rig.file.size;
	assert_int_equal(wb_undo_load(&undo, rig.file_dev, NULL, NULL), 0);
	for (uint64_t at = undo.begin; at < size - 64; at += 7) { /* the note at the end is not read again */
		struct wb_undo_result result;
		struct wb_error err = { 0 };

		rig.file.bytes[at] ^= 0x10;
		assert_int_equal(wb_undo_restore(&undo, rig.devs, true, false, 1, &result, NULL, &err), -WB_EINVAL);
		assert_int_equal(result.device, DISKS);
		assert_int_equal(result.written_sectors, 0);
		assert_true(err.offset <= at && at - err.offset < 8192);
		rig.file.bytes[at] ^= 0x10;
	}
	wb_undo_release(&undo);
	rig_off(&rig);
	assert_final(&rig);
	rig_release(&rig);
}

struct patience {
	uint64_t polls, last, total;
};

static int run_out_of_patience(void *context)
{
	struct patience *patience = context;

	return !patience->polls--;
}

static void watch_progress(void *context, const char *phase, uint64_t done, uint64_t total)
{
	struct patience *patience = context;

	assert_non_null(phase);
	assert_true(done <= total);
	patience->last = done;
	patience->total = total;
}

static void work_that_is_stopped_anywhere_can_be_done_again(void **state)
{
	bool done = false;

	(void)state;
	for (uint64_t polls = 0; !done; polls++) {
		struct patience patience = { .polls = polls };
		const struct wb_progress progress = { .context = &patience, .stop = run_out_of_patience,
						      .report = watch_progress };
		struct wb_undo undo;
		struct wb_undo_result result;
		struct wb_error err = { 0 };
		struct rig rig;
		int ret;

		rig_after_program(&rig);
		assert_int_equal(wb_undo_load(&undo, rig.file_dev, NULL, &err), 0);
		ret = wb_undo_restore(&undo, rig.devs, false, false, 1, &result, &progress, &err);
		done = !ret;
		if (ret)
			assert_int_equal(ret, -WB_ESTOPPED);
		assert_int_equal(patience.total, sectors_written_by_program() * WB_SECTOR);
		wb_undo_release(&undo);
		rig_off(&rig);
		restore_or_fail(&rig);
		rig_release(&rig);
		assert_true(polls < 100);
	}
}

/* ---- power cuts ---- */

/* Restores, and lets the power go after so many writes and flushes; true: all was done before. */
static bool restore_until(struct rig *rig, uint64_t left, enum wb_cut cut, uint64_t seed)
{
	struct wb_undo_result result;
	struct wb_error err = { 0 };
	int ret = 0;

	rig_power(rig, left, cut, seed);
	if (rig->file.size)
		ret = restore_on(rig, false, false, &result, &err);
	rig_off(rig);
	if (ret && ret != -WB_EIO)
		fail_msg("restoring: %s", err.text);
	assert_old_or_new(rig);
	return !ret;
}

/* prepare() leaves disks that a program has written to, for as many seeds. */
static void for_each_cut(void (*prepare)(struct rig *rig, uint64_t seed), unsigned times, uint64_t seeds)
{
	for (size_t i = 0; i < LENGTH_OF(cuts); i++)
		for (uint64_t seed = 0; seed < seeds; seed++) {
			bool done = false;

			for (uint64_t left = 0; !done; left++) {
				struct rig rig;

				rig_init(&rig);
				prepare(&rig, seed);
				for (unsigned j = 0; j < times; j++)
					done = restore_until(&rig, left, cuts[i], mix(seed) + left + j);
				restore_or_fail(&rig);
				rig_release(&rig);
				assert_true(left < 1000);
			}
		}
}

static void run_to_the_end(struct rig *rig, uint64_t seed)
{
	(void)seed;
	rig_power(rig, FOREVER, WB_CUT_LOST, 0);
	assert_int_equal(run_program(rig, FOREVER), 0);
	rig_off(rig);
}

static void restore_cut_off_anywhere_is_done_by_the_next(void **state)
{
	(void)state;
	for_each_cut(run_to_the_end, 1, 4);
}

static void restore_cut_off_again_and_again_is_done_by_the_last(void **state)
{
	(void)state;
	for_each_cut(run_to_the_end, 3, 4);
}

static void run_until_some_cuts(struct rig *rig, uint64_t seed)
{
	for (unsigned i = 0; i < 3; i++) {
		uint64_t chance = mix(seed * 3 + i);

		rig_power(rig, chance % 40, cuts[chance / 64 % LENGTH_OF(cuts)], chance);
		run_program(rig, FOREVER);
		rig_off(rig);
	}
}

static void restore_after_cuts_may_be_cut_off_too(void **state)
{
	(void)state;
	for_each_cut(run_until_some_cuts, 2, 6);
}

static uint64_t times_begun(struct rig *rig)
{
	struct wb_undo undo;
	uint64_t begun;

	rig_power(rig, FOREVER, WB_CUT_LOST, 0);
	assert_int_equal(wb_undo_load(&undo, rig->file_dev, NULL, NULL), 0);
	begun = undo.begun;
	wb_undo_release(&undo);
	rig_off(rig);
	return begun;
}

static void nothing_is_put_back_before_the_file_says_so(void **state)
{
	uint8_t *before[DISKS];

	(void)state;
	for (uint64_t left = 0; left < 40; left++) {
		struct rig rig;
		bool changed = false;

		rig_init(&rig);
		run_to_the_end(&rig, 0);
		for (unsigned i = 0; i < DISKS; i++)
			before[i] = memcpy(test_malloc(rig.disks[i].size), rig.disks[i].bytes, rig.disks[i].size);
		restore_until(&rig, left, cuts[left % LENGTH_OF(cuts)], left);
		for (unsigned i = 0; i < DISKS; i++) {
			changed |= memcmp(before[i], rig.disks[i].bytes, rig.disks[i].size) != 0;
			test_free(before[i]);
		}
		assert_true(!changed || times_begun(&rig) == 1);
		rig_release(&rig);
	}
}

static void restore_cut_off_and_program_run_again_are_undone(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 150; seed++) {
		struct rig rig;

		rig_init(&rig);
		for (unsigned i = 0; i < 4; i++) {
			uint64_t chance = mix(seed * 4 + i);

			rig_power(&rig, chance % 40, cuts[chance / 64 % LENGTH_OF(cuts)], chance);
			run_program(&rig, FOREVER);
			rig_off(&rig);
			restore_until(&rig, chance / 256 % 20, cuts[chance / 8192 % LENGTH_OF(cuts)], ~chance);
		}
		restore_or_fail(&rig);
		rig_release(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_comes_back),
		cmocka_unit_test(file_is_marked_and_a_second_run_is_fine),
		cmocka_unit_test(program_run_after_an_undo_is_undone_too),
		cmocka_unit_test(newest_device_is_durable_before_the_other_is_touched),
		cmocka_unit_test(dry_run_looks_and_writes_nothing),
		cmocka_unit_test(file_without_records_is_marked),
		cmocka_unit_test(changed_sector_is_refused_and_nothing_written),
		cmocka_unit_test(first_changed_sector_is_the_lowest_of_the_first_disk),
		cmocka_unit_test(force_puts_back_what_was_changed),
		cmocka_unit_test(sectors_beside_the_records_may_change),
		cmocka_unit_test(every_recorded_version_is_known),
		cmocka_unit_test(changed_sectors_are_counted_once),
		cmocka_unit_test(sector_is_judged_by_the_chain_of_its_records),
		cmocka_unit_test(unreadable_sector_counts_as_changed_and_its_neighbours_do_not),
		cmocka_unit_test(smaller_device_is_refused_and_a_larger_one_is_not),
		cmocka_unit_test(write_error_ends_the_work_and_names_the_device),
		cmocka_unit_test(damage_that_appears_late_is_found_before_anything_is_written),
		cmocka_unit_test(work_that_is_stopped_anywhere_can_be_done_again),
		cmocka_unit_test(restore_cut_off_anywhere_is_done_by_the_next),
		cmocka_unit_test(restore_cut_off_again_and_again_is_done_by_the_last),
		cmocka_unit_test(restore_after_cuts_may_be_cut_off_too),
		cmocka_unit_test(nothing_is_put_back_before_the_file_says_so),
		cmocka_unit_test(restore_cut_off_and_program_run_again_are_undone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
