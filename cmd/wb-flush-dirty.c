/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wb-flush-dirty: replays the dirty segments onto the backing disk, then ends the log. Everything is
 * decided before the first write, and what was decided is said before it is done.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "custody.h"
#include "flush.h"
#include "hooks.h"
#include "next.h"
#include "part.h"
#include "progress.h"
#include "report.h"
#include "space.h"
#include "words.h"

enum { OPT_DRY_RUN = 1, OPT_VERIFY, OPT_DETACH, OPT_KEEP, OPT_COMPARE, OPT_RETRY, OPT_FAILED, OPT_CACHE_MAP, OPT_UNDO,
       OPT_STATE, OPT_REPORT };

static const struct poptOption flush_table[] = {
	{ "dry-run", 'n', POPT_ARG_NONE, NULL, OPT_DRY_RUN, "show the whole plan; open nothing for writing", NULL },
	{ "verify", '\0', POPT_ARG_NONE, NULL, OPT_VERIFY, "reread what was written, and compare", NULL },
	{ "compare", '\0', POPT_ARG_NONE, NULL, OPT_COMPARE, "leave out what BACKING holds already", NULL },
	{ "detach", '\0', POPT_ARG_NONE, NULL, OPT_DETACH, "end the log even if something was left out", NULL },
	{ "keep", '\0', POPT_ARG_NONE, NULL, OPT_KEEP, "leave CACHE untouched", NULL },
	{ "undo", '\0', POPT_ARG_STRING, NULL, OPT_UNDO, "record there what is overwritten, for wb-undo", "FILE" },
	{ "state", '\0', POPT_ARG_STRING, NULL, OPT_STATE, "keep there how far the run has come, to go on from", "FILE" },
	{ "report", '\0', POPT_ARG_STRING, NULL, OPT_REPORT, "JSON lines of all that was found, decided and done", "FILE" },
	{ "retry", '\0', POPT_ARG_STRING, NULL, OPT_RETRY, "attempts more at sectors that cannot be read (default: 0)", "N" },
	{ "failed", '\0', POPT_ARG_STRING, NULL, OPT_FAILED, "ddrescue map of what could not be read of CACHE", "FILE" },
	{ "cache-map", '\0', POPT_ARG_STRING, NULL, OPT_CACHE_MAP, "ddrescue map of how CACHE, a clone, was made", "MAP" },
	{ NULL, '\0', POPT_ARG_INCLUDE_TABLE, (void *)(uintptr_t)policy_options, 0, "What is written:", NULL },
	POPT_TABLEEND
};

static void set_retry(struct flush_options *flush, const char *text)
{
	uint64_t retry = number_of("--retry", text);

	if (retry > 1000)
		usage_error("--retry: %s is more than 1000", text);
	flush->ring.retry = (unsigned)retry;
}

static void handle(void *options, int val, const char *argument)
{
	struct flush_options *flush = options;

	if (policy_option(val, argument, &flush->decide, &flush->ring, &flush->memory))
		return;
	switch (val) {
	case OPT_DRY_RUN: flush->dry_run = true; break;
	case OPT_VERIFY: flush->verify = true; break;
	case OPT_COMPARE: flush->compare = true; break;
	case OPT_RETRY: set_retry(flush, argument); break;
	case OPT_FAILED: path_option("--failed", &flush->failed_path, argument); break;
	case OPT_CACHE_MAP: path_option("--cache-map", &flush->map_path, argument); break;
	case OPT_UNDO: path_option("--undo", &flush->undo_path, argument); break;
	case OPT_STATE: path_option("--state", &flush->state_path, argument); break;
	case OPT_REPORT: path_option("--report", &flush->report_path, argument); break;
	case OPT_DETACH: flush->detach = true; break;
	case OPT_KEEP: flush->keep = true; break;
	default: break;
	}
	if (flush->detach && flush->keep)
		usage_error("--detach and --keep exclude each other");
}

static const char *const forces[] = { "pair", "size", "signature", "ended", "regress", "stateless", NULL };

static const struct command command = {
	.name = "wb-flush-dirty",
	.purpose = "write what only a dm-writeboost cache holds back to its backing device",
	.operands = "CACHE BACKING",
	.operands_min = 2,
	.operands_max = 2,
	.options = flush_table,
	.handle = handle,
	.force_names = forces,
	.goes_on_without_reader = true,
};

