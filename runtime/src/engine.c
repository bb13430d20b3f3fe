/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: fires the stage nearest the input that can (SPEC.md, Firing).
 *
 * A stage that could not fire sleeps until something that it waits for has changed: pixels
 * of an input have come, or pixels of its output have died. So the search for the next stage looks
 * closely only at the few that the last firing woke; and what a stage's next firing needs is
 * computed when it has fired, and again only if that was not there yet.
 */
#include <string.h>

#include "stage.h"

/* States of a stage; 0 if it sleeps and waits for pixels of its inputs. */
enum {
    AWAKE = 1, /* worth a look */
    READY = 2, /* what its next firing needs is there */
    SURE = 4,  /* will be READY when the pixels that it waits for have come */
    FULL = 8,  /* there is no room for what its next firing gives */
    FINISHED = 16
};

enum { MOST_INPUTS = 4 };

/* One per stage, behind the arena. */
struct progress {
    uint16_t fired;
    uint8_t state;
    uint8_t waits;     /* pixels of its inputs that must come before it is worth a look */
    uint32_t produced; /* pixels of the stage's output */
    uint32_t room;     /* pixels that the ring has taken when it is full: those that no reader
                          needs any more, and its capacity */
};
typedef char check_progress[sizeof(struct progress) == NRW_PROGRESS_BYTES ? 1 : -1];

static struct progress *progress_of(const struct nrw_run *run)
{
    return run->progress;
}

static bool is_started(const struct nrw_run *run)
{
    return run != NULL && run->model != NULL;
}

/* --- Firing ---------------------------------------------------------------------------- */

static uint32_t pixels_produced(const struct nrw_run *run, const struct nrw_tensor *tensor)
{
    return nrw_is_given(tensor) ? nrw_pixels(tensor)
                                : progress_of(run)[tensor->producer].produced;
}

/* Looks at a stage's next firing, which makes it READY if what it needs of each input is there.
 * first: of each input, the first pixel that it needs; NULL if nobody asks. Returns what it will
 * have given. */
static uint32_t look_ahead(const struct nrw_run *run, const struct nrw_stage *stage,
                           struct progress *progress, int32_t *first)
{
    uint32_t given = (progress->fired + 1u) * stage->strip; /* of an INPUT */
    int32_t missing = 0;

    for (uint32_t i = 0; i < stage->input_count; i++) {
        const struct nrw_tensor *in = nrw_input_of(run->model, stage, i);
        const struct nrw_range needs = nrw_needs(run->model, stage, i, progress->fired, &given);
        const int32_t short_of = needs.hi - (int32_t)pixels_produced(run, in);
        if (first != NULL) {
            first[i] = needs.lo;
        }
        missing = short_of > missing ? short_of : missing;
    }
    if (missing == 0) {
        progress->state |= READY;
    } else if (missing > UINT8_MAX) {
        progress->waits = UINT8_MAX;
    } else {
        progress->waits = (uint8_t)missing;
        progress->state |= stage->input_count == 1 ? SURE : 0;
    }
    return given;
}

/* Pixels of a tensor that no reader needs in its next firing or later. What stage number `index`
 * needs is known: from first[i] on of its input i. */
static uint32_t pixels_dead(const struct nrw_run *run, const struct nrw_tensor *tensor,
                            uint32_t index, const int32_t *first)
{
    const struct nrw_model *model = run->model;
    const struct nrw_tensor *tensors = nrw_tensors(model);
    const uint16_t *readers = nrw_readers(model) + tensor->first_reader;
    int32_t dead = tensor->reader_count > 0 ? (int32_t)nrw_pixels(tensor) : 0;

    for (uint32_t k = 0; k < tensor->reader_count; k++) {
        const struct nrw_stage *reader = nrw_stages(model) + readers[k];
        const struct progress *progress = progress_of(run) + readers[k];
        uint32_t given;
        if (progress->state == FINISHED) {
            continue;
        }
        for (uint32_t i = 0; i < reader->input_count; i++) {
            if (tensors + reader->inputs[i] == tensor) {
                const int32_t needed =
                    readers[k] == index
                        ? first[i]
                        : nrw_needs(model, reader, i, progress->fired, &given).lo;
                dead = nrw_lesser(dead, needed);
            }
        }
    }
    return (uint32_t)dead;
}

/* --- Poison ------------------------------------------------------------------------------ */

/* What stands in the arena at the end: an output that no OUTPUT stage reads, or what a variable
 * becomes. */
