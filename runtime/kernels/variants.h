/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of implementations, X(suffix, ...), name that of an instruction set where the compiler may
 * use it: tests go through all that run.
 */
#ifndef NARROWS_KERNELS_VARIANTS_H
#define NARROWS_KERNELS_VARIANTS_H

#ifdef __ARM_FEATURE_DSP
#define NRW_WITH_DSP(entry) entry
#else
#define NRW_WITH_DSP(entry)
#endif

#ifdef __ARM_FEATURE_MVE
#define NRW_WITH_MVE(entry) entry
#else
#define NRW_WITH_MVE(entry)
#endif

/* Which ask the processor when they run. */
#ifdef __x86_64__
#define NRW_WITH_AVX2(entry) entry
#else
#define NRW_WITH_AVX2(entry)
#endif
#ifdef __aarch64__
#define NRW_WITH_NEON(entry) entry
#else
#define NRW_WITH_NEON(entry)
#endif

#endif
