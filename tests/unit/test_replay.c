/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libwbfmt/replay.c against an oracle that knows nothing of plans: it only remembers the newest write
 * of every sector. And on devices that fail, lie and lose power.
 */
#include "cache_builder.h"

#define SECTORS_MAX (32u * 8)

/* A pair and what the backing device must hold in the end: a version per sector. */
struct scene {
	struct build b;
	struct backing backing;
	uint64_t want[SECTORS_MAX];
	uint8_t *found;
	struct wb_scope scope;
};

static void remember(struct scene *scene, const struct put *put)
{
	for (unsigned i = 0; i < 8; i++)
		if (!put->dirty || put->dirty >> i & 1)
			scene->want[put->block * 8 + i] = put->version;
}

/* Some blocks of one segment; every version of every sector differs, clean copies are of the backing device. */
static size_t random_puts(const struct build *b, uint64_t *seed, uint64_t id, uint32_t span, struct put *puts)
{
	uint32_t least = b->geometry.format->length_min, most = b->geometry.capacity < 12 ? b->geometry.capacity : 12;
	size_t n = least + draw_below(seed, most - least + 1);

	for (size_t i = 0; i < n; i++) {
		unsigned kind = draw_below(seed, 8);

		puts[i] = (struct put){ .block = draw_below(seed, span), .dirty = 0xff, .version = id * 256 + i };
		if (kind < 4)
			puts[i].dirty = 1 + draw_below(seed, 255);
		else if (kind == 4)
			puts[i] = (struct put){ .block = puts[i].block, .version = ON_BACKING };
	}
	return n;
}

static void scene_init(struct scene *scene, uint64_t seed)
{
	static const struct { const char *format; unsigned order; } kinds[] = {
		{ "v0", 4 }, { "v0", 5 }, { "v0", 6 }, { "v1", 4 }, { "v1", 5 }, { "v1", 6 }, { "v2", 10 },
	};
	uint32_t kind = draw_below(&seed, LENGTH_OF(kinds)), slots = 2 + draw_below(&seed, kind == 6 ? 3 : 14);
	uint32_t span = 2 + draw_below(&seed, 24);
	uint64_t head = 1 + draw_below(&seed, 3 * slots), first = head > slots ? head - slots + 1 : 1, record = 0;
	bool v0 = kind < 3;

	memset(scene, 0, sizeof(*scene));
	build_init(&scene->b, kinds[kind].format, kinds[kind].order, slots);
	if (v0 && head >= slots)
		first = head - slots + 2;
	if (draw_below(&seed, 3) == 0)
		record = draw(&seed) % (head + 1);
	if (v0 && record >= first)
		first = record + 1;
	build_record(&scene->b, record);
	for (unsigned i = 0; i < SECTORS_MAX; i++)
		scene->want[i] = ON_BACKING;
	for (uint64_t id = 1; id <= head; id++) {
		struct put puts[12];
		size_t n = random_puts(&scene->b, &seed, id, span, puts);

		build_segment(&scene->b, id, puts, n);
		for (size_t i = 0; i < n && id >= first; i++)
			if (puts[i].dirty || !v0)
				remember(scene, &puts[i]);
	}
	backing_init(&scene->backing, span * 8 - draw_below(&seed, 8));
	scene->found = malloc(scene->backing.sectors * WB_SECTOR);
	memcpy(scene->found, scene->backing.bytes, scene->backing.sectors * WB_SECTOR);
	scene->scope = (struct wb_scope){ .low = first, .high = head };
}

static void scene_load(struct scene *scene, size_t sums_memory)
{
	const struct wb_ring_options options = { .backing_sectors = scene->backing.sectors, .sums_memory = sums_memory,
						 .jobs = scene->scope.high % 8 ? 1 : 3 }; /* threads are slow to start */

	build_load_on(&scene->b, NULL, &options);
	assert_int_equal(scene->b.ring.first, scene->scope.low);
	assert_int_equal(scene->b.ring.head, scene->scope.high);
	assert_int_equal(scene->b.ring.holes, 0);
	assert_int_equal(scene->b.ring.sums != NULL, sums_memory != 0);
}

static void scene_rewind(struct scene *scene)
{
	memcpy(scene->backing.bytes, scene->found, scene->backing.sectors * WB_SECTOR);
}

static void scene_release(struct scene *scene)
{
	build_release(&scene->b);
	backing_release(&scene->backing);
	free(scene->found);
}

/* Eight segments, id 9 ... 16, each over the whole of the block of its own number. */
static void plain_scene(struct scene *scene)
{
	memset(scene, 0, sizeof(*scene));
	build_init(&scene->b, "v1", 4, 8);
	build_log(&scene->b, 9, 16, 100);
	backing_init(&scene->backing, 20 * 8);
	for (uint64_t lba = 0; lba < 20 * 8; lba++)
		scene->want[lba] = lba / 8 >= 9 && lba / 8 <= 16 ? lba / 8 : ON_BACKING;
	scene->scope = (struct wb_scope){ .low = 9, .high = 16 };
	scene->found = malloc(20 * 8 * WB_SECTOR);
	memcpy(scene->found, scene->backing.bytes, 20 * 8 * WB_SECTOR);
}

static void expect_final(const struct scene *scene)
{
	for (uint64_t lba = 0; lba < scene->backing.sectors; lba++)
		if (!backing_holds(&scene->backing, lba, scene->want[lba]))
			fail_msg("sector %u is not what was written to it last", (unsigned)lba);
}

static void expect_found_or_final(const struct scene *scene)
{
	for (uint64_t lba = 0; lba < scene->backing.sectors; lba++)
		if (!backing_holds(&scene->backing, lba, scene->want[lba]) &&
		    !backing_holds(&scene->backing, lba, ON_BACKING))
			fail_msg("sector %u is neither as found nor final", (unsigned)lba);
}

static void expect_untouched(const struct scene *scene)
{
	assert_memory_equal(scene->backing.bytes, scene->found, scene->backing.sectors * WB_SECTOR);
}

static uint64_t sectors_wanted(const struct scene *scene)
{
	uint64_t n = 0;

	for (uint64_t lba = 0; lba < scene->backing.sectors; lba++)
		n += scene->want[lba] != ON_BACKING;
	return n;
}

static int replay_on(struct scene *scene, struct wb_dev *dev, struct wb_replay_options options,
		     struct wb_replay_result *result)
{
	if (!options.capacity)
		options.capacity = ROOM;
	return wb_replay(&scene->b.ring, &scene->scope, dev, &options, result, NULL, NULL);
}

/* ---- the right content ---- */

