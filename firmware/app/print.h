/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text and numbers to the UART, without floating point.
 */
#ifndef NARROWS_PRINT_H
#define NARROWS_PRINT_H

#include <stdint.h>

#include "json.h"

void print(const char *text);

/* A number in decimal, with zeros before it if it has fewer digits. */
void print_digits(uint32_t number, uint32_t fewest);

/* A line with a number in it. */
void print_line(const char *before, uint32_t number, const char *behind);

/* A byte as two hexadecimal digits. */
void print_hex(uint8_t byte);

/* How many decimals to print of multiples of a scale: three, as MLPerf Tiny's own firmware does, or as many, up to
 * nine, as tell two steps of a finer scale apart. */
int32_t decimals_for(struct json_number scale);

/* steps * scale, rounded half away from zero. A whole part of more than 32 bits is printed as the largest that
 * has so many. steps: -2^15 to 2^15. decimals: decimals_for(scale). */
void print_scaled(int32_t steps, struct json_number scale, int32_t decimals);

/* Divide a value, by 1 to 2^32 - 1. Returns the remainder. */
uint32_t divide(uint64_t *value, uint32_t by);

#endif
