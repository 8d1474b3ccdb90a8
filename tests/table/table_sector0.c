/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sector 0 in the commands: what is left over in it, a device that is no cache, sectors that cannot be read; and that what
 * wb-check says in one run agrees with itself, on every fixture and golden set.
 */
#include <inttypes.h>

#include "table.h"

/* ---- left over ---- */

static const uint8_t order_bytes[] = { 0, 3, 5, 7, 10, 11, 0x3c, 0x64, 0xff };

/* Behind the magic: nothing, an MBR with a partition, a FAT boot sector, the marker of wb-utils. */
static void leave_behind(unsigned tail, uint8_t order_byte)
{
	uint8_t sector[512] = { 't', 's', 'B', 'W' };

	if (tail == 1) {
		memset(sector + 64, 0x90, 300);
		memcpy(sector + 446, "\x80\x20\x21\0\x83\xfe\xff\xff\0\x08\0\0\0\x10\0\0", 16);
	}
	if (tail == 2) {
		memcpy(sector + 5, "KFS.FAT\0\2\4\4\0\2\0\2\0\x10\xf8\4\0\x20\0\x08\0", 25);
		memcpy(sector + 54, "FAT16   ", 8);
	}
	if (tail == 1 || tail == 2)
		memcpy(sector + 510, "\x55\xaa", 2);
	if (tail == 3)
		memcpy(sector + 5, "ed\0\1\0\0\0\1\0\0\0\x36\xa4\x09\x6b", 16);
	sector[4] = order_byte;
	put("cache.img", 0, sector, sizeof(sector));
}

/* file(1) knows it, and names no generation that it is not. */
static bool is_called_a_cache_by_file(bool v2)
{
	if (access("/usr/bin/file", X_OK))
		return true;
	shell("file -b -m %s cache.img > said", source("share/magic/dm-writeboost"));
	char *said = load("said", NULL);
	bool is = !strncmp(said, "dm-writeboost cache", 19) && (!v2 || !has(said, "v0 or v1"));

	free(said);
	return is;
}

static void every_command_takes_a_v2_cache_whatever_is_left_over_in_sector_0(void **state)
{
	static const char *const logs[] = { "v2-wrapped", "v2-formatted", "v2-torn-first", "v2-torn-tail" };

	(void)state;
	for (size_t l = 0; l < 4; l++)
		for (unsigned tail = 0; tail < 4; tail++)
			for (size_t o = 0; o < sizeof(order_bytes); o += l ? 3 : 1) {
				make_cache(logs[l]);
				leave_behind(tail, order_bytes[o]);
				expect(0, "wb-check --json --explain-kernel cache.img backing.img");
				assert_string_not_equal(value(record("forecast"), "outcome"), "reformat");
				assert_string_not_equal(value(record("forecast"), "outcome"), "no-assembly");
				if (l == 0 || l == 3)
					assert_string_equal(field("generation"), "v2");
				expect(0, "wb-check --export cache.img");
				assert_true(has(out, "ID_FS_TYPE=dm_writeboost_cache"));
				/* under what may be an order, with nothing after it, file(1) believes the byte */
				assert_true(is_called_a_cache_by_file(tail == 3 || order_bytes[o] < 4 || order_bytes[o] > 11));
				expect(0, "wb-dump cache.img");
				expect(0, "wb-flush-dirty -q -y --keep cache.img backing.img");
				expect(0, "wb-check -q --require-clean cache.img backing.img");
				expect(0, "wb-format -q -y --reset --backing=backing.img cache.img");
			}
}

static void wb_format_does_not_take_what_is_left_over_for_a_partition_table(void **state)
{
	(void)state;
	for (unsigned tail = 1; tail < 4; tail++) {
		make_cache("v2-formatted");
		leave_behind(tail, 0x3c);
		expect(0, "wb-format -y cache.img");
		assert_false(has(words, "--force=signature"));
		make_cache("v2-wrapped");
		leave_behind(tail, 0x3c);
		expect(8, "wb-format -y cache.img"); /* dirty */
		assert_false(has(words, "--force=signature"));
		expect(0, "wb-format -y --force=dirty cache.img");
	}
}

