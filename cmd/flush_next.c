/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What wb-flush-dirty says to do next. Every step adds an option to those that were given, or takes --dry-run away, so
 * whoever follows them comes to an end: a log that is ended, or one of which nobody knows more.
 */
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flush.h"
#include "next.h"
#include "report.h"

/* ---- files of a run ---- */

/* The name of a file in this directory that does not exist yet: cache.state, cache.state-2, ... NULL without memory. */
static char *name_here(const char *path, const char *suffix)
{
	char *copy = strdup(path), *stem = NULL, *name;

	if (!copy || asprintf(&stem, "%s.%s", basename(copy), suffix) < 0)
		stem = NULL;
	name = stem ? free_name(stem, 1) : NULL;
	free(stem);
	free(copy);
	return name;
}

static void append_file(const struct work *work, char *add, size_t size, const char *option, const char *given)
{
	char *name = given ? NULL : name_here(work->cache_path, option), *quoted = name ? shell_quoted(name) : NULL;

	if (quoted)
		append_text(add, size, " --%s=%s", option, quoted);
	free(quoted);
	free(name);
}

/* What changes later evidence is recorded, and can be taken back. */
static void append_records(const struct work *work, char *add, size_t size)
{
	append_file(work, add, size, "state", work->options->state_path);
	append_file(work, add, size, "undo", work->options->undo_path);
}

/* ---- after a refusal ---- */

static void next_dry_run(const struct work *work, const char *drop, const char *option, const char *purpose)
{
	char add[2 * WORDS];

	snprintf(add, sizeof(add), "-n %s", option);
	if (strncmp(option, "--policy=", strlen("--policy=")) == 0)
		append_records(work, add, sizeof(add));
	next_step(common_of(work), NULL, drop, add, NULL, purpose);
}

static int decide_otherwise(struct work *work, enum wb_policy policy, struct wb_decision *decision)
{
	struct wb_decide_options options = work->options->decide;
	struct wb_error err;

	options.policy = policy;
	options.stale = NULL;
	options.unusable = NULL;
	options.left = NULL;
	if (wb_decide(&work->ring, work->backing, &options, decision, &common_of(work)->progress, &err))
		return common_failed(common_of(work), work->cache_path, &err, NULL);
	return 0;
}

/* "would write 5 segments (3 to 9), 1 of them corrected, leave out 2 segments; 8 sectors may be stale" */
static void describe_alternative(const struct work *work, const struct wb_decision *decision, char *words, size_t size)
{
	words[0] = '\0';
	if (flush_segments_in(work, decision))
		append_text(words, size, "would write %s (%s)", count_of(flush_segments_in(work, decision), "segment"),
			    flush_range_words(decision));
	else
		append_text(words, size, "would write nothing");
	if (decision->corrected)
		append_text(words, size, ", %" PRIu32 " of them corrected", decision->corrected);
	if (decision->left_segments || decision->lost_segments)
		append_text(words, size, ", leave out %s",
			    count_of(decision->left_segments + decision->lost_segments, "segment"));
	if (decision->stale_sectors)
		append_text(words, size, "; %s may be stale", count_of(decision->stale_sectors, "sector"));
}

/* What another policy would do; salvage comes last because it corrects the ring. */
static int say_alternative(struct work *work, enum wb_policy policy)
{
	struct wb_decision decision;
	char option[32], words[256];
	int status = decide_otherwise(work, policy, &decision);

	if (status)
		return status;
	if (decision.refused) {
		common_warn(common_of(work), "  --policy=%s would refuse too%s", policies[policy],
			    policy_is_unsure(&work->ring, decision.refused) ? ": BACKING may hold newer data" :
			    decision.refused & WB_REFUSE_REGRESS ? ": BACKING already holds newer data" : "");
		return 0;
	}
	describe_alternative(work, &decision, words, sizeof(words));
	common_warn(common_of(work), "  --policy=%s %s", policies[policy], words);
	snprintf(option, sizeof(option), "--policy=%s", policies[policy]);
	next_dry_run(work, "dry-run policy until-id", option, words);
	return 0;
}

