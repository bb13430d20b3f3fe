# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the documentation; README.md beside it says why it is Sphinx."""

from __future__ import annotations

import sys
from pathlib import Path

from narrows import __version__

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "narrows"
release = version = __version__
copyright = "the narrows authors, Apache-2.0"
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_argparse_cli",
    "sphinx_copybutton",
    "repository",
    "public_names",
]
exclude_patterns = ["README.md", "_build"]
highlight_language = "text"
smartquotes = False

# Links to headings, by the names that Markdown viewers give them.
myst_heading_anchors = 4
# Headings of files that begin with a second-level one stand as they are.
suppress_warnings = ["myst.header"]

nitpicky = True
# Names of other projects, whose documentation is not at hand when this is built.
nitpick_ignore_regex = [
    ("c:identifier", r"u?int\d+_t|size_t|esp_err_t|nrw_kernels"),
    ("py:.*", r"(?!narrows\b).*"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}

python_maximum_signature_line_length = c_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"narrows {release}"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["narrows.css"]
# The prompt of an example is not copied.
copybutton_exclude = ".linenos, .gp, .go"
