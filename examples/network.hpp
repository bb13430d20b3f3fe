// SPDX-License-Identifier: Apache-2.0
// A network in C++11, without heap, exceptions or C++'s library: the memory is a part of the object, of
// as many bytes as `narrows embed` says.
#ifndef NETWORK_HPP
#define NETWORK_HPP

#include <stddef.h>
#include <stdint.h>

#include "narrows.h"

template <size_t MemoryBytes>
class Network {
public:
    // blob: 16-byte aligned, and there as long as the object.
    Network(const uint8_t *blob, size_t bytes) noexcept
        : status_(nrw_open(&model_, blob, bytes))
    {
        if (status_ == NRW_OK) {
            status_ = nrw_verify(&model_);
        }
    }
    Network(const Network &) = delete; // The run points to the memory.
    Network &operator=(const Network &) = delete;

    // NRW_OK, or why the last call failed.
    int status() const noexcept { return status_; }

    // Runs once. read_row(int8_t *to, uint32_t bytes) gives the next row.
    // Returns the elements of output 0, which stay until the next run; nullptr: see status().
    template <typename ReadRow>
    const int8_t *run(ReadRow read_row) noexcept
    {
        if (status_ == NRW_OK) {
            status_ = nrw_start(&run_, &model_, memory_, sizeof memory_);
        }
        while (status_ >= 0 && status_ != NRW_DONE) {
            status_ = nrw_step(&run_);
            if (status_ == NRW_NEED_ROW) {
                read_row(static_cast<int8_t *>(nrw_row_slot(&run_)), nrw_due_bytes(&run_));
                status_ = nrw_push_slot(&run_);
            }
        }
        if (status_ != NRW_DONE) {
            return nullptr;
        }
        status_ = NRW_OK;
        return static_cast<const int8_t *>(nrw_output(&run_, 0));
    }

private:
    struct nrw_model model_;
    struct nrw_run run_; // `struct`, because there is a function of that name, too
    alignas(16) uint8_t memory_[MemoryBytes];
    int status_;
};

#endif
