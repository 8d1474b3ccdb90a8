/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs check, strict, prefix and salvage on copies of two images, and asserts what has to hold. */
#include "check.h"
#include "invariants.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

#include "wbfmt.h"

#define NOTHING UINT32_MAX
#define NOWHERE UINT64_MAX

const char *const limit_texts[LIMIT_COUNT] = {
#define X(ID, TEXT) TEXT,
	LIMITS(X)
#undef X
};

const char *const refusal_names[REFUSALS] = {
	"hole", "ahead", "rotten", "alien-id", "bounds", "beyond-backing", "zeroed", "geometry", "restarted",
	"destroyed", "record", "regress", "unreadable", "record-unreadable", "contradicted",
};

static const char *const policy_names[] = { "strict", "prefix", "salvage" };

uint32_t version_of(const uint8_t *bytes, unsigned int sector)
{
	uint8_t expected[SECTOR];
	unsigned int lba, version;
	char line[64];
	bool written;

	memcpy(line, bytes, sizeof(line) - 1);
	line[sizeof(line) - 1] = 0;
	written = line[0] == 'c';
	if (sscanf(line, written ? "cache sector %u version %u\n" : "backing sector %u version %u\n", &lba, &version) != 2 ||
	    lba != sector || written == !version)
		return NOTHING;
	sector_describe(written ? CACHE_DATA : BACKING_DATA, sector, version, expected);
	return memcmp(expected, bytes, SECTOR) ? NOTHING : version;
}

/* ---- the library at work ---- */

struct job {
	const struct scene *scene;
	struct wb_power *power;	/* NULL: it stays */
	enum wb_cut cut;
	uint64_t seed;
	enum wb_policy policy;
	bool resumed, end, spoil;
	uint64_t resume_cut, resume_ids;
	/* what else is told: */
	int zeroed;		/* WB_ZEROED_AUTO ... */
	enum wb_record_use record_use;
	enum wb_timeline timeline;
	uint64_t until;
	unsigned int slots;	/* 0: those of the device */
	uint8_t *cache, *backing;	/* in and out */
	/* out */
	int ret;
	struct wb_error err;
	struct wb_decision decision;
	struct wb_replay_result result;
	uint64_t head, first, corrections;
	bool patterned, complete;
	uint8_t *classes;
	uint16_t *flags;
	unsigned int found[WB_RULES], damage;	/* what wb_check() found; damage of the log */
	bool fine;	/* neither refused nor a problem left */
	enum wb_pair pair;
	bool spoiled, descends;
	uint64_t spoil_at, written_to;
};

static int count_finding(void *context, const struct wb_finding *finding)
{
	struct job *job = context;

	job->found[finding->rule]++;
	/* of the pair, or of no consequence */
	job->damage += finding->severity == WB_DAMAGE && finding->rule != WB_RULE_BACKING_MISMATCH &&
		       finding->rule != WB_RULE_RECORD_GARBAGE;
	return 0;
}

static struct wb_dev *open_memory(struct job *job, uint8_t *bytes, uint64_t size, bool damaged, struct wb_range *bad)
{
	struct wb_fault fault = { .cut_after = UINT64_MAX, .cut = job->cut, .seed = job->seed, .power = job->power,
				  .bad = bad };
	struct wb_dev *dev = NULL, *inner = NULL;
	const struct scene *scene = job->scene;

	for (unsigned int i = 0; i < scene->damage_count && damaged; i++)
		if (scene->damage[i].sectors)
			bad[fault.bad_count++] = (struct wb_range){ scene->damage[i].offset,
								    scene->damage[i].sectors * SECTOR };
	assert(!wb_dev_memory(&inner, bytes, size, NULL));
	if (!job->power && !fault.bad_count)
		return inner;
	assert(!wb_dev_fault(&dev, inner, &fault, NULL));
	return dev;
}

static void note_extent(void *context, uint64_t sector, uint64_t sectors)
{
	struct job *job = context;

	job->spoil_at = sector * SECTOR;
	job->descends |= sector < job->written_to;
	job->written_to = sector + sectors;
}

/* Between a write and its verification BACKING changes its mind. */
static void spoil(void *context, const char *phase, uint64_t done, uint64_t total)
{
	struct job *job = context;

	(void)done;
	(void)total;
	if (strcmp(phase, "verifying what was written"))
		return;
	if (!job->spoiled && job->spoil_at != NOWHERE)
		job->backing[job->spoil_at] ^= 1;
	job->spoiled |= job->spoil_at != NOWHERE;
	job->spoil_at = NOWHERE; /* what has been verified may change */
}

static int replay(struct job *job, struct wb_ring *ring, struct wb_dev *cache, struct wb_dev *backing)
{
	struct wb_progress progress = { .context = job, .report = spoil };
	struct wb_replay_options options = { .capacity = 16 + job->seed % 48, .verify = job->spoil || job->seed & 1,
					     .compare = !job->spoil && job->seed & 2, .context = job,
					     .extent = note_extent };
	struct wb_marker marker = { .reason = WB_END_FLUSHED, .time = 1, .head = ring->head };
	int ret = wb_replay(ring, &job->decision.scope, backing, &options, &job->result, job->spoil ? &progress : NULL,
			    &job->err);

	return ret || !job->end ? ret : wb_cache_end(cache, &marker, &job->err);
}

