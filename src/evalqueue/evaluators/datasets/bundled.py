"""Datasets that are installed with the product, by name.

The package `evalqueue.evaluators` registers them when it is imported, hence before any module
inside it: code that evaluates does not import the package that holds the files.
"""

from pathlib import Path

_paths: dict[str, Path] = {}


def register(name: str, path: Path) -> None:
    """Make a file available under a name; a later registration replaces an earlier one."""
    _paths[name] = path


def path(name: str) -> Path:
    """The file registered under this name.

    Raises:
        KeyError: no file is registered under it.
    """
    return _paths[name]
