/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mapfiles of ddrescue: what is read makes sense, and written and read again it is the same. */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

static int fd = -1;
static char path[64];

static void put(const uint8_t *bytes, size_t size)
{
	if (fd < 0) {
		fd = memfd_create("map", 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	HOLDS(fd >= 0 && !ftruncate(fd, 0) && lseek(fd, 0, SEEK_SET) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size);
}

static void expect_sense(const struct wb_map *map)
{
	for (unsigned i = 0; i < map->count; i++) {
		HOLDS(map->bad[i].length && map->bad[i].length <= UINT64_MAX - map->bad[i].offset);
		HOLDS(!i || map->bad[i].offset > map->bad[i - 1].offset + map->bad[i - 1].length);
	}
}

/* Of the ranges, what lies within the device. */
static unsigned clip(struct wb_map *map, uint64_t size)
{
	unsigned kept = 0;

	while (kept < map->count && map->bad[kept].offset < size) {
		map->bad[kept].length = wb_min(map->bad[kept].length, size - map->bad[kept].offset);
		kept++;
	}
	return kept;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	uint64_t device = take(&input, 1) & 1 ? take(&input, 8) & INT64_MAX : take(&input, 2);
	struct wb_map map, again;

	put(input.at, input.left);
	if (wb_map_load(&map, path, device, NULL)) {
		HOLDS(!map.bad && !map.count);
		return 0;
	}
	expect_sense(&map);
	unsigned count = clip(&map, device);

	put(NULL, 0);
	HOLDS(!wb_map_write(fd, map.bad, count, device, NULL));
	HOLDS(!wb_map_load(&again, path, device, NULL));
	HOLDS(again.count == count && (!count || !memcmp(again.bad, map.bad, count * sizeof(*map.bad))));
	wb_map_release(&again);
	wb_map_release(&map);
	return 0;
}
