/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UART of Arm's Cortex-M System Design Kit (technical reference manual DDI 0479, section 4.3). One
 * byte each way, no FIFO.
 */
#include "baud.h"
#include "board.h"
#include "port.h"
#include "registers.h"

enum {
    DATA = BOARD_UART_BASE,
    STATE = BOARD_UART_BASE + 0x04,
    CONTROL = BOARD_UART_BASE + 0x08,
    INTERRUPT_STATUS = BOARD_UART_BASE + 0x0C,
    BAUD_DIVIDER = BOARD_UART_BASE + 0x10
};
enum { TX_FULL = 1 << 0, RX_FULL = 1 << 1, RX_OVERRUN = 1 << 3 };              /* STATE */
enum { TX_ENABLE = 1 << 0, RX_ENABLE = 1 << 1, RX_INTERRUPT_ENABLE = 1 << 3 }; /* CONTROL */
enum { RX_INTERRUPT = 1 << 1, FRAME_BITS = 11 };
enum { LEAST_DIVIDER = 16, MOST_DIVIDER = 0xFFFFF };

void uart_interrupt(void);

static uint32_t divider_now;

void uart_interrupt(void)
{
    /* A byte that comes after this interrupts again. */
    reg_write(INTERRUPT_STATUS, RX_INTERRUPT);
    while ((reg_read(STATE) & RX_FULL) != 0) {
        app_received((uint8_t)reg_read(DATA));
    }
    reg_write(STATE, RX_OVERRUN);
}

/* Nothing tells when the byte that has left the buffer is out. That takes a frame, and each read takes a
 * clock or more. */
static void wait_until_sent(void)
{
    while ((reg_read(STATE) & TX_FULL) != 0) {
    }
    for (uint32_t left = divider_now * FRAME_BITS; left > 0; left--) {
        (void)reg_read(STATE);
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
        if (divider_now != 0) {
            wait_until_sent();
        }
        reg_write(BAUD_DIVIDER, divider);
        divider_now = divider;
    }
    return true;
}

void port_uart_begin(void)
{
    port_uart_set_baud(BOARD_UART_BAUD, true);
    reg_write(CONTROL, TX_ENABLE | RX_ENABLE | RX_INTERRUPT_ENABLE);
    port_enable_interrupt(BOARD_UART_IRQ);
}

void port_uart_send(uint8_t byte)
{
    while ((reg_read(STATE) & TX_FULL) != 0) {
    }
    reg_write(DATA, byte);
}
