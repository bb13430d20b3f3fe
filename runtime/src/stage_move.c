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

static struct nrw_operand operand_of(const struct nrw_run *run, const struct nrw_tensor *tensor,
                                     uint32_t y)
{
    struct nrw_operand operand;

    operand.data = nrw_row(run, tensor, tensor->height == 1 ? 0 : (int32_t)y);
    operand.pixel_stride = tensor->width == 1 ? 0 : tensor->channels;
    operand.channel_stride = tensor->channels != 1;
    return operand;
}

void nrw_stage_elementwise(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t y)
{
    const struct nrw_model *model = run->model;
    const struct nrw_tensor *a = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *b = nrw_input_of(model, stage, 1);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const struct nrw_operand operand_a = operand_of(run, a, y);
    const struct nrw_operand operand_b = operand_of(run, b, y);
    struct nrw_elementwise_op op;

    nrw_elementwise_op_of(&op, nrw_at(model, stage->params));
    op.a_zero_point = a->zero_point;
    op.b_zero_point = b->zero_point;
    op.out_zero_point = out->zero_point;
    nrw_elementwise(&op, &operand_a, &operand_b, out->width, out->channels,
                    nrw_out_row(run, out, y));
}

void nrw_stage_softmax(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t y)
{
    const struct nrw_table_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);

    nrw_softmax(nrw_at(run->model, params->table),
                nrw_row(run, nrw_input_of(run->model, stage, 0), (int32_t)y), out->width,
                out->channels, nrw_out_row(run, out, y));
}

void nrw_stage_lookup(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t y)
{
    const struct nrw_table_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);

    nrw_lookup(nrw_at(run->model, params->table),
               nrw_row(run, nrw_input_of(run->model, stage, 0), (int32_t)y),
               nrw_row_bytes(out), nrw_out_row(run, out, y));
}

void nrw_stage_concat(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t y)
{
    const struct nrw_concat_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    int8_t *to = nrw_out_row(run, out, y);

    for (uint32_t i = 0; i < stage->input_count; i++) {
        const struct nrw_tensor *in = nrw_input_of(run->model, stage, i);
        const struct nrw_rows rows = nrw_needs(run->model, stage, i, y);
        if (rows.lo < rows.hi) {
            nrw_move(nrw_row(run, in, rows.lo), in->channels, 1, in->width, in->channels, to,
                     out->channels);
            to += params->axis == 2 ? in->channels : nrw_row_bytes(in);
        }
    }
}

void nrw_stage_resize(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t y)
{
    const struct nrw_resize_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const struct nrw_sample *sample = nrw_at(run->model, params->rows);

    sample += y;
    nrw_resize(nrw_row(run, in, sample->low),
               nrw_row(run, in, sample->low + (sample->fraction != 0)), sample->fraction,
               nrw_at(run->model, params->cols), out->width, out->channels,
               nrw_out_row(run, out, y));
}

void nrw_stage_slice(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t y)
{
    const struct nrw_slice_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int8_t *row = nrw_row(run, in, nrw_needs(run->model, stage, 0, y).lo);

    nrw_move(row + (uint32_t)params->begin[1] * in->channels + params->begin[2],
             (uint32_t)params->stride[1] * in->channels, params->stride[2], out->width,
             out->channels, nrw_out_row(run, out, y), out->channels);
}

void nrw_stage_pad(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t y)
{
    const struct nrw_pad_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const struct nrw_rows rows = nrw_needs(run->model, stage, 0, y);
    int8_t *to = nrw_out_row(run, out, y);

    memset(to, params->value, nrw_row_bytes(out));
    if (rows.lo < rows.hi) {
        nrw_move(nrw_row(run, in, rows.lo), in->channels, 1, in->width, in->channels,
                 to + (uint32_t)params->before[1] * out->channels + params->before[2],
                 out->channels);
    }
}

void nrw_stage_reshape(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t y)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const uint32_t in_bytes = nrw_row_bytes(in);
    uint32_t left = nrw_row_bytes(out);
    uint32_t at = y * left;
    int8_t *to = nrw_out_row(run, out, y);

    while (left > 0) {
        const uint32_t column = at % in_bytes;
        const uint32_t count = left < in_bytes - column ? left : in_bytes - column;
        memmove(to, nrw_row(run, in, (int32_t)(at / in_bytes)) + column, count);
        to += count;
        at += count;
        left -= count;
    }
}
