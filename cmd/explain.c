/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See explain.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "explain.h"
#include "report.h"

#define RANGES 6u /* named to people; JSON has them all */

/* "2.0.2 to 2.2.3": which versions of the driver it speaks for. */
static const char *driver_names(const struct wb_forecast *forecast)
{
	static char text[64];

	if (!forecast->first_driver)
		return "any";
	if (!strcmp(forecast->first_driver, forecast->last_driver))
		return forecast->first_driver;
	snprintf(text, sizeof(text), "%s to %s", forecast->first_driver, forecast->last_driver);
	return text;
}

static void emit(const struct wb_forecast *forecast, const char *type)
{
	struct json_object *record = report_record(type);
	struct json_object *ids = record ? json_object_new_array() : NULL;
	uint64_t cursor = 0, first, last;

	report_text(record, "drivers", driver_names(forecast));
	report_text(record, "outcome", wb_outcome_name(forecast->outcome));
	report_u64(record, "applied", forecast->applied);
	report_u64(record, "first_id", forecast->first_id);
	report_u64(record, "last_id", forecast->last_id);
	while (record && wb_forecast_range(forecast, &cursor, &first, &last)) {
		struct json_object *range = json_object_new_array_ext(2);

		json_object_array_add(range, json_object_new_uint64(first));
		json_object_array_add(range, json_object_new_uint64(last));
		json_object_array_add(ids, range);
	}
	if (record)
		json_object_object_add(record, "applied_ids", ids);
	report_u64(record, "abandoned_sectors", forecast->abandoned_sectors);
	report_u64(record, "regressed_sectors", forecast->regressed_sectors);
	report_u64(record, "written_sectors", forecast->written_sectors);
	report_u64(record, "dropped_segments", forecast->dropped);
	report_bool(record, "drop_caches_returns", !forecast->drop_hangs);
	report_bool(record, "compared", forecast->compared);
	report_emit(record);
}

static void say_ids(const struct common *common, const struct wb_forecast *forecast)
{
	uint64_t cursor = 0, first, last;
	char text[320] = "";
	size_t used = 0;
	unsigned ranges = 0;

	while (ranges < RANGES && wb_forecast_range(forecast, &cursor, &first, &last))
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 first == last ? "%s%" PRIu64 : "%s%" PRIu64 " to %" PRIu64,
					 ranges++ ? ", " : "", first, last);
	if (ranges == RANGES && wb_forecast_range(forecast, &cursor, &first, &last))
		snprintf(text + used, sizeof(text) - used, " and so on");
	if (forecast->applied)
		common_say(common, "            It takes %s, in this order: %s.", count_of(forecast->applied, "segment"), text);
	else if (forecast->outcome == WB_OUTCOME_OK || forecast->outcome == WB_OUTCOME_NOTHING)
		common_say(common, "            It takes no segment.");
}

static const char *outcome_words(enum wb_outcome outcome)
{
	switch (outcome) {
	case WB_OUTCOME_OK: return "the device is assembled";
	case WB_OUTCOME_NOTHING: return "the device is assembled, and the log begins again at segment 1";
	case WB_OUTCOME_HANG: return "dmsetup does not return";
	case WB_OUTCOME_CRASH: return "the kernel crashes";
	case WB_OUTCOME_REFORMAT: return "an empty cache is made over this one, without asking";
	case WB_OUTCOME_NO_ASSEMBLY: return "the device is not assembled, and CACHE stays as it is";
	}
	return "";
}

static void say_cause(const struct common *common, const struct wb_forecast *forecast)
{
	char where[96];
	bool stops = forecast->outcome == WB_OUTCOME_OK || forecast->outcome == WB_OUTCOME_NOTHING;
	const char *and_stops = stops ? ". It takes nothing from there on, and reports success" : "";

	snprintf(where, sizeof(where), "slot %" PRIu32 " (id %" PRIu64 ")", forecast->slot, forecast->slot_id);
	switch (forecast->cause) {
	case WB_CAUSE_NONE:
		break;
	case WB_CAUSE_NO_MAGIC:
		common_say(common, "            Sector 0 does not carry the magic.");
		break;
	case WB_CAUSE_ORDER:
		common_say(common, "            The order in sector 0 is not that of the log, so no table fits both.");
		break;
	case WB_CAUSE_UNREADABLE:
		common_say(common, "            It cannot read CACHE at byte %" PRIu64 ".", forecast->offset);
		break;
	case WB_CAUSE_SEAL:
		if (forecast->dropped)
			common_say(common, "            In %s the seal does not hold for this driver%s.", where, and_stops);
		break;
	case WB_CAUSE_FALLS:
		if (forecast->dropped)
			common_say(common, "            In %s the id does not rise%s.", where, and_stops);
		break;
	case WB_CAUSE_LENGTH:
		common_say(common, "            In %s the length is out of range%s.", where, and_stops);
		break;
	case WB_CAUSE_MISALIGNED:
		common_say(common, "            In %s an address is no multiple of 8 sectors.", where);
		break;
	case WB_CAUSE_BEYOND:
		common_say(common, "            From %s it writes beyond the end of BACKING, which fails%s.", where,
			   stops ? "; what it would write later never gets there" : "");
		break;
	case WB_CAUSE_RECORD:
		common_say(common, "            The record (%" PRIu64 ") is so large that counting up to it does not end.",
			   forecast->record);
		break;
	case WB_CAUSE_ID:
		common_say(common, "            The last id it takes is so large that waiting for it does not end.");
		break;
	case WB_CAUSE_DIRTY:
		common_say(common, "            It would reuse %s first, which still holds dirty blocks.", where);
		break;
	}
	if (forecast->dropped && stops)
		common_say(common, "            %s in the log %s not taken.", count_of(forecast->dropped, "whole segment"),
			   forecast->dropped == 1 ? "is" : "are");
}

