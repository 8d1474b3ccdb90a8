/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The part of wb-dump that makes packs, metadata for a bug report, and images out of them: see pack.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "guard.h"
#include "hooks.h"
#include "next.h"
#include "output.h"
#include "pack.h"
#include "report.h"
#include "words.h"

void pack_release(struct pack_options *options)
{
	free(options->pack);
	free(options->unpack);
}

void pack_check_usage(const struct pack_options *options, const char *tables)
{
	const char *wanted = options->pack ? "--pack" : options->unpack ? "--unpack" : NULL;

	if (options->pack && options->unpack)
		usage_error("--pack and --unpack exclude each other");
	if (!options->pack && options->obfuscate)
		usage_error("--obfuscate has a meaning only with --pack");
	if (wanted && tables)
		usage_error("%s and %s exclude each other", wanted, tables);
}

/* ---- facts ---- */

/* Where it is installed, and never what PATH finds. */
static const char *dmsetup(void)
{
	static const char *const places[] = { "/usr/sbin/dmsetup", "/sbin/dmsetup", "/usr/bin/dmsetup", "/bin/dmsetup" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (!access(places[i], X_OK))
			return places[i];
	return NULL;
}

/* What dmsetup says about a mapping, where it may. */
static void add_dmsetup(FILE *out, const char *what, const char *quoted)
{
	const char *program = dmsetup();
	char command[2048], line[512];

	if (!program)
		return;
	snprintf(command, sizeof(command), "%s %s -- %s 2>/dev/null", program, what, quoted);
	FILE *in = popen(command, "re");

	while (in && fgets(line, sizeof(line), in)) {
		line[strcspn(line, "\n")] = '\0';
		fprintf(out, "dmsetup %s: %s\n", what, line);
	}
	if (in)
		pclose(in);
}

static void add_mapping(FILE *out, const char *path)
{
	char name[256];
	char *quoted = mapping_of(path, name, sizeof(name)) ? shell_quoted(name) : NULL;

	if (quoted) {
		add_dmsetup(out, "table", quoted);
		add_dmsetup(out, "status", quoted);
	}
	free(quoted);
}

/* Nothing that names the host or its disks: models, but no serial numbers. The table of a mapping tells how large BACKING is. */
static char *facts_of(const struct wb_cache *cache, const char *path, bool obfuscate)
{
	struct identity identity;
	struct utsname system;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	identify(path, &identity);
	fprintf(out, "made by: wb-dump %s\n", WB_VERSION);
	if (!uname(&system))
		fprintf(out, "system: %s %s %s\n", system.sysname, system.release, system.machine);
	fprintf(out, "cache: %s, %" PRIu64 " bytes, sectors of %u bytes, physical %u%s%s\n",
		identity.is_block ? "block device" : "image", wb_dev_size(cache->dev), wb_dev_block(cache->dev),
		identity.physical, identity.model ? ", " : "", identity.model ? identity.model : "");
	if (cache->geometry.format)
		fprintf(out, "generation: %s, from %u written slots\n", words_generation(cache), cache->sampled);
	if (cache->tie)
		fprintf(out, "tie: as much speaks for %s\n", cache->tie->name);
	identity_release(&identity);
	if (!obfuscate)
		add_mapping(out, path);
	if (fclose(out) == 0 && size <= WB_PACK_FACTS)
		return text;
	free(text);
	return NULL;
}

const char *pack_words(const struct wb_dev *dev)
{
	const struct wb_pack_info *info = wb_dev_pack_info(dev);
	static char words[160];
	time_t time = info ? (time_t)info->time : 0;
	struct tm tm;
	char date[32] = "at an unknown time";

	if (!info)
		return "";
	if (gmtime_r(&time, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", &tm);
	snprintf(words, sizeof(words), ", a pack made %s%s%s%s", date, info->obfuscated ? ", sectors obfuscated" : "",
		 info->metadata_only ? ", no checksum was computed" : "",
		 info->busy ? ", the cache was in use" : "");
	return words;
}

void pack_say_facts(const struct common *common, const struct wb_dev *dev)
{
	const struct wb_pack_info *info = wb_dev_pack_info(dev);
	char *copy = info ? strdup(info->facts) : NULL, *rest = copy;

	for (char *line; (line = strsep(&rest, "\n"));)
		if (*line)
			common_say(common, "packed       %s", line);
	free(copy);
}

/* ---- making packs and images ---- */

static int give_up(const struct common *common, struct output *output, const struct wb_error *err)
{
	output_abandon(output);
	return common_failed(common, output->path, err, NULL);
}

static void report_pack(const struct wb_cache *cache, const struct pack_options *options,
			const struct wb_pack_result *result)
{
	struct json_object *summary = report_summary();
	const struct wb_format *format = cache->geometry.format;

	report_text(summary, "pack", options->pack);
	report_u64(summary, "pack_bytes", result->bytes);
	report_text(summary, "generation", format ? format->name : NULL);
	report_u64(summary, "order", cache->geometry.order);
	report_u64(summary, "slots", cache->geometry.slots);
	report_u64(summary, "segments", result->segments);
	report_u64(summary, "unreadable_sectors", result->unreadable_sectors);
	report_u64(summary, "padding_bytes", result->padding_bytes);
	report_u64(summary, "others", result->others);
	report_bool(summary, "obfuscated", options->obfuscate);
	report_bool(summary, "metadata_only", options->metadata_only);
	report_bool(summary, "busy", wb_dev_busy(cache->dev));
}

static void say_pack(const struct common *common, const struct wb_cache *cache, const struct pack_options *options,
		     const struct wb_pack_result *result)
{
	common_say(common, "pack         %s, %s: the metadata of %s, and no contents of any block",
		   options->pack, human_size(result->bytes), count_of(result->segments, "segment"));
	if (result->others)
		common_say(common, "left out     %s: not blank, and no segment; the pack says that, and holds no byte of %s",
			   count_of(result->others, "slot"), result->others == 1 ? "it" : "them");
	if (options->obfuscate)
		common_say(common, "sectors      renumbered; order, neighbours and alignment kept, no size of BACKING");
	else
		common_say(common, "sectors      as they are on the cache (--obfuscate renumbers them)");
	if (options->metadata_only)
		common_say(common, "checksums    none was computed");
	if (result->unreadable_sectors)
		common_say(common, "unreadable   %s", count_of(result->unreadable_sectors, "sector"));
	if (cache->geometry.format)
		next_step(common, "wb-check", OPTIONS_OF_THE_LOG, options->metadata_only ? "--metadata-only" : NULL,
			  (const char *const[]){ options->pack, NULL }, "says about the pack what it says about the cache");
}

int pack_write(const struct common *common, const struct pack_options *options, struct wb_cache *cache,
	       const struct wb_dev *backing, const char *path)
{
	uint8_t key[16];
	struct wb_pack_options pack = { .metadata_only = options->metadata_only, .time = (uint64_t)time(NULL),
				       .jobs = (unsigned)common->jobs,
				       .backing_bytes = backing ? wb_dev_size(backing) : 0 };
	struct wb_pack_result result;
	struct output output = { .fd = -1 };
	struct wb_error err;
	uint64_t unused = 0;

	if (wb_dev_pack_info(cache->dev))
		return common_refuse(common, path, "this is a pack already");
	if (options->obfuscate && getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
		return common_refuse(common, path, "no random key can be had: %s", strerror(errno));
	pack.key = options->obfuscate ? key : NULL;
	hook_repeatable(&unused, &pack.time);
	int status = output_create(common, &output, options->pack);

	if (status)
		return status;
	char *facts = facts_of(cache, path, options->obfuscate);

	pack.facts = facts;
	int ret = wb_pack_write(cache, output.fd, &pack, &result, &common->progress, &err);

	free(facts);
	if (ret)
		return give_up(common, &output, &err);
	status = output_complete(common, &output);
	if (status)
		return status;
	report_pack(cache, options, &result);
	say_pack(common, cache, options, &result);
	return 0;
}

/* At most; a pack of some hundred bytes can make an image that fills any disk. */
static int check_room(const struct common *common, struct output *output, const struct wb_pack_info *info)
{
	struct statvfs fs;

	if (fstatvfs(output->fd, &fs) || !fs.f_frsize)
		return 0;
	uint64_t unit = fs.f_frsize > 4096 ? fs.f_frsize : 4096, units = fs.f_bavail / (unit / fs.f_frsize);

	if (info->image_blocks <= units)
		return 0;
	output_abandon(output);
	return common_refuse(common, output->path, "the image takes up to %s, and %s are free here: make room, or name a file elsewhere",
			     human_size(info->image_blocks * unit), human_size(units * unit));
}

/* Its digest is of the headers that there are now, unless the log was written to after its end. */
static int renew_digest(const struct common *common, struct wb_dev *dev, int fd, struct wb_error *err)
{
	const struct wb_overrides how = { .any_super = true, .address = WB_ADDRESS_LINEAR, .memory = common->overrides.memory };
	const struct wb_ring_options options = { .metadata_only = true };
	uint8_t sector[WB_SECTOR];
	struct wb_cache cache;
	struct wb_ring ring;
	bool written;
	int ret = wb_cache_written_after_end(dev, &how, &written, &common->progress, err);

	if (ret || written || wb_cache_open(&cache, dev, &how, err) || cache.super != WB_SUPER_ENDED || !cache.marker.digest)
		return ret;
	ret = wb_ring_load(&ring, &cache, &options, &common->progress, err);
	cache.marker.digest = ring.digest;
	wb_ring_release(&ring);
	wb_marker_encode(sector, &cache.marker);
	if (!ret && pwrite(fd, sector, sizeof(sector), 0) != (ssize_t)sizeof(sector)) {
		*err = (struct wb_error){ .code = WB_EIO, .sys = errno, .offset = 0 };
		snprintf(err->text, sizeof(err->text), "writing the image: %s", strerror(errno));
		ret = -WB_EIO;
	}
	return ret;
}

int pack_unpack(const struct common *common, const struct pack_options *options, struct wb_dev *dev, const char *path)
{
	const struct wb_pack_info *info = wb_dev_pack_info(dev);
	struct output output = { .fd = -1 };
	struct wb_error err;
	uint64_t lost;

	if (!info)
		return common_refuse(common, path, "this is no pack; only what --pack made can be unpacked");
	int status = output_create(common, &output, options->unpack);

	if (!status)
		status = check_room(common, &output, info);
	if (status)
		return status;
	if (wb_pack_unpack(dev, output.fd, &lost, &common->progress, &err) || renew_digest(common, dev, output.fd, &err))
		return give_up(common, &output, &err);
	status = output_complete(common, &output);
	if (status)
		return status;
	report_text(report_summary(), "image", options->unpack);
	report_u64(report_summary(), "bytes", wb_dev_size(dev));
	report_u64(report_summary(), "unreadable_sectors", lost);
	common_say(common, "image        %s, %s: its blocks hold nothing but what makes their checksums come out",
		   options->unpack, human_size(wb_dev_size(dev)));
	if (info->metadata_only)
		common_warn(common, "%s: no checksum was computed for this pack; in the image all of them hold", path);
	if (lost)
		common_warn(common, "%s: %s could not be read on the cache; the image has zeroes there", path,
			    count_of(lost, "sector"));
	return 0;
}
