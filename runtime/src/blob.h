/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_BLOB_H
#define NARROWS_BLOB_H

#include "work.h"

/* Check all that nrw_open checks but the header's macs, max_step_work and firings, and compute
 * these. blob: 16-byte aligned. Returns NRW_OK or an error, whose place is model->error_at. */
NRW_COLD int nrw_check(struct nrw_model *model, const void *blob, size_t size, struct nrw_total *total);

#endif
