/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A sector of BACKING demonstrably holds version x when it is not one repeated byte, equals what x claims for it, and equals
 * no older claim. All searches here walk every version of the blocks, newest first, so that the last one that a sector equals is
 * the one it holds.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "evidence.h"
#include "sweep.h"

/* What is known of one block while its versions come. */
struct standing {
	const struct wb_ring *ring;
	const struct wb_scope *scope;
	uint32_t held[WB_SECTORS_PER_BLOCK];    /* slot of the oldest version that the sector equals, WB_NO_SLOT: none */
	uint32_t oldest[WB_SECTORS_PER_BLOCK];  /* slot of the oldest planned dirty version */
	bool unplanned_too;                     /* the newest version counts even where the scope leaves it out */
	uint32_t newest[WB_SECTORS_PER_BLOCK];  /* slot of the newest version */
	uint8_t told;                           /* sectors that have one */
	uint8_t equal, differs;                 /* how it compares, where it is dirty and readable */
	uint8_t zero, uniform;                  /* it is zeroes, one repeated byte */
};

static void begin_standing(struct standing *standing)
{
	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		standing->held[i] = standing->oldest[i] = standing->newest[i] = WB_NO_SLOT;
	standing->told = standing->equal = standing->differs = standing->zero = standing->uniform = 0;
}

static uint8_t covered_by(const struct wb_entry *entry)
{
	return entry->dirty ? entry->dirty : 0xff;
}

static const uint8_t *sector_of(const struct wb_view *view, size_t i, unsigned sector)
{
	return view->data + i * WB_BLOCK + sector * WB_SECTOR;
}

static void compare_newest(struct standing *standing, const struct wb_view *view, size_t i, unsigned sector)
{
	const uint8_t *data = sector_of(view, i, sector);
	uint8_t bit = (uint8_t)(1u << sector);

	standing->newest[sector] = view->entries[i].slot;
	/* what v0 discarded is on BACKING, and zeroes here tell nothing of it */
	if (!standing->unplanned_too && standing->ring->slots[view->entries[i].slot].class_ == WB_ZEROED)
		return;
	if (!(view->entries[i].dirty & view->readable[i] & view->backing_readable & view->inside & bit))
		return;
	if (memcmp(data, view->backing + sector * WB_SECTOR, WB_SECTOR))
		standing->differs |= bit;
	else
		standing->equal |= bit;
	if (wb_uniform(data, WB_SECTOR)) {
		standing->uniform |= bit;
		standing->zero |= data[0] ? 0 : bit;
	}
}

static void take_version(struct standing *standing, const struct wb_view *view, size_t i)
{
	const struct wb_entry *entry = &view->entries[i];
	bool planned = wb_slot_planned(standing->ring, standing->scope, entry->slot);
	uint8_t equal = wb_view_equal(view, i);
	uint8_t fresh = planned || standing->unplanned_too ? covered_by(entry) & (uint8_t)~standing->told : 0;

	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++) {
		if (equal >> sector & 1)
			standing->held[sector] = entry->slot;
		if (planned && entry->dirty >> sector & 1)
			standing->oldest[sector] = entry->slot;
		if (fresh >> sector & 1)
			compare_newest(standing, view, i, sector);
	}
	standing->told |= fresh;
}

static void take_versions(struct standing *standing, const struct wb_view *view)
{
	if (view->first)
		begin_standing(standing);
	for (size_t i = 0; i < view->count; i++)
		take_version(standing, view, i);
}

/* Where no claim is above anything planned there is no evidence to be found, unless the walk is for something else. */
static int walk(const struct wb_search *search, const struct wb_scope *scope, bool always, void *context,
		int (*visit)(void *context, const struct wb_view *view, struct wb_error *err), struct wb_error *err)
{
	struct wb_sweep sweep = { .ring = search->ring, .backing = search->backing, .clean_too = true,
				  .backing_sectors = wb_dev_size(search->backing) / WB_SECTOR,
				  .phase = "looking for evidence", .context = context, .visit = visit };
	struct wb_plan plan;
	int ret = wb_plan_open(&plan, search->ring, scope, search->capacity, err);

	while (!ret && (plan.others || always) && (ret = wb_plan_next(&plan, search->progress, err)) > 0)
		ret = wb_sweep_run(&sweep, plan.entries, plan.count, search->progress, err);
	wb_plan_close(&plan);
	return ret;
}

