/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of generations, where their slots lie, and the one decoder and one encoder that walk a
 * generation's table. Pure: bytes and numbers in, bytes and numbers out.
 */
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "format.h"

static const struct wb_format *const formats[] = { &wb_format_v0, &wb_format_v1, &wb_format_v2 };

const struct wb_format *wb_format_at(unsigned i)
{
	return i < sizeof(formats) / sizeof(formats[0]) ? formats[i] : NULL;
}

const struct wb_format *wb_format_find(const char *name)
{
	const struct wb_format *format;

	for (unsigned i = 0; (format = wb_format_at(i)); i++)
		if (strcmp(format->name, name) == 0)
			return format;
	return NULL;
}

/* v2.2.17: calc_nr_segments(): whole slots behind the first MiB */
int wb_geometry_init(struct wb_geometry *geometry, const struct wb_format *format, unsigned order,
		     uint64_t bytes, uint64_t slots, struct wb_error *err)
{
	if (order < format->order_min || order > format->order_max)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "order %u is outside the range %u ... %u of %s", order,
			       format->order_min, format->order_max, format->name);
	uint64_t slot_size = (uint64_t)WB_SECTOR << order;

	if (bytes < WB_FIRST_SLOT || bytes - WB_FIRST_SLOT < slot_size)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET,
			       "the device holds %llu bytes, too small for one segment (%llu bytes are needed)",
			       (unsigned long long)bytes, (unsigned long long)(WB_FIRST_SLOT + slot_size));
	uint64_t fit = (bytes - WB_FIRST_SLOT) / slot_size;

	if (!slots)
		slots = fit;
	if (slots > UINT32_MAX)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "%llu slots are more than the format can count",
			       (unsigned long long)slots);
	*geometry = (struct wb_geometry){ .format = format, .order = order, .slots = (uint32_t)slots,
					  .capacity = (1u << (order - 3)) - 1, .bytes = bytes };
	return 0;
}

uint64_t wb_slot_size(const struct wb_geometry *geometry)
{
	return (uint64_t)WB_SECTOR << geometry->order;
}

uint64_t wb_driver_memory(const struct wb_geometry *geometry)
{
	const struct wb_format *format = geometry->format;

	return geometry->slots * (format->ram_slot + (uint64_t)geometry->capacity * format->ram_block);
}

static uint64_t slot_sector(const struct wb_geometry *geometry, uint32_t slot)
{
	return WB_FIRST_SLOT / WB_SECTOR + ((uint64_t)slot << geometry->order);
}

/* The largest product, 2^32 slots of 2^20 bytes, fits. */
uint64_t wb_geometry_missing(const struct wb_geometry *geometry, uint64_t slots)
{
	uint64_t room = geometry->bytes - WB_FIRST_SLOT, needed = slots << (geometry->order + 9);

	return needed > room ? needed - room : 0;
}

bool wb_geometry_wraps(const struct wb_geometry *geometry)
{
	return slot_sector(geometry, geometry->slots - 1) > UINT32_MAX;
}

uint64_t wb_slot_offset(const struct wb_geometry *geometry, uint32_t slot)
{
	uint64_t sector = slot_sector(geometry, slot);

	return (geometry->wrap ? sector & UINT32_MAX : sector) * WB_SECTOR;
}

uint32_t wb_slot_of(const struct wb_geometry *geometry, uint64_t id)
{
	return (uint32_t)((id - 1) % geometry->slots);
}

uint32_t wb_lap_of(const struct wb_geometry *geometry, uint64_t id)
{
	return (uint32_t)((id - 1) / geometry->slots + 1);
}

unsigned wb_metadata_size(const struct wb_format *format, unsigned length)
{
	return format->metablocks + format->stride * length;
}

static uint64_t get(const uint8_t *at, struct wb_field field)
{
	return wb_get_le(at + field.offset, field.width);
}

static void put(uint8_t *at, struct wb_field field, uint64_t value)
{
	wb_put_le(at + field.offset, field.width, value);
}

void wb_header_decode(const struct wb_format *format, const uint8_t *meta, struct wb_header *header)
{
	header->id = get(meta, format->id);
	header->checksum = (uint32_t)get(meta, format->checksum);
	header->lap = (uint32_t)get(meta, format->lap);
	header->length = (uint32_t)get(meta, format->length);
}

void wb_header_encode(const struct wb_format *format, uint8_t *meta, const struct wb_header *header)
{
	put(meta, format->id, header->id);
	put(meta, format->checksum, header->checksum);
	put(meta, format->lap, header->lap);
	put(meta, format->length, header->length);
}

void wb_metablock_decode(const struct wb_format *format, const uint8_t *meta, unsigned index,
			 struct wb_metablock *metablock)
{
	const uint8_t *at = meta + wb_metadata_size(format, index);

	metablock->sector = get(at, format->mb_sector);
	metablock->dirty = (uint8_t)get(at, format->mb_dirty);
	metablock->lap = (uint32_t)get(at, format->mb_lap);
}

void wb_metablock_encode(const struct wb_format *format, uint8_t *meta, unsigned index,
			 const struct wb_metablock *metablock)
{
	uint8_t *at = meta + wb_metadata_size(format, index);

	put(at, format->mb_sector, metablock->sector);
	put(at, format->mb_dirty, metablock->dirty);
	put(at, format->mb_lap, metablock->lap);
}
