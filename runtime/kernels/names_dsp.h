/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels without a layout that use the SIMD instructions of Armv7E-M and Armv8-M (Cortex-M4,
 * M7, M33); the others are portable.
 */
#ifndef NARROWS_KERNELS_NAMES_DSP_H
#define NARROWS_KERNELS_NAMES_DSP_H

#define nrw_average nrw_average_dsp
#define nrw_average_finish nrw_average_finish_dsp
#define nrw_conv_finish nrw_conv_finish_dsp
#define nrw_elementwise nrw_elementwise_dsp
#define nrw_depthwise_fold nrw_depthwise_fold_dsp
#define nrw_depthwise_unfold nrw_depthwise_unfold_dsp
#define nrw_max_pool nrw_max_pool_dsp
#define nrw_sum nrw_sum_dsp

#include "names_c.h"

#endif
