/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk with a volatile cache: writes wait for a flush; at a power cut they are lost, torn or reordered. */
#include <assert.h>
#include <stdlib.h>

#include "disk.h"
#include "layout.h"

void disk_open(struct disk *disk, uint64_t size, unsigned int room, struct power *power)
{
	*disk = (struct disk){ .size = size, .room = room, .power = power };
	disk->medium = calloc(1, size);
	disk->now = calloc(1, size);
	assert(disk->medium && disk->now);
	disk->last = &disk->first;
}

static void forget_first(struct disk *disk)
{
	struct pending *write = disk->first;

	disk->first = write->next;
	disk->waiting--;
	if (!disk->first)
		disk->last = &disk->first;
	free(write);
}

static void forget(struct disk *disk)
{
	while (disk->first)
		forget_first(disk);
}

static void land(struct disk *disk, const struct pending *write)
{
	memcpy(disk->medium + write->offset, write->bytes, write->length);
}

void disk_close(struct disk *disk)
{
	forget(disk);
	free(disk->medium);
	free(disk->now);
}

static void wait_for_flush(struct disk *disk, uint64_t offset, const uint8_t *bytes, uint32_t length)
{
	struct pending *write = malloc(sizeof(*write) + length);

	assert(write && offset + length <= disk->size);
	*write = (struct pending){ .offset = offset, .length = length };
	memcpy(write->bytes, bytes, length);
	memcpy(disk->now + offset, bytes, length);
	*disk->last = write;
	disk->last = &write->next;
	if (++disk->waiting > disk->room) {
		land(disk, disk->first);
		forget_first(disk);
	}
}

/* False when the power goes instead. */
static bool powered(struct power *power)
{
	if (!power->dead && !power->left) {
		power->dead = true;
		power->cuts++;
		return false;
	}
	power->left -= power->left != UINT64_MAX;
	return !power->dead;
}

void disk_write(struct disk *disk, uint64_t offset, const uint8_t *bytes, uint32_t length)
{
	bool was_dead = disk->power->dead;

	/* the one under way may be torn */
	if (powered(disk->power) || !was_dead)
		wait_for_flush(disk, offset, bytes, length);
}

/* What waits for the same sectors must not go over it later. */
void disk_write_fua(struct disk *disk, uint64_t offset, const uint8_t *bytes, uint32_t length)
{
	if (!powered(disk->power))
		return;
	for (struct pending *write = disk->first; write; write = write->next)
		for (uint32_t at = 0; at < write->length; at += SECTOR)
			if (write->offset + at >= offset && write->offset + at - offset < length)
				memcpy(write->bytes + at, bytes + (write->offset + at - offset), SECTOR);
	memcpy(disk->medium + offset, bytes, length);
	memcpy(disk->now + offset, bytes, length);
}

void disk_flush(struct disk *disk)
{
	if (!powered(disk->power))
		return;
	for (struct pending *write = disk->first; write; write = write->next)
		land(disk, write);
	forget(disk);
}

/* Its first sectors, or any. */
static void land_in_part(struct disk *disk, const struct pending *write, uint64_t *random)
{
	uint32_t sectors = write->length / SECTOR, most = (uint32_t)(random_next(random) % (sectors + 1));
	uint64_t kind = random_next(random) % 3;

	for (uint32_t i = 0; i < sectors; i++)
		if (kind == 0 ? i < most : kind == 1 ? i >= most : random_next(random) & 1)
			memcpy(disk->medium + write->offset + i * SECTOR, write->bytes + i * SECTOR, SECTOR);
}

static void cut_orderly(struct disk *disk, uint64_t *random)
{
	unsigned int count = 0;

	for (struct pending *write = disk->first; write; write = write->next)
		count++;
	uint64_t whole = random_next(random) % (count + 1);

	/* nothing and everything are more likely than chance has them */
	if (random_next(random) % 4 == 0)
		whole = random_next(random) & 1 ? count : 0;
	for (struct pending *write = disk->first; write; write = write->next, whole--) {
		if (!whole) {
			land_in_part(disk, write, random);
			return;
		}
		land(disk, write);
	}
}

static void cut_disorderly(struct disk *disk, uint64_t *random)
{
	for (struct pending *write = disk->first; write; write = write->next) {
		uint64_t fate = random_next(random) % 5;

		if (fate < 2)
			land(disk, write);
		else if (fate == 2)
			land_in_part(disk, write, random);
	}
}

void disk_cut(struct disk *disk, bool orderly, uint64_t *random)
{
	if (orderly)
		cut_orderly(disk, random);
	else
		cut_disorderly(disk, random);
	for (struct pending *write = disk->first; write; write = write->next)
		memcpy(disk->now + write->offset, disk->medium + write->offset, write->length);
	forget(disk);
}
