/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A cache and its backing image, made by a recipe (recipe.h): opened, loaded, checked, forecast, and flushed under every
 * policy. What is judged comes from the library; what then has to be on BACKING is worked out here, sector by sector.
 */
#include "crc32c.h"
#include "fuzz.h"
#include "recipe.h"
#include "ring.h"

#define IMAGE (9u << 20)
#define BACKING_BLOCKS 33u
#define BACKING_BYTES (BACKING_BLOCKS * WB_BLOCK)
#define BACKING_SECTORS (BACKING_BYTES / WB_SECTOR)
#define ON_BACKING UINT64_C(0x0bac4196)

static uint8_t image[IMAGE];
static bool touched[IMAGE / WB_BLOCK];
static uint8_t before[BACKING_BYTES], now[BACKING_BYTES], first[BACKING_BYTES];

struct pair {
	const uint8_t *head;
	struct wb_geometry geometry; /* as the recipe has it */
	struct memory cache, backing;
	struct wb_overrides overrides;
	struct wb_ring_options ring;
	uint64_t largest;            /* id */
	bool resumed;                /* as with --state: what was decided first is not decided again */
	struct wb_decision decided;
};

static bool chosen(const struct pair *pair, enum head_byte byte, unsigned bit)
{
	return pair->head[byte] & bit;
}

/* ---- making images ---- */

static void fill_sector(uint8_t *sector, uint64_t lba, uint64_t version)
{
	uint64_t x = fuzz_mix(lba + 1) + 0x9e3779b97f4a7c15u * version, words[WB_SECTOR / 8];

	for (unsigned i = 0; i < WB_SECTOR / 8; i++)
		words[i] = x += 0x2545f4914f6cdd1du;
	memcpy(sector, words, WB_SECTOR);
}

static uint8_t *touch(uint64_t offset, uint64_t length)
{
	HOLDS(offset + length <= IMAGE);
	for (uint64_t at = offset / WB_BLOCK; at * WB_BLOCK < offset + length; at++)
		touched[at] = true;
	return image + offset;
}

static void wipe(void)
{
	for (size_t i = 0; i < IMAGE / WB_BLOCK; i++)
		if (touched[i])
			memset(image + i * WB_BLOCK, 0, WB_BLOCK);
	memset(touched, 0, sizeof(touched));
}

static uint32_t slot_in(const struct pair *pair, const uint8_t *item)
{
	return item[ITEM_SLOT] % pair->geometry.slots;
}

static uint8_t *slot_at(const struct pair *pair, uint32_t slot)
{
	uint64_t size = wb_slot_size(&pair->geometry);

	return touch(WB_FIRST_SLOT + slot * size, WB_BLOCK);
}

static void seal(const struct pair *pair, uint32_t slot, enum seal how, uint32_t broken)
{
	const struct wb_format *format = pair->geometry.format;
	uint8_t *at = slot_at(pair, slot);
	struct wb_header header;

	if (format->seal == WB_SEAL_LAP)
		return;
	wb_header_decode(format, at, &header);
	uint32_t length = (uint32_t)wb_min(header.length, pair->geometry.capacity);
	uint32_t crc = wb_crc32c(~0u, at + 512, 4096 - 512 + 4096 * length);
	bool raw = how == SEAL_RAW || (how == SEAL_GOOD && format->seal == WB_SEAL_CRC_RAW);

	header.checksum = how == SEAL_BROKEN ? broken : raw ? crc : ~crc;
	wb_header_encode(format, at, &header);
}

static void put_block(const struct pair *pair, uint8_t *at, unsigned index, const struct wb_header *header,
		      const uint8_t *item)
{
	uint32_t flags = (uint32_t)wb_get_le(item + ITEM_N, 4);
	struct wb_metablock metablock = { .sector = wb_get_le(item + ITEM_VALUE, 8), .dirty = item[ITEM_A],
					  .lap = header->lap + (flags >> 8) };
	uint8_t *data = at + WB_BLOCK * (index + 1);

	wb_metablock_encode(pair->geometry.format, at, index, &metablock);
	for (unsigned i = 0; i < WB_SECTORS_PER_BLOCK; i++, data += WB_SECTOR) {
		bool defined = !metablock.dirty || metablock.dirty >> i & 1;

		if (flags & (BLOCK_ZEROES | BLOCK_UNIFORM))
			memset(data, flags & BLOCK_ZEROES ? 0 : 0x5a, WB_SECTOR);
		else
			fill_sector(data, metablock.sector + i, defined ? header->id - item[ITEM_B] : fuzz_mix(header->id));
	}
}

/* Returns the items used. */
static size_t put_segment(struct pair *pair, const uint8_t *items, size_t n)
{
	const struct wb_geometry *geometry = &pair->geometry;
	uint32_t slot = slot_in(pair, items), lap = (uint32_t)wb_get_le(items + ITEM_N, 4);
	struct wb_header header = { .id = wb_get_le(items + ITEM_VALUE, 8) };
	size_t used = 1;

	while (used < n && used <= geometry->capacity && items[used * RECIPE_ITEM] % OPS == OP_BLOCK)
		used++;
	header.lap = (header.id ? wb_lap_of(geometry, header.id) : 0) + lap;
	header.length = (uint8_t)(used - 1 + items[ITEM_B]);
	uint8_t *at = touch((uint64_t)WB_FIRST_SLOT + slot * wb_slot_size(geometry), used * WB_BLOCK);

	memset(at, 0, WB_BLOCK);
	wb_header_encode(geometry->format, at, &header);
	for (unsigned i = 0; i < used - 1; i++)
		put_block(pair, at, i, &header, items + (i + 1) * RECIPE_ITEM);
	seal(pair, slot, (enum seal)(items[ITEM_A] % SEALS), lap);
	pair->largest = wb_max(pair->largest, header.id);
	return used;
}

