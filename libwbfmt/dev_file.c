/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A block device or a regular image file. Block devices are read and written past the page cache;
 * what is not aligned for that goes through a bounce buffer, as a read-modify-write where it is a write.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "dev.h"
#include "error.h"
#include "pack.h"

#define HURRY (1u << 20)

/* What carries out a batch: one of the two. */
struct engine {
	struct engine *next;
	struct wb_uring *uring;
	struct wb_threads *threads;
};

struct file {
	struct wb_dev dev;
	int fd;
	bool direct;
	pthread_mutex_t lock;    /* of all below */
	bool sparse;             /* an image that only we read: its holes need not be read */
	uint64_t hole, data, end; /* hole <= data <= end: a hole, then data, as last asked for */
	bool no_uring;
	struct engine *idle;
};

int wb_transfer(int fd, bool write, void *bytes, uint32_t left, uint64_t offset)
{
	uint8_t *p = bytes;

	while (left) {
		ssize_t n = write ? pwrite(fd, p, left, (off_t)offset) : pread(fd, p, left, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return write ? -ENOSPC : -ENODATA;
		p += n;
		offset += (uint64_t)n;
		left -= (uint32_t)n;
	}
	return 0;
}

static int transfer_bounced(struct file *file, struct wb_io *io)
{
	uint64_t mask = file->dev.block - 1;
	uint64_t begin = io->offset & ~mask;
	uint64_t end = (io->offset + io->length + mask) & ~mask;
	uint32_t length = (uint32_t)(end - begin);
	void *bounce;
	int result;

	if (posix_memalign(&bounce, WB_BLOCK, length))
		return -ENOMEM;
	uint8_t *inside = (uint8_t *)bounce + (io->offset - begin);

	result = 0;
	if (!io->write || length != io->length)
		result = wb_transfer(file->fd, false, bounce, length, begin);
	if (result && io->write)
		io->reading = "the rest of the device's blocks around";
	if (!result && io->write) {
		memcpy(inside, io->buffer, io->length);
		result = wb_transfer(file->fd, true, bounce, length, begin);
	} else if (!result) {
		memcpy(io->buffer, inside, io->length);
	}
	free(bounce);
	return result;
}

static bool needs_bounce(const struct file *file, const struct wb_io *io)
{
	uint64_t bits = io->offset | io->length | (uintptr_t)io->buffer;

	return file->direct && bits & (file->dev.block - 1);
}

static bool any_needs_bounce(const struct file *file, const struct wb_io *io, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (needs_bounce(file, &io[i]))
			return true;
	return false;
}

static void submit_one_by_one(struct file *file, struct wb_io *io, unsigned n)
{
	bool write_failed = false;

	for (unsigned i = 0; i < n; i++) {
		if (io[i].write && write_failed)
			io[i].result = -ECANCELED;
		else if (needs_bounce(file, &io[i]))
			io[i].result = transfer_bounced(file, &io[i]);
		else
			io[i].result = wb_transfer(file->fd, io[i].write, io[i].buffer, io[i].length, io[i].offset);
		write_failed |= io[i].write && io[i].result;
	}
}

/* Asks the file system about the extents at and behind an offset. */
static void look_for_data(struct file *file, uint64_t offset)
{
	off_t data = lseek(file->fd, (off_t)offset, SEEK_DATA);
	off_t end = data < 0 ? -1 : lseek(file->fd, data, SEEK_HOLE);

	file->hole = offset;
	if (data >= 0 && end >= 0) {
		file->data = (uint64_t)data;
		file->end = (uint64_t)end;
	} else if (data < 0 && errno == ENXIO && lseek(file->fd, 0, SEEK_END) == (off_t)file->dev.size) {
		file->data = file->end = file->dev.size; /* and not because the file has become shorter */
	} else {
		file->sparse = false;
	}
}

/* A read that lies in a hole is zeroes. A sparse image of terabytes is looked through in no time that way. */
static bool fill_from_hole(struct file *file, const struct wb_io *io)
{
	bool in_hole;

	if (io->write)
		return false;
	pthread_mutex_lock(&file->lock);
	if (file->sparse && (io->offset < file->hole || io->offset >= file->end))
		look_for_data(file, io->offset);
	in_hole = file->sparse && io->offset + io->length <= file->data;
	pthread_mutex_unlock(&file->lock);
	if (in_hole)
		memset(io->buffer, 0, io->length);
	return in_hole;
}

static struct engine *open_engine(struct file *file)
{
	struct engine *engine = calloc(1, sizeof(*engine));

	if (!engine)
		return NULL;
	if (!file->no_uring)
		engine->uring = wb_uring_open();
	file->no_uring |= !engine->uring;
	if (!engine->uring)
		engine->threads = wb_threads_open();
	if (engine->uring || engine->threads)
		return engine;
	free(engine);
	return NULL;
}

static void close_engine(struct engine *engine)
{
	wb_uring_close(engine->uring);
	wb_threads_close(engine->threads);
	free(engine);
}

/* Every thread that is in submit() has an engine of its own; NULL when there is none to be had. */
static struct engine *take_engine(struct file *file)
{
	struct engine *engine;

	pthread_mutex_lock(&file->lock);
	engine = file->idle;
	if (engine)
		file->idle = engine->next;
	else
		engine = open_engine(file);
	pthread_mutex_unlock(&file->lock);
	return engine;
}

static void give_back(struct file *file, struct engine *engine)
{
	bool broken = engine->uring && wb_uring_broken(engine->uring);

	pthread_mutex_lock(&file->lock);
	file->no_uring |= broken;
	if (!broken) {
		engine->next = file->idle;
		file->idle = engine;
	}
	pthread_mutex_unlock(&file->lock);
	if (broken)
		close_engine(engine);
}

/* What is written to an image goes to the page cache: there is nothing to wait for. */
static bool wants_engine(const struct file *file, const struct wb_io *io, unsigned n)
{
	return n > 1 && !any_needs_bounce(file, io, n) && (file->direct || !io[0].write);
}

static void submit_some(struct file *file, struct wb_io *io, unsigned n)
{
	struct engine *engine = wants_engine(file, io, n) ? take_engine(file) : NULL;

	if (!engine) {
		submit_one_by_one(file, io, n);
		return;
	}
	if (engine->uring)
		wb_uring_submit(engine->uring, file->fd, io, n);
	else
		wb_threads_submit(engine->threads, file->fd, io, n);
	give_back(file, engine);
}

/* Much that was written to one place of an image sets out for the medium now, so that the flush has less to wait for. */
static void hurry(const struct file *file, const struct wb_io *io, unsigned n)
{
	uint64_t begin = UINT64_MAX, end = 0, bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!io[i].write)
			continue;
		begin = wb_min(begin, io[i].offset);
		end = wb_max(end, io[i].offset + io[i].length);
		bytes += io[i].length;
	}
	if (!file->direct && bytes >= HURRY && bytes >= (end - begin) / 2)
		sync_file_range(file->fd, (off_t)begin, (off_t)(end - begin), SYNC_FILE_RANGE_WRITE);
}

