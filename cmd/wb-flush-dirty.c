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
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "custody.h"
#include "guard.h"
#include "progress.h"
#include "report.h"
#include "resume.h"
#include "space.h"
#include "undo_file.h"
#include "words.h"

struct flush_options {
	struct common common;
	bool dry_run, verify, compare, detach, keep;
	char *failed_path, *map_path, *undo_path, *state_path, *report_path;
	struct wb_decide_options decide;
	struct wb_ring_options ring;
	uint64_t memory;
};

enum { OPT_DRY_RUN = 1, OPT_POLICY, OPT_UNTIL, OPT_TRUST, OPT_IGNORE, OPT_TIMELINE, OPT_ZEROED, OPT_MEMORY, OPT_VERIFY,
       OPT_DETACH, OPT_KEEP, OPT_COMPARE, OPT_RETRY, OPT_FAILED, OPT_CACHE_MAP, OPT_UNDO, OPT_STATE, OPT_REPORT };

static const struct poptOption flush_table[] = {
	{ "dry-run", 'n', POPT_ARG_NONE, NULL, OPT_DRY_RUN, "show the whole plan; open nothing for writing", NULL },
	{ "policy", '\0', POPT_ARG_STRING, NULL, OPT_POLICY, "what to do about damage (default: strict)",
	  "strict|prefix|salvage" },
	{ "until-id", '\0', POPT_ARG_STRING, NULL, OPT_UNTIL, "write nothing newer than segment N", "N" },
	{ "trust-record", '\0', POPT_ARG_NONE, NULL, OPT_TRUST, "write nothing at or below the superblock record", NULL },
	{ "ignore-record", '\0', POPT_ARG_NONE, NULL, OPT_IGNORE, "take the superblock record as 0", NULL },
	{ "timeline", '\0', POPT_ARG_STRING, NULL, OPT_TIMELINE, "of a restarted ring, the one to write", "new|old" },
	{ "zeroed", '\0', POPT_ARG_STRING, NULL, OPT_ZEROED, "what to do with segments that read as zeroes", "skip|replay" },
	{ "memory", '\0', POPT_ARG_STRING, NULL, OPT_MEMORY, "budget for plan and buffers, at least 8MiB", "SIZE" },
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
	POPT_TABLEEND
};

static const char *const policies[] = { "strict", "prefix", "salvage", NULL };

static void set_retry(struct flush_options *flush, const char *text)
{
	uint64_t retry = number_of("--retry", text);

	if (retry > 1000)
		usage_error("--retry: %s is more than 1000", text);
	flush->ring.retry = (unsigned)retry;
}

static void set_path(const char *what, char **path, const char *text)
{
	if (!*text)
		usage_error("%s: a file name is needed", what);
	free(*path);
	*path = strdup(text);
	if (!*path)
		usage_error("out of memory");
}

static void handle(void *options, int val, const char *argument)
{
	static const char *const timelines[] = { "new", "old", NULL };
	static const char *const zeroed[] = { "skip", "replay", NULL };
	struct flush_options *flush = options;

	switch (val) {
	case OPT_DRY_RUN: flush->dry_run = true; break;
	case OPT_POLICY: flush->decide.policy = (enum wb_policy)choice_of("--policy", argument, policies); break;
	case OPT_UNTIL:
		flush->decide.until = number_of("--until-id", argument);
		if (!flush->decide.until)
			usage_error("--until-id: segment ids begin at 1");
		break;
	case OPT_TRUST: flush->ring.record_use = WB_RECORD_TRUST; break;
	case OPT_IGNORE: flush->ring.record_use = WB_RECORD_IGNORE; break;
	case OPT_TIMELINE:
		flush->ring.timeline = choice_of("--timeline", argument, timelines) ? WB_TIMELINE_OLD : WB_TIMELINE_NEW;
		break;
	case OPT_ZEROED:
		flush->decide.zeroed = choice_of("--zeroed", argument, zeroed) ? WB_ZEROED_REPLAY : WB_ZEROED_SKIP;
		break;
	case OPT_MEMORY:
		flush->memory = size_of("--memory", argument);
		if (flush->memory < 8u << 20)
			usage_error("--memory: %s is less than 8MiB", argument);
		break;
	case OPT_VERIFY: flush->verify = true; break;
	case OPT_COMPARE: flush->compare = true; break;
	case OPT_RETRY: set_retry(flush, argument); break;
	case OPT_FAILED: set_path("--failed", &flush->failed_path, argument); break;
	case OPT_CACHE_MAP: set_path("--cache-map", &flush->map_path, argument); break;
	case OPT_UNDO: set_path("--undo", &flush->undo_path, argument); break;
	case OPT_STATE: set_path("--state", &flush->state_path, argument); break;
	case OPT_REPORT: set_path("--report", &flush->report_path, argument); break;
	case OPT_DETACH: flush->detach = true; break;
	case OPT_KEEP: flush->keep = true; break;
	default: break;
	}
	if (flush->detach && flush->keep)
		usage_error("--detach and --keep exclude each other");
}

static const char *const forces[] = { "pair", "size", "signature", "ended", "regress", NULL };

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

/* Stale ranges, or blocks left out, that people are shown. */
#define LISTED 16u

