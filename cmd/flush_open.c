/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opens what wb-flush-dirty works on, after a look at what it is and who uses it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flush.h"
#include "hooks.h"
#include "next.h"
#include "part.h"
#include "place.h"
#include "report.h"
#include "space.h"
#include "words.h"

int flush_refuse_overlap(const struct work *work)
{
	char text[WORDS];

	if (!devices_overlap(work->cache_path, work->backing_path, text, sizeof(text)))
		return 0;
	return common_refuse(common_of(work), work->backing_path, "CACHE and BACKING are %s", text);
}

static void report_identity(const char *role, const char *path, const struct identity *identity, const char *holder)
{
	struct json_object *record = report_record("identity");

	report_text(record, "role", role);
	report_text(record, "device", path);
	report_bool(record, "busy", holder[0]);
	report_text(record, "holder", holder[0] ? holder : NULL);
	identity_report(record, identity);
	report_emit(record);
}

/* Says what a device is, and refuses one that is in use; a dry run shows its plan first. */
static int guard_device(struct work *work, bool is_backing, struct identity *identity)
{
	const char *path = is_backing ? work->backing_path : work->cache_path;
	char holder[WORDS];
	int status = refuse_held(common_of(work), path, is_backing ? "BACKING" : "CACHE", work->options->dry_run, holder, sizeof(holder));

	if (holder[0] && !work->busy)
		work->busy = path;
	identify(path, identity);
	report_identity(is_backing ? "backing" : "cache", path, identity, holder);
	return status;
}

static int refuse_signature(const struct work *work)
{
	const struct identity *identity = &work->backing_identity;
	const struct signature *container = find_container(&identity->signatures);
	const char *danger = dangerous_signature(identity);
	char line[WORDS];

	if (common_forced(common_of(work), "signature"))
		return 0;
	if (container)
		return refuse_container(common_of(work), work->backing_path, "BACKING", container,
					" (--force=signature overrides this)");
	if (!danger)
		return 0;
	identity_line(identity, work->backing_path, line, sizeof(line));
	return common_refuse(common_of(work), work->backing_path,
			     "BACKING carries the signature of %s: is this the right disk? (%s; --force=signature overrides this)",
			     danger, line);
}

/* The marker goes where the cache begins. */
static int narrow_marker(struct work *work)
{
	struct wb_error err;
	int failed = hook_device(&work->marker_dev, &err);

	if (!failed && wb_dev_whole(work->cache_dev) != work->cache_dev)
		failed = wb_dev_window(&work->marker_dev, work->marker_dev, wb_dev_start(work->cache_dev),
				       wb_dev_size(work->cache_dev), &err);
	return failed ? common_failed(common_of(work), work->cache_path, &err, NULL) : 0;
}

/* Whether CACHE is read-only for everybody. */
static bool cache_is_read_only(const struct work *work)
{
	int fd = work->cache_identity.is_block ? open(place_of(work->cache_path), O_RDONLY | O_CLOEXEC) : -1, read_only = 0;

	if (fd >= 0 && ioctl(fd, BLKROGET, &read_only))
		read_only = 0;
	if (fd >= 0)
		close(fd);
	return read_only || (access(place_of(work->cache_path), W_OK) && errno == EROFS);
}

static int warn_of_no_end(struct work *work)
{
	const struct common *common = common_of(work);

	if (work->options->detach)
		return common_refuse(common, work->cache_path, "--detach must write the end of the log to CACHE, and %s: leave "
				     "--detach out", work->no_end);
	common_warn(common, "%s: %s; the log %s not be ended", work->cache_path, work->no_end,
		    work->options->dry_run ? "would" : "will");
	return 0;
}

static bool is_cache(const struct work *work, const struct wb_dev *dev)
{
	const struct wb_dev *cache = wb_dev_whole(work->cache_dev);

	return wb_dev_same(cache, dev) && wb_dev_size(cache) == wb_dev_size(dev);
}

