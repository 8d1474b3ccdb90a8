/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/pair.c: what speaks for a pair, what against it, and what counts as dirty. */
#include "cache_builder.h"

#define BLOCKS 128u

struct scene {
	struct build b;
	struct backing backing;
};

static void scene_init(struct scene *scene)
{
	build_init(&scene->b, "v1", 5, 64);
	backing_init(&scene->backing, BLOCKS * 8);
}

static void scene_release(struct scene *scene)
{
	backing_release(&scene->backing);
	build_release(&scene->b);
}

static struct wb_proof prove_with(struct scene *scene, struct wb_dev *backing, size_t capacity, uint64_t sample)
{
	struct wb_proof proof;

	build_load(&scene->b, scene->backing.sectors);
	assert_int_equal(wb_pair_prove(&scene->b.ring, backing, capacity, sample, &proof, NULL, NULL), 0);
	return proof;
}

static struct wb_proof prove(struct scene *scene)
{
	return prove_with(scene, scene->backing.dev, ROOM, 0);
}

/* Segments 1 ... n, each with one block of its own. */
static void clean_blocks(struct scene *scene, uint64_t first, uint64_t n, uint64_t version)
{
	for (uint64_t id = first; id < first + n; id++)
		build_segment(&scene->b, id, PUTS({ id, 0x00, version }));
}

/* ---- the thresholds ---- */

static void conclusions(void **state)
{
	static const struct { uint64_t equal, differ; enum wb_pair pair; } cases[] = {
		{ 0, 0, WB_PAIR_UNPROVEN },
		{ 7, 0, WB_PAIR_UNPROVEN },
		{ 8, 0, WB_PAIR_PROVEN },
		{ 8, 8, WB_PAIR_PROVEN },
		{ 8, 9, WB_PAIR_UNPROVEN },
		{ 0, 15, WB_PAIR_UNPROVEN },
		{ 0, 16, WB_PAIR_CONTRADICTED },
		{ 1, 16, WB_PAIR_UNPROVEN },
		{ 1, 31, WB_PAIR_UNPROVEN },
		{ 1, 32, WB_PAIR_CONTRADICTED },
		{ 2, 48, WB_PAIR_CONTRADICTED },
		{ 3, 48, WB_PAIR_UNPROVEN },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct scene scene;
		struct wb_proof proof;

		scene_init(&scene);
		clean_blocks(&scene, 1, cases[i].equal, ON_BACKING);
		clean_blocks(&scene, 1 + cases[i].equal, cases[i].differ, 99);
		proof = prove(&scene);
		assert_int_equal(proof.for_, cases[i].equal);
		assert_int_equal(proof.against, cases[i].differ);
		assert_string_equal(wb_pair_name(proof.pair), wb_pair_name(cases[i].pair));
		scene_release(&scene);
	}
}

static void names_of_the_conclusions(void **state)
{
	(void)state;
	assert_string_equal(wb_pair_name(WB_PAIR_PROVEN), "proven");
	assert_string_equal(wb_pair_name(WB_PAIR_UNPROVEN), "unproven");
	assert_string_equal(wb_pair_name(WB_PAIR_CONTRADICTED), "contradicted");
}

/* ---- one block at a time ---- */

