/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * GNU ddrescue's mapfiles, read and written, and the list of ranges between the two. The idea: only '+'
 * is trusted; every other status, and silence, counts as not rescued. Format: the chapter "Mapfile
 * structure" of ddrescue's manual.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "error.h"

/* ---- a list of ranges ---- */

static uint64_t end_of(const struct wb_range *range)
{
	return range->offset + range->length;
}

static int by_offset(const void *a, const void *b)
{
	const struct wb_range *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

void wb_map_settle(struct wb_map *map)
{
	unsigned kept = 0;

	if (!map->unsettled)
		return;
	qsort(map->bad, map->count, sizeof(*map->bad), by_offset);
	for (unsigned i = 1; i < map->count; i++) {
		struct wb_range *last = &map->bad[kept];

		if (map->bad[i].offset > end_of(last))
			map->bad[++kept] = map->bad[i];
		else
			last->length = wb_max(end_of(last), end_of(&map->bad[i])) - last->offset;
	}
	map->count = kept + 1;
	map->unsettled = false;
}

static uint64_t last_byte(const void *ranges, size_t i)
{
	return end_of(&((const struct wb_range *)ranges)[i]) - 1;
}

bool wb_map_covers(const struct wb_map *map, uint64_t offset)
{
	size_t at = wb_first_from(map->bad, map->count, last_byte, offset);

	return at < map->count && map->bad[at].offset <= offset;
}

/* Settling comes first, and the array grows unless that freed half of it: additions in any order cost a sort of
 * the list for every so many of them as it holds. */
static int make_room(struct wb_map *map, struct wb_error *err)
{
	unsigned capacity = map->capacity ? map->capacity * 2 : 64;
	struct wb_range *bad;

	if (map->count < map->capacity)
		return 0;
	wb_map_settle(map);
	if (map->count < map->capacity - map->capacity / 2)
		return 0;
	if (capacity < map->capacity)
		return wb_no_memory(err, "a map");
	bad = reallocarray(map->bad, capacity, sizeof(*bad));
	if (!bad)
		return wb_no_memory(err, "a map");
	map->bad = bad;
	map->capacity = capacity;
	return 0;
}

int wb_map_add(struct wb_map *map, uint64_t offset, uint64_t length, struct wb_error *err)
{
	struct wb_range *last = map->count ? &map->bad[map->count - 1] : NULL;
	int failed;

	if (length > UINT64_MAX - offset)
		return wb_fail(err, WB_EINVAL, 0, offset, "a range of %" PRIu64 " bytes at byte %" PRIu64
			       " ends beyond every device", length, offset);
	if (!length)
		return 0;
	if (last && offset >= last->offset && offset <= end_of(last)) {
		last->length = wb_max(end_of(last), offset + length) - last->offset;
		return 0;
	}
	failed = make_room(map, err);
	if (failed)
		return failed;
	map->unsettled |= map->count && offset <= end_of(&map->bad[map->count - 1]);
	map->bad[map->count++] = (struct wb_range){ offset, length };
	return 0;
}

void wb_map_release(struct wb_map *map)
{
	free(map->bad);
	*map = (struct wb_map){ 0 };
}

/* ---- reading ---- */

#define LINE_BYTES 32768u /* ddrescue's longest line is the comment with its command line: a few paths */

/* A text, line by line. */
struct text {
	int fd;
	bool ended;
	uint64_t number;   /* of the line last taken */
	size_t begin, end; /* bytes not taken yet */
	char bytes[LINE_BYTES + 1];
};

static int refill(struct text *text, struct wb_error *err)
{
	ssize_t n;

	memmove(text->bytes, text->bytes + text->begin, text->end - text->begin);
	text->end -= text->begin;
	text->begin = 0;
	if (text->end == LINE_BYTES)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET,
			       "map line %" PRIu64 ": longer than the %u bytes a mapfile may need",
			       text->number + 1, LINE_BYTES);
	do {
		n = read(text->fd, text->bytes + text->end, LINE_BYTES - text->end);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return wb_fail(err, WB_EIO, errno, WB_NO_OFFSET, "reading the map after line %" PRIu64 ": %s",
			       text->number, strerror(errno));
	text->ended = !n;
	text->end += (size_t)n;
	return 0;
}

/* 1: *line is the next one; 0: there are no more; negative: failed. */
static int take_line(struct text *text, const char **line, struct wb_error *err)
{
	char *begin, *stop;

	for (;;) {
		begin = text->bytes + text->begin;
		stop = memchr(begin, '\n', text->end - text->begin);
		if (stop || text->ended)
			break;
		int failed = refill(text, err);

		if (failed)
			return failed;
	}
	if (!stop && text->begin == text->end)
		return 0;
	if (!stop)
		stop = text->bytes + text->end++; /* the last line lacks its newline */
	*stop = '\0';
	text->number++;
	text->begin = (size_t)(stop - text->bytes) + 1;
	*line = begin;
	if (strlen(begin) != (size_t)(stop - begin))
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "map line %" PRIu64 ": holds a zero byte, this is no text",
			       text->number);
	return 1;
}

