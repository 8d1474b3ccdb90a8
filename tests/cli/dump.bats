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
	field_is .damage 0
	expect 0 wb-dump --json cache.img backing.img
	[ "$(field .damage)" -gt 0 ]
	expect 8 wb-dump cache.img cache.img
}

# bounds FIXTURE FIRST-LAST ROW...: what --sector says of 7, where BACKING ends or metablocks are not aligned
bounds() {
	local fixture=$1 sectors=$2
	shift 2
	make_cache "$fixture"
	expect 0 wb-dump -q --sector="$sectors" --policy=prefix --noheadings -O id,sector,dirty,written,why cache.img backing.img
	diff <(printf '%s\n' "$@") <(awk '$1 == 7 { $1 = $1; print }' <<<"$output")
}

@test "--sector says what is misaligned or beyond BACKING, and clips the last block" {
	bounds v2-misaligned-dirty 136-136 "7 131 0xff - misaligned" "7 136 0xff 0x01 wins"
	bounds v2-beyond-backing-dirty 256-264 "7 256 0xff - beyond-backing"
	bounds v2-sector-overflow 18446744073709551608-18446744073709551615 "7 18446744073709551608 0xff - beyond-backing"
	bounds v2-partial-last-block 128-135 "7 128 0xff 0x1f wins"
	bounds v2-partial-last-block 133-135 "7 128 0xff - beyond-backing"
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
	field_is .busy true
	[[ $stderr == *"may be moving"* ]]
}

# The sectors of the extent records in $output, one a line.
sectors_of_list() {
	grep '"type":"extent"' <<<"$output" | jq -r '.sector as $s | range(.sectors) | $s + .'
}

# same_as_flush OPTION...: on a BACKING that resembles nothing in the log (make_pattern), what is listed and mapped is what a
# replay changes, sector for sector; where a policy refuses (status 4), both refuse. Leaves BACKING as it was.
same_as_flush() {
	local listing sectors
	rm -f domain.map scratch.map
	run --separate-stderr wb-dump --json --list-dirty --domain-map=domain.map "$@" cache.img backing.img
	listing=$status sectors=$(field .planned_sectors)
	sectors_of_list >listed
	run --separate-stderr wb-flush-dirty --json -y --force=pair,stateless --keep "$@" cache.img backing.img
	if [ "$listing" -eq 4 ]; then
		[ "$status" -eq 4 ] && [ ! -e domain.map ] && cmp backing.img pattern.img
		return
	fi
	[ "$listing" -eq 0 ] && [ $((status & ~5)) -eq 0 ] || return 1
	[ "$(wc -l <listed)" -eq "$sectors" ] && [ "$(field .written_sectors)" -eq "$sectors" ] || return 1
	if [ "$sectors" -gt 0 ]; then
		diff listed <(ddrescuelog -b 512 -l + domain.map) || return 1
		# with the pattern put back in the domain of the map everything is as it was
		ddrescue -q -f -m domain.map pattern.img backing.img scratch.map || return 1
	fi
	cmp backing.img pattern.img
}

make_pattern() {
	head -c "$(stat -c %s "$1")" /dev/zero | tr '\0' '\333' >pattern.img
	cp pattern.img backing.img
}

@test "a refused policy lists nothing, says why, and ends with 4" {
	make_cache v2-two-holes
	expect 4 wb-dump --list-dirty --domain-map=domain.map cache.img backing.img
	[ -z "$output" ]
	[[ $stderr == *holes* ]]
	[ ! -e domain.map ]
}

@test "--domain-map never goes over a file, and takes an incomplete one away" {
	make_cache v2-simple
	echo precious >domain.map
	expect 8 wb-dump --domain-map=domain.map cache.img
	[ "$(cat domain.map)" = precious ]
	expect 8 wb-dump --domain-map=new.map /dev/null
	[ ! -e new.map ]
	expect 0 wb-dump --domain-map=new.map cache.img
	[ -z "$output" ]
	grep -q '+$' new.map
}

@test "nothing of an ended log would be written" {
	unpack v2/simple
	expect 0 wb-flush-dirty -q -y cache.img backing.before.img
	expect 0 wb-dump --list-dirty cache.img
	[ -z "$output" ]
}

