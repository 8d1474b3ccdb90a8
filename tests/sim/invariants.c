/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See invariants.h. */
#include "invariants.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

#define FAR (INT64_C(1) << 62)	/* between the ages of two time lines */

static bool is_v0(const struct inquest *inquest)
{
	return !inquest->driver->config->generation;
}

static const uint8_t *slot_at(const struct inquest *inquest, unsigned int slot)
{
	return inquest->cache + slot_offset(inquest->driver, slot);
}

static bool readable(const struct inquest *inquest, uint64_t offset, uint32_t length)
{
	for (unsigned int i = 0; i < inquest->damage_count; i++) {
		const struct damage *damage = &inquest->damage[i];

		if (damage->sectors && damage->offset < offset + length &&
		    offset < damage->offset + (uint64_t)damage->sectors * SECTOR)
			return false;
	}
	return true;
}

static unsigned int place_of_id(const struct inquest *inquest, uint64_t id)
{
	return (unsigned int)((id - 1) % inquest->ring);
}

static uint32_t lap_of_id(const struct inquest *inquest, uint64_t id)
{
	return (uint32_t)((id - 1) / inquest->ring + 1);
}

/* ---- one slot ---- */

static const uint8_t *metablock_at(const struct inquest *inquest, unsigned int slot, unsigned int index)
{
	return slot_at(inquest, slot) + (is_v0(inquest) ? 13 + 13 * index : 512 + 16 * index);
}

static bool laps_hold(const struct inquest *inquest, unsigned int slot, const struct witness *witness)
{
	const uint8_t *lap = slot_at(inquest, slot) + 9;

	for (unsigned int i = 0; i < witness->length; i++)
		if (memcmp(lap, metablock_at(inquest, slot, i) + 9, 4))
			return false;
	return get_le(lap, 4) == lap_of_id(inquest, witness->id);
}

static void look_at(struct inquest *inquest, unsigned int slot)
{
	struct witness *witness = &inquest->witnesses[slot];
	const uint8_t *at = slot_at(inquest, slot);
	uint64_t offset = slot_offset(inquest->driver, slot);

	*witness = (struct witness){ .readable = readable(inquest, offset, BLOCK) };
	if (!witness->readable)
		return;
	witness->id = get_le(at, 8);
	witness->length = at[is_v0(inquest) ? 8 : 12];
	witness->fits = witness->length <= inquest->driver->capacity && (witness->length || !is_v0(inquest));
	witness->in_place = witness->id && slot < inquest->ring && place_of_id(inquest, witness->id) == slot;
	if (!witness->fits)
		return;
	witness->part = !readable(inquest, offset + BLOCK, witness->length * BLOCK);
	if (is_v0(inquest)) {
		witness->whole = witness->id && laps_hold(inquest, slot, witness);
	} else if (!witness->part) {
		uint32_t sum = segment_sum(at, witness->length), stored = (uint32_t)get_le(at + CHECKSUM_AT, 4);

		witness->raw = stored == sum;
		witness->complemented = stored == ~sum && inquest->driver->config->generation == 2;
		witness->whole = witness->raw || witness->complemented;
	}
}

static bool is_valid(const struct inquest *inquest, unsigned int slot)
{
	return inquest->witnesses[slot].whole && inquest->witnesses[slot].in_place;
}

/* ---- time lines ---- */

/* Of a later lap, and the next one is of the first: damaged, and no other time line. Of the second lap it must be so by one bit. */
static bool is_odd_one(const struct inquest *inquest, unsigned int slot)
{
	unsigned int next = slot + 1;

	while (next < inquest->ring && !is_valid(inquest, next))
		next++;
	uint64_t id = inquest->witnesses[slot].id;

	return (__builtin_popcountll(id ^ (slot + 1)) == 1 || id != slot + 1 + inquest->ring) && next < inquest->ring &&
	       inquest->witnesses[next].id <= inquest->ring;
}

/* Low slots of the first lap, and above them one of a later lap: the old ring may have been in its second, so that more of the
 * first follow. Or of another dialect, which may change again. */
