/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FE310 (FE310-G002 manual, chapters 6 and 17): the core takes the crystal's clock, past the PLL,
 * and pins 16 and 17 are UART 0's.
 */
#include "port.h"
#include "registers.h"

enum { HFROSCCFG = 0x10008000, HFXOSCCFG = 0x10008004, PLLCFG = 0x10008008 };
enum { GPIO_IOF_EN = 0x10012038, GPIO_IOF_SEL = 0x1001203C };
enum { OSCILLATOR_ON = 1 << 30 };
enum { PLL_SELECT = 1 << 16, PLL_FROM_CRYSTAL = 1 << 17, PLL_BYPASS = 1 << 18 };
enum { UART_0_PINS = 1 << 16 | 1 << 17 };
#define OSCILLATOR_READY 0x80000000u

void port_chip_begin(void)
{
    reg_write(HFXOSCCFG, OSCILLATOR_ON);
    while ((reg_read(HFXOSCCFG) & OSCILLATOR_READY) == 0) {
    }
    reg_write(PLLCFG, reg_read(PLLCFG) | PLL_FROM_CRYSTAL | PLL_BYPASS);
    reg_write(PLLCFG, reg_read(PLLCFG) | PLL_SELECT);
    reg_write(HFROSCCFG, reg_read(HFROSCCFG) & ~(uint32_t)OSCILLATOR_ON);
    reg_write(GPIO_IOF_SEL, reg_read(GPIO_IOF_SEL) & ~(uint32_t)UART_0_PINS);
    reg_write(GPIO_IOF_EN, reg_read(GPIO_IOF_EN) | UART_0_PINS);
}
