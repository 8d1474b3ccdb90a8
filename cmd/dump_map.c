/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ring as a grid of characters: every class has its letter, colours only repeat what the letters say. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dump_map.h"
#include "report.h"

/* ---- cells ---- */

/* The fills are told apart with any kind of colour vision: blues for what is well, the rest from Okabe and Ito. */
const struct kind_info *kind_info(enum kind kind)
{
	static const struct kind_info kinds[KINDS] = {
		[KIND_EMPTY] = { '.', "empty", "2", "#ffffff", NULL },
		[KIND_FOREIGN] = { '?', "foreign", "2", "#ffffff", "#777777" },
		[KIND_OLD] = { 'o', "old", "2", "#d4d4d4", NULL },
		[KIND_CLEAN] = { '-', "live, nothing dirty", "36", "#a6cee3", NULL },
		[KIND_DIRTY] = { '#', "live, dirty", "1;36", "#0072b2", NULL },
		[KIND_TORN_HEAD] = { 'h', "torn-head", "7;33", "#f0e442", "#000000" },
		[KIND_TORN_TAIL] = { 't', "torn-tail", "7;33", "#f0e442", "#000000" },
		[KIND_ZEROED] = { 'Z', "zeroed", "7;35", "#e0a3c6", "#000000" },
		[KIND_STALE_LAP] = { 'S', "stale-lap", "7;35", "#e0a3c6", "#000000" },
		[KIND_PART_READABLE] = { 'P', "part-readable", "7;31", "#e69f00", "#000000" },
		[KIND_AHEAD] = { 'A', "ahead", "7;31", "#e69f00", "#000000" },
		[KIND_ALIEN_ID] = { 'X', "alien-id", "7;31", "#e69f00", "#000000" },
		[KIND_BAD_LENGTH] = { 'B', "bad-length", "7;31", "#d55e00", "#ffffff" },
		[KIND_ROTTEN] = { 'R', "rotten", "7;31", "#d55e00", "#ffffff" },
		[KIND_UNREADABLE] = { 'U', "unreadable", "1;7;31", "#222222", "#ffffff" },
	};

	return &kinds[kind];
}

enum kind kind_of(const struct wb_slot *slot)
{
	switch ((enum wb_class)slot->class_) {
	case WB_EMPTY: return KIND_EMPTY;
	case WB_LIVE: return slot->dirty_sectors ? KIND_DIRTY : KIND_CLEAN;
	case WB_OLD: return KIND_OLD;
	case WB_TORN_TAIL: return KIND_TORN_TAIL;
	case WB_TORN_HEAD: return KIND_TORN_HEAD;
	case WB_AHEAD: return KIND_AHEAD;
	case WB_ROTTEN: return KIND_ROTTEN;
	case WB_STALE_LAP: return KIND_STALE_LAP;
	case WB_ALIEN_ID: return KIND_ALIEN_ID;
	case WB_BAD_LENGTH: return KIND_BAD_LENGTH;
	case WB_PART_READABLE: return KIND_PART_READABLE;
	case WB_UNREADABLE: return KIND_UNREADABLE;
	case WB_ZEROED: return KIND_ZEROED;
	case WB_FOREIGN: return KIND_FOREIGN;
	case WB_CLASSES: break;
	}
	return KIND_EMPTY;
}

/* 1, 2, 5, 10, 20, 50, ... */
static uint32_t round_up(uint64_t least)
{
	static const unsigned steps[] = { 1, 2, 5 };

	for (uint64_t ten = 1;; ten *= 10)
		for (unsigned i = 0; i < 3; i++)
			if (steps[i] * ten >= least)
				return (uint32_t)(steps[i] * ten);
}

