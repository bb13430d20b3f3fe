/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SPACE_TO_DEPTH: the pixels of each block of the input side by side in one pixel of the output.
 * DEPTH_TO_SPACE: the way back.
 */
#include "../src/check.h"
#include "../src/stage.h"
#include "operator.h"

struct nrw_block_params {
    uint8_t block;    /* pixels of a block along both axes */
    uint8_t order;    /* of the deep channels; SPACE_TO_DEPTH: 0 */
    uint16_t reserved;
};
typedef char nrw_sizeof_block[sizeof(struct nrw_block_params) == 4 ? 1 : -1];
enum { NRW_PLACES_FIRST = 0, NRW_CHANNELS_FIRST = 1, NRW_ORDERS = 2 };

/* Along an axis, `wide` counts blocks' pixels and `narrow` blocks. */
static bool is_split(uint32_t wide, uint32_t narrow, uint32_t block)
{
    return wide == narrow * block;
}

NRW_COLD static int check_block(struct nrw_model *model, const struct nrw_stage *stage,
                                const struct nrw_tensor *wide, const struct nrw_tensor *deep,
                                uint32_t orders)
{
    const struct nrw_block_params *params = nrw_at(model, stage->params);
    const uint32_t block = params->block;

    REQUIRE(block > 0, params->block);
    REQUIRE(params->order < orders, params->order);
    REQUIRE(params->reserved == 0, params->reserved);
    REQUIRE(is_split(wide->height, deep->height, block) &&
                is_split(wide->width, deep->width, block) &&
                is_split(deep->channels, wide->channels, block * block),
            stage->output);
    return NRW_OK;
}

/* --- SPACE_TO_DEPTH ------------------------------------------------------------------------ */

NRW_COLD static int check_to_depth(struct nrw_model *model, const struct nrw_stage *stage)
{
    return check_block(model, stage, nrw_input_of(model, stage, 0), nrw_output_of(model, stage), NRW_PLACES_FIRST + 1);
}

static struct nrw_windows blocks(const struct nrw_model *model, const struct nrw_stage *stage,
                                 uint32_t input)
{
    const struct nrw_block_params *params = nrw_at(model, stage->params);
    const struct nrw_axis axis = {params->block, 0, params->block};
    const struct nrw_windows windows = {axis, axis};

    (void)input;
    return windows;
}

static void to_depth(const struct nrw_run *run, const struct nrw_stage *stage,
                     const struct nrw_firing *firing)
{
    const struct nrw_block_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int32_t block = params->block;
    const uint32_t bytes = params->block * nrw_pixel_bytes(in); /* of a row of a block */
    int8_t *to = nrw_out(run, out, firing->y0, firing->x0);

    for (int32_t row = 0; row < block; row++, to += bytes) {
        nrw_move(nrw_segment(run, stage, 0, firing->y0 * block + row, firing->x0 * block,
                             firing->x1 * block),
                 bytes, 1, stage->strip, bytes, to, out->channels);
    }
}

const struct nrw_operator nrw_operator_space_to_depth = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_block_params),
    .reads = NRW_READS_OTHERWISE,
    .check = check_to_depth,
    .windows = blocks,
    .compute = to_depth,
};

/* --- DEPTH_TO_SPACE ------------------------------------------------------------------------ */

NRW_COLD static int check_to_space(struct nrw_model *model, const struct nrw_stage *stage)
{
    return check_block(model, stage, nrw_output_of(model, stage), nrw_input_of(model, stage, 0), NRW_ORDERS);
}

/* The blocks that positions [first, end) are in. */
static struct nrw_range blocks_of(int32_t first, int32_t end, int32_t block)
{
    const struct nrw_range range = {first / block, (end - 1) / block + 1};

    return range;
}

static struct nrw_range needs_deep(const struct nrw_model *model, const struct nrw_stage *stage,
                                   uint32_t input, const struct nrw_firing *firing)
{
    const struct nrw_block_params *params = nrw_at(model, stage->params);

    return nrw_pixels_of(blocks_of(firing->y0, firing->y1, params->block),
                         blocks_of(firing->x0, firing->x1, params->block),
                         firing->y1 / params->block, nrw_input_of(model, stage, input)->width);
}

/* A strip lies in the most blocks if it begins with the last pixel of one. */
static uint32_t most_blocks(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_block_params *params = nrw_at(model, stage->params);
    const int32_t blocks = (stage->strip + params->block - 2) / params->block + 1;

    return (uint32_t)nrw_lesser(blocks, nrw_input_of(model, stage, 0)->width);
}

static void to_space(const struct nrw_run *run, const struct nrw_stage *stage,
                     const struct nrw_firing *firing)
{
    const struct nrw_block_params *params = nrw_at(run->model, stage->params);
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int32_t block = params->block;
    const struct nrw_range taken = blocks_of(firing->x0, firing->x1, block);
    const int8_t *const row = nrw_segment(run, stage, 0, firing->y0 / block, taken.lo, taken.hi);
    const uint32_t places = params->block * params->block;

    /* Pixels of the same place in their blocks, block by block. */
    for (int32_t x = firing->x0; x < firing->x1 && x < firing->x0 + block; x++) {
        const uint32_t place = (uint32_t)(firing->y0 % block * block + x % block);
        const int8_t *from = row + (uint32_t)(x / block - taken.lo) * nrw_pixel_bytes(in);
        const uint32_t count = (uint32_t)((firing->x1 - x + block - 1) / block);
        const bool is_apart = params->order == NRW_CHANNELS_FIRST;
        nrw_move(from + place * (is_apart ? 1u : out->channels), in->channels,
                 is_apart ? places : 1u, count, out->channels, nrw_out(run, out, firing->y0, x),
                 params->block * nrw_pixel_bytes(out));
    }
}

const struct nrw_operator nrw_operator_depth_to_space = {
    .least_inputs = 1,
    .most_inputs = 1,
    .forms = 1u << NRW_SINGLE,
    .params_bytes = sizeof(struct nrw_block_params),
    .reads = NRW_READS_OTHERWISE,
    .check = check_to_space,
    .needs = needs_deep,
    .segment = most_blocks,
    .compute = to_space,
};