/* CACHE is opened read-only; the closing marker goes through a descriptor of its own. */
int flush_open_marker(struct work *work)
{
	const struct flush_options *options = work->options;
	struct wb_error err;

	work->no_end = wb_dev_start(work->cache_dev) < 0 ? "its sector 0 is not on this device" :
		       cache_is_read_only(work)		 ? "it is read-only" :
		       (options->keep || options->dry_run) && access(place_of(work->cache_path), W_OK) ? "it cannot be written" : NULL;
	if (options->keep)
		return 0;
	if (work->no_end)
		return warn_of_no_end(work);
	if (options->dry_run)
		return 0;
	if (!wb_dev_open(&work->marker_dev, place_of(work->cache_path), WB_OPEN_WRITE, &err))
		return is_cache(work, work->marker_dev) ? narrow_marker(work) :
		       common_refuse(common_of(work), work->cache_path, "this name leads to another device now than when CACHE was "
				     "opened; nothing was changed");
	if (options->detach)
		return common_failed(common_of(work), work->cache_path, &err,
				     "--detach must write the end of the log to CACHE: make it writable, or leave --detach out");
	work->no_end = "it cannot be written";
	common_warn(common_of(work), "%s: cannot be written (%s); the log will not be ended", work->cache_path, err.text);
	return 0;
}

/* What a clone lacks counts as flush_unreadable, not as zeroes. */
static int mask_clone(struct work *work)
{
	const char *path = work->options->map_path;
	struct wb_fault fault = { .cut_after = UINT64_MAX };
	struct stat st;
	struct wb_error err;

	if (!path)
		return 0;
	if (stat(place_of(path), &st) || !S_ISREG(st.st_mode)) /* opening a FIFO would wait */
		return common_refuse(common_of(work), path, "%s", place_error(path) ? strerror(place_error(path)) :
				     "a map is a regular file");
	if (wb_map_load(&work->clone_map, place_of(path), wb_dev_size(work->cache_dev), &err))
		return common_failed(common_of(work), path, &err, NULL);
	if (work->clone_map.covered > wb_dev_size(work->cache_dev))
		common_warn(common_of(work), "%s: the map is of %" PRIu64 " bytes, CACHE has %" PRIu64 ": is it the map of this clone?",
			    path, work->clone_map.covered, wb_dev_size(work->cache_dev));
	fault.bad = work->clone_map.bad;
	fault.bad_count = work->clone_map.count;
	if (wb_dev_fault(&work->cache_dev, work->cache_dev, &fault, &err))
		return common_failed(common_of(work), path, &err, NULL);
	return 0;
}

static void warn_of_unreadable(const struct work *work)
{
	const struct wb_cache *cache = &work->cache;

	if (cache->super == WB_SUPER_UNREADABLE)
		common_warn(common_of(work), "%s: at byte 0: sector 0 cannot be read; the segments alone prove the log",
			    work->cache_path);
	if (cache->record_unreadable)
		common_warn(common_of(work), "%s: at byte %u: the superblock record cannot be read; %s", work->cache_path,
			    WB_RECORD_OFFSET, cache->geometry.format && cache->geometry.format->record_binds ?
			    "which segments were discarded is not known" : "it is taken as 0, which loses nothing");
}

/* Of a clone the map says already what could not be read: nothing is left to rescue. */
static int open_log(struct work *work, const struct wb_overrides *overrides)
{
	const struct common *common = common_of(work);
	struct wb_error err = { .code = WB_OK };

	if (work->options->map_path && !wb_cache_open(&work->cache, work->cache_dev, overrides, &err))
		return 0;
	if (err.code != WB_ESUPER || work->cache.super != WB_SUPER_UNREADABLE)
		return common_open_cache(common, &work->cache, work->cache_dev, work->cache_path, overrides);
	int status = common_failed(common, work->cache_path, &err, "the map says that sector 0 was not rescued, so whether the log was "
				   "ended is not known; --force=ended reads the log, which the segments prove");

	next_step(common, NULL, "dry-run", "-n --force=ended", NULL, "if the log was not ended");
	return status;
}

