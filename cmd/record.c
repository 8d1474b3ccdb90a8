/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening what an earlier run recorded: see record.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "record.h"

/* What a file is that is none of ours; NULL: a regular file. */
static const char *kind_of(mode_t mode)
{
	return S_ISREG(mode) ? NULL : S_ISLNK(mode) ? "symbolic link" : S_ISDIR(mode) ? "directory" : S_ISFIFO(mode) ? "FIFO" :
	       S_ISSOCK(mode) ? "socket" : "device";
}

/* Why it may not be what we wrote; "" if it must be. */
static void find_reason(const struct stat *st, char *text, size_t size)
{
	text[0] = '\0';
	if (st->st_uid && st->st_uid != geteuid())
		append_text(text, size, "belongs to user %u", st->st_uid);
	else if (st->st_mode & 077)
		append_text(text, size, "is open to others than its owner (mode %03o, not 600)", st->st_mode & 0777);
	else if (st->st_nlink != 1)
		append_text(text, size, "has %ju names (hard links)", (uintmax_t)st->st_nlink);
}

static int check(const struct common *common, const char *path, const struct stat *st)
{
	const char *kind = kind_of(st->st_mode);
	char reason[128];

	if (kind)
		return common_refuse(common, path, "this is a %s, and a regular file is needed: name the file itself", kind);
	find_reason(st, reason, sizeof(reason));
	if (!reason[0] || common_forced(common, "owner"))
		return 0;
	if (common_knows_force(common, "owner"))
		return common_refuse(common, path, "this file %s: somebody else may have written what it says. --force=owner uses it all "
				     "the same, and then every device must be named", reason);
	return common_refuse(common, path, "this file %s: it is neither believed nor continued; give the option a new name", reason);
}

int record_open(const struct common *common, int *fd, const char *path, bool writes)
{
	int place = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	*fd = -1;
	if (place < 0)
		return errno == ENOENT ? 0 : common_refuse(common, path, "cannot be opened: %s", strerror(errno));
	int status = fstat(place, &st) ? common_refuse(common, path, "cannot be opened: %s", strerror(errno)) :
					 check(common, path, &st);

	if (!status)
		*fd = wb_open_again(place, path, writes ? O_RDWR : O_RDONLY);
	if (!status && *fd < 0)
		status = common_refuse(common, path, "cannot be opened: %s", strerror(errno));
	close(place);
	return status;
}
