/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the bench needs the library for:
 *   plan make CACHE BLOCKS SPAN   a v2 cache image of BLOCKS dirty blocks in random log order, out of the first SPAN of BACKING
 *   plan offsets BLOCKS SPAN      the bytes where these blocks lie on BACKING, ascending
 *   plan sort N                   sorts and claims N entries
 *   plan flush GIB MEMORY         replays a synthetic cache of GIB GiB into a sink: time, passes, memory
 *   plan format DEVICE            formats and says how long the writing took
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "wbfmt.h"
#include "../../libwbfmt/dev.h" /* a device of our own */

#define CAPACITY 127u

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void need(int failed, const struct wb_error *err)
{
	if (!failed)
		return;
	fprintf(stderr, "plan: %s\n", err ? err->text : "out of memory");
	exit(1);
}

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 0);
}

/* A permutation of 0 ... modulus - 1 for a power of two: odd multiplier, xor of the high half, and again. */
static uint64_t scramble(uint64_t i, uint64_t modulus)
{
	unsigned half = (unsigned)__builtin_ctzll(modulus) / 2;

	for (unsigned round = 0; round < 3; round++) {
		i = (i * 0x9e3779b97f4a7c15u + 12345) & (modulus - 1);
		i ^= i >> (half ? half : 1);
	}
	return i;
}

/* ---- sorting ---- */

static void sort_many(size_t n)
{
	struct wb_entry *entries = malloc(n * sizeof(*entries)), *scratch = malloc(n * sizeof(*scratch));

	need(!entries || !scratch, NULL);
	memset(scratch, 0, n * sizeof(*scratch));
	uint64_t x = 88172645463325252u;

	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		entries[i] = (struct wb_entry){ .block = x % (4 * n), .slot = (uint32_t)(i / CAPACITY), .dirty = 0xff };
	}
	double begin = now();

	wb_plan_sort(entries, scratch, n);
	wb_plan_claim(entries, n);
	printf("%.4f\n", now() - begin);
	free(entries);
	free(scratch);
}

/* ---- a cache, as bytes or as a device that makes them up ---- */

struct synthetic {
	struct wb_dev dev;
	struct wb_geometry geometry;
	uint64_t blocks, span; /* powers of two */
	uint32_t segment_crc;  /* of the data blocks, all alike */
};

/* The block of BACKING that the i-th block of the log belongs to: every (span / blocks)-th, in random order. */
static uint64_t backing_block(const struct synthetic *cache, uint64_t i)
{
	return scramble(i % cache->blocks, cache->blocks) * (cache->span / cache->blocks);
}

static void make_metadata(const struct synthetic *cache, uint32_t slot, uint8_t *meta)
{
	const struct wb_format *format = cache->geometry.format;
	struct wb_header header = { .id = slot + 1u };

	memset(meta, 0, WB_BLOCK);
	for (; header.length < CAPACITY; header.length++) {
		uint64_t i = (uint64_t)slot * CAPACITY + header.length;
		const struct wb_metablock metablock = { .sector = backing_block(cache, i) * WB_SECTORS_PER_BLOCK,
							.dirty = 0xff };

		if (i >= cache->blocks)
			break;
		wb_metablock_encode(format, meta, header.length, &metablock);
	}
	wb_header_encode(format, meta, &header);
}

/* Data blocks tell where they belong, so that no two are alike. */
static void make_data(const struct synthetic *cache, uint32_t slot, unsigned index, uint8_t *block)
{
	uint64_t i = (uint64_t)slot * CAPACITY + index;
	uint64_t word = (backing_block(cache, i) + 1) * 0x9e3779b97f4a7c15u;

	for (unsigned at = 0; at < WB_BLOCK; at += sizeof(word))
		memcpy(block + at, &word, sizeof(word));
}

static void init_synthetic(struct synthetic *cache, uint64_t blocks, uint64_t span_bytes)
{
	uint64_t slots = (blocks + CAPACITY - 1) / CAPACITY;
	struct wb_error err;

	*cache = (struct synthetic){ .blocks = blocks, .span = span_bytes / WB_BLOCK };
	if (__builtin_popcountll(cache->blocks) != 1 || __builtin_popcountll(cache->span) != 1 ||
	    cache->span < cache->blocks) {
		fprintf(stderr, "plan: blocks and span must be powers of two\n");
		exit(1);
	}
	cache->dev.size = WB_FIRST_SLOT + slots * (512u << 10);
	need(wb_geometry_init(&cache->geometry, wb_format_find("v2"), 10, cache->dev.size, 0, &err), &err);
}

static void make_image(const char *path, uint64_t blocks, uint64_t span)
{
	struct synthetic cache;
	uint64_t size;
	FILE *file = fopen(path, "wb");
	uint8_t *segment = calloc(1, 1u << 20);

	need(!file || !segment, NULL);
	init_synthetic(&cache, blocks, span);
	size = wb_slot_size(&cache.geometry);
	memcpy(segment, "tsBW", 4); /* WB_MAGIC, little-endian */
	fwrite(segment, 1, WB_FIRST_SLOT, file);
	for (uint32_t slot = 0; slot < cache.geometry.slots; slot++) {
		struct wb_header header;

		make_metadata(&cache, slot, segment);
		wb_header_decode(cache.geometry.format, segment, &header);
		for (unsigned i = 0; i < header.length; i++)
			make_data(&cache, slot, i, segment + WB_BLOCK * (i + 1));
		header.checksum = ~wb_crc32c(~0u, segment + 512, WB_BLOCK * (header.length + 1) - 512);
		wb_header_encode(cache.geometry.format, segment, &header);
		fwrite(segment, 1, size, file);
	}
	free(segment);
	if (fclose(file)) {
		perror(path);
		exit(1);
	}
}

