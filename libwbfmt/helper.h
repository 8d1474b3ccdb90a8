/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that carries out one task at a time while its owner does something else: reading the next
 * buffer, writing the last one. Without a thread the task is done where its owner waits for it.
 */
#ifndef WB_HELPER_H
#define WB_HELPER_H

#include <pthread.h>
#include <stdbool.h>

struct wb_helper {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool threaded, ended;
	void (*task)(void *context); /* given and not done yet; NULL: none */
	void *context;
};

/* threaded: with a thread, if one can be had. */
void wb_helper_start(struct wb_helper *helper, bool threaded);
/* The last task must have been waited for. */
void wb_helper_give(struct wb_helper *helper, void (*task)(void *context), void *context);
/* Returns when the task is done; at once when there is none. */
void wb_helper_wait(struct wb_helper *helper);
/* A task that nobody waited for has been done, or never will be. */
void wb_helper_stop(struct wb_helper *helper);

#endif
