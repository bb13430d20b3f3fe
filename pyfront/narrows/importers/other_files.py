# SPDX-License-Identifier: Apache-2.0
"""Files that are given for a model by mistake: what they are, and how a model is made of them."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path

from narrows.errors import ModelError

_HEAD_BYTES = 512
_CONVERTER = "tf.lite.TFLiteConverter"
_KERAS = (
    f"convert it with {_CONVERTER}.from_keras_model(keras.models.load_model(FILE)).convert() in "
    "TensorFlow, and give the .tflite"
)
_TORCH = "load the model in PyTorch, torch.onnx.export it, and give the .onnx"

# What a file begins with -> what it is and what to do.
_HEADS = (
    (b"\x89HDF\r\n\x1a\n", f"a Keras or HDF5 file; {_KERAS}"),
    (b"NRWB", "a blob, which is compiled already; run it, or give the model that it was made of"),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself; fetch it with 'git lfs pull'",
    ),
    (b"\x89PNG", "a picture; give the model first"),
    (b"\xff\xd8\xff", "a picture; give the model first"),
    (b"BM", "a picture; give the model first"),
    (b"\x93NUMPY", "a NumPy array; give the model first"),
    (b"\x80\x02", f"a Python pickle, as PyTorch saves weights; {_TORCH}"),
    (b"\x1f\x8b", "compressed by gzip; unpack it"),
    (b"\x7fELF", "a program; give the model that it was made with"),
)
# The identifiers of other formats at byte 4.
_IDENTIFIERS = {
    b"ORTM": "an ONNX Runtime .ort file; give the .onnx that it was made of",
    b"ET12": f"an ExecuTorch program; {_TORCH}",
}
# What text files contain -> what they are.
_TEXTS = (
    (b"<!doctype html", "a web page; download the file itself (on GitHub: 'Raw')"),
    (b"<html", "a web page; download the file itself (on GitHub: 'Raw')"),
    (b'"modeltopology"', "a TensorFlow.js model; give the SavedModel or Keras file to TensorFlow"),
    (b"unsigned char", "C source; give the .tflite that its array was made of"),
    (b"alignas(", "C source; give the .tflite that its array was made of"),
)
_SAVED_MODEL = (
    f"a SavedModel; convert it with {_CONVERTER}.from_saved_model(FOLDER).convert() in TensorFlow, "
    "and give the .tflite"
)
_FOLDER = "a folder; give a .tflite or .onnx file"


def refuse_other_files(path: str | Path) -> None:
    """Find out what a file is that is neither ``.tflite`` nor ``.onnx``; one that cannot be read,
    or is of an unknown kind, is left to its importer.

    Raises: ModelError: it is of another kind; says which, and how to get a model.
    """
    path = Path(path)
    with contextlib.suppress(OSError):
        kind = _folder(path) if path.is_dir() else _file(path)
        if kind is not None:
            raise ModelError(f"{path}: this is {kind}")


def _folder(path: Path) -> str:
    if any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        return _SAVED_MODEL
    return _FOLDER


def _file(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[4:8] == b"TFL3":
        return None
    if not head:
        return "an empty file"
    if path.name == "saved_model.pb":
        return _SAVED_MODEL
    if head.startswith(b"PK") and zipfile.is_zipfile(path):
        return _archive(path)
    for start, kind in _HEADS:
        if head.startswith(start):
            return kind
    if head[4:8] in _IDENTIFIERS:
        return _IDENTIFIERS[head[4:8]]
    for text, kind in _TEXTS:
        if text in head.lower() and b"\0" not in head:
            return kind
    return None


def _archive(path: Path) -> str:
    """A zip file, which several frameworks use."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "model.weights.h5" in names:
        return f"a Keras file; {_KERAS}"
    if any(name.endswith((".pkl", "models/model.json")) for name in names):
        return f"a PyTorch file; {_TORCH}"
    models = [name for name in names if name.endswith((".tflite", ".onnx"))]
    if models:
        return f"a zip archive; unpack {models[0][:100]} and give that"
    return "a zip archive; give a .tflite or .onnx file"
