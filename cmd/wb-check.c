/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wb-check: verifies everything that can be verified, and says in one verdict what it means. Writes nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "progress.h"
#include "report.h"
#include "words.h"

struct check_options {
	struct common common;
	bool metadata_only, require_clean;
	uint64_t memory;
};

enum { OPT_METADATA_ONLY = 1, OPT_REQUIRE_CLEAN, OPT_MEMORY };

static const struct poptOption check_table[] = {
	{ "metadata-only", '\0', POPT_ARG_NONE, NULL, OPT_METADATA_ONLY, "read no data: the ring from headers alone", NULL },
	{ "require-clean", '\0', POPT_ARG_NONE, NULL, OPT_REQUIRE_CLEAN, "exit 4 unless nothing is dirty", NULL },
	{ "memory", '\0', POPT_ARG_STRING, NULL, OPT_MEMORY, "budget for comparing with BACKING, at least 8MiB", "SIZE" },
	POPT_TABLEEND
};

static void handle(void *options, int val, const char *argument)
{
	struct check_options *check = options;

	switch (val) {
	case OPT_METADATA_ONLY: check->metadata_only = true; break;
	case OPT_REQUIRE_CLEAN: check->require_clean = true; break;
	case OPT_MEMORY:
		check->memory = size_of("--memory", argument);
		if (check->memory < 8u << 20)
			usage_error("--memory: %s is less than 8MiB", argument);
		break;
	default: break;
	}
}

static const struct command command = {
	.name = "wb-check",
	.purpose = "verify a dm-writeboost cache, and with BACKING the pair",
	.operands = "CACHE [BACKING]",
	.operands_min = 1,
	.operands_max = 2,
	.options = check_table,
	.handle = handle,
};

/* ---- findings: every one in JSON, folded by rule for people ---- */

#define RANGES 6u

struct fold {
	uint64_t count, sectors;
	struct { uint64_t first, last; } ranges[RANGES];
	unsigned range_count, bits;
	enum wb_severity severity; /* the worst */
	uint64_t first_offset;
};

struct findings {
	const struct common *common;
	struct fold folds[WB_RULES];
	uint64_t total, damage;
};

static void emit_finding(const struct wb_finding *finding)
{
	const struct wb_rule_info *rule = wb_rule_info(finding->rule);
	struct json_object *record = report_record("finding");

	report_text(record, "class", rule->name);
	report_text(record, "severity", wb_severity_name(finding->severity));
	if (finding->slot == WB_NO_SLOT)
		report_text(record, "slot", NULL);
	else
		report_u64(record, "slot", finding->slot);
	report_u64(record, "id", finding->id);
	if (finding->slot != WB_NO_SLOT) {
		report_u64(record, "found_id", finding->found_id);
		report_u64(record, "sectors", finding->sectors);
	}
	if (finding->offset != WB_NO_OFFSET)
		report_u64(record, "offset", finding->offset);
	if (finding->index >= 0) {
		report_int(record, "index", finding->index);
		report_u64(record, "sector", finding->sector);
	}
	if (finding->bit) {
		report_u64(record, "flipped_byte", finding->bit->byte);
		report_int(record, "flipped_bit", finding->bit->bit);
	}
	report_text(record, "text", rule->text);
	report_emit(record);
}

static void fold_in(struct fold *fold, const struct wb_finding *finding)
{
	if (!fold->count++)
		fold->first_offset = finding->offset;
	if (finding->severity > fold->severity)
		fold->severity = finding->severity;
	fold->sectors += finding->sectors;
	fold->bits += finding->bit != NULL;
	if (finding->slot == WB_NO_SLOT)
		return;
	for (unsigned i = 0; i < fold->range_count; i++)
		if (finding->id >= fold->ranges[i].first && finding->id - fold->ranges[i].last <= 1) {
			fold->ranges[i].last = finding->id;
			return;
		}
	if (fold->range_count < RANGES) {
		fold->ranges[fold->range_count].first = finding->id;
		fold->ranges[fold->range_count++].last = finding->id;
	}
}

