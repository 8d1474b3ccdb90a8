/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every finding in JSON, folded by rule for people. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "report.h"

static void report_numbers(struct json_object *record, const char *key, const uint64_t *numbers, unsigned n)
{
	struct json_object *array = record ? json_object_new_array() : NULL;

	for (unsigned i = 0; record && i < n; i++)
		json_object_array_add(array, json_object_new_uint64(numbers[i]));
	if (record)
		json_object_object_add(record, key, array);
}

bool check_start(const struct wb_ring *ring, unsigned i, int64_t *start)
{
	int64_t distance;

	return !__builtin_mul_overflow(ring->starts[i].start, (int64_t)wb_slot_size(&ring->cache->geometry), &distance) &&
	       !__builtin_sub_overflow(wb_dev_start(ring->cache->dev), distance, start);
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
		int64_t bytes;

		report_u64(start, "slots", ring->starts[i].slots);
		report_int(start, "start", ring->starts[i].start);
		if (check_start(ring, i, &bytes))
			report_int(start, "bytes", bytes);
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
	} else if (finding->sectors) {
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
	if (finding->missing)
		report_u64(record, "missing_bytes", finding->missing);
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

int check_found(void *context, const struct wb_finding *finding)
{
	struct findings *findings = context;
	const struct common *common = common_of(findings->work);

	fold_in(&findings->folds[finding->rule], finding);
	findings->total++;
	if (finding->rule == WB_RULE_BEYOND_BACKING && finding->severity == WB_DAMAGE) {
		findings->beyond_blocks++;
		findings->beyond_sectors += finding->sectors;
	}
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

static void say_fold(const struct common *common, enum wb_rule rule, const struct fold *fold)
{
	char where[512] = "";

	if (fold->ids.count) {
		append_ranges(where, sizeof(where), &fold->ids, ": segment");
		append_ranges(where, sizeof(where), &fold->slots, " in slot");
		if (fold->slots.count == RANGES)
			append_text(where, sizeof(where), " and more");
		if (fold->count > 1)
			append_text(where, sizeof(where), ", %" PRIu64 " in all", fold->count);
	}
	if (fold->first_offset != WB_NO_OFFSET)
		append_text(where, sizeof(where), "%s byte %" PRIu64, fold->count > 1 ? ", the first at" : " at", fold->first_offset);
	common_say(common, "  %-8s %s%s", wb_severity_name(fold->severity), wb_rule_info(rule)->name, where);
	common_say(common, "           %s", wb_rule_info(rule)->text);
	if (fold->bits)
		common_say(common, "           one flipped bit explains %s (--find-bitflip names it)",
			   fold->count == 1 ? "it" : fold->bits == fold->count ? "each" : "some of them");
}

void check_say_folds(const struct findings *findings)
{
	const struct common *common = common_of(findings->work);

	for (int severity = WB_DAMAGE; severity >= WB_NOTE; severity--)
		for (unsigned rule = 0; rule < WB_RULES; rule++)
			if (findings->folds[rule].count && (int)findings->folds[rule].severity == severity)
				say_fold(common, (enum wb_rule)rule, &findings->folds[rule]);
}

void check_say_findings(const struct findings *findings)
{
	common_say(common_of(findings->work), findings->total ? "findings" : "findings    none");
	check_say_folds(findings);
}
