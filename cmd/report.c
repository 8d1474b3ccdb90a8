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

/* Bytes of the UTF-8 sequence at p, 0 when there is none. */
static size_t utf8_length(const unsigned char *p)
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

/* The code point of a UTF-8 sequence of this length. */
static unsigned code_point(const unsigned char *p, size_t length)
{
	static const unsigned char first[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	unsigned code = p[0] & first[length];

	for (size_t i = 1; i < length; i++)
		code = code << 6 | (p[i] & 0x3f);
	return code;
}

/* Unicode: Cc, the line and paragraph separators, the controls of bidirectional text, and what takes no room or hides. */
static bool is_control(unsigned code)
{
	static const struct { unsigned first, last; } ranges[] = {
		{ 0x0, 0x1f }, { 0x7f, 0x9f }, { 0xad, 0xad }, { 0x34f, 0x34f }, { 0x61c, 0x61c }, { 0x115f, 0x1160 }, { 0x17b4, 0x17b5 },
		{ 0x180b, 0x180f }, { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0x2800, 0x2800 }, { 0x3164, 0x3164 },
		{ 0xfdd0, 0xfdef }, { 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff }, { 0xffa0, 0xffa0 }, { 0xfff0, 0xfffb }, { 0x1bca0, 0x1bca3 },
		{ 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (code >= ranges[i].first && code <= ranges[i].last)
			return true;
	return (code & 0xfffe) == 0xfffe; /* no characters */
}

/* Bytes at p that are fit for a terminal: one character, or none. *bad: bytes of what is not. */
static size_t printable_length(const unsigned char *p, size_t *bad)
{
	size_t length = utf8_length(p);

	*bad = length ? length : 1;
	return length && !is_control(code_point(p, length)) ? length : 0;
}

void make_printable(char *text)
{
	size_t bad;

	for (unsigned char *p = (unsigned char *)text; *p;) {
		size_t length = printable_length(p, &bad);

		if (!length)
			memset(p, '?', bad);
		p += length ? length : bad;
	}
}

bool is_printable(const char *text)
{
	size_t bad, length;

	for (const unsigned char *p = (const unsigned char *)text; *p; p += length) {
		length = printable_length(p, &bad);
		if (!length)
			return false;
	}
	return true;
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

static void print_escaped(FILE *to, unsigned code)
{
	if (code > 0xffff) { /* JSON escapes units of UTF-16 */
		fprintf(to, "\\u%04x", 0xd800 + ((code - 0x10000) >> 10));
		code = 0xdc00 + (code & 0x3ff);
	}
	fprintf(to, "\\u%04x", code);
}

/* json-c escapes the control characters of ASCII; JSON lines are read on terminals, too. All of it is UTF-8. */
static void print(FILE *to, struct json_object *record)
{
	const char *text = json_object_to_json_string_ext(record, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	size_t bad, length;

	for (const unsigned char *p = (const unsigned char *)text; *p; p += bad) {
		for (length = 0; p[length] >= 0x20 && p[length] < 0x7f;)
			length++;
		fwrite(p, 1, length, to);
		p += length;
		if (!*p)
			break;
		if (printable_length(p, &bad))
			fwrite(p, 1, bad, to);
		else
			print_escaped(to, code_point(p, bad));
	}
	fputc('\n', to);
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
