/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The exit statuses: a row for each that the contract of the command line lays down, and that a dry run has that of the run. */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <time.h>

#include "table.h"

/* This one is linked instead of the C library's: no command waits for the locks of programs that were killed. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time;
	(void)left;
	return 0;
}

/* ---- what is done to a pair before the command ---- */

static int machine = -1; /* holds an image, as a virtual machine does, or with the lock of a reader */

static void hold(const char *path)
{
	static const off_t bytes[] = { 100, 201 };

	machine = open(path, O_RDWR | O_CLOEXEC);
	assert_true(machine >= 0);
	for (unsigned i = 0; i < 2; i++) {
		struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = bytes[i], .l_len = 1 };

		assert_int_equal(fcntl(machine, F_OFD_SETLK, &lock), 0);
	}
}

static void let_go(void)
{
	if (machine >= 0)
		close(machine);
	machine = -1;
}

static void held_cache(void)
{
	hold("cache.img");
}

static void held_backing(void)
{
	hold("backing.img");
}

static void share(const char *path)
{
	machine = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(machine >= 0);
	assert_int_equal(flock(machine, LOCK_SH), 0);
}

static void shared_cache(void)
{
	share("cache.img");
}

static void shared_backing(void)
{
	share("backing.img");
}

static void zeroed(void)
{
	static const char zeroes[512];

	put("cache.img", 0, zeroes, sizeof(zeroes));
}

static void not_a_cache(void)
{
	resize("cache.img", 0);
	resize("cache.img", 4 << 20);
}

static void one_byte_of_all(void)
{
	size_t bytes;
	char *image = load("cache.img", &bytes);

	memset(image, 0xa5, bytes);
	store("cache.img", image, bytes);
	free(image);
}

/* The device begins 4 KiB after the cache. */
static void without_start(void)
{
	size_t bytes;
	char *image = load("cache.img", &bytes);

	store("cache.img", image + 4096, bytes - 4096);
	free(image);
}

static void flushed(void)
{
	expect(0, "wb-flush-dirty -q -y --undo=undo cache.img backing.img");
}

static void undo_is_a_link_to_nowhere(void)
{
	shell("ln -s nothing undo");
}

static void forced_and_ended(void)
{
	copy("backing.img", "before.img");
	expect(0, "wb-flush-dirty -q -y --force=pair cache.img backing.img");
}

static void flushed_in_part(void)
{
	expect(5, "wb-flush-dirty -q -y --policy=prefix --detach --force=stateless cache.img backing.img");
}

static void kept(void)
{
	expect(0, "wb-flush-dirty -q -y --keep cache.img backing.img");
}

static void taken_back(void)
{
	flushed();
	expect(0, "wb-undo -y undo");
}

static void flushed_and_shared(void)
{
	flushed();
	share("backing.img");
}

static void flushed_and_undo_file_shared(void)
{
	flushed();
	share("undo");
}

static void salvaged_and_taken_back(void)
{
	expect(5, "wb-flush-dirty -q -y --policy=salvage --state=state --undo=undo cache.img backing.img");
	expect(0, "wb-undo -q -y undo");
}

static void detached_and_taken_back(void)
{
	expect(5, "wb-flush-dirty -q -y --policy=salvage --detach --state=state --undo=undo cache.img backing.img");
	expect(0, "wb-undo -q -y undo");
}

static void detached(void)
{
	expect(5, "wb-flush-dirty -q -y --policy=salvage --detach --state=state --undo=undo cache.img backing.img");
}

static void flushed_into_a_copy(void)
{
	kept();
	copy("backing.img", "copy.img");
	expect(0, "wb-flush-dirty -q -y --keep --undo=undo cache.img backing.img");
}

static void salvaged_without_its_undo_file(void)
{
	expect(5, "wb-flush-dirty -q -y --policy=salvage --state=state --undo=undo cache.img backing.img");
	remove_if_there("undo");
}

static void changed_since(void)
{
	flushed();
	put("backing.img", 8 * 512, "changed", 7);
}

static void cut_undo_file(void)
{
	flushed();
	resize("undo", size_of_file("undo") - 1);
}

static void undo_file_of_another(void)
{
	copy("cache.img", "other.img");
	expect(0, "wb-format -q -y --reset --force=dirty --undo=undo other.img");
}

/* A cache within a disk: flushed with --undo, then flushed and ended without. */
static void ended_unrecorded(void)
{
	size_t bytes;
	char *image = load("cache.img", &bytes);

	store("cache.img", "", 0);
	put("cache.img", 1 << 20, image, bytes);
	free(image);
	expect(0, "wb-flush-dirty -q -y --keep --start=1M --undo=undo cache.img backing.img");
	expect(0, "wb-flush-dirty -q -y --start=1M cache.img backing.img");
}

static void blank(void)
{
	not_a_cache();
}

/* ---- the table ---- */

