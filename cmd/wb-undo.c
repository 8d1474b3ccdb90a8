/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wb-undo: puts back what an --undo file recorded, newest first. Sectors that somebody has written since
 * are a reason to refuse; being cut off in the middle is not.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common.h"
#include "guard.h"
#include "record.h"
#include "report.h"

struct undo_options {
	struct common common;
	bool dry_run;
};

enum { OPT_DRY_RUN = 1 };

static const struct poptOption undo_table[] = {
	{ "dry-run", 'n', POPT_ARG_NONE, NULL, OPT_DRY_RUN, "show the devices and what would be put back; write nothing", NULL },
	POPT_TABLEEND
};

static void handle(void *options, int val, const char *argument)
{
	struct undo_options *undo = options;

	(void)argument;
	undo->dry_run |= val == OPT_DRY_RUN;
}

static const char *const forces[] = { "changed", "cut", "owner", NULL };

static const struct command command = {
	.name = "wb-undo",
	.purpose = "put back what a command has overwritten and recorded with --undo",
	.operands = "UNDOFILE [DEVICE...]",
	.operands_min = 1,
	.operands_max = 1 + (int)WB_UNDO_DEVICES,
	.options = undo_table,
	.handle = handle,
	.force_names = forces,
	.goes_on_without_reader = true,
	.without = WITHOUT_GEOMETRY | WITHOUT_JOBS,
};

struct work {
	struct undo_options *options;
	const char *path;
	struct wb_dev *file;
	struct wb_undo undo;
	const char *paths[WB_UNDO_DEVICES];
	struct wb_dev *devs[WB_UNDO_DEVICES];
	const char *held;         /* of a dry run: a device, or the file, that is in use, or NULL */
	struct wb_undo_result result;
};

static const struct common *common_of(const struct work *work)
{
	return &work->options->common;
}

/* The longest of what guard.h says about a device. */
#define WORDS 1024

static const char *date(uint64_t seconds)
{
	static char text[32];
	time_t moment = (time_t)seconds;
	struct tm parts;

	if (!gmtime_r(&moment, &parts) || !strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &parts))
		snprintf(text, sizeof(text), "%" PRIu64, seconds);
	return text;
}

static int load(struct work *work)
{
	unsigned flags = work->options->dry_run ? WB_OPEN_READ | WB_OPEN_TRY : WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE | WB_OPEN_GROW;
	struct wb_error err;
	int fd, status = record_open(common_of(work), &fd, work->path, !work->options->dry_run);

	if (!status && fd < 0)
		status = common_refuse(common_of(work), work->path, "there is no such file");
	if (!status)
		status = common_adopt(common_of(work), &work->file, work->path, fd, flags);
	if (status)
		return status;
	if (wb_dev_busy(work->file))
		work->held = work->path;
	if (wb_undo_load(&work->undo, work->file, &common_of(work)->progress, &err))
		return common_failed(common_of(work), work->path, &err, "nothing was changed");
	if (common_of(work)->operand_count - 1 > (int)work->undo.device_count)
		usage_error("%s was recorded for %s, and more are named", work->path, count_of(work->undo.device_count, "device"));
	for (unsigned i = 0; i < work->undo.device_count; i++)
		work->paths[i] = common_of(work)->operand_count > (int)i + 1 ? common_of(work)->operands[i + 1] :
									     work->undo.devices[i].name;
	return 0;
}

/* What is missing, or that the run was interrupted. */
static void say_end(const struct work *work)
{
	const struct wb_undo *undo = &work->undo;
	const struct common *common = common_of(work);

	if (undo->cut && undo->missing)
		common_say(common, "incomplete  %s %s missing from byte %" PRIu64 " of the file on; %" PRIu64 " with old data %s left",
			   count_of(undo->missing, "record"), undo->missing == 1 ? "is" : "are", undo->cut_at, undo->count,
			   undo->count == 1 ? "is" : "are");
	else if (undo->cut)
		common_say(common, "incomplete  both end notes at byte %" PRIu64 " are damaged: whether records are missing is not "
			   "known; %" PRIu64 " with old data %s there", undo->cut_at, undo->count, undo->count == 1 ? "is" : "are");
	else if (undo->interrupted)
		common_say(common, "interrupted the run that recorded this did not come to its end, or has not yet; nothing was "
			   "overwritten that is not recorded");
}