/* The run says that every slot is accounted for, and every dirty sector on BACKING. */
static bool says_complete(const struct job *job, const struct wb_ring *ring, const struct wb_decide_options *options)
{
	return wb_decision_may_end(ring, options, &job->decision, &job->result);
}

static int with_ring(struct job *job, struct wb_ring *ring, struct wb_dev *cache, struct wb_dev *backing)
{
	struct wb_decide_options options = { .policy = job->policy, .capacity = 64, .resumed = job->resumed,
					     .cut = job->resume_cut, .ids = job->resume_ids,
					     .until_given = job->until, .until = job->until };
	struct wb_proof proof = { .pair = WB_PAIR_UNPROVEN };
	int ret = 0;

	if (job->zeroed)
		options.zeroed = job->zeroed == 1 ? WB_ZEROED_SKIP : WB_ZEROED_REPLAY;
	job->head = ring->head;
	job->first = ring->first;
	job->patterned = ring->resized || ring->shifted || ring->restarted || ring->destroyed;
	if (job->classes)
		ret = wb_pair_prove(ring, backing, 64, 0, &proof, NULL, &job->err);
	job->pair = proof.pair;
	if (!ret && job->classes)
		ret = wb_ring_weigh_tail(ring, backing, 64, NULL, &job->err);
	if (!ret && job->classes)
		ret = wb_ring_weigh_record(ring, backing, 64, NULL, &job->err);
	if (!ret && job->classes)
		ret = wb_check(ring, &proof, count_finding, job, &job->err);
	if (!ret)
		ret = wb_decide(ring, backing, &options, &job->decision, NULL, &job->err);
	/* BACKING may have told more of a torn tail by now */
	for (uint32_t i = 0; i < ring->cache->geometry.slots && job->classes && !job->scene->wild; i++) {
		job->classes[i] = ring->slots[i].class_;
		job->flags[i] = ring->slots[i].flags;
	}
	job->corrections = job->decision.corrected;
	if (!ret && !job->decision.refused)
		ret = replay(job, ring, cache, backing);
	job->fine = !(wb_decision_status(ring, &options, &job->decision, &job->result) & 4);
	job->complete = !ret && !job->decision.refused && says_complete(job, ring, &options);
	return ret;
}

static void run(struct job *job)
{
	const struct config *config = job->scene->driver->config;
	struct wb_range bad[DAMAGE_MAX], none[DAMAGE_MAX];
	struct wb_dev *cache = open_memory(job, job->cache, job->scene->cache_size, true, bad);
	struct wb_dev *backing = open_memory(job, job->backing, job->scene->backing_size, false, none);
	struct wb_overrides overrides = { .slots = 0 }, told = { .order = config->order, .slots = job->slots };
	bool tell = job->scene->damage_count || job->scene->wild || job->slots;
	struct wb_ring_options options = { .backing_sectors = config->sectors, .jobs = 1,
					   .record_use = job->record_use, .timeline = job->timeline,
					   .sums_memory = job->seed & 4 ? 1u << 20 : 0 };
	struct wb_cache opened;
	struct wb_ring ring;
	char name[] = { 'v', (char)('0' + config->generation), 0 };

	told.format = wb_format_find(name);
	job->ret = wb_cache_open(&opened, cache, tell ? &told : &overrides, &job->err);
	if (!job->ret && !opened.evidence) /* nothing tells v0 from v1 then */
		job->ret = wb_cache_open(&opened, cache, &told, &job->err);
	if (!job->ret && strcmp(opened.geometry.format->name, name)) {
		job->err.offset = WB_NO_OFFSET;
		snprintf(job->err.text, sizeof(job->err.text), "taken for %s", opened.geometry.format->name);
		job->ret = -WB_ENOTCACHE;
	}
	if (!job->ret)
		job->ret = wb_ring_load(&ring, &opened, &options, NULL, &job->err);
	if (!job->ret) {
		job->ret = with_ring(job, &ring, cache, backing);
		wb_ring_release(&ring);
	}
	wb_dev_close(cache);
	wb_dev_close(backing);
}

/* ---- what is known next to it ---- */

struct case_ {
	struct scene *scene;
	struct counts *counts;
	struct verdict *verdict;
	struct truth truth;
	struct inquest inquest;	/* with no options */
	const struct oracle *oracle;
	unsigned int sectors;
	uint32_t *before, *after;
	bool *excused;
	bool met[LIMIT_COUNT];
	uint64_t salvage_cut;	/* the largest hole with evidence */
};

__attribute__((format(printf, 3, 4)))
static void wrong(struct case_ *c, const char *property, const char *format, ...)
{
	va_list args;

	if (c->verdict->failed)
		return;
	c->verdict->failed = true;
	snprintf(c->verdict->property, sizeof(c->verdict->property), "%s", property);
	va_start(args, format);
	vsnprintf(c->verdict->text, sizeof(c->verdict->text), format, args);
	va_end(args);
}

