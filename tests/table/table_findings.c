/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wb-check's findings: one fault makes one finding, and every rule of wbrules.h has an image with that one fault, in which it
 * is found alone, by one job and by two, with its text, severity and place.
 */
#include <strings.h>

#include "table.h"

/* Classes of all findings, sorted, each once, with a blank behind each but the last; without one, which may be NULL. */
static const char *classes(const char *without)
{
	const char *found[64];
	size_t count = 0;
	struct json_object *one;
	char *list = (char *)(uintptr_t)text(" ");

	for (size_t k = 0; (one = record_at(k)); k++) {
		const char *class = value(one, "class");
		size_t at = 0;

		if (strcmp(value(one, "type"), "finding") || (without && !strcmp(class, without)))
			continue;
		while (at < count && strcmp(found[at], class) < 0)
			at++;
		if (at < count && !strcmp(found[at], class))
			continue;
		assert_true(count < 64);
		memmove(found + at + 1, found + at, (count++ - at) * sizeof(*found));
		found[at] = class;
	}
	*list = '\0';
	for (size_t k = 0; k < count; k++)
		sprintf(list + strlen(list), "%s%s", k ? " " : "", found[k]);
	return list;
}

/* ---- one fault makes one finding ---- */

/* FAULT of the generations, and the class it must be alone with; v0 always warns that its data is uncovered besides. */
static const struct {
	const char *generations, *fault, *class;
} faults[] = {
	{ "012", "formatted", "" },
	{ "012", "simple", "" },
	{ "012", "wrapped", "" },
	{ "012", "partial", "" },
	{ "012", "flushes", "" },
	{ "012", "same-block-twice", "" },
	{ "012", "stale-metablocks", "" },
	{ "012", "slack", "cut-short" },
	{ "012", "partial-last-block", "" },
	{ "012", "torn-tail", "torn-tail" },
	{ "012", "torn-first", "torn-tail" },
	{ "012", "ahead", "ahead" },
	{ "012", "stale-lap", "stale-lap" },
	{ "012", "bad-length", "bad-length" },
	{ "012", "wiped-header", "rotten" },
	{ "012", "misaligned-dirty", "misaligned" },
	{ "012", "beyond-backing-dirty", "beyond-backing" },
	{ "012", "sector-overflow", "beyond-backing" },
	{ "012", "record-garbage", "record-garbage" },
	{ "012", "record-missing", "record-missing" },
	{ "012", "grown", "resized" },
	{ "012", "shrunk", "resized" },
	{ "012", "shifted", "shifted" },
	{ "012", "restarted", "restarted" },
	{ "012", "destroyed", "destroyed" },
	{ "012", "garbage-beyond", "foreign" },
	{ "012", "sector0-zero", "zero-superblock" },
	{ "012", "sector0-garbage", "bad-superblock" },
	{ "12", "torn-head", "torn-head" },
	{ "12", "torn-head-zero-id", "torn-head" },
	{ "12", "rotten-data-bit", "rotten" },
	{ "12", "rotten-checksum-bit", "rotten" },
	{ "12", "rotten-length-bit", "rotten" },
	{ "12", "rotten-two-bits", "rotten" },
	{ "12", "rotten-next-bit", "rotten" },
	{ "12", "rotten-head-bit", "rotten" },
	{ "12", "stray-written-back", "rotten" },
	{ "12", "id-zero", "alien-id" },
	{ "12", "id-huge", "alien-id" },
	{ "12", "id-bit", "alien-id" },
	{ "12", "misaligned-clean", "misaligned" },
	{ "12", "beyond-backing-clean", "beyond-backing" },
	{ "12", "padding", "padding" },
	{ "0", "rotten-lap", "rotten" },
	{ "0", "zeroed", "zeroed" },
	{ "2", "mixed-checksums", "mixed-checksums restarted" },
	{ "2", "pair-contradicted", "backing-mismatch" },
};

