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
	for (unsigned byte = 0; byte < 4; byte++) {
		shift->table[byte][0] = 0;
		for (unsigned value = 1; value < 256; value++) /* without its lowest bit it was there before */
			shift->table[byte][value] = shift->table[byte][value & (value - 1)] ^
						    image[8 * byte + (unsigned)__builtin_ctz(value)];
	}
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

/* Where the table has this CRC, or is empty: it is never full. */
static uint32_t place_of(const struct wb_bitfind *find, uint32_t crc)
{
	uint32_t at = crc;

	while (at %= 2 * WB_BITFIND_STEPS, find->baby[at].step && find->baby[at].crc != crc)
		at++;
	return at;
}

void wb_bitfind_init(struct wb_bitfind *find)
{
	uint32_t effect = POLYNOMIAL; /* of the message's last bit */
	uint32_t image[32];

	memset(find->baby, 0, sizeof(find->baby));
	for (uint32_t step = 0; step < WB_BITFIND_STEPS; step++) {
		uint32_t at = place_of(find, effect);

		find->baby[at].crc = effect;
		find->baby[at].step = step + 1;
		effect = step_forward(effect);
	}
	for (unsigned i = 0; i < 32; i++)
		image[i] = step_back(1u << i);
	tabulate(&find->giant, image);
	for (uint32_t steps = 1; steps < WB_BITFIND_STEPS; steps *= 2) { /* a power of two */
		for (unsigned i = 0; i < 32; i++)
			image[i] = wb_crc_shift(&find->giant, image[i]);
		tabulate(&find->giant, image);
	}
}

uint64_t wb_bitfind(const struct wb_bitfind *find, uint32_t difference, uint64_t bytes)
{
	assert(difference);
	for (uint64_t from = 0; from < 8 * bytes; from += WB_BITFIND_STEPS) {
		uint32_t step = find->baby[place_of(find, difference)].step;

		if (step) {
			uint64_t bit = from + step - 1;

			return bit < 8 * bytes ? bit : UINT64_MAX;
		}
		difference = wb_crc_shift(&find->giant, difference);
	}
	return UINT64_MAX;
}