@test "what would be written cannot be told from metadata alone" {
	make_cache v2-simple
	expect 16 wb-dump --list-dirty --metadata-only cache.img
	expect 16 wb-dump --list-dirty --until-id=3 --policy=salvage cache.img
	expect 16 wb-dump --segments --list-dirty -O sector cache.img
}

@test "--list-dirty leaves out what cannot be read, as a real flush does" {
	make_cache v2-wrapped
	make_pattern backing.img
	truncate -s $((1048576 + 5 * 524288 + 2 * 4096 + 1536)) cache.img
	same_as_flush --slots=6 --policy=salvage
	[ "$(wc -l <listed)" -gt 0 ]
	expect 0 wb-dump --slots=6 --slot=5 --noheadings -O class,sectors cache.img
	[ "$(awk '{ print $1, $2 }' <<<"$output")" = "part-readable 24" ]
}

@test "the history of many sectors is the same in one pass and in several" {
	make_big_cache 520
	expect 0 wb-dump --sector=0-99999999 cache.img
	[ "${#lines[@]}" -gt 40000 ]
	wb-dump --sector=0-99999999 --memory=8MiB cache.img >several
	cmp several - <<<"$output"
}

@test "ranges that are none are usage errors" {
	make_cache v2-simple
	for option in --sector --segment --slot; do
		for range in 3-2 -1 a 1- 1-2-3 "" 01 1-0x 18446744073709551616 " 1"; do
			expect 16 wb-dump "$option=$range" cache.img
		done
	done
}

# on_terminal COMMAND: its output on a terminal of 100 columns and 30 lines, without carriage returns
on_terminal() {
	TERM=${TERM:-xterm} script -qec "stty cols 100 rows 30; $1" /dev/null </dev/null | tr -d '\r'
}

@test "--data gives the bytes of a block, and they are what a flush writes" {
	unpack v2/wrapped-d1
	expect 0 wb-dump --json --sector=0-9999999 cache.img
	version=$(grep '"why":"wins"' <<<"$output" | grep '"written_bits":255' | head -n 1)
	wb-dump -q "--data=$(jq -r '"\(.id):\(.index)"' <<<"$version")" cache.img >block
	[ "$(stat -c %s block)" -eq 4096 ]
	expect 0 wb-flush-dirty -q -y cache.img backing.before.img
	cmp block <(dd if=backing.before.img bs=512 skip="$(jq .sector <<<"$version")" count=8 status=none)
}

@test "--data of a partial block says which sectors are defined, and marks them on a terminal" {
	need_terminal
	printf 'generation v2\nslots 4\nbacking 4096\nsegment 1\nblock 800 05\n' | "$BUILD/tests/mkcache" - cache.img
	expect 0 bash -c 'wb-dump --data=1:0 cache.img | wc -c'
	[ "$output" = 4096 ]
	[[ $stderr == *0x05* ]]
	on_terminal "wb-dump --data=1:0 cache.img" >shown
	[ "$(grep -c '^\* [0-9a-f]\{3\} ' shown)" -eq 64 ]
	[ "$(grep -c 'sector 80[02]: dirty' shown)" -eq 2 ]
	[ "$(grep -c 'not dirty, undefined' shown)" -eq 6 ]
	diff <(sed -n 's/^..\([0-9a-f]\{3\}\)   *\([0-9a-f ]*\)  |.*/\2/p' <(sed 's/\x1b\[[0-9]*m//g' shown) | tr -d ' \n') \
		<(wb-dump -q --data=1:0 cache.img | od -An -v -tx1 | tr -d ' \n')
	expect 0 wb-dump --json --data=1:0 cache.img
	[ "$(record data | jq -r .hex)" = "$(wb-dump -q --data=1:0 cache.img | od -An -v -tx1 | tr -d ' \n')" ]
}

@test "--data of a block that is not there, or with other things, is refused" {
	make_cache v2-wrapped
	expect 8 wb-dump --data=99:0 cache.img
	expect 8 wb-dump --data=7:3 cache.img
	expect 8 wb-dump --data=7:18446744073709551615 cache.img
	make_cache v2-bad-length
	expect 8 wb-dump --data=4:254 cache.img
	for data in 7 7: :1 0:0 7:1:1 a:b 7:-1; do
		expect 16 wb-dump "--data=$data" cache.img
	done
	expect 16 wb-dump --data=7:1 --segments cache.img
}

