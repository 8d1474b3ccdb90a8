# SPDX-License-Identifier: GPL-2.0-or-later
# What the shells offer for the commands, asked of the shells themselves.

load helpers

commands() {
	(cd "$TOP/cmd" && ls wb-*.c | sed 's/\.c$//')
}

options_of_help() {
	"$1" --help | sed -nE 's/^  (-(.), |    )--([a-z-]+)([ =].*)?$/--\3 -\2/p'
}

# needs SHELL: skips where it is not installed
needs() {
	command -v "$1" >/dev/null || skip "$1 is not installed"
}

# offers SHELL LINE: what the shell offers to complete LINE with, sorted
offers() {
	"offers_of_$1" "$2" | sort
}

# As readline calls the function; the second word "=" is what it makes of --name=value.
offers_of_bash() {
	bash --norc --noprofile -c '
		source "$1"
		COMP_LINE=$2 COMP_POINT=${#2}
		read -ra words <<<"${2//=/ = }"
		[[ $2 != *" " ]] || words+=("")
		COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1))
		_wb_utils "${words[0]}" "${words[COMP_CWORD]}" "${words[COMP_CWORD - 1]}"
		[ ${#COMPREPLY[@]} -eq 0 ] || printf "%s\n" "${COMPREPLY[@]}"' - "$TOP/completions/wb-utils.bash" "$1"
}

# On a terminal of its own, with every match that is added to the list written down.
offers_of_zsh() {
	mkdir -p zsh
	ln -sf "$TOP/completions/_wb-utils" zsh
	cat >zsh/rc <<-'END'
		fpath=($PWD/zsh $fpath)
		autoload -Uz compinit
		compinit -D -u
		compadd() {
			if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
				local -a hits
				builtin compadd -A hits "$@"
				print -rl -- $hits >>$PWD/zsh/hits
			fi
			builtin compadd "$@"
		}
		ended() { print >$PWD/zsh/done }
		zle -N ended
		bindkey '^X' ended
		bindkey '^I' complete-word
		PROMPT= RPROMPT=
		print >$PWD/zsh/ready
	END
	rm -f zsh/hits zsh/done zsh/ready
	: >zsh/hits
	timeout 60 zsh -f -c '
		zmodload zsh/zpty
		zpty shell "TERM=dumb zsh -f -i"
		zpty -w shell "source $PWD/zsh/rc"
		until [[ -e zsh/ready ]]; do sleep 0.05; done
		zpty -w -n shell "$1"$'\''\t\C-x'\''
		until [[ -e zsh/done ]]; do zpty -r -t shell text; sleep 0.05; done
		zpty -d shell' - "$1" </dev/null
	sed '/^$/d' zsh/hits
}

offers_of_fish() {
	mkdir -p fish
	ln -sf "$TOP/completions/wb-utils.fish" "fish/${1%% *}.fish"
	HOME=$PWD fish --no-config -c "set fish_complete_path $PWD/fish; complete -C '$1'" | cut -f 1
}

@test "--list-options has the options of --help, short names, values and purposes" {
	local command
	for command in $(commands); do
		diff <("$command" --list-options | cut -f 1,2 | tr '\t' ' ' | sort) <(options_of_help "$command" | sort)
		[ -z "$("$command" --list-options | awk -F '\t' 'NF != 4 || $3 == "" || $4 == ""')" ]
	done
	wb-flush-dirty --list-options | grep -q $'^--policy\t-\tstrict|prefix|salvage\twhat to do'
	wb-flush-dirty --list-options | grep -q $'^--dry-run\t-n\t-\t'
	wb-flush-dirty --list-options | grep -q $'^--force\t-f\tpair|size|signature|ended|regress|stateless\t'
}

# The same questions to every shell. Where a shell says "--policy" or "--policy=" is its own affair.
asks() {
	local shell=$1 command
	touch cache.img
	for command in $(commands); do
		diff <(offers "$shell" "$command --" | sed 's/=$//' | grep -x -- '--[a-z-]*' | sort -u) \
			<("$command" --list-options | cut -f 1 | sort) ||
			{ echo "$shell: $command"; return 1; }
	done
	diff <(offers "$shell" "wb-flush-dirty --policy=" | sed 's/^--policy=//') <(printf '%s\n' prefix salvage strict)
	diff <(offers "$shell" "wb-flush-dirty --policy sal") <(echo salvage)
	diff <(offers "$shell" "wb-flush-dirty --force=pair,si" | sed 's/^--force=//; s/^pair,//') <(printf '%s\n' signature size)
	diff <(offers "$shell" "wb-check --force s" ) <(printf '%s\n' signature superblock)
	diff <(offers "$shell" "wb-check --undo ca") <(echo cache.img)
	diff <(offers "$shell" "wb-check ca") <(echo cache.img)
	[ -z "$(offers "$shell" "wb-check --slots ")" ]
}

@test "bash completes options, values, lists and files" {
	asks bash
	[ "$(offers bash "wb-check --undo=ca")" = cache.img ]
	[ "$(offers bash "wb-check -- ca")" = cache.img ]
	touch -- --odd
	[ "$(offers bash "wb-check -- --o")" = --odd ]
}

@test "bash completes on a terminal too" {
	need_terminal
	touch "cache of mine.img"
	printf 'source %q\n' "$TOP/completions/wb-utils.bash" >rc
	printf 'bind "set enable-bracketed-paste off"\nPS1="$ "\n' >>rc
	# wide enough, whatever the prompt
	run timeout 60 script -qec "stty cols 300 rows 30; bash --rcfile rc --noprofile -i" /dev/null < <(
		printf "wb-check --metada\t--export --undo=cac\t; echo status \$?\nexit\n")
	[[ $output == *"wb-check --metadata-only --export --undo=cache\ of\ mine.img"* ]] || { echo "$output"; false; }
}

@test "zsh completes options, values, lists and files" {
	need_terminal
	needs zsh
	asks zsh
}

@test "fish completes options, values, lists and files" {
	needs fish
	asks fish
}

@test "the completions are installed where the shells look, under the name of every command" {
	make -s -C "$TOP" BUILD="$BUILD" DESTDIR="$PWD/root" prefix=/usr install
	local command
	for command in $(commands); do
		[ -e "root/usr/share/bash-completion/completions/$command" ]
		[ -e "root/usr/share/fish/vendor_completions.d/$command.fish" ]
		grep -qw "^#compdef.* $command" root/usr/share/zsh/site-functions/_wb-utils
		grep -qw "^complete.* $command" root/usr/share/bash-completion/completions/wb-check
	done
}