/* ---- no cache ---- */

static void device_of_a_repeated_byte_is_no_cache_and_can_be_formatted(void **state)
{
	static const uint8_t bytes[] = { 0xff, 0xa5, 1 };
	static const char *const commands[] = { "wb-check", "wb-check --repair -y", "wb-check --export", "wb-dump",
						"wb-flush-dirty -y --force=ended", "wb-format -y --reset" };
	char *filled = malloc(4 << 20);

	(void)state;
	make_cache("v2-simple");
	for (size_t i = 0; i < sizeof(bytes); i++) {
		memset(filled, bytes[i], 4 << 20);
		store("cache.img", filled, 4 << 20);
		for (size_t c = 0; c < sizeof(commands) / sizeof(*commands); c++) {
			expect(8, "%s cache.img%s", commands[c], c == 4 ? " backing.img" : "");
			assert_true(has(words, "not a writeboost cache"));
		}
		expect(0, "wb-format -y cache.img");
		expect(0, "wb-check cache.img");
	}
	free(filled);
}

/* ---- unreadable ---- */

static void commands_go_on_without_sector_0(void **state)
{
	(void)state;
	make_cache("v2-wrapped");
	unreadable(0, 512);
	expect(4, "wb-check cache.img backing.img");
	assert_true(has(out, "sector 0 cannot be read"));
	expect(0, "wb-dump cache.img");
	expect(8, "wb-flush-dirty -n cache.img backing.img");
	assert_true(has(words, "--force=ended"));
	expect(0, "wb-flush-dirty -q -y --keep --force=ended cache.img backing.img");
	readable_again();
	expect(0, "wb-check -q --require-clean cache.img backing.img");
}

static void commands_go_on_without_the_record_and_v0_asks(void **state)
{
	(void)state;
	for (const char *generation = "012"; *generation; generation++) {
		bool binds = *generation == '0';

		make_cache(text("v%c-wrapped", *generation));
		put("cache.img", 2047 * 512 + 100, "\1", 1); /* holes of an image are not read */
		unreadable(2047 * 512, 512);
		expect(binds ? 4 : 0, "wb-check cache.img backing.img");
		assert_true(has(out, "record-unreadable"));
		expect(0, "wb-dump cache.img");
		expect(binds ? 4 : 0, "wb-flush-dirty -n cache.img backing.img");
		assert_true(has(words, "record cannot be read"));
		assert_int_equal(has(words, "--ignore-record"), binds);
		expect(0, "wb-flush-dirty -q -y --ignore-record cache.img backing.img");
		readable_again();
	}
}

/* ---- ended by zeroing ---- */

static void what_debians_script_leaves_is_a_log_that_was_ended(void **state)
{
	static const char zeroes[512];

	(void)state;
	make_cache("v2-pair-proven");
	put("cache.img", 0, zeroes, sizeof(zeroes));
	expect(0, "wb-check --require-clean cache.img backing.img");
	assert_true(has(out, "ended by zeroing sector 0, and everything in it is on the backing device"));
	assert_true(has(out, "ended-by-zeroing"));
	expect(4, "wb-check cache.img"); /* without BACKING it may be an accident */
	expect(8, "wb-flush-dirty -n cache.img backing.img");
	make_cache("v2-sector0-zero");
	expect(4, "wb-check cache.img backing.img");
	assert_false(has(out, "ended-by-zeroing"));
}

/* ---- the order byte ---- */

static void order_byte_stays_as_it_is_over_one_segment_of_a_resized_cache(void **state)
{
	size_t bytes;

	(void)state;
	make_cache_of("generation v1\norder 6\nslots 1\nbacking 256\nsegment 6\nblock 16 ff\ngrow 1\n");
	char *before = load("cache.img", &bytes);

	expect(4, "wb-check cache.img backing.img");
	assert_true(has(out, "--slots=1"));
	assert_false(has(out, "bad-superblock"));
	run("wb-check -y --repair cache.img backing.img");
	char *after = load("cache.img", &bytes);

	assert_memory_equal(before, after, bytes);
	free(before);
	free(after);
}

