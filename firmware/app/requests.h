/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server keeps, and its answers to requests; server.c takes these from the line and runs the
 * model between them.
 */
#ifndef NARROWS_REQUESTS_H
#define NARROWS_REQUESTS_H

#include <stdbool.h>

#include "cobs.h"
#include "narrows.h"
#include "protocol.h"
#include "ring.h"

struct server {
    struct nrw_ring ring;
    struct nrw_cobs cobs;
    uint8_t frame[LINK_FRAME_BYTES]; /* the request, and then its answer in the same place */
    uint32_t bad_frames;

    struct nrw_model model;
    int model_status;         /* NRW_OK: there is a model that can run */
    uint32_t upload_bytes;    /* of the blob that is arriving; 0: none is */
    uint32_t upload_crc;
    uint32_t received;        /* of them, from the first without a gap */

    struct nrw_run run;
    uint32_t run_id;
    int run_status;           /* what nrw_step has said last; LINK_ERR_RUN: no run */
    bool event_due;           /* the host does not know of that yet */
    uint16_t watch;           /* the tensor that the host wants to see, as in WATCH */
    uint32_t firings;
    int input;                /* that was asked for last */
    uint32_t part_received;   /* bytes of what is due of its row */
    const void *row;          /* the row that is offered */
    int row_output, row_index;
    uint64_t ticks;           /* inside the runtime since START */
    uint32_t *stage_ticks;    /* behind the run's memory; NULL: not asked for */
};

extern struct server server;

/* A request reads its payload first, for the answer's fields go to `out` in the same buffer. */
struct request {
    const uint8_t *payload;
    uint32_t bytes;
    uint8_t *out;
};

/* Answer a request. Returns the status that stands before the fields. */
int request_answer(uint8_t type, struct request *request);

/* No model; then the one in so many bytes of the slot, if there is one. */
void model_close(void);
void model_open(uint32_t bytes);

/* The fields of STATE. */
void put_state(struct request *request);

/* A stage has fired: its output is shown if the host wants to see it. */
void offer_tensor(void);

#endif
