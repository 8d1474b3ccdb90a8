/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * X(ID, NAME, SEVERITY, TEXT) for everything wb-check can find. NAME is the "class" of the JSON record;
 * damage makes wb-check exit 4, warnings and notes do not. No include guard: included with X defined.
 */
X(ENDED, "ended", NOTE, "the log was ended; no driver will replay it again")
X(ENDED_PARTIAL, "ended-partial", WARNING, "not everything in the log had been written back when it was ended")
X(WRITTEN_AFTER_END, "written-after-end", DAMAGE,
  "the log was written to after it was ended: a driver had it assembled elsewhere, or the device was used for something else")
X(FORMAT_INTERRUPTED, "format-interrupted", NOTE, "a wb-format was interrupted; run it again, no force is needed")
X(ZERO_SUPERBLOCK, "zero-superblock", DAMAGE,
  "sector 0 is all zero over valid segments: the log was ended by hand, or zeroed by accident")
X(BAD_SUPERBLOCK, "bad-superblock", DAMAGE, "sector 0 is damaged, but segments prove a log")
X(UNREADABLE_SUPERBLOCK, "unreadable-superblock", DAMAGE, "sector 0 cannot be read, but segments prove a log")
X(ENDED_BY_ZEROING, "ended-by-zeroing", NOTE,
  "sector 0 is all zero, and all that the log holds is on this backing device: the log was ended by hand")
X(RESIDUE, "superblock-residue", NOTE,
  "bytes after the magic are left over from something else: drivers before 2.2.8 did not clear them, and none reads them")
X(TIE, "ambiguous-generation", WARNING, "two generations explain the segments equally well")
X(WRAP, "wrap", WARNING,
  "over 2 TiB: drivers compute slot addresses in 32 bits, so two readings exist (--slot-address=linear|wrap)")
X(CUT_SHORT, "cut-short", DAMAGE, "the device or file ends before its slots do: if this is a copy, copy it again")
X(OTHER_GEOMETRY, "other-geometry", DAMAGE,
  "the options that were given leave out whole segments of another generation or order")
X(DESTROYED, "destroyed", DAMAGE, "no segment is valid, but headers prove that there was a log")
X(RESIZED, "resized", DAMAGE, "segments lie where another number of slots would put them: the device was resized")
X(SHIFTED, "shifted", DAMAGE, "all segments are out of place by the same distance: the start of the device moved")
X(RESTARTED, "restarted", DAMAGE,
  "ids begin again at 1 below an older ring: the driver abandoned it, or the first writes of a lap were lost")
X(RECORD_GARBAGE, "record-garbage", DAMAGE,
  "the superblock record is beyond any id the log can have had; it is taken as 0")
X(RECORD_MISSING, "record-missing", DAMAGE,
  "the superblock record names segments that existed, were written back, and are missing from the log")
X(RECORD_UNREADABLE, "record-unreadable", DAMAGE, "the superblock record cannot be read; it is taken as 0")
X(RECORD_CONTRADICTED, "record-contradicted", DAMAGE,
  "what the superblock record says was written back last is not on this backing device")
X(RECORD_HAZARD, "record-hazard", WARNING,
  "with this record and partial writes in the log the driver takes sectors back in time at its next assembly")
X(MIXED_CHECKSUMS, "mixed-checksums", NOTE, "raw and complemented checksums: drivers before and after 2.0.2 wrote this log")
X(TORN_TAIL, "torn-tail", WARNING, "the write of the next segment was cut off; nothing acknowledged was in it alone")
X(TORN_HEAD, "torn-head", WARNING,
  "the oldest slot was being overwritten when power was cut; its segment had been written back")
X(AHEAD, "ahead", DAMAGE,
  "valid, but segments before it are missing: a volatile device cache lost them, or the id is forged")
X(ROTTEN, "rotten", DAMAGE, "the seal does not hold: the segment is damaged")
X(STALE_LAP, "stale-lap", DAMAGE, "a segment of an older lap: the newer write was lost")
X(ALIEN_ID, "alien-id", DAMAGE, "the segment is whole, but its id is impossible: the header was damaged afterwards")
X(BAD_LENGTH, "bad-length", DAMAGE, "the length of the segment is out of range")
X(MISALIGNED, "misaligned", DAMAGE, "a metablock's sector is no multiple of 8")
X(BEYOND_BACKING, "beyond-backing", DAMAGE, "a metablock lies beyond the end of the backing device")
X(PART_READABLE, "part-readable", DAMAGE, "some data blocks of the segment cannot be read")
X(UNREADABLE, "unreadable", DAMAGE, "the header of the segment cannot be read")
X(ZEROED, "zeroed", DAMAGE, "all dirty blocks read as zeroes: discarded after they had been written back")
X(FOREIGN, "foreign", NOTE, "garbage in a slot that was never written since the format")
X(PADDING, "padding", NOTE, "unused bytes of the segment's metadata are not zero")
X(UNSEALED_DATA, "unsealed-data", WARNING,
  "nothing in this generation covers data blocks: the newest segment may be torn unnoticed (--until-id, --undo)")
X(BACKING_MISMATCH, "backing-mismatch", DAMAGE, "the log's clean copies contradict this backing device")
