/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each policy does about a ring: refuse, cut, or correct. The rule above all others: no older
 * version may go over a newer one that BACKING demonstrably holds, so cuts are checked for evidence.
 */
#include <stdlib.h>

#include "account.h"
#include "bytes.h"
#include "error.h"
#include "evidence.h"

/* ---- holes ---- */

static bool has_own_copy(const struct wb_ring *ring, uint64_t id)
{
	uint32_t slot = wb_slot_of(&ring->cache->geometry, id);

	return ring->slots[slot].id == id && wb_slot_is_own_hole(ring, slot);
}

/* In v0 the seal holds without the data, so a part-readable segment is no hole; a prefix ends before it all the same. */
static uint64_t first_gap(const struct wb_ring *ring)
{
	for (uint64_t id = ring->first; (ring->holes || ring->classes[WB_PART_READABLE]) && id && id <= ring->head; id++) {
		const struct wb_slot *slot = &ring->slots[wb_slot_of(&ring->cache->geometry, id)];

		if (wb_ring_is_hole(ring, id) || (slot->id == id && slot->class_ == WB_PART_READABLE))
			return id;
	}
	return 0;
}

/* Holes of which nothing can be read, so that they need a cut: ascending ids, NULL without memory. */
static uint64_t *unreadable_holes(const struct wb_ring *ring, size_t *count)
{
	uint64_t *holes = malloc(sizeof(*holes) * (size_t)(ring->holes + 1));

	*count = 0;
	for (uint64_t id = ring->first; holes && ring->holes && id && id <= ring->head; id++)
		if (wb_ring_is_hole(ring, id) && !(has_own_copy(ring, id) &&
						   wb_slot_is_readable_hole(ring, wb_slot_of(&ring->cache->geometry, id))))
			holes[(*count)++] = id;
	return holes;
}

/* The largest of them up to id, 0: none. */
static uint64_t last_up_to(const uint64_t *holes, size_t n, uint64_t id)
{
	while (n && holes[n - 1] > id)
		n--;
	return n ? holes[n - 1] : 0;
}

/* ---- what is damaged ---- */

static bool any_live_with(const struct wb_ring *ring, uint16_t flag)
{
	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++)
		if (ring->slots[i].flags & flag &&
		    (ring->slots[i].class_ == WB_LIVE || ring->slots[i].class_ == WB_PART_READABLE))
			return true;
	return false;
}

/* Beyond the slot of M+1 in the first lap a whole segment is a leftover from before the format: it is left out, and stops
 * nobody. */
static bool is_leftover(const struct wb_ring *ring, uint32_t slot)
{
	return ring->head && !wb_ring_due(ring, slot) && wb_slot_of(&ring->cache->geometry, ring->head + 1) != slot &&
	       !wb_ring_stands(ring, slot);
}

static bool any_alien(const struct wb_ring *ring)
{
	for (uint32_t i = 0; ring->classes[WB_ALIEN_ID] && i < ring->cache->geometry.slots; i++)
		if (ring->slots[i].class_ == WB_ALIEN_ID && !is_leftover(ring, i))
			return true;
	return false;
}

static unsigned patterns(const struct wb_ring *ring)
{
	unsigned bits = 0;

	if (ring->shifted || ring->candidate_count || (ring->resized && !ring->beyond) || ring->cache->detected.format)
		bits |= WB_REFUSE_GEOMETRY;
	if (ring->restarted && (ring->options.timeline == WB_TIMELINE_NONE ||
				(ring->options.timeline == WB_TIMELINE_OLD && ring->restarted_again)))
		bits |= WB_REFUSE_RESTARTED;
	if (ring->destroyed)
		bits |= WB_REFUSE_DESTROYED;
	if (ring->record_state == WB_RECORD_MISSING && ring->options.record_use == WB_RECORD_AUTO)
		bits |= WB_REFUSE_RECORD;
	if (ring->record_state == WB_RECORD_UNKNOWN && ring->cache->geometry.format->record_binds &&
	    ring->options.record_use != WB_RECORD_IGNORE)
		bits |= WB_REFUSE_UNKNOWN_RECORD;
	return bits;
}

