/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RP2040 (data sheet, sections 2.14 to 2.19 and 4.7): the PLL's clock for the core and UART 0, 1
 * MHz for the timer, and UART 0 on GPIO 0 and 1. The facts are those of rp2.h. The section .boot2
 * must be the first 256 bytes of flash, and the vectors must follow it.
 */
#include "port.h"
#include "rp2.h"

enum { WATCHDOG_TICK = 0x4005802C, TICK_ON = 1 << 9 };
enum { IO = 1 << 5, PADS = 1 << 8, PLL = 1 << 12, TIMER = 1 << 21, UART = 1 << 22 };

#ifdef __arm__
/*
 * The second stage of booting (data sheet, sections 2.8.1.3 and 4.10): it makes the flash readable
 * like memory, by the command READ (0x03) that every serial flash knows, at a quarter of the core's
 * clock. The boot ROM calls it without a return address: then it goes on to the vectors behind it.
 * flash_rp2.h calls a copy of it, which returns. The last word is a CRC-32 of the others.
 */
__asm__(".section .boot2, \"ax\", %progbits\n"
        ".syntax unified\n"
        ".thumb\n"
        ".balign 4\n"
        "boot2:\n"
        "    push {lr}\n"
        "    ldr r3, =0x18000000\n" /* the SSI */
        "    movs r1, #0\n"
        "    str r1, [r3, #0x08]\n" /* SSIENR: off, to be configured */
        "    str r1, [r3, #0x04]\n" /* CTRLR1: one word for each read */
        "    movs r1, #4\n"
        "    str r1, [r3, #0x14]\n" /* BAUDR */
        "    ldr r1, =0x001F0300\n"
        "    str r1, [r3, #0x00]\n" /* CTRLR0: words of 32 bits, read after a command */
        "    ldr r1, =0x03000218\n"
        "    ldr r2, =0x180000F4\n"
        "    str r1, [r2]\n"        /* SPI_CTRLR0: 8 bits of 0x03, 24 of the address, one wire */
        "    movs r1, #1\n"
        "    str r1, [r3, #0x08]\n"
        "    pop {r0}\n"
        "    cmp r0, #0\n"
        "    beq 1f\n"
        "    bx r0\n"
        "1:  ldr r0, =0x10000100\n" /* the vectors */
        "    ldr r1, =0xE000ED08\n" /* VTOR */
        "    str r0, [r1]\n"
        "    ldmia r0, {r0, r1}\n"
        "    msr msp, r0\n"
        "    bx r1\n"
        "    .ltorg\n"
        "    .org 252, 0\n"
        "    .word 0xFAFC88E2\n"
        ".text\n");
#endif

void port_chip_begin(void)
{
    const struct rp2 chip = {
        .clocks = 0x40008000,
        .resets = 0x4000C000,
        .xosc = 0x40024000,
        .pll = 0x40028000,
        .io = 0x40014000,
        .pads = 0x4001C000,
        .reset_pll = PLL,
    };

    rp2_begin_clocks(&chip);
    reg_write(WATCHDOG_TICK, TICK_ON | BOARD_CRYSTAL_HZ / RP2_MHZ);
    rp2_release(&chip, IO | PADS | TIMER | UART);
    rp2_begin_pins(&chip);
}