static void one_fault_makes_one_finding(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(faults) / sizeof(*faults); k++)
		for (const char *generation = faults[k].generations; *generation; generation++) {
			make_cache(text("v%c-%s", *generation, faults[k].fault));
			run("wb-check --json cache.img backing.img");
			if (strcmp(classes("unsealed-data"), faults[k].class))
				fail_msg("v%c-%s: found '%s', expected '%s'", *generation, faults[k].fault,
					 classes("unsealed-data"), faults[k].class);
		}
}

/* ---- every rule ---- */

static const char *options; /* of wb-check, with a blank behind them */

/* The marker of wbfmt(5) with reason 2, a format that began, and its checksum. */
static void interrupt_format(void)
{
	uint8_t marker[512] = { 'W', 'B', 'e', 'n', 'd', 'e', 'd', 0, 1, 0, 0, 0, 2 };

	memcpy(marker + 508, "\x46\x99\xbc\xe1", 4);
	put("cache.img", 0, marker, sizeof(marker));
}

static void make_ended(void)
{
	make_cache("v2-simple");
	expect(0, "wb-flush-dirty -q -y cache.img backing.img");
}

static void make_ended_partial(void)
{
	make_cache("v2-rotten-two-bits");
	expect(5, "wb-flush-dirty -q -y --policy=prefix --detach --force=stateless cache.img backing.img");
}

/* The driver writes segment 10 into its slot after the log was ended at 9. */
static void make_written_after_end(void)
{
	size_t bytes;

	make_cache_of("slots 6\nbacking 65536\nrange 1 10 blocks 4 seed 1 span 4096\n");
	char *later = load("cache.img", &bytes);

	make_cache_of("slots 6\nbacking 65536\nrange 1 9 blocks 4 seed 1 span 4096\n");
	expect(0, "wb-flush-dirty -q -y cache.img backing.img");
	put("cache.img", 1048576 + 3 * 524288, later + 1048576 + 3 * 524288, 524288);
	free(later);
}

static void make_interrupted(void)
{
	make_cache("v2-formatted");
	interrupt_format();
}

static void make_wrapping(void)
{
	make_cache("v2-simple");
	resize("cache.img", INT64_C(2200) << 30);
}

static void make_short(void)
{
	make_cache("v2-wrapped");
	resize("cache.img", 1048576 + 5 * 524288);
	options = "--slots=6 ";
}

/* from the second data block of the last slot on */
static void make_part_readable(void)
{
	make_cache("v2-wrapped");
	unreadable(1048576 + 5 * 524288 + 8192, 524288 - 8192);
}

static void make_unreadable(void)
{
	make_cache("v2-wrapped");
	unreadable(1048576 + 5 * 524288, 524288);
}

static void make_unreadable_superblock(void)
{
	make_cache("v2-wrapped");
	unreadable(0, 512);
}

static void make_unreadable_record(void)
{
	make_cache("v0-wrapped");
	put("cache.img", 2047 * 512 + 100, "\1", 1); /* holes of an image are not read */
	unreadable(2047 * 512, 512);
}

/* Says that all but the newest was written back, to BACKING that has nothing of it. */
static void make_contradicted_record(void)
{
	make_cache("v0-simple");
	put("cache.img", 2047 * 512, "\2", 1);
}

static void make_hidden(void)
{
	make_cache("v2-simple");
	options = "--order=7 ";
}

static void make_residue(void)
{
	make_cache("v2-wrapped");
	put("cache.img", 4, "ed\0\1", 4);
}

static void make_ended_by_zeroing(void)
{
	static const uint8_t zeroes[512];

	make_cache("v2-pair-proven");
	put("cache.img", 0, zeroes, sizeof(zeroes));
}

