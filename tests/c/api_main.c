/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public header as a stranger would use and misuse it, on a blob laid by hand from
 * SPEC.md: a 3x3 convolution over an input of 4 rows, 3 pixels and 2 channels.
 */
#include <string.h>

#include "narrows.h"
#include "test.h"

enum {
    HEIGHT = 4,
    WIDTH = 3,
    IN = 2,
    OUT = 3,
    KERNEL = 3,
    TAPS = KERNEL * KERNEL * IN,
    IN_ROW = WIDTH * IN,
    OUT_ROW = WIDTH * OUT,
    IN_ZERO = 5,
    OUT_ZERO = -7,
    SHIFT = -6,
    ARENA = 144,
    RING_AT = 80,  /* of the convolution, if its rows may wrap */
    WRAPPED_AT = 128, /* scratch for its wrapped rows, or the input's */
    WRAPPED_BYTES = 16,
    HEADER = 80,
    TENSOR = 24,
    POOL_AT = (32 + OUT * 12 + OUT * TAPS + 3) / 4 * 4, /* its parameters, behind the weights */
    BLOB_ROOM = 576
};
static const int32_t multiplier = 1518500250;

/* How the blob differs from the ordinary one. */
struct options {
    int streamed;     /* the output goes through an OUTPUT stage and a ring of one row */
    int capacity;     /* of the input's ring, in pixels */
    int strip;        /* columns per firing of the convolution */
    uint32_t output;  /* arena offset of the output's ring */
    int wrapped;      /* capacity of a ring with wrapped rows of the convolution's, which a maximum over 2x2
                         pixels by pixels reads; 0: the convolution gives the output */
    int part;         /* pixels of a row that the input takes at a time */
};
static const struct options ordinary = {0, 3 * WIDTH, WIDTH, 32, 0, WIDTH};
/* The input comes by pixels, and the output stands in the third memory of the arena. */
static const struct options apart = {0, 3 * WIDTH, 1, 0x20000000, 0, WIDTH};

static struct {
    uint8_t bytes[BLOB_ROOM];
    size_t used;
    size_t last_shift; /* of the convolution's channels */
} laid;

static int8_t weights[OUT][KERNEL][KERNEL][IN];
static const int32_t bias[OUT] = {100, -2000, 0};
static int8_t input[HEIGHT][WIDTH][IN];
static int8_t expected[HEIGHT][WIDTH][OUT];
static int8_t expected_pooled[HEIGHT][WIDTH][OUT];

/* --- Laying the blob ------------------------------------------------------------------------ */

static void put(size_t bytes, uint32_t value)
{
    for (; bytes > 0; bytes--, value >>= 8) {
        laid.bytes[laid.used++] = (uint8_t)value;
    }
}

static void put_at(size_t at, uint32_t value)
{
    const size_t used = laid.used;

    laid.used = at;
    put(4, value);
    laid.used = used;
}

static uint32_t crc32(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xFFFFFFFFu;

    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
        }
    }
    return ~crc;
}

static void seal(void)
{
    put_at(72, crc32(laid.bytes + HEADER, laid.used - HEADER));
    put_at(76, crc32(laid.bytes, 76));
}

static void put_tensor(uint32_t offset, int capacity, uint32_t channels, uint32_t producer,
                       uint32_t first_reader, uint32_t reader_count, int32_t zero_point)
{
    put(4, offset);
    put(4, (uint32_t)capacity);
    put(2, HEIGHT);
    put(2, WIDTH);
    put(2, channels);
    put(2, producer);
    put(2, first_reader);
    put(2, reader_count);
    put(1, (uint32_t)zero_point);
    put(1, 0);
    put(1, 1); /* bytes of an element */
    put(1, 0);
}

static void put_stage(enum nrw_op op, uint32_t in, uint32_t out, int strip, uint32_t params,
                      uint32_t scratch_bytes)
{
    put(1, (uint32_t)op);
    put(1, NRW_SINGLE);
    put(1, 0);
    put(1, in != 0xFFFF);
    put(2, out);
    put(2, (uint32_t)strip);
    put(2, in);
    for (int i = 0; i < 3; i++) {
        put(2, 0xFFFF);
    }
    put(4, params);
    put(4, 0);
    put(4, 0);
    put(4, scratch_bytes > 0 ? WRAPPED_AT : 0);
    put(4, scratch_bytes);
}

