/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Undo files: records of the bytes that stood on the devices, each with the sums of the bytes written over them, chained.
 * Nothing is overwritten before its record is durable, so a torn last record describes sectors that are untouched. A
 * missing record is a loss if a later record or the end note before the first one counts it as durable.
 */
#include <stdlib.h>
#include <zlib.h>

#include "bytes.h"
#include "crc32c.h"
#include "error.h"
#include "undo.h"

/* The layout; see wbfmt(5). */
static const char file_magic[8] = "WBundo";
static const char record_magic[4] = { 'W', 'B', 'u', 'r' };
enum { FILE_VERSION = 8, FILE_DEVICES = 12, FILE_ID = 16, FILE_CREATED = 24, FILE_LENGTH = 32, FILE_NAMES = 36 };
enum { FILE_START = 8, FILE_VERSION_NOW = 3 }; /* bytes of a start, behind the names; none in versions 1 and 2 */
enum { RECORD_KIND = 4, RECORD_FILE = 8, RECORD_SEQUENCE = 16, RECORD_DURABLE = 24, RECORD_OFFSET = 32,
       RECORD_DEVICE = 40, RECORD_LENGTH = 44, RECORD_STORED = 48, RECORD_PREVIOUS = 52, RECORD_PAYLOAD_SUM = 56,
       RECORD_SUM = 60, RECORD_HEADER = 64 };
enum { NOTE_STATE = 4, NOTE_FILE = 8, NOTE_NUMBER = 16, NOTE_RECORDS = 24, NOTE_END = 32, NOTE_TIME = 40, NOTE_SUM = 60 };
static const char note_magic[4] = { 'W', 'B', 'u', 'e' };
enum { NOTE_SO_FAR = 1, NOTE_FINISHED = 2 };
enum { KIND_OLD = 1, KIND_UNDONE = 2, KIND_NOTE = 3, KIND_BEGUN = 4 };

#define HEADER_MAX 65536u
#define STORED_MAX (WB_UNDO_PAYLOAD + WB_UNDO_PAYLOAD / 8 + 1024) /* what any zlib makes of a payload */

struct header {
	struct wb_undo_record record; /* of an undone mark, offset is the time */
	uint64_t sequence, durable;
	uint32_t kind, previous, sum;
};

uint32_t wb_undo_sum(const uint8_t *bytes, size_t size)
{
	return ~wb_crc32c(~0u, bytes, size);
}

static uint32_t payload_size(uint32_t length)
{
	return length + length / WB_SECTOR * WB_UNDO_SUM;
}

/* Goes behind a record. */
static void advance(struct wb_undo *undo, const struct header *header)
{
	undo->end += RECORD_HEADER + header->record.stored;
	undo->previous = header->sum;
	undo->sequence++;
	if (header->kind == KIND_OLD) {
		undo->last_old = undo->sequence;
		undo->count++;
		undo->sectors[header->record.device] += header->record.length / WB_SECTOR;
	}
	undo->begun += header->kind == KIND_BEGUN;
	undo->half_undone |= header->kind == KIND_BEGUN;
	if (header->kind == KIND_UNDONE) {
		undo->undone = header->record.offset;
		undo->half_undone = false;
		undo->begin = undo->end;
		undo->count = 0;
		memset(undo->sectors, 0, sizeof(undo->sectors));
	}
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
		size += 12 + strlen(devices[i].name) + FILE_START;
	return size;
}

/* Where the first end note stands: a sector of its own, so that a torn write of one leaves the other. */
static uint64_t notes_offset(uint64_t header_size)
{
	return (header_size + WB_SECTOR - 1) / WB_SECTOR * WB_SECTOR;
}