static void list_offsets(uint64_t blocks, uint64_t span)
{
	for (uint64_t i = 0; i < blocks; i++)
		printf("%" PRIu64 "\n", i * (span / blocks));
}

/* ---- a flush of more than any disk here holds ---- */

static void synthetic_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	const struct synthetic *cache = (const struct synthetic *)dev;

	for (unsigned i = 0; i < n; i++) {
		uint8_t *at = io[i].buffer;
		uint64_t offset = io[i].offset;

		for (uint32_t left = io[i].length, some; left; left -= some, at += some, offset += some) {
			uint64_t inside = offset < WB_FIRST_SLOT ? 1 : (offset - WB_FIRST_SLOT) % (512u << 10);

			some = left < WB_BLOCK ? left : WB_BLOCK;
			if (inside)
				memset(at, offset ? 0x5a : 0, some);
			else if (some == WB_BLOCK)
				make_metadata(cache, (uint32_t)((offset - WB_FIRST_SLOT) / (512u << 10)), at);
			if (!offset)
				memcpy(at, "tsBW", 4);
			else if (offset < WB_FIRST_SLOT)
				memset(at, 0, some);
		}
	}
}

static int nothing(struct wb_dev *dev)
{
	(void)dev;
	return 0;
}

static void no_close(struct wb_dev *dev)
{
	(void)dev;
}

static void sink_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	(void)dev;
	for (unsigned i = 0; i < n; i++)
		if (!io[i].write)
			memset(io[i].buffer, 0, io[i].length);
}

static const struct wb_dev_ops synthetic_ops = { .submit = synthetic_submit, .flush = nothing, .close = no_close };
static const struct wb_dev_ops sink_ops = { .submit = sink_submit, .flush = nothing, .close = no_close };

/* Headers alone are loaded: that 1 TiB of sums costs what it costs is no question of memory. */
static void flush_synthetic(uint64_t gib, uint64_t memory)
{
	struct synthetic source;
	struct wb_dev sink = { .ops = &sink_ops, .size = gib << 31, .block = 512, .parallel = true };
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_overrides overrides = { .format = wb_format_find("v2"), .order = 10 };
	struct wb_ring_options options = { .metadata_only = true, .jobs = 2, .backing_sectors = sink.size / 512 };
	struct wb_replay_options replay = { .capacity = (size_t)((memory - memory / 4 - (8u << 20)) / 32) };
	struct wb_replay_result result;
	struct rusage usage;
	struct wb_error err;

	init_synthetic(&source, gib << 18, gib << 31);
	source.dev = (struct wb_dev){ .ops = &synthetic_ops, .size = source.dev.size, .block = 512, .parallel = true };
	double begin = now();

	need(wb_cache_open(&cache, &source.dev, &overrides, &err), &err);
	need(wb_ring_load(&ring, &cache, &options, NULL, &err), &err);
	double loaded = now();
	const struct wb_scope scope = { .low = ring.first, .high = ring.head };

	need(wb_replay(&ring, &scope, &sink, &replay, &result, NULL, &err), &err);
	getrusage(RUSAGE_SELF, &usage);
	printf("%.1f %.1f %u %" PRIu64 " %" PRIu64 " %ld\n", loaded - begin, now() - begin, result.passes,
	       result.written_sectors / 8, (uint64_t)cache.geometry.slots, usage.ru_maxrss);
	wb_ring_release(&ring);
}

/* ---- formatting ---- */

struct phases {
	double begin, end;
};

static void note_phase(void *context, const char *phase, uint64_t done, uint64_t total)
{
	struct phases *phases = context;

	(void)total;
	if (!done && phases->begin <= 0 && strncmp(phase, "zeroing", 7) == 0)
		phases->begin = now();
	if (phases->end <= 0 && strncmp(phase, "rereading", 9) == 0)
		phases->end = now();
}

static void format_device(const char *path)
{
	struct phases phases = { .begin = 0 };
	const struct wb_progress progress = { .context = &phases, .report = note_phase };
	struct wb_geometry geometry;
	struct wb_error err;
	struct wb_dev *dev;
	unsigned flags = WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE;

	if (getenv("WB_IO") && strcmp(getenv("WB_IO"), "threads") == 0)
		flags |= WB_OPEN_THREADS;
	need(wb_dev_open(&dev, path, flags, &err), &err);
	need(wb_geometry_init(&geometry, wb_format_find("v2"), 10, wb_dev_size(dev), 0, &err), &err);
	need(wb_cache_format(dev, &geometry, 1, &progress, &err), &err);
	printf("%.4f\n", phases.end - phases.begin);
	wb_dev_close(dev);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "make") == 0 && argc == 5)
		make_image(argv[2], number(argv[3]), number(argv[4]));
	else if (strcmp(what, "offsets") == 0 && argc == 4)
		list_offsets(number(argv[2]), number(argv[3]));
	else if (strcmp(what, "sort") == 0 && argc == 3)
		sort_many(number(argv[2]));
	else if (strcmp(what, "flush") == 0 && argc == 4)
		flush_synthetic(number(argv[2]), number(argv[3]));
	else if (strcmp(what, "format") == 0 && argc == 3)
		format_device(argv[2]);
	else
		return 16;
	return 0;
}
