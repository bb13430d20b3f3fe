/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power, clocks, caches and the UART's pins of STM32H743, H753 and H750 (RM0433 sections 6, 8 and
 * 11), whose core is supplied by the internal LDO: up to 400 MHz at voltage scale 1. The buses have
 * half the core's clock, the peripheral buses half of that. The tightly coupled memories, at
 * 0x00000000 and 0x20000000, need no cache: the stack and the first arena belong there. Beside the
 * facts of stm32.h and stm32_gpio.h:
 *   core_hz  hse_hz, or the 64 MHz of HSI, divided by pll_m, times pll_n, by pll_p
 *   pll_m, pll_n, pll_p  1 to 63, 4 to 512, and 1 or an even number up to 128
 *   uart_clock_bit  the UART's bit in RCC_APB1LENR or RCC_APB2ENR
 */
#include "barrier.h"
#include "board.h"
#include "port.h"
#include "registers.h"
#include "stm32.h"
#include "stm32_gpio.h"

enum {
    RCC_CR = 0x58024400,
    RCC_CFGR = 0x58024410,
    RCC_D1CFGR = 0x58024418,
    RCC_D2CFGR = 0x5802441C,
    RCC_D3CFGR = 0x58024420,
    RCC_PLLCKSELR = 0x58024428,
    RCC_PLLCFGR = 0x5802442C,
    RCC_PLL1DIVR = 0x58024430,
    RCC_AHB4ENR = 0x580244E0,
    RCC_APB1LENR = 0x580244E8,
    RCC_APB2ENR = 0x580244F0,
    PWR_CSR1 = 0x58024804,
    PWR_CR3 = 0x5802480C,
    PWR_D3CR = 0x58024818,
    FLASH_ACR = 0x52002000,
    GPIO_A = 0x58020000,
    APB2 = 0x40010000
};
#define CCR 0xE000ED14u    /* the core's configuration and control */
#define CCSIDR 0xE000ED80u /* the data cache's size */
#define CSSELR 0xE000ED84u
#define ICIALLU 0xE000EF50u
#define DCISW 0xE000EF60u
enum { CCR_DATA_CACHE = 1 << 16, CCR_INSTRUCTION_CACHE = 1 << 17 };

enum { CR_HSI_ON = 1 << 0, CR_HSI_READY = 1 << 2, CR_HSI_DIVIDER = 3 };
enum { SOURCE_HSI = 0, SOURCE_PLL = 3, CFGR_SWITCHED = 7 << 3 };
enum { CR3_SUPPLY = 7, CR3_LDO = 2, CSR1_VOLTAGE_READY = 1 << 13 };
enum { D3CR_VOLTAGE_SCALE = 14, SCALE_1 = 3, D3CR_VOLTAGE_READY = 1 << 13 };
enum { D1_BUS_HALF = 8, D1_PERIPHERALS_HALF = 4 << 4, D2_HALF = 4 << 4 | 4 << 8, D3_HALF = 4 << 4 };
enum { PLL_FROM_HSI = 0, PLL_FROM_HSE = 2, PLL_P_ON = 1 << 16 };
/* Two wait states and the programming delay for a bus of 185 to 210 MHz, at scale 1. */
enum { ACR_AT_200_MHZ = 2 | 2 << 4, ACR_FIELDS = 0x3F };

#define SOURCE_HZ (BOARD_HSE_HZ != 0 ? BOARD_HSE_HZ : 64000000)
#define INPUT_HZ (SOURCE_HZ / BOARD_PLL_M)
#define INPUT_RANGE \
    (INPUT_HZ >= 8000000 ? 3u : INPUT_HZ >= 4000000 ? 2u : INPUT_HZ >= 2000000 ? 1u : 0u)
typedef char check_input[INPUT_HZ >= 2000000 && INPUT_HZ <= 16000000 ? 1 : -1];
typedef char check_vco_least[INPUT_HZ * BOARD_PLL_N >= 192000000 ? 1 : -1];
typedef char check_vco_most[INPUT_HZ * BOARD_PLL_N <= 836000000 ? 1 : -1];
typedef char check_p[BOARD_PLL_P == 1 || BOARD_PLL_P % 2 == 0 ? 1 : -1];
typedef char check_core[INPUT_HZ * BOARD_PLL_N / BOARD_PLL_P == BOARD_CORE_HZ ? 1 : -1];
typedef char check_most[BOARD_CORE_HZ <= 400000000 ? 1 : -1];
typedef char check_uart_clock[BOARD_UART_CLOCK_HZ == BOARD_CORE_HZ / 4 ? 1 : -1];