static void what_one_block_says(void **state)
{
	static const struct {
		const char *name;
		struct put puts[2];   /* segments 1 and 2; block 0 dirty 0 version 0: none */
		uint64_t held;        /* version of block 5 on BACKING */
		uint64_t for_, against, dirty_sectors;
	} cases[] = {
		{ "dirty, written back", { { 5, 0xff, 7 } }, 7, 1, 0, 0 },
		{ "dirty, not written back", { { 5, 0xff, 7 } }, ON_BACKING, 0, 0, 8 },
		{ "clean and equal", { { 5, 0x00, ON_BACKING } }, ON_BACKING, 1, 0, 0 },
		{ "clean and different", { { 5, 0x00, 7 } }, ON_BACKING, 0, 1, 0 },
		{ "an older dirty version is on BACKING", { { 5, 0xff, 7 }, { 5, 0xff, 8 } }, 7, 0, 0, 8 },
		{ "the newer dirty version is", { { 5, 0xff, 7 }, { 5, 0xff, 8 } }, 8, 1, 0, 0 },
		{ "an older clean copy differs", { { 5, 0x00, 7 }, { 5, 0xff, 8 } }, ON_BACKING, 0, 0, 8 },
		{ "an older clean copy is equal", { { 5, 0x00, ON_BACKING }, { 5, 0xff, 8 } }, ON_BACKING, 0, 0, 8 },
		{ "the newest is a clean copy", { { 5, 0xff, 7 }, { 5, 0x00, 8 } }, 8, 1, 0, 0 },
		{ "only the dirty sectors count", { { 5, 0x0f, ON_BACKING } }, ON_BACKING, 1, 0, 0 },
		{ "partly dirty, not written back", { { 5, 0x18, 7 } }, ON_BACKING, 0, 0, 2 },
		{ "two partial versions, none written back", { { 5, 0x0f, 7 }, { 5, 0x3c, 8 } }, ON_BACKING, 0, 0, 6 },
		{ "two partial versions, the older written back", { { 5, 0x0f, 7 }, { 5, 0x30, 8 } }, 7, 0, 0, 2 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct scene scene;
		struct wb_proof proof;

		scene_init(&scene);
		for (unsigned j = 0; j < 2; j++)
			if (cases[i].puts[j].version)
				build_segment(&scene.b, j + 1, &cases[i].puts[j], 1);
		backing_write(&scene.backing, 5, 0xff, cases[i].held);
		proof = prove(&scene);
		if (proof.for_ != cases[i].for_ || proof.against != cases[i].against ||
		    proof.dirty_sectors != cases[i].dirty_sectors)
			fail_msg("%s: for %u, against %u, %u dirty sectors", cases[i].name, (unsigned)proof.for_,
				 (unsigned)proof.against, (unsigned)proof.dirty_sectors);
		assert_int_equal(proof.dirty_blocks, cases[i].dirty_sectors != 0);
		assert_int_equal(proof.compared_blocks, 1);
		scene_release(&scene);
	}
}

static void blocks_of_one_repeated_byte_say_nothing(void **state)
{
	(void)state;
	for (unsigned dirty = 0; dirty < 256; dirty += 255) {
		struct scene scene;
		struct wb_proof proof;

		scene_init(&scene);
		for (uint64_t id = 1; id <= 20; id++) {
			build_segment(&scene.b, id, PUTS({ id, dirty, 0 }));
			memset(build_at(&scene.b, (uint32_t)id - 1) + WB_BLOCK, (int)id, WB_BLOCK);
			build_seal(&scene.b, (uint32_t)id - 1);
			if (id <= 10)
				memset(scene.backing.bytes + id * WB_BLOCK, (int)id, WB_BLOCK);
		}
		proof = prove(&scene);
		assert_int_equal(proof.for_, 0);
		assert_int_equal(proof.against, 0);
		assert_int_equal(proof.dirty_blocks, dirty ? 10 : 0);
		scene_release(&scene);
	}
}

static void the_same_content_counts_once(void **state)
{
	(void)state;
	for (int equal = 0; equal < 2; equal++) {
		struct scene scene;
		struct wb_proof proof;
		uint8_t block[WB_BLOCK];

		scene_init(&scene);
		fill_block(block, 1000, 1);
		for (uint64_t id = 1; id <= 20; id++) {
			build_segment(&scene.b, id, PUTS({ id, 0, 0 }));
			memcpy(build_at(&scene.b, (uint32_t)id - 1) + WB_BLOCK, block, WB_BLOCK);
			build_seal(&scene.b, (uint32_t)id - 1);
			if (equal)
				memcpy(scene.backing.bytes + id * WB_BLOCK, block, WB_BLOCK);
		}
		proof = prove(&scene);
		assert_int_equal(proof.for_, equal);
		assert_int_equal(proof.against, !equal);
		scene_release(&scene);
	}
}

static void what_cannot_be_read_counts_as_different_and_proves_nothing(void **state)
{
	struct scene scene;
	struct wb_proof proof;
	struct wb_dev *inner, *dev;
	const struct wb_range bad[] = { { 5 * WB_BLOCK, WB_SECTOR }, { 6 * WB_BLOCK + WB_SECTOR, 2 * WB_SECTOR } };
	const struct wb_fault fault = { .bad = bad, .bad_count = 2, .cut_after = UINT64_MAX };

	(void)state;
	scene_init(&scene);
	build_segment(&scene.b, 1, PUTS({ 5, 0x00, ON_BACKING }, { 6, 0xff, ON_BACKING }));
	assert_int_equal(wb_dev_memory(&inner, scene.backing.bytes, scene.backing.sectors * WB_SECTOR, NULL), 0);
	assert_int_equal(wb_dev_fault(&dev, inner, &fault, NULL), 0);
	proof = prove_with(&scene, dev, ROOM, 0);
	assert_int_equal(proof.for_, 0);
	assert_int_equal(proof.against, 0);
	assert_int_equal(proof.unreadable_sectors, 2); /* of the dirty ones */
	assert_int_equal(proof.dirty_sectors, 2);
	assert_int_equal(proof.dirty_blocks, 1);
	assert_int_equal(proof.backing_unreadable_sectors, 3); /* the clean copy's too */
	assert_int_equal(proof.backing_unreadable_first, 5 * WB_BLOCK);
	wb_dev_close(dev);
	scene_release(&scene);
}

static void last_partial_block_counts_as_far_as_it_goes(void **state)
{
	struct scene scene;
	struct wb_proof proof;

	(void)state;
	build_init(&scene.b, "v1", 5, 64);
	backing_init(&scene.backing, 40 + 3);
	build_segment(&scene.b, 1, PUTS({ 5, 0xff, 7 }));
	proof = prove(&scene);
	assert_int_equal(proof.dirty_sectors, 3);
	for (unsigned i = 0; i < 3; i++)
		fill_sector(scene.backing.bytes + (40 + i) * WB_SECTOR, 40 + i, 7);
	proof = prove(&scene);
	assert_int_equal(proof.dirty_sectors, 0);
	assert_int_equal(proof.for_, 1);
	scene_release(&scene);
}

/* ---- all of it ---- */

static void capacity_does_not_change_the_proof(void **state)
{
	struct scene scene;
	struct wb_proof one, several;

	(void)state;
	scene_init(&scene);
	clean_blocks(&scene, 1, 20, ON_BACKING);
	clean_blocks(&scene, 21, 20, 99);
	for (uint64_t id = 41; id <= 64; id++)
		build_segment(&scene.b, id, PUTS({ id, 0x1e, 0 }));
	one = prove(&scene);
	several = prove_with(&scene, scene.backing.dev, 16, 0);
	assert_memory_equal(&one, &several, sizeof(one));
	assert_int_equal(one.for_, 20);
	assert_int_equal(one.against, 20);
	assert_int_equal(one.dirty_blocks, 24);
	assert_int_equal(one.dirty_sectors, 96);
	assert_int_equal(one.compared_blocks, 64);
	scene_release(&scene);
}

static void sample_compares_some(void **state)
{
	struct scene scene;
	struct wb_proof proof;

	(void)state;
	scene_init(&scene);
	for (uint64_t id = 1; id <= 64; id++)
		build_segment(&scene.b, id, PUTS({ id, 0xff, 0 }));
	proof = prove_with(&scene, scene.backing.dev, ROOM, 8);
	assert_true(proof.compared_blocks >= 1 && proof.compared_blocks <= 24);
	proof = prove_with(&scene, scene.backing.dev, ROOM, 1000);
	assert_int_equal(proof.compared_blocks, 64);
	scene_release(&scene);
}

/* What is trusted to have been written back is not replayed, but it is still the log of this disk. */
static void trusting_the_record_does_not_change_the_proof(void **state)
{
	static const uint64_t records[] = { 10, 20, 25 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(records); i++) {
		struct wb_ring_options options = { .record_use = WB_RECORD_TRUST };
		struct scene scene;
		struct wb_proof proof;

		build_init(&scene.b, "v1", 5, 64);
		backing_init(&scene.backing, BLOCKS * 8);
		clean_blocks(&scene, 1, 20, ON_BACKING);
		build_record(&scene.b, records[i]);
		options.backing_sectors = scene.backing.sectors;
		build_load_on(&scene.b, NULL, &options);
		uint64_t first = scene.b.ring.first;

		assert_true(first > 10);
		assert_int_equal(wb_pair_prove(&scene.b.ring, scene.backing.dev, ROOM, 0, &proof, NULL, NULL), 0);
		assert_int_equal(proof.for_, 20);
		assert_int_equal(scene.b.ring.options.record_use, WB_RECORD_TRUST);
		assert_int_equal(scene.b.ring.first, first);
		scene_release(&scene);
	}
}

static void nothing_is_written(void **state)
{
	struct scene scene;
	struct spy *spy = malloc(sizeof(*spy));

	(void)state;
	scene_init(&scene);
	build_log(&scene.b, 1, 64, 100);
	spy_init(spy, scene.backing.dev);
	prove_with(&scene, &spy->dev, ROOM, 0);
	assert_int_equal(spy->writes, 0);
	assert_true(spy->reads > 0);
	free(spy);
	scene_release(&scene);
}

static int stop_now(void *context)
{
	(void)context;
	return 1;
}

static void proof_can_be_stopped(void **state)
{
	const struct wb_progress progress = { .stop = stop_now };
	struct scene scene;
	struct wb_proof proof;

	(void)state;
	scene_init(&scene);
	build_log(&scene.b, 1, 64, 100);
	build_load(&scene.b, 0);
	assert_int_equal(wb_pair_prove(&scene.b.ring, scene.backing.dev, ROOM, 0, &proof, &progress, NULL), -WB_ESTOPPED);
	scene_release(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conclusions),
		cmocka_unit_test(names_of_the_conclusions),
		cmocka_unit_test(what_one_block_says),
		cmocka_unit_test(blocks_of_one_repeated_byte_say_nothing),
		cmocka_unit_test(the_same_content_counts_once),
		cmocka_unit_test(what_cannot_be_read_counts_as_different_and_proves_nothing),
		cmocka_unit_test(last_partial_block_counts_as_far_as_it_goes),
		cmocka_unit_test(capacity_does_not_change_the_proof),
		cmocka_unit_test(sample_compares_some),
		cmocka_unit_test(trusting_the_record_does_not_change_the_proof),
		cmocka_unit_test(nothing_is_written),
		cmocka_unit_test(proof_can_be_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
