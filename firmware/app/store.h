/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models in flash, such that a loss of power at any moment leaves one that is whole.
 *
 * The flash has one slot or two. A slot holds a blob at its start and a manifest at its end: length,
 * hash, counter, and a number that grows with every update. The manifest is written last and erased
 * first, so a slot with a good manifest held a whole blob once; that it still does, its hash says
 * at every start. With two slots an update goes into the one that does not run, and a loss of power
 * leaves the old model or the new one. With one slot it leaves one of them or none, never a mix.
 */
#ifndef NARROWS_STORE_H
#define NARROWS_STORE_H

#include "flash.h"
#include "sha256.h"

enum store_status {
    STORE_OK = 0,
    STORE_ERR_SIZE = -1,  /* an empty blob, or one that no slot has room for */
    STORE_ERR_OLDER = -2, /* its counter is below that of the model that runs */
    STORE_ERR_ORDER = -3, /* no update has begun, or bytes are missing before these */
    STORE_ERR_FLASH = -4, /* what was programmed reads back otherwise: the sector is worn out */
    STORE_ERR_HASH = -5   /* all bytes have come, and they are others than were announced */
};

/* Fields are for reading. */
struct store {
    const struct port_flash *flash;
    uint32_t slots, slot_bytes;

    const uint8_t *model;    /* the newest that is whole; NULL: none is */
    uint32_t model_bytes;
    uint32_t counter;        /* of the model, against going back to an older one */

    uint32_t received;       /* bytes of the update, from the first without a gap */
    uint32_t expected;       /* bytes of the update; 0: none has begun */

    uint32_t active, target; /* slots */
    uint32_t number;         /* of the model's update; 0 without a model */
    uint32_t update_counter;
    uint8_t update_hash[SHA256_BYTES];
    uint8_t unit[PORT_FLASH_MOST_UNIT]; /* bytes that do not fill one yet */
};

/* Look for the newest whole model. slots: 1 or 2, which divide the sectors of the flash. */
void store_open(struct store *store, const struct port_flash *flash, uint32_t slots);

/* The largest blob that a slot takes. */
uint32_t store_room(const struct store *store);

/* Begin an update, in the place of one that has begun. With two slots the model stays; with one it
 * is gone from here on. hash: SHA-256 of the blob. */
int store_begin(struct store *store, uint32_t bytes, uint32_t counter,
                const uint8_t hash[SHA256_BYTES]);

/* Bytes of the blob from `offset` on. Those that have come already are passed over, so a part may come
 * twice. */
int store_write(struct store *store, uint32_t offset, const uint8_t *bytes, uint32_t count);

/* All bytes have come: the blob becomes the model, or nothing has changed and the update is over. */
int store_end(struct store *store);

#endif
