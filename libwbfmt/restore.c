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

struct restorer {
	struct wb_undo *undo;
	struct wb_dev *const *devs;
	struct wb_undo_result *result;
	struct wb_undo_record *records; /* undo->count of them */
	uint8_t *payload, *now; /* of the current record: as recorded, as the device holds it */
	size_t *by_offset;      /* indices of records, by device and offset */
};

static int read_payload(struct restorer *restorer, const struct wb_undo_record *record, struct wb_error *err)
{
	restorer->result->device = restorer->undo->device_count;
	return wb_undo_payload(restorer->undo, record, restorer->payload, err);
}

static int order(const struct wb_undo_record *a, const struct wb_undo_record *b)
{
	if (a->device != b->device)
		return a->device < b->device ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static int compare_indices(const void *a, const void *b, void *context)
{
	const struct wb_undo_record *records = context;

	return order(&records[*(const size_t *)a], &records[*(const size_t *)b]);
}

/* The first of by_offset that may reach into what begins at this offset. */
static size_t first_near(const struct restorer *restorer, uint32_t device, uint64_t offset)
{
	const struct wb_undo_record before = { .device = device,
					       .offset = offset > WB_UNDO_MAX ? offset - WB_UNDO_MAX : 0 };
	size_t low = 0, high = restorer->undo->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (order(&restorer->records[restorer->by_offset[middle]], &before) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Sets covered[i] for every sector of a record that a newer one speaks of too. */
static void find_covered(const struct restorer *restorer, size_t index, bool *covered)
{
	const struct wb_undo_record *record = &restorer->records[index];
	uint64_t end = record->offset + record->length;

	memset(covered, 0, SECTORS_MAX * sizeof(*covered));
	for (size_t i = first_near(restorer, record->device, record->offset); i < restorer->undo->count; i++) {
		const struct wb_undo_record *other = &restorer->records[restorer->by_offset[i]];

		if (other->device != record->device || other->offset >= end)
			break;
		if (restorer->by_offset[i] <= index)
			continue;
		for (uint64_t at = wb_max(other->offset, record->offset);
		     at < wb_min(end, other->offset + other->length); at += WB_SECTOR)
			covered[(at - record->offset) / WB_SECTOR] = true;
	}
}

static bool holds_old_or_new(const struct restorer *restorer, uint32_t length, uint32_t sector)
{
	const uint8_t *now = restorer->now + (size_t)sector * WB_SECTOR;

	return !memcmp(now, restorer->payload + (size_t)sector * WB_SECTOR, WB_SECTOR) ||
	       wb_undo_sum(now, WB_SECTOR) ==
		       wb_get_le(restorer->payload + length + sector * WB_UNDO_SUM, WB_UNDO_SUM);
}

static int check_record(struct restorer *restorer, size_t index, uint64_t *first_changed, struct wb_error *err)
{
	const struct wb_undo_record *record = &restorer->records[index];
	struct wb_undo_result *result = restorer->result;
	bool covered[SECTORS_MAX];
	int ret = read_payload(restorer, record, err);

	if (ret)
		return ret;
	bool readable = !wb_dev_read(restorer->devs[record->device], record->offset, restorer->now, record->length, NULL);

	find_covered(restorer, index, covered);
	for (uint32_t i = 0; i < record->length / WB_SECTOR; i++) {
		if (covered[i] || (readable && holds_old_or_new(restorer, record->length, i)))
			continue;
		if (!result->changed_sectors++)
			*first_changed = record->offset + (uint64_t)i * WB_SECTOR;
		result->device = record->device;
	}
	result->sectors += record->length / WB_SECTOR;
	return 0;
}

static int check_all(struct restorer *restorer, bool force, const struct wb_progress *progress, struct wb_error *err)
{
	struct wb_undo_result *result = restorer->result;
	size_t count = restorer->undo->count;
	unsigned changed_device = 0;
	uint64_t first_changed = 0;
	int ret = 0;

	for (size_t i = count; i-- > 0 && !ret;) {
		ret = wb_poll(progress, "looking at what is there now", count - i, count, err);
		if (!ret)
			ret = check_record(restorer, i, &first_changed, err);
		if (result->changed_sectors && !changed_device)
			changed_device = result->device + 1;
	}
	if (ret || !result->changed_sectors || force)
		return ret;
	result->device = changed_device - 1;
	return wb_fail(err, WB_ECHANGED, 0, first_changed,
		       "%llu sectors hold neither what was recorded nor what was written then",
		       (unsigned long long)result->changed_sectors);
}

/* Newest first. What one device got is durable before another is touched: while the log of CACHE is armed again, BACKING
 * may hold anything it held during the run. */
static int put_back(struct restorer *restorer, const struct wb_progress *progress, struct wb_error *err)
{
	const struct wb_undo *undo = restorer->undo;
	int ret = 0;

	for (size_t i = undo->count; i-- > 0 && !ret;) {
		const struct wb_undo_record *record = &restorer->records[i];

		ret = wb_poll(progress, "putting back", undo->count - i, undo->count, err);
		if (!ret)
			ret = read_payload(restorer, record, err);
		if (ret)
			break;
		restorer->result->device = record->device;
		ret = wb_dev_write(restorer->devs[record->device], record->offset, restorer->payload, record->length, err);
		restorer->result->written_sectors += ret ? 0 : record->length / WB_SECTOR;
		if (!ret && (!i || restorer->records[i - 1].device != record->device))
			ret = wb_dev_flush(restorer->devs[record->device], err);
	}
	return ret;
}

static int restorer_open(struct restorer *restorer, struct wb_error *err)
{
	void *now = NULL, *payload = NULL;
	size_t count = restorer->undo->count;
	uint64_t at = restorer->undo->begin;
	int more = 1;

	restorer->records = calloc(count + 1, sizeof(*restorer->records));
	restorer->by_offset = malloc((count ? count : 1) * sizeof(*restorer->by_offset));
	if (!posix_memalign(&now, WB_BLOCK, WB_UNDO_MAX))
		restorer->now = now;
	if (!posix_memalign(&payload, WB_BLOCK, WB_UNDO_PAYLOAD))
		restorer->payload = payload;
	if (!restorer->records || !restorer->by_offset || !restorer->now || !restorer->payload)
		return wb_no_memory(err, "buffers");
	for (size_t i = 0; i < count; i++)
		restorer->by_offset[i] = i;
	for (size_t i = 0; i < count && more == 1; i++)
		more = wb_undo_next(restorer->undo, &at, &restorer->records[i], err);
	qsort_r(restorer->by_offset, count, sizeof(*restorer->by_offset), compare_indices, restorer->records);
	return more < 0 ? more : 0;
}

static void restorer_close(struct restorer *restorer)
{
	free(restorer->payload);
	free(restorer->now);
	free(restorer->by_offset);
	free(restorer->records);
}

int wb_undo_restore(struct wb_undo *undo, struct wb_dev *const *devs, bool force, bool dry_run, uint64_t now,
		    struct wb_undo_result *result, const struct wb_progress *progress, struct wb_error *err)
{
	struct restorer restorer = { .undo = undo, .devs = devs, .result = result };
	int ret;

	*result = (struct wb_undo_result){ .device = undo->device_count };
	ret = restorer_open(&restorer, err);
	if (!ret)
		ret = check_all(&restorer, force || dry_run, progress, err);
	if (!ret && !dry_run)
		ret = put_back(&restorer, progress, err);
	if (!ret && !dry_run) {
		result->device = undo->device_count;
		ret = wb_undo_mark(undo, now, err);
	}
	restorer_close(&restorer);
	return ret;
}
