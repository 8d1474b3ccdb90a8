# SPDX-License-Identifier: GPL-2.0-or-later
# How the tests are built and run; included by the Makefile.

UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
CMOCKA := $(shell pkg-config --libs cmocka 2>/dev/null)

$(BUILD)/tests/test_%: tests/unit/test_%.c $(wildcard tests/unit/*.h) $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(COMPILE) -Ilibwbfmt -o $@ $< $(ALL_LDFLAGS) $(BUILD)/libwbfmt.a $(shell pkg-config --libs $(LIB_PKGS)) $(CMOCKA)

# shares nothing with the library, so it is built without its headers
$(BUILD)/tests/mkcache: tests/sim/mkcache.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -D_GNU_SOURCE -o $@ $< $(ALL_LDFLAGS)
