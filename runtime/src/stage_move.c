/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operators that compute element by element or only move elements.
 */
#include <string.h>

#include "stage.h"

void nrw_elementwise_op_of(struct nrw_elementwise_op *op,
                           const struct nrw_elementwise_params *params)
{
    op->function = params->function;
    op->left_shift = params->left_shift;
    op->a_multiplier = params->multiplier_a;
    op->a_shift = params->shift_a;
    op->b_multiplier = params->multiplier_b;
    op->b_shift = params->shift_b;
    op->out_multiplier = params->multiplier_out;
    op->out_shift = params->shift_out;
    op->act_min = params->act_min;
    op->act_max = params->act_max;
}

static inline struct nrw_operand operand_of(const struct nrw_run *run,
                                            const struct nrw_stage *stage, uint32_t i,
                                            const struct nrw_firing *firing)
{
    const struct nrw_tensor *tensor = nrw_input_of(run->model, stage, i);
    const bool is_column = tensor->width == 1;
    struct nrw_operand operand;

    operand.data = nrw_segment(run, stage, i, tensor->height == 1 ? 0 : firing->y0,
                               is_column ? 0 : firing->x0, is_column ? 1 : firing->x1);
    operand.pixel_stride = is_column ? 0 : tensor->channels;
    operand.channel_stride = tensor->channels != 1;
    return operand;
}

void nrw_stage_elementwise(const struct nrw_run *run, const struct nrw_stage *stage,
                           const struct nrw_firing *firing)
{
    const struct nrw_model *model = run->model;
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const struct nrw_operand a = operand_of(run, stage, 0, firing);
    const struct nrw_operand b = operand_of(run, stage, 1, firing);
    struct nrw_elementwise_op op;

    nrw_elementwise_op_of(&op, nrw_at(model, stage->params));
    op.a_zero_point = nrw_input_of(model, stage, 0)->zero_point;
    op.b_zero_point = nrw_input_of(model, stage, 1)->zero_point;
    op.out_zero_point = out->zero_point;
    nrw_elementwise(&op, &a, &b, stage->run, out->channels,
                    nrw_out(run, out, firing->y0, firing->x0));
}

void nrw_stage_softmax(const struct nrw_run *run, const struct nrw_stage *stage,
                       const struct nrw_firing *firing)
{
    const struct nrw_table_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);

    nrw_softmax(nrw_at(run->model, params->table),
                nrw_segment(run, stage, 0, firing->y0, firing->x0, firing->x1), stage->run,
                out->channels, nrw_out(run, out, firing->y0, firing->x0));
}

void nrw_stage_lookup(const struct nrw_run *run, const struct nrw_stage *stage,
                      const struct nrw_firing *firing)
{
    const struct nrw_table_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);

    nrw_lookup(nrw_at(run->model, params->table),
               nrw_segment(run, stage, 0, firing->y0, firing->x0, firing->x1),
               (uint32_t)stage->run * out->channels, nrw_out(run, out, firing->y0, firing->x0));
}

/* The pixels of input i that the firing needs, which are of one row, one behind the other, to
 * places out_stride apart. Returns whether there are any. */
static bool move(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t i,
                 const struct nrw_firing *firing, int8_t *to, uint32_t out_stride)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, i);
    const struct nrw_area area = nrw_area_of(run->model, stage, i, firing);
    const struct nrw_range columns = area.columns;
    const bool is_there = area.rows.lo < area.rows.hi;

    if (is_there) {
        nrw_move(nrw_segment(run, stage, i, area.rows.lo, columns.lo, columns.hi), in->channels,
                 1, (uint32_t)(columns.hi - columns.lo), in->channels, to, out_stride);
    }
    return is_there;
}

void nrw_stage_concat(const struct nrw_run *run, const struct nrw_stage *stage,
                      const struct nrw_firing *firing)
{
    const struct nrw_concat_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    int8_t *to = nrw_out(run, out, firing->y0, firing->x0);

    for (uint32_t i = 0; i < stage->input_count; i++) {
        const struct nrw_tensor *in = nrw_input_of(run->model, stage, i);
        if (params->axis == 2) {
            nrw_move(nrw_segment(run, stage, i, firing->y0, firing->x0, firing->x1),
                     in->channels, 1, stage->run, in->channels, to, out->channels);
            to += in->channels;
        } else if (move(run, stage, i, firing, to, out->channels)) {
            to += nrw_row_bytes(in);
        }
    }
}

void nrw_stage_resize(const struct nrw_run *run, const struct nrw_stage *stage,
                      const struct nrw_firing *firing)
{
    const struct nrw_resize_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const struct nrw_sample *sample = nrw_at(run->model, params->rows);

    sample += firing->y0;
    nrw_resize(nrw_segment(run, stage, 0, sample->low, 0, in->width),
               nrw_segment(run, stage, 0, sample->low + (sample->fraction != 0), 0, in->width),
               sample->fraction, nrw_at(run->model, params->cols), out->width, out->channels,
               nrw_out(run, out, firing->y0, 0));
}

void nrw_stage_slice(const struct nrw_run *run, const struct nrw_stage *stage,
                     const struct nrw_firing *firing)
{
    const struct nrw_slice_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int32_t y = params->begin[0] + firing->y0 * params->stride[0];
    const int32_t left = params->begin[1] + firing->x0 * params->stride[1];
    const int32_t right = params->begin[1] + (firing->x1 - 1) * params->stride[1] + 1;
    const int8_t *row = nrw_segment(run, stage, 0, y, left, right);

    nrw_move(row + params->begin[2], (uint32_t)params->stride[1] * in->channels,
             params->stride[2], stage->run, out->channels,
             nrw_out(run, out, firing->y0, firing->x0), out->channels);
}

void nrw_stage_pad(const struct nrw_run *run, const struct nrw_stage *stage,
                   const struct nrw_firing *firing)
{
    const struct nrw_pad_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    int8_t *to = nrw_out(run, out, firing->y0, 0);

    memset(to, params->value, nrw_row_bytes(out));
    (void)move(run, stage, 0, firing,
               to + (uint32_t)params->before[1] * out->channels + params->before[2],
               out->channels);
}

void nrw_stage_reshape(const struct nrw_run *run, const struct nrw_stage *stage,
                       const struct nrw_firing *firing)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const uint32_t in_bytes = nrw_row_bytes(in);
    uint32_t left = nrw_row_bytes(out);
    uint32_t at = (uint32_t)firing->y0 * left;
    int8_t *to = nrw_out(run, out, firing->y0, 0);

    while (left > 0) {
        const uint32_t column = at % in_bytes;
        const uint32_t count = left < in_bytes - column ? left : in_bytes - column;
        memmove(to, nrw_segment(run, stage, 0, (int32_t)(at / in_bytes), 0, in->width) + column,
                count);
        to += count;
        at += count;
        left -= count;
    }
}
