/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The options that decide what is written back, alike in wb-flush-dirty, which writes it, and wb-dump, which lists it.
 * A command includes the table in its own and offers every val to policy_option().
 */
#ifndef POLICY_OPTIONS_H
#define POLICY_OPTIONS_H

#include "common.h"

/* Vals from 100 on. */
extern const struct poptOption policy_options[];
/* By enum wb_policy; NULL-terminated. */
extern const char *const policies[];

/* What every policy refuses. */
#define REFUSED_BY_ALL (WB_REFUSE_GEOMETRY | WB_REFUSE_RESTARTED | WB_REFUSE_DESTROYED | WB_REFUSE_RECORD | \
			WB_REFUSE_UNKNOWN_RECORD)

/* Takes an option of the table; false when the val is another's. */
bool policy_option(int val, const char *argument, struct wb_decide_options *decide, struct wb_ring_options *ring,
		   uint64_t *memory);
/* What follows from several options together, and from the budget. */
void policy_settle(const struct common *common, struct wb_decide_options *decide, struct wb_ring_options *ring,
		   uint64_t *memory);
/* A warning and a JSON record for each reason (enum wb_refusal) to refuse; where every policy would, only for those: they
 * must be settled first, and often explain the rest. */
void policy_say_refusal(const struct common *common, const struct wb_ring *ring, unsigned refused);
/* It is for what a damaged newer segment shows: BACKING may have got it from an older one, whose place that was. */
bool policy_is_unsure(const struct wb_ring *ring, unsigned refused);
/* The name of a reason by its bit; NULL behind the last. */
const char *policy_reason(unsigned bit);

#endif
