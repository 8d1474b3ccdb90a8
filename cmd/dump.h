/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of wb-dump share: what was asked for, what was found, and the way over the slots. */
#ifndef DUMP_H
#define DUMP_H

#include <stdio.h>

#include "common.h"
#include "output.h"
#include "pack.h"

struct range {
	bool given;
	uint64_t first, last;
};

struct dump_options {
	struct common common;
	bool superblock, segments, metablocks, metadata_only, no_headings, bytes;
	bool list_dirty, map;
	struct range ids, slots, sectors;
	bool data;
	uint64_t data_id, data_index;
	char *output; /* the columns; NULL: the default ones */
	char *domain_map, *svg;
	struct pack_options pack;
	struct wb_decide_options decide;
	struct wb_ring_options ring;
	uint64_t memory;
};

struct work {
	const struct dump_options *options;
	const char *path, *backing_path;
	struct wb_dev *dev, *backing; /* BACKING may be NULL */
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_map lost;           /* bytes of CACHE that could not be read */
	struct wb_decision decision;
	struct output domain_map, svg;
	uint64_t damage[WB_RULES];    /* findings that are damage, by rule */
};

static inline const struct common *common_of(const struct work *work)
{
	return &work->options->common;
}

/* An ended log may leave nothing that tells its geometry. */
static inline bool has_ring(const struct work *work)
{
	return work->ring.slots != NULL;
}

/* And nothing has been written to the log since. */
static inline bool is_ended(const struct work *work)
{
	return work->cache.super == WB_SUPER_ENDED && !work->damage[WB_RULE_WRITTEN_AFTER_END];
}

static inline bool in_range(const struct range *range, uint64_t value)
{
	return range->given && value >= range->first && value <= range->last;
}

/* ---- dump.c ---- */

/* A walk over slots, whose metadata is read batch by batch. */
struct walk {
	struct work *work;
	uint32_t start;      /* the first slot; after the last one comes slot 0 */
	bool no_metadata;    /* reads nothing */
	const char *phase;   /* for the progress; NULL: silent */
	void *context;
	bool (*wanted)(void *context, uint32_t slot);
	/* meta is NULL when it was not read or is unreadable; what salvage corrects is corrected in it */
	void (*visit)(void *context, uint32_t slot, const uint8_t *meta);
};

/* 0 or an exit status. */
int walk_slots(const struct walk *walk);

/* A line on stderr about what is shown, unless --quiet. */
__attribute__((format(printf, 2, 3))) void note(const struct work *work, const char *format, ...);

/* stdout is a terminal that knows colours, and nobody minds them. */
bool wants_colour(void);

/* The progress bar may be on the terminal that the data goes to. */
void begin_output(void);

/* ---- what is shown; those that can fail return 0 or an exit status ---- */

void summarise(const struct work *work);
void say_summary(const struct work *work);
void show_superblock(const struct work *work);
const char *super_name(enum wb_super super);
/* What is wrong with the ring as a whole, empty when nothing is; static storage. */
const char *describe_patterns(const struct wb_ring *ring);

/* Pictures of the ring. */
int show_map(struct work *work);
int draw_svg(struct work *work);

/* Segments and metablocks. */
static inline bool has_tables(const struct dump_options *options)
{
	return options->segments || options->metablocks || options->ids.given || options->slots.given;
}

/* A usage error when --output does not fit the table. */
void check_table_columns(const struct dump_options *options);
int show_tables(struct work *work);

/* The versions of backing sectors. */
void check_sector_columns(const struct dump_options *options);
int show_history(struct work *work);

/* Needs no ring. */
int show_data(struct work *work);

static inline bool wants_dirty(const struct dump_options *options)
{
	return options->list_dirty || options->domain_map;
}

/* Fills work->decision. Salvage corrects the ring: what shall show it as it is comes first. */
int decide(struct work *work);
void check_dirty_columns(const struct dump_options *options);
int list_dirty(struct work *work);

#endif
