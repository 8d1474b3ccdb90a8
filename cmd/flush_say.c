/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What wb-flush-dirty says, in words and in JSON: the plan, what is left out, the result. */
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#include "flush.h"
#include "next.h"
#include "part.h"
#include "report.h"
#include "words.h"

/* Stale ranges, or blocks left out, that people are shown. */
#define LISTED 16u

uint64_t flush_segments_in(const struct work *work, const struct wb_decision *decision)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < work->cache.geometry.slots; i++) {
		const struct wb_slot *slot = &work->ring.slots[i];

		count += slot->id >= decision->scope.low && slot->id <= decision->scope.high &&
			 slot->class_ == WB_LIVE;
	}
	return count;
}

const char *flush_range_words(const struct wb_decision *decision)
{
	static char text[64];

	if (decision->oldest == decision->scope.high)
		snprintf(text, sizeof(text), "%" PRIu64, decision->oldest);
	else
		snprintf(text, sizeof(text), "%" PRIu64 " to %" PRIu64, decision->oldest, decision->scope.high);
	return text;
}

/* v0. There is nothing before segment 1 that could be written without it. */
static void warn_of_newest(const struct work *work)
{
	char advice[64] = "";

	if (work->ring.head > 1)
		snprintf(advice, sizeof(advice), "; --until-id=%" PRIu64 " leaves it out", work->ring.head - 1);
	common_warn(common_of(work), "%s: in this generation nothing covers data blocks, so segment %" PRIu64
		    " may be torn unnoticed%s", work->cache_path, work->ring.head, advice);
}

int flush_say_plan(struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_decision *decision = &work->decision;
	char line[WORDS];

	identity_line(&work->backing_identity, work->backing_path, line, sizeof(line));
	common_say(common, "cache       %s, %s%s: %s, %s of %s, newest id %" PRIu64, work->cache_path,
		   human_size(wb_dev_size(work->cache_dev)), part_words(work->cache_dev), work->cache.geometry.format->name,
		   count_of(work->cache.geometry.slots, "segment"), human_size(wb_slot_size(&work->cache.geometry)), work->ring.head);
	common_say(common, "backing     %s", line);
	common_say(common, "pair        %s: %s of the log %s on BACKING already, %s %s from it", wb_pair_name(work->proof.pair),
		   count_of(work->proof.for_, "block"), work->proof.for_ == 1 ? "is" : "are", count_of(work->proof.against, "clean copy"),
		   work->proof.against == 1 ? "differs" : "differ");
	if (flush_segments_in(work, decision))
		common_say(common, "plan        policy %s: %s, %s", policies[work->options->decide.policy],
			   count_of(flush_segments_in(work, decision), "segment"), flush_range_words(decision));
	else
		common_say(common, "plan        policy %s: nothing to write", policies[work->options->decide.policy]);
	if (decision->corrected)
		common_say(common, "corrected   %s by one flipped bit each (chance of an error about 1 in 1000 each)",
			   count_of(decision->corrected, "segment"));
	if (decision->cut)
		common_say(common, "cut         %s segment %" PRIu64,
			   work->options->decide.policy == WB_SALVAGE ? "nothing at or below" : "nothing from", decision->cut);
	if (decision->left_segments || decision->lost_segments)
		common_say(common, "left out    %s with up to %s", count_of(decision->left_segments + decision->lost_segments, "segment"),
			   count_of(decision->left_sectors + decision->lost_sectors, "dirty sector"));
	if (decision->zeroed_skipped)
		common_say(common, "skipped     %s that read%s as zeroes, with up to %s", count_of(decision->zeroed_skipped, "segment"),
			   decision->zeroed_skipped == 1 ? "s" : "", count_of(decision->zeroed_sectors, "dirty sector"));
	if (decision->stale_sectors || decision->unknown_holes)
		common_say(common, "stale       %s whose newest version is lost%s", count_of(decision->stale_sectors, "sector"),
			   decision->unknown_holes ? ", and those of segments whose metadata is lost" : "");
	if (work->ring.classes[WB_TORN_HEAD])
		common_warn(common, "%s: the oldest slot was being overwritten when power was cut; its segment %" PRIu64
			    " had been written back before", work->cache_path, work->ring.first);
	if (work->cache.geometry.format->seal == WB_SEAL_LAP && decision->oldest && decision->scope.high >= work->ring.head)
		warn_of_newest(work);
	return 0;
}

static const char *new_names(const struct flush_options *options)
{
	return options->report_path && options->failed_path ? ", with new names for --report and --failed" :
	       options->report_path ? ", with a new name for --report" :
	       options->failed_path ? ", with a new name for --failed" : "";
}

