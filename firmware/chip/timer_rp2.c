/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The timer of RP2040 (data sheet, section 4.6) and RP2350 (data sheet, section 12.8): 64 bits of
 * microseconds, once the start driver has the tick running.
 *   timer_base  0x40054000 on RP2040, 0x400B0000 for the first on RP2350
 */
#include "board.h"
#include "port.h"
#include "registers.h"

/* These do not latch each other, as TIMEHR and TIMELR do. */
enum { TIMERAWH = BOARD_TIMER_BASE + 0x24, TIMERAWL = BOARD_TIMER_BASE + 0x28 };

static uint64_t begun;

static uint64_t microseconds(void)
{
    uint32_t high, low;

    do {
        high = reg_read(TIMERAWH);
        low = reg_read(TIMERAWL);
    } while (high != reg_read(TIMERAWH)); /* the low half has run over in between */
    return (uint64_t)high << 32 | low;
}

void port_timer_begin(void)
{
    begun = microseconds();
}

uint32_t port_timer_hz(void)
{
    return 1000000;
}

uint64_t port_ticks(void)
{
    return microseconds() - begun;
}
