# SPDX-License-Identifier: Apache-2.0
"""The console command ``narrows``, also as ``python -m narrows``.

Nothing else is imported before signals are taken care of, because loading takes a while, and
before NumPy is told to leave the processors to us.
"""

from __future__ import annotations

import os
import sys

from narrows import interrupt


def main() -> int:
    """Run the command line. Returns: the exit code."""
    interrupt.leave_at_once()
    from narrows import jobs

    jobs.one_thread_of_blas()
    from narrows.cli import complete, load, main

    if "_ARGCOMPLETE" in os.environ:
        complete(os.environ.get("COMP_LINE", ""))
    load(sys.argv[1:])
    return interrupt.run(main)


if __name__ == "__main__":
    sys.exit(main())
