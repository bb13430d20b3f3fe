/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UART of Arm's Cortex-M System Design Kit (technical reference manual DDI 0479, section 4.3). A byte
 * that has left the buffer takes a frame of clocks, which no register shows.
 */
#include "board.h"
#include "uart.h"

enum { DATA = 0x00, STATE = 0x04, CONTROL = 0x08, INTERRUPT = 0x0C, DIVIDER = 0x10 };
enum { TX_FULL = 1, RX_FULL = 2, RX_OVERRUN = 8, TX_ON = 1, RX_ON = 2, RX_INTERRUPTS = 8 };
enum { LEAST = 16, MOST = 0xFFFFF, FRAME = 10 };

const uint32_t model_room = 1;
static uint32_t divider, control, interrupt;
static bool overrun;
static struct shifter shifter;
static struct fifo in, waiting;

double model_rate(void)
{
    return divider == 0 ? 0 : (double)BOARD_UART_CLOCK_HZ / divider;
}

uint32_t model_settings(void)
{
    return MOST - LEAST + 1;
}

double model_setting(uint32_t number)
{
    return (double)BOARD_UART_CLOCK_HZ / (number + LEAST);
}

bool model_interrupts(void)
{
    return (control & RX_INTERRUPTS) != 0 && (interrupt & 2) != 0;
}

void model_arrive(uint8_t byte)
{
    REQUIRE((control & RX_ON) != 0);
    if (in.count == 0) {
        fifo_put(&in, byte);
    } else {
        overrun = true;
    }
    interrupt |= 2;
}

void model_clock(void)
{
    (void)shift_clock(&shifter);
    if (shifter.left == 0 && waiting.count > 0) {
        shift_begin(&shifter, fifo_take(&waiting));
        shifter.left = FRAME * divider;
    }
}

uint32_t model_read(uintptr_t address)
{
    pass();
    switch (address - BOARD_UART_BASE) {
    case DATA:
        REQUIRE(in.count > 0);
        return fifo_take(&in);
    case STATE:
        return (waiting.count > 0 ? TX_FULL : 0u) | (in.count > 0 ? RX_FULL : 0u) |
               (overrun ? RX_OVERRUN : 0u);
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    pass();
    REQUIRE(bytes == 4);
    switch (address - BOARD_UART_BASE) {
    case DATA:
        if (waiting.count > 0 || (control & TX_ON) == 0) {
            violation("sent while there is no room or the UART is off", value);
            return;
        }
        fifo_put(&waiting, (uint8_t)value);
        break;
    case STATE:
        overrun = overrun && (value & RX_OVERRUN) == 0;
        break;
    case CONTROL:
        control = value;
        break;
    case INTERRUPT:
        interrupt &= ~value;
        break;
    case DIVIDER:
        if (waiting.count > 0 || shifter.left > 0 || value < LEAST || value > MOST) {
            violation("the divider is out of range or written while a byte goes out", value);
        }
        divider = value;
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