struct work {
	struct flush_options *options;
	const char *cache_path, *backing_path;
	struct identity cache_identity, backing_identity;
	struct wb_dev *cache_dev, *marker_dev, *backing;
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_proof proof;
	struct wb_decision decision;
	struct wb_replay_result result;
	bool ended;
	struct wb_map clone_map; /* what was not rescued when CACHE, a clone, was made */
	struct wb_map failed;    /* what could not be read of CACHE */
	int failed_fd;
	uint64_t stale_ranges, unusable; /* how many were listed */
	struct undo_file undo;
	struct state then, state; /* what --state holds of an earlier run, and of this one */
	bool resumable;           /* there was such a file, of this pair */
	int state_status;         /* of the last attempt to save it */
};

static const struct common *common_of(const struct work *work)
{
	return &work->options->common;
}

/* Sectors that this run and the one it goes on with left alone. */
static uint64_t unreadable(const struct work *work)
{
	return work->then.unreadable + work->result.unreadable_sectors;
}

/* ---- opening ---- */

/* The longest of what guard.h says about a device. */
#define WORDS 1024

static int refuse_overlap(const struct work *work)
{
	char text[WORDS];

	if (!devices_overlap(work->cache_path, work->backing_path, text, sizeof(text)))
		return 0;
	return common_refuse(common_of(work), work->backing_path, "CACHE and BACKING are %s", text);
}

static void report_identity(const char *role, const char *path, const struct identity *identity, const char *holder)
{
	struct json_object *record = report_record("identity");

	report_text(record, "role", role);
	report_text(record, "device", path);
	report_bool(record, "busy", holder[0]);
	report_text(record, "holder", holder[0] ? holder : NULL);
	identity_report(record, identity);
	report_emit(record);
}

/* Says what a device is, and refuses one that is in use; a dry run goes on. */
static int guard_device(const struct work *work, bool is_backing, struct identity *identity)
{
	const char *path = is_backing ? work->backing_path : work->cache_path;
	const char *operand = is_backing ? "BACKING" : "CACHE";
	char holder[WORDS];
	bool busy = holder_of(path, holder, sizeof(holder));

	identify(path, identity);
	report_identity(is_backing ? "backing" : "cache", path, identity, holder);
	if (busy && work->options->dry_run)
		common_warn(common_of(work), "%s: %s is used: %s; a dry run goes on, but what it shows may be moving", path,
			    operand, holder);
	else if (busy)
		return common_refuse(common_of(work), path, "%s is used: %s; end that (unmount it, take down the mapping or "
				     "the loop device), then run this again", operand, holder);
	return 0;
}

static int refuse_signature(const struct work *work)
{
	const char *danger = dangerous_signature(&work->backing_identity);
	char line[WORDS];

	if (!danger || common_forced(common_of(work), "signature"))
		return 0;
	identity_line(&work->backing_identity, work->backing_path, line, sizeof(line));
	return common_refuse(common_of(work), work->backing_path,
			     "BACKING carries the signature of %s: is this the right disk? (%s; --force=signature overrides this)",
			     danger, line);
}

/* CACHE is opened read-only; the closing marker goes through a descriptor of its own. */
static int open_marker_dev(struct work *work)
{
	const struct flush_options *options = work->options;
	struct wb_error err;

	if (options->dry_run || options->keep)
		return 0;
	if (!wb_dev_open(&work->marker_dev, work->cache_path, WB_OPEN_WRITE, &err))
		return 0;
	if (options->detach)
		return common_failed(common_of(work), work->cache_path, &err,
				     "--detach must write the end of the log to CACHE: make it writable, or leave --detach out");
	common_warn(common_of(work), "%s: cannot be written (%s); the log will not be ended", work->cache_path, err.text);
	return 0;
}

/* What a clone lacks counts as unreadable, not as zeroes. */
static int mask_clone(struct work *work)
{
	const char *path = work->options->map_path;
	struct wb_fault fault = { .cut_after = UINT64_MAX };
	struct wb_error err;

	if (!path)
		return 0;
	if (wb_map_load(&work->clone_map, path, wb_dev_size(work->cache_dev), &err))
		return common_failed(common_of(work), path, &err, NULL);
	if (work->clone_map.covered > wb_dev_size(work->cache_dev))
		common_warn(common_of(work), "%s: the map speaks of %" PRIu64 " bytes, CACHE has %" PRIu64 ": is it the map of this clone?",
			    path, work->clone_map.covered, wb_dev_size(work->cache_dev));
	fault.bad = work->clone_map.bad;
	fault.bad_count = work->clone_map.count;
	if (wb_dev_fault(&work->cache_dev, work->cache_dev, &fault, &err))
		return common_failed(common_of(work), path, &err, NULL);
	return 0;
}

static int open_cache(struct work *work)
{
	const struct common *common = common_of(work);
	struct wb_overrides overrides = common->overrides;
	unsigned exclusive = work->options->dry_run ? 0 : WB_OPEN_EXCLUSIVE;
	int status = guard_device(work, false, &work->cache_identity);

	if (!status)
		status = common_open(common, &work->cache_dev, work->cache_path, WB_OPEN_READ | exclusive);
	overrides.any_super = common_forced(common, "ended");
	if (!status)
		status = mask_clone(work);
	if (!status)
		status = common_open_cache(common, &work->cache, work->cache_dev, work->cache_path, &overrides);
	if (!status && work->cache.super == WB_SUPER_DAMAGED)
		status = common_refuse(common, work->cache_path,
				       "sector 0 is damaged; wb-check --repair restores it, then run this again");
	return status;
}

