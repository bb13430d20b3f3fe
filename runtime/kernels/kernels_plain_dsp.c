/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

const struct nrw_kernels nrw_kernels_plain_dsp = {
    .conv = nrw_conv_c,
    .conv_accumulate = nrw_conv_accumulate_c,
    .depthwise = nrw_depthwise_dsp,
};
