/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests about a run of the model.
 *
 * Any of them may come twice: those that change something look at what they say of themselves (offset,
 * row, run).
 */
#include "port.h"
#include "requests.h"

void run_end(void)
{
    server.run_status = LINK_ERR_RUN;
    server.run_id = 0;
    server.stage_ticks = NULL;
    server.event_due = false;
    server.watch = LINK_WATCH_NONE;
    server.ticks = 0;
    server.firings = 0;
    server.input = 0;
    server.part_received = 0;
    server.feeding = false;
}

/* Bytes of the arena's first memory that a run uses itself. */
static uint32_t used_bytes(void)
{
    return (uint32_t)(server_model.arena_bytes[0] + nrw_progress_bytes(&server_model));
}

/* Bytes of the profile's counters, behind those that the run uses. */
static uint32_t counter_bytes(void)
{
    return server_model.stage_count * (uint32_t)sizeof(uint32_t);
}

uint32_t inputs_bytes(int count)
{
    struct nrw_tensor_info info;
    uint32_t bytes = 0;

    for (int i = 0; i < count && nrw_input_info(&server_model, i, &info) == NRW_OK; i++) {
        bytes += info.height * info.row_bytes;
    }
    return bytes;
}

uint32_t extra_bytes(void)
{
    return server.held_set != 0 ? counter_bytes() + inputs_bytes(server_model.input_count)
                                : server.stage_ticks != NULL ? counter_bytes() : 0;
}

/* What stands behind the run's own bytes; NULL: there is no room for so many. */
static uint8_t *extra_memory(uint32_t bytes)
{
    struct nrw_block blocks[NRW_MEMORIES];

    get_blocks(blocks);
    return bytes <= blocks[0].bytes && used_bytes() <= blocks[0].bytes - bytes
               ? (uint8_t *)blocks[0].data + used_bytes()
               : NULL;
}

void *spare_memory(uint32_t bytes)
{
    struct nrw_block blocks[NRW_MEMORIES];
    const uint32_t taken = used_bytes() + extra_bytes();

    get_blocks(blocks);
    if (blocks[0].bytes < bytes + 8) {
        return NULL;
    }
    const uint32_t at = ((uint32_t)blocks[0].bytes - bytes) / 8 * 8;
    if (at < taken) {
        run_end();
        server.held_set = 0;
        server.remembers = false;
    }
    return (uint8_t *)blocks[0].data + at;
}

/* Begin a run; the one that goes on already is not begun anew. */
static int begin(uint32_t id, uint32_t flags)
{
    struct nrw_block blocks[NRW_MEMORIES];
    uint8_t *counters = NULL;

    if (server.model_status != NRW_OK) {
        return LINK_ERR_NO_MODEL;
    }
    if (id == 0) {
        return NRW_ERR_ARGUMENT;
    }
    if (id == server.run_id) {
        return NRW_OK;
    }
    const bool goes_on = (flags & LINK_START_GOES_ON) != 0;
    if (goes_on && !server.remembers) {
        return LINK_ERR_RUN;
    }
    run_end();
    get_blocks(blocks);
    const uint32_t before = (uint32_t)port_ticks();
    const int result = goes_on ? nrw_next(&server_run)
                               : nrw_start_memories(&server_run, &server_model, blocks,
                                                    NRW_MEMORIES);
    server.ticks = (uint32_t)port_ticks() - before;
    server.remembers = result == NRW_OK;
    if (result != NRW_OK) {
        return result;
    }
    if ((flags & LINK_START_PROFILE) != 0) {
        counters = extra_memory(counter_bytes());
        if (counters == NULL) {
            return NRW_ERR_MEMORY;
        }
        memset(counters, 0, counter_bytes());
    }
    server.stage_ticks = (uint32_t *)(void *)counters;
    server.run_id = id;
    server.run_status = NRW_OK;
    return NRW_OK;
}

