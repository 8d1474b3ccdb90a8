/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libwbfmt/error.c */
#include "cache_builder.h"
#include "error.h"

static void failure_fills_the_error_and_returns_its_negative_code(void **state)
{
	struct wb_error err = { 0 };

	(void)state;
	assert_int_equal(wb_fail(&err, WB_EBUSY, EAGAIN, 4096, "slot %u of %s", 7u, "x"), -WB_EBUSY);
	assert_int_equal(err.code, WB_EBUSY);
	assert_int_equal(err.sys, EAGAIN);
	assert_int_equal(err.offset, 4096);
	assert_string_equal(err.text, "slot 7 of x");
}

static void caller_may_not_care(void **state)
{
	(void)state;
	assert_int_equal(wb_fail(NULL, WB_EIO, 0, WB_NO_OFFSET, "x"), -WB_EIO);
	assert_int_equal(wb_no_memory(NULL, "x"), -WB_ENOMEM);
}

static void long_text_is_cut_and_ended(void **state)
{
	struct wb_error err;
	char text[600];

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	memset(&err, 0x55, sizeof(err));
	wb_fail(&err, WB_EIO, 0, 0, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void lack_of_memory_says_for_what(void **state)
{
	struct wb_error err;

	(void)state;
	assert_int_equal(wb_no_memory(&err, "the plan"), -WB_ENOMEM);
	assert_int_equal(err.code, WB_ENOMEM);
	assert_true(err.offset == WB_NO_OFFSET);
	assert_non_null(strstr(err.text, "the plan"));
}

static void error_is_of_the_device_that_failed_whatever_wraps_it(void **state)
{
	static uint8_t bytes[8192];
	const struct wb_range bad = { 4096, 512 };
	const struct wb_fault fault = { .bad = &bad, .bad_count = 1, .cut_after = UINT64_MAX };
	struct wb_dev *other, *dev;
	struct wb_error err;

	(void)state;
	assert_int_equal(wb_dev_memory(&other, bytes, sizeof(bytes), &err), 0);
	assert_int_equal(wb_dev_memory(&dev, bytes, sizeof(bytes), &err), 0);
	uint64_t number = wb_dev_number(dev);

	assert_true(number && number != wb_dev_number(other));
	assert_int_equal(wb_dev_fault(&dev, dev, &fault, &err), 0);
	assert_int_equal(wb_dev_overlay(&dev, dev, &err), 0);
	assert_int_equal(wb_dev_window(&dev, dev, 4096, 0, &err), 0);
	assert_true(wb_dev_number(dev) == number);
	assert_int_equal(wb_dev_read(dev, 0, bytes, 512, &err), -WB_EIO);
	assert_true(err.device == number);
	assert_int_equal(wb_fail(&err, WB_EINVAL, 0, 0, "x"), -WB_EINVAL);
	assert_int_equal(err.device, 0);
	assert_int_equal(wb_blame(dev, -WB_EIO, &err), -WB_EIO);
	assert_true(err.device == number);
	assert_int_equal(wb_blame(dev, -WB_EIO, NULL), -WB_EIO);
	wb_dev_close(dev);
	wb_dev_close(other);
}

struct watcher {
	unsigned reports, answers;
	uint64_t done, total;
	int stop;
};

static void note(void *context, const char *phase, uint64_t done, uint64_t total)
{
	struct watcher *watcher = context;

	assert_string_equal(phase, "testing");
	watcher->reports++;
	watcher->done = done;
	watcher->total = total;
}

static int answer(void *context)
{
	struct watcher *watcher = context;

	watcher->answers++;
	return watcher->stop;
}

static void poll_reports_and_asks(void **state)
{
	struct watcher watcher = { .stop = 0 };
	const struct wb_progress progress = { .context = &watcher, .report = note, .stop = answer };
	struct wb_error err = { 0 };

	(void)state;
	assert_int_equal(wb_poll(&progress, "testing", 3, 9, &err), 0);
	assert_int_equal(watcher.reports, 1);
	assert_int_equal(watcher.answers, 1);
	assert_int_equal(watcher.done, 3);
	assert_int_equal(watcher.total, 9);
	watcher.stop = -1; /* anything but zero */
	assert_int_equal(wb_poll(&progress, "testing", 4, 9, &err), -WB_ESTOPPED);
	assert_int_equal(err.code, WB_ESTOPPED);
}

static void every_callback_is_optional(void **state)
{
	struct watcher watcher = { .stop = 0 };
	const struct wb_progress silent = { .context = NULL };
	const struct wb_progress only_reports = { .context = &watcher, .report = note };
	const struct wb_progress only_asks = { .context = &watcher, .stop = answer };

	(void)state;
	assert_int_equal(wb_poll(NULL, "testing", 0, 0, NULL), 0);
	assert_int_equal(wb_poll(&silent, "testing", 0, 0, NULL), 0);
	assert_int_equal(wb_poll(&only_reports, "testing", 0, 0, NULL), 0);
	assert_int_equal(wb_poll(&only_asks, "testing", 0, 0, NULL), 0);
	assert_int_equal(watcher.reports, 1);
	assert_int_equal(watcher.answers, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failure_fills_the_error_and_returns_its_negative_code),
		cmocka_unit_test(caller_may_not_care),
		cmocka_unit_test(long_text_is_cut_and_ended),
		cmocka_unit_test(error_is_of_the_device_that_failed_whatever_wraps_it),
		cmocka_unit_test(lack_of_memory_says_for_what),
		cmocka_unit_test(poll_reports_and_asks),
		cmocka_unit_test(every_callback_is_optional),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
