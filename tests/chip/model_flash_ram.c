/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is written like any other: there are no registers.
 */
#include "board.h"
#include "flash_model.h"

const uint32_t model_erase_bytes = 4096, model_unit = 16;
const bool model_tells_twice = false, model_tells_failure = false;

uint8_t *model_begin(void)
{
    return map_memory(BOARD_FLASH_BASE, BOARD_FLASH_BYTES, true);
}

void model_fail_next(void)
{
}

bool model_is_at_rest(void)
{
    return true;
}

uint32_t model_operations(void)
{
    return 0;
}

uint32_t model_read(uintptr_t address)
{
    violation("read of an unknown register", (uint32_t)address);
    return 0;
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    (void)value;
    (void)bytes;
    violation("write of an unknown register", (uint32_t)address);
}