static void random_rings_end_with_the_newest_write_of_every_sector(void **state)
{
	static const size_t capacities[] = { 16, 128, ROOM };

	(void)state;
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct scene scene;
		struct wb_replay_result result;

		scene_init(&scene, seed);
		scene_load(&scene, seed & 1 ? 1u << 20 : 0);
		for (size_t i = 0; i < LENGTH_OF(capacities); i++) {
			scene_rewind(&scene);
			assert_int_equal(replay_on(&scene, scene.backing.dev,
						   (struct wb_replay_options){ .capacity = capacities[i],
									       .verify = seed & 2 },
						   &result), 0);
			expect_final(&scene);
			assert_int_equal(result.planned_sectors, sectors_wanted(&scene));
			assert_int_equal(result.written_sectors, sectors_wanted(&scene));
			assert_int_equal(result.verified_sectors, seed & 2 ? sectors_wanted(&scene) : 0);
			assert_int_equal(result.unreadable_sectors, 0);
		}
		scene_release(&scene);
	}
}

static void replaying_twice_changes_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct scene scene;
		struct wb_replay_result first, second;

		scene_init(&scene, seed);
		scene_load(&scene, 1u << 20);
		assert_int_equal(replay_on(&scene, scene.backing.dev, (struct wb_replay_options){ 0 }, &first), 0);
		assert_int_equal(replay_on(&scene, scene.backing.dev, (struct wb_replay_options){ 0 }, &second), 0);
		expect_final(&scene);
		assert_memory_equal(&first, &second, sizeof(first));
		scene_release(&scene);
	}
}

static void cache_is_never_written(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct scene scene;
		struct wb_replay_result result;
		uint8_t *before;

		scene_init(&scene, seed);
		scene_load(&scene, 0);
		before = malloc(scene.b.geometry.bytes);
		memcpy(before, scene.b.bytes, scene.b.geometry.bytes);
		assert_int_equal(replay_on(&scene, scene.backing.dev, (struct wb_replay_options){ .verify = true },
					   &result), 0);
		assert_memory_equal(before, scene.b.bytes, scene.b.geometry.bytes);
		free(before);
		scene_release(&scene);
	}
}

static void empty_scope_writes_nothing(void **state)
{
	struct scene scene;
	struct wb_replay_result result;

	(void)state;
	scene_init(&scene, 1);
	scene_load(&scene, 0);
	scene.scope = (struct wb_scope){ .low = 1, .high = 0 };
	assert_int_equal(replay_on(&scene, scene.backing.dev, (struct wb_replay_options){ .verify = true }, &result), 0);
	expect_untouched(&scene);
	assert_int_equal(result.passes, 0);
	assert_int_equal(result.writes, 0);
	assert_int_equal(result.planned_sectors, 0);
	scene_release(&scene);
}

static void scope_bounds_are_inclusive(void **state)
{
	static const struct { uint64_t low, high; } cases[] = { { 9, 16 }, { 11, 13 }, { 9, 9 }, { 16, 16 }, { 1, 99 } };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct build b;
		struct backing backing;
		const struct wb_scope scope = { .low = cases[i].low, .high = cases[i].high };
		const struct wb_replay_options options = { .capacity = ROOM };
		struct wb_replay_result result;

		build_init(&b, "v1", 4, 8);
		build_log(&b, 9, 16, 100);
		backing_init(&backing, 20 * 8);
		build_load(&b, 20 * 8);
		assert_int_equal(wb_replay(&b.ring, &scope, backing.dev, &options, &result, NULL, NULL), 0);
		for (uint64_t block = 0; block < 20; block++)
			assert_true(backing_holds(&backing, block * 8, block >= 9 && block <= 16 && block >= cases[i].low &&
						  block <= cases[i].high ? block : ON_BACKING));
		backing_release(&backing);
		build_release(&b);
	}
}

static void corrected_bit_of_data_is_written_right(void **state)
{
	struct build b;
	struct backing backing;
	const struct wb_scope scope = { .low = 9, .high = 16 };
	const struct wb_replay_options options = { .capacity = ROOM, .verify = true };
	struct wb_replay_result result;

	(void)state;
	for (unsigned sums = 0; sums < 2; sums++) {
		const struct wb_ring_options load = { .backing_sectors = 20 * 8, .sums_memory = sums << 20 };

		build_init(&b, "v1", 4, 8);
		build_log(&b, 9, 16, 100);
		build_at(&b, 4)[WB_BLOCK + 1234] ^= 0x20;
		backing_init(&backing, 20 * 8);
		build_load_on(&b, NULL, &load);
		assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 1);
		assert_int_equal(wb_replay(&b.ring, &scope, backing.dev, &options, &result, NULL, NULL), 0);
		for (uint64_t lba = 13 * 8; lba < 14 * 8; lba++)
			assert_true(backing_holds(&backing, lba, 13));
		backing_release(&backing);
		build_release(&b);
	}
}

static void corrected_bit_of_metadata_moves_the_block(void **state)
{
	struct build b;
	struct backing backing;
	const struct wb_scope scope = { .low = 9, .high = 16 };
	const struct wb_replay_options options = { .capacity = ROOM, .verify = true };
	struct wb_replay_result result;

	(void)state;
	build_init(&b, "v1", 4, 8);
	build_log(&b, 9, 16, 100);
	build_at(&b, 4)[512] ^= 0x10; /* sector 104 reads as 120: block 15 */
	backing_init(&backing, 20 * 8);
	build_load(&b, 20 * 8);
	assert_int_equal(wb_ring_correct(&b.ring, NULL, NULL, NULL), 1);
	assert_int_equal(wb_replay(&b.ring, &scope, backing.dev, &options, &result, NULL, NULL), 0);
	assert_true(backing_holds(&backing, 13 * 8, 13));
	assert_true(backing_holds(&backing, 15 * 8, 15));
	backing_release(&backing);
	build_release(&b);
}

/* ---- how it is written ---- */

static void expect_ascending(const struct spy *spy)
{
	uint64_t end = 0;

	assert_true(spy->writes <= SPY_LOG);
	for (uint64_t i = 0; i < spy->writes; i++) {
		assert_true(spy->log[i].offset >= end);
		end = spy->log[i].offset + spy->log[i].length;
	}
}

static void addresses_ascend_and_no_sector_is_written_twice(void **state)
{
	static const size_t capacities[] = { 16, 128, ROOM };
	unsigned most_passes = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++)
		for (size_t i = 0; i < LENGTH_OF(capacities); i++) {
			struct scene scene;
			struct wb_replay_result result;
			struct spy *spy = malloc(sizeof(*spy));

			scene_init(&scene, seed);
			scene_load(&scene, 0);
			spy_init(spy, scene.backing.dev);
			assert_int_equal(replay_on(&scene, &spy->dev,
						   (struct wb_replay_options){ .capacity = capacities[i] }, &result), 0);
			expect_ascending(spy);
			assert_int_equal(spy->writes, result.writes);
			assert_int_equal(spy->flushes, result.passes);
			if (result.passes > most_passes)
				most_passes = result.passes;
			free(spy);
			scene_release(&scene);
		}
	assert_true(most_passes > 1); /* else it says nothing about passes */
}

