/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cmd/part.c: the cache is found on the device that was given, and what belongs to others is not taken for one. A matrix of
 * images: every kind of cache in every partition table, at several places.
 */
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>
#include <zlib.h>

#include "cache_builder.h"
#include "common.h"
#include "part.h"

#define AFTER (1u << 20) /* bytes behind the cache: the copy of a GPT, the superblock of a mirror */

static char folder[PATH_MAX], path[PATH_MAX + 16];

/* ---- what was said ---- */

static char said[8192];

static int quiet_choose(const struct common *common, struct wb_dev **dev, enum part_use use, char *foreign)
{
	char name[sizeof(path)];
	int standard = dup(STDERR_FILENO), status;

	snprintf(name, sizeof(name), "%s/said", folder);
	fflush(stderr);
	assert_non_null(freopen(name, "w+", stderr));
	status = part_choose(common, dev, path, use, foreign, 512);
	fflush(stderr);
	rewind(stderr);
	said[fread(said, 1, sizeof(said) - 1, stderr)] = '\0';
	fflush(stderr);
	assert_int_equal(dup2(standard, STDERR_FILENO), STDERR_FILENO);
	close(standard);
	return status;
}

struct choice {
	int status;
	int64_t start;
	uint64_t size;
	char foreign[512];
};

static const char *const forces[] = { "signature", NULL };

static struct choice choose(enum part_use use, bool given, int64_t start, uint64_t size, bool forced)
{
	struct common common = { .tool = "test", .force_names = forces, .forced = forced,
				 .part = { .given = given, .start = start, .size = size } };
	struct choice choice = { .status = 0 };
	struct wb_dev *dev;

	assert_int_equal(wb_dev_open(&dev, path, WB_OPEN_READ, NULL), 0);
	choice.status = quiet_choose(&common, &dev, use, choice.foreign);
	choice.start = wb_dev_start(dev);
	choice.size = wb_dev_size(dev);
	wb_dev_close(dev);
	return choice;
}

/* ---- images ---- */

struct image {
	uint8_t *bytes;
	uint64_t size, start, length; /* of the whole; of the cache in it */
};

static void put(struct image *image, uint64_t offset, const void *bytes, size_t size)
{
	assert_true(offset + size <= image->size);
	memcpy(image->bytes + offset, bytes, size);
}

static void write_image(const struct image *image)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0 && !ftruncate(fd, (off_t)image->size));
	for (uint64_t at = 0; at < image->size; at += WB_BLOCK) {
		size_t n = image->size - at < WB_BLOCK ? image->size - at : WB_BLOCK;

		if (!wb_all_bytes(image->bytes + at, n, 0))
			assert_int_equal(pwrite(fd, image->bytes + at, n, (off_t)at), n);
	}
	close(fd);
}

/* ---- kinds of caches ---- */

struct kind {
	const char *name, *format;
	unsigned order;
	uint32_t slots;
	uint64_t last;  /* id; the first is 1 */
	enum { SOUND, ENDED, ZEROED, DAMAGED } super;
};

static const struct kind kinds[] = {
	{ "v2, first lap", "v2", 10, 6, 4, SOUND },
	{ "v2, second lap", "v2", 10, 4, 7, SOUND },
	{ "v2, a whole lap", "v2", 10, 4, 8, SOUND },
	{ "v1 of small segments", "v1", 7, 16, 40, SOUND },
	{ "v0", "v0", 7, 16, 21, SOUND },
	{ "ended", "v2", 10, 4, 7, ENDED },
	{ "sector 0 zeroed", "v2", 10, 4, 7, ZEROED },
	{ "sector 0 damaged", "v2", 10, 4, 7, DAMAGED },
};

static void set_super(struct build *b, const struct kind *kind)
{
	const struct wb_marker marker = { .reason = WB_END_FLUSHED, .time = 1, .head = kind->last };

	if (kind->super == ENDED)
		wb_marker_encode(b->bytes, &marker);
	else if (kind->super != SOUND)
		memset(b->bytes, kind->super == ZEROED ? 0 : 0x5c, WB_SECTOR);
}

static struct image image_of(const struct kind *kind, uint64_t start)
{
	struct image image = { .start = start };
	struct build b;

	build_init(&b, kind->format, kind->order, kind->slots);
	build_log(&b, 1, kind->last, 1000);
	set_super(&b, kind);
	image.length = b.geometry.bytes;
	image.size = start + b.geometry.bytes + AFTER;
	image.bytes = calloc(1, image.size);
	assert_non_null(image.bytes);
	put(&image, start, b.bytes, b.geometry.bytes);
	build_release(&b);
	return image;
}

