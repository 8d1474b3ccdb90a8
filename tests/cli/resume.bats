# SPDX-License-Identifier: GPL-2.0-or-later
# --state and --report of wb-flush-dirty: runs that end early, and what the next one believes.

load helpers

# interrupted POLLS OPTION...: a run that a signal stops in the middle of writing. With one job the polls are always the same.
interrupted() {
	local polls=$1
	shift
	WB_TEST_STOP=$polls expect 32 tests-build wb-flush-dirty -j1 "$@"
}

tests-build() {
	"$BUILD/tests/$1" "${@:2}"
}

state() {
	sed -n "s/^$1 //p" state
}

# try_to_stop POLLS: a run that ends there; did it write something?
try_to_stop() {
	cmp -s cache.img cache.orig || cp cache.orig cache.img
	cmp -s backing.img backing.orig || cp backing.orig backing.img
	rm -f state
	WB_TEST_STOP=$1 tests-build wb-flush-dirty -j1 -q -y --state=state cache.img backing.img 2>/dev/null || :
	[ -e state ] && [[ $(<state) == *$'\nended 0\n'* ]] && ! cmp -s backing.img backing.orig
}

# The first poll for a signal at which a run has written something is looked for once.
setup_file() {
	where
	cd "$BATS_FILE_TMPDIR" || return 1
	pair v2/partial
	for ((HALF = 20; HALF < 200; HALF++)); do
		! try_to_stop $HALF || break
	done
	export HALF
}

# A run of v2/partial that was stopped in its middle
polls_to_half() {
	try_to_stop "$HALF"
}

@test "a run that a signal stops saves how far it is, and the next one goes on from there" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y cache.img backing.img
	want=$(sum backing.img)
	polls_to_half
	below=$(state flushed-below)
	[ "$below" != 18446744073709551615 ]
	! cmp -s backing.img backing.orig || false
	cmp cache.img cache.orig
	expect 0 wb-flush-dirty --json -y --state=state cache.img backing.img
	field_is .resumed_at "$below"
	[ "$(field .written_sectors)" -gt 0 ]
	[ "$(field .written_sectors)" -lt 3497 ]
	field_is .ended true
	[ "$(sum backing.img)" = "$want" ]
	[ "$(state ended)" = 1 ]
	expect 0 wb-flush-dirty -y --state=state cache.img backing.img
	[[ $output == *"nothing to do"* ]]
}

@test "a stopped run tells how to go on and not to mount" {
	pair v2/partial
	interrupted "$HALF" -y --state=state --report=report cache.img backing.img
	[[ $stderr == *"do not mount BACKING"*"run the same command again, with a new name for --report: it goes on from "* ]]
}

@test "a salvage that was stopped goes on with what it had decided, whatever it has written since" {
	printf '%s\n' 'generation v2' 'slots 12' 'backing 4096' 'range 1 10 blocks 8 seed 3 span 400' 'flip 5 4200 3' 'flip 5 9000 5' |
		"$BUILD/tests/mkcache" - cache.img backing.img
	cp cache.img cache.orig
	cp backing.img backing.orig
	expect 5 wb-flush-dirty --json -y --force=stateless --policy=salvage cache.img backing.img
	want=$(sum backing.img) first=$(field .first_id)
	cp backing.orig backing.img
	cut=0
	for left in $(seq 1 60); do
		cp backing.orig backing.img
		rm -f state
		WB_TEST_POWER=$left:1:1 tests-build wb-flush-dirty -q -y --policy=salvage --state=state cache.img backing.img 2>/dev/null || [ $? -ne 5 ] || break
		[ -e state ] || continue
		cut=$((cut + 1))
		expect 5 wb-flush-dirty --json -y --policy=salvage --state=state cache.img backing.img
		field_is .first_id "$first"
		[ "$(sum backing.img)" = "$want" ]
	done
	[ "$cut" -gt 3 ]
}

@test "the state of another pair, of other options or of a log that moved on is refused" {
	pair v2/partial
	polls_to_half
	before=$(sha256sum state backing.img)
	cp cache.img other.img
	expect 8 wb-flush-dirty -y --state=state other.img backing.img
	[[ $stderr == *"another cache device"* ]]
	cp backing.img elsewhere.img
	expect 8 wb-flush-dirty -y --state=state cache.img elsewhere.img
	[[ $stderr == *"another backing device"* ]]
	expect 8 wb-flush-dirty -y --state=state --policy=salvage cache.img backing.img
	[[ $stderr == *"other options"* ]]
	printf '\x01' | dd of=cache.img bs=1 seek=$((1048576 + 8)) conv=notrunc status=none
	expect 8 wb-flush-dirty -y --state=state cache.img backing.img
	[[ $stderr == *"the log"* ]]
	[ "$(sha256sum state backing.img)" = "$before" ]
}