static void file_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct file *file = (struct file *)dev;

	for (unsigned begin = 0, end; begin < n; begin = end + 1) {
		for (end = begin; end < n && !fill_from_hole(file, &io[end]);)
			end++;
		if (end > begin)
			submit_some(file, io + begin, end - begin);
	}
	hurry(file, io, n);
}

static int file_flush(struct wb_dev *dev)
{
	struct file *file = (struct file *)dev;

	return fsync(file->fd) ? -errno : 0;
}

/* Of an image the room is given back; reads then give zeroes. */
static int file_discard(struct wb_dev *dev, uint64_t offset, uint64_t length)
{
	struct file *file = (struct file *)dev;
	uint64_t range[2] = { offset, length };
	int failed = dev->is_block ? ioctl(file->fd, BLKDISCARD, range) :
				     fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
					       (off_t)length);

	return failed ? -errno : 0;
}

static void file_forget(struct wb_dev *dev)
{
	struct file *file = (struct file *)dev;

	posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void file_close(struct wb_dev *dev)
{
	struct file *file = (struct file *)dev;

	while (file->idle) {
		struct engine *engine = file->idle;

		file->idle = engine->next;
		close_engine(engine);
	}
	pthread_mutex_destroy(&file->lock);
	if (file->fd >= 0)
		close(file->fd);
	free(file);
}

static const struct wb_dev_ops file_ops = {
	.submit = file_submit,
	.flush = file_flush,
	.discard = file_discard,
	.forget = file_forget,
	.close = file_close,
};

static int identify(struct file *file, int fd, mode_t *mode, struct wb_error *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return wb_fail(err, WB_EOPEN, errno, WB_NO_OFFSET, "%s", strerror(errno));
	if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode))
		return wb_fail(err, WB_EOPEN, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, WB_NO_OFFSET,
			       "%s, but a block device or an image file is needed",
			       S_ISDIR(st.st_mode) ? "this is a directory" : "this is a special file");
	*mode = st.st_mode;
	file->dev.is_block = S_ISBLK(st.st_mode);
	file->dev.device = st.st_rdev; /* of an image, take_image() sets it */
	return 0;
}

