/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Undo files: loaded, put back, continued. A dry run and a refusal write nothing; after a restore each sector holds what
 * its oldest record says, and the file has nothing left to put back.
 */
#include <zlib.h>

#include "fuzz.h"
#include "undo.h"

#define DEVICE_BYTES (1u << 16)
#define CONTENTS 3u      /* bytes that whole sectors are made of: 0, 1, 2 */
#define RECORD 64u       /* bytes of a record's header */
enum { FILE_VERSION = 8, FILE_DEVICES = 12, FILE_ID = 16, FILE_LENGTH = 32, FILE_NAMES = 36 };
enum { AT_SEQUENCE = 16, AT_DURABLE = 24, AT_OFFSET = 32, AT_DEVICE = 40, AT_LENGTH = 44, AT_STORED = 48, AT_PREVIOUS = 52,
       AT_PAYLOAD_SUM = 56, AT_SUM = 60 };

static uint8_t disks[WB_UNDO_DEVICES][DEVICE_BYTES], wanted[WB_UNDO_DEVICES][DEVICE_BYTES];

static void foretell(const struct wb_undo *undo)
{
	static uint8_t payload[WB_UNDO_PAYLOAD], known[WB_UNDO_DEVICES][DEVICE_BYTES / WB_SECTOR];
	struct wb_undo_record record;
	uint64_t at = undo->begin;

	memset(known, 0, sizeof(known));
	while (wb_undo_next(undo, &at, &record, NULL) == 1) {
		if (wb_undo_payload(undo, &record, payload, NULL))
			return;
		for (uint32_t i = 0; i < record.length / WB_SECTOR; i++) {
			uint64_t sector = record.offset / WB_SECTOR + i;

			if (!known[record.device][sector])
				memcpy(wanted[record.device] + sector * WB_SECTOR, payload + i * WB_SECTOR, WB_SECTOR);
			known[record.device][sector] = 1;
		}
	}
}

static void restore(struct wb_undo *undo, struct memory *file, struct memory *memories, unsigned force)
{
	struct wb_dev *devs[WB_UNDO_DEVICES];
	struct wb_undo_result result;
	uint64_t writes = file->writes;

	for (unsigned i = 0; i < WB_UNDO_DEVICES; i++)
		devs[i] = &memories[i].dev;
	int dry = wb_undo_restore(undo, devs, force, true, 7, &result, NULL, NULL);
	uint64_t changed = result.changed_sectors;
	struct wb_undo then = *undo;

	HOLDS(!memcmp(disks, wanted, sizeof(disks)) && file->writes == writes);
	int ret = wb_undo_restore(undo, devs, force, false, 7, &result, NULL, NULL);

	if (undo->cut && !(force & WB_UNDO_CUT))
		HOLDS(ret == -WB_ECUT || ret == -WB_EINVAL || ret == -WB_ENOMEM);
	else
		HOLDS(dry || force & WB_UNDO_CHANGED || ret == -WB_ECUT || (ret == -WB_ECHANGED) == (changed != 0));
	if (ret == -WB_ECHANGED || ret == -WB_ECUT)
		HOLDS(!memcmp(disks, wanted, sizeof(disks)));
	if (ret)
		return;
	HOLDS(!undo->count && undo->undone == 7);
	foretell(&then);
	HOLDS(!memcmp(disks, wanted, sizeof(disks)));
}

/* Every sector is as it must be; what was put back is put back in the file, too. */
static void restore_all(struct wb_undo *undo, struct memory *file, unsigned force, int content)
{
	struct memory memories[WB_UNDO_DEVICES];
	struct wb_undo again;

	for (unsigned i = 0; i < WB_UNDO_DEVICES; i++) {
		memories[i] = fuzz_memory(disks[i], DEVICE_BYTES);
		if (i < undo->device_count && undo->devices[i].size > DEVICE_BYTES)
			return;
	}
	memset(disks, content, sizeof(disks));
	memset(wanted, content, sizeof(wanted));
	uint64_t count = undo->count;
	bool torn = undo->torn || undo->cut; /* without checksums, what was torn may go on behind the mark like records */

	restore(undo, file, memories, force);
	if (undo->count || !count)
		return;
	if (wb_undo_load(&again, &file->dev, NULL, NULL)) {
		HOLDS(torn);
		return;
	}
	HOLDS(torn || (!again.count && again.undone == 7 && !again.torn));
	wb_undo_release(&again);
}

static void go_on(struct wb_undo *undo, struct memory *file)
{
	uint8_t old[WB_SECTOR] = { 1 }, new_bytes[WB_SECTOR] = { 2 };
	struct wb_undo again;
	uint64_t count = undo->count;

	if (undo->cut || undo->devices[0].size < WB_SECTOR || undo->sequence > UINT64_MAX - 8)
		return;
	HOLDS(!wb_undo_add(undo, 0, 0, old, new_bytes, WB_SECTOR, NULL) && !wb_undo_finish(undo, 8, NULL));
	HOLDS(undo->count == count + 1);
	if (wb_undo_load(&again, &file->dev, NULL, NULL)) /* what was torn may look like records */
		return;
	HOLDS(again.count >= count + 1 || again.undone != undo->undone);
	wb_undo_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = fuzz_room(size);
	struct wb_undo undo;

	memcpy(bytes, data, size);
	struct memory file = fuzz_memory(bytes, size);

	file.dev.grows = true;
	if (!wb_undo_load(&undo, &file.dev, NULL, NULL)) {
		HOLDS(undo.device_count >= 1 && undo.device_count <= WB_UNDO_DEVICES && undo.begin <= undo.end &&
		      undo.end <= size);
		if (undo.count) {
			uint64_t at = undo.begin;
			struct wb_undo_record record;
			uint64_t n = 0;

			while (wb_undo_next(&undo, &at, &record, NULL) == 1)
				n++;
			HOLDS(n == undo.count);
		}
		restore_all(&undo, &file, size % 4 /* enum wb_undo_force */, (int)(undo.id % CONTENTS));
		go_on(&undo, &file);
		wb_undo_release(&undo);
	}
	free(file.bytes);
	return 0;
}

