/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libwbfmt: the on-disk format of dm-writeboost cache devices, and the replay of their log.
 *
 * Order of use: wb_dev_open() the cache, wb_cache_open() it, wb_ring_load() its log; then look
 * (wb_ring.slots, wb_check()), or wb_decide() under a policy, wb_pair_prove() the backing device and
 * wb_replay() onto it, and wb_cache_end() the log.
 *
 * Conventions. A function that can fail returns 0 or a negative enum wb_code and describes the
 * failure in *err, which the caller owns and may be NULL. Damage on disk is never a failure: it is a
 * class of a slot or a finding. The library prints nothing, never exits, reads no environment and keeps
 * no state of its own. Objects are not locked: one thread at a time per object. Threads that the
 * library starts (wb_ring_options.jobs) have ended when the call returns, and call nothing back. A sector is 512
 * bytes, a block 4096; a quantity without a unit in its name is in bytes.
 */
#ifndef WBFMT_H
#define WBFMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WB_VERSION "0.1.0"

#define WB_SECTOR 512u
#define WB_BLOCK 4096u
#define WB_SECTORS_PER_BLOCK 8u

/* Where the fixed things of every generation lie, in bytes. */
#define WB_MAGIC 0x57427374u            /* le32 at byte 0. v2.2.17: dm-writeboost.h, WB_MAGIC */
#define WB_ORDER_BYTE 4u                /* v1.0.1: struct superblock_header_device */
#define WB_RECORD_OFFSET (2047u * 512u) /* le64. v2.2.17: read_superblock_record() */
#define WB_FIRST_SLOT (1u << 20)        /* v2.2.17: calc_segment_header_start() */

/* ---- errors ------------------------------------------------------------------------------- */

enum wb_code {
	WB_OK = 0,
	WB_EIO,       /* a device failed; sys says how */
	WB_ENOMEM,
	WB_ETABLE,    /* the table of slots takes more memory than the caller allows; the text says how much */
	WB_EINVAL,    /* the caller broke a contract, or asked for what this device cannot have */
	WB_EOPEN,     /* a file or device cannot be opened; sys says why */
	WB_EBUSY,     /* somebody else holds the device */
	WB_ENOTCACHE, /* no magic and no segment that proves a log */
	WB_ESUPER,    /* sector 0 is damaged or zeroed, but segments prove a log */
	WB_EWRAP,     /* over 2 TiB: the caller must choose a reading of the slot addresses */
	WB_ECHANGED,  /* a block read differently the second time */
	WB_ESTOPPED,  /* the caller's stop callback asked for it */
	WB_ECUT,      /* an undo file lacks records that it once had; offset is a byte of that file */
	WB_ENEWER,    /* internal: the backing device holds a newer version than the one that was to be written over it */
	WB_EPACK,     /* a pack is damaged, or of a version that is not known; offset is a byte of the pack's file */
};

#define WB_NO_OFFSET UINT64_MAX

struct wb_error {
	enum wb_code code;
	int sys;         /* an errno, or 0 */
	uint64_t offset; /* byte on the device the text speaks of, or WB_NO_OFFSET */
	uint64_t device; /* wb_dev_number() of the device that failed or changed; 0: of none */
	char text[256];  /* one sentence, lower case, no full stop, no device name */
};

/* Progress and cancellation, polled between batches. */
struct wb_progress {
	void *context;
	/* done of total bytes in the named phase, total 0 where that is not known; NULL: silent */
	void (*report)(void *context, const char *phase, uint64_t done, uint64_t total);
	/* non-zero stops the work: WB_ESTOPPED; NULL: never */
	int (*stop)(void *context);
};

/* ---- checksums ---------------------------------------------------------------------------- */

/* CRC-32C (Castagnoli, reflected) of size bytes, continued from crc, without inversion before or after:
 * the kernel's crc32c(). The usual CRC-32C of a buffer is ~wb_crc32c(~0u, ...). */
uint32_t wb_crc32c(uint32_t crc, const void *bytes, size_t size);

/* ---- formats ------------------------------------------------------------------------------ */

/* A little-endian number: width bytes (1, 4 or 8) at offset. Width 0: the generation has no such field. */
struct wb_field {
	uint16_t offset;
	uint16_t width;
};

enum wb_seal_kind {
	WB_SEAL_LAP,     /* every metablock repeats the header's lap; nothing covers the data blocks */
	WB_SEAL_CRC_RAW, /* CRC-32C from byte 512 to the last data block, stored without complement; either is read */
	WB_SEAL_CRC,     /* the same, stored raw (2.0.0, 2.0.1) or complemented (2.0.2 and later) */
};

/* What a driver does when it takes a log in; wb_forecast() follows it. */
enum wb_recovery {
	WB_RECOVERY_UPWARD = 1, /* from the smallest id up in slot order, instead of from the slot behind the largest id;
				 * writes back every version, instead of the newest of a block. 236732eb: recover_cache() */
	WB_RECOVERY_CLEANS = 2, /* marks clean what is at or below the record; without it such segments are never written
				 * back, but stay dirty in RAM. v2.2.4, v2.2.3: infer_last_writeback_id() */
	WB_RECOVERY_OVERREADS = 4, /* a length out of range kills it: it sums bytes behind a vmalloc()ed buffer.
				 * v2.0.6: apply_valid_segments(), calc_checksum() */
	WB_RECOVERY_BLOCKS = 8, /* reads 4 KiB for the superblock and for the record. v2.2.8: read_superblock_header() */
	WB_RECOVERY_DIES = 16,  /* after a write that fails it ignores all I/O; without it the write is retried for ever, and
				 * one of the assembly itself ends that. v2.1.1: mark_dead() */
	WB_RECOVERY_ALIGNED = 32, /* an address that is no multiple of 8 kills it. v2.2.5: ht_get_head() */
	WB_RECOVERY_COMPLEMENTS = 64, /* stores and expects the complement of the checksum. v2.0.2: calc_checksum() */
	WB_RECOVERY_ORDER = 128, /* refuses another order than that of its table line. v1.0.1: audit_cache_device() */
};

/* Versions of the driver, from the first to the last, that take a log in alike. */
struct wb_driver {
	const char *first, *last; /* "2.0.2", "2.0.5"; the same: one version */
	unsigned recovery;        /* enum wb_recovery */
};

/* One generation of the format. Offsets of header fields are from the slot's first byte, those of
 * metablock fields from the metablock's first byte. Sources: v0 the patch of October 2013; v1
 * dm-writeboost.h at v1.0.1; v2 dm-writeboost.h at v2.2.17 (struct segment_header_device, metablock_device). */
struct wb_format {
	const char *name;      /* "v0", "v1", "v2" */
	const char *drivers;   /* which drivers write it, for people */
	unsigned order_min, order_max, order_default;
	bool order_stored;     /* byte 4 of sector 0 holds the order; otherwise it is 0 */
	enum wb_seal_kind seal;
	unsigned length_min;   /* smallest valid length; 1 in v0, which never writes 0 */
	bool caches_reads;     /* dirty_bits 0 marks a clean copy that hides older dirty ones; v0: unused element */
	bool record_binds;     /* segments at or below the record are gone (v0 discards them) */
	bool head_is_old;      /* the slot that the next id overwrites has been written back for certain (v0) */
	const struct wb_driver *released; /* oldest first; the one without versions ends them */
	struct wb_field id, checksum, length, lap;
	unsigned metablocks;   /* byte of metablock 0 */
	unsigned stride;       /* bytes from one metablock to the next */
	struct wb_field mb_sector, mb_dirty, mb_lap;
	unsigned ram_slot;     /* bytes of RAM that the driver needs for a slot, on a 64-bit kernel: struct segment_header */
	unsigned ram_block;    /* and for each of its blocks: struct metablock, and a head of the hash table */
	const char *order_argument; /* what stands before the order in the driver's table line, behind CACHE; NULL: no order */
};

/* The i-th known generation, oldest first, NULL past the last. Static, never freed. */
const struct wb_format *wb_format_at(unsigned i);
/* By name; NULL when unknown. */
const struct wb_format *wb_format_find(const char *name);

/* Where things lie on one device. Everything in it has been checked. */
struct wb_geometry {
	const struct wb_format *format;
	unsigned order;    /* log2 of the sectors of a slot, within the format's range */
	uint32_t slots;    /* N, at least 1 */
	uint32_t capacity; /* data blocks of a segment, 1 ... 255 */
	bool wrap;         /* slot addresses modulo 2^32 sectors, as every released driver computes them */
	uint64_t bytes;    /* of the device */
};

/* Geometry of a device of that many bytes. slots 0: as many as fit, else that many: of a device that was cut short the
 * slots beyond its end are unreadable. WB_EINVAL when not one fits or the order is not the format's. */
int wb_geometry_init(struct wb_geometry *geometry, const struct wb_format *format, unsigned order,
		     uint64_t bytes, uint64_t slots, struct wb_error *err);

/* Bytes that the device lacks to hold that many slots, 0 when none. */
uint64_t wb_geometry_missing(const struct wb_geometry *geometry, uint64_t slots);

/* Some slot starts at or beyond 2^32 sectors, where driver and arithmetic disagree. */
bool wb_geometry_wraps(const struct wb_geometry *geometry);

