/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one flipped bit that explains a broken seal: of the checksummed bytes (the CRC is linear, so the
 * difference names the bit), of the stored checksum, or of the length.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "error.h"
#include "ring.h"

struct search {
	struct wb_ring *ring;
	struct wb_bitfind find;
	uint8_t *bytes;                         /* a whole slot */
	unsigned blocks;                        /* read of it, metadata included */
	uint32_t prefix[WB_CAPACITY_MAX + 1];   /* CRC with so many data blocks, below blocks */
};

/* What explains it so far: only a single explanation counts. */
struct explanation {
	unsigned count;
	bool raw; /* in this dialect */
	struct wb_correction bit;
};

static void explain(struct explanation *found, bool raw, uint32_t byte, unsigned bit)
{
	found->count++;
	found->raw = raw;
	found->bit.byte = byte;
	found->bit.bit = (uint8_t)bit;
}

static void try_dialect(const struct search *search, const struct wb_header *header, bool raw, struct explanation *found)
{
	uint32_t target = raw ? header->checksum : ~header->checksum;
	const struct wb_geometry *geometry = &search->ring->cache->geometry;
	const struct wb_format *format = geometry->format;

	for (unsigned bit = 0; bit < 8 * format->length.width; bit++) {
		uint32_t length = header->length ^ 1u << bit;

		if (length < search->blocks && wb_length_in_range(geometry, length) && search->prefix[length] == target)
			explain(found, raw, format->length.offset, bit);
	}
	if (header->length >= search->blocks || !wb_length_in_range(geometry, header->length))
		return;
	uint32_t difference = search->prefix[header->length] ^ target;

	if (!difference)
		return;
	if (!(difference & (difference - 1))) {
		unsigned bit = (unsigned)__builtin_ctz(difference);

		explain(found, raw, format->checksum.offset + bit / 8, bit % 8);
	}
	uint64_t end = WB_BLOCK * (header->length + 1u);
	uint64_t bit = wb_bitfind(&search->find, difference, end - WB_SUMMED_FROM);

	if (bit != UINT64_MAX)
		explain(found, raw, (uint32_t)(end - 1 - bit / 8), 7 - (unsigned)(bit % 8));
}

static void sum_prefixes(struct search *search)
{
	uint32_t crc = wb_crc32c(~0u, search->bytes + WB_SUMMED_FROM, WB_BLOCK - WB_SUMMED_FROM);

	for (unsigned i = 0; i < search->blocks; i++) {
		search->prefix[i] = crc;
		if (i + 1 < search->blocks)
			crc = wb_crc32c(crc, search->bytes + WB_BLOCK * (i + 1), WB_BLOCK);
	}
}

/* The data blocks that the length uses, or would with one bit of it flipped. */
static unsigned blocks_in_question(const struct wb_geometry *geometry, unsigned length)
{
	unsigned most = wb_length_in_range(geometry, length) ? length : 0;

	for (unsigned bit = 0; bit < 8 * geometry->format->length.width; bit++)
		if (wb_length_in_range(geometry, length ^ 1u << bit))
			most = (unsigned)wb_max(most, length ^ 1u << bit);
	return most;
}

/* As much of it as can be read before the first block that cannot. */
static void read_slot(struct search *search, uint32_t index)
{
	const struct wb_ring *ring = search->ring;
	uint64_t offset = wb_slot_offset(&ring->cache->geometry, index);
	unsigned blocks = 1 + blocks_in_question(&ring->cache->geometry, ring->slots[index].length);

	search->blocks = blocks;
	if (!wb_dev_read(ring->cache->dev, offset, search->bytes, blocks * WB_BLOCK, NULL))
		return;
	search->blocks = 0;
	while (search->blocks < blocks &&
	       !wb_dev_read(ring->cache->dev, offset + WB_BLOCK * (uint64_t)search->blocks,
			    search->bytes + WB_BLOCK * (size_t)search->blocks, WB_BLOCK, NULL))
		search->blocks++;
}

static uint64_t slot_of(const void *corrections, size_t i)
{
	return ((const struct wb_correction *)corrections)[i].slot;
}

/* Corrections stand in the order of their slots, of which each has one at most. */
static uint32_t place_of(const struct wb_ring *ring, uint32_t slot)
{
	return (uint32_t)wb_first_from(ring->corrections, ring->correction_count, slot_of, slot);
}

const struct wb_correction *wb_ring_correction(const struct wb_ring *ring, uint32_t slot)
{
	uint32_t at = place_of(ring, slot);

	return at < ring->correction_count && ring->corrections[at].slot == slot ? &ring->corrections[at] : NULL;
}

