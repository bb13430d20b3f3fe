/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550 (National's PC16550D) whose byte registers stand 4 bytes apart, as in SmartFusion2's
 * MMUART (Microchip UG0331, section "MMUART").
 *   uart_fraction  optional: 1 if the divider has the MMUART's six bits behind the point. QEMU's
 *                  has none and faults on the registers.
 */
#include "baud.h"
#include "board.h"
#include "port.h"
#include "registers.h"

#ifndef BOARD_UART_FRACTION
#define BOARD_UART_FRACTION 0
#endif

/* While DIVIDER_ACCESS is set, DATA and INTERRUPTS are the divider's low and high byte. */
enum {
    DATA = BOARD_UART_BASE,                   /* RBR, THR, DLR */
    INTERRUPTS = BOARD_UART_BASE + 0x04,      /* IER, DMR */
    FIFO_CONTROL = BOARD_UART_BASE + 0x08,    /* FCR */
    LINE_CONTROL = BOARD_UART_BASE + 0x0C,    /* LCR */
    MODEM_CONTROL = BOARD_UART_BASE + 0x10,   /* MCR */
    LINE_STATUS = BOARD_UART_BASE + 0x14,     /* LSR */
    MULTI_MODE_0 = BOARD_UART_BASE + 0x30,    /* MM0 */
    DIVIDER_FRACTION = BOARD_UART_BASE + 0x3C /* DFR */
};
enum { INTERRUPT_RECEIVED = 1 };
/* Each byte interrupts: a FIFO that waits for more would hold back the last ones of a frame. */
enum { FIFO_BEGIN = 1 << 0 | 1 << 1 | 1 << 2 }; /* on, receiver and transmitter empty, 1 byte */
enum { LINE_8N1 = 3, DIVIDER_ACCESS = 1 << 7 };
enum { RECEIVED = 1 << 0, ROOM = 1 << 5, SENT = 1 << 6 };
enum { FRACTION_ENABLE = 1 << 7 };
enum { PARTS = BOARD_UART_FRACTION ? 64 : 1 };  /* of the divider's unit */

void uart_interrupt(void);

void uart_interrupt(void)
{
    /* Reading the status clears an overrun. */
    while ((reg_read(LINE_STATUS) & RECEIVED) != 0) {
        app_received((uint8_t)reg_read(DATA));
    }
}

bool port_uart_set_baud(uint32_t baud, bool change)
{
    /* What the divider divides: the sixteenth of the clock, in parts of the divider's unit. */
    const uint32_t clock =
        PARTS > 1 ? BOARD_UART_CLOCK_HZ * (PARTS / 16u) : BOARD_UART_CLOCK_HZ / 16u;
    const uint32_t divider = baud_divider(clock, baud);

    if (divider < PARTS || divider / PARTS > 0xFFFF || !baud_is_near(baud, clock / divider)) {
        return false;
    }
    if (change) {
        while ((reg_read(LINE_STATUS) & SENT) == 0) {
        }
        reg_write(LINE_CONTROL, LINE_8N1 | DIVIDER_ACCESS);
        reg_write(DATA, divider / PARTS & 0xFF);
        reg_write(INTERRUPTS, divider / PARTS >> 8);
        reg_write(LINE_CONTROL, LINE_8N1);
#if BOARD_UART_FRACTION
        /* The MMUART takes a fraction only behind a divider above 1. */
        reg_write(MULTI_MODE_0, divider / PARTS > 1 ? FRACTION_ENABLE : 0);
        reg_write(DIVIDER_FRACTION, divider % PARTS);
#endif
    }
    return true;
}

void port_uart_begin(void)
{
    reg_write(INTERRUPTS, 0);
    port_uart_set_baud(BOARD_UART_BAUD, true);
    reg_write(FIFO_CONTROL, FIFO_BEGIN);
    reg_write(MODEM_CONTROL, 0);
    reg_write(INTERRUPTS, INTERRUPT_RECEIVED);
    port_enable_interrupt(BOARD_UART_IRQ);
}

void port_uart_send(uint8_t byte)
{
    while ((reg_read(LINE_STATUS) & ROOM) == 0) {
    }
    reg_write(DATA, byte);
}
