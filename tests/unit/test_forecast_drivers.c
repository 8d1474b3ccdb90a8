/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which versions of the driver a forecast speaks for, and where they differ. */
#include "cache_builder.h"

#define BLOCKS 64u

struct drivers_case {
	struct build b;
	struct backing backing;
	struct wb_cache cache;
	struct wb_forecast forecast;
};

static void begin(struct drivers_case *c, const char *format, unsigned order, uint32_t slots)
{
	memset(c, 0, sizeof(*c));
	build_init(&c->b, format, order, slots);
	backing_init(&c->backing, BLOCKS * 8);
}

static void end(struct drivers_case *c)
{
	wb_forecast_release(&c->forecast);
	build_release(&c->b);
	backing_release(&c->backing);
}

/* "1.0.0-2.0.1 ok; 2.0.2-2.2.18 nothing": every forecast in the order they come, with "stuck" where drop_caches hangs. */
static void assert_drivers(struct drivers_case *c, const char *wanted)
{
	const struct wb_overrides overrides = { .format = c->b.geometry.format, .order = c->b.geometry.order };
	char text[512] = "";
	size_t used = 0;
	int more = 1;

	wb_dev_close(c->b.dev);
	assert_int_equal(wb_dev_memory(&c->b.dev, c->b.bytes, c->b.geometry.bytes, NULL), 0);
	assert_int_equal(wb_cache_open(&c->cache, c->b.dev, &overrides, NULL), 0);
	wb_forecast_release(&c->forecast);
	assert_int_equal(wb_forecast(&c->forecast, &c->cache, c->backing.dev, 1u << 20, NULL, NULL), 0);
	for (; more; more = wb_forecast_other(&c->forecast, NULL, NULL)) {
		assert_int_equal(more, 1);
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s-%s %s%s", used ? "; " : "",
					 c->forecast.first_driver, c->forecast.last_driver,
					 wb_outcome_name(c->forecast.outcome), c->forecast.drop_hangs ? " stuck" : "");
	}
	assert_string_equal(text, wanted);
}

/* The forecast for one version. */
static void foretell(struct drivers_case *c, const char *first_driver)
{
	const struct wb_overrides overrides = { .format = c->b.geometry.format, .order = c->b.geometry.order };

	wb_dev_close(c->b.dev);
	assert_int_equal(wb_dev_memory(&c->b.dev, c->b.bytes, c->b.geometry.bytes, NULL), 0);
	assert_int_equal(wb_cache_open(&c->cache, c->b.dev, &overrides, NULL), 0);
	wb_forecast_release(&c->forecast);
	assert_int_equal(wb_forecast(&c->forecast, &c->cache, c->backing.dev, 1u << 20, NULL, NULL), 0);
	while (strcmp(c->forecast.first_driver, first_driver))
		assert_int_equal(wb_forecast_other(&c->forecast, NULL, NULL), 1);
}

static void one_dialect_is_taken_by_its_drivers_alone(void **state)
{
	struct drivers_case c;

	(void)state;
	begin(&c, "v2", 10, 4);
	build_log(&c.b, 1, 3, 9);
	assert_drivers(&c, "2.0.2-2.2.18 ok; 2.0.0-2.0.1 nothing");
	c.b.inverted = false;
	build_log(&c.b, 1, 3, 9);
	assert_drivers(&c, "2.0.2-2.2.18 nothing; 2.0.0-2.0.1 ok");
	end(&c);
}

static void a_cache_of_v1_at_order_10_is_taken_over_by_2_0_and_given_up_by_later_ones(void **state)
{
	struct drivers_case c;

	(void)state;
	begin(&c, "v1", 10, 4);
	build_log(&c.b, 1, 3, 9);
	assert_drivers(&c, "1.0.0-2.0.1 ok; 2.0.2-2.2.18 nothing");
	foretell(&c, "2.0.2");
	assert_int_equal(c.forecast.dropped, 3);
	assert_int_equal(c.forecast.abandoned_sectors, 3 * 8);
	end(&c);
	begin(&c, "v1", 7, 4);
	build_log(&c.b, 1, 3, 9);
	assert_drivers(&c, "1.0.0-1.0.1 ok");
	end(&c);
}

static void a_log_without_segments_is_foretold_for_every_driver_that_could_have_made_it(void **state)
{
	struct drivers_case c;

	(void)state;
	begin(&c, "v0", 7, 4);
	assert_drivers(&c, "the patch of October 2013-the patch of October 2013 ok; 1.0.0-1.0.1 nothing");
	end(&c);
	begin(&c, "v2", 10, 4);
	assert_drivers(&c, "2.0.0-2.2.18 nothing");
	end(&c);
}

/* 1.0.0 to 2.2.3 only raise a counter. */
static void a_record_in_the_last_lap_kills_drivers_up_to_2_2_3(void **state)
{
	struct drivers_case c;

	(void)state;
	begin(&c, "v2", 10, 4);
	build_log(&c.b, 1, 7, 20);
	build_record(&c.b, 3); /* M - N: says nothing new */
	assert_drivers(&c, "2.2.4-2.2.18 ok; 2.0.2-2.2.3 ok; 2.0.0-2.0.1 nothing");
	build_record(&c.b, 4);
	assert_drivers(&c, "2.2.4-2.2.18 ok; 2.0.2-2.2.3 crash; 2.0.0-2.0.1 nothing");
	build_record(&c.b, 7);
	assert_drivers(&c, "2.2.4-2.2.18 ok; 2.0.2-2.2.3 crash; 2.0.0-2.0.1 nothing");
	foretell(&c, "2.0.2");
	assert_int_equal(c.forecast.cause, WB_CAUSE_DIRTY);
	assert_int_equal(c.forecast.slot, 3);
	end(&c);
}

