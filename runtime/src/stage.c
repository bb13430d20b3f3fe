/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "sizes.h"
#include "stage.h"

void nrw_gather(struct nrw_window *window, const struct nrw_run *run,
                const struct nrw_stage *stage, const struct nrw_geometry *geometry, int32_t y,
                int32_t x0, int32_t x1, const int8_t **rows)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, 0);
    const struct nrw_axis axis = nrw_columns_of(geometry);
    const struct nrw_range columns = nrw_covered(&axis, x0, x1, in->width);
    const int8_t *start = nrw_start_of(run, in);
    const uint32_t capacity = in->capacity;
    const uint32_t count = (uint32_t)(columns.hi - columns.lo);
    const uint32_t pixel = nrw_pixel_bytes(in);
    const int32_t height = in->height;
    const int32_t row_step = geometry->dilation_h;
    const uint32_t step = (uint32_t)(row_step * in->width);
    int32_t row = y * geometry->stride_h - geometry->pad_top;
    uint32_t first = (uint32_t)(row * in->width + columns.lo);

    nrw_window_over(window, geometry, in, rows, columns.lo);
    for (uint32_t i = window->kernel_h; i > 0; i--, row += row_step, first += step) {
        const int8_t *at = NULL;

        if (row >= 0 && row < height) {
            const uint32_t slot = first < capacity ? first : first % capacity;
            at = start + slot * pixel;
            if (slot + count > capacity) {
                at = nrw_copy_wrapped(run, stage, 0, at, count * pixel);
            }
        }
        *rows++ = at;
    }
}

bool nrw_move_strip(const struct nrw_run *run, const struct nrw_stage *stage, uint32_t input,
                    const struct nrw_firing *firing, int8_t *to, uint32_t out_stride)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, input);
    const struct nrw_windows windows = nrw_windows_of(run->model, stage, input);
    const struct nrw_range rows =
        nrw_covered(&windows.rows, firing->y0, firing->y1, in->height);
    const struct nrw_range columns =
        nrw_covered(&windows.columns, firing->x0, firing->x1, in->width);
    const bool is_there = rows.lo < rows.hi;

    if (is_there) {
        nrw_move(nrw_segment(run, stage, input, rows.lo, columns.lo, columns.hi), in->channels,
                 1, (uint32_t)(columns.hi - columns.lo), in->channels, to, out_stride);
    }
    return is_there;
}

const int8_t *nrw_copy_wrapped(const struct nrw_run *run, const struct nrw_stage *stage,
                               uint32_t input, const int8_t *start, uint32_t bytes)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, input);
    const int8_t *ring = (const int8_t *)nrw_arena(run, in->offset);
    const uint32_t before = (uint32_t)(ring + in->capacity * nrw_pixel_bytes(in) - start);
    uint8_t *row = nrw_arena(run, stage->scratch_offset) + stage->scratch_bytes -
                   nrw_small_product(bytes, 1, 1);

    for (uint32_t i = input + 1; i < stage->input_count; i++) {
        row -= nrw_wrapped_bytes(run->model, stage, i);
    }
    /* A false plan may let scratch and ring overlap. */
    memmove(row, start, before);
    memmove(row + before, ring, bytes - before);
    return (const int8_t *)row;
}

const int8_t *nrw_segment(const struct nrw_run *run, const struct nrw_stage *stage,
                          uint32_t input, int32_t row, int32_t left, int32_t right)
{
    const struct nrw_tensor *in = nrw_input_of(run->model, stage, input);
    const uint32_t slot = nrw_slot(in, (uint32_t)(row * in->width + left));
    const int8_t *start = nrw_start_of(run, in) + slot * nrw_pixel_bytes(in);

    if (slot + (uint32_t)(right - left) <= in->capacity) {
        return start;
    }
    return nrw_copy_wrapped(run, stage, input, start, (uint32_t)(right - left) * nrw_pixel_bytes(in));
}

const int8_t *nrw_strip_in(const struct nrw_run *run, const struct nrw_stage *stage,
                           uint32_t input, const struct nrw_firing *firing)
{
    return nrw_segment(run, stage, input, firing->y0, firing->x0, firing->x1);
}

int8_t *nrw_strip_out(const struct nrw_run *run, const struct nrw_stage *stage,
                      const struct nrw_firing *firing)
{
    return nrw_out(run, nrw_output_of(run->model, stage), firing->y0, firing->x0);
}
