/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wb-check: verifies everything that can be verified, and says in one verdict what it means. Only --repair writes, and
 * what it may write is the library's business (repair.c).
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "explain.h"
#include "guard.h"
#include "output.h"
#include "pack.h"
#include "part.h"
#include "progress.h"
#include "report.h"
#include "undo_file.h"
#include "words.h"

enum { OPT_METADATA_ONLY = 1, OPT_REQUIRE_CLEAN, OPT_REQUIRE_ENDED, OPT_FIND_BITFLIP, OPT_REPAIR, OPT_UNDO, OPT_EXPORT, OPT_MEMORY,
       OPT_EXPLAIN_KERNEL, OPT_DRY_RUN };

static const struct poptOption check_table[] = {
	{ "metadata-only", '\0', POPT_ARG_NONE, NULL, OPT_METADATA_ONLY, "read no data: the ring from headers alone", NULL },
	{ "explain-kernel", '\0', POPT_ARG_NONE, NULL, OPT_EXPLAIN_KERNEL, "say what the driver would do at the next assembly", NULL },
	{ "require-clean", '\0', POPT_ARG_NONE, NULL, OPT_REQUIRE_CLEAN, "exit 4 unless nothing is dirty", NULL },
	{ "require-ended", '\0', POPT_ARG_NONE, NULL, OPT_REQUIRE_ENDED, "exit 4 unless the log was ended with nothing left out", NULL },
	{ "find-bitflip", '\0', POPT_ARG_NONE, NULL, OPT_FIND_BITFLIP,
	  "name the one flipped bit that explains a rotten segment or an alien id", NULL },
	{ "repair", '\0', POPT_ARG_NONE, NULL, OPT_REPAIR, "repair what can be repaired for certain, after asking", NULL },
	{ "dry-run", 'n', POPT_ARG_NONE, NULL, OPT_DRY_RUN, "with --repair: show what would be changed, and change nothing", NULL },
	{ "undo", '\0', POPT_ARG_STRING, NULL, OPT_UNDO, "record there what --repair changes, for wb-undo", "FILE" },
	{ "export", '\0', POPT_ARG_NONE, NULL, OPT_EXPORT, "only print what CACHE is, as KEY=value lines for udev", NULL },
	{ "memory", '\0', POPT_ARG_STRING, NULL, OPT_MEMORY, "budget for comparing with BACKING, at least 8MiB", "SIZE" },
	POPT_TABLEEND
};

static void handle(void *options, int val, const char *argument)
{
	struct check_options *check = options;

	switch (val) {
	case OPT_METADATA_ONLY: check->metadata_only = true; break;
	case OPT_EXPLAIN_KERNEL: check->explain_kernel = true; break;
	case OPT_REQUIRE_CLEAN: check->require_clean = true; break;
	case OPT_REQUIRE_ENDED: check->require_ended = true; break;
	case OPT_FIND_BITFLIP: check->find_bitflip = true; break;
	case OPT_REPAIR: check->repair = true; break;
	case OPT_DRY_RUN: check->dry_run = true; break;
	case OPT_UNDO: path_option("--undo", &check->undo_path, argument); break;
	case OPT_EXPORT: check->export = true; break;
	case OPT_MEMORY:
		check->memory = size_of("--memory", argument);
		if (check->memory < 8u << 20)
			usage_error("--memory: %s is less than 8MiB", argument);
		break;
	default: break;
	}
}

static const char *const forces[] = { "superblock", "signature", NULL };

static const struct command command = {
	.name = "wb-check",
	.purpose = "verify a dm-writeboost cache, and with BACKING the pair",
	.operands = "CACHE [BACKING]",
	.operands_min = 1,
	.operands_max = 2,
	.options = check_table,
	.handle = handle,
	.force_names = forces,
};

/* ---- opening and looking ---- */

