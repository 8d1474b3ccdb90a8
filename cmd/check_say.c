/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verdict first, then the ring; and both readings where there are two. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "guard.h"
#include "next.h"
#include "part.h"
#include "report.h"
#include "words.h"

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
		common_say(common_of(work), "%-11s %-6s segments %" PRIu64 " to %" PRIu64 ", %" PRIu64 " live, %" PRIu64 " missing, "
			   "%s damaged, up to %s dirty", type, name, reading->first, reading->head, reading->live, reading->holes,
			   count_of(reading->damaged_slots, "slot"), human_size(reading->dirty_sectors * WB_SECTOR));
	else
		common_say(common_of(work), "%-11s %-6s no valid segment", type, name);
}

struct wb_ring_options check_ring_options(const struct work *work)
{
	return (struct wb_ring_options){
		.metadata_only = work->options->metadata_only,
		.jobs = (unsigned)common_of(work)->jobs,
		.backing_sectors = work->backing ? wb_backing_sectors(work->backing) : 0,
	};
}

bool check_address_is_open(const struct work *work)
{
	return work->cache.wraps && common_of(work)->overrides.address == WB_ADDRESS_AUTO &&
	       !(work->cache.super == WB_SUPER_ENDED && work->cache.marker.format); /* which says it */
}

