/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UART of Arm's Cortex-M System Design Kit. One byte each way, no FIFO.
 */
#include "port.h"

struct cmsdk_uart {
    volatile uint32_t data, state, control, interrupt_status, baud_divider;
};
#define UART ((struct cmsdk_uart *)BOARD_UART_BASE)
#define NVIC_ISER ((volatile uint32_t *)0xE000E100)
enum { TX_FULL = 1, RX_FULL = 2 };                             /* state */
enum { TX_ENABLE = 1, RX_ENABLE = 2, RX_INTERRUPT_ENABLE = 8 }; /* control */
enum { RX_INTERRUPT = 2, LEAST_DIVIDER = 16 };

void uart_interrupt(void);

void uart_interrupt(void)
{
    UART->interrupt_status = RX_INTERRUPT;
    while ((UART->state & RX_FULL) != 0) {
        app_received((uint8_t)UART->data);
    }
}

void port_uart_begin(void)
{
    const uint32_t divider = BOARD_UART_CLOCK_HZ / BOARD_UART_BAUD;

    UART->baud_divider = divider > LEAST_DIVIDER ? divider : LEAST_DIVIDER;
    UART->control = TX_ENABLE | RX_ENABLE | RX_INTERRUPT_ENABLE;
    NVIC_ISER[BOARD_UART_IRQ / 32] = 1u << BOARD_UART_IRQ % 32;
}

void port_uart_send(uint8_t byte)
{
    while ((UART->state & TX_FULL) != 0) {
    }
    UART->data = byte;
}
