/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The shared half of every command: see common.h. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "hooks.h"
#include "next.h"
#include "place.h"
#include "progress.h"
#include "report.h"
#include "values.h"

static const char *tool = "wb-utils";

/* ---- numbers ---- */

void usage_error(const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fflush(stdout);
	struct json_object *error = report_record("error");

	report_text(error, "text", text);
	make_printable(text);
	fprintf(stderr, "%s: %s\nTry '%s --help' for the options.\n", tool, text, tool);
	report_emit(error);
	report_finish(EXIT_USAGE);
	exit(EXIT_USAGE);
}

uint64_t number_of(const char *what, const char *text)
{
	uint64_t value;

	if (!parse_number(text, &value))
		usage_error("%s: '%s' is not a number (decimal or 0x, without sign or leading zero)", what, text);
	return value;
}

uint64_t size_of(const char *what, const char *text)
{
	uint64_t value;

	if (!parse_size(text, &value))
		usage_error("%s: '%s' is not a size (bytes, or a number with K, M, G, T, P or KiB ... PiB, powers of 1024, or with "
			    "kB, MB ... PB, powers of 1000)", what, text);
	return value;
}

int64_t offset_of(const char *what, const char *text)
{
	bool negative = text[0] == '-';
	uint64_t value = size_of(what, text + negative);

	if (negative && !value)
		usage_error("%s: -0 is not a byte before the device; the first byte is 0", what);
	if (value > INT64_MAX || value % WB_SECTOR)
		usage_error("%s: %s is not a multiple of 512 bytes below 8 EiB", what, text);
	return negative ? -(int64_t)value : (int64_t)value;
}

void path_option(const char *what, char **path, const char *text)
{
	if (!*text)
		usage_error("%s: a file name is needed", what);
	free(*path);
	*path = strdup(text);
	if (!*path)
		usage_error("out of memory");
}

unsigned choice_of(const char *what, const char *text, const char *const *choices)
{
	char all[256] = "";

	for (unsigned i = 0; choices[i]; i++) {
		if (strcmp(text, choices[i]) == 0)
			return i;
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "", choices[i]);
	}
	usage_error("%s: '%s' is none of %s", what, text, all);
}

/* ---- options ---- */

enum { OPT_HELP = 1000, OPT_VERSION, OPT_QUIET, OPT_VERBOSE, OPT_JSON, OPT_PROGRESS, OPT_GENERATION, OPT_ORDER,
       OPT_SLOTS, OPT_ADDRESS, OPT_START, OPT_SIZE, OPT_JOBS, OPT_YES, OPT_FORCE, OPT_LIST_OPTIONS };

static const struct poptOption common_options[] = {
	{ "generation", '\0', POPT_ARG_STRING, NULL, OPT_GENERATION, "take the cache for this generation", "auto|v0|v1|v2" },
	{ "order", '\0', POPT_ARG_STRING, NULL, OPT_ORDER, "log2 of the sectors of a segment", "N" },
	{ "slots", '\0', POPT_ARG_STRING, NULL, OPT_SLOTS, "number of segment slots", "N" },
	{ "slot-address", '\0', POPT_ARG_STRING, NULL, OPT_ADDRESS, "where slots lie beyond 2 TiB", "linear|wrap" },
	{ "start", '\0', POPT_ARG_STRING, NULL, OPT_START, "the cache begins at this byte of CACHE; may be negative", "BYTE" },
	{ "size", '\0', POPT_ARG_STRING, NULL, OPT_SIZE, "and is so large (default: up to the end of CACHE)", "BYTES" },
	{ "jobs", 'j', POPT_ARG_STRING, NULL, OPT_JOBS, "checksum and I/O threads (default: the cores)", "N" },
	{ "json", '\0', POPT_ARG_NONE, NULL, OPT_JSON, "JSON lines on stdout", NULL },
	{ "progress", '\0', POPT_ARG_STRING, NULL, OPT_PROGRESS, "progress on stderr", "auto|always|never" },
	{ "yes", 'y', POPT_ARG_NONE, NULL, OPT_YES, "answer questions with yes; overrides nothing", NULL },
	{ "force", 'f', POPT_ARG_STRING, NULL, OPT_FORCE, "override the named refusals", "NAME[,NAME]" },
	{ "quiet", 'q', POPT_ARG_NONE, NULL, OPT_QUIET, "say only what went wrong", NULL },
	{ "verbose", 'v', POPT_ARG_NONE, NULL, OPT_VERBOSE, "say more", NULL },
	{ "help", 'h', POPT_ARG_NONE, NULL, OPT_HELP, "show this help", NULL },
	{ "version", 'V', POPT_ARG_NONE, NULL, OPT_VERSION, "show the version and the generations known", NULL },
	{ "list-options", '\0', POPT_ARG_NONE | POPT_ARGFLAG_DOC_HIDDEN, NULL, OPT_LIST_OPTIONS, "for completions/", NULL },
	POPT_TABLEEND
};

