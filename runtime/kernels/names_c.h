/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The portable implementation of each kernel that reads no weights in a layout, where another
 * implementation has not named its own. No structure has a kernel's name without a suffix, or the
 * macro would rename it too.
 */
#ifndef NARROWS_KERNELS_NAMES_C_H
#define NARROWS_KERNELS_NAMES_C_H

#include "conv.h"
#include "depthwise.h"
#include "elementwise.h"
#include "matmul.h"
#include "move.h"
#include "pool.h"
#include "resize.h"
#include "softmax.h"

#ifndef nrw_elementwise
#define nrw_elementwise nrw_elementwise_c
#endif
#ifndef nrw_conv_finish
#define nrw_conv_finish nrw_conv_finish_c
#endif
#ifndef nrw_depthwise_fold
#define nrw_depthwise_fold nrw_depthwise_fold_c
#endif
#ifndef nrw_depthwise_unfold
#define nrw_depthwise_unfold nrw_depthwise_unfold_c
#endif
#ifndef nrw_average
#define nrw_average nrw_average_c
#endif
#ifndef nrw_sum
#define nrw_sum nrw_sum_c
#endif
#ifndef nrw_average_finish
#define nrw_average_finish nrw_average_finish_c
#endif
#ifndef nrw_max_pool
#define nrw_max_pool nrw_max_pool_c
#endif
#ifndef nrw_softmax
#define nrw_softmax nrw_softmax_c
#endif
#ifndef nrw_matmul
#define nrw_matmul nrw_matmul_c
#endif
#ifndef nrw_arg_max
#define nrw_arg_max nrw_arg_max_c
#endif
#ifndef nrw_move
#define nrw_move nrw_move_c
#endif
#ifndef nrw_lookup
#define nrw_lookup nrw_lookup_c
#endif
#ifndef nrw_resize
#define nrw_resize nrw_resize_c
#endif

#endif
