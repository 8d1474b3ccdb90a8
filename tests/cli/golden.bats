# SPDX-License-Identifier: GPL-2.0-or-later
# Every image that a real driver wrote: what it is, and what each policy must make of it.

load helpers

expected() {
	jq -r --arg set "$set" ".[\$set].$1" "$TOP/tests/golden/expected.json"
}

# replay POLICY-KEY OPTION...: BACKING's sha256 must be that of expected.json; null means a refusal that changes nothing
replay() {
	local key=$1 want cache
	shift
	want=$(expected "$key")
	cache=$(sum cache.img)
	cp backing.before.img backing.img
	run --separate-stderr wb-flush-dirty --json -y --keep "$@" cache.img backing.img
	if [ "$want" = null ]; then
		[ "$status" -eq 4 ] || { echo "$key: exit $status, expected 4: $stderr"; return 1; }
		want=$(expected before)
	else
		[ $((status & ~5)) -eq 0 ] || { echo "$key: exit $status: $stderr"; return 1; }
	fi
	[ "$(sum backing.img)" = "$want" ] || { echo "$key: wrong backing image ($*)"; return 1; }
	[ "$(sum cache.img)" = "$cache" ] || { echo "$key: the cache was changed"; return 1; }
	[ "$(field .pair)" = "$(expected pair)" ] || { echo "$key: pair $(field .pair)"; return 1; }
	[ "$key" != salvage ] || [ "$(expected salvage)" = null ] ||
		[ "$(field .first_id)" = "$(expected 'salvage_from // 0')" ] ||
		{ echo "salvage begins at $(field .first_id)"; return 1; }
}

check_facts() {
	run --separate-stderr wb-check --json cache.img backing.before.img
	[ "$status" -eq "$(expected check_status)" ] || { echo "wb-check exits $status: $output"; return 1; }
	local fact
	for fact in generation order slots record head pair; do
		[ "$(field ".$fact")" = "$(expected "$fact")" ] || { echo "$fact is $(field ".$fact")"; return 1; }
	done
	[ "$(field .first)" = "$(expected 'window[0]')" ] || { echo "first is $(field .first)"; return 1; }
	[ "$(field .holes)" = "$(expected 'holes | length')" ] || { echo "holes: $(field .holes)"; return 1; }
	# jq reads numbers above 2^53 inexactly, so ids are compared as text
	local class
	for class in torn_head torn_tail ahead zeroed; do
		[ "$(ids_of "${class/_/-}")" = "$(expected "$class | map(tostring) | sort | join(\" \")")" ] ||
			{ echo "$class: $(ids_of "${class/_/-}")"; return 1; }
	done
	[ "$(grep -c '"flipped_byte"' <<<"$output")" = "$(expected 'one_bit | length')" ]
}

ids_of() {
	grep "\"class\":\"$1\"" <<<"$output" | jq -r '.id | tostring' | sort | tr '\n' ' ' | sed 's/ $//'
}

golden() {
	set=$1
	unpack "$set"
	check_facts
	replay strict
	replay prefix --policy=prefix
	replay salvage --policy=salvage
	[ "$(expected timeline_new)" = null ] || replay timeline_new --timeline=new
	[ "$(expected 'ignore_record // "none"' )" = none ] || replay ignore_record --ignore-record
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
