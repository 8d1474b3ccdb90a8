# SPDX-License-Identifier: GPL-2.0-or-later
# What `make install` puts in place works, and `make uninstall` leaves nothing of it.

load helpers

install_here() {
	make -s -C "$TOP" BUILD="$BUILD" DESTDIR="$PWD/root" prefix=/usr "$1"
}

@test "install puts commands, library, header, pkg-config file and man pages in place" {
	install_here install
	for file in sbin/wb-check sbin/wb-flush-dirty sbin/wb-dump sbin/wb-format sbin/wb-undo lib/libwbfmt.a lib/libwbfmt.so.0 \
		include/wbfmt.h include/wbrules.h lib/pkgconfig/libwbfmt.pc share/man/man8/wb-check.8 \
		share/man/man8/wb-flush-dirty.8 share/man/man8/wb-dump.8 share/man/man8/wb-format.8 share/man/man8/wb-undo.8 \
		share/man/man5/wbfmt.5 share/wb-utils/magic/dm-writeboost lib/udev/rules.d/65-dm-writeboost.rules; do
		[ -e "root/usr/$file" ] || { echo "$file is missing"; false; }
	done
	install_here uninstall
	[ -z "$(find root -type f -o -type l)" ]
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