static void meet(struct case_ *c, enum limit limit)
{
	c->met[limit] = true;
}

static const uint8_t *backing_at(const struct case_ *c, unsigned int sector)
{
	return c->scene->backing + (uint64_t)sector * SECTOR;
}

static bool counts_for(const struct truth *truth, const struct place *place)
{
	return place->id >= truth->first && place->id <= truth->head &&
	       (place->class_ == WB_LIVE || place->class_ == WB_PART_READABLE);
}

/* Whether segments of the window in (low, high] hold a copy of a sector that pleases. */
static bool any_copy(const struct case_ *c, unsigned int sector, uint64_t low, uint64_t high, bool hole_copies,
		     bool (*pleases)(const struct case_ *c, unsigned int sector, const uint8_t *copy, int64_t what),
		     int64_t what)
{
	const struct truth *truth = &c->truth;

	for (unsigned int slot = 0; slot < truth->driver->config->slots; slot++) {
		const struct place *place = &truth->places[slot];

		if (place->id <= low || place->id > high ||
		    !(counts_for(truth, place) || (hole_copies && place->hole_copy)))
			continue;
		for (unsigned int i = 0; i < place->length; i++) {
			const uint8_t *copy = truth_copy(truth, slot, i, sector);

			if (copy && pleases(c, sector, copy, what))
				return true;
		}
	}
	return false;
}

static bool ranks(const struct case_ *c, unsigned int sector, const uint8_t *copy, int64_t rank)
{
	uint32_t version = version_of(copy, sector);

	return version != NOTHING && oracle_rank(c->oracle, sector, version) >= rank;
}

static bool is_version(const struct case_ *c, unsigned int sector, const uint8_t *copy, int64_t version)
{
	(void)c;
	return version_of(copy, sector) == (uint32_t)version;
}

static bool newest_is_damaged(const struct case_ *c)
{
	for (unsigned int slot = 0; slot < c->truth.driver->config->slots && c->scene->damage_count; slot++) {
		const struct written *written = c->truth.driver->history[KEPT * slot];

		if (written && !written->dropped && written->id > c->truth.head)
			return true;
	}
	return false;
}

static bool rotten(const struct case_ *c)
{
	for (unsigned int i = 0; i < c->scene->damage_count; i++)
		if (!c->scene->damage[i].sectors)
			return true;
	return false;
}

static bool any_unverified(const struct case_ *c)
{
	for (unsigned int slot = 0; slot < c->truth.driver->config->slots; slot++)
		if (c->truth.places[slot].class_ == WB_PART_READABLE)
			return rotten(c);
	return false;
}

/* A bit of its id is flipped, and it stands in its place in the window all the same: nothing tells it from a sound one. */
static bool id_is_in_place(const struct case_ *c)
{
	for (unsigned int i = 0; i < c->scene->damage_count; i++)
		for (unsigned int slot = 0; slot < c->truth.driver->config->slots && !c->scene->damage[i].sectors; slot++)
			if (c->scene->damage[i].offset - slot_offset(c->truth.driver, slot) < 8 &&
			    counts_for(&c->truth, &c->truth.places[slot]))
				return true;
	return false;
}

/* Nothing can be said of the state that comes out, for a reason that is known here. */
static bool anything_goes(struct case_ *c, enum wb_policy policy)
{
	bool v0 = !c->truth.driver->config->generation;

	if (c->truth.zombies)
		meet(c, LIMIT_REUSED_IDS);
	else if (v0 && rotten(c))
		meet(c, LIMIT_V0_ROT);
	else if (c->truth.partly_discarded)
		meet(c, LIMIT_V0_DISCARDED);
	else if (c->truth.torn)
		meet(c, LIMIT_V0_TORN);
	else if (id_is_in_place(c))
		meet(c, LIMIT_ID_IN_PLACE);
	else if (policy == WB_SALVAGE && any_unverified(c))
		meet(c, LIMIT_UNVERIFIED);
	else
		return false;
	return true;
}

/* ---- the properties ---- */

/* The newest segment of the window that holds this version of a sector, 0: none. */
static uint64_t newest_with(const struct case_ *c, unsigned int sector, uint32_t version)
{
	for (uint64_t id = c->truth.head; id >= c->truth.first && id; id--)
		if (any_copy(c, sector, id - 1, id, false, is_version, version))
			return id;
	return 0;
}

/* The driver came up, left alone what is at or below its record, and so showed a foreground write that no segment has. */
static bool record_hid(const struct case_ *c, unsigned int sector)
{
	uint64_t id = newest_with(c, sector, c->after[sector]);

	/* what is older and the same, for it was written again, shows nothing */
	return c->truth.driver->foreground[sector] && id && id <= c->truth.record &&
	       !any_copy(c, sector, id, UINT64_MAX, true, is_version, c->before[sector]);
}

