/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/evidence.c, account.c, and what the replay does about claims: nothing older over something newer, nothing whole
 * left behind silently. */
#include "cache_builder.h"
#include "evidence.h"
#include "versions.h"

#define BLOCKS 64u

struct scene {
	struct build b;
	struct backing backing;
	struct wb_decision decision;
	struct wb_replay_result result;
	struct wb_range bad; /* of CACHE, where a test wants it */
};

static void scene_init(struct scene *scene, const char *format)
{
	memset(scene, 0, sizeof(*scene));
	build_init(&scene->b, format, 5, 8);
	backing_init(&scene->backing, BLOCKS * 8);
}

static void scene_release(struct scene *scene)
{
	backing_release(&scene->backing);
	build_release(&scene->b);
}

static void break_seal(struct build *b, uint64_t id)
{
	memset(build_at(b, wb_slot_of(&b->geometry, id)) + b->geometry.format->checksum.offset, 0x77, 4);
}

static void decide_with(struct scene *scene, struct wb_decide_options options)
{
	const struct wb_replay_options replay = { .capacity = ROOM, .verify = true };

	options.capacity = ROOM;
	assert_int_equal(wb_decide(&scene->b.ring, scene->backing.dev, &options, &scene->decision, NULL, NULL), 0);
	assert_int_equal(wb_replay(&scene->b.ring, &scene->decision.scope, scene->backing.dev, &replay, &scene->result, NULL,
				   NULL), 0);
}

static void decide(struct scene *scene, enum wb_policy policy)
{
	decide_with(scene, (struct wb_decide_options){ .policy = policy });
}

static unsigned status_of(struct scene *scene, enum wb_policy policy)
{
	const struct wb_decide_options options = { .policy = policy };

	return wb_decision_status(&scene->b.ring, &options, &scene->decision, &scene->result);
}

static bool may_end(struct scene *scene, enum wb_policy policy)
{
	const struct wb_decide_options options = { .policy = policy };

	return wb_decision_may_end(&scene->b.ring, &options, &scene->decision, &scene->result);
}

/* ---- what claims ---- */

/* 16 is the newest of eight; what stands in slot 4 claims what it says, or not. */
static void headers_in_place_within_a_lap_of_the_newest_claim(void **state)
{
	static const struct { uint64_t id; uint8_t length; uint16_t flags; bool claims, planned; } cases[] = {
		{ 13, 1, WB_SLOT_SEALED, true, true },  { 21, 1, 0, true, false }, { 37, 1, 0, false, false },
		{ 29, 1, 0, true, false }, /* broken: a lap may have been lost */
		{ 29, 1, WB_SLOT_SEALED | WB_SLOT_LAP, false, false },
		{ 5, 1, 0, false, false },              { 0, 1, 0, false, false }, { 12, 1, 0, false, false },
		{ 13, 0, 0, false, true },              { 13, 4, 0, false, true }, { 13, 1, WB_SLOT_NO_HEADER, false, true },
		{ UINT64_MAX - 2, 1, 0, false, false },
	};
	const struct wb_scope scope = { .low = 9, .high = 16 };
	struct scene scene;

	(void)state;
	scene_init(&scene, "v1");
	build_log(&scene.b, 9, 16, 1000);
	build_load(&scene.b, 0);
	assert_false(wb_ring_takes_part(&scene.b.ring, &scope, 0));
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_slot *slot = &scene.b.ring.slots[4];

		slot->id = cases[i].id;
		slot->length = cases[i].length;
		slot->flags = cases[i].flags;
		assert_int_equal(wb_slot_claims(&scene.b.ring, 4), cases[i].claims);
		assert_int_equal(wb_ring_takes_part(&scene.b.ring, &scope, 13), cases[i].planned);
	}
	scene_release(&scene);
}

/* ---- a torn tail that was written back ---- */

/* Ids 9 ... 16 write block id and blocks 0, 1 or 2; 17 is torn and bears three of those blocks. */
static void tail_scene(struct scene *scene)
{
	scene_init(scene, "v1");
	for (uint64_t id = 9; id <= 16; id++)
		build_segment(&scene->b, id, PUTS({ id, 0xff, 0 }, { id % 3, 0xff, 0 }));
	build_segment(&scene->b, 17, PUTS({ 0, 0xff, 0 }, { 1, 0xff, 0 }, { 2, 0xff, 0 }));
	break_seal(&scene->b, 17);
}

static void bring_up_to(struct scene *scene, uint64_t id)
{
	for (uint64_t i = 9; i <= 16 && i <= id; i++) {
		backing_write(&scene->backing, i, 0xff, i);
		backing_write(&scene->backing, i % 3, 0xff, i);
	}
	for (uint64_t block = 0; block < 3 && id >= 17; block++)
		backing_write(&scene->backing, block, 0xff, 17);
}

