/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every generation bids the bits that its reading of the device verifies. Nothing in the superblock
 * names the generation, so the segments decide; a sample of them is enough. Readings of different orders are
 * held against each other by where whole segments begin, whatever the number of slots.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "dev.h"
#include "error.h"
#include "format.h"
#include "probe.h"

#define SAMPLE WB_BID_SAMPLE      /* slots looked at: the first half from the start, the rest spread */
#define FEW 8u                    /* those of a device that is looked at in passing */
#define ENOUGH_SEALS WB_BID_SEALS /* stop when so many segments were verified */
#define READINGS 32u              /* more than there are */

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
	bid->seals[bid->whole++] = (struct wb_bid_place){ slot, header.id };
}

/* The id of a header that can be one of this generation, else 0. */
static uint64_t plausible_id(const struct wb_geometry *geometry, const uint8_t *meta)
{
	struct wb_header header;

	wb_header_decode(geometry->format, meta, &header);
	return wb_length_in_range(geometry, header.length) ? header.id : 0;
}

static void sum_bid(struct wb_dev *dev, struct wb_bid *bid, const uint8_t *metas, const struct wb_io *io, unsigned n,
		    uint8_t *data, bool told)
{
	bid->sampled = n;
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *meta = metas + (size_t)i * WB_BLOCK;
		uint32_t slot = sample_slot(bid->geometry.slots, n, i);
		bool blank = wb_all_bytes(meta, WB_BLOCK, 0);

		if (i < 2)
			bid->blank[i] = blank && !io[i].result;
		bid->heads[i] = (struct wb_bid_place){ slot, io[i].result ? 0 : plausible_id(&bid->geometry, meta) };
		if (io[i].result || blank || bid->whole == ENOUGH_SEALS)
			continue;
		bid->written++;
		bid->traces += is_trace(&bid->geometry, slot, meta);
		unsigned bits = is_repeated(bid->geometry.format, metas, i, n) ? 0 :
				seal_bits(dev, &bid->geometry, slot, meta, data, told);

		if (bits)
			add_segment(bid, slot, meta, bits);
	}
}

static void read_sample(struct wb_dev *dev, const struct wb_geometry *geometry, uint8_t *metas, struct wb_io *io, unsigned n)
{
	memset(metas, 0, (size_t)n * WB_BLOCK);
	for (unsigned i = 0; i < n; i++) {
		uint64_t offset = wb_slot_offset(geometry, sample_slot(geometry->slots, n, i));
		bool inside = offset <= wb_dev_size(dev) - WB_BLOCK; /* the device may have been cut short */

		io[i] = (struct wb_io){ .buffer = metas + (size_t)i * WB_BLOCK,
					.offset = inside ? offset : 0, .length = inside ? WB_BLOCK : 0 };
	}
	wb_dev_submit(dev, io, n, NULL);
}

/* ---- how many segments lie as a reading would have them ---- */

/* Two segments of one lap are as far apart as their ids, whatever the number of slots. */
static bool go_together(const struct wb_geometry *geometry, struct wb_bid_place a, struct wb_bid_place b)
{
	uint64_t apart = a.id > b.id ? a.id - b.id : b.id - a.id;

	if (a.slot == b.slot || !a.id || !b.id)
		return false;
	return a.id - a.slot == b.id - b.slot || (apart < geometry->slots && wb_slot_of(geometry, a.id) == a.slot &&
						  wb_slot_of(geometry, b.id) == b.slot);
}

static bool goes_with_any(const struct wb_geometry *geometry, struct wb_bid_place place, const struct wb_bid_place *places, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (go_together(geometry, place, places[i]))
			return true;
	return false;
}

