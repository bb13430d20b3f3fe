/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of PROTOCOL.md: answers requests, and runs the model between them.
 */
#ifndef NARROWS_SERVER_H
#define NARROWS_SERVER_H

#include <stdbool.h>

void server_begin(void);

/* Answer what has arrived, then fire one stage if a run is going on. Returns whether there was
 * anything to do. */
bool server_poll(void);

#endif