static const struct row {
	int status;
	const char *fixture;
	void (*prepare)(void);
	const char *command;
	const char *says; /* on stderr */
} rows[] = {
	/* 0 fine, 1 repaired, 4 problems remain, 8 operational error or refused for safety, 16 usage */
	{ 0, "v2-wrapped", NULL, "wb-check cache.img backing.img", NULL },
	{ 1, "v2-torn-head", NULL, "wb-check -y --repair cache.img", NULL },
	{ 1, "v2-rotten-data-bit", NULL, "wb-check -y --repair --find-bitflip cache.img", NULL },
	{ 4, "v2-rotten-data-bit", NULL, "wb-check cache.img", NULL },
	{ 8, "v2-wrapped", NULL, "wb-check nothing.img", "No such file" },
	{ 8, "v2-wrapped", NULL, "wb-check backing.img cache.img", NULL },
	{ 16, "v2-wrapped", NULL, "wb-check", NULL },
	{ 16, "v2-wrapped", NULL, "wb-flush-dirty cache.img", NULL },
	{ 16, "v2-wrapped", NULL, "wb-flush-dirty --policy=some cache.img backing.img", NULL },
	{ 16, "v2-wrapped", NULL, "wb-flush-dirty --trust-record --ignore-record cache.img backing.img", "exclude each other" },
	{ 16, "v2-wrapped", NULL, "wb-flush-dirty --ignore-record --trust-record cache.img backing.img", "exclude each other" },
	{ 16, "v2-wrapped", NULL, "wb-dump --list-dirty --ignore-record --trust-record cache.img", "exclude each other" },
	/* a strict refusal is exactly 4, a safety refusal exactly 8 */
	{ 4, "v2-rotten-data-bit", NULL, "wb-flush-dirty cache.img backing.img", NULL },
	{ 8, "v2-wrapped", NULL, "wb-flush-dirty cache.img cache.img", NULL },
	{ 8, "v2-wrapped", held_cache, "wb-flush-dirty cache.img backing.img", NULL },
	{ 8, "v2-wrapped", held_backing, "wb-flush-dirty cache.img backing.img", NULL },
	{ 8, "v2-wrapped", shared_cache, "wb-flush-dirty cache.img backing.img", "wb-flush-dirty: cache.img: " },
	{ 8, "v2-wrapped", shared_backing, "wb-flush-dirty cache.img backing.img", "wb-flush-dirty: backing.img: " },
	{ 8, "v2-wrapped", shared_cache, "wb-format --force=dirty cache.img", "wb-format: cache.img: " },
	{ 8, "v2-wrapped", shared_cache, "wb-format --reset --force=dirty cache.img", "wb-format: cache.img: " },
	{ 8, "v2-torn-head", shared_cache, "wb-check --repair cache.img", "wb-check: cache.img: " },
	{ 8, "v2-wrapped", flushed_and_shared, "wb-undo -y undo", "/backing.img: " },
	{ 8, "v2-wrapped", flushed_and_undo_file_shared, "wb-undo -y undo", "wb-undo: undo: " },
	{ 0, "v2-wrapped", shared_cache, "wb-check cache.img", NULL },
	/* a state of a run that was taken back */
	{ 5, "v2-rotten-two-bits", salvaged_and_taken_back, "wb-flush-dirty --policy=salvage --state=state --undo=undo cache.img backing.img",
	  "was taken back" },
	{ 5, "v2-rotten-two-bits", detached_and_taken_back, "wb-flush-dirty --policy=salvage --state=state --undo=undo cache.img backing.img",
	  "was taken back" },
	{ 8, "v2-rotten-two-bits", salvaged_without_its_undo_file,
	  "wb-flush-dirty --policy=salvage --state=state --undo=undo cache.img backing.img", "into another --undo file" },
	{ 8, "v2-rotten-two-bits", detached_and_taken_back, "wb-flush-dirty --policy=salvage --state=state cache.img backing.img",
	  "the earlier run recorded into another --undo file; give the same --undo, or, if wb-undo has put back all" },
	{ 5, "v2-rotten-two-bits", detached,
	  "wb-flush-dirty --policy=salvage --force=ended --state=state --undo=undo cache.img backing.img", NULL },
	/* dirty data is no problem, nor are torn-tail, torn-head, the record hazard */
	{ 0, "v2-torn-tail", NULL, "wb-check cache.img", NULL },
	{ 0, "v2-torn-head", NULL, "wb-check cache.img", NULL },
	{ 0, "v2-record-sound", NULL, "wb-check cache.img", NULL },
	/* problems for wb-check */
	{ 4, "v2-wiped-header", NULL, "wb-check cache.img", NULL },
	{ 4, "v2-rotten-two-bits", NULL, "wb-check cache.img", NULL },
	{ 4, "v2-ahead", NULL, "wb-check cache.img", NULL },
	{ 4, "v2-id-zero", NULL, "wb-check cache.img", NULL },
	{ 4, "v0-zeroed", NULL, "wb-check cache.img", NULL },
	{ 4, "v2-grown", NULL, "wb-check cache.img", NULL },
	{ 4, "v2-shifted", NULL, "wb-check cache.img", NULL },
	{ 4, "v2-restarted", NULL, "wb-check cache.img", NULL },
	{ 4, "v2-destroyed", NULL, "wb-check cache.img", NULL },
	{ 4, "v2-record-missing", NULL, "wb-check cache.img", NULL },
	{ 4, "v2-record-garbage", NULL, "wb-check cache.img", NULL },
	{ 4, "v2-sector0-zero", NULL, "wb-check cache.img", NULL },
	/* wb-flush-dirty: the status of the replay */
	{ 0, "v2-wrapped", NULL, "wb-flush-dirty cache.img backing.img", NULL },
	{ 0, "v2-torn-head", NULL, "wb-flush-dirty cache.img backing.img", NULL },
	{ 0, "v2-record-garbage", NULL, "wb-flush-dirty cache.img backing.img", NULL },
	{ 1, "v2-rotten-data-bit", NULL, "wb-flush-dirty --policy=salvage --force=stateless cache.img backing.img", NULL },
	{ 5, "v2-rotten-two-bits", NULL, "wb-flush-dirty --policy=salvage --force=stateless cache.img backing.img", NULL },
	{ 5, "v2-rotten-two-bits", NULL, "wb-flush-dirty --policy=prefix --force=stateless cache.img backing.img", NULL },
	{ 5, "v2-wrapped", NULL, "wb-flush-dirty --until-id=8 cache.img backing.img", NULL },
	{ 8, "v2-rotten-two-bits", NULL, "wb-flush-dirty --policy=prefix cache.img backing.img", "--state=FILE" },
	{ 4, "v2-beyond-backing-dirty", NULL, "wb-check --require-clean cache.img backing.img", NULL },
	{ 4, "v2-beyond-backing-dirty", NULL, "wb-flush-dirty --force=size cache.img backing.img", NULL },
	{ 4, "v2-record-missing", NULL, "wb-flush-dirty cache.img backing.img", NULL },
	{ 0, "v2-record-missing", NULL, "wb-flush-dirty --ignore-record cache.img backing.img", NULL },
	{ 5, "v2-restarted", NULL, "wb-flush-dirty --timeline=new cache.img backing.img", NULL },
	{ 4, "v2-evidence", NULL, "wb-flush-dirty --policy=prefix --force=stateless cache.img backing.img", NULL },
	/* the log should have been ended and was not */
	{ 4, "v2-wrapped", without_start, "wb-flush-dirty --start=-4096 --force=ended cache.img backing.img", "not be ended" },
	{ 8, "v2-wrapped", without_start, "wb-flush-dirty --start=-4096 --force=ended --detach cache.img backing.img", "leave --detach out" },
	{ 0, "v2-wrapped", without_start, "wb-flush-dirty --start=-4096 --force=ended --keep cache.img backing.img", NULL },
	/* a contradicted pair */
	{ 4, "v2-pair-contradicted", NULL, "wb-check cache.img backing.img", NULL },
	{ 8, "v2-pair-contradicted", NULL, "wb-flush-dirty cache.img backing.img", "--force=pair" },
	{ 0, "v2-pair-contradicted", NULL, "wb-flush-dirty --force=pair cache.img backing.img", NULL },
	/* ended logs */
	{ 0, "v2-wrapped", flushed, "wb-flush-dirty cache.img backing.img", NULL },
	{ 4, "v2-pair-contradicted", forced_and_ended, "wb-check cache.img before.img", NULL },
	{ 0, "v2-pair-contradicted", forced_and_ended, "wb-flush-dirty cache.img before.img", "not the disk of this cache" },
	{ 8, "v2-pair-contradicted", forced_and_ended, "wb-format --reset --backing=before.img cache.img", "not the disk of this cache" },
	{ 0, "v2-wrapped", flushed, "wb-check --require-clean --require-ended cache.img backing.img", NULL },
	{ 0, "v2-wrapped", flushed, "wb-check --slots=4 cache.img", NULL },
	{ 0, "v2-wrapped", flushed, "wb-check --order=9 cache.img backing.img", NULL },
	{ 0, "v2-wrapped", flushed, "wb-flush-dirty --slots=4 cache.img backing.img", NULL },
	{ 0, "v2-rotten-two-bits", flushed_in_part, "wb-flush-dirty cache.img backing.img", NULL },
	{ 0, "v2-rotten-two-bits", flushed_in_part, "wb-check cache.img", NULL },
	{ 4, "v2-rotten-two-bits", flushed_in_part, "wb-check --require-clean cache.img", NULL },
	{ 4, "v2-rotten-two-bits", flushed_in_part, "wb-check --require-ended cache.img", NULL },
	/* sector 0 */
	{ 8, "v2-sector0-zero", NULL, "wb-flush-dirty cache.img backing.img", "sector 0 is all zero" },
	{ 0, "v2-sector0-zero", NULL, "wb-flush-dirty --force=ended cache.img backing.img", NULL },
	{ 8, "v2-sector0-garbage", NULL, "wb-flush-dirty cache.img backing.img", "whose --repair can restore" },
	{ 0, "v2-pair-proven", zeroed, "wb-check --require-clean cache.img backing.img", NULL },
	{ 0, "v2-pair-proven", zeroed, "wb-check --require-ended cache.img backing.img", NULL },
	{ 4, "v2-pair-proven", zeroed, "wb-check --require-ended cache.img", NULL },
	{ 4, "v2-sector0-zero", NULL, "wb-check --require-ended cache.img backing.img", NULL },
	{ 8, "v2-wrapped", not_a_cache, "wb-check cache.img", "not a writeboost cache" },
	{ 8, "v2-wrapped", not_a_cache, "wb-dump cache.img", "not a writeboost cache" },
	{ 8, "v2-wrapped", not_a_cache, "wb-flush-dirty cache.img backing.img", "not a writeboost cache" },
	{ 8, "v2-wrapped", not_a_cache, "wb-format --reset cache.img", "not a writeboost cache" },
	/* --require-clean, --require-ended */
	{ 4, "v2-wrapped", NULL, "wb-check --require-clean cache.img backing.img", NULL },
	{ 0, "v2-wrapped", kept, "wb-check --require-clean cache.img backing.img", NULL },
	{ 4, "v2-wrapped", kept, "wb-check --require-ended cache.img backing.img", NULL },
	/* wb-check --repair */
	{ 8, "v2-torn-head", held_cache, "wb-check --repair cache.img", NULL },
	/* wb-format */
	{ 0, "v2-wrapped", blank, "wb-format cache.img", NULL },
	{ 0, "v2-wrapped", flushed, "wb-format cache.img", NULL },
	{ 8, "v2-wrapped", NULL, "wb-format cache.img", "--force=dirty" },
	{ 0, "v2-wrapped", NULL, "wb-format --force=dirty cache.img", NULL },
	{ 8, "v2-wrapped", NULL, "wb-format --reset cache.img", "--force=dirty" },
	{ 8, "v2-wrapped", NULL, "wb-format --reset --backing=backing.img cache.img", NULL },
	{ 0, "v2-wrapped", kept, "wb-format --reset --backing=backing.img cache.img", NULL },
	{ 8, "v2-wrapped", held_cache, "wb-format --force=dirty cache.img", NULL },
	{ 16, "v2-wrapped", NULL, "wb-format --generation=v2 cache.img", NULL },
	{ 16, "v2-wrapped", NULL, "wb-format --slots=8 cache.img", NULL },
	{ 16, "v2-wrapped", NULL, "wb-format --discard --undo=undo cache.img", NULL },
	/* --undo=FILE of another device, or where none can be */
	{ 8, "v2-wrapped", undo_file_of_another, "wb-format --force=dirty --undo=undo cache.img", "was recorded for " },
	{ 8, "v2-wrapped", undo_file_of_another, "wb-format --reset --force=dirty --undo=undo cache.img", "was recorded for " },
	{ 8, "v2-torn-head", undo_file_of_another, "wb-check --repair --undo=undo cache.img", "was recorded for " },
	{ 8, "v2-wrapped", undo_file_of_another, "wb-flush-dirty --undo=undo cache.img backing.img", "was recorded for " },
	{ 8, "v2-wrapped", flushed_into_a_copy, "wb-flush-dirty --undo=undo cache.img copy.img", "/backing.img, and not for " },
	{ 8, "v2-wrapped", flushed_into_a_copy, "wb-format --reset --undo=undo --force=dirty cache.img", "and this command writes to 1 device" },
	{ 8, "v2-wrapped", NULL, "wb-format --force=dirty --undo=nowhere/undo cache.img", "No such file" },
	{ 8, "v2-wrapped", NULL, "wb-format --reset --force=dirty --undo=nowhere/undo cache.img", "No such file" },
	{ 8, "v2-torn-head", NULL, "wb-check --repair --undo=nowhere/undo cache.img", "No such file" },
	{ 8, "v2-wrapped", NULL, "wb-flush-dirty --undo=nowhere/undo cache.img backing.img", "No such file" },
	{ 8, "v2-wrapped", NULL, "wb-flush-dirty --state=nowhere/state cache.img backing.img", "No such file" },
	{ 8, "v2-wrapped", undo_is_a_link_to_nowhere, "wb-flush-dirty --undo=undo cache.img backing.img", "undo: " },
	{ 8, "v2-torn-head", undo_is_a_link_to_nowhere, "wb-check --repair --undo=undo cache.img", "undo: " },
	/* wb-undo */
	{ 0, "v2-wrapped", flushed, "wb-undo -y undo", NULL },
	{ 0, "v2-wrapped", taken_back, "wb-undo -y undo", NULL },
	{ 8, "v2-wrapped", changed_since, "wb-undo -y undo", "--force=changed" },
	{ 0, "v2-wrapped", changed_since, "wb-undo -y --force=changed undo", NULL },
	{ 8, "v2-wrapped", cut_undo_file, "wb-undo -y undo", "--force=cut" },
	{ 0, "v2-wrapped", cut_undo_file, "wb-undo -y --force=cut undo", NULL },
	{ 8, "v2-wrapped", ended_unrecorded, "wb-undo -y undo", "has no record of that" },
	{ 0, "v2-wrapped", ended_unrecorded, "wb-undo -y --force=cut undo", NULL },
	/* wb-dump: what is damaged is shown */
	{ 0, "v2-rotten-two-bits", NULL, "wb-dump cache.img", NULL },
	{ 0, "v2-wrapped", one_byte_of_all, "wb-format cache.img", NULL },
};