/* ---- partition tables ---- */

/* UEFI 2.9, 5.3: headers at block 1 and the last one, 128 entries of 128 bytes each. */
static void put_gpt_header(struct image *image, unsigned sector, uint64_t own, uint64_t other, uint64_t entries, uint32_t sum)
{
	uint8_t header[92] = "EFI PART";
	uint64_t last = image->size / sector - 1;

	wb_put_le(header + 8, 4, 0x00010000);
	wb_put_le(header + 12, 4, sizeof(header));
	wb_put_le(header + 24, 8, own);
	wb_put_le(header + 32, 8, other);
	wb_put_le(header + 40, 8, 2 + 16384 / sector);
	wb_put_le(header + 48, 8, last - 1 - 16384 / sector);
	memset(header + 56, 0x11, 16);
	wb_put_le(header + 72, 8, entries);
	wb_put_le(header + 80, 4, 128);
	wb_put_le(header + 84, 4, 128);
	wb_put_le(header + 88, 4, sum);
	wb_put_le(header + 16, 4, crc32(0, header, sizeof(header)));
	put(image, own * sector, header, sizeof(header));
}

static void put_mbr_entry(struct image *image, uint64_t sector, unsigned entry, uint8_t type, uint64_t start, uint64_t size)
{
	uint8_t bytes[16] = { 0 };

	bytes[4] = type;
	wb_put_le(bytes + 8, 4, start);
	wb_put_le(bytes + 12, 4, size);
	put(image, sector * WB_SECTOR + 446 + 16 * entry, bytes, sizeof(bytes));
	put(image, sector * WB_SECTOR + 510, "\x55\xaa", 2);
}

static void put_gpt(struct image *image, unsigned sector)
{
	uint8_t entries[16384] = { 0 };
	uint64_t last = image->size / sector - 1;

	memset(entries, 0x22, 16);
	memset(entries + 16, 0x33, 16);
	wb_put_le(entries + 32, 8, image->start / sector);
	wb_put_le(entries + 40, 8, (image->start + image->length) / sector - 1);

	uint32_t sum = (uint32_t)crc32(0, entries, sizeof(entries));

	put_mbr_entry(image, 0, 0, 0xee, 1, last);
	put(image, 2 * sector, entries, sizeof(entries));
	put(image, (last - 16384 / sector) * sector, entries, sizeof(entries));
	put_gpt_header(image, sector, 1, last, 2, sum);
	put_gpt_header(image, sector, last, 1, last - 16384 / sector, sum);
}

static void gpt(struct image *image)
{
	put_gpt(image, 512);
}

static void gpt_4096(struct image *image)
{
	put_gpt(image, 4096);
}

static void dos(struct image *image)
{
	put_mbr_entry(image, 0, 1, 0x83, image->start / WB_SECTOR, image->length / WB_SECTOR);
}

/* Addresses count in sectors of 4096 bytes. */
static void dos_4096(struct image *image)
{
	put_mbr_entry(image, 0, 0, 0x83, image->start / 4096, image->length / 4096);
}

/* An extended partition from sector 16 on, whose first logical one is the cache. */
static void dos_logical(struct image *image)
{
	uint64_t begin = image->start / WB_SECTOR, end = begin + image->length / WB_SECTOR;

	put_mbr_entry(image, 0, 0, 0x05, 16, end - 16);
	put_mbr_entry(image, 16, 0, 0x83, begin - 16, image->length / WB_SECTOR);
}

static const struct {
	const char *name;
	void (*put)(struct image *image);
	unsigned align; /* of starts */
	const char *table;
} tables[] = {
	{ "gpt", gpt, 512, "gpt" },
	{ "gpt, sectors of 4096", gpt_4096, 4096, "gpt" },
	{ "dos", dos, 512, "dos" },
	{ "dos, sectors of 4096", dos_4096, 4096, "dos" },
	{ "dos, logical", dos_logical, 512, "dos" },
};

/* Of sectors of 63 as of old, of 1 MiB as now, and where slots of the whole disk would lie. */
static const uint64_t starts[] = { 63 * 512, 1 << 20, (1 << 20) + (3 << 19), 5 << 20 };

static void assert_choice(struct choice got, int status, uint64_t start, uint64_t size, const char *layout)
{
	if (got.status != status || got.start != (int64_t)start || got.size != size)
		fail_msg("%s: status %d, start %lld, size %llu: %s", layout, got.status, (long long)got.start,
			 (unsigned long long)got.size, said);
}

