/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * synth SLOTS BLOCKS [data] - packs a full v2 cache that exists only as it is read: SLOTS segments of 127 blocks at random among
 * BLOCKS blocks of BACKING. Prints size and time against the goals. With `data` the data is read and summed too.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "bytes.h"
#include "crc32c.h"
#include "dev.h"
#include "format.h"

struct synth {
	struct wb_dev dev;
	struct wb_geometry geometry;
	struct wb_crc_shift over_data;
	uint64_t blocks;
};

static double zlib_seconds;

static double seconds(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The linker puts these around zlib's own. */
int __real_deflate(z_streamp stream, int flush);
int __wrap_deflate(z_streamp stream, int flush);

int __wrap_deflate(z_streamp stream, int flush)
{
	double begin = seconds(CLOCK_THREAD_CPUTIME_ID);
	int ret = __real_deflate(stream, flush);

	zlib_seconds += seconds(CLOCK_THREAD_CPUTIME_ID) - begin;
	return ret;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void make_metadata(const struct synth *synth, uint32_t slot, uint8_t *meta)
{
	uint32_t slots = synth->geometry.slots;
	struct wb_header header = { .id = slot + 1u + (slot < slots / 2 ? (uint64_t)slots : 0), .length = 127 };

	for (unsigned i = 0; i < header.length; i++) {
		uint64_t block = mix(slot * UINT64_C(127) + i + 1) % synth->blocks;

		wb_put_le(meta + 512 + 16 * i, 8, block * 8);
		meta[512 + 16 * i + 8] = 0xff;
	}
	header.checksum = ~wb_crc_shift(&synth->over_data, wb_crc32c(~0u, meta + 512, 4096 - 512));
	wb_header_encode(synth->geometry.format, meta, &header);
}

/* Requests begin at a slot, at its data, or in the first MiB. */
static void synth_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	const struct synth *synth = (const struct synth *)dev;
	uint64_t size = wb_slot_size(&synth->geometry);

	for (unsigned i = 0; i < n; i++) {
		uint64_t in_slots = io[i].offset - WB_FIRST_SLOT;

		memset(io[i].buffer, 0, io[i].length);
		if (io[i].offset == 0)
			wb_put_le(io[i].buffer, 4, WB_MAGIC);
		else if (io[i].offset >= WB_FIRST_SLOT && in_slots % size == 0 && io[i].length >= WB_BLOCK)
			make_metadata(synth, (uint32_t)(in_slots / size), io[i].buffer);
	}
}

static int synth_flush(struct wb_dev *dev)
{
	(void)dev;
	return 0;
}

static void synth_close(struct wb_dev *dev)
{
	(void)dev;
}

static const struct wb_dev_ops synth_ops = { .submit = synth_submit, .flush = synth_flush, .close = synth_close };

static void die(const char *what, const struct wb_error *err)
{
	fprintf(stderr, "synth: %s: %s\n", what, err->text);
	exit(1);
}

static double now(void)
{
	return seconds(CLOCK_MONOTONIC);
}

static void say(const char *what, double ratio, double goal, const char *unit)
{
	printf("%-44s %5.2f x %s, goal %.1f: %s\n", what, ratio, unit, goal, ratio <= goal ? "pass" : "miss");
}

static double log2_of(uint64_t n) /* without libm: exact enough between powers of two */
{
	double value = (double)n, bits = 0;

	for (; value >= 2; value /= 2)
		bits++;
	for (double part = 0.5; part > 1e-6; part /= 2) {
		value *= value;
		if (value >= 2) {
			value /= 2;
			bits += part;
		}
	}
	return bits;
}

int main(int argc, char **argv)
{
	uint64_t slots = argc > 2 ? strtoull(argv[1], NULL, 10) : 0;
	bool data = argc > 3;
	struct synth synth = { .blocks = argc > 2 ? strtoull(argv[2], NULL, 10) : 0 };
	const struct wb_overrides overrides = { 0 };
	const struct wb_ring_options ring_options = { .metadata_only = !data, .jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) };
	const struct wb_pack_options options = { .metadata_only = !data, .jobs = ring_options.jobs };
	struct wb_pack_result result;
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_error err;
	int fd = open("/dev/null", O_WRONLY);

	if (!slots || !synth.blocks || fd < 0) {
		fprintf(stderr, "usage: synth SLOTS BLOCKS [data]\n");
		return 2;
	}
	synth.dev = (struct wb_dev){ .ops = &synth_ops, .size = WB_FIRST_SLOT + (slots << 19), .block = 4096 };
	wb_crc_shift_init(&synth.over_data, 127u * 4096);
	if (wb_geometry_init(&synth.geometry, wb_format_find("v2"), 10, synth.dev.size, 0, &err) ||
	    wb_cache_open(&cache, &synth.dev, &overrides, &err))
		die("opening", &err);
	double begin = now();

	if (wb_ring_load(&ring, &cache, &ring_options, NULL, &err))
		die("checking", &err);
	double check = now() - begin;

	if (ring.classes[WB_LIVE] != slots)
		return 1;
	wb_ring_release(&ring);
	begin = now();
	if (wb_pack_write(&cache, fd, &options, &result, NULL, &err))
		die("packing", &err);
	double pack = now() - begin;
	double entropy = (double)slots * (127 * log2_of(synth.blocks) + 32) / 8;

	printf("full v2 cache of %" PRIu64 " segments%s: pack of %.1f MiB\n", slots, data ? "" : ", metadata only",
	       (double)result.bytes / (1 << 20));
	say("  size of the pack", (double)result.bytes / entropy, 1.1, "the entropy of its fields");
	printf("  time %.2f s, goal %.2f s (1.5 x %s %.2f s, and zlib's %.2f s): %s\n", pack, 1.5 * check + zlib_seconds,
	       data ? "checking" : "reading the headers", check, zlib_seconds, pack <= 1.5 * check + zlib_seconds ? "pass" : "miss");
	close(fd);
	return 0;
}