static bool writes(const char *command)
{
	return has(command, "wb-flush-dirty") || has(command, "wb-format") || has(command, "--repair") || has(command, "wb-undo");
}

static void run_row(const struct row *row, const char *option)
{
	const char *rest = row->command + strcspn(row->command, " ");

	remove_if_there("undo");
	remove_if_there("state");
	make_cache(row->fixture);
	if (row->prepare)
		row->prepare();
	const char *cache = sum("cache.img"), *backing = sum("backing.img");

	run("%.*s%s%s", (int)(rest - row->command), row->command, option, rest);
	let_go();
	if (status != row->status || (row->says && !has(words, row->says)))
		fail_msg("%s:%s %s exits %d, and not %d: %s%s", row->fixture, option, row->command, status, row->status, out, words);
	if ((status >= 8 || has(option, "-n")) && (strcmp(cache, sum("cache.img")) || strcmp(backing, sum("backing.img"))))
		fail_msg("%s:%s %s changed something", row->fixture, option, row->command);
}

static void statuses_are_those_of_the_contract(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		run_row(&rows[i], writes(rows[i].command) && !has(rows[i].command, " -y") && !has(rows[i].command, "wb-undo") ? " -y" : "");
}

static void dry_runs_exit_as_the_run_would_with_yes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (writes(rows[i].command))
			run_row(&rows[i], " -n");
}

