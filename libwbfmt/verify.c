/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Verifies the seals: reads the segments that headers announce, whole and in device order, and sums
 * them while they are in the processor's cache. Each job does so with the next few segments that nobody
 * has begun; while one sums, others read.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "dev.h"
#include "error.h"
#include "ring.h"

#define WORKERS_MAX 8u
#define BATCH_SLOTS 256u
#define SEGMENT_MAX (1u << 20)
#define BATCH_BYTES (512u << 10) /* read together: half of what a processor's own cache holds. A larger segment alone */

bool wb_slot_wants_data(const struct wb_ring *ring, const struct wb_slot *slot)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	if (slot->flags & WB_SLOT_NO_HEADER || !wb_length_in_range(geometry, slot->length))
		return false;
	if (!wb_seal_covers_data(geometry->format))
		return slot->flags & WB_SLOT_SEALED;
	return slot->id || slot->flags & WB_SLOT_GARBAGE;
}

/* masks: the readable sectors of each block, NULL for all. A block that cannot be read is no zero. */
static void note_zero_data(struct wb_ring *ring, struct wb_slot *slot, const uint8_t *span, const uint8_t *masks)
{
	const struct wb_format *format = ring->cache->geometry.format;
	bool seen = false;

	for (unsigned i = 0; i < slot->length; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(format, span, i, &metablock);
		if (!metablock.dirty)
			continue;
		if ((masks && masks[i + 1] != 0xff) || !wb_all_bytes(span + WB_BLOCK * (i + 1), WB_BLOCK, 0))
			return;
		seen = true;
	}
	if (seen)
		slot->flags |= WB_SLOT_ZERO_DATA;
}

/* One segment, in memory: its seal, the sums of its blocks. masks: of its blocks, where not all could be read. */
static void verify(struct wb_ring *ring, uint32_t index, const uint8_t *span, const uint8_t *masks,
		   const struct wb_crc_shift *over_block)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	struct wb_slot *slot = &ring->slots[index];
	unsigned length = slot->length;
	struct wb_header header;
	uint32_t crc;

	wb_slot_absorb(ring, index, span);
	if (masks)
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
		note_zero_data(ring, slot, span, masks);
	else if (!masks)
		slot->flags |= (uint16_t)wb_seal_match(header.checksum, crc);
}

/* Segments that failed in their batch, when all good ones have been read. */
static int retry_data(struct wb_ring *ring, uint8_t *span, const struct wb_crc_shift *over_block,
		      const struct wb_progress *progress, struct wb_error *err)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	for (uint32_t i = 0; i < geometry->slots; i++) {
		struct wb_slot *slot = &ring->slots[i];

		if (!(slot->flags & WB_SLOT_NO_DATA))
			continue;
		uint8_t masks[WB_CAPACITY_MAX + 1];

		memset(masks, 0xff, sizeof(masks));
		int lost = wb_ring_reread(ring, ring->cache->dev, wb_slot_offset(geometry, i), span,
					  (slot->length + 1u) * WB_BLOCK, masks, progress, err);

		if (lost < 0)
			return lost;
		verify(ring, i, span, lost ? masks : NULL, over_block);
	}
	return 0;
}

/* Segments that are read and summed together. */
struct batch {
	struct wb_io io[BATCH_SLOTS];
	uint32_t index[BATCH_SLOTS];
	unsigned count;
};

/* What the threads share. */
struct verifier {
	struct wb_ring *ring;
	struct wb_crc_shift over_block;
	pthread_mutex_t lock, reading;
	uint64_t next; /* the slot where the next batch begins */
	bool stopped;
};

struct worker {
	struct verifier *verifier;
	pthread_t thread;
	struct batch batch;
	uint8_t *bytes; /* SEGMENT_MAX */
};

/* Fills a batch with the next segments that want to be read; false when none is left. */
static bool choose(struct worker *worker)
{
	struct verifier *verifier = worker->verifier;
	const struct wb_ring *ring = verifier->ring;
	const struct wb_geometry *geometry = &ring->cache->geometry;
	struct batch *batch = &worker->batch;
	size_t used = 0;

	pthread_mutex_lock(&verifier->lock);
	for (batch->count = 0; verifier->next < geometry->slots && batch->count < BATCH_SLOTS; verifier->next++) {
		const struct wb_slot *slot = &ring->slots[verifier->next];
		uint32_t length = (slot->length + 1u) * WB_BLOCK;

		if (verifier->stopped)
			break;
		if (!wb_slot_wants_data(ring, slot))
			continue;
		if (batch->count && used + length > BATCH_BYTES)
			break;
		batch->io[batch->count] = (struct wb_io){ .buffer = worker->bytes + used, .length = length,
							  .offset = wb_slot_offset(geometry, (uint32_t)verifier->next) };
		batch->index[batch->count++] = (uint32_t)verifier->next;
		used += length;
	}
	pthread_mutex_unlock(&verifier->lock);
	return batch->count;
}

