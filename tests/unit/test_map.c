/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/map.c: mapfiles as ddrescue writes them, broken ones, and our own read back by us and by ddrescuelog. */
#include "cache_builder.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 0x10000u /* of the device that most maps speak of */
#define STATUS "0x0 ? 1\n"
#define RANGES(...) (const struct wb_range[]){ __VA_ARGS__ }, LENGTH_OF(((const struct wb_range[]){ __VA_ARGS__ }))

/* ---- files without names ---- */

static int make_file(const char *bytes, size_t size)
{
	int fd = memfd_create("map", 0);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static int load_fd(struct wb_map *map, int fd, uint64_t device_size, struct wb_error *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return wb_map_load(map, path, device_size, err);
}

static int load_bytes(struct wb_map *map, const char *bytes, size_t size, struct wb_error *err)
{
	int fd = make_file(bytes, size);
	int ret = load_fd(map, fd, SIZE, err);

	close(fd);
	return ret;
}

/* The text is a map of SIZE bytes with exactly these bad areas. */
static void assert_reads(const char *text, const struct wb_range *bad, size_t count)
{
	struct wb_map map;
	struct wb_error err = { 0 };

	assert_int_equal(load_bytes(&map, text, strlen(text), &err), 0);
	assert_string_equal(err.text, "");
	assert_int_equal(map.count, count);
	if (count)
		assert_memory_equal(map.bad, bad, count * sizeof(*bad));
	wb_map_release(&map);
}

static void assert_refused_at(const char *bytes, size_t size, unsigned line, const char *because)
{
	struct wb_map map;
	struct wb_error err = { 0 };
	char where[32];

	snprintf(where, sizeof(where), "map line %u: ", line);
	assert_int_equal(load_bytes(&map, bytes, size, &err), -WB_EINVAL);
	assert_int_equal(err.code, WB_EINVAL);
	if (!strstr(err.text, where) || !strstr(err.text, because))
		fail_msg("\"%s\" does not say \"%s\" and \"%s\"", err.text, where, because);
	assert_null(map.bad);
	assert_int_equal(map.count, 0);
}

/* ---- reading what ddrescue writes ---- */

static void map_of_a_running_rescue_is_read(void **state)
{
	(void)state;
	assert_reads("# Mapfile. Created by GNU ddrescue version 1.27\n"
		     "# Command line: ddrescue -d -c18 cache clone mapfile\n"
		     "# Start time:   2015-07-21 09:37:44\n"
		     "# Copying non-tried blocks... Pass 1 (forwards)\n"
		     "# current_pos  current_status  current_pass\n"
		     "0x00008000     ?               1\n"
		     "#      pos        size  status\n"
		     "0x00000000  0x00001000  +\n"
		     "0x00001000  0x00000200  -\n"
		     "0x00001200  0x00000E00  +\n"
		     "0x00002000  0x00006000  *\n"
		     "0x00008000  0x00008000  +\n", RANGES({ 0x1000, 0x200 }, { 0x2000, 0x6000 }));
}

static void status_line_may_lack_the_pass(void **state)
{
	(void)state;
	assert_reads("# Rescue Logfile. Created by GNU ddrescue version 1.19\n0x0 +\n0x0 0x10000 +\n", NULL, 0);
}

static void every_activity_of_ddrescue_is_known(void **state)
{
	(void)state;
	for (const char *activity = "?*/-FG+"; *activity; activity++) {
		char text[64];

		snprintf(text, sizeof(text), "0x100 %c 12\n0x0 0x10000 +\n", *activity);
		assert_reads(text, NULL, 0);
	}
}

static void every_status_but_finished_is_bad(void **state)
{
	(void)state;
	for (const char *status = "?*/-"; *status; status++) {
		char text[128];

		snprintf(text, sizeof(text), STATUS "0 0x200 +\n0x200 0x600 %c\n0x800 0xF800 +\n", *status);
		assert_reads(text, RANGES({ 0x200, 0x600 }));
	}
}

static void bad_blocks_that_touch_are_one_area(void **state)
{
	(void)state;
	assert_reads(STATUS "0 0x200 +\n0x200 0x200 -\n0x400 0x200 /\n0x600 0x200 ?\n0x800 0xF800 +\n",
		     RANGES({ 0x200, 0x600 }));
}

static void numbers_may_be_decimal_hexadecimal_or_octal(void **state)
{
	static const char *const texts[] = {
		STATUS "0 512 +\n512 1024 -\n1536 64000 +\n",
		STATUS "0x0 0x200 +\n0X200 0x400 -\n0x600 0xfA00 +\n",
		STATUS "00 01000 +\n01000 02000 -\n03000 0175000 +\n",
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(texts); i++)
		assert_reads(texts[i], RANGES({ 512, 1024 }));
}

static void pass_is_decimal_even_with_a_leading_zero(void **state)
{
	(void)state;
	assert_reads("0x0 ? 08\n0 0x10000 +\n", NULL, 0);
}

static void comments_and_blank_lines_may_stand_anywhere(void **state)
{
	(void)state;
	assert_reads("\n# \xc3\xa9\xff\n  \t\n   # indented\n0 + 1 # here\n"
		     "#\n0 0x200 - # and\there\n\n0x200 0xFE00 +#\n\n# end",
		     RANGES({ 0, 0x200 }));
}

static void line_ends_of_other_systems_are_blanks(void **state)
{
	(void)state;
	assert_reads("# edited\r\n0 ? 1\r\n0 0x200 -\r\n\r\n0x200 0xFE00 +\r\n", RANGES({ 0, 0x200 }));
}

static void last_line_may_lack_its_newline(void **state)
{
	(void)state;
	assert_reads(STATUS "0 0xFE00 +\n0xFE00 0x200 -", RANGES({ 0xfe00, 0x200 }));
}

static void empty_block_changes_nothing(void **state)
{
	(void)state;
	assert_reads(STATUS "0 0 -\n0 0x200 +\n0x200 0 -\n0x200 0xFE00 +\n", NULL, 0);
}

/* ---- reading what is not there ---- */

static void what_no_block_speaks_of_is_bad(void **state)
{
	(void)state;
	assert_reads(STATUS, RANGES({ 0, SIZE }));
	assert_reads(STATUS "0x200 0xFE00 +\n", RANGES({ 0, 0x200 }));
	assert_reads(STATUS "0 0x200 +\n0x400 0xFC00 +\n", RANGES({ 0x200, 0x200 }));
	assert_reads(STATUS "0 0x200 +\n", RANGES({ 0x200, SIZE - 0x200 }));
}

static void blocks_beyond_the_device_do_not_matter(void **state)
{
	(void)state;
	assert_reads(STATUS "0 0x10000 +\n0x10000 0x200 -\n", NULL, 0);
	assert_reads(STATUS "0 0xFE00 +\n0xFE00 0x7FFFFFFFFFFF0000 ?\n", RANGES({ 0xfe00, 0x200 }));
	assert_reads(STATUS "0 0xFE00 +\n0x20000 0xFFFFFFFFFFFDFFFF -\n", RANGES({ 0xfe00, 0x200 }));
}

static void covered_is_where_the_last_block_ends(void **state)
{
	static const struct { const char *text; uint64_t covered; } cases[] = {
		{ STATUS, 0 },
		{ STATUS "0 0x200 +\n", 0x200 },
		{ STATUS "0 0x200 +\n0x400 0x200 -\n", 0x600 },
		{ STATUS "0 0x20000 +\n", 0x20000 },
		{ STATUS "0 0xFFFFFFFFFFFFFFFF +\n", UINT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_map map;

		assert_int_equal(load_bytes(&map, cases[i].text, strlen(cases[i].text), NULL), 0);
		assert_int_equal(map.covered, cases[i].covered);
		wb_map_release(&map);
	}
}

/* A rescue whose map was cut short may lose good areas, and never gains one. */
static void map_cut_anywhere_makes_nothing_good(void **state)
{
	static const char text[] = "# a map\n0x1000 - 1\n0x0 0x1000 +\n0x1000 0x200 -\n0x1200 0xEE00 +\n";
	unsigned read = 0;

	(void)state;
	for (size_t size = 0; size < strlen(text); size++) {
		struct wb_map map;
		int ret = load_bytes(&map, text, size, NULL);

		assert_true(ret == 0 || ret == -WB_EINVAL);
		if (ret)
			continue;
		assert_int_equal(map.count, 1);
		assert_true(map.bad->offset <= 0x1000);
		assert_true(map.bad->offset + map.bad->length >= 0x1200);
		wb_map_release(&map);
		read++;
	}
	assert_true(read >= 6); /* at the ends of lines, with and without newline */
}

static void map_of_very_many_blocks_is_read(void **state)
{
	const unsigned pairs = 150000;
	int fd = memfd_create("map", 0);
	FILE *file = fdopen(fd, "w");
	struct wb_map map;

	(void)state;
	assert_non_null(file);
	fputs(STATUS, file);
	for (unsigned i = 0; i < pairs; i++)
		fprintf(file, "0x%08X 0x200 +\n0x%08X 0x200 -\n", i * 1024, i * 1024 + 512);
	assert_int_equal(fflush(file), 0);
	assert_int_equal(load_fd(&map, fd, (uint64_t)pairs * 1024, NULL), 0);
	assert_int_equal(map.count, pairs);
	for (unsigned i = 0; i < pairs; i++) {
		assert_int_equal(map.bad[i].offset, (uint64_t)i * 1024 + 512);
		assert_int_equal(map.bad[i].length, 512);
	}
	wb_map_release(&map);
	fclose(file);
}

/* ---- refusing ---- */

static void what_ddrescue_never_writes_is_refused_with_its_line(void **state)
{
	static const struct { const char *text; unsigned line; const char *because; } cases[] = {
		/* the status line */
		{ "0 0x10000 +\n", 1, "byte 0x30 is no status" },
		{ "# c\n\n? 1\n0 0x10000 +\n", 3, "position in the status line is missing" },
		{ "0x0\n0 0x10000 +\n", 1, "status is missing" },
		{ "0x0 X 1\n", 1, "byte 0x58 is no status" },
		{ "0x0 ? 0\n", 1, "pass is 0" },
		{ "0x0 ? 0x1\n", 1, "pass is missing or no number" },
		{ "0x0 ? -1\n", 1, "pass is missing or no number" },
		{ "0x0 ? 1 1\n", 1, "follows the last field" },
		{ "0x10000000000000000 ? 1\n", 1, "over 64 bits" },
		{ "08 ?\n", 1, "no number" },
		{ "hello world\n", 1, "no number" },
		/* the fields of a block */
		{ STATUS "0 0x10000 X\n", 2, "byte 0x58 is no status" },
		{ STATUS "0 0x10000 F\n", 2, "byte 0x46 is no status" },
		{ STATUS "0 0x10000 G\n", 2, "byte 0x47 is no status" },
		{ STATUS "0 0x10000 \xe2\x9c\x93\n", 2, "byte 0xe2 is no status" },
		{ STATUS "0 0x10000\n", 2, "status is missing" },
		{ STATUS "0 0x10000 # +\n", 2, "status is missing" },
		{ STATUS "0 +\n", 2, "size is missing" },
		{ STATUS "+\n", 2, "position is missing" },
		{ STATUS "0 0x10000 ++\n", 2, "follows the last field" },
		{ STATUS "0 0x10000 + +\n", 2, "follows the last field" },
		{ STATUS "0 0x10000 + 0x10000\n", 2, "follows the last field" },
		{ STATUS "-0 0x10000 +\n", 2, "position is missing or no number" },
		{ STATUS "0 +16 +\n", 2, "size is missing or no number" },
		{ STATUS "0 1Ki +\n", 2, "size is missing or no number" },
		{ STATUS "0 10L +\n", 2, "size is missing or no number" },
		{ STATUS "0 0x +\n", 2, "size is missing or no number" },
		{ STATUS "0 0xG +\n", 2, "size is missing or no number" },
		{ STATUS "0 09 +\n", 2, "size is missing or no number" },
		{ STATUS "0 FF +\n", 2, "size is missing or no number" },
		{ STATUS "0 1.5 +\n", 2, "byte 0x2e is no status" },
		{ STATUS "0 0x10000000000000000 +\n", 2, "size has over 64 bits" },
		{ STATUS "18446744073709551616 1 +\n", 2, "position has over 64 bits" },
		{ STATUS "0 1 +\n1 0xFFFFFFFFFFFFFFFF +\n", 3, "add up to over 64 bits" },
		/* the order of blocks */
		{ STATUS "0 0x200 +\n0x1FF 0x200 +\n", 3, "position 511 lies before the end of the block above, 512" },
		{ STATUS "0x200 0x200 +\n0 0x200 +\n", 3, "position 0 lies before the end of the block above, 1024" },
		{ STATUS "0 0x200 +\n# c\n0 0x200 +\n", 4, "position 0 lies before the end of the block above, 512" },
		{ STATUS "0 0x20000 +\n0x10000 0x200 -\n", 3, "lies before the end of the block above" },
		{ STATUS "0x200 0 +\n0x100 0x200 +\n", 3, "lies before the end of the block above" },
		/* two maps in one file */
		{ STATUS "0 0x200 +\n" STATUS "0x200 0x200 +\n", 3, "size is missing or no number" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++)
		assert_refused_at(cases[i].text, strlen(cases[i].text), cases[i].line, cases[i].because);
}

static void file_without_status_line_is_no_map(void **state)
{
	static const char *const texts[] = { "", "\n", "# nothing\n# here\n" };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(texts); i++) {
		struct wb_map map;
		struct wb_error err = { 0 };

		assert_int_equal(load_bytes(&map, texts[i], strlen(texts[i]), &err), -WB_EINVAL);
		assert_non_null(strstr(err.text, "no status line"));
		assert_null(map.bad);
	}
}

static void zero_byte_is_no_text(void **state)
{
	static const char in_comment[] = "# a\0b\n" STATUS, in_block[] = STATUS "0 0x200 +\0\n", last[] = STATUS "\0";

	(void)state;
	assert_refused_at(in_comment, sizeof(in_comment) - 1, 1, "zero byte");
	assert_refused_at(in_block, sizeof(in_block) - 1, 2, "zero byte");
	assert_refused_at(last, sizeof(last) - 1, 2, "zero byte");
}

static void rubbish_is_refused_whatever_it_is(void **state)
{
	uint64_t seed = 1;
	char bytes[4096];

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		uint32_t size = draw_below(&seed, sizeof(bytes)) + 1;
		struct wb_map map;

		for (uint32_t i = 0; i < size; i++)
			bytes[i] = (char)draw(&seed);
		bytes[0] |= (char)0x80; /* no comment */
		assert_int_equal(load_bytes(&map, bytes, size, NULL), -WB_EINVAL);
	}
}

static void absurdly_long_line_is_refused(void **state)
{
	static char bytes[1u << 20];

	(void)state;
	memcpy(bytes, STATUS, strlen(STATUS));
	memset(bytes + strlen(STATUS), '#', sizeof(bytes) - strlen(STATUS));
	assert_refused_at(bytes, sizeof(bytes), 2, "longer than");
	memset(bytes + strlen(STATUS), '0', sizeof(bytes) - strlen(STATUS));
	assert_refused_at(bytes, sizeof(bytes), 2, "longer than");
}

static void command_line_of_many_paths_is_not_absurd(void **state)
{
	static char bytes[20000 + 64];

	(void)state;
	memset(bytes, '#', 20000);
	strcpy(bytes + 20000, "\n" STATUS "0 0x10000 +\n");
	assert_reads(bytes, NULL, 0);
}

static void missing_map_cannot_be_opened(void **state)
{
	struct wb_map map;
	struct wb_error err = { 0 };

	(void)state;
	assert_int_equal(wb_map_load(&map, "no-such-file/map", SIZE, &err), -WB_EOPEN);
	assert_int_equal(err.sys, ENOENT);
	assert_null(map.bad);
}

static void directory_cannot_be_read_as_a_map(void **state)
{
	struct wb_map map;
	struct wb_error err = { 0 };

	(void)state;
	assert_int_equal(wb_map_load(&map, ".", SIZE, &err), -WB_EIO);
	assert_int_equal(err.sys, EISDIR);
	assert_null(map.bad);
}

static void failures_need_no_error_struct(void **state)
{
	struct wb_map map;

	(void)state;
	assert_int_equal(load_bytes(&map, "rubbish\n", 8, NULL), -WB_EINVAL);
	assert_int_equal(wb_map_load(&map, "no-such-file/map", SIZE, NULL), -WB_EOPEN);
}

/* ---- the list ---- */

static void ascending_additions_are_in_order_at_once(void **state)
{
	struct wb_map map = { 0 };

	(void)state;
	assert_int_equal(wb_map_add(&map, 512, 512, NULL), 0);
	assert_int_equal(wb_map_add(&map, 1024, 512, NULL), 0); /* touches */
	assert_int_equal(wb_map_add(&map, 1025, 10, NULL), 0);  /* lies inside */
	assert_int_equal(wb_map_add(&map, 1500, 548, NULL), 0); /* overlaps */
	assert_int_equal(wb_map_add(&map, 2049, 1, NULL), 0);   /* a byte remains between */
	assert_int_equal(map.count, 2);
	assert_int_equal(map.bad[0].offset, 512);
	assert_int_equal(map.bad[0].length, 1536);
	assert_int_equal(map.bad[1].offset, 2049);
	for (uint64_t byte = 0; byte < 2100; byte++)
		assert_int_equal(wb_map_covers(&map, byte), (byte >= 512 && byte < 2048) || byte == 2049);
	assert_false(wb_map_covers(&map, UINT64_MAX));
	wb_map_release(&map);
	assert_false(wb_map_covers(&map, 512));
}

static void nothing_added_is_nothing(void **state)
{
	struct wb_map map = { 0 };

	(void)state;
	assert_int_equal(wb_map_add(&map, 512, 0, NULL), 0);
	wb_map_settle(&map);
	assert_int_equal(map.count, 0);
	wb_map_release(&map);
}

static void range_beyond_64_bits_is_refused_and_changes_nothing(void **state)
{
	struct wb_map map = { 0 };
	struct wb_error err = { 0 };

	(void)state;
	assert_int_equal(wb_map_add(&map, UINT64_MAX - 1, 1, NULL), 0);
	assert_int_equal(wb_map_add(&map, UINT64_MAX - 1, 2, &err), -WB_EINVAL);
	assert_int_equal(err.offset, UINT64_MAX - 1);
	assert_int_equal(wb_map_add(&map, 1, UINT64_MAX, &err), -WB_EINVAL);
	assert_int_equal(map.count, 1);
	assert_int_equal(map.bad[0].length, 1);
	wb_map_release(&map);
}

/* The list says the same as a picture with one byte for every byte of the device. */
static void assert_pictured(const struct wb_map *map, const uint8_t *picture, size_t size)
{
	unsigned next = 0;

	for (size_t i = 0; i < size;) {
		size_t begin = i;

		while (i < size && picture[i])
			i++;
		if (i > begin) {
			assert_true(next < map->count);
			assert_int_equal(map->bad[next].offset, begin);
			assert_int_equal(map->bad[next++].length, i - begin);
		}
		while (i < size && !picture[i])
			i++;
	}
	assert_int_equal(next, map->count);
}

static void additions_in_any_order_make_the_same_list(void **state)
{
	uint64_t seed = 7;

	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		uint8_t picture[4096] = { 0 };
		struct wb_map map = { 0 };
		uint32_t n = draw_below(&seed, 600), longest = draw_below(&seed, 12) + 1;

		for (uint32_t i = 0; i < n; i++) {
			uint32_t offset = draw_below(&seed, sizeof(picture));
			uint32_t length = (uint32_t)wb_min(draw_below(&seed, longest + 1), sizeof(picture) - offset);

			assert_int_equal(wb_map_add(&map, offset, length, NULL), 0);
			memset(picture + offset, 1, length);
			if (draw_below(&seed, 100) == 0)
				wb_map_settle(&map);
		}
		wb_map_settle(&map);
		assert_pictured(&map, picture, sizeof(picture));
		wb_map_settle(&map); /* the second time too */
		assert_pictured(&map, picture, sizeof(picture));
		wb_map_release(&map);
	}
}

