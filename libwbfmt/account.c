/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See account.h: for each slot of the device, why its segment needs no writing, or that it is left out. */
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "bytes.h"
#include "dev.h"
#include "error.h"

static const char *const reasons[WB_LEFT_REASONS] = {
	"class", "cut", "timeline", "beyond-slots", "metablocks", "record",
};

const char *wb_left_name(enum wb_left_reason reason)
{
	return reasons[reason];
}

static void tell(const struct wb_decide_options *options, const struct wb_left *left)
{
	if (options && options->left)
		options->left(options->context, left);
}

/* What a segment could have had that nobody can read. */
static uint64_t most_sectors(const struct wb_geometry *geometry)
{
	return (uint64_t)WB_SECTORS_PER_BLOCK * geometry->capacity;
}

/* ---- slots that --slots or --size leave out ---- */

/* The segment at that byte of dev: its own bytes agree, whatever its place. */
static bool is_intact(const struct wb_geometry *geometry, struct wb_dev *dev, uint64_t at, uint8_t *bytes)
{
	struct wb_header header;
	uint32_t size;

	wb_header_decode(geometry->format, bytes, &header);
	if (!wb_length_in_range(geometry, header.length) || wb_all_bytes(bytes, WB_BLOCK, 0))
		return false;
	if (!wb_seal_covers_data(geometry->format))
		return header.id && wb_seal_laps(geometry, bytes, &header);
	size = WB_BLOCK * (header.length + 1);
	if (wb_dev_read(dev, at + WB_BLOCK, bytes + WB_BLOCK, size - WB_BLOCK, NULL))
		return header.id;
	return wb_seal_match(header.checksum, wb_crc32c(~0u, bytes + WB_SUMMED_FROM, size - WB_SUMMED_FROM));
}

static void take_header(const struct wb_geometry *geometry, const uint8_t *bytes, struct wb_left *left)
{
	struct wb_header header;

	wb_header_decode(geometry->format, bytes, &header);
	left->id = header.id;
	left->sectors = 0;
	for (unsigned i = 0; i < header.length; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(geometry->format, bytes, i, &metablock);
		left->sectors += (unsigned)__builtin_popcount(metablock.dirty);
	}
}

/* The slots behind those of the ring. Behind the end of the part that is the cache another one may begin. */
struct behind {
	struct wb_geometry all;  /* as if the part went on up to the end of the device */
	struct wb_dev *whole;
	uint64_t start;          /* of the part in it, modulo 2^64 */
	uint32_t inside;         /* slots below are in the part */
	uint64_t newest, offset; /* the newest id that stands in the ring; how far it is ahead of its slot */
};

static bool find_behind(const struct wb_ring *ring, struct behind *behind)
{
	const struct wb_geometry *given = &ring->cache->geometry;
	struct wb_dev *dev = ring->cache->dev, *whole = wb_dev_whole(dev);
	struct wb_geometry part = { .slots = 0 };
	uint64_t start = (uint64_t)wb_dev_start(dev);

	*behind = (struct behind){ .whole = whole, .start = start };
	if (given->wrap || wb_geometry_init(&behind->all, given->format, given->order, wb_dev_size(whole) - start, 0, NULL) ||
	    behind->all.slots <= given->slots)
		return false;
	if (!wb_geometry_init(&part, given->format, given->order, wb_dev_size(dev), 0, NULL))
		behind->inside = part.slots;
	for (uint32_t i = 0; i < given->slots; i++)
		if (wb_ring_stands(ring, i) && ring->slots[i].id > behind->newest) {
			behind->newest = ring->slots[i].id;
			behind->offset = behind->newest - 1 - i;
		}
	return true;
}

/* A ring of all slots has it there, in whatever lap; or one of fewer that has the newest segment where that stands. */
static bool is_of_this_ring(const struct behind *behind, uint32_t slot, const struct wb_header *header)
{
	uint64_t offset = header->id - 1 - slot, slots = behind->offset - offset;

	if (!header->id || header->id - 1 < slot)
		return false;
	if (offset % behind->all.slots == 0)
		return !behind->all.format->lap.width || header->lap == wb_lap_of(&behind->all, header->id);
	if (!behind->newest || offset > behind->offset)
		return false;
	return offset == behind->offset ? offset > slot : slots > slot && offset % slots == 0;
}

