/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* v2: dm-writeboost 2.0.0 to 2.2.18 (the order is always 10 and not stored). */
#include "format.h"

#define COMPLEMENTS WB_RECOVERY_COMPLEMENTS
#define OVERREADS   (COMPLEMENTS | WB_RECOVERY_OVERREADS)
#define CLEANS      (OVERREADS | WB_RECOVERY_CLEANS)
#define ALIGNED     (CLEANS | WB_RECOVERY_ALIGNED)

static const struct wb_driver released[] = {
	{ "2.0.0", "2.0.1", WB_RECOVERY_DIES },
	{ "2.0.2", "2.0.5", WB_RECOVERY_DIES | COMPLEMENTS },
	{ "2.0.6", "2.1.1", WB_RECOVERY_DIES | OVERREADS },
	{ "2.1.2", "2.2.3", OVERREADS },
	{ "2.2.4", "2.2.4", CLEANS },
	{ "2.2.5", "2.2.7", ALIGNED },
	{ "2.2.8", "2.2.18", ALIGNED | WB_RECOVERY_BLOCKS },
	{ 0 },
};

const struct wb_format wb_format_v2 = {
	.name = "v2",
	.drivers = "2.0.0 to 2.2.18",
	.order_min = 10,
	.order_max = 10,
	.order_default = 10,
	.seal = WB_SEAL_CRC,
	.caches_reads = true,
	.released = released,
	.id = { 0, 8 },
	.checksum = { 8, 4 },
	.length = { 12, 1 },
	.metablocks = 512,
	.stride = 16,
	.mb_sector = { 0, 8 },
	.mb_dirty = { 8, 1 },
	.ram_slot = 32,
	.ram_block = 40 + 8,
};
