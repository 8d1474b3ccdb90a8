/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The forecast for caches of 1.0.1 and 2.0.1, and for those that two drivers wrote, is what the drivers did: the ids they took,
 * in their order, how it ended, whether drop_caches returned, and what BACKING then held.
 */
#include "table.h"

static struct json_object *sets;

static void equal(const char *what, const char *got, const char *expected)
{
	if (strcmp(got, expected))
		fail_msg("%s is '%s', expected '%s'", what, got, expected);
}

static unsigned version_number(const char *version)
{
	unsigned a = 0, b = 0, c = 0;

	return sscanf(version, "%u.%u.%u", &a, &b, &c) == 3 ? a << 16 | b << 8 | c : 0;
}

/* "2.0.2 to 2.2.3" */
static bool speaks_for(const char *drivers, const char *version)
{
	const char *to = strstr(drivers, " to ");
	unsigned wanted = version_number(version);

	return version_number(drivers) <= wanted && wanted <= version_number(to ? to + 4 : drivers);
}

static struct json_object *forecast_for(const char *version)
{
	struct json_object *one;

	for (size_t k = 0; (one = record_at(k)); k++)
		if (!strncmp(value(one, "type"), "forecast", 8) && speaks_for(value(one, "drivers"), version))
			return one;
	fail_msg("no forecast for %s", version);
	return NULL;
}

/* "[[1,3],[7,7]]" is [1,2,3,7] */
static bool are_ids(struct json_object *ranges, struct json_object *ids)
{
	size_t at = 0;

	for (size_t k = 0; k < json_object_array_length(ranges); k++) {
		struct json_object *range = json_object_array_get_idx(ranges, k);
		uint64_t id = json_object_get_uint64(json_object_array_get_idx(range, 0));
		uint64_t last = json_object_get_uint64(json_object_array_get_idx(range, 1));

		for (; id <= last; id++, at++)
			if (at >= json_object_array_length(ids) ||
			    json_object_get_uint64(json_object_array_get_idx(ids, at)) != id)
				return false;
	}
	return at == json_object_array_length(ids);
}

static void foretold(const char *generation, struct json_object *kernel)
{
	const char *version = value(kernel, "driver"), *stuck = value(kernel, "drop_caches");

	run("wb-check --json --explain-kernel --generation=%s cache.img before.img", generation);
	assert_int_equal(status & ~4, 0);
	struct json_object *forecast = forecast_for(version);

	equal("outcome", value(forecast, "outcome"), value(kernel, "outcome"));
	if (!are_ids(json_object_object_get(forecast, "applied_ids"), json_object_object_get(kernel, "applied")))
		fail_msg("%s takes %s", version, value(forecast, "applied_ids"));
	equal("drop_caches returns", value(forecast, "drop_caches_returns"), strcmp(stuck, "null") ? "false" : "true");
	if (!strcmp(value(kernel, "after"), "null")) /* the kernel crashed, and it is a race what was written before */
		return;
	copy("before.img", "backing.img");
	expect(0, "foretell cache.img backing.img %s %s", generation, version);
	equal("BACKING after the driver", sum("backing.img"), value(kernel, "after"));
}

static void drivers_do_what_is_foretold(void **state)
{
	struct json_object *set = json_object_object_get(sets, *state), *kernel;

	unpack(*state);
	copy("backing.img", "before.img");
	foretold(value(set, "generation"), json_object_object_get(set, "kernel"));
	if (json_object_object_get_ex(set, "kernel_201", &kernel))
		foretold(value(set, "generation"), kernel);
}

int main(void)
{
	static char *names[256];
	size_t count = 0;

	sets = json_object_from_file(source("tests/golden/forecasts.json"));
	if (!sets)
		return 2;
	json_object_object_foreach(sets, name, entry) {
		(void)entry;
		if (count < 255)
			names[count++] = name;
	}
	return run_tables("forecasts", test_for_each(names, drivers_do_what_is_foretold, &count), count);
}
