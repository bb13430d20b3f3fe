/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

const struct nrw_kernels nrw_kernels_paired_c = {
    .conv = nrw_conv_paired_c,
    .conv_accumulate = nrw_conv_accumulate_paired_c,
    .depthwise = nrw_depthwise_c,
};
