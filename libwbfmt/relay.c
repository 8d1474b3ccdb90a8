/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two buffers between two threads: see relay.h. */
#include "relay.h"

static void *worker_main(void *context)
{
	struct wb_relay *relay = context;

	pthread_mutex_lock(&relay->lock);
	for (unsigned turn = 0;; turn ^= 1) {
		while (!relay->full[turn] && !relay->ended)
			pthread_cond_wait(&relay->changed, &relay->lock);
		if (!relay->full[turn])
			break;
		pthread_mutex_unlock(&relay->lock);
		relay->work(relay->context, turn);
		pthread_mutex_lock(&relay->lock);
		relay->full[turn] = false;
		pthread_cond_signal(&relay->changed);
	}
	pthread_mutex_unlock(&relay->lock);
	return NULL;
}

void wb_relay_start(struct wb_relay *relay, bool threaded, void (*work)(void *context, unsigned turn), void *context)
{
	*relay = (struct wb_relay){ .work = work, .context = context };
	pthread_mutex_init(&relay->lock, NULL);
	pthread_cond_init(&relay->changed, NULL);
	relay->threaded = threaded && !pthread_create(&relay->worker, NULL, worker_main, relay);
}

void wb_relay_wait(struct wb_relay *relay, unsigned turn)
{
	pthread_mutex_lock(&relay->lock);
	while (relay->full[turn])
		pthread_cond_wait(&relay->changed, &relay->lock);
	pthread_mutex_unlock(&relay->lock);
}

void wb_relay_hand(struct wb_relay *relay, unsigned turn)
{
	if (!relay->threaded) {
		relay->work(relay->context, turn);
		return;
	}
	pthread_mutex_lock(&relay->lock);
	relay->full[turn] = true;
	pthread_cond_signal(&relay->changed);
	pthread_mutex_unlock(&relay->lock);
}

void wb_relay_stop(struct wb_relay *relay)
{
	pthread_mutex_lock(&relay->lock);
	relay->ended = true;
	pthread_cond_signal(&relay->changed);
	pthread_mutex_unlock(&relay->lock);
	if (relay->threaded)
		pthread_join(relay->worker, NULL);
	pthread_mutex_destroy(&relay->lock);
	pthread_cond_destroy(&relay->changed);
}
