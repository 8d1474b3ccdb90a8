/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Resumes an earlier run, and saves what the next one needs to resume this one. */
#include <inttypes.h>
#include <stdio.h>

#include "flush.h"

/* ---- what is reread before a state is believed ---- */

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

/* A sum over sampled blocks of BACKING that a replay of this scope does not touch. */
static int sum_outside(struct work *work, const struct wb_scope *scope, uint64_t *digest, struct wb_error *err)
{
	uint64_t sample[SAMPLES];
	unsigned n = choose(wb_dev_size(work->backing) / WB_BLOCK, sample);
	struct wb_plan plan;
	int ret = wb_plan_open(&plan, &work->ring, scope, work->options->decide.capacity, err);

	while (!ret && (ret = wb_plan_next(&plan, &common_of(work)->progress, err)) > 0) {
		n = drop_planned(sample, n, &plan);
		ret = 0;
	}
	wb_plan_close(&plan);
	*digest = ret ? 0 : digest_of(work->backing, sample, n);
	return ret;
}

static int not_believed(const struct common *common, const char *path, const char *why)
{
	common_warn(common, "%s: %s; the state is not believed, and the run begins again from the start", path, why);
	return 0;
}

/* On a damaged log what the earlier run wrote would count as evidence now. */
static int start_over(const struct work *work, const struct wb_decision *decision, const char *why)
{
	const struct common *common = common_of(work);
	const char *path = work->options->state_path;

	if (work->options->decide.policy == WB_STRICT || !decision->damage || common_forced(common, "stateless"))
		return not_believed(common, path, why);
	return common_refuse(common, path, "%s. Starting over would count what that run wrote as evidence: take it back with wb-undo "
			     "first (--force=stateless starts over all the same)", why);
}

/* BACKING failed, and a copy of it takes its place: the decisions stay, and all is written once more, for what was flushed may
 * be among what could not be copied. */
static int believe_of_copy(struct work *work, const struct wb_decision *decision, bool *believed)
{
	const struct common *common = common_of(work);
	uint64_t outside;
	struct wb_error err;

	if (sum_outside(work, &decision->scope, &outside, &err))
		return common_failed(common, work->options->state_path, &err, NULL);
	if (outside != work->then.outside && !common_forced(common, "pair"))
		return common_refuse(common, work->options->state_path, "the file was written for another backing device, and this one "
				     "differs from it where no run writes. If it is a copy that lacks what could not be read, "
				     "--force=pair overrides this; else give --state a new name");
	work->then.flushed = work->then.unreadable = 0;
	common_say(common, "resumed     from the start, as it was decided for %s, of which BACKING is taken to be a copy",
		   work->then.backing);
	*believed = true;
	return 0;
}

/* Whether BACKING is as the run that saved the state left it: *believed. What makes a replay wrong altogether is refused. */
static int believe(struct work *work, const struct wb_decision *decision, bool *believed)
{
	const struct wb_scope *scope = &decision->scope;
	const struct common *common = common_of(work);
	const struct state *then = &work->then, *now = &work->state;
	const char *path = work->options->state_path;
	uint64_t outside, differing;
	struct wb_error err;

	*believed = false;
	if (state_is_of_another(then, now))
		return believe_of_copy(work, decision, believed);
	if (then->undo != now->undo)
		return common_refuse(common, path, "the earlier run %s; give the same --undo%s", then->undo ?
				     "recorded into another --undo file" : "was begun without --undo",
				     work->options->decide.policy == WB_STRICT ? ", or --state a new name: starting over is always safe" :
				     then->undo ? ", or, if wb-undo has put back all that it wrote, --state a new name" : "");
	if (then->undone != now->undone) /* BACKING is as it was before */
		return not_believed(common, path, "what the earlier run wrote was taken back");
	if (then->ended && !flush_is_ended(work))
		return start_over(work, decision, "the log had been ended, and is not any more");
	if (sum_outside(work, scope, &outside, &err))
		return common_failed(common, path, &err, NULL);
	if (outside != then->outside && !common_forced(common, "pair"))
		return common_refuse(common, path, "BACKING was written to since the earlier run, in places that no run writes: was "
				     "it mounted? Then the log is older than the disk (--force=pair begins again all the same)");
	if (outside != then->outside)
		return not_believed(common, path, "BACKING was written to since");
	if (wb_replay_compare(&work->ring, scope, work->backing, work->options->decide.capacity, then->flushed, REREAD_BLOCKS, &differing,
			      &common->progress, &err))
		return common_failed(common, path, &err, NULL);
	if (differing)
		return start_over(work, decision, "BACKING does not hold what the earlier run wrote");
	*believed = true;
	return 0;
}

/* ---- the records of this run ---- */

/* All that a plan depends on beside the log itself. */
static char *options_text(const struct flush_options *options)
{
	char *text = NULL;

	return asprintf(&text, "policy=%s until=%s%" PRIu64 " zeroed=%d record=%d timeline=%d force-size=%d",
			policies[options->decide.policy], options->decide.until_given ? "" : "-", options->decide.until, (int)options->decide.zeroed,
			(int)options->ring.record_use, (int)options->ring.timeline, options->decide.force_size) < 0 ? NULL : text;
}

