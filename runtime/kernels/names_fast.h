/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels without a layout that are arranged for speed on cores without SIMD instructions, in
 * portable C; the others are those of `c`.
 */
#ifndef NARROWS_KERNELS_NAMES_FAST_H
#define NARROWS_KERNELS_NAMES_FAST_H

#define nrw_conv_finish nrw_conv_finish_fast
#define nrw_elementwise nrw_elementwise_fast

#include "names_c.h"

#endif
