/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See words.h. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "common.h"
#include "words.h"

/* Nothing is written and sector 0 names an order that both generations know. */
static bool is_v0_or_v1(const struct wb_cache *cache)
{
	const struct wb_format *format;
	unsigned fitting = 0;

	if (cache->evidence || cache->sampled || !cache->geometry.format->order_stored)
		return false;
	for (unsigned i = 0; (format = wb_format_at(i)); i++)
		fitting += format->order_stored && cache->order_byte >= format->order_min &&
			   cache->order_byte <= format->order_max;
	return fitting > 1;
}

const char *words_generation(const struct wb_cache *cache)
{
	static char text[192];
	const struct wb_format *format = cache->geometry.format;

	if (is_v0_or_v1(cache))
		return "v0 or v1: no segment has been written, and it does not matter which";
	snprintf(text, sizeof(text), "%s (dm-writeboost, %s); %u bits of evidence%s%s%s", format->name, format->drivers,
		 cache->evidence, cache->tie ? ", and " : "", cache->tie ? cache->tie->name : "",
		 cache->tie ? " explains it equally well" : "");
	return text;
}

const char *words_missing(const struct wb_dev *dev, uint64_t bytes)
{
	static char text[128];

	snprintf(text, sizeof(text), "the %s is %s short: %s", wb_dev_is_block(dev) ? "device" : "file", count_of(bytes, "byte"),
		 wb_dev_is_block(dev) ? "give it its former size, or copy it again" : "copy it again");
	return text;
}

const char *words_record(const struct wb_ring *ring)
{
	switch (ring->record_state) {
	case WB_RECORD_NONE: return "not recorded";
	case WB_RECORD_SOUND:
		if (ring->record_contradicted)
			return "contradicted: what it says was written back last is not on BACKING";
		return ring->cache->geometry.format->record_binds ?
			       "sound: older segments were written back and discarded" :
			       "sound: older segments were written back or superseded in RAM; the log is replayed whole";
	case WB_RECORD_MISSING: return "missing: segments up to it existed and are not in the log";
	case WB_RECORD_UNKNOWN:
		return ring->cache->geometry.format->record_binds ? "unreadable: which segments were discarded is not known" :
								    "unreadable: taken as 0, which loses nothing";
	case WB_RECORD_GARBAGE: return "garbage: beyond any id of this log, taken as 0";
	}
	return "";
}

const char *words_left_out(const struct wb_marker *marker)
{
	static char text[160];
	size_t used = 0;

	if (marker->left_segments)
		used = (size_t)snprintf(text, sizeof(text), "%s with up to %s", count_of(marker->left_segments, "segment"),
					count_of(marker->left_sectors, "dirty sector"));
	else if (marker->left_sectors)
		used = (size_t)snprintf(text, sizeof(text), "up to %s", count_of(marker->left_sectors, "dirty sector"));
	if (marker->stale_sectors)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s whose newest version was lost", used ? " and " : "",
					 count_of(marker->stale_sectors, "sector"));
	return used ? text : "what the options excluded";
}

const char *words_marker(const struct wb_marker *marker, bool written_since)
{
	static const char *const sentences[] = {
		[WB_END_FLUSHED] = "the log was ended on %s: all of it had been written to ",
		[WB_END_FORMAT] = "a format that began on %s was interrupted; run wb-format again",
		[WB_END_RESET] = "the log was ended on %s by wb-format --reset",
	};
	static char text[400];
	time_t time = (time_t)marker->time;
	struct tm parts;
	char date[40];

	if (!gmtime_r(&time, &parts) || !strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &parts))
		snprintf(date, sizeof(date), "an unknown date");
	if (written_since)
		snprintf(text, sizeof(text), "the log was ended on %s, and written to since", date);
	else if (marker->reason == WB_END_FLUSHED && marker->version < 2)
		snprintf(text, sizeof(text), "the log was ended on %s by wb-utils 0.1, which did not record whether something was "
			 "left out", date);
	else
		snprintf(text, sizeof(text), sentences[marker->reason], date);
	bool flushed = marker->reason == WB_END_FLUSHED && marker->version >= 2 && !written_since;

	if (flushed && marker->backing_bytes)
		append_text(text, sizeof(text), "a BACKING of %s (%s)", human_size(marker->backing_bytes),
			    count_of(marker->backing_bytes, "byte"));
	else if (flushed) /* of a pack that does not tell */
		append_text(text, sizeof(text), "BACKING");
	if (marker->partial && !written_since)
		snprintf(text, sizeof(text), "the log was ended on %s%s; left out: %s", date,
			 marker->reason == WB_END_RESET ? " by wb-format --reset" : ", and not all of it had been written back",
			 words_left_out(marker));
	return text;
}

const char *words_end(const struct wb_marker *marker, const struct wb_end_proof *end, const char *path, const struct wb_dev *backing)
{
	static char text[1200];
	const struct wb_proof *proof = &end->proof;

	text[0] = '\0';
	if (end->compared && proof->pair == WB_PAIR_CONTRADICTED)
		append_text(text, sizeof(text), "%s is not the disk of this cache, or was written to since: %s of the log contradict%s it, %"
			    PRIu64 " match%s; ", path, count_of(proof->against, "block"), proof->against == 1 ? "s" : "", proof->for_,
			    proof->for_ == 1 ? "es" : "");
	else if (end->differing)
		append_text(text, sizeof(text), "%s lacks %s of this log: it is another disk than the one that was written to, or was used "
			    "since; ", path, count_of(end->differing, "sector"));
	else if (end->lost_segments)
		append_text(text, sizeof(text), "%s of this log cannot be read any more, or not compared; ", count_of(end->lost_segments, "segment"));
	append_text(text, sizeof(text), "%s", words_marker(marker, false));
	if (!end->compared)
		append_text(text, sizeof(text), "; the log behind the marker is gone or cannot be read, so it cannot be compared with %s", path);
	else if (wb_end_is_proven(end))
		append_text(text, sizeof(text), "; %s holds %s", path, marker->partial ? "the rest" : "all of it");
	else if (marker->backing_bytes && marker->backing_bytes != wb_dev_size(backing))
		append_text(text, sizeof(text), "; %s has %s", path, human_size(wb_dev_size(backing)));
	return text;
}
