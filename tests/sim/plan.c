/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes plans from seeds, carries them out, and shrinks those that fail. */
#include "plan.h"

#include <assert.h>
#include <stdlib.h>

static unsigned int below(uint64_t *random, unsigned int n)
{
	return (unsigned int)(random_next(random) % n);
}

static bool one_in(uint64_t *random, unsigned int n)
{
	return !below(random, n);
}

/* ---- making ---- */

static void make_machine(struct plan *plan, uint64_t *random)
{
	static const unsigned int blocks[] = { 6, 12, 40 };
	struct config *config = &plan->config;

	config->generation = (unsigned int)(plan->seed % 3);
	config->order = config->generation == 2 ? 10 : 4 + below(random, config->generation ? 5 : 6);
	config->slots = 2 + below(random, config->generation == 2 ? 4 : 9);
	config->sectors = 8 * blocks[below(random, 3)];
	if (config->generation == 2 && one_in(random, 4))
		config->sectors = 8 * 150;
	if (one_in(random, 4))
		config->sectors -= 1 + below(random, 7);
	config->raw = config->generation == 2 && one_in(random, 4);
	config->foreground = config->generation < 2 || config->raw || one_in(random, 3);
	config->reads = config->generation && !one_in(random, 3);
	config->records = one_in(random, config->generation ? 3 : 2);
	config->discards = !config->generation && one_in(random, 3);
	config->orderly = !one_in(random, 3);
}

static enum what draw_what(uint64_t *random)
{
	static const struct { unsigned int weight; enum what what; } weights[] = {
		{ 420, DO_WRITE }, { 40, DO_WRITE_FUA }, { 60, DO_FLUSH }, { 130, DO_READ }, { 110, DO_SEGMENT },
		{ 110, DO_BARRIERS }, { 70, DO_WRITE_BACK }, { 25, DO_RECORD }, { 20, DO_INJECT }, { 8, DO_SYNCHRONIZE },
		{ 6, DO_CUT }, { 1, DO_SHUTDOWN },
	};
	unsigned int at = below(random, 1000), i = 0;

	while (at >= weights[i].weight)
		at -= weights[i++].weight;
	return weights[i].what;
}

static struct operation draw_operation(const struct config *config, uint64_t *random, unsigned int hot)
{
	struct operation operation = { .what = draw_what(random) };
	unsigned int blocks = (config->sectors + 7) / 8, block = below(random, one_in(random, 2) ? hot : blocks);
	unsigned int inside = config->sectors - 8 * block;

	inside = inside < 8 ? inside : 8;
	operation.count = one_in(random, 2) ? inside : 1 + below(random, inside);
	operation.sector = 8 * block + below(random, inside - operation.count + 1);
	operation.random = random_next(random);
	return operation;
}

/* Few flushes and many blocks, so that the large segments of v2 become full, too. */
static bool is_calm(const struct plan *plan)
{
	return plan->seed % 12 == 5;
}

static void calm_down(struct operation *operation)
{
	bool stirs = operation->what == DO_WRITE_FUA || operation->what == DO_FLUSH || operation->what == DO_BARRIERS ||
		     operation->what >= DO_INJECT;

	if (stirs && operation->random % 48)
		operation->what = DO_WRITE;
}

/* Some of the kinds, not all at once. */
static void make_kinds(struct plan *plan, unsigned int kinds)
{
	uint64_t random = mix(plan->seed + 3);
	struct config *config = &plan->config;

	for (unsigned int bit = 1; bit <= kinds; bit *= 2)
		if (kinds & bit && (bit == kinds || !one_in(&random, 3)))
			plan->kinds |= bit;
	if (plan->kinds & KIND_BITS && one_in(&random, 2))
		config->slots = config->generation == 2 ? 4 : 4u << below(&random, 2);
	if (plan->kinds & KIND_LYING)
		config->lying = one_in(&random, 2);
	if (plan->kinds & KIND_MIXED && config->generation == 2)
		config->raw = config->foreground = one_in(&random, 2);
}

void plan_make(struct plan *plan, uint64_t seed, unsigned int kinds)
{
	uint64_t random = mix(seed + 1);
	unsigned int hot;

	*plan = (struct plan){ .seed = seed };
	make_machine(plan, &random);
	make_kinds(plan, kinds);
	if (is_calm(plan))
		plan->config.sectors = 8 * 200;
	hot = 1 + below(&random, (plan->config.sectors + 7) / 8);
	plan->count = 20 + below(&random, one_in(&random, 4) ? 600 : 150) + (is_calm(plan) ? 500 : 0);
	plan->operations = malloc(plan->count * sizeof(*plan->operations));
	assert(plan->operations);
	for (unsigned int i = 0; i < plan->count; i++)
		plan->operations[i] = draw_operation(&plan->config, &random, hot);
	for (unsigned int i = 0; i < plan->count && is_calm(plan); i++)
		calm_down(&plan->operations[i]);
	plan->shutdown = one_in(&random, 6);
	plan->later_count = one_in(&random, 2) ? 1 + below(&random, one_in(&random, 3) ? DAMAGE_MAX : 2) : 0;
	if (plan->kinds & KIND_SEVERAL && plan->later_count < 2)
		plan->later_count = 2 + below(&random, DAMAGE_MAX - 2);
	if (plan->kinds & (KIND_BITS | KIND_MISDIRECTED | KIND_TARGETED) && !plan->later_count)
		plan->later_count = 1;
	for (unsigned int i = 0; i < plan->later_count; i++)
		plan->later[i] = (struct later){ random_next(&random), one_in(&random, 3) };
}

