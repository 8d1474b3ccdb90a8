/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wb-dump: shows what is on a cache, a summary for a bug report or tables of segments and metablocks. Writes nothing. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "pack.h"
#include "report.h"
#include "words.h"

#define BATCH 256u
#define HOLE_RANGES 4u

struct range {
	bool given;
	uint64_t first, last;
};

struct dump_options {
	struct common common;
	bool superblock, segments, metablocks;
	struct range ids, slots;
	struct pack_options pack;
};

enum { OPT_SUPERBLOCK = 1, OPT_SEGMENTS, OPT_SEGMENT, OPT_SLOT, OPT_METABLOCKS, OPT_PACK, OPT_OBFUSCATE,
       OPT_METADATA_ONLY, OPT_UNPACK };

static const struct poptOption dump_table[] = {
	{ "superblock", '\0', POPT_ARG_NONE, NULL, OPT_SUPERBLOCK, "the superblock, field by field",
	  NULL },
	{ "segments", '\0', POPT_ARG_NONE, NULL, OPT_SEGMENTS,
	  "every slot that is not empty (with -v the empty ones too)", NULL },
	{ "segment", '\0', POPT_ARG_STRING, NULL, OPT_SEGMENT,
	  "the segments with these ids, and their metablocks", "ID[-ID]" },
	{ "slot", '\0', POPT_ARG_STRING, NULL, OPT_SLOT, "the same by slot; the first slot is 0",
	  "K[-K]" },
	{ "metablocks", '\0', POPT_ARG_NONE, NULL, OPT_METABLOCKS,
	  "metablocks of the live segments, or of the chosen ones", NULL },
	{ "pack", '\0', POPT_ARG_STRING, NULL, OPT_PACK, "write the metadata, and no data, for a bug report", "FILE" },
	{ "obfuscate", '\0', POPT_ARG_NONE, NULL, OPT_OBFUSCATE, "with --pack: move the sectors of the backing device", NULL },
	{ "metadata-only", '\0', POPT_ARG_NONE, NULL, OPT_METADATA_ONLY, "with --pack: read no data, compute no checksums", NULL },
	{ "unpack", '\0', POPT_ARG_STRING, NULL, OPT_UNPACK, "make an image of a pack that checks the same", "FILE" },
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

static void handle(void *options, int val, const char *argument)
{
	struct dump_options *dump = options;

	switch (val) {
	case OPT_SUPERBLOCK: dump->superblock = true; break;
	case OPT_SEGMENTS: dump->segments = true; break;
	case OPT_SEGMENT: dump->ids = range_of("--segment", argument); break;
	case OPT_SLOT: dump->slots = range_of("--slot", argument); break;
	case OPT_METABLOCKS: dump->metablocks = true; break;
	case OPT_PACK: pack_set_file("--pack", &dump->pack.pack, argument); break;
	case OPT_OBFUSCATE: dump->pack.obfuscate = true; break;
	case OPT_METADATA_ONLY: dump->pack.metadata_only = true; break;
	case OPT_UNPACK: pack_set_file("--unpack", &dump->pack.unpack, argument); break;
	default: break;
	}
}

static const struct command command = {
	.name = "wb-dump",
	.purpose = "show what is on a dm-writeboost cache",
	.operands = "CACHE",
	.operands_min = 1,
	.operands_max = 1,
	.options = dump_table,
	.handle = handle,
};

struct work {
	const struct dump_options *options;
	const char *path;
	struct wb_dev *dev;
	struct wb_cache cache;
	struct wb_ring ring;
	uint64_t found[WB_RULES]; /* findings by rule */
};

static const struct common *common_of(const struct work *work)
{
	return &work->options->common;
}

/* An ended log may leave nothing that tells its geometry. */
static bool has_ring(const struct work *work)
{
	return work->ring.slots != NULL;
}

static bool is_ended(const struct work *work)
{
	return work->cache.super == WB_SUPER_ENDED;
}

static bool has_tables(const struct dump_options *options)
{
	return options->segments || options->metablocks || options->ids.given || options->slots.given;
}

/* ---- words ---- */

/* Text that grows in a fixed array; what does not fit is cut. */
struct text {
	char bytes[256];
	size_t used;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
	size_t room = sizeof(text->bytes) - text->used;
	va_list args;

	va_start(args, format);
	int n = vsnprintf(text->bytes + text->used, room, format, args);
	va_end(args);
	if (n > 0)
		text->used += (size_t)n < room ? (size_t)n : room - 1;
}

static const char *reason_name(enum wb_end_reason reason)
{
	static const char *const names[] = {
		[WB_END_FLUSHED] = "flushed",
		[WB_END_FORMAT] = "format",
		[WB_END_RESET] = "reset",
	};

	return names[reason];
}

static const char *super_name(enum wb_super super)
{
	switch (super) {
	case WB_SUPER_GOOD: return "good";
	case WB_SUPER_ZEROED: return "zeroed";
	case WB_SUPER_DAMAGED: return "damaged";
	case WB_SUPER_ENDED: return "ended";
	}
	return "";
}

static struct text super_words(const struct wb_cache *cache)
{
	struct text text = { .used = 0 };

	add(&text, "%s", super_name(cache->super));
	if (cache->super == WB_SUPER_ENDED)
		add(&text, ": %s", words_marker(&cache->marker));
	if (cache->super == WB_SUPER_ZEROED)
		add(&text, ": sector 0 is all zero, no driver takes this for a cache");
	if (cache->super == WB_SUPER_DAMAGED)
		add(&text, ": sector 0 is not what any driver writes");
	return text;
}

static const char *record_name(enum wb_record_state state)
{
	static const char *const names[] = {
		[WB_RECORD_NONE] = "none",
		[WB_RECORD_SOUND] = "sound",
		[WB_RECORD_MISSING] = "missing",
		[WB_RECORD_GARBAGE] = "garbage",
	};

	return names[state];
}

static uint64_t end_of_slots(const struct wb_geometry *geometry, uint64_t slots)
{
	return slots * wb_slot_size(geometry) + WB_FIRST_SLOT;
}

static bool has_room(const struct wb_geometry *geometry, uint64_t slots)
{
	return end_of_slots(geometry, slots) <= geometry->bytes;
}

static uint64_t unused_tail(const struct wb_geometry *geometry)
{
	return geometry->bytes - end_of_slots(geometry, geometry->slots);
}

static struct text classes_words(const struct wb_ring *ring)
{
	struct text text = { .used = 0 };

	for (unsigned i = 0; i < WB_CLASSES; i++)
		if (ring->classes[i])
			add(&text, "%s%" PRIu64 " %s", text.used ? ", " : "", ring->classes[i],
			    wb_class_name((enum wb_class)i));
	return text;
}

/* The next run of holes at or after *id; false when there is none. */
static bool next_holes(const struct wb_ring *ring, uint64_t *id, struct range *run)
{
	while (*id <= ring->head && !wb_ring_is_hole(ring, *id))
		(*id)++;
	if (*id > ring->head)
		return false;
	run->first = *id;
	while (*id <= ring->head && wb_ring_is_hole(ring, *id))
		run->last = (*id)++;
	return true;
}

static struct text holes_words(const struct wb_ring *ring)
{
	struct text text = { .used = 0 };
	uint64_t id = ring->first, shown = 0;
	struct range run;

	if (!ring->holes)
		add(&text, "none");
	for (unsigned i = 0; i < HOLE_RANGES && next_holes(ring, &id, &run); i++) {
		add(&text, "%s%" PRIu64, i ? ", " : "", run.first);
		if (run.last != run.first)
			add(&text, "-%" PRIu64, run.last);
		shown += run.last - run.first + 1;
	}
	if (shown < ring->holes)
		add(&text, " and %" PRIu64 " more", ring->holes - shown);
	return text;
}

static struct text patterns_words(const struct wb_ring *ring)
{
	struct text text = { .used = 0 };

	if (ring->destroyed)
		add(&text, "destroyed: headers stand where a log put them, and none is valid");
	if (ring->shifted)
		add(&text, "%sshifted: the start of the device moved", text.used ? "; " : "");
	if (ring->restarted)
		add(&text, "%srestarted: ids 1 to %" PRIu64 " lie below an older ring",
		    text.used ? "; " : "", ring->restarted);
	if (!ring->resized)
		return text;
	add(&text, "%sresized: it had ", text.used ? "; " : "");
	for (unsigned i = 0; i < ring->candidate_count && i < WB_CANDIDATES; i++)
		add(&text, "%s%" PRIu64, i ? " or " : "", ring->candidates[i]);
	if (ring->candidate_count > WB_CANDIDATES)
		add(&text, " or one of %u more", ring->candidate_count - WB_CANDIDATES);
	add(&text, " slots");
	return text;
}

/* ---- the verdict ---- */

static uint64_t damage(const struct work *work)
{
	uint64_t count = 0;

	for (unsigned rule = 0; rule < WB_RULES; rule++)
		if (wb_rule_info((enum wb_rule)rule)->severity == WB_DAMAGE)
			count += work->found[rule];
	return count;
}

static struct text damage_words(const struct work *work)
{
	struct text text = { .used = 0 };

	for (unsigned rule = 0; rule < WB_RULES; rule++)
		if (work->found[rule] && wb_rule_info((enum wb_rule)rule)->severity == WB_DAMAGE)
			add(&text, "%s%s", text.used ? ", " : "",
			    wb_rule_info((enum wb_rule)rule)->name);
	return text;
}

/* Segments lie where this geometry does not look for them, or none is whole. */
static bool dirty_is_unknown(const struct wb_ring *ring)
{
	return ring->resized || ring->shifted || ring->destroyed;
}

static void say_ended_verdict(const struct work *work)
{
	const struct common *common = common_of(work);

	if (work->cache.marker.reason == WB_END_FORMAT) {
		common_say(common,
			   "verdict      an interrupted format; there is nothing to write back");
		common_say(common, "next         wb-format %s", work->path);
	} else {
		common_say(common,
			   "verdict      the log has been ended; no driver will replay it again");
		common_say(common, "next         nothing to do; wb-format %s makes a new cache of it",
			   work->path);
	}
}

static void say_damaged_verdict(const struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_ring *ring = &work->ring;

	if (dirty_is_unknown(ring))
		common_say(common,
			   "verdict      damaged (%s); dirty data may exist only in this cache, change "
			   "nothing yet",
			   damage_words(work).bytes);
	else
		common_say(common,
			   "verdict      damaged (%s); up to %s may exist only in this cache, change "
			   "nothing yet",
			   damage_words(work).bytes, human_size(ring->dirty_sectors * WB_SECTOR));
	if (ring->resized && has_room(&work->cache.geometry, ring->candidates[0]))
		common_say(common, "next         wb-check --slots=%" PRIu64 " %s", ring->candidates[0],
			   work->path);
	else if (ring->resized)
		common_say(common,
			   "next         give the device its old size back (%" PRIu64
			   " bytes or more), then wb-check %s",
			   end_of_slots(&work->cache.geometry, ring->candidates[0]), work->path);
	else
		common_say(common, "next         wb-check %s", work->path);
}

static void say_verdict(const struct work *work)
{
	const struct common *common = common_of(work);
	const char *dirty = human_size(work->ring.dirty_sectors * WB_SECTOR);

	if (is_ended(work)) {
		say_ended_verdict(work);
	} else if (damage(work)) {
		say_damaged_verdict(work);
	} else if (work->ring.dirty_sectors) {
		common_say(common, "verdict      no damage; up to %s dirty, needed until written back",
			   dirty);
		common_say(common, "next         wb-flush-dirty -n %s BACKING", work->path);
	} else {
		common_say(common, "verdict      no damage; nothing is dirty");
		common_say(common, "next         nothing to do");
	}
}

/* ---- the summary ---- */

static void say_geometry(const struct work *work)
{
	const struct wb_geometry *geometry = &work->cache.geometry;

	common_say(common_of(work), "generation   %s", words_generation(&work->cache));
	common_say(common_of(work),
		   "geometry     order %u: %" PRIu32 " slots of %s, %" PRIu32
		   " block%s per segment, unused tail %" PRIu64 " bytes%s",
		   geometry->order, geometry->slots, human_size(wb_slot_size(geometry)),
		   geometry->capacity, geometry->capacity == 1 ? "" : "s", unused_tail(geometry),
		   geometry->wrap ? ", addresses modulo 2 TiB" : "");
}

static void say_seals(const struct work *work)
{
	const struct wb_ring *ring = &work->ring;

	if (ring->classes[WB_EMPTY] == work->cache.geometry.slots)
		common_say(common_of(work), "checksums    none yet");
	else if (work->cache.geometry.format->seal == WB_SEAL_LAP)
		common_say(common_of(work), "checksums    none in this generation: laps only, nothing "
					    "covers the data blocks");
	else if (ring->plain_seals + ring->raw_seals == 0)
		common_say(common_of(work), "checksums    none that holds");
	else
		common_say(common_of(work),
			   "checksums    %" PRIu64 " plain, %" PRIu64
			   " raw (without the final complement: 1.0.x, 2.0.0, 2.0.1)",
			   ring->plain_seals, ring->raw_seals);
}

static void say_dirty(const struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_ring *ring = &work->ring;

	if (dirty_is_unknown(ring))
		common_say(common, "dirty        cannot be told from a log in this state");
	else if (!ring->dirty_blocks)
		common_say(common, "dirty        nothing%s", ring->holes ? " outside the holes" : "");
	else
		common_say(common,
			   "dirty        up to %" PRIu64 " blocks, %" PRIu64
			   " sectors, %s (every version counted%s)%s",
			   ring->dirty_blocks, ring->dirty_sectors,
			   human_size(ring->dirty_sectors * WB_SECTOR),
			   ring->holes ? ", the holes not" : "",
			   is_ended(work) ? "; of no use after the end" : "");
}

static void say_log(const struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_ring *ring = &work->ring;

	common_say(common, "record       %" PRIu64 ", %s", work->cache.record, words_record(&work->ring));
	if (ring->classes[WB_EMPTY] == work->cache.geometry.slots)
		common_say(common, "log          empty, no segment has been written");
	else if (!ring->head)
		common_say(common, "log          no valid segment");
	else if (ring->first > ring->head)
		common_say(common, "log          newest id %" PRIu64 ", the window is empty",
			   ring->head);
	else
		common_say(common,
			   "log          newest id %" PRIu64 ", window %" PRIu64 " ... %" PRIu64,
			   ring->head, ring->first, ring->head);
	common_say(common, "slots        %s", classes_words(ring).bytes);
	common_say(common, "holes        %s", holes_words(ring).bytes);
	if (patterns_words(ring).used)
		common_say(common, "patterns     %s", patterns_words(ring).bytes);
	say_dirty(work);
	say_seals(work);
}

static void say_summary(const struct work *work)
{
	const struct common *common = common_of(work);

	common_say(common, "wb-dump      %s", WB_VERSION);
	common_say(common, "cache        %s, %" PRIu64 " bytes (%s)%s", work->path,
		   wb_dev_size(work->dev), human_size(wb_dev_size(work->dev)),
		   wb_dev_busy(work->dev) ? ", in use: the picture may move" : pack_words(work->dev));
	if (common->verbose)
		pack_say_facts(common, work->dev);
	common_say(common, "superblock   %s", super_words(&work->cache).bytes);
	if (has_ring(work)) {
		say_geometry(work);
		say_log(work);
	} else {
		common_say(common, "log          no segment is left that could be read");
		if (work->cache.marker.head)
			common_say(common, "newest id    %" PRIu64 " when it was ended",
				   work->cache.marker.head);
	}
	say_verdict(work);
}

static void summarise_holes(struct json_object *summary, const struct wb_ring *ring)
{
	struct json_object *runs = json_object_new_array();
	uint64_t id = ring->first;
	struct range run;

	for (unsigned i = 0; i < 64 && id && next_holes(ring, &id, &run); i++) {
		struct json_object *pair = json_object_new_array();

		json_object_array_add(pair, json_object_new_uint64(run.first));
		json_object_array_add(pair, json_object_new_uint64(run.last));
		json_object_array_add(runs, pair);
	}
	json_object_object_add(summary, "hole_ids", runs);
}

static void summarise_ring(struct json_object *summary, const struct work *work)
{
	const struct wb_ring *ring = &work->ring;
	struct json_object *classes = json_object_new_object();
	struct json_object *candidates = json_object_new_array();

	for (unsigned i = 0; i < WB_CLASSES; i++)
		if (ring->classes[i])
			report_u64(classes, wb_class_name((enum wb_class)i), ring->classes[i]);
	for (unsigned i = 0; i < ring->candidate_count && i < WB_CANDIDATES; i++)
		json_object_array_add(candidates, json_object_new_uint64(ring->candidates[i]));
	json_object_object_add(summary, "classes", classes);
	json_object_object_add(summary, "candidates", candidates);
	report_text(summary, "record_state", record_name(ring->record_state));
	report_bool(summary, "resized", ring->resized);
	report_bool(summary, "shifted", ring->shifted);
	report_bool(summary, "destroyed", ring->destroyed);
	report_u64(summary, "restarted", ring->restarted);
	report_u64(summary, "raw_checksums", ring->raw_seals);
	report_u64(summary, "plain_checksums", ring->plain_seals);
	summarise_holes(summary, ring);
}

static void summarise(const struct work *work)
{
	struct json_object *summary = report_summary();
	const struct wb_cache *cache = &work->cache;
	const struct wb_ring *ring = &work->ring;

	if (!summary)
		return;
	report_u64(summary, "bytes", wb_dev_size(work->dev));
	report_text(summary, "superblock", super_name(cache->super));
	report_text(summary, "generation",
		    cache->geometry.format ? cache->geometry.format->name : NULL);
	report_u64(summary, "evidence", cache->evidence);
	report_u64(summary, "order", cache->geometry.order);
	report_u64(summary, "slots", cache->geometry.slots);
	report_u64(summary, "record", cache->record);
	report_u64(summary, "head", has_ring(work) ? ring->head : cache->marker.head);
	report_u64(summary, "first", ring->first);
	report_u64(summary, "holes", ring->holes);
	report_u64(summary, "dirty_blocks", is_ended(work) ? 0 : ring->dirty_blocks);
	report_u64(summary, "dirty_sectors", is_ended(work) ? 0 : ring->dirty_sectors);
	report_bool(summary, "ended", is_ended(work));
	report_bool(summary, "busy", wb_dev_busy(work->dev));
	report_bool(summary, "wraps", cache->wraps);
	report_u64(summary, "damage", damage(work));
	if (has_ring(work))
		summarise_ring(summary, work);
}

/* ---- --superblock ---- */

static void print_field(unsigned offset, const char *name, const char *value)
{
	printf("%8u  %-14s  %s\n", offset, name, value);
}

static struct text hex_of(const uint8_t *bytes, unsigned n)
{
	struct text text = { .used = 0 };

	for (unsigned i = 0; i < n; i++)
		add(&text, "%s%02x", i ? " " : "", bytes[i]);
	return text;
}

/* What stands behind the fields, which in every sound header is zero. */
static struct text rest_words(const uint8_t *sector, unsigned from)
{
	struct text text = { .used = 0 };
	unsigned count = 0, first = 0;

	for (unsigned i = from; i < WB_SECTOR; i++)
		if (sector[i] && !count++)
			first = i;
	if (!count)
		add(&text, "zero");
	else
		add(&text, "%u bytes are not zero, the first at byte %u", count, first);
	return text;
}

static void print_marker(const struct wb_marker *marker)
{
	struct text text;

	print_field(0, "marker", "WBended, version 1");
	print_field(12, "reason", reason_name(marker->reason));
	print_field(16, "time", words_marker(marker));
	text = (struct text){ .used = 0 };
	add(&text, "%" PRIu64, marker->head);
	print_field(24, "newest id", text.bytes);
	text = (struct text){ .used = 0 };
	add(&text, "0x%016" PRIx64, marker->digest);
	print_field(32, "header digest", text.bytes);
	text = (struct text){ .used = 0 };
	add(&text, "%" PRIu64 "%s", marker->backing_bytes, marker->backing_bytes ? "" : " (not known)");
	print_field(40, "BACKING bytes", text.bytes);
}

static void print_header(const struct wb_cache *cache)
{
	static const uint8_t magic[4] = { 0x74, 0x73, 0x42, 0x57 };
	bool good = memcmp(cache->sector0, magic, sizeof(magic)) == 0;
	struct text text = hex_of(cache->sector0, 4);

	add(&text, "%s",
	    good ? "  writeboost's magic" : "  not writeboost's magic, which is 74 73 42 57");
	print_field(0, "magic", text.bytes);
	text = (struct text){ .used = 0 };
	add(&text, "%u%s", cache->order_byte,
	    cache->order_byte ? "" : " (v2 leaves it 0: its order is always 10)");
	print_field(4, "order", text.bytes);
	print_field(5, "rest of sector", rest_words(cache->sector0, 5).bytes);
}

static void show_superblock(const struct work *work)
{
	const struct wb_cache *cache = &work->cache;
	struct json_object *record = report_record("superblock");

	report_text(record, "state", super_name(cache->super));
	report_u64(record, "offset", 0);
	report_text(record, "magic", hex_of(cache->sector0, 4).bytes);
	report_int(record, "order_byte", cache->order_byte);
	report_u64(record, "record_offset", WB_RECORD_OFFSET);
	report_u64(record, "record", cache->record);
	if (is_ended(work)) {
		report_text(record, "reason", reason_name(cache->marker.reason));
		report_u64(record, "time", cache->marker.time);
		report_u64(record, "head", cache->marker.head);
		report_u64(record, "digest", cache->marker.digest);
		report_u64(record, "backing_bytes", cache->marker.backing_bytes);
	}
	report_emit(record);
	if (report_json())
		return;
	struct text text = { .used = 0 };

	printf("superblock: %s\n    byte  field           value\n", super_words(cache).bytes);
	if (is_ended(work))
		print_marker(&cache->marker);
	else
		print_header(cache);
	add(&text, "%" PRIu64 "%s%s", cache->record, has_ring(work) ? ", " : "",
	    has_ring(work) ? words_record(&work->ring) : "");
	print_field(WB_RECORD_OFFSET, "record", text.bytes);
}

/* ---- tables: which slots ---- */

struct choice {
	uint64_t id;
	uint32_t slot;
};

struct table {
	const struct work *work;
	struct choice *choices;
	uint32_t count;
	bool rows, blocks; /* segments, metablocks */
	int slot_width, id_width, offset_width;
};

static bool in_range(const struct range *range, uint64_t value)
{
	return range->given && value >= range->first && value <= range->last;
}

static bool is_chosen(const struct dump_options *options, const struct wb_slot *slot, uint32_t index)
{
	if (options->ids.given || options->slots.given)
		return (slot->id && in_range(&options->ids, slot->id)) ||
		       in_range(&options->slots, index);
	if (!options->segments)
		return slot->class_ == WB_LIVE;
	return options->common.verbose || slot->class_ != WB_EMPTY;
}

static int by_id(const void *a, const void *b)
{
	const struct choice *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static int width_of(uint64_t value, int least)
{
	int width = snprintf(NULL, 0, "%" PRIu64, value);

	return width > least ? width : least;
}

static bool choose(struct table *table)
{
	const struct work *work = table->work;
	const struct wb_ring *ring = &work->ring;
	uint32_t slots = work->cache.geometry.slots;
	uint64_t largest = 0;

	table->choices = malloc(sizeof(*table->choices) * slots);
	if (!table->choices)
		return false;
	for (uint32_t i = 0; i < slots; i++) {
		if (!is_chosen(work->options, &ring->slots[i], i))
			continue;
		table->choices[table->count++] = (struct choice){ .id = ring->slots[i].id, .slot = i };
		if (ring->slots[i].id > largest)
			largest = ring->slots[i].id;
	}
	if (work->options->ids.given && !work->options->slots.given)
		qsort(table->choices, table->count, sizeof(*table->choices), by_id);
	table->slot_width = width_of(slots - 1, 4);
	table->id_width = width_of(largest, 4);
	table->offset_width = width_of(work->cache.geometry.bytes, 6);
	return true;
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

/* ---- tables: rows ---- */

struct seal_words {
	const char *name, *words;
};

static struct seal_words seal_of(const struct wb_format *format, const struct wb_slot *slot)
{
	bool sealed = slot->flags & WB_SLOT_SEALED;

	if (slot->flags & WB_SLOT_NO_HEADER)
		return (struct seal_words){ "unreadable", "unreadable" };
	if (!slot->id && !(slot->flags & WB_SLOT_GARBAGE))
		return (struct seal_words){ "none", "-" };
	if (format->seal == WB_SEAL_LAP && sealed)
		return slot->flags & WB_SLOT_LAP ? (struct seal_words){ "laps", "laps hold" }
						 : (struct seal_words){ "wrong-lap", "wrong lap" };
	if (sealed)
		return slot->flags & WB_SLOT_RAW ? (struct seal_words){ "raw", "sealed raw" }
						 : (struct seal_words){ "plain", "sealed plain" };
	if (slot->flags & WB_SLOT_ONE_BIT)
		return (struct seal_words){ "one-bit", "one bit" };
	if (slot->flags & WB_SLOT_NO_DATA)
		return (struct seal_words){ "part-readable", "unreadable" };
	return (struct seal_words){ "broken", format->seal == WB_SEAL_LAP ? "laps differ" : "broken" };
}

static void print_row_header(const struct table *table)
{
	printf("%*s  %*s  %-13s  %6s  %6s  %7s  %10s  %-12s  %*s\n", table->slot_width, "slot",
	       table->id_width, "id", "class", "length", "dirty", "sectors",
	       table->work->cache.geometry.format->seal == WB_SEAL_LAP ? "lap" : "checksum", "seal",
	       table->offset_width, "offset");
}

static void show_row(const struct table *table, uint32_t index, const struct wb_header *header)
{
	const struct wb_geometry *geometry = &table->work->cache.geometry;
	const struct wb_slot *slot = &table->work->ring.slots[index];
	struct seal_words seal = seal_of(geometry->format, slot);
	bool laps = geometry->format->seal == WB_SEAL_LAP;
	struct json_object *record = report_record("segment");
	char stored[16] = "-";

	report_u64(record, "slot", index);
	report_u64(record, "id", slot->id);
	report_u64(record, "length", slot->length);
	report_text(record, "class", wb_class_name((enum wb_class)slot->class_));
	report_u64(record, "dirty_blocks", slot->dirty_blocks);
	report_u64(record, "dirty_sectors", slot->dirty_sectors);
	report_u64(record, "due_id", wb_ring_due(&table->work->ring, index));
	if (header)
		report_u64(record, laps ? "lap" : "checksum", laps ? header->lap : header->checksum);
	report_text(record, "seal", seal.name);
	report_u64(record, "offset", wb_slot_offset(geometry, index));
	report_emit(record);
	if (report_json())
		return;
	if (header && (slot->id || slot->flags & WB_SLOT_GARBAGE))
		snprintf(stored, sizeof(stored), laps ? "%" PRIu32 : "0x%08" PRIx32,
			 laps ? header->lap : header->checksum);
	printf("%*" PRIu32 "  %*" PRIu64 "  %-13s  %6u  %6u  %7u  %10s  %-12s  %*" PRIu64 "\n",
	       table->slot_width, index, table->id_width, slot->id,
	       wb_class_name((enum wb_class)slot->class_), slot->length, slot->dirty_blocks,
	       slot->dirty_sectors, stored, seal.words, table->offset_width,
	       wb_slot_offset(geometry, index));
}

static void print_block_header(const struct table *table)
{
	bool laps = table->work->cache.geometry.format->lap.width;

	if (table->rows)
		printf("%*s", table->slot_width + 2, "");
	printf("%*s  %5s  %12s  %5s  %s%*s\n", table->id_width, "id", "index", "sector", "dirty",
	       laps ? "       lap  " : "", table->offset_width, "data at");
}

static void show_block(const struct table *table, uint32_t index, const uint8_t *meta, unsigned i)
{
	const struct wb_geometry *geometry = &table->work->cache.geometry;
	uint64_t id = table->work->ring.slots[index].id;
	uint64_t offset = wb_slot_offset(geometry, index) + (uint64_t)WB_BLOCK * (i + 1);
	struct json_object *record = report_record("metablock");
	struct wb_metablock metablock;

	wb_metablock_decode(geometry->format, meta, i, &metablock);
	report_u64(record, "slot", index);
	report_u64(record, "id", id);
	report_u64(record, "index", i);
	report_u64(record, "sector", metablock.sector);
	report_u64(record, "dirty_bits", metablock.dirty);
	if (geometry->format->lap.width)
		report_u64(record, "lap", metablock.lap);
	report_u64(record, "offset", offset);
	report_emit(record);
	if (report_json())
		return;
	if (table->rows)
		printf("%*s", table->slot_width + 2, "");
	printf("%*" PRIu64 "  %5u  %12" PRIu64 "   0x%02x  ", table->id_width, id, i, metablock.sector,
	       metablock.dirty);
	if (geometry->format->lap.width)
		printf("%10" PRIu32 "  ", metablock.lap);
	printf("%*" PRIu64 "\n", table->offset_width, offset);
}

static void show_blocks(const struct table *table, uint32_t index, const uint8_t *meta)
{
	const struct work *work = table->work;
	const struct wb_slot *slot = &work->ring.slots[index];

	if (!meta)
		common_warn(common_of(work),
			    "slot %" PRIu32 ": its metadata cannot be read, no metablocks are shown",
			    index);
	else if (slot->length > work->cache.geometry.capacity)
		common_warn(common_of(work),
			    "slot %" PRIu32 ": it claims %u blocks and a segment holds %" PRIu32
			    ", no metablocks are shown",
			    index, slot->length, work->cache.geometry.capacity);
	else if (table->rows && slot->length && !report_json())
		print_block_header(table);
	for (unsigned i = 0; meta && slot->length <= work->cache.geometry.capacity && i < slot->length;
	     i++)
		show_block(table, index, meta, i);
}

/* Of all slots only the live ones show metablocks; of chosen ones each. */
static bool wants_blocks(const struct table *table, uint32_t index)
{
	const struct dump_options *options = table->work->options;

	return table->blocks && (options->ids.given || options->slots.given ||
				 table->work->ring.slots[index].class_ == WB_LIVE);
}

static void show_slot(const struct table *table, uint32_t index, const uint8_t *meta)
{
	struct wb_header header;

	if (meta)
		wb_header_decode(table->work->cache.geometry.format, meta, &header);
	if (table->rows)
		show_row(table, index, meta ? &header : NULL);
	if (wants_blocks(table, index))
		show_blocks(table, index, meta);
}

static int show_batch(const struct table *table, uint32_t from, unsigned n, uint8_t *metas)
{
	const struct work *work = table->work;
	struct wb_io io[BATCH];

	if (common_of(work)->progress.stop(common_of(work)->progress.context)) {
		const struct wb_error err = { .code = WB_ESTOPPED,
					      .offset = WB_NO_OFFSET,
					      .text = "stopped by a signal" };

		return common_failed(common_of(work), work->path, &err, NULL);
	}
	for (unsigned i = 0; i < n; i++)
		io[i] = (struct wb_io){ .buffer = metas + (size_t)i * WB_BLOCK,
					.length = WB_BLOCK,
					.offset = wb_slot_offset(&work->cache.geometry,
								 table->choices[from + i].slot) };
	wb_dev_submit(work->dev, io, n, NULL); /* each request says for itself how it went */
	for (unsigned i = 0; i < n && !ferror(stdout); i++)
		show_slot(table, table->choices[from + i].slot, io[i].result ? NULL : io[i].buffer);
	return 0;
}

static int show_chosen(const struct table *table)
{
	void *metas;
	int status = 0;

	if (posix_memalign(&metas, WB_BLOCK, (size_t)BATCH * WB_BLOCK))
		return common_refuse(common_of(table->work), table->work->path, "out of memory");
	if (!report_json() && table->count && table->rows)
		print_row_header(table);
	else if (!report_json() && table->count)
		print_block_header(table);
	for (uint32_t from = 0; from < table->count && !status; from += BATCH) {
		unsigned n = table->count - from < BATCH ? table->count - from : BATCH;

		status = show_batch(table, from, n, metas);
	}
	free(metas);
	return status;
}

static bool segment_is_missing(const struct table *table)
{
	const struct range *ids = &table->work->options->ids;

	for (uint32_t i = 0; i < table->count; i++)
		if (table->choices[i].id && in_range(ids, table->choices[i].id))
			return false;
	return ids->given;
}

static int show_tables(const struct work *work)
{
	const struct dump_options *options = work->options;
	bool chosen = options->ids.given || options->slots.given;
	bool both = chosen && !options->segments && !options->metablocks;
	struct table table = { .work = work,
			       .rows = options->segments || both,
			       .blocks = options->metablocks || both };
	int status;

	if (!has_ring(work) && chosen)
		return common_refuse(common_of(work), work->path,
				     "the log was ended, and nothing tells where its segments lay");
	if (!has_ring(work)) {
		common_say(common_of(work),
			   "the log was ended, and no segment of it can be read any more");
		return 0;
	}
	if (options->slots.given && options->slots.last >= work->cache.geometry.slots)
		return refuse_slot(work);
	if (!choose(&table))
		return common_refuse(common_of(work), work->path, "out of memory");
	if (segment_is_missing(&table))
		status = refuse_segment(work);
	else
		status = show_chosen(&table);
	if (!table.count && !status)
		common_say(common_of(work),
			   options->segments ? "no slot has been written" : "no segment is live");
	free(table.choices);
	return status;
}

/* ---- the work ---- */

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

static int count_finding(void *context, const struct wb_finding *finding)
{
	struct work *work = context;

	work->found[finding->rule]++;
	return 0;
}

static int load(struct work *work)
{
	const struct wb_ring_options options = { .jobs = (unsigned)common_of(work)->jobs };
	struct wb_error err;

	if (!work->cache.geometry.format)
		return 0;
	if (wb_ring_load(&work->ring, &work->cache, &options, &common_of(work)->progress, &err) ||
	    wb_check(&work->ring, NULL, count_finding, work, &err))
		return common_failed(common_of(work), work->path, &err, NULL);
	return 0;
}

static int dump(struct work *work)
{
	const struct dump_options *options = work->options;
	int status = common_open(common_of(work), &work->dev, work->path, WB_OPEN_READ | WB_OPEN_PACK);

	if (!status && options->pack.unpack)
		return pack_unpack(common_of(work), &options->pack, work->dev, work->path);
	if (!status)
		status = open_cache(work);
	if (!status && options->pack.pack)
		return pack_write(common_of(work), &options->pack, &work->cache, work->path);
	if (!status)
		status = load(work);
	if (status)
		return status;
	summarise(work);
	if (options->superblock)
		show_superblock(work);
	if (options->superblock && has_tables(options) && !report_json())
		putchar('\n');
	if (has_tables(options))
		status = show_tables(work);
	else if (!options->superblock && !report_json())
		say_summary(work);
	if (has_tables(options) && !is_ended(work) && work->cache.super != WB_SUPER_GOOD)
		common_warn(common_of(work),
			    "%s: sector 0 is %s; what is shown rests on the segments alone", work->path,
			    super_name(work->cache.super));
	return status;
}

int main(int argc, char **argv)
{
	struct dump_options options = { .superblock = false };
	struct work work = { .options = &options };
	int status;

	common_start(&options.common, &command, &options, argc, argv);
	pack_check_usage(&options.pack, options.superblock ? "--superblock" : has_tables(&options) ? "tables" : NULL);
	work.path = options.common.operands[0];
	status = dump(&work);
	wb_ring_release(&work.ring);
	wb_dev_close(work.dev);
	pack_release(&options.pack);
	return common_finish(&options.common, status);
}
