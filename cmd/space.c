/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asks the file system where an image has data: see space.h. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "space.h"

bool space_may_be_short(struct space *space, const char *path, uint64_t sectors)
{
	struct statvfs fs;
	struct stat st;

	*space = (struct space){ .fd = open(path, O_RDONLY | O_CLOEXEC) };
	if (space->fd < 0 || fstat(space->fd, &st) || !S_ISREG(st.st_mode) || fstatvfs(space->fd, &fs) || !fs.f_bsize) {
		space_close(space);
		return false;
	}
	space->unit = fs.f_bsize;
	space->available = (uint64_t)fs.f_bavail * fs.f_frsize;
	/* at worst every sector lies in a unit of its own */
	if ((uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size && space->available / space->unit < sectors)
		return true;
	space_close(space);
	return false;
}

static void count_hole(struct space *space, uint64_t begin, uint64_t end)
{
	begin -= begin % space->unit;
	end += (space->unit - end % space->unit) % space->unit;
	if (begin < space->counted)
		begin = space->counted;
	if (end <= begin)
		return;
	space->needed += end - begin;
	space->counted = end;
}

void space_count(struct space *space, uint64_t offset, uint64_t length)
{
	off_t end = (off_t)(offset + length);

	for (off_t at = (off_t)offset; at < end;) {
		off_t hole = lseek(space->fd, at, SEEK_HOLE);
		off_t data = hole < 0 || hole >= end ? end : lseek(space->fd, hole, SEEK_DATA);

		if (hole < 0 || hole >= end)
			return;
		if (data < 0 || data > end)
			data = end;
		count_hole(space, (uint64_t)hole, (uint64_t)data);
		at = data;
	}
}

void space_close(struct space *space)
{
	if (space->fd >= 0)
		close(space->fd);
	space->fd = -1;
}

bool lies_in_hole(int fd, uint64_t offset, uint64_t length)
{
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA);

	return data < 0 ? errno == ENXIO : (uint64_t)data >= offset + length;
}
