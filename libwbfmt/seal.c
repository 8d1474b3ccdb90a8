/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a segment proves that it is whole: equal laps, or a CRC-32C in one of two dialects. */
#include "crc32c.h"
#include "format.h"

unsigned wb_seal_match(uint32_t stored, uint32_t crc)
{
	bool complemented = stored != crc;

	if (!wb_sum_holds(stored, complemented ? ~crc : crc))
		return 0;
	return complemented ? WB_SLOT_SEALED : WB_SLOT_SEALED | WB_SLOT_RAW;
}

unsigned wb_seal_laps(const struct wb_geometry *geometry, const uint8_t *meta, const struct wb_header *header)
{
	struct wb_metablock metablock;

	for (unsigned i = 0; i < header->length; i++) {
		wb_metablock_decode(geometry->format, meta, i, &metablock);
		if (metablock.lap != header->lap)
			return 0;
	}
	if (header->id && wb_lap_of(geometry, header->id) == header->lap)
		return WB_SLOT_SEALED | WB_SLOT_LAP;
	return header->lap ? WB_SLOT_SEALED : 0; /* equal zeroes may be nothing but blank */
}
