/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a block device or an image is, and who holds it: to be asked before anything is written. Where /proc, /sys or /dev/disk are missing, or may not be read, the answers say less, and the exclusive open
 * that follows still refuses what is in use.
 *
 * path is followed once, by the first of these that is given it (see place.h), and opened as that later.
 *
 * Order of use, for each device that a command is going to write: devices_overlap(), holder_of(), identify(),
 * dangerous_signature(); only then open it exclusively, because holder_of() would take the caller for a holder.
 */
#ifndef GUARD_H
#define GUARD_H

#include "signatures.h"

struct common;

/* As found: not yet fit for a terminal, see identity_line(). */
struct identity {
	uint64_t size;
	bool is_block;
	bool read_only;                  /* it can be read, but not be written: the device itself, its file system, or permissions */
	unsigned logical, physical;      /* sector sizes; 0: not known, as of an image */
	char *model, *serial;            /* of the whole disk */
	char *by_id;                     /* a stable name, with its directory; never one made of contents if there is another */
	struct signatures signatures;    /* all of them */
	char *type, *usage, *uuid, *label; /* "ext4", "filesystem"; of several signatures, a dangerous one */
	char *partition_table;           /* "gpt", "dos" */
};

/* Reads the first and last blocks of path. Never fails: what cannot be found out is 0 or NULL. */
void identify(const char *path, struct identity *identity);
void identity_release(struct identity *identity);

/* One sentence without control characters, cut to size:
 * /dev/sdb1, 931.5 GiB, Samsung SSD 870 serial S5Y, /dev/disk/by-id/ata-S5Y-part1, ext4 "data" UUID 0f3c... */
void identity_line(const struct identity *identity, const char *path, char *text, size_t size);
/* A name by which it will be found again: by_id, or the path without links. The caller frees it; NULL without memory. */
char *stable_name(const struct identity *identity, const char *path);
/* What of it is the device and not its contents, to follow its size: ", Samsung SSD 870 serial S5Y, ..." or nothing. */
void identity_hardware(const struct identity *identity, char *text, size_t size);
/* Adds every field to a JSON record; type is called "signature" there. Ignores a NULL record. */
void identity_report(struct json_object *record, const struct identity *identity);

/* For the backing device of a replay: signature_danger() of what it is. */
const char *dangerous_signature(const struct identity *identity);

/* Who uses a device or image, in words that follow "is used: ": "mounted on /mnt/data", "mapped by dm-3 (vg0-root), which
 * is mounted on /srv", "its partition sdb1 is in use as swap", "the backing file of /dev/loop2". False, and an empty
 * text, when nobody does as far as can be seen. An idle loop device counts as a user of its file, not of itself. */
bool holder_of(const char *path, char *text, size_t size);

/* Refuses a device or image that is used: EXIT_REFUSED; operand is what it is called. A dry run only warns, and is refused by
 * refuse_used_dry_run() when it has shown its plan. holder: as of holder_of(). */
int refuse_held(const struct common *common, const char *path, const char *operand, bool dry_run, char *holder, size_t size);
/* The exit status of a dry run on a device that is in use: what the real run would be refused for. */
int refuse_used_dry_run(const struct common *common, const char *path, int status);

/* Refuses a device or image that cannot be written. Of a dry run only one that nobody can write: whoever looks first may be
 * somebody else. 0 or EXIT_REFUSED. */
int refuse_read_only(const struct common *common, const char *path, bool dry_run);

/* The first device-mapper mapping of a device, by its name; false when there is none or nothing can be seen. */
bool mapping_of(const char *path, char *name, size_t size);

/* Whether a file of that name would lie on a file system that lives on this device. False when that cannot be seen. */
bool file_lives_on(const char *file, const char *device);

/* Whether a byte of one is a byte of the other, in words that follow "CACHE and BACKING are": "the same device", "a disk
 * and a partition of it". Looks through partitions and loop devices; false, and an empty text, when they are apart. */
bool devices_overlap(const char *a, const char *b, char *text, size_t size);

#endif