static void put_geometry(uint32_t kernel)
{
    put(2, kernel);
    put(2, kernel);
    put(4, 0x01010101);
    put(2, 1);
    put(2, 1);
    put(2, (uint32_t)-128);
    put(2, 127);
    put(2, 0); /* no depth multiplier */
    put(2, 1); /* group */
    put(2, 0x0101); /* upsampling strides */
    put(2, 0);
}

static void lay_blob(struct options options)
{
    const uint32_t pools = options.wrapped > 0;
    const uint32_t readers = options.streamed || pools ? 2 : 1;
    const uint32_t stages = readers + 1;
    const uint32_t lists = HEADER + (2 + pools) * TENSOR + stages * 36;
    const uint32_t params = (lists + 2 * readers + 2 + 3) / 4 * 4;
    const uint32_t strip = (uint32_t)options.strip;
    /* Of the convolution, which does the most, and of the engine (SPEC.md, Work). */
    const uint32_t wrapped_bytes = options.capacity % WIDTH > 0 ? WRAPPED_BYTES : 0;
    const uint32_t work = strip * OUT * (TAPS + 1) + wrapped_bytes + stages + 4 * readers;

    laid.used = 0;
    put(4, 0x4257524E);
    put(2, 3);
    put(2, 0);
    put(4, 0); /* blob_bytes, below */
    put(4, 0);
    for (uint32_t i = 0; i < NRW_MEMORIES; i++) {
        put(4, i == 0 || i == options.output >> 28 ? ARENA : 0);
    }
    put(2, 2 + pools);
    put(2, stages);
    put(2, readers);
    put(2, 1);
    put(2, 1);
    put(2, 1);
    put(4, work);
    put(4, HEIGHT * WIDTH * OUT * TAPS);
    put(4, 0);
    put(4, HEIGHT * WIDTH / (uint32_t)options.part + (options.streamed ? HEIGHT : 0u) +
               (1 + pools) * HEIGHT * WIDTH / strip);
    for (int i = 0; i < 5; i++) {
        put(4, 0);
    }
    put_tensor(0, options.capacity, IN, 0, 0, 1, IN_ZERO);
    if (pools) {
        put_tensor(RING_AT, options.wrapped, OUT, 1, 1, 1, OUT_ZERO);
    }
    put_tensor(options.output, options.streamed ? WIDTH : HEIGHT * WIDTH, OUT, 1 + pools, 1 + pools,
               options.streamed ? 1 : 0, OUT_ZERO);
    put_stage(NRW_OP_INPUT, 0xFFFF, 0, options.part, 0, 0);
    put_stage(NRW_OP_CONV, 0, 1, options.strip, params,
              wrapped_bytes);
    if (pools) {
        put_stage(NRW_OP_MAX_POOL, 1, 2, options.strip, params + POOL_AT, WRAPPED_BYTES);
    }
    if (options.streamed) {
        put_stage(NRW_OP_OUTPUT, 1, 0xFFFF, WIDTH, 0, 0);
    }
    for (uint32_t i = 0; i < readers; i++) {
        put(2, i + 1);
    }
    put(2, 1 + pools);
    while (laid.used < params) {
        put(1, 0);
    }
    put_geometry(KERNEL);
    put(4, params + 32 + OUT * 12);
    put(4, params + 32);
    for (int o = 0; o < OUT; o++) {
        int32_t sum = 0;

        for (int k = 0; k < TAPS; k++) {
            sum += (&weights[o][0][0][0])[k];
        }
        put(4, (uint32_t)(bias[o] - IN_ZERO * sum));
        put(4, (uint32_t)multiplier);
        laid.last_shift = laid.used;
        put(4, (uint32_t)SHIFT);
    }
    for (size_t i = 0; i < sizeof weights; i++) {
        put(1, (uint32_t)(&weights[0][0][0][0])[i]);
    }
    while (laid.used % 4 != 0) {
        put(1, 0);
    }
    if (pools) {
        put_geometry(2);
    }
    while (laid.used % 16 != 0) {
        put(1, 0);
    }
    put_at(8, (uint32_t)laid.used);
    seal();
}

/* A copy of it in memory that ends where the blob ends. */
static uint8_t *fresh_blob(struct options options)
{
    uint8_t *blob;

    lay_blob(options);
    blob = test_memory(laid.used, 16);
    memcpy(blob, laid.bytes, laid.used);
    return blob;
}

