/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes to a device as an application would, and knows what must be left of it. The writes of a seed are numbered
 * from 1, each lies within one block of 4 KiB, and each sector tells its number. As dm-writeboost keeps the order of
 * writes, a device must always be in the state after some write N, and N not below the last one acknowledged.
 *
 *   workload write DEVICE SEED COUNT SYNC [CUT]   COUNT writes, a sync after about every SYNCth and after the last, each
 *                                                 followed by "DEVICE acknowledged N"; "power-cut" before write CUT
 *   workload check IMAGE SEED COUNT               prints N, or fails
 *
 * The device must have been all zeroes. No code or format is shared with the library.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512u
#define BLOCK_SECTORS 8u

struct write {
	uint64_t sector;
	unsigned sectors;
	int sync;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* Half of the writes are whole blocks; half of all go to a sixteenth of the device. */
static struct write write_of(uint64_t seed, uint64_t number, uint64_t blocks, unsigned sync)
{
	uint64_t dice = mix(mix(seed) ^ number), place = mix(dice);
	unsigned begin = 0, end = BLOCK_SECTORS;

	if (dice & 1) {
		begin = (unsigned)(dice >> 8) % BLOCK_SECTORS;
		end = begin + 1 + (unsigned)(dice >> 16) % (BLOCK_SECTORS - begin);
	}
	uint64_t block = place % (dice & 2 ? blocks : blocks / 16 + 1);

	return (struct write){
		.sector = block * BLOCK_SECTORS + begin,
		.sectors = end - begin,
		.sync = sync && (dice >> 24) % sync == 0,
	};
}

/* Word 0 is the number of the write, the rest follows from it, the seed and the address. */
static void fill(uint64_t words[SECTOR / 8], uint64_t seed, uint64_t number, uint64_t sector)
{
	uint64_t state = mix(mix(mix(seed) ^ number) ^ sector);

	words[0] = number;
	for (unsigned i = 1; i < SECTOR / 8; i++)
		words[i] = number ? state = mix(state) : 0;
}

static uint64_t blocks_of(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);

	if (size < (off_t)(BLOCK_SECTORS * SECTOR))
		die("size");
	return (uint64_t)size / (BLOCK_SECTORS * SECTOR);
}

static void write_all(int fd, const char *name, uint64_t seed, uint64_t count, unsigned sync, uint64_t cut)
{
	uint64_t blocks = blocks_of(fd), (*buffer)[SECTOR / 8] = aligned_alloc(4096, BLOCK_SECTORS * SECTOR);

	if (!buffer)
		die("memory");
	for (uint64_t number = 1; number <= count; number++) {
		struct write w = write_of(seed, number, blocks, sync);

		if (number == cut)
			printf("power-cut\n");
		for (unsigned i = 0; i < w.sectors; i++)
			fill(buffer[i], seed, number, w.sector + i);
		if (pwrite(fd, buffer, w.sectors * SECTOR, (off_t)(w.sector * SECTOR)) != (ssize_t)(w.sectors * SECTOR))
			die("write");
		if (!w.sync && number < count)
			continue;
		if (fdatasync(fd))
			die("sync");
		printf("%s acknowledged %" PRIu64 "\n", name, number);
	}
	free(buffer);
}

/* The largest number that any sector tells; what is no number of a write is found by compare(). */
static uint64_t newest(const uint64_t (*image)[SECTOR / 8], uint64_t sectors, uint64_t count)
{
	uint64_t number = 0;

	for (uint64_t i = 0; i < sectors; i++)
		if (image[i][0] > number && image[i][0] <= count)
			number = image[i][0];
	return number;
}

static int compare(const uint64_t (*image)[SECTOR / 8], uint64_t blocks, uint64_t seed, uint64_t count)
{
	uint64_t sectors = blocks * BLOCK_SECTORS, last = newest(image, sectors, count), wrong = 0;
	uint64_t *numbers = calloc(sectors, sizeof(*numbers)), expected[SECTOR / 8];

	if (!numbers)
		die("memory");
	for (uint64_t number = 1; number <= last; number++) {
		struct write w = write_of(seed, number, blocks, 0);

		for (unsigned i = 0; i < w.sectors; i++)
			numbers[w.sector + i] = number;
	}
	for (uint64_t i = 0; i < sectors; i++) {
		fill(expected, seed, numbers[i], i);
		if (memcmp(expected, image[i], SECTOR) != 0 && wrong++ < 8)
			printf("sector %" PRIu64 " holds write %" PRIu64 ", not %" PRIu64 " of %" PRIu64 "\n", i,
			       image[i][0], numbers[i], last);
	}
	free(numbers);
	if (!wrong)
		printf("%" PRIu64 "\n", last);
	return wrong ? 1 : 0;
}

static int check(int fd, uint64_t seed, uint64_t count)
{
	uint64_t blocks = blocks_of(fd);
	size_t size = blocks * BLOCK_SECTORS * SECTOR;
	void *image = malloc(size);

	if (!image || pread(fd, image, size, 0) != (ssize_t)size)
		die("read");
	int status = compare(image, blocks, seed, count);

	free(image);
	return status;
}

int main(int argc, char **argv)
{
	int writes = argc > 5 && strcmp(argv[1], "write") == 0;

	if (!writes && (argc != 5 || strcmp(argv[1], "check") != 0)) {
		fprintf(stderr, "usage: workload write DEVICE SEED COUNT SYNC [CUT] | workload check IMAGE SEED COUNT\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	int fd = open(argv[2], writes ? O_RDWR | O_DIRECT : O_RDONLY);

	if (fd < 0)
		die(argv[2]);
	uint64_t seed = strtoull(argv[3], NULL, 0), count = strtoull(argv[4], NULL, 0);

	if (!writes)
		return check(fd, seed, count);
	write_all(fd, argv[2], seed, count, (unsigned)strtoul(argv[5], NULL, 0), argc > 6 ? strtoull(argv[6], NULL, 0) : 0);
	return 0;
}
