# SPDX-License-Identifier: GPL-2.0-or-later
# The commands next to the real driver: dm-writeboost 2.2 in Debian's kernel, under qemu.

load ../cli/helpers
load helpers

# ---- golden sets: does this driver do what the recorded one did? ----

recover_golden_sets() {
	local set number=0 pairs=()
	for set in $(sed -n 's/^\trecorded \(.*\)$/\1/p' "$BATS_TEST_FILENAME" | grep -vx g6-len-255-middle); do
		number=$((number + 1))
		pairs+=("p$number")
		echo "p$number $set" >>names
		golden_pair "$set" "p$number"
	done
	guest "${pairs[@]}" >words <<-JOB
		trace
		for pair in ${pairs[*]}; do
			recover \$pair
		done
	JOB
}

recover_golden_crash() {
	echo "p1 g6-len-255-middle" >names
	golden_pair g6-len-255-middle p1
	recover_alone p1 >words
}

# recorded SET: the driver applies the ids and leaves the image that expected.json tells, and ends like it
recorded() {
	local name
	if [ "$(expected "$1" kernel.outcome)" = crash ]; then
		once recover_golden_crash
	else
		once recover_golden_sets
	fi
	name=$(sed -n "s/ $1\$//p" names)
	# both through jq, which rounds large numbers
	same "applied" "$(said "$name" applied | tr ' ' , | sed 's/.*/[&]/' | jq -c .)" \
		"$(expected "$1" kernel.applied | jq -c .)"
	same "outcome" "$(said "$name" outcome)" "$(expected "$1" kernel.outcome)"
	same "BACKING" "$(sum "$name.backing")" "$(expected "$1" kernel.after)"
}

@test "the driver does with crash-e2-partial what is recorded" {
	recorded crash-e2-partial
}

@test "the driver does with crash-e4-dsync what is recorded" {
	recorded crash-e4-dsync
}

@test "the driver does with fresh what is recorded" {
	recorded fresh
}

@test "the driver does with g1-newest-data-byte what is recorded" {
	recorded g1-newest-data-byte
}

@test "the driver does with g13-shrunk what is recorded" {
	recorded g13-shrunk
}

@test "the driver does with g2-middle-data-byte what is recorded" {
	recorded g2-middle-data-byte
}

@test "the driver does with g3-torn-oldest-slot what is recorded" {
	recorded g3-torn-oldest-slot
}

@test "the driver does with g3z-second-life what is recorded" {
	recorded g3z-second-life
}

@test "the driver does with g4-record-huge what is recorded" {
	recorded g4-record-huge
}

@test "the driver does with g5-id-huge-middle what is recorded" {
	recorded g5-id-huge-middle
}

@test "the driver does with g6-len-255-middle what is recorded" {
	recorded g6-len-255-middle
}

@test "the driver does with g9-zero-id-middle what is recorded" {
	recorded g9-zero-id-middle
}

@test "the driver does with k1-record-regression-min what is recorded" {
	recorded k1-record-regression-min
}

@test "the driver does with partial what is recorded" {
	recorded partial
}

@test "the driver does with partial-wrapped what is recorded" {
	recorded partial-wrapped
}

@test "the driver does with r1-record-hides-durable what is recorded" {
	recorded r1-record-hides-durable
}

@test "the driver does with readcache-tampered what is recorded" {
	recorded readcache-tampered
}

@test "the driver does with simple what is recorded" {
	recorded simple
}

@test "the driver does with wbpart-h3-partial-truth what is recorded" {
	recorded wbpart-h3-partial-truth
}

@test "the driver does with wrapped-d1 what is recorded" {
	recorded wrapped-d1
}

@test "the driver does with wrapped-d2 what is recorded" {
	recorded wrapped-d2
}

# ---- what wb-format makes, and what a power cut leaves of it ----

# NAME CACHE_MIB BACKING_MIB WRITES SYNC ARGUMENTS...: pairs, the workload of each, and how the driver is told to behave.
# Caches of 6 MiB go round many times.
workloads=(
	"clean  24 32   700  30"
	"quiet  12 32   700  30"
	"plain  32 64  4000 200"
	"wrap    6 32 20000 100"
	"eager   6 32 20000 100 2 writeback_threshold 100"
	"record  6 32 20000 100 4 writeback_threshold 100 update_sb_record_interval 1"
	"reader  6 32 20000 100 4 read_cache_threshold 127 nr_read_cache_cells 16"
)
names="clean quiet plain wrap eager record reader"

