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
	same "applied" "$(said "$name" applied | tr ' ' , | sed 's/.*/[&]/' | jq -c .)" "$(expected "$1" kernel.applied | jq -c .)"
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