/* Whoever resets a log loses no more than wb-flush-dirty does, which ends only what it has accounted for. */
static void reset_only_where_flush_would_end(const char *name)
{
	run("%s", "wb-flush-dirty -n -q cache.img backing.img");
	int flush = status;

	run("%s", "wb-format -n --reset --backing=backing.img cache.img");
	if (flush && status != 8)
		fail_msg("%s: wb-flush-dirty exits %d, wb-format --reset %d: %s%s", name, flush, status, out, words);
}

static void no_log_is_reset_that_a_replay_would_keep(void **state)
{
	static const char *const texts[] = {
		/* the record says that all of it was written back */
		"generation v0\nslots 8\norder 7\nbacking 65536\nrange 1 7 blocks 4 seed 1 span 4096\nrecord 7\n",
		/* the newest segments lie beyond BACKING, or at no multiple of 8 */
		"generation v2\nslots 8\nbacking 4096\nsegment 1\nblock 8 ff\nwriteback 1\nsegment 2\nblock 8800 ff\n",
		"generation v2\nslots 8\nbacking 65536\nsegment 1\nblock 8 ff\nwriteback 1\nsegment 2\nblock 8001 ff\n",
	};
	char **names = fixtures("v");

	(void)state;
	for (; *names; names++) {
		make_cache(*names);
		run("%s", "wb-flush-dirty -q -y --keep --policy=salvage --force=stateless cache.img backing.img");
		reset_only_where_flush_would_end(*names);
	}
	for (unsigned i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		make_cache_of(texts[i]);
		reset_only_where_flush_would_end(texts[i]);
	}
}