/* Swapped operands would destroy the log. */
static int refuse_writeboost_header(struct work *work)
{
	struct wb_overrides none = { .order = 0 };
	struct wb_cache other;
	struct wb_error err;
	int failed = wb_cache_open(&other, work->backing, &none, &err);

	if ((failed && err.code != WB_EWRAP) || common_forced(common_of(work), "signature"))
		return 0;
	return common_refuse(common_of(work), work->backing_path,
			     "BACKING carries a writeboost header: are the two operands swapped? (--force=signature overrides this)");
}

static int open_backing(struct work *work)
{
	unsigned flags = work->options->dry_run ? WB_OPEN_READ : WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE;
	int status = guard_device(work, true, &work->backing_identity);

	if (!status)
		status = refuse_signature(work);
	if (!status)
		status = common_open(common_of(work), &work->backing, work->backing_path, flags);
	if (status)
		return status;
	return refuse_writeboost_header(work);
}

/* ---- what the policies say ---- */

/* Every reason of enum wb_refusal, in the order of its bits. */
static const struct {
	const char *name, *text;
} reasons[] = {
	{ "hole", "segments of the log are missing or damaged (holes)" },
	{ "ahead", "a segment lies ahead of a gap" },
	{ "rotten", "a segment is rotten" },
	{ "alien-id", "a whole segment bears an impossible id" },
	{ "bounds", "a length or a sector address is impossible" },
	{ "beyond-backing", "dirty data lies beyond the end of BACKING (a wrong disk? --force=size leaves it out)" },
	{ "zeroed", "segments read as zeroes, as after a discard (--zeroed=skip or --zeroed=replay decides)" },
	{ "geometry", "the device was resized or its start moved (wb-check lists candidates for --slots)" },
	{ "restarted", "the ring was restarted: two histories (--timeline=new or --timeline=old decides)" },
	{ "destroyed", "no segment is valid, but there was a log" },
	{ "record", "the record names newer segments than the log holds (--trust-record or --ignore-record decides)" },
	{ "regress", "BACKING already holds newer data than what would be written (--force=regress overrides this)" },
	{ "unreadable", "CACHE returns read errors" },
};

static void say_refusal(const struct work *work, unsigned refused)
{
	common_warn(common_of(work), "%s: the log cannot be written back as it is; nothing was changed", work->cache_path);
	for (unsigned i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		struct json_object *record = refused >> i & 1 ? report_record("refusal") : NULL;

		if (!(refused >> i & 1))
			continue;
		common_warn(common_of(work), "  %s", reasons[i].text);
		report_text(record, "reason", reasons[i].name);
		report_text(record, "text", reasons[i].text);
		report_emit(record);
	}
}

static uint64_t segments_in(const struct work *work, const struct wb_decision *decision)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < work->cache.geometry.slots; i++) {
		const struct wb_slot *slot = &work->ring.slots[i];

		count += slot->id >= decision->scope.low && slot->id <= decision->scope.high &&
			 slot->class_ == WB_LIVE;
	}
	return count;
}

/* What another policy would do, for the message of a refusal; salvage comes last because it corrects the ring. */
static int say_alternative(struct work *work, enum wb_policy policy)
{
	struct wb_decide_options options = work->options->decide;
	struct wb_decision decision;
	struct wb_error err;

	options.policy = policy;
	options.stale = NULL;
	options.unusable = NULL;
	if (wb_decide(&work->ring, work->backing, &options, &decision, &common_of(work)->progress, &err))
		return common_failed(common_of(work), work->cache_path, &err, NULL);
	if (decision.refused)
		common_warn(common_of(work), "  --policy=%s would refuse too%s", policies[policy],
			    decision.refused & WB_REFUSE_REGRESS ? ": BACKING already holds newer data" : "");
	else
		common_warn(common_of(work),
			    "  --policy=%s would write %" PRIu64 " segments (%" PRIu64 " to %" PRIu64 "), correct %" PRIu32
			    ", leave out %" PRIu64 "; %" PRIu64 " sectors may be stale", policies[policy],
			    segments_in(work, &decision), decision.oldest, decision.scope.high, decision.corrected,
			    decision.left_segments, decision.stale_sectors);
	return 0;
}

static int refuse(struct work *work)
{
	bool strict = work->options->decide.policy == WB_STRICT;
	const unsigned for_all = WB_REFUSE_GEOMETRY | WB_REFUSE_RESTARTED | WB_REFUSE_DESTROYED | WB_REFUSE_RECORD;
	unsigned refused = work->decision.refused;
	int status = 0;

	/* what every policy refuses must be settled first, and often explains the rest */
	say_refusal(work, refused & for_all ? refused & for_all : refused);
	if (strict && !(refused & for_all)) {
		status = say_alternative(work, WB_PREFIX);
		if (!status)
			status = say_alternative(work, WB_SALVAGE);
	}
	return status ? status : EXIT_PROBLEMS;
}

/* ---- the pair ---- */

