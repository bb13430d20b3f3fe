# SPDX-License-Identifier: Apache-2.0
"""narrows: int8 convolutional networks in a fraction of the RAM, to the same bits.

The names in ``__all__`` are the Python API and stay as they are; every other module of the package
is narrows' own and may change. Each of the names is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "Blob",
    "BlobError",
    "Board",
    "BoardInfo",
    "Comparison",
    "Difference",
    "Explanation",
    "Front",
    "InputError",
    "Layer",
    "LayerReport",
    "LinkError",
    "Model",
    "ModelError",
    "NarrowsError",
    "NarrowsWarning",
    "Plan",
    "PlanError",
    "Port",
    "Preprocessing",
    "Profile",
    "Progress",
    "Quantization",
    "Result",
    "Results",
    "Score",
    "StageCost",
    "ToolError",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "compile",
    "load_blob",
    "load_model",
    "plan",
    "quantize",
]

if TYPE_CHECKING:
    from narrows.api.board import Board, BoardInfo
    from narrows.api.compiling import Blob, compile, load_blob
    from narrows.api.model import Model, Port, Quantization, load_model
    from narrows.api.planning import Front, Plan, plan
    from narrows.api.quantizing import quantize
    from narrows.api.results import Profile, Result, Results, Score, StageCost
    from narrows.compare import Comparison, Difference
    from narrows.errors import (
        BlobError,
        InputError,
        LinkError,
        ModelError,
        NarrowsError,
        NarrowsWarning,
        PlanError,
        ToolError,
        UnsupportedError,
        UsageError,
    )
    from narrows.graph.preprocessing import Preprocessing
    from narrows.quantization.measure import LayerReport
    from narrows.report.explain import Explanation
    from narrows.result import Progress
    from narrows.sides import Layer
else:
    # Hidden from type checkers, for which any name would then be one of the package.
    _HOMES = {
        "api.board": ("Board", "BoardInfo"),
        "api.compiling": ("Blob", "compile", "load_blob"),
        "api.model": ("Model", "Port", "Quantization", "load_model"),
        "api.planning": ("Front", "Plan", "plan"),
        "api.quantizing": ("quantize",),
        "api.results": ("Profile", "Result", "Results", "Score", "StageCost"),
        "compare": ("Comparison", "Difference"),
        "graph.preprocessing": ("Preprocessing",),
        "quantization.measure": ("LayerReport",),
        "report.explain": ("Explanation",),
        "result": ("Progress",),
        "sides": ("Layer",),
    }

    def __getattr__(name):
        import importlib

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        homes = (home for home, names in _HOMES.items() if name in names)
        module = importlib.import_module(f"{__name__}.{next(homes, 'errors')}")
        globals()[name] = value = getattr(module, name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
