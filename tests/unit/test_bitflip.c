/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/bitflip.c: which broken segments one flipped bit explains, and what correcting them makes of the log. */
#include "cache_builder.h"

#define N 5u /* not a power of two: no flipped bit leads from one id of a slot to another */

struct dialect {
	const char *format;
	unsigned order;
	bool inverted;
};

static const struct dialect dialects[] = {
	{ "v1", 6, false }, { "v2", 10, true }, { "v2", 10, false },
};

/* Ids 11 ... 15 on five slots, five blocks each. */
static void log_in(struct build *b, const struct dialect *dialect)
{
	build_init(b, dialect->format, dialect->order, N);
	b->inverted = dialect->inverted;
	for (uint64_t id = 11; id <= 15; id++)
		build_segment(b, id, PUTS({ id, 0xff, 0 }, { id + 10, 0xff, 0 }, { id + 20, 0x3c, 0 }, { id + 30, 0xff, 0 },
					  { id + 40, 0xff, 0 }));
}

static void flip(struct build *b, uint32_t slot, uint64_t byte, unsigned bit)
{
	build_at(b, slot)[byte] ^= (uint8_t)(1u << bit);
}

static void expect_explained(struct build *b, uint32_t slot, uint32_t byte, unsigned bit)
{
	assert_true(b->ring.slots[slot].flags & WB_SLOT_ONE_BIT);
	assert_int_equal(b->ring.correction_count, 1);
	assert_int_equal(b->ring.corrections[0].slot, slot);
	assert_int_equal(b->ring.corrections[0].byte, byte);
	assert_int_equal(b->ring.corrections[0].bit, bit);
}

static void expect_unexplained(struct build *b, uint32_t slot)
{
	assert_false(b->ring.slots[slot].flags & (WB_SLOT_ONE_BIT | WB_SLOT_SEALED));
	assert_int_equal(b->ring.correction_count, 0);
}

static void expect_whole(struct build *b, uint64_t head)
{
	assert_int_equal(b->ring.head, head);
	assert_int_equal(b->ring.holes, 0);
	assert_int_equal(b->ring.classes[WB_LIVE], N);
}

static void expect_one_correction(struct build *b, uint32_t slot)
{
	assert_int_equal(wb_ring_correct(&b->ring, NULL, NULL, NULL), 1);
	expect_whole(b, 15);
	assert_true(b->ring.slots[slot].flags & WB_SLOT_CORRECTED);
	assert_true(b->ring.slots[slot].flags & WB_SLOT_SEALED);
	assert_int_equal(b->ring.slots[slot].length, 5);
	assert_int_equal(b->ring.slots[slot].dirty_blocks, 5);
	assert_int_equal(b->ring.slots[slot].dirty_sectors, 36);
	assert_int_equal(wb_ring_correct(&b->ring, NULL, NULL, NULL), 0);
}

/* ---- explaining the seal ---- */

static void any_bit_of_the_summed_bytes_is_found(void **state)
{
	const uint32_t first = 512, last = 4096 * 6 - 1;
	uint64_t seed = 1;

	(void)state;
	for (size_t d = 0; d < LENGTH_OF(dialects); d++)
		for (unsigned i = 0; i < 60; i++) {
			uint32_t byte = i == 0 ? first : i == 1 ? last : first + draw_below(&seed, last - first + 1);
			unsigned bit = i % 8;
			struct build b;

			log_in(&b, &dialects[d]);
			flip(&b, 2, byte, bit);
			build_load(&b, 0);
			assert_class(&b, 2, WB_ROTTEN);
			expect_explained(&b, 2, byte, bit);
			expect_one_correction(&b, 2);
			build_release(&b);
		}
}

static void any_bit_of_the_stored_checksum_is_found(void **state)
{
	(void)state;
	for (size_t d = 0; d < LENGTH_OF(dialects); d++)
		for (unsigned bit = 0; bit < 32; bit++) {
			struct build b;

			log_in(&b, &dialects[d]);
			flip(&b, 2, 8 + bit / 8, bit % 8);
			build_load(&b, 0);
			expect_explained(&b, 2, 8 + bit / 8, bit % 8);
			expect_one_correction(&b, 2);
			build_release(&b);
		}
}

