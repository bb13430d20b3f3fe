/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the place of a QEMU that is not installed: what cycles.c asks of it, for one block of two
 * instructions that is executed three times.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct qemu_plugin_insn {
    uint8_t code[4];
    size_t size;
    uint64_t address;
};

struct qemu_plugin_tb {
    size_t count;
    struct qemu_plugin_insn insns[2];
};

extern int qemu_plugin_version;
int qemu_plugin_install(uint64_t id, const void *info, int count, char **arguments);

static void (*translate)(uint64_t id, struct qemu_plugin_tb *tb);
static void (*execute)(unsigned core, void *data);
static void (*end)(uint64_t id, void *data);
static void *execute_data, *end_data;

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb)
{
    return tb->count;
}

const struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
                                                       size_t index)
{
    return &tb->insns[index];
}

size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn)
{
    return insn->size;
}

uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn)
{
    return insn->address;
}

#if PLUGIN_VERSION < 3
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn)
{
    return insn->code;
}
#else
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *code, size_t room)
{
    const size_t count = insn->size < room ? insn->size : room;

    memcpy(code, insn->code, count);
    return count;
}
#endif

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*callback)(uint64_t id,
                                                                       struct qemu_plugin_tb *tb))
{
    (void)id;
    translate = callback;
}

void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
                                          void (*callback)(unsigned core, void *data), int flags,
                                          void *data)
{
    (void)tb;
    (void)flags;
    execute = callback;
    execute_data = data;
}

void qemu_plugin_register_atexit_cb(uint64_t id, void (*callback)(uint64_t id, void *data),
                                    void *data)
{
    (void)id;
    end = callback;
    end_data = data;
}

int main(int count, char **arguments)
{
    struct qemu_plugin_tb tb = {
        2, {{{0x07, 0x21, 0, 0}, 2, 4}, {{0x70, 0x47, 0, 0}, 2, 6}}, /* movs r1, #7; bx lr */
    };

    if (qemu_plugin_version != PLUGIN_VERSION ||
        qemu_plugin_install(1, NULL, count - 1, arguments + 1) != 0) {
        return 1;
    }
    translate(1, &tb);
    for (int i = 0; i < 3; i++) {
        execute(0, execute_data);
    }
    end(1, end_data);
    return 0;
}
