# SPDX-License-Identifier: Apache-2.0
"""Networks of PyTorch as its exporters write them."""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from judge import JUDGED, Outcome, judged, reason_of, samples
from torch_blocks import NETWORKS

from narrows.errors import NarrowsError
from narrows.importers.onnx import import_onnx
from oracle import Array

EXPORTERS = ("torchscript", "dynamo")


class Unexportable(Exception):
    """PyTorch does not export a module; the message says what it said."""


def exported(module: Any, inputs: Sequence[Array], exporter: str) -> bytes:
    """An .onnx file of a module. Raises: Unexportable."""
    made = io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    arguments = tuple(torch.from_numpy(x) for x in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if exporter == "dynamo":
                torch.onnx.export(module, arguments, dynamo=True, verbose=False).save(made)
            else:
                torch.onnx.export(module, arguments, made, dynamo=False, verbose=False)
        except (torch.onnx.OnnxExporterError, torch.onnx.errors.SymbolicValueError, TypeError) as e:
            said = str(e).partition("Please feel free")[0].partition("\n")[0].strip()
            raise Unexportable(f"PyTorch does not export it: {said}") from e
    return made.getvalue()


def outcome_of(name: str, exporter: str) -> Outcome:
    """Export, quantize, compile and run one of the networks."""
    network = NETWORKS[name]
    torch.manual_seed(zlib.crc32(name.encode()))
    torch.set_num_threads(1)
    module = network.make()
    inputs = samples(network.shapes)
    wanted = []
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_(0, 0.2)
                part.running_var.uniform_(0.5, 1.5)
            if isinstance(part, torch.nn.PReLU):
                part.weight.uniform_(-0.1, 0.4)
        module.eval()
        for case in inputs[-JUDGED:]:
            given = module(*(torch.from_numpy(x) for x in case))
            wanted.append([v.numpy() for v in (given if isinstance(given, tuple) else (given,))])
    try:
        graph = import_onnx(exported(module, inputs[0], exporter), name)
        return Outcome(name, exporter, "", *judged(graph, inputs, wanted))
    except (NarrowsError, Unexportable) as error:
        return Outcome(name, exporter, reason_of(error, name))