int flush_describe(struct work *work)
{
	work->state = (struct state){ .cache = stable_name(&work->cache_identity, work->cache_path),
				      .backing = stable_name(&work->backing_identity, work->backing_path),
				      .cache_bytes = wb_dev_size(work->cache_dev), .backing_bytes = wb_dev_size(work->backing),
				      .head = work->ring.head, .digest = work->ring.digest,
				      .options = options_text(work->options) };
	if (!work->state.cache || !work->state.backing || !work->state.options)
		return common_refuse(common_of(work), work->cache_path, "out of memory");
	return 0;
}

/* old: only one that exists already. */
static int open_undo(struct work *work, bool old)
{
	const struct wb_undo_device devices[] = { { work->state.cache, wb_dev_size(wb_dev_whole(work->cache_dev)),
						    wb_dev_start(work->cache_dev) },
						  { work->state.backing, work->state.backing_bytes, 0 } };
	int status = (old ? undo_file_continue : undo_file_open)(common_of(work), &work->undo, devices, 2);

	work->state.undo = work->undo.undo.id;
	work->state.undone = work->undo.undo.begun;
	return status;
}

/* An existing file is checked before anything else, and continued. */
int flush_open_old_undo(struct work *work)
{
	work->undo.path = work->options->undo_path;
	work->undo.dry_run = work->options->dry_run;
	int status = open_undo(work, true);

	work->undo_is_old = work->undo.file;
	if (work->options->dry_run) {
		undo_file_close(&work->undo);
		work->undo.path = NULL;
	}
	return status;
}

static int decide_again(struct work *work, struct wb_decision *decision, struct wb_error *err)
{
	struct wb_decide_options options = work->options->decide;

	options.resumed = true;
	options.cut = work->then.cut;
	options.ids = work->then.ids;
	return wb_decide(&work->ring, work->backing, &options, decision, &common_of(work)->progress, err);
}

/* Adopts what --state says of an earlier run, after a look at whether it is still so. */
int flush_resume(struct work *work)
{
	const struct common *common = common_of(work);
	const char *path = work->options->state_path;
	struct wb_decision decision;
	struct wb_error err;
	const char *difference;
	bool believed = false;

	if (!path || !work->resumable)
		return 0;
	/* strict is decided by the log alone, and may begin again */
	difference = state_difference(&work->then, &work->state, work->options->decide.policy != WB_STRICT);
	if (difference)
		return common_refuse(common, path, "the file was written for %s; give --state a new name", difference);
	if (decide_again(work, &decision, &err))
		return common_failed(common, work->cache_path, &err, NULL);
	work->damage = decision.damage;
	if (decision.refused)
		return 0;
	int status = believe(work, &decision, &believed);

	work->options->decide.resumed = believed;
	work->options->decide.cut = work->then.cut;
	work->options->decide.ids = work->then.ids;
	if (!believed)
		work->then.unreadable = 0;
	if (believed && work->then.flushed)
		common_say(common, "resumed     everything below %s of BACKING was flushed by an earlier run",
			   flush_reached_words(work, &work->then));
	return status;
}

const char *flush_reached_words(const struct work *work, const struct state *state)
{
	uint64_t end = wb_dev_size(work->backing);

	return human_size(state->flushed < end ? state->flushed : end);
}

int flush_save_state(void *context, uint64_t below)
{
	struct work *work = context;

	work->state.flushed = below;
	work->state.unreadable = work->then.unreadable + work->result.unreadable_sectors;
	work->state_status = state_save(common_of(work), work->options->state_path, &work->state, work->resumable || work->saved);
	work->saved |= !work->state_status;
	return work->state_status;
}

/* Of a dry run: whether the files could be created. */
static int look_at_places(const struct work *work)
{
	const struct flush_options *options = work->options;
	int status = options->undo_path && !work->undo_is_old ? output_look_free(common_of(work), options->undo_path) : 0;

	return !status && options->state_path ? output_look(common_of(work), options->state_path) : status;
}

/* Creates what the run is going to write beside BACKING, while nothing has been changed yet. */
int flush_open_records(struct work *work)
{
	struct wb_error err;
	int status = 0;

	if (work->options->dry_run)
		return look_at_places(work);
	if (!work->undo.file)
		status = open_undo(work, false);
	if (!status)
		status = undo_file_wrap(common_of(work), &work->undo, &work->marker_dev, 0);
	if (!status)
		status = undo_file_wrap(common_of(work), &work->undo, &work->backing, 1);
	if (status || !work->options->state_path)
		return status;
	if (sum_outside(work, &work->decision.scope, &work->state.outside, &err))
		return common_failed(common_of(work), work->backing_path, &err, NULL);
	work->state.cut = work->decision.cut;
	work->state.ids = work->decision.ids;
	return flush_save_state(work, flush_begin(work));
}
