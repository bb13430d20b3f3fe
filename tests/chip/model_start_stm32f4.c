/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks, power and wait states of STM32F4 and F2 (RM0090 sections 3, 5 and 7, RM0390).
 */
#include "board.h"
#include "clock.h"

enum { RCC = 0x40023800, CR = 0x00, PLLCFGR = 0x04, CFGR = 0x08, AHB1ENR = 0x30 };
enum { APB1ENR = 0x40, APB2ENR = 0x44, ACR = 0x40023C00 };
enum { PWR_CR = 0x40007000, PWR_CSR = 0x40007004, GPIO = 0x40020000, HSI_HZ = 16000000 };
enum { HSI_ON = 1, HSI_READY = 2, HSE_ON = 1 << 16, HSE_READY = 1 << 17, HSE_BYPASS = 1 << 18 };
enum { PLL_ON = 1 << 24, PLL_READY = 1 << 25, ODEN = 1 << 16, ODSWEN = 1 << 17 };

#ifndef BOARD_HSE_HZ
#define BOARD_HSE_HZ 0
#define BOARD_HSE_BYPASS 0
#endif

static uint32_t cr = HSI_ON | 16 << 3, pllcfgr = 0x24003010, cfgr, ahb1, apb1, apb2, acr;
static uint32_t pwr_cr = 0xC000;
static struct delayed hse, pll, overdrive, overdrive_switched;
static uint32_t source, source_left; /* SWS */

static uint32_t pll_hz(void)
{
    const uint32_t from = (pllcfgr & 1 << 22) != 0 ? BOARD_HSE_HZ : HSI_HZ;
    const uint32_t m = pllcfgr & 63, n = pllcfgr >> 6 & 511, p = ((pllcfgr >> 16 & 3) + 1) * 2;

    return from / m * n / p;
}

static uint32_t hz_of(uint32_t which)
{
    return which == 0 ? HSI_HZ : which == 1 ? BOARD_HSE_HZ : pll_hz();
}

static uint32_t divided(uint32_t hz, uint32_t code)
{
    return code < 4 ? hz : hz >> (code - 3);
}

uint32_t model_core_hz(void)
{
    return hz_of(source);
}

uint32_t model_uart_hz(void)
{
    return divided(model_core_hz(), cfgr >> (BOARD_UART_BASE >= 0x40010000 ? 13 : 10) & 7);
}

/* What every change of clock, wait states, dividers and power must keep. */
static void check(void)
{
    const uint32_t hz = model_core_hz();

    if ((hz - 1) / 30000000 > (acr & 15)) {
        violation("too few wait states for this clock", hz);
    }
    if (divided(hz, cfgr >> 10 & 7) > 45000000 || divided(hz, cfgr >> 13 & 7) > 90000000) {
        violation("a peripheral bus is too fast", hz);
    }
    if (hz > 168000000 && ((pwr_cr >> 14 & 3) != 3 || !overdrive_switched.now)) {
        violation("too little voltage for this clock", hz);
    }
}

void model_begin(bool after_boot_loader)
{
    gpio_begin();
    if (after_boot_loader) {
        cr |= PLL_ON;
        pll.wanted = pll.now = true;
        pllcfgr = 16 | 336 << 6 | 1 << 16 | 4 << 24;
        source = cfgr = 2;
        cfgr |= 4 << 10;
        acr = 5;
    }
}

bool model_uart_is_ready(void)
{
    const uint32_t enabled = BOARD_UART_BASE >= 0x40010000 ? apb2 : apb1;

    return gpio_is_ready() && (enabled >> BOARD_UART_CLOCK_BIT & 1) != 0 && (acr >> 8 & 7) == 7 &&
           (BOARD_HSE_BYPASS == 0 || (cr & HSE_BYPASS) != 0);
}

