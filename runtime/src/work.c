/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much each operator computes (SPEC.md, Work). Work bounds every loop of a firing, whatever the
 * parameters are. Tensors have less than 2^28 pixels, and less than 2^31 weights stand in a blob:
 * so no product below overflows.
 */
#include "work.h"

#include "blob.h"
#include "firing.h"
#include "sizes.h"
#include "stage.h"

/* work: zeros but for one copy. */
typedef void work_fn(const struct nrw_model *model, const struct nrw_stage *stage,
                     struct nrw_work *work);

/* An operator that computes or moves each element of its run once. */
static void element_work(const struct nrw_model *model, const struct nrw_stage *stage,
                         struct nrw_work *work)
{
    work->step = (uint64_t)stage->run * nrw_frame(model, stage)->channels;
}

static void filter_work(const struct nrw_model *model, const struct nrw_stage *stage,
                        struct nrw_work *work)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const uint32_t depth = stage->op == NRW_OP_CONV ? nrw_input_of(model, stage, 0)->channels : 1;
    const uint64_t macs = nrw_taps_of(nrw_at(model, stage->params)) * depth;

    work->macs = macs * out->channels * nrw_pixels(out);
    work->step = (macs + 1) * out->channels * stage->run;
}

/* The firing that adds up six of the nine products does the most. */
static void rolling_depthwise_work(const struct nrw_model *model, const struct nrw_stage *stage,
                                   struct nrw_work *work)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    work->macs = (uint64_t)9 * out->channels * nrw_pixels(out);
    work->step = (uint64_t)7 * out->channels * stage->run;
}

/* windows: how many a firing looks at; rows, columns: of each, as far as they can lie inside. */
static void sum_work(const struct nrw_model *model, const struct nrw_stage *stage,
                     struct nrw_work *work, uint32_t windows, uint32_t rows, uint32_t columns)
{
    work->step = ((uint64_t)rows * columns + 1) * nrw_output_of(model, stage)->channels * windows;
}

static void pool_work(const struct nrw_model *model, const struct nrw_stage *stage,
                      struct nrw_work *work)
{
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);
    const bool adds_up = nrw_accumulates(model, stage);
    const uint32_t width = adds_up ? stage->run : nrw_input_of(model, stage, 0)->width;

    sum_work(model, stage, work, adds_up ? nrw_output_of(model, stage)->width : stage->run,
             adds_up ? 1 : geometry->kernel_h, nrw_least(geometry->kernel_w, width));
}

static void mean_work(const struct nrw_model *model, const struct nrw_stage *stage,
                      struct nrw_work *work)
{
    const struct nrw_mean_params *params = nrw_at(model, stage->params);
    const bool adds_up = nrw_accumulates(model, stage);
    const uint32_t width = adds_up ? stage->run : nrw_input_of(model, stage, 0)->width;

    sum_work(model, stage, work, adds_up ? nrw_output_of(model, stage)->width : stage->run, 1,
             params->over_width ? width : 1);
}

/* --- BOTTLENECK ---------------------------------------------------------------------------- */

/* Columns that a firing expands, those where its tiles overlap more than once. */
static uint64_t expanded_columns(const struct nrw_model *model, const struct nrw_stage *stage,
                                 const struct nrw_firing *firing)
{
    const struct nrw_bottleneck_params *params = nrw_at(model, stage->params);
    const int32_t width = params->grid_width;
    const struct nrw_windows windows = nrw_windows_of(model, stage, 0);
    uint64_t columns = 0;

    if (nrw_is_rolling(stage)) {
        return (uint32_t)(nrw_reached(&windows.columns, firing->x1, width) -
                          nrw_reached(&windows.columns, firing->x0, width));
    }
    for (int32_t x = firing->x0; x < firing->x1; x += params->col_tile) {
        const int32_t end = nrw_lesser(x + params->col_tile, firing->x1);
        columns += (uint32_t)(nrw_window_end(&windows.columns, end, width) -
                              nrw_window_start(&windows.columns, x, width));
    }
    return columns;
}

/* Of the firings of a row: columns that all of them expand, and the most that one does. */
struct columns {
    uint64_t all, most;
};

static struct columns columns_of(const struct nrw_model *model, const struct nrw_stage *stage,
                                 uint32_t runs)
{
    struct columns columns = {0, 0};

    for (uint32_t f = 0; f < runs; f++) {
        struct nrw_firing firing;
        nrw_firing_of(&firing, model, stage, f);
        const uint64_t some = expanded_columns(model, stage, &firing);
        columns.all += some;
        columns.most = some > columns.most ? some : columns.most;
    }
    return columns;
}