/* Without /proc the name is followed once more, and must lead to the same. */
static int open_named(int fd, const char *path, int flags)
{
	int other = open(path, flags | O_NONBLOCK | O_CLOEXEC);
	struct stat one, two;

	if (other < 0 || (!fstat(fd, &one) && !fstat(other, &two) && one.st_dev == two.st_dev && one.st_ino == two.st_ino &&
			  one.st_rdev == two.st_rdev))
		return other;
	close(other);
	errno = ESTALE;
	return -1;
}

int wb_open_again(int fd, const char *path, int flags)
{
	char name[sizeof("/proc/self/fd/") + 3 * sizeof(int)];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	int other = open(name, flags | O_CLOEXEC);

	return other >= 0 || errno != ENOENT ? other : open_named(fd, path, flags);
}

int wb_check_block(int block, struct wb_error *err)
{
	if (block >= (int)WB_SECTOR && block <= (int)WB_BLOCK && !(block & (block - 1)))
		return 0;
	return wb_fail(err, WB_EOPEN, ENOTSUP, WB_NO_OFFSET, "the device has logical blocks of %d bytes, which are not those of "
		       "a cache or its backing device (512 to %u): copy it to an image file", block, WB_BLOCK);
}

static bool is_alone(unsigned flags)
{
	return flags & (WB_OPEN_EXCLUSIVE | WB_OPEN_TRY);
}

/* A program that was killed leaves its locks behind until the kernel has finished its requests: wait a moment for that,
 * a second in all. */
static bool wait_for_the_dead(unsigned *attempts)
{
	const struct timespec moment = { .tv_nsec = 10000000 };

	if (++*attempts > 100)
		return false;
	nanosleep(&moment, NULL);
	return true;
}

/* Virtual machines lock single bytes, 100 and 201 among them (QEMU: file-posix.c, raw_apply_lock_bytes()), of block devices
 * too, which they do not open exclusively. */
static bool is_locked(int fd)
{
	struct flock any = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return !fcntl(fd, F_OFD_GETLK, &any) && any.l_type != F_UNLCK;
}

/* Keeps all those bytes from them. A descriptor that cannot write can only have a shared lock, which is enough for that. */
static int lock_bytes(int fd, unsigned flags)
{
	struct flock own = { .l_type = flags & WB_OPEN_WRITE ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET };

	if (!(flags & WB_OPEN_EXCLUSIVE) || !fcntl(fd, F_OFD_SETLK, &own))
		return 0;
	return errno == EACCES ? EWOULDBLOCK : errno;
}

/* Whoever only tries shares the image afterwards, whatever came of it. */
static int lock_image(int fd, unsigned flags)
{
	int failed = flock(fd, (is_alone(flags) ? LOCK_EX : LOCK_SH) | LOCK_NB) ? errno : 0;

	if (flags & WB_OPEN_TRY)
		flock(fd, LOCK_SH | LOCK_NB);
	return failed;
}

