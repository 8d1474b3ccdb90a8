# SPDX-License-Identifier: GPL-2.0-or-later
# Every rule of wbrules.h has an image with that one fault, and wb-check finds it there and nothing else.

load helpers

# The marker of wbfmt(5) with reason 2, a format that began, and its checksum.
interrupt_format() {
	{
		printf 'WBended\0\1\0\0\0\2\0\0\0'
		head -c 492 /dev/zero
		printf '\x46\x99\xbc\xe1'
	} | dd of=cache.img conv=notrunc status=none
}

# one_fault RULE: cache.img and backing.img; more options of wb-check in options, in companions what must come along
one_fault() {
	options=()
	companions=""
	case $1 in
	ended)
		make_cache v2-simple
		wb-format -q --reset -y --force=dirty cache.img
		;;
	format-interrupted)
		make_cache v2-formatted
		interrupt_format
		;;
	zero-superblock) make_cache v2-sector0-zero ;;
	bad-superblock) make_cache v2-sector0-garbage ;;
	ambiguous-generation)
		make_cache v0-tie
		companions=unsealed-data # the older of the two is v0, which cannot be read without this warning
		;;
	wrap)
		make_cache v2-simple
		truncate -s 2200G cache.img || skip "no sparse file of that size here"
		;;
	destroyed) make_cache v2-destroyed ;;
	resized) make_cache v2-grown ;;
	shifted) make_cache v2-shifted ;;
	restarted) make_cache v2-restarted ;;
	record-garbage) make_cache v2-record-garbage ;;
	record-missing) make_cache v2-record-missing ;;
	record-hazard) make_cache v2-record-sound ;;
	mixed-checksums) make_cache v2-mixed-checksums ;;
	torn-tail) make_cache v2-torn-tail ;;
	torn-head) make_cache v2-torn-head ;;
	ahead) make_cache v2-ahead ;;
	rotten) make_cache v2-rotten-two-bits ;;
	stale-lap) make_cache v2-stale-lap ;;
	alien-id) make_cache v2-id-huge ;;
	bad-length) make_cache v2-bad-length ;;
	misaligned) make_cache v2-misaligned-dirty ;;
	beyond-backing) make_cache v2-beyond-backing-dirty ;;
	part-readable)
		make_cache v2-wrapped
		truncate -s $((1048576 + 5 * 524288 + 8192)) cache.img # in the data of the last slot
		options=(--slots=6)
		;;
	unreadable)
		make_cache v2-wrapped
		truncate -s $((1048576 + 5 * 524288)) cache.img
		options=(--slots=6)
		;;
	zeroed)
		make_cache v0-zeroed
		companions=unsealed-data # only v0 discards segments, and nothing covers its data
		;;
	foreign) make_cache v2-garbage-beyond ;;
	padding) make_cache v2-padding ;;
	unsealed-data) make_cache v0-simple ;;
	backing-mismatch) make_cache v2-pair-contradicted ;;
	*) return 1 ;;
	esac
}

rules() {
	sed -nE 's/^X\([A-Z_]+, "([a-z-]+)",.*/\1/p' "$TOP/include/wbrules.h"
}

# find_with JOBS
find_with() {
	run --separate-stderr wb-check --json -j "$1" "${options[@]}" cache.img backing.img
}

only() {
	local want
	want=$(printf '%s\n' "$1" $companions | sort -u)
	[ "$(grep '"type":"finding"' <<<"$output" | jq -r .class | sort -u)" = "$want" ]
}

severity_of() {
	sed -nE "s/^X\([A-Z_]+, \"$1\", ([A-Z]+),.*/\1/p" "$TOP/include/wbrules.h"
}

@test "every rule is found alone where its fault is the only one, with one job and with two" {
	local rule one
	while read -r rule; do
		rm -f cache.img backing.img
		one_fault "$rule" || { echo "no image has the fault of '$rule'"; false; }
		find_with 1
		one=$output
		only "$rule" || { echo "$rule: $output"; false; }
		[ "$status" -eq "$([ "$(severity_of "$rule")" = DAMAGE ] && echo 4 || echo 0)" ]
		find_with 2
		[ "$output" = "$one" ] || { echo "$rule: two jobs find something else: $output"; false; }
	done < <(rules)
}

@test "every finding has its text, severity and place, in JSON and for people" {
	local rule line
	while read -r rule; do
		[ "$rule" != wrap ] || continue # looked at in check.bats
		rm -f cache.img backing.img
		one_fault "$rule"
		find_with 1
		line=$(grep "\"class\":\"$rule\"" <<<"$output" | head -n 1)
		[ "$(jq -r '.text | length > 20' <<<"$line")" = true ]
		[ "$(jq -r '.severity | ascii_upcase' <<<"$line")" = "$(severity_of "$rule")" ]
		if [ "$(jq -r .slot <<<"$line")" != null ]; then
			[ "$(jq -r '.offset >= 1048576 and (.id | type) == "number"' <<<"$line")" = true ]
		fi
		run --separate-stderr wb-check "${options[@]}" cache.img backing.img
		case $rule in
		ended | format-interrupted) [[ $output == *" on 20"* || $output == *" on 1970"* ]] ;;
		*) [[ $output == *" $rule"* && $output == *"$(jq -r .text <<<"$line")"* ]] || { echo "$output"; false; } ;;
		esac
		[ "${#lines[@]}" -lt 40 ]
	done < <(rules)
}
