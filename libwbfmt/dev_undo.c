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

static int record_write(struct recorder *recorder, const struct wb_io *io, struct wb_error *err)
{
	int ret = (io->offset | io->length) % WB_SECTOR ?
			  wb_fail(err, WB_EINVAL, 0, io->offset, "only whole sectors can be recorded") : 0;

	for (uint32_t at = 0; at < io->length && !ret; at += WB_UNDO_MAX) {
		uint32_t some = (uint32_t)wb_min(WB_UNDO_MAX, io->length - at);

		ret = wb_dev_read(recorder->inner, io->offset + at, recorder->old, some, err);
		if (!ret)
			ret = wb_undo_add(recorder->undo, recorder->device, io->offset + at, recorder->old,
					  (const uint8_t *)io->buffer + at, some, err);
	}
	return ret;
}

static int record(struct recorder *recorder, const struct wb_io *io, unsigned n)
{
	struct wb_error *err = &recorder->undo->failure;
	bool any = false;
	int ret = 0;

	for (unsigned i = 0; i < n && !ret; i++) {
		any |= io[i].write;
		ret = io[i].write ? record_write(recorder, &io[i], err) : 0;
	}
	return ret || !any ? ret : wb_undo_end(recorder->undo, err);
}

static void undo_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct recorder *recorder = (struct recorder *)dev;

	if (!recorder->undo->failure.code && !record(recorder, io, n)) {
		wb_dev_submit(recorder->inner, io, n, NULL);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		io[i].result = io[i].write && recorder->undo->failure.sys ? -recorder->undo->failure.sys : -EIO;
}

static int undo_flush(struct wb_dev *dev)
{
	struct recorder *recorder = (struct recorder *)dev;

	return recorder->inner->ops->flush(recorder->inner);
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
	struct recorder *recorder = calloc(1, sizeof(*recorder));
	void *old;

	if (!recorder || posix_memalign(&old, WB_BLOCK, WB_UNDO_MAX)) {
		free(recorder);
		return wb_no_memory(err, "a device");
	}
	*recorder = (struct recorder){ .dev = *inner, .inner = inner, .undo = undo, .device = device, .old = old };
	recorder->dev.ops = &undo_ops;
	*dev = &recorder->dev;
	return 0;
}
