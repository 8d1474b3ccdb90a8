/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What only test builds do (WB_TEST_HOOKS), as the environment tells them; in installed commands nothing of it is left.
 *   WB_TEST_POWER=LEFT:CUT:SEED  cuts the power of all devices and output files after so many writes, flushes and
 *                                renames; CUT is a number of enum wb_cut
 *   WB_TEST_COUNTS=FD            at the end "WRITES FLUSHES RENAMES DEAD" goes there; DEAD is 1 when the power was cut
 *   WB_TEST_CAPACITY=N           entries of a plan in memory, so that a small log takes many passes
 *   WB_TEST_INTERVAL=SECONDS     between two checkpoints of --state
 *   WB_TEST_STOP=N               the Nth poll for a signal finds one
 *   WB_TEST_REPEATABLE=1         what is random or of the hour in an --undo file is always the same
 */
#ifndef HOOKS_H
#define HOOKS_H

#include "wbfmt.h"

#ifdef WB_TEST_HOOKS
/* Wraps a device that has been opened. */
int hook_device(struct wb_dev **dev, struct wb_error *err);
/* One more step that the power may go in: false when it has gone. */
bool hook_step(void);
/* A signal that nobody sent. */
bool hook_stop(void);
size_t hook_capacity(size_t capacity);
unsigned hook_interval(unsigned seconds);
void hook_repeatable(uint64_t *id, uint64_t *now);
#else
static inline int hook_device(struct wb_dev **dev, struct wb_error *err)
{
	(void)dev;
	(void)err;
	return 0;
}

static inline bool hook_step(void)
{
	return true;
}

static inline bool hook_stop(void)
{
	return false;
}

static inline size_t hook_capacity(size_t capacity)
{
	return capacity;
}

static inline unsigned hook_interval(unsigned seconds)
{
	return seconds;
}

static inline void hook_repeatable(uint64_t *id, uint64_t *now)
{
	(void)id;
	(void)now;
}
#endif

#endif
