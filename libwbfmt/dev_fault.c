/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A wrapper that fails as told: bad ranges, and a power cut. Until the cut it is a disk with a volatile
 * cache: writes wait in a list for the next flush; at the cut the list is lost, kept, torn or reordered.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "dev.h"
#include "error.h"

struct pending {
	struct pending *next;
	uint64_t offset;
	uint32_t length;
	uint8_t bytes[];
};

struct fault {
	struct wb_dev dev;
	struct wb_dev *inner;
	struct wb_fault plan;
	struct wb_power own, *power;
	uint64_t random;
	struct pending *first, **last;
	bool ended; /* what was pending when the power went has met its fate */
	struct wb_dev *next; /* that lingers */
};

/* A range may reach beyond the end of everything. */
static bool ends_by(const struct wb_range *range, uint64_t offset)
{
	return range->offset <= offset && range->length <= offset - range->offset;
}

static bool in_order(const struct wb_range *ranges, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		if (!ends_by(&ranges[i - 1], ranges[i].offset))
			return false;
	return true;
}

static bool bad(const struct fault *fault, uint64_t offset, uint64_t length)
{
	const struct wb_range *ranges = fault->plan.bad;
	unsigned low = 0, high = fault->plan.bad_count;

	while (low < high) { /* the first range that ends behind offset */
		unsigned middle = low + (high - low) / 2;

		if (ends_by(&ranges[middle], offset))
			low = middle + 1;
		else
			high = middle;
	}
	return low < fault->plan.bad_count && ranges[low].offset < offset + length;
}

static int inner_io(struct fault *fault, const struct wb_io *io)
{
	struct wb_io copy = *io;

	wb_dev_submit(fault->inner, &copy, 1, NULL);
	return copy.result;
}

static int apply(struct fault *fault, struct pending *write, uint32_t length)
{
	struct wb_io io = { .buffer = write->bytes, .offset = write->offset, .length = length, .write = true };

	return length ? inner_io(fault, &io) : 0;
}

static uint64_t draw(struct fault *fault)
{
	fault->random = fault->random * 6364136223846793005u + 1442695040888963407u;
	return fault->random >> 33;
}

static void drop_all(struct fault *fault)
{
	while (fault->first) {
		struct pending *write = fault->first;

		fault->first = write->next;
		free(write);
	}
	fault->last = &fault->first;
}

static void cut_power(struct fault *fault)
{
	for (struct pending *write = fault->first; write; write = write->next) {
		switch (fault->plan.cut) {
		case WB_CUT_LOST:
			break;
		case WB_CUT_KEPT:
			apply(fault, write, write->length);
			break;
		case WB_CUT_TORN: /* the last one ends in the middle of its sectors */
			apply(fault, write, write->next ? write->length :
				(uint32_t)(draw(fault) % (write->length / WB_SECTOR + 1) * WB_SECTOR));
			break;
		case WB_CUT_REORDERED:
			if (draw(fault) & 1)
				apply(fault, write, write->length);
			break;
		}
	}
	wb_dev_flush(fault->inner, NULL);
	drop_all(fault);
	fault->power->dead = fault->ended = true;
}

/* The power may have gone while another device was at work. */
static bool is_dead(struct fault *fault)
{
	if (fault->power->dead && !fault->ended)
		cut_power(fault);
	return fault->power->dead;
}

static int remember(struct fault *fault, const struct wb_io *io)
{
	struct pending *write = malloc(sizeof(*write) + io->length);

	if (!write)
		return -ENOMEM;
	*write = (struct pending){ .offset = io->offset, .length = io->length };
	memcpy(write->bytes, io->buffer, io->length);
	*fault->last = write;
	fault->last = &write->next;
	return 0;
}

/* One that grows has not got what waits behind its end. */
static int read_inner(struct fault *fault, const struct wb_io *io)
{
	uint64_t size = wb_dev_size(fault->inner);
	struct wb_io inside = *io;

	inside.length = (uint32_t)wb_min(io->length, size - wb_min(size, io->offset));
	memset((uint8_t *)io->buffer + inside.length, 0, io->length - inside.length);
	return inside.length ? inner_io(fault, &inside) : 0;
}