static void torn_tail_that_was_written_back_is_rotten(void **state)
{
	static const struct {
		const char *name;
		uint64_t up_to;
		unsigned tail_blocks; /* so many blocks of 17 are on BACKING all the same */
		bool rotten;
	} cases[] = {
		{ "nothing was", 8, 0, false },       { "all before it was", 16, 0, false },
		{ "it was", 17, 0, true },            { "a part of it was", 16, 1, false },
		{ "most of it was", 16, 2, true },    { "but nothing before it", 8, 3, false },
		{ "and hardly anything before it", 11, 3, false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct scene scene;

		tail_scene(&scene);
		bring_up_to(&scene, cases[i].up_to);
		for (unsigned block = 0; block < cases[i].tail_blocks; block++)
			backing_write(&scene.backing, block, 0xff, 17);
		build_load(&scene.b, BLOCKS * 8);
		assert_class(&scene.b, 0, WB_TORN_TAIL);
		decide(&scene, WB_STRICT);
		if ((class_at(&scene.b, 0) == WB_ROTTEN) != cases[i].rotten)
			fail_msg("%s: %s", cases[i].name, wb_class_name(class_at(&scene.b, 0)));
		assert_int_equal(scene.decision.refused, cases[i].rotten ? WB_REFUSE_ROTTEN : 0);
		for (uint64_t block = 0; block < 3 && cases[i].rotten; block++)
			assert_true(backing_holds(&scene.backing, block * 8, block < cases[i].tail_blocks || cases[i].up_to == 17 ?
						  17 : 14 + (block + 1) % 3));
		scene_release(&scene);
	}
}

static void tail_scene_of(struct scene *scene, const struct put *puts, size_t n)
{
	tail_scene(scene);
	build_segment(&scene->b, 17, puts, n);
	break_seal(&scene->b, 17);
}

static void expect_tail(struct scene *scene, enum wb_class class_)
{
	build_load(&scene->b, BLOCKS * 8);
	decide(scene, WB_STRICT);
	assert_class(&scene->b, 0, class_);
	scene_release(scene);
}

static void of_a_tail_that_writes_a_block_twice_the_second_version_counts(void **state)
{
	(void)state;
	for (uint64_t held = 1; held <= 2; held++) {
		struct scene scene;

		tail_scene_of(&scene, PUTS({ 0, 0xff, 1001 }, { 0, 0xff, 1002 }));
		bring_up_to(&scene, 16);
		backing_write(&scene.backing, 0, 0xff, 1000 + held);
		expect_tail(&scene, held == 2 ? WB_ROTTEN : WB_TORN_TAIL);
	}
}

/* BACKING lacks 15 and 16, whose blocks 0 and 1 the tail holds with the same bytes: only block 2 tells anything. */
static void what_a_tail_holds_as_the_window_does_tells_nothing(void **state)
{
	(void)state;
	for (unsigned written = 0; written < 2; written++) {
		struct scene scene;

		tail_scene_of(&scene, PUTS({ 0, 0xff, 15 }, { 1, 0xff, 16 }, { 2, 0xff, 17 }));
		bring_up_to(&scene, 14);
		backing_write(&scene.backing, 2, written ? 0xff : 0, 17);
		expect_tail(&scene, written ? WB_ROTTEN : WB_TORN_TAIL);
	}
}

/* v0 discards what it has written back: zeroes that BACKING lacks do not say that it lacks what is below the tail. */
static void discarded_segments_say_nothing_about_a_tail(void **state)
{
	struct scene scene;

	(void)state;
	scene_init(&scene, "v0");
	for (uint64_t id = 9; id <= 16; id++)
		build_segment(&scene.b, id, PUTS({ id, 0xff, 0 }, { id % 3, 0xff, 0 }));
	for (uint64_t id = 10; id <= 14; id++)
		memset(build_at(&scene.b, wb_slot_of(&scene.b.geometry, id)) + WB_BLOCK, 0, 2 * WB_BLOCK);
	build_segment(&scene.b, 17, PUTS({ 40, 0xff, 0 }, { 0, 0xff, 0 }, { 1, 0xff, 0 }));
	build_at(&scene.b, 0)[scene.b.geometry.format->metablocks + scene.b.geometry.format->mb_lap.offset] ^= 0xff;
	bring_up_to(&scene, 17);
	build_load(&scene.b, BLOCKS * 8);
	assert_class(&scene.b, 0, WB_TORN_TAIL);
	assert_class(&scene.b, 2, WB_ZEROED);
	decide(&scene, WB_STRICT);
	assert_class(&scene.b, 0, WB_ROTTEN);
	scene_release(&scene);
}

static void salvage_writes_nothing_below_a_tail_that_was_written_back(void **state)
{
	struct scene scene;

	(void)state;
	tail_scene(&scene);
	bring_up_to(&scene, 17);
	build_load(&scene.b, BLOCKS * 8);
	decide(&scene, WB_SALVAGE);
	assert_int_equal(scene.decision.cut, 17);
	assert_int_equal(scene.result.planned_sectors, 0);
	assert_int_equal(status_of(&scene, WB_SALVAGE), 5);
	assert_false(may_end(&scene, WB_SALVAGE));
	scene_release(&scene);
}

/* Only the header landed: below it are metablocks and data of 9, which was written back; 16 was not. */
static void header_of_a_torn_tail_over_what_was_written_back_is_no_damage(void **state)
{
	struct scene scene;

	(void)state;
	scene_init(&scene, "v1");
	for (uint64_t id = 9; id <= 16; id++)
		build_segment(&scene.b, id, PUTS({ id % 3, 0xff, 0 }, { id, 0xff, 0 }));
	wb_put_le(build_id_at(&scene.b, 0), 8, 17);
	break_seal(&scene.b, 17);
	backing_write(&scene.backing, 0, 0xff, 9);
	backing_write(&scene.backing, 9, 0xff, 9);
	build_load(&scene.b, BLOCKS * 8);
	decide(&scene, WB_STRICT);
	assert_class(&scene.b, 0, WB_TORN_TAIL);
	assert_int_equal(scene.decision.refused, 0);
	assert_true(backing_holds(&scene.backing, 0, 15));
	assert_int_equal(status_of(&scene, WB_STRICT), 0);
	assert_true(may_end(&scene, WB_STRICT));
	scene_release(&scene);
}

/* A run that was cut off has changed BACKING, and what it decided stands. */
static void resumed_run_does_not_compare_the_tail_again(void **state)
{
	struct scene scene;

	(void)state;
	tail_scene(&scene);
	bring_up_to(&scene, 17);
	build_load(&scene.b, BLOCKS * 8);
	decide_with(&scene, (struct wb_decide_options){ .policy = WB_PREFIX, .resumed = true, .force_regress = true });
	assert_class(&scene.b, 0, WB_TORN_TAIL);
	scene_release(&scene);
}

/* ---- what a hole's own metablocks protect ---- */

/* Block 1: written by 10 and by 13, which is rotten; BACKING holds what the case says. */
static void a_readable_hole_protects_what_may_be_its_own(void **state)
{
	static const struct {
		const char *name;
		uint64_t held;  /* 0: one repeated byte */
		bool written;
	} cases[] = {
		{ "one repeated byte", 0, true },      { "an older version", 9, true },  { "the planned version", 10, true },
		{ "the hole's version", 13, false },   { "unknown bytes", 77, false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct scene scene;

		scene_init(&scene, "v1");
		build_log(&scene.b, 9, 16, 1000);
		build_segment(&scene.b, 9, PUTS({ 1, 0xff, 0 }));
		build_segment(&scene.b, 10, PUTS({ 1, 0xff, 0 }));
		build_segment(&scene.b, 13, PUTS({ 1, 0x0f, 0 }));
		break_seal(&scene.b, 13);
		if (cases[i].held)
			backing_write(&scene.backing, 1, 0xff, cases[i].held);
		else
			memset(scene.backing.bytes + WB_BLOCK, 0xa5, WB_BLOCK);
		build_load(&scene.b, BLOCKS * 8);
		decide(&scene, WB_SALVAGE);
		assert_int_equal(scene.decision.cut, 0);
		if (backing_holds(&scene.backing, 8, 10) != cases[i].written)
			fail_msg("%s: sector 8 of BACKING", cases[i].name);
		assert_true(backing_holds(&scene.backing, 8 + 4, 10)); /* which the hole does not claim */
		assert_int_equal(scene.result.contested_sectors, cases[i].written ? 0 : 4);
		assert_int_equal(status_of(&scene, WB_SALVAGE), 5);
		scene_release(&scene);
	}
}

/* Sectors that are not what the replay of the decision has written. */
static uint64_t count_differing(struct scene *scene)
{
	uint64_t differing;

	assert_int_equal(wb_replay_compare(&scene->b.ring, &scene->decision.scope, scene->backing.dev, ROOM, UINT64_MAX, 0, &differing,
					   NULL, NULL), 0);
	return differing;
}

/* More versions of one block than are read together, and a newer claim among them. */
static void very_many_versions_of_a_block_do_not_hide_a_claim(void **state)
{
	static const struct { uint64_t held, hole; bool written; } cases[] = {
		{ 1150, 1150, false }, { 1150, 0, true }, { 50, 1150, true }, { 600, 1150, true },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct scene scene;

		memset(&scene, 0, sizeof(scene));
		build_init(&scene.b, "v1", 4, 1200);
		backing_init(&scene.backing, BLOCKS * 8);
		for (uint64_t id = 1; id <= 1200; id++)
			build_segment(&scene.b, id, PUTS({ id > 1150 ? 5 : 0, 0xff, 0 }));
		if (cases[i].hole)
			break_seal(&scene.b, cases[i].hole);
		backing_write(&scene.backing, 0, 0xff, cases[i].held);
		build_load(&scene.b, BLOCKS * 8);
		decide(&scene, WB_SALVAGE);
		assert_int_equal(backing_holds(&scene.backing, 0, cases[i].hole ? 1149 : 1150), cases[i].written);
		assert_int_equal(scene.result.contested_sectors, cases[i].written ? 0 : 8);
		assert_int_equal(count_differing(&scene), 0);
		backing_write(&scene.backing, 0, 0x08, 50);
		assert_int_equal(count_differing(&scene), 1);
		scene_release(&scene);
	}
}

/* A clean copy tells that BACKING held this when it was made. */
static void a_clean_copy_above_a_hole_is_evidence(void **state)
{
	struct scene scene;

	(void)state;
	memset(&scene, 0, sizeof(scene));
	build_init(&scene.b, "v2", 10, 4);
	backing_init(&scene.backing, BLOCKS * 8);
	build_segment(&scene.b, 1, PUTS({ 0, 0xff, 0 }));
	build_segment(&scene.b, 3, PUTS({ 0, 0x00, 2 }));
	build_segment(&scene.b, 4, PUTS({ 9, 0xff, 0 }));
	backing_write(&scene.backing, 0, 0xff, 2);
	build_load(&scene.b, BLOCKS * 8);
	decide(&scene, WB_PREFIX);
	assert_int_equal(scene.decision.refused, WB_REFUSE_REGRESS);
	assert_int_equal(scene.decision.evidence, 8);
	assert_true(backing_holds(&scene.backing, 0, 2));
	scene_release(&scene);
}

/* ---- the rule in the replay itself ---- */

static void replay_refuses_what_was_not_decided(void **state)
{
	static const struct { int guard; int ret; uint64_t holds; } cases[] = {
		{ WB_GUARD_REFUSE, -WB_ENEWER, 14 }, { WB_GUARD_PROTECT, 0, 14 }, { WB_GUARD_OFF, 0, 10 },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		const struct wb_replay_options replay = { .capacity = ROOM };
		struct wb_scope scope = { .low = 9, .high = 12, .claims = true };
		struct wb_error err = { 0 };
		struct scene scene;

		scene_init(&scene, "v1");
		build_log(&scene.b, 9, 16, 1000);
		build_segment(&scene.b, 10, PUTS({ 1, 0xff, 0 }));
		build_segment(&scene.b, 14, PUTS({ 1, 0xff, 0 }));
		backing_write(&scene.backing, 1, 0xff, 14);
		build_load(&scene.b, BLOCKS * 8);
		scope.guard = (__typeof__(scope.guard))cases[i].guard;
		assert_int_equal(wb_replay(&scene.b.ring, &scope, scene.backing.dev, &replay, &scene.result, NULL, &err),
				 cases[i].ret);
		assert_int_equal(err.offset, cases[i].ret ? WB_BLOCK : err.offset);
		assert_true(backing_holds(&scene.backing, 8, cases[i].holds));
		scene_release(&scene);
	}
}

/* ---- the record of v0 ---- */

static void record_is_contradicted_by_what_backing_lacks(void **state)
{
	static const struct {
		uint64_t on_backing; /* up to this id */
		uint64_t zeroed;     /* so many more are */
		uint64_t newest;     /* and, if it is not 0, from this one on they are again */
		bool contradicted;
	} cases[] = {
		{ 0, 0, 0, true }, { 2, 0, 0, true }, { 4, 0, 0, true }, { 5, 0, 0, true }, { 6, 0, 0, false }, { 0, 3, 0, true },
		{ 0, 6, 0, false }, { 1, 5, 0, false }, { 1, 4, 0, true },
		/* of those the newest are there: what is missing is another's fault */
		{ 2, 0, 5, false }, { 2, 0, 6, true }, { 4, 0, 6, false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct scene scene;

		scene_init(&scene, "v0");
		build_log(&scene.b, 1, 7, 1000);
		build_record(&scene.b, 6);
		for (uint64_t id = 1; id <= cases[i].on_backing; id++)
			backing_write(&scene.backing, id, 0xff, id);
		for (uint64_t id = 1; id <= cases[i].zeroed; id++)
			memset(build_at(&scene.b, (uint32_t)(cases[i].on_backing + id - 1)) + WB_BLOCK, 0, WB_BLOCK);
		for (uint64_t id = cases[i].newest; id && id <= 6; id++)
			backing_write(&scene.backing, id, 0xff, id);
		build_load(&scene.b, BLOCKS * 8);
		decide(&scene, WB_STRICT);
		assert_int_equal(scene.decision.record_contradicted, cases[i].contradicted);
		assert_int_equal(scene.decision.refused, cases[i].contradicted ? WB_REFUSE_CONTRADICTED : 0);
		decide(&scene, WB_SALVAGE);
		assert_int_equal(scene.decision.refused, 0);
		assert_int_equal(scene.result.planned_sectors, 8); /* the record is honoured */
		assert_int_equal(status_of(&scene, WB_SALVAGE), cases[i].contradicted ? 5 : 0);
		assert_int_equal(may_end(&scene, WB_SALVAGE), !cases[i].contradicted);
		scene_release(&scene);
	}
}

/* ---- the account ---- */

struct noted {
	struct wb_left left[8];
	unsigned count, unusable;
};

static void note_left(void *context, const struct wb_left *left)
{
	struct noted *noted = context;

	assert_true(noted->count < LENGTH_OF(noted->left));
	noted->left[noted->count++] = *left;
}

static void note_unusable(void *context, uint64_t id, unsigned index, uint64_t sector, uint8_t dirty)
{
	struct noted *noted = context;

	noted->unusable++;
	assert_true(id == 15 && index == 0 && sector == BLOCKS * 8 && dirty == 0xff);
}

/* Ids 7 ... 10 on the four slots that are given, and one more in slot 5; 512 bytes of that may be unreadable. */
static void beyond_scene(struct scene *scene, const char *format, uint64_t id, bool intact, uint64_t unreadable)
{
	const struct wb_ring_options load = { .backing_sectors = BLOCKS * 8, .sums_memory = 1 << 20, .jobs = 1 };
	struct wb_overrides overrides = { .slots = 4 };

	memset(scene, 0, sizeof(*scene));
	build_init(&scene->b, format, wb_format_find(format)->order_min, 6);
	backing_init(&scene->backing, BLOCKS * 8);
	build_segment_at(&scene->b, 5, id, PUTS({ id, 0xff, 0 }));
	if (!intact) /* a lap, or a bit of the data that the checksum covers */
		build_at(&scene->b, 5)[wb_seal_covers_data(scene->b.geometry.format) ? 5000 : 9] ^= 1;
	scene->bad = (struct wb_range){ wb_slot_offset(&scene->b.geometry, 5) + unreadable, 512 };
	scene->b.geometry.slots = 4;
	build_log(&scene->b, 7, 10, 1000);
	scene->b.dev = build_bad(&scene->b, &scene->bad, unreadable != 0);
	assert_int_equal(wb_cache_open(&scene->b.cache, scene->b.dev, &overrides, NULL), 0);
	assert_int_equal(wb_ring_load(&scene->b.ring, &scene->b.cache, &load, NULL, NULL), 0);
}

/* Newer ones may be what BACKING holds; others are left out, and strict wants to know first. */
static void segments_beyond_the_given_slots_are_left_out_or_refused(void **state)
{
	static const char *const formats[] = { "v0", "v1", "v2" };
	static const struct { uint64_t id; bool intact; uint64_t unreadable, told; bool left, by_all; } cases[] = {
		{ 18, true, 0, 18, true, true },    { 6, true, 0, 6, true, false },    { 18, false, 0, 0, false, false },
		{ 18, true, 512, 0, true, false }, /* what cannot be read may be intact */
		{ 18, true, 5120, 18, true, true }, { 6, true, 5120, 6, true, false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases) * LENGTH_OF(formats) * 3; i++) {
		enum wb_policy policy = (enum wb_policy)(i % 3);
		const char *format = formats[i / 3 % 3];
		__typeof__(cases[0]) *c = &cases[i / 9];
		bool refused = c->left && (c->by_all || policy == WB_STRICT);
		struct noted noted = { .count = 0 };
		struct scene scene;

		beyond_scene(&scene, format, c->id, c->intact, c->unreadable);
		decide_with(&scene, (struct wb_decide_options){ .policy = policy, .context = &noted, .left = note_left });
		if (scene.decision.refused != (refused ? WB_REFUSE_GEOMETRY : 0))
			fail_msg("%s, case %zu, policy %u: %x", format, i / 9, policy, scene.decision.refused);
		assert_int_equal(status_of(&scene, policy), refused ? 4 : c->left ? 5 : 0);
		assert_int_equal(may_end(&scene, policy), !c->left);
		assert_int_equal(backing_holds(&scene.backing, 10 * 8, 10), !refused);
		assert_int_equal(noted.count, c->left);
		assert_true(!c->left || (noted.left[0].reason == WB_LEFT_BEYOND_SLOTS && noted.left[0].slot == 5 &&
					 noted.left[0].id == c->told));
		assert_int_equal(noted.count ? noted.left[0].sectors : 8, c->told || !c->left ? 8 : 8 * scene.b.geometry.capacity);
		scene_release(&scene);
	}
}

/* The record is trusted: what is not written is left out, unless BACKING holds it, or what is written goes over it. */
static void what_a_trusted_record_leaves_out_is_told_unless_backing_holds_it(void **state)
{
	static const struct {
		uint64_t on_backing; /* up to this id */
		uint64_t record;
		unsigned left;
	} cases[] = {
		{ 0, 2, 2 }, { 1, 2, 1 }, { 2, 2, 0 }, { 4, 2, 0 }, { 0, 3, 2 }, { 4, 6, 0 }, { 0, 6, 3 },
	};
	static const char *const formats[] = { "v1", "v2" };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases) * LENGTH_OF(formats) * 3; i++) {
		__typeof__(cases[0]) *c = &cases[i / 6];
		const struct wb_ring_options load = { .backing_sectors = BLOCKS * 8, .sums_memory = 1 << 20, .jobs = 1,
						      .record_use = WB_RECORD_TRUST };
		struct noted noted = { .count = 0 };
		struct wb_decide_options options = { .policy = (enum wb_policy)(i % 3), .context = &noted, .left = note_left };
		struct scene scene;

		memset(&scene, 0, sizeof(scene));
		build_init(&scene.b, formats[i / 3 % 2], wb_format_find(formats[i / 3 % 2])->order_max, 4);
		backing_init(&scene.backing, BLOCKS * 8);
		build_log(&scene.b, 1, 3, 1000);
		build_segment(&scene.b, 4, PUTS({ 4, 0xff, 0 }, { 3, 0xff, 0 }));
		build_record(&scene.b, c->record);
		for (uint64_t id = 1; id <= c->on_backing; id++)
			backing_write(&scene.backing, id, 0xff, id == 3 ? 4 : id);
		build_load_on(&scene.b, NULL, &load);
		decide_with(&scene, options);
		assert_int_equal(scene.decision.refused, 0);
		if (scene.decision.left_segments != c->left)
			fail_msg("case %zu: %d left", i / 6, (int)scene.decision.left_segments);
		for (unsigned k = 0; k < noted.count; k++)
			assert_true(noted.left[k].reason == WB_LEFT_RECORD && noted.left[k].sectors);
		assert_int_equal(noted.count, c->left);
		assert_int_equal(wb_decision_status(&scene.b.ring, &options, &scene.decision, &scene.result), c->left ? 5 : 0);
		assert_false(wb_decision_may_end(&scene.b.ring, &options, &scene.decision, &scene.result));
		scene_release(&scene);
	}
}

/* One slot each of what is left out, and what is said of it. */
static void each_slot_left_out_is_told_with_its_reason(void **state)
{
	struct noted noted = { .count = 0 };
	struct scene scene;

	(void)state;
	scene_init(&scene, "v1");
	build_log(&scene.b, 9, 16, 1000);
	build_segment(&scene.b, 15, PUTS({ 15, 0xff, 0 }, { 20, 0xff, 0 }, { BLOCKS, 0x00, 0 }));
	wb_put_le(build_id_at(&scene.b, 2), 8, 0x12345678); /* 11 */
	break_seal(&scene.b, 14);
	wb_put_le(build_at(&scene.b, 6) + 512, 8, BLOCKS * 8); /* 15, beyond BACKING */
	build_seal(&scene.b, 6);
	build_load(&scene.b, BLOCKS * 8);
	decide_with(&scene, (struct wb_decide_options){ .policy = WB_SALVAGE, .context = &noted, .left = note_left,
							.unusable = note_unusable });
	assert_int_equal(noted.unusable, 1);
	assert_int_equal(noted.count, 3);
	assert_int_equal(noted.count, scene.decision.left_segments);
	assert_int_equal(noted.left[0].slot, 2);
	assert_int_equal(noted.left[0].id, 0x12345678);
	assert_int_equal(noted.left[0].class_, WB_ALIEN_ID);
	assert_int_equal(noted.left[1].slot, 5);
	assert_int_equal(noted.left[1].class_, WB_ROTTEN);
	assert_int_equal(noted.left[2].slot, 6);
	assert_int_equal(noted.left[2].reason, WB_LEFT_METABLOCKS);
	assert_int_equal(noted.left[2].sectors, 8); /* without the clean block, and the one that is written */
	noted.count = 0;
	decide_with(&scene, (struct wb_decide_options){ .policy = WB_PREFIX, .context = &noted, .left = note_left });
	assert_int_equal(noted.count, 6); /* 11 and all above it */
	assert_int_equal(noted.left[1].reason, WB_LEFT_CUT);
	assert_string_equal(wb_left_name(noted.left[1].reason), "cut");
	assert_int_equal(status_of(&scene, WB_PREFIX), 5);
	scene_release(&scene);
}

/* Ids 17 to 24; the write of 19, or 17, was lost, and all others are flushes but 18. The record, where there is one, is beyond. */
static void a_lost_hole_is_a_problem_below_a_cut_too(void **state)
{
	static const struct { enum wb_policy policy; uint64_t record; bool head_lost; } cases[] = {
		{ WB_PREFIX, 0, false }, { WB_SALVAGE, 0, false }, { WB_SALVAGE, 17, true },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		uint64_t lost = cases[i].head_lost ? 17 : 19;
		struct scene scene;

		scene_init(&scene, "v1");
		for (uint64_t id = 17; id <= 24; id++)
			build_segment_at(&scene.b, (uint32_t)(id - 17), id == lost ? id - 8 : id, (const struct put[]){ { id, 0xff, 0 } },
					 id == 18);
		build_record(&scene.b, cases[i].record);
		build_load(&scene.b, BLOCKS * 8);
		assert_int_equal(scene.b.ring.holes, 1);
		decide(&scene, cases[i].policy);
		assert_int_equal(scene.decision.refused, 0);
		assert_int_equal(scene.decision.unknown_holes, 1);
		assert_int_equal(status_of(&scene, cases[i].policy), 5);
		assert_false(may_end(&scene, cases[i].policy));
		scene_release(&scene);
	}
}

/* v0 stores laps modulo 2^32: there is a lap 0, and 1 follows it again. */
static void laps_begin_again_at_0_and_the_log_goes_on(void **state)
{
	(void)state;
	for (unsigned lap = 0; lap < 2; lap++) {
		uint64_t last = ((UINT64_C(1) << 32) - 1 + lap) * 8 + 4;
		struct scene scene;

		scene_init(&scene, "v0");
		build_log(&scene.b, last - 7, last, 50);
		assert_int_equal(wb_lap_of(&scene.b.geometry, last), lap);
		build_load(&scene.b, BLOCKS * 8);
		assert_int_equal(scene.b.ring.head, last);
		assert_int_equal(scene.b.ring.holes, 0);
		decide(&scene, WB_STRICT);
		assert_int_equal(status_of(&scene, WB_STRICT), 0);
		for (uint64_t id = last - 6; id <= last; id++)
			assert_true(backing_holds(&scene.backing, id % 50 * 8, id));
		scene_release(&scene);
	}
}

static void until_0_writes_nothing_and_says_so(void **state)
{
	const struct wb_decide_options options = { .policy = WB_PREFIX, .until_given = true };
	struct scene scene;

	(void)state;
	scene_init(&scene, "v0");
	build_log(&scene.b, 1, 1, 1000);
	build_load(&scene.b, BLOCKS * 8);
	decide_with(&scene, options);
	assert_int_equal(scene.decision.refused, 0);
	assert_int_equal(scene.result.planned_sectors, 0);
	assert_int_equal(wb_decision_status(&scene.b.ring, &options, &scene.decision, &scene.result), 5);
	assert_false(wb_decision_may_end(&scene.b.ring, &options, &scene.decision, &scene.result));
	scene_release(&scene);
}

static void everything_is_beyond_a_backing_device_of_no_size(void **state)
{
	const struct wb_ring_options load = { .backing_sectors = WB_NO_SECTORS };
	struct scene scene;

	(void)state;
	scene_init(&scene, "v1");
	build_log(&scene.b, 9, 16, 1000);
	build_load_on(&scene.b, NULL, &load);
	decide(&scene, WB_STRICT);
	assert_int_equal(scene.decision.refused, WB_REFUSE_BEYOND);
	decide(&scene, WB_PREFIX);
	assert_int_equal(scene.decision.refused, 0);
	assert_int_equal(scene.result.planned_sectors, 0);
	assert_int_equal(status_of(&scene, WB_PREFIX), 5);
	scene_release(&scene);
}

/* Ids 9 to 16, then 1 to 3 over them; 1 wrote block 40, and its seal is broken. BACKING has it. */
static void broken_segment_of_the_new_line_keeps_the_old_one_away(void **state)
{
	static const struct wb_ring_options options = { .timeline = WB_TIMELINE_OLD };
	struct scene scene;

	(void)state;
	scene_init(&scene, "v1");
	for (uint64_t id = 12; id <= 16; id++)
		build_segment(&scene.b, id, PUTS({ id, 0xff, 0 }, { 40, 0xff, 0 }));
	build_log(&scene.b, 1, 3, 1000);
	build_segment(&scene.b, 1, PUTS({ 40, 0xff, 1001 }));
	break_seal(&scene.b, 1);
	backing_write(&scene.backing, 40, 0xff, 1001);
	build_load_on(&scene.b, NULL, &options);
	decide(&scene, WB_STRICT);
	assert_int_equal(status_of(&scene, WB_STRICT), 4);
	assert_true(backing_holds(&scene.backing, 40 * 8, 1001));
	assert_false(backing_holds(&scene.backing, 12 * 8, 12));
	decide(&scene, WB_SALVAGE);
	assert_int_equal(status_of(&scene, WB_SALVAGE), 5);
	assert_true(backing_holds(&scene.backing, 40 * 8, 1001));
	assert_true(backing_holds(&scene.backing, 12 * 8, 12));
	scene_release(&scene);
}

/* 1 and 2, above them 3 of the other dialect, and 4 as the first ones: the write of 3 was lost, or there were two more lines. */
static void what_may_go_on_with_the_new_line_is_not_overwritten(void **state)
{
	static const struct { const char *name; uint64_t block, held; bool refused; } cases[] = {
		{ "nothing of 4 is there", 40, 1, false },    { "BACKING has 4", 40, 4, true },
		{ "3 is older, whatever it is", 41, 3, false },
	};
	static const struct wb_ring_options options = { .timeline = WB_TIMELINE_NEW };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct scene scene;

		memset(&scene, 0, sizeof(scene));
		build_init(&scene.b, "v2", 10, 5);
		backing_init(&scene.backing, BLOCKS * 8);
		for (uint64_t id = 1; id <= 4; id++) {
			scene.b.inverted = id != 3;
			build_segment(&scene.b, id, PUTS({ 40 + (id == 3), 0xff, 0 }, { 41, 0xff, 0 }));
		}
		backing_write(&scene.backing, cases[i].block, 0xff, cases[i].held);
		build_load_on(&scene.b, NULL, &options);
		assert_true(scene.b.ring.restarted_again);
		decide(&scene, WB_STRICT);
		if (scene.decision.refused != (cases[i].refused ? WB_REFUSE_REGRESS : 0))
			fail_msg("%s: %x", cases[i].name, scene.decision.refused);
		assert_int_equal(status_of(&scene, WB_STRICT), cases[i].refused ? 4 : 5);
		decide(&scene, WB_SALVAGE);
		assert_int_equal(backing_holds(&scene.backing, 40 * 8, 4), cases[i].refused);
		assert_true(backing_holds(&scene.backing, 41 * 8, 2));
		scene_release(&scene);
	}
}

