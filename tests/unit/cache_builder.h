/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the unit tests share: caches of any generation built in memory through the library's encoder,
 * sectors that describe themselves, and a device that watches, fails and lies.
 */
#ifndef CACHE_BUILDER_H
#define CACHE_BUILDER_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bytes.h"
#include "dev.h"
#include "format.h"
#include "ring.h"

#define LENGTH_OF(array) (sizeof(array) / sizeof((array)[0]))
#define PUTS(...) (const struct put[]){ __VA_ARGS__ }, LENGTH_OF(((const struct put[]){ __VA_ARGS__ }))
#define ROOM 4096u /* entries in memory: one pass for every ring here */

/* ---- numbers that look random and are the same every time ---- */

static inline uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static inline uint64_t draw(uint64_t *state)
{
	return mix(*state += 0x9e3779b97f4a7c15u);
}

static inline uint32_t draw_below(uint64_t *state, uint32_t bound)
{
	return (uint32_t)(draw(state) % bound);
}

/* ---- sectors that describe themselves ---- */

#define ON_BACKING 0x0bac4196u /* the version that a backing device holds before anything is replayed */

static inline void fill_sector(uint8_t *sector, uint64_t lba, uint64_t version)
{
	for (unsigned i = 0; i < WB_SECTOR / 8; i++)
		wb_put_le(sector + 8 * i, 8, mix(mix(lba + 1) + 0x9e3779b97f4a7c15u * version + i));
}

static inline void fill_block(uint8_t *bytes, uint64_t block, uint64_t version)
{
	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		fill_sector(bytes + i * WB_SECTOR, block * WB_SECTORS_PER_BLOCK + i, version);
}

/* ---- a cache in memory ---- */

struct build {
	struct wb_geometry geometry;
	uint8_t *bytes;
	struct wb_dev *dev;
	struct wb_cache cache;
	struct wb_ring ring;
	bool inverted; /* seal with the complemented checksum */
};

/* One block of a segment. Its dirty sectors hold `version`, or the id where that is 0. A clean one holds it all. */
struct put {
	uint64_t block;
	unsigned dirty;
	uint64_t version;
};

static inline void build_super(struct build *b)
{
	memset(b->bytes, 0, WB_SECTOR);
	wb_put_le(b->bytes, 4, 0x57427374);
	b->bytes[4] = b->geometry.format->order_stored ? (uint8_t)b->geometry.order : 0;
}

static inline void build_init(struct build *b, const char *format, unsigned order, uint32_t slots)
{
	uint64_t size = (1u << 20) + ((uint64_t)slots << (order + 9));

	memset(b, 0, sizeof(*b));
	assert_int_equal(wb_geometry_init(&b->geometry, wb_format_find(format), order, size, 0, NULL), 0);
	assert_int_equal(b->geometry.slots, slots);
	b->bytes = calloc(1, size);
	assert_non_null(b->bytes);
	b->inverted = b->geometry.format->seal == WB_SEAL_CRC;
	build_super(b);
}

static inline void build_release(struct build *b)
{
	wb_ring_release(&b->ring);
	wb_dev_close(b->dev);
	free(b->bytes);
}

static inline void build_record(struct build *b, uint64_t id)
{
	wb_put_le(b->bytes + 2047 * 512, 8, id);
}

static inline uint8_t *build_at(const struct build *b, uint32_t slot)
{
	return b->bytes + wb_slot_offset(&b->geometry, slot);
}

/* Where the slot's id, length or stored checksum lies. */
static inline uint8_t *build_id_at(const struct build *b, uint32_t slot)
{
	return build_at(b, slot) + b->geometry.format->id.offset;
}

static inline uint8_t *build_length_at(const struct build *b, uint32_t slot)
{
	return build_at(b, slot) + b->geometry.format->length.offset;
}

/* Makes the seal hold for what stands in the slot now. */
static inline void build_seal(struct build *b, uint32_t slot)
{
	uint8_t *at = build_at(b, slot);
	struct wb_header header;

	if (!wb_seal_covers_data(b->geometry.format))
		return;
	wb_header_decode(b->geometry.format, at, &header);
	header.checksum = wb_crc32c(~0u, at + 512, 4096 - 512 + 4096 * header.length);
	if (b->inverted)
		header.checksum = ~header.checksum;
	wb_header_encode(b->geometry.format, at, &header);
}