static const char *skip_blanks(const char *at)
{
	return at + strspn(at, " \t\r\v\f");
}

static bool at_end(const char *at)
{
	return !*at || *at == '#';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* A number as C writes it when base is 0: no sign, no suffix. */
static int take_number(const struct text *text, const char **at, int base, const char *what, uint64_t *value,
		       struct wb_error *err)
{
	const char *begin = skip_blanks(*at);
	char *end;

	errno = 0;
	*value = strtoull(begin, &end, base);
	if (errno == ERANGE)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "map line %" PRIu64 ": the %s has over 64 bits",
			       text->number, what);
	if (!is_digit(*begin) || is_word(*end))
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "map line %" PRIu64 ": the %s is missing or no number",
			       text->number, what);
	*at = end;
	return 0;
}

static int take_status(const struct text *text, const char **at, const char *known, char *status,
		       struct wb_error *err)
{
	const char *begin = skip_blanks(*at);

	if (at_end(begin))
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "map line %" PRIu64 ": the status is missing",
			       text->number);
	if (!strchr(known, *begin))
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET,
			       "map line %" PRIu64 ": byte 0x%02x is no status, one of %s", text->number,
			       (unsigned char)*begin, known);
	*status = *begin;
	*at = begin + 1;
	return 0;
}

static int take_end(const struct text *text, const char *at, struct wb_error *err)
{
	if (at_end(skip_blanks(at)))
		return 0;
	return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "map line %" PRIu64 ": something follows the last field",
		       text->number);
}

/* What ddrescue was doing: nothing a reader of blocks needs, but a file without it is no mapfile. The pass
 * is missing before ddrescue 1.22. */
static int read_status_line(const struct text *text, const char *at, struct wb_error *err)
{
	uint64_t position, pass = 1;
	char status;
	int failed = take_number(text, &at, 0, "position in the status line", &position, err);

	if (!failed)
		failed = take_status(text, &at, "?*/-FG+", &status, err);
	if (!failed && !at_end(skip_blanks(at)))
		failed = take_number(text, &at, 10, "pass", &pass, err);
	if (!failed && !pass)
		failed = wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "map line %" PRIu64 ": the pass is 0, the first is 1",
				 text->number);
	return failed ? failed : take_end(text, at, err);
}

struct block {
	uint64_t position, size;
	char status;
};

static int read_block(const struct text *text, const char *at, struct block *block, struct wb_error *err)
{
	int failed = take_number(text, &at, 0, "position", &block->position, err);

	if (!failed)
		failed = take_number(text, &at, 0, "size", &block->size, err);
	if (!failed)
		failed = take_status(text, &at, "?*/-+", &block->status, err);
	if (!failed)
		failed = take_end(text, at, err);
	if (!failed && block->size > UINT64_MAX - block->position)
		failed = wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET,
				 "map line %" PRIu64 ": position and size add up to over 64 bits", text->number);
	return failed;
}

static int add_inside(struct wb_map *map, uint64_t begin, uint64_t end, uint64_t device_size, struct wb_error *err)
{
	end = wb_min(end, device_size);
	return begin < end ? wb_map_add(map, begin, end - begin, err) : 0;
}

/* Blocks come in ascending order, so the list is settled all along. */
static int absorb_block(struct wb_map *map, const struct text *text, const struct block *block, uint64_t device_size,
			struct wb_error *err)
{
	int failed;

	if (block->position < map->covered)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET,
			       "map line %" PRIu64 ": position %" PRIu64 " lies before the end of the block above, %" PRIu64,
			       text->number, block->position, map->covered);
	failed = add_inside(map, map->covered, block->position, device_size, err);
	map->covered = block->position + block->size;
	if (!failed && block->status != '+')
		failed = add_inside(map, block->position, map->covered, device_size, err);
	return failed;
}

