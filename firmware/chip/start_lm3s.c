/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks and pins of the LM3S6965 (data sheet, "System Control"): the PLL's 200 MHz, from a crystal
 * of 8 MHz, divided into the core's clock, and UART0 on PA0 and PA1.
 *   core_hz  200 MHz divided by 4 to 16
 */
#include "board.h"
#include "port.h"
#include "registers.h"

enum {
    RIS = 0x400FE050,
    RCC = 0x400FE060,
    RCGC1 = 0x400FE104,
    RCGC2 = 0x400FE108,
    GPIO_A_AFSEL = 0x40004420,
    GPIO_A_DEN = 0x4000451C
};
enum {
    RCC_MAIN_OSCILLATOR_OFF = 1 << 0,
    RCC_SOURCE = 3 << 4,        /* 0: the main oscillator */
    RCC_CRYSTAL = 0xF << 6,
    RCC_CRYSTAL_8_MHZ = 0xE << 6,
    RCC_BYPASS_PLL = 1 << 11,
    RCC_PLL_OFF = 1 << 13,
    RCC_DIVIDE = 1 << 22,
    RCC_DIVIDER = 0xF << 23
};
enum { RIS_PLL_LOCKED = 1 << 6, UART_0 = 1 << 0, PORT_A = 1 << 0, PINS = 1 << 0 | 1 << 1 };
enum { DIVIDER = 200000000 / BOARD_CORE_HZ };
typedef char check_divider[DIVIDER >= 4 && DIVIDER <= 16 ? 1 : -1];
typedef char check_core_hz[DIVIDER * BOARD_CORE_HZ == 200000000 ? 1 : -1];

static void begin_clock(void)
{
    uint32_t rcc = reg_read(RCC);

    /* The data sheet's steps: go past the PLL, choose the crystal and switch the PLL on, set the
     * divider, wait for the PLL, use it. */
    rcc = (rcc | RCC_BYPASS_PLL) & ~(uint32_t)RCC_DIVIDE;
    reg_write(RCC, rcc);
    rcc &= ~(uint32_t)(RCC_CRYSTAL | RCC_SOURCE | RCC_PLL_OFF | RCC_MAIN_OSCILLATOR_OFF);
    rcc |= RCC_CRYSTAL_8_MHZ;
    reg_write(RCC, rcc);
    rcc = (rcc & ~(uint32_t)RCC_DIVIDER) | (DIVIDER - 1u) << 23 | RCC_DIVIDE;
    reg_write(RCC, rcc);
    while ((reg_read(RIS) & RIS_PLL_LOCKED) == 0) {
    }
    reg_write(RCC, rcc & ~(uint32_t)RCC_BYPASS_PLL);
}

void port_chip_begin(void)
{
    begin_clock();
    reg_write(RCGC1, reg_read(RCGC1) | UART_0);
    reg_write(RCGC2, reg_read(RCGC2) | PORT_A);
    /* A module answers three clocks after its gate has opened, as long as a read takes. */
    (void)reg_read(RCGC2);
    reg_write(GPIO_A_AFSEL, reg_read(GPIO_A_AFSEL) | PINS);
    reg_write(GPIO_A_DEN, reg_read(GPIO_A_DEN) | PINS);
}
