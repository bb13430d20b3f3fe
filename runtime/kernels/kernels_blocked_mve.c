/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

const struct nrw_kernels nrw_kernels_blocked_mve = {
    .conv = nrw_conv_blocked_c,
    .conv_accumulate = nrw_conv_accumulate_blocked_c,
    .depthwise = nrw_depthwise_mve,
};
