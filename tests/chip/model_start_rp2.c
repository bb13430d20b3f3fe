/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resets, oscillators, PLL, multiplexers, ticks and pins of RP2040 (data sheet, chapter 2) and, if
 * the board has more than 133 MHz, RP2350 (data sheet, chapters 7 to 9).
 */
#include "board.h"
#include "clock.h"

#if BOARD_CORE_HZ > 133000000
#define IS_RP2350 1
enum { CLOCKS = 0x40010000, RESETS = 0x40020000, XOSC = 0x40048000, PLL = 0x40050000 };
enum { IO = 0x40028000, PADS = 0x40038000, TICK_CTRL = 0x40108018, TICK_CYCLES = 0x4010801C };
enum { RESET_IO = 1 << 6, RESET_PADS = 1 << 9, RESET_PLL = 1 << 14, RESET_TIMER = 1 << 23 };
enum { RESET_UART = 1 << 26, ALL_RESETS = 0x1FFFFFFF, PAD_RESET = 0x116 };
#else
#define IS_RP2350 0
enum { CLOCKS = 0x40008000, RESETS = 0x4000C000, XOSC = 0x40024000, PLL = 0x40028000 };
enum { IO = 0x40014000, PADS = 0x4001C000, TICK_CTRL = 0x4005802C, TICK_CYCLES = 1 };
enum { RESET_IO = 1 << 5, RESET_PADS = 1 << 8, RESET_PLL = 1 << 12, RESET_TIMER = 1 << 21 };
enum { RESET_UART = 1 << 22, ALL_RESETS = 0x1FFFFFF, PAD_RESET = 0x56 };
#endif
enum { REF = 0x30, SYS = 0x3C, PERI = 0x48, SELECTED = 8, ALIAS = 0x3000, BLOCK = 0x3FFF };
enum { ROSC_HZ = 6500000 };

static uint32_t ref, sys, peri, resets = ALL_RESETS, done, xosc_ctrl, xosc_startup, tick, cycles;
static uint32_t cs = 1, pwr = 0x2D, fbdiv, prim = 7 << 16 | 7 << 12, pads[2], functions[2];
static uint32_t ref_now, ref_left, sys_now, sys_left;
static struct delayed xosc, lock;

static uint32_t ref_hz(void)
{
    return ref_now == 2 ? BOARD_CRYSTAL_HZ : ref_now == 0 ? ROSC_HZ : 0;
}

static uint32_t pll_hz(void)
{
    const uint32_t vco = BOARD_CRYSTAL_HZ / (cs & 63) * fbdiv;

    return (pwr & 0x29) != 0 ? 0 : vco / (prim >> 16 & 7) / (prim >> 12 & 7);
}

uint32_t model_core_hz(void)
{
    return sys_now == 0 ? ref_hz() : (sys >> 5 & 7) == 0 ? pll_hz() : 0;
}

uint32_t model_uart_hz(void)
{
    return peri == 1 << 11 ? model_core_hz() : 0;
}

void model_begin(bool after_boot_loader)
{
    pads[0] = pads[1] = PAD_RESET;
    functions[0] = functions[1] = 31;
    if (after_boot_loader) { /* a reset of the core alone, while all runs */
        resets = 0;
        done = ALL_RESETS;
        xosc.wanted = xosc.now = lock.wanted = lock.now = true;
        xosc_ctrl = 0xFAB000 | 0xAA0;
        ref = ref_now = 2;
        sys = 1 | drawn(2) << 5; /* the core's PLL, or another source */
        sys_now = 1;
        pwr = 4;
        fbdiv = 100;
    }
}

bool model_uart_is_ready(void)
{
    const bool ticks = IS_RP2350 ? (tick & 1) != 0 && cycles == BOARD_CRYSTAL_HZ / 1000000
                                 : tick == (1u << 9 | BOARD_CRYSTAL_HZ / 1000000);

    return ticks && (done & RESET_TIMER) != 0 && (done & RESET_UART) != 0 &&
           functions[0] == 2 && functions[1] == 2 && (pads[0] & 0x180) == 0 &&
           (pads[1] & 0x1C8) == (1 << 6 | 1 << 3);
}

static uint32_t read_clocks(uintptr_t offset)
{
    switch (offset) {
    case REF:
        return ref;
    case SYS:
        return sys;
    case REF + SELECTED:
        if (ref_now != (ref & 3) && ref_left-- == 0) {
            ref_now = ref & 3;
        }
        return 1u << ref_now;
    case SYS + SELECTED:
        if (sys_now != (sys & 1) && sys_left-- == 0) {
            sys_now = sys & 1;
        }
        return 1u << sys_now;
    default:
        violation("read of an unknown register of the clocks", (uint32_t)offset);
        return 0;
    }
}

