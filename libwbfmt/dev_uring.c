/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Batches through io_uring: at most DEPTH requests in flight, short transfers continued where they ended. The kernel may
 * refuse io_uring_enter() at any time, although it set up the ring (seccomp, no memory): then the ring is given up, what
 * the kernel has taken is awaited, and the rest of the batch is carried out one by one.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <time.h>

#include "dev.h"

#define DEPTH 128u
#define PATIENCE 1000u /* calls without a completion, 1 ms apart, before the ring is given up */

struct flight {
	struct wb_io *io;
	uint32_t done;
};

struct wb_uring {
	struct io_uring ring;
	struct flight flights[DEPTH];
	unsigned free[DEPTH], free_count;
	bool broken;
	/* the batch */
	int fd;
	bool write_failed;
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

bool wb_uring_broken(const struct wb_uring *uring)
{
	return uring->broken;
}

static void launch(struct wb_uring *uring, unsigned which)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
	struct flight *flight = &uring->flights[which];
	struct wb_io *io = flight->io;
	char *at = (char *)io->buffer + flight->done;

	if (io->write)
		io_uring_prep_write(sqe, uring->fd, at, io->length - flight->done, io->offset + flight->done);
	else
		io_uring_prep_read(sqe, uring->fd, at, io->length - flight->done, io->offset + flight->done);
	io_uring_sqe_set_data64(sqe, which);
}

/* Carries out the rest of a request without the ring. */
static void finish(struct wb_uring *uring, struct flight *flight)
{
	struct wb_io *io = flight->io;

	if (io->write && uring->write_failed)
		io->result = -ECANCELED;
	else
		io->result = wb_transfer(uring->fd, io->write, (char *)io->buffer + flight->done, io->length - flight->done,
					 io->offset + flight->done);
}

/* The kernel says something about itself and not about the device: 5.1 to 5.5 do not know these requests. */
static bool is_of_the_ring(int res)
{
	return res == -EINTR || res == -EAGAIN || res == -EINVAL || res == -EOPNOTSUPP || res == -ENOMEM;
}

/* True when the request has come to its end; otherwise the rest of it must be launched. */
static bool land(struct wb_uring *uring, struct flight *flight, int res)
{
	struct wb_io *io = flight->io;

	if (is_of_the_ring(res)) {
		finish(uring, flight);
		return true;
	}
	if (res <= 0) {
		io->result = res ? res : io->write ? -ENOSPC : -ENODATA;
		return true;
	}
	flight->done += (uint32_t)res;
	return flight->done == io->length;
}

/* Takes in what has been completed; returns how many completions there were. */
static unsigned reap(struct wb_uring *uring, unsigned *flying)
{
	struct io_uring_cqe *cqe;
	unsigned count = 0;

	for (; io_uring_peek_cqe(&uring->ring, &cqe) == 0; count++) {
		unsigned which = (unsigned)io_uring_cqe_get_data64(cqe);
		struct flight *flight = &uring->flights[which];
		bool landed = land(uring, flight, cqe->res);

		io_uring_cqe_seen(&uring->ring, cqe);
		if (!landed && !uring->broken) {
			launch(uring, which);
			continue;
		}
		if (!landed)
			finish(uring, flight);
		uring->write_failed |= flight->io->write && flight->io->result;
		uring->free[uring->free_count++] = which;
		--*flying;
	}
	return count;
}

static void wait_a_moment(void)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	nanosleep(&moment, NULL);
}

/* Gives the ring up: the kernel will take no more of it, and what it has taken must not outlive the batch. */
static void break_off(struct wb_uring *uring, unsigned *flying)
{
	struct io_uring_sq *sq = &uring->ring.sq;
	unsigned waiting = io_uring_sq_ready(&uring->ring);

	uring->broken = true;
	*flying -= waiting;
	for (unsigned i = sq->sqe_tail - waiting; i != sq->sqe_tail; i++) {
		struct flight *flight = &uring->flights[sq->sqes[i & (DEPTH - 1)].user_data];

		finish(uring, flight);
		uring->write_failed |= flight->io->write && flight->io->result;
	}
	while (*flying)
		if (!reap(uring, flying))
			wait_a_moment();
}

/* Submits and waits for some of it. Whatever the kernel answers counts only by what has been completed. */
static void turn(struct wb_uring *uring, unsigned *flying, unsigned at_least, unsigned *fruitless)
{
	int submitted = io_uring_submit_and_wait(&uring->ring, at_least);
	bool passes = submitted >= 0 || submitted == -EINTR || submitted == -EAGAIN || submitted == -EBUSY;

	if (reap(uring, flying))
		*fruitless = 0;
	else if (submitted < 0 && ++*fruitless >= PATIENCE)
		passes = false;
	else if (submitted < 0 && passes)
		wait_a_moment();
	if (!passes)
		break_off(uring, flying);
}

static void carry_out(struct wb_uring *uring, struct wb_io *io)
{
	struct flight flight = { .io = io };

	finish(uring, &flight);
	uring->write_failed |= io->write && io->result;
}

void wb_uring_submit(struct wb_uring *uring, int fd, struct wb_io *io, unsigned n)
{
	unsigned next = 0, flying = 0, fruitless = 0;

	uring->fd = fd;
	uring->write_failed = false;
	uring->free_count = DEPTH;
	for (unsigned i = 0; i < DEPTH; i++)
		uring->free[i] = i;
	while ((next < n || flying) && !uring->broken) {
		for (; next < n && uring->free_count; next++) {
			if (!io[next].length || (io[next].write && uring->write_failed)) {
				io[next].result = io[next].length ? -ECANCELED : 0;
				continue;
			}
			unsigned which = uring->free[--uring->free_count];

			uring->flights[which] = (struct flight){ .io = &io[next] };
			launch(uring, which);
			flying++;
		}
		/* several at a time: waking up for each would cost more than the quarter of the depth that waits */
		if (flying)
			turn(uring, &flying, next < n ? DEPTH / 4 : flying, &fruitless);
	}
	for (; next < n; next++)
		carry_out(uring, &io[next]);
}
