/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32's USART with SR and DR (RM0090 section 30).
 */
#include "board.h"
#include "uart.h"

enum { SR = 0x00, DR = 0x04, BRR = 0x08, CR1 = 0x0C };
enum { ORE = 1 << 3, RXNE = 1 << 5, TC = 1 << 6, TXE = 1 << 7 };
enum { RE = 1 << 2, TE = 1 << 3, RXNEIE = 1 << 5, UE = 1 << 13 };

const uint32_t model_room = 1;
static uint32_t brr, cr1;
static struct shifter shifter;
static bool is_waiting, has_byte, has_overrun, was_overrun_read;
static bool has_sent; /* until then TC is as a boot loader has left it: off */
static uint8_t waiting, byte_in;

double model_rate(void)
{
    return brr < 16 || (cr1 & UE) == 0 ? 0 : (double)BOARD_UART_CLOCK_HZ / brr;
}

uint32_t model_settings(void)
{
    return 0x10000 - 16;
}

double model_setting(uint32_t number)
{
    return (double)BOARD_UART_CLOCK_HZ / (number + 16);
}

bool model_interrupts(void)
{
    return (cr1 & RXNEIE) != 0 && (has_byte || has_overrun);
}

void model_arrive(uint8_t byte)
{
    REQUIRE((cr1 & (UE | RE)) == (UE | RE));
    if (has_byte) {
        has_overrun = true;
    } else {
        has_byte = true;
        byte_in = byte;
    }
}

void model_clock(void)
{
    has_sent = shift_clock(&shifter) || has_sent;
    if (shifter.left == 0 && is_waiting) {
        shift_begin(&shifter, waiting);
        is_waiting = false;
    }
}

static uint32_t status(void)
{
    return (has_overrun ? ORE : 0) | (has_byte ? RXNE : 0) | (is_waiting ? 0 : TXE) |
           (is_waiting || shifter.left > 0 || !has_sent ? 0 : TC);
}

uint32_t model_read(uintptr_t address)
{
    pass();
    switch (address - BOARD_UART_BASE) {
    case SR:
        was_overrun_read = has_overrun;
        return status();
    case DR:
        has_byte = false;
        has_overrun = has_overrun && !was_overrun_read;
        was_overrun_read = false;
        return byte_in;
    case BRR:
        return brr;
    case CR1:
        return cr1;
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
    case DR:
        if (is_waiting || (cr1 & (UE | TE)) != (UE | TE)) {
            violation("sent while there is no room or the UART is off", value);
        }
        waiting = (uint8_t)value;
        is_waiting = true;
        break;
    case BRR:
        if (is_waiting || shifter.left > 0 || value < 16 || value > 0xFFFF) {
            violation("BRR out of range or written while a byte goes out", value);
        }
        brr = value;
        break;
    case CR1:
        if (brr == 0 && (value & UE) != 0) {
            violation("enabled without a rate", value);
        }
        cr1 = value;
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
