# SPDX-License-Identifier: GPL-2.0-or-later
# wb-flush-dirty beyond what the images show: ends, refusals, resuming, statuses.

load helpers

@test "a strict flush ends the log by one sector and the second run has nothing to do" {
	unpack v2/partial
	cp cache.img cache.before
	expect 0 wb-flush-dirty --json -y --verify cache.img backing.before.img
	field_is .ended true
	field_is .written_sectors "$(field .planned_sectors)"
	cmp <(tail -c +513 cache.img) <(tail -c +513 cache.before)
	bears_marker cache.img
	expect 0 wb-flush-dirty cache.img backing.before.img
	[[ $output == *"nothing to do"* ]]
	expect 0 wb-check cache.img
	[[ $output == *"the log was ended on 20"* ]]
}

@test "a dry run changes nothing and tells what the real run then does" {
	unpack v2/partial-wrapped
	before=$(sha256sum cache.img backing.before.img)
	expect 0 wb-flush-dirty -n --json cache.img backing.before.img
	planned=$(field .planned_sectors) writes=$(field .writes)
	[ "$(sha256sum cache.img backing.before.img)" = "$before" ]
	expect 0 wb-flush-dirty -y --json cache.img backing.before.img
	[ "$planned" -gt 0 ]
	[ "$(field .written_sectors) $(field .writes)" = "$planned $writes" ]
}

@test "a dry run without permission to write shows its plan, and says what the run would be refused for" {
	unpack v2/partial-wrapped
	chmod a-w cache.img backing.before.img
	expect 8 mortal wb-flush-dirty -n cache.img backing.before.img
	[[ $output == *"would write "* ]]
	[[ $stderr == *"backing.before.img"* ]]
}

@test "--keep leaves the cache byte-identical" {
	unpack v2/simple
	before=$(sum cache.img)
	expect 0 wb-flush-dirty -y --keep --json cache.img backing.before.img
	[ "$(sum cache.img)" = "$before" ]
	field_is .ended false
}

# next_is TEXT: the next step, without its purpose
next_is() {
	[[ $output == *$'\n'"next        $1"$'\n'* ]] || { echo "$output"; return 1; }
}

@test "after --keep the next step ends the log, and is left out where it cannot be ended" {
	printf 'slots 6\nbacking 65536\nrange 1 9 blocks 4 seed 1 span 4096\nwriteback 1\n' | "$BUILD/tests/mkcache" - c.img b.img
	tail -c +1048577 c.img >cut.img
	expect 0 wb-flush-dirty -y --keep --force=ended --start=-1MiB cut.img b.img
	[[ $output != *next* ]]
	chmod a-w c.img
	expect 0 mortal wb-flush-dirty -n --keep c.img b.img
	next_is "wb-flush-dirty --keep c.img b.img"
	chmod a+w c.img
	expect 0 wb-flush-dirty -y --keep c.img b.img
	next_is "wb-flush-dirty --yes -n c.img b.img"
	[[ $output == *"ends it" && $output != *"left out"* ]]
	expect 0 wb-flush-dirty --yes -n c.img b.img
	next_is "wb-flush-dirty --yes c.img b.img"
	expect 0 wb-flush-dirty --yes c.img b.img
	bears_marker c.img
}

@test "next steps can be typed: operands that begin with -, and new names for --report and --failed" {
	printf 'slots 6\nbacking 65536\nrange 1 9 blocks 4 seed 1 span 4096\nflip 3 5000 2\n' | "$BUILD/tests/mkcache" - c.img -b.img
	expect 4 wb-flush-dirty -n --report=r c.img ./-b.img
	next_is "wb-flush-dirty --report=r-2 -n --policy=salvage --state=c.img.state --undo=c.img.undo c.img ./-b.img"
	expect 1 wb-flush-dirty --report=r-2 --failed=f -n --policy=salvage --state=c.img.state --undo=-undo -- c.img -b.img
	next_is "wb-flush-dirty --report=r-2-2 --failed=f-2 --policy=salvage --state=c.img.state --undo=-undo -- c.img -b.img"
	expect 1 wb-flush-dirty -y --report=r-2-2 --failed=f-2 --policy=salvage --state=c.img.state --undo=-undo -- c.img -b.img
	[[ $output == *"wb-undo -- -undo"* && $(echo r* f*) == "r r-2 r-2-2 f f-2" ]]
}

