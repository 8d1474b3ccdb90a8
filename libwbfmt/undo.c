/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Undo files: records of what stood on the devices, each with the sums of what was written over it,
 * chained and in batches. A batch is durable before its writes begin, so a record that was cut off
 * speaks of sectors that nobody touched, while a bad one with a later batch behind it is damage.
 */
#include <stdlib.h>
#include <zlib.h>

#include "bytes.h"
#include "error.h"
#include "undo.h"

/* The layout; see wbfmt(5). */
static const char file_magic[8] = "WBundo";
static const char record_magic[4] = "WBur";
enum { FILE_VERSION = 8, FILE_DEVICES = 12, FILE_ID = 16, FILE_CREATED = 24, FILE_LENGTH = 32, FILE_NAMES = 36 };
enum { RECORD_KIND = 4, RECORD_SEQUENCE = 8, RECORD_BATCH = 16, RECORD_DEVICE = 24, RECORD_LENGTH = 28, RECORD_OFFSET = 32,
       RECORD_STORED = 40, RECORD_PREVIOUS = 44, RECORD_CRC = 48, RECORD_HEADER = 52 };
enum { KIND_OLD = 1, KIND_UNDONE = 2 };

#define HEADER_MAX 65536u

uint32_t wb_undo_sum(const uint8_t *bytes, size_t size)
{
	return ~wb_crc32c(~0u, bytes, size);
}

static uint32_t payload_size(uint32_t length)
{
	return length + length / WB_SECTOR * WB_UNDO_SUM;
}

/* ---- writing ---- */

static size_t put_device(uint8_t *to, const struct wb_undo_device *device)
{
	size_t length = strlen(device->name);

	wb_put_le(to, 8, device->size);
	wb_put_le(to + 8, 4, length);
	memcpy(to + 12, device->name, length);
	return 12 + length;
}

static size_t header_size(const struct wb_undo_device *devices, unsigned count)
{
	size_t size = FILE_NAMES + 4;

	for (unsigned i = 0; i < count; i++)
		size += 12 + strlen(devices[i].name);
	return size;
}

static int write_header(struct wb_undo *undo, struct wb_error *err)
{
	size_t size = header_size(undo->devices, undo->device_count), at = FILE_NAMES;
	uint8_t *header = calloc(1, size);
	int ret;

	if (!header)
		return wb_no_memory(err, "a header");
	memcpy(header, file_magic, sizeof(file_magic));
	wb_put_le(header + FILE_VERSION, 4, 1);
	wb_put_le(header + FILE_DEVICES, 4, undo->device_count);
	wb_put_le(header + FILE_ID, 8, undo->id);
	wb_put_le(header + FILE_CREATED, 8, undo->created);
	wb_put_le(header + FILE_LENGTH, 4, size);
	for (unsigned i = 0; i < undo->device_count; i++)
		at += put_device(header + at, &undo->devices[i]);
	undo->previous = wb_undo_sum(header, at);
	undo->end = size;
	wb_put_le(header + at, 4, undo->previous);
	ret = wb_dev_write(undo->file, 0, header, (uint32_t)size, err);
	free(header);
	return ret ? ret : wb_dev_flush(undo->file, err);
}

int wb_undo_create(struct wb_undo *undo, struct wb_dev *file, const struct wb_undo_device *devices, unsigned count,
		   uint64_t id, uint64_t now, struct wb_error *err)
{
	*undo = (struct wb_undo){ .file = file, .id = id, .created = now };
	if (!count || count > WB_UNDO_DEVICES || header_size(devices, count) > HEADER_MAX)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "an undo file speaks of 1 to %u devices", WB_UNDO_DEVICES);
	for (; undo->device_count < count; undo->device_count++) {
		struct wb_undo_device *device = &undo->devices[undo->device_count];

		device->size = devices[undo->device_count].size;
		device->name = strdup(devices[undo->device_count].name);
		if (!device->name)
			return wb_no_memory(err, "a name");
	}
	return write_header(undo, err);
}

