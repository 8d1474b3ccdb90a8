/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The power supply of test builds, and what else they are told; empty in others. */
#include "hooks.h"

#ifdef WB_TEST_HOOKS
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/uio.h>

static struct wb_power power = { .left = UINT64_MAX };
static uint64_t names;

/* A number in the environment, or what there is without it. */
static uint64_t told(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void end(void)
{
	wb_power_end(&power);
	if (getenv("WB_TEST_COUNTS"))
		dprintf((int)told("WB_TEST_COUNTS", 0), "%" PRIu64 " %" PRIu64 " %" PRIu64 " %d\n", power.writes, power.flushes,
			names, power.dead);
}

/* As the environment has it; the first caller starts the clock. */
static struct wb_fault plan(void)
{
	struct wb_fault fault = { .power = &power };
	const char *text = getenv("WB_TEST_POWER");
	unsigned cut = 0;
	uint64_t left;
	static bool begun;

	if (!begun)
		atexit(end);
	begun = true;
	if (text && sscanf(text, "%" SCNu64 ":%u:%" SCNu64, &left, &cut, &fault.seed) == 3 && power.left == UINT64_MAX) {
		power.left = left;
		power.lingers = true;
	}
	fault.cut = (enum wb_cut)cut;
	return fault;
}

int hook_device(struct wb_dev **dev, struct wb_error *err)
{
	const struct wb_fault fault = plan();

	if (wb_dev_pack_info(*dev)) /* nobody writes to it, and the library wants it as it is */
		return 0;
	return wb_dev_fault(dev, *dev, &fault, err);
}

bool hook_step(void)
{
	plan();
	errno = EIO;
	if (power.dead)
		return false;
	names++;
	if (!power.left)
		power.dead = true;
	else if (power.left != UINT64_MAX)
		power.left--;
	return !power.dead;
}

/* ---- output files ---- */

/* A file that is written through a fault device of its own. */
static struct watched {
	FILE *stream; /* NULL: none */
	int fd;
	struct wb_dev *dev;
	uint64_t at;  /* of fd */
} files[8];
#define WATCHED (sizeof(files) / sizeof(files[0]))

static struct watched *find(const FILE *stream, int fd)
{
	for (struct watched *file = files; file < files + WATCHED; file++)
		if (stream ? file->stream == stream : file->stream && file->fd == fd)
			return file;
	return NULL;
}

static ssize_t put(struct watched *file, const void *bytes, size_t size, uint64_t at)
{
	struct wb_error err;

	if (!wb_dev_write(file->dev, at, bytes, (uint32_t)size, &err))
		return (ssize_t)size;
	errno = err.sys;
	return -1;
}

ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t size, off_t at);

ssize_t __wrap_write(int fd, const void *bytes, size_t size)
{
	struct watched *file = find(NULL, fd);
	const struct iovec all = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
	ssize_t n = file ? put(file, bytes, size, file->at) : writev(fd, &all, 1);

	if (file && n > 0)
		file->at += (uint64_t)n;
	return n;
}

ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t size, off_t at)
{
	struct watched *file = find(NULL, fd);
	const struct iovec all = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };

	return file ? put(file, bytes, size, (uint64_t)at) : pwritev(fd, &all, 1, at);
}

static ssize_t stream_write(void *fd, const char *bytes, size_t size)
{
	ssize_t n = __wrap_write((int)(intptr_t)fd, bytes, size);

	return n < 0 ? 0 : n;
}

static int stream_close(void *fd)
{
	struct watched *file = find(NULL, (int)(intptr_t)fd);

	wb_dev_close(file->dev);
	file->stream = NULL;
	return close((int)(intptr_t)fd);
}

FILE *hook_stream(int fd, const char *path)
{
	const cookie_io_functions_t functions = { .write = stream_write, .close = stream_close };
	struct watched *file = files;
	struct wb_error err;

	while (file->stream)
		if (++file == files + WATCHED)
			return NULL;
	*file = (struct watched){ .fd = fd };
	if (wb_dev_open(&file->dev, path, WB_OPEN_WRITE | WB_OPEN_GROW | WB_OPEN_THREADS, &err) || hook_device(&file->dev, &err))
		return NULL;
	file->stream = fopencookie((void *)(intptr_t)fd, "w", functions);
	return file->stream;
}

int hook_sync(FILE *stream)
{
	struct watched *file = find(stream, 0);
	struct wb_error err;

	if (fflush(stream))
		return -1;
	if (!wb_dev_flush(file->dev, &err))
		return 0;
	errno = err.sys;
	return -1;
}

bool hook_stop(void)
{
	static unsigned long polls;
	const char *text = getenv("WB_TEST_STOP");

	return text && ++polls >= strtoul(text, NULL, 10);
}

size_t hook_capacity(size_t capacity)
{
	return (size_t)told("WB_TEST_CAPACITY", capacity);
}

unsigned hook_interval(unsigned seconds)
{
	return (unsigned)told("WB_TEST_INTERVAL", seconds);
}

void hook_repeatable(uint64_t *id, uint64_t *now)
{
	if (getenv("WB_TEST_REPEATABLE"))
		*id = *now = 1;
}
#endif