static int found(void *context, const struct wb_finding *finding)
{
	struct findings *findings = context;

	fold_in(&findings->folds[finding->rule], finding);
	findings->total++;
	findings->damage += finding->severity == WB_DAMAGE;
	emit_finding(finding);
	if (findings->common->verbose && finding->slot != WB_NO_SLOT)
		common_say(findings->common, "%s: slot %" PRIu32 " at byte %" PRIu64 ", segment %" PRIu64 "%s",
			   wb_rule_info(finding->rule)->name, finding->slot, finding->offset, finding->id,
			   finding->bit ? ", one flipped bit explains it" : "");
	return 0;
}

static void say_fold(const struct common *common, enum wb_rule rule, const struct fold *fold)
{
	char where[256] = "";
	size_t used = 0;
	uint64_t shown = 0;

	for (unsigned i = 0; i < fold->range_count && used < sizeof(where) - 48; i++) {
		bool one = fold->ranges[i].first == fold->ranges[i].last;

		used += (size_t)snprintf(where + used, sizeof(where) - used, one ? "%s%" PRIu64 : "%s%" PRIu64 "-%" PRIu64,
					 i ? ", " : fold->count > 1 ? ": segments " : ": segment ", fold->ranges[i].first, fold->ranges[i].last);
		shown += fold->ranges[i].last - fold->ranges[i].first + 1;
	}
	if (fold->range_count && shown < fold->count)
		used += (size_t)snprintf(where + used, sizeof(where) - used, " and more, %" PRIu64 " in all", fold->count);
	if (fold->first_offset != WB_NO_OFFSET && used < sizeof(where))
		snprintf(where + used, sizeof(where) - used, "%s byte %" PRIu64, fold->count > 1 ? ", the first at" : " at",
			 fold->first_offset);
	common_say(common, "  %-8s %s%s", wb_severity_name(fold->severity), wb_rule_info(rule)->name, where);
	common_say(common, "           %s%s", wb_rule_info(rule)->text,
		   fold->bits ? " (one flipped bit explains it)" : "");
}

static void say_findings(const struct findings *findings)
{
	if (!findings->total) {
		common_say(findings->common, "findings    none");
		return;
	}
	common_say(findings->common, "findings");
	for (int severity = WB_DAMAGE; severity >= WB_NOTE; severity--)
		for (unsigned rule = 0; rule < WB_RULES; rule++)
			if (findings->folds[rule].count && (int)findings->folds[rule].severity == severity)
				say_fold(findings->common, (enum wb_rule)rule, &findings->folds[rule]);
}

/* ---- the report ---- */

struct work {
	struct check_options *options;
	struct wb_dev *cache_dev, *backing;
	const char *cache_path, *backing_path;
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_proof proof;
	struct findings findings;
};

static void say_ring(const struct work *work)
{
	const struct common *common = &work->options->common;
	const struct wb_ring *ring = &work->ring;
	const struct wb_geometry *geometry = &work->cache.geometry;

	common_say(common, "generation  %s", words_generation(&work->cache));
	common_say(common, "geometry    order %u: %" PRIu32 " segments of %s, %" PRIu32 " blocks each", geometry->order,
		   geometry->slots, human_size(wb_slot_size(geometry)), geometry->capacity);
	common_say(common, "record      %" PRIu64 ", %s", work->cache.record, words_record(ring));
	if (ring->head)
		common_say(common, "log         segments %" PRIu64 " to %" PRIu64 ", %" PRIu64 " live, %" PRIu64
			   " missing%s", ring->first, ring->head, ring->classes[WB_LIVE] + ring->classes[WB_ZEROED],
			   ring->holes, ring->options.metadata_only ? " (by their headers; no checksum was verified)" : "");
	else
		common_say(common, "log         empty");
	for (unsigned i = 0; i < ring->candidate_count && i < WB_CANDIDATES; i++)
		common_say(common, "candidate   --slots=%" PRIu64 " puts every segment in place", ring->candidates[i]);
	if (ring->resized || ring->shifted)
		return;
	common_say(common, "dirty       up to %" PRIu64 " blocks, %s (every version counted)", ring->dirty_blocks,
		   human_size(ring->dirty_sectors * WB_SECTOR));
	if (!work->backing)
		return;
	common_say(common, "backing     %s, %s: %s (%" PRIu64 " blocks for it, %" PRIu64 " against)", work->backing_path,
		   human_size(wb_dev_size(work->backing)), wb_pair_name(work->proof.pair), work->proof.for_,
		   work->proof.against);
	common_say(common, "truly dirty %" PRIu64 " blocks, %" PRIu64 " sectors differ from what the log holds",
		   work->proof.dirty_blocks, work->proof.dirty_sectors);
}

