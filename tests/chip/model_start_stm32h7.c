/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power, clocks, wait states and caches of STM32H743 (RM0433 sections 4, 6 and 8) and of its core.
 */
#include "board.h"
#include "clock.h"

enum { RCC = 0x58024400, CR = 0x00, CFGR = 0x10, D1CFGR = 0x18, D2CFGR = 0x1C, D3CFGR = 0x20 };
enum { PLLCKSELR = 0x28, PLLCFGR = 0x2C, PLL1DIVR = 0x30, AHB4ENR = 0xE0, APB1LENR = 0xE8 };
enum { APB2ENR = 0xF0, PWR = 0x58024800, CSR1 = 0x04, CR3 = 0x0C, D3CR = 0x18 };
enum { ACR = 0x52002000, GPIO = 0x58020000, HSI_HZ = 64000000 };
enum { HSI_ON = 1, HSI_READY = 4, HSE_ON = 1 << 16, HSE_READY = 1 << 17 };
enum { PLL_ON = 1 << 24, PLL_READY = 1 << 25, VOSRDY = 1 << 13 };
#define CORE_CCR 0xE000ED14u
#define CCSIDR 0xE000ED80u
#define CSSELR 0xE000ED84u
#define ICIALLU 0xE000EF50u
#define DCISW 0xE000EF60u
enum { SETS = 128, WAYS = 4 };

static uint32_t cr = HSI_ON, cfgr, d1cfgr, d2cfgr, d3cfgr;
static uint32_t pllckselr = 0x02020200, pllcfgr = 0x01FF0000;
static uint32_t pll1divr = 0x01010280, ahb4, apb1, apb2, acr = 0x37, cr3 = 6, d3cr = 1 << 14;
static uint32_t ccr = 0x40200, source, source_left;
static bool cr3_written, icache_empty, is_line_empty[SETS * WAYS];
static struct delayed hse, pll, voltage = {true, true, 0}, supply;

static uint32_t input_hz(void)
{
    const uint32_t m = pllckselr >> 4 & 63;
    const uint32_t from = (pllckselr & 3) == 2 ? BOARD_HSE_HZ : (uint32_t)HSI_HZ >> (cr >> 3 & 3);

    return m == 0 ? 0 : from / m;
}

static uint32_t pll_hz(void)
{
    return input_hz() * ((pll1divr & 511) + 1) / ((pll1divr >> 9 & 127) + 1);
}

static uint32_t divided(uint32_t hz, uint32_t code, uint32_t first)
{
    return code < first ? hz : hz >> (code - first + 1);
}

uint32_t model_core_hz(void)
{
    const uint32_t hsi_hz = (uint32_t)HSI_HZ >> (cr >> 3 & 3);
    const uint32_t hz = source == 0 ? hsi_hz : source == 3 ? pll_hz() : 0;

    return divided(hz, d1cfgr >> 8 & 15, 8);
}

static uint32_t bus_hz(void)
{
    return divided(model_core_hz(), d1cfgr & 15, 8);
}

uint32_t model_uart_hz(void)
{
    return divided(bus_hz(), d2cfgr >> (BOARD_UART_BASE >= 0x40010000 ? 8 : 4) & 7, 4);
}

static uint32_t scale(void)
{
    return voltage.now && supply.now ? d3cr >> 14 & 3 : 1;
}

/* The limits of RM0433's table of wait states and of the data sheet's table of clocks. */
static void check(void)
{
    static const uint32_t most_core[] = {0, 200000000, 300000000, 400000000};
    static const uint32_t per_wait_state[] = {1, 45000000, 55000000, 70000000};
    const uint32_t hz = bus_hz();

    if (model_core_hz() > most_core[scale()] || hz > most_core[scale()] / 2) {
        violation("too little voltage for this clock", model_core_hz());
    }
    if ((hz - 1) / per_wait_state[scale()] > (acr & 15) || (hz > 185000000 && (acr >> 4 & 3) < 2)) {
        violation("too few wait states for this clock", hz);
    }
    const uint32_t codes[] = {d1cfgr >> 4, d2cfgr >> 4, d2cfgr >> 8, d3cfgr >> 4};
    for (uint32_t i = 0; i < 4; i++) {
        if (divided(hz, codes[i] & 7, 4) > 100000000) {
            violation("a peripheral bus is too fast", hz);
        }
    }
}

void model_begin(bool after_boot_loader)
{
    gpio_begin();
    if (after_boot_loader) {
        cr |= PLL_ON;
        pll.wanted = pll.now = supply.wanted = supply.now = cr3_written = true;
        cr3 = 2;
        pllckselr = 32 << 4; /* HSI / 32 * 100 / 2 */
        pll1divr = 99 | 1 << 9;
        source = cfgr = 3;
    }
}

bool model_uart_is_ready(void)
{
    const uint32_t enabled = BOARD_UART_BASE >= 0x40010000 ? apb2 : apb1;

    return gpio_is_ready() && (enabled >> BOARD_UART_CLOCK_BIT & 1) != 0 &&
           (ccr & 3 << 16) == 3 << 16;
}

static uint32_t read_clock(uintptr_t offset)
{
    switch (offset) {
    case CR:
        return cr | HSI_READY | (delayed_read(&hse) ? HSE_READY : 0) |
               (delayed_read(&pll) ? PLL_READY : 0);
    case CFGR:
        if (source != (cfgr & 7) && source_left-- == 0) {
            source = cfgr & 7;
            check();
        }
        return (cfgr & ~0x38u) | source << 3;
    case AHB4ENR:
        return ahb4;
    case APB1LENR:
        return apb1;
    case APB2ENR:
        return apb2;
    default:
        violation("read of an unknown register", (uint32_t)offset);
        return 0;
    }
}

