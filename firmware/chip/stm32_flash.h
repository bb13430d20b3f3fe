/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the flash controllers of all STM32 share: two keys unlock them, and a wrong one, or one too
 * many, locks them until the next reset.
 */
#ifndef NARROWS_STM32_FLASH_H
#define NARROWS_STM32_FLASH_H

#include "registers.h"

#define STM32_FLASH_KEY_1 0x45670123u
#define STM32_FLASH_KEY_2 0xCDEF89ABu

static inline void stm32_flash_unlock(uintptr_t key, uintptr_t control, uint32_t lock)
{
    if ((reg_read(control) & lock) != 0) {
        reg_write(key, STM32_FLASH_KEY_1);
        reg_write(key, STM32_FLASH_KEY_2);
    }
}

#endif
