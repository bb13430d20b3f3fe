/* SPDX-License-Identifier: Apache-2.0 */
/*
 * narrows: an int8 inference runtime that streams rows through a network.
 *
 * A model is one *blob* (SPEC.md), used in place from flash. The caller gives
 * the blob and a block of memory; nothing else is needed: no heap, no libc
 * beyond memcpy, memmove and memset, no floating point.
 *
 *     struct nrw_model model;
 *     struct nrw_run run;
 *     nrw_open(&model, blob, blob_size);         structure checked, once
 *     nrw_verify(&model);                        CRC over all bytes, at boot
 *     nrw_start(&run, &model, memory, nrw_memory_bytes(&model));
 *     for (;;) {
 *         int s = nrw_step(&run);                one bounded firing
 *         if (s == NRW_NEED_ROW) {
 *             fill(nrw_row_slot(&run), nrw_due_bytes(&run));
 *             s = nrw_push_slot(&run);
 *         }
 *         if (s == NRW_DONE || s < 0) break;
 *     }
 *     const int8_t *scores = nrw_output(&run, 0);
 *
 * Tensors are NHWC with batch 1, elements int8. A *row* is width * channels
 * bytes. Every tensor lives in a ring of `capacity` pixels; pixel number
 * p = y * width + x stands at offset + (p % capacity) * channels of the arena.
 */
#ifndef NARROWS_H
#define NARROWS_H

#include <stddef.h>
#include <stdint.h>

/* The runtime's version. Which blobs it takes is NRW_ERR_VERSION's matter. */
#define NARROWS_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* Python reads the declarations between the two cffi marks; keep macros with
 * arguments, attributes and #if out of them. */
/* cffi: begin */

/* 0 is success, positive values are progress, negative values are failures.
 * The serial protocol and the Python package use the same numbers. */
enum nrw_status {
    NRW_OK = 0,               /* done; for nrw_step: one stage has fired */
    NRW_NEED_ROW = 1,         /* a row is due, or a part of one: nrw_push_slot */
    NRW_HAVE_ROW = 2,         /* nrw_take_row is due (streamed outputs only) */
    NRW_DONE = 3,             /* every stage has finished */
    NRW_ERR_ARGUMENT = -1,    /* a null pointer, an index out of range */
    NRW_ERR_TRUNCATED = -2,   /* the blob is shorter than its header says */
    NRW_ERR_MAGIC = -3,       /* not a narrows blob */
    NRW_ERR_VERSION = -4,     /* written for another version of the format */
    NRW_ERR_CRC = -5,         /* header or body checksum does not match */
    NRW_ERR_LAYOUT = -6,      /* weights in a layout that this build lacks kernels for */
    NRW_ERR_STRUCTURE = -7,   /* a field is out of range: nrw_model.error_at */
    NRW_ERR_MEMORY = -8,      /* memory too small or not 16-byte aligned */
    NRW_ERR_STATE = -9,       /* call out of order (a row that is not due) */
    NRW_ERR_STALLED = -10,    /* no stage can fire: the capacities deadlock */
    NRW_ERR_ALIGNMENT = -11,  /* the blob's address is no multiple of 16 */
    NRW_ERR_OPERATOR = -12    /* an operator or a form of it that this build lacks: error_at */
};

/* Stage kinds; the numbers are part of the blob format. (13 and 15 to 17 were operators that MOVE
 * has replaced.) */
enum nrw_op {
    NRW_OP_INPUT = 0,
    NRW_OP_OUTPUT = 1,
    NRW_OP_CONV = 2,
    NRW_OP_DEPTHWISE = 3,
    NRW_OP_BOTTLENECK = 4,
    NRW_OP_ELEMENTWISE = 5,
    NRW_OP_AVG_POOL = 6,
    NRW_OP_MAX_POOL = 7,
    NRW_OP_MEAN = 8,
    NRW_OP_SOFTMAX = 9,
    NRW_OP_LOOKUP = 10,
    NRW_OP_CONCAT = 11,
    NRW_OP_RESIZE = 12,
    NRW_OP_PAD = 14,
    NRW_OP_MOVE = 18,
    NRW_OP_MATMUL = 19,
    NRW_OP_ARG_MAX = 20,
    NRW_OP_COUNT = 21
};

/* How a stage goes through its operator's work (SPEC.md, Forms); part of the blob format. */
enum nrw_form {
    NRW_SINGLE = 0,       /* a strip of the output from the windows over its inputs */
    NRW_ACCUMULATING = 1, /* strips of the input are added up; the last gives the output */
    NRW_FOLDED = 2,       /* a depthwise that keeps the sums of a window's first rows */
    NRW_TILED = 3,        /* a bottleneck by tiles, whose halos are computed again */
    NRW_ROLLING = 4,      /* a bottleneck that keeps expanded rows in line buffers */
    NRW_FORM_COUNT = 5
};