/* How the fault of a rule is had (a fixture or a function), and what comes along of necessity. */
static const struct fault {
	const char *rule, *fixture, *companion;
	void (*make)(void);
} of_rules[] = {
	{ "ended", NULL, NULL, make_ended },
	{ "ended-partial", NULL, "ended", make_ended_partial },
	{ "written-after-end", NULL, NULL, make_written_after_end },
	{ "format-interrupted", NULL, NULL, make_interrupted },
	{ "zero-superblock", "v2-sector0-zero", NULL, NULL },
	{ "bad-superblock", "v2-sector0-garbage", NULL, NULL },
	{ "unreadable-superblock", NULL, NULL, make_unreadable_superblock },
	{ "ended-by-zeroing", NULL, NULL, make_ended_by_zeroing },
	{ "superblock-residue", NULL, NULL, make_residue },
	{ "record-unreadable", NULL, "unsealed-data", make_unreadable_record }, /* in v1 and v2 a warning */
	{ "ambiguous-generation", "v0-tie", "unsealed-data", NULL }, /* the older is v0, not to be read without that warning */
	{ "wrap", NULL, NULL, make_wrapping },
	{ "other-geometry", NULL, NULL, make_hidden },
	{ "destroyed", "v2-destroyed", NULL, NULL },
	{ "resized", "v2-grown", NULL, NULL },
	{ "shifted", "v2-shifted", NULL, NULL },
	{ "restarted", "v2-restarted", NULL, NULL },
	{ "record-garbage", "v2-record-garbage", NULL, NULL },
	{ "record-missing", "v2-record-missing", NULL, NULL },
	{ "record-contradicted", NULL, "unsealed-data", make_contradicted_record }, /* only v0 is bound by it */
	{ "record-hazard", "v2-record-sound", NULL, NULL },
	{ "mixed-checksums", "v2-mixed-checksums", "restarted", NULL }, /* two dialects are two time lines */
	{ "torn-tail", "v2-torn-tail", NULL, NULL },
	{ "torn-head", "v2-torn-head", NULL, NULL },
	{ "ahead", "v2-ahead", NULL, NULL },
	{ "rotten", "v2-rotten-two-bits", NULL, NULL },
	{ "stale-lap", "v2-stale-lap", NULL, NULL },
	{ "alien-id", "v2-id-huge", NULL, NULL },
	{ "bad-length", "v2-bad-length", NULL, NULL },
	{ "misaligned", "v2-misaligned-dirty", NULL, NULL },
	{ "beyond-backing", "v2-beyond-backing-dirty", NULL, NULL },
	{ "cut-short", NULL, NULL, make_short },
	{ "part-readable", NULL, NULL, make_part_readable },
	{ "unreadable", NULL, NULL, make_unreadable },
	{ "zeroed", "v0-zeroed", "unsealed-data", NULL }, /* only v0 discards segments, and nothing covers its data */
	{ "foreign", "v2-garbage-beyond", NULL, NULL },
	{ "padding", "v2-padding", NULL, NULL },
	{ "unsealed-data", "v0-simple", NULL, NULL },
	{ "backing-mismatch", "v2-pair-contradicted", NULL, NULL },
};

static const struct {
	const char *name, *severity;
} rules[] = {
#define X(symbol, name, severity, ...) { name, #severity },
#include "wbrules.h"
#undef X
};

static void make_of_rule(const char *rule)
{
	options = "";
	for (size_t k = 0; k < sizeof(of_rules) / sizeof(*of_rules); k++) {
		if (strcmp(of_rules[k].rule, rule))
			continue;
		if (of_rules[k].make)
			of_rules[k].make();
		else
			make_cache(of_rules[k].fixture);
		return;
	}
	fail_msg("no image has the fault of '%s'", rule);
}

/* The classes that must be found, sorted: the rule and what comes along. */
static const char *expected_of(const char *rule)
{
	for (size_t k = 0; k < sizeof(of_rules) / sizeof(*of_rules); k++)
		if (!strcmp(of_rules[k].rule, rule) && of_rules[k].companion)
			return strcmp(rule, of_rules[k].companion) < 0 ? text("%s %s", rule, of_rules[k].companion) :
				text("%s %s", of_rules[k].companion, rule);
	return rule;
}

