/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * manyslots KIND SLOTS: judges and checks a table of SLOTS slots, most of which are broken in the way that KIND says. Nothing
 * is read, so that tests/cli/steps.bats can count the instructions of a million slots.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"

enum kind { SOUND, ROTTEN, TORN, ALIEN, GROWN, STALE, RESTARTED, KINDS };

static const char *const kinds[KINDS] = { "sound", "rotten", "torn", "alien", "grown", "stale", "restarted" };

static struct wb_slot slot_of_kind(enum kind kind, uint32_t slot, uint64_t slots)
{
	struct wb_slot made = { .id = slot + 1u, .flags = WB_SLOT_SEALED | WB_SLOT_LAP };
	bool broken = slot > 1 && slot + 1 < slots;

	if (kind == ROTTEN && broken)
		made.flags = WB_SLOT_LAP | WB_SLOT_ONE_BIT;
	else if (kind == TORN && broken)
		made.flags = WB_SLOT_LAP;
	else if (kind == ALIEN && broken && slot % 2)
		made.id ^= UINT64_C(1) << (21 + slot % 40);
	else if (kind == GROWN)
		made.id += UINT64_C(2) * 6983 * 7919 * 104729;
	else if (kind == STALE && slot % 3)
		made.id += slots;
	else if (kind == RESTARTED && slot > slots / 2)
		made.id += 3 * slots;
	return made;
}

static int count_finding(void *context, const struct wb_finding *finding)
{
	uint64_t *counts = context;

	counts[0]++;
	counts[1] += finding->bit != NULL;
	return 0;
}

int main(int argc, char **argv)
{
	struct wb_cache cache = { .super = WB_SUPER_GOOD };
	struct wb_ring ring = { .cache = &cache, .lap_high = UINT64_MAX };
	uint64_t slots = argc == 3 ? strtoull(argv[2], NULL, 10) : 0, counts[2] = { 0 };
	unsigned kind = 0;

	while (argc == 3 && kind < KINDS && strcmp(argv[1], kinds[kind]))
		kind++;
	if (argc != 3 || kind == KINDS ||
	    wb_geometry_init(&cache.geometry, wb_format_find("v1"), 4, WB_FIRST_SLOT + slots * 8192, 0, NULL))
		return 2;
	ring.slots = calloc(slots, sizeof(*ring.slots));
	ring.corrections = calloc(slots, sizeof(*ring.corrections));
	if (!ring.slots || !ring.corrections)
		return 2;
	for (uint32_t i = 0; i < slots; i++) {
		ring.slots[i] = slot_of_kind((enum kind)kind, i, slots);
		if (ring.slots[i].flags & WB_SLOT_ONE_BIT)
			ring.corrections[ring.correction_count++] = (struct wb_correction){ .slot = i, .byte = 600 };
	}
	if (wb_ring_judge(&ring, NULL) || wb_check(&ring, NULL, count_finding, counts, NULL))
		return 1;
	printf("%llu findings, %llu with a bit\n", (unsigned long long)counts[0], (unsigned long long)counts[1]);
	wb_ring_release(&ring);
	return 0;
}
