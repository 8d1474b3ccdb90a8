# SPDX-License-Identifier: GPL-2.0-or-later
# Fuzzing with libFuzzer, two targets at a time; included by the Makefile.

# of each target
FUZZ_SECONDS ?= 60
FUZZ := build/fuzz
FUZZ_TARGETS := format ring plan pack packwrite undo state map guard

# Coverage is that of the library and of state.c: what drives them has no counters, nor has what builds tables of sums.
# Comparisons are watched in what reads files alone.
FUZZ_COMPARED := map ended undo dev_pack
FUZZ_COUNTERS := -fsanitize=fuzzer-no-link -fno-sanitize-coverage=trace-cmp
FUZZ_FLAGS := CC=clang WERROR=-Werror SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=undefined $$(FUZZ_COUNTERS)' \
	CFLAGS='-O2 -g -fno-omit-frame-pointer -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
FUZZ_LINK := -fsanitize=fuzzer -fno-sanitize-coverage=inline-8bit-counters,pc-table,indirect-calls,trace-cmp,stack-depth -Wl,--wrap=posix_memalign,--wrap=malloc,--wrap=free,--wrap=wb_crc_shift_init,--wrap=wb_bitfind_init

$(FUZZ_COMPARED:%=$(BUILD)/libwbfmt/%.o) $(BUILD)/cmd/state.o: private FUZZ_COUNTERS := -fsanitize=fuzzer-no-link
$(BUILD)/libwbfmt/crc32c.o $(BUILD)/fuzz_%: private FUZZ_COUNTERS :=

# what a target takes of a command
FUZZ_PARTS_state = $(BUILD)/cmd/state.o
FUZZ_PARTS_guard = $(BUILD)/hooked/common.a

$(BUILD)/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/pool.c $(wildcard tests/fuzz/*.h) $(BUILD)/cmd/state.o $(BUILD)/hooked/common.a $(BUILD)/libwbfmt.a
	$(Q)$(COMPILE) -MF $@.d -Ilibwbfmt -Icmd $(FUZZ_LINK) -o $@ $< tests/fuzz/pool.c $(FUZZ_PARTS_$*) $(BUILD)/libwbfmt.a \
		$(shell $(PKG_CONFIG) --libs $(PKGS))

fuzzers: $(FUZZ_TARGETS:%=$(BUILD)/fuzz_%)

# makes recipes of images
$(BUILD)/fuzz/recipe: tests/fuzz/recipe.c $(wildcard tests/fuzz/*.h) $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -MF $@.d -Ilibwbfmt -o $@ $< $(ALL_LDFLAGS) $(BUILD)/libwbfmt.a $(shell $(PKG_CONFIG) --libs $(LIB_PKGS))

# The ring once more with checksums that have to hold; what goes into a pack is decided by those alone.
FUZZ_JOBS := $(foreach target,$(filter-out packwrite,$(FUZZ_TARGETS)),$(FUZZ)/unchecked/fuzz_$(target)=$(target)) \
	$(FUZZ)/checked/fuzz_ring=ring-sealed $(FUZZ)/checked/fuzz_packwrite=packwrite

fuzz:
	$(MAKE) -j2 all $(BUILD)/tests/mkcache $(BUILD)/fuzz/recipe
	$(MAKE) -j2 $(FUZZ_FLAGS)' BUILD=$(FUZZ)/unchecked fuzzers
	$(MAKE) -j2 $(FUZZ_FLAGS) -DWB_FUZZ_CHECKSUMS' BUILD=$(FUZZ)/checked $(FUZZ)/checked/fuzz_ring $(FUZZ)/checked/fuzz_packwrite
	tests/fuzz/seeds $(BUILD) $(FUZZ)
	@tests/fuzz/run $(FUZZ) $(FUZZ_SECONDS) $(FUZZ_JOBS) > build/check-fuzzing.counts; status=$$?; cat build/check-fuzzing.counts; \
		exit $$status
.PHONY: fuzz fuzzers

# The targets without libFuzzer: what was found once is run again in `make check`.
RERUNS := $(FUZZ_TARGETS:%=$(BUILD)/tests/fuzz_%)

$(BUILD)/tests/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/rerun.c $(wildcard tests/fuzz/*.h) $(BUILD)/cmd/state.o $(BUILD)/hooked/common.a $(BUILD)/libwbfmt.a
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -MF $@.d -Ilibwbfmt -Icmd -o $@ $< tests/fuzz/rerun.c $(ALL_LDFLAGS) $(FUZZ_PARTS_$*) $(BUILD)/libwbfmt.a \
		$(shell $(PKG_CONFIG) --libs $(PKGS))

tests: $(RERUNS)
