# SPDX-License-Identifier: GPL-2.0-or-later
# Shared by the bats files. WB_BUILD names the build directory, WB_COMMANDS where the commands are when not there.

# What every test and every setup_file knows
where() {
	TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	BUILD=$(cd "${WB_BUILD:-$TOP/build}" && pwd)
	export WB_BUILD=$BUILD # setup_file may go elsewhere
	. "$TOP/tests/environment"
	PATH=${WB_COMMANDS:-$BUILD}:$PATH
	export HOME=$BATS_FILE_TMPDIR
}

setup() {
	where
	cd "$BATS_TEST_TMPDIR" || return 1
	# bats looks at every command for its line number, which takes longer than the command: only at those of the test itself
	set +T
	declare -ft "$BATS_TEST_NAME" bats_error_trap bats_check_status_from_trap bats_teardown_trap bats_exit_trap
}

sum() {
	local sum
	sum=$(sha256sum <"$1")
	echo "${sum%% *}"
}

# As that of bats, without its mktemp, and without a subshell but for functions
run() {
	local into=$BATS_FILE_TMPDIR/.run want=
	stderr=
	while [[ $1 == --separate-stderr || $1 == ! || $1 == -[0-9]* ]]; do
		[[ $1 == --separate-stderr ]] && stderr=separate || want=${1#-}
		shift
	done
	: >"$into.stderr"
	if declare -F "$1" >/dev/null; then
		if [ "$stderr" ]; then
			(set +eET; "$@") >"$into.stdout" 2>"$into.stderr" && status=0 || status=$?
		else
			(set +eET; "$@") >"$into.stdout" 2>&1 && status=0 || status=$?
		fi
	elif [ "$stderr" ]; then
		"$@" >"$into.stdout" 2>"$into.stderr" && status=0 || status=$?
	else
		"$@" >"$into.stdout" 2>&1 && status=0 || status=$?
	fi
	IFS= read -r -d '' output 2>/dev/null <"$into.stdout" || :
	while [[ $output == *$'\n' ]]; do output=${output%$'\n'}; done
	IFS=$'\n' read -r -d '' -a lines <<<"$output" || :
	read -r -d '' stderr <"$into.stderr" || :
	case $want in
	"") ;;
	!) [ "$status" -ne 0 ] ;;
	*) [ "$status" -eq "$want" ] ;;
	esac
}

need_terminal() {
	script -qec true /dev/null >/dev/null 2>&1 </dev/null || skip "needs script(1) and pseudo terminals"
}

# bears_marker FILE: sector 0 begins with the marker that ends a log
bears_marker() {
	cmp -s -n 8 "$1" <(printf 'WBen\0ed\0')
}

# The last JSON record of a type in $output, as one line.
record() {
	local before=${output%"\"type\":\"$1\""*} behind
	[ "$before" != "$output" ] || return 0
	behind=${output:${#before}}
	echo "${before##*$'\n'}${behind%%$'\n'*}"
}

# field_is .NAME VALUE: of the summary
field_is() {
	field_into "$1"
	[ "$field" = "$2" ] || { echo "$1 is '$field', expected '$2'"; return 1; }
}

# field .NAME: of the summary, to stdout; anything else is a program of jq
field() {
	field_into "$1"
	echo "$field"
}

field_into() {
	local summary=${output##*$'\n'}
	if [[ $1 =~ ^\.[a-z_]+$ && $summary == *'"type":"summary"'* && $summary != *[\\[]* && $summary != *{*{* ]]; then
		if [[ $summary =~ \"${1#.}\":(\"([^\"]*)\"|([^,}]*)) ]]; then
			field=${BASH_REMATCH[2]}${BASH_REMATCH[3]}
		else
			field=null
		fi
		return
	fi
	field=$(record summary | jq -r "$1")
}

# make_cache FIXTURE: cache.img and backing.img from a text fixture
make_cache() {
	"$BUILD/tests/mkcache" "$TOP/tests/fixtures/$1.wbt" cache.img backing.img
	[ -e backing.img ] || truncate -s 8M backing.img
}

# golden_images SET: its cache and backing images under the names of each use, once for all tests of a build
golden_images() {
	set_dir=$BUILD/tests/golden/$1
	[ ! "$set_dir" -nt "$TOP/tests/golden/$1.tar.zst" ] || return 0
	rm -rf "$set_dir"
	mkdir -p "$set_dir.$$"
	zstd -dc --long=27 "$TOP/tests/golden/$1.tar.zst" |
		tar xf - -C "$set_dir.$$" --strip-components=1 --wildcards '*/cache.img' '*/backing.before.img'
	chmod a+r,u+w "$set_dir.$$"/*
	ln "$set_dir.$$/cache.img" "$set_dir.$$/cache.orig"
	ln "$set_dir.$$/backing.before.img" "$set_dir.$$/backing.orig"
	ln "$set_dir.$$/backing.before.img" "$set_dir.$$/backing.img"
	mv -T "$set_dir.$$" "$set_dir" 2>/dev/null || rm -rf "$set_dir.$$" # somebody else was faster
}

# unpack SET: cache.img and backing.before.img of a golden set
unpack() {
	local set_dir
	golden_images "$1"
	rm -f cache.img backing.before.img
	cp --no-preserve=all --sparse=auto "$set_dir/cache.img" "$set_dir/backing.before.img" .
}

# pair SET: cache.img and backing.img of a golden set, and copies of both as they were
pair() {
	local set_dir
	golden_images "$1"
	cp --no-preserve=all "$set_dir"/{cache.img,backing.img,cache.orig,backing.orig} .
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

# make_big_cache SLOTS [SECTORS]: a v2 cache of full segments, and a BACKING of so many sectors
make_big_cache() {
	local sectors=${2:-262144}
	printf 'generation v2\nslots %d\nbacking %d\nrange 1 %d blocks 127 seed 7 span %d\n' "$1" "$sectors" "$1" $((sectors / 8)) |
		"$BUILD/tests/mkcache" - cache.img backing.img
}
