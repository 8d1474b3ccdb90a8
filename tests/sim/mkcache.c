/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mkcache FILE.wbt CACHE [BACKING] - make a cache image out of a text that describes one
 *
 * Written from the format alone, with its own literal offsets and its own checksum: it shares
 * nothing with the library, so that a wrong table there cannot cancel out here. FILE may be '-'.
 * BACKING is made when it is named and the text describes one. Errors: file and line, exit 2.
 *
 * One command a line, '#' starts a comment, commands act in the order given. Numbers are decimal
 * or 0x, up to 64 bits; BITS, XX and HEX are hexadecimal, without a prefix.
 *
 * The device, before the log:
 *   generation v0|v1|v2      default v2
 *   order N                  default 7, 10, 10
 *   slots SLOTS              default 8; 0 makes a device that is too small
 *   slack SECTORS            a tail shorter than a slot
 *   bytes N                  odd bytes after that
 *   fill garbage SEED        what was never written holds garbage, not zeroes
 *   backing SECTORS [SEED]   a backing image whose every sector describes itself
 *
 * Anywhere (checksum and padding hold for the segments that follow):
 *   record ID                the superblock record
 *   magic HEX, orderbyte N, sector0 zero|garbage    instead of a sound superblock header
 *   checksum raw|inverted    default raw in v1, inverted in v2
 *   padding XX               the bytes of a segment's first 4 KiB that no field occupies
 *
 * The log:
 *   segment ID [at SLOT] [lap N] [length LENGTH]
 *       written to its slot, (length + 1) * 8 sectors of it: what an earlier lap left behind
 *       them stays. The lap is v0's. A length below the number of blocks that follow leaves
 *       stale metablocks; the seal covers what the length says. No blocks: a flush in v1, v2.
 *   block SECTOR BITS [VERSION] [data zero|byte] [XX]
 *       a metablock of that segment and its data. Sectors whose bit is set hold what (LBA,
 *       VERSION) determine, VERSION defaulting to the id; the others hold something undefined.
 *       BITS 00 is a clean block: without a VERSION its data is what the backing image holds.
 *   hold V V V V V V V V     that block's sectors are of these versions; 0 is what `backing` made
 *   unused SECTOR            the v0 element that a flush leaves: no dirty bits, no data
 *   lost FIRST LAST          these sectors of that segment did not land: what stood there stays
 *   range FIRST LAST blocks N seed SEED span BLOCKS [full|partial] [clean PERCENT]
 *       segments of N pseudo random blocks out of the first BLOCKS blocks, the clean ones out of
 *       as many after them. A segment depends on its id and SEED, not on where the range starts.
 *   writeback ID             the backing image receives the dirty sectors of all segments
 *                            given so far, up to that id, in id order
 *   writeback-segment ID     those of that segment alone
 *   put SECTOR COUNT VERSION the backing image holds that version in these sectors
 *
 * Damage, after the log (SLOT is a place, whatever lies there):
 *   flip SLOT BYTE BIT             poke SLOT BYTE XX... (up to eight)
 *   zero SLOT BYTE COUNT           tear SLOT SECTOR SEED (garbage from there to its end)
 *   setid SLOT ID                  setlength SLOT LENGTH
 *   setlap SLOT INDEX|header N     copy-slot SLOT SLOT (from, to)
 *   cut SLOTS, grow SLOTS          the device was resized
 *   shift SLOTS                    its start was moved: slot SLOTS became slot 0
 */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layout.h"

#define UNSET		UINT64_MAX

enum phase { DEVICE, LOG, DAMAGE, ANYWHERE };
enum { SECTOR0_ZERO, SECTOR0_GARBAGE };

struct image {
	uint8_t *bytes;
	uint64_t size;
};

struct block {
	uint64_t sector, version;
	enum content content;
	uint8_t dirty_bits, byte;
	bool mixed;
	uint64_t held[8];			/* mixed: the versions of its sectors */
};

struct segment {
	uint64_t id, slot, lap, length;		/* length UNSET: as many as there are blocks */
	uint64_t inverted, padding;
	unsigned int count;
	struct block blocks[255];
};

static struct {
	uint64_t generation, order, slots, slack, odd_bytes, garbage_seed;
	uint64_t magic, orderbyte, sector0, record, inverted, padding;
} dev = {
	.generation = 2, .order = UNSET, .slots = 8, .garbage_seed = UNSET,
	.magic = 0x57427374, .orderbyte = UNSET, .sector0 = UNSET, .inverted = UNSET,
};

