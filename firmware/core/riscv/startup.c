/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reset, traps and the stack of a 32-bit RISC-V core in machine mode, with the interrupt controller that
 * SiFive's cores have (RISC-V PLIC specification 1.0). The stack lies at the very start of RAM: growing out
 * of it, it meets a region that physical memory protection forbids.
 *   plic_base  of the interrupt controller
 */
#include "board.h"
#include "memory.h"
#include "port.h"

#define PLIC_PRIORITY ((volatile uint32_t *)BOARD_PLIC_BASE)
#define PLIC_ENABLE ((volatile uint32_t *)(BOARD_PLIC_BASE + 0x2000))
#define PLIC_THRESHOLD (*(volatile uint32_t *)(BOARD_PLIC_BASE + 0x200000))
#define PLIC_CLAIM (*(volatile uint32_t *)(BOARD_PLIC_BASE + 0x200004))
enum { MSTATUS_INTERRUPTS = 1 << 3, MIE_EXTERNAL = 1 << 11 };
enum { PMP_LOCKED_POWER_OF_TWO = 1 << 7 | 3 << 3 }; /* and no right to read, write or execute */

#define WRITE_CSR(name, value) __asm__ volatile("csrw " #name ", %0" ::"r"(value) : "memory")
#define SET_CSR(name, value) __asm__ volatile("csrs " #name ", %0" ::"r"(value) : "memory")
#define CLEAR_CSR(name, value) __asm__ volatile("csrc " #name ", %0" ::"r"(value) : "memory")

void reset(void);
void uart_interrupt(void);

/* RISC-V has no standard way to reset a chip: what is begun anew is the firmware. */
__attribute__((weak)) void port_reset(void)
{
    CLEAR_CSR(mstatus, MSTATUS_INTERRUPTS);
    CLEAR_CSR(mie, MIE_EXTERNAL);
    reset();
    for (;;) {
    }
}

void port_enable_interrupt(uint32_t number)
{
    PLIC_PRIORITY[number] = 1;
    PLIC_ENABLE[number / 32] |= 1u << number % 32;
}

__attribute__((used)) static void interrupt(void)
{
    const uint32_t number = PLIC_CLAIM;

    if (number == BOARD_UART_IRQ) {
        uart_interrupt();
    }
    PLIC_CLAIM = number;      /* it is complete */
}

__attribute__((noreturn, used)) static void fault_report(uint32_t pc, uint32_t cause)
{
    app_fault(pc, cause);
    for (;;) {
        __asm__ volatile("wfi");
    }
}

/* After an exception the old stack may be what failed: it is reported on a new one. */
__attribute__((naked, aligned(4))) static void trap(void)
{
    __asm__ volatile("csrw mscratch, t0\n"
                     "csrr t0, mcause\n"
                     "bgez t0, 1f\n"
                     "addi sp, sp, -64\n"
                     "csrr t0, mscratch\n"
                     "sw ra, 0(sp)\n sw t0, 4(sp)\n sw t1, 8(sp)\n sw t2, 12(sp)\n"
                     "sw a0, 16(sp)\n sw a1, 20(sp)\n sw a2, 24(sp)\n sw a3, 28(sp)\n"
                     "sw a4, 32(sp)\n sw a5, 36(sp)\n sw a6, 40(sp)\n sw a7, 44(sp)\n"
                     "sw t3, 48(sp)\n sw t4, 52(sp)\n sw t5, 56(sp)\n sw t6, 60(sp)\n"
                     "call interrupt\n"
                     "lw ra, 0(sp)\n lw t0, 4(sp)\n lw t1, 8(sp)\n lw t2, 12(sp)\n"
                     "lw a0, 16(sp)\n lw a1, 20(sp)\n lw a2, 24(sp)\n lw a3, 28(sp)\n"
                     "lw a4, 32(sp)\n lw a5, 36(sp)\n lw a6, 40(sp)\n lw a7, 44(sp)\n"
                     "lw t3, 48(sp)\n lw t4, 52(sp)\n lw t5, 56(sp)\n lw t6, 60(sp)\n"
                     "addi sp, sp, 64\n"
                     "mret\n"
                     "1: la sp, stack_top\n"
                     "csrr a0, mepc\n"
                     "csrr a1, mcause\n"
                     "j fault_report\n");
}

__attribute__((noreturn, used)) static void begin(void)
{
    memory_begin();
    WRITE_CSR(pmpaddr0, (uint32_t)(uintptr_t)stack_guard >> 2 | (BOARD_GUARD_BYTES / 8 - 1));
    WRITE_CSR(pmpcfg0, PMP_LOCKED_POWER_OF_TWO);
    WRITE_CSR(mtvec, trap);
    PLIC_THRESHOLD = 0;
    SET_CSR(mie, MIE_EXTERNAL);
    SET_CSR(mstatus, MSTATUS_INTERRUPTS);
    main();
    for (;;) {
    }
}

__attribute__((naked, section(".vectors"), used)) void reset(void)
{
    __asm__ volatile("la sp, stack_top\n"
                     "j begin\n");
}

void port_sleep(void)
{
    /* A pending interrupt ends the wait even while all are masked: none is missed. */
    CLEAR_CSR(mstatus, MSTATUS_INTERRUPTS);
    if (app_is_idle()) {
        __asm__ volatile("wfi" ::: "memory");
    }
    SET_CSR(mstatus, MSTATUS_INTERRUPTS);
}
