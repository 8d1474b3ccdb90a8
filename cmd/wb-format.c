/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wb-format: makes an empty cache, or (--reset) only ends the log of one. First it says what is on the
 * device now; what may exist nowhere else is not overwritten without --force=dirty and an answer.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "guard.h"
#include "next.h"
#include "output.h"
#include "part.h"
#include "report.h"
#include "space.h"
#include "undo_file.h"
#include "words.h"

/* So many places behind the first MiB are looked at; each begins a slot of the usual orders. */
#define SAMPLE 256u
#define SAMPLE_STEP (1u << 19)
#define BLOCKS_MAX (1ull << 32)

struct format_options {
	struct common common;
	const struct wb_format *format;
	bool dry_run, reset, discard;
	char *backing_path, *undo_path;
};

enum { OPT_TYPE = 1, OPT_DRY_RUN, OPT_RESET, OPT_BACKING, OPT_DISCARD, OPT_UNDO };

static const struct poptOption format_table[] = {
	{ "type", '\0', POPT_ARG_STRING, NULL, OPT_TYPE, "generation to make (default: v2)",
	  "v2|v1|v0" },
	{ "dry-run", 'n', POPT_ARG_NONE, NULL, OPT_DRY_RUN,
	  "show what would be made and lost; write nothing", NULL },
	{ "reset", '\0', POPT_ARG_NONE, NULL, OPT_RESET,
	  "only end the log, so that no driver replays it again", NULL },
	{ "backing", '\0', POPT_ARG_STRING, NULL, OPT_BACKING,
	  "with --reset: let what this device holds decide what is dirty", "BACKING" },
	{ "discard", '\0', POPT_ARG_NONE, NULL, OPT_DISCARD, "discard the device first, where it can", NULL },
	{ "undo", '\0', POPT_ARG_STRING, NULL, OPT_UNDO, "record there what is overwritten, for wb-undo", "FILE" },
	POPT_TABLEEND
};

static const char *const force_names[] = { "signature", "dirty", "wrap", NULL };

static void handle(void *options, int val, const char *argument)
{
	static const char *const types[] = { "v2", "v1", "v0", NULL };
	struct format_options *format = options;

	switch (val) {
	case OPT_TYPE:
		format->format = wb_format_find(types[choice_of("--type", argument, types)]);
		break;
	case OPT_DRY_RUN: format->dry_run = true; break;
	case OPT_RESET: format->reset = true; break;
	case OPT_BACKING: path_option("--backing", &format->backing_path, argument); break;
	case OPT_UNDO: path_option("--undo", &format->undo_path, argument); break;
	case OPT_DISCARD: format->discard = true; break;
	default: break;
	}
}

static const struct command command = {
	.name = "wb-format",
	.purpose = "make an empty dm-writeboost cache, or end the log of one",
	.operands = "CACHE",
	.operands_min = 1,
	.operands_max = 1,
	.options = format_table,
	.handle = handle,
	.force_names = force_names,
	.without = WITHOUT_GENERATION,
	.label_width = 7,
};

/* What is on the device now. */
enum present { PRESENT_BLANK, PRESENT_ENDED, PRESENT_INTERRUPTED, PRESENT_CACHE, PRESENT_OTHER };

struct work {
	const struct format_options *options;
	const char *path;
	struct identity identity;
	struct signatures signatures; /* of others */
	struct wb_dev *dev;           /* all writes go through it */
	struct wb_dev *backing;       /* of --backing, or NULL */
	struct wb_geometry geometry;  /* of what is to be made */
	enum present present;
	struct wb_cache cache;        /* of what is there */
	struct wb_ring ring;
	bool compared;                /* with BACKING: then proof is right */
	struct wb_proof proof;
	struct wb_decision decision;  /* what wb-flush-dirty would make of it */
	struct undo_file undo;
	bool formatted, ended, discarded;
	bool written_after_end; /* the log was ended, and counts all the same */
	char inside[512];       /* the partitions that hold a cache; see part_list_caches() */
	bool held;              /* of a dry run: the device is in use */
};

static const struct common *common_of(const struct work *work)
{
	return &work->options->common;
}

/* The longest of what guard.h says about a device, and a list of what would be lost. */
#define WORDS 768

/* ---- opening ---- */

static void report_device(const struct work *work, const char *holder)
{
	struct json_object *record = report_record("identity");

	report_text(record, "role", "cache");
	report_text(record, "device", work->path);
	report_bool(record, "busy", holder[0]);
	report_text(record, "holder", holder[0] ? holder : NULL);
	identity_report(record, &work->identity);
	report_emit(record);
}

