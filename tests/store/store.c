/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store over a flash that fails: power is cut before, in and after every erased sector and every
 * programmed unit of an update, bits are stuck, operations report failure. After each cut the chip
 * starts again and finds the old model or the new one, whole; the same update goes on where it was.
 *   store SLOTS SECTORS ERASE_BYTES UNIT SEED
 * SLOTS: 2, blobs of which two have room; 1, blobs that take both slots.
 */
#include "store.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)                                                        \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "line %d, cut %ld %d: %s\n", __LINE__, cut_at, cut_how, #condition); \
            exit(1);                                                              \
        }                                                                         \
    } while (0)

enum { MOST = 1 << 16, NO_CUT = -1, STEPS = 7 };
enum how { BEFORE, TORN, AFTER, HOWS };

static _Alignas(16) uint8_t cells[MOST];
static long operations, cut_at = NO_CUT;
static int cut_how;
static jmp_buf off;
static uint32_t random_state;
static long stuck_at = NO_CUT;      /* a byte of which bit 3 stays as it is */
static long failing = NO_CUT;       /* the operation that reports failure */
static struct port_flash flash;
static uint32_t resumed_at;         /* byte from which the last update went on */

static uint32_t drawn(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static void set_cell(uint32_t at, uint8_t value)
{
    cells[at] = (long)at == stuck_at ? (uint8_t)((value & ~8) | (cells[at] & 8)) : value;
}

/* Power fails before or after the operation, or at a byte of it. Returns how many bytes are done. */
static uint32_t before_cut(uint32_t bytes)
{
    if (operations++ != cut_at) {
        return bytes;
    }
    if (cut_how == BEFORE) {
        longjmp(off, 1);
    }
    return cut_how == TORN ? drawn() % bytes : bytes;
}

static bool after_operation(uint32_t at, uint32_t done, uint32_t bytes)
{
    if (operations - 1 == cut_at) {
        /* What was being changed holds anything. */
        for (uint32_t i = done; cut_how == TORN && i < bytes; i++) {
            if (drawn() % 2) {
                set_cell(at + i, (uint8_t)drawn());
            }
        }
        longjmp(off, 1);
    }
    return operations - 1 != failing;
}

static bool erase(uint32_t at)
{
    REQUIRE(at % flash.erase_bytes == 0 && at < flash.bytes);
    const uint32_t done = before_cut(flash.erase_bytes);
    for (uint32_t i = 0; i < done; i++) {
        set_cell(at + i, 0xFF);
    }
    return after_operation(at, done, flash.erase_bytes);
}

static bool program(uint32_t at, const uint8_t *unit)
{
    REQUIRE(at % flash.program_bytes == 0 && at < flash.bytes);
    for (uint32_t i = 0; i < flash.program_bytes; i++) {
        REQUIRE(cells[at + i] == 0xFF); /* a unit is programmed once */
    }
    const uint32_t done = before_cut(flash.program_bytes);
    for (uint32_t i = 0; i < done; i++) {
        set_cell(at + i, unit[i]);
    }
    return after_operation(at, done, flash.program_bytes);
}

struct model {
    uint8_t bytes[MOST];
    struct store_update update;
};

static uint32_t key;

/* Who signs puts counter and key into the signature. */
static bool trusts(const struct store_update *update)
{
    return update->signature[0] == ((update->counter ^ key) & 0xFF);
}

static void make(struct model *model, uint32_t count, uint32_t counter)
{
    model->update = (struct store_update){.bytes = count, .counter = counter, .name = "model"};
    model->update.signature[0] = (uint8_t)counter;
    for (uint32_t i = 0; i < count; i++) {
        model->bytes[i] = (uint8_t)drawn();
    }
    sha256(model->update.hash, model->bytes, count);
}

static bool runs(const struct store *store, const struct model *model)
{
    return store->model != NULL && store->counter == model->update.counter &&
           memcmp(store->update, &model->update, sizeof model->update) == 0 &&
           memcmp(store->model, model->bytes, model->update.bytes) == 0 &&
           (uintptr_t)store->model % 16 == 0;
}

/* In parts of any length, some of which come twice. */
static int update_once(struct store *store, const struct model *model)
{
    const uint8_t *blob;
    int status = store_begin(store, &model->update);

    resumed_at = store->received;
    while (status == STORE_OK && store->received < model->update.bytes) {
        const uint32_t back = drawn() % 3 == 0 && store->received > 0 ? drawn() % store->received : 0;
        const uint32_t at = store->received - back;
        const uint32_t left = model->update.bytes - at;
        const uint32_t count = back + 1 + drawn() % 200;
        status = store_write(store, at, model->bytes + at, count < left ? count : left);
    }
    if (status == STORE_OK) {
        status = store_check(store, &blob);
    }
    if (status == STORE_OK) {
        REQUIRE(memcmp(blob, model->bytes, model->update.bytes) == 0);
        status = store_commit(store);
    }
    return status;
}

/* As a host does it: one that went on where another was cut short, and failed, is begun anew. */
static int update(struct store *store, const struct model *model)
{
    const int status = update_once(store, model);

    return status != STORE_OK && resumed_at > 0 ? update_once(store, model) : status;
}

static struct store store;
static struct model old_model, new_model, other;

/* A fresh chip with the old model. */
static void restart_with_old(void)
{
    cut_at = failing = stuck_at = NO_CUT;
    memset(cells, 0xFF, sizeof cells);
    store_open(&store, &flash, trusts);
    REQUIRE(store.model == NULL);
    REQUIRE(update(&store, &old_model) == STORE_OK);
    REQUIRE(runs(&store, &old_model));
}

/* Start again after a cut: a whole model, and an update that goes through. */
static void come_back(bool may_be_gone)
{
    cut_at = NO_CUT;
    store_open(&store, &flash, trusts);
    REQUIRE(store.counter >= old_model.update.counter || store.number == 0);
    REQUIRE(runs(&store, &old_model) || runs(&store, &new_model) ||
            (may_be_gone && store.model == NULL));
    const bool was_new = runs(&store, &new_model);
    REQUIRE(update(&store, was_new ? &other : &new_model) == STORE_OK);
    REQUIRE(runs(&store, was_new ? &other : &new_model));
    store_open(&store, &flash, trusts);
    REQUIRE(runs(&store, was_new ? &other : &new_model));
}

/* Every operation of an update, in every way. Returns how many cuts there were. */
static long cut_everywhere(uint32_t slots)
{
    static volatile long cuts; /* kept over longjmp */
    static volatile long at;
    static volatile int how;

    cuts = 0;
    for (how = 0; how < HOWS; how++) {
        for (at = 0;; at++) {
            restart_with_old();
            operations = 0;
            cut_at = at;
            cut_how = how;
            if (setjmp(off) == 0) {
                REQUIRE(update(&store, &new_model) == STORE_OK);
                break; /* there was no such operation */
            }
            cuts++;
            come_back(slots == 1);
        }
        REQUIRE(runs(&store, &new_model));
    }
    return cuts;
}

/* One cut after the other, also while the last one is mended. */
static void cut_again_and_again(uint32_t slots)
{
    static volatile int round;

    restart_with_old();
    for (round = 0; round < 300; round++) {
        operations = 0;
        cut_at = (long)(drawn() % 150);
        cut_how = (int)(drawn() % HOWS);
        if (setjmp(off) == 0) {
            store_open(&store, &flash, trusts);
            REQUIRE(slots == 1 || runs(&store, &old_model) || runs(&store, &new_model));
            update(&store, runs(&store, &new_model) ? &old_model : &new_model);
        }
    }
    come_back(slots == 1);
}

/* Refusals change nothing. */
static void refuse(uint32_t slots)
{
    struct store_update odd = new_model.update;
    const uint8_t *blob;

    restart_with_old();
    operations = 0;
    odd.bytes = 0;
    REQUIRE(store_begin(&store, &odd) == STORE_ERR_SIZE);
    odd.bytes = store_room(&store) + 1;
    REQUIRE(store_begin(&store, &odd) == STORE_ERR_SIZE);
    odd = new_model.update;
    odd.counter = old_model.update.counter - 1;
    REQUIRE(store_begin(&store, &odd) == STORE_ERR_OLDER);
    odd = new_model.update;
    odd.signature[0] ^= 1;
    REQUIRE(store_begin(&store, &odd) == STORE_ERR_UNTRUSTED);
    REQUIRE(store_write(&store, 0, new_model.bytes, 1) == STORE_ERR_ORDER);
    REQUIRE(store_check(&store, &blob) == STORE_ERR_ORDER);
    REQUIRE(store_commit(&store) == STORE_ERR_ORDER);
    REQUIRE(operations == 0 && runs(&store, &old_model));

    odd = new_model.update;
    odd.hash[3] ^= 1;
    REQUIRE(store_begin(&store, &odd) == STORE_OK);
    REQUIRE(store_write(&store, 1, new_model.bytes, 1) == STORE_ERR_ORDER);
    REQUIRE(store_write(&store, 0, new_model.bytes, odd.bytes + 1) == STORE_ERR_ORDER);
    REQUIRE(store_check(&store, &blob) == STORE_ERR_ORDER);
    REQUIRE(store_write(&store, 0, new_model.bytes, odd.bytes) == STORE_OK);
    REQUIRE(store_commit(&store) == STORE_ERR_ORDER);
    REQUIRE(store_check(&store, &blob) == STORE_ERR_HASH);
    REQUIRE(store_check(&store, &blob) == STORE_ERR_ORDER);
    REQUIRE(slots == 1 ? store.model == NULL : runs(&store, &old_model));
    store_open(&store, &flash, trusts);
    REQUIRE(slots == 1 ? store.model == NULL : runs(&store, &old_model));

    /* A model that nobody trusts any more does not run, whoever has put it there. */
    REQUIRE(update(&store, &new_model) == STORE_OK);
    key ^= 1;
    store_open(&store, &flash, trusts);
    REQUIRE(store.model == NULL);
    key ^= 1;
    store_open(&store, &flash, NULL);
    REQUIRE(runs(&store, &new_model));
}

/* After a reset in the midst of it an update goes on where it was, not further back than a unit. */
static void resume(void)
{
    const uint32_t unit = flash.program_bytes;

    for (uint32_t sent = 0; sent < new_model.update.bytes; sent += 1 + drawn() % 97) {
        restart_with_old();
        REQUIRE(store_begin(&store, &new_model.update) == STORE_OK);
        REQUIRE(store_write(&store, 0, new_model.bytes, sent) == STORE_OK);
        store_open(&store, &flash, trusts);
        REQUIRE(store_begin(&store, &new_model.update) == STORE_OK);
        REQUIRE(store.received <= sent && store.received + 2 * unit + 8 >= sent);
        REQUIRE(update_once(&store, &new_model) == STORE_OK);
        REQUIRE(runs(&store, &new_model));
        /* Another update under way does not take over what has come of this one. */
        restart_with_old();
        REQUIRE(store_begin(&store, &new_model.update) == STORE_OK);
        REQUIRE(store_write(&store, 0, new_model.bytes, sent) == STORE_OK);
        REQUIRE(update_once(&store, &other) == STORE_OK && resumed_at == 0);
        REQUIRE(runs(&store, &other));
    }
}

/* A small blob after one that took both slots, and the other way round. */
static void change_size(void)
{
    static struct model small, large;

    restart_with_old();
    make(&small, store_room_beside(&store) / 2 + 1, 8);
    make(&large, store_room(&store), 8);
    for (int i = 0; i < 3; i++) {
        REQUIRE(update(&store, &large) == STORE_OK && runs(&store, &large));
        store_open(&store, &flash, trusts);
        REQUIRE(runs(&store, &large));
        for (int k = 0; k <= i; k++) {
            REQUIRE(update(&store, &small) == STORE_OK && runs(&store, &small));
            store_open(&store, &flash, trusts);
            REQUIRE(runs(&store, &small));
        }
    }
}

/* A stuck bit anywhere, an operation that fails: the update says so or is right. */
static void break_flash(uint32_t slots)
{
    for (int i = 0; i < 400; i++) {
        restart_with_old();
        operations = 0;
        if (i % 2) {
            failing = (long)(drawn() % 100);
        } else {
            stuck_at = (long)(drawn() % flash.bytes);
        }
        const int status = update(&store, &new_model);
        REQUIRE(status == STORE_OK || status == STORE_ERR_FLASH || status == STORE_ERR_HASH);
        REQUIRE(status != STORE_OK || runs(&store, &new_model));
        store_open(&store, &flash, trusts);
        REQUIRE(status == STORE_OK ? runs(&store, &new_model)
                                   : slots == 1 || runs(&store, &old_model) ||
                                         runs(&store, &new_model));
    }
}

int main(int argc, char **argv)
{
    uint32_t numbers[5];

    if (argc != 6) {
        return 2;
    }
    for (int i = 0; i < 5; i++) {
        numbers[i] = (uint32_t)strtoul(argv[i + 1], NULL, 10);
    }
    const uint32_t slots = numbers[0];
    flash = (struct port_flash){cells, numbers[1] * numbers[2], numbers[2], numbers[3], 0xFF, erase, program};
    random_state = numbers[4];
    store_open(&store, &flash, trusts);
    const uint32_t least = slots == 2 ? 0 : store_room_beside(&store);
    const uint32_t room = slots == 2 ? store_room_beside(&store) : store_room(&store);
    make(&old_model, room - drawn() % 40, 3);
    make(&new_model, least + 1 + drawn() % (room - least), 3);
    make(&other, room, 7);
    const long cuts = cut_everywhere(slots);
    cut_again_and_again(slots);
    refuse(slots);
    resume();
    change_size();
    break_flash(slots);
    printf("%ld cuts\n", cuts);
    return 0;
}
