/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arm's PL011 (DDI 0183) with FIFOs of 16 bytes: the receiver interrupts when a mark is reached, or
 * when nothing has come for 32 bit times and the FIFO is not empty.
 */
#include "board.h"
#include "uart.h"

enum { DR = 0x00, FR = 0x18, IBRD = 0x24, FBRD = 0x28, LCR_H = 0x2C };
enum { CR = 0x30, IFLS = 0x34, IMSC = 0x38, ICR = 0x44 };
enum { BUSY = 1 << 3, RXFE = 1 << 4, TXFF = 1 << 5, FEN = 1 << 4, ON = 1 << 0 | 1 << 8 | 1 << 9 };
enum { RX = 1 << 4, RT = 1 << 6, OE = 1 << 10, TIMEOUT = 60, ROOM = 16 };

const uint32_t model_room = ROOM;
static uint32_t ibrd, fbrd, latched, lcr_h, cr, ifls = 2 << 3, imsc, raw, quiet;
static struct shifter shifter;
static struct fifo in, waiting;

double model_rate(void)
{
    return latched < 64 || (cr & ON) != ON ? 0 : BOARD_UART_CLOCK_HZ * 4.0 / latched;
}

/* Coarser than the hardware above 1/64 of a percent, which spares time. */
uint32_t model_settings(void)
{
    return 64 * 256 + 0xFFFF;
}

double model_setting(uint32_t number)
{
    const uint32_t divider = number < 64 * 256 ? 64 + number : (number - 64 * 256 + 1) * 64;

    return BOARD_UART_CLOCK_HZ * 4.0 / (divider < 64 * 0xFFFF ? divider : 64 * 0xFFFF);
}

bool model_interrupts(void)
{
    return (raw & imsc) != 0;
}

static uint32_t mark(void)
{
    static const uint32_t marks[] = {2, 4, 8, 12, 14};

    return marks[ifls >> 3 & 7];
}

void model_arrive(uint8_t byte)
{
    REQUIRE((cr & ON) == ON && (lcr_h & FEN) != 0);
    quiet = 0;
    if (in.count == ROOM) {
        raw |= OE;
        return;
    }
    fifo_put(&in, byte);
    if (in.count == mark()) {
        raw |= RX;
    }
}

void model_clock(void)
{
    (void)shift_clock(&shifter);
    if (shifter.left == 0 && waiting.count > 0) {
        shift_begin(&shifter, fifo_take(&waiting));
    }
    if (in.count > 0 && ++quiet == TIMEOUT) {
        raw |= RT;
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
    case FR:
        return (is_sending() ? BUSY : 0) | (in.count == 0 ? RXFE : 0) |
               (waiting.count == ROOM ? TXFF : 0);
    case DR: {
        const uint8_t byte = fifo_take(&in);
        quiet = 0;
        raw &= in.count < mark() ? ~(uint32_t)RX : ~0u;
        raw &= in.count == 0 ? ~(uint32_t)RT : ~0u;
        return byte;
    }
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

static void write_line(uintptr_t offset, uint32_t value)
{
    if ((cr & 1) != 0) {
        violation("line or rate written while the UART is on", value);
    }
    if (offset == IBRD) {
        ibrd = value;
    } else if (offset == FBRD) {
        fbrd = value;
    } else {
        if (ibrd == 0 || ibrd > 0xFFFF || fbrd > 63 || (ibrd == 0xFFFF && fbrd != 0)) {
            violation("divider out of range", ibrd);
        }
        if ((value & 0x60) != 0x60 || (value & FEN) == 0) {
            violation("not 8 bits with FIFOs", value);
        }
        lcr_h = value;
        latched = ibrd * 64 + fbrd;
    }
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    const uintptr_t offset = address - BOARD_UART_BASE;

    pass();
    REQUIRE(bytes == 4);
    switch (offset) {
    case DR:
        if (waiting.count == ROOM || (cr & ON) != ON) {
            violation("sent while there is no room or the UART is off", value);
            return;
        }
        fifo_put(&waiting, (uint8_t)value);
        break;
    case IBRD:
    case FBRD:
    case LCR_H:
        write_line(offset, value);
        break;
    case CR:
        if ((value & 1) == 0 && is_sending()) {
            violation("switched off while a byte goes out", value);
        }
        cr = value;
        break;
    case IFLS:
        ifls = value;
        break;
    case IMSC:
        imsc = value;
        break;
    case ICR:
        raw &= ~value;
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
