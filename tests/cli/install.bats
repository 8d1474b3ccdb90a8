# SPDX-License-Identifier: GPL-2.0-or-later
# What `make install` puts in place works, and `make uninstall` leaves nothing of it.

load helpers

install_here() {
	make -s -C "$TOP" BUILD="$BUILD" DESTDIR="$PWD/root" prefix=/usr "$1"
}

# Everything in root but what was in it before, as PATH TYPE MODE
tree() {
	(cd root && find . -printf '%P %y %m\n' | sort)
}

@test "uninstall leaves the tree as it was before install, with what others put there" {
	umask 022
	mkdir -p root/usr/{sbin,include,lib/pkgconfig,lib/udev/rules.d} root/usr/share/{doc,bash-completion/completions,man/man{3,5,8}} \
		root/usr/share/{zsh/site-functions,fish/vendor_completions.d,initramfs-tools/hooks}
	touch root/usr/sbin/wb-other root/usr/lib/libwbfmt.so.1 root/usr/share/man/man8/wb-other.8
	tree >before
	install_here install
	tree >after
	[ "$(comm -13 before after | grep -c ' [fl] ')" -ge 15 ]
	install_here install
	tree | diff after -
	install_here uninstall
	tree | diff before -
	install_here uninstall
}

@test "what is installed is readable for everybody whatever the umask, and the commands run" {
	umask 077
	mkdir root
	install_here install
	[ -z "$(find root/usr -type f -not -perm -444)" ]
	[ -z "$(find root/usr -mindepth 1 -type d -not -perm -555)" ]
	diff <(find root/usr/sbin -type f -perm 755 -printf '%f\n' | sort) <(cd "$TOP/cmd" && ls wb-*.c | sed 's/\.c$//')
	[ -z "$(grep -rlIE '@[a-z]+@' root/usr)" ]
	[ -z "$(grep -rlI "$PWD" root/usr)" ]
}

@test "every directory can be chosen" {
	make -s -C "$TOP" BUILD="$BUILD" DESTDIR="$PWD/a b" prefix=/opt/wb sbindir=/bin libdir=/lib64 mandir=/opt/man udevdir=/rules install
	[ -x "a b/bin/wb-check" ] && [ -e "a b/lib64/libwbfmt.so" ] && [ -e "a b/opt/man/man8/wb-check.8" ]
	grep -q '^libdir=/lib64$' "a b/lib64/pkgconfig/libwbfmt.pc"
	grep -q '"/bin/wb-check ' "a b/rules/65-dm-writeboost.rules"
	make -s -C "$TOP" BUILD="$BUILD" DESTDIR="$PWD/a b" prefix=/opt/wb sbindir=/bin libdir=/lib64 mandir=/opt/man udevdir=/rules uninstall
	[ -z "$(find "a b" -type f -o -type l)" ]
}

@test "a program builds against the installed library, shared and static, as C11 and C++17" {
	install_here install
	printf '%s\n' '#include <wbfmt.h>' 'int main(void) { return wb_format_find("v2") ? 0 : 1; }' >program.c
	export PKG_CONFIG_PATH=$PWD/root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$PWD/root
	gcc -std=c11 -Wall -Wextra -Wpedantic -Werror $(pkg-config --cflags libwbfmt) -o shared program.c \
		$(pkg-config --libs libwbfmt)
	LD_LIBRARY_PATH=$PWD/root/usr/lib ./shared
	gcc -std=c11 $(pkg-config --cflags libwbfmt) -o static program.c root/usr/lib/libwbfmt.a \
		$(PKG_CONFIG_SYSROOT_DIR= pkg-config --libs libisal liburing)
	./static
	! command -v g++ >/dev/null || g++ -x c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only \
		$(pkg-config --cflags libwbfmt) program.c
}

@test "every symbol the library exports begins with wb_" {
	[ -z "$(nm -D --defined-only "$BUILD/libwbfmt.so.0" | awk '$2 ~ /[A-Z]/ && $3 !~ /^wb_/')" ]
	[ -z "$(nm --defined-only -g "$BUILD/libwbfmt.a" | awk 'NF == 3 && $3 !~ /^wb_/')" ]
}

@test "the library prints nothing, never exits and reads no environment" {
	[ -z "$(nm -u "$BUILD/libwbfmt.a" | grep -wE 'printf|puts|fprintf|fputs|perror|exit|_exit|abort|getenv|stdout|stderr')" ]
}
