# SPDX-License-Identifier: GPL-2.0-or-later
# wb-dump --pack and --unpack: the same findings without the data.

load helpers

# findings COMMAND...: its exit status and JSON records, without names of files and the steps that name them
findings() {
	"$@" --json 2>/dev/null | sed -E 's/"(device|cache)":"[^"]*"//; s/"next":\[[^]]*\],?//'
	echo "exit status ${PIPESTATUS[0]}"
}

without() {
	sed -E "s/\"($1)\":[0-9]+//g"
}

# A pack has others in place of the checksums
without_sums() {
	sed -E 's/ 0x[0-9a-f]{8} / /'
}

@test "wb-dump shows a pack as it shows the cache, and says what it is" {
	unpack v2/g2-middle-data-byte
	wb-dump -q --pack=cache.pack cache.img
	diff <(wb-dump --superblock --segments --metablocks cache.img | without_sums) <(wb-dump --superblock --segments --metablocks cache.pack | without_sums)
	diff <(wb-dump cache.img | grep -v img) <(wb-dump cache.pack | grep -v pack)
	expect 0 wb-dump -v cache.pack
	[[ $output == *"a pack made "*"made by: wb-dump "*"system: "*"cache: image, "* ]]
	wb-dump -q --pack=moved.pack --obfuscate --metadata-only cache.img
	expect 0 wb-check moved.pack
	[[ $output == *"sectors obfuscated, no checksum was computed"* ]]
	[[ $output == *"no checksum was verified"* ]]
}

@test "the packs of one cache under two keys differ in nothing but the sectors" {
	unpack v2/partial
	wb-dump -q --pack=a.pack --obfuscate cache.img
	wb-dump -q --pack=b.pack --obfuscate cache.img
	wb-dump --json --metablocks a.pack | grep metablock >a
	wb-dump --json --metablocks b.pack | grep metablock >b
	! cmp -s a b || false
	diff <(without sector <a) <(without sector <b)
	wb-dump --json --metablocks cache.img | grep metablock >c
	diff <(without sector <a) <(without sector <c)
	# in the order of the true sectors, equal where they are equal, at the same place within their blocks
	paste -d ' ' <(jq .sector c) <(jq .sector a) | sort -n | awk '
		$1 == was && $2 != is || $1 > was && $2 <= is && NR > 1 || $1 % 8 != $2 % 8 { print "at", $0; bad = 1 }
		{ was = $1; is = $2 }
		END { exit bad || NR < 100 }'
}

@test "a pack takes less than a four hundredth of its cache" {
	unpack v2/wrapped-d1
	expect 0 wb-dump --json --pack=cache.pack cache.img
	field_is .pack_bytes "$(stat -c %s cache.pack)"
	[ "$(stat -c %s cache.pack)" -lt $(($(stat -c %s cache.img) / 400)) ]
	field_is .segments 9
}

@test "files that are there stay as they are" {
	unpack v2/simple
	before=$(sum cache.img)
	expect 16 wb-dump --pack=cache.img cache.img
	[[ $stderr == *"--pack=cache.img and the operand cache.img name the same file"* ]]
	wb-dump -q --pack=cache.pack cache.img
	expect 8 wb-dump --unpack=cache.img cache.pack
	expect 8 wb-dump --pack=other.pack cache.pack
	expect 8 wb-dump --unpack=other.img cache.img
	expect 8 wb-dump --pack=/nonexistent/cache.pack cache.img
	[ ! -e other.pack ]
	[ ! -e other.img ]
	[ "$(sum cache.img)" = "$before" ]
}

# limited COMMAND...: it may not write into files; prints its exit status
limited() {
	(ulimit -f 0 && exec "$@" 2>/dev/null) && echo 0 || echo $?
}