static bool splits(const struct inquest *inquest, unsigned int k, bool by_dialect)
{
	bool low = false, low_raw = false, odd = false;

	for (unsigned int i = 0; i < inquest->ring; i++) {
		const struct witness *witness = &inquest->witnesses[i];

		if (!is_valid(inquest, i))
			continue;
		if (!by_dialect && low && !odd && witness->id > inquest->ring && is_odd_one(inquest, i)) {
			odd = true;
			continue;
		}
		if (i >= k)
			return low && (by_dialect ? witness->raw != low_raw : witness->id > inquest->ring);
		if (by_dialect ? low && witness->raw != low_raw : witness->id > inquest->ring)
			return false;
		low_raw = witness->raw;
		low = true;
	}
	return false;
}

static void find_lines(struct inquest *inquest)
{
	for (unsigned int k = 1; k < inquest->ring && !inquest->new_slots; k++)
		if (splits(inquest, k, false) || (inquest->driver->config->generation == 2 && splits(inquest, k, true)))
			inquest->new_slots = k;
}

/* Of a later lap in a new line of the first. */
static bool is_odd(const struct inquest *inquest, unsigned int slot)
{
	unsigned int last = inquest->new_slots;

	while (last && !is_valid(inquest, last - 1))
		last--;
	return slot < last && is_valid(inquest, slot) && inquest->witnesses[slot].id > inquest->ring &&
	       inquest->witnesses[last - 1].id <= inquest->ring;
}

static bool is_at_hand(const struct inquest *inquest, unsigned int slot)
{
	return !inquest->new_slots || inquest->line == LINE_NONE ||
	       (slot < inquest->new_slots && !(inquest->line == LINE_NEW && is_odd(inquest, slot))) == (inquest->line == LINE_NEW);
}

/* In the dialect and the lap of the new line: its own, if what was between is lost. */
static bool may_go_on(const struct inquest *inquest, unsigned int slot)
{
	unsigned int last = inquest->new_slots;

	while (last && !is_valid(inquest, last - 1))
		last--;
	return last && inquest->line == LINE_NEW && is_valid(inquest, slot) &&
	       (is_odd(inquest, slot) ||
		(inquest->witnesses[slot].id == inquest->witnesses[last - 1].id + (slot - (last - 1)) &&
		 inquest->witnesses[slot].raw == inquest->witnesses[last - 1].raw));
}

static void find_head(struct inquest *inquest)
{
	unsigned int most = 0;

	for (unsigned int i = 0; i < inquest->ring; i++) {
		uint64_t id = inquest->witnesses[i].id;
		unsigned int votes = 0;

		if (!is_valid(inquest, i) || !is_at_hand(inquest, i))
			continue;
		for (unsigned int k = 0; k < inquest->ring; k++)
			votes += is_valid(inquest, k) && is_at_hand(inquest, k) && inquest->witnesses[k].id <= id &&
				 id - inquest->witnesses[k].id < inquest->ring;
		if (votes > most || (votes == most && id > inquest->head)) {
			most = votes;
			inquest->head = id;
		}
	}
}

/* ---- the window, what is torn, what claims ---- */

static void find_window(struct inquest *inquest, uint64_t record)
{
	uint64_t n = inquest->ring, head = inquest->head, gone = head > n ? head - n : 0;

	if (is_v0(inquest) && head >= n)
		gone = head - n + 1 < head ? head - n + 1 : head - 1;
	for (unsigned int i = 0; i < inquest->ring; i++) {
		uint64_t id = inquest->witnesses[i].id;

		if (is_valid(inquest, i) && is_at_hand(inquest, i) && head && id > head + 1 && id - head < n && id - n > gone && id > n)
			gone = id - n;
	}
	if (is_v0(inquest) && record <= head && record > gone)
		gone = record;
	inquest->first = (gone < head ? gone : head) + 1;
}

/* The usual traces of a power cut, contiguous from M+1 by their headers. What is damaged as well is none: one flipped bit, a length
 * out of range, blocks that cannot be read. */
