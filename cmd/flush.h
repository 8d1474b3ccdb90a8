/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of wb-flush-dirty share: a run, from its options to its result. */
#ifndef FLUSH_H
#define FLUSH_H

#include "common.h"
#include "guard.h"
#include "output.h"
#include "policy_options.h"
#include "state.h"
#include "undo_file.h"

struct flush_options {
	struct common common;
	bool dry_run, verify, compare, detach, keep;
	char *failed_path, *map_path, *undo_path, *state_path, *report_path;
	struct wb_decide_options decide;
	struct wb_ring_options ring;
	uint64_t memory;
};

struct work {
	struct flush_options *options;
	const char *cache_path, *backing_path;
	struct identity cache_identity, backing_identity;
	struct wb_dev *cache_dev, *marker_dev, *backing;
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_proof proof;
	struct wb_decision decision;
	unsigned damage;          /* that was there before --state was looked at: a decision corrects the ring */
	struct wb_replay_result result;
	bool ended;
	const char *no_end;       /* why the log cannot be ended, as far as a dry run can tell; NULL: it can */
	const char *busy;         /* of a dry run: CACHE or BACKING, if somebody uses it; see flush_busy() */
	struct wb_marker marker;  /* that ends the log, or would */
	struct wb_map clone_map; /* what was not rescued when CACHE, a clone, was made */
	struct wb_map failed;    /* what could not be read of CACHE */
	struct output failed_file;
	uint64_t stale_ranges, unusable, left_slots; /* how many were listed */
	struct undo_file undo;
	bool undo_is_old;         /* it was there before this run */
	struct state then, state; /* what --state holds of an earlier run, and of this one */
	bool resumable;           /* there was such a file, of this pair */
	bool saved;               /* this run has saved one */
	int state_status;         /* of the last attempt to save it */
	bool cache_fails, backing_fails, no_memory; /* what a replay failed for: an I/O error of one of the two, too large a --memory */
};

static inline const struct common *common_of(const struct work *work)
{
	return &work->options->common;
}

/* Of a dry run: which of the two is in use, so that the real run would be refused; NULL: neither. */
static inline const char *flush_busy(const struct work *work)
{
	return !work->options->dry_run	    ? NULL :
	       work->busy		    ? work->busy :
	       wb_dev_busy(work->cache_dev) ? work->cache_path :
	       wb_dev_busy(work->backing)   ? work->backing_path : NULL;
}

/* Sectors that this run and the one it resumes left alone. */
static inline uint64_t flush_unreadable(const struct work *work)
{
	return work->then.unreadable + work->result.unreadable_sectors;
}

/* No driver replays the log: this run ended it, or one before, and only --force=ended read it again. */
static inline bool flush_is_ended(const struct work *work)
{
	return work->ended || work->cache.super == WB_SUPER_ENDED;
}

/* Where the sweep begins, in bytes of BACKING. */
static inline uint64_t flush_begin(const struct work *work)
{
	return work->options->decide.resumed ? work->then.flushed - work->then.flushed % WB_BLOCK : 0;
}

/* The longest of what guard.h says about a device. */
#define WORDS 1024

int flush_refuse_overlap(const struct work *work);
/* CACHE is opened read-only; the closing marker goes through a descriptor of its own. */
int flush_open_marker(struct work *work);
int flush_open_cache(struct work *work);
int flush_open_backing(struct work *work);
/* Segments that are missing where a sparse image has nothing: a clone that was not rescued there looks like that. */
int flush_warn_of_holes(struct work *work);
/* A file system that lives on one of the devices must not be written to now. */
int flush_refuse_places(struct work *work);
int flush_describe(struct work *work);
/* An existing file is checked before anything else, and continued. */
int flush_open_old_undo(struct work *work);
/* Adopts what --state says of an earlier run, after a look at whether it is still so. */
int flush_resume(struct work *work);
/* Up to which address of BACKING everything is flushed, by a state; in a static buffer. */
const char *flush_reached_words(const struct work *work, const struct state *state);
int flush_save_state(void *context, uint64_t below);
/* Creates what the run is going to write beside BACKING, while nothing has been changed yet. */
int flush_open_records(struct work *work);
uint64_t flush_segments_in(const struct work *work, const struct wb_decision *decision);
/* The ids that are written: "3 to 9", or "3"; in a static buffer. */
const char *flush_range_words(const struct wb_decision *decision);
int flush_say_plan(struct work *work);
int flush_say_interrupted(const struct work *work, int status);
void flush_say_result(const struct work *work);
/* Everything of the window is on BACKING (in a dry run: will be), so that no driver ever needs this log again. */
bool flush_all_is_written(const struct work *work);
/* That, or --detach; and not --keep. */
bool flush_log_may_end(const struct work *work);
/* Says why, and the choices there are. */
int flush_refuse(struct work *work);
void flush_say_next(const struct work *work);
/* CACHE or BACKING fails where it is to be read or written: the same command would fail again, on a copy it does not. */
void flush_say_copy(const struct work *work);
/* The same with half of --memory, if that is enough for anything. */
void flush_say_less_memory(const struct work *work);
void flush_summarise(const struct work *work, double seconds);
/* Sectors whose newest version is lost: every range in JSON, the first ones for people. */
void flush_list_stale(void *context, uint64_t sector, uint64_t sectors);
/* A metablock that is left out because BACKING has no such sectors. */
void flush_list_left(void *context, const struct wb_left *left);
void flush_list_unusable(void *context, uint64_t id, unsigned index, uint64_t sector, uint8_t dirty);
void flush_report_decision(const struct work *work);
void flush_report_classes(const struct wb_ring *ring);

#endif
