# SPDX-License-Identifier: GPL-2.0-or-later
# What wb-flush-dirty refuses to touch, and what it says a device is. dm and md holders need a kernel that has them:
# tests/unit/test_guard.c has their trees.

load helpers

LOOPS="" HOLDER=""

teardown() {
	local device

	if [ "$HOLDER" ]; then
		kill "$HOLDER"
		wait "$HOLDER" || true
	fi
	mountpoint -q mnt && umount mnt
	for device in $LOOPS; do
		losetup -d "$device"
	done
}

need_loop() {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	losetup -f >/dev/null 2>&1 || skip "needs loop devices"
}

# attach IMAGE [OPTION...]: a loop device over it, called $LOOP
attach() {
	LOOP=$(losetup --show -f "${@:2}" "$1") || skip "needs loop devices"
	LOOPS+=" $LOOP"
}

# Only of a size at which nothing is written behind its back.
make_ext4() {
	truncate -s "$2" "$1"
	mkfs.ext4 -q -F -L data -U 0f3c7f0e-1111-2222-3333-444455556666 -E lazy_itable_init=0,lazy_journal_init=0 "$1"
}

mount_quietly() {
	mkdir -p mnt
	mount -o ro,noload "$1" mnt || skip "needs ext4"
}

# refused WORDS COMMAND...: exit 8 with these words; no image here changes
refused() {
	local words=$1 before
	shift
	before=$(sha256sum ./*.img)
	expect 8 "$@"
	[ "$(sha256sum ./*.img)" = "$before" ]
	if [[ $stderr != *"$words"* ]]; then
		echo "expected: $words"
		echo "$stderr"
		return 1
	fi
}

# ---- signatures and identity ----

@test "BACKING that is swap is refused until --force=signature" {
	unpack v2/simple
	mkswap -q -U 0f3c7f0e-1111-2222-3333-444455556666 backing.before.img
	refused "BACKING carries the signature of swap space: is this the right disk? (backing.before.img, " \
		wb-flush-dirty -y cache.img backing.before.img
	[[ $stderr == *", swap UUID 0f3c7f0e-1111-2222-3333-444455556666; --force=signature overrides this)"* ]]
	refused "swap space" wb-flush-dirty -n cache.img backing.before.img
	expect 0 wb-flush-dirty -y --force=signature cache.img backing.before.img
}

@test "BACKING that is a raid member is refused until --force=signature" {
	unpack v2/simple
	end=$(($(stat -c %s backing.before.img) / 65536 * 65536 - 65536))
	printf '\xfc\x4e\x2b\xa9\0\0\0\0\x5a\0\0\0\0\0\0\0\0\0\0\0\x12\x34\x56\x78' |
		dd of=backing.before.img bs=4096 seek=$((end / 4096)) conv=notrunc status=none
	refused "BACKING carries the signature of a raid member: is this the right disk? (backing.before.img, " \
		wb-flush-dirty -y cache.img backing.before.img
	[[ $stderr == *"linux_raid_member"* ]]
	expect 0 wb-flush-dirty -y --force=signature cache.img backing.before.img
}

@test "the plan says what BACKING is, in words and in JSON" {
	unpack v2/simple
	make_ext4 data.img "$(stat -c %s backing.before.img)"
	expect 0 wb-flush-dirty -n cache.img data.img
	[[ $output == *"backing     data.img, "*"iB, ext4 \"data\" UUID 0f3c7f0e-1111-2222-3333-444455556666"* ]]
	expect 0 wb-flush-dirty -n --json cache.img data.img
	[ "$(grep -c '"type":"identity"' <<<"$output")" -eq 2 ]
	identity=$(record identity)
	[ "$(jq -r '.role, .device, .signature, .usage, .label, .uuid, .busy, .holder, .size' <<<"$identity" | tr '\n' ' ')" = \
		"backing data.img ext4 filesystem data 0f3c7f0e-1111-2222-3333-444455556666 false null $(stat -c %s data.img) " ]
}

@test "the question says what BACKING is" {
	need_terminal
	unpack v2/simple
	make_ext4 data.img "$(stat -c %s backing.before.img)"
	before=$(sha256sum ./*.img)
	run script -qec "wb-flush-dirty -q cache.img data.img" /dev/null <<<n
	[ "$status" -eq 8 ]
	[[ $output == *"data.img, "*"ext4 \"data\" UUID"*"Write to it? [y/N]"* ]]
	[ "$(sha256sum ./*.img)" = "$before" ]
}

@test "reports, questions and answers read in order through tee, and n is no error that advises --yes" {
	need_terminal
	make_cache v2-simple
	before=$(sha256sum ./*.img)
	run script -qec "wb-flush-dirty cache.img backing.img 2>&1 | tee said" /dev/null <<<n
	[[ $(<said) == "cache "*"backing "*"pair "*"plan "*"Nothing proves that backing.img is the backing device of cache.img. \
Write to it? [y/N] "*"nothing was changed, as you answered"* ]]
	[[ $(<said) != *--yes* ]]
	run script -qec "wb-format --force=dirty cache.img 2>&1 | tee said" /dev/null <<<n
	[[ $(<said) == "cache  cache.img"*"now    a writeboost cache"*"new    v2"*"cache.img will lose up to "*"Go on? [y/N] "*\
"nothing was changed, as you answered"* ]]
	[[ $(<said) != *--yes* ]]
	[ "$(sha256sum ./*.img)" = "$before" ]
	make_cache v2-rotten-data-bit # stdout and stderr in turns
	run wb-flush-dirty cache.img backing.img
	[[ $output == *"nothing was changed"*"a segment is rotten"*"--policy=prefix would write"*"next "*"--policy=prefix"*\
"--policy=salvage would write"*"next "*"--policy=salvage"* ]]
}

@test "a question on the terminal comes after its report, however slow the reader of the pipe is" {
	need_terminal
	make_cache v2-simple
	run script -qec "wb-flush-dirty cache.img backing.img | (sleep 0.3; cat)" /dev/null <<<n
	[[ $output == *"plan  "*"Write to it? [y/N] "*"nothing was changed, as you answered"* ]]
	run script -qec "wb-format --force=dirty cache.img | (sleep 0.3; cat)" /dev/null <<<n
	[[ $output == *"lost  "*"Go on? [y/N] "*"nothing was changed, as you answered"* ]]
}

@test "CACHE under another name is no BACKING" {
	unpack v2/simple
	ln -s cache.img other-name
	refused "CACHE and BACKING are the same device" wb-flush-dirty -y cache.img other-name
	refused "CACHE and BACKING are the same device" wb-flush-dirty -y --force=pair,signature cache.img other-name
	refused "CACHE and BACKING are the same device" wb-flush-dirty -n cache.img other-name
}

@test "no installed command reads what only tests set" {
	for command in wb-check wb-dump wb-flush-dirty wb-format wb-undo; do
		run ! grep -q WB_TEST_ "$(command -v "$command")"
		grep -q WB_TEST_POWER "$BUILD/tests/$command"
	done
}

# ---- loop devices ----

@test "an idle loop device is as good as its image" {
	need_loop
	unpack v2/simple
	cp backing.before.img direct.img
	cp cache.img other.img
	expect 0 wb-flush-dirty -y --verify cache.img direct.img
	attach backing.before.img
	backing=$LOOP
	attach other.img
	expect 0 wb-flush-dirty -y --verify "$LOOP" "$backing"
	cmp direct.img backing.before.img
}

@test "a mounted BACKING is refused and its mount point named; a dry run shows its plan, then refuses too" {
	need_loop
	unpack v2/simple
	make_ext4 data.img "$(stat -c %s backing.before.img)"
	attach data.img
	mount_quietly "$LOOP"
	refused "$LOOP: BACKING is used: mounted on $PWD/mnt; release it first" wb-flush-dirty -y --force=pair,signature cache.img "$LOOP"
	expect 8 wb-flush-dirty -n --json cache.img "$LOOP"
	[[ $stderr == *"$LOOP: BACKING is used: mounted on $PWD/mnt; the dry run continues"* ]]
	[ "$(record identity | jq -r '.busy, .holder' | tr '\n' ' ')" = "true mounted on $PWD/mnt " ]
}

@test "a mounted CACHE is refused" {
	need_loop
	unpack v2/simple
	make_ext4 data.img 8M
	attach data.img
	mount_quietly "$LOOP"
	refused "$LOOP: CACHE is used: mounted on $PWD/mnt" wb-flush-dirty -y "$LOOP" backing.before.img
}

@test "an image behind a loop device is refused, as BACKING and as CACHE" {
	need_loop
	unpack v2/simple
	attach backing.before.img
	refused "backing.before.img: BACKING is used: the backing file of $LOOP" wb-flush-dirty -y cache.img backing.before.img
	ln backing.before.img alias.img
	refused "alias.img: BACKING is used: the backing file of $LOOP" wb-flush-dirty -y cache.img alias.img
	attach cache.img -r
	refused "cache.img: CACHE is used: the backing file of $LOOP" wb-flush-dirty -y cache.img backing.before.img
}

@test "an image that is mounted through a loop device is refused and the mount point named" {
	need_loop
	unpack v2/simple
	make_ext4 data.img 8M
	attach data.img
	mount_quietly "$LOOP"
	refused "data.img: BACKING is used: the backing file of $LOOP, which is mounted on $PWD/mnt" \
		wb-flush-dirty -y cache.img data.img
}

@test "without /sys the backing file of a loop device is still found" {
	need_loop
	unshare -m true 2>/dev/null || skip "needs mount namespaces"
	unpack v2/simple
	attach backing.before.img
	refused "BACKING is used: the backing file of $LOOP" \
		unshare -m sh -c 'umount -l /sys && exec "$@"' - wb-flush-dirty -y cache.img backing.before.img
	refused "CACHE and BACKING are a loop device and its backing file" \
		unshare -m sh -c 'umount -l /sys && exec "$@"' - wb-flush-dirty -y "$LOOP" backing.before.img
}

@test "without /proc a mounted BACKING is still refused" {
	need_loop
	unshare -m true 2>/dev/null || skip "needs mount namespaces"
	! grep -q __asan_init "$(command -v wb-flush-dirty)" || skip "sanitizers need /proc"
	unpack v2/simple
	make_ext4 data.img 8M
	attach data.img
	mount_quietly "$LOOP"
	refused "BACKING is used: opened exclusively" \
		unshare -m sh -c 'umount -l /proc && exec "$@"' - wb-flush-dirty -y cache.img "$LOOP"
}

@test "a BACKING that is mounted where we cannot see it is refused" {
	need_loop
	unshare -m true 2>/dev/null || skip "needs mount namespaces"
	unpack v2/simple
	make_ext4 data.img 8M
	attach data.img
	mkdir mnt
	mkfifo mounted
	unshare -m sh -c 'mount -o ro,noload "$1" mnt; echo $? >mounted; exec sleep 60' - "$LOOP" 3>&- &
	HOLDER=$!
	[ "$(cat mounted)" -eq 0 ] || skip "needs ext4"
	refused "BACKING is used: opened exclusively by a program, a mapping or a file system that /proc and /sys do not name" \
		wb-flush-dirty -y cache.img "$LOOP"
}

@test "swap space on a loop device is refused as BACKING" {
	need_loop
	unpack v2/simple
	attach backing.before.img
	mkswap -q "$LOOP"
	refused "$LOOP: BACKING carries the signature of swap space" wb-flush-dirty -y cache.img "$LOOP"
}

# ---- overlapping ----

@test "a loop device and its backing file are no pair" {
	need_loop
	unpack v2/simple
	attach cache.img
	refused "CACHE and BACKING are a loop device and its backing file" wb-flush-dirty -y "$LOOP" cache.img
	refused "CACHE and BACKING are a loop device and its backing file" wb-flush-dirty -y cache.img "$LOOP"
}

@test "two loop devices are a pair only where they lie apart" {
	need_loop
	unpack v2/simple
	size=$(stat -c %s cache.img)
	cat cache.img backing.before.img >both.img
	cp backing.before.img direct.img
	expect 0 wb-flush-dirty -y --keep cache.img direct.img
	attach both.img --sizelimit "$size"
	cache=$LOOP
	attach both.img --offset $((size - 4096))
	refused "CACHE and BACKING are two devices over the same bytes of one" wb-flush-dirty -y "$cache" "$LOOP"
	losetup -d "$LOOP"
	LOOPS=" $cache"
	attach both.img --offset "$size"
	expect 0 wb-flush-dirty -y --keep "$cache" "$LOOP"
	cmp direct.img <(tail -c +$((size + 1)) both.img)
}

@test "a disk and its partition are no pair, and what holds the partition holds the disk" {
	need_loop
	unpack v2/simple
	make_ext4 data.img 8M
	truncate -s 1M disk.img
	cat data.img >>disk.img
	rm data.img
	attach disk.img
	addpart "$LOOP" 1 2048 16384 || skip "needs partitions on loop devices"
	refused "CACHE and BACKING are a disk and a partition of it" wb-flush-dirty -y "$LOOP" "${LOOP}p1"
	mount_quietly "${LOOP}p1"
	refused "BACKING is used: its partition ${LOOP#/dev/}p1 is mounted on $PWD/mnt" wb-flush-dirty -y cache.img "$LOOP"
	refused "BACKING is used: the backing file of $LOOP, whose partition ${LOOP#/dev/}p1 is mounted on $PWD/mnt" \
		wb-flush-dirty -y cache.img disk.img
}

@test "two partitions that overlap are no pair" {
	need_loop
	truncate -s 32M disk.img
	# type 0x83: sectors 2048 to 34815, and 16384 to 56383
	printf '\0\0\0\0\x83\0\0\0\0\x08\0\0\0\x80\0\0\0\0\0\0\x83\0\0\0\0\x40\0\0\x40\x9c\0\0' |
		dd of=disk.img bs=1 seek=446 conv=notrunc status=none
	printf '\x55\xaa' | dd of=disk.img bs=1 seek=510 conv=notrunc status=none
	attach disk.img -P
	[ -b "${LOOP}p2" ] || skip "needs a kernel that reads DOS partition tables"
	refused "CACHE and BACKING are two partitions that overlap" wb-flush-dirty -y "${LOOP}p1" "${LOOP}p2"
}

@test "files that would lie on a device itself are refused" {
	need_loop
	printf '%s\n' 'generation v2' 'slots 4' 'backing 8192' 'segment 1' 'block 8 ff' | "$BUILD/tests/mkcache" - cache.img backing.img
	make_ext4 disk.img 16M
	attach disk.img
	mkdir -p mnt
	mount "$LOOP" mnt || skip "needs ext4"
	for option in --undo --state --failed --report; do
		refused "mnt/file: this file would lie on CACHE or BACKING" wb-flush-dirty -n $option=mnt/file cache.img "$LOOP"
	done
	[ ! -e mnt/file ]
}

@test "what cannot be written is refused by all that would write to it, and by their dry runs" {
	make_cache v2-torn-head
	expect 0 wb-flush-dirty -q -y --keep --undo=undo cache.img backing.img
	before=$(sha256sum cache.img backing.img)
	attach cache.img -r && cache=$LOOP
	attach backing.img -r && backing=$LOOP
	for option in -n -y; do
		for command in "wb-check $option --repair $cache" "wb-format $option --force=dirty $cache" "wb-undo $option undo $cache $backing" \
			"wb-format $option --reset --force=dirty $cache" "wb-flush-dirty $option $cache $backing"; do
			read -ra words <<<"$command"
			expect 8 "${words[@]}"
			[[ $stderr == */dev/loop*": it cannot be written: the device is read-only (blockdev --setrw), or its file system or perm"* ]]
		done
	done
	[ "$(sha256sum cache.img backing.img)" = "$before" ]
}
