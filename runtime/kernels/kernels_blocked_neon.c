/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

const struct nrw_kernels nrw_kernels_blocked_neon = {
    .conv = nrw_conv_blocked_neon,
    .conv_accumulate = nrw_conv_accumulate_blocked_neon,
    .depthwise = nrw_depthwise_neon,
};