#define STATE_SECONDS 20u /* between two checkpoints of --state */

/* ---- the pair ---- */

static int refuse_wrong_disk(struct work *work)
{
	if (work->proof.pair != WB_PAIR_CONTRADICTED || common_forced(common_of(work), "pair"))
		return 0;
	return common_refuse(common_of(work), work->backing_path,
			     "this is not the disk the log describes: %s of its blocks in the cache contradict it and %"
			     PRIu64 " agree. A wrong disk, or one that was written since, or a stale read cache "
			     "(--force=pair overrides this)", count_of(work->proof.against, "clean copy"), work->proof.for_);
}

static int refuse_whole_disk(struct work *work)
{
	char partition[WORDS];

	if (work->proof.pair == WB_PAIR_PROVEN || common_forced(common_of(work), "signature") ||
	    !part_of_backing(common_of(work), &work->ring, work->backing_path, work->options->decide.capacity, partition, sizeof(partition)))
		return 0;
	return common_refuse(common_of(work), work->backing_path, "BACKING is a whole disk, and %s (--force=signature overrides this)",
			     partition);
}

static int require_pair(struct work *work)
{
	const struct common *common = common_of(work);
	char line[WORDS], question[2 * WORDS];

	if (work->proof.pair != WB_PAIR_UNPROVEN || common_forced(common, "pair") || work->options->dry_run ||
	    !flush_segments_in(work, &work->decision) || !work->ring.dirty_sectors)
		return 0;
	if (!common->yes) {
		identity_line(&work->backing_identity, work->backing_path, line, sizeof(line));
		common_settle();
		common_warn(common, "%s", line);
	}
	snprintf(question, sizeof(question), "Nothing proves that %s is the backing device of %s. Write to it?",
		 work->backing_path, work->cache_path);
	return common_ask(common, work->backing_path, question,
			  "nothing proves that this is the backing device of this cache; look at it, then give --yes");
}

/* ---- the state ---- */

/* What such a run writes later counts as evidence: if it is cut off, only --state lets the next one decide the same. */
static bool state_is_missing(const struct work *work)
{
	return work->options->decide.policy != WB_STRICT && work->decision.damage && work->decision.oldest &&
	       !work->options->state_path && !common_forced(common_of(work), "stateless");
}

static int require_state(struct work *work)
{
	if (!state_is_missing(work) || work->options->dry_run)
		return 0;
	return common_refuse(common_of(work), work->cache_path, "the log is damaged, and what this run writes would count as evidence if it "
			     "were cut off and run again: give --state=FILE, so that the next run resumes it (--force=stateless "
			     "overrides this)");
}

/* A dry run has shown its plan, and says now that the real run would be refused. */
static int refuse_stateless_dry_run(const struct work *work)
{
	if (!state_is_missing(work) || !work->options->dry_run)
		return 0;
	return common_refuse(common_of(work), work->cache_path, "the log is damaged: without -n this needs --state=FILE, so that a run that "
			     "is cut off can be resumed (--force=stateless overrides this)");
}

/* ---- doing it ---- */

static void count_extent(void *context, uint64_t sector, uint64_t sectors)
{
	space_count(context, sector * WB_SECTOR, sectors * WB_SECTOR);
}

/* An image in a file system that is too full is better refused now than left half written. */
static int count_space(struct work *work, struct space *space)
{
	struct wb_replay_options options = { .capacity = work->options->decide.capacity, .dry_run = true,
					     .begin = flush_begin(work), .extent = count_extent };
	struct wb_replay_result result;
	struct wb_error err;

	if (!space_may_be_short(space, work->backing_path, work->ring.dirty_sectors))
		return 0;
	options.context = space;
	int ret = wb_replay(&work->ring, &work->decision.scope, work->backing, &options, &result,
			    &common_of(work)->progress, &err);

	space_close(space);
	return ret ? common_failed(common_of(work), work->cache_path, &err, NULL) : space_refuse(common_of(work), space, work->backing_path);
}

static int require_space(struct work *work)
{
	struct space space;

	return work->options->dry_run ? 0 : count_space(work, &space);
}

