/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that the end of their ring tears (SPEC.md, Torn rows).
 */
#include <string.h>

#include "blob.h"
#include "sizes.h"
#include "stage.h"

uint32_t nrw_torn_bytes(const struct nrw_model *model, const struct nrw_stage *stage,
                        uint32_t input)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    uint32_t segment;

    if (!nrw_is_torn(in)) {
        return 0;
    }
    if (stage->op == NRW_OP_BOTTLENECK) {
        const struct nrw_bottleneck_shape shape = nrw_bottleneck_shape_of(model, stage);
        segment = nrw_bottleneck_columns(&shape);
    } else {
        const struct nrw_windows windows = nrw_windows_of(model, stage, input);
        segment = (uint32_t)nrw_lesser((stage->run - 1) * windows.columns.stride +
                                           windows.columns.extent, in->width);
    }
    return nrw_torn_row_bytes(segment, in->channels);
}

const int8_t *nrw_mend(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t input,
                       const int8_t *start, uint32_t bytes)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, input);
    const int8_t *ring = (const int8_t *)nrw_arena(run, in->offset);
    const uint32_t before = (uint32_t)(ring + in->capacity * in->channels - start);
    uint8_t *row = nrw_arena(run, stage->scratch_offset) + stage->scratch_bytes -
                   nrw_small_product(bytes, 1, 1);

    for (uint32_t i = input + 1; i < stage->input_count; i++) {
        row -= nrw_torn_bytes(run->model, stage, i);
    }
    /* A false plan may let scratch and ring overlap. */
    memmove(row, start, before);
    memmove(row + before, ring, bytes - before);
    return (const int8_t *)row;
}
