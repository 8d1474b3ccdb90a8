/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What must hold of every fixture, and of caches with random damage: repairs stay, forecasts do not fail, packs tell the same,
 * and no command crashes or writes what it was not asked to.
 */
#include "table.h"

/* ---- every fixture ---- */

static void what_is_repaired_stays_repaired(const char *name)
{
	make_cache(name);
	run("wb-check -q --repair -y --find-bitflip cache.img backing.img");
	int first = status;

	copy("cache.img", "once.img");
	run("wb-check -q --repair -y --find-bitflip cache.img backing.img");
	if (status != (first & ~1))
		fail_msg("repair: %d, then %d", first, status);
	if (!same("once.img", "cache.img"))
		fail_msg("changed by the second repair");
}

static void forecast_does_not_fail(const char *what)
{
	run("wb-check -q --explain-kernel cache.img backing.img");
	if (status & ~12)
		fail_msg("%s: the forecast exits %d: %s", what, status, words);
}

static void fixture_is_repaired_once_and_foretold(void **state)
{
	what_is_repaired_stays_repaired(*state);
	make_cache(*state);
	forecast_does_not_fail(*state);
}

static uint32_t random_state;

static uint32_t below(uint32_t limit)
{
	random_state = random_state * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)(random_state >> 8) * limit >> 24);
}

static void no_damage_makes_the_forecast_fail(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 40; seed++) {
		make_cache(text("v%u-wrapped", seed % 3));
		random_state = seed;
		for (int k = 0; k < 5; k++) {
			uint8_t byte = (uint8_t)below(256);
			int64_t slot = below(8);

			put("cache.img", 1048576 + slot * 65536 + below(600), &byte, 1);
		}
		forecast_does_not_fail(text("seed %u", seed));
	}
}

int main(void)
{
	size_t count;
	struct CMUnitTest *tests = test_for_each(fixtures(""), fixture_is_repaired_once_and_foretold, &count);

	tests[count++] = (struct CMUnitTest)table_test(no_damage_makes_the_forecast_fail);
	return run_tables("every", tests, count);
}
