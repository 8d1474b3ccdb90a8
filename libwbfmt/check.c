/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns what the ring knows into findings: sector 0 first, then the patterns, then slot by slot. A
 * pattern that explains the slots silences them, so that one fault makes one finding.
 */
#include "bytes.h"
#include "error.h"
#include "ring.h"

static const struct wb_rule_info rules[WB_RULES] = {
#define X(ID, NAME, SEVERITY, TEXT) [WB_RULE_##ID] = { NAME, WB_##SEVERITY, TEXT },
#include "wbrules.h"
#undef X
};

const struct wb_rule_info *wb_rule_info(enum wb_rule rule)
{
	return &rules[rule];
}

const char *wb_severity_name(enum wb_severity severity)
{
	return severity == WB_DAMAGE ? "damage" : severity == WB_WARNING ? "warning" : "note";
}

struct report {
	int (*found)(void *context, const struct wb_finding *finding);
	void *context;
	int stopped;
};

static void tell(struct report *report, const struct wb_finding *finding)
{
	if (!report->stopped)
		report->stopped = report->found(report->context, finding);
}

static void tell_device(struct report *report, enum wb_rule rule, uint64_t id, uint64_t offset)
{
	tell(report, &(struct wb_finding){ .rule = rule, .severity = rules[rule].severity, .slot = WB_NO_SLOT, .id = id, .offset = offset, .index = -1 });
}

/* Debian's writeboost script zeroes sector 0 at every stop, after writeback: then everything is on BACKING. */
static bool was_ended_by_zeroing(const struct wb_cache *cache, const struct wb_proof *proof)
{
	return cache->super == WB_SUPER_ZEROED && proof && proof->pair == WB_PAIR_PROVEN && !proof->dirty_blocks &&
	       !proof->unreadable_sectors;
}

/* The id is the newest one now, sectors what the newer segments hold. */
static void tell_written_after_end(const struct wb_ring *ring, struct report *report)
{
	const uint64_t ended = ring->cache->marker.head;
	struct wb_finding finding = { .rule = WB_RULE_WRITTEN_AFTER_END, .severity = rules[WB_RULE_WRITTEN_AFTER_END].severity,
				      .slot = WB_NO_SLOT, .id = ring->head > ended ? ring->head : 0, .offset = 0, .index = -1 };

	finding.sectors = wb_sectors_after_end(ring);
	tell(report, &finding);
}

/* ring: NULL where sector 0 is all that is known */
static void check_super(const struct wb_cache *cache, const struct wb_ring *ring, const struct wb_proof *proof,
			struct report *report)
{
	switch (cache->super) {
	case WB_SUPER_GOOD:
		break;
	case WB_SUPER_ENDED:
		if (ring && wb_ring_written_after_end(ring)) {
			tell_written_after_end(ring, report);
			break;
		}
		tell_device(report, cache->marker.reason == WB_END_FORMAT ? WB_RULE_FORMAT_INTERRUPTED : WB_RULE_ENDED,
			    cache->marker.head, 0);
		if (cache->marker.partial)
			tell_device(report, WB_RULE_ENDED_PARTIAL, cache->marker.head, 0);
		break;
	case WB_SUPER_ZEROED:
		tell_device(report, was_ended_by_zeroing(cache, proof) ? WB_RULE_ENDED_BY_ZEROING : WB_RULE_ZERO_SUPERBLOCK, 0, 0);
		break;
	case WB_SUPER_DAMAGED:
		tell_device(report, WB_RULE_BAD_SUPERBLOCK, 0, 0);
		break;
	case WB_SUPER_UNREADABLE:
		tell_device(report, WB_RULE_UNREADABLE_SUPERBLOCK, 0, 0);
		break;
	}
	if (cache->residue)
		tell_device(report, WB_RULE_RESIDUE, 0, WB_ORDER_BYTE);
	if (cache->tie)
		tell_device(report, WB_RULE_TIE, 0, WB_NO_OFFSET);
	if (cache->wraps)
		tell_device(report, WB_RULE_WRAP, 0, WB_NO_OFFSET);
}

int wb_check_super(const struct wb_cache *cache, int (*found)(void *context, const struct wb_finding *finding),
		   void *context)
{
	struct report report = { .found = found, .context = context };

	check_super(cache, NULL, NULL, &report);
	return report.stopped;
}