#define COMMON_OPTIONS (sizeof(common_options) / sizeof(common_options[0]))

static bool is_offered(const struct command *command, int val)
{
	switch (val) {
	case OPT_GENERATION:
	case OPT_SLOTS: return !(command->without & (WITHOUT_GENERATION | WITHOUT_GEOMETRY));
	case OPT_ORDER:
	case OPT_START:
	case OPT_SIZE:
	case OPT_ADDRESS: return !(command->without & WITHOUT_GEOMETRY);
	case OPT_JOBS: return !(command->without & WITHOUT_JOBS);
	case OPT_YES: return !(command->without & WITHOUT_YES);
	case OPT_FORCE: return command->force_names;
	default: return true;
	}
}

/* Those that mean something to the command, the end of the table included. */
static void choose_common_options(const struct command *command, struct poptOption table[COMMON_OPTIONS])
{
	for (size_t i = 0; i < COMMON_OPTIONS; i++)
		if (is_offered(command, common_options[i].val))
			*table++ = common_options[i];
}

static void add_forces(struct common *common, const char *list)
{
	char *copy = strdup(list), *rest = copy;

	if (!copy)
		usage_error("out of memory");
	if (!*list)
		usage_error("--force: a name is needed");
	for (char *name; (name = strsep(&rest, ","));)
		common->forced |= 1u << choice_of("--force", name, common->force_names);
	free(copy);
}

bool common_forced(const struct common *common, const char *name)
{
	for (unsigned i = 0; common->force_names && common->force_names[i]; i++)
		if (strcmp(common->force_names[i], name) == 0)
			return common->forced >> i & 1;
	return false;
}

bool common_knows_force(const struct common *common, const char *name)
{
	for (unsigned i = 0; common->force_names && common->force_names[i]; i++)
		if (strcmp(common->force_names[i], name) == 0)
			return true;
	return false;
}

static void set_generation(struct common *common, const char *name)
{
	common->overrides.format = strcmp(name, "auto") == 0 ? NULL : wb_format_find(name);
	if (!common->overrides.format && strcmp(name, "auto") != 0)
		usage_error("--generation: '%s' is none of auto, v0, v1, v2", name);
}

static void set_order(struct common *common, const char *text)
{
	uint64_t order = number_of("--order", text);

	if (order < 4 || order > 11)
		usage_error("--order: %s is outside the range 4 ... 11", text);
	common->overrides.order = (unsigned)order;
}

static void set_slots(struct common *common, const char *text)
{
	common->overrides.slots = number_of("--slots", text);
	if (!common->overrides.slots || common->overrides.slots > UINT32_MAX)
		usage_error("--slots: %s is outside the range 1 ... 4294967295", text);
}

static void set_part(struct common *common, int val, const char *text)
{
	common->part.given = true;
	if (val == OPT_START)
		common->part.start = offset_of("--start", text);
	else
		common->part.size = size_of("--size", text);
	if (val == OPT_SIZE && !common->part.size)
		usage_error("--size: a part of 0 bytes holds nothing");
}

static void print_version(void)
{
	const struct wb_format *format;

	printf("%s " WB_VERSION "\n", tool);
	for (unsigned i = 0; (format = wb_format_at(i)); i++)
		printf("  %s: dm-writeboost, %s\n", format->name, format->drivers);
}

