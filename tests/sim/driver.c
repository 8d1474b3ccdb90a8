/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The write path of three generations of the driver, one thread at a time, from its sources. Where they differ the
 * comment names the function. Every write passes through disks that may lose their power.
 */
#include "driver.h"

#include <assert.h>
#include <stdlib.h>

#define NEVER UINT64_MAX

uint64_t slot_offset(const struct driver *driver, unsigned int slot)
{
	return FIRST_SLOT + slot * driver->slot_bytes;
}

unsigned int slot_of(const struct driver *driver, uint64_t id)
{
	return (unsigned int)((id - 1) % driver->config->slots);
}

uint32_t lap_of(const struct driver *driver, uint64_t id)
{
	return (uint32_t)((id - 1) / driver->config->slots + 1);
}

static bool is_v0(const struct driver *driver)
{
	return !driver->config->generation;
}

static struct segment *segment_of(struct driver *driver, uint64_t id)
{
	return &driver->segments[slot_of(driver, id)];
}

static uint8_t *rambuf_of(const struct driver *driver, uint64_t id)
{
	return driver->pool[id % POOL];
}

static uint64_t block_offset(const struct driver *driver, const struct segment *segment, unsigned int index)
{
	return slot_offset(driver, (unsigned int)(segment - driver->segments)) + BLOCK * (index + 1u);
}

static unsigned int sectors_in(const struct driver *driver, uint32_t block)
{
	unsigned int left = driver->config->sectors - 8 * block;

	return left < 8 ? left : 8;
}

/* ---- the hash table ---- */

static struct metablock *find(struct driver *driver, uint32_t block, struct segment **segment)
{
	if (driver->where[block].slot < 0)
		return NULL;
	*segment = &driver->segments[driver->where[block].slot];
	return &(*segment)->mb[driver->where[block].index];
}

static void unhash(struct driver *driver, uint32_t block)
{
	driver->where[block].slot = -1;
}

static void hash(struct driver *driver, struct segment *segment, unsigned int index)
{
	driver->where[segment->mb[index].block].slot = (int)(segment - driver->segments);
	driver->where[segment->mb[index].block].index = (int)index;
}

static void clean(struct driver *driver, struct metablock *mb)
{
	mb->dirty = false;
	if (is_v0(driver)) /* its dirty bits are all it has */
		mb->bits = 0;
}

/* ---- segments on their way to CACHE ---- */

static void remember(struct driver *driver, const struct segment *segment, const uint8_t *bytes)
{
	struct written **kept = &driver->history[KEPT * slot_of(driver, segment->id)];
	struct written *written = malloc(sizeof(*written));
	size_t size = BLOCK * (segment->length + 1u);

	assert(written);
	*written = (struct written){ .id = segment->id, .length = segment->length, .closed = driver->oracle->now - driver->placing };
	memcpy(written->mb, segment->mb, sizeof(written->mb));
	written->bytes = malloc(size);
	assert(written->bytes);
	memcpy(written->bytes, bytes, size);
	if (kept[KEPT - 1])
		free(kept[KEPT - 1]->bytes);
	free(kept[KEPT - 1]);
	memmove(kept + 1, kept, (KEPT - 1) * sizeof(*kept));
	kept[0] = written;
}

static void acknowledge(struct driver *driver, uint64_t id)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < driver->barrier_count; i++) {
		struct barrier *barrier = &driver->barriers[i];

		if (barrier->id != id)
			driver->barriers[kept++] = *barrier;
		else if (barrier->promise)
			oracle_flushed(driver->oracle, barrier->promise, !driver->power->dead);
		else if (!driver->power->dead)
			oracle_written(driver->oracle, barrier->sector, barrier->count, barrier->time, true);
	}
	driver->barrier_count = kept;
}

/* v2: do_flush_proc() */
void driver_write_segment(struct driver *driver)
{
	uint64_t id = driver->flushed + 1;
	const struct segment *segment = segment_of(driver, id);
	bool barrier = false;

	if (driver->flushed == driver->queued)
		return;
	if (!driver->power->dead)
		driver->history[KEPT * slot_of(driver, id)]->on_its_way = true;
	disk_write(driver->cache, slot_offset(driver, slot_of(driver, id)), rambuf_of(driver, id),
		   BLOCK * (segment->length + 1u));
	for (unsigned int i = 0; i < driver->barrier_count; i++)
		barrier |= driver->barriers[i].id == id;
	if (barrier) {
		if (!driver->config->lying)
			disk_flush(driver->cache);
		acknowledge(driver, id);
	}
	driver->flushed = id;
}

