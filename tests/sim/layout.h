/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the bytes of a cache lie, and what is in a sector of the tests. Written from the format alone, with its own
 * literal offsets and its own checksum; shares nothing with the library.
 */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <inttypes.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>

#define SECTOR		512u
#define BLOCK		4096u
#define FIRST_SLOT	1048576u	/* bytes before slot 0 */
#define RECORD_AT	1048064u
#define CHECKSUM_AT	8u		/* v1, v2 */

enum content { CACHE_DATA, BACKING_DATA, UNDEFINED_DATA, BYTE_DATA };

static inline void put_le(uint8_t *p, unsigned int width, uint64_t value)
{
	for (unsigned int i = 0; i < width; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static inline uint64_t get_le(const uint8_t *p, unsigned int width)
{
	uint64_t value = 0;

	while (width--)
		value = value << 8 | p[width];
	return value;
}

/* Without the final complement. */
static inline uint32_t crc32c(const uint8_t *p, uint64_t n)
{
	static uint32_t table[256];
	uint32_t crc = 0xffffffff;

	for (uint32_t i = 0; !table[255] && i < 256; i++) {
		uint32_t x = i;

		for (int bit = 0; bit < 8; bit++)
			x = x >> 1 ^ (x & 1 ? 0x82f63b78 : 0);
		table[i] = x;
	}
	while (n--)
		crc = crc >> 8 ^ table[(crc ^ *p++) & 255];
	return crc;
}

/* What the checksum of a segment of so many blocks is made of. */
static inline uint32_t segment_sum(const uint8_t *slot, uint64_t blocks)
{
	return crc32c(slot + 512, 3584 + 4096 * blocks);
}

static inline void header_put(unsigned int generation, uint8_t *slot, uint64_t id, unsigned int length, uint32_t lap)
{
	put_le(slot, 8, id);
	if (generation)
		put_le(slot + 12, 1, length);
	else
		put_le(slot + 8, 1, length);
	if (!generation)
		put_le(slot + 9, 4, lap);
}

static inline void metablock_put(unsigned int generation, uint8_t *slot, unsigned int i, uint64_t sector,
				 unsigned int bits, uint32_t lap)
{
	uint8_t *at = slot + (generation ? 512 + 16 * i : 13 + 13 * i);

	put_le(at, 8, sector);
	put_le(at + 8, 1, bits);
	if (!generation)
		put_le(at + 9, 4, lap);
}

static inline uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static inline uint64_t random_next(uint64_t *state)
{
	return mix(*state += 0x9e3779b97f4a7c15);
}

static inline void random_fill(uint64_t seed, uint8_t *out, uint64_t bytes)
{
	uint64_t random = mix(seed);

	for (uint64_t i = 0; i < bytes; i++)
		out[i] = (uint8_t)random_next(&random);
}

/* A sector that says in words what it is. */
static inline void sector_describe(enum content content, uint64_t lba, uint64_t version, uint8_t *out)
{
	static const char *const names[] = { "cache", "backing", "undefined" };
	char line[96];

	random_fill(mix(mix(content + 1) + lba) + version, out, SECTOR);
	snprintf(line, sizeof(line), "%s sector %" PRIu64 " version %" PRIu64 "\n", names[content], lba, version);
	memcpy(out, line, strlen(line));
}

#endif
