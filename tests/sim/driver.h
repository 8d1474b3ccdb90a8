/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The write path of the drivers: v0 of October 2013 (236732eb), v1 1.0.1, v2 before and since 2.2.0. */
#ifndef DRIVER_H
#define DRIVER_H

#include "disk.h"
#include "layout.h"
#include "oracle.h"

#define CAPACITY_MAX 255u

struct config {
	unsigned int generation, order, slots;
	unsigned int sectors;	/* of BACKING */
	bool foreground;	/* writes back in the foreground: v0, v1, v2 before 2.2.0 */
	bool raw;		/* v2: 2.0.0 and 2.0.1 */
	bool records;		/* updates the superblock record */
	bool reads;		/* caches reads: v1, v2 */
	bool discards;		/* v0: a discarded block reads as zeroes; otherwise as before */
	bool orderly;		/* what CACHE was not told to flush lands in order */
	bool lying;		/* CACHE says that it has flushed, and has not */
};

struct metablock {
	uint32_t block;
	uint8_t bits;		/* sectors that it holds */
	bool dirty;
};

struct segment {
	uint64_t id;
	unsigned int length;
	struct metablock mb[CAPACITY_MAX];
};

/* A segment as it was written, for those who judge later. */
struct written {
	uint64_t id;
	unsigned int length;
	uint32_t closed;	/* the application's time when it was complete */
	bool dropped;		/* the driver did not take it when it came up again */
	bool on_its_way;	/* to the disk, at least */
	struct metablock mb[CAPACITY_MAX];
	uint8_t *bytes;		/* (length + 1) blocks */
};

struct barrier {
	uint64_t id;		/* the segment it waits for, 0: not known yet */
	unsigned int *promise;	/* of a flush, else NULL */
	unsigned int sector, count;
	uint32_t time;		/* of a write with FUA */
};

struct cell {
	uint32_t block;
	bool cancelled;
	uint8_t bytes[BLOCK];
};

#define POOL 8u
#define BARRIERS 64u
#define CELLS 4u
#define CACHE_ROOM 24u	/* writes in CACHE's volatile cache */
#define KEPT (CACHE_ROOM / 2 + 4)	/* segments that a slot may yet turn out to hold, of two slots */

struct driver {
	const struct config *config;
	bool raw;		/* v2: as 2.0.1 sums; an upgrade changes it */
	struct power *power;
	struct disk *cache, *backing;
	struct oracle *oracle;
	unsigned int capacity;
	uint64_t slot_bytes;
	struct segment *segments;	/* a slot each */
	struct { int slot, index; } *where;	/* of each block; slot -1: not cached */
	uint8_t *pool[POOL];
	struct segment *current;
	unsigned int cursor;	/* v1, v2: blocks used; v0: the index used last, -1 before the first */
	uint64_t queued, flushed, written_back;
	uint32_t placing;	/* 1: the newest write has begun and is not in the buffer yet */
	struct barrier barriers[BARRIERS];
	unsigned int barrier_count;
	struct cell cells[CELLS];
	unsigned int cell_count;
	struct written **history;	/* KEPT for each slot, newest first */
	bool *foreground;	/* sectors that were written back in the foreground */
	bool twice;		/* v0: it came up with two versions of a block */
	bool died;		/* where the real driver would run into a BUG() */
	bool wrong_read;	/* the simulated driver itself is wrong */
};

void driver_open(struct driver *driver, const struct config *config, struct power *power, struct disk *cache,
		 struct disk *backing, struct oracle *oracle);
void driver_close(struct driver *driver);

void driver_write(struct driver *driver, unsigned int sector, unsigned int count, bool fua);
/* Writes what was there already: now, or once. */
void driver_rewrite(struct driver *driver, unsigned int sector, unsigned int count, bool newest);
void driver_read(struct driver *driver, unsigned int sector, unsigned int count);
void driver_flush(struct driver *driver);

/* What its threads do when they get to run. */
void driver_write_segment(struct driver *driver);
void driver_run_barriers(struct driver *driver);
void driver_write_back(struct driver *driver, unsigned int most);
void driver_update_record(struct driver *driver);
void driver_inject_reads(struct driver *driver);
void driver_synchronize(struct driver *driver);

void driver_shutdown(struct driver *driver);
/* After a power cut: everything in RAM is gone. */
void driver_crash(struct driver *driver);
/* The driver's own recovery. False where it goes wrong in a way that it would not survive. */
bool driver_recover(struct driver *driver);
/* What the application would read. */
void driver_peek(const struct driver *driver, unsigned int sector, uint8_t *out);

/* Just come up: a clean copy is not what BACKING holds. */
bool driver_serves_stale(const struct driver *driver);

uint64_t slot_offset(const struct driver *driver, unsigned int slot);
unsigned int slot_of(const struct driver *driver, uint64_t id);
uint32_t lap_of(const struct driver *driver, uint64_t id);

#endif
