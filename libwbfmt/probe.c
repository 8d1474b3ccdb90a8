/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every generation bids the bits that its reading of the device verifies. Nothing in the superblock
 * names the generation, so the segments decide; a sample of them is enough.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "dev.h"
#include "error.h"
#include "format.h"
#include "probe.h"

#define SAMPLE 256u      /* slots looked at: the first half from the start, the rest spread */
#define FEW 8u           /* those of a device that is looked at in passing */
#define ENOUGH_SEALS 8u  /* stop when so many segments were verified */

/* The i-th of n. */
static uint32_t sample_slot(uint32_t slots, unsigned n, unsigned i)
{
	if (slots <= n || i < n / 2)
		return i;
	return (uint32_t)(n / 2 + (uint64_t)(slots - n / 2) * (i - n / 2) / (n - n / 2));
}

/* Laps that agree because everything does. */
static bool is_pattern(const uint8_t *bytes, unsigned size)
{
	for (unsigned period = 1; period <= 12; period++)
		if (!memcmp(bytes, bytes + period, size - period))
			return true;
	return false;
}

static unsigned lap_bits(const struct wb_geometry *geometry, const uint8_t *meta, const struct wb_header *header)
{
	if (!wb_seal_laps(geometry, meta, header) || is_pattern(meta, wb_metadata_size(geometry->format, header->length)))
		return 0;
	return 32 * header->length;
}

/* Bits that the checksum or the laps of one slot verify. told: the generation is known, so that a seal of the other
 * dialect is no evidence against it. */
static unsigned seal_bits(struct wb_dev *dev, const struct wb_geometry *geometry, uint32_t slot, const uint8_t *meta,
			  uint8_t *data, bool told)
{
	struct wb_header header;
	uint32_t crc;

	wb_header_decode(geometry->format, meta, &header);
	if (!header.id || !wb_length_in_range(geometry, header.length))
		return 0;
	if (!wb_seal_covers_data(geometry->format))
		return lap_bits(geometry, meta, &header);
	crc = wb_crc32c(~0u, meta + WB_SUMMED_FROM, WB_BLOCK - WB_SUMMED_FROM);
	if (header.length && wb_dev_read(dev, wb_slot_offset(geometry, slot) + WB_BLOCK, data,
					 header.length * WB_BLOCK, NULL))
		return 0;
	crc = wb_crc32c(crc, data, header.length * WB_BLOCK);
	unsigned wanted = told || geometry->format->seal == WB_SEAL_CRC ? WB_SLOT_SEALED : WB_SLOT_RAW;

	return wb_seal_match(header.checksum, crc) & wanted ? 32 : 0;
}

/* A header that looks as if this generation had written it here, though its seal is broken. */
static bool is_trace(const struct wb_geometry *geometry, uint32_t slot, const uint8_t *meta)
{
	const struct wb_format *format = geometry->format;
	unsigned used = (unsigned)format->length.offset + format->length.width;
	struct wb_header header;

	wb_header_decode(format, meta, &header);
	if (!header.id || wb_slot_of(geometry, header.id) != slot || !wb_length_in_range(geometry, header.length))
		return false;
	return format->lap.width ? header.lap == wb_lap_of(geometry, header.id) :
				   wb_all_bytes(meta + used, format->metablocks - used, 0);
}

/* Neighbouring slots that hold the same laps hold a pattern. */
static bool is_repeated(const struct wb_format *format, const uint8_t *metas, unsigned i, unsigned n)
{
	const uint8_t *meta = metas + (size_t)i * WB_BLOCK;

	return !wb_seal_covers_data(format) && ((i && !memcmp(meta, meta - WB_BLOCK, WB_BLOCK)) ||
						(i + 1 < n && !memcmp(meta, meta + WB_BLOCK, WB_BLOCK)));
}

static void add_segment(struct wb_bid *bid, uint32_t slot, const uint8_t *meta, unsigned bits)
{
	const struct wb_geometry *geometry = &bid->geometry;
	struct wb_header header;

	wb_header_decode(geometry->format, meta, &header);
	bool in_place = wb_slot_of(geometry, header.id) == slot;
	bool proves = wb_seal_covers_data(geometry->format) || header.lap == wb_lap_of(geometry, header.id);

	bid->bits += bits;
	bid->in_place += in_place ? bits : 0;
	bid->proofs += proves;
	if (proves && in_place && bid->witnesses < WB_WITNESSES)
		bid->witness_ids[bid->witnesses] = header.id;
	bid->witnesses += proves && in_place;
	bid->first |= !slot;
	bid->elsewhere += slot != 0;
}

