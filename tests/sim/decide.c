/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * decide CACHE BACKING [BAD]: for each line of options on stdin, what a flush with them makes of the pair, in memory: a line
 * "OPTIONS|sha256 of BACKING|exit status|ended or kept|sectors of evidence|oldest id|pair". BAD: "OFFSET LENGTH" ranges of CACHE
 * that cannot be read. decide --every CACHE BACKING [BAD]: with each of a list of options, and no output. wb_check() must find
 * damage where the default run has a problem, and nowhere else. Both invariants of the replay are checked against a model of its own, which knows the disk's bytes and
 * takes only the newest id and the torn tail from the library.
 */
#include <stdbool.h>
#include <stdlib.h>

#include "layout.h"
#include "sha256.h"
#include "wbfmt.h"

#define BAD_MAX 64u

struct pair {
	uint8_t *cache, *before, *after;
	uint64_t cache_size, backing_size;
	struct wb_range bad[BAD_MAX];
	unsigned bad_count;
	const char *options;
	char sum[65]; /* of BACKING as it was, once it is known */
	bool quiet, failed;
	bool restarted, records, zeroes; /* which options change anything, once that is known */
};

struct run {
	struct wb_ring_options ring;
	struct wb_decide_options decide;
	struct wb_overrides overrides;
};

static void fail(struct pair *pair, const char *what, uint64_t number)
{
	fprintf(stderr, "decide: %s: %s: %" PRIu64 "\n", pair->options, what, number);
	pair->failed = true;
}

/* ---- the model: what claims to be in a sector ---- */

struct claim {
	uint64_t sector, id;
	const uint8_t *data;
	bool dirty;
};

struct model {
	const struct pair *pair;
	const struct wb_ring *ring;
	uint64_t head, slots;
	unsigned int generation, order;
	struct claim *claims;
	size_t count;
};

/* --slots may reach beyond the end of CACHE, too. */
static bool unreadable(const struct pair *pair, const uint8_t *bytes, uint64_t size)
{
	uint64_t offset = (uint64_t)(bytes - pair->cache);

	if (offset + size > pair->cache_size)
		return true;

	for (unsigned i = 0; i < pair->bad_count; i++)
		if (offset < pair->bad[i].offset + pair->bad[i].length && pair->bad[i].offset < offset + size)
			return true;
	return false;
}

static const uint8_t *slot_at(const struct model *model, uint64_t slot)
{
	return model->pair->cache + FIRST_SLOT + (slot << (model->order + 9));
}

static uint64_t length_of(const struct model *model, const uint8_t *slot)
{
	return slot[model->generation ? 12 : 8];
}

static bool length_fits(const struct model *model, const uint8_t *slot)
{
	uint64_t length = length_of(model, slot);

	return length < UINT64_C(1) << (model->order - 3) && (model->generation || length);
}

/* The bytes of the segment agree with each other; in v0, with the id too. */
static bool is_intact(const struct model *model, const uint8_t *slot)
{
	uint64_t length = length_of(model, slot);

	if (!length_fits(model, slot) || unreadable(model->pair, slot, BLOCK * (model->generation ? length + 1 : 1)))
		return false;
	if (model->generation) {
		uint32_t sum = segment_sum(slot, length), stored = (uint32_t)get_le(slot + 8, 4);

		return get_le(slot, 8) && (stored == sum || (model->generation == 2 && stored == ~sum));
	}
	for (uint64_t i = 0; i < length; i++)
		if (get_le(slot + 13 + 13 * i + 9, 4) != get_le(slot + 9, 4))
			return false;
	return get_le(slot, 8) && get_le(slot + 9, 4);
}

