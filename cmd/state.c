/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading, writing and comparing state files: see state.h. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "record.h"
#include "state.h"

#define FIRST_LINE "wb-flush-dirty state 1\n"
#define STATE_MAX 65536u /* bytes of a file */

/* The lines, in their order. */
static const struct field {
	const char *key;
	size_t offset;
	bool text;
} fields[] = {
	{ "cache", offsetof(struct state, cache), true },
	{ "cache-bytes", offsetof(struct state, cache_bytes), false },
	{ "backing", offsetof(struct state, backing), true },
	{ "backing-bytes", offsetof(struct state, backing_bytes), false },
	{ "newest-id", offsetof(struct state, head), false },
	{ "headers-digest", offsetof(struct state, digest), false },
	{ "outside-digest", offsetof(struct state, outside), false },
	{ "options", offsetof(struct state, options), true },
	{ "cut", offsetof(struct state, cut), false },
	{ "corrected-ids", offsetof(struct state, ids), false },
	{ "undo-id", offsetof(struct state, undo), false },
	{ "undone", offsetof(struct state, undone), false },
	{ "unreadable-sectors", offsetof(struct state, unreadable), false },
	{ "flushed-below", offsetof(struct state, flushed), false },
	{ "ended", offsetof(struct state, ended), false },
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static uint64_t *number_at(const struct state *state, const struct field *field)
{
	return (uint64_t *)(uintptr_t)((const char *)state + field->offset);
}

static char **text_at(const struct state *state, const struct field *field)
{
	return (char **)(uintptr_t)((const char *)state + field->offset);
}

/* ---- writing ---- */

static void put_text(FILE *to, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		fprintf(to, *p <= ' ' || *p == '%' || *p == 0x7f ? "%%%02x" : "%c", *p);
}

static char *compose(const struct state *state)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	fputs(FIRST_LINE, to);
	for (size_t i = 0; i < FIELDS; i++) {
		fprintf(to, "%s ", fields[i].key);
		if (fields[i].text)
			put_text(to, *text_at(state, &fields[i]));
		else
			fprintf(to, "%" PRIu64, *number_at(state, &fields[i]));
		fputc('\n', to);
	}
	fflush(to);
	fprintf(to, "crc32c %08" PRIx32 "\n", ~wb_crc32c(~0u, text, size));
	if (fclose(to) == 0)
		return text;
	free(text);
	return NULL;
}

int state_save(const struct common *common, const char *path, const struct state *state, bool replaces)
{
	struct output output = { .fd = -1 };
	char *text = compose(state);
	int status = !text ? common_refuse(common, path, "out of memory") :
		     replaces ? output_renew(common, &output, path) : output_create(common, &output, path);

	if (!status) {
		fputs(text, output.file);
		status = output_complete(common, &output);
	}
	free(text);
	return status;
}

/* ---- reading ---- */

static char *unescaped(const char *text)
{
	char *copy = malloc(strlen(text) + 1), *to = copy;
	unsigned byte;

	for (; copy && *text; to++) {
		if (*text != '%') {
			*to = *text++;
			continue;
		}
		if (sscanf(text, "%%%2x", &byte) != 1 || strspn(text + 1, "0123456789abcdef") < 2) {
			free(copy);
			return NULL;
		}
		*to = (char)byte;
		text += 3;
	}
	if (copy)
		*to = '\0';
	return copy;
}

static bool parse_field(struct state *state, const struct field *field, const char *line)
{
	size_t length = strlen(field->key);

	if (strncmp(line, field->key, length) != 0 || line[length] != ' ')
		return false;
	line += length + 1;
	if (field->text)
		return (*text_at(state, field) = unescaped(line));
	char *end;

	errno = 0;
	*number_at(state, field) = strtoull(line, &end, 10);
	return *line >= '0' && *line <= '9' && !*end && !errno;
}

/* text ends with a zero behind its size bytes. */
static bool parse(struct state *state, char *text, size_t size)
{
	size_t first = strlen(FIRST_LINE), last = strlen("crc32c 00000000\n");
	char sum[32], *rest;

	if (strlen(text) != size || size < first + last || strncmp(text, FIRST_LINE, first) != 0)
		return false;
	snprintf(sum, sizeof(sum), "crc32c %08" PRIx32 "\n", ~wb_crc32c(~0u, text, size - last));
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	if (strcmp(text + size - last, sum) != 0)
		return false;
#endif
	text[size - last] = '\0';
	rest = text + first;
	for (size_t i = 0; i < FIELDS; i++) {
		char *line = strsep(&rest, "\n");

		if (!line || !parse_field(state, &fields[i], line))
			return false;
	}
	return rest && !*rest;
}

/* fd is closed. */
static int read_text(const struct common *common, const char *path, int fd, char *text, size_t *size)
{
	FILE *from = fdopen(fd, "r");

	if (!from) {
		close(fd);
		return common_refuse(common, path, "out of memory");
	}
	*size = fread(text, 1, STATE_MAX, from);
	text[*size] = '\0';
	bool failed = ferror(from);

	fclose(from);
	return failed ? common_refuse(common, path, "cannot be read") : 0;
}

int state_load(const struct common *common, const char *path, struct state *state, bool *exists)
{
	size_t size = 0;
	int fd, status;

	*state = (struct state){ .cache = NULL };
	status = record_open(common, &fd, path, false);
	*exists = fd >= 0;
	if (!*exists)
		return status;
	char *text = malloc(STATE_MAX + 1);

	if (!text) {
		close(fd);
		return common_refuse(common, path, "out of memory");
	}
	status = read_text(common, path, fd, text, &size);
	if (!status && !parse(state, text, size))
		status = common_refuse(common, path, "the file is there already and is no state of wb-flush-dirty, or a damaged "
				       "one; it is left as it is. Give --state a new name");
	free(text);
	return status;
}

/* ---- comparing ---- */

bool state_is_of_another(const struct state *then, const struct state *now)
{
	return strcmp(then->backing, now->backing) != 0;
}

const char *state_difference(const struct state *then, const struct state *now, bool may_be_copy)
{
	if (then->cache_bytes != now->cache_bytes || strcmp(then->cache, now->cache) != 0)
		return "another cache device";
	if (then->backing_bytes != now->backing_bytes || (state_is_of_another(then, now) && !may_be_copy))
		return "another backing device";
	if (then->head != now->head || then->digest != now->digest)
		return "another state of the log: CACHE has been written to since";
	if (strcmp(then->options, now->options) != 0)
		return "other options";
	return NULL;
}

void state_release(struct state *state)
{
	free(state->cache);
	free(state->backing);
	free(state->options);
	*state = (struct state){ .cache = NULL };
}
