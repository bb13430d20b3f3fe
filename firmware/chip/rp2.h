/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What RP2040 and RP2350 share: the crystal, the PLL, the clocks' multiplexers and UART 0's pins,
 * with the same registers at other addresses. Facts of the board:
 *   core_hz  crystal_hz times pll_n, divided by pll_p1 and pll_p2
 *   crystal_hz  1 to 15 MHz, a whole number of MHz
 *   pll_n, pll_p1, pll_p2  16 to 320; 1 to 7; 1 to 7 and at most pll_p1
 */
#ifndef NARROWS_RP2_H
#define NARROWS_RP2_H

#include "board.h"
#include "registers.h"

/* Beside each block of registers stand two copies, writing to which sets or clears bits. */
enum { RP2_SET = 0x2000, RP2_CLEAR = 0x3000 };

enum {
    RP2_CLK_REF_CTRL = 0x30,
    RP2_CLK_REF_SELECTED = 0x38,
    RP2_CLK_SYS_CTRL = 0x3C,
    RP2_CLK_SYS_SELECTED = 0x44,
    RP2_CLK_PERI_CTRL = 0x48,
    RP2_REF_SOURCE = 3 << 0,
    RP2_REF_FROM_CRYSTAL = 2 << 0,
    RP2_SYS_FROM_PLL = 1 << 0, /* with 0 for the auxiliary source */
    RP2_PERI_ON = 1 << 11
};
enum { RP2_XOSC_CTRL = 0x00, RP2_XOSC_STATUS = 0x04, RP2_XOSC_STARTUP = 0x0C };
enum { RP2_XOSC_TO_15_MHZ = 0xAA0, RP2_XOSC_ENABLE = 0xFAB << 12 };
#define RP2_XOSC_STABLE 0x80000000u
enum { RP2_PLL_CS = 0x00, RP2_PLL_PWR = 0x04, RP2_PLL_FBDIV = 0x08, RP2_PLL_PRIM = 0x0C };
enum { RP2_PLL_OFF = 1 << 0, RP2_PLL_DIVIDERS_OFF = 1 << 3, RP2_PLL_VCO_OFF = 1 << 5 };
#define RP2_PLL_LOCKED 0x80000000u
enum { RP2_RESET = 0x00, RP2_RESET_DONE = 0x08 };
enum { RP2_MHZ = 1000000, RP2_UART_FUNCTION = 2 };

typedef char rp2_check_core[BOARD_CRYSTAL_HZ / RP2_MHZ * BOARD_PLL_N ==
                            BOARD_CORE_HZ / RP2_MHZ * BOARD_PLL_P1 * BOARD_PLL_P2 ? 1 : -1];
typedef char rp2_check_vco[BOARD_CRYSTAL_HZ / RP2_MHZ * BOARD_PLL_N >= 750 &&
                           BOARD_CRYSTAL_HZ / RP2_MHZ * BOARD_PLL_N <= 1600 ? 1 : -1];
typedef char rp2_check_dividers[BOARD_PLL_P1 >= BOARD_PLL_P2 && BOARD_PLL_P1 <= 7 ? 1 : -1];

struct rp2 {
    uintptr_t clocks, resets, xosc, pll, io, pads;
    uint32_t reset_pll; /* the bit in resets */
};

static inline void rp2_release(const struct rp2 *chip, uint32_t bits)
{
    reg_write(chip->resets + RP2_RESET + RP2_CLEAR, bits);
    while ((reg_read(chip->resets + RP2_RESET_DONE) & bits) != bits) {
    }
}

/* Choose a source of a multiplexer without glitches, and wait until it is taken. */
static inline void rp2_switch(uintptr_t control, uintptr_t selected, uint32_t fields,
                              uint32_t source)
{
    reg_write(control, (reg_read(control) & ~fields) | source);
    while ((reg_read(selected) & 1u << source) == 0) {
    }
}

static inline void rp2_begin_clocks(const struct rp2 *chip)
{
    const uintptr_t ref = chip->clocks + RP2_CLK_REF_CTRL;
    const uintptr_t sys = chip->clocks + RP2_CLK_SYS_CTRL;
    const uintptr_t ref_selected = chip->clocks + RP2_CLK_REF_SELECTED;
    const uintptr_t sys_selected = chip->clocks + RP2_CLK_SYS_SELECTED;

    /* A reset of the core alone leaves the clocks as they were: first go away from the PLL. */
    rp2_switch(sys, sys_selected, RP2_SYS_FROM_PLL, 0);
    rp2_switch(ref, ref_selected, RP2_REF_SOURCE, 0);

    reg_write(chip->xosc + RP2_XOSC_CTRL, RP2_XOSC_TO_15_MHZ);
    /* About 6 ms, which slow crystals want, in units of 256 periods. */
    reg_write(chip->xosc + RP2_XOSC_STARTUP, BOARD_CRYSTAL_HZ / 1000 * 6 / 256);
    reg_write(chip->xosc + RP2_XOSC_CTRL + RP2_SET, RP2_XOSC_ENABLE);
    while ((reg_read(chip->xosc + RP2_XOSC_STATUS) & RP2_XOSC_STABLE) == 0) {
    }
    rp2_switch(ref, ref_selected, RP2_REF_SOURCE, RP2_REF_FROM_CRYSTAL);

    reg_write(chip->resets + RP2_RESET + RP2_SET, chip->reset_pll);
    rp2_release(chip, chip->reset_pll);
    reg_write(chip->pll + RP2_PLL_CS, 1); /* the crystal's clock is not divided */
    reg_write(chip->pll + RP2_PLL_FBDIV, BOARD_PLL_N);
    reg_write(chip->pll + RP2_PLL_PWR + RP2_CLEAR, RP2_PLL_OFF | RP2_PLL_VCO_OFF);
    while ((reg_read(chip->pll + RP2_PLL_CS) & RP2_PLL_LOCKED) == 0) {
    }
    reg_write(chip->pll + RP2_PLL_PRIM, BOARD_PLL_P1 << 16 | BOARD_PLL_P2 << 12);
    reg_write(chip->pll + RP2_PLL_PWR + RP2_CLEAR, RP2_PLL_DIVIDERS_OFF);
    /* The auxiliary source 0 is the PLL, and may be chosen only while it is not in use. */
    reg_write(sys, 0);
    rp2_switch(sys, sys_selected, RP2_SYS_FROM_PLL, RP2_SYS_FROM_PLL);
    reg_write(chip->clocks + RP2_CLK_PERI_CTRL, RP2_PERI_ON); /* from the system's clock */
}

/* GPIO 0 sends, GPIO 1 receives. pad: 4 mA and Schmitt trigger; the input on and pulled up. */
static inline void rp2_begin_pins(const struct rp2 *chip)
{
    enum { PAD = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 6 };

    for (uint32_t pin = 0; pin < 2; pin++) {
        reg_write(chip->io + pin * 8 + 4, RP2_UART_FUNCTION);
        reg_write(chip->pads + 4 + pin * 4, PAD);
    }
}

#endif
