/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What only test builds do (WB_TEST_HOOKS), as the environment tells them; in installed commands nothing of it is left.
 *   WB_TEST_POWER=LEFT:CUT:SEED  cuts the power of all devices and output files after so many writes, flushes and
 *                                steps of names (create, rename, remove, sync of a directory); CUT is a number of
 *                                enum wb_cut
 *   WB_TEST_COUNTS=FD            at the end "WRITES FLUSHES NAMES DEAD" goes there; DEAD is 1 when the power was cut
 *   WB_TEST_CAPACITY=N           entries of a plan in memory, so that a small log takes many passes
 *   WB_TEST_INTERVAL=SECONDS     between two checkpoints of --state
 *   WB_TEST_STOP=N               the Nth poll for a signal finds one
 *   WB_TEST_REPEATABLE=1         what is random or of the hour in a file or its name is always the same
 */
#ifndef HOOKS_H
#define HOOKS_H

#include <stdio.h>
#include <unistd.h>

#include "wbfmt.h"

#ifdef WB_TEST_HOOKS
/* Wraps a device that has been opened. */
int hook_device(struct wb_dev **dev, struct wb_error *err);
/* One more step that the power may go in: false with errno when it has gone. */
bool hook_step(void);
/* A stream for a new file, as fdopen(): what is written to it or to fd waits for hook_sync(), the same power cut, or the
 * end. The linker hands such writes over (--wrap in tests.mk). */
FILE *hook_stream(int fd, const char *path);
/* Makes durable what was written; 0 or -1 with errno. */
int hook_sync(FILE *stream);
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

static inline FILE *hook_stream(int fd, const char *path)
{
	(void)path;
	return fdopen(fd, "w");
}

static inline int hook_sync(FILE *stream)
{
	return fflush(stream) || fsync(fileno(stream)) ? -1 : 0;
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
