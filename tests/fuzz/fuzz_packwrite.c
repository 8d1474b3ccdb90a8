/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making packs: two images with the same segments, that differ in every byte that is not of one, make the same pack; what it
 * is read as has the fields of what is sealed; a key keeps order and neighbours. Checksums have to hold.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "crc32c.h"
#include "fuzz.h"
#include "pack.h"

#define SLOTS_MAX 8u
#define ORDER_MIN 4u
#define ORDER_MAX 5u

enum kind { BLANK, SEALED, FLIPPED, TORN, TEXT, ROWS, KINDS };

static struct image {
	struct wb_geometry geometry;
	uint8_t bytes[WB_FIRST_SLOT + (SLOTS_MAX << (9 + ORDER_MAX))];
	enum kind kinds[SLOTS_MAX];
	struct memory memory; /* those bytes */
	struct wb_cache cache;
} images[2];

/* What a disk held before: other bytes in each image, that no id or lap of a log begins with. */
static void put_text(uint8_t *to, size_t size, unsigned which, uint64_t seed)
{
	memset(to, which ? 0x5a : 0x33, size);
	for (size_t i = 0; i < wb_min(size, 64); i++)
		to[i] = (uint8_t)('!' + fuzz_mix(seed + i * 2 + which) % 90);
}

static void put_segment(struct image *image, uint32_t slot, struct input *in)
{
	const struct wb_geometry *geometry = &image->geometry;
	uint8_t *at = image->bytes + wb_slot_offset(geometry, slot);
	unsigned laps = (unsigned)take(in, 1), min = geometry->format->length_min;
	struct wb_header header = { .id = slot + 1 + (uint64_t)geometry->slots * (laps & 3) };

	header.length = min + (uint32_t)take(in, 1) % (geometry->capacity + 1 - min);
	header.lap = wb_lap_of(geometry, header.id);
	if (!geometry->format->lap.width) /* a checksum covers all of it */
		memset(at, 0, wb_slot_size(geometry));
	for (unsigned i = 0; i < header.length; i++) {
		struct wb_metablock metablock = { .sector = take(in, 3) * (laps & 4 ? 1 : 8), .dirty = (uint8_t)take(in, 1), .lap = header.lap };

		if (laps & 8)
			metablock.sector |= take(in, 1) << 56;
		wb_metablock_encode(geometry->format, at, i, &metablock);
	}
	header.checksum = wb_crc32c(~0u, at + WB_SUMMED_FROM, WB_BLOCK - WB_SUMMED_FROM + WB_BLOCK * header.length);
	wb_header_encode(geometry->format, at, &header);
}

static void put_flipped(struct image *image, uint32_t slot, struct input *in)
{
	uint8_t *at = image->bytes + wb_slot_offset(&image->geometry, slot);

	put_segment(image, slot, in);
	unsigned bit = (unsigned)take(in, 2), size = wb_metadata_size(image->geometry.format, 1);

	at[bit / 8 % size] ^= (uint8_t)(1u << bit % 8);
}

static bool is_one_bit(const struct image *image, const uint8_t *at)
{
	static struct wb_bitfind find;
	struct wb_header header;

	if (!find.giant.table[0][1])
		wb_bitfind_init(&find);
	wb_header_decode(image->geometry.format, at, &header);
	uint32_t size = WB_BLOCK * (header.length + 1) - WB_SUMMED_FROM;
	uint32_t difference = header.checksum ^ wb_crc32c(~0u, at + WB_SUMMED_FROM, size);

	return !difference || !~difference || wb_bitfind(&find, difference, size) != UINT64_MAX ||
	       wb_bitfind(&find, ~difference, size) != UINT64_MAX;
}

/* The header of a segment, in the first sector (v0: its first metablock, too); the rest of it never came. */
static void put_torn(struct image *image, uint32_t slot, struct input *in, unsigned which)
{
	const struct wb_format *format = image->geometry.format;
	unsigned from = format->lap.width ? wb_metadata_size(format, 1) : WB_SUMMED_FROM;
	uint8_t *at = image->bytes + wb_slot_offset(&image->geometry, slot);

	put_segment(image, slot, in);
	put_text(at + from, wb_slot_size(&image->geometry) - from, which, slot);
	while (!format->lap.width && is_one_bit(image, at)) /* by chance */
		at[WB_BLOCK - 1]++;
}

