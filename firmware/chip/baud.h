/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How near a rate must be to the one that was asked for. An 8N1 receiver samples the last bit of a
 * frame 9.5 bit times after the edge that started it, so two ends may differ by about 5% together;
 * 2% leaves the other end its share.
 */
#ifndef NARROWS_BAUD_H
#define NARROWS_BAUD_H

#include <stdbool.h>
#include <stdint.h>

static inline bool baud_is_near(uint32_t wanted, uint32_t real)
{
    const uint32_t difference = real > wanted ? real - wanted : wanted - real;

    return difference <= wanted / 50;
}

/* clock_hz / baud to the nearest whole number; 0 if there is none. */
static inline uint32_t baud_divider(uint32_t clock_hz, uint32_t baud)
{
    return baud == 0 || baud > clock_hz ? 0 : (clock_hz + baud / 2) / baud;
}

#endif
