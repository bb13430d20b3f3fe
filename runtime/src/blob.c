/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All reading of untrusted bytes. nrw_open proves every claim of SPEC.md's reject rules;
 * after it nothing is checked again. Ranges are checked by subtraction, so nothing here
 * overflows, and every multiplication is of factors whose bounds stand beside it.
 */
#include "blob.h"

#include "../kernels/kernels_select.h"
#include "crc32.h"
#include "firing.h"
#include "sizes.h"
#include "stage.h"
#include "work.h"

#define MAX_BYTES 0x7FFFFFF0u        /* of the blob: offsets fit an int32_t */
#define MAX_REGION_BYTES 0x0FFFFFF0u /* of a region of the arena, and below it of a ring */

/* A check of a field of the blob; its place becomes error_at. */
#define REQUIRE(condition, field)                                                      \
    do {                                                                               \
        if (!(condition)) {                                                            \
            model->error_at = (uint32_t)((const uint8_t *)&(field) - model->blob);     \
            return NRW_ERR_STRUCTURE;                                                  \
        }                                                                              \
    } while (0)

#define TRY(expression)              \
    do {                             \
        const int result = (expression); \
        if (result != NRW_OK) {      \
            return result;           \
        }                            \
    } while (0)

static bool fits(uint32_t offset, uint64_t bytes, uint32_t limit, uint32_t alignment)
{
    return offset % alignment == 0 && offset <= limit && bytes <= limit - offset;
}

/* The same in the region of the arena that the offset names. */
static bool in_arena(const struct nrw_model *model, uint32_t offset, uint64_t bytes)
{
    return offset >> 28 < NRW_REGIONS &&
           fits(offset & 0x0FFFFFFFu, bytes, model->arena_bytes[offset >> 28], 16);
}

/* The place of parameters, tables and weights: behind the lists. */
static bool in_body(const struct nrw_model *model, uint32_t offset, uint64_t bytes,
                    uint32_t alignment)
{
    const uint8_t *lists_end = (const uint8_t *)(nrw_outputs(model) + model->output_count);

    return offset >= (uint32_t)(lists_end - model->blob) &&
           fits(offset, bytes, model->blob_bytes, alignment);
}

static bool all_zero(const void *bytes, uint32_t count)
{
    const uint8_t *byte = bytes;

    while (count > 0 && byte[count - 1] == 0) {
        count--;
    }
    return count == 0;
}

static bool same_shape(const struct nrw_tensor *a, const struct nrw_tensor *b)
{
    return a->height == b->height && a->width == b->width && a->channels == b->channels;
}

static bool good_shift(int32_t shift)
{
    return shift >= -31 && shift <= 30;
}

/* --- Header and tensors ------------------------------------------------------------------ */

static int check_header(struct nrw_model *model, size_t size)
{
    const struct nrw_header *header = nrw_header_of(model);

    if (size < sizeof *header) {
        return NRW_ERR_TRUNCATED;
    }
    if (header->magic != NRW_MAGIC) {
        return NRW_ERR_MAGIC;
    }
    if (header->major != NRW_MAJOR) {
        model->error_at = 4;
        return NRW_ERR_VERSION;
    }
    if (nrw_crc32(model->blob, sizeof *header - 4) != header->header_crc) {
        model->error_at = sizeof *header - 4;
        return NRW_ERR_CRC;
    }
    if (header->blob_bytes > size) {
        model->error_at = 8;
        return NRW_ERR_TRUNCATED;
    }
    if (header->isa > 31 || (nrw_isa_classes() >> header->isa & 1) == 0) {
        model->error_at = 12;
        return NRW_ERR_ISA;
    }
    REQUIRE(header->blob_bytes % 16 == 0 && header->blob_bytes <= MAX_BYTES, header->blob_bytes);
    for (uint32_t i = 0; i < NRW_REGIONS; i++) {
        REQUIRE(header->arena_bytes[i] % 16 == 0 && header->arena_bytes[i] <= MAX_REGION_BYTES,
                header->arena_bytes[i]);
        model->arena_bytes[i] = header->arena_bytes[i];
    }
    REQUIRE(header->tensor_count > 0, header->tensor_count);
    REQUIRE(header->stage_count > 0 && header->stage_count < NRW_NONE, header->stage_count);
    REQUIRE(header->output_count > 0, header->output_count);
    REQUIRE(header->input_count > 0 && header->input_count <= header->stage_count,
            header->input_count);
    REQUIRE(header->input_passes == 1, header->input_passes);
    REQUIRE(header->reserved == 0, header->reserved);

    const uint32_t lists = header->tensor_count * (uint32_t)sizeof(struct nrw_tensor) +
                           header->stage_count * (uint32_t)sizeof(struct nrw_stage) +
                           2u * header->reader_count + 2u * header->output_count;
    REQUIRE(lists <= header->blob_bytes - sizeof *header, header->blob_bytes);

    model->blob_bytes = header->blob_bytes;
    model->tensor_count = header->tensor_count;
    model->stage_count = header->stage_count;
    model->reader_count = header->reader_count;
    model->input_count = header->input_count;
    model->output_count = header->output_count;

    REQUIRE(header->metadata_bytes == 0
                ? header->metadata_offset == 0
                : in_body(model, header->metadata_offset, header->metadata_bytes, 1),
            header->metadata_offset);
    return NRW_OK;
}

