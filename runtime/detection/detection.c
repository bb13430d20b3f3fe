/* SPDX-License-Identifier: Apache-2.0 */
/* Each operation on floats is the one that TensorFlow Lite's operator does, in its order. Products
 * stand in statements of their own, so that no compiler fuses them with what is added. */
#include "narrows_detection.h"

#include <math.h>

static float real(const struct nrw_reals *tensor, size_t i)
{
    if (!(tensor->scale > 0.0f)) {
        return ((const float *)tensor->values)[i];
    }
    /* Exact but for one rounding, as DEQUANTIZE's product of doubles that becomes a float. */
    return tensor->scale * (float)(((const int8_t *)tensor->values)[i] - tensor->zero_point);
}

/* The part that a box belongs to; *box becomes its number there. */
static const struct nrw_predictions *part_of(const struct nrw_predictions *parts, uint32_t *box)
{
    while (*box >= parts->boxes) {
        *box -= parts->boxes;
        parts++;
    }
    return parts;
}

static float score(const struct nrw_detection *settings, const struct nrw_predictions *parts,
                   uint32_t box, uint32_t class_index)
{
    const struct nrw_predictions *part = part_of(parts, &box);
    size_t width = settings->background + settings->classes;
    return real(&part->scores, box * width + settings->background + class_index);
}

/* --- Decoding ---------------------------------------------------------------------------- */

static float middle(float code, float scale, float size, float place)
{
    double moved = (double)code / (double)scale * (double)size;
    return (float)(moved + (double)place);
}

static float half(float code, float scale, float size)
{
    return (float)(0.5 * exp((double)code / (double)scale) * (double)size);
}

static int decode(const struct nrw_detection *settings, const struct nrw_predictions *parts,
                  uint32_t total, const struct nrw_anchor *anchors, struct nrw_box *boxes)
{
    const float *scale = settings->scale;
    for (uint32_t i = 0; i < total; i++) {
        uint32_t number = i;
        const struct nrw_reals *codes = &part_of(parts, &number)->coordinates;
        size_t at = (size_t)number * settings->box_values;
        const struct nrw_anchor *anchor = &anchors[i];
        float y = middle(real(codes, at), scale[0], anchor->height, anchor->y);
        float x = middle(real(codes, at + 1), scale[1], anchor->width, anchor->x);
        float h = half(real(codes, at + 2), scale[2], anchor->height);
        float w = half(real(codes, at + 3), scale[3], anchor->width);
        struct nrw_box *box = &boxes[i];
        box->top = y - h;
        box->left = x - w;
        box->bottom = y + h;
        box->right = x + w;
        if (box->top >= box->bottom || box->left >= box->right) {
            return NRW_ERR_STRUCTURE;
        }
    }
    return NRW_OK;
}

/* --- Suppression ------------------------------------------------------------------------- */

static float area(const struct nrw_box *box)
{
    float height = box->bottom - box->top, width = box->right - box->left;
    return height * width;
}

static float overlap(float a, float b)
{
    float length = a - b;
    return length < 0.0f ? 0.0f : length;
}

static float intersection_over_union(const struct nrw_box *a, const struct nrw_box *b)
{
    float area_a = area(a), area_b = area(b);
    if (area_a <= 0.0f || area_b <= 0.0f) {
        return 0.0f;
    }
    float top = a->top < b->top ? b->top : a->top;
    float left = a->left < b->left ? b->left : a->left;
    float bottom = b->bottom < a->bottom ? b->bottom : a->bottom;
    float right = b->right < a->right ? b->right : a->right;
    float common = overlap(bottom, top) * overlap(right, left);
    float both = area_a + area_b;
    return common / (both - common);
}

/* Whether box a is better than b: by a higher score, or by a lower number with the same. */
static int is_better(const float *scores, uint32_t a, uint32_t b)
{
    return scores[a] > scores[b] || (!(scores[a] < scores[b]) && a < b);
}

/* Let the heap below `root`, whose children are right, have its worst box at the root. */
static void sift(const float *scores, uint32_t *order, uint32_t root, uint32_t count)
{
    uint32_t moved = order[root], child;
    while ((child = 2 * root + 1) < count) {
        if (child + 1 < count && is_better(scores, order[child], order[child + 1])) {
            child++;
        }
        if (!is_better(scores, moved, order[child])) {
            break;
        }
        order[root] = order[child];
        root = child;
    }
    order[root] = moved;
}