static void torn_tail_of_the_new_line_is_weighed_too(void **state)
{
	static const struct wb_ring_options options = { .timeline = WB_TIMELINE_NEW };

	(void)state;
	for (unsigned written_back = 0; written_back < 2; written_back++) {
		struct scene scene;

		scene_init(&scene, "v1");
		build_log(&scene.b, 13, 16, 1000);
		for (uint64_t id = 1; id <= 3; id++)
			build_segment(&scene.b, id, PUTS({ id, 0xff, 0 }, { 40, 0xff, 0 }));
		build_segment(&scene.b, 4, PUTS({ 40, 0xff, 0 }, { 1, 0xff, 0 }));
		break_seal(&scene.b, 4);
		for (uint64_t id = 1; id <= 3; id++)
			backing_write(&scene.backing, id, 0xff, id);
		if (written_back) {
			backing_write(&scene.backing, 40, 0xff, 4);
			backing_write(&scene.backing, 1, 0xff, 4);
		}
		build_load_on(&scene.b, NULL, &options);
		decide(&scene, WB_STRICT);
		assert_int_equal(scene.decision.refused, written_back ? WB_REFUSE_ROTTEN : 0);
		assert_int_equal(class_at(&scene.b, 3), written_back ? WB_ROTTEN : WB_TORN_TAIL);
		decide(&scene, WB_SALVAGE);
		assert_true(backing_holds(&scene.backing, 40 * 8, written_back ? 4 : 3));
		assert_false(may_end(&scene, WB_SALVAGE));
		scene_release(&scene);
	}
}