/* ---- one run agrees with itself ---- */

static unsigned agreed; /* runs that had a verdict */

/* Damage, sound, or ended as the verdict, the findings and the forecast have it. */
static void agree(const char *name, const char *operands)
{
	bool zeroed, bad, ended, damaged = false, uncompared = false;
	size_t damage = 0;

	run("wb-check --json -v --explain-kernel %s", operands);
	if (status & ~4)
		return; /* no cache: said as an error, and no verdict */
	const char *outcome = record("forecast") ? value(record("forecast"), "outcome") : "none";
	const char *dirty = field("dirty_sectors");

	zeroed = bad = ended = false;
	for (size_t k = 0; record_at(k); k++) {
		if (strcmp(value(record_at(k), "type"), "finding"))
			continue;
		const char *class = value(record_at(k), "class");

		damage += !strcmp(value(record_at(k), "severity"), "damage");
		uncompared |= !strcmp(value(record_at(k), "severity"), "damage") &&
			      (!strcmp(class, "ahead") || !strcmp(class, "alien-id") || !strcmp(class, "misaligned") ||
			       !strcmp(class, "beyond-backing") || !strcmp(class, "unreadable"));
		zeroed |= !strcmp(class, "zero-superblock") || !strcmp(class, "ended-by-zeroing");
		bad |= !strcmp(class, "bad-superblock");
		ended |= !strcmp(class, "ended") || !strcmp(class, "format-interrupted");
		damaged |= !strcmp(value(record_at(k), "severity"), "damage") && strcmp(class, "zero-superblock");
	}
	const char *verdict = strstr(words, "verdict     ");

#define HOLDS(what) do { if (!(what)) fail_msg("%s: not so: %s\n%s%s", name, #what, words, out); } while (0)
	HOLDS(verdict);
	verdict += strlen("verdict     ");
	bool sound = !strncmp(verdict, "sound", 5);

	HOLDS((status == 4) == (damage > 0));
	HOLDS(!sound || !damage);
	HOLDS(!damaged || (strncmp(verdict, "the log was ended", 17) && !has(words, "findings    none")));
	HOLDS(has(verdict, "no driver would accept") ? bad : true);
	HOLDS(!bad || strncmp(verdict, "sound", 5));
	HOLDS(!zeroed || !strcmp(outcome, "reformat"));
	HOLDS(!ended || !strcmp(outcome, "reformat"));
	HOLDS(!sound || strcmp(outcome, "reformat"));
	HOLDS(strcmp(outcome, "reformat") || zeroed || ended || bad || has(out, "unreadable-superblock"));
	HOLDS(strncmp(verdict, "sound; nothing is dirty", 23) || !strcmp(dirty, "0"));
	HOLDS(!has(verdict, "on the backing device already") || (!strcmp(dirty, "0") && !uncompared));
	HOLDS(!sound || !has(verdict, "needed until flushed") || strcmp(dirty, "0"));
#undef HOLDS
	agreed++;
}

static void verdict_findings_and_forecast_agree_on_every_fixture(void **state)
{
	char **names = fixtures("");
	size_t count = 0;

	(void)state;
	agreed = 0;
	for (size_t k = 0; names[k]; k++) {
		make_cache(names[k]);
		agree(names[k], "cache.img");
		agree(names[k], "cache.img backing.img");
		agree(names[k], "--metadata-only cache.img");
		count += 3;
	}
	assert_true(agreed > count / 10 * 9);
}

static void verdict_findings_and_forecast_agree_on_every_golden_set(void **state)
{
	(void)state;
	json_object_object_foreach(golden_sets(), name, set) {
		(void)set;
		unpack(name);
		agree(name, "cache.img backing.img");
	}
}

