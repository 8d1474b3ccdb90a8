/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sector 0 and the record: what is left over in them, what cannot be read, and what is no cache at all. */
#include "cache_builder.h"

static const struct wb_overrides none;
static const struct wb_overrides any = { .any_super = true };

struct found {
	unsigned of[WB_RULES], damage, warnings;
};

static int note(void *context, const struct wb_finding *finding)
{
	struct found *found = context;

	found->of[finding->rule]++;
	found->damage += finding->severity == WB_DAMAGE;
	found->warnings += finding->severity == WB_WARNING;
	return 0;
}

/* Opens without overrides but those given, and loads: as commands do. */
static int look(struct build *b, struct wb_dev *dev, const struct wb_overrides *overrides, enum wb_record_use use,
		struct found *found)
{
	const struct wb_ring_options options = { .jobs = 1, .record_use = use };
	int ret = wb_cache_open(&b->cache, dev, overrides, NULL);

	*found = (struct found){ .damage = 0 };
	if (ret || !b->cache.geometry.format)
		return ret;
	wb_ring_release(&b->ring);
	assert_int_equal(wb_ring_load(&b->ring, &b->cache, &options, NULL, NULL), 0);
	assert_int_equal(wb_check(&b->ring, NULL, note, found, NULL), 0);
	return 0;
}

static int look_in_memory(struct build *b, const struct wb_overrides *overrides, struct found *found)
{
	if (!b->dev)
		assert_int_equal(wb_dev_memory(&b->dev, b->bytes, b->geometry.bytes, NULL), 0);
	return look(b, b->dev, overrides, WB_RECORD_AUTO, found);
}

/* ---- what is left over ---- */

static const uint8_t order_bytes[] = { 0, 3, 5, 7, 10, 11, 0x3c, 0x64, 0xff };

static void tail_of_zeroes(uint8_t *sector) { (void)sector; }
static void tail_of_random(uint8_t *sector) { fill_sector(sector, 5, 7); }

static void tail_of_an_mbr(uint8_t *sector)
{
	static const uint8_t entry[16] = { 0x80, 0x20, 0x21, 0, 0x83, 0xfe, 0xff, 0xff, 0, 8, 0, 0, 0, 0, 0x40, 0 };

	memset(sector + 64, 0x90, 300);
	memcpy(sector + 446, entry, sizeof(entry));
	sector[510] = 0x55;
	sector[511] = 0xaa;
}

static void tail_of_our_marker(uint8_t *sector)
{
	const struct wb_marker marker = { .reason = WB_END_FLUSHED, .time = 1700000000, .head = 9, .digest = 1 };

	wb_marker_encode(sector, &marker);
}

static void (*const tails[])(uint8_t *sector) = { tail_of_zeroes, tail_of_random, tail_of_an_mbr, tail_of_our_marker };

static void log_sound(struct build *b) { build_log(b, 1, 5, 100); }
static void log_wrapped(struct build *b) { build_log(b, 4, 9, 100); }
static void log_empty(struct build *b) { (void)b; }
static void log_of_one_flush(struct build *b) { build_segment(b, 1, NULL, 0); }
static void log_torn_first(struct build *b) { build_torn(b, 1, 3); }
static void log_torn_tail(struct build *b)
{
	build_log(b, 4, 9, 100);
	build_torn(b, 10, 3);
}

static void (*const logs[])(struct build *b) = {
	log_sound, log_wrapped, log_empty, log_of_one_flush, log_torn_first, log_torn_tail,
};

/* A driver before 2.2.8 writes the magic, and keeps what the sector held before. */
static void leave_behind(struct build *b, void (*tail)(uint8_t *sector), uint8_t order_byte)
{
	memset(b->bytes, 0, WB_SECTOR);
	tail(b->bytes);
	wb_put_le(b->bytes, 4, WB_MAGIC);
	b->bytes[WB_ORDER_BYTE] = order_byte;
}