uint64_t wb_slot_size(const struct wb_geometry *geometry);
/* RAM of the driver's tables, on a 64-bit kernel; its buffers need some MiB more. v2.2.17:
 * init_segment_header_array(), ht_empty_init(). */
uint64_t wb_driver_memory(const struct wb_geometry *geometry);
/* First byte of a slot below geometry->slots. v2.2.17: calc_segment_header_start(). */
uint64_t wb_slot_offset(const struct wb_geometry *geometry, uint32_t slot);
/* Slot of an id that is not 0. v2.2.17: segment_id_to_idx(). */
uint32_t wb_slot_of(const struct wb_geometry *geometry, uint64_t id);
/* Lap of an id that is not 0, modulo 2^32 as it is stored; the first lap is 1. */
uint32_t wb_lap_of(const struct wb_geometry *geometry, uint64_t id);

/* A segment header as it stands on disk: unchecked. Fields a generation lacks are 0. */
struct wb_header {
	uint64_t id;
	uint32_t checksum;
	uint32_t lap;
	uint32_t length;
};

/* A metablock as it stands on disk: unchecked. */
struct wb_metablock {
	uint64_t sector; /* backing address of the whole block; a multiple of 8 in every sound image */
	uint32_t lap;
	uint8_t dirty;   /* bit j: sector j of the block holds data the backing device may lack */
};

/* Bytes of header and length metablocks, at most WB_BLOCK for every length that a geometry of the format has room for. */
unsigned wb_metadata_size(const struct wb_format *format, unsigned length);

/* meta is the first WB_BLOCK bytes of a slot; index is below the capacity of a geometry of the format: below 255, in v1 and
 * v2 below 127. Decoding checks nothing. */
void wb_header_decode(const struct wb_format *format, const uint8_t *meta, struct wb_header *header);
void wb_header_encode(const struct wb_format *format, uint8_t *meta, const struct wb_header *header);
void wb_metablock_decode(const struct wb_format *format, const uint8_t *meta, unsigned index,
			 struct wb_metablock *metablock);
void wb_metablock_encode(const struct wb_format *format, uint8_t *meta, unsigned index,
			 const struct wb_metablock *metablock);

/* ---- devices ------------------------------------------------------------------------------ */

/* One request. result is written by wb_dev_submit(): 0, or a negative errno; a request is done whole or fails. */
struct wb_io {
	void *buffer;    /* aligned to 4096 where the device is opened past the page cache, else copied */
	uint64_t offset;
	uint32_t length;
	int result;
	bool write;
	const char *reading; /* of a write that failed because something had to be read for it first: what; else NULL. Set by
			      * wb_dev_submit(), static */
};

struct wb_dev; /* a device, an image, memory, or a wrapper around one */

enum wb_open_flags {
	WB_OPEN_READ = 0,
	WB_OPEN_WRITE = 1,     /* open for writing too */
	WB_OPEN_EXCLUSIVE = 2, /* O_EXCL on a block device; on an image exclusive advisory locks, flock(2) and of all bytes
				* (F_OFD_SETLK, as virtual machines have). WB_EBUSY when held */
	WB_OPEN_THREADS = 4,   /* do not use io_uring */
	WB_OPEN_GROW = 8,      /* a regular file that writes behind its end make longer. Goes with WRITE */
	WB_OPEN_CREATE = 16,   /* the file must not be there yet; others may not read it. Goes with WRITE and GROW */
	WB_OPEN_PEEK = 32,     /* do not find out who else has it open, not even for a moment; wb_dev_busy() is false */
	WB_OPEN_TRY = 128,     /* for a dry run: wb_dev_busy() when EXCLUSIVE would be refused, for a reader's lock too. Keeps nobody
				* out. Goes with READ */
	WB_OPEN_PACK = 64,     /* a file that begins as a pack is served as the cache it describes; not with WB_OPEN_WRITE */
};

/* Opens a block device (past the page cache) or a regular file. A busy one that is opened without
 * WB_OPEN_EXCLUSIVE is reported by wb_dev_busy(). Anything else is refused: WB_EOPEN. The name is looked up once. */
int wb_dev_open(struct wb_dev **dev, const char *path, unsigned flags, struct wb_error *err);
/* The same of a regular file that the caller has opened. Takes over fd, which is closed with it, and on failure too. */
int wb_dev_adopt(struct wb_dev **dev, int fd, unsigned flags, struct wb_error *err);
/* A device over caller-owned memory, which must outlive it. */
int wb_dev_memory(struct wb_dev **dev, void *bytes, uint64_t size, struct wb_error *err);

/* A part of inner as a device of its own, whose byte 0 is byte start of inner; size 0: up to the end of inner. start may be
 * negative: bytes before inner's byte 0 can be neither read nor written (-EIO). Offsets in errors count from start. WB_EINVAL
 * when the part does not lie before the end of inner. Takes over inner, which is closed with it; on failure inner stays
 * the caller's. */
int wb_dev_window(struct wb_dev **dev, struct wb_dev *inner, int64_t start, uint64_t size, struct wb_error *err);
/* inner with a limit: at most bytes of it are read in all, and it is never written. What was read is kept, and read again from
 * memory; a request beyond the limit fails (-EDQUOT), and wb_cache_open() looks at fewer slots. One thread at a time. Takes over
 * inner, which is closed with it; on failure inner stays the caller's. */
int wb_dev_limit(struct wb_dev **dev, struct wb_dev *inner, uint64_t bytes, struct wb_error *err);
/* The device that a window is part of, which stays the window's; any other device itself. */
struct wb_dev *wb_dev_whole(struct wb_dev *dev);
/* Where byte 0 of a window lies in wb_dev_whole(); 0 of any other device. */
int64_t wb_dev_start(const struct wb_dev *dev);

/* A wrapper for dry runs: what is written stays in memory, sector by sector, and is read again from there. Takes over inner,
 * which is only read. */
int wb_dev_overlay(struct wb_dev **dev, struct wb_dev *inner, struct wb_error *err);

/* How a fault device ends: what becomes of the writes since the last flush when the power is cut. */
enum wb_cut { WB_CUT_LOST, WB_CUT_KEPT, WB_CUT_TORN, WB_CUT_REORDERED };

struct wb_range {
	uint64_t offset, length;
};

/* What several fault devices have in common: when it goes, all of them end. */
struct wb_power {
	uint64_t left; /* writes and flushes that still succeed; the next one and all I/O after it fails */
	bool dead;
	uint64_t writes, flushes; /* so far, with the one that met the cut */
	bool lingers;  /* what a device was not told to flush before it was closed waits for wb_power_end(), as in a page cache */
	struct wb_dev *lingering; /* private */
};

struct wb_fault {
	/* ranges whose reads fail with EIO, as many as you like: ascending and not overlapping; caller's, must outlive
	 * the device */
	const struct wb_range *bad;
	unsigned bad_count;
	uint64_t cut_after; /* as wb_power.left, of this device alone; UINT64_MAX: never. Not used with power */
	struct wb_power *power; /* the caller's, must outlive the device; NULL: its own */
	enum wb_cut cut;
	uint64_t seed;      /* of what is torn and reordered */
};

/* A wrapper that fails as told; takes over inner, which is closed with it. With cut_after UINT64_MAX and only bad ranges
 * it serves --cache-map; the rest is for tests. WB_EINVAL when the ranges are out of order; inner stays the caller's then. */
int wb_dev_fault(struct wb_dev **dev, struct wb_dev *inner, const struct wb_fault *fault, struct wb_error *err);

/* What lingers is written, or meets the cut if there was one. */
void wb_power_end(struct wb_power *power);

uint64_t wb_dev_size(const struct wb_dev *dev);
/* Logical block size: what one write must be a multiple of, 512 for images. */
unsigned wb_dev_block(const struct wb_dev *dev);
/* What the device writes at once inside (512e disks: 4096), at least wb_dev_block(). A device whose first byte lies in the
 * middle of one is not rounded for: its logical block size. */
unsigned wb_dev_physical_block(const struct wb_dev *dev);
bool wb_dev_is_block(const struct wb_dev *dev);
/* Not 0, and of no other device as long as this one is open; of a wrapper that of the device inside. */
uint64_t wb_dev_number(const struct wb_dev *dev);
/* The descriptor it was opened with, of a wrapper that of the device inside; it stays the device's. -1: memory. What is to be known
 * of a device is asked of this, because its name may lead to another one by now. */
int wb_dev_fd(const struct wb_dev *dev);
/* Opens once more, with flags of open(2), what a descriptor (O_PATH will do) is of, even if the name path leads elsewhere by now.
 * The new descriptor, which is the caller's and close-on-exec, or -1 and errno: ESTALE where only the name could be asked. */
int wb_open_again(int fd, const char *path, int flags);
bool wb_dev_busy(const struct wb_dev *dev);
/* Why an image could not be locked: an errno, where its file system has no locks (ENOLCK, EOPNOTSUPP, ENOSYS, EINVAL).
 * Then nobody can tell whether another program uses it. 0: it is locked, or locked by another program, or is a block device. */
int wb_dev_lock_error(const struct wb_dev *dev);
/* Two devices are the same file, or the same block device. */
bool wb_dev_same(const struct wb_dev *a, const struct wb_dev *b);

