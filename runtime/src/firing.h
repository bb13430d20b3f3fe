/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each firing of a stage needs and gives (SPEC.md, Firing).
 */
#ifndef NARROWS_FIRING_H
#define NARROWS_FIRING_H

#include "format.h"

/* Rows [lo, hi) of a tensor. */
struct nrw_rows {
    int32_t lo, hi;
};

static inline int32_t nrw_clip(int32_t row, int32_t height)
{
    return row < 0 ? 0 : row < height ? row : height;
}

/* How often the stage fires. */
uint32_t nrw_firings(const struct nrw_model *model, const struct nrw_stage *stage);

/* Rows of input `input` that a firing needs. */
struct nrw_rows nrw_needs(const struct nrw_model *model, const struct nrw_stage *stage,
                          uint32_t input, uint32_t firing);

/* Rows of the output that are there after a firing. */
uint32_t nrw_gives(const struct nrw_model *model, const struct nrw_stage *stage,
                   uint32_t firing);

/* Whether the stage adds its input up row by row. */
bool nrw_accumulates(const struct nrw_model *model, const struct nrw_stage *stage);

/* BOTTLENECK with an expansion: input rows that a firing expands. */
struct nrw_rows nrw_expands(const struct nrw_model *model, const struct nrw_stage *stage,
                            uint32_t firing);

/* Rolling BOTTLENECK: the first firings, which give nothing. */
int32_t nrw_absorbed(const struct nrw_model *model, const struct nrw_stage *stage);

#endif