static int keep(struct wb_ring *ring, const struct wb_correction *bit, struct wb_error *err)
{
	struct wb_correction *grown = ring->corrections;
	uint32_t at = place_of(ring, bit->slot);

	if (!(ring->correction_count & (ring->correction_count - 1)))
		grown = realloc(grown, sizeof(*grown) * (ring->correction_count ? 2 * (size_t)ring->correction_count : 1));
	if (!grown)
		return wb_no_memory(err, "corrections");
	ring->corrections = grown;
	memmove(grown + at + 1, grown + at, sizeof(*grown) * (ring->correction_count - at));
	grown[at] = *bit;
	ring->correction_count++;
	return 0;
}

static int explain_slot(struct search *search, uint32_t index, struct wb_error *err)
{
	struct wb_ring *ring = search->ring;
	const struct wb_format *format = ring->cache->geometry.format;
	struct explanation found = { .bit.slot = index };
	struct wb_header header;

	read_slot(search, index);
	if (!search->blocks)
		return 0; /* what cannot be read cannot be explained */
	sum_prefixes(search);
	wb_header_decode(format, search->bytes, &header);
	if (header.length != ring->slots[index].length)
		return 0; /* it changed between the two reads: somebody writes, or the medium lies */
	try_dialect(search, &header, true, &found);
	if (format->seal == WB_SEAL_CRC)
		try_dialect(search, &header, false, &found);
	if (found.count != 1)
		return 0;
	ring->slots[index].flags |= found.raw ? WB_SLOT_ONE_BIT | WB_SLOT_RAW : WB_SLOT_ONE_BIT;
	return keep(ring, &found.bit, err);
}

static bool wants_explanation(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_slot *slot = &ring->slots[index];

	return slot->id && !(slot->flags & (WB_SLOT_SEALED | WB_SLOT_NO_HEADER | WB_SLOT_NO_DATA)) &&
	       wb_slot_of(&ring->cache->geometry, slot->id) == index;
}

int wb_ring_find_bits(struct wb_ring *ring, const struct wb_progress *progress, struct wb_error *err)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	struct search *search;
	void *bytes = NULL;
	int ret = 0;

	if (!wb_seal_covers_data(geometry->format))
		return 0;
	search = calloc(1, sizeof(*search));
	if (!search || posix_memalign(&bytes, WB_BLOCK, WB_BLOCK * (WB_CAPACITY_MAX + 1))) {
		free(search);
		return wb_no_memory(err, "explaining seals");
	}
	search->ring = ring;
	search->bytes = bytes;
	wb_bitfind_init(&search->find);
	for (uint32_t i = 0; i < geometry->slots && !ret; i++) {
		if (!wants_explanation(ring, i))
			continue;
		ret = wb_poll(progress, "explaining broken seals", i * wb_slot_size(geometry), geometry->slots * wb_slot_size(geometry), err);
		if (!ret)
			ret = explain_slot(search, i, err);
	}
	free(bytes);
	free(search);
	return ret;
}

static int correct_id(struct wb_ring *ring, const struct wb_id_bit *bit, struct wb_error *err)
{
	const struct wb_field id = ring->cache->geometry.format->id;
	struct wb_correction fix = { .slot = bit->slot, .byte = id.offset + bit->bit / 8u, .bit = bit->bit % 8 };

	return keep(ring, &fix, err);
}

/* Sums of the blocks as they are read, for a segment whose length was not believed before. */
static void sum_blocks(struct wb_ring *ring, uint32_t index)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	uint8_t block[WB_BLOCK];

	for (unsigned i = 0; ring->sums && i < ring->slots[index].length; i++) {
		if (wb_dev_read(ring->cache->dev, wb_slot_offset(geometry, index) + WB_BLOCK * (i + 1), block, WB_BLOCK, NULL))
			ring->slots[index].flags |= WB_SLOT_NO_DATA;
		else
			ring->sums[(size_t)index * geometry->capacity + i] = (uint16_t)wb_crc32c(0, block, WB_BLOCK);
	}
}

/* Reads the slot's metadata anew, now with its bit flipped; the seal holds by construction. */
static int absorb_corrected(struct wb_ring *ring, uint32_t index, struct wb_error *err)
{
	struct wb_slot *slot = &ring->slots[index];
	uint16_t kept = slot->flags & (WB_SLOT_RAW | WB_SLOT_ZERO_DATA | WB_SLOT_NO_DATA);
	uint8_t meta[WB_BLOCK];
	int ret;

	slot->flags |= WB_SLOT_CORRECTED;
	ret = wb_ring_metadata(ring, index, meta, err);
	if (ret)
		return ret;
	uint32_t check = slot->check; /* of the bytes as they are read, not as they are corrected */

	wb_slot_absorb(ring, index, meta);
	slot->check = check;
	slot->flags |= kept | WB_SLOT_CORRECTED;
	if (wb_seal_covers_data(ring->cache->geometry.format))
		slot->flags |= WB_SLOT_SEALED;
	sum_blocks(ring, index);
	return 0;
}

