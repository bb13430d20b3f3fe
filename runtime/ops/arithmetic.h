/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arithmetic of two operands, which ELEMENTWISE, MATMUL and the residual of a BOTTLENECK share.
 */
#ifndef NARROWS_ARITHMETIC_H
#define NARROWS_ARITHMETIC_H

#include "../kernels/elementwise.h"
#include "../src/format.h"

NRW_COLD int nrw_check_arithmetic(struct nrw_model *model, const struct nrw_elementwise_params *params);

/* All of a kernel's operator but the zero points. */
void nrw_elementwise_op_of(struct nrw_elementwise_op *op,
                           const struct nrw_elementwise_params *params);

/* The operator of a stage of two inputs that has such parameters. */
void nrw_arithmetic_of(struct nrw_elementwise_op *op, const struct nrw_model *model,
                       const struct nrw_stage *stage);

#endif
