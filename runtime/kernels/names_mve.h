/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels without a layout that use the vector instructions of Armv8.1-M (Cortex-M55, M85);
 * the others are portable.
 */
#ifndef NARROWS_KERNELS_NAMES_MVE_H
#define NARROWS_KERNELS_NAMES_MVE_H

#define nrw_average nrw_average_mve
#define nrw_average_finish nrw_average_finish_mve
#define nrw_elementwise nrw_elementwise_mve
#define nrw_max_pool nrw_max_pool_mve
#define nrw_sum nrw_sum_mve
#define nrw_conv_finish nrw_conv_finish_mve
#define nrw_depthwise_fold nrw_depthwise_fold_mve
#define nrw_depthwise_unfold nrw_depthwise_unfold_mve

#include "names_c.h"

#endif
