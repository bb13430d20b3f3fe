# SPDX-License-Identifier: Apache-2.0
"""Instructions of networks on each core do not grow."""

from __future__ import annotations

import json

import pytest
from cores import BOARDS, NETWORKS, SLOW, STORED, label, measure
from figures import GROWTH

from models import missing, need

FIGURES = json.loads(STORED.read_text())
WORKLOADS = [
    pytest.param(
        network,
        name,
        id=f"{network}-{label(name)}",
        marks=pytest.mark.slow if network in SLOW else (),
    )
    for network in NETWORKS
    for name in BOARDS
]


@pytest.mark.parametrize(("network", "name"), WORKLOADS)
def test_instructions_do_not_grow(network: str, name: str) -> None:
    """Or, where the board has no room for the network, there is no figure."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    if not NETWORKS[network].is_file():
        missing(str(NETWORKS[network]))
    found, stored = measure(network, name), FIGURES[network].get(label(name))
    hint = (
        f"{network}, {label(name)}: {found}, was {stored}; if meant: tests/board/cores.py --update"
    )
    assert (found is None) == (stored is None), hint
    if found is not None:
        assert found <= stored * GROWTH, hint
