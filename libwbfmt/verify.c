/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verifies the seals: reads the segments that headers announce, whole and in device order, and sums
 * them. With more than one job a second thread sums one batch while the next one is read.
 */
#include <stdlib.h>

#include "bytes.h"
#include "crc32c.h"
#include "error.h"
#include "relay.h"
#include "ring.h"

#define BATCH_SLOTS 256u
#define BATCH_BYTES (4u << 20) /* a segment is at most 1 MiB */

bool wb_slot_wants_data(const struct wb_ring *ring, const struct wb_slot *slot)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	if (slot->flags & WB_SLOT_NO_HEADER || !wb_length_in_range(geometry, slot->length))
		return false;
	if (!wb_seal_covers_data(geometry->format))
		return slot->flags & WB_SLOT_SEALED;
	return slot->id || slot->flags & WB_SLOT_GARBAGE;
}

static void note_zero_data(struct wb_ring *ring, struct wb_slot *slot, const uint8_t *span)
{
	const struct wb_format *format = ring->cache->geometry.format;

	for (unsigned i = 0; i < slot->length; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(format, span, i, &metablock);
		if (metablock.dirty && !wb_all_bytes(span + WB_BLOCK * (i + 1), WB_BLOCK, 0))
			return;
	}
	if (slot->dirty_blocks)
		slot->flags |= WB_SLOT_ZERO_DATA;
}

/* One segment, whole in memory: its seal, the sums of its blocks. */
static void verify(struct wb_ring *ring, uint32_t index, const uint8_t *span, bool lost,
		   const struct wb_crc_shift *over_block)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	struct wb_slot *slot = &ring->slots[index];
	unsigned length = slot->length;
	struct wb_header header;
	uint32_t crc;

	wb_slot_absorb(ring, index, span);
	if (lost)
		slot->flags |= WB_SLOT_NO_DATA;
	if (slot->length != length) /* it changed between the two reads: somebody writes, or the medium lies */
		return;
	crc = wb_crc32c(~0u, span + WB_SUMMED_FROM, WB_BLOCK - WB_SUMMED_FROM);
	for (unsigned i = 0; i < length; i++) {
		uint32_t block = wb_crc32c(0, span + WB_BLOCK * (i + 1), WB_BLOCK);

		crc = wb_crc_shift(over_block, crc) ^ block;
		if (ring->sums)
			ring->sums[(size_t)index * geometry->capacity + i] = (uint16_t)block;
	}
	wb_header_decode(geometry->format, span, &header);
	if (!wb_seal_covers_data(geometry->format))
		lost ? (void)0 : note_zero_data(ring, slot, span);
	else if (!lost)
		slot->flags |= (uint16_t)wb_seal_match(geometry->format, header.checksum, crc);
}

/* Segments that failed in their batch, when all good ones have been read. */
static void retry_data(struct wb_ring *ring, uint8_t *span, const struct wb_crc_shift *over_block)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	for (uint32_t i = 0; i < geometry->slots; i++) {
		struct wb_slot *slot = &ring->slots[i];

		if (!(slot->flags & WB_SLOT_NO_DATA))
			continue;
		verify(ring, i, span, wb_ring_reread(ring, wb_slot_offset(geometry, i), span,
						     (slot->length + 1u) * WB_BLOCK, NULL), over_block);
	}
}

/* Segments read together. */
struct batch {
	struct wb_io io[BATCH_SLOTS];
	uint32_t index[BATCH_SLOTS];
	unsigned count;
	uint8_t *bytes;
};

struct pipeline {
	struct wb_ring *ring;
	struct wb_crc_shift over_block;
	struct batch batches[2];
	struct wb_relay relay;
};

static void sum_batch(void *context, unsigned turn)
{
	struct pipeline *pipeline = context;
	const struct batch *batch = &pipeline->batches[turn];

	for (unsigned i = 0; i < batch->count; i++) {
		if (batch->io[i].result)
			pipeline->ring->slots[batch->index[i]].flags |= WB_SLOT_NO_DATA;
		else
			verify(pipeline->ring, batch->index[i], batch->io[i].buffer, false, &pipeline->over_block);
	}
}

/* Fills a batch with segments from slot `next` on; returns the slot to go on with. */
static uint64_t read_batch(struct wb_ring *ring, struct batch *batch, uint64_t next)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	size_t used = 0;

	for (batch->count = 0; next < geometry->slots && batch->count < BATCH_SLOTS; next++) {
		const struct wb_slot *slot = &ring->slots[next];
		uint32_t length = (slot->length + 1u) * WB_BLOCK;

		if (!wb_slot_wants_data(ring, slot))
			continue;
		if (length > BATCH_BYTES - used)
			break;
		batch->io[batch->count] = (struct wb_io){ .buffer = batch->bytes + used, .length = length,
							  .offset = wb_slot_offset(geometry, (uint32_t)next) };
		batch->index[batch->count++] = (uint32_t)next;
		used += length;
	}
	wb_dev_submit(ring->cache->dev, batch->io, batch->count, NULL);
	return next;
}

static int run(struct pipeline *pipeline, const struct wb_progress *progress, struct wb_error *err)
{
	struct wb_ring *ring = pipeline->ring;
	uint64_t slots = ring->cache->geometry.slots, next = 0;
	int ret = 0;

	for (unsigned turn = 0; next < slots && !ret; turn ^= 1) {
		ret = wb_poll(progress, "verifying", next, slots, err);
		if (ret)
			break;
		wb_relay_wait(&pipeline->relay, turn);
		next = read_batch(ring, &pipeline->batches[turn], next);
		wb_relay_hand(&pipeline->relay, turn);
	}
	return ret;
}

int wb_ring_verify(struct wb_ring *ring, const struct wb_progress *progress, struct wb_error *err)
{
	struct pipeline *pipeline = calloc(1, sizeof(*pipeline));
	void *bytes = NULL;
	int ret;

	if (!pipeline || posix_memalign(&bytes, WB_BLOCK, 2 * BATCH_BYTES)) {
		free(pipeline);
		return wb_no_memory(err, "verifying");
	}
	pipeline->ring = ring;
	pipeline->batches[0].bytes = bytes;
	pipeline->batches[1].bytes = (uint8_t *)bytes + BATCH_BYTES;
	wb_crc_shift_init(&pipeline->over_block, WB_BLOCK);
	wb_relay_start(&pipeline->relay, ring->options.jobs > 1, sum_batch, pipeline);
	ret = run(pipeline, progress, err);
	wb_relay_stop(&pipeline->relay);
	if (!ret)
		retry_data(ring, bytes, &pipeline->over_block);
	free(bytes);
	free(pipeline);
	return ret;
}
