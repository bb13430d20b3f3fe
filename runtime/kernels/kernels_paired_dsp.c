/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

const struct nrw_kernels nrw_kernels_paired_dsp = {
    .conv = nrw_conv_paired_dsp,
    .conv_accumulate = nrw_conv_accumulate_paired_dsp,
    .depthwise = nrw_depthwise_dsp,
};