/* Writes (length + 1) blocks, as a driver does: what an earlier lap left behind them stays. */
static inline void build_segment_at(struct build *b, uint32_t slot, uint64_t id, const struct put *puts, size_t n)
{
	const struct wb_format *format = b->geometry.format;
	uint8_t *at = build_at(b, slot);
	struct wb_header header = { .id = id, .length = (uint32_t)n, .lap = wb_lap_of(&b->geometry, id) };

	assert_true(n <= b->geometry.capacity);
	memset(at, 0, WB_BLOCK);
	wb_header_encode(format, at, &header);
	for (unsigned i = 0; i < n; i++) {
		struct wb_metablock metablock = { .sector = puts[i].block * 8, .lap = header.lap,
						  .dirty = (uint8_t)puts[i].dirty };
		uint8_t *data = at + WB_BLOCK * (i + 1);
		uint64_t version = puts[i].version ? puts[i].version : id;

		wb_metablock_encode(format, at, i, &metablock);
		for (unsigned sector = 0; sector < 8; sector++)
			fill_sector(data + sector * WB_SECTOR, puts[i].block * 8 + sector,
				    !puts[i].dirty || puts[i].dirty >> sector & 1 ? version : mix(id + i));
	}
	build_seal(b, slot);
}

static inline void build_segment(struct build *b, uint64_t id, const struct put *puts, size_t n)
{
	build_segment_at(b, wb_slot_of(&b->geometry, id), id, puts, n);
}

/* Segments first ... last, each of which writes the whole of block id % span. */
static inline void build_log(struct build *b, uint64_t first, uint64_t last, uint64_t span)
{
	for (uint64_t id = first; id <= last; id++)
		build_segment(b, id, PUTS({ id % span, 0xff, 0 }));
}

/* A write of id that ends before its data: a header and metablocks over what stood there. */
static inline void build_torn(struct build *b, uint64_t id, uint64_t block)
{
	uint32_t slot = wb_slot_of(&b->geometry, id);

	build_segment(b, id, PUTS({ block, 0xff, 0 }));
	if (wb_seal_covers_data(b->geometry.format))
		memset(build_at(b, slot) + WB_BLOCK + 512, 0x5a, WB_BLOCK - 512);
	else
		build_at(b, slot)[b->geometry.format->metablocks + b->geometry.format->mb_lap.offset] ^= 0xff;
}

static inline int build_try_load(struct build *b, struct wb_dev *dev, const struct wb_ring_options *options,
				 struct wb_error *err)
{
	const struct wb_overrides overrides = { .format = b->geometry.format, .order = b->geometry.order,
						.any_super = true };
	int ret = wb_cache_open(&b->cache, dev, &overrides, err);

	return ret ? ret : wb_ring_load(&b->ring, &b->cache, options, NULL, err);
}

/* Loads the log through dev, which becomes the build's; NULL: straight from memory. */
static inline void build_load_on(struct build *b, struct wb_dev *dev, const struct wb_ring_options *options)
{
	struct wb_error err = { 0 };

	wb_ring_release(&b->ring);
	if (dev || !b->dev) {
		wb_dev_close(b->dev);
		b->dev = dev;
	}
	if (!b->dev)
		assert_int_equal(wb_dev_memory(&b->dev, b->bytes, b->geometry.bytes, &err), 0);
	if (build_try_load(b, b->dev, options, &err))
		fail_msg("loading: %s", err.text);
	assert_int_equal(b->cache.geometry.slots, b->geometry.slots);
}

static inline void build_load(struct build *b, uint64_t backing_sectors)
{
	const struct wb_ring_options options = { .backing_sectors = backing_sectors, .sums_memory = 1u << 20, .jobs = 3 };

	build_load_on(b, NULL, &options);
}

/* A device over the cache whose ranges cannot be read. */
static inline struct wb_dev *build_bad(const struct build *b, const struct wb_range *bad, unsigned n)
{
	const struct wb_fault fault = { .bad = bad, .bad_count = n, .cut_after = UINT64_MAX };
	struct wb_dev *inner, *dev;

	assert_int_equal(wb_dev_memory(&inner, b->bytes, b->geometry.bytes, NULL), 0);
	assert_int_equal(wb_dev_fault(&dev, inner, &fault, NULL), 0);
	return dev;
}

static inline enum wb_class class_at(const struct build *b, uint32_t slot)
{
	return (enum wb_class)b->ring.slots[slot].class_;
}

#define assert_class(b, slot, class_) \
	assert_string_equal(wb_class_name(class_at(b, slot)), wb_class_name(class_))

/* ---- a backing device in memory ---- */

struct backing {
	uint8_t *bytes;
	uint64_t sectors;
	struct wb_dev *dev;
};

