/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

const struct nrw_kernels nrw_kernels_blocked_fast = {
    .conv = nrw_conv_blocked_fast,
    .conv_accumulate = nrw_conv_accumulate_blocked_fast,
    .depthwise = nrw_depthwise_fast,
};