/* Four slots of two lines: what is broken where the new line goes on was perhaps written by it, and BACKING holds block 0 of it. */
static void what_may_be_of_the_new_line_is_not_overwritten(void **state)
{
	static const struct {
		const char *name;
		enum wb_timeline line;
		uint64_t ids[4];
		uint64_t held;       /* the broken one that BACKING has all of */
		uint64_t other;      /* one more that is broken, or 0 */
		unsigned raw;        /* slots, as bits */
		bool spoilt;         /* a sector of its copy of block 0 is not what BACKING got */
		unsigned refused;    /* bits of what strict refuses for */
	} cases[] = {
		{ "the write of 2 was lost, 3 is rotten", WB_TIMELINE_NEW, { 1, 6, 3, 8 }, 3, 0, 0, false, WB_REFUSE_ROTTEN },
		{ "and it is newer than the old line", WB_TIMELINE_OLD, { 1, 6, 3, 8 }, 3, 0, 0, false, WB_REFUSE_HOLE | WB_REFUSE_ROTTEN },
		{ "and a sector of it is damaged", WB_TIMELINE_OLD, { 1, 6, 3, 8 }, 3, 0, 0, true, WB_REFUSE_HOLE | WB_REFUSE_ROTTEN },
		{ "a new line of a later lap", WB_TIMELINE_NEW, { 5, 6, 7, 8 }, 6, 7, 8, false, WB_REFUSE_HOLE | WB_REFUSE_ROTTEN },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases) * 3; i++) {
		__typeof__(cases[0]) *c = &cases[i / 3];
		const struct wb_ring_options options = { .timeline = c->line };
		enum wb_policy policy = (enum wb_policy)(i % 3);
		struct noted noted = { .count = 0 };
		bool told = false;
		struct scene scene;

		memset(&scene, 0, sizeof(scene));
		build_init(&scene.b, "v2", 10, 4);
		backing_init(&scene.backing, BLOCKS * 8);
		for (unsigned slot = 0; slot < 4; slot++) {
			scene.b.inverted = !(c->raw >> slot & 1);
			build_segment(&scene.b, c->ids[slot], PUTS({ 0, 0xff, 0 }, { slot == 0 ? 0 : 10 + slot, 0xff, 0 }));
		}
		break_seal(&scene.b, c->held);
		if (c->spoilt)
			build_at(&scene.b, wb_slot_of(&scene.b.geometry, c->held))[WB_BLOCK + 100] ^= 0x55;
		if (c->other)
			break_seal(&scene.b, c->other);
		backing_write(&scene.backing, 0, 0xff, c->held);
		backing_write(&scene.backing, 10 + wb_slot_of(&scene.b.geometry, c->held), 0xff, c->held);
		build_load_on(&scene.b, NULL, &options);
		decide_with(&scene, (struct wb_decide_options){ .policy = policy, .context = &noted, .left = note_left });
		if (!backing_holds(&scene.backing, 0, c->held))
			fail_msg("%s: policy %u writes over %u", c->name, policy, (unsigned)c->held);
		if (policy == WB_STRICT && (scene.decision.refused & c->refused) != c->refused)
			fail_msg("%s: %x", c->name, scene.decision.refused);
		for (size_t k = 0; k < noted.count; k++)
			told |= noted.left[k].id == c->held;
		if (told != !scene.decision.refused)
			fail_msg("%s: policy %u does not tell what it leaves", c->name, policy);
		assert_int_not_equal(status_of(&scene, policy), 0);
		assert_false(may_end(&scene, policy));
		scene_release(&scene);
	}
}

