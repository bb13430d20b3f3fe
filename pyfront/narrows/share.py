# SPDX-License-Identifier: Apache-2.0
"""Where the C sources, the firmware and the boards are: in the checkout, or installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def share_dir() -> Path:
    """The folder that holds ``runtime``, ``firmware`` and ``boards``.

    A checkout's own, else the copy that was installed with the package.
    """
    installed = _PACKAGE / "_share"
    return installed if installed.is_dir() else _PACKAGE.parents[1]
