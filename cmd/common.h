/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all commands do alike: options, numbers, opening devices, signals, and the exit status. A command
 * is an options struct, a popt table with a handler, the work, and main().
 */
#ifndef COMMON_H
#define COMMON_H

#include <popt.h>

#include "memory.h"
#include "wbfmt.h"

/* Exit statuses, OR-ed. */
enum {
	EXIT_FINE = 0,
	EXIT_REPAIRED = 1,
	EXIT_PROBLEMS = 4,
	EXIT_REFUSED = 8,
	EXIT_USAGE = 16,
	EXIT_STOPPED = 32,
};

enum progress_mode { PROGRESS_AUTO, PROGRESS_ALWAYS, PROGRESS_NEVER };

/* Groups of common options. */
enum without { WITHOUT_GENERATION = 1, WITHOUT_GEOMETRY = 2, WITHOUT_JOBS = 4, WITHOUT_YES = 8 };

struct common {
	const char *tool;
	bool json, quiet, verbose, yes, threads;
	bool takes_memory;              /* the command has an option --memory */
	enum progress_mode progress_mode;
	struct wb_overrides overrides;
	uint64_t jobs;
	struct {
		bool given;
		int64_t start;
		uint64_t size;  /* 0: up to the end */
	} part;                         /* --start, --size */
	const char *const *force_names; /* the refusals this command can override, NULL-terminated */
	unsigned forced;                /* bit i: force_names[i] */
	const char *const *operands;
	int operand_count;
	struct wb_progress progress;    /* to be handed to the library */
	unsigned label_width;
	struct given *given;            /* options as they were given, for next_step() */
	unsigned given_count;
	poptContext context;            /* private */
};

/* A command's own option: `val` of its popt table and its argument (NULL without one). */
typedef void (*option_handler)(void *options, int val, const char *argument);

struct command {
	const char *name, *purpose, *operands; /* operands as --help shows them */
	int operands_min, operands_max;
	const struct poptOption *options;      /* without the common ones; vals 1 ... 99 */
	option_handler handle;
	const char *const *force_names;        /* may be NULL */
	bool goes_on_without_reader;           /* a closed pipe on stdout does not end it */
	unsigned without;                      /* enum without: common options that mean nothing to it */
	unsigned label_width;                  /* of the report in words; 0: 12 */
};

/* Parses everything, sets up signals and progress and starts the report. Ends the program for --help, --version and
 * usage errors. */
void common_start(struct common *common, const struct command *command, void *options, int argc, char **argv);
/* Ends the report with this status (which a failed stdout raises) and releases the operands; returns the exit status. */
int common_finish(struct common *common, int status);

bool common_forced(const struct common *common, const char *name);
/* Whether the command has such a refusal at all. */
bool common_knows_force(const struct common *common, const char *name);

/* Says what is wrong with the command line and ends the program: exit 16. */
__attribute__((noreturn, format(printf, 1, 2))) void usage_error(const char *format, ...);

/* Values of options; usage errors where they do not parse. what names the option. */
uint64_t number_of(const char *what, const char *text);
uint64_t size_of(const char *what, const char *text);
/* A size that may have a minus sign before it, a multiple of a sector. */
int64_t offset_of(const char *what, const char *text);
/* A file name, copied into *path, which is freed first. */
void path_option(const char *what, char **path, const char *text);
/* Index of text in a NULL-terminated list. */
unsigned choice_of(const char *what, const char *text, const char *const *choices);

/* Reports a failure with what to do next (may be NULL) and returns its exit status. It names the device that failed, by the
 * path that common_open() was given, or path where the error is of no such device. */
int common_failed(const struct common *common, const char *path, const struct wb_error *err, const char *next);
/* Says and records which sectors of BACKING could not be read, if any. */
void common_say_unreadable(const struct common *common, const char *path, const struct wb_proof *proof);
/* Offsets in errors of that device count from this byte of it from now on, and the errors say so. path is not copied. */
void common_set_part(const char *path, int64_t start);
/* A refusal or error in words of our own; returns EXIT_REFUSED. */
__attribute__((format(printf, 3, 4)))
int common_refuse(const struct common *common, const char *path, const char *format, ...);
/* A line on stderr, after the tool's name. What is not fit for a terminal in it is replaced, as in common_say(). */
__attribute__((format(printf, 2, 3))) void common_warn(const struct common *common, const char *format, ...);
/* One line of the human report, unless --quiet: on stdout; with --json only if --verbose, on stderr. */
__attribute__((format(printf, 2, 3))) void common_say(const struct common *common, const char *format, ...);

/* Why a file cannot grow, as a clause with what to do; NULL when err is something else. */
const char *common_no_room(const struct wb_error *err);

/* Before words that belong behind the report: flushes it, and where it goes through a pipe and they do not (| tee), waits up
 * to a second until the pipe has been read. */
void common_settle(void);
/* Asks a question that names the device: 0 for yes (also by --yes), otherwise an exit status, and says so. Where there is
 * no terminal it is refused for the reason `otherwise`, which names --yes. */
int common_ask(const struct common *common, const char *path, const char *question, const char *otherwise);

/* Opens a device with the engine of WB_IO; 0 or an exit status. Unless it is a file of our own (WB_OPEN_GROW) path is what
 * its errors are said of from now on, and must outlive it. */
int common_open(const struct common *common, struct wb_dev **dev, const char *path, unsigned flags);
/* The same of a file that has another name for now; messages say path. */
int common_open_as(const struct common *common, struct wb_dev **dev, const char *path, const char *really, unsigned flags);
/* The same of a file that is open as fd, which it takes over. */
int common_adopt(const struct common *common, struct wb_dev **dev, const char *path, int fd, unsigned flags);

/* Sector 0 carries the magic of a cache, or the marker that ended one. A device whose sector 0 cannot be read does not. */
bool carries_header(struct wb_dev *dev);
/* Opens a cache; what stands in the way is reported with the next step. 0 or an exit status. */
int common_open_cache(const struct common *common, struct wb_cache *cache, struct wb_dev *dev, const char *path,
		      const struct wb_overrides *overrides);

/* Appends to a text of that size in all, as far as there is room. */
__attribute__((format(printf, 3, 4))) void append_text(char *text, size_t size, const char *format, ...);
/* "1 dirty sector", "0 passes", "2 copies", in one of a few static buffers; noun is the singular. */
const char *count_of(uint64_t count, const char *noun);
/* As a word for a shell; the caller frees it. NULL without memory. */
char *shell_quoted(const char *text);
/* "12.5 MiB" in one of a few static buffers. */
const char *human_size(uint64_t bytes);

#endif