static void copy_block(uint8_t *backing, uint64_t sectors, const struct wb_metablock *metablock, const uint8_t *data)
{
	for (uint64_t i = 0; i < WB_SECTORS_PER_BLOCK; i++)
		if (metablock->dirty >> i & 1 && metablock->sector < sectors && metablock->sector + i < sectors)
			memcpy(backing + (metablock->sector + i) * WB_SECTOR, data + i * WB_SECTOR, WB_SECTOR);
}

static void write_back(struct pair *pair, uint64_t id)
{
	const struct wb_geometry *geometry = &pair->geometry;

	for (uint32_t slot = 0; slot < geometry->slots; slot++) {
		const uint8_t *at = slot_at(pair, slot);
		struct wb_header header;

		wb_header_decode(geometry->format, at, &header);
		if (header.id != id || header.length > geometry->capacity)
			continue;
		for (unsigned i = 0; i < header.length; i++) {
			struct wb_metablock metablock;

			wb_metablock_decode(geometry->format, at, i, &metablock);
			copy_block(before, pair->backing.dev.size / WB_SECTOR, &metablock, at + WB_BLOCK * (i + 1));
		}
	}
}

static void write_back_item(struct pair *pair, const uint8_t *item)
{
	uint64_t id = wb_get_le(item + ITEM_VALUE, 8);
	uint64_t some = item[ITEM_A] ? 1 : 2 * pair->geometry.slots;

	for (uint64_t i = some; i-- > 0;)
		if (id > i)
			write_back(pair, id - i);
}

static void add_bad(struct memory *memory, uint64_t sector, uint64_t sectors)
{
	uint64_t unit = memory->dev.block / WB_SECTOR;

	if (memory->bad_count == 16)
		return;
	memory->bad[memory->bad_count++] = (struct wb_range){ (sector - sector % unit) * WB_SECTOR,
							      (sectors + unit - 1) / unit * unit * WB_SECTOR };
}

static void damage(struct pair *pair, const uint8_t *item)
{
	const struct wb_geometry *geometry = &pair->geometry;
	uint64_t size = wb_slot_size(geometry), at = WB_FIRST_SLOT + slot_in(pair, item) * size;
	uint64_t n = wb_get_le(item + ITEM_N, 4), value = wb_get_le(item + ITEM_VALUE, 8);

	switch ((enum op)(item[ITEM_OP] % OPS)) {
	case OP_FLIP: *touch(at + n % size, 1) ^= item[ITEM_A]; break;
	case OP_RESEAL: seal(pair, slot_in(pair, item), (enum seal)(item[ITEM_A] % SEALS), (uint32_t)n); break;
	case OP_BAD: add_bad(&pair->cache, (at + n % size) / WB_SECTOR, item[ITEM_A] + 1u); break;
	case OP_BAD_BACKING: add_bad(&pair->backing, value % BACKING_SECTORS, item[ITEM_A] % 16 + 1u); break;
	case OP_COPY:
		memmove(touch(WB_FIRST_SLOT + item[ITEM_A] % geometry->slots * size, wb_min(size, 8 * WB_BLOCK)), image + at,
		       wb_min(size, 8 * WB_BLOCK));
		break;
	case OP_POKE: *touch(n % WB_FIRST_SLOT, 1) = item[ITEM_A]; break;
	default: break;
	}
}

static void put_sector0(const struct pair *pair)
{
	const struct wb_marker marker = { .reason = WB_END_FLUSHED, .head = 9 };
	uint8_t *sector = touch(0, WB_SECTOR);

	wb_super_encode(sector, &pair->geometry);
	switch ((enum sector0)(pair->head[HEAD_SECTOR0] % SECTOR0_KINDS)) {
	case SECTOR0_ZEROED: memset(sector, 0, WB_SECTOR); break;
	case SECTOR0_GARBAGE: fill_sector(sector, 0, 0); break;
	case SECTOR0_ORDER: sector[WB_ORDER_BYTE] = pair->head[HEAD_SECTOR0]; break;
	case SECTOR0_MARKER: wb_marker_encode(sector, &marker); break;
	default: break;
	}
	wb_put_le(touch(WB_RECORD_OFFSET, 8), 8, wb_get_le(pair->head + HEAD_RECORD, 8));
}

static void init_pair(struct pair *pair, const uint8_t *head)
{
	const struct wb_format *format = wb_format_at(head[HEAD_FORMAT] % 4 % 3);
	unsigned order = format->order_min + (unsigned)head[HEAD_ORDER] % (format->order_max - format->order_min + 1);
	unsigned slots = 1 + (unsigned)head[HEAD_SLOTS] % (order > 8 ? 8u : 16u);
	uint64_t backing = 1 + head[HEAD_BACKING] % (BACKING_BLOCKS - 1);

	*pair = (struct pair){ .head = head };
	HOLDS(!wb_geometry_init(&pair->geometry, format, order, WB_FIRST_SLOT + ((uint64_t)slots << (order + 9)), 0, NULL));
	HOLDS(pair->geometry.slots == slots);
	pair->cache = fuzz_memory(image, (size_t)pair->geometry.bytes);
	pair->cache.sealed = true;
	pair->backing = fuzz_memory(now, (size_t)(backing * WB_BLOCK + head[HEAD_TAIL] % 8u * WB_SECTOR));
	pair->backing.dev.physical = chosen(pair, HEAD_CHOICES, CHOICE_PHYSICAL) ? WB_BLOCK : 0;
	if (chosen(pair, HEAD_CHOICES, CHOICE_BLOCK) && head[HEAD_TAIL] % 8 == 0)
		pair->backing.dev.block = WB_BLOCK;
	if (chosen(pair, HEAD_CHOICES, CHOICE_FORMAT))
		pair->overrides = (struct wb_overrides){ .format = format, .order = order };
	pair->overrides.any_super = true;
	pair->ring = (struct wb_ring_options){
		.backing_sectors = pair->backing.dev.size / WB_SECTOR,
		.record_use = chosen(pair, HEAD_CHOICES, CHOICE_TRUST) ? WB_RECORD_TRUST :
			      chosen(pair, HEAD_CHOICES, CHOICE_IGNORE) ? WB_RECORD_IGNORE : WB_RECORD_AUTO,
		.timeline = chosen(pair, HEAD_CHOICES, CHOICE_NEW) ? WB_TIMELINE_NEW :
			    chosen(pair, HEAD_CHOICES, CHOICE_OLD) ? WB_TIMELINE_OLD : WB_TIMELINE_NONE,
		.sums_memory = chosen(pair, HEAD_CHOICES, CHOICE_SUMS) ? 1u << 20 : 0,
	};
}

