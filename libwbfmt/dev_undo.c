/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A wrapper that writes nothing before the undo file holds, durably, what it is going to overwrite. */
#include <errno.h>
#include <stdlib.h>

#include "bytes.h"
#include "dev.h"
#include "error.h"
#include "undo.h"

struct recorder {
	struct wb_dev dev;
	struct wb_dev *inner;
	struct wb_undo *undo;
	unsigned device;
	uint8_t *old; /* WB_UNDO_MAX bytes */
};

/* All of these return 0 or a negative errno. */

static int errno_of(const struct wb_error *failure)
{
	if (failure->code == WB_OK)
		return 0;
	return failure->sys ? -failure->sys : failure->code == WB_ENOMEM ? -ENOMEM : -EIO;
}

static int record_part(struct recorder *recorder, uint64_t offset, const uint8_t *new_bytes, uint32_t length,
		       const char **reading)
{
	struct wb_undo *undo = recorder->undo;
	struct wb_io io = { .buffer = recorder->old, .offset = offset, .length = length };

	if (wb_dev_submit(recorder->inner, &io, 1, NULL)) {
		*reading = "what is to be recorded,";
		return io.result;
	}
	wb_undo_add(undo, recorder->device, offset, recorder->old, new_bytes, length, &undo->failure);
	return errno_of(&undo->failure);
}

static int record_write(struct recorder *recorder, struct wb_io *io)
{
	int result = errno_of(&recorder->undo->failure);

	if (!result && (io->offset | io->length) % WB_SECTOR)
		result = -EINVAL;
	for (uint64_t at = 0; at < io->length && !result; at += WB_UNDO_MAX)
		result = record_part(recorder, io->offset + at, (const uint8_t *)io->buffer + at,
				     (uint32_t)wb_min(WB_UNDO_MAX, io->length - at), &io->reading);
	return result;
}

/* Records the writes of a batch and makes that durable. The one that fails gets the result. */
static int record(struct recorder *recorder, struct wb_io *io, unsigned n)
{
	struct wb_undo *undo = recorder->undo;
	struct wb_io *write = NULL;
	int result = 0;

	for (unsigned i = 0; i < n && !result; i++) {
		if (!io[i].write)
			continue;
		write = &io[i];
		result = record_write(recorder, write);
	}
	if (write && !result) {
		wb_undo_end(undo, &undo->failure);
		result = errno_of(&undo->failure);
	}
	if (write && result)
		write->result = result;
	return result;
}

static void undo_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct recorder *recorder = (struct recorder *)dev;

	for (unsigned i = 0; i < n; i++)
		io[i].result = -ECANCELED;
	if (!record(recorder, io, n))
		wb_dev_submit(recorder->inner, io, n, NULL);
}

static int undo_flush(struct wb_dev *dev)
{
	struct recorder *recorder = (struct recorder *)dev;
	int result = recorder->inner->ops->flush(recorder->inner);

	if (!result && recorder->undo->failure.code == WB_OK)
		wb_undo_note(recorder->undo);
	return result;
}

static void undo_forget(struct wb_dev *dev)
{
	wb_dev_forget(((struct recorder *)dev)->inner);
}

static void undo_close(struct wb_dev *dev)
{
	struct recorder *recorder = (struct recorder *)dev;

	wb_dev_close(recorder->inner);
	free(recorder->old);
	free(recorder);
}

static const struct wb_dev_ops undo_ops = {
	.submit = undo_submit,
	.flush = undo_flush,
	.forget = undo_forget,
	.close = undo_close,
};

int wb_dev_undo(struct wb_dev **dev, struct wb_dev *inner, struct wb_undo *undo, unsigned device, struct wb_error *err)
{
	struct wb_dev *whole = inner, **place = dev;
	struct recorder *recorder;
	void *old;

	/* below a window, so that places on the whole device are recorded */
	for (; wb_window_inner(whole); whole = *place)
		place = wb_window_inner(whole);
	if (device >= undo->device_count || undo->devices[device].size != wb_dev_size(whole))
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "the undo file knows no device %u of %llu bytes", device,
			       (unsigned long long)wb_dev_size(whole));
	if (undo->cut)
		return wb_fail(err, WB_ECUT, 0, undo->cut_at, "the undo file lacks records and cannot be continued");
	recorder = calloc(1, sizeof(*recorder));
	if (!recorder || posix_memalign(&old, WB_BLOCK, WB_UNDO_MAX)) {
		free(recorder);
		return wb_no_memory(err, "a device");
	}
	*recorder = (struct recorder){ .dev = *whole, .inner = whole, .undo = undo, .device = device, .old = old };
	recorder->dev.ops = &undo_ops;
	recorder->dev.parallel = false;
	if (place != dev)
		*dev = inner;
	for (struct wb_dev *window = inner; window != whole; window = *wb_window_inner(window))
		window->parallel = false;
	*place = &recorder->dev;
	return 0;
}
