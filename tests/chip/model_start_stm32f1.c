/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks, wait states and pins of STM32F1 (RM0008 sections 3, 7 and 9).
 */
#include "board.h"
#include "clock.h"

enum { RCC = 0x40021000, CR = 0x00, CFGR = 0x04, APB2ENR = 0x18, APB1ENR = 0x1C, ACR = 0x40022000 };
enum { GPIO = 0x40010800, CRL = 0x00, CRH = 0x04, BSRR = 0x10, HSI_HZ = 8000000 };
enum { HSI_READY = 2, HSE_ON = 1 << 16, HSE_READY = 1 << 17 };
enum { PLL_ON = 1 << 24, PLL_READY = 1 << 25, PLL_FIELDS = 0x3F << 16 };

#ifndef BOARD_HSE_HZ
#define BOARD_HSE_HZ 0
#endif

static uint32_t cr = 1 | 16 << 3, cfgr, apb1, apb2, acr = 0x30, odr, before[2], pins[2];
static struct delayed hse, pll;
static uint32_t source, source_left;

static uint32_t hz_of(uint32_t which)
{
    const uint32_t n = (cfgr >> 18 & 15) + 2;
    const uint32_t hse_hz = (uint32_t)BOARD_HSE_HZ >> (cfgr >> 17 & 1);
    const uint32_t from = (cfgr & 1 << 16) == 0 ? HSI_HZ / 2 : hse_hz;

    return which == 0 ? HSI_HZ : which == 1 ? BOARD_HSE_HZ : from * (n < 16 ? n : 16);
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
    return divided(model_core_hz(), cfgr >> (BOARD_UART_BASE >= 0x40010000 ? 11 : 8) & 7);
}

static void check(void)
{
    const uint32_t hz = model_core_hz();

    if ((hz - 1) / 24000000 > (acr & 7)) {
        violation("too few wait states for this clock", hz);
    }
    if (divided(hz, cfgr >> 8 & 7) > 36000000) {
        violation("a peripheral bus is too fast", hz);
    }
}

void model_begin(bool after_boot_loader)
{
    for (uint32_t i = 0; i < 2; i++) {
        pins[i] = before[i] = drawn(1u << 16) << 16 | drawn(1u << 16);
    }
    if (after_boot_loader) {
        cr |= PLL_ON;
        pll.wanted = pll.now = true;
        cfgr = 2 | 4 << 18; /* HSI / 2 * 6 */
        source = 2;
    }
}

static bool take_pin(uint32_t pin, uint32_t mode)
{
    const uint32_t shift = pin % 8 * 4, mask = 15u << shift;
    const uint32_t found = (pins[pin / 8] & mask) >> shift;

    pins[pin / 8] = (pins[pin / 8] & ~mask) | (before[pin / 8] & mask);
    return found == mode && (odr >> pin & 1) != 0;
}

bool model_uart_is_ready(void)
{
    const uint32_t enabled = BOARD_UART_BASE >= 0x40010000 ? apb2 : apb1;
    const bool sends = take_pin(BOARD_UART_TX_PIN, 0xA), receives = take_pin(BOARD_UART_RX_PIN, 8);

    return sends && receives && pins[0] == before[0] && pins[1] == before[1] &&
           (enabled >> BOARD_UART_CLOCK_BIT & 1) != 0;
}

uint32_t model_read(uintptr_t address)
{
    switch (address) {
    case RCC + CR:
        return cr | HSI_READY | (delayed_read(&hse) ? HSE_READY : 0) |
               (delayed_read(&pll) ? PLL_READY : 0);
    case RCC + CFGR:
        if (source != (cfgr & 3) && source_left-- == 0) {
            source = cfgr & 3;
            check();
        }
        return (cfgr & ~12u) | source << 2;
    case RCC + APB1ENR:
        return apb1;
    case RCC + APB2ENR:
        return apb2;
    case GPIO + BOARD_UART_PORT * 0x400 + CRL:
        return pins[0];
    case GPIO + BOARD_UART_PORT * 0x400 + CRH:
        return pins[1];
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

static void write_cr(uint32_t value)
{
    if ((value & PLL_ON) == 0 && (source == 2 || (cfgr & 3) == 2)) {
        violation("the PLL switched off while it is used", value);
    }
    if ((value & PLL_ON) != 0 && (cfgr & 1 << 16) != 0 && !hse.now) {
        violation("the PLL's source is not ready", value);
    }
    delayed_set(&hse, (value & HSE_ON) != 0);
    delayed_set(&pll, (value & PLL_ON) != 0);
    cr = value & ~(uint32_t)(HSI_READY | HSE_READY | PLL_READY);
}

static void write_cfgr(uint32_t value)
{
    const uint32_t wanted = value & 3;

    if (((value ^ cfgr) & PLL_FIELDS) != 0 && ((cr & PLL_ON) != 0 || pll.now)) {
        violation("the PLL configured while it is on", value);
    }
    if ((wanted == 1 && !hse.now) || (wanted == 2 && !pll.now) || wanted == 3) {
        violation("switched to a source that is not ready", value);
    }
    if (wanted != (cfgr & 3)) {
        source_left = drawn(5);
    }
    cfgr = value & ~12u;
    check();
}

static void write_gpio(uintptr_t offset, uint32_t value)
{
    if (offset / 0x400 != BOARD_UART_PORT || (apb2 >> (2 + BOARD_UART_PORT) & 1) == 0) {
        violation("another port, or one without a clock", (uint32_t)offset);
    }
    if (offset % 0x400 == BSRR) {
        odr |= value & 0xFFFF;
    } else if (offset % 0x400 <= CRH) {
        pins[offset % 0x400 / 4] = value;
    } else {
        violation("write of an unknown register of the pins", (uint32_t)offset);
    }
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    REQUIRE(bytes == 4);
    switch (address) {
    case RCC + CR:
        write_cr(value);
        break;
    case RCC + CFGR:
        write_cfgr(value);
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
    default:
        write_gpio(address - GPIO, value);
    }
}
