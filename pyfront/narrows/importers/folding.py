# SPDX-License-Identifier: Apache-2.0
"""Bounds of what an importer computes from constants: a small hostile file must not make endless
ones."""

from __future__ import annotations

from dataclasses import dataclass

# Elements of one folded constant, and of all of them.
_MAX_FOLDED = 2**26
_MAX_FOLDED_ALL = 2**28


@dataclass
class Budget:
    """elements: of all constants so far."""

    elements: int = 0

    def take(self, count: int) -> None:
        """Count a constant that is about to be computed. Raises: ValueError: too large."""
        self.elements += count
        if count > _MAX_FOLDED or self.elements > _MAX_FOLDED_ALL:
            raise ValueError(f"a constant of {count} elements")
