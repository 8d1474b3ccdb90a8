/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segments and metablocks as tables. Rows are printed slot by slot, as their metadata is read. */
#include <inttypes.h>

#include "columns.h"
#include "dump.h"
#include "report.h"

struct table {
	struct work *work;
	bool rows, blocks;           /* segments, metablocks */
	bool all_classes;            /* metablocks of other than live segments too */
	struct columns row_columns, block_columns;
	uint32_t shown, slot;        /* rows so far; the slot at hand */
	const struct wb_slot *entry; /* of that slot */
	const uint8_t *meta;         /* NULL: not read, or unreadable */
	struct wb_header header;
	unsigned index;              /* the metablock at hand */
	struct wb_metablock metablock;
};

static const struct wb_geometry *geometry_of(const struct table *table)
{
	return &table->work->cache.geometry;
}

static bool has_laps(const struct table *table)
{
	return geometry_of(table)->format->lap.width;
}

/* ---- which slots ---- */

static bool is_chosen(void *context, uint32_t index)
{
	const struct table *table = context;
	const struct dump_options *options = table->work->options;
	const struct wb_slot *slot = &table->work->ring.slots[index];

	if (options->ids.given || options->slots.given)
		return (slot->id && in_range(&options->ids, slot->id)) || in_range(&options->slots, index);
	if (!options->segments)
		return slot->class_ == WB_LIVE;
	return options->common.verbose || slot->class_ != WB_EMPTY;
}

/* Ids are shown in the order of the ring, from the oldest slot on; places in their own. */
static uint32_t first_slot(const struct work *work)
{
	if (!work->options->ids.given || work->options->slots.given || !work->ring.head)
		return 0;
	return (wb_slot_of(&work->cache.geometry, work->ring.head) + 1) % work->cache.geometry.slots;
}

static int refuse_slot(const struct work *work)
{
	return common_refuse(common_of(work), work->path,
			     "there is no slot %" PRIu64 ": the slots are 0 to %" PRIu32,
			     work->options->slots.last, work->cache.geometry.slots - 1);
}

static int refuse_segment(const struct work *work)
{
	const struct range *ids = &work->options->ids;

	if (!ids->last)
		return common_refuse(common_of(work), work->path,
				     "there is no segment 0: ids begin at 1 (see --slot)");
	if (ids->first != ids->last)
		return common_refuse(common_of(work), work->path,
				     "no slot holds a segment with an id from %" PRIu64 " to %" PRIu64,
				     ids->first, ids->last);
	uint32_t slot = wb_slot_of(&work->cache.geometry, ids->first);
	uint64_t there = work->ring.slots[slot].id;

	if (!there)
		return common_refuse(common_of(work), work->path,
				     "no slot holds segment %" PRIu64 "; slot %" PRIu32
				     ", where it would lie, holds none",
				     ids->first, slot);
	return common_refuse(common_of(work), work->path,
			     "no slot holds segment %" PRIu64 "; slot %" PRIu32
			     ", where it would lie, holds %" PRIu64,
			     ids->first, slot, there);
}

static bool segment_is_missing(const struct work *work)
{
	const struct range *ids = &work->options->ids;

	for (uint32_t i = 0; i < work->cache.geometry.slots && ids->given; i++)
		if (work->ring.slots[i].id && in_range(ids, work->ring.slots[i].id))
			return false;
	return ids->given;
}

/* ---- segments ---- */

enum { SLOT, ID, CLASS, LENGTH, DIRTY, SECTORS, CHECKSUM, LAP, SEAL, OFFSET, DUE, SIZE };

static const struct column row_columns[] = {
	[SLOT] = { "SLOT", false },	  [ID] = { "ID", false },	  [CLASS] = { "CLASS", true },
	[LENGTH] = { "LENGTH", false },	  [DIRTY] = { "DIRTY", false },	  [SECTORS] = { "SECTORS", false },
	[CHECKSUM] = { "CHECKSUM", false }, [LAP] = { "LAP", false },	  [SEAL] = { "SEAL", true },
	[OFFSET] = { "OFFSET", false },	  [DUE] = { "DUE", false },	  [SIZE] = { "SIZE", false },
	{ NULL, false },
};

