/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wb-format: makes an empty cache, or (--reset) only ends the log of one. First it says what is on the
 * device now; what may exist nowhere else is not overwritten without --force=dirty and an answer.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "report.h"
#include "words.h"

/* So many places behind the first MiB are looked at; each begins a slot of the usual orders. */
#define SAMPLE 256u
#define SAMPLE_STEP (1u << 19)
#define BLOCKS_MAX (1ull << 32)

struct format_options {
	struct common common;
	const struct wb_format *format;
	bool dry_run, reset;
};

enum { OPT_TYPE = 1, OPT_DRY_RUN, OPT_RESET };

static const struct poptOption format_table[] = {
	{ "type", '\0', POPT_ARG_STRING, NULL, OPT_TYPE, "generation to make (default: v2)",
	  "v2|v1|v0" },
	{ "dry-run", 'n', POPT_ARG_NONE, NULL, OPT_DRY_RUN,
	  "show what would be made and lost; write nothing", NULL },
	{ "reset", '\0', POPT_ARG_NONE, NULL, OPT_RESET,
	  "only end the log, so that no driver replays it again", NULL },
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
	.no_overrides = "; see --type and --order",
};

/* What is on the device now. */
enum present { PRESENT_BLANK, PRESENT_ENDED, PRESENT_INTERRUPTED, PRESENT_CACHE, PRESENT_OTHER };

struct work {
	const struct format_options *options;
	const char *path;
	struct wb_dev *dev;
	struct wb_geometry geometry; /* of what is to be made */
	enum present present;
	struct wb_cache cache; /* of what is there */
	struct wb_ring ring;
	bool formatted, ended;
};

static const struct common *common_of(const struct work *work)
{
	return &work->options->common;
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
	if (work->cache.super != WB_SUPER_ENDED)
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
	if (ret && err->code == WB_ESUPER) {
		overrides.any_super = true;
		ret = wb_cache_open(&work->cache, work->dev, &overrides, err);
	}
	return ret;
}

static int look(struct work *work)
{
	const struct wb_ring_options options = { .jobs = (unsigned)common_of(work)->jobs };
	struct wb_error err;
	int ret = open_present(work, &err);

	if (ret && (err.code == WB_ENOTCACHE || err.code == WB_EINVAL)) {
		work->present = is_blank(work) ? PRESENT_BLANK : PRESENT_OTHER;
		return 0;
	}
	if (!ret) {
		work->present = present_of(work);
		if (work->present == PRESENT_CACHE)
			ret = wb_ring_load(&work->ring, &work->cache, &options,
					   &common_of(work)->progress, &err);
	}
	return ret ? common_failed(common_of(work), work->path, &err, "nothing was changed") : 0;
}

/* Damage behind which more may be dirty than was counted; NULL: none. */
static const char *hiding(const struct work *work)
{
	const struct wb_ring *ring = &work->ring;

	if (ring->destroyed)
		return "no segment of its log is whole";
	if (ring->resized || ring->shifted)
		return "its segments lie where a device of another size or start would hold them";
	if (ring->restarted)
		return "it holds the remains of two logs";
	if (work->cache.tie)
		return "two generations of the format explain it equally well";
	for (unsigned i = 0; i < WB_CLASSES; i++)
		if (ring->classes[i] && i != WB_EMPTY && i != WB_LIVE && i != WB_OLD &&
		    i != WB_TORN_TAIL && i != WB_TORN_HEAD && i != WB_FOREIGN)
			return "some of its segments are damaged";
	if (ring->holes || ring->record_state == WB_RECORD_MISSING)
		return "segments of its log are missing";
	if (work->cache.wraps && common_of(work)->overrides.address == WB_ADDRESS_AUTO &&
	    ring->classes[WB_EMPTY] < work->cache.geometry.slots)
		return "over 2 TiB its log can be read in two ways (--slot-address=linear|wrap)";
	return NULL;
}

static bool may_be_dirty(const struct work *work)
{
	return work->present == PRESENT_CACHE && (work->ring.dirty_blocks || hiding(work));
}

static void say_cache(const struct work *work)
{
	const struct common *common = common_of(work);
	const struct wb_geometry *geometry = &work->cache.geometry;
	const struct wb_ring *ring = &work->ring;
	const char *super = work->cache.super == WB_SUPER_GOOD	   ? ""
			    : work->cache.super == WB_SUPER_ZEROED ? ", its sector 0 all zero"
								   : ", its sector 0 damaged";

	common_say(common, "now    a writeboost cache%s: %s%s, order %u, %" PRIu32 " segment slots",
		   super, geometry->format->name,
		   !work->cache.evidence && geometry->format->order_stored && geometry->order <= 10
			   ? " or v1"
			   : "",
		   geometry->order, geometry->slots);
	if (ring->head)
		common_say(common, "       newest segment %" PRIu64, ring->head);
	if (ring->dirty_blocks)
		common_say(common, "       up to %" PRIu64 " dirty blocks (%s)", ring->dirty_blocks,
			   human_size(ring->dirty_sectors * WB_SECTOR));
	else if (!hiding(work))
		common_say(common, "       nothing in it is dirty");
	if (hiding(work))
		common_say(common, "       uncertain: %s", hiding(work));
}

