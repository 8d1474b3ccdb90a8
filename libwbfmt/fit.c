/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segments that do not lie where the number of slots would have them: what number of slots, what start of the device
 * would put them all in place. Both are divisors, which are found by factoring: trying all numbers would take seconds.
 */
#include "bytes.h"
#include "ring.h"

#define SLOTS_MAX (1u << 27)  /* larger numbers are no candidates: 64 TiB of cache at order 10 */
#define SMALL_MAX 11587u      /* of two larger primes the product is beyond SLOTS_MAX */
#define STEPS 65536u          /* a prime up to SLOTS_MAX is found in some 14,000, all starts in fewer */
#define PRIMES 16             /* no number of 64 bits has more different ones */

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* ---- divisors ---- */

struct factors {
	uint64_t prime[PRIMES];
	unsigned power[PRIMES], count;
};

struct misfit {
	uint64_t misplaced, whole;
	uint64_t together;    /* misplaced ones that are as far from their places as the misplaced one below them */
	uint64_t of_places;   /* gcd of id - 1 - slot */
	uint64_t of_distances; /* gcd of the differences of those */
	uint64_t first_id, first_slot; /* of the one in the lowest slot */
	uint64_t last_slot;   /* the highest one */
	uint64_t ids, high;   /* a candidate is at least ids (from the smallest id to the largest), at most high */
};

/* The least divisors within bounds that fit, and how many there are. */
struct divisors {
	const struct misfit *misfit;
	bool (*fits)(const struct misfit *misfit, uint64_t n); /* NULL: all do */
	uint64_t low, high;
	uint64_t least[WB_CANDIDATES];
	unsigned count;
};

static uint64_t add_mod(uint64_t a, uint64_t b, uint64_t m)
{
	return a >= m - b ? a - (m - b) : a + b;
}

#ifdef __SIZEOF_INT128__
static uint64_t multiply_mod(uint64_t a, uint64_t b, uint64_t m)
{
	__extension__ typedef unsigned __int128 wide;

	return (uint64_t)((wide)a * b % m);
}
#else
static uint64_t multiply_mod(uint64_t a, uint64_t b, uint64_t m)
{
	uint64_t product = 0;

	for (; b; b >>= 1, a = add_mod(a, a, m))
		if (b & 1)
			product = add_mod(product, a, m);
	return product;
}
#endif

/* Pollard's rho with x^2 + c: a divisor of n other than 1 and n, or 0 when none was met. */
static uint64_t find_divisor(uint64_t n, uint64_t c)
{
	uint64_t x = 2, ahead = 2, product = 1;

	for (unsigned step = 1; step <= STEPS; step++) {
		x = add_mod(multiply_mod(x, x, n), c, n);
		for (unsigned i = 0; i < 2; i++)
			ahead = add_mod(multiply_mod(ahead, ahead, n), c, n);
		product = multiply_mod(product, distance(x, ahead), n);
		if (step % 64)
			continue;
		uint64_t common = gcd(product, n);

		if (common != 1)
			return common == n ? 0 : common;
	}
	return 0;
}

static void add_prime(struct factors *factors, uint64_t prime)
{
	unsigned i = 0;

	while (i < factors->count && factors->prime[i] != prime)
		i++;
	if (i == PRIMES || prime > SLOTS_MAX)
		return;
	factors->prime[i] = prime;
	factors->count += i == factors->count;
	factors->power[i]++;
}

/* A divisor of what has no small prime, 0 where none is found: then it has no prime up to SLOTS_MAX but itself. */
static uint64_t divisor_of(uint64_t n)
{
	uint64_t divisor = 0;

	for (uint64_t c = 1; c <= 4 && n > SLOTS_MAX && !divisor; c++)
		divisor = find_divisor(n, c);
	return divisor;
}

/* Splits what has no small prime, as far as it can be split. */
static void split(struct factors *factors, uint64_t n)
{
	uint64_t parts[64] = { n };

	for (unsigned count = 1; count;) {
		uint64_t part = parts[--count], divisor = divisor_of(part);

		if (divisor) {
			parts[count++] = part / divisor;
			parts[count++] = divisor;
		} else if (part > 1) {
			add_prime(factors, part);
		}
	}
}

