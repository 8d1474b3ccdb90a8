/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every text fixture does what its first line says: "# what; strict X, prefix X, salvage X; check N". X is the ids that are
 * replayed, "nothing", "refuse" (exit 4), or "refuse(8)"; with a refusal nothing may change. "less N": but for N sectors that are
 * left as they are.
 */
#include <ctype.h>

#include "table.h"

/* What follows NAME in the first line, up to the next of its kind. */
static const char *said(const char *line, const char *name)
{
	char *value = (char *)(uintptr_t)text("%s", strstr(line, name) + strlen(name));
	char *end = value + strcspn(value, ";\n");

	*end = '\0';
	for (char *comma = value; (comma = strstr(comma, ", ")); comma++) /* a blank behind it: the next policy */
		if (isalpha((unsigned char)comma[2])) {
			*comma = '\0';
			break;
		}
	return value;
}

static bool is_damage(const char *line)
{
	static const char *const words_of_damage[] = { "flip ", "poke ", "zero ", "tear ", "setid ", "setlength ", "setlap ",
						       "copy-slot ", "cut ", "grow ", "shift " };

	for (size_t k = 0; k < sizeof(words_of_damage) / sizeof(*words_of_damage); k++)
		if (!strncmp(line, words_of_damage[k], strlen(words_of_damage[k])))
			return true;
	return false;
}

/* "4-6,8" as commands of mkcache */
static void write_back(FILE *into, const char *ids)
{
	for (const char *at = ids; isdigit((unsigned char)*at);) {
		char *end;
		unsigned long long first = strtoull(at, &end, 10), last = first;

		if (*end == '-')
			last = strtoull(end + 1, &end, 10);
		for (; first <= last; first++)
			fprintf(into, "writeback-segment %llu\n", first);
		at = *end == ',' ? end + 1 : end;
	}
}

/* What BACKING must hold then, as expected.img: made by mkcache alone, from the undamaged segments. */
static void make_expected(const char *wbt, const char *ids)
{
	FILE *into = fopen("expected.wbt", "w");
	bool written = false;

	assert_non_null(into);
	for (const char *line = wbt, *next; *line; line = next) {
		next = strchr(line, '\n') + 1;
		if (!written && is_damage(line)) {
			write_back(into, ids);
			written = true;
		}
		fwrite(line, 1, (size_t)(next - line), into);
	}
	if (!written)
		write_back(into, ids);
	fclose(into);
	expect(0, "mkcache expected.wbt ignored.img expected.img");
	if (!exists("expected.img"))
		resize("expected.img", 8 << 20);
}

/* Sectors of BACKING that do not hold what was expected; all of them must be as they were. */
static uint64_t left_alone(void)
{
	size_t size;
	char *got = load("backing.img", &size), *expected = load("expected.img", NULL), *before = load("original.img", NULL);
	uint64_t count = 0;

	for (size_t at = 0; at < size; at += 512)
		if (memcmp(got + at, expected + at, 512)) {
			assert_memory_equal(got + at, before + at, 512);
			count++;
		}
	free(got);
	free(expected);
	free(before);
	return count;
}

static void policy_does(const char *wbt, const char *policy)
{
	const char *want = said(wbt, text("%s %s ", strcmp(policy, "strict") ? "," : ";", policy));

	copy("original.img", "backing.img");
	run("wb-flush-dirty -q -y --keep --force=stateless --policy=%s cache.img backing.img", policy);
	if (!strncmp(want, "refuse", 6)) {
		if (status != (strcmp(want, "refuse") ? 8 : 4))
			fail_msg("%s: exit %d, and not '%s': %s", policy, status, want, words);
		if (!same("original.img", "backing.img"))
			fail_msg("%s: BACKING was changed by a refusal", policy);
		return;
	}
	if (status & ~5)
		fail_msg("%s: exit %d: %s", policy, status, words);
	make_expected(wbt, want);
	const char *less = strstr(want, " less ");

	if (less ? left_alone() != strtoull(less + 6, NULL, 10) : !same("backing.img", "expected.img"))
		fail_msg("%s: BACKING does not hold what %s wrote", policy, want);
}

static void fixture_does_what_its_first_line_says(void **state)
{
	static const char *const policies[] = { "strict", "prefix", "salvage" };
	char *wbt = load(source("tests/fixtures/%s.wbt", (char *)*state), NULL);

	make_cache(*state);
	copy("backing.img", "original.img");
	copy("cache.img", "cache.before");
	for (size_t k = 0; k < 3; k++)
		policy_does(wbt, policies[k]);
	run("wb-check -q cache.img original.img");
	assert_true(same("cache.img", "cache.before"));
	const char *want = said(wbt, "; check ");

	if (strcmp(want, "-") && atoi(want) != status)
		fail_msg("wb-check exits %d, expected %s", status, want);
	expect(0, "decide --every cache.img original.img");
	free(wbt);
}

/* Where an older version must not be written although its segment takes part, "ids replayed" does not say it all. */
static bool is_special(const char *name)
{
	static const char *const special[] = { "clean-hides-dirty", "dirty-over-clean", "misaligned-dirty", "sector-overflow",
					       "partial-last-block", "beyond-backing-dirty" };

	for (size_t k = 0; k < sizeof(special) / sizeof(*special); k++)
		if (*name == 'v' && !strcmp(name + 3, special[k]))
			return true;
	return false;
}

int main(void)
{
	char **names = fixtures(""), **kept = names;
	size_t count;

	for (char **name = names; *name; name++)
		if (!is_special(*name))
			*kept++ = *name;
		else
			free(*name);
	*kept = NULL;
	struct CMUnitTest *tests = test_for_each(names, fixture_does_what_its_first_line_says, &count);

	return run_tables("fixtures", tests, count);
}
