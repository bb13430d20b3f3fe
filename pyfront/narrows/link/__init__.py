# SPDX-License-Identifier: Apache-2.0
"""Boards, in QEMU or behind a serial port: firmware, line, protocol."""

from narrows.link.target import open_target

__all__ = ["open_target"]
