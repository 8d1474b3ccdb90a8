/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device with a limit on the bytes that are read from it: for a quick look at any kind of device. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "dev.h"
#include "error.h"

struct seen {
	struct seen *next;
	uint64_t offset;
	uint32_t length;
	uint8_t bytes[];
};

struct limit {
	struct wb_dev dev;
	struct wb_dev *inner;
	uint64_t left;
	struct seen *seen;
};

static const struct seen *find_seen(const struct limit *limit, const struct wb_io *io)
{
	for (const struct seen *seen = limit->seen; seen; seen = seen->next)
		if (io->offset >= seen->offset && io->length <= seen->length &&
		    io->offset - seen->offset <= seen->length - io->length)
			return seen;
	return NULL;
}

static int read_new(struct limit *limit, const struct wb_io *io)
{
	struct wb_io once = *io;

	if (io->length > limit->left)
		return -EDQUOT;
	wb_dev_submit(limit->inner, &once, 1, NULL);
	limit->left -= io->length;
	struct seen *seen = once.result ? NULL : malloc(sizeof(*seen) + io->length);

	if (seen) { /* without memory it counts again the next time */
		*seen = (struct seen){ .next = limit->seen, .offset = io->offset, .length = io->length };
		memcpy(seen->bytes, io->buffer, io->length);
		limit->seen = seen;
	}
	return once.result;
}

static void limit_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct limit *limit = (struct limit *)dev;

	for (unsigned i = 0; i < n; i++) {
		const struct seen *seen = find_seen(limit, &io[i]);

		if (io[i].write)
			io[i].result = -EROFS;
		else if (seen)
			memcpy(io[i].buffer, seen->bytes + (io[i].offset - seen->offset), io[i].length);
		else if (io[i].length)
			io[i].result = read_new(limit, &io[i]);
	}
}

static int limit_flush(struct wb_dev *dev)
{
	(void)dev;
	return -EROFS;
}

static void limit_forget(struct wb_dev *dev)
{
	wb_dev_forget(((struct limit *)dev)->inner);
}

static void limit_close(struct wb_dev *dev)
{
	struct limit *limit = (struct limit *)dev;

	for (struct seen *seen = limit->seen, *next; seen; seen = next) {
		next = seen->next;
		free(seen);
	}
	wb_dev_close(limit->inner);
	free(limit);
}

static const struct wb_dev_ops limit_ops = {
	.submit = limit_submit,
	.flush = limit_flush,
	.forget = limit_forget,
	.close = limit_close,
};

bool wb_dev_limited(const struct wb_dev *dev)
{
	return dev->ops == &limit_ops;
}

int wb_dev_limit(struct wb_dev **dev, struct wb_dev *inner, uint64_t bytes, struct wb_error *err)
{
	struct limit *limit = calloc(1, sizeof(*limit));

	if (!limit)
		return wb_no_memory(err, "a device");
	*limit = (struct limit){ .dev = *inner, .inner = inner, .left = bytes };
	limit->dev.ops = &limit_ops;
	limit->dev.grows = limit->dev.parallel = false;
	*dev = &limit->dev;
	return 0;
}
