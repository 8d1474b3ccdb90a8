/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asks the file system where an image has data: see space.h. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "place.h"
#include "space.h"

#define UNDO_SECTOR (WB_SECTOR + 4u) /* with the sum of what is written over it */

bool space_may_be_short(struct space *space, const char *path, uint64_t sectors)
{
	struct statvfs fs;
	struct stat st;

	*space = (struct space){ .fd = open(place_of(path), O_RDONLY | O_CLOEXEC) };
	if (space->fd < 0 || fstat(space->fd, &st) || !S_ISREG(st.st_mode) || fstatvfs(space->fd, &fs) || !fs.f_bsize) {
		space_close(space);
		return false;
	}
	space->file_system = st.st_dev;
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

int space_refuse(const struct common *common, const struct space *space, const char *path)
{
	if (space->needed <= space->available)
		return 0;
	return common_refuse(common, path, "no space left: the holes of this image that would be filled need %s, and its file system has "
			     "%s; make room there, then run this again", human_size(space->needed), human_size(space->available));
}

int space_refuse_undo(const struct common *common, const char *path, uint64_t sectors, const struct space *image)
{
	char *copy = strdup(path), *folder = copy ? dirname(copy) : NULL;
	uint64_t needed = sectors * UNDO_SECTOR, available = UINT64_MAX;
	struct statvfs fs;
	struct stat st;

	if (folder && !stat(folder, &st) && !statvfs(folder, &fs) && fs.f_blocks)
		available = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (available != UINT64_MAX && image->file_system == st.st_dev)
		needed += image->needed;
	free(copy);
	if (needed <= available)
		return 0;
	return common_refuse(common, path, "no space left: recording what would be overwritten needs %s, and this file system has %s; give "
			     "--undo a place with more room", human_size(needed), human_size(available));
}

bool lies_in_hole(int fd, uint64_t offset, uint64_t length)
{
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA);

	return data < 0 ? errno == ENXIO : (uint64_t)data >= offset + length;
}
