/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests about the model in flash.
 */
#include "port.h"
#include "requests.h"

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
    const struct store *store = &server.store;

    run_end();
    server.held_set = 0;
    server.model = (struct nrw_model){0};
    server.model_status = store->model != NULL
                              ? open_blob(&server.model, store->model, store->update->bytes)
                              : LINK_ERR_NO_MODEL;
}

void model_begin(void)
{
    store_open(&server.store, port_flash(), NULL);
    take_model();
}

int on_model(struct request *request)
{
    static const struct store_update none;
    const struct store_update *update =
        server.store.update != NULL ? server.store.update : &none;

    put32(request, server.model.error_at);
    put32(request, update->bytes);
    put32(request, server.store.counter);
    put_bytes(request, update->hash, sizeof update->hash);
    put32(request, (uint32_t)nrw_arena_bytes(&server.model));
    put32(request, (uint32_t)nrw_memory_bytes(&server.model));
    put16(request, server.model.stage_count);
    put16(request, server.model.input_count);
    put16(request, server.model.output_count);
    put_bytes(request, update->name, sizeof update->name);
    return server.model_status;
}

int on_blob_begin(struct request *request)
{
    const uint8_t *had = server.store.model;
    struct store_update update;

    memcpy(&update, request->payload, sizeof update);
    const int status = store_begin(&server.store, &update);
    if (server.store.model != had) {
        take_model();
    }
    put32(request, status == STORE_OK ? server.store.received : 0);
    return link_status(status);
}

int on_blob_data(struct request *request)
{
    const uint32_t offset = nrw_load32(request->payload);
    const uint8_t *bytes = request->payload + 4;
    const uint32_t count = request->bytes - 4;
    const uint32_t expected = store_expected(&server.store);
    int result;

    if (expected == 0) {
        return LINK_ERR_UPLOAD;
    }
    if (count > expected || offset > expected - count) {
        result = NRW_ERR_ARGUMENT;
    } else if (offset > server.store.received) {
        result = LINK_ERR_GAP;
    } else {
        result = link_status(store_write(&server.store, offset, bytes, count));
    }
    put32(request, server.store.received);
    return result;
}

/* What would not run is refused here, while the model before it still runs. */
int on_blob_end(struct request *request)
{
    const uint32_t expected = store_expected(&server.store);
    struct nrw_model model = {0};
    const uint8_t *blob = NULL;

    if (expected == 0) {
        return LINK_ERR_UPLOAD;
    }
    if (server.store.received < expected) {
        put32(request, server.store.received);
        return LINK_ERR_GAP;
    }
    int result = link_status(store_check(&server.store, &blob));
    if (result == NRW_OK) {
        result = open_blob(&model, blob, expected);
    }
    put32(request, model.error_at);
    if (result != NRW_OK) {
        store_drop(&server.store);
        return result;
    }
    result = link_status(store_commit(&server.store));
    take_model();
    return result;
}