static void print_help(poptContext context, const struct command *command)
{
	printf("%s: %s\n\n", tool, command->purpose);
	poptPrintHelp(context, stdout, 0);
	for (unsigned i = 0; command->force_names && command->force_names[i]; i++)
		printf("%s%s", i ? ", " : "\nNames for --force: ", command->force_names[i]);
	printf(command->force_names ? "\n" : "");
}

static void print_force_names(const char *const *names)
{
	for (unsigned i = 0; names[i]; i++)
		printf("%s%s", i ? "|" : "", names[i]);
}

/* For the completions of shells: a line for each option with tabs between its long name, its short one ("-": none), what
 * its value can be ("-": it has none; words in lower case are meant literally) and its purpose. */
/* NOLINTNEXTLINE(misc-no-recursion): our own tables, nested twice */
static void list_options(const struct poptOption *option, const char *const *force_names)
{
	for (; option->longName || option->arg; option++) {
		if (!option->longName) {
			list_options(option->arg, force_names);
			continue;
		}
		if (option->argInfo & POPT_ARGFLAG_DOC_HIDDEN)
			continue;
		printf("--%s\t-%.1s\t", option->longName, &option->shortName);
		if (option->val == OPT_FORCE && force_names)
			print_force_names(force_names);
		else
			printf("%s", option->argDescrip ? option->argDescrip : "-");
		printf("\t%s\n", option->descrip);
	}
}

static void handle_common(struct common *common, int val, const char *argument)
{
	static const char *const progress_modes[] = { "auto", "always", "never", NULL };
	static const char *const addresses[] = { "linear", "wrap", NULL };

	switch (val) {
	case OPT_GENERATION: set_generation(common, argument); break;
	case OPT_ORDER: set_order(common, argument); break;
	case OPT_SLOTS: set_slots(common, argument); break;
	case OPT_ADDRESS:
		common->overrides.address =
			choice_of("--slot-address", argument, addresses) ? WB_ADDRESS_WRAP : WB_ADDRESS_LINEAR;
		break;
	case OPT_START:
	case OPT_SIZE: set_part(common, val, argument); break;
	case OPT_JOBS:
		common->jobs = number_of("--jobs", argument);
		if (!common->jobs || common->jobs > 1024)
			usage_error("--jobs: %s is outside the range 1 ... 1024", argument);
		break;
	case OPT_JSON: common->json = true; break;
	case OPT_PROGRESS:
		common->progress_mode = (enum progress_mode)choice_of("--progress", argument, progress_modes);
		break;
	case OPT_YES: common->yes = true; break;
	case OPT_FORCE: add_forces(common, argument); break;
	case OPT_QUIET: common->quiet = true; break;
	case OPT_VERBOSE: common->verbose = true; break;
	default: break;
	}
}

/* The report must begin before a usage error can end it. */
static bool json_wanted(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0)
			return true;
	return false;
}

static uint64_t cores(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (uint64_t)n : 1;
}

static void choose_engine(struct common *common)
{
	const char *engine = getenv("WB_IO");

	if (!engine || strcmp(engine, "uring") == 0)
		return;
	if (strcmp(engine, "threads") != 0)
		usage_error("WB_IO: '%s' is none of uring, threads", engine);
	common->threads = true;
}

/* 0, or an exit status after a message: what was printed has not all been written. */
static int flush_stdout(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return EXIT_FINE;
	fprintf(stderr, "%s: writing to stdout: %s\n", tool, strerror(errno));
	return EXIT_REFUSED;
}

/* Prints what was asked for and ends the program. */
__attribute__((noreturn)) static void answer(int val, poptContext context, const struct command *command,
					     const struct poptOption *table)
{
	if (val == OPT_HELP)
		print_help(context, command);
	else if (val == OPT_VERSION)
		print_version();
	else
		list_options(table, command->force_names);
	poptFreeContext(context);
	exit(flush_stdout());
}

/* What popt did not accept. */
__attribute__((noreturn)) static void refuse_option(poptContext context, int failure, const struct poptOption *table)
{
	const char *bad = poptBadOption(context, POPT_BADOPTION_NOALIAS), *near;
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(bad, "="), bad);
	near = failure == POPT_ERROR_BADOPT && strncmp(name, "--", 2) == 0 ? nearest_option(table, name + 2) : NULL;
	usage_error("%s: %s%s%s%s", name, poptStrerror(failure), near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
}