/* Runs n requests and returns when all are done: 0, or the code of the first (lowest) that failed. When a request
 * does not lie within the device it fails with -ERANGE, the others with -ECANCELED, and none is started. */
int wb_dev_submit(struct wb_dev *dev, struct wb_io *io, unsigned n, struct wb_error *err);
int wb_dev_read(struct wb_dev *dev, uint64_t offset, void *buffer, uint32_t length, struct wb_error *err);
int wb_dev_write(struct wb_dev *dev, uint64_t offset, const void *buffer, uint32_t length, struct wb_error *err);
/* What has been written is on the medium when this returns 0. */
int wb_dev_flush(struct wb_dev *dev, struct wb_error *err);
/* Gives up what a range holds: BLKDISCARD, or a hole in an image. Until it is written again it may read as anything. sys is
 * EOPNOTSUPP in *err where the device cannot; wrappers cannot. */
int wb_dev_discard(struct wb_dev *dev, uint64_t offset, uint64_t length, struct wb_error *err);
/* Best effort: the next reads come from the medium, not from the page cache. */
void wb_dev_forget(struct wb_dev *dev);
/* Releases everything. NULL is fine. */
void wb_dev_close(struct wb_dev *dev);

/* ---- undo files ---------------------------------------------------------------------------- */

/* A device that an undo file speaks of. */
struct wb_undo_device {
	char *name;    /* a stable name by which it can be opened again */
	uint64_t size; /* of the whole device, in bytes */
	int64_t start; /* byte of it at which the cache begins, as wb_dev_start(): 0 of BACKING */
};

#define WB_UNDO_DEVICES 4u

/* An undo file: what stood on the devices before a command overwrote it. Layout in wbfmt(5). Read-only for the caller. */
struct wb_undo {
	struct wb_dev *file;            /* the caller's, must outlive this */
	uint64_t id;                    /* random, tells one undo file from another */
	uint64_t created;               /* seconds since 1970 */
	uint64_t undone;                /* when it was put back last; 0: never */
	uint64_t begun;                 /* how often that was begun */
	struct wb_undo_device devices[WB_UNDO_DEVICES];
	unsigned device_count;
	uint64_t count;                 /* records since it was put back last */
	uint64_t sectors[WB_UNDO_DEVICES]; /* in those records, by device, every version */
	unsigned version;               /* of its layout: 1 has no end notes, 1 and 2 no starts of devices */
	bool interrupted;               /* the run that recorded last did not come to its end, or has not yet; version 1: false */
	bool cut;                       /* records that the file once had are missing, at its end or after damage */
	uint64_t cut_at;                /* byte of the file where the first of them is missing */
	uint64_t missing;               /* how many, of any kind; 0 if cut: not known */
	bool torn;                      /* behind the last record are bytes of some that were cut off; what those speak of was
					 * not overwritten before it was recorded again */
	struct wb_error failure;        /* of the file while recording: then the write that was to be recorded failed, and so
					 * do all others. code WB_OK: none */
	/* private */
	uint64_t begin, end;            /* bytes of the file: of those records */
	uint64_t sequence, durable;     /* records in all; those that have been flushed for certain */
	uint32_t previous;
	bool loaded;                    /* and no record was added since */
	bool half_undone;               /* putting it back was begun, and has not come to its end since */
	uint64_t last_old;              /* records up to the last one of old bytes */
	uint64_t notes, note_number, noted; /* end notes: byte of the file, 0: none; of the newest its number, and its records */
	bool finished;                  /* that note was written at the end of a run */
	struct wb_range *gaps;          /* ascending parts of the file that hold no record but lie between some */
	size_t gap_count;
};

/* Begins an undo file in an empty file opened with WB_OPEN_GROW. On return it is durable, but for its directory
 * entry. Names are copied. WB_EINVAL when the file is not empty, or for the devices. After a failure there is nothing to
 * release. */
int wb_undo_create(struct wb_undo *undo, struct wb_dev *file, const struct wb_undo_device *devices, unsigned count,
		   uint64_t id, uint64_t now, struct wb_error *err);
/* Reads all of one, to put it back or (opened with WB_OPEN_GROW) to continue it. A file that is not an undo file:
 * WB_EINVAL, and err->offset says where. A file that lacks records it once had is loaded without them, and cut is set: it
 * cannot be continued. After a failure there is nothing to release. */
int wb_undo_load(struct wb_undo *undo, struct wb_dev *file, const struct wb_progress *progress, struct wb_error *err);
/* Records, durably, that the run came to its end and how many records the file has: without it the run counts as
 * interrupted. Version 1: does nothing. */
int wb_undo_finish(struct wb_undo *undo, uint64_t now, struct wb_error *err);
/* Closes nothing. Zero-initialised or released is fine. */
void wb_undo_release(struct wb_undo *undo);

/* A wrapper that records what each write is about to overwrite, makes that durable, and then writes. A write whose offset
 * or length is no multiple of WB_SECTOR fails with -EINVAL, one whose old bytes cannot be read with that error; a failure of
 * the undo file is in undo->failure too. A batch with such a write is not started at all. Takes over inner; on failure
 * inner stays the caller's. Offsets are recorded as those of wb_dev_whole(inner): the wrapper goes beneath a window.
 * WB_EINVAL when the file knows no such device, or one of another size; WB_ECUT when it lacks records. undo must outlive it. */
int wb_dev_undo(struct wb_dev **dev, struct wb_dev *inner, struct wb_undo *undo, unsigned device, struct wb_error *err);

struct wb_undo_result {
	unsigned device;          /* the one a failure is about; device_count: the undo file */
	uint64_t sectors;         /* in records, every version */
	uint64_t changed_sectors; /* were written by somebody else before or after, or cannot be read */
	uint64_t written_sectors; /* every version */
	bool unrecorded_end;      /* a device bears the marker that ends a log, written after the file was begun, and no
				   * record says what it replaced: */
	unsigned ended_device;    /* that device */
	uint64_t ended;           /* wb_marker.time */
};

/* What wb_undo_restore() is to do all the same. */
enum wb_undo_force {
	WB_UNDO_CHANGED = 1, /* overwrite sectors that were changed since */
	WB_UNDO_CUT = 2,     /* put back what is left of a file that lacks records */
};

/* Puts everything back, newest first, and marks the file. devs: one for each of its devices, in order, of the recorded size
 * or larger: WB_EINVAL. Every sector must hold what its newest record found there or what was written then, and the records of a
 * sector must be a chain: each found what was written before it (after a cut, something older in the chain will do). Otherwise
 * somebody else has written there, and nothing is written: WB_ECHANGED. Nor is it if records are missing, or the end of a log was not recorded: WB_ECUT. force (enum
 * wb_undo_force) overrides these. dry_run only looks, and fails for neither. When it is cut off, the next run does all of it
 * again. Takes up to 100 bytes of memory for each record. */
int wb_undo_restore(struct wb_undo *undo, struct wb_dev *const *devs, unsigned force, bool dry_run, uint64_t now,
		    struct wb_undo_result *result, const struct wb_progress *progress, struct wb_error *err);

/* ---- ddrescue maps ------------------------------------------------------------------------ */

/* The areas of a device that were not rescued. Zero-initialised it is empty. */
struct wb_map {
	struct wb_range *bad; /* ascending, with room between them; after wb_map_add() once settled */
	unsigned count;
	uint64_t covered;     /* wb_map_load(): where the last block of the file ends, maybe beyond the device */
	/* private */
	unsigned capacity;
	bool unsettled;
};

/* Reads a mapfile of GNU ddrescue, of any version. Whatever is not finished ('+') is bad, and so is what no block of
 * the file speaks of, up to device_size. A file that ddrescue could not have written is WB_EINVAL with the line's number in
 * the text. map need not be initialised; after a failure it is empty. */
int wb_map_load(struct wb_map *map, const char *path, uint64_t device_size, struct wb_error *err);
/* Adds a bad range, which may overlap others. Ascending additions keep the list in order; after others it has to be
 * settled before anybody reads it. A failure changes nothing. */
int wb_map_add(struct wb_map *map, uint64_t offset, uint64_t length, struct wb_error *err);
/* Puts what was added in order, and merges what overlaps or touches. */
void wb_map_settle(struct wb_map *map);
/* The byte lies in a bad range of a settled map. */
bool wb_map_covers(const struct wb_map *map, uint64_t offset);
/* Writes a mapfile that ddrescue accepts: bad ranges '-', the rest of the device '+'. The ranges may overlap and come in
 * any order, but must lie within the device: WB_EINVAL before anything is written. Does not flush fd. */
int wb_map_write(int fd, const struct wb_range *bad, unsigned count, uint64_t device_size, struct wb_error *err);
void wb_map_release(struct wb_map *map);

/* ---- a cache ------------------------------------------------------------------------------ */

enum wb_super {
	WB_SUPER_GOOD,    /* the magic; what follows it may be left over from anything */
	WB_SUPER_ZEROED,  /* all of sector 0 is zero */
	WB_SUPER_DAMAGED, /* anything else without the magic, or the order byte of a v0 or v1 log that segments contradict */
	WB_SUPER_ENDED,   /* our marker */
	WB_SUPER_UNREADABLE, /* the device returns errors for sector 0; wb_cache.sector0 is zeroes */
};

