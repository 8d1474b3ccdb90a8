/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The history of backing sectors: every version of their blocks that any slot holds, newest first, which sectors of it
 * would be written, and why the others would not.
 */
#include <inttypes.h>

#include "columns.h"
#include "dump.h"
#include "policy_options.h"
#include "report.h"

/* Why sectors of a version would not be written. */
enum fate {
	WINS,
	SUPERSEDED,      /* newer dirty versions */
	HIDDEN,          /* a newer clean copy */
	CLEAN,           /* is one, and there is nothing to write */
	BEYOND_HOLE,     /* newer than the cut of a prefix */
	BEYOND_UNTIL,
	BELOW_EVIDENCE,  /* at or below a hole that BACKING is beyond */
	CONTESTED,       /* BACKING holds, or may hold, something newer */
	OLDER_LAP,       /* before the window: written back, or superseded by a segment of it */
	NOT_BELIEVED,    /* the class of its segment */
	MISALIGNED,
	BEYOND_BACKING,
	UNDECIDED,       /* no policy would write this log */
};

struct history {
	struct work *work;
	struct columns columns;
	struct wb_map contested; /* of BACKING */
	bool failed;         /* out of memory */
	uint64_t shown;
	/* the version at hand */
	const struct wb_entry *version;
	enum fate fate;
	uint8_t wins;        /* of the sectors asked for */
	uint64_t by;         /* the id that took the first of them that it lost, 0: none */
};

static const struct wb_ring *ring_of(const struct history *history)
{
	return &history->work->ring;
}

static const struct wb_slot *slot_of(const struct history *history, const struct wb_entry *version)
{
	return &ring_of(history)->slots[version->slot];
}

/* As the metablock has it. */
static uint64_t sector_of(const struct wb_entry *version)
{
	return version->block * WB_SECTORS_PER_BLOCK + version->check;
}

/* The sectors asked for that it holds: as dirty data, or as a part of a clean copy. */
static uint8_t asked_of(const struct history *history, const struct wb_entry *version)
{
	bool clean = history->work->cache.geometry.format->caches_reads && !version->dirty;
	uint8_t mask = clean ? 0xff : version->dirty;

	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (sector_of(version) > UINT64_MAX - i || !in_range(&history->work->options->sectors, sector_of(version) + i))
			mask &= (uint8_t)~(1u << i);
	return mask;
}

/* ---- judging ---- */

static enum fate fate_outside(const struct history *history, const struct wb_slot *slot)
{
	const struct wb_decision *decision = &history->work->decision;

	switch ((enum wb_class)slot->class_) {
	case WB_OLD:
	case WB_STALE_LAP:
		return OLDER_LAP;
	case WB_LIVE:
	case WB_PART_READABLE:
	case WB_ZEROED:
		break;
	default:
		return NOT_BELIEVED;
	}
	if (decision->scope.low > decision->scope.high && decision->refused)
		return UNDECIDED;
	if (slot->id > decision->scope.high)
		return wb_ring_is_hole(ring_of(history), decision->cut) ? BEYOND_HOLE : BEYOND_UNTIL;
	if (slot->id < decision->scope.low)
		return BELOW_EVIDENCE;
	return NOT_BELIEVED; /* part-readable or zeroed, and this policy leaves them out */
}

static bool takes_part(const struct history *history, const struct wb_slot *slot)
{
	const struct wb_scope *scope = &history->work->decision.scope;

	if (slot->id < scope->low || slot->id > scope->high)
		return false;
	return slot->class_ == WB_LIVE || (slot->class_ == WB_ZEROED && scope->zeroed) ||
	       (slot->class_ == WB_PART_READABLE && scope->part);
}

/* Who owns the sectors of the block at hand so far; sectors that were not asked for stay nobody's. */
struct claims {
	uint64_t id[WB_SECTORS_PER_BLOCK]; /* 0: nobody */
	uint8_t clean;                     /* sectors that a clean copy owns */
};

static bool is_beyond(const struct history *history, uint64_t sector)
{
	return history->work->backing && sector >= wb_dev_size(history->work->backing) / WB_SECTOR;
}

/* Of the sectors that a version wins, those behind the end of BACKING do not count; what remains. */
static uint8_t clip(struct history *history)
{
	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (is_beyond(history, sector_of(history->version) + i))
			history->wins &= (uint8_t)~(1u << i);
	return history->wins;
}

/* Nor do those that are left alone. */
static uint8_t leave_contested(struct history *history)
{
	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (history->wins >> i & 1 && wb_map_covers(&history->contested, (sector_of(history->version) + i) * WB_SECTOR))
			history->wins &= (uint8_t)~(1u << i);
	return history->wins;
}

