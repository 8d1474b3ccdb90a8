/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between the undo file, the device that records into it, and the way back. */
#ifndef WB_UNDO_H
#define WB_UNDO_H

#include "wbfmt.h"

#define WB_UNDO_MAX (1u << 20) /* bytes of a device in one record */

#define WB_UNDO_SUM 4u         /* bytes of the sum of what was written over a sector */
#define WB_UNDO_PAYLOAD (WB_UNDO_MAX + WB_UNDO_MAX / WB_SECTOR * WB_UNDO_SUM)

struct wb_undo_record {
	uint64_t at;     /* of the record, in the file */
	uint64_t offset; /* of what it holds, on the device: a multiple of WB_SECTOR, like length */
	uint32_t length; /* 1 sector ... WB_UNDO_MAX */
	uint32_t stored; /* bytes of its compressed payload */
	uint32_t sum;    /* of that payload */
	uint32_t device; /* index */
	bool after_flush; /* between what the record before this one is about and this a device was flushed, or a run began */
	bool after_gap;   /* records before this one are missing */
	uint64_t run, gap; /* how many such places there are before it: restore.c counts them */
};

uint32_t wb_undo_sum(const uint8_t *bytes, size_t size);

/* Adds what is about to be overwritten; after wb_undo_end() all that was added is durable. old and new hold length bytes. */
int wb_undo_add(struct wb_undo *undo, unsigned device, uint64_t offset, const uint8_t *old, const uint8_t *new_bytes,
		uint32_t length, struct wb_error *err);
int wb_undo_end(struct wb_undo *undo, struct wb_error *err);

/* After the device was flushed: records, at the end and in the end note, that the records so far are durable. Then
 * damage to them is not treated as a cut. Best effort. */
void wb_undo_note(struct wb_undo *undo);

/* Says that what was recorded is about to be put back: from here on the devices hold less than a command wrote. Durable
 * on return. */
int wb_undo_mark_begun(struct wb_undo *undo, uint64_t now, struct wb_error *err);
/* Says that everything recorded so far has been put back. Durable on return. */
int wb_undo_mark(struct wb_undo *undo, uint64_t now, struct wb_error *err);

/* The record at *at, which begins as undo->begin and moves on: 1, or 0 when there is none left. */
int wb_undo_next(const struct wb_undo *undo, uint64_t *at, struct wb_undo_record *record, struct wb_error *err);

/* The old bytes of a record, then a sum for each of its sectors; payload has room for WB_UNDO_PAYLOAD. */
int wb_undo_payload(const struct wb_undo *undo, const struct wb_undo_record *record, uint8_t *payload,
		    struct wb_error *err);

#endif
