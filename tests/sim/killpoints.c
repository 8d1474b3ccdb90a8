/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * killpoints [-c] [-j JOBS] [-r ROW] [-k LEFT:CUT:SEED] COMMANDS TESTS - cuts the power of commands at every step
 *
 * A row of TESTS/sim/killpoints.rows names a pair of images and a command. The command runs once in peace; then, for
 * LEFT = 0, 1, 2, ... and every way a disk can lose its power, it runs until LEFT writes, flushes and steps of names (create,
 * rename, remove, sync of a directory) are done, and the power of all devices and output files goes with the next one. What
 * is left must be what the row's rule allows; a file that the command makes must be whole, or not there, and a report must
 * be right as far as it goes; the same command must come to the same end from there; and where it records with --undo,
 * wb-undo must give back the original, both from there and from that end. COMMANDS holds the test builds of the commands,
 * and mkcache.
 *
 * It shares nothing with the library: what a marker is stands here a second time.
 *
 *   -c  the rows marked `check` alone     -j  rows at once, default: the cores
 *   -r  that row alone                    -k  that cut of it alone; its files are kept
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, which POSIX has since 2024 */
#define _XOPEN_SOURCE 700
#define _FILE_OFFSET_BITS 64

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512u
#define BLOCK 4096u
#define ROWS 256
#define WORDS 32
#define TEXT 4000
#define RUN_SECONDS 120

enum { REFUSED = 8 }; /* the exit status of a command that met an error */

/* ---- rows ---- */

/* What may be seen after a cut; each sector is as found or final in all of them. */
enum rule {
	RULE_LAST,     /* sector 0 of CACHE, a marker or what makes the log valid, is written when all else is final */
	RULE_UNDO,     /* it is put back before anything else; the end is the image before the preparation */
	RULE_FORMAT,   /* old all over; or a marker in sector 0; or new all over */
	RULE_UNFORMAT, /* the same; the end is the image before the preparation */
	RULE_ANY,      /* nothing more */
};

static const char *const rule_names[] = { "last", "undo", "format", "unformat", "any", NULL };

struct command {
	char *settings[WORDS]; /* NAME=VALUE for the environment, NULL at the end */
	char *words[WORDS];    /* NULL at the end */
};

struct row {
	bool check;
	unsigned step;        /* every step-th kill point is one */
	enum rule rule;
	int status;
	char *set;
	struct command first; /* prepares; often none */
	struct command command;
	char *text;           /* of both, as in the file */
};

/* What a row's process tells the parent. */
struct result {
	bool done, failed;
	uint64_t writes, flushes, names, points, cuts, states, runs;
	double seconds;
	char text[TEXT];
};

static struct row rows[ROWS];
static int row_count;
static const char *commands, *tests; /* absolute paths */
static struct cut {
	uint64_t left;
	unsigned mode;
	uint64_t seed;
} only;
static bool only_one;

/* ---- the row at work ---- */

enum { CACHE, BACKING, DISKS };

struct disk {
	const char *name;
	int fd;
	size_t size;
	const uint8_t *file; /* mapped */
	uint8_t *now;        /* what it held when it was looked at last */
	uint8_t *found, *final;
	bool *differs;       /* for each block: `now` is not as `found` */
	bool *changes;       /* for each block: `final` is not as `found` */
};

static struct disk disks[DISKS] = { { .name = "cache.img" }, { .name = "backing.img" } };

/* What commands write next to their devices, and continue; and the pack that a row unpacks. */
static const char *const file_names[] = { "undo", "state", "pack" };
#define FILES (sizeof(file_names) / sizeof(file_names[0]))
enum { UNDO, STATE };

/* What they make new each time: a whole file, and one that may end early. */
static const char *const output_names[] = { "output", "report" };
enum { OUTPUT, REPORT, OUTPUTS };

struct file {
	bool exists;
	uint8_t *bytes;
	size_t size;
};

/* Everything that a command leaves behind, as far as it matters. */
struct state {
	uint8_t *is_final[DISKS]; /* for each sector: 1 when it holds what it does not hold in `found`, but in `final` */
	uint8_t head[SECTOR];     /* sector 0 of CACHE */
	struct file files[FILES];
	unsigned leftovers;
};

enum head { HEAD_FOUND, HEAD_FINAL, HEAD_MARKER };

static struct row *row;
static struct result *result;
static struct state start;
static uint8_t *original[DISKS], *prepared[DISKS]; /* before the preparation; what it leaves when it is not cut */
static int status_again;                           /* of the command, when there is nothing left to do */
static bool with_undo, with_state;
static bool makes[OUTPUTS];
static struct file made[OUTPUTS];                  /* by a run without a cut */
static int out_fd, counts_fd;
static bool was_cut;
static char *report_of_found; /* wb-check's, for RULE_FORMAT */
static char trail[256];       /* what has been done since the start */

static void *allocate(size_t size)
{
	void *memory = calloc(1, size ? size : 1);

	if (!memory) {
		perror("killpoints");
		exit(2);
	}
	return memory;
}

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
	char *text = result->text;
	va_list args;
	size_t used;

	used = (size_t)snprintf(text, TEXT, "%s: ", *trail ? trail : "without a cut");
	va_start(args, format);
	used += (size_t)vsnprintf(text + used, TEXT - used, format, args);
	va_end(args);
	if (used + 2 < TEXT) {
		text[used++] = '\n';
		ssize_t n = pread(out_fd, text + used, TEXT - used - 1, 0);

		text[used + (n > 0 ? (size_t)n : 0)] = '\0';
	}
	result->failed = true;
	exit(1);
}

