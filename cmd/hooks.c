/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The power supply of test builds, and what else they are told; empty in others. */
#include "hooks.h"

#ifdef WB_TEST_HOOKS
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct wb_power power = { .left = UINT64_MAX };
static uint64_t renames;

/* A number in the environment, or what there is without it. */
static uint64_t told(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void end(void)
{
	wb_power_end(&power);
	if (getenv("WB_TEST_COUNTS"))
		dprintf((int)told("WB_TEST_COUNTS", 0), "%" PRIu64 " %" PRIu64 " %" PRIu64 " %d\n", power.writes, power.flushes,
			renames, power.dead);
}

static struct wb_fault plan(void)
{
	struct wb_fault fault = { .power = &power };
	const char *text = getenv("WB_TEST_POWER");
	unsigned cut = 0;
	uint64_t left;
	static bool begun;

	if (!begun)
		atexit(end);
	begun = true;
	if (text && sscanf(text, "%" SCNu64 ":%u:%" SCNu64, &left, &cut, &fault.seed) == 3 && power.left == UINT64_MAX) {
		power.left = left;
		power.lingers = true;
	}
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
	if (power.dead)
		return false;
	renames++;
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

size_t hook_capacity(size_t capacity)
{
	return (size_t)told("WB_TEST_CAPACITY", capacity);
}

unsigned hook_interval(unsigned seconds)
{
	return (unsigned)told("WB_TEST_INTERVAL", seconds);
}

void hook_repeatable(uint64_t *id, uint64_t *now)
{
	if (getenv("WB_TEST_REPEATABLE"))
		*id = *now = 1;
}
#endif