static void descending_additions_merge_when_settled(void **state)
{
	struct wb_map map = { 0 };

	(void)state;
	for (unsigned i = 5000; i-- > 0;)
		assert_int_equal(wb_map_add(&map, (uint64_t)i * 512, 512, NULL), 0);
	wb_map_settle(&map);
	assert_int_equal(map.count, 1);
	assert_int_equal(map.bad[0].offset, 0);
	assert_int_equal(map.bad[0].length, 5000 * 512);
	wb_map_release(&map);
}

static void additions_that_repeat_need_no_more_memory(void **state)
{
	struct wb_map map = { 0 };
	uint64_t seed = 3;

	(void)state;
	for (unsigned i = 0; i < 200000; i++)
		assert_int_equal(wb_map_add(&map, (uint64_t)draw_below(&seed, 100) * 1024, 512, NULL), 0);
	assert_true(map.capacity <= 256);
	wb_map_settle(&map);
	assert_int_equal(map.count, 100);
	wb_map_release(&map);
}

static void released_map_is_empty_and_can_be_used_again(void **state)
{
	struct wb_map map = { 0 };

	(void)state;
	wb_map_release(&map);
	assert_int_equal(wb_map_add(&map, 512, 512, NULL), 0);
	wb_map_release(&map);
	wb_map_release(&map);
	assert_int_equal(map.count, 0);
	assert_int_equal(wb_map_add(&map, 0, 512, NULL), 0);
	assert_int_equal(map.count, 1);
	wb_map_release(&map);
}

