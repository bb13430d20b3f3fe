/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RP2350 (data sheet, sections 5.9.5, 7.5, 8.1, 8.2, 8.5, 8.6 and 9): the PLL's clock for the core
 * and UART 0, 1 MHz for the timer, and UART 0 on GPIO 0 and 1. The facts are those of rp2.h. The
 * section .image_def must lie in the first 4 KiB of flash: by it the boot ROM knows an image for
 * Arm cores in secure state.
 */
#include "port.h"
#include "rp2.h"

enum { TICKS_TIMER_0_CTRL = 0x40108018, TICKS_TIMER_0_CYCLES = 0x4010801C, TICK_ON = 1 };
enum { IO = 1 << 6, PADS = 1 << 9, PLL = 1 << 14, TIMER = 1 << 23, UART = 1 << 26 };

#ifdef __arm__
__attribute__((section(".image_def"), used)) static const uint32_t image_def[] = {
    0xFFFFDED3, /* a block begins */
    0x10210142, /* an item of one word: an executable for RP2350, Arm, secure */
    0x000001FF, /* the last item, behind one word of items */
    0x00000000, /* the next block is this one */
    0xAB123579, /* the block ends */
};
#endif

void port_chip_begin(void)
{
    const struct rp2 chip = {
        .clocks = 0x40010000,
        .resets = 0x40020000,
        .xosc = 0x40048000,
        .pll = 0x40050000,
        .io = 0x40028000,
        .pads = 0x40038000,
        .reset_pll = PLL,
    };

    rp2_begin_clocks(&chip);
    reg_write(TICKS_TIMER_0_CYCLES, BOARD_CRYSTAL_HZ / RP2_MHZ);
    reg_write(TICKS_TIMER_0_CTRL, TICK_ON);
    rp2_release(&chip, IO | PADS | TIMER | UART);
    rp2_begin_pins(&chip); /* which also ends the pads' isolation, bit 8 */
}