static inline void backing_init(struct backing *backing, uint64_t sectors)
{
	backing->sectors = sectors;
	backing->bytes = malloc(sectors * WB_SECTOR);
	assert_non_null(backing->bytes);
	for (uint64_t i = 0; i < sectors; i++)
		fill_sector(backing->bytes + i * WB_SECTOR, i, ON_BACKING);
	assert_int_equal(wb_dev_memory(&backing->dev, backing->bytes, sectors * WB_SECTOR, NULL), 0);
}

static inline void backing_release(struct backing *backing)
{
	wb_dev_close(backing->dev);
	free(backing->bytes);
}

/* The device has received this version of a block, as far as the mask goes. */
static inline void backing_write(struct backing *backing, uint64_t block, unsigned mask, uint64_t version)
{
	for (unsigned i = 0; i < 8; i++)
		if (mask >> i & 1)
			fill_sector(backing->bytes + (block * 8 + i) * WB_SECTOR, block * 8 + i, version);
}

static inline bool backing_holds(const struct backing *backing, uint64_t lba, uint64_t version)
{
	uint8_t sector[WB_SECTOR];

	fill_sector(sector, lba, version);
	return memcmp(sector, backing->bytes + lba * WB_SECTOR, WB_SECTOR) == 0;
}

/* ---- a device that watches, fails and lies ---- */

#define SPY_LOG 4096u

struct spy {
	struct wb_dev dev;
	struct wb_dev *inner; /* not closed with the spy */
	uint64_t reads, writes, flushes;
	uint64_t fail_write;  /* this write fails, counted from 1; 0: none */
	uint64_t fail_flush;
	uint64_t lie_write;   /* this one is reported as done, and is not */
	uint64_t change_read; /* from this read on, byte change_at reads differently */
	uint64_t change_at;
	uint64_t dead_read;   /* from this read on nothing can be read */
	uint64_t flaky_reads; /* so many reads of byte flaky_at fail */
	uint64_t flaky_at;
	bool after_failure;   /* a write was submitted after one had failed */
	bool failed;
	struct wb_range log[SPY_LOG]; /* of the writes */
};

static inline int spy_write(struct spy *spy, struct wb_io *io)
{
	if (spy->failed)
		spy->after_failure = true;
	if (spy->writes < SPY_LOG)
		spy->log[spy->writes] = (struct wb_range){ io->offset, io->length };
	spy->writes++;
	if (spy->writes == spy->fail_write) {
		spy->failed = true;
		return -EIO;
	}
	if (spy->writes != spy->lie_write)
		spy->inner->ops->submit(spy->inner, io, 1);
	return io->result;
}

static inline bool io_touches(const struct wb_io *io, uint64_t byte)
{
	return byte >= io->offset && byte - io->offset < io->length;
}

static inline int spy_read(struct spy *spy, struct wb_io *io)
{
	spy->reads++;
	if (spy->dead_read && spy->reads >= spy->dead_read)
		return -EIO;
	if (spy->flaky_reads && io_touches(io, spy->flaky_at)) {
		spy->flaky_reads--;
		return -EIO;
	}
	spy->inner->ops->submit(spy->inner, io, 1);
	if (!io->result && spy->change_read && spy->reads >= spy->change_read && io_touches(io, spy->change_at))
		((uint8_t *)io->buffer)[spy->change_at - io->offset] ^= 0x10;
	return io->result;
}

static inline void spy_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct spy *spy = (struct spy *)dev;
	bool failed = false;

	for (unsigned i = 0; i < n; i++) {
		if (io[i].write && failed)
			io[i].result = -ECANCELED;
		else
			io[i].result = io[i].write ? spy_write(spy, &io[i]) : spy_read(spy, &io[i]);
		failed |= io[i].write && io[i].result;
	}
}

static inline int spy_flush(struct wb_dev *dev)
{
	struct spy *spy = (struct spy *)dev;

	spy->flushes++;
	return spy->flushes == spy->fail_flush ? -EIO : 0;
}

static inline void spy_close(struct wb_dev *dev)
{
	(void)dev;
}

static inline void spy_init(struct spy *spy, struct wb_dev *inner)
{
	static const struct wb_dev_ops ops = { .submit = spy_submit, .flush = spy_flush, .close = spy_close };

	memset(spy, 0, sizeof(*spy));
	spy->dev = *inner;
	spy->dev.ops = &ops;
	spy->dev.parallel = false;
	spy->inner = inner;
}

#endif