/* ---- at a cut ---- */

struct at_cut {
	struct standing standing;
	uint64_t cut;
	struct wb_evidence *evidence;
};

/* id 0 is what follows the largest of all. */
static bool at_least(const struct wb_ring *ring, uint32_t slot, uint64_t id)
{
	return wb_ring_other_line(ring, slot) || (id && ring->slots[slot].id >= id);
}

static int weigh_cut(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct at_cut *at = context;
	struct standing *standing = &at->standing;

	(void)err;
	take_versions(standing, view);
	for (unsigned i = 0; view->last && i < WB_SECTORS_PER_BLOCK; i++)
		at->evidence->sectors += standing->oldest[i] != WB_NO_SLOT && standing->held[i] != WB_NO_SLOT &&
					 at_least(standing->ring, standing->held[i], at->cut);
	return 0;
}

static struct wb_scope every_claim(const struct wb_scope *scope)
{
	struct wb_scope every = *scope;

	every.claims = every.every_version = true;
	return every;
}

int wb_evidence_at(const struct wb_search *search, const struct wb_scope *scope, uint64_t cut, struct wb_evidence *evidence,
		   struct wb_error *err)
{
	const struct wb_scope every = every_claim(scope);
	struct at_cut at = { .standing = { .ring = search->ring, .scope = &every }, .cut = cut, .evidence = evidence };

	return walk(search, &every, false, &at, weigh_cut, err);
}

/* ---- above an id ---- */

struct above {
	struct standing standing;
	uint64_t id;
	bool any;
};

static int weigh_above(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct above *above = context;
	const struct wb_ring *ring = above->standing.ring;

	(void)err;
	take_versions(&above->standing, view);
	for (unsigned i = 0; view->last && i < WB_SECTORS_PER_BLOCK; i++) {
		uint32_t held = above->standing.held[i];

		above->any |= held != WB_NO_SLOT && !wb_ring_other_line(ring, held) && ring->slots[held].id > above->id &&
			      ring->slots[held].id <= ring->head;
	}
	return 0;
}

int wb_evidence_above(const struct wb_search *search, uint64_t id, bool *any, struct wb_error *err)
{
	const struct wb_scope every = { .low = 1, .high = search->ring->head, .claims = true, .every_version = true };
	struct above above = { .standing = { .ring = search->ring, .scope = &every }, .id = id };
	int ret = walk(search, &every, true, &above, weigh_above, err);

	*any = above.any;
	return ret;
}

/* ---- newest versions of the window ---- */

struct at_newest {
	struct standing standing;
	struct wb_newest *newest;
};

static int count_newest(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct at_newest *at = context;

	(void)err;
	take_versions(&at->standing, view);
	if (!view->last)
		return 0;
	unsigned besides = at->newest->besides(at->newest->context, view->block);

	at->newest->there += (unsigned)__builtin_popcount(at->standing.equal & ~besides);
	at->newest->missing += (unsigned)__builtin_popcount(at->standing.differs & ~besides);
	return 0;
}

int wb_evidence_newest(const struct wb_search *search, struct wb_newest *newest, struct wb_error *err)
{
	const struct wb_scope window = { .low = 1, .high = search->ring->head, .part = true, .zeroed = true, .every_version = true };
	struct at_newest at = { .standing = { .ring = search->ring, .scope = &window }, .newest = newest };

	newest->there = newest->missing = 0;
	return walk(search, &window, true, &at, count_newest, err);
}

/* ---- at holes ---- */

struct at_holes {
	struct standing standing;
	const uint64_t *holes;
	size_t count;
	struct wb_evidence *evidence;
};

static uint64_t id_at(const void *ids, size_t i)
{
	return ((const uint64_t *)ids)[i];
}

/* The largest hole in (low, high], 0: none. */
static uint64_t hole_between(const struct at_holes *at, uint64_t low, uint64_t high)
{
	size_t n = wb_first_from(at->holes, at->count, id_at, high);

	n += n < at->count && at->holes[n] == high;
	return n && at->holes[n - 1] > low ? at->holes[n - 1] : 0;
}

