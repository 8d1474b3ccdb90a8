/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a device is and who holds it: see guard.h. Devices are compared by number, files by device and inode, never
 * by name. A partition or a loop device is a range of something else; what two of them share is found by following
 * both down to it.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "guard.h"
#include "place.h"
#include "report.h"

#define DEEPEST 8 /* layers of mappings, partitions and loop devices that are followed */
#define NAME_SIZE 256

/* ---- where the kernel tells ---- */

#ifdef WB_TEST_HOOKS
static const char *root_of(const char *variable, const char *fallback)
{
	const char *root = getenv(variable);

	return root ? root : fallback;
}
#else
#define root_of(variable, fallback) (fallback)
#endif

static const char *sys_root(void)
{
	return root_of("WB_TEST_SYS", "/sys");
}

static const char *proc_root(void)
{
	return root_of("WB_TEST_PROC", "/proc");
}

static const char *dev_root(void)
{
	return root_of("WB_TEST_DEV", "/dev");
}

__attribute__((format(printf, 2, 3))) static void path_print(char path[PATH_MAX], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(path, PATH_MAX, format, args);
	va_end(args);
}

/* The first bytes of a file, never whole when they would fill the buffer; 0 when it cannot be read. */
static size_t bytes_of(const char *path, char *bytes, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, bytes, size - 1);

	if (fd >= 0)
		close(fd);
	bytes[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

/* Takes the blanks off both ends; false when nothing is left. */
static bool trim(char *text)
{
	size_t begin = strspn(text, " \t\r\n"), length = strlen(text);

	while (length > begin && isspace((unsigned char)text[length - 1]))
		length--;
	memmove(text, text + begin, length - begin);
	text[length - begin] = '\0';
	return text[0] != '\0';
}

static bool line_of(const char *path, char *text, size_t size)
{
	bytes_of(path, text, size);
	text[strcspn(text, "\n")] = '\0';
	return trim(text);
}

static bool number_of_file(const char *path, uint64_t *value)
{
	char text[32], *end;

	if (!line_of(path, text, sizeof(text)) || !isdigit((unsigned char)text[0]))
		return false;
	*value = strtoull(text, &end, 10);
	return !*end;
}

/* "8:17" */
static bool parse_device(const char *text, dev_t *device)
{
	unsigned major, minor;

	if (sscanf(text, "%u:%u", &major, &minor) != 2)
		return false;
	*device = makedev(major, minor);
	return true;
}

static bool device_of_file(const char *path, dev_t *device)
{
	char text[32];

	return line_of(path, text, sizeof(text)) && parse_device(text, device);
}

/* Calls visit with every name in a directory, in order, until one returns true. */
typedef bool (*visitor)(void *context, const char *directory, const char *name);

static bool visit_names(const char *directory, visitor visit, void *context)
{
	struct dirent **names = NULL;
	int count = scandir(directory, &names, NULL, alphasort);
	bool found = false;

	for (int i = 0; i < count; i++) {
		if (!found && names[i]->d_name[0] != '.')
			found = visit(context, directory, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return found;
}

/* ---- one device ---- */

/* A block device has no inode here, a file that of its file system. */
struct node {
	bool is_block;
	dev_t device;
	ino_t inode;
};

static bool node_same(const struct node *a, const struct node *b)
{
	return a->is_block == b->is_block && a->device == b->device && a->inode == b->inode;
}

static struct node block_node(dev_t device)
{
	return (struct node){ .is_block = true, .device = device };
}

#ifdef WB_TEST_HOOKS
/* Beneath WB_TEST_DEV a file that holds MAJ:MIN stands for that block device. */
static bool look_at_stand_in(const char *path, struct node *node)
{
	size_t length = strlen(dev_root());
	dev_t device;

	if (strncmp(path, dev_root(), length) != 0 || path[length] != '/' || !device_of_file(path, &device))
		return false;
	*node = block_node(device);
	return true;
}
#else
#define look_at_stand_in(path, node) false
#endif

/* What a descriptor is of, that path was opened as. */
static bool look_at(int fd, const char *path, struct node *node)
{
	struct stat st;

	(void)path;
	if (fstat(fd, &st) || (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode)))
		return false;
	if (look_at_stand_in(path, node))
		return true;
	*node = S_ISBLK(st.st_mode) ? block_node(st.st_rdev) :
				      (struct node){ .device = st.st_dev, .inode = st.st_ino };
	return true;
}

static bool look(const char *path, struct node *node)
{
	int fd = open(place_known(path), O_PATH | O_CLOEXEC);
	bool found = fd >= 0 && look_at(fd, path, node);

	if (fd >= 0)
		close(fd);
	return found;
}

/* Of what a command was told to work on: it is that from now on, see place.h. */
static bool look_at_operand(const char *path, struct node *node)
{
	place_of(path);
	return look(path, node);
}

static void sys_path(char path[PATH_MAX], dev_t device, const char *leaf)
{
	path_print(path, "%s/dev/block/%u:%u/%s", sys_root(), major(device), minor(device), leaf);
}

static bool sys_line(dev_t device, const char *leaf, char *text, size_t size)
{
	char path[PATH_MAX];

	sys_path(path, device, leaf);
	return line_of(path, text, size);
}

static bool sys_number(dev_t device, const char *leaf, uint64_t *value)
{
	char path[PATH_MAX];

	sys_path(path, device, leaf);
	return number_of_file(path, value);
}

/* The disk a partition is on; false for anything but a partition. */
static bool disk_of(dev_t partition, dev_t *disk)
{
	char path[PATH_MAX];
	uint64_t number;

	sys_path(path, partition, "../dev");
	return sys_number(partition, "partition", &number) && device_of_file(path, disk);
}

/* The kernel's name below /dev, "sdb1"; its number where /sys does not tell. */
static void kernel_name(dev_t device, char name[NAME_SIZE])
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t length;

	sys_path(path, device, "");
	path[strlen(path) - 1] = '\0';
	length = readlink(path, target, sizeof(target) - 1);
	target[length > 0 ? length : 0] = '\0';
	if (strrchr(target, '/'))
		snprintf(name, NAME_SIZE, "%.*s", NAME_SIZE - 1, strrchr(target, '/') + 1);
	else
		snprintf(name, NAME_SIZE, "%u:%u", major(device), minor(device));
	for (char *p = name; (p = strchr(p, '!'));) /* as in cciss!c0d0 */
		*p = '/';
}

/* Bytes of a block device that is open as fd (-1: is not); 0 when nobody tells. */
static uint64_t block_size(int fd, dev_t device)
{
	uint64_t size;

	if (fd >= 0 && !ioctl(fd, BLKGETSIZE64, &size))
		return size;
	return sys_number(device, "size", &size) && size <= UINT64_MAX / WB_SECTOR ? size * WB_SECTOR : 0;
}

static int open_for_looking(const char *path)
{
	return open(place_known(path), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

/* ---- identity ---- */

static char *copy_of(const char *text)
{
	return text && *text ? strdup(text) : NULL;
}

static bool is_read_only(const char *path, int fd, const struct node *node, bool for_all)
{
	int read_only = 0;

	if (fd < 0)
		return false;
	if (node->is_block && !ioctl(fd, BLKROGET, &read_only) && read_only)
		return true;
	return access(place_known(path), W_OK) && (!for_all || errno == EROFS);
}

static void find_sizes(struct identity *identity, int fd, const struct node *node)
{
	struct stat st;
	uint64_t number;
	int sector;
	dev_t disk = node->device;

	if (!node->is_block) {
		identity->size = fd >= 0 && !fstat(fd, &st) ? (uint64_t)st.st_size : 0;
		return;
	}
	identity->size = block_size(fd, node->device);
	disk_of(node->device, &disk);
	if (fd >= 0 && !ioctl(fd, BLKSSZGET, &sector))
		identity->logical = (unsigned)sector;
	else if (sys_number(disk, "queue/logical_block_size", &number))
		identity->logical = (unsigned)number;
	if (fd < 0 || ioctl(fd, BLKPBSZGET, &identity->physical))
		identity->physical = sys_number(disk, "queue/physical_block_size", &number) ? (unsigned)number : 0;
}

/* SPC: vital product data page 0x80 holds the length of the serial number at byte 2, big-endian, then the number. */
static char *serial_of_page(dev_t disk)
{
	char path[PATH_MAX], page[4 + NAME_SIZE];

	sys_path(path, disk, "device/vpd_pg80");
	size_t read = bytes_of(path, page, sizeof(page));
	size_t length = (size_t)((unsigned char)page[2] << 8 | (unsigned char)page[3]);

	if (read < 4 || (unsigned char)page[1] != 0x80)
		return NULL;
	if (length < read - 4)
		page[4 + length] = '\0';
	return trim(page + 4) ? copy_of(page + 4) : NULL;
}

static char *first_line_of(dev_t disk, const char *const *leaves)
{
	char text[NAME_SIZE];

	for (; *leaves; leaves++)
		if (sys_line(disk, *leaves, text, sizeof(text)))
			return copy_of(text);
	return NULL;
}

static void find_hardware(struct identity *identity, dev_t device)
{
	static const char *const models[] = { "device/model", "device/name", NULL };   /* SCSI and NVMe; MMC */
	static const char *const serials[] = { "device/serial", "serial", NULL };      /* NVMe, MMC; virtio */
	dev_t disk = device;

	disk_of(device, &disk);
	identity->model = first_line_of(disk, models);
	identity->serial = first_line_of(disk, serials);
	if (!identity->serial)
		identity->serial = serial_of_page(disk);
}

/* Names with a model in them come before those with a number only, and these before names made of contents. */
static unsigned rank_of(const char *name)
{
	static const char *const prefixes[] = { "wwn-", "nvme-eui.", "nvme-uuid.", "nvme-nvme.", "scsi-3", "dm-uuid-",
						"md-uuid-", "lvm-pv-uuid-" };
	unsigned rank = 0;

	for (unsigned i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			rank = i + 1;
	return rank;
}

struct name_search {
	struct node node;
	char name[NAME_SIZE];
};

static bool better_name(void *context, const char *directory, const char *name)
{
	struct name_search *search = context;
	char path[PATH_MAX];
	struct node node;

	path_print(path, "%s/%s", directory, name);
	if (look(path, &node) && node_same(&node, &search->node) &&
	    (!search->name[0] || rank_of(name) < rank_of(search->name)))
		snprintf(search->name, sizeof(search->name), "%s", name);
	return false;
}

static void find_stable_name(struct identity *identity, const struct node *node)
{
	struct name_search search = { .node = *node };
	char path[PATH_MAX];

	path_print(path, "%s/disk/by-id", dev_root());
	visit_names(path, better_name, &search);
	if (search.name[0] && asprintf(&identity->by_id, "%s/%s", path, search.name) < 0)
		identity->by_id = NULL;
}

static void forget(char **field)
{
	free(*field);
	*field = NULL;
}

static void take(char **field, const char *value)
{
	forget(field);
	*field = copy_of(value);
}

/* Of several signatures the first dangerous one is what the device is, otherwise the first. */
static const struct signature *main_signature(const struct signatures *signatures)
{
	const struct signature *first = NULL;

	for (unsigned i = 0; i < signatures->count; i++) {
		const struct signature *signature = &signatures->list[i];

		if (signature->is_table || signature->advice)
			continue;
		if (signature_danger(signature->type, signature->usage))
			return signature;
		first = first ? first : signature;
	}
	return first;
}

/* A protective MBR is no partition table beside the one that it protects. */
static const struct signature *main_table(const struct signatures *signatures)
{
	const struct signature *table = NULL;

	for (unsigned i = 0; i < signatures->count; i++) {
		const struct signature *signature = &signatures->list[i];

		if (signature->is_table && !signature->is_remnant && (!table || strcmp(table->type, "PMBR") == 0))
			table = signature;
	}
	return table;
}

static void take_signatures(struct identity *identity, int fd)
{
	find_signatures_in(fd, 0, 0, &identity->signatures);

	const struct signature *signature = main_signature(&identity->signatures);
	const struct signature *table = main_table(&identity->signatures);

	take(&identity->type, signature ? signature->type : NULL);
	take(&identity->usage, signature ? signature->usage : NULL);
	take(&identity->uuid, signature ? signature->uuid : NULL);
	take(&identity->label, signature ? signature->label : NULL);
	take(&identity->partition_table, table ? table->type : NULL);
}

void identify(const char *path, struct identity *identity)
{
	struct node node;

	*identity = (struct identity){ .size = 0 };
	if (!look_at_operand(path, &node))
		return;
	int fd = open_for_looking(path);

	identity->is_block = node.is_block;
	identity->read_only = is_read_only(path, fd, &node, false);
	find_sizes(identity, fd, &node);
	if (node.is_block) {
		find_hardware(identity, node.device);
		find_stable_name(identity, &node);
	}
	if (fd < 0)
		return;
	take_signatures(identity, fd);
	close(fd);
}

void identity_release(struct identity *identity)
{
	signatures_release(&identity->signatures);
	forget(&identity->type);
	forget(&identity->usage);
	forget(&identity->uuid);
	forget(&identity->label);
	forget(&identity->model);
	forget(&identity->serial);
	forget(&identity->by_id);
	forget(&identity->partition_table);
}

/* A container, and every signature that is not the main one. */
static void append_others(const struct identity *identity, char *text, size_t size)
{
	const struct signatures *signatures = &identity->signatures;
	const struct signature *named = main_signature(signatures);
	char line[NAME_SIZE];

	for (unsigned i = 0; i < signatures->count; i++) {
		const struct signature *signature = &signatures->list[i];

		if (signature == named || signature->is_table || signature_is_copy(signatures, i))
			continue;
		signature_line(signature, line, sizeof(line));
		append_text(text, size, ", %s%s", named ? "and " : "", line);
	}
}

static void append_contents(const struct identity *identity, char *text, size_t size)
{
	if (identity->type)
		append_text(text, size, ", %s", identity->type);
	if (identity->label)
		append_text(text, size, "%s \"%s\"", identity->type ? "" : ",", identity->label);
	if (identity->uuid)
		append_text(text, size, "%s UUID %s", identity->type ? "" : ",", identity->uuid);
	append_others(identity, text, size);
	if (identity->partition_table)
		append_text(text, size, ", %s partition table", identity->partition_table);
	if (!identity->type && !identity->partition_table && !find_container(&identity->signatures))
		append_text(text, size, ", no signature known to libblkid");
}

static void append_hardware(const struct identity *identity, char *text, size_t size)
{
	if (identity->model)
		append_text(text, size, ", %s", identity->model);
	if (identity->serial)
		append_text(text, size, "%s serial %s", identity->model ? "" : ",", identity->serial);
	if (identity->by_id)
		append_text(text, size, ", %s", identity->by_id);
	if (identity->logical > WB_SECTOR)
		append_text(text, size, ", sectors of %u", identity->logical);
}

void identity_hardware(const struct identity *identity, char *text, size_t size)
{
	text[0] = '\0';
	append_hardware(identity, text, size);
	make_printable(text);
}

void identity_line(const struct identity *identity, const char *path, char *text, size_t size)
{
	snprintf(text, size, "%s, %s", path, human_size(identity->size));
	append_hardware(identity, text, size);
	append_contents(identity, text, size);
	make_printable(text);
}

char *stable_name(const struct identity *identity, const char *path)
{
	char *name = identity->by_id ? strdup(identity->by_id) : realpath(place_known(path), NULL);

	return name ? name : strdup(path);
}

/* Every type that was found, as a list. */
static void report_signatures(struct json_object *record, const struct signatures *signatures)
{
	struct json_object *list = record ? json_object_new_array() : NULL;

	for (unsigned i = 0; list && i < signatures->count; i++)
		if (!signature_is_copy(signatures, i))
			json_object_array_add(list, json_object_new_string(signatures->list[i].type));
	if (list)
		json_object_object_add(record, "signatures", list);
}

void identity_report(struct json_object *record, const struct identity *identity)
{
	report_u64(record, "size", identity->size);
	report_bool(record, "block_device", identity->is_block);
	report_bool(record, "read_only", identity->read_only);
	report_u64(record, "logical_sector", identity->logical);
	report_u64(record, "physical_sector", identity->physical);
	report_text(record, "model", identity->model);
	report_text(record, "serial", identity->serial);
	report_text(record, "by_id", identity->by_id);
	report_text(record, "signature", identity->type);
	report_text(record, "usage", identity->usage);
	report_text(record, "uuid", identity->uuid);
	report_text(record, "label", identity->label);
	report_text(record, "partition_table", identity->partition_table);
	report_signatures(record, &identity->signatures);
}

const char *dangerous_signature(const struct identity *identity)
{
	return signature_danger(identity->type, identity->usage);
}

/* ---- ranges of devices ---- */

enum step { STEP_END, STEP_PARTITION, STEP_LOOP };

/* Which bytes of which node; and what leads from here to the next one. */
struct span {
	struct node node;
	uint64_t begin, end; /* end UINT64_MAX: not known */
	enum step down;
};

/* A device, what it is a part of, what that is a part of. */
struct chain {
	struct span spans[DEEPEST];
	unsigned count;
};

/* What the driver of a loop device says: right whatever became of the file's name. fd is the loop device. */
static bool ask_loop(int fd, struct node *under, uint64_t *offset)
{
	struct loop_info64 info = { .lo_device = 0 }; /* valgrind does not know that the kernel fills it */

	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info))
		return false;
	/* kernels before 5.0 or so repeat lo_device in lo_rdevice of a regular file */
	if (info.lo_rdevice && info.lo_rdevice != info.lo_device)
		*under = block_node((dev_t)info.lo_rdevice);
	else
		*under = (struct node){ .device = (dev_t)info.lo_device, .inode = (ino_t)info.lo_inode };
	*offset = info.lo_offset;
	return true;
}

static int open_device(dev_t device)
{
	char name[NAME_SIZE], path[PATH_MAX];
	struct node node;

	kernel_name(device, name);
	path_print(path, "%s/%s", dev_root(), name);
	int fd = open_for_looking(path);

	if (fd < 0 || (look_at(fd, path, &node) && node.is_block && node.device == device))
		return fd;
	close(fd);
	return -1;
}

static bool loop_under(int fd, dev_t loop, struct node *under, uint64_t *offset)
{
	char file[PATH_MAX];

	if (ask_loop(fd, under, offset))
		return true;
	if (!sys_number(loop, "loop/offset", offset))
		*offset = 0;
	return sys_line(loop, "loop/backing_file", file, sizeof(file)) && look(file, under);
}

/* Moves a span down one layer; false when there is none below. fd: the device of the span, or -1. */
static bool descend(struct span *span, int fd, struct span *below)
{
	dev_t disk;
	uint64_t start;

	if (!span->node.is_block)
		return false;
	if (disk_of(span->node.device, &disk) && sys_number(span->node.device, "start", &start)) {
		span->down = STEP_PARTITION;
		below->node = block_node(disk);
		start *= WB_SECTOR;
	} else if (loop_under(fd, span->node.device, &below->node, &start)) {
		span->down = STEP_LOOP;
	} else {
		return false;
	}
	below->begin = span->begin + start;
	below->end = span->end > UINT64_MAX - start ? UINT64_MAX : span->end + start;
	below->down = STEP_END;
	return true;
}

static uint64_t end_of(int fd, const struct node *node)
{
	struct stat st;
	uint64_t size = node->is_block ? block_size(fd, node->device) :
			fd >= 0 && !fstat(fd, &st) ? (uint64_t)st.st_size : 0;

	return size ? size : UINT64_MAX;
}

/* fd: the device itself, or -1; stays open. */
static void follow(struct chain *chain, const struct node *node, int fd)
{
	bool more = true;

	chain->spans[0] = (struct span){ .node = *node, .end = end_of(fd, node) };
	chain->count = 1;
	while (more && chain->count < DEEPEST) {
		struct span *span = &chain->spans[chain->count - 1];
		int own = chain->count == 1 || !span->node.is_block ? -1 : open_device(span->node.device);

		more = descend(span, chain->count == 1 ? fd : own, span + 1);
		chain->count += more;
		if (own >= 0)
			close(own);
	}
}

static void follow_path(struct chain *chain, const struct node *node, const char *path)
{
	int fd = open_for_looking(path);

	follow(chain, node, fd);
	if (fd >= 0)
		close(fd);
}

static bool spans_meet(const struct span *a, const struct span *b)
{
	return node_same(&a->node, &b->node) && a->begin < b->end && b->begin < a->end;
}

/* The first layers at which two chains meet. */
static bool chains_meet(const struct chain *a, const struct chain *b, unsigned *i, unsigned *j)
{
	for (*i = 0; *i < a->count; ++*i)
		for (*j = 0; *j < b->count; ++*j)
			if (spans_meet(&a->spans[*i], &b->spans[*j]))
				return true;
	return false;
}

static const char *relation(const struct chain *a, const struct chain *b, unsigned i, unsigned j)
{
	enum step down_a = i ? a->spans[i - 1].down : STEP_END;
	enum step down_b = j ? b->spans[j - 1].down : STEP_END;

	if (!i && !j)
		return a->spans[0].node.is_block ? "the same device" : "the same device: one image under two names";
	if (i && j)
		return down_a == STEP_PARTITION && down_b == STEP_PARTITION ?
			       "two partitions that overlap" :
			       "two devices over the same bytes of one";
	if (down_a == STEP_PARTITION || down_b == STEP_PARTITION)
		return "a disk and a partition of it";
	return a->spans[i].node.is_block ? "a loop device and its backing device" : "a loop device and its backing file";
}

bool devices_overlap(const char *a, const char *b, char *text, size_t size)
{
	struct node node_a, node_b;
	struct chain chain_a, chain_b;
	unsigned i = 0, j = 0;

	text[0] = '\0';
	if (!look_at_operand(a, &node_a) || !look_at_operand(b, &node_b))
		return false;
	follow_path(&chain_a, &node_a, a);
	follow_path(&chain_b, &node_b, b);
	if (!node_same(&node_a, &node_b) && !chains_meet(&chain_a, &chain_b, &i, &j))
		return false;
	snprintf(text, size, "%s", relation(&chain_a, &chain_b, i, j));
	return true;
}

bool file_lives_on(const char *file, const char *device)
{
	struct chain chain_file, chain_device;
	struct node node_file, node_device;
	char *copy = strdup(file);
	unsigned i = 0, j = 0;
	struct stat st;
	bool found = copy && !stat(dirname(copy), &st) && look_at_operand(device, &node_device);

	free(copy);
	if (!found)
		return false;
	node_file = block_node(st.st_dev);
	int fd = open_device(st.st_dev);

	follow(&chain_file, &node_file, fd);
	if (fd >= 0)
		close(fd);
	follow_path(&chain_device, &node_device, device);
	return chains_meet(&chain_file, &chain_device, &i, &j);
}

/* ---- holders ---- */

static bool is_octal(const char *text)
{
	return strspn(text, "01234567") >= 3;
}

/* Blanks in mountinfo and swaps are written \040. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (*from == '\\' && is_octal(from + 1)) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* The source of a mount tells where its number does not: btrfs has numbers of its own. */
static bool mounted_from(const char *source, const struct node *node)
{
	size_t length = strlen(dev_root());
	struct node from;

	return strncmp(source, dev_root(), length) == 0 && source[length] == '/' && look(source, &from) &&
	       node_same(&from, node);
}

/* A line of mountinfo: 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw */
static bool line_mounts(char *line, const struct node *node, char *text, size_t size)
{
	char *fields[5], *rest = line, *source;
	dev_t device;

	for (unsigned i = 0; i < 5; i++)
		if (!(fields[i] = strsep(&rest, " ")))
			return false;
	source = rest ? strstr(rest, " - ") : NULL;
	source = source ? strchr(source + 3, ' ') : NULL;
	if (!source || !parse_device(fields[2], &device))
		return false;
	source++;
	source[strcspn(source, " \n")] = '\0';
	unescape(source);
	if (device != node->device && !mounted_from(source, node))
		return false;
	unescape(fields[4]);
	append_text(text, size, "mounted on %s", fields[4]);
	return true;
}

/* A line of swaps: a name, then blanks and what does not matter here. */
static bool line_swaps(char *line, const struct node *node, char *text, size_t size)
{
	struct node swap;

	line[strcspn(line, " \t\n")] = '\0';
	unescape(line);
	if (line[0] != '/' || !look(line, &swap) || !node_same(&swap, node))
		return false;
	append_text(text, size, "in use as swap");
	return true;
}

static bool line_in_proc(const char *file, bool (*tells)(char *, const struct node *, char *, size_t),
			 const struct node *node, char *text, size_t size)
{
	char path[PATH_MAX], *line = NULL;
	size_t room = 0;
	bool found = false;

	path_print(path, "%s/%s", proc_root(), file);
	FILE *stream = fopen(path, "re");

	if (!stream)
		return false;
	while (!found && getline(&line, &room, stream) > 0)
		found = tells(line, node, text, size);
	free(line);
	fclose(stream);
	return found;
}

/* Where to write who was found, and how many layers above the device that was asked about. */
struct search {
	char *text;
	size_t size;
	unsigned depth;
};

static bool used_directly(const struct node *node, const struct search *search);
static bool relatives_used(dev_t device, const struct search *search);

/* "..., which is mounted on /srv", "..., whose partition loop2p1 is mounted on /srv" */
static void append_use_of_holder(dev_t holder, const struct search *search)
{
	const struct search above = { .text = search->text, .size = search->size, .depth = search->depth + 1 };
	const struct node node = block_node(holder);
	size_t length = strlen(search->text);

	if (above.depth >= DEEPEST)
		return;
	append_text(search->text, search->size, ", which is ");
	if (used_directly(&node, &above))
		return;
	search->text[length] = '\0';
	relatives_used(holder, &above);
}

/* An entry of holders/: dm-3, md0, bcache0. */
static bool name_holder(void *context, const char *directory, const char *name)
{
	const struct search *search = context;
	char path[PATH_MAX], mapping[NAME_SIZE];
	dev_t holder;

	path_print(path, "%s/%s/dm/name", directory, name);
	if (line_of(path, mapping, sizeof(mapping)))
		append_text(search->text, search->size, "mapped by %s (%s)", name, mapping);
	else if (strncmp(name, "md", 2) == 0)
		append_text(search->text, search->size, "a member of the raid %s", name);
	else
		append_text(search->text, search->size, "held by %s", name);
	path_print(path, "%s/%s/dev", directory, name);
	if (device_of_file(path, &holder))
		append_use_of_holder(holder, search);
	return true;
}

/* An entry of holders/ that device-mapper knows by a name. */
static bool take_mapping(void *context, const char *directory, const char *name)
{
	const struct search *search = context;
	char path[PATH_MAX];

	path_print(path, "%s/%s/dm/name", directory, name);
	return line_of(path, search->text, search->size);
}

bool mapping_of(const char *path, char *name, size_t size)
{
	const struct search search = { .text = name, .size = size };
	char holders[PATH_MAX];
	struct node node;

	if (!look_at_operand(path, &node) || !node.is_block)
		return false;
	sys_path(holders, node.device, "holders");
	return visit_names(holders, take_mapping, (void *)(uintptr_t)&search);
}

static bool used_directly(const struct node *node, const struct search *search)
{
	char path[PATH_MAX];

	if (node->is_block) {
		if (line_in_proc("self/mountinfo", line_mounts, node, search->text, search->size))
			return true;
		sys_path(path, node->device, "holders");
		if (visit_names(path, name_holder, (void *)(uintptr_t)search))
			return true;
	}
	return line_in_proc("swaps", line_swaps, node, search->text, search->size);
}

/* used_directly(), behind words that say of what. */
static bool used_behind(const char *words, dev_t device, const struct search *search)
{
	const struct node node = block_node(device);
	char name[NAME_SIZE];
	size_t length = strlen(search->text);

	kernel_name(device, name);
	append_text(search->text, search->size, "%s %s is ", words, name);
	if (used_directly(&node, search))
		return true;
	search->text[length] = '\0';
	return false;
}

/* An entry of a disk's directory: its partitions are those with a file called partition. */
static bool partition_used(void *context, const char *directory, const char *name)
{
	const struct search *search = context;
	char path[PATH_MAX];
	uint64_t number;
	dev_t device;

	path_print(path, "%s/%s/partition", directory, name);
	if (!number_of_file(path, &number))
		return false;
	path_print(path, "%s/%s/dev", directory, name);
	return device_of_file(path, &device) &&
	       used_behind(search->depth ? ", whose partition" : "its partition", device, search);
}

static bool relatives_used(dev_t device, const struct search *search)
{
	char path[PATH_MAX];
	dev_t disk;

	if (disk_of(device, &disk))
		return used_behind("its disk", disk, search);
	sys_path(path, device, "");
	return visit_names(path, partition_used, (void *)(uintptr_t)search);
}

struct loop_search {
	const struct chain *chain; /* of the device that was asked about */
	struct search search;
};

static bool in_chain(const struct chain *chain, const struct node *node)
{
	for (unsigned i = 0; i < chain->count; i++)
		if (node_same(&chain->spans[i].node, node))
			return true;
	return false;
}

static void name_loop(const struct loop_search *loops, const char *name, dev_t device, unsigned above, unsigned below)
{
	const struct search *search = &loops->search;
	bool is_block = loops->chain->spans[0].node.is_block;

	if (above == 0 && below == 1)
		append_text(search->text, search->size, "the backing %s of /dev/%s", is_block ? "device" : "file", name);
	else
		append_text(search->text, search->size, "on the same bytes as /dev/%s", name);
	append_use_of_holder(device, search);
}

/* loop0, loop1, ... in /sys/block or in /dev. */
static bool loop_over_chain(void *context, const char *directory, const char *name)
{
	const struct loop_search *loops = context;
	char path[PATH_MAX];
	struct chain chain;
	struct node node;
	unsigned i, j;

	(void)directory;
	if (strncmp(name, "loop", 4) != 0 || !name[4] || name[4 + strspn(name + 4, "0123456789")])
		return false;
	path_print(path, "%s/%s", dev_root(), name);
	if (!look(path, &node) || !node.is_block || in_chain(loops->chain, &node))
		return false;
	follow_path(&chain, &node, path);
	if (chain.count < 2 || chain.spans[0].down != STEP_LOOP || !chains_meet(loops->chain, &chain, &i, &j))
		return false;
	name_loop(loops, name, node.device, i, j);
	return true;
}

static bool under_loop(const char *path, const struct node *node, const struct search *search)
{
	struct chain chain;
	struct loop_search loops = { .chain = &chain, .search = *search };
	char directory[PATH_MAX];

	follow_path(&chain, node, path);
	path_print(directory, "%s/block", sys_root());
	if (access(directory, R_OK))
		path_print(directory, "%s", dev_root());
	return visit_names(directory, loop_over_chain, &loops);
}

/* Covers what no file names: other mount namespaces, file systems of several disks, programs. */
static bool exclusively_open(const char *path, const struct node *node, const struct search *search)
{
	struct stat st;

	if (!node->is_block || stat(place_known(path), &st) || !S_ISBLK(st.st_mode)) /* a stand-in of tests is a file */
		return false;
	const struct timespec moment = { .tv_nsec = 10000000 };
	int fd = -1;

	/* a program that was killed holds on until the kernel has finished its requests: allow it a second */
	for (unsigned attempt = 0; attempt < 100; attempt++) {
		fd = open(place_known(path), O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0 || errno != EBUSY)
			break;
		nanosleep(&moment, NULL);
	}
	if (fd >= 0 || errno != EBUSY) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	append_text(search->text, search->size,
	       "opened exclusively by a program, a mapping or a file system that /proc and /sys do not name");
	return true;
}

/* QEMU locks bytes of what it attaches, with locks that belong to its open file description. */
static bool locked_by_a_machine(const char *path, const struct search *search)
{
	const struct timespec moment = { .tv_nsec = 10000000 };
	int fd = open_for_looking(path);
	bool locked = fd >= 0;

	for (unsigned attempt = 0; attempt < 100 && locked; attempt++) {
		struct flock any = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

		locked = !fcntl(fd, F_OFD_GETLK, &any) && any.l_type != F_UNLCK;
		if (locked)
			nanosleep(&moment, NULL); /* as above */
	}
	if (fd >= 0)
		close(fd);
	if (locked)
		append_text(search->text, search->size, "locked by another program, as virtual machines do");
	return locked;
}

bool holder_of(const char *path, char *text, size_t size)
{
	const struct search search = { .text = text, .size = size };
	struct node node;

	text[0] = '\0';
	if (!look_at_operand(path, &node))
		return false;
	bool held = used_directly(&node, &search) || (node.is_block && relatives_used(node.device, &search)) ||
		    under_loop(path, &node, &search) || exclusively_open(path, &node, &search) ||
		    locked_by_a_machine(path, &search);

	make_printable(text);
	return held;
}

int refuse_held(const struct common *common, const char *path, const char *operand, bool dry_run, char *holder, size_t size)
{
	if (!holder_of(path, holder, size))
		return 0;
	if (!dry_run)
		return common_refuse(common, path, "%s is used: %s; release it first (umount, dmsetup remove, losetup -d), then run this "
				     "again", operand, holder);
	common_warn(common, "%s: %s is used: %s; the dry run continues, but it may be changing", path, operand, holder);
	return 0;
}

int refuse_used_dry_run(const struct common *common, const char *path, int status)
{
	if (status & ~(EXIT_REPAIRED | EXIT_PROBLEMS))
		return status;
	return common_refuse(common, path, "in use: without -n this would be refused until it is released");
}

int refuse_read_only(const struct common *common, const char *path, bool dry_run)
{
	struct node node = { .is_block = false };
	int fd = look_at_operand(path, &node) ? open_for_looking(path) : -1;
	bool read_only = is_read_only(path, fd, &node, dry_run);

	if (fd >= 0)
		close(fd);
	return read_only ? common_refuse(common, path, "it cannot be written: the device is read-only (blockdev --setrw), or its file "
					 "system or permissions forbid it") : 0;
}
