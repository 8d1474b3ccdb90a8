/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each policy does about a ring: refuse, cut, or correct. The rule above all others: no older
 * version may go over a newer one that BACKING demonstrably holds, so cuts are held against evidence.
 */
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "sweep.h"

/* ---- evidence: does BACKING hold something newer than what would be written? ---- */

/* For every sector of BACKING that equals a version: the oldest such version, the holes' own copies included. Whatever
 * is older than that has been superseded on BACKING. */
struct evidence {
	const struct wb_ring *ring;
	uint64_t cut;          /* count sectors of evidence at this hole or cut; 0: none */
	uint64_t sectors;
	uint64_t newest;       /* the largest "oldest equal version" over all sectors */
	uint64_t oldest_equal[WB_SECTORS_PER_BLOCK]; /* of the current block; 0: none */
};

static void weigh_sector(struct evidence *evidence, unsigned sector)
{
	uint64_t oldest = evidence->oldest_equal[sector];

	evidence->newest = wb_max(evidence->newest, oldest);
	if (evidence->cut && oldest >= evidence->cut)
		evidence->sectors++;
}

static int gather(void *context, const struct wb_view *view, struct wb_error *err)
{
	struct evidence *evidence = context;
	uint8_t comparable = view->backing_readable & view->inside;

	(void)err;
	if (view->first)
		memset(evidence->oldest_equal, 0, sizeof(evidence->oldest_equal));
	for (unsigned sector = 0; sector < WB_SECTORS_PER_BLOCK; sector++) {
		const uint8_t *held = view->backing + sector * WB_SECTOR;

		if (!(comparable >> sector & 1) || wb_uniform(held, WB_SECTOR))
			continue;
		for (size_t i = 0; i < view->count; i++)
			if (view->entries[i].dirty & view->readable[i] & 1u << sector &&
			    !memcmp(held, view->data + i * WB_BLOCK + sector * WB_SECTOR, WB_SECTOR))
				/* newest first: the last one stays */
				evidence->oldest_equal[sector] = evidence->ring->slots[view->entries[i].slot].id;
		if (view->last)
			weigh_sector(evidence, sector);
	}
	return 0;
}

static int gather_evidence(struct wb_ring *ring, struct wb_dev *backing, size_t capacity, struct evidence *evidence,
			   const struct wb_progress *progress, struct wb_error *err)
{
	const struct wb_scope all = { .low = 1, .high = UINT64_MAX, .part = true, .every_version = true,
				      .hole_copies = true };
	struct wb_sweep sweep = { .ring = ring, .backing = backing, .backing_sectors = wb_dev_size(backing) / WB_SECTOR,
				  .phase = "looking for evidence", .context = evidence, .visit = gather };
	struct wb_plan plan;
	int ret = wb_plan_open(&plan, ring, &all, capacity, err);

	while (!ret && (ret = wb_plan_next(&plan, progress, err)) > 0)
		ret = wb_sweep_run(&sweep, plan.entries, plan.count, progress, err);
	wb_plan_close(&plan);
	return ret;
}

/* ---- holes ---- */

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

