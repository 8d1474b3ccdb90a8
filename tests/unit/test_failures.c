/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every way in which the world outside can fail, once: whatever the library is asked for is run again and again, and each
 * time the next one of its allocations, threads, system calls or device requests fails, or the caller wants no more. It
 * must say so, leak nothing, and where it goes on all the same, come to the same end. The linker puts the functions
 * called __wrap_ here in front of those that the library calls.
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "cache_builder.h"

/* ---- what fails, and when ---- */

enum fault {
	MEMORY,   /* one allocation */
	EXHAUSTED, /* that one and all behind it */
	THREAD,   /* a thread, or io_uring */
	CALL,     /* a system call, with EIO */
	INTERRUPTED, /* a transfer, with EINTR */
	SHORT,    /* a transfer ends early, and goes on */
	READ, WRITE, FLUSH, /* a request of a device, with EIO */
	STOPPED,  /* the caller wants no more */
};

static struct {
	enum fault fault;
	bool armed;
	_Atomic long left; /* so many still succeed */
} plan;
static _Atomic long live; /* allocations that nobody has given back */

static bool fails(enum fault fault)
{
	if (!plan.armed || plan.fault != fault)
		return false;
	long left = atomic_fetch_sub(&plan.left, 1);

	return left == 0 || (left < 0 && fault == EXHAUSTED);
}

static bool no_memory(void)
{
	return fails(MEMORY) || fails(EXHAUSTED);
}

static void *counted(void *bytes)
{
	live += bytes != NULL;
	return bytes;
}

#define WRAP(type, name, ...) \
	type __real_##name(__VA_ARGS__); \
	type __wrap_##name(__VA_ARGS__); \
	type __wrap_##name(__VA_ARGS__)

WRAP(void *, malloc, size_t size)
{
	return no_memory() ? NULL : counted(__real_malloc(size));
}

WRAP(void *, calloc, size_t n, size_t size)
{
	return no_memory() ? NULL : counted(__real_calloc(n, size));
}

WRAP(void *, realloc, void *old, size_t size)
{
	if (no_memory())
		return NULL;
	live += !old;
	return __real_realloc(old, size);
}

WRAP(void *, reallocarray, void *old, size_t n, size_t size)
{
	if (no_memory())
		return NULL;
	live += !old;
	return __real_reallocarray(old, n, size);
}

WRAP(int, posix_memalign, void **bytes, size_t alignment, size_t size)
{
	if (no_memory())
		return ENOMEM;
	int ret = __real_posix_memalign(bytes, alignment, size);

	live += !ret;
	return ret;
}

WRAP(char *, strdup, const char *text)
{
	return no_memory() ? NULL : counted(__real_strdup(text));
}

WRAP(char *, strndup, const char *text, size_t n)
{
	return no_memory() ? NULL : counted(__real_strndup(text, n));
}

WRAP(void, free, void *bytes)
{
	live -= bytes != NULL;
	__real_free(bytes);
}

/* zlib's own allocations */
WRAP(int, inflateInit_, z_streamp zlib, const char *version, int size)
{
	return no_memory() ? Z_MEM_ERROR : __real_inflateInit_(zlib, version, size);
}

WRAP(int, deflateInit2_, z_streamp zlib, int level, int method, int bits, int memory, int strategy, const char *version, int size)
{
	return no_memory() ? Z_MEM_ERROR : __real_deflateInit2_(zlib, level, method, bits, memory, strategy, version, size);
}

WRAP(int, compress2, Bytef *to, uLongf *length, const Bytef *from, uLong size, int level)
{
	return no_memory() ? Z_MEM_ERROR : __real_compress2(to, length, from, size, level);
}

WRAP(int, uncompress, Bytef *to, uLongf *length, const Bytef *from, uLong size)
{
	return no_memory() ? Z_MEM_ERROR : __real_uncompress(to, length, from, size);
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *context)
{
	return fails(THREAD) ? EAGAIN : __real_pthread_create(thread, attributes, start, context);
}

struct io_uring;
WRAP(int, io_uring_queue_init, unsigned entries, struct io_uring *ring, unsigned flags)
{
	return fails(THREAD) ? -ENOSYS : __real_io_uring_queue_init(entries, ring, flags);
}

static bool call_fails(enum fault fault, int with)
{
	if (!fails(fault))
		return false;
	errno = with;
	return true;
}

/* How much of a transfer comes about; 0: it fails. */
static size_t some_of(size_t size)
{
	if (call_fails(CALL, EIO) || call_fails(INTERRUPTED, EINTR))
		return 0;
	return size > 1 && fails(SHORT) ? size / 2 : size;
}

