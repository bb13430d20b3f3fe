/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chip's start over the model of its clocks: in the manual's order, to the board's frequencies.
 */
#include "clock.h"

#include "board.h"
#include "port.h"

#ifndef BOARD_CORE_HZ
#define BOARD_CORE_HZ BOARD_UART_CLOCK_HZ
#endif

void delayed_set(struct delayed *flag, bool wanted)
{
    if (flag->wanted != wanted) {
        flag->wanted = wanted;
        flag->left = drawn(10);
    }
}

bool delayed_read(struct delayed *flag)
{
    if (flag->now != flag->wanted && flag->left-- == 0) {
        flag->now = flag->wanted;
    }
    return flag->now;
}

void test(void)
{
    model_begin(drawn(2) == 0);
    port_chip_begin();
    REQUIRE(model_core_hz() == BOARD_CORE_HZ);
    REQUIRE(model_uart_hz() == BOARD_UART_CLOCK_HZ);
    REQUIRE(model_uart_is_ready());
}