enum wb_end_reason { WB_END_FLUSHED = 1, WB_END_FORMAT = 2, WB_END_RESET = 3 };

/* The marker that ends a log: it stands in sector 0 instead of the magic, so that every driver takes
 * the device for unformatted. Layout in wbfmt(5). */
struct wb_marker {
	enum wb_end_reason reason;
	uint64_t time;          /* seconds since 1970 */
	uint64_t head;          /* M, 0 when not known */
	uint64_t digest;        /* of all slot headers, wb_ring.digest; 0 when not known */
	uint64_t backing_bytes; /* size of BACKING, 0 when not known */
	unsigned version;       /* 1: nothing below is known; 0, to encode: the newest */
	bool partial;           /* something was left out, or may have been: as far as it was known then */
	uint64_t left_segments; /* whose dirty sectors were not written, and */
	uint64_t left_sectors;  /* the sum of these, every version */
	uint64_t stale_sectors; /* whose newest version was lost */
	const struct wb_format *format; /* the geometry that head and digest are about; NULL: not known */
	unsigned order;
	uint32_t slots;
	bool wrap;
};

/* What the caller knows better than the evidence; zero-initialised: nothing. */
struct wb_overrides {
	const struct wb_format *format; /* NULL: by evidence */
	unsigned order;                 /* 0: by evidence */
	uint64_t slots;                 /* 0: as many as fit; see wb_geometry_init() */
	enum { WB_ADDRESS_AUTO, WB_ADDRESS_LINEAR, WB_ADDRESS_WRAP } address; /* AUTO: WB_EWRAP where they differ */
	bool any_super;                 /* open although sector 0 is zeroed, damaged or ended */
	uint64_t memory;                /* bytes that wb_ring_load() may take for its slots, WB_SLOT_MEMORY each; 0: any number */
};

#define WB_WITNESSES 8

/* An opened cache. All fields are read-only for the caller. */
struct wb_cache {
	struct wb_dev *dev;          /* the caller's */
	struct wb_geometry geometry; /* format NULL when the log is ended or nothing was recognised */
	enum wb_super super;
	uint8_t sector0[WB_SECTOR];  /* as found */
	uint8_t order_byte;
	struct wb_marker marker;     /* when super is WB_SUPER_ENDED */
	bool residue;                /* super is good, and bytes of sector 0 that its generation leaves 0 are not */
	uint64_t record;             /* le64 at sector 2047, as found. v2.2.17: read_superblock_record() */
	bool record_unreadable;      /* the device returns errors for it; record is 0 */
	unsigned evidence;           /* bits verified for the generation: 32 per matching checksum or lap */
	unsigned proofs;             /* verified segments that neither chance nor a repeated pattern explains */
	unsigned witnesses;          /* those in place: what the order and number of slots rest on */
	unsigned sampled;            /* written slots that were looked at for it */
	const struct wb_format *tie; /* another generation with as much evidence, or NULL */
	bool slots_given;            /* by the overrides */
	uint64_t memory;             /* as in the overrides */
	bool wraps;                  /* over 2 TiB: linear and wrapped slot addresses differ */
	/* where the caller gave a format or an order, and the evidence without them puts more whole segments in place: what it
	 * shows, so that options do not hide a log; format NULL: none */
	struct wb_geometry detected;
	/* private: their ids, of the first WB_WITNESSES */
	uint64_t witness_ids[WB_WITNESSES];
};

/* Reads sector 0 and the record and finds the generation by evidence. dev stays the caller's and must
 * outlive the cache. With super zeroed, damaged or unreadable and segments that prove a log: WB_ESUPER (unless
 * any_super); with nothing to go by: WB_ENOTCACHE, or WB_EIO where sector 0 is unreadable. An ended log opens fine, with geometry.format NULL
 * (unless any_super). On failure too, super, order_byte and record say what was found. */
int wb_cache_open(struct wb_cache *cache, struct wb_dev *dev, const struct wb_overrides *overrides,
		  struct wb_error *err);

/* Sector 0 as the marker: one sector, ready to be written. */
void wb_marker_encode(uint8_t *sector, const struct wb_marker *marker);
/* False unless the sector is a whole marker. */
bool wb_marker_decode(const uint8_t *sector, struct wb_marker *marker);

/* Of a device: whether it holds an ended log that was written to since; false on any other. The geometry that the marker
 * records counts, overrides only where it records none. Reads all headers, and the rest only where it must. */
int wb_cache_written_after_end(struct wb_dev *dev, const struct wb_overrides *overrides, bool *written,
			       const struct wb_progress *progress, struct wb_error *err);

/* Ends the log: writes the marker into sector 0 of writable (CACHE, opened for writing) and flushes. */
int wb_cache_end(struct wb_dev *writable, const struct wb_marker *marker, struct wb_error *err);

/* For wb_cache_format(), before it: writes its marker and flushes, then discards everything behind the first MiB and
 * flushes. sys is EOPNOTSUPP in *err where the device cannot, and a format may follow all the same. */
int wb_cache_discard(struct wb_dev *dev, uint64_t now, const struct wb_progress *progress, struct wb_error *err);

/* Writes what the driver leaves after creating a cache for the first time: the marker (reason FORMAT), flush;
 * zeroes over each slot's first 4 KiB and the rest of the first MiB, flush; the header, flush; then rereads it all.
 * v2.2.17: format_cache_device(). dev must be writable. */
int wb_cache_format(struct wb_dev *dev, const struct wb_geometry *geometry, uint64_t now,
		    const struct wb_progress *progress, struct wb_error *err);

/* ---- the ring ----------------------------------------------------------------------------- */

/* What a slot is: recovery.md's classes, in words in wbrules.h. */
enum wb_class {
	WB_EMPTY,
	WB_LIVE,
	WB_OLD,
	WB_TORN_TAIL,
	WB_TORN_HEAD,
	WB_AHEAD,
	WB_ROTTEN,
	WB_STALE_LAP,
	WB_ALIEN_ID,
	WB_BAD_LENGTH,
	WB_PART_READABLE,
	WB_UNREADABLE,
	WB_ZEROED,
	WB_FOREIGN,
	WB_CLASSES /* how many */
};

/* "live", "torn-tail", ... */
const char *wb_class_name(enum wb_class class_);

enum wb_slot_flags {
	WB_SLOT_SEALED = 1,      /* length in range and the seal holds */
	WB_SLOT_LAP = 2,         /* v0: the header's lap is the lap of its id; always set in v1, v2 */
	WB_SLOT_RAW = 4,         /* sealed by an uncomplemented checksum, or would be, but for its one bit */
	WB_SLOT_ONE_BIT = 8,     /* not sealed, and exactly one flipped bit explains it: wb_ring.corrections */
	WB_SLOT_CORRECTED = 16,  /* taken as if that bit, or that bit of its id, were right */
	WB_SLOT_MISALIGNED = 32, /* a dirty metablock whose sector is no multiple of 8 */
	WB_SLOT_BEYOND = 64,     /* a dirty metablock beyond BACKING, or whose last sector overflows */
	WB_SLOT_PARTIAL = 128,   /* a dirty metablock with less than eight dirty sectors */
	WB_SLOT_ZERO_DATA = 256, /* has dirty blocks, and all of them can be read and are zeroes (v0 only) */
	WB_SLOT_NO_HEADER = 512, /* the metadata could not be read */
	WB_SLOT_NO_DATA = 1024,  /* some data blocks could not be read */
	WB_SLOT_PADDING = 2048,  /* unused bytes of header or metablocks are not zero (v1, v2) */
	WB_SLOT_GARBAGE = 4096,  /* the metadata is not all zero although the id is 0 */
	WB_SLOT_NOT_ON_BACKING = 32768, /* v1, v2: at or below a record that is trusted, and BACKING lacks some of what is the newest
				 * version there; set by wb_ring_weigh_record() */
	WB_SLOT_ON_BACKING = 16384, /* set by wb_ring_weigh_tail(): BACKING holds most of it, so that it is no torn write; after a
				     * gap in the first lap a sector of it, above what the log holds, which is evidence at M */
	WB_SLOT_CLEAN_BAD = 8192, /* a clean metablock that is misaligned or beyond BACKING */
};

#define WB_SLOT_MEMORY 40u /* bytes that a slot takes, in this and all other tables, at most */

struct wb_slot {
	uint64_t id;            /* as found (or corrected) */
	uint32_t check;         /* the CRC of its metadata as found; a later read that differs is -WB_ECHANGED */
	uint32_t lap;           /* v0: as found in the header */
	uint16_t flags;         /* enum wb_slot_flags */
	uint16_t dirty_sectors; /* set dirty bits of its metablocks, when the length is in range */
	uint8_t length;         /* as found (or corrected) */
	uint8_t dirty_blocks;   /* metablocks with a dirty bit */
	uint8_t class_;         /* enum wb_class */
};

/* One bit that explains a broken seal or an impossible id; in the order of their slots, one for each at most. */
struct wb_correction {
	uint32_t slot;
	uint32_t byte; /* within the slot */
	uint8_t bit;   /* 0 ... 7 */
};