WRAP(ssize_t, pread64, int fd, void *bytes, size_t size, off_t offset)
{
	size_t some = some_of(size);

	return some ? __real_pread64(fd, bytes, some, offset) : -1;
}

WRAP(ssize_t, pwrite64, int fd, const void *bytes, size_t size, off_t offset)
{
	size_t some = some_of(size);

	return some ? __real_pwrite64(fd, bytes, some, offset) : -1;
}

WRAP(ssize_t, read, int fd, void *bytes, size_t size)
{
	size_t some = some_of(size);

	return some ? __real_read(fd, bytes, some) : -1;
}

WRAP(ssize_t, write, int fd, const void *bytes, size_t size)
{
	size_t some = some_of(size);

	return some ? __real_write(fd, bytes, some) : -1;
}

WRAP(int, open64, const char *path, int flags, mode_t mode)
{
	return call_fails(CALL, EIO) ? -1 : __real_open64(path, flags, mode);
}

WRAP(int, fsync, int fd)
{
	return call_fails(CALL, EIO) ? -1 : __real_fsync(fd);
}

WRAP(int, ftruncate64, int fd, off_t size)
{
	return call_fails(CALL, EIO) ? -1 : __real_ftruncate64(fd, size);
}

WRAP(int, fstat64, int fd, struct stat *status)
{
	return call_fails(CALL, EIO) ? -1 : __real_fstat64(fd, status);
}

WRAP(int, fcntl64, int fd, int command, ...)
{
	va_list args;

	va_start(args, command);
	void *lock = va_arg(args, void *);

	va_end(args);
	return call_fails(CALL, EIO) ? -1 : __real_fcntl64(fd, command, lock);
}

WRAP(off_t, lseek64, int fd, off_t offset, int whence)
{
	return call_fails(CALL, EIO) ? -1 : __real_lseek64(fd, offset, whence);
}

/* ---- devices that are counted ---- */

struct counted_dev {
	struct wb_dev dev;
	struct wb_dev *inner;
};

static void counted_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct wb_dev *inner = ((struct counted_dev *)dev)->inner;
	bool write_failed = false;

	for (unsigned i = 0; i < n; i++) {
		if (io[i].write && write_failed)
			io[i].result = -ECANCELED;
		else if (fails(io[i].write ? WRITE : READ))
			io[i].result = -EIO;
		else
			inner->ops->submit(inner, &io[i], 1);
		write_failed |= io[i].write && io[i].result;
	}
	dev->size = wb_dev_size(inner);
}

static int counted_flush(struct wb_dev *dev)
{
	return fails(FLUSH) ? -EIO : wb_dev_flush(((struct counted_dev *)dev)->inner, NULL) ? -EIO : 0;
}

static void counted_close(struct wb_dev *dev)
{
	wb_dev_close(((struct counted_dev *)dev)->inner);
}

static struct wb_dev *count_requests(struct counted_dev *counted, struct wb_dev *inner)
{
	static const struct wb_dev_ops ops = { .submit = counted_submit, .flush = counted_flush, .close = counted_close };

	*counted = (struct counted_dev){ .dev = *inner, .inner = inner };
	counted->dev.ops = &ops;
	return &counted->dev;
}

/* ---- the stage ---- */

#define SPAN 24u /* blocks of BACKING */
#define LOG 9u   /* ids of a log that has wrapped */

struct stage {
	struct build build;     /* the cache as it is each time */
	struct build flipped;   /* a small one, with an id in its place of which a bit is flipped */
	struct backing backing;
	uint8_t *cache_bytes;   /* what a run works on */
	struct counted_dev counted[2];
	struct wb_range bad[1];
	uint32_t digest;        /* of what a run told */
	uint8_t *final[2];      /* what a whole run left on CACHE and BACKING */
	uint32_t final_digest;
};

static void note(struct stage *stage, uint64_t value)
{
	stage->digest = wb_crc32c(stage->digest, &value, sizeof(value));
}

/* Ids 9 ... 16; a bit of that of 13 is flipped. */
static void build_flipped(struct build *b, const char *format, unsigned order)
{
	build_init(b, format, order, 8);
	build_log(b, 9, 16, SPAN);
	*build_id_at(b, 4) ^= 8;
}

