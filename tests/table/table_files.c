/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files that options name, and next to them: values, options, JSON alone, control characters. */
#include <sys/stat.h>

#include "table.h"

static void one_name_for_two_output_files_is_a_usage_error_before_anything_happens(void **state)
{
	static const char *const options[] = { "--undo", "--state", "--report", "--failed", "--cache-map" };
	/* spellings of x */
	static const char *const names[] = { "x", "./x", "folder/../x", "link", "there/x", "dangling" };

	(void)state;
	make_cache("v2-simple");
	copy("backing.img", "before.img");
	copy("cache.img", "cache.before");
	assert_int_equal(mkdir("folder", 0700), 0);
	assert_int_equal(symlink(".", "there"), 0);
	assert_int_equal(symlink("x", "dangling"), 0);
	assert_int_equal(symlink("there/dangling", "link"), 0);
	for (unsigned i = 0; i < 5; i++)
		for (unsigned j = 0; j < 5; j++)
			for (unsigned k = 0; k < 6 && i != j; k++) {
				expect(16, "wb-flush-dirty -y %s=x %s=%s cache.img backing.img", options[i], options[j], names[k]);
				assert_true(has(words, "name the same file"));
				assert_false(exists("x"));
			}
	store("y", "", 0);
	assert_int_equal(link("y", "hard"), 0);
	expect(16, "wb-flush-dirty -y --undo=y --state=hard cache.img backing.img");
	expect(16, "wb-dump --svg=x --list-dirty --domain-map=./x cache.img");
	assert_true(same("backing.img", "before.img") && same("cache.img", "cache.before"));
}

static void fifos_and_devices_are_refused_as_files_and_not_waited_for(void **state)
{
	static const char *const files[] = { "fifo", "/dev/null", "folder" };

	(void)state;
	make_cache("v2-simple");
	copy("backing.img", "before.img");
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_int_equal(mkdir("folder", 0700), 0);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const options[] = { "undo", "state", "report", "failed", "cache-map" };

		for (unsigned j = 0; j < 5; j++)
			expect(8, "wb-flush-dirty -y --%s=%s cache.img backing.img", options[j], files[i]);
		expect(8, "wb-dump --svg=%s cache.img", files[i]);
		expect(8, "wb-dump --pack=%s cache.img", files[i]);
		expect(8, "wb-check -y --repair --undo=%s cache.img", files[i]);
		expect(8, "wb-format -y --force=dirty --undo=%s cache.img", files[i]);
	}
	assert_true(same("backing.img", "before.img"));
}

static void file_that_appears_in_the_meantime_is_not_overwritten(void **state)
{
	static const char *const options[] = { "--svg", "--domain-map", "--pack" };

	(void)state;
	make_cache("v2-simple");
	for (unsigned i = 0; i < 3; i++) {
		appear_during_the_next_run("same");
		expect(8, "wb-dump -q %s=same cache.img", options[i]);
		appear_during_the_next_run(NULL);
		if (!has(words, "same: cannot be put in its place: File exists"))
			fail_msg("%s: %s", options[i], words);
		shell("[ \"$(cat same)\" = new ] && rm same && [ -z \"$(find . -name '*.new-*')\" ]");
	}
}

static void a_state_of_somebody_that_appears_in_the_meantime_is_not_replaced(void **state)
{
	(void)state;
	make_cache("v2-simple");
	copy("backing.img", "before.img");
	appear_once_there_is("s", "f.new-*");
	expect(8, "wb-flush-dirty -y --failed=f --state=s cache.img backing.img");
	appear_during_the_next_run(NULL);
	assert_true(has(words, "s: the file is there already, and nothing is overwritten"));
	shell("[ \"$(cat s)\" = new ]");
	assert_true(same("backing.img", "before.img"));
}

static void files_that_commands_make_are_for_their_owner_alone(void **state)
{
	static const char *const files[] = { "u", "s", "r", "f", "p", "v" };
	struct stat st;

	(void)state;
	umask(0);
	make_cache("v2-simple");
	expect(0, "wb-dump --pack=p cache.img");
	expect(0, "wb-dump --svg=v cache.img");
	expect(0, "wb-flush-dirty -y --undo=u --state=s --report=r --failed=f cache.img backing.img");
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(stat(files[i], &st), 0);
		if ((st.st_mode & 0777) != 0600)
			fail_msg("%s: mode %o", files[i], st.st_mode & 0777);
	}
}