/* trail_at(trail_length) takes back what was added since. */
static size_t trail_add(const char *format, ...)
{
	size_t length = strlen(trail);
	va_list args;

	snprintf(trail + length, sizeof(trail) - length, "%s", length ? ", then " : "");
	va_start(args, format);
	vsnprintf(trail + strlen(trail), sizeof(trail) - strlen(trail), format, args);
	va_end(args);
	return length;
}

/* ---- running commands ---- */

extern char **environ;
static pid_t child;

static void on_alarm(int number)
{
	(void)number;
	kill(child, SIGKILL);
}

static int spawn(const char *path, char *const *words)
{
	posix_spawn_file_actions_t actions;
	int status, failed;

	if (ftruncate(out_fd, 0) || ftruncate(counts_fd, 0))
		fail("ftruncate: %s", strerror(errno));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
	posix_spawn_file_actions_adddup2(&actions, out_fd, 2);
	failed = posix_spawnp(&child, path, &actions, NULL, words, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (failed)
		fail("%s: %s", path, strerror(failed));
	alarm(RUN_SECONDS);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid: %s", strerror(errno));
	alarm(0);
	result->runs++;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void set(const char *name, const char *value)
{
	if (value ? setenv(name, value, 1) : unsetenv(name))
		fail("%s: %s", name, strerror(errno));
}

/* Of test settings that the row gives, WB_TEST_POWER is the preparation's alone. */
static void apply_settings(const struct command *command, bool wanted)
{
	char name[64];

	for (char *const *setting = command->settings; *setting; setting++) {
		const char *value = strchr(*setting, '=') + 1;

		snprintf(name, sizeof(name), "%.*s", (int)(value - 1 - *setting), *setting);
		set(name, wanted ? value : NULL);
	}
}

static void read_counts(void)
{
	char text[128] = "";
	int dead = 0;

	if (pread(counts_fd, text, sizeof(text) - 1, 0) <= 0 ||
	    sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %d", &result->writes, &result->flushes, &result->names,
		   &dead) != 4)
		dead = 0;
	was_cut = dead;
}

/* The exit status; was_cut tells whether the power went. */
static int run_settings(const struct command *command, const struct cut *cut, bool settings)
{
	char power[64], path[4096];

	if (cut)
		snprintf(power, sizeof(power), "%" PRIu64 ":%u:%" PRIu64, cut->left, cut->mode, cut->seed);
	set("WB_TEST_POWER", cut ? power : NULL);
	apply_settings(command, settings);
	snprintf(path, sizeof(path), "%s/%s", commands, command->words[0]);
	int status = spawn(path, command->words);

	apply_settings(command, false);
	set("WB_TEST_POWER", NULL);
	read_counts();
	return status;
}

static int run(const struct command *command, const struct cut *cut)
{
	return run_settings(command, cut, true);
}

static char *output(void)
{
	off_t size = lseek(out_fd, 0, SEEK_END);
	char *text = allocate((size_t)size + 1);

	if (pread(out_fd, text, (size_t)size, 0) != size)
		fail("the output cannot be read");
	return text;
}

/* ---- disks ---- */

static size_t sectors_of(const struct disk *disk)
{
	return (disk->size + SECTOR - 1) / SECTOR;
}

static size_t length_at(const struct disk *disk, size_t offset, size_t unit)
{
	return disk->size - offset < unit ? disk->size - offset : unit;
}

static size_t blocks_of(const struct disk *disk)
{
	return (disk->size + BLOCK - 1) / BLOCK;
}

static bool equal_at(const struct disk *disk, size_t block, const uint8_t *a, const uint8_t *b)
{
	return !memcmp(a + block * BLOCK, b + block * BLOCK, length_at(disk, block * BLOCK, BLOCK));
}

static void settle_time(const struct disk *disk)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 0 } };

	if (futimens(disk->fd, times))
		fail("%s: %s", disk->name, strerror(errno));
}

/* Looks at what the file holds. One whose time is still what we set it to has not been written. */
static void load(struct disk *disk)
{
	struct stat st;

	if (fstat(disk->fd, &st))
		fail("%s: %s", disk->name, strerror(errno));
	if ((size_t)st.st_size != disk->size)
		fail("the size of %s changed from %zu to %zu", disk->name, disk->size, (size_t)st.st_size);
	if (!st.st_mtim.tv_sec)
		return;
	for (size_t block = 0; block < blocks_of(disk); block++)
		if (!equal_at(disk, block, disk->now, disk->file)) {
			memcpy(disk->now + block * BLOCK, disk->file + block * BLOCK, length_at(disk, block * BLOCK, BLOCK));
			disk->differs[block] = !disk->found || !equal_at(disk, block, disk->now, disk->found);
		}
	settle_time(disk);
}

/* The disk has been looked at. */
static void put(struct disk *disk, size_t at, const uint8_t *bytes, size_t length)
{
	if (!memcmp(disk->now + at, bytes, length))
		return;
	if (pwrite(disk->fd, bytes, length, (off_t)at) != (ssize_t)length)
		fail("%s cannot be written", disk->name);
	memcpy(disk->now + at, bytes, length);
	disk->differs[at / BLOCK] = !disk->found || !equal_at(disk, at / BLOCK, disk->now, disk->found);
}

static void put_images(uint8_t *const images[DISKS])
{
	for (struct disk *disk = disks; disk < disks + DISKS; disk++) {
		load(disk);
		for (size_t at = 0; at < disk->size; at += BLOCK)
			put(disk, at, images[disk - disks] + at, length_at(disk, at, BLOCK));
		settle_time(disk);
	}
}