/* Everything that is no failure and takes memory: clean copies, partial blocks, a hole, a flipped bit, a torn write. */
static void build_stage(struct stage *stage, const char *format, unsigned order, bool damaged)
{
	struct build *b = &stage->build;

	memset(stage, 0, sizeof(*stage));
	build_init(b, format, order, 6);
	for (uint64_t id = 1; id <= LOG; id++)
		build_segment(b, id, PUTS({ id % 5, 0xff, 0 }, { 7 + id % 3, 0x3c, 0 }, { 12 + id, id % 2 ? 0xf0 : 0x0f, 0 }));
	if (b->geometry.capacity > 40) { /* more versions of one block than fit into a plan of 16 entries */
		struct put many[40];

		for (unsigned i = 0; i < 40; i++)
			many[i] = (struct put){ 3, 1u << i % 8, LOG * 256 + i };
		build_segment(b, LOG, many, 40);
	}
	if (damaged) {
		build_torn(b, LOG + 1, 3);
		build_at(b, wb_slot_of(&b->geometry, LOG - 1))[WB_BLOCK + 700] ^= 0x10;
		build_at(b, wb_slot_of(&b->geometry, LOG - 3))[WB_BLOCK + 900] ^= 0x55;
		build_at(b, wb_slot_of(&b->geometry, LOG - 3))[WB_BLOCK + 1200] ^= 0x55;
		build_record(b, 1);
		stage->bad[0] = (struct wb_range){ wb_slot_offset(&b->geometry, wb_slot_of(&b->geometry, LOG - 2)) + WB_BLOCK, 512 };
	}
	build_flipped(&stage->flipped, format, order);
	backing_init(&stage->backing, SPAN * 8);
	stage->cache_bytes = malloc(b->geometry.bytes);
	stage->final[0] = malloc(b->geometry.bytes);
	stage->final[1] = malloc(SPAN * WB_BLOCK);
	assert_true(stage->cache_bytes && stage->final[0] && stage->final[1]);
}

static void stage_release(struct stage *stage)
{
	build_release(&stage->build);
	build_release(&stage->flipped);
	backing_release(&stage->backing);
	free(stage->cache_bytes);
	free(stage->final[0]);
	free(stage->final[1]);
}

static void rewind_stage(struct stage *stage)
{
	memcpy(stage->cache_bytes, stage->build.bytes, stage->build.geometry.bytes);
	for (uint64_t i = 0; i < stage->backing.sectors; i++)
		fill_sector(stage->backing.bytes + i * WB_SECTOR, i, ON_BACKING);
	stage->digest = 0;
}

static void keep_end(struct stage *stage)
{
	memcpy(stage->final[0], stage->cache_bytes, stage->build.geometry.bytes);
	memcpy(stage->final[1], stage->backing.bytes, SPAN * WB_BLOCK);
	stage->final_digest = stage->digest;
}

static bool ends_the_same(const struct stage *stage)
{
	return stage->digest == stage->final_digest &&
	       memcmp(stage->final[0], stage->cache_bytes, stage->build.geometry.bytes) == 0 &&
	       memcmp(stage->final[1], stage->backing.bytes, SPAN * WB_BLOCK) == 0;
}

static int open_memory(struct counted_dev *counted, struct wb_dev **dev, void *bytes, uint64_t size, struct wb_error *err)
{
	int ret = wb_dev_memory(dev, bytes, size, err);

	if (!ret)
		*dev = count_requests(counted, *dev);
	return ret;
}

/* The cache, with its bad sector. */
static int open_cache(struct stage *stage, struct wb_dev **dev, struct wb_error *err)
{
	const struct wb_fault fault = { .bad = stage->bad, .bad_count = stage->bad[0].length != 0, .cut_after = UINT64_MAX };
	struct wb_dev *inner = NULL;
	int ret = open_memory(&stage->counted[0], &inner, stage->cache_bytes, stage->build.geometry.bytes, err);

	if (!ret)
		ret = wb_dev_fault(dev, inner, &fault, err);
	if (ret)
		wb_dev_close(inner);
	return ret;
}

static int open_backing(struct stage *stage, struct wb_dev **dev, struct wb_error *err)
{
	return open_memory(&stage->counted[1], dev, stage->backing.bytes, stage->backing.sectors * WB_SECTOR, err);
}

/* ---- what the library is asked for ---- */

static const struct wb_overrides nothing_known;

static int is_stopped(void *context)
{
	(void)context;
	return fails(STOPPED);
}

static const struct wb_progress polled = { .stop = is_stopped };

static int load(struct stage *stage, struct wb_dev *dev, struct wb_cache *cache, struct wb_ring *ring, unsigned jobs,
		struct wb_error *err)
{
	const struct wb_ring_options options = { .backing_sectors = stage->backing.sectors, .sums_memory = 1u << 16, .jobs = jobs };
	int ret = wb_cache_open(cache, dev, &nothing_known, err);

