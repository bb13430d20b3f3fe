/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_CRC32_H
#define NARROWS_CRC32_H

#include <stdint.h>

/* CRC-32 of zlib and Ethernet (reflected 0xEDB88320, initial and final ~0). */
uint32_t nrw_crc32(const uint8_t *bytes, uint32_t count);

#endif
