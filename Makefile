# SPDX-License-Identifier: GPL-2.0-or-later
# wb-utils. `make` builds into build/; `make help` lists the targets.

VERSION := $(shell sed -n 's/^.define WB_VERSION "\(.*\)"/\1/p' include/wbfmt.h)
SOVERSION := 0

# ---- knobs --------------------------------------------------------------------------------------

BUILD ?= build
CC ?= cc
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
udevdir ?= $(prefix)/lib/udev/rules.d

PKGS := blkid popt zlib liburing json-c nettle
LIB_PKGS := liburing zlib
ifdef NO_ISAL
CPPFLAGS += -DWB_NO_ISAL
else
PKGS += libisal
LIB_PKGS += libisal
endif

ALL_CPPFLAGS = -Iinclude -D_GNU_SOURCE $(CPPFLAGS) $(shell pkg-config --cflags $(PKGS))
ALL_CFLAGS = -std=c11 -pthread $(WARNINGS) $(WERROR) $(CFLAGS) $(SANITIZE)
ALL_LDFLAGS = -pthread $(LDFLAGS) $(SANITIZE)
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
.PHONY: all help deps deps-bench check check-all demo bench install uninstall clean

# ---- building -----------------------------------------------------------------------------------

all: $(addprefix $(BUILD)/,$(COMMANDS) libwbfmt.a $(SONAME))

help:
	@echo 'all           the commands and the library, into $(BUILD)/'
	@echo 'deps          install what is needed, with apt-get (root)'
	@echo 'demo          rescue a sample file system'
	@echo 'check         all tests that fit in five minutes'
	@echo 'check-all     those, the same with sanitizers, and the longer ones'
	@echo 'kill-points   power cuts at every write and flush of every command, as a table'
	@echo 'check-sim     simulated drivers, power cuts, and bugs planted in the library'
	@echo 'sim-long      simulated drivers for a night (SEED=, RUNS=)'
	@echo 'deps-kernel   unpack what check-kernel needs, with apt-get (root)'
	@echo 'check-kernel  the commands next to the real driver, under qemu'
	@echo 'bench         speed, as ratios (PERFORMANCE.md); ROWS="check flush" for some rows alone'
	@echo 'deps-bench    install what the bench compares with (root)'
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

$(BUILD)/$(SONAME): $(PIC_OBJECTS)
	$(Q)$(CC) -shared -Wl,-soname,$(SONAME) $(ALL_LDFLAGS) -o $@ $^ $(shell pkg-config --libs $(LIB_PKGS))
	@ln -sf $(SONAME) $(BUILD)/libwbfmt.so

$(BUILD)/cmd/common.a: $(CMD_OBJECTS)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/wb-%: $(BUILD)/cmd/wb-%.o $(BUILD)/cmd/common.a $(BUILD)/libwbfmt.a
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(shell pkg-config --libs $(PKGS))

-include $(wildcard $(BUILD)/*/*.d $(BUILD)/tests/*/*.d)

clean:
	rm -rf build

# ---- what a bare Debian lacks -------------------------------------------------------------------

DEPS := gcc clang libclang-rt-dev libc6-dev pkg-config libblkid-dev libpopt-dev zlib1g-dev libisal-dev \
	liburing-dev libjson-c-dev nettle-dev libcmocka-dev bats valgrind jq zstd xz-utils gddrescue e2fsprogs mandoc util-linux \
	fdisk xfsprogs cryptsetup-bin file

deps:
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(DEPS)

deps-bench: deps
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends fio hyperfine

# ---- tests --------------------------------------------------------------------------------------

include tests/tests.mk
include tests/kernel/kernel.mk
include tests/sim/sim.mk

# ---- installing ---------------------------------------------------------------------------------

MAN8 := $(wildcard man/*.8)
MAN5 := $(wildcard man/*.5)

install: all
	install -d $(DESTDIR)$(sbindir) $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(includedir) \
		$(DESTDIR)$(mandir)/man8 $(DESTDIR)$(mandir)/man5
	install $(addprefix $(BUILD)/,$(COMMANDS)) $(DESTDIR)$(sbindir)
	install -m 644 $(BUILD)/libwbfmt.a $(DESTDIR)$(libdir)
	install $(BUILD)/$(SONAME) $(DESTDIR)$(libdir)
	ln -sf $(SONAME) $(DESTDIR)$(libdir)/libwbfmt.so
	install -m 644 include/wbfmt.h include/wbrules.h $(DESTDIR)$(includedir)
	sed -e 's|@prefix@|$(prefix)|;s|@libdir@|$(libdir)|;s|@includedir@|$(includedir)|' \
		-e 's|@version@|$(VERSION)|;s|@requires@|$(LIB_PKGS)|' libwbfmt/libwbfmt.pc.in \
		> $(DESTDIR)$(libdir)/pkgconfig/libwbfmt.pc
	install -m 644 $(MAN8) $(DESTDIR)$(mandir)/man8
	install -m 644 $(MAN5) $(DESTDIR)$(mandir)/man5
	install -d $(DESTDIR)$(datadir)/magic $(DESTDIR)$(udevdir)
	install -m 644 share/magic/dm-writeboost $(DESTDIR)$(datadir)/magic
	sed 's|/usr/sbin|$(sbindir)|' share/65-dm-writeboost.rules > $(DESTDIR)$(udevdir)/65-dm-writeboost.rules

uninstall:
	rm -f $(addprefix $(DESTDIR)$(sbindir)/,$(COMMANDS)) $(DESTDIR)$(libdir)/libwbfmt.a \
		$(DESTDIR)$(libdir)/$(SONAME) $(DESTDIR)$(libdir)/libwbfmt.so \
		$(DESTDIR)$(libdir)/pkgconfig/libwbfmt.pc \
		$(DESTDIR)$(includedir)/wbfmt.h $(DESTDIR)$(includedir)/wbrules.h \
		$(addprefix $(DESTDIR)$(mandir)/man8/,$(notdir $(MAN8))) \
		$(addprefix $(DESTDIR)$(mandir)/man5/,$(notdir $(MAN5))) \
		$(DESTDIR)$(datadir)/magic/dm-writeboost $(DESTDIR)$(udevdir)/65-dm-writeboost.rules