/* Text that as an id is 0, belongs to the slot, or to another one. */
static void put_class(struct image *image, uint32_t slot, unsigned class_, uint32_t length)
{
	const struct wb_geometry *geometry = &image->geometry;
	uint8_t *at = image->bytes + wb_slot_offset(geometry, slot);
	uint32_t place = (slot + (class_ >> 1 & 1)) % geometry->slots;
	struct wb_header header;

	wb_header_decode(geometry->format, at, &header);
	header.id = class_ & 1 ? header.id - (header.id - 1) % geometry->slots + place : 0;
	header.length = length;
	wb_header_encode(geometry->format, at, &header);
}

/* With an id of 0 that a flipped bit would make one of this lap it is a segment, as far as anybody can tell. */
static bool may_be_a_segment(const struct image *image, uint32_t slot, uint32_t lap)
{
	for (unsigned bit = 0; bit < 64; bit++)
		if (wb_slot_of(&image->geometry, UINT64_C(1) << bit) == slot && wb_lap_of(&image->geometry, UINT64_C(1) << bit) == lap)
			return true;
	return false;
}

/* v0: laps that agree, in rows of text. */
static void put_rows(struct image *image, uint32_t slot, struct input *in, unsigned which)
{
	uint8_t *at = image->bytes + wb_slot_offset(&image->geometry, slot);
	uint32_t lap = (uint32_t)take(in, 4), length = (uint32_t)take(in, 1) % (image->geometry.capacity + 1);

	while (may_be_a_segment(image, slot, lap))
		lap += 5;
	for (unsigned i = 0; image->geometry.format->lap.width && i <= length; i++) {
		put_text(at + 13 * i, 8, which, (uint64_t)slot << 8 | i);
		wb_put_le(at + 13 * i + 9, 4, lap);
	}
	put_class(image, slot, lap, length);
}

static void put_slot(struct image *image, uint32_t slot, struct input *in, unsigned which)
{
	uint8_t *at = image->bytes + wb_slot_offset(&image->geometry, slot);
	enum kind kind = (enum kind)(take(in, 1) % KINDS);

	image->kinds[slot] = kind;
	put_text(at, wb_slot_size(&image->geometry), which, slot);
	switch (kind) {
	case BLANK: memset(at, 0, WB_BLOCK); break;
	case SEALED: put_segment(image, slot, in); break;
	case FLIPPED: put_flipped(image, slot, in); break;
	case TORN: put_torn(image, slot, in, which); break;
	case ROWS: put_rows(image, slot, in, which); break;
	default: put_class(image, slot, (unsigned)take(in, 1), (uint32_t)take(in, 1)); break;
	}
}

static void make(struct image *image, struct input in, unsigned which)
{
	unsigned how = (unsigned)take(&in, 1), order = ORDER_MIN + how / 2 % (ORDER_MAX + 1 - ORDER_MIN);
	uint32_t slots = 1 + (uint32_t)take(&in, 1) % SLOTS_MAX;
	uint64_t record = take(&in, 1);

	HOLDS(!wb_geometry_init(&image->geometry, how & 1 ? &wb_format_v0 : &wb_format_v1, order,
				WB_FIRST_SLOT + ((uint64_t)slots << (9 + order)), 0, NULL));
	put_text(image->bytes, WB_SECTOR, which, 99);
	wb_put_le(image->bytes, 4, WB_MAGIC);
	image->bytes[WB_ORDER_BYTE] = (uint8_t)order;
	put_text(image->bytes + WB_RECORD_OFFSET, 8, which, 98);
	if (record & 1)
		wb_put_le(image->bytes + WB_RECORD_OFFSET, 8, record >> 1);
	for (uint32_t slot = 0; slot < slots; slot++)
		put_slot(image, slot, &in, which);
}

static void open_image(struct image *image)
{
	const struct wb_overrides overrides = { .format = image->geometry.format, .order = image->geometry.order, .any_super = true };

	image->memory = fuzz_memory(image->bytes, (size_t)image->geometry.bytes);
	image->memory.sealed = true;
	HOLDS(!wb_cache_open(&image->cache, &image->memory.dev, &overrides, NULL));
}

