/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash of RP2350 from stepping A2 on (data sheet, sections 5.4 and 5.5). The boot ROM has the
 * address of the function that finds the others at 0x16, in 16 bits; it wants to know the caller's
 * state. The boot ROM leaves the code that made the flash readable in its own RAM. The
 * firmware must not be in a partition that address translation moves.
 */
#include "flash_rp2.h"

enum { ARM_SECURE = 4, BOOT_RAM = 0x400E0000 };

static uintptr_t rom_function(char first, char second)
{
    const uint32_t code = (uint32_t)first | (uint32_t)second << 8;

#ifdef REGISTERS_MODEL
    return model_rom_function(code);
#else
    void *(*const lookup)(uint32_t code, uint32_t mask) =
        (void *(*)(uint32_t, uint32_t))(uintptr_t)(rom_word(0x14) >> 16);

    return (uintptr_t)lookup(code, ARM_SECURE);
#endif
}

static uintptr_t setup_code(void)
{
    return BOOT_RAM;
}
