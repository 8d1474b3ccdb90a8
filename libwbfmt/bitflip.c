/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one flipped bit that explains a broken seal: of the checksummed bytes (the CRC is linear, so the
 * difference names the bit), of the stored checksum, or of the length.
 */
#include <stdlib.h>

#include "bytes.h"
#include "crc32c.h"
#include "error.h"
#include "ring.h"

struct search {
	struct wb_ring *ring;
	struct wb_bitfind find;
	uint8_t *bytes;                         /* a whole slot */
	uint32_t prefix[WB_CAPACITY_MAX + 1]; /* CRC with so many data blocks */
	bool raw, plain;                        /* dialects in question */
};

/* What explains it so far: only a single explanation counts. */
struct explanation {
	unsigned count;
	struct wb_correction bit;
};

static void explain(struct explanation *found, uint32_t byte, unsigned bit)
{
	found->count++;
	found->bit.byte = byte;
	found->bit.bit = (uint8_t)bit;
}

static void try_target(const struct search *search, const struct wb_header *header, uint32_t target,
		       struct explanation *found)
{
	const struct wb_geometry *geometry = &search->ring->cache->geometry;
	const struct wb_format *format = geometry->format;

	for (unsigned bit = 0; bit < 8 * format->length.width; bit++) {
		uint32_t length = header->length ^ 1u << bit;

		if (wb_length_in_range(geometry, length) && search->prefix[length] == target)
			explain(found, format->length.offset, bit);
	}
	if (!wb_length_in_range(geometry, header->length))
		return;
	uint32_t difference = search->prefix[header->length] ^ target;

	if (!difference)
		return;
	if (!(difference & (difference - 1))) {
		unsigned bit = (unsigned)__builtin_ctz(difference);

		explain(found, format->checksum.offset + bit / 8, bit % 8);
	}
	uint64_t end = WB_BLOCK * (header->length + 1u);
	uint64_t bit = wb_bitfind(&search->find, difference, end - WB_SUMMED_FROM);

	if (bit != UINT64_MAX)
		explain(found, (uint32_t)(end - 1 - bit / 8), 7 - (unsigned)(bit % 8));
}

static void sum_prefixes(struct search *search, unsigned capacity)
{
	uint32_t crc = wb_crc32c(~0u, search->bytes + WB_SUMMED_FROM, WB_BLOCK - WB_SUMMED_FROM);

	for (unsigned i = 0; i <= capacity; i++) {
		search->prefix[i] = crc;
		if (i < capacity)
			crc = wb_crc32c(crc, search->bytes + WB_BLOCK * (i + 1), WB_BLOCK);
	}
}

static int keep(struct wb_ring *ring, const struct wb_correction *bit, struct wb_error *err)
{
	struct wb_correction *grown = ring->corrections;

	if (!(ring->correction_count & (ring->correction_count - 1)))
		grown = realloc(grown, sizeof(*grown) * (ring->correction_count ? 2 * ring->correction_count : 1));
	if (!grown)
		return wb_no_memory(err, "corrections");
	ring->corrections = grown;
	grown[ring->correction_count++] = *bit;
	return 0;
}

static int explain_slot(struct search *search, uint32_t index, struct wb_error *err)
{
	struct wb_ring *ring = search->ring;
	const struct wb_geometry *geometry = &ring->cache->geometry;
	struct explanation found = { .bit.slot = index };
	struct wb_header header;

	if (wb_dev_read(ring->cache->dev, wb_slot_offset(geometry, index), search->bytes,
			(geometry->capacity + 1) * WB_BLOCK, NULL))
		return 0; /* what cannot be read cannot be explained */
	sum_prefixes(search, geometry->capacity);
	wb_header_decode(geometry->format, search->bytes, &header);
	if (search->raw)
		try_target(search, &header, header.checksum, &found);
	if (search->plain)
		try_target(search, &header, ~header.checksum, &found);
	if (found.count != 1)
		return 0;
	ring->slots[index].flags |= WB_SLOT_ONE_BIT;
	return keep(ring, &found.bit, err);
}

static bool wants_explanation(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_slot *slot = &ring->slots[index];

	return slot->id && !(slot->flags & (WB_SLOT_SEALED | WB_SLOT_NO_HEADER | WB_SLOT_NO_DATA)) &&
	       wb_slot_of(&ring->cache->geometry, slot->id) == index;
}

