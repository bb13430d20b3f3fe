/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <string.h>

#include "crc32.h"

#define MAGIC 0x534D524Eu /* N R M S */
enum { FORMAT = 1, MANIFEST = 64 };

/* At the end of a slot, as many units as hold it; little-endian, as the blob is. */
struct manifest {
    uint32_t magic, format;
    uint32_t blob_bytes;
    uint32_t number; /* of the update, from 1 on */
    uint32_t counter;
    uint8_t hash[SHA256_BYTES];
    uint32_t reserved[2];
    uint32_t crc; /* of all before it */
};
typedef char check_manifest[sizeof(struct manifest) == MANIFEST ? 1 : -1];
typedef char check_unit[(int)PORT_FLASH_MOST_UNIT == (int)MANIFEST ? 1 : -1];

static uint32_t slot_at(const struct store *store, uint32_t slot)
{
    return slot * store->slot_bytes;
}

static uint32_t manifest_at(const struct store *store, uint32_t slot)
{
    return slot_at(store, slot) + store->slot_bytes - MANIFEST;
}

uint32_t store_room(const struct store *store)
{
    return store->slot_bytes - MANIFEST;
}

static uint32_t crc_of(const struct manifest *manifest)
{
    return nrw_crc32((const uint8_t *)manifest, MANIFEST - sizeof manifest->crc);
}

static bool has_hash(const struct store *store, uint32_t slot, uint32_t bytes,
                     const uint8_t hash[SHA256_BYTES])
{
    uint8_t found[SHA256_BYTES];

    sha256(found, store->flash->base + slot_at(store, slot), bytes);
    return memcmp(found, hash, sizeof found) == 0;
}

/* The manifest of a slot whose blob is whole. Returns whether there is one. */
static bool read_slot(const struct store *store, uint32_t slot, struct manifest *manifest)
{
    memcpy(manifest, store->flash->base + manifest_at(store, slot), MANIFEST);
    return manifest->magic == MAGIC && manifest->format == FORMAT &&
           manifest->crc == crc_of(manifest) && manifest->number > 0 &&
           manifest->blob_bytes > 0 && manifest->blob_bytes <= store_room(store) &&
           has_hash(store, slot, manifest->blob_bytes, manifest->hash);
}

static void run_slot(struct store *store, uint32_t slot, const struct manifest *manifest)
{
    store->active = slot;
    store->model = store->flash->base + slot_at(store, slot);
    store->model_bytes = manifest->blob_bytes;
    store->counter = manifest->counter;
    store->number = manifest->number;
}

void store_open(struct store *store, const struct port_flash *flash, uint32_t slots)
{
    const uint32_t sectors = flash->bytes / flash->erase_bytes;

    *store = (struct store){.flash = flash, .slots = slots};
    store->slot_bytes = sectors / slots * flash->erase_bytes;
    for (uint32_t slot = 0; slot < slots; slot++) {
        struct manifest manifest;
        if (read_slot(store, slot, &manifest) && manifest.number > store->number) {
            run_slot(store, slot, &manifest);
        }
    }
}

/* Erase the slot of an update, its manifest first. */
static bool erase_target(const struct store *store)
{
    const struct port_flash *flash = store->flash;
    const uint32_t start = slot_at(store, store->target);
    uint32_t at = start + store->slot_bytes;

    while (at > start) {
        at -= flash->erase_bytes;
        if (!flash->erase(at)) {
            return false;
        }
    }
    return true;
}

/* Program one unit and see that it stands there. */
static bool program(const struct store *store, uint32_t offset, const uint8_t *unit)
{
    const struct port_flash *flash = store->flash;

    return flash->program(offset, unit) &&
           memcmp(flash->base + offset, unit, flash->program_bytes) == 0;
}

int store_begin(struct store *store, uint32_t bytes, uint32_t counter,
                const uint8_t hash[SHA256_BYTES])
{
    store->expected = 0;
    if (bytes == 0 || bytes > store_room(store)) {
        return STORE_ERR_SIZE;
    }
    if (counter < store->counter) {
        return STORE_ERR_OLDER;
    }
    store->target = store->slots > 1 && store->model != NULL ? 1 - store->active : 0;
    if (store->model != NULL && store->target == store->active) {
        store->model = NULL; /* its number and its counter stay, so that the update is newer */
        store->model_bytes = 0;
    }
    if (!erase_target(store)) {
        return STORE_ERR_FLASH;
    }
    store->expected = bytes;
    store->received = 0;
    store->update_counter = counter;
    memcpy(store->update_hash, hash, SHA256_BYTES);
    return STORE_OK;
}

int store_write(struct store *store, uint32_t offset, const uint8_t *bytes, uint32_t count)
{
    const uint32_t unit = store->flash->program_bytes;

    if (store->expected == 0 || offset > store->received || offset > store->expected ||
        count > store->expected - offset) {
        return STORE_ERR_ORDER;
    }
    for (uint32_t i = store->received - offset; i < count; i++) {
        store->unit[store->received % unit] = bytes[i];
        store->received++;
        const bool is_last = store->received == store->expected;
        if (is_last) {
            memset(store->unit + (store->received - 1) % unit + 1, 0,
                   unit - 1 - (store->received - 1) % unit);
        }
        if ((is_last || store->received % unit == 0) &&
            !program(store, slot_at(store, store->target) + (store->received - 1) / unit * unit,
                     store->unit)) {
            store->expected = 0;
            return STORE_ERR_FLASH;
        }
    }
    return STORE_OK;
}

int store_end(struct store *store)
{
    const uint32_t bytes = store->expected;
    struct manifest manifest = {
        .magic = MAGIC,
        .format = FORMAT,
        .blob_bytes = bytes,
        .number = store->number + 1,
        .counter = store->update_counter,
    };

    if (bytes == 0 || store->received < bytes) {
        return STORE_ERR_ORDER;
    }
    store->expected = 0;
    if (!has_hash(store, store->target, bytes, store->update_hash)) {
        return STORE_ERR_HASH;
    }
    memcpy(manifest.hash, store->update_hash, SHA256_BYTES);
    manifest.crc = crc_of(&manifest);
    for (uint32_t at = 0; at < MANIFEST; at += store->flash->program_bytes) {
        if (!program(store, manifest_at(store, store->target) + at,
                     (const uint8_t *)&manifest + at)) {
            return STORE_ERR_FLASH;
        }
    }
    run_slot(store, store->target, &manifest);
    return STORE_OK;
}
