# SPDX-License-Identifier: GPL-2.0-or-later
# --undo of wb-flush-dirty, and wb-undo.

load helpers

as_before() {
	cmp cache.img cache.orig && cmp backing.img backing.orig
}

@test "the command that a flush prints takes it back byte for byte, sector 0 of CACHE included" {
	pair v2/partial
	expect 0 wb-flush-dirty -y --undo="an undo.file" cache.img backing.img
	! as_before || false
	command=$(sed -n 's/^undo  *//p' <<<"$output")
	[ "$command" = "wb-undo 'an undo.file'" ]
	expect 0 bash -c "$command -y"
	as_before
}

@test "a second wb-undo has nothing to do" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --undo=undo cache.img backing.img
	expect 0 wb-undo -y undo
	expect 0 wb-undo -y --json -v undo
	field_is .written_sectors 0
	[[ $stderr == *"nothing to do"* ]]
	as_before
}

@test "what was put back can be flushed again into the same file, and put back again" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --undo=undo cache.img backing.img
	want=$(sum backing.img)
	expect 0 wb-undo -y -q undo
	expect 0 wb-flush-dirty -q -y --undo=undo cache.img backing.img
	[ "$(sum backing.img)" = "$want" ]
	expect 0 wb-undo -y -q undo
	as_before
}

@test "wb-undo -n names the devices in their order and changes nothing" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --undo=undo cache.img backing.img
	before=$(sha256sum cache.img backing.img undo)
	expect 0 wb-undo -n --json undo
	[ "$(jq -r 'select(.type == "device").device' <<<"$output")" = "$PWD/cache.img
$PWD/backing.img" ]
	[ "$(jq -r 'select(.type == "device").sectors' <<<"$output" | tr '\n' ' ')" = "1 3497 " ]
	field_is .sectors 3498
	field_is .written_sectors 0
	[ "$(sha256sum cache.img backing.img undo)" = "$before" ]
}

@test "devices that have other names now can be named" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --undo=undo cache.img backing.img
	mv cache.img a
	mv backing.img b
	expect 8 wb-undo -y undo
	expect 8 wb-undo -y undo a
	expect 0 wb-undo -y undo a b
	mv a cache.img
	mv b backing.img
	as_before
}

@test "a device of another size is refused, and more devices than were recorded" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --undo=undo cache.img backing.img
	before=$(sha256sum cache.img backing.img)
	expect 8 wb-undo -y undo backing.img cache.img
	[[ $stderr == *"33554432"* && $output == *"device 1    backing.img: 1 sector recorded, of a device of "* ]]
	expect 16 wb-undo undo cache.img backing.img backing.orig
	[ "$(sha256sum cache.img backing.img)" = "$before" ]
}

@test "a sector that was written since is refused and named; --force=changed overrides" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --undo=undo cache.img backing.img
	# a sector that the flush wrote
	at=$(cmp -l backing.img backing.orig | head -n 1 | awk '{ print int(($1 - 1) / 512) }') || true
	printf changed | dd of=backing.img bs=512 seek="$at" conv=notrunc status=none
	before=$(sha256sum cache.img backing.img undo)
	expect 8 wb-undo -n undo
	expect 8 wb-undo -y undo
	[[ $stderr == *"backing.img: at byte $((at * 512))"*"--force=changed"* ]]
	[ "$(sha256sum cache.img backing.img undo)" = "$before" ]
	expect 0 wb-undo -y --force=changed undo
	as_before
}

@test "a sector that the flush did not write may have changed" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --undo=undo cache.img backing.img
	expect 0 wb-dump --json --metablocks cache.orig
	last=$(jq -s 'map(select(.type == "metablock").sector) | max' <<<"$output")
	printf mine | dd of=backing.img bs=512 seek=$((last + 8)) conv=notrunc status=none
	expect 0 wb-undo -y undo
	[ "$(dd if=backing.img bs=512 skip=$((last + 8)) count=1 status=none | head -c 4)" = mine ]
}

@test "an undo file of other devices is refused and left alone, and nothing is written" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --undo=undo cache.img backing.img
	cp cache.orig other.img
	cp backing.orig backing.img
	before=$(sha256sum undo other.img backing.img)
	expect 8 wb-flush-dirty -y --undo=undo other.img backing.img
	[[ $stderr == *"undo: the file is there already and was recorded for"* ]]
	[ "$(sha256sum undo other.img backing.img)" = "$before" ]
}

@test "whatever else stands in the place of --undo is refused and left alone" {
	pair v2/partial
	echo precious >file
	: >empty
	for place in file empty . /dev/null missing/undo; do
		expect 8 wb-flush-dirty -y --undo="$place" cache.img backing.img
	done
	[[ $stderr == *"missing/undo: "* ]]
	for place in cache.img ./backing.img; do
		expect 16 wb-flush-dirty -y --undo="$place" cache.img backing.img
		[[ $stderr == *"--undo=$place and the operand ${place#./} name the same file"* ]]
	done
	[ "$(cat file)" = precious ]
	[ ! -s empty ]
	as_before
}

