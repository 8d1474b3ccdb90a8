/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The holes of sparse images: whether there is room to fill them, and what lies in one. */
#ifndef SPACE_H
#define SPACE_H

#include <sys/types.h>

#include "common.h"

/* An image whose file system is too full. */
struct space {
	int fd;
	dev_t file_system;
	uint64_t unit;     /* the file system allocates so many bytes at once */
	uint64_t available;
	uint64_t needed;   /* by the extents counted so far */
	uint64_t counted;  /* everything below this byte has been counted */
};

/* False when so many sectors find room for certain, in a device or in an image, or when nothing can be found out. When
 * true, count the extents and close it. */
bool space_may_be_short(struct space *space, const char *path, uint64_t sectors);
/* One of the extents to be written, which ascend. */
void space_count(struct space *space, uint64_t offset, uint64_t length);
void space_close(struct space *space);
/* Refuses an image of which more holes were counted than find room. 0 or an exit status. */
int space_refuse(const struct common *common, const struct space *space, const char *path);
/* Of a dry run: refuses --undo=FILE where the old bytes of so many sectors find no room, beside what was counted of an image that
 * lies there too. 0 or an exit status. */
int space_refuse_undo(const struct common *common, const char *path, uint64_t sectors, const struct space *image);

/* Whether this part of an image was never written: a hole of a sparse file. */
bool lies_in_hole(int fd, uint64_t offset, uint64_t length);

#endif
