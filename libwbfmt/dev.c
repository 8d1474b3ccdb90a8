/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What holds for every device: range checks, once, and the first failure of a batch made an error. */
#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "dev.h"
#include "error.h"

uint64_t wb_dev_size(const struct wb_dev *dev)
{
	return dev->size;
}

unsigned wb_dev_block(const struct wb_dev *dev)
{
	return dev->block;
}

unsigned wb_dev_physical_block(const struct wb_dev *dev)
{
	return dev->physical > dev->block ? dev->physical : dev->block;
}

int wb_dev_fd(const struct wb_dev *dev)
{
	return dev->fd_or_none - 1;
}

bool wb_dev_is_block(const struct wb_dev *dev)
{
	return dev->is_block;
}

uint64_t wb_dev_number(const struct wb_dev *dev)
{
	return dev->number;
}

bool wb_dev_busy(const struct wb_dev *dev)
{
	return dev && dev->busy;
}

int wb_dev_lock_error(const struct wb_dev *dev)
{
	return dev->lock_error;
}

bool wb_dev_same(const struct wb_dev *a, const struct wb_dev *b)
{
	return a == b || (a->device == b->device && a->inode == b->inode && a->is_block == b->is_block && a->device);
}

const struct wb_pack_info *wb_dev_pack_info(const struct wb_dev *dev)
{
	return dev->pack;
}

static int first_failure(const struct wb_dev *dev, const struct wb_io *io, unsigned n, struct wb_error *err)
{
	for (unsigned i = 0; i < n; i++)
		if (io[i].result && io[i].result != -ECANCELED)
			return wb_blame(dev, wb_fail(err, WB_EIO, -io[i].result, io[i].offset, "%s%s%s %u bytes at byte %llu: %s",
						     io[i].write && !io[i].reading ? "writing" : "reading",
						     io[i].reading ? " " : "", io[i].reading ? io[i].reading : "",
						     io[i].length, (unsigned long long)io[i].offset,
						     strerror(-io[i].result)), err);
	return 0;
}

static bool in_range_of(const struct wb_dev *dev, const struct wb_io *io)
{
	uint64_t size = dev->grows && io->write ? INT64_MAX : dev->size;

	return io->offset <= size && io->length <= size - io->offset;
}

static void grow(struct wb_dev *dev, const struct wb_io *io, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (io[i].write && !io[i].result)
			dev->size = wb_max(dev->size, io[i].offset + io[i].length);
}

int wb_dev_submit(struct wb_dev *dev, struct wb_io *io, unsigned n, struct wb_error *err)
{
	bool in_range = true;

	for (unsigned i = 0; i < n; i++) {
		bool inside = in_range_of(dev, &io[i]);

		io[i].result = inside ? 0 : -ERANGE;
		io[i].reading = NULL;
		in_range &= inside;
	}
	for (unsigned i = 0; i < n && !in_range; i++)
		io[i].result = io[i].result ? io[i].result : -ECANCELED;
	if (in_range)
		dev->ops->submit(dev, io, n);
	if (dev->grows)
		grow(dev, io, n);
	return first_failure(dev, io, n, err);
}

int wb_dev_read(struct wb_dev *dev, uint64_t offset, void *buffer, uint32_t length, struct wb_error *err)
{
	struct wb_io io = { .buffer = buffer, .offset = offset, .length = length };

	return wb_dev_submit(dev, &io, 1, err);
}

int wb_dev_write(struct wb_dev *dev, uint64_t offset, const void *buffer, uint32_t length, struct wb_error *err)
{
	struct wb_io io = { .buffer = (void *)(uintptr_t)buffer, .offset = offset, .length = length, .write = true };

	return wb_dev_submit(dev, &io, 1, err);
}

int wb_dev_flush(struct wb_dev *dev, struct wb_error *err)
{
	int failed = dev->ops->flush(dev);

	if (failed)
		return wb_blame(dev, wb_fail(err, WB_EIO, -failed, WB_NO_OFFSET, "flushing: %s", strerror(-failed)), err);
	return 0;
}

int wb_dev_discard(struct wb_dev *dev, uint64_t offset, uint64_t length, struct wb_error *err)
{
	int failed = offset > dev->size || length > dev->size - offset ? -ERANGE :
		     dev->ops->discard ? dev->ops->discard(dev, offset, length) : -EOPNOTSUPP;

	if (failed)
		return wb_blame(dev, wb_fail(err, WB_EIO, -failed, offset, "discarding %llu bytes at byte %llu: %s",
					     (unsigned long long)length, (unsigned long long)offset, strerror(-failed)), err);
	return 0;
}

void wb_dev_forget(struct wb_dev *dev)
{
	if (dev->ops->forget)
		dev->ops->forget(dev);
}

void wb_dev_close(struct wb_dev *dev)
{
	if (dev)
		dev->ops->close(dev);
}
