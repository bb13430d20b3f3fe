/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of flash memories want of a model, and what it gives to one.
 */
#ifndef FLASH_MODEL_H
#define FLASH_MODEL_H

#include "model.h"

/* --- given by each model ----------------------------------------------------------------- */

extern const uint32_t model_erase_bytes, model_unit;
/* Whether the memory refuses to program a unit that is not erased, and says so. */
extern const bool model_tells_twice;
/* Whether the memory can say that an operation has failed. */
extern const bool model_tells_failure;
/* Make the memory, whose controller is busy with something else and tells of an older error, if it
 * can. Returns the view of the area's bytes. */
uint8_t *model_begin(void);
/* The next operation fails, which the chip tells. */
void model_fail_next(void);
/* Whether everything is as it was before an operation: locked, caches on and without old bytes. */
bool model_is_at_rest(void);
/* How many operations there have been. */
uint32_t model_operations(void);

/* --- for the models ---------------------------------------------------------------------- */

/* Whether the address is in the area. */
bool in_area(uintptr_t address);
/* Whether the area's bytes from here on, these many, are erased. */
bool is_erased(const uint8_t *cells, uint32_t count);
/* Programming only makes zeros of ones. */
void program_bytes(uint8_t *cells, uint32_t value, uint32_t count);
/* A number of accesses for which something is busy. */
uint32_t busy_time(void);

#endif
