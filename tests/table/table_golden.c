/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every image that a real driver wrote: what it is, and what each policy must make of it. */
#include "table.h"

static struct json_object *want;	/* the entry of the set in expected.json */

static void equal(const char *what, const char *got, const char *expected)
{
	if (strcmp(got, expected))
		fail_msg("%s is '%s', expected '%s'", what, got, expected);
}

static bool has_key(const char *name)
{
	return json_object_object_get_ex(want, name, NULL);
}

static const char *as_text(struct json_object *object)
{
	return text("%s", json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN));
}

/* ---- wb-check ---- */

static int by_number(const void *a, const void *b)
{
	int64_t first = json_object_get_int64(*(struct json_object *const *)a);
	int64_t second = json_object_get_int64(*(struct json_object *const *)b);

	return (first > second) - (first < second);
}

/* Ids of the findings of a class, or (NULL) of those that one flipped bit explains, sorted, as JSON. */
static const char *ids_of(const char *class)
{
	struct json_object *ids = json_object_new_array(), *one;

	for (size_t k = 0; (one = record_at(k)); k++)
		if (class ? !strcmp(value(one, "class"), class) : json_object_object_get_ex(one, "flipped_byte", NULL))
			json_object_array_add(ids, json_object_get(json_object_object_get(one, "id")));
	json_object_array_sort(ids, by_number);
	const char *list = as_text(ids);

	json_object_put(ids);
	return list;
}

static bool finds(const char *class)
{
	struct json_object *one;

	for (size_t k = 0; (one = record_at(k)); k++)
		if (!strcmp(value(one, "class"), class))
			return true;
	return false;
}

static size_t length_of(const char *list)
{
	return json_object_array_length(json_object_object_get(want, list));
}

static void check_facts(void)
{
	static const char *const facts[] = { "generation", "order", "slots", "record", "head", "pair" };

	run("wb-check --json cache.img before.img");
	equal("exit status of wb-check", text("%d", status), value(want, "check_status"));
	for (size_t k = has_key("generation_ambiguous"); k < sizeof(facts) / sizeof(*facts); k++)
		equal(facts[k], field(facts[k]), value(want, facts[k]));
	equal("first of the window", field("first"),
	      as_text(json_object_array_get_idx(json_object_object_get(want, "window"), 0)));
	equal("number of holes", field("holes"), text("%zu", length_of("holes")));
	equal("torn head", ids_of("torn-head"), value(want, "torn_head"));
	equal("torn tail", ids_of("torn-tail"), value(want, "torn_tail"));
	equal("ahead", ids_of("ahead"), value(want, "ahead"));
	equal("zeroed", ids_of("zeroed"), value(want, "zeroed"));
	equal("explained by one bit", ids_of(NULL), value(want, "one_bit"));
	equal("resized", finds("resized") ? "true" : "false", value(want, "resized"));
	const char *restarted = value(want, "restarted");

	equal("restarted", ids_of("restarted"), strcmp(restarted, "0") ? text("[%s]", restarted) : "[]");
}

/* ---- the forecast is what the driver did: the ids it took, in its order, how it ended, and what BACKING then held ---- */

/* "[[1,3],[7,7]]" as [1,2,3,7] */
static struct json_object *expanded(struct json_object *ranges)
{
	struct json_object *ids = json_object_new_array();

	for (size_t k = 0; k < json_object_array_length(ranges); k++) {
		struct json_object *range = json_object_array_get_idx(ranges, k);
		uint64_t id = json_object_get_uint64(json_object_array_get_idx(range, 0));
		uint64_t last = json_object_get_uint64(json_object_array_get_idx(range, 1));

		for (; id <= last; id++)
			json_object_array_add(ids, json_object_new_uint64(id));
	}
	return ids;
}

