/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/dev.c, dev_file.c, dev_uring.c and dev_mem.c: ranges, both engines, locks, and what is refused. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache_builder.h"

#define SIZE (1u << 20)

static const unsigned engines[] = { 0, WB_OPEN_THREADS };

static char path[4096]; /* of the image, made anew for each test */

static int make_image(void **state)
{
	const char *folder = getenv("TMPDIR");
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/test_dev.XXXXXX", folder && *folder ? folder : "/tmp");
	fd = mkstemp(path);
	if (fd < 0 || ftruncate(fd, SIZE))
		return -1;
	return close(fd);
}

static int remove_image(void **state)
{
	(void)state;
	return unlink(path);
}

static struct wb_dev *open_image(unsigned flags)
{
	struct wb_dev *dev;
	struct wb_error err;

	if (wb_dev_open(&dev, path, flags, &err))
		fail_msg("%s", err.text);
	return dev;
}

static struct wb_dev *open_memory(uint8_t *bytes, uint64_t size)
{
	struct wb_dev *dev;

	assert_int_equal(wb_dev_memory(&dev, bytes, size, NULL), 0);
	return dev;
}

/* ---- discarding ---- */

static void discarded_range_of_an_image_is_a_hole_and_the_rest_stays(void **state)
{
	struct wb_dev *dev = open_image(WB_OPEN_WRITE);
	uint8_t *bytes = malloc(SIZE);
	struct wb_error err = { 0 };

	(void)state;
	memset(bytes, 0xa5, SIZE);
	assert_int_equal(wb_dev_write(dev, 0, bytes, SIZE, NULL), 0);
	int ret = wb_dev_discard(dev, 8192, 65536, &err);

	if (!ret) {
		assert_int_equal(wb_dev_read(dev, 0, bytes, SIZE, NULL), 0);
		assert_true(wb_all_bytes(bytes, 8192, 0xa5));
		assert_true(wb_all_bytes(bytes + 8192, 65536, 0));
		assert_true(wb_all_bytes(bytes + 8192 + 65536, SIZE - 8192 - 65536, 0xa5));
	} else { /* a file system that has no holes */
		assert_int_equal(err.sys, EOPNOTSUPP);
	}
	wb_dev_close(dev);
	free(bytes);
}

static void discards_beyond_the_end_are_refused(void **state)
{
	struct wb_dev *dev = open_image(WB_OPEN_WRITE);

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const uint64_t offsets[] = { SIZE - 4096, UINT64_MAX - 4095 };
		struct wb_error err = { 0 };

		assert_int_equal(wb_dev_discard(dev, offsets[i], 8192, &err), -WB_EIO);
		assert_int_equal(err.sys, ERANGE);
	}
	wb_dev_close(dev);
}

static void memory_cannot_discard(void **state)
{
	static uint8_t bytes[4096];
	struct wb_dev *dev = open_memory(bytes, sizeof(bytes));
	struct wb_error err = { 0 };

	(void)state;
	assert_int_equal(wb_dev_discard(dev, 0, 4096, &err), -WB_EIO);
	assert_int_equal(err.sys, EOPNOTSUPP);
	wb_dev_close(dev);
}

/* ---- ranges ---- */

static const struct { uint64_t offset; uint32_t length; bool inside; } ranges[] = {
	{ 0, SIZE, true },
	{ 0, 1, true },
	{ SIZE - 1, 1, true },
	{ SIZE - 512, 512, true },
	{ SIZE, 0, true },
	{ 0, 0, true },
	{ 0, SIZE + 1, false },
	{ SIZE - 1, 2, false },
	{ SIZE, 1, false },
	{ SIZE + 1, 0, false },
	{ UINT64_MAX, 1, false },
	{ UINT64_MAX, 0, false },
	{ UINT64_MAX - 511, 512, false }, /* offset + length is 0 modulo 2^64 */
	{ UINT64_MAX - 510, 512, false },
	{ UINT64_C(1) << 63, 512, false },
	{ UINT64_MAX - UINT32_MAX, UINT32_MAX, false },
};