/* The dialects that the log speaks; all that its generation knows where nothing is sealed. */
static void choose_dialects(struct search *search)
{
	const struct wb_ring *ring = search->ring;
	bool both = ring->cache->geometry.format->seal == WB_SEAL_CRC;

	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++) {
		const struct wb_slot *slot = &ring->slots[i];

		search->raw |= slot->flags & WB_SLOT_RAW;
		search->plain |= (slot->flags & (WB_SLOT_SEALED | WB_SLOT_RAW)) == WB_SLOT_SEALED;
	}
	if (!search->raw && !search->plain) {
		search->raw = true;
		search->plain = both;
	}
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
	choose_dialects(search);
	wb_bitfind_init(&search->find);
	for (uint32_t i = 0; i < geometry->slots && !ret; i++) {
		if (!wants_explanation(ring, i))
			continue;
		ret = wb_poll(progress, "explaining broken seals", i, geometry->slots, err);
		if (!ret)
			ret = explain_slot(search, i, err);
	}
	free(bytes);
	free(search);
	return ret;
}

/* What a slot that holds a whole segment under an impossible id must hold, if one bit makes the difference; else 0. */
static uint64_t one_bit_id(const struct wb_ring *ring, uint32_t index)
{
	uint64_t id = ring->slots[index].id;
	uint64_t due = wb_ring_due(ring, index);
	uint64_t next = wb_slot_of(&ring->cache->geometry, ring->head + 1) == index ? ring->head + 1 : 0;
	bool to_due = due && !wb_before_window(ring, due) && __builtin_popcountll(id ^ due) == 1;
	bool to_next = next && __builtin_popcountll(id ^ next) == 1;

	if (to_due == to_next)
		return 0;
	return to_due ? due : next;
}

static int correct_id(struct wb_ring *ring, uint32_t index, uint64_t id, struct wb_error *err)
{
	unsigned bit = (unsigned)__builtin_ctzll(ring->slots[index].id ^ id);
	struct wb_correction fix = { .slot = index, .byte = ring->cache->geometry.format->id.offset + bit / 8,
				     .bit = bit % 8 };

	return keep(ring, &fix, err);
}

/* Sums of the blocks as they are read, for a segment whose length was not believed before. */
static int sum_blocks(struct wb_ring *ring, uint32_t index, struct wb_error *err)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	uint8_t block[WB_BLOCK];
	int ret = 0;

	for (unsigned i = 0; ring->sums && i < ring->slots[index].length && !ret; i++) {
		ret = wb_dev_read(ring->cache->dev, wb_slot_offset(geometry, index) + WB_BLOCK * (i + 1), block, WB_BLOCK,
				  err);
		ring->sums[(size_t)index * geometry->capacity + i] = (uint16_t)wb_crc32c(0, block, WB_BLOCK);
	}
	return ret;
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
	uint8_t check = slot->check; /* of the bytes as they are read, not as they are corrected */

	wb_slot_absorb(ring, index, meta);
	slot->check = check;
	slot->flags |= kept | WB_SLOT_CORRECTED;
	if (wb_seal_covers_data(ring->cache->geometry.format))
		slot->flags |= WB_SLOT_SEALED;
	return sum_blocks(ring, index, err);
}

/* 1 when the slot was corrected, 0 when it needs none or has none. */
static int correct_slot(struct wb_ring *ring, uint32_t index, struct wb_error *err)
{
	const struct wb_slot *slot = &ring->slots[index];
	uint64_t due = wb_ring_due(ring, index);
	uint64_t id = 0;
	int ret = 0;

	if (slot->flags & WB_SLOT_CORRECTED)
		return 0;
	if (slot->class_ == WB_ALIEN_ID)
		id = one_bit_id(ring, index);
	bool seal = slot->flags & WB_SLOT_ONE_BIT && slot->class_ != WB_TORN_TAIL &&
		    ((due && slot->id == due && !wb_before_window(ring, due)) || slot->id == ring->head + 1);

	if (id)
		ret = correct_id(ring, index, id, err);
	else if (!seal)
		return 0;
	if (!ret)
		ret = absorb_corrected(ring, index, err);
	return ret ? ret : 1;
}

int wb_ring_correct(struct wb_ring *ring, struct wb_error *err)
{
	int corrected = 0, before;

	do {
		before = corrected;
		for (uint32_t i = 0; i < ring->cache->geometry.slots; i++) {
			int ret = correct_slot(ring, i, err);

			if (ret < 0)
				return ret;
			corrected += ret;
		}
		if (corrected > before) {
			int ret = wb_ring_judge(ring, err);

			if (ret)
				return ret;
		}
	} while (corrected > before);
	return corrected;
}