static void find_torn(struct inquest *inquest, const struct truth *truth)
{
	uint64_t n = inquest->ring, head = inquest->head;

	for (uint64_t id = head + 1; id < head + n; id++) {
		struct witness *witness = &inquest->witnesses[place_of_id(inquest, id)];

		if (witness->id != id || witness->whole)
			break;
		witness->torn = witness->fits && !(witness->part && !is_v0(inquest)) &&
				(id != head + 1 || !truth || !truth->places[place_of_id(inquest, id)].one_bit);
	}
	if (!is_v0(inquest) && head >= n) {
		struct witness *oldest = &inquest->witnesses[place_of_id(inquest, head + 1)];

		oldest->torn |= oldest->readable && !oldest->whole && !oldest->part && (!oldest->id || oldest->id == head + 1 - n);
	}
}

/* Broken, under an id that may follow the new line: perhaps written by it. */
static bool perhaps_new(const struct inquest *inquest, unsigned int slot)
{
	unsigned int last = inquest->new_slots;

	while (last && !is_valid(inquest, last - 1))
		last--;
	return last && slot >= last && !is_valid(inquest, slot) &&
	       inquest->witnesses[slot].id == inquest->witnesses[last - 1].id + (slot - (last - 1));
}

static void find_claims(struct inquest *inquest)
{
	uint64_t n = inquest->ring, head = inquest->head;

	for (unsigned int i = 0; i < inquest->ring; i++) {
		struct witness *witness = &inquest->witnesses[i];
		bool near = witness->id <= head ? head - witness->id < n : witness->id - head < (is_valid(inquest, i) ? n : 2 * n);

		witness->age = (int64_t)witness->id;
		if (inquest->line == LINE_OLD && i >= inquest->new_slots && !near && perhaps_new(inquest, i)) {
			near = true;
			witness->age += FAR;
		}
		if (!is_at_hand(inquest, i) && !(inquest->line == LINE_NEW && (witness->torn || perhaps_new(inquest, i)))) {
			near = true;
			witness->age += inquest->line == LINE_OLD ? FAR : may_go_on(inquest, i) ? 0 : -FAR;
		}
		/* a torn tail claims nothing, unless it was written back */
		witness->claims = witness->readable && witness->in_place && witness->fits && near &&
				  !(witness->torn && witness->id > head);
	}
}

void inquest_close(struct inquest *inquest)
{
	free(inquest->witnesses);
}

/* ---- versions of a sector ---- */

/* The bytes that block `index` of a slot has for a sector under an id, and whether its bit is dirty; NULL: none. */
static const uint8_t *copy_under(const struct inquest *inquest, uint64_t id, unsigned int slot, unsigned int index,
				 unsigned int sector, bool *dirty)
{
	const uint8_t *mb = metablock_at(inquest, slot, index);
	uint64_t offset = BLOCK * (index + 1u) + sector % 8 * SECTOR;

	if (get_le(mb, 8) != sector - sector % 8 ||
	    !readable(inquest, slot_offset(inquest->driver, slot) + offset, SECTOR))
		return NULL;
	if (is_v0(inquest) && (!mb[8] || (!inquest->witnesses[slot].whole && get_le(mb + 9, 4) != lap_of_id(inquest, id))))
		return NULL;
	*dirty = mb[8] >> sector % 8 & 1;
	return !mb[8] || *dirty ? slot_at(inquest, slot) + offset : NULL;
}

static const uint8_t *copy_of(const struct inquest *inquest, unsigned int slot, unsigned int index, unsigned int sector, bool *dirty)
{
	return copy_under(inquest, inquest->witnesses[slot].id, slot, index, sector, dirty);
}

static bool holds(const struct inquest *inquest, unsigned int slot, unsigned int sector, const uint8_t *bytes, bool dirty_only)
{
	bool dirty;

	for (unsigned int i = 0; inquest->witnesses[slot].fits && i < inquest->witnesses[slot].length; i++) {
		const uint8_t *copy = copy_of(inquest, slot, i, sector, &dirty);

		if (copy && (dirty || !dirty_only) && !memcmp(copy, bytes, SECTOR))
			return true;
	}
	return false;
}

static bool one_byte(const uint8_t *bytes)
{
	return !memcmp(bytes, bytes + 1, SECTOR - 1);
}

static bool differ_by_a_bit(const uint8_t *a, const uint8_t *b)
{
	unsigned int bits = 0;

	for (unsigned int i = 0; i < SECTOR && bits < 2; i++)
		bits += (unsigned int)__builtin_popcount(a[i] ^ b[i]);
	return bits == 1;
}

