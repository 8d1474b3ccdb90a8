/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every signature on a device: see signatures.h. */
#include <blkid/blkid.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "report.h"
#include "place.h"
#include "signatures.h"

static const char cache_magic[4] = "tsBW"; /* WB_MAGIC, little-endian */

static void take(char **field, blkid_probe probe, const char *name)
{
	const char *value;

	if (!blkid_probe_lookup_value(probe, name, &value, NULL) && *value)
		*field = strdup(value);
}

#define SIGNATURES_MAX 64u

/* Superblocks and partition tables call the same things by different names. */
static bool take_signature(struct signature *signature, blkid_probe probe)
{
	const char *offset;
	size_t size = 0;

	*signature = (struct signature){ .offset = UINT64_MAX };
	signature->is_table = !blkid_probe_has_value(probe, "TYPE");
	take(&signature->type, probe, signature->is_table ? "PTTYPE" : "TYPE");
	take(&signature->uuid, probe, signature->is_table ? "PTUUID" : "UUID");
	take(&signature->label, probe, "LABEL");
	take(&signature->usage, probe, "USAGE");
	if (!blkid_probe_lookup_value(probe, signature->is_table ? "PTMAGIC_OFFSET" : "SBMAGIC_OFFSET", &offset, NULL))
		signature->offset = strtoull(offset, NULL, 10);
	blkid_probe_lookup_value(probe, signature->is_table ? "PTMAGIC" : "SBMAGIC", NULL, &size);
	signature->size = size;
	return signature->type;
}

static void release_signature(struct signature *signature)
{
	free(signature->type);
	free(signature->usage);
	free(signature->uuid);
	free(signature->label);
}

static bool add_signature(struct signatures *signatures, blkid_probe probe)
{
	struct signature *list = realloc(signatures->list, (signatures->count + 1) * sizeof(*list));

	if (!list)
		return false;
	signatures->list = list;
	if (take_signature(&list[signatures->count], probe))
		signatures->count++;
	else
		release_signature(&list[signatures->count]);
	return true;
}

/* Hides what was found from the next probe, in memory: behind the first copy there may be a second. */
static void probe_all(struct signatures *signatures, blkid_probe probe)
{
	int result = 0;

	while (signatures->count < SIGNATURES_MAX && (result = blkid_do_probe(probe)) == 0)
		if (!add_signature(signatures, probe) || blkid_do_wipe(probe, true)) {
			signatures->incomplete = true;
			return;
		}
	signatures->incomplete = result != 1;
}

/* UEFI: without its protective MBR a GUID partition table is none; what has survived at the end is only looked for
 * because we ask for it. One at the beginning may have lost that sector by accident. */
static void mark_remnants(struct signatures *signatures)
{
	for (unsigned i = 0; i < signatures->count; i++)
		if (strcmp(signatures->list[i].type, "PMBR") == 0)
			return;
	for (unsigned i = 0; i < signatures->count; i++)
		signatures->list[i].is_remnant = strcmp(signatures->list[i].type, "gpt") == 0 &&
						 signatures->list[i].offset >= WB_FIRST_SLOT;
}

static int by_offset(const void *a, const void *b)
{
	uint64_t first = ((const struct signature *)a)->offset, second = ((const struct signature *)b)->offset;

	return (first > second) - (first < second);
}

/* ---- containers ---- */

struct container {
	const char *type;
	uint64_t offset;
	const char *magic;
	unsigned length;
	const char *advice;
};

#define ATTACH "attach it with qemu-nbd --connect=/dev/nbd0 FILE, or convert it with qemu-img convert -O raw FILE raw.img"
#define AT_END UINT64_MAX /* in the last sector */
#define MAGIC(text) text, sizeof(text) - 1

/* Sources: docs/interop/qcow2.txt, block/{vmdk,vdi,vpc,vhdx,qed,parallels}.c of QEMU; RFC 1952, 8878; the file formats of xz,
 * bzip2 and LZ4; libewf's EWF specification; partclone.h; mapfile.cc of GNU ddrescue. */