static unsigned count_together(const struct wb_bid *bid)
{
	unsigned count = 0;

	for (unsigned i = 0; i < bid->whole; i++)
		count += goes_with_any(&bid->geometry, bid->seals[i], bid->seals, bid->whole);
	return count;
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
	read_sample(dev, &bid->geometry, metas, io, n);
	sum_bid(dev, bid, metas, io, n, data, told);
	bid->together = count_together(bid);
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

/* Every slot of the coarser reading is one of the finer too, and what lies there is in the place of one of them. 1: the
 * finer is right, for it has whole segments where the other has no slots; -1: the coarser is; 0: nothing tells. */
static int hold_against(const struct wb_bid *fine, const struct wb_bid *coarse)
{
	unsigned shift = coarse->geometry.order - fine->geometry.order, as_fine = 0, as_coarse = 0, shared = 0, between = 0;
	bool beyond = false;

	if (coarse->first && !fine->first) /* what the finer sees are remains of another cache, or data */
		return -1;
	for (unsigned i = 0; i < fine->whole; i++)
		between += fine->seals[i].slot % (1u << shift) != 0;
	if (!between)
		return coarse->together > fine->together ? -1 : 0;
	for (unsigned i = 0; i < coarse->whole; i++) {
		struct wb_bid_place place = coarse->seals[i], finer = { place.slot << shift, place.id };

		shared += place.slot != 0;
		as_fine += place.slot && goes_with_any(&fine->geometry, finer, fine->seals, fine->whole);
		as_coarse += place.slot && goes_with_any(&coarse->geometry, place, coarse->seals, coarse->whole);
	}
	if (shared)
		return as_fine >= as_coarse ? 1 : -1;
	/* a log goes on without gaps, and a format clears the slots of its own order alone */
	for (unsigned i = 0; i < fine->sampled; i++)
		beyond |= fine->heads[i].slot >> shift && fine->heads[i].slot % (1u << shift) &&
			  goes_with_any(&fine->geometry, fine->heads[i], fine->seals, fine->whole);
	return coarse->blank[0] || (beyond && coarse->blank[1]) ? 0 : 1;
}

/* Positive: a is right, negative: b is, 0: the places of segments do not tell. */
static int compare_places(const struct wb_bid *a, const struct wb_bid *b)
{
	if (a->geometry.order == b->geometry.order)
		return 0;
	return a->geometry.order < b->geometry.order ? hold_against(a, b) : -hold_against(b, a);
}

static bool better(const struct wb_bid *a, const struct wb_bid *b)
{
	if (!b->geometry.format)
		return true;
	int places = compare_places(a, b);

	if (places)
		return places > 0;
	if (a->geometry.order == b->geometry.order && a->bits != b->bits)
		return a->bits > b->bits;
	if (a->in_place != b->in_place)
		return a->in_place > b->in_place;
	if (a->bits != b->bits)
		return a->bits > b->bits;
	/* of two readings of the same bytes the one that had to pass over fewer on the way to enough */
	if (read_alike(a, b) && a->written != b->written)
		return a->written < b->written;
	return a->traces > b->traces;
}

bool wb_bid_overrules(const struct wb_bid *bid, const struct wb_bid *by_byte)
{
	if (!by_byte->geometry.format)
		return bid->proofs;
	if (bid->geometry.order == by_byte->geometry.order && bid->geometry.format->metablocks == by_byte->geometry.format->metablocks)
		return false;
	if (!by_byte->whole && bid->first && bid->witnesses) /* where the other verifies nothing, one segment is enough */
		return true;
	if (bid->together < 2)
		return false;
	return bid->geometry.order == by_byte->geometry.order ? bid->whole > by_byte->whole : compare_places(bid, by_byte) > 0;
}

struct readings {
	struct wb_bid *bids; /* in the order of generations, then of orders */
	unsigned count;
};

static int read_all(struct wb_dev *dev, int order_byte, const struct wb_overrides *overrides, struct readings *readings,
		    struct wb_error *err)
{
	const struct wb_format *format;
	int ret = 0;

	readings->count = 0;
	for (unsigned i = 0; !ret && (format = wb_format_at(i)); i++) {
		if (overrides->format && overrides->format != format)
			continue;
		for (unsigned order = format->order_min; order <= format->order_max && !ret; order++) {
			struct wb_bid *bid = &readings->bids[readings->count];

			if (!order_fits(format, order, order_byte, overrides))
				continue;
			ret = probe_bid(dev, format, order, overrides->slots, overrides->format, bid, err);
			readings->count += !ret && bid->geometry.format;
		}
	}
	return ret;
}

static void choose(const struct readings *readings, struct wb_bid *best, const struct wb_format **tie)
{
	for (unsigned i = 0; i < readings->count; i++) {
		const struct wb_bid *bid = &readings->bids[i];

		if (better(bid, best)) {
			*best = *bid;
			*tie = NULL;
		} else if (bid->bits && !better(best, bid) && !read_alike(bid, best)) {
			*tie = bid->geometry.format;
		}
	}
}

/* The best of those that speak against the order byte. */
static void overrule(const struct readings *readings, const struct wb_bid *by_byte, struct wb_bid *best,
		     const struct wb_format **tie)
{
	struct wb_bid other = { .bits = 0 };

	for (unsigned i = 0; i < readings->count; i++)
		if (wb_bid_overrules(&readings->bids[i], by_byte) && better(&readings->bids[i], &other))
			other = readings->bids[i];
	if (!other.geometry.format)
		return;
	*best = other;
	best->overrules = true;
	*tie = NULL;
}

/* No other reading needs to be tried: nothing is written where this one would have the log begin, or its segments lie
 * together, as no more than two of another order do by chance. A device may be only looked at in passing. */
static bool settles(const struct wb_dev *dev, const struct wb_bid *best)
{
	if (!best->geometry.format)
		return false;
	if (wb_dev_limited(dev))
		return !best->written || best->in_place > best->bits / 2;
	return !best->written || (best->whole > 2 && best->together == best->whole);
}

int wb_probe(struct wb_dev *dev, int order_byte, const struct wb_overrides *overrides, struct wb_bid *best,
	     const struct wb_format **tie, struct wb_error *err)
{
	struct readings readings = { .bids = calloc(READINGS, sizeof(*readings.bids)) };

	*best = (struct wb_bid){ .bits = 0 };
	*tie = NULL;
	if (!readings.bids)
		return wb_no_memory(err, "probing");
	int ret = read_all(dev, order_byte, overrides, &readings, err);

	if (!ret)
		choose(&readings, best, tie);
	if (!ret && order_byte >= 0 && !overrides->order && !settles(dev, best)) {
		const struct wb_bid by_byte = *best;

		ret = read_all(dev, -1, overrides, &readings, err);
		if (!ret)
			overrule(&readings, &by_byte, best, tie);
	}
	free(readings.bids);
	return ret;
}
