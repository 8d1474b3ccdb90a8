/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors as values with context, and the poll point that turns a wish to stop into one. */
#include <stdarg.h>
#include <stdio.h>

#include "error.h"

int wb_fail(struct wb_error *err, enum wb_code code, int sys, uint64_t offset, const char *format, ...)
{
	if (err) {
		va_list args;

		err->code = code;
		err->sys = sys;
		err->offset = offset;
		err->device = 0;
		va_start(args, format);
		vsnprintf(err->text, sizeof(err->text), format, args);
		va_end(args);
	}
	return -(int)code;
}

int wb_blame(const struct wb_dev *dev, int ret, struct wb_error *err)
{
	if (err)
		err->device = wb_dev_number(dev);
	return ret;
}

int wb_poll(const struct wb_progress *progress, const char *phase, uint64_t done, uint64_t total,
	    struct wb_error *err)
{
	if (!progress)
		return 0;
	if (progress->report)
		progress->report(progress->context, phase, done, total);
	if (progress->stop && progress->stop(progress->context))
		return wb_fail(err, WB_ESTOPPED, 0, WB_NO_OFFSET, "stopped while %s", phase);
	return 0;
}