/* ---- writing ---- */

static void assert_writes(const struct wb_range *bad, size_t count, uint64_t device_size, const char *blocks)
{
	static const char head[] = "# Mapfile. Created by wb-utils version " WB_VERSION "\n"
				   "# current_pos  current_status  current_pass\n"
				   "0x00000000     ?               1\n"
				   "#      pos        size  status\n";
	char bytes[4096] = { 0 };
	int fd = memfd_create("map", 0);

	assert_int_equal(wb_map_write(fd, bad, (unsigned)count, device_size, NULL), 0);
	assert_true(pread(fd, bytes, sizeof(bytes) - 1, 0) > 0);
	assert_memory_equal(bytes, head, strlen(head));
	assert_string_equal(bytes + strlen(head), blocks);
	close(fd);
}

static void blocks_cover_the_device_from_end_to_end(void **state)
{
	(void)state;
	assert_writes(NULL, 0, SIZE, "0x00000000  0x00010000  +\n");
	assert_writes(NULL, 0, 0, "");
	assert_writes(RANGES({ 0, SIZE }), SIZE, "0x00000000  0x00010000  -\n");
	assert_writes(RANGES({ 0, 512 }), SIZE, "0x00000000  0x00000200  -\n0x00000200  0x0000FE00  +\n");
	assert_writes(RANGES({ 0xfe00, 512 }), SIZE, "0x00000000  0x0000FE00  +\n0x0000FE00  0x00000200  -\n");
	assert_writes(RANGES({ UINT64_C(1) << 40, 512 }), UINT64_C(1) << 41,
		      "0x00000000  0x10000000000  +\n0x10000000000  0x00000200  -\n0x10000000200  0xFFFFFFFE00  +\n");
}

