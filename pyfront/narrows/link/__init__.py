# SPDX-License-Identifier: Apache-2.0
"""Boards, in an emulator or behind a serial port: firmware, line, protocol."""

from narrows.link.emulated import KINDS, emulated_targets, missing_tool
from narrows.link.target import open_target

__all__ = ["KINDS", "emulated_targets", "missing_tool", "open_target"]
