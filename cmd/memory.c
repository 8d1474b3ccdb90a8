/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much memory a command may take: see memory.h. */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hooks.h"
#include "memory.h"
#include "wbfmt.h"

#define MEMORY_MIN (8u << 20)
#define MEMORY_MAX (1u << 30)
#define BUFFERS (8u << 20) /* what sweep and replay hold beside their entries */

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- cgroups ---- */

static FILE *open_below(const char *root, const char *path)
{
	char name[PATH_MAX];

	return snprintf(name, sizeof(name), "%s%s", root, path) < PATH_MAX ? fopen(name, "re") : NULL;
}

/* A number in a file, UINT64_MAX without one: "max" in v2. */
static uint64_t number_in(const char *root, const char *directory, const char *leaf)
{
	char path[PATH_MAX];
	unsigned long long value;
	FILE *from = snprintf(path, sizeof(path), "%s/%s", directory, leaf) < PATH_MAX ? open_below(root, path) : NULL;
	bool good = from && fscanf(from, "%llu", &value) == 1;

	if (from)
		fclose(from);
	return good ? value : UINT64_MAX;
}

/* A word of a comma-separated list. */
static bool lists(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += length)
		if ((at == list || at[-1] == ',') && (at[length] == ',' || !at[length]))
			return true;
	return false;
}

/* Where the hierarchy of memory is mounted, and which cgroup of it is seen there. */
struct hierarchy {
	bool v2;
	char mount[PATH_MAX], top[PATH_MAX];
};

/* proc(5), mountinfo: ID PARENT MAJ:MIN ROOT MOUNT OPTIONS [TAG...] - TYPE SOURCE SUPER-OPTIONS */
static bool parse_mount(char *line, struct hierarchy *hierarchy)
{
	char *tail = strstr(line, " - "), type[64], options[1024];

	if (!tail || sscanf(tail, " - %63s %*s %1023s", type, options) != 2)
		return false;
	hierarchy->v2 = strcmp(type, "cgroup2") == 0;
	if (!hierarchy->v2 && (strcmp(type, "cgroup") != 0 || !lists(options, "memory")))
		return false;
	return sscanf(line, "%*s %*s %*s %4095s %4095s", hierarchy->top, hierarchy->mount) == 2;
}

/* cgroups(7): ID:CONTROLLERS:PATH, in v2 0::PATH */
static bool own_group(const char *root, bool v2, char path[PATH_MAX])
{
	FILE *from = open_below(root, "/proc/self/cgroup");
	char line[PATH_MAX + 256];
	bool found = false;

	while (from && !found && fgets(line, sizeof(line), from)) {
		char *rest = line, *id = strsep(&rest, ":"), *controllers = strsep(&rest, ":\n");

		line[strcspn(line, "\n")] = '\0';
		found = rest && (v2 ? strcmp(id, "0") == 0 && !*controllers : lists(controllers, "memory"));
		if (found)
			snprintf(path, PATH_MAX, "%.*s", (int)strcspn(rest, "\n"), rest);
	}
	if (from)
		fclose(from);
	return found;
}

/* The group's limit and those above it, as far as they are mounted. */
static uint64_t limit_along(const char *root, const struct hierarchy *hierarchy, const char *group)
{
	const char *leaf = hierarchy->v2 ? "memory.max" : "memory.limit_in_bytes";
	size_t top = strcmp(hierarchy->top, "/") == 0 ? 0 : strlen(hierarchy->top);
	char path[2 * PATH_MAX];
	uint64_t limit = UINT64_MAX;

	if (top && strncmp(group, hierarchy->top, top) != 0)
		top = strlen(group); /* of a container: its own group is the mount point */
	snprintf(path, sizeof(path), "%s%s", hierarchy->mount, group + top);
	while (strlen(path) >= strlen(hierarchy->mount)) {
		limit = smaller(limit, number_in(root, path, leaf));
		*strrchr(path, '/') = '\0';
		if (!*path)
			break;
	}
	return limit;
}

uint64_t memory_cgroup_limit(const char *root)
{
	FILE *from = open_below(root, "/proc/self/mountinfo");
	char line[3 * PATH_MAX], group[PATH_MAX];
	struct hierarchy hierarchy;
	uint64_t limit = UINT64_MAX;

	while (from && fgets(line, sizeof(line), from))
		if (parse_mount(line, &hierarchy) && own_group(root, hierarchy.v2, group))
			limit = smaller(limit, limit_along(root, &hierarchy, group));
	if (from)
		fclose(from);
	return limit;
}

/* ---- the budget ---- */

static uint64_t resource_limits(void)
{
	struct rlimit space = { RLIM_INFINITY, 0 }, data = space;

	getrlimit(RLIMIT_AS, &space);
	getrlimit(RLIMIT_DATA, &data);
	return smaller(space.rlim_cur == RLIM_INFINITY ? UINT64_MAX : space.rlim_cur,
		       data.rlim_cur == RLIM_INFINITY ? UINT64_MAX : data.rlim_cur);
}

uint64_t default_memory(void)
{
	uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	all = smaller(all ? all : UINT64_MAX, memory_cgroup_limit(""));
	all = smaller(all, resource_limits());
	all = smaller(all / 4, MEMORY_MAX);
	return all < MEMORY_MIN ? MEMORY_MIN : all;
}

size_t plan_capacity(uint64_t memory)
{
	uint64_t left = memory - sums_memory(memory);

	return hook_capacity((size_t)((left > BUFFERS + (1u << 20) ? left - BUFFERS : 1u << 20) /
				      (2 * sizeof(struct wb_entry))));
}

size_t sums_memory(uint64_t memory)
{
	return (size_t)(memory / 4);
}
