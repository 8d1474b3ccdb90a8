/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Batches through io_uring: at most DEPTH requests in flight, short transfers continued where they ended. */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

#include "dev.h"

#define DEPTH 128u

struct flight {
	struct wb_io *io;
	uint32_t done;
};

struct wb_uring {
	struct io_uring ring;
	struct flight flights[DEPTH];
	unsigned free[DEPTH], free_count;
};

struct wb_uring *wb_uring_open(void)
{
	struct wb_uring *uring = calloc(1, sizeof(*uring));

	if (uring && io_uring_queue_init(DEPTH, &uring->ring, 0)) {
		free(uring);
		return NULL;
	}
	return uring;
}

void wb_uring_close(struct wb_uring *uring)
{
	if (!uring)
		return;
	io_uring_queue_exit(&uring->ring);
	free(uring);
}

static void launch(struct wb_uring *uring, int fd, unsigned which)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
	struct flight *flight = &uring->flights[which];
	struct wb_io *io = flight->io;
	char *at = (char *)io->buffer + flight->done;

	if (io->write)
		io_uring_prep_write(sqe, fd, at, io->length - flight->done, io->offset + flight->done);
	else
		io_uring_prep_read(sqe, fd, at, io->length - flight->done, io->offset + flight->done);
	io_uring_sqe_set_data64(sqe, which);
}

/* True when the request has come to its end; otherwise it must be launched again. */
static bool land(struct flight *flight, int res)
{
	struct wb_io *io = flight->io;

	if (res == -EINTR || res == -EAGAIN)
		return false;
	if (res <= 0) {
		io->result = res ? res : io->write ? -ENOSPC : -ENODATA;
		return true;
	}
	flight->done += (uint32_t)res;
	return flight->done == io->length;
}

void wb_uring_submit(struct wb_uring *uring, int fd, struct wb_io *io, unsigned n)
{
	unsigned next = 0, flying = 0;
	bool write_failed = false;

	uring->free_count = DEPTH;
	for (unsigned i = 0; i < DEPTH; i++)
		uring->free[i] = i;
	while (next < n || flying) {
		while (next < n && uring->free_count) {
			if (!io[next].length || (io[next].write && write_failed)) {
				io[next].result = io[next].length ? -ECANCELED : 0;
				next++;
				continue;
			}
			unsigned which = uring->free[--uring->free_count];

			uring->flights[which] = (struct flight){ .io = &io[next++] };
			launch(uring, fd, which);
			flying++;
		}
		if (!flying)
			break;
		/* several at a time: waking up for each would cost more than the quarter of the depth that waits */
		int submitted = io_uring_submit_and_wait(&uring->ring, next < n ? DEPTH / 4 : flying);
		struct io_uring_cqe *cqe;

		/* anything else would mean that this file misuses the ring */
		assert(submitted >= 0 || submitted == -EINTR || submitted == -EAGAIN || submitted == -EBUSY);
		(void)submitted;
		while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
			unsigned which = (unsigned)io_uring_cqe_get_data64(cqe);
			struct flight *flight = &uring->flights[which];

			if (land(flight, cqe->res)) {
				write_failed |= flight->io->write && flight->io->result;
				uring->free[uring->free_count++] = which;
				flying--;
			} else {
				launch(uring, fd, which);
			}
			io_uring_cqe_seen(&uring->ring, cqe);
		}
	}
}
