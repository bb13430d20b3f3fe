# SPDX-License-Identifier: Apache-2.0
"""The option that says how many processors a command may use."""

from __future__ import annotations

import argparse

from narrows.jobs import processors

_MOST = 1024


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """The option ``--jobs``; ``jobs`` of the arguments is 1 or more."""
    parser.add_argument(
        "--jobs",
        type=_jobs,
        default=processors(),
        metavar="N",
        help="how many threads compute on this computer; what is found does not depend on it "
        "(default: one for each processor)",
    )


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number from 1 to {_MOST}")
    return int(text)
