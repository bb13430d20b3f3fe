/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TIMER0 of nRF51 (reference manual 3.0, section 18; only TIMER0 has 32 bits there) and nRF52
 * (nRF52840 product specification 1.1, section 6.30) at 16 MHz, as a counter of 64 bits: two
 * compare registers interrupt whenever the highest of the 32 bits changes.
 *   timer_base, timer_irq  0x40008000 and 8 for TIMER0
 */
#include "board.h"
#include "port.h"
#include "registers.h"

enum {
    TASKS_START = BOARD_TIMER_BASE,
    TASKS_STOP = BOARD_TIMER_BASE + 0x004,
    TASKS_CLEAR = BOARD_TIMER_BASE + 0x00C,
    TASKS_CAPTURE = BOARD_TIMER_BASE + 0x040, /* one for each compare register, as EVENTS_COMPARE */
    EVENTS_COMPARE = BOARD_TIMER_BASE + 0x140,
    INTENSET = BOARD_TIMER_BASE + 0x304,
    MODE = BOARD_TIMER_BASE + 0x504,
    BITMODE = BOARD_TIMER_BASE + 0x508,
    PRESCALER = BOARD_TIMER_BASE + 0x510,
    CC = BOARD_TIMER_BASE + 0x540
};
enum { START = 1, INTERRUPT_COMPARE = 1 << 16, MODE_TIMER = 0, BITMODE_32 = 3, PRESCALER_1 = 0 };
/* Compare registers. */
enum { AT_WRAP, AT_HALF, FOR_TICKS, FOR_INTERRUPT };

void timer_interrupt(void);

/* How often the highest bit has changed, as far as the interrupt knows. */
static volatile uint32_t halves;

static uint32_t counted(uint32_t compare)
{
    reg_write(TASKS_CAPTURE + compare * 4, START);
    return reg_read(CC + compare * 4);
}

void timer_interrupt(void)
{
    reg_write(EVENTS_COMPARE + AT_WRAP * 4, 0);
    reg_write(EVENTS_COMPARE + AT_HALF * 4, 0);
    (void)reg_read(EVENTS_COMPARE); /* a write that had not arrived would interrupt again */
    if (counted(FOR_INTERRUPT) >> 31 != (halves & 1)) {
        halves++;
    }
}

void port_timer_begin(void)
{
    reg_write(TASKS_STOP, START);
    reg_write(MODE, MODE_TIMER);
    reg_write(BITMODE, BITMODE_32);
    reg_write(PRESCALER, PRESCALER_1);
    reg_write(TASKS_CLEAR, START);
    reg_write(CC + AT_WRAP * 4, 0);
    reg_write(CC + AT_HALF * 4, 0x80000000u);
    reg_write(EVENTS_COMPARE + AT_WRAP * 4, 0);
    reg_write(EVENTS_COMPARE + AT_HALF * 4, 0);
    reg_write(INTENSET, INTERRUPT_COMPARE << AT_WRAP | INTERRUPT_COMPARE << AT_HALF);
    halves = 0;
    port_enable_interrupt(BOARD_TIMER_IRQ);
    reg_write(TASKS_START, START);
}

uint32_t port_timer_hz(void)
{
    return BOARD_TIMER_HZ;
}

uint64_t port_ticks(void)
{
    uint32_t whole, part;

    do {
        whole = halves;
        part = counted(FOR_TICKS);
    } while (whole != halves);
    /* The highest bit has changed, but the interrupt has not come through yet. */
    whole += part >> 31 != (whole & 1);
    return (uint64_t)(whole / 2) << 32 | part;
}