@test "whoever is out of memory is told of --memory" {
	! grep -q __asan_init "$BUILD/wb-flush-dirty" || skip "the sanitizer needs all addresses"
	printf 'slots 6\nbacking 65536\nrange 1 9 blocks 4 seed 1 span 4096\n' | "$BUILD/tests/mkcache" - c.img b.img
	for ((limit = 32000; limit > 12000; limit -= 1000)); do
		run bash -c 'ulimit -v "$0" && exec wb-flush-dirty -q -n -j1 c.img b.img' $limit
		[[ $output != *"out of memory for "* ]] || break
	done
	((limit > 12000)) || skip "no limit of addresses is low enough, and high enough to start"
	[[ $status -eq 8 && $output == *"out of memory for "*"--memory=SIZE"* ]]
}

@test "--detach and --keep exclude each other" {
	unpack v2/fresh
	expect 16 wb-flush-dirty --keep --detach cache.img backing.before.img
}

@test "a read-only cache is flushed but not ended, and with --detach refused at once" {
	unpack v2/simple
	chmod a-w cache.img
	before=$(sum backing.before.img)
	expect 8 mortal wb-flush-dirty -y --detach cache.img backing.before.img
	[ "$(sum backing.before.img)" = "$before" ]
	expect 4 mortal wb-flush-dirty -y --json cache.img backing.before.img
	field_is .ended false
}

@test "an unproven pair needs -y where there is no terminal" {
	unpack v2/simple
	before=$(sum backing.before.img)
	expect 8 wb-flush-dirty cache.img backing.before.img </dev/null
	[ "$(sum backing.before.img)" = "$before" ]
	[[ $stderr == *"--yes"* ]]
	expect 0 wb-flush-dirty -y cache.img backing.before.img
}

@test "a proven pair needs no -y" {
	unpack v2/wrapped-d1
	expect 0 wb-flush-dirty cache.img backing.before.img </dev/null
}

@test "a contradicted pair is refused until --force=pair" {
	make_cache v2-pair-contradicted
	before=$(sha256sum cache.img backing.img)
	expect 8 wb-flush-dirty -y cache.img backing.img
	[ "$(sha256sum cache.img backing.img)" = "$before" ]
	[[ $stderr == *"--force=pair"* ]]
	expect 0 wb-flush-dirty -y --force=pair cache.img backing.img
}

@test "CACHE and BACKING must differ" {
	unpack v2/simple
	ln cache.img other-name.img
	before=$(sum cache.img)
	expect 8 wb-flush-dirty -y cache.img other-name.img
	[[ $stderr == *"same device"* ]]
	[ "$(sum cache.img)" = "$before" ]
}

@test "swapped operands are refused" {
	unpack v2/simple
	cp cache.img other.img
	before=$(sum other.img)
	expect 8 wb-flush-dirty -y cache.img other.img
	[[ $stderr == *"writeboost header"* ]]
	[ "$(sum other.img)" = "$before" ]
}

@test "an image that somebody has locked is refused" {
	unpack v2/simple
	before=$(sum backing.before.img)
	expect 8 flock backing.before.img wb-flush-dirty -y cache.img backing.before.img
	[[ $stderr == *locked* ]]
	[ "$(sum backing.before.img)" = "$before" ]
}

@test "a zeroed sector 0 over segments is refused until --force=ended, with the evidence for its generation" {
	unpack v2/simple
	cp backing.before.img direct.img
	expect 0 wb-flush-dirty -y --keep cache.img direct.img
	dd if=/dev/zero of=cache.img bs=512 count=1 conv=notrunc status=none
	before=$(sum backing.before.img)
	expect 8 wb-flush-dirty -y cache.img backing.before.img
	[ "$(sum backing.before.img)" = "$before" ]
	expect 4 wb-check cache.img
	expect 0 wb-flush-dirty -y --force=ended cache.img backing.before.img
	cmp backing.before.img direct.img
}