void plan_release(struct plan *plan)
{
	free(plan->operations);
}

/* ---- running ---- */

struct machine {
	const struct plan *plan;
	struct counts *counts;
	struct verdict *verdict;
	const char *name;
	bool images;
	struct power power;
	struct disk cache, backing;
	struct oracle oracle;
	struct driver driver;
	struct damage damage[DAMAGE_MAX];
	unsigned int damage_count;
	bool wild;	/* those who know what was written cannot say what has become of it: only the invariants hold */
	uint64_t random;
};

static void look(struct machine *machine, uint8_t *cache, uint64_t cache_size, bool survivable)
{
	struct scene scene = {
		.driver = &machine->driver, .cache = cache, .cache_size = cache_size,
		.wild = machine->wild || cache_size != machine->cache.size,
		.invariants = machine->plan->kinds != 0, .ambiguous = machine->plan->kinds & KIND_IDENTICAL, .options = machine->plan->kinds & KIND_OPTIONS,
		.backing = machine->backing.medium, .backing_size = machine->backing.size,
		.damage = machine->damage, .damage_count = machine->damage_count,
		.survivable = survivable && !machine->damage_count, .random = random_next(&machine->random),
	};

	check_scene(&scene, machine->counts, machine->verdict);
	if ((machine->verdict->failed && machine->name) || machine->images)
		fixture_write(&scene, machine->verdict, machine->plan->seed, machine->name);
	if (machine->images)
		fixture_images(&scene, machine->name);
}

static void cut(struct machine *machine)
{
	machine->power.dead = true;
	disk_cut(&machine->cache, machine->plan->config.orderly, &machine->random);
	disk_cut(&machine->backing, false, &machine->random);
	machine->counts->cuts++;
}

/* Whether the driver, having come up, shows what the application may see. */
static bool comes_up_right(struct machine *machine, uint32_t *versions)
{
	uint8_t bytes[SECTOR];
	bool right = true;

	for (unsigned int i = 0; i < machine->oracle.sectors && right; i++) {
		driver_peek(&machine->driver, i, bytes);
		versions[i] = version_of(bytes, i);
		right = versions[i] != UINT32_MAX && (machine->wild || oracle_allows(&machine->oracle, i, versions[i]));
	}
	return right;
}

/* 2.0.2 and later do not continue what earlier ones have written, nor the other way round. */
static void exchange_driver(struct machine *machine)
{
	if (!(machine->plan->kinds & KIND_MIXED) || machine->plan->config.generation != 2 || !one_in(&machine->random, 2))
		return;
	machine->driver.raw = !machine->driver.raw;
	machine->wild = true;
}

static bool come_up(struct machine *machine)
{
	uint32_t *versions = malloc(machine->oracle.sectors * sizeof(*versions));
	bool right;

	assert(versions);
	machine->power.dead = false;
	machine->power.left = UINT64_MAX;
	driver_crash(&machine->driver);
	exchange_driver(machine);
	right = driver_recover(&machine->driver) && !driver_serves_stale(&machine->driver) &&
		comes_up_right(machine, versions);
	if (right)
		oracle_restart(&machine->oracle, versions);
	machine->counts->restarts += right;
	free(versions);
	return right;
}

