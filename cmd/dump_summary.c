/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What wb-dump says about a cache as a whole: the summary for a bug report, and sector 0 field by field. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "dump.h"
#include "next.h"
#include "part.h"
#include "report.h"
#include "words.h"

#define HOLE_RANGES 4u

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

const char *super_name(enum wb_super super)
{
	switch (super) {
	case WB_SUPER_GOOD: return "good";
	case WB_SUPER_ZEROED: return "zeroed";
	case WB_SUPER_DAMAGED: return "damaged";
	case WB_SUPER_ENDED: return "ended";
	case WB_SUPER_UNREADABLE: return "unreadable";
	}
	return "";
}

static struct text super_words(const struct work *work)
{
	const struct wb_cache *cache = &work->cache;
	struct text text = { .used = 0 };

	add(&text, "%s", super_name(cache->super));
	if (cache->super == WB_SUPER_ENDED)
		add(&text, ": %s", words_marker(&cache->marker, !is_ended(work)));
	if (cache->super == WB_SUPER_ZEROED)
		add(&text, ": sector 0 is all zero, no driver takes this for a cache");
	if (cache->super == WB_SUPER_DAMAGED)
		add(&text, ": sector 0 is not what any driver writes");
	if (cache->super == WB_SUPER_UNREADABLE)
		add(&text, ": the device returns errors for sector 0");
	if (cache->residue)
		add(&text, ", with bytes after the magic that are left over and mean nothing");
	return text;
}

static const char *record_name(enum wb_record_state state)
{
	static const char *const names[] = {
		[WB_RECORD_NONE] = "none",
		[WB_RECORD_SOUND] = "sound",
		[WB_RECORD_MISSING] = "missing",
		[WB_RECORD_GARBAGE] = "garbage",
		[WB_RECORD_UNKNOWN] = "unreadable",
	};

	return names[state];
}

