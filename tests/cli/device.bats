# SPDX-License-Identifier: GPL-2.0-or-later
# Which device is the cache, and which part of it: --start and --size, whole disks, several signatures, the wrong disk.
# tests/unit/test_part.c has the matrix of layouts.

load helpers

# A disk whose second DOS partition, from sector 2048 on, is a cache; $whole is it, $cache the cache alone.
setup_file() {
	where
	cd "$BATS_FILE_TMPDIR" || return 1
	printf 'generation v2\nslots 6\nbacking 65536\nrange 1 9 blocks 4 seed 1 span 4096\nwriteback 1\n' |
		"$BUILD/tests/mkcache" - cache.img backing.img
	truncate -s 6M whole.img
	dd if=cache.img of=whole.img bs=1M seek=1 conv=notrunc status=none
	# entry 2: type 0x83, sectors 2048 to 10239
	printf '\0\0\0\0\x83\0\0\0\0\x08\0\0\0\x20\0\0' | dd of=whole.img bs=1 seek=462 conv=notrunc status=none
	printf '\x55\xaa' | dd of=whole.img bs=1 seek=510 conv=notrunc status=none
}

# here FILE...: copies of those
here() {
	local file
	for file; do
		cp --sparse=always "$BATS_FILE_TMPDIR/$file" "$file"
	done
}

PART=(--start=1MiB --size=4MiB)

@test "a whole disk is read where its partition holds a cache, and the line names it" {
	here whole.img cache.img backing.img
	expect 0 wb-check whole.img backing.img
	[[ $stderr == *"whole.img: CACHE has a dos partition table; partition 2 holds a cache and is taken: --start=1048576 --size=4194304"* ]]
	[[ $output == *"whole.img, 4.0 MiB, the part of it from byte 1048576 on: offsets count from there"* ]]
	expect 0 wb-dump --segments whole.img
	there=$output
	expect 0 wb-dump --segments cache.img
	[ "$output" = "$there" ]
	for command in "wb-check whole.img backing.img" "wb-dump whole.img backing.img"; do
		expect 0 $command
		step=$(sed -n 's/^next *//p' <<<"$output")
		[ "$step" = "wb-flush-dirty -n --start=1048576 --size=4194304 whole.img backing.img" ]
		expect 0 $step
	done
	expect 0 wb-check --json whole.img
	[[ $(record part) == *'"start":1048576,"size":4194304,"partition":2,"table":"dos"'* ]]
}

@test "commands that write ask for --start and say its value" {
	here whole.img backing.img
	for command in "wb-check --repair -y" "wb-flush-dirty -y" "wb-flush-dirty -n" "wb-format --reset -y --force=dirty"; do
		operands="whole.img backing.img"
		[[ $command == wb-format* ]] && operands=whole.img
		# shellcheck disable=SC2086
		expect 8 $command $operands
		[[ $stderr == *"partition 2 of it holds a cache: give that partition, or --start=1048576 --size=4194304"* ]]
	done
	cmp whole.img "$BATS_FILE_TMPDIR/whole.img"
	cmp backing.img "$BATS_FILE_TMPDIR/backing.img"
}

@test "with --start and --size a part is written back and ended, and wb-undo takes that back" {
	here whole.img cache.img backing.img
	cp backing.img direct.img
	expect 0 wb-flush-dirty -y cache.img direct.img
	expect 0 wb-flush-dirty -y "${PART[@]}" --undo=undo whole.img backing.img
	[[ $output == *"that part of whole.img is free: wb-format --start=1048576 --size=4194304 makes a new cache of it"* ]]
	cmp backing.img direct.img
	cmp -n 1048576 whole.img "$BATS_FILE_TMPDIR/whole.img"
	expect 0 wb-check "${PART[@]}" whole.img
	[[ $output == *"all of it had been written to a BACKING of "* ]]
	expect 0 wb-undo -y undo
	cmp whole.img "$BATS_FILE_TMPDIR/whole.img"
	cmp backing.img "$BATS_FILE_TMPDIR/backing.img"
}

@test "a part is repaired, formatted and reset where it lies, and nothing around it changes" {
	here whole.img
	head -c 512 /dev/urandom | dd of=whole.img bs=1M seek=1 conv=notrunc status=none
	expect 1 wb-check --repair -y "${PART[@]}" whole.img
	cmp whole.img "$BATS_FILE_TMPDIR/whole.img"
	expect 0 wb-format --reset -y --force=dirty "${PART[@]}" whole.img
	[[ $output == *"the part of it from byte 1048576 on"* ]]
	expect 0 wb-format -y --undo=undo "${PART[@]}" whole.img
	[[ $output == *"6 segments of 127 blocks"* ]]
	cmp -n 1048576 whole.img "$BATS_FILE_TMPDIR/whole.img"
	cmp -i 5242880 whole.img "$BATS_FILE_TMPDIR/whole.img"
}

@test "offsets in errors and in the map of failures say what they count from" {
	here whole.img backing.img
	# the second data block of slot 2, on the whole disk
	printf '0x0 + 1\n0x0 0x302000 +\n0x302000 0x1000 -\n0x303000 0x2fd000 +\n' >map
	expect 4 wb-flush-dirty -n "${PART[@]}" --cache-map=map --failed=failed whole.img backing.img
	grep -q '^0x00302000  0x00001000  -$' failed || { cat failed; false; }
}