static void copy_images(uint8_t *to[DISKS])
{
	for (int i = 0; i < DISKS; i++) {
		load(&disks[i]);
		to[i] = to[i] ? to[i] : allocate(disks[i].size);
		memcpy(to[i], disks[i].now, disks[i].size);
	}
}

static void set_found(uint8_t *const found[DISKS])
{
	for (struct disk *disk = disks; disk < disks + DISKS; disk++) {
		disk->found = found[disk - disks];
		for (size_t block = 0; block < blocks_of(disk); block++)
			disk->differs[block] = !equal_at(disk, block, disk->now, disk->found);
	}
}

static void set_final(uint8_t *const final[DISKS])
{
	for (struct disk *disk = disks; disk < disks + DISKS; disk++) {
		disk->final = final[disk - disks];
		for (size_t block = 0; block < blocks_of(disk); block++)
			disk->changes[block] = !equal_at(disk, block, disk->found, disk->final);
	}
}

/* ---- markers ---- */

enum { MARKER_TIME = 16, MARKER_TIME_END = 24, MARKER_CRC = 508 };

static uint32_t crc32c(const uint8_t *bytes, size_t size)
{
	uint32_t crc = ~0u;

	while (size--) {
		crc ^= *bytes++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static bool whole_marker(const uint8_t *sector)
{
	uint32_t crc = crc32c(sector, MARKER_CRC);

	return !memcmp(sector, "WBen\0ed", 8) && sector[508] == (crc & 0xff) && sector[509] == (crc >> 8 & 0xff) &&
	       sector[510] == (crc >> 16 & 0xff) && sector[511] == crc >> 24;
}

/* Equal, or markers that tell the same of another moment. */
static bool same_head(const uint8_t *a, const uint8_t *b)
{
	if (!memcmp(a, b, SECTOR))
		return true;
	return whole_marker(a) && whole_marker(b) && !memcmp(a, b, MARKER_TIME) &&
	       !memcmp(a + MARKER_TIME_END, b + MARKER_TIME_END, MARKER_CRC - MARKER_TIME_END);
}

/* ---- files ---- */

static void forget_file(struct file *file)
{
	free(file->bytes);
	*file = (struct file){ .exists = false };
}

static void take_file(struct file *file, const char *name)
{
	struct stat st;
	int fd = open(name, O_RDONLY);

	forget_file(file);
	if (fd < 0)
		return;
	if (fstat(fd, &st))
		fail("%s: %s", name, strerror(errno));
	file->exists = true;
	file->size = (size_t)st.st_size;
	file->bytes = allocate(file->size + 1);
	if (read(fd, file->bytes, file->size) != st.st_size)
		fail("%s cannot be read", name);
	close(fd);
}

static void put_file(const struct file *file, const char *name)
{
	if (!file->exists) {
		unlink(name);
		return;
	}
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0666);

	if (fd < 0 || write(fd, file->bytes, file->size) != (ssize_t)file->size || close(fd))
		fail("%s cannot be written", name);
}

/* What is there already is refused: the next run gets new names. */
static void remove_outputs(void)
{
	for (size_t i = 0; i < OUTPUTS; i++)
		unlink(output_names[i]);
}

/* How many files never got their name. */
static unsigned leftovers(bool remove)
{
	DIR *here = opendir(".");
	unsigned count = 0;

	for (struct dirent *entry; here && (entry = readdir(here));)
		if (strstr(entry->d_name, ".new-")) {
			count++;
			if (remove)
				unlink(entry->d_name);
		}
	if (!here || closedir(here))
		fail("the directory cannot be read");
	return count;
}

/* Behind what every run has of its own: the hour, the seconds and memory that it takes, the random id in the undo file. */
static const char *skip_time(const char *at)
{
	static const char *const keys[] = { "\"time\":", "\"seconds\":", "\"peak_memory\":", "\"device\":\"undo\",\"sha256\":\"" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!strncmp(at, keys[i], strlen(keys[i])))
			return at + strlen(keys[i]) + strspn(at + strlen(keys[i]), "0123456789.abcdef");
	return at;
}

/* Every line of the file is that of the run without a cut, up to one that is not whole: without its end, or with holes. */
static void expect_lines(const struct file *file, const struct file *want)
{
	const char *at = (const char *)file->bytes, *should = (const char *)want->bytes;

	for (const char *end; (end = strchr(at, '\n')); at = end + 1, should++) {
		while (at < end && *at == *should) {
			const char *behind = skip_time(at);

			should = behind == at ? should + 1 : skip_time(should);
			at = behind == at ? at + 1 : behind;
		}
		if (at != end || *should != '\n')
			fail("the report is not that of a run without a cut at \"%.60s\"", at);
	}
}

/* done: the run said that it was; whole: it was all of it, and its files are those of a run without a cut. */
static void expect_outputs(bool done, bool whole)
{
	for (size_t i = 0; i < OUTPUTS; i++) {
		struct file file = { .exists = false };

		if (!makes[i])
			continue;
		take_file(&file, output_names[i]);
		if (done && !file.exists && (whole || i == REPORT))
			fail("%s is not there", output_names[i]);
		if (i == OUTPUT && file.exists && whole &&
		    (file.size != made[i].size || memcmp(file.bytes, made[i].bytes, file.size)))
			fail("%s is not that of a run without a cut", output_names[i]);
		if (i == REPORT && file.exists && whole)
			expect_lines(&file, &made[i]);
		if (i == REPORT && done && (!file.size || file.bytes[file.size - 1] != '\n' ||
					    !strstr((char *)file.bytes, "\"type\":\"summary\"")))
			fail("the report has no summary");
		forget_file(&file);
	}
}

/* ---- states ---- */

static void state_open(struct state *state)
{
	*state = (struct state){ .head = { 0 } };
	for (int i = 0; i < DISKS; i++)
		state->is_final[i] = allocate(sectors_of(&disks[i]));
}

static void state_close(struct state *state)
{
	for (int i = 0; i < DISKS; i++)
		free(state->is_final[i]);
	for (size_t i = 0; i < FILES; i++)
		forget_file(&state->files[i]);
}

static void take_files(struct state *state)
{
	for (size_t i = 0; i < FILES; i++)
		take_file(&state->files[i], file_names[i]);
}

/* Sector 0 of CACHE is looked at elsewhere. */
static void take_block(const struct disk *disk, uint8_t *is_final, size_t block)
{
	for (size_t at = block * BLOCK; at < disk->size && at < (block + 1) * BLOCK; at += SECTOR) {
		size_t length = length_at(disk, at, SECTOR);

		is_final[at / SECTOR] = memcmp(disk->now + at, disk->found + at, length) != 0;
		if (is_final[at / SECTOR] && (at || disk != &disks[CACHE]) && memcmp(disk->now + at, disk->final + at, length))
			fail("sector %zu of %s is neither as found nor final", at / SECTOR, disk->name);
	}
}

static void take(struct state *state)
{
	for (int i = 0; i < DISKS; i++) {
		load(&disks[i]);
		memset(state->is_final[i], 0, sectors_of(&disks[i]));
		for (size_t block = 0; block < blocks_of(&disks[i]); block++)
			if (disks[i].differs[block])
				take_block(&disks[i], state->is_final[i], block);
	}
	memcpy(state->head, disks[CACHE].now, SECTOR);
	take_files(state);
	state->leftovers = leftovers(false);
}

static void put_block(struct disk *disk, const struct state *state, size_t block)
{
	const uint8_t *is_final = state->is_final[disk - disks];

	for (size_t at = block * BLOCK; at < disk->size && at < (block + 1) * BLOCK; at += SECTOR)
		put(disk, at, !at && disk == &disks[CACHE] ? state->head :
		    (is_final[at / SECTOR] ? disk->final : disk->found) + at, length_at(disk, at, SECTOR));
}

static void put_state(const struct state *state)
{
	for (struct disk *disk = disks; disk < disks + DISKS; disk++) {
		load(disk);
		for (size_t block = 0; block < blocks_of(disk); block++)
			if (!block || disk->differs[block] || disk->changes[block])
				put_block(disk, state, block);
		settle_time(disk);
	}
	for (size_t i = 0; i < FILES; i++)
		put_file(&state->files[i], file_names[i]);
	remove_outputs();
}

static void expect_block(const struct disk *disk, const uint8_t *want, size_t block, bool exact, const char *what)
{
	for (size_t at = block * BLOCK; at < disk->size && at < (block + 1) * BLOCK; at += SECTOR)
		if (memcmp(disk->now + at, want + at, length_at(disk, at, SECTOR)) &&
		    (at || disk != &disks[CACHE] || exact || !same_head(disk->now, want)))
			fail("sector %zu of %s is not that of %s", at / SECTOR, disk->name, what);
}

/* exact: the time in a marker, too. */
static void expect_images(uint8_t *const want[DISKS], bool exact, const char *what)
{
	for (int i = 0; i < DISKS; i++) {
		load(&disks[i]);
		for (size_t block = 0; block < blocks_of(&disks[i]); block++)
			if (want[i] == disks[i].found ? disks[i].differs[block] :
			    want[i] != disks[i].final || disks[i].differs[block] || disks[i].changes[block])
				expect_block(&disks[i], want[i], block, exact, what);
	}
}

static void expect_found(const char *what)
{
	uint8_t *const want[] = { disks[CACHE].found, disks[BACKING].found };

	expect_images(want, true, what);
}

static bool undoes(void)
{
	return row->rule == RULE_UNDO || row->rule == RULE_UNFORMAT;
}

static bool formats(void)
{
	return row->rule == RULE_FORMAT || row->rule == RULE_UNFORMAT;
}

static bool writes_disks(void)
{
	for (const struct disk *disk = disks; disk < disks + DISKS; disk++)
		for (size_t block = 0; block < blocks_of(disk); block++)
			if (disk->changes[block])
				return true;
	return false;
}

static void expect_final(void)
{
	uint8_t *const want[] = { disks[CACHE].final, disks[BACKING].final };

	expect_images(want, undoes(), "the end of a run without a cut");
}

static void expect_status(int status, int want, const char *what)
{
	if (status != want)
		fail("%s exits %d, expected %d", what, status, want);
}

/* ---- what may be seen after a cut ---- */

/* Sectors that are final, or could be; sector 0 of CACHE apart. */
static void count_sectors(const struct state *state, uint64_t *final, uint64_t *left)
{
	*final = *left = 0;
	for (const struct disk *disk = disks; disk < disks + DISKS; disk++)
		for (size_t at = disk == &disks[CACHE] ? SECTOR : 0; at < disk->size; at += SECTOR) {
			bool is_final = state->is_final[disk - disks][at / SECTOR];

			*final += is_final;
			*left += !is_final && disk->changes[at / BLOCK] &&
				 memcmp(disk->found + at, disk->final + at, length_at(disk, at, SECTOR));
		}
}

static enum head head_of(const struct state *state, bool all_final)
{
	const uint8_t *found = disks[CACHE].found, *final = disks[CACHE].final;

	/* a new header is often the old one: then the rest decides */
	if (!memcmp(state->head, found, SECTOR) && !(all_final && same_head(found, final)))
		return HEAD_FOUND;
	if (same_head(state->head, final))
		return HEAD_FINAL;
	if (!formats() || !whole_marker(state->head))
		fail("sector 0 of %s is neither as found nor final, and no marker", disks[CACHE].name);
	return HEAD_MARKER;
}

static const struct command check = { .words = { "wb-check", "--json", "cache.img" } };

/* What wb-check makes of a format that was cut off. */
static void check_format(enum head head)
{
	int status = run(&check, NULL);
	char *text = output();

	if (head == HEAD_FOUND && strcmp(text, report_of_found) != 0)
		fail("wb-check reports something else than before");
	if (head != HEAD_FOUND)
		expect_status(status, 0, "wb-check");
	if (head == HEAD_MARKER && !strstr(text, "\"class\":\"format-interrupted\""))
		fail("wb-check does not see that a format was interrupted");
	if (head == HEAD_FINAL && (!strstr(text, "\"head\":0,") || !strstr(text, "\"findings\":0,")))
		fail("wb-check does not see an empty cache");
	free(text);
}

static void apply_rule(const struct state *state)
{
	bool keeps_head = same_head(disks[CACHE].found, disks[CACHE].final);
	uint64_t final, left;

	count_sectors(state, &final, &left);
	enum head head = head_of(state, !left);

	if (row->rule == RULE_LAST && head == HEAD_FINAL && !keeps_head && left)
		fail("the log is ended, and %" PRIu64 " sectors are not final", left);
	if (row->rule == RULE_UNDO && head == HEAD_FOUND && !keeps_head && final)
		fail("sector 0 is as before, and %" PRIu64 " sectors have been put back", final);
	if (formats() && head == HEAD_FOUND && final)
		fail("a superblock stands over %" PRIu64 " sectors that have been overwritten", final);
	if (formats() && head == HEAD_FINAL && left)
		fail("the new superblock stands over %" PRIu64 " old sectors", left);
	if (row->rule == RULE_FORMAT)
		check_format(head);
	if (with_undo && !state->files[UNDO].exists && (final || memcmp(state->head, disks[CACHE].found, SECTOR)))
		fail("%" PRIu64 " sectors were written and there is no --undo file", final);
	if (with_state && !state->files[STATE].exists && (final || memcmp(state->head, disks[CACHE].found, SECTOR)))
		fail("%" PRIu64 " sectors were written and there is no --state file", final);
}

/* ---- what must be possible from there ---- */

static const struct command undo = { .words = { "wb-undo", "-q", "-y", "undo" } };

static void undo_now(void)
{
	size_t length = trail_add("wb-undo");

	expect_status(run(&undo, NULL), 0, "wb-undo");
	expect_found("the image before");
	trail[length] = '\0';
}

static void resume_now(void)
{
	remove_outputs();
	int status = run(&row->command, NULL);

	if (status != status_again || status & REFUSED)
		expect_status(status, row->status, "it");
	expect_final();
	expect_outputs(true, !writes_disks());
}

static void run_first(bool settings)
{
	int status = run_settings(&row->first, NULL, settings);

	if (!settings && status & REFUSED)
		fail("%s exits %d", row->first.words[0], status);
}

static void undo_from(const struct state *state)
{
	if (!with_undo || !state->files[UNDO].exists)
		return;
	put_state(state);
	undo_now();
}

/* deep: after the undo everything once more. */
static void resume_from(const struct state *state, bool deep)
{
	size_t length = trail_add("run again");

	put_state(state);
	resume_now();
	if (with_undo)
		undo_now();
	if (with_undo && deep) {
		trail_add("wb-undo, run again");
		resume_now();
		undo_now();
	}
	trail[length] = '\0';
}

static bool has_word(const struct command *command, const char *start_of_word)
{
	for (char *const *word = command->words; *word; word++)
		if (!strncmp(*word, start_of_word, strlen(start_of_word)))
			return true;
	return false;
}

/* Whoever cuts wb-undo off may also change his mind. With damage a replay then sees what it wrote as evidence. */
static void prepare_again_from(const struct state *state)
{
	size_t length;

	if (!undoes() || has_word(&row->first, "--policy="))
		return;
	length = trail_add("the first command");
	put_state(state);
	run_first(false);
	expect_images(prepared, false, "its end without a cut");
	trail_add("run again");
	resume_now();
	trail[length] = '\0';
}

static bool try_cut(const struct state *from, const struct cut *cut, struct state *state)
{
	put_state(from);
	leftovers(true);
	/* what goes on has less to tell */
	bool whole = from == &start || !writes_disks();
	int status = run(&row->command, cut);

	result->cuts++;
	if (!was_cut) {
		if (status != status_again || status & REFUSED)
			expect_status(status, row->status, "it");
		expect_final();
		expect_outputs(true, whole);
		if (leftovers(false))
			fail("a file is left that never got its name");
		return false;
	}
	if (status >= 128)
		fail("it exits %d", status);
	take(state);
	apply_rule(state);
	/* the power may go when all is done and only a note of that is missing */
	if (!(status & REFUSED))
		expect_final();
	expect_outputs(!(status & REFUSED), whole);
	return true;
}

/* The run that goes on is cut, too. */
static void cut_again_from(const struct state *state)
{
	static unsigned turn;
	struct state second;
	bool more = true;

	state_open(&second);
	for (uint64_t left = 0; more; left += 1 + left) {
		const struct cut cut = { left, turn++ % 4, left };
		size_t length = trail_add("cut %" PRIu64 ":%u:%" PRIu64, cut.left, cut.mode, cut.seed);

		more = try_cut(state, &cut, &second);
		if (more) {
			undo_from(&second);
			resume_from(&second, false);
		}
		trail[length] = '\0';
	}
	state_close(&second);
}

/* ---- every cut ---- */

static uint64_t hash_more(uint64_t hash, const uint8_t *bytes, size_t size)
{
	while (size--)
		hash = (hash ^ *bytes++) * 0x100000001b3u;
	return hash;
}

static uint64_t hash_of(const struct state *state)
{
	uint8_t head[SECTOR];
	uint64_t hash = 0xcbf29ce484222325u;

	memcpy(head, state->head, SECTOR);
	if (whole_marker(head)) {
		memset(head + MARKER_TIME, 0, MARKER_TIME_END - MARKER_TIME);
		memset(head + MARKER_CRC, 0, SECTOR - MARKER_CRC);
	}
	hash = hash_more(hash, head, SECTOR);
	for (int i = 0; i < DISKS; i++)
		hash = hash_more(hash, state->is_final[i], sectors_of(&disks[i]));
	for (size_t i = 0; i < FILES; i++) {
		hash = hash_more(hash, (const uint8_t *)&state->files[i].size, sizeof(state->files[i].size));
		hash = hash_more(hash, state->files[i].bytes, state->files[i].size);
	}
	return hash_more(hash, (const uint8_t *)&state->leftovers, sizeof(state->leftovers));
}

/* Many cuts leave the same behind. */
static bool is_new(const struct state *state)
{
	static uint64_t *known;
	static size_t count;
	uint64_t hash = hash_of(state);

	for (size_t i = 0; i < count; i++)
		if (known[i] == hash)
			return false;
	if (!(count & (count + 1)) && !(known = realloc(known, (2 * count + 2) * sizeof(*known))))
		exit(2);
	known[count++] = hash;
	result->states++;
	return true;
}

/* Every so many states are gone on from in more ways. */
#define DEEP 13u

static bool cut_at(const struct cut *cut, struct state *state)
{
	size_t length = trail_add("cut %" PRIu64 ":%u:%" PRIu64, cut->left, cut->mode, cut->seed);
	bool cut_off = try_cut(&start, cut, state);

	if (cut_off && is_new(state)) {
		bool deep = only_one || result->states % DEEP == 1;

		undo_from(state);
		resume_from(state, deep);
		prepare_again_from(state);
		if (deep)
			cut_again_from(state);
	}
	trail[length] = '\0';
	return cut_off;
}

/* CUT and SEED of enum wb_cut: lost, kept, torn, reordered. */
static const struct cut ways[] = {
	{ .mode = 0 }, { .mode = 1 }, { .mode = 2, .seed = 1 }, { .mode = 2, .seed = 2 }, { .mode = 3, .seed = 1 },
	{ .mode = 3, .seed = 2 },
};

static void cut_everywhere(uint64_t steps)
{
	struct state state;

	state_open(&state);
	for (uint64_t left = 0; left < steps + row->step; left += row->step) {
		for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
			const struct cut cut = { left, ways[i].mode, ways[i].seed };

			if (cut_at(&cut, &state) != (left < steps))
				fail("a run takes %" PRIu64 " steps; after %" PRIu64 " the power %s", steps, left,
				     left < steps ? "could not be cut" : "could still be cut");
		}
		result->points += left < steps;
	}
	state_close(&state);
}