static int check_tensors(struct nrw_model *model)
{
    const struct nrw_stage *stages = nrw_stages(model);
    uint32_t readers = 0;

    for (uint32_t i = 0; i < model->tensor_count; i++) {
        const struct nrw_tensor *tensor = nrw_tensors(model) + i;

        REQUIRE(tensor->flags <= NRW_CONSTANT, tensor->flags);
        REQUIRE(tensor->height > 0, tensor->height);
        REQUIRE(tensor->width > 0, tensor->width);
        REQUIRE(tensor->channels > 0, tensor->channels);
        REQUIRE(tensor->reserved == 0, tensor->reserved);
        REQUIRE(nrw_pixels(tensor) < 1u << 28, tensor->height);
        REQUIRE(tensor->capacity > 0 && tensor->capacity <= nrw_pixels(tensor),
                tensor->capacity);
        const uint64_t bytes = (uint64_t)tensor->capacity * tensor->channels;
        REQUIRE(bytes < 1u << 28, tensor->capacity);
        if (nrw_is_constant(tensor)) {
            REQUIRE(nrw_is_whole(tensor), tensor->capacity);
            REQUIRE(tensor->producer == NRW_NONE, tensor->producer);
            REQUIRE(in_body(model, tensor->offset, bytes, 16), tensor->offset);
        } else {
            REQUIRE(tensor->producer < model->stage_count &&
                        stages[tensor->producer].output == i,
                    tensor->producer);
            REQUIRE(in_arena(model, tensor->offset, bytes), tensor->offset);
        }
        REQUIRE(tensor->first_reader == readers, tensor->first_reader);
        REQUIRE(tensor->reader_count <= model->reader_count - readers, tensor->reader_count);
        readers += tensor->reader_count;
    }
    return NRW_OK;
}

/* --- Operators: what each of them asks of its parameters and shapes ------------------------ */

static int check_channels(struct nrw_model *model, const uint32_t *offset, uint32_t count)
{
    REQUIRE(in_body(model, *offset, (uint64_t)count * sizeof(struct nrw_channel), 4), *offset);
    const struct nrw_channel *channels = nrw_at(model, *offset);
    for (uint32_t i = 0; i < count; i++) {
        REQUIRE(channels[i].multiplier >= 0, channels[i].multiplier);
        REQUIRE(good_shift(channels[i].shift), channels[i].shift);
    }
    return NRW_OK;
}

static int check_geometry(struct nrw_model *model, const struct nrw_geometry *geometry,
                          bool row_by_row)
{
    REQUIRE(geometry->kernel_h > 0 && (row_by_row || geometry->kernel_h <= NRW_MAX_KERNEL_H),
            geometry->kernel_h);
    REQUIRE(geometry->kernel_w > 0, geometry->kernel_w);
    REQUIRE(geometry->stride_h > 0, geometry->stride_h);
    REQUIRE(geometry->stride_w > 0, geometry->stride_w);
    REQUIRE(geometry->dilation_h > 0, geometry->dilation_h);
    REQUIRE(geometry->dilation_w > 0, geometry->dilation_w);
    REQUIRE(geometry->act_min <= geometry->act_max, geometry->act_min);
    return NRW_OK;
}

/* taps: weights per output channel. */
static int check_filter(struct nrw_model *model, const struct nrw_filter_params *filter,
                        uint64_t taps, uint32_t channels)
{
    TRY(check_geometry(model, &filter->geometry, false));
    /* kernel_h <= 2^6, the other factors < 2^16 */
    REQUIRE(in_body(model, filter->weights, taps * channels, 4), filter->weights);
    return check_channels(model, &filter->channels, channels);
}