/* The driver goes back in time where a newer partial block meets an older one (v2.2.17: prepare_overwrite()). */
bool wb_record_is_hazard(const struct wb_ring *ring)
{
	if (ring->record_state != WB_RECORD_SOUND || ring->cache->geometry.format->record_binds)
		return false;
	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++)
		if (ring->slots[i].class_ == WB_LIVE && ring->slots[i].flags & WB_SLOT_PARTIAL)
			return true;
	return false;
}

/* The bytes of a slot that the log uses, as far as its header tells, go on behind the end of the device. */
static bool ends_early(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	const struct wb_slot *slot = &ring->slots[index];
	uint64_t used = WB_BLOCK * (slot->class_ == WB_PART_READABLE ? slot->length + 1u : 1u);
	uint64_t offset = wb_slot_offset(geometry, index);

	return (slot->class_ == WB_PART_READABLE || slot->class_ == WB_UNREADABLE) &&
	       (offset > geometry->bytes || used > geometry->bytes - offset);
}

/* A copy of a device is as long as the device, and that has whole sectors. */
static void check_size(const struct wb_ring *ring, struct report *report)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	struct wb_finding finding = { .rule = WB_RULE_CUT_SHORT, .severity = WB_WARNING, .slot = WB_NO_SLOT, .index = -1,
				      .offset = geometry->bytes, .missing = wb_geometry_missing(geometry, geometry->slots) };

	if (!finding.missing && geometry->bytes % WB_SECTOR)
		finding.missing = WB_SECTOR - geometry->bytes % WB_SECTOR;
	for (uint32_t i = 0; i < geometry->slots; i++)
		if (ends_early(ring, i))
			finding.severity = WB_DAMAGE;
	if (finding.missing)
		tell(report, &finding);
}

static void check_patterns(const struct wb_ring *ring, struct report *report)
{
	check_size(ring, report);
	if (ring->cache->detected.format) {
		tell_device(report, WB_RULE_OTHER_GEOMETRY, 0, WB_NO_OFFSET);
		return;
	}
	if (ring->destroyed)
		tell_device(report, WB_RULE_DESTROYED, 0, WB_NO_OFFSET);
	if (ring->resized)
		tell_device(report, WB_RULE_RESIZED, 0, WB_NO_OFFSET);
	if (ring->shifted)
		tell_device(report, WB_RULE_SHIFTED, 0, WB_NO_OFFSET);
	if (ring->restarted)
		tell_device(report, WB_RULE_RESTARTED, ring->restarted, WB_NO_OFFSET);
	if (ring->resized || ring->shifted || ring->destroyed)
		return;
	if (ring->record_state == WB_RECORD_GARBAGE)
		tell_device(report, WB_RULE_RECORD_GARBAGE, ring->cache->record, WB_RECORD_OFFSET);
	if (ring->record_state == WB_RECORD_MISSING)
		tell_device(report, WB_RULE_RECORD_MISSING, ring->cache->record, WB_RECORD_OFFSET);
	if (ring->record_state == WB_RECORD_UNKNOWN)
		tell(report, &(struct wb_finding){ .rule = WB_RULE_RECORD_UNREADABLE, .slot = WB_NO_SLOT, .index = -1,
						   .severity = ring->cache->geometry.format->record_binds ? WB_DAMAGE : WB_WARNING,
						   .offset = WB_RECORD_OFFSET });
	if (ring->record_contradicted)
		tell_device(report, WB_RULE_RECORD_CONTRADICTED, ring->cache->record, WB_RECORD_OFFSET);
	if (wb_record_is_hazard(ring))
		tell_device(report, WB_RULE_RECORD_HAZARD, ring->cache->record, WB_RECORD_OFFSET);
	if (ring->raw_seals && ring->plain_seals)
		tell_device(report, WB_RULE_MIXED_CHECKSUMS, 0, WB_NO_OFFSET);
	if (!wb_seal_covers_data(ring->cache->geometry.format) && ring->head)
		tell_device(report, WB_RULE_UNSEALED_DATA, ring->head, WB_NO_OFFSET);
}

