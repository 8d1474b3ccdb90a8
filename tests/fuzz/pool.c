/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Keeps the large buffers that the library takes for every piece of work: with the sanitizer's allocator most of a run
 * would go into pages that nobody looks at. Linked with --wrap=posix_memalign, --wrap=malloc and --wrap=free.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

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
