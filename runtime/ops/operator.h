/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an operator is: one record, in a file of its own (ops/NAME.c), is all that the rest of the
 * runtime knows of it. To add one: write that file, and add a line to NRW_OPERATORS and a number
 * to enum nrw_op.
 */
#ifndef NARROWS_OPERATOR_H
#define NARROWS_OPERATOR_H

#include "../src/geometry.h"

/* How a strip of the output reads an input. */
enum nrw_reading {
    NRW_READS_PIXELS,   /* the pixels of its own numbers, where the shapes agree; else windows() */
    NRW_READS_GEOMETRY, /* the windows of the nrw_geometry that the parameters begin with */
    NRW_READS_OTHERWISE /* as needs() or windows() say */
};

/* Bytes of state and scratch, multiples of 16; UINT32_MAX if no arena can hold them. Scratch for
 * wrapped rows comes on top (nrw_wrapped_bytes). */
struct nrw_sizes {
    uint32_t state, scratch;
};

/* What a stage computes (SPEC.md, Work). */
struct nrw_work {
    uint64_t macs;   /* multiply-accumulates of all firings */
    uint64_t step;   /* the most work of one firing; above NRW_MAX_STEP_WORK it may be any such
                        number */
    uint64_t copies; /* of a row of each input that may wrap, in one firing at most */
};

#ifdef NARROWS_PLANNING
/* What of a stage's state does not live as long as the stage: of each of `rows` rows of `pitch`
 * bytes, the first of them at `offset`, the first `carried` bytes live from the first firing that
 * gives a row of the output to the last, the others during firings only. */
struct nrw_state_columns {
    uint32_t offset, rows, pitch, carried;
};
#endif

typedef void nrw_compute_fn(const struct nrw_run *run, const struct nrw_stage *stage,
                            const struct nrw_firing *firing);

/* Functions may be NULL where the comment says what holds then. check() and by_rows() may rely on
 * tensors that stand in the blob and parameters that lie within it, all others on what check() has
 * proved. */
struct nrw_operator {
    uint8_t least_inputs, most_inputs;
    uint8_t forms; /* bit i: it has form i of enum nrw_form */
    uint8_t flags; /* of nrw_stage.flags, those that it knows */
    uint8_t params_bytes;
    uint8_t reads; /* enum nrw_reading */

    /* Proves every field of the parameters and that the shapes agree. NULL: nothing to prove. */
    int (*check)(struct nrw_model *model, const struct nrw_stage *stage);

    /* Whether a firing gives a whole row and needs whole rows side by side. NULL: never. */
    bool (*by_rows)(const struct nrw_model *model, const struct nrw_stage *stage);

    /* The windows over an input. NULL: those of the geometry if it reads that, else each row and
     * column needs the same one of the input. Rows that are no windows come out as all. */
    struct nrw_windows (*windows)(const struct nrw_model *model, const struct nrw_stage *stage,
                                  uint32_t input);

    /* Pixels of an input that a firing needs. NULL: what the windows cover. */
    struct nrw_range (*needs)(const struct nrw_model *model, const struct nrw_stage *stage,
                              uint32_t input, const struct nrw_firing *firing);

    /* For forms that do not go through their frame row by row, how many rows of firings there
     * are, and y0, y1 and given of a firing in one of them, whose columns are set. NULL: it has
     * no such form. */
    uint32_t (*firing_rows)(const struct nrw_model *model, const struct nrw_stage *stage);
    void (*firing)(struct nrw_firing *firing, const struct nrw_model *model,
                   const struct nrw_stage *stage, int32_t row);

    /* The most pixels of an input's row that are read side by side. NULL: as many as the windows
     * of a strip cover. */
    uint32_t (*segment)(const struct nrw_model *model, const struct nrw_stage *stage);

    /* NULL: neither state nor scratch. */
    struct nrw_sizes (*sizes)(const struct nrw_model *model, const struct nrw_stage *stage);

    /* Bounds every loop of a firing, whatever the parameters are. NULL: it computes or moves each
     * element of its strip once. */
    struct nrw_work (*work)(const struct nrw_model *model, const struct nrw_stage *stage);

