/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an application knows: per sector of its device what it wrote, in which order, and which writes were
 * acknowledged as durable. Knows nothing of logs, caches or disks. A write is named by its time, from 1; 0 is what the
 * device held before the first.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdbool.h>
#include <stdint.h>

struct moment {
	uint32_t time, version; /* from that time on the sector held that version */
};

struct timeline {
	struct moment *moments;
	unsigned int count, room;
	unsigned int epoch;	/* what it held when the machine came up last */
	unsigned int durable;	/* nothing before it may come back */
	unsigned int completed; /* the newest whose write has been acknowledged */
};

struct oracle {
	unsigned int sectors;
	uint32_t now;
	struct timeline *lines;
};

void oracle_open(struct oracle *oracle, unsigned int sectors);
void oracle_close(struct oracle *oracle);
/* A write begins; returns its version. */
uint32_t oracle_write(struct oracle *oracle, unsigned int sector, unsigned int count);
/* A write of what a sector held already, in its newest state or the one before that, begins: returns that version. */
uint32_t oracle_rewrite(struct oracle *oracle, unsigned int sector, bool newest);
/* The write that began at that time was acknowledged; durable: with FUA. */
void oracle_written(struct oracle *oracle, unsigned int sector, unsigned int count, uint32_t time, bool durable);
/* A flush begins: what it makes durable, one number a sector, to be freed by oracle_flushed(). */
unsigned int *oracle_flush(const struct oracle *oracle);
void oracle_flushed(struct oracle *oracle, unsigned int *promise, bool acknowledged);
/* The machine comes up again and reads this. */
void oracle_restart(struct oracle *oracle, const uint32_t *versions);

uint32_t oracle_newest(const struct oracle *oracle, unsigned int sector);
/* It held this version at some time. */
bool oracle_held(const struct oracle *oracle, unsigned int sector, uint32_t version);
/* The sector can hold this version since the machine came up, nothing durable being lost. */
bool oracle_allows(const struct oracle *oracle, unsigned int sector, uint32_t version);
/* Where a version stands in the life of a sector since the machine came up, the larger the newer; -1: not there. */
int oracle_rank(const struct oracle *oracle, unsigned int sector, uint32_t version);
int oracle_durable_rank(const struct oracle *oracle, unsigned int sector);
/* There was a moment at which all sectors but the excused ones held just this. */
bool oracle_was(const struct oracle *oracle, const uint32_t *versions, const bool *excused);

#endif