/* Five slots hold 1, what is left of 2, 8, 4 and 5: a restart in the second lap, or 6 and 7 were lost, and then 5 is newer than 1.
 * BACKING has 5, or 4, or neither. */
static void lap_1_above_later_laps_may_be_newer_than_the_new_line(void **state)
{
	(void)state;
	for (uint64_t held = 3; held <= 5; held++)
		for (unsigned policy = WB_STRICT; policy <= WB_SALVAGE; policy++) {
			static const uint64_t ids[] = { 1, 2, 8, 4, 5 };
			static const struct wb_ring_options options = { .timeline = WB_TIMELINE_NEW };
			struct scene scene;

			memset(&scene, 0, sizeof(scene));
			build_init(&scene.b, "v1", 5, 5);
			backing_init(&scene.backing, BLOCKS * 8);
			for (size_t i = 0; i < LENGTH_OF(ids); i++)
				build_segment(&scene.b, ids[i], PUTS({ ids[i] == 8 ? 8 : 0, 0xff, 0 }, { 10 + ids[i], 0xff, 0 }));
			break_seal(&scene.b, 2);
			backing_write(&scene.backing, 0, 0xff, held);
			build_load_on(&scene.b, NULL, &options);
			assert_int_equal(scene.b.ring.restarted, 1);
			decide(&scene, (enum wb_policy)policy);
			assert_int_equal(scene.decision.refused, held > 3 && policy != WB_SALVAGE ? WB_REFUSE_REGRESS : 0);
			assert_int_equal(backing_holds(&scene.backing, 0, held), held > 3);
			assert_int_equal(backing_holds(&scene.backing, 11 * 8, 1), !scene.decision.refused);
			scene_release(&scene);
		}
}