@test "a file that is no state, or a damaged one, is refused and left alone" {
	pair v2/partial
	polls_to_half
	cp state good
	for damage in 's/^cut 0/cut 1/' 's/^flushed-below .*/flushed-below 0/' '$d' 's/^ended 0/ended  0/' '1s/1$/2/'; do
		sed "$damage" good >state
		before=$(sha256sum state backing.img)
		expect 8 wb-flush-dirty -y --state=state cache.img backing.img
		[[ $stderr == *"state: the file is there already"* ]]
		[ "$(sha256sum state backing.img)" = "$before" ]
	done
	echo precious >state
	expect 8 wb-flush-dirty -y --state=state cache.img backing.img
	[ "$(cat state)" = precious ]
	for place in . /dev/null missing/state; do
		expect 8 wb-flush-dirty -y --state="$place" cache.img backing.img
	done
	for place in cache.img backing.img; do
		expect 16 wb-flush-dirty -y --state="$place" cache.img backing.img
	done
}

@test "a BACKING that was written outside of the plan since is refused; --force=pair begins again" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --keep cache.img backing.img
	expect 0 wb-dump --json --metablocks cache.img
	last=$(jq -s 'map(select(.type == "metablock").sector) | max' <<<"$output")
	polls_to_half
	tr '\0' '\1' </dev/zero | dd of=backing.img bs=512 seek=$((last + 8)) conv=notrunc status=none 2>/dev/null \
		count=$((65536 - last - 8)) iflag=fullblock
	before=$(sum backing.img)
	expect 8 wb-flush-dirty -y --state=state cache.img backing.img
	[[ $stderr == *"BACKING was written to since the earlier run"*"--force=pair"* ]]
	[ "$(sum backing.img)" = "$before" ]
	expect 0 wb-flush-dirty --json -y --force=pair --state=state cache.img backing.img
	field_is .resumed_at 0
}

@test "a BACKING that lost what was written is noticed, and the run begins again" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y cache.img backing.img
	want=$(sum backing.img)
	polls_to_half
	cp backing.orig backing.img
	expect 0 wb-flush-dirty --json -y --state=state cache.img backing.img
	[[ $stderr == *"BACKING does not hold what the earlier run wrote"* ]]
	field_is .resumed_at 0
	[ "$(sum backing.img)" = "$want" ]
}

@test "a state that wb-undo made stale is not believed" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --undo=undo --state=state cache.img backing.img
	want=$(sum backing.img)
	expect 0 wb-undo -y -q undo
	expect 0 wb-flush-dirty --json -y --undo=undo --state=state cache.img backing.img
	[[ $stderr == *"not believed"* ]]
	field_is .written_sectors 3497
	[ "$(sum backing.img)" = "$want" ]
	expect 0 wb-undo -y -q undo
	cmp backing.img backing.orig
	cmp cache.img cache.orig
}

@test "a run goes on with its own --undo file, and with no other or none" {
	pair v2/partial
	interrupted "$HALF" -q -y --undo=undo --state=state cache.img backing.img
	before=$(sum backing.img)
	expect 8 wb-flush-dirty -y --state=state cache.img backing.img
	[[ $stderr == *"recorded into another --undo file"* ]]
	expect 8 wb-flush-dirty -y --undo=another --state=state cache.img backing.img
	[ "$(sum backing.img)" = "$before" ]
	expect 0 wb-flush-dirty -y --undo=undo --state=state cache.img backing.img
	expect 0 wb-undo -y undo
	cmp backing.img backing.orig
	cmp cache.img cache.orig
}

@test "a dry run looks at the state and writes none" {
	pair v2/partial
	expect 0 wb-flush-dirty -n --state=state --undo=undo cache.img backing.img
	[ ! -e state ]
	[ ! -e undo ]
	polls_to_half
	before=$(sha256sum state backing.img cache.img)
	expect 0 wb-flush-dirty -n --json --state=state cache.img backing.img
	field_is .resumed_at "$(state flushed-below)"
	[ "$(sha256sum state backing.img cache.img)" = "$before" ]
}

@test "sectors that an interrupted run had to leave alone are not forgotten" {
	printf '%s\n' 'generation v2' 'slots 4' 'backing 4096' 'segment 1' 'block 8 ff' 'block 800 ff' 'segment 2' 'block 1600 ff' |
		"$BUILD/tests/mkcache" - cache.img backing.img
	# the first data block of segment 1
	printf '0 + 1\n0 %d +\n%d 512 -\n%d %d +\n' 1052672 1052672 1053184 $(($(stat -c %s cache.img) - 1053184)) >map
	cp backing.img backing.orig
	expect 5 wb-flush-dirty --json -y --force=stateless --policy=salvage --cache-map=map cache.img backing.img
	want=$(field .unreadable_sectors)
	[ "$want" -gt 0 ]
	for left in $(seq 4 30); do
		cp backing.orig backing.img
		rm -f state
		WB_TEST_POWER=$left:1:1 tests-build wb-flush-dirty -q -y --policy=salvage --cache-map=map --state=state \
			cache.img backing.img 2>/dev/null || [ $? -ne 5 ] || break
		[ -e state ] || continue
		expect 5 wb-flush-dirty --json -y --policy=salvage --cache-map=map --state=state cache.img backing.img
		field_is .unreadable_sectors "$want"
		field_is .ended false
	done
}

