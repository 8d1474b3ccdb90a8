/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Nothing intact is left behind silently: every slot of the device is accounted for. */
#ifndef WB_ACCOUNT_H
#define WB_ACCOUNT_H

#include "versions.h"

/* Fills the decision's left_segments, left_sectors, lost_segments, lost_sectors, zeroed_skipped and zeroed_sectors, and
 * tells the options' callbacks. */
int wb_account(struct wb_ring *ring, const struct wb_decide_options *options, struct wb_decision *decision,
	       const struct wb_progress *progress, struct wb_error *err);

/* Adds to left_segments and left_sectors intact segments, and headers that cannot be read, in slots of the device beyond those
 * of the ring, which --slots made smaller (behind the end of a window: whole segments of the same ring alone); *newest: the
 * largest id among them. Tells each to the callback of the options, which may be NULL. */
int wb_account_beyond(struct wb_ring *ring, const struct wb_decide_options *options, struct wb_decision *decision,
		      uint64_t *newest, const struct wb_progress *progress, struct wb_error *err);

#endif