/* The age of the version that a slot must hold, as a flipped bit of its id would have it. */
static int64_t expected_age(const struct inquest *inquest, unsigned int slot)
{
	uint64_t id = inquest->head + 1;

	while (id > 1 && place_of_id(inquest, id) != slot)
		id--;
	return (int64_t)id;
}

/* The version that BACKING demonstrably holds; INT64_MIN: none. */
static int64_t demonstrated(const struct inquest *inquest, unsigned int sector, const uint8_t *bytes, bool corrected)
{
	int64_t least = INT64_MAX;

	if (one_byte(bytes))
		return INT64_MIN;
	for (unsigned int i = 0; i < inquest->ring; i++) {
		int64_t age = inquest->witnesses[i].age;

		if (!inquest->witnesses[i].claims || !holds(inquest, i, sector, bytes, false))
			continue;
		if (corrected && expected_age(inquest, i) < age)
			age = expected_age(inquest, i);
		least = age < least ? age : least;
	}
	return least == INT64_MAX ? INT64_MIN : least;
}

/* The bytes lie somewhere on CACHE, whatever a flipped bit says what they are. */
static bool on_cache(const struct inquest *inquest, unsigned int sector, const uint8_t *bytes)
{
	for (unsigned int i = 0; i < inquest->slots; i++)
		for (unsigned int k = 0; k < inquest->driver->capacity; k++)
			if (!memcmp(slot_at(inquest, i) + BLOCK * (k + 1) + sector % 8 * SECTOR, bytes, SECTOR))
				return true;
	return false;
}

/* The newest version that was or could have been written there; INT64_MIN: none. */
static int64_t source(const struct inquest *inquest, unsigned int sector, const uint8_t *bytes, bool corrected)
{
	int64_t most = INT64_MIN;
	bool dirty;

	for (unsigned int i = 0; i < inquest->ring; i++) {
		const struct witness *witness = &inquest->witnesses[i];
		int64_t age = witness->claims ? witness->age : expected_age(inquest, i);

		if (corrected && expected_age(inquest, i) > age)
			age = expected_age(inquest, i);
		for (unsigned int k = 0; k < inquest->driver->capacity; k++) {
			const uint8_t *copy = k < witness->length || corrected ? copy_of(inquest, i, k, sector, &dirty) : NULL;

			if (!copy && corrected)
				copy = copy_under(inquest, (uint64_t)expected_age(inquest, i), i, k, sector, &dirty);
			if (copy && dirty && (!memcmp(copy, bytes, SECTOR) || (corrected && differ_by_a_bit(copy, bytes))))
				most = age > most ? age : most;
		}
	}
	if (most == INT64_MIN && corrected && on_cache(inquest, sector, bytes))
		return INT64_MAX;
	return most;
}

static int64_t say(int64_t number, char *why, size_t size, const char *format, ...) __attribute__((format(printf, 4, 5)));

static int64_t say(int64_t number, char *why, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, size, format, args);
	va_end(args);
	return number;
}

int64_t inquest_regress(const struct inquest *inquest, const uint8_t *before, const uint8_t *after, bool corrected,
			char *why, size_t size)
{
	for (unsigned int i = 0; i < inquest->driver->config->sectors; i++) {
		const uint8_t *was = before + (uint64_t)i * SECTOR, *is = after + (uint64_t)i * SECTOR;
		int64_t held, wrote;

		if (!memcmp(was, is, SECTOR))
			continue;
		held = demonstrated(inquest, i, was, corrected);
		wrote = source(inquest, i, is, corrected);
		if (wrote == INT64_MIN)
			return say(i, why, size, "sector %u was overwritten with what no segment on CACHE holds", i);
		if (held > wrote)
			return say(i, why, size, "sector %u held version %lld and was overwritten with %lld", i, (long long)held,
				   (long long)wrote);
	}
	return -1;
}

static bool all_zero_data(const struct inquest *inquest, unsigned int slot)
{
	const uint8_t *at = slot_at(inquest, slot);

	for (unsigned int k = 0; k < inquest->witnesses[slot].length; k++)
		for (unsigned int i = 0; metablock_at(inquest, slot, k)[8] && i < BLOCK; i++)
			if (at[BLOCK * (k + 1) + i])
				return false;
	return true;
}

