/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ring as an SVG drawing: the grid, a legend, and a strip that shows where on the backing device the newest versions
 * of dirty blocks lie. No scripts, no fonts of its own, no time of day: the same cache gives the same file.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dump_map.h"
#include "report.h"

#define WIDTH 1000u
#define MARGIN 28u
#define LABELS 60u                             /* at most, for slot numbers left of the grid */
#define ROOM (WIDTH - 2 * MARGIN - LABELS)     /* for a row of cells */
#define GRID_HEIGHT 560u
#define CELL_MIN 11u
#define CELL_MAX 52u
#define CELLS_MAX 4000u                        /* more would not fit with CELL_MIN */
#define CELL_WITH_ID 40u                       /* from this size on a cell names its segment */
#define STRIP (WIDTH - 2 * MARGIN)
#define STRIP_HEIGHT 40u
#define BINS (STRIP / 2)

#define SANS "font-family=\"DejaVu Sans, Verdana, sans-serif\""

struct drawing {
	struct work *work;
	FILE *file;
	struct fold fold;
	unsigned cell, per_row, rows; /* pixels, cells, rows */
	unsigned left;                /* where the grid begins */
	unsigned y;                   /* where the next part begins */
};

/* ---- text ---- */

static void put_text(FILE *file, const char *text)
{
	char *copy = strdup(text);

	if (copy)
		make_printable(copy);
	for (const char *p = copy; p && *p; p++)
		if (*p == '<')
			fputs("&lt;", file);
		else if (*p == '>')
			fputs("&gt;", file);
		else if (*p == '&')
			fputs("&amp;", file);
		else
			fputc(*p, file);
	free(copy);
}

static void put_line(const struct drawing *drawing, unsigned y, unsigned size, const char *colour, const char *text)
{
	fprintf(drawing->file, "<text x=\"%u\" y=\"%u\" font-size=\"%u\" fill=\"%s\">", MARGIN, y, size, colour);
	put_text(drawing->file, text);
	fprintf(drawing->file, "</text>\n");
}

/* ---- layout ---- */

static unsigned cells_per_row(unsigned cell)
{
	unsigned n = ROOM / cell;

	return n > 10 ? n / 10 * 10 : n;
}

/* The largest cells with which the grid is not too high. */
static void lay_out(struct drawing *drawing)
{
	unsigned cell = CELL_MAX;

	for (; cell > CELL_MIN; cell--)
		if ((drawing->fold.cells + cells_per_row(cell) - 1) / cells_per_row(cell) * cell <= GRID_HEIGHT)
			break;
	drawing->left = MARGIN + 12 + 8 * (unsigned)snprintf(NULL, 0, "%" PRIu32, drawing->work->cache.geometry.slots - 1);
	drawing->cell = cell;
	drawing->per_row = cells_per_row(cell);
	drawing->rows = (drawing->fold.cells + drawing->per_row - 1) / drawing->per_row;
}

/* ---- grid ---- */

static void put_tip(const struct drawing *drawing, uint32_t cell)
{
	const struct wb_slot *slot = &drawing->work->ring.slots[cell];
	uint64_t from = (uint64_t)cell * drawing->fold.slots_per_cell;
	const char *name = kind_info((enum kind)drawing->fold.kinds[cell])->name;

	if (drawing->fold.slots_per_cell > 1)
		fprintf(drawing->file, "<title>slots %" PRIu64 " to %" PRIu64 ": %s</title>", from,
			from + drawing->fold.slots_per_cell - 1, name);
	else if (slot->id)
		fprintf(drawing->file, "<title>slot %" PRIu64 ": segment %" PRIu64 ", %s, %u blocks, %u dirty</title>", from,
			slot->id, name, slot->length, slot->dirty_blocks);
	else
		fprintf(drawing->file, "<title>slot %" PRIu64 ": %s</title>", from, name);
}