static void expect_ranges(struct wb_dev *dev)
{
	uint8_t *bytes = calloc(1, SIZE + 1);

	for (size_t i = 0; i < LENGTH_OF(ranges); i++)
		for (int write = 0; write < 2; write++) {
			struct wb_error err = { 0 };
			uint64_t offset = ranges[i].offset;
			uint32_t length = ranges[i].length;
			int ret = write ? wb_dev_write(dev, offset, bytes, length, &err) :
					  wb_dev_read(dev, offset, bytes, length, &err);

			if (ret != (ranges[i].inside ? 0 : -WB_EIO))
				fail_msg("%s range %u: %d", write ? "writing" : "reading", (unsigned)i, ret);
			if (ret)
				assert_int_equal(err.sys, ERANGE);
		}
	free(bytes);
}

static void ranges_of_memory_are_checked(void **state)
{
	uint8_t *bytes = calloc(1, SIZE);
	struct wb_dev *dev = open_memory(bytes, SIZE);

	(void)state;
	expect_ranges(dev);
	wb_dev_close(dev);
	free(bytes);
}

static void ranges_of_files_are_checked_and_nothing_grows(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(engines); i++) {
		struct wb_dev *dev = open_image(WB_OPEN_WRITE | engines[i]);
		struct stat st;

		expect_ranges(dev);
		wb_dev_close(dev);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, SIZE);
	}
}

/* result says whether a request was done. One that never ran because of its neighbour was not. */
static void request_out_of_range_does_not_pretend_that_the_others_ran(void **state)
{
	uint8_t *bytes = calloc(1, SIZE), buffer[3][512];
	struct wb_dev *dev = open_memory(bytes, SIZE);
	struct wb_io io[3];

	(void)state;
	memset(bytes, 5, SIZE);
	memset(buffer, 0, sizeof(buffer));
	for (unsigned i = 0; i < 3; i++)
		io[i] = (struct wb_io){ .buffer = buffer[i], .offset = i == 1 ? SIZE : 512 * i, .length = 512 };
	assert_int_equal(wb_dev_submit(dev, io, 3, NULL), -WB_EIO);
	assert_int_equal(io[1].result, -ERANGE);
	for (unsigned i = 0; i < 3; i += 2)
		if (!io[i].result)
			assert_true(wb_all_bytes(buffer[i], 512, 5));
	wb_dev_close(dev);
	free(bytes);
}

static void first_failure_of_a_batch_is_the_one_reported(void **state)
{
	uint8_t *bytes = calloc(1, SIZE), buffer[512];
	struct wb_dev *dev = open_memory(bytes, SIZE);
	struct wb_io io[3];
	struct wb_error err = { 0 };

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		io[i] = (struct wb_io){ .buffer = buffer, .offset = SIZE * (uint64_t)i, .length = 512 };
	assert_int_equal(wb_dev_submit(dev, io, 3, &err), -WB_EIO);
	assert_int_equal(err.offset, SIZE);
	wb_dev_close(dev);
	free(bytes);
}

static void empty_batch_is_done(void **state)
{
	struct wb_dev *dev = open_image(WB_OPEN_READ);

	(void)state;
	assert_int_equal(wb_dev_submit(dev, NULL, 0, NULL), 0);
	wb_dev_close(dev);
}

/* ---- both engines ---- */

#define REQUESTS 300u /* more than are in flight at once */

struct parallel_reader {
	struct wb_dev *dev;
	unsigned number;
	bool failed;
};

static void *read_all_over(void *context)
{
	struct parallel_reader *reader = context;
	static const uint32_t length = 512;

	for (unsigned round = 0; round < 50; round++) {
		uint8_t bytes[64][512];
		struct wb_io io[64];

		for (unsigned i = 0; i < 64; i++)
			io[i] = (struct wb_io){ .buffer = bytes[i], .length = length,
						.offset = (i * 31u + round * 7u + reader->number) % (SIZE / length) * length };
		reader->failed |= wb_dev_submit(reader->dev, io, 64, NULL) != 0;
		for (unsigned i = 0; i < 64; i++)
			reader->failed |= !wb_all_bytes(bytes[i], length, (uint8_t)(io[i].offset / length * 7));
	}
	return NULL;
}

