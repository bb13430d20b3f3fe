/* SPDX-License-Identifier: Apache-2.0 */
#include "firing.h"

#include "sizes.h"

uint32_t nrw_firings(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_operator *op = nrw_operator_of(stage);
    const struct nrw_tensor *frame = nrw_frame(model, stage);
    const bool by_rows = nrw_is_form(stage, NRW_SINGLE) || nrw_accumulates(stage);
    const uint32_t rows = by_rows ? frame->height : op->firing_rows(model, stage);

    return rows * nrw_strips_of(stage, frame->width);
}

void nrw_special_firing_of(struct nrw_firing *firing, const struct nrw_model *model,
                           const struct nrw_stage *stage, uint32_t number)
{
    const struct nrw_tensor *frame = nrw_frame(model, stage);
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    nrw_strip_of(firing, stage, frame->width, number);
    if (nrw_accumulates(stage)) {
        firing->is_last = firing->given == nrw_pixels(frame);
        firing->given = firing->is_last ? nrw_pixels(out) : 0;
        return;
    }
    nrw_operator_of(stage)->firing(firing, model, stage, firing->y0);
    firing->is_last = firing->given == nrw_pixels(out);
}

struct nrw_windows nrw_windows_of(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input)
{
    const struct nrw_operator *op = nrw_operator_of(stage);
    struct nrw_windows windows = {{1, 0, 1}, {1, 0, 1}};

    if (op->windows != NULL) {
        return op->windows(model, stage, input);
    }
    if (op->reads == NRW_READS_GEOMETRY && nrw_is_form(stage, NRW_SINGLE)) {
        const struct nrw_geometry *geometry = nrw_at(model, stage->params);
        windows.rows = nrw_rows_of(geometry);
        windows.columns = nrw_columns_of(geometry);
    }
    return windows;
}

struct nrw_range nrw_special_needs(const struct nrw_model *model, const struct nrw_stage *stage,
                                   uint32_t input, const struct nrw_firing *firing)
{
    const struct nrw_operator *op = nrw_operator_of(stage);

    if (op->needs != NULL) {
        return op->needs(model, stage, input, firing);
    }
    const struct nrw_windows windows = nrw_windows_of(model, stage, input);
    return nrw_pixels_seen(windows.rows, windows.columns, nrw_input_of(model, stage, input),
                           firing);
}

NRW_COLD bool nrw_is_even(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const uint32_t strip = stage->strip; /* unsigned, as every divisor here (nrw_strips_of) */

    return out->width % strip == 0 && (nrw_is_whole(out) || out->capacity % strip == 0);
}

void nrw_compute_first_part(const struct nrw_run *run, const struct nrw_stage *stage,
                            struct nrw_firing *firing)
{
    struct nrw_firing part = *firing;

    firing->x0 = firing->x1 - (int32_t)(firing->given % nrw_output_of(run->model, stage)->capacity);
    part.x1 = firing->x0;
    nrw_operator_of(stage)->compute(run, stage, &part);
}

uint32_t nrw_wrapped_bytes(const struct nrw_model *model, const struct nrw_stage *stage,
                           uint32_t input)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);

    return nrw_may_wrap(in) ? nrw_wrapped_row_bytes(nrw_segment_pixels(model, stage, input),
                                                    nrw_pixel_bytes(in))
                            : 0;
}

uint64_t nrw_copied_bytes(const struct nrw_model *model, const struct nrw_stage *stage)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < stage->input_count; i++) {
        bytes += nrw_wrapped_bytes(model, stage, i);
    }
    return bytes;
}