/* What stands in a cell: the letter of what is wrong, in large cells also the id. */
static void put_ink(const struct drawing *drawing, const struct kind_info *kind, uint32_t cell, unsigned x, unsigned y)
{
	unsigned size = drawing->cell, middle = x + size / 2;
	bool with_id = size >= CELL_WITH_ID && drawing->fold.slots_per_cell == 1 && drawing->work->ring.slots[cell].id &&
		       drawing->work->ring.slots[cell].id < 1000000;
	const char *ink = kind->ink ? kind->ink : kind == kind_info(KIND_DIRTY) ? "#ffffff" : "#333333";

	if (kind->ink)
		fprintf(drawing->file, "<text x=\"%u\" y=\"%u\" font-size=\"%u\" font-weight=\"bold\" fill=\"%s\">%c</text>",
			middle, y + size * (with_id ? 46 : 74) / 100, with_id ? 16 : size * 7 / 10, ink, kind->glyph);
	if (with_id)
		fprintf(drawing->file, "<text x=\"%u\" y=\"%u\" font-size=\"11\" fill=\"%s\">%" PRIu64 "</text>", middle,
			y + size * (kind->ink ? 80 : 58) / 100, ink, drawing->work->ring.slots[cell].id);
}

static void put_cell(const struct drawing *drawing, uint32_t cell)
{
	const struct kind_info *kind = kind_info((enum kind)drawing->fold.kinds[cell]);
	unsigned x = drawing->left + cell % drawing->per_row * drawing->cell;
	unsigned y = drawing->y + cell / drawing->per_row * drawing->cell, size = drawing->cell - 2;

	fprintf(drawing->file, "<g><rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"%s\" stroke=\"%s\"/>", x, y, size,
		size, kind->fill, strcmp(kind->fill, "#ffffff") == 0 ? "#cccccc" : kind->fill);
	put_ink(drawing, kind, cell, x - 1, y - 1);
	put_tip(drawing, cell);
	fprintf(drawing->file, "</g>\n");
}

static void put_head(const struct drawing *drawing)
{
	uint32_t cell = drawing->fold.head_cell;

	if (cell < drawing->fold.cells)
		fprintf(drawing->file, "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"none\" stroke=\"#000000\" "
			"stroke-width=\"%u\"/>\n", drawing->left + cell % drawing->per_row * drawing->cell - 1,
			drawing->y + cell / drawing->per_row * drawing->cell - 1, drawing->cell, drawing->cell,
			drawing->cell > 20 ? 3u : 2u);
}

static void put_grid(struct drawing *drawing)
{
	unsigned step = drawing->cell < 14 ? 2 : 1; /* rows between two labels */

	fprintf(drawing->file, "<g font-size=\"11\" fill=\"#555555\" text-anchor=\"end\">\n");
	for (unsigned row = 0; row < drawing->rows; row += step)
		fprintf(drawing->file, "<text x=\"%u\" y=\"%u\">%" PRIu64 "</text>\n", drawing->left - 8,
			drawing->y + row * drawing->cell + drawing->cell / 2 + 3,
			(uint64_t)row * drawing->per_row * drawing->fold.slots_per_cell);
	fprintf(drawing->file, "</g>\n<g text-anchor=\"middle\">\n");
	for (uint32_t cell = 0; cell < drawing->fold.cells; cell++)
		put_cell(drawing, cell);
	put_head(drawing);
	fprintf(drawing->file, "</g>\n");
	drawing->y += drawing->rows * drawing->cell;
}

/* ---- legend ---- */

#define ENTRY_WIDTH 236u
#define ENTRY_HEIGHT 24u

static void put_entry(struct drawing *drawing, unsigned *n, const struct kind_info *kind, uint64_t count)
{
	unsigned x = MARGIN + *n % 4 * ENTRY_WIDTH, y = drawing->y + *n / 4 * ENTRY_HEIGHT;
	const char *fill = kind ? kind->fill : "none";
	bool pale = strcmp(fill, "#ffffff") == 0;

	fprintf(drawing->file, "<rect x=\"%u\" y=\"%u\" width=\"16\" height=\"16\" fill=\"%s\" stroke=\"%s\"%s/>", x, y, fill,
		!kind ? "#000000" : pale ? "#cccccc" : fill, kind ? "" : " stroke-width=\"3\"");
	if (kind && kind->ink)
		fprintf(drawing->file, "<text x=\"%u\" y=\"%u\" font-size=\"12\" font-weight=\"bold\" text-anchor=\"middle\" "
			"fill=\"%s\">%c</text>", x + 8, y + 12, kind->ink, kind->glyph);
	fprintf(drawing->file, "<text x=\"%u\" y=\"%u\" font-size=\"13\" fill=\"#222222\">", x + 24, y + 13);
	if (kind)
		fprintf(drawing->file, "%s: %" PRIu64 "</text>\n", kind->name, count);
	else
		fprintf(drawing->file, "newest segment: %" PRIu64 "</text>\n", count);
	++*n;
}

