/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SiFive's UART (FE310-G002 manual, chapter 18). A byte that has left the FIFO takes a frame of
 * clocks, which no register shows.
 */
#include "board.h"
#include "uart.h"

enum { TXDATA = 0x00, RXDATA = 0x04, TXCTRL = 0x08, RXCTRL = 0x0C, IE = 0x10, IP = 0x14 };
enum { DIV = 0x18, ROOM = 8, FRAME = 10 };

const uint32_t model_room = ROOM;
static uint32_t divider, txctrl, rxctrl, ie;
static struct shifter shifter;
static struct fifo in, waiting;

double model_rate(void)
{
    return (double)BOARD_UART_CLOCK_HZ / (divider + 1);
}

uint32_t model_settings(void)
{
    return 0x10000 - 15;
}

double model_setting(uint32_t number)
{
    return (double)BOARD_UART_CLOCK_HZ / (number + 16);
}

bool model_interrupts(void)
{
    return (ie & 2) != 0 && in.count > (rxctrl >> 16 & 7);
}

void model_arrive(uint8_t byte)
{
    REQUIRE((rxctrl & 1) != 0);
    if (in.count < ROOM) {
        fifo_put(&in, byte);
    }
}

void model_clock(void)
{
    (void)shift_clock(&shifter);
    if (shifter.left == 0 && waiting.count > 0) {
        shift_begin(&shifter, fifo_take(&waiting));
        shifter.left = FRAME * (divider + 1);
    }
}

uint32_t model_read(uintptr_t address)
{
    pass();
    switch (address - BOARD_UART_BASE) {
    case TXDATA:
        return waiting.count == ROOM ? 0x80000000u : 0;
    case RXDATA:
        return in.count == 0 ? 0x80000000u : fifo_take(&in);
    case IP:
        return (waiting.count < (txctrl >> 16 & 7) ? 1u : 0) | (model_interrupts() ? 2u : 0);
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    pass();
    REQUIRE(bytes == 4);
    switch (address - BOARD_UART_BASE) {
    case TXDATA:
        if (waiting.count == ROOM || (txctrl & 1) == 0) {
            violation("sent while there is no room or the UART is off", value);
            return;
        }
        fifo_put(&waiting, (uint8_t)value);
        break;
    case TXCTRL:
        txctrl = value;
        break;
    case RXCTRL:
        rxctrl = value;
        break;
    case IE:
        ie = value;
        break;
    case DIV:
        if (waiting.count > 0 || shifter.left > 0 || value < 15 || value > 0xFFFF) {
            violation("DIV out of range or written while a byte goes out", value);
        }
        divider = value;
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