static void adjacent_sectors_go_in_one_request(void **state)
{
	struct build b;
	struct backing backing;
	struct spy *spy = malloc(sizeof(*spy));
	const struct wb_scope scope = { .low = 1, .high = 3 };
	const struct wb_replay_options options = { .capacity = ROOM };
	struct wb_replay_result result;

	(void)state;
	build_init(&b, "v1", 5, 8);
	build_segment(&b, 1, PUTS({ 5, 0xff, 0 }, { 3, 0xf0, 0 }));
	build_segment(&b, 2, PUTS({ 4, 0xff, 0 }, { 9, 0x81, 0 }));
	build_segment(&b, 3, PUTS({ 4, 0x0f, 0 }, { 10, 0x01, 0 }));
	backing_init(&backing, 20 * 8);
	build_load(&b, 20 * 8);
	spy_init(spy, backing.dev);
	assert_int_equal(wb_replay(&b.ring, &scope, &spy->dev, &options, &result, NULL, NULL), 0);
	assert_int_equal(spy->writes, 3);
	assert_int_equal(spy->log[0].offset, (3 * 8 + 4) * 512);
	assert_int_equal(spy->log[0].length, (4 + 8 + 8) * 512);
	assert_int_equal(spy->log[1].offset, 9 * 8 * 512);
	assert_int_equal(spy->log[1].length, 512);
	assert_int_equal(spy->log[2].offset, (9 * 8 + 7) * 512);
	assert_int_equal(spy->log[2].length, 2 * 512);
	free(spy);
	backing_release(&backing);
	build_release(&b);
}

/* Eighteen full segments of 127 blocks, `step` blocks from one to the next, and one block left out before the gap-th. Of the
 * writes the failing-th fails; 0: none. */
static void many_blocks(uint64_t step, uint64_t gap, uint64_t expected_writes, uint64_t failing)
{
	enum { SLOTS = 18, PER = 127 };
	struct build b;
	struct backing backing;
	struct spy *spy = malloc(sizeof(*spy));
	const struct wb_scope scope = { .low = 1, .high = SLOTS };
	const struct wb_replay_options options = { .capacity = ROOM };
	struct wb_replay_result result;

	build_init(&b, "v2", 10, SLOTS);
	for (uint64_t id = 1; id <= SLOTS; id++) {
		struct put puts[PER];

		for (uint64_t i = 0; i < PER; i++) {
			uint64_t nth = (SLOTS - id) * PER + i;

			puts[i] = (struct put){ .block = nth * step + (nth >= gap), .dirty = 0xff };
		}
		build_segment(&b, id, puts, PER);
	}
	backing_init(&backing, (SLOTS * PER * step + 1) * 8);
	build_load(&b, backing.sectors);
	spy_init(spy, backing.dev);
	spy->fail_write = failing;
	assert_int_equal(wb_replay(&b.ring, &scope, &spy->dev, &options, &result, NULL, NULL), failing ? -WB_EIO : 0);
	expect_ascending(spy);
	assert_int_equal(spy->writes, expected_writes);
	assert_false(spy->after_failure);
	if (!failing)
		assert_int_equal(result.written_sectors, SLOTS * PER * 8);
	for (uint64_t nth = 0; nth < SLOTS * PER && !failing; nth++)
		assert_true(backing_holds(&backing, (nth * step + (nth >= gap)) * 8 + 7, SLOTS - nth / PER));
	free(spy);
	backing_release(&backing);
	build_release(&b);
}

static void more_bytes_than_are_collected_at_once(void **state)
{
	(void)state;
	many_blocks(1, 0, 9, 0); /* 2286 blocks in requests of at most 1 MiB */
	many_blocks(1, 10, 10, 0);
}

static void more_requests_than_are_collected_at_once(void **state)
{
	(void)state;
	many_blocks(2, 0, 2286, 0);
}

/* While some are written others are collected; those are never sent. */
static void failed_write_ends_what_is_collected_meanwhile(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth <= 9; nth++)
		many_blocks(1, 0, nth, nth);
	many_blocks(2, 0, 1, 1);
	many_blocks(2, 0, 1500, 1500);
	many_blocks(2, 0, 2286, 2286);
}

struct extents {
	struct wb_range list[SPY_LOG];
	uint64_t count;
};

static void note_extent(void *context, uint64_t sector, uint64_t sectors)
{
	struct extents *extents = context;

	assert_true(extents->count < SPY_LOG);
	extents->list[extents->count++] = (struct wb_range){ sector * WB_SECTOR, sectors * WB_SECTOR };
}

static void what_is_planned_is_what_is_written(void **state)
{
	static const size_t capacities[] = { 16, ROOM };

	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++) {
		struct scene scene;
		struct wb_replay_result dry, real;
		struct extents *planned = calloc(1, sizeof(*planned)), *told = calloc(1, sizeof(*told));
		struct spy *spy = malloc(sizeof(*spy));
		struct wb_replay_options options = { .capacity = capacities[seed % 2], .extent = note_extent };

		scene_init(&scene, seed);
		scene_load(&scene, 0);
		spy_init(spy, scene.backing.dev);
		options.dry_run = true;
		options.context = planned;
		assert_int_equal(replay_on(&scene, &spy->dev, options, &dry), 0);
		assert_int_equal(spy->writes, 0);
		assert_int_equal(spy->flushes, 0);
		expect_untouched(&scene);
		options.dry_run = false;
		options.context = told;
		assert_int_equal(replay_on(&scene, &spy->dev, options, &real), 0);
		assert_int_equal(planned->count, spy->writes);
		assert_memory_equal(planned->list, spy->log, spy->writes * sizeof(spy->log[0]));
		assert_int_equal(told->count, spy->writes);
		assert_memory_equal(told->list, spy->log, spy->writes * sizeof(spy->log[0]));
		assert_int_equal(dry.planned_sectors, real.planned_sectors);
		assert_int_equal(dry.writes, real.writes);
		assert_int_equal(dry.passes, real.passes);
		assert_int_equal(dry.written_sectors, 0);
		free(planned);
		free(told);
		free(spy);
		scene_release(&scene);
	}
}

/* ---- devices that fail ---- */

static uint64_t writes_of(struct scene *scene)
{
	struct wb_replay_result result;

	assert_int_equal(replay_on(scene, scene->backing.dev, (struct wb_replay_options){ .dry_run = true }, &result), 0);
	return result.writes;
}