static bool is_held(const struct nrw_model *model, const struct nrw_tensor *tensor)
{
    bool is_output = false;

    for (uint32_t i = 0; i < model->output_count; i++) {
        is_output = is_output || nrw_tensors(model) + nrw_outputs(model)[i] == tensor;
    }
    if (is_output && nrw_hands_out(model, tensor) == NULL) {
        return true;
    }
    const struct nrw_variables *all = nrw_variables_of(model);
    for (uint32_t i = 0; all != NULL && i < all->count; i++) {
        if (nrw_tensors(model) + all->each[i].source == tensor) {
            return true;
        }
    }
    return false;
}

static void poison(const struct nrw_run *run, uint32_t offset, uint32_t bytes)
{
    nrw_poison(nrw_arena(run, offset), bytes);
}

/* Pixels that have been given and are dead. */
static uint32_t pixels_gone(const struct progress *progress, const struct nrw_tensor *tensor)
{
    const uint32_t dead = progress->room - tensor->capacity;

    return progress->produced < dead ? progress->produced : dead;
}

/* Those that have gone since there were `before` of them, if they are still in the ring. (What is
 * dead when it is given stays: somebody may look at all that a firing gives.) */
static void poison_gone(const struct nrw_run *run, const struct nrw_tensor *tensor,
                        uint32_t before)
{
    if (NRW_POISON && !is_held(run->model, tensor)) {
        const struct progress *progress = progress_of(run) + tensor->producer;
        for (uint32_t p = before; p < pixels_gone(progress, tensor); p++) {
            if (p + tensor->capacity >= progress->produced) {
                nrw_poison(nrw_out(run, tensor, 0, (int32_t)p), nrw_pixel_bytes(tensor));
            }
        }
    }
}

/* Pixels of an input have come. */
static void feed(struct progress *progress, uint32_t pixels)
{
    if (progress->waits > pixels) {
        progress->waits = (uint8_t)(progress->waits - pixels);
    } else if ((progress->state & (READY | FINISHED)) == 0) {
        progress->waits = 0;
        progress->state |= (progress->state & SURE) == 0   ? AWAKE
                           : (progress->state & FULL) == 0 ? AWAKE | READY
                                                           : READY;
    }
}

/* Of an input, and of all that are the same tensor, the first pixel that is needed. */
static uint32_t needed_from(const struct nrw_stage *stage, uint32_t input, const int32_t *first)
{
    int32_t needed = first[input];

    for (uint32_t i = 0; i < stage->input_count; i++) {
        if (stage->inputs[i] == stage->inputs[input]) {
            needed = nrw_lesser(needed, first[i]);
        }
    }
    return (uint32_t)needed;
}

/* A stage has fired: count it, and wake those that may have waited for that. given: pixels of its
 * output that are there. */
static void complete(struct nrw_run *run, uint32_t index, uint32_t given, bool is_last)
{
    const struct nrw_model *model = run->model;
    const struct nrw_stage *stages = nrw_stages(model);
    const struct nrw_stage *stage = stages + index;
    struct progress *all = progress_of(run);
    struct progress *progress = all + index;
    const uint32_t fresh = given - progress->produced;
    int32_t first[MOST_INPUTS];

    if (fresh > 0 && stage->op != NRW_OP_OUTPUT) {
        const struct nrw_tensor *out = nrw_output_of(model, stage);
        const uint16_t *readers = nrw_readers(model) + out->first_reader;
        for (uint32_t k = out->reader_count; k > 0; k--) {
            feed(all + *readers++, fresh);
        }
        progress->produced = given;
    }
    progress->fired++;
    if (is_last) {
        progress->state = FINISHED;
        for (uint32_t i = 0; i < stage->input_count; i++) {
            first[i] = (int32_t)nrw_pixels(nrw_input_of(model, stage, i));
        }
        poison(run, stage->state_offset, stage->state_bytes);
    } else {
        progress->state = 0;
        if (look_ahead(run, stage, progress, first) > progress->room) {
            progress->state |= FULL;
        } else if ((progress->state & READY) != 0) {
            progress->state |= AWAKE;
        }
    }
    run->last_stage = (uint16_t)index;
    run->next = (uint16_t)index;
    for (uint32_t i = 0; i < stage->input_count; i++) {
        const struct nrw_tensor *in = nrw_input_of(model, stage, i);
        if (nrw_is_given(in) || (nrw_is_whole(in) && !NRW_POISON)) {
            continue;
        }
        struct progress *producer = all + in->producer;
        uint32_t dead = stage->input_count == 1 ? (uint32_t)first[0]
                                                : needed_from(stage, i, first);
        if (in->reader_count > 1) {
            if (dead + in->capacity == producer->room) {
                continue; /* what would die next, this stage still needs */
            }
            dead = pixels_dead(run, in, index, first);
        }
        const uint32_t room = dead + in->capacity;
        if (room != producer->room) {
            const uint32_t gone = pixels_gone(producer, in);
            producer->room = room;
            if (stage->op != NRW_OP_OUTPUT) { /* the caller still looks at what it takes */
                poison_gone(run, in, gone);
            }
            if ((producer->state & FULL) != 0 &&
                nrw_next_given(in, &stages[in->producer], producer->produced) <= room) {
                producer->state &= (uint8_t)~FULL;
                if ((producer->state & READY) != 0) {
                    producer->state |= AWAKE;
                    run->next = in->producer < run->next ? in->producer : run->next;
                }
            }
        }
    }
}

