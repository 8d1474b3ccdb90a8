/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the library makes of two images after a cut, compared with what is known. */
#ifndef CHECK_H
#define CHECK_H

#include "truth.h"

/* Ways in which no program can do better, each recognised by what is known here. KNOWN LIMITS in wb-flush-dirty(8). */
#define LIMITS(X) \
	X(V0_TORN, "v0: torn data in a segment whose laps agree") \
	X(V0_ROT, "v0: rot where nothing is covered") \
	X(V0_DISCARDED, "v0: only a part of a segment was discarded") \
	X(REUSED_IDS, "segments that the driver dropped, under ids that it used again") \
	X(AHEAD, "BACKING holds what stands ahead of a gap") \
	X(BACKING_AHEAD, "BACKING held what is nowhere on CACHE: written back before it was durable there") \
	X(EVIDENCE_GONE, "BACKING held what only a damaged segment could have shown to be newer") \
	X(RECORD_HID, "BACKING held a foreground write that survived two cuts, over what the log has at or below its record") \
	X(SUPERSEDED, "the driver threw away its only copy: overwritten in RAM, and never written") \
	X(ID_IN_PLACE, "a flipped bit made an id that is as good in its place: N is a power of two") \
	X(NEWEST_DAMAGED, "the newest segment is damaged: it looks like a write that was cut off") \
	X(SALVAGE_CUT, "salvage left out what lies below evidence, as it says") \
	X(NEEDLESS, "prefix refuses although BACKING shows nothing newer that it would write over") \
	X(LEFT_ALONE, "salvage left alone what a segment that is not intact claims, as it says") \
	X(UNVERIFIED, "rot in a segment that cannot be read whole: salvage takes its sectors unverified, as it says") \
	X(CHANCE_BIT, "a torn or rotten segment that one flipped bit explains by chance") \
	X(PATTERN, "lost writes make the ring look restarted, resized or destroyed")

enum limit {
#define X(ID, TEXT) LIMIT_##ID,
	LIMITS(X)
#undef X
	LIMIT_COUNT
};

#define REFUSALS 15u

struct counts {
	uint64_t runs, operations, restarts, cuts, shutdowns, flips, unreadable, misdirected, resized, flushes_cut, checks;
	uint64_t inquests, wild;
	uint64_t taken[3], refused[3];	/* by policy */
	uint64_t orderly_taken, orderly_refused;
	uint64_t reasons[3][REFUSALS], orderly_reasons[REFUSALS];
	uint64_t limits[LIMIT_COUNT];
	uint64_t classes[16];
	uint64_t verified;
};

/* The first thing that was wrong. */
struct verdict {
	bool failed;
	char property[48];
	char text[400];
};

/* After a cut (or a shutdown): CACHE and BACKING as they are, later damage included. */
struct scene {
	const struct driver *driver;
	const uint8_t *cache, *backing;
	uint64_t cache_size, backing_size;
	const struct damage *damage;
	unsigned int damage_count;
	bool survivable;	/* orderly, undamaged: strict must take it */
	bool wild;		/* only the invariants hold */
	bool ambiguous;		/* versions may have the same bytes */
	bool options;		/* options are given, too */
	bool invariants;	/* both are checked in every run */
	uint64_t random;
};

extern const char *const limit_texts[LIMIT_COUNT];
extern const char *const refusal_names[REFUSALS];

void check_scene(struct scene *scene, struct counts *counts, struct verdict *verdict);
/* The version that a sector holds, UINT32_MAX: nothing that was ever written there. */
uint32_t version_of(const uint8_t *bytes, unsigned int sector);

#endif