int flush_open_cache(struct work *work)
{
	const struct common *common = common_of(work);
	struct wb_overrides overrides = common->overrides;
	unsigned exclusive = work->options->dry_run ? WB_OPEN_TRY : WB_OPEN_EXCLUSIVE;
	char foreign[WORDS];
	int status = guard_device(work, false, &work->cache_identity);

	if (!status)
		status = common_open(common, &work->cache_dev, work->cache_path, WB_OPEN_READ | exclusive);
	overrides.any_super = common_forced(common, "ended");
	if (!status)
		status = mask_clone(work);
	if (!status)
		status = part_choose(common, &work->cache_dev, work->cache_path, PART_WRITE, foreign, sizeof(foreign));
	if (!status)
		status = open_log(work, &overrides);
	if (!status)
		warn_of_unreadable(work);
	if (status || work->cache.super != WB_SUPER_DAMAGED)
		return status;
	status = common_refuse(common, work->cache_path, "sector 0 is damaged; wb-check --repair restores it, then run this again");
	next_step(common, "wb-check", NULL, NULL, NULL, "says whether and how it can be restored");
	return status;
}

/* Swapped operands would destroy the log. */
static int refuse_writeboost_header(struct work *work)
{
	if (!carries_header(work->backing) || common_forced(common_of(work), "signature"))
		return 0;
	return common_refuse(common_of(work), work->backing_path,
			     "BACKING carries a writeboost header: are the two operands swapped? (--force=signature overrides this)");
}

int flush_open_backing(struct work *work)
{
	unsigned flags = work->options->dry_run ? WB_OPEN_READ | WB_OPEN_TRY : WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE;
	int status = guard_device(work, true, &work->backing_identity);

	if (!status)
		status = refuse_signature(work);
	if (!status && !work->options->dry_run)
		status = refuse_read_only(common_of(work), work->backing_path, false);
	if (!status)
		status = common_open(common_of(work), &work->backing, work->backing_path, flags);
	if (status)
		return status;
	return refuse_writeboost_header(work);
}

/* Segments that are missing where a sparse image has nothing: a clone that was not rescued there looks like that. */
int flush_warn_of_holes(struct work *work)
{
	const struct wb_geometry *geometry = &work->cache.geometry;
	uint64_t first = 0, count = 0;
	uint64_t missing = wb_geometry_missing(geometry, work->ring.resized ? work->ring.candidates[0] : geometry->slots);
	int fd = work->cache_identity.is_block || !work->ring.holes ? -1 : open(place_of(work->cache_path), O_RDONLY | O_CLOEXEC);

	if (missing)
		common_warn(common_of(work), "%s: %s", work->cache_path, words_missing(work->cache_dev, missing));
	for (uint32_t i = 0; fd >= 0 && i < geometry->slots; i++) {
		uint64_t due = wb_ring_due(&work->ring, i), place = (uint64_t)wb_dev_start(work->cache_dev) + wb_slot_offset(geometry, i);

		if (!due || !wb_ring_is_hole(&work->ring, due) || wb_slot_offset(geometry, i) >= geometry->bytes ||
		    !lies_in_hole(fd, place, WB_BLOCK))
			continue;
		first = count++ ? first : place;
	}
	if (fd >= 0)
		close(fd);
	if (count)
		common_warn(common_of(work), "%s: at byte %" PRIu64 ": headers of missing segments (%" PRIu64 ") lie in holes of this sparse image. Is it a clone "
			    "that was not rescued there? Then give its ddrescue map to --cache-map", work->cache_path, first, count);
	return 0;
}

/* A file system that lives on one of the devices must not be written to now. */
int flush_refuse_places(struct work *work)
{
	const struct flush_options *options = work->options;
	const char *const files[] = { options->undo_path, options->state_path, options->failed_path, options->report_path };

	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (files[i] && (file_lives_on(files[i], work->cache_path) || file_lives_on(files[i], work->backing_path)))
			return common_refuse(common_of(work), files[i], "this file would lie on CACHE or BACKING themselves; "
					     "choose another place");
	return 0;
}