static void operate(struct machine *machine, const struct operation *operation)
{
	struct driver *driver = &machine->driver;

	machine->counts->operations += operation->what <= DO_READ;
	switch (operation->what) {
	case DO_WRITE:
		if (machine->plan->kinds & KIND_IDENTICAL && operation->random % 3 == 0) {
			driver_rewrite(driver, operation->sector, operation->count, operation->random % 2);
			break;
		}
		/* fall through */
	case DO_WRITE_FUA:
		driver_write(driver, operation->sector, operation->count, operation->what == DO_WRITE_FUA);
		break;
	case DO_FLUSH:
		driver_flush(driver);
		break;
	case DO_READ:
		driver_read(driver, operation->sector, operation->count);
		break;
	case DO_SEGMENT:
		driver_write_segment(driver);
		break;
	case DO_BARRIERS:
		driver_run_barriers(driver);
		break;
	case DO_WRITE_BACK:
		driver_write_back(driver, 1 + (unsigned int)operation->random % 4);
		break;
	case DO_RECORD:
		driver_update_record(driver);
		break;
	case DO_INJECT:
		driver_inject_reads(driver);
		break;
	case DO_SYNCHRONIZE:
		driver_synchronize(driver);
		break;
	case DO_CUT: /* soon: in the middle of something */
		if (machine->plan->kinds & KIND_MIXED && operation->random % 2) { /* by the book */
			driver_shutdown(driver);
			driver_write_back(driver, driver->config->slots);
		}
		machine->power.left = operation->random % 24;
		break;
	case DO_SHUTDOWN:
		driver_shutdown(driver);
		machine->counts->shutdowns++;
		break;
	}
	/* the driver continues with what a cache that lies about flushes has left of its log */
	if (driver->wrong_read && !machine->wild && !machine->verdict->failed) {
		machine->verdict->failed = true;
		strcpy(machine->verdict->property, "simulator");
		strcpy(machine->verdict->text, "the simulated driver read something old: the simulator is wrong");
	}
}

static void rot(struct machine *machine, uint8_t *cache, const struct later *later)
{
	const struct driver *driver = &machine->driver;
	uint64_t random = later->random;
	unsigned int slot = below(&random, driver->config->slots), where = below(&random, 4);
	uint64_t at;

	if (machine->plan->kinds & KIND_TARGETED && driver->flushed && driver->flushed != UINT64_MAX)
		slot = slot_of(driver, one_in(&random, 2) || driver->flushed < 3 ? driver->flushed : driver->flushed - 2);
	at = slot_offset(driver, slot);
	unsigned int length = cache[at + (driver->config->generation ? 12 : 8)];
	unsigned int metadata = driver->config->generation ? 512 + 16 * length : 13 + 13 * length;

	length = length > driver->capacity ? 0 : length;
	if (machine->plan->kinds & KIND_BITS && one_in(&random, 6))
		at = RECORD_AT + (one_in(&random, 2) ? 0 : below(&random, 8));
	else if (machine->plan->kinds & KIND_BITS && one_in(&random, 2)) /* the lower bits of the id */
		at += below(&random, 1 + below(&random, 8));
	else if (where == 0) /* the fields of the header */
		at += below(&random, 13);
	else if (where == 1)
		at += below(&random, metadata < BLOCK ? metadata : BLOCK);
	else
		at += below(&random, BLOCK * (length + 1));
	struct damage *damage = &machine->damage[machine->damage_count++];

	if (later->unreadable) {
		*damage = (struct damage){ .offset = at - at % SECTOR, .sectors = 1 + below(&random, 3) };
		machine->counts->unreadable++;
	} else if (where == 0 && one_in(&random, 4)) { /* the whole id */
		*damage = (struct damage){ .offset = slot_offset(driver, slot) };
		put_le(cache + damage->offset, 8, 0);
		machine->counts->flips++;
	} else {
		*damage = (struct damage){ .offset = at };
		cache[at] ^= (uint8_t)(1u << below(&random, 8));
		machine->counts->flips++;
	}
}

/* The write of a segment went to another slot, too or only. */
static void misdirect(struct machine *machine, uint8_t *cache, uint64_t random)
{
	const struct driver *driver = &machine->driver;
	unsigned int slots = driver->config->slots, from = below(&random, slots);
	unsigned int to = one_in(&random, 4) ? below(&random, slots) : (from + (one_in(&random, 4) ? slots - 1 : 1)) % slots;
	uint8_t *at = cache + slot_offset(driver, from);
	unsigned int length = at[driver->config->generation ? 12 : 8];
	const struct written *older = driver->history[KEPT * from + 1];

	if (length > driver->capacity || from == to)
		return;
	memcpy(cache + slot_offset(driver, to), at, BLOCK * (length + 1));
	if (older && one_in(&random, 2))
		memcpy(at, older->bytes, BLOCK * (older->length + 1));
	machine->wild = true;
	machine->counts->misdirected++;
}

/* Ranges in order, none over another, as wb_dev_fault() wants them; flips behind them. */
static void order_damage(struct machine *machine)
{
	struct damage *damage = machine->damage;
	unsigned int kept = 0;

	for (unsigned int i = 1; i < machine->damage_count; i++)
		for (unsigned int k = i; k && damage[k - 1].offset > damage[k].offset; k--) {
			struct damage swap = damage[k];

			damage[k] = damage[k - 1];
			damage[k - 1] = swap;
		}
	for (unsigned int i = 0; i < machine->damage_count; i++) {
		uint64_t end = 0;

		for (unsigned int k = 0; k < kept; k++)
			if (damage[k].sectors)
				end = damage[k].offset + (uint64_t)damage[k].sectors * SECTOR;
		if (!damage[i].sectors || damage[i].offset >= end)
			damage[kept++] = damage[i];
	}
	machine->damage_count = kept;
}

