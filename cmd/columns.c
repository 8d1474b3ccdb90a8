/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See columns.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "columns.h"
#include "common.h"

/* ---- choosing ---- */

#define UNKNOWN COLUMNS_MAX

static unsigned find(const struct column *all, const char *name, size_t length)
{
	for (unsigned i = 0; all[i].name; i++)
		if (strlen(all[i].name) == length && strncasecmp(all[i].name, name, length) == 0)
			return i;
	return UNKNOWN;
}

static _Noreturn void refuse_name(const struct column *all, const char *name, size_t length)
{
	char names[256] = "";

	for (unsigned i = 0; all[i].name; i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? ", " : "", all[i].name);
	usage_error("--output: '%.*s' is none of %s", (int)length, name, names);
}

static void append(struct columns *columns, const char *list)
{
	for (const char *name = list;; name++) {
		size_t length = strcspn(name, ",");
		unsigned column = find(columns->all, name, length);

		if (column == UNKNOWN)
			refuse_name(columns->all, name, length);
		if (columns->count == COLUMNS_MAX)
			usage_error("--output: more than %u columns", COLUMNS_MAX);
		columns->shown[columns->count++] = column;
		name += length;
		if (!*name)
			return;
	}
}

void columns_choose(struct columns *columns, const struct column *all, const char *defaults, const char *list)
{
	*columns = (struct columns){ .all = all };
	for (unsigned i = 0; all[i].name; i++)
		columns->widths[i] = (unsigned)strlen(all[i].name);
	if (!list || *list == '+')
		append(columns, defaults);
	if (list)
		append(columns, *list == '+' ? list + 1 : list);
}

bool columns_know(const struct column *all, const char *list)
{
	for (const char *name = *list == '+' ? list + 1 : list;; name++) {
		size_t length = strcspn(name, ",");

		if (find(all, name, length) == UNKNOWN)
			return false;
		name += length;
		if (!*name)
			return true;
	}
}

bool columns_show(const struct columns *columns, unsigned column)
{
	for (unsigned i = 0; i < columns->count; i++)
		if (columns->shown[i] == column)
			return true;
	return false;
}

void columns_widen(struct columns *columns, unsigned column, uint64_t largest)
{
	char cell[CELL_SIZE];

	cell_number(cell, largest);
	if (strlen(cell) > columns->widths[column])
		columns->widths[column] = (unsigned)strlen(cell);
}

/* ---- printing ---- */

static char *spaces(char *to, size_t count)
{
	memset(to, ' ', count);
	return to + count;
}

static char *add_cell(char *to, const struct columns *columns, unsigned place, const char *cell)
{
	unsigned column = columns->shown[place];
	size_t length = strlen(cell), width = columns->widths[column];
	size_t room = length < width ? width - length : 0;
	bool left = columns->all[column].left;

	to = spaces(to, place ? 2 : columns->indent);
	if (!left)
		to = spaces(to, room);
	memcpy(to, cell, length);
	to += length;
	return left && place + 1 < columns->count ? spaces(to, room) : to;
}

void columns_print_names(const struct columns *columns)
{
	char line[(CELL_SIZE + 2) * (COLUMNS_MAX + 1)], *to = line;

	for (unsigned i = 0; i < columns->count; i++)
		to = add_cell(to, columns, i, columns->all[columns->shown[i]].name);
	*to++ = '\n';
	fwrite(line, 1, (size_t)(to - line), stdout);
}

void columns_print(const struct columns *columns, cell_writer write, const void *row)
{
	char line[(CELL_SIZE + 2) * (COLUMNS_MAX + 1)], *to = line;

	for (unsigned i = 0; i < columns->count; i++) {
		char cell[CELL_SIZE];

		write(row, columns->shown[i], cell);
		to = add_cell(to, columns, i, cell);
	}
	*to++ = '\n';
	fwrite(line, 1, (size_t)(to - line), stdout);
}

/* ---- cells ---- */

/* A table may have millions of rows, and printf would take most of the time. */
void cell_number(char cell[CELL_SIZE], uint64_t value)
{
	char digits[20];
	unsigned n = 0;

	do
		digits[n++] = (char)('0' + value % 10);
	while (value /= 10);
	while (n)
		*cell++ = digits[--n];
	*cell = '\0';
}

void cell_text(char cell[CELL_SIZE], const char *text)
{
	snprintf(cell, CELL_SIZE, "%s", text ? text : "-");
}

void cell_size(char cell[CELL_SIZE], uint64_t bytes, bool exact)
{
	unsigned unit = 0;
	double value = (double)bytes;

	if (exact) {
		cell_number(cell, bytes);
		return;
	}
	for (; value >= 1024 && unit < 6; unit++)
		value /= 1024;
	snprintf(cell, CELL_SIZE, "%.*f%c", value < 10 && bytes % (1ull << 10 * unit) ? 1 : 0, value, "BKMGTPE"[unit]);
}
