/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <stddef.h>
#include <string.h>

#include "crc32.h"

#define INTENT 0x49524D4Eu   /* N M R I */
#define MANIFEST 0x4D524D4Eu /* N M R M */
enum { FORMAT = 1, RECORD_BYTES = 192 };
enum slot { FIRST, SECOND, WHOLE, SLOTS };

struct record {
    uint32_t magic;
    uint32_t format;
    uint32_t slot;
    uint32_t number;         /* of the update, from 1 on */
    struct store_update update;
    uint32_t reserved[7];
    uint32_t crc;            /* from `format` on: an intent becomes a manifest by its magic alone */
};
typedef char check_record[sizeof(struct record) == RECORD_BYTES ? 1 : -1];
typedef char check_unit[RECORD_BYTES % PORT_FLASH_MOST_UNIT == 0 ? 1 : -1];

/* --- Where things stand ---------------------------------------------------------------------- */

static uint32_t sectors_bytes(const struct store *store, uint32_t share)
{
    const struct port_flash *flash = store->flash;

    return flash->bytes / flash->erase_bytes / share * flash->erase_bytes;
}

static uint32_t slot_start(const struct store *store, uint32_t slot)
{
    return slot == SECOND ? sectors_bytes(store, 2) : 0;
}

static uint32_t slot_end(const struct store *store, uint32_t slot)
{
    return slot == FIRST ? sectors_bytes(store, 2)
                         : slot == SECOND ? 2 * sectors_bytes(store, 2) : sectors_bytes(store, 1);
}

static uint32_t slot_room(const struct store *store, uint32_t slot)
{
    const uint32_t bytes = slot_end(store, slot) - slot_start(store, slot);

    return bytes > 2 * RECORD_BYTES ? bytes - 2 * RECORD_BYTES : 0;
}

uint32_t store_room(const struct store *store)
{
    return slot_room(store, WHOLE);
}

uint32_t store_room_beside(const struct store *store)
{
    return slot_room(store, FIRST);
}

static bool overlap(uint32_t slot, uint32_t other)
{
    return slot == other || slot == WHOLE || other == WHOLE;
}

static uint32_t intent_at(const struct store *store, uint32_t slot)
{
    return slot_end(store, slot) - 2 * RECORD_BYTES;
}

static uint32_t manifest_at(const struct store *store, uint32_t slot)
{
    return slot_end(store, slot) - RECORD_BYTES;
}

static const struct record *record_at(const struct store *store, uint32_t offset)
{
    return (const struct record *)(const void *)(store->flash->base + offset);
}

/* --- Records --------------------------------------------------------------------------------- */

static uint32_t record_crc(const struct record *record)
{
    const uint8_t *bytes = (const uint8_t *)record;

    return nrw_crc32(bytes + sizeof record->magic, RECORD_BYTES - 2 * sizeof(uint32_t));
}

/* The record of a kind in a slot; NULL: there is none that was written whole. */
static const struct record *find_record(const struct store *store, uint32_t slot, uint32_t magic)
{
    if (slot_room(store, slot) == 0) {
        return NULL;
    }
    const struct record *record =
        record_at(store, magic == INTENT ? intent_at(store, slot) : manifest_at(store, slot));

    return record->magic == magic && record->format == FORMAT && record->slot == slot &&
                   record->crc == record_crc(record) && record->update.bytes > 0 &&
                   record->update.bytes <= slot_room(store, slot)
               ? record
               : NULL;
}

static bool has_hash(const struct store *store, uint32_t slot, const struct store_update *update)
{
    uint8_t found[SHA256_BYTES];

    sha256(found, store->flash->base + slot_start(store, slot), update->bytes);
    return memcmp(found, update->hash, sizeof found) == 0;
}

static bool is_trusted(const struct store *store, const struct store_update *update)
{
    return store->trusts == NULL || store->trusts(update);
}

static void run_slot(struct store *store, uint32_t slot, const struct record *manifest)
{
    store->active = slot;
    store->model = store->flash->base + slot_start(store, slot);
    store->update = &manifest->update;
    store->counter = manifest->update.counter;
    store->number = manifest->number;
}

void store_open(struct store *store, const struct port_flash *flash,
                bool (*trusts)(const struct store_update *update))
{
    *store = (struct store){.flash = flash, .trusts = trusts};
    for (uint32_t slot = FIRST; slot < SLOTS; slot++) {
        const struct record *manifest = find_record(store, slot, MANIFEST);
        if (manifest != NULL && manifest->number > store->number &&
            is_trusted(store, &manifest->update) && has_hash(store, slot, &manifest->update)) {
            run_slot(store, slot, manifest);
        }
    }
    /* Where an update over both slots was cut short, its intent keeps the counter. */
    for (uint32_t slot = FIRST; slot < SLOTS && store->model == NULL; slot++) {
        const struct record *intent = find_record(store, slot, INTENT);
        if (intent != NULL && intent->number > store->number && is_trusted(store, &intent->update)) {
            store->counter = intent->update.counter;
            store->number = intent->number - 1;
        }
    }
}

/* --- Writing --------------------------------------------------------------------------------- */

/* Erase the sectors of the bytes from start to end, the last first. */
static bool erase(const struct store *store, uint32_t start, uint32_t end)
{
    const uint32_t sector = store->flash->erase_bytes;

    for (uint32_t at = (end + sector - 1) / sector * sector; at > start;) {
        at -= sector;
        if (!store->flash->erase(at)) {
            return false;
        }
    }
    return true;
}

static bool erase_records(const struct store *store, uint32_t slot)
{
    return erase(store, intent_at(store, slot), slot_end(store, slot));
}

static bool is_erased(const struct store *store, uint32_t start, uint32_t bytes)
{
    const uint8_t *at = store->flash->base + start;

    while (bytes > 0 && *at == store->flash->erased) {
        at++;
        bytes--;
    }
    return bytes == 0;
}

