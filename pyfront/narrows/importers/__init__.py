# SPDX-License-Identifier: Apache-2.0
"""Model files of other frameworks -> Graph."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from narrows.errors import ModelError
from narrows.graph.graph import Graph
from narrows.importers.other_files import refuse_other_files
from narrows.importers.tflite import import_tflite


def load(
    model: str | Path | bytes,
    name: str | None = None,
    *,
    requantize: bool = False,
    floats: bool = False,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Graph:
    """Import a ``.tflite`` or ``.onnx`` file; its content says which it is.

    Args:
        model: a path, or the bytes of a file.
        name: of the network, and of bytes in errors; defaults to the file's name.
        requantize: take an ONNX model in QDQ form as the float network that it stands for.
        floats: do so with what int8 kernels cannot take as it is: a .tflite file in uint8, and an
            ONNX model in QOperator form.
        shapes: of an ONNX model's inputs whose shapes are not fixed, by name; "" is the only one.

    Raises:
        ModelError: the file cannot be read, is damaged, is of another kind, or has operators that
            are not supported.
    """
    if not isinstance(model, bytes):
        refuse_other_files(model)
    if _is_onnx(model):
        from narrows.importers.onnx import import_onnx  # takes a while to load

        return import_onnx(model, name, requantize=requantize, floats=floats, shapes=shapes)
    if shapes:
        place = (name or "model") if isinstance(model, bytes) else model
        raise ModelError(f"{place}: a .tflite file fixes the shapes of its inputs; give none")
    return import_tflite(model, name, floats=floats)


def model_files(path: str | Path) -> tuple[Path, ...]:
    """A model file, and those beside it that hold its weights, if it is an ``.onnx`` that has some.
    A file that cannot be read is left to ``load`` to report."""
    if not _is_onnx(path):
        return (Path(path),)
    from narrows.importers.onnx_file import external_files  # takes a while to load

    return (Path(path), *external_files(Path(path)))


def _is_onnx(model: str | Path | bytes) -> bool:
    head, named = b"", False
    if isinstance(model, bytes):
        head = model[:8]
    else:
        named = Path(model).suffix.lower() == ".onnx"
        with contextlib.suppress(OSError), open(model, "rb") as file:  # the importer reports it
            head = file.read(8)
    # ONNX has no identifier; its files begin with the version, which is field 1.
    return head[4:8] != b"TFL3" and (named or head[:1] == b"\x08")
