# SPDX-License-Identifier: GPL-2.0-or-later
# What jobs do in the guest. The pair NAME is the disks /disk/NAME.cache and /disk/NAME.backing, and when it is
# assembled the device /dev/mapper/NAME.

# assemble NAME [ARGUMENT...]: fails when the driver does, with 124 when it takes longer than a minute
assemble() {
	local name=$1 create tenths=0
	shift
	dmesg -c >/dev/null
	dmsetup create "$name" --table \
		"0 $(blockdev --getsz "/disk/$name.backing") writeboost /disk/$name.backing /disk/$name.cache $*" &
	create=$!
	while kill -0 $create 2>/dev/null; do
		[ $tenths -lt 600 ] || return 124
		tenths=$((tenths + 1))
		sleep 0.1
	done
	wait $create || return 1
	! dmesg | grep -q 'Magic number invalid' || echo "$name was formatted"
}

write_back() {
	timeout 120 dmsetup message "$1" 0 drop_caches || echo "$1 cannot be written back"
}

# trace: from now on the id of each segment is known that the driver sums, in its order: the sum begins at the second
# sector of a segment, and nothing else that is summed is so long
trace() {
	local event=/sys/kernel/tracing/events/kprobes/segment
	echo 'p:segment crypto_shash_update id=-512(%si):u64 length=%dx:u32' >/sys/kernel/tracing/kprobe_events
	echo 'length >= 3584' >$event/filter
	echo 1 >$event/enable
}

# try NAME: assembles a pair and prints the ids that the driver applied, in its order, and how it ended, in the words of
# wb-check --explain-kernel; fails when there is no device
try() {
	local status=0 ids broken outcome=ok
	echo >/sys/kernel/tracing/trace
	assemble "$1" >words || status=$?
	ids=$(sed -n 's/.* id=\([0-9]*\) .*/\1/p' /sys/kernel/tracing/trace)
	broken=$(dmesg | sed -n 's/.*Checksum incorrect id:\([0-9]*\) .*/\1/p')
	# at a sum that does not match the driver stops
	[ -z "$broken" ] || ids=${ids%"$broken"}
	[ "$ids" ] || [ -z "$broken" ] || outcome=nothing
	! grep -q formatted words || outcome=reformat
	[ $status -eq 0 ] || outcome=no-assembly
	[ $status -ne 124 ] || outcome=hang
	echo "$1 applied" $ids
	echo "$1 outcome $outcome"
	return $status
}

# recover NAME: the driver assembles a pair, writes all of it back and lets it go
recover() {
	! try "$1" || { write_back "$1" && dmsetup remove "$1"; }
}
