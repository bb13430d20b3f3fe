/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz ROUNDS SEED BLOB...: changes blobs at random, makes their checksums right again, and mostly
 * what the header says of work, and opens and runs what the runtime accepts. Ends with 0 if nothing
 * bad happened, which is for the sanitizers to see, or for the counts of work. The same arguments
 * do the same. */
#include "hostile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

static uint32_t random_below(uint32_t n)
{
    /* xorshift64* */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 2685821657736338717u) >> 32) % n;
}

/* Records and parameters decide what happens; weights only what comes out. */
static size_t random_place(const uint8_t *blob, size_t size)
{
    const size_t tensors = HEADER_BYTES;
    const size_t stages = tensors + TENSOR_BYTES * load_u16(blob + 32);
    const size_t lists = stages + STAGE_BYTES * load_u16(blob + 34);
    const size_t params = lists + 2 * (load_u16(blob + 36) + load_u16(blob + 38));
    const uint32_t dice = random_below(16);
    if (params >= size) {
        return random_below((uint32_t)size);
    }
    if (dice == 0) {
        return 12 + random_below(60);
    }
    if (dice < 5) {
        return tensors + random_below((uint32_t)(stages - tensors));
    }
    if (dice < 10) {
        return stages + random_below((uint32_t)(lists - stages));
    }
    if (dice == 10) {
        return lists + random_below((uint32_t)(params - lists));
    }
    if (dice < 15) {
        /* The parameters of some stage. */
        const uint8_t *stage = blob + stages + STAGE_BYTES * random_below(load_u16(blob + 34));
        const uint32_t at = load_u32(stage + 16) + random_below(116);
        return at < size ? at : size - 1;
    }
    return params + random_below((uint32_t)(size - params));
}

/* original: where the records are, whatever has become of the header. */
static void mutate(uint8_t *blob, const uint8_t *original, size_t size)
{
    static const uint32_t interesting[] = {
        0, 1, 2, 3, 4, 15, 16, 17, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF,
        0x10000, 0x7FFFFFFF, 0x80000000u, 0xFFFFFFF0u, 0xFFFFFFFFu};
    const uint32_t value =
        interesting[random_below(sizeof interesting / sizeof interesting[0])];
    const size_t at = random_place(original, size);
    const size_t even = at & ~(size_t)1;
    const size_t word = at & ~(size_t)3;
    switch (random_below(8)) {
    case 0:
        blob[at] ^= (uint8_t)(1u << random_below(8));
        break;
    case 1:
        blob[at] = (uint8_t)value;
        break;
    case 2:
        blob[at] = (uint8_t)(blob[at] + random_below(5) - 2);
        break;
    case 3:
        if (even + 2 <= size) {
            store_u16(blob + even, value);
        }
        break;
    case 4:
        if (even + 2 <= size) {
            store_u16(blob + even, load_u16(blob + even) + random_below(9) - 4);
        }
        break;
    case 5:
        if (word + 4 <= size) {
            store_u32(blob + word, value);
        }
        break;
    case 6:
        if (word + 4 <= size) {
            store_u32(blob + word, load_u32(blob + word) + 16 * random_below(9) - 64);
        }
        break;
    default: {
        /* A piece of one record in the place of another's. */
        const size_t from = random_place(original, size) & ~(size_t)3;
        if (word + 4 <= size && from + 4 <= size) {
            memmove(blob + word, blob + from, 4);
        }
        break;
    }
    }
}

enum { LARGE_ARENA = 1 << 26, SMALL_ARENA = 1 << 20, LEAST_WORK = 1 << 20 };

int main(int argc, char **argv)
{
    uint32_t opened = 0;
    uint32_t finished = 0;
    if (argc < 4) {
        fprintf(stderr, "usage: fuzz ROUNDS SEED BLOB...\n");
        return 2;
    }
    const uint32_t rounds = (uint32_t)strtoul(argv[1], NULL, 10);
    for (int i = 3; i < argc; i++) {
        size_t size;
        uint8_t *blob = hostile_read(argv[i], &size);
        const uint64_t work = hostile_work(blob);
        const uint64_t most = 4 * work > LEAST_WORK ? 4 * work : LEAST_WORK;
        state = (uint64_t)strtoul(argv[2], NULL, 10) * 1000003u + (uint64_t)(unsigned)i;
        REQUIRE(hostile_run(blob, size, UINT32_MAX, UINT64_MAX) == NRW_DONE);
        for (uint32_t round = 0; round < rounds; round++) {
            uint8_t *copy = hostile_copy(blob, size);
            for (uint32_t n = 1 + random_below(3); n > 0; n--) {
                mutate(copy, blob, size);
            }
            if (random_below(8) > 0) {
                hostile_repair(copy, size);
            } else {
                hostile_seal(copy, size);
            }
            /* To clear much memory takes its time. */
            const uint32_t arena = random_below(64) == 0 ? LARGE_ARENA : SMALL_ARENA;
            const int status = hostile_run(copy, size, arena, most);
            opened += status >= NRW_OK || status == NRW_ERR_STALLED;
            finished += status == NRW_DONE;
            free(copy);
        }
        free(blob);
    }
    printf("%u opened, %u ran to the end, at most %u for a unit of work\n", (unsigned)opened,
           (unsigned)finished, (unsigned)hostile_most);
    return 0;
}
