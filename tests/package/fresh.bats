# SPDX-License-Identifier: GPL-2.0-or-later
# A bare Debian, as who tries wb-utils first meets it: README, then the packages. Needs root and `make deps-package`.
# WHOLE=1 runs all tests there.

load ../cli/helpers
load helpers

setup_file() {
	export TREE=$BATS_FILE_TMPDIR/tree
}

teardown_file() {
	rm -rf --one-file-system "$TREE"
}

inside() {
	"$TOP/tests/package/in" "$TREE" "$@"
}

@test "every command of README shows on a bare Debian what readme.txt has" {
	needs_clone
	needs_base
	"$TOP/tests/package/fresh" "$BASE" "$TREE"
	proves "commands of README on a bare Debian: $(grep -c '^\$ ' "$TOP/tests/package/readme.txt")"
}

@test "sudo make uninstall takes back what sudo make install put there" {
	[ -e "$TREE/usr/local/sbin/wb-check" ] || skip "it is not installed there"
	inside make -s -C /root/wb-utils uninstall
	[ -z "$(find "$TREE/usr/local" "(" -name "*wb*" -o -name "*writeboost*" ")" -not -type d)" ]
}

@test "make check passes there as an ordinary user" {
	[ -n "${WHOLE-}" ] || skip "WHOLE=1 runs it"
	[ -e "$TREE/root/wb-utils" ] || skip "there is no bare Debian"
	inside useradd --create-home somebody
	git clone -q "file://$TOP" "$TREE/home/somebody/wb-utils"
	inside chown -R somebody: /home/somebody
	inside sudo -u somebody make -C /home/somebody/wb-utils demo check >log 2>&1 || { tail -n 200 log; false; }
	proves "as an ordinary user: $(tail -n 1 log)"
}

@test "autopkgtest: the bats suite passes on the installed commands" {
	needs autopkgtest
	needs_packages
	[ -e "$TREE/root/wb-utils" ] || skip "there is no bare Debian"
	local some=(--env="WB_KINDS=battery check udev docs completions")
	[ -z "${WHOLE-}" ] || some=()
	"$TOP/tests/package/in" --outside "$TREE" autopkgtest "${some[@]}" "$PACKAGE"/deb/*.changes -- chroot "$TREE" >log 2>&1 ||
		{ tail -n 200 log; false; }
	proves "autopkgtest: $(grep -o 'installed: .* passed.*' log)"
}