/* An end is believed of the disk that was written to, and of no other that lacks something: here, as that disk was before. */
static void an_end_holds_for_the_disk_that_was_written_to(void **state)
{
	static const char *const policies[] = { "strict", "salvage --force=stateless" };
	unsigned others = 0;

	(void)state;
	for (char **names = fixtures("v"); *names; names++)
		for (unsigned i = 0; i < 2; i++) {
			make_cache(*names);
			copy("backing.img", "before.img");
			run("wb-flush-dirty -y --json --policy=%s cache.img backing.img", policies[i]);
			if (status & ~5 || strcmp(field("ended"), "true"))
				continue;
			run("%s", "wb-check --require-ended cache.img");
			int ended = status;

			expect(ended, "wb-check --require-ended cache.img backing.img");
			expect(ended, "wb-check --require-clean cache.img backing.img");
			expect(0, "wb-flush-dirty cache.img backing.img");
			assert_true(has(out, "nothing to do for cache.img: the log was ended on "));
			expect(0, "wb-format --reset --backing=backing.img cache.img");
			if (ended || same("backing.img", "before.img"))
				continue;
			others++;
			expect(4, "wb-check --require-ended cache.img before.img");
			expect(4, "wb-check --require-clean cache.img before.img");
			expect(0, "wb-flush-dirty -y cache.img before.img");
			assert_true(has(words, "before.img "));
			expect(0, "wb-flush-dirty -n cache.img before.img");
			expect(8, "wb-format --reset --backing=before.img cache.img");
		}
	assert_true(others > 20);
}