static int read_through(struct fault *fault, const struct wb_io *io)
{
	int result = bad(fault, io->offset, io->length) ? -EIO : read_inner(fault, io);

	for (struct pending *write = fault->first; write && !result; write = write->next) {
		uint64_t begin = wb_max(io->offset, write->offset);
		uint64_t end = wb_min(io->offset + io->length, write->offset + write->length);

		if (begin < end)
			memcpy((uint8_t *)io->buffer + (begin - io->offset), write->bytes + (begin - write->offset),
			       (size_t)(end - begin));
	}
	return result;
}

/* Counts one write or flush; false when the power goes instead. A torn write is the one under way. */
static bool still_powered(struct fault *fault, const struct wb_io *io)
{
	if (is_dead(fault))
		return false;
	fault->power->writes += io != NULL;
	fault->power->flushes += !io;
	if (fault->power->left) {
		fault->power->left -= fault->power->left != UINT64_MAX;
		return true;
	}
	if (io && fault->plan.cut != WB_CUT_LOST)
		remember(fault, io);
	cut_power(fault);
	return false;
}

static void fault_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct fault *fault = (struct fault *)dev;
	bool write_failed = false;

	for (unsigned i = 0; i < n; i++) {
		if (is_dead(fault))
			io[i].result = -EIO;
		else if (!io[i].write)
			io[i].result = read_through(fault, &io[i]);
		else if (write_failed)
			io[i].result = -ECANCELED;
		else
			io[i].result = still_powered(fault, &io[i]) ? remember(fault, &io[i]) : -EIO;
		write_failed |= io[i].write && io[i].result;
	}
}

static int settle(struct fault *fault)
{
	int result = 0;

	for (struct pending *write = fault->first; write && !result; write = write->next)
		result = apply(fault, write, write->length);
	drop_all(fault);
	return result;
}

static int fault_flush(struct wb_dev *dev)
{
	struct fault *fault = (struct fault *)dev;
	int result;

	if (!still_powered(fault, NULL))
		return -EIO;
	result = settle(fault);
	return result ? result : fault->inner->ops->flush(fault->inner);
}

static void fault_forget(struct wb_dev *dev)
{
	wb_dev_forget(((struct fault *)dev)->inner);
}

static void fault_close(struct wb_dev *dev)
{
	struct fault *fault = (struct fault *)dev;

	if (!is_dead(fault) && fault->first && fault->power->lingers) {
		fault->next = fault->power->lingering;
		fault->power->lingering = dev;
		return;
	}
	if (!is_dead(fault))
		settle(fault);
	wb_dev_close(fault->inner);
	free(fault);
}

void wb_power_end(struct wb_power *power)
{
	struct wb_dev *dev;

	power->lingers = false;
	while ((dev = power->lingering)) {
		power->lingering = ((struct fault *)dev)->next;
		fault_close(dev);
	}
}

static const struct wb_dev_ops fault_ops = {
	.submit = fault_submit,
	.flush = fault_flush,
	.forget = fault_forget,
	.close = fault_close,
};

int wb_dev_fault(struct wb_dev **dev, struct wb_dev *inner, const struct wb_fault *plan, struct wb_error *err)
{
	struct fault *fault;

	if (!in_order(plan->bad, plan->bad_count))
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "bad ranges out of order");
	fault = calloc(1, sizeof(*fault));
	if (!fault)
		return wb_no_memory(err, "a device");
	fault->dev = *inner;
	fault->dev.ops = &fault_ops;
	fault->dev.parallel = false;
	fault->inner = inner;
	fault->plan = *plan;
	fault->own.left = plan->cut_after;
	fault->power = plan->power ? plan->power : &fault->own;
	fault->random = plan->seed;
	fault->last = &fault->first;
	*dev = &fault->dev;
	return 0;
}
