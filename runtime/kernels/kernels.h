/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of a build. Those that read weights come in one table per weight layout, which
 * nrw_open chooses for a blob; of the others a build has one implementation, which has no suffix
 * here.
 *
 * Every kernel is safe whatever the bytes are and whatever overlaps: nothing read from a
 * tensor decides where a kernel reads or writes, except the 256-entry tables.
 */
#ifndef NARROWS_KERNELS_H
#define NARROWS_KERNELS_H

/* The kernels without a layout, by the names that the build's implementation gives them. Firmware
 * defines the header of that for its core. */
#ifndef NRW_KERNELS
#define NRW_KERNELS "names_c.h"
#endif
#include NRW_KERNELS

/* The kernels that read the weights of one layout. */
struct nrw_kernels {
    nrw_conv_kernel *conv;
    nrw_conv_accumulate_kernel *conv_accumulate;
    nrw_depthwise_kernel *depthwise;
};

/* The layouts of a build, X(LAYOUT, table): NRW_LAYOUT_LAYOUT and nrw_kernels_table, which file
 * kernels_table.c has. A table's name is the layout's and that of the implementation. Firmware
 * defines a list of its own, implemented for its core. */
#ifndef NRW_LAYOUTS
#define NRW_LAYOUTS(X)  \
    X(PLAIN, plain_c)   \
    X(BLOCKED, blocked_c) \
    X(PAIRED, paired_c)
#endif

#define NRW_DECLARE(LAYOUT, table) extern const struct nrw_kernels nrw_kernels_##table;
NRW_LAYOUTS(NRW_DECLARE)
#undef NRW_DECLARE

/* The kernels of a layout; NULL if the build has none. */
const struct nrw_kernels *nrw_kernels_of(uint32_t layout);

#endif
