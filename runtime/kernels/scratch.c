/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the planner asks about kernels: every instruction-set class on every build, since a
 * blob for a board is planned on the host.
 */
#include "../include/narrows.h"
#include "kernels_select.h"

uint32_t nrw_isa_classes(void)
{
    return NRW_ISA_CLASSES;
}

/* The portable kernels read rows in place. */
uint32_t nrw_conv_scratch_bytes(uint32_t isa, uint32_t kernel_h, uint32_t kernel_w,
                                uint32_t in_channels, uint32_t out_channels)
{
    (void)isa;
    (void)kernel_h;
    (void)kernel_w;
    (void)in_channels;
    (void)out_channels;
    return 0;
}

uint32_t nrw_depthwise_scratch_bytes(uint32_t isa, uint32_t kernel_h, uint32_t kernel_w,
                                     uint32_t channels)
{
    (void)isa;
    (void)kernel_h;
    (void)kernel_w;
    (void)channels;
    return 0;
}
