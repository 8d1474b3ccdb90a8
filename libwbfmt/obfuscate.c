/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Other addresses for those of a cache. Its blocks are numbered by their rank, so that a new number says how many used ones
 * lie below and nothing of where they lay; gaps between them are random, and there is one where there was one.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "error.h"
#include "pack.h"

#define IMPOSSIBLE (UINT64_MAX - 7) /* stands for every sector whose last byte a u64 cannot name */
#define START_MASK 0xfffffu         /* blocks */
#define GAP_MASK 0xffffu

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] = rotate(v[0], 32) + v[3];
	v[2] += v[1];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

/* SipHash-2-4 of one word, without the block of the length. */
static uint64_t sip(const uint8_t *key, uint64_t word)
{
	uint64_t k0 = wb_get_le(key, 8), k1 = wb_get_le(key + 8, 8);
	uint64_t v[4] = { k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u,
			  k1 ^ 0x7465646279746573u };

	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
	v[2] ^= 0xff;
	for (unsigned i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static bool is_impossible(uint64_t sector)
{
	return sector > UINT64_MAX / WB_SECTOR - WB_SECTORS_PER_BLOCK;
}

static int ascending(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void drop_repeated(struct wb_moves *moves)
{
	size_t n = 0;

	if (moves->count)
		qsort(moves->blocks, moves->count, sizeof(*moves->blocks), ascending);
	for (size_t i = 0; i < moves->count; i++)
		if (!n || moves->blocks[n - 1] != moves->blocks[i])
			moves->blocks[n++] = moves->blocks[i];
	moves->count = n;
}

static int make_room(struct wb_moves *moves, struct wb_error *err)
{
	drop_repeated(moves);
	if (moves->count < moves->room / 2)
		return 0;
	size_t room = moves->room ? 2 * moves->room : 1024;
	uint64_t *grown = realloc(moves->blocks, room * sizeof(*grown));

	if (!grown)
		return wb_no_memory(err, "the blocks of an obfuscated pack");
	moves->blocks = grown;
	moves->room = room;
	return 0;
}

int wb_moves_add(struct wb_moves *moves, uint64_t sector, struct wb_error *err)
{
	if (is_impossible(sector))
		return 0;
	int ret = moves->count == moves->room ? make_room(moves, err) : 0;

	if (!ret)
		moves->blocks[moves->count++] = sector / WB_SECTORS_PER_BLOCK;
	return ret;
}

int wb_moves_settle(struct wb_moves *moves, const uint8_t *key, struct wb_error *err)
{
	uint64_t moved = 1 + (sip(key, 0) & START_MASK);

	drop_repeated(moves);
	for (size_t i = 0; i < moves->count; i++)
		moves->run_count += !i || moves->blocks[i] != moves->blocks[i - 1] + 1;
	moves->runs = malloc((moves->run_count + 1) * sizeof(*moves->runs));
	if (!moves->runs)
		return wb_no_memory(err, "the blocks of an obfuscated pack");
	moves->run_count = 0;
	for (size_t i = 0; i < moves->count; i++, moved++) {
		if (!i || moves->blocks[i] != moves->blocks[i - 1] + 1) {
			moved += i ? 1 + (sip(key, i) & GAP_MASK) : 0;
			moves->runs[moves->run_count].first = moves->blocks[i];
			moves->runs[moves->run_count].blocks = 0;
			moves->runs[moves->run_count++].moved = moved;
		}
		moves->runs[moves->run_count - 1].blocks++;
	}
	free(moves->blocks);
	moves->blocks = NULL;
	return 0;
}

uint64_t wb_moved(const struct wb_moves *moves, uint64_t sector)
{
	uint64_t block = sector / WB_SECTORS_PER_BLOCK;
	size_t low = 0, high = moves->run_count;

	if (is_impossible(sector))
		return IMPOSSIBLE;
	while (low < high) { /* how many runs begin at or below it */
		size_t middle = low + (high - low) / 2;

		if (moves->runs[middle].first <= block)
			low = middle + 1;
		else
			high = middle;
	}
	/* one that was not collected, on a device in use, goes into the gap behind */
	uint64_t moved = low ? moves->runs[low - 1].moved + wb_min(block - moves->runs[low - 1].first, moves->runs[low - 1].blocks) : 0;

	return moved * WB_SECTORS_PER_BLOCK + sector % WB_SECTORS_PER_BLOCK;
}

void wb_moves_release(struct wb_moves *moves)
{
	free(moves->blocks);
	free(moves->runs);
	*moves = (struct wb_moves){ .count = 0 };
}
