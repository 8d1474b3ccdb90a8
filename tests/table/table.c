/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What table.h promises. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <ftw.h>
#include <nettle/sha2.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "table.h"

int status;
char *out, *words;

static char top[4096], home[4096];
static struct json_object *records[1 << 16];
static size_t record_count;
static bool parsed;

/* ---- words ---- */

static char *slot(void)
{
	static char slots[16][4096];
	static unsigned int next;

	return slots[next++ % 16];
}

const char *text(const char *format, ...)
{
	char *into = slot();
	va_list args;

	va_start(args, format);
	vsnprintf(into, 4096, format, args);
	va_end(args);
	return into;
}

bool has(const char *where, const char *what)
{
	return strstr(where, what);
}

const char *source(const char *format, ...)
{
	char name[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	return text("%.2000s/%s", top, name);
}

/* ---- running ---- */

int main_of_wb_check(int, char **), main_of_wb_dump(int, char **), main_of_wb_flush_dirty(int, char **),
	main_of_wb_format(int, char **), main_of_wb_undo(int, char **), main_of_mkcache(int, char **),
	main_of_foretell(int, char **), main_of_decide(int, char **);

static const struct {
	const char *name;
	int (*main)(int, char **);
	bool installed;
} commands[] = {
	{ "wb-check", main_of_wb_check, true },
	{ "wb-dump", main_of_wb_dump, true },
	{ "wb-flush-dirty", main_of_wb_flush_dirty, true },
	{ "wb-format", main_of_wb_format, true },
	{ "wb-undo", main_of_wb_undo, true },
	{ "mkcache", main_of_mkcache, false },
	{ "foretell", main_of_foretell, false },
	{ "decide", main_of_decide, false },
};

static _Noreturn void become(int argc, char **argv)
{
	const char *elsewhere = getenv("WB_COMMANDS");

	for (size_t k = 0; k < sizeof(commands) / sizeof(*commands); k++) {
		if (strcmp(commands[k].name, argv[0]))
			continue;
		if (elsewhere && commands[k].installed) {
			execv(text("%s/%s", elsewhere, argv[0]), argv);
			_exit(127);
		}
		exit(commands[k].main(argc, argv));
	}
	fprintf(stderr, "no such command: %s\n", argv[0]);
	exit(127);
}

static int split(char *line, char **argv, int most)
{
	int argc = 0;

	for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) {
		assert_true(argc < most - 1);
		argv[argc++] = word;
		for (; *word; word++)
			if (*word == '\1')
				*word = ' ';
	}
	argv[argc] = NULL;
	return argc;
}

static void forget(void)
{
	for (size_t k = 0; k < record_count; k++)
		json_object_put(records[k]);
	record_count = 0;
	parsed = false;
	free(out);
	free(words);
	out = words = NULL;
}

