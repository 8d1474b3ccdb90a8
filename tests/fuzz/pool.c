/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keeps what the library makes for every piece of work: large buffers, or with the sanitizer's allocator most of a run
 * would go into pages that nobody looks at, and tables of sums. Linked with --wrap of the functions below.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "crc32c.h"

#define LARGE (1u << 16)
#define KEPT 64

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
/* What was freed is used again soon, or every run would touch new pages. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=2:thread_local_quarantine_size_kb=64:allocator_release_to_os_interval_ms=-1:max_free_fill_size=0";
}

int __real_posix_memalign(void **at, size_t alignment, size_t size);
int __wrap_posix_memalign(void **at, size_t alignment, size_t size);
void __real_free(void *at);
void __wrap_free(void *at);

static struct {
	void *at;
	size_t alignment, size;
	bool used;
} kept[KEPT];

static bool take(int i, void **at, size_t alignment, size_t size)
{
	if (kept[i].used || (kept[i].at && (kept[i].size != size || kept[i].alignment != alignment)))
		return false;
	if (!kept[i].at && __real_posix_memalign(&kept[i].at, alignment, size))
		return false;
	kept[i].alignment = alignment;
	kept[i].size = size;
	kept[i].used = true;
	*at = kept[i].at;
	return true;
}

int __wrap_posix_memalign(void **at, size_t alignment, size_t size)
{
	for (int i = 0; size >= LARGE && i < KEPT; i++)
		if (take(i, at, alignment, size))
			return 0;
	return __real_posix_memalign(at, alignment, size);
}

void *__wrap_malloc(size_t size)
{
	void *at;

	return size < LARGE ? __real_malloc(size) : __wrap_posix_memalign(&at, 64, size) ? NULL : at;
}

void __wrap_free(void *at)
{
	for (int i = 0; at && i < KEPT; i++)
		if (kept[i].at == at) {
			kept[i].used = false;
			return;
		}
	__real_free(at);
}

/* ---- tables ---- */

void __real_wb_crc_shift_init(struct wb_crc_shift *shift, uint64_t bytes);
void __wrap_wb_crc_shift_init(struct wb_crc_shift *shift, uint64_t bytes);
void __real_wb_bitfind_init(struct wb_bitfind *find);
void __wrap_wb_bitfind_init(struct wb_bitfind *find);

void __wrap_wb_crc_shift_init(struct wb_crc_shift *shift, uint64_t bytes)
{
	static struct wb_crc_shift made[4];
	static uint64_t of[4]; /* bytes; 0: none */
	unsigned i = 0;

	while (i < 4 && of[i] && of[i] != bytes)
		i++;
	if (i == 4 || !of[i])
		__real_wb_crc_shift_init(shift, bytes);
	if (i == 4)
		return;
	if (!of[i])
		made[i] = *shift;
	of[i] = bytes;
	*shift = made[i];
}

void __wrap_wb_bitfind_init(struct wb_bitfind *find)
{
	static struct wb_bitfind made;
	static bool ready;

	if (!ready)
		__real_wb_bitfind_init(&made);
	ready = true;
	*find = made;
}
