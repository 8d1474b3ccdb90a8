# SPDX-License-Identifier: GPL-2.0-or-later
# What is handed out, tried on a fresh Debian; included by the Makefile. Both targets need root, for chroots, and the
# network. WHOLE=1 runs all tests there as an ordinary user too, and all of autopkgtest, instead of some.

PACKAGE := build/package
PACKAGE_DEPS := autopkgtest build-essential debhelper debootstrap dpkg-dev git lintian qemu-system-x86

deps-package:
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(DEPS) $(PACKAGE_DEPS)
	tests/package/base $(PACKAGE)

# What is missing is skipped by name: the packages, or build/package/bookworm.tar of deps-package.
check-package: export WHOLE := $(WHOLE)
check-package: export GIT_CONFIG_GLOBAL := $(CURDIR)/$(PACKAGE)/gitconfig
check-package: tests
	@rm -rf $(PACKAGE)/deb build/proof/package && mkdir -p $(PACKAGE) build/proof
	@git config --global safe.directory '*' # the clone may be somebody else's
	@! command -v dh >/dev/null || ! git rev-parse -q --verify HEAD >/dev/null || \
		tests/package/build $(PACKAGE)/deb >$(PACKAGE)/build.log 2>&1 || echo 'the packages do not build' >&2
	@$(PARALLEL) -k check-package-1 check-package-2

check-package-1:
	$(call suite,package-1,$(BUILD),packages)

check-package-2:
	$(call suite,package-2,$(BUILD),fresh)
.PHONY: deps-package check-package check-package-1 check-package-2