int on_start(struct request *request)
{
    const int result = begin(nrw_load32(request->payload), request->payload[4]);

    if (result == NRW_OK) {
        server.held_set = 0;  /* rows come one by one */
    }
    return result;
}

/* How far an input has come: whole rows, and bytes of the next one that have been pushed. */
struct reached {
    uint32_t row, bytes;
};

static struct reached input_reached(int input)
{
    struct nrw_tensor_info info;

    if (server.run_id == 0 || nrw_input_info(&server_model, input, &info) != NRW_OK) {
        return (struct reached){0, 0};
    }
    /* Input number i is stage i (runtime/SPEC.md). */
    const uint32_t pixels =
        (uint32_t)nrw_tensor_pixels(&server_run, nrw_stage_output(&server_model, input));
    return (struct reached){pixels / info.width, pixels % info.width * info.channels};
}

/* What the last firing gave to: what HAVE_TENSOR speaks of. */
static int last_tensor(void)
{
    return nrw_stage_output(&server_model, nrw_last_stage(&server_run));
}

/* A stage has fired: wait for the host if it wants to see what that gave. */
void offer_tensor(void)
{
    const int tensor = last_tensor();

    if (tensor >= 0 && (server.watch == LINK_WATCH_ALL || server.watch == tensor)) {
        server.run_status = LINK_HAVE_TENSOR;
        server.event_due = true;
    }
}

/* Bytes of a tensor that stand side by side, the first at some offset from its start. */
struct piece {
    const int8_t *bytes;      /* NULL: no longer, or not yet, in the ring */
    uint32_t count;           /* to the end of what is sure to lie side by side */
    uint32_t made;            /* bytes of the tensor so far */
};

static struct piece tensor_piece(int tensor, uint32_t offset)
{
    struct nrw_tensor_info info = {0};
    nrw_tensor_info(&server_model, tensor, &info);
    const uint32_t unit = info.channels;
    const uint32_t made = (uint32_t)nrw_tensor_pixels(&server_run, tensor) * unit;
    const int8_t *start =
        offset < made ? nrw_tensor_pixel(&server_run, tensor, (int)(offset / unit)) : NULL;

    return (struct piece){
        .bytes = start != NULL ? start + offset % unit : NULL,
        .count = unit - offset % unit,
        .made = made,
    };
}

void put_state(struct request *request)
{
    const int status = server.run_status;
    const int tensor = last_tensor();
    struct reached reached = input_reached(server.input);

    reached.bytes += server.part_received;
    if (status == NRW_HAVE_ROW) {
        reached = (struct reached){(uint32_t)server.row_index, 0};
    } else if (status == LINK_HAVE_TENSOR) {
        reached = (struct reached){(uint32_t)tensor, tensor_piece(tensor, 0).made};
    }
    put32(request, server.run_id);
    put8(request, (uint32_t)(status == NRW_HAVE_ROW ? server.row_output : server.input));
    put16(request, reached.row);
    put32(request, reached.bytes);
    put32(request, server.firings);
}

int on_state(struct request *request)
{
    put_state(request);
    return server.run_status;
}

/* What is due stands in its row's slot. */
static void push(void)
{
    const uint32_t before = (uint32_t)port_ticks();

    server.part_received = 0;
    server.run_status = nrw_push_slot(&server_run);
    server.ticks += (uint32_t)port_ticks() - before;
    offer_tensor();
}

void feed(void)
{
    struct nrw_tensor_info info;

    if (!server.feeding || server.run_status != NRW_NEED_ROW ||
        nrw_input_info(&server_model, server.input, &info) != NRW_OK) {
        return;
    }
    const struct reached reached = input_reached(server.input);
    const uint32_t due = nrw_due_bytes(&server_run);
    const uint32_t at = inputs_bytes(server.input) + reached.row * info.row_bytes + reached.bytes;
    if (at + due <= server.held_received) {
        memcpy(nrw_row_slot(&server_run),
               extra_memory(counter_bytes() + at + due) + counter_bytes() + at, due);
        push();
    }
}

