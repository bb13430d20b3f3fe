/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inverted residual in one stage: expansion, depthwise, projection, residual add. (The
 * expansion may be any convolution, such as the first of a network.) bottleneck.c says what its
 * firings need, bottleneck_compute.c computes them.
 */
#ifndef NARROWS_BOTTLENECK_H
#define NARROWS_BOTTLENECK_H

#include "operator.h"

/* The shape that the size functions want. */
struct nrw_bottleneck_shape nrw_bottleneck_shape_of(const struct nrw_model *model,
                                                    const struct nrw_stage *stage);

/* The expanded rows that a firing computes: those of its windows, but for the rows that a rolling
 * stage keeps in line buffers. */
struct nrw_range nrw_expands(const struct nrw_model *model, const struct nrw_stage *stage,
                             const struct nrw_firing *firing);

nrw_compute_fn nrw_bottleneck_compute;

#endif
