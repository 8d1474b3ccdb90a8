/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Samples of BACKING, outside of the plan and inside of what has been flushed: see resume.h. */
#include <inttypes.h>

#include "resume.h"

#define FIRST_BLOCKS 16u /* superblocks of file systems: whoever mounts, writes there */
#define SPREAD 1024u     /* blocks all over the device */
#define SAMPLES (FIRST_BLOCKS + SPREAD)
#define REREAD_BLOCKS 1024u

static unsigned choose(uint64_t blocks, uint64_t *sample)
{
	uint64_t next = 0;
	unsigned n = 0;

	while (n < SAMPLES && next < blocks) {
		sample[n++] = next;
		next = n < FIRST_BLOCKS ? next + 1 : next + (blocks > SPREAD ? blocks / SPREAD : 1);
	}
	return n;
}

/* Drops the samples that an entry is about; both ascend. Returns how many remain. */
static unsigned drop_planned(uint64_t *sample, unsigned n, const struct wb_plan *plan)
{
	unsigned kept = 0;
	size_t entry = 0;

	for (unsigned i = 0; i < n; i++) {
		while (entry < plan->count && plan->entries[entry].block < sample[i])
			entry++;
		if (entry == plan->count || plan->entries[entry].block != sample[i])
			sample[kept++] = sample[i];
	}
	return kept;
}

static uint64_t digest_of(struct wb_dev *backing, const uint64_t *sample, unsigned n)
{
	_Alignas(WB_BLOCK) uint8_t block[WB_BLOCK];
	uint32_t low = ~0u, high = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t offset = sample[i] * WB_BLOCK, left = wb_dev_size(backing) - offset;
		uint32_t size = left < WB_BLOCK ? (uint32_t)left : WB_BLOCK;
		bool failed = wb_dev_read(backing, offset, block, size, NULL);

		low = wb_crc32c(low, &sample[i], sizeof(sample[i]));
		if (!failed) {
			low = wb_crc32c(low, block, size);
			high = wb_crc32c(high + 1, block, size);
		}
	}
	return (uint64_t)high << 32 | low;
}

int resume_outside(const struct common *common, const struct sweep *sweep, const struct wb_scope *scope, uint64_t *digest,
		   struct wb_error *err)
{
	uint64_t sample[SAMPLES];
	unsigned n = choose(wb_dev_size(sweep->backing) / WB_BLOCK, sample);
	struct wb_plan plan;
	int ret = wb_plan_open(&plan, sweep->ring, scope, sweep->capacity, err);

	while (!ret && (ret = wb_plan_next(&plan, &common->progress, err)) > 0) {
		n = drop_planned(sample, n, &plan);
		ret = 0;
	}
	wb_plan_close(&plan);
	*digest = ret ? 0 : digest_of(sweep->backing, sample, n);
	return ret;
}

static int not_believed(const struct common *common, const char *path, const char *why)
{
	common_warn(common, "%s: %s; the state is not believed, and the run begins again from the start", path, why);
	return 0;
}

int resume_believe(const struct common *common, const char *path, const struct state *then, const struct state *now,
		   const struct sweep *sweep, const struct wb_scope *scope, bool *believed)
{
	uint64_t outside, differing;
	struct wb_error err;

	*believed = false;
	if (then->ended)
		return not_believed(common, path, "the log had been ended, and is not any more");
	if (then->undo != now->undo)
		return common_refuse(common, path, "the interrupted run %s; give the same --undo, or --state a new name: beginning "
				     "again is always right", then->undo ? "recorded into another --undo file" :
				     "was begun without --undo");
	if (then->undone != now->undone)
		return not_believed(common, path, "what the interrupted run wrote was taken back");
	if (resume_outside(common, sweep, scope, &outside, &err))
		return common_failed(common, path, &err, NULL);
	if (outside != then->outside && !common_forced(common, "pair"))
		return common_refuse(common, path, "BACKING was written to since the interrupted run, in places that no run writes: was "
				     "it mounted? Then the log is older than the disk (--force=pair begins again all the same)");
	if (outside != then->outside)
		return not_believed(common, path, "BACKING was written to since");
	if (wb_replay_compare(sweep->ring, scope, sweep->backing, sweep->capacity, then->flushed, REREAD_BLOCKS, &differing,
			      &common->progress, &err))
		return common_failed(common, path, &err, NULL);
	if (differing)
		return not_believed(common, path, "BACKING does not hold what the interrupted run wrote");
	*believed = true;
	return 0;
}
