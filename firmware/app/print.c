/* SPDX-License-Identifier: Apache-2.0 */
#include "print.h"

#include "port.h"

enum { FEWEST_DECIMALS = 3, MOST_DECIMALS = 9 };

void print(const char *text)
{
    while (*text != 0) {
        port_uart_send((uint8_t)*text++);
    }
}

void print_digits(uint32_t number, uint32_t fewest)
{
    char digits[10];
    uint32_t count = 0;

    for (; number > 0 || count < fewest; number /= 10) {
        digits[count++] = (char)('0' + number % 10);
    }
    while (count > 0) {
        port_uart_send((uint8_t)digits[--count]);
    }
}

void print_line(const char *before, uint32_t number, const char *behind)
{
    print(before);
    print_digits(number, 1);
    print(behind);
    print("\r\n");
}

void print_hex(uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";

    port_uart_send((uint8_t)digits[byte >> 4]);
    port_uart_send((uint8_t)digits[byte & 15]);
}

/* Not every board's compiler has a library that divides 64 bits. */
uint32_t divide(uint64_t *value, uint32_t by)
{
    uint64_t rest = 0;

    for (uint32_t bit = 0; bit < 64; bit++) {
        rest = rest << 1 | *value >> 63;
        *value <<= 1;
        if (rest >= by) {
            rest -= by;
            *value |= 1;
        }
    }
    return (uint32_t)rest;
}

int32_t decimals_for(struct json_number scale)
{
    int32_t decimals = 1 - scale.exponent;

    for (uint32_t rest = scale.digits; rest > 0; rest /= 10) {
        decimals--;
    }
    return decimals < FEWEST_DECIMALS ? FEWEST_DECIMALS
           : decimals > MOST_DECIMALS ? MOST_DECIMALS : decimals;
}

void print_scaled(int32_t steps, struct json_number scale, int32_t decimals)
{
    uint64_t value = (uint64_t)(steps < 0 ? -steps : steps) * scale.digits;
    int32_t shift = scale.exponent + decimals;   /* value * 10^shift are units of the last decimal */
    uint32_t unit = 1;

    for (; shift < -1 && value > 0; shift++) {
        divide(&value, 10);
    }
    if (shift < 0) {
        value += 5;
        divide(&value, 10);
    }
    for (int32_t i = 0; i < decimals; i++) {
        unit *= 10;
    }
    const uint64_t most = (uint64_t)UINT32_MAX * unit;
    for (; shift > 0 && value > 0 && value < most; shift--) {
        value *= 10;
    }
    value = value < most ? value : most;
    if (steps < 0 && value > 0) {
        print("-");
    }
    const uint32_t fraction = divide(&value, unit);
    print_digits((uint32_t)value, 1);
    print(".");
    print_digits(fraction, (uint32_t)decimals);
}
