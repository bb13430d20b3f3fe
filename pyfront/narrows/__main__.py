# SPDX-License-Identifier: Apache-2.0
"""The console command ``narrows``, also as ``python -m narrows``.

Nothing else is imported before signals are taken care of, because loading takes a while.
"""

from __future__ import annotations

import sys

from narrows import interrupt


def main() -> int:
    """Run the command line. Returns: the exit code."""
    interrupt.leave_at_once()
    from narrows.cli import main

    return interrupt.run(main)


if __name__ == "__main__":
    sys.exit(main())