	return ret ? ret : wb_ring_load(ring, cache, &options, &polled, err);
}

static int carry_out(struct stage *stage, struct wb_ring *ring, struct wb_dev *backing, enum wb_policy policy, struct wb_error *err)
{
	const struct wb_decide_options decide = { .policy = policy, .capacity = 16 };
	const struct wb_replay_options options = { .capacity = 16, .verify = true, .compare = policy == WB_SALVAGE };
	struct wb_replay_result result;
	struct wb_decision decision;
	uint64_t differing;
	int ret = wb_decide(ring, backing, &decide, &decision, &polled, err);

	if (ret || decision.refused)
		return ret;
	ret = wb_replay(ring, &decision.scope, backing, &options, &result, &polled, err);
	if (!ret)
		ret = wb_replay_compare(ring, &decision.scope, backing, 16, UINT64_MAX, 0, &differing, &polled, err);
	if (!ret) {
		note(stage, result.written_sectors);
		note(stage, differing);
	}
	return ret;
}

static int flush_log(struct stage *stage, unsigned jobs, struct wb_error *err)
{
	struct wb_dev *dev = NULL, *backing = NULL;
	struct wb_ring ring = { 0 };
	struct wb_cache cache;
	struct wb_proof proof;
	int ret = open_cache(stage, &dev, err);

	if (!ret)
		ret = open_backing(stage, &backing, err);
	if (!ret)
		ret = load(stage, dev, &cache, &ring, jobs, err);
	if (!ret)
		ret = wb_pair_prove(&ring, backing, 16, 0, &proof, &polled, err);
	for (enum wb_policy policy = WB_STRICT; !ret && policy <= WB_SALVAGE; policy++)
		ret = carry_out(stage, &ring, backing, policy, err);
	if (!ret)
		ret = wb_cache_end(dev, &(struct wb_marker){ .reason = WB_END_FLUSHED, .head = ring.head }, err);
	wb_ring_release(&ring);
	wb_dev_close(backing);
	wb_dev_close(dev);
	return ret;
}

static int flushing(struct stage *stage, struct wb_error *err)
{
	return flush_log(stage, 1, err);
}

static int flushing_with_jobs(struct stage *stage, struct wb_error *err)
{
	return flush_log(stage, 3, err);
}

/* The same from an image; nothing but the log is read from it. */
static int flushing_an_image(struct stage *stage, struct wb_error *err)
{
	struct wb_dev *dev = NULL, *backing = NULL;
	int fd = memfd_create("cache", 0);
	struct wb_ring ring = { 0 };
	struct wb_cache cache;
	char path[64];

	assert_true(fd >= 0);
	assert_int_equal(__real_pwrite64(fd, stage->cache_bytes, stage->build.geometry.bytes, 0), stage->build.geometry.bytes);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int ret = wb_dev_open(&dev, path, WB_OPEN_THREADS | WB_OPEN_PEEK, err);

	if (!ret)
		ret = open_backing(stage, &backing, err);
	if (!ret)
		ret = load(stage, dev, &cache, &ring, 2, err);
	if (!ret)
		ret = carry_out(stage, &ring, backing, WB_SALVAGE, err);
	wb_ring_release(&ring);
	wb_dev_close(backing);
	wb_dev_close(dev);
	close(fd);
	return ret;
}

/* Two slots of the device are left out. */
static int flushing_fewer_slots(struct stage *stage, struct wb_error *err)
{
	const struct wb_overrides fewer = { .slots = 4 };
	const struct wb_ring_options options = { .backing_sectors = stage->backing.sectors, .jobs = 1 };
	struct wb_dev *dev = NULL, *backing = NULL;
	struct wb_ring ring = { 0 };
	struct wb_cache cache;
	int ret = open_cache(stage, &dev, err);

	if (!ret)
		ret = open_backing(stage, &backing, err);
	if (!ret)
		ret = wb_cache_open(&cache, dev, &fewer, err);
	if (!ret)
		ret = wb_ring_load(&ring, &cache, &options, &polled, err);
	if (!ret)
		ret = carry_out(stage, &ring, backing, WB_SALVAGE, err);
	note(stage, ring.beyond);
	wb_ring_release(&ring);
	wb_dev_close(backing);
	wb_dev_close(dev);
	return ret;
}

