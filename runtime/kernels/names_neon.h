/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels without a layout that use the vectors of 64-bit Arm; the others are portable.
 */
#ifndef NARROWS_KERNELS_NAMES_NEON_H
#define NARROWS_KERNELS_NAMES_NEON_H

#define nrw_elementwise nrw_elementwise_neon
#define nrw_conv_finish nrw_conv_finish_neon
#define nrw_depthwise_fold nrw_depthwise_fold_neon
#define nrw_depthwise_unfold nrw_depthwise_unfold_neon

#include "names_c.h"

#endif