/* Ways to make a file F one that somebody else may have written, or could read. */
static const struct stranger {
	const char *how, *says;
	bool forcible, as_root;
} strangers[] = {
	{ "chmod 604 F", "is open to others", true, false },	{ "chmod 640 F", "is open to others", true, false },
	{ "chmod 622 F", "is open to others", true, false },	{ "ln F second", "has 2 names", true, false },
	{ "mv F second && ln -s second F", "symbolic link", false, false },
	{ "rm F && mkfifo -m 600 F", "is a FIFO", false, false },
	{ "chown 65534:65534 F", "belongs to user 65534", true, true },
};

static const char *of_file(const char *how, const char *file)
{
	static char command[256];
	size_t length = 0;

	for (; *how && length + strlen(file) < sizeof(command); how++)
		length += (size_t)sprintf(command + length, *how == 'F' ? "%s" : "%.1s", *how == 'F' ? file : how);
	return command;
}

static void begin_with_a_strange(const char *file, const struct stranger *stranger)
{
	make_cache("v2-simple");
	expect(0, "wb-flush-dirty -q -y --keep --policy=salvage --undo=undo --state=state cache.img backing.img");
	copy("cache.img", "cache.before");
	copy("backing.img", "backing.before");
	shell("set -e; cp %s whole; %s", file, of_file(stranger->how, file));
}

static void end_with_a_strange(const char *file)
{
	assert_true(same("cache.img", "cache.before") && same("backing.img", "backing.before"));
	shell("[ -p %s ] || cmp %s whole; rm -f second undo state", file, file);
}