/* 1 is whole; 5 and 6 of the second lap of three slots are not, and the write of 4 was lost. Neither was never written. */
static void headers_of_a_later_lap_are_no_garbage(void **state)
{
	(void)state;
	for (unsigned written_back = 0; written_back < 2; written_back++)
		for (unsigned policy = WB_STRICT; policy <= WB_SALVAGE; policy++) {
			struct scene scene;

			memset(&scene, 0, sizeof(scene));
			build_init(&scene.b, "v2", 10, 3);
			backing_init(&scene.backing, BLOCKS * 8);
			build_segment(&scene.b, 1, PUTS({ 0, 0xff, 0 }));
			build_segment(&scene.b, 5, PUTS({ 0, 0xff, 0 }));
			build_segment(&scene.b, 6, PUTS({ 3, 0xff, 0 }));
			break_seal(&scene.b, 5);
			break_seal(&scene.b, 6);
			if (written_back)
				backing_write(&scene.backing, 0, 0xff, 5);
			build_load(&scene.b, BLOCKS * 8);
			assert_class(&scene.b, 1, WB_ROTTEN);
			assert_class(&scene.b, 2, WB_ROTTEN);
			decide(&scene, (enum wb_policy)policy);
			assert_int_equal(scene.decision.refused, policy == WB_STRICT ? WB_REFUSE_ROTTEN :
					 policy == WB_PREFIX && written_back ? WB_REFUSE_REGRESS : 0);
			assert_int_equal(backing_holds(&scene.backing, 0, 5), written_back);
			assert_int_not_equal(status_of(&scene, (enum wb_policy)policy), 0);
			assert_false(may_end(&scene, (enum wb_policy)policy));
			scene_release(&scene);
		}
}