/* --repair writes to CACHE, so nothing else may use it; with -n neither, so that both exit alike. */
static int open_device(struct work *work)
{
	const struct common *common = common_of(work);
	bool repairs = work->options->repair, writes = repairs && !work->options->dry_run;
	unsigned flags = (writes ? WB_OPEN_WRITE : WB_OPEN_READ) | (repairs ? WB_OPEN_EXCLUSIVE : WB_OPEN_PACK);
	struct wb_error err;
	char holder[1024];
	int status = repairs ? refuse_held(common, work->cache_path, "CACHE", false, holder, sizeof(holder)) : 0;

	if (!status && repairs)
		status = refuse_read_only(common, work->cache_path, !writes);
	if (!status)
		status = common_open(common, &work->cache_dev, work->cache_path, flags);
	if (!status)
		status = part_choose(common, &work->cache_dev, work->cache_path, work->options->repair ? PART_WRITE : PART_LOOK,
				     work->foreign, sizeof(work->foreign));
	/* a dry run repairs in memory */
	if (!status && work->options->dry_run && wb_dev_overlay(&work->cache_dev, work->cache_dev, &err))
		status = common_failed(common, work->cache_path, &err, NULL);
	if (status) { /* --explain-kernel has nothing to explain either */
		wb_dev_close(work->cache_dev);
		work->cache_dev = NULL;
	}
	return status;
}

static int open_backing(struct work *work)
{
	const struct common *common = common_of(work);
	char words[1024];
	int status;

	if (!work->backing_path)
		return 0;
	if (wb_dev_pack_info(work->cache_dev))
		return common_refuse(common, work->cache_path, "a pack holds no data that could be compared with BACKING: leave "
				     "BACKING out");
	if (devices_overlap(work->cache_path, work->backing_path, words, sizeof(words)))
		return common_refuse(common, work->backing_path, "CACHE and BACKING are %s", words);
	status = refuse_backing_container(common, work->backing_path);
	if (!status)
		status = common_open(common, &work->backing, work->backing_path, WB_OPEN_READ);
	if (!status && carries_header(work->backing))
		status = common_refuse(common, work->backing_path,
				       "BACKING carries a writeboost header: are the two operands swapped?");
	return status;
}

/* Opens what a driver would refuse too, to say what is wrong with it. */
static int open_cache(struct work *work)
{
	struct wb_overrides overrides = common_of(work)->overrides;
	struct wb_error err;

	overrides.any_super = work->written_after_end;
	if (!wb_cache_open(&work->cache, work->cache_dev, &overrides, &err))
		return 0;
	if (err.code == WB_EWRAP)
		overrides.address = WB_ADDRESS_LINEAR;
	overrides.any_super |= work->cache.super != WB_SUPER_GOOD && work->cache.super != WB_SUPER_ENDED;
	return common_open_cache(common_of(work), &work->cache, work->cache_dev, work->cache_path, &overrides);
}

/* An ended log that was written to since is opened as a log after all. */
static int look_after_end(struct work *work)
{
	struct wb_error err;

	if (work->cache.super != WB_SUPER_ENDED || work->written_after_end)
		return 0;
	if (wb_cache_written_after_end(work->cache_dev, &common_of(work)->overrides, &work->written_after_end,
				       &common_of(work)->progress, &err))
		return common_failed(common_of(work), work->cache_path, &err, NULL);
	return work->written_after_end ? open_cache(work) : 0;
}

/* The marker says that all was written, and not to which disk. */
static int look_behind_marker(struct work *work)
{
	const struct wb_ring_options how = check_ring_options(work);
	const struct wb_finding mismatch = { .rule = WB_RULE_BACKING_MISMATCH, .severity = WB_DAMAGE, .slot = WB_NO_SLOT,
					     .offset = WB_NO_OFFSET, .index = -1 };
	uint64_t memory = work->options->memory ? work->options->memory : default_memory();
	struct wb_error err;

	if (wb_check_super(&work->cache, check_found, work->findings) || !work->backing)
		return 0;
	if (wb_end_prove(work->cache_dev, &common_of(work)->overrides, &how, work->backing, plan_capacity(memory), &work->end,
			 &common_of(work)->progress, &err))
		return common_failed(common_of(work), work->cache_path, &err, NULL);
	work->proof = work->end.proof;
	common_say_unreadable(common_of(work), work->backing_path, &work->proof);
	return work->proof.pair == WB_PAIR_CONTRADICTED ? check_found(work->findings, &mismatch) : 0;
}

