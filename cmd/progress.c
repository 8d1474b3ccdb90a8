/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bar on a terminal, else a line every five seconds. The first signal asks to stop, the second ends at once. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "hooks.h"
#include "progress.h"

#define LINE_SECONDS 5.0
#define BAR_SECONDS 0.1
#define RATE_SECONDS 0.5 /* before that a rate says nothing */
#define BAR_MIN 10u
#define BAR_MAX 40u
#define LINE_SIZE 256u

static const int stop_signals[] = { SIGINT, SIGTERM, SIGHUP };
#define STOP_SIGNALS (sizeof(stop_signals) / sizeof(stop_signals[0]))

static volatile sig_atomic_t stop_wanted, status_wanted;
static bool caught[STOP_SIGNALS]; /* by us; the rest was ignored at the start */
static bool bar;
static unsigned shown; /* columns of the bar on the terminal */
static double last_shown;

/* What the rate is computed from: where the phase was when it was first seen. */
static struct {
	const char *phase;
	uint64_t done;
	double time;
} begin;

static void on_stop(int signal_number)
{
	(void)signal_number;
	stop_wanted = 1;
	for (unsigned i = 0; i < STOP_SIGNALS; i++)
		if (caught[i])
			signal(stop_signals[i], SIG_DFL);
}

static void on_status(int signal_number)
{
	(void)signal_number;
	status_wanted = 1;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- the line ---- */

static void append_left(char *text, size_t size, const struct progress_facts *facts)
{
	double seconds = (double)(facts->total - facts->done) / facts->rate;
	uint64_t whole = seconds < 1e9 ? (uint64_t)seconds : 0;

	if (seconds >= 1e9)
		return;
	if (whole >= 3600)
		append_text(text, size, ", %" PRIu64 ":%02u:%02u left", whole / 3600, (unsigned)(whole / 60 % 60),
			    (unsigned)(whole % 60));
	else
		append_text(text, size, ", %u:%02u left", (unsigned)(whole / 60), (unsigned)(whole % 60));
}

static void append_if_it_fits(char *line, size_t size, unsigned room, const char *text)
{
	if (strlen(line) + strlen(text) <= room)
		append_text(line, size, "%s", text);
}

static void put_bar_before(char *line, size_t size, unsigned room, unsigned percent)
{
	size_t used = strlen(line);
	char picture[BAR_MAX + 1], words[LINE_SIZE];
	unsigned width;

	if (used + BAR_MIN + 3 > room)
		return;
	width = room - (unsigned)used - 3 < BAR_MAX ? room - (unsigned)used - 3 : BAR_MAX;
	memset(picture, '.', width);
	memset(picture, '#', percent * width / 100);
	picture[width] = '\0';
	snprintf(words, sizeof(words), "%s", line);
	snprintf(line, size, "[%s] %s", picture, words);
}

void progress_line(char *line, size_t size, unsigned width, const struct progress_facts *facts)
{
	unsigned room = width && width <= size ? width - 1 : (unsigned)size - 1;
	unsigned percent = facts->total ? (unsigned)((double)facts->done / (double)facts->total * 100) : 0;
	char amount[64] = "", rate[64] = "", left[64] = "";

	if (facts->done && facts->total)
		snprintf(amount, sizeof(amount), ", %s of %s", human_size(facts->done), human_size(facts->total));
	if (facts->rate > 0 && facts->total >= facts->done) {
		snprintf(rate, sizeof(rate), ", %s/s", human_size((uint64_t)facts->rate));
		append_left(left, sizeof(left), facts);
	}
	if (facts->total)
		snprintf(line, (size_t)room + 1, "%3u%% %s", percent, facts->phase);
	else
		snprintf(line, (size_t)room + 1, "%s", facts->phase);
	append_if_it_fits(line, size, room, left);
	append_if_it_fits(line, size, room, amount);
	append_if_it_fits(line, size, room, rate);
	if (width)
		put_bar_before(line, size, room, percent);
}

/* Columns of the terminal, as it is now: whoever resizes it must not get a bar for each line. */
static unsigned columns(void)
{
	const char *text = getenv("COLUMNS");
	unsigned long told = text ? strtoul(text, NULL, 10) : 0;
	struct winsize size;
	unsigned width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) ? 0 : size.ws_col;

	if (told && told < LINE_SIZE && (!width || told < width))
		width = (unsigned)told;
	return !width ? 80 : width < 2 ? 2 : width;
}

void progress_clear(void)
{
	unsigned width = shown ? columns() - 1 : 0;

	if (shown)
		fprintf(stderr, "\r%*s\r", (int)(shown < width ? shown : width), "");
	shown = 0;
}

static void show_bar(const struct progress_facts *facts)
{
	char line[LINE_SIZE];
	unsigned before = shown, width = columns();

	progress_line(line, sizeof(line), width, facts);
	shown = (unsigned)strlen(line);
	fprintf(stderr, "\r%s", line);
	if (before > shown && before < width)
		fprintf(stderr, "%*s\r%s", (int)(before - shown), "", line);
	fflush(stderr);
}

static void show_line(const struct common *common, const struct progress_facts *facts)
{
	char line[LINE_SIZE];

	progress_clear();
	fflush(stdout);
	progress_line(line, sizeof(line), 0, facts);
	fprintf(stderr, "%s: %s\n", common->tool, line + strspn(line, " "));
}

/* ---- what the library polls ---- */

static double rate_of(const char *phase, uint64_t done, double time)
{
	if (!begin.phase || strcmp(begin.phase, phase) != 0 || done < begin.done) {
		begin.phase = phase;
		begin.done = done;
		begin.time = time;
	}
	return time - begin.time >= RATE_SECONDS ? (double)(done - begin.done) / (time - begin.time) : 0;
}

static void report(void *context, const char *phase, uint64_t done, uint64_t total)
{
	const struct common *common = context;
	double time = now();
	const struct progress_facts facts = { .phase = phase, .done = done, .total = total,
					      .rate = rate_of(phase, done, time) };

	if (status_wanted) {
		status_wanted = 0;
		show_line(common, &facts);
	}
	if (common->progress_mode == PROGRESS_NEVER || (common->quiet && common->progress_mode == PROGRESS_AUTO))
		return;
	if (time - last_shown < (bar ? BAR_SECONDS : LINE_SECONDS))
		return;
	last_shown = time;
	if (bar)
		show_bar(&facts);
	else
		show_line(common, &facts);
}

static int stop(void *context)
{
	(void)context;
	return stop_wanted || hook_stop();
}

static void catch_stop_signals(int flags)
{
	struct sigaction action = { .sa_handler = on_stop, .sa_flags = flags };

	for (unsigned i = 0; i < STOP_SIGNALS; i++)
		if (caught[i] && !stop_wanted)
			sigaction(stop_signals[i], &action, NULL);
}

void progress_interrupts(bool on)
{
	catch_stop_signals(on ? 0 : SA_RESTART);
}

void progress_start(struct common *common)
{
	struct sigaction action;

	bar = isatty(STDERR_FILENO);
	last_shown = now();
	common->progress = (struct wb_progress){ .context = common, .report = report, .stop = stop };
	for (unsigned i = 0; i < STOP_SIGNALS; i++)
		caught[i] = !sigaction(stop_signals[i], NULL, &action) && action.sa_handler != SIG_IGN;
	catch_stop_signals(SA_RESTART);
	signal(SIGUSR1, on_status);
}