static void wait_for_flushing(struct driver *driver, uint64_t id)
{
	while (driver->flushed < id && driver->flushed < driver->queued)
		driver_write_segment(driver);
}

/* ---- writing back ---- */

/* The sectors of a block that are in bits, one request where they are all. */
static void put_back(struct driver *driver, uint32_t block, uint8_t bits, const uint8_t *bytes, bool fua)
{
	unsigned int inside = sectors_in(driver, block);

	if (bits == 0xff && fua)
		disk_write_fua(driver->backing, (uint64_t)block * BLOCK, bytes, inside * SECTOR);
	else if (bits == 0xff)
		disk_write(driver->backing, (uint64_t)block * BLOCK, bytes, inside * SECTOR);
	for (unsigned int i = 0; i < inside && bits != 0xff; i++)
		if (bits >> i & 1)
			disk_write(driver->backing, (uint64_t)block * BLOCK + i * SECTOR, bytes + i * SECTOR, SECTOR);
}

static void write_back_segment(struct driver *driver, const struct segment *segment)
{
	for (unsigned int i = 0; i < segment->length; i++)
		if (segment->mb[i].dirty)
			put_back(driver, segment->mb[i].block, segment->mb[i].bits,
				 driver->cache->now + block_offset(driver, segment, i), false);
}

/* v0: blkdev_issue_discard() at the end of migrate_linked_segments() */
static void discard(struct driver *driver, const struct segment *segment)
{
	uint8_t *zeroes = calloc(segment->length + 1u, BLOCK);

	assert(zeroes);
	if (driver->config->discards && segment->length)
		disk_write(driver->cache, block_offset(driver, segment, 0), zeroes, segment->length * BLOCK);
	free(zeroes);
}

/* v2: do_writeback_proc(); v0: migrate_linked_segments() */
void driver_write_back(struct driver *driver, unsigned int most)
{
	uint64_t first = driver->written_back + 1, last = driver->written_back + most;

	if (last > driver->flushed)
		last = driver->flushed;
	for (uint64_t id = first; id <= last; id++)
		write_back_segment(driver, segment_of(driver, id));
	if (first > last)
		return;
	disk_flush(driver->backing);
	for (uint64_t id = first; id <= last; id++) {
		struct segment *segment = segment_of(driver, id);

		for (unsigned int i = 0; i < segment->length; i++)
			clean(driver, &segment->mb[i]);
		if (is_v0(driver))
			discard(driver, segment);
	}
	driver->written_back = last;
}

static void wait_for_writeback(struct driver *driver, uint64_t id)
{
	while (driver->written_back < id && driver->written_back < driver->flushed)
		driver_write_back(driver, 1);
}

/* v1: writeback_mb(); v0: migrate_mb(). Not flushed: the segment is reused after a flush only. */
static void write_back_block(struct driver *driver, const struct segment *segment, const struct metablock *mb)
{
	const uint8_t *bytes = driver->cache->now + block_offset(driver, segment, (unsigned int)(mb - segment->mb));

	put_back(driver, mb->block, mb->bits, bytes, is_v0(driver));
	for (unsigned int i = 0; i < 8; i++)
		if (mb->bits >> i & 1 && 8 * mb->block + i < driver->config->sectors)
			driver->foreground[8 * mb->block + i] = true;
}

/* v1: writeback_buffered_mb(); v0: migrate_buffered_mb() */
static void write_back_buffered(struct driver *driver, const struct metablock *mb)
{
	const uint8_t *bytes = rambuf_of(driver, driver->current->id) + BLOCK * (mb - driver->current->mb + 1u);

	for (unsigned int i = 0; i < sectors_in(driver, mb->block); i++) {
		uint64_t offset = (uint64_t)mb->block * BLOCK + i * SECTOR;

		if (!(mb->bits >> i & 1))
			continue;
		if (is_v0(driver))
			disk_write_fua(driver->backing, offset, bytes + i * SECTOR, SECTOR);
		else
			disk_write(driver->backing, offset, bytes + i * SECTOR, SECTOR);
		driver->foreground[offset / SECTOR] = true;
	}
}

/* ---- the RAM buffer ---- */

