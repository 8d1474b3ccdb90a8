/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files that commands make. A whole one (a pack, an image, a map, a drawing, a state) is written under another name
 * beside its own, FILE.new-XXXXXXXX, made durable, and only then given its name: whatever has the name is complete. A log
 * has its name from the beginning and may end early. A file that is there already is never overwritten, a state excepted.
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <stdio.h>

#include "common.h"

/* Zero-initialised it is none. */
struct output {
	const char *path;
	char *beside; /* its name until it is complete; NULL: nothing is under way */
	FILE *file;
	int fd;       /* that of file, for those who write past it */
	bool replaces;
};

/* A file that an option names. */
struct output_name {
	const char *option, *path; /* path NULL: not given */
};

/* Before anything happens: two options, or an option and an operand, that name one file, by whatever spelling or link, are a usage error; what is there
 * already and is not a regular file is refused; whoever opens it judges again. 0 or an exit status. */
int output_check(const struct common *common, const struct output_name *names, unsigned count);

/* For a dry run: refused when a file could not be created here, as far as that can be told without doing it. 0 or an exit status. */
int output_look(const struct common *common, const char *path);
/* The same of one that is not to be there yet, not even as a link that leads nowhere. */
int output_look_free(const struct common *common, const char *path);

/* Begins a file, which must not be there yet; does nothing when path is NULL. path must outlive it. 0 or an exit status. */
int output_create(const struct common *common, struct output *output, const char *path);
/* The same of a file that may be there, and is replaced then; others may not read it. */
int output_renew(const struct common *common, struct output *output, const char *path);
/* Makes it durable, closes it, and gives it its name. When that fails nothing half done is left. 0 or an exit status. */
int output_complete(const struct common *common, struct output *output);
/* Closes and removes what has not been completed. */
void output_abandon(struct output *output);

/* A log: created, and its name is durable. NULL when path is NULL. 0 or an exit status. */
int output_log(const struct common *common, FILE **file, const char *path);

/* For files that stay open when they have their name: a name beside path that nothing has, which the caller frees, NULL
 * without memory; and giving the file `by` the name path, durably and at once. */
char *output_beside(const char *path);
int output_place(const struct common *common, const char *path, const char *by, bool replaces);

#endif