@test "an undo file with a torn record after its end is good, one that is damaged or cut short is refused until --force=cut" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --undo=undo cache.img backing.img
	cp undo whole
	printf 'WBur and then the power went' >>undo
	expect 0 wb-undo -n undo
	[[ $output == *"cut off"* ]]
	cp whole undo
	before=$(sha256sum cache.img backing.img)
	printf '\xff' | dd of=undo bs=1 seek=1700 conv=notrunc status=none
	expect 8 wb-undo -n undo
	expect 8 wb-undo -y --json undo
	[[ $stderr == *"undo: the undo file is incomplete: records are missing from byte "*"--force=cut"* ]]
	[ "$(field '[.incomplete, .missing_records, .written_sectors] | tostring')" = '[true,1,0]' ]
	expect 8 wb-flush-dirty -y --force=ended --undo=undo cache.img backing.img
	[[ $stderr == *"records are missing from byte "*"give --undo a new name"* ]]
	head -c "$(($(stat -c %s whole) / 2))" whole >undo
	expect 8 wb-undo -y undo
	[[ $stderr == *"incomplete"*"and the log was ended after them"* ]]
	[ "$(sha256sum cache.img backing.img)" = "$before" ]
	cp cache.img cache.ended
	expect 0 wb-undo -y --force=cut undo
	[[ $output == *" with old data are left"*"what was not recorded, or is missing, stays as it is"* ]]
	cmp cache.img cache.ended
	before=$(sha256sum cache.img backing.img)
	cp whole undo
	printf '\xff' | dd of=undo bs=1 seek=40 conv=notrunc status=none
	expect 8 wb-undo -y undo
	[ "$(sha256sum cache.img backing.img)" = "$before" ]
	head -c 20 whole >undo
	expect 8 wb-undo -y undo
	chmod 600 cache.img
	expect 8 wb-undo -y cache.img
	[[ $stderr == *"no undo file"* ]]
}

@test "a device that is in use is not put back" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --undo=undo cache.img backing.img
	before=$(sha256sum cache.img backing.img)
	exec 9<backing.img
	flock -x 9
	expect 8 wb-undo -y undo
	[ "$(sha256sum cache.img backing.img)" = "$before" ]
	exec 9<&-
	expect 0 wb-undo -y undo
	as_before
}

# small_place SIZE: a file system of that size, mounted at small; its rest is filled up
teardown() {
	mountpoint -q small && umount small
	return 0
}

small_place() {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	mkdir small
	mount -t tmpfs -o size="$1" tmpfs small || skip "needs tmpfs"
}

@test "no room for --undo, --state or --report: an error before anything else is written" {
	pair v2/partial
	small_place 64k
	cat /dev/zero >small/filler 2>/dev/null || true
	for option in --undo --state --report; do
		expect 8 wb-flush-dirty -y $option=small/file cache.img backing.img
		[[ $stderr == *"No space left on device"* ]]
		[ ! -e small/file ]
		as_before
	done
	rm small/filler
	expect 0 wb-flush-dirty -y --state=small/state --report=small/report cache.img backing.img
}

@test "an undo file that runs out of room stops the flush, names itself and can be put back" {
	pair v2/partial
	small_place 32k
	expect 8 wb-flush-dirty -n --undo=small/undo cache.img backing.img
	[[ $output == *"dry run     would write"* && $stderr == *"small/undo: no space left"* ]]
	[ ! -e small/undo ]
	expect 8 wb-flush-dirty -y --undo=small/undo cache.img backing.img
	[[ $stderr == *"small/undo: "*"No space left on device"* ]]
	cmp cache.img cache.orig
	cp small/undo .
	expect 0 wb-undo -y undo
	as_before
}

@test "an image whose file system has no room for its holes is refused before anything is written" {
	printf '%s\n' 'generation v2' 'slots 12' 'backing 65536' 'range 1 10 blocks 100 seed 3 span 8000' |
		"$BUILD/tests/mkcache" - cache.img backing.img
	cp cache.img cache.orig
	small_place 1m
	truncate -s 32M small/backing.img
	before=$(sum small/backing.img)
	expect 8 wb-flush-dirty -n cache.img small/backing.img
	[[ $output == *"dry run     would write"* && $stderr == *"no space left"*"make room"* ]]
	expect 8 wb-flush-dirty -y cache.img small/backing.img
	[[ $stderr == *"no space left"*"make room"* ]]
	[ "$(sum small/backing.img)" = "$before" ]
	cmp cache.img cache.orig
	mount -o remount,size=40m small
	expect 0 wb-flush-dirty -y cache.img small/backing.img
}
