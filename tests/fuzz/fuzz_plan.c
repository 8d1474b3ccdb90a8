/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Versions of blocks, in segments made out of the input: whatever the memory and the passes, the plan is what a model finds
 * that asks every sector for its newest version, one after the other.
 */
#include "fuzz.h"
#include "ring.h"

#define SLOTS 24u
#define ENTRIES (SLOTS * 31u)

static uint8_t image[WB_FIRST_SLOT + SLOTS * 32 * WB_BLOCK];

struct world {
	struct memory memory;
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_slot slots[SLOTS];
	struct wb_scope scope;
};

/* ---- a ring ---- */

static uint64_t some_block(struct input *input)
{
	uint64_t choice = take(input, 1);

	return choice < 0xf0 ? choice % 40 : (take(input, 8) >> choice % 16 * 4) & UINT64_MAX >> 12;
}

static void make_segment(struct world *world, uint32_t index, uint64_t id, struct input *input)
{
	const struct wb_geometry *geometry = &world->cache.geometry;
	uint8_t *meta = image + wb_slot_offset(geometry, index);
	struct wb_header header = { .id = id, .lap = wb_lap_of(geometry, id) };

	memset(meta, 0, WB_BLOCK);
	header.length = (uint32_t)(geometry->format->length_min +
				   take(input, 1) % (geometry->capacity + 1 - geometry->format->length_min));
	wb_header_encode(geometry->format, meta, &header);
	for (unsigned i = 0; i < header.length; i++) {
		uint64_t dirty = take(input, 1);
		struct wb_metablock metablock = { .sector = some_block(input) * 8, .lap = header.lap };

		metablock.dirty = (uint8_t)(dirty % 4 == 3 ? take(input, 1) : dirty % 4 == 2 ? 0u : 0xffu >> dirty % 8);
		metablock.sector += dirty == 0x77;
		wb_metablock_encode(geometry->format, meta, i, &metablock);
	}
	wb_slot_absorb(&world->ring, index, meta);
	world->slots[index].class_ = take(input, 1) % 8 ? WB_LIVE : WB_ROTTEN;
}

static void make_ring(struct world *world, struct input *input)
{
	const struct wb_format *format = wb_format_at((unsigned)take(input, 1) % 2); /* v2's blocks are those of v1 */
	uint32_t slots = 1 + (uint32_t)take(input, 1) % SLOTS;
	uint64_t head = 1 + take(input, 1);

	*world = (struct world){ .memory = fuzz_memory(image, sizeof(image)) };
	world->cache.dev = &world->memory.dev;
	HOLDS(!wb_geometry_init(&world->cache.geometry, format, 8, sizeof(image), slots, NULL));
	world->ring = (struct wb_ring){ .cache = &world->cache, .slots = world->slots, .head = head, .first = 1 };
	if (head > slots)
		world->ring.first = head - slots + 1;
	if (take(input, 1) & 1)
		world->ring.options.backing_sectors = 1 + take(input, 2);
	for (uint64_t id = world->ring.first; id <= head; id++)
		make_segment(world, (uint32_t)((id - 1) % slots), id, input);
	uint64_t bits = take(input, 1);

	world->scope = (struct wb_scope){ .low = bits & 1 ? take(input, 1) : 1, .high = bits & 2 ? take(input, 1) : UINT64_MAX,
					  .every_version = bits & 4 };
}

/* ---- the model: every entry, newest first; each sector asks those before it ---- */

static struct wb_entry all[ENTRIES], wanted[ENTRIES], found[ENTRIES];
static size_t all_count, wanted_count, found_count;