static void put_legend(struct drawing *drawing)
{
	unsigned n = 0;

	for (unsigned kind = 0; kind < KINDS; kind++)
		if (drawing->fold.counts[kind])
			put_entry(drawing, &n, kind_info((enum kind)kind), drawing->fold.counts[kind]);
	if (drawing->work->ring.head)
		put_entry(drawing, &n, NULL, drawing->work->ring.head);
	drawing->y += (n + 3) / 4 * ENTRY_HEIGHT;
}

static unsigned legend_height(const struct drawing *drawing)
{
	unsigned n = drawing->work->ring.head ? 1 : 0;

	for (unsigned kind = 0; kind < KINDS; kind++)
		n += drawing->fold.counts[kind] > 0;
	return (n + 3) / 4 * ENTRY_HEIGHT;
}

/* ---- the strip ---- */

struct strip {
	uint64_t bins[BINS]; /* dirty blocks */
	uint64_t unit;       /* blocks a bin */
	uint64_t end;        /* of the device, or behind the last dirty block, in blocks */
	uint64_t blocks;     /* dirty ones */
};

static void double_unit(struct strip *strip)
{
	for (unsigned i = 0; i < BINS; i++)
		strip->bins[i] = 2 * i + 1 < BINS ? strip->bins[2 * i] + strip->bins[2 * i + 1] : 0;
	strip->unit *= 2;
}

static void add_block(struct strip *strip, uint64_t block)
{
	while (block / strip->unit >= BINS)
		double_unit(strip);
	strip->bins[block / strip->unit]++;
	strip->blocks++;
	if (block >= strip->end)
		strip->end = block + 1;
}

/* The newest versions in the window, whatever a policy would do about damage. */
static int fill_strip(struct strip *strip, struct work *work)
{
	const struct wb_scope window = { .low = work->ring.first, .high = work->ring.head, .part = true };
	struct wb_plan plan;
	struct wb_error err;
	int ret = wb_plan_open(&plan, &work->ring, &window, work->options->decide.capacity, &err);
	uint64_t last = UINT64_MAX;

	while (!ret && (ret = wb_plan_next(&plan, &common_of(work)->progress, &err)) > 0) {
		ret = 0;
		for (size_t i = 0; i < plan.count; i++)
			if (plan.entries[i].dirty && plan.entries[i].block != last)
				add_block(strip, last = plan.entries[i].block);
	}
	wb_plan_close(&plan);
	return ret ? common_failed(common_of(work), work->path, &err, NULL) : 0;
}

/* How much of a bin is dirty, in four steps; where anything is, it shows. */
static unsigned level_of(const struct strip *strip, unsigned bin)
{
	uint64_t dirty = bin < BINS ? strip->bins[bin] : 0;

	if (!dirty)
		return 0;
	return dirty >= strip->unit / 2 ? 4 : dirty >= strip->unit / 4 ? 3 : dirty >= strip->unit / 16 ? 2 : 1;
}

/* Whole pixels, so that neighbours leave no seam between them. */
static unsigned left_of_bin(const struct strip *strip, unsigned bin)
{
	uint64_t x = STRIP * bin * strip->unit / strip->end;

	return MARGIN + (x < STRIP ? (unsigned)x : STRIP); /* the last bin may reach beyond the end */
}

static void put_bins(const struct drawing *drawing, const struct strip *strip)
{
	static const char *const shades[] = { "", "#c6dff0", "#8fc1e3", "#3d96cc", "#0072b2" };
	for (unsigned i = 0, n; i < BINS; i += n) {
		unsigned level = level_of(strip, i);

		for (n = 1; i + n < BINS && level_of(strip, i + n) == level;)
			n++;
		if (level)
			fprintf(drawing->file, "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"%s\"/>\n",
				left_of_bin(strip, i), drawing->y, left_of_bin(strip, i + n) - left_of_bin(strip, i),
				STRIP_HEIGHT, shades[level]);
	}
}

