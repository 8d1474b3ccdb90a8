# SPDX-License-Identifier: GPL-2.0-or-later
# Devices of all sizes, in every command that takes them. test_sizes has the same in memory, where no file system is needed.

load helpers

SIZES=($((2**41 - 512)) $((2**41)) $((2**41 + 512)) $((3 * 2**40)) $((16 * 2**40)) $((64 * 2**40)) 9223372036854775296)

setup_file() {
	BIG=$(mktemp -d /dev/shm/wb-sizes.XXXXXX 2>/dev/null) || BIG=$BATS_FILE_TMPDIR
	export BIG
}

teardown_file() {
	rm -rf "$BIG"
}

teardown() {
	[ -z "${loop:-}" ] || losetup -d "$loop"
}

# big FILE SIZE: FILE, all holes, here or where files may be that large
big() {
	rm -f "$1" "$BIG/${1##*/}"
	truncate -s "$2" "$1" 2>/dev/null && return
	rm -f "$1"
	truncate -s "$2" "$BIG/${1##*/}" 2>/dev/null && ln -s "$BIG/${1##*/}" "$1"
}

# end_log SIZE: cache.img, whose log is about the last three blocks of a BACKING of that size
end_log() {
	last=$((8 * ($1 / 4096 - ($1 % 4096 ? 0 : 1))))
	printf 'generation v2\nslots 3\nsegment 1\nblock %d ff\nblock %d ff\nsegment 2\nblock %d ff\nblock %d 0f\n' \
		$((last - 8)) $((last - 16)) $last $((last - 16)) | "$BUILD/tests/mkcache" - cache.img
}

# at_end DEVICE SIZE: whether the last block of DEVICE holds what block 0 of segment 2 does
at_end() {
	cmp -n $((($2 - 1) % 4096 + 1)) -i $((2**20 + 2**19 + 4096)):$((last * 512)) cache.img "$1"
}

# every_command DEVICE SIZE: each command that takes BACKING
every_command() {
	expect 0 wb-check cache.img "$1"
	[[ $output == *"needed until flushed"* ]]
	expect 0 wb-dump --list-dirty cache.img "$1"
	[[ $output == *"$((last - 16)) "* ]]
	expect 0 wb-dump --sector=$last cache.img "$1"
	expect 0 wb-check --explain-kernel cache.img "$1"
	expect 8 wb-format -n --reset --backing="$1" cache.img
	[[ $stderr == *"write them back"* ]]
	expect 0 wb-flush-dirty -n cache.img "$1"
	run at_end "$1" "$2"
	[ "$status" -eq 1 ]
	rm -f undo state
	expect 0 wb-flush-dirty -q -y --keep --verify --compare --undo=undo --state=state cache.img "$1"
	at_end "$1" "$2"
	expect 0 wb-flush-dirty -q -y --keep --undo=undo --state=state cache.img "$1"
	expect 0 wb-check --require-clean cache.img "$1"
	expect 0 wb-undo -q -y undo
	run at_end "$1" "$2"
	[ "$status" -eq 1 ]
	expect 0 wb-flush-dirty -q -y cache.img "$1"
	at_end "$1" "$2"
	expect 0 wb-flush-dirty cache.img "$1"
	[[ $output == *"nothing to do"* ]]
}

@test "a BACKING of any size up to 8 EiB: dirty blocks at its very end are flushed, verified, resumed and taken back" {
	local size missing=
	for size in "${SIZES[@]}"; do
		big backing.img "$size" || { missing+=" $size"; continue; }
		end_log "$size"
		every_command backing.img "$size"
	done
	[ -z "$missing" ] || skip "no sparse file of$missing bytes here"
}

@test "a BACKING of any size on a loop device" {
	[ "$(id -u)" -eq 0 ] && losetup -f >/dev/null 2>&1 || skip "loop devices need root"
	local size missing=
	for size in "${SIZES[@]}"; do
		big backing.img "$size" && loop=$(losetup -f --show backing.img 2>/dev/null) || { missing+=" $size"; continue; }
		end_log "$size"
		every_command "$loop" "$size"
		losetup -d "$loop"
		loop=
	done
	[ -z "$missing" ] || skip "no loop device of$missing bytes here"
}

