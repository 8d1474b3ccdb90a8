/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See dump.h. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dump.h"
#include "progress.h"

#define BATCH 256u

void note(const struct work *work, const char *format, ...)
{
	char text[512];
	va_list args;

	if (common_of(work)->quiet)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	common_warn(common_of(work), "%s", text);
}

void begin_output(void)
{
	progress_clear();
}

bool wants_colour(void)
{
	const char *refusal = getenv("NO_COLOR"), *terminal = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(refusal && *refusal) && terminal && *terminal && strcmp(terminal, "dumb") != 0;
}

/* ---- the walk ---- */

static int stopped(const struct work *work)
{
	const struct wb_error err = { .code = WB_ESTOPPED, .offset = WB_NO_OFFSET, .text = "stopped by a signal" };

	return common_failed(common_of(work), work->path, &err, NULL);
}

static void read_batch(const struct work *work, const uint32_t *slots, unsigned n, uint8_t *metas, bool *readable)
{
	struct wb_io io[BATCH];

	for (unsigned i = 0; i < n; i++)
		io[i] = (struct wb_io){ .buffer = metas + (size_t)i * WB_BLOCK, .length = WB_BLOCK,
					.offset = wb_slot_offset(&work->cache.geometry, slots[i]) };
	wb_dev_submit(work->dev, io, n, NULL); /* each request says for itself how it went */
	for (unsigned i = 0; i < n; i++)
		readable[i] = !io[i].result;
}

static void visit_batch(const struct walk *walk, const uint32_t *slots, unsigned n, uint8_t *metas)
{
	struct wb_ring *ring = &walk->work->ring;
	bool readable[BATCH] = { false };

	if (!walk->no_metadata)
		read_batch(walk->work, slots, n, metas, readable);
	for (unsigned i = 0; i < n && !ferror(stdout); i++) {
		uint8_t *meta = readable[i] ? metas + (size_t)i * WB_BLOCK : NULL;

		if (meta && ring->slots[slots[i]].flags & WB_SLOT_CORRECTED &&
		    wb_ring_metadata(ring, slots[i], meta, NULL))
			meta = NULL;
		walk->visit(walk->context, slots[i], meta);
	}
}

static uint32_t slot_at(const struct walk *walk, uint64_t step)
{
	return (uint32_t)((walk->start + step) % walk->work->cache.geometry.slots);
}

int walk_slots(const struct walk *walk)
{
	const struct wb_progress *progress = &common_of(walk->work)->progress;
	uint32_t slots[BATCH], count = walk->work->cache.geometry.slots;
	void *metas;

	if (posix_memalign(&metas, WB_BLOCK, (size_t)BATCH * WB_BLOCK))
		return common_refuse(common_of(walk->work), walk->work->path, "out of memory");
	for (uint64_t step = 0; step < count && !ferror(stdout);) {
		unsigned n = 0;

		if (progress->stop(progress->context)) {
			free(metas);
			return stopped(walk->work);
		}
		if (walk->phase)
			progress->report(progress->context, walk->phase, (uint64_t)step * WB_BLOCK, (uint64_t)count * WB_BLOCK);
		for (; step < count && n < BATCH; step++)
			if (walk->wanted(walk->context, slot_at(walk, step)))
				slots[n++] = slot_at(walk, step);
		visit_batch(walk, slots, n, metas);
	}
	free(metas);
	return 0;
}
