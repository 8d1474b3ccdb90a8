/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See compose.h. */
#include <string.h>

#include "compose.h"
#include "error.h"

static void begin_block(struct wb_composer *composer)
{
	composer->claimed = composer->clean = composer->lost = composer->below_broken = 0;
	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		composer->owner[i] = composer->held[i] = WB_NO_SLOT;
}

static void take_planned(struct wb_composer *composer, const struct wb_view *view, size_t i)
{
	const struct wb_entry *entry = &view->entries[i];
	uint8_t won = (uint8_t)((entry->dirty ? entry->dirty : 0xff) & ~composer->claimed);

	composer->claimed |= won;
	if (!entry->dirty) {
		composer->clean |= won;
		return;
	}
	composer->lost |= won & (uint8_t)~view->readable[i];
	if (won == 0xff)
		memcpy(composer->block, view->data + i * WB_BLOCK, WB_BLOCK);
	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++) {
		if (!(won >> sector & 1))
			continue;
		composer->owner[sector] = entry->slot;
		if (won != 0xff)
			memcpy(composer->block + sector * WB_SECTOR, view->data + i * WB_BLOCK + sector * WB_SECTOR,
			       WB_SECTOR);
	}
}

/* Versions come newest first: the last one that BACKING equals is the oldest. */
static void note_held(struct wb_composer *composer, const struct wb_view *view, size_t i)
{
	uint8_t mask = wb_view_equal(view, i);

	for (unsigned sector = 0; mask; sector++, mask >>= 1)
		if (mask & 1)
			composer->held[sector] = view->entries[i].slot;
}

bool wb_compose(struct wb_composer *composer, const struct wb_view *view)
{
	if (view->first)
		begin_block(composer);
	for (size_t i = 0; i < view->count; i++) {
		const struct wb_entry *entry = &view->entries[i];

		if (!view->open || !wb_plan_only_claims(composer->plan, entry))
			take_planned(composer, view, i);
		else if (wb_slot_may_be_held(composer->ring, entry->slot))
			composer->below_broken |= (uint8_t)((entry->dirty ? entry->dirty : 0xff) & ~composer->claimed);
		if (view->open)
			note_held(composer, view, i);
	}
	return view->last;
}

/* Planned sectors that BACKING demonstrably holds in a newer version. */
static uint8_t held_newer(const struct wb_composer *composer)
{
	uint8_t newer = 0;

	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (composer->owner[i] != WB_NO_SLOT && composer->held[i] != WB_NO_SLOT &&
		    wb_slot_newer(composer->ring, composer->held[i], composer->owner[i]))
			newer |= (uint8_t)(1u << i);
	return newer;
}

/* Sectors that a broken segment claims above the planned version, and for which BACKING tells nothing older: they may be of it. */
static uint8_t maybe_of_broken(const struct wb_composer *composer, const struct wb_view *view)
{
	uint8_t maybe = 0;

	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (composer->below_broken >> i & 1 && composer->owner[i] != WB_NO_SLOT &&
		    composer->held[i] == WB_NO_SLOT && !(view->backing_readable >> i & 1 &&
							 wb_uniform(view->backing + i * WB_SECTOR, WB_SECTOR)))
			maybe |= (uint8_t)(1u << i);
	return maybe;
}

struct wb_block_outcome wb_settle_block(const struct wb_composer *composer, const struct wb_view *view)
{
	uint8_t planned = composer->claimed & (uint8_t)~composer->clean & view->inside;
	struct wb_block_outcome outcome = { .unreadable = composer->lost & planned };

	if (view->open && composer->plan->scope.guard != WB_GUARD_OFF) {
		outcome.newer = held_newer(composer) & planned;
		if (composer->plan->scope.guard == WB_GUARD_PROTECT)
			outcome.maybe_newer = maybe_of_broken(composer, view) & planned & (uint8_t)~outcome.newer;
	}
	outcome.newer &= (uint8_t)~outcome.unreadable;
	outcome.maybe_newer &= (uint8_t)~outcome.unreadable;
	outcome.written = planned & (uint8_t)~(outcome.unreadable | outcome.newer | outcome.maybe_newer);
	return outcome;
}

int wb_refuse_older(const struct wb_composer *composer, const struct wb_view *view, uint8_t newer, struct wb_error *err)
{
	unsigned sector = (unsigned)__builtin_ctz(newer);
	const struct wb_slot *slots = composer->ring->slots;
	uint64_t lba = view->block * WB_SECTORS_PER_BLOCK + sector;

	return wb_fail(err, WB_ENEWER, 0, view->block * WB_BLOCK + sector * WB_SECTOR,
		       "internal error: sector %llu of the backing device holds segment %llu, and segment %llu was to be written over it",
		       (unsigned long long)lba, (unsigned long long)slots[composer->held[sector]].id,
		       (unsigned long long)slots[composer->owner[sector]].id);
}
