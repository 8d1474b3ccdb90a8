/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the commands share and is pure: values, the line of progress, what a terminal may see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../cmd/progress.h"
#include "../../cmd/report.h"
#include "../../cmd/values.h"

static void sizes_are_those_of_util_linux(void **state)
{
	static const struct { const char *text; uint64_t value; } good[] = {
		{ "0", 0 }, { "512", 512 }, { "0x10", 16 }, { "0X1f", 31 }, { "1K", 1024 }, { "1k", 1024 }, { "1KiB", 1024 },
		{ "1kib", 1024 }, { "8mib", 8 << 20 }, { "1kB", 1000 }, { "1KB", 1000 }, { "2MB", 2000000 }, { "1.5G", 3ull << 29 },
		{ "0.5k", 512 }, { "1.5kB", 1500 }, { "3T", 3ull << 40 }, { "1PiB", 1ull << 50 }, { "1pb", 1000000000000000 },
		{ "0x10K", 16384 }, { "18446744073709551615", UINT64_MAX }, { "16383P", 16383ull << 50 },
		{ "0.0000000000000000000000001G", 0 }, { "1.9999999999999999999999999K", 2047 },
	};
	static const char *const bad[] = { "", " ", "-1", "+1", " 1", "1 ", "01", "00", "0x", "1.5", "1.G", ".5G", "1..5G", "1KK", "1Ki",
					   "1B", "1iB", "K", "1Z", "0x1.5G", "16384P", "18446744073709551616", "1e3", "1,5G", "1.5 G" };

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint64_t value = 1;

		if (!parse_size(good[i].text, &value) || value != good[i].value)
			fail_msg("%s: %llu", good[i].text, (unsigned long long)value);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t value;

		if (parse_size(bad[i], &value))
			fail_msg("'%s' is a size", bad[i]);
	}
}

static void line_of_progress_fits_any_width(void **state)
{
	static const struct progress_facts facts[] = {
		{ "verifying", 5ull << 30, 27ull << 30, 512.0 * 1048576 }, { "verifying", 0, 0, 0 }, { "a", 1, 2, 1e-9 },
		{ "looking for evidence", 1ull << 62, UINT64_MAX, 1 }, { "x", 7, 7, 1e18 },
	};
	char line[256];

	(void)state;
	for (unsigned i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
		for (unsigned width = 2; width < 250; width++) {
			progress_line(line, sizeof(line), width, &facts[i]);
			if (strlen(line) >= width)
				fail_msg("%u columns: %s", width, line);
		}
	progress_line(line, sizeof(line), 0, &facts[0]);
	assert_string_equal(line, " 18% verifying, 0:44 left, 5.0 GiB of 27.0 GiB, 512.0 MiB/s");
	progress_line(line, sizeof(line), 80, &facts[0]);
	assert_string_equal(line, "[###..............]  18% verifying, 0:44 left, 5.0 GiB of 27.0 GiB, 512.0 MiB/s");
}

static void what_may_move_a_cursor_or_hide_text_is_replaced(void **state)
{
	static const struct { const char *text, *shown; } rows[] = {
		{ "plain \303\244 \342\202\254 \360\237\230\200", "plain \303\244 \342\202\254 \360\237\230\200" },
		{ "a\033[31mb\nc\td\177", "a?[31mb?c?d?" },
		{ "\302\233", "??" },             /* C1 */
		{ "\342\200\256x\342\201\251", "???x???" }, /* right-to-left override, pop isolate */
		{ "\330\234\342\200\217\342\200\250", "????????" },
		{ "\342\200\213\357\273\277\302\255", "????????" }, /* no room: zero width space, byte order mark, soft hyphen */
		{ "\363\240\201\201", "????" },	 /* a tag */
		{ "a\343\205\244b\357\270\217\315\217", "a???b?????" }, /* blank: Hangul filler, variation selector, joiner */
		{ "\342\240\200\357\277\276\360\237\277\277", "??????????" }, /* braille blank, no characters */
		{ "\377\300\200\355\240\200", "??????" }, /* invalid, overlong, surrogate */
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[64];

		strcpy(text, rows[i].text);
		assert_int_equal(is_printable(text), strcmp(rows[i].text, rows[i].shown) == 0);
		make_printable(text);
		assert_string_equal(text, rows[i].shown);
	}
}

static void words_are_quoted_for_a_shell(void **state)
{
	static const struct { const char *word, *quoted; } rows[] = {
		{ "/dev/sda1", "/dev/sda1" }, { "", "''" }, { "a b", "'a b'" }, { "it's", "'it'\\''s'" }, { "$x", "'$x'" },
		{ "a\nb", "$'a\\012b'" }, { "\033'\\", "$'\\033\\047\\134'" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *quoted = shell_quoted(rows[i].word);

		assert_string_equal(quoted, rows[i].quoted);
		free(quoted);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_those_of_util_linux),
		cmocka_unit_test(line_of_progress_fits_any_width),
		cmocka_unit_test(what_may_move_a_cursor_or_hide_text_is_replaced),
		cmocka_unit_test(words_are_quoted_for_a_shell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