static void say_devices(const struct work *work)
{
	common_say(common_of(work), "undo file   %s, begun on %s%s", work->path, date(work->undo.created),
		   work->undo.torn && !work->undo.cut ?
		   "; its last record was cut off, and nothing was overwritten for it" : "");
	say_end(work);
	for (unsigned i = 0; i < work->undo.device_count; i++) {
		struct json_object *record = report_record("device");
		uint64_t sectors = work->undo.sectors[i];

		common_say(common_of(work), "device %u    %s: %s recorded, of a device of %s", i + 1, work->paths[i],
			   count_of(sectors, "sector"), human_size(work->undo.devices[i].size));
		report_text(record, "device", work->paths[i]);
		report_text(record, "recorded", work->undo.devices[i].name);
		report_u64(record, "size", work->undo.devices[i].size);
		report_u64(record, "sectors", sectors);
		report_emit(record);
	}
}

/* What stands in a file that others may have written is a name that they chose. */
static int refuse_unnamed(const struct work *work)
{
	if (!common_forced(common_of(work), "owner") || common_of(work)->operand_count - 1 == (int)work->undo.device_count)
		return 0;
	return common_refuse(common_of(work), work->path, "with --force=owner nothing is opened but what is named on the command line: "
			     "name %s, in the order above", work->undo.device_count == 1 ? "the device" : "all devices");
}

static int refuse_overlap(const struct work *work, unsigned device)
{
	char text[WORDS];

	for (unsigned i = 0; i < device; i++)
		if (devices_overlap(work->paths[i], work->paths[device], text, sizeof(text)))
			return common_refuse(common_of(work), work->paths[device], "this and %s are %s", work->paths[i], text);
	return 0;
}

static int open_device(struct work *work, unsigned device)
{
	unsigned flags = work->options->dry_run ? WB_OPEN_READ | WB_OPEN_TRY : WB_OPEN_WRITE | WB_OPEN_EXCLUSIVE;
	const char *path = work->paths[device];
	char holder[WORDS] = "";
	int status = refuse_overlap(work, device);

	if (!status)
		status = refuse_held(common_of(work), path, "the device", work->options->dry_run, holder, sizeof(holder));
	if (!status)
		status = refuse_read_only(common_of(work), path, work->options->dry_run);
	if (!status)
		status = common_open(common_of(work), &work->devs[device], path, flags);
	if (!status && (holder[0] || wb_dev_busy(work->devs[device])))
		work->held = path;
	if (status || wb_dev_size(work->devs[device]) == work->undo.devices[device].size)
		return status;
	return common_refuse(common_of(work), path, "this device has %" PRIu64 " bytes, and the one that was recorded (%s) had %" PRIu64
			     ": name the right one", wb_dev_size(work->devs[device]), work->undo.devices[device].name,
			     work->undo.devices[device].size);
}

/* What it is, not what it is called. */
static void say_what_is_there(const struct work *work, unsigned device)
{
	struct json_object *record = report_record("identity");
	struct identity identity;
	char line[WORDS];

	identify(work->paths[device], &identity);
	char *name = identity.by_id ? NULL : stable_name(&identity, work->paths[device]); /* the hardware has that one */

	identity_line(&identity, name ? name : work->paths[device], line, sizeof(line));
	free(name);
	common_say(common_of(work), "            now: %s", line);
	report_text(record, "device", work->paths[device]);
	identity_report(record, &identity);
	report_emit(record);
	identity_release(&identity);
}

static int ask(const struct work *work)
{
	char question[WORDS], names[WORDS] = "";

	for (unsigned i = 0; i < work->undo.device_count; i++)
		append_text(names, sizeof(names), "%s%s", i ? " and " : "", work->paths[i]);
	snprintf(question, sizeof(question), "Put back what was recorded of %s?", names);
	return common_ask(common_of(work), work->path, question, "nothing was changed: this would write to the devices above; look "
			  "at them (-n), then say --yes");
}

static int nothing_to_do(const struct work *work)
{
	if (work->undo.undone)
		common_say(common_of(work), "nothing to do: all of it was put back on %s", date(work->undo.undone));
	else
		common_say(common_of(work), "nothing to do: nothing was overwritten");
	return EXIT_FINE;
}

