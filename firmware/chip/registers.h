/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Access to a chip's registers. Drivers use nothing else, so that tests on the host can put a model of
 * the chip behind them.
 */
#ifndef NARROWS_REGISTERS_H
#define NARROWS_REGISTERS_H

#include <stdint.h>

#ifdef REGISTERS_MODEL
/* Defined by the model of a chip. */
uint32_t reg_read(uintptr_t address);
void reg_write(uintptr_t address, uint32_t value);
void reg_write16(uintptr_t address, uint16_t value);
uint8_t reg_read8(uintptr_t address);
void reg_write8(uintptr_t address, uint8_t value);
#else
static inline uint32_t reg_read(uintptr_t address)
{
    return *(volatile uint32_t *)address;
}

static inline void reg_write(uintptr_t address, uint32_t value)
{
    *(volatile uint32_t *)address = value;
}

static inline void reg_write16(uintptr_t address, uint16_t value)
{
    *(volatile uint16_t *)address = value;
}

static inline uint8_t reg_read8(uintptr_t address)
{
    return *(volatile uint8_t *)address;
}

static inline void reg_write8(uintptr_t address, uint8_t value)
{
    *(volatile uint8_t *)address = value;
}
#endif

#endif
