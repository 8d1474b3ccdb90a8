# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for the commands of wb-utils. They say themselves what they know (--list-options).

_wb_utils_options() {
	# an ordinary user who types "sudo wb-check" may not have it in PATH
	(PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin && "$1" --list-options </dev/null 2>/dev/null)
}

# What the value of an option can be: VALUES of the option $2 of command $1; fails when it has none.
_wb_utils_values() {
	local long short values purpose
	while IFS=$'\t' read -r long short values purpose; do
		if [[ $2 == "$long" || $2 == "$short" ]] && [[ $values != - ]]; then
			printf '%s\n' "$values"
			return 0
		fi
	done < <(_wb_utils_options "$1")
	return 1
}

_wb_utils_files() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

# Completes a value: option, its VALUES, the word so far
_wb_utils_value() {
	local before=
	case $2 in
	*[[:lower:]]*)
		# --force takes a list
		if [[ $1 == -f || $1 == --force ]] && [[ $3 == *,* ]]; then
			before=${3%,*},
		fi
		mapfile -t COMPREPLY < <(compgen -P "$before" -W "${2//|/ }" -- "${3##*,}")
		;;
	*FILE | *MAP | CACHE | BACKING) _wb_utils_files "$3" ;;
	esac
}

_wb_utils() {
	local word=$2 option=$3 values i
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} == -- ]]; then
			_wb_utils_files "$word"
			return
		fi
	done
	# readline splits --name=value at the equals sign
	if [[ $word == = ]]; then
		word=
	elif [[ $option == = ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	if [[ $option == -* ]] && values=$(_wb_utils_values "$1" "$option"); then
		_wb_utils_value "$option" "$values" "$word"
	elif [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_wb_utils_options "$1" |
			awk -F '\t' '{ print $1 ($3 == "-" ? "" : "="); if ($2 != "-") print $2 }')" -- "$word")
		if [[ ${#COMPREPLY[@]} -eq 1 && $COMPREPLY == *= ]]; then
			compopt -o nospace 2>/dev/null
		fi
	else
		_wb_utils_files "$word"
	fi
}

complete -F _wb_utils wb-check wb-flush-dirty wb-dump wb-format wb-undo