static void ranges_are_written_in_order_and_merged(void **state)
{
	(void)state;
	assert_writes(RANGES({ 0x800, 512 }, { 0x200, 512 }, { 0x100, 0 }, { 0x300, 512 }, { 0x500, 1 }), SIZE,
		      "0x00000000  0x00000200  +\n0x00000200  0x00000301  -\n0x00000501  0x000002FF  +\n"
		      "0x00000800  0x00000200  -\n0x00000A00  0x0000F600  +\n");
}

static void what_was_written_is_read_back(void **state)
{
	uint64_t seed = 11;

	(void)state;
	for (unsigned round = 0; round < 50; round++) {
		struct wb_map before = { 0 }, after;
		uint64_t size = draw(&seed) >> 16;
		int fd = memfd_create("map", 0);

		for (uint32_t n = draw_below(&seed, 2000); n; n--) {
			uint64_t offset = draw(&seed) % size;

			assert_int_equal(wb_map_add(&before, offset, draw(&seed) % wb_min(size - offset, 1u << 30), NULL), 0);
		}
		wb_map_settle(&before);
		assert_int_equal(wb_map_write(fd, before.bad, before.count, size, NULL), 0);
		assert_int_equal(load_fd(&after, fd, size, NULL), 0);
		assert_int_equal(after.covered, size);
		assert_int_equal(after.count, before.count);
		if (before.count)
			assert_memory_equal(after.bad, before.bad, before.count * sizeof(*before.bad));
		wb_map_release(&before);
		wb_map_release(&after);
		close(fd);
	}
}

