# SPDX-License-Identifier: GPL-2.0-or-later
# Other machines and other compilers; included by the Makefile.

MACHINES := $(CURDIR)/build/machines
MACHINES_DEPS := gcc-12-multilib libc6-dev-i386 gcc-s390x-linux-gnu libc6-dev-s390x-cross qemu-user gcovr

# The libraries of other architectures are unpacked into build/machines, not installed.
deps-machines:
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(DEPS) $(MACHINES_DEPS)
	tests/machines/unpack i386 $(MACHINES)/i386
	tests/machines/unpack s390x $(MACHINES)/s390x

# $(call foreign,ARCH,CC): the library and commands without a warning, and the tests; Debian has no ISA-L for either
foreign = export PKG_CONFIG_SYSROOT_DIR=$(MACHINES)/$(1) PKG_CONFIG_LIBDIR=$(MACHINES)/$(1)/usr/lib/$(1)-linux-gnu/pkgconfig; \
	make="$(MAKE) -j2 NO_ISAL=1 BUILD=build/machines/$(1)/build LDFLAGS=-Wl,-rpath,$(MACHINES)/$(1)/usr/lib/$(1)-linux-gnu:$(MACHINES)/$(1)/lib/$(1)-linux-gnu"; \
	$$make CC='$(2) -isystem $(MACHINES)/$(1)/usr/include' WERROR=-Werror && \
	$$make CC='$(2) -isystem $(MACHINES)/$(1)/usr/include' WARNINGS= core-tests

machine-i386:
	$(call foreign,i386,gcc-12 -m32 -idirafter /usr/include/x86_64-linux-gnu)
	$(call WITHOUT_FAILURES,build/machines/i386/build)

# How failures are told depends on no machine: gcc -O2 and the sanitizers have them.
WITHOUT_FAILURES = @rm -f $(1)/tests/test_failures

# What takes minutes there and does not depend on the order of bytes: hostile packs, wb-format's sector 0 at every cut,
# wb-undo at every cut, every failure.
SLOW_THERE := test_pack test_make test_restore test_failures

machine-s390x:
	$(call foreign,s390x,s390x-linux-gnu-gcc)
	rm -rf build/machines/s390x/run
	tests/machines/wrap $(MACHINES)/s390x/build $(MACHINES)/s390x/run qemu-s390x -L /usr/s390x-linux-gnu
	rm $(addprefix build/machines/s390x/run/tests/,$(SLOW_THERE))

machine-gcc-O0 machine-gcc-O3 machine-clang-O3: machine-%:
	$(MAKE) -j2 BUILD=build/$* CC=$(firstword $(subst -, ,$*)) CFLAGS=-$(lastword $(subst -, ,$*)) WERROR=-Werror core-tests
	$(call WITHOUT_FAILURES,build/$*)

run-i386:
	$(call suite,machines-i386,build/machines/i386/build,unit golden)

run-s390x: export WB_IO := threads
run-s390x:
	$(call suite,machines-s390x,build/machines/s390x/run,unit golden)

run-gcc-O0 run-gcc-O3 run-clang-O3: run-%:
	$(call suite,machines-$*,build/$*,unit golden)

COMPILERS := gcc-O0 gcc-O3 clang-O3
# Without their libraries the other architectures are left out.
FOREIGN = $(if $(wildcard build/machines/s390x/usr),s390x i386)
check-machines:
	rm -f build/check-machines-*.counts
	@[ "$(FOREIGN)" ] || echo "i386 and s390x are left out: sudo make deps-machines"
	$(MAKE) --no-print-directory $(addprefix machine-,$(FOREIGN) $(COMPILERS))
	$(PARALLEL) -k $(addprefix run-,$(FOREIGN) $(COMPILERS))
.PHONY: deps-machines check-machines

# Lines and branches of libwbfmt that the tests of it come by; fails when tests/machines/uncovered does not say why of the rest.
coverage:
	rm -rf build/coverage
	$(MAKE) -j2 BUILD=build/coverage CFLAGS='-O0 -g' SANITIZE=--coverage tests
	$(PARALLEL) -k cover-1 cover-2
	@if tests/machines/coverage build/coverage tests/machines/uncovered; then echo '1 passed, 0 failed'; \
		else echo '0 passed, 1 failed'; fi | sed '$$s/.*/coverage: &, 0 skipped/' > build/check-coverage.counts; \
		cat build/check-coverage.counts; tests/count build/check-coverage.counts >/dev/null

cover-1:
	@tests/run coverage-1 build/coverage unit

cover-2:
	@tests/run coverage-2 build/coverage golden fixtures explain media
.PHONY: coverage cover-1 cover-2

LINT_DEPS := clang-tidy cppcheck shellcheck
deps-lint:
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(DEPS) $(LINT_DEPS)

# mandoc and the tables of the man pages are checked in docs.bats
lint:
	@mkdir -p build/tests
	@begun=$$(date +%s); tests/machines/lint -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(shell $(PKG_CONFIG) --cflags $(PKGS)) \
		> build/tests/lint.tap 2>&1 </dev/null; grep -A 12 '^not ok' build/tests/lint.tap; \
	echo "lint: $$(grep -c '^ok' build/tests/lint.tap) passed, $$(grep -c '^not ok' build/tests/lint.tap) failed, 0 skipped" \
		"($$(($$(date +%s) - begun)) s)" | tee build/check-lint.counts; ! grep -q '^not ok' build/tests/lint.tap
.PHONY: deps-lint lint
