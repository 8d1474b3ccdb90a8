/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who, when, with what, and the sums of what was found: see custody.h. */
#include <errno.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "custody.h"
#include "hooks.h"
#include "output.h"
#include "report.h"

#define BATCH 64u /* slots */

/* ---- the first line ---- */

static void emit_run(int argc, char **argv)
{
	struct json_object *record = report_record("run");
	struct json_object *arguments = json_object_new_array();
	char *here = getcwd(NULL, 0);
	struct utsname host;

	for (int i = 0; i < argc; i++)
		report_add_text(arguments, argv[i]);
	json_object_object_add(record, "arguments", arguments);
	report_text(record, "directory", here);
	report_int(record, "uid", getuid());
	report_u64(record, "time", (uint64_t)time(NULL));
	if (uname(&host) == 0) {
		report_text(record, "host", host.nodename);
		report_text(record, "kernel", host.release);
	}
	report_text(record, "zlib", zlibVersion());
	report_text(record, "json_c", json_c_version());
	report_emit(record);
	free(here);
}

int custody_begin(const struct common *common, const char *path, int argc, char **argv)
{
	FILE *log;
	int status = output_log(common, &log, path);

	if (!log)
		return status;
	report_also_to(log);
	emit_run(argc, argv);
	if (!report_sync())
		return status;
	status = common_refuse(common, path, "cannot be written: %s; nothing was changed", strerror(errno));
	if (hook_step())
		unlink(path);
	return status;
}

/* ---- sums ---- */

static void emit_sum(const char *of, const char *path, struct sha256_ctx *sum, uint64_t bytes, uint64_t unreadable)
{
	struct json_object *record = report_record("digest");
	uint8_t digest[SHA256_DIGEST_SIZE];
	char text[2 * SHA256_DIGEST_SIZE + 1];

	sha256_digest(sum, sizeof(digest), digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
	report_text(record, "of", of);
	report_text(record, "device", path);
	report_text(record, "sha256", text);
	report_u64(record, "bytes", bytes);
	report_u64(record, "unreadable_bytes", unreadable);
	report_emit(record);
}

/* n pieces of WB_BLOCK bytes, wherever they lie. Returns how many bytes could not be read. */
static uint64_t add_pieces(struct sha256_ctx *sum, struct wb_dev *dev, struct wb_io *io, unsigned n)
{
	uint64_t unreadable = 0;

	wb_dev_submit(dev, io, n, NULL);
	for (unsigned i = 0; i < n; i++) {
		if (io[i].result) {
			memset(io[i].buffer, 0, WB_BLOCK);
			unreadable += WB_BLOCK;
		}
		sha256_update(sum, WB_BLOCK, io[i].buffer);
	}
	return unreadable;
}

/* The i-th piece: of the first MiB, then the slots. */
static uint64_t piece_offset(const struct wb_geometry *geometry, uint64_t i)
{
	const uint64_t first = WB_FIRST_SLOT / WB_BLOCK;

	return i < first ? i * WB_BLOCK : wb_slot_offset(geometry, (uint32_t)(i - first));
}

int custody_metadata(const struct common *common, const struct wb_cache *cache, const char *path)
{
	uint64_t pieces = WB_FIRST_SLOT / WB_BLOCK + (uint64_t)cache->geometry.slots, unreadable = 0;
	struct wb_io io[BATCH];
	struct sha256_ctx sum;
	void *buffer;

	if (posix_memalign(&buffer, WB_BLOCK, (size_t)BATCH * WB_BLOCK))
		return common_refuse(common, path, "out of memory");
	sha256_init(&sum);
	for (uint64_t at = 0; at < pieces;) {
		unsigned n = 0;

		for (; n < BATCH && at < pieces; n++, at++)
			io[n] = (struct wb_io){ .buffer = (uint8_t *)buffer + (size_t)n * WB_BLOCK, .length = WB_BLOCK,
						.offset = piece_offset(&cache->geometry, at) };
		unreadable += add_pieces(&sum, cache->dev, io, n);
	}
	free(buffer);
	emit_sum("cache metadata", path, &sum, pieces * WB_BLOCK, unreadable);
	return 0;
}

int custody_file(const struct common *common, const char *what, const char *path, int fd)
{
	struct sha256_ctx sum;
	uint8_t bytes[65536];
	uint64_t total = 0;
	ssize_t n;

	sha256_init(&sum);
	while ((n = pread(fd, bytes, sizeof(bytes), (off_t)total)) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		sha256_update(&sum, (size_t)n, bytes);
		total += (uint64_t)n;
	}
	if (n < 0)
		return common_refuse(common, path, "cannot be read: %s", strerror(errno));
	emit_sum(what, path, &sum, total, 0);
	return 0;
}
