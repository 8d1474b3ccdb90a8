/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wb-check: verifies everything that can be verified, and says in one verdict what it means. Only --repair writes, and
 * what it may write is the library's business (repair.c).
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "explain.h"
#include "guard.h"
#include "pack.h"
#include "progress.h"
#include "report.h"
#include "undo_file.h"
#include "words.h"

struct check_options {
	struct common common;
	bool metadata_only, explain_kernel, require_clean, find_bitflip, repair, export;
	char *undo_path;
	uint64_t memory;
};

enum { OPT_METADATA_ONLY = 1, OPT_REQUIRE_CLEAN, OPT_FIND_BITFLIP, OPT_REPAIR, OPT_UNDO, OPT_EXPORT, OPT_MEMORY,
       OPT_EXPLAIN_KERNEL };

static const struct poptOption check_table[] = {
	{ "metadata-only", '\0', POPT_ARG_NONE, NULL, OPT_METADATA_ONLY, "read no data: the ring from headers alone", NULL },
	{ "explain-kernel", '\0', POPT_ARG_NONE, NULL, OPT_EXPLAIN_KERNEL, "say what the driver would do at the next assembly", NULL },
	{ "require-clean", '\0', POPT_ARG_NONE, NULL, OPT_REQUIRE_CLEAN, "exit 4 unless nothing is dirty", NULL },
	{ "find-bitflip", '\0', POPT_ARG_NONE, NULL, OPT_FIND_BITFLIP,
	  "name the one flipped bit that explains a rotten segment or an alien id", NULL },
	{ "repair", '\0', POPT_ARG_NONE, NULL, OPT_REPAIR, "repair what can be repaired for certain, after asking", NULL },
	{ "undo", '\0', POPT_ARG_STRING, NULL, OPT_UNDO, "record there what --repair changes, for wb-undo", "FILE" },
	{ "export", '\0', POPT_ARG_NONE, NULL, OPT_EXPORT, "only print what CACHE is, as KEY=value lines for udev", NULL },
	{ "memory", '\0', POPT_ARG_STRING, NULL, OPT_MEMORY, "budget for comparing with BACKING, at least 8MiB", "SIZE" },
	POPT_TABLEEND
};

static void handle(void *options, int val, const char *argument)
{
	struct check_options *check = options;

	switch (val) {
	case OPT_METADATA_ONLY: check->metadata_only = true; break;
	case OPT_EXPLAIN_KERNEL: check->explain_kernel = true; break;
	case OPT_REQUIRE_CLEAN: check->require_clean = true; break;
	case OPT_FIND_BITFLIP: check->find_bitflip = true; break;
	case OPT_REPAIR: check->repair = true; break;
	case OPT_UNDO: path_option("--undo", &check->undo_path, argument); break;
	case OPT_EXPORT: check->export = true; break;
	case OPT_MEMORY:
		check->memory = size_of("--memory", argument);
		if (check->memory < 8u << 20)
			usage_error("--memory: %s is less than 8MiB", argument);
		break;
	default: break;
	}
}

static const char *const forces[] = { "superblock", NULL };

static const struct command command = {
	.name = "wb-check",
	.purpose = "verify a dm-writeboost cache, and with BACKING the pair",
	.operands = "CACHE [BACKING]",
	.operands_min = 1,
	.operands_max = 2,
	.options = check_table,
	.handle = handle,
	.force_names = forces,
};

struct findings;

/* One way to see a log. */
struct reading {
	uint64_t first, head, live, holes, damaged_slots, dirty_sectors;
};

struct work {
	struct check_options *options;
	struct wb_dev *cache_dev, *backing;
	const char *cache_path, *backing_path;
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_proof proof;
	struct reading wrapped; /* over 2 TiB, when no --slot-address is given */
	struct findings *findings;
	struct undo_file undo;
	uint64_t repairs; /* that --repair would make, without flipped bits */
};

static const struct common *common_of(const struct work *work)
{
	return &work->options->common;
}

/* ---- findings: every one in JSON, folded by rule for people ---- */

#define RANGES 6u

struct ranges {
	struct { uint64_t first, last; } list[RANGES];
	unsigned count;
	uint64_t shown; /* numbers that lie in them */
};

struct fold {
	uint64_t count;
	struct ranges ids, slots;
	unsigned bits;
	enum wb_severity severity; /* the worst */
	uint64_t first_offset;
};

struct findings {
	const struct work *work;
	struct fold folds[WB_RULES];
	uint64_t total, damage;
	bool silent; /* they are only counted */
};

static void report_numbers(struct json_object *record, const char *key, const uint64_t *numbers, unsigned n)
{
	struct json_object *array = record ? json_object_new_array() : NULL;

	for (unsigned i = 0; record && i < n; i++)
		json_object_array_add(array, json_object_new_uint64(numbers[i]));
	if (record)
		json_object_object_add(record, key, array);
}

