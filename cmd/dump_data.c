/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bytes of one block of a segment: as they are for a pipe or a file, as a hex dump with marks for a terminal. */
#include <ctype.h>
#include <inttypes.h>
#include <unistd.h>

#include "dump.h"
#include "report.h"

#define ROW 16u

struct block {
	struct work *work;
	struct wb_metablock metablock;
	uint64_t offset; /* on CACHE */
	uint8_t bytes[WB_BLOCK];
};

static const char *state_of(const struct block *block, unsigned sector)
{
	if (!block->metablock.dirty)
		return block->work->cache.geometry.format->caches_reads ? "clean copy" : "unused, undefined";
	return block->metablock.dirty >> sector & 1 ? "dirty" : "not dirty, undefined";
}

static void print_row(const uint8_t *bytes, unsigned at, char mark)
{
	printf("%c %03x ", mark, at);
	for (unsigned i = 0; i < ROW; i++)
		printf("%s%02x", i % 8 ? " " : "  ", bytes[at + i]);
	printf("  |");
	for (unsigned i = 0; i < ROW; i++)
		putchar(isascii(bytes[at + i]) && isprint(bytes[at + i]) ? bytes[at + i] : '.');
	printf("|\n");
}

/* What is not dirty in a dirty block is dimmed, and lacks the mark. */
static void print_hex(const struct block *block)
{
	bool colour = wants_colour();

	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++) {
		bool dirty = block->metablock.dirty >> sector & 1;
		bool dim = colour && block->metablock.dirty && !dirty;

		printf("%s%c sector %" PRIu64 ": %s\n", dim ? "\033[2m" : "", dirty ? '*' : ' ',
		       block->metablock.sector + sector, state_of(block, sector));
		for (unsigned at = 0; at < WB_SECTOR; at += ROW)
			print_row(block->bytes, sector * WB_SECTOR + at, dirty ? '*' : ' ');
		printf("%s", dim ? "\033[0m" : "");
	}
}

static void report_block(const struct block *block)
{
	const struct dump_options *options = block->work->options;
	struct json_object *record = report_record("data");
	char hex[2 * WB_BLOCK + 1];

	for (unsigned i = 0; i < WB_BLOCK; i++)
		snprintf(hex + 2 * i, 3, "%02x", block->bytes[i]);
	report_u64(record, "id", options->data_id);
	report_u64(record, "index", options->data_index);
	report_u64(record, "sector", block->metablock.sector);
	report_u64(record, "dirty_bits", block->metablock.dirty);
	report_u64(record, "offset", block->offset);
	report_text(record, "hex", hex);
	report_emit(record);
}

static void print_block(const struct block *block)
{
	if (report_json()) {
		report_block(block);
	} else if (isatty(STDOUT_FILENO)) {
		print_hex(block);
	} else {
		fwrite(block->bytes, 1, WB_BLOCK, stdout);
		if (block->metablock.dirty && block->metablock.dirty != 0xff)
			note(block->work, "only the dirty sectors of this block are defined: dirty bits 0x%02x",
			     block->metablock.dirty);
	}
}

/* The segment is looked for where it belongs; nothing else of the log is read. */
static int find_block(struct block *block, const uint8_t *meta, uint32_t slot)
{
	const struct work *work = block->work;
	const struct wb_geometry *geometry = &work->cache.geometry;
	uint64_t id = work->options->data_id, index = work->options->data_index;
	struct wb_header header;

	wb_header_decode(geometry->format, meta, &header);
	if (header.id != id)
		return common_refuse(common_of(work), work->path, "no segment %" PRIu64 ": slot %" PRIu32
				     ", where it would lie, holds %" PRIu64, id, slot, header.id);
	if (header.length > geometry->capacity)
		return common_refuse(common_of(work), work->path, "segment %" PRIu64 " claims %" PRIu32
				     " blocks and a segment holds %" PRIu32, id, header.length, geometry->capacity);
	if (index >= header.length)
		return common_refuse(common_of(work), work->path, "segment %" PRIu64 " has no block %" PRIu64 ": it has %"
				     PRIu32 ", and they begin with 0", id, index, header.length);
	wb_metablock_decode(geometry->format, meta, (unsigned)index, &block->metablock);
	block->offset = wb_slot_offset(geometry, slot) + WB_BLOCK * (index + 1);
	return 0;
}

int show_data(struct work *work)
{
	struct block block = { .work = work };
	struct wb_error err;
	uint8_t meta[WB_BLOCK];

	if (wb_dev_pack_info(work->dev))
		return common_refuse(common_of(work), work->path, "a pack holds the contents of no block");
	if (!work->cache.geometry.format)
		return common_refuse(common_of(work), work->path,
				     "the log was ended, and nothing tells where its segments lay");
	uint32_t slot = wb_slot_of(&work->cache.geometry, work->options->data_id);

	if (wb_dev_read(work->dev, wb_slot_offset(&work->cache.geometry, slot), meta, WB_BLOCK, &err))
		return common_failed(common_of(work), work->path, &err, NULL);
	int status = find_block(&block, meta, slot);

	if (status)
		return status;
	if (wb_dev_read(work->dev, block.offset, block.bytes, WB_BLOCK, &err))
		return common_failed(common_of(work), work->path, &err, NULL);
	print_block(&block);
	return 0;
}