static void fill_backing(void)
{
	static uint8_t filled[BACKING_BYTES];
	static bool ready;

	for (uint64_t i = 0; !ready && i < BACKING_SECTORS; i++)
		fill_sector(filled + i * WB_SECTOR, i, ON_BACKING);
	ready = true;
	memcpy(before, filled, sizeof(before));
}

static void make_pair(struct pair *pair, const uint8_t *data, size_t size)
{
	size_t n = wb_min(size / RECIPE_ITEM - 1, RECIPE_ITEMS), used;

	wipe();
	init_pair(pair, data);
	fill_backing();
	put_sector0(pair);
	for (const uint8_t *item = data + RECIPE_ITEM; n; item += used * RECIPE_ITEM, n -= used) {
		used = 1;
		if (item[ITEM_OP] % OPS == OP_SEGMENT)
			used = put_segment(pair, item, n);
		else if (item[ITEM_OP] % OPS == OP_WRITEBACK)
			write_back_item(pair, item);
		else
			damage(pair, item);
	}
}

/* ---- what has to be on BACKING ---- */

/* Which version a sector gets. */
struct fate {
	uint64_t id;       /* 0: none */
	bool readable;
	uint8_t bytes[WB_SECTOR];
};

static struct fate fates[BACKING_SECTORS];
static bool alone[BACKING_SECTORS]; /* salvage left it as it was: BACKING holds, or may hold, something newer */

static void correct(const struct wb_ring *ring, uint32_t slot, uint64_t from, uint8_t *bytes, uint64_t length)
{
	for (uint32_t i = 0; i < ring->correction_count; i++)
		if (ring->slots[slot].flags & WB_SLOT_CORRECTED && ring->corrections[i].slot == slot &&
		    ring->corrections[i].byte >= from && ring->corrections[i].byte < from + length)
			bytes[ring->corrections[i].byte - from] ^= (uint8_t)(1u << ring->corrections[i].bit);
}

static uint64_t offset_of(const struct wb_ring *ring, uint32_t slot)
{
	return WB_FIRST_SLOT + ((uint64_t)slot << (ring->cache->geometry.order + 9));
}

static bool in_scope(const struct wb_ring *ring, const struct wb_scope *scope, uint64_t id)
{
	uint32_t slot = (uint32_t)((id - 1) % ring->cache->geometry.slots);
	enum wb_class class_ = (enum wb_class)ring->slots[slot].class_;

	return ring->slots[slot].id == id && (class_ == WB_LIVE || (class_ == WB_ZEROED && scope->zeroed) ||
					      (class_ == WB_PART_READABLE && scope->part));
}

/* sector of the metablock's block, from data block `index` of the slot */
static void take_sector(struct pair *pair, const struct wb_ring *ring, uint32_t slot, unsigned index, unsigned sector,
			struct fate *fate)
{
	uint64_t from = WB_BLOCK * (index + 1u) + sector * WB_SECTOR;

	fate->id = ring->slots[slot].id;
	fate->readable = !fuzz_is_bad(&pair->cache, offset_of(ring, slot) + from, WB_SECTOR);
	memcpy(fate->bytes, image + offset_of(ring, slot) + from, WB_SECTOR);
	correct(ring, slot, from, fate->bytes, WB_SECTOR);
}

static bool usable(const struct pair *pair, const struct wb_metablock *metablock)
{
	return metablock->sector % 8 == 0 && metablock->sector < pair->backing.dev.size / WB_SECTOR;
}

static void take_segment(struct pair *pair, const struct wb_ring *ring, uint32_t slot)
{
	const struct wb_format *format = ring->cache->geometry.format;
	uint64_t end = pair->backing.dev.size / WB_SECTOR;
	uint8_t meta[WB_BLOCK];

	memcpy(meta, image + offset_of(ring, slot), WB_BLOCK);
	correct(ring, slot, 0, meta, WB_BLOCK);
	for (unsigned i = 0; i < ring->slots[slot].length; i++) {
		struct wb_metablock metablock;

		wb_metablock_decode(format, meta, i, &metablock);
		if (!usable(pair, &metablock))
			continue;
		for (unsigned j = 0; j < 8 && metablock.sector + j < end; j++)
			if (!metablock.dirty && format->caches_reads)
				fates[metablock.sector + j].id = 0;
			else if (metablock.dirty >> j & 1)
				take_sector(pair, ring, slot, i, j, &fates[metablock.sector + j]);
	}
}

static void foretell(struct pair *pair, const struct wb_ring *ring, const struct wb_scope *scope)
{
	uint64_t low = wb_max(scope->low, ring->first), high = wb_min(scope->high, ring->head);

	for (size_t i = 0; i < BACKING_SECTORS; i++)
		fates[i].id = alone[i] = 0;
	for (uint64_t id = low; !wb_window_is_empty(ring) && id && id <= high; id++)
		if (in_scope(ring, scope, id))
			take_segment(pair, ring, (uint32_t)((id - 1) % ring->cache->geometry.slots));
}

/* Every sector is final, or (when the run failed) as it was; and nothing else has changed. */
static void compare(struct pair *pair, bool failed)
{
	for (uint64_t i = 0; i < BACKING_SECTORS; i++) {
		bool same = !memcmp(now + i * WB_SECTOR, before + i * WB_SECTOR, WB_SECTOR);
		bool planned = i < pair->backing.dev.size / WB_SECTOR && fates[i].id && fates[i].readable && !alone[i];

		if (planned && !(failed && same))
			HOLDS(!memcmp(now + i * WB_SECTOR, fates[i].bytes, WB_SECTOR));
		else
			HOLDS(same);
	}
}

