/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See policy_options.h. */
#include "policy_options.h"
#include "report.h"

enum { OPT_POLICY = 100, OPT_UNTIL, OPT_TRUST, OPT_IGNORE, OPT_TIMELINE, OPT_ZEROED, OPT_MEMORY };

const struct poptOption policy_options[] = {
	{ "policy", '\0', POPT_ARG_STRING, NULL, OPT_POLICY, "what to do about damage (default: strict)",
	  "strict|prefix|salvage" },
	{ "until-id", '\0', POPT_ARG_STRING, NULL, OPT_UNTIL, "write nothing newer than segment N", "N" },
	{ "trust-record", '\0', POPT_ARG_NONE, NULL, OPT_TRUST, "write nothing at or below the superblock record", NULL },
	{ "ignore-record", '\0', POPT_ARG_NONE, NULL, OPT_IGNORE, "take the superblock record as 0", NULL },
	{ "timeline", '\0', POPT_ARG_STRING, NULL, OPT_TIMELINE, "of a restarted ring, the one to write", "new|old" },
	{ "zeroed", '\0', POPT_ARG_STRING, NULL, OPT_ZEROED, "what to do with segments that read as zeroes", "skip|replay" },
	{ "memory", '\0', POPT_ARG_STRING, NULL, OPT_MEMORY, "budget for plan and buffers, at least 8MiB", "SIZE" },
	POPT_TABLEEND
};

const char *const policies[] = { "strict", "prefix", "salvage", NULL };

static void set_until(struct wb_decide_options *decide, const char *text)
{
	decide->until = number_of("--until-id", text);
	decide->until_given = true;
}

static void set_record(struct wb_ring_options *ring, enum wb_record_use use)
{
	if (ring->record_use != WB_RECORD_AUTO && ring->record_use != use)
		usage_error("--trust-record and --ignore-record exclude each other");
	ring->record_use = use;
}

static void set_memory(uint64_t *memory, const char *text)
{
	*memory = size_of("--memory", text);
	if (*memory < 8u << 20)
		usage_error("--memory: %s is less than 8MiB", text);
}

bool policy_option(int val, const char *argument, struct wb_decide_options *decide, struct wb_ring_options *ring,
		   uint64_t *memory)
{
	static const char *const timelines[] = { "new", "old", NULL };
	static const char *const zeroed[] = { "skip", "replay", NULL };

	switch (val) {
	case OPT_POLICY: decide->policy = (enum wb_policy)choice_of("--policy", argument, policies); break;
	case OPT_UNTIL: set_until(decide, argument); break;
	case OPT_TRUST: set_record(ring, WB_RECORD_TRUST); break;
	case OPT_IGNORE: set_record(ring, WB_RECORD_IGNORE); break;
	case OPT_TIMELINE:
		ring->timeline = choice_of("--timeline", argument, timelines) ? WB_TIMELINE_OLD : WB_TIMELINE_NEW;
		break;
	case OPT_ZEROED:
		decide->zeroed = choice_of("--zeroed", argument, zeroed) ? WB_ZEROED_REPLAY : WB_ZEROED_SKIP;
		break;
	case OPT_MEMORY: set_memory(memory, argument); break;
	default: return false;
	}
	return true;
}

void policy_settle(const struct common *common, struct wb_decide_options *decide, struct wb_ring_options *ring,
		   uint64_t *memory)
{
	if (decide->until_given && decide->policy == WB_SALVAGE)
		usage_error("--until-id is a prefix of the log and cannot go with --policy=salvage");
	if (decide->until_given)
		decide->policy = WB_PREFIX;
	if (!*memory)
		*memory = default_memory();
	ring->jobs = (unsigned)common->jobs;
	decide->capacity = plan_capacity(*memory);
	decide->force_regress = common_forced(common, "regress");
	decide->force_size = common_forced(common, "size");
}

/* Every reason of enum wb_refusal, in the order of its bits. */
static const struct {
	const char *name, *text;
} reasons[] = {
	{ "hole", "segments of the log are missing or damaged (holes)" },
	{ "ahead", "a segment lies ahead of a gap" },
	{ "rotten", "a segment is rotten" },
	{ "alien-id", "a whole segment bears an impossible id" },
	{ "bounds", "a length or a sector address is impossible" },
	{ "beyond-backing", "dirty data lies beyond the end of BACKING (a wrong disk? --force=size leaves it out)" },
	{ "zeroed", "segments read as zeroes, as after a discard (--zeroed=skip or --zeroed=replay decides)" },
	{ "geometry", "the device was resized, its start moved, or an option leaves whole segments out (wb-check lists what fits)" },
	{ "restarted", "the ring was restarted: two histories (--timeline=new or --timeline=old decides)" },
	{ "destroyed", "no segment is valid, but there was a log" },
	{ "record", "the record names newer segments than the log holds (--trust-record or --ignore-record decides)" },
	{ "regress", "BACKING already holds newer data than what would be written (--force=regress overrides this)" },
	{ "unreadable", "parts of CACHE cannot be read" },
	{ "record-unreadable", "the record cannot be read, and this generation discards segments up to it (--ignore-record: as if "
	  "nothing had been discarded)" },
	{ "record-contradicted", "BACKING does not hold what the record says was written back (--trust-record or --ignore-record "
	  "decides)" },
};

bool policy_is_unsure(const struct wb_ring *ring, unsigned refused)
{
	bool any = false;

	for (uint32_t i = 0; i < ring->cache->geometry.slots && refused & WB_REFUSE_REGRESS; i++)
		any |= ring->slots[i].flags & WB_SLOT_ON_BACKING && ring->slots[i].id > ring->head;
	return any;
}

static const char *text_of(const struct wb_ring *ring, unsigned bit)
{
	if (1u << bit == WB_REFUSE_REGRESS && policy_is_unsure(ring, 1u << bit))
		return "BACKING may hold newer data than what would be written: it has what a damaged newer segment shows "
		       "(--force=regress overrides this)";
	return reasons[bit].text;
}

void policy_say_refusal(const struct common *common, const struct wb_ring *ring, unsigned refused)
{
	if (refused & REFUSED_BY_ALL)
		refused &= REFUSED_BY_ALL;
	for (unsigned i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		struct json_object *record = refused >> i & 1 ? report_record("refusal") : NULL;

		if (!(refused >> i & 1))
			continue;
		common_warn(common, "  %s", text_of(ring, i));
		report_text(record, "reason", reasons[i].name);
		report_text(record, "text", text_of(ring, i));
		report_emit(record);
	}
}

const char *policy_reason(unsigned bit)
{
	return bit < sizeof(reasons) / sizeof(reasons[0]) ? reasons[bit].name : NULL;
}
