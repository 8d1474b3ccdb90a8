/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Judges a ring from what is known to have been written. Validity is a comparison with the bytes that the driver wrote
 * (v0: laps); only the rules of recovery.md are applied to that, in the plainest way.
 */
#include "truth.h"

#include <assert.h>
#include <stdlib.h>

#include "wbfmt.h"

static bool is_v0(const struct truth *truth)
{
	return !truth->driver->config->generation;
}

static unsigned int slots_of(const struct truth *truth)
{
	return truth->driver->config->slots;
}

static const uint8_t *slot_bytes(const struct truth *truth, unsigned int slot)
{
	return truth->bytes + slot_offset(truth->driver, slot);
}

bool truth_readable(const struct truth *truth, uint64_t offset, uint32_t length)
{
	for (unsigned int i = 0; i < truth->damage_count; i++)
		if (truth->damage[i].sectors && truth->damage[i].offset < offset + length &&
		    offset < truth->damage[i].offset + (uint64_t)truth->damage[i].sectors * SECTOR)
			return false;
	return true;
}

/* ---- single slots ---- */

static bool covered_bytes_are(const struct truth *truth, const uint8_t *at, const struct written *written)
{
	size_t end = BLOCK * (written->length + 1u);

	if (is_v0(truth))
		return !memcmp(at, written->bytes, 13 + 13 * written->length);
	return !memcmp(at + 8, written->bytes + 8, 5) && !memcmp(at + 512, written->bytes + 512, end - 512);
}

static const struct written *whole_at(const struct truth *truth, unsigned int slot)
{
	const struct written *found = NULL;

	for (unsigned int i = 0; i < KEPT; i++) {
		const struct written *written = truth->driver->history[KEPT * slot + i];

		if (!written || !covered_bytes_are(truth, slot_bytes(truth, slot), written))
			continue;
		if (!found || written->id == truth->places[slot].id)
			found = written;
	}
	return found;
}

static bool laps_agree(const struct truth *truth, unsigned int slot)
{
	const uint8_t *at = slot_bytes(truth, slot);

	if (!at[8] || at[8] > truth->driver->capacity)
		return false;
	for (unsigned int i = 0; i < at[8]; i++)
		if (memcmp(at + 9, at + 22 + 13 * i, 4))
			return false;
	return get_le(at + 9, 4);
}

/* v0: blocks that hold something else than what was written there */
static void look_for_tears(struct truth *truth, unsigned int slot)
{
	struct place *place = &truth->places[slot];
	const struct written *written = place->whole;
	const uint8_t *at = slot_bytes(truth, slot);

	place->torn = !written;
	for (unsigned int i = 0; written && i < written->length; i++)
		for (unsigned int j = 0; j < 8; j++) {
			size_t offset = BLOCK * (i + 1u) + j * SECTOR;

			place->torn |= written->mb[i].dirty && written->mb[i].bits >> j & 1 &&
				       memcmp(at + offset, written->bytes + offset, SECTOR);
		}
}

/* Before its only flipped bit it was whole. */
static bool one_bit_explains(const struct truth *truth, unsigned int slot)
{
	uint64_t begin = slot_offset(truth->driver, slot);
	const struct written *written = NULL;
	unsigned int different = 0;

	for (unsigned int i = 0; i < KEPT && !is_v0(truth); i++) {
		const struct written *some = truth->driver->history[KEPT * slot + i];

		if (some && some->id == truth->places[slot].id && some->on_its_way) {
			written = some;
			break;
		}
	}
	if (!written || !truth_readable(truth, begin + BLOCK, written->length * BLOCK))
		return false;
	for (size_t at = 8; at < BLOCK * (written->length + 1u); at++)
		if (at < 13 || at >= 512)
			different += (unsigned int)__builtin_popcount(truth->bytes[begin + at] ^ written->bytes[at]);
	return different == 1;
}