# of_workload NAME: sets $cache_mib and the others
of_workload() {
	read -r name cache_mib backing_mib writes sync arguments < <(printf '%s\n' "${workloads[@]}" | grep "^$1 ")
}

# The pair blank is for the driver to format; ours.cache begins with the same bytes.
make_pairs() {
	local each
	head -c 8M /dev/urandom >blank.cache
	cp blank.cache ours.cache
	truncate -s 16M blank.backing
	wb-format -q -y --force=signature,dirty ours.cache
	for each in $names; do
		of_workload "$each"
		head -c "${cache_mib}M" /dev/urandom >"$name.cache"
		truncate -s "${backing_mib}M" "$name.backing"
		wb-format -q -y --force=signature,dirty "$name.cache"
	done
}

# work NAME [CUT]: a line of a job
work() {
	of_workload "$1"
	echo "workload write /dev/mapper/$name $SEED $writes $sync ${2-}"
}

cut_power() {
	make_pairs
	truncate -s 32M truth
	guest blank $names truth=truth >words <<-JOB
		assemble blank
		$(for each in $names; do
			of_workload "$each"
			echo "assemble $name $arguments"
		done)
		$(work record) &
		$(work clean)
		dmsetup remove clean
		$(work quiet)
		dd if=/dev/mapper/quiet of=/disk/truth bs=64k iflag=direct conv=fsync 2>/dev/null
		sleep 2
		$(work plain) &
		$(work eager) &
		$(work reader) &
		$(work wrap $((2000 + SEED % 3000))) &
		while :; do dd if=/dev/mapper/reader of=/dev/null bs=64k iflag=direct 2>/dev/null; done
	JOB
}

# What the driver makes of these pairs, and of one whose log wb-flush-dirty ended.
recover_copies() {
	local each
	for each in $names; do
		copy_pair "$BATS_FILE_TMPDIR/cut_power/$each" "$each"
	done
	copy_pair plain ended
	wb-flush-dirty -q -y ended.cache ended.backing
	sum ended.backing >ended.sum
	guest $names ended >words <<-JOB
		trace
		for name in $names ended; do recover \$name; done
	JOB
}

# flush NAME: wb-flush-dirty on copies of a pair after the power cut, flushed.cache and flushed.backing
flush() {
	once cut_power
	cd "$BATS_TEST_TMPDIR" || return 1
	copy_pair "$BATS_FILE_TMPDIR/cut_power/$1" flushed
	expect 0 wb-flush-dirty -y --verify flushed.cache flushed.backing
}

# durable NAME: a state that the application had, with all that was acknowledged to it
durable() {
	local acknowledged
	flush "$1"
	of_workload "$1"
	acknowledged=$(sed -n "s|^/dev/mapper/$1 acknowledged ||p" "$BATS_FILE_TMPDIR/cut_power/words" | tail -n 1)
	run -0 workload check flushed.backing "$SEED" "$writes"
	echo "after write $output; $acknowledged was acknowledged"
	[ "$output" -ge "$acknowledged" ]
}

# recovers NAME: the driver leaves what wb-flush-dirty leaves
recovers() {
	flush "$1"
	once recover_copies
	same "outcome" "$(said "$1" outcome)" ok
	if wb-check --json "$BATS_FILE_TMPDIR/cut_power/$1.cache" | grep '"class":"torn-head"'; then
		skip "the power cut tore the head, and the driver drops the log then"
	fi
	same "BACKING" "$(sum "$1.backing")" "$(sum "$BATS_TEST_TMPDIR/flushed.backing")"
}

@test "wb-format leaves byte for byte what the driver leaves" {
	once cut_power
	grep -qx "blank was formatted" words
	cmp blank.cache ours.cache
}

@test "the driver assembles what wb-format made without formatting it" {
	once cut_power
	same "formatted" "$(grep "formatted" words)" "blank was formatted"
}

@test "a device that was removed is whole on BACKING after wb-flush-dirty" {
	flush clean
	of_workload clean
	same "last write" "$(workload check flushed.backing "$SEED" "$writes")" "$writes"
}