/* ---- a row ---- */

static void make_golden(const char *set_name)
{
	char archive[4096], decompress[] = "zstd -dc --long=27";
	char *const words[] = { "tar", "xf", archive, "-I", decompress, "--strip-components=1", "--wildcards",
				"*/cache.img", "*/backing.before.img", NULL };

	snprintf(archive, sizeof(archive), "%s/golden/%s.tar.zst", tests, set_name);
	expect_status(spawn(words[0], words), 0, "tar");
	if (rename("backing.before.img", "backing.img"))
		fail("%s holds no backing.before.img", archive);
	chmod("cache.img", 0600);
	chmod("backing.img", 0600);
}

static void make_fixture(const char *name)
{
	char program[4096], text[4096];
	char *const words[] = { "mkcache", text, "cache.img", "backing.img", NULL };

	snprintf(program, sizeof(program), "%s/mkcache", commands);
	snprintf(text, sizeof(text), "%s/fixtures/%s.wbt", tests, name);
	if (access(text, R_OK))
		snprintf(text, sizeof(text), "%s/sim/%s.wbt", tests, name);
	expect_status(spawn(program, words), 0, "mkcache");
	close(open("backing.img", O_WRONLY | O_CREAT, 0600)); /* not every fixture has one */
}

static void open_disks(void)
{
	for (struct disk *disk = disks; disk < disks + DISKS; disk++) {
		struct stat st;

		disk->fd = open(disk->name, O_RDWR | O_CLOEXEC);
		if (disk->fd < 0 || fstat(disk->fd, &st))
			fail("%s: %s", disk->name, strerror(errno));
		disk->size = (size_t)st.st_size;
		disk->now = allocate(disk->size);
		disk->differs = allocate(blocks_of(disk));
		disk->changes = allocate(blocks_of(disk));
		disk->file = disk->size ? mmap(NULL, disk->size, PROT_READ, MAP_SHARED, disk->fd, 0) : NULL;
		if (disk->file == MAP_FAILED)
			fail("%s: %s", disk->name, strerror(errno));
	}
}

