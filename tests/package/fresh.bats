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

@test "after sudo make install the library is found, and the hook of the initramfs lies where mkinitramfs looks" {
	[ -e "$TREE/usr/local/sbin/wb-check" ] || skip "it is not installed there"
	[ -x "$TREE/etc/initramfs-tools/hooks/wb-utils" ]
	printf '#include <wbfmt.h>\nint main(void) { return !wb_format_find("v2"); }\n' >"$TREE/root/uses.c"
	inside sh -c 'cd /root && gcc uses.c $(pkg-config --cflags --libs libwbfmt) -o uses && ./uses'
}

@test "sudo make uninstall takes back what sudo make install put there" {
	[ -e "$TREE/usr/local/sbin/wb-check" ] || skip "it is not installed there"
	inside make -s -C /root/wb-utils uninstall
	[ -z "$(find "$TREE/usr/local" "(" -name "*wb*" -o -name "*writeboost*" ")" -not -type d)" ]
	[ ! -e "$TREE/etc/initramfs-tools/hooks/wb-utils" ]
}

# Those kinds that see the most of where they run; WHOLE=1 takes all.
some_kinds() {
	[ -n "${WHOLE-}" ] || echo "KINDS='demo docs completions format guard flush battery udev install media guide sizes fixtures'"
}

# as_somebody COMMAND: in a shell of an ordinary user who may use sudo
as_somebody() {
	inside setpriv --reuid=somebody --regid=somebody --init-groups --reset-env sh -c "$1" >log 2>&1 || { tail -n 200 log; false; }
}

@test "after sudo make deps demo an ordinary user's make check passes, whatever the environment" {
	[ -e "$TREE/root/wb-utils" ] || skip "there is no bare Debian"
	local name
	name=$(printf 'a-long-name-%.0s' {1..16})
	inside useradd --create-home somebody
	echo 'somebody ALL=(ALL) NOPASSWD: ALL' >"$TREE/etc/sudoers.d/somebody"
	mkdir "$TREE/home/somebody/$name"
	git clone -q "file://$TOP" "$TREE/home/somebody/$name/wb-utils"
	inside chown -R somebody: /home/somebody
	as_somebody "cd ~/$name/wb-utils && sudo make deps demo"
	as_somebody "cd ~/$name/wb-utils && umask 077 &&
		env -i PATH=/usr/bin:/bin HOME=/nonexistent TERM=dumb COLUMNS=40 LANG=de_DE.UTF-8 make check $(some_kinds)"
	proves "as an ordinary user, without sbin, HOME, terminal, width and locale: $(tail -n 1 log)"
	as_somebody "cd ~/$name/wb-utils && umask 000 && export COLUMNS=7 NO_COLOR=1 && unset HOME TERM &&
		sudo -E make check KINDS='completions demo format install guard' && make check KINDS=docs"
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