uint32_t model_read(uintptr_t address)
{
    if (address >= CLOCKS && address < CLOCKS + 0x100) {
        return read_clocks(address - CLOCKS);
    }
    if (address == RESETS + 8) {
        done |= drawn(3) == 0 ? ~resets & ALL_RESETS : 0;
        return done;
    }
    if (address == XOSC + 4) {
        return delayed_read(&xosc) ? 0x80000000u : 0;
    }
    if (address == PLL) {
        return cs | (delayed_read(&lock) ? 0x80000000u : 0);
    }
    violation("read of an unknown register", (uint32_t)address);
    return 0;
}

static void write_clocks(uintptr_t offset, uint32_t value)
{
    if (offset == REF) {
        if ((value & 3) == 2 && !xosc.now) {
            violation("switched to a crystal that is not stable", value);
        }
        ref_left = drawn(4);
        ref = value;
    } else if (offset == SYS) {
        if ((value >> 5 & 7) != (sys >> 5 & 7) && sys_now != 0) {
            violation("the auxiliary source changed while it is used", value);
        }
        if ((value & 1) != 0 && sys_now == 0 && (!lock.now || pll_hz() == 0)) {
            violation("switched to a PLL that is not locked", value);
        }
        sys_left = drawn(4);
        sys = value;
    } else if (offset == PERI) {
        peri = value;
    } else {
        violation("write of an unknown register of the clocks", (uint32_t)offset);
    }
}

static void write_resets(uint32_t value)
{
    if ((value & RESET_PLL) != 0 && (resets & RESET_PLL) == 0 && sys_now != 0) {
        violation("the PLL reset while it is used", value);
    }
    if ((value & RESET_PLL) != 0) {
        pwr = 0x2D;
        delayed_set(&lock, false);
        lock.now = false;
    }
    resets = value;
    done &= ~value;
}

static void write_pll(uintptr_t offset, uint32_t value)
{
    if ((done & RESET_PLL) == 0) {
        violation("the PLL is in reset", value);
    }
    if (offset != 0x04 && offset != 0x0C && (pwr & 1) == 0) {
        violation("the PLL configured while it is on", value);
    }
    if (offset == 0x0C && !lock.now) {
        violation("dividers set before the PLL is locked", value);
    }
    *(offset == 0x00 ? &cs : offset == 0x04 ? &pwr : offset == 0x08 ? &fbdiv : &prim) = value;
    if ((pwr & 0x21) == 0) {
        if (!xosc.now || fbdiv < 16 || fbdiv > 320) {
            violation("the PLL switched on without a source or a divider", fbdiv);
        }
        delayed_set(&lock, true);
    }
}

static void write_pins(uintptr_t address, uint32_t value)
{
    if ((done & RESET_IO) == 0 || (done & RESET_PADS) == 0) {
        violation("the pins are in reset", value);
    }
    for (uint32_t pin = 0; pin < 2; pin++) {
        if (address == IO + pin * 8 + 4) {
            functions[pin] = value & 31;
            return;
        }
        if (address == PADS + 4 + pin * 4) {
            if (functions[pin] != 2 && IS_RP2350) {
                violation("isolation ended before the pin has a function", value);
            }
            pads[pin] = value;
            return;
        }
    }
    violation("write of an unknown register", (uint32_t)address);
}

/* The value behind an alias that sets or clears bits. */
static uint32_t behind_alias(uint32_t now, uint32_t value, uintptr_t alias)
{
    return alias == 0x2000 ? now | value : alias == 0x3000 ? now & ~value : value;
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    const uintptr_t alias = address & ALIAS, base = address & ~(uintptr_t)BLOCK;
    const uintptr_t offset = address & (BLOCK & ~ALIAS);

    REQUIRE(bytes == 4);
    if (base == CLOCKS) {
        REQUIRE(alias == 0);
        write_clocks(offset, value);
    } else if (base == RESETS) {
        REQUIRE(offset == 0);
        write_resets(behind_alias(resets, value, alias));
    } else if (base == XOSC) {
        REQUIRE(offset == 0x00 || offset == 0x0C);
        uint32_t *const at = offset == 0x00 ? &xosc_ctrl : &xosc_startup;
        *at = behind_alias(*at, value, alias);
        if (offset == 0x00 && xosc_ctrl >> 12 == 0xFAB && (xosc_ctrl & 0xFFF) == 0xAA0) {
            REQUIRE(xosc_startup >= BOARD_CRYSTAL_HZ / 1000 / 256 && xosc_startup < 1 << 14);
            delayed_set(&xosc, true);
        }
    } else if (base == PLL) {
        const uint32_t now[] = {cs, pwr, fbdiv, prim};
        write_pll(offset, behind_alias(now[offset / 4], value, alias));
    } else if (address == TICK_CTRL) {
        tick = value;
    } else if (address == TICK_CYCLES) {
        cycles = value;
    } else {
        write_pins(address, value);
    }
}
