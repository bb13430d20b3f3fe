/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chips whose start takes a few registers: LM3S6965 (data sheet, sections 5 and 8), FE310 (manual,
 * chapters 6 and 17), nRF51 and nRF52 (reference manual 3.0, section 13) and SmartFusion2 (UG0331).
 * Each has its own addresses, so one model holds them all.
 */
#include "board.h"
#include "clock.h"

enum { LM3S_RIS = 0x400FE050, LM3S_RCC = 0x400FE060, LM3S_RCGC1 = 0x400FE104 };
enum { LM3S_RCGC2 = 0x400FE108, LM3S_AFSEL = 0x40004420, LM3S_DEN = 0x4000451C };
enum { FE310_HFROSC = 0x10008000, FE310_HFXOSC = 0x10008004, FE310_PLL = 0x10008008 };
enum { FE310_IOF_EN = 0x10012038, FE310_IOF_SEL = 0x1001203C, NRF_ICACHE = 0x4001E540 };
enum { NRF_START = 0x40000000, NRF_STARTED = 0x40000100, MSF2_RESETS = 0x40038048 };
enum { PLL_OFF = 1 << 13, BYPASS = 1 << 11, DIVIDE = 1 << 22 };

static uint32_t rcc = 0x078E3AD1, rcgc1, rcgc2, afsel, den;
static uint32_t hfrosc = 1 << 30, pllcfg = 0x00060000, iof_en, iof_sel = ~0u, msf2_resets = ~0u;
static struct delayed locked, crystal, ring = {true, true, 0};
static bool nrf_runs;

void model_begin(bool after_boot_loader)
{
    if (after_boot_loader) { /* the core runs from the PLL */
        rcc = 0x01C00000 | 0xE << 6 | 2;
        locked.wanted = locked.now = true;
        pllcfg = 1 << 16 | 0x31;
        hfrosc = 0;
        ring.wanted = ring.now = false;
    }
}

uint32_t model_core_hz(void)
{
    switch (BOARD_UART_BASE) {
    case 0x4000C000: /* LM3S6965 */
        return (rcc & BYPASS) == 0 && (rcc & DIVIDE) != 0 && (rcc >> 6 & 15) == 0xE &&
                       (rcc >> 4 & 3) == 0 && (rcc & 1) == 0
                   ? 200000000 / ((rcc >> 23 & 15) + 1)
                   : 0;
    case 0x10013000: /* FE310 */
        return (pllcfg & 7 << 16) == 7 << 16 ? 16000000 : 0;
    case 0x40002000: /* nRF */
        return nrf_runs ? 16000000 : 0;
    default:
        return BOARD_UART_CLOCK_HZ;
    }
}

uint32_t model_uart_hz(void)
{
    return model_core_hz();
}

bool model_uart_is_ready(void)
{
    switch (BOARD_UART_BASE) {
    case 0x4000C000:
        return rcgc1 == 1 && rcgc2 == 1 && afsel == 3 && den == 3;
    case 0x10013000:
        return iof_en == 3 << 16 && iof_sel == ~(3u << 16) && (hfrosc & 1 << 30) == 0;
    case 0x40002000:
        return nrf_runs;
    default:
        return msf2_resets == ~(0xFu << 7);
    }
}

uint32_t model_read(uintptr_t address)
{
    switch (address) {
    case LM3S_RIS:
        return delayed_read(&locked) ? 1 << 6 : 0;
    case LM3S_RCC:
        return rcc;
    case LM3S_RCGC1:
        return rcgc1;
    case LM3S_RCGC2:
        return rcgc2;
    case LM3S_AFSEL:
        return afsel;
    case LM3S_DEN:
        return den;
    case FE310_HFROSC:
        return hfrosc | (delayed_read(&ring) ? 0x80000000u : 0);
    case FE310_HFXOSC:
        return delayed_read(&crystal) ? 0xC0000000u : 1 << 30;
    case FE310_PLL:
        return pllcfg;
    case FE310_IOF_EN:
        return iof_en;
    case FE310_IOF_SEL:
        return iof_sel;
    case NRF_STARTED:
        nrf_runs = delayed_read(&crystal);
        return nrf_runs;
    case MSF2_RESETS:
        return msf2_resets;
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

static void write_rcc(uint32_t value)
{
    if (((value ^ rcc) & 0x7F0) != 0 && (value & rcc & BYPASS) == 0) {
        violation("the crystal chosen while the PLL is used", value);
    }
    if ((value & BYPASS) == 0 && !locked.now) {
        violation("the PLL used before it is locked", value);
    }
    if ((value & BYPASS) == 0 && (value & DIVIDE) == 0) {
        violation("200 MHz for the core", value);
    }
    delayed_set(&locked, (value & PLL_OFF) == 0);
    rcc = value;
}

static void write_gpio(uint32_t *to, uint32_t value)
{
    if ((rcgc2 & 1) == 0) {
        violation("port A has no clock", value);
    }
    *to = value;
}

static void write_fe310(uintptr_t address, uint32_t value)
{
    switch (address) {
    case FE310_HFROSC:
        if ((value & 1 << 30) == 0 && (pllcfg & 7 << 16) != 7 << 16) {
            violation("the oscillator switched off while it is used", value);
        }
        hfrosc = value & 0x7FFFFFFF;
        delayed_set(&ring, (value & 1 << 30) != 0);
        break;
    case FE310_HFXOSC:
        delayed_set(&crystal, (value & 1 << 30) != 0);
        break;
    case FE310_PLL:
        if ((value & ~pllcfg & 1 << 16) != 0 && (!crystal.now || (pllcfg & 3 << 17) != 3 << 17)) {
            violation("switched before the crystal's clock passes the PLL", value);
        }
        if ((value & 1 << 16) == 0 && !ring.now) {
            violation("switched to an oscillator that is not ready", value);
        }
        if ((value & pllcfg & 1 << 16) != 0 && value != pllcfg) {
            violation("the PLL changed while it is used", value);
        }
        pllcfg = value;
        break;
    case FE310_IOF_EN:
        iof_en = value;
        break;
    case FE310_IOF_SEL:
        iof_sel = value;
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    REQUIRE(bytes == 4);
    switch (address) {
    case LM3S_RCC:
        write_rcc(value);
        break;
    case LM3S_RCGC1:
        rcgc1 = value;
        break;
    case LM3S_RCGC2:
        rcgc2 = value;
        break;
    case LM3S_AFSEL:
        write_gpio(&afsel, value);
        break;
    case LM3S_DEN:
        write_gpio(&den, value);
        break;
    case NRF_START:
        delayed_set(&crystal, value == 1);
        break;
    case NRF_STARTED:
        REQUIRE(value == 0);
        break;
    case NRF_ICACHE:
        REQUIRE(value == 1);
        break;
    case MSF2_RESETS:
        msf2_resets = value;
        break;
    default:
        write_fe310(address, value);
    }
}