static void nothing_is_written_after_a_failed_write(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 30; seed++) {
		struct scene scene;

		scene_init(&scene, seed);
		scene_load(&scene, 1u << 20);
		for (uint64_t nth = 1, n = writes_of(&scene); nth <= n; nth++) {
			struct wb_replay_result result;
			struct spy *spy = malloc(sizeof(*spy));
			uint64_t written = 0;

			scene_rewind(&scene);
			spy_init(spy, scene.backing.dev);
			spy->fail_write = nth;
			assert_int_equal(replay_on(&scene, &spy->dev, (struct wb_replay_options){ .verify = true },
						   &result), -WB_EIO);
			assert_int_equal(spy->writes, nth);
			assert_false(spy->after_failure);
			for (uint64_t i = 0; i + 1 < nth; i++)
				written += spy->log[i].length / WB_SECTOR;
			assert_int_equal(result.written_sectors, written);
			assert_int_equal(result.verified_sectors, 0);
			expect_found_or_final(&scene);
			free(spy);
		}
		assert_int_equal(replay_on(&scene, scene.backing.dev, (struct wb_replay_options){ 0 },
					   &(struct wb_replay_result){ 0 }), 0);
		expect_final(&scene);
		scene_release(&scene);
	}
}

static void failed_write_in_one_pass_ends_all_passes(void **state)
{
	struct build b;
	struct backing backing;
	struct spy *spy = malloc(sizeof(*spy));
	const struct wb_scope scope = { .low = 1, .high = 40 };
	const struct wb_replay_options options = { .capacity = 16 };
	struct wb_replay_result result;

	(void)state;
	build_init(&b, "v1", 4, 40);
	for (uint64_t id = 1; id <= 40; id++)
		build_segment(&b, id, PUTS({ 2 * id, 0xff, 0 }));
	backing_init(&backing, 100 * 8);
	build_load(&b, backing.sectors);
	spy_init(spy, backing.dev);
	spy->fail_write = 3;
	assert_int_equal(wb_replay(&b.ring, &scope, &spy->dev, &options, &result, NULL, NULL), -WB_EIO);
	assert_int_equal(spy->writes, 3);
	assert_int_equal(result.passes, 1);
	assert_int_equal(result.written_sectors, 16);
	free(spy);
	backing_release(&backing);
	build_release(&b);
}

static void failed_flush_is_an_error(void **state)
{
	struct build b;
	struct backing backing;
	struct spy *spy = malloc(sizeof(*spy));
	struct wb_error err = { 0 };
	const struct wb_scope scope = { .low = 1, .high = 3 };
	const struct wb_replay_options options = { .capacity = ROOM };
	struct wb_replay_result result;

	(void)state;
	build_init(&b, "v1", 4, 4);
	build_log(&b, 1, 3, 100);
	backing_init(&backing, 64);
	build_load(&b, 64);
	spy_init(spy, backing.dev);
	spy->fail_flush = 1;
	assert_int_equal(wb_replay(&b.ring, &scope, &spy->dev, &options, &result, NULL, &err), -WB_EIO);
	assert_int_equal(err.code, WB_EIO);
	assert_int_equal(err.sys, EIO);
	free(spy);
	backing_release(&backing);
	build_release(&b);
}

static void verify_catches_each_write_that_a_device_only_pretends(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 30; seed++) {
		struct scene scene;

		scene_init(&scene, seed);
		scene_load(&scene, 0);
		for (uint64_t nth = 1, n = writes_of(&scene); nth <= n; nth++) {
			struct wb_replay_result result;
			struct spy *spy = malloc(sizeof(*spy));

			for (int verify = 0; verify < 2; verify++) {
				scene_rewind(&scene);
				spy_init(spy, scene.backing.dev);
				spy->lie_write = nth;
				assert_int_equal(replay_on(&scene, &spy->dev,
							   (struct wb_replay_options){ .verify = verify }, &result),
						 verify ? -WB_EIO : 0);
			}
			free(spy);
		}
		scene_release(&scene);
	}
}

static void sector_that_cannot_be_reread_is_an_error(void **state)
{
	struct scene scene;
	struct wb_replay_result result;
	struct wb_error err = { 0 };

	(void)state;
	plain_scene(&scene);
	scene_load(&scene, 0);
	for (int verify = 0; verify < 2; verify++) {
		struct spy *spy = malloc(sizeof(*spy));
		const struct wb_replay_options options = { .capacity = ROOM, .verify = verify };

		spy_init(spy, scene.backing.dev);
		spy->flaky_reads = UINT64_MAX;
		spy->flaky_at = 12 * WB_BLOCK + 3 * WB_SECTOR;
		assert_int_equal(wb_replay(&scene.b.ring, &scene.scope, &spy->dev, &options, &result, NULL, &err),
				 verify ? -WB_EIO : 0);
		assert_int_equal(result.written_sectors, 8 * 8);
		assert_int_equal(result.verified_sectors, verify ? 3 * 8 + 3 : 0);
		free(spy);
	}
	assert_int_equal(err.offset, 12 * WB_BLOCK + 3 * WB_SECTOR);
	assert_non_null(strstr(err.text, "rereading sector 99 "));
	scene_release(&scene);
}

/* ---- power cuts ---- */

static void cut_and_resume(struct scene *scene, size_t capacity, uint64_t after, enum wb_cut mode, bool *cut)
{
	const struct wb_fault fault = { .cut_after = after, .cut = mode, .seed = after + 7 };
	const struct wb_replay_options options = { .capacity = capacity };
	struct wb_replay_result result;
	struct wb_dev *inner, *dev;
	int ret;

	scene_rewind(scene);
	assert_int_equal(wb_dev_memory(&inner, scene->backing.bytes, scene->backing.sectors * WB_SECTOR, NULL), 0);
	assert_int_equal(wb_dev_fault(&dev, inner, &fault, NULL), 0);
	ret = replay_on(scene, dev, options, &result);
	wb_dev_close(dev);
	*cut = ret != 0;
	if (*cut)
		assert_int_equal(ret, -WB_EIO);
	else
		expect_final(scene);
	expect_found_or_final(scene);
	assert_int_equal(replay_on(scene, scene->backing.dev, options, &result), 0);
	expect_final(scene);
}

static void power_cut_after_any_write_leaves_each_sector_as_found_or_final(void **state)
{
	static const size_t capacities[] = { 16, ROOM };
	unsigned cuts = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 24; seed++)
		for (int mode = WB_CUT_LOST; mode <= WB_CUT_REORDERED; mode++) {
			struct scene scene;
			bool cut = true;

			scene_init(&scene, seed);
			scene_load(&scene, 1u << 20);
			for (uint64_t after = 0; cut; after++) {
				cut_and_resume(&scene, capacities[seed % 2], after, (enum wb_cut)mode, &cut);
				cuts += cut;
			}
			scene_release(&scene);
		}
	assert_true(cuts > 500);
}

