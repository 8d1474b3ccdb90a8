/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * foretell CACHE BACKING [GENERATION [VERSION]]: does to BACKING, in place, what the forecast says the driver would do to it:
 * the one of that version, or the newest of the generation. An empty GENERATION: by evidence.
 */
#include <stdio.h>

#include "wbfmt.h"

static unsigned version_number(const char *version)
{
	unsigned a = 0, b = 0, c = 0;

	return sscanf(version, "%u.%u.%u", &a, &b, &c) == 3 ? a << 16 | b << 8 | c : 0;
}

static bool speaks_for(const struct wb_forecast *forecast, const char *version)
{
	unsigned wanted = version_number(version);

	return forecast->first_driver && version_number(forecast->first_driver) <= wanted &&
	       wanted <= version_number(forecast->last_driver);
}

static int foretell(struct wb_dev *cache_dev, struct wb_dev *backing, const char *generation, const char *version,
		    struct wb_error *err)
{
	const struct wb_overrides overrides = { .format = generation && *generation ? wb_format_find(generation) : NULL,
						.any_super = true };
	struct wb_forecast forecast;
	struct wb_cache cache;
	int ret = wb_cache_open(&cache, cache_dev, &overrides, err);

	if (!ret)
		ret = wb_forecast(&forecast, &cache, backing, 8u << 20, NULL, err);
	while (!ret && version && !speaks_for(&forecast, version)) {
		ret = wb_forecast_other(&forecast, NULL, err);
		if (!ret) {
			fprintf(stderr, "foretell: no forecast for %s\n", version);
			ret = 1;
		} else if (ret > 0) {
			ret = 0;
		}
	}
	if (ret)
		return ret;
	ret = wb_forecast_replay(&forecast, backing, NULL, err);
	printf("%s\n", wb_outcome_name(forecast.outcome));
	wb_forecast_release(&forecast);
	return ret;
}

int main(int argc, char **argv)
{
	struct wb_error err = { 0 };
	struct wb_dev *cache = NULL, *backing = NULL;

	if (argc < 3) {
		fprintf(stderr, "usage: foretell CACHE BACKING [GENERATION [VERSION]]\n");
		return 2;
	}
	int ret = wb_dev_open(&cache, argv[1], WB_OPEN_READ, &err);

	if (!ret)
		ret = wb_dev_open(&backing, argv[2], WB_OPEN_WRITE, &err);
	if (!ret)
		ret = foretell(cache, backing, argc > 3 ? argv[3] : NULL, argc > 4 ? argv[4] : NULL, &err);
	if (ret)
		fprintf(stderr, "foretell: %s\n", err.text);
	wb_dev_close(backing);
	wb_dev_close(cache);
	return ret != 0;
}
