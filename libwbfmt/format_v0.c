/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* v0: the patch of October 2013 (packed structs of 13 bytes; a lap counter instead of a checksum). */
#include "format.h"

static const struct wb_driver released[] = {
	{ "the patch of October 2013", "the patch of October 2013", WB_RECOVERY_UPWARD | WB_RECOVERY_ORDER },
	{ 0 },
};

const struct wb_format wb_format_v0 = {
	.name = "v0",
	.drivers = "the patch of October 2013",
	.order_min = 4,
	.order_max = 11,
	.order_default = 7,
	.order_stored = true,
	.seal = WB_SEAL_LAP,
	.length_min = 1,
	.caches_reads = false,
	.record_binds = true,
	.head_is_old = true,
	.released = released,
	.id = { 0, 8 },
	.length = { 8, 1 },
	.lap = { 9, 4 },
	.metablocks = 13,
	.stride = 13,
	.mb_sector = { 0, 8 },
	.mb_dirty = { 8, 1 },
	.mb_lap = { 9, 4 },
	.ram_slot = 112,
	.ram_block = 40 + 8,
	.order_argument = "",
};