static int refuse_wrong_disk(struct work *work)
{
	if (work->proof.pair != WB_PAIR_CONTRADICTED || common_forced(common_of(work), "pair"))
		return 0;
	return common_refuse(common_of(work), work->backing_path,
			     "this is not the disk the log describes: %" PRIu64 " clean copies in the cache differ from it and %"
			     PRIu64 " blocks agree. A wrong disk, or one that was written since, or a stale read cache "
			     "(--force=pair overrides this)", work->proof.against, work->proof.for_);
}

static int require_pair(struct work *work)
{
	const struct common *common = common_of(work);
	char line[WORDS], question[2 * WORDS];

	if (work->proof.pair != WB_PAIR_UNPROVEN || common_forced(common, "pair") || work->options->dry_run)
		return 0;
	identity_line(&work->backing_identity, work->backing_path, line, sizeof(line));
	snprintf(question, sizeof(question), "BACKING is %s.\nNothing proves that it is the backing device of this cache. "
		 "Write to it?", line);
	if (common_confirm(common, question))
		return 0;
	return common_refuse(common, work->backing_path,
			     "nothing proves that this is the backing device of this cache; look at it, then give --yes");
}

/* ---- going on with an earlier run ---- */

/* Where the sweep begins, in bytes of BACKING. */
static uint64_t begin_of(const struct work *work)
{
	return work->options->decide.resumed ? work->then.flushed - work->then.flushed % WB_BLOCK : 0;
}

/* All that a plan depends on beside the log itself. */
static char *options_text(const struct flush_options *options)
{
	char *text = NULL;

	return asprintf(&text, "policy=%s until=%" PRIu64 " zeroed=%d record=%d timeline=%d force-size=%d",
			policies[options->decide.policy], options->decide.until, (int)options->decide.zeroed,
			(int)options->ring.record_use, (int)options->ring.timeline, options->decide.force_size) < 0 ? NULL : text;
}

static int describe(struct work *work)
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

static int open_undo(struct work *work)
{
	const struct wb_undo_device devices[] = { { work->state.cache, work->state.cache_bytes },
						  { work->state.backing, work->state.backing_bytes } };
	int status = undo_file_open(common_of(work), &work->undo, devices, 2);

	work->state.undo = work->undo.undo.id;
	work->state.undone = work->undo.undo.undone;
	return status;
}

/* A file that is there already is looked at before anything else, and gone on with. */
static int open_old_undo(struct work *work)
{
	work->undo.path = work->options->dry_run ? NULL : work->options->undo_path;
	return work->undo.path && access(work->undo.path, F_OK) == 0 ? open_undo(work) : 0;
}

static int decide_again(struct work *work, struct wb_decision *decision, struct wb_error *err)
{
	struct wb_decide_options options = work->options->decide;

	options.resumed = true;
	options.cut = work->then.cut;
	return wb_decide(&work->ring, work->backing, &options, decision, &common_of(work)->progress, err);
}

/* Adopts what --state says of an earlier run, after a look at whether it is still so. */
static int resume(struct work *work)
{
	const struct common *common = common_of(work);
	const struct sweep sweep = { &work->ring, work->backing, work->options->decide.capacity };
	const char *path = work->options->state_path;
	struct wb_decision decision;
	struct wb_error err;
	const char *difference;
	bool believed = false;

	if (!path || !work->resumable)
		return 0;
	difference = state_difference(&work->then, &work->state);
	if (difference)
		return common_refuse(common, path, "the file was written for %s; give --state a new name", difference);
	if (decide_again(work, &decision, &err))
		return common_failed(common, work->cache_path, &err, NULL);
	if (decision.refused)
		return 0;
	if (work->options->dry_run) {
		work->state.undo = work->then.undo;
		work->state.undone = work->then.undone;
	}
	int status = resume_believe(common, path, &work->then, &work->state, &sweep, &decision.scope, &believed);

	work->options->decide.resumed = believed;
	work->options->decide.cut = work->then.cut;
	if (!believed)
		work->then.unreadable = 0;
	if (believed && work->then.flushed)
		common_say(common, "resumed     everything below %s of BACKING was flushed by an earlier run",
			   human_size(work->then.flushed == UINT64_MAX ? wb_dev_size(work->backing) : work->then.flushed));
	return status;
}

static int save_state(void *context, uint64_t below)
{
	struct work *work = context;

	work->state.flushed = below;
	work->state.unreadable = work->then.unreadable + work->result.unreadable_sectors;
	work->state_status = state_save(common_of(work), work->options->state_path, &work->state);
	return work->state_status;
}

/* Creates what the run is going to write beside BACKING, while nothing has been changed yet. */
static int open_records(struct work *work)
{
	const struct sweep sweep = { &work->ring, work->backing, work->options->decide.capacity };
	struct wb_error err;
	int status = 0;

	if (work->options->dry_run)
		return 0;
	if (!work->undo.file)
		status = open_undo(work);
	if (!status)
		status = undo_file_wrap(common_of(work), &work->undo, &work->marker_dev, 0);
	if (!status)
		status = undo_file_wrap(common_of(work), &work->undo, &work->backing, 1);
	if (status || !work->options->state_path)
		return status;
	if (resume_outside(common_of(work), &sweep, &work->decision.scope, &work->state.outside, &err))
		return common_failed(common_of(work), work->backing_path, &err, NULL);
	work->state.cut = work->decision.cut;
	return save_state(work, begin_of(work));
}

