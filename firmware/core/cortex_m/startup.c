/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset, vectors, faults and the stack of an ARMv6-M, v7-M or v8-M chip. The stack lies at the
 * very start of RAM: growing out of it, it meets no variable but a guard, where there is an MPU,
 * and then addresses without memory.
 */
#include "board.h"
#include "memory.h"
#include "port.h"

#define NVIC_ISER ((volatile uint32_t *)0xE000E100)
#define NVIC_IPR ((volatile uint32_t *)0xE000E400)
#define AIRCR (*(volatile uint32_t *)0xE000ED0C)
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
enum { FPU_ACCESS = 0xF << 20, FAULTS_BY_NAME = 7 << 16 };
#define TIMER_PRIORITY 0xC0000000u /* SysTick's byte of SHPR3 */
#define UART_PRIORITY 0xC0u
#define RESET_REQUEST 0x05FA0004u

void reset(void);
bool nmi_interrupt(void);
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

__attribute__((noinline, noreturn)) static void start(void)
{
    memory_begin();
#if __ARM_ARCH >= 7
    /* An overflowing stack can't take the words that a fault saves. The core forgives that to a
     * bus or memory fault, but locks up in a hard fault: so these stay what they are, and stand
     * above the interrupts, which may overflow the stack too. */
    SHCSR |= FAULTS_BY_NAME;
    SHPR3 |= TIMER_PRIORITY;
    NVIC_IPR[BOARD_UART_IRQ / 4] |= UART_PRIORITY << BOARD_UART_IRQ % 4 * 8;
#endif
#if __ARM_ARCH == 8
    /* The core itself watches the stack, in the place of a guard. */
    __asm__ volatile("msr msplim, %0" ::"r"(stack_bottom));
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
    main();
    for (;;) {
    }
}

void reset(void)
{
#ifdef __ARM_FP
    /* From here on the compiler may use FPU and vector registers, be it to clear memory. */
    CPACR |= FPU_ACCESS;
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    start();
}

void port_enable_interrupt(uint32_t number)
{
    NVIC_ISER[number / 32] = 1u << number % 32;
}

void port_reset(void)
{
    __asm__ volatile("dsb" ::: "memory");
    AIRCR = RESET_REQUEST;
    for (;;) {
    }
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
__attribute__((naked, used)) static void fault(void)
{
    __asm__ volatile("mrs r0, msp\n"
                     "ldr r1, =stack_top\n"
                     "msr msp, r1\n"
                     "cpsid i\n"
                     "b fault_report\n");
}

/* Some chips tell of torn words in their flash by this interrupt, and go on: such a driver returns true. */
__attribute__((weak)) bool nmi_interrupt(void)
{
    return false;
}

__attribute__((naked)) static void nmi(void)
{
    __asm__ volatile("push {r4, lr}\n"
                     "bl nmi_interrupt\n"
                     "pop {r4}\n"
                     "pop {r1}\n"
                     "mov lr, r1\n"
                     "cmp r0, #0\n"
                     "beq 1f\n"
                     "bx lr\n"
                     "1: b fault\n");
}

/* A timer that needs no interrupt has none. */
__attribute__((weak)) void timer_interrupt(void)
{
}

#ifndef BOARD_TIMER_IRQ
#define BOARD_TIMER_IRQ 0
#define TIMER_IS_SYSTICK
#endif
#define LAST_IRQ (BOARD_UART_IRQ > BOARD_TIMER_IRQ ? BOARD_UART_IRQ : BOARD_TIMER_IRQ)

typedef void handler(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler *core[15];
    handler *device[LAST_IRQ + 1];
} vectors = {
    .stack = stack_top,
#ifdef TIMER_IS_SYSTICK
    .core = {reset, nmi, fault, fault, fault, fault, [14] = timer_interrupt},
    .device = {[BOARD_UART_IRQ] = uart_interrupt},
#else
    .core = {reset, nmi, fault, fault, fault, fault},
    .device = {[BOARD_UART_IRQ] = uart_interrupt, [BOARD_TIMER_IRQ] = timer_interrupt},
#endif
};