/* Make one unit stand in flash, and see that it does. It may be programmed but once: one that is there
 * already is left alone, and one that holds anything else has failed. */
static bool program(const struct store *store, uint32_t offset, const uint8_t *unit)
{
    const struct port_flash *flash = store->flash;
    const uint8_t *place = flash->base + offset;

    return memcmp(place, unit, flash->program_bytes) == 0 ||
           (is_erased(store, offset, flash->program_bytes) && flash->program(offset, unit) &&
            memcmp(place, unit, flash->program_bytes) == 0);
}

static bool program_record(const struct store *store, uint32_t offset, const struct record *record)
{
    for (uint32_t at = 0; at < RECORD_BYTES; at += store->flash->program_bytes) {
        if (!program(store, offset + at, (const uint8_t *)record + at)) {
            return false;
        }
    }
    return true;
}

/* Whether an intent of this very update stands in the target, and nothing of a manifest. */
static bool was_begun(const struct store *store, const struct store_update *update)
{
    const struct record *intent = find_record(store, store->target, INTENT);

    return intent != NULL && intent->number == store->number + 1 &&
           memcmp(&intent->update, update, sizeof *update) == 0 &&
           is_erased(store, manifest_at(store, store->target), RECORD_BYTES);
}

/* How far an update has come before a reset: up to the last unit that is not erased, which may be torn and is
 * therefore asked for again. 0: it has not begun, or what there is of it may be one torn unit. */
static uint32_t bytes_begun(const struct store *store, const struct store_update *update)
{
    const uint32_t unit = store->flash->program_bytes;
    const uint32_t start = slot_start(store, store->target);
    uint32_t at = was_begun(store, update) ? (update->bytes + unit - 1) / unit * unit : 0;

    while (at > 0 && is_erased(store, start + at - unit, unit)) {
        at -= unit;
    }
    return at > 0 ? at - unit : 0;
}

static int begin_anew(struct store *store, const struct store_update *update)
{
    const uint32_t start = slot_start(store, store->target);
    struct record intent = {
        .magic = INTENT,
        .format = FORMAT,
        .slot = store->target,
        .number = store->number + 1,
        .update = *update,
    };

    intent.crc = record_crc(&intent);
    if (store->model != NULL && overlap(store->target, store->active)) {
        store->model = NULL;  /* its number and its counter stay, so that the update is newer */
        store->update = NULL;
        if (!erase_records(store, store->active)) {
            return STORE_ERR_FLASH;
        }
    }
    return erase_records(store, store->target) && erase(store, start, start + update->bytes) &&
                   program_record(store, intent_at(store, store->target), &intent)
               ? STORE_OK
               : STORE_ERR_FLASH;
}

int store_begin(struct store *store, const struct store_update *update)
{
    int status = STORE_OK;

    store->updating = store->checked = false;
    if (update->bytes == 0 || update->bytes > store_room(store)) {
        return STORE_ERR_SIZE;
    }
    if (update->counter < store->counter) {
        return STORE_ERR_OLDER;
    }
    if (!is_trusted(store, update)) {
        return STORE_ERR_UNTRUSTED;
    }
    store->target = update->bytes > store_room_beside(store)             ? WHOLE
                    : store->model != NULL && store->active == FIRST ? SECOND
                                                                     : FIRST;
    store->received = bytes_begun(store, update);
    if (store->received == 0) {
        status = begin_anew(store, update);
    }
    store->updating = status == STORE_OK;
    return status;
}

uint32_t store_expected(const struct store *store)
{
    return store->updating ? record_at(store, intent_at(store, store->target))->update.bytes : 0;
}

int store_write(struct store *store, uint32_t offset, const uint8_t *bytes, uint32_t count)
{
    const uint32_t unit = store->flash->program_bytes;
    const uint32_t expected = store_expected(store);

    if (offset > store->received || offset > expected || count > expected - offset) {
        return STORE_ERR_ORDER;
    }
    for (uint32_t i = store->received - offset; i < count; i++) {
        const uint32_t at = store->received % unit;
        store->unit[at] = bytes[i];
        store->received++;
        if (store->received == expected) {
            memset(store->unit + at + 1, store->flash->erased, unit - 1 - at);
        }
        if ((store->received == expected || at == unit - 1) &&
            !program(store, slot_start(store, store->target) + store->received - 1 - at,
                     store->unit)) {
            store_drop(store);
            return STORE_ERR_FLASH;
        }
    }
    return STORE_OK;
}

int store_check(struct store *store, const uint8_t **blob)
{
    const uint32_t expected = store_expected(store);

    if (expected == 0 || store->received < expected) {
        return STORE_ERR_ORDER;
    }
    if (!has_hash(store, store->target,
                  &record_at(store, intent_at(store, store->target))->update)) {
        store_drop(store);
        return STORE_ERR_HASH;
    }
    *blob = store->flash->base + slot_start(store, store->target);
    store->checked = true;
    return STORE_OK;
}

int store_commit(struct store *store)
{
    if (!store->updating || !store->checked) {
        return STORE_ERR_ORDER;
    }
    struct record manifest = *record_at(store, intent_at(store, store->target));

    manifest.magic = MANIFEST;
    if (!program_record(store, manifest_at(store, store->target), &manifest)) {
        store_drop(store);
        return STORE_ERR_FLASH;
    }
    store->updating = store->checked = false;
    run_slot(store, store->target, record_at(store, manifest_at(store, store->target)));
    return STORE_OK;
}

void store_drop(struct store *store)
{
    if (store->updating) {
        store->updating = store->checked = false;
        erase_records(store, store->target); /* if that fails too, the next start finds a wrong hash */
    }
}