/* Before it is opened: who uses it, and what others have written on it. */
static int guard(struct work *work)
{
	char words[WORDS];
	const char *backing_path = work->options->backing_path;

	if (backing_path && devices_overlap(work->path, backing_path, words, sizeof(words)))
		return common_refuse(common_of(work), backing_path, "CACHE and BACKING are %s", words);
	int status = refuse_held(common_of(work), work->path, "CACHE", work->options->dry_run, words, sizeof(words));

	work->held = words[0];
	identify(work->path, &work->identity);
	report_device(work, words);
	return status;
}

/* What is given up by a format: all signatures, wherever the device is that they are about. */
static int narrow(struct work *work)
{
	int status = part_narrow(common_of(work), &work->dev, work->path);

	if (!status)
		part_signatures(work->dev, work->path, &work->signatures);
	if (!status && !common_of(work)->part.given)
		part_list_caches(work->dev, work->path, &work->signatures, work->inside, sizeof(work->inside));
	return status;
}

/* Only sector 0 of a cache is written by --reset; what others have there is refused by part_choose(). */
static int choose_part(struct work *work)
{
	char foreign[WORDS];

	return part_choose(common_of(work), &work->dev, work->path, PART_WRITE, foreign, sizeof(foreign));
}

static int open_device(struct work *work)
{
	bool dry_run = work->options->dry_run;

	if (work->identity.read_only && !dry_run)
		return refuse_read_only(common_of(work), work->path, false);
	if (common_of(work)->part.start < 0)
		usage_error("--start: what wb-format writes begins with sector 0, which must be on the device");
	int status = common_open(common_of(work), &work->dev, work->path,
				 dry_run ? WB_OPEN_READ | WB_OPEN_TRY : WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE);

	if (status)
		return status;
	return work->options->reset ? choose_part(work) : narrow(work);
}

/* Only read. Swapped operands would end the log of a disk that has none, and keep the other. */
static int open_backing(struct work *work)
{
	int status = refuse_backing_container(common_of(work), work->options->backing_path);

	if (!status)
		status = common_open(common_of(work), &work->backing, work->options->backing_path, WB_OPEN_READ);

	if (status || !carries_header(work->backing))
		return status;
	return common_refuse(common_of(work), work->options->backing_path,
			     "BACKING carries a writeboost header: are the two devices swapped?");
}

/* ---- what is there now ---- */

