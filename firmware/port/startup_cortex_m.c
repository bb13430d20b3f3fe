/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset, vectors, faults and the stack of an ARMv6-M, v7-M or v8-M chip. The stack lies at the
 * very start of RAM: growing out of it, it meets no variable but a guard, where there is an MPU,
 * and then addresses without memory.
 */
#include "port.h"

#define NVIC_IPR ((volatile uint8_t *)0xE000E400)
#define SHPR3 (*(volatile uint32_t *)0xE000ED20)
#define SHCSR (*(volatile uint32_t *)0xE000ED24)
#define MPU_TYPE (*(volatile uint32_t *)0xE000ED90)
#define MPU_CTRL (*(volatile uint32_t *)0xE000ED94)
#define MPU_RNR (*(volatile uint32_t *)0xE000ED98)
#define MPU_RBAR (*(volatile uint32_t *)0xE000ED9C)
#define MPU_RASR (*(volatile uint32_t *)0xE000EDA0)
#define CFSR (*(volatile uint32_t *)0xE000ED28)
#define CPACR (*(volatile uint32_t *)0xE000ED88)
/* Memory of which nothing is executed, that none or all may read and write. */
enum { MPU_FORBIDDEN = 1 << 28, MPU_ALLOWED = 1 << 28 | 3 << 24 | 6 << 16 };
/* Memory that is in none of the MPU's regions stays as it is without an MPU. */
enum { MPU_ENABLE_OVER_DEFAULT = 5 };
enum { STACK_PAINT = 0x5AFE57AC, FPU_ACCESS = 0xF << 20, FAULTS_BY_NAME = 7 << 16 };
#define TIMER_PRIORITY 0xC0000000u /* SysTick's byte of SHPR3 */
#define UART_PRIORITY 0xC0

/* Defined by the linker script. */
extern uint32_t stack_guard[], stack_bottom[], stack_top[], data_start[], data_end[], bss_start[], bss_end[];
extern const uint32_t data_image[];
extern uint8_t arena_start[], arena_end[];

void reset(void);
void timer_interrupt(void);
void uart_interrupt(void);

#if BOARD_FENCE_BYTES > 0 && __ARM_ARCH != 7
#error "qemu.ram_bytes: only the MPU of an ARMv7-M core is programmed to forbid what is too much"
#endif

#if __ARM_ARCH == 7
/* bytes: a power of two that divides the base. Where regions overlap, the highest number counts. */
static void mpu_region(uint32_t number, uintptr_t base, uint32_t bytes, uint32_t attributes)
{
    MPU_RNR = number;
    MPU_RBAR = (uint32_t)base;
    MPU_RASR = attributes | (uint32_t)(__builtin_ctz(bytes) - 1) << 1 | 1;
}
#endif

void reset(void)
{
    /* Here only the frame of this function is on the stack, above its lowest address. */
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
#if __ARM_ARCH >= 7
    /* An overflowing stack can't take the words that a fault saves. The core forgives that to a
     * bus or memory fault, but locks up in a hard fault: so these stay what they are, and stand
     * above the interrupts, which may overflow the stack too. */
    SHCSR |= FAULTS_BY_NAME;
    SHPR3 |= TIMER_PRIORITY;
    NVIC_IPR[BOARD_UART_IRQ] = UART_PRIORITY;
#endif
#if __ARM_ARCH == 7
    if (MPU_TYPE != 0) {
#if BOARD_FENCE_BYTES > 0
        /* An emulator goes on where the chip's RAM ends. */
        mpu_region(0, BOARD_RAM_BASE, BOARD_FENCE_BYTES, MPU_FORBIDDEN);
        mpu_region(1, BOARD_RAM_BASE, BOARD_RAM_BYTES, MPU_ALLOWED);
#endif
        mpu_region(2, (uintptr_t)stack_guard, BOARD_GUARD_BYTES, MPU_FORBIDDEN);
        MPU_CTRL = MPU_ENABLE_OVER_DEFAULT;
        __asm__ volatile("dsb\n isb" ::: "memory");
    }
#endif
#ifdef __ARM_FP
    CPACR |= FPU_ACCESS;      /* the compiler may keep values in FPU or vector registers */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    main();
    for (;;) {
    }
}

/* A port with a watchdog has its own. */
__attribute__((weak)) void port_watchdog_feed(void)
{
}

uint32_t port_stack_high_water(void)
{
    const uint32_t *word = stack_bottom;

    while (word < stack_top && *word == STACK_PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)stack_top - (uintptr_t)word);
}

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

void port_sleep(void)
{
    /* A pending interrupt ends the wait even while it is masked: none is missed. */
    __asm__ volatile("cpsid i" ::: "memory");
    if (app_is_idle()) {
        __asm__ volatile("wfi" ::: "memory");
    }
    __asm__ volatile("cpsie i" ::: "memory");
}

/* frame: eight words that the core has saved, if it could. */
__attribute__((noreturn, used)) static void fault_report(const uint32_t *frame)
{
    const int saved = frame >= stack_bottom && frame + 8 <= stack_top;

    app_fault(saved ? frame[6] : 0, CFSR);
    for (;;) {
        __asm__ volatile("wfi");
    }
}

/* The old stack may be what failed: report on a new one. */
__attribute__((naked)) static void fault(void)
{
    __asm__ volatile("mrs r0, msp\n"
                     "ldr r1, =stack_top\n"
                     "msr msp, r1\n"
                     "cpsid i\n"
                     "b fault_report\n");
}

typedef void handler(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler *core[15];
    handler *device[BOARD_UART_IRQ + 1];
} vectors = {
    .stack = stack_top,
    .core = {reset, fault, fault, fault, fault, fault, [14] = timer_interrupt},
    .device = {[BOARD_UART_IRQ] = uart_interrupt},
};