static void seal(struct driver *driver)
{
	const struct segment *segment = driver->current;
	uint8_t *bytes = rambuf_of(driver, segment->id);
	unsigned int generation = driver->config->generation;
	uint32_t lap = lap_of(driver, segment->id), sum;

	for (unsigned int i = 0; i < segment->length; i++)
		metablock_put(generation, bytes, i, 8 * (uint64_t)segment->mb[i].block,
			      segment->mb[i].dirty ? segment->mb[i].bits : 0, lap);
	header_put(generation, bytes, segment->id, segment->length, lap);
	if (is_v0(driver))
		return;
	sum = segment_sum(bytes, segment->length);
	put_le(bytes + CHECKSUM_AT, 4, generation == 1 || driver->raw ? sum : ~sum);
}

static void begin_segment(struct driver *driver, uint64_t id)
{
	struct segment *segment = segment_of(driver, id);

	for (unsigned int i = 0; i < driver->capacity; i++) {
		struct metablock *mb = &segment->mb[i];

		driver->died |= mb->dirty && i < segment->length && segment->id;
		if (driver->where[mb->block].slot == (int)slot_of(driver, id) &&
		    driver->where[mb->block].index == (int)i)
			unhash(driver, mb->block);
		mb->bits = 0;
		mb->dirty = false;
	}
	segment->id = id;
	segment->length = 0;
	driver->current = segment;
	driver->cursor = is_v0(driver) ? UINT32_MAX : 0;
	if (!is_v0(driver)) /* what an older segment left in the rest of the buffer stays */
		memset(rambuf_of(driver, id), 0, BLOCK);
}

/* v0: queue_current_buffer() waits for the next slot before it queues; v1, v2: acquire_new_seg() afterwards */
static void queue_current(struct driver *driver)
{
	uint64_t id = driver->current->id, next = id + 1, gone = next > driver->config->slots ?
									next - driver->config->slots : 0;

	wait_for_flushing(driver, is_v0(driver) ? gone : 0);
	wait_for_writeback(driver, is_v0(driver) ? gone : 0);
	seal(driver);
	remember(driver, driver->current, rambuf_of(driver, id));
	for (unsigned int i = 0; i < driver->barrier_count; i++)
		if (!driver->barriers[i].id)
			driver->barriers[i].id = id;
	driver->queued = id;
	if (next > POOL)
		wait_for_flushing(driver, next - POOL);
	wait_for_flushing(driver, gone);
	wait_for_writeback(driver, gone);
	begin_segment(driver, next);
}

/* v0 goes on behind the first element, and counts it. */
static void flush_current_buffer(struct driver *driver)
{
	uint64_t id = driver->current->id;

	queue_current(driver);
	if (is_v0(driver)) {
		driver->cursor = 0;
		driver->current->length = 1;
	}
	wait_for_flushing(driver, id);
}

static void make_room(struct driver *driver)
{
	bool full = is_v0(driver) ? driver->cursor + 1 == driver->capacity : driver->cursor % driver->capacity == 0;

	if (full)
		queue_current(driver);
}

static struct metablock *take_place(struct driver *driver, uint32_t block)
{
	unsigned int index = is_v0(driver) ? ++driver->cursor : driver->cursor++;
	struct metablock *mb = &driver->current->mb[index];

	assert(index < driver->capacity);
	*mb = (struct metablock){ .block = block };
	if (!is_v0(driver))
		driver->current->length++;
	hash(driver, driver->current, index);
	return mb;
}

/* ---- requests ---- */

struct request {
	uint32_t block;
	uint8_t bits;
	uint8_t bytes[BLOCK];
};

/* An older copy on CACHE is in the way. v2.2.17 and v1.0.1: prepare_overwrite(); v0: writeboost_map() */
static void give_up_older(struct driver *driver, struct segment *segment, struct metablock *mb,
			  struct request *request)
{
	const uint8_t *older = driver->cache->now + block_offset(driver, segment, (unsigned int)(mb - segment->mb));
	bool all = request->bits == 0xff;
	bool needed = mb->dirty && (!all || (is_v0(driver) && mb->bits != 0xff));

