/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server keeps, and its answers to requests; server.c takes these from the line and runs the
 * model between them.
 */
#ifndef NARROWS_REQUESTS_H
#define NARROWS_REQUESTS_H

#include <stdbool.h>
#include <string.h>

#include "cobs.h"
#include "frame.h"
#include "narrows.h"
#include "protocol.h"
#include "ring.h"
#include "store.h"

/* Instructions of small cores reach the first 128 bytes of a structure directly: so the buffers stand last,
 * and what has a structure of its own stands beside this one. */
struct server {
    uint16_t watch;           /* the tensor that the host wants to see, as in WATCH */
    bool event_due;           /* the host does not know yet what nrw_step has said */
    bool feeding;             /* the run takes its rows from the inputs that are held */
    bool reboot;              /* after this answer */
    bool remembers;           /* the arena has what a run of this model has made its variables */
    uint32_t bad_frames;

    uint32_t baud;            /* that both sides have spoken at */
    uint32_t new_baud;        /* from the end of this answer on; 0: no change */
    uint32_t pending_baud;    /* that nothing has come at yet; 0: something has */
    uint32_t baud_since;      /* ticks, modulo 2^32, at which it was set */

    uint64_t ticks;           /* inside the runtime since START */
    uint32_t *stage_ticks;    /* behind the run's memory; NULL: not asked for */
    uint32_t run_id;
    int run_status;           /* what nrw_step has said last; LINK_ERR_RUN: no run */
    uint32_t firings;
    int input;                /* that was asked for last */
    uint32_t part_received;   /* bytes of what is due of its row */
    const void *row;          /* the row that is offered */
    int row_output, row_index;
    uint32_t held_set;        /* the host's number for the inputs that are held; 0: none */
    uint32_t held_received;   /* bytes of them, from the first without a gap */
    int model_status;         /* NRW_OK: there is a model that can run */

    struct nrw_cobs cobs;
    uint8_t frame[LINK_FRAME_BYTES]; /* the request, and then its answer in the same place */
    struct nrw_ring ring;
};

extern struct server server;
extern struct store server_store;
extern struct nrw_model server_model; /* what the store has, if server.model_status is NRW_OK */
extern struct nrw_run server_run;

/* A request reads its payload first, for the answer's fields go to `out` in the same buffer. */
struct request {
    const uint8_t *payload;
    uint32_t bytes;
    uint8_t *out;
};

/* Answer a request. Returns the status that stands before the fields. */
int request_answer(uint8_t type, struct request *request);

/* Look for a model in flash, when nothing else has happened. */
void model_begin(void);

/* End the run, if there is one. */
void run_end(void);

/* Begin a run that takes its rows from the inputs that are held; the one that goes on already is not begun
 * anew. Returns a status. */
int run_begin(uint32_t id, uint32_t flags);

/* Bytes of the model's first `count` inputs, one behind the other as they are held. */
uint32_t inputs_bytes(int count);

/* Hold bytes of the inputs, from an offset on, under the host's number for them (INPUT). Returns a status. */
int hold_inputs(uint32_t set, uint32_t offset, const uint8_t *bytes, uint32_t count);

/* The inputs that are held, of which server.held_received bytes have come; NULL: none are. */
const uint8_t *held_inputs(void);

/* The fields of STATE. */
void put_state(struct request *request);

/* A stage has fired: its output is shown if the host wants to see it. */
void offer_tensor(void);

/* What is due of the wanted row is given from the inputs that are held, as far as they have come. */
void feed(void);

/* Bytes of the run's memory beside arena and progress: counters of the profile, inputs that are held. */
uint32_t extra_bytes(void);

/* So many bytes, aligned to 8, of the arena's first memory; a run that uses them ends. NULL: it has not so
 * many. */
void *spare_memory(uint32_t bytes);

/* What port_memory says, as the runtime wants it. */
void get_blocks(struct nrw_block blocks[NRW_MEMORIES]);

/* Answers, by type. */
int on_model(struct request *request);
int on_blob_begin(struct request *request);
int on_blob_data(struct request *request);
int on_blob_end(struct request *request);
int on_start(struct request *request);
int on_state(struct request *request);
int on_row(struct request *request);
int on_output(struct request *request);
int on_take(struct request *request);
int on_profile(struct request *request);
int on_watch(struct request *request);
int on_tensor(struct request *request);
int on_next(struct request *request);
int on_input(struct request *request);
int on_infer(struct request *request);

static inline void put8(struct request *request, uint32_t value)
{
    *request->out++ = (uint8_t)value;
}

static inline void put16(struct request *request, uint32_t value)
{
    request->out = nrw_store16(request->out, value);
}

static inline void put32(struct request *request, uint32_t value)
{
    request->out = nrw_store32(request->out, value);
}

static inline void put64(struct request *request, uint64_t value)
{
    put32(request, (uint32_t)value);
    put32(request, (uint32_t)(value >> 32));
}

static inline void put_bytes(struct request *request, const void *bytes, uint32_t count)
{
    memcpy(request->out, bytes, count);
    request->out += count;
}

#endif