static void claim(struct history *history, struct claims *claims)
{
	const struct wb_entry *version = history->version;
	uint64_t id = slot_of(history, version)->id;
	uint8_t wanted = asked_of(history, version);
	bool to_clean = false; /* the first sector it lost */

	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++) {
		if (!(wanted >> i & 1))
			continue;
		if (!claims->id[i]) {
			claims->id[i] = id;
			history->wins |= (uint8_t)(1u << i);
			continue;
		}
		if (!history->by)
			to_clean = claims->clean >> i & 1;
		history->by = history->by ? history->by : claims->id[i];
	}
	if (!version->dirty) {
		claims->clean |= history->wins;
		history->wins = 0;
		history->fate = CLEAN;
	} else if (history->wins && !clip(history)) {
		history->fate = BEYOND_BACKING;
	} else if (history->wins && !leave_contested(history)) {
		history->fate = CONTESTED;
	} else if (!history->wins) {
		history->fate = to_clean ? HIDDEN : SUPERSEDED;
	} else {
		history->fate = WINS;
	}
}

static void judge(struct history *history, struct claims *claims)
{
	const struct wb_entry *version = history->version;
	const struct wb_slot *slot = slot_of(history, version);

	history->wins = 0;
	history->by = 0;
	if (!takes_part(history, slot))
		history->fate = fate_outside(history, slot);
	else if (sector_of(version) % WB_SECTORS_PER_BLOCK)
		history->fate = MISALIGNED;
	else if (sector_of(version) > UINT64_MAX / WB_SECTOR - WB_SECTORS_PER_BLOCK ||
		 is_beyond(history, sector_of(version)))
		history->fate = BEYOND_BACKING;
	else
		claim(history, claims);
}

/* ---- showing ---- */

enum { SECTOR, ID, INDEX, SLOT, CLASS, DIRTY, WRITTEN, WHY, BY, OFFSET };

static const struct column version_columns[] = {
	[SECTOR] = { "SECTOR", false }, [ID] = { "ID", false },	      [INDEX] = { "INDEX", false },
	[SLOT] = { "SLOT", false },	[CLASS] = { "CLASS", true },  [DIRTY] = { "DIRTY", false },
	[WRITTEN] = { "WRITTEN", false }, [WHY] = { "WHY", true },    [BY] = { "BY", false },
	[OFFSET] = { "OFFSET", false }, { NULL, false },
};

static const char *why(const struct history *history)
{
	static const char *const words[] = {
		[SUPERSEDED] = "superseded",	   [HIDDEN] = "hidden-by-clean",   [CLEAN] = "clean",
		[BEYOND_HOLE] = "beyond-hole",	   [BEYOND_UNTIL] = "beyond-until", [BELOW_EVIDENCE] = "below-evidence",
		[CONTESTED] = "contested",
		[OLDER_LAP] = "older-lap",	   [MISALIGNED] = "misaligned",	   [BEYOND_BACKING] = "beyond-backing",
		[UNDECIDED] = "undecided",
	};

	switch (history->fate) {
	case WINS: return history->by ? "wins-in-part" : "wins";
	case NOT_BELIEVED: return wb_class_name((enum wb_class)slot_of(history, history->version)->class_);
	default: return words[history->fate];
	}
}

static uint64_t data_offset(const struct history *history)
{
	return wb_slot_offset(&history->work->cache.geometry, history->version->slot) +
	       WB_BLOCK * (history->version->index + 1ull);
}

static void write_version(const void *row, unsigned column, char cell[CELL_SIZE])
{
	const struct history *history = row;
	const struct wb_entry *version = history->version;

	switch (column) {
	case SECTOR: cell_number(cell, sector_of(version)); break;
	case ID: cell_number(cell, slot_of(history, version)->id); break;
	case INDEX: cell_number(cell, version->index); break;
	case SLOT: cell_number(cell, version->slot); break;
	case CLASS: cell_text(cell, wb_class_name((enum wb_class)slot_of(history, version)->class_)); break;
	case DIRTY:
		cell_text(cell, "clean");
		if (version->dirty)
			snprintf(cell, CELL_SIZE, "0x%02x", version->dirty);
		break;
	case WRITTEN:
		cell_text(cell, NULL);
		if (history->wins)
			snprintf(cell, CELL_SIZE, "0x%02x", history->wins);
		break;
	case WHY: cell_text(cell, why(history)); break;
	case BY:
		cell_text(cell, NULL);
		if (history->by)
			cell_number(cell, history->by);
		break;
	case OFFSET: cell_number(cell, data_offset(history)); break;
	default: break;
	}
}

static void report_version(const struct history *history)
{
	const struct wb_entry *version = history->version;
	struct json_object *record = report_record("version");

	report_u64(record, "sector", sector_of(version));
	report_u64(record, "id", slot_of(history, version)->id);
	report_u64(record, "index", version->index);
	report_u64(record, "slot", version->slot);
	report_text(record, "class", wb_class_name((enum wb_class)slot_of(history, version)->class_));
	report_u64(record, "dirty_bits", version->dirty);
	report_u64(record, "written_bits", history->wins);
	report_text(record, "why", why(history));
	report_u64(record, "by", history->by);
	report_u64(record, "offset", data_offset(history));
	report_emit(record);
}

static void show_versions(struct history *history, const struct wb_plan *plan)
{
	struct claims claims = { .clean = 0 };

	begin_output();
	for (size_t i = 0; i < plan->count && !ferror(stdout); i++) {
		history->version = &plan->entries[i];
		if (i && plan->entries[i].block != plan->entries[i - 1].block)
			claims = (struct claims){ .clean = 0 };
		if (!asked_of(history, history->version))
			continue;
		judge(history, &claims);
		if (!history->shown++ && !report_json() && !history->work->options->no_headings)
			columns_print_names(&history->columns);
		if (report_json())
			report_version(history);
		else
			columns_print(&history->columns, write_version, history);
	}
}