static void threads_that_read_one_device_at_once_get_their_own_bytes(void **state)
{
	uint8_t *bytes = malloc(SIZE);

	(void)state;
	for (unsigned i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i / 512 * 7);
	for (size_t e = 0; e < LENGTH_OF(engines); e++) {
		struct wb_dev *dev = open_image(WB_OPEN_WRITE | engines[e]);
		struct parallel_reader readers[4];
		pthread_t threads[4];

		assert_int_equal(wb_dev_write(dev, 0, bytes, SIZE, NULL), 0);
		for (unsigned i = 0; i < 4; i++) {
			readers[i] = (struct parallel_reader){ .dev = dev, .number = i };
			assert_int_equal(pthread_create(&threads[i], NULL, read_all_over, &readers[i]), 0);
		}
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(pthread_join(threads[i], NULL), 0);
			assert_false(readers[i].failed);
		}
		wb_dev_close(dev);
	}
	free(bytes);
}

static void engines_read_and_write_the_same(void **state)
{
	uint8_t *model = calloc(1, SIZE), *buffers = malloc(REQUESTS * 4096u), *expected = malloc(REQUESTS * 4096u);
	uint64_t seed = 1;

	(void)state;
	for (size_t e = 0; e < LENGTH_OF(engines); e++) {
		struct wb_dev *dev = open_image(WB_OPEN_WRITE | engines[e]);

		for (unsigned round = 0; round < 12; round++) {
			static struct wb_io io[REQUESTS];
			bool write = round % 2 == 0;

			for (unsigned i = 0; i < REQUESTS; i++) {
				uint32_t length = 1 + draw_below(&seed, 3000);
				uint64_t offset = i * (SIZE / REQUESTS) + draw_below(&seed, SIZE / REQUESTS - 3000 + 1);

				io[i] = (struct wb_io){ .buffer = buffers + i * 4096 + i % 7, .offset = offset,
							.length = length, .write = write, .result = 99 };
				if (write) {
					for (uint32_t j = 0; j < length; j++)
						((uint8_t *)io[i].buffer)[j] = (uint8_t)draw(&seed);
					memcpy(model + offset, io[i].buffer, length);
				} else {
					memset(io[i].buffer, 0, length);
				}
			}
			assert_int_equal(wb_dev_submit(dev, io, REQUESTS, NULL), 0);
			for (unsigned i = 0; i < REQUESTS; i++) {
				assert_int_equal(io[i].result, 0);
				if (!write)
					assert_memory_equal(io[i].buffer, model + io[i].offset, io[i].length);
			}
		}
		assert_int_equal(wb_dev_flush(dev, NULL), 0);
		wb_dev_forget(dev);
		uint8_t *all = malloc(SIZE);

		assert_int_equal(wb_dev_read(dev, 0, all, SIZE, NULL), 0);
		assert_memory_equal(all, model, SIZE);
		free(all);
		wb_dev_close(dev);
	}
	free(model);
	free(buffers);
	free(expected);
}

static void holes_of_an_image_read_as_zeroes_and_data_as_data(void **state)
{
	uint8_t *model = calloc(1, SIZE), *buffers = malloc(64 * 20000u);
	uint64_t seed = 2;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	for (unsigned i = 0; i < 12; i++) { /* islands of data, also at the very end */
		uint32_t at = i ? draw_below(&seed, SIZE / 4096) * 4096 : SIZE - 4096;

		for (unsigned j = 0; j < 4096; j++)
			model[at + j] = (uint8_t)draw(&seed);
		assert_int_equal(pwrite(fd, model + at, 4096, (off_t)at), 4096);
	}
	assert_int_equal(close(fd), 0);
	for (size_t e = 0; e < LENGTH_OF(engines); e++)
		for (unsigned write = 0; write < 2; write++) {
			struct wb_dev *dev = open_image((write ? WB_OPEN_WRITE : WB_OPEN_READ) | engines[e]);

			for (unsigned round = 0; round < 40; round++) {
				struct wb_io io[64];
				unsigned n = 1 + draw_below(&seed, 64);

				for (unsigned i = 0; i < n; i++) {
					uint32_t length = draw_below(&seed, 20000);

					io[i] = (struct wb_io){ .buffer = buffers + i * 20000, .length = length,
								.offset = draw_below(&seed, SIZE - length + 1) };
				}
				memset(buffers, 0x5a, 64 * 20000u);
				assert_int_equal(wb_dev_submit(dev, io, n, NULL), 0);
				for (unsigned i = 0; i < n; i++)
					assert_memory_equal(io[i].buffer, model + io[i].offset, io[i].length);
			}
			wb_dev_close(dev);
		}
	free(model);
	free(buffers);
}

