/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Puts back what an undo file recorded, newest first, after a look at every sector: what somebody has
 * changed since is not overwritten. Being cut off in it does no harm, the next run does it all again.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "undo.h"

#define SECTORS_MAX (WB_UNDO_MAX / WB_SECTOR)

/* Sectors of a device, side by side, that the records looked at so far speak of: whether each holds what one of these
 * records found there or what was written then. */
struct window {
	uint32_t device;
	uint32_t sectors;
	uint64_t offset;
	bool known[SECTORS_MAX];
};

struct restorer {
	struct wb_undo *undo;
	struct wb_dev *const *devs;
	struct wb_undo_result *result;
	struct wb_undo_record *records; /* undo->count of them */
	uint64_t bytes;                 /* that they speak of */
	uint8_t *payload, *now;         /* of the current record: as recorded, as the device holds it */
	struct window window;
	uint32_t changed_device;        /* of the first changed sector */
	uint64_t changed_offset;
};

static int by_offset(const void *one, const void *other)
{
	const struct wb_undo_record *a = one, *b = other;

	if (a->device != b->device)
		return a->device < b->device ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static int newest_first(const void *one, const void *other)
{
	const struct wb_undo_record *a = one, *b = other;

	return a->at > b->at ? -1 : a->at < b->at;
}

/* The undo file is to blame for a failure in here. */
static int read_payload(struct restorer *restorer, const struct wb_undo_record *record, struct wb_error *err)
{
	restorer->result->device = restorer->undo->device_count;
	return wb_undo_payload(restorer->undo, record, restorer->payload, err);
}

static void count_changed(struct restorer *restorer, uint64_t offset)
{
	if (restorer->result->changed_sectors++)
		return;
	restorer->changed_device = restorer->window.device;
	restorer->changed_offset = offset;
}

/* No record that is still to come, in order of offsets, begins before this place: judges the sectors before it. */
static void move_window(struct restorer *restorer, uint32_t device, uint64_t offset)
{
	struct window *window = &restorer->window;
	uint32_t done = window->sectors;

	if (device == window->device)
		done = (uint32_t)wb_min(done, (offset - window->offset) / WB_SECTOR);
	for (uint32_t i = 0; i < done; i++)
		if (!window->known[i])
			count_changed(restorer, window->offset + (uint64_t)i * WB_SECTOR);
	window->sectors -= done;
	memmove(window->known, window->known + done, window->sectors * sizeof(window->known[0]));
	window->device = device;
	window->offset = offset;
}

static void widen_window(struct window *window, uint32_t sectors)
{
	for (; window->sectors < sectors; window->sectors++)
		window->known[window->sectors] = false;
}

/* The device holds the sector as it was found or as it was written. whole: restorer->now has been read. */
static bool holds_old_or_new(struct restorer *restorer, const struct wb_undo_record *record, uint32_t sector, bool whole)
{
	size_t at = (size_t)sector * WB_SECTOR;
	const uint8_t *sums = restorer->payload + record->length;

	if (!whole && wb_dev_read(restorer->devs[record->device], record->offset + at, restorer->now + at, WB_SECTOR, NULL))
		return false;
	return !memcmp(restorer->now + at, restorer->payload + at, WB_SECTOR) ||
	       wb_undo_sum(restorer->now + at, WB_SECTOR) == wb_get_le(sums + sector * WB_UNDO_SUM, WB_UNDO_SUM);
}

static int look_at(struct restorer *restorer, const struct wb_undo_record *record, struct wb_error *err)
{
	uint32_t sectors = record->length / WB_SECTOR;
	int ret = read_payload(restorer, record, err);

	if (ret)
		return ret;
	bool whole = !wb_dev_read(restorer->devs[record->device], record->offset, restorer->now, record->length, NULL);

	move_window(restorer, record->device, record->offset);
	widen_window(&restorer->window, sectors);
	for (uint32_t i = 0; i < sectors; i++)
		restorer->window.known[i] |= holds_old_or_new(restorer, record, i, whole);
	restorer->result->sectors += sectors;
	return 0;
}

/* Whether a record covers sector 0 of the cache on that device. */
static bool covers_super(const struct wb_undo *undo, const struct wb_undo_record *record)
{
	uint64_t start = (uint64_t)undo->devices[record->device].start;

	return record->offset <= start && start - record->offset < record->length;
}

/* The log was ended after this file was begun, and the record of that is not here. */
static void look_for_ends(struct restorer *restorer)
{
	const struct wb_undo *undo = restorer->undo;
	bool covered[WB_UNDO_DEVICES] = { false };
	uint8_t sector[WB_SECTOR];
	struct wb_marker marker;

	for (size_t i = 0; i < undo->count; i++)
		covered[restorer->records[i].device] |= covers_super(undo, &restorer->records[i]);
	for (unsigned i = 0; i < undo->device_count; i++) {
		const struct wb_undo_device *device = &undo->devices[i];

		if (covered[i] || device->start < 0 || device->size < WB_SECTOR || (uint64_t)device->start > device->size - WB_SECTOR ||
		    wb_dev_read(restorer->devs[i], (uint64_t)device->start, sector, WB_SECTOR, NULL) ||
		    !wb_marker_decode(sector, &marker) || marker.time < undo->created)
			continue;
		restorer->result->unrecorded_end = true;
		restorer->result->ended_device = i;
		restorer->result->ended = marker.time;
	}
}

static int refuse_cut(struct restorer *restorer, unsigned force, struct wb_error *err)
{
	const struct wb_undo *undo = restorer->undo;
	struct wb_undo_result *result = restorer->result;

	look_for_ends(restorer);
	if (force & WB_UNDO_CUT)
		return 0;
	if (undo->cut)
		return wb_fail(err, WB_ECUT, 0, undo->cut_at, "records of the undo file are missing from here on");
	if (!result->unrecorded_end)
		return 0;
	result->device = result->ended_device;
	return wb_fail(err, WB_ECUT, 0, 0, "the log was ended after the undo file was begun, which the file has no record of");
}

static int look_at_all(struct restorer *restorer, unsigned force, const struct wb_progress *progress, struct wb_error *err)
{
	struct wb_undo_result *result = restorer->result;
	size_t count = (size_t)restorer->undo->count;
	uint64_t done = 0;
	int ret = 0;

	qsort(restorer->records, count, sizeof(*restorer->records), by_offset);
	for (size_t i = 0; i < count && !ret; i++) {
		ret = wb_poll(progress, "looking at what is there now", done, restorer->bytes, err);
		if (!ret)
			ret = look_at(restorer, &restorer->records[i], err);
		done += restorer->records[i].length;
	}
	move_window(restorer, restorer->undo->device_count, 0);
	if (ret || !result->changed_sectors || force & WB_UNDO_CHANGED)
		return ret;
	result->device = restorer->changed_device;
	return wb_fail(err, WB_ECHANGED, 0, restorer->changed_offset,
		       "%llu sector%s neither the recorded nor the written data", (unsigned long long)result->changed_sectors,
		       result->changed_sectors == 1 ? " holds" : "s hold");
}

static int put_back(struct restorer *restorer, const struct wb_undo_record *record, struct wb_error *err)
{
	int ret = read_payload(restorer, record, err);

	if (ret)
		return ret;
	restorer->result->device = record->device;
	ret = wb_dev_write(restorer->devs[record->device], record->offset, restorer->payload, record->length, err);
	restorer->result->written_sectors += ret ? 0 : record->length / WB_SECTOR;
	return ret;
}

/* Where the command flushed, this does too: it may have made durable what must not stand beside what it wrote next. And
 * what one device got is durable before another is touched: while the log of CACHE is armed again, BACKING may hold
 * anything it held during the run. */
static int put_back_all(struct restorer *restorer, const struct wb_progress *progress, struct wb_error *err)
{
	const struct wb_undo_record *records = restorer->records;
	size_t count = (size_t)restorer->undo->count;
	uint64_t done = 0;
	int ret = 0;

	qsort(restorer->records, count, sizeof(*restorer->records), newest_first);
	for (size_t i = 0; i < count && !ret; i++) {
		ret = wb_poll(progress, "putting back", done, restorer->bytes, err);
		if (!ret)
			ret = put_back(restorer, &records[i], err);
		if (!ret && (i + 1 == count || records[i + 1].device != records[i].device || records[i].after_flush))
			ret = wb_dev_flush(restorer->devs[records[i].device], err);
		done += records[i].length;
	}
	return ret;
}

static int check_devices(const struct restorer *restorer, struct wb_error *err)
{
	const struct wb_undo *undo = restorer->undo;

	for (unsigned i = 0; i < undo->device_count; i++) {
		restorer->result->device = i;
		if (wb_dev_size(restorer->devs[i]) < undo->devices[i].size)
			return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "the device has %llu bytes, and the recorded one had %llu",
				       (unsigned long long)wb_dev_size(restorer->devs[i]),
				       (unsigned long long)undo->devices[i].size);
	}
	return 0;
}

