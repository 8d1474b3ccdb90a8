/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names that are followed once: see place.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "place.h"
#include "wbfmt.h"

static struct place {
	struct place *next;
	char *path, name[40];
	int fd, failed; /* failed: an errno */
} *places;

static struct place *find(const char *path)
{
	struct place *place = places;

	while (place && strcmp(place->path, path) != 0)
		place = place->next;
	return place;
}

/* A device that is open keeps its number, and one that is only named does not; others are not opened, which may wait or do something. */
static int hold(const char *path)
{
	int place = open(path, O_PATH | O_CLOEXEC);
	struct stat st;
	int fd = place < 0 || fstat(place, &st) || !S_ISBLK(st.st_mode) ? -1 : wb_open_again(place, path, O_RDONLY | O_NONBLOCK);

	if (fd < 0)
		return place;
	close(place);
	return fd;
}

static struct place *add(const char *path)
{
	struct place *place = calloc(1, sizeof(*place));

	if (!place || !(place->path = strdup(path))) {
		free(place);
		return NULL;
	}
	place->fd = hold(path);
	place->failed = place->fd < 0 ? errno : 0;
	snprintf(place->name, sizeof(place->name), "/proc/self/fd/%d", place->fd);
	place->next = places;
	places = place;
	return place;
}

const char *place_of(const char *path)
{
	static bool asked, has_proc;
	struct place *place = find(path);

	if (!asked)
		has_proc = !access("/proc/self/fd", X_OK);
	asked = true;
	if (!place && has_proc)
		place = add(path);
	return place ? place->name : path;
}

const char *place_known(const char *path)
{
	const struct place *place = find(path);

	return place ? place->name : path;
}

int place_error(const char *path)
{
	place_of(path);

	const struct place *place = find(path);

	return place ? place->failed : 0;
}

void place_forget(void)
{
	while (places) {
		struct place *place = places;

		places = place->next;
		if (place->fd >= 0)
			close(place->fd);
		free(place->path);
		free(place);
	}
}
