/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pure: versions of blocks in, winners out. Entries arrive newest first; a stable sort by block keeps
 * that order among the versions of a block, so the first to claim a sector is its last writer.
 */
#include <string.h>

#include "wbfmt.h"

#define RADIX 256u
#define PART_BITS 11u
#define PARTS (1u << PART_BITS)
#define SMALL (1u << 16) /* so few fit in a processor's cache as they are */

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

/* Sorts by the low bits of the block, digit by digit; the result is in `from`, or in `to` when that is wanted. */
static void sort_low(struct wb_entry *from, struct wb_entry *to, size_t n, unsigned bits, bool into_to)
{
	bool in_to = false;

	for (unsigned shift = 0; shift < bits && n > 1; shift += 8)
		if (in_to ? sort_digit(to, from, n, shift) : sort_digit(from, to, n, shift))
			in_to = !in_to;
	if (in_to != into_to)
		memcpy(into_to ? to : from, in_to ? to : from, n * sizeof(*from));
}

static unsigned bits_of_largest(const struct wb_entry *entries, size_t n)
{
	uint64_t any = 1;

	for (size_t i = 0; i < n; i++)
		any |= entries[i].block;
	return 64 - (unsigned)__builtin_clzll(any);
}

/* Distributes the entries over parts by their top bits, each of which then fits in a processor's cache. */
static void sort_parts(struct wb_entry *entries, struct wb_entry *scratch, size_t n, unsigned low)
{
	size_t begin[PARTS + 1] = { 0 }, at[PARTS];

	for (size_t i = 0; i < n; i++)
		begin[(entries[i].block >> low) + 1]++;
	for (unsigned part = 0; part < PARTS; part++) {
		begin[part + 1] += begin[part];
		at[part] = begin[part];
	}
	for (size_t i = 0; i < n; i++)
		scratch[at[entries[i].block >> low]++] = entries[i];
	for (unsigned part = 0; part < PARTS; part++)
		sort_low(scratch + begin[part], entries + begin[part], begin[part + 1] - begin[part], low, true);
}

void wb_plan_sort(struct wb_entry *entries, struct wb_entry *scratch, size_t n)
{
	unsigned bits = bits_of_largest(entries, n);

	if (n < SMALL || bits <= PART_BITS)
		sort_low(entries, scratch, n, bits, false);
	else
		sort_parts(entries, scratch, n, bits - PART_BITS);
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
