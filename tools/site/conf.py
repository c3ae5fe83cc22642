"""Sphinx's configuration for the documentation site: `./run docs`."""

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

import evalqueue

project = "evalqueue"
project_copyright = "the authors of evalqueue"
version = release = evalqueue.__version__
html_theme = "furo"
html_title = f"evalqueue {version}"
html_show_sphinx = False
html_copy_source = False
html_static_path: list[str] = []
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]
myst_links_external_new_tab = False

default_role = "code"  # docstrings have Markdown's backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False

pygments_style = "friendly"
pygments_dark_style = "monokai"
lexers["csv"] = TextLexer()

exclude_patterns = ["files/**"]  # linked as they are
