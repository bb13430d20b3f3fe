/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each firing of a stage needs and gives (SPEC.md, Firing). The form decides how firings go
 * through the stage's frame, the operator's record which pixels of its inputs they need.
 */
#ifndef NARROWS_FIRING_H
#define NARROWS_FIRING_H

#include "../ops/operator.h"

static inline bool nrw_accumulates(const struct nrw_stage *stage)
{
    return nrw_is_form(stage, NRW_ACCUMULATING);
}

/* The tensor that the firings go through from left to right, row after row: the output, or
 * the input where there is none or it comes at the end. */
static inline const struct nrw_tensor *nrw_frame(const struct nrw_model *model,
                                                 const struct nrw_stage *stage)
{
    const bool is_input = stage->output == NRW_NONE || nrw_accumulates(stage);

    return nrw_tensors(model) + (is_input ? stage->inputs[0] : stage->output);
}

/* How often the stage fires. */
uint32_t nrw_firings(const struct nrw_model *model, const struct nrw_stage *stage);

/* A strip of a row of the frame, but for whether it is the last. */
static inline void nrw_strip_of(struct nrw_firing *firing, const struct nrw_stage *stage,
                                int32_t width, uint32_t number)
{
    firing->y0 = (int32_t)number;
    firing->x0 = 0;
    firing->x1 = width;
    if (stage->strip < width) {
        const uint32_t strips = nrw_strips_of(stage, (uint32_t)width);
        firing->y0 = (int32_t)(number / strips);
        firing->x0 = (int32_t)(number % strips * stage->strip);
        firing->x1 = nrw_lesser(firing->x0 + stage->strip, width);
    }
    firing->y1 = firing->y0 + 1;
    firing->given = (uint32_t)(firing->y0 * width + firing->x1);
}

/* A firing of a stage that is not NRW_SINGLE. */
void nrw_special_firing_of(struct nrw_firing *firing, const struct nrw_model *model,
                           const struct nrw_stage *stage, uint32_t number);

static inline void nrw_firing_of(struct nrw_firing *firing, const struct nrw_model *model,
                                 const struct nrw_stage *stage, uint32_t number)
{
    if (!nrw_is_form(stage, NRW_SINGLE)) {
        nrw_special_firing_of(firing, model, stage, number);
    } else {
        const struct nrw_tensor *frame = nrw_frame(model, stage);

        nrw_strip_of(firing, stage, frame->width, number);
        firing->is_last = firing->given == nrw_pixels(frame);
    }
}

/* The windows over an input. Rows of an operator that has none come out as all. */
struct nrw_windows nrw_windows_of(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input);

/* Whether a firing needs of an input the very pixels, by number, that it gives. */
static inline bool nrw_is_pixelwise(const struct nrw_model *model, const struct nrw_stage *stage,
                                    uint32_t input)
{
    const uint8_t reads = nrw_operator_of(stage)->reads;
    const struct nrw_tensor *in = nrw_input_of(model, stage, input);
    const struct nrw_tensor *out = nrw_output_of(model, stage);

    if (reads == NRW_READS_GEOMETRY) {
        if (!nrw_is_form(stage, NRW_SINGLE) || !nrw_is_pointwise(nrw_at(model, stage->params))) {
            return false;
        }
    } else if (reads != NRW_READS_PIXELS) {
        return false;
    }
    return in->height == out->height && in->width == out->width;
}

/* The pixels of an input that a firing needs, by needs() or windows() of the operator. */
struct nrw_range nrw_special_needs(const struct nrw_model *model, const struct nrw_stage *stage,
                                   uint32_t input, const struct nrw_firing *firing);

/* Pixels of an input that firing `number` needs. given: pixels of the output that are there when
 * it has ended. */
static inline struct nrw_range nrw_needs(const struct nrw_model *model,
                                         const struct nrw_stage *stage, uint32_t input,
                                         uint32_t number, uint32_t *given)
{
    struct nrw_firing firing;

    if (nrw_is_pixelwise(model, stage, input)) {
        const int32_t width = nrw_output_of(model, stage)->width;
        const int32_t first = (int32_t)number * stage->strip;
        struct nrw_range pixels = {first, first + stage->strip};
        if (NRW_UNEVEN && (uint32_t)width % stage->strip != 0) {
            nrw_strip_of(&firing, stage, width, number);
            pixels.hi = (int32_t)firing.given;
            pixels.lo = pixels.hi - (firing.x1 - firing.x0);
        }
        *given = (uint32_t)pixels.hi;
        return pixels;
    }
    if (nrw_is_form(stage, NRW_SINGLE) && nrw_operator_of(stage)->reads == NRW_READS_GEOMETRY) {
        const struct nrw_geometry *geometry = nrw_at(model, stage->params);
        nrw_strip_of(&firing, stage, nrw_output_of(model, stage)->width, number);
        *given = firing.given;
        return nrw_pixels_seen(nrw_rows_of(geometry), nrw_columns_of(geometry),
                               nrw_input_of(model, stage, 0), &firing);
    }
    nrw_firing_of(&firing, model, stage, number);
    *given = firing.given;
    return nrw_special_needs(model, stage, input, &firing);
}

/* Pixels of the output that are there when the next firing that gives some has ended, or fewer. */
static inline uint32_t nrw_next_given(const struct nrw_tensor *out, const struct nrw_stage *stage,
                                      uint32_t produced)
{
    const uint32_t left = NRW_UNEVEN ? out->width - produced % out->width : stage->strip;

    return produced + (left < stage->strip ? left : stage->strip);
}

/* Whether a firing's pixels stand on both sides of the ring's end. produced: pixels of the output
 * that are there. */
static inline bool nrw_is_cut(const struct nrw_tensor *out, const struct nrw_firing *firing,
                              uint32_t produced)
{
    if (!NRW_UNEVEN || firing->given <= out->capacity || firing->given == produced) {
        return false;
    }
    const uint32_t behind = firing->given % out->capacity;
    return behind != 0 && behind < nrw_firing_pixels(firing);
}

/* Compute what stands before the ring's end; the firing is then about what stands behind it. */
NRW_COLD void nrw_compute_first_part(const struct nrw_run *run, const struct nrw_stage *stage,
                                     struct nrw_firing *firing);

/* The most pixels of an input's row that are read side by side; a whole row's if it is read by
 * rows. */
static inline uint32_t nrw_segment_pixels(const struct nrw_model *model,
                                          const struct nrw_stage *stage, uint32_t input)
{
    const struct nrw_operator *op = nrw_operator_of(stage);
    const int32_t width = nrw_input_of(model, stage, input)->width;

    if (op->segment != NULL) {
        return op->segment(model, stage);
    }
    const struct nrw_axis columns = nrw_windows_of(model, stage, input).columns;
    const int32_t covered = (stage->strip - 1) * columns.stride + columns.span;
    return (uint32_t)nrw_lesser(covered, width);
}

/* Whether all strips of the output have one length and the ring's end cuts none. */
NRW_COLD bool nrw_is_even(const struct nrw_model *model, const struct nrw_stage *stage);

/* Scratch for wrapped rows of an input: 0 bytes if it has none. */
uint32_t nrw_wrapped_bytes(const struct nrw_model *model, const struct nrw_stage *stage,
                           uint32_t input);

/* Bytes that a firing copies if it reads one wrapped row of each input. */
uint64_t nrw_copied_bytes(const struct nrw_model *model, const struct nrw_stage *stage);

#endif