/* A correction of M+1 makes the segment behind it M+1: if one bit explains that too, it is no torn tail, and claims. */
static bool moves_the_end(const struct case_ *c, const struct job *job)
{
	const struct truth *truth = &c->truth;

	return job->corrections && job->decision.cut > truth->head + 1 &&
	       truth->places[slot_of(truth->driver, truth->head + 1)].one_bit &&
	       truth->places[slot_of(truth->driver, truth->head + 2)].one_bit;
}

static void check_durable(struct case_ *c, const struct job *job, unsigned int sector)
{
	int rank = oracle_durable_rank(c->oracle, sector);
	uint64_t low = job->policy != WB_SALVAGE ? 0 : moves_the_end(c, job) ? job->decision.cut : c->salvage_cut;

	if (oracle_rank(c->oracle, sector, c->after[sector]) >= rank)
		return;
	bool held = ranks(c, sector, backing_at(c, sector), rank);

	if (held && record_hid(c, sector))
		meet(c, LIMIT_RECORD_HID);
	else if (job->policy == WB_SALVAGE && inquest_hole_claims(&c->inquest, sector))
		meet(c, LIMIT_LEFT_ALONE);
	else if (held && c->truth.newest_ahead && job->policy == WB_SALVAGE)
		meet(c, LIMIT_AHEAD);
	else if (held && c->truth.holes && job->policy == WB_SALVAGE &&
	    !any_copy(c, sector, 0, UINT64_MAX, true, is_version, c->before[sector]))
		meet(c, LIMIT_EVIDENCE_GONE);
	else if (held && newest_is_damaged(c))
		meet(c, LIMIT_NEWEST_DAMAGED);
	else if (held || any_copy(c, sector, low, UINT64_MAX, false, ranks, rank))
		wrong(c, job->policy == WB_SALVAGE ? "salvage-durable" : "strict-durable",
		      "%s: sector %u holds version %u after it, and lost a durable one that is readable",
		      policy_names[job->policy], sector, c->after[sector]);
	else if (low && any_copy(c, sector, 0, low, false, ranks, rank))
		meet(c, LIMIT_SALVAGE_CUT);
	else if (newest_is_damaged(c))
		meet(c, LIMIT_NEWEST_DAMAGED);
	else if (job->policy == WB_STRICT || !c->truth.holes)
		meet(c, LIMIT_SUPERSEDED);
}

/* An older version over a newer one that BACKING demonstrably held. */
static void check_direction(struct case_ *c, const struct job *job, unsigned int sector)
{
	int before = oracle_rank(c->oracle, sector, c->before[sector]);

	if (c->before[sector] == c->after[sector] || oracle_rank(c->oracle, sector, c->after[sector]) >= before)
		return;
	if (any_copy(c, sector, newest_with(c, sector, c->after[sector]), c->truth.head, true, is_version, c->before[sector]))
		wrong(c, "never-older-over-newer", "%s: sector %u went from version %u back to %u", policy_names[job->policy],
		      sector, c->before[sector], c->after[sector]);
	else if (c->truth.newest_ahead)
		meet(c, LIMIT_AHEAD);
	else
		meet(c, c->scene->damage_count ? LIMIT_EVIDENCE_GONE : LIMIT_BACKING_AHEAD);
}

/* What a sector held when segment id was complete. */
static uint32_t version_at(const struct case_ *c, unsigned int sector, uint32_t time)
{
	const struct timeline *line = &c->oracle->lines[sector];
	unsigned int at = line->count - 1;

	while (at && line->moments[at].time > time)
		at--;
	return line->moments[at].version;
}

static const struct written *segment_written(const struct case_ *c, uint64_t id)
{
	const struct place *place = id ? &c->truth.places[slot_of(c->truth.driver, id)] : NULL;

	return place && place->id == id && place->whole && place->whole->id == id ? place->whole : NULL;
}

/* It was not a moment of the past: which sectors are not as they were when the last segment was complete, and why? */
static void explain_moment(struct case_ *c, const struct job *job)
{
	uint64_t last = job->decision.scope.high;
	const struct written *written = segment_written(c, last);
	const char *property = job->policy == WB_STRICT ? "strict-was-a-state" : "prefix-is-a-prefix";

	for (unsigned int i = 0; i < c->sectors; i++) {
		uint32_t expected = written ? version_at(c, i, written->closed) : NOTHING;

		if (c->after[i] == expected)
			continue;
		if (c->after[i] == c->before[i] && (!written || c->before[i] > written->closed ||
						    c->truth.driver->foreground[i])) {
			meet(c, LIMIT_BACKING_AHEAD); /* and nothing below the cut is about that sector */
		} else if (c->before[i] == expected && record_hid(c, i)) {
			meet(c, LIMIT_RECORD_HID);
		} else if (any_copy(c, i, 0, last, false, is_version, expected) || c->before[i] == expected) {
			wrong(c, property, "%s up to %u: sector %u holds version %u, not %u", policy_names[job->policy],
			      (unsigned int)last, i, c->after[i], expected);
		} else {
			meet(c, newest_is_damaged(c) ? LIMIT_NEWEST_DAMAGED : LIMIT_SUPERSEDED);
		}
	}
}

