/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Carries a plan out: one ascending sweep over the backing addresses, every sector written at most once
 * with its final content, so that a run cut off anywhere leaves each sector as it was or as it must be.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bytes.h"
#include "error.h"
#include "sweep.h"

#define ARENA (4u << 20)      /* bytes collected before they are submitted */
#define RUN_MAX (1u << 20)    /* bytes of one write request */
#define RUNS_MAX 1024u

struct writer {
	struct wb_ring *ring;
	struct wb_dev *backing;
	const struct wb_replay_options *options;
	struct wb_replay_result *result;
	struct wb_sweep sweep;
	bool whole_blocks;           /* BACKING writes nothing smaller inside than a block: merge with what it holds */
	bool only_whole;             /* and takes nothing smaller */
	time_t last_flush;
	uint8_t *arena;
	size_t used;
	struct wb_io runs[RUNS_MAX];
	uint32_t planned[RUNS_MAX];  /* sectors of the plan in each run; the rest is merged in */
	unsigned run_count;
};

static int submit_runs(struct writer *writer, unsigned n, struct wb_error *err)
{
	int ret = 0;

	if (writer->options->extent)
		for (unsigned i = 0; i < n; i++)
			writer->options->extent(writer->options->context, writer->runs[i].offset / WB_SECTOR,
						writer->runs[i].length / WB_SECTOR);
	writer->result->writes += n;
	if (writer->options->dry_run)
		return 0;
	ret = wb_dev_submit(writer->backing, writer->runs, n, err);
	for (unsigned i = 0; i < n; i++)
		writer->result->written_sectors += writer->runs[i].result ? 0 : writer->planned[i];
	return ret;
}

/* Makes room: submits all runs but the last, which may still grow; all of them when `last` is wanted too. */
static int drain(struct writer *writer, bool last, struct wb_error *err)
{
	unsigned n = writer->run_count - (last || writer->run_count < 2 ? 0 : 1);
	int ret = submit_runs(writer, n, err);
	size_t kept = 0;

	if (n < writer->run_count) {
		struct wb_io *open = &writer->runs[n];

		memmove(writer->arena, open->buffer, open->length);
		writer->runs[0] = *open;
		writer->runs[0].buffer = writer->arena;
		writer->planned[0] = writer->planned[n];
		kept = open->length;
	}
	writer->run_count -= n;
	writer->used = kept;
	return ret;
}

/* Puts bytes behind the last run, or begins one; `planned` of their sectors are the plan's. */
static int append(struct writer *writer, uint64_t offset, const uint8_t *bytes, uint32_t length, uint32_t planned,
		  struct wb_error *err)
{
	if (writer->used + length > ARENA || writer->run_count == RUNS_MAX) {
		int ret = drain(writer, false, err);

		if (ret)
			return ret;
	}
	struct wb_io *open = writer->run_count ? &writer->runs[writer->run_count - 1] : NULL;

	if (!open || open->offset + open->length != offset || open->length + length > RUN_MAX) {
		writer->planned[writer->run_count] = 0;
		open = &writer->runs[writer->run_count++];
		*open = (struct wb_io){ .buffer = writer->arena + writer->used, .offset = offset, .write = true };
	}
	memcpy(writer->arena + writer->used, bytes, length);
	open->length += length;
	writer->planned[writer->run_count - 1] += planned;
	writer->used += length;
	return 0;
}

static void leave_alone(struct writer *writer, const struct wb_view *view, uint8_t lost)
{
	writer->result->unreadable_sectors += (unsigned)__builtin_popcount(lost);
	for (unsigned sector = 0; writer->options->left_alone && sector < WB_SECTORS_PER_BLOCK; sector++)
		if (lost >> sector & 1)
			writer->options->left_alone(writer->options->context,
						    view->block * WB_SECTORS_PER_BLOCK + sector, 1);
}

/* Puts the block together from its versions; returns the sectors that are defined now. */
static uint8_t compose(struct writer *writer, const struct wb_view *view, uint8_t *block)
{
	uint8_t defined = 0;

	for (size_t i = 0; i < view->count; i++) {
		uint8_t wanted = view->entries[i].dirty & view->inside;
		uint8_t lost = wanted & (uint8_t)~view->readable[i];

		writer->result->planned_sectors += (unsigned)__builtin_popcount(wanted);
		if (lost)
			leave_alone(writer, view, lost);
		wanted &= view->readable[i];
		for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++)
			if (wanted >> sector & 1)
				memcpy(block + sector * WB_SECTOR, view->data + i * WB_BLOCK + sector * WB_SECTOR,
				       WB_SECTOR);
		defined |= wanted;
	}
	return defined;
}

/* Of the defined sectors, those that BACKING does not hold yet. */
static uint8_t without_equal(struct writer *writer, const struct wb_view *view, const uint8_t *block, uint8_t defined)
{
	uint8_t result = defined;

	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++)
		if (defined & view->backing_readable & 1u << sector &&
		    !memcmp(block + sector * WB_SECTOR, view->backing + sector * WB_SECTOR, WB_SECTOR))
			result &= (uint8_t)~(1u << sector);
	writer->result->skipped_equal += (unsigned)__builtin_popcount(defined & ~result);
	return result;
}

