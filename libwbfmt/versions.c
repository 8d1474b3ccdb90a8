/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See versions.h. */
#include <stdlib.h>

#include "bytes.h"
#include "error.h"
#include "versions.h"

static bool has_metablocks(const struct wb_ring *ring, uint32_t slot)
{
	const struct wb_slot *at = &ring->slots[slot];

	return at->id && at->length && !(at->flags & WB_SLOT_NO_HEADER) &&
	       wb_length_in_range(&ring->cache->geometry, at->length) && wb_slot_of(&ring->cache->geometry, at->id) == slot;
}

/* Beside the new line, in its dialect: the ring may have lost writes and not been restarted, and what may follow the line, or is
 * of a later lap, is newer. */
static bool may_go_on(const struct wb_ring *ring, uint32_t slot)
{
	uint16_t change = ring->slots[slot].flags ^ ring->slots[ring->new_slots - 1].flags;

	return wb_ring_is_odd(ring, slot) ||
	       (wb_ring_goes_on(ring, slot) && wb_slot_valid(&ring->slots[slot]) && !(change & WB_SLOT_RAW));
}

/* Of the time line that was not chosen; only a newer one claims. Its ids go on with each other: a broken one of another lap is
 * what its writes left of the old line. */
static bool other_line_claims(const struct wb_ring *ring, uint32_t slot)
{
	if (ring->options.timeline == WB_TIMELINE_NEW)
		return may_go_on(ring, slot);
	return wb_slot_valid(&ring->slots[slot]) || ring->slots[slot].id == wb_ring_new_id(ring, slot);
}

bool wb_slot_claims(const struct wb_ring *ring, uint32_t slot)
{
	uint64_t id = ring->slots[slot].id, slots = ring->cache->geometry.slots;

	if (!has_metablocks(ring, slot))
		return false;
	if (wb_ring_other_line(ring, slot))
		return other_line_claims(ring, slot);
	/* what is broken and of a lap that nothing else tells of may have been the newest */
	if (id > ring->head)
		return id - ring->head < (wb_slot_valid(&ring->slots[slot]) ? slots : 2 * slots);
	return ring->head - id < slots;
}

bool wb_slot_planned(const struct wb_ring *ring, const struct wb_scope *scope, uint32_t slot)
{
	const struct wb_slot *at = &ring->slots[slot];

	if (!at->id || at->id < scope->low || at->id > scope->high || wb_before_window(ring, at->id) || at->id > ring->head ||
	    wb_ring_other_line(ring, slot))
		return false;
	switch ((enum wb_class)at->class_) {
	case WB_LIVE:
		return true;
	case WB_ZEROED:
		return scope->zeroed;
	case WB_PART_READABLE:
		return scope->part;
	default:
		return false;
	}
}

bool wb_ring_takes_part(const struct wb_ring *ring, const struct wb_scope *scope, uint64_t id)
{
	if (!id)
		return false;
	uint32_t slot = wb_slot_of(&ring->cache->geometry, id);

	return ring->slots[slot].id == id && wb_slot_planned(ring, scope, slot);
}

bool wb_slot_newer(const struct wb_ring *ring, uint32_t a, uint32_t b)
{
	bool of_other = wb_ring_other_line(ring, a);

	return of_other != wb_ring_other_line(ring, b) ? of_other : ring->slots[a].id > ring->slots[b].id;
}

bool wb_slot_is_own_hole(const struct wb_ring *ring, uint32_t slot)
{
	return has_metablocks(ring, slot) && !wb_ring_other_line(ring, slot) && wb_ring_is_hole(ring, ring->slots[slot].id);
}

bool wb_slot_is_readable_hole(const struct wb_ring *ring, uint32_t slot)
{
	return wb_seal_covers_data(ring->cache->geometry.format) && wb_slot_is_own_hole(ring, slot);
}

bool wb_slot_may_be_held(const struct wb_ring *ring, uint32_t slot)
{
	return wb_slot_is_readable_hole(ring, slot) ||
	       (wb_seal_covers_data(ring->cache->geometry.format) && wb_ring_other_line(ring, slot) && !wb_slot_valid(&ring->slots[slot]));
}

