/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wb-dump: shows what is on a cache: a summary for a bug report, tables, the history of a sector, what would be written
 * back, pictures. Opens CACHE and BACKING for reading only.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "part.h"
#include "policy_options.h"
#include "report.h"
#include "words.h"

enum { OPT_SUPERBLOCK = 1, OPT_SEGMENTS, OPT_SEGMENT, OPT_SLOT, OPT_METABLOCKS, OPT_OUTPUT, OPT_NO_HEADINGS, OPT_BYTES,
       OPT_METADATA_ONLY, OPT_SECTOR, OPT_DATA, OPT_LIST_DIRTY, OPT_DOMAIN_MAP, OPT_MAP,
       OPT_SVG, OPT_PACK, OPT_OBFUSCATE, OPT_UNPACK };

static const struct poptOption dump_table[] = {
	{ "superblock", '\0', POPT_ARG_NONE, NULL, OPT_SUPERBLOCK, "the superblock, field by field", NULL },
	{ "segments", '\0', POPT_ARG_NONE, NULL, OPT_SEGMENTS, "every slot that is not empty (with -v the empty ones too)", NULL },
	{ "segment", '\0', POPT_ARG_STRING, NULL, OPT_SEGMENT, "the segments with these ids, and their metablocks", "ID[-ID]" },
	{ "slot", '\0', POPT_ARG_STRING, NULL, OPT_SLOT, "the same by slot; the first slot is 0", "K[-K]" },
	{ "metablocks", '\0', POPT_ARG_NONE, NULL, OPT_METABLOCKS, "metablocks of the live segments, or of the chosen ones", NULL },
	{ "sector", '\0', POPT_ARG_STRING, NULL, OPT_SECTOR, "every version of these sectors of BACKING, and which one wins",
	  "LBA[-LBA]" },
	{ "data", '\0', POPT_ARG_STRING, NULL, OPT_DATA, "the bytes of one block; a hex dump on a terminal", "ID:INDEX" },
	{ "list-dirty", '\0', POPT_ARG_NONE, NULL, OPT_LIST_DIRTY, "the extents of BACKING that wb-flush-dirty would write", NULL },
	{ "domain-map", '\0', POPT_ARG_STRING, NULL, OPT_DOMAIN_MAP, "the same as a domain map for ddrescue", "FILE" },
	{ "map", '\0', POPT_ARG_NONE, NULL, OPT_MAP, "a picture of the ring", NULL },
	{ "svg", '\0', POPT_ARG_STRING, NULL, OPT_SVG, "the same as a drawing, and where on BACKING the dirty blocks lie", "FILE" },
	{ "output", 'O', POPT_ARG_STRING, NULL, OPT_OUTPUT, "columns of the table; +COLUMN adds to the default ones", "COLUMN,..." },
	{ "noheadings", '\0', POPT_ARG_NONE, NULL, OPT_NO_HEADINGS, "print no line of column names", NULL },
	{ "bytes", '\0', POPT_ARG_NONE, NULL, OPT_BYTES, "print sizes in bytes", NULL },
	{ "metadata-only", '\0', POPT_ARG_NONE, NULL, OPT_METADATA_ONLY, "read no data: classes from the headers alone", NULL },
	{ "pack", '\0', POPT_ARG_STRING, NULL, OPT_PACK, "write the metadata, and no data, for a bug report", "FILE" },
	{ "obfuscate", '\0', POPT_ARG_NONE, NULL, OPT_OBFUSCATE, "with --pack: move the sectors of the backing device", NULL },
	{ "unpack", '\0', POPT_ARG_STRING, NULL, OPT_UNPACK, "make an image of a pack that checks the same", "FILE" },
	{ NULL, '\0', POPT_ARG_INCLUDE_TABLE, (void *)(uintptr_t)policy_options, 0, "What wb-flush-dirty would be told:", NULL },
	POPT_TABLEEND
};

static struct range range_of(const char *what, const char *text)
{
	struct range range = { .given = true };
	char *copy = strdup(text), *dash;

	if (!copy)
		usage_error("out of memory");
	dash = strchr(copy, '-');
	if (dash)
		*dash = '\0';
	range.first = number_of(what, copy);
	range.last = dash ? number_of(what, dash + 1) : range.first;
	free(copy);
	if (range.first > range.last)
		usage_error("%s: in %s the first is larger than the last", what, text);
	return range;
}

static void set_data(struct dump_options *dump, const char *text)
{
	char *copy = strdup(text), *colon;

	if (!copy)
		usage_error("out of memory");
	colon = strchr(copy, ':');
	if (!colon)
		usage_error("--data: '%s' is not an id and an index with a colon between", text);
	*colon = '\0';
	dump->data_id = number_of("--data", copy);
	dump->data_index = number_of("--data", colon + 1);
	free(copy);
	if (!dump->data_id)
		usage_error("--data: segment ids begin at 1");
	dump->data = true;
}

