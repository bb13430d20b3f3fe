# SPDX-License-Identifier: Apache-2.0
"""``as_port.py DEVICE RUNNER ARGUMENTS...``: MLPerf Tiny's ``RUNNER/main.py``, which finds its
device by the USB numbers of serial ports, sees one port, DEVICE, with those of an ST-LINK.

It needs nothing of narrows, so that any Python can run it that has what the runner needs.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

from serial.tools import list_ports

ST_LINK = {"vid": 0x0483, "pid": 0x374B, "description": "STLINK", "serial_number": "0"}

device, runner = sys.argv[1], Path(sys.argv[2])
list_ports.comports = lambda *_: [SimpleNamespace(device=device, **ST_LINK)]
sys.argv = [str(runner / "main.py"), *sys.argv[3:]]
sys.path.insert(0, str(runner))
runpy.run_path(sys.argv[0], run_name="__main__")
