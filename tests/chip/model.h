/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all models of chips share. A model stands behind the drivers' registers (registers.h) and
 * counts what the chip's manual forbids.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition)                                                          \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s, line %d: %s\n", __FILE__, __LINE__, #condition);   \
            exit(1);                                                                \
        }                                                                           \
    } while (0)

/* Given by each model. bytes: 1, 2 or 4. */
uint32_t model_read(uintptr_t address);
void model_write(uintptr_t address, uint32_t value, uint32_t bytes);

/* The chip's manual forbids this. */
void violation(const char *what, uint32_t value);
/* A number from 0 on, below this one. The variable SEED of the environment decides which follow. */
uint32_t drawn(uint32_t below);

/* Given by each test. */
void test(void);

/* Memory at this very address, which a driver can read, and also write if it may. Returns another
 * view of it, for the model. */
uint8_t *map_memory(uintptr_t base, uint32_t bytes, bool may_write);

/* The interrupt that the driver has let through, or -1. */
extern long enabled_interrupt;

#endif