static void compute_expected(void)
{
    test_fill(&weights[0][0][0][0], sizeof weights);
    test_fill(&input[0][0][0], sizeof input);
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++) {
            for (int o = 0; o < OUT; o++) {
                int64_t sum = bias[o];

                for (int k = 0; k < TAPS; k++) {
                    const int row = y + k / (KERNEL * IN) - 1;
                    const int column = x + k / IN % KERNEL - 1;

                    if (row >= 0 && row < HEIGHT && column >= 0 && column < WIDTH) {
                        sum += (int64_t)(input[row][column][k % IN] - IN_ZERO) *
                               (&weights[o][0][0][0])[k];
                    }
                }
                expected[y][x][o] =
                    (int8_t)reference_output(sum, multiplier, SHIFT, OUT_ZERO, -128, 127);
            }
        }
    }
    for (int i = 0; i < HEIGHT * WIDTH * OUT; i++) {
        int8_t *const most = &expected_pooled[0][0][0] + i;

        *most = -128;
        for (int k = 0; k < 4; k++) {
            const int row = i / OUT_ROW - k / 2;
            const int column = i / OUT % WIDTH - k % 2;

            if (row >= 0 && column >= 0 && expected[row][column][i % OUT] > *most) {
                *most = expected[row][column][i % OUT];
            }
        }
    }
}

/* --- Ordinary use ------------------------------------------------------------------------------ */

static int8_t *start(struct nrw_run *run, struct nrw_model *model, struct options options)
{
    const uint8_t *const blob = fresh_blob(options);
    size_t size;
    int8_t *memory;

    EXPECT_EQUAL(nrw_open(model, blob, laid.used), NRW_OK);
    EXPECT_EQUAL(nrw_verify(model), NRW_OK);
    EXPECT_EQUAL(model->arena_bytes[0], ARENA);
    size = nrw_memory_bytes(model);
    EXPECT_EQUAL(size, nrw_arena_bytes(model) + nrw_progress_bytes(model));
    memory = test_memory(size, 16);
    EXPECT_EQUAL(nrw_start(run, model, memory, size), NRW_OK);
    return memory;
}

static void check_output(const struct nrw_run *run)
{
    const int8_t *const out = nrw_output(run, 0);

    EXPECT(out != NULL && memcmp(out, expected, sizeof expected) == 0);
}

/* One step, with the row pushed that it asks for: from our memory or in place. */
static int advance(struct nrw_run *run, int *pushed)
{
    const int status = nrw_step(run);

    if (status == NRW_NEED_ROW) {
        const int8_t *row = &input[*pushed][0][0];

        EXPECT_EQUAL(nrw_wanted_input(run), 0);
        if (*pushed % 2) {
            row = memcpy(nrw_row_slot(run), row, IN_ROW);
        }
        EXPECT_EQUAL(nrw_push_row(run, row), NRW_OK);
        ++*pushed;
        EXPECT_EQUAL(nrw_tensor_pixels(run, 0), *pushed * WIDTH);
    }
    return status;
}

static void use_steps(struct options options)
{
    const int firings = HEIGHT * WIDTH / options.strip;
    struct nrw_model model;
    struct nrw_run run;
    int pushed = 0;
    int fired = 0;
    int status;

    test_case("step by step, %d pixels at a time", options.strip);
    (void)start(&run, &model, options);
    EXPECT_EQUAL(nrw_last_stage(&run), -1);
    while ((status = advance(&run, &pushed)) != NRW_DONE) {
        EXPECT(status == NRW_OK || status == NRW_NEED_ROW);
        EXPECT(nrw_output(&run, 0) == NULL || fired == firings - 1);
        if (status == NRW_OK) {
            EXPECT_EQUAL(nrw_last_stage(&run), 1);
            const int first = fired * options.strip;

            fired++;
            EXPECT_EQUAL(nrw_tensor_pixels(&run, 1), fired * options.strip);
            EXPECT(nrw_tensor_pixel(&run, 1, fired * options.strip) == NULL);
            EXPECT(memcmp(nrw_tensor_pixel(&run, 1, first), expected[first / WIDTH][first % WIDTH],
                          (size_t)options.strip * OUT) == 0);
        }
    }
    EXPECT_EQUAL(pushed, HEIGHT);
    EXPECT_EQUAL(fired, firings);
    EXPECT_EQUAL(nrw_step(&run), NRW_DONE);
    check_output(&run);
    test_release();
}