/* A dry run has shown its plan, and says now that BACKING cannot be written, or that there is no room. */
static int refuse_dry_run(struct work *work)
{
	const struct flush_options *options = work->options;
	struct space space;
	int status = options->dry_run ? refuse_read_only(common_of(work), work->backing_path, false) : 0;

	if (!status && options->dry_run)
		status = count_space(work, &space);
	if (status || !options->dry_run || !options->undo_path)
		return status;
	return space_refuse_undo(common_of(work), options->undo_path, work->result.planned_sectors - work->result.skipped_equal, &space);
}

static int replay(struct work *work)
{
	const struct flush_options *options = work->options;
	const struct wb_replay_options replay_options = {
		.capacity = options->decide.capacity, .dry_run = options->dry_run, .verify = options->verify,
		.compare = options->compare, .begin = flush_begin(work), .interval = hook_interval(STATE_SECONDS),
		.context = work, .flushed = options->state_path ? flush_save_state : NULL,
	};
	struct wb_error err;

	if (!wb_replay(&work->ring, &work->decision.scope, work->backing, &replay_options, &work->result,
		       &options->common.progress, &err))
		return 0;
	int status = work->state_status ? work->state_status : undo_file_failure(common_of(work), &work->undo);

	bool fails = !status && err.code == WB_EIO && !common_no_room(&err);

	work->backing_fails = fails && err.device == wb_dev_number(work->backing);
	work->cache_fails = fails && err.device == wb_dev_number(work->cache_dev);
	work->no_memory = !status && err.code == WB_ENOMEM;
	if (!status)
		status = common_failed(common_of(work), work->backing_path, &err, common_no_room(&err));
	return flush_say_interrupted(work, status);
}

bool flush_all_is_written(const struct work *work)
{
	return wb_decision_may_end(&work->ring, &work->options->decide, &work->decision, &work->result) && !flush_unreadable(work);
}

bool flush_log_may_end(const struct work *work)
{
	return !work->options->keep && !flush_unreadable(work) && (work->options->detach || flush_all_is_written(work));
}

static struct wb_marker marker_of(const struct work *work)
{
	const struct wb_decision *decision = &work->decision;
	struct wb_marker marker = wb_marker_of(&work->ring, WB_END_FLUSHED, (uint64_t)time(NULL), wb_dev_size(work->backing));

	marker.partial = !flush_all_is_written(work);
	marker.left_segments = decision->left_segments + decision->lost_segments + decision->zeroed_skipped;
	marker.left_sectors = decision->left_sectors + decision->lost_sectors + decision->zeroed_sectors;
	marker.stale_sectors = decision->stale_sectors;
	return marker;
}

static int end_log(struct work *work)
{
	struct wb_error err;

	if (work->options->dry_run || !work->marker_dev || !flush_log_may_end(work))
		return 0;
	work->marker = marker_of(work);
	if (wb_cache_end(work->marker_dev, &work->marker, &err)) {
		int status = undo_file_failure(common_of(work), &work->undo);

		return EXIT_PROBLEMS | (status ? status : common_failed(common_of(work), work->cache_path, &err, "all data is on BACKING, but the log "
						       "could not be ended: do not assemble this cache again"));
	}
	work->ended = true;
	work->state.ended = 1;
	return work->options->state_path ? flush_save_state(work, UINT64_MAX) : 0;
}

/* A driver would replay the log again, although it is not wanted any more. */
static bool end_is_missing(const struct work *work)
{
	return flush_log_may_end(work) && !flush_is_ended(work) && (!work->options->dry_run || work->no_end);
}

static int status_of_replay(const struct work *work)
{
	struct wb_replay_result result = work->result;

	result.unreadable_sectors = flush_unreadable(work); /* of the run before, too */
	return (int)wb_decision_status(&work->ring, &work->options->decide, &work->decision, &result);
}

/* The status of a run that came to its end. */
static int status_of(const struct work *work)
{
	return status_of_replay(work) | (end_is_missing(work) ? EXIT_PROBLEMS : EXIT_FINE);
}

static int take_sum(struct work *work)
{
	return work->options->report_path ? custody_metadata(common_of(work), &work->cache, work->cache_path) : 0;
}