static void what_a_finished_run_wrote_survives_the_cut(void **state)
{
	struct scene scene;
	struct wb_replay_result result;
	struct wb_dev *inner, *dev;
	uint8_t byte[WB_SECTOR] = { 0 };

	(void)state;
	scene_init(&scene, 11);
	scene_load(&scene, 0);
	uint64_t writes = writes_of(&scene);
	const struct wb_fault fault = { .cut_after = writes + 1, .cut = WB_CUT_LOST };

	assert_int_equal(wb_dev_memory(&inner, scene.backing.bytes, scene.backing.sectors * WB_SECTOR, NULL), 0);
	assert_int_equal(wb_dev_fault(&dev, inner, &fault, NULL), 0);
	assert_int_equal(replay_on(&scene, dev, (struct wb_replay_options){ 0 }, &result), 0);
	assert_int_equal(wb_dev_write(dev, 0, byte, sizeof(byte), NULL), -WB_EIO); /* here the power goes */
	wb_dev_close(dev);
	expect_final(&scene);
	scene_release(&scene);
}

/* ---- stopping ---- */

struct stopper {
	unsigned polls, stop_at;
};

static int stop_then(void *context)
{
	struct stopper *stopper = context;

	return ++stopper->polls >= stopper->stop_at;
}

static void stopped_run_leaves_each_sector_as_found_or_final_and_flushes(void **state)
{
	unsigned stopped = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++)
		for (unsigned at = 1;; at++) {
			struct scene scene;
			struct stopper stopper = { .stop_at = at };
			const struct wb_progress progress = { .context = &stopper, .stop = stop_then };
			const struct wb_replay_options options = { .capacity = 16, .verify = true };
			struct wb_replay_result result;
			struct spy *spy = malloc(sizeof(*spy));
			int ret;

			scene_init(&scene, seed);
			scene_load(&scene, 0);
			spy_init(spy, scene.backing.dev);
			ret = wb_replay(&scene.b.ring, &scene.scope, &spy->dev, &options, &result, &progress, NULL);
			expect_found_or_final(&scene);
			if (ret) {
				assert_int_equal(ret, -WB_ESTOPPED);
				assert_int_equal(stopper.polls, at); /* asked once, obeyed at once */
				assert_true(spy->flushes >= 1);
				stopped++;
			}
			assert_int_equal(replay_on(&scene, scene.backing.dev, (struct wb_replay_options){ 0 }, &result), 0);
			expect_final(&scene);
			free(spy);
			scene_release(&scene);
			if (!ret)
				break;
		}
	assert_true(stopped > 30);
}

static void note_progress(void *context, const char *phase, uint64_t done, uint64_t total)
{
	unsigned *reports = context;

	assert_non_null(phase);
	assert_true(done <= total);
	++*reports;
}

static void progress_reports_name_phases_and_stay_within_their_total(void **state)
{
	unsigned reports = 0;
	const struct wb_progress progress = { .context = &reports, .report = note_progress };
	const struct wb_replay_options options = { .capacity = 16, .verify = true };
	struct wb_replay_result result;
	struct scene scene;

	(void)state;
	scene_init(&scene, 5);
	scene_load(&scene, 0);
	assert_int_equal(wb_replay(&scene.b.ring, &scene.scope, scene.backing.dev, &options, &result, &progress, NULL), 0);
	assert_true(reports >= 4); /* planning, summing, writing back, verifying */
	scene_release(&scene);
}

/* ---- what BACKING holds already, where a run begins, and how far it has come ---- */

static void comparing_leaves_out_what_is_there(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++) {
		struct scene scene;
		struct wb_replay_result result;
		struct spy *spy = malloc(sizeof(*spy));
		const struct wb_replay_options options = { .capacity = seed & 1 ? 16 : ROOM, .compare = true,
							   .verify = seed & 2 };
		uint64_t lba = 0, there = 0;

		scene_init(&scene, seed);
		scene_load(&scene, 0);
		for (; lba < scene.backing.sectors; lba++) /* some of it has been written back */
			if (scene.want[lba] != ON_BACKING && mix(lba + seed) % 3 == 0) {
				fill_sector(scene.backing.bytes + lba * WB_SECTOR, lba, scene.want[lba]);
				there++;
			}
		spy_init(spy, scene.backing.dev);
		assert_int_equal(replay_on(&scene, &spy->dev, options, &result), 0);
		expect_final(&scene);
		assert_int_equal(result.skipped_equal, there);
		assert_int_equal(result.planned_sectors, sectors_wanted(&scene));
		assert_int_equal(result.written_sectors, sectors_wanted(&scene) - there);
		spy_init(spy, scene.backing.dev);
		assert_int_equal(replay_on(&scene, &spy->dev, options, &result), 0);
		assert_int_equal(spy->writes, 0); /* the second time there is nothing to do */
		assert_int_equal(result.skipped_equal, sectors_wanted(&scene));
		free(spy);
		scene_release(&scene);
	}
}

/* Sectors of the plan alone, below the byte that a run had come to, of as many versions as there may be. */
static void what_a_run_wrote_and_is_not_there_any_more_is_counted(void **state)
{
	static const struct { uint64_t changed, unreadable, below, expected; } cases[] = {
		{ UINT64_MAX, UINT64_MAX, UINT64_MAX, 0 }, { 5 * 8 + 7, UINT64_MAX, UINT64_MAX, 1 }, { 1, UINT64_MAX, UINT64_MAX, 1 },
		{ 5 * 8 + 7, 5 * 8 + 6, UINT64_MAX, 2 },   { 5 * 8 + 7, 1, 5 * WB_BLOCK, 1 },
		{ 5 * 8 + 7, 1, 6 * WB_BLOCK, 2 },         { 6 * 8, 7 * 8, UINT64_MAX, 0 }, /* not written */
		{ UINT64_MAX, 2 * 8 + 1, UINT64_MAX, 1 },  /* where zeroes were written */
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_range bad = { cases[i].unreadable * WB_SECTOR, WB_SECTOR };
		const struct wb_fault fault = { .bad = &bad, .bad_count = cases[i].unreadable != UINT64_MAX, .cut_after = UINT64_MAX };
		const struct wb_scope scope = { .low = 1, .high = 600 };
		const struct wb_replay_options options = { .capacity = ROOM };
		struct wb_replay_result result;
		struct backing backing;
		struct wb_dev *over;
		uint64_t differing;
		struct build b;

		build_init(&b, "v1", 4, 600);
		for (uint64_t id = 1; id <= 600; id++)
			build_segment(&b, id, PUTS({ id == 1 ? 2 : id > 590 ? 5 : 0, 0xff, 0 }));
		memset(build_at(&b, 0) + WB_BLOCK, 0, WB_BLOCK);
		build_seal(&b, 0);
		backing_init(&backing, 8 * 8);
		build_load(&b, backing.sectors);
		assert_int_equal(wb_replay(&b.ring, &scope, backing.dev, &options, &result, NULL, NULL), 0);
		if (cases[i].changed != UINT64_MAX)
			backing.bytes[cases[i].changed * WB_SECTOR + 100] ^= 1;
		assert_int_equal(wb_dev_fault(&over, backing.dev, &fault, NULL), 0);
		backing.dev = over;
		assert_int_equal(wb_replay_compare(&b.ring, &scope, over, ROOM, cases[i].below, 0, &differing, NULL, NULL), 0);
		assert_int_equal(differing, cases[i].expected);
		backing_release(&backing);
		build_release(&b);
	}
}