static void byte_4_and_the_tail_of_sector_0_are_no_damage_of_a_v2_cache(void **state)
{
	(void)state;
	for (size_t l = 0; l < LENGTH_OF(logs); l++)
		for (size_t t = 0; t < LENGTH_OF(tails); t++)
			for (size_t o = 0; o < LENGTH_OF(order_bytes); o++) {
				uint8_t order = order_bytes[o];
				bool legal = order >= 4 && order <= 11, written = l < 2 || l == 5, clean = !t && !order;
				struct wb_forecast forecast;
				struct found found;
				struct build b;

				build_init(&b, "v2", 10, 6);
				logs[l](&b);
				leave_behind(&b, tails[t], order);
				assert_int_equal(look_in_memory(&b, &none, &found), 0);
				assert_int_equal(b.cache.super, WB_SUPER_GOOD);
				assert_int_equal(found.damage, 0);
				assert_int_equal(found.of[WB_RULE_TIE], 0);
				/* unwritten, under what may be an order and nothing else that is left over: v0 or v1 */
				if (written || !legal || t) {
					if (strcmp(b.cache.geometry.format->name, "v2"))
						fail_msg("log %zu, tail %zu, order byte %u: %s", l, t, order,
							 b.cache.geometry.format->name);
					assert_int_equal(found.of[WB_RULE_RESIDUE], !clean && (order != 10 || t));
				}
				if (written)
					assert_int_equal(b.ring.head, l ? 9 : 5);
				assert_int_equal(wb_forecast(&forecast, &b.cache, NULL, 1u << 20, NULL, NULL), 0);
				assert_true(forecast.outcome == WB_OUTCOME_OK || forecast.outcome == WB_OUTCOME_NOTHING);
				wb_forecast_release(&forecast);
				build_release(&b);
			}
}

static void v1_cache_with_a_tail_is_sound(void **state)
{
	(void)state;
	for (size_t t = 1; t < LENGTH_OF(tails); t++) {
		struct found found;
		struct build b;

		build_init(&b, "v1", 7, 6);
		build_log(&b, 4, 9, 100);
		leave_behind(&b, tails[t], 7);
		assert_int_equal(look_in_memory(&b, &none, &found), 0);
		assert_string_equal(b.cache.geometry.format->name, "v1");
		assert_int_equal(found.damage, 0);
		assert_int_equal(found.of[WB_RULE_RESIDUE], 1);
		build_release(&b);
	}
}

static void marker_is_harmless_under_the_magic_and_its_old_form_is_read(void **state)
{
	const struct wb_marker in = { .reason = WB_END_RESET, .time = 5, .head = 7 };
	uint8_t sector[WB_SECTOR];
	struct wb_marker out;

	(void)state;
	wb_marker_encode(sector, &in);
	assert_int_equal(sector[WB_ORDER_BYTE], 0);
	assert_true(wb_marker_decode(sector, &out));
	sector[WB_ORDER_BYTE] = 'd';
	wb_put_le(sector + 508, 4, ~wb_crc32c(~0u, sector, 508));
	assert_memory_equal(sector, "WBended", 8);
	assert_true(wb_marker_decode(sector, &out));
	assert_int_equal(out.head, 7);
	sector[WB_ORDER_BYTE] = 1;
	wb_put_le(sector + 508, 4, ~wb_crc32c(~0u, sector, 508));
	assert_false(wb_marker_decode(sector, &out));
}

static void ended_log_under_the_magic_of_the_next_format_is_a_v2_cache(void **state)
{
	struct found found;
	struct build b;

	(void)state;
	build_init(&b, "v2", 10, 6);
	tail_of_our_marker(b.bytes);
	wb_put_le(b.bytes, 4, WB_MAGIC);
	assert_int_equal(look_in_memory(&b, &none, &found), 0);
	assert_string_equal(b.cache.geometry.format->name, "v2");
	assert_int_equal(found.damage + found.warnings, 0);
	assert_int_equal(found.of[WB_RULE_RESIDUE], 1);
	build_release(&b);
}

static void order_11_under_an_order_byte_of_0_is_v0_by_its_laps(void **state)
{
	struct found found;
	struct build b;

	(void)state;
	build_init(&b, "v0", 11, 3);
	build_log(&b, 1, 3, 100);
	b.bytes[WB_ORDER_BYTE] = 0;
	assert_int_equal(look_in_memory(&b, &none, &found), 0);
	assert_string_equal(b.cache.geometry.format->name, "v0");
	assert_int_equal(b.cache.geometry.order, 11);
	assert_int_equal(found.damage, 0);
	build_release(&b);
}

/* ---- the order byte and the word of one segment ---- */

static void order_byte_is_not_blamed_on_the_word_of_one_segment(void **state)
{
	struct found found;
	struct build b, grown;

	(void)state;
	build_init(&b, "v1", 6, 1);
	build_log(&b, 6, 6, 100);
	build_init(&grown, "v1", 6, 2);
	memcpy(grown.bytes, b.bytes, b.geometry.bytes);
	assert_int_equal(look_in_memory(&grown, &none, &found), 0);
	assert_int_equal(grown.cache.super, WB_SUPER_GOOD);
	assert_int_equal(grown.cache.geometry.order, 6);
	assert_int_equal(found.of[WB_RULE_RESIZED], 1);
	assert_int_equal(found.of[WB_RULE_BAD_SUPERBLOCK], 0);
	assert_int_equal(grown.ring.candidates[0], 1);
	build_release(&grown);
	build_release(&b);
}