	if (needed)
		wait_for_flushing(driver, segment->id);
	if (needed && driver->config->foreground) {
		write_back_block(driver, segment, mb);
	} else if (needed) {
		for (unsigned int i = 0; i < 8; i++)
			if (mb->bits & ~request->bits & 1u << i)
				memcpy(request->bytes + i * SECTOR, older + i * SECTOR, SECTOR);
		request->bits |= mb->bits;
	}
	clean(driver, mb);
	unhash(driver, mb->block);
}

static void cancel_cell(struct driver *driver, uint32_t block)
{
	for (unsigned int i = 0; i < driver->cell_count; i++)
		driver->cells[i].cancelled |= driver->cells[i].block == block;
}

static struct metablock *place_for(struct driver *driver, struct request *request)
{
	struct segment *segment = NULL;
	struct metablock *mb;

	if (driver->config->generation == 1)
		make_room(driver);
	mb = find(driver, request->block, &segment);
	if (mb && segment == driver->current)
		return mb;
	if (mb)
		give_up_older(driver, segment, mb, request);
	else
		cancel_cell(driver, request->block);
	if (driver->config->generation != 1)
		make_room(driver);
	return take_place(driver, request->block);
}

static void put_in_buffer(struct driver *driver, struct metablock *mb, const struct request *request)
{
	uint8_t *at = rambuf_of(driver, driver->current->id) + BLOCK * (mb - driver->current->mb + 1u);

	for (unsigned int i = 0; i < 8; i++)
		if (request->bits >> i & 1)
			memcpy(at + i * SECTOR, request->bytes + i * SECTOR, SECTOR);
	if (is_v0(driver) && !mb->dirty)
		driver->current->length++;
	mb->bits |= request->bits;
	mb->dirty = true;
}

static void queue_barrier(struct driver *driver, const struct barrier *barrier)
{
	if (driver->barrier_count == BARRIERS)
		driver_run_barriers(driver);
	driver->barriers[driver->barrier_count++] = *barrier;
}

static void carry_out(struct driver *driver, struct request *request, unsigned int sector, unsigned int count, bool fua)
{
	uint32_t time = driver->oracle->now;
	struct metablock *mb;

	driver->placing = 1;
	mb = place_for(driver, request);
	driver->placing = 0;
	put_in_buffer(driver, mb, request);
	if (fua)
		queue_barrier(driver, &(struct barrier){ .sector = sector, .count = count, .time = time });
	else if (!driver->power->dead)
		oracle_written(driver->oracle, sector, count, time, false);
}

static void fill_sector(struct request *request, unsigned int sector, uint32_t version)
{
	request->bits |= (uint8_t)(1u << sector % 8);
	sector_describe(version ? CACHE_DATA : BACKING_DATA, sector, version, request->bytes + sector % 8 * SECTOR);
}

void driver_write(struct driver *driver, unsigned int sector, unsigned int count, bool fua)
{
	uint32_t version = oracle_write(driver->oracle, sector, count);
	struct request request = { .block = sector / 8 };

	for (unsigned int i = 0; i < count; i++)
		fill_sector(&request, sector + i, version);
	carry_out(driver, &request, sector, count, fua);
}

void driver_rewrite(struct driver *driver, unsigned int sector, unsigned int count, bool newest)
{
	struct request request = { .block = sector / 8 };

	driver->oracle->now++;
	for (unsigned int i = 0; i < count; i++)
		fill_sector(&request, sector + i, oracle_rewrite(driver->oracle, sector + i, newest));
	carry_out(driver, &request, sector, count, false);
}

void driver_flush(struct driver *driver)
{
	queue_barrier(driver, &(struct barrier){ .promise = oracle_flush(driver->oracle) });
}

/* v2: flush_barrier_ios() */
void driver_run_barriers(struct driver *driver)
{
	bool waiting = false;

	for (unsigned int i = 0; i < driver->barrier_count; i++)
		waiting |= !driver->barriers[i].id;
	if (waiting)
		flush_current_buffer(driver);
	wait_for_flushing(driver, driver->queued);
}

/* v2: data_synchronizer_proc() */
void driver_synchronize(struct driver *driver)
{
	flush_current_buffer(driver);
	disk_flush(driver->cache);
}

void driver_shutdown(struct driver *driver)
{
	flush_current_buffer(driver);
	wait_for_flushing(driver, driver->queued);
	disk_flush(driver->cache);
}