/* ---- nothing newer that BACKING holds is overwritten ---- */

static bool uniform(const uint8_t *bytes)
{
	return wb_all_bytes(bytes, WB_SECTOR, bytes[0]);
}

/* Whether what stands in the slot claims these bytes for the sector. */
static bool has_version(struct pair *pair, const struct wb_ring *ring, uint32_t slot, uint64_t sector, const uint8_t *bytes)
{
	const struct wb_format *format = ring->cache->geometry.format;
	uint8_t meta[WB_BLOCK];
	bool has = false;

	memcpy(meta, image + offset_of(ring, slot), WB_BLOCK);
	correct(ring, slot, 0, meta, WB_BLOCK);
	for (unsigned i = 0; i < ring->slots[slot].length; i++) {
		struct wb_metablock metablock;
		struct fate fate;

		wb_metablock_decode(format, meta, i, &metablock);
		uint64_t at = sector - metablock.sector;

		uint8_t covered = metablock.dirty || !format->caches_reads ? metablock.dirty : 0xff;

		if (!usable(pair, &metablock) || at >= 8 || !(covered >> at & 1) ||
		    (!wb_seal_covers_data(format) && metablock.lap != wb_lap_of(&ring->cache->geometry, ring->slots[slot].id)))
			continue;
		take_sector(pair, ring, slot, i, (unsigned)at, &fate);
		has |= fate.readable && !memcmp(fate.bytes, bytes, WB_SECTOR);
	}
	return has;
}

/* How new what stands in a slot claims to be; 0: it claims nothing. What is whole is less than a lap away from the newest, what is
 * broken may be of the next lap, and the other time line counts against the old one alone. */
static uint64_t claimed_age(const struct wb_ring *ring, uint32_t index)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	const struct wb_slot *slot = &ring->slots[index];
	uint64_t id = slot->id, slots = geometry->slots, head = ring->head;

	if (!id || (id - 1) % slots != index || !slot->length || !wb_length_in_range(geometry, slot->length) ||
	    slot->flags & WB_SLOT_NO_HEADER || slot->class_ == WB_TORN_TAIL)
		return 0;
	if (wb_ring_other_line(ring, index))
		return ring->options.timeline == WB_TIMELINE_OLD && (wb_slot_valid(slot) || wb_ring_goes_on(ring, index)) ? UINT64_MAX : 0;
	if (id > head)
		return id - head < (wb_slot_valid(slot) ? slots : 2 * slots) ? id : 0;
	return head - id < slots ? id : 0;
}

/* The oldest claim that BACKING held for the sector; 0: none. */
static uint64_t oldest_held(struct pair *pair, const struct wb_ring *ring, uint64_t sector)
{
	uint64_t oldest = 0;

	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++) {
		uint64_t age = claimed_age(ring, i);

		if (age && (!oldest || age < oldest) && has_version(pair, ring, i, sector, before + sector * WB_SECTOR))
			oldest = age;
	}
	return oldest;
}

static void expect_no_regression(struct pair *pair, const struct wb_ring *ring)
{
	for (uint64_t i = 0; i < pair->backing.dev.size / WB_SECTOR; i++)
		if (fates[i].id && fates[i].readable && !alone[i] && !uniform(before + i * WB_SECTOR) &&
		    memcmp(fates[i].bytes, before + i * WB_SECTOR, WB_SECTOR) &&
		    !fuzz_is_bad(&pair->backing, i * WB_SECTOR, WB_SECTOR))
			HOLDS(oldest_held(pair, ring, i) <= fates[i].id);
}

/* ---- nothing whole is left behind ---- */

static bool is_intact(struct pair *pair, const struct wb_ring *ring, uint32_t slot)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;
	const uint8_t *at = image + offset_of(ring, slot);
	struct wb_header header;

	wb_header_decode(geometry->format, at, &header);
	if (!wb_length_in_range(geometry, header.length) || wb_all_bytes(at, WB_BLOCK, 0))
		return false;
	if (!wb_seal_covers_data(geometry->format))
		return header.id && header.lap == wb_lap_of(geometry, header.id) && wb_seal_laps(geometry, at, &header);
	uint32_t size = WB_BLOCK * (header.length + 1);

	return !fuzz_is_bad(&pair->cache, offset_of(ring, slot), size) &&
	       wb_seal_match(header.checksum, wb_crc32c(~0u, at + 512, size - 512));
}

/* The log may be ended: all headers can be read, whole segments are in their places, and the last writer of every sector
 * among those of the window is on BACKING. */
static void expect_nothing_left(struct pair *pair, const struct wb_ring *ring)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	for (size_t i = 0; i < BACKING_SECTORS; i++)
		fates[i].id = 0;
	for (uint32_t slot = 0; slot < geometry->slots; slot++) {
		uint64_t id = ring->slots[slot].id;

		HOLDS(!fuzz_is_bad(&pair->cache, offset_of(ring, slot), WB_BLOCK));
		if (ring->slots[slot].flags & WB_SLOT_CORRECTED || !is_intact(pair, ring, slot))
			continue;
		HOLDS((id && (id - 1) % geometry->slots == slot && id <= ring->head) || !wb_seal_covers_data(geometry->format));
		HOLDS(!wb_ring_other_line(ring, slot));
	}
	for (uint64_t id = ring->first; !wb_window_is_empty(ring) && id && id <= ring->head; id++) {
		uint32_t slot = (uint32_t)((id - 1) % geometry->slots);

		/* of what cannot be read whole, all that was wanted could be */
		if (ring->slots[slot].id == id && (ring->slots[slot].flags & WB_SLOT_CORRECTED || is_intact(pair, ring, slot) ||
						   ring->slots[slot].class_ == WB_PART_READABLE))
			take_segment(pair, ring, slot);
	}
	for (uint64_t i = 0; i < BACKING_SECTORS; i++)
		HOLDS(!fates[i].id || !memcmp(now + i * WB_SECTOR, fates[i].bytes, WB_SECTOR));
}