static int check_conv(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_filter_params *filter = nrw_at(model, stage->params);
    const uint32_t in_channels = nrw_input_of(model, stage, 0)->channels;

    REQUIRE(filter->geometry.depth_multiplier == 0, filter->geometry.depth_multiplier);
    return check_filter(model, filter, nrw_taps_of(&filter->geometry) * in_channels,
                        nrw_output_of(model, stage)->channels);
}

static int check_depthwise(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_filter_params *filter = nrw_at(model, stage->params);
    const uint32_t channels = nrw_output_of(model, stage)->channels;
    const uint32_t multiplier = filter->geometry.depth_multiplier;

    REQUIRE(multiplier > 0 && multiplier * nrw_input_of(model, stage, 0)->channels == channels,
            filter->geometry.depth_multiplier);
    return check_filter(model, filter, nrw_taps_of(&filter->geometry), channels);
}

static int check_rolling_depthwise(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);

    REQUIRE(geometry->kernel_h == 3, geometry->kernel_h);
    REQUIRE(geometry->kernel_w == 3, geometry->kernel_w);
    REQUIRE(geometry->stride_h == 2, geometry->stride_h);
    REQUIRE(geometry->stride_w == 2, geometry->stride_w);
    REQUIRE(geometry->dilation_h == 1, geometry->dilation_h);
    REQUIRE(geometry->dilation_w == 1, geometry->dilation_w);
    REQUIRE(geometry->pad_top < 3, geometry->pad_top);
    REQUIRE(geometry->pad_left < 3, geometry->pad_left);
    REQUIRE(geometry->depth_multiplier == 1, geometry->depth_multiplier);
    return check_depthwise(model, stage);
}

static int check_arithmetic(struct nrw_model *model, const struct nrw_elementwise_params *params)
{
    REQUIRE(params->multiplier_a >= 0, params->multiplier_a);
    REQUIRE(params->multiplier_b >= 0, params->multiplier_b);
    REQUIRE(params->multiplier_out >= 0, params->multiplier_out);
    REQUIRE(good_shift(params->shift_a), params->shift_a);
    REQUIRE(good_shift(params->shift_b), params->shift_b);
    REQUIRE(good_shift(params->shift_out), params->shift_out);
    REQUIRE(params->left_shift <= 20, params->left_shift);
    REQUIRE(params->act_min <= params->act_max, params->act_min);
    REQUIRE(params->function <= NRW_MUL, params->function);
    REQUIRE(params->reserved == 0, params->reserved);
    return NRW_OK;
}

static int check_pointwise(struct nrw_model *model, const struct nrw_pointwise_params *params,
                           bool present, uint32_t in_channels, uint32_t out_channels)
{
    if (!present) {
        REQUIRE(all_zero(params, sizeof *params), *params);
        return NRW_OK;
    }
    REQUIRE(params->act_min <= params->act_max, params->act_min);
    REQUIRE(params->reserved == 0, params->reserved);
    REQUIRE(in_body(model, params->weights, (uint64_t)in_channels * out_channels, 4),
            params->weights);
    return check_channels(model, &params->channels, out_channels);
}

/* A bottleneck's expansion: any CONV without dilation. */
static int check_expansion(struct nrw_model *model, const struct nrw_bottleneck_params *params,
                           bool present, const struct nrw_tensor *in)
{
    const struct nrw_geometry *geometry = &params->expand.geometry;

    if (!present) {
        REQUIRE(all_zero(&params->expand, sizeof params->expand), params->expand);
        REQUIRE(params->grid_height == in->height, params->grid_height);
        REQUIRE(params->grid_width == in->width, params->grid_width);
        return NRW_OK;
    }
    REQUIRE(params->grid_height > 0, params->grid_height);
    REQUIRE(params->grid_width > 0, params->grid_width);
    REQUIRE(geometry->dilation_h == 1, geometry->dilation_h);
    REQUIRE(geometry->dilation_w == 1, geometry->dilation_w);
    REQUIRE(geometry->depth_multiplier == 0, geometry->depth_multiplier);
    return check_filter(model, &params->expand, nrw_taps_of(geometry) * in->channels,
                        params->mid_channels);
}

