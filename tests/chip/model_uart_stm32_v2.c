/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32's USART with ISR, RDR and TDR, and FIFOs of 16 bytes if they are on (RM0433 section 48).
 */
#include "board.h"
#include "uart.h"

enum { CR1 = 0x00, BRR = 0x0C, ISR = 0x1C, ICR = 0x20, RDR = 0x24, TDR = 0x28 };
enum { ORE = 1 << 3, RXNE = 1 << 5, TC = 1 << 6, TXE = 1 << 7 };
enum { UE = 1 << 0, RE = 1 << 2, TE = 1 << 3, RXNEIE = 1 << 5, FIFOEN = 1 << 29 };

const uint32_t model_room = 16;
static uint32_t brr, cr1;
static struct shifter shifter;
static struct fifo in, waiting;
static bool has_overrun;
static bool has_sent; /* until then TC is as a boot loader has left it: off */

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
    return (cr1 & RXNEIE) != 0 && (in.count > 0 || has_overrun);
}

static uint32_t room(void)
{
    return (cr1 & FIFOEN) != 0 ? 16 : 1;
}

void model_arrive(uint8_t byte)
{
    REQUIRE((cr1 & (UE | RE)) == (UE | RE));
    if (in.count == room()) {
        has_overrun = true;
    } else if (!has_overrun) { /* while it is set, nothing is received */
        fifo_put(&in, byte);
    }
}

void model_clock(void)
{
    has_sent = shift_clock(&shifter) || has_sent;
    if (shifter.left == 0 && waiting.count > 0) {
        shift_begin(&shifter, fifo_take(&waiting));
    }
}

static bool is_sending(void)
{
    return waiting.count > 0 || shifter.left > 0;
}

uint32_t model_read(uintptr_t address)
{
    pass();
    switch (address - BOARD_UART_BASE) {
    case ISR:
        return (has_overrun ? ORE : 0) | (in.count > 0 ? RXNE : 0) |
               (is_sending() || !has_sent ? 0 : TC) | (waiting.count < room() ? TXE : 0);
    case RDR:
        return fifo_take(&in);
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

static void write_cr1(uint32_t value)
{
    if ((cr1 & UE) != 0 && ((cr1 ^ value) & FIFOEN) != 0) {
        violation("FIFOs switched while the UART is on", value);
    }
    if ((value & UE) == 0) {
        if (is_sending()) {
            violation("switched off while a byte goes out", value);
        }
        in.count = 0;
        has_overrun = false;
    } else if (brr == 0) {
        violation("enabled without a rate", value);
    }
    cr1 = value;
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    pass();
    REQUIRE(bytes == 4);
    switch (address - BOARD_UART_BASE) {
    case TDR:
        if (waiting.count == room() || (cr1 & (UE | TE)) != (UE | TE)) {
            violation("sent while there is no room or the UART is off", value);
            return;
        }
        fifo_put(&waiting, (uint8_t)value);
        break;
    case BRR:
        if ((cr1 & UE) != 0 || value < 16 || value > 0xFFFF) {
            violation("BRR out of range or written while the UART is on", value);
        }
        brr = value;
        break;
    case CR1:
        write_cr1(value);
        break;
    case ICR:
        has_overrun = has_overrun && (value & ORE) == 0;
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
