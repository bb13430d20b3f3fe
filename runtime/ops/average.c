/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../src/sizes.h"
#include "average.h"

struct nrw_sizes nrw_average_sizes(const struct nrw_model *model, const struct nrw_stage *stage)
{
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    struct nrw_sizes sizes = {0, 0};

    if (nrw_adds_up(stage)) {
        sizes.state = nrw_accumulate_state_bytes(out->width, out->channels);
    }
    return sizes;
}

struct nrw_work nrw_average_work(const struct nrw_model *model, const struct nrw_stage *stage,
                                 uint32_t rows, uint32_t columns)
{
    const struct nrw_tensor *in = nrw_input_of(model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(model, stage);
    const uint32_t windows = nrw_adds_up(stage) ? out->width : stage->strip;
    const uint32_t inside =
        nrw_least(columns, nrw_adds_up(stage) ? stage->strip : in->width);
    const uint64_t elements = (uint64_t)(nrw_adds_up(stage) ? 1u : rows) * inside;
    const struct nrw_work work = {0, (elements + 1) * out->channels * windows, 1};

    return work;
}

/* Adds a strip of the input to the sums. columns: geometry of the windows' columns. */
static void add_strip(const struct nrw_run *run, const struct nrw_stage *stage,
                      const struct nrw_firing *firing, const struct nrw_geometry *columns)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    int32_t *sums = (void *)nrw_arena(run, stage->state_offset);
    const int8_t *const row = nrw_strip_in(run, stage, 0, firing);
    struct nrw_window window;

    nrw_window_over(&window, columns, in, &row, 0);
    window.kernel_h = 1;
    if (stage->strip < in->width) {
        /* Part of a row that one window covers altogether. */
        window.in_width = firing->x1 - firing->x0;
        window.kernel_w = (uint16_t)window.in_width;
    }
    if (firing->y0 == 0 && firing->x0 == 0) {
        memset(sums, 0, stage->state_bytes);
    }
    nrw_sum(out->channels, &window, 0, out->width, sums);
}

void nrw_average_strip(const struct nrw_run *run, const struct nrw_stage *stage,
                       const struct nrw_firing *firing, const struct nrw_average_op *average,
                       const struct nrw_geometry *geometry)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_tensor *out = nrw_output_of(run->model, stage);
    const int8_t *rows[NRW_MAX_KERNEL_H];
    struct nrw_window window;

    if (!nrw_adds_up(stage)) {
        nrw_gather(&window, run, stage, geometry, firing->y0, firing->x0, firing->x1, rows);
        nrw_average(average, &window, firing->x0, firing->x1,
                    nrw_strip_out(run, stage, firing), out->channels);
        return;
    }
    add_strip(run, stage, firing, geometry);
    if (firing->is_last) {
        nrw_window_over(&window, geometry, in, rows, 0);
        nrw_average_finish(average, &window, in->height, 0, out->width,
                           (const void *)nrw_arena(run, stage->state_offset),
                           nrw_out(run, out, 0, 0), out->channels);
    }
}