static void run_begins_where_it_is_told(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct scene scene;
		struct wb_replay_result result;
		uint64_t begin, wanted = 0;

		scene_init(&scene, seed);
		scene_load(&scene, 0);
		begin = mix(seed) % (scene.backing.sectors / 8 + 1);
		assert_int_equal(replay_on(&scene, scene.backing.dev,
					   (struct wb_replay_options){ .capacity = seed & 1 ? 16 : ROOM,
								       .begin = begin * WB_BLOCK }, &result), 0);
		for (uint64_t lba = 0; lba < scene.backing.sectors; lba++) {
			assert_true(backing_holds(&scene.backing, lba, lba < begin * 8 ? ON_BACKING : scene.want[lba]));
			wanted += lba >= begin * 8 && scene.want[lba] != ON_BACKING;
		}
		assert_int_equal(result.written_sectors, wanted);
		scene_release(&scene);
	}
}

struct checkpoints {
	struct scene *scene;
	struct spy *spy;
	uint64_t last, flushes;
	unsigned count, stop_after;
};

/* All that lies below is final, and has been flushed since it was written. */
static int note_flushed(void *context, uint64_t below)
{
	struct checkpoints *points = context;

	assert_true(below > points->last);
	points->last = below;
	for (uint64_t lba = 0; lba < points->scene->backing.sectors && lba < below / WB_SECTOR; lba++)
		assert_true(backing_holds(&points->scene->backing, lba, points->scene->want[lba]));
	assert_true(points->spy->flushes > points->flushes);
	points->flushes = points->spy->flushes;
	return ++points->count == points->stop_after;
}

static void checkpoints_ascend_and_tell_the_truth(void **state)
{
	unsigned most = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++) {
		struct scene scene;
		struct wb_replay_result result;
		struct spy *spy = malloc(sizeof(*spy));
		struct checkpoints points = { .scene = &scene, .spy = spy };

		scene_init(&scene, seed);
		scene_load(&scene, 0);
		spy_init(spy, scene.backing.dev);
		assert_int_equal(replay_on(&scene, &spy->dev,
					   (struct wb_replay_options){ .capacity = 16, .flushed = note_flushed,
								       .context = &points }, &result), 0);
		assert_int_equal(points.count, result.passes);
		if (points.count)
			assert_true(points.last == UINT64_MAX);
		most = points.count > most ? points.count : most;
		free(spy);
		scene_release(&scene);
	}
	assert_true(most > 1);
}

static void run_stopped_at_a_checkpoint_goes_on_from_there(void **state)
{
	unsigned stopped = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++) {
		struct scene scene;
		struct wb_replay_result result;
		struct spy *spy = malloc(sizeof(*spy));
		struct checkpoints points = { .scene = &scene, .spy = spy, .stop_after = 1 };

		scene_init(&scene, seed);
		scene_load(&scene, 0);
		spy_init(spy, scene.backing.dev);
		int ret = replay_on(&scene, &spy->dev,
				    (struct wb_replay_options){ .capacity = 16, .flushed = note_flushed, .context = &points },
				    &result);

		if (points.last && points.last != UINT64_MAX) {
			assert_int_equal(ret, -WB_ESTOPPED);
			assert_int_equal(points.last % WB_BLOCK, 0);
			assert_int_equal(replay_on(&scene, scene.backing.dev,
						   (struct wb_replay_options){ .begin = points.last }, &result), 0);
			expect_final(&scene);
			stopped++;
		}
		free(spy);
		scene_release(&scene);
	}
	assert_true(stopped > 3);
}

static void dry_run_makes_no_checkpoints(void **state)
{
	struct scene scene;
	struct wb_replay_result result;
	struct checkpoints points = { .count = 0 };

	(void)state;
	scene_init(&scene, 5);
	scene_load(&scene, 0);
	assert_int_equal(replay_on(&scene, scene.backing.dev,
				   (struct wb_replay_options){ .dry_run = true, .flushed = note_flushed, .context = &points },
				   &result), 0);
	assert_true(result.planned_sectors > 0);
	assert_int_equal(points.count, 0);
	scene_release(&scene);
}

/* ---- devices with larger logical blocks ---- */

static void device_of_whole_blocks_is_written_in_whole_blocks(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++)
		for (int variant = 0; variant < 4; variant++) {
			bool compare = variant & 1, only_inside = variant & 2; /* 4Kn, or 512e */
			struct scene scene;
			struct wb_replay_result result;
			struct spy *spy = malloc(sizeof(*spy));

			scene_init(&scene, seed);
			scene.backing.sectors -= scene.backing.sectors % 8;
			wb_dev_close(scene.backing.dev);
			assert_int_equal(wb_dev_memory(&scene.backing.dev, scene.backing.bytes,
						       scene.backing.sectors * WB_SECTOR, NULL), 0);
			scene_load(&scene, 0);
			spy_init(spy, scene.backing.dev);
			*(only_inside ? &spy->dev.physical : &spy->dev.block) = WB_BLOCK;
			assert_int_equal(replay_on(&scene, &spy->dev,
						   (struct wb_replay_options){ .capacity = 16, .verify = true,
									       .compare = compare }, &result), 0);
			expect_final(&scene); /* what is merged in keeps its content, too */
			expect_ascending(spy);
			for (uint64_t i = 0; i < spy->writes; i++)
				assert_int_equal((spy->log[i].offset | spy->log[i].length) % WB_BLOCK, 0);
			assert_int_equal(result.written_sectors, sectors_wanted(&scene));
			free(spy);
			scene_release(&scene);
		}
}

