/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that have their name when they are complete: see output.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "hooks.h"
#include "output.h"

/* ---- names ---- */

static bool exists(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

char *output_beside(const char *path)
{
	uint64_t number = 0, now = 0;
	char *name = NULL;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		number = (uint64_t)getpid();
	hook_repeatable(&number, &now);
	do {
		free(name);
		if (asprintf(&name, "%s.new-%08" PRIx32, path, (uint32_t)number++) < 0)
			return NULL;
	} while (exists(name));
	return name;
}

static int sync_directory(const struct common *common, const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int failed = fd < 0 || !hook_step() || fsync(fd) ? errno : 0;

	if (fd >= 0)
		close(fd);
	free(copy);
	/* some file systems cannot sync a directory */
	return failed && failed != EINVAL ? common_refuse(common, path, "its directory cannot be synced: %s", strerror(failed)) : 0;
}

/* Fails with EEXIST where there is something. Not every file system can rename that way, and some have no links. */
static int move_to_free_name(const char *by, const char *path)
{
	if (!renameat2(AT_FDCWD, by, AT_FDCWD, path, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (!link(by, path))
		return unlink(by);
	return errno == EEXIST ? -1 : rename(by, path);
}

int output_place(const struct common *common, const char *path, const char *by, bool replaces)
{
	if (!hook_step() || (replaces ? rename(by, path) : move_to_free_name(by, path)))
		return common_refuse(common, path, "cannot be put in its place: %s", strerror(errno));
	return sync_directory(common, path);
}

#define LINKS_MAX 40u

/* The path without links, also of a file that is not there yet, or a link that leads to none. The caller frees it. */
static char *canonical(const char *path)
{
	char *name = strdup(path), target[PATH_MAX], *result = NULL;

	for (unsigned i = 0; name && i < LINKS_MAX; i++) {
		char *copy = strdup(name), *folder = copy ? realpath(dirname(copy), NULL) : NULL;
		char *base = folder ? strdup(name) : NULL, *whole = NULL;
		ssize_t length;

		if (!base || asprintf(&whole, "%s/%s", folder, basename(base)) < 0)
			whole = NULL;
		length = whole ? readlink(whole, target, sizeof(target) - 1) : -1;
		free(name);
		name = NULL;
		if (length > 0) {
			target[length] = '\0';
			if (target[0] == '/' ? !(name = strdup(target)) : asprintf(&name, "%s/%s", folder, target) < 0)
				name = NULL;
			free(whole);
		} else {
			result = whole;
		}
		free(base);
		free(folder);
		free(copy);
	}
	free(name);
	return result;
}

static bool is_one_file(const char *a, const char *b)
{
	struct stat one, two;
	char *first = canonical(a), *second = canonical(b);
	bool same = (first && second && strcmp(first, second) == 0) ||
		    (!stat(a, &one) && !stat(b, &two) && one.st_dev == two.st_dev && one.st_ino == two.st_ino);

	free(first);
	free(second);
	return same;
}

int output_check(const struct common *common, const struct output_name *names, unsigned count)
{
	struct stat st;

	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < i; j++)
			if (names[i].path && names[j].path && is_one_file(names[i].path, names[j].path))
				usage_error("%s and %s name the same file, %s", names[j].option, names[i].option, names[i].path);
	for (unsigned i = 0; i < count; i++)
		for (int j = 0; names[i].path && j < common->operand_count; j++)
			if (is_one_file(names[i].path, common->operands[j]))
				usage_error("%s=%s and the operand %s name the same file", names[i].option, names[i].path,
					    common->operands[j]);
	for (unsigned i = 0; i < count; i++)
		if (names[i].path && !stat(names[i].path, &st) && !S_ISREG(st.st_mode))
			return common_refuse(common, names[i].path, "%s needs a regular file, and this is a %s", names[i].option,
					     S_ISDIR(st.st_mode) ? "directory" : S_ISFIFO(st.st_mode) ? "FIFO" : "device");
	return 0;
}

int output_look(const struct common *common, const char *path)
{
	char *copy = strdup(path), *folder = copy ? dirname(copy) : NULL;
	struct statvfs fs;
	int failed = !folder ? ENOMEM : access(folder, W_OK | X_OK) ? errno : 0;

	if (!failed && !statvfs(folder, &fs) && fs.f_blocks && !fs.f_bavail)
		failed = ENOSPC;
	free(copy);
	return failed ? common_refuse(common, path, "cannot be created: %s", strerror(failed)) : 0;
}

int output_look_free(const struct common *common, const char *path)
{
	return exists(path) ? common_refuse(common, path, "the file is there already, and nothing is overwritten") : output_look(common, path);
}

/* ---- files ---- */

static void forget(struct output *output)
{
	free(output->beside);
	output->beside = NULL;
}

static int create(const struct common *common, struct output *output, const char *name, mode_t mode)
{
	output->fd = hook_step() ? open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode) : -1;
	if (output->fd < 0)
		return common_refuse(common, output->path,
				     errno == EEXIST ? "the file is there already, and nothing is overwritten" :
						       "cannot be created: %s", strerror(errno));
	output->file = hook_stream(output->fd, name);
	if (output->file)
		return 0;
	int failed = errno;

	close(output->fd);
	unlink(name);
	return common_refuse(common, output->path, "cannot be written: %s", strerror(failed));
}

static int begin(const struct common *common, struct output *output, const char *path, mode_t mode)
{
	output->path = path;
	output->beside = output_beside(path);
	if (!output->beside)
		return common_refuse(common, path, "out of memory");
	int status = create(common, output, output->beside, mode);

	if (status)
		forget(output);
	return status;
}

int output_create(const struct common *common, struct output *output, const char *path)
{
	output->replaces = false;
	if (!path)
		return 0;
	if (exists(path))
		return common_refuse(common, path, "the file is there already, and nothing is overwritten");
	return begin(common, output, path, 0600);
}

int output_renew(const struct common *common, struct output *output, const char *path)
{
	output->replaces = true;
	return begin(common, output, path, 0600);
}

int output_complete(const struct common *common, struct output *output)
{
	int failed = hook_sync(output->file) ? errno : 0, status;

	if (fclose(output->file) && !failed)
		failed = errno;
	output->file = NULL;
	status = failed ? common_refuse(common, output->path, "cannot be written: %s", strerror(failed)) :
			  output_place(common, output->path, output->beside, output->replaces);
	if (status)
		output_abandon(output);
	forget(output);
	return status;
}

void output_abandon(struct output *output)
{
	if (!output->beside)
		return;
	if (output->file)
		fclose(output->file);
	output->file = NULL;
	if (hook_step())
		unlink(output->beside);
	forget(output);
}

int output_log(const struct common *common, FILE **file, const char *path)
{
	struct output log = { .path = path };
	int status = path ? create(common, &log, path, 0600) : 0;

	*file = log.file;
	return status || !path ? status : sync_directory(common, path);
}
