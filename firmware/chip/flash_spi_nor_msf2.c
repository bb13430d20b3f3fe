/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A serial NOR flash on SmartFusion2's SPI 0 (Microchip UG0331, section "Serial Peripheral
 * Interface Controller"): Spansion's S25FL128S (data sheet 001-98283) or a predecessor with sectors
 * of 64 KiB. It can't be read like memory, so RAM at the area's base shadows it: filled on the first
 * call of port_flash, and read back after whatever changes it.
 *   spi_base, spi_clock_hz  the controller and its bus's clock
 *   nor_offset  where the area begins in the NOR; not in the first or last 128 KiB, where smaller
 *               sectors may lie, which the command that is used does not erase
 */
#include "board.h"
#include "flash_area.h"
#include "port.h"
#include "registers.h"

enum {
    CONTROL = BOARD_SPI_BASE,
    FRAME_SIZE = BOARD_SPI_BASE + 0x04,
    STATUS = BOARD_SPI_BASE + 0x08,
    RX_DATA = BOARD_SPI_BASE + 0x10,
    TX_DATA = BOARD_SPI_BASE + 0x14,
    CLOCK_DIVIDER = BOARD_SPI_BASE + 0x18,
    SELECT = BOARD_SPI_BASE + 0x1C
};
enum {
    CONTROL_ENABLE = 1 << 0,
    CONTROL_MASTER = 1 << 1,
    CONTROL_FRAMES = 8, /* the position of the count of frames that the NOR stays selected for */
    CONTROL_MODE_3 = 1 << 24 | 1 << 25,
    CONTROL_STAY_SELECTED = 1 << 26, /* between the frames */
    CONTROL_EVEN_DIVIDERS = 1 << 28  /* the clock is divided by 2 * (CLOCK_DIVIDER + 1) */
};
#define CONTROL_IDLE \
    (CONTROL_MASTER | CONTROL_MODE_3 | CONTROL_STAY_SELECTED | (uint32_t)CONTROL_EVEN_DIVIDERS)
enum { STATUS_NOTHING_RECEIVED = 1 << 6, SLAVE_0 = 1, BITS = 8 };
/* Well below the 50 MHz that READ allows. */
enum { MOST_SPI_HZ = 25000000, DIVIDER = (BOARD_SPI_CLOCK_HZ - 1) / (2 * MOST_SPI_HZ) };

enum nor_command {
    PAGE_PROGRAM = 0x02,
    READ = 0x03,
    READ_STATUS = 0x05,
    WRITE_ENABLE = 0x06,
    CLEAR_STATUS = 0x30,
    READ_ID = 0x9F,
    SECTOR_ERASE = 0xD8
};
enum { NOR_BUSY = 1 << 0, NOR_ERASE_FAILED = 1 << 5, NOR_PROGRAM_FAILED = 1 << 6 };
enum { ID_BYTES = 5, ADDRESS_BYTES = 3 };
/* The NOR corrects errors in 16 bytes together, and only if they are programmed once. */
enum { SECTOR = 65536, UNIT = 16, ERASED = 0xFF, PART = 1024 };
typedef char check_area[BOARD_NOR_OFFSET % SECTOR == 0 && BOARD_FLASH_BYTES % SECTOR == 0 ? 1 : -1];

static bool has_nor;

/* The NOR's answer to `out` begins behind it. One frame at a time is under way, so that neither
 * FIFO runs over. */
static void transfer(const uint8_t *out, uint32_t out_count, uint8_t *in, uint32_t in_count)
{
    const uint32_t frames = out_count + in_count;

    /* The count is taken over only while the controller is off. */
    reg_write(CONTROL, CONTROL_IDLE | frames << CONTROL_FRAMES);
    reg_write(CONTROL, CONTROL_IDLE | frames << CONTROL_FRAMES | CONTROL_ENABLE);
    for (uint32_t i = 0; i < frames; i++) {
        reg_write(TX_DATA, i < out_count ? out[i] : 0);
        while ((reg_read(STATUS) & STATUS_NOTHING_RECEIVED) != 0) {
        }
        const uint8_t byte = (uint8_t)reg_read(RX_DATA);
        if (i >= out_count) {
            in[i - out_count] = byte;
        }
    }
}