static bool mergeable(const struct wb_view *view, uint8_t defined)
{
	return !(view->inside & ~defined & ~view->backing_readable);
}

/* A device of larger blocks: the rest of the block stays what BACKING holds. */
static int merge(const struct wb_view *view, uint8_t *block, uint8_t defined, struct wb_error *err)
{
	if (!mergeable(view, defined))
		return wb_fail(err, WB_EIO, 0, view->block * WB_BLOCK,
			       "this block of the backing device must be merged and cannot be read");
	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++)
		if (!(defined >> sector & 1))
			memcpy(block + sector * WB_SECTOR, view->backing + sector * WB_SECTOR, WB_SECTOR);
	return 0;
}

static int append_runs(struct writer *writer, uint64_t offset, const uint8_t *block, unsigned sectors_mask,
		       struct wb_error *err)
{
	while (sectors_mask) {
		unsigned from = (unsigned)__builtin_ctz(sectors_mask);
		unsigned sectors = (unsigned)__builtin_ctz(~(sectors_mask >> from));
		int ret = append(writer, offset + from * WB_SECTOR, block + from * WB_SECTOR, sectors * WB_SECTOR, sectors,
				 err);

		if (ret)
			return ret;
		sectors_mask &= ~(((1u << sectors) - 1) << from);
	}
	return 0;
}

static bool checkpoint_due(const struct writer *writer)
{
	return writer->options->flushed && time(NULL) - writer->last_flush >= (time_t)writer->options->interval;
}

static int write_block(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct writer *writer = context;
	uint8_t block[WB_BLOCK];
	uint8_t defined = compose(writer, view, block);

	writer->sweep.pause = checkpoint_due(writer);
	if (writer->options->compare)
		defined = without_equal(writer, view, block, defined);
	if (!defined || !writer->whole_blocks || (!writer->only_whole && !mergeable(view, defined)))
		return append_runs(writer, view->block * WB_BLOCK, block, defined, err);
	int ret = merge(view, block, defined, err);

	return ret ? ret : append(writer, view->block * WB_BLOCK, block,
				  WB_SECTOR * (unsigned)__builtin_popcount(view->inside),
				  (unsigned)__builtin_popcount(defined), err);
}

static int verify_block(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct writer *writer = context;

	for (size_t i = 0; i < view->count; i++)
		for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++) {
			uint64_t offset = view->block * WB_BLOCK + sector * WB_SECTOR;
			const uint8_t *want = view->data + i * WB_BLOCK + sector * WB_SECTOR;

			if (!(view->entries[i].dirty & view->inside & view->readable[i] & 1u << sector))
				continue;
			if (!(view->backing_readable >> sector & 1))
				return wb_fail(err, WB_EIO, 0, offset, "rereading sector %llu of the backing device failed",
					       (unsigned long long)(offset / WB_SECTOR));
			if (memcmp(want, view->backing + sector * WB_SECTOR, WB_SECTOR))
				return wb_fail(err, WB_EIO, 0, offset,
					       "sector %llu of the backing device does not hold what was written to it",
					       (unsigned long long)(offset / WB_SECTOR));
			writer->result->verified_sectors++;
		}
	return 0;
}

/* A stretch of entries, all of whose writes are on the medium (and reread) when it returns. */
static int settle_stretch(struct writer *writer, struct wb_entry *entries, size_t n, const struct wb_progress *progress,
			  struct wb_error *err)
{
	struct wb_sweep verification = writer->sweep;
	int ret = drain(writer, true, err);

	if (ret || writer->options->dry_run)
		return ret;
	ret = wb_dev_flush(writer->backing, err);
	writer->last_flush = time(NULL);
	if (ret || !writer->options->verify)
		return ret;
	wb_dev_forget(writer->backing);
	verification.backing = writer->backing;
	verification.visit = verify_block;
	verification.phase = "verifying what was written";
	return wb_sweep_run(&verification, entries, n, progress, err);
}

static int tell_flushed(struct writer *writer, uint64_t block, struct wb_error *err)
{
	uint64_t below = block > UINT64_MAX / WB_BLOCK ? UINT64_MAX : block * WB_BLOCK;

	if (!writer->options->flushed || writer->options->dry_run ||
	    !writer->options->flushed(writer->options->context, below))
		return 0;
	return wb_fail(err, WB_ESTOPPED, 0, WB_NO_OFFSET, "stopped by the caller");
}

static int replay_pass(struct writer *writer, struct wb_plan *plan, const struct wb_progress *progress,
		       struct wb_error *err)
{
	struct wb_sweep sum = { .ring = writer->ring, .check = WB_CHECK_STORE, .phase = "summing" };
	size_t begin = 0, end = 0;
	int ret = 0;

