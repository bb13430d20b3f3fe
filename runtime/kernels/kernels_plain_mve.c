/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

const struct nrw_kernels nrw_kernels_plain_mve = {
    .conv = nrw_conv_mve,
    .conv_accumulate = nrw_conv_accumulate_mve,
    .depthwise = nrw_depthwise_mve,
};
