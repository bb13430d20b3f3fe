/* SPDX-License-Identifier: Apache-2.0 */
#include "finish_fast.h"

#include "conv.h"
#include "requant_fast.h"

void nrw_finish_fast(const struct nrw_channel *channels, const uint32_t *sums, uint32_t count,
                     const struct nrw_limits *limits, int8_t *out)
{
    const struct nrw_limits l = *limits;
    const int32_t rounding = nrw_finish_word(l.zero_point, l.act_min);

    for (const struct nrw_channel *channel = channels; channel < channels + count; channel++) {
        const uint32_t sum = *sums++;

        if (channel->prescale > 0) {
            const struct nrw_prescaled prescaled = nrw_prescaled_of(channel, rounding);
            const int32_t value = nrw_requantize_prescaled(&prescaled, sum);

            *out++ = (int8_t)nrw_clamp(value, l.act_min, l.act_max);
        } else {
            *out++ = nrw_finish(channel, sum, l.zero_point, l.act_min, l.act_max);
        }
    }
}

void nrw_conv_finish_fast(const struct nrw_conv_op *conv, const int32_t *sums, uint32_t pixels,
                          int8_t *out, uint32_t out_stride)
{
    const struct nrw_limits limits = {conv->out_zero_point, conv->act_min, conv->act_max};

    for (; pixels > 0; pixels--, sums += conv->out_channels, out += out_stride) {
        nrw_finish_fast(conv->channels, (const uint32_t *)sums, conv->out_channels, &limits, out);
    }
}
