/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

const struct nrw_kernels nrw_kernels_blocked_avx2 = {
    .conv = nrw_conv_blocked_avx2,
    .conv_accumulate = nrw_conv_accumulate_blocked_avx2,
    .depthwise = nrw_depthwise_avx2,
};
