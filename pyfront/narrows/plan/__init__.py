# SPDX-License-Identifier: Apache-2.0
"""QGraph -> Plan: which operators fuse, how long each ring is, and where it stands."""

from __future__ import annotations

from narrows.plan.candidates import Tiling
from narrows.plan.effort import Effort
from narrows.plan.planner import PlanOptions
from narrows.plan.random_plan import random_plan
from narrows.plan.verify import verify_plan

__all__ = ["Effort", "PlanOptions", "Tiling", "random_plan", "verify_plan"]
