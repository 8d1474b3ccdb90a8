/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One thread, one task. */
#include <stddef.h>

#include "helper.h"

static void *helper_main(void *context)
{
	struct wb_helper *helper = context;

	pthread_mutex_lock(&helper->lock);
	while (!helper->ended || helper->task) {
		if (!helper->task) {
			pthread_cond_wait(&helper->changed, &helper->lock);
			continue;
		}
		pthread_mutex_unlock(&helper->lock);
		helper->task(helper->context);
		pthread_mutex_lock(&helper->lock);
		helper->task = NULL;
		pthread_cond_signal(&helper->changed);
	}
	pthread_mutex_unlock(&helper->lock);
	return NULL;
}

void wb_helper_start(struct wb_helper *helper, bool threaded)
{
	*helper = (struct wb_helper){ .task = NULL };
	pthread_mutex_init(&helper->lock, NULL);
	pthread_cond_init(&helper->changed, NULL);
	helper->threaded = threaded && !pthread_create(&helper->thread, NULL, helper_main, helper);
}

void wb_helper_give(struct wb_helper *helper, void (*task)(void *context), void *context)
{
	pthread_mutex_lock(&helper->lock);
	helper->task = task;
	helper->context = context;
	pthread_cond_signal(&helper->changed);
	pthread_mutex_unlock(&helper->lock);
}

void wb_helper_wait(struct wb_helper *helper)
{
	if (!helper->threaded) {
		if (helper->task)
			helper->task(helper->context);
		helper->task = NULL;
		return;
	}
	pthread_mutex_lock(&helper->lock);
	while (helper->task)
		pthread_cond_wait(&helper->changed, &helper->lock);
	pthread_mutex_unlock(&helper->lock);
}

void wb_helper_stop(struct wb_helper *helper)
{
	if (helper->threaded) {
		pthread_mutex_lock(&helper->lock);
		helper->ended = true;
		pthread_cond_signal(&helper->changed);
		pthread_mutex_unlock(&helper->lock);
		pthread_join(helper->thread, NULL);
	}
	pthread_mutex_destroy(&helper->lock);
	pthread_cond_destroy(&helper->changed);
}