static struct factors factor(uint64_t n)
{
	struct factors factors = { .count = 0 };

	for (uint64_t p = 2; n && p <= SMALL_MAX; p += p > 2 ? 2 : 1)
		for (; n % p == 0; n /= p)
			add_prime(&factors, p);
	split(&factors, n);
	return factors;
}

static void keep_divisor(struct divisors *divisors, uint64_t d)
{
	unsigned at = (unsigned)wb_min(divisors->count, WB_CANDIDATES);

	if (d < divisors->low || (divisors->fits && !divisors->fits(divisors->misfit, d)))
		return;
	divisors->count++;
	if (at == WB_CANDIDATES && d > divisors->least[--at])
		return;
	for (; at && divisors->least[at - 1] > d; at--)
		divisors->least[at] = divisors->least[at - 1];
	divisors->least[at] = d;
}

/* Counts through the powers of the primes, as far as the products are not too large. */
static void each_divisor(struct divisors *divisors, const struct factors *factors)
{
	unsigned power[PRIMES] = { 0 };
	uint64_t d = 1;

	keep_divisor(divisors, d);
	for (unsigned i = 0; i < factors->count;) {
		if (power[i] < factors->power[i] && d <= divisors->high / factors->prime[i]) {
			d *= factors->prime[i];
			power[i]++;
			keep_divisor(divisors, d);
			i = 0;
			continue;
		}
		for (; power[i]; power[i]--)
			d /= factors->prime[i];
		i++;
	}
}

static void find_divisors(struct divisors *divisors, uint64_t n)
{
	divisors->high = wb_min(divisors->misfit->high, SLOTS_MAX);
	if (!n || divisors->low > divisors->high)
		return;
	struct factors factors = factor(n);

	each_divisor(divisors, &factors);
}

/* ---- what fits ---- */

/* A segment whose own bytes agree, wherever it lies. */
static bool is_whole(const struct wb_slot *slot)
{
	return slot->id && slot->flags & WB_SLOT_SEALED;
}

static struct misfit measure(const struct wb_ring *ring, bool misplaced_only)
{
	struct misfit misfit = { .high = ring->lap_high };
	uint64_t min_id = UINT64_MAX, max_id = 0, first_place = 0, last_place = 0;

	for (uint32_t i = 0; i < ring->cache->geometry.slots; i++) {
		const struct wb_slot *slot = &ring->slots[i];

		if (!is_whole(slot) || (misplaced_only && wb_ring_stands(ring, i)))
			continue;
		uint64_t place = slot->id - 1 - i; /* modulo 2^64 */

		if (!wb_ring_stands(ring, i)) {
			misfit.together += misfit.misplaced && place == last_place && wb_ring_due(ring, i);
			misfit.misplaced++;
			last_place = place;
		}
		if (!misfit.whole++) {
			first_place = place;
			misfit.first_id = slot->id;
			misfit.first_slot = i;
		}
		misfit.of_places = gcd(misfit.of_places, distance(slot->id - 1, i));
		misfit.of_distances = gcd(misfit.of_distances,
					  (int64_t)(place - first_place) < 0 ? first_place - place :
									       place - first_place);
		min_id = wb_min(min_id, slot->id);
		max_id = wb_max(max_id, slot->id);
		misfit.last_slot = i;
	}
	if (misfit.whole)
		misfit.ids = wb_max(max_id - min_id + 1, ring->lap_low + (ring->lap_low > 0));
	return misfit;
}

static void find_candidates(struct wb_ring *ring, const struct misfit *misfit)
{
	struct divisors found = { .misfit = misfit, .low = wb_max(misfit->ids, misfit->last_slot + 1) };

	find_divisors(&found, misfit->of_places);
	ring->candidate_count = found.count;
	for (unsigned i = 0; i < found.count && i < WB_CANDIDATES; i++)
		ring->candidates[i] = found.least[i];
}

/* With n slots the segment in the first slot seen belongs to slot at % n, and all of them must fit between there and the
 * end. */