bool wb_version_believed(const struct wb_ring *ring, uint32_t slot, const struct wb_metablock *metablock)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	if (!wb_metablock_usable(ring, metablock) || (!metablock->dirty && !geometry->format->caches_reads))
		return false;
	return wb_seal_covers_data(geometry->format) || wb_slot_valid(&ring->slots[slot]) ||
	       metablock->lap == wb_lap_of(geometry, ring->slots[slot].id);
}

/* ---- the order ---- */

struct order {
	const struct wb_ring *ring;
	const struct wb_scope *scope;
	uint32_t *slots, count;
	bool claims, others, foreign; /* foreign: some claim before that is not planned */
};

static void take(struct order *order, uint32_t slot)
{
	bool planned = wb_slot_planned(order->ring, order->scope, slot);

	bool torn = order->ring->slots[slot].class_ == WB_TORN_TAIL && !order->scope->tails;

	if (!planned && (torn || !order->claims || !wb_slot_claims(order->ring, slot)))
		return;
	order->others |= planned && order->foreign;
	order->foreign |= !planned;
	order->slots[order->count++] = slot;
}

static void take_other_line(struct order *order)
{
	for (uint32_t slot = order->ring->cache->geometry.slots; slot-- > 0;)
		if (wb_ring_other_line(order->ring, slot))
			take(order, slot);
}

/* Ids from high down to low, each in its slot; none of them is 0. */
static void take_line(struct order *order, uint64_t high, uint64_t low)
{
	const struct wb_geometry *geometry = &order->ring->cache->geometry;
	uint32_t slot = high >= low ? wb_slot_of(geometry, high) : 0;

	for (uint64_t id = high; id >= low; id--) {
		if (order->ring->slots[slot].id == id && !wb_ring_other_line(order->ring, slot))
			take(order, slot);
		slot = (slot ? slot : geometry->slots) - 1;
	}
}

static void collect(struct order *order)
{
	const struct wb_ring *ring = order->ring;
	uint64_t head = ring->head, span = ring->cache->geometry.slots - 1u, above = 2 * span + 1;

	order->count = 0;
	order->foreign = order->others = false;
	if (!order->claims) {
		if (!wb_window_is_empty(ring))
			take_line(order, wb_min(order->scope->high, head), wb_max(order->scope->low, ring->first));
		return;
	}
	take_other_line(order);
	if (head)
		take_line(order, head + wb_min(above, UINT64_MAX - head), head > span ? head - span : 1);
}

static int newest_first(const void *a, const void *b, void *context)
{
	const struct wb_ring *ring = context;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	uint64_t x_id = ring->slots[x].id, y_id = ring->slots[y].id;

	if (x_id != y_id)
		return x_id > y_id ? -1 : 1;
	return x < y ? -1 : 1;
}

static void collect_everything(struct order *order)
{
	const struct wb_geometry *geometry = &order->ring->cache->geometry;

	for (uint32_t i = 0; i < geometry->slots; i++)
		if (order->ring->slots[i].id && order->ring->slots[i].length <= geometry->capacity)
			order->slots[order->count++] = i;
	qsort_r(order->slots, order->count, sizeof(*order->slots), newest_first, (void *)(uintptr_t)order->ring);
}

int wb_versions_order(const struct wb_ring *ring, const struct wb_scope *scope, uint32_t **slots, uint32_t *count,
		      bool *others, struct wb_error *err)
{
	struct order order = { .ring = ring, .scope = scope, .claims = scope->claims };

	order.slots = malloc(sizeof(*order.slots) * ring->cache->geometry.slots);
	if (!order.slots)
		return wb_no_memory(err, "the order of versions");
	if (scope->everything)
		collect_everything(&order);
	else
		collect(&order);
	*others = order.others;
	if (scope->claims && !scope->every_version && !order.others) {
		order.claims = false;
		collect(&order);
	}
	*slots = order.slots;
	*count = order.count;
	return 0;
}