static bool is_written(const struct table *table)
{
	return table->meta && (table->entry->id || table->entry->flags & WB_SLOT_GARBAGE);
}

/* What the seal says, in a word. */
static const char *seal_of(const struct table *table)
{
	const struct wb_slot *slot = table->entry;
	bool sealed = slot->flags & WB_SLOT_SEALED, laps = geometry_of(table)->format->seal == WB_SEAL_LAP;

	if (slot->flags & WB_SLOT_NO_HEADER)
		return "unreadable";
	if (!slot->id && !(slot->flags & WB_SLOT_GARBAGE))
		return "none";
	if (sealed && laps)
		return slot->flags & WB_SLOT_LAP ? "laps" : "wrong-lap";
	if (table->work->ring.options.metadata_only)
		return "unverified";
	if (sealed)
		return slot->flags & WB_SLOT_RAW ? "raw" : "plain";
	if (slot->flags & WB_SLOT_ONE_BIT)
		return "one-bit";
	return slot->flags & WB_SLOT_NO_DATA ? "part-readable" : "broken";
}

static uint64_t size_of_segment(const struct table *table)
{
	return is_written(table) || table->entry->id ? WB_BLOCK * (table->entry->length + 1ull) : 0;
}

static void write_row(const void *row, unsigned column, char cell[CELL_SIZE])
{
	const struct table *table = row;
	const struct wb_slot *slot = table->entry;

	switch (column) {
	case SLOT: cell_number(cell, table->slot); break;
	case ID: cell_number(cell, slot->id); break;
	case CLASS: cell_text(cell, wb_class_name((enum wb_class)slot->class_)); break;
	case LENGTH: cell_number(cell, slot->length); break;
	case DIRTY: cell_number(cell, slot->dirty_blocks); break;
	case SECTORS: cell_number(cell, slot->dirty_sectors); break;
	case CHECKSUM:
		cell_text(cell, NULL);
		if (is_written(table) && geometry_of(table)->format->checksum.width)
			snprintf(cell, CELL_SIZE, "0x%08" PRIx32, table->header.checksum);
		break;
	case LAP:
		cell_text(cell, NULL);
		if (is_written(table) && has_laps(table))
			cell_number(cell, table->header.lap);
		break;
	case SEAL: cell_text(cell, seal_of(table)); break;
	case OFFSET: cell_number(cell, wb_slot_offset(geometry_of(table), table->slot)); break;
	case DUE: cell_number(cell, wb_ring_due(&table->work->ring, table->slot)); break;
	case SIZE: cell_size(cell, size_of_segment(table), table->work->options->bytes); break;
	default: break;
	}
}

static void report_row(const struct table *table)
{
	struct json_object *record = report_record("segment");

	report_u64(record, "slot", table->slot);
	report_u64(record, "id", table->entry->id);
	report_u64(record, "length", table->entry->length);
	report_text(record, "class", wb_class_name((enum wb_class)table->entry->class_));
	report_u64(record, "dirty_blocks", table->entry->dirty_blocks);
	report_u64(record, "dirty_sectors", table->entry->dirty_sectors);
	report_u64(record, "due_id", wb_ring_due(&table->work->ring, table->slot));
	if (table->meta && has_laps(table))
		report_u64(record, "lap", table->header.lap);
	else if (table->meta)
		report_u64(record, "checksum", table->header.checksum);
	report_text(record, "seal", seal_of(table));
	report_u64(record, "offset", wb_slot_offset(geometry_of(table), table->slot));
	report_emit(record);
}

/* ---- metablocks ---- */

enum { B_SLOT, B_ID, B_CLASS, B_INDEX, B_SECTOR, B_DIRTY, B_SECTORS, B_LAP, B_OFFSET };