/* -1: the class is no finding */
static int rule_of(enum wb_class class_)
{
	switch (class_) {
	case WB_TORN_TAIL: return WB_RULE_TORN_TAIL;
	case WB_TORN_HEAD: return WB_RULE_TORN_HEAD;
	case WB_AHEAD: return WB_RULE_AHEAD;
	case WB_ROTTEN: return WB_RULE_ROTTEN;
	case WB_STALE_LAP: return WB_RULE_STALE_LAP;
	case WB_ALIEN_ID: return WB_RULE_ALIEN_ID;
	case WB_BAD_LENGTH: return WB_RULE_BAD_LENGTH;
	case WB_PART_READABLE: return WB_RULE_PART_READABLE;
	case WB_UNREADABLE: return WB_RULE_UNREADABLE;
	case WB_ZEROED: return WB_RULE_ZEROED;
	case WB_FOREIGN: return WB_RULE_FOREIGN;
	case WB_EMPTY:
	case WB_LIVE:
	case WB_OLD:
	case WB_CLASSES:
		break;
	}
	return -1;
}

static struct wb_finding about_slot(const struct wb_ring *ring, uint32_t index, enum wb_rule rule)
{
	const struct wb_slot *slot = &ring->slots[index];
	uint64_t due = wb_ring_due(ring, index);
	bool newer = slot->class_ == WB_AHEAD || (ring->torn_tail && slot->id > ring->head && slot->id <= ring->torn_tail);

	return (struct wb_finding){ .rule = rule, .severity = rules[rule].severity, .slot = index, .id = newer || !due ? slot->id : due,
				    .found_id = slot->id, .sectors = slot->dirty_sectors, .index = -1,
				    .offset = wb_slot_offset(&ring->cache->geometry, index),
				    .bit = wb_ring_correction(ring, index) };
}

/* Metablocks of a live segment that point where no block can be. */
static int check_bounds(struct wb_ring *ring, uint32_t index, struct report *report, struct wb_error *err)
{
	const struct wb_format *format = ring->cache->geometry.format;
	uint8_t meta[WB_BLOCK];
	int ret = wb_ring_metadata(ring, index, meta, err);

	for (unsigned i = 0; i < ring->slots[index].length && !ret; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(format, meta, i, &metablock);
		if (wb_metablock_usable(ring, &metablock) || (!metablock.dirty && !format->caches_reads))
			continue;
		bool aligned = metablock.sector % WB_SECTORS_PER_BLOCK == 0;
		struct wb_finding finding =
			about_slot(ring, index, aligned ? WB_RULE_BEYOND_BACKING : WB_RULE_MISALIGNED);

		finding.severity = metablock.dirty ? finding.severity : WB_NOTE;
		finding.index = (int)i;
		finding.sector = metablock.sector;
		finding.sectors = (unsigned)__builtin_popcount(metablock.dirty);
		finding.offset += wb_metadata_size(format, i);
		finding.bit = NULL;
		tell(report, &finding);
	}
	return ret;
}

static int check_slot(struct wb_ring *ring, uint32_t index, struct report *report, struct wb_error *err)
{
	const struct wb_slot *slot = &ring->slots[index];
	int rule = rule_of((enum wb_class)slot->class_);
	bool live = slot->class_ == WB_LIVE || slot->class_ == WB_PART_READABLE;

	/* slots of the new log in a restarted ring are a lap behind, and what was cut off cannot be read */
	if (rule >= 0 && !ends_early(ring, index) && !(slot->class_ == WB_STALE_LAP && index < ring->new_slots)) {
		struct wb_finding finding = about_slot(ring, index, (enum wb_rule)rule);

		tell(report, &finding);
	}
	if (live && slot->flags & WB_SLOT_PADDING) {
		struct wb_finding finding = about_slot(ring, index, WB_RULE_PADDING);

		tell(report, &finding);
	}
	if (live && slot->flags & (WB_SLOT_MISALIGNED | WB_SLOT_BEYOND | WB_SLOT_CLEAN_BAD))
		return check_bounds(ring, index, report, err);
	return 0;
}

int wb_check(struct wb_ring *ring, const struct wb_proof *proof,
	     int (*found)(void *context, const struct wb_finding *finding), void *context, struct wb_error *err)
{
	struct report report = { .found = found, .context = context };

	check_super(ring->cache, ring, proof, &report);
	check_patterns(ring, &report);
	if (proof && proof->pair == WB_PAIR_CONTRADICTED)
		tell_device(&report, WB_RULE_BACKING_MISMATCH, 0, WB_NO_OFFSET);
	if (ring->cache->detected.format || ring->resized || ring->shifted || ring->destroyed)
		return 0;
	for (uint32_t i = 0; i < ring->cache->geometry.slots && !report.stopped; i++) {
		int ret = check_slot(ring, i, &report, err);

		if (ret)
			return ret;
	}
	return 0;
}