@test "what a device read before a power cut is on BACKING after wb-flush-dirty" {
	flush quiet
	cmp flushed.backing "$BATS_FILE_TMPDIR/cut_power/truth"
}

@test "a power cut amid writes: wb-flush-dirty loses nothing acknowledged" {
	durable plain
}

@test "a power cut amid writes that go round: wb-flush-dirty loses nothing acknowledged" {
	durable wrap
}

@test "a power cut while the driver writes back: wb-flush-dirty loses nothing acknowledged" {
	durable eager
}

@test "a power cut while the driver updates the record: wb-flush-dirty loses nothing acknowledged" {
	durable record
	run wb-check --json "$BATS_FILE_TMPDIR/cut_power/record.cache"
	[ "$(field .record)" -gt 0 ]
}

@test "a power cut while reads are cached: wb-flush-dirty loses nothing acknowledged" {
	durable reader
}

@test "the driver recovers the same after a removal" {
	recovers clean
}

@test "the driver recovers the same after a power cut at rest" {
	recovers quiet
}

@test "the driver recovers the same after a power cut amid writes" {
	recovers plain
}

@test "the driver recovers the same after a power cut amid writes that go round" {
	recovers wrap
}

@test "the driver recovers the same after a power cut while it wrote back" {
	recovers eager
}

@test "the driver recovers the same after a power cut while reads were cached" {
	recovers reader
}

@test "a log that wb-flush-dirty ended is never replayed: the driver formats it" {
	once cut_power
	once recover_copies
	same "applied" "$(said ended applied)" ""
	same "outcome" "$(said ended outcome)" reformat
	same "BACKING" "$(sum ended.backing)" "$(cat ended.sum)"
}

# ---- wb-check --explain-kernel ----

need_option() {
	"$1" --help | grep -q -- "$2" || skip "$1 has no $2 yet"
}

# forecast NAME: what wb-check foretells of a pair, in the words of `try`
forecast() {
	local line first last ids=()
	line=$(wb-check --json --explain-kernel "$1.cache" "$1.backing" | grep '"type":"forecast"')
	while read -r first last; do
		[ -z "$first" ] || ids+=($([ "$first" = "$last" ] && echo "$first" || seq "$first" "$last"))
	done < <(sed 's/.*"applied_ids":\[\([][0-9,]*\)\].*/\1/; s/\],\[/\n/g' <<<"$line" | tr ',[]' ' ')
	same "number of ids applied to $1" "$(jq .applied <<<"$line")" "${#ids[@]}"
	echo "$1 applied ${ids[*]}"
	echo "$1 outcome $(jq -r .outcome <<<"$line")"
}

# foretold FROM NAME...: the forecast of pairs as they were in FROM is what the driver did, which ./words tells
foretold() {
	local from=$1 name
	shift
	for name in "$@"; do
		(cd "$from" && forecast "$name")
	done >"$BATS_TEST_TMPDIR/foretold"
	grep -E '^[a-z0-9]+ (applied|outcome)' words | sed 's/ *$//' | diff <(sed 's/ *$//' "$BATS_TEST_TMPDIR/foretold") -
}

@test "the forecast of each golden set is what the driver does" {
	need_option wb-check --explain-kernel
	for boot in recover_golden_sets recover_golden_crash; do
		once $boot
		while read -r name set; do
			(cd "$BATS_TEST_TMPDIR" && golden_pair "$set" "$name")
		done <names
		foretold "$BATS_TEST_TMPDIR" $(cut -d' ' -f1 names)
	done
}

@test "the forecast after a power cut is what the driver does" {
	need_option wb-check --explain-kernel
	once cut_power
	once recover_copies
	sed -i '/^ended/d' words
	foretold "$BATS_FILE_TMPDIR/cut_power" $names
}

@test "the image that is forecast after a power cut is what the driver leaves" {
	command -v foretell >/dev/null || skip "needs the tool foretell"
	once cut_power
	once recover_copies
	for each in $names; do
		(cd "$BATS_TEST_TMPDIR" && copy_pair "$BATS_FILE_TMPDIR/cut_power/$each" told && foretell told.cache told.backing)
		same "BACKING of $each" "$(sum "$BATS_TEST_TMPDIR/told.backing")" "$(sum "$each.backing")"
	done
}

