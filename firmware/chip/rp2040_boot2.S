/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RP2040's second stage of booting: the first 256 bytes of the flash. The bootrom copies them
 * to SRAM, and runs them there if their last word is the CRC-32 of the others (RP2040 datasheet,
 * 2.8.1.3.1); narrows.link.image puts it there after linking. They make the flash readable at
 * 0x10000000: with Quad I/O reads (EBh) in continuous mode, where a read is an address on four
 * lines, four idle clocks and data on four lines, without an instruction. Every W25Q can do that,
 * and so can most flash chips of other makers.
 *
 * Reading 8 bytes, which is a line of the XIP cache, takes 28 clocks of the flash that way; the
 * plain serial read (03h) takes 96, and the flash allows it half the rate only. Weights come from
 * there, so this decides how fast a network runs.
 *
 * When the bootrom calls it, LR is 0, and it goes on by the vector table at 0x10000100. The code is
 * position independent, and whoever has programmed the flash can copy it to SRAM beforehand,
 *     extern const uint32_t rp2040_boot2[64];
 * and call the copy with interrupts off, after the bootrom's flash_exit_xip: then it returns.
 */
    .syntax unified
    .cpu cortex-m0plus
    .thumb

/* The flash's clock is that of the system divided by this even number: 62.5 MHz of 125 MHz. A
 * W25Q16JV takes 104 MHz and more for EBh. */
    .equ CLOCK_DIVIDER, 2
/* The flash's answer comes late at this rate: it is sampled one system clock later. */
    .equ SAMPLE_DELAY, 1

    .equ SSI, 0x18000000
    .equ SSI_CTRLR0, 0x00
    .equ SSI_CTRLR1, 0x04
    .equ SSI_SSIENR, 0x08
    .equ SSI_BAUDR, 0x14
    .equ SSI_SR, 0x28
    .equ SSI_DR0, 0x60
    .equ SSI_RX_SAMPLE_DLY, 0xf0
    .equ SSI_SPI_CTRLR0, 0xf4
    .equ SR_BUSY, 1
    .equ SR_TRANSMITTER_EMPTY, 4
    .equ SR_RECEIVED, 8

/* Writing to this alias of the pads clears bits. */
    .equ PADS_QSPI, 0x40020000
    .equ PADS_QSPI_CLEAR, PADS_QSPI + 0x3000
    .equ PAD_SCLK, 0x04
    .equ PAD_SD0, 0x08
    .equ PAD_SD1, 0x0c
    .equ PAD_SD2, 0x10
    .equ PAD_SD3, 0x14
    .equ PAD_8_MA_FAST_SLEW, 2 << 4 | 1
    .equ PAD_SCHMITT, 2

/* Commands of the flash, and the bits of its status registers. */
    .equ WRITE_STATUS, 0x01
    .equ READ_STATUS_1, 0x05
    .equ WRITE_ENABLE, 0x06
    .equ READ_STATUS_2, 0x35
    .equ READ_QUAD_IO, 0xeb
    .equ STATUS_1_BUSY, 1
    .equ STATUS_2_QUAD_ENABLE, 2
/* Behind the address: further reads come without an instruction. */
    .equ MODE_CONTINUOUS, 0xa0

/* CTRLR0: bits of a frame less 1 at 16; transfer mode at 8: 0 both ways, 3 send a command and then
 * receive; lines at 21: 0 one, 2 four. */
    .equ CTRLR0_BYTES, 7 << 16
    .equ CTRLR0_QUAD_READ, 2 << 21 | 31 << 16 | 3 << 8
/* SPI_CTRLR0: command of XIP at 24, or what follows the address if there is no instruction; idle
 * clocks at 11; bits of the instruction at 8: 0 none, 2 eight; nibbles of the address at 2, mode
 * included; at 0: 1, the instruction goes over one line and the address over four; 2, all over
 * four. */
    .equ SPI_CTRLR0_FIRST, 4 << 11 | 2 << 8 | 8 << 2 | 1
    .equ SPI_CTRLR0_XIP, MODE_CONTINUOUS << 24 | 4 << 11 | 8 << 2 | 2

    .equ VECTORS, 0x10000100
    .equ VTOR, 0xe000ed08

    .section .boot2, "ax"
    .balign 4
    .global rp2040_boot2
    .type rp2040_boot2, %object /* for those who copy it */