/* One flipped bit of its id that explains a whole segment under an id that cannot be, or should not be, in its slot. */
struct wb_id_bit {
	uint64_t id;   /* the one the slot must hold */
	uint32_t slot;
	uint8_t bit;   /* 0 ... 63, of the id as found */
};

enum wb_record_state {
	WB_RECORD_NONE,    /* 0 */
	WB_RECORD_SOUND,   /* at most M */
	WB_RECORD_MISSING, /* in (M, M+N]: segments up to it existed and are not here */
	WB_RECORD_GARBAGE, /* beyond M+N: taken as 0 */
	WB_RECORD_UNKNOWN, /* cannot be read: taken as 0 */
};

enum wb_record_use { WB_RECORD_AUTO, WB_RECORD_TRUST, WB_RECORD_IGNORE };
enum wb_timeline { WB_TIMELINE_NONE, WB_TIMELINE_NEW, WB_TIMELINE_OLD };

struct wb_ring_options {
	bool metadata_only;       /* no data is read; a header whose length is in range counts as sealed */
	uint64_t backing_sectors; /* bound of metablocks, from wb_backing_sectors(); 0: not known */
	enum wb_record_use record_use;
	enum wb_timeline timeline;
	size_t sums_memory;       /* keep 16 bits of every block's checksum if they fit in so many bytes */
	/* threads that read and sum, 8 at most; more than 1: reading, summing and writing overlap, with three threads for
	 * each where a block device is read, since most of them wait */
	unsigned jobs;
	unsigned retry;           /* further attempts at a sector that cannot be read, here and in all later reads */
	void *context;
	/* bytes of CACHE that stay unreadable, a sector at a time; also called by wb_replay(). NULL: none */
	void (*unreadable)(void *context, uint64_t offset, uint64_t length);
};

#define WB_CANDIDATES 16

/* A loaded log: what is in every slot and what follows from it. Read-only for the caller. */
struct wb_ring {
	struct wb_cache *cache;         /* the caller's, must outlive the ring */
	struct wb_ring_options options;
	struct wb_slot *slots;          /* geometry.slots of them */
	uint16_t *sums;                 /* 16 bits per data block, or NULL */
	struct wb_correction *corrections;
	uint32_t correction_count;
	struct wb_id_bit id_bits[64];   /* in the order of their bits: no two segments need the same */
	unsigned id_bit_count;
	uint32_t corrected;             /* how many segments wb_ring_correct() has corrected */
	uint64_t corrected_ids;         /* those bits of ids among them */
	uint64_t head;                  /* M: the newest id, 0 when there is none */
	uint64_t first;                 /* the window is first ... head; first is head + 1 when it is empty */
	enum wb_record_state record_state;
	uint64_t record;                /* R as it is used: 0 when garbage or ignored */
	bool record_contradicted;       /* v0: what wb_ring_weigh_record() found */
	uint64_t digest;                /* of all slot headers as found */
	bool destroyed;                 /* no valid segment, but headers that prove there was a log */
	uint64_t restarted;             /* valid segments of the new line of a restarted ring; else 0 */
	uint32_t new_slots;             /* restarted: they are all in slots below this one */
	bool restarted_again;           /* restarted: what is above them is itself more than one line */
	uint64_t beyond;                /* segments behind the last slot that are whole, or cannot be read: --slots left them out;
					 * behind the end of a window whole ones that belong to the same ring */
	bool resized, shifted;          /* the geometry does not fit the segments */
	uint64_t candidates[WB_CANDIDATES]; /* numbers of slots that would make it fit, ascending */
	bool most_agree;                /* they fit most segments; the rest are of older laps, or damaged */
	unsigned candidate_count;       /* may exceed WB_CANDIDATES; that many are listed */
	/* shifted: with .slots slots (0: any number, in the first lap) the device began .start slots before its present
	 * start; negative where it began after it. The part of the device from byte -start * wb_slot_size() on, see
	 * wb_dev_window(), has all segments in place */
	struct { uint64_t slots; int64_t start; } starts[WB_CANDIDATES];
	unsigned start_count;           /* as candidate_count */
	uint64_t torn_tail;             /* newest id of the torn tail, 0 when there is none */
	uint64_t newest_ahead;          /* largest id ahead, 0 when there is none */
	uint64_t raw_seals, plain_seals; /* valid segments by dialect of their checksum */
	uint64_t classes[WB_CLASSES];   /* slots per class */
	uint64_t holes;                 /* ids of the window without a segment */
	uint64_t dirty_blocks;          /* metablocks with a dirty bit, in live segments of the window */
	uint64_t dirty_sectors;         /* the same in sectors; both count every version */
	uint64_t damaged_sectors;       /* dirty ones of what is damaged, which may be all there is: at most. Every version too */
	/* private: what the stored laps say about the number of slots (v0), low < N <= high */
	uint64_t lap_low, lap_high;
	uint32_t new_taken;             /* restarted: new_slots, and those that a write of the new line has begun */
	uint64_t first_at_most;         /* first, if nothing were ahead */
	unsigned damage_before;         /* wb_decision.damage before salvage corrected anything */
	struct wb_progress waiting;     /* its stop is asked between attempts at metadata that cannot be read again */
};

/* The size of BACKING as wb_ring_options.backing_sectors: its whole sectors, or WB_NO_SECTORS where it has none. */
#define WB_NO_SECTORS UINT64_MAX
uint64_t wb_backing_sectors(const struct wb_dev *backing);

/* Reads every header, verifies every seal unless metadata_only, and judges. progress->stop may be called until the ring is
 * released. */
int wb_ring_load(struct wb_ring *ring, struct wb_cache *cache, const struct wb_ring_options *options,
		 const struct wb_progress *progress, struct wb_error *err);
void wb_ring_release(struct wb_ring *ring);

/* The marker that would end this log now, with nothing left out. */
struct wb_marker wb_marker_of(const struct wb_ring *ring, enum wb_end_reason reason, uint64_t now, uint64_t backing_bytes);
/* Of an ended log whose ring was loaded all the same (any_super): a header has changed since, or (in a pack, under a marker
 * of version 1, or read with another geometry than the marker's) there is a newer segment. False where the marker has no digest. */
bool wb_ring_written_after_end(const struct wb_ring *ring);
/* Of such a log: dirty sectors in intact segments newer than the one that was the newest at its end, every version. */
uint64_t wb_sectors_after_end(const struct wb_ring *ring);

/* M, window, patterns and classes from the table alone; called by wb_ring_load(). Pure but for memory. */
int wb_ring_judge(struct wb_ring *ring, struct wb_error *err);

/* What BACKING says against taking an id as flipped that is in its place, only of another lap (ahead, stale-lap): a write
 * that was lost leaves the same; and against making it M+1, for it may be what M+1 goes over. doubt() returns 1 to leave it alone, 0 to correct it, or a negative code. */
struct wb_doubts {
	void *context;
	int (*doubt)(void *context, const struct wb_id_bit *bit, const struct wb_progress *progress, struct wb_error *err);
};

/* Who asks a backing device, which must not be NULL. The doubts refer to what is given. */
struct wb_backing_doubts {
	struct wb_ring *ring;
	struct wb_dev *backing;
	size_t capacity; /* of the searches, as in wb_decide_options */
};
struct wb_doubts wb_doubts_of(struct wb_backing_doubts *doubts);

/* Takes every segment of the window (and M+1) that one flipped bit explains as if the bit were right: of its seal, or of
 * its id (wb_ring.id_bits). All at once, from the ring as it was judged; then judges again. doubts NULL: ids in their place,
 * and one of 0 where M+1 goes over an older segment, are left alone. Returns how many, or a negative code; 0 when it was done before. */
int wb_ring_correct(struct wb_ring *ring, const struct wb_doubts *doubts, const struct wb_progress *progress,
		    struct wb_error *err);

/* Compares with BACKING what is broken above M. A torn tail that had been written back was whole then: its class becomes
 * rotten. So does that of a header after a gap in the first lap, when one sector holds what it claims above what the log has. */
int wb_ring_weigh_tail(struct wb_ring *ring, struct wb_dev *backing, size_t capacity, const struct wb_progress *progress,
		       struct wb_error *err);
/* v1 and v2 under WB_RECORD_TRUST: finds the segments that are left out for it although BACKING does not hold them.
 * v0: whether of the newest segments at or below the record, however few, most newest versions that tell something are neither
 * on BACKING nor zeroed. Then the record is not what the driver wrote, or BACKING is an older copy: wb_ring.record_contradicted. */
int wb_ring_weigh_record(struct wb_ring *ring, struct wb_dev *backing, size_t capacity, const struct wb_progress *progress,
			 struct wb_error *err);

/* An id of the window without a valid segment, a torn head and ids proven to be written back excepted. */
bool wb_ring_is_hole(const struct wb_ring *ring, uint64_t id);
/* The id of the window (or of (M-N, M] at large) that a slot must hold; 0 for a slot not yet written. */
uint64_t wb_ring_due(const struct wb_ring *ring, uint32_t slot);
/* Reads a slot's metadata (WB_BLOCK bytes) again, corrections applied; -WB_ECHANGED when it is not what it was, unless
 * the device is busy. */
int wb_ring_metadata(struct wb_ring *ring, uint32_t slot, uint8_t *meta, struct wb_error *err);

