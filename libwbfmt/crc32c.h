/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRC-32C beyond summing bytes: advancing over zeroes (so that sums of parts make the sum of the whole)
 * and finding the one flipped bit that explains a difference. Both use that the CRC is linear.
 */
#ifndef WB_CRC32C_H
#define WB_CRC32C_H

#include "wbfmt.h"

/* Whether a stored checksum is the computed one. In fuzzing builds every one is, so that what lies behind is reached, but
 * with WB_FUZZ_CHECKSUMS. */
static inline bool wb_sum_holds(uint64_t stored, uint32_t computed)
{
#if defined(FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION) && !defined(WB_FUZZ_CHECKSUMS)
	(void)stored;
	(void)computed;
	return true;
#else
	return stored == computed;
#endif
}

/* The table version; wb_crc32c() is the same or faster. */
uint32_t wb_crc32c_portable(uint32_t crc, const void *bytes, size_t size);

/* A linear map on CRC values, applied by four table look-ups. */
struct wb_crc_shift {
	uint32_t table[4][256];
};

/* The map that carries a CRC over `bytes` zero bytes. */
void wb_crc_shift_init(struct wb_crc_shift *shift, uint64_t bytes);

static inline uint32_t wb_crc_shift(const struct wb_crc_shift *shift, uint32_t crc)
{
	return shift->table[0][crc & 255] ^ shift->table[1][crc >> 8 & 255] ^ shift->table[2][crc >> 16 & 255] ^
	       shift->table[3][crc >> 24];
}

/* The four bytes, as a le32, that take the CRC of a message from `before` to `target` when they are appended to it. */
uint32_t wb_crc_force(uint32_t before, uint32_t target);

#define WB_BITFIND_STEPS 2048u

/* Answers "which single bit of a message makes this difference of CRCs": baby steps in a hash table, giant steps
 * through the message. */
struct wb_bitfind {
	struct { uint32_t crc, step; } baby[2 * WB_BITFIND_STEPS]; /* step counts from 1; 0: empty */
	struct wb_crc_shift giant; /* carries a CRC back over WB_BITFIND_STEPS bits */
};

void wb_bitfind_init(struct wb_bitfind *find);
/* The bit, counted from the message's last (bit 7 of its last byte is 0, bit 0 of it is 7), whose flip changes the CRC
 * of a message of `bytes` bytes by difference; UINT64_MAX when there is none. difference is not 0. */
uint64_t wb_bitfind(const struct wb_bitfind *find, uint32_t difference, uint64_t bytes);

#endif
