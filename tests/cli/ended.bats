# SPDX-License-Identifier: GPL-2.0-or-later
# The truth about the end: logs that were written to after it, ends that left something out, ends that did not happen, and
# --state, without which a damaged log is not written back.

load helpers

# pair_of LAST: cache.img with segments 1 to LAST in six slots, and backing.img
pair_of() {
	printf 'slots 6\nbacking 65536\nrange 1 %d blocks 4 seed 1 span 4096\nwriteback 1\n' "$1" |
		"$BUILD/tests/mkcache" - "${2:-cache.img}" "${3:-backing.img}"
}

# The driver that had the log elsewhere writes segments 10 and 11; it never touches sector 0.
write_after_end() {
	pair_of 9
	pair_of 11 later.img none.img
	wb-flush-dirty -q -y cache.img backing.img
	dd if=later.img of=cache.img bs=524288 skip=5 seek=5 count=2 conv=notrunc status=none
}

@test "a log that was written to after its end is damage, refused, and written back by --force=ended" {
	write_after_end
	expect 4 wb-check cache.img backing.img
	[[ $output == *"ended on "*", and written to since."*"Segments 10 to 11 are newer, and up to 64 sectors"*"--force=ended"* ]]
	[[ $output != *"all of it had been written to"* ]]
	expect 4 wb-check --json --require-clean cache.img
	[ "$(record finding | jq -r '[.class, .severity, .id, .sectors] | tostring')" = '["written-after-end","damage",11,64]' ]
	[ "$(field '[.ended, .written_after_end, .head] | tostring')" = '[false,true,11]' ]
	expect 4 wb-check -q --require-ended cache.img
	[[ $output == *"written to since"* ]]
	expect 0 wb-dump cache.img
	[[ $output == *"damaged (written-after-end)"* ]]
	before=$(sha256sum cache.img backing.img)
	for dry in "" -n; do
		expect 8 wb-flush-dirty -y $dry cache.img backing.img
		[[ $stderr == *"written to since"*"--force=ended"* && $stderr != *"all of it had been written to"* ]]
	done
	expect 8 wb-format -y cache.img
	[[ $stderr == *"--force=dirty"* ]]
	expect 4 wb-check --repair -y cache.img
	[ "$(sha256sum cache.img backing.img)" = "$before" ]
	expect 0 wb-flush-dirty -y --force=ended cache.img backing.img
	expect 0 wb-check --require-ended cache.img backing.img
	[[ $output == *"all of it had been written to a BACKING of 32.0 MiB (33554432 bytes); backing.img holds all of it"* ]]
}

@test "what --detach left out is said by wb-check, wb-dump, wb-format, a second flush and the flush itself" {
	make_cache v2-rotten-two-bits
	expect 5 wb-flush-dirty -y --policy=prefix --detach --state=state cache.img backing.img
	[[ $output == *"ended by --detach: "*" segments with up to "*" dirty sectors"* && $output != *"CACHE is free"* ]]
	left=$(grep -o '[0-9]* segments with up to [0-9]* dirty sectors' <<<"$output" | head -n 1)
	[ -n "$left" ]
	for command in wb-check "wb-dump --superblock" "wb-format -n" "wb-flush-dirty -y -n --force=pair" "wb-flush-dirty -y"; do
		backing=
		[[ $command != wb-flush* ]] || backing=backing.img
		expect 0 $command cache.img $backing
		[[ $output == *"$left"* && $output != *"all of it had been written to"* ]]
	done
	expect 0 wb-check --json cache.img
	[ "$(record finding | jq -r '[.class, .severity] | tostring')" = '["ended-partial","warning"]' ]
	[ "$(field '[.partial, (.left_sectors > 0)] | tostring')" = '[true,true]' ]
	expect 4 wb-check -q --require-clean cache.img
	[[ $output == *"verdict"*"; left out: "*"--require-clean is not met" ]]
	expect 4 wb-check --require-ended cache.img
	expect 0 wb-dump -q --pack=pack cache.img
	expect 4 wb-check --require-ended pack
	[[ $output == *"$left"* ]]
}

@test "what was left out is one number everywhere: whole segments beyond --slots, and what lost metadata may have named" {
	printf 'generation v2\nslots 8\nbacking 65536\nrange 1 20 blocks 4 seed 1 span 4096\n' | "$BUILD/tests/mkcache" - beyond.img b.img
	printf 'generation v2\nslots 8\nbacking 65536\nrange 1 6 blocks 4 seed 1 span 4096\nzero 2 0 4096\n' |
		"$BUILD/tests/mkcache" - lost.img b2.img
	while read -r cache backing slots left; do
		expect 5 wb-flush-dirty -y $slots --policy=salvage --detach --state=$cache.state $cache $backing
		[[ $output == *"left out    $left"*"no driver will write back what was left out, $left"* ]]
		expect 0 wb-format -n $cache
		[[ $output == *"left out: $left"*"lost   what was left out when the log was ended"* ]]
	done <<-END
		beyond.img b.img --slots=4 4 segments with up to 128 dirty sectors
		lost.img b2.img --slots=8 1 segment with up to 1016 dirty sectors
	END
}

