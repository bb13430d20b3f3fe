/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nRF51 (reference manual 3.0, section 13): the clock comes from the crystal of 16 MHz, since the
 * RC oscillator that runs after reset is too inexact for a timer and a UART.
 */
#include "port.h"
#include "registers.h"

enum { TASKS_HFCLKSTART = 0x40000000, EVENTS_HFCLKSTARTED = 0x40000100 };

void port_chip_begin(void)
{
    reg_write(EVENTS_HFCLKSTARTED, 0);
    reg_write(TASKS_HFCLKSTART, 1);
    while (reg_read(EVENTS_HFCLKSTARTED) == 0) {
    }
}