static void handle(void *options, int val, const char *argument)
{
	struct dump_options *dump = options;

	if (policy_option(val, argument, &dump->decide, &dump->ring, &dump->memory))
		return;
	switch (val) {
	case OPT_SUPERBLOCK: dump->superblock = true; break;
	case OPT_SEGMENTS: dump->segments = true; break;
	case OPT_SEGMENT: dump->ids = range_of("--segment", argument); break;
	case OPT_SLOT: dump->slots = range_of("--slot", argument); break;
	case OPT_METABLOCKS: dump->metablocks = true; break;
	case OPT_SECTOR: dump->sectors = range_of("--sector", argument); break;
	case OPT_DATA: set_data(dump, argument); break;
	case OPT_LIST_DIRTY: dump->list_dirty = true; break;
	case OPT_DOMAIN_MAP: path_option("--domain-map", &dump->domain_map, argument); break;
	case OPT_MAP: dump->map = true; break;
	case OPT_SVG: path_option("--svg", &dump->svg, argument); break;
	case OPT_OUTPUT: path_option("--output", &dump->output, argument); break;
	case OPT_NO_HEADINGS: dump->no_headings = true; break;
	case OPT_BYTES: dump->bytes = true; break;
	case OPT_METADATA_ONLY: dump->metadata_only = dump->pack.metadata_only = true; break;
	case OPT_PACK: path_option("--pack", &dump->pack.pack, argument); break;
	case OPT_OBFUSCATE: dump->pack.obfuscate = true; break;
	case OPT_UNPACK: path_option("--unpack", &dump->pack.unpack, argument); break;
	default: break;
	}
}

static const struct command command = {
	.name = "wb-dump",
	.purpose = "show what is on a dm-writeboost cache",
	.operands = "CACHE [BACKING]",
	.operands_min = 1,
	.operands_max = 2,
	.options = dump_table,
	.handle = handle,
	.without = WITHOUT_YES,
	.label_width = 13,
};

/* --output, --noheadings and --bytes are about tables, and --output about one. */
static void check_columns(const struct dump_options *options)
{
	int tables = has_tables(options) + options->sectors.given + options->list_dirty;

	if (!tables && (options->output || options->no_headings || options->bytes))
		usage_error("--output, --noheadings and --bytes need a table");
	if (tables > 1 && options->output)
		usage_error("--output takes one table at a time");
	if (has_tables(options))
		check_table_columns(options);
	if (options->sectors.given)
		check_sector_columns(options);
	if (options->list_dirty)
		check_dirty_columns(options);
}

/* What is asked for beside a pack, NULL when nothing is. */
static const char *shown(const struct dump_options *options)
{
	return options->superblock ? "--superblock" : has_tables(options) || options->sectors.given ? "tables" :
	       wants_dirty(options) ? "--list-dirty" : options->data ? "--data" : options->map || options->svg ? "pictures" : NULL;
}

/* What follows from several options together. */
static void settle_options(struct dump_options *options)
{
	check_columns(options);
	pack_check_usage(&options->pack, shown(options));
	if (options->data && (options->superblock || has_tables(options) || options->sectors.given || wants_dirty(options) ||
			      options->map || options->svg))
		usage_error("--data goes with nothing else that is shown");
	if (options->metadata_only && wants_dirty(options))
		usage_error("what would be written depends on checksums, which --metadata-only does not compute");
	policy_settle(&options->common, &options->decide, &options->ring, &options->memory);
	options->common.overrides.memory = options->memory;
	options->ring.metadata_only = options->metadata_only;
}

/* ---- opening ---- */

/* Whatever stands in sector 0 is shown, as long as something follows it. */
static int open_cache(struct work *work)
{
	struct wb_overrides overrides = common_of(work)->overrides;
	struct wb_error err;

	overrides.any_super = true;
	int status = 0, ret = wb_cache_open(&work->cache, work->dev, &overrides, &err);

	if (ret && err.code == WB_EWRAP) {
		overrides.address = WB_ADDRESS_LINEAR;
		ret = wb_cache_open(&work->cache, work->dev, &overrides, &err);
	}
	if (ret) {
		overrides.any_super = !is_ended(work); /* an ended log that left no valid segment */
		status = common_open_cache(common_of(work), &work->cache, work->dev, work->path,
					   &overrides);
	}
	if (!status && work->cache.wraps && common_of(work)->overrides.address == WB_ADDRESS_AUTO)
		common_warn(common_of(work),
			    "%s: larger than 2 TiB, where drivers compute slot addresses modulo 2^32 "
			    "sectors; "
			    "this shows --slot-address=linear, compare it with --slot-address=wrap",
			    work->path);
	return status;
}

static int open_backing(struct work *work)
{
	int status;

	if (!work->backing_path)
		return 0;
	if (wb_dev_pack_info(work->dev))
		return common_refuse(common_of(work), work->path, "a pack holds no data that could be compared with BACKING: leave "
				     "BACKING out");
	status = refuse_backing_container(common_of(work), work->backing_path);
	if (!status)
		status = common_open(common_of(work), &work->backing, work->backing_path, WB_OPEN_READ);
	if (!status && wb_dev_same(work->dev, work->backing))
		status = common_refuse(common_of(work), work->backing_path, "CACHE and BACKING are the same device");
	return status;
}