static void check_partition(const struct image *image, const char *table, const char *layout)
{
	char option[128];

	write_image(image);
	assert_choice(choose(PART_LOOK, false, 0, 0, false), 0, image->start, image->length, layout);
	snprintf(option, sizeof(option), "--start=%llu --size=%llu", (unsigned long long)image->start,
		 (unsigned long long)image->length);
	assert_non_null(strstr(said, option));
	assert_non_null(strstr(said, table));
	assert_choice(choose(PART_WRITE, false, 0, 0, false), EXIT_REFUSED, 0, image->size, layout);
	assert_non_null(strstr(said, option));
	assert_choice(choose(PART_WRITE, true, (int64_t)image->start, image->length, false), 0, image->start, image->length, layout);
}

static void cache_in_a_partition_is_found_and_written_only_with_start(void **state)
{
	char layout[256];

	(void)state;
	for (size_t k = 0; k < LENGTH_OF(kinds); k++)
		for (size_t t = 0; t < LENGTH_OF(tables); t++)
			for (size_t s = 0; s < LENGTH_OF(starts); s++) {
				struct image image = image_of(&kinds[k], starts[s]);

				snprintf(layout, sizeof(layout), "%s in %s at %llu", kinds[k].name, tables[t].name,
					 (unsigned long long)starts[s]);
				if (starts[s] % tables[t].align == 0) {
					tables[t].put(&image);
					check_partition(&image, tables[t].table, layout);
				}
				free(image.bytes);
			}
}

/* ---- members of something larger ---- */