@test "--require-ended is 0 after an end with nothing left out, and 4 for any other cache" {
	pair_of 9
	expect 4 wb-check --require-ended cache.img backing.img
	expect 0 wb-flush-dirty -q -y --keep cache.img backing.img
	expect 0 wb-check --require-clean cache.img backing.img
	for quiet in "" -q; do
		expect 4 wb-check $quiet --require-ended cache.img backing.img
		[[ $output == *"required    --require-ended is not met: the log was not ended, and a driver"* ]]
	done
	cp cache.img reset.img
	expect 0 wb-flush-dirty -q -y cache.img backing.img
	expect 0 wb-check --require-ended --require-clean cache.img backing.img
	expect 0 wb-format --reset --backing=backing.img -y reset.img
	expect 0 wb-check --require-ended reset.img
	expect 0 wb-format cache.img
	expect 4 wb-check --require-ended cache.img
}

@test "what wb-format --reset gave up is said, and is not clean" {
	pair_of 9
	expect 0 wb-format --reset --force=dirty -y cache.img
	expect 0 wb-check cache.img
	[[ $output == *"ended on "*" by wb-format --reset; left out: up to "*" dirty sectors"* ]]
	expect 4 wb-check -q --require-clean cache.img
	[[ $output == *"verdict"*"; left out: "*"--require-clean is not met" ]]
	expect 4 wb-check --require-ended cache.img
}

@test "a marker of version 1 does not say whether something was left out" {
	pair_of 9
	{
		printf 'WBended\0\1\0\0\0\1\0\0\0'
		head -c 8 /dev/zero
		printf '\x09'
		head -c 483 /dev/zero
		printf '\xb5\xfc\xbd\x10'
	} | dd of=cache.img conv=notrunc status=none
	expect 0 wb-check cache.img
	[[ $output == *"by wb-utils 0.1, which did not record whether something was left out"* ]]
	expect 4 wb-check --require-ended cache.img
	expect 0 wb-flush-dirty -y cache.img backing.img
	[[ $output == *"nothing to do"* ]]
}

@test "a log that should have been ended and could not be is 4" {
	pair_of 9
	chmod a-w cache.img
	expect 4 mortal wb-flush-dirty -y -n cache.img backing.img
	expect 8 mortal wb-flush-dirty -y -n --detach cache.img backing.img
	expect 4 mortal wb-flush-dirty -y cache.img backing.img
	[[ $stderr == *"the log will not be ended"* ]]
	expect 0 mortal wb-flush-dirty -y --keep cache.img backing.img
	[[ $output != *"next "* ]] # nobody without that permission can end it
	chmod u+w cache.img
	expect 0 wb-flush-dirty -q -y cache.img backing.img
}

@test "a dry run says that a read-only CACHE would not be ended" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	pair_of 9
	loop=$(losetup -r -f --show cache.img) || skip "no loop devices"
	run --separate-stderr wb-flush-dirty -y -n "$loop" backing.img
	dry=$status said=$stderr
	run --separate-stderr wb-flush-dirty -y -n --detach "$loop" backing.img
	detached=$status
	run --separate-stderr wb-flush-dirty -y "$loop" backing.img
	losetup -d "$loop"
	[ "$dry $detached $status" = "4 8 4" ]
	[[ $said == *"is read-only; the log would not be ended"* ]]
}

@test "prefix, salvage and --until-id on a damaged log need --state or --force=stateless; -n shows the plan and says so" {
	make_cache v2-rotten-two-bits
	before=$(sha256sum cache.img backing.img)
	for policy in --policy=prefix --policy=salvage --until-id=4; do
		expect 8 wb-flush-dirty -y $policy cache.img backing.img
		[[ $output == *"plan  "* && $stderr == *"--state=FILE"*"--force=stateless"* ]]
		expect 8 wb-flush-dirty -n $policy cache.img backing.img
		[[ $output == *"dry run     would write"* && $stderr == *"--state=FILE"*"--force=stateless"* ]]
		expect 5 wb-flush-dirty -n $policy --state=state cache.img backing.img
		[ ! -e state ]
		expect 5 wb-flush-dirty -n $policy --force=stateless cache.img backing.img
	done
	[ "$(sha256sum cache.img backing.img)" = "$before" ]
	expect 5 wb-flush-dirty -q -y --policy=salvage --state=state cache.img backing.img
	pair_of 9
	expect 0 wb-flush-dirty -q -y --policy=salvage cache.img backing.img
}

@test "a salvage whose writes are no longer on BACKING is not started over without --force=stateless" {
	make_cache v2-rotten-two-bits
	cp backing.img backing.orig
	cp cache.img cache.orig
	expect 5 wb-flush-dirty -q -y --policy=salvage --state=state cache.img backing.img
	cp backing.orig backing.img
	expect 8 wb-flush-dirty -y --policy=salvage --state=state cache.img backing.img
	[[ $stderr == *"count what that run wrote as evidence"*"--force=stateless"* ]]
	cmp backing.img backing.orig
	expect 5 wb-flush-dirty -q -y --policy=salvage --state=state --force=stateless cache.img backing.img
	cmp cache.img cache.orig
}
