/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* v1: dm-writeboost 1.0.x (the order is stored, checksums are uncomplemented). */
#include "format.h"

static const struct wb_driver released[] = {
	{ "1.0.0", "1.0.1", WB_RECOVERY_DIES | WB_RECOVERY_ORDER },
	{ 0 },
};

const struct wb_format wb_format_v1 = {
	.name = "v1",
	.drivers = "1.0.0 and 1.0.1",
	.order_min = 4,
	.order_max = 10,
	.order_default = 10,
	.order_stored = true,
	.seal = WB_SEAL_CRC_RAW,
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
	.order_argument = "2 segment_size_order ",
};
