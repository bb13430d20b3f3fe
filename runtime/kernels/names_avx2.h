/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels without a layout that use AVX2, on x86-64 processors that have it; the others are
 * portable.
 */
#ifndef NARROWS_KERNELS_NAMES_AVX2_H
#define NARROWS_KERNELS_NAMES_AVX2_H

#define nrw_elementwise nrw_elementwise_avx2
#define nrw_conv_finish nrw_conv_finish_avx2
#define nrw_depthwise_fold nrw_depthwise_fold_avx2
#define nrw_depthwise_unfold nrw_depthwise_unfold_avx2

#include "names_c.h"

#endif
