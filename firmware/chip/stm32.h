/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the clocks of all STM32 share. Facts of the board:
 *   hse_hz  optional; the crystal or clock on OSC_IN, without which an internal oscillator is taken
 *   hse_bypass  optional; 1 for a clock
 */
#ifndef NARROWS_STM32_H
#define NARROWS_STM32_H

#include "board.h"
#include "registers.h"

#ifndef BOARD_HSE_HZ
#define BOARD_HSE_HZ 0
#endif
#ifndef BOARD_HSE_BYPASS
#define BOARD_HSE_BYPASS 0
#endif

/* RCC_CR of all of them. */
enum {
    STM32_HSE_ON = 1 << 16,
    STM32_HSE_READY = 1 << 17,
    STM32_HSE_BYPASS = 1 << 18,
    STM32_PLL_ON = 1 << 24,
    STM32_PLL_READY = 1 << 25
};

/* The code of a bus's divider 1, 2, 4, 8 or 16. */
#define STM32_BUS_DIVIDER(n) ((n) == 1 ? 0u : (n) == 2 ? 4u : (n) == 4 ? 5u : (n) == 8 ? 6u : 7u)

static inline void stm32_set(uintptr_t address, uint32_t bits)
{
    reg_write(address, reg_read(address) | bits);
}

static inline void stm32_clear(uintptr_t address, uint32_t bits)
{
    reg_write(address, reg_read(address) & ~bits);
}

static inline void stm32_set_field(uintptr_t address, uint32_t shift, uint32_t bits, uint32_t value)
{
    const uint32_t mask = ((1u << bits) - 1) << shift;

    reg_write(address, (reg_read(address) & ~mask) | value << shift);
}

/* Wait until all these bits are as they should be. */
static inline void stm32_wait(uintptr_t address, uint32_t bits, uint32_t value)
{
    while ((reg_read(address) & bits) != value) {
    }
}

static inline void stm32_begin_hse(uintptr_t rcc_cr)
{
    if (BOARD_HSE_BYPASS) {
        stm32_set(rcc_cr, STM32_HSE_BYPASS); /* only while HSE is off */
    }
    stm32_set(rcc_cr, STM32_HSE_ON);
    stm32_wait(rcc_cr, STM32_HSE_READY, STM32_HSE_READY);
}

#endif