static void check_result(struct case_ *c, const struct job *job)
{
	for (unsigned int i = 0; i < c->sectors; i++)
		c->after[i] = version_of(job->backing + (uint64_t)i * SECTOR, i);
	if (anything_goes(c, job->policy))
		return;
	for (unsigned int i = 0; i < c->sectors; i++) {
		if (!oracle_held(c->oracle, i, c->after[i]) && c->after[i] != c->before[i])
			wrong(c, "only-what-was-written", "%s: sector %u holds what it never held (%u)",
			      policy_names[job->policy], i, c->after[i]);
		if (job->policy != WB_PREFIX)
			check_durable(c, job, i);
		check_direction(c, job, i);
	}
	if (job->policy != WB_SALVAGE && !oracle_was(c->oracle, c->after, NULL))
		explain_moment(c, job);
}

/* What an honest v0 log at or below the record holds may have been overwritten in RAM, by what the cut then took. */
static unsigned int expected_refusal(const struct case_ *c, const struct job *job)
{
	const struct truth *truth = &c->truth;
	unsigned int bits = 0;

	bits |= truth->record > truth->head && truth->record - truth->head <= truth->driver->config->slots ?
			WB_REFUSE_RECORD : 0;
	bits |= truth->zeroed && job->zeroed != 1 ? WB_REFUSE_ZEROED : 0;
	for (unsigned int i = 0; i < truth->driver->config->slots; i++)
		bits |= c->inquest.witnesses[i].written_back ? WB_REFUSE_ROTTEN : 0;
	if (!truth->driver->config->generation && truth->record && truth->record <= truth->head)
		bits |= WB_REFUSE_CONTRADICTED & job->decision.refused;
	bits |= c->met[LIMIT_CHANCE_BIT] ? WB_REFUSE_ROTTEN | WB_REFUSE_HOLE : 0;
	return bits;
}

static void check_classes(struct case_ *c, const struct job *job)
{
	const struct truth *truth = &c->truth;

	if (truth->patterned || job->patterned) {
		if (!truth->patterned && !c->scene->damage_count)
			wrong(c, "check-patterns", "the ring is said to be restarted, resized or destroyed");
		meet(c, LIMIT_PATTERN);
		return;
	}
	for (unsigned int i = 0; i < truth->driver->config->slots; i++) {
		int expected = truth->places[i].class_;

		if ((expected == WB_TORN_TAIL || expected == WB_FOREIGN) && c->inquest.witnesses[i].written_back)
			expected = WB_ROTTEN;
		c->counts->classes[job->classes[i]]++;
		if (truth->places[i].one_bit && !c->scene->damage_count)
			meet(c, LIMIT_CHANCE_BIT);
		if (job->classes[i] == expected)
			continue;
		if (job->classes[i] == WB_ROTTEN && job->flags[i] & WB_SLOT_ONE_BIT && !truth->places[i].one_bit)
			meet(c, LIMIT_CHANCE_BIT);
		else
			wrong(c, "check-classes", "slot %u with id %u is %s, and not %s as they say", i, (unsigned int)truth->places[i].id,
			      wb_class_name((enum wb_class)expected), wb_class_name((enum wb_class)job->classes[i]));
	}
	if (job->head != truth->head || job->first != truth->first)
		wrong(c, "check-window", "the window is %u ... %u, not %u ... %u", (unsigned int)truth->first,
		      (unsigned int)truth->head, (unsigned int)job->first, (unsigned int)job->head);
	if (c->scene->survivable && !truth->zombies && truth->head != truth->written)
		wrong(c, "check-newest", "the newest segment is %u, not %u", (unsigned int)truth->written,
		      (unsigned int)truth->head);
	if (c->scene->survivable && job->pair == WB_PAIR_CONTRADICTED)
		wrong(c, "check-pair", "the pair is said not to be one");
	/* more than that only what comparing with BACKING brings */
	for (int rule = 0; rule < WB_RULES && c->scene->survivable && !truth->zeroed && truth->record <= truth->head &&
			   !truth->zombies && !expected_refusal(c, job); rule++)
		if (job->found[rule] && wb_rule_info((enum wb_rule)rule)->severity == WB_DAMAGE && !c->met[LIMIT_CHANCE_BIT])
			wrong(c, "check-findings", "%s is found where nothing is damaged",
			      wb_rule_info((enum wb_rule)rule)->name);
}

/* What strict must refuse, and what it must take. */
static void check_strict(struct case_ *c, const struct job *job)
{
	static const int damaged[] = { WB_AHEAD, WB_ROTTEN, WB_ALIEN_ID, WB_BAD_LENGTH, WB_PART_READABLE, WB_UNREADABLE };
	const struct truth *truth = &c->truth;
	bool must = truth->holes || (truth->zeroed && job->zeroed != 1);

	if (job->patterned || truth->patterned)
		return;
	for (unsigned int i = 0; i < truth->driver->config->slots; i++)
		for (unsigned int k = 0; k < sizeof(damaged) / sizeof(*damaged); k++)
			must |= truth->places[i].class_ == damaged[k];
	must |= (expected_refusal(c, job) & ~(unsigned int)(WB_REFUSE_ROTTEN | WB_REFUSE_HOLE)) != 0;
	if (must && !job->decision.refused)
		wrong(c, "strict-refuses-damage", "strict takes a log that is damaged");
	if (c->scene->survivable && !truth->zombies && job->decision.refused & ~expected_refusal(c, job))
		wrong(c, "strict-succeeds", "strict refuses (%#x) what a power cut alone has left", job->decision.refused);
}