bool fold_ring(const struct work *work, uint32_t cells_max, struct fold *fold)
{
	uint32_t slots = work->cache.geometry.slots;

	*fold = (struct fold){ .slots_per_cell = round_up(((uint64_t)slots + cells_max - 1) / cells_max) };
	fold->cells = (uint32_t)(((uint64_t)slots + fold->slots_per_cell - 1) / fold->slots_per_cell);
	fold->kinds = calloc(fold->cells, sizeof(*fold->kinds));
	if (!fold->kinds)
		return false;
	for (uint32_t i = 0; i < slots; i++) {
		enum kind kind = kind_of(&work->ring.slots[i]);
		uint8_t *cell = &fold->kinds[i / fold->slots_per_cell];

		fold->counts[kind]++;
		if (kind > *cell)
			*cell = (uint8_t)kind;
	}
	fold->head_cell = fold->cells;
	if (work->ring.head)
		fold->head_cell = wb_slot_of(&work->cache.geometry, work->ring.head) / fold->slots_per_cell;
	return true;
}

void describe_ring(const struct work *work, char *text, size_t size)
{
	const struct wb_geometry *geometry = &work->cache.geometry;
	const struct wb_ring *ring = &work->ring;
	int n = snprintf(text, size, "%s, %s of %s; ", geometry->format->name, count_of(geometry->slots, "slot"),
			 human_size(wb_slot_size(geometry)));

	if (n < 0 || (size_t)n >= size)
		return;
	if (!ring->head)
		snprintf(text + n, size - (size_t)n, "no segment is valid");
	else if (ring->first > ring->head)
		snprintf(text + n, size - (size_t)n, "newest segment %" PRIu64 ", the window is empty", ring->head);
	else
		snprintf(text + n, size - (size_t)n, "newest segment %" PRIu64 ", window %" PRIu64 " ... %" PRIu64,
			 ring->head, ring->first, ring->head);
}

void describe_cell(const struct fold *fold, char *text, size_t size)
{
	if (fold->slots_per_cell == 1)
		snprintf(text, size, "a cell is one slot");
	else
		snprintf(text, size, "a cell is %" PRIu32 " slots and shows the worst of them", fold->slots_per_cell);
}

/* ---- the terminal ---- */

#define GROUP 10u /* cells without a gap */

struct screen {
	unsigned columns, lines;
	bool colour;
	unsigned label;   /* characters of the longest slot number */
	unsigned per_row; /* cells */
};

static struct screen measure(const struct work *work)
{
	struct screen screen = { .columns = 80, .lines = 24, .colour = wants_colour() };
	struct winsize size;
	char label[16];

	if (isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col && size.ws_row) {
		screen.columns = size.ws_col;
		screen.lines = size.ws_row;
	}
	screen.label = (unsigned)snprintf(label, sizeof(label), "%" PRIu32, work->cache.geometry.slots - 1);
	unsigned room = screen.columns > screen.label + 2 ? screen.columns - screen.label - 2 : 0;

	screen.per_row = (room + 1) / (GROUP + 1) * GROUP;
	if (!screen.per_row)
		screen.per_row = GROUP;
	return screen;
}

static void set_colour(const struct screen *screen, const char *sgr)
{
	if (screen->colour)
		printf("\033[%sm", sgr);
}

static void print_cell(const struct screen *screen, enum kind kind)
{
	set_colour(screen, kind_info(kind)->sgr);
	putchar(kind_info(kind)->glyph);
	set_colour(screen, "0");
}

/* The mark stands below its cell, so that the cell still shows its kind. */
static void print_mark(const struct screen *screen, const struct work *work, uint32_t place)
{
	char text[64];
	unsigned column = screen->label + 2 + place + place / GROUP;
	int length = snprintf(text, sizeof(text), "newest: %" PRIu64, work->ring.head);

	if (column + 2 + (unsigned)length <= screen->columns)
		printf("%*s^ %s\n", (int)column, "", text);
	else if (column > (unsigned)length + 1)
		printf("%*s%s ^\n", (int)column - length - 1, "", text);
	else
		printf("%*s^\n", (int)column, "");
}

