/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk with a volatile cache, and the power that it shares with another one. */
#ifndef DISK_H
#define DISK_H

#include <stdbool.h>
#include <stdint.h>

struct power {
	uint64_t left;	/* writes and flushes until it goes, UINT64_MAX: it stays */
	bool dead;
	uint64_t cuts;
};

struct pending {
	struct pending *next;
	uint64_t offset;
	uint32_t length;
	uint8_t bytes[];
};

struct disk {
	uint8_t *medium, *now;	/* what survives; what is read */
	uint64_t size;
	struct pending *first, **last;
	unsigned int waiting, room;	/* writes that the volatile cache holds, and can hold */
	struct power *power;
};

void disk_open(struct disk *disk, uint64_t size, unsigned int room, struct power *power);
void disk_close(struct disk *disk);
void disk_write(struct disk *disk, uint64_t offset, const uint8_t *bytes, uint32_t length);
/* Durable by itself. */
void disk_write_fua(struct disk *disk, uint64_t offset, const uint8_t *bytes, uint32_t length);
void disk_flush(struct disk *disk);
/* What waits meets its fate: of an orderly disk some first writes land, the next one in part; of another any, whole or in part. */
void disk_cut(struct disk *disk, bool orderly, uint64_t *random);

#endif
