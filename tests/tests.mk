# SPDX-License-Identifier: GPL-2.0-or-later
# How the tests are built and run; included by the Makefile.

UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
comma := ,
CMOCKA := $(shell $(PKG_CONFIG) --libs cmocka 2>/dev/null)

$(BUILD)/tests/test_%: tests/unit/test_%.c $(wildcard tests/unit/*.h) $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -Ilibwbfmt -o $@ $< $(ALL_LDFLAGS) $(BUILD)/libwbfmt.a $(shell $(PKG_CONFIG) --libs $(LIB_PKGS)) $(CMOCKA)

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
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,--wrap=write,--wrap=pwrite64 -o $@ $^ $(shell $(PKG_CONFIG) --libs $(PKGS))

# tests of what the commands share
CMD_TESTS := $(addprefix $(BUILD)/tests/,test_guard test_memory test_common test_part)

$(CMD_TESTS): $(BUILD)/tests/%: tests/unit/%.c $(wildcard tests/unit/*.h) $(BUILD)/hooked/common.a $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -Icmd -Ilibwbfmt -o $@ $(filter %.c %.a,$^) $(ALL_LDFLAGS) $(shell $(PKG_CONFIG) --libs $(PKGS)) $(CMOCKA)

# what the library calls, in front of which test_failures puts its own
WRAPPED := malloc calloc realloc reallocarray posix_memalign strdup strndup free inflateInit_ deflateInit2_ compress2 uncompress \
	pthread_create io_uring_queue_init pread64 pwrite64 read write open64 fsync ftruncate64 fstat64 fcntl64 lseek64

$(BUILD)/tests/test_failures: tests/unit/test_failures.c tests/unit/cache_builder.h $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -Ilibwbfmt -o $@ $< $(ALL_LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(WRAPPED)) $(BUILD)/libwbfmt.a \
		$(shell $(PKG_CONFIG) --libs $(LIB_PKGS)) $(CMOCKA)

$(BUILD)/tests/test_dev_uring: tests/unit/test_dev_uring.c $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -Ilibwbfmt -o $@ $< $(ALL_LDFLAGS) -Wl,--wrap=io_uring_submit_and_wait $(BUILD)/libwbfmt.a \
		$(shell $(PKG_CONFIG) --libs $(LIB_PKGS)) $(CMOCKA)

# these share nothing with the library, so they are built without its headers and flags
SIM := $(BUILD)/tests/mkcache $(BUILD)/tests/killpoints

$(SIM): $(BUILD)/tests/%: tests/sim/%.c tests/sim/layout.h
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 $(WARNINGS) $(WERROR) -O2 -o $@ $<

$(BUILD)/tests/manyslots: tests/sim/manyslots.c $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -Ilibwbfmt -o $@ $< $(ALL_LDFLAGS) $(BUILD)/libwbfmt.a $(shell $(PKG_CONFIG) --libs $(LIB_PKGS))

$(BUILD)/tests/foretell $(BUILD)/tests/decide: $(BUILD)/tests/%: tests/sim/%.c tests/sim/layout.h tests/sim/sha256.h $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -o $@ $< $(ALL_LDFLAGS) $(BUILD)/libwbfmt.a $(shell $(PKG_CONFIG) --libs $(LIB_PKGS))

# Tables: the commands, mkcache, foretell and decide in one program, each with a name instead of main.
TABLES := $(patsubst tests/table/%.c,$(BUILD)/tests/%,$(wildcard tests/table/table_*.c))
TABLE_MAINS := $(patsubst %,$(BUILD)/tests/table/%.o,$(COMMANDS) mkcache foretell decide)
main_of = -Dmain=main_of_$(subst -,_,$(1)) -Wno-missing-prototypes

$(BUILD)/tests/table/wb-%.o: cmd/wb-%.c
	@mkdir -p $(@D)
	$(Q)$(COMPILE) $(call main_of,wb-$*) -c -o $@ $<

$(BUILD)/tests/table/mkcache.o: tests/sim/mkcache.c tests/sim/layout.h
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 $(WARNINGS) $(WERROR) -O2 $(call main_of,mkcache) -c -o $@ $<

$(BUILD)/tests/table/foretell.o $(BUILD)/tests/table/decide.o: $(BUILD)/tests/table/%.o: tests/sim/%.c tests/sim/layout.h tests/sim/sha256.h
	@mkdir -p $(@D)
	$(Q)$(COMPILE) $(call main_of,$*) -c -o $@ $<

$(BUILD)/tests/table/table.o: tests/table/table.c tests/table/table.h
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -c -o $@ $<

$(TABLES): $(BUILD)/tests/%: tests/table/%.c tests/table/table.h $(BUILD)/tests/table/table.o $(TABLE_MAINS) \
		$(BUILD)/cmd/common.a $(BUILD)/libwbfmt.a
	$(Q)$(COMPILE) -o $@ $(filter %.c %.o %.a,$^) $(ALL_LDFLAGS) -Wl,--wrap=pread64 $(shell $(PKG_CONFIG) --libs $(PKGS)) $(CMOCKA)

# those of the library and its decisions
core-tests: all $(UNIT_TESTS) $(BUILD)/tests/table_golden $(BUILD)/tests/table_fixtures
tests: core-tests $(HOOKED) $(SIM) $(BUILD)/tests/decide $(BUILD)/tests/foretell $(BUILD)/tests/manyslots $(BUILD)/tests/simulate $(TABLES)
.PHONY: tests core-tests count

# A kind of tests is unit, fuzz, killpoints, simulate, a table or a bats file, each run on its own; those that take longest
# begin, so that processors end together.
JOBS ?= $(shell nproc)
LONGEST := unit simulate dump resume golden flush undo findings repair check format fixtures killpoints
FILES := $(sort $(patsubst tests/table/table_%.c,%,$(wildcard tests/table/table_*.c)) \
	$(patsubst tests/cli/%.bats,%,$(wildcard tests/cli/*.bats)))
KINDS := $(LONGEST) $(filter-out $(LONGEST) damage packs,fuzz $(FILES))
# nothing there is for sanitizers to find
DRY := killpoints udev docs guide completions install demo

# $(call suite,LABEL,BUILD,KIND...): runs them and keeps the counts
suite = @tests/run $(1) $(2) $(3)

ASAN := BUILD=build/asan CC=clang CFLAGS='-O1 -g -fno-omit-frame-pointer' \
	SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined'
PARALLEL = $(MAKE) -j2 --no-print-directory
# every kind on its own
EACH = $(MAKE) -j$(JOBS) -k --no-print-directory

check:
	@rm -f build/check-*.counts
	$(MAKE) -j$(JOBS) WERROR=-Werror tests
	@$(EACH) $(KINDS:%=check-plain-%); status=$$?; $(if $(OWNER),chown -R -h $(OWNER) build;) \
		tests/count build/check-*.counts && exit $$status

$(KINDS:%=check-plain-%): check-plain-%:
	$(call suite,$*,build,$*)

# What takes longer than `check` may: the same, and packs, under the sanitizers of clang, random damage there, every kill
# point, and a build without ISA-L and io_uring.
check-rest: check-sanitized check-damaged check-portable check-killed check-steps

asan:
	$(MAKE) -j$(JOBS) WERROR=-Werror $(ASAN) tests

SANITIZED := $(filter-out $(DRY),$(KINDS) packs)
check-sanitized: asan
	@$(EACH) $(SANITIZED:%=check-sanitized-%)

$(SANITIZED:%=check-sanitized-%): check-sanitized-%:
	$(call suite,sanitized-$*,build/asan,$*)

check-damaged: asan
	$(call suite,damaged,build/asan,damage)

check-portable: export WB_IO := threads
check-portable:
	$(MAKE) -j$(JOBS) WERROR=-Werror BUILD=build/portable NO_ISAL=1 core-tests
	$(call suite,portable,build/portable,unit golden fixtures)

check-killed: tests
	$(call suite,killed,build,killpoints-all)

# Instructions per slot, from 16 k slots to a million.
check-steps: export WB_SLOTS := 1048576
check-steps: tests
	$(call suite,million,build,steps)

# Every write and flush of every command that writes, as a table.
kill-points:
	$(MAKE) -j2 WERROR=-Werror tests
	$(BUILD)/tests/killpoints $(BUILD)/tests tests
.PHONY: kill-points

# All there is. Each suite leaves its counts in build/check-*.counts, and what it proves in numbers in build/proof/.
check-all: check check-more

check-more:
	@tests/budget 0

deps-all: deps-kernel deps-package deps-machines deps-lint
.PHONY: check-all check-more deps-all

.PHONY: check-rest asan check-sanitized check-damaged check-portable check-killed check-steps \
	$(KINDS:%=check-plain-%) $(SANITIZED:%=check-sanitized-%)

demo: all
	demo/demo.sh $(BUILD)

# counts the time that zlib takes
$(BUILD)/tests/synth: tests/bench/synth.c $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -Ilibwbfmt -o $@ $< $(ALL_LDFLAGS) -Wl,--wrap=deflate $(BUILD)/libwbfmt.a \
		$(shell $(PKG_CONFIG) --libs $(LIB_PKGS))

$(BUILD)/tests/bench/plan: tests/bench/plan.c $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -o $@ $(filter %.c %.a,$^) $(ALL_LDFLAGS) $(shell $(PKG_CONFIG) --libs $(LIB_PKGS))

bench: all $(BUILD)/tests/bench/plan $(BUILD)/tests/synth
	tests/bench/bench $(BUILD) $(ROWS)