/* Some slots more, or less. */
static void resize(struct machine *machine, uint8_t *cache)
{
	uint64_t some = (1 + below(&machine->random, 3)) * machine->driver.slot_bytes;
	bool grows = one_in(&machine->random, 2) || some + machine->driver.slot_bytes > machine->cache.size - FIRST_SLOT;

	look(machine, cache, grows ? machine->cache.size + some : machine->cache.size - some, false);
	machine->counts->resized++;
}

static void end(struct machine *machine)
{
	uint8_t *cache;

	if (machine->power.left == UINT64_MAX && machine->plan->shutdown) {
		driver_shutdown(&machine->driver);
		machine->counts->shutdowns++;
	}
	cut(machine);
	look(machine, machine->cache.medium, machine->cache.size, machine->plan->config.orderly);
	cache = calloc(1, machine->cache.size + 3 * machine->driver.slot_bytes);
	assert(cache);
	memcpy(cache, machine->cache.medium, machine->cache.size);
	if (machine->plan->kinds & KIND_GEOMETRY && !machine->verdict->failed)
		resize(machine, cache);
	for (unsigned int i = 0; i < machine->plan->later_count; i++) {
		if (machine->plan->kinds & KIND_MISDIRECTED && machine->plan->later[i].random % 4)
			misdirect(machine, cache, machine->plan->later[i].random);
		else
			rot(machine, cache, &machine->plan->later[i]);
	}
	order_damage(machine);
	if ((machine->damage_count || machine->wild) && !machine->verdict->failed)
		look(machine, cache, machine->cache.size, false);
	free(cache);
}

void plan_run(const struct plan *plan, struct counts *counts, struct verdict *verdict, const char *name, bool images)
{
	struct machine machine = { .plan = plan, .counts = counts, .verdict = verdict, .name = name,
				   .images = images,
				   .wild = plan->config.lying, .random = mix(plan->seed + 2),
				   .power = { .left = UINT64_MAX } };
	bool up = true;

	disk_open(&machine.cache, FIRST_SLOT + ((uint64_t)plan->config.slots * SECTOR << plan->config.order),
		  CACHE_ROOM, &machine.power);
	disk_open(&machine.backing, (uint64_t)plan->config.sectors * SECTOR, UINT32_MAX, &machine.power);
	oracle_open(&machine.oracle, plan->config.sectors);
	driver_open(&machine.driver, &plan->config, &machine.power, &machine.cache, &machine.backing, &machine.oracle);
	for (unsigned int i = 0; i < plan->count && up && !verdict->failed; i++) {
		operate(&machine, &plan->operations[i]);
		if (!machine.power.dead)
			continue;
		cut(&machine);
		look(&machine, machine.cache.medium, machine.cache.size, plan->config.orderly);
		up = !verdict->failed && come_up(&machine);
	}
	if (up && !verdict->failed)
		end(&machine);
	driver_close(&machine.driver);
	oracle_close(&machine.oracle);
	disk_close(&machine.cache);
	disk_close(&machine.backing);
	counts->runs++;
}

/* ---- shrinking ---- */

static bool fails_alike(const struct plan *plan, const struct verdict *verdict)
{
	struct counts counts = { .runs = 0 };
	struct verdict found = { .failed = false };

	plan_run(plan, &counts, &found, NULL, false);
	return found.failed && !strcmp(found.property, verdict->property);
}

static bool shrink_by(struct plan *plan, const struct verdict *verdict, unsigned int some)
{
	bool shrunk = false;

	for (unsigned int at = 0; at + some <= plan->count;) {
		struct plan less = *plan;

		less.operations = malloc(plan->count * sizeof(*less.operations));
		assert(less.operations);
		memcpy(less.operations, plan->operations, at * sizeof(*less.operations));
		memcpy(less.operations + at, plan->operations + at + some,
		       (plan->count - at - some) * sizeof(*less.operations));
		less.count -= some;
		if (fails_alike(&less, verdict)) {
			free(plan->operations);
			*plan = less;
			shrunk = true;
		} else {
			free(less.operations);
			at += some;
		}
	}
	return shrunk;
}

void plan_shrink(struct plan *plan, const struct verdict *verdict)
{
	for (unsigned int i = plan->later_count; i-- > 0;) {
		struct plan less = *plan;

		memmove(less.later + i, less.later + i + 1, (less.later_count - i - 1) * sizeof(*less.later));
		less.later_count--;
		if (fails_alike(&less, verdict))
			*plan = less;
	}
	for (unsigned int some = plan->count; some; some /= 2)
		while (shrink_by(plan, verdict, some) && some == 1)
			;
}