static void add_claims(struct model *model, uint64_t index, uint64_t id)
{
	const uint8_t *slot = slot_at(model, index);
	uint32_t lap = (uint32_t)((id - 1) / model->slots + 1);

	for (uint64_t i = 0; i < length_of(model, slot); i++) {
		const uint8_t *metablock = slot + (model->generation ? 512 + 16 * i : 13 + 13 * i);
		uint64_t sector = get_le(metablock, 8);
		unsigned bits = metablock[8] ? metablock[8] : model->generation ? 0xff : 0;

		if (sector % 8 || sector >= model->pair->backing_size / SECTOR ||
		    (!model->generation && get_le(metablock + 9, 4) != lap))
			continue;
		for (unsigned s = 0; s < 8; s++) {
			const uint8_t *data = slot + BLOCK * (i + 1) + SECTOR * s;

			if (bits >> s & 1 && !unreadable(model->pair, data, SECTOR))
				model->claims[model->count++] = (struct claim){ sector + s, id, data, metablock[8] };
		}
	}
}

static bool claims(const struct model *model, uint64_t index)
{
	const uint8_t *slot = slot_at(model, index);

	if (unreadable(model->pair, slot, BLOCK))
		return false;
	uint64_t id = get_le(slot, 8);

	if (!id || (id - 1) % model->slots != index || !length_fits(model, slot))
		return false;
	unsigned int valid = WB_SLOT_SEALED | WB_SLOT_LAP;
	uint64_t above = (model->ring->slots[index].flags & valid) == valid ? model->slots : 2 * model->slots;

	if (id > model->head ? id - model->head >= above : model->head - id >= model->slots)
		return false;
	return model->ring->slots[index].class_ != WB_TORN_TAIL;
}