/* lib/label/label.h, format_text/layout.h: the label in sector 1, data from 1 MiB on. */
static void lvm(struct image *image)
{
	uint8_t label[512] = "LABELONE";
	uint32_t crc = 0xf597a6cf;

	wb_put_le(label + 8, 8, 1);
	wb_put_le(label + 20, 4, 32);
	memcpy(label + 24, "LVM2 001", 8);
	memset(label + 32, 'a', 32);
	wb_put_le(label + 64, 8, image->size);
	for (unsigned i = 20; i < sizeof(label); i++) {
		crc ^= label[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	wb_put_le(label + 16, 4, crc);
	put(image, 512, label, sizeof(label));
}

/* md_p.h, struct mdp_superblock_1 */
static void put_md(struct image *image, uint64_t offset, uint64_t data)
{
	uint8_t super[260] = { 0 };
	uint64_t sum = 0;

	wb_put_le(super, 4, 0xa92b4efc);
	wb_put_le(super + 4, 4, 1);
	memset(super + 16, 7, 16);
	memcpy(super + 32, "host:cache", 10);
	wb_put_le(super + 72, 4, 1);
	wb_put_le(super + 80, 8, (image->size - data - 65536) / WB_SECTOR);
	wb_put_le(super + 92, 4, 2);
	wb_put_le(super + 128, 8, data / WB_SECTOR);
	wb_put_le(super + 136, 8, (image->size - data - 65536) / WB_SECTOR);
	wb_put_le(super + 144, 8, offset / WB_SECTOR);
	wb_put_le(super + 220, 4, 2);
	for (unsigned i = 0; i < sizeof(super); i += 4)
		sum += wb_get_le(super + i, 4);
	wb_put_le(super + 216, 4, (uint32_t)sum + (uint32_t)(sum >> 32));
	put(image, offset, super, sizeof(super));
}

static void md_1_0(struct image *image)
{
	put_md(image, (image->size / WB_SECTOR - 16) / 8 * 8 * WB_SECTOR, image->start);
}

static void md_1_1(struct image *image)
{
	put_md(image, 0, image->start);
}

static void md_1_2(struct image *image)
{
	put_md(image, 4096, image->start);
}

/* SNIA: Common RAID DDF, the anchor header in the last sector */
static void ddf(struct image *image)
{
	uint8_t anchor[512] = { 0xde, 0x11, 0xde, 0x11 };

	memset(anchor + 8, 'g', 24);
	memcpy(anchor + 32, "01.02.00", 8);
	wb_put_le(anchor + 96, 8, 0);
	put(image, image->size - 512, anchor, sizeof(anchor));
}

/* platform-intel.h, super-intel.c of mdadm: the last sector but one */
static void imsm(struct image *image)
{
	put(image, image->size - 1024, "Intel Raid ISM Cfg Sig. 1.3.00", 30);
}

static void luks(struct image *image)
{
	static const char header[] = "LUKS\xba\xbe\0\1aes";

	put(image, 0, header, sizeof(header));
	put(image, 168, "0f3c7f0e-1111-2222-3333-444455556666", 37);
}

static const struct {
	const char *name, *type;
	void (*put)(struct image *image);
	uint64_t start; /* of the cache */
} members[] = {
	{ "LVM", "LVM2_member", lvm, 1 << 20 },
	{ "md 1.0", "linux_raid_member", md_1_0, 0 },
	{ "md 1.1", "linux_raid_member", md_1_1, 1 << 20 },
	{ "md 1.2", "linux_raid_member", md_1_2, 2 << 20 },
	{ "ddf", "ddf_raid_member", ddf, 0 },
	{ "imsm", "isw_raid_member", imsm, 0 },
	{ "LUKS", "crypto_LUKS", luks, 2 << 20 },
};

static void member_of_something_larger_is_named_and_never_a_cache(void **state)
{
	(void)state;
	for (size_t k = 0; k < LENGTH_OF(kinds); k++)
		for (size_t m = 0; m < LENGTH_OF(members); m++) {
			struct image image = image_of(&kinds[k], members[m].start);

			members[m].put(&image);
			write_image(&image);
			for (int use = PART_LOOK; use <= PART_WRITE; use++) {
				assert_choice(choose((enum part_use)use, false, 0, 0, false), EXIT_REFUSED, 0, image.size,
					      members[m].name);
				if (!strstr(said, members[m].type))
					fail_msg("%s: %s", members[m].name, said);
			}
			/* a look at this part alone is harmless */
			assert_choice(choose(PART_LOOK, true, (int64_t)image.start, image.length, false), 0, image.start,
				      image.length, members[m].name);
			assert_choice(choose(PART_WRITE, true, (int64_t)image.start, image.length, false), EXIT_REFUSED, image.start,
				      image.length, members[m].name);
			assert_choice(choose(PART_WRITE, true, (int64_t)image.start, image.length, true), 0, image.start,
				      image.length, members[m].name);
			free(image.bytes);
		}
}

/* ---- the whole device ---- */

/* Drivers write sector 0 and the slots: whatever else was in the first MiB stays there. */
static void what_drivers_leave_beside_a_superblock_is_no_reason(void **state)
{
	static void (*const leftovers[])(struct image *image) = { lvm, md_1_2, dos, gpt };
	uint8_t super[4];

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(leftovers); i++) {
		struct image image = image_of(&kinds[1], 0);

		memcpy(super, image.bytes, sizeof(super));
		image.start = 1 << 20; /* what a table speaks of */
		leftovers[i](&image);
		put(&image, 0, super, sizeof(super));
		write_image(&image);
		assert_choice(choose(PART_LOOK, false, 0, 0, false), 0, 0, image.size, "left over");
		assert_choice(choose(PART_WRITE, false, 0, 0, false), 0, 0, image.size, "left over");
		free(image.bytes);
	}
}

static void table_over_the_superblock_is_not_written_over(void **state)
{
	static const struct kind kind = { "damaged", "v2", 10, 4, 7, ZEROED };
	struct image image = image_of(&kind, 0);
	struct choice choice;

	(void)state;
	put_mbr_entry(&image, 0, 0, 0x83, 64, 64);
	write_image(&image);
	choice = choose(PART_LOOK, false, 0, 0, false);
	assert_int_equal(choice.status, 0);
	assert_non_null(strstr(choice.foreign, "dos partition table"));
	assert_non_null(strstr(said, "no partition of it holds a cache"));
	assert_int_equal(choose(PART_WRITE, false, 0, 0, false).status, EXIT_REFUSED);
	assert_non_null(strstr(said, "--force=signature"));
	assert_int_equal(choose(PART_WRITE, true, 0, image.length, false).status, EXIT_REFUSED);
	assert_int_equal(choose(PART_WRITE, false, 0, 0, true).status, 0);
	free(image.bytes);
}

static void of_two_caches_none_is_chosen(void **state)
{
	struct image image = image_of(&kinds[0], 1 << 20), other = image_of(&kinds[1], 0);

	(void)state;
	image.bytes = realloc(image.bytes, image.size + other.size);
	assert_non_null(image.bytes);
	put_mbr_entry(&image, 0, 0, 0x83, image.start / WB_SECTOR, image.length / WB_SECTOR);
	put_mbr_entry(&image, 0, 1, 0x83, image.size / WB_SECTOR, other.length / WB_SECTOR);
	memcpy(image.bytes + image.size, other.bytes, other.size);
	image.size += other.size;
	write_image(&image);
	assert_int_equal(choose(PART_LOOK, false, 0, 0, false).status, EXIT_REFUSED);
	assert_non_null(strstr(said, "--start=1048576 "));
	free(image.bytes);
	free(other.bytes);
}

static void member_in_a_partition_is_named_and_no_cache(void **state)
{
	struct image leg = image_of(&kinds[1], 0), disk = { .start = 1 << 20 };

	(void)state;
	md_1_0(&leg);
	disk.length = leg.size;
	disk.size = disk.start + leg.size + AFTER;
	disk.bytes = calloc(1, disk.size);
	assert_non_null(disk.bytes);
	put(&disk, disk.start, leg.bytes, leg.size);
	gpt(&disk);
	write_image(&disk);
	choose(PART_LOOK, false, 0, 0, false);
	assert_non_null(strstr(said, "no partition of it holds a cache; partition 1 is linux_raid_member"));
	assert_int_equal(choose(PART_WRITE, true, (int64_t)disk.start, disk.length, false).status, EXIT_REFUSED);
	assert_int_equal(choose(PART_WRITE, true, (int64_t)disk.start, disk.length, true).status, 0);
	free(disk.bytes);
	free(leg.bytes);
}

static void containers_are_named_with_what_opens_them(void **state)
{
	static const struct { const char *magic, *name, *tool; unsigned length; } files[] = {
		{ "QFI\xfb\0\0\0\3", "qcow2", "qemu-nbd", 8 },
		{ "KDMV", "VMDK", "qemu-nbd", 4 },
		{ "<<< Oracle VM VirtualBox Disk Image >>>\n", "VDI", "qemu-nbd", 40 },
		{ "conectix", "VHD", "qemu-nbd", 8 },
		{ "vhdxfile", "VHDX", "qemu-nbd", 8 },
		{ "\x1f\x8b\x08\0", "gzip", "gzip -dk", 4 },
		{ "\xfd" "7zXZ\0", "xz", "xz -dk", 6 },
		{ "\x28\xb5\x2f\xfd", "zstd", "zstd -d", 4 },
		{ "BZh91AY&SY", "bzip2", "bzip2 -dk", 10 },
		{ "\x04\x22\x4d\x18", "lz4", "lz4 -d", 4 },
		{ "EVF\t\r\n\xff\0", "EWF", "ewfmount", 8 },
		{ "partclone-image", "partclone", "partclone.restore", 15 },
		{ "# Mapfile. Created by GNU ddrescue version 1.27\n", "map of GNU ddrescue", "--cache-map", 48 },
		{ "# Rescue Logfile. Created by GNU ddrescue version 1.17\n", "map of GNU ddrescue", "--cache-map", 55 },
	};
	struct image image = image_of(&kinds[6], 0); /* its segments prove a log, and still it is none */

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(files); i++) {
		memset(image.bytes, 0, WB_SECTOR);
		put(&image, 0, files[i].magic, files[i].length);
		write_image(&image);
		for (int use = PART_LOOK; use <= PART_WRITE; use++) {
			assert_int_equal(choose((enum part_use)use, false, 0, 0, true).status, EXIT_REFUSED);
			assert_non_null(strstr(said, files[i].name));
			assert_non_null(strstr(said, files[i].tool));
		}
	}
	free(image.bytes);
}

