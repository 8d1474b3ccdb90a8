/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/dev_window.c and dev_limit.c: a part of a device is a device, whose bytes before the whole one cannot be read; and
 * one that is read so far and no farther. */
#include <errno.h>

#include "undo_builder.h"

#define SIZE 65536u

static uint8_t bytes[SIZE];

static struct wb_dev *open_part(int64_t start, uint64_t size)
{
	struct wb_dev *whole, *part;
	struct wb_error err;

	for (unsigned i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i / WB_SECTOR + 1);
	assert_int_equal(wb_dev_memory(&whole, bytes, SIZE, NULL), 0);
	if (wb_dev_window(&part, whole, start, size, &err))
		fail_msg("%s", err.text);
	return part;
}

struct place {
	int64_t start;
	uint64_t size, expected_size;
	uint64_t offset;   /* of a read of one sector */
	uint8_t expected;  /* every byte of it; 0: it fails */
};

static const struct place places[] = {
	{ 0, 0, SIZE, 0, 1 },
	{ 0, 4096, 4096, 3584, 8 },
	{ 512, 0, SIZE - 512, 0, 2 },
	{ 512, 1024, 1024, 512, 3 },
	{ SIZE - 512, 0, 512, 0, 128 },
	{ -512, 0, SIZE + 512, 0, 0 },
	{ -512, 0, SIZE + 512, 512, 1 },
	{ -512, 0, SIZE + 512, SIZE, 128 },
	{ -4096, 8192, 8192, 3584, 0 },
	{ -4096, 8192, 8192, 4096, 1 },
	{ -4096, 2048, 2048, 0, 0 },
	{ -512, 0, SIZE + 512, 256, 0 }, /* half of it lies before byte 0 */
};

static void part_reads_as_the_bytes_from_its_start_on(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(places); i++) {
		const struct place *place = &places[i];
		struct wb_dev *part = open_part(place->start, place->size);
		uint8_t sector[WB_SECTOR] = { 0 };
		struct wb_error err;
		int ret = wb_dev_read(part, place->offset, sector, WB_SECTOR, &err);

		assert_int_equal(wb_dev_size(part), place->expected_size);
		assert_int_equal(wb_dev_start(part), place->start);
		assert_int_equal(wb_dev_size(wb_dev_whole(part)), SIZE);
		assert_int_equal(ret, place->expected ? 0 : -WB_EIO);
		if (ret)
			assert_int_equal(err.offset, place->offset);
		for (unsigned j = 0; j < WB_SECTOR && place->expected; j++)
			assert_int_equal(sector[j], place->expected + (place->offset % WB_SECTOR + j) / WB_SECTOR);
		wb_dev_close(part);
	}
}

static void nothing_outside_of_a_part_is_read_or_written(void **state)
{
	struct wb_dev *part = open_part(1024, 1024);
	uint8_t sector[WB_SECTOR];

	(void)state;
	memset(sector, 0xff, sizeof(sector));
	assert_int_equal(wb_dev_read(part, 1024, sector, WB_SECTOR, NULL), -WB_EIO);
	assert_int_equal(wb_dev_write(part, 1024, sector, WB_SECTOR, NULL), -WB_EIO);
	assert_int_equal(wb_dev_write(part, 512, sector, WB_SECTOR, NULL), 0);
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(bytes[i], i >= 1536 && i < 2048 ? 0xff : i / WB_SECTOR + 1);
	wb_dev_close(part);
}

/* Of a batch that reaches before byte 0 only what does so fails, and no write is started after one that failed. */
static void batch_that_begins_before_the_device_fails_in_part(void **state)
{
	struct wb_dev *part = open_part(-512, 0);
	uint8_t a[WB_SECTOR], b[WB_SECTOR];
	struct wb_io reads[] = { { .buffer = a, .offset = 0, .length = WB_SECTOR },
				 { .buffer = b, .offset = 1024, .length = WB_SECTOR } };
	struct wb_io writes[] = { { .buffer = a, .offset = 0, .length = WB_SECTOR, .write = true },
				  { .buffer = a, .offset = 1024, .length = WB_SECTOR, .write = true } };
	struct wb_error err;

	(void)state;
	assert_int_equal(wb_dev_submit(part, reads, 2, &err), -WB_EIO);
	assert_int_equal(err.offset, 0);
	assert_int_equal(reads[0].result, -EIO);
	assert_int_equal(reads[1].result, 0);
	assert_int_equal(reads[1].offset, 1024);
	assert_int_equal(b[0], 2);
	assert_int_equal(wb_dev_submit(part, writes, 2, NULL), -WB_EIO);
	assert_int_equal(writes[1].result, -ECANCELED);
	assert_int_equal(bytes[512], 2);
	wb_dev_close(part);
}