static int status_of(pid_t pid)
{
	int state = 0;

	while (waitpid(pid, &state, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

static int file_for(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* LeakSanitizer looks at the end of a command, which is a fork, for what the test itself holds, and may not find who does. */
void __lsan_ignore_object(const void *object) __attribute__((weak));

static void no_leak(const void *object)
{
	if (__lsan_ignore_object)
		__lsan_ignore_object(object);
}

static char *text_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	char *bytes = calloc(1, (size_t)st.st_size + 1);

	assert_non_null(bytes);
	no_leak(bytes);
	assert_true(pread(fd, bytes, (size_t)st.st_size, 0) == st.st_size);
	close(fd);
	return bytes;
}

/* "1 sectors", "1 dirty blocks", "0 to 0" are not English. */
static void look_for_wrong_numbers(const char *said)
{
	static const char *const adjectives[] = { "dirty ", "clean ", "newest ", "damaged ", "missing ", "whole ", "usable ", "segment " };
	static const char *const plurals[] = { "segments", "sectors", "blocks", "bytes", "slots", "copies", "records", "requests", "devices",
					       "extents", "versions", "passes", "holes" };

	for (const char *at = said; (at = strstr(at, "1 ")); at += 2) {
		const char *word = at + 2;

		if (at != said && !strchr(" (\n", at[-1]))
			continue;
		for (size_t k = 0; k < sizeof(adjectives) / sizeof(*adjectives); k++)
			if (!strncmp(word, adjectives[k], strlen(adjectives[k])))
				word += strlen(adjectives[k]);
		for (size_t k = 0; k < sizeof(plurals) / sizeof(*plurals); k++)
			if (!strncmp(word, plurals[k], strlen(plurals[k])))
				fail_msg("\"1 %s\" in:\n%s", plurals[k], said);
	}
	if (strstr(said, " 0 to 0"))
		fail_msg("\"0 to 0\" in:\n%s", said);
}

static void go(const char *format, va_list args)
{
	char line[8192], *argv[64];
	int stdout_fd = file_for("stdout"), stderr_fd = file_for("stderr");

	vsnprintf(line, sizeof(line), format, args);
	int argc = split(line, argv, 64);

	fflush(stdout);
	fflush(stderr);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		int null = open("/dev/null", O_RDONLY);

		for (int number = 1; number < NSIG; number++) /* cmocka's, and our own */
			signal(number, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, 0);
		dup2(stdout_fd, 1);
		dup2(stderr_fd, 2);
		close(null);
		become(argc, argv);
	}
	forget();
	status = status_of(pid);
	out = text_of(stdout_fd);
	words = text_of(stderr_fd);
	look_for_wrong_numbers(out);
	look_for_wrong_numbers(words);
}

void run(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	go(format, args);
	va_end(args);
}

void expect(int want, const char *format, ...)
{
	char line[4096];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	va_start(args, format);
	go(format, args);
	va_end(args);
	if (status != want)
		fail_msg("%s exits %d, expected %d\n%s%s", line, status, want, out, words);
}

void shell(const char *format, ...)
{
	char line[8192];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	int ret = system(line);

	if (ret)
		fail_msg("%s: %d", line, ret);
}

/* ---- records ---- */

static void parse(void)
{
	if (parsed)
		return;
	parsed = true;
	for (char *line = out, *end; *line; line = end + 1) {
		end = strchr(line, '\n');
		if (!end)
			break;
		*end = '\0';
		struct json_object *object = *line == '{' ? json_tokener_parse(line) : NULL;

		*end = '\n';
		if (object) {
			assert_true(record_count < sizeof(records) / sizeof(*records));
			records[record_count++] = object;
		}
	}
}

struct json_object *record_at(size_t index)
{
	parse();
	return index < record_count ? records[index] : NULL;
}

struct json_object *record(const char *type)
{
	parse();
	for (size_t k = record_count; k-- > 0;)
		if (!strcmp(value(records[k], "type"), type))
			return records[k];
	return NULL;
}

const char *value(struct json_object *of, const char *name)
{
	struct json_object *found;

	if (!of || !json_object_object_get_ex(of, name, &found) || !found)
		return "null";
	return json_object_is_type(found, json_type_string) ? json_object_get_string(found) :
		json_object_to_json_string_ext(found, JSON_C_TO_STRING_PLAIN);
}

const char *field(const char *name)
{
	return value(record("summary"), name);
}

int64_t number(struct json_object *of, const char *name)
{
	struct json_object *found;

	if (!of || !json_object_object_get_ex(of, name, &found) || !json_object_is_type(found, json_type_int))
		fail_msg("no number '%s' in %s", name, of ? json_object_to_json_string(of) : out);
	return json_object_get_int64(found);
}

/* ---- files ---- */

bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

int64_t size_of_file(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		fail_msg("%s: %s", path, strerror(errno));
	return st.st_size;
}

bool remove_if_there(const char *path)
{
	return unlink(path) == 0;
}

void resize(const char *path, int64_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0666);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, bytes), 0);
	close(fd);
}

char *load(const char *path, size_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	if (bytes)
		*bytes = (size_t)size_of_file(path);
	return text_of(fd);
}

void put(const char *path, int64_t offset, const void *bytes, size_t count)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0666);

	assert_true(fd >= 0);
	assert_true(pwrite(fd, bytes, count, offset) == (ssize_t)count);
	close(fd);
}

void store(const char *path, const void *bytes, size_t count)
{
	remove_if_there(path);
	put(path, 0, bytes, count);
}

/* A file in memory, to look at; NULL when it is empty. */
static const uint8_t *map(const char *path, size_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	*bytes = (size_t)size_of_file(path);
	void *at = *bytes ? mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;

	assert_true(at != MAP_FAILED);
	close(fd);
	return at;
}

static void unmap(const uint8_t *at, size_t bytes)
{
	if (at)
		munmap((void *)(uintptr_t)at, bytes);
}

bool same(const char *a, const char *b)
{
	size_t a_bytes, b_bytes;
	const uint8_t *first = map(a, &a_bytes), *second = map(b, &b_bytes);
	bool equal = a_bytes == b_bytes && (!a_bytes || !memcmp(first, second, a_bytes));

	unmap(first, a_bytes);
	unmap(second, b_bytes);
	return equal;
}

