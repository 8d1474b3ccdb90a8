/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bar on a terminal, else a line every five seconds. The first signal asks to stop, the second ends at once. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hooks.h"
#include "progress.h"

#define LINE_SECONDS 5.0
#define BAR_SECONDS 0.1
#define BAR_WIDTH 40

static volatile sig_atomic_t stop_wanted, status_wanted;
static bool bar, bar_shown;
static double last_shown;

static void on_stop(int signal_number)
{
	stop_wanted = 1;
	signal(signal_number, SIG_DFL);
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

void progress_clear(void)
{
	if (bar_shown)
		fprintf(stderr, "\r%*s\r", BAR_WIDTH + 40, "");
	bar_shown = false;
}

static void show_bar(const char *phase, unsigned percent)
{
	char line[BAR_WIDTH + 1];
	unsigned filled = percent * BAR_WIDTH / 100;

	memset(line, '.', BAR_WIDTH);
	memset(line, '#', filled);
	line[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r[%s] %3u%% %-28.28s", line, percent, phase);
	fflush(stderr);
	bar_shown = true;
}

static void report(void *context, const char *phase, uint64_t done, uint64_t total)
{
	const struct common *common = context;
	unsigned percent = total ? (unsigned)((double)done / (double)total * 100) : 100;
	double time = now();

	if (status_wanted) {
		status_wanted = 0;
		progress_clear();
		fprintf(stderr, "%s: %s, %u%%\n", common->tool, phase, percent);
	}
	if (common->progress_mode == PROGRESS_NEVER || (common->quiet && common->progress_mode == PROGRESS_AUTO))
		return;
	if (time - last_shown < (bar ? BAR_SECONDS : LINE_SECONDS))
		return;
	last_shown = time;
	if (bar)
		show_bar(phase, percent);
	else
		fprintf(stderr, "%s: %s, %u%%\n", common->tool, phase, percent);
}

static int stop(void *context)
{
	(void)context;
	return stop_wanted || hook_stop();
}

static void unless_ignored(int signal_number)
{
	struct sigaction action;

	if (sigaction(signal_number, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
		signal(signal_number, on_stop);
}

void progress_start(struct common *common)
{
	bar = isatty(STDERR_FILENO);
	last_shown = now();
	common->progress = (struct wb_progress){ .context = common, .report = report, .stop = stop };
	unless_ignored(SIGINT);
	unless_ignored(SIGTERM);
	unless_ignored(SIGHUP);
	signal(SIGUSR1, on_status);
}
