/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What registers alone can't do: order accesses, and keep interrupts and faults away. Models on a
 * host need none of it.
 */
#ifndef NARROWS_BARRIER_H
#define NARROWS_BARRIER_H

#include <stdint.h>

/* Also from code that must not call what stands in flash. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* All accesses before it are done, and what is executed or read after it sees them. */
ALWAYS_INLINE void barrier(void)
{
#ifdef __arm__
    __asm__ volatile("dsb\n isb" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* Returns what restore_interrupts wants. */
ALWAYS_INLINE uint32_t mask_interrupts(void)
{
    uint32_t masked = 0;

#ifdef __arm__
    __asm__ volatile("mrs %0, primask\n cpsid i" : "=r"(masked)::"memory");
#endif
    return masked;
}

ALWAYS_INLINE void restore_interrupts(uint32_t masked)
{
#ifdef __arm__
    __asm__ volatile("msr primask, %0" ::"r"(masked) : "memory");
#else
    (void)masked;
#endif
}

/* Bus faults can be ignored meanwhile, and nothing but an NMI interrupts. ARMv7-M and v8-M. */
ALWAYS_INLINE void mask_faults(void)
{
#if defined __arm__ && __ARM_ARCH >= 7
    __asm__ volatile("cpsid f" ::: "memory");
#endif
}

ALWAYS_INLINE void unmask_faults(void)
{
#if defined __arm__ && __ARM_ARCH >= 7
    __asm__ volatile("cpsie f" ::: "memory");
#endif
}

#endif