/* ---- doing it ---- */

static int say_plan(struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_decision *decision = &work->decision;
	char line[WORDS];

	identity_line(&work->backing_identity, work->backing_path, line, sizeof(line));
	common_say(common, "cache       %s, %s: %s, %" PRIu32 " segments of %s, newest id %" PRIu64, work->cache_path,
		   human_size(wb_dev_size(work->cache_dev)), work->cache.geometry.format->name,
		   work->cache.geometry.slots, human_size(wb_slot_size(&work->cache.geometry)), work->ring.head);
	common_say(common, "backing     %s", line);
	common_say(common, "pair        %s: %" PRIu64 " blocks of the log are on BACKING already, %" PRIu64
		   " clean copies differ from it", wb_pair_name(work->proof.pair), work->proof.for_, work->proof.against);
	if (decision->oldest)
		common_say(common, "plan        policy %s: %" PRIu64 " segment%s, %" PRIu64 " to %" PRIu64,
			   policies[work->options->decide.policy], segments_in(work, decision),
			   plural(segments_in(work, decision)), decision->oldest, decision->scope.high);
	else
		common_say(common, "plan        policy %s: nothing to write", policies[work->options->decide.policy]);
	if (decision->corrected)
		common_say(common, "corrected   %" PRIu32 " segment%s by one flipped bit each (chance of an error about 1 in 1000 each)",
			   decision->corrected, plural(decision->corrected));
	if (decision->cut)
		common_say(common, "cut         %s segment %" PRIu64,
			   work->options->decide.policy == WB_SALVAGE ? "nothing at or below" : "nothing from", decision->cut);
	if (decision->left_segments)
		common_say(common, "left out    %" PRIu64 " segment%s with up to %" PRIu64 " dirty sectors",
			   decision->left_segments, plural(decision->left_segments), decision->left_sectors);
	if (decision->zeroed_skipped)
		common_say(common, "skipped     %" PRIu64 " segment%s that read as zeroes", decision->zeroed_skipped,
			   plural(decision->zeroed_skipped));
	if (decision->stale_sectors || decision->unknown_holes)
		common_say(common, "stale       %" PRIu64 " sectors whose newest version is lost%s", decision->stale_sectors,
			   decision->unknown_holes ? ", and those of segments whose metadata is lost" : "");
	if (work->ring.classes[WB_TORN_HEAD])
		common_warn(common, "%s: the oldest slot was being overwritten when power was cut; its segment %" PRIu64
			    " had been written back before", work->cache_path, work->ring.first);
	if (work->cache.geometry.format->seal == WB_SEAL_LAP && work->ring.head)
		common_warn(common, "%s: in this generation nothing covers data blocks, so segment %" PRIu64
			    " may be torn unnoticed; --until-id=%" PRIu64 " leaves it out", work->cache_path, work->ring.head,
			    work->ring.head - 1);
	return 0;
}

static void count_extent(void *context, uint64_t sector, uint64_t sectors)
{
	space_count(context, sector * WB_SECTOR, sectors * WB_SECTOR);
}

/* An image in a file system that is too full is better refused now than left half written. */
static int require_space(struct work *work)
{
	struct wb_replay_options options = { .capacity = work->options->decide.capacity, .dry_run = true,
					     .begin = begin_of(work), .extent = count_extent };
	struct wb_replay_result result;
	struct space space;
	struct wb_error err;

	if (work->options->dry_run || !space_may_be_short(&space, work->backing_path, work->ring.dirty_sectors))
		return 0;
	options.context = &space;
	int ret = wb_replay(&work->ring, &work->decision.scope, work->backing, &options, &result,
			    &common_of(work)->progress, &err);

	space_close(&space);
	if (ret)
		return common_failed(common_of(work), work->cache_path, &err, NULL);
	if (space.needed <= space.available)
		return 0;
	return common_refuse(common_of(work), work->backing_path, "no space left: the holes of this image that would be filled need %s, "
			     "and its file system has %s; make room there, then run this again",
			     human_size(space.needed), human_size(space.available));
}

static const char *new_names(const struct flush_options *options)
{
	return options->report_path && options->failed_path ? ", with new names for --report and --failed" :
	       options->report_path ? ", with a new name for --report" :
	       options->failed_path ? ", with a new name for --failed" : "";
}

static int say_interrupted(const struct work *work, int status)
{
	const struct common *common = common_of(work);

	common_warn(common, "%" PRIu64 " sectors had been written and stay valid. Until a run has come to its end do not mount "
		    "BACKING, and do not assemble the device", work->result.written_sectors);
	if (work->options->state_path)
		common_warn(common, "run the same command again%s: it goes on from %s", new_names(work->options),
			    human_size(work->state.flushed == UINT64_MAX ? wb_dev_size(work->backing) : work->state.flushed));
	else if (work->options->decide.policy == WB_STRICT)
		common_warn(common, "run the same command again%s: it begins anew, which is always right",
			    new_names(work->options));
	else
		common_warn(common, "without --state the next run takes what this one wrote for evidence and decides more "
			    "cautiously%s", work->undo.path ? "; wb-undo takes it back first" : "");
	return status;
}

