/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State files of wb-flush-dirty: what is read is what was written, and is written again the same. */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "output.h"
#include "record.h"
#include "state.h"

static char *saved; /* what state_save() writes */
static size_t saved_size;

/* What state.c takes of common.c, record.c and output.c. */
int record_open(const struct common *common, int *fd, const char *path, bool writes)
{
	(void)common;
	(void)writes;
	*fd = open(path, O_RDONLY | O_CLOEXEC);
	return 0;
}

int common_refuse(const struct common *common, const char *path, const char *format, ...)
{
	(void)common;
	(void)path;
	(void)format;
	return EXIT_REFUSED;
}

int output_renew(const struct common *common, struct output *output, const char *path)
{
	(void)common;
	(void)path;
	free(saved);
	output->file = open_memstream(&saved, &saved_size);
	HOLDS(output->file);
	return 0;
}

int output_create(const struct common *common, struct output *output, const char *path)
{
	return output_renew(common, output, path);
}

int output_complete(const struct common *common, struct output *output)
{
	(void)common;
	HOLDS(!fclose(output->file));
	return 0;
}

static int load(const uint8_t *bytes, size_t size, struct state *state)
{
	static int fd = -1;
	static char path[64];
	bool exists;

	if (fd < 0) {
		fd = memfd_create("state", 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	HOLDS(fd >= 0 && !ftruncate(fd, 0) && pwrite(fd, bytes, size, 0) == (ssize_t)size);
	int status = state_load(NULL, path, state, &exists);

	HOLDS(exists);
	return status;
}

static void save(const struct state *state)
{
	HOLDS(!state_save(NULL, "nowhere/state", state, true));
}

static bool same(const struct state *a, const struct state *b)
{
	return !state_difference(a, b, false) && a->outside == b->outside && a->cut == b->cut && a->ids == b->ids && a->undo == b->undo &&
	       a->undone == b->undone && a->unreadable == b->unreadable && a->flushed == b->flushed && a->ended == b->ended;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state state = { .cache = NULL }, again = { .cache = NULL };

	if (!load(data, size, &state)) {
		save(&state);
		HOLDS(!load((const uint8_t *)saved, saved_size, &again));
		HOLDS(same(&state, &again));
	}
	state_release(&state);
	state_release(&again);
	return 0;
}
