/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine timer of a RISC-V core-local interruptor (RISC-V privileged architecture 1.12,
 * section 3.2.1; FE310-G002 manual, chapter 9): 64 bits that always run.
 *   mtime_base  optional; 0x0200BFF8 where SiFive puts it
 */
#include "board.h"
#include "port.h"
#include "registers.h"

#ifndef BOARD_MTIME_BASE
#define BOARD_MTIME_BASE 0x0200BFF8
#endif

enum { MTIME_LOW = BOARD_MTIME_BASE, MTIME_HIGH = BOARD_MTIME_BASE + 4 };

static uint64_t begun;

static uint64_t mtime(void)
{
    uint32_t high, low;

    do {
        high = reg_read(MTIME_HIGH);
        low = reg_read(MTIME_LOW);
    } while (high != reg_read(MTIME_HIGH)); /* the low half has run over in between */
    return (uint64_t)high << 32 | low;
}

void port_timer_begin(void)
{
    begun = mtime();
}

uint32_t port_timer_hz(void)
{
    return BOARD_TIMER_HZ;
}

uint64_t port_ticks(void)
{
    return mtime() - begun;
}
