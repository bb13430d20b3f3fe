/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UART without DMA of nRF51 (reference manual 3.0, section 29) and nRF52 (nRF52840 product
 * specification 1.1, section 6.33). Six received bytes wait in it; one byte is sent at a time.
 *   uart_tx_pin, uart_rx_pin  numbers of the pins; those of port 1 begin at 32
 */
#include "board.h"
#include "port.h"
#include "registers.h"

enum {
    TASKS_STARTRX = BOARD_UART_BASE,
    TASKS_STARTTX = BOARD_UART_BASE + 0x008,
    EVENTS_RXDRDY = BOARD_UART_BASE + 0x108,
    EVENTS_TXDRDY = BOARD_UART_BASE + 0x11C,
    INTENSET = BOARD_UART_BASE + 0x304,
    ENABLE = BOARD_UART_BASE + 0x500,
    PSELRTS = BOARD_UART_BASE + 0x508,
    PSELTXD = BOARD_UART_BASE + 0x50C,
    PSELCTS = BOARD_UART_BASE + 0x510,
    PSELRXD = BOARD_UART_BASE + 0x514,
    RXD = BOARD_UART_BASE + 0x518,
    TXD = BOARD_UART_BASE + 0x51C,
    BAUDRATE = BOARD_UART_BASE + 0x524,
    CONFIG = BOARD_UART_BASE + 0x56C
};
enum { START = 1, INTERRUPT_RXDRDY = 1 << 2, ENABLED = 4, CONFIG_8N1_NO_FLOW_CONTROL = 0 };
#define NO_PIN 0xFFFFFFFFu

enum { GPIO = 0x50000000, GPIO_PORT = 0x300, GPIO_OUTSET = 0x508, GPIO_PIN_CNF = 0x700 };
/* An output has its input buffer disconnected. */
enum { PIN_INPUT_PULLED_UP = 3 << 2, PIN_OUTPUT = 1 << 0 | 1 << 1 };

void uart_interrupt(void);

static bool is_sending;

void uart_interrupt(void)
{
    /* Reading a byte moves the next one up, which gives the event again. */
    while (reg_read(EVENTS_RXDRDY) != 0) {
        reg_write(EVENTS_RXDRDY, 0);
        app_received((uint8_t)reg_read(RXD));
    }
}

static void wait_until_sent(void)
{
    while (is_sending && reg_read(EVENTS_TXDRDY) == 0) {
    }
    is_sending = false;
}

/*
 * BAUDRATE holds baud / 16 MHz in units of 2^-32, rounded to 2^12 of them, for the rates that the
 * manuals list. The actual rates beside them show that a bit takes whole periods of 16 MHz: what is
 * called 921,600 is 941,176 baud, which is too far off.
 */
bool port_uart_set_baud(uint32_t baud, bool change)
{
    static const uint32_t rates[] = {1200,  2400,  4800,   9600,   14400,  19200,  28800,  38400,
                                     57600, 76800, 115200, 230400, 250000, 460800, 1000000};

    for (uint32_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        if (rates[i] == baud) {
            if (change) {
                wait_until_sent();
                /* 2^32 / 16 MHz / 2^12 is 1024 / 15625. */
                reg_write(BAUDRATE, (baud * 1024 + 15625 / 2) / 15625 << 12);
            }
            return true;
        }
    }
    return false;
}

static uint32_t gpio(uint32_t pin, uint32_t offset)
{
    return GPIO + pin / 32 * GPIO_PORT + offset;
}

static void begin_pins(void)
{
    reg_write(gpio(BOARD_UART_TX_PIN, GPIO_OUTSET), 1u << BOARD_UART_TX_PIN % 32);
    reg_write(gpio(BOARD_UART_TX_PIN, GPIO_PIN_CNF) + BOARD_UART_TX_PIN % 32 * 4, PIN_OUTPUT);
    reg_write(gpio(BOARD_UART_RX_PIN, GPIO_PIN_CNF) + BOARD_UART_RX_PIN % 32 * 4,
              PIN_INPUT_PULLED_UP);
    /* Pins may only be chosen while the UART is off. */
    reg_write(ENABLE, 0);
    reg_write(PSELTXD, BOARD_UART_TX_PIN);
    reg_write(PSELRXD, BOARD_UART_RX_PIN);
    reg_write(PSELRTS, NO_PIN);
    reg_write(PSELCTS, NO_PIN);
}

void port_uart_begin(void)
{
    begin_pins();
    reg_write(ENABLE, ENABLED);
    reg_write(CONFIG, CONFIG_8N1_NO_FLOW_CONTROL);
    port_uart_set_baud(BOARD_UART_BAUD, true);
    reg_write(EVENTS_RXDRDY, 0);
    reg_write(EVENTS_TXDRDY, 0);
    reg_write(INTENSET, INTERRUPT_RXDRDY);
    reg_write(TASKS_STARTTX, START);
    reg_write(TASKS_STARTRX, START);
    port_enable_interrupt(BOARD_UART_IRQ);
}

void port_uart_send(uint8_t byte)
{
    wait_until_sent();
    reg_write(EVENTS_TXDRDY, 0);
    reg_write(TXD, byte);
    is_sending = true;
}
