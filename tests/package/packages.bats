# SPDX-License-Identifier: GPL-2.0-or-later
# What is handed out, tried where it has to work: tarball, Debian packages, static commands, initramfs. What needs a bare
# Debian needs root and `make deps-package`; the packages are those that `make check-package` has built.

load ../cli/helpers
load helpers

setup_file() {
	export MADE=$BATS_FILE_TMPDIR
}

# Unpacks a fresh Debian as tree/
fresh() {
	mkdir tree
	tar -C tree -xf "$BASE"
}

inside() {
	"$TOP/tests/package/in" "$PWD/tree" "$@"
}

teardown() {
	rm -rf --one-file-system "$BATS_TEST_TMPDIR/tree"
}

@test "make dist gives the same bytes in another clone, with another umask, clock and configuration of git" {
	needs_clone
	git clone -q "file://$TOP" one
	make -s -C one dist
	sleep 1
	umask 077
	git clone -q "file://$TOP" two
	git -C two config tar.umask 0077
	git -C two config core.autocrlf true
	TZ=Asia/Tokyo make -s -C two dist
	cmp one/build/wb-utils-*.tar.xz two/build/wb-utils-*.tar.xz
	tar -tf one/build/wb-utils-*.tar.xz >list
	[ -z "$(grep -v '^wb-utils-[0-9.]*/' list)" ]
	diff <(sed 's|^[^/]*/||' list | grep -v '/$' | sort | sed '/^$/d') <(git -C one ls-files | grep -v '^debian/' | sort)
}

@test "the Debian packages build, and lintian says no more than that nobody has asked for them" {
	needs_clone
	needs dpkg-buildpackage dh lintian
	[ -e "$TOP/build/package/build.log" ] || skip "make check-package has not been run"
	PACKAGE=$TOP/build/package
	ls "$PACKAGE"/deb/wb-utils_*.changes || { tail -n 100 "$PACKAGE/build.log"; false; }
	run lintian --allow-root --tag-display-limit 0 "$PACKAGE"/deb/*.changes
	[ -z "$(grep -v ': initial-upload-closes-no-bugs ' <<<"$output")" ] || { echo "$output"; false; }
}

@test "the packages hold what make install puts in place, each file once" {
	needs_packages
	local package
	make -s -C "$TOP" BUILD="$BUILD" DESTDIR="$PWD/root" prefix=/usr libdir=/usr/lib/x zshdir=/usr/share/zsh/vendor-completions install
	for package in "$PACKAGE"/deb/{wb-utils,libwbfmt0,libwbfmt-dev}_*.deb; do
		dpkg-deb --fsys-tarfile "$package" | tar -t | grep -v '/$'
	done | sed "s|^\./||; s|/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)/|/lib/x/|; s|\.gz$||" >all
	[ -z "$(sort all | uniq -d)" ]
	diff <(sort all | grep -v ^usr/share/doc/) <(cd root && find usr -type f -o -type l | sort | grep -v ^usr/share/doc/)
}

@test "the static commands work in a folder where nothing else is" {
	make -s -C "$TOP" static >sizes
	[ "$(awk 'END { print $1 }' sizes)" -lt $((8 << 20)) ] || { cat sizes; false; }
	proves "static commands: $(awk 'END { printf "%.1f", $1 / 1048576 }' sizes) MiB"
	diff <(ls "$TOP/build/rescue") <(cd "$TOP/cmd" && ls wb-*.c | sed 's/\.c$//')
	readelf -lW "$TOP"/build/rescue/wb-check >elf
	grep -q 'Elf file type is DYN' elf && grep -q GNU_RELRO elf && ! grep -q INTERP elf
	[ "$(id -u)" -eq 0 ] || skip "a chroot needs root"
	make_cache v2-wrapped
	mkdir tree
	cp "$TOP"/build/rescue/* cache.img backing.img tree
	wb-flush-dirty -q -y cache.img backing.img
	expect 0 chroot tree /wb-flush-dirty --verify -y /cache.img /backing.img
	cmp backing.img tree/backing.img
	expect 0 chroot tree /wb-check /cache.img
	expect 0 chroot tree /wb-undo --version
	expect 0 chroot tree /wb-dump --help
	truncate -s 8M tree/new.img
	expect 0 chroot tree /wb-format /new.img
}

# A Debian with the packages and an initramfs, for the next tests
install_packages() {
	fresh
	cp "$PACKAGE"/deb/*.deb tree/root
	inside sh -c 'apt-get update -q && cd /root && apt-get install -y -q --no-install-recommends \
		./wb-utils_*.deb ./libwbfmt0_*.deb ./libwbfmt-dev_*.deb initramfs-tools busybox zstd linux-image-cloud-amd64' >log 2>&1 ||
		{ tail log; false; }
}

# What bears a name of ours
of_packages() {
	inside find / -xdev "(" -name "wb-*" -o -name "*wbfmt*" -o -name "*writeboost*" ")" -not -path "/root/*" -not -path "/proc/*"
}

@test "installed, the initramfs holds wb-check, wb-flush-dirty and wb-undo; purged, nothing is left of the packages" {
	needs_packages
	needs_base
	install_packages
	cp -L tree/vmlinuz tree/initrd.img "$MADE"
	inside sh -c 'mkdir /root/initramfs && unmkinitramfs /boot/initrd.img-* /root/initramfs && ls /root/initramfs' >parts
	local root=/root/initramfs
	! grep -q '^main$' parts || root=/root/initramfs/main
	for command in wb-check wb-flush-dirty wb-undo; do
		inside chroot $root $command --version | grep -q "^$command "
	done
	[ "$(of_packages | wc -l)" -gt 20 ]
	inside dpkg -P wb-utils libwbfmt-dev libwbfmt0 >log 2>&1
	[ -z "$(of_packages)" ]
	[ -z "$(inside sh -c 'lsinitramfs /boot/initrd.img-*' | grep wb-)" ]
}

@test "the shell of the initramfs flushes a cache before any root file system is touched" {
	needs qemu-system-x86_64
	[ -e "$MADE/initrd.img" ] || skip "there is no initramfs"
	make_cache v2-wrapped
	cp cache.img cache.2.img
	cp backing.img backing.2.img
	"$TOP/tests/package/boot" "$MADE/vmlinuz" "$MADE/initrd.img" cache.2.img backing.2.img >console <<-'END'
		wb-check /dev/vda; echo "checked: $?"
		wb-flush-dirty -q -y --undo=/run/undo /dev/vda /dev/vdb; echo "written: $?"
		wb-undo -y /run/undo; echo "taken back: $?"
		wb-flush-dirty --verify -y /dev/vda /dev/vdb; echo "flushed: $?"
		echo "mounted: $(grep -c vd /proc/mounts)"
	END
	for line in 'checked: 0' 'written: 0' 'taken back: 0' 'flushed: 0' 'mounted: 0'; do
		grep -q "^$line" console || { echo "not there: $line"; cat console; false; }
	done
	wb-flush-dirty -q -y cache.img backing.img
	cmp backing.img backing.2.img
	expect 0 wb-check cache.2.img
	[[ $output == *"the log was ended"* ]]
	proves "a cache was written back in the initramfs, before a root file system was looked for"
}
