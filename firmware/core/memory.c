/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include "board.h"
#include "port.h"

void port_memory(struct port_memory *memory)
{
    /* Address 0 stands for what is left of the RAM. */
    static const struct {
        uintptr_t base;
        uint32_t bytes;
    } arenas[] = {BOARD_ARENAS};

    *memory = (struct port_memory){0};
    for (uint32_t i = 0; i < sizeof arenas / sizeof arenas[0]; i++) {
        const uintptr_t base = arenas[i].base != 0 ? arenas[i].base : (uintptr_t)arena_start;
        memory->arenas[i].data = (uint8_t *)base;
        memory->arenas[i].bytes =
            arenas[i].base != 0 ? arenas[i].bytes : (uint32_t)((uintptr_t)arena_end - base);
    }
    memory->static_bytes = (uint32_t)((uintptr_t)bss_end - (uintptr_t)data_start);
    memory->stack_bytes = (uint32_t)((uintptr_t)stack_top - (uintptr_t)stack_bottom);
}

uint32_t port_stack_high_water(void)
{
    const uint32_t *word = stack_bottom;

    while (word < stack_top && *word == STACK_PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)stack_top - (uintptr_t)word);
}

/* Chips that need it have their own. */
__attribute__((weak)) void port_chip_begin(void)
{
}

__attribute__((weak)) void port_watchdog_feed(void)
{
}