static unsigned damage(const struct wb_ring *ring, const struct wb_decide_options *options)
{
	unsigned bits = patterns(ring);

	if (ring->holes)
		bits |= WB_REFUSE_HOLE;
	if (ring->classes[WB_AHEAD])
		bits |= WB_REFUSE_AHEAD;
	if (ring->classes[WB_ROTTEN])
		bits |= WB_REFUSE_ROTTEN;
	if (any_alien(ring))
		bits |= WB_REFUSE_ALIEN;
	if (ring->classes[WB_BAD_LENGTH] || any_live_with(ring, WB_SLOT_MISALIGNED))
		bits |= WB_REFUSE_BOUNDS;
	if (any_live_with(ring, WB_SLOT_BEYOND) && !options->force_size)
		bits |= WB_REFUSE_BEYOND;
	if (ring->classes[WB_ZEROED] && options->zeroed == WB_ZEROED_AUTO)
		bits |= WB_REFUSE_ZEROED;
	if (ring->classes[WB_UNREADABLE] || ring->classes[WB_PART_READABLE])
		bits |= WB_REFUSE_UNREADABLE;
	return bits;
}

/* ---- the policies ---- */

struct work {
	struct wb_ring *ring;
	struct wb_dev *backing;
	const struct wb_decide_options *options;
	struct wb_decision *decision;
	const struct wb_progress *progress;
};

static bool record_proves(const struct wb_ring *ring, uint64_t id)
{
	return !ring->cache->geometry.format->record_binds && ring->record >= id;
}

static struct wb_search search_of(const struct work *work)
{
	return (struct wb_search){ work->ring, work->backing, work->options->capacity, work->progress };
}

/* Evidence at the end of what would be written. cut: the first id behind it, 0 behind the largest of all. */
static int look_beyond(struct work *work, uint64_t cut, struct wb_error *err)
{
	struct wb_decision *decision = work->decision;
	const struct wb_search search = search_of(work);
	struct wb_evidence evidence = { .sectors = 0 };
	int ret = 0;

	if (work->options->resumed)
		return 0;
	decision->record_is_evidence = decision->cut && record_proves(work->ring, cut);
	if (work->backing)
		ret = wb_evidence_at(&search, &decision->scope, cut, &evidence, err);
	decision->evidence = evidence.sectors;
	if ((evidence.sectors || decision->record_is_evidence) && !work->options->force_regress)
		decision->refused |= WB_REFUSE_REGRESS;
	return ret;
}

static int cut_prefix(struct work *work, struct wb_error *err)
{
	struct wb_ring *ring = work->ring;
	struct wb_decision *decision = work->decision;
	uint64_t until = work->options->until;

	decision->cut = first_gap(ring);
	if (work->options->until_given && until < ring->head && (!decision->cut || until < decision->cut))
		decision->cut = until + 1;
	if (decision->cut)
		decision->scope.high = decision->cut - 1;
	if (work->options->force_regress)
		decision->scope.guard = WB_GUARD_OFF;
	return look_beyond(work, decision->cut ? decision->cut : ring->head + 1, err);
}

/* What strict would write, unless it refuses for something else. */
static int cut_strict(struct work *work, struct wb_error *err)
{
	work->decision->refused |= work->decision->damage;
	if (work->options->force_regress)
		work->decision->scope.guard = WB_GUARD_OFF;
	return work->decision->refused ? 0 : look_beyond(work, work->ring->head + 1, err);
}

/* Nothing at or below the newest unreadable hole that BACKING is beyond; nothing at all when it is beyond the end. */
static int find_salvage_cut(struct work *work, const uint64_t *holes, size_t n, struct wb_error *err)
{
	struct wb_ring *ring = work->ring;
	struct wb_decision *decision = work->decision;
	const struct wb_search search = search_of(work);
	struct wb_evidence evidence = { .sectors = 0 };
	uint64_t by_record = record_proves(ring, 1) ? last_up_to(holes, n, ring->record) : 0;
	int ret = 0;

	if (work->backing && (n || ring->classes[WB_ROTTEN]))
		ret = wb_evidence_at_holes(&search, &decision->scope, holes, n, &evidence, err);
	decision->evidence = evidence.sectors;
	decision->cut = wb_max(evidence.last_hole, by_record);
	if (evidence.beyond_head)
		decision->cut = ring->head + 1;
	decision->record_is_evidence = by_record && by_record >= decision->cut;
	return ret;
}

