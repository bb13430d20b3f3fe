/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MLPerf Tiny's protocol (PROTOCOL.md): text commands on the line that carries the frames too. Firmware calls
 * these if it is built with BOARD_MLPERF=1; else the linker leaves them out.
 */
#ifndef NARROWS_MLPERF_H
#define NARROWS_MLPERF_H

#include <stdbool.h>
#include <stdint.h>

#include "board.h"

#ifndef BOARD_MLPERF
#define BOARD_MLPERF 0
#endif

/* The device has been reset. */
void mlperf_begin(void);

/* Take a byte from the line, and answer the command that it ends. Returns whether it belongs to one; what
 * does not is for the frames' decoder. A command stands where a frame would, in server.frame. */
bool mlperf_take(uint8_t byte);

/* Go on with an inference that a command has begun, after a step. Returns whether to be called again though
 * nothing has arrived. */
bool mlperf_poll(void);

/* Whether whoever is at the other end has sent text last, and so expects no event. */
bool mlperf_is_spoken(void);

#endif
