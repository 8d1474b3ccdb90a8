/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of a pack: its head, and its slots as columns, 256 slots to a chunk. What is predictable becomes zeroes, and
 * zlib makes nothing of those. Pure but for memory; layout in wbfmt(5).
 */
#ifndef WB_PACK_H
#define WB_PACK_H

#include "format.h"

#define WB_PACK_HEAD 128u            /* bytes before the first chunk */
#define WB_PACK_CHUNK_HEAD 20u
#define WB_PACK_CHUNK 256u           /* slots in a chunk, but for the last */
#define WB_PACK_INFLATED (2u << 20)  /* no chunk is larger, inflated */
#define WB_PACK_DEFLATED (WB_PACK_INFLATED + (WB_PACK_INFLATED >> 8) + 64) /* nor than this, as stored */
#define WB_PACK_FACTS_CHUNK UINT32_MAX /* stands where a chunk of slots has its first slot */
#define WB_PACK_SLOT_RUNS 1024u      /* of unreadable sectors in a slot, at most: every other sector */

struct wb_pack_head {
	struct wb_pack_info info;  /* file_bytes and facts are not of the head */
	uint64_t bytes;            /* of the cache */
	uint32_t block;            /* its logical block size */
	uint64_t record;
	uint8_t first[5];          /* bytes 0 ... 4 of sector 0: magic and order byte */
	uint16_t rest, rest_first; /* how many of the other bytes are not zero, and the first of them */
	bool ended;                /* sector 0 is this marker instead */
	struct wb_marker marker;
};

/* The name that a pack begins with. */
bool wb_pack_named(const uint8_t *bytes);
/* dev begins with it. */
bool wb_is_pack(struct wb_dev *dev);
void wb_pack_head_encode(const struct wb_pack_head *head, uint8_t *bytes);
/* Everything is checked, the geometry included (which is set when a format is named). */
int wb_pack_head_decode(const uint8_t *bytes, struct wb_pack_head *head, struct wb_geometry *geometry,
			struct wb_error *err);

/* How many chunks of slots. */
static inline uint32_t wb_pack_chunks(uint32_t slots)
{
	return slots / WB_PACK_CHUNK + (slots % WB_PACK_CHUNK != 0);
}

struct wb_pack_chunk_head {
	uint32_t deflated, inflated, crc, first;
};

void wb_pack_chunk_encode(const struct wb_pack_chunk_head *head, uint8_t *bytes);
/* at is the chunk's place in the file, for the error. first is what it must be. */
int wb_pack_chunk_decode(const uint8_t *bytes, uint32_t first, struct wb_pack_chunk_head *head, uint64_t at,
			 struct wb_error *err);

enum wb_pack_slot_flags {
	WB_PACK_OTHER = 1,    /* something in the metadata is not zero, but no field is */
	WB_PACK_BLOCKS = 2,   /* a segment: its metablocks are stored */
	WB_PACK_COUNTS = 4,   /* no segment, but a length in range: its dirty blocks and sectors are counted */
	WB_PACK_PADDING = 8,  /* bytes that no field occupies are not zero: counted */
	WB_PACK_PLAIN = 16,   /* the computed checksum is the stored one */
	WB_PACK_RAW = 32,     /* the same without the final complement */
	WB_PACK_CRC = 64,     /* it is neither, and stored */
	WB_PACK_FLIP = 128,   /* with another length, one bit away, the stored checksum would hold */
	WB_PACK_FLIP_RAW = 256, /* ... without the complement */
	WB_PACK_BAD = 512,    /* some sectors cannot be read */
	WB_PACK_FLAGS = 1023,
};

/* The slots of a chunk, column by column. Arrays of slots are indexed by slot, others packed in the order of slots. */
struct wb_pack_columns {
	const struct wb_geometry *geometry;
	bool metadata_only;
	unsigned slots;
	uint64_t flags[WB_PACK_CHUNK], id[WB_PACK_CHUNK], length[WB_PACK_CHUNK];
	uint64_t checksum[WB_PACK_CHUNK], lap[WB_PACK_CHUNK]; /* of the header, where the format has them */
	uint64_t dirty_blocks[WB_PACK_CHUNK], dirty_sectors[WB_PACK_CHUNK];  /* COUNTS */
	uint64_t header_padding[WB_PACK_CHUNK], block_padding[WB_PACK_CHUNK]; /* PADDING: bytes that are not zero */
	uint64_t crc[WB_PACK_CHUNK];    /* CRC: computed, raw */
	uint64_t flipped[WB_PACK_CHUNK]; /* FLIP: that length */
	uint64_t runs[WB_PACK_CHUNK];   /* BAD: how many */
	unsigned run_count, block_count;
	uint64_t *run_first, *run_length; /* sectors of the slot; ascending, apart */
	uint64_t *sector, *dirty;         /* sectors rotated right by three bits: of aligned ones the top byte is zero then */
	uint64_t *block_lap;              /* minus the header's */
	uint64_t *holds_data;             /* where no checksum covers the data: its block is not all zero */
};

int wb_pack_columns_init(struct wb_pack_columns *columns, const struct wb_geometry *geometry, bool metadata_only,
			 struct wb_error *err);
void wb_pack_columns_release(struct wb_pack_columns *columns);
/* Metablocks that are stored for a slot of the chunk. */
unsigned wb_pack_blocks_of(const struct wb_pack_columns *columns, unsigned slot);
/* Returns the bytes written to out, which holds WB_PACK_INFLATED. Spoils the columns. */
uint32_t wb_pack_columns_encode(struct wb_pack_columns *columns, uint8_t *out);
/* NULL when bytes are what encode makes of some columns of so many slots, else what is wrong with them. */
const char *wb_pack_columns_decode(struct wb_pack_columns *columns, unsigned slots, uint8_t *bytes, uint32_t size);

/* The address that stands for a sector under a key: an increasing map that keeps sector % 8. */
uint64_t wb_obfuscate(const uint8_t *key, uint64_t sector);

#endif