/* What would put all segments in place; both counts may be larger than what the ring lists. */
static void report_geometries(struct json_object *record, const struct wb_ring *ring, enum wb_rule rule)
{
	struct json_object *array = record && rule == WB_RULE_SHIFTED ? json_object_new_array() : NULL;

	if (rule == WB_RULE_RESIZED)
		report_numbers(record, "candidates", ring->candidates,
			       ring->candidate_count < WB_CANDIDATES ? ring->candidate_count : WB_CANDIDATES);
	for (unsigned i = 0; array && i < ring->start_count && i < WB_CANDIDATES; i++) {
		struct json_object *start = json_object_new_object();

		report_u64(start, "slots", ring->starts[i].slots);
		report_int(start, "start", ring->starts[i].start);
		json_object_array_add(array, start);
	}
	if (array)
		json_object_object_add(record, "starts", array);
}

static void emit_finding(const struct wb_ring *ring, const struct wb_finding *finding)
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
	report_geometries(record, ring, finding->rule);
	report_text(record, "text", rule->text);
	report_emit(record);
}

static void add_to(struct ranges *ranges, uint64_t number)
{
	for (unsigned i = 0; i < ranges->count; i++)
		if (number >= ranges->list[i].first && number - ranges->list[i].last <= 1) {
			ranges->shown += number - ranges->list[i].last;
			ranges->list[i].last = number;
			return;
		} else if (number >= ranges->list[i].first && number <= ranges->list[i].last) {
			return;
		}
	if (ranges->count == RANGES)
		return;
	ranges->list[ranges->count].first = number;
	ranges->list[ranges->count++].last = number;
	ranges->shown++;
}

static void fold_in(struct fold *fold, const struct wb_finding *finding)
{
	if (!fold->count++)
		fold->first_offset = finding->offset;
	if (finding->severity > fold->severity)
		fold->severity = finding->severity;
	fold->bits += finding->bit != NULL;
	if (finding->slot == WB_NO_SLOT)
		return;
	add_to(&fold->ids, finding->id);
	add_to(&fold->slots, finding->slot);
}

static int found(void *context, const struct wb_finding *finding)
{
	struct findings *findings = context;
	const struct common *common = common_of(findings->work);

	fold_in(&findings->folds[finding->rule], finding);
	findings->total++;
	findings->damage += finding->severity == WB_DAMAGE;
	if (findings->silent)
		return 0;
	emit_finding(&findings->work->ring, finding);
	if (common->verbose && finding->slot != WB_NO_SLOT)
		common_say(common, "%s: slot %" PRIu32 " at byte %" PRIu64 ", segment %" PRIu64 "%s",
			   wb_rule_info(finding->rule)->name, finding->slot, finding->offset, finding->id,
			   finding->bit ? ", one flipped bit explains it" : "");
	return 0;
}

/* "segments 5-9, 12" */
static void append_ranges(char *text, size_t size, const struct ranges *ranges, const char *what)
{
	size_t used = strlen(text);
	bool several = ranges->count > 1 || ranges->list[0].first != ranges->list[0].last;

	for (unsigned i = 0; i < ranges->count && used < size; i++) {
		bool one = ranges->list[i].first == ranges->list[i].last;

		used += (size_t)snprintf(text + used, size - used, one ? "%s%s%s%" PRIu64 : "%s%s%s%" PRIu64 "-%" PRIu64,
					 i ? ", " : what, !i && several ? "s" : "", i ? "" : " ", ranges->list[i].first,
					 ranges->list[i].last);
	}
}

static void append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void append(char *text, size_t size, const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, size - used, format, args);
	va_end(args);
}

static void say_fold(const struct common *common, enum wb_rule rule, const struct fold *fold)
{
	char where[512] = "";

	if (fold->ids.count) {
		append_ranges(where, sizeof(where), &fold->ids, ": segment");
		append_ranges(where, sizeof(where), &fold->slots, " in slot");
		if (fold->slots.count == RANGES)
			append(where, sizeof(where), " and more");
		if (fold->count > 1)
			append(where, sizeof(where), ", %" PRIu64 " in all", fold->count);
	}
	if (fold->first_offset != WB_NO_OFFSET)
		append(where, sizeof(where), "%s byte %" PRIu64, fold->count > 1 ? ", the first at" : " at", fold->first_offset);
	common_say(common, "  %-8s %s%s", wb_severity_name(fold->severity), wb_rule_info(rule)->name, where);
	common_say(common, "           %s", wb_rule_info(rule)->text);
	if (fold->bits)
		common_say(common, "           one flipped bit explains %s (--find-bitflip names it)",
			   fold->count == 1 ? "it" : fold->bits == fold->count ? "each" : "some of them");
}

static void say_folds(const struct findings *findings)
{
	const struct common *common = common_of(findings->work);

	for (int severity = WB_DAMAGE; severity >= WB_NOTE; severity--)
		for (unsigned rule = 0; rule < WB_RULES; rule++)
			if (findings->folds[rule].count && (int)findings->folds[rule].severity == severity)
				say_fold(common, (enum wb_rule)rule, &findings->folds[rule]);
}