@test "BACKING carries a writeboost header by its magic or our marker, whatever follows and whatever its size" {
	local size
	end_log 33554432
	for size in 512 4096 3T; do
		big backing.img $size || continue
		printf 'tsBW' | dd of=backing.img conv=notrunc status=none
		expect 8 wb-check cache.img backing.img
		[[ $stderr == *"BACKING carries a writeboost header"* ]]
		expect 8 wb-flush-dirty -n cache.img backing.img
		[[ $stderr == *"BACKING carries a writeboost header"* ]]
		expect 8 wb-format -n --reset --backing=backing.img cache.img
		[[ $stderr == *"BACKING carries a writeboost header"* ]]
	done
}

@test "a device that is not a cache is said to be none, of whatever size" {
	local size command
	truncate -s 1M backing.img
	for size in 0 1 512 1M 3T 9223372036854775296; do
		big cache.img "$size" || continue
		for command in wb-check "wb-check --repair -y" wb-dump "wb-flush-dirty -n" "wb-format -y --reset"; do
			[ "$command" != "wb-flush-dirty -n" ] || command+=" cache.img backing.img"
			[[ $command == *cache.img* ]] || command+=" cache.img"
			expect 8 $command
			[[ $stderr == *"not a writeboost cache"* ]]
			[[ $stderr != *slot-address* ]]
		done
	done
}

@test "with a BACKING of less than a sector -n and the real run agree: beyond-backing, 4" {
	local size
	make_cache v1-simple
	cp cache.img cache.orig
	for size in 0 1 511; do
		rm -f backing.img
		truncate -s $size backing.img
		expect 4 wb-flush-dirty -n -y cache.img backing.img
		expect 4 wb-flush-dirty -y cache.img backing.img
		[[ $stderr == *"beyond the end of BACKING"* ]]
		expect 5 wb-flush-dirty -n -y --force=stateless --policy=salvage cache.img backing.img
		expect 4 wb-check cache.img backing.img
		[[ $output == *beyond-backing* ]]
		cmp cache.img cache.orig
		[ "$(stat -c %s backing.img)" -eq $size ]
	done
}

@test "a clone that was cut short: how many bytes are missing, and to copy it again" {
	make_cache v2-wrapped
	truncate -s -524288 cache.img
	expect 4 wb-check cache.img backing.img
	[[ $output == *"the file is 524288 bytes short: copy it again. Change nothing yet."* ]]
	[[ $output == *"candidate   --slots=6 puts every segment in place; the file is 524288 bytes short"* ]]
	expect 4 wb-check --slots=6 cache.img backing.img
	[[ $output == *"the file is 524288 bytes short: copy it again. Of what is here"* ]]
	[[ $output == *cut-short* && $output != *unreadable* ]]
	expect 4 wb-flush-dirty -n --slots=6 cache.img backing.img
	[[ $stderr == *"the file is 524288 bytes short: copy it again"* ]]
	[[ $stderr != *holes\ of* && $stderr != *errors* ]]
	expect 0 wb-dump --slots=6 cache.img
	[[ $output == *"the file is 524288 bytes short: copy it again"* ]]
}

@test "an odd byte: the file is that many bytes short of a sector" {
	make_cache v2-wrapped
	truncate -s +1 cache.img
	expect 0 wb-check cache.img backing.img
	[[ $output == *"the file is 511 bytes short: copy it again"* ]]
	expect 0 wb-check --json cache.img backing.img
	[ "$(record finding | jq -r '.class, .severity, .missing_bytes' | tr '\n' ' ')" = "cut-short warning 511 " ]
}

@test "a clone whose sector 0 or record was not rescued is written back" {
	make_cache v2-wrapped
	cp backing.img backing.orig
	printf '# Mapfile\n0x0 + 1\n0x0 0x200 -\n0x200 0x3ffe00 +\n' >super.map
	printf '# Mapfile\n0x0 + 1\n0x0 0xffe00 +\n0xffe00 0x200 -\n0x100000 0x300000 +\n' >record.map
	expect 8 wb-flush-dirty -n --cache-map=super.map cache.img backing.img
	[[ $stderr == *"sector 0 cannot be read"*"the map says"*"--force=ended"* && $stderr != *ddrescue* ]]
	[[ $output == *"next        wb-flush-dirty --cache-map=super.map -n --force=ended cache.img backing.img"* ]]
	expect 0 wb-flush-dirty -q -y --keep --force=ended --cache-map=super.map cache.img backing.img
	expect 0 wb-check -q --require-clean cache.img backing.img
	cp backing.orig backing.img
	expect 0 wb-flush-dirty -q -y --keep --cache-map=record.map cache.img backing.img
	[[ $stderr == *"the superblock record cannot be read"* ]]
	expect 0 wb-check -q --require-clean cache.img backing.img
}
