# SPDX-License-Identifier: Apache-2.0
"""QGraph -> Plan: which operators fuse, how long each ring is, and where it stands.

What the constants of the search are worth, beside other values, is measured by
``tests/bench/search_constants.py``.
"""

from __future__ import annotations

from narrows.planning.candidates import Tiling
from narrows.planning.effort import Effort
from narrows.planning.planner import PlanOptions
from narrows.planning.random_plan import random_plan
from narrows.planning.verify import verify_plan

__all__ = ["Effort", "PlanOptions", "Tiling", "random_plan", "verify_plan"]