int flush_say_interrupted(const struct work *work, int status)
{
	const struct common *common = common_of(work);

	if (!work->options->dry_run)
		common_warn(common, "%s had been written and stay%s valid. Until a run has come to its end do not mount "
			    "BACKING, and do not assemble the device", count_of(work->result.written_sectors, "sector"),
			    work->result.written_sectors == 1 ? "s" : "");
	if (work->backing_fails || work->cache_fails) {
		flush_say_copy(work);
		return status;
	}
	if (work->options->state_path)
		common_warn(common, "run the same command again%s: it goes on from %s", new_names(work->options),
			    flush_reached_words(work, &work->state));
	else if (work->options->decide.policy == WB_STRICT)
		common_warn(common, "run the same command again%s: it begins anew, which is always right",
			    new_names(work->options));
	else
		common_warn(common, "without --state the next run takes what this one wrote for evidence and decides more "
			    "cautiously%s", work->undo.path ? "; wb-undo takes it back first" : "");
	if (work->no_memory)
		flush_say_less_memory(work);
	else
		next_step(common, NULL, NULL, NULL, NULL, NULL);
	return status;
}

/* What stays as it is on BACKING, or would. */
static void say_left_alone(const struct work *work)
{
	const struct common *common = common_of(work);
	const char *was = work->options->dry_run ? "would be" : "was";
	uint64_t contested = work->result.contested_sectors;

	if (flush_unreadable(work))
		common_say(common, "unreadable  %s of the log; BACKING %s left as it is there", count_of(flush_unreadable(work), "sector"), was);
	if (contested)
		common_say(common, "contested   %s: BACKING holds, or may hold, something newer, and %s left as it is there",
			   count_of(contested, "sector"), was);
}

/* The log of the device that CACHE is a copy of was not touched. */
static void say_original(const struct work *work)
{
	if (!work->options->map_path)
		return;
	common_say(common_of(work), "original    the log on the device that %s is a copy of is not ended: a driver that finds it takes %s back in "
		   "time", work->cache_path, work->backing_path);
	common_say(common_of(work), "            keep that device away from it, or end its log: wb-format --reset --force=dirty DEVICE");
}

void flush_say_result(const struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_replay_result *result = &work->result;
	const char *part = part_options(work->cache_dev);

	if (work->options->dry_run) {
		common_say(common, "dry run     would write %s (%s) in %s, %s; nothing was changed",
			   count_of(result->planned_sectors, "sector"), human_size(result->planned_sectors * WB_SECTOR),
			   count_of(result->writes, "request"), count_of(result->passes, "pass"));
		say_left_alone(work);
		return;
	}
	common_say(common, "written     %" PRIu64 " of %s (%s) in %s, flushed%s",
		   result->written_sectors, count_of(result->planned_sectors, "sector"),
		   human_size(result->written_sectors * WB_SECTOR), count_of(result->writes, "request"), result->verified_sectors ? " and verified" : "");
	say_left_alone(work);
	if (result->skipped_equal)
		common_say(common, "equal       %s %s on BACKING already, and not written", count_of(result->skipped_equal, "sector"),
			   result->skipped_equal == 1 ? "was" : "were");
	undo_file_say(common, &work->undo, "undo        ");
	say_original(work);
	if (work->ended && work->marker.partial) {
		common_say(common, "log         ended by --detach: no driver will write back what was left out, %s",
			   words_left_out(&work->marker));
		common_say(common, "            keep %s as it is while that may be wanted (--force=ended reads the log again); %s can be used on "
			   "its own", work->cache_path, work->backing_path);
		return;
	}
	if (!work->ended && flush_is_ended(work)) {
		common_say(common, "log         ended before, and stays so: no driver will replay it");
		return;
	}
	common_say(common, work->ended ? "log         ended: no driver will replay it again" :
					 "log         kept: a driver that finds it will replay it again in its own way");
	if (work->ended)
		common_say(common, "            %s can be used on its own, and %s%s is free: wb-format%s makes a new cache of it",
			   work->backing_path, *part ? "that part of " : "", work->cache_path, part);
	else
		common_say(common, "            keep %s away from the driver", work->cache_path);
}

static uint64_t peak_memory(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_SELF, &usage) ? 0 : (uint64_t)usage.ru_maxrss * 1024;
}