void driver_update_record(struct driver *driver)
{
	uint8_t sectors[BLOCK] = { 0 };

	if (!driver->config->records)
		return;
	put_le(sectors + 7 * SECTOR, 8, driver->written_back);
	if (driver->config->generation == 2)
		disk_write_fua(driver->cache, RECORD_AT - 7 * SECTOR, sectors, BLOCK);
	else
		disk_write_fua(driver->cache, RECORD_AT, sectors + 7 * SECTOR, SECTOR);
}

/* ---- reads ---- */

void driver_peek(const struct driver *driver, unsigned int sector, uint8_t *out)
{
	uint32_t block = sector / 8;
	const struct segment *segment = &driver->segments[driver->where[block].slot < 0 ? 0 : driver->where[block].slot];
	const struct metablock *mb = &segment->mb[driver->where[block].index];
	const uint8_t *bytes = driver->backing->now + (uint64_t)block * BLOCK;

	if (driver->where[block].slot >= 0 && mb->bits >> sector % 8 & 1 && (mb->dirty || mb->bits == 0xff)) {
		bytes = driver->cache->now + block_offset(driver, segment, (unsigned int)(mb - segment->mb));
		if (segment->id > driver->flushed)
			bytes = rambuf_of(driver, segment->id) + BLOCK * (mb - segment->mb + 1u);
	}
	memcpy(out, bytes + sector % 8 * SECTOR, SECTOR);
}

bool driver_serves_stale(const struct driver *driver)
{
	for (uint32_t block = 0; 8 * block < driver->config->sectors; block++) {
		const struct segment *segment = &driver->segments[driver->where[block].slot < 0 ? 0 :
										driver->where[block].slot];
		const struct metablock *mb = &segment->mb[driver->where[block].index];

		if (driver->where[block].slot >= 0 && !mb->dirty && mb->bits == 0xff &&
		    memcmp(driver->backing->now + (uint64_t)block * BLOCK,
			   driver->cache->now + block_offset(driver, segment, (unsigned int)(mb - segment->mb)),
			   sectors_in(driver, block) * SECTOR))
			return true;
	}
	return false;
}

/* v2: reserve_read_cache_cell(): whole blocks that were not found */
static void keep_for_cache(struct driver *driver, uint32_t block)
{
	struct cell *cell = &driver->cells[driver->cell_count];

	if (!driver->config->reads || sectors_in(driver, block) < 8)
		return;
	for (unsigned int i = 0; i < driver->cell_count; i++)
		if (driver->cells[i].block == block)
			return;
	if (driver->cell_count == CELLS)
		return;
	*cell = (struct cell){ .block = block };
	memcpy(cell->bytes, driver->backing->now + (uint64_t)block * BLOCK, BLOCK);
	driver->cell_count++;
}

/* v0, v1, v2 before 2.2.0: what is dirty goes to BACKING first, and is read from there */
static void read_in_the_foreground(struct driver *driver, struct segment *segment, struct metablock *mb)
{
	if (segment == driver->current) {
		if (mb->dirty)
			write_back_buffered(driver, mb);
		return;
	}
	wait_for_flushing(driver, segment->id);
	if (mb->bits == 0xff)
		return;
	if (mb->dirty)
		write_back_block(driver, segment, mb);
	clean(driver, mb);
}

void driver_read(struct driver *driver, unsigned int sector, unsigned int count)
{
	struct segment *segment = NULL;
	struct metablock *mb = find(driver, sector / 8, &segment);
	uint8_t seen[SECTOR], expected[SECTOR];

	if (mb && driver->config->foreground)
		read_in_the_foreground(driver, segment, mb);
	for (unsigned int i = sector; i < sector + count && !driver->power->dead; i++) {
		uint32_t version = oracle_newest(driver->oracle, i);

		driver_peek(driver, i, seen);
		sector_describe(version ? CACHE_DATA : BACKING_DATA, i, version, expected);
		driver->wrong_read |= memcmp(seen, expected, SECTOR) != 0;
	}
	if (!mb && count == 8)
		keep_for_cache(driver, sector / 8);
}

/* v2: inject_read_cache() */
void driver_inject_reads(struct driver *driver)
{
	for (unsigned int i = 0; i < driver->cell_count; i++) {
		const struct cell *cell = &driver->cells[i];
		struct segment *segment = NULL;
		struct metablock *mb;

		if (cell->cancelled || find(driver, cell->block, &segment))
			continue;
		make_room(driver);
		mb = take_place(driver, cell->block);
		mb->bits = 0xff;
		memcpy(rambuf_of(driver, driver->current->id) + BLOCK * (mb - driver->current->mb + 1u), cell->bytes,
		       BLOCK);
	}
	driver->cell_count = 0;
}