/* What the same options would do with another use of the record, or another history. */
static int say_choice(struct work *work, const char *option, const char *meaning)
{
	struct wb_decision decision = { .oldest = 0 };
	struct wb_error err;
	char words[512];

	if (wb_ring_judge(&work->ring, &err))
		return common_failed(common_of(work), work->cache_path, &err, NULL);
	int status = decide_otherwise(work, work->options->decide.policy, &decision);

	if (status)
		return status;
	if (decision.refused)
		snprintf(words, sizeof(words), "%s; it would then refuse for other reasons", meaning);
	else if (!flush_segments_in(work, &decision))
		snprintf(words, sizeof(words), "%s; it would write nothing", meaning);
	else
		snprintf(words, sizeof(words), "%s; it would write %s (%s), up to %s", meaning,
			 count_of(flush_segments_in(work, &decision), "segment"), flush_range_words(&decision), count_of(work->ring.dirty_sectors, "sector"));
	common_warn(common_of(work), "  %s: %s", option, words);
	next_dry_run(work, "dry-run", option, words);
	return 0;
}

static int say_record_choices(struct work *work)
{
	enum wb_record_use *use = &work->ring.options.record_use, found = *use;
	int status;

	common_warn(common_of(work), "  The record in sector 2047 says that segments up to %" PRIu64 " were written back; the newest one "
		    "here is %" PRIu64 ". Is this cache (or copy) as old as the disk, or older? If the disk was used after these "
		    "segments were written, trust the record. If only the record is damaged, ignore it", work->cache.record,
		    work->ring.head);
	common_warn(common_of(work), "  In a sample of the log, %s %s on BACKING already, and %s there %s", count_of(work->proof.for_, "newest version"),
		    work->proof.for_ == 1 ? "is" : "are", count_of(work->proof.dirty_sectors, "sector"),
		    work->proof.dirty_sectors == 1 ? "differs" : "differ");
	*use = WB_RECORD_TRUST;
	status = say_choice(work, "--trust-record", "if the disk is newer");
	*use = WB_RECORD_IGNORE;
	if (!status)
		status = say_choice(work, "--ignore-record", "if the record is wrong");
	*use = found;
	return status;
}

static int say_timeline_choices(struct work *work)
{
	enum wb_timeline *timeline = &work->ring.options.timeline, found = *timeline;
	int status;

	*timeline = WB_TIMELINE_NEW;
	status = say_choice(work, "--timeline=new", "if the driver gave the old ring up and began again");
	*timeline = WB_TIMELINE_OLD;
	if (!status)
		status = say_choice(work, "--timeline=old", "if the first writes of a lap were lost; both are written by two runs, old first");
	*timeline = found;
	return status;
}

/* What was detected; or wb-check, without the option that leaves segments out. */
static void say_geometry(const struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_geometry *detected = &work->cache.detected;
	char add[64];

	if (!detected->format) {
		next_step(common, "wb-check", work->ring.beyond && !common->overrides.slots ? "slots size" : "slots", NULL, NULL,
			  "lists the geometries that fit");
		return;
	}
	snprintf(add, sizeof(add), "-n --generation=%s --order=%u", detected->format->name, detected->order);
	next_step(common, NULL, "dry-run generation order slots", add, NULL, "as whole segments of the log show it");
}

/* What every policy refuses comes first: it must be decided before anything else can be. */
static int say_choices(struct work *work, unsigned refused)
{
	enum wb_policy policy = work->options->decide.policy;
	int status = 0;

	if (refused & WB_REFUSE_DESTROYED) {
		next_step(common_of(work), "wb-dump", NULL, "--segments", (const char *const[]){ work->cache_path, NULL },
			  "shows what headers are left");
	} else if (refused & WB_REFUSE_GEOMETRY) {
		say_geometry(work);
		if (policy == WB_STRICT && work->ring.beyond)
			status = say_alternative(work, WB_SALVAGE);
	} else if (refused & WB_REFUSE_RESTARTED) {
		status = say_timeline_choices(work);
	} else if (refused & WB_REFUSE_RECORD) {
		status = say_record_choices(work);
	} else {
		if (refused & WB_REFUSE_ZEROED) {
			next_dry_run(work, "dry-run", "--zeroed=skip", "if the driver discarded these segments after it wrote them back");
			next_dry_run(work, "dry-run", "--zeroed=replay", "if zeroes were really written");
		}
		if (refused & WB_REFUSE_BEYOND)
			next_dry_run(work, "dry-run", "--force=size", "leaves out what lies beyond the end of BACKING");
		if (refused == WB_REFUSE_BEYOND)
			return 0;
		if (policy == WB_STRICT)
			status = say_alternative(work, WB_PREFIX);
		if (policy != WB_SALVAGE && !status)
			status = say_alternative(work, WB_SALVAGE);
	}
	return status;
}

/* A device that fails, and not one that is too short; a clone has been read as often as it could be. */
static bool cannot_be_read(const struct work *work)
{
	bool failed = false;

	for (size_t i = 0; i < work->failed.count; i++)
		failed |= work->failed.bad[i].offset < wb_dev_size(wb_dev_whole(work->cache_dev));
	return failed && !work->options->map_path;
}

