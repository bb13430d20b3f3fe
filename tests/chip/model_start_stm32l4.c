/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks, power and wait states of STM32L4+ (RM0432 sections 3, 5 and 6).
 */
#include "board.h"
#include "clock.h"

enum { RCC = 0x40021000, CR = 0x00, CFGR = 0x08, PLLCFGR = 0x0C, AHB2ENR = 0x4C };
enum { APB1ENR1 = 0x58, APB2ENR = 0x60, ACR = 0x40022000, GPIO = 0x48000000 };
enum { PWR_CR1 = 0x40007000, PWR_SR2 = 0x40007014, PWR_CR5 = 0x40007080 };
enum { MSI_ON = 1, MSI_READY = 2, RANGE_CHOSEN = 8, HSE_ON = 1 << 16, HSE_READY = 1 << 17 };
enum { PLL_ON = 1 << 24, PLL_READY = 1 << 25, PLL_R_ON = 1 << 24, NOT_BOOSTED = 1 << 8 };
enum { MICROSECOND_ACCESSES = 100 };

#ifndef BOARD_HSE_HZ
#define BOARD_HSE_HZ 0
#endif

static uint32_t cr = MSI_ON | 6 << 4, pllcfgr = 0x1000, cfgr, ahb2, apb1, apb2, acr = 0x600;
static uint32_t cr1 = 2 << 9, cr5 = NOT_BOOSTED, source, source_left, since_switch;
static struct delayed msi = {true, true, 0}, hse, pll, voltage = {true, true, 0};

static uint32_t msi_hz(void)
{
    static const uint32_t khz[] = {100,  200,  400,   800,   1000,  2000,
                                   4000, 8000, 16000, 24000, 32000, 48000};

    return khz[(cr & RANGE_CHOSEN) != 0 ? cr >> 4 & 15 : 6] * 1000;
}

static uint32_t source_hz(void)
{
    const uint32_t from = (pllcfgr & 3) == 3 ? BOARD_HSE_HZ : (pllcfgr & 3) == 1 ? msi_hz() : 0;
    const uint32_t m = (pllcfgr >> 4 & 15) + 1, n = pllcfgr >> 8 & 127;
    const uint32_t r = ((pllcfgr >> 25 & 3) + 1) * 2;

    return source == 0 ? msi_hz() : source == 2 ? BOARD_HSE_HZ : source == 3 ? from / m * n / r : 0;
}

uint32_t model_core_hz(void)
{
    const uint32_t code = cfgr >> 4 & 15;

    return code < 8 ? source_hz() : source_hz() >> (code - 7);
}

uint32_t model_uart_hz(void)
{
    const uint32_t code = cfgr >> (BOARD_UART_BASE >= 0x40010000 ? 11 : 8) & 7;

    return code < 4 ? model_core_hz() : model_core_hz() >> (code - 3);
}

static void check(void)
{
    const uint32_t hz = model_core_hz();

    if ((hz - 1) / 20000000 > (acr & 15)) {
        violation("too few wait states for this clock", hz);
    }
    if ((hz > 26000000 && ((cr1 >> 9 & 3) != 1 || !voltage.now)) ||
        (hz > 80000000 && (cr5 & NOT_BOOSTED) != 0)) {
        violation("too little voltage for this clock", hz);
    }
}

void model_begin(bool after_boot_loader)
{
    gpio_begin();
    if (after_boot_loader) {
        cr |= PLL_ON;
        pll.wanted = pll.now = true;
        pllcfgr = 1 | 40 << 8 | PLL_R_ON; /* MSI * 40 / 2 */
        source = cfgr = 3;
        cr1 = 1 << 9;
        acr |= 4;
    }
}

bool model_uart_is_ready(void)
{
    const uint32_t enabled = BOARD_UART_BASE >= 0x40010000 ? apb2 : apb1;

    return gpio_is_ready() && (enabled >> BOARD_UART_CLOCK_BIT & 1) != 0 && (acr >> 8 & 7) == 7;
}