static bool log_is_closed(const struct work *work)
{
	return work->cache.super == WB_SUPER_ENDED;
}

static uint64_t dirty_sectors(const struct work *work)
{
	if (log_is_closed(work))
		return 0;
	return work->backing ? work->proof.dirty_sectors : work->ring.dirty_sectors;
}

static void say_verdict(const struct work *work)
{
	const struct common *common = &work->options->common;
	uint64_t dirty = dirty_sectors(work);
	const char *next = NULL;

	if (work->ring.resized || work->ring.shifted) {
		common_say(common, "verdict     the geometry is wrong; what is dirty shows only under the right one. Change nothing yet.");
		next = work->ring.resized ? "wb-check with one of the candidates below as --slots" :
					    "find where the device began when the driver used it";
	} else if (work->findings.damage && work->cache.super == WB_SUPER_GOOD) {
		if (dirty || !work->backing)
			common_say(common, "verdict     damaged; %s%s may exist only in this cache. Change nothing yet.",
				   work->backing ? "" : "up to ", human_size(dirty * WB_SECTOR));
		else
			common_say(common, "verdict     damaged; what is whole in it is on the backing device already");
		next = "wb-flush-dirty -n CACHE BACKING shows what each policy would do";
	} else if (work->findings.damage) {
		common_say(common, "verdict     no driver would accept this cache, but its log holds %s%s",
			   work->backing ? "" : "up to ", human_size(dirty * WB_SECTOR));
	} else if (dirty) {
		common_say(common, "verdict     sound; %s%s dirty: needed until flushed", work->backing ? "" : "up to ",
			   human_size(dirty * WB_SECTOR));
		next = "wb-flush-dirty CACHE BACKING writes it back";
	} else if (work->ring.dirty_sectors) {
		common_say(common, "verdict     sound, and everything in the log is on the backing device");
		next = "wb-flush-dirty CACHE BACKING ends the log";
	} else {
		common_say(common, "verdict     sound; nothing is dirty");
	}
	if (next)
		common_say(common, "next        %s", next);
}

static void summarise(const struct work *work)
{
	struct json_object *summary = report_summary();
	const struct wb_format *format = work->cache.geometry.format;

	report_text(summary, "generation", format ? format->name : NULL);
	report_u64(summary, "evidence", work->cache.evidence);
	report_u64(summary, "order", work->cache.geometry.order);
	report_u64(summary, "slots", work->cache.geometry.slots);
	report_u64(summary, "record", work->cache.record);
	report_u64(summary, "head", log_is_closed(work) ? work->cache.marker.head : work->ring.head);
	report_u64(summary, "first", work->ring.first);
	report_u64(summary, "holes", work->ring.holes);
	report_u64(summary, "dirty_blocks", log_is_closed(work) ? 0 : work->backing ? work->proof.dirty_blocks :
										     work->ring.dirty_blocks);
	report_u64(summary, "dirty_sectors", dirty_sectors(work));
	report_bool(summary, "ended", log_is_closed(work));
	report_u64(summary, "findings", work->findings.total);
	if (work->backing) {
		report_text(summary, "pair", wb_pair_name(work->proof.pair));
		report_u64(summary, "for", work->proof.for_);
		report_u64(summary, "against", work->proof.against);
	}
	report_bool(summary, "busy", wb_dev_busy(work->cache_dev));
}

