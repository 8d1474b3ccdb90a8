# SPDX-License-Identifier: GPL-2.0-or-later
# What is written down about the commands is what they do: options, findings, links.

load helpers

commands() {
	local file
	for file in "$TOP"/cmd/wb-*.c; do
		basename "$file" .c
	done
}

# Options as "SHORT LONG", sorted; SHORT is "-" where there is none.

options_of_help() {
	"$1" --help | sed -nE 's/^  (-(.), |    )--([a-z-]+)([ =].*)?$/\2 \3/p' | sed 's/^ /- /' | sort
}

options_of_page() {
	sed -nE 's/^\.It Fl ((.) , )?-([a-z-]+)( .*)?$/\2 \3/p' "$TOP/man/$1.8" | sed 's/^ /- /' | sort
}

# Common options that mean nothing to a command are not offered by it.
left_out() {
	grep -q WITHOUT_GENERATION "$TOP/cmd/$1.c" && echo "generation slots"
	grep -q WITHOUT_GEOMETRY "$TOP/cmd/$1.c" && echo "generation order slots slot-address start size"
	grep -q WITHOUT_JOBS "$TOP/cmd/$1.c" && echo jobs
	grep -q WITHOUT_YES "$TOP/cmd/$1.c" && echo yes
	grep -q force_names "$TOP/cmd/$1.c" || echo force
}

options_of_tables() {
	local files=("$TOP/cmd/$1.c" "$TOP/cmd/common.c")

	! grep -q policy_options "$TOP/cmd/$1.c" || files+=("$TOP/cmd/policy_options.c")
	sed -nE "/POPT_ARGFLAG_DOC_HIDDEN/d; s/^\t\{ \"([a-z-]+)\", '(\\\\0|.)', POPT_ARG.*/\2 \1/p" "${files[@]}" |
		sed 's/^\\0 /- /' | sort | grep -vxE ". ($(left_out "$1" | xargs | sed 's/^$/-/; s/ /|/g'))"
}

@test "every command has a page in section 8, and every page a command" {
	diff <(commands) <(cd "$TOP/man" && ls wb-*.8 | sed 's/\.8$//')
}

@test "options in the tables, in --help and in the man page are the same" {
	local command
	for command in $(commands); do
		options_of_tables "$command" >tables
		options_of_help "$command" >help
		options_of_page "$command" >page
		[ "$(wc -l <tables)" -gt 6 ]
		diff tables help || { echo "$command: --help differs from its table"; false; }
		diff tables page || { echo "$command: the man page differs from its table"; false; }
	done
}

@test "--list-options is for completions alone: neither --help nor a page has it" {
	local command
	for command in $(commands); do
		[ "$("$command" --list-options | wc -l)" -gt 6 ]
		[ "$("$command" --help | grep -c list-options)" -eq 0 ]
	done
	[ -z "$(grep -l list-options "$TOP"/man/*)" ]
}

@test "every page has the exit statuses and the engine" {
	local command
	for command in $(commands); do
		grep -q '^\.Sh EXIT STATUS$' "$TOP/man/$command.8"
		grep -q '^\.It Ev WB_IO$' "$TOP/man/$command.8"
	done
}

@test "every force a command knows is explained, and no other" {
	local command
	for command in wb-check wb-flush-dirty wb-format wb-undo; do
		diff <(grep -E 'static const char \*const force(s|_names)\[\]' "$TOP/cmd/$command.c" | grep -o '"[a-z]*"' | tr -d '"' | sort) \
			<(awk '/^\.It Fl f , -force/ { on = 1 } on && /^\.It Cm / { print $3 } on && /^\.El/ { exit }' \
				"$TOP/man/$command.8" | sort)
	done
}

@test "wb-check(8) explains every finding with its severity, and no other" {
	diff <(sed -nE 's/^X\([A-Z_]+, "([a-z-]+)", ([A-Z]+),.*/\1 \L\2/p' "$TOP/include/wbrules.h" | sort) \
		<(sed -nE 's/^\.It Cm ([a-z-]+) Pq ([a-z]+)$/\1 \2/p' "$TOP/man/wb-check.8" | sort)
}

@test "wbfmt(5) explains every class of slots" {
	diff <(sed -n '/class_names\[WB_CLASSES\] = {/,/};/p' "$TOP/libwbfmt/judge.c" | grep -o '"[a-z-]*"' | tr -d '"' | sort) \
		<(sed -n '/^\.Sh CLASSES OF SLOTS/,/^\.El/s/^\.It Cm //p' "$TOP/man/wbfmt.5" | sort)
}