static void part_that_begins_before_the_device_is_taken(void **state)
{
	struct image image = image_of(&kinds[1], 0);

	(void)state;
	write_image(&image);
	assert_choice(choose(PART_LOOK, true, -1048576, 0, false), 0, (uint64_t)-1048576, image.size + 1048576, "negative");
	assert_choice(choose(PART_LOOK, true, (int64_t)image.size, 0, false), EXIT_REFUSED, 0, image.size, "behind the end");
	free(image.bytes);
}

static int begin(void **state)
{
	const char *place = getenv("TMPDIR");

	(void)state;
	snprintf(folder, sizeof(folder), "%.1000s/test_part.XXXXXX", place && *place ? place : "/tmp");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/disk.img", folder);
	return 0;
}

static int end(void **state)
{
	char name[sizeof(path)];

	(void)state;
	snprintf(name, sizeof(name), "%s/said", folder);
	unlink(name);
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cache_in_a_partition_is_found_and_written_only_with_start),
		cmocka_unit_test(member_of_something_larger_is_named_and_never_a_cache),
		cmocka_unit_test(what_drivers_leave_beside_a_superblock_is_no_reason),
		cmocka_unit_test(table_over_the_superblock_is_not_written_over),
		cmocka_unit_test(of_two_caches_none_is_chosen),
		cmocka_unit_test(member_in_a_partition_is_named_and_no_cache),
		cmocka_unit_test(containers_are_named_with_what_opens_them),
		cmocka_unit_test(part_that_begins_before_the_device_is_taken),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
