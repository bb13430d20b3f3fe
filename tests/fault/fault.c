/* SPDX-License-Identifier: Apache-2.0 */
/* fault BLOB: every truncation, every flipped bit of the header, wrong arguments. Ends with 0
 * if each ends in an error code, or, with checksums made right again, in a harmless run. */
#include "hostile.h"

#include <stdio.h>
#include <stdlib.h>

static void truncate_everywhere(const uint8_t *blob, size_t size)
{
    struct nrw_model model;
    for (size_t n = 0; n < size; n++) {
        uint8_t *part = hostile_copy(blob, n);
        REQUIRE(nrw_open(&model, part, n) < 0);
        free(part);
    }
}

/* A shorter blob whose header and checksums agree with its length. */
static void shorten_everywhere(const uint8_t *blob, size_t size)
{
    for (size_t n = HEADER_BYTES; n < size; n += 16) {
        uint8_t *part = hostile_copy(blob, n);
        store_u32(part + 8, (uint32_t)n);
        hostile_seal(part, n);
        hostile_run(part, n, UINT32_MAX, UINT64_MAX);
        free(part);
    }
}

static void flip_header(const uint8_t *blob, size_t size)
{
    struct nrw_model model;
    uint8_t *copy = hostile_copy(blob, size);
    for (size_t bit = 0; bit < (size_t)HEADER_BYTES * 8; bit++) {
        const uint8_t mask = (uint8_t)(1u << bit % 8);
        copy[bit / 8] ^= mask;
        REQUIRE(nrw_open(&model, copy, size) < 0);
        if (bit < 72 * 8) {
            hostile_seal(copy, size);
            hostile_run(copy, size, 1u << 24, 1u << 30);
        }
        copy[bit / 8] ^= mask;
        hostile_seal(copy, size);
    }
    free(copy);
}

static void flip_body(const uint8_t *blob, size_t size)
{
    struct nrw_model model;
    uint8_t *copy = hostile_copy(blob, size);
    for (size_t at = HEADER_BYTES; at < size; at++) {
        const uint8_t mask = (uint8_t)(1u << at % 8);
        copy[at] ^= mask;
        REQUIRE(nrw_open(&model, copy, size) < 0 || nrw_verify(&model) == NRW_ERR_CRC);
        copy[at] ^= mask;
    }
    free(copy);
}

static void misuse(const uint8_t *blob, size_t size)
{
    struct nrw_model model;
    struct nrw_run run;
    struct nrw_tensor_info info;
    uint8_t *copy = hostile_copy(blob, size);
    REQUIRE(nrw_open(&model, NULL, size) < 0);
    REQUIRE(nrw_open(NULL, copy, size) < 0);
    REQUIRE(nrw_open(&model, copy + 4, size - 4) < 0);
    REQUIRE(nrw_open(&model, copy, size) == NRW_OK);
    const size_t bytes = nrw_memory_bytes(&model);
    uint8_t *memory = hostile_copy(copy, bytes < size ? bytes : size);
    REQUIRE(nrw_start(&run, &model, NULL, bytes) < 0);
    REQUIRE(nrw_start(&run, &model, memory, bytes - 1) == NRW_ERR_MEMORY);
    REQUIRE(nrw_start(&run, &model, memory + 4, bytes) == NRW_ERR_MEMORY);
    REQUIRE(nrw_input_info(&model, -1, &info) == NRW_ERR_ARGUMENT);
    REQUIRE(nrw_input_info(&model, model.input_count, &info) == NRW_ERR_ARGUMENT);
    REQUIRE(nrw_output_info(&model, model.output_count, &info) == NRW_ERR_ARGUMENT);
    REQUIRE(nrw_tensor_info(&model, model.tensor_count, &info) == NRW_ERR_ARGUMENT);
    REQUIRE(nrw_stage_op(&model, model.stage_count) < 0);
    free(memory);
    free(copy);
}

int main(int argc, char **argv)
{
    size_t size;
    if (argc != 2) {
        fprintf(stderr, "usage: fault BLOB\n");
        return 2;
    }
    uint8_t *blob = hostile_read(argv[1], &size);
    REQUIRE(hostile_run(blob, size, UINT32_MAX, UINT64_MAX) == NRW_DONE);
    truncate_everywhere(blob, size);
    shorten_everywhere(blob, size);
    flip_header(blob, size);
    flip_body(blob, size);
    misuse(blob, size);
    free(blob);
    return 0;
}