static int try_lock(const struct file *file, unsigned flags)
{
	if (is_locked(file->fd))
		return EWOULDBLOCK;
	int failed = file->dev.is_block ? 0 : lock_image(file->fd, flags);

	return failed ? failed : lock_bytes(file->fd, flags);
}

/* Notes in the device that another program has locked it, or why its file system cannot lock it. */
static int lock(struct file *file, unsigned flags, struct wb_error *err)
{
	unsigned attempts = 0;
	int failed = 0;

	if (flags & WB_OPEN_PEEK)
		return 0;
	do
		failed = try_lock(file, flags);
	while (failed == EINTR || (failed == EWOULDBLOCK && is_alone(flags) && wait_for_the_dead(&attempts)));
	if (failed == EWOULDBLOCK && flags & WB_OPEN_EXCLUSIVE)
		return wb_fail(err, WB_EBUSY, EWOULDBLOCK, WB_NO_OFFSET, "the %s is locked by another program",
			       file->dev.is_block ? "device" : "image");
	file->dev.busy |= failed == EWOULDBLOCK;
	file->dev.lock_error = failed == EWOULDBLOCK || file->dev.is_block ? 0 : failed;
	return 0;
}

/* O_EXCL on a block device fails while a file system, dm, md or swap holds it. */
static int open_block(struct file *file, int place, const char *path, unsigned flags, struct wb_error *err)
{
	int mode = (flags & WB_OPEN_WRITE ? O_RDWR : O_RDONLY) | O_DIRECT;
	unsigned attempts = 0;

	do
		file->fd = wb_open_again(place, path, flags & WB_OPEN_PEEK ? mode : mode | O_EXCL);
	while (file->fd < 0 && errno == EBUSY && is_alone(flags) && wait_for_the_dead(&attempts));
	if (file->fd < 0 && errno == EBUSY) {
		if (flags & WB_OPEN_EXCLUSIVE)
			return wb_fail(err, WB_EBUSY, EBUSY, WB_NO_OFFSET,
				       "the device is in use (mounted, mapped, in swap, or opened exclusively)");
		file->dev.busy = true;
	}
	if (!(flags & (WB_OPEN_EXCLUSIVE | WB_OPEN_PEEK))) {
		if (file->fd >= 0)
			close(file->fd);
		file->fd = wb_open_again(place, path, mode);
	}
	if (file->fd < 0)
		return wb_fail(err, WB_EOPEN, errno, WB_NO_OFFSET, "%s", strerror(errno));
	int sector = 0, misaligned = 0, ret = lock(file, flags, err);
	unsigned physical = 0;

	if (ret)
		return ret;

	if (ioctl(file->fd, BLKGETSIZE64, &file->dev.size) || ioctl(file->fd, BLKSSZGET, &sector))
		return wb_fail(err, WB_EOPEN, errno, WB_NO_OFFSET, "asking for the size: %s", strerror(errno));
	ret = wb_check_block(sector, err);
	if (ret)
		return ret;
	file->dev.block = (unsigned)sector;
	if (!ioctl(file->fd, BLKPBSZGET, &physical) && !ioctl(file->fd, BLKALIGNOFF, &misaligned) && !misaligned)
		file->dev.physical = physical;
	file->direct = true;
	return 0;
}

/* file->fd is a regular file. */
static int take_image(struct file *file, unsigned flags, struct wb_error *err)
{
	struct stat st;

	if (fstat(file->fd, &st))
		return wb_fail(err, WB_EOPEN, errno, WB_NO_OFFSET, "%s", strerror(errno));
	int ret = lock(file, flags, err);

	if (ret)
		return ret;
	file->dev.device = st.st_dev;
	file->dev.inode = st.st_ino;
	file->dev.size = (uint64_t)st.st_size;
	file->dev.grows = flags & WB_OPEN_GROW;
	file->dev.block = WB_SECTOR;
	file->sparse = !(flags & WB_OPEN_WRITE) && !file->dev.busy && (uint64_t)st.st_blocks * 512 < file->dev.size;
	posix_fadvise(file->fd, 0, 0, POSIX_FADV_RANDOM); /* requests are as large as they are meant to be */
	return 0;
}

