/* SPDX-License-Identifier: Apache-2.0 */
#include "firing.h"

#include "../kernels/resize.h"

/* Output row y needs input rows [y * stride - pad, y * stride - pad + extent). */
struct window {
    int32_t stride, pad, extent;
};

static struct nrw_rows window_rows(struct window window, int32_t first, int32_t last,
                                   int32_t height)
{
    struct nrw_rows rows;

    rows.lo = nrw_clip(first * window.stride - window.pad, height);
    rows.hi = nrw_clip(last * window.stride - window.pad + window.extent, height);
    return rows;
}

static int32_t lesser(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

bool nrw_accumulates(const struct nrw_model *model, const struct nrw_stage *stage)
{
    if (stage->op == NRW_OP_MEAN) {
        const struct nrw_mean_params *mean = nrw_at(model, stage->params);
        return mean->over_height != 0;
    }
    return stage->op == NRW_OP_AVG_POOL && (stage->flags & NRW_ACCUMULATES) != 0;
}

static bool is_rolling(const struct nrw_stage *stage)
{
    return stage->op == NRW_OP_BOTTLENECK && (stage->flags & NRW_ROLLING) != 0;
}

int32_t nrw_absorbed(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_bottleneck_params *params = nrw_at(model, stage->params);
    const struct nrw_geometry *geometry = &params->depthwise.geometry;

    return nrw_clip(geometry->kernel_h - geometry->stride_h - geometry->pad_top,
                    nrw_input_of(model, stage, 0)->height);
}

uint32_t nrw_firings(const struct nrw_model *model, const struct nrw_stage *stage)
{
    if (stage->op == NRW_OP_OUTPUT || nrw_accumulates(model, stage)) {
        return nrw_input_of(model, stage, 0)->height;
    }
    const uint32_t height = nrw_output_of(model, stage)->height;
    if (is_rolling(stage)) {
        return height + (uint32_t)nrw_absorbed(model, stage);
    }
    return stage->row_tile == 1 ? height : (height + stage->row_tile - 1) / stage->row_tile;
}

uint32_t nrw_gives(const struct nrw_model *model, const struct nrw_stage *stage,
                   uint32_t firing)
{
    if (nrw_accumulates(model, stage)) {
        return firing + 1u == nrw_input_of(model, stage, 0)->height;
    }
    if (is_rolling(stage)) {
        const uint32_t absorbed = (uint32_t)nrw_absorbed(model, stage);
        return firing < absorbed ? 0 : firing + 1 - absorbed;
    }
    const uint32_t height = nrw_output_of(model, stage)->height;
    const uint32_t end = (firing + 1) * stage->row_tile;
    return end < height ? end : height;
}

struct nrw_rows nrw_expands(const struct nrw_model *model, const struct nrw_stage *stage,
                            uint32_t firing)
{
    const struct nrw_bottleneck_params *params = nrw_at(model, stage->params);
    const struct nrw_geometry *geometry = &params->depthwise.geometry;
    const struct window window = {geometry->stride_h, geometry->pad_top, geometry->kernel_h};
    const int32_t height = nrw_input_of(model, stage, 0)->height;
    const int32_t number = (int32_t)firing;
    struct nrw_rows rows;

    if (!is_rolling(stage)) {
        return window_rows(window, number * stage->row_tile,
                           (int32_t)nrw_gives(model, stage, firing) - 1, height);
    }
    const int32_t absorbed = nrw_absorbed(model, stage);
    if (number < absorbed) {
        rows.lo = number;
        rows.hi = number + 1;
        return rows;
    }
    rows = window_rows(window, number - absorbed, number - absorbed, height);
    /* All but the last stride_h rows of the window are kept from earlier firings. */
    rows.lo = nrw_clip((number - absorbed) * window.stride - window.pad + window.extent -
                           window.stride, rows.hi);
    if (rows.lo < absorbed) {
        rows.lo = lesser(absorbed, rows.hi);
    }
    return rows;
}

static struct nrw_rows bottleneck_needs(const struct nrw_model *model,
                                        const struct nrw_stage *stage, uint32_t firing)
{
    struct nrw_rows rows = nrw_expands(model, stage, firing);

    if (stage->flags & NRW_ADD_INPUT) {
        /* The residual reads the input rows of the numbers that the output rows have. */
        int32_t row = (int32_t)firing * stage->row_tile;
        if (is_rolling(stage)) {
            row = nrw_clip(row - nrw_absorbed(model, stage), row);
        }
        rows.lo = lesser(rows.lo, row);
    }
    return rows;
}

static struct nrw_rows reshape_needs(const struct nrw_model *model,
                                     const struct nrw_stage *stage, uint32_t row)
{
    const uint32_t in_bytes = nrw_row_bytes(nrw_input_of(model, stage, 0));
    const uint32_t out_bytes = nrw_row_bytes(nrw_output_of(model, stage));
    struct nrw_rows rows;

    rows.lo = (int32_t)(row * out_bytes / in_bytes);
    rows.hi = (int32_t)(((row + 1) * out_bytes - 1) / in_bytes + 1);
    return rows;
}

struct nrw_rows nrw_needs(const struct nrw_model *model, const struct nrw_stage *stage,
                          uint32_t input, uint32_t firing)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const void *params = nrw_at(model, stage->params);
    struct window window = {1, 0, 1};

    switch (stage->op) {
    case NRW_OP_CONV:
    case NRW_OP_DEPTHWISE:
    case NRW_OP_AVG_POOL:
    case NRW_OP_MAX_POOL:
        if (!nrw_accumulates(model, stage)) {
            const struct nrw_geometry *geometry = params;
            window.stride = geometry->stride_h;
            window.pad = geometry->pad_top;
            window.extent = (geometry->kernel_h - 1) * geometry->dilation_h + 1;
        }
        break;
    case NRW_OP_BOTTLENECK:
        return bottleneck_needs(model, stage, firing);
    case NRW_OP_ELEMENTWISE:
        window.stride = in->height != 1;
        break;
    case NRW_OP_CONCAT:
        if (((const struct nrw_concat_params *)params)->axis == 0) {
            for (uint32_t i = 0; i < input; i++) {
                window.pad += nrw_input_of(model, stage, i)->height;
            }
        }
        break;
    case NRW_OP_RESIZE: {
        const struct nrw_resize_params *resize = params;
        const struct nrw_sample *sample = nrw_at(model, resize->rows);
        struct nrw_rows rows;
        rows.lo = sample[firing].low;
        rows.hi = rows.lo + 1 + (sample[firing].fraction != 0);
        return rows;
    }
    case NRW_OP_SLICE:
        window.stride = ((const struct nrw_slice_params *)params)->stride[0];
        window.pad = -(int32_t)((const struct nrw_slice_params *)params)->begin[0];
        break;
    case NRW_OP_PAD:
        window.pad = ((const struct nrw_pad_params *)params)->before[0];
        break;
    case NRW_OP_RESHAPE:
        return reshape_needs(model, stage, firing);
    default:
        break;
    }
    return window_rows(window, (int32_t)firing, (int32_t)firing, in->height);
}
