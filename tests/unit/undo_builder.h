/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of undo files share: media that outlive the devices over them, one file that grows and two
 * disks on one power supply, and a program that writes to both and may be killed at any write or flush.
 */
#ifndef UNDO_BUILDER_H
#define UNDO_BUILDER_H

#include "cache_builder.h"
#include "undo.h"

#define FOREVER UINT64_MAX

/* ---- media ---- */

struct medium {
	uint8_t *bytes;
	uint64_t size, room; /* room: a file can grow up to here */
	bool grows;
	uint64_t bytes_read, writes, flushes;
	bool fail_flush;
	char letter;         /* of a write among the events; in upper case of a flush */
	char *events;        /* NULL: nobody listens */
};

struct medium_dev {
	struct wb_dev dev;
	struct medium *medium;
};

static inline void medium_event(struct medium *medium, char letter)
{
	if (medium->events)
		strncat(medium->events, &letter, 1);
}

/* What no longer fits is written as far as it does. */
static inline int medium_write(struct medium *medium, const struct wb_io *io)
{
	uint64_t fits = io->offset < medium->room ? wb_min(io->length, medium->room - io->offset) : 0;

	medium->writes++;
	medium_event(medium, medium->letter);
	memcpy(medium->bytes + io->offset, io->buffer, fits);
	medium->size = wb_max(medium->size, fits ? io->offset + fits : 0);
	return fits == io->length ? 0 : -ENOSPC;
}

static inline void medium_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct medium *medium = ((struct medium_dev *)dev)->medium;

	for (unsigned i = 0; i < n; i++) {
		if (io[i].write) {
			io[i].result = medium_write(medium, &io[i]);
			continue;
		}
		medium->bytes_read += io[i].length;
		memcpy(io[i].buffer, medium->bytes + io[i].offset, io[i].length);
	}
}

static inline int medium_flush(struct wb_dev *dev)
{
	struct medium *medium = ((struct medium_dev *)dev)->medium;

	medium->flushes++;
	medium_event(medium, (char)(medium->letter - 'a' + 'A'));
	return medium->fail_flush ? -ENOSPC : 0;
}

static inline void medium_close(struct wb_dev *dev)
{
	free(dev);
}

static inline struct wb_dev *medium_open(struct medium *medium)
{
	static const struct wb_dev_ops ops = { .submit = medium_submit, .flush = medium_flush, .close = medium_close };
	struct medium_dev *opened = calloc(1, sizeof(*opened));

	assert_non_null(opened);
	opened->medium = medium;
	opened->dev = (struct wb_dev){ .ops = &ops, .size = medium->size, .block = WB_SECTOR, .grows = medium->grows };
	return &opened->dev;
}

static inline void medium_init(struct medium *medium, uint64_t size, uint64_t room, char letter)
{
	*medium = (struct medium){ .size = size, .room = room, .grows = size < room, .letter = letter };
	medium->bytes = calloc(1, room);
	assert_non_null(medium->bytes);
}

/* ---- a program over a device: killed after so many writes and flushes, without harm to the device ---- */

struct handle {
	struct wb_dev dev;
	struct wb_dev *inner; /* not closed with it */
	uint64_t *life;
};

static inline bool still_alive(struct handle *handle)
{
	if (!*handle->life)
		return false;
	*handle->life -= *handle->life != FOREVER;
	return true;
}

static inline void handle_submit(struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	struct handle *handle = (struct handle *)dev;
	bool failed = false;

	for (unsigned i = 0; i < n; i++) {
		if (failed)
			io[i].result = -ECANCELED;
		else if (io[i].write && !still_alive(handle))
			io[i].result = -EIO;
		else
			wb_dev_submit(handle->inner, &io[i], 1, NULL);
		failed |= io[i].result != 0;
	}
}

static inline int handle_flush(struct wb_dev *dev)
{
	struct handle *handle = (struct handle *)dev;

	return still_alive(handle) ? handle->inner->ops->flush(handle->inner) : -EIO;
}

static inline void handle_close(struct wb_dev *dev)
{
	free(dev);
}

static inline struct wb_dev *handle_open(struct wb_dev *inner, uint64_t *life)
{
	static const struct wb_dev_ops ops = { .submit = handle_submit, .flush = handle_flush, .close = handle_close };
	struct handle *handle = calloc(1, sizeof(*handle));

	assert_non_null(handle);
	handle->dev = *inner;
	handle->dev.ops = &ops;
	handle->inner = inner;
	handle->life = life;
	return &handle->dev;
}

/* ---- one undo file, two disks ---- */

#define DISKS 2u
#define FILE_ROOM (1u << 20)
#define UNDO_ID 0x1122334455667788u
#define CREATED 1700000000u

