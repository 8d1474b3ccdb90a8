/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds the cache on the device that was given: see part.h. */
#include <blkid/blkid.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "part.h"
#include "place.h"
#include "report.h"

#define WORDS 512u
#define PARTS_MAX 256u

const char *part_words(const struct wb_dev *dev)
{
	static char text[96];
	int64_t start = wb_dev_start(dev);

	text[0] = '\0';
	if (start)
		snprintf(text, sizeof(text), ", the part of it from byte %" PRId64 " on: offsets count from there", start);
	return text;
}

const char *part_options(struct wb_dev *dev)
{
	static char text[96];

	text[0] = '\0';
	if (wb_dev_start(dev) || wb_dev_size(dev) != wb_dev_size(wb_dev_whole(dev)))
		snprintf(text, sizeof(text), " --start=%" PRId64 " --size=%" PRIu64, wb_dev_start(dev), wb_dev_size(dev));
	return text;
}

const char *part_with_options(const struct common *common, struct wb_dev *dev, const char *add, char *text, size_t size)
{
	const char *part = common->part.given ? "" : part_options(dev);

	snprintf(text, size, "%s%s", add, *add ? part : part + strspn(part, " "));
	return text;
}

/* ---- what belongs to others ---- */

/* Drivers write sector 0 and the slots: what was in the rest of the first MiB before stays there. */
static bool may_be_left_over(const struct signature *signature, bool is_cache)
{
	return signature->is_remnant || (is_cache && signature->offset < WB_FIRST_SLOT);
}

/* At the end of a cache only a member counts: there a mirror has its superblock, and the other leg the same log. */
static bool is_foreign(const struct signature *signature, bool is_cache)
{
	return !may_be_left_over(signature, is_cache) && (!is_cache || signature_is_member(signature));
}

static void list_foreign(const struct signatures *signatures, bool is_cache, char *text, size_t size)
{
	char line[WORDS / 2];

	text[0] = '\0';
	for (unsigned i = 0; i < signatures->count; i++) {
		if (!is_foreign(&signatures->list[i], is_cache) || signature_is_copy(signatures, i))
			continue;
		signature_line(&signatures->list[i], line, sizeof(line));
		append_text(text, size, "%s%s", text[0] ? ", " : "", line);
	}
}

/* A device that is only a piece of something, or encrypted. */
static const struct signature *find_member(const struct signatures *signatures, bool is_cache)
{
	for (unsigned i = 0; i < signatures->count; i++) {
		const struct signature *signature = &signatures->list[i];

		if (is_foreign(signature, is_cache) &&
		    (signature_is_member(signature) || (strcmp(signature->type, "crypto_LUKS") == 0 && !signature->offset)))
			return signature;
	}
	return NULL;
}

static const char *way_to_the_whole(const struct signature *member)
{
	if (strncmp(member->type, "LVM", 3) == 0)
		return "activate its volume group (vgchange -ay) and give the logical volume";
	if (strcmp(member->type, "crypto_LUKS") == 0)
		return "open it (cryptsetup open) and give the mapping";
	if (strcmp(member->type, "bcache") == 0)
		return "register it and give the bcache device";
	return "assemble the array (mdadm --assemble) and give that: the other members hold the same log, or the rest of it";
}

int refuse_container(const struct common *common, const char *path, const char *operand, const struct signature *container,
		     const char *override)
{
	char *advice = container_advice(container, path);
	int status = common_refuse(common, path, "%s is a %s, not a raw image: %s%s", operand, container->type,
				   advice ? advice : "open it first", override);

	free(advice);
	return status;
}

int refuse_backing_container(const struct common *common, const char *path)
{
	struct signatures signatures;
	int status = 0;

	if (common_forced(common, "signature"))
		return 0;
	find_all_signatures(path, &signatures);
	if (find_container(&signatures))
		status = refuse_container(common, path, "BACKING", find_container(&signatures),
					  common->force_names ? " (--force=signature overrides this)" : "");
	signatures_release(&signatures);
	return status;
}

