/* SPDX-License-Identifier: Apache-2.0 */
#include "conv.h"
#include "dsp.h"

void nrw_conv_finish_dsp(const struct nrw_conv_op *conv, const int32_t *sums, uint32_t pixels,
                         int8_t *out, uint32_t out_stride)
{
    const struct nrw_channel *const channels = conv->channels;
    const uint32_t count = conv->out_channels;
    const int32_t zero_point = conv->out_zero_point;
    int8_t *pixel = out;

    for (uint32_t p = 0; p < pixels; p++, sums += count, pixel += out_stride) {
        for (uint32_t o = 0; o < count; o++) {
            const int32_t sum = nrw_wrapping_add(channels[o].bias, sums[o]);

            pixel[o] = (int8_t)nrw_requantize_byte(sum, &channels[o], zero_point);
        }
    }
    nrw_clamp_pixels(conv->act_min, conv->act_max, (int32_t)pixels, count, out, out_stride);
}
