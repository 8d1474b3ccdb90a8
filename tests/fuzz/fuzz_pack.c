/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packs: what one is taken for can be read anywhere, loads as a log, and unpacks into an image of the same bytes. */
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "fuzz.h"
#include "pack.h"

#define ARENA (4u << 20) /* larger caches are only read here and there */

/* Reads in pieces that begin and end anywhere give what reads of blocks give. */
static void read_around(struct wb_dev *dev, uint64_t seed)
{
	uint8_t piece[3 * WB_BLOCK], block[WB_BLOCK];
	uint64_t size = wb_dev_size(dev), bound = wb_min(size, 8 * ARENA);

	for (unsigned i = 0; i < 16; i++) {
		uint32_t length = 1 + fuzz_draw(&seed, sizeof(piece));
		uint64_t at = i % 4 ? fuzz_draw(&seed, (uint32_t)bound) : size - wb_min(size, fuzz_draw(&seed, 1u << 20));

		if (length > size - at || wb_dev_read(dev, at, piece, length, NULL))
			continue;
		uint64_t begin = at - at % WB_BLOCK;

		if (begin + WB_BLOCK > size || wb_dev_read(dev, begin, block, WB_BLOCK, NULL))
			continue;
		HOLDS(!memcmp(piece, block + (at - begin), (size_t)wb_min(length, WB_BLOCK - (at - begin))));
	}
}

static void load_log(struct wb_dev *dev)
{
	const struct wb_overrides any = { .any_super = true };
	const struct wb_ring_options options = { .sums_memory = 0 };
	struct wb_cache cache;
	struct wb_ring ring;

	if (wb_cache_open(&cache, dev, &any, NULL) || !cache.geometry.format)
		return;
	HOLDS(!wb_ring_load(&ring, &cache, &options, NULL, NULL));
	wb_ring_release(&ring);
}

static int image_file(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("image", 0);
	HOLDS(fd >= 0 && !ftruncate(fd, 0));
	return fd;
}

/* Holes are zeroes; what is written is compared block by block. */
static void unpack(struct wb_dev *dev)
{
	uint8_t served[WB_BLOCK], written[WB_BLOCK];
	uint64_t size = wb_dev_size(dev), lost, blocks = 0;
	int fd = image_file();

	HOLDS(!wb_pack_unpack(dev, fd, &lost, NULL, NULL));
	for (off_t at = lseek(fd, 0, SEEK_DATA); at >= 0 && (uint64_t)at + WB_BLOCK <= size; at = lseek(fd, at + (off_t)WB_BLOCK, SEEK_DATA)) {
		HOLDS(pread(fd, written, WB_BLOCK, at) == WB_BLOCK);
		blocks += !wb_all_bytes(written, WB_BLOCK, 0);
		if (!wb_dev_read(dev, (uint64_t)at, served, WB_BLOCK, NULL))
			HOLDS(!memcmp(served, written, WB_BLOCK));
	}
	HOLDS(blocks <= wb_dev_pack_info(dev)->image_blocks);
	for (uint64_t at = 0; at + WB_BLOCK <= size; at += WB_BLOCK) {
		if (lseek(fd, (off_t)at, SEEK_DATA) == (off_t)at || wb_dev_read(dev, at, served, WB_BLOCK, NULL))
			continue;
		HOLDS(wb_all_bytes(served, WB_BLOCK, 0));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = fuzz_room(size);
	struct memory file = fuzz_memory(bytes, size);
	struct wb_dev *dev;

	memcpy(bytes, data, size);
	file.sealed = true;
	if (!wb_dev_pack(&dev, &file.dev, NULL)) {
		const struct wb_pack_info *info = wb_dev_pack_info(dev);

		HOLDS(info && info->facts && info->file_bytes == size);
		read_around(dev, size);
		if (wb_dev_size(dev) <= ARENA) {
			load_log(dev);
			unpack(dev);
		}
		wb_dev_close(dev);
	}
	free(bytes);
	return 0;
}

/* ---- mutations inside of what is compressed ---- */

static uint8_t inflated[1u << 17], deflated[1u << 18];

/* Where the chunk begins that is to be changed; size when there is none. */
static size_t some_chunk(const uint8_t *data, size_t size, uint64_t *seed)
{
	size_t at = WB_PACK_HEAD, chosen = size;
	uint32_t seen = 0;

	while (at + WB_PACK_CHUNK_HEAD <= size) {
		size_t stored = (size_t)wb_get_le(data + at + 4, 4);

		if (stored > size - at - WB_PACK_CHUNK_HEAD)
			break;
		if (!fuzz_draw(seed, ++seen))
			chosen = at;
		at += WB_PACK_CHUNK_HEAD + stored;
	}
	return chosen;
}

/* A stream of stored blocks: zlib's two bytes, blocks of up to 65535 bytes with their lengths, the sum. */
static uLongf store(uint8_t *to, const uint8_t *from, uLongf length)
{
	uint8_t *at = to;
	uLongf left = length;

	wb_put_le(at, 2, 0x0178);
	at += 2;
	do {
		uLongf some = wb_min(left, 65535);

		*at = some == left;
		wb_put_le(at + 1, 4, some | (some ^ 0xffff) << 16);
		memcpy(at + 5, from + (length - left), some);
		at += 5 + some;
		left -= some;
	} while (left);
	uLong sum = adler32(adler32(0, NULL, 0), from, (uInt)length);

	for (unsigned i = 0; i < 4; i++)
		*at++ = (uint8_t)(sum >> (24 - 8 * i));
	return (uLongf)(at - to);
}

static size_t change_chunk(uint8_t *data, size_t size, size_t max, size_t at)
{
	size_t stored = (size_t)wb_get_le(data + at + 4, 4), behind = at + WB_PACK_CHUNK_HEAD + stored;
	uLongf length = sizeof(inflated), packed;
	struct wb_pack_chunk_head head = { .first = (uint32_t)wb_get_le(data + at, 4) };

	if (uncompress(inflated, &length, data + at + WB_PACK_CHUNK_HEAD, stored) != Z_OK)
		return size;
	length = LLVMFuzzerMutate(inflated, length, sizeof(inflated));
	packed = store(deflated, inflated, length);
	if (size - stored + packed > max)
		return size;
	head.deflated = (uint32_t)packed;
	head.inflated = (uint32_t)length;
	head.crc = ~wb_crc32c(~0u, deflated, packed);
	memmove(data + at + WB_PACK_CHUNK_HEAD + packed, data + behind, size - behind);
	wb_pack_chunk_encode(&head, data + at);
	memcpy(data + at + WB_PACK_CHUNK_HEAD, deflated, packed);
	return size - stored + packed;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed_of_libfuzzer)
{
	uint64_t seed = seed_of_libfuzzer;
	size_t at = some_chunk(data, size, &seed);

	if (at == size || !fuzz_draw(&seed, 4))
		size = LLVMFuzzerMutate(data, size, max);
	else
		size = change_chunk(data, size, max, at);
	if (size >= WB_PACK_HEAD && fuzz_draw(&seed, 8))
		wb_put_le(data + WB_PACK_HEAD - 4, 4, ~wb_crc32c(~0u, data, WB_PACK_HEAD - 4));
	return size;
}
