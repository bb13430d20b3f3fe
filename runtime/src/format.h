/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of a blob as they stand in it (SPEC.md). Every one is naturally aligned and
 * little-endian, and so is the host, so a checked record is read in place.
 */
#ifndef NARROWS_FORMAT_H
#define NARROWS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

#include "narrows.h"
#include "requant.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "a blob is little-endian and used in place: this target is not supported"
#endif

/* What runs seldom, when a blob is opened, when an inference begins or where it gives a row of an
 * output, is compiled to be small even where the rest is fast. */
#ifdef __GNUC__
#define NRW_COLD __attribute__((cold))
#else
#define NRW_COLD
#endif

#define NRW_MAGIC 0x4257524Eu /* N R W B */
#define NRW_MAJOR 3
#define NRW_NONE 0xFFFFu

struct nrw_header {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t blob_bytes, layout, arena_bytes[NRW_MEMORIES];
    uint16_t tensor_count, stage_count, reader_count, output_count, input_count, input_passes;
    uint32_t max_step_work;
    uint64_t macs;
    uint32_t firings, metadata_offset, metadata_bytes, variables, body_crc, header_crc;
};

struct nrw_tensor {
    uint32_t offset, capacity;
    uint16_t height, width, channels, producer, first_reader, reader_count;
    int8_t zero_point;
    uint8_t flags, element_bytes, reserved;
};
#define NRW_CONSTANT 1u   /* its elements stand in the blob */
#define NRW_PERSISTENT 2u /* a variable: its elements stay in the arena between inferences */

/* What a variable is in the first inference, and what it becomes after each: so many pixels as it
 * has, from pixel `first` of a tensor on. */
struct nrw_variable {
    uint16_t tensor, source;
    uint32_t first, initial;
};

struct nrw_variables {
    uint32_t count;
    struct nrw_variable each[1]; /* `count` of them */
};

struct nrw_stage {
    uint8_t op, form, flags, input_count;
    uint16_t output, strip, inputs[4];
    uint32_t params, state_offset, state_bytes, scratch_offset, scratch_bytes;
};
#define NRW_EXPAND 1u /* BOTTLENECK */
#define NRW_PROJECT 2u
#define NRW_ADD_INPUT 4u

/* AVG_POOL, MAX_POOL, and the start of CONV and DEPTHWISE. */
struct nrw_geometry {
    uint16_t kernel_h, kernel_w;
    uint8_t stride_h, stride_w, dilation_h, dilation_w;
    uint16_t pad_top, pad_left;
    int16_t act_min, act_max;
    uint16_t depth_multiplier; /* 0 where there is none */
    uint16_t groups;           /* 1; others are not implemented */
    uint8_t up_h, up_w;        /* upsampling strides: 1; others are not implemented */
    uint16_t reserved;
};

/* Weights per output channel and input channel; below 2^32. */
static inline uint64_t nrw_taps_of(const struct nrw_geometry *geometry)
{
    return (uint64_t)geometry->kernel_h * geometry->kernel_w;
}

/* CONV, DEPTHWISE */
struct nrw_filter_params {
    struct nrw_geometry geometry;
    uint32_t weights, channels;
};

struct nrw_pointwise_params {
    int16_t act_min, act_max;
    uint32_t weights, channels;
};

/* ELEMENTWISE, MATMUL */
struct nrw_elementwise_params {
    int32_t multiplier_a, multiplier_b, multiplier_out;
    int8_t shift_a, shift_b, shift_out;
    uint8_t left_shift;
    int16_t act_min, act_max;
    uint8_t function, reserved[3];
};

struct nrw_bottleneck_params {
    uint16_t mid_channels, slice, col_tile;
    int8_t expanded_zero_point, filtered_zero_point, projected_zero_point;
    uint8_t kept_rows;
    uint16_t row_tile;
    struct nrw_filter_params depthwise, expand;
    struct nrw_pointwise_params project;
    struct nrw_elementwise_params add;
    uint16_t grid_height, grid_width;
};

struct nrw_mean_params {
    uint8_t over_height, over_width;
    uint16_t reserved;
    struct nrw_channel sum;
};

/* SOFTMAX, LOOKUP */
struct nrw_table_params {
    uint32_t table;
};

struct nrw_concat_params {
    uint8_t axis, reserved[3];
};

struct nrw_resize_params {
    uint32_t rows, cols;
};

/* before: height, width, channels. */
struct nrw_pad_params {
    uint16_t before[3];
    int8_t value;
    uint8_t reserved;
};