static void below_a_record_drivers_up_to_2_2_3_write_nothing_and_drop_caches_hangs(void **state)
{
	struct drivers_case c;

	(void)state;
	begin(&c, "v2", 10, 8);
	build_log(&c.b, 1, 5, 20);
	build_record(&c.b, 3);
	assert_drivers(&c, "2.2.4-2.2.18 ok; 2.0.2-2.2.3 ok stuck; 2.0.0-2.0.1 nothing");
	foretell(&c, "2.0.2");
	assert_int_equal(c.forecast.written_sectors, 2 * 8);
	build_record(&c.b, 5); /* of M itself, all of it */
	assert_drivers(&c, "2.2.4-2.2.18 ok; 2.0.2-2.2.3 ok stuck; 2.0.0-2.0.1 nothing");
	foretell(&c, "2.0.2");
	assert_int_equal(c.forecast.written_sectors, 0);
	end(&c);
}

static void lengths_and_addresses_kill_only_drivers_that_trip_over_them(void **state)
{
	struct drivers_case c;
	struct wb_metablock odd = { .sector = 8 * 3 + 1, .dirty = 0xff };

	(void)state;
	begin(&c, "v2", 10, 4);
	build_log(&c.b, 1, 3, 9);
	*build_length_at(&c.b, 1) = 128;
	assert_drivers(&c, "2.0.6-2.2.18 crash; 2.0.2-2.0.5 ok; 2.0.0-2.0.1 nothing");
	end(&c);
	begin(&c, "v2", 10, 4);
	build_log(&c.b, 1, 3, 9);
	wb_metablock_encode(c.b.geometry.format, build_at(&c.b, 1), 0, &odd);
	build_seal(&c.b, 1);
	assert_drivers(&c, "2.2.5-2.2.18 crash; 2.0.2-2.2.4 ok; 2.0.0-2.0.1 nothing");
	end(&c);
}

/* A ring that was begun again below one of the other dialect is younger, in the first lap too. */
static void a_new_ring_below_one_of_another_dialect_is_newer(void **state)
{
	struct drivers_case c;

	(void)state;
	begin(&c, "v2", 10, 8);
	c.b.inverted = false;
	build_log(&c.b, 1, 6, 3); /* blocks 1 2 0 1 2 0 */
	c.b.inverted = true;
	build_segment(&c.b, 1, PUTS({ 2, 0xff, 101 }));
	build_segment(&c.b, 2, PUTS({ 0, 0xff, 102 }));
	backing_write(&c.backing, 2, 0xff, 5); /* what the old ring had written back */
	foretell(&c, "2.0.2");
	assert_int_equal(c.forecast.applied, 2);
	assert_int_equal(c.forecast.regressed_sectors, 0);
	assert_int_equal(c.forecast.abandoned_sectors, 8); /* block 1, of the old ring alone */
	backing_write(&c.backing, 2, 0xff, 101);
	foretell(&c, "2.0.0");
	assert_int_equal(c.forecast.applied, 0); /* it begins with id 1 of the other dialect */
	end(&c);
}

/* An unsealed segment speaks where BACKING holds what it says it wrote. */
static void writing_over_what_a_rotten_segment_has_written_back_is_a_regress(void **state)
{
	struct drivers_case c;

	(void)state;
	begin(&c, "v2", 10, 8);
	build_log(&c.b, 1, 3, 20);
	build_segment(&c.b, 4, PUTS({ 1, 0x0f, 0 }, { 2, 0xff, 0 }));
	build_at(&c.b, 3)[WB_BLOCK * 2 + 17] ^= 1; /* in the data of block 2 */
	foretell(&c, "2.0.2");
	assert_int_equal(c.forecast.regressed_sectors, 0);
	backing_write(&c.backing, 1, 0x0f, 4);
	foretell(&c, "2.0.2");
	assert_int_equal(c.forecast.applied, 3);
	assert_int_equal(c.forecast.regressed_sectors, 4);
	end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_dialect_is_taken_by_its_drivers_alone),
		cmocka_unit_test(a_cache_of_v1_at_order_10_is_taken_over_by_2_0_and_given_up_by_later_ones),
		cmocka_unit_test(a_log_without_segments_is_foretold_for_every_driver_that_could_have_made_it),
		cmocka_unit_test(a_record_in_the_last_lap_kills_drivers_up_to_2_2_3),
		cmocka_unit_test(below_a_record_drivers_up_to_2_2_3_write_nothing_and_drop_caches_hangs),
		cmocka_unit_test(lengths_and_addresses_kill_only_drivers_that_trip_over_them),
		cmocka_unit_test(a_new_ring_below_one_of_another_dialect_is_newer),
		cmocka_unit_test(writing_over_what_a_rotten_segment_has_written_back_is_a_regress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