static void use_step_by_step(void)
{
    use_steps(ordinary);
    use_steps(apart);
}

/* Every memory in memory of its own, with nothing behind it. */
static void use_memories(void)
{
    struct nrw_block blocks[NRW_MEMORIES + 1] = {{NULL, 0}};
    struct nrw_model model;
    struct nrw_run run;
    int pushed = 0;

    test_case("memories");
    (void)start(&run, &model, apart);
    EXPECT_EQUAL(nrw_arena_bytes(&model), 2 * ARENA);
    blocks[0].bytes = ARENA + nrw_progress_bytes(&model);
    blocks[2].bytes = ARENA;
    for (int i = 0; i < NRW_MEMORIES; i += 2) {
        blocks[i].data = test_memory(blocks[i].bytes, 16);
    }
    EXPECT_EQUAL(nrw_start_memories(&run, &model, blocks, 3), NRW_OK);
    while (advance(&run, &pushed) != NRW_DONE) {
    }
    check_output(&run);
    EXPECT(nrw_output(&run, 0) == blocks[2].data);

    test_case("memories that will not do");
    EXPECT_EQUAL(nrw_start_memories(NULL, &model, blocks, 3), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_start_memories(&run, NULL, blocks, 3), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_start_memories(&run, &model, NULL, 3), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_start_memories(&run, &model, blocks, 0), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_start_memories(&run, &model, blocks, NRW_MEMORIES + 1), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_start_memories(&run, &model, blocks, 2), NRW_ERR_MEMORY);
    blocks[0].bytes--;
    EXPECT_EQUAL(nrw_start_memories(&run, &model, blocks, 3), NRW_ERR_MEMORY);
    blocks[0].bytes++;
    blocks[2].data = (uint8_t *)blocks[2].data + 8;
    EXPECT_EQUAL(nrw_start_memories(&run, &model, blocks, 3), NRW_ERR_MEMORY);
    EXPECT_EQUAL(nrw_step(&run), NRW_ERR_STATE);
    test_release();
}

static void use_again_and_again(void)
{
    for (int steps = 0; steps <= 2 * HEIGHT + 1; steps++) {
        struct nrw_model model;
        struct nrw_run run;
        int8_t *memory;
        int pushed = 0;

        test_case("started anew after %d steps", steps);
        memory = start(&run, &model, ordinary);
        for (int i = 0; i < steps; i++) {
            (void)advance(&run, &pushed);
        }
        EXPECT_EQUAL(nrw_start(&run, &model, memory, nrw_memory_bytes(&model)), NRW_OK);
        pushed = 0;
        while (advance(&run, &pushed) != NRW_DONE) {
        }
        check_output(&run);
        test_release();
    }
}

struct rows {
    int given, taken;
    int stop_at; /* the source returns 1234 there; -1: nowhere */
    int parts;   /* pixels that have been given where they come one by one */
};

static int give_row(void *user, int in, int row, int column, void *pixels, uint32_t bytes)
{
    struct rows *const rows = user;

    EXPECT_EQUAL(in, 0);
    EXPECT_EQUAL(row, rows->given);
    EXPECT_EQUAL(column, 0);
    EXPECT_EQUAL(bytes, IN_ROW);
    if (row == rows->stop_at) {
        return 1234;
    }
    memcpy(pixels, input[rows->given++], IN_ROW);
    return 0;
}

static int give_pixel(void *user, int in, int row, int column, void *pixels, uint32_t bytes)
{
    struct rows *const rows = user;

    EXPECT_EQUAL(in, 0);
    EXPECT_EQUAL(row * WIDTH + column, rows->parts);
    EXPECT(column < WIDTH);
    EXPECT_EQUAL(bytes, IN);
    rows->parts++;
    memcpy(pixels, input[row][column], IN);
    return 0;
}

static int take_row(void *user, int output, int index, const void *row, uint32_t row_bytes)
{
    struct rows *const rows = user;

    EXPECT_EQUAL(output, 0);
    EXPECT_EQUAL(index, rows->taken);
    EXPECT_EQUAL(row_bytes, OUT_ROW);
    EXPECT(memcmp(row, expected[rows->taken++], OUT_ROW) == 0);
    return 0;
}

