/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the test of timers wants of a model, and what it gives to one.
 */
#ifndef TIMER_H
#define TIMER_H

#include "model.h"

/* --- given by each model ----------------------------------------------------------------- */

/* The time goes from this one to that one, in ticks since power came. */
void model_advance(uint64_t from, uint64_t to);
bool model_interrupts(void);

/* --- given by the test ------------------------------------------------------------------- */

/* The time at an access to a register, before which it goes on and an interrupt may come. */
uint64_t access_time(void);

#endif
