# SPDX-License-Identifier: GPL-2.0-or-later
# Every text fixture does what its first line says: "# what; strict X, prefix X, salvage X; check N". X is the ids
# that are replayed, "nothing", "refuse" (exit 4), or "refuse(8)"; with a refusal nothing may change.

load helpers

# backing_after FIXTURE IDS: what BACKING must hold then, made by mkcache alone from the undamaged segments
backing_after() {
	local writes="" part id
	for part in ${2//,/ }; do
		[ "$part" = nothing ] && continue
		for id in $(seq "${part%-*}" "${part#*-}"); do
			writes+="writeback-segment $id\n"
		done
	done
	awk -v writes="$writes" '
		/^(flip|poke|zero|tear|setid|setlength|setlap|copy-slot|cut|grow|shift) / && !done { printf writes; done = 1 }
		{ print }
		END { if (!done) printf writes }' "$TOP/tests/fixtures/$1.wbt" |
		"$BUILD/tests/mkcache" - "$BATS_TEST_TMPDIR/ignored.img" "$BATS_TEST_TMPDIR/expected.img"
}

# outcome FIXTURE POLICY IDS: prints what is wrong, nothing when all is right
outcome() {
	local want
	cp original.img backing.img
	run wb-flush-dirty -q -y --keep --policy="$2" cache.img backing.img
	case $3 in
	"refuse(8)") want=8 ;;
	refuse) want=4 ;;
	*) want="" ;;
	esac
	if [ -n "$want" ]; then
		[ "$status" -eq "$want" ] || echo "$1 $2: exit $status, expected $want: $output"
		cmp -s original.img backing.img || echo "$1 $2: BACKING was changed by a refusal"
		return
	fi
	[ $((status & ~5)) -eq 0 ] || echo "$1 $2: exit $status: $output"
	[ "$1 $3" = "$made" ] || backing_after "$1" "$3"
	made="$1 $3" # the same for most policies
	cmp -s backing.img expected.img || echo "$1 $2: BACKING does not hold what $3 wrote"
}

# fixture NAME
fixture() {
	local line policies policy made=""
	line=$(head -n 1 "$TOP/tests/fixtures/$1.wbt")
	rm -f cache.img backing.img
	make_cache "$1"
	mv backing.img original.img
	cp cache.img cache.before
	policies=$(sed 's/^.*; \(strict .*\); check .*$/\1/' <<<"$line")
	for policy in strict prefix salvage; do
		outcome "$1" "$policy" "$(sed "s/.*$policy \([^a-z]*\|nothing\|refuse[()8]*\)\(, [a-z].*\)\?$/\1/" <<<"$policies")"
	done
	run wb-check -q cache.img original.img
	cmp -s cache.img cache.before || echo "$1: the cache was changed"
	line=${line##*check }
	[ "$line" = - ] || [ "$status" -eq "$line" ] || echo "$1: wb-check exits $status, expected $line"
}

# Where an older version must not be written although its segment takes part, "ids replayed" does not say it all.
special="clean-hides-dirty dirty-over-clean misaligned-dirty sector-overflow partial-last-block beyond-backing-dirty"

all_fixtures() {
	local file name
	for file in "$TOP"/tests/fixtures/$1*.wbt; do
		name=$(basename "$file" .wbt)
		[[ " $special " == *" ${name#v?-} "* ]] || fixture "$name"
	done >failures.txt
	cat failures.txt
	[ ! -s failures.txt ]
}

@test "every fixture of v0 does what its first line says" {
	all_fixtures v0
}

@test "every fixture of v1 does what its first line says" {
	all_fixtures v1
}

@test "every fixture of v2 does what its first line says" {
	all_fixtures v2
}

@test "what is no cache is refused by every policy" {
	fixture blank >failures.txt
	fixture foreign >>failures.txt
	cat failures.txt
	[ ! -s failures.txt ]
}