static const uint64_t disk_sectors[DISKS] = { 40, 4 };

struct rig {
	struct medium file, disks[DISKS];
	struct wb_power power;
	struct wb_dev *file_dev, *devs[DISKS]; /* between rig_power() and rig_off() */
};

/* Sector of a disk as step - 1 of the program leaves it; 0: as it was found. */
static inline void fill_version(uint8_t *sector, unsigned disk, uint64_t lba, unsigned version)
{
	fill_sector(sector, lba + 1000 * disk, version);
	if (lba % 3 == 0)
		memset(sector, (int)(version + 16 * disk), WB_SECTOR / 2); /* something to compress */
}

static inline void rig_init(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	medium_init(&rig->file, 0, FILE_ROOM, 'f');
	for (unsigned i = 0; i < DISKS; i++) {
		medium_init(&rig->disks[i], disk_sectors[i] * WB_SECTOR, disk_sectors[i] * WB_SECTOR, (char)('x' + i));
		for (uint64_t lba = 0; lba < disk_sectors[i]; lba++)
			fill_version(rig->disks[i].bytes + lba * WB_SECTOR, i, lba, 0);
	}
}

static inline void rig_release(struct rig *rig)
{
	free(rig->file.bytes);
	for (unsigned i = 0; i < DISKS; i++)
		free(rig->disks[i].bytes);
}

static inline struct wb_dev *rig_fault(struct rig *rig, struct medium *medium, enum wb_cut cut, uint64_t seed)
{
	const struct wb_fault fault = { .power = &rig->power, .cut = cut, .seed = seed };
	struct wb_dev *dev;

	assert_int_equal(wb_dev_fault(&dev, medium_open(medium), &fault, NULL), 0);
	return dev;
}

static inline bool disk_is_original(const struct rig *rig, unsigned disk)
{
	for (uint64_t lba = 0; lba < disk_sectors[disk]; lba++) {
		uint8_t sector[WB_SECTOR];

		fill_version(sector, disk, lba, 0);
		if (memcmp(sector, rig->disks[disk].bytes + lba * WB_SECTOR, WB_SECTOR))
			return false;
	}
	return true;
}

static inline void assert_original(const struct rig *rig)
{
	for (unsigned i = 0; i < DISKS; i++)
		assert_true(disk_is_original(rig, i));
}

/* A header that was cut off is thrown away by hand; then nothing has been overwritten. */
static inline void throw_away_torn_header(struct rig *rig)
{
	struct wb_dev *file = medium_open(&rig->file);
	struct wb_undo undo;
	struct wb_error err = { 0 };

	if (!wb_undo_load(&undo, file, NULL, &err)) {
		wb_undo_release(&undo);
	} else {
		if (err.offset)
			fail_msg("loading: %s at byte %llu", err.text, (unsigned long long)err.offset);
		assert_original(rig);
		rig->file.size = 0;
	}
	wb_dev_close(file);
}

/* Power for so many writes and flushes. */
static inline void rig_power(struct rig *rig, uint64_t left, enum wb_cut cut, uint64_t seed)
{
	throw_away_torn_header(rig);
	rig->power = (struct wb_power){ .left = left };
	rig->file_dev = rig_fault(rig, &rig->file, cut, seed);
	for (unsigned i = 0; i < DISKS; i++)
		rig->devs[i] = rig_fault(rig, &rig->disks[i], cut, mix(seed + i + 1));
}

/* The power has gone, or the machine is shut down. */
static inline void rig_off(struct rig *rig)
{
	wb_dev_close(rig->file_dev);
	for (unsigned i = 0; i < DISKS; i++)
		wb_dev_close(rig->devs[i]);
}

/* ---- the program: some batches of writes, some of them over each other, on two disks ---- */