static void order_byte_that_two_segments_contradict_is_damage(void **state)
{
	static const uint8_t bytes[] = { 3, 4, 12, 255 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bytes); i++) {
		struct found found;
		struct build b;

		build_init(&b, "v1", 7, 6);
		build_log(&b, 2, 3, 100);
		b.bytes[WB_ORDER_BYTE] = bytes[i];
		assert_int_equal(look_in_memory(&b, &none, &found), -WB_ESUPER);
		assert_int_equal(look_in_memory(&b, &any, &found), 0);
		assert_int_equal(found.of[WB_RULE_BAD_SUPERBLOCK], 1);
		assert_int_equal(b.cache.geometry.order, 7);
		assert_null(wb_repair_obstacle(&b.ring, WB_REPAIR_SUPER, false));
		build_release(&b);
	}
}

static void one_segment_does_not_prove_the_order_that_a_repair_would_write(void **state)
{
	struct found found;
	struct build b;

	(void)state;
	build_init(&b, "v1", 7, 6);
	build_log(&b, 3, 3, 100);
	b.bytes[WB_ORDER_BYTE] = 12; /* no order, so nothing is left out because of it */
	assert_int_equal(look_in_memory(&b, &none, &found), -WB_ESUPER);
	assert_int_equal(look_in_memory(&b, &any, &found), 0);
	assert_non_null(wb_repair_obstacle(&b.ring, WB_REPAIR_SUPER, false));
	build_release(&b);
}

static void one_segment_that_v1_and_v2_read_alike_is_no_tie(void **state)
{
	static const uint8_t bytes[] = { 0, 4, 5, 7, 10, 12 };

	(void)state;
	for (size_t i = 0; i < 2 * LENGTH_OF(bytes); i++) {
		struct found found;
		struct build b;

		build_init(&b, "v1", 5, 70);
		build_segment(&b, 1, NULL, 0);
		b.bytes[WB_ORDER_BYTE] = bytes[i / 2];
		b.bytes[0] ^= i % 2; /* without the magic every order is looked at */
		assert_int_equal(look_in_memory(&b, &any, &found), 0);
		assert_int_equal(found.of[WB_RULE_TIE], 0);
		assert_int_equal(b.ring.head, 1);
		build_release(&b);
	}
}

/* Formatting zeroes the first 4 KiB of each slot, and what an older cache of another order held elsewhere stays. */
static void remains_of_an_older_cache_do_not_speak_against_the_order_byte(void **state)
{
	static const uint8_t bytes[] = { 0, 12, 0x64 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bytes); i++) {
		struct found found;
		struct build b, older;

		build_init(&older, "v1", 7, 16);
		build_log(&older, 1, 16, 100);
		build_init(&b, "v2", 10, 2);
		memcpy(b.bytes, older.bytes, b.geometry.bytes);
		build_super(&b);
		memset(build_at(&b, 0), 0, WB_BLOCK);
		memset(build_at(&b, 1), 0, WB_BLOCK);
		build_segment(&b, 1, PUTS({ 1, 0xff, 0 }));
		b.bytes[WB_ORDER_BYTE] = bytes[i];
		assert_int_equal(look_in_memory(&b, &none, &found), 0);
		assert_string_equal(b.cache.geometry.format->name, "v2");
		assert_int_equal(found.damage, 0);
		assert_int_equal(b.ring.head, 1);
		build_release(&older);
		build_release(&b);
	}
}

/* ---- what is no cache ---- */

static void expect_no_cache(uint8_t *bytes, uint64_t size, const char *what, unsigned which)
{
	const struct wb_overrides *const overrides[] = { &none, &any };
	struct wb_cache cache;
	struct wb_dev *dev;

	assert_int_equal(wb_dev_memory(&dev, bytes, size, NULL), 0);
	for (size_t i = 0; i < LENGTH_OF(overrides); i++)
		if (wb_cache_open(&cache, dev, overrides[i], NULL) != -WB_ENOTCACHE)
			fail_msg("%s %u in %llu bytes is a cache", what, which, (unsigned long long)size);
	wb_dev_close(dev);
}

