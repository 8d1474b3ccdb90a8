/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The next step: see next.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "next.h"
#include "report.h"

/* ---- options as they were given ---- */

void note_given(struct common *common, const char *name, const char *argument)
{
	struct given *list = realloc(common->given, (common->given_count + 1) * sizeof(*list));

	if (!list)
		usage_error("out of memory");
	common->given = list;
	list[common->given_count].name = name;
	list[common->given_count].argument = argument ? strdup(argument) : NULL;
	if (argument && !list[common->given_count].argument)
		usage_error("out of memory");
	common->given_count++;
}

void forget_given(struct common *common)
{
	for (unsigned i = 0; i < common->given_count; i++)
		free(common->given[i].argument);
	free(common->given);
	common->given = NULL;
	common->given_count = 0;
}

/* Calls visit with every option of a table and of those that it includes, until one returns true. */
/* NOLINTNEXTLINE(misc-no-recursion): our own tables, nested twice */
static bool visit_options(const struct poptOption *option, bool (*visit)(void *context, const struct poptOption *option),
			  void *context)
{
	for (; option->longName || option->arg; option++) {
		if (option->longName ? visit(context, option) : visit_options(option->arg, visit, context))
			return true;
	}
	return false;
}

struct search {
	int val;
	const char *name, *found;
	size_t distance;
};

static bool has_val(void *context, const struct poptOption *option)
{
	struct search *search = context;

	search->found = option->val == search->val ? option->longName : NULL;
	return search->found;
}

const char *option_name(const struct poptOption *table, int val)
{
	struct search search = { .val = val };

	visit_options(table, has_val, &search);
	return search.found;
}

static bool has_name(void *context, const struct poptOption *option)
{
	const struct search *search = context;

	return strcmp(option->longName, search->name) == 0;
}

bool has_option(const struct poptOption *table, const char *name)
{
	return visit_options(table, has_name, &(struct search){ .name = name });
}

#define NAME_MAX_LENGTH 40u

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Letters to insert, remove or replace, and neighbours to exchange. */
static size_t distance_of(const char *a, const char *b)
{
	size_t rows[3][NAME_MAX_LENGTH + 1], *last = rows[0], *before = rows[1], *row = rows[2], n = strlen(b);

	if (strlen(a) > NAME_MAX_LENGTH || n > NAME_MAX_LENGTH)
		return SIZE_MAX;
	for (size_t j = 0; j <= n; j++)
		last[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t *free_row = before;

		row[0] = i + 1;
		for (size_t j = 0; j < n; j++) {
			row[j + 1] = smaller(last[j] + (a[i] != b[j]), smaller(row[j], last[j + 1]) + 1);
			if (i && j && a[i] == b[j - 1] && a[i - 1] == b[j])
				row[j + 1] = smaller(row[j + 1], before[j - 1] + 1);
		}
		before = last;
		last = row;
		row = free_row;
	}
	return last[n];
}

static bool is_nearer(void *context, const struct poptOption *option)
{
	struct search *search = context;
	size_t distance = distance_of(search->name, option->longName);

	/* the beginning of a longer name is a good guess, too */
	if (strlen(search->name) > 2 && strncmp(search->name, option->longName, strlen(search->name)) == 0)
		distance = 1;
	if (option->argInfo & POPT_ARGFLAG_DOC_HIDDEN || distance >= search->distance)
		return false;
	search->distance = distance;
	search->found = option->longName;
	return false;
}

const char *nearest_option(const struct poptOption *table, const char *name)
{
	struct search search = { .name = name, .distance = 2 + strlen(name) / 4 };

	visit_options(table, is_nearer, &search);
	return search.found;
}

/* ---- the step ---- */

/* A word of a list with blanks between. */
static bool lists(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; at && (at = strstr(at, word)); at += length)
		if ((at == list || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
			return true;
	return false;
}

/* What was said of a device holds for other commands too, where they know it. */
static bool goes_along(const char *tool, const char *name)
{
	if (lists("slot-address start size", name))
		return true;
	return lists("generation order slots", name) && strcmp(tool, "wb-format") != 0;
}

/* How a run is shown is nothing that the next one must repeat. */
static bool is_needed(const char *tool, const char *drop, const char *name)
{
	if (lists("json quiet verbose progress jobs", name))
		return false;
	return !lists(drop, name) && (!tool || goes_along(tool, name));
}

static void put_quoted(FILE *to, const char *word)
{
	char *quoted = shell_quoted(word);

	fprintf(to, "%s", quoted ? quoted : word);
	free(quoted);
}

char *free_name(const char *path, unsigned number)
{
	char *name = NULL;

	for (; number < 1000; number++) {
		free(name);
		if (asprintf(&name, number > 1 ? "%s-%u" : "%s", path, number) < 0)
			return NULL;
		if (access(name, F_OK))
			break;
	}
	return name;
}

/* What this run makes is there already when the next one begins, and nothing is overwritten. */
static void put_given(FILE *to, const struct given *given)
{
	char *other = lists("report failed", given->name) ? free_name(given->argument, 2) : NULL;

	fprintf(to, " --%s%s", given->name, given->argument ? "=" : "");
	if (given->argument)
		put_quoted(to, other ? other : given->argument);
	free(other);
}

static bool any_is_like_an_option(const char *const *operands)
{
	while (*operands && **operands != '-')
		operands++;
	return *operands;
}

static char *compose(const struct common *common, const char *tool, const char *drop, const char *add,
		     const char *const *operands)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	fputs(tool ? tool : common->tool, to);
	for (unsigned i = 0; i < common->given_count; i++)
		if (is_needed(tool, drop, common->given[i].name))
			put_given(to, &common->given[i]);
	if (add && *add)
		fprintf(to, " %s", add);
	if (any_is_like_an_option(operands))
		fputs(" --", to);
	for (; *operands; operands++) {
		fputc(' ', to);
		put_quoted(to, *operands);
	}
	if (!fclose(to))
		return text;
	free(text);
	return NULL;
}

static struct json_object *steps(void)
{
	struct json_object *summary = report_summary(), *list = NULL;

	if (summary && !json_object_object_get_ex(summary, "next", &list)) {
		list = json_object_new_array();
		json_object_object_add(summary, "next", list);
	}
	return list;
}

void next_step(const struct common *common, const char *tool, const char *drop, const char *add,
	       const char *const *operands, const char *purpose)
{
	char *text = compose(common, tool, drop, add, operands ? operands : common->operands);
	int width = (int)common->label_width;

	if (!text)
		return;
	common_say(common, "%-*s%s", width, "next", text);
	if (purpose)
		common_say(common, "%*s%s", width, "", purpose);
	if (steps())
		report_add_text(steps(), text);
	free(text);
}
