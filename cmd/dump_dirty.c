/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The extents of BACKING that wb-flush-dirty would write: its own decision and its own plan, merged and in ascending
 * order, as a table or as the domain map of GNU ddrescue.
 */
#include <inttypes.h>

#include "columns.h"
#include "dump.h"
#include "part.h"
#include "policy_options.h"
#include "report.h"

/* ---- the decision ---- */

static int prove_pair(struct work *work)
{
	struct wb_proof proof;
	struct wb_error err;
	char partition[1024];

	if (!work->backing)
		return 0;
	if (wb_pair_prove(&work->ring, work->backing, work->options->decide.capacity, 65536, &proof,
			  &common_of(work)->progress, &err))
		return common_failed(common_of(work), work->backing_path, &err, NULL);
	report_text(report_summary(), "pair", wb_pair_name(proof.pair));
	if (proof.pair != WB_PAIR_PROVEN && part_of_backing(common_of(work), &work->ring, work->backing_path,
							    work->options->decide.capacity, partition, sizeof(partition)))
		common_warn(common_of(work), "%s: BACKING is a whole disk, and %s", work->backing_path, partition);
	else if (proof.pair == WB_PAIR_CONTRADICTED)
		common_warn(common_of(work), "%s: the log contradicts this disk; wb-flush-dirty refuses it without --force=pair",
			    work->backing_path);
	return 0;
}

int decide(struct work *work)
{
	const struct dump_options *options = work->options;
	struct wb_error err;

	if (wb_decide(&work->ring, work->backing, &options->decide, &work->decision, &common_of(work)->progress, &err))
		return common_failed(common_of(work), work->path, &err, NULL);
	return 0;
}

static int say_refusal(const struct work *work)
{
	const unsigned refused = work->decision.refused;
	bool others = work->options->decide.policy == WB_STRICT && !(refused & REFUSED_BY_ALL);

	common_warn(common_of(work), "%s: with --policy=%s wb-flush-dirty would refuse and write nothing", work->path,
		    policies[work->options->decide.policy]);
	policy_say_refusal(common_of(work), &work->ring, refused);
	if (others)
		common_warn(common_of(work), "--policy=prefix and --policy=salvage show what those would write");
	return EXIT_PROBLEMS;
}

/* ---- extents ---- */

struct extents {
	struct work *work;
	struct columns columns;
	uint64_t bound;        /* sectors of BACKING, UINT64_MAX: not known */
	uint64_t certain_from; /* what older segments write depends on evidence that only BACKING can give */
	uint64_t begin, end;   /* the extent that may still grow, in sectors; empty: none */
	bool uncertain;        /* it depends on evidence */
	uint64_t count, sectors, uncertain_sectors;
	uint64_t mapped;       /* bytes of BACKING that the map speaks of so far */
};

enum { SECTOR, SECTORS, OFFSET, SIZE, EVIDENCE };

static const struct column extent_columns[] = {
	[SECTOR] = { "SECTOR", false }, [SECTORS] = { "SECTORS", false }, [OFFSET] = { "OFFSET", false },
	[SIZE] = { "SIZE", false },	[EVIDENCE] = { "EVIDENCE", true }, { NULL, false },
};

static void write_extent(const void *row, unsigned column, char cell[CELL_SIZE])
{
	const struct extents *extents = row;
	uint64_t sectors = extents->end - extents->begin;

	switch (column) {
	case SECTOR: cell_number(cell, extents->begin); break;
	case SECTORS: cell_number(cell, sectors); break;
	case OFFSET: cell_number(cell, extents->begin * WB_SECTOR); break;
	case SIZE: cell_size(cell, sectors * WB_SECTOR, extents->work->options->bytes); break;
	case EVIDENCE: cell_text(cell, extents->uncertain ? "needed" : NULL); break;
	default: break;
	}
}

static void report_extent(const struct extents *extents)
{
	struct json_object *record = report_record("extent");

	report_u64(record, "sector", extents->begin);
	report_u64(record, "sectors", extents->end - extents->begin);
	report_bool(record, "needs_evidence", extents->uncertain);
	report_emit(record);
}

static void map_stretch(struct extents *extents, uint64_t end, char status)
{
	if (end > extents->mapped)
		fprintf(extents->work->domain_map.file, "0x%08" PRIX64 "  0x%08" PRIX64 "  %c\n", extents->mapped,
			end - extents->mapped, status);
	extents->mapped = end;
}