static void range_beyond_the_device_is_refused_before_writing(void **state)
{
	static const struct wb_range bad[] = { { SIZE, 1 }, { SIZE - 1, 2 }, { UINT64_MAX, 1 }, { 1, UINT64_MAX } };
	int fd = memfd_create("map", 0);

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		struct wb_error err = { 0 };

		assert_int_equal(wb_map_write(fd, &bad[i], 1, SIZE, &err), -WB_EINVAL);
		assert_int_equal(err.offset, bad[i].offset);
		assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	}
	close(fd);
}

static void failing_write_is_reported(void **state)
{
	int full = open("/dev/full", O_WRONLY), readable = open("/dev/full", O_RDONLY);
	struct wb_error err = { 0 };

	(void)state;
	assert_true(full >= 0 && readable >= 0);
	assert_int_equal(wb_map_write(full, NULL, 0, SIZE, &err), -WB_EIO);
	assert_int_equal(err.sys, ENOSPC);
	assert_int_equal(wb_map_write(readable, NULL, 0, SIZE, &err), -WB_EIO);
	assert_int_equal(err.sys, EBADF);
	close(full);
	close(readable);
}

static struct wb_map many(unsigned count)
{
	struct wb_map map = { 0 };

	for (unsigned i = 0; i < count; i++)
		assert_int_equal(wb_map_add(&map, (uint64_t)i * 1024, 512, NULL), 0);
	return map;
}