/* Heap sort, the best first: in place, without recursion, and no order is slow. */
static void sort(const float *scores, uint32_t *order, uint32_t count)
{
    for (uint32_t i = count / 2; i > 0; i--) {
        sift(scores, order, i - 1, count);
    }
    for (uint32_t i = count; i > 1; i--) {
        uint32_t worst = order[0];
        order[0] = order[i - 1];
        order[i - 1] = worst;
        sift(scores, order, 0, i - 1);
    }
}

/* Boxes by one score each: order[0] to order[result - 1] become the best that share too much with
 * none better, at most `limit`. */
static uint32_t choose(const struct nrw_detection *settings, const struct nrw_box *boxes,
                       uint32_t total, const float *scores, uint32_t *order, uint32_t limit)
{
    uint32_t left = 0, chosen = 0;
    for (uint32_t i = 0; i < total; i++) {
        if (scores[i] >= settings->score_threshold) {
            order[left++] = i;
        }
    }
    sort(scores, order, left);
    while (chosen < limit && chosen < left) {
        const struct nrw_box *best = &boxes[order[chosen++]];
        uint32_t kept = chosen;
        for (uint32_t i = chosen; i < left; i++) {
            float shared = intersection_over_union(best, &boxes[order[i]]);
            if (!(shared > settings->iou_threshold)) {
                order[kept++] = order[i];
            }
        }
        left = kept;
    }
    return chosen;
}

/* Put a detection behind those that are as good, of which at most `most` are kept. */
static uint32_t insert(struct nrw_detected *found, uint32_t count, uint32_t most,
                       const struct nrw_detected *added)
{
    if (count == most) {
        if (!(added->score > found[count - 1].score)) {
            return count;
        }
        count--;
    }
    uint32_t at = count;
    while (at > 0 && added->score > found[at - 1].score) {
        found[at] = found[at - 1];
        at--;
    }
    found[at] = *added;
    return count + 1;
}

/* Each class by itself; of all that are left the best. */
static uint32_t by_classes(const struct nrw_detection *settings,
                           const struct nrw_predictions *parts, const struct nrw_box *boxes,
                           uint32_t total, float *scores, uint32_t *order,
                           struct nrw_detected *found)
{
    uint32_t count = 0;
    for (uint32_t c = 0; c < settings->classes; c++) {
        for (uint32_t i = 0; i < total; i++) {
            scores[i] = score(settings, parts, i, c);
        }
        uint32_t chosen =
            choose(settings, boxes, total, scores, order, settings->detections_per_class);
        for (uint32_t i = 0; i < chosen; i++) {
            struct nrw_detected added = { boxes[order[i]], scores[order[i]], c };
            count = insert(found, count, settings->max_detections, &added);
        }
    }
    return count;
}

static uint32_t categories(const struct nrw_detection *settings)
{
    uint32_t most = settings->max_classes_per_detection;
    return most < settings->classes ? most : settings->classes;
}

/* Each box by its best class; what is left has its best classes, one detection for each. */
static uint32_t by_boxes(const struct nrw_detection *settings,
                         const struct nrw_predictions *parts, const struct nrw_box *boxes,
                         uint32_t total, float *scores, uint32_t *order,
                         struct nrw_detected *found)
{
    for (uint32_t i = 0; i < total; i++) {
        float best = score(settings, parts, i, 0);
        for (uint32_t c = 1; c < settings->classes; c++) {
            float other = score(settings, parts, i, c);
            best = other > best ? other : best;
        }
        scores[i] = best;
    }
    uint32_t chosen = choose(settings, boxes, total, scores, order, settings->max_detections);
    uint32_t each = categories(settings), count = 0;
    for (uint32_t i = 0; i < chosen; i++) {
        struct nrw_detected *first = &found[count];
        uint32_t listed = 0;
        for (uint32_t c = 0; c < settings->classes; c++) {
            struct nrw_detected added = { boxes[order[i]], 0.0f, c };
            added.score = score(settings, parts, order[i], c);
            listed = insert(first, listed, each, &added);
        }
        count += each;
    }
    return count;
}

