"""Directories for an embedded Postgres."""

import tempfile
from pathlib import Path


def temporary_home(prefix: str) -> Path:
    """A new directory that other accounts may enter.

    As root, Postgres runs as another account, to which pytest's own directories are closed.
    """
    home = Path(tempfile.mkdtemp(prefix=prefix))
    home.chmod(0o711)
    return home
