/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of wb-check share: a look at a cache, and what was found in it. */
#ifndef CHECK_H
#define CHECK_H

#include "common.h"
#include "undo_file.h"

struct check_options {
	struct common common;
	bool metadata_only, explain_kernel, require_clean, require_ended, find_bitflip, repair, dry_run, export;
	char *undo_path;
	uint64_t memory;
};

#define RANGES 6u

struct ranges {
	struct { uint64_t first, last; } list[RANGES];
	unsigned count;
	uint64_t shown; /* numbers that lie in them */
};

struct fold {
	uint64_t count;
	struct ranges ids, slots;
	unsigned bits;
	enum wb_severity severity; /* the worst */
	uint64_t first_offset;
};

struct findings {
	struct work *work;
	struct fold folds[WB_RULES];
	uint64_t total, damage;
	uint64_t beyond_blocks, beyond_sectors; /* dirty, and beyond the end of BACKING: every version */
	bool silent; /* they are only counted */
};

/* One way to see a log. */
struct reading {
	uint64_t first, head, live, holes, damaged_slots, dirty_sectors;
};

struct work {
	struct check_options *options;
	struct wb_dev *cache_dev, *backing;
	const char *cache_path, *backing_path;
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_proof proof;
	struct wb_end_proof end; /* of an ended log; its proof is the above */
	char partition[1024]; /* of BACKING, a whole disk: what is the backing device; see part_of_backing() */
	struct reading wrapped; /* over 2 TiB, when no --slot-address is given */
	struct findings *findings;
	struct undo_file undo;
	char foreign[512]; /* signatures of others, where sector 0 is not that of a cache */
	bool written_after_end; /* the log was ended, and is looked at all the same */
	bool repaired;    /* --repair has done what it can */
	uint64_t repairs; /* that --repair would make, without flipped bits */
};

static inline const struct common *common_of(const struct work *work)
{
	return &work->options->common;
}

/* Counts a finding, and reports it unless the findings are silent; the callback of wb_check(). context: struct findings. */
int check_found(void *context, const struct wb_finding *finding);
/* One entry a rule, the gravest first; and the same with a heading. */
void check_say_folds(const struct findings *findings);
void check_say_findings(const struct findings *findings);

/* Where a shifted device began, as a value for --start: byte of the whole device. False when it is none. */
bool check_start(const struct wb_ring *ring, unsigned i, int64_t *start);
struct wb_ring_options check_ring_options(const struct work *work);
bool check_address_is_open(const struct work *work);
/* The log as the other way to address slots shows it; its table is gone before the one that is reported is loaded. */
int check_read_wrapped(struct work *work);
int check_tell_readings(struct work *work);
/* The log was ended, and nothing has been written to it since. */
bool check_log_is_closed(const struct work *work);
/* It was, and BACKING, where it is given, holds what the marker says was written back. */
bool check_end_holds(const struct work *work);
uint64_t check_dirty_sectors(const struct work *work);
/* What --require-clean and --require-ended ask for; and whether those that were given are met. */
bool check_is_clean(const struct work *work);
bool check_is_ended(const struct work *work);
bool check_is_as_required(const struct work *work);
void check_say_ring(const struct work *work);
void check_say_verdict(struct work *work);
void check_summarise(const struct work *work);

int check_count_repairs(struct work *work);
/* From here on the ring is what it is with those bits flipped back. */
int check_find_bitflips(struct work *work);
int check_repair(struct work *work);

/* The cache as it stands now: its log, its pair, its findings. */
int check_look(struct work *work);

#endif