uint32_t model_read(uintptr_t address)
{
    since_switch++;
    if (address >= GPIO && address < GPIO + 0x2000) {
        return gpio_read(address - GPIO, ahb2);
    }
    switch (address) {
    case RCC + CR:
        return cr | (delayed_read(&msi) ? MSI_READY : 0) | (delayed_read(&hse) ? HSE_READY : 0) |
               (delayed_read(&pll) ? PLL_READY : 0);
    case RCC + CFGR:
        if (source != (cfgr & 3) && source_left-- == 0) {
            source = cfgr & 3;
            since_switch = 0;
            check();
            if (model_core_hz() > 80000000) {
                violation("above 80 MHz at one step", model_core_hz());
            }
        }
        return (cfgr & ~12u) | source << 2;
    case RCC + PLLCFGR:
        return pllcfgr;
    case RCC + AHB2ENR:
        return ahb2;
    case RCC + APB1ENR1:
        return apb1;
    case RCC + APB2ENR:
        return apb2;
    case ACR:
        return acr;
    case PWR_CR1:
        return cr1;
    case PWR_SR2:
        return delayed_read(&voltage) ? 0 : 1 << 10;
    case PWR_CR5:
        return cr5;
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

static void write_cr(uint32_t value)
{
    if ((value & PLL_ON) == 0 && (source == 3 || (cfgr & 3) == 3)) {
        violation("the PLL switched off while it is used", value);
    }
    if ((value & PLL_ON) != 0 && (pllcfgr & 3) == 3 && !hse.now) {
        violation("the PLL's source is not ready", value);
    }
    if (((value ^ cr) & 0xF0) != 0 && !msi.now) {
        violation("MSI's range changed while it is not ready", value);
    }
    if (((value ^ cr) & 0xF0) != 0 && (cr & PLL_ON) != 0 && (pllcfgr & 3) == 1) {
        violation("MSI's range changed under the PLL", value);
    }
    delayed_set(&msi, (value & MSI_ON) != 0);
    delayed_set(&hse, (value & HSE_ON) != 0);
    delayed_set(&pll, (value & PLL_ON) != 0);
    cr = value & ~(uint32_t)(MSI_READY | HSE_READY | PLL_READY);
    check();
}

static void write_cfgr(uint32_t value)
{
    const uint32_t wanted = value & 3, before = model_core_hz();

    if ((wanted == 2 && !hse.now) || (wanted == 3 && (!pll.now || (pllcfgr & PLL_R_ON) == 0)) ||
        wanted == 1) {
        violation("switched to a source that is not ready", value);
    }
    if (wanted != (cfgr & 3)) {
        source_left = drawn(5);
    }
    cfgr = value & ~12u;
    check();
    if (model_core_hz() > 80000000 && model_core_hz() != before &&
        (before * 2 != model_core_hz() || since_switch < MICROSECOND_ACCESSES)) {
        violation("above 80 MHz without a microsecond at half of it", value);
    }
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    REQUIRE(bytes == 4);
    if (address >= GPIO && address < GPIO + 0x2000) {
        gpio_write(address - GPIO, value, ahb2);
        return;
    }
    switch (address) {
    case RCC + CR:
        write_cr(value);
        break;
    case RCC + CFGR:
        write_cfgr(value);
        break;
    case RCC + PLLCFGR:
        if (((cr & PLL_ON) != 0 || pll.now) && ((value ^ pllcfgr) & ~(uint32_t)PLL_R_ON) != 0) {
            violation("the PLL configured while it is on", value);
        }
        pllcfgr = value;
        break;
    case RCC + AHB2ENR:
        ahb2 = value;
        break;
    case RCC + APB1ENR1:
        apb1 = value;
        break;
    case RCC + APB2ENR:
        apb2 = value;
        break;
    case ACR:
        acr = value;
        check();
        break;
    case PWR_CR1:
    case PWR_CR5:
        if ((apb1 & 1 << 28) == 0) {
            violation("the power controller has no clock", value);
        }
        if (address == PWR_CR1 && (value ^ cr1) != 0) {
            voltage.now = false;
            voltage.left = drawn(10);
        }
        *(address == PWR_CR1 ? &cr1 : &cr5) = value;
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