/* ---- torn tails that were written back ---- */

/* Block `index` of a slot says that it has the sector, whether its bytes can be read or not. */
static bool covers(const struct inquest *inquest, unsigned int slot, unsigned int index, unsigned int sector)
{
	const uint8_t *mb = metablock_at(inquest, slot, index);

	return get_le(mb, 8) == sector - sector % 8 && (mb[8] ? mb[8] >> sector % 8 & 1 : !is_v0(inquest));
}

/* What the newest segment of the window that is intact, or cannot be read whole, has for a sector, dirty or not; NULL: nothing that
 * can be read. */
static const uint8_t *newest_of_window(const struct inquest *inquest, unsigned int sector, bool *is_dirty)
{
	const uint8_t *found = NULL;

	for (uint64_t id = inquest->first; id <= inquest->head; id++) {
		unsigned int slot = place_of_id(inquest, id);
		const struct witness *witness = &inquest->witnesses[slot];
		bool dirty;

		if (witness->id != id || !witness->fits || !(witness->whole || witness->part))
			continue;
		for (unsigned int k = 0; k < witness->length; k++) {
			if (!covers(inquest, slot, k, sector))
				continue;
			found = copy_of(inquest, slot, k, sector, &dirty);
			*is_dirty = found && dirty && !(is_v0(inquest) && all_zero_data(inquest, slot));
		}
	}
	return found;
}

/* The last copy of a sector with its dirty bit that a slot has. */
static const uint8_t *dirty_copy(const struct inquest *inquest, unsigned int slot, unsigned int sector)
{
	const uint8_t *found = NULL;
	bool dirty;

	for (unsigned int k = 0; k < inquest->witnesses[slot].length; k++) {
		const uint8_t *copy = copy_of(inquest, slot, k, sector, &dirty);

		found = copy && dirty ? copy : found;
	}
	return found;
}

/* It has the sector with its dirty bit, whether that can be read or not. */
static bool has_dirty(const struct inquest *inquest, unsigned int slot, unsigned int sector)
{
	const struct witness *witness = &inquest->witnesses[slot];
	bool has = false;

	for (unsigned int k = 0; k < witness->length; k++) {
		const uint8_t *mb = metablock_at(inquest, slot, k);

		has |= covers(inquest, slot, k, sector) && mb[8] &&
		       (!is_v0(inquest) || witness->whole || get_le(mb + 9, 4) == lap_of_id(inquest, witness->id));
	}
	return has;
}

/* More of its sectors are on BACKING than not, and no more of what is below it is missing there than is there. */
static bool was_written_back(const struct inquest *inquest, unsigned int slot, const uint8_t *backing)
{
	unsigned int held = 0, differs = 0, there = 0, missing = 0;

	for (unsigned int sector = 0; sector < inquest->driver->config->sectors; sector++) {
		const uint8_t *at = backing + (uint64_t)sector * SECTOR, *copy = dirty_copy(inquest, slot, sector);
		bool dirty = false;
		const uint8_t *newest = newest_of_window(inquest, sector, &dirty);

		if (!newest || (!copy && has_dirty(inquest, slot, sector)))
			continue;
		if (!copy) {
			there += dirty && !memcmp(newest, at, SECTOR);
			missing += dirty && memcmp(newest, at, SECTOR) != 0;
		} else if (memcmp(newest, copy, SECTOR) && !one_byte(copy)) {
			differs += memcmp(copy, at, SECTOR) != 0;
			held += !memcmp(copy, at, SECTOR) && demonstrated(inquest, sector, at, false) == INT64_MIN;
		}
	}
	return held > differs && missing <= there;
}

static void weigh_tails(struct inquest *inquest, const uint8_t *backing)
{
	for (unsigned int i = 0; i < inquest->ring; i++) {
		struct witness *witness = &inquest->witnesses[i];

		if (witness->torn && witness->id > inquest->head && was_written_back(inquest, i, backing))
			witness->written_back = true;
	}
	for (unsigned int i = 0; i < inquest->ring; i++)
		if (inquest->witnesses[i].written_back) {
			inquest->witnesses[i].torn = false;
			inquest->witnesses[i].claims = true;
		}
}

