/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks and the UART's pins of STM32L4+ (RM0432 sections 5, 6 and 8), which may run at 120 MHz.
 * Beside the facts of stm32.h and stm32_gpio.h:
 *   core_hz  hse_hz, or the 4 MHz of MSI, divided by pll_m, times pll_n, by pll_r
 *   pll_m, pll_n, pll_r  1 to 16, 8 to 127, and 2, 4, 6 or 8
 *   apb1_divider, apb2_divider  of the core's clock: 1, 2, 4, 8 or 16
 *   uart_clock_bit  the UART's bit in RCC_APB1ENR1 or RCC_APB2ENR
 */
#include "board.h"
#include "port.h"
#include "registers.h"
#include "stm32.h"
#include "stm32_gpio.h"

enum {
    RCC_CR = 0x40021000,
    RCC_CFGR = 0x40021008,
    RCC_PLLCFGR = 0x4002100C,
    RCC_AHB2ENR = 0x4002104C,
    RCC_APB1ENR1 = 0x40021058,
    RCC_APB2ENR = 0x40021060,
    FLASH_ACR = 0x40022000,
    PWR_CR1 = 0x40007000,
    PWR_SR2 = 0x40007014,
    PWR_CR5 = 0x40007080,
    GPIO_A = 0x48000000,
    APB2 = 0x40010000
};
enum { CR_MSI_ON = 1 << 0, CR_MSI_READY = 1 << 1, CR_MSI_RANGE_CHOSEN = 1 << 3, CR_MSI_RANGE = 4 };
enum { MSI_4_MHZ = 6, SOURCE_MSI = 0, SOURCE_PLL = 3, CFGR_SWITCHED = 3 << 2 };
enum { CFGR_AHB = 4, AHB_HALF = 8, CFGR_APB1 = 8, CFGR_APB2 = 11 };
enum { PLL_FROM_MSI = 1, PLL_FROM_HSE = 3, PLL_R_ON = 1 << 24 };
enum { PWR_CLOCK = 1 << 28, VOLTAGE_RANGE = 9, VOLTAGE_CHANGING = 1 << 10, NOT_BOOSTED = 1 << 8 };
enum { ACR_PREFETCH_AND_CACHES = 1 << 8 | 1 << 9 | 1 << 10, WAIT_STATE_HZ = 20000000 };
enum { BOOST_HZ = 80000000, MICROSECOND = BOARD_CORE_HZ / 1000000 };

#define SOURCE_HZ (BOARD_HSE_HZ != 0 ? BOARD_HSE_HZ : 4000000)
#define INPUT_HZ (SOURCE_HZ / BOARD_PLL_M)
#define UART_DIVIDER (BOARD_UART_BASE >= APB2 ? BOARD_APB2_DIVIDER : BOARD_APB1_DIVIDER)
typedef char check_input[INPUT_HZ >= 2660000 && INPUT_HZ <= 16000000 ? 1 : -1];
typedef char check_vco[INPUT_HZ * BOARD_PLL_N <= 344000000 ? 1 : -1];
typedef char check_r[BOARD_PLL_R % 2 == 0 && BOARD_PLL_R >= 2 && BOARD_PLL_R <= 8 ? 1 : -1];
typedef char check_core[INPUT_HZ * BOARD_PLL_N / BOARD_PLL_R == BOARD_CORE_HZ ? 1 : -1];
typedef char check_most[BOARD_CORE_HZ <= 120000000 ? 1 : -1];
typedef char check_uart_clock[BOARD_UART_CLOCK_HZ * UART_DIVIDER == BOARD_CORE_HZ ? 1 : -1];

static void switch_to(uint32_t source)
{
    stm32_set_field(RCC_CFGR, 0, 2, source);
    stm32_wait(RCC_CFGR, CFGR_SWITCHED, source << 2);
}

/* As after a reset, even if a boot loader was there before. */
static void begin_msi(void)
{
    stm32_set(RCC_CR, CR_MSI_ON);
    stm32_wait(RCC_CR, CR_MSI_READY, CR_MSI_READY);
    stm32_set_field(RCC_CR, CR_MSI_RANGE, 4, MSI_4_MHZ);
    stm32_set(RCC_CR, CR_MSI_RANGE_CHOSEN);
    switch_to(SOURCE_MSI);
    stm32_clear(RCC_CR, STM32_PLL_ON);
    stm32_wait(RCC_CR, STM32_PLL_READY, 0);
}

static void begin_voltage(void)
{
    stm32_set(RCC_APB1ENR1, PWR_CLOCK);
    (void)reg_read(RCC_APB1ENR1);
    stm32_set_field(PWR_CR1, VOLTAGE_RANGE, 2, 1);
    stm32_wait(PWR_SR2, VOLTAGE_CHANGING, 0);
    if (BOARD_CORE_HZ > BOOST_HZ) {
        stm32_clear(PWR_CR5, NOT_BOOSTED);
    }
}

static void begin_pll(void)
{
    if (BOARD_HSE_HZ != 0) {
        stm32_begin_hse(RCC_CR);
    }
    reg_write(RCC_PLLCFGR, (BOARD_HSE_HZ != 0 ? PLL_FROM_HSE : PLL_FROM_MSI) |
                               (BOARD_PLL_M - 1) << 4 | BOARD_PLL_N << 8 |
                               (BOARD_PLL_R / 2 - 1u) << 25);
    stm32_set(RCC_CR, STM32_PLL_ON);
    stm32_set(RCC_PLLCFGR, PLL_R_ON);
    stm32_wait(RCC_CR, STM32_PLL_READY, STM32_PLL_READY);
}

static void begin_clock(void)
{
    begin_msi();
    begin_voltage();
    begin_pll();
    /* Wait states and bus dividers must be there before the clock rises. */
    reg_write(FLASH_ACR, ACR_PREFETCH_AND_CACHES | (BOARD_CORE_HZ - 1) / WAIT_STATE_HZ);
    (void)reg_read(FLASH_ACR);
    stm32_set_field(RCC_CFGR, CFGR_APB1, 3, STM32_BUS_DIVIDER(BOARD_APB1_DIVIDER));
    stm32_set_field(RCC_CFGR, CFGR_APB2, 3, STM32_BUS_DIVIDER(BOARD_APB2_DIVIDER));
    /* The boosted regulator must not see the whole step at once: half of it for a microsecond. */
    stm32_set_field(RCC_CFGR, CFGR_AHB, 4, BOARD_CORE_HZ > BOOST_HZ ? AHB_HALF : 0);
    switch_to(SOURCE_PLL);
    for (uint32_t left = MICROSECOND; left > 0; left--) {
        (void)reg_read(RCC_CFGR); /* one clock or more */
    }
    stm32_set_field(RCC_CFGR, CFGR_AHB, 4, 0);
}

void port_chip_begin(void)
{
    begin_clock();
    stm32_uart_pins(GPIO_A, RCC_AHB2ENR);
    stm32_set(BOARD_UART_BASE >= APB2 ? RCC_APB2ENR : RCC_APB1ENR1, 1u << BOARD_UART_CLOCK_BIT);
    (void)reg_read(RCC_APB2ENR);
}