/* A broken segment above M that was written back. */
static bool is_broken_above(const struct wb_ring *ring, uint32_t slot)
{
	return !wb_ring_other_line(ring, slot) && ring->slots[slot].id > ring->head && ring->slots[slot].class_ != WB_AHEAD;
}

static void weigh_sector(struct at_holes *at, unsigned sector)
{
	const struct wb_ring *ring = at->standing.ring;
	uint32_t held = at->standing.held[sector], oldest = at->standing.oldest[sector];

	if (held == WB_NO_SLOT || oldest == WB_NO_SLOT || !wb_slot_newer(ring, held, oldest))
		return;
	uint64_t high = at_least(ring, held, ring->head) ? ring->head : ring->slots[held].id;
	uint64_t hole = hole_between(at, ring->slots[oldest].id, high);

	at->evidence->sectors += hole || is_broken_above(ring, held);
	at->evidence->last_hole = wb_max(at->evidence->last_hole, hole);
	at->evidence->beyond_head |= is_broken_above(ring, held);
}

static int weigh_holes(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct at_holes *at = context;

	(void)err;
	take_versions(&at->standing, view);
	for (unsigned i = 0; view->last && i < WB_SECTORS_PER_BLOCK; i++)
		weigh_sector(at, i);
	return 0;
}

int wb_evidence_at_holes(const struct wb_search *search, const struct wb_scope *scope, const uint64_t *holes, size_t n,
			 struct wb_evidence *evidence, struct wb_error *err)
{
	const struct wb_scope every = every_claim(scope);
	struct at_holes at = { .standing = { .ring = search->ring, .scope = &every }, .holes = holes, .count = n,
			       .evidence = evidence };

	return walk(search, &every, n > 0, &at, weigh_holes, err);
}

/* ---- a torn tail that was written back ---- */

#define TAIL_VERSIONS 512u /* of one block; more are not looked at */

struct tail {
	uint64_t holds, differs;  /* its sectors that the window covers too, with other bytes */
	uint64_t there, missing;  /* newest versions of the window on its sectors */
};

struct tail_version {
	uint32_t slot;
	uint8_t covers, comparable, equal; /* sectors */
	const uint8_t *data;               /* while its view lasts */
};

struct at_tail {
	struct standing standing;
	struct tail *tails;      /* of M+1 and what follows */
	uint64_t there, missing; /* newest versions of the window, on all sectors */
	struct tail_version versions[TAIL_VERSIONS];
	unsigned count;
};

static bool is_tail(const struct wb_ring *ring, uint32_t slot)
{
	return ring->slots[slot].class_ == WB_TORN_TAIL;
}

static void note_tail(struct at_tail *at, const struct wb_view *view, size_t i)
{
	const struct wb_entry *entry = &view->entries[i];
	struct tail_version version = { .slot = entry->slot, .covers = entry->dirty, .equal = wb_view_equal(view, i),
					.data = view->data + i * WB_BLOCK };

	for (unsigned t = 0; t < at->count; t++) /* a larger index of the same segment is the newer */
		if (at->versions[t].slot == entry->slot)
			version.covers &= (uint8_t)~at->versions[t].covers;
	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++)
		if (version.covers & view->readable[i] & view->backing_readable & view->inside & 1u << sector &&
		    !wb_uniform(sector_of(view, i, sector), WB_SECTOR))
			version.comparable |= (uint8_t)(1u << sector);
	if (at->count < TAIL_VERSIONS)
		at->versions[at->count++] = version;
}

/* Sectors that the window's newest version, i, has with the same bytes tell nothing. */
static void compare_tails(struct at_tail *at, const struct wb_view *view, size_t i, uint8_t fresh)
{
	for (unsigned t = 0; t < at->count; t++)
		for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++)
			if (fresh >> sector & 1 &&
			    (!at->versions[t].data || !(view->readable[i] >> sector & 1) ||
			     !memcmp(at->versions[t].data + sector * WB_SECTOR, sector_of(view, i, sector), WB_SECTOR)))
				at->versions[t].comparable &= (uint8_t)~(1u << sector);
}