/* ---- the work ---- */

/* Opens what a driver would refuse too, to say what is wrong with it. */
static int open_cache(struct work *work)
{
	struct wb_overrides overrides = work->options->common.overrides;
	struct wb_error err;

	if (!wb_cache_open(&work->cache, work->cache_dev, &overrides, &err))
		return 0;
	if (err.code == WB_EWRAP)
		overrides.address = WB_ADDRESS_LINEAR;
	overrides.any_super = work->cache.super != WB_SUPER_GOOD && work->cache.super != WB_SUPER_ENDED;
	return common_open_cache(&work->options->common, &work->cache, work->cache_dev, work->cache_path, &overrides);
}

static int open_backing(struct work *work)
{
	const struct common *common = &work->options->common;
	int status;

	if (!work->backing_path)
		return 0;
	status = common_open(common, &work->backing, work->backing_path, WB_OPEN_READ);
	if (!status && wb_dev_same(work->cache_dev, work->backing))
		status = common_refuse(common, work->backing_path, "CACHE and BACKING are the same device");
	return status;
}

static int load(struct work *work)
{
	const struct check_options *options = work->options;
	uint64_t memory = options->memory ? options->memory : default_memory();
	const struct wb_ring_options ring_options = {
		.metadata_only = options->metadata_only,
		.jobs = (unsigned)options->common.jobs,
		.backing_sectors = work->backing ? wb_dev_size(work->backing) / WB_SECTOR : 0,
	};
	struct wb_error err;

	if (wb_ring_load(&work->ring, &work->cache, &ring_options, &options->common.progress, &err))
		return common_failed(&options->common, work->cache_path, &err, NULL);
	if (work->backing && wb_pair_prove(&work->ring, work->backing, plan_capacity(memory), 0, &work->proof,
					   &options->common.progress, &err))
		return common_failed(&options->common, work->backing_path, &err, NULL);
	if (wb_check(&work->ring, work->backing ? &work->proof : NULL, found, &work->findings, &err))
		return common_failed(&options->common, work->cache_path, &err, NULL);
	return 0;
}

static int check(struct work *work)
{
	const struct check_options *options = work->options;
	int status = common_open(&options->common, &work->cache_dev, work->cache_path, WB_OPEN_READ);

	if (!status)
		status = open_cache(work);
	if (!status)
		status = open_backing(work);
	if (status)
		return status;
	if (log_is_closed(work))
		wb_check_super(&work->cache, found, &work->findings);
	else
		status = load(work);
	if (status)
		return status;
	common_say(&options->common, "cache       %s, %s", work->cache_path, human_size(wb_dev_size(work->cache_dev)));
	if (log_is_closed(work)) {
		common_say(&options->common, "verdict     %s", words_marker(&work->cache.marker));
	} else {
		say_verdict(work);
		say_ring(work);
		say_findings(&work->findings);
	}
	summarise(work);
	if (work->findings.damage || (options->require_clean && dirty_sectors(work)))
		status = EXIT_PROBLEMS;
	return status;
}

int main(int argc, char **argv)
{
	struct check_options options = { .memory = 0 };
	struct work work = { .options = &options };
	int status;

	common_start(&options.common, &command, &options, argc, argv);
	work.cache_path = options.common.operands[0];
	work.backing_path = options.common.operand_count > 1 ? options.common.operands[1] : NULL;
	work.findings.common = &options.common;
	status = check(&work);
	wb_ring_release(&work.ring);
	wb_dev_close(work.backing);
	wb_dev_close(work.cache_dev);
	return common_finish(&options.common, status);
}
