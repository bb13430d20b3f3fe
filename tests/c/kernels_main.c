/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every variant of every kernel against a plain definition of its arithmetic.
 */
#include "test.h"
#include "tests.h"

int main(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        {"rounding", test_rounding}, {"conv", test_conv},
        {"depthwise", test_depthwise}, {"fold", test_fold},
        {"elementwise", test_elementwise},
        {"pool", test_pool}, {"softmax", test_softmax},
        {"matmul", test_matmul},
        {"move", test_move}, {"resize", test_resize},
    };

    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        tests[i].run();
        test_say("ok %s", tests[i].name);
    }
    return 0;
}
