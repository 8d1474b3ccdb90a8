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

@test "commands and library are hardened: position, stack, buffers, relocations, control flow" {
	cd "$BUILD"
	for file in wb-check wb-flush-dirty wb-dump wb-format wb-undo libwbfmt.so.0; do
		readelf -hldW --dyn-syms $file >"$BATS_TEST_TMPDIR/elf"
		for mark in 'Type: .*DYN' GNU_RELRO BIND_NOW __stack_chk_fail '__[a-z]*_chk@'; do
			grep -q -- "$mark" "$BATS_TEST_TMPDIR/elf" || { echo "$file: no $mark"; false; }
		done
	done
	# C libraries that have no such mark take it from whole programs
	[ "$(uname -m)" != x86_64 ] || [ "$(readelf -nW libwbfmt/*.o cmd/*.o | grep -c 'x86 feature: IBT, SHSTK')" -eq "$(ls libwbfmt/*.o cmd/*.o | wc -l)" ]
}

# The program in the EXAMPLES of libwbfmt(3), as example.c
example() {
	sed -n '/^#include <stdio.h>$/,/^\.Ed$/{/^\.Ed$/d;s/\\e/\\/g;p}' "$TOP/man/libwbfmt.3" >example.c
}

# Without the library's own directory in it, so that what pkg-config says is all that is known
installed_flags() {
	PKG_CONFIG_PATH=$PWD/root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$PWD/root pkg-config "$@" libwbfmt
}

@test "the example of libwbfmt(3) builds against the installed library, shared and static, and prints what the page says" {
	install_here install
	example
	gcc -std=c11 -Wall -Wextra -Wpedantic -Werror $(installed_flags --cflags) -o shared example.c $(installed_flags --libs)
	gcc -std=c11 $(installed_flags --cflags) -o static example.c root/usr/lib/libwbfmt.a \
		$(pkg-config --libs $(sed -n 's/^Requires.private: //p' root/usr/lib/pkgconfig/libwbfmt.pc))
	make_cache v2-rotten-data-bit
	diff <(LD_LIBRARY_PATH=$PWD/root/usr/lib ./shared cache.img) \
		<(sed -n '/^\$ \.\/example/,/^\.Ed$/{/^[$.]/d;p}' "$TOP/man/libwbfmt.3")
	diff <(LD_LIBRARY_PATH=$PWD/root/usr/lib ./shared cache.img) <(./static cache.img)
	readelf -d shared | grep -q 'NEEDED.*\[libwbfmt.so.0\]'
}

@test "wbfmt.h compiles alone, as C11 and as C++17" {
	install_here install
	local compiler
	printf '#include <wbfmt.h>\n#include <wbfmt.h>\n' >alone.c
	for compiler in gcc clang; do
		$compiler -std=c11 -Wall -Wextra -Wpedantic -Werror $(installed_flags --cflags) -fsyntax-only alone.c
	done
	for compiler in g++ clang++; do
		! command -v $compiler >/dev/null ||
			$compiler -x c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror $(installed_flags --cflags) \
				-fsyntax-only alone.c || { echo "$compiler fails"; false; }
	done
}

@test "libwbfmt.pc says what is installed" {
	install_here install
	[ "$(installed_flags --modversion)" = "$(sed -n 's/^#define WB_VERSION "\(.*\)"/\1/p' "$TOP/include/wbfmt.h")" ]
	PKG_CONFIG_PATH=$PWD/root/usr/lib/pkgconfig pkg-config --validate libwbfmt
	[ "$(PKG_CONFIG_PATH=$PWD/root/usr/lib/pkgconfig pkg-config --variable=libdir libwbfmt)" = /usr/lib ]
	# what the library needs itself is in Requires.private, and everything in it is there
	local library
	for library in $(readelf -d root/usr/lib/libwbfmt.so.0 | sed -n 's/.*NEEDED.*\[lib\(.*\)\.so.*/\1/p' | grep -vxE 'c|asan|ubsan|pthread'); do
		installed_flags --libs --static | grep -qw -e "-l$library" || { echo "$library is missing"; false; }
	done
}

functions_of_header() {
	sed -nE 's/^[a-z][^;{]*[ *](wb_[a-z0-9_]+)\(.*/\1/p' "$TOP/include/wbfmt.h" | sort
}

@test "the library exports the functions of wbfmt.h and nothing else, all under one version" {
	[ "$(functions_of_header | wc -l)" -gt 50 ]
	diff <(functions_of_header) <(sed -nE 's/^\t(wb_[a-z0-9_]+);$/\1/p' "$TOP/libwbfmt/libwbfmt.map")
	diff <(functions_of_header | sed 's/$/@@WBFMT_0/') \
		<(nm -D --defined-only "$BUILD/libwbfmt.so.0" | awk '$2 != "A" { print $3 }' | sort)
	[ -z "$(nm --defined-only -g "$BUILD/libwbfmt.a" | awk 'NF == 3 && $3 !~ /^wb_/')" ]
}

@test "libwbfmt(3) lists every function of wbfmt.h" {
	diff <(functions_of_header) <(sed -n '/^\.Sh FUNCTIONS$/,/^\.Sh EXAMPLES$/s/^\.It //p' "$TOP/man/libwbfmt.3" |
		grep -o 'wb_[a-z0-9_]*' | sort)
}

@test "the library prints nothing, never exits and reads no environment" {
	[ -z "$(nm -u "$BUILD/libwbfmt.a" | grep -wE 'printf|puts|fprintf|fputs|perror|exit|_exit|abort|getenv|stdout|stderr')" ]
}

@test "the hook of the initramfs lies where mkinitramfs looks, whatever the prefix" {
	make -s -C "$TOP" BUILD="$BUILD" DESTDIR="$PWD/local" install
	[ -x local/etc/initramfs-tools/hooks/wb-utils ]
	grep -q /usr/local/sbin local/etc/initramfs-tools/hooks/wb-utils
	install_here install
	[ -x root/usr/share/initramfs-tools/hooks/wb-utils ]
}

# install_as LDCONFIG-SCRIPT: into this directory, without DESTDIR
install_as() {
	printf '#!/bin/sh\n%s\n' "$1" >ldconfig
	chmod +x ldconfig
	run make -s -C "$TOP" BUILD="$BUILD" prefix="$PWD/prefix" initramfsdir="$PWD/hooks" LDCONFIG="$PWD/ldconfig" install
	[ "$status" -eq 0 ]
}

@test "after make install the shared library is found, or the user is told what to do" {
	install_as "echo \"\$*\" >>$PWD/called; [ \"\$1\" != -p ] || echo '	libwbfmt.so.0 (libc6) => $PWD/prefix/lib/libwbfmt.so.0'"
	[[ $output != *LD_LIBRARY_PATH* ]] || { echo "$output"; false; }
	[ "$(<called)" = $'\n-p' ]
	install_as 'exit 1'
	[[ $output == *"ldconfig"*"LD_LIBRARY_PATH=$PWD/prefix/lib"* ]]
}
