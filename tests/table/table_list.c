/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wb-dump --list-dirty, --domain-map and --sector: what is listed and mapped is what a real flush writes, and why. */
#include <inttypes.h>
#include <strings.h>

#include "table.h"

#define MOST_SECTORS (1u << 20)

/* One flag for each sector of BACKING. */
typedef bool sectors_t[MOST_SECTORS];

static sectors_t listed, mapped;

static size_t mark(sectors_t sectors, uint64_t first, uint64_t count)
{
	for (uint64_t at = first; at < first + count; at++) {
		assert_true(at < MOST_SECTORS);
		assert_false(sectors[at]);
		sectors[at] = true;
	}
	return count;
}

/* The extents in out; returns how many sectors. */
static size_t read_list(void)
{
	struct json_object *one;
	size_t count = 0;

	memset(listed, 0, sizeof(listed));
	for (size_t k = 0; (one = record_at(k)); k++)
		if (!strcmp(value(one, "type"), "extent"))
			count += mark(listed, (uint64_t)number(one, "sector"), (uint64_t)number(one, "sectors"));
	return count;
}

/* The domain of a map, as ddrescue would take it. */
static void read_map(const char *path)
{
	char *map = load(path, NULL);
	bool status_seen = false;

	memset(mapped, 0, sizeof(mapped));
	for (char *line = strtok(map, "\n"); line; line = strtok(NULL, "\n")) {
		uint64_t at, bytes;
		char state;

		if (*line == '#')
			continue;
		if (!status_seen) {
			status_seen = true;
			continue;
		}
		assert_int_equal(sscanf(line, "%" SCNi64 " %" SCNi64 " %c", (int64_t *)&at, (int64_t *)&bytes, &state), 3);
		if (state == '+')
			mark(mapped, at / 512, bytes / 512);
	}
	free(map);
}

/* BACKING that resembles nothing in the log, and a copy of it */
static void make_pattern(void)
{
	size_t bytes = (size_t)size_of_file("backing.img");
	char *pattern = malloc(bytes + 1);

	assert_non_null(pattern);
	memset(pattern, 0333, bytes);
	store("pattern.img", pattern, bytes);
	store("backing.img", pattern, bytes);
	free(pattern);
}

static void put_pattern_back(void)
{
	char pattern[512];

	memset(pattern, 0333, sizeof(pattern));
	for (uint64_t at = 0; at < MOST_SECTORS; at++)
		if (mapped[at]) {
			size_t room = (size_t)(size_of_file("backing.img") - (int64_t)at * 512);

			put("backing.img", (int64_t)at * 512, pattern, room < 512 ? room : 512);
		}
}

/*
 * What is listed and mapped is what a replay changes, sector for sector; where a policy refuses (status 4), both refuse.
 * Leaves BACKING as it was. Returns the status of the listing.
 */
static int same_as_flush(const char *options)
{
	remove_if_there("domain.map");
	run("wb-dump --json --list-dirty --domain-map=domain.map %s cache.img backing.img", options);
	int listing = status;
	size_t count = read_list();
	const char *planned = text("%s", field("planned_sectors"));

	run("wb-flush-dirty --json -y --force=pair,stateless --keep %s cache.img backing.img", options);
	if (listing == 4) {
		assert_int_equal(status, 4);
		assert_false(exists("domain.map"));
		assert_true(same("backing.img", "pattern.img"));
		return listing;
	}
	if (listing || status & ~5)
		fail_msg("%s: %d and %d: %s", options, listing, status, words);
	assert_string_equal(text("%zu", count), planned);
	assert_string_equal(field("written_sectors"), planned);
	if (count) {
		read_map("domain.map");
		assert_memory_equal(listed, mapped, sizeof(listed));
		put_pattern_back();
	}
	assert_true(same("backing.img", "pattern.img"));
	return listing;
}

static void list_of_a_golden_set_is_what_a_real_flush_writes(void **state)
{
	unpack(*state);
	make_pattern();
	if (same_as_flush("--policy=strict")) {
		same_as_flush("--policy=prefix");
		same_as_flush("--policy=salvage");
	}
}

static void list_of_a_damaged_log_is_what_a_real_flush_writes(void **state)
{
	static const char *const names[] = { "v0-zeroed", "v0-partial-last-block", "v0-record-missing", "v1-stale-lap", "v1-ahead",
					     "v2-clean-hides-dirty", "v2-partial-last-block", "v2-two-holes", "v2-misaligned-dirty",
					     "v2-same-block-twice", "v2-restarted" };
	static const char *const options[] = { "--policy=strict", "--policy=prefix", "--policy=salvage", "--until-id=3",
					       "--trust-record", "--ignore-record", "--zeroed=replay", "--zeroed=skip",
					       "--policy=prefix --memory=8MiB" };

	(void)state;
	for (size_t k = 0; k < sizeof(names) / sizeof(*names); k++) {
		make_cache(names[k]);
		make_pattern();
		for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
			same_as_flush(options[i]);
	}
	same_as_flush("--timeline=new");
	same_as_flush("--timeline=old");
}

