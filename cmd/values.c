/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers and sizes: see values.h. */
#include <string.h>
#include <strings.h>

#include "values.h"

static unsigned digit_of(char c)
{
	return c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) :
	       c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10) : 99;
}

/* Digits up to `end`; false when there is none, a needless leading zero, or more than a u64. */
static bool digits(const char *text, const char **end, uint64_t *value)
{
	unsigned base = 10;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
	} else if (text[0] == '0' && digit_of(text[1]) < 10) {
		return false;
	}
	const char *first = text;

	for (*value = 0; digit_of(*text) < base; text++) {
		unsigned digit = digit_of(*text);

		if (*value > (UINT64_MAX - digit) / base)
			return false;
		*value = *value * base + digit;
	}
	*end = text;
	return text != first;
}

bool parse_number(const char *text, uint64_t *value)
{
	const char *end;

	return digits(text, &end, value) && !*end;
}

/* The factor of a unit; 0 for none that is known. */
static uint64_t factor_of(const char *unit)
{
	static const char letters[] = "KMGTPE";
	const char *letter = *unit ? strchr(letters, *unit & ~0x20) : NULL;
	uint64_t base, factor = 1;

	if (!letter)
		return 0;
	base = !unit[1] || strcasecmp(unit + 1, "iB") == 0 ? 1024 : strcasecmp(unit + 1, "B") == 0 ? 1000 : 0;
	for (long i = letter - letters; i >= 0; i--)
		factor *= base;
	return factor;
}

/* n digits after the point, as a part of factor, which is at most 2^60. From the last digit on, so that nothing overflows. */
static uint64_t fraction(const char *text, size_t n, uint64_t factor)
{
	uint64_t value = 0;

	while (n--)
		value = (value + digit_of(text[n]) * factor) / 10;
	return value;
}

bool parse_size(const char *text, uint64_t *value)
{
	const char *point, *unit;
	uint64_t whole, part, factor;
	size_t n;

	if (!digits(text, &point, &whole))
		return false;
	n = *point == '.' ? strspn(point + 1, "0123456789") : 0;
	if (*point == '.' && (!n || (text[1] | 0x20) == 'x'))
		return false;
	unit = n ? point + 1 + n : point;
	factor = *unit ? factor_of(unit) : !n;
	if (!factor || whole > UINT64_MAX / factor)
		return false;
	part = fraction(point + 1, n, factor);
	*value = whole * factor + part;
	return *value >= part;
}