static void take_options(struct common *common, const struct command *command, void *options, const struct poptOption *table)
{
	poptContext context = common->context;
	int val;

	while ((val = poptGetNextOpt(context)) >= 0) {
		char *argument = poptGetOptArg(context);

		if (val == OPT_HELP || val == OPT_VERSION || val == OPT_LIST_OPTIONS)
			answer(val, context, command, table);
		note_given(common, option_name(table, val), argument);
		if (val >= OPT_HELP)
			handle_common(common, val, argument);
		else
			command->handle(options, val, argument);
		free(argument);
	}
	if (val < -1)
		refuse_option(context, val, table);
}

static void take_operands(struct common *common, const struct command *command)
{
	common->operands = (const char *const *)poptGetArgs(common->context);
	while (common->operands && common->operands[common->operand_count])
		common->operand_count++;
	if (common->operand_count < command->operands_min)
		usage_error("an operand is missing: %s %s", tool, command->operands);
	if (common->operand_count > command->operands_max)
		usage_error("'%s' is one operand too many: %s %s", common->operands[command->operands_max], tool,
			    command->operands);
}

void common_start(struct common *common, const struct command *command, void *options, int argc, char **argv)
{
	struct poptOption offered[COMMON_OPTIONS];
	const struct poptOption table[] = {
		{ NULL, '\0', POPT_ARG_INCLUDE_TABLE, (void *)(uintptr_t)command->options, 0, "Options:", NULL },
		{ NULL, '\0', POPT_ARG_INCLUDE_TABLE, offered, 0, "Common options:", NULL },
		POPT_TABLEEND
	};
	char operands[128];

	choose_common_options(command, offered);
	tool = command->name;
	if (argc)
		argv[0] = (char *)(uintptr_t)tool; /* popt shows it in its help */
	*common = (struct common){ .tool = tool, .force_names = command->force_names,
				   .takes_memory = has_option(command->options, "memory"),
				   .label_width = command->label_width ? command->label_width : 12,
				   .context = poptGetContext(NULL, argc, (const char **)argv, table, 0) }; /* owns the operands */
	snprintf(operands, sizeof(operands), "[OPTION...] %s", command->operands);
	poptSetOtherOptionHelp(common->context, operands);
	report_start(tool, json_wanted(argc, argv));
	take_options(common, command, options, table);
	take_operands(common, command);
	choose_engine(common);
	if (!common->jobs)
		common->jobs = cores();
	if (command->goes_on_without_reader)
		signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a write that is too much for ulimit -f fails with EFBIG */
	progress_start(common);
}

int common_finish(struct common *common, int status)
{
	progress_clear();
	if (report_finish(status)) {
		common_warn(common, "the file of --report could not be written whole");
		status |= EXIT_REFUSED;
	}
	forget_given(common);
	poptFreeContext(common->context);
	return status | flush_stdout();
}

/* ---- words ---- */

/* The one place where text meets a terminal: names and labels in it are other people's bytes. */
static void print_line(FILE *to, const char *before, const char *format, va_list args)
{
	char *text;

	progress_clear();
	if (vasprintf(&text, format, args) < 0)
		return;
	make_printable(text);
	fprintf(to, "%s%s%s\n", before, *before ? ": " : "", text);
	free(text);
}

void common_warn(const struct common *common, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	va_start(args, format);
	print_line(stderr, common->tool, format, args);
	va_end(args);
}

void common_say(const struct common *common, const char *format, ...)
{
	va_list args;

	if (common->quiet || (common->json && !common->verbose))
		return;
	va_start(args, format);
	print_line(common->json ? stderr : stdout, "", format, args);
	va_end(args);
}

static int emit_error(const char *path, const char *text, uint64_t offset, int status)
{
	struct json_object *error = report_record("error");

	report_text(error, "device", path);
	report_text(error, "text", text);
	if (offset != WB_NO_OFFSET)
		report_u64(error, "offset", offset);
	report_int(error, "status", status);
	report_emit(error);
	return status;
}

