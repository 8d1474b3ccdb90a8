/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inputs of the ring target: what a cache and its backing image are made of, in a head and items of 16 bytes each, so
 * that every string of bytes is some pair of images. Data is not in it: a sector holds what its address and version tell.
 */
#ifndef RECIPE_H
#define RECIPE_H

#include "bytes.h"

#define RECIPE_ITEM 16u   /* bytes of the head, and of an item */
#define RECIPE_ITEMS 400u

enum head_byte {
	HEAD_FORMAT /* and what is skipped, to be faster */, HEAD_ORDER, HEAD_SLOTS, HEAD_BACKING /* blocks */, HEAD_TAIL /* sectors behind them */,
	HEAD_SECTOR0, HEAD_CHOICES, HEAD_MORE, HEAD_RECORD /* le64 */
};

enum sector0 { SECTOR0_GOOD, SECTOR0_ZEROED, SECTOR0_GARBAGE, SECTOR0_ORDER, SECTOR0_MARKER, SECTOR0_KINDS };

/* Bits 2 ... 7 of HEAD_FORMAT; three are the policies */
enum skip { SKIP_CHECK = 8, SKIP_FORECAST = 16, SKIP_COMPARED = 32 };

/* Bits of HEAD_CHOICES and HEAD_MORE */
enum choice {
	CHOICE_FORMAT = 1,   /* --generation and --order */
	CHOICE_SUMS = 2, CHOICE_TRUST = 4, CHOICE_IGNORE = 8, CHOICE_NEW = 16, CHOICE_OLD = 32, CHOICE_PHYSICAL = 64,
	CHOICE_BLOCK = 128,
	MORE_SKIP = 1, MORE_REPLAY = 2, MORE_REGRESS = 4, MORE_SIZE = 8, MORE_UNTIL = 16, MORE_COMPARE = 32, MORE_VERIFY = 64,
	MORE_METADATA = 128,
};

/* An item: op, three bytes, le32, le64 */
enum item_byte { ITEM_OP, ITEM_SLOT, ITEM_A, ITEM_B, ITEM_N = 4, ITEM_VALUE = 8 };

enum op {
	OP_SEGMENT,   /* VALUE is written to SLOT with the blocks that follow; A: its seal; B: what its length is wrong by;
		       * N: what its lap is wrong by */
	OP_BLOCK,     /* VALUE: sector; A: dirty bits; B: so much older than the segment; N: block_flags */
	OP_WRITEBACK, /* BACKING gets the segments given so far, up to VALUE; A: that one alone */
	OP_FLIP,      /* byte N of SLOT becomes different by A */
	OP_RESEAL,    /* SLOT is sealed again */
	OP_BAD,       /* sectors of SLOT cannot be read: A of them from N on */
	OP_BAD_BACKING, /* A sectors of BACKING cannot be read from VALUE on */
	OP_COPY,      /* SLOT is copied to A */
	OP_POKE,      /* byte N of the first MiB becomes A */
	OPS
};

enum seal { SEAL_GOOD, SEAL_RAW, SEAL_COMPLEMENTED, SEAL_BROKEN, SEALS };
enum block_flags { BLOCK_ZEROES = 1, BLOCK_UNIFORM = 2 };

#endif
