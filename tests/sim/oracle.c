/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an application knows of its writes. */
#include "oracle.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void append(struct timeline *line, uint32_t time, uint32_t version)
{
	if (line->count == line->room) {
		line->room = line->room ? 2 * line->room : 8;
		line->moments = realloc(line->moments, line->room * sizeof(*line->moments));
		assert(line->moments);
	}
	line->moments[line->count++] = (struct moment){ time, version };
}

void oracle_open(struct oracle *oracle, unsigned int sectors)
{
	*oracle = (struct oracle){ .sectors = sectors };
	oracle->lines = calloc(sectors, sizeof(*oracle->lines));
	assert(oracle->lines);
	for (unsigned int i = 0; i < sectors; i++)
		append(&oracle->lines[i], 0, 0);
}

void oracle_close(struct oracle *oracle)
{
	for (unsigned int i = 0; i < oracle->sectors; i++)
		free(oracle->lines[i].moments);
	free(oracle->lines);
}

uint32_t oracle_write(struct oracle *oracle, unsigned int sector, unsigned int count)
{
	oracle->now++;
	for (unsigned int i = 0; i < count; i++)
		append(&oracle->lines[sector + i], oracle->now, oracle->now);
	return oracle->now;
}

uint32_t oracle_rewrite(struct oracle *oracle, unsigned int sector, bool newest)
{
	struct timeline *line = &oracle->lines[sector];
	uint32_t version = line->moments[line->count - (newest || line->count < 2 ? 1 : 2)].version;

	append(line, oracle->now, version);
	return version;
}

void oracle_written(struct oracle *oracle, unsigned int sector, unsigned int count, uint32_t time, bool durable)
{
	for (unsigned int i = 0; i < count; i++) {
		struct timeline *line = &oracle->lines[sector + i];
		unsigned int at = line->count - 1;

		while (line->moments[at].time != time)
			at--;
		if (line->completed < at)
			line->completed = at;
		if (durable && line->durable < at)
			line->durable = at;
	}
}

unsigned int *oracle_flush(const struct oracle *oracle)
{
	unsigned int *promise = malloc(oracle->sectors * sizeof(*promise));

	assert(promise);
	for (unsigned int i = 0; i < oracle->sectors; i++)
		promise[i] = oracle->lines[i].completed;
	return promise;
}

void oracle_flushed(struct oracle *oracle, unsigned int *promise, bool acknowledged)
{
	for (unsigned int i = 0; i < oracle->sectors && acknowledged; i++)
		if (oracle->lines[i].durable < promise[i])
			oracle->lines[i].durable = promise[i];
	free(promise);
}

void oracle_restart(struct oracle *oracle, const uint32_t *versions)
{
	oracle->now++;
	for (unsigned int i = 0; i < oracle->sectors; i++) {
		struct timeline *line = &oracle->lines[i];

		append(line, oracle->now, versions[i]);
		line->epoch = line->durable = line->completed = line->count - 1;
	}
}

uint32_t oracle_newest(const struct oracle *oracle, unsigned int sector)
{
	const struct timeline *line = &oracle->lines[sector];

	return line->moments[line->count - 1].version;
}

bool oracle_held(const struct oracle *oracle, unsigned int sector, uint32_t version)
{
	const struct timeline *line = &oracle->lines[sector];

	for (unsigned int i = 0; i < line->count; i++)
		if (line->moments[i].version == version)
			return true;
	return false;
}

int oracle_rank(const struct oracle *oracle, unsigned int sector, uint32_t version)
{
	const struct timeline *line = &oracle->lines[sector];

	for (unsigned int i = line->count; i-- > line->epoch;)
		if (line->moments[i].version == version)
			return (int)i;
	return -1;
}

int oracle_durable_rank(const struct oracle *oracle, unsigned int sector)
{
	return (int)oracle->lines[sector].durable;
}

bool oracle_allows(const struct oracle *oracle, unsigned int sector, uint32_t version)
{
	return oracle_rank(oracle, sector, version) >= oracle_durable_rank(oracle, sector);
}

bool oracle_was(const struct oracle *oracle, const uint32_t *versions, const bool *excused)
{
	int *change = calloc(oracle->now + 2u, sizeof(*change)), sum = 0, all = 0;
	bool was = false;

	assert(change);
	for (unsigned int i = 0; i < oracle->sectors; i++) {
		const struct timeline *line = &oracle->lines[i];

		if (excused && excused[i])
			continue;
		all++;
		for (unsigned int k = 0; k < line->count; k++)
			if (line->moments[k].version == versions[i]) {
				change[line->moments[k].time]++;
				change[k + 1 < line->count ? line->moments[k + 1].time : oracle->now + 1]--;
			}
	}
	for (uint32_t time = 0; time <= oracle->now; time++) {
		sum += change[time];
		was |= sum == all;
	}
	free(change);
	return was;
}
