/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A run: a machine, what happens to it in which order, the last cut, and later damage. Repeatable from its seed. */
#ifndef PLAN_H
#define PLAN_H

#include "check.h"

enum what {
	/* the application */
	DO_WRITE, DO_WRITE_FUA, DO_FLUSH, DO_READ,
	/* the driver's threads */
	DO_SEGMENT, DO_BARRIERS, DO_WRITE_BACK, DO_RECORD, DO_INJECT, DO_SYNCHRONIZE,
	/* the machine */
	DO_CUT, DO_SHUTDOWN,
};

/* Faults and habits beyond the usual ones. */
enum kind {
	KIND_IDENTICAL = 1,	/* the application writes again what was there already */
	KIND_BITS = 2,		/* bits of ids, lengths, the record; numbers of slots that are powers of two */
	KIND_MISDIRECTED = 4,	/* a segment lies one slot off, or twice */
	KIND_TARGETED = 8,	/* the newest segment is damaged, or one that was written back */
	KIND_LYING = 16,	/* CACHE loses what it said it had flushed, after its successors were written back */
	KIND_MIXED = 32,	/* the driver is exchanged for one that sums otherwise */
	KIND_SEVERAL = 64,	/* several faults at once */
	KIND_GEOMETRY = 128,	/* CACHE grows or shrinks */
	KIND_OPTIONS = 256,	/* time line, record, zeroed, until-id, slots are given */
};
#define KINDS(X) X(IDENTICAL, "identical") X(BITS, "bits") X(MISDIRECTED, "misdirected") X(TARGETED, "targeted") \
	X(LYING, "lying") X(MIXED, "mixed") X(SEVERAL, "several") X(GEOMETRY, "geometry") X(OPTIONS, "options")

struct operation {
	enum what what;
	unsigned int sector, count;
	uint64_t random;
};

struct later {
	uint64_t random;
	bool unreadable;
};

struct plan {
	uint64_t seed;
	unsigned int kinds;
	struct config config;
	struct operation *operations;
	unsigned int count;
	bool shutdown;	/* at the end; else the power goes */
	struct later later[DAMAGE_MAX];
	unsigned int later_count;
};

/* Without kinds what a seed makes does not depend on them. */
void plan_make(struct plan *plan, uint64_t seed, unsigned int kinds);
void plan_release(struct plan *plan);
/* name: when the run fails, the images at that moment are written as a text for mkcache; NULL: not. images: the last
 * ones are written in any case, also as they are: name.cache, name.backing. */
void plan_run(const struct plan *plan, struct counts *counts, struct verdict *verdict, const char *name, bool images);
/* Leaves out what the failure does not need. */
void plan_shrink(struct plan *plan, const struct verdict *verdict);
/* The pair of a scene as a .wbt, and as images. */
void fixture_write(const struct scene *scene, const struct verdict *verdict, uint64_t seed, const char *name);
void fixture_images(const struct scene *scene, const char *name);

#endif