/* A hole, or a segment that cannot be read whole. */
static uint64_t first_gap(const struct truth *truth)
{
	for (uint64_t id = truth->first; id <= truth->head; id++) {
		const struct place *place = &truth->places[slot_of(truth->driver, id)];

		if (truth_is_hole(truth, id) || (place->id == id && place->class_ == WB_PART_READABLE))
			return id;
	}
	return 0;
}

/* The end counts as well, and holes whose own headers say what they hold do not. */
static uint64_t last_cut_with_evidence(const struct case_ *c)
{
	const struct truth *truth = &c->truth;
	bool record = truth->driver->config->generation && truth->record <= truth->head;

	for (uint64_t id = truth->head + 1; id >= truth->first && id; id--) {
		const struct place *place = &truth->places[slot_of(truth->driver, id)];

		if ((id > truth->head || (truth_is_hole(truth, id) && !place->hole_copy)) &&
		    ((record && truth->record >= id) || inquest_evidence(&c->inquest, c->scene->backing, id)))
			return id;
	}
	return 0;
}

static void check_prefix(struct case_ *c, const struct job *job)
{
	const struct truth *truth = &c->truth;
	uint64_t hole = first_gap(truth);
	bool evident;

	if (!hole)
		hole = truth->head + 1;
	if (job->patterned || truth->patterned || job->decision.refused & WB_REFUSE_RECORD ||
	    c->met[LIMIT_CHANCE_BIT] || hole == truth->first)
		return;
	evident = inquest_evidence(&c->inquest, c->scene->backing, hole) ||
		  (truth->driver->config->generation && truth->record >= hole && truth->record <= truth->head);
	if (evident && !job->decision.refused)
		wrong(c, "prefix-evidence", "prefix goes on at hole %u although BACKING is newer", (unsigned int)hole);
	else if (!evident && job->decision.refused & WB_REFUSE_REGRESS)
		meet(c, LIMIT_NEEDLESS);
}

static const char *told(const struct job *job, char *text, size_t size)
{
	static const char *const records[] = { "", " --trust-record", " --ignore-record" };
	static const char *const lines[] = { "", " --timeline=new", " --timeline=old" };
	static const char *const zeroed[] = { "", " --zeroed=skip", " --zeroed=replay" };
	int n = snprintf(text, size, "--policy=%s%s%s%s", policy_names[job->policy], records[job->record_use],
			 lines[job->timeline], zeroed[job->zeroed]);

	if (job->until && n > 0)
		n += snprintf(text + n, size - (size_t)n, " --until-id=%u", (unsigned int)job->until);
	if (job->slots && n > 0)
		snprintf(text + n, size - (size_t)n, " --slots=%u", job->slots);
	return text;
}

/* ---- runs ---- */

static void copy_images(struct case_ *c, struct job *job, const uint8_t *backing)
{
	memcpy(job->backing, backing, c->scene->backing_size);
	if (job->end)
		memcpy(job->cache, c->scene->cache, SECTOR);
}

/* The power fails on the way; when what is left is resumed, it must come to the same end. */
static void cut_flush(struct case_ *c, const struct job *whole, const uint8_t *final)
{
	struct wb_power power = { .left = UINT64_MAX };
	struct job job = *whole;
	struct wb_marker marker;
	uint64_t all;

	job.classes = NULL;
	job.end = true;
	job.written_to = 0;
	job.power = &power;
	job.cut = (enum wb_cut)(random_next(&c->scene->random) % 4);
	copy_images(c, &job, c->scene->backing);
	run(&job);
	all = power.writes + power.flushes;
	if (job.ret || memcmp(job.backing, final, c->scene->backing_size) || !wb_marker_decode(job.cache, &marker))
		wrong(c, "flush-again", "%s: the second run does not end like the first: %s", policy_names[job.policy],
		      job.err.text);
	power = (struct wb_power){ .left = random_next(&c->scene->random) % 3 ? all - 1 - random_next(&c->scene->random) % (all < 3 ? all : 3) :
				   random_next(&c->scene->random) % all };
	copy_images(c, &job, c->scene->backing);
	run(&job);
	c->counts->flushes_cut++;
	if (wb_marker_decode(job.cache, &marker) && memcmp(job.backing, final, c->scene->backing_size))
		wrong(c, "marker-after-flush", "%s: the log is ended, but BACKING lacks data", policy_names[job.policy]);
	for (uint64_t at = 0; at < c->scene->backing_size; at += SECTOR)
		if (memcmp(job.backing + at, final + at, SECTOR) && memcmp(job.backing + at, c->scene->backing + at, SECTOR))
			wrong(c, "found-or-final", "%s: a sector is neither as found nor final", policy_names[job.policy]);
	memcpy(job.cache, c->scene->cache, SECTOR);
	job.power = NULL;
	job.end = false;
	job.resumed = job.policy != WB_STRICT;
	job.resume_cut = whole->decision.cut;
	job.resume_ids = whole->decision.ids;
	run(&job);
	if (job.ret || job.decision.refused || memcmp(job.backing, final, c->scene->backing_size))
		wrong(c, "two-runs-equal-one", "%s: a run after a cut comes to another end: %s", policy_names[job.policy],
		      job.err.text);
}

