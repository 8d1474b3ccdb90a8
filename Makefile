# SPDX-License-Identifier: GPL-2.0-or-later
# wb-utils. `make` builds into build/; `make help` lists the targets.

VERSION := $(shell sed -n 's/^.define WB_VERSION "\(.*\)"/\1/p' include/wbfmt.h)
SOVERSION := 0

# ---- knobs --------------------------------------------------------------------------------------

BUILD ?= build
CC ?= cc
PKG_CONFIG ?= pkg-config
LDCONFIG ?= ldconfig
CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wpedantic
SANITIZE ?=
WERROR ?=
prefix ?= /usr/local
sbindir ?= $(prefix)/sbin
libdir ?= $(prefix)/lib
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
datadir ?= $(prefix)/share/wb-utils
docdir ?= $(prefix)/share/doc/wb-utils
udevdir ?= $(prefix)/lib/udev/rules.d
# mkinitramfs looks in these two places alone
initramfsdir ?= $(if $(filter /usr,$(prefix)),/usr/share,/etc)/initramfs-tools/hooks
bashdir ?= $(prefix)/share/bash-completion/completions
zshdir ?= $(prefix)/share/zsh/site-functions
fishdir ?= $(prefix)/share/fish/vendor_completions.d

PKGS := blkid popt zlib liburing json-c nettle
LIB_PKGS := liburing zlib
ifdef NO_ISAL
CPPFLAGS += -DWB_NO_ISAL
else
PKGS += libisal
LIB_PKGS += libisal
endif