static int check_bottleneck(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_bottleneck_params *params = nrw_at(model, stage->params);
    const struct nrw_geometry *geometry = &params->depthwise.geometry;
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const bool expand = (stage->flags & NRW_EXPAND) != 0;
    const bool project = (stage->flags & NRW_PROJECT) != 0;
    const bool add = (stage->flags & NRW_ADD_INPUT) != 0;
    const bool rolling = (stage->flags & NRW_ROLLING) != 0;
    const uint32_t mid = params->mid_channels;

    REQUIRE(expand || (project && !rolling), stage->flags);
    REQUIRE(mid > 0 && (expand || mid == in->channels) && (project || mid == out->channels),
            params->mid_channels);
    REQUIRE(params->slice > 0 && params->slice <= mid && (!rolling || params->slice == mid),
            params->slice);
    REQUIRE(params->col_tile > 0 && params->col_tile <= stage->run, params->col_tile);
    REQUIRE(expand || params->expanded_zero_point == in->zero_point,
            params->expanded_zero_point);
    REQUIRE(project || params->filtered_zero_point == out->zero_point,
            params->filtered_zero_point);
    REQUIRE(add || params->projected_zero_point == out->zero_point,
            params->projected_zero_point);
    REQUIRE(params->row_tile > 0 && params->row_tile <= (rolling ? 1 : out->height),
            params->row_tile);
    REQUIRE(params->row_tile == 1 || stage->run == out->width, stage->run);

    REQUIRE(geometry->dilation_h == 1, geometry->dilation_h);
    REQUIRE(geometry->dilation_w == 1, geometry->dilation_w);
    REQUIRE(geometry->depth_multiplier == 1, geometry->depth_multiplier);
    TRY(check_filter(model, &params->depthwise, nrw_taps_of(geometry), mid));
    REQUIRE(!rolling || geometry->kernel_h >= geometry->stride_h, geometry->kernel_h);
    REQUIRE(params->kept_rows <= (rolling ? geometry->kernel_h - geometry->stride_h : 0),
            params->kept_rows);
    TRY(check_expansion(model, params, expand, in));
    TRY(check_pointwise(model, &params->project, project, mid, out->channels));
    if (!add) {
        REQUIRE(all_zero(&params->add, sizeof params->add), params->add);
        return NRW_OK;
    }
    REQUIRE(project && same_shape(in, out), stage->flags);
    REQUIRE(!expand || nrw_is_pointwise(&params->expand.geometry),
            params->expand.geometry.kernel_h);
    REQUIRE(geometry->stride_h == 1, geometry->stride_h);
    REQUIRE(geometry->stride_w == 1, geometry->stride_w);
    /* so that a window's last pixel is not before the residual's */
    REQUIRE(geometry->pad_top < geometry->kernel_h, geometry->pad_top);
    REQUIRE(geometry->pad_left < geometry->kernel_w, geometry->pad_left);
    REQUIRE(params->add.function == NRW_ADD, params->add.function);
    return check_arithmetic(model, &params->add);
}

static bool broadcasts(uint32_t operand, uint32_t out)
{
    return operand == out || operand == 1;
}

static int check_elementwise(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    for (uint32_t i = 0; i < 2; i++) {
        const struct nrw_tensor *operand = nrw_input_of(model, stage, i);
        REQUIRE(broadcasts(operand->height, out->height) &&
                    broadcasts(operand->width, out->width) &&
                    broadcasts(operand->channels, out->channels),
                stage->inputs[i]);
    }
    return check_arithmetic(model, nrw_at(model, stage->params));
}

/* Whether every window holds an element of the input. */
static bool covers(uint32_t in, uint32_t out, uint32_t kernel, uint32_t stride, uint32_t pad)
{
    return pad < kernel && (out - 1) * stride < in + pad;
}

static int check_pool(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_geometry *geometry = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const bool accumulates = nrw_accumulates(model, stage);

    TRY(check_geometry(model, geometry, accumulates));
    REQUIRE(in->channels == out->channels, stage->output);
    REQUIRE(geometry->dilation_h == 1, geometry->dilation_h);
    REQUIRE(geometry->dilation_w == 1, geometry->dilation_w);
    REQUIRE(geometry->depth_multiplier == 0, geometry->depth_multiplier);
    REQUIRE(covers(in->height, out->height, geometry->kernel_h, geometry->stride_h,
                   geometry->pad_top),
            geometry->pad_top);
    REQUIRE(covers(in->width, out->width, geometry->kernel_w, geometry->stride_w,
                   geometry->pad_left),
            geometry->pad_left);
    REQUIRE(!accumulates || (out->height == 1 &&
                             geometry->kernel_h - geometry->pad_top >= in->height),
            geometry->kernel_h);
    REQUIRE(!accumulates || stage->run == in->width ||
                (out->width == 1 && geometry->pad_left == 0 && geometry->kernel_w >= in->width),
            stage->run);
    return NRW_OK;
}

