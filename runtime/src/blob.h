/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_BLOB_H
#define NARROWS_BLOB_H

#include "format.h"

/* The shape that the size functions want, of a BOTTLENECK stage. */
struct nrw_bottleneck_shape nrw_bottleneck_shape_of(const struct nrw_model *model,
                                                    const struct nrw_stage *stage);

#endif
