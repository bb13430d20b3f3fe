/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

bool nrw_in_body(const struct nrw_model *model, uint32_t offset, uint64_t bytes,
                 uint32_t alignment)
{
    const uint8_t *lists_end = (const uint8_t *)(nrw_outputs(model) + model->output_count);

    return offset >= (uint32_t)(lists_end - model->blob) &&
           nrw_fits(offset, bytes, model->blob_bytes, alignment);
}

bool nrw_all_zero(const void *bytes, uint32_t count)
{
    const uint8_t *byte = bytes;

    while (count > 0 && byte[count - 1] == 0) {
        count--;
    }
    return count == 0;
}

/* Whether its last 4 bytes are the shift, or with a prescale the lowest byte of them. (Whether sums
 * fit in 32 bits is not looked at: if not, outputs are wrong, and no more.) */
static bool has_good_shift(const struct nrw_channel *channel)
{
    const int32_t shift = channel->shift;

    if (channel->prescale <= 0) {
        const int32_t sign = shift < 0 ? -1 : 0;

        return nrw_good_shift(shift) && channel->sign == sign && channel->prescale == sign;
    }
    return channel->sign == 0 && shift < 0 && shift >= 1 - NRW_PRESCALED_BITS &&
           channel->prescale == 1 << (NRW_PRESCALED_BITS - 1 + shift);
}

int nrw_check_channels(struct nrw_model *model, const uint32_t *offset, uint32_t count,
                       int8_t *most_shift)
{
    REQUIRE(nrw_in_body(model, *offset, (uint64_t)count * sizeof(struct nrw_channel), 4), *offset);
    const struct nrw_channel *channels = nrw_at(model, *offset);
    for (uint32_t i = 0; i < count; i++) {
        REQUIRE(channels[i].multiplier >= 0, channels[i].multiplier);
        REQUIRE(has_good_shift(&channels[i]), channels[i].shift);
        *most_shift = channels[i].shift > *most_shift ? channels[i].shift : *most_shift;
    }
    return NRW_OK;
}

int nrw_check_geometry(struct nrw_model *model, const struct nrw_geometry *geometry,
                       bool row_by_row)
{
    REQUIRE(geometry->kernel_h > 0 && (row_by_row || geometry->kernel_h <= NRW_MAX_KERNEL_H),
            geometry->kernel_h);
    REQUIRE(geometry->kernel_w > 0, geometry->kernel_w);
    REQUIRE(geometry->stride_h > 0, geometry->stride_h);
    REQUIRE(geometry->stride_w > 0, geometry->stride_w);
    REQUIRE(geometry->dilation_h > 0, geometry->dilation_h);
    REQUIRE(geometry->dilation_w > 0, geometry->dilation_w);
    REQUIRE(geometry->groups == 1, geometry->groups);
    REQUIRE(geometry->up_h == 1, geometry->up_h);
    REQUIRE(geometry->up_w == 1, geometry->up_w);
    REQUIRE(geometry->reserved == 0, geometry->reserved);
    return nrw_check_clamp(model, &geometry->act_min, &geometry->act_max);
}

int nrw_check_clamp(struct nrw_model *model, const int16_t *act_min, const int16_t *act_max)
{
    REQUIRE(*act_min >= INT8_MIN && *act_min <= *act_max, *act_min);
    REQUIRE(*act_max <= INT8_MAX, *act_max);
    return NRW_OK;
}

NRW_COLD static int check_filter(struct nrw_model *model, const struct nrw_filter_params *filter,
                                 uint64_t weight_bytes, uint32_t channels,
                                 int8_t *most_shift)
{
    REQUIRE(nrw_in_body(model, filter->weights, weight_bytes, 4), filter->weights);
    return nrw_check_channels(model, &filter->channels, channels, most_shift);
}

int nrw_check_conv(struct nrw_model *model, const struct nrw_filter_params *filter,
                   uint32_t in_channels, uint32_t out_channels, bool row_by_row)
{
    /* kernel_h <= 2^6 and the other factors < 2^16, or row by row their product is, so a layout's
     * bytes fit a uint64_t. */
    const struct nrw_filter_shape shape = {filter->geometry.kernel_h, filter->geometry.kernel_w,
                                           in_channels, out_channels};

    TRY(nrw_check_geometry(model, &filter->geometry, row_by_row));
    REQUIRE(filter->geometry.depth_multiplier == 0, filter->geometry.depth_multiplier);
    return check_filter(model, filter,
                        nrw_conv_weight_bytes(nrw_header_of(model)->layout, &shape),
                        out_channels, &model->conv_shift);
}

int nrw_check_depthwise(struct nrw_model *model, const struct nrw_filter_params *filter,
                        uint32_t channels)
{
    const struct nrw_filter_shape shape = {filter->geometry.kernel_h, filter->geometry.kernel_w,
                                           1, channels};

    TRY(nrw_check_geometry(model, &filter->geometry, false));
    return check_filter(model, filter,
                        nrw_depthwise_weight_bytes(nrw_header_of(model)->layout, &shape),
                        channels, &model->depthwise_shift);
}

int nrw_check_table(struct nrw_model *model, const struct nrw_stage *stage,
                    uint32_t entry_bytes)
{
    const struct nrw_table_params *params = nrw_at(model, stage->params);

    REQUIRE(nrw_same_shape(nrw_input_of(model, stage, 0), nrw_output_of(model, stage)),
            stage->output);
    REQUIRE(nrw_in_body(model, params->table, 256u * entry_bytes, entry_bytes), params->table);
    return NRW_OK;
}