uint32_t model_read(uintptr_t address)
{
    if (address >= GPIO && address < GPIO + 0x2000) {
        return gpio_read(address - GPIO, ahb4);
    }
    switch (address) {
    case PWR + CSR1:
        return delayed_read(&supply) ? VOSRDY : 0;
    case PWR + CR3:
        return cr3;
    case PWR + D3CR:
        return d3cr | (delayed_read(&voltage) ? VOSRDY : 0);
    case ACR:
        return acr;
    case CORE_CCR:
        return ccr;
    case CCSIDR:
        return (SETS - 1) << 13 | (WAYS - 1) << 3 | 1;
    default:
        return read_clock(address - RCC);
    }
}

static void write_cr(uint32_t value)
{
    if ((value & PLL_ON) == 0 && (source == 3 || (cfgr & 7) == 3)) {
        violation("the PLL switched off while it is used", value);
    }
    if ((value & PLL_ON) != 0 && (pllckselr & 3) == 2 && !hse.now) {
        violation("the PLL's source is not ready", value);
    }
    if (((value ^ cr) & 0x18) != 0 && (cr & PLL_ON) != 0) {
        violation("HSI's divider changed while a PLL runs on it", value);
    }
    if ((value & PLL_ON) != 0 && (cr & PLL_ON) == 0) {
        const uint32_t least[] = {1000000, 2000000, 4000000, 8000000};
        const uint32_t range = pllcfgr >> 2 & 3, hz = input_hz();
        const uint32_t vco = hz * ((pll1divr & 511) + 1);
        if (hz < least[range] || hz > 2 * least[range] || (pllcfgr & 1 << 16) == 0 ||
            (pllcfgr & 3) != 0 || vco < 192000000 || vco > 836000000) {
            violation("the PLL's input, range or output is wrong", hz);
        }
    }
    delayed_set(&hse, (value & HSE_ON) != 0);
    delayed_set(&pll, (value & PLL_ON) != 0);
    cr = value & ~(uint32_t)(HSI_READY | HSE_READY | PLL_READY);
    check();
}

static void write_pll(uint32_t *to, uint32_t value)
{
    if ((cr & PLL_ON) != 0 || pll.now) {
        violation("the PLL configured while it is on", value);
    }
    *to = value;
}

static void write_clock(uintptr_t offset, uint32_t value)
{
    const uint32_t wanted = value & 7;

    switch (offset) {
    case CR:
        write_cr(value);
        break;
    case CFGR:
        if ((wanted == 3 && !pll.now) || (wanted == 2 && !hse.now)) {
            violation("switched to a source that is not ready", value);
        }
        source_left = wanted != (cfgr & 7) ? drawn(5) : source_left;
        cfgr = value & ~0x38u;
        break;
    case D1CFGR:
        d1cfgr = value;
        break;
    case D2CFGR:
        d2cfgr = value;
        break;
    case D3CFGR:
        d3cfgr = value;
        break;
    case PLLCKSELR:
        write_pll(&pllckselr, value);
        break;
    case PLLCFGR:
        write_pll(&pllcfgr, value);
        break;
    case PLL1DIVR:
        write_pll(&pll1divr, value);
        break;
    case AHB4ENR:
        ahb4 = value;
        break;
    case APB1LENR:
        apb1 = value;
        break;
    case APB2ENR:
        apb2 = value;
        break;
    default:
        violation("write of an unknown register", (uint32_t)offset);
    }
    check();
}

static void write_power(uintptr_t offset, uint32_t value)
{
    if (offset == CR3) {
        /* Its low byte can be written once after power comes. */
        if ((value & 7) != 2) {
            violation("another supply than the LDO", value);
        }
        cr3 = cr3_written ? cr3 : value;
        cr3_written = true;
        delayed_set(&supply, true);
    } else if (offset == D3CR) {
        if (!supply.now) {
            violation("the voltage changed before the supply is chosen", value);
        }
        if ((value ^ d3cr) >> 14 != 0) {
            voltage.now = false;
            voltage.left = drawn(10);
        }
        d3cr = value & ~(uint32_t)VOSRDY;
    } else {
        violation("write of an unknown register", (uint32_t)offset);
    }
    check();
}

static void write_core(uintptr_t address, uint32_t value)
{
    switch (address) {
    case CORE_CCR:
        if ((value & 1 << 17) != 0 && !icache_empty) {
            violation("the instruction cache switched on before it is emptied", value);
        }
        for (uint32_t i = 0; i < SETS * WAYS && (value & 1 << 16) != 0; i++) {
            if (!is_line_empty[i]) {
                violation("the data cache switched on before it is emptied", i);
                break;
            }
        }
        ccr = value;
        break;
    case ICIALLU:
        icache_empty = true;
        break;
    case CSSELR:
        REQUIRE(value == 0);
        break;
    case DCISW: {
        const uint32_t set = value >> 5 & 0x1FF, way = value >> 30;
        REQUIRE(set < SETS && (value & 0x3FFFC01F) == 0);
        is_line_empty[set * WAYS + way] = true;
        break;
    }
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    REQUIRE(bytes == 4);
    if (address >= GPIO && address < GPIO + 0x2000) {
        gpio_write(address - GPIO, value, ahb4);
    } else if (address == ACR) {
        acr = value;
        check();
    } else if (address >= 0xE0000000) {
        write_core(address, value);
    } else if (address >= PWR) {
        write_power(address - PWR, value);
    } else {
        write_clock(address - RCC, value);
    }
}
