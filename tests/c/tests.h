/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NARROWS_TESTS_H
#define NARROWS_TESTS_H

/* Random cases per kernel. */
#ifndef TEST_CASES
#define TEST_CASES 600
#endif

void test_rounding(void);
void test_conv(void);
void test_depthwise(void);
void test_fold(void);
void test_elementwise(void);
void test_pool(void);
void test_softmax(void);
void test_matmul(void);
void test_move(void);
void test_resize(void);

#endif