/* The record stands in bytes, its payload behind the header. */
static int append(struct wb_undo *undo, uint8_t *bytes, unsigned kind, uint32_t stored, struct wb_error *err)
{
	memcpy(bytes, record_magic, sizeof(record_magic));
	wb_put_le(bytes + RECORD_KIND, 4, kind);
	wb_put_le(bytes + RECORD_SEQUENCE, 8, undo->sequence);
	wb_put_le(bytes + RECORD_BATCH, 8, undo->batch);
	wb_put_le(bytes + RECORD_STORED, 4, stored);
	wb_put_le(bytes + RECORD_PREVIOUS, 4, undo->previous);
	uint32_t crc = wb_crc32c(~0u, bytes, RECORD_CRC);

	crc = ~wb_crc32c(crc, bytes + RECORD_HEADER, stored);
	wb_put_le(bytes + RECORD_CRC, 4, crc);
	int ret = wb_dev_write(undo->file, undo->end, bytes, RECORD_HEADER + stored, err);

	undo->end += RECORD_HEADER + stored;
	undo->previous = crc;
	undo->sequence++;
	return ret;
}

void wb_undo_begin(struct wb_undo *undo)
{
	undo->batch = undo->sequence;
}

static void put_payload(uint8_t *payload, const uint8_t *old, const uint8_t *new_bytes, uint32_t length)
{
	memcpy(payload, old, length);
	for (uint32_t i = 0; i < length / WB_SECTOR; i++)
		wb_put_le(payload + length + i * WB_UNDO_SUM, WB_UNDO_SUM, wb_undo_sum(new_bytes + i * WB_SECTOR, WB_SECTOR));
}

int wb_undo_add(struct wb_undo *undo, unsigned device, uint64_t offset, const uint8_t *old, const uint8_t *new_bytes,
		uint32_t length, struct wb_error *err)
{
	uLong size = payload_size(length);
	uLongf stored = compressBound(size);
	uint8_t *payload = malloc(size), *bytes = calloc(1, RECORD_HEADER + stored);
	int ret = 0;

	if (!payload || !bytes)
		ret = wb_no_memory(err, "an undo record");
	if (!ret) {
		put_payload(payload, old, new_bytes, length);
		if (compress2(bytes + RECORD_HEADER, &stored, payload, size, Z_BEST_SPEED) != Z_OK)
			ret = wb_no_memory(err, "compression");
	}
	if (!ret) {
		wb_put_le(bytes + RECORD_DEVICE, 4, device);
		wb_put_le(bytes + RECORD_LENGTH, 4, length);
		wb_put_le(bytes + RECORD_OFFSET, 8, offset);
		ret = append(undo, bytes, KIND_OLD, (uint32_t)stored, err);
	}
	free(payload);
	free(bytes);
	return ret;
}

int wb_undo_end(struct wb_undo *undo, struct wb_error *err)
{
	return wb_dev_flush(undo->file, err);
}

int wb_undo_mark(struct wb_undo *undo, uint64_t now, struct wb_error *err)
{
	uint8_t bytes[RECORD_HEADER] = { 0 };

	wb_put_le(bytes + RECORD_OFFSET, 8, now);
	wb_undo_begin(undo);
	int ret = append(undo, bytes, KIND_UNDONE, 0, err);

	return ret ? ret : wb_undo_end(undo, err);
}

/* ---- reading ---- */

/* Bytes of the file; -WB_EINVAL where it ends before them. */
static int read_some(const struct wb_undo *undo, uint64_t at, void *to, uint32_t length, struct wb_error *err)
{
	if (at > wb_dev_size(undo->file) || length > wb_dev_size(undo->file) - at)
		return wb_fail(err, WB_EINVAL, 0, at, "the undo file ends here");
	return wb_dev_read(undo->file, at, to, length, err);
}

static int damaged_header(struct wb_error *err, const char *what)
{
	return wb_fail(err, WB_EINVAL, 0, 0, "%s", what);
}

static int get_device(struct wb_undo_device *device, const uint8_t *header, size_t size, size_t *at, struct wb_error *err)
{
	if (size - *at < 12 || wb_get_le(header + *at + 8, 4) > size - *at - 12)
		return damaged_header(err, "the header of the undo file is damaged");
	device->size = wb_get_le(header + *at, 8);
	device->name = strndup((const char *)header + *at + 12, wb_get_le(header + *at + 8, 4));
	if (!device->name)
		return wb_no_memory(err, "a name");
	*at += 12 + wb_get_le(header + *at + 8, 4);
	return 0;
}

