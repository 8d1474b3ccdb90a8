/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which geometry, from outside: whatever the order byte says and however the device was resized, no policy writes older over
 * newer, and none ends a log while something whole is left in it. WB_GEOMETRIES=all tries every number of slots and newest id.
 */
#include "cache_builder.h"

#define SPAN 8u      /* blocks of the backing device that the log writes */
#define MORE 3u      /* slots that the device may have gained */
#define LOST_LAPS 2u /* ids before the newest ones are searched for so many laps back */

struct pair {
	struct build b;
	struct backing backing;
	uint64_t head, lost;   /* lost: its write left what was in the slot */
	uint64_t found[SPAN];  /* the id of whose segment each block of BACKING has the content */
	unsigned length;       /* blocks of a segment */
	unsigned opened, written, ended;
};

static const struct { const char *format; unsigned order; } kinds[] = {
	{ "v0", 4 }, { "v0", 5 }, { "v0", 7 }, { "v0", 9 }, { "v0", 8 }, { "v0", 11 }, { "v1", 5 }, { "v1", 4 },
	{ "v1", 7 }, { "v1", 6 }, { "v1", 9 }, { "v1", 8 }, { "v2", 10 }, { "v1", 10 },
};

static void write_id(struct pair *p, uint64_t id)
{
	struct put puts[3];

	for (unsigned i = 0; i < p->length; i++)
		puts[i] = (struct put){ (id + i) % SPAN, 0xff, 0 };
	build_segment(&p->b, id, puts, p->length);
}

/* A log up to head on a device with room for more; all but the newest has been written back. */
static void pair_init(struct pair *p, unsigned kind, uint32_t slots, uint64_t head, uint64_t lost)
{
	const struct wb_format *format = wb_format_find(kinds[kind].format);
	struct wb_geometry *geometry = &p->b.geometry;
	uint64_t size = WB_FIRST_SLOT + ((uint64_t)(slots + MORE) << (kinds[kind].order + 9));

	*p = (struct pair){ .head = head, .lost = lost };
	assert_int_equal(wb_geometry_init(geometry, format, kinds[kind].order, size, slots, NULL), 0);
	p->b.bytes = calloc(1, size);
	assert_non_null(p->b.bytes);
	p->b.inverted = format->seal == WB_SEAL_CRC;
	p->length = geometry->capacity < 3 ? geometry->capacity : 3;
	build_super(&p->b);
	for (uint64_t id = head > 2 * (uint64_t)slots ? head - 2 * (uint64_t)slots : 1; id <= head; id++)
		if (id != lost)
			write_id(p, id);
	backing_init(&p->backing, SPAN * 8);
	for (uint64_t id = head > SPAN ? head - SPAN : 1; id < head; id++)
		for (unsigned i = 0; i < p->length; i++) {
			backing_write(&p->backing, (id + i) % SPAN, 0xff, id);
			p->found[(id + i) % SPAN] = id;
		}
}

static void pair_release(struct pair *p)
{
	backing_release(&p->backing);
	build_release(&p->b);
}

static uint64_t id_of(const struct pair *p, uint64_t block)
{
	for (uint64_t id = p->head; id + LOST_LAPS * p->b.geometry.slots + SPAN > p->head && id; id--)
		if (wb_get_le(p->backing.bytes + block * WB_BLOCK, 8) == mix(mix(block * 8 + 1) + 0x9e3779b97f4a7c15u * id))
			return id;
	return 0;
}

static void put_back(struct pair *p)
{
	for (uint64_t block = 0; block < SPAN; block++)
		backing_write(&p->backing, block, 0xff, p->found[block] ? p->found[block] : ON_BACKING);
}

static void say(const struct pair *p, const struct wb_ring *ring, const char *what, unsigned policy)
{
	fail_msg("%s of order %u, %u slots, ids to %u, %u lost, on %u bytes, order byte %u, policy %u: read as %s of order %u with "
		 "%u slots: %s", p->b.geometry.format->name, p->b.geometry.order, p->b.geometry.slots, (unsigned)p->head,
		 (unsigned)p->lost, (unsigned)ring->cache->geometry.bytes, p->b.bytes[4], policy, ring->cache->geometry.format->name,
		 ring->cache->geometry.order, ring->cache->geometry.slots, what);
}

static void expect_nothing_worse(struct pair *p, struct wb_ring *ring, unsigned policy, bool may_end)
{
	for (uint64_t block = 0; block < SPAN; block++) {
		uint64_t now = id_of(p, block), newest = 0;

		for (unsigned i = 0; i < p->length; i++)
			if ((p->head + i) % SPAN == block)
				newest = p->head;
		if (now < p->found[block])
			say(p, ring, "older over newer", policy);
		if (may_end && now < newest)
			say(p, ring, "ended, and the newest is lost", policy);
	}
}

static void try_policy(struct pair *p, struct wb_cache *cache, enum wb_policy policy)
{
	const struct wb_ring_options load = { .backing_sectors = SPAN * 8, .jobs = 1 };
	const struct wb_decide_options options = { .policy = policy, .capacity = ROOM };
	const struct wb_replay_options replay = { .capacity = ROOM };
	struct wb_replay_result result = { 0 };
	struct wb_decision decision;
	struct wb_ring ring;

	assert_int_equal(wb_ring_load(&ring, cache, &load, NULL, NULL), 0);
	assert_int_equal(wb_decide(&ring, p->backing.dev, &options, &decision, NULL, NULL), 0);
	if (!decision.refused) {
		assert_int_equal(wb_replay(&ring, &decision.scope, p->backing.dev, &replay, &result, NULL, NULL), 0);
		bool may_end = wb_decision_may_end(&ring, &options, &decision, &result);

		expect_nothing_worse(p, &ring, policy, may_end);
		put_back(p);
		p->written++;
		p->ended += may_end;
	}
	wb_ring_release(&ring);
}

