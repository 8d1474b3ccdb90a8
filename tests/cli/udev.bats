# SPDX-License-Identifier: GPL-2.0-or-later
# What a cache is called by wb-check --export, by the udev rule and by file(1).

load helpers

@test "--export prints KEY=value lines and nothing else" {
	make_cache v2-wrapped
	expect 0 wb-check --export cache.img
	diff - <(echo "$output") <<-'END'
		ID_FS_TYPE=dm_writeboost_cache
		ID_FS_USAGE=other
		ID_FS_VERSION=v2
		ID_WRITEBOOST_STATE=log
		ID_WRITEBOOST_GENERATION=v2
		ID_WRITEBOOST_ORDER=10
		ID_WRITEBOOST_SEGMENTS=6
	END
	[ -z "$stderr" ]
}

@test "--export knows the generations, and a log that was ended" {
	local generation
	for generation in v0 v1 v2; do
		make_cache $generation-simple
		expect 0 wb-check --export cache.img
		[[ $output == *"ID_WRITEBOOST_GENERATION=$generation"* ]]
	done
	wb-format -q --reset -y --force=dirty cache.img
	expect 0 wb-check --export cache.img
	[ "$output" = $'ID_FS_TYPE=dm_writeboost_cache\nID_FS_USAGE=other\nID_WRITEBOOST_STATE=ended' ]
}

@test "--export claims nothing that a driver would not accept" {
	local name
	for name in blank foreign v2-sector0-zero v2-sector0-garbage v1-orderbyte-12; do
		make_cache $name
		expect 8 wb-check --export cache.img
		[ -z "$output" ]
	done
	: >empty.img
	expect 8 wb-check --export empty.img
	expect 8 wb-check --export missing.img
}

@test "--export reads no log: damage and size make no difference" {
	make_cache v2-simple
	dd if=/dev/urandom of=cache.img bs=4096 seek=258 count=64 conv=notrunc status=none
	truncate -s 2200G cache.img || skip "no sparse file of that size here"
	expect 0 timeout 10 wb-check --export cache.img
	[[ $output == *ID_WRITEBOOST_SEGMENTS=4505598* ]]
}

@test "--export goes on whoever has the device, and gets in nobody's way" {
	make_cache v2-simple
	exec 9<cache.img
	flock 9
	expect 0 wb-check --export cache.img
	[ -z "$stderr" ]
}

@test "--export goes with nothing else" {
	make_cache v2-simple
	expect 16 wb-check --export --repair cache.img
	expect 16 wb-check --export --json cache.img
	expect 16 wb-check --export cache.img backing.img
}

# The program that the rule imports, as udev would run it for a device
import_line() {
	sed -nE 's/^.*IMPORT\{program\}="([^"]*)".*$/\1/p' "$1" | sed "s|\$devnode|$2|"
}

@test "the udev rule is well-formed, and its program works as printed" {
	local rules=$TOP/share/65-dm-writeboost.rules
	if udevadm verify --help >/dev/null 2>&1; then
		udevadm verify --no-style "$rules"
	fi
	# every line is comma-separated KEY{attribute} operator "value", and every GOTO has its LABEL
	[ -z "$(grep -v '^#' "$rules" | grep -vxE '(([A-Z]+(\{[a-zA-Z_]+\})?)(==|!=|\+=|:=|=)"[^"]*"(, )?)*')" ]
	diff <(grep -o 'GOTO="[^"]*"' "$rules" | cut -d'"' -f2 | sort -u) <(grep -o 'LABEL="[^"]*"' "$rules" | cut -d'"' -f2)
	make -s -C "$TOP" BUILD="$BUILD" DESTDIR="$PWD/root" prefix=/usr install
	make_cache v2-simple
	run import_line root/usr/lib/udev/rules.d/65-dm-writeboost.rules "$PWD/cache.img"
	[[ $output == /usr/sbin/wb-check* ]]
	run $PWD/root$output
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = ID_FS_TYPE=dm_writeboost_cache ]
}

@test "the udev rule looks at devices where blkid may have found what is left over in sector 0" {
	local rules=$TOP/share/65-dm-writeboost.rules type skip
	make_cache v2-simple
	printf '\x80\x20\x21\0\x83\xfe\xff\xff\0\x08\0\0\0\x10\0\0' | dd of=cache.img bs=1 seek=446 conv=notrunc status=none
	printf '\x55\xaa' | dd of=cache.img bs=1 seek=510 conv=notrunc status=none
	expect 0 blkid -p -o udev cache.img
	[[ $output == *ID_PART_TABLE_TYPE=dos* ]]
	# a line ends the rule where every condition on it holds
	grep -q '^ENV{ID_PART_TABLE_TYPE}=="?\*", ENV{ID_PART_TABLE_TYPE}!="dos", GOTO=' "$rules"
	grep -q '^ENV{ID_FS_TYPE}=="?\*", ENV{ID_FS_TYPE}!="vfat", GOTO=' "$rules"
	expect 0 wb-check --export cache.img
	[[ $output == ID_FS_TYPE=dm_writeboost_cache* ]]
}

@test "the rule names the program where it was installed" {
	make -s -C "$TOP" BUILD="$BUILD" DESTDIR="$PWD/root" prefix=/opt/wb install
	run import_line root/opt/wb/lib/udev/rules.d/65-dm-writeboost.rules DEVICE
	[ "$output" = "/opt/wb/sbin/wb-check --export DEVICE" ]
}

# magic NAME WORDS...
says() {
	local name=$1
	shift
	make_cache "$name"
	run file -b -m "$TOP/share/magic/dm-writeboost" cache.img
	[ "$output" = "$*" ] || { echo "$name: $output"; return 1; }
}

@test "file(1) knows a cache by its magic" {
	command -v file >/dev/null || skip "file is not installed"
	says v2-simple "dm-writeboost cache, v2"
	says v2-record-sound "dm-writeboost cache, v2, written back up to segment 6"
	says v1-simple "dm-writeboost cache, v0 or v1, segments of 2^4 sectors"
	says v1-order-10 "dm-writeboost cache, v0 to v2, segments of 2^10 sectors"
	says v0-simple "dm-writeboost cache, v0 or v1, segments of 2^4 sectors"
	says blank data
	make_cache v2-simple
	wb-format -q --reset -y --force=dirty cache.img
	run file -b -m "$TOP/share/magic/dm-writeboost" cache.img
	[[ $output == "dm-writeboost cache, its log was ended "*20??", some of it was left out, by a reset" ]]
}