static void block_that_cannot_be_merged_is_written_in_parts_or_not_at_all(void **state)
{
	static const struct wb_range bad[] = { { 12 * WB_BLOCK + 7 * WB_SECTOR, 1 } };
	static const struct { unsigned dirty; bool only_inside; int ret; } cases[] = {
		{ 0x0f, false, -WB_EIO }, { 0xff, false, 0 }, { 0x0f, true, 0 }, { 0x55, true, 0 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_fault fault = { .bad = bad, .bad_count = 1, .cut_after = UINT64_MAX };
		const struct wb_scope scope = { .low = 1, .high = 1 };
		const struct wb_replay_options options = { .capacity = ROOM };
		struct wb_replay_result result;
		struct wb_dev *inner, *dev;
		struct backing backing;
		struct build b;

		build_init(&b, "v1", 4, 4);
		build_segment(&b, 1, PUTS({ 12, cases[i].dirty, 0 }));
		backing_init(&backing, 20 * 8);
		build_load(&b, 20 * 8);
		assert_int_equal(wb_dev_memory(&inner, backing.bytes, 20 * WB_BLOCK, NULL), 0);
		*(cases[i].only_inside ? &inner->physical : &inner->block) = WB_BLOCK;
		assert_int_equal(wb_dev_fault(&dev, inner, &fault, NULL), 0);
		assert_int_equal(wb_replay(&b.ring, &scope, dev, &options, &result, NULL, NULL), cases[i].ret);
		wb_dev_close(dev);
		for (unsigned s = 0; s < 8; s++)
			assert_true(backing_holds(&backing, 12 * 8 + s,
						  cases[i].ret || !(cases[i].dirty >> s & 1) ? ON_BACKING : 1));
		backing_release(&backing);
		build_release(&b);
	}
}

/* ---- blocks that change, sectors that cannot be read ---- */

/* A cache whose byte `at` reads differently from the nth read of the replay on. */
static int replay_changing(struct scene *scene, uint64_t at, uint64_t nth, size_t sums_memory, uint64_t *reads)
{
	const struct wb_ring_options options = { .backing_sectors = scene->backing.sectors, .sums_memory = sums_memory };
	struct wb_replay_result result;
	struct spy *spy = malloc(sizeof(*spy));
	struct wb_dev *memory;
	int ret;

	assert_int_equal(wb_dev_memory(&memory, scene->b.bytes, scene->b.geometry.bytes, NULL), 0);
	spy_init(spy, memory);
	build_load_on(&scene->b, &spy->dev, &options);
	uint64_t before = spy->reads;

	spy->change_read = nth ? before + nth : 0;
	spy->change_at = at;
	ret = replay_on(scene, scene->backing.dev, (struct wb_replay_options){ .verify = true }, &result);
	*reads = spy->reads - before;
	wb_ring_release(&scene->b.ring);
	scene->b.dev = NULL;
	wb_dev_close(memory);
	free(spy);
	return ret;
}

/* How many of the replay's reads can be the first to see the change so that it is noticed; what is reported as done,
 * or has been summed by the load, must be right. */
static unsigned change_at_every_read(uint64_t byte, size_t sums_memory, bool always_right)
{
	struct scene scene;
	unsigned changed = 0;
	uint64_t reads;

	plain_scene(&scene);
	uint64_t at = wb_slot_offset(&scene.b.geometry, 4) + byte;

	assert_int_equal(replay_changing(&scene, at, 0, sums_memory, &reads), 0);
	expect_final(&scene);
	for (uint64_t nth = 1, last = reads; nth <= last; nth++) {
		scene_rewind(&scene);
		int ret = replay_changing(&scene, at, nth, sums_memory, &reads);

		assert_true(ret == 0 || ret == -WB_ECHANGED);
		changed += ret != 0;
		if (ret)
			expect_found_or_final(&scene);
		else if (always_right)
			expect_final(&scene);
	}
	scene_release(&scene);
	return changed;
}

static void block_that_changes_between_two_reads_is_never_written(void **state)
{
	(void)state;
	assert_true(change_at_every_read(WB_BLOCK + 100, 0, false) > 0);
	assert_true(change_at_every_read(WB_BLOCK + 100, 1u << 20, true) > 0);
}

static void change_since_the_log_was_loaded_is_noticed_by_its_sums(void **state)
{
	struct scene scene;
	uint64_t reads;

	(void)state;
	plain_scene(&scene);
	uint64_t at = wb_slot_offset(&scene.b.geometry, 4) + WB_BLOCK + 100;

	assert_int_equal(replay_changing(&scene, at, 1, 1u << 20, &reads), -WB_ECHANGED);
	expect_untouched(&scene);
	scene_release(&scene);
}

/* A metablock that reads differently than when its seal was verified would send good data to a wrong address. */
static void metadata_that_changes_between_two_reads_is_never_followed(void **state)
{
	(void)state;
	change_at_every_read(512, 1u << 20, true);     /* the address */
	change_at_every_read(512 + 8, 1u << 20, true); /* the dirty bits */
}

struct lost {
	uint64_t sector[64], offset[64];
	unsigned count, offsets;
};

static void note_lost(void *context, uint64_t sector, uint64_t sectors, enum wb_alone why)
{
	struct lost *lost = context;

	assert_int_equal(why, WB_ALONE_UNREADABLE);
	for (uint64_t i = 0; i < sectors; i++)
		lost->sector[lost->count++] = sector + i;
}

static void note_offset(void *context, uint64_t offset, uint64_t length)
{
	struct lost *lost = context;

	assert_int_equal(length, WB_SECTOR);
	lost->offset[lost->offsets++] = offset;
}

static void unreadable_sectors_are_left_alone_and_listed(void **state)
{
	static const char *const formats[] = { "v0", "v1" };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(formats); i++) {
		struct build b;
		struct backing backing;
		struct lost lost = { .count = 0 };
		const struct wb_scope scope = { .low = 10, .high = 16, .part = true };
		const struct wb_replay_options options = { .capacity = ROOM, .context = &lost, .left_alone = note_lost,
							   .verify = true };
		const struct wb_ring_options load = { .backing_sectors = 20 * 8, .sums_memory = i << 20,
						      .context = &lost, .unreadable = note_offset };
		struct wb_replay_result result;

		build_init(&b, formats[i], 4, 8);
		build_log(&b, 9, 16, 100);
		backing_init(&backing, 20 * 8);
		uint64_t data = wb_slot_offset(&b.geometry, 4) + WB_BLOCK;
		struct wb_range bad = { data + 2 * WB_SECTOR + 10, WB_SECTOR }; /* in sectors 2 and 3 */

		build_load_on(&b, build_bad(&b, &bad, 1), &load);
		assert_class(&b, 4, WB_PART_READABLE);
		assert_int_equal(wb_replay(&b.ring, &scope, backing.dev, &options, &result, NULL, NULL), 0);
		for (unsigned s = 0; s < 8; s++)
			assert_true(backing_holds(&backing, 13 * 8 + s, s == 2 || s == 3 ? ON_BACKING : 13));
		assert_int_equal(result.unreadable_sectors, 2);
		assert_int_equal(result.planned_sectors, 56);
		assert_int_equal(result.written_sectors, 54);
		assert_int_equal(lost.count, 2);
		assert_int_equal(lost.sector[0], 13 * 8 + 2);
		assert_int_equal(lost.offset[0], data + 2 * WB_SECTOR);
		assert_int_equal(lost.sector[1], 13 * 8 + 3);
		backing_release(&backing);
		build_release(&b);
	}
}