static int by_sector_and_id(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;

	if (x->sector != y->sector)
		return x->sector < y->sector ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static void build_model(struct model *model, const struct pair *pair, const struct wb_ring *ring)
{
	const struct wb_geometry *geometry = &ring->cache->geometry;

	*model = (struct model){ .pair = pair, .ring = ring, .head = ring->head, .slots = geometry->slots,
				 .generation = (unsigned)(geometry->format->name[1] - '0'), .order = geometry->order };
	model->claims = malloc(sizeof(*model->claims) * 8 * geometry->capacity * geometry->slots);
	if (!model->claims)
		abort();
	for (uint64_t i = 0; i < model->slots; i++)
		if (claims(model, i) && (!ring->restarted || ring->options.timeline == WB_TIMELINE_NONE))
			add_claims(model, i, get_le(slot_at(model, i), 8));
	qsort(model->claims, model->count, sizeof(*model->claims), by_sector_and_id);
}

static bool is_uniform(const uint8_t *bytes)
{
	return !memcmp(bytes, bytes + 1, SECTOR - 1);
}

/* Of the claims of a sector, the smallest and the largest id whose bytes these are; 0: none. */
static void ids_of(const struct claim *from, const struct claim *to, const uint8_t *bytes, uint64_t *smallest,
		   uint64_t *largest)
{
	*smallest = *largest = 0;
	for (; from < to; from++)
		if (!memcmp(from->data, bytes, SECTOR)) {
			*smallest = *smallest ? *smallest : from->id;
			*largest = from->id;
		}
}

static void check_sector(struct pair *pair, const struct claim *from, const struct claim *to)
{
	const uint8_t *before = pair->before + from->sector * SECTOR, *after = pair->after + from->sector * SECTOR;
	uint64_t held, written, unused;

	if (!memcmp(before, after, SECTOR))
		return;
	ids_of(from, to, after, &unused, &written);
	if (!written)
		fail(pair, "no version of this sector was written", from->sector);
	ids_of(from, to, before, &held, &unused);
	if (!is_uniform(before) && held > written)
		fail(pair, "something older was written over this sector", from->sector);
}

/* Nothing older over something newer, and nothing that is no version at all. */
static void check_order(struct pair *pair, const struct model *model)
{
	for (size_t i = 0, next; i < model->count; i = next) {
		for (next = i + 1; next < model->count && model->claims[next].sector == model->claims[i].sector;)
			next++;
		check_sector(pair, model->claims + i, model->claims + next);
	}
}

/* Whether BACKING now holds each dirty sector of a segment, in this version or in a newer one that claims it. */
static bool is_on_backing(const struct model *model, uint64_t index)
{
	uint64_t id = get_le(slot_at(model, index), 8);

	for (size_t i = 0, next; i < model->count; i = next) {
		uint64_t smallest, largest;
		bool ours = false;

		for (next = i; next < model->count && model->claims[next].sector == model->claims[i].sector; next++)
			ours |= model->claims[next].id == id && model->claims[next].dirty;
		ids_of(model->claims + i, model->claims + next, model->pair->after + model->claims[i].sector * SECTOR, &smallest,
		       &largest);
		if (ours && largest < id)
			return false;
	}
	return true;
}

/* Nothing intact, and no header that cannot be read, is left behind where all was said to be well. */
static void check_left(struct pair *pair, const struct model *model, uint64_t first)
{
	uint64_t slots = (pair->cache_size - FIRST_SLOT) >> (model->order + 9);

	for (uint64_t i = 0; i < slots; i++) {
		const uint8_t *slot = slot_at(model, i);
		uint64_t id = get_le(slot, 8);
		bool flipped = i < model->slots && model->ring->slots[i].flags & WB_SLOT_CORRECTED;

		if (unreadable(pair, slot, BLOCK))
			fail(pair, "a header that cannot be read was left behind, in slot", i);
		else if (!flipped && is_intact(model, slot) &&
			 (i >= model->slots || (id - 1) % model->slots != i || id > model->head ||
			  (id >= first && id + model->slots > model->head && !is_on_backing(model, i))))
			fail(pair, "an intact segment was left behind, in slot", i);
	}
}

/* ---- the runs ---- */

static bool take_option(struct run *run, const char *word)
{
	static const char *const policies[] = { "--policy=strict", "--policy=prefix", "--policy=salvage" };

	for (unsigned i = 0; i < 3; i++)
		if (!strcmp(word, policies[i])) {
			run->decide.policy = (enum wb_policy)i;
			return true;
		}
	if (!strncmp(word, "--until-id=", 11)) {
		run->decide.until_given = true;
		run->decide.policy = WB_PREFIX;
		run->decide.until = strtoull(word + 11, NULL, 10);
	} else if (!strncmp(word, "--slots=", 8)) {
		run->overrides.slots = strtoull(word + 8, NULL, 10);
	} else if (!strcmp(word, "--timeline=new")) {
		run->ring.timeline = WB_TIMELINE_NEW;
	} else if (!strcmp(word, "--timeline=old")) {
		run->ring.timeline = WB_TIMELINE_OLD;
	} else if (!strcmp(word, "--trust-record")) {
		run->ring.record_use = WB_RECORD_TRUST;
	} else if (!strcmp(word, "--ignore-record")) {
		run->ring.record_use = WB_RECORD_IGNORE;
	} else if (!strcmp(word, "--zeroed=skip")) {
		run->decide.zeroed = WB_ZEROED_SKIP;
	} else if (!strcmp(word, "--zeroed=replay")) {
		run->decide.zeroed = WB_ZEROED_REPLAY;
	} else if (!strcmp(word, "--force=regress")) {
		run->decide.force_regress = true;
	} else {
		return false;
	}
	return true;
}

/* To and fro: bits that the library took as flipped. */
static void flip_corrected(struct pair *pair, const struct wb_ring *ring)
{
	for (uint32_t i = 0; i < ring->correction_count; i++) {
		const struct wb_correction *fix = &ring->corrections[i];

		if (ring->slots[fix->slot].flags & WB_SLOT_CORRECTED)
			pair->cache[wb_slot_offset(&ring->cache->geometry, fix->slot) + fix->byte] ^= (uint8_t)(1u << fix->bit);
	}
}

static void sum_of(struct pair *pair, char digest[65])
{
	bool same = !memcmp(pair->after, pair->before, pair->backing_size);

	if (!same || !pair->sum[0])
		sha256_hex(pair->after, pair->backing_size, digest);
	if (same && !pair->sum[0])
		memcpy(pair->sum, digest, sizeof(pair->sum));
	if (same)
		memcpy(digest, pair->sum, sizeof(pair->sum));
}

/* Damage of the log, not of the pair, nor of a record that is taken as 0 and of no consequence. */
static int count_damage(void *context, const struct wb_finding *finding)
{
	if (finding->severity == WB_DAMAGE && finding->rule != WB_RULE_BACKING_MISMATCH && finding->rule != WB_RULE_RECORD_GARBAGE)
		++*(unsigned *)context;
	return 0;
}

static int check(struct wb_ring *ring, struct wb_dev *backing, const struct wb_proof *proof, unsigned *damage, struct wb_error *err)
{
	int ret = wb_ring_weigh_tail(ring, backing, 1u << 20, NULL, err);

	if (!ret)
		ret = wb_ring_weigh_record(ring, backing, 1u << 20, NULL, err);
	return ret ? ret : wb_check(ring, proof, count_damage, damage, err);
}

static int carry_out(struct pair *pair, struct run *run, struct wb_dev *cache_dev, struct wb_dev *backing,
		     struct wb_error *err)
{
	struct wb_replay_options options = { .capacity = run->decide.capacity, .verify = true };
	struct wb_replay_result result = { .passes = 0 };
	struct wb_decision decision;
	struct wb_cache cache;
	struct wb_ring ring;
	struct wb_proof proof;
	struct model model;
	unsigned damage = 0;
	char digest[65];
	int ret = wb_cache_open(&cache, cache_dev, &run->overrides, err);

	if (!ret)
		ret = wb_ring_load(&ring, &cache, &run->ring, NULL, err);
	if (ret)
		return ret;
	pair->restarted |= ring.restarted;
	pair->records |= cache.record;
	pair->zeroes |= ring.classes[WB_ZEROED];
	ret = wb_pair_prove(&ring, backing, options.capacity, 65536, &proof, NULL, err);
	if (!ret && !*pair->options)
		ret = check(&ring, backing, &proof, &damage, err);
	if (!ret)
		ret = wb_decide(&ring, backing, &run->decide, &decision, NULL, err);
	if (!ret && !decision.refused)
		ret = wb_replay(&ring, &decision.scope, backing, &options, &result, NULL, err);
	if (!ret) {
		unsigned status = wb_decision_status(&ring, &run->decide, &decision, &result);
		bool ended = wb_decision_may_end(&ring, &run->decide, &decision, &result);

		if (!*pair->options && !damage != !(status & 4))
			fail(pair, damage ? "damage is found, and the default run has no problem" :
					    "no damage is found, and the default run has a problem", damage);
		flip_corrected(pair, &ring);
		build_model(&model, pair, &ring);
		if (!run->decide.force_regress)
			check_order(pair, &model);
		if ((ended || !(status & 4)) && !decision.zeroed_skipped)
			check_left(pair, &model, model.generation ? 1 : ring.first);
		free(model.claims);
		flip_corrected(pair, &ring);
		if (!pair->quiet)
			sum_of(pair, digest);
		if (!pair->quiet)
			printf("%s|%s|%u|%s|%" PRIu64 "|%" PRIu64 "|%s\n", pair->options, digest, status, ended ? "ended" : "kept",
		       decision.evidence, decision.oldest, wb_pair_name(proof.pair));
		if (getenv("DECIDE_VERBOSE"))
			fprintf(stderr, "%s: head %" PRIu64 " first %" PRIu64 " holes %" PRIu64 " refused %x damage %x cut %" PRIu64
				" scope %" PRIu64 "-%" PRIu64 " left %" PRIu64 " stale %" PRIu64 " unknown %" PRIu64 " contested %" PRIu64
				" corrected %u\n", pair->options, ring.head, ring.first, ring.holes, decision.refused, decision.damage,
				decision.cut, decision.scope.low, decision.scope.high, decision.left_segments, decision.stale_sectors,
				decision.unknown_holes, result.contested_sectors, decision.corrected);
	}
	wb_ring_release(&ring);
	return ret;
}

static int run_line(struct pair *pair, char *line)
{
	struct run run = { .ring = { .backing_sectors = pair->backing_size < SECTOR ? WB_NO_SECTORS : pair->backing_size / SECTOR,
				   .sums_memory = 64u << 20, .jobs = 2 },
			   .decide.capacity = 1u << 20 };
	const struct wb_fault fault = { .bad = pair->bad, .bad_count = pair->bad_count, .cut_after = UINT64_MAX };
	struct wb_dev *inner = NULL, *cache = NULL, *backing = NULL;
	struct wb_error err = { 0 };
	char copy[256];

	line[strcspn(line, "\n")] = '\0';
	snprintf(copy, sizeof(copy), "%s", line);
	pair->options = copy;
	for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
		if (!take_option(&run, word)) {
			fprintf(stderr, "decide: unknown option %s\n", word);
			return 1;
		}
	memcpy(pair->after, pair->before, pair->backing_size);
	int ret = wb_dev_memory(&inner, pair->cache, pair->cache_size, &err);

	if (!ret)
		ret = wb_dev_fault(&cache, inner, &fault, &err);
	if (!ret)
		ret = wb_dev_memory(&backing, pair->after, pair->backing_size, &err);
	if (!ret)
		ret = carry_out(pair, &run, cache, backing, &err);
	if (ret && !pair->quiet)
		printf("%s||8|kept|0|0|%s\n", pair->options, err.text);
	wb_dev_close(cache);
	wb_dev_close(backing);
	return err.code == WB_ENEWER;
}

static uint8_t *read_file(const char *path, uint64_t *size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *bytes = NULL;

	if (file && !fseek(file, 0, SEEK_END)) {
		*size = (uint64_t)ftell(file);
		rewind(file);
		bytes = malloc(*size + 1);
		if (bytes && fread(bytes, 1, *size, file) != *size) {
			free(bytes);
			bytes = NULL;
		}
	}
	if (file)
		fclose(file);
	return bytes;
}

static bool read_bad(struct pair *pair, const char *path)
{
	FILE *file = fopen(path, "r");

	if (!file)
		return false;
	while (pair->bad_count < BAD_MAX && fscanf(file, "%" SCNu64 " %" SCNu64, &pair->bad[pair->bad_count].offset,
						   &pair->bad[pair->bad_count].length) == 2)
		pair->bad_count++;
	return !fclose(file);
}

static int run_every(struct pair *pair)
{
	static const char *const lines[] = {
		"", "--policy=prefix", "--policy=salvage", "--until-id=3", "--slots=3 --policy=salvage",
		"--trust-record", "--ignore-record", "--ignore-record --policy=salvage", "--timeline=new",
		"--timeline=new --policy=salvage", "--timeline=old", "--timeline=old --policy=salvage", "--zeroed=skip",
		"--zeroed=replay",
	};
	int status = 0;

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		char line[256];

		if ((strstr(lines[i], "record") && !pair->records) || (strstr(lines[i], "timeline") && !pair->restarted) ||
		    (strstr(lines[i], "zeroed") && !pair->zeroes))
			continue;
		snprintf(line, sizeof(line), "%s", lines[i]);
		status |= run_line(pair, line);
	}
	return status;
}

int main(int argc, char **argv)
{
	struct pair pair = { .failed = false };
	char line[256];
	int status = 0;

	if (argc > 1 && !strcmp(argv[1], "--every")) {
		pair.quiet = true;
		argc--;
		argv++;
	}
	if (argc < 3) {
		fprintf(stderr, "usage: decide [--every] CACHE BACKING [BAD]\n");
		return 2;
	}
	pair.cache = read_file(argv[1], &pair.cache_size);
	pair.before = read_file(argv[2], &pair.backing_size);
	pair.after = pair.before ? malloc(pair.backing_size + 1) : NULL;
	if (!pair.cache || !pair.after || (argc > 3 && !read_bad(&pair, argv[3]))) {
		fprintf(stderr, "decide: %s: cannot be read\n", argv[1]);
		return 2;
	}
	if (pair.quiet)
		status = run_every(&pair);
	while (!pair.quiet && fgets(line, sizeof(line), stdin))
		status |= run_line(&pair, line);
	free(pair.cache);
	free(pair.before);
	free(pair.after);
	return status | pair.failed;
}
