/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sizes: BACKING up to 8 EiB with dirty blocks at its very end; devices of any size that are not caches. */
#include "cache_builder.h"

#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)

static const uint64_t sizes[] = {
	2 * TIB - 512, 2 * TIB, 2 * TIB + 512, 3 * TIB, 16 * TIB, 64 * TIB, (UINT64_C(1) << 63) - 512,
};

/* ---- a device of any size that keeps the sectors written to it and reads as zeroes elsewhere ---- */

#define KEPT 256u

struct sparse {
	struct wb_dev dev;
	unsigned count;
	uint64_t at[KEPT];
	uint8_t bytes[KEPT][WB_SECTOR];
};

static uint8_t *sparse_sector(struct sparse *sparse, uint64_t at, bool add)
{
	for (unsigned i = 0; i < sparse->count; i++)
		if (sparse->at[i] == at)
			return sparse->bytes[i];
	if (!add)
		return NULL;
	assert_true(sparse->count < KEPT);
	sparse->at[sparse->count] = at;
	return sparse->bytes[sparse->count++];
}

static void sparse_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct sparse *sparse = (struct sparse *)dev;

	for (unsigned i = 0; i < n; i++)
		for (uint32_t at = 0; at < io[i].length; at += WB_SECTOR) {
			uint8_t *kept = sparse_sector(sparse, io[i].offset + at, io[i].write);
			uint8_t *bytes = (uint8_t *)io[i].buffer + at;
			size_t length = wb_min(WB_SECTOR, io[i].length - at);

			if (io[i].write)
				memcpy(kept, bytes, length);
			else if (kept)
				memcpy(bytes, kept, length);
			else
				memset(bytes, 0, length);
		}
}

static int sparse_flush(struct wb_dev *dev)
{
	(void)dev;
	return 0;
}

static void sparse_init(struct sparse *sparse, uint64_t size)
{
	static const struct wb_dev_ops ops = { .submit = sparse_submit, .flush = sparse_flush };

	*sparse = (struct sparse){ .dev = { .ops = &ops, .size = size, .block = WB_SECTOR } };
}

/* ---- BACKING ---- */

static unsigned count_findings;

static int count_finding(void *context, const struct wb_finding *finding)
{
	(void)context;
	(void)finding;
	count_findings++;
	return 0;
}

/* Two segments about the last three blocks, the last of which may be partial: 8 + 4 sectors and those of the last. */
static void build_end_log(struct build *b, uint64_t size)
{
	uint64_t last = (size - 1) / WB_BLOCK;

	build_init(b, "v2", 10, 3);
	build_segment(b, 1, PUTS({ last - 1, 0xff, 0 }, { last - 2, 0xff, 0 }));
	build_segment(b, 2, PUTS({ last, 0xff, 0 }, { last - 2, 0x0f, 0 }));
	build_load(b, size / WB_SECTOR);
}

static void assert_end_is_written(struct sparse *backing)
{
	uint64_t sectors = backing->dev.size / WB_SECTOR, last = (backing->dev.size - 1) / WB_BLOCK * 8;
	uint8_t want[WB_SECTOR];

	for (uint64_t lba = last - 16; lba < sectors; lba++) {
		fill_sector(want, lba, lba >= last || lba < last - 12 ? 2 : 1);
		assert_memory_equal(sparse_sector(backing, lba * WB_SECTOR, true), want, WB_SECTOR);
	}
	assert_int_equal(backing->count, sectors - (last - 16));
}