static void say_findings(const struct findings *findings)
{
	common_say(common_of(findings->work), findings->total ? "findings" : "findings    none");
	say_folds(findings);
}

/* ---- two readings of one log: beyond 2 TiB, and of a restarted ring ---- */

static struct reading reading_of(const struct wb_ring *ring)
{
	struct reading reading = { .first = ring->first, .head = ring->head, .live = ring->classes[WB_LIVE],
				   .holes = ring->holes, .dirty_sectors = ring->dirty_sectors };

	for (unsigned i = 0; i < WB_CLASSES; i++)
		if (i != WB_EMPTY && i != WB_LIVE && i != WB_OLD && i != WB_TORN_TAIL && i != WB_TORN_HEAD && i != WB_FOREIGN)
			reading.damaged_slots += ring->classes[i];
	return reading;
}

static void tell_reading(const struct work *work, const char *type, const char *name, const struct reading *reading)
{
	struct json_object *record = report_record(type);

	report_text(record, "name", name);
	report_u64(record, "first", reading->first);
	report_u64(record, "head", reading->head);
	report_u64(record, "live", reading->live);
	report_u64(record, "holes", reading->holes);
	report_u64(record, "damaged_slots", reading->damaged_slots);
	report_u64(record, "dirty_sectors", reading->dirty_sectors);
	report_emit(record);
	if (reading->head)
		common_say(common_of(work), "%-11s %-6s segments %" PRIu64 " to %" PRIu64 ", %" PRIu64 " live, %" PRIu64 " missing, %"
			   PRIu64 " slot%s damaged, up to %s dirty", type, name, reading->first, reading->head, reading->live,
			   reading->holes, reading->damaged_slots, plural(reading->damaged_slots),
			   human_size(reading->dirty_sectors * WB_SECTOR));
	else
		common_say(common_of(work), "%-11s %-6s no valid segment", type, name);
}

static struct wb_ring_options ring_options(const struct work *work)
{
	return (struct wb_ring_options){
		.metadata_only = work->options->metadata_only,
		.jobs = (unsigned)common_of(work)->jobs,
		.backing_sectors = work->backing ? wb_dev_size(work->backing) / WB_SECTOR : 0,
	};
}

static bool address_is_open(const struct work *work)
{
	return work->cache.wraps && common_of(work)->overrides.address == WB_ADDRESS_AUTO;
}

/* The log as the other way to address slots shows it; its table is gone before the one that is reported is loaded. */
static int read_wrapped(struct work *work)
{
	struct wb_overrides overrides = common_of(work)->overrides;
	const struct wb_ring_options options = ring_options(work);
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_error err;
	int ret;

	overrides.address = WB_ADDRESS_WRAP;
	overrides.any_super = work->cache.super != WB_SUPER_GOOD;
	ret = wb_cache_open(&cache, work->cache_dev, &overrides, &err);
	if (!ret)
		ret = wb_ring_load(&ring, &cache, &options, &common_of(work)->progress, &err);
	if (ret)
		return common_failed(common_of(work), work->cache_path, &err, NULL);
	work->wrapped = reading_of(&ring);
	wb_ring_release(&ring);
	return 0;
}

static int tell_timelines(struct work *work)
{
	static const enum wb_timeline order[] = { WB_TIMELINE_NEW, WB_TIMELINE_OLD, WB_TIMELINE_NONE };
	struct reading reading;
	struct wb_error err;

	for (unsigned i = 0; i < 3; i++) {
		work->ring.options.timeline = order[i];
		if (wb_ring_judge(&work->ring, &err))
			return common_failed(common_of(work), work->cache_path, &err, NULL);
		reading = reading_of(&work->ring);
		if (order[i] != WB_TIMELINE_NONE)
			tell_reading(work, "timeline", order[i] == WB_TIMELINE_NEW ? "new" : "old", &reading);
	}
	return 0;
}

static int tell_readings(struct work *work)
{
	const struct reading linear = reading_of(&work->ring);

	if (address_is_open(work)) {
		tell_reading(work, "reading", "linear", &linear);
		tell_reading(work, "reading", "wrap", &work->wrapped);
	}
	return work->ring.restarted ? tell_timelines(work) : 0;
}

/* ---- the report ---- */

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

static void say_geometries(const struct work *work)
{
	const struct wb_ring *ring = &work->ring;
	const struct common *common = common_of(work);

	for (unsigned i = 0; i < ring->candidate_count && i < WB_CANDIDATES; i++)
		common_say(common, "candidate   --slots=%" PRIu64 " puts every segment in place", ring->candidates[i]);
	for (unsigned i = 0; i < ring->start_count && i < WB_CANDIDATES; i++) {
		uint64_t slots = ring->starts[i].slots;
		int64_t start = ring->starts[i].start;
		uint64_t distance = start < 0 ? (uint64_t)-start : (uint64_t)start;

		if (slots)
			common_say(common, "candidate   of %" PRIu64 " slots, begun %" PRIu64 " slot%s before this start (or %" PRIu64
				   " behind it)", slots, distance, plural(distance), slots - distance);
		else
			common_say(common, "candidate   begun %" PRIu64 " slot%s %s this start", distance, plural(distance),
				   start < 0 ? "behind" : "before");
	}
}