static bool is_zero(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

/* The i-th place of the sample: every one at first, then spread over the rest. */
static uint64_t sample_place(uint64_t places, unsigned i)
{
	if (places <= SAMPLE || i < SAMPLE / 2)
		return i;
	return SAMPLE / 2 + (places - SAMPLE / 2) * (i - SAMPLE / 2) / (SAMPLE / 2);
}

/* What cannot be read is not blank. */
static bool is_blank(const struct work *work)
{
	uint64_t size = wb_dev_size(work->dev);
	uint64_t places =
		size < WB_FIRST_SLOT + WB_BLOCK ? 0 : (size - WB_FIRST_SLOT - WB_BLOCK) / SAMPLE_STEP + 1;
	uint32_t length = size < WB_FIRST_SLOT ? (uint32_t)size : WB_FIRST_SLOT;
	void *bytes;
	bool blank;

	if (posix_memalign(&bytes, WB_BLOCK, WB_FIRST_SLOT))
		return false;
	blank = !wb_dev_read(work->dev, 0, bytes, length, NULL) && is_zero(bytes, length);
	for (unsigned i = 0; i < SAMPLE && i < places && blank; i++)
		blank = !wb_dev_read(work->dev, WB_FIRST_SLOT + sample_place(places, i) * SAMPLE_STEP,
				     bytes, WB_BLOCK, NULL) &&
			is_zero(bytes, WB_BLOCK);
	free(bytes);
	return blank;
}

static enum present present_of(const struct work *work)
{
	if (work->cache.super != WB_SUPER_ENDED || work->written_after_end)
		return PRESENT_CACHE;
	return work->cache.marker.reason == WB_END_FORMAT ? PRESENT_INTERRUPTED : PRESENT_ENDED;
}

/* A log counts whatever stands in sector 0; over 2 TiB it is read one way or the other. */
static int open_present(struct work *work, struct wb_error *err)
{
	struct wb_overrides overrides = { .address = common_of(work)->overrides.address };
	int ret = wb_cache_open(&work->cache, work->dev, &overrides, err);

	if (ret && err->code == WB_EWRAP) {
		overrides.address = WB_ADDRESS_LINEAR;
		ret = wb_cache_open(&work->cache, work->dev, &overrides, err);
	}
	if (!ret && work->cache.super == WB_SUPER_ENDED)
		ret = wb_cache_written_after_end(work->dev, &overrides, &work->written_after_end,
						 &common_of(work)->progress, err);
	if ((ret && err->code == WB_ESUPER) || work->written_after_end) {
		overrides.any_super = true;
		ret = wb_cache_open(&work->cache, work->dev, &overrides, err);
	}
	return ret;
}

/* What BACKING holds already is not dirty. */
static int compare(struct work *work, struct wb_error *err)
{
	if (!work->backing)
		return 0;
	work->compared = true;
	return wb_pair_prove(&work->ring, work->backing, plan_capacity(default_memory()), 0, &work->proof,
			     &common_of(work)->progress, err);
}

static int load(struct work *work, struct wb_error *err)
{
	const struct wb_ring_options options = {
		.jobs = (unsigned)common_of(work)->jobs,
		.backing_sectors = work->backing ? wb_backing_sectors(work->backing) : 0,
	};
	const struct wb_decide_options decide_options = { .policy = WB_STRICT, .capacity = plan_capacity(default_memory()) };
	int ret = wb_ring_load(&work->ring, &work->cache, &options, &common_of(work)->progress, err);

	if (!ret)
		ret = compare(work, err);
	return ret ? ret : wb_decide(&work->ring, work->backing, &decide_options, &work->decision, &common_of(work)->progress, err);
}

static int look(struct work *work)
{
	struct wb_error err;

	if (work->inside[0]) {
		work->present = PRESENT_OTHER;
		return 0;
	}
	int ret = open_present(work, &err);

	if (ret && (err.code == WB_ENOTCACHE || err.code == WB_EINVAL)) {
		work->present = is_blank(work) ? PRESENT_BLANK : PRESENT_OTHER;
		return 0;
	}
	if (!ret) {
		work->present = present_of(work);
		if (work->present == PRESENT_CACHE)
			ret = load(work, &err);
	}
	return ret ? common_failed(common_of(work), work->path, &err, "nothing was changed") : 0;
}

/* What keeps wb-flush-dirty from ending the log; NULL: nothing. */
static const char *obstacle(const struct work *work)
{
	static const struct wb_replay_result all_written = { .passes = 0 };
	static const struct wb_decide_options strict = { .policy = WB_STRICT };
	const struct wb_decision *decision = &work->decision;
	unsigned damage = decision->damage | decision->refused;

	if (wb_decision_may_end(&work->ring, &strict, decision, &all_written))
		return NULL;
	if (damage & WB_REFUSE_BEYOND)
		return "dirty data lies beyond the end of BACKING";
	if (damage & WB_REFUSE_CONTRADICTED)
		return "BACKING does not hold what its record says was written back";
	if (damage & (WB_REFUSE_RECORD | WB_REFUSE_UNKNOWN_RECORD) || damage == WB_REFUSE_HOLE)
		return "segments of its log are missing";
	if (damage & WB_REFUSE_GEOMETRY)
		return "whole segments lie beyond its slots";
	if (damage == WB_REFUSE_REGRESS)
		return "BACKING already holds newer data than its log";
	return "some of its segments are damaged";
}

/* Why more may be dirty than was counted; NULL: nothing. */
static const char *hiding(const struct work *work)
{
	const struct wb_ring *ring = &work->ring;

	if (ring->destroyed)
		return "no segment of its log is whole";
	if (ring->shifted || (ring->resized && !ring->beyond))
		return "its segments lie where a device of another size or start would hold them";
	if (ring->restarted)
		return "it holds the remains of two logs";
	if (work->cache.tie)
		return "two generations of the format explain it equally well";
	if (obstacle(work))
		return obstacle(work);
	if (work->cache.wraps && common_of(work)->overrides.address == WB_ADDRESS_AUTO &&
	    ring->classes[WB_EMPTY] < work->cache.geometry.slots)
		return "over 2 TiB its log can be read in two ways (--slot-address=linear|wrap)";
	if (work->compared && work->proof.pair == WB_PAIR_CONTRADICTED)
		return "BACKING is not the disk of this cache, or was written to since";
	return NULL;
}

static uint64_t dirty_blocks(const struct work *work)
{
	return work->compared ? work->proof.dirty_blocks : work->ring.dirty_blocks;
}

static uint64_t dirty_sectors(const struct work *work)
{
	return work->compared ? work->proof.dirty_sectors : work->ring.dirty_sectors;
}

static bool may_be_dirty(const struct work *work)
{
	return work->inside[0] || (work->present == PRESENT_CACHE && (dirty_blocks(work) || hiding(work)));
}

/* Everything dirty equals BACKING, but so would it equal any other disk full of zeroes. */
static bool equal_without_proof(const struct work *work)
{
	return work->compared && work->ring.dirty_blocks && !work->proof.for_ && !may_be_dirty(work);
}

/* "up to 297 dirty blocks (1.1 MiB)"; in a static buffer. */
static const char *dirty_words(const struct work *work)
{
	static char text[96];
	uint64_t blocks = dirty_blocks(work);

	snprintf(text, sizeof(text), "%s%s (%s)", work->compared ? "" : "up to ", count_of(blocks, "dirty block"),
		 human_size(dirty_sectors(work) * WB_SECTOR));
	return text;
}

static bool meets_header(const struct wb_geometry *geometry, uint64_t byte)
{
	uint64_t behind = byte - WB_FIRST_SLOT;

	return byte < WB_FIRST_SLOT || (behind / wb_slot_size(geometry) < geometry->slots &&
					behind % wb_slot_size(geometry) < WB_BLOCK);
}

/* Whether the bytes that give a signature away are written over, or discarded. */
static bool is_overwritten(const struct work *work, const struct signature *signature)
{
	uint64_t first = signature->offset, last = first + (signature->size ? signature->size - 1 : 0);

	if (first == UINT64_MAX)
		return true;
	if (work->options->reset)
		return first < WB_SECTOR;
	return work->options->discard || meets_header(&work->geometry, first) || meets_header(&work->geometry, last);
}

/* Drivers before 2.2.8 wrote the magic over the first bytes of sector 0 and left the rest, a stale partition table for one. */
static bool is_left_over(const struct work *work, const struct signature *signature)
{
	return signature->is_remnant || (work->cache.super == WB_SUPER_GOOD && signature->offset < WB_SECTOR);
}

/* Under the marker of an interrupted format everything has been given up before. */
static bool is_given_up(const struct work *work, unsigned which)
{
	return work->present != PRESENT_INTERRUPTED && !is_left_over(work, &work->signatures.list[which]) &&
	       !signature_is_copy(&work->signatures, which);
}

static unsigned count_signatures(const struct work *work)
{
	unsigned count = 0;

	for (unsigned i = 0; i < work->signatures.count; i++)
		count += is_given_up(work, i);
	return count;
}

static void say_signature(const struct work *work, const struct signature *signature)
{
	struct json_object *record = report_record("signature");
	bool overwritten = is_overwritten(work, signature);
	char line[WORDS];

	signature_line(signature, line, sizeof(line));
	common_say(common_of(work), "now    %s: %s", line,
		   !overwritten ? "it stays, nothing is written there" :
		   work->options->reset || signature->offset < WB_FIRST_SLOT || !work->options->discard ?
				  "it will be overwritten" : "it will be discarded");
	signature_report(record, signature);
	report_bool(record, "overwritten", overwritten);
	report_emit(record);
}

static void say_cache(const struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_geometry *geometry = &work->cache.geometry;
	const struct wb_ring *ring = &work->ring;
	const char *super = work->cache.super == WB_SUPER_GOOD ? "" :
			    work->written_after_end ? ", ended and written to since" :
			    work->cache.super == WB_SUPER_ZEROED ? ", its sector 0 all zero" :
			    work->cache.super == WB_SUPER_UNREADABLE ? ", its sector 0 unreadable" : ", its sector 0 damaged";

	common_say(common, "now    a writeboost cache%s: %s%s, order %u, %s",
		   super, geometry->format->name,
		   !work->cache.evidence && geometry->format->order_stored && geometry->order <= 10 ? " or v1" : "",
		   geometry->order, count_of(geometry->slots, "segment slot"));
	if (ring->head)
		common_say(common, "       newest segment %" PRIu64, ring->head);
	if (dirty_blocks(work))
		common_say(common, "       %s", dirty_words(work));
	else if (!hiding(work))
		common_say(common, "       nothing in it is dirty");
	if (work->compared)
		common_say(common, "       compared with %s: the pair is %s (for %" PRIu64 ", against %" PRIu64 ")",
			   work->options->backing_path, wb_pair_name(work->proof.pair), work->proof.for_,
			   work->proof.against);
	if (hiding(work))
		common_say(common, "       uncertain: %s", hiding(work));
}

static void say_present(const struct work *work)
{
	const struct common *common = common_of(work);

	for (unsigned i = 0; i < work->signatures.count; i++)
		say_signature(work, &work->signatures.list[i]);
	if (work->signatures.incomplete)
		common_warn(common, "%s: not all places where signatures may be could be read", work->path);
	switch (work->present) {
	case PRESENT_BLANK:
		common_say(common, "now    blank: the first MiB and all of a sample behind it read as zeroes");
		break;
	case PRESENT_ENDED:
	case PRESENT_INTERRUPTED:
		common_say(common, "now    a writeboost cache: %s", words_marker(&work->cache.marker, false));
		break;
	case PRESENT_CACHE: say_cache(work); break;
	case PRESENT_OTHER:
		if (work->inside[0])
			common_say(common, "now    a whole disk that holds a writeboost cache, in partition %s", work->inside);
		else if (!work->signatures.count)
			common_say(common, "now    something that is no writeboost cache, and not blank");
		break;
	}
}

/* ---- what would be lost ---- */

#define LISTED 3u /* signatures in a sentence; all of them have been shown before */

static void list_signatures(const struct work *work, char *text, size_t size)
{
	char line[WORDS / 4];
	unsigned listed = 0, count = count_signatures(work);

	for (unsigned i = 0; i < work->signatures.count && listed < LISTED; i++) {
		if (!is_given_up(work, i))
			continue;
		signature_line(&work->signatures.list[i], line, sizeof(line));
		append_text(text, size, "%s%s", listed++ ? ", " : "", line);
	}
	if (count > LISTED)
		append_text(text, size, " and %u more", count - LISTED);
}

/* Empty when nothing that may matter is lost. */
static void list_losses(const struct work *work, char *text, size_t size)
{
	text[0] = '\0';
	list_signatures(work, text, size);
	if (work->inside[0])
		append_text(text, size, "%sthe cache in partition %s, whose dirty data may exist nowhere else", text[0] ? "; " : "", work->inside);
	else if (may_be_dirty(work))
		append_text(text, size, "%s%s%s, which may exist nowhere else", text[0] ? "; " : "", dirty_words(work),
			  hiding(work) ? " and whatever its damage hides" : "");
	if (work->present == PRESENT_OTHER && !text[0])
		append_text(text, size, "what is on the device now");
}

static void say_losses(const struct work *work)
{
	char text[WORDS];

	list_losses(work, text, sizeof(text));
	if (work->present == PRESENT_ENDED && work->cache.marker.partial)
		append_text(text, sizeof(text), "%swhat was left out when the log was ended", text[0] ? "; " : "");
	common_say(common_of(work), "lost   %s", text[0] ? text : work->present == PRESENT_ENDED ? "nothing but the log that was ended" :
		   "nothing");
}

/* ---- what stands against it ---- */

static bool is_of_other_disk(const struct work *work)
{
	return work->compared && work->proof.pair == WB_PAIR_CONTRADICTED;
}

/* Names what would be given up, and the way to save it. */
static int refuse_dirty(const struct work *work)
{
	const struct common *common = common_of(work);
	const char *const pair[] = { work->path, work->backing && !is_of_other_disk(work) ? work->options->backing_path : "BACKING", NULL };
	int status;

	if (work->inside[0])
		return common_refuse(common, work->path, "partition %s of this disk holds a cache, whose dirty data may exist nowhere else: "
				     "see wb-check with these options, or give --force=dirty to lose it", work->inside);
	if (hiding(work))
		status = common_refuse(common, work->path, "this cache may hold dirty data that exists nowhere else: %s, and %s can be "
				       "counted. Rescue it with wb-flush-dirty%s, or give --force=dirty to lose it", hiding(work),
				       dirty_words(work), is_of_other_disk(work) ? " once the right disk is found" : "");
	else
		status = common_refuse(common, work->path, "this cache holds %s that %s: write them back with wb-flush-dirty, or give "
				       "--force=dirty to lose them", dirty_words(work),
				       work->compared ? "BACKING does not hold" : "may exist nowhere else");
	if (hiding(work))
		next_step(common, "wb-check", NULL, NULL, pair, is_of_other_disk(work) ? "for each disk that may be BACKING" : NULL);
	else
		next_step(common, "wb-flush-dirty", NULL, "-n", pair, "shows what would be written back");
	return status;
}

static int refuse_signature(const struct work *work)
{
	char list[WORDS] = "";

	list_signatures(work, list, sizeof(list));
	return common_refuse(common_of(work), work->path, "is this the right device? It carries %s; --force=signature "
			     "gives that up", list);
}

static int refuse_wrap(const struct work *work)
{
	return common_refuse(common_of(work), work->path,
			     "the device is larger than 2 TiB: every released driver computes slot addresses modulo 2^32 "
			     "sectors and would put segments over each other and over sector 0. Use a smaller partition of "
			     "it, or give --force=wrap");
}

static int refuse_what_is_forbidden(const struct work *work)
{
	int status = work->identity.read_only ? refuse_read_only(common_of(work), work->path, false) : 0;

	if (!work->options->reset && wb_geometry_wraps(&work->geometry) && !common_forced(common_of(work), "wrap"))
		status |= refuse_wrap(work);
	if (count_signatures(work) && !common_forced(common_of(work), "signature"))
		status |= refuse_signature(work);
	if (may_be_dirty(work) && !common_forced(common_of(work), "dirty"))
		status |= refuse_dirty(work);
	return status;
}

/* Neither what was forced nor bytes that nobody recognised are lost without an answer. */
static int ask(const struct work *work)
{
	char question[2 * WORDS], losses[WORDS];

	list_losses(work, losses, sizeof(losses));
	if (!losses[0] && !equal_without_proof(work))
		return 0;
	if (losses[0])
		snprintf(question, sizeof(question), "%s will lose %s. Go on?", work->path, losses);
	else
		snprintf(question, sizeof(question), "Nothing proves that %s is the disk of %s: all that equals is blocks "
			 "of one repeated byte. Go on?", work->options->backing_path, work->path);
	return common_ask(common_of(work), work->path, question,
			  may_be_dirty(work)	   ? "nothing was changed: to lose dirty data, answer y on a terminal, or give --yes "
						     "besides --force=dirty" :
			  count_signatures(work)   ? "nothing was changed: to give up what is there, answer y on a terminal, or give "
						     "--yes besides --force=signature" :
			  losses[0]		   ? "nothing was changed: the device is not blank; to overwrite it, answer y, or give "
						     "--yes" :
						     "nothing was changed: nothing but blocks of one repeated byte equals BACKING; "
						     "if it is the right disk, answer y, or give --yes");
}

/* 0: go on. A dry run asks nothing, as if the answer were yes. */
static int may_go_on(const struct work *work)
{
	say_losses(work);

	int status = refuse_what_is_forbidden(work);

	return status || work->options->dry_run ? status : ask(work);
}

/* ---- making a cache ---- */

static uint64_t blocks_of(const struct wb_geometry *geometry)
{
	return (uint64_t)geometry->slots * geometry->capacity;
}

static uint64_t usable_bytes(const struct wb_geometry *geometry)
{
	return blocks_of(geometry) * WB_BLOCK;
}

static int plan_geometry(struct work *work)
{
	const struct wb_format *format = work->options->format;
	unsigned order = common_of(work)->overrides.order;
	struct wb_error err;

	if (wb_geometry_init(&work->geometry, format, order ? order : format->order_default,
			     wb_dev_size(work->dev), 0, &err))
		return common_failed(common_of(work), work->path, &err, NULL);
	if (blocks_of(&work->geometry) > BLOCKS_MAX)
		return common_refuse(common_of(work), work->path,
				     "the device is too large: drivers count 2^32 blocks of 4 KiB, "
				     "16 TiB; use a smaller partition of it");
	return 0;
}

/* v2.2.8 is the first that reads the record as a part of the 4 KiB around it: read_superblock_record(). */
static void warn_of_large_sectors(const struct work *work)
{
	if (wb_dev_block(work->dev) > WB_SECTOR)
		common_warn(common_of(work), "%s: its sectors are of %u bytes; drivers before 2.2.8 cannot use such a device",
			    work->path, wb_dev_block(work->dev));
}

static void say_geometry(const struct work *work, const char *label)
{
	const struct wb_geometry *geometry = &work->geometry;

	common_say(common_of(work), "%s %s, order %u: %s of %s, %s (%s)", label, geometry->format->name, geometry->order,
		   count_of(geometry->slots, "segment"), count_of(geometry->capacity, "block"),
		   count_of(usable_bytes(geometry), "usable byte"), human_size(usable_bytes(geometry)));
}

static void say_plan(const struct work *work)
{
	say_geometry(work, "new   ");
	common_say(common_of(work), "       %s of 4 KiB; the driver's tables for them take %s of RAM",
		   count_of(blocks_of(&work->geometry), "block"), human_size(wb_driver_memory(&work->geometry)));
	warn_of_large_sectors(work);
}

static void say_how_to_use(const struct work *work)
{
	const struct wb_format *format = work->geometry.format;
	char order[64] = "";

	if (format->order_argument && work->geometry.order != format->order_default)
		snprintf(order, sizeof(order), " %s%u", format->order_argument, work->geometry.order);
	common_say(common_of(work),
		   "use    dmsetup create NAME --table '0 <sectors of BACKING> writeboost BACKING %s%s'", work->path, order);
}

static int incomplete(const struct work *work, const struct wb_error *err)
{
	int status = undo_file_failure(common_of(work), &work->undo);

	if (!status)
		status = common_failed(common_of(work), work->path, err, common_no_room(err));
	common_warn(common_of(work), "the format is not complete: run wb-format again before the device is used");
	return status;
}

static int discard(struct work *work)
{
	struct wb_error err;

	if (!work->options->discard)
		return 0;
	work->discarded = !wb_cache_discard(work->dev, (uint64_t)time(NULL), &common_of(work)->progress, &err);
	if (!work->discarded && err.sys != EOPNOTSUPP)
		return incomplete(work, &err);
	if (!work->discarded)
		common_warn(common_of(work), "%s: the device cannot discard; going on without", work->path);
	return 0;
}

/* Of a dry run: whether there is room for the holes of an image that would be filled, and for --undo. */
static int refuse_no_room(const struct work *work)
{
	const struct wb_geometry *geometry = &work->geometry;
	uint64_t start = (uint64_t)wb_dev_start(work->dev), bytes = WB_FIRST_SLOT + (uint64_t)geometry->slots * WB_BLOCK;
	struct space space;
	int status = 0;

	if (space_may_be_short(&space, work->path, bytes / WB_SECTOR)) {
		space_count(&space, start, WB_FIRST_SLOT);
		for (uint32_t i = 0; i < geometry->slots; i++)
			space_count(&space, start + wb_slot_offset(geometry, i), WB_BLOCK);
		space_close(&space);
		status = space_refuse(common_of(work), &space, work->path);
	}
	return status || !work->undo.path ? status : space_refuse_undo(common_of(work), work->undo.path, bytes / WB_SECTOR, &space);
}

static int format(struct work *work)
{
	struct wb_error err;
	int status = may_go_on(work);

	if (status)
		return status;
	status = undo_file_record(common_of(work), &work->undo, work->path, &work->dev);
	if (!status && work->options->dry_run) {
		status = refuse_no_room(work);
		common_say(common_of(work), "a dry run: nothing was written");
		if (!status)
			next_step(common_of(work), NULL, "dry-run", NULL, NULL, NULL);
		return status;
	}
	if (!status)
		status = discard(work);
	if (status)
		return status;
	if (wb_cache_format(work->dev, &work->geometry, (uint64_t)time(NULL), &common_of(work)->progress, &err))
		return incomplete(work, &err);
	work->formatted = true;
	say_geometry(work, "made  ");
	status = undo_file_finish(common_of(work), &work->undo);
	undo_file_say(common_of(work), &work->undo, "undo   ");
	say_how_to_use(work);
	return status;
}

/* ---- ending a log ---- */

static int end_log(struct work *work)
{
	struct wb_marker marker = wb_marker_of(&work->ring, WB_END_RESET, (uint64_t)time(NULL),
					       work->backing ? wb_dev_size(work->backing) : 0);
	struct wb_error err;
	int status;

	marker.left_sectors = dirty_sectors(work);
	marker.partial = may_be_dirty(work);
	if (wb_cache_end(work->dev, &marker, &err)) {
		status = undo_file_failure(common_of(work), &work->undo);
		return status ? status : common_failed(common_of(work), work->path, &err,
						       "the log may not have been ended; see wb-check");
	}
	work->ended = true;
	status = undo_file_finish(common_of(work), &work->undo);
	undo_file_say(common_of(work), &work->undo, "undo   ");
	common_say(common_of(work),
		   "ended  no driver will replay this log again; the next one to use %s formats it",
		   work->path);
	return status;
}

/* All was written, says the marker, and not to which disk. */
static int compare_ended(struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_overrides overrides = { .address = common->overrides.address };
	const struct wb_ring_options options = { .jobs = (unsigned)common->jobs };
	struct wb_end_proof end;
	struct wb_error err;

	if (wb_end_prove(work->dev, &overrides, &options, work->backing, plan_capacity(default_memory()), &end, &common->progress, &err))
		return common_failed(common, work->path, &err, NULL);
	work->compared = end.compared;
	work->proof = end.proof;
	if (end.compared && !wb_end_is_proven(&end) && !common_forced(common, "dirty"))
		return common_refuse(common, work->path, "%s (--force=dirty leaves it ended all the same)",
				     words_end(&work->cache.marker, &end, work->options->backing_path, work->backing));
	common_say(common, "       %s", words_end(&work->cache.marker, &end, work->options->backing_path, work->backing));
	return 0;
}

static int reset(struct work *work)
{
	int status;

	if (work->present == PRESENT_ENDED || work->present == PRESENT_INTERRUPTED) {
		work->ended = true;
		status = work->backing && work->present == PRESENT_ENDED ? compare_ended(work) : 0;
		if (status)
			return status;
		common_say(common_of(work),
			   "nothing to do: no driver takes this for a cache with a log");
		return 0;
	}
	if (work->present != PRESENT_CACHE)
		return common_refuse(common_of(work), work->path,
				     "not a writeboost cache: there is no log to end");
	status = may_go_on(work);
	if (!status)
		status = undo_file_record(common_of(work), &work->undo, work->path, &work->dev);
	if (status || !work->options->dry_run)
		return status ? status : end_log(work);
	common_say(common_of(work), "a dry run: the log was not ended");
	next_step(common_of(work), NULL, "dry-run", NULL, NULL, NULL);
	return 0;
}

/* ---- the work ---- */

static void summarise(const struct work *work)
{
	static const char *const present[] = {
		[PRESENT_BLANK] = "blank",
		[PRESENT_ENDED] = "ended",
		[PRESENT_INTERRUPTED] = "format-interrupted",
		[PRESENT_CACHE] = "cache",
		[PRESENT_OTHER] = "other",
	};
	const struct wb_geometry *geometry = &work->geometry;
	struct json_object *summary = report_summary();

	report_text(summary, "cache", work->path);
	report_text(summary, "backing", work->options->backing_path);
	report_text(summary, "present", present[work->present]);
	report_u64(summary, "newest_id", work->ring.head);
	report_u64(summary, "dirty_blocks", dirty_blocks(work));
	report_u64(summary, "dirty_sectors", dirty_sectors(work));
	report_bool(summary, "dirty_exact", work->compared || work->present != PRESENT_CACHE);
	report_bool(summary, "may_be_dirty", may_be_dirty(work));
	if (work->compared) {
		report_text(summary, "pair", wb_pair_name(work->proof.pair));
		report_u64(summary, "for", work->proof.for_);
		report_u64(summary, "against", work->proof.against);
	}
	if (geometry->format) {
		report_text(summary, "generation", geometry->format->name);
		report_u64(summary, "order", geometry->order);
		report_u64(summary, "slots", geometry->slots);
		report_u64(summary, "capacity", geometry->capacity);
		report_u64(summary, "blocks", blocks_of(geometry));
		report_u64(summary, "usable_bytes", usable_bytes(geometry));
		report_u64(summary, "driver_memory", wb_driver_memory(geometry));
	}
	report_bool(summary, "discarded", work->discarded);
	report_bool(summary, "formatted", work->formatted);
	report_bool(summary, "ended", work->ended);
	report_bool(summary, "busy", wb_dev_busy(work->dev));
}

static int prepare(struct work *work)
{
	int status = guard(work);

	report_bool(report_summary(), "formatted", false);
	if (!status)
		status = open_device(work);
	if (!status && !work->options->reset)
		status = plan_geometry(work);
	if (!status && work->options->backing_path)
		status = open_backing(work);
	return status ? status : look(work);
}

static int run(struct work *work)
{
	const struct common *common = common_of(work);
	bool is_reset = work->options->reset;
	char hardware[WORDS];
	int status = prepare(work);

	if (status)
		return status;
	identity_hardware(&work->identity, hardware, sizeof(hardware));
	common_say(common, "cache  %s, %" PRIu64 " bytes (%s)%s%s", work->path, wb_dev_size(work->dev),
		   human_size(wb_dev_size(work->dev)), hardware, part_words(work->dev));
	say_present(work);
	if (!is_reset)
		say_plan(work);
	status = is_reset ? reset(work) : format(work);
	if (work->options->dry_run && (work->held || wb_dev_busy(work->dev)))
		status = refuse_used_dry_run(common, work->path, status);
	summarise(work);
	return status;
}

static void release(struct work *work)
{
	wb_ring_release(&work->ring);
	wb_dev_close(work->dev);
	wb_dev_close(work->backing);
	identity_release(&work->identity);
	signatures_release(&work->signatures);
	undo_file_close(&work->undo);
	free(work->options->backing_path);
	free(work->options->undo_path);
}

static void check_options(struct format_options *options)
{
	unsigned order = options->common.overrides.order;

	if (options->reset && (options->format || order))
		usage_error("--reset only ends the log: --type and --order have no meaning with it");
	if (options->reset && options->discard)
		usage_error("--reset only ends the log: --discard has no meaning with it");
	if (options->discard && options->undo_path)
		usage_error("--undo cannot record what --discard gives up");
	if (options->backing_path && !options->reset)
		usage_error("--backing is for --reset");
	if (!options->format)
		options->format = wb_format_find("v2");
	if (order && (order < options->format->order_min || order > options->format->order_max))
		usage_error("--order: %u is outside the range of %s, %u ... %u", order,
			    options->format->name, options->format->order_min,
			    options->format->order_max);
}

int main(int argc, char **argv)
{
	struct format_options options = { .dry_run = false };
	struct work work = { .options = &options };
	int status;

	common_start(&options.common, &command, &options, argc, argv);
	check_options(&options);
	options.common.overrides.memory = default_memory();
	work.path = options.common.operands[0];
	work.undo.path = options.undo_path;
	work.undo.dry_run = options.dry_run;
	status = output_check(&options.common, &(struct output_name){ "--undo", options.undo_path }, 1);
	if (!status)
		status = run(&work);
	release(&work);
	return common_finish(&options.common, status);
}