static void device_of_one_repeated_byte_is_no_cache(void **state)
{
	static const uint64_t sizes[] = { (1 << 20) + (8 << 10), (2 << 20), (2 << 20) + (64 << 10), 5 << 20 };
	uint8_t *bytes = malloc(sizes[3]);

	(void)state;
	for (unsigned byte = 0; byte < 256; byte++) {
		memset(bytes, (int)byte, sizes[3]);
		for (size_t i = 0; i < LENGTH_OF(sizes); i++)
			expect_no_cache(bytes, sizes[i], "byte", byte);
	}
	free(bytes);
}

static void device_of_a_repeated_pattern_is_no_cache(void **state)
{
	static const uint64_t size = (4 << 20) + (64 << 10);
	static const unsigned periods[] = { 2, 3, 4, 5, 8, 12, 13, 16, 26, 39, 512, 4096, 8192, 65536 };
	uint8_t *bytes = malloc(size);

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(periods); i++)
		for (unsigned seed = 0; seed < 4; seed++) {
			for (uint64_t at = 0; at < size; at++)
				bytes[at] = (uint8_t)mix(at % periods[i] + 1000 * seed);
			expect_no_cache(bytes, size, "period", periods[i]);
		}
	free(bytes);
}

static void device_of_random_bytes_is_no_cache(void **state)
{
	static const uint64_t size = 4 << 20;
	uint8_t *bytes = malloc(size);

	(void)state;
	for (unsigned seed = 0; seed < 8; seed++) {
		for (uint64_t at = 0; at < size; at += 8)
			wb_put_le(bytes + at, 8, mix(at + seed * size + 1));
		expect_no_cache(bytes, size, "seed", seed);
	}
	free(bytes);
}

/* Laps that agree, as v0 would have them, but are not the lap of the id; and the same segment in every slot. */
static void laps_without_their_id_prove_nothing(void **state)
{
	struct build b;

	(void)state;
	for (int same = 0; same < 2; same++) {
		build_init(&b, "v0", 7, 6);
		build_log(&b, 7, 12, 100);
		for (uint32_t slot = 0; slot < 6; slot++)
			if (same)
				memcpy(build_at(&b, slot), build_at(&b, 0), wb_slot_size(&b.geometry));
			else
				wb_put_le(build_at(&b, slot) + 9, 4, 77), wb_put_le(build_at(&b, slot) + 22, 4, 77);
		memset(b.bytes, 0, WB_SECTOR);
		expect_no_cache(b.bytes, b.geometry.bytes, "laps", (unsigned)same);
		build_release(&b);
	}
}

/* ---- what cannot be read ---- */

static const struct wb_range bad_super[] = { { 0, 512 } }, bad_record[] = { { 2047 * 512, 512 } };

static void log_under_an_unreadable_sector_0_opens_when_told_to(void **state)
{
	static const char *const formats[] = { "v0", "v1", "v2" };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(formats); i++) {
		struct found found;
		struct wb_error err;
		struct wb_cache cache;
		struct build b;

		build_init(&b, formats[i], formats[i][1] == '2' ? 10 : 7, 6);
		build_log(&b, 4, 9, 100);
		b.dev = build_bad(&b, bad_super, 1);
		assert_int_equal(wb_cache_open(&cache, b.dev, &none, &err), -WB_ESUPER);
		assert_int_equal(cache.super, WB_SUPER_UNREADABLE);
		assert_int_equal(look(&b, b.dev, &any, WB_RECORD_AUTO, &found), 0);
		assert_string_equal(b.cache.geometry.format->name, formats[i]);
		assert_int_equal(b.ring.head, 9);
		assert_int_equal(found.damage, 1);
		assert_int_equal(found.of[WB_RULE_UNREADABLE_SUPERBLOCK], 1);
		assert_non_null(wb_repair_obstacle(&b.ring, WB_REPAIR_SUPER, true));
		build_release(&b);
	}
}

static void unreadable_sector_0_over_nothing_is_an_error(void **state)
{
	struct wb_cache cache;
	struct wb_error err;
	struct build b;

	(void)state;
	build_init(&b, "v2", 10, 6);
	b.dev = build_bad(&b, bad_super, 1);
	assert_int_equal(wb_cache_open(&cache, b.dev, &any, &err), -WB_EIO);
	assert_int_equal(err.sys, EIO);
	assert_int_equal(err.offset, 0);
	build_release(&b);
}

