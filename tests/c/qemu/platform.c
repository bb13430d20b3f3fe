/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Cortex-M in QEMU with semihosting: the debugger prints and ends the run with main's
 * result. A fault ends it with 70.
 */
#include <stdint.h>

#include "../test.h"

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026 };

extern uint32_t stack_top, data_start, data_end, data_image, bss_start, bss_end;
int main(void);
void reset(void);

static void semihost(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void platform_print(const char *text)
{
    semihost(SYS_WRITE0, text);
}

void platform_exit(int code)
{
    const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};

    for (;;) {
        semihost(SYS_EXIT_EXTENDED, block);
    }
}

/* The floating-point and vector registers, coprocessors 10 and 11, are off after a reset. */
static void enable_vectors(void)
{
#ifdef __ARM_FP
    volatile uint32_t *const coprocessor_access = (volatile uint32_t *)0xE000ED88u;

    *coprocessor_access |= 0xFu << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
}

void reset(void)
{
    const uint32_t *image = &data_image;

    enable_vectors();
    for (uint32_t *word = &data_start; word < &data_end; word++) {
        *word = *image++;
    }
    for (uint32_t *word = &bss_start; word < &bss_end; word++) {
        *word = 0;
    }
    platform_exit(main());
}

static void fault(void)
{
    platform_print("FAILED: fault\n");
    platform_exit(70);
}

typedef void handler(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler *handlers[15];
} vectors = {&stack_top, {reset, fault, fault, fault, fault, fault}};
