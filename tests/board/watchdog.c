/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A watchdog that counts steps instead of time: one that was not fed since the step before is a
 * fault. Linked with --wrap=nrw_step. With HUNGRY the food comes to nothing.
 */
#include "narrows.h"
#include "port.h"

int __wrap_nrw_step(struct nrw_run *run);
int __real_nrw_step(struct nrw_run *run);

static int fed;

void port_watchdog_feed(void)
{
#ifndef HUNGRY
    fed = 1;
#endif
}

int __wrap_nrw_step(struct nrw_run *run)
{
    if (!fed) {
        __builtin_trap();
    }
    fed = 0;
    return __real_nrw_step(run);
}