/* On a device of so many slots more or less, with this order byte, opened as it is or by force. */
static void try_device(struct pair *p, int slots, unsigned order_byte, const struct wb_overrides *overrides)
{
	uint64_t size = WB_FIRST_SLOT + ((uint64_t)((int64_t)p->b.geometry.slots + slots) << (p->b.geometry.order + 9));
	struct wb_overrides forced = *overrides;
	struct wb_error err = { 0 };
	struct wb_cache cache;
	struct wb_dev *dev;

	forced.any_super = true;
	p->b.bytes[WB_ORDER_BYTE] = (uint8_t)order_byte;
	assert_int_equal(wb_dev_memory(&dev, p->b.bytes, size, NULL), 0);
	int ret = wb_cache_open(&cache, dev, overrides, &err);

	if (ret == -WB_ESUPER)
		ret = wb_cache_open(&cache, dev, &forced, &err);
	if (!ret) {
		p->opened++;
		try_policy(p, &cache, WB_STRICT);
		try_policy(p, &cache, WB_PREFIX);
		try_policy(p, &cache, WB_SALVAGE);
	}
	wb_dev_close(dev);
}

static bool try_all(void)
{
	const char *all = getenv("WB_GEOMETRIES");

	return all && !strcmp(all, "all");
}

/* The i-th number of slots that is tried, 0: no more. */
static uint32_t slots_at(unsigned i)
{
	static const uint32_t some[] = { 1, 2, 3, 7, 8, 17 };

	if (!try_all())
		return i < LENGTH_OF(some) ? some[i] : 0;
	return i < 40 ? i + 1 : i < 42 ? 60 + 67 * (i - 39) : 0;
}

static uint64_t head_at(uint32_t slots, unsigned i)
{
	const uint64_t n = slots, some[] = { 1, 2, 3, n, n + n / 2 + 1, 0 };

	if (!try_all() || slots > 40)
		return some[i];
	return i < 3 * n + 2 ? i + 1 : 0;
}

static void for_every_log(void (*check)(struct pair *p), bool lossy)
{
	unsigned opened = 0, written = 0, ended = 0;

	for (unsigned kind = 0; kind < LENGTH_OF(kinds); kind += try_all() ? 1 : 2)
		for (unsigned i = 0; slots_at(i); i++)
			for (unsigned j = 0; head_at(slots_at(i), j); j++) {
				uint64_t head = head_at(slots_at(i), j), slots = slots_at(i), step = try_all() ? 1 : slots / 3 + 1;

				for (uint64_t back = lossy ? 1 : slots; back <= slots && back <= head; back += lossy ? step : 1) {
					struct pair p;

					pair_init(&p, kind, (uint32_t)slots, head, lossy ? head - back : 0);
					check(&p);
					opened += p.opened;
					written += p.written;
					ended += p.ended;
					pair_release(&p);
				}
			}
	print_message("%u readings, %u written, %u ended\n", opened, written, ended);
	assert_true(opened > 300 && written > 50 && (lossy || ended > 50)); /* else it proves nothing */
}

static const struct wb_overrides none;

static void with_every_order_byte(struct pair *p)
{
	const unsigned right = p->b.bytes[WB_ORDER_BYTE];

	try_device(p, 0, right, &none);
	for (unsigned bit = 0; bit < 8; bit++)
		try_device(p, 0, right ^ 1u << bit, &none);
	for (unsigned order = 4; order <= 11; order++)
		try_device(p, 0, order, &none);
}

static void no_order_byte_hides_segments(void **state)
{
	(void)state;
	for_every_log(with_every_order_byte, false);
}

/* Some segment on a device of so many slots is where its ring would not have it. */
static bool any_out_of_place(const struct pair *p, uint64_t slots)
{
	for (uint32_t slot = 0; slot < slots && slot < p->b.geometry.slots; slot++) {
		uint64_t id = wb_get_le(build_id_at(&p->b, slot), 8);

		if (id && (id - 1) % slots != slot)
			return true;
	}
	return false;
}

/* Where everything that is left of a device that was cut looks like a smaller ring, nothing tells what was cut off. */
static void grown_and_shrunk(struct pair *p)
{
	for (int more = -(int)MORE; more <= (int)MORE; more++) {
		int64_t slots = (int64_t)p->b.geometry.slots + more;

		if (more && slots >= 1 && (more > 0 || any_out_of_place(p, (uint64_t)slots)))
			try_device(p, more, p->b.bytes[WB_ORDER_BYTE], &none);
	}
}

static void no_resized_device_is_taken_for_another(void **state)
{
	(void)state;
	for_every_log(grown_and_shrunk, false);
}

static void with_every_order_given(struct pair *p)
{
	for (unsigned order = 4; order <= 11; order++) {
		const struct wb_overrides overrides = { .order = order };

		try_device(p, 0, p->b.bytes[WB_ORDER_BYTE], &overrides);
	}
}

static void no_order_that_is_given_hides_segments(void **state)
{
	(void)state;
	for_every_log(with_every_order_given, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_order_byte_hides_segments),
		cmocka_unit_test(no_resized_device_is_taken_for_another),
		cmocka_unit_test(no_order_that_is_given_hides_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
