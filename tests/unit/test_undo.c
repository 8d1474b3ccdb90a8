/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/undo.c: the layout, what is damage and what a cut, and files that somebody forged. */
#include <zlib.h>

#include "undo_builder.h"

/* ---- the layout once more, from wbfmt(5) and not from the library ---- */

static uint32_t crc32c_of(const uint8_t *bytes, size_t size)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < size; i++) {
		crc ^= bytes[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static uint64_t number(const uint8_t *bytes, unsigned width)
{
	uint64_t value = 0;

	while (width--)
		value = value << 8 | bytes[width];
	return value;
}

static void put_number(uint8_t *bytes, unsigned width, uint64_t value)
{
	for (; width--; value >>= 8)
		*bytes++ = (uint8_t)value;
}

static void sum_header(uint8_t *file)
{
	uint64_t size = number(file + 32, 4);

	if (size >= 40 && size < FILE_ROOM)
		put_number(file + size - 4, 4, crc32c_of(file, size - 4));
}

static void sum_record(uint8_t *record)
{
	put_number(record + 60, 4, crc32c_of(record, 60));
}

/* ---- files to play with ---- */

#define SIZE (4u << 20)
#define RUN 65536u /* bytes of a large record */

static char name_a[] = "/dev/disk/by-id/a", name_b[] = "b";
static const struct wb_undo_device two_devices[] = { { name_a, SIZE, 1 << 20 }, { name_b, 4 * WB_SECTOR, -4096 } };
#define HEADER (36 + 12 + 17 + 12 + 1 + 2 * 8 + 4) /* of a file that speaks of these two */
#define BEGIN (512 + 2 * 512)             /* where its records begin: after two end notes */

struct play {
	struct medium file;
	struct wb_dev *dev;
	struct wb_undo undo;
};

static void play_init(struct play *play)
{
	medium_init(&play->file, 0, FILE_ROOM, 'f');
	play->dev = medium_open(&play->file);
	assert_int_equal(wb_undo_create(&play->undo, play->dev, two_devices, 2, UNDO_ID, CREATED, NULL), 0);
}

static void play_release(struct play *play)
{
	wb_undo_release(&play->undo);
	wb_dev_close(play->dev);
	free(play->file.bytes);
}

/* Loads the file afresh, with the size it has. */
static int reload(struct play *play, struct wb_error *err)
{
	wb_undo_release(&play->undo);
	wb_dev_close(play->dev);
	play->dev = medium_open(&play->file);
	return wb_undo_load(&play->undo, play->dev, NULL, err);
}

static void fill_random(uint8_t *bytes, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)draw(&seed);
}

/* Old and new bytes that follow from the seed, and cannot be compressed. */
static int add(struct play *play, unsigned device, uint64_t offset, uint32_t length, uint64_t seed)
{
	static uint8_t old[WB_UNDO_MAX], new_bytes[WB_UNDO_MAX];

	fill_random(old, length, seed);
	fill_random(new_bytes, length, ~seed);
	return wb_undo_add(&play->undo, device, offset, old, new_bytes, length, NULL);
}

static void end(struct play *play)
{
	assert_int_equal(wb_undo_end(&play->undo, NULL), 0);
}

/* Three records of a sector, each made durable before the next; where they begin. */
static void add_three(struct play *play, uint64_t *at)
{
	for (unsigned i = 0; i < 3; i++) {
		at[i] = play->undo.end;
		assert_int_equal(add(play, i % 2, i * WB_SECTOR, WB_SECTOR, i), 0);
		end(play);
	}
}

static void assert_payload(struct play *play, const struct wb_undo_record *record, uint64_t seed)
{
	static uint8_t payload[WB_UNDO_PAYLOAD], bytes[WB_UNDO_MAX];

	assert_int_equal(wb_undo_payload(&play->undo, record, payload, NULL), 0);
	fill_random(bytes, record->length, seed);
	assert_memory_equal(payload, bytes, record->length);
	fill_random(bytes, record->length, ~seed);
	for (uint32_t i = 0; i < record->length / WB_SECTOR; i++)
		assert_int_equal(number(payload + record->length + 4 * i, 4), crc32c_of(bytes + 512 * i, 512));
}

/* ---- the layout ---- */

static void layout_is_what_wbfmt_5_says(void **state)
{
	struct play play;
	const uint8_t *file, *record;
	uint8_t payload[2 * 512 + 8], bytes[1024];
	uLongf size = sizeof(payload);

	(void)state;
	play_init(&play);
	assert_int_equal(add(&play, 1, 512, 1024, 7), 0);
	end(&play);
	assert_int_equal(wb_undo_mark(&play.undo, 0x123456789, NULL), 0);

	file = play.file.bytes;
	assert_memory_equal(file, "WBundo\0\0", 8);
	assert_int_equal(number(file + 8, 4), 3);
	assert_int_equal(number(file + 12, 4), 2);
	assert_int_equal(number(file + 16, 8), UNDO_ID);
	assert_int_equal(number(file + 24, 8), CREATED);
	assert_int_equal(number(file + 32, 4), HEADER);
	assert_int_equal(number(file + 36, 8), SIZE);
	assert_int_equal(number(file + 44, 4), 17);
	assert_memory_equal(file + 48, "/dev/disk/by-id/a", 17);
	assert_int_equal(number(file + 65, 8), 2048);
	assert_int_equal(number(file + 73, 4), 1);
	assert_int_equal(file[77], 'b');
	assert_int_equal(number(file + 78, 8), 1 << 20);
	assert_int_equal(number(file + 86, 8), (uint64_t)-4096);
	assert_int_equal(number(file + 94, 4), crc32c_of(file, 94));

	const uint8_t *note = file + 512;

	assert_memory_equal(note, "WBue", 4);
	assert_int_equal(number(note + 4, 4), 1); /* so far */
	assert_int_equal(number(note + 8, 8), UNDO_ID);
	assert_int_equal(number(note + 16, 8), 0);
	assert_int_equal(number(note + 24, 8), 0);
	assert_int_equal(number(note + 32, 8), BEGIN);
	assert_int_equal(number(note + 40, 8), CREATED);
	assert_int_equal(number(note + 60, 4), crc32c_of(note, 60));
	assert_true(wb_all_bytes(note + 64, 512 - 64 + 512, 0));

	record = file + BEGIN;
	uint64_t stored = number(record + 48, 4);

	assert_memory_equal(record, "WBur", 4);
	assert_int_equal(number(record + 4, 4), 1);
	assert_int_equal(number(record + 8, 8), UNDO_ID);
	assert_int_equal(number(record + 16, 8), 0);
	assert_int_equal(number(record + 24, 8), 0);
	assert_int_equal(number(record + 32, 8), 512);
	assert_int_equal(number(record + 40, 4), 1);
	assert_int_equal(number(record + 44, 4), 1024);
	assert_int_equal(number(record + 52, 4), number(file + 94, 4));
	assert_int_equal(number(record + 56, 4), crc32c_of(record + 64, stored));
	assert_int_equal(number(record + 60, 4), crc32c_of(record, 60));
	assert_int_equal(uncompress(payload, &size, record + 64, stored), Z_OK);
	assert_int_equal(size, sizeof(payload));
	fill_random(bytes, sizeof(bytes), 7);
	assert_memory_equal(payload, bytes, sizeof(bytes));
	fill_random(bytes, sizeof(bytes), ~UINT64_C(7));
	assert_int_equal(number(payload + 1024, 4), crc32c_of(bytes, 512));
	assert_int_equal(number(payload + 1028, 4), crc32c_of(bytes + 512, 512));

	const uint8_t *mark = record + 64 + stored;

	assert_memory_equal(mark, "WBur", 4);
	assert_int_equal(number(mark + 4, 4), 2);
	assert_int_equal(number(mark + 16, 8), 1);
	assert_int_equal(number(mark + 24, 8), 1); /* the first record was durable by then */
	assert_int_equal(number(mark + 32, 8), 0x123456789);
	assert_int_equal(number(mark + 48, 4), 0);
	assert_int_equal(number(mark + 52, 4), number(record + 60, 4));
	assert_int_equal(number(mark + 56, 4), 0);
	assert_int_equal(number(mark + 60, 4), crc32c_of(mark, 60));
	assert_int_equal(play.file.size, mark + 64 - file);

	assert_int_equal(wb_undo_finish(&play.undo, 0x987654321, NULL), 0);
	note = file + 1024;
	assert_memory_equal(note, "WBue", 4);
	assert_int_equal(number(note + 4, 4), 2); /* finished */
	assert_int_equal(number(note + 16, 8), 1);
	assert_int_equal(number(note + 24, 8), 2);
	assert_int_equal(number(note + 32, 8), play.file.size);
	assert_int_equal(number(note + 40, 8), 0x987654321);
	assert_int_equal(number(note + 60, 4), crc32c_of(note, 60));
	play_release(&play);
}

/* A file that this test wrote byte by byte. */
static void file_written_by_hand_is_read(void **state)
{
	struct play play;
	struct wb_undo_record record;
	uint8_t payload[516], *file, *at;
	uint64_t begin;
	uLongf stored = 1000;

	(void)state;
	play_init(&play);
	file = play.file.bytes;
	memset(file, 0, FILE_ROOM);
	memcpy(file, "WBundo", 6);
	put_number(file + 8, 4, 1);
	put_number(file + 12, 4, 1);
	put_number(file + 16, 8, 0x8877665544332211);
	put_number(file + 24, 8, 99);
	put_number(file + 32, 4, 36 + 12 + 3 + 4);
	put_number(file + 36, 8, 1u << 20);
	put_number(file + 44, 4, 3);
	memcpy(file + 48, "abc", 3);
	sum_header(file);
	at = file + 55;
	fill_random(payload, 512, 1);
	put_number(payload + 512, 4, 0xfeedf00d);
	assert_int_equal(compress(at + 64, &stored, payload, sizeof(payload)), Z_OK);
	memcpy(at, "WBur", 4);
	put_number(at + 4, 4, 1);
	put_number(at + 8, 8, 0x8877665544332211);
	put_number(at + 32, 8, (1u << 20) - 512);
	put_number(at + 44, 4, 512);
	put_number(at + 48, 4, stored);
	put_number(at + 52, 4, number(file + 51, 4));
	put_number(at + 56, 4, crc32c_of(at + 64, stored));
	sum_record(at);
	memcpy(at + 64 + stored, at, 64); /* a note */
	at += 64 + stored;
	put_number(at + 4, 4, 3);
	put_number(at + 16, 8, 1);
	put_number(at + 24, 8, 1);
	put_number(at + 48, 4, 0);
	put_number(at + 52, 4, number(file + 55 + 60, 4));
	put_number(at + 56, 4, 0);
	sum_record(at);
	play.file.size = (uint64_t)(at + 64 - file);

	assert_int_equal(reload(&play, NULL), 0);
	assert_int_equal(play.undo.id, 0x8877665544332211);
	assert_int_equal(play.undo.created, 99);
	assert_int_equal(play.undo.device_count, 1);
	assert_string_equal(play.undo.devices[0].name, "abc");
	assert_int_equal(play.undo.devices[0].size, 1u << 20);
	assert_int_equal(play.undo.count, 1);
	assert_false(play.undo.torn);
	begin = play.undo.begin;
	assert_int_equal(wb_undo_next(&play.undo, &begin, &record, NULL), 1);
	assert_int_equal(record.offset, (1u << 20) - 512);
	uint8_t unpacked[WB_UNDO_SUM + 512];

	assert_int_equal(wb_undo_payload(&play.undo, &record, unpacked, NULL), 0);
	assert_memory_equal(unpacked, payload, sizeof(payload));
	assert_int_equal(wb_undo_next(&play.undo, &begin, &record, NULL), 0);
	play_release(&play);
}

/* ---- round trips ---- */

static void records_come_back_as_they_were(void **state)
{
	static const uint32_t lengths[] = { 512, 1024, 4096, 512 * 127, RUN };
	struct play play;
	struct wb_undo_record record;
	uint64_t at;

	(void)state;
	play_init(&play);
	for (size_t i = 0; i < LENGTH_OF(lengths); i++)
		assert_int_equal(add(&play, 0, SIZE - lengths[i], lengths[i], i), 0);
	end(&play);
	assert_int_equal(reload(&play, NULL), 0);
	assert_int_equal(play.undo.count, LENGTH_OF(lengths));
	assert_int_equal(play.undo.id, UNDO_ID);
	assert_int_equal(play.undo.created, CREATED);
	assert_int_equal(play.undo.undone, 0);
	assert_false(play.undo.torn);
	assert_string_equal(play.undo.devices[0].name, name_a);
	assert_int_equal(play.undo.devices[1].size, 2048);
	at = play.undo.begin;
	for (size_t i = 0; i < LENGTH_OF(lengths); i++) {
		assert_int_equal(wb_undo_next(&play.undo, &at, &record, NULL), 1);
		assert_int_equal(record.device, 0);
		assert_int_equal(record.offset, SIZE - lengths[i]);
		assert_int_equal(record.length, lengths[i]);
		assert_payload(&play, &record, i);
	}
	assert_int_equal(wb_undo_next(&play.undo, &at, &record, NULL), 0);
	play_release(&play);
}

static void largest_record_comes_back(void **state)
{
	static const struct wb_undo_device device = { name_a, 2 * WB_UNDO_MAX, 0 };
	struct play play;
	struct wb_undo_record record;
	uint64_t at;

	(void)state;
	medium_init(&play.file, 0, 4 * WB_UNDO_MAX, 'f');
	play.dev = medium_open(&play.file);
	assert_int_equal(wb_undo_create(&play.undo, play.dev, &device, 1, UNDO_ID, CREATED, NULL), 0);
	assert_int_equal(add(&play, 0, WB_UNDO_MAX, WB_UNDO_MAX, 3), 0);
	assert_int_equal(reload(&play, NULL), 0);
	at = play.undo.begin;
	assert_int_equal(wb_undo_next(&play.undo, &at, &record, NULL), 1);
	assert_payload(&play, &record, 3);
	play_release(&play);
}

static void zeroes_take_little_room(void **state)
{
	static const uint8_t zeroes[RUN];
	struct play play;

	(void)state;
	play_init(&play);
	assert_int_equal(wb_undo_add(&play.undo, 0, 0, zeroes, zeroes, RUN, NULL), 0);
	assert_true(play.file.size < BEGIN + 64 + RUN / 50);
	play_release(&play);
}

static void marked_records_are_gone_and_later_ones_are_not(void **state)
{
	struct play play;
	struct wb_undo_record record;
	uint64_t at[3];

	(void)state;
	play_init(&play);
	add_three(&play, at);
	assert_int_equal(wb_undo_mark(&play.undo, 555, NULL), 0);
	assert_int_equal(play.undo.count, 0);
	assert_int_equal(reload(&play, NULL), 0);
	assert_int_equal(play.undo.undone, 555);
	assert_int_equal(play.undo.count, 0);
	assert_int_equal(add(&play, 1, 1024, 512, 42), 0);
	end(&play);
	assert_int_equal(reload(&play, NULL), 0);
	assert_int_equal(play.undo.undone, 555);
	assert_int_equal(play.undo.count, 1);
	at[0] = play.undo.begin;
	assert_int_equal(wb_undo_next(&play.undo, &at[0], &record, NULL), 1);
	assert_payload(&play, &record, 42);
	play_release(&play);
}

static void file_is_created_in_an_empty_file_for_one_to_four_devices(void **state)
{
	static char long_name[65536];
	const struct wb_undo_device five[] = { two_devices[0], two_devices[0], two_devices[0], two_devices[0], two_devices[0] };
	const struct wb_undo_device much = { long_name, 512, 0 };
	struct medium file;
	struct wb_dev *dev;
	struct wb_undo undo;

	(void)state;
	memset(long_name, 'x', sizeof(long_name) - 1);
	medium_init(&file, 0, FILE_ROOM, 'f');
	dev = medium_open(&file);
	assert_int_equal(wb_undo_create(&undo, dev, five, 0, 1, 1, NULL), -WB_EINVAL);
	assert_int_equal(wb_undo_create(&undo, dev, five, 5, 1, 1, NULL), -WB_EINVAL);
	assert_int_equal(wb_undo_create(&undo, dev, &much, 1, 1, 1, NULL), -WB_EINVAL);
	assert_int_equal(file.size, 0);
	assert_int_equal(wb_undo_create(&undo, dev, five, 4, 1, 1, NULL), 0);
	wb_undo_release(&undo);
	assert_int_equal(wb_undo_create(&undo, dev, five, 4, 1, 1, NULL), -WB_EINVAL);
	wb_dev_close(dev);
	free(file.bytes);
}

static void full_disk_fails_the_creation_and_leaks_nothing(void **state)
{
	(void)state;
	for (uint64_t room = 1; room < BEGIN; room++) {
		struct medium file;
		struct wb_dev *dev;
		struct wb_undo undo;
		struct wb_error err = { 0 };

		medium_init(&file, 0, room, 'f');
		dev = medium_open(&file);
		assert_int_equal(wb_undo_create(&undo, dev, two_devices, 2, 1, 1, &err), -WB_EIO);
		assert_int_equal(err.sys, ENOSPC);
		wb_dev_close(dev);
		free(file.bytes);
	}
}

static void failed_record_can_be_added_again(void **state)
{
	struct play play;
	uint64_t size;

	(void)state;
	play_init(&play);
	assert_int_equal(add(&play, 0, 0, 512, 1), 0);
	size = play.file.size;
	for (uint64_t room = size; room < size + 500; room += 50) {
		play.file.room = room;
		assert_int_equal(add(&play, 0, 512, 512, 2), -WB_EIO);
	}
	play.file.room = FILE_ROOM;
	assert_int_equal(add(&play, 0, 512, 512, 2), 0);
	assert_int_equal(reload(&play, NULL), 0);
	assert_int_equal(play.undo.count, 2);
	play_release(&play);
}

/* ---- cuts and damage ---- */

static void file_cut_short_anywhere_keeps_its_whole_records(void **state)
{
	struct play play;
	uint64_t at[4];

	(void)state;
	play_init(&play);
	add_three(&play, at);
	at[3] = play.file.size;
	for (uint64_t size = 0; size <= at[3]; size++) {
		struct wb_error err = { 0 };
		unsigned whole = 0;

		while (whole < 3 && at[whole + 1] <= size)
			whole++;
		play.file.size = size;
		assert_int_equal(reload(&play, &err), size < BEGIN ? -WB_EINVAL : 0);
		if (size < BEGIN) {
			assert_int_equal(err.offset, 0);
			continue;
		}
		assert_int_equal(play.undo.count, whole);
		assert_int_equal(play.undo.torn, size != at[whole]);
	}
	play_release(&play);
}

static void flipped_bit_in_a_record_that_was_durable_is_damage(void **state)
{
	struct play play;
	uint64_t at[4];

	(void)state;
	play_init(&play);
	add_three(&play, at);
	at[3] = play.file.size;
	wb_undo_note(&play.undo);
	assert_true(play.file.size > at[3]);
	for (uint64_t byte = 0; byte < at[3]; byte++) {
		struct wb_error err = { 0 };
		uint64_t expected = 0;

		for (unsigned i = 0; i < 3; i++)
			expected = byte >= at[i] ? at[i] : expected;
		if (byte >= HEADER && byte < BEGIN) /* of the end notes one is enough */
			continue;
		play.file.bytes[byte] ^= (uint8_t)(1 << byte % 8);
		assert_int_equal(reload(&play, &err), byte < BEGIN ? -WB_EINVAL : 0);
		if (byte >= BEGIN)
			assert_true(play.undo.cut && play.undo.cut_at == expected && play.undo.missing == 1 && play.undo.count == 2);
		else if (byte < 8 || byte >= 12) /* the version has an offset of its own */
			assert_int_equal(err.offset, 0);
		play.file.bytes[byte] ^= (uint8_t)(1 << byte % 8);
	}
	assert_int_equal(reload(&play, NULL), 0);
	play_release(&play);
}

static void flipped_bit_in_the_last_record_is_a_cut(void **state)
{
	struct play play;
	uint64_t at[3];

	(void)state;
	play_init(&play);
	add_three(&play, at);
	for (uint64_t byte = at[2]; byte < play.file.size; byte++) {
		play.file.bytes[byte] ^= 0x20;
		assert_int_equal(reload(&play, NULL), 0);
		assert_int_equal(play.undo.count, 2);
		assert_true(play.undo.torn);
		play.file.bytes[byte] ^= 0x20;
	}
	play_release(&play);
}

static void bad_record_in_a_batch_that_never_became_durable_is_a_cut(void **state)
{
	struct play play;
	uint64_t begin;

	(void)state;
	play_init(&play);
	assert_int_equal(add(&play, 0, 0, 512, 1), 0);
	end(&play);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(add(&play, 0, 512 + 512 * i, 512, 2), 0);
	assert_int_equal(reload(&play, NULL), 0);
	assert_int_equal(play.undo.count, 4);
	begin = play.undo.begin + (play.undo.end - play.undo.begin) / 4;
	memset(play.file.bytes + begin, 0, 200); /* the disk wrote the others first */
	assert_int_equal(reload(&play, NULL), 0);
	assert_int_equal(play.undo.count, 1);
	assert_true(play.undo.torn);
	play_release(&play);
}

/* A run was cut off and is continued with shorter or longer records, so that old ones stay behind the new end. */
static void stale_records_behind_the_end_do_not_come_back(void **state)
{
	static const uint32_t lengths[] = { 512, 1024, 2048, 4096 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(lengths); i++) {
		struct play play;
		uint64_t at[4];

		play_init(&play);
		for (unsigned j = 0; j < 4; j++) {
			at[j] = play.undo.end;
			assert_int_equal(add(&play, 0, 4096 * j, 1024, j), 0);
		}
		play.file.bytes[at[0] + 100] ^= 1;
		assert_int_equal(reload(&play, NULL), 0);
		assert_int_equal(play.undo.count, 0);
		assert_int_equal(add(&play, 0, 0, lengths[i], 99), 0);
		if (lengths[i] == 1024) /* then the next old record begins just where the new one ends */
			assert_int_equal(play.undo.end, at[1]);
		end(&play);
		for (uint64_t n = 1; n < 5; n++) {
			assert_int_equal(reload(&play, NULL), 0);
			assert_int_equal(play.undo.count, n);
			assert_int_equal(add(&play, 0, 512 * n, 512, n), 0);
			end(&play);
		}
		play_release(&play);
	}
}

/* The program was killed behind its records and before their flush, the next run found them in the page cache and went on,
 * and then the power went: the disk has the later record alone. */
static void records_that_were_only_in_the_page_cache_may_be_missing(void **state)
{
	struct play play;
	uint64_t at;

	(void)state;
	play_init(&play);
	assert_int_equal(add(&play, 0, 0, 512, 1), 0);
	assert_int_equal(reload(&play, NULL), 0);
	at = play.undo.end;
	assert_int_equal(add(&play, 0, 512, 512, 2), 0);
	memset(play.file.bytes + BEGIN, 0, at - BEGIN);
	assert_int_equal(reload(&play, NULL), 0);
	assert_int_equal(play.undo.count, 0);
	assert_true(play.undo.torn);
	play_release(&play);
}

static void records_know_what_was_flushed_before_them_and_what_another_run_wrote(void **state)
{
	static const bool want[] = { false, false, true, true };
	struct wb_undo_record record;
	struct play play;
	uint64_t at;

	(void)state;
	play_init(&play);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(add(&play, 0, 512 * i, 512, i), 0);
		end(&play);
		if (i == 1)
			wb_undo_note(&play.undo);
	}
	assert_int_equal(reload(&play, NULL), 0);
	assert_int_equal(add(&play, 0, 2048, 512, 3), 0);
	end(&play);
	assert_int_equal(reload(&play, NULL), 0);
	at = play.undo.begin;
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(wb_undo_next(&play.undo, &at, &record, NULL), 1);
		assert_int_equal(record.after_flush, want[i]);
	}
	play_release(&play);
}