static void any_bit_of_the_length_is_found(void **state)
{
	(void)state;
	for (size_t d = 0; d < LENGTH_OF(dialects); d++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct build b;

			log_in(&b, &dialects[d]);
			flip(&b, 2, 12, bit);
			build_load(&b, 0);
			assert_int_equal(b.ring.slots[2].length, 5 ^ 1 << bit);
			expect_explained(&b, 2, 12, bit);
			expect_one_correction(&b, 2);
			build_release(&b);
		}
}

static void corrected_segments_replay_what_was_written(void **state)
{
	static const struct { uint32_t byte; unsigned bit; } flips[] = {
		{ 12, 0 }, { 12, 1 }, { 12, 5 }, { 8, 3 }, { 512 + 16, 5 }, { 512 + 8, 2 }, { 4096, 0 }, { 20000, 7 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(flips); i++)
		for (unsigned sums = 0; sums < 2; sums++) {
			const struct wb_ring_options load = { .backing_sectors = 64 * 8, .sums_memory = sums << 20 };
			const struct wb_scope scope = { .low = 11, .high = 15 };
			const struct wb_replay_options options = { .capacity = ROOM, .verify = true };
			struct wb_replay_result result;
			struct backing backing;
			struct build b;

			log_in(&b, &dialects[0]);
			flip(&b, 2, flips[i].byte, flips[i].bit);
			backing_init(&backing, 64 * 8);
			build_load_on(&b, NULL, &load);
			assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 1);
			assert_int_equal(wb_replay(&b.ring, &scope, backing.dev, &options, &result, NULL, NULL), 0);
			for (uint64_t block = 11; block <= 55; block++)
				for (unsigned s = 0; s < 8; s++) {
					uint64_t id = block % 10 >= 1 && block % 10 <= 5 ? 10 + block % 10 : ON_BACKING;

					if (block / 10 == 3 && !(0x3c >> s & 1))
						id = ON_BACKING;
					assert_true(backing_holds(&backing, block * 8 + s, id));
				}
			backing_release(&backing);
			build_release(&b);
		}
}

static void two_flipped_bits_are_not_explained(void **state)
{
	static const struct { uint32_t byte[2]; unsigned bit[2]; } pairs[] = {
		{ { 5000, 5000 }, { 0, 1 } },  { { 512, 24575 }, { 0, 7 } }, { { 8, 11 }, { 0, 7 } },
		{ { 8, 8 }, { 0, 1 } },        { { 9, 9000 }, { 4, 4 } },    { { 12, 600 }, { 0, 0 } },
		{ { 12, 12 }, { 0, 2 } },      { { 12, 10 }, { 1, 1 } },     { { 513, 4096 }, { 3, 3 } },
	};

	(void)state;
	for (size_t d = 0; d < LENGTH_OF(dialects); d++)
		for (size_t i = 0; i < LENGTH_OF(pairs); i++) {
			struct build b;

			log_in(&b, &dialects[d]);
			for (unsigned j = 0; j < 2; j++)
				flip(&b, 2, pairs[i].byte[j], pairs[i].bit[j]);
			build_load(&b, 0);
			expect_unexplained(&b, 2);
			assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 0);
			assert_int_equal(b.ring.holes, 1);
			build_release(&b);
		}
}

/* The four bytes that take a CRC from one value to another. */
static uint32_t bytes_between(uint32_t from, uint32_t to)
{
	for (unsigned i = 0; i < 32; i++)
		to = to & 0x80000000u ? (to ^ 0x82f63b78u) << 1 | 1 : to << 1;
	return from ^ to;
}

/* A checksum that holds for one block more, and differs in one bit from the one that holds as it stands: either the
 * length or the checksum has a flipped bit, and nobody knows which. */