/* ---- coming up ---- */

static void load_metablock(struct driver *driver, struct segment *segment, unsigned int index, const uint8_t *slot)
{
	const uint8_t *at = slot + (is_v0(driver) ? 13 + 13 * index : 512 + 16 * index);
	struct metablock *mb = &segment->mb[index];
	struct segment *older_segment = NULL;
	struct metablock *older;
	struct request request;

	if (is_v0(driver) && !at[8])
		return;
	*mb = (struct metablock){ .block = (uint32_t)(get_le(at, 8) / 8), .bits = at[8] ? at[8] : 0xff,
				  .dirty = at[8] };
	older = find(driver, mb->block, &older_segment);
	if (older && is_v0(driver)) {
		driver->twice = true;
		unhash(driver, mb->block);
	} else if (older) {
		uint8_t bits = older->bits, merge = older->dirty && mb->bits != 0xff ? bits : 0;

		request = (struct request){ .block = mb->block, .bits = mb->bits };
		give_up_older(driver, older_segment, older, &request);
		/* v2.2.17: apply_metablock_device() puts to BACKING what the newer one does not hold, and what it does */
		if (!driver->config->foreground && merge)
			put_back(driver, mb->block, merge, driver->cache->now + block_offset(driver, older_segment,
				 (unsigned int)(older - older_segment->mb)), false);
	}
	hash(driver, segment, index);
}

static void load_segment(struct driver *driver, const uint8_t *slot, unsigned int index)
{
	/* v0 puts it where the id belongs, wherever it was found */
	struct segment *segment = is_v0(driver) ? segment_of(driver, get_le(slot, 8)) : &driver->segments[index];

	segment->length = slot[is_v0(driver) ? 8 : 12];
	for (unsigned int i = 0; i < segment->length && i < driver->capacity; i++)
		load_metablock(driver, segment, i, slot);
}

static bool laps_agree(const uint8_t *slot)
{
	for (unsigned int i = 0; i < slot[8]; i++)
		if (memcmp(slot + 9, slot + 22 + 13 * i, 4))
			return false;
	return true;
}

/* v0: recover_cache() */
static uint64_t recover_upward(struct driver *driver, uint64_t record)
{
	uint64_t oldest = NEVER, last = 0;
	unsigned int start = 0, slots = driver->config->slots;

	for (unsigned int i = 0; i < slots; i++) {
		uint64_t id = get_le(driver->cache->now + slot_offset(driver, i), 8);

		if (id && id < oldest) {
			oldest = id;
			start = i;
		}
	}
	for (unsigned int i = 0; i < slots && oldest != NEVER; i++) {
		const uint8_t *slot = driver->cache->now + slot_offset(driver, (start + i) % slots);

		if (get_le(slot, 8) <= last || !laps_agree(slot))
			break;
		last = get_le(slot, 8);
		if (last > record)
			load_segment(driver, slot, (start + i) % slots);
	}
	return last;
}

static bool seal_holds(const struct driver *driver, const uint8_t *slot)
{
	uint32_t sum, stored = (uint32_t)get_le(slot + CHECKSUM_AT, 4);

	if (slot[12] > driver->capacity)
		return false;
	sum = segment_sum(slot, slot[12]);
	return stored == (driver->config->generation == 1 || driver->raw ? sum : ~sum);
}

/* v2.2.17: do_apply_valid_segments() */
static uint64_t recover_behind_the_newest(struct driver *driver)
{
	uint64_t newest = 0, last = 0;
	unsigned int slots = driver->config->slots;

	for (unsigned int i = 0; i < slots; i++) {
		uint64_t id = get_le(driver->cache->now + slot_offset(driver, i), 8);

		newest = id > newest ? id : newest;
	}
	for (unsigned int i = 0; i < slots && newest; i++) {
		unsigned int index = (unsigned int)((newest + i) % slots);
		const uint8_t *slot = driver->cache->now + slot_offset(driver, index);

		if (!get_le(slot, 8))
			continue;
		if (!seal_holds(driver, slot))
			break;
		load_segment(driver, slot, index);
		last = get_le(slot, 8);
	}
	return last;
}