static uint64_t last_hole_up_to(const struct wb_ring *ring, uint64_t id)
{
	for (id = wb_min(id, ring->head); ring->holes && id >= ring->first && id; id--)
		if (wb_ring_is_hole(ring, id))
			return id;
	return 0;
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

static unsigned patterns(const struct wb_ring *ring)
{
	unsigned bits = 0;

	if (ring->resized || ring->shifted)
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
	if (ring->classes[WB_ALIEN_ID])
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

static int cut_prefix(struct work *work, struct wb_error *err)
{
	struct wb_ring *ring = work->ring;
	struct wb_decision *decision = work->decision;
	uint64_t until = work->options->until;
	struct evidence evidence = { .ring = ring };
	int ret = 0;

	decision->cut = first_gap(ring);
	if (until && until < ring->head && (!decision->cut || until < decision->cut))
		decision->cut = until + 1;
	if (!decision->cut)
		return 0;
	decision->scope.high = decision->cut - 1;
	evidence.cut = decision->cut;
	decision->record_is_evidence = record_proves(ring, decision->cut);
	if (work->backing && !work->options->resumed)
		ret = gather_evidence(ring, work->backing, work->options->capacity, &evidence, work->progress, err);
	decision->evidence = evidence.sectors;
	if ((evidence.sectors || decision->record_is_evidence) && !work->options->force_regress &&
	    !work->options->resumed)
		decision->refused |= WB_REFUSE_REGRESS;
	return ret;
}

/* Salvage takes flipped bits as right first: what looked restarted may be no longer. */
static int correct(struct work *work, struct wb_error *err)
{
	struct wb_ring *ring = work->ring;
	const struct wb_decide_options *options = work->options;
	struct wb_backing_doubts backing = { ring, work->backing };
	struct wb_doubts doubts = options->resumed ? wb_doubts_as_before(&options->ids) : wb_doubts_of(&backing);
	int ret = wb_ring_correct(ring, options->resumed || work->backing ? &doubts : NULL, work->progress, err);

	work->decision->corrected = ring->corrected;
	work->decision->ids = ring->corrected_ids;
	return ret < 0 ? ret : 0;
}

static int cut_salvage(struct work *work, struct wb_error *err)
{
	struct wb_ring *ring = work->ring;
	struct wb_decision *decision = work->decision;
	struct evidence evidence = { .ring = ring };
	int ret = 0;

	decision->scope.part = true;
	decision->scope.high = ring->head;
	if (ring->holes && work->backing && !work->options->resumed)
		ret = gather_evidence(ring, work->backing, work->options->capacity, &evidence, work->progress, err);
	if (ret)
		return ret;
	uint64_t by_content = last_hole_up_to(ring, evidence.newest);
	uint64_t by_record = record_proves(ring, 1) ? last_hole_up_to(ring, ring->record) : 0;

	decision->cut = work->options->resumed ? work->options->cut : wb_max(by_content, by_record);
	decision->record_is_evidence = by_record && by_record >= by_content;
	decision->scope.low = wb_max(ring->first, decision->cut + 1);
	return 0;
}

/* ---- what stays out ---- */

static bool matters(const struct wb_slot *slot)
{
	switch ((enum wb_class)slot->class_) {
	case WB_LIVE:
	case WB_AHEAD:
	case WB_ROTTEN:
	case WB_ALIEN_ID:
	case WB_BAD_LENGTH:
	case WB_PART_READABLE:
		return slot->dirty_sectors;
	case WB_UNREADABLE:
		return true;
	default:
		return false;
	}
}

/* Dirty sectors of metablocks that no plan can use: misaligned, or beyond BACKING. */
static int count_unusable(struct work *work, uint32_t index, struct wb_error *err)
{
	struct wb_ring *ring = work->ring;
	uint8_t meta[WB_BLOCK];
	int ret = wb_ring_metadata(ring, index, meta, err);

	for (unsigned i = 0; i < ring->slots[index].length && !ret; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(ring->cache->geometry.format, meta, i, &metablock);
		if (!metablock.dirty || wb_metablock_usable(ring, &metablock))
			continue;
		work->decision->left_sectors += (unsigned)__builtin_popcount(metablock.dirty);
		if (work->options->unusable)
			work->options->unusable(work->options->context, ring->slots[index].id, i, metablock.sector,
						metablock.dirty);
	}
	work->decision->left_segments++;
	return ret;
}

static int count_left(struct work *work, struct wb_error *err)
{
	struct wb_decision *decision = work->decision;
	struct wb_ring *ring = work->ring;

	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++) {
		const struct wb_slot *slot = &ring->slots[i];

		if (wb_ring_takes_part(ring, &decision->scope, slot->id)) {
			int ret = slot->flags & (WB_SLOT_MISALIGNED | WB_SLOT_BEYOND) ?
					  count_unusable(work, i, err) : 0;

			if (ret)
				return ret;
		} else if (matters(slot)) {
			decision->left_segments++;
			decision->left_sectors += slot->dirty_sectors;
		} else if (slot->class_ == WB_ZEROED) {
			decision->zeroed_skipped++;
		}
	}
	return 0;
}

static void find_oldest(const struct wb_ring *ring, struct wb_decision *decision)
{
	if (wb_window_is_empty(ring))
		return;
	for (uint64_t id = decision->scope.low; id && id <= decision->scope.high && !decision->oldest; id++)
		if (wb_ring_takes_part(ring, &decision->scope, id))
			decision->oldest = id;
}

static bool has_own_copy(const struct wb_ring *ring, uint64_t id)
{
	const struct wb_scope holes = { .low = id, .high = id, .hole_copies = true };

	return wb_ring_takes_part(ring, &holes, id);
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

/* Sectors that a hole's own metablocks claim before any valid segment does: their newest version is lost. */
static int count_stale(struct work *work, struct wb_error *err)
{
	struct wb_ring *ring = work->ring;
	struct wb_scope scope = { .low = work->decision->scope.low, .high = ring->head, .part = true,
				  .hole_copies = true };
	struct wb_plan plan;
	int ret;

	for (uint64_t id = scope.low; id && id <= ring->head; id++)
		work->decision->unknown_holes += wb_ring_is_hole(ring, id) && !has_own_copy(ring, id);
	ret = wb_plan_open(&plan, ring, &scope, work->options->capacity, err);
	while (!ret && (ret = wb_plan_next(&plan, work->progress, err)) > 0) {
		for (size_t i = 0; i < plan.count; i++)
			if (is_lost(ring, ring->slots[plan.entries[i].slot].id))
				note_stale(work, &plan.entries[i]);
		ret = 0;
	}
	wb_plan_close(&plan);
	return ret;
}

int wb_decide(struct wb_ring *ring, struct wb_dev *backing, const struct wb_decide_options *options,
	      struct wb_decision *decision, const struct wb_progress *progress, struct wb_error *err)
{
	struct work work = { ring, backing, options, decision, progress };
	bool prefix = options->policy == WB_PREFIX || options->until;
	int ret = 0;

	*decision = (struct wb_decision){ .damage = damage(ring, options) };
	if (!prefix && options->policy == WB_SALVAGE && !(patterns(ring) & ~(unsigned)WB_REFUSE_RESTARTED))
		ret = correct(&work, err);
	if (ret)
		return ret;
	decision->scope = (struct wb_scope){ .low = ring->first, .high = ring->head,
					     .zeroed = options->zeroed == WB_ZEROED_REPLAY };
	decision->refused = patterns(ring);
	if (!decision->refused && prefix)
		ret = cut_prefix(&work, err);
	else if (!decision->refused && options->policy == WB_SALVAGE)
		ret = cut_salvage(&work, err);
	else
		decision->refused |= decision->damage;
	if (!ret && !decision->refused && options->policy == WB_SALVAGE && ring->holes)
		ret = count_stale(&work, err);
	if (ret)
		return ret;
	if (decision->refused)
		decision->scope = (struct wb_scope){ .low = 1, .high = 0 };
	find_oldest(ring, decision);
	return count_left(&work, err);
}
