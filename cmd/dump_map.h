/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the two pictures of a ring share: the kinds of cells, and the ring folded into so many of them. */
#ifndef DUMP_MAP_H
#define DUMP_MAP_H

#include "dump.h"

/* From harmless to bad: of the slots of a cell the last one of these shows. */
enum kind {
	KIND_EMPTY,
	KIND_FOREIGN,
	KIND_OLD,
	KIND_CLEAN, /* live, nothing in it is dirty */
	KIND_DIRTY, /* live */
	KIND_TORN_HEAD,
	KIND_TORN_TAIL,
	KIND_ZEROED,
	KIND_STALE_LAP,
	KIND_PART_READABLE,
	KIND_AHEAD,
	KIND_ALIEN_ID,
	KIND_BAD_LENGTH,
	KIND_ROTTEN,
	KIND_UNREADABLE,
	KINDS
};

struct kind_info {
	char glyph;             /* letters are for what is wrong */
	const char *name;
	const char *sgr;        /* on a terminal */
	const char *fill, *ink; /* in a drawing; ink NULL: no glyph */
};

const struct kind_info *kind_info(enum kind kind);
enum kind kind_of(const struct wb_slot *slot);

struct fold {
	uint32_t slots_per_cell, cells;
	uint8_t *kinds;          /* enum kind of each cell; caller's to free */
	uint64_t counts[KINDS];  /* slots */
	uint32_t head_cell;      /* where the newest segment is; cells when there is none */
};

/* Folds the ring into at most so many cells of 1, 2, 5, 10, ... slots. False: out of memory. */
bool fold_ring(const struct work *work, uint32_t cells_max, struct fold *fold);

/* "v2, 16 slots of 512.0 KiB; newest segment 40, window 25 ... 40" */
void describe_ring(const struct work *work, char *text, size_t size);
/* "a cell is one slot" */
void describe_cell(const struct fold *fold, char *text, size_t size);

#endif