static void two_single_bits_that_explain_it_are_no_explanation(void **state)
{
	struct build b;
	uint8_t *at;

	(void)state;
	log_in(&b, &dialects[0]);
	at = build_at(&b, 2);
	*build_length_at(&b, 2) = 4;
	uint32_t four = wb_crc32c(~0u, at + 512, 4096 * 5 - 512);
	uint32_t before_the_last = wb_crc32c(~0u, at + 512, 4096 * 6 - 512 - 4), five = four ^ 1u << 17;

	wb_put_le(at + 4096 * 6 - 4, 4, bytes_between(before_the_last, five));
	assert_int_equal(wb_crc32c(~0u, at + 512, 4096 * 6 - 512), five);
	wb_put_le(at + 8, 4, five);
	build_load(&b, 0);
	expect_unexplained(&b, 2);
	wb_put_le(at + 8, 4, five ^ 1u << 3); /* two bits from four: now only the length would do, and it does not */
	build_load(&b, 0);
	expect_unexplained(&b, 2);
	wb_put_le(at + 4096 * 6 - 4, 4, 0x12345678);
	wb_put_le(at + 8, 4, five); /* without the second reading the first is the explanation */
	build_load(&b, 0);
	expect_explained(&b, 2, 8 + 2, 1);
	build_release(&b);
}

static void bits_that_no_seal_covers_change_nothing(void **state)
{
	static const uint32_t bytes[] = { 13, 200, 511, 4096 * 6, 4096 * 8 - 1 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bytes); i++) {
		struct build b;

		log_in(&b, &dialects[0]);
		flip(&b, 2, bytes[i], 1);
		build_load(&b, 0);
		expect_whole(&b, 15);
		assert_int_equal(b.ring.correction_count, 0);
		build_release(&b);
	}
}

/* An upgraded driver leaves both. */
static void any_dialect_of_the_generation_explains(void **state)
{
	struct build b;

	(void)state;
	log_in(&b, &dialects[1]);
	b.inverted = false;
	build_seal(&b, 2); /* raw, and then a bit of it */
	flip(&b, 2, 8, 0);
	build_load(&b, 0);
	expect_explained(&b, 2, 8, 0);
	build_release(&b);
	log_in(&b, &dialects[0]); /* v1 knows one */
	b.inverted = true;
	build_seal(&b, 2);
	flip(&b, 2, 8, 0);
	build_load(&b, 0);
	expect_unexplained(&b, 2);
	build_release(&b);
}

static void both_dialects_explain_in_a_log_that_speaks_both(void **state)
{
	(void)state;
	for (unsigned raw = 0; raw < 2; raw++) {
		struct build b;

		log_in(&b, &dialects[1]);
		b.inverted = false;
		build_seal(&b, 0);
		b.inverted = !raw;
		build_seal(&b, 2);
		flip(&b, 2, 7000, 6);
		build_load(&b, 0);
		expect_explained(&b, 2, 7000, 6);
		build_release(&b);
	}
}

static void lone_broken_segment_is_explained_in_either_dialect(void **state)
{
	(void)state;
	for (size_t d = 0; d < LENGTH_OF(dialects); d++) {
		struct build b;

		build_init(&b, dialects[d].format, dialects[d].order, N);
		b.inverted = dialects[d].inverted;
		build_segment(&b, 1, PUTS({ 3, 0xff, 0 }));
		flip(&b, 0, 4500, 2);
		build_load(&b, 0);
		expect_explained(&b, 0, 4500, 2);
		assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 1);
		assert_int_equal(b.ring.head, 1);
		build_release(&b);
	}
}

static void v0_has_nothing_to_explain_with(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v0", 5, N);
	build_log(&b, 11, 15, 100);
	flip(&b, 2, 13 + 9, 0); /* the metablock's lap */
	build_load(&b, 0);
	expect_unexplained(&b, 2);
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 0);
	build_release(&b);
}

static void unreadable_data_is_not_explained(void **state)
{
	struct build b;
	const struct wb_ring_options options = { .backing_sectors = 0 };

	(void)state;
	log_in(&b, &dialects[0]);
	flip(&b, 2, 5000, 0);
	struct wb_range bad = { wb_slot_offset(&b.geometry, 2) + 8192, 512 };

	build_load_on(&b, build_bad(&b, &bad, 1), &options);
	expect_unexplained(&b, 2);
	build_release(&b);
}

/* One of the two flipped bits goes, or everything becomes unreadable, at any of the reads: what is corrected then is the bit
 * that was flipped, and only where it was found in what the slot says of itself. */
