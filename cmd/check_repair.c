/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flipped bits and repairs: named, announced, asked about, made. What may be done is the library's business. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "memory.h"
#include "next.h"
#include "report.h"

/* ---- flipped bits, and repairs ---- */

static const char *const repair_names[] = {
	[WB_REPAIR_BIT] = "flipped-bit", [WB_REPAIR_RECORD] = "record", [WB_REPAIR_HEAD] = "torn-head",
	[WB_REPAIR_SUPER] = "superblock",
};

static void append_hex(char *text, size_t size, const uint8_t *bytes, uint32_t n, uint32_t at_most)
{
	for (uint32_t i = 0; i < n && i < at_most; i++)
		append_text(text, size, "%02x", bytes[i]);
	if (n > at_most)
		append_text(text, size, "...");
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
	append_text(words, sizeof(words), "%-11s %s", label, repair_names[repair->kind]);
	if (repair->slot != WB_NO_SLOT)
		append_text(words, sizeof(words), ": segment %" PRIu64 " in slot %" PRIu32, repair->id, repair->slot);
	append_text(words, sizeof(words), ", byte %" PRIu64 " (sector %" PRIu64 "): ", repair->offset + first,
	       repair->offset / WB_SECTOR);
	append_hex(words, sizeof(words), repair->before + first, end - first, 16);
	append_text(words, sizeof(words), " becomes ");
	append_hex(words, sizeof(words), repair->after + first, end - first, 16);
	if (repair->odds)
		append_text(words, sizeof(words), repair->odds < 1000000 ? "; chance looks like this once in %.0f times" :
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

int check_count_repairs(struct work *work)
{
	struct repairs repairs = { .work = work };
	int status = work->cache.super == WB_SUPER_ENDED || work->options->metadata_only ? 0 : each_repair(work, &repairs);

	work->repairs = repairs.count;
	return status;
}

/* As salvage does: ids in their place are asked of BACKING, and left alone without it. */
static int correct(struct work *work, struct wb_error *err)
{
	struct wb_backing_doubts backing = { &work->ring, work->backing, plan_capacity(work->options->memory) };
	struct wb_doubts doubts = wb_doubts_of(&backing);

	return wb_ring_correct(&work->ring, work->backing ? &doubts : NULL, &common_of(work)->progress, err);
}

/* From here on the ring is what it is with those bits flipped back. */
int check_find_bitflips(struct work *work)
{
	const struct common *common = common_of(work);
	const char *obstacle = wb_repair_obstacle(&work->ring, WB_REPAIR_BIT, true);
	const struct fold *folds = work->findings->folds;
	uint64_t broken = folds[WB_RULE_ROTTEN].count + folds[WB_RULE_ALIEN_ID].count + folds[WB_RULE_BAD_LENGTH].count +
			  (work->backing ? folds[WB_RULE_AHEAD].count + folds[WB_RULE_STALE_LAP].count : 0);
	struct repairs bits = { .work = work, .label = work->options->repair ? NULL : "bitflip", .type = "bitflip",
				.bits_only = true };
	struct wb_error err;
	int corrected = obstacle ? 0 : correct(work, &err);

	if (corrected < 0)
		return common_failed(common, work->cache_path, &err, NULL);
	report_u64(report_summary(), "bitflips", (uint64_t)corrected);
	if (obstacle)
		common_say(common, "bitflips    not looked for: %s", obstacle);
	else if (!broken)
		common_say(common, "bitflips    no segment is rotten, and no id alien");
	else
		common_say(common, "bitflips    one bit explains %d of %s", corrected, count_of(broken, "damaged segment"));
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
	if (folds[WB_RULE_BAD_SUPERBLOCK].count || folds[WB_RULE_UNREADABLE_SUPERBLOCK].count || folds[WB_RULE_ZERO_SUPERBLOCK].count)
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
		return common_refuse(common, work->backing_path, "the log contradicts BACKING (%s against it, %" PRIu64
				     " for it): the wrong disk, or one that was written since the log was ended",
				     count_of(work->proof.against, "block"), work->proof.for_);
	return 0;
}

static int confirm_repairs(const struct work *work, uint64_t count)
{
	char question[WB_SECTOR];

	snprintf(question, sizeof(question), "Write %s to %s?", count == 1 ? "this change" : "these changes", work->cache_path);
	return common_ask(common_of(work), work->cache_path, question, "nothing was changed: answer y on a terminal, or give --yes");
}

/* Looks again at what is on the device now; the exit status and the summary speak of that. */
static int look_again(struct work *work)
{
	int status;

	wb_ring_release(&work->ring);
	*work->findings = (struct findings){ .work = work, .silent = true };
	status = check_look(work);
	if (status)
		return status;
	status = check_count_repairs(work);
	const char *label = work->options->dry_run ? "what would remain" : "what remains";

	if (work->findings->total) {
		common_say(common_of(work), "%s", label);
		check_say_folds(work->findings);
	} else {
		common_say(common_of(work), "%s: nothing", label);
	}
	return status;
}

/* Of a dry run the next step is the repair, otherwise it is what the repaired cache needs. */
static void say_next(struct work *work, bool planned)
{
	work->repaired = true;
	if (work->options->dry_run && planned)
		next_step(common_of(work), NULL, "dry-run", NULL, NULL, "does what is shown here");
	else
		check_say_verdict(work);
}

static void say_made(const struct work *work, const struct repairs *made, uint64_t planned)
{
	if (work->options->dry_run) {
		common_say(common_of(work), "dry run     would repair %" PRIu64 " of %" PRIu64 "; nothing was changed", made->count, planned);
		return;
	}
	report_u64(report_summary(), "repaired", made->count);
	common_say(common_of(work), "repaired    %" PRIu64 " of %" PRIu64 ", each written, flushed and read again", made->count, planned);
	undo_file_say(common_of(work), &work->undo, "undo        ");
}

int check_repair(struct work *work)
{
	struct repairs planned = { .work = work, .label = "repair", .type = "planned" };
	struct repairs made = { .work = work, .label = NULL, .type = work->options->dry_run ? NULL : "repair",
				.write = true };
	int status = refuse_repair(work);

	report_u64(report_summary(), "repaired", 0);
	if (!status)
		status = each_repair(work, &planned);
	if (status)
		return status;
	say_obstacles(work);
	if (!planned.count) {
		common_say(common_of(work), "repair      nothing");
		say_next(work, false);
		return 0;
	}
	if (!work->options->dry_run)
		status = confirm_repairs(work, planned.count);
	if (!status)
		status = undo_file_record(common_of(work), &work->undo, work->cache_path, &work->cache_dev);
	if (status)
		return status;
	status = each_repair(work, &made);
	say_made(work, &made, planned.count);
	if (!status && !work->options->dry_run)
		status = undo_file_finish(common_of(work), &work->undo);
	status |= made.count ? EXIT_REPAIRED : 0;
	if (!(status & ~EXIT_REPAIRED))
		status |= look_again(work);
	if (!(status & ~(EXIT_REPAIRED | EXIT_PROBLEMS)))
		say_next(work, true);
	return status;
}
