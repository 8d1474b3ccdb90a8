# SPDX-License-Identifier: GPL-2.0-or-later
# fish completion for the command that this file is named after when it is installed. The commands of wb-utils say
# themselves what they know (--list-options).

set -l name (path basename (status filename) | path change-extension '')
set -l program $name
# an ordinary user who types "sudo wb-check" may not have it in PATH
for directory in /usr/local/sbin /usr/sbin /sbin
    if not command -q $program; and test -x $directory/$name
        set program $directory/$name
    end
end

$program --list-options </dev/null 2>/dev/null | while read -l -d \t long short values purpose
    set -l option -c $name -l (string sub -s 3 -- $long) -d $purpose
    if test $short != -
        set -a option -s (string sub -s 2 -- $short)
    end
    switch $values
        case -
            complete $option
        case '*FILE' '*MAP' CACHE BACKING
            complete $option -r -F
        case '*'
            if not string match -qr '[a-z]' -- $values
                complete $option -x
            else if test $long = --force
                complete $option -x -a "(__fish_append , $(string replace -a '|' ' ' -- $values))"
            else
                complete $option -x -a "$(string replace -a '|' ' ' -- $values)"
            end
    end
end
