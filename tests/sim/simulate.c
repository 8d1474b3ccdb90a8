/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * simulate [--seed N] [--kinds all|KIND,...] [--runs N] [--operations N] [--fixture FILE.wbt [--images]] [--proof FILE] [--quiet]
 *
 * Runs simulated drivers into power cuts and holds what the library makes of it against what the application knows.
 * Seeds count up from --seed. Ends after --runs, or when the application has done --operations. The first run that fails is
 * shrunk, its pair written to FILE.wbt, and the exit status is 1. --images writes the last pair of any run there, and as
 * it is to FILE.wbt.cache and FILE.wbt.backing. --proof writes the numbers that prove something.
 */
#include <stdlib.h>

#include "plan.h"
#include "wbfmt.h"

static const char *const operation_names[] = {
	"write", "write-fua", "flush", "read", "segment", "barriers", "write-back", "record", "inject", "synchronize",
	"cut", "shutdown",
};

static void print_reasons(FILE *out, const char *title, const uint64_t *reasons)
{
	fprintf(out, "%s:", title);
	for (unsigned int i = 0; i < REFUSALS; i++)
		if (reasons[i])
			fprintf(out, " %s %" PRIu64, refusal_names[i], reasons[i]);
	fprintf(out, "\n");
}

static void print_counts(FILE *out, const struct counts *counts)
{
	static const char *const policies[] = { "strict", "prefix", "salvage" };

	fprintf(out, "%" PRIu64 " operations of an application in %" PRIu64 " runs, %" PRIu64 " power cuts, %" PRIu64
	       " restarts by the driver, %" PRIu64 " shutdowns\n",
	       counts->operations, counts->runs, counts->cuts, counts->restarts, counts->shutdowns);
	fprintf(out, "%" PRIu64 " pairs checked, %" PRIu64 " flushes cut off and resumed, %" PRIu64
	       " spoiled under --verify, %" PRIu64 " bits flipped, %" PRIu64 " unreadable places\n",
	       counts->checks, counts->flushes_cut, counts->verified, counts->flips, counts->unreadable);
	fprintf(out, "%" PRIu64 " runs checked for both invariants; %" PRIu64 " pairs of which nothing else is known; %" PRIu64
	       " segments misdirected, %" PRIu64 " devices resized\n", counts->inquests, counts->wild, counts->misdirected,
	       counts->resized);
	fprintf(out, "classes:");
	for (int i = 0; i < WB_CLASSES; i++)
		fprintf(out, " %s %" PRIu64, wb_class_name((enum wb_class)i), counts->classes[i]);
	fprintf(out, "\n");
	for (int i = 0; i < 3; i++) {
		fprintf(out, "%s: took %" PRIu64 ", refused %" PRIu64, policies[i], counts->taken[i], counts->refused[i]);
		print_reasons(out, "", counts->reasons[i]);
	}
	fprintf(out, "strict, power cuts alone, in order: took %" PRIu64 ", refused %" PRIu64, counts->orderly_taken,
	       counts->orderly_refused);
	print_reasons(out, "", counts->orderly_reasons);
	for (int i = 0; i < LIMIT_COUNT; i++)
		fprintf(out, "limit: %" PRIu64 " x %s\n", counts->limits[i], limit_texts[i]);
}

static void write_proof(const char *name, const struct counts *counts)
{
	uint64_t limits = 0;
	FILE *out = fopen(name, "w");

	for (int i = 0; i < LIMIT_COUNT; i++)
		limits += counts->limits[i];
	if (!out) {
		perror(name);
		exit(2);
	}
	fprintf(out, "simulator: %" PRIu64 " operations in %" PRIu64 " runs, %" PRIu64 " power cuts, %" PRIu64
		" pairs checked, %" PRIu64 " flushes cut off; strict took %" PRIu64 " of %" PRIu64
		" that orderly power cuts left; known limits met: %" PRIu64 "\n",
		counts->operations, counts->runs, counts->cuts, counts->checks, counts->flushes_cut,
		counts->orderly_taken, counts->orderly_taken + counts->orderly_refused, limits);
	fclose(out);
}

