/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a cache, ending its log, and making an empty one. Sector 0 decides whether any driver would
 * accept the device; the segments decide what it is.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "error.h"
#include "format.h"
#include "pack.h"
#include "probe.h"

/* The marker's layout; see wbfmt(5). */
static const char marker_name[8] = "WBended";
enum { MARKER_VERSION = 8, MARKER_REASON = 12, MARKER_TIME = 16, MARKER_HEAD = 24, MARKER_DIGEST = 32,
       MARKER_BACKING = 40, MARKER_CRC = 508 };

void wb_marker_encode(uint8_t *sector, const struct wb_marker *marker)
{
	memset(sector, 0, WB_SECTOR);
	memcpy(sector, marker_name, sizeof(marker_name));
	wb_put_le(sector + MARKER_VERSION, 4, 1);
	wb_put_le(sector + MARKER_REASON, 4, marker->reason);
	wb_put_le(sector + MARKER_TIME, 8, marker->time);
	wb_put_le(sector + MARKER_HEAD, 8, marker->head);
	wb_put_le(sector + MARKER_DIGEST, 8, marker->digest);
	wb_put_le(sector + MARKER_BACKING, 8, marker->backing_bytes);
	wb_put_le(sector + MARKER_CRC, 4, ~wb_crc32c(~0u, sector, MARKER_CRC));
}

bool wb_marker_decode(const uint8_t *sector, struct wb_marker *marker)
{
	uint64_t reason = wb_get_le(sector + MARKER_REASON, 4);

	if (memcmp(sector, marker_name, sizeof(marker_name)) || wb_get_le(sector + MARKER_VERSION, 4) != 1 ||
	    reason < WB_END_FLUSHED || reason > WB_END_RESET ||
	    !wb_sum_holds(wb_get_le(sector + MARKER_CRC, 4), ~wb_crc32c(~0u, sector, MARKER_CRC)))
		return false;
	*marker = (struct wb_marker){ .reason = (enum wb_end_reason)reason,
				      .time = wb_get_le(sector + MARKER_TIME, 8),
				      .head = wb_get_le(sector + MARKER_HEAD, 8),
				      .digest = wb_get_le(sector + MARKER_DIGEST, 8),
				      .backing_bytes = wb_get_le(sector + MARKER_BACKING, 8) };
	return true;
}

/* v2.2.17: audit_cache_device() looks at the magic alone */
static enum wb_super classify_super(struct wb_cache *cache)
{
	const uint8_t *sector = cache->sector0;

	cache->order_byte = sector[WB_ORDER_BYTE];
	if (wb_marker_decode(sector, &cache->marker))
		return WB_SUPER_ENDED;
	if (wb_all_bytes(sector, WB_SECTOR, 0))
		return WB_SUPER_ZEROED;
	if (wb_get_le(sector, 4) != WB_MAGIC)
		return WB_SUPER_DAMAGED;
	if (!cache->order_byte)
		return WB_SUPER_GOOD;
	const struct wb_format *format;

	for (unsigned i = 0; (format = wb_format_at(i)); i++)
		if (format->order_stored && cache->order_byte >= format->order_min &&
		    cache->order_byte <= format->order_max)
			return WB_SUPER_GOOD;
	return WB_SUPER_DAMAGED;
}

static int read_super(struct wb_cache *cache, struct wb_error *err)
{
	uint8_t record[8];
	int ret;

	if (wb_is_pack(cache->dev))
		return wb_fail(err, WB_ENOTCACHE, 0, WB_NO_OFFSET,
			       "this is a pack, the metadata of a cache without its data; only commands that do nothing but look read it");
	if (wb_dev_size(cache->dev) < WB_FIRST_SLOT)
		return wb_fail(err, WB_ENOTCACHE, 0, WB_NO_OFFSET,
			       "not a writeboost cache: %llu bytes, and the superblock alone takes %u",
			       (unsigned long long)wb_dev_size(cache->dev), WB_FIRST_SLOT);
	ret = wb_dev_read(cache->dev, 0, cache->sector0, WB_SECTOR, err);
	if (!ret)
		ret = wb_dev_read(cache->dev, WB_RECORD_OFFSET, record, sizeof(record), err);
	if (ret)
		return ret;
	cache->record = wb_get_le(record, 8);
	cache->super = classify_super(cache);
	return 0;
}

static bool has_magic(const struct wb_cache *cache)
{
	return wb_get_le(cache->sector0, 4) == WB_MAGIC;
}

/* Neither sector 0 nor any segment says that this is a cache. */
static bool proves_nothing(const struct wb_cache *cache)
{
	return !cache->evidence && !has_magic(cache);
}

