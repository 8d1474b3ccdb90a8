/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The power supply of test builds; empty in others. */
#include "hooks.h"

#ifdef WB_TEST_HOOKS
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct wb_power power = { .left = UINT64_MAX };

static struct wb_fault plan(void)
{
	struct wb_fault fault = { .power = &power };
	const char *text = getenv("WB_TEST_POWER");
	unsigned cut = 0;
	uint64_t left;

	if (text && sscanf(text, "%" SCNu64 ":%u:%" SCNu64, &left, &cut, &fault.seed) == 3 && power.left == UINT64_MAX)
		power.left = left;
	fault.cut = (enum wb_cut)cut;
	return fault;
}

int hook_device(struct wb_dev **dev, struct wb_error *err)
{
	const struct wb_fault fault = plan();

	return wb_dev_fault(dev, *dev, &fault, err);
}

bool hook_step(void)
{
	if (!power.left)
		power.dead = true;
	else if (power.left != UINT64_MAX)
		power.left--;
	return !power.dead;
}

bool hook_stop(void)
{
	static unsigned long polls;
	const char *text = getenv("WB_TEST_STOP");

	return text && ++polls >= strtoul(text, NULL, 10);
}
#endif
