/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tools for reading untrusted bytes. nrw_open (blob.c) walks through a blob; what an operator asks
 * of its stage stands beside the operator (ops/NAME.c). Both follow the same rules:
 *
 *   - A field is used only after a REQUIRE has bounded it; nrw_model.error_at then names it.
 *   - Ranges are checked by subtraction, so nothing overflows, and each product is of factors
 *     whose bounds stand beside it.
 *   - What has been proved here is never checked again.
 */
#ifndef NARROWS_CHECK_H
#define NARROWS_CHECK_H

#include "format.h"

/* A check of a field of the blob, whose place becomes error_at. */
#define REQUIRE(condition, field)                                                      \
    do {                                                                               \
        if (!(condition)) {                                                            \
            model->error_at = (uint32_t)((const uint8_t *)&(field) - model->blob);     \
            return NRW_ERR_STRUCTURE;                                                  \
        }                                                                              \
    } while (0)

#define TRY(expression)                  \
    do {                                 \
        const int result = (expression); \
        if (result != NRW_OK) {          \
            return result;               \
        }                                \
    } while (0)

/* Whether `bytes` from an aligned offset on lie below the limit. */
static inline bool nrw_fits(uint32_t offset, uint64_t bytes, uint32_t limit, uint32_t alignment)
{
    return offset % alignment == 0 && offset <= limit && bytes <= limit - offset;
}

/* The same for the memory of the arena that the offset names. */
static inline bool nrw_in_arena(const struct nrw_model *model, uint32_t offset, uint64_t bytes)
{
    return offset >> 28 < NRW_MEMORIES &&
           nrw_fits(offset & 0x0FFFFFFFu, bytes, model->arena_bytes[offset >> 28], 16);
}

/* Whether parameters, tables or weights stand behind the lists of the blob, and within it. */
NRW_COLD bool nrw_in_body(const struct nrw_model *model, uint32_t offset, uint64_t bytes,
                          uint32_t alignment);

NRW_COLD bool nrw_all_zero(const void *bytes, uint32_t count);

static inline bool nrw_same_shape(const struct nrw_tensor *a, const struct nrw_tensor *b)
{
    return a->height == b->height && a->width == b->width && a->channels == b->channels;
}

static inline bool nrw_good_shift(int32_t shift)
{
    return shift >= -31 && shift <= 30;
}

/* The table of `count` channels that a field points to. most_shift: raised to the highest of their
 * shifts. */
NRW_COLD int nrw_check_channels(struct nrw_model *model, const uint32_t *offset, uint32_t count,
                                int8_t *most_shift);

/* The range that outputs are clamped to: one of int8. */
NRW_COLD int nrw_check_clamp(struct nrw_model *model, const int16_t *act_min, const int16_t *act_max);

/* row_by_row: the window is never gathered as a whole, so it may be of any height. */
NRW_COLD int nrw_check_geometry(struct nrw_model *model, const struct nrw_geometry *geometry,
                                bool row_by_row);

/* Geometry, weights and channels of a convolution, and of a depthwise one. row_by_row: as for the
 * geometry; the kernel has 65535 taps of a pixel's channels at most, then. */
NRW_COLD int nrw_check_conv(struct nrw_model *model, const struct nrw_filter_params *filter,
                            uint32_t in_channels, uint32_t out_channels, bool row_by_row);
NRW_COLD int nrw_check_depthwise(struct nrw_model *model, const struct nrw_filter_params *filter,
                                 uint32_t channels);

/* An operator of equal shapes that reads a table of 256 entries. */
NRW_COLD int nrw_check_table(struct nrw_model *model, const struct nrw_stage *stage,
                             uint32_t entry_bytes);

#endif