static int refuse_member(const struct common *common, const char *path, const struct signature *member, enum part_use use)
{
	char line[WORDS / 2];

	signature_line(member, line, sizeof(line));
	return common_refuse(common, path, "CACHE is part of something larger, and not a cache by itself: %s; %s (%s)", line,
			     way_to_the_whole(member), use == PART_WRITE ? "--force=signature overrides this" :
			     "--start=0 shows this part alone");
}

/* ---- partitions ---- */

struct candidate {
	int number;
	uint64_t start, size;
	char table[16], type[64]; /* of the partition table; what libblkid finds in the partition */
	bool begins_as_cache, is_member, is_cache;
};

struct candidates {
	struct candidate list[PARTS_MAX];
	unsigned count;
};

/* Through a descriptor of its own, because a window takes over the device that it is part of. */
static struct wb_dev *open_partition(const char *path, const struct candidate *candidate)
{
	struct wb_dev *whole, *part;

	if (wb_dev_open(&whole, path, WB_OPEN_READ | WB_OPEN_PEEK, NULL))
		return NULL;
	if (!wb_dev_window(&part, whole, (int64_t)candidate->start, candidate->size, NULL))
		return part;
	wb_dev_close(whole);
	return NULL;
}

/* Without a superblock all of the partition has to be looked at. */
static bool holds_cache(const char *path, const struct candidate *candidate)
{
	const struct wb_overrides any = { .address = WB_ADDRESS_LINEAR };
	struct wb_dev *part = open_partition(path, candidate);
	struct wb_cache cache;
	struct wb_error err;
	bool holds = part && (!wb_cache_open(&cache, part, &any, &err) || err.code == WB_ESUPER);

	wb_dev_close(part);
	return holds;
}

/* One leg of a mirror in a partition is no cache either. */
static void look_at_partition(const char *path, int fd, struct candidate *candidate)
{
	struct wb_dev *part = open_partition(path, candidate);
	struct signatures signatures;

	candidate->begins_as_cache = part && carries_header(part);
	wb_dev_close(part);
	find_signatures_in(fd, candidate->start, candidate->size, &signatures);
	candidate->is_member = find_member(&signatures, candidate->begins_as_cache) || find_container(&signatures);
	for (unsigned i = 0; i < signatures.count && !candidate->type[0]; i++)
		if (!signatures.list[i].is_table)
			snprintf(candidate->type, sizeof(candidate->type), "%s", signatures.list[i].type);
	signatures_release(&signatures);
}

static bool is_listed(const struct candidates *candidates, uint64_t start)
{
	for (unsigned i = 0; i < candidates->count; i++)
		if (candidates->list[i].start == start)
			return true;
	return false;
}

/* libblkid counts in sectors of 512 bytes, whatever those of the table are. */
static void add_partition(struct candidates *candidates, blkid_partition partition, const char *table, uint64_t bytes)
{
	uint64_t start = (uint64_t)blkid_partition_get_start(partition) * WB_SECTOR;
	uint64_t size = (uint64_t)blkid_partition_get_size(partition) * WB_SECTOR;

	if (blkid_partition_is_extended(partition) || start >= bytes || !size || candidates->count == PARTS_MAX ||
	    is_listed(candidates, start))
		return;

	struct candidate *candidate = &candidates->list[candidates->count++];

	*candidate = (struct candidate){ .number = blkid_partition_get_partno(partition), .start = start,
					 .size = size < bytes - start ? size : bytes - start };
	snprintf(candidate->table, sizeof(candidate->table), "%s", table ? table : "");
}

/* sector 0: that of the device, 512 for an image. */
static void read_table(struct candidates *candidates, int fd, unsigned sector, uint64_t bytes)
{
	blkid_probe probe = blkid_new_probe();

	if (!probe)
		return;
	blkid_probe_enable_partitions(probe, 1);
	blkid_probe_set_partitions_flags(probe, BLKID_PARTS_FORCE_GPT);
	if (!blkid_probe_set_device(probe, fd, 0, 0) && (!sector || !blkid_probe_set_sectorsize(probe, sector))) {
		blkid_partlist list = blkid_probe_get_partitions(probe);
		blkid_parttable table = list ? blkid_partlist_get_table(list) : NULL;
		const char *type = table ? blkid_parttable_get_type(table) : NULL;

		for (int i = 0; list && i < blkid_partlist_numof_partitions(list); i++)
			add_partition(candidates, blkid_partlist_get_partition(list, i), type, bytes);
	}
	blkid_free_probe(probe);
}

