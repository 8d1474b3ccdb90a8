/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pure: versions of blocks in, winners out. Entries arrive newest first; a stable sort by block keeps
 * that order among the versions of a block, so the first to claim a sector is its last writer.
 */
#include <string.h>

#include "wbfmt.h"

#define RADIX 256u

/* One digit of the radix sort; false when all entries share it and nothing had to move. */
static bool sort_digit(const struct wb_entry *from, struct wb_entry *to, size_t n, unsigned shift)
{
	size_t start[RADIX] = { 0 };
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		start[from[i].block >> shift & (RADIX - 1)]++;
	if (start[from[0].block >> shift & (RADIX - 1)] == n)
		return false;
	for (unsigned digit = 0; digit < RADIX; digit++) {
		size_t count = start[digit];

		start[digit] = sum;
		sum += count;
	}
	for (size_t i = 0; i < n; i++)
		to[start[from[i].block >> shift & (RADIX - 1)]++] = from[i];
	return true;
}

void wb_plan_sort(struct wb_entry *entries, struct wb_entry *scratch, size_t n)
{
	struct wb_entry *from = entries, *to = scratch;

	if (n < 2)
		return;
	for (unsigned shift = 0; shift < 64; shift += 8) {
		if (!sort_digit(from, to, n, shift))
			continue;
		struct wb_entry *swap = from;

		from = to;
		to = swap;
	}
	if (from != entries)
		memcpy(entries, from, n * sizeof(*entries));
}

size_t wb_plan_claim(struct wb_entry *entries, size_t n)
{
	uint8_t claimed = 0;
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		struct wb_entry entry = entries[i];

		if (!i || entry.block != entries[i - 1].block)
			claimed = 0;
		uint8_t wanted = entry.dirty ? entry.dirty : 0xff;
		uint8_t won = (uint8_t)(wanted & ~claimed);

		claimed |= wanted;
		if (!won)
			continue;
		if (entry.dirty)
			entry.dirty = won;
		entries[kept++] = entry;
	}
	return kept;
}
