/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UART without DMA of nRF51 and nRF52 (reference manual 3.0, section 29), and its pins.
 */
#include "board.h"
#include "uart.h"

enum { STARTRX = 0x000, STARTTX = 0x008, RXDRDY = 0x108, TXDRDY = 0x11C, INTENSET = 0x304 };
enum { ENABLE = 0x500, PSELRTS = 0x508, PSELTXD = 0x50C, PSELCTS = 0x510, PSELRXD = 0x514 };
enum { RXD = 0x518, TXD = 0x51C, BAUDRATE = 0x524, CONFIG = 0x56C, ROOM = 6 };
#define GPIO 0x50000000u
enum { PORT = 0x300, OUTSET = 0x508, PIN_CNF = 0x700 };

/* What the manuals list for 1200 to 1,000,000 baud. */
static const uint32_t listed[] = {
    0x0004F000, 0x0009D000, 0x0013B000, 0x00275000, 0x003B0000, 0x004EA000, 0x0075F000, 0x009D5000,
    0x00EBF000, 0x013A9000, 0x01D7E000, 0x03AFB000, 0x04000000, 0x075F7000, 0x10000000,
};

const uint32_t model_room = ROOM;
static uint32_t baudrate = 0x04000000, enable = 4, inten, pins[2] = {~0u, ~0u};
static uint32_t configured[64], high[2];
static bool rxdrdy, txdrdy, receives, sends;
static struct shifter shifter;
static struct fifo in; /* its first byte is in RXD */

double model_rate(void)
{
    for (uint32_t i = 0; i < model_settings(); i++) {
        if (listed[i] == baudrate) {
            return model_setting(i);
        }
    }
    violation("a rate that no manual lists", baudrate);
    return 0;
}

uint32_t model_settings(void)
{
    return sizeof listed / sizeof listed[0];
}

/* A bit takes whole periods of 16 MHz. */
double model_setting(uint32_t number)
{
    const double periods = 4294967296.0 / listed[number];

    return 16e6 / (uint32_t)(periods + 0.5);
}

bool model_interrupts(void)
{
    return (inten & 1 << 2) != 0 && rxdrdy;
}

void model_arrive(uint8_t byte)
{
    REQUIRE(enable == 4 && receives);
    REQUIRE(pins[0] == BOARD_UART_TX_PIN && pins[1] == BOARD_UART_RX_PIN);
    REQUIRE((configured[BOARD_UART_TX_PIN] & 1) == 1 && (configured[BOARD_UART_RX_PIN] & 3) == 0);
    REQUIRE((high[BOARD_UART_TX_PIN / 32] >> BOARD_UART_TX_PIN % 32 & 1) == 1);
    if (in.count == ROOM) {
        return; /* the event ERROR tells, which nobody asks for */
    }
    fifo_put(&in, byte);
    if (in.count == 1) {
        rxdrdy = true;
    }
}

void model_clock(void)
{
    txdrdy = shift_clock(&shifter) || txdrdy;
}

uint32_t model_read(uintptr_t address)
{
    pass();
    switch (address - BOARD_UART_BASE) {
    case RXDRDY:
        return rxdrdy;
    case TXDRDY:
        return txdrdy;
    case RXD: {
        const uint8_t byte = fifo_take(&in);
        rxdrdy = in.count > 0 || rxdrdy;
        return byte;
    }
    default:
        violation("read of an unknown register", (uint32_t)address);
        return 0;
    }
}

static void write_gpio(uintptr_t offset, uint32_t value)
{
    const uint32_t port = offset >= PORT + OUTSET ? 1 : 0; /* behind port 0's last register */
    const uintptr_t within = offset - port * PORT;

    if (within == OUTSET) {
        high[port] |= value;
    } else if (within >= PIN_CNF && within < PIN_CNF + 32 * 4) {
        configured[port * 32 + (within - PIN_CNF) / 4] = value;
    } else {
        violation("write of an unknown register of the pins", (uint32_t)offset);
    }
}

static void write_pin(uint32_t which, uint32_t value)
{
    if (enable != 0) {
        violation("a pin chosen while the UART is on", value);
    }
    pins[which] = value;
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    pass();
    REQUIRE(bytes == 4);
    if (address >= GPIO) {
        write_gpio(address - GPIO, value);
        return;
    }
    switch (address - BOARD_UART_BASE) {
    case STARTRX:
        receives = enable == 4;
        break;
    case STARTTX:
        sends = enable == 4;
        break;
    case RXDRDY:
        rxdrdy = value != 0;
        break;
    case TXDRDY:
        txdrdy = value != 0;
        break;
    case INTENSET:
        inten |= value;
        break;
    case ENABLE:
        enable = value;
        break;
    case PSELTXD:
        write_pin(0, value);
        break;
    case PSELRXD:
        write_pin(1, value);
        break;
    case PSELRTS:
    case PSELCTS:
        REQUIRE(value == ~0u);
        break;
    case TXD:
        if (shifter.left > 0 || !sends) {
            violation("sent while a byte goes out or the UART is off", value);
            return;
        }
        shift_begin(&shifter, (uint8_t)value);
        break;
    case BAUDRATE:
        if (shifter.left > 0) {
            violation("rate written while a byte goes out", value);
        }
        baudrate = value;
        break;
    case CONFIG:
        REQUIRE(value == 0);
        break;
    default:
        violation("write of an unknown register", (uint32_t)address);
    }
}
