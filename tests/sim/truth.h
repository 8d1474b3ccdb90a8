/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is on CACHE after a cut and damage, by those who know what was written: classes, window, evidence. */
#ifndef TRUTH_H
#define TRUTH_H

#include "driver.h"

#define DAMAGE_MAX 8u

/* Later damage: a flipped bit, a lost id, or sectors that cannot be read. */
struct damage {
	uint64_t offset;	/* byte of CACHE */
	uint32_t sectors;	/* unreadable; 0: a changed byte */
};

struct place {
	uint64_t id;			/* as it stands there */
	unsigned int length;
	uint32_t lap;			/* v0 */
	bool header_lost, data_lost;	/* unreadable */
	bool sealed, valid, in_place;
	bool one_bit;			/* was whole before a single bit flipped */
	bool torn;			/* v0: valid, but its data is not all there */
	const struct written *whole;	/* what is there, whole */
	int class_;			/* enum wb_class, as recovery.md has it */
	bool hole_copy;			/* a hole whose own metablocks are there, unverified */
};

struct truth {
	const struct driver *driver;
	const uint8_t *bytes;		/* of CACHE */
	const struct damage *damage;
	unsigned int damage_count;
	struct place *places;
	uint64_t head, first, torn_tail, newest_ahead, record;
	uint64_t written;		/* the newest segment of this life that is whole: what M should be */
	unsigned int holes;
	bool patterned;			/* restarted, destroyed, or looks resized */
	bool zombies;			/* whole segments that the driver had dropped */
	bool partly_discarded;		/* v0 */
	bool torn;			/* v0: some segment of the window has lost data */
	bool zeroed;			/* v0 */
};

void truth_find(struct truth *truth, const struct driver *driver, const uint8_t *bytes, const struct damage *damage,
		unsigned int damage_count);
void truth_release(struct truth *truth);
bool truth_is_hole(const struct truth *truth, uint64_t id);
bool truth_readable(const struct truth *truth, uint64_t offset, uint32_t length);
/* A sector's copy in the index-th block of a slot, NULL when the metablock there is about another or does not hold it. */
const uint8_t *truth_copy(const struct truth *truth, unsigned int slot, unsigned int index, unsigned int sector);
#endif