static void evidence_counts_in_a_list_as_in_a_real_run(void **state)
{
	static const char *const names[] = { "v2-evidence", "v1-evidence-own-copy", "v2-evidence-record", "v0-evidence",
					     "v2-two-holes", "v2-rotten-two-bits" };
	static const char *const policies[] = { "strict", "prefix", "salvage" };

	(void)state;
	for (size_t k = 0; k < sizeof(names) / sizeof(*names); k++) {
		make_cache(names[k]);
		for (size_t i = 0; i < 3; i++) {
			run("wb-dump --json --list-dirty --policy=%s cache.img backing.img", policies[i]);
			int listing = status;
			const char *planned = strcmp(field("planned_sectors"), "null") ? text("%s", field("planned_sectors")) : "0";

			run("wb-flush-dirty --json -n --policy=%s cache.img backing.img", policies[i]);
			if (listing != (status == 4 ? 4 : 0) || strcmp(planned, field("planned_sectors")))
				fail_msg("%s %s: %d and %s, %d and %s", names[k], policies[i], listing, planned, status,
					 field("planned_sectors"));
		}
	}
}

/* What needs no evidence is listed with BACKING too. */
static void without_backing_only_what_depends_on_evidence_may_change(void **state)
{
	static sectors_t certain;
	static const char *const policies[] = { "prefix", "salvage" };
	struct json_object *one;
	size_t count = 0;

	(void)state;
	make_cache("v2-evidence");
	for (size_t i = 0; i < 2; i++) {
		expect(0, "wb-dump --json --list-dirty --policy=%s cache.img", policies[i]);
		assert_true(number(record("summary"), "uncertain_sectors") > 0);
		assert_true(has(words, "evidence"));
		memset(certain, 0, sizeof(certain));
		for (size_t k = 0; (one = record_at(k)); k++)
			if (!strcmp(value(one, "needs_evidence"), "false"))
				count = mark(certain, (uint64_t)number(one, "sector"), (uint64_t)number(one, "sectors"));
		run("wb-dump --json --list-dirty --policy=%s cache.img backing.img", policies[i]);
		assert_false(has(out, "\"needs_evidence\":true"));
		read_list();
		for (size_t at = 0; at < MOST_SECTORS; at++)
			assert_true(!certain[at] || listed[at]);
	}
	assert_true(count > 0);
	expect(0, "wb-dump --list-dirty --policy=salvage cache.img");
	assert_true(has(out, "  needed\n") && has(out, "  -\n"));
}

/* ---- --sector ---- */

/* The version records as "ID:INDEX WHY,", newest first. */
static const char *fates(void)
{
	char *list = (char *)(uintptr_t)text(" ");
	struct json_object *one;

	*list = '\0';
	for (size_t k = 0; (one = record_at(k)); k++)
		if (!strcmp(value(one, "type"), "version")) {
			assert_true(strlen(list) < 3900);
			sprintf(list + strlen(list), "%s:", value(one, "id"));
			sprintf(list + strlen(list), "%s ", value(one, "index"));
			sprintf(list + strlen(list), "%s,", value(one, "why"));
		}
	return list;
}

static void every_version_is_told_newest_first_with_which_one_wins_and_why(void **state)
{
	static const struct {
		const char *sectors, *fates;
	} rows[] = {
		{ "8-15", "5:0 wins,4:0 clean,3:0 superseded,2:0 superseded," },
		{ "9", "4:0 clean,3:0 hidden-by-clean,2:0 hidden-by-clean," },
		{ "16-23", "5:2 wins,5:1 wins-in-part,2:1 superseded," },
		{ "16", "5:1 wins,2:1 superseded," },
		{ "8", "5:0 wins,4:0 clean,3:0 superseded,2:0 superseded," },
	};
	struct json_object *one;

	(void)state;
	make_cache_of("generation v2\nslots 4\nbacking 64\nsegment 2\nblock 8 ff\nblock 16 ff\nsegment 3\nblock 8 0f\n"
		      "segment 4\nblock 8 00\nsegment 5\nblock 8 01\nblock 16 ff\nblock 16 02\n");
	for (size_t k = 0; k < sizeof(rows) / sizeof(*rows); k++) {
		expect(0, "wb-dump --json --sector=%s cache.img", rows[k].sectors);
		assert_string_equal(fates(), rows[k].fates);
	}
	for (size_t k = 0; (one = record_at(k)); k++)
		if (!strcmp(value(one, "id"), "2"))
			assert_string_equal(value(one, "by"), "5");
	expect(0, "wb-dump --sector=24-63 cache.img");
	assert_string_equal(out, "");
	assert_true(has(words, "no slot holds"));
}

