/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200112L /* posix_memalign */
#include "hostile.h"

#include "blob.h"
#include "crc32.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t hostile_done;
uint32_t hostile_most;

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

void hostile_repair(uint8_t *blob, size_t size)
{
    struct nrw_model model = {0};
    struct nrw_total total;
    hostile_seal(blob, size);
    if (nrw_check(&model, blob, size, &total) == NRW_OK) {
        store_u32(blob + 44, total.max_step_work);
        store_u32(blob + 48, (uint32_t)total.macs);
        store_u32(blob + 52, (uint32_t)(total.macs >> 32));
        store_u32(blob + 56, (uint32_t)total.firings);
        hostile_seal(blob, size);
    }
}

uint64_t hostile_work(const uint8_t *blob)
{
    return (uint64_t)load_u32(blob + 44) * load_u32(blob + 56);
}

/* Reads every byte, so that the sanitizers see it, and sums them up. */
static uint32_t seen;

static void touch(const int8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        seen = seen * 31u + (uint8_t)bytes[i];
    }
}

static void push(struct nrw_run *run, uint32_t step)
{
    struct nrw_tensor_info info;
    const int input = nrw_wanted_input(run);
    const uint32_t bytes = nrw_due_bytes(run);
    REQUIRE(input >= 0);
    REQUIRE(nrw_input_info(run->model, input, &info) == NRW_OK);
    REQUIRE(bytes == (uint32_t)info.strip * info.channels);
    int8_t *pixels = (int8_t *)allocate(info.row_bytes);
    for (uint32_t i = 0; i < info.row_bytes; i++) {
        pixels[i] = (int8_t)((i * 37u + step * 101u) & 0xFFu);
    }
    if (info.strip == info.width) {
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
    const void *row = NULL;
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

/* One step does no more than the header says. */
static int step(struct nrw_run *run, uint32_t max_step_work)
{
    const uint64_t before = hostile_done;
    const int status = nrw_step(run);
    const uint64_t done = hostile_done - before;
    const uint64_t more = done > DONE_AT_LEAST ? done - DONE_AT_LEAST : 0;
    const uint64_t most = (more + max_step_work - 1) / max_step_work;
    REQUIRE(most <= DONE_PER_WORK);
    hostile_most = most > hostile_most ? (uint32_t)most : hostile_most;
    return status;
}

/* A started run to its end; fires: as often as the header says. */
static int run_to_the_end(struct nrw_run *run, uint32_t fires)
{
    const uint32_t max_step_work = nrw_max_step_work(run->model);
    int status;
    seen = 0;
    do {
        status = step(run, max_step_work);
        if (status == NRW_NEED_ROW || status == NRW_HAVE_ROW || status == NRW_OK) {
            REQUIRE(fires-- > 0);
        }
        if (status == NRW_NEED_ROW) {
            push(run, fires);
        } else if (status == NRW_HAVE_ROW) {
            take(run);
        }
    } while (status == NRW_OK || status == NRW_NEED_ROW || status == NRW_HAVE_ROW);
    REQUIRE(status == NRW_DONE || status == NRW_ERR_STALLED);
    look_at_everything(run);
    return status;
}

static int run_in_one(const struct nrw_model *model, uint32_t fires)
{
    struct nrw_run run;
    const size_t bytes = nrw_memory_bytes(model);
    uint8_t *memory = allocate(bytes);
    memset(memory, 0xA5, bytes);
    REQUIRE(nrw_start(&run, model, memory, bytes) == NRW_OK);
    const int status = run_to_the_end(&run, fires);
    free(memory);
    return status;
}

/* Each memory stands by itself, and those of no bytes are absent. */
static int run_in_memories(const struct nrw_model *model, uint32_t fires)
{
    struct nrw_run run;
    struct nrw_block blocks[NRW_MEMORIES] = {{NULL, 0}};
    for (int i = 0; i < NRW_MEMORIES; i++) {
        blocks[i].bytes = model->arena_bytes[i] + (i == 0 ? nrw_progress_bytes(model) : 0);
        if (blocks[i].bytes > 0) {
            blocks[i].data = allocate(blocks[i].bytes);
            memset(blocks[i].data, 0xA5, blocks[i].bytes);
        }
    }
    REQUIRE(nrw_start_memories(&run, model, blocks, NRW_MEMORIES) == NRW_OK);
    const int status = run_to_the_end(&run, fires);
    for (int i = 0; i < NRW_MEMORIES; i++) {
        free(blocks[i].data);
    }
    return status;
}

int hostile_run(const uint8_t *blob, size_t size, uint32_t max_arena, uint64_t max_work)
{
    struct nrw_model model;
    uint8_t *copy = hostile_copy(blob, size);
    int status = nrw_open(&model, copy, size);
    if (status == NRW_OK) {
        status = nrw_verify(&model);
    }
    if (status == NRW_OK && nrw_arena_bytes(&model) <= max_arena &&
        hostile_work(copy) <= max_work) {
        /* A stage fires at most as often as the header says; each row is asked for once. */
        const uint32_t fires = load_u32(copy + 56);
        status = run_in_one(&model, fires);
        const uint32_t expected = seen;
        REQUIRE(run_in_memories(&model, fires) == status);
        REQUIRE(seen == expected);
    }
    REQUIRE(status <= NRW_OK || status == NRW_DONE);
    free(copy);
    return status;
}
