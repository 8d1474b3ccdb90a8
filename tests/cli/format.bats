# SPDX-License-Identifier: GPL-2.0-or-later
# wb-format: writes what the driver writes, and destroys nothing that is needed.

load helpers

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
		[ "$(field .order)" = ${type#*:} ]
	done
}

@test "default orders are 7, 10 and 10, and others are refused where a generation has none" {
	truncate -s 4M made.img
	for pair in v0:7 v1:10 v2:10; do
		expect 0 wb-format -n --json --type=${pair%:*} made.img
		[ "$(field .order)" = ${pair#*:} ]
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

@test "an image keeps its size" {
	truncate -s 4194811 odd.img
	expect 0 wb-format odd.img
	[ "$(stat -c %s odd.img)" = 4194811 ]
}