static void put_command(uint8_t *bytes, enum nor_command command, uint32_t offset)
{
    const uint32_t address = BOARD_NOR_OFFSET + offset;

    bytes[0] = (uint8_t)command;
    bytes[1] = (uint8_t)(address >> 16);
    bytes[2] = (uint8_t)(address >> 8);
    bytes[3] = (uint8_t)address;
}

static void send(enum nor_command command)
{
    const uint8_t byte = (uint8_t)command;

    transfer(&byte, 1, 0, 0);
}

/* Refresh the shadow; offset and bytes are within the area. */
static void read_back(uint32_t offset, uint32_t bytes)
{
    uint8_t out[1 + ADDRESS_BYTES];

    for (uint32_t done = 0; done < bytes;) {
        const uint32_t count = bytes - done < PART ? bytes - done : PART;
        put_command(out, READ, offset + done);
        transfer(out, sizeof out, (uint8_t *)BOARD_FLASH_BASE + offset + done, count);
        done += count;
    }
}

/* A NOR that failed stays busy until its status is cleared. */
static bool wait_until_done(void)
{
    const uint8_t out = READ_STATUS;
    uint8_t status;

    do {
        transfer(&out, 1, &status, 1);
        if ((status & (NOR_ERASE_FAILED | NOR_PROGRAM_FAILED)) != 0) {
            send(CLEAR_STATUS);
            return false;
        }
    } while ((status & NOR_BUSY) != 0);
    return true;
}

/* A command that changes the NOR, and the bytes of the area that it changes. */
static bool change(const uint8_t *out, uint32_t out_count, uint32_t offset, uint32_t bytes)
{
    send(WRITE_ENABLE);
    transfer(out, out_count, 0, 0);
    const bool done = wait_until_done();
    read_back(offset, bytes);
    return done;
}

static bool erase(uint32_t offset)
{
    uint8_t out[1 + ADDRESS_BYTES];

    if (!has_nor || !flash_has(offset, SECTOR)) {
        return false;
    }
    put_command(out, SECTOR_ERASE, offset);
    return change(out, sizeof out, offset, SECTOR);
}

static bool program(uint32_t offset, const uint8_t *unit)
{
    uint8_t out[1 + ADDRESS_BYTES + UNIT];

    if (!has_nor || !flash_has(offset, UNIT)) {
        return false;
    }
    put_command(out, PAGE_PROGRAM, offset);
    for (uint32_t i = 0; i < UNIT; i++) {
        out[1 + ADDRESS_BYTES + i] = unit[i];
    }
    return change(out, sizeof out, offset, UNIT);
}

/* Whether the NOR is one of Spansion's with 128 Mbit and sectors of 64 KiB. */
static bool is_known(void)
{
    const uint8_t out = READ_ID;
    uint8_t id[ID_BYTES];

    transfer(&out, 1, id, sizeof id);
    return id[0] == 0x01 && id[1] == 0x20 && id[2] == 0x18 && id[4] == 0x01;
}

static void begin(void)
{
    reg_write(CONTROL, CONTROL_IDLE);
    reg_write(FRAME_SIZE, BITS);
    reg_write(CLOCK_DIVIDER, DIVIDER);
    reg_write(SELECT, SLAVE_0);
    has_nor = is_known();
    if (has_nor) {
        read_back(0, BOARD_FLASH_BYTES);
    } else {
        for (uint32_t i = 0; i < BOARD_FLASH_BYTES; i++) {
            ((uint8_t *)BOARD_FLASH_BASE)[i] = ERASED;
        }
    }
}

const struct port_flash *port_flash(void)
{
    static const struct port_flash flash = {
        .base = (const uint8_t *)BOARD_FLASH_BASE,
        .bytes = BOARD_FLASH_BYTES,
        .erase_bytes = SECTOR,
        .program_bytes = UNIT,
        .erased = ERASED,
        .erase = erase,
        .program = program,
    };
    static bool has_begun;

    if (!has_begun) {
        has_begun = true;
        begin();
    }
    return &flash;
}
