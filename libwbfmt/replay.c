/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Carries a plan out: one ascending sweep over the backing addresses, every sector written at most once
 * with its final content, so that a run cut off anywhere leaves each sector as it was or as it must be.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bytes.h"
#include "compose.h"
#include "dev.h"
#include "error.h"
#include "helper.h"

#define ARENA (4u << 20)      /* bytes collected before they are submitted */
#define ARENAS 2u             /* one is filled while the other one is written */
#define RUN_MAX (1u << 20)    /* bytes of one write request */
#define RUNS_MAX 1024u

/* Runs that are written together, in ascending order. */
struct arena {
	uint8_t *bytes;
	size_t used;
	struct wb_io runs[RUNS_MAX];
	uint32_t planned[RUNS_MAX];  /* sectors of the plan in each run; the rest is merged in */
	unsigned run_count;
};

struct writer {
	struct wb_ring *ring;
	struct wb_composer composer;
	struct wb_dev *backing;
	const struct wb_replay_options *options;
	struct wb_replay_result *result;
	struct wb_sweep sweep;
	bool whole_blocks;           /* BACKING writes nothing smaller inside than a block: merge with what it holds */
	bool only_whole;             /* and takes nothing smaller */
	time_t last_flush;
	struct arena arenas[ARENAS];
	struct arena *arena;         /* that is filled */
	struct wb_helper helper;     /* writes another one */
	struct arena *written;       /* NULL: none */
	unsigned write_count;        /* its runs that are to be written */
	struct wb_error failure;
	int failed;
};

static void write_runs(void *context)
{
	struct writer *writer = context;

	writer->failed = wb_dev_submit(writer->backing, writer->written->runs, writer->write_count, &writer->failure);
}

/* Waits for the writes under way, counts them, and tells how they ended. */
static int finish_writes(struct writer *writer, struct wb_error *err)
{
	struct arena *arena = writer->written;

	if (!arena)
		return 0;
	wb_helper_wait(&writer->helper);
	for (unsigned i = 0; i < writer->write_count; i++)
		writer->result->written_sectors += arena->runs[i].result ? 0 : arena->planned[i];
	writer->written = NULL;
	if (writer->failed && err)
		*err = writer->failure;
	return writer->failed;
}

/* The first n runs that have been collected, once the writes before them have succeeded. */
static int begin_writes(struct writer *writer, unsigned n, struct wb_error *err)
{
	struct arena *arena = writer->arena;
	int ret = finish_writes(writer, err);

	if (ret)
		return ret;
	if (writer->options->extent)
		for (unsigned i = 0; i < n; i++)
			writer->options->extent(writer->options->context, arena->runs[i].offset / WB_SECTOR,
						arena->runs[i].length / WB_SECTOR);
	writer->result->writes += n;
	if (writer->options->dry_run || !n)
		return 0;
	writer->written = arena;
	writer->write_count = n;
	wb_helper_give(&writer->helper, write_runs, writer);
	return 0;
}

/* Goes on in the other arena, with the last run of this one if it may still grow. */
static void change_arena(struct writer *writer, unsigned n)
{
	struct arena *full = writer->arena;
	struct arena *empty = &writer->arenas[full == &writer->arenas[0]];

	empty->used = empty->run_count = 0;
	if (n < full->run_count) {
		const struct wb_io *open = &full->runs[n];

		memcpy(empty->bytes, open->buffer, open->length);
		empty->runs[0] = *open;
		empty->runs[0].buffer = empty->bytes;
		empty->planned[0] = full->planned[n];
		empty->used = open->length;
		empty->run_count = 1;
	}
	writer->arena = empty;
}

/* Makes room: submits all runs but the last, which may still grow; all of them when `last` is wanted too. */
static int drain(struct writer *writer, bool last, struct wb_error *err)
{
	unsigned n = writer->arena->run_count - (last || writer->arena->run_count < 2 ? 0 : 1);
	int ret = begin_writes(writer, n, err);

	if (!ret)
		change_arena(writer, n);
	return ret;
}

/* Puts bytes behind the last run, or begins one; `planned` of their sectors are the plan's. */
static int append(struct writer *writer, uint64_t offset, const uint8_t *bytes, uint32_t length, uint32_t planned,
		  struct wb_error *err)
{
	if (writer->arena->used + length > ARENA || writer->arena->run_count == RUNS_MAX) {
		int ret = drain(writer, false, err);

		if (ret)
			return ret;
	}
	struct arena *arena = writer->arena;
	struct wb_io *open = arena->run_count ? &arena->runs[arena->run_count - 1] : NULL;

