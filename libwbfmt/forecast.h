/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the two halves of the forecast share: forecast.c walks the slots as the driver does, fate.c follows the blocks. */
#ifndef WB_FORECAST_H
#define WB_FORECAST_H

#include "format.h"

enum {
	WB_FORE_APPLIED = 1, /* the driver takes it into its table */
	WB_FORE_WHOLE = 2,   /* sealed, in any dialect: a version that counts */
	WB_FORE_TOP = 4,     /* v0: the last that is taken into the slot of its id */
	WB_FORE_DIRTY = 8,   /* has a dirty metablock */
	WB_FORE_ZERO = 16,   /* v0: has dirty blocks, and all their data reads as zeroes */
	WB_FORE_UNREADABLE = 32, /* some of it cannot be read */
	WB_FORE_GONE = 64,       /* v0: its header read once, and then no more */
	WB_FORE_RAW = 128,       /* the checksum of its data holds as drivers up to 2.0.1 compute it */
	WB_FORE_COMPLEMENT = 256, /* and as later ones do */
	WB_FORE_LAPS = 512,      /* v0: laps agree, whichever they are */
	WB_FORE_BEYOND = 1024,   /* has a dirty metablock beyond the end of BACKING */
	WB_FORE_CLAIM = 2048,    /* not whole, but its header fits: BACKING may hold what it speaks of */
};

#define WB_FORE_DRIVERS 16u

struct wb_forecast_slot {
	uint64_t id;     /* as it stands there */
	uint32_t below;  /* v0: slot + 1 whose header was taken into the slot of its id before this one; 0: none */
	uint32_t check;  /* of its metadata */
	uint8_t length;
	uint8_t aligned; /* first metablock that is not; UINT8_MAX: none */
	uint16_t flags;
};

struct wb_walk {
	struct wb_forecast *forecast;
	struct wb_dev *dev, *backing;
	struct wb_geometry geometry;
	struct wb_forecast_slot *slots;
	bool scanned;             /* they say what is there */
	uint32_t unreadable;      /* the first slot whose header is, or WB_NO_SLOT */
	uint64_t backing_sectors; /* 0: not known */
	size_t capacity;          /* entries in memory */
	bool ended;               /* sector 0 says so: there is nothing to look at */
	bool fixed_unreadable;    /* some of the 4 KiB around sector 0 or the record */
	unsigned order_byte;
	uint64_t record;
	/* The drivers that could assemble it, oldest first; own ... own_last are those of the first forecast, next and what
	 * follows have been told: */
	const struct wb_driver *drivers[WB_FORE_DRIVERS];
	unsigned driver_count, own, own_last, next;
	/* Of the driver at hand, from here on: */
	unsigned recovery;
	uint32_t start;           /* the slot it looks at first */
	bool going;               /* it has not stopped yet */
	/* Positions in the order of the walk, (slots behind start) << 8 | metablock: */
	uint64_t limit;           /* nothing is applied from here on */
	uint64_t deaf;            /* no write lands that the walk makes behind this one */
	uint64_t last;            /* id it goes on from */
	uint64_t base;            /* what it takes for written back, and all before */
	uint64_t clean_from, clean_count; /* slots marked clean, from that of this id on */
	uint64_t ranks;           /* slots whose dirty blocks it writes back, from that of base + 1 on */
	uint64_t urged;           /* those of them it writes before dmsetup returns */
	bool displaced;           /* v0: a header was taken that lies out of place */
	bool beyond;              /* something applied lies beyond BACKING */
	/* What the device tells, whatever the driver makes of it: */
	uint64_t head;            /* newest id by consensus */
	uint64_t over, floor;     /* versions at or below `over` are older than the window, those up to floor on BACKING */
	uint32_t restarted;       /* slots below this one are younger than head */
	uint64_t believed;        /* ids up to here count as on BACKING where it cannot be asked */
	uint64_t zeroed_below;    /* v0: what is older has been discarded */
};

/* The slot's place in the walk. */
static inline uint64_t wb_walk_turn(const struct wb_walk *walk, uint32_t slot)
{
	return ((uint64_t)slot + walk->geometry.slots - walk->start) % walk->geometry.slots;
}

/* The slot's place in the writeback: 0 is that of base + 1. */
static inline uint64_t wb_walk_rank(const struct wb_walk *walk, uint32_t slot)
{
	return ((uint64_t)slot + walk->geometry.slots - walk->base % walk->geometry.slots) % walk->geometry.slots;
}

/* How new the slot's segment is, as an id that fits the consensus. */
uint64_t wb_walk_age(const struct wb_walk *walk, uint32_t slot);
/* Its data has been discarded (v0). */
bool wb_walk_zeroed(const struct wb_walk *walk, uint32_t slot);
/* Metadata of n slots, WB_BLOCK bytes each; -WB_ECHANGED when it is not what it was. */
int wb_walk_metadata(const struct wb_walk *walk, const uint32_t *slots, unsigned n, uint8_t *metas,
		     struct wb_error *err);

/* Writes that fail, and dirty blocks left in a slot: may turn the outcome. Only where the walk gives reason. */
int wb_fate_probe(struct wb_walk *walk, const struct wb_progress *progress, struct wb_error *err);
/* Counts what is written, abandoned, regressed. */
int wb_fate_count(struct wb_walk *walk, struct wb_dev *backing, const struct wb_progress *progress,
		  struct wb_error *err);

#endif
