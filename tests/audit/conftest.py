"""The command line and the API on one database."""

from tests.cli.conftest import shell
from tests.http.conftest import serve_api

__all__ = ["serve_api", "shell"]
