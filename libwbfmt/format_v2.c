/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* v2: dm-writeboost 2.0.0 to 2.2.18 (the order is always 10 and not stored). */
#include "format.h"

const struct wb_format wb_format_v2 = {
	.name = "v2",
	.drivers = "2.0.0 to 2.2.18",
	.order_min = 10,
	.order_max = 10,
	.order_default = 10,
	.seal = WB_SEAL_CRC,
	.caches_reads = true,
	.recovery = WB_RECOVERY_CLEANS | WB_RECOVERY_BUGS | WB_RECOVERY_BLOCKS,
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