/* ---- packs -------------------------------------------------------------------------------- */

/*
 * A pack is the metadata of a cache in a small file, without the contents of any block; layout in wbfmt(5). Opened as a
 * device it reads as a cache of the same size whose segments have the same fields, the same checksums and the same
 * verdicts: data blocks are zeroes, but the last four bytes that a checksum covers make the computed checksum what it was.
 * What could not be read cannot be read (-EIO). Nothing can be written to it (-EROFS).
 */

struct wb_pack_options {
	bool metadata_only;     /* read no data: no computed checksums */
	const uint8_t *key;     /* 16 random bytes: renumber the blocks, and leave out the size of BACKING; NULL: keep them */
	uint64_t time;          /* seconds since 1970 */
	uint64_t backing_bytes; /* size of BACKING, 0 when not known */
	unsigned jobs;          /* more than 1: what was read is packed in a thread of its own */
	const char *facts;      /* text for people, lines of "name: value", at most WB_PACK_FACTS bytes; NULL: none */
};

#define WB_PACK_FACTS 65536u

struct wb_pack_result {
	uint64_t bytes;              /* of the pack */
	uint64_t segments;           /* slots whose metablocks are in it */
	uint64_t unreadable_sectors; /* of the cache, among those a check would read */
	uint64_t padding_bytes;      /* non-zero bytes of segments that no field occupies; counted, not stored */
	uint64_t others;             /* slots that are not blank, of which the pack holds no byte: neither sealed nor in place */
};

/* Writes the pack of an opened cache to fd, a file that can be sought in, from its position on: every slot of the device,
 * whatever number of slots the cache was opened with, in one pass (two with a key, the first over the metadata alone; it
 * keeps some 32 bytes for each block that the log names). -WB_EINVAL for a cache that was opened with wrapped slot
 * addresses (a pack holds places; both readings can be tried on it). Does not flush fd. */
int wb_pack_write(struct wb_cache *cache, int fd, const struct wb_pack_options *options, struct wb_pack_result *result,
		  const struct wb_progress *progress, struct wb_error *err);

/* What the head of a pack says. */
struct wb_pack_info {
	bool obfuscated;           /* sectors in metablocks are not the true ones */
	bool metadata_only;        /* no checksums were computed: wb_ring_load() acts as if told so */
	bool busy;                 /* the cache was in use when the pack was made */
	bool block_device;
	const struct wb_format *format; /* as which it was packed; NULL: nothing was recognised */
	unsigned order;
	uint32_t slots;
	unsigned evidence;         /* wb_cache.evidence then */
	uint64_t time;             /* seconds since 1970 */
	uint64_t backing_bytes;    /* 0: not known */
	uint64_t file_bytes;       /* of the pack */
	uint64_t image_blocks;     /* of 4096 bytes, that are not all zero in the cache it describes: so many at most */
	const char *facts;         /* never NULL; not yet fit for a terminal */
};

/* Serves a pack that inner holds. The whole pack is decoded once to check it: -WB_EPACK when any of it is not as
 * wb_pack_write() makes it. Takes inner over on success. */
int wb_dev_pack(struct wb_dev **dev, struct wb_dev *inner, struct wb_error *err);
/* Of a pack; NULL for any other device. Lives as long as dev. */
const struct wb_pack_info *wb_dev_pack_info(const struct wb_dev *dev);

/* Writes the cache that a pack describes into fd, an empty regular file, as an image with holes. What cannot be read becomes
 * zeroes: *lost_sectors. -WB_EINVAL when dev is no pack. Does not flush fd. */
int wb_pack_unpack(struct wb_dev *dev, int fd, uint64_t *lost_sectors, const struct wb_progress *progress,
		   struct wb_error *err);

/* ---- plan --------------------------------------------------------------------------------- */

/* One version of one block of the backing device. */
struct wb_entry {
	uint64_t block; /* backing address / 4096 */
	uint32_t slot;  /* of its segment; wb_ring.slots has its id. Newer versions come first, not larger slots */
	uint8_t index;  /* in the segment */
	uint8_t dirty;  /* sectors; after wb_plan_claim() those that no newer version owns; 0: a clean copy */
	uint16_t check; /* 16 bits of the checksum of the whole block */
};

/* Sorts n entries by block, keeping their order otherwise; scratch has room for n. */
void wb_plan_sort(struct wb_entry *entries, struct wb_entry *scratch, size_t n);
/* entries sorted by block, newest first: each keeps the sectors that nobody newer claimed, a clean copy claims all
 * eight, what is left with nothing is dropped. Returns how many remain. */
size_t wb_plan_claim(struct wb_entry *entries, size_t n);

/* Which segments take part. */
struct wb_scope {
	uint64_t low, high; /* ids, inclusive; empty when low > high */
	bool zeroed;        /* segments of class zeroed too */
	bool part;          /* the readable sectors of part-readable segments too */
	bool every_version; /* keep all versions instead of claiming; for evidence */
	bool tails;         /* torn tails claim too; to find out whether BACKING holds them */
	bool claims;        /* whatever else says to hold a version too, where it can matter to what is planned */
	bool everything;    /* every slot that has metablocks, in whatever place and time line, and all its metablocks: for people. With
			     * every_version; wb_entry.check then is the sector of its block where one begins, 0 when it is aligned */
	uint64_t begin, end; /* blocks: begin <= block < end alone; end 0: up to the last */
	enum { WB_GUARD_REFUSE, WB_GUARD_PROTECT, WB_GUARD_OFF } guard; /* a version of BACKING that is newer than the planned one
			     * ends the replay (it was to be decided before), is left alone, is overwritten */
};

/* Iterates over address ranges of the backing device: each holds all entries of its blocks and at most
 * capacity entries (more only where all versions of one block are kept and do not fit). */
struct wb_plan {
	struct wb_ring *ring;
	struct wb_scope scope;
	struct wb_entry *entries; /* of the current range, sorted by block, newest first */
	size_t count;
	uint64_t begin, end;      /* blocks: begin <= block < end; end UINT64_MAX for the last range */
	unsigned passes;
	/* private */
	struct wb_entry *scratch;
	size_t capacity;
	uint32_t *order, order_count; /* the slots that are scanned, newest first */
	bool others;                  /* some of them only claim, above planned ones */
};

/* At least 16 entries; 32 bytes are used for each. */
int wb_plan_open(struct wb_plan *plan, struct wb_ring *ring, const struct wb_scope *scope, size_t capacity,
		 struct wb_error *err);
/* The next range: 1, or 0 when there is none left, or a negative code. */
int wb_plan_next(struct wb_plan *plan, const struct wb_progress *progress, struct wb_error *err);
/* The entry claims to be a version of its block, and the plan does not write it. */
bool wb_plan_only_claims(const struct wb_plan *plan, const struct wb_entry *entry);
void wb_plan_close(struct wb_plan *plan);

/* ---- policy ------------------------------------------------------------------------------- */

enum wb_policy { WB_STRICT, WB_PREFIX, WB_SALVAGE };

/* Why a policy refuses, as bits. */
enum wb_refusal {
	WB_REFUSE_HOLE = 1,
	WB_REFUSE_AHEAD = 2,
	WB_REFUSE_ROTTEN = 4,
	WB_REFUSE_ALIEN = 8,
	WB_REFUSE_BOUNDS = 16,    /* dirty misaligned, or length out of range */
	WB_REFUSE_BEYOND = 32,    /* dirty beyond BACKING */
	WB_REFUSE_ZEROED = 64,
	WB_REFUSE_GEOMETRY = 128, /* resized or shifted, or whole segments lie beyond the slots or the part that were given, or
				   * wb_cache.detected; strict alone refuses where the first are all older than M, and where
				   * something is valid as it was given */
	WB_REFUSE_RESTARTED = 256,
	WB_REFUSE_DESTROYED = 512,
	WB_REFUSE_RECORD = 1024,  /* record_state MISSING and no record_use */
	WB_REFUSE_REGRESS = 2048, /* evidence at the cut: BACKING is newer than what would be written */
	WB_REFUSE_UNREADABLE = 4096,
	WB_REFUSE_UNKNOWN_RECORD = 8192, /* record_state UNKNOWN where the record binds, and record_use is not IGNORE */
	WB_REFUSE_CONTRADICTED = 16384, /* v0: BACKING lacks what the record says was written back */
};

/* Why a slot is left out. */
enum wb_left_reason {
	WB_LEFT_CLASS,        /* its class says it */
	WB_LEFT_CUT,          /* it is intact, and beyond what the policy writes */
	WB_LEFT_TIMELINE,     /* it belongs to the time line that was not chosen */
	WB_LEFT_BEYOND_SLOTS, /* it lies beyond the number of slots that was given */
	WB_LEFT_METABLOCKS,   /* it is written, but for metablocks that are misaligned or beyond BACKING */
	WB_LEFT_RECORD,       /* it is at or below a record that BACKING contradicts */
	WB_LEFT_REASONS /* how many */
};
/* "class", "cut", "timeline", "beyond-slots", "metablocks", "record" */
const char *wb_left_name(enum wb_left_reason reason);

