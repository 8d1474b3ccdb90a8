# SPDX-License-Identifier: GPL-2.0-or-later
# wb-format: writes what the driver writes, and destroys nothing that is needed.

load helpers

LOOPS="" MOUNTS="" MAPPED=""

teardown() {
	local thing

	for thing in $MOUNTS; do
		umount "$thing"
	done
	[ -z "$MAPPED" ] || dmsetup remove "$MAPPED"
	for thing in $LOOPS; do
		losetup -d "$thing"
	done
	rm -f "/dev/shm/wb-format.$$"
}

need() {
	command -v "$1" >/dev/null || skip "needs $1"
}

need_root() {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
}

# attach IMAGE [OPTION...]: a loop device over it, called $LOOP
attach() {
	need_root
	LOOP=$(losetup --show -f "${@:2}" "$1" 2>/dev/null) || skip "needs loop devices"
	LOOPS+=" $LOOP"
}

# mount_on DIRECTORY OPTION...
mount_on() {
	need_root
	mkdir -p "$1"
	mount "${@:2}" "$1" 2>/dev/null || skip "needs mount ${*:2}"
	MOUNTS="$PWD/$1 $MOUNTS"
}

# plans COMMAND...: a dry run that is refused for nothing but the room that the holes of a huge image would take
plans() {
	run --separate-stderr "$@"
	[[ $status == 0 || ($status == 8 && $stderr == "wb-format: ${*: -1}: no space left: "* && $stderr != *$'\n'*) ]]
}

# unpacked BASE64 FILE OFFSET: bytes that were packed with gzip -9n | base64
unpacked() {
	base64 -d <<<"$1" | gzip -dc | dd of="$2" bs=512 seek=$(($3 / 512)) conv=notrunc status=none
}

# The end of FILE as a raid member of metadata 0.90.
make_raid() {
	local end=$(($(stat -c %s "$1") / 65536 * 65536 - 65536))
	printf '\xfc\x4e\x2b\xa9\0\0\0\0\x5a\0\0\0\0\0\0\0\0\0\0\0\x12\x34\x56\x78' |
		dd of="$1" bs=4096 seek=$((end / 4096)) conv=notrunc status=none
}

# signatures: TYPE@OFFSET of every record in $output
signatures() {
	grep '"type":"signature"' <<<"$output" | jq -r '"\(.signature)@\(.offset)"' | tr '\n' ' '
}

# guards FILE "TYPE@OFFSET ": refused until forced and answered, and nothing changed until then
guards() {
	local before
	before=$(sum "$1")
	expect 8 wb-format -y --force=dirty,wrap "$1" </dev/null
	[[ $stderr == *"$1: is this the right device? It carries ${2%%@*}"*"--force=signature gives that up"* ]]
	expect 8 wb-format --force=signature "$1" </dev/null
	[[ $stderr == *"give --yes besides --force=signature"* ]]
	expect 8 wb-format -n --json "$1"
	[ "$(signatures)" = "$2" ]
	[ "$(sum "$1")" = "$before" ]
	expect 0 wb-format -y --force=signature "$1"
	expect 0 wb-check --force=signature "$1" # what lies where format writes nothing stays
}

@test "v0 at order 7 is byte for byte what the driver left (a-formatted-o7)" {
	unpack v0/a-formatted-o7
	cp cache.img made.img
	dd if=/dev/urandom of=made.img bs=1M count=1 conv=notrunc status=none
	for slot in $(seq 0 31); do
		dd if=/dev/urandom of=made.img bs=4096 count=1 seek=$((256 + slot * 16)) conv=notrunc status=none
	done
	expect 0 wb-format -y --type=v0 --order=7 made.img
	cmp made.img cache.img # data blocks stay: the driver does not touch them either
}

