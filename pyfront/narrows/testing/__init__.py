# SPDX-License-Identifier: Apache-2.0
"""For the tests of a project that uses narrows; ``narrows.pytest_plugin`` has the fixtures."""

from __future__ import annotations

from narrows.testing.loaded import LoadedTarget
from narrows.testing.reference import assert_matches_reference

__all__ = ["LoadedTarget", "assert_matches_reference"]