static void put_note(const struct wb_undo *undo, uint8_t *sector, unsigned state, uint64_t now)
{
	memset(sector, 0, WB_SECTOR);
	memcpy(sector, note_magic, sizeof(note_magic));
	wb_put_le(sector + NOTE_STATE, 4, state);
	wb_put_le(sector + NOTE_FILE, 8, undo->id);
	wb_put_le(sector + NOTE_NUMBER, 8, undo->note_number);
	wb_put_le(sector + NOTE_RECORDS, 8, undo->noted);
	wb_put_le(sector + NOTE_END, 8, undo->end);
	wb_put_le(sector + NOTE_TIME, 8, now);
	wb_put_le(sector + NOTE_SUM, 4, wb_undo_sum(sector, NOTE_SUM));
}

static int write_header(struct wb_undo *undo, struct wb_error *err)
{
	size_t size = header_size(undo->devices, undo->device_count), at = FILE_NAMES;
	uint64_t notes = notes_offset(size), whole = notes + 2ull * WB_SECTOR;
	uint8_t *header = calloc(1, (size_t)whole);
	int ret;

	if (!header)
		return wb_no_memory(err, "a header");
	memcpy(header, file_magic, sizeof(file_magic));
	wb_put_le(header + FILE_VERSION, 4, undo->version);
	wb_put_le(header + FILE_DEVICES, 4, undo->device_count);
	wb_put_le(header + FILE_ID, 8, undo->id);
	wb_put_le(header + FILE_CREATED, 8, undo->created);
	wb_put_le(header + FILE_LENGTH, 4, size);
	for (unsigned i = 0; i < undo->device_count; i++)
		at += put_device(header + at, &undo->devices[i]);
	for (unsigned i = 0; i < undo->device_count; i++, at += FILE_START)
		wb_put_le(header + at, FILE_START, (uint64_t)undo->devices[i].start);
	undo->previous = wb_undo_sum(header, at);
	undo->begin = undo->end = whole;
	undo->notes = notes;
	wb_put_le(header + at, 4, undo->previous);
	put_note(undo, header + notes, NOTE_SO_FAR, undo->created);
	ret = wb_dev_write(undo->file, 0, header, (uint32_t)whole, err);
	free(header);
	return ret ? ret : wb_dev_flush(undo->file, err);
}

static int copy_devices(struct wb_undo *undo, const struct wb_undo_device *devices, unsigned count, struct wb_error *err)
{
	for (; undo->device_count < count; undo->device_count++) {
		struct wb_undo_device *device = &undo->devices[undo->device_count];

		device->size = devices[undo->device_count].size;
		device->start = devices[undo->device_count].start;
		device->name = strdup(devices[undo->device_count].name);
		if (!device->name)
			return wb_no_memory(err, "a name");
	}
	return 0;
}

int wb_undo_create(struct wb_undo *undo, struct wb_dev *file, const struct wb_undo_device *devices, unsigned count,
		   uint64_t id, uint64_t now, struct wb_error *err)
{
	int ret;

	*undo = (struct wb_undo){ .file = file, .id = id, .created = now, .version = FILE_VERSION_NOW };
	if (!count || count > WB_UNDO_DEVICES || header_size(devices, count) > HEADER_MAX)
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "an undo file speaks of 1 to %u devices with shorter names",
			       WB_UNDO_DEVICES);
	if (wb_dev_size(file))
		return wb_fail(err, WB_EINVAL, 0, WB_NO_OFFSET, "an undo file begins empty");
	ret = copy_devices(undo, devices, count, err);
	if (!ret)
		ret = write_header(undo, err);
	if (ret)
		wb_undo_release(undo);
	return ret;
}

/* The payload stands in bytes already, with room for the header before it. */
static int append(struct wb_undo *undo, struct header *header, uint8_t *bytes, struct wb_error *err)
{
	const struct wb_undo_record *record = &header->record;
	int ret;

	memcpy(bytes, record_magic, sizeof(record_magic));
	wb_put_le(bytes + RECORD_KIND, 4, header->kind);
	wb_put_le(bytes + RECORD_FILE, 8, undo->id);
	wb_put_le(bytes + RECORD_SEQUENCE, 8, undo->sequence);
	wb_put_le(bytes + RECORD_DURABLE, 8, undo->durable);
	wb_put_le(bytes + RECORD_OFFSET, 8, record->offset);
	wb_put_le(bytes + RECORD_DEVICE, 4, record->device);
	wb_put_le(bytes + RECORD_LENGTH, 4, record->length);
	wb_put_le(bytes + RECORD_STORED, 4, record->stored);
	wb_put_le(bytes + RECORD_PREVIOUS, 4, undo->previous);
	wb_put_le(bytes + RECORD_PAYLOAD_SUM, 4, wb_undo_sum(bytes + RECORD_HEADER, record->stored));
	header->sum = wb_undo_sum(bytes, RECORD_SUM);
	wb_put_le(bytes + RECORD_SUM, 4, header->sum);
	ret = wb_dev_write(undo->file, undo->end, bytes, RECORD_HEADER + record->stored, err);
	if (!ret)
		advance(undo, header);
	return ret;
}