# Hardening, as far as compiler and C library know it; HARDENING= for none. Sanitizers bring their own.
known = $(shell $(CC) -Werror -O2 $(1) -include features.h -x c -c -o /dev/null /dev/null 2>/dev/null && echo '$(1)')
ifeq ($(SANITIZE)$(origin HARDENING),undefined)
HARDENING := $(foreach flag,-fstack-protector-strong -fstack-clash-protection -fcf-protection,$(call known,$(flag)))
# its checks need an optimizing compiler
ifneq ($(filter-out -O0,$(filter -O%,$(CFLAGS))),)
HARDENING += $(or $(call known,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3),-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif
HARDENING += -fPIE
HARDENING_LINK := -Wl,-z,relro,-z,now
endif
# of the commands
PIE ?= $(if $(HARDENING),-pie)

ALL_CPPFLAGS = -Iinclude -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(CPPFLAGS) $(shell $(PKG_CONFIG) --cflags $(PKGS))
ALL_CFLAGS = -std=c11 -pthread $(WARNINGS) $(WERROR) $(CFLAGS) $(HARDENING) $(SANITIZE)
ALL_LDFLAGS = -pthread $(LDFLAGS) $(HARDENING_LINK) $(SANITIZE)
# V=1 shows the compiler's command lines
Q = $(if $(V),,@echo '  $(@F)';)
COMPILE = $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP

COMMANDS := wb-check wb-flush-dirty wb-dump wb-format wb-undo
LIB_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard libwbfmt/*.c))
PIC_OBJECTS := $(LIB_OBJECTS:.o=.pic.o)
CMD_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out cmd/wb-%,$(wildcard cmd/*.c)))
SONAME := libwbfmt.so.$(SOVERSION)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all help deps deps-bench check check-all demo bench install uninstall dist static clean

# ---- whose build it is ----

# What `sudo make` builds belongs to who called sudo, when the source does; so it is in nobody's way.
ifneq ($(filter-out 0,$(SUDO_UID)),)
OWNER := $(shell [ "$$(id -u)" -ne 0 ] || [ "$$(stat -c %u .)" != "$(SUDO_UID)" ] || echo "$(SUDO_UID):$(SUDO_GID)")
endif
give_back = $(if $(OWNER),@chown -R -h $(OWNER) build)

ifeq ($(MAKELEVEL),0)
ifneq ($(filter-out help clean uninstall deps%,$(or $(MAKECMDGOALS),all)),)
FOREIGN_FILE := $(shell find $(BUILD) -maxdepth 2 ! -writable -print -quit 2>/dev/null)
ifneq ($(FOREIGN_FILE),)
$(error $(FOREIGN_FILE) cannot be written: somebody else built here. Take it over (sudo chown -R $(shell id -un) $(BUILD)) or away \
	(sudo make clean))
endif
endif
endif

# ---- building -----------------------------------------------------------------------------------

all: $(addprefix $(BUILD)/,$(COMMANDS) libwbfmt.a $(SONAME))
	$(give_back)

help:
	@echo 'all           the commands and the library, into $(BUILD)/'
	@echo 'deps          install what is needed, with apt-get (root)'
	@echo 'demo          rescue a sample file system'
	@echo 'check         all tests that fit in five minutes'
	@echo 'check-all     those, the same with sanitizers, and all below that takes longer; ends with what it proved'
	@echo 'deps-all      what check-all needs, with apt-get and debootstrap (root)'
	@echo 'kill-points   power cuts at every write and flush of every command, as a table'
	@echo 'check-sim     simulated drivers, power cuts, and bugs planted in the library'
	@echo 'sim-long      simulated drivers for a night (SEED=, RUNS=)'
	@echo 'deps-kernel   unpack what check-kernel needs, with apt-get (root)'
	@echo 'check-kernel  the commands next to the real driver, under qemu'
	@echo 'deps-package  get what check-package needs, with apt-get and debootstrap (root)'
	@echo 'check-package what is handed out, on a fresh Debian (root): packages, initramfs, README'
	@echo 'deps-machines unpack the libraries that check-machines needs, with apt-get (root)'
	@echo 'check-machines  32 bits, big-endian, other compilers and levels of optimization'
	@echo 'coverage      lines and branches of libwbfmt that the tests come by'
	@echo 'lint          clang-tidy, cppcheck and shellcheck'
	@echo 'bench         speed, as ratios (PERFORMANCE.md); ROWS="check flush" for some rows alone'
	@echo 'deps-bench    install what the bench compares with (root)'
	@echo 'static        commands for rescue media, which need no library, into build/rescue/'
	@echo 'dist          the source of the last commit as build/wb-utils-$(VERSION).tar.xz'
	@echo 'fuzz          every fuzz target FUZZ_SECONDS long (60)'
	@echo 'install       into DESTDIR and prefix ($(prefix)); uninstall takes it away again'

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -c -o $@ $<

$(BUILD)/%.pic.o: %.c
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -fPIC -c -o $@ $<

$(BUILD)/libwbfmt.a: $(LIB_OBJECTS)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/$(SONAME): libwbfmt/libwbfmt.map $(PIC_OBJECTS)
	$(Q)$(CC) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=$< $(ALL_LDFLAGS) -o $@ $(PIC_OBJECTS) \
		$(shell $(PKG_CONFIG) --libs $(LIB_PKGS))
	@ln -sf $(SONAME) $(BUILD)/libwbfmt.so

$(BUILD)/cmd/common.a: $(CMD_OBJECTS)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/wb-%: $(BUILD)/cmd/wb-%.o $(BUILD)/cmd/common.a $(BUILD)/libwbfmt.a
	$(Q)$(CC) $(PIE) $(ALL_LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(PKGS))

-include $(wildcard $(BUILD)/*/*.d $(BUILD)/tests/*/*.d)

clean:
	rm -rf build

# ---- what a bare Debian lacks -------------------------------------------------------------------

DEPS := gcc clang libclang-rt-dev libc6-dev pkg-config libblkid-dev libpopt-dev zlib1g-dev libisal-dev \
	liburing-dev libjson-c-dev nettle-dev libcmocka-dev bats valgrind jq zstd xz-utils gddrescue e2fsprogs mandoc util-linux \
	fdisk xfsprogs cryptsetup-bin file zsh fish libxml2-utils

deps:
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(DEPS)

deps-bench: deps
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends fio hyperfine

# ---- tests --------------------------------------------------------------------------------------

include tests/tests.mk
include tests/kernel/kernel.mk
include tests/sim/sim.mk
include tests/package/package.mk
include tests/fuzz/fuzz.mk
include tests/machines/machines.mk

# ---- installing ---------------------------------------------------------------------------------

# MODE:FILE:DIRECTORY of every file. What comes from share/ or is called *.in is filled in.
INSTALLED = $(patsubst %,755:$(BUILD)/%:$(sbindir),$(COMMANDS)) \
	644:$(BUILD)/libwbfmt.a:$(libdir) 644:$(BUILD)/$(SONAME):$(libdir) \
	644:libwbfmt/libwbfmt.pc.in:$(libdir)/pkgconfig \
	644:include/wbfmt.h:$(includedir) 644:include/wbrules.h:$(includedir) \
	$(foreach page,$(wildcard man/*.[1-8]),644:$(page):$(mandir)/man$(patsubst .%,%,$(suffix $(page)))) \
	644:share/magic/dm-writeboost:$(datadir)/magic \
	644:share/65-dm-writeboost.rules:$(udevdir) \
	644:docs/rescue.md:$(docdir) \
	755:share/initramfs-tools/wb-utils:$(initramfsdir) \
	644:completions/wb-utils.bash:$(bashdir) 644:completions/_wb-utils:$(zshdir) \
	644:completions/wb-utils.fish:$(fishdir)

# NAME:TARGET:DIRECTORY of every symbolic link.
LINKED = libwbfmt.so:$(SONAME):$(libdir) \
	$(foreach command,$(COMMANDS),$(command):wb-utils.bash:$(bashdir) $(command).fish:wb-utils.fish:$(fishdir))

FILL = -e 's|@prefix@|$(prefix)|;s|@libdir@|$(libdir)|;s|@includedir@|$(includedir)|' \
	-e 's|@version@|$(VERSION)|;s|@requires@|$(LIB_PKGS)|;s|/usr/sbin|$(sbindir)|'

install: all
	@set -e; for entry in $(INSTALLED); do \
		mode=$${entry%%:*}; to=$${entry##*:}; from=$${entry#*:}; from=$${from%:*}; \
		to="$(DESTDIR)$$to/$$(basename $$from .in)"; \
		case $$from in \
		share/*|*.in) sed $(FILL) $$from | install -D -m $$mode /dev/stdin "$$to" ;; \
		*) install -D -m $$mode $$from "$$to" ;; \
		esac; \
	done
	@set -e; for entry in $(LINKED); do \
		target=$${entry#*:}; \
		ln -sf $${target%:*} "$(DESTDIR)$${entry##*:}/$${entry%%:*}"; \
	done
ifeq ($(DESTDIR),)
	@PATH="$$PATH:/usr/sbin:/sbin"; $(LDCONFIG) 2>/dev/null; $(LDCONFIG) -p | grep -q ' => $(libdir)/$(SONAME)$$' || \
		echo 'programs do not find $(SONAME) yet: run ldconfig as root, or set LD_LIBRARY_PATH=$(libdir)'
endif

field = $(word $1,$(subst :, ,$2))
uninstall:
	@for file in $(foreach entry,$(INSTALLED),$(call field,3,$(entry))/$(patsubst %.in,%,$(notdir $(call field,2,$(entry))))) \
		$(foreach entry,$(LINKED),$(call field,3,$(entry))/$(call field,1,$(entry))); do \
		rm -f "$(DESTDIR)$$file"; \
	done
	@rmdir "$(DESTDIR)$(datadir)/magic" "$(DESTDIR)$(datadir)" "$(DESTDIR)$(docdir)" 2>/dev/null || true
	@[ -n "$(DESTDIR)" ] || PATH="$$PATH:/usr/sbin:/sbin" $(LDCONFIG) 2>/dev/null || true

# ---- handing out --------------------------------------------------------------------------------

# The same commit gives the same bytes everywhere: nothing of the user's configuration, umask or clock is in them.
ARCHIVE = git -c tar.umask=0022 -c core.attributesFile=/dev/null -c core.autocrlf=false -c core.eol=lf archive
dist:
	@mkdir -p build
	@git diff --quiet HEAD || echo 'dist: what is not committed is left out' >&2
	@$(ARCHIVE) --format=tar --prefix=wb-utils-$(VERSION)/ HEAD -- . ':(exclude)debian' \
		> build/wb-utils-$(VERSION).tar
	@xz -9 --threads=1 --force build/wb-utils-$(VERSION).tar
	@echo build/wb-utils-$(VERSION).tar.xz

# ISA-L has no static archive in Debian 12, so a table computes the checksums.
static:
	@$(MAKE) --no-print-directory BUILD=build/static NO_ISAL=1 LDFLAGS=-Wl,--gc-sections PIE=$(or $(call known,-static-pie),-static) \
		CFLAGS='-O2 -ffunction-sections -fdata-sections' PKG_CONFIG='$(PKG_CONFIG) --static' \
		$(COMMANDS:%=build/static/%)
	@rm -rf build/rescue && install -D -s -t build/rescue $(COMMANDS:%=build/static/%)
	@du -b -a build/rescue
