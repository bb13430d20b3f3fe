# SPDX-License-Identifier: Apache-2.0
"""A blob over a whole data set, on many targets at once: the same bits, right classes, figures."""

from narrows.checking.check import (
    ALL,
    Reference,
    check,
    host_reference,
    parse_targets,
    tflm_reference,
)
from narrows.checking.verdict import TOP, Check, Checked, Verdict

__all__ = [
    "ALL",
    "TOP",
    "Check",
    "Checked",
    "Reference",
    "Verdict",
    "check",
    "host_reference",
    "parse_targets",
    "tflm_reference",
]
