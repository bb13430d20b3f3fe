/* SPDX-License-Identifier: Apache-2.0 */
/* Boxes of detectors: what is computed from int8 and from floats, in one part and in several, is the
 * same; ties, limits, and arguments out of range. TensorFlow Lite Micro's bits are for Python's tests. */
#include <string.h>

#include "narrows_detection.h"
#include "test.h"

enum { CLASSES = 3, COLUMNS = CLASSES + 1, MOST_BOXES = 40, ROOM = 12 };

static const struct nrw_detection ordinary = {
    CLASSES, 1, 4, 6, 2, 4, 0, 0.25f, 0.5f, {10.0f, 10.0f, 5.0f, 5.0f},
};
static struct nrw_anchor anchors[MOST_BOXES];
static int8_t codes[MOST_BOXES][4], scores[MOST_BOXES][COLUMNS];
static float real_codes[MOST_BOXES][4], real_scores[MOST_BOXES][COLUMNS];

static int same(const struct nrw_detected *a, const struct nrw_detected *b, int count)
{
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

static void draw(uint32_t boxes)
{
    test_fill(codes[0], sizeof codes);
    test_fill(scores[0], sizeof scores);
    for (uint32_t i = 0; i < boxes; i++) {
        anchors[i].y = (float)test_between(0, 16) / 16.0f;
        anchors[i].x = (float)test_between(0, 16) / 16.0f;
        anchors[i].height = (float)test_between(1, 8) / 8.0f;
        anchors[i].width = (float)test_between(1, 8) / 8.0f;
        for (int j = 0; j < 4; j++) {
            real_codes[i][j] = 0.0625f * (float)(codes[i][j] - 7);
        }
        for (int j = 0; j < COLUMNS; j++) {
            real_scores[i][j] = (float)(scores[i][j] + 128) / 256.0f;
        }
    }
}

/* Parts of int8 and of floats give the same as one of floats, with scratch to the byte. */
static void test_parts(void)
{
    for (int i = 0; i < 200; i++) {
        uint32_t boxes = (uint32_t)test_between(2, MOST_BOXES);
        uint32_t first = (uint32_t)test_between(1, (int32_t)boxes - 1);
        struct nrw_detection settings = ordinary;
        settings.is_regular = (uint32_t)test_between(0, 1);
        settings.max_detections = (uint32_t)test_between(1, 6);
        test_case("boxes %d, first part %d, regular %d", (int)boxes, (int)first,
                  (int)settings.is_regular);
        draw(boxes);
        const struct nrw_predictions whole = {
            boxes, {real_codes, 0.0f, 0}, {real_scores, 0.0f, 0},
        };
        const struct nrw_predictions parts[] = {
            {first, {codes, 0.0625f, 7}, {scores, 1.0f / 256.0f, -128}},
            {boxes - first, {real_codes[first], 0.0f, 0}, {real_scores[first], 0.0f, 0}},
        };
        size_t bytes = nrw_detection_scratch_bytes(boxes);
        uint32_t room = nrw_detection_room(&settings);
        struct nrw_detected *found[2];
        int counts[2];
        for (int way = 0; way < 2; way++) {
            found[way] = test_memory(room * sizeof **found, 4);
            counts[way] = nrw_detect(&settings, way ? parts : &whole, way ? 2 : 1, anchors,
                                     test_memory(bytes, 4), bytes, found[way], room);
        }
        EXPECT(counts[0] >= 0);
        EXPECT_EQUAL(counts[1], counts[0]);
        EXPECT(same(found[0], found[1], counts[0]));
        for (int n = 1; settings.is_regular && n < counts[0]; n++) {
            EXPECT(found[0][n - 1].score >= found[0][n].score);
        }
        test_release();
    }
}

/* Of equal scores the first counts, and touching boxes are two. */
static void test_ties(void)
{
    static const struct nrw_box boxes[] = {
        {0.0f, 0.0f, 0.5f, 0.5f}, {0.0f, 0.0f, 0.5f, 0.5f}, {0.0f, 0.5f, 0.5f, 1.0f},
    };
    static const float sure[3][1] = {{0.5f}, {0.5f}, {0.75f}};
    const struct nrw_predictions part = {3, {NULL, 0.0f, 0}, {sure, 0.0f, 0}};
    struct nrw_detection settings = ordinary;
    struct nrw_detected found[ROOM];
    float scratch[6];
    settings.classes = 1;
    settings.background = 0;
    for (settings.is_regular = 0; settings.is_regular < 2; settings.is_regular++) {
        EXPECT_EQUAL(nrw_suppress(&settings, &part, 1, boxes, scratch, sizeof scratch, found, ROOM),
                     2);
        EXPECT(found[0].box.left > 0.25f && found[0].score > 0.7f);
        EXPECT(found[1].box.left < 0.25f && found[1].class_index == 0);
    }
}

static void test_arguments(void)
{
    const struct nrw_predictions part = {4, {real_codes, 0.0f, 0}, {real_scores, 0.0f, 0}};
    struct nrw_predictions none = part;
    struct nrw_detected found[ROOM];
    float scratch[24];
    struct nrw_detection wrong[7];

    draw(4);
    EXPECT_EQUAL(nrw_detection_scratch_bytes(4), sizeof scratch);
    EXPECT_EQUAL(nrw_detection_room(&ordinary), ROOM);
    EXPECT(nrw_detect(&ordinary, &part, 1, anchors, scratch, sizeof scratch, found, ROOM) >= 0);
    EXPECT_EQUAL(nrw_detect(&ordinary, &part, 1, anchors, scratch, sizeof scratch - 1, found, ROOM),
                 NRW_ERR_MEMORY);
    EXPECT_EQUAL(nrw_detect(&ordinary, &part, 1, anchors, scratch, sizeof scratch, found, ROOM - 1),
                 NRW_ERR_MEMORY);
    EXPECT_EQUAL(nrw_detect(&ordinary, &part, 1, anchors, scratch, sizeof scratch, NULL, ROOM),
                 NRW_ERR_ARGUMENT);
    none.boxes = 0;
    EXPECT_EQUAL(nrw_detect(&ordinary, &none, 1, anchors, scratch, sizeof scratch, found, ROOM),
                 NRW_ERR_ARGUMENT);
    none.boxes = NRW_MAX_BOXES + 1;
    EXPECT_EQUAL(nrw_detect(&ordinary, &none, 1, anchors, scratch, sizeof scratch, found, ROOM),
                 NRW_ERR_ARGUMENT);
    for (int i = 0; i < 7; i++) {
        wrong[i] = ordinary;
    }
    wrong[0].classes = 0;
    wrong[1].background = 2;
    wrong[2].box_values = 3;
    wrong[3].iou_threshold = 0.0f;
    wrong[4].scale[3] = 0.0f;
    wrong[5].max_detections = NRW_MAX_CLASSES + 1;
    wrong[6].detections_per_class = 0;
    for (int i = 0; i < 7; i++) {
        test_case("wrong %d", i);
        EXPECT_EQUAL(nrw_detect(&wrong[i], &part, 1, anchors, scratch, sizeof scratch, found, ROOM),
                     NRW_ERR_ARGUMENT);
    }
    anchors[2].width = 0.0f;
    EXPECT_EQUAL(nrw_detect(&ordinary, &part, 1, anchors, scratch, sizeof scratch, found, ROOM),
                 NRW_ERR_STRUCTURE);
}

int main(void)
{
    test_parts();
    test_ties();
    test_arguments();
    test_say("boxes are found");
    platform_exit(0);
    return 0;
}
