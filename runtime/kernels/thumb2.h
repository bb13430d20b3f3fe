/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_KERNELS_THUMB2_H
#define NARROWS_KERNELS_THUMB2_H

/* Whether the core is a microcontroller with Thumb-2 (Cortex-M3 and more), for which the innermost
 * loops of `fast` are assembly. */
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && __ARM_ARCH_ISA_THUMB == 2
#define NRW_THUMB2 1
#else
#define NRW_THUMB2 0
#endif

#endif