@test "a damaged sector 0 is refused and wb-check --repair is named" {
	unpack v2/simple
	printf 'x' | dd of=cache.img conv=notrunc status=none
	expect 8 wb-flush-dirty -y cache.img backing.before.img
	[[ $stderr == *"wb-check"*"--repair"* ]]
	expect 8 wb-flush-dirty -y --force=ended cache.img backing.before.img
}

@test "strict names the other policies and what they would do" {
	unpack v2/g2-middle-data-byte
	expect 4 wb-flush-dirty -y cache.img backing.before.img
	[[ $stderr == *"--policy=prefix would write 11 segments (25 to 35)"* ]]
	[[ $stderr == *"--policy=salvage would write 16 segments (25 to 40), 1 of them corrected"* ]]
}

@test "salvage that leaves nothing out exits 1 and ends the log" {
	unpack v2/g2-middle-data-byte
	expect 1 wb-flush-dirty -y --json --force=stateless --policy=salvage cache.img backing.before.img
	field_is .ended true
	field_is .corrected 1
}

@test "salvage with a lost segment exits 5, counts what may be stale and keeps the log" {
	make_cache v2-rotten-two-bits
	expect 5 wb-flush-dirty -y --json --force=stateless --policy=salvage cache.img backing.img
	field_is .ended false
	[ "$(field .stale_sectors)" -gt 0 ]
}

@test "prefix at a hole exits 5 and keeps the log" {
	unpack v2/g2-middle-data-byte
	expect 5 wb-flush-dirty -y --json --force=stateless --policy=prefix cache.img backing.before.img
	field_is .ended false
	field_is .last_id 35
}

@test "evidence of newer data refuses prefix, until --force=regress" {
	unpack v0/f-hdrlap-mid
	before=$(sum backing.before.img)
	expect 4 wb-flush-dirty -y --force=stateless --policy=prefix cache.img backing.before.img
	[[ $stderr == *"--force=regress"* ]]
	[ "$(sum backing.before.img)" = "$before" ]
	expect 5 wb-flush-dirty -y --force=stateless --policy=prefix --force=regress cache.img backing.before.img
}

@test "--until-id cuts the log and keeps it" {
	unpack v2/partial
	expect 5 wb-flush-dirty -y --json --until-id=50 cache.img backing.before.img
	field_is .last_id 50
	field_is .ended false
	expect 16 wb-flush-dirty -y --until-id=50 --policy=salvage cache.img backing.before.img
}

@test "a record of missing segments is refused until it is trusted or ignored" {
	make_cache v2-record-missing
	cp backing.img original.img
	expect 4 wb-flush-dirty -y cache.img backing.img
	[[ $stderr == *"--trust-record or --ignore-record"* ]]
	expect 5 wb-flush-dirty -y --keep --json --trust-record cache.img backing.img
	field_is .planned_sectors 0
	field_is .left_segments 6
	cmp backing.img original.img
	expect 0 wb-flush-dirty -y --keep --json --ignore-record cache.img backing.img
	[ "$(field .first_id) $(field .last_id)" = "4 9" ]
}

@test "zeroed segments wait for a decision" {
	unpack v0/h-discard-norec
	cp backing.before.img before.img
	expect 4 wb-flush-dirty -y cache.img backing.before.img
	expect 0 wb-flush-dirty -y --json --zeroed=skip cache.img backing.before.img
	cmp backing.before.img before.img
	field_is .ended false
	expect 0 wb-flush-dirty -y --keep --zeroed=replay cache.img backing.before.img
	run cmp backing.before.img before.img
	[ "$status" -eq 1 ]
}

@test "both time lines of a restarted ring can be had, one at a time" {
	unpack v2/g3z-second-life
	cp backing.before.img before.img
	expect 4 wb-flush-dirty -y cache.img backing.before.img
	[[ $stderr == *"--timeline=new or --timeline=old"* ]]
	expect 5 wb-flush-dirty -y --keep --json --timeline=new cache.img backing.before.img
	[ "$(field .first_id) $(field .last_id)" = "1 2" ]
	cp before.img backing.before.img
	expect 5 wb-flush-dirty -y --keep --json --timeline=old --force=stateless --policy=salvage cache.img backing.before.img
	field_is .last_id 40
	unpack v2/simple
	expect 8 wb-flush-dirty -y --timeline=new cache.img backing.before.img
}

