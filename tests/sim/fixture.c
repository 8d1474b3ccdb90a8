/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes a pair of images as a text from which mkcache makes one that every reader must judge alike: what was written to
 * each slot, less the sectors that did not land or were written over, then the damage. Sectors without a dirty bit hold
 * something else there, so checksums differ.
 */
#include <stdlib.h>

#include "plan.h"

static const uint8_t *sector_of(const struct written *written, unsigned int sector)
{
	return written->on_its_way && sector < 8 * (written->length + 1) ? written->bytes + sector * SECTOR : NULL;
}

/* Which of the segments written to a slot a sector there comes from, newest first; KEPT: none. */
static unsigned int origin(const struct scene *scene, unsigned int slot, unsigned int sector)
{
	const uint8_t *at = scene->cache + slot_offset(scene->driver, slot) + sector * SECTOR;
	unsigned int best = KEPT, fewest = 9;

	for (unsigned int i = 0; i < KEPT; i++) {
		const struct written *written = scene->driver->history[KEPT * slot + i];
		const uint8_t *bytes = written ? sector_of(written, sector) : NULL;
		unsigned int different = 0;

		for (unsigned int k = 0; bytes && k < SECTOR; k++)
			different += at[k] != bytes[k];
		if (bytes && different < fewest) {
			best = i;
			fewest = different;
		}
	}
	return best;
}

static void write_block(FILE *out, const struct scene *scene, const struct written *written, unsigned int index)
{
	const struct metablock *mb = &written->mb[index];

	if (!scene->driver->config->generation && !mb->dirty) {
		fprintf(out, "unused %u\n", 8 * mb->block);
		return;
	}
	fprintf(out, "block %u %02x 1\nhold", 8 * mb->block, mb->dirty ? mb->bits : 0);
	for (unsigned int j = 0; j < 8; j++) {
		uint32_t version = version_of(written->bytes + BLOCK * (index + 1) + j * SECTOR, 8 * mb->block + j);

		fprintf(out, " %u", version == UINT32_MAX ? 0 : version);
	}
	fprintf(out, "\n");
}

/* Runs of sectors that come from somewhere older. */
static void write_lost(FILE *out, const struct written *written, unsigned int number, const unsigned int *origins)
{
	unsigned int sectors = 8 * (written->length + 1), from = 0;

	for (unsigned int at = 0; at <= sectors; at++) {
		bool lost = at < sectors && origins[at] > number && origins[at] < KEPT;

		if (!lost && from < at)
			fprintf(out, "lost %u %u\n", from, at - 1);
		if (!lost)
			from = at + 1;
	}
}

static void write_slot(FILE *out, const struct scene *scene, unsigned int slot, const unsigned int *origins)
{
	unsigned int sectors = (unsigned int)(scene->driver->slot_bytes / SECTOR);

	for (unsigned int i = KEPT; i-- > 0;) {
		const struct written *written = scene->driver->history[KEPT * slot + i];
		bool seen = false;

		for (unsigned int at = 0; at < sectors; at++)
			seen |= origins[at] == i;
		if (!seen)
			continue;
		fprintf(out, "segment %" PRIu64 "\n", written->id);
		for (unsigned int k = 0; k < written->length; k++)
			write_block(out, scene, written, k);
		write_lost(out, written, i, origins);
	}
}

static bool all_zero(const uint8_t *bytes)
{
	for (unsigned int i = 0; i < SECTOR; i++)
		if (bytes[i])
			return false;
	return true;
}

/* Something was written there, else it is zero anyway. */
static bool covered(const struct scene *scene, unsigned int slot, unsigned int sector)
{
	for (unsigned int i = 0; i < KEPT; i++)
		if (scene->driver->history[KEPT * slot + i] && sector_of(scene->driver->history[KEPT * slot + i], sector))
			return true;
	return false;
}

static void write_damage(FILE *out, const struct scene *scene, unsigned int slot, const unsigned int *origins)
{
	for (unsigned int at = 0; at < scene->driver->slot_bytes / SECTOR; at++) {
		const uint8_t *is = scene->cache + slot_offset(scene->driver, slot) + at * SECTOR;
		const uint8_t *was = origins[at] < KEPT ?
			sector_of(scene->driver->history[KEPT * slot + origins[at]], at) : NULL;

		/* v0: a block without any byte counts as discarded; mkcache would put something undefined there */
		if ((!was || (!scene->driver->config->generation && at >= 8)) && all_zero(is) && covered(scene, slot, at))
			fprintf(out, "zero %u %u %u\n", slot, at * SECTOR, SECTOR);
		for (unsigned int k = 0; was && k < SECTOR; k++)
			for (unsigned int bit = 0; bit < 8; bit++)
				if ((is[k] ^ was[k]) >> bit & 1)
					fprintf(out, "flip %u %u %u\n", slot, at * SECTOR + k, bit);
	}
}

static void write_image(const char *name, const char *suffix, const uint8_t *bytes, uint64_t size)
{
	char path[4096];
	FILE *out;

	snprintf(path, sizeof(path), "%s.%s", name, suffix);
	out = fopen(path, "w");
	if (!out || fwrite(bytes, 1, size, out) != size || fclose(out))
		perror(path);
}

void fixture_images(const struct scene *scene, const char *name)
{
	write_image(name, "cache", scene->cache, scene->cache_size);
	write_image(name, "backing", scene->backing, scene->backing_size);
}

void fixture_write(const struct scene *scene, const struct verdict *verdict, uint64_t seed, const char *name)
{
	const struct config *config = scene->driver->config;
	unsigned int sectors = (unsigned int)(scene->driver->slot_bytes / SECTOR);
	unsigned int *origins = malloc(sizeof(*origins) * sectors * config->slots);
	FILE *out = fopen(name, "w");

	if (!out || !origins) {
		perror(name);
		free(origins);
		return;
	}
	fprintf(out, "# seed %" PRIu64 " of the simulator: %s\n", seed, verdict->failed ? verdict->text : "nothing is wrong");
	for (unsigned int i = 0; i < scene->damage_count; i++)
		if (scene->damage[i].sectors)
			fprintf(out, "# %u sectors from byte %" PRIu64 " of CACHE cannot be read\n", scene->damage[i].sectors,
				scene->damage[i].offset);
	fprintf(out, "generation v%u\norder %u\nslots %u\nbacking %u\nrecord %" PRIu64 "\n", config->generation,
		config->order, config->slots, config->sectors, get_le(scene->cache + RECORD_AT, 8));
	fprintf(out, "%s", config->raw ? "checksum raw\n" : "");
	for (unsigned int i = 0; i < config->slots * sectors; i++)
		origins[i] = origin(scene, i / sectors, i % sectors);
	for (unsigned int slot = 0; slot < config->slots; slot++)
		write_slot(out, scene, slot, origins + slot * sectors);
	for (unsigned int i = 0; i < config->sectors; i++) {
		uint32_t version = version_of(scene->backing + (uint64_t)i * SECTOR, i);

		if (version && version != UINT32_MAX)
			fprintf(out, "put %u 1 %u\n", i, version);
	}
	for (unsigned int slot = 0; slot < config->slots; slot++)
		write_damage(out, scene, slot, origins + slot * sectors);
	fclose(out);
	free(origins);
}