/* Nothing was changed: the file is incomplete. */
static int refuse_cut(const struct work *work)
{
	const struct wb_undo_result *result = &work->result;

	if (work->undo.cut)
		return common_refuse(common_of(work), work->path, "the undo file is incomplete: records are missing from byte %" PRIu64
				     " on%s. Use the whole file; nothing was changed (--force=cut puts back what is left, and leaves "
				     "the rest as it is)", work->undo.cut_at,
				     result->unrecorded_end ? ", and the log was ended after them" : "");
	return common_refuse(common_of(work), work->paths[result->ended_device], "the log of this device was ended on %s, and the "
			     "undo file has no record of that: its end is missing, or a later run recorded elsewhere or not at "
			     "all. Nothing was changed (--force=cut puts back what is recorded)", date(result->ended));
}

static int failed(const struct work *work, const struct wb_error *err)
{
	if (err->code == WB_ECUT)
		return refuse_cut(work);

	const char *path = work->result.device < work->undo.device_count ? work->paths[work->result.device] : work->path;
	int status = common_failed(common_of(work), path, err, err->code == WB_ECHANGED ?
				   "somebody has written there since, and would lose that; nothing was changed (--force=changed overrides this)" :
				   NULL);

	if (work->result.written_sectors)
		common_warn(common_of(work), "%s had been put back; run the same command again, and until then use neither "
			    "device", count_of(work->result.written_sectors, "sector"));
	return status;
}

static void say_result(const struct work *work)
{
	const struct wb_undo_result *result = &work->result;

	if (result->changed_sectors)
		common_say(common_of(work), "changed     %s that somebody else has written", count_of(result->changed_sectors, "sector"));
	if (work->options->dry_run)
		common_say(common_of(work), "dry run     would put back %s; nothing was changed", count_of(result->sectors, "sector"));
	else
		common_say(common_of(work), "put back    %s, flushed: %s", count_of(result->written_sectors, "sector"),
			   work->undo.cut || result->unrecorded_end ? "what was not recorded, or is missing, stays as it is" :
			   "the devices are as they were before");
}

static int restore(struct work *work)
{
	unsigned force = (common_forced(common_of(work), "changed") ? WB_UNDO_CHANGED : 0) |
			 (common_forced(common_of(work), "cut") ? WB_UNDO_CUT : 0);
	struct wb_error err;

	if (wb_undo_restore(&work->undo, work->devs, force, work->options->dry_run, (uint64_t)time(NULL), &work->result,
			    &common_of(work)->progress, &err))
		return failed(work, &err);
	say_result(work);
	if (!work->options->dry_run)
		return EXIT_FINE;
	if ((work->undo.cut || work->result.unrecorded_end) && !(force & WB_UNDO_CUT))
		return refuse_cut(work);
	if (!work->result.changed_sectors || force & WB_UNDO_CHANGED)
		return EXIT_FINE;
	return common_refuse(common_of(work), work->path, "%s changed since: without -n this is refused (--force=changed overrides this)",
			     count_of(work->result.changed_sectors, "sector"));
}

static int take_back(struct work *work)
{
	int status = load(work);

	if (status)
		return status;
	say_devices(work);
	if (!work->undo.count && (!work->undo.cut || work->undo.undone))
		return nothing_to_do(work);
	status = refuse_unnamed(work);
	for (unsigned i = 0; i < work->undo.device_count && !status; i++) {
		status = open_device(work, i);
		if (!status)
			say_what_is_there(work, i);
	}
	if (!status && !work->options->dry_run)
		status = ask(work);
	return status ? status : restore(work);
}

static int undo(struct work *work)
{
	int status = take_back(work);

	return work->options->dry_run && work->held ? refuse_used_dry_run(common_of(work), work->held, status) : status;
}

static void summarise(const struct work *work)
{
	struct json_object *summary = report_summary();

	report_text(summary, "undo_file", work->path);
	report_u64(summary, "sectors", work->result.sectors);
	report_u64(summary, "changed_sectors", work->result.changed_sectors);
	report_u64(summary, "written_sectors", work->result.written_sectors);
	report_bool(summary, "incomplete", work->undo.cut || work->result.unrecorded_end);
	report_u64(summary, "missing_records", work->undo.missing);
	report_bool(summary, "interrupted", work->undo.interrupted);
	report_bool(summary, "dry_run", work->options->dry_run);
}

int main(int argc, char **argv)
{
	struct undo_options options = { .dry_run = false };
	struct work work = { .options = &options };
	int status;

	common_start(&options.common, &command, &options, argc, argv);
	work.path = options.common.operands[0];
	status = undo(&work);
	summarise(&work);
	for (unsigned i = 0; i < work.undo.device_count; i++)
		wb_dev_close(work.devs[i]);
	wb_undo_release(&work.undo);
	wb_dev_close(work.file);
	return common_finish(&options.common, status);
}