static void what_reads_differently_the_second_time_is_corrected_rightly_or_not_at_all(void **state)
{
	static const struct { uint32_t heals, stays; bool dies; } cases[] = {
		{ 5000, 0, false }, { 12, 0, false }, { 12, 5000, false }, { 512, 0, false }, { 0, 5000, true }, { 0, 12, true },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		uint64_t reads = 0; /* of a run in which nothing changes */
		unsigned whole = 0, explained = 0, broken = 0;

		for (uint64_t from = 0; from <= reads; from++) {
			const struct wb_ring_options options = { .jobs = 1 };
			struct wb_dev *inner;
			struct spy spy;
			struct build b;

			log_in(&b, &dialects[0]);
			if (cases[i].heals)
				flip(&b, 2, cases[i].heals, 4);
			if (cases[i].stays)
				flip(&b, 2, cases[i].stays, 4);
			if (cases[i].dies) /* and its explanation is not taken for that of 2 */
				flip(&b, 1, cases[i].stays, 5);
			assert_int_equal(wb_dev_memory(&inner, b.bytes, b.geometry.bytes, NULL), 0);
			spy_init(&spy, inner);
			if (cases[i].dies)
				spy.dead_read = from;
			else
				spy.change_read = from;
			spy.change_at = wb_slot_offset(&b.geometry, 2) + cases[i].heals;
			b.dev = &spy.dev;
			if (!build_try_load(&b, b.dev, &options, NULL)) {
				const struct wb_slot *slot = &b.ring.slots[2];
				const struct wb_correction *fix = wb_ring_correction(&b.ring, 2);
				uint32_t bit = cases[i].stays ? cases[i].stays : cases[i].heals;

				reads = from ? reads : spy.reads;
				whole += slot->flags & WB_SLOT_SEALED && slot->length == 5;
				explained += fix != NULL;
				broken += !fix && !(slot->flags & WB_SLOT_SEALED);
				assert_int_equal(fix != NULL, (slot->flags & WB_SLOT_ONE_BIT) != 0);
				if (fix) {
					assert_true(fix->byte == bit && fix->bit == 4);
					assert_int_equal(slot->length, bit == 12 ? 5 ^ 16 : 5);
				}
			}
			wb_ring_release(&b.ring);
			wb_dev_close(inner);
			b.dev = NULL;
			build_release(&b);
		}
		assert_int_equal(whole > 0, !cases[i].stays); /* from the first read on */
		assert_true(broken);                          /* between the two */
		assert_true(explained);
	}
}

/* Metadata that are not what the ring was judged by are not corrected either. */
static void metadata_that_changed_since_are_not_corrected(void **state)
{
	const struct wb_ring_options options = { .jobs = 1 };
	struct wb_error err = { 0 };
	struct wb_dev *inner;
	struct spy spy;
	struct build b;

	(void)state;
	log_in(&b, &dialects[0]);
	flip(&b, 2, 5000, 4);
	assert_int_equal(wb_dev_memory(&inner, b.bytes, b.geometry.bytes, NULL), 0);
	spy_init(&spy, inner);
	build_load_on(&b, &spy.dev, &options);
	expect_explained(&b, 2, 5000, 4);
	spy.change_read = spy.reads + 1;
	spy.change_at = wb_slot_offset(&b.geometry, 2) + 520;
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, &err), -WB_ECHANGED);
	assert_int_equal(err.offset, wb_slot_offset(&b.geometry, 2));
	wb_ring_release(&b.ring);
	wb_dev_close(inner);
	b.dev = NULL;
	build_release(&b);
}

/* ---- correcting ids ---- */

/* Belongs to another slot of the window: a segment that lies twice or one slot off is no flipped bit. */
static bool is_elsewhere(uint64_t id)
{
	return id > 10 && id <= 15;
}