/* Salvage takes flipped bits as right first: what looked restarted may be no longer. Who decides twice has acted on damage all
 * the same. */
static int correct(struct work *work, struct wb_error *err)
{
	struct wb_ring *ring = work->ring;
	const struct wb_decide_options *options = work->options;
	struct wb_backing_doubts backing = { ring, work->backing, options->capacity };
	struct wb_doubts doubts = options->resumed ? wb_doubts_as_before(&options->ids) : wb_doubts_of(&backing);

	if (ring->corrected)
		work->decision->damage |= ring->damage_before;
	else
		ring->damage_before = work->decision->damage;
	int ret = wb_ring_correct(ring, options->resumed || work->backing ? &doubts : NULL, work->progress, err);

	work->decision->corrected = ring->corrected;
	work->decision->ids = ring->corrected_ids;
	return ret < 0 ? ret : 0;
}

static int cut_salvage(struct work *work, struct wb_error *err)
{
	struct wb_ring *ring = work->ring;
	struct wb_decision *decision = work->decision;
	size_t n;
	int ret;

	decision->scope.part = true;
	decision->scope.low = ring->first;
	decision->scope.high = ring->head;
	decision->scope.guard = work->options->force_regress ? WB_GUARD_OFF : WB_GUARD_PROTECT;
	uint64_t *holes = unreadable_holes(ring, &n);

	if (!holes)
		return wb_no_memory(err, "the holes");
	decision->cut = work->options->cut;
	ret = work->options->resumed ? 0 : find_salvage_cut(work, holes, n, err);
	free(holes);
	decision->scope.low = wb_max(ring->first, decision->cut + 1);
	if (decision->cut > ring->head || !decision->scope.low) /* ring->head may be the largest id */
		decision->scope.high = 0;
	return ret;
}

/* ---- what stays out ---- */

static void find_oldest(const struct wb_ring *ring, struct wb_decision *decision)
{
	if (wb_window_is_empty(ring))
		return;
	for (uint64_t id = decision->scope.low; id && id <= decision->scope.high && !decision->oldest; id++)
		if (wb_ring_takes_part(ring, &decision->scope, id))
			decision->oldest = id;
}

/* A hole whose own copy is not written either; what a part-readable one cannot give, the replay counts. */
static bool is_lost(const struct wb_ring *ring, uint64_t id)
{
	return wb_ring_is_hole(ring, id) &&
	       ring->slots[wb_slot_of(&ring->cache->geometry, id)].class_ != WB_PART_READABLE;
}

static void note_stale(struct work *work, const struct wb_entry *entry)
{
	unsigned mask = entry->dirty;

	work->decision->stale_sectors += (unsigned)__builtin_popcount(mask);
	while (work->options->stale && mask) {
		unsigned from = (unsigned)__builtin_ctz(mask);
		unsigned sectors = (unsigned)__builtin_ctz(~(mask >> from));

		work->options->stale(work->options->context, entry->block * WB_SECTORS_PER_BLOCK + from, sectors);
		mask &= ~(((1u << sectors) - 1) << from);
	}
}

/* The versions of a block, newest first: sectors that a lost hole claims above every planned version. */
static void find_stale(struct work *work, const struct wb_plan *plan, const struct wb_entry *entries, size_t n)
{
	const struct wb_slot *slots = work->ring->slots;
	uint8_t claimed = 0;

	for (size_t i = 0; i < n; i++) {
		struct wb_entry entry = entries[i];
		bool planned = wb_slot_planned(work->ring, &plan->scope, entry.slot);

		if (!planned && (!has_own_copy(work->ring, slots[entry.slot].id) || slots[entry.slot].id < plan->scope.low))
			continue;
		uint8_t wanted = entry.dirty ? entry.dirty : 0xff;

		entry.dirty &= (uint8_t)~claimed;
		claimed |= wanted;
		if (!planned && is_lost(work->ring, slots[entry.slot].id))
			note_stale(work, &entry);
	}
}