/* What the next inference of a run begins with; 0 in a run that is new. */
enum {
    FIRST,     /* variables as the blob has them */
    UNCHANGED, /* variables as they are: the last inference is not done */
    NEXT       /* variables as the last inference has made them */
};

/* Sets every variable for the inference that begins. */
static void set_variables(const struct nrw_run *run)
{
    const struct nrw_tensor *tensors = nrw_tensors(run->model);
    const struct nrw_variables *all = nrw_variables_of(run->model);

    const uint32_t count = all != NULL ? all->count : 0;

    for (uint32_t i = 0; i < count; i++) {
        const struct nrw_variable *variable = &all->each[i];
        const struct nrw_tensor *tensor = tensors + variable->tensor;
        const uint8_t *from = nrw_at(run->model, variable->initial);
        if (run->begins == NEXT) {
            from = nrw_arena(run, tensors[variable->source].offset) +
                   variable->first * nrw_pixel_bytes(tensor);
        }
        memmove(nrw_arena(run, tensor->offset), from,
                nrw_pixels(tensor) * nrw_pixel_bytes(tensor));
    }
}

NRW_COLD static int begin(struct nrw_run *run)
{
    const struct nrw_model *model = run->model;

    for (uint32_t i = 0; NRW_POISON && run->begins == FIRST && i < NRW_MEMORIES; i++) {
        poison(run, i << 28, model->arena_bytes[i]);
    }
    if (run->begins != UNCHANGED) {
        set_variables(run);
    }
    run->begins = UNCHANGED;
    run->last_stage = NRW_NONE;
    run->waiting = NRW_NONE;
    run->next = 0;
    memset(run->progress, 0, nrw_progress_bytes(model));
    for (uint32_t s = 0; s < model->stage_count; s++) {
        struct progress *progress = progress_of(run) + s;
        progress->state = AWAKE;
        progress->room = UINT32_MAX;
        if (nrw_stages(model)[s].op != NRW_OP_OUTPUT) {
            const struct nrw_tensor *out = nrw_output_of(model, nrw_stages(model) + s);
            progress->room = pixels_dead(run, out, NRW_NONE, NULL) + out->capacity;
        }
    }
    return NRW_OK;
}

NRW_COLD int nrw_start(struct nrw_run *run, const struct nrw_model *model, void *memory,
                       size_t size)
{
    if (run == NULL || memory == NULL || !nrw_is_open(model)) {
        return NRW_ERR_ARGUMENT;
    }
    *run = (struct nrw_run){0};
    if (size < nrw_memory_bytes(model) || (uintptr_t)memory % 16 != 0) {
        return NRW_ERR_MEMORY;
    }
    uint8_t *at = memory;
    for (uint32_t i = 0; i < NRW_MEMORIES; i++) {
        run->memories[i] = at;
        at += model->arena_bytes[i];
    }
    run->progress = at;
    run->model = model;
    return begin(run);
}

NRW_COLD int nrw_start_memories(struct nrw_run *run, const struct nrw_model *model,
                                const struct nrw_block *blocks, int count)
{
    if (run == NULL || blocks == NULL || count < 1 || count > NRW_MEMORIES || !nrw_is_open(model)) {
        return NRW_ERR_ARGUMENT;
    }
    *run = (struct nrw_run){0};
    for (int i = 0; i < NRW_MEMORIES; i++) {
        const struct nrw_block block = i < count ? blocks[i] : (struct nrw_block){NULL, 0};
        const size_t bytes = model->arena_bytes[i] + (i == 0 ? nrw_progress_bytes(model) : 0);
        if (bytes > 0 && (block.data == NULL || block.bytes < bytes ||
                          (uintptr_t)block.data % 16 != 0)) {
            return NRW_ERR_MEMORY;
        }
        /* Nothing stands in a memory of no bytes, but its address may be computed. */
        run->memories[i] = bytes > 0 ? block.data : run->memories[0];
    }
    run->progress = run->memories[0] + model->arena_bytes[0];
    run->model = model;
    return begin(run);
}