static int check_mean(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_mean_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    REQUIRE(params->over_height <= 1, params->over_height);
    REQUIRE(params->over_width <= 1, params->over_width);
    REQUIRE(params->reserved == 0, params->reserved);
    REQUIRE(params->sum.multiplier >= 0, params->sum.multiplier);
    REQUIRE(good_shift(params->sum.shift), params->sum.shift);
    REQUIRE(out->height == (params->over_height ? 1 : in->height) &&
                out->width == (params->over_width ? 1 : in->width) &&
                out->channels == in->channels,
            stage->output);
    REQUIRE(!params->over_height || params->over_width || stage->run == in->width, stage->run);
    return NRW_OK;
}

static int check_table(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_table_params *params = nrw_at(model, stage->params);
    const uint32_t entry = stage->op == NRW_OP_SOFTMAX ? 4 : 1;

    REQUIRE(same_shape(nrw_input_of(model, stage, 0), nrw_output_of(model, stage)),
            stage->output);
    REQUIRE(in_body(model, params->table, 256 * entry, entry), params->table);
    return NRW_OK;
}

static int check_concat(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_concat_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    uint32_t height = 0;
    uint32_t width = 0;
    uint32_t channels = 0;

    REQUIRE(params->axis <= 2, params->axis);
    REQUIRE(all_zero(params->reserved, sizeof params->reserved), params->reserved);
    for (uint32_t i = 0; i < stage->input_count; i++) {
        const struct nrw_tensor *in = nrw_input_of(model, stage, i);
        REQUIRE((params->axis == 0 || in->height == out->height) &&
                    (params->axis == 1 || in->width == out->width) &&
                    (params->axis == 2 || in->channels == out->channels),
                stage->inputs[i]);
        height += in->height;
        width += in->width;
        channels += in->channels;
    }
    REQUIRE((params->axis != 0 || height == out->height) &&
                (params->axis != 1 || width == out->width) &&
                (params->axis != 2 || channels == out->channels),
            stage->output);
    return NRW_OK;
}

static int check_samples(struct nrw_model *model, const uint32_t *offset, uint32_t count,
                         uint32_t limit)
{
    REQUIRE(in_body(model, *offset, (uint64_t)count * sizeof(struct nrw_sample), 4), *offset);
    const struct nrw_sample *samples = nrw_at(model, *offset);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t high = (uint32_t)samples[i].low + (samples[i].fraction != 0);
        REQUIRE(high < limit && (i == 0 || samples[i - 1].low <= samples[i].low),
                samples[i].low);
        REQUIRE(samples[i].fraction <= 1023, samples[i].fraction);
    }
    return NRW_OK;
}

static int check_resize(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_resize_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    REQUIRE(in->channels == out->channels, stage->output);
    TRY(check_samples(model, &params->rows, out->height, in->height));
    return check_samples(model, &params->cols, out->width, in->width);
}

static int check_slice(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_slice_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    for (uint32_t i = 0; i < 3; i++) {
        REQUIRE(params->stride[i] > 0, params->stride[i]);
        REQUIRE(params->begin[i] < nrw_extent(in, i) &&
                    (nrw_extent(out, i) - 1) * (int64_t)params->stride[i] <
                        nrw_extent(in, i) - params->begin[i],
                params->begin[i]);
    }
    return NRW_OK;
}