static bool is_written(const struct inquest *inquest, unsigned int slot)
{
	const struct witness *witness = &inquest->witnesses[slot];

	return is_valid(inquest, slot) && is_at_hand(inquest, slot) && witness->id >= inquest->first &&
	       witness->id <= inquest->head && !(is_v0(inquest) && all_zero_data(inquest, slot));
}

/* A segment below the cut that is written has the sector with its dirty bit. */
static bool is_written_below(const struct inquest *inquest, uint64_t cut, unsigned int sector)
{
	for (unsigned int i = 0; i < inquest->ring; i++)
		if (is_written(inquest, i) && inquest->witnesses[i].id < cut && dirty_copy(inquest, i, sector))
			return true;
	return false;
}

/* A broken segment after a gap in the first lap, of which BACKING holds a sector that the window covers as well. */
static void weigh_strays(struct inquest *inquest, const uint8_t *backing)
{
	for (unsigned int i = 0; i < inquest->ring; i++) {
		struct witness *witness = &inquest->witnesses[i];

		if (!witness->claims || witness->whole || witness->id <= inquest->head || !is_at_hand(inquest, i))
			continue;
		for (unsigned int sector = 0; sector < inquest->driver->config->sectors; sector++)
			witness->written_back |= demonstrated(inquest, sector, backing + (uint64_t)sector * SECTOR, false) == witness->age &&
						 is_written_below(inquest, inquest->head + 1, sector);
	}
}

void inquest_open(struct inquest *inquest, const struct pair *pair, unsigned int ring, enum line line, uint64_t record)
{
	unsigned int slots = (unsigned int)((pair->cache_size - FIRST_SLOT) / pair->driver->slot_bytes);

	*inquest = (struct inquest){ .driver = pair->driver, .cache = pair->cache, .damage = pair->damage,
				     .damage_count = pair->damage_count, .slots = slots, .ring = ring ? ring : slots,
				     .line = line };
	inquest->witnesses = calloc(slots > inquest->ring ? slots : inquest->ring, sizeof(*inquest->witnesses));
	assert(inquest->witnesses);
	for (unsigned int i = 0; i < slots; i++)
		look_at(inquest, i);
	find_lines(inquest);
	find_head(inquest);
	find_window(inquest, record);
	find_torn(inquest, ring ? NULL : pair->truth);
	find_claims(inquest);
	weigh_strays(inquest, pair->backing);
	weigh_tails(inquest, pair->backing);
}

/* ---- what was left ---- */

static bool covered_by_newer(const struct inquest *inquest, unsigned int slot, unsigned int index, unsigned int sector)
{
	bool dirty;

	for (unsigned int i = 0; i < inquest->ring; i++) {
		const struct witness *witness = &inquest->witnesses[i];

		if (!witness->claims || !(witness->whole || witness->part) || (i != slot && witness->age < inquest->witnesses[slot].age))
			continue;
		for (unsigned int k = i == slot ? index + 1 : 0; k < witness->length; k++)
			if (copy_of(inquest, i, k, sector, &dirty))
				return true;
	}
	return false;
}

/* A dirty sector of a slot that is neither on BACKING nor superseded; -1: none. */
static int64_t missing_sector(const struct inquest *inquest, unsigned int slot, const uint8_t *after)
{
	const struct witness *witness = &inquest->witnesses[slot];
	bool dirty;

	for (unsigned int k = 0; k < witness->length; k++) {
		uint64_t first = get_le(metablock_at(inquest, slot, k), 8);

		for (unsigned int j = 0; j < 8 && first < inquest->driver->config->sectors; j++) {
			unsigned int sector = (unsigned int)first + j;
			const uint8_t *copy = sector < inquest->driver->config->sectors ?
						      copy_of(inquest, slot, k, sector, &dirty) : NULL;

			if (copy && dirty && memcmp(copy, after + (uint64_t)sector * SECTOR, SECTOR) &&
			    !covered_by_newer(inquest, slot, k, sector))
				return sector;
		}
	}
	return -1;
}