static int replay(struct work *work)
{
	const struct flush_options *options = work->options;
	const struct wb_replay_options replay_options = {
		.capacity = options->decide.capacity, .dry_run = options->dry_run, .verify = options->verify,
		.compare = options->compare, .begin = begin_of(work), .interval = options->state_path ? STATE_SECONDS : 0,
		.context = work, .flushed = options->state_path ? save_state : NULL,
	};
	struct wb_error err;

	if (!wb_replay(&work->ring, &work->decision.scope, work->backing, &replay_options, &work->result,
		       &options->common.progress, &err))
		return 0;
	int status = work->state_status ? work->state_status : undo_file_failure(common_of(work), &work->undo);

	if (!status)
		status = common_failed(common_of(work), err.code == WB_ECHANGED ? work->cache_path : work->backing_path, &err,
				       err.sys == ENOSPC ? "no space left in the file system of this image: make room there" : NULL);
	return say_interrupted(work, status);
}

/* Everything of the window is on BACKING now, so that no driver ever needs this log again. */
static bool log_may_end(const struct work *work)
{
	const struct flush_options *options = work->options;
	const struct wb_decision *decision = &work->decision;

	if (options->dry_run || options->keep || !work->marker_dev || unreadable(work))
		return false;
	if (options->detach)
		return true;
	if (options->decide.until || options->ring.record_use == WB_RECORD_TRUST)
		return false;
	if (options->decide.policy == WB_PREFIX && decision->cut)
		return false;
	return !decision->left_segments && !decision->zeroed_skipped && !decision->stale_sectors &&
	       !decision->unknown_holes;
}

static int end_log(struct work *work)
{
	const struct wb_marker marker = { .reason = WB_END_FLUSHED, .time = (uint64_t)time(NULL), .head = work->ring.head,
					  .digest = work->ring.digest, .backing_bytes = wb_dev_size(work->backing) };
	struct wb_error err;

	if (!log_may_end(work))
		return 0;
	if (wb_cache_end(work->marker_dev, &marker, &err)) {
		int status = undo_file_failure(common_of(work), &work->undo);

		return status ? status : common_failed(common_of(work), work->cache_path, &err, "all data is on BACKING, but the log "
						       "could not be ended: do not assemble this cache again");
	}
	work->ended = true;
	work->state.ended = 1;
	return work->options->state_path ? save_state(work, UINT64_MAX) : 0;
}

/* The status of a run that came to its end. */
static int status_of(const struct work *work)
{
	const struct wb_decision *decision = &work->decision;
	bool prefix = work->options->decide.policy == WB_PREFIX;
	bool left = decision->left_segments || unreadable(work);

	if (prefix)
		return left || decision->zeroed_skipped ? EXIT_REPAIRED | EXIT_PROBLEMS :
		       decision->damage ? EXIT_REPAIRED : EXIT_FINE;
	if (work->options->decide.policy == WB_STRICT)
		return left ? EXIT_PROBLEMS : EXIT_FINE;
	left |= decision->zeroed_skipped || decision->stale_sectors || decision->unknown_holes;
	return (decision->damage ? EXIT_REPAIRED : EXIT_FINE) | (left ? EXIT_PROBLEMS : EXIT_FINE);
}

static void say_result(const struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_replay_result *result = &work->result;

	if (work->options->dry_run) {
		common_say(common, "dry run     would write %" PRIu64 " sectors (%s) in %" PRIu64 " request%s, %u pass%s; nothing was changed",
			   result->planned_sectors, human_size(result->planned_sectors * WB_SECTOR), result->writes,
			   plural(result->writes), result->passes, result->passes == 1 ? "" : "es");
		return;
	}
	common_say(common, "written     %" PRIu64 " of %" PRIu64 " sectors (%s) in %" PRIu64 " request%s, flushed%s",
		   result->written_sectors, result->planned_sectors, human_size(result->written_sectors * WB_SECTOR),
		   result->writes, plural(result->writes), result->verified_sectors ? " and verified" : "");
	if (unreadable(work))
		common_say(common, "unreadable  %" PRIu64 " sectors of the log; BACKING was left as it was there", unreadable(work));
	if (result->skipped_equal)
		common_say(common, "equal       %" PRIu64 " sectors were on BACKING already and were not written",
			   result->skipped_equal);
	undo_file_say(common, &work->undo);
	if (work->ended)
		common_say(common, "log         ended: no driver will replay it again\n"
			   "next        BACKING can be used on its own; CACHE is free (wb-format makes a new cache of it)");
	else
		common_say(common, "log         kept: a driver that finds it will replay it again in its own way\n"
			   "next        keep CACHE away from the driver; --detach ends the log when nothing more is wanted of it");
}

static uint64_t peak_memory(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) ? 0 : (uint64_t)usage.ru_maxrss * 1024;
}

static int take_sum(struct work *work)
{
	return work->options->report_path ? custody_metadata(common_of(work), &work->cache, work->cache_path) : 0;
}

