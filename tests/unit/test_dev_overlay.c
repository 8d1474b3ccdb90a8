/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/dev_overlay.c: writes are seen by reads, and by nobody else. */
#include "cache_builder.h"

#define SIZE (16u * WB_SECTOR + 100)

static void writes_are_read_again_and_never_reach_the_device(void **state)
{
	/* ranges of all alignments, over each other */
	static const struct { uint64_t offset; uint32_t length; } writes[] = {
		{ 0, 1 }, { 511, 2 }, { 512, 512 }, { 700, 1500 }, { 16 * 512, 100 }, { 16 * 512 + 99, 1 }, { 3, 8000 }, { 600, 0 },
	};
	uint8_t bytes[SIZE], model[SIZE], seen[SIZE], before[SIZE];
	struct wb_dev *inner, *dev;

	(void)state;
	for (unsigned i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i * 7);
	memcpy(before, bytes, SIZE);
	memcpy(model, bytes, SIZE);
	assert_int_equal(wb_dev_memory(&inner, bytes, SIZE, NULL), 0);
	assert_int_equal(wb_dev_overlay(&dev, inner, NULL), 0);
	assert_int_equal(wb_dev_size(dev), SIZE);
	for (unsigned i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		uint8_t fresh[8192];

		memset(fresh, (int)(0x80 + i), sizeof(fresh));
		memcpy(model + writes[i].offset, fresh, writes[i].length);
		assert_int_equal(wb_dev_write(dev, writes[i].offset, fresh, writes[i].length, NULL), 0);
		for (unsigned at = 0; at < SIZE; at += 97) {
			uint32_t length = SIZE - at < 700 ? SIZE - at : 700;

			assert_int_equal(wb_dev_read(dev, at, seen, length, NULL), 0);
			assert_memory_equal(seen, model + at, length);
		}
	}
	assert_int_equal(wb_dev_flush(dev, NULL), 0);
	assert_int_equal(wb_dev_write(dev, SIZE - 1, seen, 2, NULL), -WB_EIO);
	wb_dev_close(dev);
	assert_memory_equal(bytes, before, SIZE);
}

static void unreadable_sector_can_neither_be_read_nor_changed_in_part(void **state)
{
	const struct wb_range bad = { WB_SECTOR, WB_SECTOR };
	const struct wb_fault fault = { .bad = &bad, .bad_count = 1, .cut_after = UINT64_MAX };
	uint8_t bytes[SIZE] = { 0 }, part[16] = { 1 };
	struct wb_dev *inner, *faulty, *dev;

	(void)state;
	assert_int_equal(wb_dev_memory(&inner, bytes, SIZE, NULL), 0);
	assert_int_equal(wb_dev_fault(&faulty, inner, &fault, NULL), 0);
	assert_int_equal(wb_dev_overlay(&dev, faulty, NULL), 0);
	assert_int_equal(wb_dev_write(dev, WB_SECTOR + 8, part, sizeof(part), NULL), -WB_EIO);
	assert_int_equal(wb_dev_read(dev, WB_SECTOR, part, sizeof(part), NULL), -WB_EIO);
	assert_int_equal(wb_dev_write(dev, 0, part, sizeof(part), NULL), 0);
	wb_dev_close(dev);
}

static void part_of_a_device_stays_one(void **state)
{
	uint8_t bytes[SIZE] = { 0 }, byte = 1;
	struct wb_dev *dev;

	(void)state;
	assert_int_equal(wb_dev_memory(&dev, bytes, SIZE, NULL), 0);
	assert_int_equal(wb_dev_window(&dev, dev, 1024, 2048, NULL), 0);
	int64_t start = wb_dev_start(dev);
	uint64_t size = wb_dev_size(dev);

	assert_int_equal(wb_dev_overlay(&dev, dev, NULL), 0);
	assert_int_equal(wb_dev_start(dev), start);
	assert_int_equal(wb_dev_size(dev), size);
	assert_int_equal(wb_dev_size(wb_dev_whole(dev)), SIZE);
	assert_int_equal(wb_dev_write(dev, 0, &byte, 1, NULL), 0);
	byte = 0;
	assert_int_equal(wb_dev_read(dev, 0, &byte, 1, NULL), 0);
	assert_int_equal(byte, 1);
	wb_dev_close(dev);
	assert_int_equal(bytes[1024], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_are_read_again_and_never_reach_the_device),
		cmocka_unit_test(unreadable_sector_can_neither_be_read_nor_changed_in_part),
		cmocka_unit_test(part_of_a_device_stays_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