/* The payload, compressed, and in *stored its size; bytes has room for *stored. */
static int pack(uint8_t *bytes, uLongf *stored, const uint8_t *old, const uint8_t *new_bytes, uint32_t length,
		struct wb_error *err)
{
	uint32_t size = payload_size(length);
	uint8_t *payload = malloc(size);

	if (!payload)
		return wb_no_memory(err, "an undo record");
	memcpy(payload, old, length);
	for (uint32_t i = 0; i < length / WB_SECTOR; i++)
		wb_put_le(payload + length + i * WB_UNDO_SUM, WB_UNDO_SUM, wb_undo_sum(new_bytes + i * WB_SECTOR, WB_SECTOR));
	int packed = compress2(bytes, stored, payload, size, Z_BEST_SPEED);

	free(payload);
	return packed == Z_OK ? 0 : wb_no_memory(err, "compression");
}

static int append_note(struct wb_undo *undo, struct wb_error *err)
{
	struct header header = { .kind = KIND_NOTE };
	uint8_t bytes[RECORD_HEADER];

	return append(undo, &header, bytes, err);
}

/* What an earlier run wrote at its end may not have been flushed: keep it apart from what comes now. */
static int leave_earlier_run(struct wb_undo *undo, struct wb_error *err)
{
	bool follows = undo->loaded && undo->count;

	undo->loaded = false;
	return follows ? append_note(undo, err) : 0;
}

int wb_undo_add(struct wb_undo *undo, unsigned device, uint64_t offset, const uint8_t *old, const uint8_t *new_bytes,
		uint32_t length, struct wb_error *err)
{
	uLongf stored = compressBound(payload_size(length));
	uint8_t *bytes = malloc(RECORD_HEADER + stored);
	int ret = bytes ? pack(bytes + RECORD_HEADER, &stored, old, new_bytes, length, err) :
			  wb_no_memory(err, "an undo record");

	if (!ret)
		ret = leave_earlier_run(undo, err);
	if (!ret) {
		struct header header = { .kind = KIND_OLD, .record = { .device = device, .offset = offset, .length = length,
								       .stored = (uint32_t)stored } };

		ret = append(undo, &header, bytes, err);
	}
	free(bytes);
	return ret;
}

int wb_undo_end(struct wb_undo *undo, struct wb_error *err)
{
	int ret = wb_dev_flush(undo->file, err);

	if (!ret)
		undo->durable = undo->sequence;
	return ret;
}

/* The older of the two notes is replaced. The file is flushed between two of them, so that one is always intact. */
static int write_note(struct wb_undo *undo, unsigned state, uint64_t now, struct wb_error *err)
{
	uint8_t sector[WB_SECTOR];

	if (!undo->notes)
		return 0;
	undo->noted = undo->durable;
	undo->finished = state == NOTE_FINISHED;
	undo->note_number++;
	put_note(undo, sector, state, now);
	return wb_dev_write(undo->file, undo->notes + undo->note_number % 2 * WB_SECTOR, sector, WB_SECTOR, err);
}

void wb_undo_note(struct wb_undo *undo)
{
	if (!undo->sequence || undo->durable != undo->sequence) /* which a note itself is not */
		return;
	if (!append_note(undo, NULL))
		write_note(undo, NOTE_SO_FAR, undo->created, NULL);
}