/* Behind the damage, the only header that tells is anywhere between the pieces in which the file is read. */
static void later_record_is_seen_wherever_it_stands(void **state)
{
	struct play play;
	uint8_t header[64];

	(void)state;
	play_init(&play);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t at = play.undo.end;

		assert_int_equal(add(&play, 0, 0, 512, i), 0);
		end(&play);
		memcpy(header, play.file.bytes + at, sizeof(header));
	}
	free(play.file.bytes);
	play.file.bytes = calloc(1, 3u << 20);
	for (unsigned place = (1u << 20) - 70; place < (1u << 20) + 70; place++) {
		struct wb_dev *dev;
		struct wb_undo undo;

		play.file.size = 0;
		play.file.room = 3u << 20;
		dev = medium_open(&play.file);
		assert_int_equal(wb_undo_create(&undo, dev, two_devices, 2, UNDO_ID, CREATED, NULL), 0);
		wb_undo_release(&undo);
		assert_int_equal(wb_dev_write(dev, BEGIN + place, header, sizeof(header), NULL), 0);
		assert_int_equal(wb_undo_load(&undo, dev, NULL, NULL), 0);
		assert_true(undo.cut && undo.cut_at == BEGIN && undo.missing == 1);
		wb_undo_release(&undo);
		wb_dev_close(dev);
		memset(play.file.bytes + BEGIN + place, 0, sizeof(header));
	}
	play_release(&play);
}

