/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a run says to do next: whole command lines, with the names and options that this one was given, quoted for a shell.
 * People see them with what they are for; in JSON they are the strings of "next" in the summary.
 */
#ifndef NEXT_H
#define NEXT_H

#include "common.h"

/* An option as it was given. */
struct given {
	const char *name; /* long, static */
	char *argument;   /* NULL: none */
};

/* For common.c: remembers an option; the long name of a val; whether a long name is known; the known option that a mistyped name is nearest to, or NULL. */
void note_given(struct common *common, const char *name, const char *argument);
void forget_given(struct common *common);
const char *option_name(const struct poptOption *table, int val);
bool has_option(const struct poptOption *table, const char *name);
const char *nearest_option(const struct poptOption *table, const char *name);

/* The first of path (number 1), path-2, path-3, ... that does not exist yet, from that number on. The caller frees it; NULL
 * without memory. */
char *free_name(const char *path, unsigned number);

#define OPTIONS_OF_THE_LOG "slot-address start size generation order slots" /* to drop for what does not read CACHE itself */

/* Says the next step. tool NULL: the same command again, with all options but those in `drop`, a list of long names with
 * blanks between, and with other names for --report and --failed; otherwise another command, with what was said of the geometry. `add` are options to put behind them,
 * ready for a shell. operands NULL: those of this command; otherwise a NULL-terminated list; one that is called BACKING
 * stands for a device that we were not told. purpose: in words, may be NULL. */
void next_step(const struct common *common, const char *tool, const char *drop, const char *add,
	       const char *const *operands, const char *purpose);

#endif