static int check_pad(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_pad_params *params = nrw_at(model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    for (uint32_t i = 0; i < 3; i++) {
        REQUIRE(params->before[i] + nrw_extent(in, i) <= nrw_extent(out, i), params->before[i]);
    }
    REQUIRE(params->reserved == 0, params->reserved);
    return NRW_OK;
}

static int check_reshape(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const uint64_t in_bytes = (uint64_t)in->height * nrw_row_bytes(in);
    const uint64_t out_bytes = (uint64_t)out->height * nrw_row_bytes(out);

    REQUIRE(in_bytes == out_bytes && in_bytes <= UINT32_MAX, stage->output);
    return NRW_OK;
}

/* The first output that is the stage's input, by its number: check_outputs sees to the first. */
static int check_output(struct nrw_model *model, const struct nrw_stage *stage)
{
    REQUIRE(stage->params < model->output_count &&
                nrw_outputs(model)[stage->params] == stage->inputs[0],
            stage->params);
    return NRW_OK;
}

static const struct operator_rule {
    int (*check)(struct nrw_model *model, const struct nrw_stage *stage);
    uint8_t least_inputs, most_inputs, params_bytes, flags;
} rules[NRW_OP_COUNT] = {
    [NRW_OP_INPUT] = {NULL, 0, 0, 0, 0},
    [NRW_OP_OUTPUT] = {check_output, 1, 1, 0, 0},
    [NRW_OP_CONV] = {check_conv, 1, 1, sizeof(struct nrw_filter_params), 0},
    [NRW_OP_DEPTHWISE] = {check_depthwise, 1, 1, sizeof(struct nrw_filter_params), 0},
    [NRW_OP_BOTTLENECK] = {check_bottleneck, 1, 1, sizeof(struct nrw_bottleneck_params),
                           NRW_EXPAND | NRW_PROJECT | NRW_ADD_INPUT | NRW_ROLLING},
    [NRW_OP_ELEMENTWISE] = {check_elementwise, 2, 2, sizeof(struct nrw_elementwise_params), 0},
    [NRW_OP_AVG_POOL] = {check_pool, 1, 1, sizeof(struct nrw_geometry), NRW_ACCUMULATES},
    [NRW_OP_MAX_POOL] = {check_pool, 1, 1, sizeof(struct nrw_geometry), 0},
    [NRW_OP_MEAN] = {check_mean, 1, 1, sizeof(struct nrw_mean_params), 0},
    [NRW_OP_SOFTMAX] = {check_table, 1, 1, sizeof(struct nrw_table_params), 0},
    [NRW_OP_LOOKUP] = {check_table, 1, 1, sizeof(struct nrw_table_params), 0},
    [NRW_OP_CONCAT] = {check_concat, 2, 4, sizeof(struct nrw_concat_params), 0},
    [NRW_OP_RESIZE] = {check_resize, 1, 1, sizeof(struct nrw_resize_params), 0},
    [NRW_OP_SLICE] = {check_slice, 1, 1, sizeof(struct nrw_slice_params), 0},
    [NRW_OP_PAD] = {check_pad, 1, 1, sizeof(struct nrw_pad_params), 0},
    [NRW_OP_RESHAPE] = {check_reshape, 1, 1, 0, 0},
    [NRW_OP_ROLLING_DEPTHWISE] = {check_rolling_depthwise, 1, 1,
                                  sizeof(struct nrw_filter_params), 0},
};

/* --- Stages -------------------------------------------------------------------------------- */

/* State and scratch are what the size functions say, and stand in the arena. */
static int check_regions(struct nrw_model *model, const struct nrw_stage *stage)
{
    const uint32_t isa = nrw_header_of(model)->isa;
    uint32_t state = 0;
    uint64_t scratch = 0;

    if (nrw_accumulates(model, stage)) {
        const struct nrw_tensor *out = nrw_output_of(model, stage);
        state = nrw_accumulate_state_bytes(out->width, out->channels);
    } else if (stage->op == NRW_OP_BOTTLENECK) {
        const struct nrw_bottleneck_shape shape = nrw_bottleneck_shape_of(model, stage);
        state = nrw_bottleneck_state_bytes(isa, &shape);
        scratch = nrw_bottleneck_scratch_bytes(isa, &shape);
    } else if (stage->op == NRW_OP_ROLLING_DEPTHWISE) {
        const struct nrw_geometry *geometry = nrw_at(model, stage->params);
        const struct nrw_tensor *out = nrw_output_of(model, stage);
        state = nrw_rolling_depthwise_state_bytes(nrw_input_of(model, stage, 0)->width,
                                                  out->width, geometry->pad_left, out->channels);
    } else if (stage->op == NRW_OP_CONV || stage->op == NRW_OP_DEPTHWISE) {
        const struct nrw_geometry *geometry = nrw_at(model, stage->params);
        const uint32_t channels = nrw_output_of(model, stage)->channels;
        scratch = stage->op == NRW_OP_DEPTHWISE
                      ? nrw_depthwise_scratch_bytes(isa, geometry->kernel_h,
                                                    geometry->kernel_w, channels)
                      : nrw_conv_scratch_bytes(isa, geometry->kernel_h, geometry->kernel_w,
                                               nrw_input_of(model, stage, 0)->channels,
                                               channels);
    }
    for (uint32_t i = 0; i < stage->input_count; i++) {
        scratch += nrw_torn_bytes(model, stage, i);
    }
    REQUIRE(stage->state_bytes == state, stage->state_bytes);
    REQUIRE(in_arena(model, stage->state_offset, state) &&
                (state > 0 || stage->state_offset == 0),
            stage->state_offset);
    REQUIRE(stage->scratch_bytes == scratch, stage->scratch_bytes);
    REQUIRE(in_arena(model, stage->scratch_offset, scratch) &&
                (scratch > 0 || stage->scratch_offset == 0),
            stage->scratch_offset);
    return NRW_OK;
}

/* Operators that need whole rows of their inputs, and give one. */
static bool works_by_rows(const struct nrw_model *model, const struct nrw_stage *stage)
{
    switch (stage->op) {
    case NRW_OP_OUTPUT:
    case NRW_OP_RESIZE:
    case NRW_OP_PAD:
    case NRW_OP_RESHAPE:
        return true;
    case NRW_OP_CONCAT:
        return ((const struct nrw_concat_params *)nrw_at(model, stage->params))->axis == 1;
    case NRW_OP_MEAN:
        return !nrw_accumulates(model, stage);
    default:
        return false;
    }
}

static int check_run(struct nrw_model *model, const struct nrw_stage *stage)
{
    const uint32_t width = nrw_frame(model, stage)->width;
    const bool by_rows = works_by_rows(model, stage);

    REQUIRE(stage->run > 0 && width % stage->run == 0 && (!by_rows || stage->run == width),
            stage->run);
    for (uint32_t i = 0; by_rows && i < stage->input_count; i++) {
        REQUIRE(!nrw_is_torn(nrw_input_of(model, stage, i)), stage->inputs[i]);
    }
    if (stage->op != NRW_OP_OUTPUT) {
        /* What one firing gives stands side by side. */
        const struct nrw_tensor *out = nrw_output_of(model, stage);
        REQUIRE(nrw_is_whole(out) ||
                    (!nrw_accumulates(model, stage) && out->capacity % stage->run == 0),
                out->capacity);
    }
    return NRW_OK;
}

static int check_stage(struct nrw_model *model, uint32_t index)
{
    const struct nrw_stage *stage = nrw_stages(model) + index;
    const struct nrw_tensor *tensors = nrw_tensors(model);

    REQUIRE(stage->op < NRW_OP_COUNT && (stage->op == NRW_OP_INPUT) == (index < model->input_count),
            stage->op);
    REQUIRE(index == 0 || stage[-1].op != NRW_OP_OUTPUT || stage->op == NRW_OP_OUTPUT, stage->op);
    const struct operator_rule *rule = &rules[stage->op];
    REQUIRE((stage->flags & ~rule->flags) == 0, stage->flags);
    REQUIRE(stage->input_count >= rule->least_inputs && stage->input_count <= rule->most_inputs,
            stage->input_count);
    REQUIRE(stage->reserved == 0, stage->reserved);
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t input = stage->inputs[i];
        if (i >= stage->input_count) {
            REQUIRE(input == NRW_NONE, stage->inputs[i]);
        } else {
            REQUIRE(input < model->tensor_count && (nrw_is_constant(&tensors[input]) ||
                                                    tensors[input].producer < index),
                    stage->inputs[i]);
        }
    }
    if (stage->op == NRW_OP_OUTPUT) {
        REQUIRE(stage->output == NRW_NONE, stage->output);
    } else {
        REQUIRE(stage->output < model->tensor_count && tensors[stage->output].producer == index,
                stage->output);
    }
    REQUIRE(rule->params_bytes > 0 ? in_body(model, stage->params, rule->params_bytes, 4)
                                   : stage->params == 0 || stage->op == NRW_OP_OUTPUT,
            stage->params);
    TRY(check_run(model, stage));
    if (rule->check != NULL) {
        TRY(rule->check(model, stage));
    }
    return check_regions(model, stage);
}

