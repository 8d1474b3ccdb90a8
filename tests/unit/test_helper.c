/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/helper.c: a task is done once, and before its owner goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper.h"

static void count(void *context)
{
	++*(unsigned *)context;
}

static void every_task_is_done_once_when_it_has_been_waited_for(void **state)
{
	(void)state;
	for (unsigned threaded = 0; threaded < 2; threaded++) {
		struct wb_helper helper;
		unsigned done = 0;

		wb_helper_start(&helper, threaded);
		for (unsigned i = 0; i < 1000; i++) {
			wb_helper_give(&helper, count, &done);
			wb_helper_wait(&helper);
			assert_int_equal(done, i + 1);
		}
		wb_helper_stop(&helper);
		assert_int_equal(done, 1000);
	}
}

static void waiting_for_nothing_returns_at_once(void **state)
{
	(void)state;
	for (unsigned threaded = 0; threaded < 2; threaded++) {
		struct wb_helper helper;

		wb_helper_start(&helper, threaded);
		wb_helper_wait(&helper);
		wb_helper_stop(&helper);
	}
}

static void stopping_leaves_no_task_under_way(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		struct wb_helper helper;
		unsigned done = 0;

		wb_helper_start(&helper, true);
		wb_helper_give(&helper, count, &done);
		wb_helper_stop(&helper);
		assert_int_equal(done, helper.threaded);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_task_is_done_once_when_it_has_been_waited_for),
		cmocka_unit_test(waiting_for_nothing_returns_at_once),
		cmocka_unit_test(stopping_leaves_no_task_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
