/* SPDX-License-Identifier: GPL-2.0-or-later */
/* foretell CACHE BACKING [GENERATION]: does to BACKING, in place, what the forecast says the driver would do to it. */
#include <stdio.h>

#include "wbfmt.h"

static int foretell(struct wb_dev *cache_dev, struct wb_dev *backing, const char *generation, struct wb_error *err)
{
	const struct wb_overrides overrides = { .format = generation ? wb_format_find(generation) : NULL,
						.any_super = true };
	struct wb_forecast forecast;
	struct wb_cache cache;
	int ret = wb_cache_open(&cache, cache_dev, &overrides, err);

	if (!ret)
		ret = wb_forecast(&forecast, &cache, backing, 8u << 20, NULL, err);
	if (ret)
		return ret;
	ret = wb_forecast_replay(&forecast, backing, NULL, err);
	wb_forecast_release(&forecast);
	return ret;
}

int main(int argc, char **argv)
{
	struct wb_error err = { 0 };
	struct wb_dev *cache = NULL, *backing = NULL;

	if (argc < 3) {
		fprintf(stderr, "usage: foretell CACHE BACKING [GENERATION]\n");
		return 2;
	}
	int ret = wb_dev_open(&cache, argv[1], WB_OPEN_READ, &err);

	if (!ret)
		ret = wb_dev_open(&backing, argv[2], WB_OPEN_WRITE, &err);
	if (!ret)
		ret = foretell(cache, backing, argc > 3 ? argv[3] : NULL, &err);
	if (ret)
		fprintf(stderr, "foretell: %s\n", err.text);
	wb_dev_close(backing);
	wb_dev_close(cache);
	return ret != 0;
}
