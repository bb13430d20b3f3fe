/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every core does with the memories that its linker script has named.
 */
#ifndef NARROWS_MEMORY_H
#define NARROWS_MEMORY_H

#include <stdint.h>

#define STACK_PAINT 0x5AFE57ACu

/* Defined by the linker script. */
extern uint32_t stack_guard[], stack_bottom[], stack_top[], data_start[], data_end[], bss_start[], bss_end[];
extern const uint32_t data_image[];
extern uint8_t arena_start[], arena_end[];

/* Paint the stack and give the variables their values. To be called from the function that reset enters, on
 * whose frame nothing else stands. */
static inline __attribute__((always_inline)) void memory_begin(void)
{
    uint32_t *const frame = __builtin_frame_address(0);
    const uint32_t *image = data_image;

    for (volatile uint32_t *word = stack_bottom; word < frame - 32; word++) {
        *word = STACK_PAINT;
    }
    for (uint32_t *word = data_start; word < data_end; word++) {
        *word = *image++;
    }
    for (uint32_t *word = bss_start; word < bss_end; word++) {
        *word = 0;
    }
}

#endif