/* The seal of a segment of the window, or of M+1, is explained by one bit. */
static bool seal_is_explained(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_slot *slot = &ring->slots[index];
	uint64_t due = wb_ring_due(ring, index);

	if (!(slot->flags & WB_SLOT_ONE_BIT) || slot->flags & WB_SLOT_CORRECTED || wb_ring_other_line(ring, index) ||
	    slot->class_ == WB_TORN_TAIL)
		return false;
	return (due && slot->id == due && !wb_before_window(ring, due)) || (slot->id && slot->id == ring->head + 1);
}

/* Without these ids the ring would not look restarted. */
static int heals_restart(struct wb_ring *ring, const struct wb_id_bit *bits, unsigned n, struct wb_error *err)
{
	int ret = 0;
	bool restarted = false;

	for (unsigned turn = 0; turn < 2 && !ret; turn++) {
		for (unsigned i = 0; i < n; i++)
			ring->slots[bits[i].slot].id ^= UINT64_C(1) << bits[i].bit;
		ret = wb_ring_judge(ring, err);
		restarted |= !turn && ring->restarted;
	}
	return ret ? ret : !restarted;
}

/* It would be M+1, with a segment that this is to go over. */
static bool is_next(const struct wb_ring *ring, const struct wb_id_bit *bit)
{
	return bit->id == ring->head + 1 && wb_ring_due(ring, bit->slot);
}

/* Whether an id needs BACKING's word: a lost write leaves such an id in its place, too; and where M+1 goes, over a segment of the lap
 * before, that one may lie under more than one flipped bit. */
static bool wants_doubts(const struct wb_ring *ring, const struct wb_id_bit *bit)
{
	return ring->slots[bit->slot].class_ != WB_ALIEN_ID || (is_next(ring, bit) && wb_seal_covers_data(ring->cache->geometry.format));
}

/* Which of the ids are to be corrected, from what was judged before anything was; returns how many. */
static int choose_ids(struct wb_ring *ring, const struct wb_doubts *doubts, struct wb_id_bit *chosen,
		      const struct wb_progress *progress, struct wb_error *err)
{
	int n = 0, ret;

	for (unsigned i = 0; i < ring->id_bit_count; i++) {
		const struct wb_id_bit *bit = &ring->id_bits[i];

		if (!wants_doubts(ring, bit))
			ret = 0;
		else if (doubts)
			ret = doubts->doubt(doubts->context, bit, progress, err);
		else /* an id of zero may have been wiped as a whole */
			ret = !is_next(ring, bit) || !ring->slots[bit->slot].id;
		if (ret < 0)
			return ret;
		if (!ret)
			chosen[n++] = ring->id_bits[i];
	}
	if (!n || !ring->restarted)
		return n;
	ret = heals_restart(ring, chosen, (unsigned)n, err);
	return ret > 0 ? n : ret;
}

static bool is_chosen(const struct wb_id_bit *chosen, int n, uint32_t index)
{
	for (int i = 0; i < n; i++)
		if (chosen[i].slot == index)
			return true;
	return false;
}

int wb_ring_correct(struct wb_ring *ring, const struct wb_doubts *doubts, const struct wb_progress *progress,
		    struct wb_error *err)
{
	uint32_t slots = ring->cache->geometry.slots;
	struct wb_id_bit chosen[64];
	int corrected = 0, ids, ret = 0;

	if (ring->corrected) /* what a correction makes possible is no better founded than that */
		return 0;
	ids = choose_ids(ring, doubts, chosen, progress, err);
	if (!ids && ring->restarted && ring->options.timeline == WB_TIMELINE_NONE)
		return 0;
	for (int i = 0; i < ids && !ret; i++)
		ret = correct_id(ring, &chosen[i], err);
	for (uint32_t i = 0; i < slots && ids >= 0 && !ret; i++) {
		if (!is_chosen(chosen, ids, i) && !seal_is_explained(ring, i))
			continue;
		ret = wb_poll(progress, "correcting", i, slots, err);
		if (!ret)
			ret = absorb_corrected(ring, i, err);
		corrected++;
	}
	if (ids < 0 || ret)
		return ids < 0 ? ids : ret;
	ring->corrected = (uint32_t)corrected;
	ring->corrected_ids = 0;
	for (int i = 0; i < ids; i++)
		ring->corrected_ids |= UINT64_C(1) << chosen[i].bit;
	ret = corrected ? wb_ring_judge(ring, err) : 0;
	return ret ? ret : corrected;
}