static void any_bit_of_any_id_is_corrected_unless_the_id_is_one_of_the_window(void **state)
{
	(void)state;
	for (uint64_t id = 11; id <= 14; id++)
		for (unsigned bit = 0; bit < 64; bit++) {
			struct build b;
			uint32_t slot = (uint32_t)(id - 11);
			bool corrected = !is_elsewhere(id ^ UINT64_C(1) << bit);

			log_in(&b, &dialects[0]);
			flip(&b, slot, bit / 8, bit % 8);
			build_load(&b, 0);
			assert_class(&b, slot, WB_ALIEN_ID);
			if (wb_ring_correct(&b.ring, NULL, NULL, NULL) != corrected)
				fail_msg("bit %u of id %u", bit, (unsigned)id);
			if (corrected) {
				expect_whole(&b, 15);
				assert_int_equal(b.ring.slots[slot].id, id);
				assert_int_equal(b.ring.corrections[0].byte, bit / 8);
				assert_int_equal(b.ring.corrections[0].bit, bit % 8);
			}
			build_release(&b);
		}
}

/* The newest: without it the window ends at 14, and 15 is the next. */
/* Ids 3 to 9 in nine slots, and 10 one slot off, over 2: one bit is between those two. */
static void next_segment_one_slot_off_is_not_corrected(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v1", 5, 9);
	build_log(&b, 3, 9, 1000);
	build_segment_at(&b, 1, 10, PUTS({ 10, 0xff, 0 }));
	build_load(&b, 0);
	assert_class(&b, 1, WB_ALIEN_ID);
	assert_int_equal(b.ring.id_bit_count, 0);
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 0);
	build_release(&b);
}

static void flipped_id_of_the_newest_is_corrected(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		struct build b;

		log_in(&b, &dialects[0]);
		flip(&b, 4, bit / 8, bit % 8);
		build_load(&b, 0);
		assert_int_equal(b.ring.head, 14);
		assert_class(&b, 4, WB_ALIEN_ID);
		/* 14, 13 and 11 are ids of the window; 10 and 11 are one bit from what was there before */
		assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), bit > 2 ? 1 : 0);
		if (bit > 2)
			expect_whole(&b, 15);
		build_release(&b);
	}
}

static void id_rests_on_two_segments_that_are_not_corrected(void **state)
{
	(void)state;
	for (unsigned broken = 0; broken < 2; broken++) {
		struct build b;

		build_init(&b, "v1", 5, N);
		build_log(&b, 1, 3, 100);
		flip(&b, 1, 3, 0);
		if (broken)
			flip(&b, 0, 5000, 0); /* is corrected itself, and no foundation */
		build_load(&b, 0);
		assert_class(&b, 1, WB_ALIEN_ID);
		assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 1);
		assert_class(&b, 1, broken ? WB_ALIEN_ID : WB_LIVE);
		build_release(&b);
	}
}

/* Ids 9 ... 13 of a ring of eight slots on a device that has sixteen now; 14 is damaged, so that no number fits all. */
static void same_bit_of_several_ids_is_another_geometry(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v1", 5, 16);
	for (uint64_t id = 5; id <= 8; id++)
		build_segment(&b, id, PUTS({ id, 0xff, 0 }));
	for (uint64_t id = 9; id <= 12; id++)
		build_segment_at(&b, (uint32_t)(id - 9), id, PUTS({ id, 0xff, 0 }));
	wb_put_le(build_id_at(&b, 2), 8, 11 ^ 1u << 20 ^ 3);
	build_seal(&b, 2);
	build_load(&b, 0);
	assert_int_equal(b.ring.head, 8);
	assert_true(b.ring.resized);
	assert_int_equal(b.ring.id_bit_count, 0);
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 0);
	build_release(&b);
}

/* Nothing is in its place, so there is nothing to correct an id against: cases of eight slots, grown to nine. */
static void nothing_is_corrected_without_a_window(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v2", 10, 9);
	for (uint64_t id = 9; id <= 16; id++)
		build_segment_at(&b, (uint32_t)(id - 9), id == 14 ? 28 : id, PUTS({ id, 0xff, 0 }));
	build_load(&b, 0);
	assert_int_equal(b.ring.head, 0);
	assert_true(b.ring.resized);
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 0);
	build_release(&b);
}

static void id_one_bit_away_from_both_laps_is_not_corrected(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit <= 2; bit += 2) { /* 15 reads as 14 or 11; so would 10 with the other bit flipped */
		struct build b;

		log_in(&b, &dialects[0]);
		flip(&b, 4, 0, bit);
		build_load(&b, 0);
		assert_int_equal(b.ring.head, 14);
		assert_class(&b, 4, WB_ALIEN_ID);
		assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 0);
		build_release(&b);
	}
}