/* ---- mutations that know what a record is ---- */

static bool is_record(const uint8_t *data, size_t size, size_t at)
{
	return at + RECORD <= size && !memcmp(data + at, "WBur", 4) && wb_get_le(data + at + AT_STORED, 4) <= size - at - RECORD;
}

/* The devices get sizes that there is memory for. Returns where the first record begins, or size. */
static size_t fit_header(uint8_t *data, size_t size)
{
	size_t end = size > FILE_NAMES + 4 ? (size_t)wb_get_le(data + FILE_LENGTH, 4) : size, at = FILE_NAMES;

	if (end < FILE_NAMES + 4 || end > size)
		return size;
	for (uint64_t i = wb_get_le(data + FILE_DEVICES, 4); i && i <= WB_UNDO_DEVICES && at + 12 <= end - 4; i--) {
		wb_put_le(data + at, 8, wb_min(wb_get_le(data + at, 8), DEVICE_BYTES));
		at += 12 + (size_t)wb_get_le(data + at + 8, 4);
	}
	wb_put_le(data + end - 4, 4, wb_undo_sum(data, end - 4));
	if (wb_get_le(data + FILE_VERSION, 4) == 1)
		return end;
	size_t notes = (end + WB_SECTOR - 1) / WB_SECTOR * WB_SECTOR;

	return wb_min(notes + 2ul * WB_SECTOR, size);
}

/* Numbers and sums of the records become such that they follow on each other. Returns where they end. */
static size_t chain(uint8_t *data, size_t size)
{
	size_t at = fit_header(data, size);
	uint64_t sequence = 0;

	if (at == size)
		return size;
	uint32_t previous = (uint32_t)wb_get_le(data + (size_t)wb_get_le(data + FILE_LENGTH, 4) - 4, 4);

	for (; is_record(data, size, at); at += RECORD + (size_t)wb_get_le(data + at + AT_STORED, 4)) {
		uint64_t durable = wb_get_le(data + at + AT_DURABLE, 8), offset = wb_get_le(data + at + AT_OFFSET, 8);

		if (wb_get_le(data + at + AT_LENGTH, 4) <= DEVICE_BYTES / 2)
			wb_put_le(data + at + AT_OFFSET, 8, offset % (DEVICE_BYTES / 2));
		memcpy(data + at + 8, data + FILE_ID, 8);
		wb_put_le(data + at + AT_SEQUENCE, 8, sequence);
		wb_put_le(data + at + AT_DURABLE, 8, wb_min(durable, sequence));
		wb_put_le(data + at + AT_PREVIOUS, 4, previous);
		wb_put_le(data + at + AT_PAYLOAD_SUM, 4,
			  wb_undo_sum(data + at + RECORD, (size_t)wb_get_le(data + at + AT_STORED, 4)));
		previous = wb_undo_sum(data + at, AT_SUM);
		wb_put_le(data + at + AT_SUM, 4, previous);
		sequence++;
	}
	return at;
}

static uint32_t sum_of_content(uint32_t content)
{
	uint8_t sector[WB_SECTOR];

	memset(sector, (int)content, WB_SECTOR);
	return wb_undo_sum(sector, WB_SECTOR);
}

/* A record, maybe with a whole payload, is put behind those that are whole, mostly. */
static size_t add_record(uint8_t *data, size_t size, size_t max, uint64_t *seed)
{
	static uint8_t payload[4 * (WB_SECTOR + WB_UNDO_SUM)], record[RECORD + sizeof(payload) + 1024];
	uint32_t sectors = 1 + fuzz_draw(seed, 4), length = sectors * WB_SECTOR;
	uLongf stored = sizeof(record) - RECORD;
	uint32_t kind = fuzz_draw(seed, 6) ? 1 : 1 + fuzz_draw(seed, 4);

	if (fuzz_draw(seed, 8))
		size = chain(data, size);
	for (uint32_t i = 0; i < sectors; i++) {
		memset(payload + i * WB_SECTOR, (int)fuzz_draw(seed, CONTENTS), WB_SECTOR);
		wb_put_le(payload + length + 4 * i, 4, sum_of_content(fuzz_draw(seed, CONTENTS)));
	}
	memset(record, 0, RECORD);
	memcpy(record, "WBur", 4);
	wb_put_le(record + 4, 4, kind);
	wb_put_le(record + AT_OFFSET, 8, (uint64_t)fuzz_draw(seed, 8) * WB_SECTOR);
	wb_put_le(record + AT_DEVICE, 4, fuzz_draw(seed, 2));
	wb_put_le(record + AT_LENGTH, 4, length);
	if (compress2(record + RECORD, &stored, payload, length + sectors * WB_UNDO_SUM, 1) != Z_OK || kind != 1)
		stored = 0;
	wb_put_le(record + AT_STORED, 4, stored);
	if (size + RECORD + stored > max)
		return size;
	memcpy(data + size, record, RECORD + stored);
	return size + RECORD + stored;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed_of_libfuzzer)
{
	uint64_t seed = seed_of_libfuzzer;

	if (fuzz_draw(&seed, 3))
		size = LLVMFuzzerMutate(data, size, max);
	else
		size = add_record(data, size, max, &seed);
	if (fuzz_draw(&seed, 8))
		chain(data, size);
	return size;
}
