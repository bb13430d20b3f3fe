/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load LIBRARY BLOB INPUT: loads a wheel's library as Python does, runs a network of one input and one
 * output, and prints the elements of the output and how much stack that took.
 */
#include <stdio.h>
#include <stdlib.h>

#include "host.h"

#ifdef _WIN32
#include <windows.h>
static void *library;
static int open_library(const char *path)
{
    library = LoadLibraryA(path);
    return library != NULL;
}
static void *symbol(const char *name)
{
    return (void *)(size_t)GetProcAddress(library, name);
}
#else
#include <dlfcn.h>
static void *library;
static int open_library(const char *path)
{
    library = dlopen(path, RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
    }
    return library != NULL;
}
static void *symbol(const char *name)
{
    return dlsym(library, name);
}
#endif

/* All of a file, at a multiple of 16 bytes. */
static uint8_t *read_file(const char *path, size_t *bytes)
{
    static uint8_t storage[2][1 << 20];
    static int used;
    uint8_t *const to = storage[used] + (16 - (size_t)storage[used] % 16) % 16;
    FILE *const file = fopen(path, "rb");

    used++;
    if (file == NULL) {
        return NULL;
    }
    *bytes = fread(to, 1, sizeof storage[0] - 16, file);
    fclose(file);
    return to;
}

#define FUNCTION(name) __typeof__(&name) const f_##name = (__typeof__(&name))symbol(#name)

int main(int count, char **arguments)
{
    static uint8_t memory[1 << 16] __attribute__((aligned(16)));
    static int8_t output[1000];
    size_t bytes = 0, input_bytes = 0;
    struct nrw_model model;
    struct nrw_run run;
    struct nrw_tensor_info info;
    uint32_t stack = 0;

    if (count != 4 || !open_library(arguments[1])) {
        return 2;
    }
    FUNCTION(nrw_open);
    FUNCTION(nrw_start);
    FUNCTION(nrw_output_info);
    FUNCTION(host_infer);
    FUNCTION(host_sizeof_model);
    FUNCTION(host_sizeof_run);
    const uint8_t *const blob = read_file(arguments[2], &bytes);
    const int8_t *const input = (const int8_t *)read_file(arguments[3], &input_bytes);

    if (blob == NULL || input == NULL || f_host_sizeof_model() != sizeof model ||
        f_host_sizeof_run() != sizeof run || f_nrw_open(&model, blob, bytes) != NRW_OK ||
        f_nrw_output_info(&model, 0, &info) != NRW_OK ||
        f_nrw_start(&run, &model, memory, sizeof memory) != NRW_OK) {
        return 3;
    }
    int8_t *const outputs[] = {output};
    int status = NRW_OK;
    while (status == NRW_OK) {
        status = f_host_infer(&run, 1 << 20, &input, outputs, NULL, &stack);
    }
    for (uint32_t i = 0; i < info.row_bytes; i++) {
        printf("%d ", output[i]);
    }
    printf("%u\n", (unsigned)stack);
    return status != NRW_DONE;
}
