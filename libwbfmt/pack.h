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
#define WB_PACK_VERSION 2u           /* what is written; 1 is read too */
#define WB_PACK_NO_RECORD UINT64_MAX /* no driver comes to this id */
#define WB_PACK_BROKEN UINT32_C(0x7b3c91d5) /* from a stored checksum to one that no single bit explains, in either dialect */
#define WB_PACK_SLOT_RUNS 1024u      /* of unreadable sectors in a slot, at most: every other sector */

struct wb_pack_head {
	unsigned version;          /* decoded; encoded as WB_PACK_VERSION */
	struct wb_pack_info info;  /* file_bytes and facts are not of the head */
	uint64_t bytes;            /* of the cache */
	uint32_t block;            /* its logical block size */
	uint64_t record;           /* WB_PACK_NO_RECORD: what stands there is none */
	uint8_t first[5];          /* bytes 0 ... 4 of sector 0: magic and order byte, or what stands for them */
	uint16_t rest, rest_first; /* so many of the other bytes are not zero, from that one on; version 2: 1 where any is */
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
	WB_PACK_OTHER = 1,    /* the metadata is not blank, and no field of it is stored, only what ODD_ID, IN_STEP, IN_RANGE tell */
	WB_PACK_BLOCKS = 2,   /* a segment: its metablocks are stored */
	WB_PACK_COUNTS = 4,   /* version 1: no segment, but a length in range: its dirty blocks and sectors are counted */
	WB_PACK_PADDING = 8,  /* bytes that no field occupies are not zero: counted */
	WB_PACK_PLAIN = 16,   /* the computed checksum is the stored one */
	WB_PACK_RAW = 32,     /* the same without the final complement */
	WB_PACK_CRC = 64,     /* it is neither, and stored: in version 2 where one bit explains it. None of the three: it is neither */
	WB_PACK_FLIP = 128,   /* with another length, one bit away, the stored checksum would hold */
	WB_PACK_FLIP_RAW = 256, /* ... without the complement */
	WB_PACK_BAD = 512,    /* some sectors cannot be read */
	WB_PACK_FLAGS = 1023, /* of version 1 */
	WB_PACK_IN_RANGE = 1024, /* OTHER: its length is in range */
	WB_PACK_ODD_ID = 2048, /* OTHER: its id is not 0 */
	WB_PACK_IN_STEP = 4096, /* OTHER: ... and belongs to this slot, in whatever lap */
	WB_PACK_LAPS = 8192,  /* v0: its laps agree, but are not that of its id: the header, or of OTHER the lap, is stored, no metablock */
	WB_PACK_FLAGS_2 = 16383,
};

/* The slots of a chunk, column by column. Arrays of slots are indexed by slot, others packed in the order of slots. */
struct wb_pack_columns {
	const struct wb_geometry *geometry;
	bool metadata_only;
	unsigned version;
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

/* ---- other addresses for those of a cache: obfuscate.c ---- */

struct wb_moves {
	uint64_t *blocks; /* collected: addresses in blocks */
	size_t count, room;
	struct { uint64_t first, blocks, moved; } *runs; /* of blocks without a gap, ascending */
	size_t run_count;
};

/* Collects the block of a sector; those that nothing can have are passed over. */
int wb_moves_add(struct wb_moves *moves, uint64_t sector, struct wb_error *err);
/* After all of them: numbers them by their rank, with gaps that the key (16 bytes) draws where there was one. */
int wb_moves_settle(struct wb_moves *moves, const uint8_t *key, struct wb_error *err);
/* The sector that stands for one of a collected block, at its place in the block; order, and what is next to what, are kept.
 * All that nothing can have become one. */
uint64_t wb_moved(const struct wb_moves *moves, uint64_t sector);
void wb_moves_release(struct wb_moves *moves);

#endif