@test "a pack or an image that is not complete never has its name, whatever ends the run" {
	unpack v2/simple
	wb-dump -q --pack=cache.pack cache.img
	touch other.pack.new image.img.new
	before=$(ls)
	for command in "--pack=other.pack cache.img" "--unpack=image.img cache.pack" "--svg=drawing cache.img" \
		"--domain-map=map cache.img"; do
		[ "$(limited wb-dump -q $command)" = 8 ]
		[ "$(ls)" = "$before" ]
	done
}

teardown() {
	mountpoint -q small && umount small
	return 0
}

@test "--unpack compares with the free room before it writes" {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
	unpack v2/partial
	wb-dump -q --pack=cache.pack cache.img
	mkdir small
	mount -t tmpfs -o size=16k tmpfs small || skip "needs tmpfs"
	expect 8 wb-dump --unpack=small/image cache.pack
	[[ $stderr == *"small/image: the image takes up to "*" free here"* ]]
	[ -z "$(ls small)" ]
	expect 0 wb-dump --unpack=image cache.pack
	mount -o remount,size="$((2 * $(du -k image | cut -f1)))k" small
	expect 0 wb-dump --unpack=small/image cache.pack
	cmp image small/image
}

@test "with --obfuscate no size of BACKING is in a pack, that of an ended log neither" {
	unpack v2/simple
	expect 0 wb-dump -q --pack=plain.pack cache.img backing.before.img
	expect 0 wb-dump -q --pack=moved.pack --obfuscate cache.img backing.before.img
	size=$(stat -c %s backing.before.img)
	[ "$(od -An -tu8 -j 64 -N 8 plain.pack | tr -d ' ')" = "$size" ]
	[ "$(od -An -tu8 -j 64 -N 8 moved.pack | tr -d ' ')" = 0 ]
	expect 0 wb-flush-dirty -q -y cache.img backing.before.img
	rm -f plain.pack moved.pack
	wb-dump -q --pack=plain.pack cache.img
	wb-dump -q --pack=moved.pack --obfuscate cache.img
	expect 0 wb-dump --superblock plain.pack
	[[ $output == *"$size"* ]]
	expect 0 wb-dump --superblock moved.pack
	[[ $output != *"$size"* && $output == *"(not known)"* ]]
	expect 0 wb-check moved.pack
	[[ $output == *"ended"* ]]
}

@test "options that make no sense together are usage errors" {
	unpack v2/simple
	for options in --obfuscate "--pack=a --unpack=b" "--unpack=b --obfuscate" "--pack=a --segments" \
		"--unpack=a --superblock" --pack= --unpack=; do
		expect 16 wb-dump $options cache.img
	done
	[ ! -e a ]
}

@test "what needs data refuses a pack and says what it is" {
	unpack v2/simple
	wb-dump -q --pack=cache.pack cache.img
	before=$(sum backing.before.img)
	expect 8 wb-check cache.pack backing.before.img
	[[ $stderr == *"a pack holds no data"* ]]
	expect 8 wb-flush-dirty -n cache.pack backing.before.img
	[[ $stderr == *"this is a pack"* ]]
	expect 8 wb-flush-dirty -y cache.pack backing.before.img
	expect 8 wb-format -n cache.pack
	[ "$(sum backing.before.img)" = "$before" ]
}

@test "a damaged or cut pack is refused at a byte" {
	unpack v2/simple
	wb-dump -q --pack=cache.pack cache.img
	size=$(stat -c %s cache.pack)
	for cut in 9 127 128 140 $((size / 2)) $((size - 1)); do
		head -c "$cut" cache.pack >cut.pack
		expect 8 wb-check cut.pack
		[[ $stderr == *"cut.pack: at byte "* ]]
		expect 8 wb-dump cut.pack
		expect 8 wb-dump --unpack=cut.img cut.pack
	done
	for at in 8 50 130 $((size - 10)); do
		cp cache.pack bad.pack
		printf '\xa5' | dd of=bad.pack bs=1 seek="$at" conv=notrunc status=none
		expect 8 wb-check bad.pack
		[[ $stderr == *"bad.pack: at byte "* ]]
	done
	cat cache.pack cache.pack >bad.pack
	expect 8 wb-check bad.pack
	[[ $stderr == *"at byte $size: something follows"* ]]
	[ ! -e cut.img ]
}