static int not_a_cache(struct wb_error *err)
{
	return wb_fail(err, WB_ENOTCACHE, 0, 0, "not a writeboost cache: no magic in sector 0 and no valid segment");
}

static int adopt(struct wb_cache *cache, const struct wb_bid *bid, const struct wb_overrides *overrides,
		 struct wb_error *err)
{
	cache->geometry = bid->geometry;
	cache->evidence = bid->bits;
	cache->sampled = bid->written;
	cache->wraps = wb_geometry_wraps(&bid->geometry);
	if (proves_nothing(cache))
		return not_a_cache(err);
	if (cache->wraps && overrides->address == WB_ADDRESS_AUTO)
		return wb_fail(err, WB_EWRAP, 0, WB_NO_OFFSET,
			       "the cache is larger than 2 TiB: drivers compute slot addresses modulo 2^32 sectors");
	cache->geometry.wrap = cache->wraps && overrides->address == WB_ADDRESS_WRAP;
	return 0;
}

static int without_super(const struct wb_cache *cache, const struct wb_overrides *overrides, struct wb_error *err)
{
	if (overrides->any_super)
		return 0;
	if (cache->super == WB_SUPER_ZEROED)
		return wb_fail(err, WB_ESUPER, 0, 0, "sector 0 is all zero, but valid segments follow");
	if (!has_magic(cache))
		return wb_fail(err, WB_ESUPER, 0, 0, "sector 0 is damaged: no magic, but valid segments follow");
	return wb_fail(err, WB_ESUPER, 0, WB_ORDER_BYTE, "the superblock is damaged: its order byte is %u",
		       cache->order_byte);
}

static int nothing_fits(const struct wb_cache *cache, const struct wb_overrides *overrides, struct wb_error *err)
{
	const struct wb_format *format = overrides->format;
	struct wb_geometry geometry;
	unsigned order = overrides->order ? overrides->order : cache->order_byte;

	if (!has_magic(cache) && !overrides->format && !overrides->order && !overrides->slots)
		return not_a_cache(err);
	for (unsigned i = 0; !format && wb_format_at(i); i++)
		if (!order || (order >= wb_format_at(i)->order_min && order <= wb_format_at(i)->order_max))
			format = wb_format_at(i);
	if (!format)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "no generation has order %u", order);
	int ret = wb_geometry_init(&geometry, format, order ? order : format->order_default, wb_dev_size(cache->dev),
				   overrides->slots, err);

	return ret ? ret : wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "no generation fits these overrides");
}

/* Little stands where the order byte would have it. If another order puts all that was verified in place, that byte is
 * the damage; if none does, the device was resized. */
static int doubt_order_byte(struct wb_cache *cache, const struct wb_overrides *overrides, struct wb_bid *best,
			    struct wb_error *err)
{
	struct wb_bid other;
	const struct wb_format *tie;
	int ret = wb_probe(cache->dev, -1, overrides, &other, &tie, err);

	if (ret || other.in_place <= best->in_place || other.in_place < best->bits)
		return ret;
	*best = other;
	cache->tie = tie;
	cache->super = WB_SUPER_DAMAGED;
	return 0;
}

int wb_cache_open(struct wb_cache *cache, struct wb_dev *dev, const struct wb_overrides *overrides,
		  struct wb_error *err)
{
	struct wb_bid best;
	int ret;

	*cache = (struct wb_cache){ .dev = dev };
	ret = read_super(cache, err);
	if (ret || (cache->super == WB_SUPER_ENDED && !overrides->any_super))
		return ret;
	bool good = cache->super == WB_SUPER_GOOD;

	ret = wb_probe(dev, good ? cache->order_byte : -1, overrides, &best, &cache->tie, err);
	if (!ret && good && best.geometry.format && best.written && best.in_place <= best.bits / 2)
		ret = doubt_order_byte(cache, overrides, &best, err);
	if (ret)
		return ret;
	if (!best.geometry.format)
		return nothing_fits(cache, overrides, err);
	ret = adopt(cache, &best, overrides, err);
	if (!ret && cache->super != WB_SUPER_GOOD)
		ret = without_super(cache, overrides, err);
	return ret;
}

int wb_cache_end(struct wb_dev *writable, const struct wb_marker *marker, struct wb_error *err)
{
	uint8_t sector[WB_SECTOR];
	int ret;

	wb_marker_encode(sector, marker);
	ret = wb_dev_write(writable, 0, sector, WB_SECTOR, err);
	return ret ? ret : wb_dev_flush(writable, err);
}