static void part_readable_segments_stay_out_of_a_scope_without_them(void **state)
{
	struct build b;
	struct backing backing;
	const struct wb_scope scope = { .low = 9, .high = 16 };
	const struct wb_replay_options options = { .capacity = ROOM };
	const struct wb_ring_options load = { .backing_sectors = 20 * 8 };
	struct wb_replay_result result;

	(void)state;
	build_init(&b, "v1", 4, 8);
	build_log(&b, 9, 16, 100);
	backing_init(&backing, 20 * 8);
	struct wb_range bad = { wb_slot_offset(&b.geometry, 4) + WB_BLOCK, WB_SECTOR };

	build_load_on(&b, build_bad(&b, &bad, 1), &load);
	assert_int_equal(wb_replay(&b.ring, &scope, backing.dev, &options, &result, NULL, NULL), 0);
	for (unsigned s = 0; s < 8; s++)
		assert_true(backing_holds(&backing, 13 * 8 + s, ON_BACKING));
	assert_int_equal(result.unreadable_sectors, 0);
	backing_release(&backing);
	build_release(&b);
}

static void zeroed_segments_are_written_only_when_wanted(void **state)
{
	(void)state;
	for (int wanted = 0; wanted < 2; wanted++) {
		struct build b;
		struct backing backing;
		const struct wb_scope scope = { .low = 10, .high = 16, .zeroed = wanted };
		const struct wb_replay_options options = { .capacity = ROOM, .verify = true };
		struct wb_replay_result result;

		build_init(&b, "v0", 4, 8);
		build_log(&b, 9, 16, 100);
		memset(build_at(&b, 1) + WB_BLOCK, 0, WB_BLOCK);
		backing_init(&backing, 20 * 8);
		build_load(&b, 20 * 8);
		assert_class(&b, 1, WB_ZEROED);
		assert_int_equal(wb_replay(&b.ring, &scope, backing.dev, &options, &result, NULL, NULL), 0);
		assert_int_equal(wb_all_bytes(backing.bytes + 10 * WB_BLOCK, WB_BLOCK, 0), wanted);
		assert_int_equal(backing_holds(&backing, 80, ON_BACKING), !wanted);
		backing_release(&backing);
		build_release(&b);
	}
}

static void last_partial_block_of_the_backing_device_is_clipped(void **state)
{
	(void)state;
	for (uint64_t tail = 1; tail <= 8; tail++) {
		struct build b;
		struct backing backing;
		const struct wb_scope scope = { .low = 1, .high = 2 };
		const struct wb_replay_options options = { .capacity = ROOM, .verify = true };
		struct wb_replay_result result;

		build_init(&b, "v1", 4, 4);
		build_segment(&b, 1, PUTS({ 2, 0xff, 0 }));
		build_segment(&b, 2, PUTS({ 2, 0x81, 0 }));
		backing_init(&backing, 16 + tail);
		build_load(&b, 16 + tail);
		assert_int_equal(wb_replay(&b.ring, &scope, backing.dev, &options, &result, NULL, NULL), 0);
		assert_int_equal(result.planned_sectors, tail);
		assert_int_equal(result.written_sectors, tail);
		assert_int_equal(result.verified_sectors, tail);
		for (unsigned s = 0; s < tail; s++)
			assert_true(backing_holds(&backing, 16 + s, s == 0 || s == 7 ? 2 : 1));
		backing_release(&backing);
		build_release(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_rings_end_with_the_newest_write_of_every_sector),
		cmocka_unit_test(replaying_twice_changes_nothing),
		cmocka_unit_test(cache_is_never_written),
		cmocka_unit_test(empty_scope_writes_nothing),
		cmocka_unit_test(scope_bounds_are_inclusive),
		cmocka_unit_test(corrected_bit_of_data_is_written_right),
		cmocka_unit_test(corrected_bit_of_metadata_moves_the_block),
		cmocka_unit_test(addresses_ascend_and_no_sector_is_written_twice),
		cmocka_unit_test(adjacent_sectors_go_in_one_request),
		cmocka_unit_test(more_bytes_than_are_collected_at_once),
		cmocka_unit_test(more_requests_than_are_collected_at_once),
		cmocka_unit_test(failed_write_ends_what_is_collected_meanwhile),
		cmocka_unit_test(what_is_planned_is_what_is_written),
		cmocka_unit_test(nothing_is_written_after_a_failed_write),
		cmocka_unit_test(failed_write_in_one_pass_ends_all_passes),
		cmocka_unit_test(failed_flush_is_an_error),
		cmocka_unit_test(verify_catches_each_write_that_a_device_only_pretends),
		cmocka_unit_test(sector_that_cannot_be_reread_is_an_error),
		cmocka_unit_test(power_cut_after_any_write_leaves_each_sector_as_found_or_final),
		cmocka_unit_test(what_a_finished_run_wrote_survives_the_cut),
		cmocka_unit_test(stopped_run_leaves_each_sector_as_found_or_final_and_flushes),
		cmocka_unit_test(progress_reports_name_phases_and_stay_within_their_total),
		cmocka_unit_test(comparing_leaves_out_what_is_there),
		cmocka_unit_test(what_a_run_wrote_and_is_not_there_any_more_is_counted),
		cmocka_unit_test(run_begins_where_it_is_told),
		cmocka_unit_test(checkpoints_ascend_and_tell_the_truth),
		cmocka_unit_test(run_stopped_at_a_checkpoint_goes_on_from_there),
		cmocka_unit_test(dry_run_makes_no_checkpoints),
		cmocka_unit_test(device_of_whole_blocks_is_written_in_whole_blocks),
		cmocka_unit_test(block_that_cannot_be_merged_is_written_in_parts_or_not_at_all),
		cmocka_unit_test(block_that_changes_between_two_reads_is_never_written),
		cmocka_unit_test(change_since_the_log_was_loaded_is_noticed_by_its_sums),
		cmocka_unit_test(metadata_that_changes_between_two_reads_is_never_followed),
		cmocka_unit_test(unreadable_sectors_are_left_alone_and_listed),
		cmocka_unit_test(part_readable_segments_stay_out_of_a_scope_without_them),
		cmocka_unit_test(zeroed_segments_are_written_only_when_wanted),
		cmocka_unit_test(last_partial_block_of_the_backing_device_is_clipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
