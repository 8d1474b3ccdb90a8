# SPDX-License-Identifier: GPL-2.0-or-later
# How the tests are built and run; included by the Makefile.

UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
CMOCKA := $(shell pkg-config --libs cmocka 2>/dev/null)

$(BUILD)/tests/test_%: tests/unit/test_%.c $(wildcard tests/unit/*.h) $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -Ilibwbfmt -o $@ $< $(ALL_LDFLAGS) $(BUILD)/libwbfmt.a $(shell pkg-config --libs $(LIB_PKGS)) $(CMOCKA)

# The commands as they are tested in places where installed ones do not go: fake /sys, /proc and /dev trees, and power cuts.
HOOKED := $(addprefix $(BUILD)/tests/,$(COMMANDS))

$(BUILD)/hooked/%.o: cmd/%.c
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -DWB_TEST_HOOKS -c -o $@ $<

$(BUILD)/hooked/common.a: $(CMD_OBJECTS:$(BUILD)/cmd/%=$(BUILD)/hooked/%)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(HOOKED): $(BUILD)/tests/wb-%: $(BUILD)/hooked/wb-%.o $(BUILD)/hooked/common.a $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(shell pkg-config --libs $(PKGS))

$(BUILD)/tests/test_guard: tests/unit/test_guard.c $(BUILD)/hooked/common.a $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -o $@ $(filter %.c %.a,$^) $(ALL_LDFLAGS) $(shell pkg-config --libs $(PKGS)) $(CMOCKA)

# shares nothing with the library, so it is built without its headers and flags
$(BUILD)/tests/mkcache: tests/sim/mkcache.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 $(WARNINGS) $(WERROR) -O2 -o $@ $<

tests: all $(HOOKED) $(UNIT_TESTS) $(BUILD)/tests/mkcache
.PHONY: tests count

# The same tests twice, side by side: as it is installed, and under the sanitizers of clang.
ASAN := BUILD=build/asan CC=clang CFLAGS='-O1 -g -fno-omit-frame-pointer' \
	SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined'

KINDS := unit battery golden fixtures flush undo resume media guard check rules repair dump format

check:
	rm -f build/*.counts
	$(MAKE) -j2 WERROR=-Werror tests
	$(MAKE) -j2 WERROR=-Werror $(ASAN) tests
	$(MAKE) -j2 --no-print-directory check-plain check-asan; status=$$?; tests/count build/check-*.counts && exit $$status

check-plain:
	@tests/run plain build $(KINDS) udev docs install demo > build/check-plain.counts; \
		status=$$?; cat build/check-plain.counts; exit $$status

check-asan:
	@tests/run sanitized build/asan $(KINDS) > build/check-asan.counts; status=$$?; cat build/check-asan.counts; exit $$status

# What takes longer than `check` may.
check-rest:
	$(MAKE) -j2 WERROR=-Werror $(ASAN) tests
	tests/run damaged build/asan damage > build/check-damaged.counts; \
		status=$$?; cat build/check-damaged.counts; exit $$status
	$(MAKE) -j2 WERROR=-Werror BUILD=build/portable NO_ISAL=1 tests
	WB_IO=threads tests/run portable build/portable unit golden fixtures > build/check-portable.counts; \
		status=$$?; cat build/check-portable.counts; exit $$status

check-all:
	$(MAKE) check
	$(MAKE) check-rest
	tests/count build/check-*.counts
.PHONY: check-plain check-asan check-rest

demo: all
	demo/demo.sh $(BUILD)

$(BUILD)/tests/bench/plan: tests/bench/plan.c $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -o $@ $(filter %.c %.a,$^) $(ALL_LDFLAGS) $(shell pkg-config --libs $(LIB_PKGS))

bench: all $(BUILD)/tests/bench/plan
	tests/bench/bench $(BUILD) $(ROWS)
