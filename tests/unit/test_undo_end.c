/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/undo.c and restore.c: whether the end of an undo file is there, and what is done when it or a record is not. */
#include "undo_builder.h"

/* Runs the program to its end; finish: and records that. */
static void run(struct rig *rig, bool finish)
{
	struct wb_undo undo;

	rig_power(rig, FOREVER, WB_CUT_KEPT, 0);
	assert_int_equal(run_program(rig, FOREVER), 0);
	if (finish) {
		assert_int_equal(wb_undo_load(&undo, rig->file_dev, NULL, NULL), 0);
		assert_int_equal(wb_undo_finish(&undo, CREATED + 5, NULL), 0);
		wb_undo_release(&undo);
	}
	rig_off(rig);
}

/* Loads the file as it is; the caller releases it and turns the rig off. */
static struct wb_undo load(struct rig *rig)
{
	struct wb_undo undo;

	rig_power(rig, FOREVER, WB_CUT_KEPT, 0);
	assert_int_equal(wb_undo_load(&undo, rig->file_dev, NULL, NULL), 0);
	return undo;
}

static void done(struct rig *rig, struct wb_undo *undo)
{
	wb_undo_release(undo);
	rig_off(rig);
}

static int restore(struct rig *rig, unsigned force, struct wb_undo_result *result)
{
	struct wb_undo undo = load(rig);
	int ret = wb_undo_restore(&undo, rig->devs, force, false, CREATED + 9, result, NULL, NULL);

	done(rig, &undo);
	return ret;
}

static uint64_t begin_of(struct rig *rig)
{
	struct wb_undo undo = load(rig);
	uint64_t begin = undo.begin;

	done(rig, &undo);
	return begin;
}

/* The records of the file: where each begins. Returns how many. */
static unsigned places(struct rig *rig, uint64_t *at, unsigned room)
{
	struct wb_undo undo = load(rig);
	struct wb_undo_record record;
	uint64_t next = undo.begin;
	unsigned n = 0;

	while (n < room && wb_undo_next(&undo, &next, &record, NULL) == 1)
		at[n++] = record.at;
	done(rig, &undo);
	return n;
}

static void finished_run_is_refused_without_its_last_byte_or_any_more_of_them(void **state)
{
	struct wb_undo_result result;
	struct rig rig;
	uint64_t whole, begin;

	(void)state;
	rig_init(&rig);
	run(&rig, true);
	whole = rig.file.size;
	begin = begin_of(&rig);
	for (rig.file.size = whole - 1; rig.file.size >= begin; rig.file.size -= rig.file.size % 7 + 1) {
		struct wb_undo undo = load(&rig);

		assert_true(undo.cut && undo.missing && undo.cut_at <= rig.file.size);
		done(&rig, &undo);
		assert_int_equal(restore(&rig, WB_UNDO_CHANGED, &result), -WB_ECUT);
		assert_int_equal(result.written_sectors, 0);
		assert_final(&rig);
	}
	rig.file.size = whole;
	assert_int_equal(restore(&rig, 0, &result), 0);
	assert_original(&rig);
	rig_release(&rig);
}

static void forced_restore_of_a_cut_file_puts_back_what_is_left(void **state)
{
	struct wb_undo_result result;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	run(&rig, true);
	rig.file.size -= (rig.file.size - begin_of(&rig)) / 2;
	assert_int_equal(restore(&rig, WB_UNDO_CUT, &result), -WB_ECHANGED); /* later writes over what is left */
	assert_final(&rig);
	assert_int_equal(restore(&rig, WB_UNDO_CUT | WB_UNDO_CHANGED, &result), 0);
	assert_true(result.written_sectors && !disk_is_original(&rig, 1));
	assert_old_or_new(&rig);
	/* and is marked, so that there is nothing more to do */
	struct wb_undo undo = load(&rig);

	assert_true(!undo.count && undo.undone == CREATED + 9);
	done(&rig, &undo);
	rig_release(&rig);
}

