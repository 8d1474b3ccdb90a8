/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A part of a device as a device of its own: a partition of a disk, or a start that moved, even to before byte 0. */
#include <errno.h>
#include <stdlib.h>

#include "bytes.h"
#include "dev.h"
#include "error.h"

struct window {
	struct wb_dev dev;
	struct wb_dev *inner;
	int64_t start; /* byte of inner that is byte 0 here */
};

static bool lies_before_inner(const struct window *window, const struct wb_io *io)
{
	return window->start < 0 && io->offset < -(uint64_t)window->start;
}

static void move(struct wb_io *io, unsigned n, uint64_t distance)
{
	for (unsigned i = 0; i < n; i++)
		io[i].offset += distance; /* modulo 2^64: the sum lies within inner */
}

static void submit_one_by_one(struct window *window, struct wb_io *io, unsigned n)
{
	bool write_failed = false;

	for (unsigned i = 0; i < n; i++) {
		if (io[i].write && write_failed) {
			io[i].result = -ECANCELED;
		} else if (lies_before_inner(window, &io[i])) {
			io[i].result = -EIO;
		} else {
			move(&io[i], 1, (uint64_t)window->start);
			wb_dev_submit(window->inner, &io[i], 1, NULL);
			move(&io[i], 1, -(uint64_t)window->start);
		}
		write_failed |= io[i].write && io[i].result;
	}
}

static void window_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct window *window = (struct window *)dev;

	for (unsigned i = 0; i < n; i++)
		if (lies_before_inner(window, &io[i])) {
			submit_one_by_one(window, io, n);
			return;
		}
	move(io, n, (uint64_t)window->start);
	wb_dev_submit(window->inner, io, n, NULL);
	move(io, n, -(uint64_t)window->start);
}

static int window_flush(struct wb_dev *dev)
{
	struct wb_dev *inner = ((struct window *)dev)->inner;

	return inner->ops->flush(inner);
}

static int window_discard(struct wb_dev *dev, uint64_t offset, uint64_t length)
{
	const struct window *window = (const struct window *)dev;
	const struct wb_io range = { .offset = offset };

	if (lies_before_inner(window, &range))
		return -EIO;
	if (!window->inner->ops->discard)
		return -EOPNOTSUPP;
	return window->inner->ops->discard(window->inner, offset + (uint64_t)window->start, length);
}

static void window_forget(struct wb_dev *dev)
{
	wb_dev_forget(((struct window *)dev)->inner);
}

static void window_close(struct wb_dev *dev)
{
	wb_dev_close(((struct window *)dev)->inner);
	free(dev);
}

static const struct wb_dev_ops window_ops = {
	.submit = window_submit,
	.flush = window_flush,
	.discard = window_discard,
	.forget = window_forget,
	.close = window_close,
};

struct wb_dev **wb_window_inner(struct wb_dev *dev)
{
	return dev->ops == &window_ops ? &((struct window *)dev)->inner : NULL;
}

struct wb_dev *wb_dev_whole(struct wb_dev *dev)
{
	struct wb_dev **inner = wb_window_inner(dev);

	return inner ? *inner : dev;
}

int64_t wb_dev_start(const struct wb_dev *dev)
{
	return dev->ops == &window_ops ? ((const struct window *)dev)->start : 0;
}

int wb_dev_window(struct wb_dev **dev, struct wb_dev *inner, int64_t start, uint64_t size, struct wb_error *err)
{
	uint64_t whole = wb_dev_size(inner), left = whole - (uint64_t)start; /* modulo 2^64 where start is negative */
	struct window *window;

	if (start > 0 && (uint64_t)start >= whole)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "the part begins at byte %lld, and the device has %llu bytes",
			       (long long)start, (unsigned long long)whole);
	if (start < 0 && left < whole)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "the part would have more than 2^64 bytes");
	if (size > left)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "the part has %llu bytes from byte %lld on, and the device ends "
			       "%llu bytes earlier", (unsigned long long)size, (long long)start, (unsigned long long)(size - left));
	window = calloc(1, sizeof(*window));
	if (!window)
		return wb_no_memory(err, "a device");
	*window = (struct window){ .dev = *inner, .inner = inner, .start = start };
	window->dev.ops = &window_ops;
	window->dev.size = size ? size : left;
	window->dev.grows = false;
	if (start % (int64_t)wb_max(1, inner->physical))
		window->dev.physical = 0;
	*dev = &window->dev;
	return 0;
}