static void look_at(struct truth *truth, unsigned int slot)
{
	struct place *place = &truth->places[slot];
	const uint8_t *at = slot_bytes(truth, slot);
	uint64_t offset = slot_offset(truth->driver, slot);

	*place = (struct place){ .id = get_le(at, 8), .length = at[is_v0(truth) ? 8 : 12] };
	place->header_lost = !truth_readable(truth, offset, BLOCK);
	place->in_place = place->id && slot_of(truth->driver, place->id) == slot;
	if (place->header_lost)
		return;
	if (place->length <= truth->driver->capacity && place->length)
		place->data_lost = !truth_readable(truth, offset + BLOCK, place->length * BLOCK);
	place->whole = whole_at(truth, slot);
	if (is_v0(truth)) {
		place->sealed = laps_agree(truth, slot);
		place->lap = (uint32_t)get_le(at + 9, 4);
		place->valid = place->sealed && place->id && place->lap == lap_of(truth->driver, place->id);
		place->data_lost &= place->valid;
	} else {
		place->sealed = place->whole && !place->data_lost;
		place->valid = place->sealed && place->id;
		place->one_bit = !place->sealed && !place->data_lost && one_bit_explains(truth, slot);
	}
	if (is_v0(truth) && place->valid)
		look_for_tears(truth, slot);
}

/* ---- the ring ---- */

static void find_head(struct truth *truth)
{
	unsigned int most = 0;

	for (unsigned int i = 0; i < slots_of(truth); i++) {
		uint64_t id = truth->places[i].id;
		unsigned int votes = 0;

		if (!truth->places[i].valid || !truth->places[i].in_place)
			continue;
		for (unsigned int k = 0; k < slots_of(truth); k++)
			votes += truth->places[k].valid && truth->places[k].in_place && truth->places[k].id <= id &&
				 id - truth->places[k].id < slots_of(truth);
		if (votes > most || (votes == most && id > truth->head)) {
			most = votes;
			truth->head = id;
		}
	}
}

static struct place *place_of(const struct truth *truth, uint64_t id)
{
	return &truth->places[slot_of(truth->driver, id)];
}

static bool is_ahead(const struct truth *truth, const struct place *place)
{
	return truth->head && place->valid && place->in_place && place->id > truth->head + 1 &&
	       place->id - truth->head < slots_of(truth);
}