void flush_summarise(const struct work *work, double seconds)
{
	struct json_object *summary = report_summary();
	const struct wb_replay_result *result = &work->result;

	report_text(summary, "cache", work->cache_path);
	report_text(summary, "backing", work->backing_path);
	report_text(summary, "policy", policies[work->options->decide.policy]);
	report_u64(summary, "first_id", work->decision.oldest);
	report_u64(summary, "last_id", work->decision.oldest ? work->decision.scope.high : 0);
	report_u64(summary, "planned_sectors", result->planned_sectors);
	report_u64(summary, "written_sectors", result->written_sectors);
	report_u64(summary, "writes", result->writes);
	report_u64(summary, "skipped_equal", result->skipped_equal);
	report_u64(summary, "contested_sectors", result->contested_sectors);
	report_u64(summary, "unreadable_sectors", flush_unreadable(work));
	report_u64(summary, "stale_sectors", work->decision.stale_sectors);
	report_u64(summary, "left_segments", work->decision.left_segments + work->decision.lost_segments);
	report_u64(summary, "left_sectors", work->decision.left_sectors + work->decision.lost_sectors);
	report_u64(summary, "evidence", work->decision.evidence);
	report_u64(summary, "corrected", work->decision.corrected);
	report_u64(summary, "passes", result->passes);
	report_bool(summary, "ended", flush_is_ended(work));
	report_bool(summary, "partial", work->marker.partial);
	report_text(summary, "pair", wb_pair_name(work->proof.pair));
	report_u64(summary, "for", work->proof.for_);
	report_u64(summary, "against", work->proof.against);
	report_u64(summary, "backing_unreadable_sectors", work->proof.backing_unreadable_sectors);
	report_bool(summary, "dry_run", work->options->dry_run);
	report_u64(summary, "resumed_at", flush_begin(work));
	report_u64(summary, "time", (uint64_t)time(NULL));
	report_u64(summary, "peak_memory", peak_memory());
	report_real(summary, "seconds", seconds);
}

/* Sectors whose newest version is lost: every range in JSON, the first ones for people. */
void flush_list_stale(void *context, uint64_t sector, uint64_t sectors)
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

/* A slot that is left out. */
void flush_list_left(void *context, const struct wb_left *left)
{
	struct work *work = context;
	struct json_object *record = report_record("left_slot");
	const char *why = left->reason == WB_LEFT_CLASS ? wb_class_name(left->class_) : wb_left_name(left->reason);
	char segment[32] = ""; /* a header that cannot be read names none */

	report_u64(record, "slot", left->slot);
	report_u64(record, "id", left->id);
	report_text(record, "reason", why);
	report_u64(record, "sectors", left->sectors);
	report_emit(record);
	if (left->id || left->class_ != WB_UNREADABLE)
		snprintf(segment, sizeof(segment), ", segment %" PRIu64, left->id);
	if (work->left_slots++ < LISTED || common_of(work)->verbose)
		common_say(common_of(work), "left out    slot %" PRIu32 "%s: %s, up to %s", left->slot, segment, why,
			   count_of(left->sectors, "dirty sector"));
	else if (work->left_slots == LISTED + 1)
		common_say(common_of(work), "left out    more of them: --verbose lists all, --json too");
}

/* A metablock that is left out because BACKING has no such sectors. */
void flush_list_unusable(void *context, uint64_t id, unsigned index, uint64_t sector, uint8_t dirty)
{
	struct work *work = context;
	struct json_object *record = report_record("left_out");

	report_u64(record, "id", id);
	report_u64(record, "index", index);
	report_u64(record, "sector", sector);
	report_u64(record, "dirty_bits", dirty);
	report_emit(record);
	if (work->unusable++ < LISTED || common_of(work)->verbose)
		common_say(common_of(work), "left out    segment %" PRIu64 " block %u: %s of the block at sector %" PRIu64
			   " of BACKING, which is misaligned or beyond its end", id, index,
			   count_of((unsigned)__builtin_popcount(dirty), "dirty sector"), sector);
	else if (work->unusable == LISTED + 1)
		common_say(common_of(work), "left out    more of them: --verbose lists all, --json too");
}

static void add_reasons(struct json_object *record, const char *key, unsigned bits)
{
	struct json_object *names = record ? json_object_new_array() : NULL;

	for (unsigned i = 0; record && policy_reason(i); i++)
		if (bits >> i & 1)
			report_add_text(names, policy_reason(i));
	if (record)
		json_object_object_add(record, key, names);
}

void flush_report_decision(const struct work *work)
{
	struct json_object *record = report_record("decision");
	struct json_object *given = record ? json_object_new_array() : NULL;
	const struct wb_decision *decision = &work->decision;

	for (const char *const *name = common_of(work)->force_names; record && *name; name++)
		if (common_forced(common_of(work), *name))
			report_add_text(given, *name);
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

void flush_report_classes(const struct wb_ring *ring)
{
	struct json_object *record = report_record("classes");

	for (unsigned i = 0; i < WB_CLASSES; i++)
		if (ring->classes[i])
			report_u64(record, wb_class_name((enum wb_class)i), ring->classes[i]);
	report_u64(record, "holes", ring->holes);
	report_emit(record);
}
