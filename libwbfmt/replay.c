/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Carries a plan out: one ascending sweep over the backing addresses, every sector written at most once
 * with its final content, so that a run cut off anywhere leaves each sector as it was or as it must be.
 */
#include <stdlib.h>
#include <string.h>

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
	uint8_t *arena;
	size_t used;
	struct wb_io runs[RUNS_MAX];
	unsigned run_count;
};

static int submit_runs(struct writer *writer, unsigned n, struct wb_error *err)
{
	int ret = 0;

	if (writer->options->extent)
		for (unsigned i = 0; i < n; i++)
			writer->options->extent(writer->options->context, writer->runs[i].offset / WB_SECTOR,
						writer->runs[i].length / WB_SECTOR);
	if (!writer->options->dry_run)
		ret = wb_dev_submit(writer->backing, writer->runs, n, err);
	for (unsigned i = 0; i < n; i++)
		if (!writer->options->dry_run && !writer->runs[i].result)
			writer->result->written_sectors += writer->runs[i].length / WB_SECTOR;
	writer->result->writes += n;
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
		kept = open->length;
	}
	writer->run_count -= n;
	writer->used = kept;
	return ret;
}

static int append(struct writer *writer, uint64_t offset, const uint8_t *bytes, uint32_t length, struct wb_error *err)
{
	struct wb_io *open = writer->run_count ? &writer->runs[writer->run_count - 1] : NULL;

	if (writer->used + length > ARENA || writer->run_count == RUNS_MAX) {
		int ret = drain(writer, false, err);

		if (ret)
			return ret;
		open = writer->run_count ? &writer->runs[writer->run_count - 1] : NULL;
	}
	memcpy(writer->arena + writer->used, bytes, length);
	if (open && open->offset + open->length == offset && open->length + length <= RUN_MAX)
		open->length += length;
	else
		writer->runs[writer->run_count++] = (struct wb_io){ .buffer = writer->arena + writer->used,
								     .offset = offset, .length = length, .write = true };
	writer->used += length;
	return 0;
}

static void report_unreadable(struct writer *writer, const struct wb_view *view, size_t i, uint8_t lost)
{
	const struct wb_geometry *geometry = &writer->ring->cache->geometry;
	uint32_t slot = wb_slot_of(geometry, writer->ring->head - view->entries[i].turn);
	uint64_t offset = wb_slot_offset(geometry, slot) + WB_BLOCK * (view->entries[i].index + 1u);

	writer->result->unreadable_sectors += (unsigned)__builtin_popcount(lost);
	for (unsigned sector = 0; writer->options->unreadable && sector < WB_SECTORS_PER_BLOCK; sector++)
		if (lost >> sector & 1)
			writer->options->unreadable(writer->options->context,
						    view->block * WB_SECTORS_PER_BLOCK + sector, 1,
						    offset + sector * WB_SECTOR);
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
			report_unreadable(writer, view, i, lost);
		wanted &= view->readable[i];
		for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++)
			if (wanted >> sector & 1)
				memcpy(block + sector * WB_SECTOR, view->data + i * WB_BLOCK + sector * WB_SECTOR,
				       WB_SECTOR);
		defined |= wanted;
	}
	return defined;
}

static int write_block(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct writer *writer = context;
	uint8_t block[WB_BLOCK];
	unsigned defined = compose(writer, view, block);

	while (defined) {
		unsigned from = (unsigned)__builtin_ctz(defined);
		unsigned sectors = (unsigned)__builtin_ctz(~(defined >> from));
		int ret = append(writer, view->block * WB_BLOCK + from * WB_SECTOR, block + from * WB_SECTOR,
				 sectors * WB_SECTOR, err);

		if (ret)
			return ret;
		defined &= ~(((1u << sectors) - 1) << from);
	}
	return 0;
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

static int replay_pass(struct writer *writer, struct wb_plan *plan, const struct wb_progress *progress,
		       struct wb_error *err)
{
	struct wb_sweep sweep = { .ring = writer->ring, .backing_sectors = wb_dev_size(writer->backing) / WB_SECTOR,
				  .context = writer, .check = WB_CHECK_STORE, .phase = "summing" };
	int ret = 0;

	if (!writer->ring->sums)
		ret = wb_sweep_run(&sweep, plan->entries, plan->count, progress, err);
	sweep.check = WB_CHECK_COMPARE;
	sweep.visit = write_block;
	sweep.phase = writer->options->dry_run ? "reading" : "writing back";
	if (!ret)
		ret = wb_sweep_run(&sweep, plan->entries, plan->count, progress, err);
	if (!ret)
		ret = drain(writer, true, err);
	if (ret || writer->options->dry_run)
		return ret;
	ret = wb_dev_flush(writer->backing, err);
	if (ret || !writer->options->verify)
		return ret;
	wb_dev_forget(writer->backing);
	sweep.backing = writer->backing;
	sweep.visit = verify_block;
	sweep.phase = "verifying what was written";
	return wb_sweep_run(&sweep, plan->entries, plan->count, progress, err);
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
	ret = wb_plan_open(&plan, ring, scope, options->capacity, err);
	while (!ret && (ret = wb_plan_next(&plan, progress, err)) > 0) {
		result->passes = plan.passes;
		ret = replay_pass(writer, &plan, progress, err);
	}
	if (ret == -WB_ESTOPPED && !options->dry_run) /* what was written so far shall stay */
		wb_dev_flush(backing, NULL);
	wb_plan_close(&plan);
	free(arena);
	free(writer);
	return ret;
}