/* ---- a flush ---- */

static struct wb_decide_options decide_options(const struct pair *pair, enum wb_policy policy, size_t capacity)
{
	return (struct wb_decide_options){
		.policy = policy, .capacity = capacity,
		.resumed = pair->resumed && policy != WB_STRICT, .cut = pair->decided.cut, .ids = pair->decided.ids,
		.until_given = chosen(pair, HEAD_MORE, MORE_UNTIL) && policy == WB_PREFIX && pair->largest > 1,
		.until = pair->largest - 1,
		.zeroed = chosen(pair, HEAD_MORE, MORE_SKIP) ? WB_ZEROED_SKIP :
			  chosen(pair, HEAD_MORE, MORE_REPLAY) ? WB_ZEROED_REPLAY : WB_ZEROED_AUTO,
		.force_regress = chosen(pair, HEAD_MORE, MORE_REGRESS), .force_size = chosen(pair, HEAD_MORE, MORE_SIZE),
	};
}

static bool has_bad(const struct pair *pair)
{
	return pair->cache.bad_count || pair->backing.bad_count;
}

/* Only media that cannot be read may make work fail. */
static bool done(const struct pair *pair, int ret, const struct wb_error *err)
{
	if (ret && !has_bad(pair)) {
		fprintf(stderr, "%s\n", err->text);
		HOLDS(!ret);
	}
	return !ret;
}

static void note_alone(void *context, uint64_t sector, uint64_t sectors, enum wb_alone why)
{
	(void)context;
	for (uint64_t i = 0; i < sectors && why != WB_ALONE_UNREADABLE; i++)
		alone[sector + i] = true;
}

/* Whether it was carried out whole. */
static bool replay(struct pair *pair, struct wb_ring *ring, const struct wb_decision *decision, size_t capacity,
		   struct wb_replay_result *result)
{
	struct wb_replay_options options = { .capacity = capacity, .dry_run = true, .left_alone = note_alone,
					     .compare = chosen(pair, HEAD_MORE, MORE_COMPARE),
					     .verify = chosen(pair, HEAD_MORE, MORE_VERIFY) };
	struct wb_replay_result dry, wet;
	uint64_t writes = pair->backing.writes;
	struct wb_error err;

	done(pair, wb_replay(ring, &decision->scope, &pair->backing.dev, &options, &dry, NULL, &err), &err);
	HOLDS(pair->backing.writes == writes);
	options.dry_run = false;
	bool whole = done(pair, wb_replay(ring, &decision->scope, &pair->backing.dev, &options, &wet, NULL, &err), &err);

	HOLDS(!whole || (dry.planned_sectors == wet.planned_sectors && dry.writes == wet.writes));
	HOLDS(!decision->refused || (pair->backing.writes == writes && !wet.planned_sectors));
	*result = wet;
	return whole;
}

static void expect_agreement(const struct wb_ring *ring, const struct wb_decision *decision, enum wb_policy policy)
{
	if (decision->damage || policy == WB_PREFIX) /* which --until-id may cut */
		return;
	HOLDS(!decision->corrected);
	/* what counts to the other line may be of this one, and be on BACKING */
	bool doubtful = ring->restarted && ring->options.timeline == WB_TIMELINE_NEW;

	if (doubtful && decision->refused == WB_REFUSE_REGRESS && decision->evidence)
		return;
	HOLDS(!decision->refused);
	HOLDS(wb_window_is_empty(ring) || (decision->scope.low == ring->first && decision->scope.high == ring->head));
	HOLDS(!decision->evidence && !decision->cut);
}

static int note_finding(void *context, const struct wb_finding *finding);

struct findings {
	const struct wb_ring *ring;
	uint64_t count, damage;
};

/* wb-check, which weighs the ring as the decision has, finds damage where strict has a problem, and nowhere else. */
static void expect_check_agrees(const struct pair *pair, struct wb_ring *ring, bool problem)
{
	struct findings findings = { .ring = ring };
	unsigned choices = CHOICE_TRUST | CHOICE_IGNORE | CHOICE_NEW | CHOICE_OLD | CHOICE_FORMAT;
	unsigned more = MORE_SKIP | MORE_REPLAY | MORE_REGRESS | MORE_SIZE;

	if (has_bad(pair) || ring->cache->super != WB_SUPER_GOOD || ring->record_state == WB_RECORD_GARBAGE || chosen(pair, HEAD_CHOICES, choices) || chosen(pair, HEAD_MORE, more))
		return;
	HOLDS(!wb_check(ring, NULL, note_finding, &findings, NULL));
	HOLDS(problem == (findings.damage > 0));
}

static void flush_once(struct pair *pair, struct wb_ring *ring, enum wb_policy policy, size_t capacity)
{
	const struct wb_decide_options options = decide_options(pair, policy, capacity);
	struct wb_replay_result result;
	struct wb_decision decision;
	struct wb_error err;

	if (!done(pair, wb_decide(ring, &pair->backing.dev, &options, &decision, NULL, &err), &err))
		return;
	HOLDS(!decision.refused == (decision.scope.low <= decision.scope.high) || ring->first > ring->head ||
	      decision.cut);
	expect_agreement(ring, &decision, policy);
	pair->decided = decision;
	foretell(pair, ring, &decision.scope);
	bool whole = replay(pair, ring, &decision, capacity, &result);

	if (!decision.refused && !options.force_regress)
		expect_no_regression(pair, ring);
	compare(pair, !whole);
	if (whole && policy == WB_STRICT)
		expect_check_agrees(pair, ring, wb_decision_status(ring, &options, &decision, &result) & 4);
	if (whole && wb_decision_may_end(ring, &options, &decision, &result))
		expect_nothing_left(pair, ring);
}