static void part_that_is_not_there_is_refused(void **state)
{
	static const struct { int64_t start; uint64_t size; } wrong[] = {
		{ SIZE, 0 }, { SIZE + 512, 512 }, { 512, SIZE }, { 0, SIZE + 1 }, { -512, SIZE + 1024 }, { INT64_MAX, 0 },
		{ 0, UINT64_MAX }, { 4096, UINT64_MAX },
	};
	struct wb_dev *whole, *part;

	(void)state;
	assert_int_equal(wb_dev_memory(&whole, bytes, SIZE, NULL), 0);
	for (size_t i = 0; i < LENGTH_OF(wrong); i++)
		assert_int_equal(wb_dev_window(&part, whole, wrong[i].start, wrong[i].size, NULL), -WB_EINVAL);
	assert_int_equal(wb_dev_window(&part, whole, INT64_MIN, 0, NULL), 0);
	assert_int_equal(wb_dev_size(part), (UINT64_C(1) << 63) + SIZE);
	wb_dev_close(part);
	/* its end would lie beyond 2^64 */
	assert_int_equal(wb_dev_memory(&whole, bytes, SIZE, NULL), 0);
	assert_int_equal(wb_dev_window(&part, whole, INT64_MIN, 0, NULL), 0);
	assert_int_equal(wb_dev_window(&whole, part, INT64_MIN, 512, NULL), -WB_EINVAL);
	wb_dev_close(part);
}

/* A device that only notes what it is told. */
struct noted {
	struct wb_dev dev;
	uint64_t offset, length;
	unsigned discards, forgotten;
};

static int note_discard(struct wb_dev *dev, uint64_t offset, uint64_t length)
{
	struct noted *noted = (struct noted *)dev;

	noted->offset = offset;
	noted->length = length;
	noted->discards++;
	return 0;
}

static void note_forget(struct wb_dev *dev)
{
	((struct noted *)dev)->forgotten++;
}

static void note_close(struct wb_dev *dev)
{
	(void)dev;
}