/* BACKING has to be asked about the id. */
static int doubting_an_id(struct stage *stage, struct wb_error *err)
{
	const struct wb_decide_options options = { .policy = WB_SALVAGE, .capacity = 16 };
	struct wb_dev *dev = NULL, *backing = NULL;
	struct wb_ring ring = { 0 };
	struct wb_decision decision = { 0 };
	struct wb_cache cache;
	int ret = open_memory(&stage->counted[0], &dev, stage->flipped.bytes, stage->flipped.geometry.bytes, err);

	if (!ret)
		ret = open_backing(stage, &backing, err);
	if (!ret)
		ret = load(stage, dev, &cache, &ring, 1, err);
	if (!ret)
		ret = wb_decide(&ring, backing, &options, &decision, &polled, err);
	note(stage, decision.ids);
	wb_ring_release(&ring);
	wb_dev_close(backing);
	wb_dev_close(dev);
	return ret;
}

/* Whether somebody wrote to it since; an old segment that goes is noticed by the data alone. */
static int ending_and_asking(struct stage *stage, struct wb_error *err)
{
	struct wb_dev *dev = NULL;
	struct wb_ring ring = { 0 };
	struct wb_cache cache;
	bool written = false;
	int ret = open_cache(stage, &dev, err);

	if (!ret)
		ret = load(stage, dev, &cache, &ring, 1, err);
	if (!ret) {
		struct wb_marker marker = wb_marker_of(&ring, WB_END_FLUSHED, 5, 6);

		ret = wb_cache_end(dev, &marker, err);
	}
	if (!ret)
		ret = wb_cache_written_after_end(dev, &nothing_known, &written, &polled, err);
	note(stage, written);
	wb_ring_release(&ring);
	wb_dev_close(dev);
	return ret;
}

static int count_finding(void *context, const struct wb_finding *finding)
{
	note(context, (uint64_t)finding->rule);
	return 0;
}

struct writing {
	struct wb_dev *dev;
};

static int write_repair(void *context, const struct wb_repair *repair, struct wb_error *err)
{
	return wb_repair_write(((struct writing *)context)->dev, repair, err);
}

static int checking_and_repairing(struct stage *stage, struct wb_error *err)
{
	struct wb_dev *dev = NULL;
	struct wb_ring ring = { 0 };
	struct wb_cache cache;
	int ret = open_cache(stage, &dev, err);

	if (!ret)
		ret = load(stage, dev, &cache, &ring, 1, err);
	if (!ret)
		ret = wb_check(&ring, NULL, count_finding, stage, err);
	if (!ret && (ret = wb_ring_correct(&ring, NULL, NULL, err)) > 0)
		ret = 0;
	if (!ret)
		ret = wb_repair_each(&ring, false, write_repair, &(struct writing){ dev }, &polled, err);
	wb_ring_release(&ring);
	wb_dev_close(dev);
	return ret;
}

static int foretelling(struct stage *stage, struct wb_error *err)
{
	struct wb_dev *dev = NULL, *backing = NULL;
	struct wb_forecast forecast = { 0 };
	struct wb_cache cache;
	int ret = open_cache(stage, &dev, err);

	if (!wb_seal_covers_data(stage->build.geometry.format)) /* v0 takes this one into the slot of its id */
		wb_put_le(stage->cache_bytes + wb_slot_offset(&stage->build.geometry, 2) + stage->build.geometry.format->id.offset, 8, 12);
	if (!ret)
		ret = open_backing(stage, &backing, err);
	if (!ret)
		ret = wb_cache_open(&cache, dev, &nothing_known, err);
	if (!ret) {
		ret = wb_forecast(&forecast, &cache, backing, 0, &polled, err);
		if (!ret) {
			note(stage, forecast.abandoned_sectors);
			note(stage, forecast.outcome);
			ret = wb_forecast_replay(&forecast, backing, &polled, err);
			while (!ret && (ret = wb_forecast_other(&forecast, &polled, err)) > 0) {
				note(stage, forecast.outcome);
				ret = 0;
			}
			wb_forecast_release(&forecast);
		}
	}
	wb_dev_close(backing);
	wb_dev_close(dev);
	return ret;
}

static int write_pack(struct stage *stage, int fd, struct wb_error *err)
{
	static const uint8_t key[16] = "sixteen octets!";
	const struct wb_pack_options options = { .key = key, .jobs = 2, .facts = "name: value\n" };
	struct wb_pack_result result;
	struct wb_cache cache;
	struct wb_dev *dev = NULL;
	int ret = open_cache(stage, &dev, err);

	if (!ret)
		ret = wb_cache_open(&cache, dev, &nothing_known, err);
	if (!ret)
		ret = wb_pack_write(&cache, fd, &options, &result, &polled, err);
	if (!ret)
		note(stage, result.bytes);
	wb_dev_close(dev);
	return ret;
}

