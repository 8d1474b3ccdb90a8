# SPDX-License-Identifier: GPL-2.0-or-later
# A taste of the simulated drivers; WB_OPERATIONS makes it longer, WB_PROOF takes its numbers.

load ../cli/helpers

@test "what simulated drivers leave behind at power cuts, and later damage, is judged and replayed as it must be" {
	run "$BUILD/tests/simulate" --operations "${WB_OPERATIONS:-5000}" --fixture failed.wbt --proof "${WB_PROOF:-proof}"
	[ "$status" -eq 0 ] || { echo "$output"; cat failed.wbt; false; }
}

@test "both invariants hold for faults of each kind, under options that are drawn" {
	local kind
	for kind in identical bits misdirected targeted lying mixed several geometry options; do
		run "$BUILD/tests/simulate" --kinds "$kind" --runs "${WB_KIND_RUNS:-8}" --fixture failed.wbt
		[ "$status" -eq 0 ] || { echo "$kind: $output"; cat failed.wbt; false; }
	done
}

# what every policy makes of a pair
outcomes() {
	local policy
	for policy in strict prefix salvage; do
		cp "$2" copy.img
		run wb-flush-dirty -q -y --keep --policy="$policy" "$1" copy.img
		echo "$policy $status $(sum copy.img)"
	done
}

@test "the text that is written of a run makes the same pair" {
	local seed
	for seed in 1 2 3 5 6 24 25 40; do
		run "$BUILD/tests/simulate" --quiet --seed "$seed" --runs 1 --fixture pair.wbt --images
		[ "$status" -eq 0 ]
		"$BUILD/tests/mkcache" pair.wbt cache.img backing.img
		cmp backing.img pair.wbt.backing
		outcomes cache.img backing.img >made
		outcomes pair.wbt.cache pair.wbt.backing >simulated
		diff made simulated
	done
}

@test "the table of planted bugs in TESTING.md is that of the patches" {
	local patch
	for patch in "$TOP"/tests/sim/bugs/*.patch; do
		echo "| $(basename "$patch" .patch) | $(head -n 1 "$patch") | $(sed -n '2s/^caught by \(.*\): \(.*\)/\1 | \2/p' "$patch") |"
	done >patches
	sed -n 's/^| [0-9][0-9]-[a-z].*/&/p' "$TOP/TESTING.md" >table
	[ "$(wc -l <patches)" -ge 20 ]
	diff patches table
}