/* 1 to 4, a gap, and 7 that is broken, all of the first lap: BACKING holds nothing, one sector, or all of 7. */
static void broken_segment_after_a_gap_that_was_written_back_ends_all(void **state)
{
	static const unsigned masks[] = { 0, 0x10, 0xff };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(masks) * 3; i++) {
		enum wb_policy policy = (enum wb_policy)(i % 3);
		unsigned mask = masks[i / 3];
		struct scene scene;

		scene_init(&scene, "v1");
		for (uint64_t id = 1; id <= 4; id++)
			build_segment(&scene.b, id, PUTS({ 0, 0xff, 0 }, { 10 + id, 0xff, 0 }));
		build_segment(&scene.b, 7, PUTS({ 0, 0xff, 0 }, { 9, 0xff, 0 }));
		break_seal(&scene.b, 7);
		backing_write(&scene.backing, 0, mask, 7);
		build_load(&scene.b, BLOCKS * 8);
		decide(&scene, policy);
		assert_int_equal(class_at(&scene.b, 6), mask ? WB_ROTTEN : WB_FOREIGN);
		assert_int_equal(scene.decision.damage, mask ? WB_REFUSE_ROTTEN : 0);
		assert_int_equal(scene.decision.refused, !mask || policy == WB_SALVAGE ? 0 : policy == WB_STRICT ? WB_REFUSE_ROTTEN :
				 WB_REFUSE_REGRESS);
		assert_int_equal(backing_holds(&scene.backing, 11 * 8, 1), !mask);
		assert_int_equal(backing_holds(&scene.backing, 4, 7), mask != 0);
		assert_int_equal(may_end(&scene, policy), !mask);
		scene_release(&scene);
	}
}

