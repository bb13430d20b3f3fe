# SPDX-License-Identifier: Apache-2.0
"""``python -m narrows`` is the console command ``narrows``."""

from __future__ import annotations

import sys

from narrows.cli import main

if __name__ == "__main__":
    sys.exit(main())