static const struct step {
	unsigned disk, first, sectors; /* sectors 0: a flush */
	bool with_next;                /* in one batch */
} steps[] = {
	{ 0, 0, 4, false },  { 0, 6, 2, true },  { 0, 10, 3, true }, { 0, 20, 1, false }, { 0, 0, 0, false },
	{ 0, 2, 6, false },  { 0, 30, 8, true }, { 0, 11, 1, false }, { 0, 0, 0, false },  { 1, 0, 1, false },
	{ 1, 0, 0, false },
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

static inline bool step_covers(unsigned step, unsigned disk, uint64_t lba)
{
	return steps[step].disk == disk && lba >= steps[step].first && lba < steps[step].first + steps[step].sectors;
}

/* What the program is done with: the last version everywhere. */
static inline void assert_final(const struct rig *rig)
{
	for (unsigned disk = 0; disk < DISKS; disk++)
		for (uint64_t lba = 0; lba < disk_sectors[disk]; lba++) {
			uint8_t sector[WB_SECTOR];
			unsigned version = 0;

			for (unsigned i = 0; i < STEPS; i++)
				version = step_covers(i, disk, lba) ? i + 1 : version;
			fill_version(sector, disk, lba, version);
			assert_memory_equal(sector, rig->disks[disk].bytes + lba * WB_SECTOR, WB_SECTOR);
		}
}

static inline bool is_some_version(const uint8_t *bytes, unsigned disk, uint64_t lba)
{
	for (unsigned version = 0; version <= STEPS; version++) {
		uint8_t sector[WB_SECTOR];

		if (version && !step_covers(version - 1, disk, lba))
			continue;
		fill_version(sector, disk, lba, version);
		if (!memcmp(sector, bytes, WB_SECTOR))
			return true;
	}
	return false;
}

/* Every sector is as found, or as one of the writes left it. */
static inline void assert_old_or_new(const struct rig *rig)
{
	for (unsigned disk = 0; disk < DISKS; disk++)
		for (uint64_t lba = 0; lba < disk_sectors[disk]; lba++)
			assert_true(is_some_version(rig->disks[disk].bytes + lba * WB_SECTOR, disk, lba));
}

static inline int create_undo(struct wb_undo *undo, struct wb_dev *file, struct wb_error *err)
{
	static char names[DISKS][16] = { "/dev/backing", "/dev/cache" };
	struct wb_undo_device devices[DISKS];

	for (unsigned i = 0; i < DISKS; i++)
		devices[i] = (struct wb_undo_device){ .name = names[i], .size = disk_sectors[i] * WB_SECTOR };
	return wb_undo_create(undo, file, devices, DISKS, UNDO_ID, CREATED, err);
}

/* Goes on with the file, or begins it. */
static inline int begin_undo(struct wb_undo *undo, struct wb_dev *file)
{
	return wb_dev_size(file) ? wb_undo_load(undo, file, NULL, NULL) : create_undo(undo, file, NULL);
}

static inline int do_steps(struct wb_dev **disks)
{
	static uint8_t bytes[STEPS][8 * WB_SECTOR];
	struct wb_io io[STEPS];
	unsigned n = 0;

	for (unsigned i = 0; i < STEPS; i++) {
		const struct step *step = &steps[i];

		for (unsigned j = 0; j < step->sectors; j++)
			fill_version(bytes[i] + j * WB_SECTOR, step->disk, step->first + j, i + 1);
		if (step->sectors)
			io[n++] = (struct wb_io){ .buffer = bytes[i], .offset = step->first * WB_SECTOR,
						  .length = step->sectors * WB_SECTOR, .write = true };
		if (step->with_next)
			continue;
		int ret = n ? wb_dev_submit(disks[step->disk], io, n, NULL) : wb_dev_flush(disks[step->disk], NULL);

		if (ret)
			return ret;
		n = 0;
	}
	return 0;
}

/* All of it, until the power goes or the program is killed. */
static inline int run_program(struct rig *rig, uint64_t life)
{
	struct wb_dev *file = handle_open(rig->file_dev, &life), *disks[DISKS];
	struct wb_undo undo;
	int ret = begin_undo(&undo, file);

	if (!ret) {
		for (unsigned i = 0; i < DISKS; i++)
			assert_int_equal(wb_dev_undo(&disks[i], handle_open(rig->devs[i], &life), &undo, i, NULL), 0);
		ret = do_steps(disks);
		for (unsigned i = 0; i < DISKS; i++)
			wb_dev_close(disks[i]);
		wb_undo_release(&undo);
	}
	wb_dev_close(file);
	return ret;
}

static inline int restore_on(struct rig *rig, bool force, bool dry_run, struct wb_undo_result *result, struct wb_error *err)
{
	struct wb_undo undo;
	int ret = wb_undo_load(&undo, rig->file_dev, NULL, err);

	if (ret)
		return ret;
	ret = wb_undo_restore(&undo, rig->devs, force, dry_run, CREATED + 1, result, NULL, err);
	wb_undo_release(&undo);
	return ret;
}

/* With the power back: all of it, on a machine that is then shut down. */
static inline void restore_or_fail(struct rig *rig)
{
	struct wb_undo_result result;
	struct wb_error err = { 0 };

	rig_power(rig, FOREVER, WB_CUT_LOST, 0);
	if (rig->file.size && restore_on(rig, false, false, &result, &err))
		fail_msg("restoring: %s at byte %llu", err.text, (unsigned long long)err.offset);
	rig_off(rig);
	assert_original(rig);
}

#endif
