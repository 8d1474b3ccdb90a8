/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whoever does what the `next` lines say comes to an end, and is never told to type something that is a usage error. Every
 * step is carried out, whichever of them is chosen; those that write are taken back before the next one is tried.
 */
#include "table.h"

#define DEEPEST 12u
#define STEPS_MAX 24u

/* The commands that lead here, and how many of them wrote. */
static struct {
	char *command;
	unsigned writes;
} path[DEEPEST];
static unsigned depth, writes;

/* Commands that were tried on images of that history; each is enough once. */
static struct {
	char *all;
	size_t size;
} seen;

static bool is_new(const char *command)
{
	char *line;
	size_t length;

	if (asprintf(&line, "\n%u", writes) < 0)
		return false;
	for (unsigned i = 0; i < depth; i++)
		if (i && path[i].writes != path[i - 1].writes) {
			char *longer;

			if (asprintf(&longer, "%s;%s", line, path[i - 1].command) < 0)
				break;
			free(line);
			line = longer;
		}
	length = strlen(line) + strlen(command) + 2;
	line = realloc(line, length + 1);
	strcat(strcat(strcat(line, ":"), command), "\n");
	bool is_there = seen.all && strstr(seen.all, line);

	if (!is_there) {
		seen.all = realloc(seen.all, seen.size + length + 1);
		strcpy(seen.all + seen.size, line);
		seen.size += strlen(line);
	}
	free(line);
	return !is_there;
}

static bool writes_something(const char *command)
{
	if (has(command, " -n ") || has(command, " --segments "))
		return false;
	return has(command, " --repair ") || has(command, "wb-flush-dirty") || has(command, "wb-format");
}

/* Quotes and blanks of a shell become what run() takes. */
static void to_arguments(char *to, const char *command)
{
	bool quoted = false;

	for (; *command; command++)
		if (*command == '\'')
			quoted = !quoted;
		else
			*to++ = quoted && *command == ' ' ? '\1' : *command;
	*to = '\0';
}

static void fail_at(const char *name, const char *why)
{
	for (unsigned i = 0; i < depth; i++)
		print_error("%s\n", path[i].command);
	fail_msg("%s: %s", name, why);
}

static unsigned take_steps(char *steps[STEPS_MAX])
{
	unsigned count = 0;

	for (char *line = strtok(out, "\n"); line && count < STEPS_MAX; line = strtok(NULL, "\n"))
		if (strncmp(line, "next ", 5) == 0)
			steps[count++] = strdup(line + 5 + strspn(line + 5, " "));
	return count;
}

static void keep(unsigned level, bool back)
{
	static const char *const images[] = { "a cache.img", "backing.img" };

	for (unsigned i = 0; i < 2; i++) {
		const char *kept = text("keep.%u.%u", level, i);

		assert_int_equal(back ? rename(kept, images[i]) : rename(images[i], kept), 0);
		if (!back)
			copy(kept, images[i]);
	}
	if (back) {
		remove_if_there("a cache.img.state");
		remove_if_there("a cache.img.undo");
	}
}

/* NOLINTNEXTLINE(misc-no-recursion): bounded by DEEPEST */
static void follow(const char *name, const char *command)
{
	char arguments[1024], *steps[STEPS_MAX];
	bool writing = writes_something(command);
	unsigned count;

	for (unsigned i = 0; i < depth; i++)
		if (path[i].writes == writes && strcmp(path[i].command, command) == 0)
			fail_at(name, text("in a circle: %s", command));
	if (!is_new(command))
		return;
	if (depth == DEEPEST)
		fail_at(name, "no end");
	if (strncmp(command, "wb-", 3) != 0 || strlen(command) + 4 > sizeof(arguments))
		fail_at(name, text("this is no command: %s", command));
	path[depth].command = strdup(command);
	path[depth++].writes = writes;
	if (writing)
		keep(depth, false);
	to_arguments(arguments, command);
	run("%s%s", arguments, has(command, "wb-dump") ? "" : " -y");
	if (status >= 16)
		fail_at(name, text("exit status %d: %s", status, words));
	count = take_steps(steps);
	writes += writing;
	for (unsigned i = 0; i < count; i++) {
		follow(name, steps[i]);
		free(steps[i]);
	}
	writes -= writing;
	if (writing)
		keep(depth, true);
	free(path[--depth].command);
}

static void follow_pair(const char *name)
{
	static const char *const first[] = { "wb-check 'a cache.img' backing.img", "wb-check 'a cache.img'",
					     "wb-flush-dirty 'a cache.img' backing.img", "wb-dump 'a cache.img' backing.img" };

	rename("cache.img", "a cache.img");
	free(seen.all);
	seen.all = NULL;
	seen.size = 0;
	depth = writes = 0;
	for (unsigned i = 0; i < sizeof(first) / sizeof(first[0]); i++)
		if (i != 1)
			follow(name, first[i]);
	/* without BACKING the steps have a place for it */
	run("wb-check a\1cache.img");
	assert_true(status < 16);
}

static void next_steps_of_a_fixture_come_to_an_end(void **state)
{
	make_cache(*state);
	follow_pair(*state);
}

static void next_steps_of_every_golden_set_come_to_an_end(void **state)
{
	(void)state;
	json_object_object_foreach(golden_sets(), name, set) {
		(void)set;
		unpack(name);
		follow_pair(name);
	}
}

int main(void)
{
	size_t count = 0;
	struct CMUnitTest *tests = test_for_each(fixtures(""), next_steps_of_a_fixture_come_to_an_end, &count);
	const struct CMUnitTest golden = table_test(next_steps_of_every_golden_set_come_to_an_end);

	tests[count++] = golden; /* there is room */
	return run_tables("table_next", tests, count);
}