static int read_pack(struct stage *stage, const char *path, int image, struct wb_error *err)
{
	struct wb_ring ring = { 0 };
	struct wb_cache cache;
	struct wb_dev *dev = NULL;
	uint64_t lost;
	int ret = wb_dev_open(&dev, path, WB_OPEN_PACK | WB_OPEN_THREADS | WB_OPEN_PEEK, err);

	if (!ret)
		ret = load(stage, dev, &cache, &ring, 1, err);
	if (!ret)
		ret = wb_dev_flush(dev, err);
	if (!ret)
		ret = wb_pack_unpack(dev, image, &lost, &polled, err);
	if (!ret)
		note(stage, lost + ring.holes);
	wb_ring_release(&ring);
	wb_dev_close(dev);
	return ret;
}

static int packing(struct stage *stage, struct wb_error *err)
{
	int fd = memfd_create("pack", 0), image = memfd_create("image", 0);
	char path[64];

	assert_true(fd >= 0 && image >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int ret = write_pack(stage, fd, err);

	if (!ret)
		ret = read_pack(stage, path, image, err);
	close(fd);
	close(image);
	return ret;
}

static int formatting(struct stage *stage, struct wb_error *err)
{
	struct wb_dev *dev = NULL;
	int ret = open_cache(stage, &dev, err);

	if (!ret)
		ret = wb_cache_format(dev, &stage->build.geometry, 1, &polled, err);
	wb_dev_close(dev);
	return ret;
}

/* Records what it overwrites of BACKING in the undo file. */
static int record(struct wb_dev **backing, struct wb_dev *file, uint64_t size, struct wb_error *err)
{
	struct wb_undo_device device = { .name = (char[]){ "backing" }, .size = size };
	uint8_t bytes[16 * WB_SECTOR];
	struct wb_undo undo = { 0 };
	struct wb_dev *dev = NULL;
	int ret = wb_undo_create(&undo, file, &device, 1, 77, 1, err);

	if (ret)
		return ret;
	memset(bytes, 0x77, sizeof(bytes));
	ret = wb_dev_undo(&dev, *backing, &undo, 0, err);
	if (!ret)
		*backing = dev;
	for (uint64_t at = 0; !ret && at + sizeof(bytes) <= size; at += 2 * sizeof(bytes))
		ret = wb_dev_write(dev, at, bytes, sizeof(bytes), err);
	if (!ret)
		ret = wb_dev_flush(dev, err);
	if (!ret)
		wb_dev_forget(dev);
	wb_dev_close(*backing);
	*backing = NULL;
	wb_undo_release(&undo);
	return ret;
}

static int put_back(struct stage *stage, struct wb_dev *file, unsigned force, struct wb_error *err)
{
	struct wb_undo_result result;
	struct wb_undo undo = { 0 };
	struct wb_dev *backing = NULL;
	int ret = wb_undo_load(&undo, file, &polled, err);

	if (!ret)
		ret = open_backing(stage, &backing, err);
	if (!ret)
		ret = wb_undo_restore(&undo, (struct wb_dev *[]){ backing }, force, false, 2, &result, &polled, err);
	if (!ret)
		note(stage, result.written_sectors);
	wb_dev_close(backing);
	wb_undo_release(&undo);
	return ret;
}

/* gap: a record in the middle of the file is destroyed. */
static int record_and_put_back(struct stage *stage, bool gap, struct wb_error *err)
{
	struct wb_dev *backing = NULL, *file = NULL;
	int fd = memfd_create("undo", 0);
	char path[64];

	assert_true(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int ret = open_backing(stage, &backing, err);

	if (!ret)
		ret = wb_dev_open(&file, path, WB_OPEN_WRITE | WB_OPEN_GROW | WB_OPEN_THREADS | WB_OPEN_PEEK, err);
	if (!ret)
		ret = record(&backing, file, stage->backing.sectors * WB_SECTOR, err);
	if (!ret && gap)
		assert_int_equal(__real_pwrite64(fd, "gap", 3, (off_t)wb_dev_size(file) / 2), 3);
	if (!ret)
		ret = put_back(stage, file, gap ? WB_UNDO_CUT : 0, err);
	wb_dev_close(backing);
	wb_dev_close(file);
	close(fd);
	return ret;
}

static int undoing(struct stage *stage, struct wb_error *err)
{
	return record_and_put_back(stage, false, err);
}

static int undoing_what_is_left(struct stage *stage, struct wb_error *err)
{
	return record_and_put_back(stage, true, err);
}

/* A part of BACKING, of which nothing is changed. */
static int overlaying(struct stage *stage, struct wb_error *err)
{
	uint8_t bytes[3 * WB_SECTOR];
	struct wb_dev *dev = NULL, *next = NULL;
	int ret = open_backing(stage, &dev, err);

	if (!ret)
		ret = wb_dev_window(&next, dev, 4 * WB_SECTOR, 0, err);
	if (!ret) {
		dev = next;
		ret = wb_dev_overlay(&next, dev, err);
	}
	if (!ret) {
		dev = next;
		memset(bytes, 0x44, sizeof(bytes));
		ret = wb_dev_write(dev, 100, bytes, sizeof(bytes) - 200, err);
	}
	if (!ret)
		ret = wb_dev_read(dev, 0, bytes, sizeof(bytes), err);
	if (!ret)
		note(stage, wb_crc32c(0, bytes, sizeof(bytes)));
	wb_dev_close(dev);
	return ret;
}

static int mapping(struct stage *stage, struct wb_error *err)
{
	int fd = memfd_create("map", 0);
	struct wb_map map = { 0 };
	char path[64];
	int ret = 0;

	assert_true(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (unsigned i = 0; !ret && i < 200; i++)
		ret = wb_map_add(&map, (i * 37 % 200) * 2 * WB_SECTOR, WB_SECTOR, err);
	wb_map_settle(&map);
	if (!ret)
		ret = wb_map_write(fd, map.bad, map.count, 1u << 20, err);
	wb_map_release(&map);
	if (!ret) {
		ret = wb_map_load(&map, path, 1u << 20, err);
		if (!ret)
			note(stage, map.count);
		wb_map_release(&map);
	}
	close(fd);
	return ret;
}

/* An image, its engines and all that a batch can hold. */
static int transferring(struct stage *stage, struct wb_error *err, unsigned flags)
{
	static uint8_t bytes[64][WB_BLOCK];
	struct wb_io io[64];
	struct wb_dev *dev = NULL;
	int fd = memfd_create("image", 0);
	char path[64];

	assert_true(fd >= 0 && !__real_ftruncate64(fd, 1 << 20));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int ret = wb_dev_open(&dev, path, WB_OPEN_WRITE | flags, err);

	for (unsigned pass = 0; !ret && pass < 2; pass++) {
		for (unsigned i = 0; i < 64; i++)
			io[i] = (struct wb_io){ .buffer = bytes[i], .offset = i * 3 * WB_BLOCK, .length = WB_BLOCK, .write = !pass };
		memset(bytes, 0x33, pass ? 0 : sizeof(bytes));
		ret = wb_dev_submit(dev, io, 64, err);
		if (!ret)
			ret = wb_dev_flush(dev, err);
	}
	if (!ret)
		note(stage, wb_crc32c(0, bytes, sizeof(bytes)));
	wb_dev_close(dev);
	close(fd);
	return ret;
}

static int transferring_by_threads(struct stage *stage, struct wb_error *err)
{
	return transferring(stage, err, WB_OPEN_THREADS | WB_OPEN_PEEK);
}

static int transferring_as_is_best(struct stage *stage, struct wb_error *err)
{
	return transferring(stage, err, WB_OPEN_EXCLUSIVE);
}

static const struct {
	const char *name;
	int (*run)(struct stage *stage, struct wb_error *err);
} works[] = {
	{ "flushing", flushing },
	{ "flushing with jobs", flushing_with_jobs },
	{ "flushing an image", flushing_an_image },
	{ "flushing fewer slots", flushing_fewer_slots },
	{ "doubting an id", doubting_an_id },
	{ "ending and asking", ending_and_asking },
	{ "checking and repairing", checking_and_repairing },
	{ "foretelling", foretelling },
	{ "packing", packing },
	{ "formatting", formatting },
	{ "undoing", undoing },
	{ "undoing what is left", undoing_what_is_left },
	{ "overlaying", overlaying },
	{ "mapping", mapping },
	{ "transferring by threads", transferring_by_threads },
	{ "transferring", transferring_as_is_best },
};

/* ---- one after the other ---- */

static int run_work(struct stage *stage, unsigned work, enum fault fault, long left, struct wb_error *err)
{
	long before = live;
	int ret;

	rewind_stage(stage);
	memset(err, 0, sizeof(*err));
	plan.fault = fault;
	plan.left = left;
	plan.armed = true;
	ret = works[work].run(stage, err);
	plan.armed = false;
	if (live != before)
		fail_msg("%s, %s: fault %d after %ld: %ld allocations are lost", works[work].name, stage->build.geometry.format->name,
			 fault, left, live - before);
	return ret;
}

/* What a failure must look like. */
static bool told(enum fault fault, int ret, const struct wb_error *err)
{
	if (ret >= 0 || err->code != (enum wb_code)-ret || !err->text[0])
		return false;
	if (fault == MEMORY || fault == EXHAUSTED)
		return err->code == WB_ENOMEM || (err->code == WB_EIO && err->sys == ENOMEM);
	if (fault == STOPPED)
		return err->code == WB_ESTOPPED;
	return fault != THREAD && fault != INTERRUPTED && fault != SHORT;
}

/* A write or flush that failed and was not told is a lie; what cannot be read may just be damage. */
static bool may_pass(enum fault fault, bool same)
{
	switch (fault) {
	case WRITE:
	case FLUSH:
	case STOPPED:
		return false;
	case READ:
	case CALL:
		return true;
	default:
		return same;
	}
}

/* How many faults were met. */
static unsigned try_all(struct stage *stage, unsigned work, enum fault fault)
{
	struct wb_error err;
	int whole = run_work(stage, work, fault, LONG_MAX, &err);
	long count = LONG_MAX - plan.left;

	if (whole)
		fail_msg("%s: %s", works[work].name, err.text);
	keep_end(stage);
	for (long left = 0; left < count; left++) {
		int ret = run_work(stage, work, fault, left, &err);
		bool same = ends_the_same(stage);

		if (plan.left < 0 && !(ret ? told(fault, ret, &err) : may_pass(fault, same)))
			fail_msg("%s, %s: fault %d after %ld of %ld: returns %d, code %d, errno %d, %s: %s", works[work].name,
				 stage->build.geometry.format->name, fault, left, count, ret, err.code, err.sys,
				 same ? "the same" : "another end", err.text);
	}
	return (unsigned)count;
}

static unsigned try_everything(enum fault fault)
{
	static const struct { const char *format; unsigned order; bool damaged; } kinds[] = {
		{ "v0", 5, true }, { "v1", 5, false }, { "v2", 10, true },
	};
	unsigned count = 0;

	for (unsigned kind = 0; kind < LENGTH_OF(kinds); kind++) {
		struct stage stage;

		build_stage(&stage, kinds[kind].format, kinds[kind].order, kinds[kind].damaged);
		for (unsigned work = 0; work < LENGTH_OF(works); work++)
			count += try_all(&stage, work, fault);
		stage_release(&stage);
	}
	return count;
}

static void every_allocation_that_fails_is_told_and_leaks_nothing(void **state)
{
	(void)state;
	assert_true(try_everything(MEMORY) > 100);
}

static void so_it_is_when_there_is_no_memory_from_then_on(void **state)
{
	(void)state;
	assert_true(try_everything(EXHAUSTED) > 100);
}

static void without_threads_and_io_uring_everything_ends_the_same(void **state)
{
	(void)state;
	assert_true(try_everything(THREAD) > 10);
}

static void every_system_call_may_fail(void **state)
{
	(void)state;
	assert_true(try_everything(CALL) > 100);
}

static void interrupted_and_short_transfers_are_gone_on_with(void **state)
{
	(void)state;
	assert_true(try_everything(INTERRUPTED) > 100);
	assert_true(try_everything(SHORT) > 100);
}

static void every_read_of_a_device_may_fail(void **state)
{
	(void)state;
	assert_true(try_everything(READ) > 100);
}

static void every_write_and_flush_that_fails_is_told(void **state)
{
	(void)state;
	assert_true(try_everything(WRITE) > 100);
	assert_true(try_everything(FLUSH) > 10);
}

static void whoever_wants_no_more_is_heard_at_every_poll(void **state)
{
	(void)state;
	assert_true(try_everything(STOPPED) > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_that_fails_is_told_and_leaks_nothing),
		cmocka_unit_test(so_it_is_when_there_is_no_memory_from_then_on),
		cmocka_unit_test(without_threads_and_io_uring_everything_ends_the_same),
		cmocka_unit_test(every_system_call_may_fail),
		cmocka_unit_test(interrupted_and_short_transfers_are_gone_on_with),
		cmocka_unit_test(every_read_of_a_device_may_fail),
		cmocka_unit_test(every_write_and_flush_that_fails_is_told),
		cmocka_unit_test(whoever_wants_no_more_is_heard_at_every_poll),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
