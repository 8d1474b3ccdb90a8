/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --undo=FILE, alike in every command that writes to devices. */
#ifndef UNDO_FILE_H
#define UNDO_FILE_H

#include "common.h"

struct undo_file {
	const char *path; /* the caller's; NULL: no --undo was given, and nothing here does anything */
	bool dry_run;     /* nothing is created or recorded; what would be refused is, and an existing file says of itself what is in undo */
	struct wb_dev *file;
	struct wb_undo undo;
};

/* Creates FILE, or continues it if it was made for the same devices; any other file is refused. 0 or an exit status. */
int undo_file_open(const struct common *common, struct undo_file *undo, const struct wb_undo_device *devices,
		   unsigned count);
/* Only if it is there already; else undo->file remains NULL. */
int undo_file_continue(const struct common *common, struct undo_file *undo, const struct wb_undo_device *devices, unsigned count);
/* From here on *dev records before it writes. */
int undo_file_wrap(const struct common *common, struct undo_file *undo, struct wb_dev **dev, unsigned device);
/* Both, for a command that writes to one device only: path names it. */
int undo_file_record(const struct common *common, struct undo_file *undo, const char *path, struct wb_dev **dev);
/* When recording failed: says so, naming FILE. 0 or an exit status. */
int undo_file_failure(const struct common *common, const struct undo_file *undo);
/* Records that the run came to its end. 0 or an exit status. */
int undo_file_finish(const struct common *common, struct undo_file *undo);
/* Tells how to take back what has been done, behind a label. */
void undo_file_say(const struct common *common, const struct undo_file *undo, const char *label);
/* The devices recorded above must have been closed before. */
void undo_file_close(struct undo_file *undo);

#endif
