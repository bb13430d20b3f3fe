# SPDX-License-Identifier: Apache-2.0
"""What narrows writes into a ``.tflite`` beside the network: labels, preprocessing, detection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from narrows.errors import ModelError
from narrows.files import read_file
from narrows.graph.detection import parse_detection
from narrows.graph.preprocessing import parse_preprocessing
from narrows.importers.other_files import refuse_other_files
from narrows.importers.tflite_detection import detection_of
from narrows.importers.tflite_file import read_metadata

ENTRY = "narrows"
"""Name of the entry in the file's metadata; its bytes are a JSON object in UTF-8."""
_PARSERS = {"preprocessing": parse_preprocessing, "detection": parse_detection}
_KNOWN = ("labels", *_PARSERS)


def encode_metadata(values: dict[str, Any]) -> dict[str, bytes]:
    """For ``export_tflite``: the entry, or none for nothing."""
    return {ENTRY: json.dumps(values, sort_keys=True).encode()} if values else {}


def model_metadata(model: str | Path | bytes) -> dict[str, Any]:
    """The keys of a blob's metadata that a model brings; {} for any other file. A ``.tflite`` that
    ends with TFLite_Detection_PostProcess brings ``detection``.

    Raises:
        ModelError: a ``.tflite`` file whose metadata is damaged, or is not what it must be; or a
            file of another kind.
    """
    path = "model" if isinstance(model, bytes) else str(model)
    if not isinstance(model, bytes):
        refuse_other_files(model)
    data = model if isinstance(model, bytes) else read_file(model, "model")
    if data[4:8] != b"TFL3":
        return {}
    declared = detection_of(data, path)
    found = {} if declared is None else {"detection": declared}
    entry = read_metadata(data, path, ENTRY)
    if entry is None:
        return found
    try:
        values = json.loads(entry.decode())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: metadata {ENTRY} is not JSON; write the model anew") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path}: metadata {ENTRY} is not a JSON object; write the model anew")
    known = {key: values[key] for key in _KNOWN if key in values}
    labels = known.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ModelError(f"{path}: metadata {ENTRY}: labels are no strings; write the model anew")
    for key, parse in _PARSERS.items():
        try:
            if key in known:
                parse(known[key])
        except ValueError as error:
            raise ModelError(
                f"{path}: metadata {ENTRY}: {key}: {error}; write the model anew"
            ) from error
    return found | known