static void versions_that_do_not_count_say_why(void **state)
{
	static const struct {
		const char *fixture, *arguments, *has, *and, *has_not;
	} rows[] = {
		{ "v2-evidence", "cache.img backing.img", "beyond-hole", "rotten", NULL },
		{ "v2-evidence", "--policy=salvage cache.img backing.img", "wins", "rotten", "beyond-hole" },
		{ "v0-evidence", "--policy=salvage cache.img backing.img", "below-evidence", NULL, "beyond-hole" },
		{ "v2-evidence", "--until-id=4 cache.img", "beyond-until", NULL, NULL },
		{ "v2-stale-lap", "cache.img", "older-lap", NULL, NULL },
		{ "v2-restarted", "cache.img", "undecided", NULL, "wins" },
	};

	(void)state;
	for (size_t k = 0; k < sizeof(rows) / sizeof(*rows); k++) {
		make_cache(rows[k].fixture);
		expect(0, "wb-dump --json --sector=0-255 %s", rows[k].arguments);
		assert_true(has(fates(), rows[k].has));
		assert_true(!rows[k].and || has(fates(), rows[k].and));
		assert_false(rows[k].has_not && has(fates(), rows[k].has_not));
	}
}

/* BACKING holds what the damaged 3 wrote over all that 2 has for the block. */
static void version_below_what_backing_holds_is_contested(void **state)
{
	(void)state;
	make_cache_of("generation v2\nslots 4\nbacking 64\nsegment 1\nblock 16 ff\nsegment 2\nblock 8 0f\n"
		      "segment 3\nblock 8 ff\nsegment 4\nblock 24 ff\nwriteback 3\nflip 2 4200 3\nflip 2 7000 5\n");
	expect(0, "wb-dump --json --sector=8-15 --policy=salvage cache.img backing.img");
	assert_string_equal(fates(), "3:0 rotten,2:0 contested,");
}

static void winners_of_sectors_are_what_is_listed(void **state)
{
	static const char *const names[] = { "v0-wrapped", "v0-partial", "v1-partial", "v2-wrapped", "v2-partial",
					     "v2-clean-hides-dirty", "v2-same-block-twice", "v2-two-holes", "v2-evidence",
					     "v2-beyond-backing-dirty", "v2-misaligned-dirty", "v2-torn-head",
					     "v2-partial-last-block" };
	static const char *const policies[] = { "prefix", "salvage" };
	static sectors_t winners;
	struct json_object *one;

	(void)state;
	for (size_t k = 0; k < sizeof(names) / sizeof(*names) * 2; k++) {
		const char *policy = policies[k % 2];

		make_cache(names[k / 2]);
		uint64_t end = (uint64_t)size_of_file("backing.img") / 512;

		expect(0, "wb-dump --json --sector=0-18446744073709551615 --policy=%s cache.img backing.img", policy);
		memset(winners, 0, sizeof(winners));
		for (size_t i = 0; (one = record_at(i)); i++) {
			if (strcmp(value(one, "type"), "version"))
				continue;
			uint64_t bits = (uint64_t)number(one, "written_bits"), sector = (uint64_t)number(one, "sector");

			for (unsigned int bit = 0; bit < 8; bit++)
				if (bits >> bit & 1 && sector + bit < end)
					mark(winners, sector + bit, 1);
		}
		run("wb-dump --json --list-dirty --policy=%s cache.img backing.img", policy);
		read_list();
		if (status != 4 && memcmp(winners, listed, sizeof(winners)))
			fail_msg("%s %s", names[k / 2], policy);
	}
}

int main(void)
{
	static const struct CMUnitTest others[] = {
		table_test(list_of_a_damaged_log_is_what_a_real_flush_writes),
		table_test(evidence_counts_in_a_list_as_in_a_real_run),
		table_test(without_backing_only_what_depends_on_evidence_may_change),
		table_test(every_version_is_told_newest_first_with_which_one_wins_and_why),
		table_test(versions_that_do_not_count_say_why),
		table_test(version_below_what_backing_holds_is_contested),
		table_test(winners_of_sectors_are_what_is_listed),
	};
	static char *names[1024];
	size_t count = 0;

	json_object_object_foreach(golden_sets(), name, entry) {
		if (json_object_object_get_ex(entry, "superblock", NULL)) /* wb-flush-dirty opens none of these */
			continue;
		if (count < 1000)
			names[count++] = name;
	}
	struct CMUnitTest *tests = test_for_each(names, list_of_a_golden_set_is_what_a_real_flush_writes, &count);

	memcpy(tests + count, others, sizeof(others));
	return run_tables("list", tests, count + sizeof(others) / sizeof(*others));
}