/* Whether a slot holds something that may not be left behind; bytes: of a whole segment. */
static bool look_behind(const struct behind *behind, uint32_t slot, uint8_t *bytes, struct wb_left *left)
{
	uint64_t at = behind->start + wb_slot_offset(&behind->all, slot), size = wb_dev_size(behind->whole);
	struct wb_header header;

	*left = (struct wb_left){ .slot = slot, .reason = WB_LEFT_BEYOND_SLOTS, .class_ = WB_FOREIGN,
				  .sectors = most_sectors(&behind->all) };
	if (at > size || size - at < WB_BLOCK)
		return false;
	if (wb_dev_read(behind->whole, at, bytes, WB_BLOCK, NULL)) {
		left->class_ = WB_UNREADABLE;
		return slot < behind->inside;
	}
	wb_header_decode(behind->all.format, bytes, &header);
	if ((slot >= behind->inside && !is_of_this_ring(behind, slot, &header)) ||
	    !is_intact(&behind->all, behind->whole, at, bytes))
		return false;
	take_header(&behind->all, bytes, left);
	return true;
}

/* A ring has no gaps, but for what v0 discarded; what lies behind the part may be a disk of any size. */
#define GAP 4096u

int wb_account_beyond(struct wb_ring *ring, const struct wb_decide_options *options, struct wb_decision *decision,
		      uint64_t *newest, const struct wb_progress *progress, struct wb_error *err)
{
	const uint32_t first = ring->cache->geometry.slots, gap = (uint32_t)wb_max(GAP, first);
	struct behind behind;
	void *bytes = NULL;
	int ret = 0;

	*newest = 0;
	if (!find_behind(ring, &behind))
		return 0;
	if (posix_memalign(&bytes, WB_BLOCK, WB_BLOCK * (WB_CAPACITY_MAX + 1u)))
		return wb_no_memory(err, "the slots beyond the ring");
	for (uint32_t slot = first, without = 0; slot < behind.all.slots && without < gap; slot++) {
		struct wb_left left;

		if ((slot - first) % 64 == 0)
			ret = wb_poll(progress, "looking beyond the slots", slot - first, behind.all.slots - first, err);
		if (ret)
			break;
		bool found = look_behind(&behind, slot, bytes, &left);

		without = found || slot < behind.inside ? 0 : without + 1;
		if (!found)
			continue;
		decision->left_segments++;
		decision->left_sectors += left.sectors;
		*newest = wb_max(*newest, left.id);
		tell(options, &left);
	}
	free(bytes);
	return ret;
}

/* ---- slots of the ring ---- */

/* Dirty sectors of metablocks that no plan can use: misaligned, or beyond BACKING. */
static int count_unusable(struct wb_ring *ring, uint32_t slot, const struct wb_decide_options *options, struct wb_left *left,
			  struct wb_error *err)
{
	uint8_t meta[WB_BLOCK];
	int ret = wb_ring_metadata(ring, slot, meta, err);

	for (unsigned i = 0; i < ring->slots[slot].length && !ret; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(ring->cache->geometry.format, meta, i, &metablock);
		if (!metablock.dirty || wb_metablock_usable(ring, &metablock))
			continue;
		left->sectors += (unsigned)__builtin_popcount(metablock.dirty);
		if (options->unusable)
			options->unusable(options->context, ring->slots[slot].id, i, metablock.sector, metablock.dirty);
	}
	left->reason = WB_LEFT_METABLOCKS;
	return ret;
}

/* The bytes of the segment agree, in whatever place. */
static bool is_whole(const struct wb_slot *slot)
{
	return slot->flags & WB_SLOT_SEALED;
}

/* The metadata of the segment that belongs there is lost, and so is what else the slot may hold. */
static bool is_unknown(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_slot *slot = &ring->slots[index];
	uint64_t due = wb_ring_due(ring, index);

	return slot->flags & WB_SLOT_NO_HEADER ||
	       (due && wb_ring_is_hole(ring, due) && !(slot->id == due && wb_slot_is_own_hole(ring, index)));
}