@test "a shrunken cache is replayed once its number of slots is given" {
	unpack v2/g13-shrunk
	expect 4 wb-check cache.img
	[[ $output == *"--slots=9"* ]]
	expect 5 wb-flush-dirty -y --json --keep --force=stateless --policy=salvage --slots=9 cache.img backing.before.img
	field_is .last_id 32
}

@test "dirty data beyond BACKING is left out by --force=size, with exit 4 and the log kept" {
	make_cache v2-beyond-backing-dirty
	expect 4 wb-flush-dirty -y cache.img backing.img
	[[ $stderr == *"--force=size"* ]]
	expect 4 wb-flush-dirty -y --json --force=size cache.img backing.img
	[ "$(field .written_sectors)" -gt 0 ]
	field_is .ended false
}

@test "a newer clean block hides older dirty sectors, a newer dirty one does not" {
	make_cache v2-clean-hides-dirty
	expect 0 wb-flush-dirty -y --json cache.img backing.img
	field_is .written_sectors 8
	make_cache v2-dirty-over-clean
	expect 0 wb-flush-dirty -y --json cache.img backing.img
	[ "$(field .written_sectors)" -lt 8 ]
}

@test "a last block that BACKING cuts short is clipped" {
	make_cache v2-partial-last-block
	size=$(stat -c %s backing.img)
	expect 0 wb-flush-dirty -y --json cache.img backing.img
	[ "$(stat -c %s backing.img)" = "$size" ]
	field_is .written_sectors "$(field .planned_sectors)"
}

@test "both I/O engines and every memory budget give the same image" {
	unpack v2/partial
	cp backing.before.img backing.img
	expect 0 wb-flush-dirty -q -y --keep cache.img backing.img
	want=$(sum backing.img)
	for engine in uring threads; do
		for memory in 8MiB 64MiB 1GiB; do
			cp backing.before.img backing.img
			WB_IO=$engine expect 0 wb-flush-dirty -q -y --keep --memory=$memory cache.img backing.img
			[ "$(sum backing.img)" = "$want" ]
		done
	done
	expect 16 wb-flush-dirty --memory=4MiB cache.img backing.img
	WB_IO=fast expect 16 wb-flush-dirty cache.img backing.img
}

@test "a run killed at random moments and started again ends in the same image" {
	unpack v2/partial
	cp backing.before.img backing.img
	expect 0 wb-flush-dirty -q -y --keep cache.img backing.img
	want=$(sum backing.img)
	for round in $(seq 20); do
		cp backing.before.img backing.img
		wb-flush-dirty -q -y --keep cache.img backing.img &
		sleep "0.0$((RANDOM % 30 + 10))"
		kill -KILL $! 2>/dev/null || true
		wait $! 2>/dev/null || true
		expect 0 wb-flush-dirty -q -y --keep cache.img backing.img
		[ "$(sum backing.img)" = "$want" ] || { echo "round $round"; return 1; }
	done
}

@test "a signal stops the run with 32 and says how to go on" {
	make_big_cache 64
	wb-flush-dirty -y cache.img backing.img 2>messages &
	pid=$!
	sleep 0.05
	kill -INT $pid
	wait $pid && status=0 || status=$?
	[ "$status" -eq 32 ] || [ "$status" -eq 0 ] || { cat messages; false; }
	if [ "$status" -eq 32 ]; then
		grep -q "run the same command again" messages
		grep -q "do not mount BACKING" messages
	fi
	expect 0 wb-flush-dirty -y cache.img backing.img
}

@test "a closed pipe does not stop a replay" {
	unpack v2/partial
	cp backing.before.img backing.img
	expect 0 wb-flush-dirty -q -y --keep cache.img backing.img
	want=$(sum backing.img)
	cp backing.before.img backing.img
	wb-flush-dirty -y -v cache.img backing.img | true
	[ "$(sum backing.img)" = "$want" ]
}

@test "a flush leaks nothing and reads nothing undefined" {
	command -v valgrind >/dev/null || skip "valgrind is not installed"
	! grep -q asan <<<"$BUILD" || skip "valgrind cannot run a sanitized build"
	unpack v2/crash-e2-partial
	WB_IO=threads expect 0 valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
		wb-flush-dirty -y --verify cache.img backing.before.img
}