int flush_refuse(struct work *work)
{
	unsigned refused = work->decision.refused;
	int status;

	common_warn(common_of(work), "%s: the log cannot be written back as it is; nothing was changed", work->cache_path);
	policy_say_refusal(common_of(work), &work->ring, refused);
	work->cache_fails = cannot_be_read(work);
	if (work->cache_fails)
		flush_say_copy(work);
	status = say_choices(work, refused);
	return status ? status : EXIT_PROBLEMS;
}

/* ---- after a run ---- */

/* Until the real run nothing of this has happened. */
static void next_real_run(const struct work *work)
{
	char add[2 * WORDS] = "", purpose[WORDS] = "does what is shown here";

	if (work->options->decide.policy != WB_STRICT)
		append_records(work, add, sizeof(add));
	if (flush_busy(work))
		append_text(purpose, sizeof(purpose), ", when nobody uses %s any more", flush_busy(work));
	next_step(common_of(work), NULL, "dry-run", *add ? add + 1 : NULL, NULL, purpose);
}

void flush_say_next(const struct work *work)
{
	const struct flush_options *options = work->options;

	if (options->dry_run && (work->decision.oldest || flush_log_may_end(work)))
		next_real_run(work);
	else if (flush_is_ended(work) || options->detach || work->no_end || flush_unreadable(work))
		return;
	else if (flush_all_is_written(work))
		next_step(common_of(work), NULL, "dry-run keep", "-n", NULL,
			  "only when nothing more is wanted from this log: ends it");
	else
		next_step(common_of(work), NULL, "dry-run keep", "-n --detach", NULL,
			  "only when nothing more is wanted from this log: ends it, although something was left out");
}

/* BACKING was copied: a run with --state goes on as it was decided. CACHE was: what could not be read of it counts as unreadable
 * now, so everything is decided again, and what was written before must not be evidence. */
static void next_on_copy(const struct work *work, const char *copy, const char *map)
{
	bool decided = work->options->decide.policy != WB_STRICT;
	bool goes_on = work->backing_fails && decided && work->options->state_path;
	const char *cache = work->cache_fails ? copy : work->cache_path, *backing = work->cache_fails ? work->backing_path : copy;
	char add[2 * WORDS] = "-n", *quoted = work->cache_fails ? shell_quoted(map) : NULL;

	if (quoted)
		append_text(add, sizeof(add), " --cache-map=%s", quoted);
	free(quoted);
	if (decided || (work->cache_fails && work->options->state_path))
		append_file(work, add, sizeof(add), "state", goes_on ? work->options->state_path : NULL);
	if (decided || (work->cache_fails && work->undo.path))
		append_file(work, add, sizeof(add), "undo", NULL);
	if (decided && !goes_on && work->undo.path)
		next_step(common_of(work), "wb-undo", OPTIONS_OF_THE_LOG, NULL, (const char *const[]){ work->undo.path, work->cache_path, backing, NULL },
			  work->cache_fails ? "takes back what would count as evidence" : "takes back on the copy what would count as evidence");
	next_step(common_of(work), NULL, goes_on ? "dry-run undo" : "dry-run state undo cache-map", add,
		  (const char *const[]){ cache, backing, NULL },
		  goes_on	    ? "then shows what would be written to the copy, as it was decided before" :
		  work->cache_fails ? "then shows what would be written back of the copy; what could not be read counts as unreadable" :
				      "then shows what would be written to the copy");
}

void flush_say_copy(const struct work *work)
{
	const char *path = work->cache_fails ? work->cache_path : work->backing_path;
	const struct identity *identity = work->cache_fails ? &work->cache_identity : &work->backing_identity;
	char *copy = name_here(path, "copy"), *map = name_here(path, "map");

	if (copy && map) {
		next_step(common_of(work), "ddrescue", OPTIONS_OF_THE_LOG,
			  identity->is_block ? "-d -r3" : NULL, (const char *const[]){ path, copy, map, NULL },
			  work->cache_fails ? "CACHE fails: copies what can be read of it" : "BACKING fails: copies what can be read of it");
		next_on_copy(work, copy, map);
	}
	free(map);
	free(copy);
}

#define MEMORY_MIN (UINT64_C(8) << 20)

void flush_say_less_memory(const struct work *work)
{
	uint64_t half = work->options->memory / 2;
	char add[64];

	snprintf(add, sizeof(add), "--memory=%" PRIu64 "M", half >> 20);
	if (half >= MEMORY_MIN)
		next_step(common_of(work), NULL, "memory", add, NULL, "with less memory");
}
