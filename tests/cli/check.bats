# SPDX-License-Identifier: GPL-2.0-or-later
# wb-check: one fault makes one finding; the verdict; hostile numbers.

load helpers

# Classes of all findings, sorted; v0 always warns that its data is uncovered.
classes() {
	grep '"type":"finding"' <<<"$output" | jq -r .class | grep -v '^unsealed-data$' | sort -u | tr '\n' ' ' | sed 's/ $//'
}

@test "a wrapped cache over 2 TiB is a finding, and only a chosen reading is flushed" {
	unpack v2/simple
	truncate -s 2200G cache.img || skip "no sparse file of that size here"
	expect 0 wb-check --json --metadata-only cache.img
	[ "$(classes)" = wrap ]
	[ "$(grep '"type":"reading"' <<<"$output" | jq -r .name | tr '\n' ' ')" = "linear wrap " ]
	expect 8 wb-flush-dirty -n cache.img backing.before.img
	[[ $stderr == *"--slot-address"* ]]
}

@test "the one flipped bit is named with its byte" {
	unpack v2/g2-middle-data-byte
	expect 4 wb-check --json cache.img
	finding=$(record finding)
	[ "$(jq -r '"\(.slot) \(.id) \(.flipped_byte) \(.flipped_bit)"' <<<"$finding")" = "3 36 300000 0" ]
}

@test "a misaligned metablock is listed with slot, id, index and byte offset" {
	make_cache v2-misaligned-dirty
	expect 4 wb-check --json cache.img
	finding=$(record finding)
	[ "$(jq -r '"\(.slot) \(.id) \(.sector)"' <<<"$finding")" = "0 7 131" ]
	offset=$(jq -r .offset <<<"$finding")
	[ "$(od -An -tu8 -j "$offset" -N 8 cache.img | tr -d ' ')" = 131 ]
}

@test "--require-clean is 4 while something is dirty, by content where BACKING is given" {
	unpack v2/simple
	expect 0 wb-check cache.img
	expect 4 wb-check --require-clean cache.img
	expect 4 wb-check --require-clean cache.img backing.before.img
	expect 0 wb-flush-dirty -y --keep cache.img backing.before.img
	expect 0 wb-check --require-clean --json cache.img backing.before.img
	field_is .dirty_sectors 0
	expect 4 wb-check --require-clean cache.img
	expect 0 wb-flush-dirty -y --detach cache.img backing.before.img
	expect 0 wb-check --require-clean cache.img
}

@test "the true dirty count is what a flush changes" {
	unpack v2/wrapped-d1
	expect 0 wb-check --json cache.img backing.before.img
	dirty=$(field .dirty_sectors)
	cp backing.before.img after.img
	expect 0 wb-flush-dirty -y --keep cache.img after.img
	changed=$(cmp -l backing.before.img after.img | awk '{ s[int(($1 - 1) / 512)] } END { print length(s) }')
	[ "$dirty" -eq "$changed" ]
}

@test "--metadata-only takes headers for granted" {
	unpack v2/g2-middle-data-byte
	expect 0 wb-check --metadata-only --json cache.img
	field_is .head 40
	field_is .findings 0
}

@test "the verdict comes first and names the next command" {
	unpack v2/partial
	expect 0 wb-check cache.img backing.before.img
	[[ ${lines[1]} == verdict*sound* ]]
	[[ ${lines[2]} == next*wb-flush-dirty* ]]
	[ "${#lines[@]}" -lt 40 ]
}

@test "orders 0, 3, 12 and 255 in the superblock are errors or findings, never a crash" {
	for order in '\x03' '\x0c' '\xff' '\x00'; do
		unpack v0/b-simple-o4
		printf "$order" | dd of=cache.img bs=1 seek=4 conv=notrunc status=none
		expect 4 wb-check --json cache.img
		[ "$(classes)" = bad-superblock ]
		before=$(sum cache.img)
		expect 8 wb-flush-dirty -y cache.img backing.before.img
		[ "$(sum cache.img)" = "$before" ]
	done
}

@test "a superblock alone, on a device with no room for a segment" {
	unpack v2/fresh
	truncate -s 1100000 cache.img
	expect 8 wb-check cache.img
	[[ $stderr == *"too small for one segment"* ]]
}

@test "--generation, --order and --slots override the evidence" {
	unpack v2/simple
	expect 0 wb-check --json --generation=v2 --order=10 --slots=8 cache.img
	field_is .slots 8
	expect 8 wb-check --generation=v2 --order=9 cache.img
	unpack v2/wrapped-d1
	expect 4 wb-check --slots=10 cache.img
	[[ $output == *"--slots=9"* ]]
}

@test "both time lines of a restarted ring are shown" {
	make_cache v2-restarted
	expect 4 wb-check --json cache.img
	[ "$(grep '"type":"timeline"' <<<"$output" | jq -r '"\(.name) \(.first) \(.head) \(.live)"')" = $'new 1 2 2\nold 12 17 4' ]
	expect 4 wb-check cache.img
	[[ $output == *"two histories"*"--timeline=new"*"segments 1 to 2"*"segments 12 to 17"* ]]
}

@test "geometries that would fit are listed, for people and in JSON" {
	make_cache v2-grown
	expect 4 wb-check --json cache.img
	[ "$(record finding | jq -c .candidates)" = "[6]" ]
	make_cache v2-shifted
	expect 4 wb-check --json cache.img
	[ "$(record finding | jq -c '.starts | map([.slots, .start, .bytes])')" = '[[6,2,-1048576]]' ]
	expect 4 wb-check cache.img
	[[ $output == *"candidate   --start=-1048576 --size=4194304: 6 slots, 2 slots before this start"* ]]
	for repair in "" "-n --repair" "--repair -y"; do # counted from the start that was given
		run wb-check $repair --start=-512K cache.img
		[[ $output == *"candidate   --start=-1048576 "* ]]
	done
}

@test "both readings of an all-zero sector 0 are given, with what to do" {
	make_cache v2-sector0-zero
	expect 4 wb-check cache.img
	[[ $output == *"ended by hand"*"an accident"*"wb-format -n --reset"*"--force=superblock"* ]]
	command=$(grep -o 'wb-format -n --reset.* cache.img' <<<"$output")
	expect 0 ${command/-n/-y}
	expect 4 wb-check --require-clean cache.img
	[[ $output == *"left out: up to"* ]]
}

@test "operands that are swapped or overlap are refused" {
	make_cache v2-simple
	ln -s cache.img other.img
	expect 8 wb-check cache.img other.img
	[[ $stderr == *"the same device"* ]]
	cp cache.img copy.img
	expect 8 wb-check cache.img copy.img
	[[ $stderr == *swapped* ]]
}

@test "a driver that would lose or age data is warned of in the verdict" {
	for name in v2-torn-head v2-record-sound; do
		make_cache $name
		expect 0 wb-check cache.img
		[[ ${lines[1]} == *"at risk if a driver assembles"* && ${lines[4]} == *--repair* ]]
	done
}

@test "both engines and one job find the same" {
	for set in v2/g3z-second-life v0/f-resurrect v2/g5-id-huge-middle; do
		unpack $set
		WB_IO=uring run wb-check --json -j 2 cache.img backing.before.img
		one=$output
		WB_IO=threads run wb-check --json -j 1 cache.img backing.before.img
		[ "$output" = "$one" ]
	done
}
