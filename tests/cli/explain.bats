# SPDX-License-Identifier: GPL-2.0-or-later
# wb-check --explain-kernel: in words, as a record, and for caches that no driver would accept. What it forecasts is
# compared with the real drivers in tests/table/table_golden.c.

load helpers

# explain STATUS ARGUMENT...: exit status and the forecast as got_KEY; the words in $words
explain() {
	expect "$1" wb-check --json -v --explain-kernel "${@:2}"
	words=$stderr
	eval "$(record forecast | jq -r 'to_entries[] | "got_\(.key)=\(.value | tojson | @sh)"')"
}

@test "a sound log is taken whole, and nothing is lost" {
	for generation in v0 v1 v2; do
		make_cache $generation-simple
		explain 0 cache.img backing.img
		[ "$got_outcome" = '"ok"' ]
		[ "$got_abandoned_sectors $got_regressed_sectors" = "0 0" ]
		[ "$got_compared" = true ]
		[[ $words == *"the device is assembled"*"Nothing would be lost"* ]]
	done
}

@test "a healthy cache whose record takes sectors back in time is told how to turn that off" {
	unpack v2/k1-record-regression-min
	for backing in backing.before.img ""; do
		explain 0 cache.img $backing
		[ "$got_regressed_sectors" = 2 ]
		[ "$got_abandoned_sectors" = 0 ]
		[[ $words == *"update_sb_record_interval 0"* ]]
	done
}

@test "a torn oldest slot: the driver takes nothing and all is lost" {
	unpack v2/g3-torn-oldest-slot
	explain 0 cache.img backing.before.img
	[ "$got_outcome" = '"nothing"' ]
	[ "$got_applied $got_first_id $got_last_id $got_applied_ids" = "0 0 0 []" ]
	[ "$got_abandoned_sectors" -gt 0 ]
	[[ $words == *"slot 8 (id 25)"*"never reach BACKING"* ]]
}

@test "ranges of ids come in the order of the driver" {
	unpack v2/g13-shrunk
	explain 4 cache.img
	[ "$got_applied_ids" = "[[32,32],[24,25],[28,31]]" ]
	[ "$got_first_id $got_last_id $got_applied" = "32 31 7" ]
	[[ $words == *"32, 24 to 25, 28 to 31"* ]]
}

@test "checksums of an old driver: a new one gives everything up" {
	unpack v2/raw-crc-partial
	explain 0 cache.img backing.before.img
	[ "$got_outcome" = '"nothing"' ]
	[ "$got_dropped_segments" = 100 ]
}

@test "without the magic every driver formats" {
	make_cache v2-sector0-zero
	explain 4 cache.img backing.img
	[ "$got_outcome" = '"reformat"' ]
	[ "$got_abandoned_sectors" -gt 0 ]
	[[ $words == *"without asking"* ]]
	make_cache v2-sector0-garbage
	explain 4 cache.img
	[ "$got_outcome" = '"reformat"' ]
	make_cache v2-simple
	expect 0 wb-flush-dirty -q -y cache.img backing.img
	explain 0 cache.img backing.img
	[ "$got_outcome $got_abandoned_sectors" = '"reformat" 0' ]
	truncate -s 4M blank.img
	explain 8 blank.img
	[ "$got_outcome $got_applied" = '"reformat" 0' ]
	[[ $words == *"by any driver"* ]]
}

@test "an order byte that is not the order: v0 and v1 do not assemble" {
	for generation in v0 v1; do
		make_cache $generation-orderbyte-12
		explain 4 cache.img
		[ "$got_outcome" = '"no-assembly"' ]
	done
}

@test "the forecast comes before the summary, and only when asked for" {
	make_cache v2-simple
	expect 0 wb-check --json -v --explain-kernel cache.img
	[ "$(tail -n 3 <<<"$output" | jq -r '[.type, .drivers] | join(" ")')" = "forecast 2.0.2 to 2.2.18
forecast-other 2.0.0 to 2.0.1
summary " ]
	expect 0 wb-check --json cache.img
	[ -z "$(record forecast)" ]
}

@test "little memory and one thread foretell the same" {
	unpack v2/partial
	explain 0 cache.img backing.before.img
	all=$(record forecast)
	explain 0 --memory=8MiB -j 1 cache.img backing.before.img
	[ "$(record forecast)" = "$all" ]
}
