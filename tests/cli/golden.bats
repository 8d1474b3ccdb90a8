# SPDX-License-Identifier: GPL-2.0-or-later
# Every image that a real driver wrote: what it is, and what each policy must make of it.

load helpers

# The facts of a set as want_KEY, lists as words.
load_expected() {
	eval "$(jq -r --arg set "$1" '.[$set] | to_entries[] | "want_\(.key)=\(
		if .value | type == "array" then .value | map(tostring) | join(" ") else .value | tostring end | @sh
		)"' "$TOP/tests/golden/expected.json")"
}

# The summary in $output as got_KEY.
load_summary() {
	eval "$(record summary | jq -r 'to_entries[] | "got_\(.key)=\(.value | tostring | @sh)"')"
}

# same WHAT GOT WANT
same() {
	[ "$2" = "$3" ] || { echo "$1 is '$2', expected '$3'"; return 1; }
}

# replay WANT OPTION...: BACKING's sha256 must be WANT; null means a refusal that changes nothing
replay() {
	local want=$1 cache
	shift
	cache=$(sum cache.img)
	cp backing.before.img backing.img
	run --separate-stderr wb-flush-dirty --json -y --keep "$@" cache.img backing.img
	if [ "$want" = null ]; then
		same "exit status ($*)" "$status" 4
		want=$want_before
	else
		same "exit status but 1 and 4 ($*)" $((status & ~5)) 0
	fi
	same "BACKING ($*)" "$(sum backing.img)" "$want"
	same "CACHE ($*)" "$(sum cache.img)" "$cache"
	load_summary
	same "pair ($*)" "$got_pair" "$want_pair"
}

ids_of() {
	grep "\"class\":\"$1\"" <<<"$output" | sed 's/.*"id":\([0-9]*\).*/\1/' | sort -n | tr '\n' ' ' | sed 's/ $//'
}

check_facts() {
	local fact
	run --separate-stderr wb-check --json cache.img backing.before.img
	same "exit status of wb-check" "$status" "$want_check_status"
	load_summary
	for fact in generation order slots record head pair; do
		eval "same $fact \"\$got_$fact\" \"\$want_$fact\""
	done
	same "first of the window" "$got_first" "${want_window% *}"
	same "number of holes" "$got_holes" "$(wc -w <<<"$want_holes")"
	same "torn head" "$(ids_of torn-head)" "$want_torn_head"
	same "torn tail" "$(ids_of torn-tail)" "$want_torn_tail"
	same "ahead" "$(ids_of ahead)" "$want_ahead"
	same "zeroed" "$(ids_of zeroed)" "$want_zeroed"
	same "explained by one bit" "$(grep flipped_byte <<<"$output" | sed 's/.*"id":\([0-9]*\).*/\1/')" "$want_one_bit"
	same "resized" "$(grep -c '"class":"resized"' <<<"$output")" "$(grep -c true <<<"$want_resized")"
	same "restarted" "$(ids_of restarted)" "${want_restarted#0}"
}

# The forecast is what the driver did: the ids it took, in its order, how it ended, and what BACKING then held.
check_forecast() {
	local kernel forecast ids= first last
	kernel=$(jq -c --arg set "$1" '.[$set].kernel' "$TOP/tests/golden/expected.json")
	[ "$kernel" != null ] || return 0
	run --separate-stderr wb-check --json --explain-kernel cache.img backing.before.img
	same "exit status of wb-check --explain-kernel" "$status" "$want_check_status"
	forecast=$(record forecast)
	while read -r first last; do
		[ -z "$first" ] || for ((; first <= last; first++)); do ids+=${ids:+,}$first; done
	done < <(sed 's/.*"applied_ids":\[\([^a-z]*\)\],.*/\1/; s/\],\[/\n/g; s/[][]//g; s/,/ /g' <<<"$forecast")
	same "ids applied" "$(jq -c . <<<"[$ids]")" "$(jq -c .applied <<<"$kernel")"
	same "number applied" "$(jq .applied <<<"$forecast")" "$(jq '.applied | length' <<<"$kernel")"
	same "outcome" "$(jq -r .outcome <<<"$forecast")" "$(jq -r .outcome <<<"$kernel")"
	cp backing.before.img backing.img
	"$BUILD/tests/foretell" cache.img backing.img
	same "BACKING after the driver" "$(sum backing.img)" "$(jq -r .after <<<"$kernel")"
}