/* v2.2.17: the writeback daemon starts beyond the log, and the first slot it comes to again is a BUG(). */
static void say_record(const struct common *common, const struct wb_forecast *forecast)
{
	if (forecast->drop_hangs)
		common_say(common, "            Some dirty blocks are never written back%s, so drop_caches does not return.",
			   forecast->record ? " (those of segments up to the record)" : "");
	if (forecast->outcome == WB_OUTCOME_OK && forecast->recovery & WB_RECOVERY_CLEANS &&
	    forecast->record > forecast->last_id)
		common_say(common, "            The record (%" PRIu64 ") is beyond that: all it took counts as written back, and the "
			   "kernel crashes later.", forecast->record);
}

static const char *amount(uint64_t sectors)
{
	static char text[2][64];
	static unsigned turn;

	snprintf(text[turn ^= 1], sizeof(text[0]), "%s (%s)", count_of(sectors, "sector"),
		 human_size(sectors * WB_SECTOR));
	return text[turn];
}

static void say_harm(const struct common *common, const struct wb_forecast *forecast)
{
	const char *up_to = forecast->compared ? "" : "up to ";

	if (forecast->written_sectors)
		common_say(common, "            It writes %s of BACKING.", amount(forecast->written_sectors));
	if (forecast->abandoned_sectors)
		common_say(common, "lost        %s%s would never reach BACKING, though this cache holds them", up_to,
			   amount(forecast->abandoned_sectors));
	if (forecast->regressed_sectors)
		common_say(common, "back        %s%s of BACKING would go back in time: older data over newer", up_to,
			   amount(forecast->regressed_sectors));
	if (!forecast->abandoned_sectors && !forecast->regressed_sectors)
		common_say(common, "            Nothing would be lost by it, and nothing goes back in time%s.",
			   forecast->compared ? "" : ", as far as CACHE alone tells");
}

/* A healthy system does this to itself; it says nothing, and does so at every assembly. */
static void say_hazard(const struct common *common, const struct wb_forecast *forecast)
{
	if (!forecast->regressed_sectors || !forecast->record || forecast->outcome != WB_OUTCOME_OK ||
	    !(forecast->recovery & WB_RECOVERY_CLEANS))
		return;
	common_say(common, "hazard      The record is not 0, and the log holds blocks that were written in part. Then this");
	common_say(common, "            driver writes older parts first and takes newer ones for written, at every assembly,");
	common_say(common, "            also after a clean removal and on a healthy system, without a message.");
	common_say(common, "            Turn it off: update_sb_record_interval 0, in the table and with dmsetup message. The");
	common_say(common, "            record stays until the log is ended: wb-flush-dirty CACHE BACKING, before assembling.");
}

static void say(const struct common *common, const struct wb_forecast *forecast, const char *intro)
{
	const char *outcome = outcome_words(forecast->outcome);

	if (forecast->recovery & WB_RECOVERY_UPWARD)
		common_say(common, "%s the driver of %s: %s.", intro, driver_names(forecast), outcome);
	else
		common_say(common, "%s %s%s: %s.", intro, forecast->first_driver ? "driver " : "any driver",
			   forecast->first_driver ? driver_names(forecast) : "", outcome);
	say_cause(common, forecast);
	say_ids(common, forecast);
	say_record(common, forecast);
	say_harm(common, forecast);
	say_hazard(common, forecast);
}

static void tell(const struct common *common, const struct wb_forecast *forecast)
{
	emit(forecast, "forecast");
	say(common, forecast, "driver      At the next assembly by");
}

/* Opens what no driver would accept either: what it would then do is the question. Without a generation nothing can be
 * said but what all drivers do alike. */
static int open_any(const struct common *common, struct wb_cache *cache, struct wb_dev *dev, const char *path,
		    struct wb_forecast *forecast)
{
	struct wb_overrides overrides = common->overrides;
	struct wb_error err;

	overrides.any_super = true;
	if (overrides.address == WB_ADDRESS_AUTO)
		overrides.address = WB_ADDRESS_LINEAR;
	int ret = wb_cache_open(cache, dev, &overrides, &err);

	if (!ret)
		return 0;
	*forecast = (struct wb_forecast){ .slot = WB_NO_SLOT, .offset = err.offset };
	if (err.code == WB_ENOTCACHE) {
		forecast->outcome = WB_OUTCOME_REFORMAT;
		forecast->cause = WB_CAUSE_NO_MAGIC;
	} else if (err.code == WB_EIO) {
		forecast->outcome = WB_OUTCOME_NO_ASSEMBLY;
		forecast->cause = WB_CAUSE_UNREADABLE;
	} else {
		return common_failed(common, path, &err, NULL);
	}
	tell(common, forecast);
	return -1;
}

int explain_kernel(const struct common *common, struct wb_dev *cache_dev, const char *cache_path,
		   struct wb_dev *backing, uint64_t memory)
{
	struct wb_forecast forecast;
	struct wb_cache cache;
	struct wb_error err;

	if (!cache_dev)
		return 0;
	int status = open_any(common, &cache, cache_dev, cache_path, &forecast);

	if (status)
		return status < 0 ? 0 : status;
	if (wb_forecast(&forecast, &cache, backing, plan_capacity(memory) * 2 * sizeof(struct wb_entry),
			&common->progress, &err))
		return common_failed(common, cache_path, &err, NULL);
	tell(common, &forecast);
	while ((status = wb_forecast_other(&forecast, &common->progress, &err)) > 0) {
		emit(&forecast, "forecast-other");
		say(common, &forecast, "            By");
	}
	if (status)
		return common_failed(common, cache_path, &err, NULL);
	wb_forecast_release(&forecast);
	return 0;
}
