/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks and the UART's pins of STM32F1 (RM0008 sections 7 and 9, RM0041 for F100). Beside the
 * facts of stm32.h:
 *   core_hz  8 MHz or hse_hz without the PLL; else hse_hz, or 4 MHz, times pll_n
 *   pll_n  2 to 16, if core_hz is another
 *   apb1_divider, apb2_divider  of the core's clock: 1, 2, 4, 8 or 16
 *   uart_clock_bit  the UART's bit in RCC_APB1ENR or RCC_APB2ENR
 *   uart_port, uart_tx_pin, uart_rx_pin  where it is without remapping; ports count from 0 for A
 */
#include "board.h"
#include "port.h"
#include "registers.h"
#include "stm32.h"

enum {
    RCC_CR = 0x40021000,
    RCC_CFGR = 0x40021004,
    RCC_APB2ENR = 0x40021018,
    RCC_APB1ENR = 0x4002101C,
    FLASH_ACR = 0x40022000,
    GPIO = 0x40010800 + BOARD_UART_PORT * 0x400,
    GPIO_CRL = GPIO,
    GPIO_BSRR = GPIO + 0x10,
    APB2 = 0x40010000
};
enum { CFGR_SWITCHED = 3 << 2, CFGR_PLL_FROM_HSE = 1 << 16, CFGR_APB1 = 8, CFGR_APB2 = 11 };
enum { CFGR_PLL_FIELDS = 0x3F << 16, CFGR_PLL_N = 18 };
enum { SOURCE_HSI, SOURCE_HSE, SOURCE_PLL };
enum { ACR_PREFETCH = 1 << 4, WAIT_STATE_HZ = 24000000 };
enum { PIN_OUTPUT_FUNCTION_2_MHZ = 0xA, PIN_INPUT_PULLED = 0x8, PORTS = 2 /* RCC_APB2ENR */ };

#define UART_DIVIDER (BOARD_UART_BASE >= APB2 ? BOARD_APB2_DIVIDER : BOARD_APB1_DIVIDER)
typedef char check_uart_clock[BOARD_UART_CLOCK_HZ * UART_DIVIDER == BOARD_CORE_HZ ? 1 : -1];
#ifdef BOARD_PLL_N
#define INPUT_HZ (BOARD_HSE_HZ != 0 ? BOARD_HSE_HZ : 4000000)
typedef char check_core[INPUT_HZ * BOARD_PLL_N == BOARD_CORE_HZ ? 1 : -1];
typedef char check_n[BOARD_PLL_N >= 2 && BOARD_PLL_N <= 16 ? 1 : -1];
#else
typedef char check_core[(BOARD_HSE_HZ != 0 ? BOARD_HSE_HZ : 8000000) == BOARD_CORE_HZ ? 1 : -1];
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
    if (BOARD_HSE_HZ != 0) {
        stm32_begin_hse(RCC_CR);
    }
    /* Wait states and bus dividers must be there before the clock rises. */
    reg_write(FLASH_ACR, ACR_PREFETCH | (BOARD_CORE_HZ - 1) / WAIT_STATE_HZ);
    stm32_set_field(RCC_CFGR, CFGR_APB1, 3, STM32_BUS_DIVIDER(BOARD_APB1_DIVIDER));
    stm32_set_field(RCC_CFGR, CFGR_APB2, 3, STM32_BUS_DIVIDER(BOARD_APB2_DIVIDER));
#ifdef BOARD_PLL_N
    reg_write(RCC_CFGR, (reg_read(RCC_CFGR) & ~(uint32_t)CFGR_PLL_FIELDS) |
                            (BOARD_HSE_HZ != 0 ? CFGR_PLL_FROM_HSE : 0) |
                            (BOARD_PLL_N - 2) << CFGR_PLL_N);
    stm32_set(RCC_CR, STM32_PLL_ON);
    stm32_wait(RCC_CR, STM32_PLL_READY, STM32_PLL_READY);
    switch_to(SOURCE_PLL);
#else
    switch_to(BOARD_HSE_HZ != 0 ? SOURCE_HSE : SOURCE_HSI);
#endif
}

static void begin_pin(uint32_t pin, uint32_t mode)
{
    /* An input is pulled up by it; an output is high until the UART drives it. */
    reg_write(GPIO_BSRR, 1u << pin);
    stm32_set_field(GPIO_CRL + pin / 8 * 4, pin % 8 * 4, 4, mode);
}

void port_chip_begin(void)
{
    begin_clock();
    stm32_set(RCC_APB2ENR, 1u << (PORTS + BOARD_UART_PORT));
    stm32_set(BOARD_UART_BASE >= APB2 ? RCC_APB2ENR : RCC_APB1ENR, 1u << BOARD_UART_CLOCK_BIT);
    (void)reg_read(RCC_APB2ENR);
    begin_pin(BOARD_UART_TX_PIN, PIN_OUTPUT_FUNCTION_2_MHZ);
    begin_pin(BOARD_UART_RX_PIN, PIN_INPUT_PULLED);
}
