# SPDX-License-Identifier: Apache-2.0
"""Detectors: boxes to TensorFlow Lite Micro's bits, from the operator and through a whole network;
declarations, heads of YOLO and FOMO, and what is drawn."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import RUNTIME, WARNINGS, Narrows
from detectors import OPTIONS, anchors_of, float_ssd, operator_alone, small_ssd
from litert import LiteRT
from models import need, photo
from narrows.blob import Blob, parse_blob
from narrows.compiler import CompileOptions, compile_model
from narrows.data import load_input
from narrows.detection import Found, find
from narrows.drawing import colour
from narrows.errors import BlobError, InputError, ModelError
from narrows.graph.detection import (
    Fomo,
    Ssd,
    Suppression,
    Yolo,
    pack_anchors,
    parse_detection,
)
from narrows.graph.edges import conform, decode, encode, real
from narrows.importers.metadata import model_metadata
from narrows.importers.tflite import import_tflite
from narrows.native import Run
from narrows.native.detection import detect, suppress
from oracle import Array, Oracle
from readme import blocks
from single import Net


def assert_same(found: Sequence[Found], outputs: Sequence[Array]) -> None:
    """outputs: the operator's four."""
    boxes, classes, scores, count = outputs
    assert len(found) == int(count[0])
    n = len(found)
    assert np.array_equal(np.reshape([one.box for one in found], (n, 4)), boxes[0, :n])
    assert [one.index for one in found] == classes[0, :n].tolist()
    assert [one.score for one in found] == scores[0, :n].tolist()


def asked(options: dict[str, Any]) -> Suppression:
    return Suppression(
        score_threshold=options["nms_score_threshold"],
        iou_threshold=options["nms_iou_threshold"],
        max_detections=options["max_detections"],
        max_classes_per_detection=options["max_classes_per_detection"],
        detections_per_class=options["detections_per_class"],
        regular=options["use_regular_nms"],
    )


@pytest.mark.parametrize("regular", [False, True])
@pytest.mark.parametrize("background", [0, 1])
@pytest.mark.parametrize(
    ("boxes", "changes"),
    [
        (1, {}),
        (60, {"max_detections": 3}),
        (400, {"detections_per_class": 2, "nms_iou_threshold": 0.2}),
        (300, {"max_detections": 100, "detections_per_class": 50, "nms_iou_threshold": 1.0}),
        (50, {"nms_score_threshold": 2.0}),
        (200, {"y_scale": 3.3, "x_scale": 0.7, "h_scale": 1.9, "w_scale": 2.1}),
    ],
)
def test_the_operator_to_the_bit(
    boxes: int, changes: dict[str, Any], background: int, regular: bool
) -> None:
    """Scores have many ties, as those of int8 do."""
    options = {**OPTIONS, **changes, "use_regular_nms": regular}
    rng = np.random.default_rng(boxes)
    anchors = anchors_of(boxes, boxes)
    columns = options["num_classes"] + background
    oracle = Oracle(operator_alone(anchors, columns, options, 4 + background))
    for _ in range(3):
        codes = rng.normal(0, 1.5, (1, boxes, 4 + background)).astype(np.float32)
        scores = (rng.integers(0, 64, (1, boxes, columns)) / 64).astype(np.float32)
        scales = [options[key] for key in ("y_scale", "x_scale", "h_scale", "w_scale")]
        half = boxes // 2 or None
        parts = [[a[0, :half], a[0, half:]] if half else [a[0]] for a in (codes, scores)]
        found = detect(*parts, anchors, scales, options["num_classes"], asked(options))
        assert_same(found, oracle.run([codes, scores], 4))


