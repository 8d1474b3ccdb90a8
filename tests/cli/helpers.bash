# SPDX-License-Identifier: GPL-2.0-or-later
# Shared by the bats files. WB_BUILD names the build directory, WB_COMMANDS where the commands are when not there.

setup() {
	TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	BUILD=$(cd "${WB_BUILD:-$TOP/build}" && pwd)
	PATH=${WB_COMMANDS:-$BUILD}:$PATH
	cd "$BATS_TEST_TMPDIR" || return 1
}

sum() {
	sha256sum "$1" | cut -d' ' -f1
}

# The JSON record of a type in $output, as one line.
record() {
	grep "\"type\":\"$1\"" <<<"$output" | tail -n 1
}

field() {
	record summary | jq -r "$1"
}

# make_cache FIXTURE: cache.img and backing.img from a text fixture
make_cache() {
	"$BUILD/tests/mkcache" "$TOP/tests/fixtures/$1.wbt" cache.img backing.img
	[ -e backing.img ] || truncate -s 8M backing.img
}

# unpack SET: cache.img and backing.img of a golden set
unpack() {
	zstd -dc --long=27 "$TOP/tests/golden/$1.tar.zst" |
		tar xf - --strip-components=1 --wildcards '*/cache.img' '*/backing.before.img'
	chmod u+w cache.img backing.before.img
}

# pair SET: cache.img and backing.img of a golden set, and copies of both as they were
pair() {
	unpack "$1"
	mv backing.before.img backing.img
	cp cache.img cache.orig
	cp backing.img backing.orig
}

# expect STATUS COMMAND...: runs it, compares the exit status, shows the output when it differs
expect() {
	local want=$1
	shift
	run --separate-stderr "$@"
	if [ "$status" -ne "$want" ]; then
		echo "$* exits $status, expected $want"
		echo "$output"
		echo "$stderr"
		return 1
	fi
}

bats_require_minimum_version 1.5.0

# mortal COMMAND...: without root's right to ignore permissions
mortal() {
	if [ "$(id -u)" -eq 0 ]; then
		setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search "$@"
	else
		"$@"
	fi
}

# make_big_cache SLOTS: a v2 cache of full segments
make_big_cache() {
	printf 'generation v2\nslots %d\nbacking 262144\nrange 1 %d blocks 127 seed 7 span 32768\n' "$1" "$1" |
		"$BUILD/tests/mkcache" - cache.img backing.img
}