static void print_plan(const struct plan *plan)
{
	const struct config *c = &plan->config;

	printf("v%u order %u slots %u sectors %u%s%s%s%s%s%s\n", c->generation, c->order, c->slots, c->sectors,
	       c->foreground ? " foreground" : "", c->raw ? " raw" : "", c->records ? " records" : "",
	       c->reads ? " reads" : "", c->discards ? " discards" : "", c->orderly ? " orderly" : "");
	for (unsigned int i = 0; i < plan->count; i++)
		printf("  %s %u %u %" PRIu64 "\n", operation_names[plan->operations[i].what], plan->operations[i].sector,
		       plan->operations[i].count, plan->operations[i].random % 24);
	printf("  %s, %u places damaged\n", plan->shutdown ? "shutdown" : "cut", plan->later_count);
}

/* Shrinks it and says all about it. */
static void report(struct plan *plan, const struct verdict *verdict, const char *fixture)
{
	struct counts counts = { .runs = 0 };
	struct verdict again = { .failed = false };

	printf("FAILED seed %" PRIu64 " %s: %s\n", plan->seed, verdict->property, verdict->text);
	fflush(stdout);
	plan_shrink(plan, verdict);
	plan_run(plan, &counts, &again, fixture, false);
	printf("shrunk to %u operations: %s\n", plan->count, again.text);
	print_plan(plan);
	if (fixture)
		printf("written to %s\n", fixture);
}

static unsigned int kinds_named(char *names)
{
	static const struct { const char *name; unsigned int kind; } known[] = {
#define X(ID, NAME) { NAME, KIND_##ID },
		KINDS(X)
#undef X
		{ "all", 2 * KIND_OPTIONS - 1 },
	};
	unsigned int kinds = 0;

	for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
		unsigned int i = 0;

		while (i < sizeof(known) / sizeof(*known) && strcmp(known[i].name, name))
			i++;
		if (i == sizeof(known) / sizeof(*known)) {
			fprintf(stderr, "simulate: '%s' is no kind\n", name);
			exit(2);
		}
		kinds |= known[i].kind;
	}
	return kinds;
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (!*text || *end) {
		fprintf(stderr, "simulate: '%s' is no number\n", text);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	struct counts counts = { .runs = 0 };
	struct verdict verdict = { .failed = false };
	uint64_t seed = 1, runs = 0, operations = 0;
	const char *fixture = NULL;
	const char *proof = NULL;
	unsigned int kinds = 0;
	bool quiet = false, images = false;

	for (int i = 1; i < argc; i++) {
		char none[] = "", *value = i + 1 < argc ? argv[i + 1] : none;

		if (!strcmp(argv[i], "--quiet") || !strcmp(argv[i], "--images")) {
			quiet |= !strcmp(argv[i], "--quiet");
			images |= !strcmp(argv[i], "--images");
			continue;
		}
		if (!strcmp(argv[i], "--seed"))
			seed = number(value);
		else if (!strcmp(argv[i], "--kinds"))
			kinds = kinds_named(value);
		else if (!strcmp(argv[i], "--runs"))
			runs = number(value);
		else if (!strcmp(argv[i], "--operations"))
			operations = number(value);
		else if (!strcmp(argv[i], "--fixture"))
			fixture = value;
		else if (!strcmp(argv[i], "--proof"))
			proof = value;
		else
			return fprintf(stderr, "simulate: %s: no such option\n", argv[i]), 2;
		i++;
	}
	if (images && !fixture)
		return fprintf(stderr, "simulate: --images goes with --fixture\n"), 2;
	if (!runs && !operations)
		runs = 1;
	for (; !verdict.failed && (!runs || counts.runs < runs) && (!operations || counts.operations < operations); seed++) {
		struct plan plan;

		plan_make(&plan, seed, kinds);
		plan_run(&plan, &counts, &verdict, images ? fixture : NULL, images);
		if (verdict.failed && !quiet)
			report(&plan, &verdict, fixture);
		else if (verdict.failed)
			printf("FAILED seed %" PRIu64 " %s\n", seed, verdict.property);
		plan_release(&plan);
	}
	if (!quiet)
		print_counts(stdout, &counts);
	if (proof && !verdict.failed)
		write_proof(proof, &counts);
	return verdict.failed;
}