int wb_undo_finish(struct wb_undo *undo, uint64_t now, struct wb_error *err)
{
	int ret = 0;

	if (!undo->notes || (undo->finished && undo->noted == undo->sequence))
		return 0;
	ret = wb_undo_end(undo, err);
	if (!ret)
		ret = write_note(undo, NOTE_FINISHED, now, err);
	if (!ret)
		ret = wb_dev_flush(undo->file, err);
	undo->interrupted &= ret != 0;
	return ret;
}

/* A record of one moment; all before it is durable with it. */
static int mark(struct wb_undo *undo, unsigned kind, uint64_t now, struct wb_error *err)
{
	struct header header = { .kind = kind, .record = { .offset = now } };
	uint8_t bytes[RECORD_HEADER];
	int ret = append(undo, &header, bytes, err);

	return ret ? ret : wb_undo_end(undo, err);
}

int wb_undo_mark_begun(struct wb_undo *undo, uint64_t now, struct wb_error *err)
{
	return mark(undo, KIND_BEGUN, now, err);
}

int wb_undo_mark(struct wb_undo *undo, uint64_t now, struct wb_error *err)
{
	return mark(undo, KIND_UNDONE, now, err);
}

/* ---- reading ---- */

/* The file has so many bytes there. */
static bool reaches(const struct wb_undo *undo, uint64_t at, uint64_t length)
{
	return at <= wb_dev_size(undo->file) && length <= wb_dev_size(undo->file) - at;
}

static int damaged_header(struct wb_error *err, const char *what)
{
	return wb_fail(err, WB_EINVAL, 0, 0, "%s", what);
}

static int get_device(struct wb_undo_device *device, const uint8_t *header, size_t size, size_t *at, struct wb_error *err)
{
	if (size - *at < 12 || wb_get_le(header + *at + 8, 4) > size - *at - 12)
		return damaged_header(err, "the devices in the header of the undo file make no sense");
	size_t length = (size_t)wb_get_le(header + *at + 8, 4);

	device->size = wb_get_le(header + *at, 8);
	device->name = strndup((const char *)header + *at + 12, length);
	if (!device->name)
		return wb_no_memory(err, "a name");
	*at += 12 + length;
	return strlen(device->name) == length ? 0 : damaged_header(err, "a name in the header of the undo file holds a zero byte");
}

static int get_starts(struct wb_undo *undo, const uint8_t *header, size_t size, size_t *at, struct wb_error *err)
{
	if (size - *at < (size_t)undo->device_count * FILE_START)
		return damaged_header(err, "the header of the undo file is shorter than it should be");
	for (unsigned i = 0; i < undo->device_count; i++, *at += FILE_START)
		undo->devices[i].start = (int64_t)wb_get_le(header + *at, FILE_START);
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
	if (!ret && wb_get_le(header + FILE_VERSION, 4) >= 3)
		ret = get_starts(undo, header, size, &at, err);
	return ret || at == size ? ret : damaged_header(err, "the header of the undo file is longer than it should be");
}

/* The fixed part, enough to know the length of the rest. */
static int read_start(const struct wb_undo *undo, uint8_t *start, struct wb_error *err)
{
	int ret = reaches(undo, 0, FILE_NAMES) ? wb_dev_read(undo->file, 0, start, FILE_NAMES, err) : 0;

	if (ret)
		return ret;
	if (!reaches(undo, 0, FILE_NAMES) || memcmp(start, file_magic, sizeof(file_magic)))
		return damaged_header(err, "this is no undo file");
	uint64_t version = wb_get_le(start + FILE_VERSION, 4);

	if (!version || version > FILE_VERSION_NOW)
		return wb_fail(err, WB_EINVAL, 0, FILE_VERSION, "the undo file has version %llu, and only 1 to %d are known",
			       (unsigned long long)version, FILE_VERSION_NOW);
	uint64_t size = wb_get_le(start + FILE_LENGTH, 4);

	if (size < FILE_NAMES + 4 || size > HEADER_MAX)
		return damaged_header(err, "the header of the undo file is damaged");
	return reaches(undo, 0, size) ? 0 : damaged_header(err, "the undo file ends in its header");
}

