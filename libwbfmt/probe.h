/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which generation, by evidence. */
#ifndef WB_PROBE_H
#define WB_PROBE_H

#include "wbfmt.h"

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
	unsigned written;            /* sampled slots that are not blank */
};

/* The best bid over generations and orders: those the order byte allows (order_byte 0 ... 255), or all of them
 * (order_byte negative). Of equal bids the oldest generation wins; *tie is set when another one with a different
 * layout bid as much. overrides restrict the choice. */
int wb_probe(struct wb_dev *dev, int order_byte, const struct wb_overrides *overrides, struct wb_bid *best,
	     const struct wb_format **tie, struct wb_error *err);

#endif