NRW_COLD int nrw_next(struct nrw_run *run)
{
    return is_started(run) ? begin(run) : NRW_ERR_STATE;
}

NRW_COLD void *nrw_variable(const struct nrw_run *run, int i, uint32_t *bytes)
{
    const struct nrw_variables *all = is_started(run) ? nrw_variables_of(run->model) : NULL;

    if (bytes == NULL || all == NULL || (uint32_t)i >= all->count) {
        return NULL;
    }
    const struct nrw_tensor *tensor = nrw_tensors(run->model) + all->each[i].tensor;
    *bytes = nrw_pixels(tensor) * nrw_pixel_bytes(tensor);
    return nrw_arena(run, tensor->offset);
}

int nrw_step(struct nrw_run *run)
{
    if (!is_started(run)) {
        return NRW_ERR_STATE;
    }
    const struct nrw_stage *stages = nrw_stages(run->model);
    struct progress *progress = progress_of(run);
    const uint32_t count = run->model->stage_count;
    struct nrw_firing firing;

    if (run->waiting == NRW_NONE) {
        uint32_t s = run->next;
        for (; s < count; s++) {
            if ((progress[s].state & AWAKE) == 0) {
                continue;
            }
            if ((progress[s].state & READY) == 0) {
                (void)look_ahead(run, &stages[s], &progress[s], NULL);
            }
            if ((progress[s].state & READY) != 0) {
                nrw_firing_of(&firing, run->model, &stages[s], progress[s].fired);
                if (firing.given <= progress[s].room) {
                    break;
                }
                progress[s].state |= FULL;
            }
            progress[s].state &= (uint8_t)~AWAKE;
        }
        run->next = (uint16_t)s;
        if (s == count) {
            while (s > 0 && progress[s - 1].state == FINISHED) {
                s--;
            }
            if (s > 0) {
                return NRW_ERR_STALLED;
            }
            run->begins = NEXT;
            return NRW_DONE;
        }
        nrw_compute_fn *const compute = nrw_operator_of(&stages[s])->compute;
        if (compute != NULL) {
            poison(run, stages[s].scratch_offset, stages[s].scratch_bytes);
            if (nrw_is_cut(nrw_output_of(run->model, &stages[s]), &firing, progress[s].produced)) {
                nrw_compute_first_part(run, &stages[s], &firing);
            }
            compute(run, &stages[s], &firing);
            poison(run, stages[s].scratch_offset, stages[s].scratch_bytes);
            complete(run, s, firing.given, firing.is_last);
            return NRW_OK;
        }
        run->waiting = (uint16_t)s;
    }
    return stages[run->waiting].op == NRW_OP_INPUT ? NRW_NEED_ROW : NRW_HAVE_ROW;
}

/* --- Rows in and out ------------------------------------------------------------------- */

/* The stage that waits for the caller has got or given its strip. */
NRW_COLD static void passed(struct nrw_run *run)
{
    const uint32_t index = run->waiting;
    const struct nrw_stage *stage = nrw_stages(run->model) + index;
    const uint32_t pixels = (progress_of(run)[index].fired + 1u) * stage->strip;

    run->waiting = NRW_NONE;
    complete(run, index, pixels, pixels == nrw_pixels(nrw_frame(run->model, stage)));
}

NRW_COLD int nrw_wanted_input(const struct nrw_run *run)
{
    /* Input i is stage i. */
    return is_started(run) && run->waiting < run->model->input_count ? run->waiting : -1;
}

NRW_COLD void *nrw_row_slot(const struct nrw_run *run)
{
    const int input = nrw_wanted_input(run);

    if (input < 0) {
        return NULL;
    }
    return nrw_out(run, nrw_output_of(run->model, nrw_stages(run->model) + input), 0,
                   (int32_t)progress_of(run)[input].produced);
}

NRW_COLD uint32_t nrw_due_bytes(const struct nrw_run *run)
{
    const int input = nrw_wanted_input(run);

    if (input < 0) {
        return 0;
    }
    const struct nrw_stage *stage = nrw_stages(run->model) + input;
    return stage->strip * nrw_pixel_bytes(nrw_output_of(run->model, stage));
}

