/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a detector's outputs mean: boxes decoded by their anchors, and non-maximum suppression, as
 * TensorFlow Lite's operator TFLite_Detection_PostProcess does them, to the same bits where exp()
 * is the same.
 *
 * This is no part of the runtime: it computes in floating point and needs libm's exp. Link it
 * (CMake target narrows::detection) where the board itself has to know the boxes. There is no
 * malloc: the caller gives scratch, and nrw_detection_scratch_bytes says how much.
 *
 *     found = nrw_detect(&settings, parts, 1, anchors, scratch, sizeof scratch, boxes, 10);
 */
#ifndef NARROWS_DETECTION_H
#define NARROWS_DETECTION_H

#include <stddef.h>
#include <stdint.h>

#include "narrows.h"

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* The most boxes that a network may predict, and the most classes or detections asked for. */
#define NRW_MAX_BOXES 0x100000
#define NRW_MAX_CLASSES 0xFFFF

/* A tensor: int8 values, real = scale * (q - zero_point), or float values if scale is 0. */
struct nrw_reals {
    const void *values;
    float scale;
    int32_t zero_point;      /* -128 to 255 */
};

/* What a network predicts of a run of boxes. Those of all parts together, one part behind the
 * other, are the boxes that the anchors stand for. */
struct nrw_predictions {
    uint32_t boxes;                  /* 1 or more */
    struct nrw_reals coordinates;    /* [boxes][box_values]: y, x, height, width, encoded */
    struct nrw_reals scores;         /* [boxes][background + classes] */
};

/* The operator's parameters; numbers are those of its options of the same name. */
struct nrw_detection {
    uint32_t classes;                    /* num_classes, 1 to NRW_MAX_CLASSES, no background */
    uint32_t background;                 /* 1 if column 0 of the scores is the background, else 0 */
    uint32_t box_values;                 /* values of a box, 4 or more; the first four count */
    uint32_t max_detections;             /* 1 to NRW_MAX_CLASSES */
    uint32_t max_classes_per_detection;  /* 1 or more; of fast suppression */
    uint32_t detections_per_class;       /* 1 or more; of regular suppression */
    uint32_t is_regular;                 /* use_regular_nms: each class by itself; 0: fast, each
                                          * box by its best class */
    float score_threshold;               /* a box with a lower score is none */
    float iou_threshold;                 /* above 0, at most 1: a box that shares more with a better
                                          * one (intersection over union) is none */
    float scale[4];                      /* y_scale, x_scale, h_scale, w_scale, above 0 */
};

/* Shares of the picture's height and width: 0 is its top or left, 1 its bottom or right. */
struct nrw_box {
    float top, left, bottom, right;
};

/* An anchor: where its middle is, and its size, as shares of the picture. */
struct nrw_anchor {
    float y, x, height, width;
};

/* What nrw_detect and nrw_suppress give. */
struct nrw_detected {
    struct nrw_box box;
    float score;             /* real, as the network gives it */
    uint32_t class_index;    /* 0 is the first class behind the background */
};

/* Detections that nrw_detect may give: the room that it wants. */
uint32_t nrw_detection_room(const struct nrw_detection *settings);

/* Bytes of scratch, 24 for each box of all parts; nrw_suppress takes 8 of them. */
size_t nrw_detection_scratch_bytes(uint32_t boxes);
size_t nrw_suppress_scratch_bytes(uint32_t boxes);

/* Decode and suppress: the whole operator.
 *
 * anchors: one for each box. scratch: aligned to 4 bytes. found: the best first; room: of it, at
 * least nrw_detection_room.
 *
 * Returns how many are found, or: NRW_ERR_ARGUMENT: a parameter is out of range. NRW_ERR_MEMORY:
 * scratch is too small or not aligned, or found has too little room. NRW_ERR_STRUCTURE: a decoded
 * box has no extent (TensorFlow Lite refuses such predictions, too). */
int nrw_detect(const struct nrw_detection *settings, const struct nrw_predictions *parts,
               uint32_t count, const struct nrw_anchor *anchors, void *scratch,
               size_t scratch_bytes, struct nrw_detected *found, uint32_t room);

/* Suppression alone, of boxes that were decoded otherwise, whose coordinates in parts are not read;
 * a box without extent shares nothing with others. Rest as nrw_detect. */
int nrw_suppress(const struct nrw_detection *settings, const struct nrw_predictions *parts,
                 uint32_t count, const struct nrw_box *boxes, void *scratch,
                 size_t scratch_bytes, struct nrw_detected *found, uint32_t room);

/* cffi: end */

#ifdef __cplusplus
}
#endif
#endif
