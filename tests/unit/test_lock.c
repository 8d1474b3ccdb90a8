/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/dev_file.c: images that other programs lock, as virtual machines do, and file systems that have no locks. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cache_builder.h"

static char path[4096];

/* This one is linked instead of the C library's. */
static int flock_fails;

int flock(int fd, int operation)
{
	if (flock_fails) {
		errno = flock_fails;
		return -1;
	}
	return (int)syscall(SYS_flock, fd, operation);
}

/* Nor does it wait for programs that were killed. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time;
	(void)left;
	return 0;
}

static int make_image(void **state)
{
	const char *folder = getenv("TMPDIR");
	int fd;

	(void)state;
	flock_fails = 0;
	snprintf(path, sizeof(path), "%s/test_lock.XXXXXX", folder && *folder ? folder : "/tmp");
	fd = mkstemp(path);
	if (fd < 0 || ftruncate(fd, 4096))
		return -1;
	return close(fd);
}

static int remove_image(void **state)
{
	(void)state;
	return unlink(path);
}

static bool lock_byte(int fd, short type, off_t byte)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return !fcntl(fd, F_OFD_SETLK, &lock);
}

/* An image that is attached for writing holds 100, 101, 103, 201 and 203, a read-only one 100 and 201. */
static void image_of_a_running_machine_is_in_use(void **state)
{
	static const off_t bytes[] = { 100, 101, 103, 201, 203 };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bytes); i++) {
		int machine = open(path, O_RDWR | O_CLOEXEC);
		struct wb_dev *dev = NULL;
		struct wb_error err;

		assert_true(lock_byte(machine, F_RDLCK, bytes[i]));
		assert_int_equal(wb_dev_open(&dev, path, WB_OPEN_READ | WB_OPEN_EXCLUSIVE, &err), -WB_EBUSY);
		assert_int_equal(wb_dev_open(&dev, path, WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE, &err), -WB_EBUSY);
		assert_int_equal(wb_dev_open(&dev, path, WB_OPEN_READ, &err), 0);
		assert_true(wb_dev_busy(dev));
		assert_int_equal(wb_dev_lock_error(dev), 0);
		wb_dev_close(dev);
		close(machine);
		assert_int_equal(wb_dev_open(&dev, path, WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE, &err), 0);
		wb_dev_close(dev);
	}
}

/* A loop device over the image; -1 where there is none. fd: keeps it, until it is closed. */
static int attach_loop(char *name, size_t size)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), image = open(path, O_RDWR | O_CLOEXEC);
	int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE), loop = -1;
	struct loop_info64 info = { .lo_flags = LO_FLAGS_AUTOCLEAR };

	snprintf(name, size, "/dev/loop%d", number);
	if (number >= 0)
		loop = open(name, O_RDWR | O_CLOEXEC);
	if (loop >= 0 && (ioctl(loop, LOOP_SET_FD, image) || ioctl(loop, LOOP_SET_STATUS64, &info))) {
		close(loop);
		loop = -1;
	}
	close(image);
	if (control >= 0)
		close(control);
	return loop;
}

static void block_device_of_a_running_machine_is_in_use(void **state)
{
	char name[32];
	int loop = attach_loop(name, sizeof(name)), machine;
	struct wb_dev *dev = NULL;

	(void)state;
	if (loop < 0)
		skip(); /* there are no loop devices, or not for us */
	machine = open(name, O_RDWR | O_CLOEXEC);
	assert_true(lock_byte(machine, F_RDLCK, 201));
	assert_int_equal(wb_dev_open(&dev, name, WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE, NULL), -WB_EBUSY);
	assert_int_equal(wb_dev_open(&dev, name, WB_OPEN_READ, NULL), 0);
	assert_true(wb_dev_busy(dev));
	wb_dev_close(dev);
	close(machine);
	assert_int_equal(wb_dev_open(&dev, name, WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE, NULL), 0);
	machine = open(name, O_RDWR | O_CLOEXEC);
	assert_false(lock_byte(machine, F_RDLCK, 100));
	close(machine);
	wb_dev_close(dev);
	close(loop);
}

static void machine_does_not_get_an_image_that_is_held_exclusively(void **state)
{
	static const unsigned flags[] = { WB_OPEN_READ | WB_OPEN_EXCLUSIVE, WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(flags); i++) {
		int machine = open(path, O_RDWR | O_CLOEXEC);
		struct flock unshared = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1 };
		struct wb_dev *dev = NULL;

		assert_int_equal(wb_dev_open(&dev, path, flags[i], NULL), 0);
		assert_int_equal(fcntl(machine, F_OFD_GETLK, &unshared), 0); /* as it looks for others before it writes */
		assert_int_not_equal(unshared.l_type, F_UNLCK);
		wb_dev_close(dev);
		assert_true(lock_byte(machine, F_WRLCK, 201));
		close(machine);
	}
}

static void lock_of_a_whole_file_counts(void **state)
{
	struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int other = open(path, O_RDWR | O_CLOEXEC);
	struct wb_dev *dev = NULL;

	(void)state;
	assert_int_equal(fcntl(other, F_OFD_SETLK, &all), 0);
	assert_int_equal(wb_dev_open(&dev, path, WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE, NULL), -WB_EBUSY);
	close(other);
}

static void without_locks_an_image_is_opened_and_the_reason_told(void **state)
{
	static const int errors[] = { ENOLCK, EOPNOTSUPP, ENOSYS, EINVAL };
	static const unsigned flags[] = { WB_OPEN_READ, WB_OPEN_READ | WB_OPEN_EXCLUSIVE, WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE };

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(errors); i++)
		for (size_t j = 0; j < LENGTH_OF(flags); j++) {
			struct wb_dev *dev = NULL;

			flock_fails = errors[i];
			assert_int_equal(wb_dev_open(&dev, path, flags[j], NULL), 0);
			assert_false(wb_dev_busy(dev));
			assert_int_equal(wb_dev_lock_error(dev), errors[i]);
			wb_dev_close(dev);
			flock_fails = 0;
			assert_int_equal(wb_dev_open(&dev, path, flags[j], NULL), 0);
			assert_int_equal(wb_dev_lock_error(dev), 0);
			wb_dev_close(dev);
		}
}

static void peeking_asks_for_no_lock(void **state)
{
	struct wb_dev *dev = NULL;

	(void)state;
	flock_fails = ENOLCK;
	assert_int_equal(wb_dev_open(&dev, path, WB_OPEN_PEEK, NULL), 0);
	assert_int_equal(wb_dev_lock_error(dev), 0);
	wb_dev_close(dev);
}

#define with_image(test) cmocka_unit_test_setup_teardown(test, make_image, remove_image)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_image(image_of_a_running_machine_is_in_use),
		with_image(block_device_of_a_running_machine_is_in_use),
		with_image(machine_does_not_get_an_image_that_is_held_exclusively),
		with_image(lock_of_a_whole_file_counts),
		with_image(without_locks_an_image_is_opened_and_the_reason_told),
		with_image(peeking_asks_for_no_lock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
