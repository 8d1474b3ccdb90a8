/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One way to fail: return wb_fail(err, WB_EIO, errno, offset, "reading slot %u", slot); */
#ifndef WB_ERROR_H
#define WB_ERROR_H

#include "wbfmt.h"

/* Fills *err, which may be NULL, and returns -code. sys is an errno or 0. */
__attribute__((format(printf, 5, 6)))
int wb_fail(struct wb_error *err, enum wb_code code, int sys, uint64_t offset, const char *format, ...);

static inline int wb_no_memory(struct wb_error *err, const char *what)
{
	return wb_fail(err, WB_ENOMEM, 0, WB_NO_OFFSET, "out of memory for %s", what);
}

/* All versions of one block are needed at once: a table of fewer entries may grow so far, a larger one is as large as it was asked
 * for, and this is the failure. */
#define WB_GROW_MAX 4096u

static inline int wb_too_many_versions(struct wb_error *err, uint64_t block, size_t fit)
{
	return wb_fail(err, WB_ENOMEM, 0, WB_NO_OFFSET,
		       "block %llu of the backing device has more than %zu versions in the log, and all are needed at once: "
		       "more memory is needed (--memory)", (unsigned long long)block, fit);
}

/* Says which device an error that was made is of; returns ret, which is not 0. */
int wb_blame(const struct wb_dev *dev, int ret, struct wb_error *err);

/* 0, or -WB_ESTOPPED when the caller wants to stop. */
int wb_poll(const struct wb_progress *progress, const char *phase, uint64_t done, uint64_t total,
	    struct wb_error *err);

#endif