static void print_grid(const struct screen *screen, const struct work *work, const struct fold *fold)
{
	for (uint32_t from = 0; from < fold->cells; from += screen->per_row) {
		uint32_t n = fold->cells - from < screen->per_row ? fold->cells - from : screen->per_row;

		printf("%*" PRIu64 "  ", (int)screen->label, (uint64_t)from * fold->slots_per_cell);
		for (uint32_t i = 0; i < n; i++) {
			if (i && i % GROUP == 0)
				putchar(' ');
			print_cell(screen, (enum kind)fold->kinds[from + i]);
		}
		putchar('\n');
		if (fold->head_cell >= from && fold->head_cell - from < n)
			print_mark(screen, work, fold->head_cell - from);
	}
}

/* Entries flow into lines; returns how many lines. */
static unsigned legend(const struct screen *screen, const struct fold *fold, bool print)
{
	unsigned used = 0, lines = 1;

	for (unsigned kind = 0; kind < KINDS; kind++) {
		char text[64];
		unsigned length = (unsigned)snprintf(text, sizeof(text), " %s: %" PRIu64, kind_info((enum kind)kind)->name,
						     fold->counts[kind]) + 1;

		if (!fold->counts[kind])
			continue;
		if (used && used + 3 + length > screen->columns) {
			printf(print ? "\n" : "");
			used = 0;
			lines++;
		}
		if (print) {
			printf("%s", used ? "   " : "");
			print_cell(screen, (enum kind)kind);
			printf("%s", text);
		}
		used += (used ? 3 : 0) + length;
	}
	printf(print ? "\n" : "");
	return lines;
}

/* As many rows as the window has lines left beside the words; the legend's are counted with the finest fold. */
static bool fold_to_screen(const struct screen *screen, const struct work *work, struct fold *fold)
{
	if (!fold_ring(work, UINT32_MAX, fold))
		return false;
	unsigned words = 6 + legend(screen, fold, false); /* two lines, two empty ones, the mark, the prompt */
	unsigned rows = screen->lines > words + 4 ? screen->lines - words : 4;

	free(fold->kinds);
	return fold_ring(work, rows * screen->per_row, fold);
}

static void report_map(const struct work *work, const struct fold *fold)
{
	struct json_object *record = report_record("map"), *legends = report_json() ? json_object_new_object() : NULL;
	char *cells = malloc(fold->cells + 1ull);

	if (!cells)
		return;
	for (uint32_t i = 0; i < fold->cells; i++)
		cells[i] = kind_info((enum kind)fold->kinds[i])->glyph;
	cells[fold->cells] = '\0';
	for (unsigned kind = 0; kind < KINDS; kind++)
		if (fold->counts[kind])
			report_text(legends, (const char[]){ kind_info((enum kind)kind)->glyph, '\0' },
				    kind_info((enum kind)kind)->name);
	report_u64(record, "slots_per_cell", fold->slots_per_cell);
	report_text(record, "cells", cells);
	if (work->ring.head)
		report_u64(record, "head_cell", fold->head_cell);
	json_object_object_add(record, "legend", legends);
	report_emit(record);
	free(cells);
}

static void print_map(const struct work *work, const struct screen *screen, const struct fold *fold)
{
	char ring[256], cell[96];

	describe_ring(work, ring, sizeof(ring));
	describe_cell(fold, cell, sizeof(cell));
	printf("%s\n%s\n", ring, cell);
	if (*describe_patterns(&work->ring))
		printf("%s\n", describe_patterns(&work->ring));
	putchar('\n');
	print_grid(screen, work, fold);
	putchar('\n');
	legend(screen, fold, true);
}

int show_map(struct work *work)
{
	struct screen screen;
	struct fold fold;

	if (!has_ring(work)) {
		note(work, "the log was ended, and no segment of it can be read any more");
		return 0;
	}
	screen = measure(work);
	if (!fold_to_screen(&screen, work, &fold))
		return common_refuse(common_of(work), work->path, "out of memory");
	begin_output();
	if (report_json())
		report_map(work, &fold);
	else
		print_map(work, &screen, &fold);
	free(fold.kinds);
	return 0;
}
