/* SPDX-License-Identifier: Apache-2.0 */
/* What host.c asks of the operating system: POSIX, or Windows. */
#ifndef NARROWS_PLATFORM_H
#define NARROWS_PLATFORM_H

#include <stdint.h>

/* Nanoseconds of a clock that never goes back. */
uint64_t platform_now_ns(void);

/* Calls function(argument) in a thread whose stack was painted before. The function stores the
 * address of a local variable of its own in *frame. Returns how many bytes below that address the
 * calls of the function have used; 0, without a call, if there is no memory for a thread. */
uint32_t platform_on_painted_stack(void (*function)(void *argument), void *argument,
                                   const uint8_t *const *frame);

#endif