/* Below a cut, too: nobody knows what was in them, whatever BACKING or the record have gone beyond. */
static void count_unknown(const struct wb_ring *ring, struct wb_decision *decision)
{
	for (uint64_t id = ring->first; ring->holes && id && id <= ring->head; id++)
		decision->unknown_holes += wb_ring_is_hole(ring, id) && !has_own_copy(ring, id);
}

static int count_stale(struct work *work, struct wb_error *err)
{
	struct wb_ring *ring = work->ring;
	struct wb_scope scope = work->decision->scope;
	struct wb_plan plan;
	int ret;

	scope.claims = scope.every_version = true;
	ret = wb_plan_open(&plan, ring, &scope, work->options->capacity, err);
	while (!ret && (ret = wb_plan_next(&plan, work->progress, err)) > 0) {
		for (size_t i = 0, next; i < plan.count; i = next) {
			for (next = i + 1; next < plan.count && plan.entries[next].block == plan.entries[i].block;)
				next++;
			find_stale(work, &plan, plan.entries + i, next - i);
		}
		ret = 0;
	}
	wb_plan_close(&plan);
	return ret;
}

/* What comparing with BACKING and looking beyond the slots add to the damage that the ring shows by itself. */
static int look_further(struct work *work, struct wb_error *err)
{
	struct wb_ring *ring = work->ring;
	struct wb_decision *decision = work->decision;
	uint64_t newest = 0;
	int ret = 0;

	if (work->backing && !work->options->resumed)
		ret = wb_ring_weigh_tail(ring, work->backing, work->options->capacity, work->progress, err);
	if (!ret && work->backing)
		ret = wb_ring_weigh_record(ring, work->backing, work->options->capacity, work->progress, err);
	if (!ret && ring->beyond)
		ret = wb_account_beyond(ring, work->options, decision, &newest, work->progress, err);
	if (ret)
		return ret;
	/* they contradict the number of slots that was given; those newer than all within it, for every policy */
	decision->refused = patterns(ring) | (newest > ring->head ? WB_REFUSE_GEOMETRY : 0);
	decision->damage = damage(ring, work->options) | decision->refused |
			   (decision->left_segments ? WB_REFUSE_GEOMETRY : 0);
	decision->record_contradicted = work->backing && ring->record_contradicted;
	if (decision->record_contradicted && ring->options.record_use == WB_RECORD_AUTO)
		decision->damage |= WB_REFUSE_CONTRADICTED;
	if (work->options->until_given || work->options->policy != WB_SALVAGE ||
	    decision->refused & ~(unsigned)WB_REFUSE_RESTARTED)
		return 0;
	ret = correct(work, err);
	decision->refused = patterns(ring);
	return ret;
}

int wb_decide(struct wb_ring *ring, struct wb_dev *backing, const struct wb_decide_options *options,
	      struct wb_decision *decision, const struct wb_progress *progress, struct wb_error *err)
{
	struct work work = { ring, backing, options, decision, progress };
	bool prefix = options->policy == WB_PREFIX || options->until_given;

	*decision = (struct wb_decision){ .refused = 0 };
	int ret = look_further(&work, err);

	if (ret)
		return ret;
	decision->scope = (struct wb_scope){ .low = ring->first, .high = ring->head,
					     .zeroed = options->zeroed == WB_ZEROED_REPLAY };
	if (!decision->refused)
		ret = prefix ? cut_prefix(&work, err) : options->policy == WB_SALVAGE ? cut_salvage(&work, err) :
			       cut_strict(&work, err);
	else
		decision->refused |= prefix || options->policy == WB_SALVAGE ? 0 : decision->damage;
	if (!ret && !decision->refused && options->policy == WB_SALVAGE && ring->holes)
		ret = count_stale(&work, err);
	if (ret)
		return ret;
	if (!decision->refused)
		count_unknown(ring, decision);
	if (decision->refused)
		decision->scope = (struct wb_scope){ .low = 1, .high = 0 };
	else
		decision->scope.claims = decision->scope.guard != WB_GUARD_OFF;
	find_oldest(ring, decision);
	return wb_account(ring, options, decision, progress, err);
}
