# SPDX-License-Identifier: GPL-2.0-or-later
# The real driver, in Debian's kernel, under qemu; included by the Makefile.

KERNEL := build/kernel
KERNEL_VERSION = $(shell cat $(KERNEL)/version)
KERNEL_DEPS := qemu-system-x86 kmod cpio dmsetup

# What the guest runs is unpacked into build/kernel, not installed.
deps-kernel:
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(DEPS) $(KERNEL_DEPS)
	tests/kernel/unpack $(KERNEL)

$(KERNEL)/module/dm-writeboost.ko: $(KERNEL)/version
	@rm -rf $(@D) && cp -r $(KERNEL)/root/usr/src/dm-writeboost-* $(@D)
	$(Q)MAKEFLAGS= $(MAKE) -s -C $(KERNEL)/root/usr/src/linux-headers-$(KERNEL_VERSION) M=$(CURDIR)/$(@D) modules

# writes the workloads of the guest, and knows what must be left of them
$(BUILD)/tests/workload: tests/kernel/workload.c
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARNINGS) $(WERROR) -O2 -static -o $@ $<

KERNEL_COMMANDS := $(addprefix $(BUILD)/,wb-dump wb-flush-dirty wb-format tests/workload)
$(KERNEL)/initrd.gz: tests/kernel/initrd tests/kernel/init tests/kernel/guest.sh $(KERNEL)/module/dm-writeboost.ko \
		$(KERNEL_COMMANDS)
	$(Q)tests/kernel/initrd $(KERNEL) $(KERNEL)/module/dm-writeboost.ko $(KERNEL_COMMANDS) > $@

# Without build/kernel every test is skipped by name.
check-kernel: tests
	@[ ! -e $(KERNEL)/version ] || $(MAKE) --no-print-directory $(KERNEL)/initrd.gz
	@tests/run kernel $(BUILD) kernel
.PHONY: deps-kernel check-kernel
