/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models in flash, such that a loss of power at any moment leaves one that is whole.
 *
 * The flash is cut into two slots of equal size. An update goes into the one whose model does not run, so
 * that a loss of power leaves the old model or the new one. A blob that is larger than a slot takes both:
 * then a loss of power during its update leaves the new model or none, never a mix.
 *
 *     0                               half                               end
 *     | blob ...      intent manifest | blob ...         intent manifest |
 *     | blob over both slots ...                         intent manifest |
 *
 * Two records stand at a slot's end. The intent says what is about to be written; it is written first, so that
 * an update goes on where a reset has ended it. The manifest says that all of it is there; it is written last
 * and erased first, so a good one means that the slot held a whole blob once. That it still does, its hash
 * says at every start.
 */
#ifndef NARROWS_STORE_H
#define NARROWS_STORE_H

#include "flash.h"
#include "sha256.h"

enum { STORE_NAME_BYTES = 40, STORE_SIGNATURE_BYTES = 64 };

enum store_status {
    STORE_OK = 0,
    STORE_ERR_SIZE = -1,     /* an empty blob, or one that the flash has no room for */
    STORE_ERR_OLDER = -2,    /* its counter is below that of the model that runs */
    STORE_ERR_ORDER = -3,    /* no update has begun, or bytes are missing before these */
    STORE_ERR_FLASH = -4,    /* what was programmed reads back otherwise: the sector is worn out */
    STORE_ERR_HASH = -5,     /* all bytes have come, and they are others than were announced */
    STORE_ERR_UNTRUSTED = -6 /* its signature is missing, or not of this blob and this key */
};

/* What an update announces: little-endian and without gaps, as on the line (PROTOCOL.md). */
struct store_update {
    uint32_t bytes;                             /* of the blob */
    uint32_t counter;                           /* against going back to an older model */
    uint8_t hash[SHA256_BYTES];                 /* of the blob */
    char name[STORE_NAME_BYTES];                /* of the model, for people; zeros behind it */
    uint8_t signature[STORE_SIGNATURE_BYTES];   /* zeros: none */
};

/* Fields are for reading. */
struct store {
    const struct port_flash *flash;
    bool (*trusts)(const struct store_update *update);

    const uint8_t *model;              /* the newest that is whole; NULL: none is */
    const struct store_update *update; /* of the model; NULL without one */
    uint32_t counter;                  /* what the next update's is not to be below */
    uint32_t number;                   /* of the newest update; 0: there was none */
    uint32_t active;                   /* slot of the model */

    bool updating;           /* an update has begun */
    bool checked;            /* and all its bytes are there */
    uint32_t target;         /* slot of the update */
    uint32_t received;       /* bytes of it, from the first without a gap */
    uint8_t unit[PORT_FLASH_MOST_UNIT]; /* bytes that do not fill one yet */
};

/* Look for the newest whole model. trusts: judges signatures, of updates and at every start; NULL: none are
 * wanted. */
void store_open(struct store *store, const struct port_flash *flash,
                bool (*trusts)(const struct store_update *update));

/* The largest blob that the flash takes at all, and the largest beside one that runs. */
uint32_t store_room(const struct store *store);
uint32_t store_room_beside(const struct store *store);

/* Begin an update, or go on with the same one from `received` on; another that has begun is given up. The
 * model stays if both blobs are at most store_room_beside; else it is gone from here on. */
int store_begin(struct store *store, const struct store_update *update);

/* Bytes of the blob from `offset` on. Those that have come already are passed over, so a part may come
 * twice. */
int store_write(struct store *store, uint32_t offset, const uint8_t *bytes, uint32_t count);

/* Bytes of the update that is going on; 0 without one. */
uint32_t store_expected(const struct store *store);

/* Whether all bytes have come and are those that were announced. *blob: where they stand. If they are not,
 * the update is over. */
int store_check(struct store *store, const uint8_t **blob);

/* What was checked becomes the model. */
int store_commit(struct store *store);

/* Give up the update and what has come of it. */
void store_drop(struct store *store);

#endif
