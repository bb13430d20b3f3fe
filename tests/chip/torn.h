/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Units that the power's end has left without a right code, where the flash has one.
 */
#ifndef TORN_H
#define TORN_H

#include "model.h"

/* Given by the model: the unit at the offset is torn from now on. */
void model_tear(uint32_t offset);
/* Given by the model: the core reads here. Returns whether that is an NMI or a bus fault. */
bool model_touch(uint32_t offset);

#endif
