/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timer of nRF51 and nRF52 (reference manual 3.0, section 18).
 */
#include "board.h"
#include "timer.h"

enum { START = 0x000, STOP = 0x004, CLEAR = 0x00C, CAPTURE = 0x040, COMPARE = 0x140 };
enum { INTENSET = 0x304, MODE = 0x504, BITMODE = 0x508, PRESCALER = 0x510, CC = 0x540 };
enum { COMPARES = 4 };

static uint64_t started;
static uint32_t cc[COMPARES], inten, mode, bitmode, prescaler = 4;
static bool events[COMPARES], runs;

void model_advance(uint64_t from, uint64_t to)
{
    for (uint32_t i = 0; i < COMPARES && runs; i++) {
        /* How far it is from here to where the compare register is reached. */
        const uint32_t left = cc[i] - (uint32_t)(from - started);
        if (to - from >= left && left > 0) {
            events[i] = true;
        }
    }
}

bool model_interrupts(void)
{
    for (uint32_t i = 0; i < COMPARES; i++) {
        if (events[i] && (inten >> (16 + i) & 1) != 0) {
            return true;
        }
    }
    return false;
}

uint32_t model_read(uintptr_t address)
{
    const uintptr_t offset = address - BOARD_TIMER_BASE;

    (void)access_time();
    if (offset >= CC && offset < CC + COMPARES * 4) {
        return cc[(offset - CC) / 4];
    }
    if (offset >= COMPARE && offset < COMPARE + COMPARES * 4) {
        return events[(offset - COMPARE) / 4];
    }
    violation("read of an unknown register", (uint32_t)address);
    return 0;
}

static void begin(uint64_t now)
{
    if (mode != 0 || bitmode != 3 || prescaler != 0) {
        violation("started with other bits or another clock", bitmode);
    }
    started = now;
    runs = true;
    /* Whether a register that holds the first count is reached at once, no manual says. */
    events[0] = events[0] || drawn(2) == 0;
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    const uintptr_t offset = address - BOARD_TIMER_BASE;
    const uint64_t now = access_time();

    REQUIRE(bytes == 4);
    if (offset >= CAPTURE && offset < CAPTURE + COMPARES * 4) {
        cc[(offset - CAPTURE) / 4] = (uint32_t)(now - started);
    } else if (offset >= COMPARE && offset < COMPARE + COMPARES * 4) {
        events[(offset - COMPARE) / 4] = value != 0;
    } else if (offset >= CC && offset < CC + COMPARES * 4) {
        cc[(offset - CC) / 4] = value;
    } else if (offset == START) {
        begin(now);
    } else if (offset == STOP || offset == CLEAR) {
        runs = runs && offset != STOP;
    } else if (offset == INTENSET) {
        inten |= value;
    } else if (offset == MODE || offset == BITMODE || offset == PRESCALER) {
        if (runs) {
            violation("changed while it runs", value);
        }
        *(offset == MODE ? &mode : offset == BITMODE ? &bitmode : &prescaler) = value;
    } else {
        violation("write of an unknown register", (uint32_t)address);
    }
}
