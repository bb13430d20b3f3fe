# SPDX-License-Identifier: Apache-2.0
"""Plan -> blob: one file that the runtime uses in place (runtime/SPEC.md)."""

from __future__ import annotations

from narrows.pack.metadata import unpack_channels, unpack_edges, unpack_metadata
from narrows.pack.pack import pack

__all__ = ["pack", "unpack_channels", "unpack_edges", "unpack_metadata"]