/* Whether one of these classes, one blank between two, is damage. */
static bool damage_among(const char *names)
{
	char *list = strdup(names), *rest = NULL;
	bool damage = false;

	for (char *name = strtok_r(list, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
		for (size_t k = 0; k < sizeof(rules) / sizeof(*rules); k++)
			damage |= !strcmp(rules[k].name, name) && !strcmp(rules[k].severity, "DAMAGE");
	free(list);
	return damage;
}

static void every_rule_is_found_alone_by_one_job_and_by_two(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof(rules) / sizeof(*rules); k++) {
		make_of_rule(rules[k].name);
		run("wb-check --json -j 1 %scache.img backing.img", options);
		if (strcmp(classes(NULL), expected_of(rules[k].name)))
			fail_msg("%s: found '%s'", rules[k].name, classes(NULL));
		assert_int_equal(status, damage_among(expected_of(rules[k].name)) ? 4 : 0);
		char *one = strdup(out);

		run("wb-check --json -j 2 %scache.img backing.img", options);
		if (strcmp(out, one))
			fail_msg("%s: two jobs find something else: %s", rules[k].name, out);
		free(one);
		readable_again();
	}
}

static struct json_object *finding_of(const char *rule)
{
	struct json_object *one;

	for (size_t k = 0; (one = record_at(k)); k++)
		if (!strcmp(value(one, "class"), rule))
			return one;
	fail_msg("%s is not found: %s", rule, out);
	return NULL;
}

static void check_text_and_place(const char *rule, const char *severity, char *words_of_rule)
{
	make_of_rule(rule);
	run("wb-check --json %scache.img backing.img", options);
	struct json_object *finding = finding_of(rule);

	assert_true(strlen(value(finding, "text")) > 20);
	if (strcasecmp(value(finding, "severity"), severity))
		fail_msg("%s: severity %s", rule, value(finding, "severity"));
	if (strcmp(value(finding, "slot"), "null"))
		assert_true(number(finding, "offset") >= 1048576 && json_object_is_type(json_object_object_get(finding, "id"),
											json_type_int));
	strcpy(words_of_rule, value(finding, "text"));
}

static size_t lines_of(const char *from)
{
	size_t count = 0;

	for (; *from; from++)
		count += *from == '\n';
	return count;
}

static void every_finding_has_its_text_severity_and_place_in_json_and_for_people(void **state)
{
	char said[1024];

	(void)state;
	for (size_t k = 0; k < sizeof(rules) / sizeof(*rules); k++) {
		const char *rule = rules[k].name;

		if (!strcmp(rule, "wrap")) /* looked at in check.bats */
			continue;
		check_text_and_place(rule, rules[k].severity, said);
		run("wb-check %scache.img backing.img", options);
		if (!strcmp(rule, "ended") || !strcmp(rule, "ended-partial") || !strcmp(rule, "format-interrupted"))
			assert_true(has(out, " on 20") || has(out, " on 1970"));
		else if (!has(out, text(" %s", rule)) || !has(out, said))
			fail_msg("%s: %s", rule, out);
		assert_true(lines_of(out) < 40);
		readable_again();
	}
}

/* A torn tail, a broken segment after a gap, a record that binds: whether they are more, only BACKING tells. */
static void sound_without_backing_is_said_of_cache_alone_where_backing_may_tell(void **state)
{
	static const struct { const char *fixture; bool may_tell; } cases[] = {
		{ "v2-wrapped", false }, { "v1-torn-head", false }, { "v0-simple", false }, { "v1-record-sound", false },
		{ "v1-torn-tail", true }, { "v2-torn-tail", true }, { "v0-torn-tail", true }, { "v0-record-sound", true },
		{ "v2-stray-written-back", true },
	};

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(*cases); k++) {
		make_cache(cases[k].fixture);
		expect(0, "wb-check cache.img");
		if (!has(out, "sound") || has(out, "sound as far as CACHE alone shows") != cases[k].may_tell)
			fail_msg("%s: %s", cases[k].fixture, out);
		run("wb-check cache.img backing.img");
		if (has(out, "as far as CACHE alone"))
			fail_msg("%s: %s", cases[k].fixture, out);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		table_test(sound_without_backing_is_said_of_cache_alone_where_backing_may_tell),
		table_test(one_fault_makes_one_finding),
		table_test(every_rule_is_found_alone_by_one_job_and_by_two),
		table_test(every_finding_has_its_text_severity_and_place_in_json_and_for_people),
	};

	setenv("WB_IO", "threads", 1); /* so that there are sectors that cannot be read */
	return run_tables("findings", tests, sizeof(tests) / sizeof(*tests));
}