/* The file is shorter than it was when it was opened. */
static void short_device_fails_alike_in_both_engines(void **state)
{
	(void)state;
	for (size_t e = 0; e < LENGTH_OF(engines); e++)
		for (unsigned n = 1; n <= 3; n += 2) {
			struct wb_dev *dev;
			struct wb_error err = { 0 };
			uint8_t buffer[3][1024];
			struct wb_io io[3];

			assert_int_equal(truncate(path, SIZE), 0);
			dev = open_image(engines[e]);
			assert_int_equal(truncate(path, 4096 + 100), 0);
			io[0] = (struct wb_io){ .buffer = buffer[0], .offset = 4096, .length = 1024 };
			io[1] = (struct wb_io){ .buffer = buffer[1], .offset = 0, .length = 1024 };
			io[2] = (struct wb_io){ .buffer = buffer[2], .offset = SIZE - 1024, .length = 1024 };
			assert_int_equal(wb_dev_submit(dev, io, n, &err), -WB_EIO);
			assert_int_equal(err.sys, ENODATA);
			assert_int_equal(err.offset, 4096);
			assert_int_equal(io[0].result, -ENODATA);
			if (n == 3) {
				assert_int_equal(io[1].result, 0);
				assert_int_equal(io[2].result, -ENODATA);
			}
			wb_dev_close(dev);
		}
}

static void empty_requests_succeed_alike_in_both_engines(void **state)
{
	(void)state;
	for (size_t e = 0; e < LENGTH_OF(engines); e++) {
		struct wb_dev *dev = open_image(WB_OPEN_WRITE | engines[e]);
		uint8_t byte = 0;
		struct wb_io io[2];

		for (unsigned i = 0; i < 2; i++)
			io[i] = (struct wb_io){ .buffer = &byte, .offset = 512 * i, .length = 0 };
		assert_int_equal(wb_dev_submit(dev, io, 2, NULL), 0);
		wb_dev_close(dev);
	}
}

static void large_images_are_addressed_beyond_4_gib(void **state)
{
	const uint64_t far = (UINT64_C(5) << 30) + 512;

	(void)state;
	for (size_t e = 0; e < LENGTH_OF(engines); e++) {
		struct wb_dev *dev;
		uint8_t out[2][512], in[2][512];
		struct wb_io io[2];

		assert_int_equal(truncate(path, (off_t)(far + 4096)), 0);
		dev = open_image(WB_OPEN_WRITE | engines[e]);
		assert_int_equal(wb_dev_size(dev), far + 4096);
		for (unsigned i = 0; i < 2; i++) {
			fill_sector(out[i], i, 7 + e);
			io[i] = (struct wb_io){ .buffer = out[i], .offset = i ? far : 512, .length = 512, .write = true };
		}
		assert_int_equal(wb_dev_submit(dev, io, 2, NULL), 0);
		for (unsigned i = 0; i < 2; i++)
			io[i] = (struct wb_io){ .buffer = in[i], .offset = i ? far : 512, .length = 512 };
		assert_int_equal(wb_dev_submit(dev, io, 2, NULL), 0);
		assert_memory_equal(in, out, sizeof(in));
		wb_dev_close(dev);
	}
}

/* ---- files that grow ---- */

static void growing_file_is_as_long_as_what_was_written(void **state)
{
	(void)state;
	for (size_t e = 0; e < LENGTH_OF(engines); e++) {
		struct wb_dev *dev;
		uint8_t out[3][700], in[3][700];
		struct wb_io io[3];

		assert_int_equal(truncate(path, 100), 0);
		dev = open_image(WB_OPEN_WRITE | WB_OPEN_GROW | engines[e]);
		assert_int_equal(wb_dev_size(dev), 100);
		assert_int_equal(wb_dev_write(dev, 50, "inside", 6, NULL), 0);
		assert_int_equal(wb_dev_size(dev), 100);
		for (unsigned i = 0; i < 3; i++) {
			memset(out[i], (int)i + 1, 700);
			io[i] = (struct wb_io){ .buffer = out[i], .offset = 5000 - 1000 * i, .length = 700, .write = true };
		}
		assert_int_equal(wb_dev_submit(dev, io, 3, NULL), 0);
		assert_int_equal(wb_dev_size(dev), 5700);
		assert_int_equal(wb_dev_read(dev, 5001, in[0], 700, NULL), -WB_EIO);
		for (unsigned i = 0; i < 3; i++)
			io[i] = (struct wb_io){ .buffer = in[i], .offset = 5000 - 1000 * i, .length = 700 };
		assert_int_equal(wb_dev_submit(dev, io, 3, NULL), 0);
		assert_memory_equal(in, out, sizeof(in));
		wb_dev_close(dev);
		dev = open_image(WB_OPEN_READ);
		assert_int_equal(wb_dev_size(dev), 5700);
		wb_dev_close(dev);
	}
}