static void check_forecast(void)
{
	struct json_object *kernel = json_object_object_get(want, "kernel");

	if (!kernel || has_key("driver")) /* of other drivers than wb-check speaks for: forecasts.json */
		return;
	run("wb-check --json --explain-kernel cache.img before.img");
	equal("exit status of wb-check --explain-kernel", text("%d", status), value(want, "check_status"));
	struct json_object *forecast = record("forecast"), *applied = json_object_object_get(kernel, "applied");

	assert_non_null(forecast);
	struct json_object *ids = expanded(json_object_object_get(forecast, "applied_ids"));

	equal("ids applied", as_text(ids), as_text(applied));
	json_object_put(ids);
	equal("number applied", value(forecast, "applied"), text("%zu", json_object_array_length(applied)));
	equal("outcome", value(forecast, "outcome"), value(kernel, "outcome"));
	copy("before.img", "backing.img");
	expect(0, "foretell cache.img backing.img");
	equal("BACKING after the driver", sum("backing.img"), value(kernel, "after"));
}

/* ---- wb-flush-dirty ---- */

/* BACKING must have this sum then; null means a refusal that changes nothing. */
static void replay(const char *result, const char *options)
{
	if (!has_key(result))
		return;
	const char *expected = value(want, result);

	copy("before.img", "backing.img");
	run("wb-flush-dirty --json -y --keep%s cache.img backing.img", options);
	if (!strcmp(expected, "null")) {
		equal("exit status of a refusal", text("%d", status), has_key("superblock") ? "8" : "4");
		if (!same("before.img", "backing.img"))
			fail_msg("BACKING was changed by a refusal (%s)", options);
	} else {
		equal("exit status but 1 and 4", text("%d", status & ~5), "0");
		equal(text("BACKING (%s)", options), sum("backing.img"), expected);
	}
	if (!same("cache.img", "cache.before"))
		fail_msg("CACHE was changed (%s)", options);
	if (has_key("pair") && !has_key("superblock"))
		equal("pair", field("pair"), value(want, "pair"));
}

/* Each time line of a restarted ring under each policy. */
static void replay_lines(void)
{
	static const char *const policies[] = { "strict", "prefix", "salvage" };
	struct json_object *set = want, *lines = json_object_object_get(want, "timelines");

	if (!lines)
		return;
	json_object_object_foreach(lines, line, results) {
		want = results;
		for (size_t k = 0; k < sizeof(policies) / sizeof(*policies); k++)
			replay(policies[k], text(" --timeline=%s --policy=%s --force=stateless", line, policies[k]));
		want = set;
	}
}

static void golden(void **state)
{
	want = json_object_object_get(golden_sets(), *state);
	unpack(*state);
	copy("backing.img", "before.img");
	copy("cache.img", "cache.before");
	equal("BACKING of the set", sum("before.img"), value(want, "before"));
	check_facts();
	check_forecast();
	replay("strict", "");
	replay("prefix", " --policy=prefix --force=stateless");
	if (has_key("prefix_regress"))
		equal("sectors of evidence", field("evidence"), value(want, "prefix_regress"));
	replay("salvage", " --policy=salvage --force=stateless");
	if (has_key("salvage") && strcmp(value(want, "salvage"), "null")) {
		const char *from = value(want, "salvage_from");

		equal("first id of salvage", field("first_id"), strcmp(from, "null") ? from : "0");
	}
	replay_lines();
	if (has_key("ignore_record"))
		replay("ignore_record", " --ignore-record");
	expect(0, "decide --every cache.img before.img");
}

/* Sets as files are the sets of expected.json. */
static void every_golden_set_has_an_entry(void **state)
{
	size_t count = 0;

	(void)state;
	json_object_object_foreach(golden_sets(), name, entry) {
		(void)entry;
		assert_true(exists(source("tests/golden/%s.tar.zst", name)));
		count++;
	}
	shell("ls %s/v*/*.tar.zst | wc -l >count", source("tests/golden"));
	char *files = load("count", NULL);

	assert_int_equal(atoi(files), count);
	free(files);
}

int main(void)
{
	static char *names[1024];
	size_t count = 0;

	json_object_object_foreach(golden_sets(), name, entry) {
		(void)entry;
		if (count < 1023)
			names[count++] = name;
	}
	struct CMUnitTest *tests = test_for_each(names, golden, &count);

	tests[count++] = (struct CMUnitTest)table_test(every_golden_set_has_an_entry);
	return run_tables("golden", tests, count);
}
