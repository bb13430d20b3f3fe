/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STM32's pins (RM0090 section 8): only a port whose clock runs can be written.
 */
#include "board.h"
#include "clock.h"

#ifdef BOARD_UART_FUNCTION
enum { PORTS = 8, MODER = 0x00, OSPEEDR = 0x08, PUPDR = 0x0C, AFR = 0x20, STRIDE = 0x400 };
enum { REGISTERS = 10, ALTERNATE = 2, PULL_UP = 1 };

static uint32_t ports[PORTS][REGISTERS], before[PORTS][REGISTERS];

void gpio_begin(void)
{
    for (uint32_t i = 0; i < PORTS * REGISTERS; i++) {
        ports[i / REGISTERS][i % REGISTERS] = before[i / REGISTERS][i % REGISTERS] =
            drawn(1u << 16) << 16 | drawn(1u << 16);
    }
}

static uint32_t *find(uintptr_t offset, uint32_t enabled)
{
    static uint32_t nothing;
    const uintptr_t port = offset / STRIDE, which = offset % STRIDE / 4;

    if (port >= PORTS || which >= REGISTERS || (enabled >> port & 1) == 0) {
        violation("a port without a clock, or an unknown register of it", (uint32_t)offset);
        return &nothing;
    }
    return &ports[port][which];
}

uint32_t gpio_read(uintptr_t offset, uint32_t enabled)
{
    return *find(offset, enabled);
}

void gpio_write(uintptr_t offset, uint32_t value, uint32_t enabled)
{
    *find(offset, enabled) = value;
}

/* Put the pin's fields back to what they were. Returns whether they were right. */
static bool take_pin(uint32_t port, uint32_t pin)
{
    static const struct {
        uint32_t offset, bits;
    } fields[] = {{MODER, 2}, {OSPEEDR, 2}, {PUPDR, 2}, {AFR, 4}};
    uint32_t found[4];

    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t bits = fields[i].bits, shift = pin * bits % 32;
        const uint32_t which = fields[i].offset / 4 + pin * bits / 32;
        const uint32_t mask = ((1u << bits) - 1) << shift;
        found[i] = (ports[port][which] & mask) >> shift;
        ports[port][which] = (ports[port][which] & ~mask) | (before[port][which] & mask);
    }
    return found[0] == ALTERNATE && found[2] == PULL_UP && found[3] == BOARD_UART_FUNCTION;
}

bool gpio_is_ready(void)
{
    const bool sends = take_pin(BOARD_UART_TX_PORT, BOARD_UART_TX_PIN);
    const bool receives = take_pin(BOARD_UART_RX_PORT, BOARD_UART_RX_PIN);

    for (uint32_t i = 0; i < PORTS * REGISTERS; i++) {
        if (ports[i / REGISTERS][i % REGISTERS] != before[i / REGISTERS][i % REGISTERS]) {
            return false;
        }
    }
    return sends && receives;
}
#endif