static void dirty_blocks_at_the_very_end_of_a_backing_of_any_size_are_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(sizes); i++) {
		const struct wb_decide_options how = { .policy = WB_STRICT, .capacity = ROOM };
		struct wb_replay_options options = { .capacity = ROOM, .verify = true, .compare = true };
		struct sparse *backing = malloc(sizeof(*backing));
		uint64_t end = sizes[i] % WB_BLOCK ? sizes[i] % WB_BLOCK / WB_SECTOR : 8, differing;
		struct wb_replay_result result;
		struct wb_decision decision;
		struct wb_proof proof;
		struct build b;

		build_end_log(&b, sizes[i]);
		sparse_init(backing, sizes[i]);
		assert_int_equal(wb_pair_prove(&b.ring, &backing->dev, ROOM, 0, &proof, NULL, NULL), 0);
		assert_int_equal(proof.dirty_sectors, 16 + end);
		count_findings = 0;
		assert_int_equal(wb_check(&b.ring, &proof, count_finding, NULL, NULL), 0);
		assert_int_equal(count_findings, 0);
		assert_int_equal(wb_decide(&b.ring, &backing->dev, &how, &decision, NULL, NULL), 0);
		assert_int_equal(decision.refused, 0);
		assert_int_equal(wb_replay(&b.ring, &decision.scope, &backing->dev, &options, &result, NULL, NULL), 0);
		assert_int_equal(result.written_sectors, 16 + end);
		assert_int_equal(result.verified_sectors, 16 + end);
		assert_end_is_written(backing);
		assert_int_equal(wb_replay_compare(&b.ring, &decision.scope, &backing->dev, ROOM, UINT64_MAX, 0, &differing,
						   NULL, NULL), 0);
		assert_int_equal(differing, 0);
		options.begin = (sizes[i] - 1) / WB_BLOCK * WB_BLOCK; /* an earlier run came to the last block */
		assert_int_equal(wb_replay(&b.ring, &decision.scope, &backing->dev, &options, &result, NULL, NULL), 0);
		assert_int_equal(result.planned_sectors, end);
		assert_int_equal(result.skipped_equal, end);
		free(backing);
		build_release(&b);
	}
}

static void block_behind_the_end_of_a_backing_of_any_size_is_beyond_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(sizes); i++) {
		struct build b;

		build_init(&b, "v2", 10, 3);
		build_segment(&b, 1, PUTS({ (sizes[i] - 1) / WB_BLOCK + 1, 0xff, 0 }));
		build_load(&b, sizes[i] / WB_SECTOR);
		assert_true(b.ring.slots[0].flags & WB_SLOT_BEYOND);
		build_release(&b);
	}
}

static void nothing_lies_within_a_backing_of_less_than_a_sector(void **state)
{
	(void)state;
	for (uint64_t size = 0; size < WB_SECTOR; size += 511) {
		const struct wb_decide_options how = { .policy = WB_STRICT, .capacity = ROOM };
		struct sparse *backing = malloc(sizeof(*backing));
		struct wb_decision decision;
		struct wb_forecast forecast;
		struct wb_proof proof;
		struct build b;

		sparse_init(backing, size);
		build_init(&b, "v2", 10, 3);
		build_log(&b, 1, 2, 100);
		build_load(&b, wb_backing_sectors(&backing->dev));
		assert_int_equal(wb_pair_prove(&b.ring, &backing->dev, ROOM, 0, &proof, NULL, NULL), 0);
		assert_int_equal(proof.pair, WB_PAIR_UNPROVEN);
		assert_int_equal(wb_decide(&b.ring, &backing->dev, &how, &decision, NULL, NULL), 0);
		assert_int_equal(decision.refused, WB_REFUSE_BEYOND);
		assert_int_equal(wb_forecast(&forecast, &b.cache, &backing->dev, 1u << 20, NULL, NULL), 0);
		assert_false(forecast.compared);
		wb_forecast_release(&forecast);
		free(backing);
		build_release(&b);
	}
}

/* ---- CACHE ---- */

struct found {
	unsigned of[WB_RULES], damage;
	uint64_t missing;
};

static int note_found(void *context, const struct wb_finding *finding)
{
	struct found *found = context;

	found->of[finding->rule]++;
	found->damage += finding->severity == WB_DAMAGE;
	found->missing += finding->missing;
	return 0;
}

