/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which generation, by evidence. */
#ifndef WB_PROBE_H
#define WB_PROBE_H

#include "wbfmt.h"

#define WB_BID_SAMPLE 256u
#define WB_BID_SEALS 8u

struct wb_bid_place {
	uint32_t slot;
	uint64_t id;
};

/* What one reading of the device could verify. */
struct wb_bid {
	struct wb_geometry geometry; /* format NULL: this reading is impossible */
	unsigned bits;               /* 32 per matching checksum or compared lap */
	unsigned in_place;           /* those of segments whose id belongs where they lie */
	unsigned proofs;             /* verified segments that chance or a repeated pattern does not explain: a checksum, or laps
				      * that are the lap of the id */
	unsigned witnesses;          /* those in place */
	uint64_t witness_ids[WB_WITNESSES]; /* of the first of them */
	bool first;                  /* slot 0 is verified */
	unsigned elsewhere;          /* verified segments outside of slot 0, which begins alike in every order */
	unsigned traces;             /* headers that fit where they lie; decides only between equal bids */
	unsigned written;            /* sampled slots that are not blank, up to the last of the seals */
	unsigned whole;              /* verified segments, */
	struct wb_bid_place seals[WB_BID_SEALS];
	unsigned together;           /* those that lie as far apart as their ids say, or in place in one lap */
	unsigned sampled;            /* slots looked at, */
	struct wb_bid_place heads[WB_BID_SAMPLE]; /* id 0: that is no header */
	bool blank[2];               /* the first two slots hold nothing but zeroes */
	bool overrules;              /* the order byte allows another reading, which this one contradicts */
};

/* The best bid over generations and orders: those the order byte allows (order_byte 0 ... 255) unless another overrules
 * it, or all of them (order_byte negative). Of equal bids the oldest generation wins; *tie is set when another one with a different
 * layout bid as much. overrides restrict the choice. */
int wb_probe(struct wb_dev *dev, int order_byte, const struct wb_overrides *overrides, struct wb_bid *best,
	     const struct wb_format **tie, struct wb_error *err);

/* Whether whole segments that lie as the one reading has them contradict another, which the order byte or the caller names:
 * two that lie together where that has no slots, or other ones; one where that verifies none. */
bool wb_bid_overrules(const struct wb_bid *bid, const struct wb_bid *by_byte);

#endif
