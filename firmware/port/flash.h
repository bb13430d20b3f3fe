/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store needs of a flash memory that is read like any other memory.
 */
#ifndef NARROWS_FLASH_H
#define NARROWS_FLASH_H

#include <stdbool.h>
#include <stdint.h>

/* The longest unit that a port may have. */
#define PORT_FLASH_MOST_UNIT 64

/* Offsets count from `base`. A unit is programmed once after its sector has been erased. */
struct port_flash {
    const uint8_t *base;    /* 16-byte aligned */
    uint32_t bytes;         /* a multiple of erase_bytes */
    uint32_t erase_bytes;   /* a sector, a multiple of program_bytes */
    uint32_t program_bytes; /* a unit: 1, 2, 4, ... PORT_FLASH_MOST_UNIT */
    uint8_t erased;         /* what each byte of an erased sector reads as */

    /* Both wait until it is done. They return false if the flash says that it failed; whether it has
     * become what was meant is the caller's to see. */
    bool (*erase)(uint32_t offset);
    bool (*program)(uint32_t offset, const uint8_t *unit);
};

#endif
