/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the test of a chip's start wants of a model.
 */
#ifndef CLOCK_H
#define CLOCK_H

#include "model.h"

/* --- given by each model ----------------------------------------------------------------- */

/* The chip is as after a reset, or as a boot loader has left it. */
void model_begin(bool after_boot_loader);
/* What the registers make, in Hz. */
uint32_t model_core_hz(void);
uint32_t model_uart_hz(void);
/* Whether the UART has its clock and its pins, and nothing else has changed. */
bool model_uart_is_ready(void);

/* --- for the models ---------------------------------------------------------------------- */

/* A flag that comes some reads after what it follows. */
struct delayed {
    bool wanted, now;
    uint32_t left;
};
void delayed_set(struct delayed *flag, bool wanted);
bool delayed_read(struct delayed *flag);

/* The registers of STM32's ports A to H with MODER and AFR. enabled: the ports whose clocks run. */
void gpio_begin(void);
uint32_t gpio_read(uintptr_t offset, uint32_t enabled);
void gpio_write(uintptr_t offset, uint32_t value, uint32_t enabled);
/* Whether the UART's pins have the function and all others what they had. */
bool gpio_is_ready(void);

#endif
