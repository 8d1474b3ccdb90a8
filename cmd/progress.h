/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far it is, on stderr; and the wish to stop, from signals. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include "common.h"

/* Fills the callbacks that the library polls; installs the handlers of SIGINT, SIGTERM, SIGHUP (unless they are
 * ignored, as under nohup) and SIGUSR1. The first of the three asks to stop, any second one ends the program. */
void progress_start(struct common *common);
/* Whether the first signal ends a read that waits for somebody, as that of an answer. */
void progress_interrupts(bool on);
/* Takes the bar off the terminal, before anything else is said. */
void progress_clear(void);

/* What a line of progress says. */
struct progress_facts {
	const char *phase;
	uint64_t done, total; /* bytes; total 0: not known */
	double rate;          /* bytes a second; 0: not known yet */
};

/* Composes the line for a terminal of that many columns, one of which stays free; what does not fit is left out, the bar
 * first. width 0: a line of any length, without a bar. */
void progress_line(char *line, size_t size, unsigned width, const struct progress_facts *facts);

#endif