/* Takes over a note that is newer than the one at hand. */
static bool take_note(struct wb_undo *undo, const uint8_t *sector)
{
	uint64_t state = wb_get_le(sector + NOTE_STATE, 4);

	if (memcmp(sector, note_magic, sizeof(note_magic)) || wb_get_le(sector + NOTE_FILE, 8) != undo->id ||
	    state < NOTE_SO_FAR || state > NOTE_FINISHED ||
	    !wb_sum_holds(wb_get_le(sector + NOTE_SUM, 4), wb_undo_sum(sector, NOTE_SUM)))
		return false;
	if (wb_get_le(sector + NOTE_NUMBER, 8) < undo->note_number)
		return true;
	undo->note_number = wb_get_le(sector + NOTE_NUMBER, 8);
	undo->noted = wb_get_le(sector + NOTE_RECORDS, 8);
	undo->finished = state == NOTE_FINISHED;
	return true;
}

static int read_notes(struct wb_undo *undo, uint64_t at, struct wb_error *err)
{
	uint8_t sectors[2 * WB_SECTOR];
	int ret;

	if (!reaches(undo, at, sizeof(sectors)))
		return damaged_header(err, "the undo file ends in its header");
	ret = wb_dev_read(undo->file, at, sectors, sizeof(sectors), err);
	undo->notes = at;
	undo->begin = undo->end = at + sizeof(sectors);
	bool first = !ret && take_note(undo, sectors), second = !ret && take_note(undo, sectors + WB_SECTOR);

	if (!ret && !first && !second) {
		undo->cut = true;
		undo->cut_at = at;
	}
	return ret;
}

static int read_header(struct wb_undo *undo, struct wb_error *err)
{
	uint8_t start[FILE_NAMES];
	int ret = read_start(undo, start, err);

	if (ret)
		return ret;
	uint32_t size = (uint32_t)wb_get_le(start + FILE_LENGTH, 4);
	uint8_t *header = malloc(size);

	if (!header)
		return wb_no_memory(err, "a header");
	ret = wb_dev_read(undo->file, 0, header, size, err);
	undo->previous = ret ? 0 : wb_undo_sum(header, size - 4);
	if (!ret && !wb_sum_holds(wb_get_le(header + size - 4, 4), undo->previous))
		ret = damaged_header(err, "the header of the undo file is damaged");
	if (!ret)
		ret = parse_header(undo, header, size - 4, err);
	undo->version = (unsigned)wb_get_le(start + FILE_VERSION, 4);
	undo->begin = undo->end = size;
	free(header);
	return ret || undo->version < 2 ? ret : read_notes(undo, notes_offset(size), err);
}

/* Whether a header of this file's records stands there, whole. Its numbers may still be forged. */
static bool decode(const struct wb_undo *undo, uint64_t at, const uint8_t *bytes, struct header *header)
{
	if (memcmp(bytes, record_magic, sizeof(record_magic)) || wb_get_le(bytes + RECORD_FILE, 8) != undo->id)
		return false;
	*header = (struct header){
		.kind = (uint32_t)wb_get_le(bytes + RECORD_KIND, 4),
		.sequence = wb_get_le(bytes + RECORD_SEQUENCE, 8),
		.durable = wb_get_le(bytes + RECORD_DURABLE, 8),
		.previous = (uint32_t)wb_get_le(bytes + RECORD_PREVIOUS, 4),
		.sum = (uint32_t)wb_get_le(bytes + RECORD_SUM, 4),
		.record = { .at = at,
			    .offset = wb_get_le(bytes + RECORD_OFFSET, 8),
			    .length = (uint32_t)wb_get_le(bytes + RECORD_LENGTH, 4),
			    .stored = (uint32_t)wb_get_le(bytes + RECORD_STORED, 4),
			    .sum = (uint32_t)wb_get_le(bytes + RECORD_PAYLOAD_SUM, 4),
			    .device = (uint32_t)wb_get_le(bytes + RECORD_DEVICE, 4) },
	};
	return wb_sum_holds(header->sum, wb_undo_sum(bytes, RECORD_SUM));
}

