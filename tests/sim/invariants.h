/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two invariants that stand above every policy, from outside: from the bytes of both images before and after a run, and
 * from nothing that the library says but its exit status. Only the definitions of claims, time lines and the window are
 * applied, in the plainest way.
 */
#ifndef INVARIANTS_H
#define INVARIANTS_H

#include <stdbool.h>

#include "truth.h"

enum line { LINE_NONE, LINE_NEW, LINE_OLD };

/* A header as it stands there, and what its seal says. */
struct witness {
	uint64_t id;
	unsigned int length;
	bool readable, whole;	/* the header; all of it, and the seal holds under whatever id */
	bool part;		/* some of its data cannot be read: nothing can be said of the seal */
	bool in_place, fits;	/* the length */
	bool raw, complemented;
	bool torn;		/* a torn tail or head, as a power cut leaves it */
	bool written_back;	/* broken above M, and BACKING holds it: it was whole once */
	bool claims;
	int64_t age;		/* of its versions, in the line at hand */
};

struct inquest {
	const struct driver *driver;
	const uint8_t *cache;	/* of as many slots as there are witnesses */
	const struct damage *damage;
	unsigned int damage_count;
	unsigned int slots;	/* of the device; N of the ring is that of the geometry that is told */
	unsigned int ring;	/* N */
	struct witness *witnesses;
	unsigned int new_slots;	/* restarted: the new line is below, else 0 */
	enum line line;
	uint64_t head, first;	/* of the line at hand */
};

/* The pair as it was before the run. */
struct pair {
	const struct driver *driver;
	const uint8_t *cache, *backing;
	uint64_t cache_size;
	const struct damage *damage;
	unsigned int damage_count;
	const struct truth *truth;	/* knows where a single bit flipped; NULL: nothing known */
};

/* ring: the number of slots that the run was told, 0: those of the device. record: R as the run uses it. */
void inquest_open(struct inquest *inquest, const struct pair *pair, unsigned int ring, enum line line, uint64_t record);
void inquest_close(struct inquest *inquest);
/* 1. A sector that was overwritten with something older than what BACKING demonstrably held, or with what CACHE does not hold:
 * its number; else -1. corrected: the run took flipped bits as right. The text says why. */
int64_t inquest_regress(const struct inquest *inquest, const uint8_t *before, const uint8_t *after, bool corrected,
			char *why, size_t size);
/* 2. The first slot that a run left behind that says it left nothing: its number; else -1. */
int64_t inquest_left(const struct inquest *inquest, const uint8_t *after, bool corrected, bool zeroed_skipped, char *why,
		     size_t size);

/* Sectors of BACKING that demonstrably hold version `cut` or a newer one, and that an intact segment below it would overwrite. */
uint64_t inquest_evidence(const struct inquest *inquest, const uint8_t *before, uint64_t cut);
/* A segment of the window that is not intact or cannot be read whole, but whose own header says what it holds, claims a sector. */
bool inquest_hole_claims(const struct inquest *inquest, unsigned int sector);

#endif
