/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON lines: a header first, a summary last, whatever happens in between. On stdout with --json, in a file with --report. */
#ifndef REPORT_H
#define REPORT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Starts the report of a tool, on stdout when json. */
void report_start(const char *tool, bool json);
/* The same lines go to this file too, from a header on. It is taken over. */
void report_also_to(FILE *log);
/* Makes durable what the file holds; -1 with errno. */
int report_sync(void);
/* Whether stdout carries JSON. */
bool report_json(void);

/* A new record of a type; NULL when nobody wants records, which all others accept and ignore. */
struct json_object *report_record(const char *type);
void report_u64(struct json_object *record, const char *key, uint64_t value);
void report_int(struct json_object *record, const char *key, int64_t value);
void report_bool(struct json_object *record, const char *key, bool value);
void report_real(struct json_object *record, const char *key, double value);
/* Bytes that are not UTF-8 become U+FFFD; NULL becomes null. */
void report_text(struct json_object *record, const char *key, const char *value);
/* Replaces, byte by byte, what may move a cursor or hide text: control characters (C1 and line ends too), marks that
 * change the direction of text or take no room, and what is not UTF-8. */
void make_printable(char *text);
/* Whether it would change nothing. */
bool is_printable(const char *text);
/* Appends to a JSON array. */
void report_add_text(struct json_object *array, const char *value);
/* Prints the record and releases it. */
void report_emit(struct json_object *record);

/* The summary, created on first use. */
struct json_object *report_summary(void);
/* Prints the summary, and ends the file; -1 when not all of it could be written there. */
int report_finish(int status);

#endif
