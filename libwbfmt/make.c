/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes an empty cache: byte for byte what the driver leaves after its own first creation. The marker
 * goes first and the header last, so that a valid superblock never stands over old segments.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "format.h"

#define BATCH 256u
#define DISCARD (UINT64_C(1) << 30) /* so much at once: a signal is heeded in between */

static int write_marker(struct wb_dev *dev, uint64_t now, struct wb_error *err)
{
	const struct wb_marker marker = { .reason = WB_END_FORMAT, .time = now };

	return wb_cache_end(dev, &marker, err);
}

/* What is discarded may come back, sector 0 too: it keeps its marker, and is written again with the rest of the first MiB. */
int wb_cache_discard(struct wb_dev *dev, uint64_t now, const struct wb_progress *progress, struct wb_error *err)
{
	uint64_t end = wb_dev_size(dev) - wb_dev_size(dev) % wb_dev_block(dev);
	int ret = write_marker(dev, now, err);

	for (uint64_t at = WB_FIRST_SLOT; !ret && at < end; at += DISCARD) {
		ret = wb_poll(progress, "discarding", at, end, err);
		if (!ret)
			ret = wb_dev_discard(dev, at, wb_min(DISCARD, end - at), err);
	}
	return ret ? ret : wb_dev_flush(dev, err);
}

/* The metadata of every slot, or its reread: n requests of one block each. */
static int every_slot(struct wb_dev *dev, const struct wb_geometry *geometry, uint8_t *blocks, bool write,
		      const struct wb_progress *progress, struct wb_error *err)
{
	struct wb_io io[BATCH];

	for (uint64_t from = 0; from < geometry->slots; from += BATCH) {
		unsigned n = (unsigned)wb_min(BATCH, geometry->slots - from);
		int ret = wb_poll(progress, write ? "zeroing segment headers" : "rereading segment headers", from * WB_BLOCK,
				  (uint64_t)geometry->slots * WB_BLOCK, err);

		for (unsigned i = 0; i < n; i++)
			io[i] = (struct wb_io){ .buffer = blocks + (write ? 0 : (size_t)i * WB_BLOCK), .write = write,
						.offset = wb_slot_offset(geometry, (uint32_t)from + i),
						.length = WB_BLOCK };
		if (!ret)
			ret = wb_dev_submit(dev, io, n, err);
		for (unsigned i = 0; i < n && !ret && !write; i++)
			if (!wb_all_bytes(io[i].buffer, WB_BLOCK, 0))
				ret = wb_fail(err, WB_EIO, 0, io[i].offset, "slot %u does not hold the zeroes written to it",
					      (unsigned)(from + i));
		if (ret)
			return ret;
	}
	return 0;
}

/* The first MiB behind sector 0, in one request. */
static int zero_first_mib(struct wb_dev *dev, uint8_t *bytes, struct wb_error *err)
{
	memset(bytes, 0, WB_FIRST_SLOT);
	return wb_dev_write(dev, WB_SECTOR, bytes + WB_SECTOR, WB_FIRST_SLOT - WB_SECTOR, err);
}

void wb_super_encode(uint8_t *sector, const struct wb_geometry *geometry)
{
	memset(sector, 0, WB_SECTOR);
	wb_put_le(sector, 4, WB_MAGIC);
	if (geometry->format->order_stored)
		sector[WB_ORDER_BYTE] = (uint8_t)geometry->order;
}

static int reread_first_mib(struct wb_dev *dev, const struct wb_geometry *geometry, uint8_t *bytes,
			    struct wb_error *err)
{
	uint8_t super[WB_SECTOR];
	int ret = wb_dev_read(dev, 0, bytes, WB_FIRST_SLOT, err);

	wb_super_encode(super, geometry);
	if (!ret && (memcmp(bytes, super, WB_SECTOR) ||
		     !wb_all_bytes(bytes + WB_SECTOR, WB_FIRST_SLOT - WB_SECTOR, 0)))
		ret = wb_fail(err, WB_EIO, 0, 0, "the first MiB does not hold what was written to it");
	return ret;
}

int wb_cache_format(struct wb_dev *dev, const struct wb_geometry *geometry, uint64_t now,
		    const struct wb_progress *progress, struct wb_error *err)
{
	uint8_t super[WB_SECTOR];
	void *bytes;
	int ret;

	if (posix_memalign(&bytes, WB_BLOCK, WB_FIRST_SLOT))
		return wb_no_memory(err, "formatting");
	wb_super_encode(super, geometry);
	ret = write_marker(dev, now, err);
	if (!ret)
		ret = zero_first_mib(dev, bytes, err);
	if (!ret)
		ret = every_slot(dev, geometry, bytes, true, progress, err);
	if (!ret)
		ret = wb_dev_flush(dev, err);
	if (!ret)
		ret = wb_dev_write(dev, 0, super, WB_SECTOR, err);
	if (!ret)
		ret = wb_dev_flush(dev, err);
	if (!ret)
		wb_dev_forget(dev);
	if (!ret)
		ret = every_slot(dev, geometry, bytes, false, progress, err);
	if (!ret)
		ret = reread_first_mib(dev, geometry, bytes, err);
	free(bytes);
	return ret;
}