static struct segment *segments;
static size_t segment_count;
static struct image cache, backing;
static uint8_t *slot_before;			/* what the last segment was written over */
static const char *text_name;
static unsigned long text_line;

__attribute__((format(printf, 1, 2))) static _Noreturn void fail(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%lu: ", text_name, text_line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

static void image_resize(struct image *img, uint64_t size)
{
	uint8_t *bytes = realloc(img->bytes, size + 1);

	if (!bytes)
		fail("no memory for an image of %" PRIu64 " bytes", size);
	if (size > img->size)
		memset(bytes + img->size, 0, size - img->size);
	img->bytes = bytes;
	img->size = size;
}

/* Sparse where nothing is; ftruncate() keeps this off devices. */
static void image_save(const struct image *img, const char *path)
{
	static const uint8_t zeroes[BLOCK];
	int fd = open(path, O_WRONLY | O_CREAT, 0666);
	bool done = fd >= 0 && !ftruncate(fd, 0) && !ftruncate(fd, (off_t)img->size);

	for (uint64_t at = 0; done && at < img->size; at += BLOCK) {
		size_t n = img->size - at < BLOCK ? img->size - at : BLOCK;

		if (memcmp(img->bytes + at, zeroes, n))
			done = pwrite(fd, img->bytes + at, n, (off_t)at) == (ssize_t)n;
	}
	if (!done || close(fd))
		fail("cannot write %s: %s", path, strerror(errno));
}

static uint64_t slot_size(void)
{
	return (uint64_t)SECTOR << dev.order;
}

static uint8_t *slot_bytes(uint64_t slot)
{
	if (slot >= dev.slots)
		fail("slot %" PRIu64 ": the device has only %" PRIu64, slot, dev.slots);
	return cache.bytes + FIRST_SLOT + slot * slot_size();
}

static unsigned int capacity(void)
{
	return (1u << (dev.order - 3)) - 1;
}

static void cache_create(void)
{
	static const unsigned int least[] = { 4, 4, 10 }, most[] = { 11, 10, 10 };
	uint64_t g = dev.generation, tail = dev.slack * SECTOR + dev.odd_bytes;

	if (dev.order == UNSET)
		dev.order = g ? 10 : 7;
	if (dev.order < least[g] || dev.order > most[g])
		fail("v%" PRIu64 " has no order %" PRIu64, g, dev.order);
	if (dev.odd_bytes >= slot_size() || tail >= slot_size())
		fail("slack and bytes make a slot, %" PRIu64 " bytes, or more", slot_size());
	image_resize(&cache, FIRST_SLOT + dev.slots * slot_size() + tail);
	if (dev.garbage_seed != UNSET)
		random_fill(dev.garbage_seed, cache.bytes + FIRST_SLOT, cache.size - FIRST_SLOT);
}

static void superblock_put(void)
{
	put_le(cache.bytes + 2047 * SECTOR, 8, dev.record);
	if (dev.sector0 == SECTOR0_ZERO)
		return;
	put_le(cache.bytes, 4, dev.magic);
	put_le(cache.bytes + 4, 1, dev.generation < 2 ? dev.order : 0);
	if (dev.orderbyte != UNSET)
		put_le(cache.bytes + 4, 1, dev.orderbyte);
	if (dev.sector0 == SECTOR0_GARBAGE)
		random_fill(1, cache.bytes, SECTOR);
}

static void sector_put(const struct block *b, unsigned int j, uint8_t *out)
{
	uint64_t lba = b->sector + j;
	bool undefined = b->dirty_bits && !(b->dirty_bits >> j & 1);

	if (b->mixed && !undefined)
		sector_describe(b->held[j] ? CACHE_DATA : BACKING_DATA, lba, b->held[j], out);
	else if (b->content == BYTE_DATA)
		memset(out, b->byte, SECTOR);
	else if (b->content != BACKING_DATA)
		sector_describe(undefined ? UNDEFINED_DATA : b->content, lba, b->version, out);
	else if (lba < backing.size / SECTOR)
		memcpy(out, backing.bytes + lba * SECTOR, SECTOR);
	else
		memset(out, 0, SECTOR);
}

static void encode(const struct segment *s, uint64_t length, uint64_t blocks, uint8_t *slot)
{
	unsigned int g = (unsigned int)dev.generation;

	for (unsigned int i = 0; i < s->count; i++)
		metablock_put(g, slot, i, s->blocks[i].sector, s->blocks[i].dirty_bits, (uint32_t)s->lap);
	header_put(g, slot, s->id, (unsigned int)length, (uint32_t)s->lap);
	if (g)
		put_le(slot + CHECKSUM_AT, 4, segment_sum(slot, blocks) ^ (s->inverted ? UNSET : 0));
}

static void segment_put(const struct segment *s)
{
	uint8_t *slot = slot_bytes(s->slot);
	uint64_t length = s->length == UNSET ? s->count : s->length;
	uint64_t blocks = length <= capacity() ? length : s->count;

	memset(slot, (int)s->padding, BLOCK);
	for (unsigned int i = 0; i < 8 * s->count && i < 8 * blocks; i++)
		sector_put(&s->blocks[i / 8], i % 8, slot + BLOCK + SECTOR * i);
	encode(s, length, blocks, slot);
}

static struct segment *segment_add(uint64_t id)
{
	struct segment *s = realloc(segments, (segment_count + 1) * sizeof(*s));

	if (!s)
		fail("no memory for %zu segments", segment_count + 1);
	if (!dev.slots)
		fail("the device has no slots");
	segments = s;
	s += segment_count++;
	*s = (struct segment){
		.id = id, .slot = (id - 1) % dev.slots, .lap = (id - 1) / dev.slots + 1,
		.length = UNSET, .padding = dev.padding,
		.inverted = dev.inverted == UNSET ? dev.generation == 2 : dev.inverted,
	};
	return s;
}

static struct block *block_add(uint64_t sector, uint64_t dirty_bits)
{
	struct segment *s = segment_count ? &segments[segment_count - 1] : NULL;
	struct block *b;

	if (!s)
		fail("a block before the first segment");
	if (s->count == capacity())
		fail("a segment holds %u blocks at order %" PRIu64, capacity(), dev.order);
	b = &s->blocks[s->count++];
	*b = (struct block){ .sector = sector, .version = s->id, .dirty_bits = (uint8_t)dirty_bits };
	if (!dirty_bits)
		b->content = dev.generation ? BACKING_DATA : UNDEFINED_DATA;
	return b;
}

static void segment_write_back(const struct segment *s)
{
	uint64_t end = backing.size / SECTOR;

	if (!backing.bytes)
		fail("there is no backing image");
	for (unsigned int i = 0; i < s->count && i < s->length; i++) {
		const struct block *b = &s->blocks[i];

		for (unsigned int j = 0; j < 8 && b->sector < end && j < end - b->sector; j++)
			if (b->dirty_bits >> j & 1)
				sector_put(b, j, backing.bytes + (b->sector + j) * SECTOR);
	}
}

/* A place in a slot where n bytes can be changed. */
static uint8_t *place(uint64_t slot, uint64_t byte, uint64_t n)
{
	if (byte > slot_size() || n > slot_size() - byte)
		fail("a slot has only %" PRIu64 " bytes", slot_size());
	return slot_bytes(slot) + byte;
}

/*
 * The commands. Each gets the values that its pattern in the table below names, in that order,
 * UNSET for those that may be missing and are.
 */
static void do_backing(const uint64_t *a)
{
	image_resize(&backing, a[0] * SECTOR);
	for (uint64_t lba = 0; lba < a[0]; lba++)
		sector_describe(BACKING_DATA, lba, a[1] == UNSET ? 0 : a[1],
				backing.bytes + lba * SECTOR);
}

static void do_segment(const uint64_t *a)
{
	struct segment *s = segment_add(a[0]);

	if (a[0] == 0 && a[1] == UNSET)
		fail("id 0 has no slot of its own, see 'at'");
	s->slot = a[1] == UNSET ? s->slot : a[1];
	s->lap = a[2] == UNSET ? s->lap : a[2];
	s->length = a[3];
	slot_before = realloc(slot_before, slot_size());
	if (!slot_before)
		fail("no memory for a slot");
	memcpy(slot_before, slot_bytes(s->slot), slot_size());
	segment_put(s);
}

static struct segment *last_segment(void)
{
	if (!segment_count)
		fail("this must stand behind a segment");
	return &segments[segment_count - 1];
}

static void do_hold(const uint64_t *a)
{
	struct segment *s = last_segment();

	if (!s->count)
		fail("this must stand behind a block");
	s->blocks[s->count - 1].mixed = true;
	memcpy(s->blocks[s->count - 1].held, a, 8 * sizeof(*a));
	segment_put(s);
}

static void do_lost(const uint64_t *a)
{
	uint64_t end = (a[1] + 1) * SECTOR;

	if (a[0] > a[1] || a[1] >= slot_size() / SECTOR)
		fail("a slot has no such sectors");
	memcpy(slot_bytes(last_segment()->slot) + a[0] * SECTOR, slot_before + a[0] * SECTOR, end - a[0] * SECTOR);
}

static void do_put(const uint64_t *a)
{
	if (a[0] > backing.size / SECTOR || a[1] > backing.size / SECTOR - a[0])
		fail("the backing image has no such sectors");
	for (uint64_t lba = a[0]; lba < a[0] + a[1]; lba++)
		sector_describe(a[2] ? CACHE_DATA : BACKING_DATA, lba, a[2], backing.bytes + lba * SECTOR);
}

/* 'unused' has no bits. */
static void do_block(const uint64_t *a)
{
	struct block *b = block_add(a[0], a[1] == UNSET ? 0 : a[1]);

	if (a[1] == UNSET)
		b->content = UNDEFINED_DATA;
	if (a[2] != UNSET) {
		b->content = CACHE_DATA;
		b->version = a[2];
	}
	if (a[3] != UNSET) {
		b->content = BYTE_DATA;
		b->byte = a[3] ? (uint8_t)a[4] : 0;
	}
	if ((a[3] == 1) != (a[4] != UNSET))
		fail("'data byte' and XX stand together");
	segment_put(segments + segment_count - 1);
}

/* Part by part of the span, so that no block comes twice; clean ones from beyond it. */
static void range_segment(uint64_t id, const uint64_t *a)
{
	uint64_t blocks = a[2], part = a[4] / blocks, random = mix(a[3]) + id;

	segment_add(id);
	for (uint64_t i = 0; i < blocks; i++) {
		bool clean = a[6] != UNSET && random_next(&random) % 100 < a[6];
		uint64_t bits = a[5] == 1 ? random_next(&random) % 255 + 1 : 0xff;
		uint64_t block = (i + id) % blocks * part + random_next(&random) % part;

		block_add((block + (clean ? a[4] : 0)) * 8, clean ? 0 : bits);
	}
	segment_put(segments + segment_count - 1);
}

static void do_range(const uint64_t *a)
{
	if (!a[0] || a[0] > a[1] || !a[2] || a[2] > a[4])
		fail("a range goes from an id upward and spans the blocks of a segment");
	for (uint64_t n = 0; n <= a[1] - a[0]; n++)
		range_segment(a[0] + n, a);
}

static void do_writeback(const uint64_t *a)
{
	uint64_t id = 0;
	bool more = true;

	while (more && id <= a[0]) {
		uint64_t next = UINT64_MAX; /* an id, too */

		more = false;
		for (size_t i = 0; i < segment_count; i++) {
			if (segments[i].id == id)
				segment_write_back(&segments[i]);
			if (segments[i].id > id && segments[i].id <= next) {
				next = segments[i].id;
				more = true;
			}
		}
		id = next;
	}
}

static void do_writeback_segment(const uint64_t *a)
{
	for (size_t i = 0; i < segment_count; i++)
		if (segments[i].id == a[0])
			segment_write_back(&segments[i]);
}

static void do_flip(const uint64_t *a)
{
	uint8_t *p = place(a[0], a[1], 1);

	*p = (uint8_t)(*p ^ 1u << a[2]);
}

static void do_poke(const uint64_t *a)
{
	for (unsigned int i = 0; i < 8 && a[2 + i] != UNSET; i++)
		*place(a[0], a[1] + i, 1) = (uint8_t)a[2 + i];
}

static void do_zero(const uint64_t *a)
{
	memset(place(a[0], a[1], a[2]), 0, a[2]);
}

static void do_tear(const uint64_t *a)
{
	uint64_t byte = a[1] < slot_size() ? a[1] * SECTOR : UNSET;

	random_fill(a[2], place(a[0], byte, 0), slot_size() - byte);
}

static void do_setid(const uint64_t *a)
{
	put_le(place(a[0], 0, 8), 8, a[1]);
}

static void do_setlength(const uint64_t *a)
{
	put_le(place(a[0], dev.generation ? 12 : 8, 1), 1, a[1]);
}

static void do_setlap(const uint64_t *a)
{
	if (dev.generation || (a[1] != UNSET && a[1] >= capacity()))
		fail("there is no such lap");
	put_le(place(a[0], a[1] == UNSET ? 9 : 22 + 13 * a[1], 4), 4, a[2]);
}

static void do_copy_slot(const uint64_t *a)
{
	memmove(slot_bytes(a[1]), slot_bytes(a[0]), slot_size());
}

static void do_grow(const uint64_t *a)
{
	image_resize(&cache, cache.size + a[0] * slot_size());
	dev.slots += a[0];
}

static void do_cut(const uint64_t *a)
{
	if (a[0] > dev.slots)
		fail("the device has only %" PRIu64 " slots", dev.slots);
	image_resize(&cache, cache.size - a[0] * slot_size());
	dev.slots -= a[0];
}

static void do_shift(const uint64_t *a)
{
	const uint8_t *start = slot_bytes(a[0]);

	memmove(slot_bytes(0), start, (size_t)(cache.bytes + cache.size - start));
	do_cut(a);
}

static const struct command {
	const char *name;
	const char *pattern;
	enum phase phase;
	uint64_t *setting;		/* what takes the value, or */
	void (*run)(const uint64_t *a);
} commands[] = {
	{ "generation", "v0|v1|v2", DEVICE, &dev.generation, NULL },
	{ "order", "ORDER", DEVICE, &dev.order, NULL },
	{ "slots", "SLOTS", DEVICE, &dev.slots, NULL },
	{ "slack", "SECTORS", DEVICE, &dev.slack, NULL },
	{ "bytes", "N", DEVICE, &dev.odd_bytes, NULL },
	{ "fill", "garbage SEED", DEVICE, &dev.garbage_seed, NULL },
	{ "backing", "SECTORS [SEED]", DEVICE, NULL, do_backing },
	{ "record", "ID", ANYWHERE, &dev.record, NULL },
	{ "magic", "HEX", ANYWHERE, &dev.magic, NULL },
	{ "orderbyte", "ORDER", ANYWHERE, &dev.orderbyte, NULL },
	{ "sector0", "zero|garbage", ANYWHERE, &dev.sector0, NULL },
	{ "checksum", "raw|inverted", ANYWHERE, &dev.inverted, NULL },
	{ "padding", "XX", ANYWHERE, &dev.padding, NULL },
	{ "segment", "ID [at SLOT] [lap N] [length LENGTH]", LOG, NULL, do_segment },
	{ "block", "SECTOR BITS [VERSION] [data zero|byte] [XX]", LOG, NULL, do_block },
	{ "unused", "SECTOR", LOG, NULL, do_block },
	{ "range", "FIRST LAST blocks N seed SEED span BLOCKS [full|partial] [clean PERCENT]",
	  LOG, NULL, do_range },
	{ "hold", "V V V V V V V V", LOG, NULL, do_hold },
	{ "lost", "FIRST LAST", LOG, NULL, do_lost },
	{ "put", "SECTOR COUNT VERSION", LOG, NULL, do_put },
	{ "writeback", "ID", LOG, NULL, do_writeback },
	{ "writeback-segment", "ID", LOG, NULL, do_writeback_segment },
	{ "flip", "SLOT BYTE BIT", DAMAGE, NULL, do_flip },
	{ "poke", "SLOT BYTE XX [XX] [XX] [XX] [XX] [XX] [XX] [XX]", DAMAGE, NULL, do_poke },
	{ "zero", "SLOT BYTE COUNT", DAMAGE, NULL, do_zero },
	{ "tear", "SLOT SECTOR SEED", DAMAGE, NULL, do_tear },
	{ "setid", "SLOT ID", DAMAGE, NULL, do_setid },
	{ "setlength", "SLOT LENGTH", DAMAGE, NULL, do_setlength },
	{ "setlap", "SLOT INDEX|header N", DAMAGE, NULL, do_setlap },
	{ "copy-slot", "SLOT SLOT", DAMAGE, NULL, do_copy_slot },
	{ "grow", "SLOTS", DAMAGE, NULL, do_grow },
	{ "cut", "SLOTS", DAMAGE, NULL, do_cut },
	{ "shift", "SLOTS", DAMAGE, NULL, do_shift },
};

static const struct kind {
	const char *placeholder;
	bool hex;
	uint64_t most;
} kinds[] = {
	{ "BITS", true, 255 }, { "XX", true, 255 }, { "HEX", true, UINT32_MAX },
	{ "BIT", false, 7 }, { "LENGTH", false, 255 }, { "BLOCKS", false, UINT32_MAX },
	{ "SLOTS", false, UINT32_MAX }, { "SECTORS", false, UINT32_MAX }, { "ORDER", false, 255 },
	{ NULL, false, UINT64_MAX },
};

static uint64_t number(const char *word, bool hex, uint64_t most)
{
	bool prefixed = !hex && !strncmp(word, "0x", 2);
	const char *digits = prefixed ? word + 2 : word;
	const char *valid = hex || prefixed ? "0123456789abcdefABCDEF" : "0123456789";
	uint64_t value;

	errno = 0;
	value = strtoull(digits, NULL, hex || prefixed ? 16 : 10);
	if (!*digits || digits[strspn(digits, valid)])
		fail("'%s' is not a number", word);
	if (errno || value > most)
		fail("'%s' is too much: at most %" PRIu64, word, most);
	return value;
}

/* The place of a word in a|b|c, UNSET when it is not there. */
static uint64_t choice(const char *choices, const char *word)
{
	size_t n = strlen(word);

	for (uint64_t i = 0; choices; i++) {
		if (!strncmp(choices, word, n) && (!choices[n] || choices[n] == '|'))
			return i;
		choices = strchr(choices, '|') ? strchr(choices, '|') + 1 : NULL;
	}
	return UNSET;
}

/* Whether a word can stand for a token: capitals take a number, a|b the place of a word. */
static bool take(const char *token, const char *word, uint64_t *value)
{
	const struct kind *k = kinds;

	if (!word)
		return false;
	if (!isupper((unsigned char)*token))
		return (*value = choice(token, word)) != UNSET;
	while (k->placeholder && strcmp(token, k->placeholder))
		k++;
	if (!(k->hex ? isxdigit((unsigned char)*word) : isdigit((unsigned char)*word)))
		return !strcmp(token, "INDEX|header") && !strcmp(word, "header");
	*value = number(word, k->hex, k->most);
	return true;
}

/* Words against a pattern, in which [a B] may be missing. */
static void words_parse(const struct command *c, char **word, uint64_t *a)
{
	char pattern[128], *rest;
	bool missing = false;

	snprintf(pattern, sizeof(pattern), "%s", c->pattern);
	for (char *t = strtok_r(pattern, " ", &rest); t; t = strtok_r(NULL, " ", &rest)) {
		bool optional = *t == '[', last = t[strlen(t) - 1] == ']';

		t += optional;
		t[strcspn(t, "]")] = 0;
		if (optional)
			missing = !take(t, *word, a);
		else if (!missing && !take(t, *word, a))
			fail("'%s' where %s should be: %s %s", *word ? *word : "", t, c->name,
			     c->pattern);
		a += isupper((unsigned char)*t) || strchr(t, '|');
		word += !missing;
		missing = missing && !last;
	}
	if (*word)
		fail("'%s' is too much: %s %s", *word, c->name, c->pattern);
}

static void phase_enter(enum phase next)
{
	static enum phase phase;

	if (next < phase)
		fail("this must stand before the %s", next == DEVICE ? "log" : "damage");
	if (phase == DEVICE && next > DEVICE)
		cache_create();
	phase = next;
}

static void line_run(char *line)
{
	const struct command *c = commands, *end = c + sizeof(commands) / sizeof(*c);
	char *word[24] = { NULL }, *rest;
	uint64_t a[12];

	memset(a, 0xff, sizeof(a));
	line[strcspn(line, "#\n")] = 0;
	word[0] = strtok_r(line, " \t\r", &rest);
	for (int n = 0; n < 22 && word[n]; n++)
		word[n + 1] = strtok_r(NULL, " \t\r", &rest);
	if (!word[0])
		return;
	while (c < end && strcmp(c->name, word[0]))
		c++;
	if (c == end)
		fail("'%s' is no command", word[0]);
	if (c->phase != ANYWHERE)
		phase_enter(c->phase);
	words_parse(c, word + 1, a);
	if (c->setting)
		*c->setting = a[0];
	else
		c->run(a);
}

int main(int argc, char **argv)
{
	char *line = NULL;
	size_t room = 0;
	FILE *in = stdin;

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: mkcache FILE.wbt CACHE [BACKING]\n");
		return 2;
	}
	text_name = argv[1];
	if (strcmp(text_name, "-"))
		in = fopen(text_name, "r");
	while (in && (text_line++, getline(&line, &room, in) >= 0))
		line_run(line);
	if (!in || ferror(in))
		fail("cannot read it: %s", strerror(errno));
	free(line);
	phase_enter(DAMAGE);
	superblock_put();
	image_save(&cache, argv[2]);
	if (argv[3] && backing.bytes)
		image_save(&backing, argv[3]);
	return 0;
}
