/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/dev_uring.c: whatever io_uring_enter() answers, every request comes to its end, with the right bytes. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <unistd.h>

#include "cache_builder.h"
#include "dev.h"

#define BLOCKS 400u /* more than the ring is deep */

/* From the `from`-th call on, `times` calls answer `error` without asking the kernel. */
static struct {
	int error;
	unsigned from, times, calls;
} refusal;

/* What the first `times` calls submit is not carried out and told as an error; error 0: half of it is. late: all of the first
 * call are completed, and told a moment later than its own failure. */
static struct {
	int error;
	unsigned times;
	bool late;
	pthread_t teller;
	struct io_uring *ring;
	unsigned tail;
} completion;

static void *tell(void *unused)
{
	const struct timespec moment = { .tv_nsec = 5000000 };

	(void)unused;
	nanosleep(&moment, NULL);
	__atomic_store_n(completion.ring->cq.ktail, completion.tail, __ATOMIC_RELEASE);
	return NULL;
}

static int tell_late(struct io_uring *ring)
{
	completion.ring = ring;
	completion.tail = *ring->cq.ktail;
	completion.late = false;
	__atomic_store_n(ring->cq.ktail, *ring->cq.khead, __ATOMIC_RELEASE);
	assert_int_equal(pthread_create(&completion.teller, NULL, tell, NULL), 0);
	return -EIO;
}

static void change_requests(struct io_uring *ring)
{
	struct io_uring_sq *sq = &ring->sq;

	for (unsigned i = sq->sqe_tail - io_uring_sq_ready(ring); i != sq->sqe_tail; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[i & (*sq->kring_entries - 1)];

		if (completion.error)
			sqe->opcode = IORING_OP_NOP;
		else
			sqe->len /= 2;
	}
}

static void change_results(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	unsigned head;

	io_uring_for_each_cqe(ring, head, cqe)
		cqe->res = cqe->res ? cqe->res : completion.error;
}

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned at_least);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned at_least);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned at_least)
{
	unsigned call = refusal.calls++;

	if (call >= refusal.from && call - refusal.from < refusal.times)
		return refusal.error;
	if (completion.times)
		change_requests(ring);
	int submitted = __real_io_uring_submit_and_wait(ring, completion.late ? io_uring_sq_ready(ring) : at_least);

	completion.times -= completion.times != 0;
	change_results(ring);
	return completion.late ? tell_late(ring) : submitted;
}

static uint8_t (*bytes)[WB_BLOCK], (*on_disk)[WB_BLOCK];

static int open_file(void)
{
	char path[] = "/tmp/test_dev_uring.XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static void fill(void)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		memset(bytes[i], (int)(i % 251 + 1), WB_BLOCK);
}

static void describe(struct wb_io *io, bool write)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		io[i] = (struct wb_io){ .buffer = bytes[i], .offset = (uint64_t)i * WB_BLOCK, .length = WB_BLOCK, .write = write };
}

/* Writes and reads all blocks through a ring that is refused as told. Returns whether the ring was given up. */
static bool survives(struct wb_uring *uring, int fd)
{
	struct wb_io io[BLOCKS];

	fill();
	describe(io, true);
	wb_uring_submit(uring, fd, io, BLOCKS);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_int_equal(io[i].result, 0);
	assert_int_equal(pread(fd, on_disk, BLOCKS * WB_BLOCK, 0), BLOCKS * WB_BLOCK);
	assert_memory_equal(on_disk, bytes, BLOCKS * WB_BLOCK);
	memset(bytes, 0, BLOCKS * WB_BLOCK);
	describe(io, false);
	wb_uring_submit(uring, fd, io, BLOCKS);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_int_equal(io[i].result, 0);
	assert_memory_equal(on_disk, bytes, BLOCKS * WB_BLOCK);
	return wb_uring_broken(uring);
}

static void whatever_io_uring_enter_answers_every_request_is_carried_out(void **state)
{
	static const struct {
		int error;
		unsigned from, times;
		bool broken;
	} rows[] = {
		{ -EPERM, 0, UINT32_MAX, true },   { -ENOSYS, 0, UINT32_MAX, true }, { -ENOMEM, 0, 1, true },
		{ -EIO, 1, 1, true },              { -EINVAL, 2, 1, true },          { -ENOMEM, 5, UINT32_MAX, true },
		{ -EAGAIN, 0, UINT32_MAX, true },  { -EBUSY, 1, UINT32_MAX, true },  { -EINTR, 0, UINT32_MAX, true },
		{ -EAGAIN, 0, 20, false },         { -EBUSY, 2, 20, false },         { -EINTR, 1, 20, false },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct wb_uring *uring = wb_uring_open();
		int fd = open_file();

		if (!uring)
			skip(); /* the kernel has none */
		refusal.error = rows[i].error;
		refusal.from = rows[i].from;
		refusal.times = rows[i].times;
		refusal.calls = 0;
		if (survives(uring, fd) != rows[i].broken)
			fail_msg("row %u: the ring was %s", i, rows[i].broken ? "not given up" : "given up");
		wb_uring_close(uring);
		close(fd);
	}
	refusal.times = 0;
}