@test "--map draws every slot with the letter of its class, and marks the newest" {
	make_cache v2-two-holes
	expect 0 wb-dump --map cache.img
	grep -qx '0  #R###R' <<<"$output"
	grep -qx '     ^ newest: 9' <<<"$output"
	grep -qx '# live, dirty: 4   R rotten: 2' <<<"$output"
	expect 0 wb-dump --json --map cache.img
	[ "$(record map | jq -r '"\(.cells) \(.slots_per_cell) \(.head_cell) \(.legend.R)"')" = "#R###R 1 2 rotten" ]
	make_cache v2-grown
	expect 0 wb-dump --map cache.img
	[[ $output == *resized* ]]
}

@test "--map folds a large ring into the window, and the worst of a cell shows" {
	printf '%s\n' 'generation v1' 'order 4' 'slots 2500' 'backing 65536' 'range 1 4000 blocks 1 seed 3 span 4000' \
		'flip 1234 4200 3' 'flip 1234 4300 3' | "$BUILD/tests/mkcache" - cache.img
	for size in "80 24" "100 30" "40 20" "200 60" "12 5" "1 1"; do
		read -r columns lines <<<"$size"
		TERM=xterm NO_COLOR=1 script -qec "stty cols $columns rows $lines; wb-dump --progress=never --map cache.img" /dev/null \
			</dev/null | tr -d '\r' >shown
		[ "$columns" -lt 20 ] || [ "$(tail -n +3 shown | wc -L)" -le "$columns" ]
		[ "$lines" -lt 20 ] || [ "$(wc -l <shown)" -lt "$lines" ]
		[ "$(grep -E '^ *[0-9]+  ' shown | tr -cd R | wc -c)" -eq 1 ]
		cells=$(grep -E '^ *[0-9]+  ' shown | sed 's/^ *[0-9]*//' | tr -cd '#R' | wc -c)
		per=$(sed -n 's/^a cell is \([0-9]*\) slots.*/\1/p' shown)
		[ "$columns" -ge 200 ] && per=${per:-1}
		[ "$cells" -eq $(((2500 + per - 1) / per)) ]
	done
}

@test "--map has colours on a terminal alone, and nowhere with NO_COLOR or a dumb terminal" {
	need_terminal
	make_cache v2-two-holes
	TERM=xterm on_terminal "wb-dump --progress=never --map cache.img" | grep -q $'\x1b\['
	! NO_COLOR=1 on_terminal "wb-dump --progress=never --map cache.img" | grep $'\x1b' || false
	! TERM=dumb on_terminal "wb-dump --progress=never --map cache.img" | grep $'\x1b' || false
	! wb-dump --map cache.img | grep $'\x1b' || false
	diff <(NO_COLOR=1 on_terminal "wb-dump --progress=never --map cache.img") <(wb-dump --map cache.img)
}

@test "--svg draws the ring and where the dirty blocks lie, the same for the same cache" {
	unpack v2/g2-middle-data-byte
	expect 0 wb-dump --svg=a.svg cache.img backing.before.img
	[ -z "$output" ]
	wb-dump --svg=b.svg cache.img backing.before.img
	cmp a.svg b.svg
	[ "$(grep -c '<title>slot ' a.svg)" -eq 16 ]
	[ "$(grep -c '<title>slot .*rotten' a.svg)" -eq 1 ]
	grep -q 'newest segment: 40' a.svg
	grep -q '>16.0 MiB</text>' a.svg
	expect 8 wb-dump --svg=a.svg cache.img
	cmp a.svg b.svg
	expect 8 wb-dump --svg=c.svg /dev/null
	[ ! -e c.svg ]
}

@test "--svg is XML, whatever CACHE is called" {
	command -v xmllint >/dev/null || skip "xmllint is not installed"
	make_cache v2-simple
	name=$(printf 'a<b>&"\001\377\303\266.img')
	mv cache.img "$name"
	expect 0 wb-dump --svg=a.svg "$name"
	xmllint --noout a.svg
}