static void discards_of_a_part_reach_the_device_where_it_has_them(void **state)
{
	static const struct wb_dev_ops ops = { .discard = note_discard, .forget = note_forget, .close = note_close };
	static const struct wb_dev_ops none = { .close = note_close };
	static const struct {
		int64_t start;
		bool can;
		uint64_t offset, length;
		int error;
		uint64_t expected;
	} cases[] = {
		{ 4096, true, 512, 1024, 0, 4608 }, { -4096, true, 4608, 1024, 0, 512 }, { -4096, true, 4096, SIZE, 0, 0 },
		{ -4096, true, 0, 512, EIO, 0 }, { -4096, true, 4095, SIZE, EIO, 0 }, { 4096, true, SIZE - 4096, 1, ERANGE, 0 },
		{ 4096, false, 512, 1024, EOPNOTSUPP, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct noted noted = { .dev = { .ops = cases[i].can ? &ops : &none, .size = SIZE } };
		struct wb_error err = { 0 };
		struct wb_dev *part;

		assert_int_equal(wb_dev_window(&part, &noted.dev, cases[i].start, 0, NULL), 0);
		assert_int_equal(wb_dev_discard(part, cases[i].offset, cases[i].length, &err), cases[i].error ? -WB_EIO : 0);
		assert_int_equal(err.sys, cases[i].error);
		assert_int_equal(noted.discards, !cases[i].error);
		assert_int_equal(noted.offset, cases[i].expected);
		assert_int_equal(noted.length, cases[i].error ? 0 : cases[i].length);
		wb_dev_forget(part);
		assert_int_equal(noted.forgotten, cases[i].can);
		wb_dev_close(part);
	}
}

/* Blocks of a part that begins amid one are none of the device. */
static void part_out_of_line_has_no_physical_blocks(void **state)
{
	static const struct { int64_t start; unsigned expected; } cases[] = {
		{ 0, 4096 }, { 8192, 4096 }, { -4096, 4096 }, { 512, 512 }, { -512, 512 }, { 6144, 512 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_dev *whole, *part;

		assert_int_equal(wb_dev_memory(&whole, bytes, SIZE, NULL), 0);
		whole->physical = 4096;
		assert_int_equal(wb_dev_window(&part, whole, cases[i].start, 0, NULL), 0);
		assert_int_equal(wb_dev_physical_block(part), cases[i].expected);
		wb_dev_close(part);
	}
}

/* No more bytes are read than the limit; what was read before can be read again. */
static void limited_device_is_read_so_far_and_no_farther(void **state)
{
	struct wb_dev *whole, *limited;
	struct wb_error err = { 0 };
	uint8_t read[4096];

	(void)state;
	assert_int_equal(wb_dev_memory(&whole, bytes, SIZE, NULL), 0);
	assert_int_equal(wb_dev_limit(&limited, whole, 4096 + 512, NULL), 0);
	assert_int_equal(wb_dev_size(limited), SIZE);
	memset(bytes + 4096, 0x11, 4096);
	assert_int_equal(wb_dev_read(limited, 4096, read, 4096, NULL), 0);
	memset(bytes + 4096, 0x22, 4096);
	assert_int_equal(wb_dev_read(limited, 0, read, 1024, &err), -WB_EIO);
	assert_int_equal(err.sys, EDQUOT);
	assert_int_equal(wb_dev_read(limited, 4096 + 512, read, 3584, NULL), 0);
	assert_int_equal(read[0], 0x11);
	assert_int_equal(wb_dev_read(limited, 8192, read, 512, NULL), 0);
	assert_int_equal(wb_dev_read(limited, 8192 + 512, read, 512, NULL), -WB_EIO);
	assert_int_equal(wb_dev_write(limited, 4096, read, 512, &err), -WB_EIO);
	assert_int_equal(err.sys, EROFS);
	assert_int_equal(bytes[4096], 0x22);
	wb_dev_close(limited);
}

/* What an undo file records can be put back on the whole device. */
static void undo_of_a_part_records_places_on_the_whole_device(void **state)
{
	struct wb_undo_device device = { .name = (char[]){ "/dev/disk" }, .size = SIZE };
	struct medium file;
	struct wb_dev *part = open_part(4096, 8192), *file_dev, *wrapped, *again;
	struct wb_undo undo;
	struct wb_undo_result result;
	uint8_t sector[WB_SECTOR] = { 0 };

	(void)state;
	medium_init(&file, 0, 1u << 20, 'f');
	file_dev = medium_open(&file);
	assert_int_equal(wb_undo_create(&undo, file_dev, &device, 1, 1, 1, NULL), 0);
	assert_int_equal(wb_dev_undo(&wrapped, part, &undo, 0, NULL), 0);
	assert_int_equal(wb_dev_start(wrapped), 4096);
	assert_int_equal(wb_dev_write(wrapped, 512, sector, WB_SECTOR, NULL), 0);
	assert_int_equal(wb_dev_flush(wrapped, NULL), 0);
	assert_int_equal(bytes[4608], 0);
	wb_dev_close(wrapped);
	wb_undo_release(&undo);
	assert_int_equal(wb_undo_load(&undo, file_dev, NULL, NULL), 0);
	assert_int_equal(wb_dev_memory(&again, bytes, SIZE, NULL), 0);
	assert_int_equal(wb_undo_restore(&undo, &again, false, false, 2, &result, NULL, NULL), 0);
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(bytes[i], i / WB_SECTOR + 1);
	wb_dev_close(again);
	wb_undo_release(&undo);
	wb_dev_close(file_dev);
	free(file.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(part_reads_as_the_bytes_from_its_start_on),
		cmocka_unit_test(nothing_outside_of_a_part_is_read_or_written),
		cmocka_unit_test(batch_that_begins_before_the_device_fails_in_part),
		cmocka_unit_test(part_that_is_not_there_is_refused),
		cmocka_unit_test(discards_of_a_part_reach_the_device_where_it_has_them),
		cmocka_unit_test(part_out_of_line_has_no_physical_blocks),
		cmocka_unit_test(limited_device_is_read_so_far_and_no_farther),
		cmocka_unit_test(undo_of_a_part_records_places_on_the_whole_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