/* header holds size bytes and the sum behind them has been checked. */
static int parse_header(struct wb_undo *undo, const uint8_t *header, size_t size, struct wb_error *err)
{
	uint64_t count = wb_get_le(header + FILE_DEVICES, 4);
	size_t at = FILE_NAMES;
	int ret = 0;

	if (!count || count > WB_UNDO_DEVICES)
		return damaged_header(err, "the header of the undo file names no devices, or too many");
	undo->id = wb_get_le(header + FILE_ID, 8);
	undo->created = wb_get_le(header + FILE_CREATED, 8);
	for (; undo->device_count < count && !ret; undo->device_count++)
		ret = get_device(&undo->devices[undo->device_count], header, size, &at, err);
	return ret;
}

static int read_header(struct wb_undo *undo, struct wb_error *err)
{
	uint8_t start[FILE_NAMES];
	int ret = read_some(undo, 0, start, sizeof(start), err);

	if (ret == -WB_EIO)
		return ret;
	if (ret || memcmp(start, file_magic, sizeof(file_magic)))
		return damaged_header(err, "this is no undo file");
	if (wb_get_le(start + FILE_VERSION, 4) != 1)
		return wb_fail(err, WB_EINVAL, 0, FILE_VERSION, "the undo file has version %llu, and only 1 is known",
			       (unsigned long long)wb_get_le(start + FILE_VERSION, 4));
	uint32_t size = (uint32_t)wb_get_le(start + FILE_LENGTH, 4);

	if (size < FILE_NAMES + 4 || size > HEADER_MAX)
		return damaged_header(err, "the header of the undo file is damaged");
	uint8_t *header = malloc(size);

	if (!header)
		return wb_no_memory(err, "a header");
	ret = read_some(undo, 0, header, size, err);
	undo->previous = ret ? 0 : wb_undo_sum(header, size - 4);
	if (!ret && undo->previous != wb_get_le(header + size - 4, 4))
		ret = damaged_header(err, "the header of the undo file is damaged");
	if (!ret)
		ret = parse_header(undo, header, size - 4, err);
	undo->end = size;
	free(header);
	return ret;
}

/* A whole record at a place of the file, as far as itself can tell: 1, or 0. bytes gets header and payload, has room for
 * RECORD_HEADER + compressBound(WB_UNDO_PAYLOAD). */
static int get_record(struct wb_undo *undo, uint64_t at, uint8_t *bytes, struct wb_error *err)
{
	int ret = read_some(undo, at, bytes, RECORD_HEADER, err);

	if (ret)
		return ret == -WB_EINVAL ? 0 : ret;
	uint64_t stored = wb_get_le(bytes + RECORD_STORED, 4);

	if (memcmp(bytes, record_magic, sizeof(record_magic)) || stored > compressBound(WB_UNDO_PAYLOAD))
		return 0;
	ret = read_some(undo, at + RECORD_HEADER, bytes + RECORD_HEADER, (uint32_t)stored, err);
	if (ret)
		return ret == -WB_EINVAL ? 0 : ret;
	uint32_t crc = wb_crc32c(~0u, bytes, RECORD_CRC);

	return wb_get_le(bytes + RECORD_CRC, 4) == (uint32_t)~wb_crc32c(crc, bytes + RECORD_HEADER, stored);
}

static bool follows(const struct wb_undo *undo, const uint8_t *bytes)
{
	return wb_get_le(bytes + RECORD_SEQUENCE, 8) == undo->sequence &&
	       wb_get_le(bytes + RECORD_PREVIOUS, 4) == undo->previous;
}

static int remember(struct wb_undo *undo, const struct wb_undo_record *record, struct wb_error *err)
{
	if (undo->count == undo->capacity) {
		size_t capacity = undo->capacity ? 2 * undo->capacity : 256;
		void *grown = realloc(undo->records, capacity * sizeof(*record));

		if (!grown)
			return wb_no_memory(err, "the records of the undo file");
		undo->records = grown;
		undo->capacity = capacity;
	}
	undo->records[undo->count++] = *record;
	return 0;
}

