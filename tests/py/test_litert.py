# SPDX-License-Identifier: Apache-2.0
"""Exported models run in LiteRT, too; what it gives otherwise than TFLite Micro is counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from litert import count_differences
from quantized import NAMES, quantized


@pytest.mark.parametrize("name", NAMES)
def test_differences_are_counted(name: str, record_property: Callable[[str, object], None]) -> None:
    count_differences(name, *quantized(name), record_property)