@test "the pack of an ended log says that it was ended" {
	unpack v2/simple
	expect 0 wb-flush-dirty -q -y cache.img backing.before.img
	wb-dump -q --pack=cache.pack cache.img
	diff <(findings wb-check cache.img) <(findings wb-check cache.pack)
	diff <(wb-dump --superblock cache.img | grep -v 'header digest') <(wb-dump --superblock cache.pack | grep -v 'header digest')
}

@test "an image unpacked from a pack can be written back" {
	unpack v2/simple
	wb-dump -q --pack=cache.pack cache.img
	wb-dump -q --unpack=unpacked.img cache.pack
	truncate -s "$(stat -c %s backing.before.img)" blank.img
	expect 0 wb-flush-dirty -q -y --keep unpacked.img blank.img
	[ "$(stat -c %b unpacked.img)" -lt "$(($(stat -c %b cache.img) / 4))" ]
}

# inflated PACK: its chunks, inflated; gzip takes a zlib stream under a header of its own, and says that the end is wrong
inflated() {
	local at=128 size head
	size=$(stat -c %s "$1")
	while [ "$at" -lt "$size" ]; do
		head=$(od -An -tu4 -j $((at + 4)) -N 4 "$1")
		{ printf '\x1f\x8b\x08\x00\x00\x00\x00\x00'; tail -c +$((at + 21)) "$1" | head -c "$head"; } | gzip -dc 2>/dev/null || true
		at=$((at + 20 + head))
	done
}

@test "canaries in all data, in padding and in slots never written are not in the pack" {
	for generation in v0 v1 v2; do
		printf 'generation %s\nslots 8\nbacking 4096\nsegment 1\nblock 8 ff\nblock 16 ff\nsegment 2\nblock 24 ff\n' $generation |
			"$BUILD/tests/mkcache" - made.img backing.img
		size=$(stat -c %s made.img)
		slot=$(((size - 1048576) / 8))
		yes 'canary! ' | tr -d '\n' | head -c "$size" >cache.img
		dd if=made.img of=cache.img bs=512 count=1 conv=notrunc status=none
		dd if=/dev/zero of=cache.img bs=512 seek=2047 count=1 conv=notrunc status=none
		for k in 0 1; do # headers and metablocks, nothing of the rest
			dd if=made.img of=cache.img bs=1 skip=$((1048576 + k * slot)) seek=$((1048576 + k * slot)) count=544 \
				conv=notrunc status=none
		done
		rm -f cache.pack
		expect 0 wb-dump -q --pack=cache.pack cache.img
		inflated cache.pack >columns
		[ "$(stat -c %s columns)" -gt 200 ]
		grep -q "made by: wb-dump" columns
		! grep -q -e nar -e ary columns cache.pack
		# ids of slots that hold no segment are not in it
		diff <(findings wb-check cache.img | without 'evidence|found_id|id') <(findings wb-check cache.pack | without 'evidence|found_id|id')
	done
}

@test "wb-dump shows tables, plans and pictures of a pack, but no contents of blocks" {
	unpack v2/partial
	wb-dump -q --pack=cache.pack cache.img
	diff <(wb-dump --segments cache.img | without_sums) <(wb-dump --segments cache.pack | without_sums)
	diff <(wb-dump --metablocks cache.img) <(wb-dump --metablocks cache.pack)
	diff <(wb-dump --list-dirty cache.img) <(wb-dump --list-dirty cache.pack)
	diff <(wb-dump --map cache.img) <(wb-dump --map cache.pack)
	diff <(wb-dump --sector=0-4096 cache.img) <(wb-dump --sector=0-4096 cache.pack)
	expect 8 wb-dump --data=1:0 cache.pack
	[[ $stderr == *"holds the contents of no block"* ]]
	expect 8 wb-dump cache.pack backing.before.img
	expect 8 wb-flush-dirty -n cache.pack backing.before.img
}