/* Copies of torn rows in a firing that expands so many rows: each tile and slice of channels reads
 * them anew, the expansion one for each row of the grid, the depthwise one for each output row. */
static uint64_t copies_of(const struct nrw_bottleneck_shape *shape, uint32_t expanded)
{
    const uint32_t tiles = (shape->run + shape->col_tile - 1u) / shape->col_tile;
    const uint32_t slices = (shape->mid_channels + shape->slice - 1u) / shape->slice;
    const uint32_t rows = shape->has_expand ? expanded : shape->row_tile;
    const uint64_t copies =
        tiles * (slices * (uint64_t)rows + (shape->has_add ? shape->row_tile : 0u));

    return copies < UINT32_MAX ? copies : UINT32_MAX;
}

/* Firings are alike from row to row but for the rows that they expand, and within a row but for
 * the columns: so the most of both is the most of a firing. */
static void bottleneck_work(const struct nrw_model *model, const struct nrw_stage *stage,
                            struct nrw_work *work)
{
    const struct nrw_bottleneck_params *params = nrw_at(model, stage->params);
    const struct nrw_bottleneck_shape shape = nrw_bottleneck_shape_of(model, stage);
    const uint64_t mid = shape.mid_channels;
    const uint32_t out = shape.has_project ? shape.out_channels : 0;
    const uint64_t depth = nrw_taps_of(&params->expand.geometry) * shape.in_channels;
    /* Of an output pixel, < 2^33 both: with what is finished there. */
    const uint64_t macs = mid * (nrw_taps_of(&params->depthwise.geometry) + out);
    const uint64_t filtered = macs + mid + (shape.has_add ? 2 * out : out);
    const uint32_t runs = (uint32_t)shape.out_width / stage->run;
    const uint32_t count = nrw_firings(model, stage);
    uint32_t most_expanded = 0;
    struct columns columns = {0, 0};

    if (shape.has_expand) {
        columns = columns_of(model, stage, runs);
    }
    const uint64_t row = columns.most * mid * (depth + 1); /* of a row that is expanded */
    if (row > NRW_MAX_STEP_WORK) {
        work->step = row;
        return;
    }
    const uint64_t row_macs = columns.all * mid * depth;
    for (uint32_t f = 0; f < count; f += runs) {
        struct nrw_firing firing;
        nrw_firing_of(&firing, model, stage, f);
        const struct nrw_range rows = nrw_expands(model, stage, &firing);
        const uint32_t expanded = (uint32_t)(rows.hi - rows.lo);
        const uint32_t given = firing.y0 < 0 ? 0 : (uint32_t)(firing.y1 - firing.y0);
        const uint64_t step = given * stage->run * filtered + expanded * row;

        work->macs += given * shape.out_width * macs + expanded * row_macs;
        work->step = step > work->step ? step : work->step;
        most_expanded = nrw_most(most_expanded, expanded);
    }
    work->copies = copies_of(&shape, most_expanded);
}

/* --- All ----------------------------------------------------------------------------------- */

static work_fn *const work_of[NRW_OP_COUNT] = {
    [NRW_OP_INPUT] = element_work,
    [NRW_OP_OUTPUT] = element_work,
    [NRW_OP_CONV] = filter_work,
    [NRW_OP_DEPTHWISE] = filter_work,
    [NRW_OP_BOTTLENECK] = bottleneck_work,
    [NRW_OP_ELEMENTWISE] = element_work,
    [NRW_OP_AVG_POOL] = pool_work,
    [NRW_OP_MAX_POOL] = pool_work,
    [NRW_OP_MEAN] = mean_work,
    [NRW_OP_SOFTMAX] = element_work,
    [NRW_OP_LOOKUP] = element_work,
    [NRW_OP_CONCAT] = element_work,
    [NRW_OP_RESIZE] = element_work,
    [NRW_OP_SLICE] = element_work,
    [NRW_OP_PAD] = element_work,
    [NRW_OP_RESHAPE] = element_work,
    [NRW_OP_ROLLING_DEPTHWISE] = rolling_depthwise_work,
};

struct nrw_work nrw_work_of(const struct nrw_model *model, const struct nrw_stage *stage)
{
    struct nrw_work work = {.copies = 1};
    uint64_t torn = 0;

    work_of[stage->op](model, stage, &work);
    for (uint32_t i = 0; i < stage->input_count; i++) {
        torn += nrw_torn_bytes(model, stage, i);
    }
    work.step += work.copies * torn;
    return work;
}