static void use_the_loop(void)
{
    static const struct options streamed = {1, 3 * WIDTH, WIDTH, 32, 0, WIDTH};
    struct rows rows = {0, 0, -1, 0};
    struct nrw_model model;
    struct nrw_run run;
    const void *row;

    test_case("nrw_run, output held whole");
    (void)start(&run, &model, ordinary);
    EXPECT_EQUAL(nrw_run(&run, give_row, NULL, &rows), NRW_DONE);
    check_output(&run);
    test_release();

    test_case("nrw_run, output by rows");
    rows.given = 0;
    (void)start(&run, &model, streamed);
    EXPECT_EQUAL(nrw_run(&run, give_row, take_row, &rows), NRW_DONE);
    EXPECT_EQUAL(rows.taken, HEIGHT);
    EXPECT(nrw_output(&run, 0) == NULL);
    EXPECT_EQUAL(nrw_take_row(&run, &row, NULL, NULL), NRW_ERR_STATE);
    test_release();

    test_case("nrw_run, stopped by its source and continued");
    rows = (struct rows){0, 0, 2, 0};
    (void)start(&run, &model, ordinary);
    EXPECT_EQUAL(nrw_run(&run, give_row, NULL, &rows), 1234);
    rows.stop_at = -1;
    EXPECT_EQUAL(nrw_run(&run, give_row, NULL, &rows), NRW_DONE);
    check_output(&run);
    test_release();

    test_case("nrw_run without a sink");
    rows = (struct rows){0, 0, -1, 0};
    (void)start(&run, &model, streamed);
    EXPECT_EQUAL(nrw_run(&run, give_row, NULL, &rows), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_run(&run, NULL, NULL, &rows), NRW_ERR_ARGUMENT);
    test_release();
}

/* The end of the convolution's ring lies between pixels of a row. */
static void use_wrapped_rows(void)
{
    for (int capacity = 5; capacity < HEIGHT * WIDTH; capacity += 1 + (capacity % WIDTH == 2)) {
        const struct options wrapped = {0, 3 * WIDTH, 1, 32, capacity, WIDTH};
        struct rows rows = {0, 0, -1, 0};
        struct nrw_model model;
        struct nrw_run run;

        test_case("rows wrapped by a ring of %d pixels", capacity);
        (void)start(&run, &model, wrapped);
        EXPECT_EQUAL(nrw_run(&run, give_row, NULL, &rows), NRW_DONE);
        EXPECT(memcmp(nrw_output(&run, 0), expected_pooled, sizeof expected_pooled) == 0);
        test_release();
    }
}

/* The input comes by pixels, into rings that hold rows, wrap them, or are whole. */
static void use_parts_of_rows(void)
{
    for (int capacity = 3 * WIDTH; capacity <= HEIGHT * WIDTH; capacity++) {
        const struct options parts = {0, capacity, 1, 32, 0, 1};
        struct rows rows = {0, 0, -1, 0};
        struct nrw_tensor_info info;
        struct nrw_model model;
        struct nrw_run run;
        int pushed = 0;
        int status;

        test_case("parts of rows in a ring of %d pixels", capacity);
        (void)start(&run, &model, parts);
        EXPECT_EQUAL(nrw_input_info(&model, 0, &info), NRW_OK);
        EXPECT_EQUAL(info.strip, 1);
        EXPECT_EQUAL(nrw_run(&run, give_pixel, NULL, &rows), NRW_DONE);
        EXPECT_EQUAL(rows.parts, HEIGHT * WIDTH);
        check_output(&run);
        test_release();

        test_case("parts of rows, step by step, a ring of %d pixels", capacity);
        (void)start(&run, &model, parts);
        EXPECT_EQUAL(nrw_due_bytes(&run), 0);
        EXPECT_EQUAL(nrw_push_slot(&run), NRW_ERR_STATE);
        while ((status = nrw_step(&run)) != NRW_DONE) {
            if (status == NRW_NEED_ROW) {
                EXPECT_EQUAL(nrw_due_bytes(&run), IN);
                /* Who knows only whole rows is told, and nothing has happened. */
                EXPECT_EQUAL(nrw_push_row(&run, &input[0][0][0]), NRW_ERR_STATE);
                EXPECT_EQUAL(nrw_tensor_pixels(&run, 0), pushed);
                memcpy(nrw_row_slot(&run), &input[0][0][0] + IN * pushed++, IN);
                EXPECT_EQUAL(nrw_push_slot(&run), NRW_OK);
                EXPECT_EQUAL(nrw_push_slot(&run), NRW_ERR_STATE);
                EXPECT_EQUAL(nrw_due_bytes(&run), 0);
            } else {
                EXPECT_EQUAL(status, NRW_OK);
            }
        }
        EXPECT_EQUAL(pushed, HEIGHT * WIDTH);
        check_output(&run);
        test_release();
    }
}

