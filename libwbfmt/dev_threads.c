/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Batches through a pool of threads, each with one pread or pwrite at a time; the caller is one of them. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "dev.h"

#define THREADS 15u

struct wb_threads {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	pthread_t threads[THREADS];
	unsigned started;
	bool ended;
	/* the batch */
	int fd;
	struct wb_io *io;
	unsigned n, next, under_way;
	bool write_failed;
};

/* One request of the batch, outside of the lock. */
static void carry_out_next(struct wb_threads *pool)
{
	struct wb_io *io = &pool->io[pool->next++];

	if (io->write && pool->write_failed) {
		io->result = -ECANCELED;
		return;
	}
	pool->under_way++;
	pthread_mutex_unlock(&pool->lock);
	io->result = wb_transfer(pool->fd, io->write, io->buffer, io->length, io->offset);
	pthread_mutex_lock(&pool->lock);
	pool->write_failed |= io->write && io->result;
	if (!--pool->under_way)
		pthread_cond_signal(&pool->done);
}

static void *thread_main(void *context)
{
	struct wb_threads *pool = context;

	pthread_mutex_lock(&pool->lock);
	while (!pool->ended) {
		if (pool->next < pool->n)
			carry_out_next(pool);
		else
			pthread_cond_wait(&pool->work, &pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

struct wb_threads *wb_threads_open(void)
{
	struct wb_threads *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->done, NULL);
	return pool;
}

/* As many as the batch can use; without any the caller does it all. */
static void wake(struct wb_threads *pool)
{
	unsigned helpers = pool->n - 1 < THREADS ? pool->n - 1 : THREADS;

	for (unsigned i = 0; i < helpers && i < pool->started; i++)
		pthread_cond_signal(&pool->work);
	while (pool->started < helpers &&
	       !pthread_create(&pool->threads[pool->started], NULL, thread_main, pool))
		pool->started++;
}

void wb_threads_submit(struct wb_threads *pool, int fd, struct wb_io *io, unsigned n)
{
	pthread_mutex_lock(&pool->lock);
	pool->fd = fd;
	pool->io = io;
	pool->n = n;
	pool->next = 0;
	pool->write_failed = false;
	wake(pool);
	while (pool->next < n)
		carry_out_next(pool);
	while (pool->under_way)
		pthread_cond_wait(&pool->done, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}

void wb_threads_close(struct wb_threads *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->ended = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->started; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->work);
	pthread_cond_destroy(&pool->done);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