/* A slot of the device whose segment is intact, or may be, and that is neither written nor known to be needless. */
struct wb_left {
	uint32_t slot;
	uint64_t id;           /* as its header says, 0: not known */
	enum wb_left_reason reason;
	enum wb_class class_;
	uint64_t sectors;      /* its dirty sectors; where its metadata is lost, as many as it could have: 8 x capacity */
};

struct wb_decide_options {
	enum wb_policy policy;
	bool until_given;
	uint64_t until;        /* cut after this id, which may be 0 */
	enum { WB_ZEROED_AUTO, WB_ZEROED_SKIP, WB_ZEROED_REPLAY } zeroed;
	bool force_regress, force_size;
	bool resumed;          /* keep what an interrupted run decided: evidence is not looked for, because the data
				* that run has written would be some */
	uint64_t cut, ids;     /* resumed: wb_decision.cut and .ids of that run */
	size_t capacity;       /* entries in memory, as for wb_plan_open() */
	void *context;
	/* each run of sectors of BACKING whose newest version is lost, ascending within a pass; NULL: none */
	void (*stale)(void *context, uint64_t sector, uint64_t sectors);
	/* each slot that is left out, when the policy does not refuse; beyond the slots given, also then. NULL: none */
	void (*left)(void *context, const struct wb_left *left);
	/* each dirty metablock of a segment that takes part which no plan can use: misaligned, or beyond BACKING; NULL: none */
	void (*unusable)(void *context, uint64_t id, unsigned index, uint64_t sector, uint8_t dirty);
};

struct wb_decision {
	unsigned refused;         /* enum wb_refusal; 0: go on */
	unsigned damage;          /* what strict would refuse for; 0: nothing */
	struct wb_scope scope;    /* what would be written; empty when refused */
	uint64_t cut;             /* prefix: first id that stays out; salvage: last id that does; 0: none */
	uint64_t evidence;        /* prefix: sectors of evidence at the cut; salvage: at any hole */
	bool record_is_evidence;  /* the record alone proves that the driver had written back beyond the cut */
	uint64_t oldest;          /* smallest id that would be written, 0: none */
	uint32_t corrected;       /* segments that salvage corrected */
	uint64_t ids;             /* which bits of ids among them, in wb_ring.id_bits */
	bool record_contradicted; /* v0: honoured all the same, but by strict */
	uint64_t left_segments;   /* slots that stay out although they may be needed, each told to options.left */
	uint64_t left_sectors;    /* their wb_left.sectors, every version, and those of misaligned metablocks or beyond BACKING
				   * in segments that take part */
	uint64_t lost_segments;   /* unknown holes of which there is not even a slot that stays out; they could have had */
	uint64_t lost_sectors;    /* so many dirty sectors: 8 x capacity each */
	uint64_t zeroed_skipped;  /* segments taken for discarded, and */
	uint64_t zeroed_sectors;  /* their dirty sectors */
	uint64_t stale_sectors;   /* sectors whose newest version sat in a hole, as far as the holes' metadata tells */
	uint64_t unknown_holes;   /* holes whose metadata tells nothing */
};

/* Applies a policy; backing may be NULL (then evidence counts as absent and the decision is provisional). Salvage
 * corrects the ring in place. A cut (until) makes every policy a prefix. */
int wb_decide(struct wb_ring *ring, struct wb_dev *backing, const struct wb_decide_options *options,
	      struct wb_decision *decision, const struct wb_progress *progress, struct wb_error *err);

struct wb_replay_result;

/* Exit status of a run that carried the decision out, or of its refusal: 1 a policy acted on damage, 4 something remains. */
unsigned wb_decision_status(const struct wb_ring *ring, const struct wb_decide_options *options,
			    const struct wb_decision *decision, const struct wb_replay_result *result);
/* Every slot of the device is accounted for and every dirty sector of the window is on BACKING, so that the log may be ended
 * without being told to. */
bool wb_decision_may_end(const struct wb_ring *ring, const struct wb_decide_options *options,
			 const struct wb_decision *decision, const struct wb_replay_result *result);

/* ---- pair proof --------------------------------------------------------------------------- */

enum wb_pair { WB_PAIR_UNPROVEN, WB_PAIR_PROVEN, WB_PAIR_CONTRADICTED };
const char *wb_pair_name(enum wb_pair pair);

struct wb_proof {
	enum wb_pair pair;
	uint64_t for_, against;           /* distinct blocks; recovery.md, pair proof */
	uint64_t dirty_blocks, dirty_sectors; /* winning dirty sectors that differ from BACKING, and their blocks */
	uint64_t unreadable_sectors;      /* of CACHE or BACKING: compared as different */
	uint64_t backing_unreadable_sectors, backing_unreadable_first; /* of BACKING alone, in blocks that were compared;
									* the first one's byte, if there is one */
	uint64_t compared_blocks;
};

/* Compares the newest versions with BACKING. sample 0: all of them (dirty counts are exact), else about so many blocks.
 * What WB_RECORD_TRUST leaves out is compared too: it says as much about whose log this is. */
int wb_pair_prove(struct wb_ring *ring, struct wb_dev *backing, size_t capacity, uint64_t sample,
		  struct wb_proof *proof, const struct wb_progress *progress, struct wb_error *err);

/* What an ended log and a device say of each other: the marker knows that all was written, not that it was written there. */
struct wb_end_proof {
	bool compared;          /* false: the log behind the marker is gone, or the marker does not record what it was */
	uint64_t lost_segments; /* of what was written back then: they cannot be compared any more */
	uint64_t differing;     /* sectors, beyond those that the marker says were left out or lost */
	struct wb_proof proof;
};

/* Compares what the log behind a marker holds with BACKING. A log that was not ended, or was written to since, is not compared.
 * overrides count where the marker records no geometry. Corrects flipped bits as salvage does, in memory. Read-only. */
int wb_end_prove(struct wb_dev *dev, const struct wb_overrides *overrides, const struct wb_ring_options *options,
		 struct wb_dev *backing, size_t capacity, struct wb_end_proof *result, const struct wb_progress *progress,
		 struct wb_error *err);
/* BACKING holds all of that log that was written back: compared, not contradicted, nothing lost and nothing differing. */
bool wb_end_is_proven(const struct wb_end_proof *end);

/* ---- replay ------------------------------------------------------------------------------- */

/* Why a planned sector is not written. */
enum wb_alone {
	WB_ALONE_UNREADABLE, /* CACHE could not be read there */
	WB_ALONE_NEWER,      /* contested: BACKING demonstrably holds a newer version */
	WB_ALONE_HOLE,       /* a hole claims a newer version, and BACKING does not tell that it holds an older one */
};

struct wb_replay_options {
	size_t capacity;   /* entries in memory */
	bool dry_run;      /* reads, checks and counts all; writes nothing */
	bool verify;       /* reread what was written and compare */
	bool compare;      /* read BACKING first and leave out what it holds already */
	uint64_t begin;    /* byte of BACKING: everything below has been written before; a multiple of WB_BLOCK */
	unsigned interval; /* seconds between calls of flushed() within a pass; 0: as often as can be */
	void *context;
	/* everything below this byte of BACKING is written, flushed and verified; UINT64_MAX: everything at all. Also called
	 * at the end of a pass and when the work is stopped. Non-zero stops with -WB_ESTOPPED; NULL: none */
	int (*flushed)(void *context, uint64_t below);
	/* each write request as it is submitted, ascending; NULL: none */
	void (*extent)(void *context, uint64_t sector, uint64_t sectors);
	/* each run of sectors of a block that gets its planned content, ascending, whether BACKING holds it or not; NULL: none */
	void (*planned)(void *context, uint64_t sector, uint64_t sectors);
	/* planned sectors of BACKING that are left alone; NULL: none */
	void (*left_alone)(void *context, uint64_t sector, uint64_t sectors, enum wb_alone why);
};

struct wb_replay_result {
	uint64_t planned_sectors, written_sectors, writes, unreadable_sectors, verified_sectors;
	uint64_t contested_sectors; /* left alone because BACKING holds, or may hold, a newer version */
	uint64_t skipped_equal; /* sectors that compare found on BACKING already */
	unsigned passes;
};

/* Carries a decision out in ascending backing addresses, each sector at most once, and flushes. After a failed write
 * nothing more is submitted. result is right on failure too. */
int wb_replay(struct wb_ring *ring, const struct wb_scope *scope, struct wb_dev *backing,
	      const struct wb_replay_options *options, struct wb_replay_result *result,
	      const struct wb_progress *progress, struct wb_error *err);

/* Rereads about `sample` blocks (0: all) of what a replay of this scope writes below a byte of BACKING: how many sectors
 * are different there. */
int wb_replay_compare(struct wb_ring *ring, const struct wb_scope *scope, struct wb_dev *backing, size_t capacity,
		      uint64_t below, uint64_t sample, uint64_t *differing, const struct wb_progress *progress,
		      struct wb_error *err);

/* ---- forecast ----------------------------------------------------------------------------- */

