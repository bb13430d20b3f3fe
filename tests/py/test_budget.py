# SPDX-License-Identifier: Apache-2.0
"""The runtime's flash, stack and structures stay within their limits and do not creep up."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from conftest import ROOT, missing


@pytest.mark.parametrize("name", ["measure.py", "linked.py"])
def test_the_runtime_stays_within_its_budget(name: str) -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        missing("arm-none-eabi-gcc")
    script = ROOT / "tests" / "budget" / name
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