/* All laps of 13 agree, and are not those of its id; its data cannot be read. Nothing of it is written, and it is not forgotten. */
static void segment_of_v0_under_another_lap_is_left_out_readable_or_not(void **state)
{
	(void)state;
	for (unsigned unreadable = 0; unreadable < 2; unreadable++) {
		struct scene scene;

		scene_init(&scene, "v0");
		build_log(&scene.b, 9, 16, 1000);
		wb_put_le(build_at(&scene.b, 4) + scene.b.geometry.format->lap.offset, 4, 700);
		wb_put_le(build_at(&scene.b, 4) + scene.b.geometry.format->metablocks + scene.b.geometry.format->mb_lap.offset, 4, 700);
		scene.bad = (struct wb_range){ wb_slot_offset(&scene.b.geometry, 4) + WB_BLOCK, WB_BLOCK };
		build_load_on(&scene.b, unreadable ? build_bad(&scene.b, &scene.bad, 1) : NULL, &(struct wb_ring_options){ .jobs = 1 });
		assert_class(&scene.b, 4, WB_ROTTEN);
		decide(&scene, WB_SALVAGE);
		assert_int_equal(scene.decision.left_segments, 1);
		assert_int_equal(status_of(&scene, WB_SALVAGE), 5);
		assert_false(may_end(&scene, WB_SALVAGE));
		scene_release(&scene);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segment_of_v0_under_another_lap_is_left_out_readable_or_not),
		cmocka_unit_test(broken_segment_after_a_gap_that_was_written_back_ends_all),
		cmocka_unit_test(headers_in_place_within_a_lap_of_the_newest_claim),
		cmocka_unit_test(broken_segment_of_the_new_line_keeps_the_old_one_away),
		cmocka_unit_test(what_may_go_on_with_the_new_line_is_not_overwritten),
		cmocka_unit_test(torn_tail_of_the_new_line_is_weighed_too),
		cmocka_unit_test(what_may_be_of_the_new_line_is_not_overwritten),
		cmocka_unit_test(lap_1_above_later_laps_may_be_newer_than_the_new_line),
		cmocka_unit_test(headers_of_a_later_lap_are_no_garbage),
		cmocka_unit_test(torn_tail_that_was_written_back_is_rotten),
		cmocka_unit_test(of_a_tail_that_writes_a_block_twice_the_second_version_counts),
		cmocka_unit_test(what_a_tail_holds_as_the_window_does_tells_nothing),
		cmocka_unit_test(discarded_segments_say_nothing_about_a_tail),
		cmocka_unit_test(salvage_writes_nothing_below_a_tail_that_was_written_back),
		cmocka_unit_test(header_of_a_torn_tail_over_what_was_written_back_is_no_damage),
		cmocka_unit_test(resumed_run_does_not_compare_the_tail_again),
		cmocka_unit_test(a_readable_hole_protects_what_may_be_its_own),
		cmocka_unit_test(very_many_versions_of_a_block_do_not_hide_a_claim),
		cmocka_unit_test(a_clean_copy_above_a_hole_is_evidence),
		cmocka_unit_test(replay_refuses_what_was_not_decided),
		cmocka_unit_test(record_is_contradicted_by_what_backing_lacks),
		cmocka_unit_test(segments_beyond_the_given_slots_are_left_out_or_refused),
		cmocka_unit_test(what_a_trusted_record_leaves_out_is_told_unless_backing_holds_it),
		cmocka_unit_test(each_slot_left_out_is_told_with_its_reason),
		cmocka_unit_test(a_lost_hole_is_a_problem_below_a_cut_too),
		cmocka_unit_test(laps_begin_again_at_0_and_the_log_goes_on),
		cmocka_unit_test(until_0_writes_nothing_and_says_so),
		cmocka_unit_test(everything_is_beyond_a_backing_device_of_no_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