/* Whether a slot that is not written is accounted for; else the reason is set. */
static bool is_accounted(const struct wb_ring *ring, const struct wb_decision *decision, uint32_t index, struct wb_left *left)
{
	const struct wb_slot *slot = &ring->slots[index];
	bool goes_on = wb_ring_goes_on(ring, index);

	left->reason = WB_LEFT_CLASS;
	if (wb_ring_other_line(ring, index) || (slot->class_ == WB_FOREIGN && goes_on)) {
		left->reason = WB_LEFT_TIMELINE;
		return !is_whole(slot) && !(slot->flags & WB_SLOT_NO_HEADER) && !goes_on;
	}
	switch ((enum wb_class)slot->class_) {
	case WB_EMPTY:
	case WB_TORN_TAIL:
	case WB_TORN_HEAD:
	case WB_STALE_LAP:
	case WB_ZEROED:
	case WB_FOREIGN:
	case WB_CLASSES:
		return true;
	case WB_OLD:
		left->reason = WB_LEFT_RECORD;
		if (slot->flags & WB_SLOT_NOT_ON_BACKING)
			return false;
		return !decision->record_contradicted || !wb_slot_claims(ring, index) || slot->id > ring->record ||
		       !slot->dirty_sectors;
	case WB_LIVE:
		left->reason = WB_LEFT_CUT;
		return !slot->dirty_sectors;
	case WB_ALIEN_ID:
	case WB_AHEAD:
	case WB_BAD_LENGTH:
	case WB_PART_READABLE:
	case WB_ROTTEN:
	case WB_UNREADABLE:
		break;
	}
	return false;
}

static void count_lost(const struct wb_ring *ring, uint32_t index, struct wb_decision *decision)
{
	if (decision->refused || !is_unknown(ring, index))
		return;
	decision->lost_segments++;
	decision->lost_sectors += most_sectors(&ring->cache->geometry);
}

int wb_account(struct wb_ring *ring, const struct wb_decide_options *options, struct wb_decision *decision,
	       const struct wb_progress *progress, struct wb_error *err)
{
	int ret = 0;

	for (uint32_t i = 0; i < ring->cache->geometry.slots && !ret; i++) {
		const struct wb_slot *slot = &ring->slots[i];
		struct wb_left left = { .slot = i, .id = slot->id, .class_ = (enum wb_class)slot->class_ };

		if (i % 4096 == 0)
			ret = wb_poll(progress, "accounting for the slots", i, ring->cache->geometry.slots, err);
		if (ret)
			break;
		if (wb_slot_planned(ring, &decision->scope, i)) {
			if (!(slot->flags & (WB_SLOT_MISALIGNED | WB_SLOT_BEYOND)))
				continue;
			ret = count_unusable(ring, i, options, &left, err);
		} else if (slot->class_ == WB_ZEROED) {
			decision->zeroed_skipped++;
			decision->zeroed_sectors += slot->dirty_sectors;
			continue;
		} else if (is_accounted(ring, decision, i, &left)) {
			count_lost(ring, i, decision);
			continue;
		} else {
			left.sectors = is_unknown(ring, i) && !is_whole(slot) ? most_sectors(&ring->cache->geometry) : slot->dirty_sectors;
		}
		decision->left_segments++;
		decision->left_sectors += left.sectors;
		if (!decision->refused)
			tell(options, &left);
	}
	return ret;
}

/* ---- how it ends ---- */

/* Dirty sectors that are not on BACKING, or may be older there than they were. */
static bool leaves_out(const struct wb_ring *ring, const struct wb_decide_options *options,
		       const struct wb_decision *decision, const struct wb_replay_result *result)
{
	return ring->cache->detected.format || decision->left_segments || decision->stale_sectors || decision->unknown_holes ||
	       result->unreadable_sectors || result->contested_sectors || (decision->zeroed_skipped && options->policy != WB_STRICT);
}

unsigned wb_decision_status(const struct wb_ring *ring, const struct wb_decide_options *options,
			    const struct wb_decision *decision, const struct wb_replay_result *result)
{
	bool left = leaves_out(ring, options, decision, result);
	bool line = ring->restarted && ring->options.timeline != WB_TIMELINE_NONE;
	bool prefix = options->policy == WB_PREFIX || options->until_given;
	bool trusted = ring->options.record_use == WB_RECORD_TRUST;
	bool acted = (decision->damage && options->policy != WB_STRICT) || ((prefix || trusted) && left) || line ||
		     decision->record_contradicted;

	if (decision->refused)
		return 4;
	return (acted ? 1 : 0) | (left || line || decision->record_contradicted ? 4 : 0);
}

bool wb_decision_may_end(const struct wb_ring *ring, const struct wb_decide_options *options,
			 const struct wb_decision *decision, const struct wb_replay_result *result)
{
	bool line = ring->restarted && ring->options.timeline != WB_TIMELINE_NONE;
	bool prefix = options->policy == WB_PREFIX && decision->cut;

	return !decision->refused && !leaves_out(ring, options, decision, result) && !decision->zeroed_skipped && !prefix &&
	       !options->until_given && ring->options.record_use != WB_RECORD_TRUST && !line && !decision->record_contradicted;
}
