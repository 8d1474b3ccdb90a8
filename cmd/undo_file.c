/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening, continuing and naming an undo file: see undo_file.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "guard.h"
#include "hooks.h"
#include "output.h"
#include "record.h"
#include "undo_file.h"

static bool is_other_part(const struct wb_undo *undo, unsigned i, const struct wb_undo_device *device)
{
	return undo->devices[i].size != device->size || (undo->version >= 3 && undo->devices[i].start != device->start);
}

/* Names the device that differs. */
static int refuse_others(const struct common *common, const char *path, const struct wb_undo *undo,
			 const struct wb_undo_device *devices, unsigned count)
{
	if (undo->device_count != count)
		return common_refuse(common, path, "the file is there already and was recorded for %s (%s), and this command writes to %s; "
				     "give --undo a new name", count_of(undo->device_count, "device"),
				     undo->device_count ? undo->devices[0].name : "none", count_of(count, "device"));
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(undo->devices[i].name, devices[i].name) != 0)
			return common_refuse(common, path, "the file is there already and was recorded for %s, and not for %s; give --undo "
					     "a new name", undo->devices[i].name, devices[i].name);
		if (is_other_part(undo, i, &devices[i]))
			return common_refuse(common, path, "the file is there already and was recorded for another part or size of %s; give "
					     "--undo a new name", devices[i].name);
	}
	return 0;
}

/* *fd: the existing file, or -1. */
static int look(const struct common *common, const struct undo_file *undo, int *fd)
{
	*fd = -1;
	return undo->path ? record_open(common, fd, undo->path, !undo->dry_run) : 0;
}

/* fd: of an existing one, is taken over. */
static int load(const struct common *common, struct undo_file *undo, int fd, const struct wb_undo_device *devices, unsigned count)
{
	unsigned flags = undo->dry_run ? WB_OPEN_READ : WB_OPEN_WRITE | WB_OPEN_GROW;
	struct wb_error err;
	int status = common_adopt(common, &undo->file, undo->path, fd, flags | WB_OPEN_EXCLUSIVE);

	if (status)
		return status;
	if (wb_undo_load(&undo->undo, undo->file, &common->progress, &err))
		return common_failed(common, undo->path, &err,
				     "the file already exists and cannot be continued; give --undo a new name");
	if (undo->undo.cut)
		return common_refuse(common, undo->path, "the file is there already, and records are missing from byte %" PRIu64
				     " on: it cannot be continued; give --undo a new name", undo->undo.cut_at);
	return refuse_others(common, undo->path, &undo->undo, devices, count);
}

/* Under another name at first: a file of its own name is whole. */
static int create(const struct common *common, struct undo_file *undo, const char *beside,
		  const struct wb_undo_device *devices, unsigned count)
{
	struct wb_error err;
	uint64_t id = 0, now = (uint64_t)time(NULL);
	int status = common_open_as(common, &undo->file, undo->path, beside,
				    WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE | WB_OPEN_GROW | WB_OPEN_CREATE);

	if (status)
		return status;
	if (getrandom(&id, sizeof(id), 0) != sizeof(id))
		return common_refuse(common, undo->path, "no random number for a new file");
	hook_repeatable(&id, &now);
	if (wb_undo_create(&undo->undo, undo->file, devices, count, id, now, &err))
		return common_failed(common, undo->path, &err, "nothing was changed; give --undo a place with more room");
	return output_place(common, undo->path, beside, false);
}

static int begin(const struct common *common, struct undo_file *undo, const struct wb_undo_device *devices, unsigned count)
{
	char *beside = output_beside(undo->path);
	int status = beside ? create(common, undo, beside, devices, count) : common_refuse(common, undo->path, "out of memory");

	if (status && undo->file && hook_step())
		unlink(beside);
	free(beside);
	return status;
}

int undo_file_open(const struct common *common, struct undo_file *undo, const struct wb_undo_device *devices,
		   unsigned count)
{
	int fd, status = look(common, undo, &fd);

	if (status || !undo->path)
		return status;
	if (fd >= 0)
		return load(common, undo, fd, devices, count);
	return undo->dry_run ? output_look_free(common, undo->path) : begin(common, undo, devices, count);
}

int undo_file_continue(const struct common *common, struct undo_file *undo, const struct wb_undo_device *devices, unsigned count)
{
	int fd, status = look(common, undo, &fd);

	return fd < 0 ? status : load(common, undo, fd, devices, count);
}

int undo_file_wrap(const struct common *common, struct undo_file *undo, struct wb_dev **dev, unsigned device)
{
	struct wb_error err;

	if (!undo->path || undo->dry_run || !*dev || !wb_dev_undo(dev, *dev, &undo->undo, device, &err))
		return 0;
	return common_failed(common, undo->path, &err, NULL);
}

int undo_file_record(const struct common *common, struct undo_file *undo, const char *path, struct wb_dev **dev)
{
	struct wb_undo_device device = { .size = wb_dev_size(wb_dev_whole(*dev)), .start = wb_dev_start(*dev) };
	struct identity identity;
	int status;

	if (!undo->path)
		return 0;
	if (file_lives_on(undo->path, path))
		return common_refuse(common, undo->path, "this file would lie on the device itself; choose another place");
	identify(path, &identity);
	device.name = stable_name(&identity, path);
	identity_release(&identity);
	status = device.name ? undo_file_open(common, undo, &device, 1) : common_refuse(common, path, "out of memory");
	free(device.name);
	return status ? status : undo_file_wrap(common, undo, dev, 0);
}

int undo_file_failure(const struct common *common, const struct undo_file *undo)
{
	if (!undo->path || !undo->undo.failure.code)
		return 0;
	return common_failed(common, undo->path, &undo->undo.failure,
			     "what could not be recorded was not written either; what had been written before can be taken back");
}

int undo_file_finish(const struct common *common, struct undo_file *undo)
{
	struct wb_error err;

	if (!undo->file || undo->dry_run || undo->undo.failure.code || !wb_undo_finish(&undo->undo, (uint64_t)time(NULL), &err))
		return 0;
	return common_failed(common, undo->path, &err, "the end of this run could not be recorded; what was overwritten is recorded");
}

void undo_file_say(const struct common *common, const struct undo_file *undo, const char *label)
{
	if (!undo->path)
		return;
	char *quoted = shell_quoted(undo->path);

	common_say(common, "%swb-undo %s%s", label, *undo->path == '-' ? "-- " : "", quoted ? quoted : undo->path);
	free(quoted);
}

void undo_file_close(struct undo_file *undo)
{
	wb_undo_release(&undo->undo);
	wb_dev_close(undo->file);
	undo->file = NULL;
}
