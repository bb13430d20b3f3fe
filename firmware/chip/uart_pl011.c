/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arm's PrimeCell UART PL011 (DDI 0183), in the LM3S6965 (data sheet, "UARTs"), RP2040 (data
 * sheet, section 4.2) and RP2350 (data sheet, section 12.1). Its receive FIFO interrupts at 2 of 16
 * bytes, or once no further byte has come for 32 bit times.
 */
#include "baud.h"
#include "board.h"
#include "port.h"
#include "registers.h"

enum {
    DR = BOARD_UART_BASE,
    FR = BOARD_UART_BASE + 0x18,
    IBRD = BOARD_UART_BASE + 0x24,
    FBRD = BOARD_UART_BASE + 0x28,
    LCR_H = BOARD_UART_BASE + 0x2C,
    CR = BOARD_UART_BASE + 0x30,
    IFLS = BOARD_UART_BASE + 0x34,
    IMSC = BOARD_UART_BASE + 0x38,
    ICR = BOARD_UART_BASE + 0x44
};
enum { FR_BUSY = 1 << 3, FR_NOTHING_RECEIVED = 1 << 4, FR_NO_ROOM = 1 << 5 };
enum { LCR_H_8N1_WITH_FIFO = 3 << 5 | 1 << 4 };
enum { CR_ENABLE = 1 << 0 | 1 << 8 | 1 << 9 }; /* UART, transmitter, receiver */
enum { IFLS_RECEIVE_EIGHTH = 0 << 3, IFLS_TRANSMIT_EIGHTH = 0 };
enum { RECEIVED = 1 << 4, RECEIVE_TIMEOUT = 1 << 6, OVERRUN = 1 << 10 }; /* IMSC, ICR */
/* The divider of clock / 16 in 64ths; it has 16 whole bits, and without them it stands still. */
enum { LEAST_DIVIDER = 64, MOST_DIVIDER = 0xFFFF * 64 };

void uart_interrupt(void);

void uart_interrupt(void)
{
    /* Cleared before the FIFO is read, so that a byte which comes meanwhile interrupts anew. */
    reg_write(ICR, RECEIVED | RECEIVE_TIMEOUT | OVERRUN);
    while ((reg_read(FR) & FR_NOTHING_RECEIVED) == 0) {
        app_received((uint8_t)reg_read(DR)); /* bits 8 to 11 tell of errors */
    }
}

bool port_uart_set_baud(uint32_t baud, bool change)
{
    const uint32_t clock = BOARD_UART_CLOCK_HZ * 4u; /* 64 sixteenths */
    const uint32_t divider = baud_divider(clock, baud, LEAST_DIVIDER, MOST_DIVIDER);

    if (!baud_is_near(baud, clock / divider)) {
        return false;
    }
    if (change) {
        while ((reg_read(FR) & FR_BUSY) != 0) {
        }
        reg_write(CR, 0);
        reg_write(IBRD, divider / 64);
        reg_write(FBRD, divider % 64);
        reg_write(LCR_H, LCR_H_8N1_WITH_FIFO); /* writing it takes the divider over */
        reg_write(CR, CR_ENABLE);
    }
    return true;
}

void port_uart_begin(void)
{
    port_uart_set_baud(BOARD_UART_BAUD, true);
    reg_write(IFLS, IFLS_RECEIVE_EIGHTH | IFLS_TRANSMIT_EIGHTH);
    reg_write(IMSC, RECEIVED | RECEIVE_TIMEOUT);
    port_enable_interrupt(BOARD_UART_IRQ);
}

void port_uart_send(uint8_t byte)
{
    while ((reg_read(FR) & FR_NO_ROOM) != 0) {
    }
    reg_write(DR, byte);
}
