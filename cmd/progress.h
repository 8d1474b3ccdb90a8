/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far it is, on stderr; and the wish to stop, from signals. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include "common.h"

/* Fills the callbacks that the library polls; installs the handlers of SIGINT, SIGTERM, SIGHUP (unless they are
 * ignored, as under nohup) and SIGUSR1. */
void progress_start(struct common *common);
/* Takes the bar off the terminal, before anything else is said. */
void progress_clear(void);

#endif