static void say_ring(const struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_ring *ring = &work->ring;
	const struct wb_geometry *geometry = &work->cache.geometry;

	common_say(common, "generation  %s", words_generation(&work->cache));
	common_say(common, "geometry    order %u: %" PRIu32 " segments of %s, %" PRIu32 " blocks each", geometry->order,
		   geometry->slots, human_size(wb_slot_size(geometry)), geometry->capacity);
	if (ring->raw_seals && ring->plain_seals)
		common_say(common, "checksums   %" PRIu64 " uncomplemented (drivers before 2.0.2), %" PRIu64 " complemented",
			   ring->raw_seals, ring->plain_seals);
	common_say(common, "record      %" PRIu64 ", %s", work->cache.record, words_record(ring));
	if (ring->head && ring->first > ring->head)
		common_say(common, "log         newest segment %" PRIu64 "; all have been written back", ring->head);
	else if (ring->head)
		common_say(common, "log         segments %" PRIu64 " to %" PRIu64 ", %" PRIu64 " live, %" PRIu64
			   " missing%s", ring->first, ring->head, ring->classes[WB_LIVE] + ring->classes[WB_ZEROED],
			   ring->holes, ring->options.metadata_only ? " (by their headers; no checksum was verified)" : "");
	else
		common_say(common, "log         empty");
	say_geometries(work);
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

/* "up to 12.0 KiB", or "12.0 KiB" where contents were compared */
static const char *at_stake(const struct work *work)
{
	static char text[48];

	snprintf(text, sizeof(text), "%s%s", work->backing ? "" : "up to ", human_size(dirty_sectors(work) * WB_SECTOR));
	return text;
}

static void verdict(const struct work *work, const char *text)
{
	common_say(common_of(work), "verdict     %s", text);
}

static void next(const struct work *work, const char *text)
{
	common_say(common_of(work), "next        %s", text);
}

/* Where nothing certain can be said before something has been decided. True: the verdict has been said. */
static bool say_verdict_on_geometry(const struct work *work)
{
	const struct wb_ring *ring = &work->ring;

	if (address_is_open(work)) {
		verdict(work, "over 2 TiB the log can be read in two ways, and nothing here says which is right. Change nothing yet.");
		next(work, "wb-check with --slot-address=linear, and with --slot-address=wrap: the readings below are theirs");
	} else if (ring->resized) {
		verdict(work, "the geometry is wrong; what is dirty shows only under the right one. Change nothing yet.");
		next(work, "wb-check with one of the candidates below as --slots");
	} else if (ring->shifted) {
		verdict(work, "the start of the device is wrong; what is dirty shows only from the right one. Change nothing yet.");
		next(work, "wb-check on a device (or a copy) that begins where it did when the driver used it: see the candidates");
	} else if (ring->destroyed) {
		verdict(work, "no segment is whole, though headers prove a log: all it held may be lost. Change nothing yet.");
		next(work, "wb-dump --segments CACHE shows the headers");
	} else if (ring->restarted && work->cache.super == WB_SUPER_GOOD) {
		verdict(work, "the log holds two histories, shown below, and only one of them may be written back. Change nothing yet.");
		next(work, "wb-flush-dirty -n --timeline=new CACHE BACKING (old, if the first writes of a lap were lost)");
	} else {
		return false;
	}
	return true;
}

static bool say_verdict_on_super(const struct work *work)
{
	const struct common *common = common_of(work);

	if (work->cache.super == WB_SUPER_ZEROED) {
		common_say(common, "verdict     sector 0 is all zero over a log that holds %s. Either the log was ended by hand: then that is",
			   at_stake(work));
		common_say(common, "            old, and must not be written back. Or it was an accident: then it may exist nowhere else.");
		next(work, "ended by hand: wb-format --reset CACHE says so for good");
		next(work, "an accident: wb-flush-dirty --force=ended, or wb-check --repair --force=superblock, each with CACHE BACKING");
	} else if (work->cache.super == WB_SUPER_DAMAGED) {
		common_say(common, "verdict     no driver would accept this cache: it would format it, and its log holds %s",
			   at_stake(work));
		next(work, "wb-check --repair CACHE restores sector 0; then wb-flush-dirty CACHE BACKING");
	} else {
		return false;
	}
	return true;
}

static void say_verdict_on_log(const struct work *work)
{
	const struct common *common = common_of(work);
	uint64_t dirty = dirty_sectors(work);

	if (work->findings->damage) {
		if (dirty || !work->backing)
			common_say(common, "verdict     damaged; %s may exist only in this cache. Change nothing yet.", at_stake(work));
		else
			verdict(work, "damaged; what is whole in it is on the backing device already");
		next(work, "wb-flush-dirty -n CACHE BACKING shows what each policy would do");
	} else if (dirty && work->repairs) {
		common_say(common, "verdict     sound; %s dirty: needed until flushed, and at risk if a driver assembles this cache as it is",
			   at_stake(work));
		next(work, "wb-flush-dirty CACHE BACKING writes it back");
	} else if (dirty) {
		common_say(common, "verdict     sound; %s dirty: needed until flushed", at_stake(work));
		next(work, "wb-flush-dirty CACHE BACKING writes it back");
	} else if (work->ring.dirty_sectors) {
		verdict(work, "sound, and everything in the log is on the backing device");
		next(work, "wb-flush-dirty CACHE BACKING ends the log");
	} else {
		verdict(work, "sound; nothing is dirty");
	}
	if (work->repairs)
		next(work, "wb-check --repair CACHE, if a driver is to take over instead");
}

static void say_verdict(const struct work *work)
{
	if (!say_verdict_on_geometry(work) && !say_verdict_on_super(work))
		say_verdict_on_log(work);
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
	report_u64(summary, "findings", work->findings->total);
	if (work->backing) {
		report_text(summary, "pair", wb_pair_name(work->proof.pair));
		report_u64(summary, "for", work->proof.for_);
		report_u64(summary, "against", work->proof.against);
	}
	report_bool(summary, "busy", wb_dev_busy(work->cache_dev));
}

/* ---- opening and looking ---- */

/* --repair writes to CACHE, so nobody else may use it. */
static int open_device(struct work *work)
{
	const struct common *common = common_of(work);
	unsigned flags = work->options->repair ? WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE : WB_OPEN_READ | WB_OPEN_PACK;
	char words[1024];

	if (work->options->repair && holder_of(work->cache_path, words, sizeof(words)))
		return common_refuse(common, work->cache_path, "CACHE is used: %s; end that (unmount it, take down the mapping or "
				     "the loop device), then run this again", words);
	return common_open(common, &work->cache_dev, work->cache_path, flags);
}

static bool carries_header(struct wb_dev *dev)
{
	uint8_t sector[WB_SECTOR];
	struct wb_marker marker;
	uint32_t magic = 0;

	if (wb_dev_size(dev) < WB_SECTOR || wb_dev_read(dev, 0, sector, WB_SECTOR, NULL))
		return false;
	for (unsigned i = 0; i < 4; i++)
		magic |= (uint32_t)sector[i] << 8 * i;
	return magic == WB_MAGIC || wb_marker_decode(sector, &marker);
}

static int open_backing(struct work *work)
{
	const struct common *common = common_of(work);
	char words[1024];
	int status;

	if (!work->backing_path)
		return 0;
	if (wb_dev_pack_info(work->cache_dev))
		return common_refuse(common, work->cache_path, "a pack holds no data that could be compared with BACKING: leave "
				     "BACKING out");
	if (devices_overlap(work->cache_path, work->backing_path, words, sizeof(words)))
		return common_refuse(common, work->backing_path, "CACHE and BACKING are %s", words);
	status = common_open(common, &work->backing, work->backing_path, WB_OPEN_READ);
	if (!status && carries_header(work->backing))
		status = common_refuse(common, work->backing_path,
				       "BACKING carries a writeboost header: are the two operands swapped?");
	return status;
}

/* Opens what a driver would refuse too, to say what is wrong with it. */
static int open_cache(struct work *work)
{
	struct wb_overrides overrides = common_of(work)->overrides;
	struct wb_error err;

	if (!wb_cache_open(&work->cache, work->cache_dev, &overrides, &err))
		return 0;
	if (err.code == WB_EWRAP)
		overrides.address = WB_ADDRESS_LINEAR;
	overrides.any_super = work->cache.super != WB_SUPER_GOOD && work->cache.super != WB_SUPER_ENDED;
	return common_open_cache(common_of(work), &work->cache, work->cache_dev, work->cache_path, &overrides);
}

/* The cache as it stands now: its log, its pair, its findings. */
static int look(struct work *work)
{
	const struct check_options *options = work->options;
	const struct wb_ring_options how = ring_options(work);
	uint64_t memory = options->memory ? options->memory : default_memory();
	struct wb_error err;
	int status = open_cache(work);

	if (!status && log_is_closed(work))
		return wb_check_super(&work->cache, found, work->findings);
	if (status)
		return status;
	if (options->repair && address_is_open(work))
		return common_refuse(common_of(work), work->cache_path, "over 2 TiB nothing is repaired before "
				     "--slot-address=linear or --slot-address=wrap says where segments lie");
	status = address_is_open(work) ? read_wrapped(work) : 0;
	if (status)
		return status;
	if (wb_ring_load(&work->ring, &work->cache, &how, &options->common.progress, &err))
		return common_failed(&options->common, work->cache_path, &err, NULL);
	if (work->backing && wb_pair_prove(&work->ring, work->backing, plan_capacity(memory), 0, &work->proof,
					   &options->common.progress, &err))
		return common_failed(&options->common, work->backing_path, &err, NULL);
	if (wb_check(&work->ring, work->backing ? &work->proof : NULL, found, work->findings, &err))
		return common_failed(&options->common, work->cache_path, &err, NULL);
	return 0;
}

/* ---- flipped bits, and repairs ---- */

static const char *const repair_names[] = {
	[WB_REPAIR_BIT] = "flipped-bit", [WB_REPAIR_RECORD] = "record", [WB_REPAIR_HEAD] = "torn-head",
	[WB_REPAIR_SUPER] = "superblock",
};

static void append_hex(char *text, size_t size, const uint8_t *bytes, uint32_t n, uint32_t at_most)
{
	for (uint32_t i = 0; i < n && i < at_most; i++)
		append(text, size, "%02x", bytes[i]);
	if (n > at_most)
		append(text, size, "...");
}

static void emit_repair(const char *type, const struct wb_repair *repair)
{
	char before[2 * WB_SECTOR + 1] = "", after[2 * WB_SECTOR + 1] = "";
	struct json_object *record = report_record(type);

	append_hex(before, sizeof(before), repair->before, repair->length, WB_SECTOR);
	append_hex(after, sizeof(after), repair->after, repair->length, WB_SECTOR);
	report_text(record, "what", repair_names[repair->kind]);
	if (repair->slot == WB_NO_SLOT)
		report_text(record, "slot", NULL);
	else
		report_u64(record, "slot", repair->slot);
	report_u64(record, "id", repair->id);
	report_u64(record, "offset", repair->offset);
	report_u64(record, "lba", repair->offset / WB_SECTOR);
	report_text(record, "before", before);
	report_text(record, "after", after);
	if (repair->odds)
		report_u64(record, "odds", repair->odds);
	report_emit(record);
}

/* Only what differs, and of that not more than fits on a line. */
static void say_repair(const struct common *common, const char *label, const struct wb_repair *repair)
{
	uint32_t first = 0, end = repair->length;
	char words[512] = "";

	while (repair->kind == WB_REPAIR_SUPER && repair->before[first] == repair->after[first])
		first++;
	while (repair->kind == WB_REPAIR_SUPER && repair->before[end - 1] == repair->after[end - 1])
		end--;
	append(words, sizeof(words), "%-11s %s", label, repair_names[repair->kind]);
	if (repair->slot != WB_NO_SLOT)
		append(words, sizeof(words), ": segment %" PRIu64 " in slot %" PRIu32, repair->id, repair->slot);
	append(words, sizeof(words), ", byte %" PRIu64 " (sector %" PRIu64 "): ", repair->offset + first,
	       repair->offset / WB_SECTOR);
	append_hex(words, sizeof(words), repair->before + first, end - first, 16);
	append(words, sizeof(words), " becomes ");
	append_hex(words, sizeof(words), repair->after + first, end - first, 16);
	if (repair->odds)
		append(words, sizeof(words), repair->odds < 1000000 ? "; chance looks like this once in %.0f times" :
								      "; chance looks like this once in %.0e times", (double)repair->odds);
	common_say(common, "%s", words);
}

struct repairs {
	const struct work *work;
	const char *label, *type; /* what each is called for people, and in JSON; NULL: it is not told */
	bool bits_only, write;
	uint64_t count;
};

static int repair_one(void *context, const struct wb_repair *repair, struct wb_error *err)
{
	struct repairs *repairs = context;
	int ret;

	if (repairs->bits_only && repair->kind != WB_REPAIR_BIT)
		return 0;
	ret = repairs->write ? wb_repair_write(repairs->work->cache_dev, repair, err) : 0;
	if (ret)
		return ret;
	repairs->count++;
	if (repairs->label)
		say_repair(common_of(repairs->work), repairs->label, repair);
	if (repairs->type)
		emit_repair(repairs->type, repair);
	return 0;
}

/* The all-zero sector 0 is taken for an accident. */
static bool zeroed_super(const struct work *work)
{
	return work->backing && common_forced(common_of(work), "superblock");
}

static int each_repair(struct work *work, struct repairs *repairs)
{
	bool zeroed = repairs->bits_only || zeroed_super(work);
	struct wb_error err;

	if (!wb_repair_each(&work->ring, zeroed, repair_one, repairs, &common_of(work)->progress, &err))
		return 0;
	int status = undo_file_failure(common_of(work), &work->undo);

	return status ? status : common_failed(common_of(work), work->cache_path, &err,
			     repairs->write ? "repairs made so far are whole; the same command goes on from there" : NULL);
}

static int count_repairs(struct work *work)
{
	struct repairs repairs = { .work = work };
	int status = log_is_closed(work) || work->options->metadata_only ? 0 : each_repair(work, &repairs);

	work->repairs = repairs.count;
	return status;
}

/* From here on the ring is what it is with those bits flipped back. */
static int find_bitflips(struct work *work)
{
	const struct common *common = common_of(work);
	const char *obstacle = wb_repair_obstacle(&work->ring, WB_REPAIR_BIT, true);
	const struct fold *folds = work->findings->folds;
	uint64_t broken = folds[WB_RULE_ROTTEN].count + folds[WB_RULE_ALIEN_ID].count + folds[WB_RULE_BAD_LENGTH].count;
	struct repairs bits = { .work = work, .label = work->options->repair ? NULL : "bitflip", .type = "bitflip",
				.bits_only = true };
	struct wb_error err;
	int corrected = obstacle ? 0 : wb_ring_correct(&work->ring, &err);

	if (corrected < 0)
		return common_failed(common, work->cache_path, &err, NULL);
	report_u64(report_summary(), "bitflips", (uint64_t)corrected);
	if (obstacle)
		common_say(common, "bitflips    not looked for: %s", obstacle);
	else if (!broken)
		common_say(common, "bitflips    no segment is rotten, and no id alien");
	else
		common_say(common, "bitflips    one bit explains %d of %" PRIu64 " damaged segments", corrected, broken);
	return each_repair(work, &bits);
}

/* Why something that was found stays as it is. */
static void say_obstacle(const struct work *work, enum wb_repair_kind kind)
{
	const char *obstacle = wb_repair_obstacle(&work->ring, kind, zeroed_super(work));

	if (obstacle)
		common_say(common_of(work), "not         %s: %s", repair_names[kind], obstacle);
}

static void say_obstacles(const struct work *work)
{
	const struct fold *folds = work->findings->folds;

	if (work->options->find_bitflip && (folds[WB_RULE_ROTTEN].count || folds[WB_RULE_ALIEN_ID].count))
		say_obstacle(work, WB_REPAIR_BIT);
	if (folds[WB_RULE_RECORD_GARBAGE].count || folds[WB_RULE_RECORD_HAZARD].count)
		say_obstacle(work, WB_REPAIR_RECORD);
	if (folds[WB_RULE_TORN_HEAD].count)
		say_obstacle(work, WB_REPAIR_HEAD);
	if (folds[WB_RULE_BAD_SUPERBLOCK].count || folds[WB_RULE_ZERO_SUPERBLOCK].count)
		say_obstacle(work, WB_REPAIR_SUPER);
}

/* What the options ask for must not be done to this cache. */
static int refuse_repair(const struct work *work)
{
	const struct common *common = common_of(work);

	if (work->cache.super != WB_SUPER_ZEROED || !common_forced(common, "superblock"))
		return 0;
	if (!work->backing)
		return common_refuse(common, work->cache_path, "an all-zero sector 0 is restored only with BACKING at hand: a log that "
				     "was ended by hand would take it back in time");
	if (work->proof.pair == WB_PAIR_CONTRADICTED)
		return common_refuse(common, work->backing_path, "the log contradicts BACKING (%" PRIu64 " blocks against it, %" PRIu64
				     " for it): the wrong disk, or one that was written since the log was ended",
				     work->proof.against, work->proof.for_);
	return 0;
}

static int confirm_repairs(const struct work *work, uint64_t count)
{
	char question[96];

	snprintf(question, sizeof(question), "Write %s to CACHE?", count == 1 ? "this change" : "these changes");
	if (common_confirm(common_of(work), question))
		return 0;
	return common_refuse(common_of(work), work->cache_path, "nothing was changed: answer y on a terminal, or give --yes");
}

/* Looks again at what is on the device now; the exit status and the summary speak of that. */
static int look_again(struct work *work)
{
	int status;

	wb_ring_release(&work->ring);
	*work->findings = (struct findings){ .work = work, .silent = true };
	status = look(work);
	if (status)
		return status;
	status = count_repairs(work);
	if (work->findings->total) {
		common_say(common_of(work), "what remains");
		say_folds(work->findings);
	} else {
		common_say(common_of(work), "what remains: nothing");
	}
	return status;
}

static int repair(struct work *work)
{
	struct repairs planned = { .work = work, .label = "repair", .type = "planned" };
	struct repairs made = { .work = work, .label = NULL, .type = "repair", .write = true };
	int status = refuse_repair(work);

	report_u64(report_summary(), "repaired", 0);
	if (!status)
		status = each_repair(work, &planned);
	if (status)
		return status;
	say_obstacles(work);
	if (!planned.count) {
		common_say(common_of(work), "repair      nothing");
		return 0;
	}
	status = confirm_repairs(work, planned.count);
	if (!status)
		status = undo_file_record(common_of(work), &work->undo, work->cache_path, &work->cache_dev);
	if (status)
		return status;
	status = each_repair(work, &made);
	report_u64(report_summary(), "repaired", made.count);
	common_say(common_of(work), "repaired    %" PRIu64 " of %" PRIu64 ", each written, flushed and read again", made.count,
		   planned.count);
	undo_file_say(common_of(work), &work->undo, "undo        ");
	status |= made.count ? EXIT_REPAIRED : 0;
	if (!(status & ~EXIT_REPAIRED))
		status |= look_again(work);
	return status;
}

/* ---- udev ---- */

/* Reads sector 0 first: udev asks about devices of every kind. */
static int export(struct work *work)
{
	const struct common *common = common_of(work);
	struct wb_overrides overrides = common->overrides;
	struct wb_error err;
	int ret = wb_dev_open(&work->cache_dev, work->cache_path,
			      WB_OPEN_READ | WB_OPEN_PEEK | (common->threads ? WB_OPEN_THREADS : 0), &err);

	if (ret)
		return common_failed(common, work->cache_path, &err, NULL);
	if (!carries_header(work->cache_dev))
		return common_refuse(common, work->cache_path, "not a writeboost cache: no magic in sector 0");
	if (overrides.address == WB_ADDRESS_AUTO)
		overrides.address = WB_ADDRESS_LINEAR;
	if (wb_cache_open(&work->cache, work->cache_dev, &overrides, &err))
		return common_failed(common, work->cache_path, &err, NULL);
	puts("ID_FS_TYPE=dm_writeboost_cache\nID_FS_USAGE=other");
	if (log_is_closed(work)) {
		puts("ID_WRITEBOOST_STATE=ended");
		return 0;
	}
	printf("ID_FS_VERSION=%s\nID_WRITEBOOST_STATE=log\nID_WRITEBOOST_GENERATION=%s\n", work->cache.geometry.format->name,
	       work->cache.geometry.format->name);
	printf("ID_WRITEBOOST_ORDER=%u\nID_WRITEBOOST_SEGMENTS=%" PRIu32 "\n", work->cache.geometry.order,
	       work->cache.geometry.slots);
	return 0;
}

/* ---- the work ---- */

static int report(struct work *work)
{
	const struct common *common = common_of(work);
	int status;

	common_say(common, "cache       %s, %s%s", work->cache_path, human_size(wb_dev_size(work->cache_dev)),
		   pack_words(work->cache_dev));
	if (log_is_closed(work)) {
		common_say(common, "verdict     %s", words_marker(&work->cache.marker));
		return 0;
	}
	say_verdict(work);
	say_ring(work);
	status = tell_readings(work);
	say_findings(work->findings);
	return status;
}

static int check(struct work *work)
{
	const struct check_options *options = work->options;
	int status = open_device(work);

	if (!status)
		status = open_backing(work);
	if (!status)
		status = look(work);
	if (!status)
		status = count_repairs(work);
	if (!status)
		status = report(work);
	if (status)
		return status;
	summarise(work);
	if (options->find_bitflip && !log_is_closed(work))
		status = find_bitflips(work);
	if (!status && options->repair && !log_is_closed(work)) {
		status = repair(work);
		summarise(work);
	}
	if (status & ~EXIT_REPAIRED)
		return status;
	if (work->findings->damage || (options->require_clean && dirty_sectors(work)))
		status |= EXIT_PROBLEMS;
	return status;
}

static void check_options(const struct check_options *options)
{
	bool looks = options->metadata_only || options->require_clean || options->find_bitflip || options->repair;

	if (options->metadata_only && (options->find_bitflip || options->repair))
		usage_error("--metadata-only verifies no checksum: nothing can be explained or repaired by it");
	if (options->export && (looks || options->common.json || options->common.operand_count > 1))
		usage_error("--export only prints what CACHE is, and goes with no other option and no BACKING");
	if (options->undo_path && !options->repair)
		usage_error("--undo is for --repair");
	if (common_forced(&options->common, "superblock") && !options->repair)
		usage_error("--force=superblock is for --repair");
}

int main(int argc, char **argv)
{
	struct check_options options = { .memory = 0 };
	struct work work = { .options = &options };
	struct findings findings = { .work = &work };
	int status;

	common_start(&options.common, &command, &options, argc, argv);
	check_options(&options);
	work.cache_path = options.common.operands[0];
	work.backing_path = options.common.operand_count > 1 ? options.common.operands[1] : NULL;
	work.findings = &findings;
	work.undo.path = options.undo_path;
	status = options.export ? export(&work) : check(&work);
	wb_ring_release(&work.ring);
	if (options.explain_kernel && !(status & EXIT_STOPPED))
		status |= explain_kernel(&options.common, work.cache_dev, work.cache_path,
					 status & EXIT_REFUSED ? NULL : work.backing,
					 options.memory ? options.memory : default_memory());
	wb_dev_close(work.backing);
	wb_dev_close(work.cache_dev);
	undo_file_close(&work.undo);
	free(options.undo_path);
	return common_finish(&options.common, status);
}
