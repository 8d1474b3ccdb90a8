/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening a cache, ending its log, and making an empty one. Sector 0 decides whether any driver would
 * accept the device; the segments decide what it is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "error.h"
#include "format.h"
#include "pack.h"
#include "probe.h"

/* The marker's layout; see wbfmt(5). Drivers before 2.2.8 write the magic over its first bytes and keep the rest, so what
 * becomes the order byte is 0. Markers of wb-utils before that have all the letters. */
static const char marker_name[8] = "WBen\0ed";
static const char old_marker_name[8] = "WBended";
enum { MARKER_VERSION = 8, MARKER_REASON = 12, MARKER_TIME = 16, MARKER_HEAD = 24, MARKER_DIGEST = 32,
       MARKER_BACKING = 40, MARKER_LEFT_SEGMENTS = 48, MARKER_LEFT_SECTORS = 56, MARKER_STALE = 64, MARKER_FORMAT = 72,
       MARKER_SLOTS = 80, MARKER_ORDER = 84, MARKER_FLAGS = 85, MARKER_CRC = 508 };
enum { FLAG_PARTIAL = 1, FLAG_WRAP = 2 };

static void encode_version_2(uint8_t *sector, const struct wb_marker *marker)
{
	wb_put_le(sector + MARKER_LEFT_SEGMENTS, 8, marker->left_segments);
	wb_put_le(sector + MARKER_LEFT_SECTORS, 8, marker->left_sectors);
	wb_put_le(sector + MARKER_STALE, 8, marker->stale_sectors);
	if (marker->format)
		memcpy(sector + MARKER_FORMAT, marker->format->name, strlen(marker->format->name));
	wb_put_le(sector + MARKER_SLOTS, 4, marker->format ? marker->slots : 0);
	sector[MARKER_ORDER] = (uint8_t)marker->order;
	sector[MARKER_FLAGS] = (uint8_t)((marker->partial ? FLAG_PARTIAL : 0) | (marker->wrap ? FLAG_WRAP : 0));
}

static void decode_version_2(const uint8_t *sector, struct wb_marker *marker)
{
	char name[9] = "";

	memcpy(name, sector + MARKER_FORMAT, 8);
	marker->partial = sector[MARKER_FLAGS] & FLAG_PARTIAL;
	marker->left_segments = wb_get_le(sector + MARKER_LEFT_SEGMENTS, 8);
	marker->left_sectors = wb_get_le(sector + MARKER_LEFT_SECTORS, 8);
	marker->stale_sectors = wb_get_le(sector + MARKER_STALE, 8);
	marker->format = wb_format_find(name);
	if (!marker->format)
		return;
	marker->slots = (uint32_t)wb_get_le(sector + MARKER_SLOTS, 4);
	marker->order = sector[MARKER_ORDER];
	marker->wrap = sector[MARKER_FLAGS] & FLAG_WRAP;
}

void wb_marker_encode(uint8_t *sector, const struct wb_marker *marker)
{
	unsigned version = marker->version == 1 ? 1 : 2;

	memset(sector, 0, WB_SECTOR);
	memcpy(sector, marker_name, sizeof(marker_name));
	wb_put_le(sector + MARKER_VERSION, 4, version);
	wb_put_le(sector + MARKER_REASON, 4, marker->reason);
	wb_put_le(sector + MARKER_TIME, 8, marker->time);
	wb_put_le(sector + MARKER_HEAD, 8, marker->head);
	wb_put_le(sector + MARKER_DIGEST, 8, marker->digest);
	wb_put_le(sector + MARKER_BACKING, 8, marker->backing_bytes);
	if (version == 2)
		encode_version_2(sector, marker);
	wb_put_le(sector + MARKER_CRC, 4, ~wb_crc32c(~0u, sector, MARKER_CRC));
}

bool wb_marker_decode(const uint8_t *sector, struct wb_marker *marker)
{
	uint64_t reason = wb_get_le(sector + MARKER_REASON, 4), version = wb_get_le(sector + MARKER_VERSION, 4);

	if ((memcmp(sector, marker_name, sizeof(marker_name)) &&
	     memcmp(sector, old_marker_name, sizeof(old_marker_name))) || version < 1 || version > 2 ||
	    reason < WB_END_FLUSHED || reason > WB_END_RESET ||
	    !wb_sum_holds(wb_get_le(sector + MARKER_CRC, 4), ~wb_crc32c(~0u, sector, MARKER_CRC)))
		return false;
	*marker = (struct wb_marker){ .version = (unsigned)version,
				      .reason = (enum wb_end_reason)reason,
				      .time = wb_get_le(sector + MARKER_TIME, 8),
				      .head = wb_get_le(sector + MARKER_HEAD, 8),
				      .digest = wb_get_le(sector + MARKER_DIGEST, 8),
				      .backing_bytes = wb_get_le(sector + MARKER_BACKING, 8) };
	if (version == 2)
		decode_version_2(sector, marker);
	return true;
}

