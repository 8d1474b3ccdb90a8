/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device over memory of the caller. */
#include <stdlib.h>
#include <string.h>

#include "dev.h"
#include "error.h"

struct memory {
	struct wb_dev dev;
	uint8_t *bytes;
};

static void memory_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct memory *memory = (struct memory *)dev;

	for (unsigned i = 0; i < n; i++) {
		if (io[i].write)
			memcpy(memory->bytes + io[i].offset, io[i].buffer, io[i].length);
		else
			memcpy(io[i].buffer, memory->bytes + io[i].offset, io[i].length);
	}
}

static int memory_flush(struct wb_dev *dev)
{
	(void)dev;
	return 0;
}

static void memory_close(struct wb_dev *dev)
{
	free(dev);
}

static const struct wb_dev_ops memory_ops = {
	.submit = memory_submit,
	.flush = memory_flush,
	.close = memory_close,
};

int wb_dev_memory(struct wb_dev **dev, void *bytes, uint64_t size, struct wb_error *err)
{
	struct memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return wb_no_memory(err, "a device");
	memory->dev = (struct wb_dev){ .ops = &memory_ops, .number = (uintptr_t)memory, .size = size, .block = WB_SECTOR, .parallel = true };
	memory->bytes = bytes;
	*dev = &memory->dev;
	return 0;
}
