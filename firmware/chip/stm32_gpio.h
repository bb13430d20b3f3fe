/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UART's pins on an STM32 with MODER and AFR: F2, F4, L4, H7 and others (RM0090 section 8).
 * Facts of the board, whose ports count from 0 for A:
 *   uart_tx_port, uart_tx_pin, uart_rx_port, uart_rx_pin
 *   uart_function  the number of the alternate function, the same for both
 */
#ifndef NARROWS_STM32_GPIO_H
#define NARROWS_STM32_GPIO_H

#include "board.h"
#include "registers.h"
#include "stm32.h"

/* gpio: where port A's registers begin. The pull-up keeps a line quiet that nothing drives. */
static inline void stm32_pin_function(uintptr_t gpio, uint32_t port, uint32_t pin)
{
    enum { STRIDE = 0x400, MODER = 0x00, OSPEEDR = 0x08, PUPDR = 0x0C, AFR = 0x20 };
    enum { ALTERNATE = 2, MEDIUM_SPEED = 1, PULL_UP = 1 };
    const uintptr_t base = gpio + port * STRIDE;

    stm32_set_field(base + AFR + pin / 8 * 4, pin % 8 * 4, 4, BOARD_UART_FUNCTION);
    stm32_set_field(base + OSPEEDR, pin * 2, 2, MEDIUM_SPEED);
    stm32_set_field(base + PUPDR, pin * 2, 2, PULL_UP);
    stm32_set_field(base + MODER, pin * 2, 2, ALTERNATE);
}

/* enable: the register that switches the ports' clocks on, port A's by bit 0. */
static inline void stm32_uart_pins(uintptr_t gpio, uintptr_t enable)
{
    stm32_set(enable, 1u << BOARD_UART_TX_PORT | 1u << BOARD_UART_RX_PORT);
    (void)reg_read(enable); /* the clock runs two cycles after the write */
    stm32_pin_function(gpio, BOARD_UART_TX_PORT, BOARD_UART_TX_PIN);
    stm32_pin_function(gpio, BOARD_UART_RX_PORT, BOARD_UART_RX_PIN);
}

#endif
