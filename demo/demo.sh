#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Recovers a half-written-back disk from its dm-writeboost cache, and checks every step of it.
#
#   usage: demo.sh BUILD_DIR        BUILD_DIR holds wb-check and wb-flush-dirty
#
# Works on two image files in a temporary directory: no root, no mounts, no loop devices.
set -eu

fail() {
	printf '\nThe demo failed: %s.\n' "$1" >&2
	exit 1
}

# step "heading" "what a sysadmin sees and why"
step() {
	number=$((number + 1))
	printf '\n%d. %s\n' "$number" "$1"
	printf '%s\n' "$2" | fold -s -w 96 | sed 's/^/   /; s/ *$//'
}

# run STATUS 'command': shows the command and what it prints, and insists on its exit status
run() {
	local status=0
	printf '\n   $ %s\n' "$2"
	bash -c "$2" >output 2>&1 || status=$?
	# version banners, and what rdump says when an ordinary user cannot give files to root
	sed -E '/^(e2fsck|debugfs) [0-9.]+.* \(/d; /changing ownership of/d; /^$/d; s/^/   /' output
	[ "$status" -eq "$1" ] || fail "\"$2\" ended with exit status $status, not $1"
}

expect() {
	grep -Eqi -e "$1" output || fail "$2"
}

expect_not() {
	! grep -Eqi -e "$1" output || fail "$2"
}

need() {
	command -v "$1" >/dev/null || fail "$1 was not found; install the package $2"
}

[ $# -eq 1 ] || { echo "usage: demo.sh BUILD_DIR" >&2; exit 2; }
build=$(cd "$1" 2>/dev/null && pwd) || fail "there is no directory $1"
for command in wb-check wb-flush-dirty; do
	[ -x "$build/$command" ] || fail "$build/$command is missing; run make first"
done
sample=$(cd "$(dirname "$0")" && pwd)/sample.tar.xz

# debugfs and e2fsck live in sbin, which an ordinary user's PATH may lack; their words are checked
export PATH="$build:$PATH:/usr/sbin:/sbin" LC_ALL=C TZ=UTC
need debugfs e2fsprogs
need e2fsck e2fsprogs
need tar tar
need xz xz-utils

work=$(mktemp -d "${TMPDIR:-/tmp}/wb-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
tar --no-same-owner --strip-components=1 -xJf "$sample"
number=0

cat <<'END'
wb-utils demo: a disk whose newest files are only on its cache
==============================================================

An office kept its files on an ext4 disk (backing.img, 12 MiB) behind a dm-writeboost cache
(cache.img, 5 MiB). On the last day of the first quarter of 2024 the books were closed and the
file system was unmounted. The power failed while the cache was still writing back.
END

step "The disk alone is damaged" \
	"Part of the newest metadata has reached the disk and part has not, so e2fsck finds errors. \
Repairing them now would throw the newest files away for good."
run 4 'e2fsck -fn backing.img'
expect 'still has errors' "the disk was expected to be damaged before the recovery"

step "The disk alone is old" \
	"The ledger stops in January, the directory of the quarter is not there, and of the plan of \
the east quay there is a name without a file: the rest is in the cache."
run 0 "debugfs -R 'cat /books/ledger.csv' backing.img | tail -n 2"
expect '2024-01-31' "the ledger on the disk alone was expected to end in January"
run 0 "debugfs -R 'ls -l /plans' backing.img"
expect ' 0 +1-Jan-1970 .*quay-east.pgm' "the plan of the east quay was expected to be missing"
run 0 "debugfs -R 'ls -l /quarter-1' backing.img"
expect 'file not found' "the directory of the quarter was expected to be missing"

step "What the cache says" \
	"wb-check only reads: it verifies the checksum of every segment of the log and, by comparing \
contents, that this cache belongs to this disk. Dirty data is no damage: the exit status is 0."
run 0 'wb-check cache.img backing.img'
expect 'dirty' "wb-check said nothing about dirty data"

step "What a recovery would do" \
	"With -n the whole plan is made and nothing is opened for writing; a newer version of a sector \
always wins over an older one. The last line of --json is what a script would look at."
sha256sum cache.img backing.img >before.sha256
run 0 'wb-flush-dirty -n cache.img backing.img'
run 0 'wb-flush-dirty -n --json cache.img backing.img | tail -n 1'
expect '"pair": ?"proven"' "the cache and the disk were not recognised as a pair"
sha256sum --status -c before.sha256 || fail "the dry run changed an image"
printf '\n   Both images are the same as before, byte for byte.\n'

step "The recovery" \
	"The dirty sectors go to the disk in one sweep, are flushed and read again to compare; only \
then is the log ended, so that no driver can ever replay it over newer data."
cp cache.img cache.before
run 0 'wb-flush-dirty --verify -y cache.img backing.img'
cmp -s -i 512 cache.img cache.before || fail "more than sector 0 of the cache was changed"
! cmp -s cache.img cache.before || fail "the log was not ended"
printf '\n   Of the cache, nothing but sector 0 has changed: it holds the marker now.\n'

step "The disk is whole" \
	"The same e2fsck that found errors before now finds none, without having repaired anything."
run 0 'e2fsck -fn backing.img'

step "The newest files are there" \
	"The books are closed, the report of the quarter exists, an old file is deleted and a draft \
has its new name."
run 0 "debugfs -R 'cat /books/ledger.csv' backing.img | tail -n 2"
expect '2024-03-31.*quarter closed' "the newest line of the ledger is missing"
run 0 "debugfs -R 'cat /quarter-1/report.txt' backing.img | head -n 5"
expect 'the first quarter' "the report of the quarter is missing"
run 0 "debugfs -R 'ls -l /letters' backing.img"
expect 'offer-accepted.txt' "the renamed letter is missing"
expect_not 'offer-draft|minutes-2019' "a file that was renamed or deleted is back"

step "Every byte is right" \
	"The sums were taken from the file system before the power failed: one for each file, and one \
for the whole disk."
run 0 "mkdir recovered && debugfs -R 'rdump / recovered' backing.img"
run 0 'sha256sum -c known.sha256'

step "The cache cannot do harm any more" \
	"wb-check names the day when the log was ended, and a second recovery finds nothing to do: \
the cache may be formatted and used again."
run 0 'wb-check cache.img backing.img'
expect 'ended' "wb-check does not say that the log was ended"
run 0 'wb-flush-dirty cache.img backing.img'
expect 'nothing to do' "a second wb-flush-dirty does not say that there is nothing to do"
sha256sum --status -c known.sha256 || fail "the second run changed the disk"

printf '\nIt all worked: every byte of the disk is as it was before the power failed.\n'