static void count_block(struct at_tail *at)
{
	const struct standing *standing = &at->standing;

	at->there += (unsigned)__builtin_popcount(standing->equal);
	at->missing += (unsigned)__builtin_popcount(standing->differs);
	for (unsigned t = 0; t < at->count; t++) {
		const struct tail_version *version = &at->versions[t];
		struct tail *tail = &at->tails[standing->ring->slots[version->slot].id - standing->ring->head - 1];
		uint8_t comparable = version->comparable & standing->told;

		tail->there += (unsigned)__builtin_popcount(version->covers & standing->equal);
		tail->missing += (unsigned)__builtin_popcount(version->covers & standing->differs);
		tail->differs += (unsigned)__builtin_popcount(comparable & ~version->equal);
		for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++)
			tail->holds += comparable & version->equal & 1u << sector && standing->held[sector] == version->slot;
	}
}

static int weigh_tail(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct at_tail *at = context;

	(void)err;
	if (view->first) {
		begin_standing(&at->standing);
		at->count = 0;
	}
	for (size_t i = 0; i < view->count; i++) {
		uint8_t told = at->standing.told;

		if (is_tail(at->standing.ring, view->entries[i].slot) && view->entries[i].dirty)
			note_tail(at, view, i);
		take_version(&at->standing, view, i);
		compare_tails(at, view, i, at->standing.told & (uint8_t)~told);
	}
	for (unsigned t = 0; t < at->count; t++)
		at->versions[t].data = NULL;
	if (view->last)
		count_block(at);
	return 0;
}

/* The driver writes back in the order of ids, so whoever has this one has what is below it. */
static bool was_written_back(const struct at_tail *at, const struct tail *tail)
{
	return tail->holds > tail->differs && at->missing - tail->missing <= at->there - tail->there;
}

static bool mark_written(const struct at_tail *at, struct wb_ring *ring)
{
	bool any = false;

	for (uint64_t id = ring->head + 1; ring->torn_tail && id && id <= ring->torn_tail; id++) {
		struct wb_slot *slot = &ring->slots[wb_slot_of(&ring->cache->geometry, id)];

		if (slot->class_ != WB_TORN_TAIL || !was_written_back(at, &at->tails[id - ring->head - 1]))
			continue;
		slot->flags |= WB_SLOT_ON_BACKING;
		any = true;
	}
	return any;
}

static int weigh_torn(const struct wb_search *search, struct wb_error *err)
{
	const struct wb_scope window = { .low = 1, .high = search->ring->head, .part = true, .zeroed = true, .claims = true,
					 .tails = true, .every_version = true };
	struct wb_ring *ring = search->ring;
	struct at_tail *at;
	int ret;

	if (!ring->classes[WB_TORN_TAIL] || wb_window_is_empty(ring))
		return 0;
	at = calloc(1, sizeof(*at));
	if (at)
		at->tails = calloc((size_t)(ring->torn_tail - ring->head), sizeof(*at->tails));
	if (!at || !at->tails) {
		free(at);
		return wb_no_memory(err, "looking for evidence");
	}
	at->standing = (struct standing){ .ring = ring, .scope = &window };
	ret = walk(search, &window, true, at, weigh_tail, err);
	if (!ret && mark_written(at, ring))
		ret = wb_ring_judge(ring, err);
	free(at->tails);
	free(at);
	return ret;
}

struct at_strays {
	struct standing standing;
	bool any;
};

/* Headers after a gap above M: one sector that holds what they claim is evidence at the end of the log. */
static int mark_strays(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct at_strays *at = context;
	const struct standing *standing = &at->standing;

	(void)err;
	take_versions(&at->standing, view);
	for (unsigned i = 0; view->last && i < WB_SECTORS_PER_BLOCK; i++) {
		uint32_t held = standing->held[i];

		if (standing->oldest[i] == WB_NO_SLOT || held == WB_NO_SLOT || standing->ring->slots[held].class_ != WB_FOREIGN)
			continue;
		standing->ring->slots[held].flags |= WB_SLOT_ON_BACKING;
		at->any = true;
	}
	return 0;
}

static int weigh_strays(const struct wb_search *search, struct wb_error *err)
{
	struct wb_ring *ring = search->ring;
	const struct wb_scope planned = { .low = ring->first, .high = ring->head, .claims = true, .every_version = true };
	struct at_strays at = { .standing = { .ring = ring, .scope = &planned } };
	int ret = ring->classes[WB_FOREIGN] ? walk(search, &planned, false, &at, mark_strays, err) : 0;

	return ret || !at.any ? ret : wb_ring_judge(ring, err);
}