static void verdict_findings_and_forecast_agree_whatever_is_in_sector_0(void **state)
{
	static const char *const logs[] = { "v0-wrapped", "v1-wrapped", "v2-wrapped", "v2-rotten-data-bit", "v2-formatted",
					    "v2-pair-proven", "v1-torn-head" };
	static const char zeroes[512];

	(void)state;
	for (size_t l = 0; l < sizeof(logs) / sizeof(*logs); l++) {
		for (unsigned tail = 0; tail < 4; tail++)
			for (size_t o = 0; o < sizeof(order_bytes); o++) {
				make_cache(logs[l]);
				leave_behind(tail, order_bytes[o]);
				agree(text("%s, tail %u, order byte %u", logs[l], tail, order_bytes[o]), "cache.img backing.img");
			}
		make_cache(logs[l]);
		put("cache.img", 0, zeroes, sizeof(zeroes));
		agree(text("%s, sector 0 zeroed", logs[l]), "cache.img backing.img");
	}
}

/* ---- what udev asks about every device ---- */

static void export_within_its_bytes(const char *name)
{
	terminate_at_read(0, 0);
	run("wb-check --export cache.img");
	if (bytes_read() > 1 << 20)
		fail_msg("%s: wb-check --export reads %" PRIu64 " bytes", name, bytes_read());
}

static void export_reads_one_mebibyte_at_most_and_names_the_generation(void **state)
{
	char **names = fixtures("");

	(void)state;
	for (unsigned i = 0; names[i]; i++) {
		make_cache(names[i]);
		export_within_its_bytes(names[i]);
		const char *exported = status ? "" : strstr(out, "ID_WRITEBOOST_GENERATION=");
		char *first = exported ? strdup(exported) : NULL;

		if (first && *first) {
			run("wb-check --json --metadata-only cache.img");
			if (!has(first, text("GENERATION=%s\nID_WRITEBOOST_ORDER=%s\n", field("generation"), field("order"))))
				fail_msg("%s: %s is exported of a cache of %s, order %s", names[i], first, field("generation"), field("order"));
		}
		free(first);
	}
}

/* At every 4 KiB what v1 and v2 take for a header of the greatest length with a wrong checksum; under an order byte that no
 * driver writes each reading is tried. */
static void export_reads_one_mebibyte_at_most_of_headers_without_end(void **state)
{
	static const uint8_t orders[] = { 10, 4, 3, 255 };
	uint8_t header[16] = { 0 }, super[5] = { 0x74, 0x73, 0x42, 0x57 };

	(void)state;
	store("cache.img", "", 0);
	resize("cache.img", 65 << 20);
	for (uint32_t i = 0; i < 64 << 8; i++) {
		header[0] = (uint8_t)(i + 1);
		header[1] = (uint8_t)((i + 1) >> 8);
		memset(header + 8, 0xde, 4);
		header[12] = i & 1 ? 1 : 127;
		put("cache.img", (int64_t)(256 + i) << 12, header, sizeof(header));
	}
	for (unsigned i = 0; i < sizeof(orders); i++) {
		super[4] = orders[i];
		put("cache.img", 0, super, sizeof(super));
		export_within_its_bytes(text("order byte %u", orders[i]));
		assert_int_not_equal(bytes_read(), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		table_test(every_command_takes_a_v2_cache_whatever_is_left_over_in_sector_0),
		table_test(wb_format_does_not_take_what_is_left_over_for_a_partition_table),
		table_test(device_of_a_repeated_byte_is_no_cache_and_can_be_formatted),
		table_test(commands_go_on_without_sector_0),
		table_test(commands_go_on_without_the_record_and_v0_asks),
		table_test(what_debians_script_leaves_is_a_log_that_was_ended),
		table_test(order_byte_stays_as_it_is_over_one_segment_of_a_resized_cache),
		table_test(export_reads_one_mebibyte_at_most_and_names_the_generation),
		table_test(export_reads_one_mebibyte_at_most_of_headers_without_end),
		table_test(verdict_findings_and_forecast_agree_on_every_fixture),
		table_test(verdict_findings_and_forecast_agree_on_every_golden_set),
		table_test(verdict_findings_and_forecast_agree_whatever_is_in_sector_0),
	};

	setenv("WB_IO", "threads", 1); /* so that there are sectors that cannot be read */
	return run_tables("sector0", tests, sizeof(tests) / sizeof(*tests));
}