static void use_information(void)
{
    struct nrw_tensor_info info;
    struct nrw_model model;
    struct nrw_run run;

    test_case("information");
    (void)start(&run, &model, ordinary);
    EXPECT_EQUAL(model.input_count, 1);
    EXPECT_EQUAL(model.output_count, 1);
    EXPECT_EQUAL(nrw_input_info(&model, 0, &info), NRW_OK);
    EXPECT(info.height == HEIGHT && info.width == WIDTH && info.channels == IN);
    EXPECT(info.capacity == 3 * WIDTH && info.row_bytes == IN_ROW && info.zero_point == IN_ZERO);
    EXPECT_EQUAL(info.strip, WIDTH);
    EXPECT_EQUAL(nrw_output_info(&model, 0, &info), NRW_OK);
    EXPECT(info.channels == OUT && info.capacity == HEIGHT * WIDTH && info.zero_point == OUT_ZERO);
    EXPECT_EQUAL(info.element_bytes, 1);
    EXPECT_EQUAL(nrw_stage_op(&model, 1), NRW_OP_CONV);
    EXPECT_EQUAL(nrw_stage_form(&model, 1), NRW_SINGLE);
    EXPECT_EQUAL(nrw_stage_output(&model, 1), 1);
    EXPECT_EQUAL(nrw_layouts(), (1u << NRW_LAYOUT_COUNT) - 1u);
    test_release();
}

/* --- Misuse ------------------------------------------------------------------------------------ */

static void misuse_open(void)
{
    struct nrw_model model;
    uint8_t *blob;

    test_case("nrw_open, wrong arguments");
    blob = fresh_blob(ordinary);
    EXPECT_EQUAL(nrw_open(NULL, blob, laid.used), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_open(&model, NULL, laid.used), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_verify(NULL), NRW_ERR_ARGUMENT);
    for (size_t shift = 1; shift < 16; shift++) {
        uint8_t *const moved = (uint8_t *)test_memory(laid.used + shift, 16) + shift;

        memcpy(moved, laid.bytes, laid.used);
        EXPECT_EQUAL(nrw_open(&model, moved, laid.used), NRW_ERR_ALIGNMENT);
    }
    test_release();

    for (size_t size = 0; size < laid.used; size++) {
        test_case("a blob of %d bytes instead of %d", (int)size, (int)laid.used);
        blob = test_memory(size, 16);
        memcpy(blob, laid.bytes, size);
        EXPECT_EQUAL(nrw_open(&model, blob, size), NRW_ERR_TRUNCATED);
        test_release();
    }
}