static void records_of_another_file_are_nothing_but_bytes(void **state)
{
	struct play play, other;
	uint64_t at[3];

	(void)state;
	play_init(&play);
	play_init(&other);
	other.undo.id++;
	add_three(&other, at);
	assert_int_equal(add(&play, 0, 0, 512, 1), 0);
	end(&play);
	memcpy(play.file.bytes + play.file.size, other.file.bytes + at[0], other.file.size - at[0]);
	play.file.size += other.file.size - at[0];
	assert_int_equal(reload(&play, NULL), 0);
	assert_int_equal(play.undo.count, 1);
	assert_true(play.undo.torn);
	play_release(&other);
	play_release(&play);
}

/* Whole headers everywhere behind the end, each of which claims a large payload. */
static void time_to_load_grows_with_the_file_alone(void **state)
{
	struct play play;
	uint64_t at;

	(void)state;
	play_init(&play);
	at = play.undo.end;
	assert_int_equal(add(&play, 0, 0, RUN, 1), 0);
	end(&play);
	for (uint64_t to = play.undo.end + 1; to + 64 <= FILE_ROOM; to += 64)
		memcpy(play.file.bytes + to, play.file.bytes + at, 64);
	play.file.size = FILE_ROOM;
	play.file.bytes_read = 0;
	assert_int_equal(reload(&play, NULL), 0);
	assert_int_equal(play.undo.count, 1);
	assert_true(play.file.bytes_read < 2 * FILE_ROOM);
	play_release(&play);
}

