# SPDX-License-Identifier: GPL-2.0-or-later
# A pair is called by a name: its images are NAME.cache and NAME.backing, its disks in the guest /disk/NAME.cache and
# /disk/NAME.backing.

setup_file() {
	export SEED=${WB_SEED:-$RANDOM} ACCEL=tcg
	[ -e "$BATS_TEST_DIRNAME/../../build/kernel/initrd.gz" ] || return 0
	# there may be a /dev/kvm under which nothing boots
	if [ -w /dev/kvm ] && boots_with kvm >/dev/null 2>&1; then
		ACCEL=kvm
	fi
	echo "# kernel: qemu runs with $ACCEL, WB_SEED=$SEED" >&3
}

boots_with() {
	local boot=$BATS_TEST_DIRNAME/boot kernel
	kernel=$(cd "$BATS_TEST_DIRNAME/../../build/kernel" && pwd)
	(cd "$BATS_FILE_TMPDIR" && BOOT_SECONDS=20 "$boot" "$kernel" "$1" </dev/null)
}

setup() {
	TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	BUILD=$(cd "${WB_BUILD:-$TOP/build}" && pwd)
	KERNEL=$TOP/build/kernel
	PATH=$BUILD:$BUILD/tests:$PATH
	cd "$BATS_TEST_TMPDIR" || return 1
	[ "$(uname -m)" = x86_64 ] || skip "needs x86-64: the guest runs what is built here"
	[ -e "$KERNEL/initrd.gz" ] || skip "needs 'sudo make deps-kernel'"
}

# guest NAME|DISK=IMAGE... <JOB: boots with these pairs and disks and runs JOB
guest() {
	local name disks=()
	for name in "$@"; do
		case $name in
		*=*)	disks+=("$name") ;;
		*)	disks+=("$name.cache=$name.cache" "$name.backing=$name.backing") ;;
		esac
	done
	"$TOP/tests/kernel/boot" "$KERNEL" "$ACCEL" "${disks[@]}"
}

# once FUNCTION: runs it for the first test that needs it, in a directory that all share; goes there
once() {
	local shared=$BATS_FILE_TMPDIR/$1
	if [ ! -d "$shared" ]; then
		mkdir "$shared"
		# in the background: bash would not stop at a failure to the left of ||
		(set -e; cd "$shared"; $1; touch "done") &
		wait $! || tail -n 5 "$shared/words" "$shared/console.log" || true
	fi
	[ -e "$shared/done" ] || { echo "$1 has failed"; return 1; }
	cd "$shared" || return 1
}

# golden_pair SET NAME
golden_pair() {
	unpack "v2/$1"
	mv cache.img "$2.cache"
	mv backing.before.img "$2.backing"
}

# expected SET KEY
expected() {
	jq -r --arg set "v2/$1" ".[\$set].$2" "$TOP/tests/golden/expected.json"
}

# copy_pair FROM TO
copy_pair() {
	cp "$1.cache" "$2.cache"
	cp "$1.backing" "$2.backing"
}

# same WHAT GOT WANT
same() {
	[ "$2" = "$3" ] || { echo "$1 is '$2', expected '$3'"; return 1; }
}

# said NAME WHAT: what `try` in the guest said of a pair
said() {
	sed -n "s/^$1 $2 \{0,1\}//p" words
}

# recover_alone NAME: what `recover` in the guest prints, also when the driver takes the machine with it
recover_alone() {
	local status=0
	guest "$1" <<<"trace; recover $1" || status=$?
	[ $status -eq 125 ] || return $status
	# the last sum is the one that killed it
	echo "$1 applied $(sed -n 's/.* segment: .* id=\([0-9]*\) .*/\1/p' console.log | sed '$d' | xargs)"
	echo "$1 outcome crash"
}