static bool range_makes_sense(const struct wb_undo *undo, const struct wb_undo_record *record)
{
	return record->device < undo->device_count && record->length && record->length <= WB_UNDO_MAX &&
	       !((record->length | record->offset) % WB_SECTOR) &&
	       record->offset <= undo->devices[record->device].size &&
	       record->length <= undo->devices[record->device].size - record->offset &&
	       record->stored <= STORED_MAX;
}

static bool makes_sense(const struct wb_undo *undo, const struct header *header)
{
	if (header->durable > header->sequence)
		return false;
	if (header->kind == KIND_OLD)
		return range_makes_sense(undo, &header->record);
	return header->kind >= KIND_UNDONE && header->kind <= KIND_BEGUN && !header->record.stored;
}

/* 1, or 0 where no whole header stands. */
static int read_record(const struct wb_undo *undo, uint64_t at, struct header *header, struct wb_error *err)
{
	uint8_t bytes[RECORD_HEADER];

	if (!reaches(undo, at, RECORD_HEADER))
		return 0;
	int ret = wb_dev_read(undo->file, at, bytes, RECORD_HEADER, err);

	if (ret)
		return ret;
	if (!decode(undo, at, bytes, header))
		return 0;
	return makes_sense(undo, header) ? 1 : wb_fail(err, WB_EINVAL, 0, at, "a record of the undo file makes no sense");
}

/* The payload as it is stored: 1, or 0 where it is not whole. */
static int read_stored(const struct wb_undo *undo, const struct wb_undo_record *record, uint8_t *stored,
		       struct wb_error *err)
{
	if (!reaches(undo, record->at + RECORD_HEADER, record->stored))
		return 0;
	int ret = wb_dev_read(undo->file, record->at + RECORD_HEADER, stored, record->stored, err);

	return ret ? ret : wb_sum_holds(record->sum, wb_undo_sum(stored, record->stored));
}

/* The record that follows on the last one: 1, or 0 where there is none. */
static int take_record(struct wb_undo *undo, uint8_t *buffer, struct wb_error *err)
{
	struct header header;
	int ret = read_record(undo, undo->end, &header, err);

	if (ret == 1 && (header.sequence != undo->sequence || header.previous != undo->previous))
		return 0;
	if (ret == 1)
		ret = read_stored(undo, &header.record, buffer, err);
	if (ret == 1) {
		advance(undo, &header);
		undo->durable = header.durable; /* the record itself may be no further than the page cache */
	}
	return ret;
}

/* The largest number of flushed records that a header in there counts. */
static uint64_t durable_in(const struct wb_undo *undo, const uint8_t *bytes, uint32_t size)
{
	uint64_t durable = 0;
	struct header header;

	for (uint32_t i = 0; i + RECORD_HEADER <= size; i++)
		if (decode(undo, 0, bytes + i, &header))
			durable = wb_max(durable, header.durable);
	return durable;
}

struct loader {
	struct wb_undo *undo;
	const struct wb_progress *progress;
	uint8_t *buffer;   /* STORED_MAX bytes, of a payload */
	uint8_t *piece;    /* WB_UNDO_MAX bytes of the file, to look for headers in; from piece_at on piece_length of them */
	uint64_t piece_at;
	uint32_t piece_length;
	bool looked;       /* at all that follows the first place without a record: */
	uint64_t durable;  /* how many records were flushed, as any header there or the end note says */
	uint64_t budget;   /* bytes of payloads that may still be read in vain */
};

static int read_piece(struct loader *loader, uint64_t at, struct wb_error *err)
{
	uint64_t size = wb_dev_size(loader->undo->file);
	int ret = wb_poll(loader->progress, "reading the undo file", at, size, err);

	loader->piece_at = at;
	loader->piece_length = (uint32_t)wb_min(size - at, WB_UNDO_MAX);
	return ret ? ret : wb_dev_read(loader->undo->file, at, loader->piece, loader->piece_length, err);
}

