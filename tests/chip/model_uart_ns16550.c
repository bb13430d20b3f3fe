/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550 with registers 4 bytes apart, and the fraction of SmartFusion2's MMUART (UG0331) if the
 * board has it.
 */
#include "board.h"
#include "uart.h"

#ifndef BOARD_UART_FRACTION
#define BOARD_UART_FRACTION 0
#endif

enum { DATA = 0x00, IER = 0x04, FCR = 0x08, LCR = 0x0C, MCR = 0x10, LSR = 0x14 };
enum { MM0 = 0x30, DFR = 0x3C };
enum { DR = 1, OE = 2, THRE = 1 << 5, TEMT = 1 << 6, DLAB = 1 << 7, ROOM = 16 };

const uint32_t model_room = ROOM;
static uint32_t low, high, ier, fcr, lcr, mm0, dfr;
static struct shifter shifter;
static struct fifo in, waiting;
static bool has_overrun;

double model_rate(void)
{
    const uint32_t whole = high << 8 | low;
    const double fraction = (mm0 & 1u << 7) != 0 ? dfr / 64.0 : 0;

    return whole == 0 ? 0 : BOARD_UART_CLOCK_HZ / 16.0 / (whole + fraction);
}

uint32_t model_settings(void)
{
    return BOARD_UART_FRACTION ? 64 * 1024 : 0xFFFF;
}

double model_setting(uint32_t number)
{
    if (!BOARD_UART_FRACTION) {
        return BOARD_UART_CLOCK_HZ / 16.0 / (number + 1);
    }
    /* The first 128 whole dividers with their fractions, but none behind 1; then whole ones. */
    if (number < 128 * 64) {
        const double divider = 1 + number / 64.0;
        return BOARD_UART_CLOCK_HZ / 16.0 / (divider < 2 ? 1 : divider);
    }
    return BOARD_UART_CLOCK_HZ / 16.0 / (number - 128 * 64 + 128);
}

bool model_interrupts(void)
{
    return (ier & 1) != 0 && in.count > 0;
}

void model_arrive(uint8_t byte)
{
    REQUIRE((lcr & 0x83) == 3 && (fcr & 0xC1) == 1);
    if (in.count == ROOM) {
        has_overrun = true;
    } else {
        fifo_put(&in, byte);
    }
}

void model_clock(void)
{
    (void)shift_clock(&shifter);
    if (shifter.left == 0 && waiting.count > 0) {
        shift_begin(&shifter, fifo_take(&waiting));
    }
}

static bool is_sending(void)
{
    return waiting.count > 0 || shifter.left > 0;
}

uint32_t model_read(uintptr_t address)
{
    pass();
    switch (address - BOARD_UART_BASE) {
    case LSR: {
        const uint32_t status = (in.count > 0 ? DR : 0) | (has_overrun ? OE : 0) |
                                (waiting.count == 0 ? THRE : 0) | (is_sending() ? 0 : TEMT);
        has_overrun = false;
        return status;
    }
    case DATA:
        if ((lcr & DLAB) != 0) {
            return low;
        }
        return fifo_take(&in);
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

static void write_data(uint32_t value)
{
    if ((lcr & DLAB) != 0) {
        low = value;
    } else if (waiting.count > 0 || model_rate() == 0) {
        violation("sent while there is no room or no rate", value);
    } else {
        fifo_put(&waiting, (uint8_t)value);
    }
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    const uintptr_t offset = address - BOARD_UART_BASE;

    pass();
    REQUIRE(bytes == 4 && value <= 0xFF);
    if (((lcr & DLAB) != 0 || offset == DFR || offset == MM0) && is_sending()) {
        violation("rate written while a byte goes out", value);
    }
    if ((offset == MM0 || offset == DFR) && !BOARD_UART_FRACTION) {
        violation("there is no such register", value);
    }
    switch (offset) {
    case DATA:
        write_data(value);
        break;
    case IER:
        if ((lcr & DLAB) != 0) {
            high = value;
        } else {
            ier = value;
        }
        break;
    case FCR:
        fcr = value;
        in.count = (value & 2) != 0 ? 0 : in.count;
        break;
    case LCR:
        lcr = value;
        break;
    case MCR:
        if ((value & 1 << 4) != 0) {
            violation("loops back", value);
        }
        break;
    case MM0:
        mm0 = value;
        break;
    case DFR:
        dfr = value;
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