static void write_that_ends_early_is_reported(void **state)
{
	static const rlim_t limits[] = { 1, 100, 8192, 12345, 100000 };
	struct wb_map map = many(5000);
	struct rlimit before;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < LENGTH_OF(limits); i++) {
		const struct rlimit limit = { limits[i], before.rlim_max };
		struct wb_error err = { 0 };
		int ret, fd = memfd_create("map", 0);

		setrlimit(RLIMIT_FSIZE, &limit);
		ret = wb_map_write(fd, map.bad, map.count, 5000 * 1024, &err);
		setrlimit(RLIMIT_FSIZE, &before);
		assert_int_equal(ret, -WB_EIO);
		assert_int_equal(err.sys, EFBIG);
		close(fd);
	}
	signal(SIGXFSZ, SIG_DFL);
	wb_map_release(&map);
}

static void wake_up(int number)
{
	(void)number;
}

static void interrupt_every_millisecond(bool on)
{
	const struct sigaction action = { .sa_handler = on ? wake_up : SIG_DFL }; /* calls are not restarted */
	const struct itimerval timer = { { 0, on ? 1000 : 0 }, { 0, on ? 1000 : 0 } };

	if (on)
		sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	if (!on)
		sigaction(SIGALRM, &action, NULL);
}

static void sleep_milliseconds(unsigned n)
{
	while (n--)
		usleep(1000);
}

/* A map goes through a pipe; one side is interrupted all the time, and waits for the other, which is late. */
static void assert_passes_through_a_pipe(bool writer_is_disturbed)
{
	struct wb_map map = many(5000), read_back;
	int ends[2], status, ret;
	pid_t writer;

	assert_int_equal(pipe(ends), 0);
	assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) > 0); /* less than the writer writes at once */
	writer = fork();
	assert_true(writer >= 0);
	if (!writer) {
		close(ends[0]);
		if (writer_is_disturbed)
			interrupt_every_millisecond(true);
		else
			sleep_milliseconds(30);
		_exit(wb_map_write(ends[1], map.bad, map.count, 5000 * 1024, NULL) != 0);
	}
	close(ends[1]);
	if (writer_is_disturbed)
		sleep_milliseconds(30);
	else
		interrupt_every_millisecond(true);
	ret = load_fd(&read_back, ends[0], 5000 * 1024, NULL);
	interrupt_every_millisecond(false);
	assert_int_equal(ret, 0);
	assert_int_equal(read_back.count, map.count);
	assert_memory_equal(read_back.bad, map.bad, map.count * sizeof(*map.bad));
	close(ends[0]);
	assert_int_equal(waitpid(writer, &status, 0), writer);
	assert_int_equal(status, 0);
	wb_map_release(&map);
	wb_map_release(&read_back);
}

