/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only place that chooses a kernel variant for a build. The engine calls the names
 * without a suffix (no structure has such a name, or the macro would rename it too).
 *
 * Every kernel is safe whatever the bytes are and whatever overlaps: nothing read from a
 * tensor decides where a kernel reads or writes, except the 256-entry tables.
 */
#ifndef NARROWS_KERNELS_SELECT_H
#define NARROWS_KERNELS_SELECT_H

#include "conv.h"
#include "depthwise.h"
#include "elementwise.h"
#include "move.h"
#include "pool.h"
#include "resize.h"
#include "softmax.h"

/* Bit i: the weights of instruction-set class i can be read (nrw_isa_classes). */
#define NRW_ISA_CLASSES 1u

#define nrw_conv nrw_conv_c
#define nrw_conv_accumulate nrw_conv_accumulate_c
#define nrw_conv_finish nrw_conv_finish_c
#define nrw_depthwise nrw_depthwise_c
#define nrw_depthwise_fold nrw_depthwise_fold_c
#define nrw_depthwise_unfold nrw_depthwise_unfold_c
#define nrw_elementwise nrw_elementwise_c
#define nrw_average nrw_average_c
#define nrw_sum nrw_sum_c
#define nrw_average_finish nrw_average_finish_c
#define nrw_max_pool nrw_max_pool_c
#define nrw_softmax nrw_softmax_c
#define nrw_move nrw_move_c
#define nrw_lookup nrw_lookup_c
#define nrw_resize nrw_resize_c

#endif