static uint64_t unused_tail(const struct wb_geometry *geometry)
{
	uint64_t used = WB_FIRST_SLOT + geometry->slots * wb_slot_size(geometry);

	return used < geometry->bytes ? geometry->bytes - used : 0;
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

/* The next run of holes at or after *id, when *seen of them have been met; false when that was all. The newest id may be
 * the last one there is, so holes are counted and ids are not compared. */
static bool next_holes(const struct wb_ring *ring, uint64_t *id, uint64_t *seen, struct range *run)
{
	if (*seen >= ring->holes)
		return false;
	while (!wb_ring_is_hole(ring, *id))
		(*id)++;
	run->first = *id;
	for (; *seen < ring->holes && wb_ring_is_hole(ring, *id); ++*seen)
		run->last = (*id)++;
	return true;
}

static struct text holes_words(const struct wb_ring *ring)
{
	struct text text = { .used = 0 };
	uint64_t id = ring->first, shown = 0;
	struct range run = { .first = 0 };

	if (!ring->holes)
		add(&text, "none");
	for (unsigned i = 0; i < HOLE_RANGES && next_holes(ring, &id, &shown, &run); i++) {
		add(&text, "%s%" PRIu64, i ? ", " : "", run.first);
		if (run.last != run.first)
			add(&text, "-%" PRIu64, run.last);
	}
	if (shown < ring->holes)
		add(&text, " and %" PRIu64 " more", ring->holes - shown);
	return text;
}

static struct text candidates_words(const struct wb_ring *ring)
{
	struct text text = { .used = 0 };

	for (unsigned i = 0; i < ring->candidate_count && i < WB_CANDIDATES; i++)
		add(&text, "%s%" PRIu64, i ? " or " : "", ring->candidates[i]);
	if (ring->candidate_count > WB_CANDIDATES)
		add(&text, " or one of %u more", ring->candidate_count - WB_CANDIDATES);
	return text;
}

const char *describe_patterns(const struct wb_ring *ring)
{
	static struct text text;

	text = (struct text){ .used = 0 };
	if (ring->destroyed)
		add(&text, "destroyed: headers stand where a log put them, and none is valid");
	if (ring->shifted)
		add(&text, "%sshifted: the start of the device moved", text.used ? "; " : "");
	if (ring->restarted)
		add(&text, "%srestarted: ids 1 to %" PRIu64 " lie below an older ring",
		    text.used ? "; " : "", ring->restarted);
	if (ring->resized)
		add(&text, "%sresized: it had %s slots", text.used ? "; " : "", candidates_words(ring).bytes);
	return text.bytes;
}

/* ---- the verdict ---- */

static uint64_t damage(const struct work *work)
{
	uint64_t count = 0;

	for (unsigned rule = 0; rule < WB_RULES; rule++)
		count += work->damage[rule];
	return count;
}

static struct text damage_words(const struct work *work)
{
	struct text text = { .used = 0 };

	for (unsigned rule = 0; rule < WB_RULES; rule++)
		if (work->damage[rule])
			add(&text, "%s%s", text.used ? ", " : "",
			    wb_rule_info((enum wb_rule)rule)->name);
	return text;
}

/* Segments lie where this geometry does not look for them, or none is whole. */
static bool dirty_is_unknown(const struct wb_ring *ring)
{
	return ring->resized || ring->shifted || ring->destroyed;
}

__attribute__((format(printf, 2, 3))) static void say_one_verdict(const struct common *common, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	common_say(common, "verdict      %s", text);
	report_text(report_summary(), "verdict", text);
}

static void say_ended_verdict(const struct work *work)
{
	const struct common *common = common_of(work);
	const char *const cache[] = { work->path, NULL };
	const char *part = part_options(work->cache.dev);
	char options[128];

	if (work->cache.marker.reason == WB_END_FORMAT) {
		say_one_verdict(common, "an interrupted format; there is nothing to write back");
		next_step(common, "wb-format", NULL, part_with_options(common, work->cache.dev, "-n", options, sizeof(options)), cache, NULL);
	} else {
		say_one_verdict(common, "no driver will replay this log again%s%s",
				work->cache.marker.partial ? "; left out when it was ended: " : "",
				work->cache.marker.partial ? words_left_out(&work->cache.marker) : "");
		common_say(common, "%13s%s%s is free: wb-format%s makes a new cache of it", "", *part ? "that part of " : "", work->path,
			   part);
	}
}

static void say_damaged_verdict(const struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_ring *ring = &work->ring;
	const struct wb_geometry *geometry = &work->cache.geometry;
	uint64_t missing = wb_geometry_missing(geometry, ring->resized ? ring->candidates[0] : geometry->slots);

	if (dirty_is_unknown(ring))
		say_one_verdict(common, "damaged (%s); dirty data may exist only in this cache, change nothing yet",
				damage_words(work).bytes);
	else
		say_one_verdict(common, "damaged (%s); up to %s may exist only in this cache, change nothing yet",
				damage_words(work).bytes, human_size((ring->dirty_sectors + ring->damaged_sectors) * WB_SECTOR));
	if (missing)
		common_say(common, "%13s%s", "", words_missing(work->dev, missing));
	next_step(common, "wb-check", NULL, NULL, NULL, NULL);
}

static void say_verdict(const struct work *work)
{
	const struct common *common = common_of(work);
	const char *dirty = human_size(work->ring.dirty_sectors * WB_SECTOR);
	const char *const pair[] = { work->path, work->backing_path ? work->backing_path : "BACKING", NULL };
	char options[128];

	if (is_ended(work)) {
		say_ended_verdict(work);
	} else if (damage(work)) {
		say_damaged_verdict(work);
	} else if (work->ring.dirty_sectors) {
		say_one_verdict(common, "no damage; up to %s dirty, needed until written back", dirty);
		if (!wb_dev_pack_info(work->dev))
			next_step(common, "wb-flush-dirty", NULL,
				  part_with_options(common, work->cache.dev, "-n", options, sizeof(options)), pair, NULL);
	} else {
		say_one_verdict(common, "no damage; nothing is dirty");
	}
}

/* ---- the summary ---- */

static void say_geometry(const struct work *work)
{
	const struct wb_geometry *geometry = &work->cache.geometry;

	common_say(common_of(work), "generation   %s", words_generation(&work->cache));
	common_say(common_of(work),
		   "geometry     order %u: %s of %s, %s per segment, unused tail %s%s", geometry->order,
		   count_of(geometry->slots, "slot"), human_size(wb_slot_size(geometry)), count_of(geometry->capacity, "block"),
		   count_of(unused_tail(geometry), "byte"),
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
	else if (ring->options.metadata_only)
		common_say(common_of(work), "checksums    not computed: the classes rest on the headers alone");
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
			   "dirty        up to %s, %s, %s (every version counted%s)%s",
			   count_of(ring->dirty_blocks, "block"), count_of(ring->dirty_sectors, "sector"),
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
	if (*describe_patterns(ring))
		common_say(common, "patterns     %s", describe_patterns(ring));
	say_dirty(work);
	say_seals(work);
}

void say_summary(const struct work *work)
{
	const struct common *common = common_of(work);

	common_say(common, "wb-dump      %s", WB_VERSION);
	common_say(common, "cache        %s, %s (%s)%s", work->path,
		   count_of(wb_dev_size(work->dev), "byte"), human_size(wb_dev_size(work->dev)),
		   wb_dev_busy(work->dev) ? ", in use: the picture may move" : pack_words(work->dev));
	if (common->verbose)
		pack_say_facts(common, work->dev);
	if (work->backing)
		common_say(common, "backing      %s, %s (%s)%s", work->backing_path, count_of(wb_dev_size(work->backing), "byte"),
			   human_size(wb_dev_size(work->backing)), wb_dev_busy(work->backing) ? ", in use" : "");
	common_say(common, "superblock   %s", super_words(work).bytes);
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
	uint64_t id = ring->first, seen = 0;
	struct range run = { .first = 0 };

	for (unsigned i = 0; i < 64 && next_holes(ring, &id, &seen, &run); i++) {
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

void summarise(const struct work *work)
{
	struct json_object *summary = report_summary();
	const struct wb_cache *cache = &work->cache;
	const struct wb_ring *ring = &work->ring;

	if (!summary)
		return;
	report_text(summary, "cache", work->path);
	report_text(summary, "backing", work->backing_path);
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
	report_bool(summary, "dirty_exact", is_ended(work));
	report_bool(summary, "ended", is_ended(work));
	report_bool(summary, "busy", wb_dev_busy(work->dev) || (work->backing && wb_dev_busy(work->backing)));
	report_bool(summary, "metadata_only", ring->options.metadata_only);
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
		add(&text, "%s %s not zero, the first at byte %u", count_of(count, "byte"), count == 1 ? "is" : "are", first);
	return text;
}

static void print_marker(const struct work *work)
{
	const struct wb_marker *marker = &work->cache.marker;
	struct text text = { .used = 0 };

	add(&text, "of wb-utils, version %u", marker->version);
	print_field(0, "marker", text.bytes);
	print_field(12, "reason", reason_name(marker->reason));
	print_field(16, "time", words_marker(marker, !is_ended(work)));
	text = (struct text){ .used = 0 };
	add(&text, "%" PRIu64, marker->head);
	print_field(24, "newest id", text.bytes);
	text = (struct text){ .used = 0 };
	add(&text, "0x%016" PRIx64, marker->digest);
	print_field(32, "header digest", text.bytes);
	text = (struct text){ .used = 0 };
	add(&text, "%" PRIu64 "%s", marker->backing_bytes, marker->backing_bytes ? "" : " (not known)");
	print_field(40, "BACKING bytes", text.bytes);
	if (marker->version < 2)
		return;
	print_field(48, "left out", marker->partial ? words_left_out(marker) : "nothing");
	text = (struct text){ .used = 0 };
	if (marker->format)
		add(&text, "%s, order %u, %s%s", marker->format->name, marker->order, count_of(marker->slots, "segment"),
		    marker->wrap ? ", addresses wrap" : "");
	print_field(72, "geometry", marker->format ? text.bytes : "not known");
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
	    cache->geometry.format && cache->geometry.format->order_stored ? "" : " (v2 does not read it: its order is always 10)");
	print_field(4, "order", text.bytes);
	print_field(5, "rest of sector", rest_words(cache->sector0, 5).bytes);
}

void show_superblock(const struct work *work)
{
	const struct wb_cache *cache = &work->cache;
	struct json_object *record = report_record("superblock");

	report_text(record, "state", super_name(cache->super));
	report_u64(record, "offset", 0);
	report_text(record, "magic", hex_of(cache->sector0, 4).bytes);
	report_int(record, "order_byte", cache->order_byte);
	report_u64(record, "record_offset", WB_RECORD_OFFSET);
	report_u64(record, "record", cache->record);
	if (cache->super == WB_SUPER_ENDED) {
		report_text(record, "reason", reason_name(cache->marker.reason));
		report_u64(record, "time", cache->marker.time);
		report_u64(record, "head", cache->marker.head);
		report_u64(record, "digest", cache->marker.digest);
		report_u64(record, "backing_bytes", cache->marker.backing_bytes);
		report_int(record, "marker_version", cache->marker.version);
		report_bool(record, "partial", cache->marker.partial);
		report_u64(record, "left_segments", cache->marker.left_segments);
		report_u64(record, "left_sectors", cache->marker.left_sectors);
		report_u64(record, "stale_sectors", cache->marker.stale_sectors);
	}
	report_emit(record);
	if (report_json())
		return;
	struct text text = { .used = 0 };

	printf("superblock: %s\n    byte  field           value\n", super_words(work).bytes);
	if (cache->super == WB_SUPER_ENDED)
		print_marker(work);
	else
		print_header(cache);
	add(&text, "%" PRIu64 "%s%s", cache->record, has_ring(work) ? ", " : "",
	    has_ring(work) ? words_record(&work->ring) : "");
	print_field(WB_RECORD_OFFSET, "record", text.bytes);
}