rp2040_boot2:
    push {r4, lr}

    /* The pads at their fastest: a strong clock, no hysteresis on the data. */
    ldr r0, =PADS_QSPI
    movs r1, #PAD_8_MA_FAST_SLEW
    str r1, [r0, #PAD_SCLK]
    ldr r0, =PADS_QSPI_CLEAR
    movs r1, #PAD_SCHMITT
    str r1, [r0, #PAD_SD0]
    str r1, [r0, #PAD_SD1]
    str r1, [r0, #PAD_SD2]
    str r1, [r0, #PAD_SD3]

    /* The SSI takes settings only while it is off. */
    ldr r4, =SSI
    movs r1, #0
    str r1, [r4, #SSI_SSIENR]
    movs r1, #CLOCK_DIVIDER
    str r1, [r4, #SSI_BAUDR]
    movs r1, #SAMPLE_DELAY
    movs r2, #SSI_RX_SAMPLE_DLY
    str r1, [r4, r2]
    ldr r1, =CTRLR0_BYTES
    str r1, [r4, #SSI_CTRLR0]
    movs r1, #1
    str r1, [r4, #SSI_SSIENR]

    /* Four lines need the flash's quad-enable bit, which it keeps without power. Both status
     * registers are written at once, which every W25Q understands; nothing else in them changes. */
    movs r0, #READ_STATUS_2
    bl read_status
    movs r2, #STATUS_2_QUAD_ENABLE
    tst r0, r2
    bne quad_is_enabled
    orrs r2, r0
    movs r0, #READ_STATUS_1
    bl read_status
    movs r3, r0
    movs r0, #WRITE_ENABLE
    str r0, [r4, #SSI_DR0]
    bl wait
    movs r0, #WRITE_STATUS
    str r0, [r4, #SSI_DR0]
    str r3, [r4, #SSI_DR0]
    str r2, [r4, #SSI_DR0]
    bl wait
flash_is_busy:
    movs r0, #READ_STATUS_1
    bl read_status
    movs r1, #STATUS_1_BUSY
    tst r0, r1
    bne flash_is_busy
quad_is_enabled:

    /* One read with an instruction puts the flash into continuous mode. Turning the SSI off throws
     * away what it has received. */
    ldr r0, =SPI_CTRLR0_FIRST
    bl reconfigure
    movs r1, #READ_QUAD_IO
    str r1, [r4, #SSI_DR0]
    movs r1, #MODE_CONTINUOUS
    str r1, [r4, #SSI_DR0]
    bl wait
    ldr r0, =SPI_CTRLR0_XIP
    bl reconfigure

    pop {r4}
    pop {r0}
    cmp r0, #0
    beq start
    bx r0

start:
    ldr r0, =VECTORS
    ldr r1, =VTOR
    str r0, [r1]
    ldmia r0!, {r1, r2}
    msr msp, r1
    bx r2

/* r0: a command that a byte answers; returns the byte in r0. Changes r1 and r12. */
read_status:
    push {lr}
    str r0, [r4, #SSI_DR0]
    str r0, [r4, #SSI_DR0]
    bl wait
    pop {pc}

/* r0: of SPI_CTRLR0; reads of 32 bits over four lines. Changes r1 and r2. */
reconfigure:
    movs r1, #0
    str r1, [r4, #SSI_SSIENR]
    str r1, [r4, #SSI_CTRLR1]
    ldr r1, =CTRLR0_QUAD_READ
    str r1, [r4, #SSI_CTRLR0]
    movs r2, #SSI_SPI_CTRLR0
    str r0, [r4, r2]
    movs r1, #1
    str r1, [r4, #SSI_SSIENR]
    bx lr

/* Waits until everything is sent, which also ends the command; returns the last byte received in
 * r0. Changes r1 and r12. */
wait:
    ldr r0, [r4, #SSI_SR]
    movs r1, #SR_TRANSMITTER_EMPTY
    tst r0, r1
    beq wait
    movs r1, #SR_BUSY
    tst r0, r1
    bne wait
next_byte:
    ldr r0, [r4, #SSI_SR]
    movs r1, #SR_RECEIVED
    tst r0, r1
    beq no_more
    ldr r0, [r4, #SSI_DR0]
    mov r12, r0
    b next_byte
no_more:
    mov r0, r12
    bx lr

    .pool
    .balign 4
    .org rp2040_boot2 + 252
rp2040_boot2_checksum:
    .word 0
    .size rp2040_boot2, . - rp2040_boot2