static void finish_extent(struct extents *extents)
{
	const struct dump_options *options = extents->work->options;

	if (extents->begin == extents->end)
		return;
	if (!extents->count++ && options->list_dirty && !report_json() && !options->no_headings)
		columns_print_names(&extents->columns);
	extents->sectors += extents->end - extents->begin;
	extents->uncertain_sectors += extents->uncertain ? extents->end - extents->begin : 0;
	if (options->list_dirty && report_json())
		report_extent(extents);
	else if (options->list_dirty)
		columns_print(&extents->columns, write_extent, extents);
	if (options->domain_map) {
		map_stretch(extents, extents->begin * WB_SECTOR, '?');
		map_stretch(extents, extents->end * WB_SECTOR, '+');
	}
	extents->begin = extents->end = 0;
}

static void add_sector(struct extents *extents, uint64_t sector, bool uncertain)
{
	if (sector != extents->end || uncertain != extents->uncertain)
		finish_extent(extents);
	if (extents->begin == extents->end)
		extents->begin = sector;
	extents->end = sector + 1;
	extents->uncertain = uncertain;
}

/* The sectors of an entry that a replay would write: those that CACHE gives, and that BACKING has. */
static uint8_t writable(const struct extents *extents, const struct wb_entry *entry)
{
	const struct work *work = extents->work;
	uint64_t offset = wb_slot_offset(&work->cache.geometry, entry->slot) + WB_BLOCK * (entry->index + 1ull);
	uint8_t mask = entry->dirty;

	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (entry->block * WB_SECTORS_PER_BLOCK + i >= extents->bound ||
		    (work->ring.slots[entry->slot].flags & WB_SLOT_NO_DATA && wb_map_covers(&work->lost, offset + i * WB_SECTOR)))
			mask &= (uint8_t)~(1u << i);
	return mask;
}

/* The entries of one block, newest first. What lies below a claim that nobody plans depends on what BACKING holds. */
static void add_block(struct extents *extents, const struct wb_plan *plan, const struct wb_entry *entries, size_t n)
{
	const struct wb_slot *slots = extents->work->ring.slots;
	uint8_t certain = 0, uncertain = 0, claimed = 0, owned = 0;

	for (size_t i = 0; i < n; i++) {
		uint8_t wanted = entries[i].dirty ? entries[i].dirty : 0xff;

		if (wb_plan_only_claims(plan, &entries[i])) {
			claimed |= wanted;
			continue;
		}
		uint8_t won = writable(extents, &entries[i]) & (uint8_t)~owned;

		owned |= wanted;
		uncertain |= slots[entries[i].slot].id < extents->certain_from ? won : won & claimed;
		certain |= won;
	}
	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (certain >> i & 1)
			add_sector(extents, entries[0].block * WB_SECTORS_PER_BLOCK + i, uncertain >> i & 1);
}

static void add_run(void *context, uint64_t sector, uint64_t sectors)
{
	for (uint64_t i = 0; i < sectors; i++)
		add_sector(context, sector + i, false);
}

/* Which sectors are left alone because BACKING holds something newer, a dry run tells. */
static int add_replay(struct extents *extents, struct wb_error *err)
{
	struct work *work = extents->work;
	const struct wb_replay_options options = { .capacity = work->options->decide.capacity, .dry_run = true,
						   .context = extents, .planned = add_run };
	struct wb_replay_result result;

	begin_output();
	return wb_replay(&work->ring, &work->decision.scope, work->backing, &options, &result, &common_of(work)->progress, err);
}

static int add_plan(struct extents *extents)
{
	struct work *work = extents->work;
	const struct wb_progress *progress = &common_of(work)->progress;
	struct wb_plan plan;
	struct wb_error err;
	int ret = wb_plan_open(&plan, &work->ring, &work->decision.scope, work->options->decide.capacity, &err);

	if (!ret && plan.others && work->backing)
		ret = add_replay(extents, &err);
	else
		while (!ret && (ret = wb_plan_next(&plan, progress, &err)) > 0) {
			ret = 0;
			begin_output();
			for (size_t i = 0, n; i < plan.count && !ferror(stdout); i += n) {
				for (n = 1; i + n < plan.count && plan.entries[i + n].block == plan.entries[i].block;)
					n++;
				add_block(extents, &plan, plan.entries + i, n);
			}
		}
	wb_plan_close(&plan);
	finish_extent(extents);
	return ret ? common_failed(common_of(work), work->path, &err, NULL) : 0;
}

/* ---- what is said about them ---- */

static uint64_t newest_hole(const struct wb_ring *ring)
{
	for (uint64_t id = ring->head; ring->holes && id >= ring->first && id; id--)
		if (wb_ring_is_hole(ring, id))
			return id;
	return 0;
}

