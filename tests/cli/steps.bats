# SPDX-License-Identifier: GPL-2.0-or-later
# No step is quadratic in slots, corrections or findings: twice the slots are twice the instructions, whatever is broken.
# WB_SLOTS is where it ends.

load helpers

# instructions KIND SLOTS
instructions() {
	valgrind --tool=callgrind --callgrind-out-file=/dev/null "$BUILD/tests/manyslots" "$1" "$2" 2>&1 >/dev/null |
		sed -n 's/.*I *refs: *//p' | tr -d ,
}

@test "twice the slots take no more than twice the instructions, and some for sorting" {
	command -v valgrind >/dev/null || skip "valgrind is not installed"
	! grep -q __asan_init "$BUILD/tests/manyslots" || skip "valgrind does not run what is built with sanitizers"
	local kind slots before now
	for kind in sound rotten torn alien grown stale restarted; do
		before=
		for ((slots = 16384; slots <= ${WB_SLOTS:-32768}; slots *= 2)); do
			now=$(instructions "$kind" "$slots")
			echo "$kind, $slots slots: $now instructions"
			[ "$now" -gt 1000000 ]
			[ -z "$before" ] || [ $((now * 100)) -le $((before * 225)) ]
			before=$now
		done
	done
}

@test "a million broken slots are judged, and each flipped bit is found" {
	run "$BUILD/tests/manyslots" rotten 1048576
	[ "$output" = "1048573 findings, 1048573 with a bit" ] || { echo "$output"; false; }
}
