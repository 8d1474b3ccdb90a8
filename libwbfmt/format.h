/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the fixed things lie, the generations' tables, and the seal. */
#ifndef WB_FORMAT_H
#define WB_FORMAT_H

#include "wbfmt.h"

#define WB_SUMMED_FROM 512u           /* first byte a checksum covers. v2.2.17: calc_checksum() */
#define WB_CAPACITY_MAX 255u

extern const struct wb_format wb_format_v0, wb_format_v1, wb_format_v2;

/* Sector 0 as a driver writes it. v2.2.17: format_superblock_header(); v1.0.1 and the patch add the order */
void wb_super_encode(uint8_t *sector, const struct wb_geometry *geometry);

/* length is one the geometry allows. */
static inline bool wb_length_in_range(const struct wb_geometry *geometry, uint32_t length)
{
	return length >= geometry->format->length_min && length <= geometry->capacity;
}

/* The seal's kind is a checksum, which covers the data blocks too. */
static inline bool wb_seal_covers_data(const struct wb_format *format)
{
	return format->seal != WB_SEAL_LAP;
}

/* Whether a stored checksum matches the raw CRC of the covered bytes: WB_SLOT_SEALED, with WB_SLOT_RAW for the
 * uncomplemented dialect; 0 when not. A driver of another generation may have used the device later, so all read both. */
unsigned wb_seal_match(uint32_t stored, uint32_t crc);

/* The lap seal of a header whose length is in range: WB_SLOT_SEALED when all metablocks repeat the header's lap, with
 * WB_SLOT_LAP when that is the lap of the id. Laps of 0 seal nothing unless they are the id's (modulo 2^32). */
unsigned wb_seal_laps(const struct wb_geometry *geometry, const uint8_t *meta, const struct wb_header *header);

#endif