static void flush_twice(struct case_ *c, const struct job *whole, const uint8_t *final)
{
	struct job job = *whole;
	char options[128];

	job.classes = NULL;
	job.written_to = 0;
	job.seed = random_next(&c->scene->random);
	job.resumed = job.policy != WB_STRICT; /* what the first run has written is no evidence */
	job.resume_cut = whole->decision.cut;
	job.resume_ids = whole->decision.ids;
	memcpy(job.backing, final, c->scene->backing_size);
	run(&job);
	if (job.ret || job.decision.refused || memcmp(job.backing, final, c->scene->backing_size))
		wrong(c, "two-runs-equal-one", "%s: the second run refuses (%#x), changes something, or fails: %s",
		      told(&job, options, sizeof(options)), job.decision.refused, job.err.text);
}

static void spoil_backing(struct case_ *c, const struct job *whole)
{
	struct job job = *whole;

	job.classes = NULL;
	job.spoil = true;
	job.spoil_at = NOWHERE;
	memcpy(job.backing, c->scene->backing, c->scene->backing_size);
	run(&job);
	c->counts->verified += job.spoiled;
	if (job.spoiled && job.ret != -WB_EIO)
		wrong(c, "verify-notices", "%s: a sector changed after it was written, and --verify did not see it",
		      policy_names[job.policy]);
}

static void count_refusal(struct case_ *c, const struct job *job)
{
	if (!job->decision.refused)
		c->counts->taken[job->policy]++;
	else
		c->counts->refused[job->policy]++;
	for (unsigned int i = 0; i < REFUSALS; i++)
		c->counts->reasons[job->policy][i] += job->decision.refused >> i & 1;
	if (job->policy != WB_STRICT || !c->scene->survivable)
		return;
	c->counts->orderly_taken += !job->decision.refused;
	c->counts->orderly_refused += !!job->decision.refused;
	for (unsigned int i = 0; i < REFUSALS; i++)
		c->counts->orderly_reasons[i] += job->decision.refused >> i & 1;
}

static void judge_policy(struct case_ *c, const struct job *job)
{
	if (job->zeroed != 1)
		count_refusal(c, job);
	if (job->policy == WB_STRICT) {
		check_classes(c, job);
		check_strict(c, job);
	}
	if (job->policy == WB_PREFIX && !c->scene->ambiguous)
		check_prefix(c, job);
}

static struct pair pair_of(const struct case_ *c)
{
	const struct scene *scene = c->scene;

	return (struct pair){ .driver = scene->driver, .cache = scene->cache, .backing = scene->backing,
			      .cache_size = scene->cache_size, .damage = scene->damage, .damage_count = scene->damage_count,
			      .truth = c->truth.places ? &c->truth : NULL };
}

static uint64_t record_of(const struct case_ *c)
{
	for (unsigned int i = 0; i < c->scene->damage_count; i++)
		if (c->scene->damage[i].sectors && c->scene->damage[i].offset <= RECORD_AT &&
		    c->scene->damage[i].offset + (uint64_t)c->scene->damage[i].sectors * SECTOR > RECORD_AT)
			return 0;
	return get_le(c->scene->cache + RECORD_AT, 8);
}

/* Both invariants, from outside. */
static void hold_invariants(struct case_ *c, const struct job *job)
{
	const struct scene *scene = c->scene;
	enum line line = job->timeline == WB_TIMELINE_NEW ? LINE_NEW :
			 job->timeline == WB_TIMELINE_OLD ? LINE_OLD : LINE_NONE;
	const struct pair pair = pair_of(c);
	struct inquest inquest;
	char why[160], options[128];

	if (job->ret || job->decision.refused || !scene->invariants)
		return;
	c->counts->inquests++;
	inquest_open(&inquest, &pair, job->slots, line, job->record_use == WB_RECORD_IGNORE ? 0 : record_of(c));
	if (inquest_regress(&inquest, scene->backing, job->backing, job->corrections, why, sizeof(why)) >= 0)
		wrong(c, "never-older-over-newer", "%s: %s", told(job, options, sizeof(options)), why);
	if (job->complete &&
	    inquest_left(&inquest, job->backing, job->corrections, job->zeroed == 1, why, sizeof(why)) >= 0)
		wrong(c, "nothing-left-silently", "%s: %s", told(job, options, sizeof(options)), why);
	inquest_close(&inquest);
}

