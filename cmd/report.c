/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON lines by json-c, to stdout and to a file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hooks.h"
#include "report.h"
#include "wbfmt.h"

static const char *tool_name;
static bool to_stdout;
static FILE *file; /* gets the same lines; NULL: none */
static struct json_object *summary;

bool report_json(void)
{
	return to_stdout;
}

struct json_object *report_record(const char *type)
{
	struct json_object *record = to_stdout || file ? json_object_new_object() : NULL;

	report_text(record, "type", type);
	return record;
}

void report_u64(struct json_object *record, const char *key, uint64_t value)
{
	if (record)
		json_object_object_add(record, key, json_object_new_uint64(value));
}

void report_int(struct json_object *record, const char *key, int64_t value)
{
	if (record)
		json_object_object_add(record, key, json_object_new_int64(value));
}

void report_bool(struct json_object *record, const char *key, bool value)
{
	if (record)
		json_object_object_add(record, key, json_object_new_boolean(value));
}

void report_real(struct json_object *record, const char *key, double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", value);
	if (record)
		json_object_object_add(record, key, json_object_new_double_s(value, text));
}

size_t utf8_length(const unsigned char *p)
{
	size_t length = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : (*p & 0xf0) == 0xe0 ? 3 :
			*p >= 0xf0 && *p < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < length; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
	    (*p == 0xf4 && p[1] > 0x8f))
		return 0;
	return length;
}

/* NULL for NULL, and without memory. */
static struct json_object *new_text(const char *value)
{
	char *valid = value ? malloc(3 * strlen(value) + 1) : NULL, *to = valid;

	if (!valid)
		return NULL;
	for (const unsigned char *p = (const unsigned char *)value; *p;) {
		size_t length = utf8_length(p);

		memcpy(to, length ? (const char *)p : "\xef\xbf\xbd", length ? length : 3);
		to += length ? length : 3;
		p += length ? length : 1;
	}
	*to = '\0';
	struct json_object *text = json_object_new_string(valid);

	free(valid);
	return text;
}

void report_text(struct json_object *record, const char *key, const char *value)
{
	if (record)
		json_object_object_add(record, key, new_text(value));
}

void report_add_text(struct json_object *array, const char *value)
{
	json_object_array_add(array, new_text(value));
}

static void print(FILE *to, struct json_object *record)
{
	fprintf(to, "%s\n",
		json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

void report_emit(struct json_object *record)
{
	if (record && to_stdout)
		print(stdout, record);
	if (record && file)
		print(file, record);
	json_object_put(record);
}

struct json_object *report_summary(void)
{
	if (!summary)
		summary = report_record("summary");
	return summary;
}

static struct json_object *header(void)
{
	struct json_object *record = report_record("header");

	report_text(record, "tool", tool_name);
	report_text(record, "version", WB_VERSION);
	report_int(record, "schema", 1);
	return record;
}

void report_start(const char *tool, bool json)
{
	tool_name = tool;
	to_stdout = json;
	report_emit(header());
}

void report_also_to(FILE *log)
{
	file = log;
	struct json_object *record = header();

	print(file, record);
	json_object_put(record);
}

int report_sync(void)
{
	return file ? hook_sync(file) : 0;
}

int report_finish(int status)
{
	struct json_object *last = report_summary();

	report_int(last, "status", status);
	summary = NULL;
	report_emit(last);
	int failed = report_sync();

	if (file && fclose(file))
		failed = -1;
	file = NULL;
	return failed;
}
