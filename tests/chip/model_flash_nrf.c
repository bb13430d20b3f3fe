/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flash controller of nRF51 and nRF52 (reference manual 3.0, section 6).
 */
#include <string.h>

#include "board.h"
#include "flash_model.h"

enum { READY = 0x4001E400, CONFIG = 0x4001E504, ERASEPAGE = 0x4001E508 };
enum { READS, WRITES, ERASES, PAGE = BOARD_FLASH_ERASE_BYTES };

const uint32_t model_erase_bytes = PAGE, model_unit = 4;
const bool model_tells_twice = false, model_tells_failure = false;
static uint8_t *cells;
static uint32_t config, busy = 9, operations;

uint8_t *model_begin(void)
{
    cells = map_memory(BOARD_FLASH_BASE, BOARD_FLASH_BYTES, false);
    return cells;
}

void model_fail_next(void)
{
}

bool model_is_at_rest(void)
{
    return config == READS && busy == 0;
}

uint32_t model_operations(void)
{
    return operations;
}

uint32_t model_read(uintptr_t address)
{
    if (address != READY) {
        violation("read of an unknown register", (uint32_t)address);
    }
    if (busy > 0) {
        busy--;
        return 0;
    }
    return 1;
}

static bool begin(uint32_t wanted)
{
    operations++;
    if (busy > 0 || config != wanted) {
        violation("an operation while busy or not allowed", config);
        return false;
    }
    busy = busy_time();
    return true;
}

void model_write(uintptr_t address, uint32_t value, uint32_t bytes)
{
    REQUIRE(bytes == 4);
    if (in_area(address)) {
        REQUIRE(address % 4 == 0);
        if (begin(WRITES)) {
            program_bytes(cells + (address - BOARD_FLASH_BASE), value, 4);
        }
    } else if (address == CONFIG) {
        if (busy > 0) {
            violation("CONFIG written while busy", value);
        }
        config = value;
    } else if (address == ERASEPAGE && in_area(value) && value % PAGE == 0) {
        if (begin(ERASES)) {
            memset(cells + (value - BOARD_FLASH_BASE), 0xFF, PAGE);
        }
    } else {
        violation("write of an unknown register, or erases another page", (uint32_t)address);
    }
}