def test_several_classes_of_a_box() -> None:
    """TensorFlow Lite Micro writes them beyond its outputs; LiteRT is right."""
    options = {**OPTIONS, "max_classes_per_detection": 3, "max_detections": 4}
    rng = np.random.default_rng(3)
    anchors = anchors_of(50, 3)
    codes = rng.normal(0, 1.5, (1, 50, 4)).astype(np.float32)
    # LiteRT has an order of its own among equal scores of one box.
    scores = (rng.permutation(250).reshape(1, 50, 5) / 256).astype(np.float32)
    outputs = LiteRT(operator_alone(anchors, 5, options)).run([codes, scores], 4)
    found = detect([codes[0]], [scores[0]], anchors, (10, 10, 5, 5), 4, asked(options))
    assert len(found) == 12
    assert_same(found, [*outputs[:3], np.array([12])])


def test_a_box_without_extent_is_refused_as_tflite_micro_does() -> None:
    anchors = anchors_of(3, 1)
    anchors[1, 2] = 0
    oracle = Oracle(operator_alone(anchors, 5, OPTIONS))
    values = [np.zeros((1, 3, 4), np.float32), np.ones((1, 3, 5), np.float32)]
    with pytest.raises(RuntimeError):
        oracle.run(values, 4)
    with pytest.raises(InputError, match="a predicted box has no extent"):
        detect([values[0][0]], [values[1][0]], anchors, (10, 10, 5, 5), 4, Suppression())


# --- A whole network --------------------------------------------------------------------------


def found_in(blob: Blob, inputs: Array) -> list[Found]:
    outputs = [
        real(edge, decode(edge, values))
        for edge, values in zip(
            blob.outputs, Run(blob.model).infer([encode(blob.inputs[0], inputs)]), strict=True
        )
    ]
    assert isinstance(blob.detection, Ssd | Yolo | Fomo)
    return find(blob.detection, outputs, blob.inputs[0].shape[1:3])


@pytest.mark.parametrize("regular", [False, True])
def test_a_network_with_the_operator(tmp_path: Path, regular: bool) -> None:
    model = small_ssd({**OPTIONS, "use_regular_nms": regular, "num_classes": 4})
    path = tmp_path / "ssd.tflite"
    path.write_bytes(model)
    blob = parse_blob(compile_model(path).blob)
    assert [edge.shape for edge in blob.outputs] == [(1, 44, 4), (1, 44, 5)]
    oracle = Oracle(model)
    for name in ("cat.bmp", "parrot.jpg"):
        inputs = load_input(blob.inputs[0], blob.preprocessing, photo(name))
        found = found_in(blob, inputs)
        assert found
        assert_same(found, oracle.run([inputs], 4))


