/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files that a command recorded in and that are believed later: undo files and states. */
#ifndef RECORD_H
#define RECORD_H

#include "common.h"

/* Opens such a file, for writing too or not, and never waits for a FIFO: *fd is the caller's, -1 where there is no such name. What
 * somebody else may have written, or could read, is refused: it must be a regular file and no symbolic link, have one name, belong
 * to the user or to root, and be closed to group and others. --force=owner, where a command has it, overrides the last three. The user is
 * the effective one: SUDO_UID is no proof, and may run less than all commands as root. 0 or an exit status. */
int record_open(const struct common *common, int *fd, const char *path, bool writes);

#endif
