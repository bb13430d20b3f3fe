/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SysTick as a counter of 64 bits: 24 in hardware, the others by interrupt.
 */
#include "board.h"
#include "port.h"

#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)
#define ICSR (*(volatile uint32_t *)0xE000ED04)
enum { PERIOD = 1 << 24, ENABLE_WITH_INTERRUPT_FROM_CORE_CLOCK = 7, PENDING = 1 << 26 };

void timer_interrupt(void);

static volatile uint32_t periods;

void timer_interrupt(void)
{
    periods++;
}

void port_timer_begin(void)
{
    SYST_RVR = PERIOD - 1;
    SYST_CVR = 0;
    SYST_CSR = ENABLE_WITH_INTERRUPT_FROM_CORE_CLOCK;
}

uint32_t port_timer_hz(void)
{
    return BOARD_TIMER_HZ;
}

uint64_t port_ticks(void)
{
    uint32_t whole, part, pending;

    do {
        whole = periods;
        part = (PERIOD - SYST_CVR) % PERIOD; /* it counts down, and interrupts on reaching 0 */
        pending = ICSR & PENDING;
    } while (whole != periods);
    /* Begun anew, but the interrupt has not come through yet. */
    whole += pending != 0 && part < PERIOD / 2;
    return (uint64_t)whole * PERIOD + part;
}
