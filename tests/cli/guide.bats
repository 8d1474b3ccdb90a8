# SPDX-License-Identifier: GPL-2.0-or-later
# Every command of docs/rescue.md, on a cache that has the symptom.

load helpers

# The commands of a section ("": of the first lines), one a line, with a blank line between blocks. One in the text is a
# block, but for wb-undo and what is done with a pack.
commands_of() {
	awk -v heading="${1:+## $1}" '
		/^## / { here = $0; next }
		here != heading { next }
		/^    / { sub(/^    (\(initramfs\) )?/, ""); if (/^(wb-|ddrescue )/) print; next }
		{ text = $0
		  while (match(text, /`wb-[a-z-]+ [^`]*`/)) {
			command = substr(text, RSTART + 1, RLENGTH - 2)
			print command ~ /^wb-undo|FILE$/ ? command : "\n" command "\n"
			text = substr(text, RSTART + RLENGTH) } }
		/^$/ { print }' "$TOP/docs/rescue.md" | sed -E 's|/dev/(SSD\|nvme0n1p3)|cache.img|; s|/dev/sda2|backing.img|; s|/run/undo|FILE|
			s|\<CACHE\>|cache.img|g; s|\<BACKING\>|backing.img|g; s|^ddrescue -d|ddrescue -q|; s|=N\>|='"${SLOTS-}|"
}

# tries SECTION STATUS...: runs them, each block on the files as they are now, and compares the exit statuses. Who would be
# asked says yes.
tries() {
	local section=$1 line got=() again=1
	shift
	mkdir work
	while IFS= read -r line; do
		if [ -z "$line" ]; then
			again=1
			continue
		elif [[ -n $again && $line != @(wb-undo *|*FILE) || ! -e work/cache.img ]]; then
			rm -f work/*
			cp cache.img backing.img work
			[ ! -e FILE ] || cp FILE work
		fi
		again=
		[[ $line != wb-@(flush-dirty|undo|format)* && $line != *--repair* ]] || [[ $line == *" -n "* ]] || line+=" -y"
		run bash -c "cd work && $line" </dev/null
		got+=("$status")
		printf '%s\n' "$line: $status" "${lines[@]}"
	done < <(commands_of "$section")
	[ "${got[*]}" = "$*" ] || { echo "exit statuses: ${got[*]}"; false; }
}

@test "what changes nothing" {
	make_cache v2-pair-proven
	tries "" 0 0 0 0 0
}

@test "the host died" {
	make_cache v2-pair-proven
	tries "The host died" 0 0 0 0 0
}

@test "dmsetup create hangs" {
	make_cache v2-pair-proven
	printf '\0\0\0\0\0\0\0\1' | dd of=cache.img bs=1 seek=1048064 conv=notrunc status=none
	tries '`dmsetup create` hangs' 4 0 1 >shown
	grep -q record-garbage shown
	grep -q 'dmsetup does not return' shown
}

@test "magic number invalid" {
	make_cache v2-sector0-garbage
	tries '"Magic number invalid"' 4 1 0
}

@test "checksum incorrect" {
	make_cache v2-rotten-data-bit
	tries '"Checksum incorrect"' 4 4 1 >shown
	grep -q 'flipped-bit: segment 7' shown
}

@test "the SSD has bad sectors" {
	command -v ddrescue >/dev/null || skip "ddrescue is not installed"
	make_cache v2-two-holes
	tries "The SSD has bad sectors" 0 4 5 5 0 0 4
}

@test "I zeroed the first sector" {
	make_cache v2-sector0-zero
	tries "I zeroed the first sector" 0 4 0 0 1
}

@test "wrong disk" {
	make_cache v2-pair-proven
	wb-flush-dirty -q -y --undo=FILE cache.img backing.img
	tries "Wrong disk" 0 0 0
}

@test "the partition was resized" {
	make_cache v2-grown
	SLOTS=6 tries "The partition was resized" 4 0
}

@test "is my data safe" {
	make_cache v2-wrapped
	tries "Is my data safe?" 0
}

@test "removing the cache for good" {
	make_cache v2-wrapped
	tries "Removing the cache for good" 0 0
}

@test "the machine does not boot without it" {
	make_cache v2-wrapped
	tries "The machine does not boot without it" 0 0 0
}

@test "reporting a bug" {
	make_cache v2-wrapped
	tries "Reporting a bug" 0 0 0
}

@test "every section of the guide with a command is above" {
	diff <(sed -n 's/^## //p' "$TOP/docs/rescue.md" | while IFS= read -r section; do
		[ -z "$(commands_of "$section" | tr -d '\n')" ] || echo "$section"
	done) <(sed -nE "s/.*\btries ['\"]([^'\"].*)['\"]( [0-9])+.*/\1/p; s/.*\btries '(\"[^']*)'.*/\1/p" "$BATS_TEST_FILENAME")
}
