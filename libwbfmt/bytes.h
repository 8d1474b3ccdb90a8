/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Little-endian numbers at any alignment, and the two rounding helpers everybody needs. Numbers leave
 * and enter the disk through here alone.
 */
#ifndef WB_BYTES_H
#define WB_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t wb_get_le(const uint8_t *p, unsigned width)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < width; i++)
		value |= (uint64_t)p[i] << (8 * i);
	return value;
}

static inline void wb_put_le(uint8_t *p, unsigned width, uint64_t value)
{
	for (unsigned i = 0; i < width; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static inline bool wb_all_bytes(const uint8_t *p, size_t size, uint8_t value)
{
	/* every byte equals its neighbour, and the first the value */
	return !size || (p[0] == value && !memcmp(p, p + 1, size - 1));
}

/* The first of n things, by ascending keys, whose key is not below this one; n: none. */
static inline size_t wb_first_from(const void *things, size_t n, uint64_t (*key_of)(const void *things, size_t i), uint64_t key)
{
	size_t low = 0;

	while (low < n) {
		size_t middle = low + (n - low) / 2;

		if (key_of(things, middle) < key)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

static inline uint64_t wb_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t wb_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