static void choose_columns(struct columns *columns, const struct dump_options *options, const struct work *work)
{
	columns_choose(columns, version_columns, "SECTOR,ID,INDEX,SLOT,CLASS,DIRTY,WRITTEN,WHY,BY", options->output);
	if (!work)
		return;
	columns_widen(columns, SECTOR, options->sectors.last < 99999999999 ? options->sectors.last : 99999999999);
	columns_widen(columns, ID, work->ring.head);
	columns_widen(columns, BY, work->ring.head);
	columns_widen(columns, SLOT, work->cache.geometry.slots - 1);
	columns_widen(columns, OFFSET, work->cache.geometry.bytes);
	columns->widths[CLASS] = 13;
	columns->widths[WHY] = 15;
}

void check_sector_columns(const struct dump_options *options)
{
	struct columns columns;

	choose_columns(&columns, options, NULL);
}

/* ---- --sector ---- */

/* What strict refuses for damage is shown as prefix would have it: the holes are what somebody wants to see here. */
static int decide_for_history(struct work *work)
{
	struct wb_decide_options options = work->options->decide;
	struct wb_error err;
	int status = decide(work);

	if (status || !work->decision.refused)
		return status;
	common_warn(common_of(work), "%s: with --policy=%s wb-flush-dirty would refuse and write nothing:", work->path,
		    policies[options.policy]);
	policy_say_refusal(common_of(work), &work->ring, work->decision.refused);
	if (work->decision.refused & REFUSED_BY_ALL)
		return 0;
	if (options.policy == WB_STRICT)
		note(work, "shown is what --policy=prefix would write; --policy=salvage shows more");
	options.policy = options.policy == WB_STRICT ? WB_PREFIX : options.policy;
	options.force_regress = true;
	if (wb_decide(&work->ring, work->backing, &options, &work->decision, &common_of(work)->progress, &err))
		return common_failed(common_of(work), work->path, &err, NULL);
	return 0;
}

static void note_contested(void *context, uint64_t sector, uint64_t sectors, enum wb_alone why)
{
	struct history *history = context;

	if (why != WB_ALONE_UNREADABLE && wb_map_add(&history->contested, sector * WB_SECTOR, sectors * WB_SECTOR, NULL))
		history->failed = true;
}

/* What is left alone because BACKING holds something newer, a dry run tells. */
static int find_contested(struct history *history)
{
	struct work *work = history->work;
	const struct wb_replay_options options = { .capacity = work->options->decide.capacity, .dry_run = true,
						   .context = history, .left_alone = note_contested };
	struct wb_replay_result result;
	struct wb_error err;

	if (!work->backing || work->decision.refused || work->decision.scope.guard != WB_GUARD_PROTECT)
		return 0;
	if (wb_replay(&work->ring, &work->decision.scope, work->backing, &options, &result, &common_of(work)->progress, &err))
		return common_failed(common_of(work), work->path, &err, NULL);
	wb_map_settle(&history->contested);
	return history->failed ? common_refuse(common_of(work), work->path, "out of memory") : 0;
}

/* The blocks of the sectors asked for, and the one before: what is not aligned may reach into the next. */
static struct wb_scope everything(const struct range *sectors)
{
	uint64_t first = sectors->first / WB_SECTORS_PER_BLOCK;

	return (struct wb_scope){ .everything = true, .every_version = true, .begin = first ? first - 1 : 0,
				  .end = sectors->last / WB_SECTORS_PER_BLOCK + 1 };
}

static int show_ranges(struct history *history)
{
	struct work *work = history->work;
	const struct wb_scope scope = everything(&work->options->sectors);
	struct wb_plan plan;
	struct wb_error err;
	int ret = wb_plan_open(&plan, &work->ring, &scope, work->options->decide.capacity, &err);

	while (!ret && !ferror(stdout) && (ret = wb_plan_next(&plan, &common_of(work)->progress, &err)) > 0) {
		show_versions(history, &plan);
		ret = 0;
	}
	wb_plan_close(&plan);
	return ret ? common_failed(common_of(work), work->path, &err, NULL) : 0;
}

int show_history(struct work *work)
{
	struct history history = { .work = work };
	int status;

	if (!has_ring(work)) {
		note(work, "the log was ended, and no segment of it can be read any more");
		return 0;
	}
	if (is_ended(work))
		note(work, "the log was ended: what was to be written has been, or was given up");
	if (work->options->metadata_only)
		note(work, "no checksum was computed: a segment with a plausible header counts as whole");
	status = decide_for_history(work);
	if (!status)
		status = find_contested(&history);
	if (status)
		return status;
	choose_columns(&history.columns, work->options, work);
	status = show_ranges(&history);
	if (!status && !history.shown)
		note(work, "no slot holds a version of these sectors");
	wb_map_release(&history.contested);
	return status;
}