static bool fits_moved(const struct misfit *misfit, uint64_t n)
{
	uint64_t at = (misfit->first_id - 1) % n;

	return at + misfit->last_slot - misfit->first_slot < n && at != misfit->first_slot;
}

/* Where n does not fit, the next number that may: as long as it goes into the first place equally often, the room behind the
 * rest grows. */
static uint64_t next_to_fit(const struct misfit *misfit, uint64_t n)
{
	uint64_t at = misfit->first_id - 1, times = at / n, room = n - at % n, span = misfit->last_slot - misfit->first_slot;

	return room > span ? n + 1 : wb_min(n + (span - room) / (times + 1) + 1, at / times + 1);
}

static void add_start(struct wb_ring *ring, uint64_t slots, uint64_t at, const struct misfit *misfit)
{
	if (ring->start_count < WB_CANDIDATES) {
		ring->starts[ring->start_count].slots = slots;
		ring->starts[ring->start_count].start = (int64_t)at - (int64_t)misfit->first_slot;
	}
	ring->start_count++;
}

/* One odd id among segments in place is no move; of a ring in its second lap one of the laps may be in place by chance. */
static void find_starts(struct wb_ring *ring, const struct misfit *misfit)
{
	struct divisors found = { .misfit = misfit, .fits = fits_moved,
				  .low = wb_max(misfit->ids, misfit->last_slot - misfit->first_slot + 1) };
	uint64_t at = misfit->first_id - 1;
	unsigned steps = STEPS;

	if (misfit->misplaced < 2)
		return;
	find_divisors(&found, misfit->of_distances);
	for (unsigned i = 0; i < found.count && i < WB_CANDIDATES; i++)
		add_start(ring, found.least[i], at % found.least[i], misfit);
	ring->start_count = found.count;
	if (misfit->of_distances)
		return;
	/* all by the same distance: that fits a first lap of any number of slots, and later laps of those that follow */
	add_start(ring, 0, at, misfit);
	for (uint64_t n = found.low; n <= wb_min(found.high, at) && ring->start_count <= WB_CANDIDATES && steps--;) {
		if (fits_moved(misfit, n)) {
			add_start(ring, n, at % n, misfit);
			n++;
		} else {
			n = next_to_fit(misfit, n);
		}
	}
}

/* Most whole segments are out of place, or some by the same distance: where those agree on a number of slots, the rest is what
 * lost writes left in place by chance, or out of the window. One alone agrees with any. v0's laps tell what is there by chance: with a number that they
 * contradict, whole segments would be none, so it is not offered. */
static bool most_agree(struct wb_ring *ring)
{
	struct misfit misfit = measure(ring, true);
	bool agree;

	misfit.ids = misfit.last_slot + 1;
	misfit.high = SLOTS_MAX;
	if (misfit.misplaced < 2)
		return false;
	find_candidates(ring, &misfit);
	agree = ring->most_agree = ring->candidate_count;
	if (wb_seal_covers_data(ring->cache->geometry.format))
		return agree;
	misfit = measure(ring, false);
	misfit.ids = wb_max(misfit.last_slot, ring->lap_low) + 1;
	find_candidates(ring, &misfit);
	return agree;
}

void wb_ring_fit(struct wb_ring *ring)
{
	struct misfit misfit = measure(ring, false);
	bool agree = false;

	ring->candidate_count = ring->start_count = 0;
	ring->resized = ring->shifted = ring->most_agree = false;
	ring->resized = ring->beyond;
	if (!misfit.misplaced)
		return;
	find_candidates(ring, &misfit);
	if (!ring->candidate_count)
		find_starts(ring, &misfit);
	if (!ring->candidate_count && !ring->start_count &&
	    (misfit.misplaced > misfit.whole - misfit.misplaced || misfit.together))
		agree = most_agree(ring);
	ring->shifted = ring->start_count > 0;
	/* where nothing is in place the number is wrong, even if no other one explains all */
	ring->resized = ring->beyond || ring->candidate_count || agree || (!ring->shifted && !ring->head);
}
