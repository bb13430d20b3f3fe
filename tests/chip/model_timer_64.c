/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers whose 64 bits are two registers that do not latch each other: RP2040's and RP2350's, and
 * the machine timer of a RISC-V core.
 */
#include "board.h"
#include "timer.h"

#ifdef BOARD_TIMER_BASE
enum { HIGH = BOARD_TIMER_BASE + 0x24, LOW = BOARD_TIMER_BASE + 0x28 };
#else
enum { HIGH = 0x0200BFFC, LOW = 0x0200BFF8 };
#endif

void model_advance(uint64_t from, uint64_t to)
{
    (void)from;
    (void)to;
}

bool model_interrupts(void)
{
    return false;
}

uint32_t model_read(uintptr_t address)
{
    const uint64_t now = access_time();

    if (address != HIGH && address != LOW) {
        violation("read of an unknown register", (uint32_t)address);
    }
    return (uint32_t)(address == HIGH ? now >> 32 : now);
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    (void)value;
    (void)bytes;
    violation("write of an unknown register", (uint32_t)address);
}