/* A record that is whole and follows its predecessor: only a forged one has impossible numbers now. */
static int take_record(struct wb_undo *undo, const uint8_t *bytes, struct wb_error *err)
{
	uint64_t kind = wb_get_le(bytes + RECORD_KIND, 4);
	struct wb_undo_record record = { .at = undo->end, .offset = wb_get_le(bytes + RECORD_OFFSET, 8),
					 .length = (uint32_t)wb_get_le(bytes + RECORD_LENGTH, 4),
					 .stored = (uint32_t)wb_get_le(bytes + RECORD_STORED, 4),
					 .device = (uint32_t)wb_get_le(bytes + RECORD_DEVICE, 4) };
	int ret = 0;

	if (kind == KIND_UNDONE) {
		undo->undone = record.offset;
		undo->count = 0;
	} else {
		if (kind != KIND_OLD || record.device >= undo->device_count || !record.length ||
		    record.length > WB_UNDO_MAX || (record.length | record.offset) % WB_SECTOR ||
		    record.offset > undo->devices[record.device].size ||
		    record.length > undo->devices[record.device].size - record.offset)
			return wb_fail(err, WB_EINVAL, 0, undo->end, "a record of the undo file makes no sense");
		ret = remember(undo, &record, err);
	}
	undo->end += RECORD_HEADER + record.stored;
	undo->previous = (uint32_t)wb_get_le(bytes + RECORD_CRC, 4);
	undo->sequence++;
	return ret;
}

/* 1 when a whole record of a later batch begins at one of the bytes of this window. */
static int later_record(struct wb_undo *undo, uint64_t at, const uint8_t *window, uint32_t size, uint8_t *bytes,
			struct wb_error *err)
{
	for (uint32_t i = 0; i + sizeof(record_magic) <= size; i++) {
		int ret = memcmp(window + i, record_magic, sizeof(record_magic)) ? 0 : get_record(undo, at + i, bytes, err);

		if (ret < 0 || (ret && wb_get_le(bytes + RECORD_BATCH, 8) > undo->sequence))
			return ret;
	}
	return 0;
}

/* Behind the last whole record there may be what is left of one that was cut off, but nothing of a later batch. */
static int look_behind(struct wb_undo *undo, uint8_t *bytes, struct wb_error *err)
{
	uint8_t window[4096];
	const uint32_t step = sizeof(window) - sizeof(record_magic) + 1;
	uint64_t size = wb_dev_size(undo->file);
	int ret = 0;

	undo->torn = undo->end < size;
	for (uint64_t at = undo->end; at < size && !ret; at += step) {
		uint32_t some = (uint32_t)wb_min(size - at, sizeof(window));

		ret = wb_dev_read(undo->file, at, window, some, err);
		if (!ret)
			ret = later_record(undo, at, window, some, bytes, err);
	}
	return ret == 1 ? wb_fail(err, WB_EINVAL, 0, undo->end, "the undo file is damaged here, and later records are whole") :
			  ret;
}

int wb_undo_load(struct wb_undo *undo, struct wb_dev *file, struct wb_error *err)
{
	uint8_t *bytes = malloc(RECORD_HEADER + compressBound(WB_UNDO_PAYLOAD));
	int ret;

	*undo = (struct wb_undo){ .file = file };
	if (!bytes)
		return wb_no_memory(err, "an undo record");
	ret = read_header(undo, err);
	while (!ret && (ret = get_record(undo, undo->end, bytes, err)) == 1 && follows(undo, bytes))
		ret = take_record(undo, bytes, err);
	if (ret >= 0)
		ret = look_behind(undo, bytes, err);
	free(bytes);
	return ret;
}

int wb_undo_payload(const struct wb_undo *undo, const struct wb_undo_record *record, uint8_t *payload,
		    struct wb_error *err)
{
	uLongf size = payload_size(record->length);
	uint8_t *packed = malloc(record->stored);
	int ret = packed || !record->stored ? read_some(undo, record->at + RECORD_HEADER, packed, record->stored, err) :
					      wb_no_memory(err, "an undo record");

	if (!ret && (uncompress(payload, &size, packed, record->stored) != Z_OK || size != payload_size(record->length)))
		ret = wb_fail(err, WB_EINVAL, 0, record->at, "a record of the undo file cannot be unpacked");
	free(packed);
	return ret;
}

void wb_undo_release(struct wb_undo *undo)
{
	for (unsigned i = 0; i < undo->device_count; i++)
		free(undo->devices[i].name);
	free(undo->records);
	*undo = (struct wb_undo){ .file = NULL };
}