static void run_that_did_not_finish_is_interrupted_and_not_cut(void **state)
{
	static const struct { bool finish[3]; bool undo_after_first, interrupted; } cases[] = {
		{ { false }, false, true },
		{ { true }, false, false },
		{ { true, false }, false, true },
		{ { false, true }, false, false },
		{ { true, false }, true, true },
		{ { false, true }, true, false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_undo_result result;
		struct rig rig;

		rig_init(&rig);
		for (unsigned n = 0; n < (i < 2 ? 1 : 2); n++) {
			run(&rig, cases[i].finish[n]);
			if (n == 0 && cases[i].undo_after_first) {
				struct wb_undo undo;

				assert_int_equal(restore(&rig, 0, &result), 0);
				undo = load(&rig);
				assert_true(!undo.interrupted && !undo.cut && !undo.count);
				done(&rig, &undo);
			}
		}
		struct wb_undo undo = load(&rig);

		if (undo.interrupted != cases[i].interrupted || undo.cut || undo.missing)
			fail_msg("case %u", (unsigned)i);
		done(&rig, &undo);
		rig_release(&rig);
	}
}

/* Nobody recorded the end, but what a flush made durable was counted. */
static void interrupted_run_is_refused_without_records_that_were_flushed(void **state)
{
	struct wb_undo_result result;
	struct rig rig;
	uint64_t at[16];
	unsigned n;

	(void)state;
	rig_init(&rig);
	run(&rig, false);
	n = places(&rig, at, 16);
	rig.file.size = at[n - 1] + 10;
	assert_int_equal(restore(&rig, WB_UNDO_CHANGED, &result), -WB_ECUT);
	assert_final(&rig);
	rig_release(&rig);
}

static void damaged_record_leaves_the_others_which_can_be_put_back(void **state)
{
	struct wb_undo_result result;
	struct rig rig;
	uint64_t at[16];
	unsigned n;

	(void)state;
	rig_init(&rig);
	run(&rig, true);
	n = places(&rig, at, 16);
	assert_int_equal(n, 8);
	for (unsigned header = 0; header < 2; header++)
		for (unsigned i = 0; i < n; i++) {
			uint8_t *byte = rig.file.bytes + at[i] + (header ? 20 : 80);
			uint64_t left[16];
			struct wb_undo undo;

			*byte ^= 0x10;
			undo = load(&rig);
			assert_true(undo.cut && undo.cut_at == at[i] && undo.missing == 1 && undo.count == n - 1);
			done(&rig, &undo);
			assert_int_equal(places(&rig, left, 16), n - 1);
			for (unsigned j = 0; j + 1 < n; j++)
				assert_int_equal(left[j], at[j + (j >= i)]);
			assert_int_equal(restore(&rig, 0, &result), -WB_ECUT);
			assert_final(&rig);
			*byte ^= 0x10;
		}
	rig.file.bytes[at[7] + 80] ^= 0x10; /* the only one of the second disk */
	assert_int_equal(restore(&rig, WB_UNDO_CUT, &result), 0);
	assert_true(disk_is_original(&rig, 0) && !disk_is_original(&rig, 1));
	rig_release(&rig);
}

static void file_that_lacks_records_is_not_continued(void **state)
{
	struct wb_dev *dev;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	run(&rig, true);
	rig.file.size--;
	struct wb_undo undo = load(&rig);

	assert_int_equal(wb_dev_undo(&dev, rig.devs[0], &undo, 0, NULL), -WB_ECUT);
	done(&rig, &undo);
	rig_release(&rig);
}

static void one_end_note_is_enough_and_without_any_the_file_is_incomplete(void **state)
{
	struct wb_undo_result result;
	struct rig rig;
	uint64_t notes;

	(void)state;
	rig_init(&rig);
	run(&rig, true);
	notes = begin_of(&rig) - 2 * WB_SECTOR;
	for (unsigned broken = 0; broken < 4; broken++) {
		struct wb_undo undo;

		for (unsigned i = 0; i < 2; i++)
			rig.file.bytes[notes + i * WB_SECTOR + 24] ^= (uint8_t)(broken >> i & 1);
		undo = load(&rig);
		assert_int_equal(undo.cut, broken == 3);
		assert_true(!undo.missing && (broken != 3 || undo.cut_at == notes));
		done(&rig, &undo);
		for (unsigned i = 0; i < 2; i++)
			rig.file.bytes[notes + i * WB_SECTOR + 24] ^= (uint8_t)(broken >> i & 1);
	}
	memset(rig.file.bytes + notes, 0, 2 * WB_SECTOR);
	assert_int_equal(restore(&rig, 0, &result), -WB_ECUT);
	assert_final(&rig);
	rig_release(&rig);
}

/* What 0.1 wrote: the records follow on the header, and nothing says where they end. */
static void make_version_1(struct rig *rig)
{
	struct wb_undo undo = load(rig);
	uint64_t begin = undo.begin, size = wb_get_le(rig->file.bytes + 32, 4) - 8ull * undo.device_count;
	uint8_t *bytes = rig->file.bytes;

	wb_put_le(bytes + 32, 4, size); /* without the starts of the devices */
	done(rig, &undo);
	memmove(bytes + size, bytes + begin, rig->file.size - begin);
	rig->file.size -= begin - size;
	wb_put_le(bytes + 8, 4, 1);
	uint32_t previous = wb_undo_sum(bytes, size - 4);

	wb_put_le(bytes + size - 4, 4, previous);
	for (uint64_t at = size; at < rig->file.size; at += 64 + wb_get_le(bytes + at + 48, 4)) {
		wb_put_le(bytes + at + 52, 4, previous);
		previous = wb_undo_sum(bytes + at, 60);
		wb_put_le(bytes + at + 60, 4, previous);
	}
}

static void file_of_version_1_is_read_continued_and_put_back(void **state)
{
	struct wb_undo_result result;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	run(&rig, false);
	make_version_1(&rig);
	struct wb_undo undo = load(&rig);

	assert_true(undo.version == 1 && !undo.cut && !undo.interrupted && undo.count == 8);
	done(&rig, &undo);
	run(&rig, true); /* continued: the end cannot be recorded, which fails nothing */
	undo = load(&rig);
	assert_true(undo.version == 1 && !undo.cut && !undo.interrupted && undo.count == 16);
	done(&rig, &undo);
	assert_int_equal(restore(&rig, 0, &result), 0);
	assert_original(&rig);
	rig_release(&rig);
}

static void put_marker(struct rig *rig, uint64_t time)
{
	const struct wb_marker marker = { .reason = WB_END_FLUSHED, .time = time, .head = 3 };

	wb_marker_encode(rig->disks[1].bytes + 0, &marker);
}

static void end_of_a_log_that_no_record_covers_is_noticed(void **state)
{
	struct wb_undo_result result;
	struct rig rig;
	uint64_t at[16];

	(void)state;
	rig_init(&rig);
	run(&rig, false);
	make_version_1(&rig);
	assert_int_equal(places(&rig, at, 16), 8);
	rig.file.size = at[7]; /* without the record of the second disk's sector 0 */
	put_marker(&rig, CREATED);
	assert_int_equal(restore(&rig, 0, &result), -WB_ECUT);
	assert_true(result.unrecorded_end && result.ended_device == 1 && result.ended == CREATED && !result.written_sectors);
	put_marker(&rig, CREATED - 1); /* ended before, and replayed all the same */
	assert_int_equal(restore(&rig, 0, &result), 0);
	assert_false(result.unrecorded_end);
	assert_true(disk_is_original(&rig, 0));
	rig_release(&rig);
}

/* The cache is a part of the second disk. */
static void end_of_a_log_is_looked_for_where_the_cache_begins(void **state)
{
	static const struct { int64_t start; bool noticed; } cases[] = { { 512, true }, { 0, false }, { 1024, false }, { -512, false } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_marker marker = { .reason = WB_END_FLUSHED, .time = CREATED, .head = 3 };
		struct wb_undo_result result;
		struct wb_undo undo;
		struct rig rig;

		rig_init(&rig);
		run(&rig, true);
		wb_marker_encode(rig.disks[1].bytes + 512, &marker);
		undo = load(&rig);
		undo.devices[1].start = cases[i].start;
		assert_int_equal(wb_undo_restore(&undo, rig.devs, WB_UNDO_CHANGED, false, CREATED + 9, &result, NULL, NULL),
				 cases[i].noticed ? -WB_ECUT : 0);
		assert_int_equal(result.unrecorded_end, cases[i].noticed);
		done(&rig, &undo);
		rig_release(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finished_run_is_refused_without_its_last_byte_or_any_more_of_them),
		cmocka_unit_test(forced_restore_of_a_cut_file_puts_back_what_is_left),
		cmocka_unit_test(run_that_did_not_finish_is_interrupted_and_not_cut),
		cmocka_unit_test(interrupted_run_is_refused_without_records_that_were_flushed),
		cmocka_unit_test(damaged_record_leaves_the_others_which_can_be_put_back),
		cmocka_unit_test(file_that_lacks_records_is_not_continued),
		cmocka_unit_test(one_end_note_is_enough_and_without_any_the_file_is_incomplete),
		cmocka_unit_test(file_of_version_1_is_read_continued_and_put_back),
		cmocka_unit_test(end_of_a_log_that_no_record_covers_is_noticed),
		cmocka_unit_test(end_of_a_log_is_looked_for_where_the_cache_begins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