# example PAGE COMMAND: in this directory it prints what the page says it prints
example() {
	local page=$1
	shift
	diff <(awk -v command="$ $*" '$0 == command { on = 1; next } on && /^(\.Ed|\$ )/ { exit } on' "$TOP/man/$page.8") \
		<("$@" 2>&1) || { echo "$page(8): the example differs: $*"; false; }
}

@test "the examples of the pages print what the pages say" {
	tar -xJf "$TOP/demo/sample.tar.xz" --no-same-owner --strip-components=1
	example wb-check wb-check cache.img backing.img
	example wb-flush-dirty wb-flush-dirty -n cache.img backing.img
	example wb-flush-dirty wb-flush-dirty --verify --undo=wb.undo cache.img backing.img
	make_cache v2-rotten-data-bit
	example wb-flush-dirty wb-flush-dirty cache.img backing.img
	make_cache v2-wrapped
	example wb-dump wb-dump cache.img
	example wb-dump wb-dump --segment=7 cache.img
	example wb-dump wb-dump --sector=8 cache.img
	example wb-dump wb-dump -q --list-dirty cache.img
	make_cache v2-two-holes
	example wb-dump wb-dump --map cache.img
	rm cache.img
	truncate -s 64M cache.img
	example wb-format wb-format -n cache.img
}

@test "every test that TESTING.md names is there" {
	local name count=0
	while read -r name; do
		grep -qFx -e "@test \"$name\" {" "$TOP"/tests/cli/*.bats ||
			grep -qF "static void $name(void **state)" "$TOP"/tests/{unit,table}/*.c || { echo "no test: $name"; false; }
		count=$((count + 1))
	done < <(awk -F ' \\| ' '
		!/^\|/ { named = 0 }
		named && !/^\|-/ { sub(/ \|$/, "", $2); print $2 }
		/^\| [^|]+ \| test \|$/ { named = 1 }' "$TOP/TESTING.md")
	[ "$count" -gt 40 ]
}

@test "mandoc has nothing to say about the pages" {
	command -v mandoc >/dev/null || skip "mandoc is not installed"
	run mandoc -Tlint -Wwarning "$TOP"/man/*.[1-8]
	echo "$output"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "references between the pages lead somewhere" {
	local name section
	while read -r name section; do
		case $name in
		wb*) [ -e "$TOP/man/$name.$section" ] || { echo "$name($section) is not there"; false; } ;;
		esac
	done < <(sed -nE 's/^\.Xr ([^ ]+) ([0-9]).*/\1 \2/p' "$TOP"/man/*.[1-8] | sort -u)
}

@test "relative links in the markdown files exist" {
	local file link
	while read -r file; do
		while read -r link; do
			[ -e "$(dirname "$file")/${link%%#*}" ] || { echo "$file: $link is not there"; false; }
		done < <(grep -oE '\]\([^)#: ]+(#[^) ]*)?\)' "$file" | sed -E 's/^\]\((.*)\)$/\1/')
	done < <(find "$TOP" -name '*.md' -not -path "$TOP/build/*" -not -path '*/.git/*')
}

# The commands of wb-utils as README and guide write them, one a line
commands_of_guides() {
	sed -nE 's/^    (\(initramfs\) |# )?(wb-[a-z-]+( .*)?)$/\2/p' "$TOP/README.md" "$TOP/docs/rescue.md" | sed 's/ #.*//'
	grep -ohE '`wb-[a-z-]+ [^`]*`' "$TOP/README.md" "$TOP/docs/rescue.md" | tr -d '`'
}

# session COMMAND: what README shows of it as a pattern, with anything where it says "..."; blank lines do not count
session() {
	sed -n "/^\$ $1\$/,/^\`\`\`\$/{/^\`/d;/^ *\$/d;p}" "$TOP/README.md" | tail -n +2 | sed 's/[][\\*?]/\\&/g; s/^\.\.\.$/*/'
}

@test "the sessions in README are what the commands show" {
	run "$TOP/demo/demo.sh" "${WB_COMMANDS:-$BUILD}"
	[[ $(sed '/^ *$/d' <<<"$output") == $(session 'sudo make demo') ]]
	unpack v2/g2-middle-data-byte
	run wb-dump --map cache.img
	[[ $(sed '/^ *$/d' <<<"$output") == $(session 'wb-dump --map cache.img') ]]
}

@test "the guides use options that the commands have" {
	local command words word
	commands_of_guides >all
	[ "$(wc -l <all)" -gt 30 ]
	while read -r command words; do
		for word in $words; do
			[[ $word != -* ]] || "$command" --list-options | cut -f 1,2 | grep -qw -e "${word%%=*}" ||
				{ echo "$command has no ${word%%=*}"; false; }
		done
	done <all
}

