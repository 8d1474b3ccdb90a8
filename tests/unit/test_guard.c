/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cmd/guard.c on trees that look like /sys, /proc and /dev: a file below the tree's dev that holds MAJ:MIN stands for
 * that block device. Every test begins with an empty tree.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../cmd/guard.h"
#include "../../cmd/place.h"

/* ---- the tree ---- */

static char top[] = "/tmp/test_guard.XXXXXX";

#define PRINT(text, format)                                  \
	do {                                                 \
		va_list args;                                \
		va_start(args, format);                      \
		vsnprintf(text, sizeof(text), format, args); \
		va_end(args);                                \
	} while (0)

/* "dev/sda" with the tree's directory before it; in one of a few static buffers. */
__attribute__((format(printf, 1, 2))) static const char *at(const char *format, ...)
{
	static char paths[8][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % 8], name[PATH_MAX / 2];

	PRINT(name, format);
	snprintf(path, PATH_MAX, "%s/%s", top, name);
	return path;
}

static void make_parents(const char *path)
{
	char parent[PATH_MAX];

	for (const char *p = path + strlen(top) + 1; (p = strchr(p, '/')); p++) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(p - path), path);
		mkdir(parent, 0700);
	}
}

static void put_bytes(const char *path, const void *bytes, size_t size)
{
	make_parents(path);
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

__attribute__((format(printf, 2, 3))) static void put(const char *path, const char *format, ...)
{
	char text[PATH_MAX];

	PRINT(text, format);
	put_bytes(path, text, strlen(text));
}

static void put_link(const char *path, const char *target)
{
	make_parents(path);
	assert_int_equal(symlink(target, path), 0);
}

/* What disks, partitions and loop devices have in common; place is below sys/devices. */
static void add_device(const char *place, const char *number, uint64_t sectors)
{
	const char *name = strrchr(place, '/') ? strrchr(place, '/') + 1 : place;

	put(at("dev/%s", name), "%s\n", number);
	put(at("sys/devices/%s/dev", place), "%s\n", number);
	put(at("sys/devices/%s/size", place), "%llu\n", (unsigned long long)sectors);
	put_link(at("sys/dev/block/%s", number), at("sys/devices/%s", place));
}

static void add_disk(const char *name, const char *number, uint64_t sectors)
{
	add_device(name, number, sectors);
	put_link(at("sys/block/%s", name), at("sys/devices/%s", name));
	put(at("sys/devices/%s/queue/logical_block_size", name), "512\n");
	put(at("sys/devices/%s/queue/physical_block_size", name), "4096\n");
}

static void add_partition(const char *place, const char *number, uint64_t start, uint64_t sectors)
{
	add_device(place, number, sectors);
	put(at("sys/devices/%s/partition", place), "1\n");
	put(at("sys/devices/%s/start", place), "%llu\n", (unsigned long long)start);
}

static void add_loop(const char *name, const char *number, const char *file, uint64_t offset, uint64_t sectors)
{
	put(at("sys/devices/%s/loop/backing_file", name), "%s\n", file); /* first: at() has few buffers */
	add_disk(name, number, sectors);
	put(at("sys/devices/%s/loop/offset", name), "%llu\n", (unsigned long long)offset);
}

static void add_holder(const char *place, const char *holder)
{
	put_link(at("sys/devices/%s/holders/%s", place, holder), at("sys/devices/%s", holder));
}

static const char *add_image(const char *name, off_t size)
{
	put(at("%s", name), "%s", "");
	assert_int_equal(truncate(at("%s", name), size), 0);
	return at("%s", name);
}

static void write_at(const char *path, long offset, const void *bytes, size_t size)
{
	FILE *file = fopen(path, "r+");

	assert_non_null(file);
	assert_int_equal(fseek(file, offset, SEEK_SET), 0);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

static void read_at(const char *path, long offset, void *bytes, size_t size)
{
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	assert_int_equal(fseek(file, offset, SEEK_SET), 0);
	assert_int_equal(fread(bytes, 1, size, file), size);
	fclose(file);
}

static void mount_at(const char *number, const char *where, const char *source)
{
	put(at("proc/self/mountinfo"),
	    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
	    "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
	    "99 27 %s / %s rw,noatime shared:2 master:1 - ext4 %s rw\n", number, where, source);
}

static void swap_on(const char *path)
{
	put(at("proc/swaps"), "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n%s  file\t\t16380\t\t0\t\t-2\n", path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int begin(void **state)
{
	(void)state;
	strcpy(top + sizeof(top) - 7, "XXXXXX");
	if (!mkdtemp(top))
		return -1;
	setenv("WB_TEST_SYS", at("sys"), 1);
	setenv("WB_TEST_PROC", at("proc"), 1);
	setenv("WB_TEST_DEV", at("dev"), 1);
	return 0;
}

static int end(void **state)
{
	(void)state;
	place_forget();
	return nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* sda of 1 GiB: sda1 sectors 2048 to 1026047, sda2 the rest */
static void two_partitions(void)
{
	add_disk("sda", "8:0", 2097152);
	add_partition("sda/sda1", "8:1", 2048, 1024000);
	add_partition("sda/sda2", "8:2", 1026048, 1071104);
}

static void logical_volume_on(const char *place)
{
	add_disk("dm-3", "253:3", 4096);
	put(at("sys/devices/dm-3/dm/name"), "vg0-root\n");
	add_holder(place, "dm-3");
}

static void assert_held(const char *path, const char *words)
{
	char text[1024];

	assert_true(holder_of(path, text, sizeof(text)));
	assert_string_equal(text, words);
}

static void assert_free(const char *path)
{
	char text[1024];

	if (holder_of(path, text, sizeof(text)))
		fail_msg("%s: %s", path, text);
	assert_string_equal(text, "");
}

/* ---- who holds it ---- */

static void an_idle_disk_is_free(void **state)
{
	(void)state;
	two_partitions();
	mount_at("8:17", "/mnt/other", "/dev/sdb1");
	assert_free(at("dev/sda"));
	assert_free(at("dev/sda1"));
}

static void a_mount_is_named_with_its_blanks(void **state)
{
	(void)state;
	two_partitions();
	mount_at("8:1", "/mnt/my\\040data", "/dev/sda1");
	assert_held(at("dev/sda1"), "mounted on /mnt/my data");
}

static void a_control_character_in_a_mount_point_is_not_printed(void **state)
{
	(void)state;
	two_partitions();
	mount_at("8:1", "/mnt/\\033[2J", "/dev/sda1");
	assert_held(at("dev/sda1"), "mounted on /mnt/?[2J");
}

static void a_mount_with_a_number_of_its_own_is_found_by_its_source(void **state)
{
	(void)state;
	two_partitions();
	mount_at("0:45", "/srv", at("dev/sda2"));
	assert_held(at("dev/sda2"), "mounted on /srv");
}

static void a_mounted_partition_holds_its_disk_but_no_sibling(void **state)
{
	(void)state;
	two_partitions();
	mount_at("8:1", "/boot", "/dev/sda1");
	assert_held(at("dev/sda"), "its partition sda1 is mounted on /boot");
	assert_free(at("dev/sda2"));
}

static void a_mapped_disk_holds_its_partitions(void **state)
{
	(void)state;
	two_partitions();
	logical_volume_on("sda");
	assert_held(at("dev/sda"), "mapped by dm-3 (vg0-root)");
	assert_held(at("dev/sda2"), "its disk sda is mapped by dm-3 (vg0-root)");
}

static void what_a_mapping_is_used_for_is_said_too(void **state)
{
	(void)state;
	two_partitions();
	logical_volume_on("sda/sda2");
	mount_at("253:3", "/srv", "/dev/mapper/vg0-root");
	assert_held(at("dev/sda2"), "mapped by dm-3 (vg0-root), which is mounted on /srv");
	assert_held(at("dev/sda"), "its partition sda2 is mapped by dm-3 (vg0-root), which is mounted on /srv");
}

static void a_mapping_is_found_by_its_name(void **state)
{
	char name[64] = "";

	(void)state;
	two_partitions();
	logical_volume_on("sda/sda2");
	assert_true(mapping_of(at("dev/sda2"), name, sizeof(name)));
	assert_string_equal(name, "vg0-root");
	assert_false(mapping_of(at("dev/sda1"), name, sizeof(name)));
	assert_false(mapping_of(at("missing"), name, sizeof(name)));
	add_disk("md0", "9:0", 4096);
	add_holder("sda/sda1", "md0");
	assert_false(mapping_of(at("dev/sda1"), name, sizeof(name)));
}

static void a_raid_and_its_mounted_partition_are_named(void **state)
{
	(void)state;
	two_partitions();
	add_disk("md0", "9:0", 4096);
	add_partition("md0/md0p1", "259:0", 8, 4000);
	add_holder("sda/sda1", "md0");
	mount_at("259:0", "/home", "/dev/md0p1");
	assert_held(at("dev/sda1"), "a member of the raid md0, whose partition md0p1 is mounted on /home");
}

static void other_holders_are_named(void **state)
{
	(void)state;
	two_partitions();
	add_disk("bcache0", "251:0", 4096);
	add_holder("sda/sda1", "bcache0");
	assert_held(at("dev/sda1"), "held by bcache0");
}

static void holders_in_a_circle_end(void **state)
{
	char text[200];

	(void)state;
	add_disk("sda", "8:0", 4096);
	add_holder("sda", "sda");
	assert_true(holder_of(at("dev/sda"), text, sizeof(text)));
	assert_true(strlen(text) < sizeof(text));
}

static void swap_on_a_partition_is_named(void **state)
{
	(void)state;
	two_partitions();
	swap_on(at("dev/sda1"));
	assert_held(at("dev/sda1"), "in use as swap");
	assert_held(at("dev/sda"), "its partition sda1 is in use as swap");
}

static void an_image_that_is_a_swap_file_is_held(void **state)
{
	(void)state;
	add_image("swap file.img", 65536);
	swap_on(at("swap\\040file.img"));
	assert_held(at("swap file.img"), "in use as swap");
	add_image("other.img", 65536);
	assert_free(at("other.img"));
}

static void an_image_behind_a_loop_device_is_held(void **state)
{
	(void)state;
	add_image("disk.img", 1 << 20);
	add_loop("loop2", "7:2", at("disk.img"), 0, 2048);
	assert_int_equal(link(at("disk.img"), at("alias.img")), 0);
	assert_held(at("disk.img"), "the backing file of /dev/loop2");
	assert_held(at("alias.img"), "the backing file of /dev/loop2");
	add_image("other.img", 1 << 20);
	assert_free(at("other.img"));
}

static void what_a_loop_device_is_used_for_is_said_too(void **state)
{
	(void)state;
	add_image("disk.img", 1 << 20);
	add_loop("loop2", "7:2", at("disk.img"), 0, 2048);
	add_partition("loop2/loop2p1", "259:1", 8, 1024);
	mount_at("7:2", "/mnt", "/dev/loop2");
	assert_held(at("disk.img"), "the backing file of /dev/loop2, which is mounted on /mnt");
	mount_at("259:1", "/mnt", "/dev/loop2p1");
	assert_held(at("disk.img"), "the backing file of /dev/loop2, whose partition loop2p1 is mounted on /mnt");
	assert_held(at("dev/loop2"), "its partition loop2p1 is mounted on /mnt");
}

static void an_idle_loop_device_is_free_itself(void **state)
{
	(void)state;
	add_image("disk.img", 1 << 20);
	add_loop("loop2", "7:2", at("disk.img"), 0, 2048);
	assert_free(at("dev/loop2"));
}

static void a_second_loop_device_over_the_same_bytes_holds_them(void **state)
{
	(void)state;
	add_image("disk.img", 1 << 20);
	add_loop("loop2", "7:2", at("disk.img"), 0, 1024);
	add_loop("loop3", "7:3", at("disk.img"), 524288, 1024);
	assert_free(at("dev/loop2"));
	add_loop("loop4", "7:4", at("disk.img"), 524288 - 512, 1);
	assert_held(at("dev/loop2"), "on the same bytes as /dev/loop4");
	assert_free(at("dev/loop3"));
}

static void a_loop_device_over_a_partition_holds_it_and_its_disk(void **state)
{
	(void)state;
	two_partitions();
	add_loop("loop2", "7:2", at("dev/sda1"), 0, 1024000);
	assert_held(at("dev/sda1"), "the backing device of /dev/loop2");
	assert_held(at("dev/sda"), "on the same bytes as /dev/loop2");
	assert_free(at("dev/sda2"));
}

static void without_proc_and_sys_nothing_is_known_and_nothing_fails(void **state)
{
	struct identity identity;
	char text[64] = "left over";

	(void)state;
	add_image("disk.img", 8192);
	put(at("dev/sda"), "8:0\n");
	assert_free(at("disk.img"));
	assert_free(at("dev/sda"));
	assert_free(at("missing"));
	assert_false(devices_overlap(at("dev/sda"), at("disk.img"), text, sizeof(text)));
	assert_string_equal(text, "");
	identify(at("dev/sda"), &identity);
	assert_true(identity.is_block);
	assert_int_equal(identity.size, 0);
	assert_null(identity.model);
	identity_release(&identity);
	identify(at("missing"), &identity);
	assert_null(identity.type);
	identity_release(&identity);
}

static void without_sys_proc_still_counts_and_the_other_way_round(void **state)
{
	(void)state;
	put(at("dev/sda"), "8:0\n");
	mount_at("8:0", "/mnt", "/dev/sda");
	assert_held(at("dev/sda"), "mounted on /mnt");
	add_disk("sdb", "8:16", 4096);
	logical_volume_on("sdb");
	unlink(at("proc/self/mountinfo"));
	assert_held(at("dev/sdb"), "mapped by dm-3 (vg0-root)");
}

static void broken_lines_of_proc_are_passed_over(void **state)
{
	(void)state;
	add_disk("sda", "8:0", 4096);
	put(at("proc/self/mountinfo"), "\n1 2\n1 2 8:0 / /mnt rw\n1 2 8:0 / /mnt rw - ext4\n1 2 x / /m rw - a b c\n\\0");
	put(at("proc/swaps"), "\n \n\\\n\\04");
	assert_free(at("dev/sda"));
}

/* ---- what overlaps ---- */

static void assert_overlap(const char *a, const char *b, const char *words)
{
	char text[256];

	assert_true(devices_overlap(a, b, text, sizeof(text)));
	assert_string_equal(text, words);
	assert_true(devices_overlap(b, a, text, sizeof(text)));
	assert_string_equal(text, words);
}

static void assert_apart(const char *a, const char *b)
{
	char text[256];

	assert_false(devices_overlap(a, b, text, sizeof(text)));
	assert_false(devices_overlap(b, a, text, sizeof(text)));
}

static void the_same_device_under_two_names_overlaps(void **state)
{
	(void)state;
	two_partitions();
	put_link(at("dev/disk/by-id/ata-x"), at("dev/sda"));
	assert_overlap(at("dev/sda"), at("dev/sda"), "the same device");
	assert_overlap(at("dev/sda"), at("dev/disk/by-id/ata-x"), "the same device");
}

static void the_same_image_under_two_names_overlaps(void **state)
{
	(void)state;
	add_image("a.img", 0);
	assert_int_equal(link(at("a.img"), at("b.img")), 0);
	assert_overlap(at("a.img"), at("b.img"), "the same device: one image under two names");
	add_image("c.img", 0);
	assert_apart(at("a.img"), at("c.img"));
}

static void a_disk_overlaps_its_partitions_and_no_others(void **state)
{
	(void)state;
	two_partitions();
	add_disk("sdb", "8:16", 2097152);
	add_partition("sdb/sdb1", "8:17", 2048, 1024000);
	assert_overlap(at("dev/sda"), at("dev/sda1"), "a disk and a partition of it");
	assert_apart(at("dev/sdb"), at("dev/sda1"));
	assert_apart(at("dev/sda1"), at("dev/sda2"));
	assert_apart(at("dev/sda1"), at("dev/sdb1"));
}

static void partitions_overlap_by_a_single_sector(void **state)
{
	(void)state;
	two_partitions();
	add_partition("sda/sda3", "8:3", 1026047, 1);
	assert_overlap(at("dev/sda1"), at("dev/sda3"), "two partitions that overlap");
	assert_apart(at("dev/sda2"), at("dev/sda3"));
}

static void a_loop_device_overlaps_what_it_lies_on(void **state)
{
	(void)state;
	two_partitions();
	add_image("disk.img", 1 << 20);
	add_loop("loop0", "7:0", at("disk.img"), 0, 2048);
	add_partition("loop0/loop0p1", "259:0", 8, 100);
	add_loop("loop1", "7:1", at("dev/sda1"), 0, 1024000);
	assert_overlap(at("dev/loop0"), at("disk.img"), "a loop device and its backing file");
	assert_overlap(at("dev/loop0p1"), at("disk.img"), "a loop device and its backing file");
	assert_overlap(at("dev/loop1"), at("dev/sda1"), "a loop device and its backing device");
	assert_overlap(at("dev/loop1"), at("dev/sda"), "a disk and a partition of it");
	assert_apart(at("dev/loop1"), at("dev/sda2"));
	assert_apart(at("dev/loop1"), at("dev/loop0"));
}

static void loop_devices_overlap_where_their_offsets_let_them(void **state)
{
	(void)state;
	add_image("disk.img", 1 << 20);
	add_loop("loop0", "7:0", at("disk.img"), 0, 1024);
	add_loop("loop1", "7:1", at("disk.img"), 524288, 1024);
	add_loop("loop2", "7:2", at("disk.img"), 520192, 1024);
	assert_apart(at("dev/loop0"), at("dev/loop1"));
	assert_overlap(at("dev/loop0"), at("dev/loop2"), "two devices over the same bytes of one");
}

static void a_partition_of_a_loop_device_lies_behind_its_offset(void **state)
{
	(void)state;
	add_image("disk.img", 1 << 20);
	add_loop("loop0", "7:0", at("disk.img"), 524288, 1024);
	add_partition("loop0/loop0p1", "259:0", 1016, 8);
	add_loop("loop1", "7:1", at("disk.img"), 524288, 1016);
	add_loop("loop2", "7:2", at("disk.img"), 524288 + 1016 * 512, 1);
	assert_apart(at("dev/loop0p1"), at("dev/loop1"));
	assert_overlap(at("dev/loop0p1"), at("dev/loop2"), "two devices over the same bytes of one");
}

/* ---- what it is ---- */

static void assert_line(const char *path, const char *words)
{
	struct identity identity;
	char text[512];

	identify(path, &identity);
	identity_line(&identity, "X", text, sizeof(text));
	assert_string_equal(text, words);
	identity_release(&identity);
}

static void a_partition_is_described_by_its_disk(void **state)
{
	static const char page[] = "\0\x80\0\x14     S5Y1NJ0R123456 garbage";

	(void)state;
	two_partitions();
	put(at("sys/devices/sda/device/model"), "Samsung SSD 870 \n");
	put_bytes(at("sys/devices/sda/device/vpd_pg80"), page, sizeof(page) - 1);
	put_link(at("dev/disk/by-id/ata-Samsung_S5Y-part1"), "../../sda1");
	put_link(at("dev/disk/by-id/wwn-0x5002-part1"), "../../sda1");
	put_link(at("dev/disk/by-id/ata-Samsung_S5Y"), "../../sda");
	char words[PATH_MAX];

	snprintf(words, sizeof(words), "X, 500.0 MiB, Samsung SSD 870 serial S5Y1NJ0R123456, %s, no signature known to libblkid",
		 at("dev/disk/by-id/ata-Samsung_S5Y-part1"));
	assert_line(at("dev/sda1"), words);
}

static void sizes_come_from_sys_where_the_device_does_not_open(void **state)
{
	struct identity identity;

	(void)state;
	two_partitions();
	identify(at("dev/sda2"), &identity);
	assert_true(identity.is_block);
	assert_int_equal(identity.size, 1071104 * UINT64_C(512));
	assert_int_equal(identity.logical, 512);
	assert_int_equal(identity.physical, 4096);
	identity_release(&identity);
}

static void serials_of_nvme_and_virtio_are_found(void **state)
{
	(void)state;
	add_disk("nvme0n1", "259:0", 2048);
	put(at("sys/devices/nvme0n1/device/model"), "WDC WDS500G2B0C                         \n");
	put(at("sys/devices/nvme0n1/device/serial"), "2036A1234567        \n");
	add_disk("vda", "254:0", 2048);
	put(at("sys/devices/vda/serial"), "disk-7");
	assert_line(at("dev/nvme0n1"), "X, 1.0 MiB, WDC WDS500G2B0C serial 2036A1234567, no signature known to libblkid");
	assert_line(at("dev/vda"), "X, 1.0 MiB, serial disk-7, no signature known to libblkid");
}

static void a_damaged_page_of_a_serial_is_no_serial(void **state)
{
	(void)state;
	add_disk("sda", "8:0", 2048);
	put_bytes(at("sys/devices/sda/device/vpd_pg80"), "\0\x80", 2);
	assert_line(at("dev/sda"), "X, 1.0 MiB, no signature known to libblkid");
	put_bytes(at("sys/devices/sda/device/vpd_pg80"), "\0\x80\xff\xff" "abc", 7);
	assert_line(at("dev/sda"), "X, 1.0 MiB, serial abc, no signature known to libblkid");
	put_bytes(at("sys/devices/sda/device/vpd_pg80"), "\0\x83\0\3abc", 7);
	assert_line(at("dev/sda"), "X, 1.0 MiB, no signature known to libblkid");
}

static void a_name_of_hardware_is_preferred_to_one_of_contents(void **state)
{
	static const char *const names[] = { "lvm-pv-uuid-abc", "dm-uuid-LVM-abc", "wwn-0x5", "scsi-35", "scsi-SATA_x" };
	struct identity identity;

	(void)state;
	add_disk("sda", "8:0", 2048);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (i == 2)
			unlink(at("dev/disk/by-id/%s", names[1]));
		put_link(at("dev/disk/by-id/%s", names[i]), "../../sda");
		identify(at("dev/sda"), &identity);
		assert_string_equal(identity.by_id, at("dev/disk/by-id/%s", names[i == 3 ? 2 : i]));
		identity_release(&identity);
	}
}

static void control_characters_are_not_printed(void **state)
{
	char model[] = "a\033[2Jb\xc2\x9bz\xc3\xa4";
	const struct identity identity = { .size = 512, .model = model };
	char text[256];

	(void)state;
	identity_line(&identity, "X\n", text, sizeof(text));
	assert_string_equal(text, "X?, 512 bytes, a?[2Jb??z\xc3\xa4, no signature known to libblkid");
}

static void a_line_is_cut_to_its_room(void **state)
{
	const struct identity identity = { .size = 512 };
	char text[10];

	(void)state;
	identity_line(&identity, "disk.img", text, sizeof(text));
	assert_string_equal(text, "disk.img,");
}

/* ---- locks ---- */

static void an_image_that_a_machine_has_attached_is_held(void **state)
{
	const char *path = add_image("disk.img", 1 << 20);
	int machine = open(path, O_RDWR | O_CLOEXEC);
	struct flock byte = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1 };
	char words[256];

	(void)state;
	assert_false(holder_of(path, words, sizeof(words)));
	assert_int_equal(fcntl(machine, F_OFD_SETLK, &byte), 0);
	assert_true(holder_of(path, words, sizeof(words)));
	assert_string_equal(words, "locked by another program, as virtual machines do");
	close(machine);
}

/* ---- signatures ---- */

static void put_le(uint8_t *bytes, unsigned offset, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		bytes[offset + i] = (uint8_t)(value >> 8 * i);
}

/* mm/swapfile.c: version 1 and the last page at byte 1024, the magic at the end of the page */
static void make_swap(const char *path)
{
	uint8_t page[4096] = { 0 };

	put_le(page, 1024, 1);
	put_le(page, 1028, 15);
	memcpy(page + 4086, "SWAPSPACE2", 10);
	write_at(path, 0, page, sizeof(page));
}

/* md_p.h: version 0.90, in the last whole 64 KiB but one */
static void make_raid(const char *path, long size)
{
	uint8_t super[4096] = { 0 };

	put_le(super, 0, 0xa92b4efc);
	put_le(super, 8, 90);
	put_le(super, 20, 0x12345678);
	write_at(path, size - 65536, super, sizeof(super));
}

/* Enough for libblkid: magic, block size, and a journal that lies behind. */
static void make_reiserfs(const char *path)
{
	uint8_t super[512] = { 0 };

	put_le(super, 12, 18);
	put_le(super, 44, 4096);
	memcpy(super + 52, "ReIsErFs", 8);
	write_at(path, 65536, super, sizeof(super));
}

static void make_luks(const char *path)
{
	static const char header[] = "LUKS\xba\xbe\0\1aes";

	write_at(path, 0, header, sizeof(header));
	write_at(path, 168, "0f3c7f0e-1111-2222-3333-444455556666", 37);
}

static void make_partition_table(const char *path)
{
	uint8_t sector[512] = { 0 };

	sector[446 + 4] = 0x83;
	put_le(sector, 446 + 8, 64);
	put_le(sector, 446 + 12, 64);
	sector[510] = 0x55;
	sector[511] = 0xaa;
	write_at(path, 0, sector, sizeof(sector));
}

static bool make_ext4(const char *path)
{
	char line[PATH_MAX + 200];

	snprintf(line, sizeof(line), "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F -L data "
		 "-U 0f3c7f0e-1111-2222-3333-444455556666 '%s' >/dev/null 2>&1", path);
	return system(line) == 0;
}

static void assert_danger(const char *path, const char *type, const char *words)
{
	struct identity identity;
	const char *danger;

	identify(path, &identity);
	danger = dangerous_signature(&identity);
	assert_non_null(identity.type);
	assert_string_equal(identity.type, type);
	if (words)
		assert_string_equal(danger, words);
	else
		assert_null(danger);
	identity_release(&identity);
}

static void an_ext4_image_is_described_and_no_danger(void **state)
{
	struct identity identity;
	const char *path;

	(void)state;
	path = add_image("disk.img", 4 << 20);
	if (!make_ext4(path)) {
		print_message("mkfs.ext4 is not there\n");
		skip();
	}
	assert_line(path, "X, 4.0 MiB, ext4 \"data\" UUID 0f3c7f0e-1111-2222-3333-444455556666");
	identify(path, &identity);
	assert_false(identity.is_block);
	assert_string_equal(identity.usage, "filesystem");
	assert_null(dangerous_signature(&identity));
	identity_release(&identity);
}

static void swap_is_a_danger(void **state)
{
	const char *path = add_image("disk.img", 1 << 20);

	(void)state;
	make_swap(path);
	assert_danger(path, "swap", "swap space");
	write_at(path, 4086, "S1SUSPEND", 10);
	assert_danger(path, "swsuspend", "swap space with a hibernated system in it");
}

static void a_raid_member_is_a_danger_whatever_begins_it(void **state)
{
	const char *path = add_image("disk.img", 4 << 20);

	(void)state;
	make_raid(path, 4 << 20);
	assert_danger(path, "linux_raid_member", "a raid member");
	if (make_ext4(path)) {
		make_raid(path, 4 << 20);
		assert_danger(path, "linux_raid_member", "a raid member");
	}
}

/* Of up to 1440 KiB libblkid takes the first signature for the only one. */
static void of_contradicting_signatures_the_dangerous_one_counts(void **state)
{
	const char *path = add_image("disk.img", 4 << 20);

	(void)state;
	make_reiserfs(path);
	assert_danger(path, "reiserfs", NULL);
	make_swap(path);
	assert_danger(path, "swap", "swap space");
}

static void encryption_is_no_danger(void **state)
{
	const char *path = add_image("disk.img", 1 << 20);

	(void)state;
	make_luks(path);
	assert_danger(path, "crypto_LUKS", NULL);
}

static void a_partition_table_is_described_and_no_danger(void **state)
{
	const char *path = add_image("disk.img", 1 << 20);
	struct identity identity;

	(void)state;
	make_partition_table(path);
	assert_line(path, "X, 1.0 MiB, dos partition table");
	identify(path, &identity);
	assert_null(dangerous_signature(&identity));
	identity_release(&identity);
}

/* ---- every signature ---- */

static void assert_signatures(const char *path, const char *lines)
{
	struct signatures signatures;
	char text[1024] = "", line[256];

	find_all_signatures(path, &signatures);
	for (unsigned i = 0; i < signatures.count; i++) {
		signature_line(&signatures.list[i], line, sizeof(line));
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s\n", line);
	}
	assert_string_equal(text, lines);
	assert_false(signatures.incomplete);
	signatures_release(&signatures);
	assert_int_equal(signatures.count, 0);
}

static void a_blank_image_has_no_signatures(void **state)
{
	(void)state;
	assert_signatures(add_image("disk.img", 4 << 20), "");
}

static void contradicting_signatures_are_all_found_in_order_of_their_offsets(void **state)
{
	const char *path = add_image("disk.img", 4 << 20);

	(void)state;
	make_raid(path, 4 << 20);
	make_reiserfs(path);
	make_swap(path);
	assert_signatures(path, "swap at byte 4086\n"
				"reiserfs at byte 65588\n"
				"linux_raid_member UUID 12345678-0000-0000-0000-000000000000 at byte 4128768\n");
}

static void a_partition_table_beside_a_superblock_is_found(void **state)
{
	const char *path = add_image("disk.img", 4 << 20);

	(void)state;
	make_swap(path);
	make_partition_table(path);
	assert_signatures(path, "dos partition table at byte 510\nswap at byte 4086\n");
}

static void signatures_are_only_looked_at(void **state)
{
	const char *path = add_image("disk.img", 4 << 20);
	uint8_t before[4096], after[4096];

	(void)state;
	make_swap(path);
	read_at(path, 0, before, sizeof(before));
	assert_signatures(path, "swap at byte 4086\n");
	read_at(path, 0, after, sizeof(after));
	assert_memory_equal(before, after, sizeof(before));
}

static void control_characters_of_a_label_are_not_printed(void **state)
{
	char type[] = "ext4", label[] = "a\033[2J";
	const struct signature signature = { .type = type, .label = label, .offset = UINT64_MAX };
	char text[64];

	(void)state;
	signature_line(&signature, text, sizeof(text));
	assert_string_equal(text, "ext4 \"a?[2J\"");
	signature_line(&signature, text, 6);
	assert_string_equal(text, "ext4 ");
}

static void what_cannot_be_looked_at_is_incomplete(void **state)
{
	struct signatures signatures;

	(void)state;
	find_all_signatures(at("nowhere"), &signatures);
	assert_int_equal(signatures.count, 0);
	assert_true(signatures.incomplete);
	signatures_release(&signatures);
}

static void an_image_without_write_permission_is_read_only(void **state)
{
	const char *path = add_image("disk.img", 1 << 20);
	struct identity identity;

	(void)state;
	identify(path, &identity);
	assert_false(identity.read_only);
	identity_release(&identity);
	chmod(path, 0400);
	identify(path, &identity);
	assert_int_equal(identity.read_only, access(path, W_OK) != 0); /* root may write it */
	identity_release(&identity);
}

static void hardware_is_described_without_contents(void **state)
{
	char model[] = "SSD\n870", type[] = "ext4";
	const struct identity identity = { .size = 512, .model = model, .type = type, .logical = 4096 };
	char text[64];

	(void)state;
	identity_hardware(&identity, text, sizeof(text));
	assert_string_equal(text, ", SSD?870, sectors of 4096");
}

static void signatures_are_judged_by_type_and_usage(void **state)
{
	static const struct {
		const char *type, *usage;
		bool danger;
	} cases[] = {
		{ NULL, NULL, false },
		{ "xfs", "filesystem", false },
		{ "zfs_member", "filesystem", false },
		{ "LVM2_member", "raid", false },
		{ "LVM1_member", "raid", false },
		{ "crypto_LUKS", "crypto", false },
		{ "isw_raid_member", "raid", true },
		{ "ddf_raid_member", NULL, true },
		{ "drbd", "raid", true },
		{ "bcache", "other", true },
		{ "swap", "other", true },
		{ "swsuspend", NULL, true },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct identity identity = { .type = (char *)(uintptr_t)cases[i].type,
						   .usage = (char *)(uintptr_t)cases[i].usage };

		if (!dangerous_signature(&identity) == cases[i].danger)
			fail_msg("%s", cases[i].type);
	}
}

static void a_report_without_json_is_no_report(void **state)
{
	const struct identity identity = { .size = 1 };

	(void)state;
	identity_report(NULL, &identity);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

static void a_name_is_what_it_led_to_first(void **state)
{
	struct identity identity;
	char text[256];

	(void)state;
	add_image("small.img", 4096);
	add_image("large.img", 1 << 20);
	put_link(at("now"), "small.img");
	assert_free(at("now"));
	assert_int_equal(remove(at("now")), 0);
	put_link(at("now"), "large.img");
	identify(at("now"), &identity);
	assert_int_equal(identity.size, 4096);
	char *name = stable_name(&identity, at("now"));

	assert_string_equal(name, at("small.img"));
	free(name);
	identity_release(&identity);
	assert_true(devices_overlap(at("now"), at("small.img"), text, sizeof(text)));
	assert_false(devices_overlap(at("now"), at("large.img"), text, sizeof(text)));
	assert_free(at("later"));
	put_link(at("later"), "large.img");
	identify(at("later"), &identity);
	assert_int_equal(identity.size, 0);
	identity_release(&identity);
	assert_int_equal(place_error(at("later")), ENOENT);
	place_forget();
	identify(at("now"), &identity);
	assert_int_equal(identity.size, 1 << 20);
	identity_release(&identity);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_idle_disk_is_free),
		TEST(a_name_is_what_it_led_to_first),
		TEST(a_mount_is_named_with_its_blanks),
		TEST(a_control_character_in_a_mount_point_is_not_printed),
		TEST(a_mount_with_a_number_of_its_own_is_found_by_its_source),
		TEST(a_mounted_partition_holds_its_disk_but_no_sibling),
		TEST(a_mapped_disk_holds_its_partitions),
		TEST(what_a_mapping_is_used_for_is_said_too),
		TEST(a_mapping_is_found_by_its_name),
		TEST(a_raid_and_its_mounted_partition_are_named),
		TEST(other_holders_are_named),
		TEST(holders_in_a_circle_end),
		TEST(swap_on_a_partition_is_named),
		TEST(an_image_that_is_a_swap_file_is_held),
		TEST(an_image_behind_a_loop_device_is_held),
		TEST(what_a_loop_device_is_used_for_is_said_too),
		TEST(an_idle_loop_device_is_free_itself),
		TEST(a_second_loop_device_over_the_same_bytes_holds_them),
		TEST(a_loop_device_over_a_partition_holds_it_and_its_disk),
		TEST(without_proc_and_sys_nothing_is_known_and_nothing_fails),
		TEST(without_sys_proc_still_counts_and_the_other_way_round),
		TEST(broken_lines_of_proc_are_passed_over),
		TEST(the_same_device_under_two_names_overlaps),
		TEST(the_same_image_under_two_names_overlaps),
		TEST(a_disk_overlaps_its_partitions_and_no_others),
		TEST(partitions_overlap_by_a_single_sector),
		TEST(a_loop_device_overlaps_what_it_lies_on),
		TEST(loop_devices_overlap_where_their_offsets_let_them),
		TEST(a_partition_of_a_loop_device_lies_behind_its_offset),
		TEST(a_partition_is_described_by_its_disk),
		TEST(sizes_come_from_sys_where_the_device_does_not_open),
		TEST(serials_of_nvme_and_virtio_are_found),
		TEST(a_damaged_page_of_a_serial_is_no_serial),
		TEST(a_name_of_hardware_is_preferred_to_one_of_contents),
		TEST(control_characters_are_not_printed),
		TEST(a_line_is_cut_to_its_room),
		TEST(an_image_that_a_machine_has_attached_is_held),
		TEST(an_ext4_image_is_described_and_no_danger),
		TEST(swap_is_a_danger),
		TEST(a_raid_member_is_a_danger_whatever_begins_it),
		TEST(of_contradicting_signatures_the_dangerous_one_counts),
		TEST(encryption_is_no_danger),
		TEST(a_partition_table_is_described_and_no_danger),
		TEST(a_blank_image_has_no_signatures),
		TEST(contradicting_signatures_are_all_found_in_order_of_their_offsets),
		TEST(a_partition_table_beside_a_superblock_is_found),
		TEST(signatures_are_only_looked_at),
		TEST(control_characters_of_a_label_are_not_printed),
		TEST(what_cannot_be_looked_at_is_incomplete),
		TEST(an_image_without_write_permission_is_read_only),
		TEST(hardware_is_described_without_contents),
		TEST(signatures_are_judged_by_type_and_usage),
		TEST(a_report_without_json_is_no_report),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
