# SPDX-License-Identifier: GPL-2.0-or-later
# Failing media: what a clone lacks (--cache-map) stands for sectors that cannot be read.

load helpers

# clone OFFSET LENGTH: a map that says these bytes of cache.img were never rescued
clone() {
	local size
	size=$(stat -c %s cache.img)
	printf '# Mapfile\n0x0 + 1\n0 %d +\n%d %d -\n%d %d +\n' "$1" "$1" "$2" $(($1 + $2)) $((size - $1 - $2)) >clone.map
}

# Byte of data block INDEX in the slot of v2 that holds segment ID, in a cache of SLOTS slots
data_at() {
	echo $((1048576 + (($1 - 1) % $3) * 524288 + 4096 * ($2 + 1)))
}

# small GENERATION ORDER: three segments whose second data block of segment 1 is needed
small() {
	printf 'generation %s\norder %s\nslots 4\nbacking 4096\n%s\n' "$1" "$2" \
		'segment 1
		block 8 ff
		block 800 ff
		segment 2
		block 16 ff
		segment 3
		block 24 ff' | "$BUILD/tests/mkcache" - cache.img backing.img
	cp backing.img original.img
}

@test "with an unreadable block strict refuses and changes nothing" {
	small v2 10
	clone "$(data_at 1 0 4)" 512
	expect 4 wb-flush-dirty -y --cache-map=clone.map cache.img backing.img
	[[ $stderr == *"parts of CACHE cannot be read"* && $output != *ddrescue* ]]
	cmp backing.img original.img
}

@test "salvage writes all but the unreadable sectors, lists them in a map and keeps the log" {
	small v2 10
	cp backing.img whole.img
	expect 0 wb-flush-dirty -q -y --keep cache.img whole.img
	clone "$(data_at 1 1 4)" 1024 # sectors 800 and 801
	expect 5 wb-flush-dirty -n --force=stateless --policy=salvage --cache-map=clone.map cache.img backing.img
	[[ $output == *"unreadable  2 sectors of the log; BACKING would be left as it is there"* ]]
	expect 5 wb-flush-dirty -y --json --force=stateless --policy=salvage --cache-map=clone.map --failed=failed.map cache.img backing.img
	field_is .unreadable_sectors 2
	field_is .ended false
	dd if=whole.img of=expected.img bs=512 status=none
	dd if=/dev/zero of=expected.img bs=512 seek=800 count=2 conv=notrunc status=none
	dd if=backing.img of=found.img bs=512 status=none
	dd if=/dev/zero of=found.img bs=512 seek=800 count=2 conv=notrunc status=none
	cmp expected.img found.img
	grep -q "$(printf '0x%08X  0x%08X  -' "$(data_at 1 1 4)" 1024)" failed.map || { cat failed.map; false; }
	! command -v ddrescuelog >/dev/null || ddrescuelog -t failed.map
}

@test "an unreadable header makes a hole" {
	small v2 10
	clone $((1048576 + 524288)) 512
	expect 4 wb-flush-dirty -y --cache-map=clone.map cache.img backing.img
	[[ $stderr == *holes* ]]
	cmp backing.img original.img
	expect 5 wb-flush-dirty -y --json --force=stateless --policy=prefix --cache-map=clone.map cache.img backing.img
	field_is .last_id 1
	clone $((1048576 + 524288)) 512
	expect 5 wb-flush-dirty -n --force=stateless --policy=salvage --cache-map=clone.map cache.img backing.img
	[[ $output == *"left out    slot 1: unreadable"* && $output != *"segment 0"* ]]
}

@test "what is unreadable behind the length of a segment does not matter" {
	unpack v2/partial
	cp backing.before.img whole.img
	expect 0 wb-flush-dirty -q -y --keep cache.img whole.img
	cp backing.before.img backing.img
	clone "$(data_at 50 126 126)" 512 # behind the segment's length
	expect 0 wb-flush-dirty -y --keep --cache-map=clone.map cache.img backing.img
	cmp whole.img backing.img
	[[ $output == *"original    the log on the device that cache.img is a copy of is not ended"* ]]
}

@test "v0 leaves unreadable sectors alone and writes the rest under salvage" {
	small v0 7
	cp backing.img whole.img
	expect 0 wb-flush-dirty -q -y --keep cache.img whole.img
	clone $((1048576 + 8192 + 1024)) 512 # sector 802
	expect 4 wb-flush-dirty -y --cache-map=clone.map cache.img backing.img
	expect 5 wb-flush-dirty -y --json --force=stateless --policy=salvage --cache-map=clone.map cache.img backing.img
	field_is .unreadable_sectors 1
	[ "$(cmp -l whole.img backing.img | awk '{ s[int(($1 - 1) / 512)] } END { for (i in s) print i }')" = 802 ]
}

@test "maps that are no maps are refused with their line" {
	unpack v2/simple
	before=$(sum backing.before.img)
	echo "nonsense" >clone.map
	expect 8 wb-flush-dirty -y --cache-map=clone.map cache.img backing.before.img
	[[ $stderr == *"line 1"* ]]
	expect 8 wb-flush-dirty -y --cache-map=missing.map cache.img backing.before.img
	[ "$(sum backing.before.img)" = "$before" ]
	expect 16 wb-flush-dirty --cache-map= cache.img backing.before.img
	expect 16 wb-flush-dirty --retry=1001 cache.img backing.before.img
}

