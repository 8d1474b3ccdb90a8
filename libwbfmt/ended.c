/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a log: what the marker in sector 0 records of it, and whether the log is still as it was then. A driver that
 * had the pair assembled elsewhere when the log was ended goes on writing segments and never looks at sector 0 again.
 */
#include "error.h"
#include "ring.h"

struct wb_marker wb_marker_of(const struct wb_ring *ring, enum wb_end_reason reason, uint64_t now, uint64_t backing_bytes)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	return (struct wb_marker){ .version = 2, .reason = reason, .time = now, .head = ring->head, .digest = ring->digest,
				   .backing_bytes = backing_bytes, .format = geometry->format, .order = geometry->order,
				   .slots = geometry->slots, .wrap = geometry->wrap };
}

/* A pack has no padding and may have moved its sectors; version 1 does not record the geometry that the digest is of. */
static bool digest_decides(const struct wb_cache *cache)
{
	const struct wb_marker *marker = &cache->marker;
	const struct wb_geometry *geometry = &cache->geometry;

	return marker->version >= 2 && !wb_dev_pack_info(cache->dev) &&
	       (!marker->format || (marker->format == geometry->format && marker->order == geometry->order &&
				    marker->slots == geometry->slots && marker->wrap == geometry->wrap));
}

bool wb_ring_written_after_end(const struct wb_ring *ring)
{
	const struct wb_cache *cache = ring->cache;
	const struct wb_marker *marker = &cache->marker;

	if (cache->super != WB_SUPER_ENDED || marker->reason == WB_END_FORMAT || !marker->digest ||
	    ring->digest == marker->digest)
		return false;
	return digest_decides(cache) || (!ring->options.metadata_only && ring->head > marker->head);
}

uint64_t wb_sectors_after_end(const struct wb_ring *ring)
{
	uint64_t sectors = 0;

	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++)
		if (ring->slots[i].class_ == WB_LIVE && ring->slots[i].id > ring->cache->marker.head)
			sectors += ring->slots[i].dirty_sectors;
	return sectors;
}

/* *same: the headers are those whose digest the marker has. */
static int look(struct wb_cache *cache, bool metadata_only, bool *written, bool *same, const struct wb_progress *progress,
		struct wb_error *err)
{
	const struct wb_ring_options options = { .metadata_only = metadata_only };
	struct wb_ring ring;
	int ret = wb_ring_load(&ring, cache, &options, progress, err);

	if (ret)
		return ret;
	*written = wb_ring_written_after_end(&ring);
	*same = ring.digest == cache->marker.digest;
	wb_ring_release(&ring);
	return 0;
}

/* The question is about the log that the marker ended: its geometry counts, where the marker records one. */
static struct wb_overrides overrides_of_end(struct wb_dev *dev, const struct wb_overrides *overrides)
{
	struct wb_overrides how = *overrides;
	uint8_t sector[WB_SECTOR];
	struct wb_marker marker;

	if (wb_dev_size(dev) >= WB_SECTOR && !wb_dev_read(dev, 0, sector, WB_SECTOR, NULL) && wb_marker_decode(sector, &marker) &&
	    marker.format)
		how = (struct wb_overrides){ .memory = overrides->memory };
	how.any_super = true;
	return how;
}

int wb_cache_written_after_end(struct wb_dev *dev, const struct wb_overrides *overrides, bool *written,
			       const struct wb_progress *progress, struct wb_error *err)
{
	struct wb_overrides how = overrides_of_end(dev, overrides);
	struct wb_cache cache;
	bool same;
	int ret;

	*written = false;
	if (how.address == WB_ADDRESS_AUTO)
		how.address = WB_ADDRESS_LINEAR;
	ret = wb_cache_open(&cache, dev, &how, err);
	if (ret == -WB_ENOTCACHE || ret == -WB_EINVAL) /* nothing is left of the log */
		return 0;
	if (ret || cache.super != WB_SUPER_ENDED || cache.marker.reason == WB_END_FORMAT || !cache.marker.digest)
		return ret;
	ret = look(&cache, true, written, &same, progress, err);
	/* headers alone do not tell a torn write from a whole one */
	return ret || *written || same ? ret : look(&cache, false, written, &same, progress, err);
}

/* ---- what was written back then ---- */

static uint64_t beyond(uint64_t count, uint64_t allowed)
{
	return count > allowed ? count - allowed : 0;
}

static int compare(struct wb_ring *ring, struct wb_dev *backing, size_t capacity, struct wb_end_proof *result,
		   const struct wb_progress *progress, struct wb_error *err)
{
	/* what was written then is no evidence against the flipped bits that it was written with */
	const struct wb_decide_options salvage = { .policy = WB_SALVAGE, .capacity = capacity, .resumed = true, .ids = UINT64_MAX };
	const struct wb_marker *marker = &ring->cache->marker;
	struct wb_decision decision;
	int ret = wb_decide(ring, backing, &salvage, &decision, progress, err); /* corrects flipped bits */

	if (!ret)
		ret = wb_pair_prove(ring, backing, capacity, 0, &result->proof, progress, err);
	if (ret)
		return ret;
	result->compared = true;
	result->lost_segments = beyond(decision.left_segments + decision.lost_segments, marker->left_segments);
	result->differing = beyond(beyond(result->proof.dirty_sectors, marker->left_sectors), marker->stale_sectors);
	return 0;
}

int wb_end_prove(struct wb_dev *dev, const struct wb_overrides *overrides, const struct wb_ring_options *options,
		 struct wb_dev *backing, size_t capacity, struct wb_end_proof *result, const struct wb_progress *progress,
		 struct wb_error *err)
{
	struct wb_overrides how = overrides_of_end(dev, overrides);
	struct wb_ring_options of_backing = *options;
	struct wb_cache cache;
	struct wb_ring ring;
	int ret;

	*result = (struct wb_end_proof){ .compared = false };
	of_backing.backing_sectors = wb_backing_sectors(backing);
	if (how.address == WB_ADDRESS_AUTO)
		how.address = WB_ADDRESS_LINEAR;
	ret = wb_cache_open(&cache, dev, &how, err);
	if (ret == -WB_ENOTCACHE || ret == -WB_EINVAL)
		return 0;
	if (ret || cache.super != WB_SUPER_ENDED || cache.marker.reason == WB_END_FORMAT || !cache.marker.digest)
		return ret;
	ret = wb_ring_load(&ring, &cache, &of_backing, progress, err);
	if (ret)
		return ret;
	if (ring.digest == cache.marker.digest)
		ret = compare(&ring, backing, capacity, result, progress, err);
	wb_ring_release(&ring);
	return ret;
}

bool wb_end_is_proven(const struct wb_end_proof *end)
{
	return end->compared && end->proof.pair != WB_PAIR_CONTRADICTED && !end->lost_segments && !end->differing;
}
