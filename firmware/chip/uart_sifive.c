/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SiFive's UART (FE310-G002 manual, chapter 18). FIFOs of 8 bytes; a byte that comes to a full one
 * is lost without a sign. Its clock must be the core's.
 */
#include "baud.h"
#include "board.h"
#include "port.h"
#include "registers.h"

enum {
    TXDATA = BOARD_UART_BASE,
    RXDATA = BOARD_UART_BASE + 0x04,
    TXCTRL = BOARD_UART_BASE + 0x08,
    RXCTRL = BOARD_UART_BASE + 0x0C,
    IE = BOARD_UART_BASE + 0x10,
    IP = BOARD_UART_BASE + 0x14,
    DIV = BOARD_UART_BASE + 0x18
};
#define FULL_OR_EMPTY 0x80000000u                           /* TXDATA, RXDATA */
enum { ENABLE = 1, MARK_AT_1 = 1 << 16, MARK_AT_0 = 0 << 16 }; /* TXCTRL, RXCTRL */
enum { TRANSMIT_MARK = 1, RECEIVE_MARK = 2 };               /* IE, IP */
/* The receiver samples a bit 16 times. DIV has 16 bits in the FE310-G000 and holds one less. */
enum { LEAST_DIVIDER = 16, MOST_DIVIDER = 0x10000, FRAME_BITS = 11 };

void uart_interrupt(void);

static uint32_t divider_now;

void uart_interrupt(void)
{
    for (uint32_t data = reg_read(RXDATA); (data & FULL_OR_EMPTY) == 0; data = reg_read(RXDATA)) {
        app_received((uint8_t)data);
    }
}

/* The FIFO tells when it is empty, but nothing tells when the byte that left it last is out. That
 * takes a frame, and each read takes a clock or more. */
static void wait_until_sent(void)
{
    while ((reg_read(IP) & TRANSMIT_MARK) == 0) {
    }
    for (uint32_t left = divider_now * FRAME_BITS; left > 0; left--) {
        (void)reg_read(IP);
    }
}

bool port_uart_set_baud(uint32_t baud, bool change)
{
    const uint32_t divider = baud_divider(BOARD_UART_CLOCK_HZ, baud);

    if (divider < LEAST_DIVIDER || divider > MOST_DIVIDER ||
        !baud_is_near(baud, BOARD_UART_CLOCK_HZ / divider)) {
        return false;
    }
    if (change) {
        if (divider_now != 0) {
            wait_until_sent();
        }
        reg_write(DIV, divider - 1);
        divider_now = divider;
    }
    return true;
}

void port_uart_begin(void)
{
    port_uart_set_baud(BOARD_UART_BAUD, true);
    reg_write(TXCTRL, ENABLE | MARK_AT_1); /* the mark: fewer bytes than 1 wait */
    reg_write(RXCTRL, ENABLE | MARK_AT_0); /* more than 0 wait */
    reg_write(IE, RECEIVE_MARK);
    port_enable_interrupt(BOARD_UART_IRQ);
}

void port_uart_send(uint8_t byte)
{
    while ((reg_read(TXDATA) & FULL_OR_EMPTY) != 0) {
    }
    reg_write(TXDATA, byte);
}