@test "--start and --size: what they can be" {
	here cache.img
	for wrong in --start=1 --start=-511 --start= --start=x --start=16EiB --size=0 --size= --size=-512; do
		expect 16 wb-check "$wrong" cache.img
	done
	expect 8 wb-check --start=4MiB cache.img
	[[ $stderr == *"the part begins at byte 4194304, and the device has 4194304 bytes"* ]]
	expect 8 wb-check --size=5MiB cache.img
	[[ $stderr == *"the device ends 1048576 bytes earlier"* ]]
	expect 16 wb-undo --start=512 undo
}

@test "an old raid superblock beside a new file system: both are named, and the raid decides" {
	here cache.img backing.img
	printf '\x53\xef' | dd of=backing.img bs=1 seek=1080 conv=notrunc status=none
	mkfs=$(PATH=$PATH:/sbin:/usr/sbin command -v mkfs.ext4) || skip "needs mkfs.ext4"
	"$mkfs" -q -F -L data backing.img
	end=$(($(stat -c %s backing.img) - 65536))
	printf '\xfc\x4e\x2b\xa9\0\0\0\0\x5a\0\0\0\0\0\0\0\0\0\0\0\x12\x34\x56\x78' |
		dd of=backing.img bs=4096 seek=$((end / 4096)) conv=notrunc status=none
	expect 8 wb-flush-dirty -n --json cache.img backing.img
	[[ $stderr == *"the signature of a raid member"*"linux_raid_member"*"and ext4 \"data\""* ]]
	[[ $(grep '"role":"backing"' <<<"$output") == *'"signatures":["ext4","linux_raid_member"]'* ]]
}

@test "a container as BACKING is refused with the tool that opens it, until --force=signature" {
	here cache.img backing.img
	printf 'QFI\xfb\0\0\0\3' | dd of=backing.img conv=notrunc status=none
	cp backing.img before.img
	expect 8 wb-flush-dirty -y cache.img backing.img
	[[ $stderr == *"BACKING is a qcow2 image, not a raw image: attach it with qemu-nbd --connect=/dev/nbd0 backing.img"* ]]
	expect 8 wb-check cache.img backing.img
	[[ $stderr == *"qcow2 image"* ]]
	cmp backing.img before.img
	expect 0 wb-flush-dirty -n --force=signature cache.img backing.img
}

@test "the wrong disk is the verdict, with and without -q, and a problem" {
	make_cache v2-pair-contradicted
	expect 4 wb-check cache.img backing.img
	[[ ${lines[1]} == "verdict     BACKING is not the disk of this cache"* ]]
	[[ ${lines[2]} == "            look for the right disk: wb-check cache.img DISK"* ]]
	[[ $output != *"wb-flush-dirty"* ]]
	expect 4 wb-check -q cache.img backing.img
	[[ $output == "verdict     BACKING is not the disk of this cache"* ]]
}

@test "of a device that is refused --explain-kernel explains nothing" {
	here backing.img
	expect 8 wb-check --explain-kernel backing.img/ # not a device at all
	printf 'QFI\xfb\0\0\0\3' | dd of=backing.img conv=notrunc status=none
	expect 8 wb-check --explain-kernel backing.img
	[ -z "$output" ]
}

@test "a cache whose beginning was cut off is read and written back from where it began" {
	here cache.img backing.img
	cp backing.img direct.img
	expect 0 wb-flush-dirty -y cache.img direct.img
	tail -c +1048577 "$BATS_FILE_TMPDIR/cache.img" >late.img
	expect 4 wb-check late.img backing.img
	[[ ${lines[2]} == "next        wb-check --start=-1048576 --size=4194304 late.img"* ]]
	expect 4 wb-check --start=-1048576 --size=4194304 late.img backing.img
	[[ $output == *"the beginning of this cache is not on the device"* ]]
	cp late.img late.orig
	run --separate-stderr wb-flush-dirty -y --force=ended --start=-1MiB late.img backing.img
	[[ $stderr == *"its sector 0 is not on this device"*"the log will not be ended"* ]]
	cmp backing.img direct.img
	cmp late.img late.orig
	expect 16 wb-format -y --force=dirty --start=-1MiB late.img
}

@test "a part is packed, exported and listed like a device of its own" {
	here whole.img cache.img
	expect 0 wb-check --export "${PART[@]}" whole.img
	there=$output
	expect 0 wb-check --export cache.img
	[ "$output" = "$there" ]
	expect 0 wb-dump --list-dirty "${PART[@]}" whole.img
	there=$output
	expect 0 wb-dump --list-dirty cache.img
	[ "$output" = "$there" ]
	expect 0 wb-dump --pack=pack "${PART[@]}" whole.img
	expect 0 wb-check pack
	[[ $output == *"6 segments of 512.0 KiB"* ]]
	expect 16 wb-check --start=1MiB pack
	expect 0 wb-check --explain-kernel "${PART[@]}" whole.img
	[[ $output == *"segments 4 to 9"* ]]
}
