/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two buffers between two threads: one is filled while the other is worked on. The caller fills buffer 0, then 1, then 0 again:
 * wait() for the buffer, fill it, hand() it over. stop() returns when all work is done.
 */
#ifndef WB_RELAY_H
#define WB_RELAY_H

#include <pthread.h>
#include <stdbool.h>

struct wb_relay {
	void (*work)(void *context, unsigned turn);
	void *context;
	bool threaded; /* else hand() does the work itself */
	/* private */
	pthread_t worker;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool full[2], ended;
};

/* work is called for the buffers in turn, one at a time. Where no thread can be had all is done without. */
void wb_relay_start(struct wb_relay *relay, bool threaded, void (*work)(void *context, unsigned turn), void *context);
void wb_relay_wait(struct wb_relay *relay, unsigned turn);
void wb_relay_hand(struct wb_relay *relay, unsigned turn);
void wb_relay_stop(struct wb_relay *relay);

#endif
