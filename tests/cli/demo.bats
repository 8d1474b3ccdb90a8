# SPDX-License-Identifier: GPL-2.0-or-later
# The demo of README works, as root and as anybody else.

load helpers

@test "the demo rescues its file system" {
	run "$TOP/demo/demo.sh" "$BUILD"
	[ "$status" -eq 0 ] || { echo "$output"; false; }
}

@test "the demo needs no root" {
	[ "$(id -u)" -eq 0 ] || skip "this is an ordinary user already"
	mkdir bin
	cp -r "$TOP/demo" "$BUILD"/wb-* bin/
	chmod -R a+rX . "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR"
	run env TMPDIR=/tmp setpriv --reuid=65534 --regid=65534 --clear-groups bin/demo/demo.sh bin
	[ "$status" -eq 0 ] || { echo "$output"; false; }
}
