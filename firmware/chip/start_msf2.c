/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SmartFusion2 (Microchip UG0331, section "System Register Block"): UART 0, UART 1 and both SPI
 * controllers leave reset. Clocks and pins are those of the FPGA's design.
 */
#include "port.h"
#include "registers.h"

enum { SOFT_RST_CR = 0x40038048, UARTS = 1 << 7 | 1 << 8, SPIS = 1 << 9 | 1 << 10 };

void port_chip_begin(void)
{
    reg_write(SOFT_RST_CR, reg_read(SOFT_RST_CR) & ~(uint32_t)(UARTS | SPIS));
}