golden() {
	unset want_timeline_new want_ignore_record want_prefix_regress
	unpack "$1"
	load_expected "$1"
	check_facts
	check_forecast "$1"
	replay "$want_strict"
	replay "$want_prefix" --policy=prefix
	[ -z "${want_prefix_regress-}" ] || same "sectors of evidence" "$got_evidence" "$want_prefix_regress"
	replay "$want_salvage" --policy=salvage
	[ "$want_salvage" = null ] || same "first id of salvage" "$got_first_id" "${want_salvage_from/null/0}"
	[ -z "${want_timeline_new-}" ] || replay "$want_timeline_new" --timeline=new
	[ -z "${want_ignore_record-}" ] || replay "$want_ignore_record" --ignore-record
}

@test "every golden set has a test" {
	diff <(jq -r 'keys[]' "$TOP/tests/golden/expected.json" | sort) \
		<(sed -n 's/^\tgolden \(.*\)$/\1/p' "$BATS_TEST_FILENAME" | sort)
}

@test "golden v0/a-formatted-o7" {
	golden v0/a-formatted-o7
}

@test "golden v0/a-started-o4" {
	golden v0/a-started-o4
}

@test "golden v0/b-simple-o4" {
	golden v0/b-simple-o4
}

@test "golden v0/b-simple-o7" {
	golden v0/b-simple-o7
}

@test "golden v0/b-simple-o7-tail" {
	golden v0/b-simple-o7-tail
}

@test "golden v0/c-partial-o11" {
	golden v0/c-partial-o11
}

@test "golden v0/c-partial-o4" {
	golden v0/c-partial-o4
}

@test "golden v0/c-partial-o7" {
	golden v0/c-partial-o7
}

@test "golden v0/d-wrapped-o7-norec" {
	golden v0/d-wrapped-o7-norec
}

@test "golden v0/d-wrapped-o9-rec" {
	golden v0/d-wrapped-o9-rec
}

@test "golden v0/e-defaults-o7" {
	golden v0/e-defaults-o7
}

@test "golden v0/e-torn-o7-suffix40" {
	golden v0/e-torn-o7-suffix40
}

@test "golden v0/e-torn-o9-skip1" {
	golden v0/e-torn-o9-skip1
}

@test "golden v0/f-hdrlap-mid" {
	golden v0/f-hdrlap-mid
}

@test "golden v0/f-id-gap" {
	golden v0/f-id-gap
}

@test "golden v0/f-lap-mid" {
	golden v0/f-lap-mid
}

@test "golden v0/f-rec-big" {
	golden v0/f-rec-big
}

@test "golden v0/f-resurrect" {
	golden v0/f-resurrect
}

@test "golden v0/f-zero-mid" {
	golden v0/f-zero-mid
}

@test "golden v0/g-write-eio" {
	golden v0/g-write-eio
}

@test "golden v0/h-discard-norec" {
	golden v0/h-discard-norec
}

@test "golden v2/crash-e2-partial" {
	golden v2/crash-e2-partial
}

@test "golden v2/crash-e4-dsync" {
	golden v2/crash-e4-dsync
}

@test "golden v2/fresh" {
	golden v2/fresh
}

@test "golden v2/g1-newest-data-byte" {
	golden v2/g1-newest-data-byte
}

@test "golden v2/g13-shrunk" {
	golden v2/g13-shrunk
}

@test "golden v2/g2-middle-data-byte" {
	golden v2/g2-middle-data-byte
}

@test "golden v2/g3-torn-oldest-slot" {
	golden v2/g3-torn-oldest-slot
}

@test "golden v2/g3z-second-life" {
	golden v2/g3z-second-life
}

@test "golden v2/g4-record-huge" {
	golden v2/g4-record-huge
}

@test "golden v2/g5-id-huge-middle" {
	golden v2/g5-id-huge-middle
}

@test "golden v2/g6-len-255-middle" {
	golden v2/g6-len-255-middle
}

@test "golden v2/g9-zero-id-middle" {
	golden v2/g9-zero-id-middle
}

@test "golden v2/k1-record-regression-min" {
	golden v2/k1-record-regression-min
}

@test "golden v2/partial" {
	golden v2/partial
}

@test "golden v2/partial-wrapped" {
	golden v2/partial-wrapped
}

@test "golden v2/r1-record-hides-durable" {
	golden v2/r1-record-hides-durable
}

@test "golden v2/raw-crc-partial" {
	golden v2/raw-crc-partial
}

@test "golden v2/raw-crc-v1-wrapped" {
	golden v2/raw-crc-v1-wrapped
}

@test "golden v2/readcache-tampered" {
	golden v2/readcache-tampered
}

@test "golden v2/simple" {
	golden v2/simple
}

@test "golden v2/wbpart-h3-partial-truth" {
	golden v2/wbpart-h3-partial-truth
}

@test "golden v2/wrapped-d1" {
	golden v2/wrapped-d1
}

@test "golden v2/wrapped-d2" {
	golden v2/wrapped-d2
}
