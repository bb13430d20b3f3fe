/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The USART with ISR, RDR and TDR: STM32F0, F3, F7, G0, G4, L0, L4, L4+, H7 and others (RM0432 and
 * RM0433, "Universal synchronous receiver transmitter"). The start driver has switched on its clock
 * and its pins.
 *   uart_fifo  optional; 1 if it has FIFOs (G0, G4, L4+, H7)
 */
#include "baud.h"
#include "board.h"
#include "port.h"
#include "registers.h"

#ifndef BOARD_UART_FIFO
#define BOARD_UART_FIFO 0
#endif

enum {
    CR1 = BOARD_UART_BASE,
    BRR = BOARD_UART_BASE + 0x0C,
    ISR = BOARD_UART_BASE + 0x1C,
    ICR = BOARD_UART_BASE + 0x20,
    RDR = BOARD_UART_BASE + 0x24,
    TDR = BOARD_UART_BASE + 0x28
};
enum {
    CR1_ENABLE = 1 << 0,
    CR1_RECEIVE = 1 << 2,
    CR1_TRANSMIT = 1 << 3,
    CR1_RECEIVE_INTERRUPT = 1 << 5,
    CR1_FIFO = BOARD_UART_FIFO << 29
};
enum { OVERRUN = 1 << 3, RECEIVED = 1 << 5, SENT = 1 << 6, ROOM = 1 << 7 }; /* ISR; ICR the first */
enum { LEAST_DIVIDER = 16, MOST_DIVIDER = 0xFFFF };
/* The FIFOs can be chosen only while the USART is off, as the divider. */
enum { CR1_OFF = CR1_FIFO | CR1_TRANSMIT | CR1_RECEIVE | CR1_RECEIVE_INTERRUPT };

void uart_interrupt(void);

/* The flag for it may be off from before, when a boot loader has used the USART. */
static bool has_sent;

void uart_interrupt(void)
{
    uint32_t status = reg_read(ISR);

    while ((status & (RECEIVED | OVERRUN)) != 0) {
        if ((status & OVERRUN) != 0) {
            reg_write(ICR, OVERRUN);
        }
        if ((status & RECEIVED) != 0) {
            app_received((uint8_t)reg_read(RDR));
        }
        status = reg_read(ISR);
    }
}

bool port_uart_set_baud(uint32_t baud, bool change)
{
    const uint32_t divider =
        baud_divider(BOARD_UART_CLOCK_HZ, baud, LEAST_DIVIDER, MOST_DIVIDER);

    if (!baud_is_near(baud, BOARD_UART_CLOCK_HZ / divider)) {
        return false;
    }
    if (change) {
        while (has_sent && (reg_read(ISR) & SENT) == 0) {
        }
        reg_write(CR1, CR1_OFF);
        reg_write(BRR, divider);
        reg_write(CR1, CR1_OFF | CR1_ENABLE);
    }
    return true;
}

void port_uart_begin(void)
{
    port_uart_set_baud(BOARD_UART_BAUD, true);
    port_enable_interrupt(BOARD_UART_IRQ);
}

void port_uart_send(uint8_t byte)
{
    while ((reg_read(ISR) & ROOM) == 0) {
    }
    reg_write(TDR, byte);
    has_sent = true;
}