static int count_finding(void *context, const struct wb_finding *finding)
{
	struct work *work = context;

	work->damage[finding->rule] += finding->severity == WB_DAMAGE;
	return 0;
}

/* Without memory for the map the segment still counts as part-readable. */
static void note_lost(void *context, uint64_t offset, uint64_t length)
{
	struct work *work = context;

	wb_map_add(&work->lost, offset, length, NULL);
}

static int load(struct work *work)
{
	struct wb_ring_options options = work->options->ring;
	struct wb_error err;

	if (!work->cache.geometry.format)
		return 0;
	if (work->backing)
		options.backing_sectors = wb_backing_sectors(work->backing);
	options.context = work;
	options.unreadable = note_lost;
	if (wb_ring_load(&work->ring, &work->cache, &options, &common_of(work)->progress, &err) ||
	    wb_check(&work->ring, NULL, count_finding, work, &err))
		return common_failed(common_of(work), work->path, &err, NULL);
	if (options.timeline != WB_TIMELINE_NONE && !work->ring.restarted)
		return common_refuse(common_of(work), work->path, "--timeline: this ring was not restarted");
	return 0;
}

/* ---- the work ---- */

static void warn_of_sector0(const struct work *work)
{
	if (work->cache.super == WB_SUPER_ENDED && !is_ended(work))
		common_warn(common_of(work), "%s: %s", work->path, words_marker(&work->cache.marker, true));
	else if (!is_ended(work) && work->cache.super != WB_SUPER_GOOD)
		common_warn(common_of(work),
			    "%s: sector 0 is %s; what is shown rests on the segments alone", work->path,
			    super_name(work->cache.super));
}

/* Between two things that are shown. */
static void separate(bool *begun)
{
	if (*begun && !report_json())
		putchar('\n');
	*begun = true;
}

/* What salvage corrects is shown corrected, so the ring as it is comes first. */
static int show(struct work *work)
{
	const struct dump_options *options = work->options;
	bool begun = false;
	int status = 0;

	if (options->superblock) {
		separate(&begun);
		show_superblock(work);
	}
	if (has_tables(options)) {
		separate(&begun);
		status = show_tables(work);
	}
	if (options->map && !status) {
		separate(&begun);
		status = show_map(work);
	}
	if (options->svg && !status)
		status = draw_svg(work);
	if (options->sectors.given && !status) {
		separate(&begun);
		status = show_history(work);
	}
	if (wants_dirty(options) && !status) {
		separate(&begun);
		status = list_dirty(work);
	}
	if (!begun && !options->svg)
		say_summary(work);
	else if (begun || options->svg)
		warn_of_sector0(work);
	return status;
}

static int dump(struct work *work)
{
	char foreign[512];
	int status = common_open(common_of(work), &work->dev, work->path, WB_OPEN_READ | WB_OPEN_PACK);

	if (!status)
		status = part_choose(common_of(work), &work->dev, work->path, PART_LOOK, foreign, sizeof(foreign));
	if (!status && work->options->pack.unpack)
		return pack_unpack(common_of(work), &work->options->pack, work->dev, work->path);
	if (!status)
		status = open_backing(work);
	if (!status)
		status = open_cache(work);
	if (!status && work->options->data)
		return show_data(work);
	if (!status && work->options->pack.pack)
		return pack_write(common_of(work), &work->options->pack, &work->cache, work->backing, work->path);
	if (!status)
		status = output_create(common_of(work), &work->domain_map, work->options->domain_map);
	if (!status)
		status = output_create(common_of(work), &work->svg, work->options->svg);
	if (!status)
		status = load(work);
	if (status)
		return status;
	summarise(work);
	return show(work);
}

int main(int argc, char **argv)
{
	struct dump_options options = { .superblock = false };
	struct work work = { .options = &options };
	int status;

	signal(SIGPIPE, SIG_DFL); /* a reader that has seen enough ends us quietly, whoever started us */
	common_start(&options.common, &command, &options, argc, argv);
	settle_options(&options);
	work.path = options.common.operands[0];
	work.backing_path = options.common.operand_count > 1 ? options.common.operands[1] : NULL;
	const struct output_name files[] = {
		{ "--domain-map", options.domain_map }, { "--svg", options.svg }, { "--pack", options.pack.pack },
		{ "--unpack", options.pack.unpack },
	};

	status = output_check(&options.common, files, sizeof(files) / sizeof(files[0]));
	if (!status)
		status = dump(&work);
	output_abandon(&work.domain_map);
	output_abandon(&work.svg);
	wb_ring_release(&work.ring);
	wb_map_release(&work.lost);
	wb_dev_close(work.backing);
	wb_dev_close(work.dev);
	free(options.output);
	free(options.domain_map);
	free(options.svg);
	pack_release(&options.pack);
	return common_finish(&options.common, status);
}