@test "--failed never overwrites a file" {
	unpack v2/simple
	echo precious >failed.map
	before=$(sum backing.before.img)
	expect 8 wb-flush-dirty -y --failed=failed.map cache.img backing.before.img
	[[ $stderr == *"there already"* ]]
	[ "$(cat failed.map)" = precious ]
	[ "$(sum backing.before.img)" = "$before" ]
	expect 8 wb-flush-dirty -y --failed=/nonexistent/failed.map cache.img backing.before.img
}

@test "a map of a whole clone says so" {
	unpack v2/simple
	expect 0 wb-flush-dirty -y --failed=failed.map --retry=3 cache.img backing.before.img
	! grep -q ' -$' failed.map || false
}

@test "--compare writes only what differs, and the image is the same" {
	unpack v2/wrapped-d1
	cp backing.before.img plain.img
	expect 0 wb-flush-dirty -q -y --keep cache.img plain.img
	expect 0 wb-check --json cache.img backing.before.img
	dirty=$(field .dirty_sectors)
	cp backing.before.img backing.img
	expect 0 wb-flush-dirty -y --json --keep --compare cache.img backing.img
	cmp plain.img backing.img
	field_is .written_sectors "$dirty"
	[ "$(field '.skipped_equal + .written_sectors')" = "$(field .planned_sectors)" ]
	expect 0 wb-flush-dirty -y --json --keep --compare cache.img backing.img
	field_is .written_sectors 0
}

@test "sectors whose newest version is lost are listed" {
	make_cache v2-rotten-two-bits
	expect 5 wb-flush-dirty -y --json --force=stateless --policy=salvage cache.img backing.img
	[ "$(grep '"type":"stale"' <<<"$output" | jq .sectors | awk '{ s += $1 } END { print s }')" = "$(field .stale_sectors)" ]
	make_cache v2-rotten-two-bits
	expect 5 wb-flush-dirty -y --force=stateless --policy=salvage cache.img backing.img
	[[ $output == *"their newest version is lost"* ]]
}

@test "on a device of 4096-byte blocks partial blocks are merged with what BACKING holds" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	unpack v2/partial
	cp backing.before.img whole.img
	expect 0 wb-flush-dirty -q -y --keep cache.img whole.img
	cp backing.before.img backing.img
	loop=$(losetup -f --show --sector-size 4096 backing.img 2>/dev/null) || skip "no loop devices of that kind"
	run wb-flush-dirty -y --verify --keep --json cache.img "$loop"
	cacheloop=$(losetup -f --show cache.img)
	run2=0
	wb-flush-dirty -q -y --verify "$cacheloop" "$loop" || run2=$?
	losetup -d "$loop" "$cacheloop"
	[ "$status" -eq 0 ] || { echo "$output"; false; }
	[ "$run2" -eq 0 ]
	cmp whole.img backing.img
	bears_marker cache.img
}

@test "with sectors of 4096 bytes every command works, whichever of CACHE and BACKING has them" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	for which in cache backing both; do
		make_cache v2-torn-head
		truncate -s %4096 cache.img backing.img
		before=$(sha256sum cache.img backing.img)
		cache=cache.img backing=backing.img
		[ $which = backing ] || cache=$(losetup -f --show --sector-size 4096 cache.img 2>/dev/null) || skip "no loop devices of that kind"
		[ $which = cache ] || backing=$(losetup -f --show --sector-size 4096 backing.img)
		rm -f repairs undo state pack
		set -- "0 wb-check --explain-kernel --find-bitflip $cache $backing" "0 wb-dump --segments $cache" "0 wb-dump --list-dirty $cache $backing" \
			"0 wb-dump --sector=0-100 $cache" "0 wb-dump --pack=pack $cache" "0 wb-check --export $cache" "1 wb-check -n --repair $cache" \
			"1 wb-check -y --repair --undo=repairs $cache" "0 wb-undo -y repairs $cache" "0 wb-flush-dirty -n $cache $backing" \
			"0 wb-flush-dirty -y --verify --compare --undo=undo --state=state $cache $backing" "0 wb-undo -y undo $cache $backing"
		failed=
		for step; do
			read -ra words <<<"$step"
			[ "$failed" ] || expect "${words[@]}" || failed=$step
		done
		sync cache.img backing.img
		after=$(sha256sum cache.img backing.img)
		set -- "0 wb-flush-dirty -y --verify $cache $backing" "0 wb-check --require-clean --require-ended $cache $backing" \
			"0 wb-format $cache" "0 wb-format --type=v0 $cache" "0 wb-format --reset $cache"
		for step; do
			read -ra words <<<"$step"
			[ "$failed" ] || expect "${words[@]}" || failed=$step
		done
		for step in $cache $backing; do
			[[ $step != /dev/* ]] || losetup -d "$step"
		done
		[ -z "$failed" ] && [ "$after" = "$before" ]
	done
}
