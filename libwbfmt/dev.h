/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a device implements. The checks that hold for every device are in dev.c, above the table. */
#ifndef WB_DEV_H
#define WB_DEV_H

#include <sys/types.h>

#include "wbfmt.h"

struct wb_dev_ops {
	/* Every request lies within the device. Sets each result; runs in any order, but starts no write after one failed. */
	void (*submit)(struct wb_dev *dev, struct wb_io *io, unsigned n);
	int (*flush)(struct wb_dev *dev); /* 0 or a negative errno */
	/* The range lies within the device. 0 or a negative errno; NULL: it cannot. */
	int (*discard)(struct wb_dev *dev, uint64_t offset, uint64_t length);
	void (*forget)(struct wb_dev *dev);
	void (*close)(struct wb_dev *dev); /* frees dev */
};

/* First member of every implementation's own struct. */
struct wb_dev {
	const struct wb_dev_ops *ops;
	uint64_t number; /* the address of a device that is no wrapper */
	uint64_t size;
	unsigned block;
	unsigned physical; /* sector size inside, where it is known and aligned; else 0 */
	bool is_block, busy;
	int lock_error; /* of an image: why its file system could not lock it, an errno; 0: it did, or nobody asked */
	bool grows; /* writes behind the end make it longer */
	bool parallel; /* any number of threads may read while one writes; otherwise one thread at a time */
	dev_t device; /* of the file system, or of the block device itself */
	ino_t inode;  /* 0 for a block device */
	int fd_or_none; /* 1 + the descriptor; 0: there is none */
	const struct wb_pack_info *pack; /* NULL for any other device */
};

/* Where a window keeps the device that it is part of; NULL: dev is no window. */
struct wb_dev **wb_window_inner(struct wb_dev *dev);

/* Whether dev is one of wb_dev_limit(). */
bool wb_dev_limited(const struct wb_dev *dev);

/* The engines. Each carries out one batch at a time, as wb_dev_ops.submit, on a file descriptor. */

/* io_uring; NULL where the kernel refuses it. */
struct wb_uring;
struct wb_uring *wb_uring_open(void);
void wb_uring_submit(struct wb_uring *uring, int fd, struct wb_io *io, unsigned n);
/* The kernel refused it during a batch, which was carried out all the same: use another engine for the next one. */
bool wb_uring_broken(const struct wb_uring *uring);
void wb_uring_close(struct wb_uring *uring);

/* Threads, started by the first batches that can use them; NULL without memory. */
struct wb_threads;
struct wb_threads *wb_threads_open(void);
void wb_threads_submit(struct wb_threads *pool, int fd, struct wb_io *io, unsigned n);
void wb_threads_close(struct wb_threads *pool);

/* Refuses logical blocks of a size in bytes that our buffers and the blocks of a cache do not fit: WB_EOPEN. */
int wb_check_block(int block, struct wb_error *err);

/* pread or pwrite of all of it: 0 or a negative errno. */
int wb_transfer(int fd, bool write, void *bytes, uint32_t length, uint64_t offset);

#endif
