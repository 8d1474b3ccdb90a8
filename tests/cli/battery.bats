# SPDX-License-Identifier: GPL-2.0-or-later
# What every command must do with nonsense: the right exit status, a clear sentence, and no change.

load helpers

commands="wb-check wb-dump wb-format wb-flush-dirty"

# The operands of a command when FILE stands for its first one.
operands() {
	[ "$1" = wb-flush-dirty ] && echo "$2 other.img" || echo "$2"
}

# refused FILE: no command accepts it, each says why, the file stays as it is
refused() {
	local command before=""
	truncate -s 8M other.img
	[ ! -f "$1" ] || [ ! -r "$1" ] || before=$(sum "$1")
	for command in $commands; do
		[ "$command" != wb-format ] || [ "${2-}" != "formattable" ] || continue
		expect 8 $command $(operands $command "$1")
		[[ $stderr == *"$1"* ]] || { echo "$command does not name $1: $stderr"; return 1; }
		[ -z "$output" ] || { echo "$command: data on stdout: $output"; return 1; }
		expect 8 $command --json $(operands $command "$1")
		[ "$(head -n 1 <<<"$output" | jq -r .type)" = header ]
		[ "$(tail -n 1 <<<"$output" | jq -r '.type, .status' | tr '\n' ' ')" = "summary 8 " ]
		[ "$(record error | jq -r .type)" = error ]
	done
	[ -z "$before" ] || [ "$(sum "$1")" = "$before" ]
}

@test "--help goes to stdout and exits 0" {
	for command in $commands; do
		for option in -h --help; do
			expect 0 $command $option
			[[ $output == *Usage:*"$command"*--json* ]]
			[ -z "$stderr" ]
		done
	done
}

@test "--version names the version and every generation" {
	version=$(sed -n 's/^#define WB_VERSION "\(.*\)"/\1/p' "$TOP/include/wbfmt.h")
	for command in $commands; do
		expect 0 $command -V
		[[ $output == "$command $version"*v0*v1*v2* ]]
	done
}

@test "an unknown option is a usage error" {
	for command in $commands; do
		expect 16 $command --nonsense x
		[[ $stderr == *--nonsense*"--help"* ]]
	done
}

@test "options are not abbreviated" {
	for command in $commands; do
		expect 16 $command --verb x
	done
}

@test "options without an argument take none, and those with one need it" {
	for command in $commands; do
		expect 16 $command --json=yes x
		expect 16 $command --order
	done
}

@test "a missing operand and one too many are usage errors" {
	for command in $commands; do
		expect 16 $command
		[[ $stderr == *"operand is missing"* ]]
		expect 16 $command a b c d
		[[ $stderr == *"too many"* ]]
	done
}

@test "a usage error in JSON has a header, an error and a summary" {
	for command in $commands; do
		expect 16 $command --json --nonsense
		[ "$(jq -r .type <<<"$output" | tr '\n' ' ')" = "header error summary " ]
	done
}

@test "numbers without sign, blank, leading zero or trailing text" {
	for command in wb-check wb-dump wb-flush-dirty; do
		for value in "" -1 +1 " 1" "1 " 01 1x 0x 18446744073709551616 4.5; do
			expect 16 $command "--slots=$value" a b
		done
	done
	expect 16 wb-check --order=12 a
	expect 16 wb-check --order=3 a
	expect 16 wb-check --memory=8mi a
	expect 16 wb-check --memory=17179869184GiB a
}

@test "a value that is none of the choices lists them" {
	expect 16 wb-flush-dirty --policy=fast a b
	[[ $stderr == *"strict, prefix, salvage"* ]]
	expect 16 wb-check --generation=v9 a
	[[ $stderr == *"auto, v0, v1, v2"* ]]
}

@test "an unknown force is a usage error, and forces add up" {
	for command in $commands; do
		expect 16 $command --force=everything x y
		expect 16 $command --force= x y
	done
	make_cache v2-pair-contradicted
	expect 0 wb-flush-dirty -y --force=pair --force=regress,size cache.img backing.img
}

@test "-- ends the options" {
	for command in $commands; do
		expect 8 $command -- $(operands $command --json)
		[[ $stderr == *"--json: No such file"* ]]
	done
}

@test "a missing file" {
	refused not-there.img
	[[ $stderr == *"No such file or directory"* ]]
}

@test "a directory" {
	mkdir directory
	refused directory
	[[ $stderr == *directory* ]]
}

@test "a special file" {
	mkfifo pipe
	refused pipe
}

@test "an empty file" {
	: >empty.img
	refused empty.img
	[[ $stderr == *bytes* ]]
}

@test "a tiny file" {
	printf 'tstBW' >tiny.img
	refused tiny.img
}

@test "random bytes" {
	head -c 4000000 /dev/urandom >random.img
	refused random.img formattable
	[[ $stderr == *"not a writeboost cache"* ]]
}

@test "a text file" {
	yes "this is no cache" | head -c 3000000 >text.img
	refused text.img formattable
}

@test "an unreadable file" {
	unpack v2/fresh
	chmod a-rwx cache.img
	for command in $commands; do
		expect 8 mortal $command $(operands $command cache.img)
		[[ $stderr == *"Permission denied"* ]]
	done
}

@test "a full device behind stdout is an error" {
	unpack v2/simple
	for command in wb-check wb-dump; do
		run bash -c "$command cache.img >/dev/full"
		[ "$status" -eq 8 ]
		[[ $output == *stdout* ]]
	done
}

@test "a closed pipe behind stdout makes no noise" {
	unpack v2/partial
	for command in "wb-check -v" "wb-dump --metablocks"; do
		run --separate-stderr bash -c "$command cache.img | true"
		[ -z "$stderr" ]
	done
}

@test "paths that are no UTF-8 stay valid JSON" {
	unpack v2/fresh
	mv cache.img $'caf\xe9.img'
	expect 0 wb-check --json $'caf\xe9.img'
	jq -e . <<<"$output" >/dev/null
	expect 8 wb-check --json $'\xff\xfe.img'
	iconv -f UTF-8 -t UTF-8 <<<"$output" | jq -e . >/dev/null
}

@test "commands that only read go on with a locked image and say so" {
	unpack v2/simple
	for command in wb-check wb-dump; do
		expect 0 flock cache.img $command --json cache.img
		[[ $stderr == *"in use"* ]]
		field_is .busy true
	done
}