static void growing_file_has_an_end_all_the_same(void **state)
{
	static const struct { uint64_t offset; uint32_t length; } cases[] = {
		{ INT64_MAX, 1 }, { (uint64_t)INT64_MAX + 1, 0 }, { UINT64_MAX, 1 }, { UINT64_MAX - 511, 512 },
		{ INT64_MAX - 510, 512 },
	};
	struct wb_dev *dev = open_image(WB_OPEN_WRITE | WB_OPEN_GROW);
	uint8_t bytes[512] = { 0 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct wb_error err = { 0 };

		assert_int_equal(wb_dev_write(dev, cases[i].offset, bytes, cases[i].length, &err), -WB_EIO);
		assert_int_equal(err.sys, ERANGE);
		assert_int_equal(wb_dev_size(dev), SIZE);
	}
	wb_dev_close(dev);
}

static void write_that_fails_behind_the_end_does_not_count_as_size(void **state)
{
	struct wb_dev *dev = open_image(WB_OPEN_WRITE | WB_OPEN_GROW | WB_OPEN_THREADS);
	uint8_t bytes[512] = { 1 };
	struct wb_error err = { 0 };
	struct rlimit before;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ SIZE + 1000, before.rlim_max }), 0);
	assert_int_equal(wb_dev_write(dev, SIZE + 900, bytes, 512, &err), -WB_EIO);
	assert_int_equal(err.sys, EFBIG);
	assert_int_equal(wb_dev_size(dev), SIZE);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	wb_dev_close(dev);
}