static const struct column block_columns[] = {
	[B_SLOT] = { "SLOT", false },	  [B_ID] = { "ID", false },	[B_CLASS] = { "CLASS", true },
	[B_INDEX] = { "INDEX", false },	  [B_SECTOR] = { "SECTOR", false }, [B_DIRTY] = { "DIRTY", false },
	[B_SECTORS] = { "SECTORS", false }, [B_LAP] = { "LAP", false },	[B_OFFSET] = { "OFFSET", false },
	{ NULL, false },
};

static uint64_t data_offset(const struct table *table)
{
	return wb_slot_offset(geometry_of(table), table->slot) + (uint64_t)WB_BLOCK * (table->index + 1);
}

static void write_block(const void *row, unsigned column, char cell[CELL_SIZE])
{
	const struct table *table = row;

	switch (column) {
	case B_SLOT: cell_number(cell, table->slot); break;
	case B_ID: cell_number(cell, table->entry->id); break;
	case B_CLASS: cell_text(cell, wb_class_name((enum wb_class)table->entry->class_)); break;
	case B_INDEX: cell_number(cell, table->index); break;
	case B_SECTOR: cell_number(cell, table->metablock.sector); break;
	case B_DIRTY: snprintf(cell, CELL_SIZE, "0x%02x", table->metablock.dirty); break;
	case B_SECTORS: cell_number(cell, (unsigned)__builtin_popcount(table->metablock.dirty)); break;
	case B_LAP:
		cell_text(cell, NULL);
		if (has_laps(table))
			cell_number(cell, table->metablock.lap);
		break;
	case B_OFFSET: cell_number(cell, data_offset(table)); break;
	default: break;
	}
}

static void report_block(const struct table *table)
{
	struct json_object *record = report_record("metablock");

	report_u64(record, "slot", table->slot);
	report_u64(record, "id", table->entry->id);
	report_u64(record, "index", table->index);
	report_u64(record, "sector", table->metablock.sector);
	report_u64(record, "dirty_bits", table->metablock.dirty);
	if (has_laps(table))
		report_u64(record, "lap", table->metablock.lap);
	report_u64(record, "offset", data_offset(table));
	report_emit(record);
}

static void show_blocks(struct table *table)
{
	const struct common *common = common_of(table->work);
	unsigned length = table->entry->length;

	if (!table->meta) {
		common_warn(common, "slot %" PRIu32 ": its metadata cannot be read, no metablocks are shown", table->slot);
		return;
	}
	if (length > geometry_of(table)->capacity) {
		common_warn(common, "slot %" PRIu32 ": it claims %u blocks and a segment holds %" PRIu32
			    ", no metablocks are shown", table->slot, length, geometry_of(table)->capacity);
		return;
	}
	if (table->rows && length && !report_json() && !table->work->options->no_headings)
		columns_print_names(&table->block_columns);
	for (table->index = 0; table->index < length; table->index++) {
		wb_metablock_decode(geometry_of(table)->format, table->meta, table->index, &table->metablock);
		if (report_json())
			report_block(table);
		else
			columns_print(&table->block_columns, write_block, table);
	}
}

/* ---- the tables ---- */

static void show_slot(void *context, uint32_t index, const uint8_t *meta)
{
	struct table *table = context;

	table->slot = index;
	table->entry = &table->work->ring.slots[index];
	table->meta = meta;
	if (meta)
		wb_header_decode(geometry_of(table)->format, meta, &table->header);
	if (!table->shown++ && !report_json() && !table->work->options->no_headings)
		columns_print_names(table->rows ? &table->row_columns : &table->block_columns);
	if (table->rows && report_json())
		report_row(table);
	else if (table->rows)
		columns_print(&table->row_columns, write_row, table);
	if (table->blocks && (table->all_classes || table->entry->class_ == WB_LIVE))
		show_blocks(table);
}

/* Which of the two tables --segment and --slot show: both, or what the columns ask for. */
static void choose_tables(const struct dump_options *options, bool *rows, bool *blocks)
{
	bool undecided = !options->segments && !options->metablocks;
	bool of_rows = options->output && columns_know(row_columns, options->output);

	*rows = options->segments || (undecided && (!options->output || of_rows));
	*blocks = options->metablocks || (undecided && (!options->output || !of_rows));
}

