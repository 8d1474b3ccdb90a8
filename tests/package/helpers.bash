# SPDX-License-Identifier: GPL-2.0-or-later
# What packages.bats and fresh.bats share.

# needs TOOL...: skips where one is not installed
needs() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || skip "$tool is not installed"
	done
}

needs_clone() {
	needs git
	git -C "$TOP" rev-parse -q --verify HEAD >/dev/null 2>&1 || skip "this is no git clone"
}

needs_base() {
	[ "$(id -u)" -eq 0 ] || skip "a chroot needs root"
	BASE=$TOP/build/package/bookworm.tar
	[ -e "$BASE" ] || skip "make deps-package has not been run"
}

needs_packages() {
	PACKAGE=$TOP/build/package
	[ -e "$PACKAGE"/deb/wb-utils_*.changes ] || skip "there are no packages"
}

# proves WORDS: a line of what check-all says at its end
proves() {
	mkdir -p "$TOP/build/proof"
	echo "package: $*" >>"$TOP/build/proof/package"
}