/* found: the original, or what the preparation leaves. */
static void prepare(void)
{
	uint8_t *found[DISKS] = { NULL };

	copy_images(original);
	if (row->first.words[0]) {
		run_first(false);
		copy_images(prepared);
		for (size_t i = 0; i < FILES; i++)
			unlink(file_names[i]);
		put_images(original);
		run_first(true);
	}
	copy_images(found);
	set_found(found);
}

/* Runs without a cut: as installed commands do, with the row's settings, and a second time. */
static void take_reference(void)
{
	uint8_t *final[DISKS] = { NULL };

	expect_status(run_settings(&row->command, NULL, false), row->status, "it");
	copy_images(final);
	set_final(undoes() ? original : final);
	expect_final();
	put_state(&start);
	expect_status(run(&row->command, NULL), row->status, "it, with its settings,");
	for (size_t i = 0; i < OUTPUTS; i++)
		if (makes[i])
			take_file(&made[i], output_names[i]);
	uint64_t writes = result->writes, flushes = result->flushes, names = result->names;

	expect_final();
	expect_outputs(true, true);
	trail_add("run again");
	remove_outputs();
	status_again = run(&row->command, NULL);
	expect_final();
	trail[0] = '\0';
	result->writes = writes;
	result->flushes = flushes;
	result->names = names;
}

