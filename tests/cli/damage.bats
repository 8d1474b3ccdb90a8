# SPDX-License-Identifier: GPL-2.0-or-later
# Hostile bytes: random damage to caches that real drivers wrote. No command may crash, hang, or write what it was not
# asked to; under the sanitizers (make check-rest) this says most. The seed of a round is in its message.

load helpers

# poke OFFSET BYTES-IN-PRINTF-NOTATION
poke() {
	printf "$2" | dd of=damaged.img bs=1 seek="$1" conv=notrunc status=none
}

# One of: a wild id, length, sector or record, flipped header bytes, a copied slot, a cut device.
damage_once() {
	local slot=$((1048576 + RANDOM % slots * slot_size)) byte
	byte=$(printf '\\x%02x' $((RANDOM % 256)))
	case $((RANDOM % 8)) in
	0) poke $slot '\xff\xff\xff\xff\xff\xff\xff\xff' ;;
	1) poke $slot "$byte" ;;
	2) poke $((slot + RANDOM % 16)) "$byte" ;;
	3) poke $((slot + 512 + RANDOM % 20 * 16)) '\xff\xff\xff\xff\xff\xff\xff\xff' ;;
	4) poke $((slot + RANDOM % 3500)) "$byte" ;;
	5) poke $((2047 * 512)) "$byte$byte" ;;
	6) dd if=damaged.img of=damaged.img bs=$slot_size skip=$(((1048576 / slot_size) + RANDOM % slots)) count=1 \
		seek=$((slot / slot_size)) conv=notrunc status=none ;;
	7) truncate -s $((slot + RANDOM)) damaged.img ;;
	esac
}

# survives STATUSES COMMAND...
survives() {
	local allowed=" $1 "
	shift
	run timeout 60 "$@"
	[[ $allowed == *" $status "* ]] || { echo "$set, seed $seed: $* exits $status"; echo "$output"; return 1; }
}

rounds() {
	local before round
	set=$1 slots=$2 slot_size=$3
	unpack "$set"
	for round in $(seq 25); do
		seed=$((round * 7919 + slots))
		RANDOM=$seed
		cp cache.img damaged.img
		for _ in $(seq $((1 + RANDOM % 6))); do
			damage_once
		done
		before=$(sum damaged.img)
		survives "0 4 8" wb-check damaged.img backing.before.img
		survives "0 8" wb-dump --metablocks damaged.img
		rm -f damaged.svg
		survives "0 8" wb-dump --segments --map --svg=damaged.svg --sector=0-65535 damaged.img backing.before.img
		survives "0 4 8" wb-dump --sector=0-65535 --list-dirty --policy=salvage damaged.img
		survives "0 8" wb-format -n damaged.img
		for policy in strict prefix salvage; do
			cp backing.before.img backing.img
			survives "0 1 4 5 8" wb-flush-dirty -q -y --keep --policy=$policy --force=pair damaged.img backing.img
			[ $((status & 12)) -ne 8 ] || cmp backing.img backing.before.img
		done
		[ "$(sum damaged.img)" = "$before" ] || { echo "$set, seed $seed: the cache was changed"; return 1; }
	done
}

@test "random damage to a v0 cache" {
	rounds v0/d-wrapped-o7-norec 24 65536
}

@test "random damage to a v0 cache of the smallest segments" {
	rounds v0/c-partial-o4 64 8192
}

@test "random damage to a v1 cache" {
	rounds v2/raw-crc-v1-wrapped 9 524288
}

@test "random damage to a v2 cache" {
	rounds v2/wrapped-d2 9 524288
}