static struct {
	const char *path;
	int64_t start;
} part;

void common_set_part(const char *path, int64_t start)
{
	part.path = path;
	part.start = start;
}

#define DEVICES 64u /* whose paths are known: no command opens as many at a time */

static struct {
	uint64_t number;
	const char *path;
} devices[DEVICES];

static void name_device(const struct wb_dev *dev, const char *path)
{
	static unsigned next;
	unsigned i = 0;

	while (i < DEVICES && devices[i].number != wb_dev_number(dev))
		i++;
	if (i == DEVICES)
		i = next++ % DEVICES;
	devices[i].number = wb_dev_number(dev);
	devices[i].path = path;
}

static const char *path_of(uint64_t number, const char *otherwise)
{
	for (unsigned i = 0; number && i < DEVICES; i++)
		if (devices[i].number == number)
			return devices[i].path;
	return otherwise;
}

int common_failed(const struct common *common, const char *path, const struct wb_error *err, const char *next)
{
	path = path_of(err->device, path);

	int status = err->code == WB_ESTOPPED ? EXIT_STOPPED : EXIT_REFUSED;

	if (err->offset != WB_NO_OFFSET && part.start && path == part.path)
		common_warn(common, "%s: at byte %llu, counted from byte %lld: %s", path, (unsigned long long)err->offset,
			    (long long)part.start, err->text);
	else if (err->offset != WB_NO_OFFSET)
		common_warn(common, "%s: at byte %llu: %s", path, (unsigned long long)err->offset, err->text);
	else
		common_warn(common, "%s: %s", path, err->text);
	if (!next && err->code == WB_ENOMEM)
		next = common->takes_memory ? "give a smaller --memory=SIZE, or make memory free, or raise its limit (ulimit -v)" :
					      "make memory free, or raise its limit (ulimit -v), then run this again";
	if (!next && err->code == WB_ETABLE)
		next = common->takes_memory ? "give --memory=SIZE of as much" : "use a machine with four times as much";
	if (next)
		common_warn(common, "%s", next);
	return emit_error(path, err->text, err->offset, status);
}

void common_say_unreadable(const struct common *common, const char *path, const struct wb_proof *proof)
{
	uint64_t sectors = proof->backing_unreadable_sectors;
	struct json_object *record = sectors ? report_record("backing_unreadable") : NULL;

	if (!sectors)
		return;
	common_warn(common, "%s: at byte %" PRIu64 ": %s of BACKING cannot be read where the log has something to compare; that counts "
		    "as different", path, proof->backing_unreadable_first, count_of(sectors, "sector"));
	report_text(record, "device", path);
	report_u64(record, "offset", proof->backing_unreadable_first);
	report_u64(record, "sectors", sectors);
	report_emit(record);
}

int common_refuse(const struct common *common, const char *path, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	common_warn(common, "%s: %s", path, text);
	return emit_error(path, text, WB_NO_OFFSET, EXIT_REFUSED);
}

const char *common_no_room(const struct wb_error *err)
{
	return err->sys == ENOSPC ? "no space left: the file system that holds the image is full; make room there" :
	       err->sys == EDQUOT ? "the quota of the file system of this file is used up: make room there" :
	       err->sys == EFBIG  ? "the file is larger than ulimit -f or its file system allows: raise the limit" : NULL;
}

/* Somebody can read a question and answer it: also when what we say goes through a pipe, as with 2>&1 | tee. */
static bool can_ask(void)
{
	struct stat st;

	return isatty(STDIN_FILENO) && (isatty(STDERR_FILENO) || (!fstat(STDERR_FILENO, &st) && S_ISFIFO(st.st_mode)));
}

#define READER_WAIT 100u	 /* times */
#define READER_STEP 10000000L	 /* ns */
#define READER_GRACE 100000000L /* ns, to write what it has read */

static void pause_for(long nanoseconds)
{
	nanosleep(&(struct timespec){ .tv_nsec = nanoseconds }, NULL);
}