/* --- The interface ----------------------------------------------------------------------- */

static int is_settled(const struct nrw_detection *s)
{
    int counts = s->classes >= 1 && s->classes <= NRW_MAX_CLASSES && s->background <= 1 &&
                 s->max_detections >= 1 && s->max_detections <= NRW_MAX_CLASSES &&
                 s->max_classes_per_detection >= 1 && s->detections_per_class >= 1 &&
                 s->box_values >= 4 && s->box_values <= NRW_MAX_CLASSES;
    return counts && s->iou_threshold > 0.0f && s->iou_threshold <= 1.0f &&
           s->scale[0] > 0.0f && s->scale[1] > 0.0f && s->scale[2] > 0.0f && s->scale[3] > 0.0f;
}

/* Boxes of all parts; 0 if a part is out of range. */
static uint32_t count_boxes(const struct nrw_predictions *parts, uint32_t count, int with_codes)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct nrw_predictions *part = &parts[i];
        int there = part->scores.values != NULL && (!with_codes || part->coordinates.values != NULL);
        if (!there || part->boxes == 0 || part->boxes > NRW_MAX_BOXES - total) {
            return 0;
        }
        total += part->boxes;
    }
    return total;
}

uint32_t nrw_detection_room(const struct nrw_detection *settings)
{
    uint32_t each = settings->is_regular ? 1 : categories(settings);
    return settings->max_detections * each;
}

size_t nrw_detection_scratch_bytes(uint32_t boxes)
{
    return boxes * sizeof(struct nrw_box) + nrw_suppress_scratch_bytes(boxes);
}

size_t nrw_suppress_scratch_bytes(uint32_t boxes)
{
    return boxes * (sizeof(float) + sizeof(uint32_t));
}

int nrw_suppress(const struct nrw_detection *settings, const struct nrw_predictions *parts,
                 uint32_t count, const struct nrw_box *boxes, void *scratch,
                 size_t scratch_bytes, struct nrw_detected *found, uint32_t room)
{
    if (settings == NULL || parts == NULL || boxes == NULL || scratch == NULL || found == NULL ||
        !is_settled(settings)) {
        return NRW_ERR_ARGUMENT;
    }
    uint32_t total = count_boxes(parts, count, 0);
    if (total == 0) {
        return NRW_ERR_ARGUMENT;
    }
    if ((uintptr_t)scratch % sizeof(float) != 0 ||
        scratch_bytes < nrw_suppress_scratch_bytes(total) || room < nrw_detection_room(settings)) {
        return NRW_ERR_MEMORY;
    }
    float *scores = scratch;
    uint32_t *order = (uint32_t *)(scores + total);
    uint32_t (*way)(const struct nrw_detection *, const struct nrw_predictions *,
                    const struct nrw_box *, uint32_t, float *, uint32_t *, struct nrw_detected *);
    way = settings->is_regular ? by_classes : by_boxes;
    return (int)way(settings, parts, boxes, total, scores, order, found);
}

int nrw_detect(const struct nrw_detection *settings, const struct nrw_predictions *parts,
               uint32_t count, const struct nrw_anchor *anchors, void *scratch,
               size_t scratch_bytes, struct nrw_detected *found, uint32_t room)
{
    if (settings == NULL || parts == NULL || anchors == NULL || scratch == NULL ||
        !is_settled(settings)) {
        return NRW_ERR_ARGUMENT;
    }
    uint32_t total = count_boxes(parts, count, 1);
    if (total == 0) {
        return NRW_ERR_ARGUMENT;
    }
    if ((uintptr_t)scratch % sizeof(float) != 0 ||
        scratch_bytes < nrw_detection_scratch_bytes(total)) {
        return NRW_ERR_MEMORY;
    }
    struct nrw_box *boxes = scratch;
    int status = decode(settings, parts, total, anchors, boxes);
    if (status != NRW_OK) {
        return status;
    }
    return nrw_suppress(settings, parts, count, boxes, boxes + total,
                        scratch_bytes - total * sizeof(struct nrw_box), found, room);
}
