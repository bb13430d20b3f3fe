/* SPDX-License-Identifier: Apache-2.0 */
#include "firings.h"

#include "firing.h"
#include "sizes.h"

static struct nrw_model model_of(const void *sketch, uint32_t tensors)
{
    struct nrw_model model = {.blob = sketch, .tensor_count = (uint16_t)tensors, .stage_count = 1};

    return model;
}

static bool by_rows(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_operator *op = nrw_operator_of(stage);

    return op->by_rows != NULL && op->by_rows(model, stage);
}

static uint64_t macs_of(const struct nrw_model *model, const struct nrw_stage *stage,
                        uint32_t number)
{
    struct nrw_firing firing;

    if (nrw_operator_of(stage)->macs == NULL) {
        return 0;
    }
    nrw_firing_of(&firing, model, stage, number);
    return nrw_operator_of(stage)->macs(model, stage, &firing);
}

static uint64_t macs_once(const struct nrw_model *model, const struct nrw_stage *stage,
                          uint32_t firings)
{
    uint64_t macs = 0;

    if (nrw_operator_of(stage)->macs_once != NULL) {
        return nrw_operator_of(stage)->macs_once(model, stage);
    }
    for (uint32_t f = 0; f < firings && nrw_operator_of(stage)->macs != NULL; f++) {
        macs += macs_of(model, stage, f);
    }
    return macs;
}

void plan_outline_of(const void *sketch, uint32_t tensors, struct plan_outline *outline)
{
    const struct nrw_model model = model_of(sketch, tensors);
    const struct nrw_stage *stage = nrw_stages(&model);
    const struct nrw_operator *op = nrw_operator_of(stage);
    struct nrw_sizes sizes = {0, 0};
    struct nrw_state_columns columns = {0, 0, 0, 0};

    if (op->sizes != NULL) {
        sizes = op->sizes(&model, stage);
    }
    if (op->columns != NULL) {
        columns = op->columns(&model, stage);
    }
    outline->firings = nrw_firings(&model, stage);
    outline->macs_once = macs_once(&model, stage, outline->firings);
    outline->state_bytes = sizes.state;
    outline->scratch_bytes = sizes.scratch;
    for (uint32_t i = 0; i < stage->input_count; i++) {
        const bool whole = by_rows(&model, stage);
        const uint32_t segment = whole ? 0 : nrw_segment_pixels(&model, stage, i);
        /* 0 says that rows are whole; an operator that reads nothing side by side reads a pixel. */
        outline->segments[i] = whole ? 0 : nrw_most(segment, 1);
        outline->wrapped_bytes[i] =
            nrw_wrapped_row_bytes(segment, nrw_pixel_bytes(nrw_input_of(&model, stage, i)));
    }
    outline->columns_offset = columns.offset;
    outline->columns_rows = columns.rows;
    outline->columns_pitch = columns.pitch;
    outline->columns_carried = columns.carried;
}

void plan_firings_of(const void *sketch, uint32_t tensors, const struct plan_firings *firings)
{
    const struct nrw_model model = model_of(sketch, tensors);
    const struct nrw_stage *stage = nrw_stages(&model);
    const uint32_t count = nrw_firings(&model, stage);

    for (uint32_t f = 0; f < count; f++) {
        struct nrw_firing firing;
        for (uint32_t i = 0; i < stage->input_count; i++) {
            uint32_t given;
            const struct nrw_range needed = nrw_needs(&model, stage, i, f, &given);
            firings->lo[i][f] = needed.lo;
            firings->hi[i][f] = needed.hi;
        }
        nrw_firing_of(&firing, &model, stage, f);
        firings->given[f] = (int32_t)firing.given;
        firings->macs[f] = (int64_t)macs_of(&model, stage, f);
    }
}