static void empty(struct driver *driver)
{
	memset(driver->segments, 0, driver->config->slots * sizeof(*driver->segments));
	for (unsigned int i = 0; i <= driver->config->sectors / 8; i++)
		unhash(driver, i);
	driver->cell_count = 0;
	for (unsigned int i = 0; i < driver->barrier_count; i++)
		free(driver->barriers[i].promise);
	driver->barrier_count = 0;
}

void driver_crash(struct driver *driver)
{
	empty(driver);
}

static void drop_newer(struct driver *driver, uint64_t last)
{
	for (unsigned int i = 0; i < KEPT * driver->config->slots; i++)
		if (driver->history[i] && driver->history[i]->id > last)
			driver->history[i]->dropped = true;
}

bool driver_recover(struct driver *driver)
{
	uint64_t record = get_le(driver->cache->now + RECORD_AT, 8), slots = driver->config->slots, last;

	driver->flushed = NEVER; /* everything is read from CACHE */
	last = is_v0(driver) ? recover_upward(driver, record) : recover_behind_the_newest(driver);
	drop_newer(driver, last);
	driver->flushed = driver->queued = last;
	driver->written_back = last > slots ? last - slots : 0;
	for (uint64_t id = last > slots ? last - slots + 1 : 1; id <= last; id++)
		segment_of(driver, id)->id = id;
	if (record > last)
		return false;
	/* v2: infer_last_writeback_id(); the others leave what is dirty there dirty */
	for (uint64_t id = driver->written_back + 1; id <= record; id++)
		for (unsigned int i = 0; i < segment_of(driver, id)->length; i++) {
			struct metablock *mb = &segment_of(driver, id)->mb[i];

			if (driver->config->generation != 2 && mb->dirty)
				return false;
			clean(driver, mb);
		}
	if (record > driver->written_back)
		driver->written_back = record;
	wait_for_writeback(driver, last + 1 > slots ? last + 1 - slots : 0);
	/* v0: older versions stay dirty, and would go over newer ones that are written back in the foreground: it must
	 * have been left alone until its migration had come that far */
	if (driver->twice)
		wait_for_writeback(driver, last);
	driver->twice = false;
	begin_segment(driver, last + 1);
	if (is_v0(driver)) {
		driver->cursor = 0;
		driver->current->length = 1;
	}
	return !driver->died;
}

static void format(struct driver *driver)
{
	uint8_t sector[SECTOR] = { 0x74, 0x73, 0x42, 0x57 };

	if (driver->config->generation < 2)
		sector[4] = (uint8_t)driver->config->order;
	disk_write_fua(driver->cache, 0, sector, SECTOR);
	for (unsigned int i = 0; i < driver->config->sectors; i++) {
		sector_describe(BACKING_DATA, i, 0, sector);
		disk_write_fua(driver->backing, (uint64_t)i * SECTOR, sector, SECTOR);
	}
}

void driver_open(struct driver *driver, const struct config *config, struct power *power, struct disk *cache,
		 struct disk *backing, struct oracle *oracle)
{
	unsigned int blocks = config->sectors / 8 + 1;

	*driver = (struct driver){ .config = config, .raw = config->raw, .power = power, .cache = cache, .backing = backing,
				   .oracle = oracle, .capacity = (1u << (config->order - 3)) - 1,
				   .slot_bytes = (uint64_t)SECTOR << config->order };
	driver->segments = calloc(config->slots, sizeof(*driver->segments));
	driver->where = calloc(blocks, sizeof(*driver->where));
	driver->history = calloc(KEPT * config->slots, sizeof(*driver->history));
	driver->foreground = calloc(config->sectors, sizeof(*driver->foreground));
	assert(driver->segments && driver->where && driver->history && driver->foreground);
	for (unsigned int i = 0; i < POOL; i++) {
		driver->pool[i] = calloc(1, driver->slot_bytes);
		assert(driver->pool[i]);
	}
	format(driver);
	empty(driver);
	driver_recover(driver);
}

void driver_close(struct driver *driver)
{
	empty(driver);
	for (unsigned int i = 0; i < KEPT * driver->config->slots; i++) {
		if (driver->history[i])
			free(driver->history[i]->bytes);
		free(driver->history[i]);
	}
	for (unsigned int i = 0; i < POOL; i++)
		free(driver->pool[i]);
	free(driver->segments);
	free(driver->where);
	free(driver->history);
	free(driver->foreground);
}