void check_table_columns(const struct dump_options *options)
{
	struct columns columns;
	bool rows, blocks;

	choose_tables(options, &rows, &blocks);
	if (rows && blocks && options->output)
		usage_error("--output takes one table: --segments or --metablocks");
	columns_choose(&columns, rows ? row_columns : block_columns, "ID", options->output);
}

static void choose_columns(struct table *table)
{
	const struct dump_options *options = table->work->options;
	uint64_t newest = 0, bytes = geometry_of(table)->bytes;

	for (uint32_t i = 0; i < geometry_of(table)->slots; i++)
		if (is_chosen(table, i) && table->work->ring.slots[i].id > newest)
			newest = table->work->ring.slots[i].id;
	columns_choose(&table->row_columns, row_columns,
		       has_laps(table) ? "SLOT,ID,CLASS,LENGTH,DIRTY,SECTORS,LAP,SEAL,OFFSET" :
					 "SLOT,ID,CLASS,LENGTH,DIRTY,SECTORS,CHECKSUM,SEAL,OFFSET",
		       table->rows ? options->output : NULL);
	columns_widen(&table->row_columns, SLOT, geometry_of(table)->slots - 1);
	columns_widen(&table->row_columns, ID, newest);
	columns_widen(&table->row_columns, DUE, table->work->ring.head);
	columns_widen(&table->row_columns, OFFSET, bytes);
	columns_widen(&table->row_columns, LAP, 1000000);
	table->row_columns.widths[CLASS] = 13;
	table->row_columns.widths[CHECKSUM] = 10;
	table->row_columns.widths[SEAL] = 13;
	columns_widen(&table->row_columns, SIZE, options->bytes ? wb_slot_size(geometry_of(table)) : 10000);
	columns_choose(&table->block_columns, block_columns,
		       has_laps(table) ? "ID,INDEX,SECTOR,DIRTY,LAP,OFFSET" : "ID,INDEX,SECTOR,DIRTY,OFFSET",
		       table->blocks ? options->output : NULL);
	columns_widen(&table->block_columns, B_SLOT, geometry_of(table)->slots - 1);
	columns_widen(&table->block_columns, B_ID, newest);
	columns_widen(&table->block_columns, B_OFFSET, bytes);
	columns_widen(&table->block_columns, B_LAP, 1000000);
	columns_widen(&table->block_columns, B_SECTOR, 100000000000);
	table->block_columns.widths[B_CLASS] = 13;
	table->block_columns.indent = table->rows ? table->row_columns.widths[SLOT] + 2 : 0;
}

static int show_chosen(struct table *table)
{
	bool stored = columns_show(&table->row_columns, CHECKSUM) || columns_show(&table->row_columns, LAP);
	const struct walk walk = { .work = table->work, .context = table, .wanted = is_chosen, .visit = show_slot,
				   .start = first_slot(table->work),
				   .no_metadata = !table->blocks && !stored && !report_json() };

	begin_output();
	int status = walk_slots(&walk);

	if (!table->shown && !status)
		note(table->work, table->work->options->segments ? "no slot has been written" : "no segment is live");
	return status;
}

int show_tables(struct work *work)
{
	const struct dump_options *options = work->options;
	struct table table = { .work = work, .all_classes = options->ids.given || options->slots.given };

	if (!has_ring(work) && (options->ids.given || options->slots.given))
		return common_refuse(common_of(work), work->path,
				     "the log was ended, and nothing tells where its segments lay");
	if (!has_ring(work)) {
		note(work, "the log was ended, and no segment of it can be read any more");
		return 0;
	}
	if (options->slots.given && options->slots.last >= work->cache.geometry.slots)
		return refuse_slot(work);
	if (segment_is_missing(work))
		return refuse_segment(work);
	choose_tables(options, &table.rows, &table.blocks);
	choose_columns(&table);
	return show_chosen(&table);
}