static void switch_to(uint32_t source)
{
    stm32_set_field(RCC_CFGR, 0, 3, source);
    stm32_wait(RCC_CFGR, CFGR_SWITCHED, source << 3);
}

/* As after a reset, even if a boot loader was there before. */
static void begin_hsi(void)
{
    stm32_set(RCC_CR, CR_HSI_ON);
    stm32_wait(RCC_CR, CR_HSI_READY, CR_HSI_READY);
    switch_to(SOURCE_HSI);
    stm32_clear(RCC_CR, STM32_PLL_ON);
    stm32_wait(RCC_CR, STM32_PLL_READY, 0);
    stm32_set_field(RCC_CR, CR_HSI_DIVIDER, 2, 0);
    stm32_wait(RCC_CR, CR_HSI_READY, CR_HSI_READY);
}

/* The supply is chosen once after power comes; until then the voltage can't be raised. */
static void begin_voltage(void)
{
    reg_write(PWR_CR3, (reg_read(PWR_CR3) & ~(uint32_t)CR3_SUPPLY) | CR3_LDO);
    stm32_wait(PWR_CSR1, CSR1_VOLTAGE_READY, CSR1_VOLTAGE_READY);
    stm32_set_field(PWR_D3CR, D3CR_VOLTAGE_SCALE, 2, SCALE_1);
    stm32_wait(PWR_D3CR, D3CR_VOLTAGE_READY, D3CR_VOLTAGE_READY);
}

static void begin_pll(void)
{
    if (BOARD_HSE_HZ != 0) {
        stm32_begin_hse(RCC_CR);
    }
    reg_write(RCC_PLLCKSELR, (BOARD_HSE_HZ != 0 ? PLL_FROM_HSE : PLL_FROM_HSI) | BOARD_PLL_M << 4);
    reg_write(RCC_PLLCFGR, INPUT_RANGE << 2 | PLL_P_ON); /* the VCO's wide range, no fraction */
    reg_write(RCC_PLL1DIVR, (BOARD_PLL_N - 1) | (BOARD_PLL_P - 1) << 9);
    stm32_set(RCC_CR, STM32_PLL_ON);
    stm32_wait(RCC_CR, STM32_PLL_READY, STM32_PLL_READY);
}

static void begin_clock(void)
{
    begin_hsi();
    begin_voltage();
    begin_pll();
    /* Bus dividers and wait states must be there before the clock rises. */
    reg_write(RCC_D1CFGR, D1_BUS_HALF | D1_PERIPHERALS_HALF);
    reg_write(RCC_D2CFGR, D2_HALF);
    reg_write(RCC_D3CFGR, D3_HALF);
    reg_write(FLASH_ACR, ACR_AT_200_MHZ);
    stm32_wait(FLASH_ACR, ACR_FIELDS, ACR_AT_200_MHZ);
    switch_to(SOURCE_PLL);
}

/* The data cache holds anything after power comes, and is emptied set by set. */
static void begin_caches(void)
{
    reg_write(ICIALLU, 0);
    barrier();
    reg_write(CCR, reg_read(CCR) | CCR_INSTRUCTION_CACHE);
    barrier();
    if ((reg_read(CCR) & CCR_DATA_CACHE) != 0) {
        return; /* a boot loader's, whose lines may be the only copy of what it wrote */
    }
    reg_write(CSSELR, 0);
    barrier();
    const uint32_t size = reg_read(CCSIDR);
    for (uint32_t set = 0; set <= (size >> 13 & 0x7FFF); set++) {
        for (uint32_t way = 0; way <= (size >> 3 & 0x3FF); way++) {
            reg_write(DCISW, way << 30 | set << 5);
        }
    }
    barrier();
    reg_write(CCR, reg_read(CCR) | CCR_DATA_CACHE);
    barrier();
}

void port_chip_begin(void)
{
    begin_clock();
    begin_caches();
    stm32_uart_pins(GPIO_A, RCC_AHB4ENR);
    stm32_set(BOARD_UART_BASE >= APB2 ? RCC_APB2ENR : RCC_APB1LENR, 1u << BOARD_UART_CLOCK_BIT);
    (void)reg_read(RCC_APB2ENR);
}
