/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

const struct nrw_kernels nrw_kernels_plain_neon = {
    .conv = nrw_conv_neon,
    .conv_accumulate = nrw_conv_accumulate_neon,
    .depthwise = nrw_depthwise_neon,
};