@test "a forecast of reformatting is right" {
	need_option wb-check --explain-kernel
	golden_pair simple p1
	dd if=/dev/zero of=p1.cache bs=512 count=1 conv=notrunc status=none
	copy_pair p1 before
	recover_alone p1 >words
	rm p1.*
	copy_pair before p1
	same "outcome" "$(said p1 outcome)" reformat
	foretold . p1
}

@test "a forecast of hanging is right" {
	need_option wb-check --explain-kernel
	golden_pair simple p1
	printf '\377\377\377\377\377\377\377\177' | dd of=p1.cache bs=512 seek=2047 conv=notrunc status=none
	recover_alone p1 >words
	same "outcome" "$(said p1 outcome)" hang
	foretold . p1
}

# poke FILE OFFSET BIT: flips it
poke() {
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf "\\x$(printf %x $((byte ^ 1 << $3)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# copy_over FILE FROM TO BYTES
copy_over() {
	dd if="$1" of="$1" bs=4096 skip=$(($2 / 4096)) seek=$(($3 / 4096)) count=$(($4 / 4096)) conv=notrunc status=none
}

# damage FILE: one to three changes where the driver looks
damage() {
	local slots=$((($(stat -c %s "$1") - 1048576) / 524288)) slot other
	for _ in $(seq $((RANDOM % 3 + 1))); do
		slot=$((1048576 + RANDOM % slots * 524288))
		other=$((1048576 + RANDOM % slots * 524288))
		case $((RANDOM % 8)) in
		0)	poke "$1" $((slot + RANDOM % 2)) $((RANDOM % 8)) ;;
		1)	poke "$1" $((slot + RANDOM % 13)) $((RANDOM % 8)) ;;
		2)	poke "$1" $((slot + 512 + RANDOM % 3584)) $((RANDOM % 8)) ;;
		3)	poke "$1" $((slot + RANDOM * 16)) $((RANDOM % 8)) ;;
		4)	dd if=/dev/zero of="$1" bs=4096 seek=$((slot / 4096)) count=1 conv=notrunc status=none ;;
		5)	copy_over "$1" $slot $other 4096 ;;
		6)	copy_over "$1" $slot $other 524288 ;;
		7)	poke "$1" $((2047 * 512 + RANDOM % 2)) $((RANDOM % 8)) ;;
		esac
	done
}

@test "the forecast of caches with random damage is what the driver does" {
	need_option wb-check --explain-kernel
	sets=(wrapped-d1 wrapped-d2 partial-wrapped crash-e4-dsync g2-middle-data-byte k1-record-regression-min)
	RANDOM=$SEED
	for number in $(seq 12); do
		golden_pair "${sets[RANDOM % ${#sets[@]}]}" "p$number"
		damage "p$number.cache"
		forecast "p$number" >>forecasts
	done
	# what takes the machine with it gets one of its own; two are enough
	deadly=$(sed -n 's/ outcome \(crash\|hang\)$//p' forecasts)
	quiet=$(sed -n 's/ outcome .*//p' forecasts | grep -vxF "${deadly:-none}")
	guest $quiet >words <<-JOB
		trace
		for pair in $(xargs <<<"$quiet"); do try \$pair; done
		echo power-cut
		sleep 60
	JOB
	for name in $(head -n 2 <<<"$deadly"); do
		copy_pair "$name" before
		recover_alone "$name" >>words
		copy_pair before "$name"
	done
	foretold . $quiet $(head -n 2 <<<"$deadly")
}

# ---- wb-check --repair ----

repaired_sets=(g3-torn-oldest-slot k1-record-regression-min wbpart-h3-partial-truth)

recover_repaired() {
	local number
	for number in 0 1 2; do
		golden_pair "${repaired_sets[number]}" "p$number"
		wb-check -q --repair -y "p$number.cache" "p$number.backing" || [ $? -eq 1 ]
	done
	guest p0 p1 p2 >words <<-'JOB'
		trace
		for pair in p0 p1 p2; do recover $pair; done
	JOB
}

