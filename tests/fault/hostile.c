/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200112L /* posix_memalign */
#include "hostile.h"

#include "crc32.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hostile_require(bool condition, const char *text, const char *file, int line)
{
    if (!condition) {
        fprintf(stderr, "%s:%d: %s does not hold\n", file, line, text);
        exit(1);
    }
}

static uint8_t *allocate(size_t size)
{
    void *memory = NULL;
    REQUIRE(posix_memalign(&memory, 16, size == 0 ? 1 : size) == 0);
    return memory;
}

uint8_t *hostile_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL);
    REQUIRE(fseek(file, 0, SEEK_END) == 0);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = allocate(*size);
    REQUIRE(fread(bytes, 1, *size, file) == *size);
    fclose(file);
    return bytes;
}

uint8_t *hostile_copy(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = allocate(size);
    memcpy(copy, bytes, size);
    return copy;
}

uint32_t load_u16(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

uint32_t load_u32(const uint8_t *at)
{
    return load_u16(at) | load_u16(at + 2) << 16;
}

void store_u16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

void store_u32(uint8_t *at, uint32_t value)
{
    store_u16(at, value);
    store_u16(at + 2, value >> 16);
}

void hostile_seal(uint8_t *blob, size_t size)
{
    if (size >= HEADER_BYTES) {
        store_u32(blob + 72, nrw_crc32(blob + HEADER_BYTES, (uint32_t)size - HEADER_BYTES));
        store_u32(blob + 76, nrw_crc32(blob, 76));
    }
}

/* Reads every byte, so that the sanitizers see it. */
static void touch(const int8_t *bytes, size_t size)
{
    const volatile int8_t *at = bytes;
    for (size_t i = 0; i < size; i++) {
        (void)at[i];
    }
}

static void push(struct nrw_run *run, uint32_t step)
{
    struct nrw_tensor_info info;
    const int input = nrw_wanted_input(run);
    const uint32_t bytes = nrw_due_bytes(run);
    REQUIRE(input >= 0);
    REQUIRE(nrw_input_info(run->model, input, &info) == NRW_OK);
    REQUIRE(bytes == (uint32_t)info.run * info.channels);
    int8_t *pixels = (int8_t *)allocate(info.row_bytes);
    for (uint32_t i = 0; i < info.row_bytes; i++) {
        pixels[i] = (int8_t)((i * 37u + step * 101u) & 0xFFu);
    }
    if (info.run == info.width) {
        REQUIRE(nrw_push_row(run, pixels) == NRW_OK);
    } else {
        REQUIRE(nrw_push_row(run, pixels) == NRW_ERR_STATE);
        memcpy(nrw_row_slot(run), pixels, bytes);
        REQUIRE(nrw_push_slot(run) == NRW_OK);
    }
    free(pixels);
}

static void take(struct nrw_run *run)
{
    const int8_t *row = NULL;
    int output = -1;
    int index = -1;
    struct nrw_tensor_info info;
    REQUIRE(nrw_take_row(run, &row, &output, &index) == NRW_OK);
    REQUIRE(nrw_output_info(run->model, output, &info) == NRW_OK);
    REQUIRE(index >= 0 && index < info.height);
    touch(row, info.row_bytes);
}

static void look_at_everything(const struct nrw_run *run)
{
    struct nrw_tensor_info info;
    for (int i = 0; i < run->model->output_count; i++) {
        const int8_t *values = nrw_output(run, i);
        REQUIRE(nrw_output_info(run->model, i, &info) == NRW_OK);
        if (values != NULL) {
            touch(values, (size_t)info.height * info.row_bytes);
        }
    }
    for (int t = 0; t < run->model->tensor_count; t++) {
        REQUIRE(nrw_tensor_info(run->model, t, &info) == NRW_OK);
        for (int p = 0; p < nrw_tensor_pixels(run, t); p++) {
            const int8_t *pixel = nrw_tensor_pixel(run, t, p);
            if (pixel != NULL) {
                touch(pixel, info.channels);
            }
        }
    }
}

int hostile_run(const uint8_t *blob, size_t size, uint32_t max_arena, uint64_t max_macs)
{
    struct nrw_model model;
    struct nrw_run run;
    uint8_t *copy = hostile_copy(blob, size);
    int status = nrw_open(&model, copy, size);
    if (status == NRW_OK) {
        status = nrw_verify(&model);
    }
    const uint64_t macs =
        status == NRW_OK ? load_u32(copy + 48) | (uint64_t)load_u32(copy + 52) << 32 : 0;
    if (status == NRW_OK && nrw_arena_bytes(&model) <= max_arena && macs <= max_macs) {
        const size_t bytes = nrw_memory_bytes(&model);
        /* A stage fires at most as often as the header says; each row is asked for once. */
        uint32_t fires_left = load_u32(copy + 56);
        uint8_t *memory = allocate(bytes);
        memset(memory, 0xA5, bytes);
        REQUIRE(nrw_start(&run, &model, memory, bytes) == NRW_OK);
        do {
            status = nrw_step(&run);
            if (status == NRW_NEED_ROW || status == NRW_HAVE_ROW || status == NRW_OK) {
                REQUIRE(fires_left-- > 0);
            }
            if (status == NRW_NEED_ROW) {
                push(&run, fires_left);
            } else if (status == NRW_HAVE_ROW) {
                take(&run);
            }
        } while (status == NRW_OK || status == NRW_NEED_ROW || status == NRW_HAVE_ROW);
        REQUIRE(status == NRW_DONE || status == NRW_ERR_STALLED);
        look_at_everything(&run);
        free(memory);
    }
    REQUIRE(status <= NRW_OK || status == NRW_DONE);
    free(copy);
    return status;
}