static void summarise(const struct work *work, double seconds)
{
	struct json_object *summary = report_summary();
	const struct wb_replay_result *result = &work->result;

	report_text(summary, "policy", policies[work->options->decide.policy]);
	report_u64(summary, "first_id", work->decision.oldest);
	report_u64(summary, "last_id", work->decision.oldest ? work->decision.scope.high : 0);
	report_u64(summary, "planned_sectors", result->planned_sectors);
	report_u64(summary, "written_sectors", result->written_sectors);
	report_u64(summary, "writes", result->writes);
	report_u64(summary, "skipped_equal", result->skipped_equal);
	report_u64(summary, "unreadable_sectors", unreadable(work));
	report_u64(summary, "stale_sectors", work->decision.stale_sectors);
	report_u64(summary, "left_segments", work->decision.left_segments);
	report_u64(summary, "left_sectors", work->decision.left_sectors);
	report_u64(summary, "evidence", work->decision.evidence);
	report_u64(summary, "corrected", work->decision.corrected);
	report_u64(summary, "passes", result->passes);
	report_bool(summary, "ended", work->ended);
	report_text(summary, "pair", wb_pair_name(work->proof.pair));
	report_u64(summary, "for", work->proof.for_);
	report_u64(summary, "against", work->proof.against);
	report_bool(summary, "dry_run", work->options->dry_run);
	report_u64(summary, "resumed_at", begin_of(work));
	report_u64(summary, "time", (uint64_t)time(NULL));
	report_u64(summary, "peak_memory", peak_memory());
	report_real(summary, "seconds", seconds);
}

static int load(struct work *work)
{
	struct flush_options *options = work->options;
	struct wb_error err;

	options->ring.backing_sectors = wb_dev_size(work->backing) / WB_SECTOR;
	if (wb_ring_load(&work->ring, &work->cache, &options->ring, &options->common.progress, &err))
		return common_failed(common_of(work), work->cache_path, &err, NULL);
	if (options->ring.timeline != WB_TIMELINE_NONE && !work->ring.restarted)
		return common_refuse(common_of(work), work->cache_path, "--timeline: this ring was not restarted");
	if (wb_pair_prove(&work->ring, work->backing, options->decide.capacity, 65536, &work->proof, &options->common.progress, &err))
		return common_failed(common_of(work), work->backing_path, &err, NULL);
	return 0;
}

/* Sectors whose newest version is lost: every range in JSON, the first ones for people. */
static void list_stale(void *context, uint64_t sector, uint64_t sectors)
{
	struct work *work = context;
	struct json_object *record = report_record("stale");

	report_u64(record, "sector", sector);
	report_u64(record, "sectors", sectors);
	report_emit(record);
	if (work->stale_ranges++ < LISTED || common_of(work)->verbose)
		common_say(common_of(work), "stale       sectors %" PRIu64 " to %" PRIu64 " of BACKING: their newest version is lost",
			   sector, sector + sectors - 1);
	else if (work->stale_ranges == LISTED + 1)
		common_say(common_of(work), "stale       more of them: --verbose lists all, --json too");
}

/* A metablock that is left out because BACKING has no such sectors. */
static void list_unusable(void *context, uint64_t id, unsigned index, uint64_t sector, uint8_t dirty)
{
	struct work *work = context;
	struct json_object *record = report_record("left_out");

	report_u64(record, "id", id);
	report_u64(record, "index", index);
	report_u64(record, "sector", sector);
	report_u64(record, "dirty_bits", dirty);
	report_emit(record);
	if (work->unusable++ < LISTED || common_of(work)->verbose)
		common_say(common_of(work), "left out    segment %" PRIu64 " block %u: %d dirty sectors of the block at sector %" PRIu64
			   " of BACKING, which is misaligned or beyond its end", id, index, __builtin_popcount(dirty), sector);
	else if (work->unusable == LISTED + 1)
		common_say(common_of(work), "left out    more of them: --verbose lists all, --json too");
}

static void note_failed(void *context, uint64_t offset, uint64_t length)
{
	struct work *work = context;

	/* without memory for the map the sectors still count as unreadable */
	wb_map_add(&work->failed, offset, length, NULL);
}

static int create_failed(struct work *work)
{
	const char *path = work->options->failed_path;

	work->options->ring.context = work;
	work->options->ring.unreadable = note_failed;
	return path ? common_create(common_of(work), path, &work->failed_fd) : 0;
}

static int write_failed(struct work *work)
{
	const char *path = work->options->failed_path;
	struct wb_error err;

	if (work->failed_fd < 0)
		return 0;
	wb_map_settle(&work->failed);
	int ret = wb_map_write(work->failed_fd, work->failed.bad, work->failed.count, wb_dev_size(work->cache_dev), &err);
	int status = common_complete(common_of(work), path, work->failed_fd);

	work->failed_fd = -1;
	return ret ? common_failed(common_of(work), path, &err, NULL) : status;
}