static void id_that_a_flipped_bit_turned_into_zero_is_corrected(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v1", 5, N);
	build_log(&b, 14, 18, 100);
	wb_put_le(build_id_at(&b, 0), 8, 0); /* 16 */
	build_load(&b, 0);
	assert_class(&b, 0, WB_ALIEN_ID);
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 1);
	expect_whole(&b, 18);
	build_release(&b);
}

static void id_two_bits_away_is_not_corrected(void **state)
{
	struct build b;

	(void)state;
	log_in(&b, &dialects[0]);
	wb_put_le(build_id_at(&b, 2), 8, 13 ^ 0x300);
	build_load(&b, 0);
	assert_class(&b, 2, WB_ALIEN_ID);
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 0);
	assert_int_equal(b.ring.holes, 1);
	build_release(&b);
}

/* v0's laps tell what the id was, whatever lap it claims now. */
static void flipped_id_of_v0_is_corrected_where_the_laps_fit(void **state)
{
	static const struct { unsigned bit; int corrected; } cases[] = {
		{ 0, 0 }, /* 12, which the next slot holds */
		{ 1, 0 }, /* 15 */
		{ 2, 1 }, /* 9, of the lap before */
		{ 3, 1 }, { 4, 1 }, { 16, 1 }, { 63, 1 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++)
		for (unsigned lap = 0; lap < 2; lap++) {
			struct build b;

			build_init(&b, "v0", 5, N);
			build_log(&b, 11, 15, 100);
			flip(&b, 2, cases[i].bit / 8, cases[i].bit % 8);
			if (lap) { /* all agree, on a later one */
				flip(&b, 2, 9, 3);
				flip(&b, 2, 13 + 9, 3);
			}
			build_load(&b, 0);
			assert_class(&b, 2, WB_ALIEN_ID);
			assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), lap ? 0 : cases[i].corrected);
			assert_int_equal(b.ring.holes, lap || !cases[i].corrected);
			build_release(&b);
		}
}

static void flipped_id_of_the_next_segment_of_v0_is_corrected(void **state)
{
	struct build b;

	(void)state;
	build_init(&b, "v0", 5, N);
	build_log(&b, 7, 11, 100);
	flip(&b, 0, 0, 2); /* 11 becomes 15 */
	build_load(&b, 0);
	assert_int_equal(b.ring.head, 10);
	assert_class(&b, 0, WB_ALIEN_ID);
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 1);
	assert_int_equal(b.ring.head, 11);
	assert_class(&b, 0, WB_LIVE);
	build_release(&b);
}

static void flipped_id_bit_that_stays_in_place_is_corrected_upwards(void **state)
{
	(void)state;
	for (unsigned bit = 4; bit < 64; bit++) {
		struct build b;

		build_init(&b, "v1", 5, 8);
		build_log(&b, 9, 16, 100);
		flip(&b, 4, bit / 8, bit % 8); /* 13 + 2^bit belongs into slot 4, too */
		build_load(&b, 0);
		assert_int_equal(b.ring.head, 16);
		assert_int_equal(b.ring.holes, 1);
		assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 1);
		assert_int_equal(b.ring.holes, 0);
		assert_int_equal(b.ring.slots[4].id, 13);
		build_release(&b);
	}
}

/* ---- all at once ---- */

/* What a correction makes possible is not corrected in its turn. */
static void corrections_make_no_chain(void **state)
{
	struct build b;

	(void)state;
	log_in(&b, &dialects[0]);
	for (uint64_t id = 16; id <= 18; id++) {
		uint32_t slot = (uint32_t)(id - 16);

		build_segment(&b, id, PUTS({ id, 0xff, 0 }));
		flip(&b, slot, 6000, slot);
	}
	build_load(&b, 0);
	assert_int_equal(b.ring.head, 15);
	assert_class(&b, 0, WB_ROTTEN);
	assert_class(&b, 1, WB_TORN_TAIL);
	assert_class(&b, 2, WB_TORN_TAIL);
	for (int corrected = 1; corrected >= 0; corrected--) {
		assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), corrected);
		assert_int_equal(b.ring.head, 16);
		assert_class(&b, 1, WB_ROTTEN);
		assert_class(&b, 2, WB_TORN_TAIL);
	}
	build_release(&b);
}

