/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks and the UART's pins of STM32F2 and F4 (RM0033, RM0090 and RM0390, "Power controller" and
 * "Reset and clock control"), for supplies from 2.7 V on. Beside the facts of stm32.h and
 * stm32_gpio.h:
 *   core_hz  16 MHz or hse_hz without the PLL, else their division by pll_m, times pll_n, by pll_p
 *   pll_m, pll_n, pll_p  if core_hz is another
 *   apb1_divider, apb2_divider  of the core's clock: 1, 2, 4, 8 or 16
 *   uart_clock_bit  the UART's bit in RCC_APB1ENR or RCC_APB2ENR
 *   voltage_scale  optional; the field VOS of PWR_CR where its reset value allows too little (F411)
 *   overdrive  optional; 1 above 168 MHz (F42x, F43x, F446 and later)
 */
#include "board.h"
#include "port.h"
#include "registers.h"
#include "stm32.h"
#include "stm32_gpio.h"

#ifndef BOARD_OVERDRIVE
#define BOARD_OVERDRIVE 0
#endif

enum {
    RCC_CR = 0x40023800,
    RCC_PLLCFGR = 0x40023804,
    RCC_CFGR = 0x40023808,
    RCC_AHB1ENR = 0x40023830,
    RCC_APB1ENR = 0x40023840,
    RCC_APB2ENR = 0x40023844,
    FLASH_ACR = 0x40023C00,
    PWR_CR = 0x40007000,
    PWR_CSR = 0x40007004,
    GPIO_A = 0x40020000,
    APB2 = 0x40010000
};
enum {
    CFGR_SWITCH = 3 << 0, /* HSI, HSE, PLL */
    CFGR_SWITCHED = 3 << 2,
    CFGR_APB1 = 10,
    CFGR_APB2 = 13
};
enum { SOURCE_HSI, SOURCE_HSE, SOURCE_PLL };
enum { PLL_FROM_HSE = 1 << 22, PLL_FIELDS = 0x3F | 0x1FF << 6 | 3 << 16 | PLL_FROM_HSE };
enum { PWR_CLOCK = 1 << 28 }; /* RCC_APB1ENR */
/* PWR_CR, and PWR_CSR for the last two. */
enum { VOLTAGE_SCALE = 14, OVERDRIVE = 1 << 16, OVERDRIVE_SWITCHED = 1 << 17 };
enum { ACR_PREFETCH_AND_CACHES = 1 << 8 | 1 << 9 | 1 << 10, WAIT_STATE_HZ = 30000000 };

#define SOURCE_HZ (BOARD_HSE_HZ != 0 ? BOARD_HSE_HZ : 16000000)
#define UART_DIVIDER (BOARD_UART_BASE >= APB2 ? BOARD_APB2_DIVIDER : BOARD_APB1_DIVIDER)
typedef char check_uart_clock[BOARD_UART_CLOCK_HZ * UART_DIVIDER == BOARD_CORE_HZ ? 1 : -1];

#ifdef BOARD_PLL_N
#define INPUT_HZ (SOURCE_HZ / BOARD_PLL_M)
typedef char check_input[INPUT_HZ >= 950000 && INPUT_HZ <= 2100000 ? 1 : -1];
typedef char check_n[BOARD_PLL_N >= 50 && BOARD_PLL_N <= 432 ? 1 : -1];
typedef char check_vco[INPUT_HZ * BOARD_PLL_N <= 432000000 ? 1 : -1];
typedef char check_p[BOARD_PLL_P % 2 == 0 && BOARD_PLL_P >= 2 && BOARD_PLL_P <= 8 ? 1 : -1];
typedef char check_core[INPUT_HZ * BOARD_PLL_N / BOARD_PLL_P == BOARD_CORE_HZ ? 1 : -1];

static void begin_pll(void)
{
    const uint32_t from = BOARD_HSE_HZ != 0 ? PLL_FROM_HSE : 0;

    reg_write(RCC_PLLCFGR, (reg_read(RCC_PLLCFGR) & ~(uint32_t)PLL_FIELDS) | from | BOARD_PLL_M |
                               BOARD_PLL_N << 6 | (BOARD_PLL_P / 2 - 1) << 16);
    stm32_set(RCC_CR, STM32_PLL_ON);
#if BOARD_OVERDRIVE
    stm32_set(PWR_CR, OVERDRIVE);
    stm32_wait(PWR_CSR, OVERDRIVE, OVERDRIVE);
    stm32_set(PWR_CR, OVERDRIVE_SWITCHED);
    stm32_wait(PWR_CSR, OVERDRIVE_SWITCHED, OVERDRIVE_SWITCHED);
#endif
    stm32_wait(RCC_CR, STM32_PLL_READY, STM32_PLL_READY);
}
#else
typedef char check_core[SOURCE_HZ == BOARD_CORE_HZ ? 1 : -1];
#endif

static void switch_to(uint32_t source)
{
    stm32_set_field(RCC_CFGR, 0, 2, source);
    stm32_wait(RCC_CFGR, CFGR_SWITCHED, source << 2);
}

static void begin_clock(void)
{
    /* From here on as after a reset, even if a boot loader was there before. */
    switch_to(SOURCE_HSI);
    stm32_clear(RCC_CR, STM32_PLL_ON);
    stm32_wait(RCC_CR, STM32_PLL_READY, 0);
    stm32_set(RCC_APB1ENR, PWR_CLOCK);
    (void)reg_read(RCC_APB1ENR);
#ifdef BOARD_VOLTAGE_SCALE
    stm32_set_field(PWR_CR, VOLTAGE_SCALE, 2, BOARD_VOLTAGE_SCALE);
#endif
    if (BOARD_HSE_HZ != 0) {
        stm32_begin_hse(RCC_CR);
    }
#ifdef BOARD_PLL_N
    begin_pll();
#endif
    /* Wait states and bus dividers must be there before the clock rises. */
    reg_write(FLASH_ACR, ACR_PREFETCH_AND_CACHES | (BOARD_CORE_HZ - 1) / WAIT_STATE_HZ);
    (void)reg_read(FLASH_ACR);
    stm32_set_field(RCC_CFGR, CFGR_APB1, 3, STM32_BUS_DIVIDER(BOARD_APB1_DIVIDER));
    stm32_set_field(RCC_CFGR, CFGR_APB2, 3, STM32_BUS_DIVIDER(BOARD_APB2_DIVIDER));
#ifdef BOARD_PLL_N
    switch_to(SOURCE_PLL);
#else
    switch_to(BOARD_HSE_HZ != 0 ? SOURCE_HSE : SOURCE_HSI);
#endif
}

void port_chip_begin(void)
{
    begin_clock();
    stm32_uart_pins(GPIO_A, RCC_AHB1ENR);
    stm32_set(BOARD_UART_BASE >= APB2 ? RCC_APB2ENR : RCC_APB1ENR, 1u << BOARD_UART_CLOCK_BIT);
    (void)reg_read(RCC_APB2ENR);
}