static int read_lines(struct wb_map *map, struct text *text, uint64_t device_size, struct wb_error *err)
{
	bool started = false;
	const char *line = NULL;
	int ret;

	while ((ret = take_line(text, &line, err)) > 0) {
		struct block block;
		int failed;

		if (at_end(skip_blanks(line)))
			continue;
		if (!started) {
			failed = read_status_line(text, line, err);
			started = true;
		} else {
			failed = read_block(text, line, &block, err);
			if (!failed)
				failed = absorb_block(map, text, &block, device_size, err);
		}
		if (failed)
			return failed;
	}
	if (ret)
		return ret;
	if (!started)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "no status line in the %" PRIu64 " lines of the map",
			       text->number);
	return add_inside(map, map->covered, device_size, device_size, err);
}

int wb_map_load(struct wb_map *map, const char *path, uint64_t device_size, struct wb_error *err)
{
	struct text text = { .fd = open(path, O_RDONLY | O_CLOEXEC) };
	int ret;

	*map = (struct wb_map){ 0 };
	if (text.fd < 0)
		return wb_fail(err, WB_EOPEN, errno, WB_NO_OFFSET, "opening the map: %s", strerror(errno));
	ret = read_lines(map, &text, device_size, err);
	close(text.fd);
	if (ret)
		wb_map_release(map);
	return ret;
}

/* ---- writing ---- */

struct out {
	int fd;
	size_t used;
	char bytes[8192];
};

static int write_out(struct out *out, struct wb_error *err)
{
	size_t done = 0;

	while (done < out->used) {
		ssize_t n = write(out->fd, out->bytes + done, out->used - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int sys = n ? errno : ENOSPC;

			return wb_fail(err, WB_EIO, sys, WB_NO_OFFSET, "writing the map: %s", strerror(sys));
		}
		done += (size_t)n;
	}
	out->used = 0;
	return 0;
}

__attribute__((format(printf, 3, 4)))
static int put(struct out *out, struct wb_error *err, const char *format, ...)
{
	char line[256];
	va_list args;
	int failed = 0;

	va_start(args, format);
	size_t length = (size_t)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (length > sizeof(out->bytes) - out->used)
		failed = write_out(out, err);
	if (failed)
		return failed;
	memcpy(out->bytes + out->used, line, length);
	out->used += length;
	return 0;
}

static int put_block(struct out *out, uint64_t begin, uint64_t end, char status, struct wb_error *err)
{
	return begin < end ? put(out, err, "0x%08" PRIX64 "  0x%08" PRIX64 "  %c\n", begin, end - begin, status) : 0;
}

/* The status line is the one that ddrescuelog gives to the maps it makes: ddrescue starts at the beginning, finds
 * nothing that was never tried, and goes on to what failed. */
static int write_map(struct out *out, const struct wb_map *map, uint64_t device_size, struct wb_error *err)
{
	uint64_t at = 0;
	int failed = put(out, err, "# Mapfile. Created by wb-utils version " WB_VERSION "\n"
			 "# current_pos  current_status  current_pass\n"
			 "0x00000000     ?               1\n"
			 "#      pos        size  status\n");

	for (unsigned i = 0; i < map->count && !failed; i++) {
		failed = put_block(out, at, map->bad[i].offset, '+', err);
		at = end_of(&map->bad[i]);
		if (!failed)
			failed = put_block(out, map->bad[i].offset, at, '-', err);
	}
	if (!failed)
		failed = put_block(out, at, device_size, '+', err);
	return failed ? failed : write_out(out, err);
}

static int check_inside(const struct wb_map *map, uint64_t device_size, struct wb_error *err)
{
	const struct wb_range *last = map->count ? &map->bad[map->count - 1] : NULL;

	if (!last || end_of(last) <= device_size)
		return 0;
	return wb_fail(err, WB_EINVAL, 0, last->offset, "a bad range ends at byte %" PRIu64 ", the device at %" PRIu64,
		       end_of(last), device_size);
}

int wb_map_write(int fd, const struct wb_range *bad, unsigned count, uint64_t device_size, struct wb_error *err)
{
	struct out out = { .fd = fd };
	struct wb_map map = { 0 };
	int failed = 0;

	for (unsigned i = 0; i < count && !failed; i++)
		failed = wb_map_add(&map, bad[i].offset, bad[i].length, err);
	wb_map_settle(&map);
	if (!failed)
		failed = check_inside(&map, device_size, err);
	if (!failed)
		failed = write_map(&out, &map, device_size, err);
	wb_map_release(&map);
	return failed;
}