/* Every second record is damaged, in a file of one piece and in one of several. */
static void gaps_do_not_make_a_file_be_read_again(void **state)
{
	static const struct { unsigned records; uint32_t length; } cases[] = { { 1200, 512 }, { 600, 16384 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct play play;

		medium_init(&play.file, 0, 16 * FILE_ROOM, 'f');
		play.dev = medium_open(&play.file);
		assert_int_equal(wb_undo_create(&play.undo, play.dev, two_devices, 2, UNDO_ID, CREATED, NULL), 0);
		for (unsigned k = 0; k < cases[i].records; k++) {
			uint64_t at = play.undo.end;

			assert_int_equal(add(&play, 0, 0, cases[i].length, k), 0);
			play.file.bytes[at + 1] ^= k % 2;
		}
		end(&play);
		assert_int_equal(add(&play, 0, 0, 512, 1), 0);
		end(&play);
		play.file.bytes_read = 0;
		assert_int_equal(reload(&play, NULL), 0);
		assert_int_equal(play.undo.missing, cases[i].records / 2);
		assert_int_equal(play.undo.gap_count, cases[i].records / 2);
		assert_true(play.file.bytes_read < 4 * play.file.size);
		play_release(&play);
	}
}

static void unreadable_file_is_an_error_and_no_cut(void **state)
{
	struct play play;
	uint64_t at[3];

	(void)state;
	play_init(&play);
	add_three(&play, at);
	for (uint64_t byte = 0; byte < play.file.size; byte += 13) {
		if (byte >= HEADER && byte < 512)
			continue; /* padding */
		const struct wb_range bad = { byte, 1 };
		const struct wb_fault fault = { .bad = &bad, .bad_count = 1, .cut_after = FOREVER };
		struct wb_dev *broken;
		struct wb_undo undo;

		assert_int_equal(wb_dev_fault(&broken, medium_open(&play.file), &fault, NULL), 0);
		assert_int_equal(wb_undo_load(&undo, broken, NULL, NULL), -WB_EIO);
		wb_dev_close(broken);
	}
	play_release(&play);
}

static int stop_after(void *context)
{
	return !(*(unsigned *)context)--;
}

static void loading_can_be_stopped(void **state)
{
	struct play play;
	uint64_t at[3];
	int ret = -1;

	(void)state;
	play_init(&play);
	add_three(&play, at);
	play.file.bytes[play.file.size - 1] ^= 1; /* look behind the end, too */
	for (unsigned polls = 0; ret; polls++) {
		unsigned left = polls;
		const struct wb_progress progress = { .context = &left, .stop = stop_after };
		struct wb_undo undo;

		ret = wb_undo_load(&undo, play.dev, &progress, NULL);
		if (ret)
			assert_int_equal(ret, -WB_ESTOPPED);
		else
			wb_undo_release(&undo);
		assert_true(polls < 20);
	}
	play_release(&play);
}

/* ---- forged files: every sum is right ---- */

static void forged_header_is_refused(void **state)
{
	static const struct { unsigned offset, width; uint64_t value; } cases[] = {
		{ 0, 1, 'w' },           { 7, 1, 1 },             { 8, 4, 2 },            { 8, 4, 4 },
		{ 12, 4, 0 },            { 12, 4, 1 },            { 12, 4, 3 },           { 12, 4, 5 },
		{ 12, 4, UINT32_MAX },   { 32, 4, 0 },            { 32, 4, 39 },          { 32, 4, 40 },
		{ 32, 4, HEADER - 1 },   { 32, 4, HEADER + 1 },   { 32, 4, 65536 },       { 32, 4, 65537 },
		{ 32, 4, UINT32_MAX },   { 44, 4, 16 },           { 44, 4, 18 },          { 44, 4, 30 },
		{ 44, 4, UINT32_MAX },   { 44, 4, 0x80000000u },  { 50, 1, 0 },           { 73, 4, 0 },
		{ 73, 4, 2 },            { 73, 4, UINT32_MAX },   { 77, 1, 0 },           { 8, 4, 0 },
		{ 73, 4, 17 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct play play;
		struct wb_error err = { 0 };

		play_init(&play);
		play.file.size = i % 2 ? FILE_ROOM : BEGIN; /* with and without something behind it */
		put_number(play.file.bytes + cases[i].offset, cases[i].width, cases[i].value);
		sum_header(play.file.bytes);
		if (reload(&play, &err) != -WB_EINVAL)
			fail_msg("case %u is taken", (unsigned)i);
		assert_true(err.offset == 0 || err.offset == 8);
		play_release(&play);
	}
}

static void forged_record_is_refused_or_does_not_follow(void **state)
{
	enum { REFUSED, DROPPED };
	static const struct { unsigned offset, width; uint64_t value; int outcome; } cases[] = {
		{ 0, 1, 'w', DROPPED },              { 4, 4, 0, REFUSED },            { 4, 4, 2, REFUSED },
		{ 4, 4, 3, REFUSED },                { 4, 4, 4, REFUSED },            { 4, 4, UINT32_MAX, REFUSED },
		{ 8, 8, UNDO_ID + 1, DROPPED },      { 16, 8, 1, DROPPED },           { 16, 8, UINT64_MAX, DROPPED },
		{ 24, 8, 1, REFUSED },               { 24, 8, UINT64_MAX, REFUSED },  { 32, 8, 1, REFUSED },
		{ 32, 8, SIZE, REFUSED },            { 32, 8, SIZE - 512, REFUSED },  { 32, 8, UINT64_MAX - 511, REFUSED },
		{ 32, 8, UINT64_MAX, REFUSED },      { 40, 4, 1, REFUSED },           { 40, 4, 2, REFUSED },
		{ 40, 4, UINT32_MAX, REFUSED },      { 44, 4, 0, REFUSED },           { 44, 4, 1, REFUSED },
		{ 44, 4, 513, REFUSED },             { 44, 4, (1u << 20) + 512, REFUSED },  { 44, 4, UINT32_MAX - 511, REFUSED },
		{ 48, 4, UINT32_MAX, REFUSED },      { 48, 4, 1u << 21, REFUSED },    { 48, 4, 1u << 20, DROPPED },
		{ 48, 4, 100, DROPPED },             { 48, 4, 0, DROPPED },           { 52, 4, 1, DROPPED },
		{ 56, 4, 1, DROPPED },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct play play;
		struct wb_error err = { 0 };
		int ret;

		play_init(&play);
		assert_int_equal(add(&play, 0, 0, 4096, 1), 0);
		put_number(play.file.bytes + BEGIN + cases[i].offset, cases[i].width, cases[i].value);
		sum_record(play.file.bytes + BEGIN);
		ret = reload(&play, &err);
		if (ret != (cases[i].outcome == REFUSED ? -WB_EINVAL : 0))
			fail_msg("case %u: %d", (unsigned)i, ret);
		if (ret)
			assert_int_equal(err.offset, BEGIN);
		else
			assert_true(play.undo.count == 0 && play.undo.torn);
		play_release(&play);
	}
}

/* The payload of a whole record: something else, compressed, that is shorter or longer than it should be, or no stream. */
static void payload_of_another_size_is_refused(void **state)
{
	static const uint32_t sizes[] = { 0, 1, 512, 515, 517, 1032, 60000 };
	static uint8_t zeroes[60000], payload[WB_UNDO_PAYLOAD];

	(void)state;
	for (size_t i = 0; i <= LENGTH_OF(sizes); i++) {
		struct play play;
		struct wb_undo_record record;
		struct wb_error err = { 0 };
		uint8_t *at;
		uint64_t begin;
		uLongf stored = 1000;

		play_init(&play);
		at = play.file.bytes + BEGIN;
		assert_int_equal(add(&play, 0, 0, 512, 1), 0);
		if (i < LENGTH_OF(sizes))
			assert_int_equal(compress(at + 64, &stored, zeroes, sizes[i]), Z_OK);
		else
			memset(at + 64, 0xff, stored);
		put_number(at + 48, 4, stored);
		put_number(at + 56, 4, crc32c_of(at + 64, stored));
		sum_record(at);
		play.file.size = BEGIN + 64 + stored;
		assert_int_equal(reload(&play, NULL), 0);
		begin = play.undo.begin;
		assert_int_equal(wb_undo_next(&play.undo, &begin, &record, NULL), 1);
		assert_int_equal(wb_undo_payload(&play.undo, &record, payload, &err), -WB_EINVAL);
		assert_int_equal(err.offset, BEGIN);
		play_release(&play);
	}
}

/* Any bytes, with sums that hold: the sanitizers and the devices' own range checks look on. */
static void random_forgeries_do_no_harm(void **state)
{
	static uint8_t disk_a[SIZE], disk_b[2048];
	uint64_t seed = 1, at[3], loaded = 0;
	struct wb_dev *devs[2];

	(void)state;
	assert_int_equal(wb_dev_memory(&devs[0], disk_a, sizeof(disk_a), NULL), 0);
	assert_int_equal(wb_dev_memory(&devs[1], disk_b, sizeof(disk_b), NULL), 0);
	for (unsigned round = 0; round < 3000; round++) {
		struct play play;
		struct wb_undo_result result;

		play_init(&play);
		add_three(&play, at);
		for (unsigned i = draw_below(&seed, 3) + 1; i--;) {
			uint64_t where = draw_below(&seed, 8) ? at[draw_below(&seed, 3)] + draw_below(&seed, 64) :
								draw_below(&seed, (uint32_t)play.file.size);

			play.file.bytes[where] ^= (uint8_t)(1 << draw_below(&seed, 8));
		}
		for (unsigned i = 0; i < 3; i++) {
			sum_record(play.file.bytes + at[i]);
			if (i < 2)
				memcpy(play.file.bytes + at[i + 1] + 52, play.file.bytes + at[i] + 60, 4);
		}
		if (!reload(&play, NULL)) {
			loaded++;
			assert_true(play.undo.count <= 3);
			wb_undo_restore(&play.undo, devs, true, false, 1, &result, NULL, NULL);
		}
		play_release(&play);
	}
	assert_true(loaded > 100);
	for (unsigned i = 0; i < 2; i++)
		wb_dev_close(devs[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_is_what_wbfmt_5_says),
		cmocka_unit_test(file_written_by_hand_is_read),
		cmocka_unit_test(records_come_back_as_they_were),
		cmocka_unit_test(largest_record_comes_back),
		cmocka_unit_test(zeroes_take_little_room),
		cmocka_unit_test(marked_records_are_gone_and_later_ones_are_not),
		cmocka_unit_test(file_is_created_in_an_empty_file_for_one_to_four_devices),
		cmocka_unit_test(full_disk_fails_the_creation_and_leaks_nothing),
		cmocka_unit_test(failed_record_can_be_added_again),
		cmocka_unit_test(file_cut_short_anywhere_keeps_its_whole_records),
		cmocka_unit_test(flipped_bit_in_a_record_that_was_durable_is_damage),
		cmocka_unit_test(flipped_bit_in_the_last_record_is_a_cut),
		cmocka_unit_test(bad_record_in_a_batch_that_never_became_durable_is_a_cut),
		cmocka_unit_test(stale_records_behind_the_end_do_not_come_back),
		cmocka_unit_test(records_that_were_only_in_the_page_cache_may_be_missing),
		cmocka_unit_test(records_know_what_was_flushed_before_them_and_what_another_run_wrote),
		cmocka_unit_test(later_record_is_seen_wherever_it_stands),
		cmocka_unit_test(records_of_another_file_are_nothing_but_bytes),
		cmocka_unit_test(time_to_load_grows_with_the_file_alone),
		cmocka_unit_test(gaps_do_not_make_a_file_be_read_again),
		cmocka_unit_test(unreadable_file_is_an_error_and_no_cut),
		cmocka_unit_test(loading_can_be_stopped),
		cmocka_unit_test(forged_header_is_refused),
		cmocka_unit_test(forged_record_is_refused_or_does_not_follow),
		cmocka_unit_test(payload_of_another_size_is_refused),
		cmocka_unit_test(random_forgeries_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