static int collect_records(struct restorer *restorer, struct wb_error *err)
{
	const struct wb_undo *undo = restorer->undo;
	uint64_t at = undo->begin;
	int more = 1;

	restorer->result->device = undo->device_count;
	for (size_t i = 0; i < undo->count && more == 1; i++) {
		more = wb_undo_next(undo, &at, &restorer->records[i], err);
		restorer->bytes += restorer->records[i].length;
	}
	return more < 0 ? more : 0;
}

static int restorer_open(struct restorer *restorer, struct wb_error *err)
{
	void *now = NULL, *payload = NULL;

	if (restorer->undo->count < SIZE_MAX / sizeof(*restorer->records))
		restorer->records = calloc((size_t)restorer->undo->count + 1, sizeof(*restorer->records));
	if (!posix_memalign(&now, WB_BLOCK, WB_UNDO_MAX))
		restorer->now = now;
	if (!posix_memalign(&payload, WB_BLOCK, WB_UNDO_PAYLOAD))
		restorer->payload = payload;
	return restorer->records && restorer->now && restorer->payload ? 0 : wb_no_memory(err, "the records of the undo file");
}

static void restorer_close(struct restorer *restorer)
{
	free(restorer->payload);
	free(restorer->now);
	free(restorer->records);
}

int wb_undo_restore(struct wb_undo *undo, struct wb_dev *const *devs, unsigned force, bool dry_run, uint64_t now,
		    struct wb_undo_result *result, const struct wb_progress *progress, struct wb_error *err)
{
	struct restorer restorer = { .undo = undo, .devs = devs, .result = result };
	int ret;

	*result = (struct wb_undo_result){ .device = undo->device_count };
	ret = restorer_open(&restorer, err);
	if (!ret)
		ret = check_devices(&restorer, err);
	if (!ret)
		ret = collect_records(&restorer, err);
	if (dry_run)
		force = WB_UNDO_CHANGED | WB_UNDO_CUT;
	if (!ret)
		ret = refuse_cut(&restorer, force, err);
	if (!ret)
		ret = look_at_all(&restorer, force, progress, err);
	if (!ret && !dry_run) {
		result->device = undo->device_count;
		ret = wb_undo_mark_begun(undo, now, err);
	}
	if (!ret && !dry_run)
		ret = put_back_all(&restorer, progress, err);
	if (!ret && !dry_run) {
		result->device = undo->device_count;
		ret = wb_undo_mark(undo, now, err);
		if (!ret)
			ret = wb_undo_finish(undo, now, err);
	}
	restorer_close(&restorer);
	return ret;
}