static void misuse_blob(void)
{
    enum { INPUT_AT = HEADER, STAGES_AT = HEADER + 2 * TENSOR };
    static const struct {
        size_t at;
        uint8_t value;
        int sealed;
        int status;
    } changes[] = {
        {0, 'X', 1, NRW_ERR_MAGIC},
        {4, 1, 1, NRW_ERR_VERSION},
        {12, 31, 1, NRW_ERR_LAYOUT},
        {16, 0, 0, NRW_ERR_CRC},
        {16, 32, 1, NRW_ERR_STRUCTURE},      /* arena_bytes: less than the rings take */
        {48, 1, 1, NRW_ERR_STRUCTURE},       /* macs: not what the stages compute */
        {68, 1, 1, NRW_ERR_STRUCTURE},       /* reserved */
        {INPUT_AT + 3, 0x10, 1, NRW_ERR_STRUCTURE}, /* a memory of 0 bytes */
        {INPUT_AT + 3, 0x40, 1, NRW_ERR_STRUCTURE}, /* no memory at all */
        {INPUT_AT + 4, 8, 1, NRW_ERR_STRUCTURE},    /* a capacity of no whole firings */
        {INPUT_AT + 12, 0, 1, NRW_ERR_STRUCTURE},   /* a tensor of 0 channels */
        {INPUT_AT + 21, 2, 1, NRW_ERR_STRUCTURE},   /* a persistent tensor: not implemented */
        {INPUT_AT + 22, 2, 1, NRW_ERR_STRUCTURE},   /* elements of 2 bytes: not implemented */
        {STAGES_AT, 99, 1, NRW_ERR_STRUCTURE},      /* an INPUT that is none */
        {STAGES_AT + 36, 99, 1, NRW_ERR_OPERATOR},  /* no such operator */
        {STAGES_AT + 36, 15, 1, NRW_ERR_OPERATOR},  /* one that MOVE has replaced */
        {STAGES_AT + 36 + 1, 1, 1, NRW_ERR_STRUCTURE}, /* a form that CONV does not have */
        {STAGES_AT + 6, 1, 1, NRW_ERR_STRUCTURE},   /* an INPUT by pixels: more firings */
        {STAGES_AT + 6, 2, 1, NRW_ERR_STRUCTURE},   /* an INPUT by 2 pixels of 3 */
        {STAGES_AT + 6, 0, 1, NRW_ERR_STRUCTURE},   /* an INPUT by nothing */
        {STAGES_AT + 36 + 6, 2, 1, NRW_ERR_STRUCTURE}, /* strips of 2 in a width of 3: work */
        {STAGES_AT + 36 + 6, 1, 1, NRW_ERR_STRUCTURE}, /* work of a strip: less than claimed */
    };
    struct nrw_model model;
    uint8_t *blob;

    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        test_case("byte %d of the blob is %d", (int)changes[i].at, changes[i].value);
        lay_blob(ordinary);
        laid.bytes[changes[i].at] = changes[i].value;
        if (changes[i].sealed) {
            seal();
        }
        blob = test_memory(laid.used, 16);
        memcpy(blob, laid.bytes, laid.used);
        EXPECT_EQUAL(nrw_open(&model, blob, laid.used), changes[i].status);
        EXPECT_EQUAL(nrw_verify(&model), NRW_ERR_ARGUMENT);
        EXPECT_EQUAL(nrw_memory_bytes(&model), 0);
        test_release();
    }

    test_case("a weight changed behind the checksum");
    blob = fresh_blob(ordinary);
    blob[laid.used - 12] ^= 1;
    EXPECT_EQUAL(nrw_open(&model, blob, laid.used), NRW_OK);
    EXPECT_EQUAL(nrw_verify(&model), NRW_ERR_CRC);
    test_release();
}

static void misuse_prescale(void)
{
    static const struct {
        uint32_t word;
        int status;
    } changes[] = {
        {0xFFFFFFFF, NRW_OK}, /* a shift of -1 alone */
        {0x100000FF, NRW_OK}, /* and with its prescale */
        {0x000100F3, NRW_OK}, /* -13 */
        {0x0000001E, NRW_OK}, /* 30 */
        {0x080000FF, NRW_ERR_STRUCTURE}, /* -1 with the prescale of -2 */
        {0x100001FF, NRW_ERR_STRUCTURE}, /* a reserved byte */
        {0x1000FFFF, NRW_ERR_STRUCTURE},
        {0x000100F2, NRW_ERR_STRUCTURE}, /* -14 */
        {0x20000000, NRW_ERR_STRUCTURE}, /* 0 */
        {0x40000001, NRW_ERR_STRUCTURE}, /* 1 */
        {0x0000001F, NRW_ERR_STRUCTURE}, /* 31 */
        {0xFFFFFFE0, NRW_ERR_STRUCTURE}, /* -32 */
        {0x000000FF, NRW_ERR_STRUCTURE}, /* 255 */
        {0xFFFF00FF, NRW_ERR_STRUCTURE},
        {0xFFFF0000, NRW_ERR_STRUCTURE},
    };
    struct nrw_model model;
    uint8_t *blob;

    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        test_case("0x%08lx for a shift", (unsigned long)changes[i].word);
        lay_blob(ordinary);
        put_at(laid.last_shift, changes[i].word);
        seal();
        blob = test_memory(laid.used, 16);
        memcpy(blob, laid.bytes, laid.used);
        EXPECT_EQUAL(nrw_open(&model, blob, laid.used), changes[i].status);
        test_release();
    }
}