/* The cache as it stands now: its log, its pair, its findings. */
int check_look(struct work *work)
{
	const struct check_options *options = work->options;
	const struct wb_ring_options how = check_ring_options(work);
	uint64_t memory = options->memory ? options->memory : default_memory();
	struct wb_error err;
	int status = open_cache(work);

	if (!status)
		status = look_after_end(work);
	if (!status && check_log_is_closed(work))
		return look_behind_marker(work);
	if (status)
		return status;
	if (options->repair && check_address_is_open(work))
		return common_refuse(common_of(work), work->cache_path, "over 2 TiB nothing is repaired before "
				     "--slot-address=linear or --slot-address=wrap says where segments lie");
	status = check_address_is_open(work) ? check_read_wrapped(work) : 0;
	if (status)
		return status;
	if (wb_ring_load(&work->ring, &work->cache, &how, &options->common.progress, &err))
		return common_failed(&options->common, work->cache_path, &err, NULL);
	if (work->backing && wb_pair_prove(&work->ring, work->backing, plan_capacity(memory), 0, &work->proof,
					   &options->common.progress, &err))
		return common_failed(&options->common, work->backing_path, &err, NULL);
	if (work->backing && work->proof.pair != WB_PAIR_PROVEN)
		part_of_backing(&options->common, &work->ring, work->backing_path, plan_capacity(memory), work->partition,
				sizeof(work->partition));
	if (work->backing && !options->metadata_only &&
	    (wb_ring_weigh_tail(&work->ring, work->backing, plan_capacity(memory), &options->common.progress, &err) ||
	     wb_ring_weigh_record(&work->ring, work->backing, plan_capacity(memory), &options->common.progress, &err)))
		return common_failed(&options->common, work->backing_path, &err, NULL);
	common_say_unreadable(&options->common, work->backing_path, &work->proof);
	if (wb_check(&work->ring, work->backing ? &work->proof : NULL, check_found, work->findings, &err))
		return common_failed(&options->common, work->cache_path, &err, NULL);
	return 0;
}

/* ---- udev ---- */

#define EXPORT_READS ((uint64_t)1 << 20) /* bytes */

/* Reads sector 0 first: udev asks about devices of every kind. */
static int export(struct work *work)
{
	const struct common *common = common_of(work);
	struct wb_overrides overrides = common->overrides;
	struct wb_error err;
	int ret = wb_dev_open(&work->cache_dev, work->cache_path,
			      WB_OPEN_READ | WB_OPEN_PEEK | (common->threads ? WB_OPEN_THREADS : 0), &err);

	if (ret)
		return common_failed(common, work->cache_path, &err, NULL);
	if (common->part.given && wb_dev_window(&work->cache_dev, work->cache_dev, common->part.start, common->part.size, &err))
		return common_failed(common, work->cache_path, &err, NULL);
	if (wb_dev_limit(&work->cache_dev, work->cache_dev, EXPORT_READS, &err))
		return common_failed(common, work->cache_path, &err, NULL);
	if (!carries_header(work->cache_dev))
		return common_refuse(common, work->cache_path, "not a writeboost cache: no magic in sector 0");
	if (overrides.address == WB_ADDRESS_AUTO)
		overrides.address = WB_ADDRESS_LINEAR;
	if (wb_cache_open(&work->cache, work->cache_dev, &overrides, &err))
		return common_failed(common, work->cache_path, &err, NULL);
	puts("ID_FS_TYPE=dm_writeboost_cache\nID_FS_USAGE=other");
	if (check_log_is_closed(work)) {
		puts("ID_WRITEBOOST_STATE=ended");
		return 0;
	}
	printf("ID_FS_VERSION=%s\nID_WRITEBOOST_STATE=log\nID_WRITEBOOST_GENERATION=%s\n", work->cache.geometry.format->name,
	       work->cache.geometry.format->name);
	printf("ID_WRITEBOOST_ORDER=%u\nID_WRITEBOOST_SEGMENTS=%" PRIu32 "\n", work->cache.geometry.order,
	       work->cache.geometry.slots);
	return 0;
}