const char *sum(const char *path)
{
	size_t bytes;
	const uint8_t *at = map(path, &bytes);
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx context;
	char *into = slot();

	sha256_init(&context);
	if (at)
		sha256_update(&context, bytes, at);
	sha256_digest(&context, sizeof(digest), digest);
	for (unsigned int k = 0; k < sizeof(digest); k++)
		sprintf(into + 2 * k, "%02x", digest[k]);
	unmap(at, bytes);
	return into;
}

/* Holes stay holes. */
void copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), into = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	static char buffer[1 << 18];

	if (in < 0 || into < 0)
		fail_msg("%s or %s: %s", from, to, strerror(errno));
	int64_t size = size_of_file(from), at = 0, end;

	assert_int_equal(ftruncate(into, size), 0);
	while ((at = lseek(in, at, SEEK_DATA)) >= 0) {
		end = lseek(in, at, SEEK_HOLE);
		while (at < end) {
			size_t count = end - at < (int64_t)sizeof(buffer) ? (size_t)(end - at) : sizeof(buffer);
			ssize_t got = pread(in, buffer, count, at);

			assert_true(got > 0 && pwrite(into, buffer, (size_t)got, at) == got);
			at += got;
		}
	}
	close(in);
	close(into);
}

static void make_of(const char *path)
{
	remove_if_there("cache.img");
	remove_if_there("backing.img");
	expect(0, "mkcache %s cache.img backing.img", path);
	if (!exists("backing.img"))
		resize("backing.img", 8 << 20);
}

void make_cache(const char *fixture)
{
	make_of(source("tests/fixtures/%s.wbt", fixture));
}

void make_cache_of(const char *wbt)
{
	store("text.wbt", wbt, strlen(wbt));
	make_of("text.wbt");
}

void unpack(const char *set)
{
	remove_if_there("cache.img");
	remove_if_there("backing.img");
	shell("zstd -dc --long=27 '%s' | tar xf - --strip-components=1 --wildcards '*/cache.img' '*/backing.before.img'",
	      source("tests/golden/%s.tar.zst", set));
	assert_int_equal(chmod("cache.img", 0644), 0);
	assert_int_equal(chmod("backing.before.img", 0644), 0);
	assert_int_equal(rename("backing.before.img", "backing.img"), 0);
}

/* ---- sectors that cannot be read ---- */

static pid_t owner; /* the program itself, not a command */
static struct {
	atomic_uint reads; /* of the last command; shared with it */
	atomic_ullong bytes;
} *watch;
static unsigned signal_at, signals, swap_at;
static const char *swap_one, *swap_other;

void swap_at_read(unsigned at, const char *one, const char *other)
{
	swap_at = at;
	swap_one = one;
	swap_other = other;
	atomic_store(&watch->reads, 0);
}

void terminate_at_read(unsigned at, unsigned times)
{
	signal_at = at;
	signals = times;
	atomic_store(&watch->reads, 0);
	atomic_store(&watch->bytes, 0);
}

unsigned reads(void)
{
	return atomic_load(&watch->reads);
}

uint64_t bytes_read(void)
{
	return atomic_load(&watch->bytes);
}

static int64_t bad_from, bad_to;
static ino_t bad_file;
static atomic_int good_reads;
static bool bad_flips;
static _Atomic(const char *) appears;
static char awaited[64];

ssize_t __real_pread64(int fd, void *buffer, size_t bytes, off64_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t bytes, off64_t offset);

static ssize_t read_badly(int fd, uint8_t *buffer, size_t bytes, off64_t offset)
{
	ssize_t n = bad_flips ? __real_pread64(fd, buffer, bytes, offset) : -1;

	if (n > bad_from - offset && offset <= bad_from)
		buffer[bad_from - offset] ^= 1;
	errno = EIO;
	return n;
}

ssize_t __wrap_pread64(int fd, void *buffer, size_t bytes, off64_t offset)
{
	struct stat st;
	bool in_command = getpid() != owner;
	if (in_command)
		atomic_fetch_add(&watch->bytes, bytes);
	unsigned read = in_command ? atomic_fetch_add(&watch->reads, 1) + 1 : 0;

	for (unsigned i = 0; in_command && read == signal_at && i < signals; i++)
		raise(SIGTERM); /* to this thread: two signals to the process could become one */
	if (in_command && swap_at && read == swap_at && renameat2(AT_FDCWD, swap_one, AT_FDCWD, swap_other, RENAME_EXCHANGE))
		abort();
	if (offset < bad_to && (int64_t)bytes > bad_from - offset && !fstat(fd, &st) && st.st_ino == bad_file &&
	    atomic_fetch_sub(&good_reads, 1) <= 0)
		return read_badly(fd, buffer, bytes, offset);
	const char *name = appears;
	glob_t begun;

	if (name && !glob(awaited, 0, NULL, &begun)) {
		globfree(&begun);
		if (atomic_compare_exchange_strong(&appears, &name, NULL)) { /* one of several readers */
			int made = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);

			if (made < 0 || write(made, "new\n", 4) != 4 || close(made))
				abort();
		}
	}
	return __real_pread64(fd, buffer, bytes, offset);
}