static bool has_magic(const struct wb_cache *cache)
{
	return wb_get_le(cache->sector0, 4) == WB_MAGIC;
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
	return has_magic(cache) ? WB_SUPER_GOOD : WB_SUPER_DAMAGED;
}

static int read_super(struct wb_cache *cache, struct wb_error *err)
{
	uint8_t record[8];

	if (wb_is_pack(cache->dev))
		return wb_fail(err, WB_ENOTCACHE, 0, WB_NO_OFFSET,
			       "this is a pack, the metadata of a cache without its data; only commands that do nothing but look read it");
	if (wb_dev_size(cache->dev) < WB_FIRST_SLOT)
		return wb_fail(err, WB_ENOTCACHE, 0, WB_NO_OFFSET,
			       "not a writeboost cache: %llu bytes, and the superblock alone takes %u",
			       (unsigned long long)wb_dev_size(cache->dev), WB_FIRST_SLOT);
	if (wb_dev_read(cache->dev, 0, cache->sector0, WB_SECTOR, NULL)) {
		memset(cache->sector0, 0, WB_SECTOR);
		cache->super = WB_SUPER_UNREADABLE;
	} else {
		cache->super = classify_super(cache);
	}
	cache->record_unreadable = wb_dev_read(cache->dev, WB_RECORD_OFFSET, record, sizeof(record), NULL);
	cache->record = cache->record_unreadable ? 0 : wb_get_le(record, sizeof(record));
	return 0;
}

/* The marker says where its segments lay. One of a device that was larger, or of none that could be, is no help. */
static bool knows_geometry(const struct wb_cache *cache)
{
	const struct wb_marker *marker = &cache->marker;
	struct wb_geometry whole;

	return cache->super == WB_SUPER_ENDED && marker->format &&
	       !wb_geometry_init(&whole, marker->format, marker->order, wb_dev_size(cache->dev), 0, NULL) &&
	       marker->slots <= whole.slots;
}

/* Neither sector 0 nor any segment says that this is a cache. */
static int not_a_cache(const struct wb_cache *cache, struct wb_error *err)
{
	if (cache->super == WB_SUPER_UNREADABLE)
		return wb_fail(err, WB_EIO, EIO, 0, "sector 0 cannot be read, and no valid segment proves a log");
	return wb_fail(err, WB_ENOTCACHE, 0, 0, "not a writeboost cache: no magic in sector 0 and no valid segment");
}

/* Sector 0 has the magic and bytes that the driver of this generation did not put there. A v2 driver that took over a cache
 * of v1 leaves the order byte at 10. */
static bool has_residue(const struct wb_cache *cache)
{
	uint8_t clean[WB_SECTOR];

	wb_super_encode(clean, &cache->geometry);
	if (!cache->geometry.format->order_stored && cache->order_byte == cache->geometry.order)
		clean[WB_ORDER_BYTE] = cache->order_byte;
	return cache->super == WB_SUPER_GOOD && memcmp(cache->sector0, clean, WB_SECTOR);
}

static int adopt(struct wb_cache *cache, const struct wb_bid *bid, const struct wb_overrides *overrides,
		 struct wb_error *err)
{
	cache->geometry = bid->geometry;
	cache->evidence = bid->bits;
	cache->sampled = bid->written;
	cache->wraps = wb_geometry_wraps(&bid->geometry);
	cache->proofs = bid->proofs;
	cache->witnesses = bid->witnesses;
	memcpy(cache->witness_ids, bid->witness_ids, sizeof(cache->witness_ids));
	cache->residue = !cache->detected.format && has_residue(cache);
	if (!has_magic(cache) && !cache->proofs && !knows_geometry(cache))
		return not_a_cache(cache, err);
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
	if (cache->super == WB_SUPER_UNREADABLE)
		return wb_fail(err, WB_ESUPER, EIO, 0, "sector 0 cannot be read, but valid segments follow");
	if (!has_magic(cache))
		return wb_fail(err, WB_ESUPER, 0, 0, "sector 0 is damaged: no magic, but valid segments follow");
	return wb_fail(err, WB_ESUPER, 0, WB_ORDER_BYTE, "the superblock is damaged: its order byte is %u, that of the log is %u",
		       cache->order_byte, cache->geometry.order);
}