static void signals_do_not_disturb_the_reader(void **state)
{
	(void)state;
	assert_passes_through_a_pipe(false);
}

static void signals_do_not_disturb_the_writer(void **state)
{
	(void)state;
	assert_passes_through_a_pipe(true);
}

/* ---- with ddrescue's own tool ---- */

/* Runs it with input as standard input; a file with its output, or -1 when it is not installed. */
static int run_ddrescuelog(int input, const char *const *arguments)
{
	int output = memfd_create("output", 0), status;
	pid_t child = fork();

	assert_true(output >= 0 && child >= 0);
	if (!child) {
		dup2(input, 0);
		dup2(output, 1);
		lseek(0, 0, SEEK_SET);
		execvp("ddrescuelog", (char *const *)(uintptr_t)arguments);
		_exit(127);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
		close(output);
		return -1;
	}
	assert_int_equal(status, 0);
	lseek(output, 0, SEEK_SET);
	return output;
}

static void ddrescuelog_finds_the_same_bad_sectors(void **state)
{
	static const char *const list_bad[] = { "ddrescuelog", "--list-blocks=-", "--block-size=512", "-", NULL };
	static const char *const list_good[] = { "ddrescuelog", "--list-blocks=+", "--block-size=512", "-", NULL };
	const unsigned sectors = 100000;
	uint8_t *picture = calloc(1, sectors);
	struct wb_map map = { 0 };
	uint64_t seed = 5;
	int fd = memfd_create("map", 0);

	(void)state;
	for (unsigned i = 0; i < 9000; i++) {
		uint32_t sector = draw_below(&seed, sectors - 2);

		assert_int_equal(wb_map_add(&map, sector * UINT64_C(512), 1024, NULL), 0);
		picture[sector] = picture[sector + 1] = 1;
	}
	assert_int_equal(wb_map_write(fd, map.bad, map.count, sectors * UINT64_C(512), NULL), 0);
	wb_map_release(&map);
	for (unsigned is_bad = 0; is_bad < 2; is_bad++) {
		int output = run_ddrescuelog(fd, is_bad ? list_bad : list_good);
		unsigned long long listed;
		FILE *list;

		if (output < 0) {
			free(picture);
			close(fd);
			skip();
		}
		list = fdopen(output, "r");
		for (unsigned sector = 0; sector < sectors; sector++)
			if (picture[sector] == is_bad) {
				assert_int_equal(fscanf(list, "%lli", (long long *)&listed), 1);
				assert_int_equal(listed, sector);
			}
		assert_int_equal(fscanf(list, "%lli", (long long *)&listed), EOF);
		fclose(list);
	}
	free(picture);
	close(fd);
}

static void map_made_by_ddrescuelog_is_read(void **state)
{
	static const char *const create[] = { "ddrescuelog", "--create-mapfile=-+", "--block-size=512", "--size=0x10000",
					      "-", NULL };
	static const char sectors[] = "2\n3\n100\n127\n";
	int input = make_file(sectors, strlen(sectors)), output = run_ddrescuelog(input, create);
	struct wb_map map;

	(void)state;
	close(input);
	if (output < 0)
		skip();
	assert_int_equal(load_fd(&map, output, SIZE, NULL), 0);
	assert_int_equal(map.count, 3);
	assert_int_equal(map.bad[0].offset, 2 * 512);
	assert_int_equal(map.bad[0].length, 2 * 512);
	assert_int_equal(map.bad[1].offset, 100 * 512);
	assert_int_equal(map.bad[2].offset, 127 * 512);
	assert_int_equal(map.bad[2].length, 512);
	wb_map_release(&map);
	close(output);
}

/* ---- a device that fails as the map says ---- */