static uint64_t largest(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void find_window(struct truth *truth)
{
	uint64_t slots = slots_of(truth), gone = truth->head > slots ? truth->head - slots : 0;

	for (uint64_t id = truth->head + 1; id < truth->head + slots; id++) {
		const struct place *place = place_of(truth, id);

		if (place->id != id || place->valid || place->header_lost ||
		    (is_v0(truth) && place->sealed && place->lap > lap_of(truth->driver, id)))
			break;
		truth->torn_tail = id;
	}
	for (unsigned int i = 0; i < slots; i++)
		if (is_ahead(truth, &truth->places[i]))
			truth->newest_ahead = largest(truth->newest_ahead, truth->places[i].id);
	if (is_v0(truth) && truth->head >= slots)
		gone = truth->head - slots + 1 < truth->head ? truth->head - slots + 1 : truth->head - 1;
	if (truth->newest_ahead > slots)
		gone = largest(gone, truth->newest_ahead - slots);
	if (is_v0(truth) && truth->record <= truth->head)
		gone = largest(gone, truth->record);
	truth->first = (gone < truth->head ? gone : truth->head) + 1;
}

static uint64_t due_at(const struct truth *truth, unsigned int slot)
{
	for (uint64_t id = truth->head; id && truth->head - id < slots_of(truth); id--)
		if (slot_of(truth->driver, id) == slot)
			return id;
	return 0;
}

static int broken(const struct truth *truth, const struct place *place, bool maybe_torn)
{
	if (place->data_lost)
		return WB_PART_READABLE;
	if (place->one_bit)
		return WB_ROTTEN;
	if (place->length > truth->driver->capacity || (is_v0(truth) && !place->length))
		return WB_BAD_LENGTH;
	if (maybe_torn)
		return place->id > truth->head ? WB_TORN_TAIL : WB_TORN_HEAD;
	return WB_ROTTEN;
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
	while (size && !bytes[size - 1])
		size--;
	return !size;
}

/* v0: all laps agree under an id that cannot be there, and they are not older than what belongs there, or is to come. */
static bool is_alien(const struct truth *truth, const struct place *place, uint64_t due, bool next)
{
	if (!place->sealed)
		return false;
	if (!is_v0(truth) || (!due && !next))
		return !is_v0(truth) || truth->head || !place->in_place;
	return (!due || place->id != due) && place->lap >= lap_of(truth->driver, next ? truth->head + 1 : due);
}

/* Above the head of the first lap, broken: garbage bears no such id. */
static bool is_of_next_lap(const struct truth *truth, const struct place *place)
{
	uint64_t slots = slots_of(truth);

	return place->in_place && place->id > slots && place->id - truth->head < 2 * slots;
}

static int class_at(const struct truth *truth, unsigned int slot)
{
	const struct place *place = &truth->places[slot];
	uint64_t due = due_at(truth, slot);
	bool old = due && due < truth->first, next = slot_of(truth->driver, truth->head + 1) == slot;
	bool length_fits = place->length <= truth->driver->capacity && (place->length || !is_v0(truth));

	if (place->header_lost)
		return WB_UNREADABLE;
	if (place->valid && place->in_place) {
		if (is_ahead(truth, place))
			return WB_AHEAD;
		if (place->id > truth->head)
			return WB_ALIEN_ID;
		if (old)
			return WB_OLD;
		return place->id < due ? WB_STALE_LAP : place->data_lost ? WB_PART_READABLE : WB_LIVE;
	}
	if (truth->torn_tail && place->id > truth->head && place->id <= truth->torn_tail && place->in_place)
		return place->id == truth->head + 1 || !length_fits || place->data_lost ? broken(truth, place, true) :
											   WB_TORN_TAIL;
	if (is_alien(truth, place, due, next))
		return WB_ALIEN_ID;
	if (old && (!is_v0(truth) || place->id <= due))
		return WB_OLD;
	if (place->data_lost && length_fits && (due ? next && !place->id : next || place->in_place))
		return WB_PART_READABLE;
	if (!due && truth->head && is_of_next_lap(truth, place) && length_fits)
		return WB_ROTTEN;
	if (!due)
		return all_zero(slot_bytes(truth, slot), BLOCK) ? WB_EMPTY : WB_FOREIGN;
	if (next && !place->id)
		return WB_TORN_HEAD;
	return place->id == due ? broken(truth, place, next) : WB_ROTTEN;
}

bool truth_is_hole(const struct truth *truth, uint64_t id)
{
	const struct place *place = place_of(truth, id);

	if (id < truth->first || id > truth->head || (place->id == id && place->valid))
		return false;
	return place->class_ != WB_TORN_HEAD &&
	       !(truth->torn_tail && place->id > truth->head && place->id <= truth->torn_tail);
}

/* v0: all of its dirty data is zero, and so is all older data of the window */
static void find_zeroed(struct truth *truth)
{
	for (uint64_t id = truth->first; id <= truth->head && is_v0(truth); id++) {
		struct place *place = place_of(truth, id);
		const uint8_t *at = slot_bytes(truth, slot_of(truth->driver, id));
		uint64_t offset = slot_offset(truth->driver, slot_of(truth->driver, id));
		bool dirty = false, zero = true;

		if (place->class_ != WB_LIVE && place->class_ != WB_PART_READABLE)
			continue;
		for (unsigned int i = 8; i < 8u * (place->length + 1); i++) {
			bool some = at[8 + 13 * (i / 8)];

			dirty |= some;
			zero &= !some || (all_zero(at + i * SECTOR, SECTOR) &&
					  truth_readable(truth, offset + i * SECTOR, SECTOR));
		}
		if (!dirty)
			continue;
		if (!zero)
			return;
		place->class_ = WB_ZEROED;
		truth->zeroed = true;
	}
}

/* ids of lap 1 below some of later laps; no segment at all though there are headers; ids out of place */
static void find_patterns(struct truth *truth)
{
	unsigned int traces = 0, slots = slots_of(truth);
	bool low = false;

	for (unsigned int i = 0; i < slots; i++) {
		const struct place *place = &truth->places[i];
		bool stands = place->valid && place->in_place;

		low |= stands && place->id <= slots;
		truth->patterned |= low && stands && place->id > slots;
		truth->patterned |= place->sealed && place->id && !place->in_place;
		traces += place->id && !place->valid;
	}
	truth->patterned |= !truth->head && traces;
}

/* v0: is this data that was migrated and discarded, but for some of its blocks? */
static bool partly_discarded(const struct truth *truth, uint64_t id)
{
	const struct place *place = place_of(truth, id);
	const uint8_t *at = slot_bytes(truth, slot_of(truth->driver, id));

	for (unsigned int i = 0; i < place->length; i++)
		for (unsigned int j = 0; j < 8; j++)
			if (at[21 + 13 * i] >> j & 1 && all_zero(at + BLOCK * (i + 1u) + j * SECTOR, SECTOR))
				return true;
	return false;
}

static void find_history(struct truth *truth)
{
	for (unsigned int i = 0; i < slots_of(truth); i++) {
		const struct place *place = &truth->places[i];

		if (!place->valid || !place->whole || place->whole->id != place->id)
			continue;
		truth->zombies |= place->whole->dropped;
		if (!place->whole->dropped)
			truth->written = largest(truth->written, place->id);
	}
	for (uint64_t id = truth->first; id <= truth->head && is_v0(truth); id++) {
		bool replayed = place_of(truth, id)->class_ == WB_LIVE || place_of(truth, id)->class_ == WB_PART_READABLE;

		truth->partly_discarded |= replayed && partly_discarded(truth, id);
		truth->torn |= replayed && place_of(truth, id)->torn;
	}
}

void truth_find(struct truth *truth, const struct driver *driver, const uint8_t *bytes, const struct damage *damage,
		unsigned int damage_count)
{
	*truth = (struct truth){ .driver = driver, .bytes = bytes, .damage = damage, .damage_count = damage_count,
				 .record = get_le(bytes + RECORD_AT, 8) };
	if (!truth_readable(truth, RECORD_AT, SECTOR))
		truth->record = 0;
	truth->places = calloc(driver->config->slots, sizeof(*truth->places));
	assert(truth->places);
	for (unsigned int i = 0; i < slots_of(truth); i++)
		look_at(truth, i);
	find_head(truth);
	find_window(truth);
	for (unsigned int i = 0; i < slots_of(truth); i++)
		truth->places[i].class_ = class_at(truth, i);
	find_zeroed(truth);
	for (uint64_t id = truth->first; id <= truth->head; id++) {
		struct place *place = place_of(truth, id);

		truth->holes += truth_is_hole(truth, id);
		place->hole_copy = truth_is_hole(truth, id) && place->id == id && !place->header_lost &&
				   place->length <= driver->capacity && place->length;
	}
	find_patterns(truth);
	find_history(truth);
}

void truth_release(struct truth *truth)
{
	free(truth->places);
}

const uint8_t *truth_copy(const struct truth *truth, unsigned int slot, unsigned int index, unsigned int sector)
{
	const uint8_t *at = slot_bytes(truth, slot);
	const uint8_t *mb = at + (is_v0(truth) ? 13 + 13 * index : 512 + 16 * index);
	uint64_t offset = BLOCK * (index + 1u) + sector % 8 * SECTOR;

	if (get_le(mb, 8) != sector - sector % 8 || !(mb[8] >> sector % 8 & 1) ||
	    !truth_readable(truth, slot_offset(truth->driver, slot) + offset, SECTOR))
		return NULL;
	return at + offset;
}