typedef char nrw_sizeof_header[sizeof(struct nrw_header) == 80 ? 1 : -1];
typedef char nrw_sizeof_tensor[sizeof(struct nrw_tensor) == 24 ? 1 : -1];
typedef char nrw_sizeof_variable[sizeof(struct nrw_variable) == 12 ? 1 : -1];
typedef char nrw_sizeof_stage[sizeof(struct nrw_stage) == 36 ? 1 : -1];
typedef char nrw_sizeof_geometry[sizeof(struct nrw_geometry) == 24 ? 1 : -1];
typedef char nrw_sizeof_filter[sizeof(struct nrw_filter_params) == 32 ? 1 : -1];
typedef char nrw_sizeof_bottleneck[sizeof(struct nrw_bottleneck_params) == 116 ? 1 : -1];
typedef char nrw_sizeof_pointwise[sizeof(struct nrw_pointwise_params) == 12 ? 1 : -1];
typedef char nrw_sizeof_elementwise[sizeof(struct nrw_elementwise_params) == 24 ? 1 : -1];
typedef char nrw_sizeof_mean[sizeof(struct nrw_mean_params) == 16 ? 1 : -1];
typedef char nrw_sizeof_pad[sizeof(struct nrw_pad_params) == 8 ? 1 : -1];
typedef char nrw_sizeof_channel[sizeof(struct nrw_channel) == 12 ? 1 : -1];

/* Bytes that the engine keeps of a stage, behind the arena. */
#define NRW_PROGRESS_BYTES 12

static inline bool nrw_is_open(const struct nrw_model *model)
{
    return model != NULL && model->blob != NULL;
}

/* --- Where things stand in a blob ------------------------------------------------------- */

/* A checked offset of the blob. */
static inline const void *nrw_at(const struct nrw_model *model, uint32_t offset)
{
    return model->blob + offset;
}

static inline const struct nrw_header *nrw_header_of(const struct nrw_model *model)
{
    return nrw_at(model, 0);
}

static inline const struct nrw_tensor *nrw_tensors(const struct nrw_model *model)
{
    return nrw_at(model, (uint32_t)sizeof(struct nrw_header));
}

static inline const struct nrw_stage *nrw_stages(const struct nrw_model *model)
{
    return (const void *)(nrw_tensors(model) + model->tensor_count);
}

static inline const uint16_t *nrw_readers(const struct nrw_model *model)
{
    return (const void *)(nrw_stages(model) + model->stage_count);
}

static inline const uint16_t *nrw_outputs(const struct nrw_model *model)
{
    return nrw_readers(model) + model->reader_count;
}

/* Whether a build knows variables. Firmware for known models that have none does without; it
 * refuses blobs with some (NRW_ERR_OPERATOR). */
#ifndef NRW_VARIABLES
#define NRW_VARIABLES 1
#endif

/* Likewise whether it knows stages that do not give evenly (nrw_is_even). */
#ifndef NRW_UNEVEN
#define NRW_UNEVEN 1
#endif

/* The list of the variables; NULL if there are none. */
static inline const struct nrw_variables *nrw_variables_of(const struct nrw_model *model)
{
    const uint32_t offset = NRW_VARIABLES ? nrw_header_of(model)->variables : 0;

    return offset != 0 ? nrw_at(model, offset) : NULL;
}

static inline const struct nrw_tensor *nrw_input_of(const struct nrw_model *model,
                                                    const struct nrw_stage *stage, uint32_t i)
{
    return nrw_tensors(model) + stage->inputs[i];
}

static inline const struct nrw_tensor *nrw_output_of(const struct nrw_model *model,
                                                     const struct nrw_stage *stage)
{
    return nrw_tensors(model) + stage->output;
}

/* nrw_open accepts tensors of one byte an element only, so a pixel has as many as channels. */
static inline uint32_t nrw_pixel_bytes(const struct nrw_tensor *tensor)
{
    return tensor->channels;
}

static inline uint32_t nrw_row_bytes(const struct nrw_tensor *tensor)
{
    return (uint32_t)tensor->width * nrw_pixel_bytes(tensor);
}

static inline uint32_t nrw_pixels(const struct nrw_tensor *tensor)
{
    return (uint32_t)tensor->height * tensor->width;
}

/* Along an axis: 0 height, 1 width, 2 channels, which follow each other in the record. */
static inline int32_t nrw_length(const struct nrw_tensor *tensor, uint32_t axis)
{
    const uint8_t *const lengths = (const uint8_t *)tensor + offsetof(struct nrw_tensor, height);

    return ((const uint16_t *)(const void *)lengths)[axis];
}

static inline bool nrw_is_whole(const struct nrw_tensor *tensor)
{
    return tensor->capacity == nrw_pixels(tensor);
}

/* Whether the ring's end may cut a row in two: such a row is wrapped. */
static inline bool nrw_may_wrap(const struct nrw_tensor *tensor)
{
    return !nrw_is_whole(tensor) && tensor->capacity % tensor->width != 0;
}

/* Whether no stage writes it: all its pixels are there from the start of an inference. */
static inline bool nrw_is_given(const struct nrw_tensor *tensor)
{
    return tensor->flags != 0;
}

/* The OUTPUT stage that hands a tensor out; NULL if there is none. OUTPUT stages are the last stages
 * and readers ascend, so it is the last reader. */
static inline const struct nrw_stage *nrw_hands_out(const struct nrw_model *model,
                                                    const struct nrw_tensor *tensor)
{
    if (tensor->reader_count == 0) {
        return NULL;
    }
    const uint32_t last = (uint32_t)tensor->first_reader + tensor->reader_count - 1u;
    const struct nrw_stage *stage = nrw_stages(model) + nrw_readers(model)[last];
    return stage->op == NRW_OP_OUTPUT ? stage : NULL;
}

#endif