@test "the state file is what wbfmt(5) says" {
	pair v2/partial
	expect 0 wb-flush-dirty -q -y --keep --state=state cache.img backing.img
	[ "$(cut -d' ' -f1 state | tr '\n' ' ')" = "wb-flush-dirty cache cache-bytes backing backing-bytes newest-id \
headers-digest outside-digest options cut corrected-ids undo-id undone unreadable-sectors flushed-below ended crc32c " ]
	[ "$(head -n 1 state)" = "wb-flush-dirty state 1" ]
	[ "$(state cache)" = "$PWD/cache.img" ]
	[ "$(state cache-bytes)" = "$(stat -c %s cache.img)" ]
	[ "$(state newest-id)" = 100 ]
	[ "$(state flushed-below)" = 18446744073709551615 ]
	[ "$(state ended)" = 0 ]
}

# ---- --report ----

@test "--report holds the arguments, the devices, every decision, the sums and the result" {
	pair v2/partial
	head -c 1M cache.img >metadata
	for slot in $(seq 0 125); do
		dd if=cache.img bs=4096 skip=$((256 + slot * 128)) count=1 status=none
	done >>metadata
	expect 0 wb-flush-dirty -y --report=report --undo=undo cache.img backing.img
	[ "$(jq -r .type report | head -n 1)" = header ]
	[ "$(jq -r .type report | tail -n 1)" = summary ]
	[ "$(jq -r 'select(.type == "run").arguments[1:] | join(" ")' report)" = "-y --report=report --undo=undo cache.img backing.img" ]
	[ "$(jq -r 'select(.type == "identity").role' report | tr '\n' ' ')" = "cache backing " ]
	[ "$(jq -r 'select(.type == "decision").policy' report)" = strict ]
	[ "$(jq -r 'select(.type == "classes").live' report)" = 100 ]
	[ "$(jq -r 'select(.of == "cache metadata").sha256' report)" = "$(sum metadata)" ]
	[ "$(jq -r 'select(.of == "undo file").sha256' report)" = "$(sum undo)" ]
	[ "$(jq -r 'select(.type == "summary").status' report)" = 0 ]
	[[ $output == *"written "* ]]
	[[ $output != *'"type"'* ]]
}

@test "--report and --json tell the same" {
	pair v2/partial
	expect 0 wb-flush-dirty -y --json --report=report cache.img backing.img
	[ "$(cat report)" = "$output" ]
}

@test "--report tells of refusals and forces" {
	make_cache v2-pair-contradicted
	expect 8 wb-flush-dirty -y --report=refused cache.img backing.img
	[[ $(jq -r 'select(.type == "error").text' refused) == *"not the disk"* ]]
	[ "$(jq -r 'select(.type == "summary").status' refused)" = 8 ]
	expect 0 wb-flush-dirty -y --force=pair --report=forced cache.img backing.img
	[ "$(jq -r 'select(.type == "decision").forces[]' forced)" = pair ]
}

@test "--report never overwrites a file" {
	pair v2/partial
	echo precious >report
	expect 8 wb-flush-dirty -y --report=report cache.img backing.img
	[ "$(cat report)" = precious ]
	cmp backing.img backing.orig
}

@test "memory stays within --memory, 16 bytes a slot and 32 MiB" {
	! grep -q asan <<<"$BUILD" || skip "a sanitized build needs more"
	make_big_cache 200
	expect 0 wb-flush-dirty -y --json --memory=8MiB cache.img backing.img
	[ "$(field .peak_memory)" -gt 0 ]
	[ "$(field .peak_memory)" -le $(((8 + 32) * 1048576 + 200 * 16)) ]
}

@test "what wb-undo has begun to put back is not taken for flushed, however little it was" {
	make_big_cache 16 65536 # so that a sample is reread and not everything
	cp backing.img backing.orig
	expect 0 wb-flush-dirty -q -y --keep --undo=undo --state=state cache.img backing.img
	cp backing.img flushed.img
	for left in 0 1 2 3 4 5; do
		WB_TEST_POWER=$left:1:1 expect 8 tests-build wb-undo -y undo
		expect 0 wb-flush-dirty -q -y --keep --undo=undo --state=state cache.img backing.img
		cmp backing.img flushed.img
		expect 0 wb-undo -y -q undo
		cmp backing.img backing.orig
		expect 0 wb-flush-dirty -q -y --keep --undo=undo --state=state cache.img backing.img
	done
}
