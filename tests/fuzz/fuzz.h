/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fuzz targets share: what must hold, numbers out of an input, and a device in memory that watches. A target is a
 * file fuzz_NAME.c with LLVMFuzzerTestOneInput(); libFuzzer drives it, or rerun.c does with files.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "dev.h"
#include "format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max); /* libFuzzer's own */

/* A property that does not hold is a finding. */
#define HOLDS(condition) \
	do { \
		if (!(condition)) \
			fuzz_fail(__FILE__, __LINE__, #condition); \
	} while (0)

__attribute__((noreturn)) static inline void fuzz_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

static inline void *fuzz_room(size_t size)
{
	void *room = calloc(1, size ? size : 1);

	HOLDS(room);
	return room;
}

static inline uint64_t fuzz_mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static inline uint32_t fuzz_draw(uint64_t *seed, uint32_t bound)
{
	return (uint32_t)(fuzz_mix(*seed += 0x9e3779b97f4a7c15u) % bound);
}

/* ---- numbers out of an input; zeroes behind its end ---- */

struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint64_t take(struct input *input, unsigned width)
{
	uint8_t bytes[8] = { 0 };
	size_t some = wb_min(width, input->left);

	memcpy(bytes, input->at, some);
	input->at += some;
	input->left -= some;
	return wb_get_le(bytes, width);
}

/* ---- a device in memory ---- */

struct memory {
	struct wb_dev dev;
	uint8_t *bytes;
	size_t room;            /* of bytes, which writes that make the device longer may reallocate */
	uint64_t writes;
	bool sealed;            /* a write is a finding */
	struct wb_range bad[16]; /* reads fail */
	unsigned bad_count;
};

static inline bool fuzz_is_bad(const struct memory *memory, uint64_t offset, uint64_t length)
{
	for (unsigned i = 0; i < memory->bad_count; i++)
		if (memory->bad[i].offset < offset + length && offset < memory->bad[i].offset + memory->bad[i].length)
			return true;
	return false;
}

static inline void fuzz_make_room(struct memory *memory, uint64_t end)
{
	if (end <= memory->room)
		return;
	memory->bytes = realloc(memory->bytes, (size_t)end);
	HOLDS(memory->bytes);
	memset(memory->bytes + memory->room, 0, (size_t)end - memory->room);
	memory->room = (size_t)end;
}

static inline void fuzz_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct memory *memory = (struct memory *)dev;

	for (unsigned i = 0; i < n; i++) {
		if (io[i].write) {
			HOLDS(!memory->sealed);
			HOLDS(io[i].length % dev->block == 0 || dev->grows);
			memory->writes++;
			fuzz_make_room(memory, io[i].offset + io[i].length);
			memcpy(memory->bytes + io[i].offset, io[i].buffer, io[i].length);
		} else if (fuzz_is_bad(memory, io[i].offset, io[i].length)) {
			io[i].result = -EIO;
		} else {
			memcpy(io[i].buffer, memory->bytes + io[i].offset, io[i].length);
		}
	}
}

static inline int fuzz_flush(struct wb_dev *dev)
{
	(void)dev;
	return 0;
}

static inline void fuzz_close(struct wb_dev *dev)
{
	(void)dev;
}

static const struct wb_dev_ops fuzz_ops = { .submit = fuzz_submit, .flush = fuzz_flush, .close = fuzz_close };

/* bytes stay the caller's; of a device that grows they come from malloc(). */
static inline struct memory fuzz_memory(uint8_t *bytes, size_t size)
{
	return (struct memory){ .dev = { .ops = &fuzz_ops, .size = size, .block = WB_SECTOR }, .bytes = bytes, .room = size };
}

#endif