/* Weight layouts: the order in which a family of kernels reads weights (SPEC.md, Layouts). */
enum nrw_layout {
    NRW_LAYOUT_PLAIN = 0,   /* as TFLite has them: [out][height][width][in] */
    NRW_LAYOUT_BLOCKED = 1, /* blocks of four output by four input channels */
    NRW_LAYOUT_PAIRED = 2,  /* pairs of elements of a window, of four output channels each */
    NRW_LAYOUT_COUNT = 3
};

/* Rows that a window may span (kernel_h of whatever does not accumulate). */
#define NRW_MAX_KERNEL_H 64

/* The most work of one firing (SPEC.md, Work). */
#define NRW_MAX_STEP_WORK 0x40000000

/* Blocks of memory that an arena may consist of. */
#define NRW_MEMORIES 4

struct nrw_kernels;

/* An opened model. Fields are for reading; the blob must outlive it. */
struct nrw_model {
    const uint8_t *blob;      /* 16-byte aligned */
    uint32_t blob_bytes;
    uint32_t arena_bytes[NRW_MEMORIES]; /* rings, stage state and scratch, exact */
    uint32_t error_at;        /* after a failed open: byte offset in the blob */
    uint16_t tensor_count;
    uint16_t stage_count;
    uint16_t reader_count;
    uint16_t input_count;
    uint16_t output_count;
    int8_t conv_shift;        /* no channel of a convolution has a higher one; private */
    int8_t depthwise_shift;   /* the same of depthwise convolutions */
    const struct nrw_kernels *kernels; /* of the blob's weight layout; private */
};

/* A running inference. Fields are private. */
struct nrw_run {
    const struct nrw_model *model;
    uint8_t *memories[NRW_MEMORIES];
    void *progress;           /* counters of each stage, behind the arena */
    uint16_t last_stage;
    uint16_t waiting;         /* INPUT or OUTPUT stage that waits for the caller */
    uint16_t next;            /* no stage below this one can fire */
    uint16_t begins;          /* what the next inference begins with */
};

/* Shape and quantization of a tensor. */
struct nrw_tensor_info {
    uint16_t height;          /* rows */
    uint16_t width;           /* pixels */
    uint16_t channels;
    uint16_t strip;           /* pixels of a row that come at a time; 0 of a constant */
    uint32_t capacity;        /* pixels held in the arena */
    uint32_t row_bytes;       /* width * channels */
    int32_t zero_point;
    uint32_t element_bytes;   /* 1: int8 */
};

/* --- Life of a model --------------------------------------------------------------- */

/* Check the whole structure of a blob that may come from anywhere. Time: O(outputs + stages + the
 * rows, columns and channels that they have); no byte of the weights is read.
 * blob: 16-byte aligned. Returns NRW_OK or an error; model->error_at names the byte. */
int nrw_open(struct nrw_model *model, const void *blob, size_t size);

/* CRC-32 over every byte of the body. O(blob). Call at upload and at boot. */
int nrw_verify(const struct nrw_model *model);

/* The most work of one nrw_step, in the unit of SPEC.md: about a multiply-accumulate, or an element
 * read or moved. A watchdog that is fed between steps must bear so much. 0 if it is not open. */
uint32_t nrw_max_step_work(const struct nrw_model *model);

/* Bytes of memory that nrw_start wants: nrw_arena_bytes plus nrw_progress_bytes. */
size_t nrw_memory_bytes(const struct nrw_model *model);

/* Bytes of all memories of the arena together. */
size_t nrw_arena_bytes(const struct nrw_model *model);

/* Bytes of counters, 12 per stage. */
size_t nrw_progress_bytes(const struct nrw_model *model);

/* Begin an inference. memory: 16-byte aligned, nrw_memory_bytes(model) or more: the memories
 * of the arena, one behind the other, and the counters. May be called again at any time to
 * begin anew. */
int nrw_start(struct nrw_run *run, const struct nrw_model *model, void *memory, size_t size);

/* Begin the inference after one that is done. The variables of a model that has some (of a
 * streaming network, what it remembers of earlier inputs) are what that one has made them;
 * nrw_start begins with those that the blob says. An inference that is not done is abandoned, and
 * leaves the variables as they were. */
int nrw_next(struct nrw_run *run);

/* Variable i, and how many bytes it has; NULL if there is none. It does not change while an inference
 * goes on. To save what a network remembers, read all of them after nrw_next; to go on from there,
 * write them after nrw_start, before the first nrw_step. */
void *nrw_variable(const struct nrw_run *run, int i, uint32_t *bytes);

/* A block of RAM. */
struct nrw_block {
    void *data;               /* 16-byte aligned */
    size_t bytes;
};

