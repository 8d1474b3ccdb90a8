/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An increasing map of block addresses that only a key tells. A binary tree over the addresses: every node shares the room
 * its half of the image has to spare between its children, as the key decides. Distances inside a leaf are kept.
 */
#include "bytes.h"
#include "pack.h"

#define DOMAIN_BITS 44u /* blocks: 64 PiB of BACKING */
#define IMAGE_BITS 51u  /* half of all addresses whose last byte a u64 can name */
#define LEAF_BITS 4u

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

/* 0 ... most, as the key has it for this node. */
static uint64_t draw(const uint8_t *key, uint64_t node, uint64_t most)
{
	uint64_t high = sip(key, node) >> 32; /* most is below 2^51: 32 bits and 32 bits more */
	uint64_t low = sip(key, ~node) >> 32;

	return (most >> 32) * high + ((most & UINT32_MAX) * high >> 32) + ((most >> 32) * low >> 32);
}

static uint64_t image_of(const uint8_t *key, uint64_t block)
{
	uint64_t spare = ((uint64_t)1 << IMAGE_BITS) - ((uint64_t)1 << DOMAIN_BITS);
	uint64_t shift = 0, node = 1;

	for (unsigned bit = DOMAIN_BITS; bit-- > LEAF_BITS;) {
		uint64_t left = draw(key, node, spare);
		bool right = block >> bit & 1;

		shift += right ? left : 0;
		spare = right ? spare - left : left;
		node = node << 1 | right;
	}
	return block + shift + draw(key, node, spare);
}

uint64_t wb_obfuscate(const uint8_t *key, uint64_t sector)
{
	uint64_t block = sector / WB_SECTORS_PER_BLOCK, end = (uint64_t)1 << DOMAIN_BITS;

	if (sector > UINT64_MAX / WB_SECTOR - WB_SECTORS_PER_BLOCK) /* no address at all, and it has to stay none */
		return sector;
	if (block < end)
		block = image_of(key, block);
	else /* nothing that large exists: close up, so that all stays in order */
		block = ((uint64_t)1 << IMAGE_BITS) + (block - end) / 2;
	return block * WB_SECTORS_PER_BLOCK + sector % WB_SECTORS_PER_BLOCK;
}