/* The log fills three slots of 64 KiB, two blocks of each are used. */
static void clone_that_was_cut_short_is_said_to_be_short_and_not_to_return_errors(void **state)
{
	static const uint64_t slot = 64 << 10;
	static const struct { uint64_t cut; unsigned damage; } cases[] = {
		{ 0, 0 }, { 1, 0 }, { 512, 0 }, { slot - 2 * WB_BLOCK, 0 }, { slot - 2 * WB_BLOCK + 1, 1 },
		{ slot - WB_BLOCK, 1 }, { slot, 1 }, { slot + 77, 1 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_overrides overrides = { .slots = 3, .order = 7, .format = wb_format_find("v1") };
		const struct wb_ring_options options = { .jobs = 1 };
		struct found found = { .damage = 0 };
		struct wb_dev *dev;
		struct build b;

		build_init(&b, "v1", 7, 3);
		build_log(&b, 1, 3, 100);
		assert_int_equal(wb_dev_memory(&dev, b.bytes, b.geometry.bytes - cases[i].cut, NULL), 0);
		assert_int_equal(wb_cache_open(&b.cache, dev, &overrides, NULL), 0);
		assert_int_equal(wb_ring_load(&b.ring, &b.cache, &options, NULL, NULL), 0);
		assert_int_equal(wb_check(&b.ring, NULL, note_found, &found, NULL), 0);
		assert_int_equal(found.of[WB_RULE_CUT_SHORT], cases[i].cut != 0);
		assert_int_equal(found.missing, cases[i].cut);
		assert_int_equal(found.damage, cases[i].damage);
		assert_int_equal(found.of[WB_RULE_UNREADABLE] + found.of[WB_RULE_PART_READABLE], 0);
		wb_dev_close(dev);
		build_release(&b);
	}
}

static void image_that_ends_within_a_sector_is_short_of_the_rest_of_it(void **state)
{
	struct found found = { .damage = 0 };
	struct build b;

	(void)state;
	build_init(&b, "v1", 7, 3);
	build_log(&b, 1, 3, 100);
	b.geometry.bytes += 77;
	b.bytes = realloc(b.bytes, b.geometry.bytes);
	build_load(&b, 0);
	assert_int_equal(wb_check(&b.ring, NULL, note_found, &found, NULL), 0);
	assert_int_equal(found.of[WB_RULE_CUT_SHORT], 1);
	assert_int_equal(found.missing, 512 - 77);
	assert_int_equal(found.damage, 0);
	build_release(&b);
}

static void device_of_any_size_without_magic_and_segments_is_not_a_cache(void **state)
{
	static const uint64_t more[] = { 0, 1, 511, 512, MIB - 1, MIB, MIB + 4096, 4 * MIB };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(sizes) + LENGTH_OF(more); i++) {
		static const struct wb_overrides autos[] = { { .order = 0 }, { .any_super = true } };
		struct sparse *dev = malloc(sizeof(*dev));

		sparse_init(dev, i < LENGTH_OF(sizes) ? sizes[i] : more[i - LENGTH_OF(sizes)]);
		for (size_t j = 0; j < LENGTH_OF(autos); j++) {
			struct wb_error err = { 0 };
			struct wb_cache cache;

			assert_int_equal(wb_cache_open(&cache, &dev->dev, &autos[j], &err), -WB_ENOTCACHE);
			assert_non_null(strstr(err.text, "not a writeboost cache"));
		}
		free(dev);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dirty_blocks_at_the_very_end_of_a_backing_of_any_size_are_written),
		cmocka_unit_test(block_behind_the_end_of_a_backing_of_any_size_is_beyond_it),
		cmocka_unit_test(nothing_lies_within_a_backing_of_less_than_a_sector),
		cmocka_unit_test(clone_that_was_cut_short_is_said_to_be_short_and_not_to_return_errors),
		cmocka_unit_test(image_that_ends_within_a_sector_is_short_of_the_rest_of_it),
		cmocka_unit_test(device_of_any_size_without_magic_and_segments_is_not_a_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