#define PIECE_STEP (WB_UNDO_MAX - RECORD_HEADER + 1) /* a header that begins in one step is whole in its piece */

/* After the last record there may be the rest of some that were cut off, or records after a damaged one. */
static int look_behind(struct loader *loader, struct wb_error *err)
{
	struct wb_undo *undo = loader->undo;
	uint64_t size = wb_dev_size(undo->file);
	int ret = 0;

	loader->looked = true;
	loader->durable = undo->noted;
	for (uint64_t at = undo->end; at < size && !ret; at += PIECE_STEP) {
		ret = read_piece(loader, at, err);
		if (!ret)
			loader->durable = wb_max(loader->durable, durable_in(undo, loader->piece, loader->piece_length));
	}
	return ret;
}

/* Whether a whole record that may follow begins at this place of the file: 1, 0, or a failure. */
static int may_follow(struct loader *loader, uint64_t at, struct header *header, struct wb_error *err)
{
	struct wb_undo *undo = loader->undo;

	if (header->sequence < undo->sequence || header->sequence == UINT64_MAX || !makes_sense(undo, header) ||
	    header->record.stored > loader->budget)
		return 0;
	loader->budget -= header->record.stored;
	header->record.at = at;
	return read_stored(undo, &header->record, loader->buffer, err);
}

static int add_gap(struct wb_undo *undo, uint64_t end, struct wb_error *err)
{
	struct wb_range *gaps = realloc(undo->gaps, (undo->gap_count + 1) * sizeof(*gaps));

	if (!gaps)
		return wb_no_memory(err, "the gaps of an undo file");
	undo->gaps = gaps;
	gaps[undo->gap_count++] = (struct wb_range){ undo->end, end - undo->end };
	return 0;
}

/* The first whole record of a piece that may follow, from byte `from` of the piece on: 1, or 0 where there is none. */
static int find_record(struct loader *loader, uint32_t from, uint64_t *at, struct header *header, struct wb_error *err)
{
	int ret = 0;

	for (uint32_t i = from; !ret && i + RECORD_HEADER <= loader->piece_length; i++) {
		*at = loader->piece_at + i;
		if (decode(loader->undo, 0, loader->piece + i, header))
			ret = may_follow(loader, *at, header, err);
	}
	return ret;
}

/* Goes on after a gap with the next whole record: 1, or 0 where there is none. A piece that holds several gaps is read once. */
static int skip_gap(struct loader *loader, struct wb_error *err)
{
	struct wb_undo *undo = loader->undo;
	uint64_t size = wb_dev_size(undo->file), next = undo->end, at = 0;
	struct header header;
	int ret = 0;

	while (!ret && next < size) {
		bool read = next >= loader->piece_at && next - loader->piece_at < wb_min(loader->piece_length, PIECE_STEP);
		uint32_t from = read ? (uint32_t)(next - loader->piece_at) : 0;

		if (!read)
			ret = read_piece(loader, next, err);
		if (!ret)
			ret = find_record(loader, from, &at, &header, err);
		next = loader->piece_at + PIECE_STEP;
	}
	if (ret == 1)
		ret = add_gap(undo, at, err) ? -WB_ENOMEM : 1;
	if (ret != 1)
		return ret;
	undo->missing += header.sequence - undo->sequence;
	undo->end = at;
	undo->sequence = header.sequence;
	undo->previous = header.previous;
	return 1;
}

/* Where no record follows: 1 if there are more after a gap, 0 at the end of the file. */
static int end_or_gap(struct loader *loader, struct wb_error *err)
{
	struct wb_undo *undo = loader->undo;
	uint64_t at = undo->end;
	int ret = loader->looked ? 0 : look_behind(loader, err);

	undo->torn = undo->end < wb_dev_size(undo->file);
	if (ret || loader->durable <= undo->sequence)
		return ret;
	undo->cut_at = undo->cut ? undo->cut_at : at;
	undo->cut = true;
	ret = skip_gap(loader, err);
	if (!ret)
		undo->missing += loader->durable - undo->sequence;
	return ret;
}