static int nothing_fits(const struct wb_cache *cache, const struct wb_overrides *overrides, struct wb_error *err)
{
	const struct wb_format *format = overrides->format;
	struct wb_geometry geometry;
	unsigned order = overrides->order ? overrides->order : cache->order_byte;

	if (!has_magic(cache) && !overrides->format && !overrides->order && !overrides->slots)
		return not_a_cache(cache, err);
	for (unsigned i = 0; !format && wb_format_at(i); i++)
		if (!order || (order >= wb_format_at(i)->order_min && order <= wb_format_at(i)->order_max))
			format = wb_format_at(i);
	if (!format)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "no generation has order %u", order);
	int ret = wb_geometry_init(&geometry, format, order ? order : format->order_default, wb_dev_size(cache->dev),
				   overrides->slots, err);

	return ret ? ret : wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "no generation fits these overrides");
}

/* v0 of September 2013: order 11, and an order byte of 0. */
static bool is_without_order_byte(const struct wb_bid *bid, unsigned order_byte)
{
	return !order_byte && bid->geometry.order == 11;
}

/* Nothing is verified, and drivers that left bytes behind in sector 0 are those of v2 above all: what looks like an order
 * byte may be one of them. */
static int prefer_v2(struct wb_cache *cache, const struct wb_overrides *overrides, struct wb_bid *best, struct wb_error *err)
{
	const struct wb_overrides as_v2 = { .format = &wb_format_v2, .slots = overrides->slots };
	const struct wb_format *tie;
	struct wb_bid v2;
	int ret;

	if (best->bits || overrides->format || overrides->order ||
	    wb_all_bytes(cache->sector0 + WB_ORDER_BYTE + 1, WB_SECTOR - WB_ORDER_BYTE - 1, 0))
		return 0;
	ret = wb_probe(cache->dev, -1, &as_v2, &v2, &tie, err);
	if (!ret && v2.geometry.format && (!best->geometry.format || v2.traces >= best->traces))
		*best = v2;
	return ret;
}

static int find_reading(struct wb_cache *cache, const struct wb_overrides *overrides, struct wb_bid *best,
			struct wb_error *err)
{
	bool good = cache->super == WB_SUPER_GOOD;
	int ret = wb_probe(cache->dev, good ? cache->order_byte : -1, overrides, best, &cache->tie, err);

	if (ret || !good)
		return ret;
	if (best->overrules && !is_without_order_byte(best, cache->order_byte))
		cache->super = WB_SUPER_DAMAGED;
	return prefer_v2(cache, overrides, best, err);
}

/* What the marker records of the geometry counts where the caller does not know better. */
static struct wb_overrides with_marker(const struct wb_overrides *overrides, const struct wb_marker *marker)
{
	struct wb_overrides merged = *overrides;

	merged.format = overrides->format ? overrides->format : marker->format;
	if (merged.format != marker->format)
		return merged;
	merged.order = overrides->order ? overrides->order : marker->order;
	merged.slots = overrides->slots ? overrides->slots : marker->slots;
	if (overrides->address == WB_ADDRESS_AUTO)
		merged.address = marker->wrap ? WB_ADDRESS_WRAP : WB_ADDRESS_LINEAR;
	return merged;
}

/* What the caller knows better must not hide what whole segments show without it. */
static int detect(struct wb_cache *cache, const struct wb_overrides *overrides, const struct wb_bid *given, struct wb_error *err)
{
	struct wb_overrides none = { .address = overrides->address };
	struct wb_cache plain = *cache;
	struct wb_bid found;

	if (!overrides->format && !overrides->order)
		return 0;
	if (knows_geometry(cache))
		none = with_marker(&none, &cache->marker);
	plain.tie = NULL;
	int ret = find_reading(&plain, &none, &found, err);

	if (!ret && found.geometry.format && !plain.tie && wb_bid_overrules(&found, given))
		cache->detected = found.geometry;
	return ret;
}

int wb_cache_open(struct wb_cache *cache, struct wb_dev *dev, const struct wb_overrides *overrides,
		  struct wb_error *err)
{
	const struct wb_overrides *const by_caller = overrides;
	struct wb_overrides merged;
	struct wb_bid best;
	int ret;

	*cache = (struct wb_cache){ .dev = dev, .slots_given = overrides->slots, .memory = overrides->memory };
	ret = read_super(cache, err);
	if (ret || (cache->super == WB_SUPER_ENDED && !overrides->any_super))
		return ret;
	if (knows_geometry(cache)) {
		merged = with_marker(overrides, &cache->marker);
		overrides = &merged;
	}
	ret = find_reading(cache, overrides, &best, err);
	if (ret)
		return ret;
	if (!best.geometry.format)
		return nothing_fits(cache, overrides, err);
	ret = detect(cache, by_caller, &best, err);
	if (!ret)
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