NRW_COLD int nrw_push_slot(struct nrw_run *run)
{
    if (nrw_wanted_input(run) < 0) {
        return NRW_ERR_STATE;
    }
    passed(run);
    return NRW_OK;
}

NRW_COLD int nrw_push_row(struct nrw_run *run, const void *row)
{
    void *slot = nrw_row_slot(run);
    const uint32_t bytes = nrw_due_bytes(run);

    if (slot == NULL ||
        bytes != nrw_row_bytes(nrw_output_of(run->model, nrw_stages(run->model) + run->waiting))) {
        return NRW_ERR_STATE;
    }
    if (row == NULL) {
        return NRW_ERR_ARGUMENT;
    }
    if (row != slot) {
        memmove(slot, row, bytes);
    }
    return nrw_push_slot(run);
}

NRW_COLD int nrw_take_row(struct nrw_run *run, const void **row, int *output, int *index)
{
    if (!is_started(run) || run->waiting == NRW_NONE || nrw_wanted_input(run) >= 0) {
        return NRW_ERR_STATE;
    }
    if (row == NULL) {
        return NRW_ERR_ARGUMENT;
    }
    const uint32_t stage = run->waiting;
    const uint32_t tensor = nrw_stages(run->model)[stage].inputs[0];
    const int32_t number = progress_of(run)[stage].fired;
    *row = nrw_pixel_at(run, nrw_tensors(run->model) + tensor,
                        (uint32_t)(number * nrw_tensors(run->model)[tensor].width));
    if (output != NULL) {
        *output = (int)nrw_stages(run->model)[stage].params;
    }
    if (index != NULL) {
        *index = number;
    }
    passed(run);
    return NRW_OK;
}

NRW_COLD const void *nrw_output(const struct nrw_run *run, int i)
{
    if (!is_started(run) || i < 0 || i >= run->model->output_count) {
        return NULL;
    }
    const struct nrw_tensor *tensor = nrw_tensors(run->model) + nrw_outputs(run->model)[i];
    if (nrw_hands_out(run->model, tensor) != NULL ||
        pixels_produced(run, tensor) < nrw_pixels(tensor)) {
        return NULL;
    }
    return nrw_pixel_at(run, tensor, 0);
}

NRW_COLD int nrw_run(struct nrw_run *run, nrw_row_source source, nrw_row_sink sink, void *user)
{
    int status = NRW_OK;

    if (source == NULL) {
        return NRW_ERR_ARGUMENT;
    }
    while (status == NRW_OK) {
        status = nrw_step(run);
        if (status == NRW_NEED_ROW) {
            const struct nrw_stage *stage = nrw_stages(run->model) + run->waiting;
            struct nrw_firing firing;
            nrw_strip_of(&firing, stage, nrw_output_of(run->model, stage)->width,
                         progress_of(run)[run->waiting].fired);
            status = source(user, run->waiting, firing.y0, firing.x0, nrw_row_slot(run),
                            nrw_due_bytes(run));
            if (status == NRW_OK) {
                status = nrw_push_slot(run);
            }
        } else if (status == NRW_HAVE_ROW) {
            const void *row;
            int output;
            int index;
            const struct nrw_stage *stage = nrw_stages(run->model) + run->waiting;
            const uint32_t bytes = nrw_row_bytes(nrw_input_of(run->model, stage, 0));
            if (sink == NULL) {
                return NRW_ERR_ARGUMENT;
            }
            status = nrw_take_row(run, &row, &output, &index);
            if (status == NRW_OK) {
                status = sink(user, output, index, row, bytes);
            }
        }
    }
    return status;
}

/* --- Looking inside ---------------------------------------------------------------------- */

NRW_COLD int nrw_last_stage(const struct nrw_run *run)
{
    return is_started(run) && run->last_stage != NRW_NONE ? run->last_stage : -1;
}

NRW_COLD int nrw_tensor_pixels(const struct nrw_run *run, int tensor)
{
    if (!is_started(run) || tensor < 0 || tensor >= run->model->tensor_count) {
        return NRW_ERR_ARGUMENT;
    }
    return (int)pixels_produced(run, nrw_tensors(run->model) + tensor);
}

NRW_COLD const void *nrw_tensor_pixel(const struct nrw_run *run, int tensor, int p)
{
    const int produced = nrw_tensor_pixels(run, tensor);

    if (p < 0 || p >= produced ||
        (uint32_t)(produced - p) > nrw_tensors(run->model)[tensor].capacity) {
        return NULL;
    }
    return nrw_pixel_at(run, nrw_tensors(run->model) + tensor, (uint32_t)p);
}
