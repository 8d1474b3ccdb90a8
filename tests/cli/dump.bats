# SPDX-License-Identifier: GPL-2.0-or-later
# wb-dump: the summary and the tables.

load helpers

@test "the summary names version, generation, geometry, ids, classes and a next command, in under 40 lines" {
	unpack v2/g2-middle-data-byte
	before=$(sum cache.img)
	expect 0 wb-dump cache.img
	[ "${#lines[@]}" -lt 40 ]
	for words in "wb-dump" "v2" "order 10: 16 slots" "25 ... 40" "15 live, 1 rotten" "holes        36" "next"; do
		[[ $output == *"$words"* ]] || { echo "no '$words' in: $output"; false; }
	done
	[ "$(sum cache.img)" = "$before" ]
}

@test "the JSON summary carries the facts" {
	unpack v0/d-wrapped-o9-rec
	expect 0 wb-dump --json cache.img
	[ "$(field '"\(.generation) \(.order) \(.slots) \(.record) \(.head)"')" = "v0 9 16 43 53" ]
}

@test "--segments has a line for every written slot and agrees with --json" {
	unpack v2/g2-middle-data-byte
	expect 0 wb-dump --segments cache.img
	[ "${#lines[@]}" -eq 17 ]
	expect 0 wb-dump --segments --json cache.img
	[ "$(grep -c '"type":"segment"' <<<"$output")" -eq 16 ]
	rotten=$(grep '"class":"rotten"' <<<"$output")
	[ "$(jq -r '"\(.slot) \(.id) \(.length) \(.dirty_blocks)"' <<<"$rotten")" = "3 36 127 127" ]
}

@test "--segment takes an id or a range of ids, --slot places" {
	unpack v2/wrapped-d1
	expect 0 wb-dump --json --segment=30 cache.img
	[ "$(record segment | jq -r .id)" = 30 ]
	expect 0 wb-dump --json --segment=25-27 cache.img
	[ "$(grep -c '"type":"segment"' <<<"$output")" -eq 3 ]
	expect 0 wb-dump --json --slot=0 cache.img
	[ "$(record segment | jq -r .id)" = 28 ]
	expect 8 wb-dump --segment=99 cache.img
	[[ $stderr == *99* ]]
	expect 8 wb-dump --slot=9 cache.img
	for range in 3-2 -1 a 1- 1-2-3 ""; do
		expect 16 wb-dump "--segment=$range" cache.img
	done
}

@test "metablocks are those that stand on the disk" {
	printf 'generation v2\nslots 4\nbacking 4096\nsegment 1\nblock 800 ff\nblock 1600 0c\nsegment 2\nblock 8 01\n' |
		"$BUILD/tests/mkcache" - cache.img backing.img
	expect 0 wb-dump --json --metablocks cache.img
	[ "$(grep '"type":"metablock"' <<<"$output" | jq -r '"\(.id) \(.index) \(.sector) \(.dirty_bits)"' | tr '\n' ,)" = \
		"1 0 800 255,1 1 1600 12,2 0 8 1," ]
}

@test "--superblock shows magic, order and record where they stand" {
	unpack v0/d-wrapped-o9-rec
	expect 0 wb-dump --superblock cache.img
	[[ $output == *"74 73 42 57"* ]]
	[[ $output == *1048064*43* ]]
}

@test "an ended log is shown with its date" {
	unpack v2/simple
	expect 0 wb-flush-dirty -q -y cache.img backing.before.img
	expect 0 wb-dump cache.img
	[[ $output == *"ended on 20"* ]]
}

@test "a zeroed or damaged sector 0 is shown, not refused" {
	unpack v2/simple
	dd if=/dev/zero of=cache.img bs=512 count=1 conv=notrunc status=none
	expect 0 wb-dump cache.img
	[[ $output == *zero* ]]
	printf x | dd of=cache.img conv=notrunc status=none
	expect 0 wb-dump cache.img
	[[ $output == *damaged* ]]
}