/* The first n lines that begin with "next", one after the other. */
static const char *next_line(unsigned n)
{
	const char *at = out;

	for (unsigned i = 0; i <= n; i++) {
		at = strstr(at, "next        ");
		if (!at)
			return "";
		at += 12;
	}
	return text("%.*s", (int)strcspn(at, "\n"), at);
}

/* A dry run, and then the run that it names. */
static void carry_out(const char *step, int want)
{
	expect(want, "%s", step);
	step = next_line(0);
	assert_false(has(step, "-n "));
	expect(want, "%s", step);
}

/* Old bytes that cannot be recorded are not written over, and the same command would fail again. */
static void after_a_read_error_of_backing_the_next_steps_go_on_with_a_copy(void **state)
{
	static const struct { const char *options, *next; } cases[] = {
		{ "--undo=undo", "wb-flush-dirty --yes --verify -n cache.img backing.img.copy" },
		{ "--undo=undo --state=state --report=r",
		  "wb-flush-dirty --yes --verify --report=r-2 -n cache.img backing.img.copy" },
		{ "--undo=undo --policy=salvage --state=state", "wb-flush-dirty --yes --verify --policy=salvage --state=state "
		  "-n --undo=cache.img.undo cache.img backing.img.copy" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make_cache(i == 2 ? "v2-rotten-data-bit" : "v2-wrapped");
		put("backing.img", 40 * 512, "not a hole", 10);
		unreadable_of("backing.img", 40 * 512, 16 * 512);
		expect(8, "wb-flush-dirty -y --verify %s cache.img backing.img", cases[i].options);
		assert_true(has(words, "reading what is to be recorded"));
		assert_string_equal(next_line(0), "ddrescue backing.img backing.img.copy backing.img.map");
		const char *step = next_line(1);

		assert_string_equal(step, cases[i].next);
		readable_again();
		copy("backing.img", "backing.img.copy");
		carry_out(step, i == 2 ? 1 : 0);
		shell("rm -f undo state r r-2 backing.img.copy cache.img.*");
	}
}

/* The same of CACHE, whose map then says what is missing; what a salvage had written is taken back first. */
static void after_a_read_error_of_cache_the_next_steps_go_on_with_a_copy_and_its_map(void **state)
{
	static const struct { const char *fixture, *options, *next[2]; int status; } cases[] = {
		{ "v2-wrapped", "", { "wb-flush-dirty --yes -n --cache-map=cache.img.map cache.img.copy backing.img" }, 0 },
		{ "v2-wrapped", "--undo=undo --state=state ", { "wb-flush-dirty --yes -n --cache-map=cache.img.map --state=cache.img.state "
		  "--undo=cache.img.undo cache.img.copy backing.img" }, 0 },
		{ "v2-rotten-data-bit", "--policy=salvage --undo=undo --state=state ", { "wb-undo undo cache.img backing.img",
		  "wb-flush-dirty --yes --policy=salvage -n --cache-map=cache.img.map --state=cache.img.state --undo=cache.img.undo "
		  "cache.img.copy backing.img" }, 1 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		unsigned failed = 0;

		for (unsigned good = 1; good < 12; good++) {
			make_cache(cases[i].fixture);
			shell("rm -f undo state cache.img.*");
			unreadable((1 << 20) + 520, 512);
			after_good_reads(good, false);
			run("wb-flush-dirty -y %scache.img backing.img", cases[i].options);
			readable_again();
			if (status != 8 || !has(words, "stay valid"))
				continue;
			assert_string_equal(next_line(0), "ddrescue cache.img cache.img.copy cache.img.map");
			const char *steps[] = { next_line(1), next_line(2) };

			assert_false(has(words, "run the same command again"));
			copy("cache.img", "cache.img.copy");
			const char *map = text("0x0 + 1\n0x0 0x%llx +\n", (unsigned long long)size_of_file("cache.img"));

			store("cache.img.map", map, strlen(map));
			for (unsigned k = 0; k < 2 && cases[i].next[k]; k++) {
				bool last = k || !cases[i].next[1];

				assert_string_equal(steps[k], cases[i].next[k]);
				if (last)
					carry_out(steps[k], cases[i].status);
				else
					expect(0, "%s", steps[k]);
			}
			failed++;
		}
		assert_true(failed);
	}
}

/* What was written before the error counts as evidence, also on the copy: it is not decided again. */
static void a_salvage_goes_on_with_a_copy_as_it_was_decided(void **state)
{
	static const char log[] = "generation v2\nslots 10\nbacking 65536\nsegment 1\nblock 80 ff\nblock 60000 ff\nsegment 2\n"
				  "block 160 ff\nblock 61000 ff\nblock 64000 ff\nsegment 3\nblock 30000 ff\nsegment 4\n"
				  "block 80 ff\nblock 160 ff\nsegment 5\nblock 320 ff\nsegment 6\nblock 400 ff\nzero 2 0 4096\n";
	unsigned changed = 0;

	(void)state;
	make_cache_of(log);
	copy("backing.img", "before.img");
	run("wb-flush-dirty -y --policy=salvage --state=state cache.img backing.img");
	int want = status;

	assert_true(want == 1 || want == 5);
	copy("backing.img", "want.img");
	for (unsigned good = 0;; good++) {
		shell("rm -f state undo cache.img.* backing.img.*");
		make_cache_of(log);
		unreadable_of("backing.img", 64000 * 512, 4096);
		after_good_reads(good, false);
		run("wb-flush-dirty -y --verify --policy=salvage --state=state --undo=undo cache.img backing.img");
		readable_again();
		if (status != 8)
			break;
		const char *step = next_line(1);

		assert_true(has(step, " --state=state -n --undo=cache.img.undo cache.img backing.img.copy"));
		changed += !same("backing.img", "before.img");
		copy("backing.img", "backing.img.copy");
		carry_out(step, want);
		assert_true(same("backing.img.copy", "want.img"));
	}
	assert_true(changed);
	/* a copy that differs elsewhere is none, until the user says so */
	shell("rm -f state");
	make_cache_of(log);
	expect(want, "wb-flush-dirty -y --policy=salvage --keep --state=state cache.img backing.img");
	copy("backing.img", "other.img");
	put("other.img", 0, "other", 5);
	expect(8, "wb-flush-dirty -y --policy=salvage --keep --state=state cache.img other.img");
	assert_true(has(words, "written for another backing device"));
	expect(want, "wb-flush-dirty -y --policy=salvage --keep --force=pair --state=state cache.img other.img");
}

/* A finished run is gone on with: nothing is left to write, and the log that it ended stays so. */
static void a_state_of_a_finished_run_is_believed_as_long_as_its_log_is_ended(void **state)
{
	static const char *const options[] = { "", "", "--detach", "--detach --force=ended", "--force=ended" };

	(void)state;
	make_cache("v2-rotten-two-bits");
	shell("rm -f state undo");
	for (unsigned i = 0; i < sizeof(options) / sizeof(*options); i++) {
		expect(5, "wb-flush-dirty -y --policy=salvage --state=state --undo=undo %s%scache.img backing.img", options[i],
		       *options[i] ? " " : "");
		if (has(out, "resumed     everything below 128.0 KiB of BACKING was flushed by an earlier run") != (i > 0))
			fail_msg("run %u: %s%s", i, out, words);
	}
	assert_true(has(out, "log         ended before, and stays so") && !has(out, "next "));
	expect(0, "wb-check cache.img"); /* it is ended, with something left out */
}

/* A dry run names the one that is used, and not the other; so does its step. */
static void dry_runs_name_the_device_that_is_in_use(void **state)
{
	static void (*const locks[])(const char *) = { hold, share };
	static const char *const names[] = { "cache.img", "backing.img" };

	(void)state;
	make_cache("v2-wrapped");
	for (unsigned i = 0; i < 4; i++) {
		const char *used = names[i % 2], *other = names[1 - i % 2];

		locks[i / 2](used);
		expect(8, "wb-flush-dirty -n cache.img backing.img");
		assert_true(has(words, text("%s: in use: without -n", used)));
		assert_false(has(words, text("%s: in use: without -n", other)));
		assert_true(has(out, text("when nobody uses %s any more", used)));
		expect(0, "wb-check --json cache.img backing.img");
		assert_string_equal(field("busy"), i < 2 ? "true" : "false");
		let_go();
	}
}

/* Of several devices the one that fails is blamed, at whichever read it does, and nobody copies the other one. */
static void the_device_that_fails_is_named(void **state)
{
	static const struct { const char *fixture, *command; } commands[] = {
		{ "v2-wrapped", "wb-flush-dirty -y --undo=undo --state=state cache.img backing.img" },
		{ "v2-wrapped", "wb-flush-dirty -y --compare --verify cache.img backing.img" },
		{ "v2-rotten-data-bit", "wb-flush-dirty -y --policy=salvage --state=state cache.img backing.img" },
		{ "v2-wrapped", "wb-check cache.img backing.img" },
		{ "v2-wrapped", "wb-dump --list-dirty cache.img backing.img" },
	};

	(void)state;
	for (unsigned i = 0; i < 2 * sizeof(commands) / sizeof(*commands); i++) {
		bool flips = i % 2;
		unsigned failed = 0, good = 0;

		for (status = 8; good < 12 && (status & ~7 || good < 4); good++) {
			make_cache(commands[i / 2].fixture);
			shell("rm -f undo state");
			unreadable((1 << 20) + 520, 512);
			after_good_reads(good, flips);
			run("%s", commands[i / 2].command);
			readable_again();
			failed += status == 8;
			if (status == 8 && (!has(words, ": cache.img: at byte 1048576: ") || has(words, ": backing.img: ") ||
					    has(words, "BACKING fails") || has(out, "ddrescue backing.img")))
				fail_msg("%s, from read %u of CACHE on: %s%s", commands[i / 2].command, good, out, words);
		}
		assert_true(failed);
	}
}

static const struct signalled {
	const char *fixture, *command;
	void (*prepare)(void);
} signalled[] = {
	{ "v2-wrapped", "wb-check cache.img backing.img", NULL },
	{ "v2-rotten-data-bit", "wb-check --find-bitflip --explain-kernel cache.img backing.img", NULL },
	{ "v2-torn-head", "wb-check -y --repair cache.img", NULL },
	{ "v2-wrapped", "wb-dump cache.img", NULL },
	{ "v2-wrapped", "wb-dump --list-dirty cache.img backing.img", NULL },
	{ "v2-wrapped", "wb-flush-dirty -y --verify --undo=u --state=s --retry=1000 cache.img backing.img", NULL },
	{ "v2-rotten-data-bit", "wb-flush-dirty -y --policy=salvage --state=s --retry=1000 cache.img backing.img", NULL },
	{ "v2-wrapped", "wb-format -y --force=dirty cache.img", NULL },
	{ "v2-wrapped", "wb-undo -y undo", flushed },
};

static void make_signalled(const struct signalled *one, bool bad)
{
	terminate_at_read(0, 0);
	readable_again();
	shell("rm -f u s undo");
	make_cache(one->fixture);
	if (one->prepare)
		one->prepare();
	if (bad)
		unreadable((1 << 20) + 2 * 524288 + 1024, 524288); /* parts of two segments, a header */
}

/* Reads that are allowed after a signal: those of the batches under way, and of what is looked at without an end in sight. */
#define READS_AFTER 96u

/* Sends the signals at ever later reads of a command, until it ends before them; bad: with sectors that cannot be read. */
static void signal_everywhere(const struct signalled *one, bool bad, unsigned times)
{
	unsigned stopped = 0, at = 1, all;

	make_signalled(one, bad);
	run("%s", one->command);
	make_signalled(one, bad);
	terminate_at_read(0, 0);
	run("%s", one->command);
	all = reads();
	for (; at <= all; at += 1 + at / 2) {
		make_signalled(one, bad);
		terminate_at_read(at, times);
		run("%s", one->command);
		if (times > 1 ? status != 128 + SIGTERM : status == 128 + SIGTERM)
			fail_msg("%s: %u signals at read %u of %u: %d", one->command, times, at, all, status);
		if (reads() > at + READS_AFTER)
			fail_msg("%s: %u more reads after a signal at read %u of %u", one->command, reads() - at, at, all);
		stopped += status == 32;
	}
	if (times == 1 && !stopped)
		fail_msg("%s is never stopped", one->command);
	terminate_at_read(0, 0);
	readable_again();
}

static void a_signal_ends_every_command_soon_also_where_it_reads_again_and_again(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(signalled) / sizeof(*signalled); i++)
		for (unsigned bad = 0; bad < 2; bad++)
			signal_everywhere(&signalled[i], bad, 1);
}

static void a_second_signal_ends_every_command_at_once(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(signalled) / sizeof(*signalled); i++)
		signal_everywhere(&signalled[i], false, 2);
}

