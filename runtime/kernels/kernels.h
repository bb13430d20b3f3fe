/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of a build. Those that read weights come in one table per weight layout, which
 * nrw_open chooses for a blob; of the others a build has one implementation, which has no suffix
 * here (no structure has such a name, or the macro would rename it too).
 *
 * Every kernel is safe whatever the bytes are and whatever overlaps: nothing read from a
 * tensor decides where a kernel reads or writes, except the 256-entry tables.
 */
#ifndef NARROWS_KERNELS_H
#define NARROWS_KERNELS_H

#include "conv.h"
#include "depthwise.h"
#include "elementwise.h"
#include "move.h"
#include "pool.h"
#include "resize.h"
#include "softmax.h"

/* The kernels that read the weights of one layout. */
struct nrw_kernels {
    nrw_conv_kernel *conv;
    nrw_conv_accumulate_kernel *conv_accumulate;
    nrw_depthwise_kernel *depthwise;
};

/* The layouts of a build, X(LAYOUT, implementation): NRW_LAYOUT_LAYOUT and the table
 * nrw_kernels_implementation. Firmware defines a list of its own: one layout, implemented for its
 * core. */
#ifndef NRW_LAYOUTS
#define NRW_LAYOUTS(X)  \
    X(PLAIN, plain_c)   \
    X(BLOCKED, blocked_c)
#endif

#define NRW_DECLARE(LAYOUT, implementation) \
    extern const struct nrw_kernels nrw_kernels_##implementation;
NRW_LAYOUTS(NRW_DECLARE)
#undef NRW_DECLARE

/* The kernels of a layout; NULL if the build has none. */
const struct nrw_kernels *nrw_kernels_of(uint32_t layout);

#define nrw_elementwise nrw_elementwise_c
#define nrw_conv_finish nrw_conv_finish_c
#define nrw_depthwise_fold nrw_depthwise_fold_c
#define nrw_depthwise_unfold nrw_depthwise_unfold_c
#define nrw_average nrw_average_c
#define nrw_sum nrw_sum_c
#define nrw_average_finish nrw_average_finish_c
#define nrw_max_pool nrw_max_pool_c
#define nrw_softmax nrw_softmax_c
#define nrw_move nrw_move_c
#define nrw_lookup nrw_lookup_c
#define nrw_resize nrw_resize_c

#endif