static int load(struct work *work)
{
	struct flush_options *options = work->options;
	struct wb_error err;

	options->ring.backing_sectors = wb_backing_sectors(work->backing);
	if (wb_ring_load(&work->ring, &work->cache, &options->ring, &options->common.progress, &err))
		return common_failed(common_of(work), work->cache_path, &err, NULL);
	if (options->ring.timeline != WB_TIMELINE_NONE && !work->ring.restarted)
		return common_refuse(common_of(work), work->cache_path, "--timeline: this ring was not restarted");
	if (wb_pair_prove(&work->ring, work->backing, options->decide.capacity, 65536, &work->proof, &options->common.progress, &err))
		return common_failed(common_of(work), work->backing_path, &err, NULL);
	common_say_unreadable(common_of(work), work->backing_path, &work->proof);
	return 0;
}

/* The map is one of the whole device; what a negative --start puts before it is not on it. */
static void note_failed(void *context, uint64_t offset, uint64_t length)
{
	struct work *work = context;
	int64_t start = wb_dev_start(work->cache_dev);
	uint64_t before = start < 0 && offset < -(uint64_t)start ? -(uint64_t)start - offset : 0;

	/* without memory for the map the sectors still count as unreadable */
	if (length > before)
		wb_map_add(&work->failed, (uint64_t)start + offset + before, length - before, NULL);
}

static int create_failed(struct work *work)
{
	work->options->ring.context = work;
	work->options->ring.unreadable = note_failed;
	return output_create(common_of(work), &work->failed_file, work->options->failed_path);
}

static int write_failed(struct work *work)
{
	struct output *output = &work->failed_file;
	struct wb_error err;

	if (!output->beside)
		return 0;
	wb_map_settle(&work->failed);
	if (!wb_map_write(output->fd, work->failed.bad, work->failed.count,
			  wb_dev_size(wb_dev_whole(work->cache_dev)), &err))
		return output_complete(common_of(work), output);
	output_abandon(output);
	return common_failed(common_of(work), output->path, &err, NULL);
}

static int decide(struct work *work)
{
	struct flush_options *options = work->options;
	struct wb_error err;

	options->decide.context = work;
	options->decide.stale = flush_list_stale;
	options->decide.unusable = flush_list_unusable;
	options->decide.left = flush_list_left;

	if (wb_decide(&work->ring, work->backing, &options->decide, &work->decision, &options->common.progress, &err))
		return common_failed(common_of(work), work->cache_path, &err, NULL);
	work->decision.damage |= work->damage;
	flush_report_classes(&work->ring);
	flush_report_decision(work);
	return work->decision.refused ? flush_refuse(work) : 0;
}

/* Only read, also where somebody uses it: nothing will be written to it. */
static int open_backing_to_compare(struct work *work)
{
	int status = refuse_backing_container(common_of(work), work->backing_path);

	if (!status)
		status = common_open(common_of(work), &work->backing, work->backing_path, WB_OPEN_READ);
	return status || !carries_header(work->backing) || common_forced(common_of(work), "signature") ? status :
	       common_refuse(common_of(work), work->backing_path, "BACKING carries a writeboost header: are the two operands swapped?");
}

/* All was written, says the marker, and not to which disk. */
static int compare_ended(struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_marker *marker = &work->cache.marker;
	struct wb_end_proof end;
	struct wb_error err;
	int status = marker->reason == WB_END_FORMAT ? 0 : open_backing_to_compare(work);

	if (status || !work->backing) {
		if (!status)
			common_say(common, "nothing to do for %s: %s", work->cache_path, words_marker(marker, false));
		return status;
	}
	if (wb_end_prove(work->cache_dev, &common->overrides, &work->options->ring, work->backing, work->options->decide.capacity, &end,
			 &common->progress, &err))
		return common_failed(common, work->cache_path, &err, NULL);
	work->proof = end.proof;
	common_say_unreadable(common, work->backing_path, &work->proof);
	if (end.compared && !wb_end_is_proven(&end)) {
		common_say(common, "nothing to do for %s", work->cache_path);
		common_warn(common, "%s: %s", work->cache_path, words_end(marker, &end, work->backing_path, work->backing));
		if (work->proof.pair != WB_PAIR_CONTRADICTED && end.differing)
			next_step(common, NULL, "dry-run", "-n --force=ended", NULL,
				  "only if that disk was not used since: shows what would be written to it");
	} else {
		common_say(common, "nothing to do for %s: %s", work->cache_path, words_end(marker, &end, work->backing_path, work->backing));
	}
	return 0;
}