/* As nrw_start, with memory in several places: memory i stands in blocks[i], and the counters
 * behind memory 0. Blocks that the model does not use may be absent. */
int nrw_start_memories(struct nrw_run *run, const struct nrw_model *model,
                      const struct nrw_block *blocks, int count);

/* Fire one stage: the one nearest the input that can. Returns NRW_OK, NRW_NEED_ROW,
 * NRW_HAVE_ROW, NRW_DONE or an error. After NEED_ROW and HAVE_ROW the same answer
 * comes again until the row has been pushed or taken. */
int nrw_step(struct nrw_run *run);

/* --- Rows in and out ----------------------------------------------------------------- */

/* What NRW_NEED_ROW asks for, from left to right and row after row, is a whole row of most
 * models; of one that takes its input by parts, the next `strip` pixels (nrw_input_info) of a row.
 * The caller fills nrw_row_slot with nrw_due_bytes and calls nrw_push_slot; it needs no buffer
 * of its own. */

/* Which input (0-based) is due; -1 if none is. */
int nrw_wanted_input(const struct nrw_run *run);

/* Where in the arena what is due will stand; NULL if nothing is due. */
void *nrw_row_slot(const struct nrw_run *run);

/* Bytes that are due; 0 if none are. */
uint32_t nrw_due_bytes(const struct nrw_run *run);

/* The slot has been filled. */
int nrw_push_slot(struct nrw_run *run);

/* Give a whole row from anywhere: width * channels int8. NRW_ERR_STATE if none is due, or only
 * a part of one. */
int nrw_push_row(struct nrw_run *run, const void *row);

/* Take the row that NRW_HAVE_ROW offers: *row points into the arena and is valid until
 * the next call; *output and *index (either may be NULL) say which row it is. Where several
 * outputs are one tensor (nrw_output_tensor), it is offered once, as the first of them. */
int nrw_take_row(struct nrw_run *run, const void **row, int *output, int *index);

/* After NRW_DONE: output tensor i, height * width * channels int8; NULL if it was
 * streamed by rows or is not there. */
const void *nrw_output(const struct nrw_run *run, int i);

/* Shape and quantization of input or output i. */
int nrw_input_info(const struct nrw_model *model, int i, struct nrw_tensor_info *info);
int nrw_output_info(const struct nrw_model *model, int i, struct nrw_tensor_info *info);

/* The number of the tensor that output i is; NRW_ERR_ARGUMENT if there is no such output. */
int nrw_output_tensor(const struct nrw_model *model, int i);

/* --- Looking inside: profiling, dumps, tests ----------------------------------------- */

/* The stage that fired last; -1 before the first. */
int nrw_last_stage(const struct nrw_run *run);

/* Operator (enum nrw_op), form (enum nrw_form) and output tensor (-1: none) of a stage. */
int nrw_stage_op(const struct nrw_model *model, int stage);
int nrw_stage_form(const struct nrw_model *model, int stage);
int nrw_stage_output(const struct nrw_model *model, int stage);
int nrw_tensor_info(const struct nrw_model *model, int tensor, struct nrw_tensor_info *info);

/* Pixels of a tensor produced so far, and the address of pixel number p while it is in the ring
 * (NULL before and after; something else may be placed over it once it is dead). */
int nrw_tensor_pixels(const struct nrw_run *run, int tensor);
const void *nrw_tensor_pixel(const struct nrw_run *run, int tensor, int p);

/* --- What the planner asks ------------------------------------------------------------- */

/* Bit i set: this build runs blobs whose weights stand in layout i. */
uint32_t nrw_layouts(void);

/* Weights of a convolution; in_channels is 1 for a depthwise one, each of whose output channels
 * reads one input channel. */
struct nrw_filter_shape {
    uint32_t kernel_h, kernel_w, in_channels, out_channels;
};

/* Bytes of weights in a layout; 0 for a layout that does not exist. */
uint64_t nrw_conv_weight_bytes(uint32_t layout, const struct nrw_filter_shape *shape);
uint64_t nrw_depthwise_weight_bytes(uint32_t layout, const struct nrw_filter_shape *shape);

/* cffi: end */

/* --- The loop, for those who want it ------------------------------------------------------ */

/* Return 0 to go on, anything else to stop with that value. A source writes so many bytes, the
 * pixels of a row from a column on; they stand in the arena. */
typedef int (*nrw_row_source)(void *user, int input, int row, int column, void *pixels,
                              uint32_t bytes);
typedef int (*nrw_row_sink)(void *user, int output, int index, const void *row,
                            uint32_t row_bytes);

/* Step until done. sink may be NULL when no output is streamed. */
int nrw_run(struct nrw_run *run, nrw_row_source source, nrw_row_sink sink, void *user);

#ifdef __cplusplus
}
#endif
#endif
