/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests about the model in flash.
 */
#include "board.h"
#include "ed25519.h"
#include "port.h"
#include "requests.h"

#ifdef BOARD_PUBLIC_KEY
/* Whether the blob, its length and its counter are what the firmware's key has signed (runtime/SPEC.md, Signed
 * blob files). The arena is lent for it. */
static bool is_signed(const struct store_update *update)
{
    static const uint8_t key[] = {BOARD_PUBLIC_KEY};
    uint8_t message[16 + SHA256_BYTES] = "NRWSIGN1";
    struct ed25519_scratch *scratch = spare_memory(sizeof *scratch);

    nrw_store32(nrw_store32(message + 8, update->bytes), update->counter);
    memcpy(message + 16, update->hash, SHA256_BYTES);
    return scratch != NULL &&
           ed25519_verify(update->signature, key, message, sizeof message, scratch);
}
#define TRUST is_signed
#else
#define TRUST NULL
#endif

static int link_status(int status)
{
    static const int8_t link[] = {
        [-STORE_OK] = NRW_OK,
        [-STORE_ERR_SIZE] = LINK_ERR_SIZE,
        [-STORE_ERR_OLDER] = LINK_ERR_OLDER,
        [-STORE_ERR_ORDER] = LINK_ERR_UPLOAD,
        [-STORE_ERR_FLASH] = LINK_ERR_FLASH,
        [-STORE_ERR_HASH] = LINK_ERR_HASH,
        [-STORE_ERR_UNTRUSTED] = LINK_ERR_UNTRUSTED,
    };

    return link[-status];
}

static int open_blob(struct nrw_model *model, const uint8_t *blob, uint32_t bytes)
{
    const int status = nrw_open(model, blob, bytes);

    return status == NRW_OK ? nrw_verify(model) : status;
}

/* The model is what the store has. */
static void take_model(void)
{
    const struct store *store = &server_store;

    run_end();
    server.held_set = 0;
    server.remembers = false;
    server_model = (struct nrw_model){0};
    server.model_status = store->model != NULL
                              ? open_blob(&server_model, store->model, store->update->bytes)
                              : LINK_ERR_NO_MODEL;
}

void model_begin(void)
{
    store_open(&server_store, port_flash(), TRUST);
    take_model();
}

int on_model(struct request *request)
{
    struct store_update update = {0};

    if (server_store.update != NULL) {
        update = *server_store.update;
    }
    put32(request, server_model.error_at);
    put32(request, update.bytes);
    put32(request, server_store.counter);
    put_bytes(request, update.hash, sizeof update.hash);
    put32(request, (uint32_t)nrw_arena_bytes(&server_model));
    put32(request, (uint32_t)nrw_memory_bytes(&server_model));
    put16(request, server_model.stage_count);
    put16(request, server_model.input_count);
    put16(request, server_model.output_count);
    put_bytes(request, update.name, sizeof update.name);
    return server.model_status;
}

int on_blob_begin(struct request *request)
{
    const uint8_t *had = server_store.model;
    struct store_update update;

    memcpy(&update, request->payload, sizeof update);
    const int status = store_begin(&server_store, &update);
    if (server_store.model != had) {
        take_model();
    }
    put32(request, status == STORE_OK ? server_store.received : 0);
    return link_status(status);
}

int on_blob_data(struct request *request)
{
    const uint32_t offset = nrw_load32(request->payload);
    const uint8_t *bytes = request->payload + 4;
    const uint32_t count = request->bytes - 4;
    const uint32_t expected = store_expected(&server_store);
    int result;

    if (expected == 0) {
        return LINK_ERR_UPLOAD;
    }
    if (count > expected || offset > expected - count) {
        result = NRW_ERR_ARGUMENT;
    } else if (offset > server_store.received) {
        result = LINK_ERR_GAP;
    } else {
        result = link_status(store_write(&server_store, offset, bytes, count));
    }
    put32(request, server_store.received);
    return result;
}

/* What would not run is refused here, while the model before it still runs. An update that has become the
 * model already was so by a request whose answer was lost. */
int on_blob_end(struct request *request)
{
    const uint32_t expected = store_expected(&server_store);
    struct nrw_model model = {0};
    const uint8_t *blob = NULL;

    if (expected == 0 && server_store.update != NULL &&
        memcmp(server_store.update->hash, request->payload, SHA256_BYTES) == 0) {
        put32(request, server_model.error_at);
        return server.model_status;
    }
    if (expected == 0) {
        return LINK_ERR_UPLOAD;
    }
    if (server_store.received < expected) {
        put32(request, server_store.received);
        return LINK_ERR_GAP;
    }
    int result = link_status(store_check(&server_store, &blob));
    if (result == NRW_OK) {
        result = open_blob(&model, blob, expected);
    }
    put32(request, model.error_at);
    if (result != NRW_OK) {
        store_drop(&server_store);
        return result;
    }
    result = link_status(store_commit(&server_store));
    take_model();
    return result;
}