static void say_present(const struct work *work)
{
	const struct common *common = common_of(work);

	switch (work->present) {
	case PRESENT_BLANK:
		common_say(common,
			   "now    blank: the first MiB and all of a sample behind it read as zeroes");
		break;
	case PRESENT_ENDED:
	case PRESENT_INTERRUPTED:
		common_say(common, "now    a writeboost cache: %s", words_marker(&work->cache.marker));
		break;
	case PRESENT_CACHE: say_cache(work); break;
	case PRESENT_OTHER:
		common_say(common, "now    something that is no writeboost cache, and not blank");
		break;
	}
}

/* ---- what stands against it ---- */

/* Names what would be given up, and the way to save it. */
static int refuse_dirty(const struct work *work)
{
	const char *size = human_size(work->ring.dirty_sectors * WB_SECTOR);

	if (!hiding(work))
		return common_refuse(
			common_of(work), work->path,
			"this cache holds up to %" PRIu64 " dirty blocks (%s) that may "
			"exist nowhere else: write them back with wb-flush-dirty %s BACKING, or give "
			"--force=dirty to lose them",
			work->ring.dirty_blocks, size, work->path);
	return common_refuse(common_of(work), work->path,
			     "this cache may hold dirty data that exists nowhere else: %s, and up "
			     "to %" PRIu64
			     " dirty blocks (%s) can be counted. See wb-check %s, rescue it with "
			     "wb-flush-dirty %s BACKING, or give --force=dirty to lose it",
			     hiding(work), work->ring.dirty_blocks, size, work->path, work->path);
}

static int refuse_wrap(const struct work *work)
{
	return common_refuse(common_of(work), work->path,
			     "the device is larger than 2 TiB: every released driver computes "
			     "slot addresses modulo 2^32 sectors and would put segments over each "
			     "other and over sector 0. "
			     "Use a smaller partition of it, or give --force=wrap");
}

static int refuse_what_is_forbidden(const struct work *work)
{
	int status = 0;

	if (!work->options->reset && wb_geometry_wraps(&work->geometry) &&
	    !common_forced(common_of(work), "wrap"))
		status |= refuse_wrap(work);
	if (may_be_dirty(work) && !common_forced(common_of(work), "dirty"))
		status |= refuse_dirty(work);
	return status;
}

/* Neither dirty data nor bytes that nobody recognised are lost without an answer. */
static int ask(const struct work *work)
{
	char question[512], what[160];

	if (may_be_dirty(work))
		snprintf(what, sizeof(what),
			 "Up to %" PRIu64
			 " dirty blocks (%s)%s, which may exist nowhere else, will be lost.",
			 work->ring.dirty_blocks, human_size(work->ring.dirty_sectors * WB_SECTOR),
			 hiding(work) ? " and whatever its damage hides" : "");
	else if (work->present == PRESENT_OTHER)
		snprintf(what, sizeof(what), "What is on the device now will be lost.");
	else
		return 0;
	snprintf(question, sizeof(question), "%s %s %.200s?", what,
		 work->options->reset ? "End the log of" : "Format", work->path);
	if (common_confirm(common_of(work), question))
		return 0;
	return common_refuse(
		common_of(work), work->path, "nothing was changed: %s",
		may_be_dirty(work)
			? "to lose dirty data, answer y on a terminal, or give --yes besides "
			  "--force=dirty"
			: "the device is not blank; to overwrite it, answer y, or give --yes");
}

/* 0: go on. A dry run asks nothing, as if the answer were yes. */
static int may_go_on(const struct work *work)
{
	int status = refuse_what_is_forbidden(work);

	return status || work->options->dry_run ? status : ask(work);
}

/* ---- making a cache ---- */

static uint64_t usable_bytes(const struct wb_geometry *geometry)
{
	return (uint64_t)geometry->slots * geometry->capacity * WB_BLOCK;
}

static int plan_geometry(struct work *work)
{
	const struct wb_format *format = work->options->format;
	unsigned order = common_of(work)->overrides.order;
	struct wb_error err;

	if (wb_geometry_init(&work->geometry, format, order ? order : format->order_default,
			     wb_dev_size(work->dev), 0, &err))
		return common_failed(common_of(work), work->path, &err, NULL);
	if ((uint64_t)work->geometry.slots * work->geometry.capacity > BLOCKS_MAX)
		return common_refuse(common_of(work), work->path,
				     "the device is too large: drivers count 2^32 blocks of 4 KiB, "
				     "16 TiB; use a smaller partition of it");
	return 0;
}

