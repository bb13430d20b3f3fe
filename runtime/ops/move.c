/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MOVE: the elements of the output, one after the other, from where nested loops go through the
 * input.
 */
#include "../src/check.h"
#include "../src/sizes.h"
#include "../src/stage.h"
#include "operator.h"

enum { LOOPS = 5, ROWS = LOOPS - 2, INNER = LOOPS - 1 };

/* Element i of the output is element offset + sum of digit[k] * stride[k] of the input, with the
 * digits of i to the bases count[k], the last of which runs fastest. */
struct nrw_move_params {
    uint32_t offset, count[LOOPS], stride[LOOPS];
};
typedef char nrw_sizeof_move[sizeof(struct nrw_move_params) == 44 ? 1 : -1];

static uint64_t elements(const struct nrw_tensor *tensor)
{
    return (uint64_t)tensor->height * nrw_row_bytes(tensor);
}

NRW_COLD static int check(struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_move_params *params = nrw_at(model, stage->params);
    const uint64_t inputs = elements(nrw_input_of(model, stage, 0));
    const uint64_t outputs = elements(nrw_output_of(model, stage));
    uint64_t last = params->offset;
    uint64_t count = 1;

    /* Both sums below stay under 2^31, so that no step of theirs leaves 64 bits. */
    REQUIRE(inputs <= INT32_MAX, stage->inputs);
    REQUIRE(outputs <= INT32_MAX, stage->output);
    for (uint32_t i = 0; i < LOOPS; i++) {
        count *= params->count[i];
        REQUIRE(count > 0 && count <= outputs, params->count[i]);
        last += (params->count[i] - 1u) * (uint64_t)params->stride[i];
        REQUIRE(last < inputs, params->stride[i]);
    }
    REQUIRE(count == outputs, stage->output);
    return NRW_OK;
}

/* From the first element that this firing or a later one reads to the last that this or an earlier
 * one reads: what lies between has come and must stay. */
static struct nrw_range needs(const struct nrw_model *model, const struct nrw_stage *stage,
                              uint32_t input, const struct nrw_firing *firing)
{
    const struct nrw_move_params *params = nrw_at(model, stage->params);
    const uint32_t pixel = nrw_pixel_bytes(nrw_input_of(model, stage, input));
    const uint32_t channels = nrw_output_of(model, stage)->channels;
    uint32_t first = (firing->given - nrw_firing_pixels(firing)) * channels;
    uint32_t last = firing->given * channels - 1;
    uint32_t least = 0; /* of the digits from i on that are not below those of `first` */
    uint32_t most = 0;  /* of those that are not above those of `last` */
    uint32_t all = 0;   /* the most of any digits from i on */
    struct nrw_range pixels;

    for (uint32_t i = LOOPS; i-- > 0;) {
        const uint32_t count = params->count[i];
        const uint32_t stride = params->stride[i];
        if (count == 1) {
            continue;
        }
        const uint32_t low = first % count;
        const uint32_t high = last % count;
        least += low * stride;
        if (low + 1 < count) {
            least = nrw_least(least, (low + 1) * stride);
        }
        most += high * stride;
        if (high > 0) {
            most = nrw_most(most, (high - 1) * stride + all);
        }
        all += (count - 1) * stride;
        first /= count;
        last /= count;
    }
    pixels.lo = (int32_t)((params->offset + least) / pixel);
    pixels.hi = (int32_t)((params->offset + most) / pixel) + 1;
    return pixels;
}

/* It never needs pixels side by side: it stops at the ring's end and goes on at its start. */
static uint32_t segment(const struct nrw_model *model, const struct nrw_stage *stage)
{
    (void)model;
    (void)stage;
    return 0;
}

static void compute(const struct nrw_run *run, const struct nrw_stage *stage,
                    const struct nrw_firing *firing)
{
    const struct nrw_move_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int8_t *const start = nrw_start_of(run, in);
    const uint32_t ring = in->capacity * nrw_pixel_bytes(in);
    const uint32_t stride = params->stride[INNER];
    const uint32_t pitch = params->stride[ROWS];
    int8_t *to = nrw_strip_out(run, stage, firing);
    uint32_t left = nrw_firing_pixels(firing) * nrw_pixel_bytes(out);
    uint32_t next = (uint32_t)(firing->y0 * out->width + firing->x0) * nrw_pixel_bytes(out);

    while (left > 0) {
        uint32_t digits[LOOPS];
        uint32_t from = params->offset;
        uint32_t rest = next;
        for (uint32_t i = LOOPS; i-- > 0;) {
            const uint32_t count = params->count[i];
            digits[i] = 0;
            if (count > 1) { /* most moves need few loops, and small cores divide by a function */
                digits[i] = rest % count;
                rest /= count;
                from += digits[i] * params->stride[i];
            }
        }
        from %= ring;
        /* As much at once as the two inner loops give, and the ring's end does not cut. */
        uint32_t count = nrw_least(params->count[INNER] - digits[INNER], left);
        uint32_t rows = 1;
        if (count == params->count[INNER]) {
            rows = nrw_least(params->count[ROWS] - digits[ROWS], left / count);
        }
        if (from + (rows - 1) * pitch + (count - 1) * stride >= ring) {
            rows = 1;
            if (from + (count - 1) * stride >= ring) {
                count = (ring - from + stride - 1) / stride;
            }
        }
        if (rows == 1 && stride == 1) {
            memmove(to, start + from, count);
        } else {
            nrw_move(start + from, pitch, stride, rows, count, to, count);
        }
        to += rows * count;
        next += rows * count;
        left -= rows * count;
    }
}

const struct nrw_operator nrw_operator_move = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_move_params),
    .reads = NRW_READS_OTHERWISE,
    .check = check,
    .needs = needs,
    .segment = segment,
    .compute = compute,
};
