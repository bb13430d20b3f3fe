/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RP2040 (data sheet, sections 2.14 to 2.19 and 4.7): the PLL's clock for the core and UART 0, 1
 * MHz for the timer, and UART 0 on GPIO 0 and 1. The facts are those of rp2.h.
 */
#include "port.h"
#include "rp2.h"

enum { WATCHDOG_TICK = 0x4005802C, TICK_ON = 1 << 9 };
enum { IO = 1 << 5, PADS = 1 << 8, PLL = 1 << 12, TIMER = 1 << 21, UART = 1 << 22 };

void port_chip_begin(void)
{
    const struct rp2 chip = {
        .clocks = 0x40008000,
        .resets = 0x4000C000,
        .xosc = 0x40024000,
        .pll = 0x40028000,
        .io = 0x40014000,
        .pads = 0x4001C000,
        .reset_pll = PLL,
    };

    rp2_begin_clocks(&chip);
    reg_write(WATCHDOG_TICK, TICK_ON | BOARD_CRYSTAL_HZ / RP2_MHZ);
    rp2_release(&chip, IO | PADS | TIMER | UART);
    rp2_begin_pins(&chip);
}