static void load(struct wb_ring *ring, struct wb_cache *cache, const struct pair *pair)
{
	HOLDS(!wb_ring_load(ring, cache, &pair->ring, NULL, NULL));
}

/* Again, in many passes, from where the first run got to: nothing is left to change. */
static void flush_again(struct pair *pair, struct wb_ring *ring, enum wb_policy policy)
{
	if (has_bad(pair) || chosen(pair, HEAD_MORE, MORE_REGRESS) || !memcmp(now, before, sizeof(now)))
		return;
	memcpy(first, before, sizeof(first));
	memcpy(before, now, sizeof(now));
	pair->resumed = true;
	flush_once(pair, ring, policy, 16);
	pair->resumed = false;
	HOLDS(!memcmp(now, before, sizeof(now)));
	memcpy(before, first, sizeof(before));
}

static void flush_twice(struct pair *pair, struct wb_cache *cache, enum wb_policy policy)
{
	struct wb_ring ring;

	memcpy(now, before, sizeof(now));
	load(&ring, cache, pair);
	flush_once(pair, &ring, policy, 4096);
	if (policy == WB_SALVAGE) { /* which has corrected it */
		wb_ring_release(&ring);
		load(&ring, cache, pair);
	}
	flush_again(pair, &ring, policy);
	wb_ring_release(&ring);
}

/* ---- the rest that looks at a ring ---- */

static int note_finding(void *context, const struct wb_finding *finding)
{
	struct findings *findings = context;
	const struct wb_rule_info *info = wb_rule_info(finding->rule);

	HOLDS(finding->rule < WB_RULES && info->name && *info->text);
	HOLDS(finding->severity == info->severity || finding->severity == WB_NOTE);
	if (findings->ring) {
		const struct wb_geometry *geometry = &findings->ring->cache->geometry;

		HOLDS(finding->slot == WB_NO_SLOT || finding->slot < geometry->slots);
		HOLDS(finding->offset == WB_NO_OFFSET || finding->offset < geometry->bytes);
		HOLDS(!finding->bit || (finding->bit->slot < geometry->slots && finding->bit->bit < 8 &&
					finding->bit->byte < wb_slot_size(geometry)));
	}
	findings->count++;
	findings->damage += finding->severity == WB_DAMAGE;
	return 0;
}

static int look_at_repair(void *context, const struct wb_repair *repair, struct wb_error *err)
{
	(void)context;
	(void)err;
	HOLDS(repair->length >= 1 && repair->length <= WB_SECTOR);
	HOLDS(repair->offset / WB_SECTOR == (repair->offset + repair->length - 1) / WB_SECTOR);
	HOLDS(!memcmp(image + repair->offset, repair->before, repair->length));
	HOLDS(memcmp(repair->before, repair->after, repair->length));
	return 0;
}

static void check_ring(struct pair *pair, struct wb_cache *cache)
{
	struct findings findings;
	struct wb_proof proof;
	struct wb_error err;
	struct wb_ring ring;
	uint64_t sum = 0;

	memcpy(now, before, sizeof(now));
	load(&ring, cache, pair);
	for (unsigned i = 0; i < WB_CLASSES; i++)
		sum += ring.classes[i];
	HOLDS(sum == ring.cache->geometry.slots && ring.holes <= ring.cache->geometry.slots);
	HOLDS(ring.first - 1 <= ring.head); /* 0, where the window is empty at the end of all ids */
	bool proven = done(pair, wb_pair_prove(&ring, &pair->backing.dev, 64, 0, &proof, NULL, &err), &err);

	findings = (struct findings){ .ring = &ring };
	done(pair, wb_check(&ring, proven ? &proof : NULL, note_finding, &findings, &err), &err);
	if (!has_bad(pair))
		wb_repair_each(&ring, true, look_at_repair, NULL, NULL, NULL);
	wb_ring_release(&ring);
	if (chosen(pair, HEAD_MORE, MORE_METADATA)) {
		pair->ring.metadata_only = true;
		load(&ring, cache, pair);
		findings.ring = &ring;
		wb_check(&ring, NULL, note_finding, &findings, NULL);
		wb_ring_release(&ring);
		pair->ring.metadata_only = false;
	}
}

static void holds_ids(const struct wb_forecast *forecast)
{
	uint64_t cursor = 0, from, to, applied = 0;

	HOLDS(*wb_outcome_name(forecast->outcome));
	while (wb_forecast_range(forecast, &cursor, &from, &to)) {
		HOLDS(from <= to);
		applied += to - from + 1;
	}
	HOLDS(applied == forecast->applied);
}

static void foresee(struct pair *pair, struct wb_cache *cache, bool compared)
{
	struct wb_forecast forecast;
	struct wb_error err;
	int more;

	memcpy(now, before, sizeof(now));
	if (!done(pair, wb_forecast(&forecast, cache, compared ? &pair->backing.dev : NULL, 1 << 15, NULL, &err), &err))
		return;
	holds_ids(&forecast);
	pair->backing.dev.block = WB_SECTOR; /* it goes sector by sector onto an image */
	if (compared)
		done(pair, wb_forecast_replay(&forecast, &pair->backing.dev, NULL, &err), &err);
	memcpy(now, before, sizeof(now));
	while ((more = wb_forecast_other(&forecast, NULL, &err)) > 0)
		holds_ids(&forecast);
	done(pair, more, &err);
	wb_forecast_release(&forecast);
}