def test_commands_take_it(narrows: Narrows, tmp_path: Path) -> None:
    path, blob, drawn = (tmp_path / n for n in ("ssd.tflite", "ssd.nrw", "drawn.png"))
    path.write_bytes(small_ssd())
    labels = tmp_path / "labels.txt"
    labels.write_text("nothing\ncat\ndog\nbird\nflower\n")
    done = narrows("compile", path, "-o", blob, "--labels", labels)
    assert done.returncode == 0, done.stderr
    cat = photo("cat.bmp")
    done = narrows("run", blob, "--input", cat, "--draw", drawn, "--json", tmp_path / "j")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "j").read_text())["detections"]
    assert found
    first = done.stdout.splitlines()[0]
    left, top, right, bottom = found[0]["pixels"]
    assert first.split(": ")[0].split() == [f"{found[0]['score']:.6g}", found[0]["label"]]
    assert f"left {left:.0f}, top {top:.0f}, right {right:.0f}, bottom {bottom:.0f}" in first
    assert found[0]["label"] == ("cat", "dog", "bird", "flower")[found[0]["index"]]
    with Image.open(cat) as image, Image.open(drawn) as made:
        assert made.size == image.size
        assert colour(found[0]["index"]) in {c for _, c in made.getcolors(1 << 24) or ()}
        width, height = image.size
    shares = found[0]["box"]
    assert (left, top) == pytest.approx((shares[1] * width, shares[0] * height))
    checked = narrows("check", blob, "--data", cat, "--reference", "tflm", "--model", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "all equal tflm" in checked.stdout


@pytest.mark.parametrize(
    ("changes", "anchors", "message"),
    [
        ({"nms_iou_threshold": 0.0}, None, "iou_threshold is not above 0 and at most 1"),
        ({"max_detections": 0}, None, "max_detections is not a whole number from 1"),
        ({"h_scale": -5.0}, None, "scales are not four positive numbers"),
        ({}, anchors_of(9, 1), "its anchors are not a constant of float32, four for each box"),
    ],
)
def test_operators_that_make_no_sense(
    changes: dict[str, Any], anchors: Array | None, message: str
) -> None:
    model = small_ssd(OPTIONS | changes, anchors=anchors)
    for read in (model_metadata, import_tflite):
        with pytest.raises(ModelError, match=message) as caught:
            read(model)
        assert "operator" in str(caught.value)
        assert "TFLite_Detection_PostProcess" in str(caught.value)


def test_every_broken_byte_of_the_options_is_an_error_or_harmless() -> None:
    model = operator_alone(anchors_of(4, 1), 5, OPTIONS)
    place = model.index(b"nms_score_threshold") - 64
    for at in range(place, model.index(b"y_scale") + 200):
        for bits in (0x01, 0xFF):
            broken = bytearray(model)
            broken[at] ^= bits
            with contextlib.suppress(ModelError):
                model_metadata(bytes(broken))


MAIN = """
#include <stdio.h>
{example}
static const int8_t boxes[] = {{ {boxes} }}, scores[] = {{ {scores} }};
const void *nrw_output(const struct nrw_run *run, int i)
{{
    (void)run;
    return i == 0 ? boxes : scores;
}}
int main(void)
{{
    struct nrw_detected found[BOXES_ROOM];
    int count = find_boxes(NULL, found);
    for (int i = 0; i < count; i++) {{
        struct nrw_box box = found[i].box;
        printf("%d %a %a %a %a %a\\n", (int)found[i].class_index, (double)found[i].score,
               (double)box.top, (double)box.left, (double)box.bottom, (double)box.right);
    }}
    return count < 0;
}}
"""


def test_the_readmes_program(narrows: Narrows, tmp_path: Path) -> None:
    """Of what the network gives, the C of a board finds what the host finds, bit for bit."""
    need("cc")
    model, blob_file = tmp_path / "ssd.tflite", tmp_path / "ssd.nrw"
    model.write_bytes(small_ssd())
    blob_file.write_bytes(compile_model(model).blob)
    done = narrows("info", blob_file, "--header", tmp_path / "boxes.h")
    assert "detection: ssd, 44 anchors" in done.stdout, done.stderr
    blob = parse_blob(blob_file.read_bytes())
    inputs = load_input(blob.inputs[0], None, photo("cat.bmp"))
    outputs = Run(blob.model).infer([encode(blob.inputs[0], inputs)])
    (example,) = blocks("c boxes")
    (tmp_path / "main.c").write_text(
        MAIN.format(
            example=example.replace("int find_boxes", "static int find_boxes"),
            boxes=", ".join(map(str, outputs[0].ravel())),
            scores=", ".join(map(str, outputs[1].ravel())),
        )
    )
    folders = (f"-I{RUNTIME / 'include'}", f"-I{tmp_path}")
    sources = (tmp_path / "main.c", RUNTIME / "detection" / "detection.c")
    program = tmp_path / "program"
    subprocess.run(["cc", *WARNINGS, *folders, *sources, "-lm", "-o", program], check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    found = [
        Found(tuple(float.fromhex(v) for v in box), float.fromhex(score), int(index))
        for index, score, *box in map(str.split, said.splitlines())
    ]
    assert found
    assert found == found_in(blob, inputs)


def test_a_float_network_is_quantized(narrows: Narrows, tmp_path: Path) -> None:
    """Its int8 has the operator as metadata, and finds what the float network finds."""
    model, made = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    model.write_bytes(float_ssd())
    inputs = np.random.default_rng(4).uniform(0, 1, (30, 4, 6, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", inputs)
    done = narrows("quantize", model, "--data", tmp_path / "x.npy", "-o", made)
    assert done.returncode == 0, done.stderr
    assert model_metadata(made)["detection"] == model_metadata(model)["detection"]
    blob = parse_blob(compile_model(made).blob)
    edge = blob.inputs[0]
    found = found_in(blob, conform(edge, inputs[0], "x"))
    boxes, classes, scores, count = Oracle(model.read_bytes()).run([inputs[:1]], 4)
    assert found
    assert len(found) == int(count[0])
    for one, box, kind, score in zip(found, boxes[0], classes[0], scores[0], strict=False):
        assert one.index == kind
        assert one.score == pytest.approx(score, abs=0.05)
        assert one.box == pytest.approx(box, abs=0.05)


# --- Declarations -----------------------------------------------------------------------------

ANCHORS = [[0.5, 0.5, 0.2, 0.2], [0.25, 0.5, 0.1, 0.3]]
SSD = {"kind": "ssd", "classes": 2, "boxes": [0], "scores": [1], "anchors": ANCHORS}
YOLO = {"kind": "yolo_v5", "classes": 2, "outputs": [0], "anchors": [[[10, 20]]]}


def test_declarations() -> None:
    plain = parse_detection(SSD)
    packed = parse_detection(SSD | {"anchors": pack_anchors(np.array(ANCHORS, np.float32))})
    assert isinstance(plain, Ssd)
    assert isinstance(packed, Ssd)
    assert np.array_equal(plain.anchors, packed.anchors)
    plain.check([(1, 2, 4), (1, 2, 3)])
    assert plain.background([(1, 2, 4), (1, 2, 3)]) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "is not an object"),
        ({}, "kind is not one of ssd, yolo_v5, yolo_v8, fomo, segmentation"),
        ({"kind": ["ssd"]}, "kind is not one of"),
        (SSD | {"classes": True}, "classes is not a whole number from 1 to 65535"),
        (SSD | {"boxes": [-1]}, "boxes: '-1' is not the number of an output"),
        (SSD | {"boxes": 0}, "boxes are not a list of outputs' numbers"),
        (SSD | {"scores": [1, 2]}, "1 outputs of boxes and 2 of scores"),
        (SSD | {"anchors": "no base64"}, "anchors are not base64 of a zlib stream"),
        (SSD | {"anchors": [[1, 2, 3]]}, "anchors are not four numbers each"),
        (SSD | {"anchors": [[1, 2, 3, "x"]]}, "anchor 0: 'x' is not a number"),
        (SSD | {"anchors": [[1, 2, 3, 1e300]]}, "anchor 0 is not from -1e"),
        (SSD | {"anchors": []}, "0 anchors, 1 to 1048576 are possible"),
        (SSD | {"scales": [1, 1, 1]}, "scales are not four positive numbers"),
        (SSD | {"iou_threshold": 0}, "iou_threshold is not above 0 and at most 1"),
        (SSD | {"regular": 1}, "regular is not true or false"),
        (SSD | {"score_threshold": float("nan")}, "score_threshold is not from"),
        (YOLO | {"anchors": [[[10, 0]]]}, "anchors are not pairs of a width and a height"),
        (YOLO | {"anchors": [[]]}, "anchors are not pairs of a width and a height"),
        (YOLO | {"anchors": []}, "anchors are not a list of pairs for each output"),
        (YOLO | {"encoding": "corners"}, "encoding is not one of raw, xywh"),
        ({"kind": "fomo", "output": 1.0}, "output: '1.0' is not the number of an output"),
    ],
)
def test_declarations_that_make_no_sense(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_detection(value)


@pytest.mark.parametrize(
    ("value", "shapes", "message"),
    [
        (SSD, [(1, 2, 4)], "there is no output 1; the network has 1"),
        (SSD, [(1, 3, 4), (1, 3, 3)], "2 anchors for 3 boxes"),
        (SSD, [(1, 2, 4), (1, 2, 5)], "output 1 has 5 scores for each box of output 0; 2 classes"),
        (SSD | {"box_values": 5}, [(1, 2, 4), (1, 2, 3)], "output 0 is no boxes of 5 values"),
        (YOLO, [(1, 4, 4, 8)], "output 0 has 8 channels; 1 anchors and 2 classes need 7"),
        (YOLO | {"encoding": "xywh"}, [(1, 20, 6)], "has no dimension of 7, for a box and 2"),
        (
            {"kind": "yolo_v8", "classes": 3, "outputs": [0]},
            [(1, 4, 4, 9)],
            "output 0 has 9 channels, which are no four distributions and 3 classes",
        ),
        (
            {"kind": "yolo_v8", "classes": 3, "outputs": [[0, 1]]},
            [(1, 4, 4, 8), (1, 2, 2, 3)],
            "on",
        ),
        ({"kind": "fomo"}, [(1, 4, 4, 1)], "output 0 has no class beside the background"),
        ({"kind": "segmentation"}, [(1, 10)], "output 0 has no scores of two classes"),
    ],
)
def test_declarations_that_do_not_fit(value: Any, shapes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_detection(value).check(shapes)


def test_declarations_go_through_compile(narrows: Narrows, tmp_path: Path) -> None:
    model, blob, told = (tmp_path / n for n in ("m.tflite", "m.nrw", "detection.json"))
    model.write_bytes(small_ssd(raw=True))
    declared = {**SSD, "classes": 4, "anchors": anchors_of(44, 6).tolist()}
    declared |= {"score_threshold": 0.3, "max_detections": 10}
    told.write_text(json.dumps(declared))
    assert narrows("compile", model, "-o", blob, "--detection", told).returncode == 0
    whole = tmp_path / "whole.tflite"
    whole.write_bytes(small_ssd())
    inputs = load_input(parse_blob(blob.read_bytes()).inputs[0], None, photo("bird.bmp"))
    assert found_in(parse_blob(blob.read_bytes()), inputs) == found_in(
        parse_blob(compile_model(whole).blob), inputs
    )
    for text, message in (
        ("{", "a detection is JSON"),
        (json.dumps(SSD | {"classes": 0}), "classes is not a whole number"),
        (json.dumps(SSD), "2 anchors for 44 boxes|output 1 has 5 scores"),
    ):
        told.write_text(text)
        done = narrows("compile", model, "-o", tmp_path / "none.nrw", "--detection", told)
        assert done.returncode == 1
        assert any(part in done.stderr for part in message.split("|")), done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "none.nrw").exists()


def test_metadata_that_do_not_fit_a_blob(digits_blob: Path) -> None:
    from narrows.models import DIGITS_INT8

    made = compile_model(DIGITS_INT8, CompileOptions(metadata={"detection": SSD}))
    with pytest.raises(BlobError, match="metadata: detection: there is no output 1"):
        parse_blob(made.blob)


# --- Other heads ------------------------------------------------------------------------------


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def test_yolo_v5() -> None:
    """Ultralytics' formulas, by hand: a box of 40 x 24 pixels around (36, 20) of 64 x 96."""
    declared = parse_detection(
        {
            "kind": "yolo_v5",
            "classes": 2,
            "outputs": [0, 1],
            "anchors": [[[10, 6], [20, 24]], [[50, 60]]],
        }
    )
    assert isinstance(declared, Yolo)
    near = np.full((1, 8, 12, 14), -20, np.float32)
    far = np.full((1, 2, 3, 7), -20, np.float32)
    declared.check([near.shape, far.shape])
    # Cells of 8 pixels: row 2, column 4; the anchor of 20 x 24.
    cell = near[0, 2, 4].reshape(2, 7)[1]
    cell[0] = logit((36 / 8 - 4 + 0.5) / 2)
    cell[1] = logit((20 / 8 - 2 + 0.5) / 2)
    cell[2] = logit((40 / 20) ** 0.5 / 2)
    cell[3] = logit((24 / 24) ** 0.5 / 2)
    cell[4], cell[5], cell[6] = logit(0.9), logit(0.1), logit(0.8)
    (found,) = find(declared, [near, far], (64, 96))
    assert found.index == 1
    assert found.score == pytest.approx(0.72, rel=1e-5)
    assert found.box == pytest.approx((8 / 64, 16 / 96, 32 / 64, 56 / 96), rel=1e-5)


def test_yolo_v8() -> None:
    """Distances of 1.5, 2, 3 and 0.5 cells from the middle of a cell of 16 pixels."""
    declared = parse_detection({"kind": "yolo_v8", "classes": 3, "outputs": [[0, 1]]})
    assert isinstance(declared, Yolo)
    boxes = np.zeros((1, 4, 6, 4 * 16), np.float32)
    classes = np.full((1, 4, 6, 3), -20, np.float32)
    declared.check([boxes.shape, classes.shape])
    bins = boxes[0, 1, 3].reshape(4, 16)
    bins[:] = -100
    for side, weights in enumerate(({1: 1, 2: 1}, {2: 1}, {3: 1}, {0: 1, 1: 1})):
        for place, weight in weights.items():
            bins[side, place] = np.log(weight)
    classes[0, 1, 3] = logit(0.2), logit(0.3), logit(0.75)
    (found,) = find(declared, [boxes, classes], (64, 96))
    assert (found.index, found.score) == (2, pytest.approx(0.75, rel=1e-5))
    box = (24 - 32) / 64, (56 - 24) / 96, (24 + 8) / 64, (56 + 48) / 96
    assert found.box == pytest.approx(box, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("version", "unit"), [(5, "normalized"), (8, "pixels")])
def test_yolo_rows(version: int, unit: str, turned: bool) -> None:
    rows = np.zeros((20, 5 + 3 if version == 5 else 4 + 3), np.float32)
    size = np.array([96, 64, 96, 64]) if unit == "pixels" else np.ones(4)
    rows[7, :4] = np.array([0.5, 0.25, 0.5, 0.25]) * size
    rows[8, :4] = np.array([0.51, 0.25, 0.5, 0.25]) * size
    rows[7, -3:], rows[8, -3:] = (0.1, 0.8, 0), (0, 0.9, 0)
    if version == 5:
        rows[7:9, 4] = 0.9
    output = (rows.T if turned else rows)[np.newaxis]
    declared = parse_detection(
        {
            "kind": f"yolo_v{version}",
            "classes": 3,
            "outputs": [0],
            "encoding": "xywh",
            "units": unit,
        }
    )
    assert isinstance(declared, Yolo)
    declared.check([output.shape])
    (found,) = find(declared, [output], (64, 96))
    assert (found.index, round(found.score, 4)) == (1, 0.81 if version == 5 else 0.9)
    assert found.box == pytest.approx((0.125, 0.26, 0.375, 0.76), rel=1e-5)


def test_fomo() -> None:
    grid = np.zeros((1, 6, 8, 3), np.float32)
    grid[..., 0] = 1
    for cell, kind, score in (
        *(((1, 1), 1, 0.7), ((2, 2), 1, 0.8), ((2, 3), 2, 0.9), ((5, 7), 1, 0.6)),
        ((5, 0), 1, 0.4),
    ):
        grid[0, cell[0], cell[1]] = 0
        grid[0, cell[0], cell[1], kind] = score
    found = find(Fomo(0), [grid], (48, 64))
    assert [(one.index, round(one.score, 3)) for one in found] == [(1, 0.9), (0, 0.8), (0, 0.6)]
    assert found[1].box == (1 / 6, 1 / 8, 3 / 6, 3 / 8)


def test_suppression_of_many_boxes_at_one_place() -> None:
    """Whatever is asked for, room is made for what there can be."""
    boxes = np.tile(np.array([[0, 0, 1, 1]], np.float32), (500, 1))
    scores = np.linspace(0, 1, 500, dtype=np.float32)[:, np.newaxis]
    most = Suppression(0.0, 0.5, 65535, 65535, 65535)
    assert suppress(boxes, scores, most) == [Found((0, 0, 1, 1), 1.0, 0)]
    boxes[:, 2:] = 0  # no extent: none shares anything
    assert len(suppress(boxes, scores, most)) == 500


def test_other_heads_through_a_blob(narrows: Narrows, tmp_path: Path) -> None:
    """FOMO: a red picture with a blue part, through a network that gives its colours back."""
    net = Net(2)
    image = net.int8((1, 12, 16, 3), 1 / 255, -128)
    (tmp_path / "m.tflite").write_bytes(
        net.finish([image], [net.pool("MAX_POOL_2D", image, (2, 2), (2, 2))])
    )
    pixels = np.zeros((240, 320, 3), np.uint8)
    pixels[..., 0] = 255
    pixels[:80, 160:240] = (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    blob, told, seen = (tmp_path / n for n in ("m.nrw", "fomo.json", "out.png"))
    told.write_text('{"kind": "fomo"}')
    done = narrows("compile", tmp_path / "m.tflite", "-o", blob, "--detection", told)
    assert done.returncode == 0, done.stderr
    done = narrows("run", blob, "--input", tmp_path / "in.png", "--draw", seen)
    assert done.stdout.startswith("         1  class 1: left 160, top 0, right 240, bottom 80"), (
        done
    )
    with Image.open(seen) as made:
        assert made.getpixel((200, 79)) == colour(1)


# --- Drawing ----------------------------------------------------------------------------------


def test_nothing_to_draw(narrows: Narrows, digits_blob: Path, tmp_path: Path) -> None:
    made = tmp_path / "out.png"
    done = narrows("run", digits_blob, "--input", photo("cat.bmp"), "--draw", made)
    assert done.returncode == 2
    assert "nothing to draw: digits_int8.tflite scores its whole input" in done.stderr
    assert not made.exists()


def test_masks_are_drawn(narrows: Narrows, tmp_path: Path) -> None:
    """Of three classes that are the picture's colours, over the part that the network sees."""
    net = Net(1)
    image = net.int8((1, 12, 16, 3), 1 / 255, -128)
    model, blob, drawn = (tmp_path / n for n in ("m.tflite", "m.nrw", "m.png"))
    model.write_bytes(net.finish([image], [net.pool("MAX_POOL_2D", image, (1, 1), (1, 1))]))
    options = ("--pixel-mean", 0, "--pixel-scale", 1 / 255, "--resize", "crop")
    assert narrows("compile", model, "-o", blob, *options).returncode == 0
    pixels = np.zeros((24, 48, 3), np.uint8)
    pixels[:, :24, 0] = 200
    pixels[:, 24:, 2] = 200
    Image.fromarray(pixels).save(tmp_path / "in.png")
    done = narrows("run", blob, "--input", tmp_path / "in.png", "--draw", drawn)
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines()[:2]] == [
        ["50.0%", "class", "0"],
        ["50.0%", "class", "2"],
    ]
    with Image.open(drawn) as made:
        seen = np.asarray(made.convert("RGB")).astype(int)
    assert (seen[:, :24] == pixels[:, :24]).all()  # class 0 is left clear
    assert (seen[:, 40:] == pixels[:, 40:]).all()  # beyond the crop of 32 x 24
    mixed = (np.array(colour(2)) + pixels[0, 30]) / 2
    assert np.abs(seen[12, 30] - mixed).max() <= 2
