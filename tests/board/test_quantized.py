# SPDX-License-Identifier: Apache-2.0
"""What is quantized here, exported, gives TFLite Micro's bytes on the host and on the board."""

from __future__ import annotations

import numpy as np
import pytest
from figures import NETWORKS

from quantized import NAMES, quantized
from subjects import check


# The rest are measured on the board; see test_board.
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NETWORKS])
def test_the_same_bytes_everywhere(name: str) -> None:
    data, inputs = quantized(name)
    check(data, np.random.default_rng(3), inputs, board=True)