static void say_made(const struct work *work, const char *label)
{
	const struct wb_geometry *geometry = &work->geometry;

	common_say(common_of(work),
		   "%s %s, order %u: %" PRIu32 " segments of %" PRIu32 " block%s, %" PRIu64
		   " usable bytes (%s)",
		   label, geometry->format->name, geometry->order, geometry->slots, geometry->capacity,
		   geometry->capacity == 1 ? "" : "s", usable_bytes(geometry),
		   human_size(usable_bytes(geometry)));
}

static void say_how_to_use(const struct work *work)
{
	common_say(common_of(work),
		   "next   dmsetup create NAME --table '0 <sectors of BACKING> writeboost BACKING %s'",
		   work->path);
}

static int format(struct work *work)
{
	struct wb_error err;
	int status = may_go_on(work);

	if (status)
		return status;
	if (work->options->dry_run) {
		common_say(common_of(work), "a dry run: nothing was written");
		return 0;
	}
	if (wb_cache_format(work->dev, &work->geometry, (uint64_t)time(NULL),
			    &common_of(work)->progress, &err))
		return common_failed(
			common_of(work), work->path, &err,
			"the format is not complete: run wb-format again before the device is used");
	work->formatted = true;
	say_made(work, "made  ");
	say_how_to_use(work);
	return 0;
}

/* ---- ending a log ---- */

static int end_log(struct work *work)
{
	const struct wb_marker marker = { .reason = WB_END_RESET,
					  .time = (uint64_t)time(NULL),
					  .head = work->ring.head,
					  .digest = work->ring.digest };
	struct wb_error err;

	if (wb_cache_end(work->dev, &marker, &err))
		return common_failed(common_of(work), work->path, &err,
				     "the log may not have been ended; see wb-check");
	work->ended = true;
	common_say(common_of(work),
		   "ended  no driver will replay this log again; the next one to use %s formats it",
		   work->path);
	return 0;
}

static int reset(struct work *work)
{
	int status;

	if (work->present == PRESENT_ENDED || work->present == PRESENT_INTERRUPTED) {
		work->ended = true;
		common_say(common_of(work),
			   "nothing to do: no driver takes this for a cache with a log");
		return 0;
	}
	if (work->present != PRESENT_CACHE)
		return common_refuse(common_of(work), work->path,
				     "not a writeboost cache: there is no log to end");
	status = may_go_on(work);
	if (status || !work->options->dry_run)
		return status ? status : end_log(work);
	common_say(common_of(work), "a dry run: the log was not ended");
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

	report_text(summary, "present", present[work->present]);
	report_u64(summary, "dirty_blocks", work->ring.dirty_blocks);
	report_u64(summary, "dirty_sectors", work->ring.dirty_sectors);
	report_bool(summary, "may_be_dirty", may_be_dirty(work));
	if (geometry->format) {
		report_text(summary, "generation", geometry->format->name);
		report_u64(summary, "order", geometry->order);
		report_u64(summary, "slots", geometry->slots);
		report_u64(summary, "capacity", geometry->capacity);
		report_u64(summary, "usable_bytes", usable_bytes(geometry));
	}
	report_bool(summary, "formatted", work->formatted);
	report_bool(summary, "ended", work->ended);
	report_bool(summary, "busy", wb_dev_busy(work->dev));
}

static int run(struct work *work)
{
	const struct format_options *options = work->options;
	int status = common_open(&options->common, &work->dev, work->path,
				 options->dry_run ? WB_OPEN_READ : WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE);

	report_bool(report_summary(), "formatted", false);
	if (!status && !options->reset)
		status = plan_geometry(work);
	if (!status)
		status = look(work);
	if (status)
		return status;
	common_say(&options->common, "cache  %s, %" PRIu64 " bytes (%s)", work->path,
		   wb_dev_size(work->dev), human_size(wb_dev_size(work->dev)));
	say_present(work);
	if (!options->reset)
		say_made(work, "new   ");
	status = options->reset ? reset(work) : format(work);
	summarise(work);
	return status;
}

static void check_options(struct format_options *options)
{
	unsigned order = options->common.overrides.order;

	if (options->reset && (options->format || order))
		usage_error("--reset only ends the log: --type and --order have no meaning with it");
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
	work.path = options.common.operands[0];
	status = run(&work);
	wb_ring_release(&work.ring);
	wb_dev_close(work.dev);
	return common_finish(&options.common, status);
}
