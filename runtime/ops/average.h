/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What AVG_POOL and MEAN share: sums over windows, at once or strip by strip of the input.
 */
#ifndef NARROWS_AVERAGE_H
#define NARROWS_AVERAGE_H

#include "../src/stage.h"

/* nrw_accumulates of a stage that is one of these or, whose work is theirs, a MAX_POOL. */
static inline bool nrw_adds_up(const struct nrw_stage *stage)
{
    const uint32_t forms = nrw_forms_of[NRW_OP_MEAN] | nrw_forms_of[NRW_OP_AVG_POOL] |
                           nrw_forms_of[NRW_OP_MAX_POOL];

    return forms == 1u << NRW_ACCUMULATING || nrw_accumulates(stage);
}

/* State: the sums of an accumulating stage. */
NRW_COLD struct nrw_sizes nrw_average_sizes(const struct nrw_model *model, const struct nrw_stage *stage);

/* Work of firings whose windows hold rows * columns elements at most. */
NRW_COLD struct nrw_work nrw_average_work(const struct nrw_model *model, const struct nrw_stage *stage,
                                          uint32_t rows, uint32_t columns);

/* Computes a firing of windows of this geometry. An accumulating stage gives nothing before its
 * last firing. */
void nrw_average_strip(const struct nrw_run *run, const struct nrw_stage *stage,
                       const struct nrw_firing *firing, const struct nrw_average_op *average,
                       const struct nrw_geometry *geometry);

#endif
