/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash of RP2040 (data sheet, section 2.8). The boot ROM has the address of its table of
 * functions at 0x14 and that of the function that searches it at 0x18, both in 16 bits. The flash
 * begins with 256 bytes of code that make it readable, the second stage of booting.
 */
#include "flash_rp2.h"

static uintptr_t rom_function(char first, char second)
{
    const uint32_t code = (uint32_t)first | (uint32_t)second << 8;

#ifdef REGISTERS_MODEL
    return model_rom_function(code);
#else
    void *(*const lookup)(const uint16_t *table, uint32_t code) =
        (void *(*)(const uint16_t *, uint32_t))(uintptr_t)(rom_word(0x18) & 0xFFFF);

    return (uintptr_t)lookup((const uint16_t *)(uintptr_t)(rom_word(0x14) & 0xFFFF), code);
#endif
}

static uintptr_t setup_code(void)
{
    return XIP_BASE;
}