@test "v2 is what the driver left behind its first segment (fresh)" {
	unpack v2/fresh
	truncate -s "$(stat -c %s cache.img)" made.img
	expect 0 wb-format made.img
	# the driver's removal wrote segment 1, of length 0, into slot 0
	cmp <(head -c 1048576 made.img) <(head -c 1048576 cache.img)
	cmp <(tail -c +1052673 made.img) <(tail -c +1052673 cache.img)
}

@test "every generation and order: magic, order byte, zeroes" {
	for type in v0:4 v0:7 v0:11 v1:4 v1:10 v2:10; do
		head -c 4194304 /dev/urandom >made.img
		expect 0 wb-format -y --type=${type%:*} --order=${type#*:} --force=dirty made.img
		order=${type#*:}
		[ ${type%:*} != v2 ] || order=0
		[ "$(od -An -tx1 -N 5 made.img | tr -d ' ')" = "74734257$(printf %02x $order)" ]
		[ "$(head -c 1048576 made.img | tail -c +6 | tr -d '\0' | wc -c)" = 0 ]
		slot=1048576
		while [ $slot -lt $((4194304 - (512 << ${type#*:}) + 1)) ]; do
			[ "$(tail -c +$((slot + 1)) made.img | head -c 4096 | tr -d '\0' | wc -c)" = 0 ]
			slot=$((slot + (512 << ${type#*:}) * 5))
		done
		expect 0 wb-check --json made.img
		field_is .order ${type#*:}
	done
}

@test "default orders are 7, 10 and 10, and others are refused where a generation has none" {
	truncate -s 4M made.img
	for pair in v0:7 v1:10 v2:10; do
		expect 0 wb-format -n --json --type=${pair%:*} made.img
		field_is .order ${pair#*:}
	done
	expect 16 wb-format --type=v2 --order=9 made.img
	expect 16 wb-format --type=v1 --order=11 made.img
	expect 16 wb-format --type=v3 made.img
	expect 16 wb-format --generation=v2 made.img
	expect 16 wb-format --slots=2 made.img
}

@test "a dry run writes nothing" {
	head -c 4194304 /dev/urandom >made.img
	before=$(sum made.img)
	expect 0 wb-format -n made.img
	[ "$(sum made.img)" = "$before" ]
}

@test "a cache that may hold dirty blocks needs --force=dirty and -y" {
	unpack v2/simple
	before=$(sum cache.img)
	expect 8 wb-format cache.img </dev/null
	[[ $stderr == *"297 dirty blocks"*wb-flush-dirty* ]]
	expect 8 wb-format -y cache.img </dev/null
	expect 8 wb-format --force=dirty cache.img </dev/null
	[ "$(sum cache.img)" = "$before" ]
	expect 0 wb-format -y --force=dirty cache.img
}

@test "a damaged log counts as dirty" {
	for set in v2/g13-shrunk v2/g3z-second-life; do
		unpack $set
		before=$(sum cache.img)
		expect 8 wb-format -y cache.img
		[ "$(sum cache.img)" = "$before" ]
	done
	unpack v2/simple
	dd if=/dev/zero of=cache.img bs=512 count=1 conv=notrunc status=none
	expect 8 wb-format -y cache.img
}

@test "an ended log and a blank device need no force" {
	unpack v2/simple
	expect 0 wb-flush-dirty -q -y cache.img backing.before.img
	expect 0 wb-format cache.img </dev/null
	truncate -s 4M blank.img
	expect 0 wb-format blank.img </dev/null
	expect 0 wb-format blank.img </dev/null
}

@test "--reset ends the log of a clean cache and refuses a dirty one" {
	unpack v2/simple
	before=$(sum cache.img)
	expect 8 wb-format --reset cache.img </dev/null
	[ "$(sum cache.img)" = "$before" ]
	truncate -s 4M clean.img
	expect 0 wb-format clean.img
	expect 0 wb-format --reset clean.img
	expect 0 wb-check clean.img
	[[ $output == *"wb-format --reset"* ]]
}

@test "a device that is too small is refused with the bytes it needs" {
	truncate -s 1500000 small.img
	expect 8 wb-format small.img
	[[ $stderr == *1572864* ]]
	expect 0 wb-format --type=v0 small.img
}

# ---- guard: signatures ----

@test "guard: ext4 is shown with type, label, UUID and offset, and needs --force=signature" {
	truncate -s 16M ext4.img
	mkfs.ext4 -q -F -L data -U 0f3c7f0e-1111-2222-3333-444455556666 ext4.img
	expect 8 wb-format ext4.img
	[[ $output == *'now    ext4 "data" UUID 0f3c7f0e-1111-2222-3333-444455556666 at byte 1080: it will be overwritten'* ]]
	[[ $output == *'lost   ext4 "data" UUID 0f3c7f0e'* ]]
	expect 8 wb-format --json ext4.img
	[ "$(record signature | jq -c '[.signature, .label, .uuid, .offset, .partition_table, .overwritten]')" = \
		'["ext4","data","0f3c7f0e-1111-2222-3333-444455556666",1080,false,true]' ]
	guards ext4.img "ext4@1080 "
}

@test "guard: xfs needs --force=signature" {
	need mkfs.xfs
	truncate -s 320M xfs.img
	mkfs.xfs -q xfs.img
	guards xfs.img "xfs@0 "
}

# The label sector that pvcreate 2.03.16 wrote.
@test "guard: LVM2 needs --force=signature" {
	truncate -s 16M lvm.img
	unpacked H4sIAAAAAAACA/NxdHL18fdzZWSAgEI3kz4FIO0T5mukYGBgmEgAAJWyQHQKMOAFMOkP/FilmRhGwUAAAD9WouYAAgAA lvm.img 512
	guards lvm.img "LVM2_member@536 "
}

@test "guard: LUKS needs --force=signature, both headers are named" {
	need cryptsetup
	truncate -s 32M luks.img
	echo secret | cryptsetup -q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000 luks.img -
	guards luks.img "crypto_LUKS@0 crypto_LUKS@16384 "
}

@test "guard: GPT needs --force=signature" {
	need sfdisk
	truncate -s 16M gpt.img
	echo 'label: gpt' | sfdisk -q gpt.img
	tail -c 16896 gpt.img >backup
	guards gpt.img "PMBR@510 gpt@512 gpt@16776704 "
	# the second copy stays, is named, and stands for nothing any more
	cmp backup <(tail -c 16896 gpt.img)
	expect 0 wb-format gpt.img </dev/null
	[[ $output == *"the remnant of a gpt partition table UUID "*" at byte 16776704: it stays, nothing is written there"* ]]
	cmp backup <(tail -c 16896 gpt.img)
}

@test "guard: a GPT that lost its first sector still needs --force=signature" {
	need sfdisk
	truncate -s 16M gpt.img
	echo 'label: gpt' | sfdisk -q gpt.img
	dd if=/dev/zero of=gpt.img bs=512 count=1 conv=notrunc status=none
	guards gpt.img "gpt@512 gpt@16776704 "
}

@test "guard: swap needs --force=signature" {
	truncate -s 16M swap.img
	mkswap -q -L sleepy swap.img
	guards swap.img "swap@4086 "
}

# The superblock of a cache that make-bcache 1.0.8 wrote.
@test "guard: another cache (bcache) needs --force=signature" {
	truncate -s 16M bcache.img
	unpacked H4sIAAAAAAACA0tcbPKz8ePNCg4GVHCstfibn5TrqabUr/Ueu3IbuU3PyOuwecju6mjM+nskTVmJZ/1E06meScvnVhW+4o3dyUBvwAinWBhRhUYBCQAArAUhCQACAAA= \
		bcache.img 4096
	guards bcache.img "bcache@4120 "
}

@test "guard: several signatures at once are all shown; one where nothing is written is named and stays" {
	truncate -s 16M both.img
	mkfs.ext4 -q -F -L data both.img
	make_raid both.img
	tail -c 65536 both.img >member
	expect 8 wb-format -y both.img
	[[ $stderr == *'It carries ext4 "data" UUID '*" at byte 1080, linux_raid_member UUID 78563412-0000-0000-0000-000000000000 at byte 16711680;"* ]]
	[[ $output == *"linux_raid_member UUID "*" at byte 16711680: it stays, nothing is written there"* ]]
	guards both.img "ext4@1080 linux_raid_member@16711680 "
	cmp member <(tail -c 65536 both.img)
	# it would be one half of a mirror: it goes on to need the force
	expect 8 wb-format -y both.img
	expect 8 wb-format -y --reset both.img
}

@test "guard: bytes that nobody recognises need an answer and no force" {
	head -c 4194304 /dev/urandom >made.img
	before=$(sum made.img)
	expect 8 wb-format made.img </dev/null
	[[ $stderr == *"the device is not blank"* ]]
	[ "$(sum made.img)" = "$before" ]
	expect 0 wb-format -y made.img
}

# ---- guard: questions ----

@test "guard: on a terminal a prompt says what is lost and defaults to no" {
	need_terminal
	truncate -s 16M ext4.img
	mkfs.ext4 -q -F -L data ext4.img
	before=$(sum ext4.img)
	for answer in "" n what; do
		run script -qec "wb-format -q --force=signature ext4.img" /dev/null <<<"$answer"
		[ "$status" -eq 8 ]
		[[ $output == *'ext4.img will lose ext4 "data" UUID '*" at byte 1080. Go on? [y/N]"* ]]
		[ "$(sum ext4.img)" = "$before" ]
	done
	run script -qec "wb-format --force=signature ext4.img" /dev/null <<<y
	[ "$status" -eq 0 ]
	unpack v2/simple
	run script -qec "wb-format -q --force=dirty cache.img" /dev/null <<<n
	[ "$status" -eq 8 ]
	[[ $output == *"cache.img will lose up to 297 dirty blocks ("*"), which may exist nowhere else. Go on? [y/N]"* ]]
}

@test "guard: a cache is summarised: generation, dirty blocks, newest id" {
	unpack v2/simple
	expect 8 wb-format -n --json cache.img
	[ "$(field '"\(.present) \(.dirty_blocks) \(.may_be_dirty)"')" = "cache 297 true" ]
	id=$(field .newest_id)
	[ "$id" -gt 0 ]
	expect 0 wb-check --json cache.img
	field_is .head "$id"
	expect 8 wb-format -n cache.img
	[[ $output == *"now    a writeboost cache: v2, order 10, "*"newest segment $id"*"up to 297 dirty blocks ("* ]]
}

# ---- guard: who holds it ----

@test "guard: mounted is refused and the holder named, by a dry run too" {
	truncate -s 16M ext4.img
	mkfs.ext4 -q -F ext4.img
	attach ext4.img
	mount_on mnt -o ro,noload "$LOOP"
	before=$(sum ext4.img)
	expect 8 wb-format -y --force=signature "$LOOP"
	[[ $stderr == *"$LOOP: CACHE is used: mounted on $PWD/mnt; release it first"* ]]
	expect 8 wb-format -y --force=signature ext4.img
	[[ $stderr == *"ext4.img: CACHE is used: the backing file of $LOOP, which is mounted on $PWD/mnt; release it first"* ]]
	expect 8 wb-format -y --reset "$LOOP"
	expect 8 wb-format -n --force=signature "$LOOP"
	[[ $stderr == *"the dry run continues"* ]]
	[ "$(sum ext4.img)" = "$before" ]
}

@test "guard: mapped is refused and the holder named" {
	need_root
	need dmsetup
	truncate -s 16M device.img
	attach device.img
	dmsetup create "wbformat$$" --table "0 2048 linear $LOOP 0" 2>/dev/null || skip "needs device-mapper"
	MAPPED=wbformat$$
	expect 8 wb-format "$LOOP"
	[[ $stderr == *"CACHE is used: mapped by dm-"*"(wbformat$$)"* ]]
}

@test "guard: in swap is refused and the holder named" {
	truncate -s 16M swap.img
	mkswap -q swap.img
	attach swap.img
	swapon "$LOOP" 2>/dev/null || skip "needs swapon"
	run --separate-stderr wb-format -y --force=signature "$LOOP"
	swapoff "$LOOP"
	[ "$status" -eq 8 ]
	[[ $stderr == *"$LOOP: CACHE is used: in use as swap; release it first"* ]]
}

@test "guard: held by another program is refused" {
	truncate -s 4M made.img
	exec 7<>made.img
	flock -n 7
	expect 8 wb-format made.img
	[[ $stderr == *"locked by another program"* ]]
	exec 7>&-
	expect 0 wb-format made.img
}

# ---- what is written ----

@test "a loop device becomes what its image would" {
	head -c 16777216 /dev/urandom >image.img
	cp image.img device.img
	expect 0 wb-format -y image.img
	attach device.img
	expect 0 wb-format -y "$LOOP"
	cmp image.img device.img
}

@test "io_uring and plain I/O write the same" {
	head -c 16777216 /dev/urandom >a.img
	cp a.img b.img
	WB_IO=threads expect 0 wb-format -y --type=v0 --order=4 a.img
	WB_IO=uring expect 0 wb-format -y --type=v0 --order=4 b.img
	cmp a.img b.img
}

@test "--discard: the device is discarded, and the headers are still written" {
	head -c 16777216 /dev/urandom >made.img
	expect 0 wb-format -n --discard made.img
	[ "$(du -k made.img | cut -f 1)" -ge 16384 ]
	expect 0 wb-format -y --json --discard made.img
	field_is .discarded true
	[ "$(stat -c %s made.img)" = 16777216 ]
	[ "$(du -k made.img | cut -f 1)" -lt 4096 ]
	truncate -s 16M blank.img
	expect 0 wb-format blank.img
	cmp made.img blank.img
	expect 16 wb-format --reset --discard made.img
}

@test "--discard: a signature at the end of the device goes too, and is named so" {
	truncate -s 16M raid.img
	make_raid raid.img
	expect 8 wb-format -y --discard raid.img
	[[ $output == *"linux_raid_member UUID "*": it will be discarded"* ]]
	expect 0 wb-format -y --discard --force=signature raid.img
	expect 0 wb-format raid.img </dev/null
}

@test "--discard: a loop device" {
	head -c 16777216 /dev/urandom >made.img
	attach made.img
	expect 0 wb-format -y --json --discard "$LOOP"
	field_is .discarded true
	expect 0 wb-check "$LOOP"
}

@test "--discard: a device that cannot is formatted without" {
	mount_on ram -t ramfs none
	truncate -s 4M ram/made.img
	expect 0 wb-format --json --discard ram/made.img
	[[ $stderr == *"the device cannot discard; going on without"* ]]
	[ "$(field '"\(.discarded) \(.formatted)"')" = "false true" ]
	expect 0 wb-check ram/made.img
}

# ---- dry run ----

@test "-n: geometry, capacity, blocks, the RAM the driver needs, what is there, what would be lost" {
	truncate -s 64M made.img
	expect 0 wb-format -n made.img
	[[ $output == *"now    blank"*"new    v2, order 10: 126 segments of 127 blocks, 65544192 usable bytes"* ]]
	[[ $output == *"16002 blocks of 4 KiB; the driver's tables for them take 754.0 KiB of RAM"*"lost   nothing"* ]]
	# 64-bit kernels: 48 bytes a block, and for a segment 32, in v0 112
	for case in "v0 7 1008 15 $((1008 * 112 + 1008 * 15 * 48))" "v1 8 504 31 $((504 * 32 + 504 * 31 * 48))" \
		"v2 10 126 127 $((126 * 32 + 126 * 127 * 48))"; do
		set -- $case
		expect 0 wb-format -n --json --type=$1 --order=$2 made.img
		[ "$(field '"\(.order) \(.slots) \(.capacity) \(.driver_memory) \(.blocks)"')" = "$2 $3 $4 $5 $(($3 * $4))" ]
	done
	unpack v2/simple
	expect 8 wb-format -n cache.img
	[[ $output == *"lost   up to 297 dirty blocks ("*"), which may exist nowhere else"* ]]
}

@test "the table line names the order where the driver must be told" {
	truncate -s 8M made.img
	for case in "v2 10 made.img'" "v1 10 made.img'" "v0 7 made.img'" "v1 8 made.img 2 segment_size_order 8'" \
		"v0 9 made.img 9'"; do
		read -r type order line <<<"$case"
		expect 0 wb-format --type=$type --order=$order made.img
		[[ $output == *"writeboost BACKING $line" ]]
	done
}

# ---- devices ----

@test "larger than 2 TiB: the 32-bit wrap is explained, refused without --force=wrap" {
	truncate -s 2100G big.img || skip "needs a file system with large sparse files"
	expect 8 wb-format -y --force=dirty,signature big.img
	[[ $stderr == *"2 TiB"*"modulo 2^32 sectors"*"over sector 0"*"--force=wrap"* ]]
	expect 8 wb-format -n big.img
	plans wb-format -n --force=wrap big.img
	truncate -s 2T big.img
	plans wb-format -n big.img
	[ "$(du -k big.img | cut -f 1)" -lt 1024 ]
}

@test "larger than the 16 TiB of the format is refused" {
	big=/dev/shm/wb-format.$$
	truncate -s 17T "$big" 2>/dev/null || skip "needs a file system with files of 17 TiB"
	expect 8 wb-format -y --force=wrap "$big"
	[[ $stderr == *"2^32 blocks of 4 KiB, 16 TiB"* ]]
	truncate -s 16T "$big"
	plans wb-format -n --force=wrap "$big"
}

@test "an odd size: the tail that is shorter than a slot stays" {
	head -c 4194811 /dev/urandom >odd.img
	tail -c 507 odd.img >tail
	expect 0 wb-format -y odd.img
	cmp tail <(tail -c 507 odd.img)
	expect 0 wb-check odd.img
}

@test "a read-only device is refused and called so" {
	truncate -s 4M made.img
	chmod 444 made.img
	for option in -q -n --reset; do
		expect 8 mortal "$(command -v wb-format)" $option made.img
		[[ $stderr == *"made.img: it cannot be written: "*read-only* ]]
	done
}

@test "a read-only block device is refused and called so" {
	truncate -s 4M made.img
	attach made.img -r
	expect 8 wb-format "$LOOP"
	[[ $stderr == *"$LOOP: it cannot be written: the device is read-only"* ]]
}

@test "4Kn: sectors 0 and 2047 are written with the 4096 bytes around them" {
	unpack v2/simple
	cp cache.img image.img
	expect 0 wb-format -y --force=dirty image.img
	attach cache.img -b 4096
	[ "$(blockdev --getss "$LOOP")" = 4096 ] || skip "needs loop devices with sectors of 4096 bytes"
	printf '\x07' | dd of=cache.img bs=1 seek=$((2047 * 512)) conv=notrunc status=none # a record
	expect 8 wb-format "$LOOP"
	expect 0 wb-format -y --force=dirty "$LOOP"
	[[ $stderr == *"sectors are of 4096 bytes; drivers before 2.2.8 cannot use such a device"* ]]
	cmp image.img cache.img
	expect 0 wb-check "$LOOP"
	expect 0 wb-format --reset "$LOOP"
	# the marker takes the first 512 bytes and no more
	cmp <(tail -c +513 image.img) <(tail -c +513 cache.img)
	expect 0 wb-check "$LOOP"
	[[ $output == *"wb-format --reset"* ]]
}

@test "a file system that is full is named, and the format can be run again" {
	mount_on small -t tmpfs -o size=2m none
	truncate -s 64M small/made.img
	expect 8 wb-format -n --type=v0 --order=4 small/made.img
	[[ $stderr == *"small/made.img: no space left: the holes of this image that would be filled need 32.5 MiB"* ]]
	truncate -s 64M other.img
	expect 8 wb-format -n --type=v0 --order=4 --undo=small/undo other.img
	[[ $stderr == *"small/undo: no space left"* ]]
	[ ! -e small/undo ]
	expect 8 wb-format --type=v0 --order=4 small/made.img
	[[ $stderr == *"at byte "*"No space left on device"*"the file system that holds the image is full"*"run wb-format again"* ]]
	mount -o remount,size=64m small
	expect 0 wb-format -n --type=v0 --order=4 --undo=small/undo other.img
	expect 0 wb-format --type=v0 --order=4 small/made.img </dev/null
	expect 0 wb-check small/made.img
}

# ---- interrupted ----

# interrupted FILE OPTION...: a format that cannot write beyond the first 2 MiB
interrupted() {
	expect 8 bash -c 'trap "" XFSZ; ulimit -f 2048; exec wb-format "$@"' - -y "${@:2}" "$1"
	[[ $stderr == *"the format is not complete: run wb-format again"* ]]
}

@test "an interrupted format: wb-check says so, and running wb-format again needs no force" {
	for engine in threads uring; do
		export WB_IO=$engine
		unpack v2/simple
		interrupted cache.img --force=dirty
		bears_marker cache.img
		expect 0 wb-check --json cache.img
		[ "$(record finding | jq -r .class)" = format-interrupted ]
		expect 0 wb-format cache.img </dev/null
		expect 0 wb-check cache.img
	done
}

@test "an interrupted format of a device with a signature needs no force the second time" {
	truncate -s 16M both.img
	mkfs.ext4 -q -F both.img
	make_raid both.img
	interrupted both.img --force=signature
	expect 0 wb-format -n both.img </dev/null
	[[ $output == *"linux_raid_member"*"it stays"* ]]
	expect 0 wb-format both.img </dev/null
}

# ---- --reset --backing ----

@test "--reset --backing: what BACKING holds already is not dirty" {
	unpack v2/simple
	expect 0 wb-flush-dirty -q -y --keep cache.img backing.before.img
	before=$(sum backing.before.img)
	expect 8 wb-format --reset cache.img </dev/null
	expect 0 wb-format --json --reset --backing=backing.before.img cache.img </dev/null
	[ "$(field '"\(.dirty_blocks) \(.pair) \(.ended)"')" = "0 proven true" ]
	[ "$(sum backing.before.img)" = "$before" ]
	expect 0 wb-check cache.img
	[[ $output == *"wb-format --reset"* ]]
	expect 0 wb-format --reset --backing=backing.before.img cache.img </dev/null
}

@test "a whole disk: the partition that holds a cache is named, and no log is made up of the disk" {
	need sfdisk
	make_cache v2-wrapped
	truncate -s 12M disk.img
	printf 'label: gpt\nstart=4096,size=%d\n' $(($(stat -c %s cache.img) / 512)) | sfdisk -q disk.img
	dd if=cache.img of=disk.img bs=512 seek=4096 conv=notrunc status=none
	before=$(sum disk.img)
	expect 8 wb-format -y --force=signature disk.img
	[[ $stderr == *"partition 1 (--start=2097152 --size="*" of this disk holds a cache"*"--force=dirty"* ]]
	[[ $output == *"now    a whole disk that holds a writeboost cache, in partition 1 (--start=2097152"* && $output != *"up to 0"* ]]
	[ "$(sum disk.img)" = "$before" ]
	make_cache v2-pair-contradicted
	expect 8 wb-format -n --reset --backing=backing.img cache.img
	[[ $stderr == *"once the right disk is found"* && $output == *"next   wb-check cache.img BACKING"* ]]
}

@test "--reset --backing: what BACKING lacks is refused, with the command that writes it" {
	unpack v2/simple
	before=$(sum cache.img)
	expect 8 wb-format -y --reset --backing=backing.before.img cache.img
	[[ $stderr == *"dirty block"*"that BACKING does not hold: write them back with wb-flush-dirty, or give --force=dirty"* ]]
	[[ $output == *"next   wb-flush-dirty -n cache.img backing.before.img"* ]]
	expect 8 wb-format -n --json --reset --backing=backing.before.img cache.img
	[ "$(field .dirty_blocks)" -gt 0 ]
	[ "$(sum cache.img)" = "$before" ]
	expect 0 wb-format -y --force=dirty --reset --backing=backing.before.img cache.img
}

@test "--reset --backing: one sector that differs is dirty" {
	make_cache v2-simple
	expect 0 wb-flush-dirty -q -y --keep cache.img backing.img
	expect 0 wb-dump --json --segment=5 cache.img
	sector=$(record metablock | jq .sector)
	printf 'changed' | dd of=backing.img bs=512 seek="$sector" conv=notrunc status=none
	expect 8 wb-format -y --reset --backing=backing.img cache.img
	[[ $stderr == *"holds 1 dirty block (512 bytes)"* ]]
}

@test "--reset --backing: a wrong disk, a damaged log and swapped operands are refused" {
	make_cache v2-pair-contradicted
	expect 8 wb-format -y --reset --backing=backing.img cache.img
	[[ $stderr == *"BACKING is not the disk of this cache"* ]]
	make_cache v2-rotten-data-bit
	expect 8 wb-format -y --reset --backing=backing.img cache.img
	[[ $stderr == *"some of its segments are damaged"* ]]
	make_cache v2-simple
	truncate -s 4M blank.img
	expect 8 wb-format -y --reset --backing=cache.img blank.img
	[[ $stderr == *"BACKING carries a writeboost header"* ]]
	expect 8 wb-format -y --reset --backing=cache.img cache.img
	[[ $stderr == *"CACHE and BACKING are the same device"* ]]
	expect 16 wb-format --backing=blank.img cache.img
	expect 16 wb-format --reset --backing= cache.img
}

@test "--reset --backing: blocks of zeroes alone prove no disk, and need an answer" {
	printf 'segment 1\n\tblock 8 ff data zero\n\tblock 16 ff data zero\n' | "$BUILD/tests/mkcache" - cache.img
	truncate -s 8M other.img
	before=$(sum cache.img)
	expect 8 wb-format --reset --backing=other.img cache.img </dev/null
	[[ $stderr == *"if it is the right disk, answer y, or give --yes"* ]]
	[ "$(sum cache.img)" = "$before" ]
	expect 0 wb-format -y --reset --backing=other.img cache.img
}

@test "an image keeps its size" {
	truncate -s 4194811 odd.img
	expect 0 wb-format odd.img
	[ "$(stat -c %s odd.img)" = 4194811 ]
}

@test "--undo records a format and a reset, and wb-undo puts the old cache back" {
	unpack v2/partial
	cp cache.img cache.orig
	expect 0 wb-format -y --force=dirty --undo=undo cache.img
	[[ $output == *"undo   wb-undo undo"* ]]
	expect 0 wb-check cache.img
	expect 0 wb-undo -y undo
	cmp cache.img cache.orig
	expect 0 wb-format -y --reset --force=dirty --undo=undo cache.img
	expect 0 wb-undo -y undo
	cmp cache.img cache.orig
	expect 0 wb-format -y --type=v0 --force=dirty --undo=another cache.img
	expect 0 wb-undo -y another
	cmp cache.img cache.orig
}

@test "--undo excludes --discard, and a dry run creates no file" {
	truncate -s 8M blank.img
	expect 16 wb-format --discard --undo=undo blank.img
	expect 0 wb-format -n --undo=undo blank.img
	[ ! -e undo ]
}