@test "--output chooses and orders columns, in any case; + adds to the default ones" {
	unpack v2/wrapped-d1
	expect 0 wb-dump --segments --output=class,ID cache.img
	[ "${lines[0]}" = "CLASS          ID" ]
	[ "${lines[1]}" = "live           28" ]
	expect 0 wb-dump --segments -O +due --noheadings cache.img
	[ "$(awk '{ print $2, $NF }' <<<"${lines[0]}")" = "28 28" ]
	expect 0 wb-dump --segment=28 --output=index,sector cache.img
	[ "$(awk '{ print NF }' <<<"$output" | sort -u)" = 2 ]
	[ "${#lines[@]}" -gt 1 ]
}

@test "every cell is a word" {
	make_cache v2-torn-tail
	expect 0 wb-dump --segments -v --noheadings cache.img
	[ "$(awk '{ print NF }' <<<"$output" | sort -u)" = 9 ]
	make_cache v0-wrong-lap
	expect 0 wb-dump --segments -v --noheadings cache.img
	[ "$(awk '{ print NF }' <<<"$output" | sort -u)" = 9 ]
	grep -q wrong-lap <<<"$output"
}

@test "an unknown column, no column, two tables or none is a usage error" {
	make_cache v2-simple
	for columns in nonsense "" , id, "id,,slot" id,+slot; do
		expect 16 wb-dump --segments "--output=$columns" cache.img
		expect 16 wb-dump --segment=1 "--output=$columns" cache.img
	done
	expect 16 wb-dump --segments --metablocks --output=id cache.img
	expect 16 wb-dump --output=id cache.img
	expect 16 wb-dump --superblock --bytes cache.img
}

@test "--bytes prints sizes in bytes" {
	make_cache v2-wrapped
	expect 0 wb-dump --slot=0 --noheadings -O size cache.img
	[ "$output" = "  16K" ]
	expect 0 wb-dump --slot=0 --noheadings -O size --bytes cache.img
	[ "$(tr -d ' ' <<<"$output")" = 16384 ]
}

@test "ids are shown in the order of the ring" {
	make_cache v2-wrapped
	expect 0 wb-dump --noheadings -O id --segment=5-8 cache.img
	[ "$(tr -d ' ' <<<"$output" | tr '\n' ,)" = 5,6,7,8, ]
}

@test "--metadata-only reads no data and believes the headers" {
	unpack v2/g2-middle-data-byte
	expect 0 wb-dump --metadata-only --segments --noheadings -O class,seal cache.img
	[ "$(sort -u <<<"$output" | awk '{ print $1, $2 }')" = "live unverified" ]
	expect 0 wb-dump --metadata-only cache.img
	[[ $output == *"not computed"* ]]
}

@test "with BACKING its bounds are checked; it must not be CACHE" {
	make_cache v2-beyond-backing-dirty
	expect 0 wb-dump --json cache.img
	[ "$(field .damage)" = 0 ]
	expect 0 wb-dump --json cache.img backing.img
	[ "$(field .damage)" -gt 0 ]
	expect 8 wb-dump cache.img cache.img
}

@test "-q leaves the tables and takes the words" {
	unpack v2/wrapped-d1
	expect 0 wb-dump -q --segments cache.img
	[[ ${lines[0]} == SLOT* ]]
	[ -z "$stderr" ]
	expect 0 wb-dump -q cache.img
	[ -z "$output" ]
	make_cache v2-formatted
	expect 0 wb-dump -q --segments cache.img
	[ -z "$output$stderr" ]
}

@test "a reader that goes away ends it quietly, even where SIGPIPE was ignored" {
	make_big_cache 64
	(trap '' PIPE; wb-dump --metablocks cache.img 2>errors || echo $? >status) | head -n 1 >/dev/null
	[ "$(cat status)" = 141 ]
	[ ! -s errors ]
}

@test "a cache that somebody holds is shown with a warning" {
	make_cache v2-simple
	exec 9<cache.img
	flock -x 9
	expect 0 wb-dump --json cache.img
	exec 9<&-
	[ "$(field .busy)" = true ]
	[[ $stderr == *"may be moving"* ]]
}