static void misuse_run(void)
{
    static const struct options too_short = {0, WIDTH, WIDTH, 32, 0, WIDTH};
    struct nrw_run run = {0};
    struct nrw_tensor_info info;
    struct nrw_model model;
    const void *row;
    int8_t *memory;
    size_t size;
    int pushed = 0;
    int status;

    test_case("a run that was never started");
    EXPECT_EQUAL(nrw_step(&run), NRW_ERR_STATE);
    EXPECT_EQUAL(nrw_step(NULL), NRW_ERR_STATE);
    EXPECT_EQUAL(nrw_push_row(&run, &input[0][0][0]), NRW_ERR_STATE);
    EXPECT_EQUAL(nrw_push_slot(&run), NRW_ERR_STATE);
    EXPECT_EQUAL(nrw_due_bytes(&run), 0);
    EXPECT(nrw_output(&run, 0) == NULL);
    EXPECT_EQUAL(nrw_wanted_input(&run), -1);

    test_case("calls out of order");
    memory = start(&run, &model, ordinary);
    size = nrw_memory_bytes(&model);
    EXPECT_EQUAL(nrw_push_row(&run, &input[0][0][0]), NRW_ERR_STATE);
    EXPECT_EQUAL(nrw_take_row(&run, &row, NULL, NULL), NRW_ERR_STATE);
    EXPECT(nrw_row_slot(&run) == NULL);
    EXPECT_EQUAL(nrw_step(&run), NRW_NEED_ROW);
    EXPECT_EQUAL(nrw_step(&run), NRW_NEED_ROW);
    EXPECT_EQUAL(nrw_push_row(&run, NULL), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_take_row(&run, &row, NULL, NULL), NRW_ERR_STATE);
    EXPECT_EQUAL(nrw_push_row(&run, &input[0][0][0]), NRW_OK);
    EXPECT_EQUAL(nrw_push_row(&run, &input[1][0][0]), NRW_ERR_STATE);

    test_case("indices out of range");
    EXPECT(nrw_output(&run, -1) == NULL);
    EXPECT(nrw_output(&run, 1) == NULL);
    EXPECT_EQUAL(nrw_input_info(&model, 1, &info), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_output_info(&model, -1, &info), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_output_tensor(&model, 0), 1);
    EXPECT_EQUAL(nrw_output_tensor(&model, 1), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_output_tensor(&model, -1), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_tensor_info(&model, 2, &info), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_tensor_info(&model, 0, NULL), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_stage_op(&model, 2), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_stage_output(&model, 2), -1);
    EXPECT(nrw_tensor_pixels(&run, 2) < 0);
    EXPECT(nrw_tensor_pixel(&run, 0, -1) == NULL);
    EXPECT(nrw_tensor_pixel(&run, 0, HEIGHT * WIDTH) == NULL);

    test_case("memory that will not do");
    EXPECT_EQUAL(nrw_start(NULL, &model, memory, size), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_start(&run, NULL, memory, size), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_start(&run, &model, NULL, size), NRW_ERR_ARGUMENT);
    EXPECT_EQUAL(nrw_start(&run, &model, memory, size - 1), NRW_ERR_MEMORY);
    EXPECT_EQUAL(nrw_start(&run, &model, memory, 0), NRW_ERR_MEMORY);
    EXPECT_EQUAL(nrw_start(&run, &model, memory + 8, size), NRW_ERR_MEMORY);
    EXPECT_EQUAL(nrw_step(&run), NRW_ERR_STATE);
    test_release();

    test_case("a ring too short for the window");
    (void)start(&run, &model, too_short);
    do {
        status = advance(&run, &pushed);
    } while (status >= 0 && status != NRW_DONE && pushed <= HEIGHT);
    EXPECT_EQUAL(status, NRW_ERR_STALLED);
    EXPECT_EQUAL(nrw_step(&run), NRW_ERR_STALLED);
    test_release();
}

int main(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        {"use step by step", use_step_by_step},
        {"use memories", use_memories},
        {"use again and again", use_again_and_again},
        {"use the loop", use_the_loop},
        {"use wrapped rows", use_wrapped_rows},
        {"use parts of rows", use_parts_of_rows},
        {"use information", use_information},
        {"misuse open", misuse_open},
        {"misuse blob", misuse_blob},
        {"misuse prescales", misuse_prescale},
        {"misuse run", misuse_run},
    };

    compute_expected();
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        tests[i].run();
        test_say("ok %s", tests[i].name);
    }
    return 0;
}
