# SPDX-License-Identifier: Apache-2.0
"""What becomes of each file of ../shared/cases: small models made with the converters that
people use, after public bug reports. A case that narrows learns to take moves from ``Refused``
to ``Exact`` here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from models import SHARED

CASES = SHARED / "cases"


@dataclass(frozen=True)
class Exact:
    """``narrows compile`` takes the file, and its outputs are TFLite Micro's bytes; for an
    .onnx file those of the .tflite that it becomes, a step at most from onnxruntime's.

    says: regular expressions that must match what is printed beside: warnings.
    tflm_errs: TFLite Micro cannot compute the file, or computes something else than it means. The
        outputs are its bytes for the file that is exported again, and a step at most from those
        of LiteRT, whose kernels round some sums once where the definition rounds twice.
    """

    says: tuple[str, ...] = ()
    tflm_errs: bool = False


@dataclass(frozen=True)
class NearLiteRt:
    """``narrows compile`` takes the file, which TFLite Micro does not run; its outputs are so many
    steps at most from those of LiteRT's reference kernels, whose mean and dense layer round
    once."""

    steps: int = 1


@dataclass(frozen=True)
class Quantized:
    """A float network: ``compile`` sends to ``quantize``, whose file compiles and is exact."""


@dataclass(frozen=True)
class Refused:
    """Every command refuses the file in a few lines.

    says: regular expressions that must match the message: what kind of model it is or which
        operator it is about, and what to do where something can be done.
    never: those that must not.
    by: the commands that read such a file.
    """

    says: tuple[str, ...]
    never: tuple[str, ...] = ()
    by: tuple[str, ...] = ("compile", "quantize")


Outcome: TypeAlias = Exact | NearLiteRt | Quantized | Refused


def _operators(*names: str, never: tuple[str, ...] = ()) -> Refused:
    """Refused for these operators, each of them named once, and nothing else."""
    return Refused((rf"\b{len(names)} unsupported", *(rf"\b{name} \(" for name in names)), never)


# Faults that these files do not have.
DAMAGED = r"truncated|damaged|not an? (ONNX|\.tflite)"
_NEW_BLOB = Refused(("blob format", "compile the model anew"), by=("run", "info"))

OUTCOMES: dict[str, Outcome] = {
    # One network in every form that TensorFlow's converter writes.
    "cnn.float.tflite": Quantized(),
    "cnn.dyn.tflite": Quantized(),
    "cnn.fp16.tflite": Quantized(),
    "cnn.i16x8.tflite": Refused(("16x8|int16 activations", "int8")),
    # And what onnxruntime and PyTorch write.
    "mbv2.qop.onnx": Exact((r"warning.*QOperator form",)),
    "mbv2.dyn.onnx": Quantized(),
    "qat_x86_conv.onnx": Exact(),
    "op9.onnx": Quantized(),
    "op11.onnx": Quantized(),
    # Networks that quantize takes.
    "multi.float.tflite": Quantized(),
    "output_is_input.onnx": Quantized(),
    # Unequal scales that TFLite's kernels take as equal.
    "mis_MAX_POOL_2D.tflite": Refused(("MAX_POOL_2D", "scale")),
    "mis_RESIZE_BILINEAR.tflite": Refused(("RESIZE_BILINEAR", "scale")),
    "mis_STRIDED_SLICE.tflite": Refused(("STRIDED_SLICE", "scale")),
    # Shapes of five dimensions, and of one.
    "shuffle.int8.tflite": Exact(),
    "shuffle.float.tflite": Quantized(),
    "shuffle.old.onnx": Quantized(),
    "yolo_head.old.onnx": Quantized(),
    "conv1d.old.onnx": Quantized(),
    "conv1d_dil.old.onnx": Quantized(),
    "t2o_gap1d.onnx": Quantized(),
    "dense_3d.int8.tflite": Exact(tflm_errs=True),
    # Transposed convolutions, with what computes their shapes.
    "tconv.int8.tflite": Exact(),
    "unet.int8.tflite": Exact(),
    "convt.old.onnx": Quantized(),
    "gmax.new.onnx": Quantized(),
    "lstm.float.tflite": Refused(("recurrent",)),
    "absmodel.int8.tflite": Exact(),
    "argmax.int8.tflite": NearLiteRt(steps=0),  # TFLite Micro gives no int64
    "attention.int8.tflite": Exact(),
    "cbam.int8.tflite": Exact(),
    "d2s.int8.tflite": Exact(),
    "s2d.int8.tflite": Exact(),
    "dilated2d.int8.tflite": Exact((r"warning.*SPACE_TO_BATCH_ND .*LiteRT",), tflm_errs=True),
    "elu.int8.tflite": Exact(),
    "gelu.int8.tflite": NearLiteRt(),
    "selu.int8.tflite": NearLiteRt(),
    "mish.int8.tflite": NearLiteRt(),
    "softplus.int8.tflite": NearLiteRt(),
    "gmp1d.int8.tflite": Exact(),
    "grouped.int8.tflite": Exact(),
    "groupnorm.int8.tflite": Exact(),
    "layernorm.int8.tflite": Exact(),
    "l2norm.int8.tflite": Exact(),
    "maximum.int8.tflite": Exact(),
    "mirrorpad.int8.tflite": Exact(),
    "powsq.int8.tflite": Exact(),
    "prelu.int8.tflite": Exact(),
    "relu_max1.int8.tflite": Exact(),
    "relu_max4.int8.tflite": Exact(),
    "sumred.int8.tflite": Exact(),
    "up.int8.tflite": Exact(tflm_errs=True),
    # Hostile blobs of format 2.0; tests/fuzz starts from their likes in the current one.
    "memcpy_overlap_rolling_depthwise.nrw": _NEW_BLOB,
    "pool_128K.nrw": _NEW_BLOB,
}
