/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The USART with SR and DR: STM32F1, F2, F4 and L1 (RM0008 section 27, RM0090 section 30). One byte
 * each way, no FIFO. The start driver has switched on its clock and its pins.
 */
#include "baud.h"
#include "board.h"
#include "port.h"
#include "registers.h"

enum {
    SR = BOARD_UART_BASE,
    DR = BOARD_UART_BASE + 0x04,
    BRR = BOARD_UART_BASE + 0x08,
    CR1 = BOARD_UART_BASE + 0x0C
};
enum { SR_OVERRUN = 1 << 3, SR_RECEIVED = 1 << 5, SR_SENT = 1 << 6, SR_ROOM = 1 << 7 };
enum {
    CR1_RECEIVE = 1 << 2,
    CR1_TRANSMIT = 1 << 3,
    CR1_RECEIVE_INTERRUPT = 1 << 5,
    CR1_ENABLE = 1 << 13
};
/* The divider in sixteenths: its whole part takes 12 bits and is at least 1. */
enum { LEAST_DIVIDER = 16, MOST_DIVIDER = 0xFFFF };

void uart_interrupt(void);

/* The flag for it may be off from before, when a boot loader has used the USART. */
static bool has_sent;

void uart_interrupt(void)
{
    uint32_t status = reg_read(SR);

    /* An overrun interrupts too, and goes away by reading SR and then DR. */
    while ((status & (SR_RECEIVED | SR_OVERRUN)) != 0) {
        const uint8_t byte = (uint8_t)reg_read(DR);
        if ((status & SR_RECEIVED) != 0) {
            app_received(byte);
        }
        status = reg_read(SR);
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
        while (has_sent && (reg_read(SR) & SR_SENT) == 0) {
        }
        reg_write(BRR, divider);
    }
    return true;
}

void port_uart_begin(void)
{
    port_uart_set_baud(BOARD_UART_BAUD, true);
    reg_write(CR1, CR1_ENABLE | CR1_TRANSMIT | CR1_RECEIVE | CR1_RECEIVE_INTERRUPT);
    port_enable_interrupt(BOARD_UART_IRQ);
}

void port_uart_send(uint8_t byte)
{
    while ((reg_read(SR) & SR_ROOM) == 0) {
    }
    reg_write(DR, byte);
    has_sent = true;
}