static void several_faults_are_corrected_together(void **state)
{
	struct build b;

	(void)state;
	log_in(&b, &dialects[0]);
	flip(&b, 0, 700, 1);
	flip(&b, 1, 9, 2);
	flip(&b, 3, 4, 5);
	build_load(&b, 0);
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 3);
	expect_whole(&b, 15);
	build_release(&b);
}

static void torn_writes_are_not_corrected(void **state)
{
	struct build b;

	(void)state;
	log_in(&b, &dialects[0]);
	build_torn(&b, 16, 3);
	build_load(&b, 0);
	assert_class(&b, 0, WB_TORN_TAIL);
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 0);
	assert_int_equal(b.ring.head, 15);
	build_release(&b);
}

static void one_bit_of_a_torn_head_is_corrected(void **state)
{
	struct build b;

	(void)state;
	log_in(&b, &dialects[0]);
	flip(&b, 0, 5555, 3);
	build_load(&b, 0);
	assert_class(&b, 0, WB_ROTTEN);
	assert_int_equal(b.ring.holes, 1);
	expect_one_correction(&b, 0);
	build_release(&b);
}

static void cache_itself_is_never_touched(void **state)
{
	struct build b;
	uint8_t *before;

	(void)state;
	log_in(&b, &dialects[0]);
	flip(&b, 2, 12, 1);
	flip(&b, 3, 6000, 1);
	before = malloc(b.geometry.bytes);
	memcpy(before, b.bytes, b.geometry.bytes);
	build_load(&b, 0);
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 2);
	assert_memory_equal(before, b.bytes, b.geometry.bytes);
	free(before);
	build_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_bit_of_the_summed_bytes_is_found),
		cmocka_unit_test(any_bit_of_the_stored_checksum_is_found),
		cmocka_unit_test(any_bit_of_the_length_is_found),
		cmocka_unit_test(corrected_segments_replay_what_was_written),
		cmocka_unit_test(two_flipped_bits_are_not_explained),
		cmocka_unit_test(two_single_bits_that_explain_it_are_no_explanation),
		cmocka_unit_test(bits_that_no_seal_covers_change_nothing),
		cmocka_unit_test(any_dialect_of_the_generation_explains),
		cmocka_unit_test(both_dialects_explain_in_a_log_that_speaks_both),
		cmocka_unit_test(lone_broken_segment_is_explained_in_either_dialect),
		cmocka_unit_test(v0_has_nothing_to_explain_with),
		cmocka_unit_test(unreadable_data_is_not_explained),
		cmocka_unit_test(what_reads_differently_the_second_time_is_corrected_rightly_or_not_at_all),
		cmocka_unit_test(metadata_that_changed_since_are_not_corrected),
		cmocka_unit_test(any_bit_of_any_id_is_corrected_unless_the_id_is_one_of_the_window),
		cmocka_unit_test(next_segment_one_slot_off_is_not_corrected),
		cmocka_unit_test(flipped_id_of_the_newest_is_corrected),
		cmocka_unit_test(id_rests_on_two_segments_that_are_not_corrected),
		cmocka_unit_test(same_bit_of_several_ids_is_another_geometry),
		cmocka_unit_test(nothing_is_corrected_without_a_window),
		cmocka_unit_test(id_one_bit_away_from_both_laps_is_not_corrected),
		cmocka_unit_test(id_that_a_flipped_bit_turned_into_zero_is_corrected),
		cmocka_unit_test(id_two_bits_away_is_not_corrected),
		cmocka_unit_test(flipped_id_of_v0_is_corrected_where_the_laps_fit),
		cmocka_unit_test(flipped_id_of_the_next_segment_of_v0_is_corrected),
		cmocka_unit_test(flipped_id_bit_that_stays_in_place_is_corrected_upwards),
		cmocka_unit_test(corrections_make_no_chain),
		cmocka_unit_test(several_faults_are_corrected_together),
		cmocka_unit_test(torn_writes_are_not_corrected),
		cmocka_unit_test(one_bit_of_a_torn_head_is_corrected),
		cmocka_unit_test(cache_itself_is_never_touched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