/* ---- the work ---- */

static int report(struct work *work)
{
	const struct common *common = common_of(work);
	int status;

	common_say(common, "cache       %s, %s%s%s", work->cache_path, human_size(wb_dev_size(work->cache_dev)),
		   part_words(work->cache_dev), pack_words(work->cache_dev));
	check_say_verdict(work);
	if (check_log_is_closed(work))
		return 0;
	check_say_ring(work);
	status = check_tell_readings(work);
	check_say_findings(work->findings);
	return status;
}

static int check(struct work *work)
{
	const struct check_options *options = work->options;
	int status = open_device(work);

	if (!status)
		status = open_backing(work);
	if (!status)
		status = check_look(work);
	if (!status)
		status = check_count_repairs(work);
	if (!status)
		status = report(work);
	if (status)
		return status;
	check_summarise(work);
	if (options->find_bitflip && !check_log_is_closed(work))
		status = check_find_bitflips(work);
	if (!status && options->repair && work->cache.super != WB_SUPER_ENDED) {
		status = check_repair(work);
		check_summarise(work);
	}
	if (status & ~EXIT_REPAIRED)
		return status;
	if (work->findings->damage || work->partition[0] || work->proof.backing_unreadable_sectors || !check_is_as_required(work))
		status |= EXIT_PROBLEMS;
	return status;
}

static void check_options(const struct check_options *options)
{
	bool looks = options->metadata_only || options->require_clean || options->require_ended || options->find_bitflip || options->repair;

	if (options->metadata_only && (options->find_bitflip || options->repair))
		usage_error("--metadata-only verifies no checksum: nothing can be explained or repaired by it");
	if (options->export && (looks || options->common.json || options->common.operand_count > 1))
		usage_error("--export only prints what CACHE is, and goes with no other option and no BACKING");
	if (options->dry_run && !options->repair)
		usage_error("--dry-run is for --repair: nothing else here changes anything");
	if (options->undo_path && !options->repair)
		usage_error("--undo is for --repair");
	if (common_forced(&options->common, "superblock") && !options->repair)
		usage_error("--force=superblock is for --repair");
}

int main(int argc, char **argv)
{
	struct check_options options = { .memory = 0 };
	struct work work = { .options = &options };
	struct findings findings = { .work = &work };
	int status;

	common_start(&options.common, &command, &options, argc, argv);
	check_options(&options);
	options.common.overrides.memory = options.memory ? options.memory : default_memory();
	work.cache_path = options.common.operands[0];
	work.backing_path = options.common.operand_count > 1 ? options.common.operands[1] : NULL;
	work.findings = &findings;
	work.undo.path = options.undo_path;
	work.undo.dry_run = options.dry_run;
	status = output_check(&options.common, &(struct output_name){ "--undo", options.undo_path }, 1);
	if (!status)
		status = options.export ? export(&work) : check(&work);
	wb_ring_release(&work.ring);
	if (options.explain_kernel && !(status & EXIT_STOPPED))
		status |= explain_kernel(&options.common, work.cache_dev, work.cache_path,
					 status & EXIT_REFUSED ? NULL : work.backing,
					 options.memory ? options.memory : default_memory());
	wb_dev_close(work.backing);
	wb_dev_close(work.cache_dev);
	undo_file_close(&work.undo);
	free(options.undo_path);
	return common_finish(&options.common, status);
}