void common_settle(void)
{
	struct stat report, words;
	int waiting = 0;

	fflush(stdout);
	if (!can_ask() || fstat(STDOUT_FILENO, &report) || !S_ISFIFO(report.st_mode) || fstat(STDERR_FILENO, &words) ||
	    (report.st_dev == words.st_dev && report.st_ino == words.st_ino))
		return;
	for (unsigned i = 0; i < READER_WAIT && !ioctl(STDOUT_FILENO, FIONREAD, &waiting) && waiting; i++)
		pause_for(READER_STEP);
	pause_for(READER_GRACE);
}

/* "y" or "yes", in capitals or not: nothing else that begins like that. */
static bool is_yes(const char *answer)
{
	size_t length = strcspn(answer, " \t\r\n");

	return !answer[length + strspn(answer + length, " \t\r\n")] &&
	       ((length == 1 && strncasecmp(answer, "y", 1) == 0) || (length == 3 && strncasecmp(answer, "yes", 3) == 0));
}

int common_ask(const struct common *common, const char *path, const char *question, const char *otherwise)
{
	char answer[16] = "", *text = common->yes ? NULL : strdup(question);

	if (common->yes)
		return 0;
	if (!text || !can_ask()) {
		free(text);
		return common_refuse(common, path, "%s", otherwise);
	}
	progress_clear();
	common_settle();
	make_printable(text);
	fprintf(stderr, "%s [y/N] ", text);
	fflush(stderr);
	free(text);
	progress_interrupts(true);
	bool answered = fgets(answer, sizeof(answer), stdin);

	progress_interrupts(false);
	if (answered && is_yes(answer))
		return 0;
	if (!answered)
		fputc('\n', stderr);
	if (common->progress.stop(common->progress.context)) {
		common_warn(common, "%s: stopped; nothing was changed", path);
		return emit_error(path, "stopped; nothing was changed", WB_NO_OFFSET, EXIT_STOPPED);
	}
	return common_refuse(common, path, "nothing was changed, as you answered");
}

void append_text(char *text, size_t size, const char *format, ...)
{
	size_t length = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + length, size - length, format, args);
	va_end(args);
}

const char *count_of(uint64_t count, const char *noun)
{
	static char buffers[8][64];
	static unsigned next;
	char *text = buffers[next++ % 8];
	size_t length = strlen(noun);
	bool y = noun[length - 1] == 'y', hisses = noun[length - 1] == 's';

	if (count == 1)
		snprintf(text, sizeof(buffers[0]), "1 %s", noun);
	else
		snprintf(text, sizeof(buffers[0]), "%" PRIu64 " %.*s%s", count, (int)length - y, noun, y ? "ies" : hisses ? "es" : "s");
	return text;
}

/* bash, zsh and ksh read $'...'; a terminal must not read what is in it. */
static char *dollar_quoted(const char *text)
{
	char *quoted = malloc(4 * strlen(text) + 4), *to = quoted;

	if (!quoted)
		return NULL;
	to = stpcpy(to, "$'");
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < 0x20 || *p >= 0x7f || *p == '\'' || *p == '\\')
			to += sprintf(to, "\\%03o", *p);
		else
			*to++ = (char)*p;
	strcpy(to, "'");
	return quoted;
}

char *shell_quoted(const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@%";
	char *quoted, *to;

	if (*text && strspn(text, plain) == strlen(text))
		return strdup(text);
	if (!is_printable(text))
		return dollar_quoted(text);
	to = quoted = malloc(4 * strlen(text) + 3);
	if (!quoted)
		return NULL;
	*to++ = '\'';
	for (; *text; text++) {
		if (*text == '\'')
			to = stpcpy(to, "'\\'");
		*to++ = *text;
	}
	strcpy(to, "'");
	return quoted;
}