enum wb_outcome {
	WB_OUTCOME_OK,          /* the device is assembled */
	WB_OUTCOME_NOTHING,     /* so it is, but no segment was taken: ids begin again at 1 (v1, v2) */
	WB_OUTCOME_HANG,        /* dmsetup does not return */
	WB_OUTCOME_CRASH,       /* a BUG or an invalid access in the kernel */
	WB_OUTCOME_REFORMAT,    /* sector 0 has no magic: an empty cache is made over it */
	WB_OUTCOME_NO_ASSEMBLY, /* an error is returned, and nothing on CACHE has changed */
};
/* "ok", "nothing", "hang", "crash", "reformat", "no-assembly" */
const char *wb_outcome_name(enum wb_outcome outcome);

/* What decided it, or where the driver stopped taking segments. */
enum wb_forecast_cause {
	WB_CAUSE_NONE,
	WB_CAUSE_NO_MAGIC,
	WB_CAUSE_ORDER,      /* the order byte is not the order of the log: no table line fits both */
	WB_CAUSE_UNREADABLE, /* at offset */
	WB_CAUSE_SEAL,       /* the checksum (laps) of that slot do not hold, as this driver computes them */
	WB_CAUSE_FALLS,      /* the id in that slot is not larger than the one before it (v0) */
	WB_CAUSE_LENGTH,     /* of that slot, beyond a segment */
	WB_CAUSE_MISALIGNED, /* a metablock in that slot */
	WB_CAUSE_BEYOND,     /* that slot has a write beyond the end of BACKING */
	WB_CAUSE_RECORD,     /* the record is so large that marking segments clean does not end */
	WB_CAUSE_ID,         /* the last id taken is so large that waiting for writeback does not end */
	WB_CAUSE_DIRTY,      /* that slot is to be reused first and holds dirty blocks: BUG() */
};

struct wb_walk; /* private: what the driver's walk over the slots left behind */

/* What drivers would do at the next assembly, and what BACKING would hold when they then have written everything back.
 * Observed of the patch of October 2013 (236732eb), 1.0.1, 2.0.1 and 2.2.17; read in the sources of the others. Read-only for
 * the caller.
 *
 * A sector is abandoned when its newest whole version on CACHE is not on BACKING and never gets there. It is regressed
 * when the driver writes an older version over a newer one. With BACKING both are exact, by content; without it they are
 * what may happen at worst, where versions at or below a record that can be true, clean copies and what is older than the
 * window count as being on BACKING, and so does all of a log that was ended. Where the assembly fails nothing is abandoned: the
 * log stays. */
struct wb_forecast {
	enum wb_outcome outcome;
	enum wb_forecast_cause cause;
	uint32_t slot;            /* of the cause, or WB_NO_SLOT */
	uint64_t slot_id;         /* the id that stands there */
	uint64_t offset;          /* byte on CACHE, of an unreadable cause, or WB_NO_OFFSET */
	uint64_t applied;         /* segments it takes into its table (v0: those above the record) */
	uint64_t first_id, last_id; /* in the order it takes them; 0: none */
	uint64_t dropped;         /* whole segments on CACHE that it does not take (v0: those above the record) */
	uint64_t record;          /* as it reads it */
	uint64_t written_sectors; /* sectors of BACKING that it writes, each counted once */
	uint64_t abandoned_sectors, regressed_sectors;
	bool compared;            /* with BACKING: the counts are exact */
	bool drop_hangs;          /* dirty blocks remain that are never written back: the message drop_caches does not return */
	const char *first_driver, *last_driver; /* the versions it speaks for; NULL: any driver */
	unsigned recovery;        /* enum wb_recovery, of the first of them */
	struct wb_walk *walk;     /* private */
};

/* Reads the whole of CACHE. cache is the caller's and must outlive the forecast; it may have been opened with any_super,
 * its geometry.format may be NULL. The number of slots and their addresses are those the driver computes. backing may be
 * NULL. memory: bytes for the table of blocks beside 24 for a slot, at least 32 KiB are used; with less, metadata is read
 * more often. Damage is an outcome; failures are those of memory, of BACKING, and WB_ECHANGED. Release it after success. */
int wb_forecast(struct wb_forecast *forecast, struct wb_cache *cache, struct wb_dev *backing, size_t memory,
		const struct wb_progress *progress, struct wb_error *err);
/* wb_forecast() speaks for the newest driver of the cache's generation, and for those that do the same with this cache. This
 * makes it the forecast of the newest other drivers that could assemble it and do something else: 1, or 0 when there are none
 * left and it has not changed. The segments are not read again, metadata is. */
int wb_forecast_other(struct wb_forecast *forecast, const struct wb_progress *progress, struct wb_error *err);
/* The ids taken, in that order, as ranges of ids that follow each other. *cursor begins at 0; false at the end. */
bool wb_forecast_range(const struct wb_forecast *forecast, uint64_t *cursor, uint64_t *first, uint64_t *last);
/* Does to target, a copy of BACKING of the same size, what the driver would do to BACKING: up to its end, its crash or
 * its refusal. */
int wb_forecast_replay(const struct wb_forecast *forecast, struct wb_dev *target, const struct wb_progress *progress,
		       struct wb_error *err);
void wb_forecast_release(struct wb_forecast *forecast);

/* ---- findings ----------------------------------------------------------------------------- */

enum wb_severity { WB_NOTE, WB_WARNING, WB_DAMAGE };
const char *wb_severity_name(enum wb_severity severity);

/* One per line of wbrules.h. */
enum wb_rule {
#define X(ID, NAME, SEVERITY, TEXT) WB_RULE_##ID,
#include "wbrules.h"
#undef X
	WB_RULES
};

struct wb_rule_info {
	const char *name; /* "torn-tail" */
	enum wb_severity severity;
	const char *text; /* one sentence */
};
const struct wb_rule_info *wb_rule_info(enum wb_rule rule);

#define WB_NO_SLOT UINT32_MAX

struct wb_finding {
	enum wb_rule rule;
	enum wb_severity severity; /* the rule's, but a note where only clean copies are concerned */
	uint32_t slot;     /* or WB_NO_SLOT */
	uint64_t id;       /* the id it is about: the one the slot must hold where its header is not believed; 0: none */
	uint64_t found_id; /* the id that stands in the slot's header */
	uint64_t offset;   /* byte on CACHE, or WB_NO_OFFSET */
	uint64_t sectors;  /* dirty sectors concerned */
	uint64_t missing;  /* cut-short: bytes that the device lacks for its slots, or for its last sector; else 0 */
	int index;         /* metablock, -1: none */
	uint64_t sector;   /* backing sector of that metablock */
	const struct wb_correction *bit; /* the one bit that explains it, or NULL */
};

/* Calls found() for every finding, superblock first, then patterns, then slots in order. found() returns non-zero to
 * stop. proof may be NULL. */
int wb_check(struct wb_ring *ring, const struct wb_proof *proof,
	     int (*found)(void *context, const struct wb_finding *finding), void *context, struct wb_error *err);
/* What can be said of a cache that did not open: sector 0 alone. */
int wb_check_super(const struct wb_cache *cache, int (*found)(void *context, const struct wb_finding *finding),
		   void *context);

/* ---- repair ------------------------------------------------------------------------------- */

enum wb_repair_kind {
	WB_REPAIR_BIT,    /* a bit of a segment or of its id that wb_ring_correct() took as flipped is flipped back */
	WB_REPAIR_RECORD, /* the record becomes 0: it is garbage or a hazard. Never where it binds (v0) */
	WB_REPAIR_HEAD,   /* the id of a torn head becomes 0, which drivers skip. v2.2.17: do_apply_valid_segments() */
	WB_REPAIR_SUPER,  /* sector 0 becomes what a driver writes. v2.2.17: format_superblock_header() */
};

/* One change within one sector of CACHE. */
struct wb_repair {
	enum wb_repair_kind kind;
	uint32_t slot;                 /* or WB_NO_SLOT */
	uint64_t id;                   /* of the segment, as corrected; 0: none */
	uint64_t offset;               /* byte on CACHE */
	uint32_t length;               /* 1 ... WB_SECTOR */
	uint8_t before[WB_SECTOR], after[WB_SECTOR]; /* length bytes each, as found and as they are to be */
	uint64_t odds;                 /* WB_REPAIR_BIT: N where random bytes look like this once in N times; else 0, also where a
					* write that was cut off may have left it over a segment that was nearly the same */
};

/* What hinders a kind of repair, as one clause ("the window has a hole"); NULL: nothing does. zeroed_super: the caller
 * knows that an all-zero sector 0 is an accident; without that such a cache is left alone. Static storage. */
const char *wb_repair_obstacle(const struct wb_ring *ring, enum wb_repair_kind kind, bool zeroed_super);

/* Calls visit() for every repair that this log needs and that nothing hinders, in the order in which they are to be
 * written: a power cut between any two leaves a log that a driver treats no worse than before. Nothing is written here;
 * visit() may. It returns 0, or a negative code that ends the walk. The ring must have been loaded with its data. */
int wb_repair_each(struct wb_ring *ring, bool zeroed_super,
		   int (*visit)(void *context, const struct wb_repair *repair, struct wb_error *err), void *context,
		   const struct wb_progress *progress, struct wb_error *err);

/* Writes the sector of a repair, flushes, and reads it again. WB_ECHANGED when it does not hold repair->before first, or
 * does not read as written afterwards. */
int wb_repair_write(struct wb_dev *dev, const struct wb_repair *repair, struct wb_error *err);

#ifdef __cplusplus
}
#endif

#endif