/* Not all of it can be read, and all that is dirty and not superseded can. */
static bool dirty_is_readable(const struct inquest *inquest, unsigned int slot)
{
	for (unsigned int k = 0; k < inquest->witnesses[slot].length; k++)
		for (unsigned int j = 0; j < 8; j++)
			if (metablock_at(inquest, slot, k)[8] >> j & 1 &&
			    !readable(inquest, slot_offset(inquest->driver, slot) + BLOCK * (k + 1) + j * SECTOR, SECTOR) &&
			    !covered_by_newer(inquest, slot, k, (unsigned int)get_le(metablock_at(inquest, slot, k), 8) + j))
				return false;
	return true;
}

/* x-N was written back before the driver began x. */
static bool begun_again(const struct inquest *inquest, uint64_t id)
{
	const struct witness *witness = &inquest->witnesses[place_of_id(inquest, id)];

	return witness->readable && (witness->id == id + inquest->ring || (witness->torn && !is_v0(inquest)));
}

static bool is_older(const struct inquest *inquest, unsigned int slot)
{
	const struct witness *witness = &inquest->witnesses[slot];

	return is_at_hand(inquest, slot) && witness->in_place && witness->id < inquest->first;
}

/* v0: what an older lap left there may have been damaged long ago. */
static bool is_older_lap(const struct inquest *inquest, unsigned int slot)
{
	return is_v0(inquest) && get_le(slot_at(inquest, slot) + 9, 4) < lap_of_id(inquest, (uint64_t)expected_age(inquest, slot));
}

int64_t inquest_left(const struct inquest *inquest, const uint8_t *after, bool corrected, bool zeroed_skipped, char *why,
		     size_t size)
{
	for (unsigned int i = 0; i < inquest->slots; i++) {
		const struct witness *witness = &inquest->witnesses[i];
		int64_t sector;

		if (!witness->readable)
			return say(i, why, size, "the header of slot %u cannot be read", i);
		if (!witness->whole || !witness->id || is_older(inquest, i) || corrected)
			continue;
		if (!witness->in_place && is_older_lap(inquest, i))
			continue;
		if (!witness->in_place)
			return say(i, why, size, "slot %u holds a whole segment out of place, id %llu", i,
				   (unsigned long long)witness->id);
		if (inquest->new_slots)
			return say(i, why, size, "slot %u belongs to one of two time lines", i);
		if (zeroed_skipped && is_v0(inquest) && all_zero_data(inquest, i))
			continue;
		sector = missing_sector(inquest, i, after);
		if (sector >= 0)
			return say(i, why, size, "sector %lld of slot %u, id %llu, is neither written nor superseded",
				   (long long)sector, i, (unsigned long long)witness->id);
	}
	for (uint64_t id = inquest->first; id <= inquest->head && !corrected; id++) {
		const struct witness *witness = &inquest->witnesses[place_of_id(inquest, id)];

		bool part = witness->part && witness->id == id && dirty_is_readable(inquest, place_of_id(inquest, id)) &&
			    missing_sector(inquest, place_of_id(inquest, id), after) < 0;

		/* what an older lap left there was written back: the newer write never came to it, and is lost without a trace */
		if (!(witness->whole && witness->id <= id) && !part && !begun_again(inquest, id))
			return say((int64_t)place_of_id(inquest, id), why, size, "segment %llu of the window is missing",
				   (unsigned long long)id);
	}
	return -1;
}

/* ---- what BACKING tells of a cut ---- */

uint64_t inquest_evidence(const struct inquest *inquest, const uint8_t *before, uint64_t cut)
{
	uint64_t sectors = 0;

	for (unsigned int sector = 0; sector < inquest->driver->config->sectors; sector++)
		sectors += demonstrated(inquest, sector, before + (uint64_t)sector * SECTOR, false) >= (int64_t)cut &&
			   is_written_below(inquest, cut, sector);
	return sectors;
}

bool inquest_hole_claims(const struct inquest *inquest, unsigned int sector)
{
	for (unsigned int i = 0; i < inquest->ring; i++) {
		const struct witness *witness = &inquest->witnesses[i];

		for (unsigned int k = 0; k < witness->length && witness->claims && (!witness->whole || witness->part); k++)
			if (covers(inquest, i, k, sector))
				return true;
	}
	return false;
}
