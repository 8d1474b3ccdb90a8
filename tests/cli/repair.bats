# SPDX-License-Identifier: GPL-2.0-or-later
# wb-check --repair and --find-bitflip: what is changed, byte by byte, what is not, and that once is enough.

load helpers

# The bytes that differ, as "OFFSET OLD NEW" in decimal
changed_bytes() {
	cmp -l before.img cache.img | while read -r at old new; do
		echo "$((at - 1)) $((8#$old)) $((8#$new))"
	done
}

# repairs STATUS CHANGES OPTION... : these bytes change, and the second run finds nothing to do
repairs() {
	local want=$1 changes=$2
	shift 2
	cp cache.img before.img
	expect "$want" wb-check --repair -y "$@" cache.img backing.img
	diff <(printf '%s' "${changes:+$changes$'\n'}") <(changed_bytes) || { echo "$output"; return 1; }
	cp cache.img once.img
	expect $((want & 4)) wb-check --repair -y "$@" cache.img backing.img
	cmp once.img cache.img
	expect $((want & 4)) wb-check cache.img backing.img
}

golden_set() {
	unpack "$1"
	mv backing.before.img backing.img
}

# flushes_to SET POLICY: a strict flush of the repaired cache makes what that policy has to make of the set
flushes_to() {
	expect 0 wb-flush-dirty -y --keep cache.img backing.img
	[ "$(sum backing.img)" = "$(jq -r --arg set "$1" ".[\$set].$2" "$TOP/tests/golden/expected.json")" ]
}

@test "a torn head that the driver stops at gets the id that it skips" {
	golden_set v2/g3-torn-oldest-slot
	repairs 1 "5242880 25 0"
	flushes_to v2/g3-torn-oldest-slot strict
}

@test "a record with which the driver takes sectors back in time becomes 0" {
	golden_set v2/k1-record-regression-min
	repairs 1 "1048064 14 0"
	flushes_to v2/k1-record-regression-min strict
	golden_set v2/wbpart-h3-partial-truth
	repairs 1 "1048064 10 0"
	flushes_to v2/wbpart-h3-partial-truth strict
}

@test "a record that is garbage becomes 0" {
	golden_set v2/g4-record-huge
	repairs 1 "1048066 16 0"
	flushes_to v2/g4-record-huge strict
}

@test "one flipped bit is flipped back, with --find-bitflip only" {
	golden_set v2/g2-middle-data-byte
	repairs 4 ""
	repairs 1 "2921440 85 84" --find-bitflip
	flushes_to v2/g2-middle-data-byte salvage
	golden_set v2/g6-len-255-middle
	repairs 1 "2621452 255 127" --find-bitflip
	flushes_to v2/g6-len-255-middle salvage
	golden_set v2/g1-newest-data-byte
	repairs 1 "5018592 10 11" --find-bitflip
	flushes_to v2/g1-newest-data-byte salvage
	make_cache v2-id-bit
	repairs 1 "1048576 23 7" --find-bitflip
	make_cache v2-id-ahead
	expect 4 wb-check --repair -y --find-bitflip cache.img
	repairs 1 "2097152 7 3" --find-bitflip
}

@test "a damaged sector 0 becomes what the driver writes" {
	local generation
	for generation in v0 v1 v2; do
		make_cache $generation-simple
		cp cache.img sound.img
		printf 'someone was here' | dd of=cache.img bs=1 seek=0 conv=notrunc status=none
		expect 1 wb-check --repair -y cache.img
		cmp sound.img cache.img
		expect 0 wb-check cache.img
	done
	make_cache v0-orderbyte-12
	repairs 1 "4 12 5"
	expect 0 wb-flush-dirty -y cache.img backing.img
}

@test "a damaged sector 0 over a hole is restored, and the hole remains" {
	make_cache v2-two-holes
	printf '\0' | dd of=cache.img bs=1 seek=0 conv=notrunc status=none
	repairs 5 "0 0 116"
	expect 5 wb-flush-dirty -n -y --force=stateless --policy=salvage cache.img backing.img
}

@test "an all-zero sector 0 is restored only with --force=superblock and BACKING" {
	make_cache v2-sector0-zero
	cp cache.img zero.img
	repairs 4 ""
	expect 8 wb-check --repair -y --force=superblock cache.img
	cmp zero.img cache.img
	cp cache.img before.img
	expect 1 wb-check --repair -y --force=superblock cache.img backing.img
	[ "$(changed_bytes)" = "$(printf '0 0 116\n1 0 115\n2 0 66\n3 0 87')" ]
	expect 0 wb-check cache.img backing.img
}

@test "an all-zero sector 0 is not restored when the log contradicts BACKING" {
	make_cache v2-pair-contradicted
	head -c 512 /dev/zero | dd of=cache.img conv=notrunc status=none
	cp cache.img zero.img
	expect 8 wb-check --repair -y --force=superblock cache.img backing.img
	[[ $stderr == *contradicts* ]]
	cmp zero.img cache.img
}

@test "nothing else is ever changed" {
	local name
	for name in v0-record-garbage v0-rotten-lap v0-zeroed v1-ahead v1-two-holes v2-evidence-record v2-record-missing \
		v2-grown v2-shrunk v2-shifted v2-restarted v2-destroyed v2-stale-lap v2-wiped-header v2-id-zero v2-id-huge \
		v2-rotten-two-bits v2-misaligned-dirty v2-beyond-backing-dirty; do
		make_cache $name
		repairs 4 "" --find-bitflip || { echo "$name"; false; }
	done
	for name in v0-simple v1-wrapped v2-padding v2-garbage-beyond v2-torn-tail v2-torn-head-zero-id v2-formatted; do
		make_cache $name
		repairs 0 "" --find-bitflip || { echo "$name"; false; }
	done
}

