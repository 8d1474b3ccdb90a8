# SPDX-License-Identifier: GPL-2.0-or-later
# Pairs on which a policy once decided wrongly, and the golden sets whose policies differ: what BACKING holds afterwards, the exit
# status, and whether the log is ended. decide holds both invariants of the replay against a model of its own.

load helpers

# decide_all CACHE BACKING BAD: a line "OPTIONS|sha256|status|ended" for each line of options on stdin
decide_all() {
	"$BUILD/tests/decide" "$1" "$2" ${3:+"$3"} | cut -d '|' -f 1-4
}

@test "every case ends as it must, under every policy, and no invariant is broken" {
	local cases=$TOP/tests/cases name bad
	jq -r 'to_entries[] | .key as $name | .value.runs | to_entries[] | "\($name)|\(.key)|\(.value.backing | join(","))|" +
		"\(.value.status | join(","))|\(if .value.ended then "ended" else "kept" end)"' "$cases/expected.json" >wanted
	cut -d '|' -f 1 wanted | uniq >names
	[ "$(wc -l <names)" -ge 13 ]
	while read -r name; do
		zstd -dcq "$cases/$name.cache.zst" >cache.img
		zstd -dcq "$cases/$name.backing.zst" >backing.img
		bad=$cases/$name.bad
		[ -e "$bad" ] || bad=
		grep "^$name|" wanted | cut -d '|' -f 2- >want
		cut -d '|' -f 1 want | decide_all cache.img backing.img "$bad" >got
		diff want got || { echo "$name"; false; }
	done <names
}

@test "golden sets of several faults break no invariant under any policy or option" {
	local set
	for set in v0/f-hdrlap-mid v0/f-id-gap v0/f-resurrect v2/g3z-second-life v2/g5-id-huge-middle v2/g6-len-255-middle; do
		unpack "$set"
		printf '%s\n' '' --policy=prefix --policy=salvage --until-id=30 --trust-record --ignore-record --timeline=new \
			'--timeline=old --policy=salvage' --slots=7 --zeroed=replay | decide_all cache.img backing.before.img >got
		[ "$(wc -l <got)" -eq 10 ]
	done
}