# right NUMBER: the driver leaves what the application had
right() {
	need_option wb-check --repair
	once recover_repaired
	same "outcome" "$(said "p$1" outcome)" ok
	same "BACKING" "$(sum "p$1.backing")" "$(expected "${repaired_sets[$1]}" strict)"
}

@test "after wb-check --repair of a torn head the driver recovers everything" {
	right 0
}

@test "after wb-check --repair of a record the driver takes no sector back in time" {
	right 1
}

@test "after wb-check --repair of a record among partial blocks the driver takes no sector back in time" {
	right 2
}

# ---- holders ----

meet_holders() {
	golden_pair simple p
	copy_pair p before
	guest p >words <<-'JOB'
		# says HEADING COMMAND...
		says() {
			echo "@ $1"
			shift
			"$@"
			echo "status $?"
		}
		linear() {
			dmsetup create held --table "0 $(blockdev --getsz "$1") linear $1 0"
		}
		mirror() {
			mdadm --build /dev/md0 --run --level=1 --raid-devices=2 "$1" missing
		}
		flush() {
			wb-flush-dirty -y --keep /disk/p.cache /disk/p.backing
		}
		linear /disk/p.cache
		says "flush, linear over CACHE" flush
		says "format, linear over CACHE" wb-format -y --force=dirty,signature /disk/p.cache
		umount /proc
		says "flush, linear over CACHE, no /proc" flush
		mount -t proc proc /proc
		dmsetup remove held
		linear /disk/p.backing
		says "flush, linear over BACKING" flush
		dmsetup remove held
		mirror /disk/p.backing
		says "flush, raid over BACKING" flush
		mdadm --stop /dev/md0
		mirror /disk/p.cache
		says "format, raid over CACHE" wb-format -y --force=dirty,signature /disk/p.cache
		mdadm --stop /dev/md0
		umount /proc
		says "flush, no /proc" flush
		mount -t proc proc /proc
		assemble p
		says "flush, assembled" flush
		says "format, assembled" wb-format -y --force=dirty,signature /disk/p.cache
		says "pack, assembled" wb-dump --pack=/tmp/pack /disk/p.cache
		says "facts" wb-dump -v /tmp/pack
	JOB
}

# met HEADING STATUS WORDS
met() {
	once meet_holders
	got=$(awk -v heading="@ $1" '/^@/ { on = $0 == heading } on' words)
	echo "$got"
	grep -qx "status $2" <<<"$got"
	grep -qF "$3" <<<"$got"
}

@test "wb-flush-dirty refuses a CACHE under a linear mapping and names it" {
	met "flush, linear over CACHE" 8 "CACHE is used: mapped by dm-0 (held)"
}

@test "wb-flush-dirty names a mapping where /proc is not mounted" {
	met "flush, linear over CACHE, no /proc" 8 "CACHE is used: mapped by dm-0 (held)"
}

@test "wb-flush-dirty refuses a BACKING under a linear mapping and names it" {
	met "flush, linear over BACKING" 8 "BACKING is used: mapped by dm-0 (held)"
}

@test "wb-flush-dirty refuses a BACKING in a raid and names it" {
	met "flush, raid over BACKING" 8 "BACKING is used: a member of the raid md0"
}

@test "wb-flush-dirty refuses a pair that the driver has assembled and names it" {
	met "flush, assembled" 8 "is used: mapped by dm-0 (p)"
}

@test "wb-flush-dirty works where /proc is not mounted" {
	met "flush, no /proc" 0 "flushed"
	same "BACKING" "$(sum p.backing)" "$(expected simple strict)"
}

@test "wb-format refuses a CACHE that is held and changes nothing" {
	for holder in "linear over CACHE" "raid over CACHE" assembled; do
		met "format, $holder" 8 "p.cache"
	done
	cmp p.cache before.cache
}

@test "a pack of an assembled cache has its table and its status" {
	met "pack, assembled" 0 "the metadata of"
	met "facts" 0 "dmsetup table: 0 "
	met "facts" 0 "dmsetup status: 0 "
	grep -q "writeboost" <<<"$got"
}

@test "wb-format names a mapping and a raid" {
	need_option wb-format --discard
	met "format, linear over CACHE" 8 "mapped by dm-0 (held)"
	met "format, raid over CACHE" 8 "a member of the raid md0"
	met "format, assembled" 8 "mapped by dm-0 (p)"
}