const char *human_size(uint64_t bytes)
{
	static const char *const units[] = { "", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	static char buffers[4][32];
	static unsigned next;
	char *text = buffers[next++ % 4];
	double value = (double)bytes;
	unsigned unit = 0;

	for (; value >= 1024 && unit < 6; unit++)
		value /= 1024;
	if (unit)
		snprintf(text, sizeof(buffers[0]), "%.1f %s", value, units[unit]);
	else
		snprintf(text, sizeof(buffers[0]), "%s", count_of(bytes, "byte"));
	return text;
}

/* ---- devices ---- */

int common_open(const struct common *common, struct wb_dev **dev, const char *path, unsigned flags)
{
	return common_open_as(common, dev, path, path, flags);
}

/* ret: how opening it went. */
static int opened(const struct common *common, struct wb_dev **dev, const char *path, unsigned flags, int ret,
		  struct wb_error *err)
{
	if (ret)
		return common_failed(common, path, err,
				     err->code == WB_EBUSY ?
					     "unmount it, remove the mapping, or stop the program that holds it; then run this again" :
					     NULL);
	if (!(flags & WB_OPEN_GROW))
		name_device(*dev, path);
	if (wb_dev_busy(*dev))
		common_warn(common, "%s: the device is in use; what is shown may be moving", path);
	if (wb_dev_lock_error(*dev))
		common_warn(common, "%s: its file system cannot lock files (%s): make sure that no other program uses this one",
			    path, strerror(wb_dev_lock_error(*dev)));
	return hook_device(dev, err) ? common_failed(common, path, err, NULL) : 0;
}

static unsigned with_engine(const struct common *common, unsigned flags)
{
	return flags | (common->threads ? WB_OPEN_THREADS : 0);
}

int common_open_as(const struct common *common, struct wb_dev **dev, const char *path, const char *really, unsigned flags)
{
	struct wb_error err;

	/* a file of our own has its name from us */
	if (flags & WB_OPEN_GROW)
		return opened(common, dev, path, flags, wb_dev_open(dev, really, with_engine(common, flags), &err), &err);
	if (place_error(really))
		return common_refuse(common, path, "%s", strerror(place_error(really)));
	return opened(common, dev, path, flags, wb_dev_open(dev, place_of(really), with_engine(common, flags), &err), &err);
}

int common_adopt(const struct common *common, struct wb_dev **dev, const char *path, int fd, unsigned flags)
{
	struct wb_error err;

	return opened(common, dev, path, flags, wb_dev_adopt(dev, fd, with_engine(common, flags), &err), &err);
}

bool carries_header(struct wb_dev *dev)
{
	uint8_t sector[WB_SECTOR];
	struct wb_marker marker;
	uint32_t magic = 0;

	if (wb_dev_size(dev) < WB_SECTOR || wb_dev_read(dev, 0, sector, WB_SECTOR, NULL))
		return false;
	for (unsigned i = 0; i < 4; i++)
		magic |= (uint32_t)sector[i] << 8 * i;
	return magic == WB_MAGIC || wb_marker_decode(sector, &marker);
}

static const char *hint(const struct wb_error *err, const struct wb_cache *cache)
{
	switch (err->code) {
	case WB_EWRAP:
		return "nothing on the device says which reading is right: try wb-check with --slot-address=linear and with "
		       "--slot-address=wrap";
	case WB_ESUPER:
		if (cache->super == WB_SUPER_UNREADABLE)
			return "copy the device with ddrescue if it fails; wb-flush-dirty --force=ended goes on, if the log was not ended";
		return cache->super == WB_SUPER_ZEROED ?
			       "either somebody ended the log by hand, or sector 0 was zeroed by accident: see wb-check" :
			       "see wb-check, whose --repair can restore the superblock";
	case WB_ENOTCACHE:
		return "is this the cache device, whole, and not a partition of it or the backing device?";
	default:
		return NULL;
	}
}

int common_open_cache(const struct common *common, struct wb_cache *cache, struct wb_dev *dev, const char *path,
		      const struct wb_overrides *overrides)
{
	struct wb_error err;

	if (!wb_cache_open(cache, dev, overrides, &err))
		return 0;
	int status = common_failed(common, path, &err, hint(&err, cache));

	if (err.code == WB_EWRAP) {
		next_step(common, "wb-check", NULL, "--slot-address=linear", NULL, NULL);
		next_step(common, "wb-check", NULL, "--slot-address=wrap", NULL, NULL);
	} else if (err.code == WB_ESUPER) {
		next_step(common, "wb-check", NULL, NULL, NULL, "says what sector 0 means, and how to go on");
	}
	return status;
}