/* An option of it has this value. */
static bool makes_file(const char *name)
{
	for (char *const *word = row->command.words; *word; word++)
		if (strchr(*word, '=') && !strcmp(strchr(*word, '=') + 1, name))
			return true;
	return false;
}

static void open_output(void)
{
	char number[16];

	out_fd = open("out", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	counts_fd = open("counts", O_RDWR | O_CREAT | O_APPEND, 0600);
	snprintf(number, sizeof(number), "%d", counts_fd);
	set("WB_TEST_COUNTS", number);
	set("WB_TEST_REPEATABLE", "1");
	set("WB_IO", "threads"); /* a ring holds its locks for a moment when its program has ended */
	/* what this machine has mounted and mapped is nothing to these images, and takes time */
	set("WB_TEST_SYS", "nothing");
	set("WB_TEST_PROC", "nothing");
	set("WB_TEST_DEV", "nothing");
	signal(SIGALRM, on_alarm);
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Runs in a process and a directory of its own. */
static void run_row(void)
{
	double begun = seconds_now();

	open_output();
	if (strchr(row->set, '/'))
		make_golden(row->set);
	else
		make_fixture(row->set);
	open_disks();
	with_undo = has_word(&row->command, "--undo=");
	with_state = has_word(&row->command, "--state=");
	for (size_t i = 0; i < OUTPUTS; i++)
		makes[i] = makes_file(output_names[i]);
	prepare();
	if (row->rule == RULE_FORMAT) {
		run(&check, NULL);
		report_of_found = output();
	}
	state_open(&start);
	memcpy(start.head, disks[CACHE].found, SECTOR);
	take_files(&start);
	take_reference();
	uint64_t writes = result->writes, flushes = result->flushes, names = result->names;

	if (!writes || !flushes)
		fail("it writes past the power supply");
	if (only_one) {
		struct state state;

		state_open(&state);
		cut_at(&only, &state);
		state_close(&state);
	} else {
		cut_everywhere(writes + flushes + names);
	}
	result->writes = writes;
	result->flushes = flushes;
	result->names = names;
	result->seconds = seconds_now() - begun;
}

/* ---- the file of rows ---- */

static char *next_word(char **rest)
{
	char *word = *rest + strspn(*rest, " \t");

	*rest = word + strcspn(word, " \t");
	if (**rest)
		*(*rest)++ = '\0';
	return *word ? word : NULL;
}

static bool is_setting(const char *word)
{
	return !strncmp(word, "WB_TEST_", 8) && strchr(word, '=');
}

/* Words up to `;` or the end; false when there are none, or too many. */
static bool parse_command(struct command *command, char **rest)
{
	size_t settings = 0, words = 0;
	char *word;

	while ((word = next_word(rest)) && strcmp(word, ";") != 0) {
		if (settings + words == WORDS - 1)
			return false;
		if (!words && is_setting(word))
			command->settings[settings++] = word;
		else
			command->words[words++] = word;
	}
	return words;
}

static bool parse_row(struct row *to, char *line)
{
	char *when = next_word(&line), *rule = next_word(&line), *status = next_word(&line);

	to->set = next_word(&line);
	if (!to->set || (strncmp(when, "check", 5) != 0 && strncmp(when, "rest", 4) != 0))
		return false;
	to->check = *when == 'c';
	to->step = strchr(when, '/') ? (unsigned)atoi(strchr(when, '/') + 1) : 1;
	to->status = atoi(status);
	while (rule_names[to->rule] && strcmp(rule_names[to->rule], rule) != 0)
		to->rule++;
	to->text = strdup(line + strspn(line, " \t"));
	if (strstr(line, " ; ") && !parse_command(&to->first, &line))
		return false;
	return rule_names[to->rule] && to->step && parse_command(&to->command, &line);
}

static void read_rows(void)
{
	char path[4096], *line = NULL;
	size_t room = 0;
	int number = 0;

	snprintf(path, sizeof(path), "%s/sim/killpoints.rows", tests);
	FILE *from = fopen(path, "r");

	if (!from) {
		perror(path);
		exit(2);
	}
	while (getline(&line, &room, from) >= 0) {
		number++;
		line[strcspn(line, "\n")] = '\0';
		if (!*line || *line == '#')
			continue;
		if (row_count == ROWS || !parse_row(&rows[row_count++], strdup(line))) {
			fprintf(stderr, "%s: line %d is no row\n", path, number);
			exit(2);
		}
	}
	free(line);
	fclose(from);
}

/* ---- all rows ---- */

static struct result *results;
static char base[4096];

static void remove_directory(int i)
{
	static const char *const names[] = { "cache.img", "backing.img", "backing.before.img", "out", "counts" };
	char path[4200];

	snprintf(path, sizeof(path), "%s/%d", base, i + 1);
	if (only_one || chdir(path))
		return;
	remove_outputs();
	leftovers(true);
	for (size_t name = 0; name < sizeof(names) / sizeof(names[0]); name++)
		unlink(names[name]);
	for (size_t file = 0; file < FILES; file++)
		unlink(file_names[file]);
	if (chdir(base) || rmdir(path))
		perror(path);
}

static void start_row(int i, pid_t *pid)
{
	char path[4200];

	fflush(stdout);
	*pid = fork();
	if (*pid < 0) {
		perror("fork");
		exit(2);
	}
	if (*pid)
		return;
	row = &rows[i];
	result = &results[i];
	snprintf(path, sizeof(path), "%s/%d", base, i + 1);
	if (mkdir(path, 0700) || chdir(path)) {
		perror(path);
		_exit(2);
	}
	run_row();
	_exit(0);
}

/* Lines of a failure, as TAP has it. */
static void print_failure(const struct result *of, int i)
{
	const char *text = *of->text ? of->text : "its process ended early";

	for (const char *end; *text; text = *end ? end + 1 : end) {
		end = text + strcspn(text, "\n");
		printf("#   %.*s\n", (int)(end - text), text);
	}
	printf("#   to see it again: %s/killpoints -r %d -k LEFT:CUT:SEED %s %s, with the first cut above\n", commands, i + 1,
	       commands, tests);
}

static void print_row(int i)
{
	const struct result *of = &results[i];

	printf("%s %2d - %6" PRIu64 " %7" PRIu64 " %7" PRIu64 " %6" PRIu64 "     4 %6" PRIu64 " %6" PRIu64 " %6" PRIu64
	       " %7.1f  %s: %s\n", of->failed ? "not ok" : "ok", i + 1, of->writes, of->flushes, of->names, of->points,
	       of->cuts, of->states, of->runs, of->seconds, rows[i].set, rows[i].text);
	if (of->failed)
		print_failure(of, i);
	fflush(stdout);
}

static int run_rows(int first, int end, bool check_only, int jobs)
{
	pid_t pids[ROWS] = { 0 };
	int next = first, running = 0, printed = first, failed = 0;

	printf("#          writes flushes   names points modes   cuts states   runs seconds  pair of images: command\n");
	while (printed < end) {
		for (; next < end && running < jobs; next++) {
			results[next].done = check_only && !rows[next].check;
			if (results[next].done)
				continue;
			start_row(next, &pids[next]);
			running++;
		}
		for (; printed < next && results[printed].done; printed++)
			if (pids[printed])
				print_row(printed);
		if (!running)
			continue;
		int status;
		pid_t pid = wait(&status);

		for (int i = first; i < next; i++)
			if (pids[i] == pid && !results[i].done) { /* numbers of processes come round again */
				results[i].done = true;
				results[i].failed |= status != 0;
				failed += results[i].failed;
				running--;
				remove_directory(i);
			}
	}
	return failed;
}

static void print_sum(int failed)
{
	struct result sum = { .done = true };
	int count = 0;

	for (int i = 0; i < row_count; i++) {
		count += results[i].runs > 0;
		sum.points += results[i].points;
		sum.cuts += results[i].cuts;
		sum.states += results[i].states;
		sum.runs += results[i].runs;
	}
	printf("# %d rows, %" PRIu64 " kill points, %" PRIu64 " cuts, %" PRIu64 " different states gone on from, %" PRIu64
	       " runs: %s\n", count, sum.points, sum.cuts, sum.states, sum.runs, failed ? "NOT ALL GREEN" : "all green");
}

static void open_base(void)
{
	const char *temporary = getenv("TMPDIR");

	snprintf(base, sizeof(base), "%s/killpoints.XXXXXX",
		 !access("/dev/shm", W_OK) ? "/dev/shm" : temporary ? temporary : "/tmp");
	results = mmap(NULL, ROWS * sizeof(*results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!mkdtemp(base) || results == MAP_FAILED) {
		perror(base);
		exit(2);
	}
}

static void close_base(void)
{
	if (only_one)
		printf("# files: %s\n", base);
	else if (chdir("/") || rmdir(base))
		perror(base);
}

__attribute__((noreturn)) static void usage(void)
{
	fprintf(stderr, "usage: killpoints [-c] [-j JOBS] [-r ROW] [-k LEFT:CUT:SEED] COMMANDS TESTS\n");
	exit(2);
}

int main(int argc, char **argv)
{
	int option, jobs = (int)sysconf(_SC_NPROCESSORS_ONLN), chosen = 0;
	bool check_only = false;

	while ((option = getopt(argc, argv, "cj:r:k:")) != -1)
		switch (option) {
		case 'c': check_only = true; break;
		case 'j': jobs = atoi(optarg); break;
		case 'r': chosen = atoi(optarg); break;
		case 'k':
			only_one = sscanf(optarg, "%" SCNu64 ":%u:%" SCNu64, &only.left, &only.mode, &only.seed) == 3;
			if (!only_one)
				usage();
			break;
		default: usage();
		}
	if (argc - optind != 2 || jobs < 1 || !(commands = realpath(argv[optind], NULL)) ||
	    !(tests = realpath(argv[optind + 1], NULL)))
		usage();
	read_rows();
	if (chosen < 0 || chosen > row_count || (only_one && !chosen))
		usage();
	open_base();
	int failed = run_rows(chosen ? chosen - 1 : 0, chosen ? chosen : row_count, check_only, jobs);

	print_sum(failed);
	close_base();
	return failed != 0;
}