/* --- Readers and outputs ------------------------------------------------------------------- */

static bool reads(const struct nrw_stage *stage, uint32_t tensor)
{
    for (uint32_t i = 0; i < stage->input_count; i++) {
        if (stage->inputs[i] == tensor) {
            return true;
        }
    }
    return false;
}

/* Every entry is a reader and none stands twice; as many entries as there are readers then
 * means that none is missing. */
static int check_readers(struct nrw_model *model)
{
    const struct nrw_stage *stages = nrw_stages(model);
    const uint16_t *readers = nrw_readers(model);
    uint32_t count = 0;

    for (uint32_t i = 0; i < model->tensor_count; i++) {
        for (uint32_t k = 0; k < nrw_tensors(model)[i].reader_count; k++, count++) {
            REQUIRE(readers[count] < model->stage_count && reads(&stages[readers[count]], i) &&
                        (k == 0 || readers[count - 1] < readers[count]),
                    readers[count]);
        }
    }
    for (uint32_t s = 0; s < model->stage_count; s++) {
        for (uint32_t i = 0; i < stages[s].input_count; i++) {
            bool first = true;
            for (uint32_t k = 0; k < i; k++) {
                first = first && stages[s].inputs[k] != stages[s].inputs[i];
            }
            if (first) {
                REQUIRE(count > 0, stages[s].inputs[i]);
                count--;
            }
        }
    }
    REQUIRE(count == 0, nrw_header_of(model)->reader_count);
    return NRW_OK;
}