	if (!open || open->offset + open->length != offset || open->length + length > RUN_MAX) {
		arena->planned[arena->run_count] = 0;
		open = &arena->runs[arena->run_count++];
		*open = (struct wb_io){ .buffer = arena->bytes + arena->used, .offset = offset, .write = true };
	}
	memcpy(arena->bytes + arena->used, bytes, length);
	open->length += length;
	arena->planned[arena->run_count - 1] += planned;
	arena->used += length;
	return 0;
}

/* ---- what becomes of a block ---- */

/* Calls visit for each run of sectors in the mask. */
static void each_run(const struct wb_view *view, unsigned mask, void *context,
		     void (*visit)(void *context, uint64_t sector, uint64_t sectors))
{
	while (visit && mask) {
		unsigned from = (unsigned)__builtin_ctz(mask);
		unsigned sectors = (unsigned)__builtin_ctz(~(mask >> from));

		visit(context, view->block * WB_SECTORS_PER_BLOCK + from, sectors);
		mask &= ~(((1u << sectors) - 1) << from);
	}
}

struct alone {
	const struct wb_replay_options *options;
	enum wb_alone why;
};

static void tell_alone(void *context, uint64_t sector, uint64_t sectors)
{
	const struct alone *alone = context;

	alone->options->left_alone(alone->options->context, sector, sectors, alone->why);
}

