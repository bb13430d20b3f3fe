/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver of a UART over the model of its registers: rates, receiving, sending.
 */
#include "uart.h"

#include <math.h>
#include <string.h>

#include "board.h"
#include "port.h"

enum { MOST = 4096, BURST = 601, SLOW = 40 };
static const uint32_t rates[] = {
    1,      50,     110,    300,    600,    1200,   1800,   2400,    4800,    9600,    14400,
    19200,  28800,  38400,  57600,  76800,  115200, 128000, 230400,  250000,  256000,  460800,
    500000, 576000, 921600, 940000, 1000000, 1500000, 2000000, 3000000, 4000000, 6000000, 12000000,
};

void uart_interrupt(void);

static uint8_t received[MOST], out[MOST];
static uint32_t received_count, out_count;
static uint8_t coming[MOST];           /* what the line brings */
static uint32_t coming_count, came, until_next, spacing;

void app_received(uint8_t byte)
{
    REQUIRE(received_count < MOST);
    received[received_count++] = byte;
}

void shift_begin(struct shifter *shifter, uint8_t byte)
{
    shifter->byte = byte;
    shifter->left = 1 + drawn(SLOW);
}

bool shift_clock(struct shifter *shifter)
{
    if (shifter->left == 0 || --shifter->left > 0) {
        return false;
    }
    REQUIRE(out_count < MOST);
    out[out_count++] = shifter->byte;
    return true;
}

void fifo_put(struct fifo *fifo, uint8_t byte)
{
    REQUIRE(fifo->count < FIFO_MOST);
    fifo->bytes[fifo->count++] = byte;
}

uint8_t fifo_take(struct fifo *fifo)
{
    const uint8_t byte = fifo->bytes[0];

    if (fifo->count > 0) {
        memmove(fifo->bytes, fifo->bytes + 1, --fifo->count);
    }
    return byte;
}

void pass(void)
{
    model_clock();
    if (came < coming_count && until_next-- == 0) {
        model_arrive(coming[came++]);
        until_next = spacing > 0 ? spacing + drawn(SLOW) : drawn(4);
    }
}

static bool is_near(double rate, double wanted, double part)
{
    return fabs(rate - wanted) <= wanted * part;
}

/* Whether any registers make the rate, to this part of it. */
static bool is_possible(double wanted, double part)
{
    for (uint32_t i = 0; i < model_settings(); i++) {
        if (is_near(model_setting(i), wanted, part)) {
            return true;
        }
    }
    return false;
}

static void check_rate(uint32_t rate)
{
    const double before = model_rate();
    const bool can = port_uart_set_baud(rate, false);

    REQUIRE(model_rate() == before);
    /* Right at 2%, rounding to whole bauds decides. */
    const double rounding = 1.0 / rate;
    REQUIRE(!can || is_possible(rate, 0.02 + rounding));
    REQUIRE(can || !is_possible(rate, 0.02 - rounding));
    REQUIRE(port_uart_set_baud(rate, true) == can);
    REQUIRE(can ? is_near(model_rate(), rate, 0.02 + rounding) : model_rate() == before);
}

static void check_rates(void)
{
    REQUIRE(!port_uart_set_baud(0, false) && !port_uart_set_baud(0, true));
    REQUIRE(!port_uart_set_baud(UINT32_MAX, true));
    for (uint32_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        check_rate(rates[i]);
    }
    for (uint32_t i = 0; i < 200; i++) {
        check_rate(300 + drawn(1u << (8 + i % 15)));
    }
    REQUIRE(port_uart_set_baud(BOARD_UART_BAUD, true));
}

static void serve(void)
{
    if (model_interrupts()) {
        uart_interrupt();
    }
}

static void check_receiving(void)
{
    for (uint32_t i = 0; i < BURST; i++) {
        coming[i] = (uint8_t)drawn(256);
    }
    received_count = came = until_next = 0;
    coming_count = BURST;
    spacing = 12; /* in accesses; a handler that takes more for a byte loses some */
    for (uint32_t i = 0; i < BURST * (spacing + 2 * SLOW) + 1000; i++) {
        pass();
        serve();
    }
    REQUIRE(received_count == BURST && memcmp(received, coming, BURST) == 0);
    REQUIRE(!model_interrupts());
}

/* A few bytes that come too fast for any handler: some are lost, but none comes twice or from
 * nowhere, and the receiver does not get stuck. */
static void flood(void)
{
    uint32_t at = 0;

    received_count = came = until_next = 0;
    coming_count = 2 + drawn(2 * FIFO_MOST);
    spacing = 0;
    for (uint32_t i = 0; i < coming_count; i++) {
        coming[i] = (uint8_t)drawn(256);
    }
    for (uint32_t i = 0; i < 200 || came < coming_count; i++) {
        pass();
        serve();
    }
    REQUIRE(received_count > 0 && !model_interrupts());
    for (uint32_t i = 0; i < received_count; i++, at++) {
        while (at < coming_count && coming[at] != received[i]) {
            at++;
        }
        REQUIRE(at < coming_count);
    }
}

static void check_flood(void)
{
    for (uint32_t i = 0; i < 100; i++) {
        flood();
    }
    check_receiving();
}

/* More bytes than the receiver holds: the first come through, and so does all that follows. */
static void check_overrun(void)
{
    received_count = coming_count = 0;
    for (uint32_t i = 0; i < model_room + 3; i++) {
        model_arrive((uint8_t)(100 + i));
    }
    for (uint32_t i = 0; i < 200; i++) {
        pass();
        serve();
    }
    REQUIRE(received_count == model_room);
    for (uint32_t i = 0; i < model_room; i++) {
        REQUIRE(received[i] == 100 + i);
    }
    REQUIRE(!model_interrupts());
    check_receiving();
}

/* Bytes go out in order, also before the rate changes. */
static void check_sending(void)
{
    static uint8_t bytes[BURST];
    const uint32_t before = out_count;

    for (uint32_t i = 0; i < BURST; i++) {
        bytes[i] = (uint8_t)drawn(256);
        port_uart_send(bytes[i]);
        for (uint32_t j = drawn(3) == 0 ? drawn(3 * SLOW) : 0; j > 0; j--) {
            pass();
        }
        if (drawn(10) == 0) {
            REQUIRE(port_uart_set_baud(i % 2 == 0 ? 57600 : BOARD_UART_BAUD, true));
            REQUIRE(out_count - before == i + 1);
        }
    }
    for (uint32_t i = 0; i < 100000 && out_count - before < BURST; i++) {
        pass();
    }
    REQUIRE(out_count - before == BURST && memcmp(out + before, bytes, BURST) == 0);
    REQUIRE(port_uart_set_baud(BOARD_UART_BAUD, true));
}

void test(void)
{
    port_uart_begin();
    REQUIRE(is_near(model_rate(), BOARD_UART_BAUD, 0.02));
    REQUIRE(enabled_interrupt == BOARD_UART_IRQ);
    check_receiving();
    check_sending();
    check_rates();
    check_overrun();
    check_flood();
    check_sending();
}