/* Each look is at one stage and one reader, however many outputs are one tensor. */
static int check_outputs(struct nrw_model *model)
{
    const uint16_t *outputs = nrw_outputs(model);

    for (uint32_t i = 0; i < model->output_count; i++) {
        REQUIRE(outputs[i] < model->tensor_count, outputs[i]);
        const struct nrw_tensor *tensor = nrw_tensors(model) + outputs[i];
        const struct nrw_stage *stage = nrw_hands_out(model, tensor);
        REQUIRE(stage != NULL || nrw_is_whole(tensor), outputs[i]);
        REQUIRE(stage == NULL || stage->params <= i, stage->params);
    }
    for (uint32_t s = model->stage_count; s-- > 0 && nrw_stages(model)[s].op == NRW_OP_OUTPUT;) {
        const struct nrw_stage *stage = nrw_stages(model) + s;
        REQUIRE(nrw_hands_out(model, nrw_input_of(model, stage, 0)) == stage, stage->inputs[0]);
    }
    return NRW_OK;
}

/* --- Work ---------------------------------------------------------------------------------- */

static int add_up(struct nrw_model *model, struct nrw_total *total)
{
    uint64_t most = 0;

    *total = (struct nrw_total){0};
    for (uint32_t s = 0; s < model->stage_count; s++) {
        const struct nrw_stage *stage = nrw_stages(model) + s;
        const uint32_t firings = nrw_firings(model, stage);

        REQUIRE(firings <= UINT16_MAX, stage->run);
        const struct nrw_work work = nrw_work_of(model, stage);
        REQUIRE(work.step <= NRW_MAX_STEP_WORK, stage->op);
        total->firings += firings;
        total->macs += work.macs;
        most = work.step > most ? work.step : most;
    }
    total->max_step_work = (uint32_t)most + nrw_bookkeeping(model);
    return NRW_OK;
}

/* The header promises how much work there is; nothing does more. */
static int check_total(struct nrw_model *model, const struct nrw_total *total)
{
    const struct nrw_header *header = nrw_header_of(model);

    REQUIRE(header->macs == total->macs, header->macs);
    REQUIRE(header->max_step_work == total->max_step_work, header->max_step_work);
    REQUIRE(header->firings == total->firings, header->firings);
    return NRW_OK;
}

/* --- Public -------------------------------------------------------------------------------- */

int nrw_check(struct nrw_model *model, const void *blob, size_t size, struct nrw_total *total)
{
    model->blob = blob;
    TRY(check_header(model, size));
    TRY(check_tensors(model));
    for (uint32_t s = 0; s < model->stage_count; s++) {
        TRY(check_stage(model, s));
    }
    TRY(check_readers(model));
    TRY(check_outputs(model));
    return add_up(model, total);
}

int nrw_open(struct nrw_model *model, const void *blob, size_t size)
{
    struct nrw_total total;

    if (model == NULL) {
        return NRW_ERR_ARGUMENT;
    }
    *model = (struct nrw_model){0};
    if (blob == NULL) {
        return NRW_ERR_ARGUMENT;
    }
    if ((uintptr_t)blob % 16 != 0) {
        return NRW_ERR_ALIGNMENT;
    }
    int status = nrw_check(model, blob, size, &total);
    if (status == NRW_OK) {
        status = check_total(model, &total);
    }
    if (status != NRW_OK) {
        /* A model that is not open has no stages, tensors or blob to look at. */
        *model = (struct nrw_model){.error_at = model->error_at};
    }
    return status;
}

int nrw_verify(const struct nrw_model *model)
{
    if (model == NULL || model->blob == NULL) {
        return NRW_ERR_ARGUMENT;
    }
    const uint32_t start = sizeof(struct nrw_header);
    const uint32_t crc = nrw_crc32(model->blob + start, model->blob_bytes - start);
    return crc == nrw_header_of(model)->body_crc ? NRW_OK : NRW_ERR_CRC;
}