static void unreadable_record_is_none_in_v1_and_v2_and_asks_in_v0(void **state)
{
	static const struct { const char *format; unsigned order; enum wb_record_use use; unsigned refused; } cases[] = {
		{ "v2", 10, WB_RECORD_AUTO, 0 }, { "v1", 7, WB_RECORD_AUTO, 0 }, { "v0", 7, WB_RECORD_IGNORE, 0 },
		{ "v0", 7, WB_RECORD_AUTO, WB_REFUSE_UNKNOWN_RECORD }, { "v0", 7, WB_RECORD_TRUST, WB_REFUSE_UNKNOWN_RECORD },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++)
		for (int policy = WB_STRICT; policy <= WB_SALVAGE; policy++) {
			const struct wb_decide_options how = { .policy = (enum wb_policy)policy, .capacity = ROOM };
			struct wb_decision decision;
			struct found found;
			struct build b;

			build_init(&b, cases[i].format, cases[i].order, 6);
			build_log(&b, 4, 9, 100);
			build_record(&b, 6);
			b.dev = build_bad(&b, bad_record, 1);
			assert_int_equal(look(&b, b.dev, &none, cases[i].use, &found), 0);
			assert_int_equal(b.ring.record_state, WB_RECORD_UNKNOWN);
			assert_int_equal(b.ring.record, 0);
			assert_int_equal(found.of[WB_RULE_RECORD_UNREADABLE], 1);
			assert_int_equal(found.damage, cases[i].format[1] == '0');
			assert_int_equal(wb_decide(&b.ring, NULL, &how, &decision, NULL, NULL), 0);
			assert_int_equal(decision.refused, cases[i].refused);
			build_release(&b);
		}
}

/* ---- sector 0 all zero ---- */

static void zeroed_sector_0_over_a_log_that_is_on_backing_is_an_end(void **state)
{
	static const struct { uint64_t written_back; bool ended; } cases[] = { { 12, true }, { 11, false }, { 0, false } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct backing backing;
		struct wb_proof proof;
		struct found found = { .damage = 0 };
		struct build b;

		build_init(&b, "v2", 10, 12);
		build_log(&b, 1, 12, 100);
		memset(b.bytes, 0, WB_SECTOR);
		backing_init(&backing, 1024);
		for (uint64_t id = 1; id <= cases[i].written_back; id++)
			backing_write(&backing, id, 0xff, id);
		build_load(&b, 1024);
		assert_int_equal(wb_pair_prove(&b.ring, backing.dev, ROOM, 0, &proof, NULL, NULL), 0);
		assert_int_equal(wb_check(&b.ring, &proof, note, &found, NULL), 0);
		assert_int_equal(found.of[WB_RULE_ENDED_BY_ZEROING], cases[i].ended);
		assert_int_equal(found.of[WB_RULE_ZERO_SUPERBLOCK], !cases[i].ended);
		assert_int_equal(found.damage, !cases[i].ended);
		backing_release(&backing);
		build_release(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(byte_4_and_the_tail_of_sector_0_are_no_damage_of_a_v2_cache),
		cmocka_unit_test(v1_cache_with_a_tail_is_sound),
		cmocka_unit_test(marker_is_harmless_under_the_magic_and_its_old_form_is_read),
		cmocka_unit_test(ended_log_under_the_magic_of_the_next_format_is_a_v2_cache),
		cmocka_unit_test(order_11_under_an_order_byte_of_0_is_v0_by_its_laps),
		cmocka_unit_test(order_byte_is_not_blamed_on_the_word_of_one_segment),
		cmocka_unit_test(order_byte_that_two_segments_contradict_is_damage),
		cmocka_unit_test(one_segment_does_not_prove_the_order_that_a_repair_would_write),
		cmocka_unit_test(one_segment_that_v1_and_v2_read_alike_is_no_tie),
		cmocka_unit_test(remains_of_an_older_cache_do_not_speak_against_the_order_byte),
		cmocka_unit_test(device_of_one_repeated_byte_is_no_cache),
		cmocka_unit_test(device_of_a_repeated_pattern_is_no_cache),
		cmocka_unit_test(device_of_random_bytes_is_no_cache),
		cmocka_unit_test(laps_without_their_id_prove_nothing),
		cmocka_unit_test(log_under_an_unreadable_sector_0_opens_when_told_to),
		cmocka_unit_test(unreadable_sector_0_over_nothing_is_an_error),
		cmocka_unit_test(unreadable_record_is_none_in_v1_and_v2_and_asks_in_v0),
		cmocka_unit_test(zeroed_sector_0_over_a_log_that_is_on_backing_is_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