static void leave_alone(struct writer *writer, const struct wb_view *view, unsigned mask, enum wb_alone why)
{
	struct alone alone = { writer->options, why };

	if (why == WB_ALONE_UNREADABLE)
		writer->result->unreadable_sectors += (unsigned)__builtin_popcount(mask);
	else
		writer->result->contested_sectors += (unsigned)__builtin_popcount(mask);
	each_run(view, mask, &alone, writer->options->left_alone ? tell_alone : NULL);
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
static int merge(const struct writer *writer, const struct wb_view *view, uint8_t *block, uint8_t defined, struct wb_error *err)
{
	if (!mergeable(view, defined))
		return wb_blame(writer->backing, wb_fail(err, WB_EIO, 0, view->block * WB_BLOCK,
			       "this block of the backing device must be merged and cannot be read"), err);
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
	uint8_t *block = writer->composer.block;

	writer->sweep.pause = checkpoint_due(writer);
	if (!wb_compose(&writer->composer, view))
		return 0;
	struct wb_block_outcome outcome = wb_settle_block(&writer->composer, view);
	uint8_t defined = outcome.written;

	if (outcome.newer && writer->composer.plan->scope.guard == WB_GUARD_REFUSE)
		return wb_blame(writer->backing, wb_refuse_older(&writer->composer, view, outcome.newer, err), err);
	writer->result->planned_sectors += (unsigned)__builtin_popcount(defined | outcome.unreadable);
	leave_alone(writer, view, outcome.unreadable, WB_ALONE_UNREADABLE);
	leave_alone(writer, view, outcome.newer, WB_ALONE_NEWER);
	leave_alone(writer, view, outcome.maybe_newer, WB_ALONE_HOLE);
	each_run(view, defined, writer->options->context, writer->options->planned);
	if (writer->options->compare)
		defined = without_equal(writer, view, block, defined);
	if (!defined || !writer->whole_blocks || (!writer->only_whole && !mergeable(view, defined)))
		return append_runs(writer, view->block * WB_BLOCK, block, defined, err);
	int ret = merge(writer, view, block, defined, err);

	return ret ? ret : append(writer, view->block * WB_BLOCK, block,
				  WB_SECTOR * (unsigned)__builtin_popcount(view->inside),
				  (unsigned)__builtin_popcount(defined), err);
}

static int verify_block(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct writer *writer = context;

	if (!wb_compose(&writer->composer, view))
		return 0;
	uint8_t written = wb_settle_block(&writer->composer, view).written;

	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++) {
		uint64_t offset = view->block * WB_BLOCK + sector * WB_SECTOR;

		if (!(written >> sector & 1))
			continue;
		if (!(view->backing_readable >> sector & 1))
			return wb_blame(writer->backing, wb_fail(err, WB_EIO, 0, offset, "rereading sector %llu of the backing device failed",
				       (unsigned long long)(offset / WB_SECTOR)), err);
		if (memcmp(writer->composer.block + sector * WB_SECTOR, view->backing + sector * WB_SECTOR, WB_SECTOR))
			return wb_blame(writer->backing, wb_fail(err, WB_EIO, 0, offset,
				       "sector %llu of the backing device does not hold what was written to it",
				       (unsigned long long)(offset / WB_SECTOR)), err);
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

	if (!ret)
		ret = finish_writes(writer, err);
	if (ret || writer->options->dry_run)
		return ret;
	ret = wb_dev_flush(writer->backing, err);
	writer->last_flush = time(NULL);
	if (ret || !writer->options->verify)
		return ret;
	wb_dev_forget(writer->backing);
	verification.backing = writer->backing;
	verification.open_only = false;
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

static void prepare(struct writer *writer, uint8_t *bytes)
{
	const struct wb_replay_options *options = writer->options;
	struct wb_dev *backing = writer->backing;

	for (unsigned i = 0; i < ARENAS; i++)
		writer->arenas[i].bytes = bytes + (size_t)i * ARENA;
	writer->arena = &writer->arenas[0];
	writer->only_whole = wb_dev_block(backing) > WB_SECTOR;
	writer->whole_blocks = wb_dev_physical_block(backing) > WB_SECTOR;
	writer->last_flush = time(NULL);
	writer->sweep = (struct wb_sweep){
		.ring = writer->ring, .backing_sectors = wb_dev_size(backing) / WB_SECTOR, .context = writer,
		.backing = backing, .open_only = !options->compare && !writer->whole_blocks,
		.check = WB_CHECK_COMPARE, .visit = write_block, .phase = options->dry_run ? "reading" : "writing back",
	};
}

static int replay_passes(struct writer *writer, const struct wb_scope *scope, const struct wb_progress *progress,
			 struct wb_error *err)
{
	const struct wb_replay_options *options = writer->options;
	struct wb_plan plan;
	int ret = wb_plan_open(&plan, writer->ring, scope, options->capacity, err);

	plan.end = options->begin / WB_BLOCK; /* where the first range begins */
	writer->composer.plan = writer->sweep.plan = &plan;
	if (writer->sweep.open_only && !plan.others)
		writer->sweep.backing = NULL;
	while (!ret && (ret = wb_plan_next(&plan, progress, err)) > 0) {
		writer->result->passes = plan.passes;
		ret = replay_pass(writer, &plan, progress, err);
	}
	wb_plan_close(&plan);
	return ret;
}

int wb_replay(struct wb_ring *ring, const struct wb_scope *scope, struct wb_dev *backing,
	      const struct wb_replay_options *options, struct wb_replay_result *result,
	      const struct wb_progress *progress, struct wb_error *err)
{
	bool parallel = ring->options.jobs > 1 && ring->cache->dev->parallel && backing->parallel;
	struct writer *writer = calloc(1, sizeof(*writer));
	void *bytes = NULL;
	int ret;

	*result = (struct wb_replay_result){ .passes = 0 };
	if (!writer || posix_memalign(&bytes, WB_BLOCK, (size_t)ARENAS * ARENA)) {
		free(writer);
		return wb_no_memory(err, "buffers");
	}
	*writer = (struct writer){ .ring = ring, .backing = backing, .options = options, .result = result,
				   .composer.ring = ring };
	prepare(writer, bytes);
	wb_helper_start(&writer->helper, parallel);
	ret = replay_passes(writer, scope, progress, err);
	finish_writes(writer, NULL); /* of a run that failed elsewhere */
	wb_helper_stop(&writer->helper);
	if (ret == -WB_ESTOPPED && !options->dry_run)
		wb_dev_flush(backing, NULL);
	free(bytes);
	free(writer);
	return ret;
}

/* ---- what an earlier run has written ---- */

struct comparison {
	struct wb_composer composer;
	uint64_t differing;
};

static int count_differing(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct comparison *comparison = context;

	(void)err;
	if (!wb_compose(&comparison->composer, view))
		return 0;
	uint8_t written = wb_settle_block(&comparison->composer, view).written;

	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++)
		if (written >> sector & 1 &&
		    (!(view->backing_readable >> sector & 1) ||
		     memcmp(comparison->composer.block + sector * WB_SECTOR, view->backing + sector * WB_SECTOR, WB_SECTOR)))
			comparison->differing++;
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
	struct comparison comparison = { .composer.ring = ring };
	struct wb_sweep sweep = { .ring = ring, .backing = backing, .backing_sectors = wb_dev_size(backing) / WB_SECTOR,
				  .context = &comparison, .visit = count_differing,
				  .phase = "rereading what an earlier run wrote" };
	uint64_t end = below / WB_BLOCK, stride = sample ? ring->dirty_blocks / sample + 1 : 1;
	struct wb_plan plan;
	int ret = wb_plan_open(&plan, ring, scope, capacity, err);

	comparison.composer.plan = sweep.plan = &plan;
	while (!ret && plan.end < end && (ret = wb_plan_next(&plan, progress, err)) > 0) {
		size_t n = thin_out(plan.entries, plan.count, end, stride);

		ret = wb_sweep_run(&sweep, plan.entries, n, progress, err);
	}
	wb_plan_close(&plan);
	*differing = comparison.differing;
	return ret < 0 ? ret : 0;
}
