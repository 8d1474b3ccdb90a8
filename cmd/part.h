/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which part of the device that is given as CACHE the cache is: what --start and --size say, all of it, or the one
 * partition that holds a cache. What belongs to LVM, a RAID or a container is named, and never treated as a cache.
 */
#ifndef PART_H
#define PART_H

#include "common.h"
#include "signatures.h"

enum part_use {
	PART_LOOK,  /* the command only reads: one partition that holds a cache is taken, and named */
	PART_WRITE, /* it may write to CACHE: --start must be given, and signatures of others refuse it (--force=signature) */
};

/* Replaces *dev, an open CACHE, by the part of it that is the cache. foreign gets the signatures of others that are found
 * on a CACHE whose sector 0 is not that of a cache, as words ("gpt partition table UUID ... at byte 512"), or nothing. 0 or
 * an exit status; *dev must be closed by the caller in any case. */
int part_choose(const struct common *common, struct wb_dev **dev, const char *path, enum part_use use, char *foreign,
		size_t size);

/* For wb-format, which asks about signatures itself: only what --start and --size say, and not inside of something larger. */
int part_narrow(const struct common *common, struct wb_dev **dev, const char *path);

/* What is on a part of path, with offsets from where the part begins (from byte 0 of path, where that comes later). */
void part_signatures(const struct wb_dev *part, const char *path, struct signatures *signatures);

/* " --start=1048576 --size=22020096" for a command line about the same part, or nothing. Static storage. */
const char *part_options(struct wb_dev *dev);
/* The options of a next step, with part_options() behind them unless --start or --size were given, which are in every step. */
const char *part_with_options(const struct common *common, struct wb_dev *dev, const char *add, char *text, size_t size);
/* ", the part of it from byte 1048576 on: offsets count from there", or nothing. Static storage. */
const char *part_words(const struct wb_dev *dev);

/* The partitions of a whole disk that hold a cache, "1 (--start=1048576 --size=4194304), ..."; the text is empty where there is
 * none, or where the disk is a cache itself. signatures: of all of it. */
void part_list_caches(struct wb_dev *dev, const char *path, const struct signatures *signatures, char *text, size_t size);
/* Of a BACKING that is a whole disk, with which the pair is not proven: the partition with which it is, in words that follow
 * "BACKING is a whole disk, and ", with the way to give it. False: there is none. */
bool part_of_backing(const struct common *common, struct wb_ring *ring, const char *path, size_t capacity, char *text, size_t size);
/* Refuses a BACKING that is a container, unless --force=signature. 0 or an exit status. */
int refuse_backing_container(const struct common *common, const char *path);
/* Refuses a file that holds an image in a format of its own; override follows the advice. */
int refuse_container(const struct common *common, const char *path, const char *operand, const struct signature *container,
		     const char *override);

#endif