/* Every partition, also of the image of a disk with sectors of 4096 bytes. A descriptor of the disk, or -1. */
static int list_partitions(struct candidates *candidates, const char *path, uint64_t bytes)
{
	int fd = open(place_of(path), O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	candidates->count = 0;
	if (fd < 0)
		return -1;
	read_table(candidates, fd, 0, bytes);
	read_table(candidates, fd, WB_BLOCK, bytes);
	return fd;
}

/* Returns how many partitions hold a cache, *first of them. */
static unsigned find_caches(struct candidates *candidates, const char *path, uint64_t bytes, struct candidate **first)
{
	int fd = list_partitions(candidates, path, bytes);
	bool begins = false;
	unsigned found = 0;

	if (fd < 0)
		return 0;
	for (unsigned i = 0; i < candidates->count; i++) {
		look_at_partition(path, fd, &candidates->list[i]);
		begins |= candidates->list[i].begins_as_cache && !candidates->list[i].is_member;
	}
	close(fd);
	for (unsigned i = candidates->count; i-- > 0;) {
		struct candidate *candidate = &candidates->list[i];
		/* where one has a superblock, segments without one are an old log, or one inside of another partition */
		bool may_be = begins ? candidate->begins_as_cache : !candidate->type[0];

		candidate->is_cache = may_be && !candidate->is_member && holds_cache(path, candidate);
		*first = candidate->is_cache ? candidate : *first;
		found += candidate->is_cache;
	}
	return found;
}

static void report_part(const char *path, const struct wb_dev *part, const struct candidate *candidate)
{
	struct json_object *record = report_record("part");

	report_text(record, "device", path);
	report_int(record, "start", wb_dev_start(part));
	report_u64(record, "size", wb_dev_size(part));
	if (candidate) {
		report_int(record, "partition", candidate->number);
		report_text(record, "table", candidate->table);
	}
	report_emit(record);
}

static int open_window(const struct common *common, struct wb_dev **dev, const char *path, int64_t start, uint64_t size,
		       const struct candidate *candidate)
{
	struct wb_error err;

	if (wb_dev_window(dev, *dev, start, size, &err))
		return common_failed(common, path, &err, "nothing was changed");
	common_set_part(path, start);
	report_part(path, *dev, candidate);
	return 0;
}

static int take_partition(const struct common *common, struct wb_dev **dev, const char *path, const struct candidate *candidate,
			  enum part_use use)
{
	if (use == PART_WRITE)
		return common_refuse(common, path, "CACHE has a %s partition table, and partition %d of it holds a cache: give that "
				     "partition, or --start=%" PRIu64 " --size=%" PRIu64, candidate->table, candidate->number,
				     candidate->start, candidate->size);
	common_warn(common, "%s: CACHE has a %s partition table; partition %d holds a cache and is taken: --start=%" PRIu64
		    " --size=%" PRIu64 " (offsets count from there)", path, candidate->table, candidate->number, candidate->start,
		    candidate->size);
	return open_window(common, dev, path, (int64_t)candidate->start, candidate->size, candidate);
}

static void append_caches(const struct candidates *candidates, char *text, size_t size)
{
	for (unsigned i = 0; i < candidates->count; i++)
		if (candidates->list[i].is_cache)
			append_text(text, size, "%s%d (--start=%" PRIu64 " --size=%" PRIu64 ")", text[0] ? ", " : "",
				    candidates->list[i].number, candidates->list[i].start, candidates->list[i].size);
}

static int refuse_several(const struct common *common, const char *path, const struct candidates *candidates)
{
	char text[WORDS] = "";

	append_caches(candidates, text, sizeof(text));
	return common_refuse(common, path, "CACHE has a partition table, and several partitions hold a cache: %s. Give one of them",
			     text);
}

static void warn_of_table(const struct common *common, const char *path, const struct candidates *candidates)
{
	char text[WORDS] = "";

	for (unsigned i = 0; i < candidates->count; i++)
		if (candidates->list[i].type[0])
			append_text(text, sizeof(text), "; partition %d is %s", candidates->list[i].number, candidates->list[i].type);
	make_printable(text);
	common_warn(common, "%s: CACHE has a partition table, and no partition of it holds a cache%s", path, text);
}

static int look_into_table(const struct common *common, struct wb_dev **dev, const char *path, enum part_use use)
{
	struct candidates *candidates = malloc(sizeof(*candidates));
	struct candidate *first = NULL;
	int status = 0;

	if (!candidates)
		return common_refuse(common, path, "out of memory");

	unsigned found = find_caches(candidates, path, wb_dev_size(*dev), &first);

	if (found == 1)
		status = take_partition(common, dev, path, first, use);
	else if (found)
		status = refuse_several(common, path, candidates);
	else if (candidates->count)
		warn_of_table(common, path, candidates);
	free(candidates);
	return status;
}

/* ---- the whole device ---- */

static int refuse_foreign(const struct common *common, const char *path, const char *foreign)
{
	return common_refuse(common, path, "CACHE carries %s, and sector 0 is not that of a cache: is this the right device? "
			     "(--force=signature overrides this)", foreign);
}

static bool has_table(const struct signatures *signatures)
{
	for (unsigned i = 0; i < signatures->count; i++)
		if (signatures->list[i].is_table)
			return true;
	return false;
}

static int judge_whole(const struct common *common, struct wb_dev **dev, const char *path, enum part_use use,
		       const struct signatures *signatures, char *foreign, size_t size)
{
	bool is_cache = carries_header(*dev), forced = common_forced(common, "signature");
	const struct signature *container = find_container(signatures);
	const struct signature *member = find_member(signatures, is_cache);
	int status = 0;

	if (container)
		return refuse_container(common, path, "CACHE", container, "");
	if (member && !forced)
		return refuse_member(common, path, member, use);
	if (!is_cache && has_table(signatures))
		status = look_into_table(common, dev, path, use);
	if (status || wb_dev_start(*dev))
		return status;
	list_foreign(signatures, is_cache, foreign, size);
	return use == PART_WRITE && foreign[0] && !forced ? refuse_foreign(common, path, foreign) : 0;
}

/* ---- --start and --size ---- */

void part_signatures(const struct wb_dev *part, const char *path, struct signatures *signatures)
{
	int64_t start = wb_dev_start(part);
	uint64_t begin = start > 0 ? (uint64_t)start : 0, end = (uint64_t)start + wb_dev_size(part);
	int fd = open(place_of(path), O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	*signatures = (struct signatures){ .incomplete = true };
	if (fd < 0)
		return;
	find_signatures_in(fd, begin, end - begin, signatures);
	close(fd);
}

/* A part of a member, or of a container, is not a part of a disk: nothing is written there without a word. */
static int refuse_larger(const struct common *common, const char *path, bool is_cache, const struct signatures *whole)
{
	const struct signature *member = find_member(whole, is_cache), *container = find_container(whole);

	if (common_forced(common, "signature"))
		return 0;
	if (container)
		return refuse_container(common, path, "CACHE", container, " (--force=signature overrides this)");
	return member ? refuse_member(common, path, member, PART_WRITE) : 0;
}

/* What lies inside of the part counts as on a whole device. */
static int judge_part(const struct common *common, struct wb_dev *part, const char *path, enum part_use use,
		      const struct signatures *whole, char *foreign, size_t size)
{
	bool is_cache = carries_header(part);
	struct signatures inside;
	int status = use == PART_WRITE ? refuse_larger(common, path, is_cache && !wb_dev_start(part), whole) : 0;

	part_signatures(part, path, &inside);
	list_foreign(&inside, is_cache, foreign, size);
	signatures_release(&inside);
	return status || use == PART_LOOK || !foreign[0] || common_forced(common, "signature") ? status :
		       refuse_foreign(common, path, foreign);
}

int part_narrow(const struct common *common, struct wb_dev **dev, const char *path)
{
	struct signatures whole;
	int status = 0;

	if (!common->part.given)
		return 0;
	find_all_signatures(path, &whole);
	status = refuse_larger(common, path, carries_header(*dev), &whole);
	signatures_release(&whole);
	return status ? status : open_window(common, dev, path, common->part.start, common->part.size, NULL);
}

int part_choose(const struct common *common, struct wb_dev **dev, const char *path, enum part_use use, char *foreign,
		size_t size)
{
	struct signatures signatures;
	int status = 0;

	foreign[0] = '\0';
	if (wb_dev_pack_info(*dev)) {
		if (common->part.given)
			usage_error("--start and --size: a pack has no other parts");
		return 0;
	}
	if (common->part.given)
		status = open_window(common, dev, path, common->part.start, common->part.size, NULL);
	if (status)
		return status;
	find_all_signatures(path, &signatures);
	status = common->part.given ? judge_part(common, *dev, path, use, &signatures, foreign, size) :
				      judge_whole(common, dev, path, use, &signatures, foreign, size);
	signatures_release(&signatures);
	return status;
}

void part_list_caches(struct wb_dev *dev, const char *path, const struct signatures *signatures, char *text, size_t size)
{
	struct candidates *candidates = carries_header(dev) || !has_table(signatures) ? NULL : malloc(sizeof(*candidates));
	struct candidate *first = NULL;

	text[0] = '\0';
	if (candidates && find_caches(candidates, path, wb_dev_size(dev), &first))
		append_caches(candidates, text, size);
	free(candidates);
}

/* ---- BACKING ---- */

#define SAMPLE 65536u /* blocks of the log, in each partition */

static bool is_proven(const struct common *common, struct wb_ring *ring, const char *path, const struct candidate *candidate,
		      size_t capacity)
{
	struct wb_dev *part = open_partition(path, candidate);
	struct wb_proof proof;
	bool proven = part && !wb_pair_prove(ring, part, capacity, SAMPLE, &proof, &common->progress, NULL) &&
		      proof.pair == WB_PAIR_PROVEN;

	wb_dev_close(part);
	return proven;
}

/* The device of a partition is named like the disk; behind a digit with a p between. */
static void describe_partition(const char *path, const struct candidate *candidate, char *text, size_t size)
{
	bool digit = path[strlen(path) - 1] >= '0' && path[strlen(path) - 1] <= '9';
	char *quoted = shell_quoted(path);
	struct stat st;

	snprintf(text, size, "partition %d of its %s partition table, from byte %" PRIu64 " on, is the backing device of this cache: ",
		 candidate->number, candidate->table, candidate->start);
	if (!stat(place_of(path), &st) && S_ISBLK(st.st_mode))
		append_text(text, size, "give that partition, %s%s%d", path, digit ? "p" : "", candidate->number);
	else
		append_text(text, size, "attach the image with losetup --find --show --partscan %s, and give /dev/loopNp%d, where N is of the "
			    "name that it prints", quoted ? quoted : path, candidate->number);
	free(quoted);
}

bool part_of_backing(const struct common *common, struct wb_ring *ring, const char *path, size_t capacity, char *text, size_t size)
{
	struct candidates *candidates = malloc(sizeof(*candidates));
	int fd = candidates ? list_partitions(candidates, path, UINT64_MAX) : -1;
	bool found = false;

	text[0] = '\0';
	for (unsigned i = 0; fd >= 0 && i < candidates->count && !found; i++) {
		found = is_proven(common, ring, path, &candidates->list[i], capacity);
		if (found)
			describe_partition(path, &candidates->list[i], text, size);
	}
	if (fd >= 0)
		close(fd);
	free(candidates);
	return found;
}