/* A flushed cache, its log ended, is one that wb-check calls so. */
static void end_log(struct pair *pair)
{
	const struct wb_marker marker = { .reason = WB_END_FLUSHED, .time = 1, .head = pair->largest, .digest = 2,
					  .backing_bytes = pair->backing.dev.size };
	const struct wb_overrides none = { .order = 0 };
	struct findings findings = { .ring = NULL };
	struct wb_cache cache;

	pair->cache.sealed = false;
	HOLDS(!wb_cache_end(&pair->cache.dev, &marker, NULL));
	HOLDS(!wb_cache_open(&cache, &pair->cache.dev, &none, NULL));
	HOLDS(cache.super == WB_SUPER_ENDED && !cache.geometry.format && cache.marker.head == marker.head &&
	      cache.marker.reason == marker.reason && cache.marker.backing_bytes == marker.backing_bytes);
	HOLDS(!wb_check_super(&cache, note_finding, &findings));
	HOLDS(findings.count == 1 && !findings.damage);
	pair->cache.sealed = true;
}

static bool open_cache(struct wb_cache *cache, struct pair *pair)
{
	return !wb_cache_open(cache, &pair->cache.dev, &pair->overrides, NULL) && cache->geometry.format && !cache->wraps;
}

static void check_super(struct pair *pair)
{
	const struct wb_overrides none = { .order = 0 };
	struct findings findings = { .ring = NULL };
	struct wb_cache cache;

	if (wb_cache_open(&cache, &pair->cache.dev, &none, NULL) || !cache.geometry.format)
		wb_check_super(&cache, note_finding, &findings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nothing[RECIPE_ITEM];
	struct pair pair;
	struct wb_cache cache;

	if (size < RECIPE_ITEM) {
		data = nothing;
		size = RECIPE_ITEM;
	}
	make_pair(&pair, data, size);
	unsigned skipped = data[HEAD_FORMAT] / 4;

	if (!(skipped & SKIP_CHECK))
		check_super(&pair);
	if (!open_cache(&cache, &pair))
		return 0;
	if (!(skipped & SKIP_CHECK))
		check_ring(&pair, &cache);
	for (unsigned policy = WB_STRICT; policy <= WB_SALVAGE; policy++)
		if (!(skipped >> policy & 1))
			flush_twice(&pair, &cache, (enum wb_policy)policy);
	if (!(skipped & SKIP_FORECAST))
		foresee(&pair, &cache, false);
	if (!(skipped & SKIP_COMPARED))
		foresee(&pair, &cache, true);
	if (!(skipped & SKIP_CHECK))
		end_log(&pair);
	return 0;
}

/* ---- mutations that know what an item is ---- */

/* Numbers near those that matter. */
static uint64_t some_id(const uint8_t *data, size_t n, uint64_t *seed)
{
	const uint8_t *item = data + fuzz_draw(seed, (uint32_t)n) * RECIPE_ITEM;
	uint64_t id = wb_get_le(item + ITEM_VALUE, 8), slots = 1 + data[HEAD_SLOTS] % 16u;

	switch (fuzz_draw(seed, 10)) {
	case 0: return 0;
	case 1: return id + slots;
	case 2: return id - slots;
	case 3: return id ^ UINT64_C(1) << fuzz_draw(seed, 64);
	case 4: return UINT64_MAX - fuzz_draw(seed, 4);
	case 5: return fuzz_mix(*seed);
	default: return id + fuzz_draw(seed, 5) - 2;
	}
}

static uint64_t some_sector(uint64_t *seed)
{
	uint64_t sector = 8 * fuzz_draw(seed, BACKING_BLOCKS + 1);

	switch (fuzz_draw(seed, 12)) {
	case 0: return sector + fuzz_draw(seed, 8);
	case 1: return UINT64_MAX - fuzz_draw(seed, 16);
	case 2: return UINT64_C(1) << fuzz_draw(seed, 64);
	default: return sector;
	}
}

static uint8_t some_mask(uint64_t *seed)
{
	switch (fuzz_draw(seed, 4)) {
	case 0: return 0xff;
	case 1: return fuzz_draw(seed, 2) ? 0 : 1;
	default: return (uint8_t)fuzz_draw(seed, 256);
	}
}

static void make_item(uint8_t *item, const uint8_t *data, size_t n, uint64_t *seed)
{
	static const uint8_t often[] = { OP_SEGMENT, OP_SEGMENT, OP_SEGMENT, OP_BLOCK, OP_BLOCK, OP_BLOCK, OP_BLOCK, OP_FLIP,
					 OP_FLIP, OP_WRITEBACK, OP_RESEAL, OP_COPY, OP_BAD, OP_BAD_BACKING, OP_POKE };
	uint64_t slots = 1 + data[HEAD_SLOTS] % 16u, value = some_id(data, n, seed);

	item[ITEM_OP] = often[fuzz_draw(seed, sizeof(often))];
	item[ITEM_SLOT] = (uint8_t)fuzz_draw(seed, 256);
	item[ITEM_A] = some_mask(seed);
	item[ITEM_B] = (uint8_t)(fuzz_draw(seed, 4) ? 0 : fuzz_draw(seed, 3));
	wb_put_le(item + ITEM_N, 4, fuzz_draw(seed, 6) ? 0 : fuzz_draw(seed, 1u << fuzz_draw(seed, 16)));
	if (item[ITEM_OP] == OP_SEGMENT) {
		item[ITEM_SLOT] = (uint8_t)(fuzz_draw(seed, 8) ? (value - 1) % slots : fuzz_draw(seed, 16));
		item[ITEM_A] = (uint8_t)(fuzz_draw(seed, 6) ? SEAL_GOOD : fuzz_draw(seed, SEALS)); /* sealed again, mostly */
	} else if (item[ITEM_OP] == OP_BLOCK) {
		value = some_sector(seed);
	} else if (item[ITEM_OP] == OP_FLIP) {
		item[ITEM_A] = (uint8_t)(1u << fuzz_draw(seed, 8));
		wb_put_le(item + ITEM_N, 4, fuzz_draw(seed, fuzz_draw(seed, 2) ? 48 : 3 * WB_BLOCK));
	} else if (item[ITEM_OP] == OP_BAD) {
		item[ITEM_A] = (uint8_t)fuzz_draw(seed, 8);
		wb_put_le(item + ITEM_N, 4, fuzz_draw(seed, 3 * WB_BLOCK));
	}
	wb_put_le(item + ITEM_VALUE, 8, value);
}

/* One field of an item becomes that of another item that makes sense. */
static void change_field(uint8_t *item, const uint8_t *data, size_t n, uint64_t *seed)
{
	uint8_t other[RECIPE_ITEM];

	do
		make_item(other, data, n, seed);
	while (fuzz_draw(seed, 16) && other[ITEM_OP] != item[ITEM_OP] % OPS);
	switch (fuzz_draw(seed, 5)) {
	case 0: memcpy(item + ITEM_N, other + ITEM_N, 4); break;
	case 1: item[ITEM_A] = other[ITEM_A]; break;
	case 2: item[ITEM_B] = other[ITEM_B]; break;
	case 3: item[ITEM_SLOT] = other[ITEM_SLOT]; break;
	default: memcpy(item + ITEM_VALUE, other + ITEM_VALUE, 8); break;
	}
}

static void change_head(uint8_t *data, uint64_t *seed)
{
	unsigned byte = fuzz_draw(seed, HEAD_RECORD);
	bool small = fuzz_draw(seed, 16);

	if (!fuzz_draw(seed, 3))
		wb_put_le(data + HEAD_RECORD, 8, fuzz_draw(seed, 4) ? fuzz_draw(seed, 32) : fuzz_mix(*seed));
	else if (byte == HEAD_ORDER || byte == HEAD_SLOTS)
		data[byte] = (uint8_t)fuzz_draw(seed, small ? byte == HEAD_ORDER ? 3 : 8 : 256);
	else
		data[byte] = (uint8_t)fuzz_draw(seed, 256);
}

/* Devices of megabytes are rare: opening one takes as long as the rest. */
static void make_small(uint8_t *data, uint64_t *seed)
{
	if (data[HEAD_FORMAT] % 4 == 2 && fuzz_draw(seed, 4)) { /* v2, of one order, that differs from v1 in little else */
		data[HEAD_FORMAT]--;
		data[HEAD_ORDER] = 2;
	}
	if (data[HEAD_ORDER] > 4 && fuzz_draw(seed, 4))
		data[HEAD_ORDER] = (uint8_t)fuzz_draw(seed, 4);
}

/* An input is mostly about one thing of six. */
static void narrow(uint8_t *data, uint64_t *seed)
{
	static const uint8_t things[] = { 1 << WB_STRICT, 1 << WB_PREFIX, 1 << WB_SALVAGE, 1 << WB_SALVAGE, 1 << WB_SALVAGE, SKIP_CHECK,
					  SKIP_CHECK, SKIP_FORECAST, SKIP_COMPARED };
	unsigned skipped = data[HEAD_FORMAT] / 4, format = data[HEAD_FORMAT] % 4;

	if (!fuzz_draw(seed, 64))
		skipped = 0;
	else if (__builtin_popcount(skipped) != 5 || !fuzz_draw(seed, 4))
		skipped = 63u ^ things[fuzz_draw(seed, sizeof(things))];
	data[HEAD_FORMAT] = (uint8_t)(skipped * 4 + format);
}

/* All ids move on: the ring wraps elsewhere. */
static void move_ids(uint8_t *data, size_t n, uint64_t *seed)
{
	uint64_t slots = 1 + data[HEAD_SLOTS] % 16u, by = fuzz_draw(seed, 4) ? fuzz_draw(seed, 16) : slots << fuzz_draw(seed, 48);

	for (size_t i = 1; i < n; i++) {
		uint8_t *item = data + i * RECIPE_ITEM;
		uint64_t id = wb_get_le(item + ITEM_VALUE, 8) + by;

		if (item[ITEM_OP] % OPS != OP_SEGMENT && item[ITEM_OP] % OPS != OP_WRITEBACK)
			continue;
		wb_put_le(item + ITEM_VALUE, 8, id);
		item[ITEM_SLOT] = (uint8_t)((item[ITEM_SLOT] + by) % slots);
	}
}

static size_t insert_item(uint8_t *data, size_t n, size_t at, uint64_t *seed)
{
	uint8_t item[RECIPE_ITEM];

	make_item(item, data, n, seed);
	memmove(data + (at + 1) * RECIPE_ITEM, data + at * RECIPE_ITEM, (n - at) * RECIPE_ITEM);
	memcpy(data + at * RECIPE_ITEM, item, RECIPE_ITEM);
	return n + 1;
}

static size_t mutate_items(uint8_t *data, size_t n, size_t most, uint64_t *seed)
{
	size_t at = 1 + fuzz_draw(seed, (uint32_t)n), last = n > 1 ? 1 + fuzz_draw(seed, (uint32_t)n - 1) : 0;

	switch (fuzz_draw(seed, 8)) {
	case 0:
	case 1:
		return n < most ? insert_item(data, n, at, seed) : n;
	case 2:
		if (!last)
			return n;
		memmove(data + last * RECIPE_ITEM, data + (last + 1) * RECIPE_ITEM, (n - last - 1) * RECIPE_ITEM);
		return n - 1;
	case 3:
		change_head(data, seed);
		return n;
	case 4:
		move_ids(data, n, seed);
		return n;
	default:
		if (last)
			change_field(data + last * RECIPE_ITEM, data, n, seed);
		return n;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed_of_libfuzzer)
{
	uint64_t seed = seed_of_libfuzzer;
	size_t most = wb_min(max / RECIPE_ITEM, RECIPE_ITEMS), n = wb_min(size / RECIPE_ITEM, most);

	if (!fuzz_draw(&seed, 8) || !most)
		return LLVMFuzzerMutate(data, size, max);
	if (!n) {
		memset(data, 0, RECIPE_ITEM);
		n = 1;
	}
	for (unsigned times = 1 + fuzz_draw(&seed, 3); times; times--)
		n = mutate_items(data, n, most, &seed);
	make_small(data, &seed);
	narrow(data, &seed);
	return n * RECIPE_ITEM;
}
