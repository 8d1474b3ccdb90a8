/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tables of columns on stdout, as in util-linux: the user chooses and orders the columns. Rows stream: the widths are
 * known before the first one, so nothing is kept.
 */
#ifndef COLUMNS_H
#define COLUMNS_H

#include <stdbool.h>
#include <stdint.h>

#define COLUMNS_MAX 16u
#define CELL_SIZE 40u /* bytes of the longest cell, its NUL included */

struct column {
	const char *name; /* upper case; NULL ends the list */
	bool left;        /* aligned to the left */
};

struct columns {
	const struct column *all;    /* by number */
	unsigned shown[COLUMNS_MAX]; /* numbers, in their order on the line */
	unsigned count;
	unsigned widths[COLUMNS_MAX]; /* by number; at least that of the name */
	unsigned indent;              /* spaces before each line */
};

/* Fills a cell of a row: a word without blanks. */
typedef void (*cell_writer)(const void *row, unsigned column, char cell[CELL_SIZE]);

/* Chooses the columns of a list ("id,class"; "+lap" appends to the defaults; NULL: the defaults). Names in any case. An
 * unknown one is a usage error. */
void columns_choose(struct columns *columns, const struct column *all, const char *defaults, const char *list);
/* Every name of the list is a column of `all`. */
bool columns_know(const struct column *all, const char *list);
bool columns_show(const struct columns *columns, unsigned column);
/* Makes room for numbers up to this one. */
void columns_widen(struct columns *columns, unsigned column, uint64_t largest);
void columns_print_names(const struct columns *columns);
void columns_print(const struct columns *columns, cell_writer write, const void *row);

void cell_number(char cell[CELL_SIZE], uint64_t value);
/* "-" where there is nothing to say */
void cell_text(char cell[CELL_SIZE], const char *text);
/* "4K", "1.5M"; with exact the number of bytes */
void cell_size(char cell[CELL_SIZE], uint64_t bytes, bool exact);

#endif