static int nothing_to_do(struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_marker *marker = &work->cache.marker;
	bool written = false;
	struct wb_error err;

	if (wb_cache_written_after_end(work->cache_dev, &common->overrides, &written, &common->progress, &err))
		return common_failed(common, work->cache_path, &err, NULL);
	if (written)
		return common_refuse(common, work->cache_path, "%s: a driver may have had it assembled "
				     "elsewhere. Stop that driver; wb-check shows what is newer (--force=ended reads the log again)",
				     words_marker(marker, true));
	work->ended = true;
	work->marker = *marker;
	int status = compare_ended(work);

	if (marker->partial)
		common_warn(common, "%s: %s was left out when the log was ended (--force=ended reads the log again)",
			    work->cache_path, words_left_out(marker));
	return status;
}

static int take_steps(struct work *work)
{
	static int (*const steps[])(struct work *) = {
		flush_open_backing, flush_open_marker, create_failed, load, flush_warn_of_holes, take_sum, refuse_whole_disk, refuse_wrong_disk,
		flush_describe, flush_open_old_undo, flush_resume, decide, flush_say_plan, require_state, require_pair, require_space,
		flush_open_records, replay, end_log,
	};
	int status = flush_refuse_overlap(work);

	if (!status && work->options->state_path)
		status = state_load(common_of(work), work->options->state_path, &work->then, &work->resumable);
	if (!status)
		status = flush_open_cache(work);
	if (status)
		return status;
	if (!work->cache.geometry.format)
		return nothing_to_do(work);
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		status = steps[i](work);
		if (status)
			return status;
	}
	flush_say_result(work);
	flush_say_next(work);
	status = refuse_stateless_dry_run(work);
	if (!status)
		status = refuse_dry_run(work);
	return status ? status : undo_file_finish(common_of(work), &work->undo) | status_of(work);
}

static int flush(struct work *work)
{
	int status = take_steps(work);

	return flush_busy(work) ? refuse_used_dry_run(common_of(work), flush_busy(work), status) : status;
}

/* What follows from several options together. */
static void settle_options(struct flush_options *options)
{
	policy_settle(&options->common, &options->decide, &options->ring, &options->memory);
	options->common.overrides.memory = options->memory;
	options->ring.sums_memory = sums_memory(options->memory);
}

static void release(struct work *work)
{
	wb_ring_release(&work->ring);
	wb_dev_close(work->marker_dev);
	wb_dev_close(work->backing);
	undo_file_close(&work->undo);
	wb_dev_close(work->cache_dev);
	state_release(&work->then);
	state_release(&work->state);
	wb_map_release(&work->clone_map);
	wb_map_release(&work->failed);
	identity_release(&work->cache_identity);
	identity_release(&work->backing_identity);
	free(work->options->failed_path);
	free(work->options->map_path);
	free(work->options->undo_path);
	free(work->options->state_path);
	free(work->options->report_path);
}

int main(int argc, char **argv)
{
	struct flush_options options = { .memory = 0 };
	struct work work = { .options = &options };
	struct timespec begin, end;
	int status;

	common_start(&options.common, &command, &options, argc, argv);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	settle_options(&options);
	work.cache_path = options.common.operands[0];
	work.backing_path = options.common.operands[1];
	const struct output_name files[] = {
		{ "--undo", options.undo_path },     { "--state", options.state_path },	  { "--report", options.report_path },
		{ "--failed", options.failed_path }, { "--cache-map", options.map_path },
	};

	status = output_check(&options.common, files, sizeof(files) / sizeof(files[0]));
	if (!status)
		status = flush_refuse_places(&work);
	if (!status)
		status = custody_begin(&options.common, options.report_path, argc, argv);
	if (!status)
		status = flush(&work);
	status |= write_failed(&work);
	if (work.undo.file && options.report_path)
		status |= custody_file(&options.common, "undo file", options.undo_path, wb_dev_fd(work.undo.file));
	clock_gettime(CLOCK_MONOTONIC, &end);
	flush_summarise(&work, (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
	release(&work);
	return common_finish(&options.common, status);
}
