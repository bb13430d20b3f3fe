/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nRF52 (nRF52840 product specification 1.1, sections 4.3 and 5.4): the clock comes from the
 * crystal, since the RC oscillator that runs after reset is too inexact for a timer and a UART; and
 * the instruction cache is on, without which code in flash waits for each word.
 */
#include "port.h"
#include "registers.h"

enum {
    TASKS_HFCLKSTART = 0x40000000,
    EVENTS_HFCLKSTARTED = 0x40000100,
    NVMC_ICACHECNF = 0x4001E540
};

void port_chip_begin(void)
{
    reg_write(NVMC_ICACHECNF, 1);
    reg_write(EVENTS_HFCLKSTARTED, 0);
    reg_write(TASKS_HFCLKSTART, 1);
    while (reg_read(EVENTS_HFCLKSTARTED) == 0) {
    }
}