static void check_policy(struct case_ *c, const struct job *what, uint8_t *cache, uint8_t *final)
{
	unsigned int slots = c->truth.driver->config->slots;
	bool checked = !what->record_use && !what->timeline && !what->until && !what->slots && what->zeroed < 2;
	bool usual = checked && !c->scene->wild;
	struct job job = *what;
	uint8_t *classes;

	job.scene = c->scene;
	job.cache = cache;
	job.seed = random_next(&c->scene->random);
	job.backing = malloc(c->scene->backing_size);
	job.classes = classes = calloc(slots, sizeof(*job.classes));
	job.flags = calloc(slots, sizeof(*job.flags));
	assert(job.backing && classes && job.flags);
	if (!checked)
		job.classes = NULL;
	memcpy(job.backing, c->scene->backing, c->scene->backing_size);
	run(&job);
	if (job.ret && !(c->scene->wild && job.ret == -WB_ENOTCACHE))
		wrong(c, "no-failure", "%s fails: %s", policy_names[job.policy], job.err.text);
	else if (!job.ret && usual)
		judge_policy(c, &job);
	if (!job.ret && job.decision.refused && memcmp(job.backing, c->scene->backing, c->scene->backing_size))
		wrong(c, "a-refusal-changes-nothing", "%s refuses and writes", policy_names[job.policy]);
	if (!job.ret && checked && job.policy == WB_STRICT && job.zeroed != 1 && !job.damage != job.fine)
		wrong(c, "check-agrees", "wb_check() finds %s damage, and strict %s", job.damage ? "some" : "no",
		      job.fine ? "has no problem" : "has a problem");
	if (job.descends)
		wrong(c, "written-once-ascending", "%s: a write goes back to where it has been", policy_names[job.policy]);
	hold_invariants(c, &job);
	if (!job.ret && !job.decision.refused) {
		memcpy(final, job.backing, c->scene->backing_size);
		if (usual && !c->scene->ambiguous)
			check_result(c, &job);
		flush_twice(c, &job, final);
		if (random_next(&c->scene->random) % 2)
			cut_flush(c, &job, final);
		if (random_next(&c->scene->random) % 8 == 0)
			spoil_backing(c, &job);
	}
	free(classes);
	free(job.flags);
	free(job.backing);
}

/* What else can be told, drawn at random. */
static void check_options(struct case_ *c, uint8_t *cache, uint8_t *final)
{
	uint64_t *random = &c->scene->random;
	unsigned int slots = c->scene->driver->config->slots;

	for (unsigned int i = 0; i < 4; i++) {
		struct job job = { .policy = (enum wb_policy)(random_next(random) % 3),
				   .record_use = (enum wb_record_use)(random_next(random) % 3),
				   .timeline = (enum wb_timeline)(random_next(random) % 3),
				   .zeroed = (int)(random_next(random) % 3) };

		if (random_next(random) % 3 == 0) {
			job.policy = WB_PREFIX;
			job.until = c->truth.head > 3 ? c->truth.head - random_next(random) % 4 : 1;
		}
		if (job.timeline == WB_TIMELINE_NONE && random_next(random) % 4 == 0)
			job.slots = 1 + (unsigned int)(random_next(random) % (slots + 2));
		check_policy(c, &job, cache, final);
	}
}

void check_scene(struct scene *scene, struct counts *counts, struct verdict *verdict)
{
	struct case_ c = { .scene = scene, .counts = counts, .verdict = verdict, .oracle = scene->driver->oracle,
			   .sectors = scene->driver->config->sectors };
	uint8_t *cache = malloc(scene->cache_size), *final = malloc(scene->backing_size);

	c.before = malloc(c.sectors * sizeof(*c.before));
	c.after = malloc(c.sectors * sizeof(*c.after));
	assert(cache && final && c.before && c.after);
	memcpy(cache, scene->cache, scene->cache_size);
	for (unsigned int i = 0; i < c.sectors; i++)
		c.before[i] = version_of(scene->backing + (uint64_t)i * SECTOR, i);
	if (scene->cache_size >= slot_offset(scene->driver, scene->driver->config->slots))
		truth_find(&c.truth, scene->driver, scene->cache, scene->damage, scene->damage_count);
	else
		c.truth.driver = scene->driver;
	const struct pair pair = pair_of(&c);

	inquest_open(&c.inquest, &pair, 0, LINE_NONE, record_of(&c));
	if (!scene->wild)
		c.salvage_cut = last_cut_with_evidence(&c);
	for (enum wb_policy policy = WB_STRICT; policy <= WB_SALVAGE; policy++) {
		check_policy(&c, &(struct job){ .policy = policy }, cache, final);
		if (policy == WB_STRICT && c.truth.zeroed)
			check_policy(&c, &(struct job){ .policy = policy, .zeroed = 1 }, cache, final);
	}
	if (scene->options)
		check_options(&c, cache, final);
	if (memcmp(cache, scene->cache, scene->cache_size))
		wrong(&c, "cache-unchanged", "CACHE was written to");
	counts->checks++;
	counts->wild += scene->wild;
	for (int i = 0; i < LIMIT_COUNT; i++)
		counts->limits[i] += c.met[i];
	inquest_close(&c.inquest);
	truth_release(&c.truth);
	free(c.before);
	free(c.after);
	free(cache);
	free(final);
}