    /* Computes one firing. NULL: the caller gives or takes the pixels. */
    nrw_compute_fn *compute;

#ifdef NARROWS_PLANNING
    /* What only a planner asks. Multiply-accumulates of one firing, and of all without those that
     * are repeated. NULL: there are none; none is repeated. */
    uint64_t (*macs)(const struct nrw_model *model, const struct nrw_stage *stage,
                     const struct nrw_firing *firing);
    uint64_t (*macs_once)(const struct nrw_model *model, const struct nrw_stage *stage);

    /* NULL: all of the state lives from the first firing to the last. */
    struct nrw_state_columns (*columns)(const struct nrw_model *model,
                                        const struct nrw_stage *stage);
#endif
};

#define NRW_ALL_FORMS ((1u << NRW_FORM_COUNT) - 1u)

/* The operators of a build, X(NAME, name, forms): NRW_OP_NAME, the record nrw_operator_name and, in
 * bit i, whether the build has form i of it. Firmware for known models may define a list of what
 * these need; a blob that needs more is refused with NRW_ERR_OPERATOR. */
#ifndef NRW_OPERATORS
#define NRW_OPERATORS(X)                       \
    X(INPUT, input, NRW_ALL_FORMS)             \
    X(OUTPUT, output, NRW_ALL_FORMS)           \
    X(CONV, conv, NRW_ALL_FORMS)               \
    X(DEPTHWISE, depthwise, NRW_ALL_FORMS)     \
    X(BOTTLENECK, bottleneck, NRW_ALL_FORMS)   \
    X(ELEMENTWISE, elementwise, NRW_ALL_FORMS) \
    X(AVG_POOL, avg_pool, NRW_ALL_FORMS)       \
    X(MAX_POOL, max_pool, NRW_ALL_FORMS)       \
    X(MEAN, mean, NRW_ALL_FORMS)               \
    X(SOFTMAX, softmax, NRW_ALL_FORMS)         \
    X(LOOKUP, lookup, NRW_ALL_FORMS)           \
    X(CONCAT, concat, NRW_ALL_FORMS)           \
    X(RESIZE, resize, NRW_ALL_FORMS)           \
    X(PAD, pad, NRW_ALL_FORMS)                 \
    X(MOVE, move, NRW_ALL_FORMS)               \
    X(MATMUL, matmul, NRW_ALL_FORMS)           \
    X(ARG_MAX, arg_max, NRW_ALL_FORMS)
#endif

/* The forms that any operator of the build has. */
#define NRW_FORMS_OF(NAME, name, forms) | (forms)
enum { NRW_FORMS = 0u NRW_OPERATORS(NRW_FORMS_OF) };
#undef NRW_FORMS_OF

/* The forms of each enum nrw_op in the build; 0 where the build lacks the operator. Code that sees
 * here that one form alone is left does not ask the stage, so the compiler drops the others. */
#define NRW_ENTRY(NAME, name, forms) [NRW_OP_##NAME] = (forms),
static const uint8_t nrw_forms_of[NRW_OP_COUNT] = {NRW_OPERATORS(NRW_ENTRY)};
#undef NRW_ENTRY

static inline bool nrw_is_form(const struct nrw_stage *stage, enum nrw_form form)
{
    return (NRW_FORMS >> form & 1u) != 0 && stage->form == form;
}

#define NRW_DECLARE(NAME, name, forms) extern const struct nrw_operator nrw_operator_##name;
NRW_OPERATORS(NRW_DECLARE)
#undef NRW_DECLARE

/* The record of each enum nrw_op; NULL where the build has none. */
extern const struct nrw_operator *const nrw_operators[NRW_OP_COUNT];

/* The by_rows() of operators that know nothing but whole rows. */
bool nrw_always_by_rows(const struct nrw_model *model, const struct nrw_stage *stage);

static inline const struct nrw_operator *nrw_operator_of(const struct nrw_stage *stage)
{
    return nrw_operators[stage->op];
}

#endif
