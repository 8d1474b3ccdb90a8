/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A wrapper for dry runs: what is written is kept in memory, and read again from there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "dev.h"
#include "error.h"

struct sector {
	uint64_t lba;
	uint8_t bytes[WB_SECTOR];
};

struct overlay {
	struct wb_dev dev;
	struct wb_dev *inner;
	struct sector *sectors; /* ascending */
	size_t count;
};

static uint64_t lba_of(const void *sectors, size_t i)
{
	return ((const struct sector *)sectors)[i].lba;
}

/* The first one at or behind an address. */
static size_t find(const struct overlay *overlay, uint64_t lba)
{
	return wb_first_from(overlay->sectors, overlay->count, lba_of, lba);
}

/* The sector as it is to be seen, for writing into it, until the next is taken. *result: a negative errno with NULL. */
static struct sector *take_sector(struct overlay *overlay, uint64_t lba, int *result)
{
	size_t at = find(overlay, lba);
	uint64_t offset = lba * WB_SECTOR;
	struct wb_io io = { .offset = offset, .length = (uint32_t)wb_min(WB_SECTOR, wb_dev_size(overlay->inner) - offset) };
	struct sector *list, sector = { .lba = lba };

	if (at < overlay->count && overlay->sectors[at].lba == lba)
		return &overlay->sectors[at];
	*result = -ENOMEM;
	list = realloc(overlay->sectors, (overlay->count + 1) * sizeof(*list));
	if (!list)
		return NULL;
	overlay->sectors = list;
	io.buffer = sector.bytes;
	if (wb_dev_submit(overlay->inner, &io, 1, NULL)) {
		*result = io.result;
		return NULL;
	}
	memmove(list + at + 1, list + at, (overlay->count - at) * sizeof(*list));
	list[at] = sector;
	overlay->count++;
	return &list[at];
}

static int keep(struct overlay *overlay, const struct wb_io *io)
{
	const uint8_t *from = io->buffer;
	int result = 0;

	for (uint64_t at = io->offset, end = io->offset + io->length, next; at < end; from += next - at, at = next) {
		struct sector *sector = take_sector(overlay, at / WB_SECTOR, &result);

		if (!sector)
			return result;
		next = wb_min(end, (at / WB_SECTOR + 1) * WB_SECTOR);
		memcpy(sector->bytes + at % WB_SECTOR, from, next - at);
	}
	return 0;
}

static void show(const struct overlay *overlay, const struct wb_io *io)
{
	uint64_t end = io->offset + io->length;

	for (size_t i = find(overlay, io->offset / WB_SECTOR); i < overlay->count; i++) {
		const struct sector *sector = &overlay->sectors[i];
		uint64_t begin = wb_max(sector->lba * WB_SECTOR, io->offset);
		uint64_t stop = wb_min((sector->lba + 1) * WB_SECTOR, end);

		if (begin >= stop)
			return;
		memcpy((uint8_t *)io->buffer + (begin - io->offset), sector->bytes + begin % WB_SECTOR, stop - begin);
	}
}

static void overlay_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct overlay *overlay = (struct overlay *)dev;
	bool write_failed = false;

	for (unsigned i = 0; i < n; i++) {
		if (io[i].write) {
			io[i].result = write_failed ? -ECANCELED : keep(overlay, &io[i]);
			write_failed |= io[i].result != 0;
			continue;
		}
		wb_dev_submit(overlay->inner, &io[i], 1, NULL);
		if (!io[i].result)
			show(overlay, &io[i]);
	}
}

static int overlay_flush(struct wb_dev *dev)
{
	(void)dev;
	return 0;
}

static void overlay_close(struct wb_dev *dev)
{
	struct overlay *overlay = (struct overlay *)dev;

	free(overlay->sectors);
	wb_dev_close(overlay->inner);
	free(overlay);
}

static const struct wb_dev_ops overlay_ops = {
	.submit = overlay_submit,
	.flush = overlay_flush,
	.close = overlay_close,
};

int wb_dev_overlay(struct wb_dev **dev, struct wb_dev *inner, struct wb_error *err)
{
	struct overlay *overlay = calloc(1, sizeof(*overlay));
	struct wb_dev *whole = inner, **place = dev;

	if (!overlay)
		return wb_no_memory(err, "a device");
	/* below a window, so that a part of a device stays one */
	for (; wb_window_inner(whole); whole = *place)
		place = wb_window_inner(whole);
	overlay->dev = *whole;
	overlay->dev.ops = &overlay_ops;
	overlay->inner = whole;
	if (place != dev)
		*dev = inner;
	*place = &overlay->dev;
	return 0;
}
