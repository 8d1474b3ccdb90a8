/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the commands in tables: one process makes images, runs the commands in forks of itself, and looks at what they
 * say and leave. A row costs a fork; a line of bats that starts a program costs ten of them. WB_COMMANDS names a directory
 * of commands that are to be executed instead (installed ones). Every test begins in an empty directory of its own.
 */
#ifndef WB_TEST_TABLE_H
#define WB_TEST_TABLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <json-c/json.h>

#define FORMAT(at) __attribute__((format(printf, (at), (at) + 1)))

/* Of the last command: its exit status (128 + signal when it died of one), stdout and stderr as strings. */
extern int status;
extern char *out, *words;

/* Runs a command of wb-utils, mkcache, foretell or decide; arguments are separated by single blanks, "\1" stands for one in them. */
void run(const char *format, ...) FORMAT(1);
/* The same; any other exit status fails the test. */
void expect(int want, const char *format, ...) FORMAT(2);
/* Any other program, in a shell, which must succeed. */
void shell(const char *format, ...) FORMAT(1);

/* The JSON records in out, in their order; NULL behind the last. They are good until the next command. */
struct json_object *record_at(size_t index);
/* The last one of a type, or NULL. */
struct json_object *record(const char *type);
/* A value of a record, as text: strings without quotes, "null" for what is not there. Good until the next few calls. */
const char *value(struct json_object *record, const char *name);
/* One of the summary. */
const char *field(const char *name);
int64_t number(struct json_object *record, const char *name);

/* text, formatted; good until some 16 calls later */
const char *text(const char *format, ...) FORMAT(1);
bool has(const char *where, const char *what);

/* ---- files of the present directory ---- */

void make_cache(const char *fixture);		/* cache.img and backing.img (8 MiB of zeroes where it has none) */
void make_cache_of(const char *wbt);		/* the same of a text; lines end with newlines */
void unpack(const char *set);			/* cache.img and backing.img of a golden set */
void copy(const char *from, const char *to);
bool same(const char *a, const char *b);
const char *sum(const char *path);		/* SHA-256; good until some 16 calls later */
char *load(const char *path, size_t *bytes);	/* with a NUL behind it, to be freed */
void store(const char *path, const void *bytes, size_t count);
void put(const char *path, int64_t offset, const void *bytes, size_t count);
void resize(const char *path, int64_t bytes);
int64_t size_of_file(const char *path);
bool exists(const char *path);
bool remove_if_there(const char *path);
/* Bytes of cache.img that cannot be read from now on, where WB_IO is threads; and can be again, as when the test ends. */
void unreadable(int64_t offset, int64_t bytes);
void unreadable_of(const char *path, int64_t offset, int64_t bytes);
void readable_again(void);
/* The first reads of them, so many, succeed; later ones fail, or (flips) find the lowest bit of the first byte flipped. */
void after_good_reads(unsigned reads, bool flips);
/* Sends each later command SIGTERM, so many times (0: never), at its read number at, where WB_IO is threads. Resets
 * reads() and bytes_read(). */
void terminate_at_read(unsigned at, unsigned times);
/* In each later command two names change places at its read number at (0: never), where WB_IO is threads. Resets reads(). */
void swap_at_read(unsigned at, const char *one, const char *other);
unsigned reads(void); /* since then */
uint64_t bytes_read(void);
/* Somebody makes this file while the next command makes it; NULL: nobody does. */
void appear_during_the_next_run(const char *path);
void appear_once_there_is(const char *path, const char *pattern); /* the same, once there is a file of that kind */

/* Path of a file of the source. */
const char *source(const char *format, ...) FORMAT(1);
/* Names of the fixtures that begin with prefix, sorted, NULL behind the last; of golden sets from expected.json. */
char **fixtures(const char *prefix);
struct json_object *golden_sets(void);

/* ---- main ---- */

/* A test for each name, called with it as its *state. */
struct CMUnitTest *test_for_each(char **names, void (*test)(void **state), size_t *count);
int run_tables(const char *name, const struct CMUnitTest *tests, size_t count);
#define table_test(function) { #function, function, enter, leave, NULL }
int enter(void **state);
int leave(void **state);

#endif
