/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd/memory.c: limits of memory cgroups, in trees that look like /proc and /sys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "../../cmd/memory.h"

#define MIB (1ull << 20)
#if defined(__has_feature)
#define SANITIZED __has_feature(address_sanitizer)
#else
#define SANITIZED 0
#endif

static char root[64];

static void write_file(const char *path, const char *text)
{
	char name[512];

	snprintf(name, sizeof(name), "%s%s", root, path);
	for (char *p = name + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
		*p = '\0';
		mkdir(name, 0700);
	}
	FILE *to = fopen(name, "w");

	assert_non_null(to);
	assert_true(fputs(text, to) >= 0);
	fclose(to);
}

#define V2 "25 1 0:22 / /cg rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1 "31 25 0:26 / /cg/memory rw - cgroup cgroup rw,memory\n"

/* A limit of "-" is no file. */
static const struct {
	const char *name, *mountinfo, *cgroup;
	const char *files[3][2];
	uint64_t limit;
} rows[] = {
	{ "no cgroups", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "", { { 0 } }, UINT64_MAX },
	{ "v2", V2, "0::/a/b\n", { { "/cg/a/b/memory.max", "100663296\n" }, { "/cg/a/memory.max", "max\n" } }, 96 * MIB },
	{ "v2, the parent has less", V2, "0::/a/b\n",
	  { { "/cg/a/b/memory.max", "max\n" }, { "/cg/a/memory.max", "67108864\n" } }, 64 * MIB },
	{ "v2 without a limit", V2, "0::/a\n", { { "/cg/a/memory.max", "max\n" } }, UINT64_MAX },
	{ "v2 in a container of its own namespace", V2, "0::/\n", { { "/cg/memory.max", "33554432\n" } }, 32 * MIB },
	{ "v1", V1, "4:cpu,cpuacct:/c\n7:memory:/a\n0::/\n", { { "/cg/memory/a/memory.limit_in_bytes", "100663296\n" } }, 96 * MIB },
	{ "v1, where only a part of the tree is mounted", "31 25 0:26 /docker/x /cg/memory rw - cgroup cgroup rw,memory\n",
	  "7:memory:/docker/x\n", { { "/cg/memory/memory.limit_in_bytes", "50331648\n" } }, 48 * MIB },
	{ "both, as in a mixed system", V2 V1, "7:memory:/a\n0::/b\n",
	  { { "/cg/memory/a/memory.limit_in_bytes", "100663296\n" }, { "/cg/b/memory.max", "max\n" } }, 96 * MIB },
	{ "another controller", "31 25 0:26 / /cg/cpu rw - cgroup cgroup rw,cpu\n", "7:cpu:/a\n",
	  { { "/cg/cpu/a/memory.limit_in_bytes", "1\n" } }, UINT64_MAX },
	{ "nonsense", "x - cgroup2\n - \n" V2, ":::\n0:\n0::\n", { { "/cg/memory.max", "words\n" } }, UINT64_MAX },
};

static void the_smallest_limit_of_a_cgroup_and_of_those_above_counts(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(root, sizeof(root), "/tmp/test_memory.XXXXXX");
		assert_non_null(mkdtemp(root));
		write_file("/proc/self/mountinfo", rows[i].mountinfo);
		write_file("/proc/self/cgroup", rows[i].cgroup);
		for (unsigned f = 0; f < 3 && rows[i].files[f][0]; f++)
			write_file(rows[i].files[f][0], rows[i].files[f][1]);
		uint64_t limit = memory_cgroup_limit(root);
		char command[96];

		snprintf(command, sizeof(command), "rm -r %s", root);
		assert_int_equal(system(command), 0);
		if (limit != rows[i].limit)
			fail_msg("%s: %llu", rows[i].name, (unsigned long long)limit);
	}
}

static void default_budget_stays_below_ulimit_v_and_is_never_below_8_mib(void **state)
{
	struct rlimit before, small = { 0 };

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
	if (SANITIZED) /* it has reserved terabytes */
		skip();
	small.rlim_max = before.rlim_max;
	small.rlim_cur = 400 * MIB;
	if (setrlimit(RLIMIT_AS, &small))
		skip();
	uint64_t memory = default_memory();

	small.rlim_cur = 1 * MIB;
	setrlimit(RLIMIT_AS, &small);
	uint64_t least = default_memory();

	setrlimit(RLIMIT_AS, &before);
	assert_in_range(memory, 8 * MIB, 100 * MIB);
	assert_int_equal(least, 8 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_smallest_limit_of_a_cgroup_and_of_those_above_counts),
		cmocka_unit_test(default_budget_stays_below_ulimit_v_and_is_never_below_8_mib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