static void read_batch(struct verifier *verifier, struct batch *batch)
{
	struct wb_dev *dev = verifier->ring->cache->dev;

	if (!dev->parallel)
		pthread_mutex_lock(&verifier->reading);
	wb_dev_submit(dev, batch->io, batch->count, NULL);
	if (!dev->parallel)
		pthread_mutex_unlock(&verifier->reading);
}

static void sum_batch(struct verifier *verifier, const struct batch *batch)
{
	for (unsigned i = 0; i < batch->count; i++) {
		if (batch->io[i].result)
			verifier->ring->slots[batch->index[i]].flags |= WB_SLOT_NO_DATA;
		else
			verify(verifier->ring, batch->index[i], batch->io[i].buffer, NULL, &verifier->over_block);
	}
}

static void *worker_main(void *context)
{
	struct worker *worker = context;

	while (choose(worker)) {
		read_batch(worker->verifier, &worker->batch);
		sum_batch(worker->verifier, &worker->batch);
	}
	return NULL;
}

static uint64_t slots_begun(struct verifier *verifier, bool stop)
{
	pthread_mutex_lock(&verifier->lock);
	uint64_t next = verifier->next;

	verifier->stopped = stop;
	pthread_mutex_unlock(&verifier->lock);
	return next;
}

/* The caller's own part: the same, and it alone reports. */
static int run(struct worker *worker, const struct wb_progress *progress, struct wb_error *err)
{
	struct verifier *verifier = worker->verifier;
	const struct wb_geometry *geometry = &verifier->ring->cache->geometry;
	uint64_t slots = geometry->slots, size = wb_slot_size(geometry);

	for (;;) {
		int ret = wb_poll(progress, "verifying", slots_begun(verifier, false) * size, slots * size, err);

		if (ret) {
			slots_begun(verifier, true);
			return ret;
		}
		if (!choose(worker))
			return 0;
		read_batch(verifier, &worker->batch);
		sum_batch(verifier, &worker->batch);
	}
}

static int run_all(struct worker *workers, unsigned n, const struct wb_progress *progress, struct wb_error *err)
{
	unsigned started = 1;
	int ret;

	while (started < n &&
	       !pthread_create(&workers[started].thread, NULL, worker_main, &workers[started]))
		started++;
	ret = run(&workers[0], progress, err);
	while (started-- > 1)
		pthread_join(workers[started].thread, NULL);
	return ret;
}

/* Who reads from a block device mostly waits for it: with three workers a job it always has something to do. */
static unsigned workers_for(const struct wb_ring *ring)
{
	uint64_t jobs = wb_max(1, ring->options.jobs);

	return (unsigned)wb_min(jobs > 1 && ring->cache->dev->is_block ? 3 * jobs : jobs, WORKERS_MAX);
}

int wb_ring_verify(struct wb_ring *ring, const struct wb_progress *progress, struct wb_error *err)
{
	unsigned n = workers_for(ring);
	struct verifier verifier = { .ring = ring };
	struct worker *workers = calloc(n, sizeof(*workers));
	void *bytes = NULL;
	int ret;

	if (!workers || posix_memalign(&bytes, WB_BLOCK, (size_t)n * SEGMENT_MAX)) {
		free(workers);
		return wb_no_memory(err, "verifying");
	}
	for (unsigned i = 0; i < n; i++)
		workers[i] = (struct worker){ .verifier = &verifier, .bytes = (uint8_t *)bytes + (size_t)i * SEGMENT_MAX };
	wb_crc_shift_init(&verifier.over_block, WB_BLOCK);
	pthread_mutex_init(&verifier.lock, NULL);
	pthread_mutex_init(&verifier.reading, NULL);
	ret = run_all(workers, n, progress, err);
	if (!ret)
		ret = retry_data(ring, bytes, &verifier.over_block, progress, err);
	pthread_mutex_destroy(&verifier.lock);
	pthread_mutex_destroy(&verifier.reading);
	free(bytes);
	free(workers);
	return ret;
}