/* Without BACKING: a prefix that is cut would be refused, and salvage would write nothing below a hole, if there were
 * evidence there. */
static uint64_t certain_from(const struct work *work)
{
	if (work->backing)
		return 0;
	if (work->options->decide.policy == WB_PREFIX)
		return work->decision.cut;
	return newest_hole(&work->ring);
}

static void say_extents(const struct extents *extents)
{
	struct json_object *summary = report_summary();

	report_text(summary, "policy", policies[extents->work->options->decide.policy]);
	report_u64(summary, "extents", extents->count);
	report_u64(summary, "planned_sectors", extents->sectors);
	report_u64(summary, "uncertain_sectors", extents->uncertain_sectors);
	note(extents->work, "--policy=%s: %s, %s, %s", policies[extents->work->options->decide.policy],
	     count_of(extents->count, "extent"), count_of(extents->sectors, "sector"), human_size(extents->sectors * WB_SECTOR));
	if (extents->uncertain_sectors)
		note(extents->work, "%s of these may be left out: only BACKING shows the evidence", count_of(extents->uncertain_sectors, "sector"));
	else if (!extents->work->backing && extents->count)
		note(extents->work, "without BACKING its size is not known: what lies beyond its end is listed too");
}

/* ---- the map ---- */

static void begin_map(const struct work *work)
{
	if (work->options->domain_map)
		fprintf(work->domain_map.file,
			"# Mapfile. Created by wb-utils version " WB_VERSION "\n"
			"# '+': what wb-flush-dirty --policy=%s would write\n"
			"# current_pos  current_status  current_pass\n"
			"0x00000000     ?               1\n"
			"#      pos        size  status\n", policies[work->options->decide.policy]);
}

static int end_map(struct extents *extents)
{
	struct work *work = extents->work;

	if (!work->options->domain_map)
		return 0;
	if (work->backing)
		map_stretch(extents, wb_dev_size(work->backing), '?');
	if (extents->uncertain_sectors)
		fprintf(work->domain_map.file, "# %s may be left out: only BACKING shows the evidence\n",
			count_of(extents->uncertain_sectors, "sector"));
	return output_complete(common_of(work), &work->domain_map);
}

/* ---- --list-dirty, --domain-map ---- */

static void choose_columns(struct columns *columns, const struct dump_options *options, uint64_t bound)
{
	columns_choose(columns, extent_columns,
		       bound == UINT64_MAX ? "SECTOR,SECTORS,OFFSET,SIZE,EVIDENCE" : "SECTOR,SECTORS,OFFSET,SIZE",
		       options->output);
	columns_widen(columns, SECTOR, bound == UINT64_MAX ? 99999999999 : bound);
	columns_widen(columns, OFFSET, bound == UINT64_MAX ? 99999999999999 : bound * WB_SECTOR);
	columns_widen(columns, SIZE, options->bytes ? 9999999999 : 10000);
}

void check_dirty_columns(const struct dump_options *options)
{
	struct columns columns;

	choose_columns(&columns, options, 0);
}

static void warn_of_refusal(const struct work *work)
{
	if (work->cache.super == WB_SUPER_ZEROED || work->cache.super == WB_SUPER_UNREADABLE)
		common_warn(common_of(work), "%s: sector 0 is %s; wb-flush-dirty refuses this log without --force=ended",
			    work->path, super_name(work->cache.super));
	if (work->cache.super == WB_SUPER_DAMAGED)
		common_warn(common_of(work), "%s: sector 0 is damaged; wb-flush-dirty refuses this log until it is restored",
			    work->path);
}

static int list_extents(struct extents *extents)
{
	struct work *work = extents->work;
	int status = prove_pair(work);

	warn_of_refusal(work);
	if (!status)
		status = decide(work);
	if (!status && work->decision.refused)
		return say_refusal(work);
	if (status)
		return status;
	wb_map_settle(&work->lost);
	extents->certain_from = certain_from(work);
	return add_plan(extents);
}

int list_dirty(struct work *work)
{
	struct extents extents = { .work = work };
	int status = 0;

	extents.bound = work->backing ? wb_dev_size(work->backing) / WB_SECTOR : UINT64_MAX;
	choose_columns(&extents.columns, work->options, extents.bound);
	begin_map(work);
	if (is_ended(work))
		note(work, "the log was ended: wb-flush-dirty would write nothing");
	else
		status = list_extents(&extents);
	if (status)
		return status;
	say_extents(&extents);
	return end_map(&extents);
}
