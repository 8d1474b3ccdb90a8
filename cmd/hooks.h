/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What only test builds do (WB_TEST_HOOKS): WB_TEST_POWER=LEFT:CUT:SEED in the environment cuts the power of all devices
 * and output files after so many writes, flushes and renames; WB_TEST_STOP=N makes the Nth poll for a signal find one.
 * In installed commands nothing of it is left.
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
#endif

#endif