	if (!writer->ring->sums)
		ret = wb_sweep_run(&sum, plan->entries, plan->count, progress, err);
	for (; !ret && end < plan->count; begin = end) {
		ret = wb_sweep_some(&writer->sweep, plan->entries, plan->count, &end, progress, err);
		bool stopped = ret == -WB_ESTOPPED;

		/* a wish to stop is not heard again until what was visited is settled */
		if (!ret || stopped)
			ret = settle_stretch(writer, plan->entries + begin, end - begin, stopped ? NULL : progress, err);
		if (!ret)
			ret = tell_flushed(writer, end < plan->count ? plan->entries[end].block : plan->end, err);
		if (!ret && stopped)
			ret = wb_fail(err, WB_ESTOPPED, 0, WB_NO_OFFSET, "stopped while %s", writer->sweep.phase);
	}
	return ret;
}

static void prepare(struct writer *writer, struct wb_ring *ring, struct wb_dev *backing)
{
	writer->only_whole = wb_dev_block(backing) > WB_SECTOR;
	writer->whole_blocks = wb_dev_physical_block(backing) > WB_SECTOR;
	writer->last_flush = time(NULL);
	writer->sweep = (struct wb_sweep){
		.ring = ring, .backing_sectors = wb_dev_size(backing) / WB_SECTOR, .context = writer,
		.backing = writer->options->compare || writer->whole_blocks ? backing : NULL,
		.check = WB_CHECK_COMPARE, .visit = write_block,
		.phase = writer->options->dry_run ? "reading" : "writing back",
	};
}

int wb_replay(struct wb_ring *ring, const struct wb_scope *scope, struct wb_dev *backing,
	      const struct wb_replay_options *options, struct wb_replay_result *result,
	      const struct wb_progress *progress, struct wb_error *err)
{
	struct writer *writer = calloc(1, sizeof(*writer));
	struct wb_plan plan = { .ring = ring };
	void *arena = NULL;
	int ret;

	*result = (struct wb_replay_result){ .passes = 0 };
	if (!writer || posix_memalign(&arena, WB_BLOCK, ARENA)) {
		free(writer);
		return wb_no_memory(err, "buffers");
	}
	*writer = (struct writer){ .ring = ring, .backing = backing, .options = options, .result = result,
				   .arena = arena };
	prepare(writer, ring, backing);
	ret = wb_plan_open(&plan, ring, scope, options->capacity, err);
	plan.end = options->begin / WB_BLOCK; /* where the first range begins */
	while (!ret && (ret = wb_plan_next(&plan, progress, err)) > 0) {
		result->passes = plan.passes;
		ret = replay_pass(writer, &plan, progress, err);
	}
	if (ret == -WB_ESTOPPED && !options->dry_run)
		wb_dev_flush(backing, NULL);
	wb_plan_close(&plan);
	free(arena);
	free(writer);
	return ret;
}

/* ---- what an earlier run has written ---- */

struct comparison {
	uint64_t differing;
};

static int count_differing(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct comparison *comparison = context;

	(void)err;
	for (size_t i = 0; i < view->count; i++) {
		uint8_t wanted = view->entries[i].dirty & view->inside & view->readable[i];

		for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++)
			if (wanted >> sector & 1 &&
			    (!(view->backing_readable >> sector & 1) ||
			     memcmp(view->data + i * WB_BLOCK + sector * WB_SECTOR, view->backing + sector * WB_SECTOR,
				    WB_SECTOR)))
				comparison->differing++;
	}
	return 0;
}

/* Keeps the entries of every stride-th block below `end`; returns how many. */
static size_t thin_out(struct wb_entry *entries, size_t n, uint64_t end, uint64_t stride)
{
	uint64_t blocks = 0;
	size_t kept = 0;

	for (size_t i = 0; i < n && entries[i].block < end; i++) {
		blocks += i && entries[i].block != entries[i - 1].block;
		if (blocks % stride == 0)
			entries[kept++] = entries[i];
	}
	return kept;
}

int wb_replay_compare(struct wb_ring *ring, const struct wb_scope *scope, struct wb_dev *backing, size_t capacity,
		      uint64_t below, uint64_t sample, uint64_t *differing, const struct wb_progress *progress,
		      struct wb_error *err)
{
	struct comparison comparison = { .differing = 0 };
	struct wb_sweep sweep = { .ring = ring, .backing = backing, .backing_sectors = wb_dev_size(backing) / WB_SECTOR,
				  .context = &comparison, .visit = count_differing,
				  .phase = "rereading what an earlier run wrote" };
	uint64_t end = below / WB_BLOCK, stride = sample ? ring->dirty_blocks / sample + 1 : 1;
	struct wb_plan plan;
	int ret = wb_plan_open(&plan, ring, scope, capacity, err);

	while (!ret && plan.end < end && (ret = wb_plan_next(&plan, progress, err)) > 0) {
		size_t n = thin_out(plan.entries, plan.count, end, stride);

		ret = wb_sweep_run(&sweep, plan.entries, n, progress, err);
	}
	wb_plan_close(&plan);
	*differing = comparison.differing;
	return ret < 0 ? ret : 0;
}