uint32_t model_read(uintptr_t address)
{
    if (address >= GPIO && address < RCC - 0x400) {
        return gpio_read(address - GPIO, ahb1);
    }
    switch (address) {
    case RCC + CR:
        return cr | HSI_READY | (delayed_read(&hse) ? HSE_READY : 0) |
               (delayed_read(&pll) ? PLL_READY : 0);
    case RCC + PLLCFGR:
        return pllcfgr;
    case RCC + CFGR:
        if (source != (cfgr & 3) && source_left-- == 0) {
            source = cfgr & 3;
            check();
        }
        return (cfgr & ~12u) | source << 2;
    case RCC + AHB1ENR:
        return ahb1;
    case RCC + APB1ENR:
        return apb1;
    case RCC + APB2ENR:
        return apb2;
    case ACR:
        return acr;
    case PWR_CR:
        return pwr_cr;
    case PWR_CSR:
        return (delayed_read(&overdrive) ? ODEN : 0) |
               (delayed_read(&overdrive_switched) ? ODSWEN : 0);
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

static void write_cr(uint32_t value)
{
    if (((cr ^ value) & HSE_BYPASS) != 0 && (cr & HSE_ON) != 0) {
        violation("bypass changed while HSE is on", value);
    }
    if ((value & PLL_ON) == 0 && (source == 2 || (cfgr & 3) == 2)) {
        violation("the PLL switched off while it is used", value);
    }
    if ((value & PLL_ON) != 0 && (pllcfgr & 1 << 22) != 0 && !hse.now) {
        violation("the PLL's source is not ready", value);
    }
    if ((value & HSI_ON) == 0 && (source == 0 || (pllcfgr & 1 << 22) == 0)) {
        violation("HSI switched off while it is used", value);
    }
    delayed_set(&hse, (value & HSE_ON) != 0);
    delayed_set(&pll, (value & PLL_ON) != 0);
    cr = value & ~(uint32_t)(HSI_READY | HSE_READY | PLL_READY);
}

static void write_cfgr(uint32_t value)
{
    const uint32_t wanted = value & 3;

    if ((wanted == 1 && !hse.now) || (wanted == 2 && !pll.now) || wanted == 3) {
        violation("switched to a source that is not ready", value);
    }
    if (wanted != (cfgr & 3)) {
        source_left = drawn(5);
    }
    cfgr = value & ~12u;
    check();
}

static void write_power(uint32_t value)
{
    if ((apb1 & 1 << 28) == 0) {
        violation("the power controller has no clock", value);
    }
    if (((value ^ pwr_cr) >> 14 & 3) != 0 && (cr & PLL_ON) != 0) {
        violation("voltage scale changed while the PLL is on", value);
    }
    if (((value & ODEN) != 0 && (cr & PLL_ON) == 0) || ((value & ODSWEN) != 0 && !overdrive.now)) {
        violation("overdrive without the PLL, or switched before it is ready", value);
    }
    delayed_set(&overdrive, (value & ODEN) != 0);
    delayed_set(&overdrive_switched, (value & ODSWEN) != 0);
    pwr_cr = value;
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    REQUIRE(bytes == 4);
    if (address >= GPIO && address < RCC - 0x400) {
        gpio_write(address - GPIO, value, ahb1);
        return;
    }
    switch (address) {
    case RCC + CR:
        write_cr(value);
        break;
    case RCC + PLLCFGR:
        if ((cr & PLL_ON) != 0 || pll.now) {
            violation("the PLL configured while it is on", value);
        }
        if ((value >> 24 & 15) < 2) {
            violation("PLLQ is below 2", value);
        }
        pllcfgr = value;
        break;
    case RCC + CFGR:
        write_cfgr(value);
        break;
    case RCC + AHB1ENR:
        ahb1 = value;
        break;
    case RCC + APB1ENR:
        apb1 = value;
        break;
    case RCC + APB2ENR:
        apb2 = value;
        break;
    case ACR:
        acr = value;
        check();
        break;
    case PWR_CR:
        write_power(value);
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