static void put_axis(const struct drawing *drawing, const struct strip *strip)
{
	for (unsigned i = 0; i <= 4; i++) {
		unsigned x = MARGIN + STRIP * i / 4, y = drawing->y + STRIP_HEIGHT;
		const char *anchor = i == 0 ? "start" : i == 4 ? "end" : "middle";

		fprintf(drawing->file, "<line x1=\"%u\" y1=\"%u\" x2=\"%u\" y2=\"%u\" stroke=\"#555555\"/>", x, y, x, y + 5);
		fprintf(drawing->file, "<text x=\"%u\" y=\"%u\" font-size=\"11\" fill=\"#555555\" text-anchor=\"%s\">%s</text>\n",
			x, y + 18, anchor, i ? human_size(strip->end * WB_BLOCK / 4 * i) : "0");
	}
}

static void put_strip(struct drawing *drawing, const struct strip *strip)
{
	char text[160];

	snprintf(text, sizeof(text), "Dirty blocks on the backing device: %" PRIu64 "%s%s", strip->blocks,
		 strip->blocks ? "; the darker, the denser" : "",
		 drawing->work->backing || !strip->blocks ? "" : "; its size is not known, this ends behind the last of them");
	put_line(drawing, drawing->y + 16, 14, "#222222", text);
	drawing->y += 28;
	if (!strip->end)
		return;
	fprintf(drawing->file, "<g shape-rendering=\"crispEdges\">\n");
	put_bins(drawing, strip);
	fprintf(drawing->file, "</g>\n<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"none\" stroke=\"#999999\"/>\n",
		MARGIN, drawing->y, STRIP, STRIP_HEIGHT);
	put_axis(drawing, strip);
}

/* ---- the drawing ---- */

static void put_head_lines(struct drawing *drawing, const char *patterns)
{
	char text[256];

	put_line(drawing, drawing->y, 19, "#000000", drawing->work->path);
	describe_ring(drawing->work, text, sizeof(text));
	put_line(drawing, drawing->y + 24, 13, "#444444", text);
	describe_cell(&drawing->fold, text, sizeof(text));
	put_line(drawing, drawing->y + 43, 13, "#444444", text);
	drawing->y += 60;
	if (!*patterns)
		return;
	put_line(drawing, drawing->y + 2, 13, "#b03a00", patterns);
	drawing->y += 20;
}

static void draw(struct drawing *drawing, const struct strip *strip)
{
	const char *patterns = describe_patterns(&drawing->work->ring);
	unsigned height = MARGIN + 78 + (*patterns ? 20 : 0) + drawing->rows * drawing->cell + 24 + legend_height(drawing) + 20 +
			  (strip->end ? 28 + STRIP_HEIGHT + 24 : 28) + MARGIN / 2;

	fprintf(drawing->file, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u %u\" "
		SANS ">\n<rect width=\"%u\" height=\"%u\" fill=\"#ffffff\"/>\n", WIDTH, height, WIDTH, height, WIDTH, height);
	drawing->y = MARGIN + 18;
	put_head_lines(drawing, patterns);
	put_grid(drawing);
	drawing->y += 24;
	put_legend(drawing);
	drawing->y += 20;
	put_strip(drawing, strip);
	fprintf(drawing->file, "</svg>\n");
}

int draw_svg(struct work *work)
{
	struct drawing drawing = { .work = work, .file = work->svg.file };
	struct strip *strip = calloc(1, sizeof(*strip));
	int status = 0;

	if (!has_ring(work)) {
		free(strip);
		return common_refuse(common_of(work), work->path, "the log was ended, and nothing tells where its segments lay");
	}
	if (!strip || !fold_ring(work, CELLS_MAX, &drawing.fold))
		status = common_refuse(common_of(work), work->path, "out of memory");
	if (!status) {
		strip->end = work->backing ? (wb_dev_size(work->backing) + WB_BLOCK - 1) / WB_BLOCK : 0;
		strip->unit = strip->end / BINS + 1;
		status = fill_strip(strip, work);
	}
	if (!status) {
		lay_out(&drawing);
		draw(&drawing, strip);
		status = output_complete(common_of(work), &work->svg);
	}
	free(drawing.fold.kinds);
	free(strip);
	return status;
}