static void what_others_may_have_recorded_is_neither_believed_nor_continued(void **state)
{
	static const struct { const char *file, *command; } rows[] = {
		{ "undo", "wb-undo -y undo" },
		{ "undo", "wb-undo -n undo" },
		{ "undo", "wb-flush-dirty -y --keep --undo=undo cache.img backing.img" },
		{ "undo", "wb-flush-dirty -n --undo=undo cache.img backing.img" },
		{ "undo", "wb-format -y --force=dirty --undo=undo cache.img" },
		{ "state", "wb-flush-dirty -y --keep --policy=salvage --undo=undo --state=state cache.img backing.img" },
		{ "state", "wb-flush-dirty -n --policy=salvage --undo=undo --state=state cache.img backing.img" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
		for (unsigned j = 0; j < sizeof(rows) / sizeof(rows[0]) && (!strangers[i].as_root || !geteuid()); j++) {
			begin_with_a_strange(rows[j].file, &strangers[i]);
			expect(8, "%s", rows[j].command);
			if (!has(words, strangers[i].says))
				fail_msg("%s; %s: %s", strangers[i].how, rows[j].command, words);
			end_with_a_strange(rows[j].file);
		}
}

/* The names in such a file are those that its writer chose. */
static void under_force_owner_nothing_is_written_but_to_what_is_named(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++) {
		if (strangers[i].as_root && geteuid())
			continue;
		begin_with_a_strange("undo", &strangers[i]);
		expect(8, "wb-undo -y --force=owner undo");
		expect(8, "wb-undo -n --force=owner undo");
		assert_true(!strangers[i].forcible || (has(words, "name all devices") && has(out, "/backing.img: ")));
		expect(8, "wb-undo -y --force=owner undo cache.img");
		expect(strangers[i].forcible ? 0 : 8, "wb-undo -n --force=owner undo cache.img backing.img");
		end_with_a_strange("undo");
	}
	begin_with_a_strange("undo", &strangers[0]);
	expect(0, "wb-undo -y --force=owner undo cache.img backing.img");
	make_cache("v2-simple");
	copy("backing.img", "original.img");
	assert_false(same("backing.before", "original.img"));
}

static void wb_undo_shows_what_each_device_is_and_asks(void **state)
{
	(void)state;
	make_cache_of("generation v2\nslots 4\nbacking 16384\nsegment 1\nblock 12000 ff\n");
	shell("truncate -s 8M fs.img && mkfs.ext2 -q -F -L 'my data' fs.img");
	copy("fs.img", "backing.img");
	expect(0, "wb-flush-dirty -q -y --force=pair --undo=undo cache.img backing.img");
	copy("backing.img", "backing.before");
	expect(8, "wb-undo undo");
	if (!has(words, "--yes") || !has(out, "/backing.img, 8.0 MiB, ext2 \"my data\" UUID "))
		fail_msg("%s%s", out, words);
	assert_true(same("backing.img", "backing.before"));
	expect(0, "wb-undo -n undo");
	shell("ln -s backing.img harmless");
	expect(0, "wb-undo -n undo cache.img harmless");
	assert_true(has(out, "now: ") && has(strstr(out, "device 2    harmless: "), "/backing.img, 8.0 MiB, ext2"));
	expect(0, "wb-undo -y --json undo");
	assert_string_equal(value(record("identity"), "label"), "my data");
	assert_true(same("backing.img", "fs.img"));
}

/* Names are followed once: what they lead to later is not written to, and what was opened gets all of it. */
static void names_that_lead_elsewhere_during_a_run_change_nothing(void **state)
{
	static const char *const commands[] = {
		"wb-flush-dirty -y --force=pair --undo=undo c/now b/now", "wb-flush-dirty -y --force=pair --compare --verify c/now b/now",
		"wb-format -y --force=dirty c/now", "wb-format -y --reset --force=dirty c/now", "wb-undo -y undo.of c/now b/now",
	};

	(void)state;
	make_cache("v2-simple");
	copy("cache.img", "cache.new");
	copy("backing.img", "backing.new");
	expect(0, "wb-flush-dirty -q -y --force=pair --undo=undo.new cache.img backing.img");
	copy("cache.img", "cache.done");
	copy("backing.img", "backing.done");
	shell("mkdir b c && head -c 5M /dev/zero | tr '\\0' v >victim.img && cp victim.img victim.before");
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		for (unsigned side = 0; side < 2; side++)
			for (unsigned at = 0, last = 1; at <= last; at++) {
				bool undoes = has(commands[i], "wb-undo");

				shell("set -e; rm -f undo; for d in b c; do ln -sfn ../victim.img $d/then; done; "
				      "ln -sfn ../backing.img b/now; ln -sfn ../cache.img c/now; cp --sparse=always cache.%s cache.img; cp --sparse=always backing.%s backing.img; "
				      "cp undo.new undo.of",
				      undoes ? "done" : "new", undoes ? "done" : "new");
				swap_at_read(at, side ? "b/now" : "c/now", side ? "b/then" : "c/then");
				run("%s", commands[i]);
				last = at ? last : reads() < 8 ? reads() : 8;
				swap_at_read(0, NULL, NULL);
				if (!same("victim.img", "victim.before"))
					fail_msg("%s: read %u of side %u: the victim was written to", commands[i], at, side);
				if (undoes && at && status == 8) /* the undo file is read before names are followed */
					continue;
				if (status)
					fail_msg("%s: read %u of side %u: exit %d: %s", commands[i], at, side, status, words);
				if (has(commands[i], "flush") && !(same("backing.img", "backing.done") && size_of_file("cache.img") == size_of_file("cache.done")))
					fail_msg("%s: read %u of side %u: BACKING is not as it should be", commands[i], at, side);
				if (undoes && !(same("backing.img", "backing.new") && same("cache.img", "cache.new")))
					fail_msg("%s: read %u of side %u: not all is as it was", commands[i], at, side);
			}
}

static void json_alone_is_json_alone_with_verdict_next_step_and_devices(void **state)
{
	static const char *const commands[] = { "wb-check", "wb-flush-dirty -n", "wb-dump" };

	(void)state;
	make_cache("v2-simple");
	for (unsigned i = 0; i < 3; i++) {
		expect(0, "%s --json cache.img backing.img", commands[i]);
		assert_string_equal(words, "");
		for (char *line = out; *line; line = strchr(line, '\n') + 1)
			assert_int_equal(*line, '{');
		assert_string_equal(field("cache"), "cache.img");
		assert_string_equal(field("backing"), "backing.img");
		assert_true(has(field("next"), "wb-flush-dirty"));
		if (i != 1)
			assert_true(strlen(field("verdict")) > 10);
		expect(0, "%s --json -v cache.img backing.img", commands[i]);
		assert_true(strlen(words) > 10);
	}
	expect(0, "wb-check --json cache.img");
	assert_string_equal(field("dirty_exact"), "false");
	expect(0, "wb-check --json cache.img backing.img");
	assert_string_equal(field("dirty_exact"), "true");
}

static void options_that_mean_nothing_are_not_offered_and_the_nearest_is_named(void **state)
{
	static const struct { const char *command, *says; } rows[] = {
		{ "wb-undo --slots=3 x", "unknown option" },          { "wb-undo --jobs=2 x", "unknown option" },
		{ "wb-format --generation=v2 x", "unknown option" },  { "wb-dump -y x", "unknown option" },
		{ "wb-dump --force=pair x", "unknown option" },       { "wb-flush-dirty --polcy=strict a b", "did you mean --policy?" },
		{ "wb-flush-dirty --hlep a b", "did you mean --help?" },
		{ "wb-check --repiar x", "did you mean --repair?" },  { "wb-check --meta x", "did you mean --metadata-only?" },
		{ "wb-check --json=1 x", "does not take an argument" }, { "wb-check -n x", "--dry-run is for --repair" },
		{ "wb-check --start=-0 x", "the first byte is 0" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		expect(16, "%s", rows[i].command);
		if (!has(words, rows[i].says))
			fail_msg("%s: %s", rows[i].command, words);
	}
}

static void repair_n_says_what_would_be_changed_and_exits_like_the_repair(void **state)
{
	static const char *const sets[] = { "v1-magic-bit", "v2-record-garbage", "v2-torn-head", "v2-rotten-data-bit", "v2-simple" };

	(void)state;
	for (unsigned i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		make_cache(sets[i]);
		copy("cache.img", "before.img");
		run("wb-check -n --repair --find-bitflip cache.img");
		int predicted = status;

		assert_true(same("cache.img", "before.img"));
		run("wb-check -y --repair --find-bitflip cache.img");
		if (status != predicted)
			fail_msg("%s: -n exits %d, the repair %d", sets[i], predicted, status);
	}
}

static void a_number_of_slots_that_leaves_whole_segments_out_is_damage_and_no_step_repeats_it(void **state)
{
	(void)state;
	make_cache_of("slots 8\nbacking 65536\nrange 1 12 blocks 2 seed 1 span 64\n");
	expect(4, "wb-check --slots=4 cache.img backing.img");
	assert_true(has(out, "the geometry is wrong"));
	assert_true(has(out, "resized"));
	assert_true(has(out, "wb-check cache.img backing.img"));
	expect(4, "wb-flush-dirty -n --slots=4 cache.img backing.img");
	assert_true(has(out, "wb-check cache.img backing.img"));
	expect(0, "wb-check cache.img backing.img");
}

/* A log that is not there as the options have it is not empty. */
static void options_that_hide_whole_segments_end_no_log(void **state)
{
	static const char six[] = "generation v2\nslots 6\nbacking 65536\nrange 1 9 blocks 4 seed 1 span 4096\n",
			  eight[] = "generation v2\nslots 8\nbacking 65536\nrange 1 20 blocks 4 seed 1 span 4096\n",
			  one[] = "generation v2\nslots 2\nbacking 65536\nrange 1 1 blocks 4 seed 1 span 4096\n",
			  old[] = "generation v0\norder 5\nslots 6\nbacking 65536\nrange 1 9 blocks 2 seed 1 span 4096\n";
	static const char as_v2[] = "--generation=v2 --order=10 ", as_v0[] = "--generation=v0 --order=5 ";
	static const struct { const char *image, *options, *next; } cases[] = {
		{ six, "--order=7 ", as_v2 },			 { six, "--generation=v1 --order=7 ", as_v2 },
		{ six, "--generation=v0 --order=5 --slots=3 ", as_v2 },
		{ one, "--generation=v0 --order=10 ", as_v2 },	 { old, "--order=6 ", as_v0 },
		{ eight, "--size=3M ", "" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make_cache_of(cases[i].image);
		copy("cache.img", "before.img");
		expect(4, "wb-check --require-clean %scache.img", cases[i].options);
		if (!has(out, text("next        wb-check --require-clean %scache.img\n", cases[i].next)))
			fail_msg("%s: %s", cases[i].options, out);
		expect(4, "wb-flush-dirty -y %scache.img backing.img", cases[i].options);
		assert_true(same("cache.img", "before.img"));
		if (!has(out, *cases[i].next ? text("next        wb-flush-dirty --yes -n %scache.img", cases[i].next) :
					       "next        wb-check cache.img"))
			fail_msg("%s: %s", cases[i].options, out);
		run("wb-flush-dirty -y --policy=salvage --force=stateless %scache.img backing.img", cases[i].options);
		assert_true(status & 4 && same("cache.img", "before.img"));
	}
}

/* The next partition is another cache, or none. */
static void a_cache_behind_the_part_is_none_of_its_own(void **state)
{
	size_t bytes, more;

	(void)state;
	make_cache_of("slots 6\nbacking 65536\nrange 1 26 blocks 4 seed 2 span 4096\n");
	char *second = load("cache.img", &more);

	for (unsigned newest = 3; newest < 16; newest += 3) {
		make_cache_of(text("slots 6\nbacking 65536\nrange 1 %u blocks 4 seed 1 span 4096\n", newest));
		char *first = load("cache.img", &bytes);

		put("cache.img", (int64_t)bytes, second, more);
		expect(0, "wb-flush-dirty -y --start=0 --size=%zu cache.img backing.img", bytes);
		free(first);
	}
	free(second);
}

/* Every segment writes the same block, and of 7 no more than the header landed: what BACKING has of 4 may be 7's. With another
 * block that is not on BACKING it is not. */
static void what_may_be_of_an_older_segment_is_not_said_to_be_newer(void **state)
{
	(void)state;
	for (unsigned other = 0; other < 2; other++) {
		make_cache_of(text("slots 3\nbacking 65536\nsegment 4\nblock 8 ff\nsegment 5\nblock 8 ff\nsegment 6\nblock 8 ff\n%s"
				   "writeback-segment 4\nsegment 7\nblock 8 ff\nlost 1 15\n", other ? "block 16 ff\n" : ""));
		run("wb-flush-dirty -n --policy=prefix cache.img backing.img");
		assert_int_equal(status, other ? 0 : 4);
		assert_int_equal(has(words, "BACKING may hold newer data than what would be written"), !other);
		run("wb-flush-dirty -n cache.img backing.img");
		assert_int_equal(status, other ? 0 : 4);
		assert_int_equal(has(words, "--policy=prefix would refuse too: BACKING may hold newer data"), !other);
		assert_false(has(words, "already holds"));
	}
}

static void until_id_0_is_not_advised(void **state)
{
	(void)state;
	make_cache_of("generation v0\norder 5\nslots 6\nbacking 65536\nrange 1 1 blocks 2 seed 1 span 64\n");
	expect(0, "wb-flush-dirty -n cache.img backing.img");
	assert_true(has(words, "may be torn unnoticed"));
	assert_false(has(words, "--until-id"));
	run("wb-flush-dirty -n --until-id=0 cache.img backing.img"); /* what is left out is not warned of */
	assert_false(has(words, "may be torn unnoticed"));
	make_cache("v0-wrapped");
	run("wb-flush-dirty -n --until-id=8 cache.img backing.img");
	assert_false(has(words, "may be torn unnoticed"));
}

/* A DOS partition table of one entry, and its signature. */
static void put_partition(const char *path, uint32_t first, uint32_t count)
{
	const uint8_t entry[64] = { 0, 0, 2, 0, 0x83, 0, 2, 0, (uint8_t)first, (uint8_t)(first >> 8), 0, 0, (uint8_t)count,
				  (uint8_t)(count >> 8), 0, 0 };

	put(path, 446, entry, sizeof(entry));
	put(path, 510, "\x55\xaa", 2);
}

static void of_a_whole_disk_as_backing_the_partition_that_is_proven_is_named(void **state)
{
	static const char log[] = "slots 6\nbacking 16384\nsegment 1\nblock 800 ff\nrange 2 5 blocks 16 seed 1 span 2000\nwriteback 4\n";
	size_t bytes;

	(void)state;
	make_cache_of(log);
	char *image = load("backing.img", &bytes);

	put("a disk.img", 0, "", 1);
	put("a disk.img", 2048 * 512, image, bytes);
	free(image);
	resize("a disk.img", 2048 * 512 + (int64_t)bytes + (1 << 20));
	put_partition("a disk.img", 2048, 16384);
	expect(4, "wb-check -q cache.img a\1disk.img");
	assert_true(has(out, "verdict     BACKING is a whole disk, and partition 1 of its dos partition table, from byte 1048576 on, is the "
			     "backing device of this cache: attach the image with losetup --find --show --partscan 'a disk.img', and give "
			     "/dev/loopNp1"));
	expect(8, "wb-flush-dirty -n cache.img a\1disk.img");
	expect(8, "wb-flush-dirty -y cache.img a\1disk.img");
	assert_true(has(words, "partition 1 of its dos") && has(words, "--force=signature overrides this"));
	expect(0, "wb-dump --list-dirty cache.img a\1disk.img");
	assert_true(has(words, "BACKING is a whole disk, and partition 1 "));
	expect(0, "wb-flush-dirty -n --force=signature cache.img a\1disk.img");
	/* the cache of a whole disk with partitions in it */
	put_partition("backing.img", 2048, 4096);
	expect(0, "wb-check cache.img backing.img");
	assert_true(has(out, "backing     backing.img, 8.0 MiB, dos partition table\npair        proven: "));
	expect(0, "wb-flush-dirty -n cache.img backing.img");
}

/* Nothing dirty in the log: BACKING is not written to, whichever it is. */
static void unproven_pair_with_nothing_to_write_is_no_refusal(void **state)
{
	(void)state;
	make_cache_of("slots 6\nbacking 65536\nsegment 1\nblock 8 00\nblock 16 00\nsegment 2\nblock 24 00\n");
	copy("backing.img", "before.img");
	expect(0, "wb-flush-dirty cache.img backing.img");
	assert_true(has(out, "pair        unproven") && !has(words, "--yes"));
	assert_true(same("backing.img", "before.img"));
	make_cache("v2-formatted");
	expect(0, "wb-flush-dirty cache.img backing.img");
	make_cache("v2-simple");
	expect(8, "wb-flush-dirty cache.img backing.img");
	assert_true(has(words, "--yes"));
}

static void record_missing_says_what_each_choice_would_write_and_how_to_decide(void **state)
{
	static const char *const said[] = {
		"says that segments up to 12 were written back; the newest one here is 9",
		"If the disk was used after these segments were written, trust the record. If only the record is damaged, ignore it",
		"on BACKING already, and ",
		"--trust-record: if the disk is newer; it would write nothing",
		"--ignore-record: if the record is wrong; it would write 6 segments (4 to 9), up to 53 sectors",
	};

	(void)state;
	make_cache("v2-record-missing");
	expect(4, "wb-flush-dirty cache.img backing.img");
	for (size_t i = 0; i < sizeof(said) / sizeof(*said); i++)
		if (!has(words, said[i]))
			fail_msg("not said: %s\n%s", said[i], words);
	assert_true(has(out, "next        wb-flush-dirty -n --trust-record cache.img backing.img\n            if the disk is newer; it would"));
	assert_true(has(out, "next        wb-flush-dirty -n --ignore-record cache.img backing.img\n            if the record is wrong; it"));
	make_cache("v0-record-missing"); /* of v0 nothing below the record is replayed */
	expect(4, "wb-flush-dirty cache.img backing.img");
	assert_true(has(words, "--trust-record: if the disk is newer; it would write nothing"));
	assert_true(has(words, "--ignore-record: if the record is wrong; it would write 5 segments (5 to 9)"));
}

static void control_characters_in_names_reach_no_terminal(void **state)
{
	static const char *const evil = "x\n\033[31m\302\233\342\200\256\377y.img";

	(void)state;
	make_cache("v2-simple");
	assert_int_equal(rename("cache.img", evil), 0);
	for (unsigned json = 0; json < 2; json++) {
		expect(0, "wb-check%s %s backing.img", json ? " --json" : "", evil);
		assert_false(has(out, "\033") || has(out, "\302\233") || has(out, "\342\200\256") || has(out, "\377"));
		if (!json)
			assert_true(has(out, "next        wb-flush-dirty -n $'x\\012\\033[31m\\302\\233\\342\\200\\256\\377y.img' backing.img"));
		expect(8, "wb-check%s %s- backing.img", json ? " --json" : "", evil);
		assert_false(has(words, "\033") || has(words, "\302\233") || has(words, "\342\200\256") || has(words, "\377"));
	}
}

/* Names that other people give: control characters, C1 as UTF-8 and raw, DEL, marks of direction, what takes no room, a line of its own. */
static const char *const hostile[] = {
	"a\033[2K\033[31mred", "b\nINJECTED=1", "c\302\23331mred", "d\23331mred", "e\177f", "g\342\200\256gnp.exe", "h\342\201\246x", "i\rINJECTED",
	"k\300\200\355\240\200\377", "l\342\200\213m\357\273\277n", "o\363\240\201\201p", "q\342\200\250INJECTED", "\330\234r\tt",
};

static unsigned char_length(const unsigned char *p)
{
	static const struct { unsigned char first, mask; unsigned length; } kinds[] = {
		{ 0x00, 0x80, 1 }, { 0xc0, 0xe0, 2 }, { 0xe0, 0xf0, 3 }, { 0xf0, 0xf8, 4 } };

	for (size_t i = 0; i < 4; i++)
		if ((*p & kinds[i].mask) == kinds[i].first)
			return kinds[i].length;
	return 0;
}

/* Lines of text, and nothing that a terminal obeys or hides: looked at here without what the commands look with. */
static void assert_plain(const char *what, const char *said)
{
	static const char *const parts[] = { "\302\233", "\342\200\256", "\342\201\246", "\342\200\213", "\342\200\250", "\357\273\277",
					     "\330\234", "\363\240", "\nINJECTED", "\rINJECTED" };

	for (const unsigned char *p = (const unsigned char *)said; *p;) {
		unsigned length = char_length(p);

		if ((*p < ' ' && *p != '\n') || *p == 0x7f || !length)
			fail_msg("%s: byte %02x in: %s", what, *p, said);
		for (unsigned i = 1; i < length; i++)
			if ((p[i] & 0xc0) != 0x80)
				fail_msg("%s: byte %02x in: %s", what, *p, said);
		p += length;
	}
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (has(said, parts[i]))
			fail_msg("%s: part %zu in: %s", what, i, said);
}

static void plain(const char *command, const char *name)
{
	run(command, name, name, name, name, name);
	assert_plain(command, out);
	assert_plain(command, words);
}

static void plain_file(const char *name)
{
	size_t size;
	char *bytes = load(name, &size);

	assert_plain("a file", bytes);
	free(bytes);
}

/* %s: the name; b%s: BACKING, u%s an undo file, s%s a state, r%s a report, f%s a map, p%s a pack */
static const char *const commands[] = {
	"wb-check -v %s b%s", "wb-check --json %s b%s", "wb-check -v --explain-kernel %s", "wb-check --find-bitflip %s", "wb-check %s- b%s", "wb-check %s %s",
	"wb-check --repair -n --undo=%s- %s", "wb-check --nosuch%s x", "wb-check --json --nosuch%s x", "wb-check --generation=%s x", "wb-check --order=%s x",
	"wb-check --slots=%s x", "wb-check --start=%s x", "wb-check --jobs=%s x", "wb-check --progress=%s x", "wb-check --memory=%s x x", "wb-check a b %s",
	"wb-flush-dirty --force=%s x x", "wb-flush-dirty --policy=%s x x", "wb-flush-dirty --until-id=%s x x", "wb-flush-dirty --json --cache-map=%s x x",
	"wb-flush-dirty -n %s b%s", "wb-flush-dirty -n --json %s b%s", "wb-flush-dirty -n --cache-map=hostile.map %s b%s", "wb-flush-dirty -n %s b%s-",
	"wb-dump -v %s", "wb-dump --json %s", "wb-dump --superblock --segments --metablocks %s", "wb-dump --map %s", "wb-dump --output=%s --segments x",
	"wb-dump --sector=%s x", "wb-dump --list-dirty --policy=salvage --domain-map=m%s %s", "wb-dump --svg=v%s %s", "wb-dump --pack=p%s %s", "wb-dump --pack=p%s %s",
	"wb-dump -v p%s", "wb-check -v p%s", "wb-dump --unpack=i%s p%s", "wb-dump --json --unpack=i%s p%s", "wb-dump --data=%s x", "wb-format -n %s",
	"wb-format --json -n %s", "wb-format --type=%s x", "wb-format --reset --backing=b%s --undo=%s- %s", "wb-flush-dirty -y --keep --policy=salvage --undo=u%s --state=s%s --report=r%s %s b%s",
	"wb-flush-dirty -y --keep --undo=u%s --state=s%s %s %s-", "wb-flush-dirty -y --undo=u%s other.img b%s", "wb-flush-dirty -y --state=s%s %s other.img",
	"wb-undo -n u%s", "wb-undo -n --json u%s", "wb-undo u%s %s- %s-", "wb-undo u%s other.img %s", "wb-undo -y u%s", "wb-undo %s", "wb-undo %s-",
	"wb-flush-dirty -y --failed=%s --undo=%s %s b%s", "wb-flush-dirty -y --keep --verify --json %s b%s", "wb-flush-dirty -y --report=t%s %s b%s",
};

static void hostile_names_come_through_every_command_as_plain_text(void **state)
{
	(void)state;
	make_cache("v2-rotten-data-bit");
	copy("cache.img", "other.img");
	store("hostile.map", "# \033[31m\n0x0 0x0\n\302\233 1 \342\200\256\n", 24);
	for (size_t i = 0; i < sizeof(hostile) / sizeof(*hostile); i++) {
		copy("cache.img", hostile[i]);
		copy("backing.img", text("b%s", hostile[i]));
		for (size_t k = 0; k < sizeof(commands) / sizeof(*commands); k++)
			plain(commands[k], hostile[i]);
		plain_file(text("v%s", hostile[i]));
		plain_file(text("m%s", hostile[i]));
		plain_file(text("r%s", hostile[i]));
	}
}

/* Labels of others' file systems, in words and in JSON. */
static void hostile_labels_come_through_every_command_as_plain_text(void **state)
{
	(void)state;
	make_cache("v2-simple");
	if (system("mke2fs -q -F /dev/null 0 2>&1 | grep -q 'not found'") == 0)
		skip();
	for (size_t i = 0; i < sizeof(hostile) / sizeof(*hostile); i++) {
		char label[16] = "";

		strncpy(label, hostile[i], sizeof(label) - 1);
		shell("rm -f label.img; truncate -s 8M label.img; mke2fs -q -F label.img");
		put("label.img", 1024 + 120, label, sizeof(label));
		plain("wb-format -n label.img", "");
		assert_true(has(words, "ext2") || has(out, "ext2"));
		plain("wb-format -n --json label.img", "");
		assert_true(has(out, "ext2"));
		plain("wb-format -y label.img", "");
		plain("wb-flush-dirty -n cache.img label.img", "");
		plain("wb-flush-dirty -n --json cache.img label.img", "");
		plain("wb-check label.img", "");
		plain("wb-check -v cache.img label.img", "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		table_test(one_name_for_two_output_files_is_a_usage_error_before_anything_happens),
		table_test(fifos_and_devices_are_refused_as_files_and_not_waited_for),
		table_test(file_that_appears_in_the_meantime_is_not_overwritten),
		table_test(a_state_of_somebody_that_appears_in_the_meantime_is_not_replaced),
		table_test(files_that_commands_make_are_for_their_owner_alone),
		table_test(what_others_may_have_recorded_is_neither_believed_nor_continued),
		table_test(under_force_owner_nothing_is_written_but_to_what_is_named),
		table_test(wb_undo_shows_what_each_device_is_and_asks),
		table_test(names_that_lead_elsewhere_during_a_run_change_nothing),
		table_test(json_alone_is_json_alone_with_verdict_next_step_and_devices),
		table_test(options_that_mean_nothing_are_not_offered_and_the_nearest_is_named),
		table_test(repair_n_says_what_would_be_changed_and_exits_like_the_repair),
		table_test(a_number_of_slots_that_leaves_whole_segments_out_is_damage_and_no_step_repeats_it),
		table_test(options_that_hide_whole_segments_end_no_log),
		table_test(a_cache_behind_the_part_is_none_of_its_own),
		table_test(what_may_be_of_an_older_segment_is_not_said_to_be_newer),
		table_test(until_id_0_is_not_advised),
		table_test(of_a_whole_disk_as_backing_the_partition_that_is_proven_is_named),
		table_test(unproven_pair_with_nothing_to_write_is_no_refusal),
		table_test(record_missing_says_what_each_choice_would_write_and_how_to_decide),
		table_test(control_characters_in_names_reach_no_terminal),
		table_test(hostile_names_come_through_every_command_as_plain_text),
		table_test(hostile_labels_come_through_every_command_as_plain_text),
	};

	setenv("WB_IO", "threads", 1); /* whose reads are seen */
	return run_tables("table_files", tests, sizeof(tests) / sizeof(tests[0]));
}