int hold_inputs(uint32_t set, uint32_t offset, const uint8_t *bytes, uint32_t count)
{
    const uint32_t all = inputs_bytes(server_model.input_count);
    uint8_t *memory = extra_memory(counter_bytes() + all);

    if (server.model_status != NRW_OK) {
        return LINK_ERR_NO_MODEL;
    }
    if (set == 0 || count > all || offset > all - count) {
        return NRW_ERR_ARGUMENT;
    }
    if (memory == NULL) {
        return LINK_ERR_ROOM;
    }
    if (set != server.held_set) {
        if (server.feeding) {
            run_end();        /* it would go on with what belongs to another */
        }
        server.held_set = set;
        server.held_received = 0;
    }
    if (offset > server.held_received) {
        return LINK_ERR_GAP;
    }
    if (offset + count > server.held_received) {
        memcpy(memory + counter_bytes() + offset, bytes, count);
        server.held_received = offset + count;
        feed();
    }
    return NRW_OK;
}

const uint8_t *held_inputs(void)
{
    const uint8_t *memory = server.held_set != 0 ? extra_memory(extra_bytes()) : NULL;

    return memory != NULL ? memory + counter_bytes() : NULL;
}

int run_begin(uint32_t id, uint32_t flags)
{
    const bool is_new = id != server.run_id;
    const int result = begin(id, flags);

    if (result == NRW_OK && is_new) {
        server.feeding = true;
    }
    return result;
}

int on_input(struct request *request)
{
    const int result = hold_inputs(nrw_load32(request->payload), nrw_load32(request->payload + 4),
                                   request->payload + 8, request->bytes - 8);

    put32(request, server.held_received);
    return result;
}

int on_infer(struct request *request)
{
    const uint32_t id = nrw_load32(request->payload);
    const uint32_t flags = request->payload[4];
    const uint32_t set = nrw_load32(request->payload + 5);
    int result = hold_inputs(set, 0, request->payload + 9, request->bytes - 9);

    if (result == NRW_OK) {
        result = run_begin(id, flags);
    }
    put32(request, server.held_received);
    return result;
}

/* A piece of the row that is asked for goes where the row will stand, as far as it is due. A
 * piece of an earlier row, or one that is there already, has been sent twice and changes
 * nothing. */
int on_row(struct request *request)
{
    const int input = request->payload[4];
    const uint32_t number = nrw_load16(request->payload + 5);
    const uint32_t offset = nrw_load32(request->payload + 7);
    const uint8_t *bytes = request->payload + 11;
    const uint32_t count = request->bytes - 11;
    struct nrw_tensor_info info;
    int result = NRW_OK;

    if (nrw_input_info(&server_model, input, &info) != NRW_OK || number >= info.height ||
        count > info.row_bytes || offset > info.row_bytes - count) {
        return NRW_ERR_ARGUMENT;
    }
    const struct reached reached = input_reached(input);
    if (number < reached.row) {
        put32(request, info.row_bytes);
        return NRW_OK;
    }
    if (number == reached.row && offset + count <= reached.bytes) {
        put32(request, reached.bytes + (input == server.input ? server.part_received : 0));
        return NRW_OK;
    }
    if (server.run_status != NRW_NEED_ROW || input != server.input || number > reached.row ||
        server.feeding) {
        return NRW_ERR_STATE;
    }
    if (offset > reached.bytes + server.part_received) {
        result = LINK_ERR_GAP;
    } else if (offset == reached.bytes + server.part_received) {
        const uint32_t due = nrw_due_bytes(&server_run);
        const uint32_t left = due - server.part_received;
        const uint32_t taken = count < left ? count : left;
        memcpy((uint8_t *)nrw_row_slot(&server_run) + server.part_received, bytes, taken);
        server.part_received += taken;
    }
    put32(request, reached.bytes + server.part_received);
    if (server.part_received == nrw_due_bytes(&server_run)) {
        push();
    }
    return result;
}