int wb_ring_weigh_tail(struct wb_ring *ring, struct wb_dev *backing, size_t capacity, const struct wb_progress *progress,
		       struct wb_error *err)
{
	const struct wb_search search = { ring, backing, capacity, progress };
	int ret = weigh_strays(&search, err);

	return ret ? ret : weigh_torn(&search, err);
}

/* ---- a record that BACKING contradicts, or that is trusted ---- */

struct at_record {
	struct standing standing;
	int64_t *lost; /* by slot: sectors whose newest version it has and that are lost, less those that are kept */
};

static int weigh_record(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct at_record *at = context;
	struct standing *standing = &at->standing;
	const struct wb_ring *ring = standing->ring;

	(void)err;
	take_versions(standing, view);
	for (unsigned i = 0; view->last && i < WB_SECTORS_PER_BLOCK; i++) {
		uint8_t bit = (uint8_t)(1u << i);
		uint32_t slot = standing->newest[i];

		if (!((standing->equal | standing->differs) & bit) || ring->slots[slot].id > ring->record ||
		    !wb_slot_valid(&ring->slots[slot]) || (standing->uniform & ~standing->zero & bit))
			continue;
		at->lost[slot] += (standing->equal | standing->zero) & bit ? -1 : 1;
	}
	return 0;
}

/* The driver writes back in the order of ids: a record that is right has its newest segments on BACKING, and one that is not may
 * still be right about older ones. What M+1 went over, or will, is proven without it. */
static bool is_contradicted(const struct wb_ring *ring, const int64_t *lost)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	uint64_t proven = ring->head >= geometry->slots ? ring->head - geometry->slots + 1 : 0;
	int64_t sum = 0;

	for (uint64_t id = ring->record; id > proven && sum <= 0; id--)
		if (ring->slots[wb_slot_of(geometry, id)].id == id)
			sum += lost[wb_slot_of(geometry, id)];
	return sum > 0;
}

static int weigh_binding(const struct wb_search *search, const struct wb_scope *window, struct wb_error *err)
{
	struct wb_ring *ring = search->ring;
	struct at_record at = { .standing = { .ring = ring, .scope = window, .unplanned_too = true } };
	int ret;

	at.lost = calloc(ring->cache->geometry.slots, sizeof(*at.lost));
	if (!at.lost)
		return wb_no_memory(err, "looking for evidence");
	ret = walk(search, window, true, &at, weigh_record, err);
	ring->record_contradicted = !ret && is_contradicted(ring, at.lost);
	free(at.lost);
	return ret;
}

/* What is left out because the record is trusted, and is the newest version of a sector that BACKING does not hold. */
static int weigh_trusted(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct standing *standing = context;
	struct wb_slot *slots = standing->ring->slots;

	(void)err;
	take_versions(standing, view);
	for (unsigned i = 0; view->last && i < WB_SECTORS_PER_BLOCK; i++) {
		uint32_t slot = standing->newest[i];

		if (standing->differs >> i & 1 && wb_slot_valid(&slots[slot]) && slots[slot].id <= standing->ring->record)
			slots[slot].flags |= WB_SLOT_NOT_ON_BACKING;
	}
	return 0;
}

int wb_ring_weigh_record(struct wb_ring *ring, struct wb_dev *backing, size_t capacity, const struct wb_progress *progress,
			 struct wb_error *err)
{
	const struct wb_scope window = { .low = 1, .high = ring->head, .claims = true, .every_version = true };
	const struct wb_search search = { ring, backing, capacity, progress };
	struct standing standing = { .ring = ring, .scope = &window, .unplanned_too = true };
	bool binds = ring->cache->geometry.format->record_binds;
	int ret = 0;

	ring->record_contradicted = false;
	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++)
		ring->slots[i].flags &= (uint16_t)~WB_SLOT_NOT_ON_BACKING;
	if (!binds && ring->record && ring->options.record_use == WB_RECORD_TRUST)
		ret = walk(&search, &window, true, &standing, weigh_trusted, err);
	if (binds && ring->record && ring->record <= ring->head)
		ret = weigh_binding(&search, &window, err);
	return ret;
}