/* The log as the other way to address slots shows it; its table is gone before the one that is reported is loaded. */
int check_read_wrapped(struct work *work)
{
	struct wb_overrides overrides = common_of(work)->overrides;
	const struct wb_ring_options options = check_ring_options(work);
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

int check_tell_readings(struct work *work)
{
	const struct reading linear = reading_of(&work->ring);

	if (check_address_is_open(work)) {
		tell_reading(work, "reading", "linear", &linear);
		tell_reading(work, "reading", "wrap", &work->wrapped);
	}
	return work->ring.restarted ? tell_timelines(work) : 0;
}

/* ---- the report ---- */

bool check_log_is_closed(const struct work *work)
{
	return work->cache.super == WB_SUPER_ENDED && !work->written_after_end;
}

bool check_end_holds(const struct work *work)
{
	return !work->backing || wb_end_is_proven(&work->end);
}

uint64_t check_dirty_sectors(const struct work *work)
{
	if (check_log_is_closed(work))
		return work->proof.dirty_sectors;
	return work->backing ? work->proof.dirty_sectors + work->findings->beyond_sectors : work->ring.dirty_sectors;
}

/* What was left out when the log was ended was dirty; version 1 of the marker does not say whether there was any. */
bool check_is_clean(const struct work *work)
{
	return check_log_is_closed(work) ? !work->cache.marker.partial && check_end_holds(work) : !check_dirty_sectors(work);
}

/* By a marker, or by zeroing sector 0 of a log that is on BACKING: no driver replays either. */
bool check_is_ended(const struct work *work)
{
	const struct wb_marker *marker = &work->cache.marker;

	if (work->findings->folds[WB_RULE_ENDED_BY_ZEROING].count)
		return !work->findings->damage && !check_dirty_sectors(work);
	return check_log_is_closed(work) && check_end_holds(work) && marker->reason != WB_END_FORMAT && marker->version >= 2 && !marker->partial &&
	       !marker->left_segments && !marker->left_sectors;
}

bool check_is_as_required(const struct work *work)
{
	return (!work->options->require_clean || check_is_clean(work)) && (!work->options->require_ended || check_is_ended(work));
}

/* Of this number of slots, or of the smallest that puts all segments in place. A sector is never cut. */
static uint64_t missing_bytes(const struct work *work)
{
	const struct wb_geometry *geometry = &work->cache.geometry;
	uint64_t slots = work->ring.resized ? work->ring.candidates[0] : geometry->slots;
	uint64_t missing = wb_geometry_missing(geometry, slots), rest = geometry->bytes % WB_SECTOR;

	return missing || !rest ? missing : WB_SECTOR - rest;
}

/* " --start=1048576 --size=22020096", for a command line; without --size where the number of slots is not known, or not all
 * of them are there. */
static bool start_options(const struct work *work, unsigned i, char *text, size_t size)
{
	const struct wb_ring *ring = &work->ring;
	uint64_t slots = ring->starts[i].slots;
	uint64_t bytes = WB_FIRST_SLOT + slots * wb_slot_size(&work->cache.geometry);
	int64_t start;

	if (!check_start(ring, i, &start))
		return false;
	snprintf(text, size, " --start=%" PRId64, start);
	if (slots && bytes <= wb_dev_size(wb_dev_whole(work->cache_dev)) - (uint64_t)start)
		append_text(text, size, " --size=%" PRIu64, bytes);
	return true;
}

static void say_start(const struct work *work, unsigned i)
{
	uint64_t slots = work->ring.starts[i].slots;
	int64_t start = work->ring.starts[i].start;
	uint64_t distance = start < 0 ? -(uint64_t)start : (uint64_t)start;
	char options[96], count[64] = "";

	if (!start_options(work, i, options, sizeof(options)))
		options[0] = '\0';
	if (slots)
		snprintf(count, sizeof(count), "%s, ", count_of(slots, "slot"));
	common_say(common_of(work), "candidate  %s%s %s%s %s this start", options, options[0] ? ":" : "", count,
		   count_of(distance, "slot"), start < 0 ? "after" : "before");
}

static void say_geometries(const struct work *work)
{
	const struct wb_ring *ring = &work->ring;
	const struct common *common = common_of(work);

	if (missing_bytes(work))
		common_say(common, "size        %s; %s", count_of(work->cache.geometry.bytes, "byte"),
			   words_missing(work->cache_dev, missing_bytes(work)));
	for (unsigned i = 0; i < ring->candidate_count && i < WB_CANDIDATES; i++) {
		uint64_t missing = wb_geometry_missing(&work->cache.geometry, ring->candidates[i]);

		common_say(common, "candidate   --slots=%" PRIu64 " puts %s in place%s%s", ring->candidates[i],
			   ring->most_agree ? "most segments" : "every segment",
			   missing ? "; " : "", missing ? words_missing(work->cache_dev, missing) : "");
	}
	for (unsigned i = 0; i < ring->start_count && i < WB_CANDIDATES; i++)
		say_start(work, i);
}

static void say_pair(const struct work *work)
{
	const struct common *common = common_of(work);
	struct identity identity;
	char line[1024];

	identify(work->backing_path, &identity);
	identity_line(&identity, work->backing_path, line, sizeof(line));
	identity_release(&identity);
	common_say(common, "backing     %s", line);
	common_say(common, "pair        %s: %s for it, %" PRIu64 " against", wb_pair_name(work->proof.pair),
		   count_of(work->proof.for_, "block"), work->proof.against);
	common_say(common, "truly dirty %s, %s %s from what the log holds", count_of(work->proof.dirty_blocks, "block"),
		   count_of(work->proof.dirty_sectors, "sector"), work->proof.dirty_sectors == 1 ? "differs" : "differ");
	if (work->findings->beyond_blocks)
		common_say(common, "            up to %s more, %s, lie beyond the end of BACKING", count_of(work->findings->beyond_blocks, "block"),
			   count_of(work->findings->beyond_sectors, "sector"));
}

void check_say_ring(const struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_ring *ring = &work->ring;
	const struct wb_geometry *geometry = &work->cache.geometry;

	common_say(common, "generation  %s", words_generation(&work->cache));
	common_say(common, "geometry    order %u: %s of %s, %s each", geometry->order, count_of(geometry->slots, "segment"),
		   human_size(wb_slot_size(geometry)), count_of(geometry->capacity, "block"));
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
	common_say(common, "dirty       up to %s, %s (every version counted)", count_of(ring->dirty_blocks, "block"),
		   human_size(ring->dirty_sectors * WB_SECTOR));
	if (work->backing)
		say_pair(work);
}

/* "up to 12.0 KiB", or "12.0 KiB" where contents were compared and nothing is damaged that may have more */
static const char *at_stake(const struct work *work)
{
	uint64_t damaged = check_log_is_closed(work) ? 0 : work->ring.damaged_sectors;
	static char text[48];

	snprintf(text, sizeof(text), "%s%s", work->backing && !damaged ? "" : "up to ",
		 human_size((check_dirty_sectors(work) + damaged) * WB_SECTOR));
	return text;
}

__attribute__((format(printf, 2, 3))) static void verdict(const struct work *work, const char *format, ...)
{
	char text[1280];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	common_say(common_of(work), "verdict     %s", text);
	report_text(report_summary(), "verdict", text);
}

/* With --repair the steps come after it, when the verdict is said again. */
static bool says_steps(const struct work *work)
{
	return !work->options->repair || work->repaired;
}

/* wb-check again, with another reading of the device. */
static void next_reading(const struct work *work, const char *add, const char *purpose)
{
	if (says_steps(work))
		next_step(common_of(work), NULL, "repair dry-run", add, NULL, purpose);
}

/* With another number of slots; NULL: that of the device. */
static void next_slots(const struct work *work, const char *add, const char *purpose)
{
	if (says_steps(work))
		next_step(common_of(work), NULL, work->ring.beyond && !common_of(work)->overrides.slots ?
			  "repair dry-run slots size" : "repair dry-run slots", add, NULL, purpose);
}

/* Without the options that leave whole segments out. */
static void next_detected(const struct work *work)
{
	const struct wb_geometry *detected = &work->cache.detected;
	char add[64];

	snprintf(add, sizeof(add), "--generation=%s --order=%u", detected->format->name, detected->order);
	if (says_steps(work))
		next_step(common_of(work), NULL, "repair dry-run generation order slots", add, NULL,
			  "as whole segments of the log show it");
}

static void next_with_cache(const struct work *work, const char *tool, const char *add, const char *purpose)
{
	char options[1200];

	if (says_steps(work))
		next_step(common_of(work), tool, NULL, part_with_options(common_of(work), work->cache_dev, add, options, sizeof(options)),
			  (const char *const[]){ work->cache_path, NULL }, purpose);
}

/* A step with CACHE and BACKING; where it was not given, somebody has to know it. */
static void next_with_backing(const struct work *work, const char *tool, const char *add, const char *purpose)
{
	const char *const operands[] = { work->cache_path, work->backing_path ? work->backing_path : "BACKING", NULL };
	char options[1200];

	if (says_steps(work) && !wb_dev_pack_info(work->cache_dev)) /* a pack holds nothing that could be written back */
		next_step(common_of(work), tool, NULL, part_with_options(common_of(work), work->cache_dev, add, options, sizeof(options)), operands, purpose);
}

static void next_flush(const struct work *work, const char *options, const char *purpose)
{
	char add[128];

	snprintf(add, sizeof(add), "-n%s%s", *options ? " " : "", options);
	next_with_backing(work, "wb-flush-dirty", add, purpose);
}

/* One of them is right; a --slots that was given is not. */
static void next_geometries(const struct work *work)
{
	const struct wb_ring *ring = &work->ring;
	char add[48];

	if (!ring->candidate_count && (common_of(work)->overrides.slots || (ring->beyond && common_of(work)->part.given)))
		next_slots(work, NULL, "takes as many slots as the device has");
	else if (!ring->candidate_count)
		next_with_cache(work, "wb-dump", "--segments", "shows where each segment lies; no number of slots fits most");
	for (unsigned i = 0; i < ring->candidate_count && i < WB_CANDIDATES; i++) {
		snprintf(add, sizeof(add), "--slots=%" PRIu64, ring->candidates[i]);
		next_slots(work, add, NULL);
	}
}

/* Starts that fit, unless one was chosen already. */
static void next_starts(const struct work *work)
{
	char options[96];

	for (unsigned i = 0; i < work->ring.start_count && i < WB_CANDIDATES && !common_of(work)->part.given; i++)
		if (start_options(work, i, options, sizeof(options)))
			next_reading(work, options + 1, NULL);
}

/* Where nothing certain can be said before something has been decided. True: the verdict has been said. */
static bool say_verdict_on_geometry(const struct work *work)
{
	const struct wb_ring *ring = &work->ring;

	if (check_address_is_open(work)) {
		verdict(work, "over 2 TiB the log can be read in two ways, and nothing here says which is right. Change nothing yet.");
		next_reading(work, "--slot-address=linear", "the first of the readings below");
		next_reading(work, "--slot-address=wrap", "the second one");
	} else if (work->cache.detected.format) {
		verdict(work, "the options leave out whole segments: these are %s, order %u. Change nothing yet.",
			work->cache.detected.format->name, work->cache.detected.order);
		next_detected(work);
	} else if (ring->resized && missing_bytes(work)) {
		verdict(work, "%s. Change nothing yet.", words_missing(work->cache_dev, missing_bytes(work)));
		next_geometries(work);
	} else if (ring->resized) {
		verdict(work, "the geometry is wrong; what is dirty shows only under the right one. Change nothing yet.");
		next_geometries(work);
	} else if (ring->shifted) {
		verdict(work, "the start of the device is wrong; what is dirty shows only from the right one. Change nothing yet.");
		next_starts(work);
	} else if (ring->destroyed) {
		verdict(work, "no segment is whole, though headers prove a log: all it held may be lost. Change nothing yet.");
		next_with_cache(work, "wb-dump", "--segments", "shows what headers are left");
	} else if (ring->restarted && work->cache.super == WB_SUPER_GOOD) {
		verdict(work, "the log holds two histories, shown below, and only one of them may be written back. Change nothing yet.");
		next_flush(work, "--timeline=new", "if the driver gave the old ring up and began again");
		next_flush(work, "--timeline=old", "if the first writes of a lap were lost");
	} else {
		return false;
	}
	return true;
}

/* For whoever wants it: BACKING is known where this is found. */
static void next_reset(const struct work *work)
{
	char *backing = work->backing_path ? shell_quoted(work->backing_path) : NULL, add[1024];

	if (backing && strlen(backing) < sizeof(add) / 2) {
		snprintf(add, sizeof(add), "-n --reset --backing=%s", backing);
		next_with_cache(work, "wb-format", add, "if you like: ends it in a way that can be told from an accident");
	}
	free(backing);
}

/* A negative --start: sector 0 is nowhere. */
static void say_verdict_on_lost_start(const struct work *work)
{
	verdict(work, "the beginning of this cache is not on the device, so whether its log was ended is not known. If it was not, %s may "
		"exist nowhere else. Change nothing yet.", at_stake(work));
	next_flush(work, "--force=ended", "if it was not ended");
}

static void say_written_after_end(const struct work *work)
{
	const struct wb_ring *ring = &work->ring;
	const struct common *common = common_of(work);
	uint64_t head = work->cache.marker.head;
	char newer[64];

	verdict(work, "%s.", words_marker(&work->cache.marker, true));
	if (ring->head > head + 1)
		snprintf(newer, sizeof(newer), "Segments %" PRIu64 " to %" PRIu64 " are", head + 1, ring->head);
	else
		snprintf(newer, sizeof(newer), "Segment %" PRIu64 " is", ring->head);
	if (ring->head > head)
		common_say(common, "            %s newer, and up to %s may exist nowhere else. Change nothing yet.", newer,
			   count_of(wb_sectors_after_end(ring), "sector"));
	else
		common_say(common, "            No segment is newer than %" PRIu64 ": the device was used for something else, or is "
			   "damaged. Change nothing yet.", head);
	next_flush(work, "--force=ended", "when no driver uses the cache any more");
}

static bool say_verdict_on_super(const struct work *work)
{
	if (work->cache.super == WB_SUPER_ENDED) {
		say_written_after_end(work);
	} else if (work->findings->folds[WB_RULE_ENDED_BY_ZEROING].count) {
		if (work->findings->damage)
			return false;
		verdict(work, "the log was ended by zeroing sector 0, and everything in it is on the backing device");
		next_reset(work);
	} else if (work->cache.super == WB_SUPER_UNREADABLE) {
		if (wb_dev_start(work->cache_dev) < 0) {
			say_verdict_on_lost_start(work);
			return true;
		}
		verdict(work, "sector 0 cannot be read, so no driver accepts this cache, and whether its log was ended is not known. If it was "
			"not, %s may exist nowhere else. Change nothing yet.", at_stake(work));
		next_flush(work, "--force=ended", "better on a copy made by ddrescue, with its map as --cache-map");
	} else if (work->cache.super == WB_SUPER_ZEROED) {
		verdict(work, "sector 0 is all zero over a log that holds %s. Either the log was ended by hand: then that is old, and must "
			"not be written back. Or it was an accident: then it may exist nowhere else.", at_stake(work));
		next_flush(work, "--force=ended", "if it was an accident");
		next_with_cache(work, "wb-format", "-n --reset --force=dirty", "if it was ended by hand: says so for good");
		next_with_backing(work, "wb-check", "-n --repair --force=superblock", "if it was an accident, and a driver is to take over");
	} else if (work->cache.super == WB_SUPER_DAMAGED) {
		verdict(work, "no driver would accept this cache: it would format it, and its log holds %s", at_stake(work));
		if (!wb_repair_obstacle(&work->ring, WB_REPAIR_SUPER, false))
			next_with_backing(work, "wb-check", "-n --repair", "shows how sector 0 would be restored");
	} else {
		return false;
	}
	return true;
}

/* Slots and blocks that were not compared with BACKING hold something, or may. */
static bool leaves_data_out(const struct work *work)
{
	static const enum wb_rule rules[] = { WB_RULE_AHEAD, WB_RULE_ALIEN_ID, WB_RULE_BAD_LENGTH, WB_RULE_MISALIGNED,
					      WB_RULE_BEYOND_BACKING, WB_RULE_PART_READABLE, WB_RULE_UNREADABLE,
					      WB_RULE_CUT_SHORT, WB_RULE_RESTARTED, WB_RULE_RECORD_CONTRADICTED };

	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (work->findings->folds[rules[i]].count && work->findings->folds[rules[i]].severity == WB_DAMAGE)
			return true;
	return false;
}

/* BACKING may hold what a broken write above the newest segment claims, or contradict the record of v0: then it is damage. */
static bool backing_may_tell(const struct work *work)
{
	const struct wb_ring *ring = &work->ring;
	bool stray = false;

	for (uint32_t i = 0; i < work->cache.geometry.slots && ring->classes[WB_FOREIGN]; i++)
		stray |= ring->slots[i].class_ == WB_FOREIGN && ring->slots[i].id == i + UINT64_C(1);
	return !work->backing && (stray || ring->classes[WB_TORN_TAIL] ||
				  (work->cache.geometry.format->record_binds && ring->record));
}

static void say_verdict_on_log(const struct work *work)
{
	const char *sound = backing_may_tell(work) ? "sound as far as CACHE alone shows" : "sound";
	uint64_t dirty = check_dirty_sectors(work);

	if (work->findings->damage) {
		if (missing_bytes(work))
			verdict(work, "%s. Of what is here, %s may exist nowhere else: change nothing yet.",
				words_missing(work->cache_dev, missing_bytes(work)), at_stake(work));
		else if (dirty || !work->backing)
			verdict(work, "damaged; %s may exist only in this cache. Change nothing yet.", at_stake(work));
		else if (leaves_data_out(work))
			verdict(work, "damaged; data outside of the intact log may exist only in this cache. Change nothing yet.");
		else
			verdict(work, "damaged; everything in its intact segments is on the backing device already");
		next_flush(work, "", "shows what each policy would do");
	} else if (dirty) {
		verdict(work, "%s; %s dirty: needed until flushed%s", sound, at_stake(work),
			work->repairs ? ", and at risk if a driver assembles this cache as it is" : "");
		next_flush(work, "", "shows what would be written back");
	} else if (work->ring.dirty_sectors) {
		verdict(work, "sound, and everything in the log is on the backing device");
		next_flush(work, "", "shows how the log is ended");
	} else {
		verdict(work, "%s; nothing is dirty", sound);
	}
	if (work->repairs && !work->options->repair)
		next_with_backing(work, "wb-check", "-n --repair", "only if a driver is to take over: shows what would be repaired");
}

/* The log of another disk, whatever else there is to say of it. */
static bool say_verdict_on_pair(const struct work *work)
{
	const struct wb_proof *proof = &work->proof;

	if (work->partition[0]) {
		verdict(work, "BACKING is a whole disk, and %s", work->partition);
		return true;
	}
	if (!work->backing || proof->pair != WB_PAIR_CONTRADICTED)
		return false;
	verdict(work, "BACKING is not the disk of this cache, or was written to since: %s of the log contradict%s it, %"
		PRIu64 " match%s. Change nothing yet.", count_of(proof->against, "block"), proof->against == 1 ? "s" : "",
		proof->for_, proof->for_ == 1 ? "es" : "");
	common_say(common_of(work), "            look for the right disk: wb-check %s DISK, for each that may be it", work->cache_path);
	return true;
}

/* Signatures of others instead of a superblock: neither is restored nor ended what may be a part of something else. */
static bool say_verdict_on_signatures(const struct work *work)
{
	if (!work->foreign[0] || work->findings->folds[WB_RULE_ENDED_BY_ZEROING].count ||
	    (work->cache.super != WB_SUPER_ZEROED && work->cache.super != WB_SUPER_DAMAGED))
		return false;
	verdict(work, "sector 0 is not that of a cache: CACHE carries %s. Segments prove a log that holds %s. Change nothing yet.",
		work->foreign, at_stake(work));
	common_say(common_of(work), "            is this the right device, and all of it? If so, --force=signature lets wb-check --repair "
		   "and wb-flush-dirty write to it");
	return true;
}

static void say_verdict_on_end(const struct work *work)
{
	const struct wb_marker *marker = &work->cache.marker;
	const struct wb_proof *proof = &work->proof;

	verdict(work, "%s", work->backing && marker->reason != WB_END_FORMAT ?
		words_end(marker, &work->end, work->backing_path, work->backing) : words_marker(marker, false));
	if (!work->end.compared)
		return;
	if (proof->pair != WB_PAIR_CONTRADICTED && work->end.differing)
		next_flush(work, "--force=ended", "only if that disk was not used since: shows what would be written to it");
	say_pair(work);
}

static void say_verdict(const struct work *work)
{
	if (check_log_is_closed(work)) {
		say_verdict_on_end(work);
		return;
	}
	if (say_verdict_on_pair(work) || say_verdict_on_geometry(work) || say_verdict_on_signatures(work) ||
	    say_verdict_on_super(work))
		return;
	say_verdict_on_log(work);
}

void check_say_verdict(struct work *work)
{
	struct common *common = &work->options->common;
	bool quiet = common->quiet;

	/* what means harm is said in any case, and what was required and is not so */
	common->quiet = quiet && !work->findings->damage && !work->partition[0] && check_is_as_required(work);
	say_verdict(work);
	if (work->options->require_clean && !check_is_clean(work))
		common_say(common, "required    --require-clean is not met%s", check_log_is_closed(work) ? "" : ": something is dirty");
	if (work->options->require_ended && !check_is_ended(work))
		common_say(common, "required    --require-ended is not met%s", check_log_is_closed(work) ? "" :
			   ": the log was not ended, and a driver that finds it will replay it");
	common->quiet = quiet;
}

void check_summarise(const struct work *work)
{
	struct json_object *summary = report_summary();
	const struct wb_format *format = work->cache.geometry.format;

	report_text(summary, "cache", work->cache_path);
	report_text(summary, "backing", work->backing_path);
	report_text(summary, "generation", format ? format->name : NULL);
	report_u64(summary, "evidence", work->cache.evidence);
	report_u64(summary, "order", work->cache.geometry.order);
	report_u64(summary, "slots", work->cache.geometry.slots);
	report_u64(summary, "record", work->cache.record);
	report_u64(summary, "head", check_log_is_closed(work) ? work->cache.marker.head : work->ring.head);
	report_u64(summary, "first", work->ring.first);
	report_u64(summary, "holes", work->ring.holes);
	report_u64(summary, "dirty_blocks", check_log_is_closed(work) || work->backing ?
		   work->proof.dirty_blocks + work->findings->beyond_blocks : work->ring.dirty_blocks);
	report_u64(summary, "dirty_sectors", check_dirty_sectors(work));
	report_bool(summary, "dirty_exact", check_log_is_closed(work) ? work->end.compared :
		    work->backing && !work->findings->beyond_blocks);
	report_bool(summary, "ended", check_log_is_closed(work));
	if (work->cache.super == WB_SUPER_ENDED) {
		report_bool(summary, "written_after_end", work->written_after_end);
		report_bool(summary, "partial", work->cache.marker.partial);
		report_u64(summary, "left_segments", work->cache.marker.left_segments);
		report_u64(summary, "left_sectors", work->cache.marker.left_sectors);
	}
	report_u64(summary, "findings", work->findings->total);
	if (work->backing) {
		report_text(summary, "pair", wb_pair_name(work->proof.pair));
		report_u64(summary, "for", work->proof.for_);
		report_u64(summary, "against", work->proof.against);
		report_u64(summary, "backing_unreadable_sectors", work->proof.backing_unreadable_sectors);
	}
	report_bool(summary, "busy", wb_dev_busy(work->cache_dev) || wb_dev_busy(work->backing));
}