void after_good_reads(unsigned count, bool flips)
{
	atomic_store(&good_reads, (int)count);
	bad_flips = flips;
}

void unreadable_of(const char *path, int64_t offset, int64_t bytes)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	bad_file = st.st_ino;
	bad_from = offset;
	bad_to = offset + bytes;
	after_good_reads(0, false);
}

void unreadable(int64_t offset, int64_t bytes)
{
	unreadable_of("cache.img", offset, bytes);
}

void appear_during_the_next_run(const char *path)
{
	if (path)
		snprintf(awaited, sizeof(awaited), "%s.new-*", path);
	appears = path;
}

void appear_once_there_is(const char *path, const char *pattern)
{
	snprintf(awaited, sizeof(awaited), "%s", pattern);
	appears = path;
}

void readable_again(void)
{
	bad_from = bad_to = 0;
}

/* ---- names ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char **fixtures(const char *prefix)
{
	char **names = calloc(4096, sizeof(*names)); /* for the whole run */
	DIR *directory = opendir(source("tests/fixtures"));
	size_t count = 0;

	if (!names || !directory) {
		fprintf(stderr, "no fixtures\n");
		exit(1);
	}
	no_leak(names);
	for (struct dirent *entry; (entry = readdir(directory)) && count < 4095;) {
		char *end = strstr(entry->d_name, ".wbt");

		if (end && !end[4] && !strncmp(entry->d_name, prefix, strlen(prefix)))
			names[count++] = strndup(entry->d_name, (size_t)(end - entry->d_name));
	}
	closedir(directory);
	qsort(names, count, sizeof(*names), by_name);
	return names;
}

struct json_object *golden_sets(void)
{
	static struct json_object *sets;

	if (!sets)
		sets = json_object_from_file(source("tests/golden/expected.json"));
	if (!sets) {
		fprintf(stderr, "tests/golden/expected.json: %s\n", json_util_get_last_err());
		exit(1);
	}
	return sets;
}

struct CMUnitTest *test_for_each(char **names, void (*test)(void **state), size_t *count)
{
	static struct CMUnitTest tests[4096];

	for (*count = 0; names[*count]; ++*count)
		tests[*count] = (struct CMUnitTest){ names[*count], test, enter, leave, names[*count] };
	return tests;
}

/* ---- main ---- */

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static void remove_tree(const char *path)
{
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void tidy(void)
{
	if (getpid() == owner && *home) {
		if (chdir("/"))
			return;
		remove_tree(home);
	}
}

static void stopped(int signal)
{
	tidy();
	_exit(128 + signal);
}

int enter(void **state)
{
	(void)state;
	return mkdir(text("%s/test", home), 0777) || chdir(text("%s/test", home));
}

int leave(void **state)
{
	(void)state;
	forget();
	readable_again();
	if (chdir(home))
		return 1;
	remove_tree(text("%s/test", home));
	return 0;
}

__attribute__((constructor)) static void know_where(void)
{
	const char *named = getenv("WB_TOP"), *tmp = getenv("TMPDIR");

	watch = mmap(NULL, sizeof(*watch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	/* a symbolic link to the source stays one: its name has no blanks */
	if (watch == MAP_FAILED || (named && *named == '/' ? snprintf(top, sizeof(top), "%s", named) >= (int)sizeof(top) :
							     !realpath(named ? named : ".", top)))
		exit(1);
	snprintf(home, sizeof(home), "%s/wb-table-XXXXXX", tmp && *tmp ? tmp : "/tmp");
}

int run_tables(const char *name, const struct CMUnitTest *tests, size_t count)
{
	owner = getpid();
	if (!mkdtemp(home)) {
		perror(home);
		return 1;
	}
	atexit(tidy);
	signal(SIGTERM, stopped);
	signal(SIGINT, stopped);
	int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);

	if (chdir("/"))
		return 1;
	return failed != 0;
}