@test "every finding that the guide names is one of wb-check's" {
	local name
	while read -r name; do
		grep -q "^X([A-Z_]*, \"$name\"," "$TOP/include/wbrules.h" || { echo "no finding: $name"; false; }
	done < <(grep -oE '`[a-z]+-[a-z-]+`' "$TOP/docs/rescue.md" | tr -d '`' | grep -v '^wb-')
}

@test "the versions in NEWS.md and of the packages are that of the commands" {
	local version
	version=$(sed -n 's/^#define WB_VERSION "\(.*\)"/\1/p' "$TOP/include/wbfmt.h")
	[ "$(sed -n 's/^## //p' "$TOP/NEWS.md" | head -n 1)" = "$version" ]
	[ "$(wb-check --version | head -n 1)" = "wb-check $version" ]
	[ ! -d "$TOP/debian" ] || [ "$(sed -nE '1s/^wb-utils \(([^-]*)-.*/\1/p' "$TOP/debian/changelog")" = "$version" ]
}

@test "what cannot be written to stdout is an error: help, version and reports" {
	make_cache v2-simple
	for command in "wb-check --help" "wb-dump --version" "wb-check cache.img"; do
		status=0
		$command >/dev/full 2>said || status=$?
		[ "$status" -eq 8 ]
		read -r -d '' said <said || :
		[[ $said == "${command%% *}: writing to stdout: No space left on device" ]]
	done
}

@test "KNOWN LIMITS names what no option helps against" {
	limits=$(sed -n '/^\.Sh KNOWN LIMITS/,/^\.Sh [^K]/p' "$TOP/man/wb-flush-dirty.8")
	for words in "write_through_mode" "before 2.2.5 with read caching" "commit ee815f2" "Driver 0.9.0 of type 1" "plog"; do
		[[ $limits == *"$words"* ]] || { echo "not there: $words"; false; }
	done
}

@test "what does not fit into the budget is left out by name and counted as skipped" {
	mkdir tests
	cp "$TOP"/tests/budget "$TOP"/tests/count tests/
	run tests/budget 1
	suites=$(sed -n '/^suites="/,/^"/s/ [0-9]*$//p' tests/budget)
	[ "$(wc -w <<<"$suites")" -ge 10 ]
	for suite in $suites; do
		[[ $output == *"left-out-$suite: 0 passed, 0 failed, 1 skipped (left out"* ]]
	done
	[[ ${lines[-1]} == *"0 failed, $(wc -w <<<"$suites") skipped"* ]]
}

@test "--help and usage errors name the command, whatever it was started as" {
	for command in wb-check wb-flush-dirty wb-dump wb-format wb-undo; do
		(exec -a $'\e[2K\nx' "$(command -v $command)" --help) >shown
		grep -q "^$command: " shown
		grep -q "^Usage: $command " shown
		! (exec -a $'\e[2K\nx' "$(command -v $command)" --nosuch) >>shown 2>&1 || false
		! grep -q $'\e' shown || false
	done
}

# What was looked at by name may be something else when it is opened by name. Devices and images go through place.h, undo files and
# states through record.h; the rest is named here: what the kernel or the system names, folders, and names that are never opened.
@test "no name is looked at here and opened there" {
	diff - <(cd "$TOP" && grep -oE '\b(stat|lstat|statx|access|open|fopen|opendir|openat|truncate|creat)\((\(|[^,)])*' cmd/*.c libwbfmt/*.c |
		grep -vE '\((place_of|place_known)\(' | sort) <<-'END'
		cmd/guard.c:access(directory
		cmd/guard.c:fopen(path
		cmd/guard.c:open(path
		cmd/guard.c:stat(dirname(copy
		cmd/memory.c:fopen(name
		cmd/next.c:access(name
		cmd/output.c:access(folder
		cmd/output.c:lstat(path
		cmd/output.c:open(dirname(copy
		cmd/output.c:open(name
		cmd/output.c:stat(a
		cmd/output.c:stat(b
		cmd/output.c:stat(names[i].path
		cmd/pack.c:access(places[i]
		cmd/place.c:access("/proc/self/fd"
		cmd/place.c:open(path
		cmd/record.c:open(path
		cmd/space.c:stat(folder
		libwbfmt/dev_file.c:open(name
		libwbfmt/dev_file.c:open(path
		libwbfmt/dev_file.c:open(path
		libwbfmt/dev_file.c:open(path
		libwbfmt/map.c:open(path
	END
}
