/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What /sys, /proc and the start of a disk tell of devices: whatever it is, what is said of them is fit for a terminal and the
 * same each time. An input is the contents of FILES below, with a byte 0xff behind each.
 */
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"
#include "fuzz.h"
#include "guard.h"
#include "place.h"
#include "report.h"

static const char *const FILES[] = { "proc/self/mountinfo", "proc/swaps", "sys/devices/sda/device/model",
	"sys/devices/sda/device/serial", "sys/devices/sda/device/vpd_pg80", "sys/devices/sda/size",
	"sys/devices/sda/holders/dm-0/dm/name", "sys/devices/sda/holders/dm-0/dev", "sys/devices/sda/sda1/partition",
	"sys/devices/sda/sda1/start", "sys/devices/sda/sda1/size", "sys/devices/loop0/loop/backing_file",
	"sys/devices/loop0/loop/offset", "image" };

#define FILE_COUNT (sizeof(FILES) / sizeof(FILES[0]))

static char top[] = "/tmp/fuzz_guard.XXXXXX";

/* ---- the tree ---- */

static const char *at(const char *name)
{
	static char paths[8][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, PATH_MAX, "%s/%s", top, name);
	return path;
}

static void put(const char *name, const void *bytes, size_t size)
{
	char parent[PATH_MAX];
	const char *path = at(name);

	for (const char *p = path + strlen(top) + 1; (p = strchr(p, '/')); p++) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(p - path), path);
		mkdir(parent, 0700);
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	HOLDS(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && !close(fd));
}

static int take_away(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_tree(void)
{
	nftw(top, take_away, 8, FTW_DEPTH | FTW_PHYS);
}

static void make_tree(void)
{
	static const char *const fixed[][2] = {
		{ "dev/sda", "8:0\n" }, { "dev/sda1", "8:1\n" }, { "dev/loop0", "7:0\n" }, { "dev/dm-0", "253:0\n" },
		{ "dev/disk/by-id/wwn-1", "8:0\n" }, { "dev/disk/by-id/ata-\033[2J", "8:0\n" }, { "sys/devices/sda/dev", "8:0\n" },
		{ "sys/devices/sda/sda1/dev", "8:1\n" }, { "sys/devices/loop0/dev", "7:0\n" }, { "sys/devices/dm-0/dev", "253:0\n" },
		{ "sys/dev/block/readme", "" }, { "sys/block/readme", "" },
	};
	static const char *const links[][2] = {
		{ "sys/dev/block/8:0", "../../devices/sda" }, { "sys/dev/block/8:1", "../../devices/sda/sda1" },
		{ "sys/dev/block/7:0", "../../devices/loop0" }, { "sys/dev/block/253:0", "../../devices/dm-0" },
		{ "sys/block/loop0", "../devices/loop0" }, { "sys/block/sda", "../devices/sda" },
	};

	HOLDS(mkdtemp(top) && !atexit(remove_tree));
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		put(fixed[i][0], fixed[i][1], strlen(fixed[i][1]));
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		HOLDS(!symlink(links[i][1], at(links[i][0])));
	for (size_t i = 0; i < FILE_COUNT; i++)
		put(FILES[i], "", 0);
	HOLDS(!setenv("WB_TEST_SYS", at("sys"), 1) && !setenv("WB_TEST_PROC", at("proc"), 1) && !setenv("WB_TEST_DEV", at("dev"), 1));
}

/* Writes those that are not as the last input had them. */
static void fill_tree(const uint8_t *data, size_t size)
{
	static uint8_t had[FILE_COUNT][WB_BLOCK];
	static size_t lengths[FILE_COUNT];

	for (size_t i = 0; i < FILE_COUNT; i++) {
		const uint8_t *end = size ? memchr(data, 0xff, size) : NULL;
		size_t length = end ? (size_t)(end - data) : size, some = wb_min(length, WB_BLOCK);

		if (some != lengths[i] || memcmp(had[i], data, some))
			put(FILES[i], data, some);
		if (some)
			memcpy(had[i], data, some);
		lengths[i] = some;
		data += length + (end != NULL);
		size -= length + (end != NULL);
	}
}

/* ---- what is said ---- */

/* As it is printed, a line behind those before. */
static void expect_printable_record(const struct identity *identity)
{
	static char *said;
	static size_t size;
	static FILE *to;

	if (!to) {
		HOLDS((to = open_memstream(&said, &size)));
		report_start("fuzz", false);
		report_also_to(to);
	}
	struct json_object *record = report_record("device");

	identity_report(record, identity);
	HOLDS(!fseek(to, 0, SEEK_SET));
	report_emit(record);
	HOLDS(!fflush(to) && size > 1 && said[size - 1] == '\n');
	said[size - 1] = '\0';
	HOLDS(is_printable(said));
}

static void expect_same_holder(const char *path)
{
	char text[1024], again[1024], small[24];
	bool held = holder_of(path, text, sizeof(text));

	HOLDS(is_printable(text) && strlen(text) < sizeof(text));
	HOLDS(holder_of(path, again, sizeof(again)) == held && !strcmp(text, again));
	HOLDS(holder_of(path, small, sizeof(small)) == held && strlen(small) < sizeof(small) && is_printable(small));
	mapping_of(path, text, sizeof(text));
}

static void expect_identity(const char *path)
{
	struct identity identity;
	char text[1024];

	identify(path, &identity);
	identity_line(&identity, path, text, sizeof(text));
	HOLDS(is_printable(text));
	identity_hardware(&identity, text, sizeof(text));
	HOLDS(is_printable(text));
	identity_line(&identity, path, text, 24);
	HOLDS(is_printable(text) && strlen(text) < 24);
	expect_printable_record(&identity);
	char *name = stable_name(&identity, path);

	HOLDS(name && *name);
	free(name);
	dangerous_signature(&identity);
	identity_release(&identity);
}

static void expect_overlap(const char *a, const char *b)
{
	char text[256], swapped[256];

	HOLDS(devices_overlap(a, b, text, sizeof(text)) == devices_overlap(b, a, swapped, sizeof(swapped)));
	HOLDS(is_printable(text) && is_printable(swapped) && !*text == !*swapped);
	HOLDS(devices_overlap(a, a, text, sizeof(text)) && *text);
	file_lives_on(a, b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const operands[] = { "dev/sda", "dev/sda1", "dev/loop0", "image" };
	const unsigned count = sizeof(operands) / sizeof(operands[0]);

	if (strchr(top, 'X'))
		make_tree();
	fill_tree(data, size);
	place_forget();
	unsigned one = size ? data[size - 1] % count : 0, other = size ? data[size - 1] / count % count : 0;

	expect_same_holder(at(operands[one]));
	expect_identity(at(operands[one]));
	expect_overlap(at(operands[one]), at(operands[other]));
	return 0;
}