static const struct container containers[] = {
	{ "qcow2 image", 0, MAGIC("QFI\xfb"), ATTACH },
	{ "QED image", 0, MAGIC("QED\0"), ATTACH },
	{ "VMDK image", 0, MAGIC("KDMV"), ATTACH },
	{ "VMDK image", 0, MAGIC("COWD"), ATTACH },
	{ "VMDK descriptor", 0, MAGIC("# Disk DescriptorFile"), ATTACH },
	{ "VDI image", 0, MAGIC("<<< Oracle VM VirtualBox Disk Image >>>"), ATTACH },
	{ "VDI image", 64, MAGIC("\x7f\x10\xda\xbe"), ATTACH },
	{ "VHD image", 0, MAGIC("conectix"), ATTACH },
	{ "VHD image", AT_END, MAGIC("conectix"), ATTACH },
	{ "VHDX image", 0, MAGIC("vhdxfile"), ATTACH },
	{ "Parallels image", 0, MAGIC("WithoutFreeSpace"), ATTACH },
	{ "Parallels image", 0, MAGIC("WithouFreSpacExt"), ATTACH },
	{ "gzip file", 0, MAGIC("\x1f\x8b\x08"), "unpack it with gzip -dk FILE (the suffix must be .gz)" },
	{ "xz file", 0, MAGIC("\xfd" "7zXZ\0"), "unpack it with xz -dk FILE" },
	{ "zstd file", 0, MAGIC("\x28\xb5\x2f\xfd"), "unpack it with zstd -d FILE" },
	{ "lz4 file", 0, MAGIC("\x04\x22\x4d\x18"), "unpack it with lz4 -d FILE" },
	{ "EWF image", 0, MAGIC("EVF\t\r\n\xff\0"), "mount it with ewfmount FILE DIRECTORY, and give the file in there" },
	{ "EWF image", 0, MAGIC("LVF\t\r\n\xff\0"), "mount it with ewfmount FILE DIRECTORY, and give the file in there" },
	{ "EWF image", 0, MAGIC("EVF2\r\n\x81\0"), "mount it with ewfmount FILE DIRECTORY, and give the file in there" },
	{ "partclone image", 0, MAGIC("partclone-image"), "restore it with partclone.restore -s FILE -O raw.img" },
	{ "map of GNU ddrescue", 0, MAGIC("# Mapfile. Created by GNU ddrescue"),
	  "give the image that it describes; the map itself goes to --cache-map" },
	{ "map of GNU ddrescue", 0, MAGIC("# Rescue Logfile. Created by GNU ddrescue"),
	  "give the image that it describes; the map itself goes to --cache-map" },
};

#define BZIP2_MAGIC "1AY&SY" /* behind "BZh" and a digit */

static bool is_bzip2(const char *bytes)
{
	return memcmp(bytes, "BZh", 3) == 0 && bytes[3] >= '1' && bytes[3] <= '9' && memcmp(bytes + 4, BZIP2_MAGIC, 6) == 0;
}

static const struct container bzip2 = { "bzip2 file", 0, NULL, 10, "unpack it with bzip2 -dk FILE" };

/* head and tail: the first and the last sector */
static const struct container *recognise(const char *head, const char *tail)
{
	for (unsigned i = 0; i < sizeof(containers) / sizeof(containers[0]); i++) {
		const struct container *container = &containers[i];
		const char *bytes = container->offset == AT_END ? tail : head + container->offset;

		if (memcmp(bytes, container->magic, container->length) == 0)
			return container;
	}
	return is_bzip2(head) ? &bzip2 : NULL;
}

static bool read_sector(int fd, uint64_t offset, char sector[WB_SECTOR])
{
	memset(sector, 0, WB_SECTOR);
	return pread(fd, sector, WB_SECTOR, (off_t)offset) > 0;
}

/* A byte of VDI's may be left from before in a sector 0 that a driver has formatted: only the magic there makes it a cache. */
static void add_container(struct signatures *signatures, int fd, uint64_t start, uint64_t size)
{
	char head[WB_SECTOR], tail[WB_SECTOR] = "";
	struct signature *list;

	if (!read_sector(fd, start, head) || (size >= WB_SECTOR && !read_sector(fd, start + size - WB_SECTOR, tail)))
		return;
	const struct container *container = memcmp(head, cache_magic, sizeof(cache_magic)) ? recognise(head, tail) : NULL;

	if (!container)
		return;
	list = realloc(signatures->list, (signatures->count + 1) * sizeof(*list));
	if (list)
		signatures->list = list;
	char *type = list ? strdup(container->type) : NULL;

	signatures->incomplete |= !type;
	if (type)
		signatures->list[signatures->count++] = (struct signature){
			.type = type, .size = container->length, .advice = container->advice,
			.offset = container->offset == AT_END ? size - WB_SECTOR : container->offset };
}

const struct signature *find_container(const struct signatures *signatures)
{
	for (unsigned i = 0; i < signatures->count; i++)
		if (signatures->list[i].advice)
			return &signatures->list[i];
	return NULL;
}