static void list_all(const struct world *world)
{
	const struct wb_ring *ring = &world->ring;
	const struct wb_format *format = world->cache.geometry.format;
	uint64_t bound = ring->options.backing_sectors;

	all_count = 0;
	for (uint64_t id = ring->head; id >= ring->first && id; id--) {
		uint32_t slot = (uint32_t)((id - 1) % world->cache.geometry.slots);

		if (id < world->scope.low || id > world->scope.high || world->slots[slot].class_ != WB_LIVE)
			continue;
		for (unsigned i = world->slots[slot].length; i-- > 0;) {
			struct wb_metablock metablock;

			wb_metablock_decode(format, image + wb_slot_offset(&world->cache.geometry, slot), i, &metablock);
			if (metablock.sector % 8 || (bound && metablock.sector >= bound) ||
			    metablock.sector > (UINT64_MAX - 4096) / 512 || (!metablock.dirty && !format->caches_reads))
				continue;
			all[all_count++] = (struct wb_entry){ .block = metablock.sector / 8, .index = (uint8_t)i,
							      .slot = slot, .dirty = metablock.dirty };
		}
	}
}

static uint8_t left_for(size_t i)
{
	uint8_t left = all[i].dirty ? all[i].dirty : 0xff;

	for (size_t j = 0; j < i; j++)
		if (all[j].block == all[i].block)
			left &= (uint8_t)(all[j].dirty ? ~all[j].dirty : 0);
	return left;
}

static void want(const struct world *world)
{
	wanted_count = 0;
	for (size_t i = 0; i < all_count; i++) {
		struct wb_entry entry = all[i];
		uint8_t left = left_for(i);
		size_t at = wanted_count;

		if (!left && !world->scope.every_version)
			continue;
		if (entry.dirty && !world->scope.every_version)
			entry.dirty = left;
		for (; at && wanted[at - 1].block > entry.block; at--)
			wanted[at] = wanted[at - 1];
		wanted[at] = entry;
		wanted_count++;
	}
}

static bool equal(const struct wb_entry *a, const struct wb_entry *b)
{
	return a->block == b->block && a->slot == b->slot && a->index == b->index && a->dirty == b->dirty;
}

static void expect_wanted(const struct wb_entry *entries, size_t n)
{
	HOLDS(n == wanted_count);
	for (size_t i = 0; i < n; i++)
		HOLDS(equal(&entries[i], &wanted[i]));
}

/* ---- passes ---- */

static bool one_block(const struct wb_entry *entries, size_t n)
{
	return !n || entries[0].block == entries[n - 1].block;
}

static void take_range(const struct wb_plan *plan, size_t capacity)
{
	HOLDS(plan->count <= wb_max(capacity, 16) || (plan->scope.every_version && one_block(plan->entries, plan->count)) ||
	      plan->capacity > wb_max(capacity, 16));
	for (size_t i = 0; i < plan->count; i++)
		HOLDS(plan->entries[i].block >= plan->begin && plan->entries[i].block < plan->end);
	HOLDS(plan->count <= ENTRIES - found_count);
	memcpy(found + found_count, plan->entries, plan->count * sizeof(*found));
	found_count += plan->count;
}

static void plan_in(struct world *world, size_t capacity)
{
	uint64_t end = 0;
	struct wb_plan plan;
	int ret;

	HOLDS(!wb_plan_open(&plan, &world->ring, &world->scope, capacity, NULL));
	found_count = 0;
	while ((ret = wb_plan_next(&plan, NULL, NULL)) == 1) {
		HOLDS(plan.begin == end && plan.end > end);
		end = plan.end;
		take_range(&plan, capacity);
	}
	HOLDS(!ret);
	expect_wanted(found, found_count);
	wb_plan_close(&plan);
}

static void sort_and_claim(const struct world *world)
{
	static struct wb_entry entries[ENTRIES], scratch[ENTRIES];
	size_t n = all_count;

	memcpy(entries, all, n * sizeof(*entries));
	wb_plan_sort(entries, scratch, n);
	if (!world->scope.every_version)
		n = wb_plan_claim(entries, n);
	expect_wanted(entries, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct world world;

	make_ring(&world, &input);
	size_t capacity = take(&input, 2);

	list_all(&world);
	want(&world);
	sort_and_claim(&world);
	plan_in(&world, 16);
	plan_in(&world, capacity);
	return 0;
}