static void sum_bid(struct wb_dev *dev, struct wb_bid *bid, const uint8_t *metas, const struct wb_io *io, unsigned n,
		    uint8_t *data, bool told)
{
	unsigned sealed = 0;

	for (unsigned i = 0; i < n && sealed < ENOUGH_SEALS; i++) {
		const uint8_t *meta = metas + (size_t)i * WB_BLOCK;
		uint32_t slot = sample_slot(bid->geometry.slots, n, i);

		if (io[i].result || wb_all_bytes(meta, WB_BLOCK, 0))
			continue;
		bid->written++;
		bid->traces += is_trace(&bid->geometry, slot, meta);
		unsigned bits = is_repeated(bid->geometry.format, metas, i, n) ? 0 :
				seal_bits(dev, &bid->geometry, slot, meta, data, told);

		sealed += bits != 0;
		if (bits)
			add_segment(bid, slot, meta, bits);
	}
}

/* Samples the slots of dev as format and order would have it; told: that it is of this generation. */
static int probe_bid(struct wb_dev *dev, const struct wb_format *format, unsigned order, uint64_t slots, bool told,
		     struct wb_bid *bid, struct wb_error *err)
{
	*bid = (struct wb_bid){ .bits = 0 };
	if (wb_geometry_init(&bid->geometry, format, order, wb_dev_size(dev), slots, err)) {
		bid->geometry.format = NULL;
		return 0;
	}
	unsigned n = (unsigned)wb_min(bid->geometry.slots, wb_dev_limited(dev) ? FEW : SAMPLE);
	struct wb_io *io = calloc(n, sizeof(*io));
	void *metas = NULL, *data = NULL;

	if (!io || posix_memalign(&metas, WB_BLOCK, (size_t)n * WB_BLOCK) ||
	    posix_memalign(&data, WB_BLOCK, WB_CAPACITY_MAX * WB_BLOCK)) {
		free(io);
		free(metas);
		return wb_no_memory(err, "probing");
	}
	memset(metas, 0, (size_t)n * WB_BLOCK);
	for (unsigned i = 0; i < n; i++) {
		uint64_t offset = wb_slot_offset(&bid->geometry, sample_slot(bid->geometry.slots, n, i));
		bool inside = offset <= wb_dev_size(dev) - WB_BLOCK; /* the device may have been cut short */

		io[i] = (struct wb_io){ .buffer = (uint8_t *)metas + (size_t)i * WB_BLOCK,
					.offset = inside ? offset : 0, .length = inside ? WB_BLOCK : 0 };
	}
	wb_dev_submit(dev, io, n, NULL);
	sum_bid(dev, bid, metas, io, n, data, told);
	free(io);
	free(metas);
	free(data);
	return 0;
}

static bool order_fits(const struct wb_format *format, unsigned order, int order_byte,
		       const struct wb_overrides *overrides)
{
	if (overrides->order)
		return order == overrides->order;
	/* 2.0.0 and 2.0.1 check only the magic: a v2 log may stand under any order byte */
	if (order_byte < 0 || !format->order_stored)
		return true;
	return order == (unsigned)order_byte;
}

/* The same bytes say the same: at order 10 v1 and v2 are one layout, and slot 0 begins alike in every order. */
static bool read_alike(const struct wb_bid *a, const struct wb_bid *b)
{
	return a->geometry.format->metablocks == b->geometry.format->metablocks &&
	       (a->geometry.order == b->geometry.order || (!a->elsewhere && !b->elsewhere));
}

static bool better(const struct wb_bid *a, const struct wb_bid *b)
{
	if (!b->geometry.format)
		return true;
	if (a->in_place != b->in_place)
		return a->in_place > b->in_place;
	if (a->bits != b->bits)
		return a->bits > b->bits;
	/* of two readings of the same bytes the one that had to pass over fewer on the way to enough */
	if (read_alike(a, b) && a->written != b->written)
		return a->written < b->written;
	return a->traces > b->traces;
}

int wb_probe(struct wb_dev *dev, int order_byte, const struct wb_overrides *overrides, struct wb_bid *best,
	     const struct wb_format **tie, struct wb_error *err)
{
	const struct wb_format *format;

	*best = (struct wb_bid){ .bits = 0 };
	*tie = NULL;
	for (unsigned i = 0; (format = wb_format_at(i)); i++) {
		if (overrides->format && overrides->format != format)
			continue;
		for (unsigned order = format->order_min; order <= format->order_max; order++) {
			struct wb_bid bid;

			if (!order_fits(format, order, order_byte, overrides))
				continue;
			int ret = probe_bid(dev, format, order, overrides->slots, overrides->format, &bid, err);

			if (ret)
				return ret;
			if (!bid.geometry.format)
				continue;
			if (better(&bid, best)) {
				*best = bid;
				*tie = NULL;
			} else if (bid.bits && !better(best, &bid) && !read_alike(&bid, best)) {
				*tie = format;
			}
		}
	}
	return 0;
}