char *container_advice(const struct signature *container, const char *path)
{
	char *quoted = shell_quoted(path), *text = NULL;
	size_t size = 0;
	FILE *stream = quoted ? open_memstream(&text, &size) : NULL;

	for (const char *from = container->advice; stream && *from;) {
		bool is_name = strncmp(from, "FILE", 4) == 0;

		fprintf(stream, "%.*s", is_name ? (int)strlen(quoted) : 1, is_name ? quoted : from);
		from += is_name ? 4 : 1;
	}
	if (stream)
		fclose(stream);
	free(quoted);
	return text;
}

/* ---- all ---- */

static uint64_t size_behind(int fd, uint64_t start)
{
	off_t end = lseek(fd, 0, SEEK_END);

	return end > 0 && (uint64_t)end > start ? (uint64_t)end - start : 0;
}

void find_signatures_in(int fd, uint64_t start, uint64_t size, struct signatures *signatures)
{
	blkid_probe probe = blkid_new_probe();

	*signatures = (struct signatures){ .incomplete = true };
	if (!size)
		size = size_behind(fd, start);
	if (probe && size && !blkid_probe_set_device(probe, fd, (blkid_loff_t)start, (blkid_loff_t)size)) {
		blkid_probe_enable_superblocks(probe, 1);
		blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_UUID |
								 BLKID_SUBLKS_LABEL | BLKID_SUBLKS_MAGIC);
		blkid_probe_enable_partitions(probe, 1);
		blkid_probe_set_partitions_flags(probe, BLKID_PARTS_MAGIC | BLKID_PARTS_FORCE_GPT);
		probe_all(signatures, probe);
	}
	add_container(signatures, fd, start, size);
	if (signatures->count)
		qsort(signatures->list, signatures->count, sizeof(*signatures->list), by_offset);
	mark_remnants(signatures);
	blkid_free_probe(probe);
}

void find_all_signatures(const char *path, struct signatures *signatures)
{
	int fd = open(place_of(path), O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	*signatures = (struct signatures){ .incomplete = true };
	if (fd < 0)
		return;
	find_signatures_in(fd, 0, 0, signatures);
	close(fd);
}

void signatures_release(struct signatures *signatures)
{
	for (unsigned i = 0; i < signatures->count; i++)
		release_signature(&signatures->list[i]);
	free(signatures->list);
	*signatures = (struct signatures){ .count = 0 };
}

void signature_line(const struct signature *signature, char *text, size_t size)
{
	snprintf(text, size, "%s%s%s", signature->is_remnant ? "the remnant of a " : "", signature->type,
		 signature->is_table ? " partition table" : "");
	if (signature->label)
		append_text(text, size, " \"%s\"", signature->label);
	if (signature->uuid)
		append_text(text, size, " UUID %s", signature->uuid);
	if (signature->offset != UINT64_MAX)
		append_text(text, size, " at byte %llu", (unsigned long long)signature->offset);
	make_printable(text);
}

void signature_report(struct json_object *record, const struct signature *signature)
{
	report_text(record, "signature", signature->type);
	report_bool(record, "partition_table", signature->is_table);
	report_text(record, "uuid", signature->uuid);
	report_text(record, "label", signature->label);
	if (signature->offset != UINT64_MAX)
		report_u64(record, "offset", signature->offset);
	report_bool(record, "remnant", signature->is_remnant);
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool signature_is_copy(const struct signatures *signatures, unsigned which)
{
	const struct signature *copy = &signatures->list[which];

	for (unsigned i = 0; i < which; i++)
		if (same_text(signatures->list[i].type, copy->type) && same_text(signatures->list[i].uuid, copy->uuid))
			return true;
	return false;
}

static bool is_lvm(const char *type)
{
	return strncmp(type, "LVM", 3) == 0;
}

const char *signature_danger(const char *type, const char *usage)
{
	if (!type)
		return NULL;
	if (strcmp(type, "swap") == 0)
		return "swap space";
	if (strcmp(type, "swsuspend") == 0)
		return "swap space with a hibernated system in it";
	if (strcmp(type, "bcache") == 0)
		return "a bcache cache or backing device";
	/* libblkid counts LVM among the raids */
	if (!is_lvm(type) && ((usage && strcmp(usage, "raid") == 0) || strstr(type, "_raid_member")))
		return "a raid member";
	return NULL;
}

bool signature_is_member(const struct signature *signature)
{
	const char *type = signature->type;

	return is_lvm(type) || strcmp(type, "bcache") == 0 || strstr(type, "_raid_member") ||
	       (signature->usage && strcmp(signature->usage, "raid") == 0);
}