static void device_fails_exactly_where_one_of_many_ranges_is_touched(void **state)
{
	static uint8_t memory[SIZE], picture[SIZE], buffer[SIZE];
	struct wb_fault fault = { .cut_after = UINT64_MAX };
	struct wb_map map = { 0 };
	struct wb_dev *inner, *dev;
	uint64_t seed = 9;

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		uint32_t offset = draw_below(&seed, SIZE - 4), length = draw_below(&seed, 5);

		assert_int_equal(wb_map_add(&map, offset, length, NULL), 0);
		memset(picture + offset, 1, length);
	}
	wb_map_settle(&map);
	assert_true(map.count > 3000);
	fault.bad = map.bad;
	fault.bad_count = map.count;
	assert_int_equal(wb_dev_memory(&inner, memory, SIZE, NULL), 0);
	assert_int_equal(wb_dev_fault(&dev, inner, &fault, NULL), 0);
	for (uint32_t offset = 0; offset < SIZE; offset++) {
		uint32_t length = (uint32_t)wb_min(draw_below(&seed, 12) + 1, SIZE - offset);
		bool touched = memchr(picture + offset, 1, length);

		assert_int_equal(wb_dev_read(dev, offset, buffer, length, NULL), touched ? -WB_EIO : 0);
	}
	wb_dev_close(dev);
	wb_map_release(&map);
}

static void device_takes_no_ranges_out_of_order(void **state)
{
	static const struct wb_range cases[][2] = {
		{ { 1024, 512 }, { 0, 512 } }, { { 0, 513 }, { 512, 512 } }, { { 512, 512 }, { 512, 512 } },
		{ { 512, UINT64_MAX }, { 1024, 512 } },
	};
	static uint8_t memory[4096];
	struct wb_dev *inner, *dev;

	(void)state;
	assert_int_equal(wb_dev_memory(&inner, memory, sizeof(memory), NULL), 0);
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_fault fault = { .bad = cases[i], .bad_count = 2, .cut_after = UINT64_MAX };

		assert_int_equal(wb_dev_fault(&dev, inner, &fault, NULL), -WB_EINVAL);
	}
	wb_dev_close(inner);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(map_of_a_running_rescue_is_read),
		cmocka_unit_test(status_line_may_lack_the_pass),
		cmocka_unit_test(every_activity_of_ddrescue_is_known),
		cmocka_unit_test(every_status_but_finished_is_bad),
		cmocka_unit_test(bad_blocks_that_touch_are_one_area),
		cmocka_unit_test(numbers_may_be_decimal_hexadecimal_or_octal),
		cmocka_unit_test(pass_is_decimal_even_with_a_leading_zero),
		cmocka_unit_test(comments_and_blank_lines_may_stand_anywhere),
		cmocka_unit_test(line_ends_of_other_systems_are_blanks),
		cmocka_unit_test(last_line_may_lack_its_newline),
		cmocka_unit_test(empty_block_changes_nothing),
		cmocka_unit_test(what_no_block_speaks_of_is_bad),
		cmocka_unit_test(blocks_beyond_the_device_do_not_matter),
		cmocka_unit_test(covered_is_where_the_last_block_ends),
		cmocka_unit_test(map_cut_anywhere_makes_nothing_good),
		cmocka_unit_test(map_of_very_many_blocks_is_read),
		cmocka_unit_test(what_ddrescue_never_writes_is_refused_with_its_line),
		cmocka_unit_test(file_without_status_line_is_no_map),
		cmocka_unit_test(zero_byte_is_no_text),
		cmocka_unit_test(rubbish_is_refused_whatever_it_is),
		cmocka_unit_test(absurdly_long_line_is_refused),
		cmocka_unit_test(command_line_of_many_paths_is_not_absurd),
		cmocka_unit_test(missing_map_cannot_be_opened),
		cmocka_unit_test(directory_cannot_be_read_as_a_map),
		cmocka_unit_test(failures_need_no_error_struct),
		cmocka_unit_test(ascending_additions_are_in_order_at_once),
		cmocka_unit_test(nothing_added_is_nothing),
		cmocka_unit_test(range_beyond_64_bits_is_refused_and_changes_nothing),
		cmocka_unit_test(additions_in_any_order_make_the_same_list),
		cmocka_unit_test(descending_additions_merge_when_settled),
		cmocka_unit_test(additions_that_repeat_need_no_more_memory),
		cmocka_unit_test(released_map_is_empty_and_can_be_used_again),
		cmocka_unit_test(blocks_cover_the_device_from_end_to_end),
		cmocka_unit_test(ranges_are_written_in_order_and_merged),
		cmocka_unit_test(what_was_written_is_read_back),
		cmocka_unit_test(range_beyond_the_device_is_refused_before_writing),
		cmocka_unit_test(failing_write_is_reported),
		cmocka_unit_test(write_that_ends_early_is_reported),
		cmocka_unit_test(signals_do_not_disturb_the_reader),
		cmocka_unit_test(signals_do_not_disturb_the_writer),
		cmocka_unit_test(ddrescuelog_finds_the_same_bad_sectors),
		cmocka_unit_test(map_made_by_ddrescuelog_is_read),
		cmocka_unit_test(device_fails_exactly_where_one_of_many_ranges_is_touched),
		cmocka_unit_test(device_takes_no_ranges_out_of_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