/* The kernel does not know such requests, has no memory for them, or carries them out in parts. */
static void whatever_is_said_of_a_request_it_is_carried_out(void **state)
{
	static const struct { int error; unsigned times; bool late; } rows[] = {
		{ -EAGAIN, 1, false }, { -EINVAL, UINT32_MAX, false }, { -EINTR, 2, false }, { -EOPNOTSUPP, UINT32_MAX, false },
		{ -ENOMEM, 3, false }, { 0, 1, false }, { 0, 4, false },
		{ 0, 0, true },        { 0, 1, true }, { -EAGAIN, 1, true }, /* nobody waits for it in the ring that is given up */
	};

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(rows); i++) {
		struct wb_uring *uring = wb_uring_open();
		int fd = open_file();

		if (!uring)
			skip();
		completion.error = rows[i].error;
		completion.times = rows[i].times;
		completion.late = rows[i].late;
		assert_int_equal(survives(uring, fd), rows[i].late);
		if (rows[i].late)
			pthread_join(completion.teller, NULL);
		completion.times = 0;
		completion.error = 0;
		wb_uring_close(uring);
		close(fd);
	}
}

/* The rules of wb_dev_ops.submit hold without the ring too. */
static void after_a_failed_write_nothing_more_is_written_when_the_ring_is_given_up(void **state)
{
	struct wb_uring *uring = wb_uring_open();
	int fd = open("/dev/full", O_RDWR);
	struct wb_io io[BLOCKS];

	(void)state;
	if (!uring || fd < 0)
		skip();
	refusal.error = -ENOMEM;
	refusal.from = refusal.calls = 0;
	refusal.times = UINT32_MAX;
	describe(io, true);
	wb_uring_submit(uring, fd, io, BLOCKS);
	assert_int_equal(io[0].result, -ENOSPC);
	for (unsigned i = 1; i < BLOCKS; i++)
		assert_int_equal(io[i].result, -ECANCELED);
	refusal.times = 0;
	wb_uring_close(uring);
	close(fd);
}

/* The device continues with threads, and does not ask the kernel again. */
static void a_device_whose_ring_is_refused_goes_on_with_threads(void **state)
{
	char path[] = "/tmp/test_dev_uring.XXXXXX";
	int fd = mkstemp(path);
	struct wb_io io[BLOCKS];
	struct wb_error err;
	struct wb_dev *dev;

	(void)state;
	assert_true(fd >= 0);
	fill();
	assert_int_equal(pwrite(fd, bytes, BLOCKS * WB_BLOCK, 0), BLOCKS * WB_BLOCK);
	close(fd);
	refusal.error = -EPERM;
	refusal.from = refusal.calls = 0;
	refusal.times = UINT32_MAX;
	assert_int_equal(wb_dev_open(&dev, path, WB_OPEN_READ, &err), 0);
	for (unsigned round = 0; round < 3; round++) {
		memset(bytes, 0, BLOCKS * WB_BLOCK);
		describe(io, false);
		assert_int_equal(wb_dev_submit(dev, io, BLOCKS, &err), 0);
		for (unsigned i = 0; i < BLOCKS; i++)
			assert_int_equal(bytes[i][7], i % 251 + 1);
	}
	assert_in_range(refusal.calls, 0, 1);
	refusal.times = 0;
	wb_dev_close(dev);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_io_uring_enter_answers_every_request_is_carried_out),
		cmocka_unit_test(whatever_is_said_of_a_request_it_is_carried_out),
		cmocka_unit_test(after_a_failed_write_nothing_more_is_written_when_the_ring_is_given_up),
		cmocka_unit_test(a_device_whose_ring_is_refused_goes_on_with_threads),
	};

	if (posix_memalign((void **)&bytes, WB_BLOCK, BLOCKS * WB_BLOCK) ||
	    posix_memalign((void **)&on_disk, WB_BLOCK, BLOCKS * WB_BLOCK))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	free(bytes);
	free(on_disk);
	return failed;
}
