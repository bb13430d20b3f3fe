/* SPDX-License-Identifier: Apache-2.0 */
/* What the fault and fuzz programs share: blobs in memory of their exact size, so that the
 * sanitizers see every byte beyond, and a whole inference of whatever the runtime accepts. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "narrows.h"

#include <stdbool.h>

enum {
    HEADER_BYTES = 80,
    TENSOR_BYTES = 24,
    STAGE_BYTES = 36
};

/* A whole file, 16-byte aligned. Ends the program if it cannot be read. */
uint8_t *hostile_read(const char *path, size_t *size);

/* size bytes, 16-byte aligned, nothing behind them. */
uint8_t *hostile_copy(const uint8_t *bytes, size_t size);

/* Make both checksums right again. */
void hostile_seal(uint8_t *blob, size_t size);

/* Make the header's macs, max_step_work and firings right again, if all else is; and seal it. */
void hostile_repair(uint8_t *blob, size_t size);

uint32_t load_u16(const uint8_t *at);
uint32_t load_u32(const uint8_t *at);
void store_u16(uint8_t *at, uint32_t value);
void store_u32(uint8_t *at, uint32_t value);

/* What the runtime has done so far: basic blocks, and bytes of memcpy, memmove and memset. Stays 0 in
 * a build that does not count (tests/fuzz/counted.h). */
extern uint64_t hostile_done;

/* The most that a step has done for each unit of its work, rounded up, but for DONE_AT_LEAST. */
extern uint32_t hostile_most;

/* What a step may have done at most: so much for each unit of max_step_work, and so much besides. */
enum { DONE_PER_WORK = 64, DONE_AT_LEAST = 4096 };

/* Open, verify and run a blob, once with all memory in one block and once with each memory in its
 * own, reading every output and every live row. Returns the last status; a model that is opened ends
 * with NRW_DONE or NRW_ERR_STALLED, both times with the same bytes, or the program is ended. Models
 * with more arena, or work of all firings, than the limits are opened but not run. */
int hostile_run(const uint8_t *blob, size_t size, uint32_t max_arena, uint64_t max_work);

/* The most work that all firings of an intact blob can have. */
uint64_t hostile_work(const uint8_t *blob);

/* End the program if a condition does not hold. */
#define REQUIRE(condition) hostile_require((condition), #condition, __FILE__, __LINE__)
void hostile_require(bool condition, const char *text, const char *file, int line);

#endif