static uint8_t *pack(struct image *image, const uint8_t *key, size_t *size)
{
	const struct wb_pack_options options = { .time = 1, .key = key, .jobs = 1, .facts = "f" };
	struct wb_pack_result result;
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("pack", 0);
	HOLDS(fd >= 0 && !ftruncate(fd, 0) && !lseek(fd, 0, SEEK_SET));
	HOLDS(!wb_pack_write(&image->cache, fd, &options, &result, NULL, NULL));
	*size = (size_t)result.bytes;
	uint8_t *bytes = fuzz_room(*size);

	HOLDS(pread(fd, bytes, *size, 0) == (ssize_t)*size);
	return bytes;
}

struct pair {
	uint64_t was, is;
};

static int by_what_was(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return x->was < y->was ? -1 : x->was > y->was;
}

/* Fields of what is sealed; its addresses are collected. */
static void compare_segment(const struct image *image, struct wb_dev *dev, uint32_t slot, bool moved, struct pair *pairs, unsigned *count)
{
	const struct wb_geometry *geometry = &image->geometry;
	const uint8_t *was = image->bytes + wb_slot_offset(geometry, slot);
	uint8_t is[WB_BLOCK];
	struct wb_header x, y;

	HOLDS(!wb_dev_read(dev, wb_slot_offset(geometry, slot), is, WB_BLOCK, NULL));
	wb_header_decode(geometry->format, was, &x);
	wb_header_decode(geometry->format, is, &y);
	HOLDS(x.id == y.id && x.length == y.length && x.lap == y.lap);
	for (unsigned i = 0; i < x.length; i++) {
		struct wb_metablock a, b;

		wb_metablock_decode(geometry->format, was, i, &a);
		wb_metablock_decode(geometry->format, is, i, &b);
		HOLDS(a.dirty == b.dirty && a.lap == b.lap && (moved || a.sector == b.sector));
		if (a.sector || a.dirty) /* the others say nothing */
			pairs[(*count)++] = (struct pair){ a.sector, b.sector };
	}
}

static void compare(const struct image *image, uint8_t *bytes, size_t size, bool moved)
{
	struct pair pairs[SLOTS_MAX * WB_CAPACITY_MAX];
	struct memory file = fuzz_memory(bytes, size);
	struct wb_dev *dev;
	unsigned count = 0;

	HOLDS(!wb_dev_pack(&dev, &file.dev, NULL));
	for (uint32_t slot = 0; slot < image->geometry.slots; slot++)
		if (image->kinds[slot] == SEALED)
			compare_segment(image, dev, slot, moved, pairs, &count);
	wb_dev_close(dev);
	qsort(pairs, count, sizeof(*pairs), by_what_was);
	for (unsigned i = 1; moved && i < count; i++) {
		const struct pair *a = &pairs[i - 1], *b = &pairs[i];
		bool possible = b->was <= UINT64_MAX / WB_SECTOR - WB_SECTORS_PER_BLOCK;

		HOLDS(possible || b->is == UINT64_MAX - 7);
		HOLDS(!possible || (b->is % 8 == b->was % 8 && (a->was == b->was) == (a->is == b->is) && a->is <= b->is));
		HOLDS(!possible || (a->was / 8 + 1 == b->was / 8) == (a->is / 8 + 1 == b->is / 8));
	}
}

static void move(struct image *image, uint64_t seed)
{
	uint8_t key[16], *moved;
	size_t size;

	wb_put_le(key, 8, fuzz_mix(seed));
	wb_put_le(key + 8, 8, seed);
	moved = pack(image, key, &size);
	compare(image, moved, size, true);
	free(moved);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *packs[2];
	size_t sizes[2];

	for (unsigned which = 0; which < 2; which++) {
		make(&images[which], (struct input){ data, size }, which);
		open_image(&images[which]);
		packs[which] = pack(&images[which], NULL, &sizes[which]);
	}
	HOLDS(sizes[0] == sizes[1] && !memcmp(packs[0], packs[1], sizes[0]));
	compare(&images[0], packs[0], sizes[0], false);
	if (size % 2)
		move(&images[0], size);
	free(packs[0]);
	free(packs[1]);
	return 0;
}