@test "what is found but may not be repaired is named, with the reason" {
	make_cache v2-evidence-record
	expect 4 wb-check --repair -y cache.img backing.img
	[[ $output == *"record: the window has a hole"* ]]
	make_cache v0-record-garbage
	expect 4 wb-check --repair -y cache.img backing.img
	[[ $output == *"record: in this generation"* ]]
	make_cache v2-sector0-zero
	expect 4 wb-check --repair -y cache.img backing.img
	[[ $output == *"--force=superblock"* ]]
}

@test "every repair is announced with its old and new bytes" {
	golden_set v2/g3-torn-oldest-slot
	expect 1 wb-check --repair -y --json cache.img
	[ "$(record planned | jq -r '"\(.what) \(.slot) \(.id) \(.offset) \(.before) \(.after)"')" = \
		"torn-head 8 25 5242880 1900000000000000 0000000000000000" ]
	[ "$(record repair | jq -c 'del(.type)')" = "$(record planned | jq -c 'del(.type)')" ]
	field_is .repaired 1
	golden_set v2/g4-record-huge
	expect 1 wb-check --repair -y cache.img
	[[ $output == *"record, byte 1048064 (sector 2047): 0000100000000000 becomes 0000000000000000"* ]]
}

@test "without --yes or a terminal nothing is changed" {
	golden_set v2/g4-record-huge
	cp cache.img before.img
	expect 8 wb-check --repair cache.img
	[[ $stderr == *"--yes"* ]]
	cmp before.img cache.img
}

@test "the answer to the question is no unless it is yes" {
	need_terminal
	golden_set v2/g4-record-huge
	cp cache.img before.img
	run script -qec "wb-check --repair cache.img" /dev/null <<<""
	[ "$status" -eq 8 ]
	[[ $output == *"0000100000000000 becomes 0000000000000000"*"Write this change to cache.img? [y/N]"* ]]
	for answer in yesterday ye "y n"; do
		run script -qec "wb-check -q --repair cache.img" /dev/null <<<"$answer"
		[ "$status" -eq 8 ]
	done
	cmp before.img cache.img
	run script -qec "wb-check --repair cache.img" /dev/null <<<Yes
	[ "$status" -eq 1 ]
	[ "$(changed_bytes)" = "1048066 16 0" ]
}

@test "--repair opens CACHE for writing and alone from the start" {
	golden_set v2/simple
	exec 9<cache.img
	flock 9
	expect 8 wb-check --repair -y cache.img
	expect 0 wb-check cache.img
	exec 9<&-
	expect 0 wb-check --repair -y cache.img
	chmod a-w cache.img
	run mortal wb-check --repair -y cache.img
	[ "$status" -eq 8 ]
}

@test "a CACHE under a loop device is refused, and the holder named" {
	golden_set v2/g4-record-huge
	loop=$(losetup --find --show cache.img 2>/dev/null) || skip "needs loop devices"
	run --separate-stderr wb-check --repair -y cache.img
	losetup -d "$loop"
	[ "$status" -eq 8 ]
	[[ $stderr == *"$loop"* ]]
}

@test "--find-bitflip names sector, byte and bit, before and after" {
	golden_set v2/g2-middle-data-byte
	cp cache.img before.img
	expect 4 wb-check --find-bitflip cache.img
	[[ $output == *"segment 36 in slot 3, byte 2921440 (sector 5705): 55 becomes 54; chance looks like this once in 1"* ]]
	expect 4 wb-check --find-bitflip --json cache.img
	[ "$(record bitflip | jq -r '"\(.slot) \(.id) \(.offset) \(.lba) \(.before) \(.after)"')" = "3 36 2921440 5705 55 54" ]
	cmp before.img cache.img
	make_cache v2-rotten-two-bits
	expect 4 wb-check --find-bitflip --json cache.img
	field_is .bitflips 0
}

@test "options that contradict each other are usage errors" {
	golden_set v2/simple
	expect 16 wb-check --repair --metadata-only cache.img
	expect 16 wb-check --find-bitflip --metadata-only cache.img
	expect 16 wb-check --force=superblock cache.img
	expect 16 wb-check --repair --force=dirty cache.img
}

@test "an ended log has nothing to repair" {
	make_cache v2-simple
	wb-format -q --reset -y --force=dirty cache.img
	repairs 0 "" --find-bitflip
}

@test "a cache over 2 TiB is repaired only under a chosen reading" {
	make_cache v2-record-garbage
	truncate -s 2200G cache.img || skip "no sparse file of that size here"
	expect 8 wb-check --repair -y --slots=4505598 cache.img
	[[ $stderr == *"--slot-address"* ]]
}

@test "what --undo recorded of a repair is put back byte for byte" {
	local set
	for set in v2/g3-torn-oldest-slot v2/k1-record-regression-min v2/g2-middle-data-byte; do
		rm -f undo
		unpack "$set"
		cp cache.img cache.orig
		expect 1 wb-check --repair -y --find-bitflip --undo=undo cache.img
		[[ $output == *"undo        wb-undo undo"* ]]
		! cmp -s cache.img cache.orig
		expect 0 wb-undo -y undo
		cmp cache.img cache.orig
	done
}

@test "--undo is for --repair, and is not created when nothing is changed" {
	make_cache v2-record-garbage
	expect 16 wb-check --undo=undo cache.img
	expect 8 wb-check --repair --undo=undo cache.img </dev/null
	[ ! -e undo ]
	make_cache v2-simple
	expect 0 wb-check --repair -y --undo=undo cache.img
	[ ! -e undo ]
}