static void add_reasons(struct json_object *record, const char *key, unsigned bits)
{
	struct json_object *names = record ? json_object_new_array() : NULL;

	for (unsigned i = 0; record && i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (bits >> i & 1)
			report_add_text(names, reasons[i].name);
	if (record)
		json_object_object_add(record, key, names);
}

static void report_decision(const struct work *work)
{
	struct json_object *record = report_record("decision");
	struct json_object *given = record ? json_object_new_array() : NULL;
	const struct wb_decision *decision = &work->decision;

	for (unsigned i = 0; record && forces[i]; i++)
		if (common_forced(common_of(work), forces[i]))
			report_add_text(given, forces[i]);
	if (record)
		json_object_object_add(record, "forces", given);
	report_text(record, "policy", policies[work->options->decide.policy]);
	add_reasons(record, "damage", decision->damage);
	add_reasons(record, "refused", decision->refused);
	report_u64(record, "low", decision->scope.low);
	report_u64(record, "high", decision->scope.high);
	report_u64(record, "cut", decision->cut);
	report_bool(record, "resumed", work->options->decide.resumed);
	report_emit(record);
}

static void report_classes(const struct wb_ring *ring)
{
	struct json_object *record = report_record("classes");

	for (unsigned i = 0; i < WB_CLASSES; i++)
		if (ring->classes[i])
			report_u64(record, wb_class_name((enum wb_class)i), ring->classes[i]);
	report_u64(record, "holes", ring->holes);
	report_emit(record);
}

static int decide(struct work *work)
{
	struct flush_options *options = work->options;
	struct wb_error err;

	options->decide.context = work;
	options->decide.stale = list_stale;
	options->decide.unusable = list_unusable;

	if (wb_decide(&work->ring, work->backing, &options->decide, &work->decision, &options->common.progress, &err))
		return common_failed(common_of(work), work->cache_path, &err, NULL);
	report_classes(&work->ring);
	report_decision(work);
	return work->decision.refused ? refuse(work) : 0;
}

static int nothing_to_do(struct work *work)
{
	work->ended = true;
	common_say(common_of(work), "nothing to do for %s: %s", work->cache_path, words_marker(&work->cache.marker));
	return EXIT_FINE;
}

/* Segments that are missing where a sparse image has nothing: a clone that was not rescued there looks like that. */
static int warn_of_holes(struct work *work)
{
	const struct wb_geometry *geometry = &work->cache.geometry;
	uint64_t first = 0, count = 0;
	int fd = work->cache_identity.is_block || !work->ring.holes ? -1 : open(work->cache_path, O_RDONLY | O_CLOEXEC);

	for (uint32_t i = 0; fd >= 0 && i < geometry->slots; i++) {
		uint64_t due = wb_ring_due(&work->ring, i);

		if (!due || !wb_ring_is_hole(&work->ring, due) || !lies_in_hole(fd, wb_slot_offset(geometry, i), WB_BLOCK))
			continue;
		first = count++ ? first : wb_slot_offset(geometry, i);
	}
	if (fd >= 0)
		close(fd);
	if (count)
		common_warn(common_of(work), "%s: at byte %" PRIu64 ": the headers of %" PRIu64 " missing segment%s lie in holes of this "
			    "sparse image. Is it a clone that was not rescued there? Then give its ddrescue map to --cache-map",
			    work->cache_path, first, count, plural(count));
	return 0;
}

/* A file system that lives on one of the devices must not be written to now. */
static int refuse_places(struct work *work)
{
	const struct flush_options *options = work->options;
	const char *const files[] = { options->undo_path, options->state_path, options->failed_path, options->report_path };

	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (files[i] && (file_lives_on(files[i], work->cache_path) || file_lives_on(files[i], work->backing_path)))
			return common_refuse(common_of(work), files[i], "this file would lie on CACHE or BACKING themselves; "
					     "choose another place");
	return 0;
}

static int flush(struct work *work)
{
	static int (*const steps[])(struct work *) = {
		open_backing, open_marker_dev, create_failed, load, warn_of_holes, take_sum, refuse_wrong_disk, describe, open_old_undo, resume, decide,
		say_plan, require_pair, require_space, open_records, replay, end_log,
	};
	int status = refuse_overlap(work);

	if (!status && work->options->state_path)
		status = state_load(common_of(work), work->options->state_path, &work->then, &work->resumable);
	if (!status)
		status = open_cache(work);
	if (status)
		return status;
	if (!work->cache.geometry.format)
		return nothing_to_do(work);
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		status = steps[i](work);
		if (status)
			return status;
	}
	say_result(work);
	return status_of(work);
}

/* What follows from several options together. */
static void settle_options(struct flush_options *options)
{
	if (options->decide.until && options->decide.policy == WB_SALVAGE)
		usage_error("--until-id is a prefix of the log and cannot go with --policy=salvage");
	if (options->decide.until)
		options->decide.policy = WB_PREFIX;
	if (!options->memory)
		options->memory = default_memory();
	options->ring.jobs = (unsigned)options->common.jobs;
	options->ring.sums_memory = sums_memory(options->memory);
	options->decide.capacity = plan_capacity(options->memory);
	options->decide.force_regress = common_forced(&options->common, "regress");
	options->decide.force_size = common_forced(&options->common, "size");
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
	struct work work = { .options = &options, .failed_fd = -1 };
	struct timespec begin, end;
	int status;

	common_start(&options.common, &command, &options, argc, argv);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	settle_options(&options);
	work.cache_path = options.common.operands[0];
	work.backing_path = options.common.operands[1];
	status = refuse_places(&work);
	if (!status)
		status = custody_begin(&options.common, options.report_path, argc, argv);
	if (!status)
		status = flush(&work);
	status |= write_failed(&work);
	if (work.undo.file && options.report_path)
		status |= custody_file(&options.common, "undo file", options.undo_path);
	clock_gettime(CLOCK_MONOTONIC, &end);
	summarise(&work, (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
	release(&work);
	return common_finish(&options.common, status);
}
