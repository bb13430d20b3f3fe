/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UART of Arm's Cortex-M System Design Kit (TRM DDI 0479). One byte each way, no FIFO.
 */
#include "baud.h"
#include "board.h"
#include "port.h"
#include "registers.h"

enum { DATA = 0x0, STATE = 0x4, CONTROL = 0x8, INTERRUPT_STATUS = 0xC, BAUD_DIVIDER = 0x10 };
enum { TX_FULL = 1, RX_FULL = 2 };                              /* STATE */
enum { TX_ENABLE = 1, RX_ENABLE = 2, RX_INTERRUPT_ENABLE = 8 }; /* CONTROL */
enum { RX_INTERRUPT = 2, LEAST_DIVIDER = 16, MOST_DIVIDER = 0xFFFFF };

#define REGISTER(offset) ((uintptr_t)BOARD_UART_BASE + (offset))

void uart_interrupt(void);

void uart_interrupt(void)
{
    reg_write(REGISTER(INTERRUPT_STATUS), RX_INTERRUPT);
    while ((reg_read(REGISTER(STATE)) & RX_FULL) != 0) {
        app_received((uint8_t)reg_read(REGISTER(DATA)));
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
        while ((reg_read(REGISTER(STATE)) & TX_FULL) != 0) {
        }
        reg_write(REGISTER(BAUD_DIVIDER), divider);
    }
    return true;
}

void port_uart_begin(void)
{
    port_uart_set_baud(BOARD_UART_BAUD, true);
    reg_write(REGISTER(CONTROL), TX_ENABLE | RX_ENABLE | RX_INTERRUPT_ENABLE);
    port_enable_interrupt(BOARD_UART_IRQ);
}

void port_uart_send(uint8_t byte)
{
    while ((reg_read(REGISTER(STATE)) & TX_FULL) != 0) {
    }
    reg_write(REGISTER(DATA), byte);
}
