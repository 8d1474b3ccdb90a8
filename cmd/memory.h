/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How much memory a command may take. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* The smallest limit of the memory cgroups (v1 or v2) that we are in, UINT64_MAX without one. root: "", or a directory
 * with proc/self/ and the mount points in it. */
uint64_t memory_cgroup_limit(const char *root);

/* The budget for plans when --memory is not given: a quarter of RAM, of the cgroup's limit or of ulimit -v, whichever is
 * smallest; 1 GiB at most, 8 MiB at least. */
uint64_t default_memory(void);
/* Entries that fit in such a budget beside buffers and sums. */
size_t plan_capacity(uint64_t memory);
size_t sums_memory(uint64_t memory);

#endif
