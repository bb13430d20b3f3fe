# SPDX-License-Identifier: Apache-2.0
"""Nothing is left out silently: under CI=true a skip is a failure, however it came about."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

WAYS = {
    "call": "def test_it():\n    pytest.skip('no such tool')",
    "mark": "@pytest.mark.skipif(True, reason='no such tool')\ndef test_it():\n    pass",
    "import": "def test_it():\n    pytest.importorskip('no_such_tool')",
    "fixture": "@pytest.fixture\ndef tool():\n    pytest.skip('no such tool')\n"
    "def test_it(tool):\n    pass",
    "module": "pytest.skip('no such tool', allow_module_level=True)",
    "missing": "from models import missing\ndef test_it():\n    missing('no such tool')",
}


@pytest.mark.parametrize("ci", ["true", ""])
def test_a_skip_is_a_failure_in_ci(ci: str, tmp_path: Path) -> None:
    hooks = "from skips import pytest_make_collect_report, pytest_runtest_makereport\n"
    (tmp_path / "conftest.py").write_text(hooks)
    for way, text in WAYS.items():
        (tmp_path / f"test_{way}.py").write_text(f"import pytest\n{text}\n")
    options = ("-p", "no:cacheprovider", "--continue-on-collection-errors", "-ra")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path],
        env={**os.environ, "CI": ci, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    if ci:
        found = re.findall(r"^(?:FAILED|ERROR) test_(\w+)\.py", done.stdout, re.MULTILINE)
        assert sorted(found) == sorted(WAYS), done.stdout
        assert done.stdout.count("CI=true forbids") >= len(WAYS)
    else:
        assert f"{len(WAYS)} skipped" in done.stdout