/* Bytes of a whole output after the last firing, or of the row that is offered. */
int on_output(struct request *request)
{
    const int index = request->payload[4];
    const uint32_t offset = nrw_load32(request->payload + 5);
    const uint32_t count = nrw_load16(request->payload + 9);
    struct nrw_tensor_info info;
    const int8_t *bytes = NULL;
    uint32_t first = 0, size = 0;

    if (nrw_output_info(&server_model, index, &info) != NRW_OK || count > LINK_DATA_BYTES) {
        return NRW_ERR_ARGUMENT;
    }
    if (server.run_status == NRW_HAVE_ROW && index == server.row_output) {
        bytes = server.row;
        first = (uint32_t)server.row_index * info.row_bytes;
        size = info.row_bytes;
    } else if (server.run_status == NRW_DONE) {
        bytes = nrw_output(&server_run, index);
        size = info.height * info.row_bytes;
    }
    if (bytes == NULL || offset < first) {
        return NRW_ERR_STATE;
    }
    if (count > size || offset - first > size - count) {
        return NRW_ERR_ARGUMENT;
    }
    put32(request, offset);
    memcpy(request->out, bytes + (offset - first), count);
    request->out += count;
    return NRW_OK;
}

/* The host has read the row that is offered. */
int on_take(struct request *request)
{
    const int index = request->payload[4];
    const int number = nrw_load16(request->payload + 5);

    if (server.run_status == NRW_HAVE_ROW && index == server.row_output &&
        number == server.row_index) {
        server.run_status = NRW_OK;
    }
    return NRW_OK;
}

int on_profile(struct request *request)
{
    const uint32_t first = nrw_load16(request->payload + 4);
    const uint32_t stages = server.stage_ticks != NULL ? server_model.stage_count : 0;
    const uint32_t most = LINK_DATA_BYTES / sizeof(uint32_t);

    const uint32_t left = first < stages ? stages - first : 0;
    const uint32_t count = left < most ? left : most;
    put64(request, server.ticks);
    put16(request, first);
    for (uint32_t i = 0; i < count; i++) {
        put32(request, server.stage_ticks[first + i]);
    }
    return NRW_OK;
}

int on_watch(struct request *request)
{
    const uint16_t tensor = nrw_load16(request->payload + 4);

    if (tensor >= server_model.tensor_count && tensor < LINK_WATCH_ALL) {
        return NRW_ERR_ARGUMENT;
    }
    server.watch = tensor;
    return NRW_OK;
}

/* Bytes of the tensor that is offered, from the first that is still in its ring. */
int on_tensor(struct request *request)
{
    const int tensor = nrw_load16(request->payload + 4);
    uint32_t offset = nrw_load32(request->payload + 6);
    uint32_t left = nrw_load16(request->payload + 10);

    if (left > LINK_DATA_BYTES) {
        return NRW_ERR_ARGUMENT;
    }
    if (server.run_status != LINK_HAVE_TENSOR || tensor != last_tensor()) {
        return NRW_ERR_STATE;
    }
    struct piece piece = tensor_piece(tensor, offset);
    while (piece.bytes == NULL && offset < piece.made) {
        offset += piece.count;
        piece = tensor_piece(tensor, offset);
    }
    put32(request, offset);
    while (piece.bytes != NULL && left > 0) {
        const uint32_t count = piece.count < left ? piece.count : left;
        memcpy(request->out, piece.bytes, count);
        request->out += count;
        offset += count;
        left -= count;
        piece = tensor_piece(tensor, offset);
    }
    return NRW_OK;
}

/* The host has read all that is offered. */
int on_next(struct request *request)
{
    const int tensor = nrw_load16(request->payload + 4);
    const uint32_t bytes = nrw_load32(request->payload + 6);

    if (server.run_status == LINK_HAVE_TENSOR && tensor == last_tensor() &&
        bytes == tensor_piece(tensor, 0).made) {
        server.run_status = NRW_OK;
    }
    return NRW_OK;
}

