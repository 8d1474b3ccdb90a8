/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Puts back what an undo file recorded, newest first, after a look at every sector: what somebody has changed since, or
 * between two of its records, is not overwritten. Being cut off in it does no harm, the next run does it all again.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "undo.h"

#define SECTORS_MAX (WB_UNDO_MAX / WB_SECTOR)

#define CONTENTS 8u /* that are kept of a sector */

/* What the records of a sector say together, from the oldest on. */
struct history {
	bool recorded, unreadable;
	bool broken;             /* a record did not find what was written before: somebody else has written in between */
	bool newest_fits, fits;  /* the sector holds what the newest, what any of them found there or was written then */
	unsigned contents;
	uint32_t sums[CONTENTS]; /* of the last ones it had */
	uint32_t written;        /* sum of what was written last */
	uint64_t run, gap;       /* of the newest record */
};

/* Sectors of a device, side by side, and the records that are about some of them. */
struct window {
	uint32_t device;
	uint64_t begin, end;  /* bytes of the device */
	size_t first, last;   /* records[first] ... records[last - 1], by offset, and others too */
	struct history sectors[SECTORS_MAX];
};

struct restorer {
	struct wb_undo *undo;
	struct wb_dev *const *devs;
	struct wb_undo_result *result;
	struct wb_undo_record *records; /* undo->count of them */
	uint64_t bytes;                 /* that they speak of */
	uint8_t *payload, *now;         /* of the current record: as recorded, as the device holds it */
	struct wb_undo_record **members; /* of the window, oldest first; room for all */
	struct window *window;
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

static int oldest_first(const void *one, const void *other)
{
	const struct wb_undo_record *const *a = one, *const *b = other;

	return (*a)->at < (*b)->at ? -1 : (*a)->at > (*b)->at;
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
	restorer->changed_device = restorer->window->device;
	restorer->changed_offset = offset;
}

static uint64_t end_of(const struct wb_undo_record *record)
{
	return record->offset + record->length;
}

/* Moves on to the recorded sectors that come next, as many as fit; ends between two records if it can. False: there are none. */
static bool next_window(struct restorer *restorer)
{
	const struct wb_undo_record *records = restorer->records;
	struct window *window = restorer->window;
	size_t count = (size_t)restorer->undo->count, first = window->first;

	while (first < count && (records[first].device < window->device ||
				 (records[first].device == window->device && end_of(&records[first]) <= window->end)))
		first++;
	if (first == count)
		return false;
	uint64_t begin = records[first].offset;

	if (records[first].device == window->device)
		begin = wb_max(begin, window->end);
	uint64_t end = begin, reach = begin + WB_UNDO_MAX;
	size_t last = first;

	for (; last < count && records[last].device == records[first].device && records[last].offset < reach; last++) {
		if (end > begin && records[last].offset >= end && end_of(&records[last]) > reach)
			break;
		end = wb_max(end, wb_min(end_of(&records[last]), reach));
	}
	window->device = records[first].device;
	window->begin = begin;
	window->end = end;
	window->first = first;
	window->last = last;
	return true;
}

/* What the device holds now. */
static void read_window(struct restorer *restorer)
{
	struct window *window = restorer->window;
	struct wb_dev *dev = restorer->devs[window->device];
	bool whole = !wb_dev_read(dev, window->begin, restorer->now, (uint32_t)(window->end - window->begin), NULL);

	memset(window->sectors, 0, sizeof(window->sectors));
	for (uint64_t at = window->begin; at < window->end && !whole; at += WB_SECTOR)
		window->sectors[(at - window->begin) / WB_SECTOR].unreadable =
			wb_dev_read(dev, at, restorer->now + (at - window->begin), WB_SECTOR, NULL);
}

static bool had(const struct history *history, uint32_t sum)
{
	for (unsigned i = 0; i < wb_min(history->contents, CONTENTS); i++)
		if (history->sums[i] == sum)
			return true;
	return false;
}

static void remember(struct history *history, uint32_t sum)
{
	if (!had(history, sum))
		history->sums[history->contents++ % CONTENTS] = sum;
}

/* Whether a record may find this after the one before it. A run that goes on after a cut finds what the cut has left. */
static bool follows(const struct history *history, const struct wb_undo_record *record, uint32_t old)
{
	return !history->recorded || old == history->written || record->gap != history->gap ||
	       (record->run != history->run && had(history, old));
}

/* old and now: the bytes of the sector; written: the sum of what was written over it. */
static void take_record(struct history *history, const struct wb_undo_record *record, const uint8_t *old, uint32_t written,
			const uint8_t *now)
{
	uint32_t old_sum = wb_undo_sum(old, WB_SECTOR);

	history->broken |= !follows(history, record, old_sum);
	history->newest_fits = !history->unreadable &&
			       (!memcmp(now, old, WB_SECTOR) || wb_undo_sum(now, WB_SECTOR) == written);
	history->fits |= history->newest_fits;
	history->recorded = true;
	history->written = written;
	history->run = record->run;
	history->gap = record->gap;
	remember(history, old_sum);
	remember(history, written);
}

static int look_at(struct restorer *restorer, const struct wb_undo_record *record, struct wb_error *err)
{
	struct window *window = restorer->window;
	uint64_t begin = wb_max(record->offset, window->begin), end = wb_min(end_of(record), window->end);
	int ret = read_payload(restorer, record, err);

	for (uint64_t at = begin; at < end && !ret; at += WB_SECTOR) {
		uint64_t sector = (at - record->offset) / WB_SECTOR;

		take_record(&window->sectors[(at - window->begin) / WB_SECTOR], record, restorer->payload + sector * WB_SECTOR,
			    (uint32_t)wb_get_le(restorer->payload + record->length + sector * WB_UNDO_SUM, WB_UNDO_SUM),
			    restorer->now + (at - window->begin));
	}
	return ret;
}

/* After a cut, of a command or of putting back, a sector may hold anything it held since. */
static void judge_window(struct restorer *restorer)
{
	const struct window *window = restorer->window;
	bool any = restorer->undo->interrupted || restorer->undo->half_undone;

	for (uint64_t at = window->begin; at < window->end; at += WB_SECTOR) {
		const struct history *history = &window->sectors[(at - window->begin) / WB_SECTOR];

		if (history->recorded && (history->broken || !(any ? history->fits : history->newest_fits)))
			count_changed(restorer, at);
	}
}

static int look_at_window(struct restorer *restorer, const struct wb_progress *progress, uint64_t *done, struct wb_error *err)
{
	const struct window *window = restorer->window;
	size_t count = 0;
	int ret = 0;

	for (size_t i = window->first; i < window->last; i++)
		if (end_of(&restorer->records[i]) > window->begin)
			restorer->members[count++] = &restorer->records[i];
	qsort(restorer->members, count, sizeof(struct wb_undo_record *), oldest_first);
	read_window(restorer);
	for (size_t i = 0; i < count && !ret; i++) {
		ret = wb_poll(progress, "looking at what is there now", wb_min(*done, restorer->bytes), restorer->bytes, err);
		if (!ret)
			ret = look_at(restorer, restorer->members[i], err);
		*done += restorer->members[i]->length;
	}
	if (!ret)
		judge_window(restorer);
	return ret;
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
	uint64_t done = 0;
	int ret = 0;

	qsort(restorer->records, (size_t)restorer->undo->count, sizeof(*restorer->records), by_offset);
	result->sectors = restorer->bytes / WB_SECTOR;
	while (!ret && next_window(restorer))
		ret = look_at_window(restorer, progress, &done, err);
	if (ret || !result->changed_sectors || force & WB_UNDO_CHANGED)
		return ret;
	result->device = restorer->changed_device;
	return wb_fail(err, WB_ECHANGED, 0, restorer->changed_offset,
		       "%llu sector%s written by somebody else, after this or between two runs of it", (unsigned long long)result->changed_sectors,
		       result->changed_sectors == 1 ? " was" : "s were");
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
	uint64_t runs = 0, gaps = 0;
	int more = 1;

	restorer->result->device = undo->device_count;
	for (size_t i = 0; i < undo->count && more == 1; i++) {
		more = wb_undo_next(undo, &at, &restorer->records[i], err);
		restorer->bytes += restorer->records[i].length;
		restorer->records[i].run = runs += restorer->records[i].after_flush;
		restorer->records[i].gap = gaps += restorer->records[i].after_gap;
	}
	return more < 0 ? more : 0;
}

static int restorer_open(struct restorer *restorer, struct wb_error *err)
{
	void *now = NULL, *payload = NULL;

	if (restorer->undo->count < SIZE_MAX / sizeof(*restorer->records))
		restorer->records = calloc((size_t)restorer->undo->count + 1, sizeof(*restorer->records));
	if (restorer->records)
		restorer->members = calloc((size_t)restorer->undo->count + 1, sizeof(struct wb_undo_record *));
	restorer->window = calloc(1, sizeof(*restorer->window));
	if (!posix_memalign(&now, WB_BLOCK, WB_UNDO_MAX))
		restorer->now = now;
	if (!posix_memalign(&payload, WB_BLOCK, WB_UNDO_PAYLOAD))
		restorer->payload = payload;
	return restorer->members && restorer->window && restorer->now && restorer->payload ? 0 : wb_no_memory(err, "the records of the undo file");
}

static void restorer_close(struct restorer *restorer)
{
	free(restorer->payload);
	free(restorer->now);
	free(restorer->window);
	free(restorer->members);
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
