/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What others have written on a device: superblocks and partition tables that libblkid knows, and the formats of files
 * that are not raw images. Nothing here fails or prints.
 */
#ifndef SIGNATURES_H
#define SIGNATURES_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One signature or partition table, as found: not yet fit for a terminal, see signature_line(). */
struct signature {
	char *type;            /* "ext4"; of a partition table "gpt", "dos", "PMBR" (the protective MBR of a GPT) */
	char *usage;           /* "filesystem", "raid", "crypto", "other"; NULL of a table or a container */
	char *uuid, *label;    /* NULL: none */
	uint64_t offset, size; /* of the bytes that give it away; offset UINT64_MAX: not told */
	bool is_table;
	bool is_remnant;       /* the copy at the end of a GPT whose beginning is gone: nobody takes it for a partition table */
	const char *advice;    /* of a container, a file with an image in it: how to open it, where FILE stands for its name */
};

struct signatures {
	struct signature *list;
	unsigned count;
	bool incomplete; /* something could not be read, or memory ran out */
};

/* Every signature and partition table that libblkid finds on the whole of path, with every copy it knows of, and the
 * container that it is, in the order of their offsets. Never fails. */
void find_all_signatures(const char *path, struct signatures *signatures);
/* The same of an open file or device, from byte start on, size bytes (0: up to its end); offsets count from start. */
void find_signatures_in(int fd, uint64_t start, uint64_t size, struct signatures *signatures);
void signatures_release(struct signatures *signatures);

/* Without control characters, cut to size: ext4 "data" UUID 0f3c... at byte 1080 */
void signature_line(const struct signature *signature, char *text, size_t size);
void signature_report(struct json_object *record, const struct signature *signature);
/* A further copy of what an earlier one in the list stands for. */
bool signature_is_copy(const struct signatures *signatures, unsigned which);

/* Why a device with this signature is not what BACKING is meant to be, in words that follow "BACKING carries the signature
 * of"; NULL when it is fine. File systems, partition tables, LVM and LUKS are. Static storage. */
const char *signature_danger(const char *type, const char *usage);
/* Whether the device is only a part of something that LVM, md, a RAID controller or bcache put together. */
bool signature_is_member(const struct signature *signature);
/* The container among them; NULL: none. */
const struct signature *find_container(const struct signatures *signatures);
/* Its advice with the name of the file, quoted for a shell; the caller frees it. NULL without memory. */
char *container_advice(const struct signature *container, const char *path);

#endif
