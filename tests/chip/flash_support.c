/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"
#include "flash_model.h"

bool in_area(uintptr_t address)
{
    return address >= BOARD_FLASH_BASE && address < BOARD_FLASH_BASE + BOARD_FLASH_BYTES;
}

bool is_erased(const uint8_t *cells, uint32_t count)
{
    while (count > 0 && cells[count - 1] == 0xFF) {
        count--;
    }
    return count == 0;
}

void program_bytes(uint8_t *cells, uint32_t value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        cells[i] &= (uint8_t)(value >> i * 8);
    }
}

uint32_t busy_time(void)
{
    return drawn(2) == 0 ? 0 : drawn(20);
}