static void created_file_is_new_empty_and_private(void **state)
{
	mode_t mask = umask(0);
	struct wb_dev *dev;
	struct stat st;

	(void)state;
	assert_int_equal(unlink(path), 0);
	dev = open_image(WB_OPEN_WRITE | WB_OPEN_GROW | WB_OPEN_CREATE | WB_OPEN_EXCLUSIVE);
	umask(mask);
	assert_int_equal(wb_dev_size(dev), 0);
	assert_int_equal(wb_dev_write(dev, 0, "x", 1, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 1);
	wb_dev_close(dev);
}

static void file_that_is_there_is_not_created(void **state)
{
	char link[sizeof(path) + 8];
	struct wb_dev *dev = NULL;
	struct wb_error err = { 0 };
	struct stat st;

	(void)state;
	snprintf(link, sizeof(link), "%s.link", path);
	assert_int_equal(symlink("nowhere", link), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(wb_dev_open(&dev, i ? link : path, WB_OPEN_WRITE | WB_OPEN_GROW | WB_OPEN_CREATE, &err),
				 -WB_EOPEN);
		assert_int_equal(err.sys, EEXIST);
	}
	assert_int_equal(unlink(link), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, SIZE);
}

static void devices_do_not_grow(void **state)
{
	static const char *const candidates[] = { "/dev/loop0", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/ram0" };
	struct wb_dev *dev = NULL;
	struct wb_error err = { 0 };
	struct stat st;
	size_t i = 0;

	(void)state;
	while (i < LENGTH_OF(candidates) && (stat(candidates[i], &st) || !S_ISBLK(st.st_mode)))
		i++;
	if (i == LENGTH_OF(candidates))
		skip(); /* there is no block device to try it with */
	assert_int_equal(wb_dev_open(&dev, candidates[i], WB_OPEN_WRITE | WB_OPEN_GROW, &err), -WB_EOPEN);
	assert_int_equal(err.sys, ENOTSUP);
}

/* ---- opening ---- */

static void device_opened_for_reading_is_not_written(void **state)
{
	(void)state;
	for (size_t e = 0; e < LENGTH_OF(engines); e++) {
		struct wb_dev *dev = open_image(WB_OPEN_READ | engines[e]);
		uint8_t bytes[512] = { 1 }, back[512];
		struct wb_io io[3];

		assert_int_equal(wb_dev_write(dev, 0, bytes, 512, NULL), -WB_EIO);
		for (unsigned i = 0; i < 3; i++)
			io[i] = (struct wb_io){ .buffer = bytes, .offset = 512 * i, .length = 512, .write = true };
		assert_int_equal(wb_dev_submit(dev, io, 3, NULL), -WB_EIO);
		for (unsigned i = 0; i < 3; i++)
			assert_int_not_equal(io[i].result, 0);
		assert_int_equal(wb_dev_read(dev, 0, back, 512, NULL), 0);
		assert_true(wb_all_bytes(back, 512, 0));
		wb_dev_close(dev);
	}
}

static void images_are_no_block_devices(void **state)
{
	struct wb_dev *dev = open_image(WB_OPEN_READ);

	(void)state;
	assert_int_equal(wb_dev_size(dev), SIZE);
	assert_int_equal(wb_dev_block(dev), 512);
	assert_false(wb_dev_is_block(dev));
	assert_false(wb_dev_busy(dev));
	wb_dev_close(dev);
}

static void directories_are_refused(void **state)
{
	struct wb_dev *dev = NULL;
	struct wb_error err = { 0 };

	(void)state;
	assert_int_equal(wb_dev_open(&dev, "/", WB_OPEN_READ, &err), -WB_EOPEN);
	assert_int_equal(err.code, WB_EOPEN);
	assert_int_equal(err.sys, EISDIR);
	assert_non_null(strstr(err.text, "directory"));
}

static void special_files_are_refused_at_once(void **state)
{
	struct wb_dev *dev = NULL;
	struct wb_error err = { 0 };

	(void)state;
	assert_int_equal(wb_dev_open(&dev, "/dev/null", WB_OPEN_READ, &err), -WB_EOPEN);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(wb_dev_open(&dev, path, WB_OPEN_READ, &err), -WB_EOPEN); /* and does not wait for a writer */
}

static void missing_files_say_so(void **state)
{
	struct wb_dev *dev = NULL;
	struct wb_error err = { 0 };
	char missing[sizeof(path) + 8];

	(void)state;
	snprintf(missing, sizeof(missing), "%s.gone", path);
	assert_int_equal(wb_dev_open(&dev, missing, WB_OPEN_READ, &err), -WB_EOPEN);
	assert_int_equal(err.sys, ENOENT);
	assert_int_equal(access(missing, F_OK), -1); /* nor is one made */
}

static void files_without_permission_say_so(void **state)
{
	struct wb_dev *dev = NULL;
	struct wb_error err = { 0 };

	(void)state;
	if (geteuid() == 0)
		skip(); /* root may open everything */
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(wb_dev_open(&dev, path, WB_OPEN_WRITE, &err), -WB_EOPEN);
	assert_int_equal(err.sys, EACCES);
}

static void empty_images_open_and_hold_nothing(void **state)
{
	struct wb_dev *dev;
	uint8_t byte;

	(void)state;
	assert_int_equal(truncate(path, 0), 0);
	dev = open_image(WB_OPEN_READ);
	assert_int_equal(wb_dev_size(dev), 0);
	assert_int_equal(wb_dev_read(dev, 0, &byte, 1, NULL), -WB_EIO);
	wb_dev_close(dev);
}

static void closing_nothing_is_fine(void **state)
{
	(void)state;
	wb_dev_close(NULL);
}

/* ---- locks ---- */

static void exclusive_images_are_held_once(void **state)
{
	static const unsigned first[] = { WB_OPEN_READ, WB_OPEN_EXCLUSIVE };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(first); i++) {
		struct wb_dev *holder = open_image(first[i]), *second = NULL;
		struct wb_error err = { 0 };

		assert_int_equal(wb_dev_open(&second, path, WB_OPEN_EXCLUSIVE | WB_OPEN_WRITE, &err), -WB_EBUSY);
		assert_int_equal(err.code, WB_EBUSY);
		wb_dev_close(holder);
		second = open_image(WB_OPEN_EXCLUSIVE | WB_OPEN_WRITE);
		wb_dev_close(second);
	}
}

static void reader_of_a_held_image_is_told(void **state)
{
	struct wb_dev *holder = open_image(WB_OPEN_EXCLUSIVE), *reader = open_image(WB_OPEN_READ);

	(void)state;
	assert_false(wb_dev_busy(holder));
	assert_true(wb_dev_busy(reader));
	wb_dev_close(reader);
	wb_dev_close(holder);
	reader = open_image(WB_OPEN_READ);
	assert_false(wb_dev_busy(reader));
	wb_dev_close(reader);
}

static void readers_do_not_disturb_each_other(void **state)
{
	struct wb_dev *a = open_image(WB_OPEN_READ), *b = open_image(WB_OPEN_READ);

	(void)state;
	assert_false(wb_dev_busy(a));
	assert_false(wb_dev_busy(b));
	wb_dev_close(a);
	wb_dev_close(b);
}

static void peeking_neither_asks_nor_holds(void **state)
{
	struct wb_dev *peek = open_image(WB_OPEN_PEEK), *holder = open_image(WB_OPEN_EXCLUSIVE | WB_OPEN_WRITE);
	struct wb_dev *other = open_image(WB_OPEN_PEEK);

	(void)state;
	assert_false(wb_dev_busy(other));
	wb_dev_close(peek);
	wb_dev_close(other);
	wb_dev_close(holder);
}

/* ---- identity ---- */

static void same_file_under_another_name_is_the_same_device(void **state)
{
	char other[sizeof(path) + 8];
	struct wb_dev *a, *b, *c, *memory;
	uint8_t byte = 0;

	(void)state;
	snprintf(other, sizeof(other), "%s.link", path);
	assert_int_equal(symlink(path, other), 0);
	a = open_image(WB_OPEN_READ);
	assert_int_equal(wb_dev_open(&b, other, WB_OPEN_READ, NULL), 0);
	assert_true(wb_dev_same(a, b));
	assert_int_equal(unlink(other), 0);
	FILE *file = fopen(other, "w");

	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(wb_dev_open(&c, other, WB_OPEN_READ, NULL), 0);
	assert_false(wb_dev_same(a, c));
	memory = open_memory(&byte, 1);
	assert_false(wb_dev_same(a, memory));
	assert_true(wb_dev_same(memory, memory));
	wb_dev_close(a);
	wb_dev_close(b);
	wb_dev_close(c);
	wb_dev_close(memory);
	assert_int_equal(unlink(other), 0);
}

static void two_memories_are_two_devices(void **state)
{
	uint8_t one = 0, two = 0;
	struct wb_dev *a = open_memory(&one, 1), *b = open_memory(&two, 1);

	(void)state;
	assert_false(wb_dev_same(a, b));
	wb_dev_close(a);
	wb_dev_close(b);
}

static void memory_is_the_callers(void **state)
{
	uint8_t bytes[1024] = { 0 }, sector[512];
	struct wb_dev *dev = open_memory(bytes, sizeof(bytes));

	(void)state;
	memset(sector, 9, sizeof(sector));
	assert_int_equal(wb_dev_write(dev, 512, sector, 512, NULL), 0);
	assert_int_equal(bytes[511], 0);
	assert_int_equal(bytes[512], 9);
	assert_int_equal(wb_dev_flush(dev, NULL), 0);
	wb_dev_forget(dev);
	wb_dev_close(dev);
	assert_int_equal(bytes[1023], 9);
}

#define with_image(test) cmocka_unit_test_setup_teardown(test, make_image, remove_image)

static void logical_blocks_are_of_512_to_4096_bytes(void **state)
{
	static const struct { int block; bool fine; } rows[] = {
		{ 512, true }, { 1024, true }, { 2048, true }, { 4096, true },
		{ 0, false }, { 1, false }, { 256, false }, { 520, false }, { 4160, false }, { 8192, false }, { 65536, false },
		{ INT32_MIN, false }, { -4096, false },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct wb_error err = { 0 };

		assert_int_equal(wb_check_block(rows[i].block, &err), rows[i].fine ? 0 : -WB_EOPEN);
		assert_true(rows[i].fine || strstr(err.text, "logical blocks of "));
	}
}

static void a_name_is_followed_once(void **state)
{
	char one[] = "/tmp/wb-test-XXXXXX", other[] = "/tmp/wb-test-XXXXXX";
	struct wb_dev *dev, *again, *changed;
	struct stat st, now;
	int fds[2] = { mkstemp(one), mkstemp(other) };

	(void)state;
	assert_true(fds[0] >= 0 && fds[1] >= 0);
	assert_int_equal(wb_dev_open(&dev, one, WB_OPEN_READ, NULL), 0);
	assert_int_equal(wb_dev_open(&again, one, WB_OPEN_READ, NULL), 0);
	assert_int_equal(rename(other, one), 0);
	assert_int_equal(wb_dev_open(&changed, one, WB_OPEN_READ, NULL), 0);
	assert_true(wb_dev_same(dev, again) && !wb_dev_same(dev, changed));
	int fd = wb_open_again(wb_dev_fd(dev), one, O_RDONLY);

	assert_true(fd >= 0 && !fstat(fd, &st) && !fstat(fds[0], &now));
	assert_int_equal(st.st_ino, now.st_ino);
	close(fd);
	close(fds[0]);
	close(fds[1]);
	wb_dev_close(dev);
	wb_dev_close(again);
	wb_dev_close(changed);
	unlink(one);
}

static void only_regular_files_are_adopted(void **state)
{
	char name[] = "/tmp/wb-test-XXXXXX";
	int fd = mkstemp(name);
	struct wb_dev *dev;
	struct wb_error err = { 0 };

	(void)state;
	unlink(name);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(wb_dev_adopt(&dev, fd, WB_OPEN_WRITE | WB_OPEN_GROW, &err), 0);
	assert_int_equal(wb_dev_size(dev), 4096);
	assert_int_equal(wb_dev_fd(dev), fd);
	wb_dev_close(dev);
	assert_int_equal(close(fd), -1); /* it was the device's */
	assert_int_equal(wb_dev_adopt(&dev, open("/dev/null", O_RDWR), 0, &err), -WB_EOPEN);
	assert_int_equal(wb_dev_adopt(&dev, open(".", O_RDONLY), 0, &err), -WB_EOPEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_image(discarded_range_of_an_image_is_a_hole_and_the_rest_stays),
		with_image(discards_beyond_the_end_are_refused),
		cmocka_unit_test(memory_cannot_discard),
		cmocka_unit_test(ranges_of_memory_are_checked),
		with_image(ranges_of_files_are_checked_and_nothing_grows),
		cmocka_unit_test(request_out_of_range_does_not_pretend_that_the_others_ran),
		cmocka_unit_test(first_failure_of_a_batch_is_the_one_reported),
		with_image(empty_batch_is_done),
		with_image(engines_read_and_write_the_same),
		with_image(threads_that_read_one_device_at_once_get_their_own_bytes),
		with_image(holes_of_an_image_read_as_zeroes_and_data_as_data),
		with_image(short_device_fails_alike_in_both_engines),
		with_image(empty_requests_succeed_alike_in_both_engines),
		with_image(large_images_are_addressed_beyond_4_gib),
		with_image(growing_file_is_as_long_as_what_was_written),
		with_image(growing_file_has_an_end_all_the_same),
		with_image(write_that_fails_behind_the_end_does_not_count_as_size),
		with_image(created_file_is_new_empty_and_private),
		with_image(file_that_is_there_is_not_created),
		cmocka_unit_test(devices_do_not_grow),
		with_image(device_opened_for_reading_is_not_written),
		with_image(images_are_no_block_devices),
		cmocka_unit_test(directories_are_refused),
		with_image(special_files_are_refused_at_once),
		with_image(missing_files_say_so),
		with_image(files_without_permission_say_so),
		with_image(empty_images_open_and_hold_nothing),
		cmocka_unit_test(closing_nothing_is_fine),
		with_image(exclusive_images_are_held_once),
		with_image(reader_of_a_held_image_is_told),
		with_image(readers_do_not_disturb_each_other),
		with_image(peeking_neither_asks_nor_holds),
		with_image(same_file_under_another_name_is_the_same_device),
		cmocka_unit_test(two_memories_are_two_devices),
		cmocka_unit_test(memory_is_the_callers),
		cmocka_unit_test(logical_blocks_are_of_512_to_4096_bytes),
		cmocka_unit_test(a_name_is_followed_once),
		cmocka_unit_test(only_regular_files_are_adopted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