/* What it will hold comes from a device that not everybody may read. */
static int create_image(struct file *file, const char *path, unsigned flags, struct wb_error *err)
{
	file->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return file->fd < 0 ? wb_fail(err, WB_EOPEN, errno, WB_NO_OFFSET, "%s", strerror(errno)) : take_image(file, flags, err);
}

static int open_image(struct file *file, int place, const char *path, unsigned flags, struct wb_error *err)
{
	file->fd = wb_open_again(place, path, flags & WB_OPEN_WRITE ? O_RDWR : O_RDONLY);
	return file->fd < 0 ? wb_fail(err, WB_EOPEN, errno, WB_NO_OFFSET, "%s", strerror(errno)) : take_image(file, flags, err);
}

/* place: what the name leads to, not opened yet. Opening a FIFO or a tape would do something to it, or wait. */
static int open_place(struct file *file, int place, const char *path, unsigned flags, struct wb_error *err)
{
	mode_t mode = S_IFREG;
	int ret = identify(file, place, &mode, err);

	if (ret)
		return ret;
	if (S_ISBLK(mode) && flags & WB_OPEN_GROW)
		return wb_fail(err, WB_EOPEN, ENOTSUP, WB_NO_OFFSET, "this is a device, and a file is needed");
	return S_ISBLK(mode) ? open_block(file, place, path, flags, err) : open_image(file, place, path, flags, err);
}

/* The name is looked up once. */
static int open_any(struct file *file, const char *path, unsigned flags, struct wb_error *err)
{
	if (flags & WB_OPEN_CREATE)
		return create_image(file, path, flags, err);
	int place = open(path, O_PATH | O_CLOEXEC);
	int ret = place < 0 ? wb_fail(err, WB_EOPEN, errno, WB_NO_OFFSET, "%s", strerror(errno)) :
			      open_place(file, place, path, flags, err);

	if (place >= 0)
		close(place);
	return ret;
}

static struct file *file_new(unsigned flags, struct wb_error *err)
{
	struct file *file = calloc(1, sizeof(*file));

	if (!file) {
		wb_no_memory(err, "a device");
		return NULL;
	}
	file->dev.ops = &file_ops;
	file->dev.number = (uintptr_t)file;
	file->dev.parallel = true;
	file->fd = -1;
	file->no_uring = flags & WB_OPEN_THREADS;
	pthread_mutex_init(&file->lock, NULL);
	return file;
}

/* ret: how opening it went. A pack is served as what it describes, if it may be. */
static int finish_open(struct wb_dev **dev, struct file *file, unsigned flags, int ret, struct wb_error *err)
{
	bool is_pack = !ret && flags & WB_OPEN_PACK && !file->dev.is_block && wb_is_pack(&file->dev);

	file->dev.fd_or_none = file->fd + 1;
	if (is_pack)
		ret = wb_dev_pack(dev, &file->dev, err);
	if (ret)
		file_close(&file->dev);
	else if (!is_pack)
		*dev = &file->dev;
	return ret;
}

int wb_dev_open(struct wb_dev **dev, const char *path, unsigned flags, struct wb_error *err)
{
	struct file *file = file_new(flags, err);

	return file ? finish_open(dev, file, flags, open_any(file, path, flags, err), err) : -WB_ENOMEM;
}

int wb_dev_adopt(struct wb_dev **dev, int fd, unsigned flags, struct wb_error *err)
{
	struct file *file = file_new(flags, err);
	mode_t mode = 0;

	if (!file) {
		close(fd);
		return -WB_ENOMEM;
	}
	file->fd = fd;
	int ret = identify(file, fd, &mode, err);

	if (!ret && !S_ISREG(mode))
		ret = wb_fail(err, WB_EOPEN, ENOTSUP, WB_NO_OFFSET, "this is a device, and a file is needed");
	return finish_open(dev, file, flags, ret ? ret : take_image(file, flags, err), err);
}