/* A sparse image of 4 KiB can promise any number of slots. */
static void tables_of_slots_stay_below_memory_or_the_run_says_what_it_needs(void **state)
{
	static const char *const commands[] = { "wb-flush-dirty -n --memory=%s cache.img backing.img", "wb-check --memory=%s cache.img backing.img",
						"wb-dump --memory=%s cache.img" };
	static const uint8_t super[5] = { 0x74, 0x73, 0x42, 0x57, 4 };

	(void)state;
	store("cache.img", super, sizeof(super));
	resize("cache.img", (int64_t)2 << 30);
	store("backing.img", "", 0);
	resize("backing.img", 1 << 20);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		char line[256];

		snprintf(line, sizeof(line), commands[i], "8MiB");
		expect(8, "%s", line);
		assert_true(has(words, "the tables of 262016 slots need 10 MiB of memory, and 8 MiB are allowed"));
		assert_true(has(words, "give --memory=SIZE of as much"));
		snprintf(line, sizeof(line), commands[i], "10MiB");
		expect(0, "%s", line);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		table_test(tables_of_slots_stay_below_memory_or_the_run_says_what_it_needs),
		table_test(statuses_are_those_of_the_contract),
		table_test(dry_runs_exit_as_the_run_would_with_yes),
		table_test(no_log_is_reset_that_a_replay_would_keep),
		table_test(an_end_holds_for_the_disk_that_was_written_to),
		table_test(a_signal_ends_every_command_soon_also_where_it_reads_again_and_again),
		table_test(a_second_signal_ends_every_command_at_once),
		table_test(a_salvage_goes_on_with_a_copy_as_it_was_decided),
		table_test(dry_runs_name_the_device_that_is_in_use),
		table_test(a_state_of_a_finished_run_is_believed_as_long_as_its_log_is_ended),
		table_test(the_device_that_fails_is_named),
		table_test(after_a_read_error_of_cache_the_next_steps_go_on_with_a_copy_and_its_map),
		table_test(after_a_read_error_of_backing_the_next_steps_go_on_with_a_copy),
	};

	setenv("WB_IO", "threads", 1); /* so that there are sectors that cannot be read */
	return run_tables("table_status", tests, sizeof(tests) / sizeof(tests[0]));
}
