/* SPDX-License-Identifier: Apache-2.0 */
#include "depthwise_three_fast.h"

#include "thumb2.h"

#if NRW_THUMB2
#include "finish_thumb.h"

/* clang-format off */

/* r0: the channel's number, which becomes 0, r1: its weights, r2: a tap's step, r3 to r5: sums, r10: the output,
 * r11: the structure, r12: the channel. */
#define COLUMN(row, number)                                          \
    LINE("ldr r9, [r11, #(44 + 28 * " row " + 4 * " number ")]")     \
    LINE("ldrsb r9, [r9, r0]")

/* This column, and the next one in lr. */
#define COLUMNS(row, number)                                         \
    LINE("ldrd r9, lr, [r11, #(44 + 28 * " row " + 4 * " number ")]") \
    LINE("ldrsb r9, [r9, r0]")                                       \
    LINE("ldrsb lr, [lr, r0]")

#define ADD(sum, weight) LINE("mla " sum ", " weight ", r9, " sum)
#define ADD_NEXT(sum, weight) LINE("mla " sum ", " weight ", lr, " sum)

/* A row's weights are in r6 to r8. */
#define ROW_BY_ONE(row)                                              \
    COLUMNS(row, "0") ADD("r3", "r6")                                \
    ADD_NEXT("r3", "r7") ADD_NEXT("r4", "r6")                        \
    COLUMNS(row, "2") ADD("r3", "r8") ADD("r4", "r7") ADD("r5", "r6") \
    ADD_NEXT("r4", "r8") ADD_NEXT("r5", "r7")                        \
    COLUMN(row, "4") ADD("r5", "r8")

#define ROW_BY_TWO(row)                                              \
    COLUMNS(row, "0") ADD("r3", "r6") ADD_NEXT("r3", "r7")           \
    COLUMNS(row, "2") ADD("r3", "r8") ADD("r4", "r6")                \
    ADD_NEXT("r4", "r7")                                             \
    COLUMNS(row, "4") ADD("r4", "r8") ADD("r5", "r6")                \
    ADD_NEXT("r5", "r7")                                             \
    COLUMN(row, "6") ADD("r5", "r8")

/* Addresses of the last six taps' weights are those with steps of 1, 2, 4 and 8 from the first
 * one's or from a neighbour's. */
#define WEIGHTS_0                            \
    LINE("ldrsb r8, [r1, r2, lsl #1]")       \
    LINE("ldrsb r7, [r1, r2]")               \
    LINE("ldrsb r6, [r1], #1")
#define WEIGHTS_1                            \
    LINE("add lr, r1, r2")                   \
    LINE("ldrsb r6, [lr, r2, lsl #1]")       \
    LINE("ldrsb r8, [lr, r2, lsl #2]")       \
    LINE("ldrsb r7, [r1, r2, lsl #2]")
#define WEIGHTS_2                            \
    LINE("add lr, r1, r2, lsl #1")           \
    LINE("sub r7, r1, r2")                   \
    LINE("ldrsb r6, [lr, r2, lsl #2]")       \
    LINE("ldrsb r7, [r7, r2, lsl #3]")       \
    LINE("ldrsb r8, [r1, r2, lsl #3]")

#define FINISH(sum) NRW_FINISH_BY_SMULL(sum, "r6", "r7", "r8")

#define ROW_OF_ONE(row)                      \
    COLUMNS(row, "0") ADD("r3", "r6")        \
    ADD_NEXT("r3", "r7")                     \
    COLUMN(row, "2") ADD("r3", "r8")

/* The loop over channels, of one pixel and perhaps others. */
#define LOOP(name, ROW, others, finish_others, store_others) \
    __asm__(                                 \
    NRW_ASM_BEGIN(name)                      \
    LINE("push {r4-r11, lr}")                \
    LINE("mov r11, r0")                      \
    LINE("ldr r10, [r11, #16]")              \
    LINE("ldr r12, [r11, #8]")               \
    LINE("ldrd r1, r2, [r11, #0]")           \
    LINE("ldr r0, [r11, #28]")               \
    LINE("1:")                               \
    LINE("ldr r3, [r12, #0]")                \
    others                                   \
    WEIGHTS_2 ROW("2")                       \
    WEIGHTS_1 ROW("1")                       \
    WEIGHTS_0 ROW("0")                       \
    LINE("ldrd r6, r7, [r12, #4]")           \
    LINE("ldr r8, [r11, #24]")               \
    NRW_QUICK_CHANNEL("r7", "r8", "r8", "2f") \
    FINISH("r3") finish_others               \
    LINE("add r12, r12, #12")                \
    store_others                             \
    LINE("strb r3, [r10], #1")               \
    LINE("adds r0, r0, #1")                  \
    LINE("bne 1b")                           \
    LINE("b 3f")                             \
    LINE("2:")                               \
    LINE("adds r0, r0, #1")                  \
    LINE("3:")                               \
    LINE("str r0, [r11, #28]")               \
    LINE("str r1, [r11, #0]")                \
    LINE("str r12, [r11, #8]")               \
    LINE("str r10, [r11, #16]")              \
    LINE("strd r3, r4, [r11, #32]")          \
    LINE("str r5, [r11, #40]")               \
    LINE("pop {r4-r11, pc}")                 \
    NRW_ASM_END(name))

#define THREE(name, ROW)                     \
    LOOP(name, ROW, LINE("mov r4, r3") LINE("mov r5, r3"), FINISH("r4") FINISH("r5"), \
         LINE("ldr r9, [r11, #20]")          \
         LINE("strb r4, [r10, r9]")          \
         LINE("strb r5, [r10, r9, lsl #1]"))

LOOP("nrw_three_of_one", ROW_OF_ONE, , , );
THREE("nrw_three_by_one", ROW_BY_ONE);
THREE("nrw_three_by_two", ROW_BY_TWO);

/* clang-format on */

#else
#include "requant_fast.h"

/* The sums of pixel p of the next channel, without bias. */
static int32_t sum_of(const struct nrw_three *three, uint32_t pixel, uint32_t stride)
{
    const int8_t *weight = three->weights;
    int32_t sum = 0;

    for (uint32_t i = 0; i < 3; i++) {
        const int8_t *const *const columns = &three->columns[i][pixel * stride];

        for (uint32_t j = 0; j < 3; j++, weight += three->tap_step) {
            sum += *weight * columns[j][three->channel];
        }
    }
    return sum;
}

static void compute(struct nrw_three *three, uint32_t pixels, uint32_t stride)
{
    for (; three->channels < three->end; three->channels++, three->out++) {
        const struct nrw_channel *const channel = three->channels;
        const struct nrw_prescaled prescaled = nrw_prescaled_of(channel, three->rounding);
        int32_t sums[NRW_THREE];

        for (uint32_t p = 0; p < pixels; p++) {
            sums[p] = sum_of(three, p, stride);
            three->last[p] = nrw_wrapping_add(sums[p], channel->bias);
        }
        three->weights++;
        three->channel++;
        if (channel->prescale <= 0) {
            return;
        }
        for (uint32_t p = 0; p < pixels; p++) {
            three->out[p * three->out_stride] =
                nrw_finish_prescaled(&prescaled, (uint32_t)sums[p]);
        }
    }
}

void nrw_three_of_one(struct nrw_three *three)
{
    compute(three, 1, 0);
}

void nrw_three_by_one(struct nrw_three *three)
{
    compute(three, NRW_THREE, 1);
}

void nrw_three_by_two(struct nrw_three *three)
{
    compute(three, NRW_THREE, 2);
}

#endif
