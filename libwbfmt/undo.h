/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between the undo file and the device that records into it. */
#ifndef WB_UNDO_H
#define WB_UNDO_H

#include "wbfmt.h"

#define WB_UNDO_MAX (1u << 20) /* bytes of a device in one record */

#define WB_UNDO_SUM 4u         /* bytes of the sum of what was written over a sector */
#define WB_UNDO_PAYLOAD (WB_UNDO_MAX + WB_UNDO_MAX / WB_SECTOR * WB_UNDO_SUM)

uint32_t wb_undo_sum(const uint8_t *bytes, size_t size);

/* A batch: begin, add whatever is about to be overwritten, end: durable then. old and new hold length bytes. */
void wb_undo_begin(struct wb_undo *undo);
int wb_undo_add(struct wb_undo *undo, unsigned device, uint64_t offset, const uint8_t *old, const uint8_t *new_bytes,
		uint32_t length, struct wb_error *err);
int wb_undo_end(struct wb_undo *undo, struct wb_error *err);

/* Says that everything recorded so far has been put back. Durable on return. */
int wb_undo_mark(struct wb_undo *undo, uint64_t now, struct wb_error *err);

/* The old bytes of a record, then a sum for each of its sectors; payload has room for WB_UNDO_PAYLOAD. */
int wb_undo_payload(const struct wb_undo *undo, const struct wb_undo_record *record, uint8_t *payload,
		    struct wb_error *err);

#endif
