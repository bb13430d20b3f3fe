/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_KERNELS_NOINLINE_H
#define NARROWS_KERNELS_NOINLINE_H

/* A function whose variables take stack only while it runs. */
#define NRW_NOINLINE __attribute__((noinline))

#endif
