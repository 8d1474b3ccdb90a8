/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRC-32C by ISA-L, or by a small table where the build has no ISA-L (WB_NO_ISAL). In the reflected
 * representation, appending one zero bit is one step of the shift register; that step can be undone.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#ifndef WB_NO_ISAL
#include <isa-l/crc.h>
#endif

#include "crc32c.h"

#define POLYNOMIAL 0x82f63b78u

static const uint32_t nibbles[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
	0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t wb_crc32c_portable(uint32_t crc, const void *bytes, size_t size)
{
	const uint8_t *p = bytes;

	while (size--) {
		crc ^= *p++;
		crc = crc >> 4 ^ nibbles[crc & 15];
		crc = crc >> 4 ^ nibbles[crc & 15];
	}
	return crc;
}

uint32_t wb_crc32c(uint32_t crc, const void *bytes, size_t size)
{
#ifdef WB_NO_ISAL
	return wb_crc32c_portable(crc, bytes, size);
#else
	/* crc32_iscsi() takes an int and, on some versions, a buffer that is not const */
	const uint8_t *p = bytes;

	while (size > 1 << 30) {
		crc = crc32_iscsi((unsigned char *)(uintptr_t)p, 1 << 30, crc);
		p += 1 << 30;
		size -= 1 << 30;
	}
	return crc32_iscsi((unsigned char *)(uintptr_t)p, (int)size, crc);
#endif
}

static uint32_t step_forward(uint32_t crc)
{
	return crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
}

/* The polynomial has the top bit set, so a step that applied it shows in the result's top bit. */
static uint32_t step_back(uint32_t crc)
{
	return crc & 0x80000000u ? (crc ^ POLYNOMIAL) << 1 | 1 : crc << 1;
}

/* Appending four bytes is: exclusive or, then 32 steps. */
uint32_t wb_crc_force(uint32_t before, uint32_t target)
{
	for (unsigned i = 0; i < 32; i++)
		target = step_back(target);
	return before ^ target;
}

static void tabulate(struct wb_crc_shift *shift, const uint32_t image[32])
{
	memset(shift, 0, sizeof(*shift));
	for (unsigned byte = 0; byte < 4; byte++)
		for (unsigned value = 0; value < 256; value++)
			for (unsigned bit = 0; bit < 8; bit++)
				if (value >> bit & 1)
					shift->table[byte][value] ^= image[8 * byte + bit];
}

void wb_crc_shift_init(struct wb_crc_shift *shift, uint64_t bytes)
{
	uint32_t image[32];

	/* each bit of a CRC on its own way over the zeroes, by doubling: image = (step^8)^bytes */
	for (unsigned i = 0; i < 32; i++)
		image[i] = 1u << i;
	struct wb_crc_shift power;
	uint32_t square[32];

	for (unsigned i = 0; i < 32; i++) {
		square[i] = 1u << i;
		for (unsigned bit = 0; bit < 8; bit++)
			square[i] = step_forward(square[i]);
	}
	for (; bytes; bytes >>= 1) {
		tabulate(&power, square);
		for (unsigned i = 0; i < 32; i++) {
			if (bytes & 1)
				image[i] = wb_crc_shift(&power, image[i]);
			square[i] = wb_crc_shift(&power, square[i]);
		}
	}
	tabulate(shift, image);
}

static int by_crc(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

void wb_bitfind_init(struct wb_bitfind *find)
{
	uint32_t effect = POLYNOMIAL; /* of the message's last bit */
	uint32_t image[32];

	for (uint32_t step = 0; step < WB_BITFIND_STEPS; step++) {
		find->baby[step].crc = effect;
		find->baby[step].step = step;
		effect = step_forward(effect);
	}
	qsort(find->baby, WB_BITFIND_STEPS, sizeof(find->baby[0]), by_crc);
	for (unsigned i = 0; i < 32; i++) {
		image[i] = 1u << i;
		for (uint32_t step = 0; step < WB_BITFIND_STEPS; step++)
			image[i] = step_back(image[i]);
	}
	tabulate(&find->giant, image);
}

uint64_t wb_bitfind(const struct wb_bitfind *find, uint32_t difference, uint64_t bytes)
{
	assert(difference);
	for (uint64_t from = 0; from < 8 * bytes; from += WB_BITFIND_STEPS) {
		const uint32_t *hit = bsearch(&difference, find->baby, WB_BITFIND_STEPS, sizeof(find->baby[0]), by_crc);

		if (hit) {
			uint64_t bit = from + hit[1];

			return bit < 8 * bytes ? bit : UINT64_MAX;
		}
		difference = wb_crc_shift(&find->giant, difference);
	}
	return UINT64_MAX;
}