static int load_records(struct loader *loader, struct wb_error *err)
{
	struct wb_undo *undo = loader->undo;
	int more = 1;

	while (more == 1) {
		int ret = wb_poll(loader->progress, "reading the undo file", undo->end, wb_dev_size(undo->file), err);

		more = ret ? ret : take_record(undo, loader->buffer, err);
		if (!more)
			more = end_or_gap(loader, err);
	}
	return more;
}

int wb_undo_load(struct wb_undo *undo, struct wb_dev *file, const struct wb_progress *progress, struct wb_error *err)
{
	struct loader loader = { .undo = undo, .progress = progress, .buffer = malloc(STORED_MAX),
				 .piece = malloc(WB_UNDO_MAX), .budget = 4 * wb_dev_size(file) };
	int ret;

	*undo = (struct wb_undo){ .file = file };
	ret = loader.buffer && loader.piece ? read_header(undo, err) : wb_no_memory(err, "an undo record");
	if (!ret)
		ret = load_records(&loader, err);
	undo->loaded = true;
	undo->interrupted = undo->notes && undo->count && !(undo->finished && undo->noted >= undo->last_old);
	free(loader.buffer);
	free(loader.piece);
	if (ret)
		wb_undo_release(undo);
	return ret;
}

static uint64_t gap_at(const void *gaps, size_t i)
{
	return ((const struct wb_range *)gaps)[i].offset;
}

/* The end of the gap that begins there, or the place itself. */
static uint64_t after_gap(const struct wb_undo *undo, uint64_t at)
{
	size_t i = wb_first_from(undo->gaps, undo->gap_count, gap_at, at);

	return i < undo->gap_count && undo->gaps[i].offset == at ? at + undo->gaps[i].length : at;
}

int wb_undo_next(const struct wb_undo *undo, uint64_t *at, struct wb_undo_record *record, struct wb_error *err)
{
	bool after_flush = false, gap = false;

	while (*at < undo->end) {
		struct header header;
		uint64_t begin = after_gap(undo, *at);
		int ret = read_record(undo, begin, &header, err);

		if (ret != 1)
			return ret ? ret : wb_fail(err, WB_EINVAL, 0, *at, "the undo file has changed here");
		after_flush |= begin != *at;
		gap |= begin != *at;
		*at = begin + RECORD_HEADER + header.record.stored;
		*record = header.record;
		record->after_flush = after_flush;
		record->after_gap = gap;
		if (header.kind == KIND_OLD)
			return 1;
		after_flush |= header.kind == KIND_NOTE || header.kind == KIND_BEGUN;
	}
	return 0;
}

static int unpack(const struct wb_undo_record *record, uint8_t *payload, const uint8_t *stored, struct wb_error *err)
{
	uLongf size = payload_size(record->length);
	int unpacked = uncompress(payload, &size, stored, record->stored);

	if (unpacked == Z_MEM_ERROR)
		return wb_no_memory(err, "an undo record");
	if (unpacked == Z_OK && size == payload_size(record->length))
		return 0;
	return wb_fail(err, WB_EINVAL, 0, record->at, "a record of the undo file cannot be unpacked");
}

int wb_undo_payload(const struct wb_undo *undo, const struct wb_undo_record *record, uint8_t *payload,
		    struct wb_error *err)
{
	uint8_t *stored = malloc(record->stored + 1);
	int ret = stored ? read_stored(undo, record, stored, err) : wb_no_memory(err, "an undo record");

	if (!ret)
		ret = wb_fail(err, WB_EINVAL, 0, record->at, "a record of the undo file cannot be unpacked");
	else if (ret == 1)
		ret = unpack(record, payload, stored, err);
	free(stored);
	return ret;
}

void wb_undo_release(struct wb_undo *undo)
{
	for (unsigned i = 0; i < undo->device_count; i++)
		free(undo->devices[i].name);
	free(undo->gaps);
	*undo = (struct wb_undo){ .file = NULL };
}
